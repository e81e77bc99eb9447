//! 500 log-ins at once: what they cost in memory, how each is answered, and that Check goes on.
#![cfg(target_os = "linux")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use integration::many_callers::{AuthProcess, GrpcCaller, HttpCaller};
use integration::process_pair::bearer;
use integration::stack::{PASSWORD, channel};
use shared::ErrorReason;
use shared::error::{reason_of, retry_delay_of};
use shared::proto::auth as pb;
use shared::proto::auth::accounts_client::AccountsClient;
use shared::proto::auth::auth_client::AuthClient;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tonic::Code;

/// Log-ins at once.
const AT_ONCE: u32 = 500;
/// Users that log in: more than one, since a user's own attempts wait for one another.
const USERS: u32 = 20;
const WRONG: &str = "not the pass phrase of anybody";
/// Memory of one hash, as it is configured.
const KIB_OF_A_HASH: u64 = 19 << 10;
/// What 500 calls and their connections may take beside the hashes.
const KIB_BESIDE: u64 = 32 << 10;
/// How long any Check may take beside the flood, in a build that isn't optimized.
const CHECK_WITHIN: Duration = Duration::from_secs(20);

/// How a log-in ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Succeeded,
    Refused,
    /// Told when to come again.
    PutOff,
}

/// As many hashes at once as the service makes: all processors but one.
fn permits() -> u64 {
    let processors = std::thread::available_parallelism().unwrap().get() as u64;
    processors.saturating_sub(1).max(1)
}

/// Who logs in with what: every other one with a wrong password.
fn attempt(number: u32) -> (String, &'static str) {
    let password = if number.is_multiple_of(2) { PASSWORD } else { WRONG };
    (format!("user{}", number / 2 % USERS), password)
}

async fn by_grpc(mut caller: GrpcCaller, number: u32) -> Ended {
    let (name, password) = attempt(number);
    match caller.log_in(&name, password).await {
        Ok(_) => Ended::Succeeded,
        Err(refused) => match (refused.code(), reason_of(&refused)) {
            (Code::Unauthenticated, Some(ErrorReason::LoginFailed)) => Ended::Refused,
            (Code::ResourceExhausted, Some(ErrorReason::RateLimited)) if retry_delay_of(&refused).is_some() => Ended::PutOff,
            _ => panic!("{refused:?}"),
        },
    }
}

async fn by_token(mut caller: HttpCaller, number: u32) -> Ended {
    let (name, password) = attempt(number);
    let answer = caller.log_in(&name, password).await;
    match answer.status.as_u16() {
        200 => Ended::Succeeded,
        400 if answer.json()["error"] == "invalid_grant" => Ended::Refused,
        429 if answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0) => Ended::PutOff,
        _ => panic!("{answer:?}"),
    }
}

/// Checks again and again until it is told to stop; how long each took.
fn check_meanwhile(auth: &AuthProcess, key: String, over: Arc<AtomicBool>) -> JoinHandle<Vec<Duration>> {
    let mut client = AuthClient::new(channel(auth.process.address()));
    let service_credential = auth.service_credential.clone();
    tokio::spawn(async move {
        let mut took = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let check = pb::CheckRequest {
                credential: key.clone(),
                operation: pb::Operation::Chat.into(),
                model: "smollm2".to_owned(),
                ..Default::default()
            };
            let started = Instant::now();
            client.check(bearer(&service_credential, check)).await.unwrap();
            took.push(started.elapsed());
        }
        took
    })
}

/// Has all of them log in at once. Every one must be answered, in bounded memory, while Checks go on. `before`: the memory that the
/// service had before they connected, in KiB.
async fn flood<F: Future<Output = Ended> + Send + 'static>(auth: &AuthProcess, key: &str, before: u64, logins: impl Iterator<Item = F>) {
    let over = Arc::new(AtomicBool::new(false));
    let checks = check_meanwhile(auth, key.to_owned(), Arc::clone(&over));
    let running: Vec<_> = logins.map(tokio::spawn).collect();
    let mut ended = Vec::new();
    for login in running {
        ended.push(login.await.unwrap());
    }
    over.store(true, Ordering::Relaxed);
    let took = checks.await.unwrap();
    let peak = auth.process.peak_kib();

    let count = |kind| ended.iter().filter(|one| **one == kind).count();
    let (succeeded, refused, put_off) = (count(Ended::Succeeded), count(Ended::Refused), count(Ended::PutOff));
    println!("{succeeded} succeeded, {refused} were refused, {put_off} put off; peak {peak} KiB, before {before} KiB");
    assert_eq!(ended.len(), AT_ONCE as usize);
    for (number, ended) in ended.iter().enumerate() {
        let is_right = number.is_multiple_of(2);
        assert!(*ended == Ended::PutOff || is_right == (*ended == Ended::Succeeded), "number {number}: {ended:?}");
    }
    assert!(succeeded > 0 && refused > 0 && put_off > 0);
    let most = before + permits() * KIB_OF_A_HASH + KIB_BESIDE;
    assert!(peak <= most, "{peak} KiB at the peak, {before} KiB before: at most {most}");
    let slowest = took.iter().max().unwrap();
    println!("{} checks, the slowest {slowest:?}", took.len());
    assert!(*slowest <= CHECK_WITHIN, "{slowest:?}");
}

/// Held for a whole test: another flood would take this one's processors, and connections that wait for it in silence are closed.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// The service, and an API key.
async fn start() -> (AuthProcess, String) {
    let auth = AuthProcess::start(None, &[]);
    for number in 0..USERS {
        auth.sign_up(&format!("user{number}")).await;
    }
    let token = auth.grpc_caller(AT_ONCE).await.log_in("user0", PASSWORD).await.unwrap().access_token;
    let mut accounts = AccountsClient::new(channel(auth.process.address()));
    let key = accounts.create_api_key(bearer(&token, pb::CreateApiKeyRequest::default())).await.unwrap().into_inner().key;
    (auth, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_500_log_ins_at_once_each_is_answered_in_bounded_memory_and_check_goes_on() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let (auth, key) = start().await;
    let (before, mut callers) = (auth.process.begin_peak(), Vec::new());
    for number in 0..AT_ONCE {
        callers.push((auth.grpc_caller(number).await, number));
    }
    flood(&auth, &key, before, callers.into_iter().map(|(caller, number)| by_grpc(caller, number))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_500_log_ins_at_once_at_token_each_is_answered_in_bounded_memory_and_check_goes_on() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let (auth, key) = start().await;
    let (before, mut callers) = (auth.process.begin_peak(), Vec::new());
    for number in 0..AT_ONCE {
        callers.push((auth.http_caller(number).await, number));
    }
    flood(&auth, &key, before, callers.into_iter().map(|(caller, number)| by_token(caller, number))).await;
}

//! Who can't log in isn't told why, neither by code and text nor by the time: nobody finds out who is a user here, or whose password is
//! right.
//!
//! Each round makes one try of each kind, in random order, and the next one when the last was answered. Two things are measured of each:
//! how long it took, as its caller sees it, and how long the service's threads ran for it, which other work on the machine disturbs much
//! less. Both are compared with those of unknown names, by their quantiles and by the differences within each round. What chance alone
//! makes of that is found out by swapping the two kinds in half of the rounds, at random, again and again.
//!
//! That a difference would be seen is shown by one that is planted. In what the threads ran, it is as small as `PLANTED_MS`, always. In the
//! time, other work may hide it: there it is as small as the machine allows, which is printed.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use integration::many_callers::AuthProcess;
use integration::process_pair::bearer;
use integration::redis_server::RedisServer;
use integration::stack::{PASSWORD, channel};
use shared::proto::auth::accounts_client::AccountsClient;
use shared::proto::auth::admin_client::AdminClient;
use shared::proto::auth::{
    BeginTotpRequest, ConfirmTotpRequest, CreateUserRequest, DisableUserRequest, LockUserRequest, ResetPasswordRequest, Role,
};
use tokio::sync::Mutex;

/// Tries of each kind, at the least.
const ROUNDS: usize = 200;
/// For so long there may be more, where other work on the machine hides what is to be seen.
const MOST_TIME: Duration = Duration::from_secs(240);
/// Users of each kind: their names' own throttles are not what is timed.
const USERS: usize = 12;
/// What no two kinds may differ by.
const MOST_MS: f64 = 1.0;
/// A difference that must be seen.
const PLANTED_MS: f64 = 2.5;
/// Times that two kinds are swapped.
const SWAPS: usize = 1000;
/// Where distributions are compared.
const QUANTILES: [f64; 4] = [0.1, 0.25, 0.5, 0.75];
/// What is compared: the quantiles, and the median of the differences within a round, which leaves out what changes from one to the next.
const STATISTICS: usize = QUANTILES.len() + 1;
/// What hashing costs from the second start on: the users that were there before have hashes that were made with less.
const COST_NOW: (&str, &str) = ("TOLLGATE_ARGON2_PASSES", "3");

const WRONG: &str = "not the pass phrase of anybody";

/// Why a log-in fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// There is no such user.
    Unknown,
    /// The same once more, to see what chance makes.
    UnknownAgain,
    Wrong,
    /// Wrong for a user whose hash was made when hashing cost less.
    WrongForAnOldHash,
    RightForADisabled,
    /// The same with a hash that would be made anew.
    RightForADisabledWithAnOldHash,
    RightForALocked,
    /// Right until an operator reset it.
    RightBeforeAReset,
    /// Wrong for a user who has a second factor.
    WrongWithASecondFactor,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Unknown,
        Self::UnknownAgain,
        Self::Wrong,
        Self::WrongForAnOldHash,
        Self::RightForADisabled,
        Self::RightForADisabledWithAnOldHash,
        Self::RightForALocked,
        Self::RightBeforeAReset,
        Self::WrongWithASecondFactor,
    ];

    /// What stands in the names of its users; `None`: there are none.
    fn users(self) -> Option<&'static str> {
        match self {
            Self::Unknown | Self::UnknownAgain => None,
            Self::Wrong => Some("wrong"),
            Self::WrongForAnOldHash => Some("old-wrong"),
            Self::RightForADisabled => Some("disabled"),
            Self::RightForADisabledWithAnOldHash => Some("old-disabled"),
            Self::RightForALocked => Some("locked"),
            Self::RightBeforeAReset => Some("reset"),
            Self::WrongWithASecondFactor => Some("two-factors"),
        }
    }

    fn has_an_old_hash(self) -> bool {
        matches!(self, Self::WrongForAnOldHash | Self::RightForADisabledWithAnOldHash)
    }

    /// A name and a password.
    fn attempt(self, round: usize) -> (String, &'static str) {
        let number = round % USERS;
        let name = self.users().map_or_else(|| format!("nobody{self:?}{number}").to_lowercase(), |users| format!("{users}{number}"));
        let is_wrong =
            matches!(self, Self::Unknown | Self::UnknownAgain | Self::Wrong | Self::WrongForAnOldHash | Self::WrongWithASecondFactor);
        (name, if is_wrong { WRONG } else { PASSWORD })
    }
}

/// By which door they log in.
#[derive(Debug, Clone, Copy)]
enum Door {
    Grpc,
    Token,
}

/// A service with users of each kind.
struct Stage {
    auth: AuthProcess,
    door: Door,
    /// Callers so far: each has an address of its own.
    callers: u32,
}

impl Stage {
    async fn start(redis: Option<RedisServer>, door: Door) -> Self {
        let mut auth = AuthProcess::start(redis, &[]);
        let made = integration::processes::run("auth-service", &["create-admin", "root"], &auth.environment, &format!("{PASSWORD}\n"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        make_users(&auth, Kind::has_an_old_hash).await;
        auth.start_again(&[COST_NOW]);
        make_users(&auth, |kind| !kind.has_an_old_hash()).await;
        Self { auth, door, callers: 1_000 }
    }

    /// One try: how long it took, how long the service's threads ran meanwhile, and all that was answered, but for the request id and the
    /// date.
    async fn attempt(&mut self, kind: Kind, round: usize) -> (Duration, Duration, String) {
        let before = self.auth.process.cpu_time();
        let (took, answer) = self.log_in(kind, round).await;
        // A thread that has ended meanwhile is counted no more.
        (took, self.auth.process.cpu_time().saturating_sub(before), answer)
    }

    async fn log_in(&mut self, kind: Kind, round: usize) -> (Duration, String) {
        let (name, password) = kind.attempt(round);
        self.callers += 1;
        match self.door {
            Door::Grpc => {
                let mut caller = self.auth.grpc_caller(self.callers).await;
                let started = Instant::now();
                let refused = caller.log_in(&name, password).await.unwrap_err();
                let took = started.elapsed();
                let names = refused.metadata().keys().map(|key| match key {
                    tonic::metadata::KeyRef::Ascii(key) => key.as_str(),
                    tonic::metadata::KeyRef::Binary(key) => key.as_str(),
                });
                let names: Vec<&str> = names.collect();
                (took, format!("{:?} {:?} {:?} {names:?}", refused.code(), refused.message(), refused.details()))
            }
            Door::Token => {
                let mut caller = self.auth.http_caller(self.callers).await;
                let started = Instant::now();
                let answer = caller.log_in(&name, password).await;
                let took = started.elapsed();
                let names: Vec<&str> = answer.headers.keys().map(http::HeaderName::as_str).collect();
                (took, format!("{} {:?} {names:?}", answer.status, answer.text()))
            }
        }
    }
}

/// Makes the users of some kinds, as they are to be.
async fn make_users(auth: &AuthProcess, of: impl Fn(Kind) -> bool) {
    let token = auth.grpc_caller(0).await.log_in("root", PASSWORD).await.unwrap().access_token;
    let mut admin = AdminClient::new(channel(auth.process.address()));
    for kind in Kind::ALL.into_iter().filter(|kind| of(*kind)) {
        for name in (0..USERS).filter_map(|number| kind.users().map(|users| format!("{users}{number}"))) {
            let user =
                CreateUserRequest { user_name: name.clone(), password: PASSWORD.to_owned(), role: Role::User.into(), ..Default::default() };
            admin.create_user(bearer(&token, user)).await.unwrap();
            match kind {
                Kind::RightForADisabled | Kind::RightForADisabledWithAnOldHash => {
                    let disable = DisableUserRequest { user_name: name, ..Default::default() };
                    admin.disable_user(bearer(&token, disable)).await.map(drop).unwrap();
                }
                Kind::RightForALocked => {
                    let lock = LockUserRequest { user_name: name, ..Default::default() };
                    admin.lock_user(bearer(&token, lock)).await.map(drop).unwrap();
                }
                Kind::RightBeforeAReset => {
                    admin.reset_password(bearer(&token, ResetPasswordRequest { user_name: name })).await.map(drop).unwrap();
                }
                Kind::WrongWithASecondFactor => enroll(auth, &name).await,
                Kind::Unknown | Kind::UnknownAgain | Kind::Wrong | Kind::WrongForAnOldHash => {}
            }
        }
    }
}

/// Turns a user's second factor on.
async fn enroll(auth: &AuthProcess, name: &str) {
    let token = auth.grpc_caller(0).await.log_in(name, PASSWORD).await.unwrap().access_token;
    let mut accounts = AccountsClient::new(channel(auth.process.address()));
    let begin = bearer(&token, BeginTotpRequest { password: PASSWORD.to_owned() });
    let secret = accounts.begin_totp(begin).await.unwrap().into_inner().totp_secret;
    let app = totp_rs::Builder::new().with_secret(totp_rs::Secret::try_from_base32(&secret).unwrap()).build().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let confirm = bearer(&token, ConfirmTotpRequest { second_factor_code: app.generate(now).to_string() });
    accounts.confirm_totp(confirm).await.map(drop).unwrap();
}

/// By how much two kinds differ, in milliseconds.
fn differences(one: &[f64], other: &[f64]) -> [f64; STATISTICS] {
    let sorted = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times
    };
    let within = sorted(one.iter().zip(other).map(|(one, other)| one - other).collect());
    let (one, other) = (sorted(one.to_vec()), sorted(other.to_vec()));
    let at = |times: &[f64], share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    let by_quantile = QUANTILES.map(|share| at(&one, share) - at(&other, share));
    std::array::from_fn(|index| by_quantile.get(index).copied().unwrap_or_else(|| at(&within, 0.5)))
}

/// The most by which chance makes two kinds differ: half as much again as the most of many swaps, which is more than five
/// standard deviations.
fn chance(one: &[f64], other: &[f64]) -> [f64; STATISTICS] {
    let mut most = [0.0_f64; STATISTICS];
    for _ in 0..SWAPS {
        let pairs = one.iter().zip(other).map(|(one, other)| if fastrand::bool() { (*one, *other) } else { (*other, *one) });
        let (one, other): (Vec<f64>, Vec<f64>) = pairs.unzip();
        for (most, difference) in most.iter_mut().zip(differences(&one, &other)) {
            *most = most.max(difference.abs());
        }
    }
    most.map(|most| 1.5 * most)
}

/// Whether two kinds differ by more than chance, and by enough to matter. The limits are those of two kinds that are alike: a difference
/// between the two that are compared would raise their own.
fn differ(one: &[f64], other: &[f64], limits: [f64; STATISTICS]) -> bool {
    differences(one, other).iter().zip(limits).any(|(difference, limit)| difference.abs() > limit.max(MOST_MS))
}

/// Whether a difference that must be seen would be.
fn is_sharp(unknown: &[f64], again: &[f64]) -> bool {
    chance(unknown, again).iter().any(|limit| *limit < PLANTED_MS)
}

/// The other store's test would take this one's processors.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// What was measured of each kind, in the order of the rounds, in milliseconds.
type Measured = Vec<Vec<f64>>;

async fn nothing_tells_them_apart(mut stage: Stage) {
    let mut times: Measured = vec![Vec::new(); Kind::ALL.len()];
    let mut work = times.clone();
    let mut said: Option<String> = None;
    let mut order: Vec<usize> = (0..Kind::ALL.len()).collect();
    let mut round = 0;
    let started = Instant::now();
    while round < ROUNDS || (started.elapsed() < MOST_TIME && !is_sharp(&work[0], &work[1])) {
        fastrand::shuffle(&mut order);
        for index in &order {
            let (took, ran, answer) = stage.attempt(Kind::ALL[*index], round).await;
            times[*index].push(took.as_secs_f64() * 1e3);
            work[*index].push(ran.as_secs_f64() * 1e3);
            let said = said.get_or_insert_with(|| answer.clone());
            assert_eq!(*said, answer, "{:?} is answered as the others are", Kind::ALL[*index]);
        }
        round += 1;
    }
    println!("{round} rounds in {:?}", started.elapsed());
    let by_work = compare("the service's threads ran", &work);
    assert_eq!(by_work, PLANTED_MS, "a planted difference of {PLANTED_MS} ms is not seen");
    println!("smallest planted difference in the time: {:.2} ms", compare("it took", &times));
}

/// Asserts that no kind is told from unknown names by what was measured, and that a planted difference would be: the smallest one, of
/// [`PLANTED_MS`] at the least.
fn compare(what: &str, measured: &Measured) -> f64 {
    let unknown = &measured[0];
    let limits = chance(unknown, &measured[1]);
    for (kind, of_kind) in Kind::ALL.iter().zip(measured).skip(1) {
        println!("{what}, {kind:?}: {:.2?} ms; by chance at most {limits:.2?}", differences(of_kind, unknown));
    }
    let is_seen = |planted_ms: f64| {
        let planted: Vec<f64> = measured[1].iter().map(|ms| ms + planted_ms).collect();
        differ(&planted, unknown, limits)
    };
    let seen = (0..200).map(|step| PLANTED_MS + f64::from(step) * 0.5).find(|planted_ms| is_seen(*planted_ms));
    let seen = seen.unwrap_or_else(|| panic!("{what}: no difference is seen; by chance at most {limits:.2?}"));
    for (kind, of_kind) in Kind::ALL.iter().zip(measured).skip(1) {
        assert!(!differ(of_kind, unknown, limits), "{what}: {kind:?} is told from an unknown name");
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_wrong_disabled_locked_and_reset_get_the_same_code_text_and_time_at_login() {
    let _turn = ONE_AT_A_TIME.lock().await;
    nothing_tells_them_apart(Stage::start(None, Door::Grpc).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_wrong_disabled_locked_and_reset_get_the_same_code_text_and_time_at_token() {
    let _turn = ONE_AT_A_TIME.lock().await;
    nothing_tells_them_apart(Stage::start(Some(RedisServer::start()), Door::Token).await).await;
}

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::RecvStream;
use http::Request as HttpRequest;
use shared::ErrorReason;
use shared::call_record::CallRecord;
use shared::error::{CallError, reason_of};
use shared::proto::auth::Operation;
use shared::secret::Secret;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tonic::Request;

use super::super::test_server::{PATIENCE, Reply, answer, framed, read, serve_all};
use super::super::{AuthClientConfig, AuthUrls, Charge};
use super::*;
use crate::caller::Caller;
use crate::timers::Timers;

const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

fn client(listener: &TcpListener) -> (AuthClient, TaskTracker) {
    let tasks = TaskTracker::new();
    let config = AuthClientConfig {
        urls: AuthUrls::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap(),
        tls: None,
        service_credential: Some(Secret::generate().unwrap().0),
        check_timeout: CHECK_TIMEOUT,
        settle_retry_for: Duration::from_secs(1),
    };
    (AuthClient::new(config, tasks.clone(), Timers::new(tokio_util::sync::CancellationToken::new())).unwrap(), tasks)
}

/// A call with a made-up credential, which is refused.
async fn refused_call(client: &AuthClient, number: usize) -> tonic::Status {
    let mut request = Request::new(());
    request.metadata_mut().insert("authorization", format!("Bearer tg_{number}{}", "x".repeat(4000)).parse().unwrap());
    request.metadata_mut().insert("x-tollgate-account", "0123456789abcdef".parse().unwrap());
    let caller = Caller::from_request(&request).unwrap();
    let charge =
        Charge { request_id: format!("r-{number}"), fingerprint: vec![1], max_input_tokens: 1, max_output_tokens: 1, require_full: false };
    client.admit(&caller, Operation::Chat, "llama3.2", charge, CallRecord::begin()).await.unwrap_err().into()
}

/// So many of them at once.
async fn refused(client: &AuthClient, calls: usize) {
    let mut calls: FuturesUnordered<_> = (0..calls).map(|number| refused_call(client, number)).collect();
    while let Some(status) = calls.next().await {
        assert_eq!(status.code(), Code::Unavailable);
    }
}

#[tokio::test]
async fn calls_that_a_silent_auth_service_leaves_without_answer_leave_one_task_and_bounded_memory() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, tasks) = client(&listener);
    // Takes connections and calls, and answers none.
    let silent = tokio::spawn(async move {
        let mut connections = Vec::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.push(tokio::spawn(async move {
                let mut server = h2::server::Builder::new();
                let serving = server.max_concurrent_streams(10_000).handshake::<_, Bytes>(stream);
                let mut connection = serving.await.unwrap();
                let mut calls = Vec::new();
                while let Some(Ok(call)) = connection.accept().await {
                    calls.push(call);
                }
            }));
        }
    });
    refused(&client, 5000).await;
    let (waiting, bytes) = client.inner.releases.waiting();
    assert!((1..=MAX_QUEUED).contains(&waiting), "{waiting} wait");
    assert!(bytes <= MAX_QUEUED_BYTES, "{bytes} bytes");
    assert_eq!(tasks.len(), 1);
    silent.abort();
}

#[tokio::test]
async fn a_check_that_was_never_sent_leaves_nothing_to_be_released() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, tasks) = client(&listener);
    drop(listener);
    refused(&client, 5000).await;
    assert_eq!((client.inner.releases.waiting(), tasks.len()), ((0, 0), 0));
}

/// A call that auth-service got.
enum Got {
    Check(wire::CheckRequest),
    Release(wire::ReleaseRequest, Instant),
}

/// What becomes of a Check.
enum OnCheck {
    /// Nobody answers it.
    Silence,
    /// Its stream is reset.
    Reset,
    Refuse(CallError),
}

/// An auth-service that answers Checks and Releases so, each told its number. What it doesn't answer, it keeps.
struct FakeAuth {
    got: mpsc::UnboundedReceiver<Got>,
    client: AuthClient,
    tasks: TaskTracker,
}

impl FakeAuth {
    async fn start(
        check: impl Fn(usize) -> OnCheck + Send + Sync + 'static,
        release: impl Fn(usize) -> Result<wire::ReleaseResult, CallError> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, tasks) = client(&listener);
        let (came, got) = mpsc::unbounded_channel();
        let (answers, counts) = (Arc::new((check, release)), Arc::new(Mutex::new((0, 0))));
        serve_all(listener, move |_, request: HttpRequest<RecvStream>, mut reply: Reply| {
            let (came, answers, counts) = (came.clone(), Arc::clone(&answers), Arc::clone(&counts));
            async move {
                let is_check = request.uri().path().ends_with("/Check");
                let Ok(body) = read(request.into_body()).await else { return };
                let number = {
                    let mut counts = counts.lock().unwrap();
                    let count = if is_check { &mut counts.0 } else { &mut counts.1 };
                    std::mem::replace(count, *count + 1)
                };
                let answered = if is_check {
                    came.send(Got::Check(wire::CheckRequest::decode(&body[5..]).unwrap())).unwrap();
                    match (answers.0)(number) {
                        OnCheck::Refuse(refusal) => Err(refusal),
                        OnCheck::Reset => return reply.send_reset(h2::Reason::INTERNAL_ERROR),
                        OnCheck::Silence => {
                            // Until the caller gives up.
                            let _ = std::future::poll_fn(|cx| reply.poll_reset(cx)).await;
                            return;
                        }
                    }
                } else {
                    came.send(Got::Release(wire::ReleaseRequest::decode(&body[5..]).unwrap(), Instant::now())).unwrap();
                    (answers.1)(number)
                };
                match answered {
                    Ok(result) => answer(reply, framed(&wire::ReleaseResponse { result: result.into() }), 1).await,
                    Err(refusal) => {
                        reply.send_response(Status::from(refusal).into_http::<()>(), true).unwrap();
                    }
                }
            }
        });
        Self { got, client, tasks }
    }

    /// Waits until nothing is left to be released. All Checks, and all Releases with their times.
    async fn end(mut self) -> (Vec<wire::CheckRequest>, Vec<(wire::ReleaseRequest, Instant)>) {
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait()).await.expect("releasing ends");
        assert_eq!(self.client.inner.releases.waiting(), (0, 0));
        self.got.close();
        let (mut checks, mut releases) = (Vec::new(), Vec::new());
        while let Some(got) = self.got.recv().await {
            match got {
                Got::Check(check) => checks.push(check),
                Got::Release(release, at) => releases.push((release, at)),
            }
        }
        (checks, releases)
    }
}

#[tokio::test]
async fn a_release_is_asked_again_until_its_check_can_no_longer_be_carried_out_and_no_check_is_repeated() {
    let auth = FakeAuth::start(|_| OnCheck::Silence, |_| Ok(wire::ReleaseResult::NothingHeld)).await;
    let began = Instant::now();
    let refused = refused_call(&auth.client, 1).await;
    assert_eq!(reason_of(&refused), Some(ErrorReason::AuthUnavailable));
    let (checks, releases) = auth.end().await;
    assert_eq!(checks.len(), 1, "a Check could make what is to be undone");
    let charge = checks[0].charge.clone().unwrap();
    for (release, _) in &releases {
        assert_eq!((&release.credential, &release.account), (&checks[0].credential, &checks[0].account));
        assert_eq!((&release.request_id, &release.attempt_id), (&charge.request_id, &charge.attempt_id));
    }
    let final_from = began + CHECK_TIMEOUT + STORE_TIME;
    let late = releases.iter().filter(|(_, at)| *at >= final_from).count();
    assert_eq!(late, 1, "the last word is asked for once");
    assert!(releases.len() >= 2, "{} before it", releases.len() - 1);
}

#[tokio::test]
async fn what_a_check_held_that_was_carried_out_after_the_first_release_is_given_back() {
    let auth = FakeAuth::start(
        |_| OnCheck::Silence,
        |number| Ok(if number == 0 { wire::ReleaseResult::NothingHeld } else { wire::ReleaseResult::Released }),
    )
    .await;
    refused_call(&auth.client, 1).await;
    let (checks, releases) = auth.end().await;
    assert_eq!((checks.len(), releases.len()), (1, 2), "and then there is no more to ask");
    assert_eq!(releases[0].0, releases[1].0);
}

#[tokio::test]
async fn a_hold_that_was_resolved_in_another_way_is_asked_for_once() {
    let auth = FakeAuth::start(|_| OnCheck::Silence, |_| Ok(wire::ReleaseResult::ResolvedBefore)).await;
    refused_call(&auth.client, 1).await;
    assert_eq!(auth.end().await.1.len(), 1);
}

#[tokio::test]
async fn a_check_that_was_refused_only_when_it_was_sent_again_is_released_too() {
    let unclear = |number| {
        if number == 0 {
            return OnCheck::Reset;
        }
        OnCheck::Refuse(CallError::new(Code::ResourceExhausted, ErrorReason::InsufficientCredits, "no credits left"))
    };
    let auth = FakeAuth::start(unclear, |_| Ok(wire::ReleaseResult::Released)).await;
    assert_eq!(reason_of(&refused_call(&auth.client, 1).await), Some(ErrorReason::InsufficientCredits));
    let (checks, releases) = auth.end().await;
    assert_eq!((checks.len(), releases.len()), (2, 1), "what the first one held is given back");
}

#[tokio::test]
async fn a_check_that_was_refused_leaves_nothing_to_be_released() {
    let no_credits = |_| OnCheck::Refuse(CallError::new(Code::ResourceExhausted, ErrorReason::InsufficientCredits, "no credits left"));
    let auth = FakeAuth::start(no_credits, |_| Ok(wire::ReleaseResult::Released)).await;
    refused_call(&auth.client, 1).await;
    assert_eq!(auth.end().await.1.len(), 0);
}

#[tokio::test]
async fn an_auth_service_that_knows_no_release_is_asked_once_for_each_and_said_so_once() {
    let unknown = || CallError::new(Code::Unimplemented, ErrorReason::MethodUnknown, "there is no such method here");
    let auth = FakeAuth::start(|_| OnCheck::Silence, move |_| Err(unknown())).await;
    refused(&auth.client, 3).await;
    let client = auth.client.clone();
    assert_eq!(auth.end().await.1.len(), 3, "each is left to its expiry");
    assert!(!client.inner.releases.is_first_refusal(), "it was said");
    assert!(client.inner.releases.lock().was_refused);
}

#[tokio::test]
async fn while_the_store_can_not_be_reached_a_release_is_kept_and_asked_again() {
    let unavailable = || CallError::new(Code::Unavailable, ErrorReason::StoreUnavailable, "the store can't be reached");
    let auth = FakeAuth::start(
        |_| OnCheck::Silence,
        move |number| if number < 2 { Err(unavailable()) } else { Ok(wire::ReleaseResult::Released) },
    )
    .await;
    refused_call(&auth.client, 1).await;
    let (checks, releases) = auth.end().await;
    assert_eq!((checks.len(), releases.len()), (1, 3));
}

fn queued(deadline: Instant) -> Release {
    let charge = wire::Charge { request_id: "r".to_owned(), attempt_id: "a".to_owned(), ..Default::default() };
    Release::new(RetryableCheck::new(wire::CheckRequest { charge: Some(charge), ..Default::default() }, "r"), deadline).unwrap()
}

#[test]
fn that_nothing_is_held_is_the_last_word_some_time_after_the_checks_deadline_and_after_the_last_silence() {
    let deadline = Instant::now();
    let mut release = queued(deadline);
    let nothing_held = Ok(wire::ReleaseResult::NothingHeld);
    assert_eq!(release.told(nothing_held, deadline), Told::NotYet);
    assert_eq!(release.told(nothing_held, deadline + STORE_TIME), Told::Enough);
    let late = Instant::now() + RELEASE_FOR / 2;
    release.final_from = late;
    for silence in [Status::unavailable("broke"), Status::deadline_exceeded("late"), Status::resource_exhausted("busy")] {
        assert_eq!(release.told(Err(&silence), late), Told::Nothing);
        assert_eq!(release.final_from, late, "never earlier than before");
        let mut release = queued(deadline - RELEASE_FOR);
        let before = Instant::now();
        assert_eq!(release.told(Err(&silence), before), Told::Nothing);
        assert_eq!(release.told(nothing_held, before + STORE_TIME - Duration::from_millis(1)), Told::NotYet);
        assert_eq!(release.told(nothing_held, Instant::now() + STORE_TIME), Told::Enough);
    }
    for defect in [Status::internal("a defect"), Status::unauthenticated("who?"), Status::invalid_argument("?")] {
        assert_eq!(release.told(Err(&defect), deadline), Told::Enough, "{defect}");
    }
}

#[test]
fn a_release_that_nobody_answers_is_given_up_after_a_minute() {
    let queue = ReleaseQueue::default();
    let now = Instant::now();
    assert_eq!((queue.push(queued(now)), queue.push(queued(now))), (Push::First, Push::Queued));
    assert!(queue.pop(now + RELEASE_FOR - Duration::from_millis(1)).is_some());
    assert!(queue.pop(Instant::now() + RELEASE_FOR).is_none());
    assert!(queue.is_done());
}

#[test]
fn a_check_that_was_to_hold_nothing_leaves_nothing_to_be_released() {
    assert!(Release::new(RetryableCheck::new(wire::CheckRequest::default(), "r"), Instant::now()).is_none());
}

use std::sync::Mutex;

use h2::RecvStream;
use http::Request as HttpRequest;
use shared::call_record::CallRecord;
use shared::error::CallError;
use shared::proto::auth as wire;
use shared::secret::Secret;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Code, Request, Status};

use super::super::test_server::{GRPC_HEAD, Reply, answer, framed, head, serve_all, settled};
use super::super::{Admission, AuthClient, AuthClientConfig, AuthUrls, Charge, Grant, Outcome, TokenUsage};
use super::*;
use crate::caller::Caller;
use crate::timers::Timers;

const SOON: Duration = Duration::from_secs(40);

/// A method that was called, and how to answer.
type Call = (String, Reply);

/// An auth-service that the test plays, and its client.
struct Scene {
    client: AuthClient,
    calls: mpsc::UnboundedReceiver<Call>,
}

impl Scene {
    async fn set() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = AuthClientConfig {
            urls: AuthUrls::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap(),
            service_credential: Some(Secret::generate().unwrap().0),
            tls: None,
            check_timeout: SOON,
            settle_retry_for: SOON,
        };
        let (came, calls) = mpsc::unbounded_channel();
        serve_all(listener, move |_, request: HttpRequest<RecvStream>, reply: Reply| {
            let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
            // The test may be over.
            let _ = came.send((method, reply));
            std::future::ready(())
        });
        let client = AuthClient::new(config, TaskTracker::new(), Timers::new(CancellationToken::new())).unwrap();
        Self { client, calls }
    }

    /// How to answer the next call, which is of this method.
    async fn asked(&mut self, method: &str) -> Reply {
        let (came, reply) = tokio::time::timeout(SOON, self.calls.recv()).await.expect("a call").unwrap();
        assert_eq!(came, method);
        reply
    }

    fn admit(&self) -> tokio::task::JoinHandle<Grant> {
        let client = self.client.clone();
        tokio::spawn(async move {
            let mut request = Request::new(());
            request.metadata_mut().insert("authorization", "Bearer tg_x".parse().unwrap());
            let caller = Caller::from_request(&request).unwrap();
            let charge = Charge {
                request_id: "r-1".to_owned(),
                fingerprint: vec![1],
                max_input_tokens: 1,
                max_output_tokens: 1,
                require_full: false,
            };
            let admitted = client.admit(&caller, wire::Operation::Chat, "llama3.2", charge, CallRecord::begin()).await;
            match admitted.unwrap() {
                Admission::Granted(grant) => grant,
                Admission::Recorded(receipt) => panic!("recorded: {receipt:?}"),
            }
        })
    }

    /// A grant for Ada's first key.
    async fn granted(&mut self) -> (Grant, Arc<Told>) {
        let admitting = self.admit();
        let reply = self.asked("Check").await;
        answer(reply, checked(), 1).await;
        let (grant, told) = (admitting.await.unwrap(), Arc::<Told>::default());
        grant.revocation_bell().ends(weak(&told));
        (grant, told)
    }

    fn revoked(&self, key: &str) {
        self.client.inner.running.revoked(revocation(key));
    }

    fn running(&self) -> usize {
        self.client.inner.running.all().len()
    }

    /// Settles it, which the server takes.
    async fn settle(&mut self, grant: Grant) {
        let receipt = grant.settle(Outcome::Cancelled, TokenUsage::default(), None);
        let reply = loop {
            let (came, reply) = tokio::time::timeout(SOON, self.calls.recv()).await.expect("a call").unwrap();
            // It may have been asked about meanwhile.
            if came != "Extend" {
                assert_eq!(came, "Settle");
                break reply;
            }
        };
        answer(reply, settled("e"), 1).await;
        receipt.await.unwrap().unwrap();
    }
}

fn weak(told: &Arc<Told>) -> Weak<dyn Revocable> {
    let weak: Weak<Told> = Arc::downgrade(told);
    weak
}

/// What an answer was told.
#[derive(Default)]
struct Told(Mutex<Vec<ErrorReason>>);

impl Revocable for Told {
    fn on_revoked(&self, reason: ErrorReason) {
        self.0.lock().unwrap().push(reason);
    }
}

impl Told {
    fn reasons(&self) -> Vec<ErrorReason> {
        self.0.lock().unwrap().clone()
    }

    async fn is_told(&self) -> Vec<ErrorReason> {
        let deadline = Instant::now() + SOON;
        while self.reasons().is_empty() {
            assert!(Instant::now() < deadline, "nothing is told");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.reasons()
    }
}

fn checked() -> bytes::Bytes {
    let principal = wire::Principal { user_id: "ada".to_owned(), api_key_id: "k1".to_owned(), api_key_secret: 1, ..Default::default() };
    let grant = wire::Grant { hold: "hold_x".to_owned(), held_credits: 1, ..Default::default() };
    let result = Some(wire::check_response::Result::Grant(grant));
    framed(&wire::CheckResponse { principal: Some(principal), result, ..Default::default() })
}

/// Of one of Ada's keys; empty: of all that she has.
fn revocation(key: &str) -> Revocation {
    let reason = if key.is_empty() { "USER_DISABLED" } else { "CREDENTIAL_REVOKED" };
    let (user_id, api_key_id, reason) = ("ada".to_owned(), key.to_owned(), reason.to_owned());
    Revocation::read(wire::WatchRevocationsResponse { user_id, api_key_id, reason, ..Default::default() }).unwrap()
}

/// Answers with a refusal.
fn refuse(mut reply: Reply, code: Code, reason: ErrorReason) {
    let refusal = Status::from(CallError::new(code, reason, "no")).into_http::<()>();
    let mut stream = reply.send_response(head(200, GRPC_HEAD), false).unwrap();
    stream.send_trailers(refusal.into_parts().0.headers).unwrap();
}

#[tokio::test]
async fn what_is_revoked_while_a_check_is_on_its_way_counts_for_its_answer_and_what_was_before_it_does_not() {
    let mut scene = Scene::set().await;
    scene.revoked("k1");
    let admitting = scene.admit();
    let reply = scene.asked("Check").await;
    answer(reply, checked(), 1).await;
    let (grant, told) = (admitting.await.unwrap(), Arc::<Told>::default());
    grant.revocation_bell().ends(weak(&told));
    assert_eq!(told.reasons(), [], "whoever was let in after it was let in by something else");
    scene.settle(grant).await;

    let admitting = scene.admit();
    let reply = scene.asked("Check").await;
    scene.revoked("k2");
    scene.revoked("k1");
    answer(reply, checked(), 1).await;
    let (grant, told) = (admitting.await.unwrap(), Arc::<Told>::default());
    grant.revocation_bell().ends(weak(&told));
    assert_eq!(told.reasons(), [ErrorReason::CredentialRevoked]);
    scene.settle(grant).await;
}

#[tokio::test]
async fn an_answer_is_told_once_and_no_longer_once_it_is_settled_and_nothing_is_left_behind() {
    let mut scene = Scene::set().await;
    let (grant, told) = scene.granted().await;
    let (other, other_told) = scene.granted().await;
    assert_eq!(scene.running(), 2);
    scene.revoked("k2");
    assert_eq!(told.reasons(), []);
    scene.settle(other).await;
    assert_eq!(scene.running(), 1);
    scene.revoked("k1");
    scene.revoked("k1");
    assert_eq!((told.reasons(), other_told.reasons()), (vec![ErrorReason::CredentialRevoked], Vec::new()));
    // Dropped, it is refunded.
    drop(grant);
    let reply = scene.asked("Settle").await;
    answer(reply, settled("e"), 1).await;
    assert_eq!(scene.running(), 0);
}

#[tokio::test]
async fn where_a_revocation_may_mean_an_answer_auth_service_decides_and_its_silence_counts_as_the_revocation() {
    let mut scene = Scene::set().await;
    let (grant, told) = scene.granted().await;
    // The user was enabled again since.
    scene.revoked("");
    let reply = scene.asked("Extend").await;
    answer(reply, framed(&wire::ExtendResponse::default()), 1).await;
    // Of two at once, the second is asked about when the first was answered: that may be older.
    scene.revoked("");
    let first = scene.asked("Extend").await;
    scene.revoked("");
    answer(first, framed(&wire::ExtendResponse::default()), 1).await;
    let second = scene.asked("Extend").await;
    assert_eq!(told.reasons(), []);
    refuse(second, Code::PermissionDenied, ErrorReason::CredentialRevoked);
    assert_eq!(told.is_told().await, [ErrorReason::UserDisabled], "why it was asked");
    scene.settle(grant).await;

    let (grant, told) = scene.granted().await;
    scene.revoked("");
    let _silent = scene.asked("Extend").await;
    assert_eq!(told.is_told().await, [ErrorReason::UserDisabled], "though nobody answers");
    scene.settle(grant).await;
}

#[tokio::test]
async fn what_may_have_been_missed_is_asked_about_and_ends_an_answer_only_when_auth_service_says_so() {
    let mut scene = Scene::set().await;
    let watching = tokio::spawn(scene.client.clone().watch_revocations());
    let watch = scene.asked("WatchRevocations").await;
    let (grant, told) = scene.granted().await;
    let mut told_by = WatchReply::begin(watch);
    // What was revoked before the first watch nobody tells.
    told_by.tell(&wire::WatchRevocationsResponse { cursor: "7-0".to_owned(), ..Default::default() });
    let reply = scene.asked("Extend").await;
    refuse(reply, Code::Unavailable, ErrorReason::StoreUnavailable);
    told_by.tell(&wire::WatchRevocationsResponse { cursor: "8-0".to_owned(), has_gap: true, ..Default::default() });
    let reply = scene.asked("Extend").await;
    assert_eq!(told.reasons(), []);
    // The watch breaks, and begins again where it ended.
    drop(told_by);
    let watch = scene.asked("WatchRevocations").await;
    refuse(reply, Code::PermissionDenied, ErrorReason::UserDisabled);
    assert_eq!(told.is_told().await, [ErrorReason::UserDisabled]);
    scene.settle(grant).await;
    drop(watch);
    watching.abort();
}

#[tokio::test]
async fn what_a_watch_tells_ends_answers_at_once() {
    let mut scene = Scene::set().await;
    let watching = tokio::spawn(scene.client.clone().watch_revocations());
    let mut watch = WatchReply::begin(scene.asked("WatchRevocations").await);
    watch.tell(&wire::WatchRevocationsResponse { cursor: "7-0".to_owned(), ..Default::default() });
    let (grant, told) = scene.granted().await;
    watch.tell(&wire::WatchRevocationsResponse {
        user_id: "ada".to_owned(),
        api_key_id: "k1".to_owned(),
        reason: "CREDENTIAL_REVOKED".to_owned(),
        cursor: "8-0".to_owned(),
        ..Default::default()
    });
    assert_eq!(told.is_told().await, [ErrorReason::CredentialRevoked]);
    scene.settle(grant).await;
    watching.abort();
}

/// A watch's answer, message by message.
struct WatchReply(h2::SendStream<bytes::Bytes>);

impl WatchReply {
    fn begin(mut reply: Reply) -> Self {
        Self(reply.send_response(head(200, GRPC_HEAD), false).unwrap())
    }

    fn tell(&mut self, told: &wire::WatchRevocationsResponse) {
        self.0.send_data(framed(told), false).unwrap();
    }
}

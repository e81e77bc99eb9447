//! Checks that nobody answered, and that may have held credits all the same: they are sent again later, and the hold is released.
//!
//! A caller needs no good credential to leave one: while auth-service is silent, every call does. So there is one task for all of them, and
//! the queue is bounded. What finds no place is left to the hold's expiry, which gives back the same a little later.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prost::Message;
use shared::request_context::CurrentCall;
use tokio::time::Instant;

use super::AuthClient;
use super::refusal::may_have_held;
use super::stub::RetryableCheck;

/// How long a Check is sent again. By then the hold has expired.
const RELEASE_FOR: Duration = Duration::from_secs(60);
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// The most Checks in the queue.
const MAX_QUEUED: usize = 1024;
/// The most bytes that their messages have together: a credential may have 8 KiB.
const MAX_QUEUED_BYTES: usize = 2 << 20;

impl AuthClient {
    /// Gives back what a Check without an answer may have held: the caller was told that nothing was charged, and may come again under the
    /// same request id. The same attempt gets the same grant again, which is dropped here, and so refunded.
    pub(super) fn release(&self, check: RetryableCheck) {
        match self.inner.releases.push(Release::new(check)) {
            Push::First => drop(self.inner.tasks.spawn(self.clone().release_all())),
            Push::Queued => {}
            Push::Full => tracing::debug!("too many Checks had no answer: what this one may have held is left to its expiry"),
        }
    }

    /// Sends what is queued, one after the other, until the queue is empty.
    async fn release_all(self) {
        // Unhurried: who gave no answer to one is unlikely to answer the next.
        let mut pause = MIN_PAUSE;
        while !self.inner.releases.is_done() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
            while let Some(release) = self.inner.releases.pop(Instant::now()) {
                if !release.call.clone().scope(self.send_again(&release.check)).await {
                    // When others have taken its place meanwhile, it is left to its expiry.
                    self.inner.releases.push(release);
                    break;
                }
                pause = MIN_PAUSE;
            }
        }
    }

    /// Sends a Check once more, and refunds what it held. Whether there was an answer.
    async fn send_again(&self, check: &RetryableCheck) -> bool {
        let checked = self.inner.stub.check(check, Instant::now() + self.inner.check_timeout).await;
        let answered = !checked.as_ref().is_err_and(may_have_held);
        if answered {
            let held = self.admission(checked, &check.request_id).is_ok();
            tracing::info!(held, "a Check that had no answer was looked up again");
        }
        answered
    }
}

/// A Check that is to be sent again.
struct Release {
    check: RetryableCheck,
    /// For the log.
    call: CurrentCall,
    give_up: Instant,
}

impl Release {
    fn new(check: RetryableCheck) -> Self {
        Self { check, call: CurrentCall::get(), give_up: Instant::now() + RELEASE_FOR }
    }

    fn size_bytes(&self) -> usize {
        self.check.message.encoded_len() + self.check.request_id.len()
    }
}

/// What became of a Check that was to be queued.
#[derive(Debug, PartialEq, Eq)]
enum Push {
    /// It is queued, and no task runs yet that takes it.
    First,
    /// It is queued for the task that runs.
    Queued,
    /// There was no place.
    Full,
}

/// A bounded queue, and whether a task runs that empties it.
#[derive(Default)]
pub(super) struct ReleaseQueue(Mutex<State>);

#[derive(Default)]
struct State {
    queue: VecDeque<Release>,
    bytes: usize,
    has_task: bool,
}

impl ReleaseQueue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Held for a moment, and nothing in it can be left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts one at the end.
    fn push(&self, release: Release) -> Push {
        let mut state = self.lock();
        let bytes = state.bytes + release.size_bytes();
        if state.queue.len() >= MAX_QUEUED || bytes > MAX_QUEUED_BYTES {
            return Push::Full;
        }
        state.bytes = bytes;
        state.queue.push_back(release);
        if std::mem::replace(&mut state.has_task, true) { Push::Queued } else { Push::First }
    }

    /// The next that is not given up.
    fn pop(&self, now: Instant) -> Option<Release> {
        let mut state = self.lock();
        loop {
            let release = state.queue.pop_front()?;
            state.bytes -= release.size_bytes();
            if now < release.give_up {
                return Some(release);
            }
        }
    }

    /// Whether it is empty; then the task has to end.
    fn is_done(&self) -> bool {
        let mut state = self.lock();
        state.has_task = !state.queue.is_empty();
        !state.has_task
    }

    #[cfg(test)]
    fn waiting(&self) -> (usize, usize) {
        let state = self.lock();
        (state.queue.len(), state.bytes)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use futures_util::stream::FuturesUnordered;
    use shared::call_record::CallRecord;
    use shared::proto::auth::Operation;
    use shared::secret::Secret;
    use tokio::net::TcpListener;
    use tokio_util::task::TaskTracker;
    use tonic::{Code, Request};

    use super::super::{AuthClientConfig, AuthUrls, Charge};
    use super::*;
    use crate::caller::Caller;
    use crate::timers::Timers;

    fn client(listener: &TcpListener) -> (AuthClient, TaskTracker) {
        let tasks = TaskTracker::new();
        let config = AuthClientConfig {
            urls: AuthUrls::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap(),
            service_credential: Secret::generate().unwrap().0,
            check_timeout: Duration::from_millis(500),
            settle_retry_for: Duration::from_secs(1),
        };
        (AuthClient::new(config, tasks.clone(), Timers::new(tokio_util::sync::CancellationToken::new())).unwrap(), tasks)
    }

    /// So many calls at once with made-up credentials, all of which are refused.
    async fn refused(client: &AuthClient, calls: usize) {
        let call = |number: usize| async move {
            let mut request = Request::new(());
            request.metadata_mut().insert("authorization", format!("Bearer tg_{number}{}", "x".repeat(4000)).parse().unwrap());
            let caller = Caller::from_request(&request).unwrap();
            let charge = Charge {
                request_id: format!("r-{number}"),
                fingerprint: vec![1],
                max_input_tokens: 1,
                max_output_tokens: 1,
                require_full: false,
            };
            client.admit(&caller, Operation::Chat, "llama3.2", charge, CallRecord::begin()).await.unwrap_err()
        };
        let mut calls: FuturesUnordered<_> = (0..calls).map(call).collect();
        while let Some(error) = calls.next().await {
            assert_eq!(tonic::Status::from(error).code(), Code::Unavailable);
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
                    let serving = server.max_concurrent_streams(10_000).handshake::<_, bytes::Bytes>(stream);
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
}

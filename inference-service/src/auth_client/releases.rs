//! Checks that nobody answered, and that may have held credits all the same: they wait here to be looked up again.
//!
//! A caller needs no good credential to leave one: while auth-service is silent, every call does. So there is one task for all of them, and
//! places are few. What finds none is left to the hold's expiry, which gives back the same a little later.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::request_context::CurrentCall;
use tokio::time::Instant;

use super::channel::Call;

/// How long it is tried to give back what a Check without an answer may have held. By then the hold has expired.
const RELEASE_FOR: Duration = Duration::from_secs(60);
/// The most that wait.
const MOST: usize = 1024;
/// The most that their messages take together, in bytes: a credential may have 8 KiB.
const MOST_BYTES: usize = 2 << 20;

/// A Check that is to be looked up again.
pub(super) struct Release {
    pub(super) check: Call,
    pub(super) request_id: String,
    /// For the log.
    pub(super) call: CurrentCall,
    give_up: Instant,
}

impl Release {
    pub(super) fn new(check: Call, request_id: String) -> Self {
        Self { check, request_id, call: CurrentCall::get(), give_up: Instant::now() + RELEASE_FOR }
    }

    fn size_bytes(&self) -> usize {
        self.check.size_bytes() + self.request_id.len()
    }
}

/// What became of a Check that was to wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Queued {
    /// It waits, and whoever put it in has to start the task.
    StartTask,
    /// It waits for the task that runs.
    Waits,
    /// There was no place: it is left to the hold's expiry.
    NoPlace,
}

/// All that wait.
#[derive(Default)]
pub(super) struct Releases(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    queue: VecDeque<Release>,
    bytes: usize,
    /// Whether there is a task that looks them up.
    task: bool,
}

impl Releases {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Held for a moment, and nothing in it can be left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts one at the end.
    pub(super) fn put(&self, release: Release) -> Queued {
        let mut waiting = self.lock();
        let bytes = waiting.bytes + release.size_bytes();
        if waiting.queue.len() >= MOST || bytes > MOST_BYTES {
            return Queued::NoPlace;
        }
        waiting.bytes = bytes;
        waiting.queue.push_back(release);
        if std::mem::replace(&mut waiting.task, true) { Queued::Waits } else { Queued::StartTask }
    }

    /// The next that is still worth it.
    pub(super) fn take(&self, now: Instant) -> Option<Release> {
        let mut waiting = self.lock();
        loop {
            let release = waiting.queue.pop_front()?;
            waiting.bytes -= release.size_bytes();
            if now < release.give_up {
                return Some(release);
            }
        }
    }

    /// Whether none waits; then the task has to end.
    pub(super) fn is_done(&self) -> bool {
        let mut waiting = self.lock();
        waiting.task = !waiting.queue.is_empty();
        !waiting.task
    }

    #[cfg(test)]
    fn waiting(&self) -> (usize, usize) {
        let waiting = self.lock();
        (waiting.queue.len(), waiting.bytes)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use futures_util::stream::FuturesUnordered;
    use shared::proto::auth::Operation;
    use shared::secret::Secret;
    use tokio::net::TcpListener;
    use tokio_util::task::TaskTracker;
    use tonic::{Code, Request};

    use super::super::{AuthClient, AuthClientConfig, Charge};
    use super::*;
    use crate::caller::Caller;
    use crate::timers::Timers;

    fn client(listener: &TcpListener) -> (AuthClient, TaskTracker) {
        let tasks = TaskTracker::new();
        let config = AuthClientConfig {
            url: format!("http://{}", listener.local_addr().unwrap()).parse().unwrap(),
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
            client.admit(&caller, Operation::Chat, "llama3.2", charge).await.unwrap_err()
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
        assert!((1..=MOST).contains(&waiting), "{waiting} wait");
        assert!(bytes <= MOST_BYTES, "{bytes} bytes");
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

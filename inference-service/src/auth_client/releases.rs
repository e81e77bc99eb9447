//! Checks that nobody answered, and that may have held credits all the same: what they hold is released.
//!
//! A Release never makes a hold, so it may overtake its Check. That nothing is held is the last word only when the Check can no longer be
//! carried out. auth-service gives a Check up at the deadline that came with it, and then nothing is sent to Redis for it; what was sent is
//! waited for [`STORE_TIME`]. (SQLite's thread does what it is given in its order.) Until then the Release is sent again. What is carried
//! out later still, by a process that stood still meanwhile, expires by itself.
//!
//! A caller needs no good credential to leave a Check without an answer: while auth-service is silent, every call does. So there is one
//! task for all of them, and the queue is bounded. What finds no place is left to the hold's expiry, which gives back the same a little
//! later.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prost::Message;
use shared::proto::auth as wire;
use shared::request_context::CurrentCall;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::AuthClient;
use super::stub::RetryableCheck;

/// How long auth-service waits for its store: so much later than its deadline may a Check still be carried out.
const STORE_TIME: Duration = Duration::from_secs(2);
/// How long a Release is sent again that nobody answers. By then the hold has expired.
const RELEASE_FOR: Duration = Duration::from_secs(60);
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// The most Releases in the queue.
const MAX_QUEUED: usize = 1024;
/// The most bytes that their messages have together: a credential may have 8 KiB.
const MAX_QUEUED_BYTES: usize = 2 << 20;

impl AuthClient {
    /// Gives back what a Check without an answer may have held: the caller was told that nothing was charged, and may come again under the
    /// same request id. `deadline`: the one that came with the Check.
    pub(super) fn release(&self, check: RetryableCheck, deadline: Instant) {
        let Some(release) = Release::new(check, deadline) else { return };
        match self.inner.releases.push(release) {
            Push::First => drop(self.inner.tasks.spawn(self.clone().release_all())),
            Push::Queued => {}
            Push::Full => tracing::debug!("too many Checks had no answer: what this one may have held is left to its expiry"),
        }
    }

    /// Sends what is queued, in rounds with a pause between them, until the queue is empty.
    async fn release_all(self) {
        let mut pause = MIN_PAUSE;
        while !self.inner.releases.is_done() {
            tokio::time::sleep(pause).await;
            // Unhurried: who gave no answer to one is unlikely to answer the next.
            pause = (pause * 2).min(MAX_PAUSE);
            for _ in 0..self.inner.releases.count() {
                let Some(mut release) = self.inner.releases.pop(Instant::now()) else { break };
                let told = release.call.clone().scope(self.ask(&mut release)).await;
                if told != Told::Enough {
                    // When others have taken its place meanwhile, it is left to its expiry.
                    self.inner.releases.push(release);
                }
                if told == Told::Nothing {
                    break;
                }
                pause = MIN_PAUSE;
            }
        }
    }

    /// Sends a Release once.
    async fn ask(&self, release: &mut Release) -> Told {
        let asked = Instant::now();
        let answer = self.inner.stub.release(release.message.clone(), &release.request_id, asked + self.inner.check_timeout).await;
        let told = release.told(answer.as_ref().map(wire::ReleaseResponse::result), asked);
        match answer {
            Ok(response) if told == Told::Enough => {
                tracing::info!(result = response.result().as_str_name(), "a Check that had no answer was released");
            }
            Err(status) if status.code() == Code::Unimplemented => {
                if self.inner.releases.is_first_refusal() {
                    tracing::warn!("this auth-service can't release what Checks without an answer may have held: it is left to its expiry");
                }
            }
            Err(status) if told == Told::Enough => tracing::error!(code = ?status.code(), "a Check that had no answer can't be released"),
            Ok(_) | Err(_) => {}
        }
        told
    }
}

/// What a Release has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// There is no more to ask.
    Enough,
    /// An answer that may change.
    NotYet,
    /// None.
    Nothing,
}

/// A Release that is to be sent, until it has brought enough.
struct Release {
    message: wire::ReleaseRequest,
    /// For auth-service's log.
    request_id: String,
    /// For the log.
    call: CurrentCall,
    /// Whoever is asked from then on that nothing is held, says it for good.
    final_from: Instant,
    give_up: Instant,
}

impl Release {
    /// `None`: the Check was to hold nothing.
    fn new(check: RetryableCheck, deadline: Instant) -> Option<Self> {
        let RetryableCheck { message: wire::CheckRequest { credential, account, charge, .. }, request_id, .. } = check;
        let wire::Charge { request_id: charged_id, attempt_id, .. } = charge?;
        Some(Self {
            message: wire::ReleaseRequest { credential, account, request_id: charged_id, attempt_id },
            request_id,
            call: CurrentCall::get(),
            final_from: deadline + STORE_TIME,
            give_up: Instant::now() + RELEASE_FOR,
        })
    }

    /// What an answer means to a question that was asked at this time.
    fn told(&mut self, answer: Result<wire::ReleaseResult, &Status>, asked: Instant) -> Told {
        match answer {
            Ok(wire::ReleaseResult::Released | wire::ReleaseResult::ResolvedBefore) => Told::Enough,
            Ok(wire::ReleaseResult::NothingHeld | wire::ReleaseResult::Unspecified) if asked < self.final_from => Told::NotYet,
            Ok(wire::ReleaseResult::NothingHeld | wire::ReleaseResult::Unspecified) => Told::Enough,
            Err(status) if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted) => {
                // What stands before its store now may be carried out once the store answers again.
                self.final_from = self.final_from.max(Instant::now() + STORE_TIME);
                Told::Nothing
            }
            Err(_) => Told::Enough,
        }
    }

    fn size_bytes(&self) -> usize {
        self.message.encoded_len() + self.request_id.len()
    }
}

/// What became of a Release that was to be queued.
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
    /// Whether an auth-service has said that it knows no Release.
    was_refused: bool,
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

    /// How many wait.
    fn count(&self) -> usize {
        self.lock().queue.len()
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

    /// Whether nobody has said before that there is no Release.
    fn is_first_refusal(&self) -> bool {
        !std::mem::replace(&mut self.lock().was_refused, true)
    }

    #[cfg(test)]
    fn waiting(&self) -> (usize, usize) {
        let state = self.lock();
        (state.queue.len(), state.bytes)
    }
}

#[cfg(test)]
mod tests;

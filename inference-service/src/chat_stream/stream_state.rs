//! What a stream and the timer of its limits share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::ErrorReason;
use shared::error::CallError;
use shared::request_context::CurrentCall;
use tokio::time::Instant;

use super::answer::Answer;
use super::limits::{StreamLimits, StreamTimes};
use super::unread_waker::UnreadWaker;
use crate::auth_client::Revocable;
use crate::call_failure::{CallFailure, Limit};
use crate::timers::Timed;

pub(super) struct StreamState {
    answer: Mutex<Answer>,
    pub(super) unread: Arc<UnreadWaker>,
    limits: StreamLimits,
    /// When the caller stops waiting.
    deadline: Option<Instant>,
    /// The call that log lines are about: the stream is polled and dropped by its connection, outside of it.
    pub(super) call: CurrentCall,
}

impl StreamState {
    pub(super) fn new(answer: Answer, unread: Arc<UnreadWaker>, limits: StreamLimits, deadline: Option<Instant>) -> Self {
        Self { answer: Mutex::new(answer), unread, limits, deadline, call: CurrentCall::get() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Answer> {
        // A panic under the lock leaves the answer as it was between two events: good enough to settle.
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the timer is to look at the stream next.
    pub(super) fn next_look(&self, now: Instant) -> Instant {
        let times = self.times(&self.lock());
        self.limits.next_look(&times, now)
    }

    fn times(&self, answer: &Answer) -> StreamTimes {
        StreamTimes {
            opened: self.unread.opened,
            unread_since: self.unread.unread_since(),
            last_piece: answer.last_piece,
            deadline: self.deadline,
        }
    }

    /// Ends the answer for a limit that is reached, whether or not the caller reads.
    fn cut_off(&self, limit: Limit) {
        let mut answer = self.lock();
        if answer.grant.is_none() {
            return;
        }
        self.call.clone().enter(|| {
            let (outcome, usage) = (answer.outcome_of_limit(limit), answer.tally.usage(None));
            let after = self.unread.opened.elapsed();
            tracing::debug!(?limit, ?after, output_tokens = usage.output_tokens, "an answer was cut off");
            let reason = CallError::from(&CallFailure::Limit(limit)).reason();
            answer.cut_off = answer.settle(outcome, usage, Some(reason)).map(|receipt| (limit, receipt));
        });
        drop(answer);
        self.unread.wake_caller();
    }
}

impl Timed for StreamState {
    fn on_time(&self, now: Instant) -> Option<Instant> {
        let times = {
            let answer = self.lock();
            answer.grant.as_ref()?;
            self.times(&answer)
        };
        let (at, limit) = self.limits.first(&times);
        if at > now {
            return Some(self.limits.next_look(&times, now));
        }
        self.cut_off(limit);
        None
    }

    fn on_cut_off(&self) {
        self.cut_off(Limit::Drain);
    }
}

impl Revocable for StreamState {
    fn on_revoked(&self, reason: ErrorReason) {
        self.cut_off(Limit::Revoked(reason));
    }
}

//! Extending a hold for as long as its answer runs, and ending the answer when its credential is no longer good.
//!
//! An Extend is answered by rights: it is refused when the credential that the hold was made with was revoked since. So an answer ends at
//! its next Extend at the latest, and earlier when [`RunningAnswers`](super::running::RunningAnswers) hears of the revocation.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use shared::ErrorReason;
use shared::error::reason_of;
use shared::proto::auth as wire;
use shared::request_context::CurrentCall;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::AuthClient;
use super::grant::Meter;
use super::revocation::{Holder, reason_of_cut};
use super::running::Revocable;
use crate::timers::Timed;

const MIN_INTERVAL: Duration = Duration::from_millis(50);
/// How long the answer to a question may take that a revocation asks. Without one, the revocation counts.
const DOUBT_TIMEOUT: Duration = Duration::from_millis(500);

/// Extends one hold each time its interval has passed; the hold lives three of them.
pub(super) struct Extension {
    pub(super) client: AuthClient,
    pub(super) hold: String,
    pub(super) request_id: String,
    /// The call that the hold was made for: the log names it.
    pub(super) call: CurrentCall,
    pub(super) meter: Arc<Meter>,
    /// Whose credential it was made with.
    pub(super) holder: Holder,
    interval: Duration,
    state: Mutex<State>,
    /// Itself, for the tasks that it starts.
    this: Weak<Self>,
}

struct State {
    next: NextExtend,
    /// Whom to tell that the credential was revoked.
    answer: Option<Weak<dyn Revocable>>,
    revoked: Option<ErrorReason>,
}

/// When to extend again.
#[derive(Debug, Clone, Copy)]
enum NextExtend {
    At(Instant),
    /// One is in progress. With a question, another one follows at once: this one may have been answered before what is asked about.
    Running(Option<Question>),
    /// The hold was resolved by somebody else.
    Never,
}

/// Why auth-service is asked before the time: a revocation that may mean this answer, or none that is known.
#[derive(Debug, Clone, Copy)]
struct Question(Option<ErrorReason>);

/// What an Extend has shown.
enum Shown {
    /// The hold lives on.
    Extended,
    /// The credential is no longer good.
    Revoked(ErrorReason),
    /// The hold is no longer there.
    Resolved(Option<ErrorReason>),
    /// Nothing.
    Unanswered,
}

impl Shown {
    fn of(answer: Result<wire::ExtendResponse, Status>) -> Self {
        let Err(status) = answer else { return Self::Extended };
        match (status.code(), reason_of(&status)) {
            (Code::NotFound | Code::FailedPrecondition, reason) => Self::Resolved(reason),
            (Code::PermissionDenied, Some(reason)) => Self::Revoked(reason_of_cut(Some(reason))),
            _ => Self::Unanswered,
        }
    }
}

impl Extension {
    /// Of this hold, and when it is due first.
    pub(super) fn new(client: AuthClient, hold: String, request_id: &str, holder: Holder, interval: Duration) -> (Arc<Self>, Instant) {
        let interval = interval.max(MIN_INTERVAL);
        let at = Instant::now() + interval;
        let state = Mutex::new(State { next: NextExtend::At(at), answer: None, revoked: None });
        let (request_id, call, meter) = (request_id.to_owned(), CurrentCall::get(), Arc::default());
        let extension =
            Arc::new_cyclic(|this| Self { client, hold, request_id, call, meter, holder, interval, state, this: Weak::clone(this) });
        (extension, at)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is called under the lock, and nothing in it can be left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whom to tell when the credential is revoked. If it was already, that is told at once.
    pub(super) fn ends(&self, answer: Weak<dyn Revocable>) {
        let mut state = self.lock();
        let revoked = state.revoked;
        state.answer = Some(Weak::clone(&answer));
        drop(state);
        if let (Some(reason), Some(answer)) = (revoked, answer.upgrade()) {
            answer.on_revoked(reason);
        }
    }

    /// The credential was revoked: the answer ends.
    pub(super) fn revoke(&self, reason: ErrorReason) {
        let mut state = self.lock();
        if state.revoked.is_some() {
            return;
        }
        state.revoked = Some(reason);
        let answer = state.answer.as_ref().and_then(Weak::upgrade);
        drop(state);
        if let Some(answer) = answer {
            answer.on_revoked(reason);
        }
    }

    /// Asks auth-service whether the credential is still good. `reason`: of the revocation that may mean it, which counts when nobody
    /// answers.
    pub(super) fn ask(&self, reason: Option<ErrorReason>) {
        let mut state = self.lock();
        match &mut state.next {
            NextExtend::At(_) => {
                state.next = NextExtend::Running(None);
                drop(state);
                self.start(Some(Question(reason)));
            }
            // A question with a reason is not forgotten for one without.
            NextExtend::Running(waiting) => *waiting = Some(Question(reason.or(waiting.and_then(|Question(reason)| reason)))),
            NextExtend::Never => {
                drop(state);
                // Of a hold that is gone nothing can be learned.
                if let Some(reason) = reason {
                    self.revoke(reason);
                }
            }
        }
    }

    /// Between two looks at an Extend in progress, and before one that failed is tried again.
    fn retry_interval(&self) -> Duration {
        (self.interval / 4).max(MIN_INTERVAL)
    }

    fn start(&self, question: Option<Question>) {
        let Some(this) = self.this.upgrade() else { return };
        let extend = async move {
            let mut question = question;
            while let Some(next) = this.extend(question).await {
                question = Some(next);
            }
        };
        self.client.inner.tasks.spawn(self.call.clone().scope(extend));
    }

    /// Extends once. Answers the question that was asked meanwhile.
    async fn extend(&self, question: Option<Question>) -> Option<Question> {
        let message = wire::ExtendRequest { hold: self.hold.clone(), usage: Some(self.meter.usage().into()) };
        let doubt = question.and_then(|Question(reason)| reason);
        let patience = if doubt.is_some() { DOUBT_TIMEOUT } else { self.interval };
        let shown = Shown::of(self.client.inner.stub.extend(message, &self.request_id, Instant::now() + patience).await);
        let revoked = match (&shown, doubt) {
            (Shown::Extended, _) | (Shown::Resolved(_) | Shown::Unanswered, None) => None,
            // What the revocation says is more than what is left of the credential.
            (Shown::Revoked(_) | Shown::Resolved(_) | Shown::Unanswered, Some(doubt)) => Some(doubt),
            (Shown::Revoked(reason), None) => Some(*reason),
        };
        let pause = match shown {
            // What was revoked is settled within moments.
            Shown::Extended | Shown::Revoked(_) => Some(self.interval),
            Shown::Unanswered => Some(self.retry_interval()),
            Shown::Resolved(reason) => {
                if revoked.is_none() {
                    tracing::warn!(?reason, "the hold was resolved while its answer is still running; it will be settled late");
                }
                None
            }
        };
        let mut state = self.lock();
        let next = match state.next {
            NextExtend::Running(next) => next,
            NextExtend::At(_) | NextExtend::Never => None,
        };
        state.next = match (next, pause) {
            (Some(_), _) => NextExtend::Running(None),
            (None, Some(pause)) => NextExtend::At(Instant::now() + pause),
            (None, None) => NextExtend::Never,
        };
        drop(state);
        if let Some(reason) = revoked {
            self.revoke(reason);
        }
        next
    }
}

impl Timed for Extension {
    fn on_time(&self, now: Instant) -> Option<Instant> {
        let mut state = self.lock();
        match state.next {
            NextExtend::Never => None,
            NextExtend::At(at) if at > now => Some(at),
            NextExtend::At(_) => {
                state.next = NextExtend::Running(None);
                drop(state);
                self.start(None);
                Some(now + self.retry_interval())
            }
            NextExtend::Running(_) => Some(now + self.retry_interval()),
        }
    }
}

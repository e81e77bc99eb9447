//! Extending a hold for as long as its answer runs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shared::error::reason_of;
use shared::proto::auth as wire;
use shared::request_context::CurrentCall;
use tokio::time::Instant;
use tonic::Code;

use super::AuthClient;
use super::grant::Meter;
use crate::timers::Timed;

const MIN_INTERVAL: Duration = Duration::from_millis(50);

/// Extends one hold each time its interval has passed; the hold lives three of them.
pub(super) struct Extension {
    pub(super) client: AuthClient,
    pub(super) hold: String,
    pub(super) request_id: String,
    /// The call that the hold was made for: the log names it.
    pub(super) call: CurrentCall,
    pub(super) meter: Arc<Meter>,
    interval: Duration,
    next: Arc<Mutex<NextExtend>>,
}

/// When to extend again.
#[derive(Debug, Clone, Copy)]
enum NextExtend {
    At(Instant),
    /// One is in progress.
    Running,
    /// The hold was resolved by somebody else.
    Never,
}

impl Extension {
    /// Of this hold, and when it is due first.
    pub(super) fn new(client: AuthClient, hold: String, request_id: &str, interval: Duration) -> (Arc<Self>, Instant) {
        let interval = interval.max(MIN_INTERVAL);
        let at = Instant::now() + interval;
        let next = Arc::new(Mutex::new(NextExtend::At(at)));
        let (request_id, call, meter) = (request_id.to_owned(), CurrentCall::get(), Arc::default());
        (Arc::new(Self { client, hold, request_id, call, meter, interval, next }), at)
    }

    /// Between two looks at an Extend in progress, and before one that failed is tried again.
    fn retry_interval(&self) -> Duration {
        (self.interval / 4).max(MIN_INTERVAL)
    }

    fn set(next: &Mutex<NextExtend>, value: NextExtend) {
        *next.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }

    fn start(&self) {
        let (client, request_id, next) = (self.client.clone(), self.request_id.clone(), Arc::clone(&self.next));
        let (interval, retry_interval) = (self.interval, self.retry_interval());
        let message = wire::ExtendRequest { hold: self.hold.clone(), usage: Some(self.meter.usage().into()) };
        let extend = async move {
            let pause = match client.inner.stub.extend(message, &request_id, Instant::now() + interval).await {
                Ok(_) => interval,
                Err(status) if matches!(status.code(), Code::NotFound | Code::FailedPrecondition) => {
                    let reason = reason_of(&status);
                    tracing::warn!(?reason, "the hold was resolved while its answer is still running; it will be settled late");
                    return Self::set(&next, NextExtend::Never);
                }
                Err(_) => retry_interval,
            };
            Self::set(&next, NextExtend::At(Instant::now() + pause));
        };
        self.client.inner.tasks.spawn(self.call.clone().scope(extend));
    }
}

impl Timed for Extension {
    fn on_time(&self, now: Instant) -> Option<Instant> {
        let next = *self.next.lock().unwrap_or_else(PoisonError::into_inner);
        match next {
            NextExtend::Never => None,
            NextExtend::At(at) if at > now => Some(at),
            NextExtend::At(_) => {
                Self::set(&self.next, NextExtend::Running);
                self.start();
                Some(now + self.retry_interval())
            }
            NextExtend::Running => Some(now + self.retry_interval()),
        }
    }
}

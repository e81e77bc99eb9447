//! How long a connection may live on: it ends when it is idle for too long, and when it is old.

use std::time::Duration;

use tokio::time::Instant;

use crate::connection_slots::ConnectionState;

/// How long a connection may be without a call while none on it was authenticated.
const UNPROVED_IDLE: Duration = Duration::from_secs(60);
/// How long calls may go on after a connection was asked to end because of its age: longer than any answer lives by default.
const AGE_GRACE: Duration = Duration::from_secs(3900);
/// How long an idle connection may take to end once it was asked to.
const IDLE_GRACE: Duration = Duration::from_secs(5);

/// How long a connection may live on.
pub(super) struct Lifetime {
    idle: Duration,
    ends: Instant,
    asked_to_end: bool,
}

/// What is to be done with a connection.
pub(super) enum LifetimeStep {
    /// It lives on, and is checked again after this time.
    CheckAgain(Duration),
    /// It is sent GOAWAY; what runs may finish within this time.
    GoAway(Duration),
    /// It is closed, with what runs.
    Close,
}

impl Lifetime {
    pub(super) fn new(idle: Duration, age: Duration) -> Self {
        // Up to a tenth less, by chance: connections that were made together aren't made anew together.
        let mut chance = [0];
        let less = if getrandom::fill(&mut chance).is_ok() { age / 10 * u32::from(chance[0]) / 256 } else { Duration::ZERO };
        Self { idle, ends: Instant::now() + (age - less), asked_to_end: false }
    }

    pub(super) fn first_check(&self) -> Duration {
        self.idle.min(UNPROVED_IDLE).min(self.ends.saturating_duration_since(Instant::now()))
    }

    pub(super) fn check(&mut self, state: &ConnectionState) -> LifetimeStep {
        let now = Instant::now();
        let allowed = if state.is_proved() { self.idle } else { self.idle.min(UNPROVED_IDLE) };
        let idle = state.idle_for().unwrap_or_default();
        if self.asked_to_end {
            return LifetimeStep::Close;
        }
        if idle >= allowed || now >= self.ends {
            self.asked_to_end = true;
            return LifetimeStep::GoAway(if now >= self.ends { AGE_GRACE } else { IDLE_GRACE });
        }
        LifetimeStep::CheckAgain((allowed - idle).min(self.ends - now).max(Duration::from_millis(10)))
    }
}

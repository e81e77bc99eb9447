//! What a call costs whose answer did not come to its end. All kinds of calls are settled by these rules.

use crate::auth_client::Outcome;
use crate::call_failure::Limit;

/// How far the work on a call had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WorkDone {
    /// Its request was on its way to the model.
    pub(crate) was_sent: bool,
    /// The engine has refused it.
    pub(crate) was_refused: bool,
    /// Something of the answer was read.
    pub(crate) has_begun: bool,
}

impl WorkDone {
    /// A failure before the first token costs nothing; after it, what was read.
    pub(crate) fn outcome_of_failure(self) -> Outcome {
        if self.has_begun { Outcome::UpstreamFailed } else { Outcome::NothingGenerated }
    }

    /// A caller that goes away pays from when its request went upstream, unless it was refused there.
    pub(crate) fn outcome_of_cancel(self) -> Outcome {
        if self.was_refused {
            self.outcome_of_failure()
        } else if self.was_sent {
            Outcome::Cancelled
        } else {
            Outcome::NothingGenerated
        }
    }

    /// A limit that the caller has set or reached is its going away, and so is the end of its credential; any other one is the engine's
    /// failure.
    pub(crate) fn outcome_of_limit(self, limit: Limit) -> Outcome {
        match limit {
            Limit::Deadline | Limit::SlowReader | Limit::Life | Limit::Revoked(_) => self.outcome_of_cancel(),
            Limit::FirstByte | Limit::Idle | Limit::Drain => self.outcome_of_failure(),
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::ErrorReason;

    use super::*;

    #[test]
    fn who_leaves_pays_for_what_was_sent_and_the_engines_failure_costs_what_was_read() {
        let work = |was_sent, was_refused, has_begun| WorkDone { was_sent, was_refused, has_begun };
        use Outcome::{Cancelled, NothingGenerated, UpstreamFailed};
        for (work, failed, left) in [
            (work(false, false, false), NothingGenerated, NothingGenerated),
            (work(true, false, false), NothingGenerated, Cancelled),
            (work(true, true, false), NothingGenerated, NothingGenerated),
            (work(true, false, true), UpstreamFailed, Cancelled),
            (work(true, true, true), UpstreamFailed, UpstreamFailed),
        ] {
            assert_eq!((work.outcome_of_failure(), work.outcome_of_cancel()), (failed, left), "{work:?}");
            for limit in [Limit::Deadline, Limit::SlowReader, Limit::Life, Limit::Revoked(ErrorReason::UserDisabled)] {
                assert_eq!(work.outcome_of_limit(limit), left);
            }
            for limit in [Limit::FirstByte, Limit::Idle, Limit::Drain] {
                assert_eq!(work.outcome_of_limit(limit), failed);
            }
        }
    }
}

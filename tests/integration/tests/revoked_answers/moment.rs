//! Time, without what is the machine's fault: tests run beside others, and all want its processors.

use std::fs;
use std::time::{Duration, Instant};

/// An instant, and how long something on this machine had waited for a processor until then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    instant: Instant,
    waited: Duration,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { instant: Instant::now(), waited: waited() }
    }

    /// What has passed since then while nothing waited for a processor.
    pub(crate) fn elapsed(self) -> Duration {
        Self::now().undisturbed_since(self)
    }

    /// What passed between the two while nothing waited for a processor.
    pub(crate) fn undisturbed_since(self, earlier: Self) -> Duration {
        self.since(earlier).saturating_sub(self.waited.saturating_sub(earlier.waited))
    }

    /// What passed between the two.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.instant.saturating_duration_since(earlier.instant)
    }
}

/// By the kernel's account of it. A kernel that keeps none takes nothing off.
fn waited() -> Duration {
    let account = fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    let total = account.lines().next().and_then(|some| some.rsplit_once("total=")).and_then(|(_, total)| total.parse().ok());
    Duration::from_micros(total.unwrap_or_default())
}

//! The clock that a store reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Whose time a store goes by.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The store's own: the system's for SQLite, and Redis's own inside each script, so that the clocks of replicas don't matter.
    #[default]
    Store,
    /// Milliseconds since 1970 as somebody else sets them, at least 0. For tests.
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at a time, and the hand to move it.
    #[must_use]
    pub fn fixed(at_ms: i64) -> (Self, Arc<AtomicI64>) {
        let hand = Arc::new(AtomicI64::new(at_ms));
        (Self::Fixed(Arc::clone(&hand)), hand)
    }

    /// Now, by this process: milliseconds since 1970.
    #[must_use]
    pub(crate) fn now_ms(&self) -> i64 {
        self.fixed_ms().unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
    }

    /// The time that was set; `None` when the store's own counts.
    #[must_use]
    pub(crate) fn fixed_ms(&self) -> Option<i64> {
        match self {
            Self::Store => None,
            Self::Fixed(hand) => Some(hand.load(Ordering::SeqCst)),
        }
    }
}

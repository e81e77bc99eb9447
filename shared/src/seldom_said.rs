//! What anybody may cause to be logged, said seldom.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines of one kind.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// One kind of line: the first time it is said, and then once a minute at most, with how often it was due.
#[derive(Debug, Default)]
pub(crate) struct SeldomSaid(Mutex<Due>);

#[derive(Debug, Default)]
struct Due {
    said: Option<Instant>,
    times: u64,
}

impl SeldomSaid {
    /// Whether it is to be said now: how often it was due since it was said last, this time included.
    pub(crate) fn is_due(&self) -> Option<u64> {
        let mut due = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        due.times += 1;
        if due.said.is_some_and(|said| said.elapsed() < SAY_EVERY) {
            return None;
        }
        due.said = Some(Instant::now());
        Some(std::mem::take(&mut due.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_a_thousand_times_at_once_is_said_once_and_then_with_its_count() {
        let line = SeldomSaid::default();
        assert_eq!(line.is_due(), Some(1));
        assert!((0..999).all(|_| line.is_due().is_none()));
        let before = Instant::now().checked_sub(SAY_EVERY);
        line.0.lock().unwrap().said = before;
        assert_eq!(line.is_due(), if before.is_some() { Some(1_000) } else { None });
    }
}

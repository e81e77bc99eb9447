//! How often an account's holds may come back whole: a token bucket.
//!
//! A call that comes to nothing costs its caller nothing, and the stores and the model server their work. The bucket is one figure of the
//! account, the time until which its refunds reach: each refund moves it on by the same span, from now if it lies behind.

use std::time::Duration;

/// The size of the bucket, and how fast it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefundLimit {
    /// Refunds at once; ≥ 1.
    pub burst: u32,
    /// The time in which one more is allowed.
    pub every: Duration,
}

impl Default for RefundLimit {
    fn default() -> Self {
        Self { burst: 100, every: Duration::from_millis(100) }
    }
}

impl RefundLimit {
    /// The span in milliseconds by which each refund moves the time on.
    #[must_use]
    pub fn every_ms(self) -> i64 {
        i64::try_from(self.every.as_millis()).unwrap_or(i64::MAX)
    }

    /// How far the time may lie ahead of now, in milliseconds, for a call to be let in.
    #[must_use]
    pub fn ahead_ms(self) -> i64 {
        i64::from(self.burst.saturating_sub(1)).saturating_mul(self.every_ms())
    }

    /// The time after one more refund.
    #[must_use]
    pub fn after_one(self, refunds_until_ms: i64, max_open_holds: u32, now_ms: i64) -> i64 {
        let is_ours = (0..=self.farthest_ms(max_open_holds)).contains(&refunds_until_ms.saturating_sub(now_ms));
        (if is_ours { refunds_until_ms } else { now_ms }).saturating_add(self.every_ms())
    }

    /// How far the time can lie ahead at all, in milliseconds, when so many holds are refunded that may be open at once. Farther, the clock
    /// has gone back, and the bucket counts as full.
    #[must_use]
    pub fn farthest_ms(self, max_open_holds: u32) -> i64 {
        self.ahead_ms().saturating_add(i64::from(max_open_holds).saturating_mul(self.every_ms()))
    }

    /// How long a call must wait; `None`: it is let in.
    #[must_use]
    pub fn wait(self, refunds_until_ms: i64, max_open_holds: u32, now_ms: i64) -> Option<Duration> {
        let ahead_ms = refunds_until_ms.saturating_sub(now_ms);
        let waits = ahead_ms > self.ahead_ms() && ahead_ms <= self.farthest_ms(max_open_holds);
        waits.then(|| Duration::from_millis((ahead_ms - self.ahead_ms()).unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_refunds_are_allowed_at_once_and_then_one_in_each_span() {
        let limit = RefundLimit { burst: 3, every: Duration::from_secs(2) };
        let (wait, after_one) =
            (|until_ms, now_ms| limit.wait(until_ms, 5, now_ms), |until_ms, now_ms| limit.after_one(until_ms, 5, now_ms));
        let mut until_ms = 0;
        for refunded in 0..3 {
            assert_eq!(wait(until_ms, 50_000), None, "{refunded}");
            until_ms = after_one(until_ms, 50_000);
        }
        assert_eq!(wait(until_ms, 50_000), Some(Duration::from_secs(2)));
        assert_eq!(wait(until_ms, 51_500), Some(Duration::from_millis(500)));
        assert_eq!(wait(until_ms, 52_000), None);
        until_ms = after_one(until_ms, 52_000);
        assert_eq!(wait(until_ms, 52_000), Some(Duration::from_secs(2)));
        // A bucket that nobody used for long holds no more than its size.
        assert_eq!(after_one(until_ms, 1_000_000), 1_002_000);
    }

    #[test]
    fn calls_that_were_in_progress_when_the_bucket_was_empty_are_waited_for_as_well() {
        let limit = RefundLimit { burst: 1, every: Duration::from_secs(1) };
        let until_ms = (0..4).fold(0, |until_ms, _| limit.after_one(until_ms, 4, 10_000));
        assert_eq!(limit.wait(until_ms, 4, 10_000), Some(Duration::from_secs(4)));
    }

    #[test]
    fn a_clock_that_went_back_keeps_nobody_out() {
        let limit = RefundLimit::default();
        let until_ms = limit.after_one(3_600_000, 64, 3_600_000);
        assert_eq!(limit.wait(until_ms, 64, 0), None);
        assert_eq!(limit.after_one(until_ms, 64, 0), 100);
    }
}

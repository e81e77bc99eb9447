//! How long a stream may take, and for what.

use std::time::Duration;

use tokio::time::Instant;

use crate::call_failure::Limit;

/// How long things may take while an answer is streamed.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// Until the first piece: load, queue and prompt evaluation are silence.
    pub first_byte_timeout: Duration,
    /// Between pieces: a tool call is one piece after all of it was generated.
    pub idle_timeout: Duration,
    /// That a caller may take to read what is there.
    pub slow_reader_timeout: Duration,
    /// In all.
    pub max_stream_life: Duration,
    /// That the last event waits for the receipt.
    pub settle_wait: Duration,
}

/// Where a stream stands, as far as its limits depend on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamTimes {
    pub(super) opened: Instant,
    /// Since when there is data that the caller hasn't read.
    pub(super) unread_since: Option<Instant>,
    pub(super) last_piece: Option<Instant>,
    /// When the caller stops waiting.
    pub(super) deadline: Option<Instant>,
}

impl StreamLimits {
    /// The limit that is reached first, and when. Time that the caller takes to read is not the engine's.
    pub(super) fn first(&self, times: &StreamTimes) -> (Instant, Limit) {
        let silence = match (times.unread_since, times.last_piece) {
            (Some(since), _) => (since + self.slow_reader_timeout, Limit::SlowReader),
            (None, Some(last)) => (last + self.idle_timeout, Limit::Idle),
            (None, None) => (times.opened + self.first_byte_timeout, Limit::FirstByte),
        };
        let end_of_life = (times.opened + self.max_stream_life, Limit::Life);
        let first = if silence.0 <= end_of_life.0 { silence } else { end_of_life };
        match times.deadline {
            Some(deadline) if deadline < first.0 => (deadline, Limit::Deadline),
            _ => first,
        }
    }

    /// The same of a call whose answer has not begun, and which its caller need not read before it is whole.
    pub(crate) fn first_of_silence(&self, opened: Instant, deadline: Option<Instant>) -> (Instant, Limit) {
        self.first(&StreamTimes { opened, unread_since: None, last_piece: None, deadline })
    }

    /// When to look at a stream again. What it waits for may change at any moment, from the caller to the engine and back. So the next look
    /// is no later than the shortest of these time-outs could end, whatever the first limit is now.
    pub(super) fn next_look(&self, times: &StreamTimes, now: Instant) -> Instant {
        let (at, _) = self.first(times);
        at.min(now + self.slow_reader_timeout.min(self.idle_timeout).min(self.first_byte_timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LIMITS: StreamLimits = StreamLimits {
        first_byte_timeout: Duration::from_secs(600),
        idle_timeout: Duration::from_secs(300),
        slow_reader_timeout: Duration::from_secs(30),
        max_stream_life: Duration::from_secs(3600),
        settle_wait: Duration::from_secs(2),
    };

    #[test]
    fn the_limit_that_is_reached_first_counts_and_the_callers_time_is_not_the_engines() {
        let opened = Instant::now();
        let silent = StreamTimes { opened, unread_since: None, last_piece: None, deadline: None };
        let at = |seconds: u32| Some(opened + SECOND * seconds);
        for (times, seconds, limit) in [
            (silent, 600, Limit::FirstByte),
            (StreamTimes { last_piece: at(10), ..silent }, 310, Limit::Idle),
            (StreamTimes { last_piece: at(10), unread_since: at(10), ..silent }, 40, Limit::SlowReader),
            (StreamTimes { unread_since: at(0), ..silent }, 30, Limit::SlowReader),
            (StreamTimes { last_piece: at(3590), ..silent }, 3600, Limit::Life),
            (StreamTimes { last_piece: at(3590), unread_since: at(3590), ..silent }, 3600, Limit::Life),
            (StreamTimes { deadline: at(5), ..silent }, 5, Limit::Deadline),
            (StreamTimes { deadline: at(601), ..silent }, 600, Limit::FirstByte),
        ] {
            assert_eq!(LIMITS.first(&times), (opened + SECOND * seconds, limit), "{times:?}");
        }
        // What is unread from now on must be noticed in time.
        assert_eq!(LIMITS.next_look(&silent, opened + SECOND), opened + SECOND * 31);
    }
}

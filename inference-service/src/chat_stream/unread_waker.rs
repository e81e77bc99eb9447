//! A waker that records when data became available. Data that is left unread for too long means a slow reader.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

/// Since when there is something that the caller hasn't read: the engine has woken the stream, or the stream gave a piece, and it was not
/// polled again. A caller that doesn't read looks just so, because its connection has no room.
pub(super) struct UnreadWaker {
    pub(super) opened: Instant,
    /// Microseconds since `opened`, plus 1; 0: nothing is unread.
    unread_since: AtomicU64,
    caller: AtomicWaker,
}

impl UnreadWaker {
    /// Nothing is unread yet.
    pub(super) fn new(opened: Instant) -> Self {
        Self { opened, unread_since: AtomicU64::new(0), caller: AtomicWaker::new() }
    }

    /// There is something to read.
    pub(super) fn mark_unread(&self) {
        let now = u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(u64::MAX - 1) + 1;
        // The first mark counts: failing means that there was one.
        let _ = self.unread_since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The caller reads: whom to wake when there is more.
    pub(super) fn mark_read(&self, caller: &Waker) {
        self.unread_since.store(0, Ordering::Relaxed);
        self.caller.register(caller);
    }

    pub(super) fn unread_since(&self) -> Option<Instant> {
        match self.unread_since.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(self.opened + Duration::from_micros(micros - 1)),
        }
    }

    /// Wakes the caller, for something that is not the engine's.
    pub(super) fn wake_caller(&self) {
        self.caller.wake();
    }
}

impl Wake for UnreadWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.mark_unread();
        self.caller.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_unread_counts_from_its_first_wake_up_until_it_is_read() {
        let unread = Arc::new(UnreadWaker::new(Instant::now()));
        let (waker, opened) = (Waker::from(Arc::clone(&unread)), unread.opened);
        assert_eq!(unread.unread_since(), None);
        let mut expected = Duration::ZERO;
        for _ in 0..2 {
            waker.wake_by_ref();
            tokio::time::advance(Duration::from_millis(5)).await;
            waker.wake_by_ref();
            assert_eq!(unread.unread_since(), Some(opened + expected));
            unread.mark_read(Waker::noop());
            assert_eq!(unread.unread_since(), None);
            expected += Duration::from_millis(5);
        }
    }
}

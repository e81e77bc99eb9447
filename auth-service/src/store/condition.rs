//! Whether a store takes what is written, as far as is known. It is said in the log when it changes, and not by every call that meets it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::StoreError;

/// The condition of one store. Calls report what fails; only a write that was tried for it (the probe) says that all is well again.
#[derive(Debug, Default)]
pub struct Condition {
    /// Where the store is, for the log: no user and no password.
    place: String,
    state: Mutex<State>,
    worsened: Notify,
}

#[derive(Debug, Default)]
struct State {
    now: Kind,
    /// Whether a write was refused since the last probe.
    refused: bool,
}

/// The kinds of [`StoreError`], and none.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[default]
    Works,
    Unavailable,
    Full,
    ReadOnly,
    Misconfigured,
    Corrupt,
}

impl Kind {
    fn of(error: &StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::Unavailable,
            StoreError::Full(_) => Self::Full,
            StoreError::ReadOnly(_) => Self::ReadOnly,
            StoreError::Misconfigured(_) => Self::Misconfigured,
            StoreError::Corrupt(_) => Self::Corrupt,
        }
    }
}

impl Condition {
    /// Of the store that is there. It works until something else is known.
    #[must_use]
    pub fn of(place: String) -> Self {
        Self { place, ..Self::default() }
    }

    /// Where the store is, for the log.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Whether the store takes writes.
    #[must_use]
    pub fn works(&self) -> bool {
        self.lock().now == Kind::Works
    }

    /// Ready when a call has met a failure of a store that had worked.
    pub async fn worsened(&self) {
        self.worsened.notified().await;
    }

    /// A call has met this.
    pub(crate) fn call_failed(&self, error: &StoreError) {
        let kind = Kind::of(error);
        // One account that contradicts itself says nothing about the store.
        if kind == Kind::Corrupt {
            return;
        }
        let mut state = self.lock();
        // A single call may be slow by itself. One whose write was refused tells what the next ones will meet, whatever a small probe does.
        state.refused |= kind != Kind::Unavailable;
        // Which way it is broken is the probe's to say: calls of several sorts may be refused for several reasons, in turn.
        if state.now == Kind::Works {
            state.now = kind;
            self.say(error);
            self.worsened.notify_one();
        }
    }

    /// The probe has given this.
    pub fn probed(&self, answer: &Result<(), StoreError>) {
        let mut state = self.lock();
        let refused = std::mem::take(&mut state.refused);
        match answer {
            Ok(()) if state.now == Kind::Works || refused => {}
            Ok(()) => {
                state.now = Kind::Works;
                tracing::info!(store = self.place, "the store takes writes again");
            }
            Err(error) => {
                if std::mem::replace(&mut state.now, Kind::of(error)) != Kind::of(error) {
                    self.say(error);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in it can be left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the operator reads.
    fn say(&self, error: &StoreError) {
        tracing::error!(store = self.place, reason = error.reason(), "{error}; calls are refused until the store takes writes again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> StoreError {
        StoreError::Full("no room".to_owned())
    }

    #[test]
    fn a_refused_write_keeps_the_store_out_of_order_until_a_probe_without_another_one() {
        let condition = Condition::default();
        condition.call_failed(&full());
        // The probe is small, and may find room where the call did not.
        condition.probed(&Ok(()));
        assert!(!condition.works());
        condition.call_failed(&full());
        condition.probed(&Ok(()));
        assert!(!condition.works());
        condition.probed(&Ok(()));
        assert!(condition.works());
    }

    #[test]
    fn a_call_without_an_answer_is_asked_after_at_once_and_forgiven() {
        let condition = Condition::default();
        condition.call_failed(&StoreError::Unavailable("slow".to_owned()));
        assert!(!condition.works());
        condition.probed(&Ok(()));
        assert!(condition.works());
    }

    #[test]
    fn an_account_that_contradicts_itself_is_not_the_stores_condition_and_a_probe_that_does_is() {
        let (condition, corrupt) = (Condition::default(), StoreError::Corrupt("a sum".to_owned()));
        condition.call_failed(&corrupt);
        assert!(condition.works());
        condition.probed(&Err(corrupt));
        assert!(!condition.works());
    }

    #[tokio::test]
    async fn whoever_watches_is_woken_up_by_the_first_failure_alone() {
        let condition = Condition::default();
        let is_woken_up = async || {
            tokio::select! {
                biased;
                () = condition.worsened() => true,
                () = std::future::ready(()) => false,
            }
        };
        assert!(!is_woken_up().await);
        condition.call_failed(&full());
        condition.call_failed(&full());
        assert!(is_woken_up().await);
        assert!(!is_woken_up().await);
    }
}

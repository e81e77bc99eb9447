//! The slow walk over all accounts that resolves holds which are due and whose accounts nobody calls.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::{Store, StoreError, SweepStep};

/// Between two steps of which the first resolved nothing: a walk over many accounts leaves the store to callers.
const PAUSE: Duration = Duration::from_millis(10);

/// Walks over all accounts every `interval` until `stop` is cancelled. A store that fails is tried again at the next walk.
pub async fn run(store: Arc<dyn Store>, interval: Duration, stop: CancellationToken) {
    let mut next = None;
    loop {
        // A step that runs is not cut off when the drain begins: it is bounded.
        let pause = match store.sweep(next.take()).await {
            Ok(step) => {
                if step.expired > 0 {
                    tracing::info!(holds = step.expired, "holds expired");
                }
                let pause = pause_after(&step, interval);
                next = step.next;
                pause
            }
            Err(error) => {
                match &error {
                    StoreError::Corrupt(_) => tracing::warn!(%error, "the walk over the accounts broke off"),
                    // The store's condition has said it, once; this comes again at every walk.
                    StoreError::Unavailable(_) | StoreError::Full(_) | StoreError::ReadOnly(_) | StoreError::Misconfigured(_) => {
                        tracing::debug!(%error, "the walk over the accounts broke off");
                    }
                }
                interval
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn pause_after(step: &SweepStep, interval: Duration) -> Duration {
    match (&step.next, step.expired) {
        (None, _) => interval,
        (Some(_), 0) => PAUSE,
        (Some(_), _) => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_pauses_after_steps_that_resolved_nothing_and_hurries_while_holds_are_due() {
        let interval = Duration::from_secs(5);
        let pause = |expired, next: Option<&str>| pause_after(&SweepStep { expired, next: next.map(str::to_owned) }, interval);
        assert_eq!((pause(0, Some("x")), pause(16, Some("x"))), (PAUSE, Duration::ZERO));
        assert_eq!((pause(0, None), pause(16, None)), (interval, interval));
    }
}

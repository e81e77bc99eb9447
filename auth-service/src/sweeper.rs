//! The slow walk over all accounts that resolves holds which are due and whose accounts nobody calls.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// Walks over all accounts every `interval` until `stop` is cancelled. A store that fails is tried again at the next walk.
pub async fn run(store: Arc<dyn Store>, interval: Duration, stop: CancellationToken) {
    let mut next = None;
    loop {
        // A step that runs is not cut off when the drain begins: it is bounded.
        match store.sweep(next.take()).await {
            Ok(step) => {
                if step.expired > 0 {
                    tracing::info!(holds = step.expired, "holds expired");
                }
                next = step.next;
            }
            Err(error) => tracing::warn!(%error, "the walk over the accounts broke off"),
        }
        let pause = if next.is_some() { Duration::ZERO } else { interval };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

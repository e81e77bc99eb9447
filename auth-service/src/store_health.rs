//! The service's health follows its store: while the store takes no writes, health says NOT_SERVING.

use std::sync::Arc;
use std::time::Duration;

use shared::serving::Health;
use tokio_util::sync::CancellationToken;

use crate::store::{Store, StoreError};

/// Between two questions to the store.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long an answer may take: some longer than a store gives up by itself.
const ASK_FOR: Duration = Duration::from_secs(7);

/// Asks the store once, and tells health.
pub async fn ask(store: &dyn Store, health: &Health) {
    let silence = || StoreError::Unavailable(format!("no answer within {} s", ASK_FOR.as_secs()));
    let answer = tokio::time::timeout(ASK_FOR, store.ping()).await.unwrap_or_else(|_| Err(silence()));
    store.condition().probed(&answer);
    health.set_serving(store.condition().works()).await;
}

/// Asks the store again and again until the drain begins, and at once when a call has met a failure.
pub async fn run(store: Arc<dyn Store>, health: Health, draining: CancellationToken) {
    let watch = async {
        loop {
            tokio::select! {
                () = tokio::time::sleep(ASK_EVERY) => {}
                () = store.condition().worsened() => {}
            }
            ask(&*store, &health).await;
        }
    };
    draining.run_until_cancelled(watch).await;
}

//! The service's health follows its store: while the store doesn't answer, every call is UNAVAILABLE, and health says so.

use std::sync::Arc;
use std::time::Duration;

use shared::serving::Health;
use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// Between two questions to the store.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Asks the store again and again until the drain begins, and tells health whenever the answer changes.
pub async fn run(store: Arc<dyn Store>, health: Health, draining: CancellationToken) {
    let mut serving = true;
    let watch = async {
        loop {
            tokio::time::sleep(ASK_EVERY).await;
            let answers = store.ping().await;
            if answers.is_ok() != serving {
                serving = !serving;
                match answers {
                    Ok(()) => tracing::info!("the store answers again"),
                    Err(error) => tracing::error!(%error, "the store doesn't answer; calls are refused until it does"),
                }
                health.set_serving(serving).await;
            }
        }
    };
    draining.run_until_cancelled(watch).await;
}

//! Whether the services are ready follows the store: while it takes no writes, their health says NOT_SERVING. The process lives on.

use std::sync::Arc;
use std::time::Duration;

use shared::serving::Health;
use tokio_util::sync::CancellationToken;

use crate::store::{Store, StoreError};

/// Between two questions to the store.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long an answer may take: some longer than a store gives up by itself.
const ASK_FOR: Duration = Duration::from_secs(7);

/// The watch over a store.
#[derive(Debug)]
pub struct StoreWatch {
    store: Arc<dyn Store>,
    health: Health,
    draining: CancellationToken,
}

impl StoreWatch {
    /// Asks the store once: health is right before the first call comes.
    pub async fn begin(store: Arc<dyn Store>, health: Health, draining: CancellationToken) -> Self {
        let watch = Self { store, health, draining };
        watch.ask().await;
        watch
    }

    /// Asks again and again until the drain begins, and at once when a call has met a failure.
    pub async fn run(self) {
        let draining = self.draining.clone();
        let asking = async {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(ASK_EVERY) => {}
                    () = self.store.condition().worsened() => {}
                }
                self.ask().await;
            }
        };
        draining.run_until_cancelled(asking).await;
    }

    async fn ask(&self) {
        let silence = || StoreError::Unavailable(format!("no answer within {} s", ASK_FOR.as_secs()));
        let answer = tokio::time::timeout(ASK_FOR, self.store.ping()).await.unwrap_or_else(|_| Err(silence()));
        self.store.condition().probed(&answer);
        self.health.set_ready(self.store.condition().works()).await;
    }
}

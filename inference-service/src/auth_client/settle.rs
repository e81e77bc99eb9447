//! Settling a hold, until it has landed.

use std::time::Duration;

use shared::error::reason_of;
use shared::proto::auth as wire;
use tokio::time::Instant;
use tonic::Code;

use super::AuthClient;

/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

impl AuthClient {
    /// Settles until it lands, is answered with a final no, or the store has forgotten the request. The receipt, if it landed.
    pub(super) async fn settle(&self, settle: &wire::SettleRequest, request_id: &str) -> Option<wire::Receipt> {
        let give_up = Instant::now() + self.inner.settle_retry_for;
        let mut pause = MIN_PAUSE;
        loop {
            let settled = self.inner.stub.settle(settle.clone(), request_id, Instant::now() + ATTEMPT_TIMEOUT).await;
            let status = match settled {
                Ok(wire::SettleResponse { receipt, .. }) => return receipt,
                Err(status) => status,
            };
            match status.code() {
                Code::NotFound | Code::FailedPrecondition | Code::InvalidArgument | Code::Unimplemented => {
                    tracing::error!(reason = ?reason_of(&status), "a hold can't be settled; it is resolved as its expiry says");
                    return None;
                }
                code if Instant::now() + pause >= give_up => {
                    tracing::error!(asked = %self.inner.urls, ?code, "a settle was given up; the hold is resolved as its expiry says");
                    return None;
                }
                code => {
                    let why = status.message();
                    tracing::warn!(asked = %self.inner.urls, ?code, why, ?pause, "a settle did not land; it is tried again");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }
}

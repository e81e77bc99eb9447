//! Going on when a call asks for the second factor.

use std::sync::Arc;

use shared::ErrorReason;

use crate::authorized::{Caller, Prover};
use crate::client::Client;
use crate::error::Error;

/// How often a code may be wrong before the call fails.
const TRIES: u32 = 3;

impl Client {
    /// The same client, which asks for a code when a call is refused with `STEP_UP_REQUIRED`, proves the second factor with it, and sends
    /// the call again. `None` for an answer: there is no code, and the call fails. A wrong code is asked for again, twice.
    #[must_use]
    pub fn with_step_up<F, Asked>(&self, ask: F) -> Self
    where
        F: Fn() -> Asked + Send + Sync + 'static,
        Asked: Future<Output = Option<String>> + Send + 'static,
    {
        let (prover, ask) = (self.clone(), Arc::new(ask));
        let prove = move |caller: Caller| {
            let (client, ask) = (Self { caller: Some(caller), step_up: None, ..prover.clone() }, Arc::clone(&ask));
            prove(client, ask)
        };
        Self { step_up: Some(Prover::new(prove)), ..self.clone() }
    }
}

/// Whether the second factor was proved.
async fn prove<F, Asked>(client: Client, ask: Arc<F>) -> Result<bool, Error>
where
    F: Fn() -> Asked + Send + Sync + 'static,
    Asked: Future<Output = Option<String>> + Send + 'static,
{
    for tried in 1.. {
        let Some(code) = ask().await else { break };
        match client.step_up(&code).await {
            Ok(_) => return Ok(true),
            Err(error) if error.reason() == Some(ErrorReason::SecondFactorInvalid) && tried < TRIES => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

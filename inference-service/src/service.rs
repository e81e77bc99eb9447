//! The gRPC services.

pub mod inference;
pub mod models;

use shared::error::CallError;
use shared::proto::auth::Operation;
use tokio_util::sync::CancellationToken;
use tonic::Request;

use crate::auth_client::AuthClient;
use crate::call_failure::draining;
use crate::caller::Caller;
use crate::prompt::{ModelName, Violations};

/// What every method does first.
#[derive(Debug, Clone)]
pub struct Gate {
    /// Who may do what.
    pub auth: AuthClient,
    /// Cancelled once new calls are refused.
    pub draining: CancellationToken,
}

impl Gate {
    /// Reads who is calling; refuses while draining.
    fn caller<T>(&self, request: &Request<T>) -> Result<Caller, CallError> {
        if self.draining.is_cancelled() {
            return Err(draining());
        }
        Caller::from_request(request)
    }

    /// The same, and authorizes an operation that costs nothing.
    async fn authorize<T>(&self, request: &Request<T>, operation: Operation, model: &str) -> Result<Caller, CallError> {
        let caller = self.caller(request)?;
        self.auth.authorize(&caller, operation, model).await?;
        Ok(caller)
    }
}

/// Parses the field `model` of a request that has no other to be wrong.
fn named(model: &str) -> Result<ModelName, CallError> {
    let mut wrong = Violations::default();
    wrong.take("model", ModelName::parse(model)).ok_or_else(|| wrong.refuse())
}

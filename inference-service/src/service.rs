//! The gRPC services, whose methods the doors end in as well.

mod audit;
mod embed;
pub mod inference;
mod loaded;
pub mod models;

use std::collections::{BTreeSet, HashSet};

use http::{Extensions, HeaderMap};
use shared::ErrorReason;
use shared::admission::Confirm;
use shared::caller_address::CallerAddress;
use shared::error::CallError;
use shared::message_guard::Confirmation;
use shared::proto::auth::{Operation, Principal};
use shared::request_context::CurrentCall;
use tokio_util::sync::CancellationToken;

use crate::auth_client::AuthClient;
use crate::call_failure::draining;
use crate::caller::Caller;
use crate::prompt::{ModelName, Violations};

/// The doors' paths by which operators handle models.
const MANAGING_PATHS: [&str; 2] = ["/api/create", "/api/delete"];

/// Operations that have a scope of their own, by the paths of their methods: long messages come to these alone.
const OWN_OPERATIONS: [(Operation, &[&str]); 3] = [
    (Operation::Chat, &["/tollgate.inference.v1.Inference/Chat", "/api/chat", "/v1/chat/completions", "/v1/messages", "/v1/responses"]),
    (Operation::Generate, &["/tollgate.inference.v1.Inference/Generate", "/api/generate", "/v1/completions"]),
    (Operation::Embed, &["/tollgate.inference.v1.Inference/Embed", "/api/embed", "/api/embeddings", "/v1/embeddings"]),
];

/// What every method does first: it finds out who calls, and whether the caller may.
#[derive(Debug, Clone)]
pub struct Authorizer {
    /// Who may do what.
    pub auth: AuthClient,
    /// Cancelled once new calls are refused.
    pub draining: CancellationToken,
}

impl Authorizer {
    /// Refuses every caller while draining.
    fn admit(&self, caller: Result<Caller, CallError>) -> Result<Caller, CallError> {
        if self.draining.is_cancelled() { Err(draining()) } else { caller }
    }

    /// The same, and authorizes an operation that costs nothing. Answers who calls and whose the call is.
    async fn authorize(
        &self,
        caller: Result<Caller, CallError>,
        operation: Operation,
        model: &str,
    ) -> Result<(Caller, Principal), CallError> {
        let caller = self.admit(caller)?;
        let principal = self.auth.authorize(&caller, operation, model).await?;
        Ok((caller, principal))
    }
}

impl Authorizer {
    /// Those of these models that the caller may name.
    async fn allowed_models<'a>(
        &self,
        caller: &Caller,
        operation: Operation,
        models: impl Iterator<Item = &'a str>,
    ) -> Result<HashSet<&'a str>, CallError> {
        let models: BTreeSet<&str> = models.collect();
        let models: Vec<&str> = models.into_iter().collect();
        let allowed = self.auth.allowed_models(caller, operation, &models).await?;
        Ok(models.into_iter().zip(allowed).filter(|(_, allowed)| *allowed).map(|(model, _)| model).collect())
    }
}

impl Confirm for Authorizer {
    /// Whether the caller may do what the method does, with some model: which one is still to be read.
    fn confirm(&self, path: &str, headers: HeaderMap, address: Option<CallerAddress>) -> Confirmation {
        let manages = path.starts_with("/tollgate.inference.v1.Models/") || MANAGING_PATHS.contains(&path);
        let first = if manages { Operation::ManageModels } else { Operation::ReadModels };
        let own = OWN_OPERATIONS.iter().find(|(_, paths)| paths.contains(&path)).map(|(operation, _)| *operation);
        let mut extensions = Extensions::new();
        address.map(|address| extensions.insert(address));
        let caller = Caller::from_parts(&headers, &extensions);
        let authorizer = self.clone();
        let confirmed = async move {
            let refused = match authorizer.authorize(caller.clone(), first, "").await {
                Ok(_) => return Ok(()),
                Err(refused) => refused,
            };
            // Nearly every credential is good for all of inference; some for this alone. Asked first, as an auth-service before these
            // scopes knows it.
            match own.filter(|_| refused.reason() == ErrorReason::ScopeRequired) {
                Some(own) => authorizer.authorize(caller, own, "").await.map(|_| ()).map_err(|_| refused),
                None => Err(refused),
            }
        };
        Box::pin(CurrentCall::get().scope(confirmed))
    }
}

/// Parses the field `model` of a request that has no other to be wrong.
fn parse_model(model: &str) -> Result<ModelName, CallError> {
    let mut wrong = Violations::default();
    wrong.take("model", ModelName::parse(model)).ok_or_else(|| wrong.refuse())
}

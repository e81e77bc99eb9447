//! The Auth service: what other services ask before and after they work for somebody.

use std::sync::Arc;
use std::time::Duration;

use shared::credential_form::ServiceCaller;
use shared::proto::auth as pb;
use shared::proto::auth::auth_server::Auth;
use tonic::{Request, Response, Status};

use crate::access_token::AccessTokens;
use crate::credential::{self, CredentialError, Presented};
use crate::hold::{HoldHandle, MAX_TOKENS, Outcome, is_attempt_id, is_request_id};
use crate::price_table::{PriceTable, canonical_model};
use crate::service::convert;
use crate::service::refused::Refused;
use crate::store::{ChargeRequest, CheckAnswer, CheckRequest, ExtendAnswer, Permission, Scope, SettleAnswer, Store};

/// The longest model name.
const MAX_MODEL_BYTES: usize = 256;
/// The longest fingerprint.
const MAX_FINGERPRINT_BYTES: usize = 64;

/// The Auth service.
#[derive(Debug)]
pub struct AuthService {
    /// Users, keys and credits.
    pub store: Arc<dyn Store>,
    /// Verifies end users' tokens.
    pub tokens: Arc<AccessTokens>,
    /// What models cost.
    pub prices: PriceTable,
    /// How long a hold lives; a third of it is when to extend.
    pub hold_ttl: Duration,
}

impl AuthService {
    async fn answer_check(&self, request: pb::CheckRequest) -> Result<pb::CheckResponse, Refused> {
        let operation = request.operation();
        let permission = permission(operation, &request.model)?;
        if request.charge.is_some() && !runs_a_model(operation) {
            return Err(Refused::field("charge", "must be unset where no model is run"));
        }
        let charge = request.charge.map(|charge| self.charge(charge, &permission)).transpose()?;
        let charged = charge.is_some();
        let presented = credential::present(&request.credential, &request.account, &self.tokens);
        let Presented { account, credential } = presented.map_err(|error| match error {
            CredentialError::AccountMalformed => Refused::field("account", "must be an account's id: 16 letters and digits"),
            error => Refused::Credential(error),
        })?;
        let answer = self.store.check(CheckRequest { account: account.clone(), credential, permission, charge }).await?;
        let (principal, result) = match answer {
            CheckAnswer::Allowed(principal) => (principal, None),
            CheckAnswer::Held(principal, held) => {
                let grant = pb::Grant {
                    hold: held.handle.to_text(),
                    held_credits: held.held_credits,
                    remaining_credits: held.remaining_credits,
                    max_output_tokens: held.max_output_tokens,
                    expires_at: Some(convert::timestamp(held.expires_at_ms)),
                    extend_every: prost_types::Duration::try_from(self.hold_ttl / 3).ok(),
                };
                (principal, Some(pb::check_response::Result::Grant(grant)))
            }
            CheckAnswer::Recorded(principal, record) => (principal, Some(pb::check_response::Result::Recorded(convert::receipt(record)))),
            CheckAnswer::Refused(refusal) => return Err(Refused::Store(refusal)),
        };
        if charged != result.is_some() {
            // Nothing may be generated without a grant: an answer that lacks one where it was asked for is no yes.
            return Err(Refused::defect("the store's answer doesn't fit the question"));
        }
        Ok(pb::CheckResponse { principal: Some(convert::principal(&principal, &account)), result })
    }

    fn charge(&self, charge: pb::Charge, permission: &Permission) -> Result<ChargeRequest, Refused> {
        if !is_request_id(&charge.request_id) {
            return Err(Refused::field("charge.request_id", "must be 1 to 128 printable ASCII characters without spaces"));
        }
        if !is_attempt_id(&charge.attempt_id) {
            return Err(Refused::field("charge.attempt_id", "must be 1 to 64 letters, digits, - or _"));
        }
        if !(1..=MAX_FINGERPRINT_BYTES).contains(&charge.fingerprint.len()) {
            return Err(Refused::field("charge.fingerprint", format!("must have 1 to {MAX_FINGERPRINT_BYTES} bytes")));
        }
        if charge.max_input_tokens > MAX_TOKENS {
            return Err(Refused::field("charge.max_input_tokens", format!("must be at most {MAX_TOKENS}")));
        }
        if !(1..=MAX_TOKENS).contains(&charge.max_output_tokens) {
            return Err(Refused::field("charge.max_output_tokens", format!("must be from 1 to {MAX_TOKENS}")));
        }
        Ok(ChargeRequest {
            request_id: charge.request_id,
            attempt_id: charge.attempt_id,
            fingerprint: hex::encode(&charge.fingerprint),
            price: self.prices.price_of(&permission.model),
            max_input_tokens: charge.max_input_tokens,
            max_output_tokens: charge.max_output_tokens,
            require_full: charge.require_full,
        })
    }

    async fn answer_extend(&self, request: pb::ExtendRequest) -> Result<pb::ExtendResponse, Refused> {
        let hold = hold(&request.hold)?;
        match self.store.extend(&hold, convert::reported_usage(request.usage)).await? {
            ExtendAnswer::Extended { expires_at_ms } => Ok(pb::ExtendResponse { expires_at: Some(convert::timestamp(expires_at_ms)) }),
            ExtendAnswer::NotFound => Err(Refused::HoldNotFound),
            ExtendAnswer::Resolved => Err(Refused::HoldResolved),
        }
    }

    async fn answer_settle(&self, request: pb::SettleRequest) -> Result<pb::SettleResponse, Refused> {
        let hold = hold(&request.hold)?;
        let outcome = match request.outcome() {
            pb::Outcome::Completed => Outcome::Completed,
            pb::Outcome::Cancelled => Outcome::Cancelled,
            pb::Outcome::UpstreamFailed => Outcome::UpstreamFailed,
            pb::Outcome::NothingGenerated => Outcome::NothingGenerated,
            pb::Outcome::Unspecified => return Err(Refused::field("outcome", "must say how the request ended")),
        };
        match self.store.settle(&hold, outcome, convert::reported_usage(request.usage)).await? {
            SettleAnswer::Settled(record) => Ok(pb::SettleResponse { receipt: Some(convert::receipt(record)) }),
            SettleAnswer::NotFound => Err(Refused::HoldNotFound),
            SettleAnswer::Superseded => Err(Refused::HoldResolved),
        }
    }
}

/// Lets only services in: the credential was compared before the message was read.
fn admit<T>(request: &Request<T>) -> Result<(), Refused> {
    request.extensions().get::<ServiceCaller>().map(|_| ()).ok_or(Refused::ServiceCredentialMissing)
}

fn hold(text: &str) -> Result<HoldHandle, Refused> {
    HoldHandle::parse(text).ok_or_else(|| Refused::field("hold", "must be what Grant.hold was"))
}

fn runs_a_model(operation: pb::Operation) -> bool {
    match operation {
        pb::Operation::Chat | pb::Operation::Generate | pb::Operation::Embed => true,
        pb::Operation::ReadModels | pb::Operation::ManageModels | pb::Operation::Unspecified => false,
    }
}

fn permission(operation: pb::Operation, model: &str) -> Result<Permission, Refused> {
    if model.len() > MAX_MODEL_BYTES || model.chars().any(char::is_control) {
        return Err(Refused::field("model", format!("must have at most {MAX_MODEL_BYTES} bytes, and no control characters")));
    }
    let (scope, admin) = match operation {
        pb::Operation::Chat | pb::Operation::Generate | pb::Operation::Embed | pb::Operation::ReadModels => (Scope::Inference, false),
        pb::Operation::ManageModels => (Scope::Models, true),
        pb::Operation::Unspecified => return Err(Refused::field("operation", "must say what the caller wants to do")),
    };
    if runs_a_model(operation) && model.is_empty() {
        return Err(Refused::field("model", "must name the model that is to be run"));
    }
    Ok(Permission { scope, admin, model: canonical_model(model).to_owned() })
}

#[tonic::async_trait]
impl Auth for AuthService {
    async fn check(&self, request: Request<pb::CheckRequest>) -> Result<Response<pb::CheckResponse>, Status> {
        admit(&request)?;
        Ok(Response::new(self.answer_check(request.into_inner()).await?))
    }

    async fn extend(&self, request: Request<pb::ExtendRequest>) -> Result<Response<pb::ExtendResponse>, Status> {
        admit(&request)?;
        Ok(Response::new(self.answer_extend(request.into_inner()).await?))
    }

    async fn settle(&self, request: Request<pb::SettleRequest>) -> Result<Response<pb::SettleResponse>, Status> {
        admit(&request)?;
        Ok(Response::new(self.answer_settle(request.into_inner()).await?))
    }

    type WatchRevocationsStream = tokio_stream::Empty<Result<pb::WatchRevocationsResponse, Status>>;

    async fn watch_revocations(
        &self,
        request: Request<pb::WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        admit(&request)?;
        Err(Refused::NotBuilt("Auth.WatchRevocations").into())
    }
}

//! The Auth service: what other services ask before and after they work for somebody.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use shared::authorization::ServiceCaller;
use shared::counted_message::MAX_CHECK_MODELS;
use shared::model_name;
use shared::proto::auth as pb;
use shared::proto::auth::auth_server::Auth;
use shared::request_id::{REQUEST_ID_RULE, is_request_id};
use tonic::{Request, Response, Status};

use crate::credential::{CredentialError, Credentials, Presented};
use crate::foreign_issuer::ForeignTokenError;
use crate::hold::{Outcome, Terms, is_attempt_id};
use crate::ids::{AccountId, UserId};
use crate::key_uses::KeyUses;
use crate::price::MAX_TOKENS;
use crate::price_table::PriceTable;
use crate::revocation_feed::RevocationFeed;
use crate::service::audit_trail::{AuditTrail, is_attempt};
use crate::service::call::Call;
use crate::service::call_lines::{self, CheckSubject};
use crate::service::contract;
use crate::service::service_error::ServiceError;
use crate::service::violations::{Violation, Violations};
use crate::store::{
    AuditAction, AuditEvent, ChargeRequest, CheckAnswer, CheckRequest, ExtendAnswer, Permission, ReleaseAnswer, ReleaseRequest, Scope,
    SettleAnswer, Store,
};

/// The longest fingerprint.
const MAX_FINGERPRINT_BYTES: usize = 64;
/// What an attempt's id must be.
const ATTEMPT_ID_RULE: &str = "must be 1 to 64 letters, digits, - or _";
/// What an account's id must be.
const ACCOUNT_RULE: &str = "must be an account's id: 16 letters and digits";

/// The Auth service.
#[derive(Debug)]
pub struct AuthService {
    /// Users, keys and credits.
    pub store: Arc<dyn Store>,
    /// Takes end users' credentials apart.
    pub credentials: Credentials,
    /// What models cost.
    pub prices: PriceTable,
    /// Takes note of the API keys that are used.
    pub key_uses: KeyUses,
    /// How long a hold lives; a third of it is when to extend.
    pub hold_ttl: Duration,
    /// What is revoked.
    pub revocations: Arc<RevocationFeed>,
    /// Records what operators do with models.
    pub trail: Arc<AuditTrail>,
    /// Whether whoever manages models must have proved their second factor just now.
    pub require_admin_totp: bool,
}

impl AuthService {
    /// `subject` is told what the line of a refusal says.
    async fn answer_check(&self, request: pb::CheckRequest, subject: &mut CheckSubject) -> Result<pb::CheckResponse, ServiceError> {
        let operation = request.operation();
        if let Some(charge) = &request.charge {
            charge.request_id.clone_into(&mut subject.request_id);
        }
        let mut violations = Violations::default();
        let permission = violations.keep_all(permission(operation, &request.model, request.charge.is_some()));
        let permission = permission.map(|permission| Permission { step_up: permission.admin && self.require_admin_totp, ..permission });
        subject.model = request.model;
        let account_ok = request.account.is_empty() || AccountId::parse(&request.account).is_some();
        violations.require(account_ok, "account", || ACCOUNT_RULE.to_owned());
        let charge = match request.charge {
            None => Some(None),
            // Whether this operation may be charged at all can't be said of one that isn't known.
            Some(_) if operation != pb::Operation::Unspecified && !runs_a_model(operation) => {
                violations.keep(Err(Violation::new("charge", "must be unset where no model is run")))
            }
            Some(charge) => {
                let model = permission.as_ref().map_or("", |permission| &permission.model);
                violations.keep_all(self.charge(charge, operation, model)).map(Some)
            }
        };
        let caller_address = violations.keep(caller_address(&request.caller_address));
        let models = violations.keep_all(asked_models(&request.models));
        violations.require(request.models.is_empty() || !matches!(charge, Some(Some(_))), "models", || {
            "must be empty where credits are held".to_owned()
        });
        let ((permission, charge), (models, caller_address)) = violations.finish(permission.zip(charge).zip(models.zip(caller_address)))?;
        let charged = charge.is_some();
        let presented = self.credentials.present(&request.credential, &request.account).await?;
        subject.account = Some(presented.account.clone());
        subject.user = presented.user().cloned();
        presented.require(permission.scope).map_err(ServiceError::Store)?;
        if permission.admin {
            presented.require_operators_own().map_err(ServiceError::Store)?;
        }
        let Presented { account, credential, .. } = presented;
        let check = CheckRequest { account: account.clone(), credential: credential.clone(), permission, charge, caller_address };
        if !models.is_empty() {
            let rights = self.store.authorize(check).await?.map_err(ServiceError::Store)?;
            self.key_uses.used_by(&account, &credential);
            let allowed_models = (0..).zip(&models).filter(|(_, model)| rights.allow(model)).map(|(place, _)| place).collect();
            return Ok(pb::CheckResponse {
                principal: Some(contract::principal(&rights.principal, &account)),
                result: None,
                allowed_models,
            });
        }
        let answer = self.store.check(check).await?;
        let (principal, result) = match answer {
            CheckAnswer::Allowed(principal) => (principal, None),
            CheckAnswer::Held(principal, held) => {
                let grant = pb::Grant {
                    hold: held.terms.to_handle(),
                    held_credits: held.terms.held_credits,
                    remaining_credits: held.remaining_credits,
                    max_output_tokens: held.terms.max_output_tokens,
                    expires_at: Some(contract::timestamp(held.expires_at_ms)),
                    extend_every: prost_types::Duration::try_from(self.hold_ttl / 3).ok(),
                };
                (principal, Some(pb::check_response::Result::Grant(grant)))
            }
            CheckAnswer::Recorded(principal, record) => {
                let receipt = contract::receipt(record);
                call_lines::replayed(&account, &receipt);
                (principal, Some(pb::check_response::Result::Recorded(receipt)))
            }
            CheckAnswer::Refused(refusal) => return Err(ServiceError::Store(refusal)),
        };
        self.key_uses.used_by(&account, &credential);
        if charged != result.is_some() {
            // Nothing may be generated without a grant: an answer that lacks one where it was asked for is no yes.
            return Err(ServiceError::defect("the store's answer doesn't fit the question"));
        }
        Ok(pb::CheckResponse { principal: Some(contract::principal(&principal, &account)), result, allowed_models: Vec::new() })
    }

    /// `model` in its folded form, for its price.
    fn charge(&self, charge: pb::Charge, operation: pb::Operation, model: &str) -> Result<ChargeRequest, Vec<Violation>> {
        let mut violations = Violations::default();
        violations.require(is_request_id(&charge.request_id), "charge.request_id", || REQUEST_ID_RULE.to_owned());
        violations.require(is_attempt_id(&charge.attempt_id), "charge.attempt_id", || ATTEMPT_ID_RULE.to_owned());
        violations.require((1..=MAX_FINGERPRINT_BYTES).contains(&charge.fingerprint.len()), "charge.fingerprint", || {
            format!("must have 1 to {MAX_FINGERPRINT_BYTES} bytes")
        });
        violations.require(charge.max_input_tokens <= MAX_TOKENS, "charge.max_input_tokens", || format!("must be at most {MAX_TOKENS}"));
        // Embeddings generate nothing. Whatever else runs a model pays for a token at least.
        let least = u32::from(operation != pb::Operation::Embed);
        violations.require((least..=MAX_TOKENS).contains(&charge.max_output_tokens), "charge.max_output_tokens", || {
            format!("must be from {least} to {MAX_TOKENS}")
        });
        violations.into_result(Some(ChargeRequest {
            request_id: charge.request_id,
            attempt_id: charge.attempt_id,
            fingerprint: charge.fingerprint,
            price: self.prices.price_of(model),
            max_input_tokens: charge.max_input_tokens,
            max_output_tokens: charge.max_output_tokens,
            require_full: charge.require_full,
        }))
    }

    async fn answer_extend(&self, request: pb::ExtendRequest) -> Result<pb::ExtendResponse, ServiceError> {
        let hold = hold(&request.hold)?;
        match self.store.extend(&hold, contract::reported_usage(request.usage)).await? {
            ExtendAnswer::Extended { expires_at_ms } => Ok(pb::ExtendResponse { expires_at: Some(contract::timestamp(expires_at_ms)) }),
            ExtendAnswer::NotFound => Err(ServiceError::HoldNotFound),
            ExtendAnswer::Resolved => Err(ServiceError::HoldResolved),
            ExtendAnswer::Refused(refusal) => Err(ServiceError::Revoked(refusal)),
        }
    }

    async fn answer_settle(&self, request: pb::SettleRequest) -> Result<pb::SettleResponse, ServiceError> {
        let mut violations = Violations::default();
        let hold = violations.keep(hold(&request.hold));
        let outcome = violations.keep(match request.outcome() {
            pb::Outcome::Completed => Ok(Outcome::Completed),
            pb::Outcome::Cancelled => Ok(Outcome::Cancelled),
            pb::Outcome::UpstreamFailed => Ok(Outcome::UpstreamFailed),
            pb::Outcome::NothingGenerated => Ok(Outcome::NothingGenerated),
            pb::Outcome::Unspecified => Err(Violation::new("outcome", "must say how the request ended")),
        });
        let (hold, outcome) = violations.finish(hold.zip(outcome))?;
        match self.store.settle(&hold, outcome, contract::reported_usage(request.usage)).await? {
            SettleAnswer::Settled(record) => {
                let receipt = contract::receipt(record);
                call_lines::settled(&hold.account, &receipt);
                Ok(pb::SettleResponse { receipt: Some(receipt) })
            }
            SettleAnswer::NotFound => Err(ServiceError::HoldNotFound),
            SettleAnswer::Superseded => Err(ServiceError::HoldResolved),
        }
    }

    async fn answer_release(&self, request: pb::ReleaseRequest) -> Result<pb::ReleaseResponse, ServiceError> {
        let pb::ReleaseRequest { credential, account, request_id, attempt_id } = request;
        let mut violations = Violations::default();
        violations.require(!credential.is_empty(), "credential", || "must be what the Check had".to_owned());
        let account_ok = account.is_empty() || AccountId::parse(&account).is_some();
        violations.require(account_ok, "account", || ACCOUNT_RULE.to_owned());
        violations.require(is_request_id(&request_id), "request_id", || REQUEST_ID_RULE.to_owned());
        violations.require(is_attempt_id(&attempt_id), "attempt_id", || ATTEMPT_ID_RULE.to_owned());
        violations.finish(Some(()))?;
        let answer = match self.credentials.present_again(&credential, &account).await {
            Ok(Presented { account, credential, .. }) => {
                let attempt = ReleaseRequest { account: account.clone(), credential, request_id: request_id.clone(), attempt_id };
                let answer = self.store.release(attempt).await?;
                if answer == ReleaseAnswer::Released {
                    call_lines::released(&account, &request_id);
                }
                answer
            }
            // The Check may have known whose it is.
            Err(unknown @ (CredentialError::Store(_) | CredentialError::ForeignToken(ForeignTokenError::KeysUnavailable(_)))) => {
                return Err(unknown.into());
            }
            // No Check can have held anything by it. What is wrong with it is nobody's to learn here.
            Err(_) => ReleaseAnswer::NothingHeld,
        };
        let result = match answer {
            ReleaseAnswer::Released => pb::ReleaseResult::Released,
            ReleaseAnswer::NothingHeld => pb::ReleaseResult::NothingHeld,
            ReleaseAnswer::ResolvedBefore => pb::ReleaseResult::ResolvedBefore,
        };
        Ok(pb::ReleaseResponse { result: result.into() })
    }
}

/// Lets only services in: the credential was compared before the message was read.
fn admit<T>(request: &Request<T>) -> Result<(), ServiceError> {
    request.extensions().get::<ServiceCaller>().map(|_| ()).ok_or(ServiceError::ServiceCredentialMissing)
}

fn hold(handle: &str) -> Result<Terms, Violation> {
    Terms::from_handle(handle).ok_or_else(|| Violation::new("hold", "must be what Grant.hold was"))
}

fn runs_a_model(operation: pb::Operation) -> bool {
    match operation {
        pb::Operation::Chat | pb::Operation::Generate | pb::Operation::Embed => true,
        pb::Operation::ReadModels | pb::Operation::ManageModels | pb::Operation::Unspecified => false,
    }
}

fn permission(operation: pb::Operation, model: &str, is_charged: bool) -> Result<Permission, Vec<Violation>> {
    let mut violations = Violations::default();
    let right = violations.keep(match operation {
        pb::Operation::Chat => Ok((Scope::Chat, false)),
        pb::Operation::Generate => Ok((Scope::Generate, false)),
        pb::Operation::Embed => Ok((Scope::Embed, false)),
        pb::Operation::ReadModels => Ok((Scope::ListModels, false)),
        pb::Operation::ManageModels => Ok((Scope::Models, true)),
        pb::Operation::Unspecified => Err(Violation::new("operation", "must say what the caller wants to do")),
    });
    // Where nothing is run, no model need be named: then it is asked for what doesn't depend on one.
    let model = if model.is_empty() && !(is_charged && runs_a_model(operation)) { Ok(String::new()) } else { model_name::folded(model) };
    let model = violations.keep(model.map_err(|invalid| Violation::new("model", invalid.to_string())));
    violations.into_result(right.zip(model).map(|((scope, admin), model)| Permission { scope, admin, step_up: false, model }))
}

/// What the audit log says of a Check for what operators do with models; `None`: it is for something else.
fn operators_event(request: &Request<pb::CheckRequest>) -> Option<AuditEvent> {
    let message = request.get_ref();
    if message.operation() != pb::Operation::ManageModels {
        return None;
    }
    let address = caller_address(&message.caller_address).unwrap_or_default();
    let detail = model_name::canonical(&message.model).unwrap_or_default().to_ascii_lowercase();
    // The call is another service's; its request id is the end user's.
    Some(AuditEvent { address, detail, client: String::new(), ..Call::of(request).event(AuditAction::ManageModels) })
}

fn done_by(event: AuditEvent, principal: Option<&pb::Principal>) -> AuditEvent {
    let Some(principal) = principal else { return event };
    let credential = if principal.session_id.is_empty() { &principal.api_key_id } else { &principal.session_id };
    AuditEvent { actor: UserId::parse(&principal.user_id), actor_credential: credential.clone(), ..event }
}

/// Where the end user calls from; empty: not known.
fn caller_address(text: &str) -> Result<Option<IpAddr>, Violation> {
    let malformed = |_| Violation::new("caller_address", "must be an IP address, or empty");
    if text.is_empty() { Ok(None) } else { text.parse().map(|address: IpAddr| Some(address.to_canonical())).map_err(malformed) }
}

/// The names of models that are asked about, in their folded form.
fn asked_models(models: &[String]) -> Result<Vec<String>, Vec<Violation>> {
    let mut violations = Violations::default();
    violations.require(models.len() <= MAX_CHECK_MODELS, "models", || format!("must be at most {MAX_CHECK_MODELS} names"));
    // By its number: what is no name may be a credential.
    let fold = |(number, model): (usize, &String)| {
        model_name::folded(model).map_err(|invalid| Violation::new("models", format!("has as number {}: it {invalid}", number + 1)))
    };
    let folded = violations.keep(models.iter().take(MAX_CHECK_MODELS).enumerate().map(fold).collect());
    violations.into_result(folded)
}

#[tonic::async_trait]
impl Auth for AuthService {
    async fn check(&self, request: Request<pb::CheckRequest>) -> Result<Response<pb::CheckResponse>, Status> {
        admit(&request)?;
        let mut subject = CheckSubject::default();
        let event = operators_event(&request);
        match self.answer_check(request.into_inner(), &mut subject).await {
            Ok(answer) => {
                if let Some(event) = event {
                    self.trail.record(done_by(event, answer.principal.as_ref())).await;
                }
                Ok(Response::new(answer))
            }
            Err(error) => {
                let (is_attempt, actor) = (is_attempt(&error), subject.user.take());
                let status = call_lines::refused(subject, error);
                if let Some(event) = event.filter(|_| is_attempt) {
                    self.trail.record_failure(AuditEvent { actor, ..event }, &status).await;
                }
                Err(status)
            }
        }
    }

    async fn extend(&self, request: Request<pb::ExtendRequest>) -> Result<Response<pb::ExtendResponse>, Status> {
        admit(&request)?;
        Ok(Response::new(self.answer_extend(request.into_inner()).await?))
    }

    async fn settle(&self, request: Request<pb::SettleRequest>) -> Result<Response<pb::SettleResponse>, Status> {
        admit(&request)?;
        Ok(Response::new(self.answer_settle(request.into_inner()).await?))
    }

    async fn release(&self, request: Request<pb::ReleaseRequest>) -> Result<Response<pb::ReleaseResponse>, Status> {
        admit(&request)?;
        Ok(Response::new(self.answer_release(request.into_inner()).await?))
    }

    type WatchRevocationsStream = Pin<Box<dyn Stream<Item = Result<pb::WatchRevocationsResponse, Status>> + Send>>;

    async fn watch_revocations(
        &self,
        request: Request<pb::WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        admit(&request)?;
        let watch = self.revocations.watch(&request.get_ref().after).ok_or(ServiceError::Stopping)?;
        let told = watch.map(|told| told.map(contract::revocation).map_err(|end| ServiceError::from(end).into()));
        Ok(Response::new(Box::pin(told)))
    }
}

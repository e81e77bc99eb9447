//! What users do with their account's API keys.

use shared::proto::auth as pb;
use tonic::Request;

use crate::api_key::ApiKey;
use crate::ids::{KeyId, UserId};
use crate::key_lifetimes::UnfitEnd;
use crate::model_pattern::PatternRule;
use crate::service::accounts::AccountsService;
use crate::service::authorizer::Caller;
use crate::service::call::Call;
use crate::service::contract;
use crate::service::key_fields::{EXPIRES_AT, KeyFields, RotationFields};
use crate::service::service_error::ServiceError;
use crate::service::violations::Violation;
use crate::store::{ApiKeyRecord, AuditAction, AuditEvent, KeyAnswer, KeyChange, KeyChangeRequest, KeyRefusal, ListedKey, NewSecret};

impl AccountsService {
    pub(super) async fn answer_create_api_key(
        &self,
        request: Request<pb::CreateApiKeyRequest>,
    ) -> Result<pb::CreateApiKeyResponse, ServiceError> {
        let call = Call::of(&request);
        let caller = self.authorizer.owner(call).await?;
        let event = call.event(AuditAction::CreateApiKey).by(&caller.principal);
        let request = request.into_inner();
        let whose = whose(&caller, &request.service_account_id);
        let KeyFields { name, scopes, models, networks, expires_at_ms, request } =
            KeyFields::parse(&caller.principal.user_id, request, self.key_lifetimes)?;
        let user_id = whose?;
        let drawn = ApiKey::random(caller.account.clone())?;
        let key = ApiKeyRecord {
            key_id: KeyId::random()?,
            user_id,
            name,
            scopes,
            models,
            pattern_rule: PatternRule::ByPart,
            networks,
            created_at_ms: 0,
            expires_at_ms,
            revoked_at_ms: None,
        };
        let change = KeyChange::Create { key, secret: new_secret(&drawn), request };
        let made = self.change_key(caller, change, event).await?;
        tracing::info!(
            target: "audit", action = "create_api_key", actor = %made.key.user_id, subject = %made.key.key_id,
            "an API key was made"
        );
        Ok(pb::CreateApiKeyResponse { key: drawn.reveal().to_owned(), api_key: Some(contract::api_key(made)) })
    }

    pub(super) async fn answer_rotate_api_key(
        &self,
        request: Request<pb::RotateApiKeyRequest>,
    ) -> Result<pb::RotateApiKeyResponse, ServiceError> {
        let call = Call::of(&request);
        let caller = self.authorizer.owner(call).await?;
        let event = call.event(AuditAction::RotateApiKey).by(&caller.principal);
        let request = request.into_inner();
        let key_id = KeyId::parse(&request.api_key_id);
        let RotationFields { grace, request } = RotationFields::parse(&caller.principal.user_id, request)?;
        let key_id = key_id.ok_or(ServiceError::ApiKeyNotFound)?;
        let drawn = ApiKey::random(caller.account.clone())?;
        let change = KeyChange::Rotate { key_id, secret: new_secret(&drawn), grace, request };
        let made = self.change_key(caller, change, event).await?;
        tracing::info!(
            target: "audit", action = "rotate_api_key", actor = %made.key.user_id, subject = %made.key.key_id,
            "an API key got another secret"
        );
        Ok(pb::RotateApiKeyResponse { key: drawn.reveal().to_owned(), api_key: Some(contract::api_key(made)) })
    }

    pub(super) async fn answer_list_api_keys(
        &self,
        request: Request<pb::ListApiKeysRequest>,
    ) -> Result<pb::ListApiKeysResponse, ServiceError> {
        let caller = self.authorizer.owner(Call::of(&request)).await?;
        let mut keys = self.store.api_keys(&caller.account).await?;
        if !caller.principal.owns() {
            keys.retain(|key| key.key.user_id == caller.principal.user_id);
        }
        Ok(pb::ListApiKeysResponse { api_keys: keys.into_iter().map(contract::api_key).collect() })
    }

    pub(super) async fn answer_revoke_api_key(
        &self,
        request: Request<pb::RevokeApiKeyRequest>,
    ) -> Result<pb::RevokeApiKeyResponse, ServiceError> {
        let call = Call::of(&request);
        let caller = self.authorizer.owner(call).await?;
        let event = call.event(AuditAction::RevokeApiKey).by(&caller.principal);
        let pb::RevokeApiKeyRequest { api_key_id, secret_number } = request.into_inner();
        let key_id = KeyId::parse(&api_key_id).ok_or(ServiceError::ApiKeyNotFound)?;
        let change = match secret_number {
            None => KeyChange::Revoke { key_id },
            Some(number) => KeyChange::RevokeSecret { key_id, number },
        };
        let actor = caller.principal.user_id.clone();
        let revoked = self.change_key(caller, change, event).await?;
        tracing::info!(
            target: "audit", action = "revoke_api_key", actor = %actor, subject = %revoked.key.key_id, secret = secret_number,
            "an API key, or a secret of it, was revoked"
        );
        Ok(pb::RevokeApiKeyResponse { api_key: Some(contract::api_key(revoked)) })
    }

    /// Revokes the secret that somebody shows, whoever it is; `None`: it is none that is kept.
    pub(super) async fn revoke_secret(&self, call: Call<'_>, shown: &ApiKey) -> Result<Option<KeyId>, ServiceError> {
        let change = KeyChange::RevokeShown { secret_hash: shown.secret_hash() };
        let request = KeyChangeRequest { account: shown.account().clone(), asker: None, change };
        match self.store.change_api_keys(request, call.event(AuditAction::RevokeCredential)).await? {
            KeyAnswer::NotFound => Ok(None),
            answer => {
                let ListedKey { key, .. } = done(answer)?;
                tracing::info!(target: "audit", action = "revoke_credential", subject = %key.key_id, "an API key's secret was revoked");
                Ok(Some(key.key_id))
            }
        }
    }

    async fn change_key(&self, caller: Caller, change: KeyChange, event: AuditEvent) -> Result<ListedKey, ServiceError> {
        let request = KeyChangeRequest { account: caller.account, asker: Some(caller.credential), change };
        done(self.store.change_api_keys(request, event).await?)
    }
}

/// Who acts when the new key is used: the caller, or the service account that is named. Whether there is such a one, and whether it is the
/// caller's to make keys of, is decided with the key.
fn whose(caller: &Caller, service_account_id: &str) -> Result<UserId, ServiceError> {
    if service_account_id.is_empty() {
        return Ok(caller.principal.user_id.clone());
    }
    let id = UserId::parse(service_account_id).filter(|id| *id != caller.principal.user_id);
    id.ok_or(ServiceError::KeyForbidden(KeyRefusal::NoSuchServiceAccount))
}

fn new_secret(drawn: &ApiKey) -> NewSecret {
    NewSecret { secret_hash: drawn.secret_hash(), hint: drawn.hint() }
}

fn done(answer: KeyAnswer) -> Result<ListedKey, ServiceError> {
    match answer {
        KeyAnswer::Done { key, .. } => Ok(*key),
        KeyAnswer::TooManyKeys => Err(ServiceError::TooManyApiKeys),
        KeyAnswer::TooManySecrets => Err(ServiceError::TooManySecrets),
        KeyAnswer::RequestIdReused => Err(ServiceError::KeyRequestIdReused),
        KeyAnswer::NotFound => Err(ServiceError::ApiKeyNotFound),
        KeyAnswer::EndIsOver => Err(Violation::new(EXPIRES_AT, UnfitEnd::NotAhead.to_string()).into()),
        KeyAnswer::NotInForce => Err(ServiceError::ApiKeyEnded),
        KeyAnswer::Refused(refusal) => Err(ServiceError::Store(refusal)),
        KeyAnswer::Forbidden(refusal) => Err(ServiceError::KeyForbidden(refusal)),
    }
}

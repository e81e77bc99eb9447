//! API keys: made, rotated, listed and revoked, and credentials that were found where they don't belong.

use std::fmt;
use std::time::{Duration, SystemTime};

use shared::request_id::new_request_id;

use crate::client::Client;
use crate::credential::Credential;
use crate::error::Error;
use crate::proto::auth::{
    ApiKey, CreateApiKeyRequest, ListApiKeysRequest, RevokeApiKeyRequest, RevokeCredentialRequest, RevokeCredentialResponse,
    RotateApiKeyRequest,
};

/// How often a call that may be repeated is.
const REPETITIONS: usize = 2;

/// How an API key is limited. The default: inference and account, all models, from everywhere, and the server's own end.
#[derive(Debug, Clone, Default)]
pub struct ApiKeyOptions {
    /// For people; at most 100 characters. May be empty.
    pub name: String,
    /// `chat`, `generate`, `embed`, `list_models`, `inference` (those four), `models`, `account`. Empty: `inference` and `account`.
    pub scopes: Vec<String>,
    /// Patterns of the models that it may name: `llama3*`, `library/*`, `hf.co/*`. Empty: all.
    pub models: Vec<String>,
    /// When it ends. `None`: after the server's default time, if it has one.
    pub expires_at: Option<SystemTime>,
    /// How long it lasts from now on, in place of `expires_at`: the same at each repetition.
    pub lifetime: Option<Duration>,
    /// Networks that it may be used from: addresses, or `10.0.0.0/8`. Empty: all.
    pub networks: Vec<String>,
    /// Makes the call repeatable for 24 hours: a repetition gives a new secret for the same key, and the one before it is refused from
    /// then on. 1 to 128 printable ASCII characters. `None`: this library makes one.
    pub request_id: Option<String>,
    /// A service account of the organization that [`Client::with_account`] names: the key is its own. Owners. Empty: the caller's own key.
    pub service_account_id: String,
}

/// How an API key is rotated. The default: the secrets before stay good for 24 hours.
#[derive(Debug, Clone, Default)]
pub struct RotationOptions {
    /// How long the secrets before stay good; zero: not at all. `None`: 24 hours.
    pub grace_period: Option<Duration>,
    /// As in [`ApiKeyOptions`].
    pub request_id: Option<String>,
}

/// A secret of an API key that was made just now.
#[derive(Clone)]
pub struct NewApiKey {
    /// The key itself: it can't be had again.
    pub key: Credential,
    /// What the service keeps of it.
    pub api_key: ApiKey,
}

impl fmt::Debug for NewApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewApiKey").field("key", &self.key).field("api_key", &self.api_key.api_key_id).finish()
    }
}

impl Client {
    /// Makes an API key. Needs an access token. When the connection breaks before the answer is there, the call is repeated, which
    /// makes no second key; an error's request id is for repetitions of the caller's own.
    pub async fn create_api_key(&self, options: ApiKeyOptions) -> Result<NewApiKey, Error> {
        let ApiKeyOptions { name, scopes, models, expires_at, lifetime, networks, request_id, service_account_id } = options;
        let unusable = |_| Error::Configuration("the lifetime is longer than a duration can be".to_owned());
        let lifetime = lifetime.map(TryInto::try_into).transpose().map_err(unusable)?;
        let request_id = request_id.unwrap_or_else(new_request_id);
        let expires_at = expires_at.map(Into::into);
        let message = CreateApiKeyRequest { name, scopes, models, expires_at, networks, request_id, lifetime, service_account_id };
        let made = self.repeated(|| self.send_create(&message)).await?;
        Ok(NewApiKey { key: Credential::new(made.0)?, api_key: made.1.unwrap_or_default() })
    }

    async fn send_create(&self, message: &CreateApiKeyRequest) -> Result<(String, Option<ApiKey>), Error> {
        let answer = self.accounts().create_api_key(self.account_request(message.clone())).await;
        self.connections.auth.answer(answer, Some(&message.request_id)).map(|made| (made.key, made.api_key))
    }

    /// Gives a key another secret. The one before stays good for a grace period; both spend one balance. Needs an access token. Repeated
    /// as [`Client::create_api_key`] is.
    pub async fn rotate_api_key(&self, api_key_id: &str, options: RotationOptions) -> Result<NewApiKey, Error> {
        let RotationOptions { grace_period, request_id } = options;
        let unusable = |_| Error::Configuration("the grace period is longer than a duration can be".to_owned());
        let message = RotateApiKeyRequest {
            api_key_id: api_key_id.to_owned(),
            grace_period: grace_period.map(TryInto::try_into).transpose().map_err(unusable)?,
            request_id: request_id.unwrap_or_else(new_request_id),
        };
        let made = self.repeated(|| self.send_rotate(&message)).await?;
        Ok(NewApiKey { key: Credential::new(made.0)?, api_key: made.1.unwrap_or_default() })
    }

    async fn send_rotate(&self, message: &RotateApiKeyRequest) -> Result<(String, Option<ApiKey>), Error> {
        let answer = self.accounts().rotate_api_key(self.account_request(message.clone())).await;
        self.connections.auth.answer(answer, Some(&message.request_id)).map(|made| (made.key, made.api_key))
    }

    /// The account's keys, revoked and expired ones included, oldest first, without their secrets. Of an organization's account, a member
    /// who is no owner sees their own.
    pub async fn list_api_keys(&self) -> Result<Vec<ApiKey>, Error> {
        let answer = self.accounts().list_api_keys(self.account_request(ListApiKeysRequest {})).await;
        Ok(self.connections.auth.answer(answer, None)?.api_keys)
    }

    /// Revokes a key and all its secrets: the next call with any of them is refused, and answers that run end. Idempotent. Needs an access
    /// token.
    pub async fn revoke_api_key(&self, api_key_id: &str) -> Result<ApiKey, Error> {
        self.revoke(RevokeApiKeyRequest { api_key_id: api_key_id.to_owned(), secret_number: None }).await
    }

    /// Revokes one of a key's secrets, by the number that the list of keys shows. As [`Client::revoke_api_key`] otherwise.
    pub async fn revoke_api_key_secret(&self, api_key_id: &str, number: u32) -> Result<ApiKey, Error> {
        self.revoke(RevokeApiKeyRequest { api_key_id: api_key_id.to_owned(), secret_number: Some(number) }).await
    }

    async fn revoke(&self, message: RevokeApiKeyRequest) -> Result<ApiKey, Error> {
        let revoked = self.repeated(|| async {
            let answer = self.accounts().revoke_api_key(self.account_request(message.clone())).await;
            self.connections.auth.answer(answer, None)
        });
        Ok(revoked.await?.api_key.unwrap_or_default())
    }

    /// Revokes an API key's secret, or the session of a refresh token or access token, by showing it: for credentials that were found
    /// where they don't belong. Needs no credential beside it. Idempotent.
    pub async fn revoke_credential(&self, credential: &str) -> Result<RevokeCredentialResponse, Error> {
        let message = RevokeCredentialRequest { credential: credential.to_owned() };
        let revoked = self.repeated(|| async {
            let answer = self.accounts().revoke_credential(self.anonymous_request(message.clone())).await;
            self.connections.auth.answer(answer, None)
        });
        revoked.await
    }

    /// Makes a call that may be repeated, and makes it again when the connection broke before its answer was there. The first repetition
    /// may still be given to the connection that breaks, which then never sends it.
    async fn repeated<A, F>(&self, call: impl Fn() -> F) -> Result<A, Error>
    where
        F: Future<Output = Result<A, Error>>,
    {
        for _ in 0..REPETITIONS {
            match call().await {
                Err(Error::Interrupted { .. }) => {}
                answered => return answered,
            }
        }
        call().await
    }
}

//! What end users do with their own account.

use std::fmt;
use std::time::SystemTime;

use crate::client::Client;
use crate::credential::Credential;
use crate::error::Error;
use crate::proto::auth::{
    ApiKey, CreateApiKeyRequest, GetBalanceRequest, GetBalanceResponse, GetMeRequest, GetMeResponse, GetReceiptRequest, ListApiKeysRequest,
    LoginRequest, Receipt, RevokeApiKeyRequest, SignUpRequest, SignUpResponse,
};

/// What a user may tell about themselves. All of it may be empty.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// At most 200 characters.
    pub full_name: String,
    /// Contact data, not an identifier; at most 254 characters.
    pub email: String,
}

/// A login.
#[derive(Debug, Clone)]
pub struct Session {
    /// For [`Client::with_credential`].
    pub access_token: Credential,
    /// When it ends; `None` when the service didn't say.
    pub expires_at: Option<SystemTime>,
}

/// How an API key is limited. The default: inference and account, all models, without an end.
#[derive(Debug, Clone, Default)]
pub struct ApiKeyOptions {
    /// For people; at most 100 characters. May be empty.
    pub name: String,
    /// `inference`, `models`, `account`. Empty: `inference` and `account`.
    pub scopes: Vec<String>,
    /// Patterns of the models that it may name: `llama3*`, `library/*`, `hf.co/*`. Empty: all.
    pub models: Vec<String>,
    /// When it ends. `None`: never.
    pub expires_at: Option<SystemTime>,
}

/// An API key that was made just now.
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
    /// Makes a user with the server's starting credits. The password has 15 to 1024 bytes. Refused with `SIGN_UP_CLOSED` where
    /// operators make the users.
    pub async fn sign_up(&self, user_name: &str, password: &str, profile: Profile) -> Result<SignUpResponse, Error> {
        let message = SignUpRequest {
            user_name: user_name.to_owned(),
            password: password.to_owned(),
            full_name: profile.full_name,
            email: profile.email,
        };
        let answer = self.accounts().sign_up(self.anonymous_request(message)).await;
        self.connections.auth.answer(answer, None)
    }

    /// Gives an access token for 30 minutes.
    pub async fn login(&self, user_name: &str, password: &str) -> Result<Session, Error> {
        let message = LoginRequest { user_name: user_name.to_owned(), password: password.to_owned(), ..Default::default() };
        let answer = self.accounts().login(self.anonymous_request(message)).await;
        let login = self.connections.auth.answer(answer, None)?;
        let expires_at = login.expires_at.and_then(|time| time.try_into().ok());
        Ok(Session { access_token: Credential::new(login.access_token)?, expires_at })
    }

    /// Who the credential belongs to, and which account it pays from.
    pub async fn get_me(&self) -> Result<GetMeResponse, Error> {
        let answer = self.accounts().get_me(self.request(GetMeRequest {})).await;
        self.connections.auth.answer(answer, None)
    }

    /// Makes an API key. Needs an access token.
    pub async fn create_api_key(&self, options: ApiKeyOptions) -> Result<NewApiKey, Error> {
        let ApiKeyOptions { name, scopes, models, expires_at } = options;
        let message = CreateApiKeyRequest { name, scopes, models, expires_at: expires_at.map(Into::into), ..Default::default() };
        let answer = self.accounts().create_api_key(self.request(message)).await;
        let made = self.connections.auth.answer(answer, None)?;
        Ok(NewApiKey { key: Credential::new(made.key)?, api_key: made.api_key.unwrap_or_default() })
    }

    /// The account's keys, revoked and expired ones included, oldest first, without their secrets.
    pub async fn list_api_keys(&self) -> Result<Vec<ApiKey>, Error> {
        let answer = self.accounts().list_api_keys(self.request(ListApiKeysRequest {})).await;
        Ok(self.connections.auth.answer(answer, None)?.api_keys)
    }

    /// Revokes a key: the next call with it is refused. Idempotent. Needs an access token.
    pub async fn revoke_api_key(&self, api_key_id: &str) -> Result<ApiKey, Error> {
        let message = RevokeApiKeyRequest { api_key_id: api_key_id.to_owned(), ..Default::default() };
        let answer = self.accounts().revoke_api_key(self.request(message)).await;
        Ok(self.connections.auth.answer(answer, None)?.api_key.unwrap_or_default())
    }

    /// The account's credits.
    pub async fn balance(&self) -> Result<GetBalanceResponse, Error> {
        let answer = self.accounts().get_balance(self.request(GetBalanceRequest {})).await;
        self.connections.auth.answer(answer, None)
    }

    /// What became of one of the caller's own requests, as long as it is remembered (an hour by default).
    pub async fn receipt(&self, request_id: &str) -> Result<Receipt, Error> {
        let answer = self.accounts().get_receipt(self.request(GetReceiptRequest { request_id: request_id.to_owned() })).await;
        Ok(self.connections.auth.answer(answer, Some(request_id))?.receipt.unwrap_or_default())
    }
}

//! What a caller shows: from a header's text to a credential whose form, checksum or signature is verified. Whether it is still in force,
//! the store says.

use std::sync::Arc;

use shared::credential_form::{self, ACCOUNT_HEADER, API_KEY_PREFIX, FormError, is_access_token};
use tonic::metadata::MetadataMap;

use crate::access_token::{AccessTokenError, AccessTokens, VerifiedToken};
use crate::api_key::ApiKey;
use crate::foreign_issuer::{ForeignIssuers, ForeignToken, ForeignTokenError, Times};
use crate::ids::{AccountId, UserId};
use crate::store::{PresentedCredential, Refusal, Scope, Store, StoreError};
use crate::token_scopes::TokenScopes;

/// Why a credential is refused before the store is asked whether it is in force.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Its form is wrong.
    #[error(transparent)]
    Form(#[from] FormError),
    /// An access token that isn't good.
    #[error(transparent)]
    AccessToken(#[from] AccessTokenError),
    /// A foreign issuer's token that isn't good, or names nobody.
    #[error("{0}")]
    ForeignToken(ForeignTokenError),
    /// The store couldn't be asked who a foreign issuer's token names.
    #[error(transparent)]
    Store(StoreError),
    /// The account's name has no account's form.
    #[error("{ACCOUNT_HEADER} must be an account's id: 16 letters and digits")]
    AccountMalformed,
    /// An API key, or a service account, with another account than its own.
    #[error("an API key pays from its own account, always, and so does a service account")]
    AccountOfAnotherKey,
}

/// A credential, and the account that it is shown to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// The account.
    pub account: AccountId,
    /// The credential.
    pub credential: PresentedCredential,
    /// What an access token is limited to by itself. What a key may, the store knows.
    pub scopes: TokenScopes,
    /// When an access token ends, in seconds since 1970. When a key does, the store knows.
    pub expires_at_s: Option<u64>,
    /// What a foreign issuer's token is not good for. `None`: a credential of ours.
    pub foreign: Option<ForeignRights>,
}

/// What a foreign issuer's token may be used for beside calls and reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignRights {
    /// The issuer, as its tokens name it.
    pub issuer: String,
    /// When it was issued by its issuer's clock, in seconds since 1970.
    pub issued_at_s: i64,
    /// Whether an operator may use it as one.
    pub may_administer: bool,
}

impl Presented {
    /// Whose access token it is. Whose an API key is, only the store knows.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        match &self.credential {
            PresentedCredential::AccessToken { user_id, .. } => Some(user_id),
            PresentedCredential::ApiKey { .. } => None,
        }
    }

    /// Refuses what the token is not for.
    pub fn require(&self, scope: Scope) -> Result<(), Refusal> {
        if self.scopes.cover(scope) { Ok(()) } else { Err(Refusal::ScopeRequired) }
    }

    /// Refuses an access token that may do less than its user.
    pub fn require_all(&self) -> Result<(), Refusal> {
        if self.scopes.is_limited() { Err(Refusal::ScopeRequired) } else { Ok(()) }
    }

    /// Refuses a foreign issuer's token where an operator is asked for, unless its issuer is trusted with that.
    pub fn require_operators_own(&self) -> Result<(), Refusal> {
        if self.foreign.as_ref().is_some_and(|foreign| !foreign.may_administer) { Err(Refusal::RoleRequired) } else { Ok(()) }
    }
}

/// The text behind `Bearer ` of a call's one authorization header.
pub fn bearer(metadata: &MetadataMap) -> Result<&str, CredentialError> {
    Ok(credential_form::bearer(metadata.as_ref())?)
}

/// The account that a call names; empty when it names none.
pub fn account_header(metadata: &MetadataMap) -> Result<&str, CredentialError> {
    Ok(credential_form::account(metadata.as_ref())?)
}

/// Takes credentials apart: ours, and tokens of foreign issuers.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Says whether a token is ours.
    pub tokens: Arc<AccessTokens>,
    /// Says whether a token is a foreign issuer's.
    pub issuers: Arc<ForeignIssuers>,
    /// Says whom such a token names.
    pub store: Arc<dyn Store>,
}

impl Credentials {
    /// Verifies form, checksum or signature, and a token's times. `account` may be empty: the key's own, or the token's user's own.
    pub async fn present(&self, text: &str, account: &str) -> Result<Presented, CredentialError> {
        self.presented(text, account, Times::Compared).await
    }

    /// The same of a credential that was shown before: whether a token's time is over by now doesn't matter.
    pub async fn present_again(&self, text: &str, account: &str) -> Result<Presented, CredentialError> {
        self.presented(text, account, Times::Ignored).await
    }

    async fn presented(&self, text: &str, account: &str, times: Times) -> Result<Presented, CredentialError> {
        let named = if account.is_empty() { None } else { Some(AccountId::parse(account).ok_or(CredentialError::AccountMalformed)?) };
        if text.is_empty() {
            return Err(CredentialError::Form(FormError::Missing));
        }
        if text.starts_with(API_KEY_PREFIX) {
            return present_key(text, named.as_ref());
        }
        if !is_access_token(text) {
            return Err(FormError::Unknown.into());
        }
        let verified = match times {
            Times::Compared => self.tokens.verify(text),
            Times::Ignored => self.tokens.owner(text),
        };
        match verified {
            Ok(token) => Ok(Presented::token(token, named)),
            // A token of ours has a key of ours; whatever has none may be another's.
            Err(AccessTokenError::Invalid) => match self.issuers.verify(text, times, &*self.store).await {
                Ok(token) => Presented::foreign(token, named),
                Err(ForeignTokenError::Token(refused)) => Err(refused.into()),
                Err(ForeignTokenError::Store(failed)) => Err(CredentialError::Store(failed)),
                Err(refused) => Err(CredentialError::ForeignToken(refused)),
            },
            Err(refused) => Err(refused.into()),
        }
    }
}

fn present_key(text: &str, named: Option<&AccountId>) -> Result<Presented, CredentialError> {
    let key = ApiKey::parse(text).ok_or(FormError::Mistyped)?;
    if named.is_some_and(|named| named != key.account()) {
        return Err(CredentialError::AccountOfAnotherKey);
    }
    let credential = PresentedCredential::ApiKey { secret_hash: key.secret_hash() };
    Ok(Presented { account: key.account().clone(), credential, scopes: TokenScopes::All, expires_at_s: None, foreign: None })
}

impl Presented {
    /// `named`: the account that the call names; else it is the user's own.
    fn token(token: VerifiedToken, named: Option<AccountId>) -> Self {
        let account = named.unwrap_or_else(|| AccountId::from(&token.user_id));
        let VerifiedToken { user_id, session, issued_at_ms, expires_at_s, scopes } = token;
        let credential = PresentedCredential::AccessToken { user_id, session, issued_at_ms };
        Self { account, credential, scopes, expires_at_s: Some(expires_at_s), foreign: None }
    }

    fn foreign(token: ForeignToken, named: Option<AccountId>) -> Result<Self, CredentialError> {
        let account = match (&token.account, named) {
            (Some(own), Some(named)) if *own != named => return Err(CredentialError::AccountOfAnotherKey),
            (Some(own), _) => own.clone(),
            (None, named) => named.unwrap_or_else(|| AccountId::from(&token.user_id)),
        };
        let ForeignToken { user_id, account: _, issued_at_s, issued_at_ms, expires_at_s, scopes, may_administer, issuer } = token;
        let credential = PresentedCredential::AccessToken { user_id, session: None, issued_at_ms };
        let foreign = Some(ForeignRights { issuer, issued_at_s, may_administer });
        Ok(Self { account, credential, scopes, expires_at_s: Some(expires_at_s), foreign })
    }
}

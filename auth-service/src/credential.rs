//! What a caller shows: from a header's text to a credential whose form, checksum or signature is verified. Whether it is still in force,
//! the store says.

use shared::credential_form::{self, ACCOUNT_HEADER, API_KEY_PREFIX, FormError, is_access_token};
use tonic::metadata::MetadataMap;

use crate::access_token::{AccessTokenError, AccessTokens, VerifiedToken};
use crate::api_key::ApiKey;
use crate::ids::AccountId;
use crate::store::{PresentedCredential, Refusal, Scope};
use crate::token_scopes::TokenScopes;

/// Why a credential is refused before the store is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Its form is wrong.
    #[error(transparent)]
    Form(#[from] FormError),
    /// An access token that isn't good.
    #[error(transparent)]
    AccessToken(#[from] AccessTokenError),
    /// The account's name has no account's form.
    #[error("{ACCOUNT_HEADER} must be an account's id: 16 letters and digits")]
    AccountMalformed,
    /// An API key with another account than its own.
    #[error("an API key pays from its own account, always")]
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
}

impl Presented {
    /// Refuses what the token is not for.
    pub fn require(&self, scope: Scope) -> Result<(), Refusal> {
        if self.scopes.cover(scope) { Ok(()) } else { Err(Refusal::ScopeRequired) }
    }

    /// Refuses an access token that may do less than its user.
    pub fn require_all(&self) -> Result<(), Refusal> {
        if self.scopes.is_limited() { Err(Refusal::ScopeRequired) } else { Ok(()) }
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

/// Verifies form, checksum or signature, and a token's times. `account` may be empty: the key's own, or the token's user's own.
pub fn present(text: &str, account: &str, tokens: &AccessTokens) -> Result<Presented, CredentialError> {
    presented(text, account, |text| tokens.verify(text))
}

/// The same of a credential that was shown before: whether a token's time is over by now doesn't matter.
pub fn present_again(text: &str, account: &str, tokens: &AccessTokens) -> Result<Presented, CredentialError> {
    presented(text, account, |text| tokens.owner(text))
}

fn presented(
    text: &str,
    account: &str,
    verify: impl FnOnce(&str) -> Result<VerifiedToken, AccessTokenError>,
) -> Result<Presented, CredentialError> {
    let named = if account.is_empty() { None } else { Some(AccountId::parse(account).ok_or(CredentialError::AccountMalformed)?) };
    if text.is_empty() {
        return Err(CredentialError::Form(FormError::Missing));
    }
    if text.starts_with(API_KEY_PREFIX) {
        let key = ApiKey::parse(text).ok_or(FormError::Mistyped)?;
        if named.is_some_and(|named| named != *key.account()) {
            return Err(CredentialError::AccountOfAnotherKey);
        }
        let credential = PresentedCredential::ApiKey { secret_hash: key.secret_hash() };
        return Ok(Presented { account: key.account().clone(), credential, scopes: TokenScopes::All });
    }
    if !is_access_token(text) {
        return Err(FormError::Unknown.into());
    }
    let token = verify(text)?;
    let account = named.unwrap_or_else(|| AccountId::from(&token.user_id));
    let VerifiedToken { user_id, session, issued_at_ms, scopes } = token;
    let credential = PresentedCredential::AccessToken { user_id, session, issued_at_ms };
    Ok(Presented { account, credential, scopes })
}

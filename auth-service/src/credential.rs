//! What a caller shows: from a header's text to a credential whose form, checksum or signature is verified. Whether it is still in force,
//! the store says.

use shared::caller_metadata::{self, ACCOUNT_HEADER, CallerMetadataError};
use tonic::metadata::MetadataMap;

use crate::access_token::{AccessTokenError, AccessTokens};
use crate::api_key::{self, ApiKey};
use crate::ids::AccountId;
use crate::store::PresentedCredential;

/// Why a credential is refused before the store is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// There is none.
    #[error("send `authorization: Bearer <API key or access token>`")]
    Missing,
    /// It isn't a bearer credential, or comes more than once.
    #[error("the authorization header must be one `Bearer <API key or access token>`")]
    NotBearer,
    /// It is neither an API key nor an access token.
    #[error("the credential is neither an API key nor an access token")]
    Unknown,
    /// Its checksum is wrong.
    #[error("the API key is mistyped or cut: its checksum is wrong")]
    Mistyped,
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

impl From<CallerMetadataError> for CredentialError {
    fn from(error: CallerMetadataError) -> Self {
        match error {
            CallerMetadataError::CredentialMissing => Self::Missing,
            CallerMetadataError::NotOneCredential => Self::NotBearer,
            CallerMetadataError::NotOneAccount => Self::AccountMalformed,
        }
    }
}

/// A credential, and the account that it is shown to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// The account.
    pub account: AccountId,
    /// The credential.
    pub credential: PresentedCredential,
}

/// The text behind `Bearer ` of a call's one authorization header.
pub fn bearer(metadata: &MetadataMap) -> Result<&str, CredentialError> {
    Ok(caller_metadata::bearer(metadata.as_ref())?)
}

/// The account that a call names; empty when it names none.
pub fn account_header(metadata: &MetadataMap) -> Result<&str, CredentialError> {
    Ok(caller_metadata::account(metadata.as_ref())?)
}

/// Whether a text has the form of an end user's credential, good or not.
#[must_use]
pub fn is_end_users(text: &str) -> bool {
    text.starts_with(api_key::PREFIX) || is_jwt(text)
}

/// Verifies form, checksum or signature. `account` may be empty: the key's own, or the token's user's own.
pub fn present(text: &str, account: &str, tokens: &AccessTokens) -> Result<Presented, CredentialError> {
    let named = if account.is_empty() { None } else { Some(AccountId::parse(account).ok_or(CredentialError::AccountMalformed)?) };
    if text.is_empty() {
        return Err(CredentialError::Missing);
    }
    if text.starts_with(api_key::PREFIX) {
        let key = ApiKey::parse(text).ok_or(CredentialError::Mistyped)?;
        if named.is_some_and(|named| named != *key.account()) {
            return Err(CredentialError::AccountOfAnotherKey);
        }
        let credential = PresentedCredential::ApiKey { secret_hash: key.secret_hash() };
        return Ok(Presented { account: key.account().clone(), credential });
    }
    if !is_jwt(text) {
        return Err(CredentialError::Unknown);
    }
    let token = tokens.verify(text)?;
    let account = named.unwrap_or_else(|| AccountId::from(&token.user_id));
    let credential = PresentedCredential::AccessToken { user_id: token.user_id, issued_at_ms: token.issued_at_ms };
    Ok(Presented { account, credential })
}

fn is_jwt(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataValue;

    use super::*;

    fn metadata(name: &'static str, values: &[&'static str]) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for value in values {
            metadata.append(name, MetadataValue::from_static(value));
        }
        metadata
    }

    #[test]
    fn two_credentials_or_two_accounts_are_refused_in_two_headers_and_in_one() {
        assert_eq!(bearer(&metadata("authorization", &["Bearer abc"])), Ok("abc"));
        assert_eq!(bearer(&metadata("authorization", &[])), Err(CredentialError::Missing));
        for wrong in [&["Bearer a", "Bearer b"][..], &["Bearer a", "Bearer a"], &["Bearer a, Bearer b"], &["Bearer a,b"], &["Basic a"]] {
            assert_eq!(bearer(&metadata("authorization", wrong)), Err(CredentialError::NotBearer), "{wrong:?}");
        }
        assert_eq!(account_header(&metadata(ACCOUNT_HEADER, &["a"])), Ok("a"));
        for wrong in [&["a", "b"][..], &["a", "a"], &["a,b"]] {
            assert_eq!(account_header(&metadata(ACCOUNT_HEADER, wrong)), Err(CredentialError::AccountMalformed), "{wrong:?}");
        }
    }
}

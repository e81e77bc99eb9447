//! What a call's metadata says of its caller, by one rule for both services: one credential, and at most one account.
//!
//! A proxy and a service that choose differently among several would let a caller show one credential and use another. So several are refused,
//! in several headers or joined by commas in one.

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The header that names the account to pay, for access tokens.
pub const ACCOUNT_HEADER: &str = "x-tollgate-account";

/// Why a call's metadata names no one caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallerMetadataError {
    /// There is no credential.
    #[error("a credential is required: send the metadata `authorization: Bearer <API key or access token>`")]
    CredentialMissing,
    /// There is something else than one bearer credential.
    #[error("`authorization` must be one `Bearer <API key or access token>`")]
    NotOneCredential,
    /// Several accounts, or what is no text.
    #[error("{ACCOUNT_HEADER} must be one account's id")]
    NotOneAccount,
}

/// The text behind `Bearer ` of a call's one authorization header.
pub fn bearer(headers: &HeaderMap) -> Result<&str, CallerMetadataError> {
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let first = sent.next().ok_or(CallerMetadataError::CredentialMissing)?;
    let text = first.to_str().ok().filter(|_| sent.next().is_none());
    let (scheme, credential) = text.and_then(|text| text.split_once(' ')).ok_or(CallerMetadataError::NotOneCredential)?;
    let credential = credential.trim();
    // No credential has a comma or a blank in it: with one, it is a list.
    let one = !credential.is_empty() && !credential.contains([',', ' ', '\t']);
    if scheme.eq_ignore_ascii_case("bearer") && one { Ok(credential) } else { Err(CallerMetadataError::NotOneCredential) }
}

/// The account that a call names; empty when it names none.
pub fn account(headers: &HeaderMap) -> Result<&str, CallerMetadataError> {
    let mut named = headers.get_all(ACCOUNT_HEADER).iter();
    let Some(first) = named.next() else { return Ok("") };
    let one = first.to_str().ok().filter(|text| named.next().is_none() && !text.contains(','));
    // Never the own account in place of the one that was meant.
    one.ok_or(CallerMetadataError::NotOneAccount)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(name: HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut all = HeaderMap::new();
        for value in values {
            all.append(name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        all
    }

    #[test]
    fn exactly_one_credential_is_taken() {
        let of = |values: &[&'static str]| bearer(&headers(AUTHORIZATION, values)).map(str::to_owned);
        assert_eq!(of(&["Bearer abc"]), Ok("abc".to_owned()));
        assert_eq!(of(&["bearer  a.b-c_d= "]), Ok("a.b-c_d=".to_owned()));
        assert_eq!(of(&[]), Err(CallerMetadataError::CredentialMissing));
        for wrong in [
            &["abc"][..],
            &["Basic abc"],
            &["Bearer "],
            &["Bearer"],
            &[""],
            &["Bearer a", "Bearer b"],
            &["Bearer a", "Bearer a"],
            &["Bearer a", ""],
            &["Bearer a", "Basic b"],
            &["Bearer a, Bearer b"],
            &["Bearer a,Bearer b"],
            &["Bearer a,b"],
            &["Bearer a,"],
            &["Bearer a b"],
            &["Basic a, Bearer b"],
        ] {
            assert_eq!(of(wrong), Err(CallerMetadataError::NotOneCredential), "{wrong:?}");
        }
    }

    #[test]
    fn at_most_one_account_is_taken() {
        let of = |values: &[&'static str]| account(&headers(HeaderName::from_static(ACCOUNT_HEADER), values)).map(str::to_owned);
        assert_eq!(of(&[]), Ok(String::new()));
        assert_eq!(of(&["abc"]), Ok("abc".to_owned()));
        for wrong in [&["a", "b"][..], &["a", "a"], &["", "a"], &["a", ""], &["a,b"], &["a, a"], &["caf\u{e9}"]] {
            assert_eq!(of(wrong), Err(CallerMetadataError::NotOneAccount), "{wrong:?}");
        }
    }
}

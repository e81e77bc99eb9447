//! The form of a credential: the `authorization` header it comes in, an API key with its checksum, an access token.
//!
//! The form can be judged from the text alone. Whether the credential is in force, only auth-service knows.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use tonic::Code;

use crate::ErrorReason;
use crate::error::CallError;

/// The header that names the account to pay, for access tokens.
pub const ACCOUNT_HEADER: &str = "x-tollgate-account";
/// The header in which some SDKs send their API key.
pub const API_KEY_HEADER: &str = "x-api-key";
/// What every API key starts with.
pub const API_KEY_PREFIX: &str = "tg_";
/// Characters of an API key: prefix, account's id (16), secret (24), checksum (6).
pub const API_KEY_LENGTH: usize = API_KEY_PREFIX.len() + 16 + 24 + CHECKSUM_LENGTH;
/// What every refresh token starts with.
pub const REFRESH_TOKEN_PREFIX: &str = "tgr_";
/// Characters of a refresh token: prefix, user's id (16), session's id (12), two secrets (22 each), checksum (6).
pub const REFRESH_TOKEN_LENGTH: usize = REFRESH_TOKEN_PREFIX.len() + 16 + 12 + 22 + 22 + CHECKSUM_LENGTH;
/// What every invitation to an organization starts with.
pub const INVITATION_PREFIX: &str = "tgi_";
/// Characters of an invitation: prefix, account's id (16), secret (22), checksum (6).
pub const INVITATION_LENGTH: usize = INVITATION_PREFIX.len() + 16 + 22 + CHECKSUM_LENGTH;
/// What every device code starts with.
pub const DEVICE_CODE_PREFIX: &str = "tgd_";
/// Characters of a device code: prefix, secret (32), checksum (6).
pub const DEVICE_CODE_LENGTH: usize = DEVICE_CODE_PREFIX.len() + 32 + CHECKSUM_LENGTH;
/// Characters of the checksum: 62^6 is more than 2^32.
pub const CHECKSUM_LENGTH: usize = 6;
/// The digits of base62, in their order.
pub const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Shorter access tokens are nobody's: a header, the claims and a signature take more.
const FEWEST_ACCESS_TOKEN_BYTES: usize = 100;
/// Longer access tokens are nobody's: those of foreign issuers may name a person's groups.
pub const MAX_ACCESS_TOKEN_BYTES: usize = 8192;

/// Why a credential is refused by its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
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
    /// `authorization` and `x-api-key` name different ones.
    #[error("authorization and x-api-key carry different credentials; send one")]
    TwoCredentials,
    /// Several accounts are named, or what is no text.
    #[error("{ACCOUNT_HEADER} must be one account's id")]
    NotOneAccount,
}

impl From<FormError> for CallError {
    fn from(error: FormError) -> Self {
        let reason = match error {
            FormError::NotOneAccount => return Self::invalid_argument(error.to_string()),
            FormError::Missing => ErrorReason::CredentialMissing,
            FormError::NotBearer | FormError::TwoCredentials | FormError::Unknown | FormError::Mistyped => ErrorReason::CredentialInvalid,
        };
        Self::new(Code::Unauthenticated, reason, error.to_string())
    }
}

/// The value of the `authorization` header that carries a credential. [`bearer`] reads it.
#[must_use]
pub fn to_bearer(credential: &str) -> String {
    ["Bearer ", credential].concat()
}

/// The text behind `Bearer ` of a call's one authorization header.
pub fn bearer(headers: &HeaderMap) -> Result<&str, FormError> {
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let (first, another) = (sent.next().ok_or(FormError::Missing)?, sent.next());
    let text = first.to_str().ok().filter(|_| another.is_none()).ok_or(FormError::NotBearer)?;
    let (scheme, credential) = text.split_once(' ').ok_or(FormError::NotBearer)?;
    let credential = credential.trim();
    // Two headers that a proxy joined are still two.
    let is_one = !credential.is_empty() && !credential.bytes().any(|byte| matches!(byte, b' ' | b',' | b'\t'));
    if scheme.eq_ignore_ascii_case("bearer") && is_one { Ok(credential) } else { Err(FormError::NotBearer) }
}

/// Takes a credential out of `x-api-key`, where some SDKs send it, into the `authorization` header. Two different ones are refused: a proxy
/// and a service could choose differently among them.
pub fn join_api_key(headers: &mut HeaderMap) -> Result<(), FormError> {
    let mut sent = headers.get_all(API_KEY_HEADER).iter();
    let Some(first) = sent.next() else { return Ok(()) };
    let another = sent.next().is_some();
    let key = first.to_str().ok().filter(|_| !another).ok_or(FormError::NotBearer)?.trim();
    match bearer(headers) {
        // SDKs send an empty one beside a token.
        _ if key.is_empty() => {}
        Err(FormError::Missing) => {
            let mut value = HeaderValue::from_str(&to_bearer(key)).map_err(|_| FormError::NotBearer)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(credential) if credential == key => {}
        Ok(_) | Err(_) => return Err(FormError::TwoCredentials),
    }
    headers.remove(API_KEY_HEADER);
    Ok(())
}

/// The account that a call names; empty when it names none. Several are refused: a proxy and a service could choose differently among them.
pub fn account(headers: &HeaderMap) -> Result<&str, FormError> {
    let mut named = headers.get_all(ACCOUNT_HEADER).iter();
    let Some(first) = named.next() else { return Ok("") };
    let one = first.to_str().ok().filter(|text| named.next().is_none() && !text.contains(','));
    // Never the own account in place of the one that was meant.
    one.ok_or(FormError::NotOneAccount)
}

/// Whether a text has the form of an end user's credential, good or not.
pub fn end_users(text: &str) -> Result<(), FormError> {
    if text.starts_with(API_KEY_PREFIX) {
        return if is_api_key(text) { Ok(()) } else { Err(FormError::Mistyped) };
    }
    if is_access_token(text) { Ok(()) } else { Err(FormError::Unknown) }
}

/// Whether a text is 64 hexadecimal digits, as a service credential is. So is a SHA-256.
#[must_use]
pub fn could_be_a_service_credential(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether there is a credential of ours in a text that is to be kept, logged or shown: an API key, a refresh token, an invitation, a
/// device code, or what looks like an access token. People send them in the wrong place.
#[must_use]
pub fn holds_credential(text: &str) -> bool {
    let checksummed = |prefix: &str, length: usize, is_one: fn(&str) -> bool| {
        text.match_indices(prefix).any(|(at, _)| text.get(at..at + length).is_some_and(is_one))
    };
    checksummed(API_KEY_PREFIX, API_KEY_LENGTH, is_api_key)
        || checksummed(REFRESH_TOKEN_PREFIX, REFRESH_TOKEN_LENGTH, is_refresh_token)
        || checksummed(INVITATION_PREFIX, INVITATION_LENGTH, is_invitation)
        || checksummed(DEVICE_CODE_PREFIX, DEVICE_CODE_LENGTH, is_device_code)
        || text
            .split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
            .any(|word| word.len() >= FEWEST_ACCESS_TOKEN_BYTES && is_access_token(word))
}

/// Whether a text is `tg_`, 40 letters and digits, and the right checksum of them.
#[must_use]
pub fn is_api_key(text: &str) -> bool {
    is_checksummed(text, API_KEY_PREFIX, API_KEY_LENGTH)
}

/// Whether a text is `tgr_`, 72 letters and digits, and the right checksum of them.
#[must_use]
pub fn is_refresh_token(text: &str) -> bool {
    is_checksummed(text, REFRESH_TOKEN_PREFIX, REFRESH_TOKEN_LENGTH)
}

/// Whether a text is `tgi_`, 38 letters and digits, and the right checksum of them.
#[must_use]
pub fn is_invitation(text: &str) -> bool {
    is_checksummed(text, INVITATION_PREFIX, INVITATION_LENGTH)
}

/// Whether a text is `tgd_`, 32 letters and digits, and the right checksum of them.
#[must_use]
pub fn is_device_code(text: &str) -> bool {
    is_checksummed(text, DEVICE_CODE_PREFIX, DEVICE_CODE_LENGTH)
}

fn is_checksummed(text: &str, prefix: &str, length: usize) -> bool {
    if text.len() != length || !text.is_ascii() {
        return false;
    }
    let (body, written) = text.split_at(length - CHECKSUM_LENGTH);
    let rest = body.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_alphanumeric())) && checksum(body) == *written.as_bytes()
}

/// Whether a text is three parts of base64url, joined by dots, of which the first begins as a JSON object does.
#[must_use]
pub fn is_access_token(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let mut parts = text.split('.');
    text.len() <= MAX_ACCESS_TOKEN_BYTES
        && parts.clone().count() == 3
        && parts.clone().all(is_part)
        // `{` in base64: a header is a JSON object. Which byte comes next is in half of the second character.
        && parts.next().is_some_and(|header| matches!(header.as_bytes(), [b'e', b'w'..=b'z' | b'0'..=b'9' | b'-' | b'_', ..]))
}

/// CRC32 of a text as six base62 digits, the highest first.
#[must_use]
pub fn checksum(text: &str) -> [u8; CHECKSUM_LENGTH] {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = [b'0'; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        named(AUTHORIZATION, values)
    }

    fn named(name: HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap())).collect()
    }

    #[test]
    fn at_most_one_account_is_taken() {
        let of = |values: &[&str]| account(&named(HeaderName::from_static(ACCOUNT_HEADER), values)).map(str::to_owned);
        assert_eq!(of(&[]), Ok(String::new()));
        assert_eq!(of(&["abc"]), Ok("abc".to_owned()));
        for wrong in [&["a", "b"][..], &["a", "a"], &["", "a"], &["a", ""], &["a,b"], &["a, a"], &["caf\u{e9}"]] {
            assert_eq!(of(wrong), Err(FormError::NotOneAccount), "{wrong:?}");
        }
    }

    fn key() -> String {
        let body = format!("{API_KEY_PREFIX}{}", "a1B2".repeat(10));
        let written = checksum(&body);
        format!("{body}{}", std::str::from_utf8(&written).unwrap())
    }

    #[test]
    fn a_credential_is_found_wherever_it_stands_in_a_text_and_nothing_else_is_taken_for_one() {
        let body = format!("{REFRESH_TOKEN_PREFIX}{}", "a1B2".repeat(18));
        let refresh = format!("{body}{}", std::str::from_utf8(&checksum(&body)).unwrap());
        let token = format!("eyJhbGciOiJIUzI1NiJ9.{}.{}", "eyJzdWIi".repeat(8), "c2ln".repeat(10));
        let body = format!("{INVITATION_PREFIX}{}", "a1".repeat(19));
        let invitation = format!("{body}{}", std::str::from_utf8(&checksum(&body)).unwrap());
        let body = format!("{DEVICE_CODE_PREFIX}{}", "a1B2".repeat(8));
        let device = format!("{body}{}", std::str::from_utf8(&checksum(&body)).unwrap());
        for credential in [&key(), &refresh, &token, &invitation, &device] {
            for text in [credential.clone(), format!("x={credential};y"), format!("é={credential}; é"), format!("tg_ tgr_ {credential}")]
            {
                assert!(holds_credential(&text), "{text}");
            }
        }
        for text in ["", "tg_", "tgr_é", "eyes.v1.q4", "a tg_ and a tgr_", &"tg_".repeat(30), &"x".repeat(300), &"a.b.c ".repeat(50)] {
            assert!(!holds_credential(text), "{text}");
        }
        assert!(!holds_credential(&key()[..48]) && !holds_credential(&refresh[..81]));
    }

    #[test]
    fn a_refresh_token_is_told_by_its_prefix_its_82_characters_and_its_checksum() {
        let body = format!("{REFRESH_TOKEN_PREFIX}{}", "a1B2".repeat(18));
        let token = format!("{body}{}", std::str::from_utf8(&checksum(&body)).unwrap());
        assert_eq!(token.len(), 82);
        assert!(is_refresh_token(&token) && !is_api_key(&token));
        assert!(!is_refresh_token(&key()));
        for wrong in [&token.replacen('a', "b", 1), &token[..81], &format!("{token}0"), "tgr_", "", &"é".repeat(41)] {
            assert!(!is_refresh_token(wrong), "{wrong}");
        }
        // As a bearer it is nothing that a call could be made with.
        assert_eq!(end_users(&token), Err(FormError::Unknown));
    }

    #[test]
    fn exactly_one_bearer_credential_is_taken() {
        assert_eq!(bearer(&headers(&["Bearer abc"])), Ok("abc"));
        assert_eq!(bearer(&headers(&["bearer abc"])), Ok("abc"));
        assert_eq!(bearer(&headers(&[])), Err(FormError::Missing));
        let two = ["Bearer a", "Bearer b"];
        for wrong in [
            &["abc"][..],
            &["Basic abc"],
            &["Bearer "],
            &["Bearer"],
            &two,
            &[""],
            &["Bearer a, Bearer b"],
            &["Bearer a b"],
            &["Bearer a,"],
            &["Bearer a", ""],
        ] {
            assert_eq!(bearer(&headers(wrong)), Err(FormError::NotBearer), "{wrong:?}");
        }
    }

    #[test]
    fn an_api_key_of_an_sdk_is_a_bearer_credential_and_two_are_none() {
        let joined = |authorization: &[&str], keys: &[&str]| {
            let mut all = headers(authorization);
            all.extend(named(HeaderName::from_static(API_KEY_HEADER), keys));
            join_api_key(&mut all)?;
            assert!(!all.contains_key(API_KEY_HEADER) || keys.is_empty());
            bearer(&all).map(str::to_owned)
        };
        for (authorization, keys) in [(&[][..], &["a"][..]), (&["Bearer a"], &["a"]), (&["Bearer a"], &[]), (&["Bearer a"], &[""])] {
            assert_eq!(joined(authorization, keys), Ok("a".to_owned()));
        }
        assert_eq!(joined(&[], &[""]), Err(FormError::Missing));
        assert_eq!(joined(&["Bearer a"], &["b"]), Err(FormError::TwoCredentials));
        assert_eq!(joined(&["Basic a"], &["a"]), Err(FormError::TwoCredentials));
        for wrong in [&["a", "a"][..], &["a b"], &["a,b"]] {
            assert_eq!(joined(&[], wrong), Err(FormError::NotBearer), "{wrong:?}");
        }
    }

    #[test]
    fn a_mistyped_key_and_what_is_no_token_are_told_by_their_form() {
        let key = key();
        assert_eq!(end_users(&key), Ok(()));
        // However an issuer writes the JSON of its header.
        for token in ["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln", "eyAiYWxnIjoiUlMyNTYifQ.e30.c2ln", "ewogImFsZyI6ICJSUzI1NiJ9.e30.c2ln"] {
            assert_eq!(end_users(token), Ok(()), "{token}");
        }
        let mistyped = key.replacen('a', "b", 1);
        for wrong in [mistyped.as_str(), "tg_", &key[..48], &format!("{key}0"), "tg_é"] {
            assert_eq!(end_users(wrong), Err(FormError::Mistyped), "{wrong}");
        }
        let long = format!("eyJ.{}.x", "a".repeat(MAX_ACCESS_TOKEN_BYTES));
        for wrong in ["", "x", "a.b.c", "e.b.c", "eAJh.b.c", "fyJh.b.c", "eyJh..c", "eyJh.b", "eyJh.b.c.d", "eyJh.b.c=", &long] {
            assert_eq!(end_users(wrong), Err(FormError::Unknown), "{wrong}");
        }
    }
}

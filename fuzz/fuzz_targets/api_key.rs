//! Both services judge a credential by the same form, and no mistyped key has it.
#![no_main]

use auth_service::api_key::ApiKey;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};
use libfuzzer_sys::fuzz_target;
use shared::authorization::judge_end_user;
use shared::credential_form::{
    API_KEY_LENGTH, API_KEY_PREFIX, BASE62, CHECKSUM_LENGTH, bearer, checksum, end_users, is_access_token, is_api_key,
};

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        judge(text);
    }
    if let Ok(value) = HeaderValue::from_bytes(data) {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value.clone())]);
        let credential = bearer(&headers);
        if let Ok(credential) = credential {
            assert!(!credential.is_empty() && !credential.contains([' ', '\t', ',']), "{credential:?} is not one credential");
            assert!(data.to_ascii_lowercase().starts_with(b"bearer "));
            judge(credential);
        }
        assert_eq!(judge_end_user(&headers).is_ok(), credential.is_ok_and(|credential| end_users(credential).is_ok()));
        let twice = HeaderMap::from_iter([(AUTHORIZATION, value.clone()), (AUTHORIZATION, value)]);
        assert!(bearer(&twice).is_err(), "two headers are two credentials");
    }
    let mut made = API_KEY_PREFIX.to_owned();
    made.extend((0..API_KEY_LENGTH - API_KEY_PREFIX.len() - CHECKSUM_LENGTH).map(|at| digit(data.get(at))));
    made.extend(checksum(&made).map(char::from));
    assert!(is_api_key(&made), "{made} has the right checksum");
    judge(&made);
    let at = usize::from(data.first().copied().unwrap_or_default()) % API_KEY_LENGTH;
    let other = digit(data.last());
    let mut mistyped = made.clone();
    mistyped.replace_range(at..=at, &other.to_string());
    assert!(mistyped == made || !is_api_key(&mistyped), "{mistyped} differs from {made} in one character");
    judge(&mistyped);
});

fn digit(byte: Option<&u8>) -> char {
    char::from(BASE62[usize::from(byte.copied().unwrap_or_default()) % BASE62.len()])
}

fn judge(text: &str) {
    let key = ApiKey::parse(text);
    assert_eq!(key.is_some(), is_api_key(text), "{text:?}");
    assert_eq!(end_users(text).is_ok(), is_api_key(text) || is_access_token(text), "{text:?}");
    if let Some(key) = key {
        assert_eq!(key.reveal(), text);
        assert_eq!(key.account().as_str(), &text[3..19]);
        assert!(!format!("{key:?}{}", key.hint()).contains(&text[19..43]), "the secret is shown");
    }
}

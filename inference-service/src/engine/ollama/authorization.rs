//! How a proxy in front of Ollama knows this service: the value of the header `authorization`, which is never printed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The value of the header `authorization`. Neither `Debug` nor an error shows it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Authorization(String);

impl Authorization {
    /// Basic authentication with what stands before the `@` of a URL: a user, and perhaps a colon and a password, both percent-encoded.
    pub(super) fn basic(user_info: &str) -> Result<Self, String> {
        let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
        let (user, password) = (percent_decoded(user)?, percent_decoded(password)?);
        if user.contains(&b':') {
            return Err("the user must not contain a colon: basic authentication has no way to say it".to_owned());
        }
        if user.iter().chain(&password).any(u8::is_ascii_control) {
            return Err("the user and password must not contain control characters".to_owned());
        }
        let pair = [user.as_slice(), b":", &password].concat();
        Ok(Self(format!("Basic {}", STANDARD.encode(pair))))
    }

    /// A key, as the bearer of it sends it.
    pub(super) fn bearer(key: &str) -> Result<Self, String> {
        let key = key.trim();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("must be a key of printable ASCII characters without blanks".to_owned());
        }
        Ok(Self(format!("Bearer {key}")))
    }

    /// For the header.
    pub(super) fn header_value(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization(…)")
    }
}

fn percent_decoded(text: &str) -> Result<Vec<u8>, String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
        match (digit(bytes.next()), digit(bytes.next())) {
            (Some(high), Some(low)) => decoded.push(high << 4 | low),
            _ => return Err("a % in the user or password must begin two hexadecimal digits; % itself is written %25".to_owned()),
        }
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(authorization: &Authorization) -> String {
        String::from_utf8(STANDARD.decode(authorization.header_value().strip_prefix("Basic ").unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn a_user_and_a_password_are_percent_decoded_into_basic_authentication() {
        for (user_info, pair) in [
            ("user:pass", "user:pass"),
            ("user", "user:"),
            (":pass", ":pass"),
            ("us%40er:p%2Fa%3as%25s", "us@er:p/a:s%s"),
            ("user:a:b", "user:a:b"),
            ("j%C3%B6rg:%E2%82%AC+1", "jörg:€+1"),
        ] {
            assert_eq!(decoded(&Authorization::basic(user_info).unwrap()), pair, "{user_info}");
        }
        assert_eq!(Authorization::basic("user:pass").unwrap().header_value(), "Basic dXNlcjpwYXNz");
    }

    #[test]
    fn what_can_not_be_a_credential_is_refused_without_repeating_it() {
        for user_info in ["canary%3Ax:y", "canary:%", "canary:%4", "canary:%zz", "canary:%0d%0a", "%00canary:x"] {
            let refused = Authorization::basic(user_info).unwrap_err();
            assert!(!refused.contains("canary"), "{refused}");
        }
        for key in ["", "  ", "canary key", "canary\r\nx: y", "canäry"] {
            let refused = Authorization::bearer(key).unwrap_err();
            assert!(!refused.contains("can"), "{refused}");
        }
        assert_eq!(Authorization::bearer(" key ").unwrap().header_value(), "Bearer key");
    }
}

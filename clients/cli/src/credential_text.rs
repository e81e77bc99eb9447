//! What is shown of what holds a secret: enough to tell one from another, and nothing that is secret.

use shared::credential_form::{API_KEY_PREFIX, INVITATION_PREFIX, REFRESH_TOKEN_PREFIX, is_api_key};

use crate::setting::IN_KEYCHAIN;

/// For people who look for it in a list: its first characters and its last four, none of which are of a secret.
pub(crate) fn shown(credential: &str) -> String {
    let prefix = [REFRESH_TOKEN_PREFIX, INVITATION_PREFIX].into_iter().find(|prefix| credential.starts_with(prefix));
    let prefix = prefix.unwrap_or(API_KEY_PREFIX);
    let (head, tail) = (credential.get(..prefix.len() + 4), credential.get(credential.len().saturating_sub(4)..));
    format!("{}…{}", head.unwrap_or_default(), tail.unwrap_or_default())
}

/// A key or access token; of a profile, it may be in the keychain. What isn't a key by its form isn't shown at all.
pub(crate) fn shown_key(key: &str, is_of_profile: bool) -> String {
    match key {
        IN_KEYCHAIN if is_of_profile => IN_KEYCHAIN.to_owned(),
        key if is_api_key(key) => shown(key),
        key if key.split('.').count() == 3 => "an access token, not shown".to_owned(),
        _ => "not shown: it is no API key".to_owned(),
    }
}

/// A URL without the name and password that it may have.
pub(crate) fn shown_url(url: &str) -> String {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let end = url[begin..].find(['/', '?', '#']).map_or(url.len(), |at| begin + at);
    match url[begin..end].rfind('@') {
        Some(at) => format!("{}…{}", &url[..begin], &url[begin + at..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use shared::credential_form::{API_KEY_LENGTH, INVITATION_LENGTH, REFRESH_TOKEN_LENGTH, checksum};

    use super::*;

    fn credential(prefix: &str, length: usize) -> String {
        let mut text = format!("{prefix}{}", "abcdefghijklmnopqrstuvwxyz0123".repeat(4));
        text.truncate(length - 6);
        text.extend(checksum(&text).map(char::from));
        text
    }

    #[test]
    fn what_is_shown_of_a_credential_holds_nothing_of_its_secret() {
        let (key, token) = (credential(API_KEY_PREFIX, API_KEY_LENGTH), credential(REFRESH_TOKEN_PREFIX, REFRESH_TOKEN_LENGTH));
        let invitation = credential(INVITATION_PREFIX, INVITATION_LENGTH);
        assert_eq!(shown(&invitation), format!("tgi_abcd…{}", &invitation[44..]));
        assert_eq!(shown(&key), format!("tg_abcd…{}", &key[45..]));
        assert_eq!(shown(&token), format!("tgr_abcd…{}", &token[78..]));
        assert_eq!(shown_key(&key, true), shown(&key));
        for secret in ["eyJhbGciOiJI.eyJzdWIi.c2VjcmV0", "secret", "", "tg_secret", "keychain"] {
            assert!(!shown_key(secret, false).contains("secret") && shown_key(secret, false).contains("not shown"), "{secret}");
        }
        assert_eq!(shown_key("keychain", true), "keychain");
        for (url, expected) in [
            ("http://h:1/x@y", "http://h:1/x@y"),
            ("https://ada:secret@h:1", "https://…@h:1"),
            ("https://ada:se@cret@h/x", "https://…@h/x"),
            ("ada:secret@h", "…@h"),
        ] {
            assert_eq!(shown_url(url), expected);
        }
    }
}

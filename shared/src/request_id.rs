//! What names a request: the id in a message that makes a charge happen once, and the header that names a call in the logs.

use crate::credential_form::holds_credential;

/// The header that names a call in the logs. It never makes a call idempotent: meshes copy it over several calls.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// Characters of a request id, at most: a UUID has 36, a SHA-256 in hexadecimal 64. Each is kept for as long as its request is.
pub const MAX_REQUEST_ID_CHARACTERS: usize = 64;
/// What a request id must be; goes on from the field's name.
pub const REQUEST_ID_RULE: &str = "must be 1 to 64 printable ASCII characters without spaces, and no credential";

/// Whether a text can name a request: 1 to 64 printable ASCII characters, spaces excluded. It is logged, so a credential names none.
#[must_use]
pub fn is_request_id(text: &str) -> bool {
    (1..=MAX_REQUEST_ID_CHARACTERS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) && !holds_credential(text)
}

/// Makes a request id that nobody else makes.
#[must_use]
pub fn new_request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_1_to_64_visible_ascii_characters() {
        for good in ["r", "0190-abc.~!", &"x".repeat(64)] {
            assert!(is_request_id(good), "{good}");
        }
        for wrong in ["", "a b", " ", "a\n", "\u{7f}", "caf\u{e9}", &"x".repeat(65)] {
            assert!(!is_request_id(wrong), "{wrong:?}");
        }
        let (one, another) = (new_request_id(), new_request_id());
        assert!(is_request_id(&one) && is_request_id(&another) && one != another);
        assert!(REQUEST_ID_RULE.contains(&format!(" {MAX_REQUEST_ID_CHARACTERS} ")));
    }
}

//! An API key: `tg_`, the account's id (16), a random secret (24), and a checksum of everything before it (6), all in base62. 49
//! characters.

use shared::credential_form::{self, API_KEY_LENGTH, API_KEY_PREFIX};

use crate::account_secret::AccountSecret;
use crate::ids::AccountId;

/// A key whose form and checksum are right. `Debug` doesn't show its secret, and it has no `Display`. The secret has 142 random bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey(AccountSecret);

impl ApiKey {
    /// Draws a new key of an account.
    pub fn random(account: AccountId) -> Result<Self, getrandom::Error> {
        AccountSecret::random(API_KEY_PREFIX, API_KEY_LENGTH, account).map(Self)
    }

    /// Parses a key; `None` when its length, a character or its checksum is wrong.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if credential_form::is_api_key(text) { AccountSecret::of_form(API_KEY_PREFIX, text).map(Self) } else { None }
    }

    /// The account it belongs to.
    #[must_use]
    pub fn account(&self) -> &AccountId {
        self.0.account()
    }

    /// SHA-256 of the secret part: all that is kept of it.
    #[must_use]
    pub fn secret_hash(&self) -> [u8; 32] {
        self.0.secret_hash()
    }

    /// For people who look for a key in a list: `tg_`, the account's first four characters, and the key's last four.
    #[must_use]
    pub fn hint(&self) -> String {
        let text = self.reveal();
        format!("{}…{}", &text[..API_KEY_PREFIX.len() + 4], &text[API_KEY_LENGTH - 4..])
    }

    /// The whole key, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

#[cfg(test)]
mod tests {
    use shared::credential_form::checksum;

    use super::*;

    fn key() -> ApiKey {
        ApiKey::random(AccountId::random().unwrap()).unwrap()
    }

    #[test]
    fn a_key_is_tg_and_46_letters_and_digits_and_parses_to_itself() {
        let key = key();
        assert_eq!(key.reveal().len(), 49);
        assert_eq!(ApiKey::parse(key.reveal()), Some(key));
    }

    #[test]
    fn any_single_wrong_character_is_caught_by_the_checksum() {
        let key = key();
        for at in 0..API_KEY_LENGTH {
            for wrong in ["0", "A", "z", "_", " "] {
                let mut typed = key.reveal().to_owned();
                typed.replace_range(at..=at, wrong);
                assert!(typed == key.reveal() || ApiKey::parse(&typed).is_none(), "{at} {wrong}");
            }
        }
    }

    #[test]
    fn swapped_missing_and_added_characters_are_caught() {
        let key = key();
        let text = key.reveal();
        assert_eq!(ApiKey::parse(&text[..48]), None);
        assert_eq!(ApiKey::parse(&format!("{text}0")), None);
        assert_eq!(ApiKey::parse(""), None);
        assert_eq!(ApiKey::parse(&"ä".repeat(API_KEY_LENGTH)), None);
        for at in 3..API_KEY_LENGTH - 1 {
            let mut bytes = text.as_bytes().to_vec();
            bytes.swap(at, at + 1);
            let swapped = String::from_utf8(bytes).unwrap();
            assert!(swapped == text || ApiKey::parse(&swapped).is_none(), "{at}");
        }
    }

    #[test]
    fn neither_debug_nor_the_hint_shows_the_secret() {
        let key = key();
        let secret = &key.reveal()[19..43];
        assert!(!format!("{key:?}").contains(&secret[..4]));
        assert!(!key.hint().contains(&secret[..4]));
        assert_eq!(key.hint().chars().count(), 12);
    }

    #[test]
    fn the_checksum_of_a_known_text_never_changes() {
        // CRC32 of "123456789" is 0xCBF43926, the check value of the CRC catalogue.
        assert_eq!(&checksum("123456789"), b"3jZRME");
    }
}

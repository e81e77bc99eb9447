//! The two codes of a device's sign-in: what the device asks with, and what a person types.

use std::fmt;

use sha2::{Digest, Sha256};
use shared::credential_form::{self, CHECKSUM_LENGTH, DEVICE_CODE_LENGTH, DEVICE_CODE_PREFIX, checksum};

use crate::ids::{random_base62, random_digits};

/// Characters of the secret: 190 bits.
const SECRET_LENGTH: usize = DEVICE_CODE_LENGTH - DEVICE_CODE_PREFIX.len() - CHECKSUM_LENGTH;
/// Consonants that nobody takes for one another, and that make no words (RFC 8628, section 6.1).
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// Letters of a user code: 34 bits.
const LETTERS: usize = 8;

/// A device code whose form and checksum are right: `tgd_`, a secret (32) and a checksum (6), in base62. `Debug` doesn't show it, and it
/// has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceCode(String);

impl DeviceCode {
    /// Draws one.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut text = format!("{DEVICE_CODE_PREFIX}{}", random_base62(SECRET_LENGTH)?);
        text.extend(checksum(&text).map(char::from));
        Ok(Self(text))
    }

    /// Parses one; `None` when its length, a character or its checksum is wrong.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        credential_form::is_device_code(text).then(|| Self(text.to_owned()))
    }

    /// SHA-256 of it: all that is kept. A slow hash would add nothing to 190 random bits.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The whole code, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DeviceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceCode").finish_non_exhaustive()
    }
}

/// Eight letters that a person types. Whoever knows them can see what asks, and answer it: `Debug` doesn't show them, and it has no
/// `Display`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserCode(String);

impl UserCode {
    /// Draws one.
    pub fn random() -> Result<Self, getrandom::Error> {
        random_digits(ALPHABET, LETTERS).map(Self)
    }

    /// Parses one as a person types it: case, spaces and hyphens don't matter. `None`: it isn't eight of its letters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut letters = text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '-' | '\u{2010}'..='\u{2015}'));
        let code: String = letters.by_ref().take(LETTERS).map(|c| c.to_ascii_uppercase()).collect();
        let is_whole = letters.next().is_none() && code.len() == LETTERS;
        (is_whole && code.bytes().all(|byte| ALPHABET.contains(&byte))).then_some(Self(code))
    }

    /// Its letters alone, as they are kept.
    #[must_use]
    pub fn letters(&self) -> &str {
        &self.0
    }

    /// As it is shown: `BCDF-GHJK`.
    #[must_use]
    pub fn shown(&self) -> String {
        let (first, second) = self.0.split_at(LETTERS / 2);
        format!("{first}-{second}")
    }
}

impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserCode").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_device_code_is_tgd_and_38_letters_and_digits_and_parses_to_itself_and_to_nothing_else() {
        let code = DeviceCode::random().unwrap();
        assert!(code.reveal().len() == 42 && code.reveal().starts_with("tgd_"));
        assert_eq!(DeviceCode::parse(code.reveal()), Some(code.clone()));
        assert_ne!(DeviceCode::random().unwrap().hash(), code.hash());
        for at in 0..DEVICE_CODE_LENGTH {
            for wrong in ["0", "A", "z", "_", " "] {
                let mut typed = code.reveal().to_owned();
                typed.replace_range(at..=at, wrong);
                assert!(typed == code.reveal() || DeviceCode::parse(&typed).is_none(), "{at} {wrong}");
            }
        }
        for wrong in ["", "tgd_", &code.reveal()[..41], &format!("{}0", code.reveal()), &"ä".repeat(21)] {
            assert_eq!(DeviceCode::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_user_code_is_read_however_it_is_typed() {
        let code = UserCode::parse("BCDF-GHJK").unwrap();
        assert_eq!((code.letters(), code.shown().as_str()), ("BCDFGHJK", "BCDF-GHJK"));
        for typed in ["bcdfghjk", " BCDF GHJK\n", "b-c-d-f-g-h-j-k", "BCDF\u{2011}GHJK", "BCDF\u{2013}ghjk", "BCDF\u{a0}GHJK"] {
            assert_eq!(UserCode::parse(typed), Some(code.clone()), "{typed:?}");
        }
        for wrong in ["", "BCDF-GHJ", "BCDF-GHJKL", "ACDF-GHJK", "BCDF-GHJ1", "BCDF_GHJK", "ßßßß", "BCDF-GHJ\u{212a}"] {
            assert_eq!(UserCode::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn user_codes_use_all_of_their_alphabet_and_are_different() {
        let drawn: BTreeSet<UserCode> = (0..200).map(|_| UserCode::random().unwrap()).collect();
        assert_eq!(drawn.len(), 200);
        assert!(drawn.iter().all(|code| UserCode::parse(&code.shown()).as_ref() == Some(code)));
        let used: BTreeSet<u8> = drawn.iter().flat_map(|code| code.letters().bytes()).collect();
        assert_eq!(used.into_iter().collect::<Vec<_>>(), ALPHABET);
    }

    #[test]
    fn debug_shows_no_code() {
        let (device, user) = (DeviceCode::random().unwrap(), UserCode::random().unwrap());
        let shown = format!("{device:?} {user:?}");
        assert!(!shown.contains(&device.reveal()[4..8]) && !shown.contains(user.letters()), "{shown}");
    }
}

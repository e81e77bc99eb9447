//! An invitation's code: `tgi_`, the organization's account id (16), a random secret (22), and a checksum of everything before it (6), all
//! in base62. 48 characters.

use std::fmt;

use sha2::{Digest, Sha256};
use shared::credential_form::{self, CHECKSUM_LENGTH, INVITATION_LENGTH, INVITATION_PREFIX, checksum};

use crate::ids::{AccountId, random_base62};

/// Characters of the random secret: 130 bits.
const SECRET_LENGTH: usize = INVITATION_LENGTH - INVITATION_PREFIX.len() - AccountId::LENGTH - CHECKSUM_LENGTH;

/// A code whose form and checksum are right. `Debug` doesn't show its secret, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct InvitationCode {
    text: String,
    account: AccountId,
}

impl InvitationCode {
    /// Draws a new code of an organization.
    pub fn random(account: AccountId) -> Result<Self, getrandom::Error> {
        let mut text = format!("{INVITATION_PREFIX}{account}{}", random_base62(SECRET_LENGTH)?);
        text.extend(checksum(&text).map(char::from));
        Ok(Self { text, account })
    }

    /// Parses a code; `None` when its length, a character or its checksum is wrong.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if !credential_form::is_invitation(text) {
            return None;
        }
        let account = AccountId::parse(&text[INVITATION_PREFIX.len()..INVITATION_PREFIX.len() + AccountId::LENGTH])?;
        Some(Self { text: text.to_owned(), account })
    }

    /// The organization's account.
    #[must_use]
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// SHA-256 of the secret part: all that is kept of it. A slow hash would add nothing to 130 random bits.
    #[must_use]
    pub fn secret_hash(&self) -> [u8; 32] {
        let start = INVITATION_PREFIX.len() + AccountId::LENGTH;
        Sha256::digest(&self.text.as_bytes()[start..start + SECRET_LENGTH]).into()
    }

    /// The whole code, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for InvitationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InvitationCode").field("account", &self.account).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_tgi_and_44_letters_and_digits_and_any_wrong_character_is_caught() {
        let code = InvitationCode::random(AccountId::parse("0123456789abcdef").unwrap()).unwrap();
        assert_eq!((code.reveal().len(), code.account().as_str()), (48, "0123456789abcdef"));
        assert_eq!(InvitationCode::parse(code.reveal()).as_ref(), Some(&code));
        for at in 0..INVITATION_LENGTH {
            for wrong in ["0", "A", "z", "_", " "] {
                let mut typed = code.reveal().to_owned();
                typed.replace_range(at..=at, wrong);
                assert!(typed == code.reveal() || InvitationCode::parse(&typed).is_none(), "{at} {wrong}");
            }
        }
        for wrong in ["", "tgi_", &code.reveal()[..47], &format!("{}0", code.reveal()), &"é".repeat(24)] {
            assert_eq!(InvitationCode::parse(wrong), None, "{wrong}");
        }
        assert!(!format!("{code:?}").contains(&code.reveal()[20..24]));
    }
}

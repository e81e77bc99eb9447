//! An invitation's code: `tgi_`, the organization's account id (16), a random secret (22), and a checksum of everything before it (6), all
//! in base62. 48 characters.

use shared::credential_form::{self, INVITATION_LENGTH, INVITATION_PREFIX};

use crate::account_secret::AccountSecret;
use crate::ids::AccountId;

/// A code whose form and checksum are right. `Debug` doesn't show its secret, and it has no `Display`. The secret has 130 random bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationCode(AccountSecret);

impl InvitationCode {
    /// Draws a new code of an organization.
    pub fn random(account: AccountId) -> Result<Self, getrandom::Error> {
        AccountSecret::random(INVITATION_PREFIX, INVITATION_LENGTH, account).map(Self)
    }

    /// Parses a code; `None` when its length, a character or its checksum is wrong.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if credential_form::is_invitation(text) { AccountSecret::of_form(INVITATION_PREFIX, text).map(Self) } else { None }
    }

    /// The organization's account.
    #[must_use]
    pub fn account(&self) -> &AccountId {
        self.0.account()
    }

    /// SHA-256 of the secret part: all that is kept of it.
    #[must_use]
    pub fn secret_hash(&self) -> [u8; 32] {
        self.0.secret_hash()
    }

    /// The whole code, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.reveal()
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

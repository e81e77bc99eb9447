//! What API keys and codes of invitations have in common: a prefix, an account's id (16), a random secret, and a checksum of everything
//! before it (6), all in base62.
//!
//! The account's id is in it so that one look-up in one account finds it. The checksum catches a typing mistake without asking the store.

use std::fmt;

use sha2::{Digest, Sha256};
use shared::credential_form::{CHECKSUM_LENGTH, checksum};

use crate::ids::{AccountId, random_base62};

/// One whose form and checksum are right. `Debug` doesn't show its secret, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AccountSecret {
    text: String,
    account: AccountId,
    /// Where the secret begins. It ends where the checksum begins.
    secret: usize,
}

impl AccountSecret {
    /// Draws a new one of an account, with so many characters in all.
    pub(crate) fn random(prefix: &str, length: usize, account: AccountId) -> Result<Self, getrandom::Error> {
        let secret = prefix.len() + AccountId::LENGTH;
        let mut text = format!("{prefix}{account}{}", random_base62(length - secret - CHECKSUM_LENGTH)?);
        text.extend(checksum(&text).map(char::from));
        Ok(Self { text, account, secret })
    }

    /// Reads a text whose length, characters and checksum were found to be right.
    pub(crate) fn of_form(prefix: &str, text: &str) -> Option<Self> {
        let secret = prefix.len() + AccountId::LENGTH;
        Some(Self { account: AccountId::parse(text.get(prefix.len()..secret)?)?, text: text.to_owned(), secret })
    }

    /// The account that it belongs to.
    pub(crate) fn account(&self) -> &AccountId {
        &self.account
    }

    /// SHA-256 of the secret part: all that is kept of it. A slow hash would add nothing to 130 random bits or more.
    pub(crate) fn secret_hash(&self) -> [u8; 32] {
        Sha256::digest(&self.text.as_bytes()[self.secret..self.text.len() - CHECKSUM_LENGTH]).into()
    }

    /// The whole text, to be shown once.
    pub(crate) fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for AccountSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountSecret").field("account", &self.account).finish_non_exhaustive()
    }
}

//! A refresh token: `tgr_`, the user's id (16), the session's id (12), the family's secret (22), a secret of its own (22), and a checksum
//! of everything before it (6), all in base62. 82 characters.
//!
//! The ids are in it so that one look-up finds the session. They are no secrets: the family's secret, which all tokens of a session have in
//! common, tells a token that was the session's once from one that was made up. The checksum catches a typing mistake, and nonsense,
//! without asking the store.

use std::fmt;

use sha2::{Digest, Sha256};
use shared::credential_form::{self, CHECKSUM_LENGTH, REFRESH_TOKEN_LENGTH, REFRESH_TOKEN_PREFIX, checksum};

use crate::ids::{SessionId, UserId, base62_of, random_base62};

/// Where the session's id begins.
const SESSION: usize = REFRESH_TOKEN_PREFIX.len() + UserId::LENGTH;
/// Where the family's secret begins.
const FAMILY: usize = SESSION + SessionId::LENGTH;
/// Characters of each of both secrets: 131 bits.
const SECRET_LENGTH: usize = (REFRESH_TOKEN_LENGTH - FAMILY - CHECKSUM_LENGTH) / 2;

/// A token whose form and checksum are right. `Debug` doesn't show its secrets, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken {
    text: String,
    user_id: UserId,
    session_id: SessionId,
}

impl RefreshToken {
    /// Draws the first one of a session.
    pub fn random(user_id: UserId, session_id: SessionId) -> Result<Self, getrandom::Error> {
        let family = random_base62(SECRET_LENGTH)?;
        Self::of_family(user_id, session_id, &family)
    }

    /// Draws another one of the same session.
    pub fn next(&self) -> Result<Self, getrandom::Error> {
        Self::of_family(self.user_id.clone(), self.session_id.clone(), &self.text[FAMILY..FAMILY + SECRET_LENGTH])
    }

    /// The one of the same session that this seed makes, always the same.
    #[must_use]
    pub fn next_of(&self, seed: &[u8; 32]) -> Self {
        let mut token =
            Self { text: format!("{}{}", &self.text[..FAMILY + SECRET_LENGTH], base62_of(seed, SECRET_LENGTH)), ..self.clone() };
        token.text.extend(checksum(&token.text).map(char::from));
        token
    }

    fn of_family(user_id: UserId, session_id: SessionId, family: &str) -> Result<Self, getrandom::Error> {
        let mut text = format!("{REFRESH_TOKEN_PREFIX}{user_id}{session_id}{family}{}", random_base62(SECRET_LENGTH)?);
        text.extend(checksum(&text).map(char::from));
        Ok(Self { text, user_id, session_id })
    }

    /// Parses a token; `None` when its length, a character or its checksum is wrong.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if !credential_form::is_refresh_token(text) {
            return None;
        }
        let user_id = UserId::parse(&text[REFRESH_TOKEN_PREFIX.len()..SESSION])?;
        let session_id = SessionId::parse(&text[SESSION..FAMILY])?;
        Some(Self { text: text.to_owned(), user_id, session_id })
    }

    /// Whose it says it is.
    #[must_use]
    pub fn user_id(&self) -> &UserId {
        &self.user_id
    }

    /// Of which session it says it is.
    #[must_use]
    pub fn session_id(&self) -> &SessionId {
        &self.session_id
    }

    /// SHA-256 of the family's secret: all that is kept of it. A slow hash would add nothing to 131 random bits.
    #[must_use]
    pub fn family_hash(&self) -> [u8; 32] {
        Sha256::digest(&self.text.as_bytes()[FAMILY..FAMILY + SECRET_LENGTH]).into()
    }

    /// SHA-256 of its own secret, the same.
    #[must_use]
    pub fn token_hash(&self) -> [u8; 32] {
        let own = FAMILY + SECRET_LENGTH;
        Sha256::digest(&self.text.as_bytes()[own..own + SECRET_LENGTH]).into()
    }

    /// The whole token, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshToken").field("user_id", &self.user_id).field("session_id", &self.session_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> RefreshToken {
        RefreshToken::random(UserId::random().unwrap(), SessionId::random().unwrap()).unwrap()
    }

    #[test]
    fn a_refresh_token_is_tgr_and_78_letters_and_digits_and_parses_to_itself() {
        let token = token();
        assert_eq!(token.reveal().len(), 82);
        assert_eq!(RefreshToken::parse(token.reveal()), Some(token));
    }

    #[test]
    fn the_next_token_is_of_the_same_session_and_family_and_another_one() {
        let first = token();
        let next = first.next().unwrap();
        assert_eq!((next.user_id(), next.session_id(), next.family_hash()), (first.user_id(), first.session_id(), first.family_hash()));
        assert!(next.token_hash() != first.token_hash() && next.reveal() != first.reveal());
        assert_eq!(RefreshToken::parse(next.reveal()), Some(next));
        assert_ne!(token().family_hash(), first.family_hash());
    }

    #[test]
    fn a_seed_makes_one_token_of_the_same_session_and_another_seed_another() {
        let first = token();
        let (one, same, other) = (first.next_of(&[1; 32]), first.next_of(&[1; 32]), first.next_of(&[2; 32]));
        assert!(one == same && one != other && one != first);
        assert_eq!((one.user_id(), one.session_id(), one.family_hash()), (first.user_id(), first.session_id(), first.family_hash()));
        for made in [one, other, first.next_of(&[0; 32]), first.next_of(&[255; 32])] {
            assert_eq!(RefreshToken::parse(made.reveal()), Some(made));
        }
    }

    #[test]
    fn wrong_missing_and_added_characters_are_caught_without_the_store() {
        let token = token();
        for at in 0..REFRESH_TOKEN_LENGTH {
            for wrong in ["0", "A", "z", "_", " "] {
                let mut typed = token.reveal().to_owned();
                typed.replace_range(at..=at, wrong);
                assert!(typed == token.reveal() || RefreshToken::parse(&typed).is_none(), "{at} {wrong}");
            }
        }
        for wrong in ["", "tgr_", &token.reveal()[..81], &format!("{}0", token.reveal()), &"ä".repeat(41)] {
            assert_eq!(RefreshToken::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let token = token();
        let shown = format!("{token:?}");
        assert!(!shown.contains(&token.reveal()[32..36]) && !shown.contains(&token.reveal()[54..58]), "{shown}");
    }
}

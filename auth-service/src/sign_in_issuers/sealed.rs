//! A sign-in that was begun, sealed: who holds it can neither read nor change it, and any replica can open it. It is sealed by a key that
//! follows from the access tokens' first secret, and opened by those of all secrets, so that secrets can rotate.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;

use crate::access_token::{AccessTokens, KeyError};
use crate::ids::{SessionId, UserId};
use crate::refresh_token::RefreshToken;

/// Keeps these keys apart from whatever else is derived from the same secrets.
const SALT: &[u8] = b"tollgate sign-in with an issuer";
/// What is sealed is of this form.
const FORM: &[u8] = b"1";
/// Longer ones aren't ours.
const MOST_CHARACTERS: usize = 4096;

/// A sign-in that was begun.
#[derive(Clone, PartialEq, Eq)]
pub struct PendingSignIn {
    /// The issuer's identifier.
    pub issuer: String,
    /// The client that it was begun as.
    pub client_id: String,
    /// What the ID token must have.
    pub nonce: String,
    /// What must come back with the code; empty without an address to come back to.
    pub state: String,
    /// PKCE's code verifier; empty without such an address.
    pub verifier: String,
    /// Where the issuer sends the person back to; may be empty.
    pub redirect_uri: String,
    /// When it must be over, in seconds since 1970.
    pub ends_at_s: u64,
    /// What it was begun for.
    pub begun_for: BegunFor,
}

/// What a sign-in is begun for. By default: to sign in, or to link by whoever holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum BegunFor {
    /// To sign in, or to link by whoever holds it.
    #[default]
    Holder,
    /// To sign in, in a browser that has shown a refresh token of this session, in whose place the new one comes.
    InPlaceOf(FormerSession),
    /// To link an identity in this session.
    Link(LinkedSession),
}

impl BegunFor {
    /// The session that an identity is to be linked in; `None`: it isn't for that alone.
    #[must_use]
    pub fn linked_session(&self) -> Option<&LinkedSession> {
        if let Self::Link(session) = self { Some(session) } else { None }
    }
}

/// A session that whoever began has shown a refresh token of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormerSession {
    /// Whose it says that it is.
    pub user_id: UserId,
    /// Which.
    pub session_id: SessionId,
    /// SHA-256 of its family's secret, which all its tokens have in common: whether it is right, the store says.
    pub family_hash: [u8; 32],
}

impl From<&RefreshToken> for FormerSession {
    fn from(token: &RefreshToken) -> Self {
        Self { user_id: token.user_id().clone(), session_id: token.session_id().clone(), family_hash: token.family_hash() }
    }
}

/// A session that an identity is to be linked in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedSession {
    /// Whose it is.
    pub user_id: UserId,
    /// Which.
    pub session_id: SessionId,
}

#[derive(Clone, PartialEq, Message)]
struct Contents {
    #[prost(string, tag = "1")]
    issuer: String,
    #[prost(string, tag = "2")]
    client_id: String,
    #[prost(string, tag = "3")]
    nonce: String,
    #[prost(string, tag = "4")]
    state: String,
    #[prost(string, tag = "5")]
    verifier: String,
    #[prost(string, tag = "6")]
    redirect_uri: String,
    #[prost(uint64, tag = "7")]
    ends_at_s: u64,
    #[prost(string, tag = "8")]
    user_id: String,
    #[prost(string, tag = "9")]
    session_id: String,
    /// Not empty: the session is a former one.
    #[prost(bytes = "vec", tag = "10")]
    family_hash: Vec<u8>,
}

/// Seals and opens.
pub(super) struct Sealer {
    /// Not empty; the first seals.
    keys: Vec<RandomizedNonceKey>,
}

impl Sealer {
    pub(super) fn new(tokens: &AccessTokens) -> Result<Self, KeyError> {
        let keys = tokens.derive_by_each(SALT, FORM)?;
        let keys = keys.iter().map(|key| RandomizedNonceKey::new(&AES_256_GCM, key)).collect::<Result<_, _>>().map_err(|_| KeyError)?;
        Ok(Self { keys })
    }

    pub(super) fn seal(&self, pending: &PendingSignIn) -> Result<String, Unspecified> {
        let PendingSignIn { issuer, client_id, nonce, state, verifier, redirect_uri, ends_at_s, begun_for } = pending.clone();
        let (user_id, session_id, family_hash) = match begun_for {
            BegunFor::Holder => Default::default(),
            BegunFor::InPlaceOf(former) => (former.user_id.to_string(), former.session_id.to_string(), former.family_hash.to_vec()),
            BegunFor::Link(linked) => (linked.user_id.to_string(), linked.session_id.to_string(), Vec::new()),
        };
        let contents = Contents { issuer, client_id, nonce, state, verifier, redirect_uri, ends_at_s, user_id, session_id, family_hash };
        let mut bytes = contents.encode_to_vec();
        let nonce = self.keys.first().ok_or(Unspecified)?.seal_in_place_append_tag(Aad::from(FORM), &mut bytes)?;
        Ok(URL_SAFE_NO_PAD.encode([&nonce.as_ref()[..], &bytes].concat()))
    }

    /// `None`: it was sealed elsewhere, or changed.
    pub(super) fn open(&self, sealed: &str) -> Option<PendingSignIn> {
        if sealed.len() > MOST_CHARACTERS {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let opened = self.keys.iter().find_map(|key| {
            let mut bytes = sealed.to_vec();
            let opened = key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(FORM), &mut bytes).ok()?;
            Contents::decode(&*opened).ok()
        })?;
        let Contents { issuer, client_id, nonce, state, verifier, redirect_uri, ends_at_s, user_id, session_id, family_hash } = opened;
        let begun_for = if user_id.is_empty() {
            BegunFor::Holder
        } else {
            let (user_id, session_id) = (UserId::parse(&user_id)?, SessionId::parse(&session_id)?);
            if family_hash.is_empty() {
                BegunFor::Link(LinkedSession { user_id, session_id })
            } else {
                BegunFor::InPlaceOf(FormerSession { user_id, session_id, family_hash: family_hash.try_into().ok()? })
            }
        };
        Some(PendingSignIn { issuer, client_id, nonce, state, verifier, redirect_uri, ends_at_s, begun_for })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::secret::Secret;

    use super::*;
    use crate::access_token::SigningSecret;

    fn secret(kid: &str) -> SigningSecret {
        SigningSecret { kid: kid.to_owned(), secret: Secret::generate().unwrap().0 }
    }

    fn sealer(secrets: &[&SigningSecret]) -> Sealer {
        let secrets: Vec<SigningSecret> = secrets.iter().map(|secret| (*secret).clone()).collect();
        Sealer::new(&AccessTokens::new(&secrets, Duration::from_secs(60), Duration::ZERO).unwrap()).unwrap()
    }

    fn pending() -> PendingSignIn {
        PendingSignIn {
            issuer: "https://issuer.example".to_owned(),
            client_id: "tollgate".to_owned(),
            nonce: "a nonce".to_owned(),
            state: "a state".to_owned(),
            verifier: "a verifier".to_owned(),
            redirect_uri: "http://127.0.0.1:1/".to_owned(),
            ends_at_s: 7,
            begun_for: BegunFor::Holder,
        }
    }

    #[test]
    fn what_one_replica_sealed_every_other_opens_also_while_its_secret_rotates_and_no_other_server_does() {
        let (old, new, other) = (secret("old"), secret("new"), secret("other"));
        let session = LinkedSession { user_id: UserId::random().unwrap(), session_id: SessionId::random().unwrap() };
        let LinkedSession { user_id, session_id } = session.clone();
        let former = FormerSession { user_id, session_id, family_hash: [7; 32] };
        for begun_for in [BegunFor::Holder, BegunFor::Link(session), BegunFor::InPlaceOf(former)] {
            let one = PendingSignIn { begun_for, ..pending() };
            let sealed = sealer(&[&old]).seal(&one).unwrap();
            assert!(sealer(&[&old]).open(&sealed) == Some(one.clone()));
            assert!(sealer(&[&new, &old]).open(&sealed) == Some(one.clone()), "a new secret signs, the old one still counts");
            assert!(sealer(&[&new, &other]).open(&sealed).is_none());
        }
    }

    #[test]
    fn a_sealed_sign_in_shows_nothing_and_is_good_for_nothing_once_a_bit_of_it_was_changed() {
        let sealer = sealer(&[&secret("one")]);
        let sealed = sealer.seal(&pending()).unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(&sealed).unwrap();
        for hidden in ["issuer.example", "a nonce", "a state", "a verifier"] {
            assert!(!bytes.windows(hidden.len()).any(|window| window == hidden.as_bytes()), "{hidden}");
        }
        assert_ne!(sealed, sealer.seal(&pending()).unwrap());
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert!(sealer.open(&URL_SAFE_NO_PAD.encode(changed)).is_none(), "{place}");
        }
        for wrong in ["", "AAAA", "…", &sealed[..sealed.len() - 4], &"A".repeat(5000), &format!("{sealed}=")] {
            assert!(sealer.open(wrong).is_none(), "{wrong}");
        }
    }
}

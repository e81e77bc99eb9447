//! Ed25519 keys that rotate by themselves: each is derived from a signing secret and the number of a period. So all replicas have the same
//! ones, and nothing is stored.

use std::time::Duration;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use jsonwebtoken::{DecodingKey, EncodingKey};

use super::SigningSecret;

/// Keeps these keys apart from whatever else may come to be derived from the same secrets.
const SALT: &[u8] = b"tollgate access token, Ed25519";
/// Bytes of an Ed25519 seed, and of a public key.
const KEY_BYTES: usize = 32;

/// A key that can't be derived: the cryptographic library refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signing key could not be derived")]
pub struct KeyError;

/// The key of one secret in one period.
pub(super) struct DerivedKey {
    pub(super) kid: String,
    pub(super) signing: EncodingKey,
    pub(super) verifying: DecodingKey,
    pub(super) public: [u8; KEY_BYTES],
}

/// Bytes that follow from a secret and from what is given.
pub(super) fn derive_bytes(secret: &SigningSecret, salt: &[u8], info: &[&[u8]]) -> Result<[u8; KEY_BYTES], KeyError> {
    let mut bytes = [0; KEY_BYTES];
    let prk = Salt::new(HKDF_SHA256, salt).extract(secret.secret.bytes());
    prk.expand(info, HKDF_SHA256).and_then(|okm| okm.fill(&mut bytes)).map_err(|_| KeyError)?;
    Ok(bytes)
}

/// The number of the period in which a time is, in seconds since 1970.
pub(super) fn period_of(unix_s: u64, period: Duration) -> u64 {
    unix_s / period.as_secs().max(1)
}

/// Derives a key. Its name says of which secret and period it is; a secret's own name has no dot.
pub(super) fn derive(secret: &SigningSecret, period: Duration, number: u64) -> Result<DerivedKey, KeyError> {
    let kid = format!("{}.{}.{number}", secret.kid, period.as_secs());
    let (length, place) = (period.as_secs().to_be_bytes(), number.to_be_bytes());
    let seed = derive_bytes(secret, SALT, &[&length, &place])?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError)?;
    let public = <[u8; KEY_BYTES]>::try_from(pair.public_key().as_ref()).map_err(|_| KeyError)?;
    let signing = EncodingKey::from_ed_der(pair.to_pkcs8v1().map_err(|_| KeyError)?.as_ref());
    Ok(DerivedKey { kid, signing, verifying: DecodingKey::from_ed_der(&public), public })
}

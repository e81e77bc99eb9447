//! The keys that sign and verify access tokens: what the configuration gives, and what is derived from it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use shared::secret::Secret;

use super::derived_key::{self, DerivedKey, KeyError, period_of};

/// Until a period is configured.
const DEFAULT_PERIOD: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest that others are told to keep public keys for.
const LONGEST_KEPT: Duration = Duration::from_secs(3600);

/// A secret and the name that tokens call it by.
#[derive(Debug, Clone)]
pub struct SigningSecret {
    /// 1 to 64 of A-Z a-z 0-9 - _.
    pub kid: String,
    /// The secret.
    pub secret: Secret,
}

/// What new tokens are signed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenAlgorithm {
    /// The secret itself: whoever verifies can sign too.
    Hs256,
    /// A key that is derived from the secret, of which others are given the public half.
    EdDsa,
}

/// A public key, for others to verify tokens with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// What tokens call it by.
    pub kid: String,
    /// The Ed25519 public key.
    pub key: [u8; 32],
}

/// The keys.
pub(super) struct TokenKeys {
    /// Not empty; the first signs.
    secrets: Vec<SigningSecret>,
    algorithm: TokenAlgorithm,
    period: Duration,
    /// By their names.
    of_secrets: HashMap<String, DecodingKey>,
    /// Those of the period in which keys were asked for last. No name in a token makes us derive others.
    derived: Mutex<Option<Arc<DerivedKeys>>>,
}

/// A key to sign with, and its name.
pub(super) struct SigningKey {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    pub(super) key: EncodingKey,
}

/// A key to verify with, and the one algorithm that it is for.
pub(super) struct VerifyingKey {
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// The keys of a period, of the one before and of the next: a replica's clock may be ahead or behind, and a token outlives its period.
struct DerivedKeys {
    period: u64,
    signing: (String, EncodingKey),
    verifying: HashMap<String, DecodingKey>,
    published: Vec<PublicKey>,
}

impl TokenKeys {
    /// `None` without a secret.
    pub(super) fn new(secrets: &[SigningSecret]) -> Option<Self> {
        secrets.first()?;
        let of_secrets = secrets.iter().map(|one| (one.kid.clone(), DecodingKey::from_secret(one.secret.bytes()))).collect();
        let (algorithm, period) = (TokenAlgorithm::Hs256, DEFAULT_PERIOD);
        Some(Self { secrets: secrets.to_vec(), algorithm, period, of_secrets, derived: Mutex::new(None) })
    }

    pub(super) fn signing_with(self, algorithm: TokenAlgorithm, period: Duration) -> Self {
        Self { algorithm, period, derived: Mutex::new(None), ..self }
    }

    pub(super) fn derive(&self, salt: &[u8], info: &[u8]) -> Result<[u8; 32], KeyError> {
        derived_key::derive_bytes(self.secrets.first().ok_or(KeyError)?, salt, &[info])
    }

    pub(super) fn derive_by_each(&self, salt: &[u8], info: &[u8]) -> Result<Vec<[u8; 32]>, KeyError> {
        self.secrets.iter().map(|secret| derived_key::derive_bytes(secret, salt, &[info])).collect()
    }

    /// The key that signs now, in seconds since 1970.
    pub(super) fn signing(&self, now: u64) -> Result<SigningKey, KeyError> {
        match self.algorithm {
            TokenAlgorithm::Hs256 => {
                let first = self.secrets.first().ok_or(KeyError)?;
                let key = EncodingKey::from_secret(first.secret.bytes());
                Ok(SigningKey { kid: first.kid.clone(), algorithm: Algorithm::HS256, key })
            }
            TokenAlgorithm::EdDsa => {
                let (kid, key) = self.derived(now)?.signing.clone();
                Ok(SigningKey { kid, algorithm: Algorithm::EdDSA, key })
            }
        }
    }

    /// The key of this name, if it is in force now.
    pub(super) fn verifying(&self, kid: &str, now: u64) -> Option<VerifyingKey> {
        if let Some(key) = self.of_secrets.get(kid) {
            return Some(VerifyingKey { algorithm: Algorithm::HS256, key: key.clone() });
        }
        let derived = self.derived(now).inspect_err(|error| tracing::error!(%error, "no token can be verified by a derived key")).ok()?;
        derived.verifying.get(kid).map(|key| VerifyingKey { algorithm: Algorithm::EdDSA, key: key.clone() })
    }

    /// What others verify by. None where the secret itself signs.
    pub(super) fn published(&self, now: u64) -> Result<Vec<PublicKey>, KeyError> {
        match self.algorithm {
            TokenAlgorithm::Hs256 => Ok(Vec::new()),
            TokenAlgorithm::EdDsa => Ok(self.derived(now)?.published.clone()),
        }
    }

    pub(super) fn keep_published_for(&self) -> Duration {
        (self.period / 4).min(LONGEST_KEPT)
    }

    fn derived(&self, now: u64) -> Result<Arc<DerivedKeys>, KeyError> {
        let period = period_of(now, self.period);
        // Held while keys are derived, once a period: whoever else asks needs the same ones.
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = derived.as_ref().filter(|keys| keys.period == period) {
            return Ok(Arc::clone(keys));
        }
        let keys = Arc::new(DerivedKeys::of(&self.secrets, self.period, period)?);
        *derived = Some(Arc::clone(&keys));
        Ok(keys)
    }
}

impl DerivedKeys {
    fn of(secrets: &[SigningSecret], length: Duration, period: u64) -> Result<Self, KeyError> {
        let first = secrets.first().ok_or(KeyError)?;
        let now = derived_key::derive(first, length, period)?;
        let (mut verifying, mut published) = (HashMap::new(), Vec::new());
        for secret in secrets {
            for number in [period, period + 1, period.saturating_sub(1)] {
                let DerivedKey { kid, verifying: key, public, .. } = derived_key::derive(secret, length, number)?;
                verifying.insert(kid.clone(), key);
                published.push(PublicKey { kid, key: public });
            }
        }
        Ok(Self { period, signing: (now.kid, now.signing), verifying, published })
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kids: Vec<&str> = self.secrets.iter().map(|secret| secret.kid.as_str()).collect();
        let mut shown = f.debug_struct("TokenKeys");
        shown.field("kids", &kids).field("algorithm", &self.algorithm).field("period", &self.period).finish_non_exhaustive()
    }
}

//! Access tokens: JWTs, HS256, signed and verified with secrets from the configuration.
//!
//! The token says which secret (`kid`, a look-up in a map and nothing else) and never which algorithm: `alg` must be the one we use.
//! `jku`, `x5u` and `jwk` are ignored. The header's `typ` keeps other kinds of JWT from standing in for an access token.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hashlink::LruCache;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::secret::Secret;

use crate::ids::{UserId, random_base62};

/// The header's `typ`, as RFC 9068 names it.
pub const TYPE: &str = "at+jwt";
/// The claim `iss`.
pub const ISSUER: &str = "tollgate";
/// The claim `aud`.
pub const AUDIENCE: &str = "tollgate";
/// How far two hosts' clocks may differ, in seconds.
pub const LEEWAY_SECONDS: u64 = 5;
/// Longer tokens aren't ours.
const MAX_LENGTH: usize = 4096;
/// Tokens whose signature need not be verified again, about 100 bytes each.
const MOST_VERIFIED: usize = 16_384;

/// A secret and the name that tokens call it by.
#[derive(Debug, Clone)]
pub struct SigningSecret {
    /// 1 to 64 of A-Z a-z 0-9 - _.
    pub kid: String,
    /// The secret.
    pub secret: Secret,
}

/// Issues and verifies access tokens.
pub struct AccessTokens {
    signing_kid: String,
    signing_key: EncodingKey,
    verifying_keys: HashMap<String, DecodingKey>,
    validation: Validation,
    ttl: Duration,
    /// By SHA-256 of the token. What a token says never changes, so it is taken apart once; whether its time is over, and whether its user may
    /// still come in, is asked each time.
    verified: Mutex<LruCache<[u8; 32], Signed>>,
}

/// What a token with a good signature says.
#[derive(Debug, Clone)]
struct Signed {
    token: VerifiedToken,
    nbf: u64,
    exp: u64,
}

impl Signed {
    /// What the token is worth now.
    fn at(&self, now: u64) -> Result<VerifiedToken, AccessTokenError> {
        if self.exp.saturating_add(LEEWAY_SECONDS) < now {
            return Err(AccessTokenError::Expired);
        }
        if self.nbf > now.saturating_add(LEEWAY_SECONDS) {
            return Err(AccessTokenError::Invalid);
        }
        Ok(self.token.clone())
    }
}

/// A token just made.
#[derive(Clone)]
pub struct IssuedToken {
    /// The JWT. Secret.
    pub token: String,
    /// When it ends.
    pub expires_at: SystemTime,
}

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    /// Its subject.
    pub user_id: UserId,
    /// When it was issued, in milliseconds since 1970 (whole seconds).
    pub issued_at_ms: i64,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessTokenError {
    /// Malformed, forged, of another kind, or signed with a secret that isn't in force.
    #[error("the access token is no valid one")]
    Invalid,
    /// Good once.
    #[error("the access token is past its time")]
    Expired,
}

/// Why no token could be made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The operating system gave no randomness.
    #[error("no randomness: {0}")]
    Random(#[from] getrandom::Error),
    /// The token couldn't be signed.
    #[error("signing: {0}")]
    Signing(#[from] jsonwebtoken::errors::Error),
}

/// All are required, and each must have exactly this type: a list as `aud`, or a string as `nbf`, is refused.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    sid: String,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: String,
}

impl AccessTokens {
    /// Tokens that live for `ttl`. The first secret signs; all of them verify, so that secrets rotate. `None` without a secret.
    #[must_use]
    pub fn new(secrets: &[SigningSecret], ttl: Duration) -> Option<Self> {
        let first = secrets.first()?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        Some(Self {
            signing_kid: first.kid.clone(),
            signing_key: EncodingKey::from_secret(first.secret.bytes()),
            verifying_keys: secrets.iter().map(|one| (one.kid.clone(), DecodingKey::from_secret(one.secret.bytes()))).collect(),
            validation,
            ttl,
            verified: Mutex::new(LruCache::new(MOST_VERIFIED)),
        })
    }

    /// Makes a token for a user, from now on.
    pub fn issue(&self, user: &UserId) -> Result<IssuedToken, IssueError> {
        let now = unix_seconds();
        let exp = now + self.ttl.as_secs();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user.to_string(),
            sid: random_base62(22)?,
            iat: now,
            nbf: now,
            exp,
            jti: random_base62(22)?,
        };
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(self.signing_kid.clone());
        let token = jsonwebtoken::encode(&header, &claims, &self.signing_key)?;
        Ok(IssuedToken { token, expires_at: UNIX_EPOCH + Duration::from_secs(exp) })
    }

    /// Verifies a token's header, signature, times and claims.
    pub fn verify(&self, token: &str) -> Result<VerifiedToken, AccessTokenError> {
        if token.len() > MAX_LENGTH {
            return Err(AccessTokenError::Invalid);
        }
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        // Held for a look-up at a time, and nothing in it can be left half done.
        let known = self.verified.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned();
        if let Some(known) = known {
            return known.at(unix_seconds());
        }
        let signed = self.take_apart(token)?;
        let verified = signed.token.clone();
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, signed);
        Ok(verified)
    }

    fn take_apart(&self, token: &str) -> Result<Signed, AccessTokenError> {
        let invalid = AccessTokenError::Invalid;
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid)?;
        // `crit` names extensions that must be understood; we have none.
        if header.alg != Algorithm::HS256 || header.typ.as_deref() != Some(TYPE) || header.crit.is_some() {
            return Err(invalid);
        }
        let key = header.kid.as_ref().and_then(|kid| self.verifying_keys.get(kid)).ok_or(invalid)?;
        let claims = match jsonwebtoken::decode::<Claims>(token, key, &self.validation) {
            Ok(decoded) => decoded.claims,
            Err(error) if matches!(error.kind(), ErrorKind::ExpiredSignature) => return Err(AccessTokenError::Expired),
            Err(_) => return Err(invalid),
        };
        let plausible = claims.iat <= unix_seconds().saturating_add(LEEWAY_SECONDS) && !claims.sid.is_empty() && !claims.jti.is_empty();
        let user_id = UserId::parse(&claims.sub).filter(|_| plausible && claims.iss == ISSUER && claims.aud == AUDIENCE).ok_or(invalid)?;
        let issued_at_ms = i64::try_from(claims.iat).ok().and_then(|seconds| seconds.checked_mul(1000)).ok_or(invalid)?;
        Ok(Signed { token: VerifiedToken { user_id, issued_at_ms }, nbf: claims.nbf, exp: claims.exp })
    }
}

impl fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessTokens").field("signing_kid", &self.signing_kid).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_was_verified_before_still_ends_at_its_time() {
        let (secret, _) = Secret::generate().unwrap();
        let tokens = AccessTokens::new(&[SigningSecret { kid: "k".to_owned(), secret }], Duration::from_secs(60)).unwrap();
        let user = UserId::random().unwrap();
        let issued = tokens.issue(&user).unwrap();
        let verified = tokens.verify(&issued.token).unwrap();
        assert_eq!(verified.user_id, user);
        assert_eq!(tokens.verify(&issued.token), Ok(verified));
        let known = tokens.verified.lock().unwrap().iter().next().unwrap().1.clone();
        let at = |seconds: u64| known.at(known.exp - 60 + seconds).map(|_| ());
        assert_eq!([at(0), at(65), at(66)], [Ok(()), Ok(()), Err(AccessTokenError::Expired)]);
        assert_eq!(known.at(known.nbf - LEEWAY_SECONDS - 1), Err(AccessTokenError::Invalid));
        // A token that differs in its signature alone is another one.
        let forged = format!("{}{}", &issued.token[..issued.token.len() - 2], if issued.token.ends_with("AA") { "BB" } else { "AA" });
        assert_eq!(tokens.verify(&forged), Err(AccessTokenError::Invalid));
    }
}

//! Access tokens: JWTs, HS256, signed and verified with secrets from the configuration.
//!
//! The token says which secret (`kid`, a look-up in a map and nothing else) and never which algorithm: `alg` must be the one we use.
//! `jku`, `x5u` and `jwk` are ignored. The header's `typ` keeps other kinds of JWT from standing in for an access token.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hashlink::LruCache;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::secret::Secret;

use crate::ids::{SessionId, UserId, random_base62};
use crate::token_scopes::TokenScopes;

/// The header's `typ`, as RFC 9068 names it.
pub const TYPE: &str = "at+jwt";
/// The claim `iss`.
pub const ISSUER: &str = "tollgate";
/// The claim `aud`.
pub const AUDIENCE: &str = "tollgate";
/// How far two hosts' clocks may differ, unless said otherwise.
pub const DEFAULT_LEEWAY: Duration = Duration::from_secs(5);
/// The most leeway: so long after its end a token may still be taken.
pub const MAX_LEEWAY: Duration = Duration::from_secs(60);
/// A token that ended so little ago, or so soon after it was issued, may be refused by a clock that is wrong.
const CLOCKS_DIFFER_BY: u64 = 600;
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
    leeway: Duration,
    /// By SHA-256 of the token. What a token says never changes, so it is taken apart once; whether its time is over, and whether its user
    /// may still come in, is asked each time.
    verified: Mutex<LruCache<[u8; 32], Signed>>,
}

/// What a token with a good signature says.
#[derive(Debug, Clone)]
struct Signed {
    token: VerifiedToken,
    /// The later of `nbf` and `iat`: both say from when on it counts.
    from: u64,
    exp: u64,
}

impl Signed {
    /// What the token is worth now, both in seconds since 1970.
    fn at(&self, now: u64, leeway: Duration) -> Result<VerifiedToken, AccessTokenError> {
        // Upwards: a token's times are whole seconds.
        let leeway_s = leeway.as_secs() + u64::from(leeway.subsec_nanos() > 0);
        if self.exp.saturating_add(leeway_s) < now {
            return Err(AccessTokenError::Expired { by_s: now - self.exp });
        }
        if self.from > now.saturating_add(leeway_s) {
            return Err(AccessTokenError::NotYetValid { by_s: self.from - now, leeway_s });
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
    /// How long it lives.
    pub lifetime: Duration,
}

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    /// Its subject.
    pub user_id: UserId,
    /// Its session; `None`: it was issued by a release before sessions.
    pub session: Option<SessionId>,
    /// When it was issued, in milliseconds since 1970 (whole seconds).
    pub issued_at_ms: i64,
    /// What it may be used for.
    pub scopes: TokenScopes,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessTokenError {
    /// Malformed, forged, of another kind, or signed with a secret that isn't in force.
    #[error("the access token is no valid one")]
    Invalid,
    /// Good once.
    #[error("the access token is past its time: by this host's clock it ended {by_s} s ago{}", doubt(*.by_s))]
    Expired {
        /// For how many seconds, by this host's clock.
        by_s: u64,
    },
    /// Good later, by this host's clock.
    #[error(
        "the access token is not valid yet: the clocks of the host that issued it and of this one differ by {by_s} s, and {leeway_s} s may \
         be; set the clocks, or raise TOLLGATE_CLOCK_LEEWAY"
    )]
    NotYetValid {
        /// In how many seconds, by this host's clock.
        by_s: u64,
        /// How many may be.
        leeway_s: u64,
    },
}

fn doubt(by_s: u64) -> &'static str {
    if by_s <= CLOCKS_DIFFER_BY { " (if it was just issued, the hosts' clocks differ)" } else { "" }
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

/// All but `scope` are required, and each must have exactly this type: a list as `aud`, or a string as `nbf`, is refused.
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
    /// As RFC 9068 has it. Absent: all that the user may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

impl AccessTokens {
    /// Tokens that live for `ttl`; the clocks of hosts may differ by `leeway`. The first secret signs; all of them verify, so that secrets
    /// rotate. `None` without a secret.
    #[must_use]
    pub fn new(secrets: &[SigningSecret], ttl: Duration, leeway: Duration) -> Option<Self> {
        let first = secrets.first()?;
        let mut validation = Validation::new(Algorithm::HS256);
        // Times are ours to compare (`Signed::at`): a refusal says by how much they differ.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        Some(Self {
            signing_kid: first.kid.clone(),
            signing_key: EncodingKey::from_secret(first.secret.bytes()),
            verifying_keys: secrets.iter().map(|one| (one.kid.clone(), DecodingKey::from_secret(one.secret.bytes()))).collect(),
            validation,
            ttl,
            leeway,
            verified: Mutex::new(LruCache::new(MOST_VERIFIED)),
        })
    }

    /// Makes a token for a user, from now on and for all that the user may do.
    pub fn issue(&self, user: &UserId) -> Result<IssuedToken, IssueError> {
        self.issue_for(user, &TokenScopes::All)
    }

    /// The same, for no more than these scopes.
    pub fn issue_for(&self, user: &UserId, scopes: &TokenScopes) -> Result<IssuedToken, IssueError> {
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
            scope: scopes.to_claim(),
        };
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(self.signing_kid.clone());
        let token = jsonwebtoken::encode(&header, &claims, &self.signing_key)?;
        Ok(IssuedToken { token, expires_at: UNIX_EPOCH + Duration::from_secs(exp), lifetime: Duration::from_secs(exp - now) })
    }

    /// Whose token it is, whatever its times say: a good signature, once or still.
    pub fn owner(&self, token: &str) -> Result<VerifiedToken, AccessTokenError> {
        if token.len() > MAX_LENGTH {
            return Err(AccessTokenError::Invalid);
        }
        Ok(self.take_apart(token)?.token)
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
            return known.at(unix_seconds(), self.leeway);
        }
        let signed = self.take_apart(token)?;
        let verified = signed.at(unix_seconds(), self.leeway)?;
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
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.validation).map_err(|_| invalid)?.claims;
        let plausible = !claims.sid.is_empty() && !claims.jti.is_empty();
        let user_id = UserId::parse(&claims.sub).filter(|_| plausible && claims.iss == ISSUER && claims.aud == AUDIENCE).ok_or(invalid)?;
        let issued_at_ms = i64::try_from(claims.iat).ok().and_then(|seconds| seconds.checked_mul(1000)).ok_or(invalid)?;
        let scopes = claims.scope.map_or(TokenScopes::All, |claim| TokenScopes::of_claim(&claim));
        // Releases before sessions made a longer one, of nothing.
        let session = SessionId::parse(&claims.sid);
        Ok(Signed { token: VerifiedToken { user_id, session, issued_at_ms, scopes }, from: claims.nbf.max(claims.iat), exp: claims.exp })
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
        let tokens = AccessTokens::new(&[SigningSecret { kid: "k".to_owned(), secret }], Duration::from_secs(60), DEFAULT_LEEWAY).unwrap();
        let user = UserId::random().unwrap();
        let issued = tokens.issue(&user).unwrap();
        let verified = tokens.verify(&issued.token).unwrap();
        assert_eq!(verified.user_id, user);
        assert_eq!(tokens.verify(&issued.token), Ok(verified));
        let known = tokens.verified.lock().unwrap().iter().next().unwrap().1.clone();
        let at = |seconds: u64| known.at(known.exp - 60 + seconds, DEFAULT_LEEWAY).map(|_| ());
        assert_eq!([at(0), at(65), at(66)], [Ok(()), Ok(()), Err(AccessTokenError::Expired { by_s: 6 })]);
        assert_eq!(known.at(known.from - 6, DEFAULT_LEEWAY), Err(AccessTokenError::NotYetValid { by_s: 6, leeway_s: 5 }));
        assert!(known.at(known.from - 6, MAX_LEEWAY).is_ok() && known.at(known.exp + 60, MAX_LEEWAY).is_ok());
        assert!(known.at(known.from - 1, Duration::ZERO).is_err() && known.at(known.exp + 1, Duration::ZERO).is_err());
        // A token that differs in its signature alone is another one.
        let forged = format!("{}{}", &issued.token[..issued.token.len() - 2], if issued.token.ends_with("AA") { "BB" } else { "AA" });
        assert_eq!(tokens.verify(&forged), Err(AccessTokenError::Invalid));
    }
}

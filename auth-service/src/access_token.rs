//! Access tokens: JWTs, signed and verified with keys from the configuration.
//!
//! The token says which key (`kid`, a look-up in a map and nothing else) and never which algorithm: `alg` must be the one that the key has
//! here. `jku`, `x5u` and `jwk` are ignored. The header's `typ` keeps other kinds of JWT from standing in for an access token.

mod claims;
mod derived_key;
mod token_keys;

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hashlink::LruCache;
use jsonwebtoken::Header;
use sha2::{Digest, Sha256};

use self::claims::{Claims, SID_WITHOUT_SESSION};
pub use self::derived_key::KeyError;
use self::token_keys::TokenKeys;
pub use self::token_keys::{PublicKey, SigningSecret, TokenAlgorithm};
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

/// Issues and verifies access tokens.
pub struct AccessTokens {
    keys: TokenKeys,
    /// What `iss` is in new tokens. [`ISSUER`] is taken too: what it is may be changed while tokens are in force.
    issuer: String,
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
        judge_times(self.from, self.exp, now, leeway)?;
        Ok(self.token.clone())
    }
}

/// Whether a token that counts from one time to another counts now, all in seconds since 1970.
pub(crate) fn judge_times(from: u64, exp: u64, now: u64, leeway: Duration) -> Result<(), AccessTokenError> {
    // Upwards: a token's times are whole seconds.
    let leeway_s = leeway.as_secs() + u64::from(leeway.subsec_nanos() > 0);
    if exp.saturating_add(leeway_s) < now {
        return Err(AccessTokenError::Expired { by_s: now - exp });
    }
    if from > now.saturating_add(leeway_s) {
        return Err(AccessTokenError::NotYetValid { by_s: from - now, leeway_s });
    }
    Ok(())
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
    /// When it ends, in seconds since 1970.
    pub expires_at_s: u64,
    /// What it may be used for.
    pub scopes: TokenScopes,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessTokenError {
    /// Malformed, forged, of another kind, or signed with a key that isn't in force.
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
    /// There is no key to sign with.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The token couldn't be signed.
    #[error("signing: {0}")]
    Signing(#[from] jsonwebtoken::errors::Error),
}

impl AccessTokens {
    /// Tokens that live for `ttl`, signed with the first secret itself; the clocks of hosts may differ by `leeway`. All secrets verify, so
    /// that they rotate. `None` without a secret.
    #[must_use]
    pub fn new(secrets: &[SigningSecret], ttl: Duration, leeway: Duration) -> Option<Self> {
        let keys = TokenKeys::new(secrets)?;
        let verified = Mutex::new(LruCache::new(MOST_VERIFIED));
        Some(Self { keys, issuer: ISSUER.to_owned(), ttl, leeway, verified })
    }

    /// Signs new tokens by this algorithm. Keys that are derived are others in each `period`, which is at least as long as tokens live.
    /// Tokens of both algorithms are taken, whichever one signs.
    #[must_use]
    pub fn signing_with(self, algorithm: TokenAlgorithm, period: Duration) -> Self {
        Self { keys: self.keys.signing_with(algorithm, period), ..self }
    }

    /// Names another issuer in new tokens than [`ISSUER`].
    #[must_use]
    pub fn issued_by(self, issuer: String) -> Self {
        Self { issuer, ..self }
    }

    /// What `iss` is in new tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The keys with which others can verify tokens by themselves, those that will sign next included. None for HS256.
    ///
    /// # Errors
    /// A key couldn't be derived.
    pub fn public_keys(&self) -> Result<Vec<PublicKey>, KeyError> {
        self.keys.published(unix_seconds())
    }

    /// 32 bytes that follow from the secret that signs and from what is given, and that nobody can tell without the secret. `salt` keeps
    /// them apart from what else is derived from it.
    ///
    /// # Errors
    /// The cryptographic library refused.
    pub fn derive(&self, salt: &[u8], info: &[u8]) -> Result<[u8; 32], KeyError> {
        self.keys.derive(salt, info)
    }

    /// The same that follow from each of the secrets, that of the one that signs first: so what was made by a secret before is still known
    /// while secrets rotate.
    ///
    /// # Errors
    /// The cryptographic library refused.
    pub fn derive_by_each(&self, salt: &[u8], info: &[u8]) -> Result<Vec<[u8; 32]>, KeyError> {
        self.keys.derive_by_each(salt, info)
    }

    /// For how long what [`AccessTokens::public_keys`] answers may be kept: so much earlier than it signs, each key is there.
    #[must_use]
    pub fn keep_public_keys_for(&self) -> Duration {
        self.keys.keep_published_for()
    }

    /// Makes a token for a user, from now on and for all that the user may do. It belongs to no session.
    pub fn issue(&self, user: &UserId) -> Result<IssuedToken, IssueError> {
        self.issue_for(user, &TokenScopes::All)
    }

    /// The same, for no more than these scopes.
    pub fn issue_for(&self, user: &UserId, scopes: &TokenScopes) -> Result<IssuedToken, IssueError> {
        self.issue_at(unix_seconds(), user, random_base62(SID_WITHOUT_SESSION)?, scopes, u64::MAX)
    }

    /// Makes a token of a session, for no more than these scopes. It ends when the session does at the latest.
    pub fn issue_in(
        &self,
        user: &UserId,
        session: &SessionId,
        scopes: &TokenScopes,
        session_ends_at_ms: i64,
    ) -> Result<IssuedToken, IssueError> {
        let ends_at = u64::try_from(session_ends_at_ms / 1000).unwrap_or_default();
        self.issue_at(unix_seconds(), user, session.to_string(), scopes, ends_at)
    }

    fn issue_at(&self, now: u64, user: &UserId, sid: String, scopes: &TokenScopes, ends_at: u64) -> Result<IssuedToken, IssueError> {
        let exp = (now + self.ttl.as_secs()).min(ends_at).max(now);
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: AUDIENCE.to_owned(),
            sub: user.to_string(),
            sid,
            iat: now,
            nbf: now,
            exp,
            jti: random_base62(22)?,
            scope: scopes.to_claim(),
        };
        let signing = self.keys.signing(now)?;
        let mut header = Header::new(signing.algorithm);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(signing.kid);
        let token = jsonwebtoken::encode(&header, &claims, &signing.key)?;
        Ok(IssuedToken { token, expires_at: UNIX_EPOCH + Duration::from_secs(exp), lifetime: Duration::from_secs(exp - now) })
    }

    /// Whose token it is, whatever its times say: a good signature, once or still.
    pub fn owner(&self, token: &str) -> Result<VerifiedToken, AccessTokenError> {
        if token.len() > MAX_LENGTH {
            return Err(AccessTokenError::Invalid);
        }
        Ok(self.take_apart(token, unix_seconds())?.token)
    }

    /// Verifies a token's header, signature, times and claims.
    pub fn verify(&self, token: &str) -> Result<VerifiedToken, AccessTokenError> {
        self.verify_at(token, unix_seconds())
    }

    fn verify_at(&self, token: &str, now: u64) -> Result<VerifiedToken, AccessTokenError> {
        if token.len() > MAX_LENGTH {
            return Err(AccessTokenError::Invalid);
        }
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        // Held for a look-up at a time, and nothing in it can be left half done.
        let known = self.verified.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned();
        if let Some(known) = known {
            return known.at(now, self.leeway);
        }
        let signed = self.take_apart(token, now)?;
        let verified = signed.at(now, self.leeway)?;
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, signed);
        Ok(verified)
    }

    fn take_apart(&self, token: &str, now: u64) -> Result<Signed, AccessTokenError> {
        let invalid = AccessTokenError::Invalid;
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid)?;
        // `crit` names extensions that must be understood; we have none.
        if header.typ.as_deref() != Some(TYPE) || header.crit.is_some() {
            return Err(invalid);
        }
        let key = header.kid.as_ref().and_then(|kid| self.keys.verifying(kid, now)).ok_or(invalid)?;
        if header.alg != key.algorithm {
            return Err(invalid);
        }
        let claims = claims::verified(token, &key, &[ISSUER, &self.issuer]).ok_or(invalid)?;
        claims.into_signed().ok_or(invalid)
    }
}

impl fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessTokens").field("keys", &self.keys).field("ttl", &self.ttl).finish_non_exhaustive()
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
mod tests;

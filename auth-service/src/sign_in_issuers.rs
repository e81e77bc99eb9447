//! Issuers that people sign in with: Google, and any other OpenID provider, as `TOLLGATE_OIDC_ISSUERS` lists them.
//!
//! What an issuer says of itself and its keys is read when it is needed, and kept (`provider`). What its ID tokens must be is judged by
//! the crate `openidconnect`, and by what that leaves to us (`id_token`). Nothing is kept of a sign-in that was begun: what its end needs
//! is sealed and given to whoever begins (`sealed`).

mod config;
mod id_token;
mod new_names;
#[cfg(test)]
#[expect(dead_code, unreachable_pub, reason = "test support that other crates' tests have too")]
#[path = "../../tests/integration/src/oidc_issuer.rs"]
mod oidc_issuer;
mod provider;
mod sealed;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use openidconnect::{AuthorizationCode, PkceCodeVerifier};
use sha2::{Digest, Sha256};

pub use self::config::{SignInIssuerConfig, read_sign_in_issuers};
pub use self::id_token::PersonClaims;
use self::id_token::{NONCE_PREFIX, NonceRule, claimed_issuer};
pub use self::new_names::{name_of, numbered};
pub use self::provider::ProviderTimes;
use self::provider::{ExchangeFailure, Provider};
use self::sealed::Sealer;
pub use self::sealed::{BegunFor, FormerSession, LinkedSession, PendingSignIn};
use crate::access_token::{AccessTokens, KeyError};
use crate::foreign_issuer::SourceError;
use crate::identity::{ProvedIdentity, UsedProof};
use crate::ids::random_base62;
use crate::throttle::SignUpThrottle;

/// How long a sign-in may take, from its beginning to its end.
pub const SIGN_IN_LIFE: Duration = Duration::from_secs(600);
/// When an issuer that gave no answer may be asked again.
const RETRY_ISSUER: Duration = Duration::from_secs(10);
/// How much longer a used proof is known than it is good: the store's clock may be ahead of ours.
const PROOF_MARGIN: Duration = Duration::from_secs(600);
/// How long after its time of issue an ID token without a sign-in is taken: so long its proof is kept.
pub(crate) const OLDEST_TOKEN: Duration = Duration::from_secs(24 * 3600);
/// Codes that one network may have exchanged, at once and in an hour: each is a call to the issuer.
const CODES_PER_HOUR: u32 = 600;

/// The issuers.
pub struct SignInIssuers {
    providers: Vec<Provider>,
    sealer: Sealer,
    codes: SignUpThrottle,
    leeway: Duration,
}

/// Why an identity isn't proved.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// No such issuer is configured.
    #[error("no such issuer")]
    IssuerUnknown,
    /// The issuer gave no answer that can be used.
    #[error("the issuer {issuer:?} gave no answer that can be used")]
    IssuerUnavailable {
        /// Its name.
        issuer: String,
        /// When it may be asked again.
        retry_after: Duration,
    },
    /// The proof is not good. The text says why, and repeats nothing of it.
    #[error("{0}")]
    Invalid(&'static str),
    /// The sign-in is over, or was begun elsewhere, or by somebody else.
    #[error("the sign-in is over, or was begun elsewhere")]
    SignInExpired,
    /// Too many codes from one network.
    #[error("too many codes")]
    Throttled {
        /// When the next may come.
        retry_after: Duration,
    },
    /// Nothing could be sealed or drawn.
    #[error("a sign-in can't be begun: {0}")]
    Broken(String),
}

/// A sign-in that was begun.
pub struct BegunSignIn {
    /// To be bound into the ID token.
    pub nonce: String,
    /// What the end needs. Secret.
    pub sign_in: String,
    /// Where to send the person; empty without an address to come back to.
    pub authorization_url: String,
    /// What must come back with the code; empty without such an address.
    pub state: String,
    /// When it must be over.
    pub ends_at: SystemTime,
}

/// What proves an identity.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// The code that the issuer sent the person back with, and the state that came with it.
    Code {
        /// What was begun.
        sign_in: &'a str,
        /// As it came.
        code: &'a str,
        /// As it came.
        state: &'a str,
    },
    /// An ID token.
    IdToken {
        /// What was begun; empty: the token is good by itself, once.
        sign_in: &'a str,
        /// As it came.
        id_token: &'a str,
    },
}

/// Somebody whom an issuer knows.
#[derive(Debug, Clone)]
pub struct ProvedPerson {
    /// Who it is.
    pub identity: ProvedIdentity,
    /// What the issuer says of them.
    pub person: PersonClaims,
}

impl SignInIssuers {
    /// These issuers, whose clocks may differ from ours by `leeway`. What is begun is sealed by keys that follow from the access tokens'
    /// secrets.
    ///
    /// # Errors
    /// TLS can't be set up, or no key derived.
    pub fn new(configs: Vec<SignInIssuerConfig>, tokens: &AccessTokens, leeway: Duration) -> Result<Self, IssuersError> {
        Self::with_times(configs, tokens, leeway, ProviderTimes::default())
    }

    /// The same, with other times. Tests have those.
    ///
    /// # Errors
    /// As [`new`](Self::new)'s.
    pub fn with_times(
        configs: Vec<SignInIssuerConfig>,
        tokens: &AccessTokens,
        leeway: Duration,
        times: ProviderTimes,
    ) -> Result<Self, IssuersError> {
        let providers = configs.into_iter().map(|config| Provider::new(config, times)).collect::<Result<_, _>>()?;
        Ok(Self { providers, sealer: Sealer::new(tokens)?, codes: SignUpThrottle::new(CODES_PER_HOUR), leeway })
    }

    /// As they are configured.
    pub fn configs(&self) -> impl Iterator<Item = &SignInIssuerConfig> {
        self.providers.iter().map(Provider::config)
    }

    /// The one of this name; without a name, the only one.
    ///
    /// # Errors
    /// There is none.
    pub fn named(&self, name: &str) -> Result<&SignInIssuerConfig, ProofError> {
        self.provider(name).map(Provider::config)
    }

    fn provider(&self, name: &str) -> Result<&Provider, ProofError> {
        match (&self.providers[..], name) {
            ([only], "") => Ok(only),
            (all, name) => all.iter().find(|provider| provider.config().name == name).ok_or(ProofError::IssuerUnknown),
        }
    }

    /// Begins a sign-in. `redirect_uri`: where the issuer sends the person back to, this one's own; empty: nowhere.
    pub async fn begin(&self, name: &str, redirect_uri: &str, begun_for: BegunFor) -> Result<BegunSignIn, ProofError> {
        let provider = self.provider(name)?;
        let draw = |length| random_base62(length).map_err(|error| ProofError::Broken(error.to_string()));
        let nonce = format!("{NONCE_PREFIX}{}", draw(32)?);
        let (verifier, state) = if redirect_uri.is_empty() { (String::new(), String::new()) } else { (draw(64)?, draw(32)?) };
        let ends_at = SystemTime::now() + SIGN_IN_LIFE;
        let pending = PendingSignIn {
            issuer: provider.config().issuer.clone(),
            client_id: provider.config().client_id.clone(),
            nonce,
            state,
            verifier,
            redirect_uri: redirect_uri.to_owned(),
            ends_at_s: ends_at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            begun_for,
        };
        let authorization_url = if redirect_uri.is_empty() { String::new() } else { provider.authorization_url(&pending).await? };
        let sign_in = self.sealer.seal(&pending).map_err(|error| ProofError::Broken(error.to_string()))?;
        let PendingSignIn { nonce, state, .. } = pending;
        Ok(BegunSignIn { nonce, sign_in, authorization_url, state, ends_at })
    }

    /// What was begun, if it was begun here and isn't over.
    pub fn pending(&self, sign_in: &str) -> Result<PendingSignIn, ProofError> {
        let pending = self.sealer.open(sign_in).ok_or(ProofError::SignInExpired)?;
        if pending.ends_at_s <= unix_seconds() { Err(ProofError::SignInExpired) } else { Ok(pending) }
    }

    /// Proves an identity. `address`: where the call comes from. `for_session`: the session that an identity is to be linked in; a sign-in
    /// that was begun for a session is good for that one alone.
    pub async fn prove(
        &self,
        proof: Proof<'_>,
        address: Option<IpAddr>,
        for_session: Option<&LinkedSession>,
    ) -> Result<ProvedPerson, ProofError> {
        let begun = |sign_in: &str| {
            let pending = self.pending(sign_in)?;
            let linked = pending.begun_for.linked_session();
            let is_theirs = linked.is_none() || linked == for_session;
            if is_theirs { Ok(pending) } else { Err(ProofError::SignInExpired) }
        };
        match proof {
            Proof::Code { sign_in, code, state } => {
                let pending = begun(sign_in)?;
                if pending.redirect_uri.is_empty() || !is_same(&pending.state, state) {
                    return Err(ProofError::Invalid("the state is not that of the sign-in"));
                }
                let provider = self.begun_at(&pending)?;
                self.codes.admit(address, Instant::now()).map_err(|retry_after| ProofError::Throttled { retry_after })?;
                let verifier = PkceCodeVerifier::new(pending.verifier.clone());
                let id_token = provider.exchange(AuthorizationCode::new(code.to_owned()), verifier, &pending.redirect_uri).await;
                let id_token = id_token.map_err(|failure| match failure {
                    ExchangeFailure::Refused => ProofError::Invalid("the issuer refused the code"),
                    ExchangeFailure::NoIdToken => ProofError::Invalid("the issuer gave no ID token for the code"),
                    ExchangeFailure::Unavailable(error) => error,
                })?;
                self.judge(provider, &id_token, NonceRule::Is(&pending.nonce), Some(&pending)).await
            }
            Proof::IdToken { sign_in: "", id_token } => {
                let provider =
                    self.issuer_of(id_token).ok_or(ProofError::Invalid("the ID token is of no issuer and client of this server"))?;
                self.judge(provider, id_token, NonceRule::NoneOfOurs, None).await
            }
            Proof::IdToken { sign_in, id_token } => {
                let pending = begun(sign_in)?;
                let provider = self.begun_at(&pending)?;
                self.judge(provider, id_token, NonceRule::Is(&pending.nonce), Some(&pending)).await
            }
        }
    }

    fn begun_at(&self, pending: &PendingSignIn) -> Result<&Provider, ProofError> {
        let is_it = |provider: &&Provider| provider.config().issuer == pending.issuer && provider.config().client_id == pending.client_id;
        self.providers.iter().find(is_it).ok_or(ProofError::SignInExpired)
    }

    /// Whose an ID token says that it is; it may be lying.
    fn issuer_of(&self, id_token: &str) -> Option<&Provider> {
        let (issuer, audiences) = claimed_issuer(id_token)?;
        let is_it = |provider: &&Provider| {
            let config = provider.config();
            config.issuer == issuer && audiences.contains(&config.client_id)
        };
        self.providers.iter().find(is_it)
    }

    async fn judge(
        &self,
        provider: &Provider,
        id_token: &str,
        nonce: NonceRule<'_>,
        pending: Option<&PendingSignIn>,
    ) -> Result<ProvedPerson, ProofError> {
        let verified = provider.verify(id_token, nonce, self.leeway).await?;
        let (hash, ends_at) = match pending {
            Some(pending) => (Sha256::digest(pending.nonce.as_bytes()).into(), pending.ends_at_s),
            // The part that is signed: the signature itself may be written in more than one way.
            None => {
                let signed = id_token.rsplit_once('.').map_or(id_token, |(signed, _)| signed);
                let good_until = verified.expires_at_s.min(verified.issued_at_s.saturating_add(OLDEST_TOKEN.as_secs()));
                (Sha256::digest(signed.as_bytes()).into(), good_until.saturating_add(self.leeway.as_secs() + 1))
            }
        };
        let ends_at_ms = ends_at.saturating_add(PROOF_MARGIN.as_secs()).saturating_mul(1000);
        let proof = UsedProof { hash, ends_at_ms: i64::try_from(ends_at_ms).unwrap_or(i64::MAX) };
        let issuer = provider.config().issuer.clone();
        let identity = ProvedIdentity { issuer, subject: verified.subject, email: verified.person.email.clone(), proof };
        Ok(ProvedPerson { identity, person: verified.person })
    }
}

/// Issuers can't be used at all.
#[derive(Debug, thiserror::Error)]
pub enum IssuersError {
    /// No key could be derived.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No client could be made.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Compares in a time that doesn't tell how much was right.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    Sha256::digest(one) == Sha256::digest(other)
}

pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl fmt::Debug for SignInIssuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.configs().map(|config| config.name.as_str()).collect();
        f.debug_struct("SignInIssuers").field("issuers", &names).finish_non_exhaustive()
    }
}

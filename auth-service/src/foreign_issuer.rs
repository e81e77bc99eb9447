//! Foreign issuers: others whose JWTs are taken as access tokens, as a file lists them.
//!
//! A token is judged by its issuer's entry alone: the keys that the issuer publishes, the algorithms that the entry names, and the claim
//! that says who it is: a user, or a service account, of which it is a credential beside its keys. It is good for calls and for reading
//! one's own account. It begins no session, and manages nothing.

mod claims;
mod config;
pub(crate) mod jwks_source;
mod key_feed;
mod key_set;
#[cfg(test)]
mod test_issuer;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hashlink::LruCache;
use tokio_util::sync::CancellationToken;

use self::claims::ForeignClaims;
use self::config::Named;
pub use self::config::{IssuerConfig, KeysAt, ServiceAccountPlace, parse_issuers, speaks_tls_or_stays_here};
pub use self::jwks_source::SourceError;
use self::key_feed::{FeedTimes, KeyAnswer, KeyFeed};
use crate::access_token::AccessTokenError;
use crate::ids::{AccountId, UserId};
use crate::store::{Store, StoreError};
use crate::token_scopes::TokenScopes;
use crate::user::UserName;

/// User names whose users are remembered, about 150 bytes each.
const MOST_NAMES: usize = 16_384;

/// The issuers, and what is known of their users.
pub struct ForeignIssuers {
    issuers: Vec<Issuer>,
    leeway: Duration,
    /// A name is never given to another user, so what was found once stays true.
    users: Mutex<LruCache<UserName, UserId>>,
}

struct Issuer {
    config: IssuerConfig,
    keys: Arc<KeyFeed>,
}

/// What a good token of a foreign issuer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignToken {
    /// Who it is here: a user, or a service account.
    pub user_id: UserId,
    /// The organization's account that a service account pays from; `None`: a user.
    pub account: Option<AccountId>,
    /// When it was issued by its issuer's clock, in seconds since 1970.
    pub issued_at_s: i64,
    /// When it was issued at the earliest, as the issuer's clock may be ahead of ours, in milliseconds since 1970. What was made invalid by
    /// then is not made good by a clock.
    pub issued_at_ms: i64,
    /// When it ends, in seconds since 1970.
    pub expires_at_s: u64,
    /// What tokens of this issuer may be used for.
    pub scopes: TokenScopes,
    /// Whether they may be an operator's.
    pub may_administer: bool,
    /// Its `iss`.
    pub issuer: String,
}

/// Why a token is refused.
#[derive(Debug, thiserror::Error)]
pub enum ForeignTokenError {
    /// Not one of a listed issuer's, malformed, forged, or past its time.
    #[error(transparent)]
    Token(#[from] AccessTokenError),
    /// Good, and its claim names nobody here.
    #[error("the token of the issuer {0:?} is good, and names nobody of this service")]
    NoUser(String),
    /// The issuer's keys can't be had, so that nothing can be said of the token.
    #[error(
        "the keys of the issuer {0:?} can't be had at the moment, so that its tokens can't be verified; nothing was charged. Try again"
    )]
    KeysUnavailable(String),
    /// The store gave no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether a token's times count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// They do.
    Compared,
    /// It was shown before, and may have ended since.
    Ignored,
}

impl ForeignIssuers {
    /// Issuers whose clocks may differ from ours by `leeway`. Their keys come from [`ForeignIssuers::run`].
    ///
    /// # Errors
    /// TLS can't be set up.
    pub fn new(configs: Vec<IssuerConfig>, leeway: Duration) -> Result<Self, SourceError> {
        Self::with_times(configs, leeway, FeedTimes::default())
    }

    fn with_times(configs: Vec<IssuerConfig>, leeway: Duration, times: FeedTimes) -> Result<Self, SourceError> {
        let feed = |config: IssuerConfig| Ok(Issuer { keys: Arc::new(KeyFeed::of(&config, times)?), config });
        let issuers = configs.into_iter().map(feed).collect::<Result<_, SourceError>>()?;
        Ok(Self { issuers, leeway, users: Mutex::new(LruCache::new(MOST_NAMES)) })
    }

    /// None.
    #[must_use]
    pub fn none() -> Self {
        Self { issuers: Vec::new(), leeway: Duration::ZERO, users: Mutex::new(LruCache::new(MOST_NAMES)) }
    }

    /// Keeps the issuers' keys, each by itself, until `stop` is cancelled.
    pub fn run(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send + 'static {
        let mut feeds = tokio::task::JoinSet::new();
        for issuer in &self.issuers {
            let (keys, stop) = (Arc::clone(&issuer.keys), stop.clone());
            feeds.spawn(async move { keys.run(stop).await });
        }
        async move {
            // One that panics ends all, and its panic is told where it happened.
            while let Some(Ok(())) = feeds.join_next().await {}
            if !feeds.is_empty() {
                return;
            }
            stop.cancelled().await;
        }
    }

    /// Verifies a token's header, signature, claims and times, and finds its user.
    pub async fn verify(&self, token: &str, times: Times, store: &dyn Store) -> Result<ForeignToken, ForeignTokenError> {
        let invalid = AccessTokenError::Invalid;
        let issuer = self.issuer_of(token).ok_or(invalid)?;
        let kid = claims::kid_of(token).ok_or(invalid)?;
        let name = || issuer.config.name.clone();
        let key = match issuer.keys.key(&kid).await {
            KeyAnswer::Key(key) => key,
            KeyAnswer::Unknown => return Err(invalid.into()),
            KeyAnswer::Unavailable => return Err(ForeignTokenError::KeysUnavailable(name())),
        };
        let claims = ForeignClaims::verified(token, &key, &issuer.config).ok_or(invalid)?;
        if times == Times::Compared {
            claims.times().judge(unix_seconds(), self.leeway)?;
        }
        let nobody = || ForeignTokenError::NoUser(name());
        let (user_id, account) = match issuer.config.named_by(&claims).ok_or_else(nobody)? {
            Named::User(user_name) => (self.user(&user_name, store).await?.ok_or_else(nobody)?, None),
            // Whether it is there, the store says in the step that lets it in.
            Named::ServiceAccount(ServiceAccountPlace { account, service_account }) => (service_account, Some(account)),
        };
        let issued_at_s = i64::try_from(claims.iat).map_err(|_| invalid)?;
        // A second at the least: times of issue have no finer.
        let ahead_ms = i64::try_from(self.leeway.max(Duration::from_secs(1)).as_millis()).unwrap_or(i64::MAX);
        let issued_at_ms = issued_at_s.checked_mul(1000).ok_or(invalid)?.saturating_sub(ahead_ms);
        let IssuerConfig { scopes, admin, issuer, .. } = &issuer.config;
        let (scopes, may_administer, issuer) = (scopes.clone(), *admin, issuer.clone());
        Ok(ForeignToken { user_id, account, issued_at_s, issued_at_ms, expires_at_s: claims.exp, scopes, may_administer, issuer })
    }

    /// Whether a text names one of these issuers as a token of theirs does. Nothing is verified.
    #[must_use]
    pub fn are_named_by(&self, text: &str) -> bool {
        self.issuer_of(text).is_some()
    }

    /// The issuer that a token names; it may be lying.
    fn issuer_of(&self, token: &str) -> Option<&Issuer> {
        if self.issuers.is_empty() {
            return None;
        }
        let named = claims::issuer_of(token)?;
        self.issuers.iter().find(|issuer| issuer.config.issuer == named)
    }

    async fn user(&self, name: &UserName, store: &dyn Store) -> Result<Option<UserId>, StoreError> {
        // Held for a look-up at a time, and nothing in it can be left half done.
        let known = self.users.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let found = store.user_by_name(name).await?.map(|user| user.user_id);
        if let Some(id) = &found {
            self.users.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), id.clone());
        }
        Ok(found)
    }
}

impl fmt::Debug for ForeignIssuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.issuers.iter().map(|issuer| issuer.config.name.as_str()).collect();
        f.debug_struct("ForeignIssuers").field("issuers", &names).finish_non_exhaustive()
    }
}

fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

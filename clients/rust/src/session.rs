//! A user signed in: an access token, the refresh token that keeps the session, and where a program keeps both.

use std::fmt;
use std::io;
use std::time::{Duration, SystemTime};

use prost_types::Timestamp;

use crate::credential::{Credential, is_visible_ascii};
use crate::error::Error;
use crate::proto::auth::{
    CompletePasswordResetResponse, ExchangeDeviceCodeResponse, ExchangeIdTokenResponse, LoginResponse, RefreshResponse,
};

/// What renews a session, once. `Debug` doesn't show it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken(String);

impl RefreshToken {
    /// Takes a refresh token. Refused when it holds anything but visible ASCII; the error doesn't repeat it.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        let refused = || Error::Configuration("the refresh token must be one that a login gave: visible ASCII characters only".to_owned());
        if is_visible_ascii(&text) { Ok(Self(text)) } else { Err(refused()) }
    }

    /// The token itself, to be stored.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshToken(…)")
    }
}

/// A session: what a login or a refresh gave. A client made with one ([`crate::Client::with_session`]) refreshes it by itself.
#[derive(Debug, Clone)]
pub struct Session {
    /// Not secret.
    pub session_id: String,
    /// For calls, until it ends.
    pub access_token: Credential,
    /// When the access token ends; `None` when the service didn't say.
    pub expires_at: Option<SystemTime>,
    /// Gives the next access token and the next refresh token, once. `None`: the service gave none, and the session ends with its access
    /// token.
    pub refresh_token: Option<RefreshToken>,
    /// Until when the refresh token must be used, or the session ends.
    pub refresh_expires_at: Option<SystemTime>,
    /// From when on a client refreshes it, by this host's clock: after four fifths of the access token's life. `None`: not before the
    /// access token is refused.
    pub refresh_at: Option<SystemTime>,
}

impl Session {
    fn new(
        session_id: String,
        access: (String, Option<Timestamp>),
        refresh: (String, Option<Timestamp>),
        now: SystemTime,
    ) -> Result<Self, Error> {
        let time = |timestamp: Option<Timestamp>| timestamp.and_then(|timestamp| SystemTime::try_from(timestamp).ok());
        let expires_at = time(access.1);
        Ok(Self {
            session_id,
            access_token: Credential::new(access.0)?,
            expires_at,
            refresh_token: if refresh.0.is_empty() { None } else { Some(RefreshToken::new(refresh.0)?) },
            refresh_expires_at: time(refresh.1),
            refresh_at: expires_at.and_then(|end| refresh_at(now, end)),
        })
    }

    pub(crate) fn of_login(answer: LoginResponse) -> Result<Self, Error> {
        let LoginResponse { access_token, expires_at, refresh_token, refresh_expires_at, session_id } = answer;
        Self::new(session_id, (access_token, expires_at), (refresh_token, refresh_expires_at), SystemTime::now())
    }

    pub(crate) fn of_refresh(answer: RefreshResponse) -> Result<Self, Error> {
        let RefreshResponse { access_token, expires_at, refresh_token, refresh_expires_at, session_id } = answer;
        Self::new(session_id, (access_token, expires_at), (refresh_token, refresh_expires_at), SystemTime::now())
    }

    pub(crate) fn of_password_reset(answer: CompletePasswordResetResponse) -> Result<Self, Error> {
        let CompletePasswordResetResponse { access_token, expires_at, refresh_token, refresh_expires_at, session_id } = answer;
        Self::new(session_id, (access_token, expires_at), (refresh_token, refresh_expires_at), SystemTime::now())
    }

    pub(crate) fn of_issuer(answer: ExchangeIdTokenResponse) -> Result<Self, Error> {
        let ExchangeIdTokenResponse { access_token, expires_at, refresh_token, refresh_expires_at, session_id, .. } = answer;
        Self::new(session_id, (access_token, expires_at), (refresh_token, refresh_expires_at), SystemTime::now())
    }

    pub(crate) fn of_device(answer: ExchangeDeviceCodeResponse) -> Result<Self, Error> {
        let ExchangeDeviceCodeResponse { access_token, expires_at, refresh_token, refresh_expires_at, session_id, .. } = answer;
        Self::new(session_id, (access_token, expires_at), (refresh_token, refresh_expires_at), SystemTime::now())
    }
}

/// A session that began, and whose it is.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// For [`crate::Client::with_session`].
    pub session: Session,
    /// The user.
    pub user_name: String,
    /// Whether this made the user.
    pub created: bool,
}

/// Four fifths of the way to the end. `None` when this host's clock says that the end is over: then the clock tells nothing.
fn refresh_at(now: SystemTime, end: SystemTime) -> Option<SystemTime> {
    let life = end.duration_since(now).ok().filter(|life| *life > Duration::ZERO)?;
    now.checked_add(life / 5 * 4)
}

/// Where a session is kept when the program ends, and by several programs at once: a file, a keyring.
///
/// A client takes the lock before it refreshes, and gives it back when what the refresh gave is saved. So of several programs with one
/// session, one refreshes and the others find what it got: a refresh token that is used twice ends its session.
pub trait SessionStore: Send + Sync + 'static {
    /// Waits until nobody else has the lock, and takes it until the answer is dropped. May block its thread.
    fn lock(&self) -> io::Result<Box<dyn LockedSession>>;
}

/// A session that nobody else changes meanwhile. Each method may block its thread.
pub trait LockedSession: Send {
    /// What is kept now; `None`: nothing, and the client goes on with what it has.
    fn load(&mut self) -> io::Result<Option<Session>>;

    /// Keeps this session in place of what was kept.
    fn save(&mut self, session: &Session) -> io::Result<()>;
}

/// A store for a program that only wants to see what is new: called with each session that a refresh gave, before anything is sent with it.
pub fn on_refresh(observer: impl Fn(&Session) + Send + Sync + 'static) -> impl SessionStore {
    Observer(std::sync::Arc::new(observer))
}

/// Shows a session to somebody.
struct Observer<F>(std::sync::Arc<F>);

impl<F: Fn(&Session) + Send + Sync + 'static> SessionStore for Observer<F> {
    fn lock(&self) -> io::Result<Box<dyn LockedSession>> {
        Ok(Box::new(Self(std::sync::Arc::clone(&self.0))))
    }
}

impl<F: Fn(&Session) + Send + Sync + 'static> LockedSession for Observer<F> {
    fn load(&mut self) -> io::Result<Option<Session>> {
        Ok(None)
    }

    fn save(&mut self, session: &Session) -> io::Result<()> {
        (self.0)(session);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn neither_token_of_a_session_is_shown() {
        let answer = LoginResponse {
            access_token: "canary-access".to_owned(),
            refresh_token: "canary-refresh".to_owned(),
            session_id: "s1".to_owned(),
            ..Default::default()
        };
        let session = Session::of_login(answer).unwrap();
        assert_eq!(session.refresh_token.as_ref().unwrap().expose(), "canary-refresh");
        let shown = format!("{session:?}");
        assert!(!shown.contains("canary") && shown.contains("s1"), "{shown}");
        let refused = RefreshToken::new("canary\n").unwrap_err();
        assert!(!format!("{refused}{refused:?}").contains("canary"));
    }

    #[test]
    fn a_token_is_renewed_after_four_fifths_of_its_life_and_a_clock_that_is_ahead_of_its_end_says_nothing() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(refresh_at(at(1_000), at(2_800)), Some(at(2_440)));
        assert_eq!(refresh_at(at(1_000), at(1_000)), None);
        assert_eq!(refresh_at(at(1_001), at(1_000)), None);
    }
}

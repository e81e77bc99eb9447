//! A session that is kept by refreshing it: one refresh at a time, whoever asks.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use shared::ErrorReason;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;
use tonic::{Code, Request};

use crate::connection::Connections;
use crate::error::{Error, Refusal};
use crate::proto::auth::RefreshRequest;
use crate::proto::auth::accounts_client::AccountsClient;
use crate::service::Service;
use crate::session::{RefreshToken, Session, SessionStore};

/// How long an answer to a refresh is waited for. Two times that, and what is between, must be less than the 30 s for which the service
/// takes a refresh token once more.
const REPLY_WITHIN: Duration = Duration::from_secs(8);
/// How long a token that is still good is used after a refresh came to nothing, before the next one is tried.
const NEXT_TRY_AFTER: Duration = Duration::from_secs(5);

/// A session that clones of a client share.
pub(crate) struct KeptSession {
    connections: Arc<Connections>,
    store: Option<Arc<dyn SessionStore>>,
    reply_within: Duration,
    // Held for a look at a time: it's never awaited with.
    state: Mutex<State>,
    /// Whoever holds it refreshes.
    turn: Arc<tokio::sync::Mutex<()>>,
}

struct State {
    session: Session,
    /// Counts the sessions that were got.
    generation: u64,
    /// Counts the refreshes that were tried.
    tries: u64,
    /// What came of the last one.
    outcome: Result<(), Error>,
    /// When the next one may be tried while the token is still good.
    next_try: Option<Instant>,
    /// Why the session is no more.
    ended: Option<Box<Refusal>>,
}

/// An access token for a call.
pub(crate) struct Token {
    pub(crate) header: HeaderValue,
    /// Tells tokens of a session apart.
    pub(crate) generation: u64,
}

/// What a token is good for, by this host's clock.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Good,
    /// Good, and soon no more.
    Due,
    Over,
}

impl State {
    fn token(&self) -> Token {
        Token { header: self.session.access_token.header(), generation: self.generation }
    }

    fn standing(&self, now: SystemTime, tick: Instant) -> Standing {
        if self.session.refresh_token.is_none() {
            // Nothing can be done about its end: the service says when it is there.
            return Standing::Good;
        }
        // Without `refresh_at` the clocks of both hosts are known to differ.
        if self.session.refresh_at.is_some() && self.session.expires_at.is_some_and(|end| end <= now) {
            return Standing::Over;
        }
        let is_due = self.session.refresh_at.is_some_and(|due| due <= now) && self.next_try.is_none_or(|next| next <= tick);
        if is_due { Standing::Due } else { Standing::Good }
    }

    fn replace(&mut self, session: Session) {
        self.session = session;
        self.generation += 1;
    }
}

impl KeptSession {
    pub(crate) fn new(session: Session, store: Option<Arc<dyn SessionStore>>, connections: Arc<Connections>, call: Duration) -> Self {
        let state = State { session, generation: 0, tries: 0, outcome: Ok(()), next_try: None, ended: None };
        Self { connections, store, reply_within: call.min(REPLY_WITHIN), state: Mutex::new(state), turn: Arc::default() }
    }

    /// The session as it is now.
    pub(crate) fn session(&self) -> Session {
        self.state().session.clone()
    }

    /// Ends it here, because the service has ended it.
    pub(crate) fn end(&self, message: &str) {
        let refusal = Refusal {
            code: Code::Unauthenticated,
            reason: Some(ErrorReason::CredentialRevoked),
            message: message.to_owned(),
            retry_delay: None,
            receipt: None,
            quotas: Vec::new(),
            request_id: None,
        };
        self.state().ended = Some(Box::new(refusal));
    }

    /// A token for a call that begins now, refreshed if it has to be. While one caller refreshes ahead of the end, the others go on with
    /// the token that is there; once it is over, they wait.
    pub(crate) async fn token(self: &Arc<Self>) -> Result<Token, Error> {
        let (token, standing) = self.look()?;
        match standing {
            Standing::Good => Ok(token),
            Standing::Due => {
                let Ok(turn) = Arc::clone(&self.turn).try_lock_owned() else { return Ok(token) };
                // Another caller may have done it just now.
                let (token, standing) = self.look()?;
                if standing == Standing::Good {
                    return Ok(token);
                }
                match self.renew(turn).await {
                    // Nobody else would be told, and what wasn't kept is lost with the program.
                    Err(error @ (Error::SessionEnded(_) | Error::SessionStore(_))) => Err(error),
                    // Else the token is good for a while, and so is the next try.
                    Ok(()) | Err(_) => Ok(self.state().token()),
                }
            }
            Standing::Over => {
                self.renewed(token.generation).await?;
                Ok(self.state().token())
            }
        }
    }

    fn look(&self) -> Result<(Token, Standing), Error> {
        let state = self.state();
        match &state.ended {
            Some(refusal) => Err(Error::SessionEnded(refusal.clone())),
            None => Ok((state.token(), state.standing(SystemTime::now(), Instant::now()))),
        }
    }

    /// Waits for a session newer than this one: refreshes, or takes what another refresh gave meanwhile. `false`: it can't be refreshed.
    pub(crate) async fn renewed(self: &Arc<Self>, generation: u64) -> Result<bool, Error> {
        let tries = self.state().tries;
        let turn = Arc::clone(&self.turn).lock_owned().await;
        {
            let state = self.state();
            if let Some(refusal) = &state.ended {
                return Err(Error::SessionEnded(refusal.clone()));
            }
            if state.generation != generation {
                return Ok(true);
            }
            // What came of it for another caller is true for all that waited meanwhile: a service that is away is asked once.
            if state.tries != tries {
                return state.outcome.clone().map(|()| true);
            }
            if state.session.refresh_token.is_none() {
                return Ok(false);
            }
        }
        self.renew(turn).await.map(|()| true)
    }

    /// Refreshes now, whatever the token's time.
    pub(crate) async fn refresh_now(self: &Arc<Self>) -> Result<Session, Error> {
        let generation = self.state().generation;
        if self.renewed(generation).await? {
            return Ok(self.session());
        }
        Err(Error::Configuration("the session has no refresh token: log in again".to_owned()))
    }

    /// Refreshes in a task of its own. A caller who goes away in the middle would lose the answer, and with it the session: what was sent
    /// is used up. The task ends in bounded time.
    async fn renew(self: &Arc<Self>, turn: OwnedMutexGuard<()>) -> Result<(), Error> {
        let this = Arc::clone(self);
        let task = tokio::spawn(async move {
            let _turn = turn;
            let outcome = this.try_once().await;
            this.note(outcome)
        });
        task.await.unwrap_or_else(|_| {
            let cause = "the refresh was stopped".to_owned();
            Err(Error::Interrupted { service: Service::Auth, cause, request_id: None })
        })
    }

    fn note(&self, outcome: Result<(), Error>) -> Result<(), Error> {
        let mut state = self.state();
        state.tries += 1;
        state.next_try = outcome.is_err().then(|| Instant::now() + NEXT_TRY_AFTER);
        if let Err(Error::SessionEnded(refusal)) = &outcome {
            state.ended = Some(refusal.clone());
        }
        state.outcome.clone_from(&outcome);
        outcome
    }

    async fn try_once(&self) -> Result<(), Error> {
        let Some(store) = self.store.clone() else {
            let token = self.session().refresh_token;
            let session = self.ask(token.as_ref()).await?;
            self.state().replace(session);
            return Ok(());
        };
        let mine = self.session();
        let (mut locked, stored) = blocking(move || {
            let mut locked = store.lock()?;
            let stored = locked.load()?;
            Ok((locked, stored))
        })
        .await?;
        let mut token = mine.refresh_token;
        // Another program may have refreshed it. A session of somebody else, in the same place, is not ours to go on with.
        let is_ours = |stored: &Session| stored.session_id == mine.session_id;
        match stored {
            Some(stored) if is_ours(&stored) && stored.refresh_token != token => {
                let mut state = self.state();
                token.clone_from(&stored.refresh_token);
                state.replace(stored);
                if state.standing(SystemTime::now(), Instant::now()) == Standing::Good {
                    return Ok(());
                }
            }
            Some(stored) if !is_ours(&stored) => {
                drop(locked);
                let session = self.ask(token.as_ref()).await?;
                self.state().replace(session);
                return Ok(());
            }
            _ => {}
        }
        let session = self.ask(token.as_ref()).await?;
        self.state().replace(session.clone());
        blocking(move || locked.save(&session)).await
    }

    /// Asks for the next session. When the reply is lost, the same is asked once more, on a connection that isn't the one that lost it.
    async fn ask(&self, token: Option<&RefreshToken>) -> Result<Session, Error> {
        let token = token.ok_or_else(|| Error::Configuration("the session has no refresh token".to_owned()))?;
        match self.send(token).await {
            Err(Error::Interrupted { .. } | Error::TimedOut { .. }) => {
                self.connections.auth.renew();
                self.send(token).await
            }
            Err(error) if error.code() == Code::Unavailable && error.refusal().is_some() => self.send(token).await,
            answered => answered,
        }
    }

    async fn send(&self, token: &RefreshToken) -> Result<Session, Error> {
        let mut request = Request::new(RefreshRequest { refresh_token: token.expose().to_owned() });
        request.set_timeout(self.reply_within);
        let auth = &self.connections.auth;
        let answer = AccountsClient::new(auth.channel()).refresh(request).await;
        match auth.answer(answer, None) {
            Ok(answer) => Session::of_refresh(answer),
            Err(Error::Refused(refusal)) if ends_a_session(refusal.reason) => Err(Error::SessionEnded(refusal)),
            Err(error) => Err(error),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a refresh that is refused so is refused for good.
fn ends_a_session(reason: Option<ErrorReason>) -> bool {
    matches!(
        reason,
        Some(
            ErrorReason::CredentialInvalid
                | ErrorReason::CredentialExpired
                | ErrorReason::CredentialRevoked
                | ErrorReason::RefreshTokenReused
                | ErrorReason::UserDisabled
                | ErrorReason::UserLocked
                | ErrorReason::PasswordChangeRequired
        )
    )
}

async fn blocking<T: Send + 'static>(what: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(what).await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
    done.map_err(|error| Error::SessionStore(error.to_string()))
}

impl fmt::Debug for KeptSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptSession").field("session_id", &self.state().session.session_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::credential::Credential;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn state(refresh_at: Option<SystemTime>, refreshable: bool) -> State {
        let session = Session {
            session_id: "s".to_owned(),
            access_token: Credential::new("a").unwrap(),
            expires_at: Some(at(100)),
            refresh_token: refreshable.then(|| RefreshToken::new("r").unwrap()),
            refresh_expires_at: None,
            refresh_at,
        };
        State { session, generation: 0, tries: 0, outcome: Ok(()), next_try: None, ended: None }
    }

    #[tokio::test]
    async fn a_token_is_renewed_ahead_of_its_end_and_not_again_at_once_when_that_came_to_nothing() {
        let tick = Instant::now();
        let mut state = state(Some(at(80)), true);
        let of = |state: &State, seconds| state.standing(at(seconds), tick);
        assert_eq!(
            [of(&state, 79), of(&state, 80), of(&state, 99), of(&state, 100)],
            [Standing::Good, Standing::Due, Standing::Due, Standing::Over]
        );
        state.next_try = Some(tick + NEXT_TRY_AFTER);
        assert_eq!([of(&state, 99), of(&state, 100)], [Standing::Good, Standing::Over]);
        assert_eq!(state.standing(at(99), tick + NEXT_TRY_AFTER), Standing::Due);
    }

    #[tokio::test]
    async fn a_clock_that_tells_nothing_and_a_session_without_a_refresh_token_leave_the_end_to_the_service() {
        let tick = Instant::now();
        assert_eq!(state(None, true).standing(at(1_000), tick), Standing::Good);
        assert_eq!(state(Some(at(80)), false).standing(at(1_000), tick), Standing::Good);
    }
}

//! A user's second factor: an authenticator app's codes (TOTP), and recovery codes for whoever has lost it. Pure rules; stores compare what
//! they decide from, and write what they say.
//!
//! Each code is good once: the step that uses it records it. Wrong codes make the next app's code wait, in the record and so in all
//! processes. Whoever makes somebody wait has their password or one of their sessions. No recovery code ever waits: it can't be guessed,
//! and it lets its owner in whatever others try.

mod codes;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::codes::{PresentedCode, RECOVERY_CODES, RecoveryCodes, TotpSecret};
use crate::ids::SessionId;
use crate::session::{self, Session, SessionStart};
use crate::store::{AuditEvent, Refusal};
use crate::user_state::{Decision, FactorRecordChange, UserChanges, UserState};

/// How long something counts as just proved: a sign-in, or a second factor.
pub const RECENT: Duration = Duration::from_secs(15 * 60);
/// How long a new secret waits to be confirmed.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(15 * 60);
/// Wrong codes in a row before the next app's code must wait.
const FREE_FAILURES: u32 = 5;
/// How long it waits at first; each further wrong code doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait. A day has no more guesses than 24 then, of which each is right by 3 in a million.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Wrong codes are forgotten when there was none for so long.
const FAILURES_COUNT_FOR: Duration = Duration::from_secs(24 * 3600);
/// Time steps that are remembered as used: the newest ones. Three at a time could be used.
const REMEMBERED_STEPS: usize = 8;

/// A user's second factor as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecondFactor {
    /// What the app has.
    pub secret: TotpSecret,
    /// When it was made.
    pub begun_at_ms: i64,
    /// Since when it counts; `None`: the app has yet to prove that it has the secret.
    pub enabled_at_ms: Option<i64>,
    /// The time steps that were used last, in the order of their use.
    pub used_steps: Vec<u64>,
    /// SHA-256 of each recovery code that was not used.
    pub recovery_codes: Vec<[u8; 32]>,
    /// Wrong codes since the last right one.
    pub failures: u32,
    /// When the last wrong one was.
    pub failed_at_ms: i64,
    /// Whose attempt used a code last.
    pub last_attempt: Option<AttemptId>,
}

/// Tells one attempt to use a code from another, so that its repetition in the store is known for what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptId([u8; 16]);

impl AttemptId {
    /// Draws a new one.
    pub fn draw() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// As it is stored.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// To be stored.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

/// What a user is told of their second factor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SecondFactorStatus {
    /// Since when there is one; `None`: there is none.
    pub enabled_at_ms: Option<i64>,
    /// Recovery codes that were not used.
    pub recovery_codes_left: usize,
    /// When it was last proved in the session that asks.
    pub proved_at_ms: Option<i64>,
}

/// A change of a user's own second factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactorChange {
    /// Puts a new secret aside until it is confirmed.
    Begin {
        /// The secret.
        secret: TotpSecret,
        /// The hash of the password that was verified; empty: of a user who has none, and whose session must have begun just now.
        verified_hash: String,
    },
    /// Turns it on.
    Confirm {
        /// The app's.
        code: PresentedCode,
        /// SHA-256 of each new recovery code.
        recovery_codes: Vec<[u8; 32]>,
    },
    /// Turns it off.
    Remove {
        /// Either kind.
        code: PresentedCode,
    },
    /// Puts new recovery codes in the place of those before.
    NewRecoveryCodes {
        /// Either kind.
        code: PresentedCode,
        /// SHA-256 of each new one.
        recovery_codes: Vec<[u8; 32]>,
    },
    /// Proves it anew in the session.
    StepUp {
        /// Either kind.
        code: PresentedCode,
    },
}

/// Who asks for a [`FactorChange`], and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactorChangeRequest {
    /// The session of the access token that asks: it must be in force in the step that makes the change.
    pub session: SessionId,
    /// Names the attempt.
    pub attempt: AttemptId,
    /// What.
    pub change: FactorChange,
}

impl FactorChangeRequest {
    /// Whether it takes no more room than there was: that works in a store that is full.
    pub(crate) fn needs_no_room(&self) -> bool {
        matches!(self.change, FactorChange::Remove { .. } | FactorChange::StepUp { .. })
    }
}

/// What became of a [`FactorChange`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactorAnswer {
    /// It is made.
    Done {
        /// When.
        at_ms: i64,
        /// Whether a recovery code was used up.
        by_recovery_code: bool,
    },
    /// Who asks is no longer in force.
    Refused(Refusal),
    /// The password that was verified is no longer the user's. It may have been hashed anew: verify it again.
    PasswordReplaced,
    /// It is an operator's one-time password.
    PasswordChangeRequired,
    /// The user has no password, and the session didn't begin just now.
    RecentSignInRequired,
    /// There is no second factor, or none to be confirmed.
    NotSetUp,
    /// There is one already.
    SetUp,
    /// The code is wrong, or was used.
    Wrong,
    /// Too many were wrong.
    Wait(Duration),
}

/// What comes of comparing a code. Where the factor is given, it takes the place of the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Proof {
    Proved { factor: SecondFactor, by_recovery_code: bool },
    Wrong(SecondFactor),
    Wait(Duration),
}

impl SecondFactor {
    /// One that is not confirmed yet.
    #[must_use]
    pub fn begin(secret: TotpSecret, now_ms: i64) -> Self {
        Self {
            secret,
            begun_at_ms: now_ms,
            enabled_at_ms: None,
            used_steps: Vec::new(),
            recovery_codes: Vec::new(),
            failures: 0,
            failed_at_ms: 0,
            last_attempt: None,
        }
    }

    fn prove(&self, code: &PresentedCode, now_ms: i64) -> Proof {
        let (wait, failures) = self.wait(now_ms);
        let proved = match code {
            PresentedCode::Recovery(hash) => self.without(hash).map(|factor| (factor, true)),
            _ if !wait.is_zero() => return Proof::Wait(wait),
            PresentedCode::App(code) => {
                self.secret.step_of(code, now_ms).and_then(|step| self.with_used(step, now_ms)).map(|factor| (factor, false))
            }
            PresentedCode::Malformed => None,
        };
        match proved {
            Some((factor, by_recovery_code)) => Proof::Proved { factor: Self { failures: 0, failed_at_ms: 0, ..factor }, by_recovery_code },
            None if wait.is_zero() => Proof::Wrong(Self { failures: failures.saturating_add(1), failed_at_ms: now_ms, ..self.clone() }),
            // One that is no recovery code costs no write while others wait.
            None => Proof::Wait(wait),
        }
    }

    /// How long an app's code must wait, and how many wrong ones count.
    fn wait(&self, now_ms: i64) -> (Duration, u32) {
        let since = Duration::from_millis(now_ms.abs_diff(self.failed_at_ms));
        if since >= FAILURES_COUNT_FOR {
            return (Duration::ZERO, 0);
        }
        let Some(above) = self.failures.checked_sub(FREE_FAILURES) else { return (Duration::ZERO, self.failures) };
        // Enough doublings for the longest one.
        let wait = (FIRST_WAIT * (1 << above.min(16))).min(LONGEST_WAIT);
        // Not longer, should the clock have gone back.
        let waited = u64::try_from(now_ms.saturating_sub(self.failed_at_ms)).map_or(Duration::ZERO, Duration::from_millis);
        (wait.saturating_sub(waited), self.failures)
    }

    fn without(&self, recovery_code: &[u8; 32]) -> Option<Self> {
        let place = self.recovery_codes.iter().position(|hash| hash == recovery_code)?;
        let mut factor = self.clone();
        factor.recovery_codes.remove(place);
        Some(factor)
    }

    /// The same with a step that is used now; `None`: it was used, or a later one was. Steps ahead of what could be used now don't count:
    /// a clock that was ahead must not shut a user out until that time comes.
    fn with_used(&self, step: u64, now_ms: i64) -> Option<Self> {
        let last = u64::try_from(now_ms).unwrap_or_default() / 30_000 + 1;
        if self.used_steps.iter().any(|used| *used == step || (step < *used && *used <= last)) {
            return None;
        }
        let mut factor = self.clone();
        factor.used_steps.push(step);
        let above = factor.used_steps.len().saturating_sub(REMEMBERED_STEPS);
        factor.used_steps.drain(..above);
        Some(factor)
    }

    fn may_be_confirmed(&self, now_ms: i64) -> bool {
        self.enabled_at_ms.is_none() && is_within(self.begun_at_ms, CONFIRM_WITHIN, now_ms)
    }
}

/// Whether something was proved just now. In both directions, should the clock have gone back a little.
#[must_use]
pub fn is_recent(at_ms: i64, now_ms: i64) -> bool {
    is_within(at_ms, RECENT, now_ms)
}

fn is_within(at_ms: i64, time: Duration, now_ms: i64) -> bool {
    u128::from(now_ms.abs_diff(at_ms)) < time.as_millis()
}

/// A user's second factor, where it counts.
fn enabled(state: &UserState) -> Option<&SecondFactor> {
    state.second_factor.as_ref().filter(|factor| factor.enabled_at_ms.is_some())
}

/// Whether a user has a second factor.
#[must_use]
pub fn is_enabled(state: &UserState) -> bool {
    enabled(state).is_some()
}

/// What a user is told of it, in one of their sessions.
#[must_use]
pub fn status(state: &UserState, session: Option<&SessionId>) -> SecondFactorStatus {
    let factor = enabled(state);
    let session = state.sessions.iter().find(|one| Some(&one.session_id) == session);
    SecondFactorStatus {
        enabled_at_ms: factor.and_then(|factor| factor.enabled_at_ms),
        recovery_codes_left: factor.map_or(0, |factor| factor.recovery_codes.len()),
        proved_at_ms: session.and_then(|session| session.second_factor_at_ms),
    }
}

/// Asks for the second factor at a sign-in whose password was right: what is changed with it and recorded of it, or why it doesn't begin.
pub(crate) fn at_sign_in(
    state: &UserState,
    code: Option<&PresentedCode>,
    now_ms: i64,
    event: &AuditEvent,
) -> Result<(UserChanges, AuditEvent), Box<Decision<SessionStart>>> {
    let Some(factor) = enabled(state) else { return Ok((UserChanges::default(), event.clone())) };
    let Some(code) = code else { return Err(Box::new(Decision::nothing(SessionStart::SecondFactorRequired))) };
    match factor.prove(code, now_ms) {
        Proof::Proved { factor, by_recovery_code } => {
            let event = told(event, &factor, by_recovery_code);
            Ok((UserChanges { second_factor: Some(FactorRecordChange::Put(factor)), ..UserChanges::default() }, event))
        }
        Proof::Wrong(factor) => Err(Box::new(Decision::change(SessionStart::SecondFactorWrong, counted(factor)))),
        Proof::Wait(wait) => Err(Box::new(Decision::nothing(SessionStart::SecondFactorWait(wait)))),
    }
}

/// What is recorded of a code's use.
fn told(event: &AuditEvent, factor: &SecondFactor, by_recovery_code: bool) -> AuditEvent {
    let detail = if by_recovery_code {
        format!("with a recovery code; {} are left", factor.recovery_codes.len())
    } else {
        "with a code of the app".to_owned()
    };
    AuditEvent { detail, ..event.clone() }
}

fn counted(factor: SecondFactor) -> UserChanges {
    UserChanges { second_factor: Some(FactorRecordChange::Put(factor)), ..UserChanges::default() }
}

/// Changes a user's second factor, for one of their sessions.
#[must_use]
pub fn on_change(state: &UserState, request: &FactorChangeRequest, now_ms: i64, event: &AuditEvent) -> Decision<FactorAnswer> {
    let refusal = if state.is_disabled() {
        Some(Refusal::UserDisabled)
    } else if state.is_locked() {
        Some(Refusal::UserLocked)
    } else {
        session::refusal_of(state, &request.session, now_ms)
    };
    let asking = state.sessions.iter().find(|session| session.session_id == request.session);
    let asking = match (refusal, asking) {
        (None, Some(asking)) => asking,
        (refusal, _) => return Decision::nothing(FactorAnswer::Refused(refusal.unwrap_or(Refusal::CredentialRevoked))),
    };
    let asked = Asked { state, asking, attempt: request.attempt, now_ms, event };
    match &request.change {
        FactorChange::Begin { secret, verified_hash } => asked.begin(secret, verified_hash),
        FactorChange::Confirm { code, recovery_codes } => asked.confirm(code, recovery_codes),
        FactorChange::Remove { code } => asked.remove(code),
        FactorChange::NewRecoveryCodes { code, recovery_codes } => asked.replace_recovery_codes(code, recovery_codes),
        FactorChange::StepUp { code } => asked.step_up(code),
    }
}

/// What a change of a user's own second factor is decided from.
#[derive(Clone, Copy)]
struct Asked<'a> {
    state: &'a UserState,
    /// The session that asks.
    asking: &'a Session,
    attempt: AttemptId,
    now_ms: i64,
    event: &'a AuditEvent,
}

impl Asked<'_> {
    fn begin(self, secret: &TotpSecret, verified_hash: &str) -> Decision<FactorAnswer> {
        let user = &self.state.user;
        let answer = if enabled(self.state).is_some() {
            FactorAnswer::SetUp
        } else if user.reset_ends_at_ms.is_some() {
            FactorAnswer::PasswordChangeRequired
        } else if user.password_hash != verified_hash {
            FactorAnswer::PasswordReplaced
        } else if verified_hash.is_empty() && !self.asking.proved_at_ms().is_some_and(|at_ms| is_recent(at_ms, self.now_ms)) {
            FactorAnswer::RecentSignInRequired
        } else {
            let factor = SecondFactor::begin(secret.clone(), self.now_ms);
            return self.done(false, FactorRecordChange::Put(factor), Vec::new(), self.event.clone());
        };
        Decision::nothing(answer)
    }

    fn confirm(self, code: &PresentedCode, recovery_codes: &[[u8; 32]]) -> Decision<FactorAnswer> {
        let Some(factor) = &self.state.second_factor else { return Decision::nothing(FactorAnswer::NotSetUp) };
        if factor.enabled_at_ms.is_some() {
            return self.repeated(factor).unwrap_or(Decision::nothing(FactorAnswer::SetUp));
        }
        if !factor.may_be_confirmed(self.now_ms) {
            return Decision::nothing(FactorAnswer::NotSetUp);
        }
        self.proved(factor, code, |factor, _| {
            let (enabled_at_ms, recovery_codes) = (Some(self.now_ms), recovery_codes.to_vec());
            FactorRecordChange::Put(SecondFactor { enabled_at_ms, recovery_codes, ..factor })
        })
    }

    fn remove(self, code: &PresentedCode) -> Decision<FactorAnswer> {
        let Some(factor) = enabled(self.state) else { return Decision::nothing(FactorAnswer::NotSetUp) };
        self.proved(factor, code, |_, _| FactorRecordChange::Removed)
    }

    fn replace_recovery_codes(self, code: &PresentedCode, recovery_codes: &[[u8; 32]]) -> Decision<FactorAnswer> {
        let Some(factor) = enabled(self.state) else { return Decision::nothing(FactorAnswer::NotSetUp) };
        if let Some(repeated) = self.repeated(factor) {
            return repeated;
        }
        self.proved(factor, code, |factor, _| FactorRecordChange::Put(SecondFactor { recovery_codes: recovery_codes.to_vec(), ..factor }))
    }

    fn step_up(self, code: &PresentedCode) -> Decision<FactorAnswer> {
        let Some(factor) = enabled(self.state) else { return Decision::nothing(FactorAnswer::NotSetUp) };
        if let Some(repeated) = self.repeated(factor) {
            return repeated;
        }
        self.proved(factor, code, |factor, _| FactorRecordChange::Put(factor))
    }

    /// The answer to a repetition of what happened, whose answer was lost on its way from the store.
    fn repeated(self, factor: &SecondFactor) -> Option<Decision<FactorAnswer>> {
        let at_ms = self.asking.second_factor_at_ms.filter(|_| factor.last_attempt == Some(self.attempt))?;
        Some(Decision::nothing(FactorAnswer::Done { at_ms, by_recovery_code: false }))
    }

    /// Compares a code; when it is right, `change` says what becomes of the factor.
    fn proved(
        self,
        factor: &SecondFactor,
        code: &PresentedCode,
        change: impl FnOnce(SecondFactor, bool) -> FactorRecordChange,
    ) -> Decision<FactorAnswer> {
        match factor.prove(code, self.now_ms) {
            Proof::Proved { factor, by_recovery_code } => {
                let event = told(self.event, &factor, by_recovery_code);
                let change = change(SecondFactor { last_attempt: Some(self.attempt), ..factor }, by_recovery_code);
                let put = match &change {
                    FactorRecordChange::Put(_) => vec![Session { second_factor_at_ms: Some(self.now_ms), ..self.asking.clone() }],
                    // What was proved by it counts no longer, in any session.
                    FactorRecordChange::Removed => {
                        let proved = self.state.sessions.iter().filter(|session| session.second_factor_at_ms.is_some());
                        proved.map(|session| Session { second_factor_at_ms: None, ..session.clone() }).collect()
                    }
                };
                self.done(by_recovery_code, change, put, event)
            }
            Proof::Wrong(factor) => Decision::change(FactorAnswer::Wrong, counted(factor)),
            Proof::Wait(wait) => Decision::nothing(FactorAnswer::Wait(wait)),
        }
    }

    fn done(self, by_recovery_code: bool, change: FactorRecordChange, put: Vec<Session>, event: AuditEvent) -> Decision<FactorAnswer> {
        let changes = UserChanges { second_factor: Some(change), put, event: Some(event), ..UserChanges::default() };
        Decision::change(FactorAnswer::Done { at_ms: self.now_ms, by_recovery_code }, changes)
    }
}

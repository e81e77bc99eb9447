//! A user's state and password: who may sign in, and what ends when that changes. Pure rules; stores compare what they decide from, and
//! write what they say.

use std::time::Duration;

use shared::ErrorReason;

use crate::access::Member;
use crate::ids::SessionId;
use crate::second_factor::{self, SecondFactor};
use crate::session::{self, NewSession, Session, SessionLimits, SessionStart, Shown};
use crate::store::{AuditEvent, PresentedCredential, Refusal, Revocation, Revoked, UserChange};
use crate::user::{Role, UserRecord};

/// How long an operator's one-time password is good.
pub const ONE_TIME_PASSWORD_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A user with all that decides about their sessions, as one step reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserState {
    /// The user.
    pub user: UserRecord,
    /// Their place in their own account.
    pub member: Member,
    /// Their sessions, those past their time too, in any order.
    pub sessions: Vec<Session>,
    /// Their second factor, confirmed or not.
    pub second_factor: Option<SecondFactor>,
}

impl UserState {
    /// By either row: a release before locks may have written one of them anew without what it doesn't know.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.user.disabled || self.member.disabled
    }

    /// The same.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.user.locked || self.member.locked
    }
}

/// What is written in the same step, if nothing has changed since it was decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserChanges {
    /// Takes the place of the user.
    pub user: Option<UserRecord>,
    /// Takes the place of the member.
    pub member: Option<Member>,
    /// Sessions that are new, or take the place of theirs.
    pub put: Vec<Session>,
    /// Sessions that are removed.
    pub ended: Vec<SessionId>,
    /// What becomes of the second factor.
    pub second_factor: Option<FactorRecordChange>,
    /// What is told to those who must end what runs.
    pub revocations: Vec<Revocation>,
    /// What is recorded.
    pub event: Option<AuditEvent>,
}

/// What becomes of a user's second factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactorRecordChange {
    /// This takes its place.
    Put(SecondFactor),
    /// There is none any more.
    Removed,
}

/// What a rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<T> {
    /// The answer, once the changes are written.
    pub answer: T,
    /// `None`: nothing is written.
    pub changes: Option<UserChanges>,
}

impl<T> Decision<T> {
    /// Nothing is written.
    #[must_use]
    pub fn nothing(answer: T) -> Self {
        Self { answer, changes: None }
    }

    /// These changes are.
    #[must_use]
    pub fn change(answer: T, changes: UserChanges) -> Self {
        let is_none = changes == UserChanges::default();
        Self { answer, changes: if is_none { None } else { Some(changes) } }
    }

    /// The same changes, with another answer.
    #[must_use]
    pub fn map<U>(self, answer: impl FnOnce(T) -> U) -> Decision<U> {
        Decision { answer: answer(self.answer), changes: self.changes }
    }
}

impl UserChanges {
    pub(crate) fn revoke(&mut self, state: &UserState, revoked: Revoked, reason: ErrorReason) {
        self.revocations.push(Revocation { user_id: state.user.user_id.clone(), revoked, reason });
    }

    /// Ends all sessions, and tokens that have none.
    pub(crate) fn end_all_tokens(&mut self, state: &UserState, now_ms: i64) {
        self.ended = state.sessions.iter().map(|session| session.session_id.clone()).collect();
        // Now, also when that is earlier than before: a clock that jumped ahead must not shut a user out until the time comes.
        let password_change_required = self.user.as_ref().unwrap_or(&state.user).reset_ends_at_ms.is_some();
        let member = self.member.unwrap_or(state.member);
        self.member = Some(Member { password_change_required, tokens_valid_from_ms: now_ms, ..member });
    }
}

/// What an operator makes of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewState {
    /// Whether all of the user's credentials are refused.
    Disabled(bool),
    /// Whether the user can't sign in.
    Locked(bool),
}

impl NewState {
    /// Whether it takes something away from the user.
    fn restricts(self) -> bool {
        matches!(self, Self::Disabled(true) | Self::Locked(true))
    }
}

/// Why an operator, as the same step reads them, may not make this of a user. Whoever disables or locks another must still be in force
/// themselves. So there is always an operator left: of two who do it to each other at once, one is.
fn refusal_to(operator: &UserState, user: &UserState, restricts: bool) -> Option<Refusal> {
    if operator.is_disabled() {
        Some(Refusal::UserDisabled)
    } else if operator.is_locked() {
        Some(Refusal::UserLocked)
    } else if operator.member.role != Role::Admin {
        Some(Refusal::RoleRequired)
    } else {
        (restricts && operator.user.user_id == user.user.user_id).then_some(Refusal::OtherOperatorRequired)
    }
}

/// Disables, enables, locks or unlocks. What is so already changes nothing. `asked_by`: the operator who asks; `None`: a command on the
/// store's host.
#[must_use]
pub fn on_new_state(
    state: &UserState,
    new: NewState,
    asked_by: Option<&UserState>,
    reason: &str,
    now_ms: i64,
    event: &AuditEvent,
) -> Decision<UserChange> {
    let refused = asked_by.and_then(|operator| refusal_to(operator, state, new.restricts()));
    if refused.is_some() {
        return Decision::nothing(UserChange { user: state.user.clone(), changed: false, refused });
    }
    let before = (state.is_disabled(), state.is_locked());
    let (disabled, locked) = match new {
        NewState::Disabled(disabled) => (disabled, before.1),
        NewState::Locked(locked) => (before.0, locked),
    };
    let rows = [(state.user.disabled, state.user.locked), (state.member.disabled, state.member.locked)];
    if rows == [(disabled, locked); 2] {
        return Decision::nothing(UserChange { user: state.user.clone(), changed: false, refused: None });
    }
    let state_reason = match new {
        NewState::Disabled(true) | NewState::Locked(true) => reason.to_owned(),
        NewState::Disabled(false) | NewState::Locked(false) if disabled || locked => state.user.state_reason.clone(),
        NewState::Disabled(false) | NewState::Locked(false) => String::new(),
    };
    let user = UserRecord { disabled, locked, state_reason, ..state.user.clone() };
    let member = Member { disabled, locked, ..state.member };
    let mut changes = UserChanges { user: Some(user.clone()), member: Some(member), ..UserChanges::default() };
    changes.end_all_tokens(state, now_ms);
    match new {
        NewState::Disabled(true) => changes.revoke(state, Revoked::Everything, ErrorReason::UserDisabled),
        NewState::Locked(true) => changes.revoke(state, Revoked::Tokens, ErrorReason::UserLocked),
        NewState::Disabled(false) | NewState::Locked(false) => {}
    }
    changes.event = Some(event.clone());
    Decision::change(UserChange { user, changed: true, refused: None }, changes)
}

/// Turns a user's second factor off, for an operator who is not the user, and ends all sessions. `asked_by` as in [`on_new_state`]. Where
/// there is none, nothing changes.
#[must_use]
pub fn on_reset_second_factor(state: &UserState, asked_by: Option<&UserState>, now_ms: i64, event: &AuditEvent) -> Decision<UserChange> {
    let user = state.user.clone();
    let refused = asked_by.and_then(|operator| refusal_to(operator, state, true));
    if refused.is_some() || state.second_factor.is_none() {
        return Decision::nothing(UserChange { user, changed: false, refused });
    }
    let mut changes = UserChanges { second_factor: Some(FactorRecordChange::Removed), ..UserChanges::default() };
    changes.end_all_tokens(state, now_ms);
    changes.revoke(state, Revoked::Tokens, ErrorReason::CredentialRevoked);
    changes.event = Some(event.clone());
    Decision::change(UserChange { user, changed: true, refused: None }, changes)
}

/// Puts a password's new hash in the place of an outdated one. Nothing else changes: it is the same password.
#[must_use]
pub fn on_rehash(state: &UserState, old: &str, new: &str) -> Decision<()> {
    if state.user.password_hash != old {
        return Decision::nothing(());
    }
    let user = UserRecord { password_hash: new.to_owned(), ..state.user.clone() };
    Decision::change((), UserChanges { user: Some(user), ..UserChanges::default() })
}

/// What becomes of a change of one's password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordChange {
    /// It is changed, and so many other sessions are ended.
    Changed {
        /// How many.
        ended_sessions: u32,
    },
    /// The credential that asked is no longer in force.
    Refused(Refusal),
    /// The password that was verified is no longer the user's. It may have been hashed anew: verify it again.
    PasswordReplaced,
    /// It is an operator's one-time password.
    PasswordChangeRequired,
}

/// Changes a password for whom the one with this hash was verified, and ends all sessions but that of the access token that asks.
#[must_use]
pub fn on_change_password(
    state: &UserState,
    asked_by: &PresentedCredential,
    verified_hash: &str,
    new_hash: &str,
    now_ms: i64,
    event: &AuditEvent,
) -> Decision<PasswordChange> {
    let user = &state.user;
    let refused = |refusal| Decision::nothing(PasswordChange::Refused(refusal));
    if user.password_hash == new_hash {
        // A repetition, whose answer was lost.
        return Decision::nothing(PasswordChange::Changed { ended_sessions: 0 });
    }
    if state.is_disabled() {
        return refused(Refusal::UserDisabled);
    }
    if state.is_locked() {
        return refused(Refusal::UserLocked);
    }
    let session = match asked_by {
        PresentedCredential::AccessToken { session, .. } => session.as_ref(),
        PresentedCredential::ApiKey { .. } => return refused(Refusal::CredentialUnknown),
    };
    if let Some(refusal) = session.and_then(|session| session::refusal_of(state, session, now_ms)) {
        return refused(refusal);
    }
    if user.reset_ends_at_ms.is_some() {
        return Decision::nothing(PasswordChange::PasswordChangeRequired);
    }
    if user.password_hash != verified_hash {
        return Decision::nothing(PasswordChange::PasswordReplaced);
    }
    let is_current = |one: &&Session| session == Some(&one.session_id);
    let live = session::live(state, now_ms);
    let others: Vec<_> = live.iter().filter(|one| !is_current(one)).map(|one| one.session_id.clone()).collect();
    let mut changes = UserChanges::default();
    // Tokens without a session end too, and the current session goes on beyond that.
    changes.end_all_tokens(state, now_ms);
    for one in &others {
        changes.revoke(state, Revoked::Session(one.clone()), ErrorReason::CredentialRevoked);
    }
    if let Some(current) = state.sessions.iter().find(is_current) {
        changes.ended.retain(|ended| *ended != current.session_id);
        changes.put.push(Session { tokens_valid_from_ms: now_ms, ..current.clone() });
    }
    changes.user = Some(UserRecord { password_hash: new_hash.to_owned(), ..user.clone() });
    changes.event = Some(event.clone());
    let ended_sessions = u32::try_from(others.len()).unwrap_or(u32::MAX);
    Decision::change(PasswordChange::Changed { ended_sessions }, changes)
}

/// Puts an operator's one-time password in the place of the user's own, and ends all sessions.
#[must_use]
pub fn on_reset_password(state: &UserState, one_time_hash: &str, now_ms: i64, event: &AuditEvent) -> Decision<UserRecord> {
    if state.user.password_hash == one_time_hash {
        // A repetition, whose answer was lost.
        return Decision::nothing(state.user.clone());
    }
    let life_ms = i64::try_from(ONE_TIME_PASSWORD_LIFE.as_millis()).unwrap_or(i64::MAX);
    let (password_hash, reset_ends_at_ms) = (one_time_hash.to_owned(), Some(now_ms.saturating_add(life_ms)));
    let user = UserRecord { password_hash, reset_ends_at_ms, ..state.user.clone() };
    let mut changes = UserChanges { user: Some(user.clone()), ..UserChanges::default() };
    changes.end_all_tokens(state, now_ms);
    changes.revoke(state, Revoked::Tokens, ErrorReason::CredentialRevoked);
    changes.event = Some(event.clone());
    Decision::change(user, changes)
}

/// Puts a password of the user's choice in the place of the one-time password that was shown, and begins a session.
#[must_use]
pub fn on_complete_reset(
    state: &UserState,
    shown: Shown<'_>,
    new_hash: &str,
    new: &NewSession,
    limits: SessionLimits,
    now_ms: i64,
    event: &AuditEvent,
) -> Decision<SessionStart> {
    if let Some(begun) = session::begun_before(state, new) {
        return begun;
    }
    let user = &state.user;
    let is_open = user.reset_ends_at_ms.is_some_and(|ends_at_ms| now_ms < ends_at_ms);
    if state.is_disabled() || state.is_locked() || !is_open || user.password_hash != shown.verified_hash {
        return Decision::nothing(SessionStart::Refused);
    }
    let (proved, event) = match second_factor::at_sign_in(state, shown.code, now_ms, event) {
        Ok(proved) => proved,
        Err(not_begun) => return *not_begun,
    };
    let user = UserRecord { password_hash: new_hash.to_owned(), reset_ends_at_ms: None, ..user.clone() };
    let member = Member { password_change_required: false, ..state.member };
    session::begin(state, new, limits, now_ms, &event, UserChanges { user: Some(user), member: Some(member), ..proved })
}

#[cfg(test)]
pub(crate) mod test_user;
#[cfg(test)]
mod tests;

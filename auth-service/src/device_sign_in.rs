//! Sign-ins of devices without a browser (RFC 8628): how one begins, is approved or denied, and becomes a session. Pure rules; stores
//! compare what they decide from, and write what they say.
//!
//! A device code is good once. Asked with again before the device's next question is due, it changes nothing: a device may have asked
//! twice. From then on it ends the session that it began: either the answer was lost, and nobody has the session's tokens, or two have the
//! code, and nobody knows which of them was meant. The device begins again.

mod codes;

use std::net::IpAddr;
use std::time::Duration;

pub use self::codes::{DeviceCode, UserCode};
use crate::ids::{SessionId, UserId};
use crate::session::{self, NewSession, Session, SessionLimits, SessionStart, SignInMethod};
use crate::store::{AuditEvent, Refusal};
use crate::token_scopes::TokenScopes;
use crate::user_state::{Decision, UserChanges, UserState};

/// How long a sign-in is open.
pub const LIFE: Duration = Duration::from_secs(600);
/// How long a device waits between two questions, unless it was told to wait longer.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// How much longer it waits once it asked too early.
pub const SLOWER_BY: Duration = Duration::from_secs(5);
/// How much too early a question may come: on its way it may have been quicker than the one before.
const EARLY_BY: Duration = Duration::from_secs(1);
/// Sign-ins that are kept at a time, whoever began them.
pub const MAX_OPEN: u32 = 10_000;

/// The sign-in of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSignIn {
    /// What a person types to approve it.
    pub user_code: UserCode,
    /// SHA-256 of what the device asks with.
    pub device_hash: [u8; 32],
    /// What the device calls itself.
    pub client: String,
    /// Where it asked from; `None`: not known.
    pub address: Option<IpAddr>,
    /// What its access tokens are to be used for.
    pub scopes: TokenScopes,
    /// When it asked.
    pub requested_at_ms: i64,
    /// When it is over, whatever became of it.
    pub ends_at_ms: i64,
    /// How long the device waits between two questions.
    pub interval: Duration,
    /// When it last asked what became of it.
    pub asked_at_ms: Option<i64>,
    /// What became of it.
    pub state: DeviceState,
}

/// What became of a sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceState {
    /// Nobody has answered.
    Open,
    /// Somebody approved it.
    Approved(Approval),
    /// Somebody denied it.
    Denied {
        /// Who.
        by: UserId,
    },
    /// It has become a session.
    Used {
        /// Whose.
        user_id: UserId,
        /// Which.
        session_id: SessionId,
        /// When.
        at_ms: i64,
    },
}

/// That somebody approved a sign-in. It counts while all of this is as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Who.
    pub user_id: UserId,
    /// In which session.
    pub session_id: SessionId,
    /// The member's, as it was: whatever ends all tokens changes it.
    pub tokens_valid_from_ms: i64,
}

/// A sign-in that is to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDeviceSignIn {
    /// New, random.
    pub user_code: UserCode,
    /// As in [`DeviceSignIn`].
    pub device_hash: [u8; 32],
    /// As in [`DeviceSignIn`].
    pub client: String,
    /// As in [`DeviceSignIn`].
    pub address: Option<IpAddr>,
    /// As in [`DeviceSignIn`].
    pub scopes: TokenScopes,
}

/// What becomes of a [`NewDeviceSignIn`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "made once a call and taken apart at once; a box would cost each call an allocation")]
pub enum DeviceStart {
    /// It has begun.
    Begun(DeviceSignIn),
    /// Another one has one of its codes: draw others.
    CodeTaken,
    /// There are as many as there may be.
    Full {
        /// When the first of them is over.
        retry_after: Duration,
    },
}

/// What a device that asks is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceQuestion {
    /// Nobody has answered.
    Pending {
        /// How long to wait until the next question.
        wait: Duration,
    },
    /// Nobody has answered, and the question came too early.
    TooEarly {
        /// How long to wait from now on.
        wait: Duration,
    },
    /// It was denied.
    Denied,
    /// It is over.
    Over,
    /// This user approved it: whether that counts, and did nothing yet, is decided with their rights.
    Approved(UserId),
}

/// What becomes of a device's sign-in that was approved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "made once a call and taken apart at once; a box would cost each call an allocation")]
pub enum DeviceExchange {
    /// Its session has begun.
    Begun(Session),
    /// It was used, or is past its time.
    Over,
    /// The approval no longer counts.
    ApprovalEnded,
}

/// Why somebody's answer is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerRefusal {
    /// No sign-in that they can answer has the code.
    Unknown,
    /// They aren't in force.
    Refused(Refusal),
}

/// What a rule on a sign-in says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceDecision<T> {
    /// The answer, once what follows is written.
    pub answer: T,
    /// Takes the place of the sign-in.
    pub sign_in: Option<DeviceSignIn>,
    /// What changes with it of the user.
    pub changes: Option<UserChanges>,
}

impl<T> DeviceDecision<T> {
    fn nothing(answer: T) -> Self {
        Self { answer, sign_in: None, changes: None }
    }
}

impl DeviceSignIn {
    /// Whether it is past its time.
    #[must_use]
    pub fn is_over(&self, now_ms: i64) -> bool {
        self.ends_at_ms <= now_ms
    }

    /// Whether a user can answer it: nobody has yet, or the user themselves, and it has not become a session.
    #[must_use]
    pub fn can_be_answered_by(&self, user: &UserId) -> bool {
        match &self.state {
            DeviceState::Open => true,
            DeviceState::Approved(approval) => approval.user_id == *user,
            DeviceState::Denied { .. } | DeviceState::Used { .. } => false,
        }
    }

    /// Whether the next question after one is not due yet. In both directions, should the clock have gone back.
    fn is_early(&self, since_ms: i64, now_ms: i64) -> bool {
        u128::from(now_ms.abs_diff(since_ms)) < self.interval.saturating_sub(EARLY_BY).as_millis()
    }
}

/// Begins a sign-in. `kept`: how many there are, and when the first of them is over.
#[must_use]
pub fn on_begin(new: &NewDeviceSignIn, kept: u32, first_ends_at_ms: Option<i64>, now_ms: i64) -> DeviceStart {
    if kept >= MAX_OPEN {
        let left_ms = first_ends_at_ms.unwrap_or(now_ms).saturating_sub(now_ms);
        return DeviceStart::Full { retry_after: Duration::from_millis(u64::try_from(left_ms).unwrap_or(0)).min(LIFE) };
    }
    let NewDeviceSignIn { user_code, device_hash, client, address, scopes } = new.clone();
    DeviceStart::Begun(DeviceSignIn {
        user_code,
        device_hash,
        client,
        address,
        scopes,
        requested_at_ms: now_ms,
        ends_at_ms: now_ms.saturating_add(i64::try_from(LIFE.as_millis()).unwrap_or(i64::MAX)),
        interval: INTERVAL,
        asked_at_ms: None,
        state: DeviceState::Open,
    })
}

/// A device asks what became of its sign-in; what takes the sign-in's place, if anything.
#[must_use]
pub fn on_question(sign_in: &DeviceSignIn, now_ms: i64) -> (DeviceQuestion, Option<DeviceSignIn>) {
    if sign_in.is_over(now_ms) {
        return (DeviceQuestion::Over, None);
    }
    match &sign_in.state {
        DeviceState::Open => {
            let asked = DeviceSignIn { asked_at_ms: Some(now_ms), ..sign_in.clone() };
            if sign_in.asked_at_ms.is_some_and(|before_ms| sign_in.is_early(before_ms, now_ms)) {
                if sign_in.interval >= LIFE {
                    // It can't be slower: whoever asks on and on has nothing more written for that.
                    return (DeviceQuestion::TooEarly { wait: LIFE }, None);
                }
                let wait = sign_in.interval.saturating_add(SLOWER_BY).min(LIFE);
                (DeviceQuestion::TooEarly { wait }, Some(DeviceSignIn { interval: wait, ..asked }))
            } else {
                (DeviceQuestion::Pending { wait: sign_in.interval }, Some(asked))
            }
        }
        DeviceState::Denied { .. } => (DeviceQuestion::Denied, None),
        DeviceState::Approved(Approval { user_id, .. }) | DeviceState::Used { user_id, .. } => {
            (DeviceQuestion::Approved(user_id.clone()), None)
        }
    }
}

/// Why a user can approve nothing in this session, or what they approved doesn't count: what ends tokens ends that too.
fn refusal_of(state: &UserState, session: &SessionId, now_ms: i64) -> Option<Refusal> {
    if state.is_disabled() {
        return Some(Refusal::UserDisabled);
    }
    if state.is_locked() {
        return Some(Refusal::UserLocked);
    }
    let reset = state.user.reset_ends_at_ms.map(|_| Refusal::PasswordChangeRequired);
    reset.or_else(|| session::refusal_of(state, session, now_ms))
}

/// Approves or denies a sign-in, as this user in this session. A denial counts until the device has its session.
#[must_use]
pub fn on_answer(
    sign_in: Option<&DeviceSignIn>,
    user: &UserState,
    session: &SessionId,
    approves: bool,
    now_ms: i64,
    event: &AuditEvent,
) -> DeviceDecision<Result<(), AnswerRefusal>> {
    let refused = |refusal| DeviceDecision::nothing(Err(refusal));
    if let Some(refusal) = refusal_of(user, session, now_ms) {
        return refused(AnswerRefusal::Refused(refusal));
    }
    let id = &user.user.user_id;
    let Some(sign_in) = sign_in.filter(|sign_in| !sign_in.is_over(now_ms)) else { return refused(AnswerRefusal::Unknown) };
    let state = if approves {
        let tokens_valid_from_ms = user.member.tokens_valid_from_ms;
        DeviceState::Approved(Approval { user_id: id.clone(), session_id: session.clone(), tokens_valid_from_ms })
    } else {
        DeviceState::Denied { by: id.clone() }
    };
    if sign_in.state == state {
        // A repetition, whose answer was lost.
        return DeviceDecision::nothing(Ok(()));
    }
    if !sign_in.can_be_answered_by(id) {
        return refused(AnswerRefusal::Unknown);
    }
    let event = AuditEvent { detail: sign_in.client.clone(), ..event.clone() };
    DeviceDecision {
        answer: Ok(()),
        sign_in: Some(DeviceSignIn { state, ..sign_in.clone() }),
        changes: Some(UserChanges { event: Some(event), ..UserChanges::default() }),
    }
}

/// Begins the session of a device whose sign-in this user approved.
#[must_use]
pub fn on_exchange(
    sign_in: Option<&DeviceSignIn>,
    user: &UserState,
    new: &NewSession,
    limits: SessionLimits,
    now_ms: i64,
    event: &AuditEvent,
) -> DeviceDecision<DeviceExchange> {
    if let Some(Decision { answer: SessionStart::Begun(session), .. }) = session::begun_before(user, new) {
        return DeviceDecision::nothing(DeviceExchange::Begun(session));
    }
    let over = DeviceDecision::nothing(DeviceExchange::Over);
    let id = &user.user.user_id;
    let Some(sign_in) = sign_in.filter(|sign_in| !sign_in.is_over(now_ms)) else { return over };
    match &sign_in.state {
        DeviceState::Approved(approval) if approval.user_id == *id => {
            let is_as_it_was = approval.tokens_valid_from_ms == user.member.tokens_valid_from_ms;
            if !is_as_it_was || refusal_of(user, &approval.session_id, now_ms).is_some() {
                return DeviceDecision::nothing(DeviceExchange::ApprovalEnded);
            }
            // What was approved, whatever the device says now.
            let (client, scopes) = (sign_in.client.clone(), sign_in.scopes.clone());
            let new = NewSession { client, scopes, method: SignInMethod::Device, ..new.clone() };
            let Decision { answer, changes } = session::begin(user, &new, limits, now_ms, event, UserChanges::default());
            let SessionStart::Begun(session) = answer else { return over };
            let state = DeviceState::Used { user_id: id.clone(), session_id: session.session_id.clone(), at_ms: now_ms };
            let sign_in = Some(DeviceSignIn { state, ..sign_in.clone() });
            DeviceDecision { answer: DeviceExchange::Begun(session), sign_in, changes }
        }
        DeviceState::Used { user_id, session_id, at_ms } if user_id == id && !sign_in.is_early(*at_ms, now_ms) => {
            let failed = event.clone().failed(shared::ErrorReason::DeviceCodeExpired);
            let Decision { changes, .. } = session::on_end(user, session_id, now_ms, &failed);
            DeviceDecision { changes, ..over }
        }
        DeviceState::Open | DeviceState::Approved(_) | DeviceState::Denied { .. } | DeviceState::Used { .. } => over,
    }
}

#[cfg(test)]
mod tests;

//! Sessions: how one begins, is kept by refresh tokens, and ends. Pure rules; stores compare what they decide from, and write what they
//! say.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::time::Duration;

use shared::ErrorReason;

use crate::ids::SessionId;
use crate::second_factor::{self, PresentedCode};
use crate::store::{AuditEvent, Refusal, Revoked};
use crate::token_scopes::TokenScopes;
use crate::user_state::{Decision, UserChanges, UserState};

/// Sessions of one user that can be refreshed. With one more, the one unused for longest ends.
pub const MAX_SESSIONS: usize = 100;
/// How long after its rotation a refresh token is accepted once more: the answer to the first time may have been lost.
pub const ACCEPTED_AGAIN_FOR: Duration = Duration::from_secs(30);

/// A user signed in, somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub session_id: SessionId,
    /// When it began.
    pub created_at_ms: i64,
    /// When it was last refreshed, or begun.
    pub last_used_at_ms: i64,
    /// Until when it must be refreshed again, or it ends.
    pub refresh_expires_at_ms: i64,
    /// When it ends, however often it is refreshed.
    pub ends_at_ms: i64,
    /// The member's, as it was when the session began.
    pub tokens_valid_from_ms: i64,
    /// What the client called itself.
    pub client: String,
    /// Where it was begun or last refreshed from; `None`: not known.
    pub address: Option<IpAddr>,
    /// How it began.
    pub method: SignInMethod,
    /// What its access tokens may be used for.
    pub scopes: TokenScopes,
    /// SHA-256 of the secret that all of its refresh tokens have in common.
    pub family_hash: [u8; 32],
    /// SHA-256 of the refresh token in force.
    pub token_hash: [u8; 32],
    /// The one before it.
    pub previous: Option<PreviousToken>,
    /// When the second factor was last proved in it; `None`: never.
    pub second_factor_at_ms: Option<i64>,
}

/// A refresh token whose place another one took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreviousToken {
    /// SHA-256 of it.
    pub token_hash: [u8; 32],
    /// When the other one took its place.
    pub rotated_at_ms: i64,
    /// Whether it was accepted once more after that.
    pub accepted_again: bool,
}

/// How a session began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignInMethod {
    /// With user name and password.
    Password,
    /// With an issuer's identity.
    Issuer {
        /// The issuer's identifier.
        issuer: String,
        /// Who it is at the issuer.
        subject: String,
    },
    /// A device, approved by the user.
    Device,
}

impl Session {
    /// Whether it can still be refreshed, as far as times say.
    #[must_use]
    pub fn is_live(&self, now_ms: i64) -> bool {
        now_ms < self.refresh_expires_at_ms && now_ms < self.ends_at_ms
    }

    /// When it began by the user's own proof; `None`: a device's session, which somebody approved.
    #[must_use]
    pub fn proved_at_ms(&self) -> Option<i64> {
        (self.method != SignInMethod::Device).then_some(self.created_at_ms)
    }
}

/// A session to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// New, random.
    pub session_id: SessionId,
    /// As in [`Session`].
    pub family_hash: [u8; 32],
    /// SHA-256 of its first refresh token.
    pub token_hash: [u8; 32],
    /// As in [`Session`].
    pub client: String,
    /// As in [`Session`].
    pub address: Option<IpAddr>,
    /// As in [`Session`].
    pub method: SignInMethod,
    /// As in [`Session`].
    pub scopes: TokenScopes,
}

/// What somebody who signs in with a password has shown.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// The hash of the password, which was verified.
    pub verified_hash: &'a str,
    /// The second factor's code; `None`: none was sent. It counts where the user has a second factor.
    pub code: Option<&'a PresentedCode>,
}

impl<'a> Shown<'a> {
    /// A password alone.
    #[must_use]
    pub fn password(verified_hash: &'a str) -> Self {
        Self { verified_hash, code: None }
    }
}

/// How long sessions live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Without a refresh.
    pub idle: Duration,
    /// However often it is refreshed.
    pub lifetime: Duration,
}

/// What becomes of a sign-in, after its password was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "made once a call and taken apart at once; a box would cost each call an allocation")]
pub enum SessionStart {
    /// It has begun.
    Begun(Session),
    /// The user may not sign in.
    Refused,
    /// The password that was verified is no longer the user's. It may have been hashed anew: verify it again.
    PasswordReplaced,
    /// It is an operator's one-time password, which lets nobody in: another must be chosen with it.
    PasswordChangeRequired,
    /// The user has a second factor, and no code was shown.
    SecondFactorRequired,
    /// The code is wrong, or was used.
    SecondFactorWrong,
    /// Too many codes were wrong: none is compared for so long.
    SecondFactorWait(Duration),
}

/// A refresh token as it was shown, and what is to take its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// Whose it says it is.
    pub session_id: SessionId,
    /// SHA-256 of its family's secret.
    pub family_hash: [u8; 32],
    /// SHA-256 of it.
    pub token_hash: [u8; 32],
    /// SHA-256 of the one that takes its place.
    pub next_token_hash: [u8; 32],
    /// Whether several tabs of a browser show it at once, of which none knows what another was given. The one that takes its place is then
    /// derived from it, so that it is the same for all of them.
    pub is_shared: bool,
    /// Where it comes from.
    pub address: Option<IpAddr>,
}

/// What becomes of a [`Refresh`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "made once a call and taken apart at once; a box would cost each call an allocation")]
pub enum RefreshAnswer {
    /// The next token is in force.
    Rotated(Session),
    /// Nothing is given.
    Refused(RefreshRefusal),
}

/// Why a refresh token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshRefusal {
    /// The user is disabled.
    UserDisabled,
    /// The user is locked.
    UserLocked,
    /// An operator reset the password.
    PasswordChangeRequired,
    /// There is no such session, any more.
    Revoked,
    /// The session is past its time.
    Expired,
    /// It was never a token of the session: only its ids are right, which are no secrets.
    Invalid,
    /// It was a token of the session, and another one took its place: the session is ended.
    Reused,
}

/// Begins a session for whoever has shown what it takes.
#[must_use]
pub fn on_begin(
    state: &UserState,
    shown: Shown<'_>,
    new: &NewSession,
    limits: SessionLimits,
    now_ms: i64,
    event: &AuditEvent,
) -> Decision<SessionStart> {
    if let Some(begun) = begun_before(state, new) {
        return begun;
    }
    let user = &state.user;
    if state.is_disabled() || state.is_locked() {
        return Decision::nothing(SessionStart::Refused);
    }
    if user.password_hash != shown.verified_hash {
        return Decision::nothing(SessionStart::PasswordReplaced);
    }
    match user.reset_ends_at_ms {
        None => match second_factor::at_sign_in(state, shown.code, now_ms, event) {
            Ok((proved, event)) => begin(state, new, limits, now_ms, &event, proved),
            Err(not_begun) => *not_begun,
        },
        Some(ends_at_ms) if now_ms < ends_at_ms => Decision::nothing(SessionStart::PasswordChangeRequired),
        Some(_) => Decision::nothing(SessionStart::Refused),
    }
}

/// The answer to a repetition, whose first answer was lost.
pub(crate) fn begun_before(state: &UserState, new: &NewSession) -> Option<Decision<SessionStart>> {
    let same = state.sessions.iter().find(|session| session.session_id == new.session_id && session.token_hash == new.token_hash)?;
    Some(Decision::nothing(SessionStart::Begun(same.clone())))
}

/// Adds a session to what is changed with it. Those past their time go, and the one unused for longest if there are too many.
pub(crate) fn begin(
    state: &UserState,
    new: &NewSession,
    limits: SessionLimits,
    now_ms: i64,
    event: &AuditEvent,
    mut changes: UserChanges,
) -> Decision<SessionStart> {
    let NewSession { session_id, family_hash, token_hash, client, address, method, scopes } = new.clone();
    let ends_at_ms = after(now_ms, limits.lifetime);
    let session = Session {
        session_id,
        created_at_ms: now_ms,
        last_used_at_ms: now_ms,
        refresh_expires_at_ms: after(now_ms, limits.idle).min(ends_at_ms),
        ends_at_ms,
        tokens_valid_from_ms: changes.member.unwrap_or(state.member).tokens_valid_from_ms,
        client,
        address,
        method,
        scopes,
        family_hash,
        token_hash,
        previous: None,
        // A code that is used with it was just proved.
        second_factor_at_ms: changes.second_factor.is_some().then_some(now_ms),
    };
    let mut live = drop_dead(state, now_ms, &mut changes);
    // The newest first; of two alike the same one in every store.
    live.sort_by_key(|session| Reverse((session.last_used_at_ms, session.created_at_ms, session.session_id.clone())));
    for evicted in live.into_iter().skip(MAX_SESSIONS - 1) {
        changes.ended.push(evicted.session_id.clone());
        changes.revoke(state, Revoked::Session(evicted.session_id.clone()), ErrorReason::CredentialRevoked);
    }
    changes.put.push(session.clone());
    changes.event = Some(event.clone().to_object(&session.session_id));
    Decision::change(SessionStart::Begun(session), changes)
}

/// Puts another refresh token in the place of the one that is shown, or says why not.
#[must_use]
pub fn on_refresh(state: &UserState, shown: &Refresh, limits: SessionLimits, now_ms: i64, event: &AuditEvent) -> Decision<RefreshAnswer> {
    let refused = |refusal| Decision::nothing(RefreshAnswer::Refused(refusal));
    let user = &state.user;
    if state.is_disabled() {
        return refused(RefreshRefusal::UserDisabled);
    }
    if state.is_locked() {
        return refused(RefreshRefusal::UserLocked);
    }
    if user.reset_ends_at_ms.is_some() {
        return refused(RefreshRefusal::PasswordChangeRequired);
    }
    let Some(session) = state.sessions.iter().find(|session| session.session_id == shown.session_id) else {
        return refused(RefreshRefusal::Revoked);
    };
    if session.family_hash != shown.family_hash {
        return refused(RefreshRefusal::Invalid);
    }
    let mut changes = UserChanges::default();
    let live = drop_dead(state, now_ms, &mut changes);
    if session.tokens_valid_from_ms != state.member.tokens_valid_from_ms {
        return Decision::change(RefreshAnswer::Refused(RefreshRefusal::Revoked), changes);
    }
    if !live.contains(&session) {
        return Decision::change(RefreshAnswer::Refused(RefreshRefusal::Expired), changes);
    }
    let was_just_rotated = session.previous.is_some_and(|previous| is_just_now(previous.rotated_at_ms, now_ms));
    // A repetition of what happened, whose answer was lost on its way from the store, or that another tab of the same browser has caused.
    let is_repetition = session.token_hash == shown.next_token_hash && (!shown.is_shared || was_just_rotated);
    // A tab may have asked before another one was answered: what took the place of its token isn't replaced so soon.
    let stays = shown.is_shared && session.token_hash == shown.token_hash && was_just_rotated;
    if is_repetition || stays {
        return Decision::nothing(RefreshAnswer::Rotated(session.clone()));
    }
    let rotated = PreviousToken { token_hash: shown.token_hash, rotated_at_ms: now_ms, accepted_again: false };
    let previous = if session.token_hash == shown.token_hash {
        rotated
    } else {
        match session.previous.filter(|previous| previous.token_hash == shown.token_hash && is_accepted_again(previous, now_ms)) {
            Some(previous) => PreviousToken { accepted_again: true, ..previous },
            None => {
                let event = event.clone().to_object(&session.session_id).failed(ErrorReason::RefreshTokenReused);
                end(state, &session.session_id, &mut changes);
                return Decision::change(RefreshAnswer::Refused(RefreshRefusal::Reused), UserChanges { event: Some(event), ..changes });
            }
        }
    };
    let session = Session {
        last_used_at_ms: now_ms,
        refresh_expires_at_ms: after(now_ms, limits.idle).min(session.ends_at_ms),
        address: shown.address,
        token_hash: shown.next_token_hash,
        previous: Some(previous),
        ..session.clone()
    };
    changes.put.push(session.clone());
    Decision::change(RefreshAnswer::Rotated(session), changes)
}

/// In both directions, should the clock have gone back.
fn is_accepted_again(previous: &PreviousToken, now_ms: i64) -> bool {
    !previous.accepted_again && is_just_now(previous.rotated_at_ms, now_ms)
}

fn is_just_now(at_ms: i64, now_ms: i64) -> bool {
    u128::from(now_ms.abs_diff(at_ms)) < ACCEPTED_AGAIN_FOR.as_millis()
}

/// Ends a session; whether it was there.
#[must_use]
pub fn on_end(state: &UserState, session_id: &SessionId, now_ms: i64, event: &AuditEvent) -> Decision<bool> {
    let mut changes = UserChanges::default();
    let live = drop_dead(state, now_ms, &mut changes);
    if !live.iter().any(|session| session.session_id == *session_id) {
        return Decision::nothing(false);
    }
    end(state, session_id, &mut changes);
    changes.event = Some(event.clone().to_object(session_id));
    Decision::change(true, changes)
}

/// Ends a session by one of its refresh tokens, whichever: possession is the authority.
#[must_use]
pub fn on_end_by_token(
    state: &UserState,
    session_id: &SessionId,
    family_hash: [u8; 32],
    now_ms: i64,
    event: &AuditEvent,
) -> Decision<bool> {
    let is_of_family = |session: &&Session| session.session_id == *session_id && session.family_hash == family_hash;
    match state.sessions.iter().find(is_of_family) {
        Some(_) => on_end(state, session_id, now_ms, event),
        None => Decision::nothing(false),
    }
}

/// Ends all of a user's sessions and tokens; how many sessions were live.
#[must_use]
pub fn on_end_all(state: &UserState, now_ms: i64, event: &AuditEvent) -> Decision<u32> {
    let live = live(state, now_ms).len();
    let mut changes = UserChanges::default();
    changes.end_all_tokens(state, now_ms);
    changes.revoke(state, Revoked::Tokens, ErrorReason::CredentialRevoked);
    changes.event = Some(event.clone());
    Decision::change(u32::try_from(live).unwrap_or(u32::MAX), changes)
}

/// A user's sessions that can be refreshed, the one used last first.
#[must_use]
pub fn live(state: &UserState, now_ms: i64) -> Vec<Session> {
    let mut live = drop_dead(state, now_ms, &mut UserChanges::default());
    live.sort_by_key(|session| Reverse((session.last_used_at_ms, session.created_at_ms, session.session_id.clone())));
    live.into_iter().cloned().collect()
}

/// Why a session of this id doesn't let anything be done now.
pub(crate) fn refusal_of(state: &UserState, session_id: &SessionId, now_ms: i64) -> Option<Refusal> {
    let session = state.sessions.iter().find(|session| session.session_id == *session_id);
    match session.filter(|session| session.tokens_valid_from_ms == state.member.tokens_valid_from_ms) {
        None => Some(Refusal::CredentialRevoked),
        Some(session) if !session.is_live(now_ms) => Some(Refusal::CredentialExpired),
        Some(_) => None,
    }
}

/// The sessions that count; the others are dropped with whatever else is changed. Their access tokens have ended before them, or are
/// refused by the member's row: nobody need be told.
fn drop_dead<'s>(state: &'s UserState, now_ms: i64, changes: &mut UserChanges) -> Vec<&'s Session> {
    let counts = |session: &&Session| session.is_live(now_ms) && session.tokens_valid_from_ms == state.member.tokens_valid_from_ms;
    let (live, dead): (Vec<_>, Vec<_>) = state.sessions.iter().partition(counts);
    changes.ended.extend(dead.into_iter().map(|session| session.session_id.clone()));
    live
}

fn end(state: &UserState, session_id: &SessionId, changes: &mut UserChanges) {
    changes.ended.push(session_id.clone());
    changes.revoke(state, Revoked::Session(session_id.clone()), ErrorReason::CredentialRevoked);
}

fn after(now_ms: i64, time: Duration) -> i64 {
    now_ms.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;

//! Identities: somebody at an issuer, who signs a user in. Pure rules; stores compare what they decide from, and write what they say.
//!
//! An identity is known by its issuer and subject, and never by its e-mail address: nobody here has verified ours, so whoever registers
//! somebody else's address would be linked to them.

use sha2::{Digest, Sha256};
use shared::ErrorReason;

use crate::ids::UserId;
use crate::second_factor;
use crate::session::{self, NewSession, Session, SessionLimits, SignInMethod};
use crate::store::{AuditEvent, PresentedCredential, Refusal, Revoked};
use crate::user_state::{Decision, UserChanges, UserState};

/// Identities of one user.
pub const MAX_IDENTITIES: usize = 10;

/// Somebody at an issuer, who signs a user in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The issuer's identifier.
    pub issuer: String,
    /// Who it is at the issuer.
    pub subject: String,
    /// What the issuer gave, for people alone; may be empty.
    pub email: String,
    /// When it was linked, by the store's clock.
    pub linked_at_ms: i64,
    /// The proof that it was linked by, so that a repetition whose answer was lost is told from another attempt.
    pub linked_by: [u8; 32],
}

/// SHA-256 of an issuer and a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdentityHash([u8; 32]);

impl IdentityHash {
    /// Of these. No two pairs have the same bytes: the issuer's length stands before it.
    #[must_use]
    pub fn of(issuer: &str, subject: &str) -> Self {
        let hash = Sha256::new().chain_update((issuer.len() as u64).to_be_bytes()).chain_update(issuer).chain_update(subject);
        Self(hash.finalize().into())
    }

    /// To be stored.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 32] {
        self.0
    }
}

/// What a proof leaves, so that it is good once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedProof {
    /// SHA-256 of the nonce, or of the signed part of the ID token.
    pub hash: [u8; 32],
    /// When it would be good for nothing anyway, in milliseconds since 1970.
    pub ends_at_ms: i64,
}

/// An identity that was proved just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvedIdentity {
    /// The issuer's identifier.
    pub issuer: String,
    /// Who it is at the issuer.
    pub subject: String,
    /// What the issuer gave, for people alone; may be empty.
    pub email: String,
    /// What the proof leaves.
    pub proof: UsedProof,
}

impl ProvedIdentity {
    /// What it is found by.
    #[must_use]
    pub fn hash(&self) -> IdentityHash {
        IdentityHash::of(&self.issuer, &self.subject)
    }

    /// The same, linked now.
    #[must_use]
    pub fn linked(&self, now_ms: i64) -> Identity {
        let Self { issuer, subject, email, proof } = self.clone();
        Identity { issuer, subject, email, linked_at_ms: now_ms, linked_by: proof.hash }
    }
}

/// What a step that decides about a proved identity reads beside the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whom the identity signs in.
    pub linked_to: Option<UserId>,
    /// Whether the proof was used before.
    pub is_used: bool,
}

/// What becomes of a sign-in with an identity of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "made once a call and taken apart at once; a box would cost each call an allocation")]
pub enum IssuerSessionStart {
    /// The session has begun.
    Begun(Session),
    /// The user may not sign in.
    Refused(Refusal),
    /// The identity doesn't sign this user in, any more.
    NotLinked,
    /// The proof was used before.
    ProofUsed,
}

/// Begins a session for whom an identity was proved.
#[must_use]
pub fn on_issuer_sign_in(
    state: &UserState,
    standing: &Standing,
    new: &NewSession,
    limits: SessionLimits,
    now_ms: i64,
    event: &AuditEvent,
) -> Decision<IssuerSessionStart> {
    let nothing = |answer| Decision::nothing(answer);
    if let Some(begun) = session::begun_before(state, new) {
        return begun.map(IssuerSessionStart::of);
    }
    if standing.is_used {
        return nothing(IssuerSessionStart::ProofUsed);
    }
    if standing.linked_to.as_ref() != Some(&state.user.user_id) {
        return nothing(IssuerSessionStart::NotLinked);
    }
    if let Some(refusal) = refusal_of_user(state) {
        return nothing(IssuerSessionStart::Refused(refusal));
    }
    session::begin(state, new, limits, now_ms, event, UserChanges::default()).map(IssuerSessionStart::of)
}

impl IssuerSessionStart {
    fn of(start: session::SessionStart) -> Self {
        match start {
            session::SessionStart::Begun(session) => Self::Begun(session),
            // Of passwords and second factors, which have no part in it.
            session::SessionStart::Refused
            | session::SessionStart::PasswordReplaced
            | session::SessionStart::PasswordChangeRequired
            | session::SessionStart::SecondFactorRequired
            | session::SessionStart::SecondFactorWrong
            | session::SessionStart::SecondFactorWait(_) => Self::NotLinked,
        }
    }
}

/// What keeps a user from signing in, however they do. A password that an operator reset shuts out whoever signs in elsewhere, too.
fn refusal_of_user(state: &UserState) -> Option<Refusal> {
    if state.is_disabled() {
        Some(Refusal::UserDisabled)
    } else if state.is_locked() {
        Some(Refusal::UserLocked)
    } else {
        let is_reset = state.user.reset_ends_at_ms.is_some() || state.member.password_change_required;
        is_reset.then_some(Refusal::PasswordChangeRequired)
    }
}

/// What becomes of the linking of an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkAnswer {
    /// It signs the user in from now on.
    Linked(Identity),
    /// Who asks is no longer in force.
    Refused(Refusal),
    /// The session began too long ago.
    RecentSignInRequired,
    /// The proof was used before.
    ProofUsed,
    /// It signs a user in already, or the user has one of this issuer.
    Taken,
    /// The user has as many as they may.
    TooMany,
}

/// Lets a proved identity sign a user in from now on.
#[must_use]
pub fn on_link(
    state: &UserState,
    identities: &[Identity],
    standing: &Standing,
    asked_by: &PresentedCredential,
    proved: &ProvedIdentity,
    now_ms: i64,
    event: &AuditEvent,
) -> Decision<LinkAnswer> {
    let nothing = |answer| Decision::nothing(answer);
    let session = match asker(state, asked_by, now_ms) {
        Ok(session) => session,
        Err(refusal) => return nothing(LinkAnswer::Refused(refusal)),
    };
    if standing.linked_to.as_ref() == Some(&state.user.user_id)
        && let Some(same) = identities.iter().find(|one| one.linked_by == proved.proof.hash && one.subject == proved.subject)
    {
        // A repetition, whose answer was lost.
        return nothing(LinkAnswer::Linked(same.clone()));
    }
    if standing.is_used {
        return nothing(LinkAnswer::ProofUsed);
    }
    if !session.is_some_and(|session| is_recent(state, session, now_ms)) {
        return nothing(LinkAnswer::RecentSignInRequired);
    }
    if standing.linked_to.is_some() || identities.iter().any(|one| one.issuer == proved.issuer) {
        return nothing(LinkAnswer::Taken);
    }
    if identities.len() >= MAX_IDENTITIES {
        return nothing(LinkAnswer::TooMany);
    }
    let changes = UserChanges { event: Some(event.clone()), ..UserChanges::default() };
    Decision::change(LinkAnswer::Linked(proved.linked(now_ms)), changes)
}

/// What becomes of the unlinking of an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnlinkAnswer {
    /// It signs the user in no longer, and so many sessions that it began have ended.
    Unlinked {
        /// How many.
        ended_sessions: u32,
    },
    /// Who asks is no longer in force.
    Refused(Refusal),
    /// The user has no such identity.
    NotFound,
    /// The user would have no way left to sign in.
    Last,
}

/// Takes an identity away from a user, and ends the sessions that it began, and those of devices, which it may have approved. `asked_by`:
/// the user's own credential; `None`: an operator asks. The last way to sign in stays for them too: a reset of the password gives another.
#[must_use]
pub fn on_unlink(
    state: &UserState,
    identities: &[Identity],
    asked_by: Option<&PresentedCredential>,
    (issuer, subject): (&str, &str),
    now_ms: i64,
    event: &AuditEvent,
) -> Decision<UnlinkAnswer> {
    if let Some(Err(refusal)) = asked_by.map(|asked_by| asker(state, asked_by, now_ms)) {
        return Decision::nothing(UnlinkAnswer::Refused(refusal));
    }
    if !identities.iter().any(|one| one.issuer == issuer && one.subject == subject) {
        return Decision::nothing(UnlinkAnswer::NotFound);
    }
    if state.user.password_hash.is_empty() && identities.len() == 1 {
        return Decision::nothing(UnlinkAnswer::Last);
    }
    let mut changes = UserChanges { event: Some(event.clone()), ..UserChanges::default() };
    let method = SignInMethod::Issuer { issuer: issuer.to_owned(), subject: subject.to_owned() };
    let mut ended_sessions = 0;
    // Devices too: whose sign-in was the approval is not known any more, and it may have been the identity's.
    let ends = |session: &&Session| session.method == method || session.method == SignInMethod::Device;
    for session in session::live(state, now_ms).iter().filter(ends) {
        changes.ended.push(session.session_id.clone());
        changes.revoke(state, Revoked::Session(session.session_id.clone()), ErrorReason::CredentialRevoked);
        ended_sessions += 1;
    }
    Decision::change(UnlinkAnswer::Unlinked { ended_sessions }, changes)
}

/// The session of an access token that asks, if it and its user are in force. `None`: the token has none.
fn asker<'s>(state: &'s UserState, asked_by: &PresentedCredential, now_ms: i64) -> Result<Option<&'s Session>, Refusal> {
    if state.is_disabled() {
        return Err(Refusal::UserDisabled);
    }
    if state.is_locked() {
        return Err(Refusal::UserLocked);
    }
    let PresentedCredential::AccessToken { session, .. } = asked_by else { return Err(Refusal::CredentialUnknown) };
    let Some(id) = session else { return Ok(None) };
    match session::refusal_of(state, id, now_ms) {
        Some(refusal) => Err(refusal),
        None => Ok(state.sessions.iter().find(|session| session.session_id == *id)),
    }
}

/// Whether whoever has the session proved a short while ago who they are. Of a user who has a second factor, that is what proves it: a link
/// signs in without one from then on.
fn is_recent(state: &UserState, session: &Session, now_ms: i64) -> bool {
    let began = session.proved_at_ms().filter(|_| !second_factor::is_enabled(state));
    [began, session.second_factor_at_ms].into_iter().flatten().any(|at_ms| second_factor::is_recent(at_ms, now_ms))
}

#[cfg(test)]
mod tests;

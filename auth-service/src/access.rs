//! Who may do what on an account.

use std::time::Duration;

use ipnet::IpNet;

use crate::hold::{Holder, Standing, Terms};
use crate::ids::{KeyId, UserId};
use crate::model_pattern::{FullName, ModelPattern};
use crate::networks;
use crate::organization::{Membership, Principal as PlaceOf};
use crate::second_factor;
use crate::store::{CheckRequest, Permission, PresentedCredential, Principal, Refusal, Scope};
use crate::user::Role;

/// Stands for all rights on an account: whoever changes one draws another. What was read together with it counts while it is the same.
///
/// It is random and no count: a store that lost its last step in a failover would count to the same value again, with other rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RightsVersion([u8; 8]);

impl RightsVersion {
    /// Draws a new one; never all zeros, which stand for any.
    pub fn draw() -> Result<Self, getrandom::Error> {
        let number = getrandom::u64()?;
        Ok(Self(number.max(1).to_le_bytes()))
    }

    /// As it is stored.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// To be stored.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        self.0
    }
}

/// The rights versions that rows were read with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RightsVersions {
    /// That of the account that is asked.
    pub account: RightsVersion,
    /// That of the user's own account, where another one is asked. `None`: they are the same, or a service account acts, which has none.
    pub home: Option<RightsVersion>,
}

/// An API key's part of what decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRights {
    /// Its id.
    pub key_id: KeyId,
    /// The number of the secret that was shown, from 1.
    pub secret_number: u32,
    /// Who acts when it is used.
    pub user_id: UserId,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The models that it may name. Empty: all.
    pub models: Vec<ModelPattern>,
    /// Networks that it may be used from. Empty: all.
    pub networks: Vec<IpNet>,
    /// When it, or the secret that was shown, ends, if ever.
    pub expires_at_ms: Option<i64>,
    /// When either was revoked.
    pub revoked_at_ms: Option<i64>,
}

/// A user's place in their own account: their state, whichever account they ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// What the user may do.
    pub role: Role,
    /// Whether all of the user's credentials are refused.
    pub disabled: bool,
    /// Whether the user's access tokens are refused.
    pub locked: bool,
    /// Whether an operator reset the password, and the user has chosen no other yet: whoever signs in elsewhere must wait for that too.
    pub password_change_required: bool,
    /// Access tokens without a session that were issued before it are no longer good, nor are sessions that began while it was another.
    pub tokens_valid_from_ms: i64,
}

impl Member {
    /// Whether a token without a session was issued before the user's tokens were made invalid.
    fn is_too_early(&self, issued_at_ms: i64) -> bool {
        // Whole seconds: a token's time of issue has no finer.
        issued_at_ms < self.tokens_valid_from_ms - self.tokens_valid_from_ms % 1000
    }
}

/// A session's part of what decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRights {
    /// The member's, as it was when the session began: whoever changes it ends all sessions. Releases before sessions do so too.
    pub tokens_valid_from_ms: i64,
    /// When it ends, unless it is refreshed before.
    pub ends_at_ms: i64,
    /// When it began.
    pub created_at_ms: i64,
    /// When the second factor was last proved in it; `None`: never.
    pub second_factor_at_ms: Option<i64>,
}

/// The rows that decide about a credential.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Of an API key: the key of the account that has this secret.
    pub key: Option<KeyRights>,
    /// Of an access token with a session: that session of its user.
    pub session: Option<SessionRights>,
    /// The state of the user that the credential names, from their own account. A service account has none.
    pub member: Option<Member>,
    /// Their place in the account that is asked, where it isn't their own.
    pub membership: Option<Membership>,
}

/// What an authenticated caller may do on an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// Who it is.
    pub principal: Principal,
    /// `None` for a service account.
    member: Option<Member>,
    /// `None` for an access token.
    key: Option<KeyRights>,
    /// `None` for an API key, and for a token without a session.
    session: Option<SessionRights>,
}

/// Finds out who calls.
pub fn authenticate(request: &CheckRequest, rows: Rows, now_ms: i64) -> Result<Rights, Refusal> {
    let Rows { key, session, member, membership } = rows;
    let (user_id, session_id, key) = match &request.credential {
        PresentedCredential::ApiKey { .. } => {
            let key = key.ok_or(Refusal::CredentialUnknown)?;
            if key.revoked_at_ms.is_some() {
                return Err(Refusal::CredentialRevoked);
            }
            if key.expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms <= now_ms) {
                return Err(Refusal::CredentialExpired);
            }
            (key.user_id.clone(), None, Some(key))
        }
        PresentedCredential::AccessToken { user_id, session, .. } => (user_id.clone(), session.clone(), None),
    };
    let is_own = request.account.is_own_of(&user_id);
    let membership = membership.filter(|_| !is_own);
    let member = member.filter(|_| !is_service_account(membership.as_ref()));
    let session = match (&key, &session_id, &member) {
        // What is wrong with the user is said first: their sessions are over because of it.
        (None, Some(_), Some(member)) if !member.disabled && !member.locked => Some(session_in_force(session, member, now_ms)?),
        _ => None,
    };
    match (&member, &membership) {
        // A user is always a member of their own account: without a row there, there is no such user.
        (None, _) if is_own && key.is_none() => return Err(Refusal::CredentialUnknown),
        (None, _) if is_own => return Err(Refusal::NotAMember),
        (_, None) if !is_own => return Err(Refusal::NotAMember),
        (None, Some(membership)) if !is_service_account(Some(membership)) => return Err(Refusal::NotAMember),
        // It never signs in.
        (None, _) if session_id.is_some() => return Err(Refusal::CredentialUnknown),
        _ => {}
    }
    let (key_id, key_secret) = key.as_ref().map_or((None, 0), |key| (Some(key.key_id.clone()), key.secret_number));
    let role = member.as_ref().map_or(Role::User, |member| member.role);
    let principal = Principal { user_id, role, key_id, key_secret, session_id, membership };
    Ok(Rights { principal, member, key, session })
}

fn is_service_account(membership: Option<&Membership>) -> bool {
    membership.is_some_and(|membership| matches!(membership.principal, PlaceOf::ServiceAccount { .. }))
}

/// A session that a token names, if it is there and not over.
fn session_in_force(session: Option<SessionRights>, member: &Member, now_ms: i64) -> Result<SessionRights, Refusal> {
    let session = session.filter(|session| session.tokens_valid_from_ms == member.tokens_valid_from_ms);
    let session = session.ok_or(Refusal::CredentialRevoked)?;
    if session.ends_at_ms <= now_ms { Err(Refusal::CredentialExpired) } else { Ok(session) }
}

impl Rights {
    /// Why they don't suffice, apart from the time at which a key or a session ends.
    #[must_use]
    pub fn refusal(&self, request: &CheckRequest) -> Option<Refusal> {
        let Permission { scope, admin, model, .. } = &request.permission;
        if let Some(refusal) = self.standing(&request.credential) {
            return Some(refusal);
        }
        if let Some(key) = &self.key
            && !networks::allow(&key.networks, request.caller_address)
        {
            return Some(Refusal::NetworkNotAllowed);
        }
        if *admin && self.principal.role != Role::Admin {
            return Some(Refusal::RoleRequired);
        }
        let key = self.key.as_ref()?;
        if !key.scopes.contains(scope) {
            return Some(Refusal::ScopeRequired);
        }
        let allowed = model.is_empty() || self.allow(model);
        (!allowed).then_some(Refusal::ModelNotAllowed)
    }

    /// Why they don't suffice at this time, where the second factor must have been proved just now.
    fn step_up_refusal(&self, permission: &Permission, now_ms: i64) -> Option<Refusal> {
        let proved_at_ms = self.session.and_then(|session| session.second_factor_at_ms);
        let is_proved = || proved_at_ms.is_some_and(|at_ms| second_factor::is_recent(at_ms, now_ms));
        (permission.step_up && !is_proved()).then_some(Refusal::StepUpRequired)
    }

    /// Why the credential is good for nothing, whatever is asked, apart from the time at which a key or a session ends.
    #[must_use]
    pub fn standing(&self, credential: &PresentedCredential) -> Option<Refusal> {
        // A service account is good as long as it is there, which was looked at.
        let member = self.member.as_ref()?;
        if member.disabled {
            return Some(Refusal::UserDisabled);
        }
        let PresentedCredential::AccessToken { session, issued_at_ms, .. } = credential else { return None };
        if member.locked {
            return Some(Refusal::UserLocked);
        }
        if session.is_none() && member.password_change_required {
            return Some(Refusal::PasswordChangeRequired);
        }
        // A session is there as long as its tokens are good, whatever the clock of the host says that issued them.
        (session.is_none() && member.is_too_early(*issued_at_ms)).then_some(Refusal::CredentialRevoked)
    }

    /// Whether they let the caller name a model, by its name as [`folded`](shared::model_name::folded) gives it.
    #[must_use]
    pub fn allow(&self, model: &str) -> bool {
        let name = FullName::of(model);
        self.key.as_ref().is_none_or(|key| key.models.is_empty() || key.models.iter().any(|pattern| pattern.matches(&name)))
    }

    /// What is remembered of them with what is held by them. `session_idle`: how long a session lives at the least after it gave a token.
    #[must_use]
    pub fn holder(&self, request: &CheckRequest, rights_versions: RightsVersions, session_idle: Duration) -> Holder {
        let good_until_ms = match &request.credential {
            PresentedCredential::AccessToken { issued_at_ms, .. } => {
                let idle_ms = i64::try_from(session_idle.as_millis()).unwrap_or(i64::MAX);
                let idle_from_ms = issued_at_ms.saturating_add(idle_ms);
                Some(self.end_at_ms().map_or(idle_from_ms, |end_at_ms| end_at_ms.min(idle_from_ms)))
            }
            PresentedCredential::ApiKey { .. } => self.end_at_ms(),
        };
        Holder {
            account: request.account.clone(),
            user_id: self.principal.user_id.clone(),
            key_id: self.principal.key_id.clone(),
            standing: Standing { credential: request.credential.clone(), rights_versions, good_until_ms },
        }
    }

    /// Credits of the account that the caller may spend in a calendar month; `None`: no bound of their own.
    #[must_use]
    pub fn monthly_cap(&self) -> Option<i64> {
        self.principal.membership.as_ref().and_then(|membership| membership.monthly_cap)
    }

    /// When they end by themselves: at a key's time, or at the session's.
    #[must_use]
    pub fn end_at_ms(&self) -> Option<i64> {
        let of_session = self.session.as_ref().map(|session| session.ends_at_ms);
        of_session.or_else(|| self.key.as_ref().and_then(|key| key.expires_at_ms))
    }
}

/// Why what is held with a credential may go on no longer; `None`: it may. It was good once: that its time is over since is no reason.
/// `rows`: those that decide about it now.
#[must_use]
pub fn refusal_since(terms: &Terms, standing: &Standing, rows: &Rows, now_ms: i64) -> Option<Refusal> {
    // What has ended by its time may be dropped from then on.
    let dropped = || standing.good_until_ms.is_none_or(|good_until_ms| now_ms < good_until_ms).then_some(Refusal::CredentialRevoked);
    let is_own = terms.account.is_own_of(&terms.user_id);
    let membership = rows.membership.as_ref().filter(|_| !is_own);
    let revoked = match (&standing.credential, &rows.key) {
        (PresentedCredential::ApiKey { .. }, None) => return dropped(),
        (PresentedCredential::ApiKey { .. }, Some(key)) => key.revoked_at_ms.is_some(),
        (PresentedCredential::AccessToken { .. }, _) => false,
    };
    if revoked {
        return Some(Refusal::CredentialRevoked);
    }
    if !is_own && membership.is_none() {
        return Some(Refusal::NotAMember);
    }
    if is_service_account(membership) {
        return None;
    }
    let Some(member) = &rows.member else { return Some(Refusal::NotAMember) };
    if member.disabled {
        return Some(Refusal::UserDisabled);
    }
    let PresentedCredential::AccessToken { session, issued_at_ms, .. } = &standing.credential else { return None };
    match (session, &rows.session) {
        _ if member.locked => Some(Refusal::UserLocked),
        (Some(_), None) => dropped(),
        (Some(_), Some(session)) => (session.tokens_valid_from_ms != member.tokens_valid_from_ms).then_some(Refusal::CredentialRevoked),
        (None, _) => member.is_too_early(*issued_at_ms).then_some(Refusal::CredentialRevoked),
    }
}

/// [`authenticate`], and whether the rights suffice.
pub fn authorize(request: &CheckRequest, rows: Rows, now_ms: i64) -> Result<Rights, Refusal> {
    let rights = authenticate(request, rows, now_ms)?;
    match rights.refusal(request).or_else(|| rights.step_up_refusal(&request.permission, now_ms)) {
        Some(refusal) => Err(refusal),
        None => Ok(rights),
    }
}

#[cfg(test)]
mod tests;

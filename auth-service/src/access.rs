//! Who may do what on an account.

use ipnet::IpNet;

use crate::ids::{AccountId, KeyId, UserId};
use crate::model_pattern::{FullName, ModelPattern};
use crate::networks;
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

/// A user's place in an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// What the user may do.
    pub role: Role,
    /// Whether all of the user's credentials are refused.
    pub disabled: bool,
    /// Whether the user's access tokens are refused.
    pub locked: bool,
    /// Access tokens without a session that were issued before it are no longer good, nor are sessions that began while it was another.
    pub tokens_valid_from_ms: i64,
}

/// A session's part of what decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRights {
    /// The member's, as it was when the session began: whoever changes it ends all sessions. Releases before sessions do so too.
    pub tokens_valid_from_ms: i64,
    /// When it ends, unless it is refreshed before.
    pub ends_at_ms: i64,
}

/// The rows of an account that decide about a credential.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Of an API key: the key that has this secret.
    pub key: Option<KeyRights>,
    /// Of an access token with a session: that session of its user.
    pub session: Option<SessionRights>,
    /// The place of the user that the credential names.
    pub member: Option<Member>,
}

/// What an authenticated caller may do on an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// Who it is.
    pub principal: Principal,
    member: Member,
    /// `None` for an access token.
    key: Option<KeyRights>,
    /// `None` for an API key, and for a token without a session.
    session: Option<SessionRights>,
}

/// Finds out who calls.
pub fn authenticate(request: &CheckRequest, rows: Rows, now_ms: i64) -> Result<Rights, Refusal> {
    let Rows { key, session, member } = rows;
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
    let Some(member) = member else {
        // A user is always a member of their own account: without a row there, there is no such user.
        let own = key.is_none() && AccountId::from(&user_id) == request.account;
        return Err(if own { Refusal::CredentialUnknown } else { Refusal::NotAMember });
    };
    let session = match (&key, &session_id) {
        // What is wrong with the user is said first: their sessions are over because of it.
        (None, Some(_)) if !member.disabled && !member.locked => Some(session_in_force(session, member, now_ms)?),
        _ => None,
    };
    let (key_id, key_secret) = key.as_ref().map_or((None, 0), |key| (Some(key.key_id.clone()), key.secret_number));
    let principal = Principal { user_id, role: member.role, key_id, key_secret, session_id };
    Ok(Rights { principal, member, key, session })
}

/// A session that a token names, if it is there and not over.
fn session_in_force(session: Option<SessionRights>, member: Member, now_ms: i64) -> Result<SessionRights, Refusal> {
    let session = session.filter(|session| session.tokens_valid_from_ms == member.tokens_valid_from_ms);
    let session = session.ok_or(Refusal::CredentialRevoked)?;
    if session.ends_at_ms <= now_ms { Err(Refusal::CredentialExpired) } else { Ok(session) }
}

impl Rights {
    /// Why they don't suffice, apart from the time at which a key or a session ends.
    #[must_use]
    pub fn refusal(&self, request: &CheckRequest) -> Option<Refusal> {
        let Permission { scope, admin, model } = &request.permission;
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

    /// Why the credential is good for nothing, whatever is asked, apart from the time at which a key or a session ends.
    #[must_use]
    pub fn standing(&self, credential: &PresentedCredential) -> Option<Refusal> {
        if self.member.disabled {
            return Some(Refusal::UserDisabled);
        }
        let PresentedCredential::AccessToken { session, issued_at_ms, .. } = credential else { return None };
        if self.member.locked {
            return Some(Refusal::UserLocked);
        }
        // Whole seconds: a token's time of issue has no finer.
        let valid_from_ms = self.member.tokens_valid_from_ms - self.member.tokens_valid_from_ms % 1000;
        // A session is there as long as its tokens are good, whatever the clock of the host says that issued them.
        (session.is_none() && *issued_at_ms < valid_from_ms).then_some(Refusal::CredentialRevoked)
    }

    /// Whether they let the caller name a model, by its name as [`folded`](shared::model_name::folded) gives it.
    #[must_use]
    pub fn allow(&self, model: &str) -> bool {
        let name = FullName::of(model);
        self.key.as_ref().is_none_or(|key| key.models.is_empty() || key.models.iter().any(|pattern| pattern.matches(&name)))
    }

    /// When they end by themselves: at a key's time, or at the session's.
    #[must_use]
    pub fn end_at_ms(&self) -> Option<i64> {
        let of_session = self.session.as_ref().map(|session| session.ends_at_ms);
        of_session.or_else(|| self.key.as_ref().and_then(|key| key.expires_at_ms))
    }
}

/// [`authenticate`], and whether the rights suffice.
pub fn authorize(request: &CheckRequest, rows: Rows, now_ms: i64) -> Result<Rights, Refusal> {
    let rights = authenticate(request, rows, now_ms)?;
    match rights.refusal(request) {
        Some(refusal) => Err(refusal),
        None => Ok(rights),
    }
}

#[cfg(test)]
mod tests;

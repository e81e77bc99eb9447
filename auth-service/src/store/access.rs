//! Who may do what on an account: the rules, as both stores have them. `check.lua` has them a second time, for Redis.

use super::{Permission, Principal, Refusal, Scope};
use crate::price_table::matches;
use crate::user::Role;

/// What an API key may do, and until when.
#[derive(Debug, Clone)]
pub(crate) struct KeyRights {
    pub(crate) scopes: Vec<Scope>,
    /// Patterns of model names, in any case: those kept before case was folded still count. Empty: all.
    pub(crate) models: Vec<String>,
    pub(crate) expires_at_ms: Option<i64>,
    pub(crate) revoked_at_ms: Option<i64>,
}

impl KeyRights {
    /// Why the key isn't good at this time, whatever it is used for.
    pub(crate) fn refusal_at(&self, now_ms: i64) -> Option<Refusal> {
        if self.revoked_at_ms.is_some() {
            return Some(Refusal::CredentialRevoked);
        }
        self.expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms <= now_ms).then_some(Refusal::CredentialExpired)
    }
}

/// A caller's rights on an account.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) principal: Principal,
    pub(crate) disabled: bool,
    /// Access tokens issued before it are no longer good.
    pub(crate) tokens_valid_from_ms: i64,
    /// `None` for an access token.
    pub(crate) key: Option<KeyRights>,
}

impl Access {
    /// Why these rights don't suffice; whether a key is still good is [`KeyRights::refusal_at`]'s to say. `issued_at_ms`: of an access token.
    pub(crate) fn refusal(&self, permission: &Permission, issued_at_ms: Option<i64>) -> Option<Refusal> {
        if self.disabled {
            return Some(Refusal::UserDisabled);
        }
        // Whole seconds: a token's time of issue has no finer.
        if issued_at_ms.is_some_and(|issued_at_ms| issued_at_ms < self.tokens_valid_from_ms - self.tokens_valid_from_ms % 1000) {
            return Some(Refusal::CredentialRevoked);
        }
        if permission.admin && self.principal.role != Role::Admin {
            return Some(Refusal::RoleRequired);
        }
        let key = self.key.as_ref()?;
        if !key.scopes.contains(&permission.scope) {
            return Some(Refusal::ScopeRequired);
        }
        let unbounded = key.models.is_empty() || permission.model.is_empty();
        let allowed = unbounded || key.models.iter().any(|pattern| matches(&pattern.to_ascii_lowercase(), &permission.model));
        (!allowed).then_some(Refusal::ModelNotAllowed)
    }
}

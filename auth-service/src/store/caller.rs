//! Who asks, and what for.

use crate::ids::{KeyId, SessionId, UserId};
use crate::organization::{self, MemberRole, Membership};
use crate::scope::Scope;
use crate::user::Role;

/// A credential as it was presented, its form and checksum or signature verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresentedCredential {
    /// An API key of the account that is asked.
    ApiKey {
        /// SHA-256 of the key's secret.
        secret_hash: [u8; 32],
    },
    /// An access token, its signature and times verified.
    AccessToken {
        /// Its subject.
        user_id: UserId,
        /// Its session, which must be there. `None`: a token of a foreign issuer, or of a release before sessions.
        session: Option<SessionId>,
        /// When it was issued, in milliseconds (whole seconds: a JWT has no finer).
        issued_at_ms: i64,
    },
}

/// What a credential must be good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// The scope that an API key must have. What an access token is limited to is known without the store.
    pub scope: Scope,
    /// Whether the user must have [`Role::Admin`].
    pub admin: bool,
    /// Whether the second factor must have been proved just now, in the access token's session.
    pub step_up: bool,
    /// The model to be used, as [`folded`](shared::model_name::folded) gives it; empty: none. An API key's list must match it.
    pub model: String,
}

impl Permission {
    /// What is good for a scope, whatever the user's role and whichever the model.
    #[must_use]
    pub fn of(scope: Scope) -> Self {
        Self { scope, admin: false, step_up: false, model: String::new() }
    }
}

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The user who acts, or the service account.
    pub user_id: UserId,
    /// What the user may do, whichever account is asked.
    pub role: Role,
    /// The key that was used; `None` for an access token.
    pub key_id: Option<KeyId>,
    /// The number of the key's secret that was used; 0 for an access token.
    pub key_secret: u32,
    /// The access token's session; `None` for an API key, and for a token without a session.
    pub session_id: Option<SessionId>,
    /// Their place in the organization whose account is asked; `None`: it is their own account.
    pub membership: Option<Membership>,
}

impl Principal {
    /// Whether they see what others did on the account, and may revoke others' keys: on their own account, and as an owner.
    #[must_use]
    pub fn owns(&self) -> bool {
        let owner = organization::Principal::User(MemberRole::Owner);
        self.membership.as_ref().is_none_or(|membership| membership.principal == owner)
    }
}

//! The making of a user.

use std::fmt;
use std::time::Duration;

use crate::access::Member;
use crate::ids::UserId;
use crate::session::{self, NewSession, Session, SessionLimits};
use crate::store::AuditEvent;
use crate::user::{Role, UserName, UserRecord};
use crate::user_state::{UserChanges, UserState};

/// How long a user name stays claimed when the making of its user broke off half way.
pub const NAME_CLAIM_LIFE: Duration = Duration::from_secs(60);
/// The request id of the grant that a user starts with.
pub const STARTING_GRANT_REQUEST_ID: &str = "starting-credits";
/// The note of the grant that a user starts with.
pub const STARTING_GRANT_NOTE: &str = "starting credits";

/// A user to be made, with an account of their own that has the same id.
#[derive(Clone)]
pub struct NewUser {
    /// New, random.
    pub user_id: UserId,
    /// Unique among users.
    pub user_name: UserName,
    /// Argon2id, in PHC form.
    pub password_hash: String,
    /// May be empty.
    pub full_name: String,
    /// May be empty.
    pub email: String,
    /// What the user may do.
    pub role: Role,
    /// Granted at once, with a ledger entry when above 0.
    pub starting_credits: i64,
}

impl Member {
    /// The place of a new user in their own account.
    pub(super) fn of_new_user(role: Role) -> Self {
        Self { role, disabled: false, locked: false, password_change_required: false, tokens_valid_from_ms: 0 }
    }
}

/// The first session of a user who is made with an identity, and the event that is recorded of both.
pub(super) fn first_session(
    user: &UserRecord,
    new: &NewSession,
    limits: SessionLimits,
    now_ms: i64,
    event: &AuditEvent,
) -> Option<(Session, AuditEvent)> {
    let state = UserState { user: user.clone(), member: Member::of_new_user(user.role), sessions: Vec::new(), second_factor: None };
    let changes = session::begin(&state, new, limits, now_ms, event, UserChanges::default()).changes?;
    changes.put.into_iter().next().zip(changes.event)
}

impl NewUser {
    /// The user as made at this time.
    pub(super) fn into_record(self, created_at_ms: i64) -> UserRecord {
        let Self { user_id, user_name, password_hash, full_name, email, role, starting_credits: _ } = self;
        UserRecord {
            user_id,
            user_name,
            password_hash,
            full_name,
            email,
            role,
            disabled: false,
            locked: false,
            reset_ends_at_ms: None,
            state_reason: String::new(),
            created_at_ms,
        }
    }
}

impl fmt::Debug for NewUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewUser").field("user_id", &self.user_id).field("user_name", &self.user_name).finish_non_exhaustive()
    }
}

/// What became of a [`NewUser`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserCreation {
    /// Made.
    Created(UserRecord),
    /// Another user has the name; nothing was made.
    NameTaken,
    /// Somebody's making of a user of that name is under way, or broke off half way; nothing was made. The same may work later.
    NameInProgress {
        /// When the name is free, unless its user is made by then; at most [`NAME_CLAIM_LIFE`].
        retry_after: Duration,
    },
}

/// What became of a user who was to be made with an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "made once a call and taken apart at once; a box would cost each call an allocation")]
pub enum IssuerUserCreation {
    /// Made, linked, and signed in.
    Created(UserRecord, Session),
    /// Another user has the name, or is being made with it; nothing was made.
    NameTaken,
    /// The identity signs a user in already; nothing was made.
    IdentityTaken,
    /// The proof was used before; nothing was made.
    ProofUsed,
}

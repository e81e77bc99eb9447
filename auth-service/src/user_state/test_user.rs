//! A user, for tests of the rules about users and sessions.

use std::time::Duration;

use super::UserState;
use crate::access::Member;
use crate::ids::{SessionId, UserId};
use crate::session::{Session, SessionLimits};
use crate::user::{Role, UserName, UserRecord};

pub(crate) const NOW_MS: i64 = 1_700_000_000_500;
pub(crate) const LIMITS: SessionLimits = SessionLimits { idle: Duration::from_secs(100), lifetime: Duration::from_secs(1000) };

pub(crate) fn id(number: usize) -> SessionId {
    SessionId::parse(&format!("{number:012}")).unwrap()
}

/// One whose tokens are valid from 5 ms on.
pub(crate) fn state(sessions: Vec<Session>) -> UserState {
    let user = UserRecord {
        user_id: UserId::parse("0123456789abcdef").unwrap(),
        user_name: UserName::parse("ada").unwrap(),
        password_hash: "hash".to_owned(),
        full_name: String::new(),
        email: String::new(),
        role: Role::User,
        disabled: false,
        locked: false,
        reset_ends_at_ms: None,
        state_reason: String::new(),
        created_at_ms: 1,
    };
    let member = Member { role: Role::User, disabled: false, locked: false, password_change_required: false, tokens_valid_from_ms: 5 };
    UserState { user, member, sessions, second_factor: None }
}

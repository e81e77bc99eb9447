//! What changes of a user answer.

use super::Refusal;
use crate::user::UserRecord;

/// A user whose state was to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserChange {
    /// As it is now.
    pub user: UserRecord,
    /// Whether it is so by this change. `false`: it was before, nothing was written, and the event wasn't appended.
    pub changed: bool,
    /// Why whoever asked may not change it; nothing was written then.
    pub refused: Option<Refusal>,
}

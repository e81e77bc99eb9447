//! What changes of a user answer.

use crate::user::UserRecord;

/// A user whose state was to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserChange {
    /// As it is now.
    pub user: UserRecord,
    /// Whether it is so by this change. `false`: it was before, nothing was written, and the event wasn't appended.
    pub changed: bool,
}

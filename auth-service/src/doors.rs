//! The HTTP doors: OAuth2, and what a user may know of itself.

use shared::doors::Door;

use crate::service::accounts::AccountsService;

/// All doors.
#[must_use]
pub fn doors(_accounts: &AccountsService) -> Vec<Door> {
    Vec::new()
}

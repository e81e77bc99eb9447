//! Organizations, as they are listed.

use crate::ids::AccountId;
use crate::organization::{Membership, OrganizationRecord};

/// A user's place in an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrganizationPlace {
    /// Its account.
    pub account: AccountId,
    /// What is told of it.
    pub record: OrganizationRecord,
    /// The place.
    pub place: Membership,
}

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

/// One of all organizations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedOrganization {
    /// Its account.
    pub account: AccountId,
    /// What is told of it.
    pub record: OrganizationRecord,
}

/// Organizations, in the order of their accounts' ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrganizationPage {
    /// May be fewer than were asked for, though more follow: one that was never made is passed over.
    pub organizations: Vec<ListedOrganization>,
    /// Behind which the next page begins; `None`: this is the last one.
    pub next: Option<AccountId>,
}

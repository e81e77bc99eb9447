//! Organizations: accounts that several users share. Pure rules; stores compare what they decide from, and write what they say.

use crate::ids::UserId;

/// What a member may do in an organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberRole {
    /// Spend the account's credits within the cap, and make keys for it.
    Member,
    /// Also change members, caps, invitations and service accounts.
    Owner,
}

/// Whose place it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A user's, whose state is in their own account alone.
    User(MemberRole),
    /// A service account's, which has no other place.
    ServiceAccount {
        /// For people, unique within the organization.
        name: String,
        /// Who made it. They may have left since.
        created_by: UserId,
    },
}

/// A place in an organization. It holds no state of the user's: that is in their own account, and read in the same step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Whose.
    pub principal: Principal,
    /// Credits that may be spent in a calendar month (UTC); `None`: no bound of its own.
    pub monthly_cap: Option<i64>,
    /// Since when.
    pub added_at_ms: i64,
}

/// What a principal of an organization spent in a month of its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MonthUsage {
    /// When the month began (UTC).
    pub month_start_ms: i64,
    /// Credits that were charged in it.
    pub spent: i64,
    /// Credits that are held now.
    pub held: i64,
}

/// An organization, beside its account's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrganizationRecord {
    /// For people.
    pub name: String,
    /// When it was made.
    pub created_at_ms: i64,
    /// Who made it.
    pub created_by: UserId,
}

//! Organizations: accounts that several users share. Pure rules; stores compare what they decide from, and write what they say.

use std::collections::BTreeMap;

use crate::ids::{AccountId, InvitationId, UserId};
use crate::user::{Role, UserRecord};
use crate::user_state::UserState;

pub mod change;
pub mod creation;
pub mod invitation_code;
mod request;
mod standing;

/// Users who are members of one organization.
pub const MAX_MEMBERS: usize = 1000;
/// Service accounts of one organization.
pub const MAX_SERVICE_ACCOUNTS: usize = 100;
/// Invitations to one organization that are open.
pub const MAX_INVITATIONS: usize = 100;
/// Organizations that one user is a member of.
pub const MAX_MEMBERSHIPS: usize = 100;
/// Organizations that one user has made, whether or not they are a member still.
pub const MAX_MADE: usize = 10;

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

/// An invitation, as it is stored: everything but its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Not secret.
    pub invitation_id: InvitationId,
    /// SHA-256 of the code's secret.
    pub code_hash: [u8; 32],
    /// What whoever accepts it becomes.
    pub role: MemberRole,
    /// The cap that they get.
    pub monthly_cap: Option<i64>,
    /// For people; may be empty.
    pub note: String,
    /// Who made it. It counts only while they may invite.
    pub created_by: UserId,
    /// When it was made.
    pub created_at_ms: i64,
    /// From when on it is good for nothing.
    pub ends_at_ms: i64,
}

/// An organization, as one step reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Its account.
    pub account: AccountId,
    /// What is told of it.
    pub record: OrganizationRecord,
    /// Members and service accounts, by their ids.
    pub places: BTreeMap<UserId, Membership>,
    /// Those that were neither accepted nor withdrawn, those past their time too, in any order.
    pub invitations: Vec<Invitation>,
}

impl Organization {
    /// A user's role in it.
    #[must_use]
    pub fn role_of(&self, user: &UserId) -> Option<MemberRole> {
        match self.places.get(user)?.principal {
            Principal::User(role) => Some(role),
            Principal::ServiceAccount { .. } => None,
        }
    }

    /// Its owners, whether or not they can act, but this one.
    pub fn owners_but<'o>(&'o self, user: &'o UserId) -> impl Iterator<Item = &'o UserId> {
        self.places
            .iter()
            .filter(|(_, place)| place.principal == Principal::User(MemberRole::Owner))
            .map(|(id, _)| id)
            .filter(move |id| *id != user)
    }

    /// Whether what this user invites to counts: an owner, or an operator, who can act.
    #[must_use]
    pub fn may_invite(&self, inviter: &UserRecord) -> bool {
        let is_in_charge = self.role_of(&inviter.user_id) == Some(MemberRole::Owner) || inviter.role == Role::Admin;
        // An operator resets the password of somebody whose sign-in was stolen: what the thief invited counts no more.
        is_in_charge && !inviter.disabled && !inviter.locked && inviter.reset_ends_at_ms.is_none()
    }

    /// The same, with those invitations alone that are open.
    #[must_use]
    pub fn with_open_invitations(mut self, now_ms: i64) -> Self {
        self.invitations.retain(|invitation| invitation.is_open(now_ms));
        self
    }
}

impl Invitation {
    /// Whether its time isn't over.
    #[must_use]
    pub fn is_open(&self, now_ms: i64) -> bool {
        now_ms < self.ends_at_ms
    }
}

/// An organization, as a user's own account knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownOrganization {
    /// Its name, which never changes.
    pub name: String,
    /// Whether the user is a member.
    pub is_member: bool,
    /// Whether the user made it.
    pub is_maker: bool,
}

/// A user whom a change is about, by whom it is asked for, or on whom it depends, as one step reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The user.
    pub state: UserState,
    /// The organizations that they are a member of, or have made.
    pub organizations: BTreeMap<AccountId, KnownOrganization>,
}

impl Person {
    /// Whether the user can do anything at all.
    #[must_use]
    pub fn can_act(&self) -> bool {
        !self.state.is_disabled() && !self.state.is_locked()
    }

    /// How many organizations the user is a member of.
    fn memberships(&self) -> usize {
        self.organizations.values().filter(|one| one.is_member).count()
    }
}

/// Those whom a change depends on, by their ids.
pub type People = BTreeMap<UserId, Person>;

/// Of which there are as many as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// [`MAX_MEMBERS`].
    Members,
    /// [`MAX_SERVICE_ACCOUNTS`].
    ServiceAccounts,
    /// [`MAX_INVITATIONS`].
    Invitations,
    /// [`MAX_MEMBERSHIPS`].
    Memberships,
    /// [`MAX_MADE`].
    Made,
}

#[cfg(test)]
mod tests;

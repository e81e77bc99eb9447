//! What somebody wants to be changed of an organization, and what is answered.

use std::time::Duration;

use crate::ids::{AccountId, InvitationId, UserId};
use crate::organization::change::shown;
use crate::organization::standing::asker_of;
use crate::organization::{Invitation, Limit, MemberRole, Membership, Organization};
use crate::store::{Permission, PresentedCredential, Refusal};
use crate::user::UserRecord;

/// What somebody wants to be changed of an organization.
#[derive(Debug, Clone)]
pub enum OrganizationChange {
    /// A new invitation.
    Invite {
        /// New, random.
        invitation_id: InvitationId,
        /// SHA-256 of its code's secret.
        code_hash: [u8; 32],
        /// What whoever accepts it becomes.
        role: MemberRole,
        /// The cap that they get.
        monthly_cap: Option<i64>,
        /// For people; may be empty.
        note: String,
        /// How long it is good.
        life: Duration,
    },
    /// Takes an invitation back. One that isn't there is taken back already.
    Withdraw {
        /// Which.
        invitation_id: InvitationId,
    },
    /// The same of an invitation whose code somebody shows.
    WithdrawShown {
        /// SHA-256 of its code's secret.
        code_hash: [u8; 32],
    },
    /// Makes whoever asks a member, by an invitation.
    Accept {
        /// SHA-256 of its code's secret.
        code_hash: [u8; 32],
    },
    /// Makes a user a member.
    AddMember {
        /// Whom.
        user: UserId,
        /// What they may do.
        role: MemberRole,
        /// Their cap.
        monthly_cap: Option<i64>,
    },
    /// Ends a membership.
    RemoveMember {
        /// Whose.
        user: UserId,
    },
    /// Makes a member an owner, or an owner a member.
    SetRole {
        /// Whom.
        user: UserId,
        /// What they may do from now on.
        role: MemberRole,
    },
    /// Bounds what a member or a service account spends.
    SetCap {
        /// Whose.
        principal: UserId,
        /// `None`: no bound.
        monthly_cap: Option<i64>,
    },
    /// A new service account.
    CreateServiceAccount {
        /// New, random.
        id: UserId,
        /// Unique within the organization.
        name: String,
        /// Its cap.
        monthly_cap: Option<i64>,
    },
    /// Ends a service account.
    RemoveServiceAccount {
        /// Which.
        id: UserId,
    },
}

/// A change of an organization, and who asks for it.
#[derive(Debug, Clone)]
pub struct OrganizationRequest {
    /// The organization's.
    pub account: AccountId,
    /// The access token that asks: it must be in force in the step that makes the change. `None`: whoever shows an invitation's code may
    /// withdraw it.
    pub asked_by: Option<PresentedCredential>,
    /// What an operator's must be good for, who changes an organization that isn't their own.
    pub operator: Permission,
    /// What.
    pub change: OrganizationChange,
}

impl OrganizationRequest {
    /// The users that it is decided from, beside the other owners.
    #[must_use]
    pub fn people(&self, organization: &Organization) -> Vec<UserId> {
        let subject = match &self.change {
            OrganizationChange::AddMember { user, .. }
            | OrganizationChange::RemoveMember { user }
            | OrganizationChange::SetRole { user, .. } => Some(user),
            OrganizationChange::SetCap { principal, .. } => Some(principal),
            OrganizationChange::Accept { code_hash } => shown(organization, code_hash).map(|invitation| &invitation.created_by),
            OrganizationChange::Invite { .. }
            | OrganizationChange::Withdraw { .. }
            | OrganizationChange::WithdrawShown { .. }
            | OrganizationChange::CreateServiceAccount { .. }
            | OrganizationChange::RemoveServiceAccount { .. } => None,
        };
        let asker = self.asked_by.as_ref().and_then(asker_of);
        let mut people: Vec<UserId> = asker.into_iter().chain(subject).cloned().collect();
        people.sort();
        people.dedup();
        people
    }

    /// Owners of whom one must be able to act, if the change is made.
    #[must_use]
    pub fn other_owners<'o>(&'o self, organization: &'o Organization) -> Vec<&'o UserId> {
        let goes = match &self.change {
            OrganizationChange::RemoveMember { user } | OrganizationChange::SetRole { user, role: MemberRole::Member } => user,
            _ => return Vec::new(),
        };
        if organization.role_of(goes) != Some(MemberRole::Owner) {
            return Vec::new();
        }
        organization.owners_but(goes).collect()
    }

    /// Whose place ends with it, and with that their keys.
    #[must_use]
    pub fn ends_place_of(&self) -> Option<&UserId> {
        match &self.change {
            OrganizationChange::RemoveMember { user: id } | OrganizationChange::RemoveServiceAccount { id } => Some(id),
            _ => None,
        }
    }

    /// Whether it takes something away and gives nothing: that works in a store that is full.
    #[must_use]
    pub fn only_restricts(&self) -> bool {
        match self.change {
            OrganizationChange::Withdraw { .. }
            | OrganizationChange::WithdrawShown { .. }
            | OrganizationChange::RemoveMember { .. }
            | OrganizationChange::RemoveServiceAccount { .. }
            | OrganizationChange::SetRole { role: MemberRole::Member, .. }
            | OrganizationChange::SetCap { monthly_cap: Some(_), .. } => true,
            OrganizationChange::Invite { .. }
            | OrganizationChange::Accept { .. }
            | OrganizationChange::AddMember { .. }
            | OrganizationChange::SetRole { .. }
            | OrganizationChange::SetCap { .. }
            | OrganizationChange::CreateServiceAccount { .. } => false,
        }
    }
}

/// What came of an [`OrganizationRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrganizationAnswer {
    /// It is done, or was so before: this is the place that it is about.
    Place {
        /// Whose.
        id: UserId,
        /// The place; `None`: it is ended.
        place: Option<Membership>,
        /// The user; `None`: a service account.
        user: Option<Box<UserRecord>>,
    },
    /// This is the invitation that was made.
    Invited(Invitation),
    /// An invitation is withdrawn; `None`: there was none.
    Withdrawn(Option<InvitationId>),
    /// Nothing was changed.
    Refused(OrganizationRefusal),
}

/// Why an organization isn't made or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrganizationRefusal {
    /// Who asks isn't in force, or an operator lacks what it takes.
    Credential(Refusal),
    /// There is none, or who asks is no member.
    NotFound,
    /// Who asks is a member, and no owner.
    OwnerRequired,
    /// No other owner could act.
    LastOwner,
    /// It has no such member or service account.
    MemberNotFound,
    /// There is no such user, or they are disabled.
    UserNotFound,
    /// The user is a member.
    AlreadyAMember,
    /// Another one of the kind has the name.
    NameTaken,
    /// The invitation lets nobody in.
    InvitationInvalid,
    /// There are as many as there may be.
    Full(Limit),
}

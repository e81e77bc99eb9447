//! Why an organization isn't made or changed, as callers are told.

use shared::ErrorReason;
use shared::error::CallError;
use tonic::Code;

use crate::organization::change::OrganizationRefusal;
use crate::organization::{Limit, MAX_INVITATIONS, MAX_MADE, MAX_MEMBERS, MAX_MEMBERSHIPS, MAX_SERVICE_ACCOUNTS};
use crate::service::service_error::ServiceError;

pub(super) fn call_error(refusal: OrganizationRefusal) -> CallError {
    match refusal {
        OrganizationRefusal::Credential(refusal) => ServiceError::Store(refusal).into(),
        OrganizationRefusal::UserNotFound => ServiceError::UserNotFound.into(),
        OrganizationRefusal::NotFound => {
            CallError::new(Code::NotFound, ErrorReason::OrganizationNotFound, "no such organization, or you are no member of it")
        }
        OrganizationRefusal::OwnerRequired => {
            CallError::new(Code::PermissionDenied, ErrorReason::OwnerRequired, "an owner of the organization must do this")
        }
        OrganizationRefusal::LastOwner => CallError::new(
            Code::FailedPrecondition,
            ErrorReason::LastOwner,
            "no other owner can act, and an organization keeps one who can: make another member an owner first",
        ),
        OrganizationRefusal::MemberNotFound => {
            CallError::new(Code::NotFound, ErrorReason::MemberNotFound, "the organization has no such member or service account")
        }
        OrganizationRefusal::AlreadyAMember => {
            CallError::new(Code::AlreadyExists, ErrorReason::AlreadyAMember, "the user is a member of the organization already")
        }
        OrganizationRefusal::NameTaken => CallError::new(
            Code::AlreadyExists,
            ErrorReason::NameTaken,
            "another one has this name: among your organizations, or the organization's service accounts; take another",
        ),
        OrganizationRefusal::InvitationInvalid => CallError::new(
            Code::NotFound,
            ErrorReason::InvitationInvalid,
            "the invitation is unknown, used, withdrawn or past its time, or whoever made it may not invite any more; ask for another",
        ),
        OrganizationRefusal::Full(limit) => full(limit),
    }
}

fn full(limit: Limit) -> CallError {
    let (quota, message, most, whose) = match limit {
        Limit::Members => ("members", "the organization has as many members as it may; remove one", MAX_MEMBERS, "an organization"),
        Limit::ServiceAccounts => {
            let message = "the organization has as many service accounts as it may; remove one";
            ("service_accounts", message, MAX_SERVICE_ACCOUNTS, "an organization")
        }
        Limit::Invitations => {
            ("invitations", "the organization has as many open invitations as it may; withdraw one", MAX_INVITATIONS, "an organization")
        }
        Limit::Memberships => ("memberships", "the user is a member of as many organizations as one may be", MAX_MEMBERSHIPS, "a user"),
        Limit::Made => ("organizations", "you have made as many organizations as a user may", MAX_MADE, "a user"),
    };
    CallError::new(Code::ResourceExhausted, ErrorReason::LimitReached, format!("{message}: {most}")).quota(quota, format!("{most} {whose}"))
}

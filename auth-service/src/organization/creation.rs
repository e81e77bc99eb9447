//! Making an organization.

use crate::ids::AccountId;
use crate::organization::change::{OrganizationRefusal, is_same_name};
use crate::organization::standing::asker;
use crate::organization::{
    KnownOrganization, Limit, MAX_MADE, MAX_MEMBERSHIPS, MemberRole, Membership, OrganizationRecord, People, Principal,
};
use crate::store::{AuditEvent, PresentedCredential};

/// An organization to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrganization {
    /// New, random.
    pub account: AccountId,
    /// For people; not that of another organization of its first owner's.
    pub name: String,
}

/// An organization, and a place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creation {
    /// What is told of it.
    pub record: OrganizationRecord,
    /// Its first owner's.
    pub place: Membership,
    /// What their own account knows of it.
    pub known: KnownOrganization,
    /// What is recorded.
    pub event: AuditEvent,
    /// Whether it was made before, by the same call.
    pub is_repetition: bool,
}

/// Makes an organization whose first owner is who asks.
pub fn on_create(
    new: &NewOrganization,
    asked_by: &PresentedCredential,
    people: &People,
    now_ms: i64,
    event: &AuditEvent,
) -> Result<Creation, OrganizationRefusal> {
    let asker = asker(asked_by, people, now_ms)?;
    let known = &asker.person.organizations;
    let is_repetition = known.contains_key(&new.account);
    if !is_repetition {
        if known.values().any(|one| one.is_member && is_same_name(&one.name, &new.name)) {
            return Err(OrganizationRefusal::NameTaken);
        }
        if known.values().filter(|one| one.is_maker).count() >= MAX_MADE {
            return Err(OrganizationRefusal::Full(Limit::Made));
        }
        if asker.person.memberships() >= MAX_MEMBERSHIPS {
            return Err(OrganizationRefusal::Full(Limit::Memberships));
        }
    }
    let event = event.clone().to_user(asker.id, &asker.person.state.user.user_name).to_object(&new.account);
    Ok(Creation {
        record: OrganizationRecord { name: new.name.clone(), created_at_ms: now_ms, created_by: asker.id.clone() },
        place: Membership { principal: Principal::User(MemberRole::Owner), monthly_cap: None, added_at_ms: now_ms },
        known: KnownOrganization { name: new.name.clone(), is_member: true, is_maker: true },
        event: AuditEvent { detail: new.name.clone(), ..event },
        is_repetition,
    })
}

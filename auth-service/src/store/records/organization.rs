//! Organizations and places in them.

use prost::Message;

use super::{VERSION, Versioned, decode};
use crate::ids::{InvitationId, UserId};
use crate::organization::{Invitation, KnownOrganization, MemberRole, Membership, OrganizationRecord, Principal};

versioned!(StoredMembership, StoredOrganization, StoredInvitation, StoredKnown);

/// A place in an organization, by the id of the user or service account.
#[derive(Clone, PartialEq, Message)]
struct StoredMembership {
    #[prost(uint32, tag = "1")]
    version: u32,
    /// 0: a service account.
    #[prost(uint32, tag = "2")]
    role: u32,
    #[prost(int64, optional, tag = "3")]
    monthly_cap: Option<i64>,
    #[prost(int64, tag = "4")]
    added_at_ms: i64,
    /// Of a service account.
    #[prost(string, tag = "5")]
    name: String,
    /// Of a service account.
    #[prost(string, tag = "6")]
    created_by: String,
}

/// An organization, by its account's id.
#[derive(Clone, PartialEq, Message)]
struct StoredOrganization {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(int64, tag = "3")]
    created_at_ms: i64,
    #[prost(string, tag = "4")]
    created_by: String,
}

/// An invitation, by its id.
#[derive(Clone, PartialEq, Message)]
struct StoredInvitation {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(bytes = "vec", tag = "2")]
    code_hash: Vec<u8>,
    #[prost(uint32, tag = "3")]
    role: u32,
    #[prost(int64, optional, tag = "4")]
    monthly_cap: Option<i64>,
    #[prost(string, tag = "5")]
    note: String,
    #[prost(string, tag = "6")]
    created_by: String,
    #[prost(int64, tag = "7")]
    created_at_ms: i64,
    #[prost(int64, tag = "8")]
    ends_at_ms: i64,
}

/// What a user's account knows of an organization, by that one's account id.
#[derive(Clone, PartialEq, Message)]
struct StoredKnown {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(bool, tag = "3")]
    is_member: bool,
    #[prost(bool, tag = "4")]
    is_maker: bool,
}

numbered!(member_role_number, member_role, MemberRole { Member = 1, Owner = 2 });

pub(in crate::store) fn membership_bytes(membership: &Membership) -> Vec<u8> {
    let Membership { principal, monthly_cap, added_at_ms } = membership.clone();
    let stored = match principal {
        Principal::User(role) => StoredMembership { role: member_role_number(role), ..StoredMembership::default() },
        Principal::ServiceAccount { name, created_by } => {
            StoredMembership { name, created_by: created_by.to_string(), ..StoredMembership::default() }
        }
    };
    StoredMembership { version: VERSION, monthly_cap, added_at_ms, ..stored }.encode_to_vec()
}

pub(in crate::store) fn membership(bytes: &[u8]) -> Option<Membership> {
    let StoredMembership { role, monthly_cap, added_at_ms, name, created_by, .. } = decode(bytes)?;
    let principal = match role {
        0 => Principal::ServiceAccount { name, created_by: UserId::parse(&created_by)? },
        number => Principal::User(member_role(number)?),
    };
    Some(Membership { principal, monthly_cap, added_at_ms })
}

pub(in crate::store) fn organization_bytes(organization: &OrganizationRecord) -> Vec<u8> {
    let OrganizationRecord { name, created_at_ms, created_by } = organization.clone();
    StoredOrganization { version: VERSION, name, created_at_ms, created_by: created_by.to_string() }.encode_to_vec()
}

pub(in crate::store) fn organization(bytes: &[u8]) -> Option<OrganizationRecord> {
    let StoredOrganization { name, created_at_ms, created_by, .. } = decode(bytes)?;
    Some(OrganizationRecord { name, created_at_ms, created_by: UserId::parse(&created_by)? })
}

pub(in crate::store) fn invitation_bytes(invitation: &Invitation) -> Vec<u8> {
    let Invitation { code_hash, role, monthly_cap, note, created_by, created_at_ms, ends_at_ms, .. } = invitation.clone();
    let stored = StoredInvitation {
        version: VERSION,
        code_hash: code_hash.to_vec(),
        role: member_role_number(role),
        monthly_cap,
        note,
        created_by: created_by.to_string(),
        created_at_ms,
        ends_at_ms,
    };
    stored.encode_to_vec()
}

pub(in crate::store) fn invitation(id: &InvitationId, bytes: &[u8]) -> Option<Invitation> {
    let StoredInvitation { code_hash, role, monthly_cap, note, created_by, created_at_ms, ends_at_ms, .. } = decode(bytes)?;
    Some(Invitation {
        invitation_id: id.clone(),
        code_hash: code_hash.try_into().ok()?,
        role: member_role(role)?,
        monthly_cap,
        note,
        created_by: UserId::parse(&created_by)?,
        created_at_ms,
        ends_at_ms,
    })
}

pub(in crate::store) fn known_organization_bytes(known: &KnownOrganization) -> Vec<u8> {
    let KnownOrganization { name, is_member, is_maker } = known.clone();
    StoredKnown { version: VERSION, name, is_member, is_maker }.encode_to_vec()
}

pub(in crate::store) fn known_organization(bytes: &[u8]) -> Option<KnownOrganization> {
    let StoredKnown { name, is_member, is_maker, .. } = decode(bytes)?;
    Some(KnownOrganization { name, is_member, is_maker })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_organizations_are_read_as_they_were_written() {
        let created_by = UserId::parse("0123456789abcdef").unwrap();
        let robot = Principal::ServiceAccount { name: "né \"ci\"\n".to_owned(), created_by: created_by.clone() };
        for principal in [Principal::User(MemberRole::Member), Principal::User(MemberRole::Owner), robot] {
            for monthly_cap in [None, Some(0), Some(1_000_000_000_000)] {
                let place = Membership { principal: principal.clone(), monthly_cap, added_at_ms: 7 };
                assert_eq!(membership(&membership_bytes(&place)), Some(place));
            }
        }
        let one = OrganizationRecord { name: "Plumbers & Sons".to_owned(), created_at_ms: 8, created_by };
        assert_eq!(organization(&organization_bytes(&one)), Some(one));
        assert_eq!((membership(b""), organization(b"")), (None, None));
    }

    #[test]
    fn invitations_and_known_organizations_are_read_as_they_were_written() {
        let created_by = UserId::parse("0123456789abcdef").unwrap();
        let invitation_id = InvitationId::parse("0123456789ab").unwrap();
        for monthly_cap in [None, Some(0), Some(9)] {
            let one = Invitation {
                invitation_id: invitation_id.clone(),
                code_hash: [7; 32],
                role: MemberRole::Owner,
                monthly_cap,
                note: "for Zoë".to_owned(),
                created_by: created_by.clone(),
                created_at_ms: 1,
                ends_at_ms: 2,
            };
            assert_eq!(invitation(&invitation_id, &invitation_bytes(&one)), Some(one));
        }
        for (is_member, is_maker) in [(true, false), (false, true), (true, true)] {
            let known = KnownOrganization { name: "Plumbers".to_owned(), is_member, is_maker };
            assert_eq!(known_organization(&known_organization_bytes(&known)), Some(known));
        }
        assert_eq!((invitation(&invitation_id, b""), known_organization(b"")), (None, None));
    }
}

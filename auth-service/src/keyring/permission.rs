//! Who may change which of an account's API keys.

use crate::ids::UserId;
use crate::organization::{Membership, Principal as PlaceOf};
use crate::store::{KeyAnswer, KeyChange, KeyRefusal, Principal, StoredSecret};

/// Whose key a change is about; `None`: there is no such key, or whoever shows its secret may end it.
#[must_use]
pub fn whose<'a>(secrets: &'a [StoredSecret], change: &'a KeyChange) -> Option<&'a UserId> {
    match change {
        KeyChange::Create { key, .. } => Some(&key.user_id),
        KeyChange::Rotate { key_id, .. } | KeyChange::Revoke { key_id } | KeyChange::RevokeSecret { key_id, .. } => {
            secrets.iter().find(|row| row.key.key_id == *key_id).map(|row| &row.key.user_id)
        }
        KeyChange::RevokeShown { .. } => None,
    }
}

/// Why an authorized caller may not make a change; `None`: they may, as far as it is theirs to make. `whose`: as [`whose`] says, with their
/// place in the organization, where they have one.
///
/// On their own account all keys are theirs. In an organization members have their own, and see no others. Owners also make and rotate keys
/// of service accounts, and revoke anybody's: whoever rotates a key gets its secret, and would act in another's name.
#[must_use]
pub fn refusal(asker: &Principal, change: &KeyChange, whose: Option<(&UserId, Option<&Membership>)>) -> Option<KeyAnswer> {
    let (_, place) = whose.filter(|(user_id, _)| **user_id != asker.user_id)?;
    let is_owner = asker.membership.is_some() && asker.owns();
    let is_service_account = place.is_some_and(|place| matches!(place.principal, PlaceOf::ServiceAccount { .. }));
    match change {
        KeyChange::Create { .. } if asker.membership.is_some() && !is_owner => Some(KeyAnswer::Forbidden(KeyRefusal::OwnerRequired)),
        KeyChange::Create { .. } if is_service_account => None,
        KeyChange::Create { .. } => Some(KeyAnswer::Forbidden(KeyRefusal::NoSuchServiceAccount)),
        _ if !is_owner => Some(KeyAnswer::NotFound),
        KeyChange::Rotate { .. } if !is_service_account => Some(KeyAnswer::Forbidden(KeyRefusal::OfAnotherMember)),
        KeyChange::Rotate { .. } | KeyChange::Revoke { .. } | KeyChange::RevokeSecret { .. } | KeyChange::RevokeShown { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::KeyId;
    use crate::keyring::tests::{create, rotate};
    use crate::organization::MemberRole;
    use crate::user::Role;

    fn user(text: &str) -> UserId {
        UserId::parse(text).unwrap()
    }

    fn ada() -> UserId {
        user("0123456789abcdef")
    }

    fn place(principal: PlaceOf) -> Membership {
        Membership { principal, monthly_cap: None, added_at_ms: 0 }
    }

    fn asker(role: Option<MemberRole>) -> Principal {
        let membership = role.map(|role| place(PlaceOf::User(role)));
        Principal { user_id: ada(), role: Role::User, key_id: None, key_secret: 0, session_id: None, membership }
    }

    #[test]
    fn members_have_their_own_keys_and_owners_make_service_accounts_and_revoke_anybodys() {
        let (other, robot) = (user("1111111111111111"), user("2222222222222222"));
        let (member, of_robot) =
            (place(PlaceOf::User(MemberRole::Member)), place(PlaceOf::ServiceAccount { name: "ci".to_owned(), created_by: other.clone() }));
        let key_id = || KeyId::parse("0123456789ab").unwrap();
        let (revoke, revoke_one) = (KeyChange::Revoke { key_id: key_id() }, KeyChange::RevokeSecret { key_id: key_id(), number: 1 });
        let forbidden = |refusal| Some(KeyAnswer::Forbidden(refusal));
        let (as_owner, as_member, at_home) = (Some(MemberRole::Owner), Some(MemberRole::Member), None);
        for (role, whose, [created, rotated, revoked]) in [
            (as_owner, (ada(), Some(&member)), [None, None, None]),
            (as_owner, (robot.clone(), Some(&of_robot)), [None, None, None]),
            (
                as_owner,
                (other.clone(), Some(&member)),
                [forbidden(KeyRefusal::NoSuchServiceAccount), forbidden(KeyRefusal::OfAnotherMember), None],
            ),
            // Whoever left: their keys are revoked, and can't be rotated.
            (as_owner, (other.clone(), None), [forbidden(KeyRefusal::NoSuchServiceAccount), forbidden(KeyRefusal::OfAnotherMember), None]),
            (as_member, (ada(), Some(&member)), [None, None, None]),
            (
                as_member,
                (robot.clone(), Some(&of_robot)),
                [forbidden(KeyRefusal::OwnerRequired), Some(KeyAnswer::NotFound), Some(KeyAnswer::NotFound)],
            ),
            (
                as_member,
                (other, Some(&member)),
                [forbidden(KeyRefusal::OwnerRequired), Some(KeyAnswer::NotFound), Some(KeyAnswer::NotFound)],
            ),
            (at_home, (ada(), None), [None, None, None]),
            (at_home, (robot, None), [forbidden(KeyRefusal::NoSuchServiceAccount), Some(KeyAnswer::NotFound), Some(KeyAnswer::NotFound)]),
        ] {
            let (of, place) = &whose;
            let said = |change: &KeyChange| refusal(&asker(role), change, Some((of, *place)));
            assert_eq!(said(&create(1, None)), created, "{role:?} {whose:?}");
            assert_eq!(said(&rotate(1, 2, 0, None)), rotated, "{role:?} {whose:?}");
            assert_eq!((said(&revoke), said(&revoke_one)), (revoked.clone(), revoked), "{role:?} {whose:?}");
        }
    }
}

//! Invitations to organizations.

use std::time::Duration;

use auth_service::ids::{AccountId, InvitationId};
use auth_service::organization::change::{OrganizationAnswer, OrganizationChange, OrganizationRefusal, OrganizationRequest};
use auth_service::organization::{Invitation, Limit, MAX_INVITATIONS, MemberRole, Principal};
use auth_service::store::{Permission, Scope};
use auth_service::user::Role;

use crate::fixture::{Fixture, event};
use crate::organizations::{MINUTE, add, place, refusal, remove, set_role};
use crate::sessions::Signed;

const INVALID: Option<OrganizationRefusal> = Some(OrganizationRefusal::InvitationInvalid);

/// An invitation for an hour, whose code is a number.
pub(crate) fn invite(code: u8, role: MemberRole) -> OrganizationChange {
    OrganizationChange::Invite {
        invitation_id: InvitationId::random().unwrap(),
        code_hash: [code; 32],
        role,
        monthly_cap: None,
        note: "for Zoë".to_owned(),
        life: Duration::from_secs(3600),
    }
}

pub(crate) fn accept(code: u8) -> OrganizationChange {
    OrganizationChange::Accept { code_hash: [code; 32] }
}

pub(crate) fn withdraw(invitation: &Invitation) -> OrganizationChange {
    OrganizationChange::Withdraw { invitation_id: invitation.invitation_id.clone() }
}

impl Fixture {
    pub(crate) async fn invite(&self, account: &AccountId, by: &Signed, code: u8, role: MemberRole) -> Invitation {
        match self.change(account, by, invite(code, role)).await {
            OrganizationAnswer::Invited(invitation) => invitation,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) async fn an_invitation_makes_one_member_with_what_it_says_and_is_good_once(f: Fixture) {
    let (ada, bob, eve) = (f.signed("ada").await, f.signed("bob").await, f.signed("eve").await);
    let account = f.create(&ada, "Plumbers").await.unwrap();
    let change = match invite(1, MemberRole::Owner) {
        OrganizationChange::Invite { invitation_id, code_hash, role, note, life, .. } => {
            OrganizationChange::Invite { invitation_id, code_hash, role, monthly_cap: Some(9), note, life }
        }
        other => other,
    };
    let made = f.change(&account, &ada, change.clone()).await;
    let OrganizationAnswer::Invited(invitation) = &made else { panic!("{made:?}") };
    assert_eq!((invitation.ends_at_ms, invitation.created_by.clone()), (f.now_ms() + 3_600_000, ada.person.id.clone()));
    // A repetition, whose answer was lost.
    assert_eq!(f.change(&account, &ada, change).await, made);
    assert_eq!(f.organization(&account).await.invitations, std::slice::from_ref(invitation));
    let place = place(f.change(&account, &bob, accept(1)).await).unwrap();
    assert_eq!((place.principal, place.monthly_cap), (Principal::User(MemberRole::Owner), Some(9)));
    assert_eq!(f.role(&account, &bob.person).await, Some(MemberRole::Owner));
    assert_eq!(f.organization(&account).await.invitations, []);
    for who in [&bob, &eve] {
        assert_eq!(refusal(&f.change(&account, who, accept(1)).await), INVALID);
    }
    assert_eq!(f.role(&account, &eve.person).await, None);
    // Who is a member already uses none up.
    f.invite(&account, &ada, 2, MemberRole::Member).await;
    assert_eq!(refusal(&f.change(&account, &bob, accept(2)).await), Some(OrganizationRefusal::AlreadyAMember));
    assert_eq!(f.role(&account, &bob.person).await, Some(MemberRole::Owner));
    assert_eq!(f.organization(&account).await.invitations.len(), 1);
}

pub(crate) async fn an_invitation_is_good_for_nothing_at_its_end_and_once_it_is_withdrawn_by_id_or_by_its_code(f: Fixture) {
    let (ada, bob) = (f.signed("ada").await, f.signed("bob").await);
    let account = f.create(&ada, "Plumbers").await.unwrap();
    let first = f.invite(&account, &ada, 1, MemberRole::Member).await;
    let recorded = f.recorded_changes();
    assert_eq!(f.change(&account, &ada, withdraw(&first)).await, OrganizationAnswer::Withdrawn(Some(first.invitation_id.clone())));
    assert_eq!(f.change(&account, &ada, withdraw(&first)).await, OrganizationAnswer::Withdrawn(None));
    assert_eq!((refusal(&f.change(&account, &bob, accept(1)).await), f.recorded_changes()), (INVALID, recorded + 1));
    let second = f.invite(&account, &ada, 2, MemberRole::Member).await;
    let show = |code| OrganizationRequest {
        account: account.clone(),
        asked_by: None,
        operator: Permission { admin: true, ..Permission::of(Scope::Account) },
        change: OrganizationChange::WithdrawShown { code_hash: [code; 32] },
    };
    let shown = f.store.change_organization(show(9), event()).await.unwrap();
    assert_eq!(shown, OrganizationAnswer::Withdrawn(None));
    let shown = f.store.change_organization(show(2), event()).await.unwrap();
    assert_eq!(shown, OrganizationAnswer::Withdrawn(Some(second.invitation_id)));
    assert_eq!(refusal(&f.change(&account, &bob, accept(2)).await), INVALID);
    f.invite(&account, &ada, 3, MemberRole::Member).await;
    f.advance(Duration::from_millis(3_599_999));
    assert_eq!(f.organization(&account).await.invitations.len(), 1);
    f.advance(Duration::from_millis(1));
    assert_eq!(f.organization(&account).await.invitations, []);
    assert_eq!(refusal(&f.change(&account, &bob, accept(3)).await), INVALID);
    assert_eq!(f.role(&account, &bob.person).await, None);
}

pub(crate) async fn whether_a_code_is_an_invitations_is_found_among_its_organizations_alone(f: Fixture) {
    let ada = f.signed("ada").await;
    let (account, other) = (f.create(&ada, "Plumbers").await.unwrap(), f.create(&ada, "Painters").await.unwrap());
    let has = async |account: &AccountId, code: u8| f.store.has_invitation(account, &[code; 32]).await.unwrap();
    let made = f.invite(&account, &ada, 1, MemberRole::Member).await;
    assert_eq!((has(&account, 1).await, has(&account, 2).await, has(&other, 1).await), (true, false, false));
    assert!(!has(&ada.person.account, 1).await && !has(&AccountId::random().unwrap(), 1).await);
    f.change(&account, &ada, withdraw(&made)).await;
    assert!(!has(&account, 1).await);
}

pub(crate) async fn an_invitation_counts_only_while_whoever_made_it_may_invite(f: Fixture) {
    let (ada, bob, carl) = (f.signed("ada").await, f.signed("bob").await, f.signed("carl").await);
    let root = f.person_with_role("root", 0, Role::Admin).await;
    let root = f.sign_in(&root).await;
    let account = f.create(&ada, "Plumbers").await.unwrap();
    place(f.change(&account, &ada, add(&bob.person, MemberRole::Owner)).await).unwrap();
    for code in [1, 2] {
        f.invite(&account, &bob, code, MemberRole::Owner).await;
    }
    f.store.set_disabled(&bob.person.id, true, "", event()).await.unwrap();
    assert_eq!(refusal(&f.change(&account, &carl, accept(1)).await), INVALID);
    f.store.set_disabled(&bob.person.id, false, "", event()).await.unwrap();
    f.store.set_locked(&bob.person.id, true, "", event()).await.unwrap();
    assert_eq!(refusal(&f.change(&account, &carl, accept(1)).await), INVALID);
    f.store.set_locked(&bob.person.id, false, "", event()).await.unwrap();
    place(f.change(&account, &ada, set_role(&bob.person, MemberRole::Member)).await).unwrap();
    assert_eq!(refusal(&f.change(&account, &carl, accept(1)).await), INVALID);
    // An owner again, or a member again, has to invite again.
    place(f.change(&account, &ada, set_role(&bob.person, MemberRole::Owner)).await).unwrap();
    assert_eq!(refusal(&f.change(&account, &carl, accept(1)).await), INVALID);
    let bob_again = f.sign_in(&bob.person).await;
    f.invite(&account, &bob_again, 3, MemberRole::Member).await;
    place(f.change(&account, &ada, remove(&bob.person)).await);
    place(f.change(&account, &ada, add(&bob.person, MemberRole::Owner)).await).unwrap();
    assert_eq!(refusal(&f.change(&account, &carl, accept(3)).await), INVALID);
    // An operator need be no member, and must be an operator in force.
    f.invite(&account, &root, 4, MemberRole::Member).await;
    f.store.set_locked(&root.person.id, true, "", event()).await.unwrap();
    assert_eq!(refusal(&f.change(&account, &carl, accept(4)).await), INVALID);
    f.store.set_locked(&root.person.id, false, "", event()).await.unwrap();
    place(f.change(&account, &carl, accept(4)).await).unwrap();
    assert_eq!(f.role(&account, &carl.person).await, Some(MemberRole::Member));
}

pub(crate) async fn whoever_accepts_an_invitation_must_be_in_force_then(f: Fixture) {
    let (ada, bob) = (f.signed("ada").await, f.signed("bob").await);
    let account = f.create(&ada, "Plumbers").await.unwrap();
    f.invite(&account, &ada, 1, MemberRole::Member).await;
    f.store.set_locked(&bob.person.id, true, "", event()).await.unwrap();
    assert!(matches!(refusal(&f.change(&account, &bob, accept(1)).await), Some(OrganizationRefusal::Credential(_))));
    f.store.set_locked(&bob.person.id, false, "", event()).await.unwrap();
    // The session of before is over.
    assert!(matches!(refusal(&f.change(&account, &bob, accept(1)).await), Some(OrganizationRefusal::Credential(_))));
    let again = f.sign_in(&bob.person).await;
    place(f.change(&account, &again, accept(1)).await).unwrap();
}

pub(crate) async fn an_organization_has_a_hundred_open_invitations_at_most_and_those_that_are_over_take_no_place(f: Fixture) {
    let ada = f.signed("ada").await;
    let account = f.create(&ada, "Plumbers").await.unwrap();
    for number in 0..MAX_INVITATIONS {
        f.invite(&account, &ada, u8::try_from(number).unwrap(), MemberRole::Member).await;
    }
    let full = Some(OrganizationRefusal::Full(Limit::Invitations));
    assert_eq!(refusal(&f.change(&account, &ada, invite(200, MemberRole::Member)).await), full);
    f.advance(60 * MINUTE);
    f.invite(&account, &ada, 201, MemberRole::Member).await;
    assert_eq!(f.organization(&account).await.invitations.len(), 1);
}

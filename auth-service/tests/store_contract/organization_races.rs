//! Changes of organizations that come at once: whichever comes first, nobody has what they shouldn't.

use std::sync::Arc;

use auth_service::organization::MemberRole;
use auth_service::organization::change::{OrganizationAnswer, OrganizationRefusal};
use auth_service::store::{KeyAnswer, KeyChange, KeyChangeRequest, Refusal};

use crate::fixture::{Fixture, event, new_key, new_secret};
use crate::invitations::{accept, withdraw};
use crate::organizations::{add, place, refusal, remove, set_role};
use crate::sessions::{Signed, credential};

/// Rounds of each race, so that either comes first now and then.
const ROUNDS: usize = 12;

pub(crate) async fn adding_a_member_while_they_are_disabled_leaves_no_live_row(f: Fixture) {
    let f = Arc::new(f);
    let ada = f.signed("ada").await;
    let account = f.create(&ada, "Plumbers").await.unwrap();
    for round in 0..ROUNDS {
        let bob = f.signed(&format!("bob{round}")).await;
        let adding = {
            let (f, ada, account, bob) = (Arc::clone(&f), ada.clone(), account.clone(), bob.person.clone());
            tokio::spawn(async move { f.change(&account, &ada, add(&bob, MemberRole::Member)).await })
        };
        let disabling = {
            let (f, bob) = (Arc::clone(&f), bob.person.id.clone());
            tokio::spawn(async move { f.store.set_disabled(&bob, true, "", event()).await })
        };
        let (added, disabled) = (adding.await.unwrap(), disabling.await.unwrap().unwrap().unwrap());
        assert!(disabled.changed);
        match refusal(&added) {
            None => assert_eq!(f.may_use(&account, &bob).await, Err(Refusal::UserDisabled)),
            Some(refusal) => {
                assert_eq!(refusal, OrganizationRefusal::UserNotFound);
                assert_eq!(f.role(&account, &bob.person).await, None);
            }
        }
        // Enabled, who was refused is no member still.
        f.store.set_disabled(&bob.person.id, false, "", event()).await.unwrap();
        let again = f.sign_in(&bob.person).await;
        assert_eq!(f.may_use(&account, &again).await.is_ok(), refusal(&added).is_none());
    }
}

pub(crate) async fn of_sixteen_who_redeem_one_invitation_at_once_one_is_a_member(f: Fixture) {
    let f = Arc::new(f);
    let ada = f.signed("ada").await;
    let account = f.create(&ada, "Plumbers").await.unwrap();
    f.invite(&account, &ada, 1, MemberRole::Member).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..16 {
        let who = f.signed(&format!("user{number}")).await;
        let (f, account) = (Arc::clone(&f), account.clone());
        tasks.spawn(async move { f.change(&account, &who, accept(1)).await });
    }
    let answers = tasks.join_all().await;
    let refused = Some(OrganizationRefusal::InvitationInvalid);
    assert_eq!(answers.iter().filter(|answer| refusal(answer) == refused).count(), 15, "{answers:?}");
    assert_eq!(f.organization(&account).await.places.len(), 2);
}

pub(crate) async fn one_user_who_redeems_sixteen_invitations_at_once_is_a_member_once(f: Fixture) {
    let f = Arc::new(f);
    let (ada, bob) = (f.signed("ada").await, f.signed("bob").await);
    let account = f.create(&ada, "Plumbers").await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for code in 0..16 {
        f.invite(&account, &ada, code, MemberRole::Member).await;
    }
    for code in 0..16 {
        let (f, account, bob) = (Arc::clone(&f), account.clone(), bob.clone());
        tasks.spawn(async move { f.change(&account, &bob, accept(code)).await });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|answer| refusal(answer).is_none()).count(), 1, "{answers:?}");
    assert_eq!(f.organization(&account).await.invitations.len(), 15, "the others are good still");
}

pub(crate) async fn an_invitation_that_is_withdrawn_while_it_is_redeemed_makes_a_member_or_is_withdrawn_and_not_both(f: Fixture) {
    let f = Arc::new(f);
    let ada = f.signed("ada").await;
    let account = f.create(&ada, "Plumbers").await.unwrap();
    for round in 0..ROUNDS {
        let code = u8::try_from(round).unwrap();
        let invitation = f.invite(&account, &ada, code, MemberRole::Member).await;
        let bob = f.signed(&format!("bob{round}")).await;
        let (redeeming, withdrawing) = {
            let (one, other) = (Arc::clone(&f), Arc::clone(&f));
            let (of, by, who) = ((account.clone(), account.clone()), ada.clone(), bob.clone());
            (
                tokio::spawn(async move { one.change(&of.0, &who, accept(code)).await }),
                tokio::spawn(async move { other.change(&of.1, &by, withdraw(&invitation)).await }),
            )
        };
        let (redeemed, withdrawn) = (redeeming.await.unwrap(), withdrawing.await.unwrap());
        let is_member = f.role(&account, &bob.person).await.is_some();
        assert_eq!(is_member, refusal(&redeemed).is_none());
        assert_eq!(is_member, withdrawn == OrganizationAnswer::Withdrawn(None), "{withdrawn:?}");
        assert_eq!(f.organization(&account).await.invitations, []);
    }
}

/// What becomes of whoever made an invitation while it is redeemed.
#[derive(Debug, Clone, Copy)]
enum Inviter {
    Removed,
    Demoted,
    Disabled,
}

pub(crate) async fn an_invitation_whose_maker_goes_while_it_is_redeemed_makes_a_member_before_that_or_none(f: Fixture) {
    let f = Arc::new(f);
    let ada = f.signed("ada").await;
    let account = f.create(&ada, "Plumbers").await.unwrap();
    for (round, becomes) in [Inviter::Removed, Inviter::Demoted, Inviter::Disabled].into_iter().cycle().take(ROUNDS).enumerate() {
        let (inviter, bob) = (f.signed(&format!("inviter{round}")).await, f.signed(&format!("bob{round}")).await);
        place(f.change(&account, &ada, add(&inviter.person, MemberRole::Owner)).await).unwrap();
        let code = u8::try_from(round).unwrap();
        f.invite(&account, &inviter, code, MemberRole::Member).await;
        let redeeming = {
            let (f, account, bob) = (Arc::clone(&f), account.clone(), bob.clone());
            tokio::spawn(async move { f.change(&account, &bob, accept(code)).await })
        };
        let person = &inviter.person;
        match becomes {
            Inviter::Removed => assert_eq!(place(f.change(&account, &ada, remove(person)).await), None),
            Inviter::Demoted => assert!(place(f.change(&account, &ada, set_role(person, MemberRole::Member)).await).is_some()),
            Inviter::Disabled => assert!(f.store.set_disabled(&person.id, true, "", event()).await.unwrap().unwrap().changed),
        }
        // After that has answered, nobody comes in by it.
        let eve = f.signed(&format!("eve{round}")).await;
        assert_eq!(refusal(&f.change(&account, &eve, accept(code)).await), Some(OrganizationRefusal::InvitationInvalid), "{becomes:?}");
        let redeemed = redeeming.await.unwrap();
        assert_eq!(f.role(&account, &bob.person).await.is_some(), refusal(&redeemed).is_none());
    }
}

pub(crate) async fn two_owners_who_leave_at_once_leave_one(f: Fixture) {
    let f = Arc::new(f);
    let ada = f.signed("ada").await;
    for round in 0..8 {
        let (one, other) = (f.signed(&format!("one{round}")).await, f.signed(&format!("other{round}")).await);
        let account = f.create(&one, "Plumbers").await.unwrap();
        place(f.change(&account, &one, add(&other.person, MemberRole::Owner)).await).unwrap();
        place(f.change(&account, &one, add(&ada.person, MemberRole::Member)).await).unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for (number, who) in [one, other].into_iter().enumerate() {
            let (f, account) = (Arc::clone(&f), account.clone());
            // One leaves, and one becomes a member: it is the same.
            let change = if number == round % 2 { remove(&who.person) } else { set_role(&who.person, MemberRole::Member) };
            tasks.spawn(async move { f.change(&account, &who, change).await });
        }
        let answers = tasks.join_all().await;
        assert_eq!(answers.iter().filter(|answer| refusal(answer) == Some(OrganizationRefusal::LastOwner)).count(), 1, "{answers:?}");
        let found = f.organization(&account).await;
        assert_eq!(found.owners_but(&ada.person.id).count(), 1);
    }
}

pub(crate) async fn an_owner_who_leaves_while_the_other_one_is_disabled_leaves_one_who_could_act_then(f: Fixture) {
    let f = Arc::new(f);
    for round in 0..ROUNDS {
        let (one, other) = (f.signed(&format!("one{round}")).await, f.signed(&format!("other{round}")).await);
        let account = f.create(&one, "Plumbers").await.unwrap();
        place(f.change(&account, &one, add(&other.person, MemberRole::Owner)).await).unwrap();
        let leaving = {
            let (f, account, one) = (Arc::clone(&f), account.clone(), one.clone());
            tokio::spawn(async move { f.change(&account, &one, remove(&one.person)).await })
        };
        f.store.set_disabled(&other.person.id, true, "", event()).await.unwrap();
        // If it comes after the answer of disabling, the owner stays; what came before it was with an owner who could act.
        let left = leaving.await.unwrap();
        assert!(matches!(refusal(&left), None | Some(OrganizationRefusal::LastOwner)), "{left:?}");
        assert_eq!(f.role(&account, &one.person).await.is_none(), refusal(&left).is_none());
        if refusal(&left).is_some() {
            let again = f.change(&account, &one, remove(&one.person)).await;
            assert_eq!(refusal(&again), Some(OrganizationRefusal::LastOwner));
        }
    }
}

pub(crate) async fn a_change_of_role_beside_a_removal_brings_nobody_back(f: Fixture) {
    let f = Arc::new(f);
    let (ada, eve) = (f.signed("ada").await, f.signed("eve").await);
    let account = f.create(&ada, "Plumbers").await.unwrap();
    place(f.change(&account, &ada, add(&eve.person, MemberRole::Owner)).await).unwrap();
    for round in 0..ROUNDS {
        let bob = f.signed(&format!("bob{round}")).await;
        place(f.change(&account, &ada, add(&bob.person, MemberRole::Member)).await).unwrap();
        let promoting = {
            let (f, account, eve, bob) = (Arc::clone(&f), account.clone(), eve.clone(), bob.person.clone());
            tokio::spawn(async move { f.change(&account, &eve, set_role(&bob, MemberRole::Owner)).await })
        };
        assert_eq!(place(f.change(&account, &ada, remove(&bob.person)).await), None);
        let promoted = promoting.await.unwrap();
        assert!(matches!(refusal(&promoted), None | Some(OrganizationRefusal::MemberNotFound)), "{promoted:?}");
        assert_eq!((f.role(&account, &bob.person).await, f.may_use(&account, &bob).await), (None, Err(Refusal::NotAMember)));
    }
}

pub(crate) async fn a_member_who_is_removed_while_they_make_a_key_leaves_no_live_key(f: Fixture) {
    let f = Arc::new(f);
    let ada = f.signed("ada").await;
    let account = f.create(&ada, "Plumbers").await.unwrap();
    let key = |secret: u8, by: &Signed| KeyChangeRequest {
        account: account.clone(),
        asker: Some(credential(by)),
        change: KeyChange::Create { key: new_key(&by.person.id), secret: new_secret(secret), request: None },
    };
    for round in 0..ROUNDS {
        let (bob, secret) = (f.signed(&format!("bob{round}")).await, u8::try_from(round + 1).unwrap());
        place(f.change(&account, &ada, add(&bob.person, MemberRole::Member)).await).unwrap();
        let making = {
            let (f, request) = (Arc::clone(&f), key(secret, &bob));
            tokio::spawn(async move { f.store.change_api_keys(request, event()).await.unwrap() })
        };
        assert_eq!(place(f.change(&account, &ada, remove(&bob.person)).await), None);
        let made = making.await.unwrap();
        let expected = match made {
            KeyAnswer::Done { .. } => Refusal::CredentialRevoked,
            KeyAnswer::Refused(Refusal::NotAMember) => Refusal::CredentialUnknown,
            other => panic!("{other:?}"),
        };
        assert_eq!(f.key_is_good(&account, secret).await, Err(expected));
        place(f.change(&account, &ada, add(&bob.person, MemberRole::Member)).await).unwrap();
        assert_eq!(f.key_is_good(&account, secret).await, Err(expected), "nor when they come again");
    }
}

pub(crate) async fn whoever_asks_and_is_taken_out_at_once_changes_nothing_after_that(f: Fixture) {
    let f = Arc::new(f);
    let ada = f.signed("ada").await;
    let account = f.create(&ada, "Plumbers").await.unwrap();
    for round in 0..ROUNDS {
        let (owner, bob) = (f.signed(&format!("owner{round}")).await, f.signed(&format!("bob{round}")).await);
        place(f.change(&account, &ada, add(&owner.person, MemberRole::Owner)).await).unwrap();
        let adding = {
            let (f, account, owner, bob) = (Arc::clone(&f), account.clone(), owner.clone(), bob.person.clone());
            tokio::spawn(async move { f.change(&account, &owner, add(&bob, MemberRole::Owner)).await })
        };
        if round % 2 == 0 {
            assert_eq!(place(f.change(&account, &ada, remove(&owner.person)).await), None);
        } else {
            assert!(f.store.end_session(&owner.person.id, &owner.id, event()).await.unwrap());
        }
        let eve = f.signed(&format!("eve{round}")).await;
        assert!(refusal(&f.change(&account, &owner, add(&eve.person, MemberRole::Owner)).await).is_some());
        let added = adding.await.unwrap();
        assert_eq!(f.role(&account, &bob.person).await.is_some(), refusal(&added).is_none());
    }
}

pub(crate) async fn of_sixteen_who_make_service_accounts_of_one_name_at_once_one_does(f: Fixture) {
    let f = Arc::new(f);
    let ada = f.signed("ada").await;
    let account = f.create(&ada, "Plumbers").await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (f, account, ada) = (Arc::clone(&f), account.clone(), ada.clone());
        tasks.spawn(async move { f.service_account(&account, &ada, "ci").await });
    }
    let made = tasks.join_all().await;
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
    assert!(made.iter().all(|made| matches!(made, Ok(_) | Err(OrganizationRefusal::NameTaken))), "{made:?}");
    assert_eq!(f.organization(&account).await.places.len(), 2);
}

pub(crate) async fn sixty_members_who_are_added_at_once_are_all_members(f: Fixture) {
    let f = Arc::new(f);
    let ada = f.signed("ada").await;
    let account = f.create(&ada, "Plumbers").await.unwrap();
    let mut people = Vec::new();
    for number in 0..60 {
        people.push(f.person(&format!("user{number}"), 0).await);
    }
    // Each change compares the same version of rights: of those that read it together one is made, and the others are decided anew.
    let mut tasks = tokio::task::JoinSet::new();
    for person in people {
        let (f, account, ada) = (Arc::clone(&f), account.clone(), ada.clone());
        tasks.spawn(async move { place(f.change(&account, &ada, add(&person, MemberRole::Member)).await).unwrap() });
    }
    tasks.join_all().await;
    assert_eq!(f.organization(&account).await.places.len(), 61);
}

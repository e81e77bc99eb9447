//! Organizations, their members and their service accounts.

use std::sync::Arc;
use std::time::Duration;

use auth_service::ids::{AccountId, UserId};
use auth_service::organization::change::{OrganizationAnswer, OrganizationChange, OrganizationRefusal, OrganizationRequest};
use auth_service::organization::creation::NewOrganization;
use auth_service::organization::{Limit, MAX_MADE, MAX_MEMBERSHIPS, MAX_SERVICE_ACCOUNTS, MemberRole, Membership, Organization, Principal};
use auth_service::store::{
    AuditAction, AuditEvent, CheckAnswer, CheckRequest, GrantAnswer, GrantRequest, KeyAnswer, Permission, PresentedCredential, Refusal,
    Revocation, Revoked, Scope, StoreError,
};
use auth_service::user::Role;
use shared::ErrorReason;

use crate::fixture::{Fixture, Home, Person, create_key, event, new_key, one_credit, permission};
use crate::revocations::{here, told};
use crate::sessions::{Signed, credential};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// What an operator must be good for.
fn operator() -> Permission {
    Permission { admin: true, ..Permission::of(Scope::Account) }
}

pub(crate) fn request(account: &AccountId, by: &Signed, change: OrganizationChange) -> OrganizationRequest {
    OrganizationRequest { account: account.clone(), asked_by: Some(credential(by)), operator: operator(), change }
}

pub(crate) fn add(person: &Person, role: MemberRole) -> OrganizationChange {
    OrganizationChange::AddMember { user: person.id.clone(), role, monthly_cap: None }
}

pub(crate) fn remove(person: &Person) -> OrganizationChange {
    OrganizationChange::RemoveMember { user: person.id.clone() }
}

pub(crate) fn set_role(person: &Person, role: MemberRole) -> OrganizationChange {
    OrganizationChange::SetRole { user: person.id.clone(), role }
}

/// What a change was refused for.
pub(crate) fn refusal(answer: &OrganizationAnswer) -> Option<OrganizationRefusal> {
    match answer {
        OrganizationAnswer::Refused(refusal) => Some(*refusal),
        _ => None,
    }
}

/// The place that a change came to; panics if it was refused.
pub(crate) fn place(answer: OrganizationAnswer) -> Option<Membership> {
    match answer {
        OrganizationAnswer::Place { place, .. } => place,
        other => panic!("{other:?}"),
    }
}

impl Fixture {
    /// Somebody who is signed in.
    pub(crate) async fn signed(&self, name: &str) -> Signed {
        let person = self.person(name, 0).await;
        self.sign_in(&person).await
    }

    pub(crate) async fn create(&self, owner: &Signed, name: &str) -> Result<AccountId, OrganizationRefusal> {
        let new = NewOrganization { account: AccountId::random().unwrap(), name: name.to_owned() };
        let account = new.account.clone();
        match self.store.create_organization(new, &credential(owner), event()).await.unwrap() {
            OrganizationAnswer::Place { id, place: Some(place), .. } => {
                assert_eq!((id, place.principal), (owner.person.id.clone(), Principal::User(MemberRole::Owner)));
                Ok(account)
            }
            OrganizationAnswer::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn change(&self, account: &AccountId, by: &Signed, change: OrganizationChange) -> OrganizationAnswer {
        self.store.change_organization(request(account, by, change), event()).await.unwrap()
    }

    pub(crate) async fn organization(&self, account: &AccountId) -> Organization {
        self.store.organization(account).await.unwrap().unwrap()
    }

    pub(crate) async fn role(&self, account: &AccountId, person: &Person) -> Option<MemberRole> {
        let role = self.organization(account).await.role_of(&person.id);
        // The user's own list is written in the same step.
        let listed = self.store.organizations_of(&person.id).await.unwrap();
        let listed = listed.into_iter().find(|place| place.account == *account).map(|place| place.place.principal);
        assert_eq!(listed, role.map(Principal::User));
        role
    }

    /// Whether a signed-in user may use the account: once as one who pays, and once without a charge.
    pub(crate) async fn may_use(&self, account: &AccountId, by: &Signed) -> Result<(), Refusal> {
        let request = |charge| CheckRequest {
            account: account.clone(),
            credential: credential(by),
            permission: permission(Scope::Chat),
            charge,
            caller_address: None,
        };
        match self.store.check(request(None)).await.unwrap() {
            CheckAnswer::Allowed(_) => Ok(()),
            CheckAnswer::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn key_is_good(&self, account: &AccountId, secret: u8) -> Result<(), Refusal> {
        let credential = PresentedCredential::ApiKey { secret_hash: [secret; 32] };
        let permission = permission(Scope::Chat);
        let request = CheckRequest { account: account.clone(), credential, permission, charge: None, caller_address: None };
        match self.store.check(request).await.unwrap() {
            CheckAnswer::Allowed(_) => Ok(()),
            CheckAnswer::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn service_account(&self, account: &AccountId, by: &Signed, name: &str) -> Result<UserId, OrganizationRefusal> {
        let id = UserId::random().unwrap();
        let change = OrganizationChange::CreateServiceAccount { id: id.clone(), name: name.to_owned(), monthly_cap: None };
        match self.change(account, by, change).await {
            OrganizationAnswer::Refused(refusal) => Err(refusal),
            answer => place(answer).map(|_| id).ok_or(OrganizationRefusal::MemberNotFound),
        }
    }
}

pub(crate) async fn an_organization_is_made_with_its_first_owner_an_account_without_credits_and_a_place_in_the_walk(f: Fixture) {
    let ada = f.signed("ada").await;
    let account = f.create(&ada, "Plumbers").await.unwrap();
    assert_eq!(f.role(&account, &ada.person).await, Some(MemberRole::Owner));
    let found = f.organization(&account).await;
    assert_eq!(
        (found.record.name.as_str(), found.record.created_by, found.record.created_at_ms),
        ("Plumbers", ada.person.id.clone(), f.now_ms())
    );
    let snapshot = f.store.snapshot(&account).await.unwrap().unwrap();
    assert_eq!((snapshot.balance.granted, snapshot.ledger.len(), snapshot.violations()), (0, 0, Vec::new()));
    // The walk passes it, as every account.
    let (mut after, mut all) = (None, Vec::new());
    loop {
        let page = f.store.accounts(after).await.unwrap();
        all.extend(page.accounts);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert!(all.contains(&account) && all.contains(&ada.person.account), "{all:?}");
    // It gets credits, and pays for its members.
    let grant = GrantRequest {
        account: account.clone(),
        credits: 5,
        request_id: "g".to_owned(),
        note: String::new(),
        granted_by: ada.person.id.clone(),
    };
    assert!(matches!(f.store.grant(grant, event()).await.unwrap(), GrantAnswer::Granted { .. }));
    let charged = CheckRequest {
        account: account.clone(),
        credential: credential(&ada),
        permission: permission(Scope::Chat),
        charge: Some(one_credit("r", "a")),
        caller_address: None,
    };
    assert!(matches!(f.store.check(charged).await.unwrap(), CheckAnswer::Held(..)));
    // Neither a user's own account nor one that isn't there is an organization.
    for none in [&ada.person.account, &AccountId::random().unwrap()] {
        assert_eq!(f.store.organization(none).await.unwrap(), None);
        assert_eq!(refusal(&f.change(none, &ada, remove(&ada.person)).await), Some(OrganizationRefusal::NotFound));
    }
    assert_eq!(f.store.organizations_of(&UserId::random().unwrap()).await.unwrap(), []);
}

pub(crate) async fn a_repetition_of_making_an_organization_makes_no_other(f: Fixture) {
    let ada = f.signed("ada").await;
    let new = NewOrganization { account: AccountId::random().unwrap(), name: "Plumbers".to_owned() };
    let recorded = f.recorded_changes();
    for _ in 0..2 {
        let made = f.store.create_organization(new.clone(), &credential(&ada), event()).await.unwrap();
        assert!(place(made).is_some());
    }
    assert_eq!((f.store.organizations_of(&ada.person.id).await.unwrap().len(), f.recorded_changes()), (1, recorded + 1));
    assert_eq!(f.create(&ada, "plumbers").await, Err(OrganizationRefusal::NameTaken));
    // Somebody else's may have the name.
    let bob = f.signed("bob").await;
    f.create(&bob, "Plumbers").await.unwrap();
}

pub(crate) async fn a_user_makes_ten_organizations_at_most_though_they_leave_them_and_sixteen_at_once_are_no_more(f: Fixture) {
    let (ada, bob) = (f.signed("ada").await, f.signed("bob").await);
    let first = f.create(&ada, "first").await.unwrap();
    place(f.change(&first, &ada, add(&bob.person, MemberRole::Owner)).await).unwrap();
    f.change(&first, &ada, remove(&ada.person)).await;
    assert_eq!(f.role(&first, &ada.person).await, None);
    let f = Arc::new(f);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..16 {
        let (f, ada) = (Arc::clone(&f), ada.clone());
        tasks.spawn(async move { f.create(&ada, &format!("of {number}")).await });
    }
    let made = tasks.join_all().await;
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), MAX_MADE - 1);
    assert!(made.iter().all(|made| matches!(made, Ok(_) | Err(OrganizationRefusal::Full(Limit::Made)))), "{made:?}");
    assert_eq!(f.store.organizations_of(&ada.person.id).await.unwrap().len(), MAX_MADE - 1);
    // Who is taken back is still who made it, and no more than that.
    place(f.change(&first, &bob, add(&ada.person, MemberRole::Member)).await).unwrap();
    assert_eq!(f.create(&ada, "more").await, Err(OrganizationRefusal::Full(Limit::Made)));
}

pub(crate) async fn a_user_is_a_member_of_a_hundred_organizations_at_most(f: Fixture) {
    let ada = f.signed("ada").await;
    let mut makers = Vec::new();
    for number in 0..=MAX_MEMBERSHIPS / MAX_MADE {
        makers.push(f.signed(&format!("maker{number}")).await);
    }
    for number in 0..MAX_MEMBERSHIPS {
        let maker = &makers[number / MAX_MADE];
        let account = f.create(maker, &format!("of {number}")).await.unwrap();
        place(f.change(&account, maker, add(&ada.person, MemberRole::Member)).await).unwrap();
    }
    let last = makers.last().unwrap();
    let account = f.create(last, "one more").await.unwrap();
    let full = Some(OrganizationRefusal::Full(Limit::Memberships));
    assert_eq!(refusal(&f.change(&account, last, add(&ada.person, MemberRole::Member)).await), full);
    assert_eq!(f.create(&ada, "my own").await.err(), full);
    assert_eq!(f.store.organizations_of(&ada.person.id).await.unwrap().len(), MAX_MEMBERSHIPS);
}

pub(crate) async fn members_and_owners_may_do_what_is_theirs_strangers_nothing_and_operators_all(f: Fixture) {
    let (ada, bob, eve) = (f.signed("ada").await, f.signed("bob").await, f.signed("eve").await);
    let root = f.person_with_role("root", 0, Role::Admin).await;
    let root = f.sign_in(&root).await;
    let account = f.create(&ada, "Plumbers").await.unwrap();
    place(f.change(&account, &ada, add(&bob.person, MemberRole::Member)).await).unwrap();
    let robot = f.service_account(&account, &ada, "ci").await.unwrap();
    let all = || {
        [
            add(&eve.person, MemberRole::Member),
            remove(&ada.person),
            set_role(&bob.person, MemberRole::Owner),
            OrganizationChange::SetCap { principal: bob.person.id.clone(), monthly_cap: Some(1) },
            OrganizationChange::CreateServiceAccount { id: UserId::random().unwrap(), name: "x".to_owned(), monthly_cap: None },
            OrganizationChange::RemoveServiceAccount { id: robot.clone() },
            OrganizationChange::Withdraw { invitation_id: auth_service::ids::InvitationId::random().unwrap() },
        ]
    };
    let before = f.organization(&account).await;
    for (who, expected) in [(&bob, OrganizationRefusal::OwnerRequired), (&eve, OrganizationRefusal::NotFound)] {
        for change in all() {
            assert_eq!(refusal(&f.change(&account, who, change).await), Some(expected), "{who:?}");
        }
    }
    // A stranger has nothing to leave, and isn't told that there is such an organization.
    assert_eq!(refusal(&f.change(&account, &eve, remove(&eve.person)).await), Some(OrganizationRefusal::NotFound));
    assert_eq!(f.organization(&account).await, before);
    for change in all() {
        let answer = f.change(&account, &root, change.clone()).await;
        let expected = matches!(change, OrganizationChange::RemoveMember { .. }).then_some(OrganizationRefusal::LastOwner);
        assert_eq!(refusal(&answer), expected, "{change:?}");
    }
    let after = f.organization(&account).await;
    assert!(after.role_of(&root.person.id).is_none() && after.role_of(&bob.person.id) == Some(MemberRole::Owner));
    // A member may leave by themselves.
    place(f.change(&account, &eve, remove(&eve.person)).await);
    assert_eq!(f.role(&account, &eve.person).await, None);
}

/// How many operators' actions are kept.
fn kept(f: &Fixture) -> usize {
    match &f.home {
        Home::Redis(server) => redis::cmd("XLEN").arg("tg:audit:operators").query(&mut server.connection()).unwrap(),
        Home::Sqlite(folder) => {
            let file = rusqlite::Connection::open(crate::fixture::sqlite_file(folder.path())).unwrap();
            file.query_row("SELECT count(*) FROM audit_operators", [], |row| row.get(0)).unwrap()
        }
    }
}

pub(crate) async fn what_an_operator_does_is_recorded_as_an_operators_and_what_owners_do_is_not(f: Fixture) {
    let ada = f.signed("ada").await;
    let root = f.person_with_role("root", 0, Role::Admin).await;
    let root = f.sign_in(&root).await;
    let bob = f.person("bob", 0).await;
    let (account, own) = (f.create(&ada, "Plumbers").await.unwrap(), f.create(&root, "Operators").await.unwrap());
    let before = kept(&f);
    for (account, by) in [(&account, &root), (&own, &root), (&account, &ada)] {
        let event = AuditEvent { actor: Some(by.person.id.clone()), ..AuditEvent::new(AuditAction::AddMember) };
        f.store.change_organization(request(account, by, add(&bob, MemberRole::Member)), event).await.unwrap();
        f.advance(MINUTE);
    }
    let query = auth_service::store::AuditQuery {
        user: None,
        action: Some(AuditAction::AddMember),
        range: auth_service::store::AuditRange::Newest,
        limit: 10,
    };
    let events = f.store.audit_events(&query).await.unwrap().events;
    let told: Vec<_> = events.iter().map(|one| (one.event.subject_id.as_str(), one.event.by_operator, one.event.detail.as_str())).collect();
    assert_eq!(told, [(own.as_str(), false, "member, no cap"), (account.as_str(), true, "as an operator; member, no cap")]);
    assert_eq!(events[0].event.subject_name, "bob");
    assert_eq!(kept(&f), before + 1);
}

pub(crate) async fn who_asks_must_be_in_force_in_the_step_that_changes_an_organization(f: Fixture) {
    let (ada, bob) = (f.signed("ada").await, f.person("bob", 0).await);
    let account = f.create(&ada, "Plumbers").await.unwrap();
    let before = f.organization(&account).await;
    let change = || f.change(&account, &ada, add(&bob, MemberRole::Member));
    f.store.set_locked(&ada.person.id, true, "", event()).await.unwrap();
    assert_eq!(refusal(&change().await), Some(OrganizationRefusal::Credential(Refusal::UserLocked)));
    f.store.set_locked(&ada.person.id, false, "", event()).await.unwrap();
    assert_eq!(refusal(&change().await), Some(OrganizationRefusal::Credential(Refusal::CredentialRevoked)));
    f.store.set_disabled(&ada.person.id, true, "", event()).await.unwrap();
    assert_eq!(refusal(&change().await), Some(OrganizationRefusal::Credential(Refusal::UserDisabled)));
    f.store.set_disabled(&ada.person.id, false, "", event()).await.unwrap();
    // Neither an API key nor a token without a session changes anything.
    let none = PresentedCredential::AccessToken { user_id: ada.person.id.clone(), session: None, issued_at_ms: f.now_ms() + 1000 };
    for shown in [none, PresentedCredential::ApiKey { secret_hash: [1; 32] }] {
        let asked_by = Some(shown);
        let change = add(&bob, MemberRole::Member);
        let request = OrganizationRequest { account: account.clone(), asked_by, operator: operator(), change };
        let answer = f.store.change_organization(request, event()).await.unwrap();
        assert_eq!(refusal(&answer), Some(OrganizationRefusal::Credential(Refusal::CredentialUnknown)));
    }
    assert_eq!(f.organization(&account).await, before);
}

pub(crate) async fn a_disabled_user_is_added_as_one_who_is_not_there_and_a_member_only_once(f: Fixture) {
    let (ada, bob) = (f.signed("ada").await, f.signed("bob").await);
    let account = f.create(&ada, "Plumbers").await.unwrap();
    f.store.set_disabled(&bob.person.id, true, "", event()).await.unwrap();
    let nobody = Person { id: UserId::random().unwrap(), account: AccountId::random().unwrap() };
    for one in [&bob.person, &nobody] {
        assert_eq!(refusal(&f.change(&account, &ada, add(one, MemberRole::Member)).await), Some(OrganizationRefusal::UserNotFound));
    }
    f.store.set_disabled(&bob.person.id, false, "", event()).await.unwrap();
    f.advance(MINUTE);
    let place = place(f.change(&account, &ada, add(&bob.person, MemberRole::Member)).await).unwrap();
    assert_eq!((place.principal, place.monthly_cap, place.added_at_ms), (Principal::User(MemberRole::Member), None, f.now_ms()));
    for role in [MemberRole::Member, MemberRole::Owner] {
        assert_eq!(refusal(&f.change(&account, &ada, add(&bob.person, role)).await), Some(OrganizationRefusal::AlreadyAMember));
    }
    assert_eq!(f.role(&account, &bob.person).await, Some(MemberRole::Member));
}

pub(crate) async fn a_disabled_member_has_nothing_on_the_organizations_account_from_the_next_call_on(f: Fixture) {
    let (ada, bob) = (f.signed("ada").await, f.signed("bob").await);
    let account = f.create(&ada, "Plumbers").await.unwrap();
    place(f.change(&account, &ada, add(&bob.person, MemberRole::Member)).await).unwrap();
    assert!(matches!(create_key(&*f.store, &account, 1, new_key(&bob.person.id)).await, KeyAnswer::Done { .. }));
    assert_eq!((f.may_use(&account, &bob).await, f.key_is_good(&account, 1).await), (Ok(()), Ok(())));
    f.store.set_disabled(&bob.person.id, true, "", event()).await.unwrap();
    let disabled = Err(Refusal::UserDisabled);
    assert_eq!((f.may_use(&account, &bob).await, f.key_is_good(&account, 1).await), (disabled, disabled));
    // The place holds no state of the user: there was nothing to change.
    assert_eq!(f.role(&account, &bob.person).await, Some(MemberRole::Member));
}

pub(crate) async fn a_membership_ends_with_its_keys_and_a_revocation_and_the_keys_stay_dead_when_it_begins_anew(f: Fixture) {
    let (ada, bob) = (f.signed("ada").await, f.signed("bob").await);
    let account = f.create(&ada, "Plumbers").await.unwrap();
    place(f.change(&account, &ada, add(&bob.person, MemberRole::Member)).await).unwrap();
    for (secret, of) in [(1, &bob), (2, &bob), (3, &ada)] {
        create_key(&*f.store, &account, secret, new_key(&of.person.id)).await;
    }
    let own = f.key(&bob.person, 4, |_| {}).await;
    let place_before = here(&*f.store).await;
    assert_eq!(place(f.change(&account, &ada, remove(&bob.person)).await), None);
    let revocation = Revocation {
        user_id: bob.person.id.clone(),
        revoked: Revoked::Membership { account: account.clone() },
        reason: ErrorReason::AccountNotAllowed,
    };
    assert_eq!(told(&*f.store, &place_before).await.0, [revocation]);
    assert_eq!(f.may_use(&account, &bob).await, Err(Refusal::NotAMember));
    assert_eq!(f.role(&account, &bob.person).await, None);
    assert_eq!(refusal(&f.change(&account, &ada, remove(&bob.person)).await), Some(OrganizationRefusal::MemberNotFound));
    place(f.change(&account, &ada, add(&bob.person, MemberRole::Member)).await).unwrap();
    assert_eq!(f.may_use(&account, &bob).await, Ok(()));
    for secret in [1, 2] {
        assert_eq!(f.key_is_good(&account, secret).await, Err(Refusal::CredentialRevoked), "{secret}");
    }
    // What isn't of that place stays.
    assert_eq!(f.key_is_good(&account, 3).await, Ok(()));
    assert_eq!((f.is_good(&bob.person, 4).await, own.revoked_at_ms), (Ok(1), None));
}

pub(crate) async fn the_last_owner_who_can_act_neither_leaves_nor_becomes_a_member_and_a_locked_or_disabled_one_counts_as_none(f: Fixture) {
    let (ada, bob) = (f.signed("ada").await, f.signed("bob").await);
    let account = f.create(&ada, "Plumbers").await.unwrap();
    place(f.change(&account, &ada, add(&bob.person, MemberRole::Member)).await).unwrap();
    let last = Some(OrganizationRefusal::LastOwner);
    let goes = || [remove(&ada.person), set_role(&ada.person, MemberRole::Member)];
    for change in goes() {
        assert_eq!(refusal(&f.change(&account, &ada, change).await), last);
    }
    place(f.change(&account, &ada, set_role(&bob.person, MemberRole::Owner)).await).unwrap();
    for (disabled, locked) in [(true, false), (false, true)] {
        f.store.set_disabled(&bob.person.id, disabled, "", event()).await.unwrap();
        f.store.set_locked(&bob.person.id, locked, "", event()).await.unwrap();
        for change in goes() {
            assert_eq!(refusal(&f.change(&account, &ada, change).await), last, "{disabled} {locked}");
        }
        // Who can't act may be removed, or be no owner any more.
        place(f.change(&account, &ada, set_role(&bob.person, MemberRole::Member)).await).unwrap();
        place(f.change(&account, &ada, set_role(&bob.person, MemberRole::Owner)).await).unwrap();
    }
    f.store.set_locked(&bob.person.id, false, "", event()).await.unwrap();
    let recorded = f.recorded_changes();
    place(f.change(&account, &ada, set_role(&bob.person, MemberRole::Owner)).await).unwrap();
    assert_eq!(f.recorded_changes(), recorded, "what is so already changes nothing");
    place(f.change(&account, &ada, set_role(&ada.person, MemberRole::Member)).await).unwrap();
    place(f.change(&account, &ada, remove(&ada.person)).await);
    assert_eq!((f.role(&account, &ada.person).await, f.role(&account, &bob.person).await), (None, Some(MemberRole::Owner)));
}

pub(crate) async fn a_cap_is_set_for_members_and_service_accounts_alone_and_is_in_their_rights_at_once(f: Fixture) {
    let ada = f.signed("ada").await;
    let account = f.create(&ada, "Plumbers").await.unwrap();
    let robot = f.service_account(&account, &ada, "ci").await.unwrap();
    for id in [&ada.person.id, &robot] {
        for monthly_cap in [Some(7), None, Some(0)] {
            let change = OrganizationChange::SetCap { principal: id.clone(), monthly_cap };
            assert_eq!(place(f.change(&account, &ada, change).await).unwrap().monthly_cap, monthly_cap);
            assert_eq!(f.organization(&account).await.places[id].monthly_cap, monthly_cap);
        }
    }
    let of_nobody = OrganizationChange::SetCap { principal: UserId::random().unwrap(), monthly_cap: None };
    assert_eq!(refusal(&f.change(&account, &ada, of_nobody).await), Some(OrganizationRefusal::MemberNotFound));
}

pub(crate) async fn a_service_account_outlives_its_maker_and_its_keys_end_with_it(f: Fixture) {
    let (ada, bob) = (f.signed("ada").await, f.signed("bob").await);
    let account = f.create(&ada, "Plumbers").await.unwrap();
    place(f.change(&account, &ada, add(&bob.person, MemberRole::Owner)).await).unwrap();
    let robot = f.service_account(&account, &bob, "ci").await.unwrap();
    create_key(&*f.store, &account, 1, new_key(&robot)).await;
    create_key(&*f.store, &account, 2, new_key(&bob.person.id)).await;
    f.store.set_disabled(&bob.person.id, true, "", event()).await.unwrap();
    assert_eq!((f.key_is_good(&account, 1).await, f.key_is_good(&account, 2).await), (Ok(()), Err(Refusal::UserDisabled)));
    place(f.change(&account, &ada, remove(&bob.person)).await);
    assert_eq!((f.key_is_good(&account, 1).await, f.key_is_good(&account, 2).await), (Ok(()), Err(Refusal::CredentialRevoked)));
    let kept = f.organization(&account).await.places[&robot].principal.clone();
    assert_eq!(kept, Principal::ServiceAccount { name: "ci".to_owned(), created_by: bob.person.id.clone() });
    // It is no member, and a member none.
    for change in [
        OrganizationChange::RemoveMember { user: robot.clone() },
        OrganizationChange::SetRole { user: robot.clone(), role: MemberRole::Owner },
        OrganizationChange::RemoveServiceAccount { id: ada.person.id.clone() },
    ] {
        assert_eq!(refusal(&f.change(&account, &ada, change).await), Some(OrganizationRefusal::MemberNotFound));
    }
    let end = || OrganizationChange::RemoveServiceAccount { id: robot.clone() };
    assert_eq!(place(f.change(&account, &ada, end()).await), None);
    assert_eq!(f.key_is_good(&account, 1).await, Err(Refusal::CredentialRevoked));
    assert_eq!(refusal(&f.change(&account, &ada, end()).await), Some(OrganizationRefusal::MemberNotFound));
}

pub(crate) async fn an_organization_has_a_hundred_service_accounts_at_most_and_each_a_name_of_its_own(f: Fixture) {
    let ada = f.signed("ada").await;
    let account = f.create(&ada, "Plumbers").await.unwrap();
    for number in 0..MAX_SERVICE_ACCOUNTS {
        f.service_account(&account, &ada, &format!("ci {number}")).await.unwrap();
    }
    assert_eq!(f.service_account(&account, &ada, "CI 7").await, Err(OrganizationRefusal::NameTaken));
    assert_eq!(f.service_account(&account, &ada, "ci").await, Err(OrganizationRefusal::Full(Limit::ServiceAccounts)));
    assert_eq!(f.organization(&account).await.places.len(), MAX_SERVICE_ACCOUNTS + 1);
}

/// The making of an organization breaks off after its account was registered.
#[tokio::test]
async fn an_organization_whose_making_broke_off_half_way_is_none_and_the_walk_goes_on() {
    let f = Fixture::redis(crate::limits()).await;
    let ada = f.signed("ada").await;
    let Home::Redis(server) = &f.home else { panic!("not on Redis") };
    let lost = AccountId::parse("LostLostLostLost").unwrap();
    let shard = (0..16).map(|shard| format!("tg:accounts:{{{shard}}}"));
    for key in shard {
        server.command(&["ZADD", &key, "0", lost.as_str()]);
    }
    server.command(&["ZADD", "tg:organizations", "0", lost.as_str()]);
    assert_eq!(f.walk().await, 0);
    assert_eq!(f.store.organization(&lost).await.unwrap(), None);
    assert_eq!(f.store.balance(&lost).await.unwrap(), None);
    let account = f.create(&ada, "Plumbers").await.unwrap();
    assert_eq!(f.store.organizations_of(&ada.person.id).await.unwrap().len(), 1);
    assert_eq!(f.role(&account, &ada.person).await, Some(MemberRole::Owner));
}

/// Organizations are in the registry of accounts, and in no index of names.
#[tokio::test]
async fn a_list_of_users_is_complete_and_looks_at_no_account_again_beside_many_organizations() {
    let f = Fixture::redis(crate::limits()).await;
    let ada = f.signed("ada").await;
    let list = async || {
        let query = auth_service::store::UserQuery { prefix: String::new(), state: None, after: None, limit: 10 };
        f.store.users(&query).await.unwrap().users.len()
    };
    let Home::Redis(server) = &f.home else { panic!("not on Redis") };
    for number in 0..3 {
        f.create(&ada, &format!("of {number}")).await.unwrap();
        let before = server.calls_of("zscan") + server.calls_of("zrangebylex");
        assert_eq!(list().await, 1);
        assert_eq!(server.calls_of("zscan") + server.calls_of("zrangebylex"), before + 1, "{number}");
    }
}

/// What takes something away is done in a store that is full.
#[tokio::test]
async fn members_are_removed_and_invitations_withdrawn_while_redis_is_full() {
    let f = Fixture::redis(crate::limits()).await;
    let (ada, bob) = (f.signed("ada").await, f.signed("bob").await);
    let account = f.create(&ada, "Plumbers").await.unwrap();
    place(f.change(&account, &ada, add(&bob.person, MemberRole::Member)).await).unwrap();
    let Home::Redis(server) = &f.home else { panic!("not on Redis") };
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let eve = f.store.change_organization(request(&account, &ada, add(&ada.person, MemberRole::Member)), event()).await;
    assert!(matches!(eve, Ok(OrganizationAnswer::Refused(OrganizationRefusal::AlreadyAMember))), "{eve:?}");
    let invited = f.store.change_organization(request(&account, &ada, crate::invitations::invite(1, MemberRole::Member)), event()).await;
    assert!(matches!(invited, Err(StoreError::Full(_))), "{invited:?}");
    assert_eq!(place(f.change(&account, &ada, remove(&bob.person)).await), None);
    assert_eq!(f.role(&account, &bob.person).await, None);
}

//! An organization's members and service accounts: whose rights count on its account, and who changes which of its keys.

use std::sync::Arc;
use std::time::Duration;

use auth_service::hold::Outcome;
use auth_service::ids::{AccountId, UserId};
use auth_service::keyring::MAX_LIVE_API_KEYS;
use auth_service::organization::MemberRole;
use auth_service::organization::change::{OrganizationAnswer, OrganizationChange, OrganizationRequest};
use auth_service::organization::creation::NewOrganization;
use auth_service::store::{
    ApiKeyRecord, CheckAnswer, CheckRequest, ExtendAnswer, GrantRequest, KeyAnswer, KeyChange, KeyChangeRequest, KeyRefusal, Permission,
    PresentedCredential, Refusal, Revoked, Scope, SettleAnswer, Store,
};
use tokio::task::JoinSet;

use crate::fixture::{Fixture, Person, by_token, event, new_key, new_secret, one_credit, permission, used};
use crate::revocations::{here, told};
use crate::sessions::Signed;

/// An organization, and its first owner, whose person is their own.
#[derive(Debug, Clone)]
pub(crate) struct Company {
    pub(crate) account: AccountId,
    pub(crate) owner: Signed,
}

impl Company {
    /// The owner, who has the organization pay.
    pub(crate) fn boss(&self) -> Person {
        self.seat(&self.owner.person)
    }

    /// A member, who has the organization pay.
    pub(crate) fn seat(&self, person: &Person) -> Person {
        Person { id: person.id.clone(), account: self.account.clone() }
    }
}

pub(crate) fn by_session(signed: &Signed, at_ms: i64) -> PresentedCredential {
    PresentedCredential::AccessToken { user_id: signed.person.id.clone(), session: Some(signed.id.clone()), issued_at_ms: at_ms }
}

impl Fixture {
    pub(crate) async fn company(&self, credits: i64) -> Company {
        let owner = self.person("owner", 0).await;
        let owner = self.sign_in(&owner).await;
        let account = AccountId::from(&UserId::random().unwrap());
        let new = NewOrganization { account: account.clone(), name: "Plumbers".to_owned() };
        let made = self.store.create_organization(new, &by_session(&owner, self.now_ms()), event()).await.unwrap();
        assert!(matches!(made, OrganizationAnswer::Place { .. }), "{made:?}");
        let company = Company { account, owner };
        if credits > 0 {
            self.grant_to(&company.boss(), credits).await;
        }
        company
    }

    /// Credits for the account in somebody's seat.
    pub(crate) async fn grant_to(&self, seat: &Person, credits: i64) {
        let (account, request_id, note) = (seat.account.clone(), "first".to_owned(), String::new());
        self.store.grant(GrantRequest { account, credits, request_id, note, granted_by: seat.id.clone() }, event()).await.unwrap();
    }

    /// Changes an organization, as its owner.
    pub(crate) async fn change_company(&self, company: &Company, change: OrganizationChange) -> OrganizationAnswer {
        change_company(&*self.store, company, self.now_ms(), change).await
    }

    /// A user who is made a member, in their seat.
    pub(crate) async fn member(&self, company: &Company, name: &str, monthly_cap: Option<i64>) -> Person {
        let person = self.person(name, 0).await;
        self.add(company, &person, monthly_cap).await;
        company.seat(&person)
    }

    pub(crate) async fn add(&self, company: &Company, person: &Person, monthly_cap: Option<i64>) {
        let add = OrganizationChange::AddMember { user: person.id.clone(), role: MemberRole::Member, monthly_cap };
        let added = self.change_company(company, add).await;
        assert!(matches!(added, OrganizationAnswer::Place { place: Some(_), .. }), "{added:?}");
    }

    pub(crate) async fn remove(&self, company: &Company, person: &Person) {
        let removed = self.change_company(company, OrganizationChange::RemoveMember { user: person.id.clone() }).await;
        assert!(matches!(removed, OrganizationAnswer::Place { place: None, .. }), "{removed:?}");
    }

    pub(crate) async fn set_cap(&self, company: &Company, person: &Person, monthly_cap: Option<i64>) {
        let set = self.change_company(company, OrganizationChange::SetCap { principal: person.id.clone(), monthly_cap }).await;
        assert!(matches!(set, OrganizationAnswer::Place { place: Some(_), .. }), "{set:?}");
    }

    /// A service account, and its key's secret.
    pub(crate) async fn robot(&self, company: &Company, name: &str, secret: u8, monthly_cap: Option<i64>) -> Person {
        let id = UserId::random().unwrap();
        let create = OrganizationChange::CreateServiceAccount { id: id.clone(), name: name.to_owned(), monthly_cap };
        let made = self.change_company(company, create).await;
        assert!(matches!(made, OrganizationAnswer::Place { place: Some(_), .. }), "{made:?}");
        let robot = Person { id, account: company.account.clone() };
        let asker = by_session(&company.owner, self.now_ms());
        done(self.change_key(&company.account, asker, create_of(&robot, secret)).await);
        robot
    }

    /// Changes an organization's keys by an access token.
    pub(crate) async fn change_key(&self, account: &AccountId, asker: PresentedCredential, change: KeyChange) -> KeyAnswer {
        let request = KeyChangeRequest { account: account.clone(), asker: Some(asker), change };
        self.store.change_api_keys(request, event()).await.unwrap()
    }

    fn token_of(&self, person: &Person) -> PresentedCredential {
        self.request(person, None).credential
    }

    /// What a Check by this credential is refused for: one that holds, and one that doesn't.
    async fn refusal_by(&self, store: &dyn Store, account: &AccountId, credential: &PresentedCredential) -> Option<Refusal> {
        let mut refusals = Vec::new();
        for charge in [Some(one_credit("refusal", "a")), None] {
            let request = CheckRequest {
                account: account.clone(),
                credential: credential.clone(),
                permission: Permission { model: String::new(), ..permission(Scope::Account) },
                charge,
                caller_address: None,
            };
            let answer = store.check(request).await.unwrap();
            refusals.push(if let CheckAnswer::Refused(refusal) = answer { Some(refusal) } else { None });
        }
        assert_eq!(refusals[0], refusals[1]);
        refusals[0]
    }
}

pub(crate) async fn change_company(store: &dyn Store, company: &Company, now_ms: i64, change: OrganizationChange) -> OrganizationAnswer {
    let operator = Permission { admin: true, ..Permission::of(Scope::Account) };
    let asked_by = Some(by_session(&company.owner, now_ms));
    let request = OrganizationRequest { account: company.account.clone(), asked_by, operator, change };
    store.change_organization(request, event()).await.unwrap()
}

fn create_of(person: &Person, secret: u8) -> KeyChange {
    let key = ApiKeyRecord { scopes: vec![Scope::Chat, Scope::Account], ..new_key(&person.id) };
    KeyChange::Create { key, secret: new_secret(secret), request: None }
}

fn done(answer: KeyAnswer) -> ApiKeyRecord {
    match answer {
        KeyAnswer::Done { key, .. } => key.key,
        other => panic!("{other:?}"),
    }
}

fn by_key(secret: u8) -> PresentedCredential {
    PresentedCredential::ApiKey { secret_hash: [secret; 32] }
}

pub(crate) async fn an_organization_pays_for_its_members_by_token_and_by_key_and_for_nobody_else(f: Fixture) {
    let company = f.company(100).await;
    let ada = f.member(&company, "ada", None).await;
    let eve = f.person("eve", 0).await;
    done(f.change_key(&company.account, f.token_of(&ada), create_of(&ada, 1)).await);
    for round in 0..3 {
        let held = f.hold(&ada, by_token(&format!("token-{round}"), "a")).await;
        assert_eq!((&held.terms.account, &held.terms.user_id), (&company.account, &ada.id));
        f.settle(&held.terms, Outcome::Completed, 2).await;
        let by_key = f.check_key(&ada, 1, permission(Scope::Chat), Some(by_token(&format!("key-{round}"), "a"))).await;
        let CheckAnswer::Held(principal, held) = by_key else { panic!("{by_key:?}") };
        assert!(principal.key_id.is_some() && !principal.owns());
        f.settle(&held.terms, Outcome::Completed, 2).await;
        assert_eq!(f.refusal_by(&*f.store, &company.account, &f.token_of(&eve)).await, Some(Refusal::NotAMember));
    }
    let balance = f.snapshot(&ada).await.balance;
    assert_eq!((balance.available, balance.spent, balance.held), (100 - 18, 18, 0));
    // Their own account is another one.
    let own = Person { account: AccountId::from(&ada.id), id: ada.id.clone() };
    let short = CheckAnswer::Refused(Refusal::InsufficientCredits { needed: 1, available: 0 });
    assert_eq!(f.check(&own, one_credit("own", "a")).await, short);
    assert_eq!(f.store.receipt(&company.account, &ada.id, "token-0").await.unwrap().unwrap().terms.user_id, ada.id);
}

pub(crate) async fn a_disable_a_lock_and_a_log_out_hold_on_an_organizations_account_from_the_next_call_on_in_every_process(f: Fixture) {
    let company = f.company(1000).await;
    let other = f.elsewhere().await;
    let ada = f.member(&company, "ada", Some(500)).await;
    let signed = f.sign_in(&Person { account: AccountId::from(&ada.id), id: ada.id.clone() }).await;
    done(f.change_key(&company.account, f.token_of(&ada), create_of(&ada, 1)).await);
    let refusals = async |credential: &PresentedCredential| {
        let here = f.refusal_by(&*f.store, &company.account, credential).await;
        assert_eq!(here, f.refusal_by(&*other, &company.account, credential).await);
        here
    };
    let session = by_session(&signed, f.now_ms());
    // Both processes know both of them by now.
    for _ in 0..2 {
        assert_eq!((refusals(&session).await, refusals(&by_key(1)).await), (None, None));
    }
    f.store.set_locked(&ada.id, true, "", event()).await.unwrap();
    assert_eq!((refusals(&session).await, refusals(&by_key(1)).await), (Some(Refusal::UserLocked), None));
    f.store.set_locked(&ada.id, false, "", event()).await.unwrap();
    assert_eq!(refusals(&session).await, Some(Refusal::CredentialRevoked));
    f.advance(Duration::from_secs(1));
    let again = f.sign_in(&signed.person).await;
    let session = by_session(&again, f.now_ms());
    assert_eq!(refusals(&session).await, None);
    f.store.end_session(&ada.id, &again.id, event()).await.unwrap();
    assert_eq!((refusals(&session).await, refusals(&by_key(1)).await), (Some(Refusal::CredentialRevoked), None));
    f.store.set_disabled(&ada.id, true, "", event()).await.unwrap();
    assert_eq!((refusals(&session).await, refusals(&by_key(1)).await), (Some(Refusal::UserDisabled), Some(Refusal::UserDisabled)));
    f.store.set_disabled(&ada.id, false, "", event()).await.unwrap();
    assert_eq!(refusals(&by_key(1)).await, None);
}

pub(crate) async fn a_removed_member_is_refused_from_the_next_call_on_and_what_they_hold_is_settled_and_not_extended(f: Fixture) {
    let company = f.company(100).await;
    let other = f.elsewhere().await;
    let (ada, bob) = (f.member(&company, "ada", None).await, f.member(&company, "bob", None).await);
    done(f.change_key(&company.account, f.token_of(&ada), create_of(&ada, 1)).await);
    let (of_ada, of_bob) = (f.hold(&ada, by_token("r", "a")).await.terms, f.hold(&bob, by_token("r", "a")).await.terms);
    let CheckAnswer::Held(_, by_her_key) = f.check_key(&ada, 1, permission(Scope::Chat), Some(by_token("k", "a"))).await else { panic!() };
    assert_eq!(f.refusal_by(&*other, &company.account, &by_key(1)).await, None);
    let place = here(&*f.store).await;
    f.remove(&company, &ada).await;
    let ended = Revoked::Membership { account: company.account.clone() };
    let told = told(&*f.store, &place).await.0;
    assert!(told.iter().any(|revocation| revocation.user_id == ada.id && revocation.revoked == ended), "{told:?}");
    for store in [&*f.store, &*other] {
        assert_eq!(f.refusal_by(store, &company.account, &f.token_of(&ada)).await, Some(Refusal::NotAMember));
        assert_eq!(f.refusal_by(store, &company.account, &by_key(1)).await, Some(Refusal::CredentialRevoked));
    }
    for (hold, refusal) in [(&of_ada, Refusal::NotAMember), (&by_her_key.terms, Refusal::CredentialRevoked)] {
        assert_eq!(f.store.extend(hold, used(2)).await.unwrap(), ExtendAnswer::Refused(refusal));
    }
    assert!(matches!(f.store.extend(&of_bob, used(2)).await.unwrap(), ExtendAnswer::Extended { .. }));
    f.settle(&of_ada, Outcome::Cancelled, 3).await;
    f.settle(&by_her_key.terms, Outcome::NothingGenerated, 0).await;
    let snapshot = f.snapshot(&ada).await;
    assert_eq!((snapshot.balance.spent, snapshot.balance.held), (4, 11 + 1));
    // Added again, what was hers before stays dead.
    f.add(&company, &ada, None).await;
    assert_eq!(f.refusal_by(&*f.store, &company.account, &f.token_of(&ada)).await, None);
    assert_eq!(f.refusal_by(&*f.store, &company.account, &by_key(1)).await, Some(Refusal::CredentialRevoked));
}

pub(crate) async fn a_hold_of_an_organization_is_extended_until_its_users_own_state_or_place_changes_against_it(f: Fixture) {
    let company = f.company(1000).await;
    let ada = f.member(&company, "ada", None).await;
    let hold = f.hold(&ada, by_token("r", "a")).await.terms;
    let extend = async || f.store.extend(&hold, used(1)).await.unwrap();
    assert!(matches!(extend().await, ExtendAnswer::Extended { .. }));
    // Neither another member nor a cap is a reason.
    f.member(&company, "bob", None).await;
    f.set_cap(&company, &ada, Some(0)).await;
    assert!(matches!(extend().await, ExtendAnswer::Extended { .. }));
    f.store.set_locked(&ada.id, true, "", event()).await.unwrap();
    assert_eq!(extend().await, ExtendAnswer::Refused(Refusal::UserLocked));
    f.store.set_disabled(&ada.id, true, "", event()).await.unwrap();
    assert_eq!(extend().await, ExtendAnswer::Refused(Refusal::UserDisabled));
    let SettleAnswer::Settled(record) = f.store.settle(&hold, Outcome::Cancelled, used(4)).await.unwrap() else { panic!() };
    assert_eq!(record.resolved.unwrap().charged_credits, 5);
    f.snapshot(&ada).await;
}

pub(crate) async fn a_service_account_spends_by_its_key_within_its_cap_and_outlives_who_made_it(f: Fixture) {
    let company = f.company(100).await;
    let successor = f.member(&company, "ada", None).await;
    let robot = f.robot(&company, "ci", 1, Some(3)).await;
    let set = OrganizationChange::SetRole { user: successor.id.clone(), role: MemberRole::Owner };
    f.change_company(&company, set).await;
    let spend = async |request_id: &str| f.check_key(&robot, 1, permission(Scope::Chat), Some(one_credit(request_id, "a"))).await;
    let CheckAnswer::Held(principal, held) = spend("r1").await else { panic!("not held") };
    assert_eq!((&principal.user_id, &held.terms.user_id, principal.owns()), (&robot.id, &robot.id, false));
    f.settle(&held.terms, Outcome::Completed, 1).await;
    // Whoever made it is disabled, and gone from the organization.
    f.store.set_disabled(&company.owner.person.id, true, "", event()).await.unwrap();
    let CheckAnswer::Held(_, held) = spend("r2").await else { panic!("not held") };
    assert!(matches!(f.store.extend(&held.terms, used(1)).await.unwrap(), ExtendAnswer::Extended { .. }));
    f.settle(&held.terms, Outcome::Completed, 1).await;
    let CheckAnswer::Held(_, held) = spend("r3").await else { panic!("not held") };
    assert_eq!(spend("r4").await, CheckAnswer::Refused(Refusal::MemberCapReached { needed: 1, left: 0 }));
    // A token that an issuer gives it is its credential too; a session it never has.
    let token = |session| PresentedCredential::AccessToken { user_id: robot.id.clone(), session, issued_at_ms: f.now_ms() };
    let allowed = f.store.check(CheckRequest { credential: token(None), ..f.request(&robot, None) }).await.unwrap();
    assert!(matches!(allowed, CheckAnswer::Allowed(_)), "{allowed:?}");
    let with_session = CheckRequest { credential: token(Some(company.owner.id.clone())), ..f.request(&robot, None) };
    assert_eq!(f.store.check(with_session).await.unwrap(), CheckAnswer::Refused(Refusal::CredentialUnknown));
    // It is nobody outside of its organization.
    let own = Person { account: AccountId::from(&robot.id), id: robot.id.clone() };
    assert_eq!(f.check(&own, one_credit("own", "a")).await, CheckAnswer::Refused(Refusal::CredentialUnknown));
    f.settle(&held.terms, Outcome::Completed, 1).await;
    assert_eq!(f.snapshot(&robot).await.balance.spent, 3);
}

pub(crate) async fn keys_of_an_organization_are_changed_by_whose_they_are_and_revoked_by_owners_too(f: Fixture) {
    let company = f.company(10).await;
    let (ada, bob) = (f.member(&company, "ada", None).await, f.member(&company, "bob", None).await);
    let robot = f.robot(&company, "ci", 9, None).await;
    let (ada_asks, bob_asks, owner_asks) = (f.token_of(&ada), f.token_of(&bob), by_session(&company.owner, f.now_ms()));
    let change = async |asker: &PresentedCredential, change| f.change_key(&company.account, asker.clone(), change).await;
    let of_ada = done(change(&ada_asks, create_of(&ada, 1)).await);
    let of_robot = f.keys(&robot).await.into_iter().find(|key| key.user_id == robot.id).unwrap();
    let rotate = |key: &ApiKeyRecord, secret: u8| KeyChange::Rotate {
        key_id: key.key_id.clone(),
        secret: new_secret(secret),
        grace: Duration::from_secs(60),
        request: None,
    };
    let revoke = |key: &ApiKeyRecord| KeyChange::Revoke { key_id: key.key_id.clone() };
    let audited = f.recorded_changes();
    let forbidden = KeyAnswer::Forbidden;
    for (asker, tried, answer) in [
        (&bob_asks, create_of(&ada, 2), forbidden(KeyRefusal::OwnerRequired)),
        (&bob_asks, create_of(&robot, 2), forbidden(KeyRefusal::OwnerRequired)),
        (&bob_asks, rotate(&of_ada, 2), KeyAnswer::NotFound),
        (&bob_asks, rotate(&of_robot, 2), KeyAnswer::NotFound),
        (&bob_asks, revoke(&of_ada), KeyAnswer::NotFound),
        (&bob_asks, revoke(&of_robot), KeyAnswer::NotFound),
        (&owner_asks, create_of(&ada, 2), forbidden(KeyRefusal::NoSuchServiceAccount)),
        (&owner_asks, create_of(&f.person("nobody", 0).await, 2), forbidden(KeyRefusal::NoSuchServiceAccount)),
        (&owner_asks, rotate(&of_ada, 2), forbidden(KeyRefusal::OfAnotherMember)),
    ] {
        assert_eq!(change(asker, tried.clone()).await, answer, "{tried:?}");
    }
    assert_eq!(f.recorded_changes(), audited + 1, "the one who is nobody was made");
    done(change(&ada_asks, rotate(&of_ada, 3)).await);
    done(change(&owner_asks, rotate(&of_robot, 4)).await);
    assert_eq!((f.is_good(&ada, 1).await, f.is_good(&ada, 3).await, f.is_good(&robot, 4).await), (Ok(1), Ok(2), Ok(2)));
    done(change(&owner_asks, revoke(&of_ada)).await);
    assert_eq!(f.is_good(&ada, 3).await, Err(Refusal::CredentialRevoked));
    assert!(f.is_good(&robot, 4).await.is_ok());
    // On their own account nobody else is an owner.
    let stranger = f.change_key(&AccountId::from(&ada.id), owner_asks, create_of(&ada, 5)).await;
    assert_eq!(stranger, KeyAnswer::Refused(Refusal::NotAMember));
}

pub(crate) async fn one_members_keys_take_no_place_of_anothers(f: Fixture) {
    let company = f.company(0).await;
    let (ada, bob) = (f.member(&company, "ada", None).await, f.member(&company, "bob", None).await);
    for secret in 0..u8::try_from(MAX_LIVE_API_KEYS).unwrap() {
        done(f.change_key(&company.account, f.token_of(&ada), create_of(&ada, secret)).await);
    }
    assert_eq!(f.change_key(&company.account, f.token_of(&ada), create_of(&ada, 200)).await, KeyAnswer::TooManyKeys);
    done(f.change_key(&company.account, f.token_of(&bob), create_of(&bob, 201)).await);
    assert!(f.is_good(&bob, 201).await.is_ok());
}

pub(crate) async fn no_key_is_made_in_an_organization_by_whom_was_disabled_or_removed_before_it(f: Fixture) {
    let company = f.company(0).await;
    let elsewhere = f.elsewhere().await;
    for round in 0..8_u8 {
        let person = f.person(&format!("user-{round}"), 0).await;
        f.add(&company, &person, None).await;
        let seat = company.seat(&person);
        let asker = f.token_of(&seat);
        let mut calls = JoinSet::new();
        for secret in 0..4 {
            let (store, change) = (Arc::clone(&f.store), create_of(&seat, round * 8 + secret));
            let request = KeyChangeRequest { account: company.account.clone(), asker: Some(asker.clone()), change };
            calls.spawn(async move { (round * 8 + secret, store.change_api_keys(request, event()).await.unwrap()) });
        }
        let (store, user, company_there, now_ms) = (Arc::clone(&elsewhere), person.id.clone(), company.clone(), f.now_ms());
        let ending = tokio::spawn(async move {
            if round % 2 == 0 {
                store.set_disabled(&user, true, "", event()).await.unwrap();
            } else {
                change_company(&*store, &company_there, now_ms, OrganizationChange::RemoveMember { user }).await;
            }
        });
        let answers = calls.join_all().await;
        ending.await.unwrap();
        let expected = if round % 2 == 0 { Refusal::UserDisabled } else { Refusal::NotAMember };
        for (secret, answer) in answers {
            match answer {
                KeyAnswer::Done { .. } => {
                    let now = f.is_good(&seat, secret).await.unwrap_err();
                    assert!(now == expected || now == Refusal::CredentialRevoked, "{now:?}");
                }
                KeyAnswer::Refused(refusal) => assert_eq!(refusal, expected),
                other => panic!("{other:?}"),
            }
        }
        if round % 2 == 1 {
            // Whatever was made before the removal ended with it.
            let live = f.keys(&seat).await.into_iter().filter(|key| key.user_id == seat.id && key.revoked_at_ms.is_none()).count();
            assert_eq!(live, 0);
        }
    }
}

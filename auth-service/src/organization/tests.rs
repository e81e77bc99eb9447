use std::collections::BTreeMap;

use super::change::{Decision, OrganizationAnswer, OrganizationChange, OrganizationRefusal, OrganizationRequest, Situation, on_change};
use super::*;
use crate::session::{Session, SignInMethod};
use crate::store::{AuditAction, AuditEvent, Permission, PresentedCredential, Refusal, Scope};
use crate::token_scopes::TokenScopes;
use crate::user_state::test_user::{self, NOW_MS};

fn id(number: u8) -> UserId {
    UserId::parse(&format!("{number:016}")).unwrap()
}

fn account() -> AccountId {
    AccountId::parse("OrganizationOrga").unwrap()
}

/// 1 is an owner, 2 a member, 3 nobody.
fn organization() -> Organization {
    let place = |role| Membership { principal: Principal::User(role), monthly_cap: None, added_at_ms: 0 };
    let record = OrganizationRecord { name: "Plumbers".to_owned(), created_at_ms: 0, created_by: id(1) };
    let places = BTreeMap::from([(id(1), place(MemberRole::Owner)), (id(2), place(MemberRole::Member))]);
    Organization { account: account(), record, places, invitations: Vec::new() }
}

fn session() -> Session {
    Session {
        session_id: test_user::id(1),
        created_at_ms: 0,
        last_used_at_ms: 0,
        refresh_expires_at_ms: NOW_MS + 1,
        ends_at_ms: NOW_MS + 1,
        tokens_valid_from_ms: 5,
        client: String::new(),
        address: None,
        method: SignInMethod::Password,
        scopes: TokenScopes::All,
        family_hash: [0; 32],
        token_hash: [0; 32],
        previous: None,
        second_factor_at_ms: None,
    }
}

/// Somebody who is signed in.
fn person(number: u8, role: Role) -> Person {
    let mut state = test_user::state(vec![session()]);
    (state.user.user_id, state.user.role, state.member.role) = (id(number), role, role);
    Person { state, organizations: BTreeMap::new() }
}

/// 1 to 3, and 4, an operator.
fn people() -> People {
    let of = |number| (id(number), person(number, if number == 4 { Role::Admin } else { Role::User }));
    (1..=4).map(of).collect()
}

fn asked(by: u8, change: OrganizationChange) -> OrganizationRequest {
    let session = Some(test_user::id(1));
    let asked_by = Some(PresentedCredential::AccessToken { user_id: id(by), session, issued_at_ms: 0 });
    let operator = Permission { admin: true, step_up: true, ..Permission::of(Scope::Account) };
    OrganizationRequest { account: account(), asked_by, operator, change }
}

fn decide(organization: &Organization, people: &People, request: &OrganizationRequest) -> Decision {
    let situation = Situation { organization, people, secrets: &[], usages: &[], now_ms: NOW_MS };
    on_change(situation, request, &AuditEvent::new(AuditAction::AddMember))
}

fn refusal(decision: &Decision) -> Option<OrganizationRefusal> {
    match decision.answer {
        OrganizationAnswer::Refused(refusal) => Some(refusal),
        _ => None,
    }
}

fn add(user: u8) -> OrganizationChange {
    OrganizationChange::AddMember { user: id(user), role: MemberRole::Member, monthly_cap: None }
}

#[test]
fn an_operator_who_must_step_up_does_so_for_others_organizations_and_not_for_their_own() {
    let (organization, mut people) = (organization(), people());
    let step_up = Some(OrganizationRefusal::Credential(Refusal::StepUpRequired));
    assert_eq!(refusal(&decide(&organization, &people, &asked(4, add(3)))), step_up);
    let mut own = organization.clone();
    own.places.insert(id(4), own.places[&id(1)].clone());
    assert_eq!(refusal(&decide(&own, &people, &asked(4, add(3)))), None);
    // Who leaves, leaves.
    own.places.insert(id(4), own.places[&id(2)].clone());
    assert_eq!(refusal(&decide(&own, &people, &asked(4, OrganizationChange::RemoveMember { user: id(4) }))), None);
    assert_eq!(refusal(&decide(&own, &people, &asked(4, add(3)))), step_up, "a member is no owner");
    if let Some(operator) = people.get_mut(&id(4)) {
        operator.state.sessions[0].second_factor_at_ms = Some(NOW_MS);
    }
    let decided = decide(&organization, &people, &asked(4, add(3)));
    let event = decided.changes.and_then(|changes| changes.event).unwrap();
    assert_eq!((event.by_operator, event.detail.as_str()), (true, "as an operator; member, no cap"));
}

#[test]
fn a_change_is_decided_from_who_asks_whom_it_is_about_and_of_other_owners_where_one_goes() {
    let mut organization = organization();
    let names = |request: &OrganizationRequest, organization: &Organization| {
        (request.people(organization), request.other_owners(organization).into_iter().cloned().collect::<Vec<_>>())
    };
    assert_eq!(names(&asked(1, add(3)), &organization), (vec![id(1), id(3)], Vec::new()));
    let leave = asked(1, OrganizationChange::RemoveMember { user: id(1) });
    assert_eq!(names(&leave, &organization), (vec![id(1)], Vec::new()));
    organization.places.insert(id(3), organization.places[&id(1)].clone());
    assert_eq!(names(&leave, &organization), (vec![id(1)], vec![id(3)]));
    // A member's end asks for no owner.
    assert_eq!(names(&asked(1, OrganizationChange::RemoveMember { user: id(2) }), &organization).1, Vec::new());
}

#[test]
fn an_organization_has_a_thousand_members_at_most_and_service_accounts_take_none_of_their_places() {
    let (mut organization, people) = (organization(), people());
    let place = organization.places[&id(2)].clone();
    for number in 0..MAX_MEMBERS - 3 {
        organization.places.insert(UserId::parse(&format!("member{number:010}")).unwrap(), place.clone());
    }
    let robot = Principal::ServiceAccount { name: "ci".to_owned(), created_by: id(1) };
    for number in 0..MAX_SERVICE_ACCOUNTS {
        let place = Membership { principal: robot.clone(), ..place.clone() };
        organization.places.insert(UserId::parse(&format!("robot{number:011}")).unwrap(), place);
    }
    assert_eq!(refusal(&decide(&organization, &people, &asked(1, add(3)))), None);
    organization.places.insert(id(9), place);
    assert_eq!(refusal(&decide(&organization, &people, &asked(1, add(3)))), Some(OrganizationRefusal::Full(Limit::Members)));
}

#[test]
fn an_invitation_lets_in_while_its_maker_is_an_owner_or_an_operator_who_can_act() {
    let organization = organization();
    let user = |number, role, disabled, locked| UserRecord { disabled, locked, ..person(number, role).state.user };
    for (number, role, disabled, locked, expected) in [
        (1, Role::User, false, false, true),
        (1, Role::User, true, false, false),
        (1, Role::User, false, true, false),
        (2, Role::User, false, false, false),
        (3, Role::User, false, false, false),
        (4, Role::Admin, false, false, true),
        (4, Role::Admin, true, false, false),
    ] {
        assert_eq!(organization.may_invite(&user(number, role, disabled, locked)), expected, "{number} {disabled} {locked}");
    }
    let reset = UserRecord { reset_ends_at_ms: Some(NOW_MS), ..user(1, Role::User, false, false) };
    assert!(!organization.may_invite(&reset), "an operator has reset the password");
}

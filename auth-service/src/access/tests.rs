use super::*;
use crate::hold::Fields;
use crate::ids::{AccountId, SessionId};
use crate::organization::MemberRole;
use crate::price::Price;

const NOW_MS: i64 = 1_700_000_000_500;

fn user() -> UserId {
    UserId::parse("0123456789abcdef").unwrap()
}

fn member() -> Member {
    Member { role: Role::User, disabled: false, locked: false, password_change_required: false, tokens_valid_from_ms: 0 }
}

fn key() -> KeyRights {
    KeyRights {
        key_id: KeyId::parse("0123456789ab").unwrap(),
        secret_number: 1,
        user_id: user(),
        scopes: vec![Scope::Chat],
        models: Vec::new(),
        networks: Vec::new(),
        expires_at_ms: None,
        revoked_at_ms: None,
    }
}

fn rows(key: Option<KeyRights>, member: Option<Member>) -> Rows {
    Rows { key, session: None, member, membership: None }
}

fn permission() -> Permission {
    Permission { model: "llama3.2:1b".to_owned(), ..Permission::of(Scope::Chat) }
}

fn by_key() -> CheckRequest {
    let credential = PresentedCredential::ApiKey { secret_hash: [7; 32] };
    CheckRequest { account: AccountId::from(&user()), credential, permission: permission(), charge: None, caller_address: None }
}

fn by_token(issued_at_ms: i64) -> CheckRequest {
    CheckRequest { credential: PresentedCredential::AccessToken { user_id: user(), session: None, issued_at_ms }, ..by_key() }
}

#[test]
fn a_key_is_refused_for_the_first_of_its_reasons() {
    let refusal = |key: Option<KeyRights>, member: Option<Member>| authorize(&by_key(), rows(key, member), NOW_MS).unwrap_err();
    let disabled = Member { disabled: true, ..member() };
    let ended = KeyRights { expires_at_ms: Some(NOW_MS), ..key() };
    let revoked = KeyRights { revoked_at_ms: Some(1), ..ended.clone() };
    let elsewhere = KeyRights { scopes: vec![Scope::Account], models: vec![ModelPattern::read("qwen*")], ..key() };
    let outside = KeyRights { networks: vec!["192.0.2.0/24".parse().unwrap()], ..elsewhere.clone() };
    assert_eq!(refusal(None, Some(member())), Refusal::CredentialUnknown);
    assert_eq!(refusal(Some(revoked), Some(disabled)), Refusal::CredentialRevoked);
    assert_eq!(refusal(Some(ended), Some(disabled)), Refusal::CredentialExpired);
    assert_eq!(refusal(Some(key()), None), Refusal::NotAMember);
    assert_eq!(refusal(Some(outside.clone()), Some(disabled)), Refusal::UserDisabled);
    assert_eq!(refusal(Some(outside), Some(member())), Refusal::NetworkNotAllowed);
    assert_eq!(refusal(Some(elsewhere.clone()), Some(member())), Refusal::ScopeRequired);
    let scoped = KeyRights { scopes: vec![Scope::Chat], ..elsewhere };
    assert_eq!(refusal(Some(scoped), Some(member())), Refusal::ModelNotAllowed);
}

#[test]
fn a_good_key_says_who_acts_and_when_it_ends() {
    let ends = KeyRights { expires_at_ms: Some(NOW_MS + 1), models: vec![ModelPattern::read("LLAMA3*")], ..key() };
    let rights = authorize(&by_key(), rows(Some(ends), Some(member())), NOW_MS).unwrap();
    assert_eq!(
        rights.principal,
        Principal { user_id: user(), role: Role::User, key_id: Some(key().key_id), key_secret: 1, session_id: None, membership: None }
    );
    assert_eq!(rights.end_at_ms(), Some(NOW_MS + 1));
}

#[test]
fn a_token_is_good_from_the_second_in_which_tokens_became_valid() {
    let at = |tokens_valid_from_ms| Some(Member { tokens_valid_from_ms, ..member() });
    let issued_at_ms = 1_700_000_000_000;
    assert!(authorize(&by_token(issued_at_ms), rows(None, at(issued_at_ms + 999)), NOW_MS).is_ok());
    let too_old = authorize(&by_token(issued_at_ms), rows(None, at(issued_at_ms + 1000)), NOW_MS);
    assert_eq!(too_old.unwrap_err(), Refusal::CredentialRevoked);
}

#[test]
fn a_token_of_nobody_is_unknown_on_its_own_account_and_no_member_of_another() {
    assert_eq!(authorize(&by_token(NOW_MS), Rows::default(), NOW_MS).unwrap_err(), Refusal::CredentialUnknown);
    let elsewhere = CheckRequest { account: AccountId::parse("ffffffffffffffff").unwrap(), ..by_token(NOW_MS) };
    assert_eq!(authorize(&elsewhere, Rows::default(), NOW_MS).unwrap_err(), Refusal::NotAMember);
}

#[test]
fn only_an_admin_may_do_what_needs_the_role() {
    let mut request = by_token(NOW_MS);
    request.permission = Permission { admin: true, ..Permission::of(Scope::Models) };
    assert_eq!(authorize(&request, rows(None, Some(member())), NOW_MS).unwrap_err(), Refusal::RoleRequired);
    assert!(authorize(&request, rows(None, Some(Member { role: Role::Admin, ..member() })), NOW_MS).is_ok());
}

#[test]
fn a_limited_key_may_name_its_models_and_no_other() {
    let rights = |models: &[&str]| {
        let key = KeyRights { models: models.iter().map(|pattern| ModelPattern::read(pattern)).collect(), ..key() };
        authenticate(&by_key(), rows(Some(key), Some(member())), NOW_MS).unwrap()
    };
    let limited = rights(&["library/*", "Hf.co/A/B*"]);
    for (model, allowed) in [("llama3", true), ("hf.co/a/big:q8_0", true), ("hf.co/evil/big", false), ("someone/llama3", false)] {
        assert_eq!(limited.allow(model), allowed, "{model}");
        assert!(rights(&[]).allow(model), "{model}");
        assert!(!rights(&["", "no pattern"]).allow(model), "{model}");
    }
}

#[test]
fn a_token_of_a_session_is_good_while_the_session_is_there_whatever_its_own_times_say() {
    let session = SessionId::parse("abcdefghijkl").unwrap();
    let credential = PresentedCredential::AccessToken { user_id: user(), session: Some(session.clone()), issued_at_ms: 0 };
    let request = CheckRequest { credential, ..by_token(0) };
    let valid_from = |tokens_valid_from_ms| Member { tokens_valid_from_ms, ..member() };
    let rights = |tokens_valid_from_ms, ends_at_ms| {
        Some(SessionRights { tokens_valid_from_ms, ends_at_ms, created_at_ms: 0, second_factor_at_ms: None })
    };
    let check = |session, member| authorize(&request, Rows { key: None, session, member: Some(member), membership: None }, NOW_MS);
    let good = check(rights(NOW_MS, NOW_MS + 1), valid_from(NOW_MS)).unwrap();
    assert_eq!((good.principal.session_id.clone(), good.principal.key_secret, good.end_at_ms()), (Some(session), 0, Some(NOW_MS + 1)));
    for (session, member, refusal) in [
        (None, valid_from(NOW_MS), Refusal::CredentialRevoked),
        // Somebody ended all of the user's tokens since it began, in whichever direction the clock went.
        (rights(NOW_MS, NOW_MS + 1), valid_from(NOW_MS + 1), Refusal::CredentialRevoked),
        (rights(NOW_MS, NOW_MS + 1), valid_from(NOW_MS - 1), Refusal::CredentialRevoked),
        (rights(NOW_MS, NOW_MS), valid_from(NOW_MS), Refusal::CredentialExpired),
        // What is wrong with the user is said first.
        (None, Member { disabled: true, locked: true, ..member() }, Refusal::UserDisabled),
        (None, Member { locked: true, ..member() }, Refusal::UserLocked),
        (rights(0, NOW_MS + 1), Member { locked: true, ..member() }, Refusal::UserLocked),
    ] {
        assert_eq!(check(session, member).unwrap_err(), refusal, "{session:?} {member:?}");
    }
}

#[test]
fn a_locked_users_keys_are_good_and_their_tokens_of_whatever_kind_are_not() {
    let locked = || Some(Member { locked: true, ..member() });
    assert!(authorize(&by_key(), rows(Some(key()), locked()), NOW_MS).is_ok());
    assert_eq!(authorize(&by_token(NOW_MS), rows(None, locked()), NOW_MS).unwrap_err(), Refusal::UserLocked);
}

#[test]
fn a_key_is_good_for_the_operations_of_its_scopes_and_for_no_other() {
    for scope in Scope::ALL {
        for others in [Scope::ALL.to_vec(), vec![scope], Scope::ALL.into_iter().filter(|other| *other != scope).collect()] {
            let key = KeyRights { scopes: others.clone(), ..key() };
            let request = CheckRequest { permission: Permission::of(scope), ..by_key() };
            let answer = authorize(&request, rows(Some(key), Some(member())), NOW_MS).map(|_| ());
            assert_eq!(answer, if others.contains(&scope) { Ok(()) } else { Err(Refusal::ScopeRequired) }, "{scope:?} {others:?}");
        }
    }
}

#[test]
fn a_key_with_networks_is_good_from_within_them_alone_and_a_token_from_everywhere() {
    let key = KeyRights { networks: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()], ..key() };
    let from = |address: Option<&str>| {
        let request = CheckRequest { caller_address: address.map(|address| address.parse().unwrap()), ..by_key() };
        authorize(&request, rows(Some(key.clone()), Some(member())), NOW_MS).map(|_| ())
    };
    for inside in ["10.2.3.4", "::ffff:10.2.3.4", "2001:db8::7"] {
        assert_eq!(from(Some(inside)), Ok(()), "{inside}");
    }
    for outside in [Some("11.2.3.4"), Some("2001:db9::7"), Some("::10.2.3.4"), None] {
        assert_eq!(from(outside), Err(Refusal::NetworkNotAllowed), "{outside:?}");
    }
    assert!(authorize(&by_token(NOW_MS), rows(None, Some(member())), NOW_MS).is_ok());
}

fn versions() -> RightsVersions {
    RightsVersions { account: RightsVersion::from_bytes([1; 8]), home: None }
}

/// What is held with it, paid by this account.
fn held_on(account: &str, standing: &Standing) -> Terms {
    Terms::new(Fields {
        account: AccountId::parse(account).unwrap(),
        user_id: user(),
        key_id: None,
        request_id: "r".to_owned(),
        attempt_id: "a".to_owned(),
        fingerprint: vec![1],
        model: String::new(),
        price: Price::default(),
        held_credits: 1,
        max_input_tokens: 1,
        max_output_tokens: 1,
        standing: Some(standing.clone()),
    })
}

fn since(standing: &Standing, rows: &Rows) -> Option<Refusal> {
    refusal_since(&held_on(user().as_str(), standing), standing, rows, NOW_MS)
}

fn standing(credential: PresentedCredential, good_until_ms: Option<i64>) -> Standing {
    Standing { credential, rights_versions: versions(), good_until_ms }
}

#[test]
fn what_a_key_holds_goes_on_until_it_is_revoked_or_its_user_disabled_whatever_its_time() {
    let held = standing(by_key().credential, Some(NOW_MS));
    let good_later = standing(by_key().credential, Some(NOW_MS + 1));
    let for_good = standing(by_key().credential, None);
    let member = |disabled, locked| Some(Member { disabled, locked, ..member() });
    let revoked = || KeyRights { revoked_at_ms: Some(1), ..key() };
    let ended = || KeyRights { expires_at_ms: Some(1), ..key() };
    for (standing, rows, refusal) in [
        (&held, rows(Some(key()), member(false, false)), None),
        (&held, rows(Some(key()), member(false, true)), None),
        (&held, rows(Some(ended()), member(false, false)), None),
        (&held, rows(Some(key()), member(true, false)), Some(Refusal::UserDisabled)),
        (&held, rows(Some(revoked()), member(false, false)), Some(Refusal::CredentialRevoked)),
        (&held, rows(Some(key()), None), Some(Refusal::NotAMember)),
        // What is no longer there was revoked, unless its time was over.
        (&held, rows(None, None), None),
        (&good_later, rows(None, None), Some(Refusal::CredentialRevoked)),
        (&for_good, rows(None, None), Some(Refusal::CredentialRevoked)),
    ] {
        assert_eq!(since(standing, &rows), refusal, "{standing:?} {rows:?}");
    }
}

#[test]
fn what_a_token_holds_goes_on_until_its_session_is_ended_or_its_user_disabled_or_locked() {
    let session = || SessionId::parse("abcdefghijkl").unwrap();
    let by = |session| PresentedCredential::AccessToken { user_id: user(), session, issued_at_ms: 5_000 };
    let (of_session, ended) = (standing(by(Some(session())), Some(NOW_MS + 1)), standing(by(Some(session())), Some(NOW_MS)));
    let of_none = standing(by(None), Some(NOW_MS));
    let valid_from = |tokens_valid_from_ms| Member { tokens_valid_from_ms, ..member() };
    let there =
        |tokens_valid_from_ms| Some(SessionRights { tokens_valid_from_ms, ends_at_ms: 1, created_at_ms: 0, second_factor_at_ms: None });
    let rows = |session, member| Rows { key: None, session, member, membership: None };
    for (standing, rows, refusal) in [
        // The session's end, and the token's, are no reason.
        (&of_session, rows(there(7), Some(valid_from(7))), None),
        (&of_session, rows(there(7), Some(valid_from(8))), Some(Refusal::CredentialRevoked)),
        (&of_session, rows(None, Some(valid_from(7))), Some(Refusal::CredentialRevoked)),
        (&ended, rows(None, Some(valid_from(7))), None),
        (&of_session, rows(there(7), None), Some(Refusal::NotAMember)),
        (&of_session, rows(there(7), Some(Member { disabled: true, locked: true, ..valid_from(7) })), Some(Refusal::UserDisabled)),
        (&of_session, rows(there(7), Some(Member { locked: true, ..valid_from(7) })), Some(Refusal::UserLocked)),
        (&of_none, rows(None, Some(valid_from(5_999))), None),
        (&of_none, rows(None, Some(valid_from(6_000))), Some(Refusal::CredentialRevoked)),
        (&of_none, rows(None, Some(Member { locked: true, ..valid_from(0) })), Some(Refusal::UserLocked)),
    ] {
        assert_eq!(since(standing, &rows), refusal, "{standing:?} {rows:?}");
    }
}

#[test]
fn a_hold_remembers_until_when_its_credential_is_good_by_itself() {
    let idle = Duration::from_secs(60);
    let until =
        |request: &CheckRequest, rows| authorize(request, rows, NOW_MS).unwrap().holder(request, versions(), idle).standing.good_until_ms;
    let ends = KeyRights { expires_at_ms: Some(NOW_MS + 7), ..key() };
    assert_eq!(until(&by_key(), rows(Some(ends), Some(member()))), Some(NOW_MS + 7));
    assert_eq!(until(&by_key(), rows(Some(key()), Some(member()))), None);
    // The session that gave a token lives as long as it may be idle, or shorter when it ends before.
    let session = Some(SessionId::parse("abcdefghijkl").unwrap());
    let credential = PresentedCredential::AccessToken { user_id: user(), session, issued_at_ms: NOW_MS - 1_000 };
    let request = CheckRequest { credential, ..by_key() };
    for (ends_at_ms, expected) in [(NOW_MS + 1, NOW_MS + 1), (NOW_MS + 100_000, NOW_MS + 59_000)] {
        let session = Some(SessionRights { tokens_valid_from_ms: 0, ends_at_ms, created_at_ms: 0, second_factor_at_ms: None });
        assert_eq!(until(&request, Rows { key: None, session, member: Some(member()), membership: None }), Some(expected));
    }
}

const ORGANIZATION: &str = "fedcba9876543210";

fn asked_of_organization(request: CheckRequest) -> CheckRequest {
    CheckRequest { account: AccountId::parse(ORGANIZATION).unwrap(), ..request }
}

fn place(principal: PlaceOf) -> Option<Membership> {
    Some(Membership { principal, monthly_cap: Some(7), added_at_ms: 0 })
}

fn service_account() -> Option<Membership> {
    place(PlaceOf::ServiceAccount { name: "ci".to_owned(), created_by: user() })
}

#[test]
fn in_an_organization_both_the_place_there_and_the_users_own_state_count() {
    let by_session = {
        let session = Some(SessionId::parse("abcdefghijkl").unwrap());
        let credential = PresentedCredential::AccessToken { user_id: user(), session, issued_at_ms: NOW_MS };
        CheckRequest { credential, ..by_key() }
    };
    let session = Some(SessionRights { tokens_valid_from_ms: 0, ends_at_ms: NOW_MS + 1, created_at_ms: 0, second_factor_at_ms: None });
    let (here, disabled, locked) =
        (place(PlaceOf::User(MemberRole::Member)), Member { disabled: true, ..member() }, Member { locked: true, ..member() });
    for (request, key, session, member, membership, expected) in [
        (by_key(), Some(key()), None, Some(member()), here.clone(), Ok(Some(7))),
        (by_key(), Some(key()), None, Some(member()), None, Err(Refusal::NotAMember)),
        (by_key(), Some(key()), None, None, here.clone(), Err(Refusal::NotAMember)),
        (by_key(), Some(key()), None, Some(disabled), here.clone(), Err(Refusal::UserDisabled)),
        (by_key(), Some(key()), None, Some(locked), here.clone(), Ok(Some(7))),
        (by_session.clone(), None, session, Some(member()), here.clone(), Ok(Some(7))),
        (by_session.clone(), None, session, Some(locked), here.clone(), Err(Refusal::UserLocked)),
        (by_session.clone(), None, None, Some(member()), here.clone(), Err(Refusal::CredentialRevoked)),
        (by_session.clone(), None, session, Some(member()), None, Err(Refusal::NotAMember)),
        // A service account has no state of its own, and no session.
        (by_key(), Some(key()), None, None, service_account(), Ok(Some(7))),
        (by_token(NOW_MS), None, None, None, service_account(), Ok(Some(7))),
        (by_session, None, session, None, service_account(), Err(Refusal::CredentialUnknown)),
    ] {
        let rows = Rows { key, session, member, membership };
        let rights = authorize(&asked_of_organization(request), rows.clone(), NOW_MS);
        assert_eq!(rights.map(|rights| rights.monthly_cap()), expected, "{rows:?}");
    }
}

#[test]
fn a_place_in_an_organization_says_nothing_about_the_users_own_account() {
    let rows = Rows { key: Some(key()), session: None, member: None, membership: service_account() };
    assert_eq!(authorize(&by_key(), rows, NOW_MS).unwrap_err(), Refusal::NotAMember);
    let rows = Rows { key: Some(key()), session: None, member: Some(member()), membership: place(PlaceOf::User(MemberRole::Owner)) };
    let rights = authorize(&by_key(), rows, NOW_MS).unwrap();
    assert_eq!((rights.monthly_cap(), rights.principal.owns()), (None, true));
}

#[test]
fn what_an_organization_pays_for_goes_on_while_the_place_there_is_and_the_user_is_in_force() {
    let held = standing(by_key().credential, None);
    let terms = held_on(ORGANIZATION, &held);
    let disabled = Member { disabled: true, ..member() };
    let here = place(PlaceOf::User(MemberRole::Member));
    for (member, membership, expected) in [
        (Some(member()), here.clone(), None),
        (Some(member()), None, Some(Refusal::NotAMember)),
        (Some(disabled), here.clone(), Some(Refusal::UserDisabled)),
        (Some(disabled), None, Some(Refusal::NotAMember)),
        (None, here, Some(Refusal::NotAMember)),
        (None, service_account(), None),
        (None, None, Some(Refusal::NotAMember)),
    ] {
        let rows = Rows { key: Some(key()), session: None, member, membership };
        assert_eq!(refusal_since(&terms, &held, &rows, NOW_MS), expected, "{rows:?}");
    }
}

//! Disabled, locked, reset: who may sign in, and that of two changes of one user at once one sees the other.

use std::sync::Arc;
use std::time::Duration;

use auth_service::session::{RefreshRefusal, SessionStart, Shown};
use auth_service::store::clock::Clock;
use auth_service::store::{AuditEvent, CheckAnswer, PresentedCredential, Refusal, Scope, Store, StoreError, UserChange};
use auth_service::user::Role;
use auth_service::user_state::{NewState, PasswordChange};

use crate::fixture::{Fixture, Home, PASSWORD_HASH, Person, WITHOUT_VERSION_10, event, permission, revoke_key, sqlite_file};
use crate::sessions::{Signed, by_session, credential, new_session};

const NEW_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$bmV3";
const ONE_TIME_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$b25l";
/// Races of each kind: enough that both orders come.
pub(crate) const RACES: usize = 24;

/// What ends a user's sessions, or one of them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    Disable,
    Lock,
    Reset,
    EndAll,
    EndOne,
    ByToken,
    /// By another session of the user.
    ChangePassword,
}

pub(crate) const ENDINGS: [Ending; 7] =
    [Ending::Disable, Ending::Lock, Ending::Reset, Ending::EndAll, Ending::EndOne, Ending::ByToken, Ending::ChangePassword];

pub(crate) async fn end(store: &dyn Store, ending: Ending, signed: &Signed, other: &Signed) {
    let id = &signed.person.id;
    match ending {
        Ending::Disable => assert!(store.set_disabled(id, true, "why", event()).await.unwrap().unwrap().changed),
        Ending::Lock => assert!(store.set_locked(id, true, "why", event()).await.unwrap().unwrap().changed),
        Ending::Reset => assert!(store.reset_password(id, ONE_TIME_HASH, event()).await.unwrap().is_some()),
        Ending::EndAll => assert!(store.end_all_sessions(id, event()).await.unwrap().is_some()),
        Ending::EndOne => assert!(store.end_session(id, &signed.id, event()).await.unwrap()),
        Ending::ByToken => assert!(store.end_session_of(id, &signed.id, [7; 32], event()).await.unwrap()),
        Ending::ChangePassword => {
            let change = store.change_password(id, &credential(other), PASSWORD_HASH, NEW_HASH, event()).await.unwrap().unwrap();
            assert!(matches!(change, PasswordChange::Changed { .. }), "{change:?}");
        }
    }
}

/// Does both at once; in every other race the second one is a step ahead.
pub(crate) async fn at_once<A, B>(race: usize, one: A, other: B) -> (A::Output, B::Output)
where
    A: Future<Output: Send> + Send + 'static,
    B: Future<Output: Send> + Send + 'static,
{
    let (one, other) = if race.is_multiple_of(2) {
        (tokio::spawn(one), tokio::spawn(other))
    } else {
        let other = tokio::spawn(other);
        (tokio::spawn(one), other)
    };
    let (one, other) = tokio::join!(one, other);
    (one.unwrap(), other.unwrap())
}

/// A user of their own for each race, with two sessions.
pub(crate) async fn racer(f: &Fixture, number: usize, ending: Ending) -> (Signed, Signed) {
    let person = f.person(&format!("{ending:?}{number}"), 20).await;
    (f.sign_in(&person).await, f.sign_in(&person).await)
}

pub(crate) async fn a_refresh_that_races_whatever_ends_its_session_never_wins(f: Fixture) {
    let f = Arc::new(f);
    for ending in ENDINGS {
        for number in 0..RACES {
            let (signed, other) = racer(&f, number, ending).await;
            let (g, one) = (Arc::clone(&f), signed.clone());
            let refresh = async move { g.refresh(&one, 0, 1).await };
            let (g, one, another) = (Arc::clone(&f), signed.clone(), other.clone());
            let (refreshed, ()) = at_once(number, refresh, async move { end(&*g.store, ending, &one, &another).await }).await;
            // Either may have come first.
            let _ = refreshed;
            // Now that the end has answered, neither the session nor what the refresh gave is good.
            let refusal = f.refusal(&signed).await;
            assert!(
                matches!(refusal, Some(Refusal::CredentialRevoked | Refusal::UserDisabled | Refusal::UserLocked)),
                "{ending:?}: {refusal:?}"
            );
            for token in [0, 1] {
                assert!(f.refresh(&signed, token, 9).await.is_err(), "{ending:?}");
            }
        }
    }
}

pub(crate) async fn a_sign_in_that_races_whatever_ends_all_sessions_leaves_none_that_was_refused(f: Fixture) {
    let f = Arc::new(f);
    for ending in [Ending::Disable, Ending::Lock, Ending::Reset, Ending::ChangePassword] {
        for number in 0..RACES {
            let (signed, other) = racer(&f, number, ending).await;
            // Its password was verified before the change, and its session is to begin.
            let (g, person) = (Arc::clone(&f), signed.person.clone());
            let begin = async move { g.begin(&person, PASSWORD_HASH).await };
            let (g, one, another) = (Arc::clone(&f), signed.clone(), other.clone());
            let ((id, start), ()) = at_once(number, begin, async move { end(&*g.store, ending, &one, &another).await }).await;
            let begun = Signed { person: signed.person.clone(), id };
            assert!(f.refusal(&begun).await.is_some(), "{ending:?}: {start:?}");
            assert!(f.refresh(&begun, 0, 1).await.is_err(), "{ending:?}: {start:?}");
        }
    }
}

pub(crate) async fn a_login_that_verified_the_old_password_while_it_was_changed_gets_nothing(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let signed = f.sign_in(&ada).await;
    let changed = f.store.change_password(&ada.id, &credential(&signed), PASSWORD_HASH, NEW_HASH, event()).await.unwrap();
    assert_eq!(changed, Some(PasswordChange::Changed { ended_sessions: 0 }));
    let (id, start) = f.begin(&ada, PASSWORD_HASH).await;
    assert_eq!(start, SessionStart::PasswordReplaced);
    assert_eq!(f.refusal(&Signed { person: ada.clone(), id }).await, Some(Refusal::CredentialRevoked));
    assert!(matches!(f.begin(&ada, NEW_HASH).await.1, SessionStart::Begun(_)));
}

pub(crate) async fn a_password_change_ends_every_other_session_and_keeps_its_own(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let (one, two, three) = (f.sign_in(&ada).await, f.sign_in(&ada).await, f.sign_in(&ada).await);
    f.key(&ada, 1, |_| {}).await;
    let of_before = f.request(&ada, None);
    f.advance(Duration::from_secs(1));
    let change = async |signed: &Signed, verified, new| {
        f.store.change_password(&ada.id, &credential(signed), verified, new, event()).await.unwrap().unwrap()
    };
    assert_eq!(change(&two, "another", NEW_HASH).await, PasswordChange::PasswordReplaced);
    assert_eq!(change(&two, PASSWORD_HASH, NEW_HASH).await, PasswordChange::Changed { ended_sessions: 2 });
    assert_eq!(change(&two, PASSWORD_HASH, NEW_HASH).await, PasswordChange::Changed { ended_sessions: 0 }, "a repetition");
    assert_eq!(f.store.user_by_id(&ada.id).await.unwrap().unwrap().password_hash, NEW_HASH);
    for ended in [&one, &three] {
        assert_eq!(f.refusal(ended).await, Some(Refusal::CredentialRevoked));
        assert_eq!(f.refresh(ended, 0, 1).await, Err(RefreshRefusal::Revoked));
    }
    assert_eq!(f.store.check(of_before).await.unwrap(), CheckAnswer::Refused(Refusal::CredentialRevoked));
    assert_eq!(f.refusal(&two).await, None);
    f.refresh(&two, 0, 1).await.unwrap();
    assert!(matches!(f.check_key(&ada, 1, permission(Scope::Chat), None).await, CheckAnswer::Allowed(_)));
    // A session that was revoked while its owner typed changes nothing.
    f.store.end_session(&ada.id, &two.id, event()).await.unwrap();
    assert_eq!(change(&two, NEW_HASH, "yet another").await, PasswordChange::Refused(Refusal::CredentialRevoked));
}

pub(crate) async fn a_locked_user_keeps_api_keys_and_has_no_sessions_until_unlocked(f: Fixture) {
    let ada = f.person("ada", 20).await;
    f.key(&ada, 1, |_| {}).await;
    let signed = f.sign_in(&ada).await;
    let of_before = f.request(&ada, None);
    f.advance(Duration::from_secs(1));
    let locked = f.store.set_locked(&ada.id, true, "a leaked password", event()).await.unwrap().unwrap();
    assert!(locked.changed && locked.user.locked && locked.user.state_reason == "a leaked password");
    assert_eq!(f.store.user_by_id(&ada.id).await.unwrap(), Some(locked.user.clone()));
    assert!(!f.store.set_locked(&ada.id, true, "another", event()).await.unwrap().unwrap().changed);
    assert_eq!(f.refusal(&signed).await, Some(Refusal::UserLocked));
    assert_eq!(f.store.check(of_before.clone()).await.unwrap(), CheckAnswer::Refused(Refusal::UserLocked));
    assert_eq!(f.refresh(&signed, 0, 1).await, Err(RefreshRefusal::UserLocked));
    assert_eq!(f.begin(&ada, PASSWORD_HASH).await.1, SessionStart::Refused);
    assert!(matches!(f.check_key(&ada, 1, permission(Scope::Chat), None).await, CheckAnswer::Allowed(_)));
    assert!(f.store.set_locked(&ada.id, false, "", event()).await.unwrap().unwrap().changed);
    assert_eq!(f.refusal(&signed).await, Some(Refusal::CredentialRevoked), "it stays ended");
    assert_eq!(f.store.check(of_before).await.unwrap(), CheckAnswer::Refused(Refusal::CredentialRevoked));
    assert_eq!(f.refresh(&signed, 0, 1).await, Err(RefreshRefusal::Revoked));
    let again = f.sign_in(&ada).await;
    assert_eq!(f.refusal(&again).await, None);
    assert_eq!(f.store.set_locked(&auth_service::ids::UserId::random().unwrap(), true, "", event()).await.unwrap(), None);
}

async fn operator(f: &Fixture, name: &str) -> Person {
    f.person_with_role(name, 0, Role::Admin).await
}

/// Has an operator make something of a user.
async fn ask(store: &dyn Store, operator: &Person, user: &Person, new: NewState) -> UserChange {
    let event = AuditEvent { actor: Some(operator.id.clone()), ..event() };
    let change = match new {
        NewState::Disabled(disabled) => store.set_disabled(&user.id, disabled, "why", event).await,
        NewState::Locked(locked) => store.set_locked(&user.id, locked, "why", event).await,
    };
    change.unwrap().unwrap()
}

pub(crate) async fn operators_disable_and_lock_others_while_they_are_in_force_and_never_themselves(f: Fixture) {
    let (peach, daisy, mario) = (operator(&f, "peach").await, operator(&f, "daisy").await, f.person("mario", 0).await);
    let ask = async |operator, user, new| {
        let recorded = f.recorded_changes();
        let UserChange { changed, refused, .. } = ask(&*f.store, operator, user, new).await;
        assert_eq!(f.recorded_changes() - recorded, usize::from(changed), "what is refused changes nothing");
        (changed, refused)
    };
    for taken in [NewState::Disabled(true), NewState::Locked(true)] {
        let given = if taken == NewState::Locked(true) { NewState::Locked(false) } else { NewState::Disabled(false) };
        let out = if taken == NewState::Locked(true) { Refusal::UserLocked } else { Refusal::UserDisabled };
        assert_eq!(ask(&peach, &peach, taken).await, (false, Some(Refusal::OtherOperatorRequired)));
        assert_eq!(ask(&mario, &daisy, taken).await, (false, Some(Refusal::RoleRequired)));
        assert_eq!(ask(&peach, &mario, taken).await, (true, None));
        assert_eq!(ask(&peach, &daisy, taken).await, (true, None));
        // Whoever is out takes nobody with them, and lets nobody in.
        for (user, new) in [(&peach, taken), (&mario, given), (&daisy, given)] {
            assert_eq!(ask(&daisy, user, new).await, (false, Some(out)));
        }
        assert_eq!(ask(&peach, &daisy, given).await, (true, None));
        assert_eq!(ask(&daisy, &mario, given).await, (true, None));
    }
}

pub(crate) async fn of_two_operators_who_take_each_other_out_at_once_one_is_left(f: Fixture) {
    let two = [operator(&f, "peach").await, operator(&f, "daisy").await];
    let elsewhere = f.elsewhere().await;
    for round in 0..30 {
        let new = if round % 2 == 0 { NewState::Disabled(true) } else { NewState::Locked(true) };
        let (one, other) = tokio::join!(ask(&*f.store, &two[0], &two[1], new), ask(&*elsewhere, &two[1], &two[0], new));
        let done = [one.changed, other.changed];
        assert!(done[0] != done[1], "{done:?}: {one:?}, {other:?}");
        let (left, out) = if done[0] { (&two[0], &two[1]) } else { (&two[1], &two[0]) };
        let back = if round % 2 == 0 { NewState::Disabled(false) } else { NewState::Locked(false) };
        assert!(ask(&*f.store, left, out, back).await.changed);
    }
}

pub(crate) async fn a_refresh_does_not_survive_that_its_user_is_disabled_and_enabled_again(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let signed = f.sign_in(&ada).await;
    f.store.set_disabled(&ada.id, true, "left", event()).await.unwrap();
    assert_eq!(f.refresh(&signed, 0, 1).await, Err(RefreshRefusal::UserDisabled));
    assert_eq!(f.refusal(&signed).await, Some(Refusal::UserDisabled));
    assert_eq!(f.begin(&ada, PASSWORD_HASH).await.1, SessionStart::Refused);
    f.store.set_disabled(&ada.id, false, "", event()).await.unwrap();
    assert_eq!(f.refresh(&signed, 0, 1).await, Err(RefreshRefusal::Revoked));
    assert_eq!(f.refusal(&signed).await, Some(Refusal::CredentialRevoked));
    let again = f.sign_in(&ada).await;
    assert_eq!(f.refusal(&again).await, None);
}

pub(crate) async fn a_reset_password_lets_nobody_in_until_another_was_chosen_with_the_one_time_password(f: Fixture) {
    let ada = f.person("ada", 20).await;
    f.key(&ada, 1, |_| {}).await;
    let signed = f.sign_in(&ada).await;
    let reset = f.store.reset_password(&ada.id, ONE_TIME_HASH, event()).await.unwrap().unwrap();
    let day_ms = 24 * 3600 * 1000;
    assert_eq!(reset.reset_ends_at_ms, Some(f.now_ms() + day_ms));
    assert_eq!(f.refusal(&signed).await, Some(Refusal::CredentialRevoked));
    assert_eq!(f.refresh(&signed, 0, 1).await, Err(RefreshRefusal::PasswordChangeRequired));
    assert_eq!(f.begin(&ada, PASSWORD_HASH).await.1, SessionStart::PasswordReplaced);
    assert_eq!(f.begin(&ada, ONE_TIME_HASH).await.1, SessionStart::PasswordChangeRequired);
    assert!(matches!(f.check_key(&ada, 1, permission(Scope::Chat), None).await, CheckAnswer::Allowed(_)));
    let complete = async |verified: &'static str, new: &'static str| {
        let id = auth_service::ids::SessionId::random().unwrap();
        let start =
            f.store.complete_password_reset(&ada.id, Shown::password(verified), new, new_session(&id, "a client"), event()).await.unwrap();
        (Signed { person: ada.clone(), id }, start)
    };
    assert_eq!(complete(PASSWORD_HASH, NEW_HASH).await.1, SessionStart::Refused, "the password before it");
    let (begun, start) = complete(ONE_TIME_HASH, NEW_HASH).await;
    assert!(matches!(start, SessionStart::Begun(_)), "{start:?}");
    assert_eq!(f.refusal(&begun).await, None);
    assert_eq!(complete(ONE_TIME_HASH, "yet another").await.1, SessionStart::Refused, "it is good once");
    assert!(matches!(f.begin(&ada, NEW_HASH).await.1, SessionStart::Begun(_)));
    // Past its time it is good for nothing.
    f.store.reset_password(&ada.id, ONE_TIME_HASH, event()).await.unwrap().unwrap();
    f.advance(Duration::from_millis(u64::try_from(day_ms).unwrap()));
    assert_eq!(f.begin(&ada, ONE_TIME_HASH).await.1, SessionStart::Refused);
    assert_eq!(complete(ONE_TIME_HASH, NEW_HASH).await.1, SessionStart::Refused);
    // Reset again, it is taken; not from a user who is locked.
    f.store.reset_password(&ada.id, NEW_HASH, event()).await.unwrap().unwrap();
    f.store.set_locked(&ada.id, true, "", event()).await.unwrap();
    assert_eq!(complete(NEW_HASH, PASSWORD_HASH).await.1, SessionStart::Refused);
}

pub(crate) async fn of_many_who_complete_one_reset_at_once_one_does(f: Fixture) {
    let ada = f.person("ada", 20).await;
    f.store.reset_password(&ada.id, ONE_TIME_HASH, event()).await.unwrap().unwrap();
    let f = Arc::new(f);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..12 {
        let (f, ada) = (Arc::clone(&f), ada.clone());
        tasks.spawn(async move {
            let id = auth_service::ids::SessionId::random().unwrap();
            let (new, hash) = (new_session(&id, "a client"), format!("hash {number}"));
            f.store.complete_password_reset(&ada.id, Shown::password(ONE_TIME_HASH), &hash, new, event()).await.unwrap()
        });
    }
    let begun = tasks.join_all().await.into_iter().filter(|start| matches!(start, SessionStart::Begun(_))).count();
    assert_eq!((begun, f.session_ids(&ada).await.len()), (1, 1));
}

pub(crate) async fn sessions_that_begin_and_end_at_once_are_all_begun_and_all_ended(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let f = Arc::new(f);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (f, ada) = (Arc::clone(&f), ada.clone());
        tasks.spawn(async move { f.sign_in(&ada).await });
    }
    let signed = tasks.join_all().await;
    assert_eq!(f.session_ids(&ada).await.len(), 20);
    let mut tasks = tokio::task::JoinSet::new();
    for one in signed.clone() {
        let f = Arc::clone(&f);
        tasks.spawn(async move { f.store.end_session(&one.person.id, &one.id, event()).await.unwrap() });
    }
    assert!(tasks.join_all().await.into_iter().all(|ended| ended));
    assert_eq!(f.session_ids(&ada).await, []);
    assert_eq!(f.refusal(&signed[0]).await, Some(Refusal::CredentialRevoked));
}

/// Changes and what leaves things as they are, of each kind, as events that are recorded of them.
pub(crate) async fn each_change_records_its_event_once_and_what_changes_nothing_records_none(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let mut expected = f.recorded_changes();
    let mut recorded = |what: &str, more: usize| {
        expected += more;
        assert_eq!(f.recorded_changes(), expected, "{what}");
    };
    let one = f.sign_in(&ada).await;
    recorded("begin_session", 1);
    f.refresh(&one, 0, 1).await.unwrap();
    recorded("refresh", 0);
    assert_eq!(f.begin(&ada, "wrong").await.1, SessionStart::PasswordReplaced);
    recorded("a refused sign-in", 0);
    let two = f.sign_in(&ada).await;
    recorded("begin_session", 1);
    for changed in [true, false] {
        f.store.end_session(&ada.id, &two.id, event()).await.unwrap();
        recorded("end_session", usize::from(changed));
    }
    f.refresh(&one, 1, 2).await.unwrap();
    assert_eq!(f.refresh(&one, 0, 3).await, Err(RefreshRefusal::Reused));
    recorded("reuse", 1);
    let asked_by = credential(&f.sign_in(&ada).await);
    recorded("begin_session", 1);
    for changed in [true, false] {
        f.store.change_password(&ada.id, &asked_by, PASSWORD_HASH, NEW_HASH, event()).await.unwrap();
        recorded("change_password", usize::from(changed));
        f.store.set_locked(&ada.id, true, "", event()).await.unwrap();
        recorded("lock", usize::from(changed));
    }
    for changed in [true, false] {
        f.store.set_disabled(&ada.id, true, "", event()).await.unwrap();
        recorded("disable", usize::from(changed));
        f.store.reset_password(&ada.id, ONE_TIME_HASH, event()).await.unwrap();
        recorded("reset", usize::from(changed));
    }
    f.store.end_all_sessions(&ada.id, event()).await.unwrap();
    recorded("end_all_sessions", 1);
    let key = f.key(&ada, 1, |_| {}).await;
    recorded("create_api_key", 1);
    for changed in [true, false] {
        revoke_key(&*f.store, &ada.account, &key.key_id).await;
        recorded("revoke_api_key", usize::from(changed));
    }
    f.person("bob", 0).await;
    recorded("create_user", 1);
    f.store.record_event(event()).await.unwrap();
    recorded("what changed nothing", 1);
    f.store.record_event(event().failed(shared::ErrorReason::LoginFailed)).await.unwrap();
    recorded("what failed is in another log", 0);
}

/// A token without a session stands for the user alone.
pub(crate) async fn a_token_of_an_earlier_release_is_good_beside_sessions_until_it_ends(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let of_before = f.request(&ada, None);
    let signed = f.sign_in(&ada).await;
    f.refresh(&signed, 0, 1).await.unwrap();
    f.store.end_session(&ada.id, &signed.id, event()).await.unwrap();
    assert!(matches!(f.store.check(of_before.clone()).await.unwrap(), CheckAnswer::Allowed(_)));
    let by_token = PresentedCredential::AccessToken { user_id: ada.id.clone(), session: None, issued_at_ms: f.now_ms() };
    f.advance(Duration::from_secs(1));
    let changed = f.store.change_password(&ada.id, &by_token, PASSWORD_HASH, NEW_HASH, event()).await.unwrap();
    assert_eq!(changed, Some(PasswordChange::Changed { ended_sessions: 0 }));
    assert_eq!(f.store.check(of_before).await.unwrap(), CheckAnswer::Refused(Refusal::CredentialRevoked), "it ends with that");
}

/// A release before sessions runs beside this one: it knows of no sessions, and writes the member's row as it always did.
#[tokio::test]
async fn sessions_end_when_a_release_before_them_disables_and_enables_their_user() {
    let f = Fixture::redis(crate::limits()).await;
    let ada = f.person("ada", 20).await;
    let signed = f.sign_in(&ada).await;
    assert_eq!(f.refusal(&signed).await, None);
    let Home::Redis(server) = &f.home else { panic!("not on Redis") };
    let (mut connection, part) = (server.connection(), |part: &str| format!("tg:{{{}}}:{part}", ada.account));
    // Version 1, role USER, not disabled, tokens valid from 1000 ms; and another rights version.
    let member = [8_u8, 1, 16, 1, 24, 0, 32, 0xe8, 7];
    redis::cmd("HSET").arg(part("members")).arg(ada.id.as_str()).arg(&member[..]).exec(&mut connection).unwrap();
    let mut counters: Vec<u8> = redis::cmd("HGET").arg(part("acct")).arg("counters").query(&mut connection).unwrap();
    *counters.last_mut().unwrap() ^= 1;
    redis::cmd("HSET").arg(part("acct")).arg("counters").arg(counters).exec(&mut connection).unwrap();
    assert_eq!(f.refusal(&signed).await, Some(Refusal::CredentialRevoked));
    assert_eq!(f.refresh(&signed, 0, 1).await, Err(RefreshRefusal::Revoked));
    assert_eq!(f.session_ids(&ada).await, []);
    let again = f.sign_in(&ada).await;
    assert_eq!(f.refusal(&again).await, None);
}

#[tokio::test]
async fn a_full_redis_still_refreshes_and_ends_sessions_and_begins_none() {
    let f = Fixture::redis(crate::limits()).await;
    let ada = f.person("ada", 20).await;
    let (one, two) = (f.sign_in(&ada).await, f.sign_in(&ada).await);
    let Home::Redis(server) = &f.home else { panic!("not on Redis") };
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    f.refresh(&one, 0, 1).await.unwrap();
    let id = auth_service::ids::SessionId::random().unwrap();
    let refused = f.store.begin_session(&ada.id, Shown::password(PASSWORD_HASH), new_session(&id, "a client"), event()).await;
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    assert!(f.store.end_session(&ada.id, &one.id, event()).await.unwrap());
    f.store.record_event(event().failed(shared::ErrorReason::LoginFailed)).await.unwrap();
    let changed = f.store.change_password(&ada.id, &credential(&two), PASSWORD_HASH, NEW_HASH, event()).await.unwrap();
    assert_eq!(changed, Some(PasswordChange::Changed { ended_sessions: 0 }));
    assert!(f.store.set_locked(&ada.id, true, "", event()).await.unwrap().unwrap().changed);
    assert_eq!(f.refresh(&one, 1, 2).await, Err(RefreshRefusal::UserLocked));
}

#[tokio::test]
async fn a_file_of_the_release_before_sessions_is_brought_up_and_its_users_sign_in() {
    let f = Fixture::sqlite(crate::limits()).await;
    let ada = f.person("ada", 20).await;
    let Home::Sqlite(folder) = &f.home else { panic!("not on SQLite") };
    let path = sqlite_file(folder.path());
    // What this release added to it.
    let old = rusqlite::Connection::open(&path).unwrap();
    let tables = ["sessions", "audit_changes", "audit_operators", "audit_attempts", "api_key_uses"];
    let tables = tables.map(|table| format!("DROP TABLE {table};")).concat();
    old.execute_batch(&[&tables, WITHOUT_VERSION_10, "PRAGMA user_version = 6"].concat()).unwrap();
    drop(old);
    let limits = f.limits;
    let f = f.open_again(limits).await;
    let of_before = f.request(&ada, None);
    assert!(matches!(f.store.check(of_before).await.unwrap(), CheckAnswer::Allowed(_)));
    let signed = f.sign_in(&ada).await;
    assert_eq!((f.refusal(&signed).await, f.recorded_changes()), (None, 1));
}

#[tokio::test]
async fn a_session_that_another_process_ends_is_refused_by_this_ones_next_check_though_its_caller_is_known() {
    let f = Fixture::redis(crate::limits()).await;
    let ada = f.person("ada", 20).await;
    let (one, two) = (f.sign_in(&ada).await, f.sign_in(&ada).await);
    let Home::Redis(server) = &f.home else { panic!("not on Redis") };
    let elsewhere = server.store(f.limits, Clock::Fixed(Arc::clone(&f.hand))).await;
    for request in ["r", "s"] {
        assert!(matches!(f.store.check(by_session(&one, Some(request))).await.unwrap(), CheckAnswer::Held(..)));
    }
    assert!(elsewhere.end_session(&ada.id, &one.id, event()).await.unwrap());
    let refused = f.store.check(by_session(&one, Some("t"))).await.unwrap();
    assert_eq!(refused, CheckAnswer::Refused(Refusal::CredentialRevoked));
    // A caller with one session is not taken for the one with another.
    assert!(matches!(f.store.check(by_session(&two, Some("u"))).await.unwrap(), CheckAnswer::Held(..)));
    elsewhere.set_locked(&ada.id, true, "", event()).await.unwrap();
    assert_eq!(f.refusal(&two).await, Some(Refusal::UserLocked));
}

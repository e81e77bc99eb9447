//! The audit log: what was changed and what failed, read as one list.

use std::time::{Duration, Instant};

use auth_service::ids::{AccountId, KeyId, UserId};
use auth_service::store::{
    AuditAction, AuditEvent, AuditPage, AuditPosition, AuditQuery, AuditRange, GrantAnswer, GrantRequest, KeyAnswer, KeyChange,
    KeyChangeRequest, MAX_EVENTS_LOOKED_AT, Store, StoreLimits,
};
use shared::ErrorReason;

use crate::fixture::{Fixture, Home, Person, WITHOUT_VERSION_10, new_secret, new_user};

/// All events, so many a page, from the newest.
fn newest(limit: u32) -> AuditQuery {
    AuditQuery { user: None, action: None, range: AuditRange::Newest, limit }
}

fn details(page: &AuditPage) -> Vec<&str> {
    page.events.iter().map(|recorded| recorded.event.detail.as_str()).collect()
}

/// What is said of all events, on all pages, and how many pages they were.
async fn listed(store: &dyn Store, mut query: AuditQuery) -> (Vec<String>, usize) {
    let (mut all, mut pages) = (Vec::new(), 0);
    loop {
        let page = store.audit_events(&query).await.unwrap();
        assert!(page.events.len() <= query.limit as usize);
        all.extend(details(&page).into_iter().map(str::to_owned));
        pages += 1;
        let Some(next) = page.next else { return (all, pages) };
        query.range = next;
    }
}

/// A user's.
fn change(detail: &str) -> AuditEvent {
    AuditEvent { detail: detail.to_owned(), ..AuditEvent::new(AuditAction::CreateApiKey) }
}

/// An operator's.
fn action(detail: &str) -> AuditEvent {
    AuditEvent { detail: detail.to_owned(), ..AuditEvent::new(AuditAction::EnableUser) }
}

fn attempt(detail: &str) -> AuditEvent {
    AuditEvent { detail: detail.to_owned(), ..AuditEvent::new(AuditAction::SignIn) }.failed(ErrorReason::LoginFailed)
}

/// Records an event, later than all before it by whichever clock the store goes by.
async fn record(f: &Fixture, event: AuditEvent) {
    f.advance(Duration::from_secs(1));
    if let Home::Redis(server) = &f.home {
        let time = || redis::cmd("TIME").query::<(u64, u64)>(&mut server.connection()).unwrap();
        let millisecond = |(seconds, micros): (u64, u64)| seconds * 1000 + micros / 1000;
        let (before, deadline) = (millisecond(time()), Instant::now() + Duration::from_secs(20));
        while millisecond(time()) <= before {
            assert!(Instant::now() < deadline, "Redis's clock stands still");
        }
    }
    f.store.record_event(event).await.unwrap();
}

pub(crate) async fn changes_operators_actions_and_attempts_are_one_list_by_time_in_both_directions(f: Fixture) {
    let page = f.store.audit_events(&newest(10)).await.unwrap();
    assert_eq!((page.events.len(), page.next), (0, None));
    let beginning = page.newest;
    for (number, event) in [change("1"), attempt("2"), action("3"), change("4"), attempt("5")].into_iter().enumerate() {
        record(&f, event).await;
        assert_eq!(f.store.audit_events(&newest(1)).await.unwrap().events[0].event.detail, (number + 1).to_string());
    }
    assert_eq!(listed(&*f.store, newest(10)).await, (["5", "4", "3", "2", "1"].map(str::to_owned).to_vec(), 1));
    assert_eq!(listed(&*f.store, newest(2)).await.1, 3);
    let after = |position, limit| AuditQuery { range: AuditRange::After(position), ..newest(limit) };
    assert_eq!(listed(&*f.store, after(beginning, 2)).await, (["1", "2", "3", "4", "5"].map(str::to_owned).to_vec(), 3));
    let page = f.store.audit_events(&newest(1)).await.unwrap();
    assert_eq!(page.events[0].at_ms, f.now_ms(), "by the store's clock");
    let nothing = f.store.audit_events(&after(page.newest, 10)).await.unwrap();
    assert_eq!((nothing.events.len(), nothing.next, nothing.newest), (0, None, page.newest));
    record(&f, attempt("6")).await;
    assert_eq!(details(&f.store.audit_events(&after(page.newest, 10)).await.unwrap()), ["6"]);
}

pub(crate) async fn an_event_is_listed_as_it_was_recorded_with_the_names_of_the_users_in_it(f: Fixture) {
    let ada = f.person("ada", 0).await;
    let event = AuditEvent {
        actor: Some(ada.id.clone()),
        actor_credential: "abcdefghijkl".to_owned(),
        subject: Some(UserId::random().unwrap()),
        subject_id: "0123456789ab".to_owned(),
        address: Some("2001:db8::7".parse().unwrap()),
        request_id: "r 1".to_owned(),
        client: "curl/8".to_owned(),
        ..attempt("why")
    };
    record(&f, event.clone()).await;
    let page = f.store.audit_events(&newest(1)).await.unwrap();
    assert_eq!(page.events[0].event, AuditEvent { actor_name: "ada".to_owned(), ..event });
}

pub(crate) async fn the_pages_of_a_list_have_every_event_once_while_others_are_recorded(f: Fixture) {
    let mut expected = Vec::new();
    for number in 0..20 {
        let detail = number.to_string();
        record(&f, [attempt, change, action][number % 3](&detail)).await;
        expected.insert(0, detail);
    }
    let (mut query, mut seen, mut later) = (newest(3), Vec::new(), 0);
    let first = f.store.audit_events(&query).await.unwrap().newest;
    loop {
        let page = f.store.audit_events(&query).await.unwrap();
        assert_eq!(page.newest, first, "what came later is none of this list");
        seen.extend(details(&page).into_iter().map(str::to_owned));
        record(&f, [attempt, change, action][later % 3]("later")).await;
        later += 1;
        let Some(next) = page.next else { break };
        query.range = next;
    }
    assert_eq!(seen, expected);
    let after = AuditQuery { range: AuditRange::After(first), ..newest(2) };
    assert_eq!(listed(&*f.store, after).await.0, vec!["later"; later], "and what came meanwhile is told behind it");
}

pub(crate) async fn a_list_is_of_one_user_or_action_and_looks_at_a_bounded_number(f: Fixture) {
    let (ada, bob) = (f.person("ada", 0).await, f.person("bob", 0).await);
    let by = |person: &Person, event: AuditEvent| AuditEvent { actor: Some(person.id.clone()), ..event };
    let to = |person: &Person, event: AuditEvent| AuditEvent { subject: Some(person.id.clone()), ..event };
    record(&f, by(&ada, change("ada's"))).await;
    record(&f, to(&ada, by(&bob, attempt("bob's to ada")))).await;
    record(&f, by(&bob, change("bob's"))).await;
    let of = |person: &Person| AuditQuery { user: Some(person.id.clone()), ..newest(10) };
    assert_eq!(listed(&*f.store, of(&ada)).await.0, ["bob's to ada", "ada's"]);
    assert_eq!(listed(&*f.store, of(&bob)).await.0, ["bob's", "bob's to ada"]);
    let enabled = AuditQuery { action: Some(AuditAction::CreateApiKey), ..newest(10) };
    assert_eq!(listed(&*f.store, enabled.clone()).await.0, ["bob's", "ada's"]);
    assert_eq!(listed(&*f.store, AuditQuery { user: Some(ada.id.clone()), ..enabled }).await.0, ["ada's"]);
    for _ in 0..MAX_EVENTS_LOOKED_AT {
        f.store.record_event(attempt("noise")).await.unwrap();
    }
    let (found, pages) = listed(&*f.store, of(&ada)).await;
    assert_eq!((found.join(", "), pages), ("bob's to ada, ada's".to_owned(), 2), "the first page has none of them");
    assert_eq!(listed(&*f.store, AuditQuery { limit: 1, ..of(&ada) }).await.0, found);
}

/// Opens it again with a log that keeps few.
async fn with_small_logs(f: Fixture) -> Fixture {
    let limits = StoreLimits { max_audit_changes: 200, max_audit_operators: 150, max_audit_attempts: 100, ..f.limits };
    f.open_again(limits).await
}

/// Redis drops events in blocks of a hundred.
const BLOCK: usize = 100;

pub(crate) async fn a_flood_of_attempts_is_bounded_and_pushes_no_change_out(f: Fixture) {
    let f = with_small_logs(f).await;
    for number in 0..150 {
        f.store.record_event(change(&format!("change {number}"))).await.unwrap();
    }
    for _ in 0..1000 {
        f.store.record_event(attempt("guess")).await.unwrap();
    }
    let (all, _) = listed(&*f.store, newest(500)).await;
    let (changes, attempts): (Vec<_>, Vec<_>) = all.into_iter().partition(|detail| detail.starts_with("change"));
    assert_eq!(changes.len(), 150);
    assert!((100..=100 + BLOCK).contains(&attempts.len()), "{} attempts are kept", attempts.len());
}

pub(crate) async fn a_user_who_changes_keys_without_end_pushes_no_operators_action_out(f: Fixture) {
    let f = with_small_logs(f).await;
    let ada = f.person("ada", 5).await;
    let grant = GrantRequest {
        account: ada.account.clone(),
        credits: 5,
        request_id: "g".to_owned(),
        note: String::new(),
        granted_by: ada.id.clone(),
    };
    // In each way in which an operator's action is written.
    let of = |what| AuditEvent { detail: "an operator's".to_owned(), ..AuditEvent::new(what) };
    f.store.grant(grant, of(AuditAction::GrantCredits)).await.unwrap();
    f.store.set_locked(&ada.id, true, "why", of(AuditAction::LockUser)).await.unwrap();
    f.store.reset_password(&ada.id, "a hash", of(AuditAction::ResetPassword)).await.unwrap();
    f.store.create_user(new_user("bob", 0), of(AuditAction::CreateUser)).await.unwrap();
    f.store.record_event(of(AuditAction::EnableUser)).await.unwrap();
    let key = f.key(&ada, 1, |_| {}).await;
    for number in 0..400_u64 {
        let mut secret = new_secret(9);
        secret.secret_hash[..8].copy_from_slice(&number.to_le_bytes());
        let rotate = KeyChange::Rotate { key_id: key.key_id.clone(), secret, grace: Duration::ZERO, request: None };
        let rotate = KeyChangeRequest { account: ada.account.clone(), asker: None, change: rotate };
        f.store.change_api_keys(rotate, AuditEvent::new(AuditAction::RotateApiKey)).await.unwrap();
    }
    let (all, _) = listed(&*f.store, newest(500)).await;
    let (actions, changes): (Vec<_>, Vec<_>) = all.iter().partition(|detail| *detail == "an operator's");
    assert_eq!(actions.len(), 5);
    assert!((200..=200 + BLOCK).contains(&changes.len()), "{} changes are kept", changes.len());
    let (mut followed, _) = listed(&*f.store, AuditQuery { range: AuditRange::After(AuditPosition::default()), ..newest(500) }).await;
    followed.reverse();
    assert_eq!(followed, all, "one list by time in both directions");
}

pub(crate) async fn the_oldest_of_each_log_are_dropped_above_the_bound_and_a_token_to_them_goes_on_with_what_is_kept(f: Fixture) {
    let f = with_small_logs(f).await;
    let before = f.store.audit_events(&newest(1)).await.unwrap().newest;
    let ada = f.person("ada", 0).await;
    let grant = |number: usize| GrantRequest {
        account: ada.account.clone(),
        credits: 1,
        request_id: format!("g{number}"),
        note: String::new(),
        granted_by: ada.id.clone(),
    };
    // Of every way in which changes are appended.
    for number in 0..250 {
        f.store.record_event(change(&format!("{number}"))).await.unwrap();
        f.store.grant(grant(number), action("grant")).await.unwrap();
        f.store.set_disabled(&ada.id, number % 2 == 0, "", [change, action][number % 2]("state")).await.unwrap();
        if number % 50 == 0 {
            f.store.create_user(new_user(&format!("user{number}"), 0), [change, action][number / 50 % 2]("user")).await.unwrap();
        }
    }
    let (mut all, mut query) = (Vec::new(), newest(500));
    loop {
        let page = f.store.audit_events(&query).await.unwrap();
        all.extend(page.events);
        let Some(next) = page.next else { break };
        query.range = next;
    }
    let (actions, changes): (Vec<_>, Vec<_>) = all.iter().partition(|recorded| recorded.event.action == AuditAction::EnableUser);
    assert!((200..=200 + BLOCK).contains(&changes.len()), "{} changes are kept", changes.len());
    assert!((150..=150 + BLOCK).contains(&actions.len()), "{} actions are kept", actions.len());
    let all: Vec<_> = all.into_iter().map(|recorded| recorded.event.detail).collect();
    let (mut followed, _) = listed(&*f.store, AuditQuery { range: AuditRange::After(before), ..newest(500) }).await;
    followed.reverse();
    assert_eq!(followed, all);
}

pub(crate) async fn what_operators_did_before_they_had_a_log_of_their_own_is_still_listed(f: Fixture) {
    record(&f, action("before")).await;
    // As the release before kept it.
    let f = match &f.home {
        Home::Redis(server) => {
            server.command(&["RENAME", "tg:audit:operators", "tg:audit:changes"]);
            f
        }
        Home::Sqlite(folder) => {
            let file = rusqlite::Connection::open(crate::fixture::sqlite_file(folder.path())).unwrap();
            let back = "INSERT INTO audit_changes SELECT * FROM audit_operators; DROP TABLE audit_operators; PRAGMA user_version = 8";
            file.execute_batch(&[WITHOUT_VERSION_10, back].concat()).unwrap();
            let limits = f.limits;
            f.open_again(limits).await
        }
    };
    record(&f, action("since")).await;
    assert_eq!(listed(&*f.store, newest(10)).await.0, ["since", "before"]);
}

/// What was recorded since the last look.
async fn since(f: &Fixture, position: &mut AuditPosition) -> Vec<AuditEvent> {
    let query = AuditQuery { range: AuditRange::After(*position), ..newest(500) };
    let page = f.store.audit_events(&query).await.unwrap();
    *position = page.newest;
    page.events.into_iter().map(|recorded| recorded.event).collect()
}

pub(crate) async fn a_change_of_users_keys_and_credits_is_recorded_once_and_what_changes_nothing_is_not(f: Fixture) {
    let mut position = f.store.audit_events(&newest(1)).await.unwrap().newest;
    let event = |action| AuditEvent { detail: "beside it".to_owned(), ..AuditEvent::new(action) };
    let user = new_user("ada", 5);
    let ada = Person { id: user.user_id.clone(), account: (&user.user_id).into() };
    let grant = || GrantRequest {
        account: ada.account.clone(),
        credits: 5,
        request_id: "g".to_owned(),
        note: String::new(),
        granted_by: ada.id.clone(),
    };
    // Twice each: the second time it is so already.
    for expected in [1, 0] {
        let count = async |position: &mut _, action| {
            let recorded = since(&f, position).await;
            assert_eq!(recorded, vec![event(action); expected], "{action:?}");
        };
        f.store.create_user(user.clone(), event(AuditAction::CreateUser)).await.unwrap();
        count(&mut position, AuditAction::CreateUser).await;
        let granted = f.store.grant(grant(), event(AuditAction::GrantCredits)).await.unwrap();
        assert_eq!(matches!(granted, GrantAnswer::Granted { .. }), expected == 1);
        count(&mut position, AuditAction::GrantCredits).await;
    }
    for (expected, disabled) in [(0, false), (1, true), (0, true), (1, false)] {
        f.store.set_disabled(&ada.id, disabled, "why", event(AuditAction::DisableUser)).await.unwrap();
        assert_eq!(since(&f, &mut position).await, vec![event(AuditAction::DisableUser); expected]);
        f.store.set_locked(&ada.id, disabled, "why", event(AuditAction::LockUser)).await.unwrap();
        assert_eq!(since(&f, &mut position).await, vec![event(AuditAction::LockUser); expected]);
    }
    for expected in [1, 0] {
        f.store.reset_password(&ada.id, "the hash of a one-time password", event(AuditAction::ResetPassword)).await.unwrap();
        assert_eq!(since(&f, &mut position).await, vec![event(AuditAction::ResetPassword); expected]);
    }
    let key = f.key(&ada, 1, |_| {}).await;
    assert_eq!(since(&f, &mut position).await.len(), 1);
    for expected in [1, 0] {
        let revoke = revoke(&ada.account, &key.key_id);
        f.store.change_api_keys(revoke, event(AuditAction::RevokeApiKey)).await.unwrap();
        let (subject, subject_name) = (Some(ada.id.clone()), "ada".to_owned());
        let recorded = AuditEvent { subject, subject_name, ..event(AuditAction::RevokeApiKey).to_object(&key.key_id) };
        assert_eq!(since(&f, &mut position).await, vec![recorded; expected]);
    }
    let nobody = UserId::random().unwrap();
    assert_eq!(f.store.set_disabled(&nobody, true, "", event(AuditAction::DisableUser)).await.unwrap(), None);
    assert_eq!(f.store.set_locked(&nobody, true, "", event(AuditAction::LockUser)).await.unwrap(), None);
    assert_eq!(f.store.reset_password(&nobody, "hash", event(AuditAction::ResetPassword)).await.unwrap(), None);
    let unknown = KeyId::random().unwrap();
    let answer = f.store.change_api_keys(revoke(&ada.account, &unknown), event(AuditAction::RevokeApiKey)).await.unwrap();
    assert_eq!(answer, KeyAnswer::NotFound);
    assert_eq!(since(&f, &mut position).await, []);
}

fn revoke(account: &AccountId, key_id: &KeyId) -> KeyChangeRequest {
    KeyChangeRequest { account: account.clone(), asker: None, change: KeyChange::Revoke { key_id: key_id.clone() } }
}

pub(crate) async fn nothing_is_changed_without_its_event(f: Fixture) {
    let ada = f.person("ada", 5).await;
    let key = f.key(&ada, 1, |_| {}).await;
    let before = (f.store.user_by_id(&ada.id).await.unwrap(), f.snapshot(&ada).await);
    // The log is broken.
    match &f.home {
        Home::Redis(server) => {
            for log in ["tg:audit:changes", "tg:audit:operators"] {
                server.command(&["DEL", log]);
                server.command(&["SET", log, "no stream"]);
            }
        }
        Home::Sqlite(folder) => {
            let file = rusqlite::Connection::open(crate::fixture::sqlite_file(folder.path())).unwrap();
            file.execute_batch("ALTER TABLE audit_changes RENAME TO gone; ALTER TABLE audit_operators RENAME TO gone_too").unwrap();
        }
    }
    let event = || AuditEvent::new(AuditAction::DisableUser);
    let grant = GrantRequest {
        account: ada.account.clone(),
        credits: 5,
        request_id: "g".to_owned(),
        note: String::new(),
        granted_by: ada.id.clone(),
    };
    f.store.grant(grant, event()).await.unwrap_err();
    f.store.set_disabled(&ada.id, true, "", event()).await.unwrap_err();
    f.store.set_locked(&ada.id, true, "", event()).await.unwrap_err();
    f.store.reset_password(&ada.id, "hash", event()).await.unwrap_err();
    let revoked = AuditEvent::new(AuditAction::RevokeApiKey);
    f.store.change_api_keys(revoke(&ada.account, &key.key_id), revoked).await.unwrap_err();
    f.store.create_user(new_user("bob", 5), event()).await.unwrap_err();
    let bob = auth_service::user::UserName::parse("bob").unwrap();
    assert_eq!(f.store.user_by_name(&bob).await.unwrap(), None);
    assert_eq!((f.store.user_by_id(&ada.id).await.unwrap(), f.snapshot(&ada).await), before);
    assert_eq!(f.keys(&ada).await, [key]);
}

//! Random changes of one user's sessions and state by several processes at once, compared with what was promised.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use auth_service::ids::SessionId;
use auth_service::session::{Refresh, RefreshAnswer, RefreshRefusal, SessionStart, Shown};
use auth_service::store::clock::Clock;
use auth_service::store::sqlite::SqliteStore;
use auth_service::store::{Refusal, Store};
use auth_service::user_state::PasswordChange;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::fixture::{Person, RedisServer, event, new_user, sqlite_file};
use crate::identity::{by, check, new_session};

/// What is done at once, to one user by several processes.
#[derive(Debug, Clone, Copy)]
enum Together {
    Begin,
    Refresh,
    EndOne,
    EndAll,
    Lock(bool),
    Disable(bool),
    Reset,
}

fn together() -> impl Strategy<Value = Together> {
    prop_oneof![
        6 => Just(Together::Begin),
        6 => Just(Together::Refresh),
        2 => Just(Together::EndOne),
        2 => Just(Together::EndAll),
        1 => any::<bool>().prop_map(Together::Lock),
        1 => any::<bool>().prop_map(Together::Disable),
        1 => Just(Together::Reset),
    ]
}

/// What one of those at once came to.
#[derive(Debug)]
enum Came {
    Begun(SessionId),
    Rotated { token: u8, next: u8 },
    Reused,
    Ended(SessionId),
    EndedAll,
    Nothing,
}

/// Plays rounds of what comes at once, and compares after each what all of it together promises.
fn keep_their_promises(runtime: &Runtime, stores: &[Arc<dyn Store>]) {
    let users = Cell::new(0);
    let config = ProptestConfig { cases: 24, failure_persistence: None, max_shrink_iters: 16, ..ProptestConfig::default() };
    proptest!(config, |(rounds in proptest::collection::vec(proptest::collection::vec(together(), 2..9), 1..5))| {
        users.set(users.get() + 1);
        let name = format!("user{}", users.get());
        runtime.block_on(play(stores, &name, &rounds));
    });
}

async fn play(stores: &[Arc<dyn Store>], name: &str, rounds: &[Vec<Together>]) {
    let user = new_user(name, 5);
    let person = Person { id: user.user_id.clone(), account: (&user.user_id).into() };
    stores[0].create_user(user, event()).await.unwrap();
    for (number, round) in rounds.iter().enumerate() {
        // Each round with a user who may sign in, one session whose token is 1, and another one.
        let id = &person.id;
        stores[0].set_locked(id, false, "", event()).await.unwrap();
        stores[0].set_disabled(id, false, "", event()).await.unwrap();
        let hash = format!("hash {number}");
        stores[0].reset_password(id, "one time", event()).await.unwrap();
        let (shared_id, other) = (SessionId::random().unwrap(), SessionId::random().unwrap());
        let begun =
            stores[0].complete_password_reset(id, Shown::password("one time"), &hash, new_session(&shared_id, 1), event()).await.unwrap();
        assert!(matches!(begun, SessionStart::Begun(_)), "{begun:?}");
        let begun = stores[0].begin_session(id, Shown::password(&hash), new_session(&other, 1), event()).await.unwrap();
        assert!(matches!(begun, SessionStart::Begun(_)), "{begun:?}");
        let mut tasks = tokio::task::JoinSet::new();
        for (place, action) in round.iter().enumerate() {
            let (store, person, hash) = (Arc::clone(&stores[place % stores.len()]), person.clone(), hash.clone());
            let (shared_id, other, action, next) = (shared_id.clone(), other.clone(), *action, 10 + place as u8);
            tasks.spawn(async move { perform(&*store, &person, &hash, &shared_id, &other, action, next).await });
        }
        let came = tasks.join_all().await;
        promised(&*stores[0], &person, round, &came, &shared_id).await;
    }
}

async fn perform(
    store: &dyn Store,
    person: &Person,
    hash: &str,
    shared_id: &SessionId,
    other: &SessionId,
    action: Together,
    next: u8,
) -> Came {
    let id = &person.id;
    match action {
        Together::Begin => {
            let session = SessionId::random().unwrap();
            match store.begin_session(id, Shown::password(hash), new_session(&session, next), event()).await.unwrap() {
                SessionStart::Begun(_) => Came::Begun(session),
                _ => Came::Nothing,
            }
        }
        Together::Refresh => {
            let (session_id, family_hash, token_hash) = (shared_id.clone(), [7; 32], [1; 32]);
            let shown = Refresh { session_id, family_hash, token_hash, next_token_hash: [next; 32], is_shared: false, address: None };
            match store.refresh_session(id, shown, event()).await.unwrap() {
                RefreshAnswer::Rotated(_) => Came::Rotated { token: 1, next },
                RefreshAnswer::Refused(RefreshRefusal::Reused) => Came::Reused,
                RefreshAnswer::Refused(_) => Came::Nothing,
            }
        }
        Together::EndOne => {
            if store.end_session(id, other, event()).await.unwrap() {
                Came::Ended(other.clone())
            } else {
                Came::Nothing
            }
        }
        Together::EndAll => store.end_all_sessions(id, event()).await.unwrap().map_or(Came::Nothing, |_| Came::EndedAll),
        Together::Lock(locked) => {
            store.set_locked(id, locked, "", event()).await.unwrap();
            Came::Nothing
        }
        Together::Disable(disabled) => {
            store.set_disabled(id, disabled, "", event()).await.unwrap();
            Came::Nothing
        }
        Together::Reset => {
            store.reset_password(id, "one time again", event()).await.unwrap();
            Came::Nothing
        }
    }
}

/// What holds whichever came first.
async fn promised(store: &dyn Store, person: &Person, round: &[Together], came: &[Came], shared_id: &SessionId) {
    let live: BTreeSet<_> = store.sessions(&person.id).await.unwrap().into_iter().map(|one| one.session_id).collect();
    let user = store.user_by_id(&person.id).await.unwrap().unwrap();
    let rotated: BTreeMap<u8, u8> =
        came.iter().filter_map(|one| if let Came::Rotated { token, next } = one { Some((*next, *token)) } else { None }).collect();
    let (reused, refreshes) = (came.iter().filter(|one| matches!(one, Came::Reused)).count(), rotated.len());
    assert!(refreshes <= 2 && reused <= 1, "one success and its twin: {came:?}");
    assert!(reused == 0 || (refreshes == 2 && !live.contains(shared_id)), "reuse ends the session: {came:?}");
    for one in came {
        if let Came::Ended(session) = one {
            assert!(!live.contains(session), "{came:?}");
        }
    }
    // Whatever keeps the user out has ended all there was.
    if user.disabled || user.locked || user.reset_ends_at_ms.is_some() {
        assert_eq!(live, BTreeSet::new(), "{round:?} {came:?}");
    }
    let ends_all = round.iter().any(|one| !matches!(one, Together::Begin | Together::Refresh | Together::EndOne));
    for one in came {
        if let Came::Begun(session) = one {
            assert!(ends_all || live.contains(session), "nothing has ended it: {round:?} {came:?}");
        }
    }
    // Checks say the same as the list.
    for session in live.iter().chain([shared_id]) {
        let answer = check(store, person, by(person, Some(session), 0)).await;
        assert_eq!(answer == "Allowed", live.contains(session), "{answer}: {round:?} {came:?}");
    }
    let wrong = store.change_password(&person.id, &by(person, Some(shared_id), 0), "another", "new", event()).await.unwrap().unwrap();
    assert!(!matches!(wrong, PasswordChange::Changed { .. } | PasswordChange::Refused(Refusal::CredentialUnknown)), "{wrong:?}");
}

pub(crate) fn several_threads() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap()
}

#[test]
fn what_sqlite_promises_of_sessions_to_many_at_once_is_kept() {
    let (runtime, folder) = (several_threads(), tempfile::tempdir().unwrap());
    let limits = auth_service::store::StoreLimits::default();
    let store = runtime.block_on(async { SqliteStore::open(&sqlite_file(folder.path()), limits, Clock::Store).unwrap() });
    keep_their_promises(&runtime, &[Arc::new(store)]);
}

#[test]
fn what_redis_promises_of_sessions_to_many_processes_at_once_is_kept() {
    let (runtime, server) = (several_threads(), RedisServer::start(&["--appendfsync", "no"]));
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    for _ in 0..3 {
        stores.push(Arc::new(runtime.block_on(server.store(auth_service::store::StoreLimits::default(), Clock::Store))));
    }
    keep_their_promises(&runtime, &stores);
}

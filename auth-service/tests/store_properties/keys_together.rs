//! Random changes of one user's API keys by many at the same time, compared with what was promised to each.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use auth_service::ids::KeyId;
use auth_service::store::clock::Clock;
use auth_service::store::sqlite::SqliteStore;
use auth_service::store::{KeyAnswer, Refusal, Store};
use proptest::prelude::*;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::fixture::{Person, RedisServer, START_MS, change_keys, event, new_user, sqlite_file};
use crate::keys::{Action, action, change, key_id, standing};
use crate::{LIMITS, together};

/// Something that was asked for, and its answer.
#[derive(Debug, Clone)]
struct Answered {
    round: usize,
    now_ms: i64,
    /// The secret that was drawn for it.
    drawn: usize,
    action: Action,
    answer: KeyAnswer,
}

impl Answered {
    fn done(&self) -> Option<(&KeyId, Option<u32>)> {
        match &self.answer {
            KeyAnswer::Done { key, number, .. } => Some((&key.key.key_id, *number)),
            _ => None,
        }
    }

    /// The key and number that were said of the secret that it made.
    fn made(&self) -> Option<(KeyId, u32)> {
        let makes = matches!(self.action, Action::Create { .. } | Action::Rotate { .. });
        let (key_id, number) = self.done().filter(|_| makes)?;
        Some((key_id.clone(), number.unwrap()))
    }

    fn request(&self) -> Option<u8> {
        match &self.action {
            Action::Create { request, .. } | Action::Rotate { request, .. } => request.map(|(id, _)| id),
            _ => None,
        }
    }
}

/// What must hold of all that was answered, and of what is good after it.
fn compare(answered: &[Answered], good: &BTreeMap<usize, (KeyId, u32)>, now_ms: i64) {
    let by_drawn: BTreeMap<usize, &Answered> = answered.iter().map(|answered| (answered.drawn, answered)).collect();
    // What is good was given to somebody, under the key and number that were said.
    for (drawn, found) in good {
        assert_eq!(by_drawn[drawn].made().as_ref(), Some(found), "secret {drawn}");
    }
    let made: Vec<_> = answered.iter().filter_map(Answered::made).collect();
    assert_eq!(made.iter().collect::<BTreeSet<_>>().len(), made.len(), "no number is given twice");
    // Of each key, five at most; of each request that can be repeated, one.
    let mut of_keys: BTreeMap<&KeyId, usize> = BTreeMap::new();
    let mut of_requests: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
    for (drawn, (key_id, _)) in good {
        *of_keys.entry(key_id).or_default() += 1;
        by_drawn[drawn].request().into_iter().for_each(|id| of_requests.entry(id).or_default().push(*drawn));
    }
    assert!(of_keys.values().all(|count| *count <= 5), "{of_keys:?}");
    assert!(of_requests.values().all(|secrets| secrets.len() == 1), "{of_requests:?}");
    for answered_one in answered {
        let Some((key_id, number)) = answered_one.done() else { continue };
        match &answered_one.action {
            // A revocation that has answered holds.
            Action::Revoke { .. } => assert!(good.values().all(|(good, _)| good != key_id), "{answered_one:?}"),
            Action::RevokeSecret { .. } => assert!(!good.values().any(|found| (&found.0, Some(found.1)) == (key_id, number))),
            Action::RevokeShown { secret } => assert!(!good.contains_key(secret), "{answered_one:?}"),
            // What was there before a rotation ends with its grace.
            Action::Rotate { grace_ms, request: None, .. } => {
                for (drawn, found) in good {
                    let before = by_drawn[drawn];
                    let is_over = answered_one.now_ms + grace_ms <= now_ms || *grace_ms == 0;
                    assert!(!(found.0 == *key_id && before.round < answered_one.round && is_over), "{before:?} {answered_one:?}");
                }
            }
            _ => {}
        }
    }
    // What nobody ended is good.
    for one in answered.iter().filter(|one| one.request().is_none()) {
        let (Some((key_id, number)), Action::Create { lasts_ms: None, .. } | Action::Rotate { .. }) = (one.made(), &one.action) else {
            continue;
        };
        let ends = |other: &Answered| {
            let about = other.done().is_some_and(|(about, _)| *about == key_id);
            match &other.action {
                Action::Create { lasts_ms, .. } => about && lasts_ms.is_some(),
                Action::Rotate { .. } => about && other.drawn != one.drawn,
                Action::Revoke { .. } => about,
                Action::RevokeSecret { .. } => other.done() == Some((&key_id, Some(number))),
                Action::RevokeShown { secret } => *secret == one.drawn,
                Action::Note { .. } | Action::Wait { .. } => false,
            }
        };
        // When the last other secret of a key is revoked, the key goes with it.
        let key_may_be_revoked = |other: &Answered| {
            let by_secret = matches!(other.action, Action::RevokeSecret { .. } | Action::RevokeShown { .. });
            by_secret && other.done().is_some_and(|(about, _)| *about == key_id)
        };
        if !answered.iter().any(|other| ends(other) || key_may_be_revoked(other)) {
            assert!(good.contains_key(&one.drawn), "{one:?}");
        }
    }
}

fn keep_their_promises(runtime: &Runtime, stores: &[Arc<dyn Store>], hand: &AtomicI64) {
    let users = Cell::new(0);
    let made = Cell::new(0);
    let config = ProptestConfig { cases: 24, failure_persistence: None, max_shrink_iters: 16, ..ProptestConfig::default() };
    let clients = || proptest::collection::vec(proptest::collection::vec(action(), 1..5), 2..7);
    proptest!(config, |(rounds in proptest::collection::vec((0..1500_i64, clients()), 1..6))| {
        hand.store(START_MS, Ordering::SeqCst);
        users.set(users.get() + 1);
        runtime.block_on(async {
            let user = new_user(&format!("keys{}", users.get()), 0);
            let person = Person { id: user.user_id.clone(), account: (&user.user_id).into() };
            stores[0].create_user(user, event()).await.unwrap();
            let (drawn, mut answered) = (Arc::new(AtomicUsize::new(0)), Vec::new());
            // Keys that rotations and revocations find.
            for _ in 0..4 {
                let (action, number) = (Action::Create { request: None, lasts_ms: None }, drawn.fetch_add(1, Ordering::SeqCst));
                let answer = change_keys(&*stores[0], &person.account, change(&person, &action, number, START_MS).unwrap()).await;
                answered.push(Answered { round: 0, now_ms: START_MS, drawn: number, action, answer });
            }
            assert_eq!(answered[3].done().unwrap().0, &key_id(3));
            for (round, (wait_ms, clients)) in (1..).zip(&rounds) {
                let now_ms = hand.fetch_add(*wait_ms, Ordering::SeqCst) + wait_ms;
                let mut running = JoinSet::new();
                for (client, actions) in clients.iter().cloned().enumerate() {
                    let (store, person, drawn) = (Arc::clone(&stores[client % stores.len()]), person.clone(), Arc::clone(&drawn));
                    running.spawn(async move {
                        let mut answers = Vec::new();
                        for action in actions {
                            let number = drawn.fetch_add(1, Ordering::SeqCst);
                            // The clock stands while they act: the times that they would wait don't count here.
                            let Some(change) = change(&person, &action, number, now_ms) else { continue };
                            let answer = change_keys(&*store, &person.account, change).await;
                            answers.push(Answered { round, now_ms, drawn: number, action, answer });
                        }
                        answers
                    });
                }
                answered.extend(running.join_all().await.into_iter().flatten());
                let mut good = BTreeMap::new();
                for number in 0..drawn.load(Ordering::SeqCst) {
                    match standing(&*stores[number % stores.len()], &person, number).await {
                        Ok(found) => drop(good.insert(number, found)),
                        Err(Refusal::CredentialUnknown | Refusal::CredentialRevoked | Refusal::CredentialExpired) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
                compare(&answered, &good, now_ms);
            }
            made.set(made.get() + answered.iter().filter(|one| one.round > 0 && one.made().is_some()).count());
        });
    });
    assert!(made.get() > 100, "{} secrets were made", made.get());
}

#[test]
fn what_sqlite_promises_of_keys_to_many_at_once_is_kept() {
    let (runtime, folder) = (together::several_threads(), tempfile::tempdir().unwrap());
    let (clock, hand) = Clock::fixed(START_MS);
    let store = runtime.block_on(async { SqliteStore::open(&sqlite_file(folder.path()), LIMITS, clock).unwrap() });
    keep_their_promises(&runtime, &[Arc::new(store)], &hand);
}

#[test]
fn what_redis_promises_of_keys_to_many_at_once_is_kept() {
    let (runtime, server) = (together::several_threads(), RedisServer::start(&["--appendfsync", "no"]));
    let (clock, hand) = Clock::fixed(START_MS);
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    for _ in 0..3 {
        stores.push(Arc::new(runtime.block_on(server.store(LIMITS, clock.clone()))));
    }
    keep_their_promises(&runtime, &stores, &hand);
}

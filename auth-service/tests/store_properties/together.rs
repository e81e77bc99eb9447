//! Operations of several clients at the same time. The clock stands during a round, and moves between rounds.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use auth_service::hold::{Fields, Outcome, Terms, TokenUsage};
use auth_service::price::Price;
use auth_service::refunds::RefundLimit;
use auth_service::store::clock::Clock;
use auth_service::store::sqlite::SqliteStore;
use auth_service::store::{
    ChargeRequest, CheckAnswer, CheckRequest, GrantRequest, KeyChange, NewSecret, PresentedCredential, ReleaseRequest, Scope, Store,
    StoreLimits,
};
use proptest::prelude::*;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::fixture::{self, Person, RedisServer, START_MS, event, new_user, permission, sqlite_file};
use crate::promises::{Answered, Promises};
use crate::{LIMITS, outcome, price, usage};

/// Nothing is forgotten: every receipt that was ever given is still there.
const LONG_MEMORY: StoreLimits = StoreLimits {
    hold_ttl: Duration::from_millis(100),
    forget_after: Duration::from_secs(3600),
    max_open_holds: 5,
    max_remembered_requests: 100_000,
    max_free_requests: 100_000,
    refunds: RefundLimit { burst: 1_000_000, every: Duration::from_millis(1) },
    sweep_batch: 3,
    session_idle: LIMITS.session_idle,
    session_lifetime: LIMITS.session_lifetime,
    max_audit_changes: LIMITS.max_audit_changes,
    max_audit_operators: LIMITS.max_audit_operators,
    max_audit_attempts: LIMITS.max_audit_attempts,
};
/// Requests are forgotten at their time, and before it.
const SHORT_MEMORY: StoreLimits =
    StoreLimits { forget_after: Duration::from_millis(300), max_remembered_requests: 6, max_free_requests: 4, ..LONG_MEMORY };
/// Refunds are soon too many.
const FEW_REFUNDS: StoreLimits = StoreLimits { refunds: RefundLimit { burst: 1, every: Duration::from_millis(400) }, ..LONG_MEMORY };
const ACCOUNTS: usize = 3;
const STARTING_CREDITS: i64 = 150;

#[derive(Debug, Clone)]
enum Action {
    /// By an attempt of its own; `twice`: the same call a second time, at the same time.
    Check {
        request: u8,
        price: Price,
        max_in: u32,
        max_out: u32,
        require_full: bool,
        twice: bool,
    },
    /// With a handle that was given out, counted from the last one back.
    Extend {
        back: usize,
        usage: TokenUsage,
    },
    /// The same; `times` calls at the same time.
    Settle {
        back: usize,
        altered: bool,
        outcome: Outcome,
        usage: TokenUsage,
        times: usize,
    },
    /// As for a Check that was not answered; `times` calls at the same time.
    Release {
        back: usize,
        times: usize,
    },
    /// `times` calls at the same time.
    Grant {
        request: u8,
        credits: i64,
        times: usize,
    },
    Balance,
    Receipt {
        request: u8,
    },
    Walk,
    /// The rights on the account change, and leave everybody what they may.
    NewKey,
}

/// What clients do at the same time, each one action on an account after the other.
#[derive(Debug, Clone)]
struct Round {
    wait_ms: i64,
    clients: Vec<Vec<(usize, Action)>>,
}

fn action() -> impl Strategy<Value = (usize, Action)> {
    let check = (0..8_u8, price(), 0..1000_u32, 1..1000_u32, any::<bool>(), any::<bool>()).prop_map(
        |(request, price, max_in, max_out, require_full, twice)| Action::Check { request, price, max_in, max_out, require_full, twice },
    );
    let settle = (0..8_usize, prop_oneof![9 => Just(false), 1 => Just(true)], outcome(), usage(), 1..4_usize)
        .prop_map(|(back, altered, outcome, usage, times)| Action::Settle { back, altered, outcome, usage, times });
    let action = prop_oneof![
        8 => check,
        4 => (0..8_usize, usage()).prop_map(|(back, usage)| Action::Extend { back, usage }),
        7 => settle,
        3 => (0..8_usize, 1..3_usize).prop_map(|(back, times)| Action::Release { back, times }),
        1 => (0..6_u8, 1..3_i64, 1..4_usize).prop_map(|(request, credits, times)| Action::Grant { request, credits, times }),
        1 => Just(Action::Balance),
        1 => (0..8_u8).prop_map(|request| Action::Receipt { request }),
        1 => Just(Action::Walk),
        2 => Just(Action::NewKey),
    ];
    (0..ACCOUNTS, action)
}

fn round() -> impl Strategy<Value = Round> {
    let clients = proptest::collection::vec(proptest::collection::vec(action(), 1..6), 2..7);
    (prop_oneof![3 => 0..60_i64, 2 => 60..150_i64, 1 => 150..400_i64], clients).prop_map(|(wait_ms, clients)| Round { wait_ms, clients })
}

/// An account, and the handles that were given out for it.
#[derive(Debug)]
struct Payer {
    person: Person,
    handles: Mutex<Vec<Terms>>,
}

impl Payer {
    fn handle(&self, back: usize) -> Option<Terms> {
        let handles = self.handles.lock().unwrap();
        handles.iter().rev().nth(back % handles.len().max(1)).cloned()
    }
}

/// What the clients share.
#[derive(Debug)]
struct Stage {
    /// Connections of their own to one store.
    stores: Vec<Arc<dyn Store>>,
    payers: Vec<Payer>,
    attempts: AtomicU32,
}

impl Stage {
    /// Does the same a few times at once, on one connection after the other.
    async fn at_once<T, F>(self: &Arc<Self>, first: usize, times: usize, call: impl Fn(Arc<dyn Store>) -> F) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let mut calls = JoinSet::new();
        for number in first..first + times {
            calls.spawn(call(Arc::clone(&self.stores[number % self.stores.len()])));
        }
        calls.join_all().await
    }

    async fn perform(self: &Arc<Self>, client: usize, payer: usize, action: Action, now_ms: i64) -> Vec<Answered> {
        let (store, who) = (&self.stores[client % self.stores.len()], &self.payers[payer]);
        let (account, user) = (who.person.account.clone(), who.person.id.clone());
        match action {
            Action::Check { request, price, max_in, max_out, require_full, twice } => {
                let charge = ChargeRequest {
                    request_id: format!("request-{request}"),
                    attempt_id: format!("attempt-{}", self.attempts.fetch_add(1, Ordering::SeqCst)),
                    fingerprint: vec![7],
                    price,
                    max_input_tokens: max_in,
                    max_output_tokens: max_out,
                    require_full,
                };
                let credential = PresentedCredential::AccessToken { user_id: user, session: None, issued_at_ms: now_ms };
                let request = CheckRequest {
                    account,
                    credential,
                    permission: permission(Scope::Chat),
                    charge: Some(charge.clone()),
                    caller_address: None,
                };
                let ask = |store: Arc<dyn Store>| {
                    let request = request.clone();
                    async move { store.check(request).await.unwrap() }
                };
                let answers = self.at_once(client, 1 + usize::from(twice), ask).await;
                // Nobody settles it before both have answered.
                if let Some(CheckAnswer::Held(_, held)) = answers.iter().find(|answer| matches!(answer, CheckAnswer::Held(..))) {
                    who.handles.lock().unwrap().push(held.terms.clone());
                }
                answers.into_iter().map(|answer| Answered::Check { charge: charge.clone(), answer }).collect()
            }
            Action::Extend { back, usage } => {
                let Some(handle) = who.handle(back) else { return Vec::new() };
                let answer = store.extend(&handle, usage).await.unwrap();
                vec![Answered::Extend { handle, usage, answer }]
            }
            Action::Settle { back, altered, outcome, usage, times } => {
                let Some(given_out) = who.handle(back) else { return Vec::new() };
                let handle = if altered {
                    Terms::new(Fields { held_credits: given_out.held_credits + 1, ..(*given_out).clone() })
                } else {
                    given_out
                };
                let settle = |store: Arc<dyn Store>| {
                    let handle = handle.clone();
                    async move { store.settle(&handle, outcome, usage).await.unwrap() }
                };
                let answers = self.at_once(client, times, settle).await.into_iter();
                answers.map(|answer| Answered::Settle { handle: handle.clone(), altered, outcome, usage, answer }).collect()
            }
            Action::Release { back, times } => {
                let Some(handle) = who.handle(back) else { return Vec::new() };
                let release = ReleaseRequest {
                    account,
                    credential: PresentedCredential::AccessToken { user_id: user, session: None, issued_at_ms: now_ms },
                    request_id: handle.request_id.clone(),
                    attempt_id: handle.attempt_id.clone(),
                };
                let ask = |store: Arc<dyn Store>| {
                    let release = release.clone();
                    async move { store.release(release).await.unwrap() }
                };
                let answers = self.at_once(client, times, ask).await.into_iter();
                answers.map(|answer| Answered::Release { handle: handle.clone(), answer }).collect()
            }
            Action::Grant { request, credits, times } => {
                let request_id = format!("grant-{request}");
                let grant = GrantRequest { account, credits, request_id: request_id.clone(), note: String::new(), granted_by: user };
                let ask = |store: Arc<dyn Store>| {
                    let grant = grant.clone();
                    async move { store.grant(grant, event()).await.unwrap() }
                };
                let answers = self.at_once(client, times, ask).await.into_iter();
                answers.map(|answer| Answered::Grant { request_id: request_id.clone(), credits, answer }).collect()
            }
            Action::Balance => vec![Answered::Balance(store.balance(&account).await.unwrap().unwrap())],
            Action::Receipt { request } => {
                let request_id = format!("request-{request}");
                let answer = store.receipt(&account, &user, &request_id).await.unwrap();
                vec![Answered::Receipt { request_id, answer }]
            }
            Action::Walk => {
                fixture::walk(&**store).await;
                Vec::new()
            }
            Action::NewKey => {
                let number = self.attempts.fetch_add(1, Ordering::SeqCst);
                let secret_hash = std::array::from_fn(|place| number.to_le_bytes()[place % 4]);
                let secret = NewSecret { secret_hash, hint: String::new() };
                // There may be as many as there can be.
                let change = KeyChange::Create { key: fixture::new_key(&user), secret, request: None };
                let _made = fixture::change_keys(&**store, &account, change).await;
                Vec::new()
            }
        }
    }

    /// Has all clients do what they do in one round; what they were answered, by account.
    async fn play(self: &Arc<Self>, round: &Round, now_ms: i64) -> Vec<Vec<Answered>> {
        let mut clients = JoinSet::new();
        for (client, actions) in round.clients.iter().cloned().enumerate() {
            let stage = Arc::clone(self);
            clients.spawn(async move {
                let mut answers = Vec::new();
                for (payer, action) in actions {
                    answers.push((payer, stage.perform(client, payer, action, now_ms).await));
                }
                answers
            });
        }
        let mut by_account: Vec<Vec<Answered>> = (0..ACCOUNTS).map(|_| Vec::new()).collect();
        for (payer, answers) in clients.join_all().await.into_iter().flatten() {
            by_account[payer].extend(answers);
        }
        by_account
    }
}

/// Has random operations done together, and compares after each round what was promised.
fn keep_their_promises(runtime: &Runtime, stores: &[Arc<dyn Store>], hand: &AtomicI64, limits: StoreLimits) {
    let (users, refused_for_refunds) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let config = ProptestConfig { cases: 24, failure_persistence: None, max_shrink_iters: 32, ..ProptestConfig::default() };
    proptest!(config, |(rounds in proptest::collection::vec(round(), 1..8))| {
        hand.store(START_MS, Ordering::SeqCst);
        users.set(users.get() + 1);
        runtime.block_on(async {
            let mut payers = Vec::new();
            for number in 0..ACCOUNTS {
                let user = new_user(&format!("user{}.{number}", users.get()), STARTING_CREDITS);
                let person = Person { id: user.user_id.clone(), account: (&user.user_id).into() };
                stores[0].create_user(user, event()).await.unwrap();
                payers.push(Payer { person, handles: Mutex::default() });
            }
            let stage = Arc::new(Stage { stores: stores.to_vec(), payers, attempts: AtomicU32::new(0) });
            let mut promises = Vec::new();
            for payer in &stage.payers {
                promises.push(Promises::new(limits, stores[0].snapshot(&payer.person.account).await.unwrap().unwrap()));
            }
            for round in &rounds {
                let now_ms = hand.fetch_add(round.wait_ms, Ordering::SeqCst) + round.wait_ms;
                let answers = stage.play(round, now_ms).await;
                for ((payer, promises), answers) in stage.payers.iter().zip(&mut promises).zip(&answers) {
                    promises.compare(now_ms, answers, stores[0].snapshot(&payer.person.account).await.unwrap().unwrap());
                }
            }
            // Whatever is still open ends at its expiry.
            let now_ms = hand.fetch_add(10_000, Ordering::SeqCst) + 10_000;
            fixture::walk(&*stores[0]).await;
            for (payer, promises) in stage.payers.iter().zip(&mut promises) {
                let after = stores[0].snapshot(&payer.person.account).await.unwrap().unwrap();
                assert_eq!((&after.open, after.balance.held), (&Vec::new(), 0));
                promises.compare(now_ms, &[], after);
                refused_for_refunds.set(refused_for_refunds.get() + promises.refused_for_refunds);
            }
        });
    });
    assert_eq!(refused_for_refunds.get() > 0, limits.refunds.burst < 10, "{} Checks were refused for refunds", refused_for_refunds.get());
}

pub(crate) fn several_threads() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap()
}

fn sqlite_keeps_its_promises(limits: StoreLimits) {
    let (runtime, folder) = (several_threads(), tempfile::tempdir().unwrap());
    let (clock, hand) = Clock::fixed(START_MS);
    let store = runtime.block_on(async { SqliteStore::open(&sqlite_file(folder.path()), limits, clock).unwrap() });
    keep_their_promises(&runtime, &[Arc::new(store)], &hand, limits);
}

fn redis_keeps_its_promises(limits: StoreLimits) {
    let (runtime, server) = (several_threads(), RedisServer::start(&["--appendfsync", "no"]));
    let (clock, hand) = Clock::fixed(START_MS);
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    for _ in 0..3 {
        stores.push(Arc::new(runtime.block_on(server.store(limits, clock.clone()))));
    }
    keep_their_promises(&runtime, &stores, &hand, limits);
}

#[test]
fn what_sqlite_promises_to_many_at_once_is_kept() {
    sqlite_keeps_its_promises(LONG_MEMORY);
}

#[test]
fn what_sqlite_promises_to_many_at_once_is_kept_while_requests_are_forgotten() {
    sqlite_keeps_its_promises(SHORT_MEMORY);
}

#[test]
fn what_redis_promises_to_many_at_once_is_kept() {
    redis_keeps_its_promises(LONG_MEMORY);
}

#[test]
fn what_redis_promises_to_many_at_once_is_kept_while_requests_are_forgotten() {
    redis_keeps_its_promises(SHORT_MEMORY);
}

#[test]
fn what_sqlite_promises_to_many_at_once_is_kept_while_refunds_are_bounded() {
    sqlite_keeps_its_promises(FEW_REFUNDS);
}

#[test]
fn what_redis_promises_to_many_at_once_is_kept_while_refunds_are_bounded() {
    redis_keeps_its_promises(FEW_REFUNDS);
}

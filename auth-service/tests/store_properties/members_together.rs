//! Random calls of an organization's members at the same time, while their caps change: after each round, what is counted of each is what
//! they were charged and hold, and no more than their cap let through.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use auth_service::hold::{Outcome, Terms};
use auth_service::month::Month;
use auth_service::store::clock::Clock;
use auth_service::store::sqlite::SqliteStore;
use auth_service::store::{CheckAnswer, Refusal, ReleaseRequest, SettleAnswer, Store};
use proptest::prelude::*;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::company::{Company, OWNER, ROBOT, ROOMY};
use crate::fixture::{RedisServer, START_MS, by_token, sqlite_file, used};
use crate::together;

#[derive(Debug, Clone)]
enum Action {
    Check {
        who: usize,
    },
    Settle {
        back: usize,
        tokens: Option<u32>,
    },
    Release {
        back: usize,
    },
    /// The owner's cap is set to what it is: the rights on the account change, and leave everybody what they may.
    SameCap,
}

#[derive(Debug, Clone)]
struct Round {
    /// In force throughout the round.
    caps: [Option<i64>; 3],
    turns_the_month: bool,
    clients: Vec<Vec<Action>>,
}

fn round() -> impl Strategy<Value = Round> {
    let action = prop_oneof![
        6 => (OWNER..=ROBOT).prop_map(|who| Action::Check { who }),
        4 => (0..8_usize, proptest::option::weighted(0.8, 0..10_u32)).prop_map(|(back, tokens)| Action::Settle { back, tokens }),
        1 => (0..8_usize).prop_map(|back| Action::Release { back }),
        1 => Just(Action::SameCap),
    ];
    let caps = [0, 1, 2].map(|_| proptest::option::weighted(0.8, 0..40_i64));
    let clients = proptest::collection::vec(proptest::collection::vec(action, 1..6), 2..8);
    (caps, any::<bool>(), clients).prop_map(|(caps, turns_the_month, clients)| Round { caps, turns_the_month, clients })
}

/// What the clients share.
struct Stage {
    stores: Vec<Arc<dyn Store>>,
    company: Company,
    handles: Mutex<Vec<(usize, Terms)>>,
    requests: AtomicUsize,
    /// Charged in this month, by attempt, so that an answer that comes twice counts once.
    charged: Mutex<BTreeMap<String, (usize, i64)>>,
}

impl Stage {
    fn pick(&self, back: usize) -> Option<(usize, Terms)> {
        let handles = self.handles.lock().unwrap();
        handles.iter().rev().nth(back % handles.len().max(1)).cloned()
    }

    async fn perform(&self, client: usize, action: Action, caps: [Option<i64>; 3]) {
        let store = &*self.stores[client % self.stores.len()];
        match action {
            Action::Check { who } => {
                let number = self.requests.fetch_add(1, Ordering::SeqCst);
                let mut request = self.company.request(who);
                request.charge = Some(by_token(&format!("r{number}"), &format!("a{number}")));
                match store.check(request).await.unwrap() {
                    CheckAnswer::Held(_, held) => self.handles.lock().unwrap().push((who, held.terms)),
                    CheckAnswer::Refused(Refusal::MemberCapReached { needed, left }) => {
                        assert!(left < needed && caps[who].is_some_and(|cap| left <= cap), "{left} of {needed}, {caps:?}");
                    }
                    CheckAnswer::Refused(Refusal::InsufficientCredits { needed, available }) => assert!(available < needed),
                    other => panic!("{other:?}"),
                }
            }
            Action::Settle { back, tokens } => {
                let Some((who, terms)) = self.pick(back) else { return };
                let outcome = if tokens.is_some() { Outcome::Completed } else { Outcome::NothingGenerated };
                let SettleAnswer::Settled(record) = store.settle(&terms, outcome, used(tokens.unwrap_or(1))).await.unwrap() else {
                    panic!()
                };
                let resolved = record.resolved.unwrap();
                self.note(&terms, who, resolved.charged_credits, resolved.at_ms);
            }
            Action::Release { back } => {
                let Some((who, terms)) = self.pick(back) else { return };
                let (account, credential) = (self.company.account.clone(), self.company.token(who));
                let (request_id, attempt_id) = (terms.request_id.clone(), terms.attempt_id.clone());
                store.release(ReleaseRequest { account, credential, request_id, attempt_id }).await.unwrap();
            }
            Action::SameCap => self.company.set_cap(store, OWNER, caps[OWNER]).await,
        }
    }

    fn note(&self, terms: &Terms, who: usize, charged: i64, at_ms: i64) {
        // By the time at which it was: of another month's it may be told again.
        let key = format!("{}:{}", Month::of_ms(at_ms).start_ms, terms.attempt_id);
        self.charged.lock().unwrap().insert(key, (who, charged));
    }

    /// What somebody was charged in this month, as they were told.
    fn charged(&self, who: usize, now_ms: i64) -> i64 {
        let month = format!("{}:", Month::of_ms(now_ms).start_ms);
        let charged = self.charged.lock().unwrap();
        charged.iter().filter(|(key, (of, _))| key.starts_with(&month) && *of == who).map(|(_, (_, charged))| charged).sum()
    }
}

fn keep_their_caps(runtime: &Runtime, stores: &[Arc<dyn Store>], hand: &AtomicI64) {
    let cases = Cell::new(0);
    let config = ProptestConfig { cases: 24, failure_persistence: None, max_shrink_iters: 32, ..ProptestConfig::default() };
    proptest!(config, |(rounds in proptest::collection::vec(round(), 1..6))| {
        cases.set(cases.get() + 1);
        hand.store(START_MS, Ordering::SeqCst);
        runtime.block_on(async {
            let company = Company::make(&*stores[0], cases.get()).await;
            let (handles, charged) = (Mutex::default(), Mutex::default());
            let stage = Arc::new(Stage { stores: stores.to_vec(), company, handles, requests: AtomicUsize::new(0), charged });
            for round in rounds {
                if round.turns_the_month {
                    let next = Month::of_ms(hand.load(Ordering::SeqCst)).end_ms;
                    hand.store(next, Ordering::SeqCst);
                }
                play(&stage, &round, hand.load(Ordering::SeqCst)).await;
            }
        });
    });
}

async fn play(stage: &Arc<Stage>, round: &Round, now_ms: i64) {
    let (store, company) = (&*stage.stores[0], &stage.company);
    // What the last round left is resolved by the time that this one begins, where the month has turned.
    store.balance(&company.account).await.unwrap();
    let expired_before = expired_charges(stage).await;
    let mut before = Vec::new();
    for who in OWNER..=ROBOT {
        company.set_cap(store, who, round.caps[who]).await;
        let (spent, held) = counted(stage, who).await;
        before.push(spent + held);
    }
    let mut clients = JoinSet::new();
    for (client, actions) in round.clients.iter().cloned().enumerate() {
        let (stage, caps) = (Arc::clone(stage), round.caps);
        clients.spawn(async move {
            for action in actions {
                stage.perform(client, action, caps).await;
            }
        });
    }
    clients.join_all().await;
    let snapshot = store.snapshot(&company.account).await.unwrap().unwrap();
    assert_eq!(snapshot.violations(), Vec::<String>::new());
    for (who, before) in (OWNER..).zip(before) {
        let (spent, held) = counted(stage, who).await;
        if let Some(cap) = round.caps[who] {
            // More than the cap only where it was so before the round, or by what was settled late.
            let late: i64 = expired_before.iter().filter(|(of, _)| *of == who).map(|(_, credits)| credits).sum();
            assert!(spent + held <= cap.max(before) + late, "{who} spent {spent} and holds {held} of {cap}; {before} before");
        }
        assert_eq!(spent, stage.charged(who, now_ms), "of {who}");
    }
}

/// Of holds that have expired: what a late settle may still charge.
async fn expired_charges(stage: &Stage) -> Vec<(usize, i64)> {
    let snapshot = stage.stores[0].snapshot(&stage.company.account).await.unwrap().unwrap();
    let is_expired = |hold: &&auth_service::hold::HoldRecord| {
        hold.resolved.as_ref().is_some_and(|resolved| resolved.resolution == auth_service::hold::Resolution::Expired)
    };
    let who = |hold: &auth_service::hold::HoldRecord| stage.company.people.iter().position(|id| *id == hold.terms.user_id).unwrap();
    snapshot.remembered.iter().filter(is_expired).map(|hold| (who(hold), hold.terms.held_credits)).collect()
}

async fn counted(stage: &Stage, who: usize) -> (i64, i64) {
    let usages = stage.stores[0].month_usage(&stage.company.account).await.unwrap();
    usages.into_iter().find(|(id, _)| *id == stage.company.people[who]).map_or((0, 0), |(_, usage)| (usage.spent, usage.held))
}

#[test]
fn of_many_members_at_once_none_spends_more_than_their_cap_and_each_charge_is_counted_once_on_sqlite() {
    let (runtime, folder) = (together::several_threads(), tempfile::tempdir().unwrap());
    let (clock, hand) = Clock::fixed(START_MS);
    let store = runtime.block_on(async { SqliteStore::open(&sqlite_file(folder.path()), ROOMY, clock).unwrap() });
    keep_their_caps(&runtime, &[Arc::new(store)], &hand);
}

#[test]
fn of_many_members_at_once_none_spends_more_than_their_cap_and_each_charge_is_counted_once_on_redis() {
    let (runtime, server) = (together::several_threads(), RedisServer::start(&["--appendfsync", "no"]));
    let (clock, hand) = Clock::fixed(START_MS);
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    for _ in 0..3 {
        stores.push(Arc::new(runtime.block_on(server.store(ROOMY, clock.clone()))));
    }
    keep_their_caps(&runtime, &stores, &hand);
}

//! Random calls that an organization pays for, and changes of its members and their caps, one after the other: compared with a plain model
//! of months, caps and credits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use auth_service::hold::{Outcome, Terms};
use auth_service::price::Price;
use auth_service::store::clock::Clock;
use auth_service::store::redis::{RedisOptions, RedisStore};
use auth_service::store::sqlite::SqliteStore;
use auth_service::store::{ChargeRequest, CheckAnswer, Refusal, ReleaseRequest, Store};
use proptest::prelude::*;

use crate::company::{CREDITS, Company, MEMBER, OWNER, ROBOT, ROOMY};
use crate::current_thread;
use crate::fixture::{RedisServer, START_MS, event, used};

const DAY_MS: i64 = 24 * 3600 * 1000;

#[derive(Debug, Clone)]
pub(crate) enum Operation {
    /// A call costs `per_call`, and each of its up to `tokens` tokens 1.
    Check {
        who: usize,
        request: u8,
        per_call: i64,
        tokens: u32,
        require_full: bool,
    },
    Extend {
        back: usize,
        tokens: u32,
    },
    Settle {
        back: usize,
        tokens: Option<u32>,
    },
    Release {
        back: usize,
    },
    SetCap {
        who: usize,
        cap: Option<i64>,
    },
    /// The member is removed, or added again.
    Place(bool),
    /// The member is disabled or enabled.
    Disable(bool),
    Wait(Wait),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Wait {
    Ms(i64),
    /// To the first moment of the next month.
    NextMonth,
    /// The clock goes back.
    BackADay,
}

pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    let who = || OWNER..=ROBOT;
    let check = (who(), 0..8_u8, 0..4_i64, 1..8_u32, any::<bool>())
        .prop_map(|(who, request, per_call, tokens, require_full)| Operation::Check { who, request, per_call, tokens, require_full });
    prop_oneof![
        10 => check,
        2 => (0..6_usize, 0..10_u32).prop_map(|(back, tokens)| Operation::Extend { back, tokens }),
        7 => (0..6_usize, proptest::option::weighted(0.7, 0..10_u32)).prop_map(|(back, tokens)| Operation::Settle { back, tokens }),
        2 => (0..6_usize).prop_map(|back| Operation::Release { back }),
        4 => (who(), proptest::option::weighted(0.8, 0..15_i64)).prop_map(|(who, cap)| Operation::SetCap { who, cap }),
        1 => any::<bool>().prop_map(Operation::Place),
        1 => any::<bool>().prop_map(Operation::Disable),
        4 => prop_oneof![
            3 => (0..120_i64).prop_map(Wait::Ms),
            2 => Just(Wait::NextMonth),
            1 => Just(Wait::BackADay),
        ].prop_map(Operation::Wait),
    ]
}

/// The month of a time, as `2023-11`, and the first moment of the next one.
fn month(at_ms: i64) -> (String, i64) {
    let text = |at_ms: i64| prost_types::Timestamp { seconds: at_ms.div_euclid(1000), nanos: 0 }.to_string()[..7].to_owned();
    let month = text(at_ms);
    let midnight = at_ms - at_ms.rem_euclid(DAY_MS);
    let next = (1..=31).map(|days| midnight + days * DAY_MS).find(|at_ms| text(*at_ms) != month).unwrap();
    (month, next)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Refunded,
    /// For good.
    Resolved,
    /// Charged so much; it may be settled late.
    Expired(i64),
}

#[derive(Debug, Clone)]
struct Hold {
    who: usize,
    attempt: usize,
    per_call: i64,
    held: i64,
    max_tokens: u32,
    recorded: u32,
    expires_at_ms: i64,
    state: State,
}

#[derive(Debug, Default, Clone)]
struct Counted {
    month: String,
    spent: i64,
    held: i64,
}

#[derive(Debug)]
struct Model {
    now_ms: i64,
    available: i64,
    spent: i64,
    caps: [Option<i64>; 3],
    counted: [Counted; 3],
    is_member: bool,
    is_disabled: bool,
    /// By who and request.
    holds: BTreeMap<(usize, u8), Hold>,
}

impl Model {
    fn new() -> Self {
        let (caps, counted, holds) = ([None; 3], Default::default(), BTreeMap::new());
        Self { now_ms: START_MS, available: CREDITS, spent: 0, caps, counted, is_member: true, is_disabled: false, holds }
    }

    fn counted(&self, who: usize) -> (i64, i64) {
        let counted = &self.counted[who];
        // Of an earlier month nothing counts; of a later one, which the clock left again, all does.
        (if counted.month < month(self.now_ms).0 { 0 } else { counted.spent }, counted.held)
    }

    fn count(&mut self, who: usize, held: i64, charge: i64) {
        if (held, charge) != (0, 0) {
            let (spent, before) = self.counted(who);
            self.counted[who] = Counted { month: month(self.now_ms).0, spent: spent + charge, held: before + held };
            (self.available, self.spent) = (self.available - held - charge, self.spent + charge);
        }
    }

    fn refusal(&self, who: usize) -> Option<Refusal> {
        match who {
            MEMBER if !self.is_member => Some(Refusal::NotAMember),
            MEMBER if self.is_disabled => Some(Refusal::UserDisabled),
            _ => None,
        }
    }

    fn expire(&mut self) {
        let due: Vec<_> = self.holds.iter().filter(|(_, hold)| hold.state == State::Open && hold.expires_at_ms <= self.now_ms).collect();
        let due: Vec<_> = due.into_iter().map(|(name, hold)| (*name, hold.clone())).collect();
        for (name, hold) in due {
            let charge = i64::from(hold.recorded).min(hold.held);
            self.count(hold.who, -hold.held, charge);
            self.holds.get_mut(&name).unwrap().state = State::Expired(charge);
        }
    }

    /// What a Check holds: how much, and for how many tokens.
    fn check(&self, who: usize, request: u8, per_call: i64, tokens: u32, require_full: bool) -> Result<(i64, u32), Option<Refusal>> {
        if let Some(refusal) = self.refusal(who) {
            return Err(Some(refusal));
        }
        match self.holds.get(&(who, request)).map(|hold| hold.state) {
            Some(State::Open) => return Err(Some(Refusal::RequestInProgress)),
            Some(State::Resolved | State::Expired(_)) => return Err(None),
            Some(State::Refunded) | None => {}
        }
        let (spent, held) = self.counted(who);
        let left = self.caps[who].map_or(i64::MAX, |cap| (cap - spent - held).max(0));
        let there = self.available.min(left);
        let whole = per_call + i64::from(tokens);
        if whole <= there {
            return Ok((whole, tokens));
        }
        let needed = if require_full { whole } else { per_call + 1 };
        if needed <= there {
            return Ok((there, u32::try_from(there - per_call).unwrap()));
        }
        let available = self.available;
        let is_cap = needed <= available;
        Err(Some(if is_cap { Refusal::MemberCapReached { needed, left } } else { Refusal::InsufficientCredits { needed, available } }))
    }

    fn settle(&mut self, name: (usize, u8), attempt: usize, tokens: Option<u32>) {
        let Some(hold) = self.holds.get(&name).filter(|hold| hold.attempt == attempt).cloned() else { return };
        let price = tokens.map_or(0, |tokens| hold.per_call + i64::from(tokens.min(hold.max_tokens)));
        let state = match hold.state {
            State::Open => {
                self.count(hold.who, -hold.held, price);
                if tokens.is_some() { State::Resolved } else { State::Refunded }
            }
            State::Expired(before) => {
                let charge = (price - before).max(0).min(self.available);
                self.count(hold.who, 0, charge);
                State::Resolved
            }
            state => state,
        };
        self.holds.get_mut(&name).unwrap().state = state;
    }
}

/// A handle that was given out.
struct Given {
    name: (usize, u8),
    attempt: usize,
    terms: Terms,
}

/// Does the operations, and compares each answer, and what is kept after it, with the model's.
async fn compare(store: &dyn Store, hand: &AtomicI64, number: u32, operations: &[Operation]) {
    hand.store(START_MS, Ordering::SeqCst);
    let company = Company::make(store, number).await;
    let (mut model, mut given) = (Model::new(), Vec::<Given>::new());
    for (attempt, operation) in operations.iter().enumerate() {
        // What is due is resolved, so that nothing depends on which operation finds it.
        store.balance(&company.account).await.unwrap();
        model.expire();
        let pick = |back: &usize| (!given.is_empty()).then(|| &given[given.len() - 1 - back % given.len()]);
        match operation {
            Operation::Check { who, request, per_call, tokens, require_full } => {
                let charge = ChargeRequest {
                    request_id: format!("r{request}"),
                    attempt_id: format!("a{attempt}"),
                    fingerprint: vec![7],
                    price: Price { per_call: *per_call, per_1k_input_tokens: 0, per_1k_output_tokens: 1000 },
                    max_input_tokens: 9,
                    max_output_tokens: *tokens,
                    require_full: *require_full,
                };
                let mut request_by = company.request(*who);
                request_by.charge = Some(charge);
                let answer = store.check(request_by).await.unwrap();
                match model.check(*who, *request, *per_call, *tokens, *require_full) {
                    Ok((held, max_tokens)) => {
                        let CheckAnswer::Held(_, made) = &answer else { panic!("{held} were to be held: {answer:?}") };
                        assert_eq!((made.terms.held_credits, made.terms.max_output_tokens), (held, max_tokens));
                        model.count(*who, held, 0);
                        let name = (*who, *request);
                        let (recorded, expires_at_ms) = (0, model.now_ms + 100);
                        let hold =
                            Hold { who: *who, attempt, per_call: *per_call, held, max_tokens, recorded, expires_at_ms, state: State::Open };
                        model.holds.insert(name, hold);
                        given.push(Given { name, attempt, terms: made.terms.clone() });
                    }
                    Err(Some(refusal)) => assert_eq!(answer, CheckAnswer::Refused(refusal)),
                    Err(None) => assert!(matches!(answer, CheckAnswer::Recorded(..)), "{answer:?}"),
                }
            }
            Operation::Extend { back, tokens } => {
                let Some(Given { name, attempt, terms }) = pick(back) else { continue };
                store.extend(terms, used(*tokens)).await.unwrap();
                let (refusal, now_ms) = (model.refusal(name.0), model.now_ms);
                let hold = model.holds.get_mut(name).unwrap();
                if hold.attempt == *attempt && hold.state == State::Open && refusal.is_none() {
                    hold.recorded = hold.recorded.max((*tokens).min(hold.max_tokens));
                    hold.expires_at_ms = hold.expires_at_ms.max(now_ms + 100);
                }
            }
            Operation::Settle { back, tokens } => {
                let Some(Given { name, attempt, terms }) = pick(back) else { continue };
                let outcome = if tokens.is_some() { Outcome::Completed } else { Outcome::NothingGenerated };
                store.settle(terms, outcome, used(tokens.unwrap_or(3))).await.unwrap();
                model.settle(*name, *attempt, *tokens);
            }
            Operation::Release { back } => {
                let Some(Given { name, attempt, terms }) = pick(back) else { continue };
                let (request_id, attempt_id) = (terms.request_id.clone(), terms.attempt_id.clone());
                let (account, credential) = (company.account.clone(), company.token(name.0));
                store.release(ReleaseRequest { account, credential, request_id, attempt_id }).await.unwrap();
                if model.holds[name].attempt == *attempt && model.holds[name].state == State::Open {
                    model.settle(*name, *attempt, None);
                }
            }
            Operation::SetCap { who, cap } => {
                if *who != MEMBER || model.is_member {
                    company.set_cap(store, *who, *cap).await;
                    model.caps[*who] = *cap;
                }
            }
            Operation::Place(is_member) => {
                if *is_member != model.is_member && !model.is_disabled {
                    if *is_member {
                        company.add(store).await
                    } else {
                        company.remove(store).await
                    };
                    (model.is_member, model.caps[MEMBER]) = (*is_member, None);
                }
            }
            Operation::Disable(is_disabled) => {
                store.set_disabled(&company.people[MEMBER], *is_disabled, "", event()).await.unwrap();
                model.is_disabled = *is_disabled;
            }
            Operation::Wait(wait) => {
                model.now_ms = match wait {
                    Wait::Ms(ms) => model.now_ms + ms,
                    Wait::NextMonth => month(model.now_ms).1,
                    Wait::BackADay => model.now_ms - DAY_MS,
                };
                hand.store(model.now_ms, Ordering::SeqCst);
            }
        }
        let snapshot = store.snapshot(&company.account).await.unwrap().unwrap();
        assert_eq!(snapshot.violations(), Vec::<String>::new(), "after {operation:?}");
        assert_eq!((snapshot.balance.available, snapshot.balance.spent), (model.available, model.spent), "after {operation:?}");
        let usage: BTreeMap<_, _> = store.month_usage(&company.account).await.unwrap().into_iter().collect();
        for (who, person) in company.people.iter().enumerate() {
            let found = usage.get(person).map_or((0, 0), |usage| (usage.spent, usage.held));
            assert_eq!(found, model.counted(who), "of {who}, after {operation:?}");
        }
    }
}

fn compare_all(open: impl AsyncFn(u32, Clock) -> Arc<dyn Store>) {
    let (runtime, cases) = (current_thread(), std::cell::Cell::new(0));
    let config = ProptestConfig { cases: 64, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() };
    proptest!(config, |(operations in proptest::collection::vec(operation(), 1..60))| {
        cases.set(cases.get() + 1);
        runtime.block_on(async {
            let (clock, hand) = Clock::fixed(START_MS);
            compare(&*open(cases.get(), clock).await, &hand, cases.get(), &operations).await;
        });
    });
}

#[test]
fn what_members_and_service_accounts_spend_is_counted_by_month_and_bounded_by_their_caps_as_a_plain_model_says_on_sqlite() {
    compare_all(async |_, clock| {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory(ROOMY, clock).unwrap());
        store
    });
}

#[test]
fn what_members_and_service_accounts_spend_is_counted_by_month_and_bounded_by_their_caps_as_a_plain_model_says_on_redis() {
    let server = RedisServer::start(&["--appendfsync", "no"]);
    compare_all(async |number, clock| {
        let options = RedisOptions { clock, key_prefix: format!("case{number}"), ..RedisOptions::default() };
        let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url(), ROOMY, options).await.unwrap());
        store
    });
}

//! Random operations on each store: one after the other, compared with a plain model, and together, compared with what was promised.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the parts that the tests share")]

#[path = "store_properties/audit_log.rs"]
mod audit_log;
#[path = "store_properties/company.rs"]
mod company;
#[path = "store_properties/devices.rs"]
mod devices;
#[path = "store_contract/fixture.rs"]
#[expect(dead_code, reason = "the contract's cases use the rest")]
mod fixture;
#[path = "store_properties/identity.rs"]
mod identity;
#[path = "store_properties/identity_together.rs"]
mod identity_together;
#[path = "store_properties/issuer_identities.rs"]
mod issuer_identities;
#[path = "store_properties/issuer_identities_together.rs"]
mod issuer_identities_together;
#[path = "store_properties/issuer_model.rs"]
mod issuer_model;
#[path = "store_properties/keys.rs"]
mod keys;
#[path = "store_properties/keys_together.rs"]
mod keys_together;
#[path = "store_properties/members.rs"]
mod members;
#[path = "store_properties/members_together.rs"]
mod members_together;
#[path = "store_properties/model.rs"]
mod model;
#[path = "store_properties/new_stores.rs"]
mod new_stores;
#[path = "store_properties/organizations.rs"]
mod organizations;
#[path = "store_properties/organizations_together.rs"]
mod organizations_together;
#[path = "store_properties/promises.rs"]
mod promises;
#[path = "store_properties/scenes.rs"]
mod scenes;
#[path = "store_properties/second_factor.rs"]
mod second_factor;
#[path = "store_properties/together.rs"]
mod together;
#[path = "store_properties/user_list.rs"]
mod user_list;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use auth_service::hold::{Outcome, Standing, Terms, TokenUsage};
use auth_service::price::Price;
use auth_service::refunds::RefundLimit;
use auth_service::store::clock::Clock;
use auth_service::store::sqlite::SqliteStore;
use auth_service::store::{
    ChargeRequest, CheckAnswer, CheckRequest, Checkpoint, GrantRequest, PresentedCredential, ReleaseRequest, Scope, Store, StoreLimits,
};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use fixture::{RedisServer, START_MS, event, new_user, permission, sqlite_file};
use model::{Model, Oldest};
use scenes::{check, clock_goes_back, extended_after_a_revocation, forgotten_together, more_is_due, rounds, settled_when_all_is_held};

/// Small enough that random operations reach every bound.
const LIMITS: StoreLimits = StoreLimits {
    hold_ttl: Duration::from_millis(100),
    forget_after: Duration::from_millis(400),
    max_open_holds: 6,
    max_remembered_requests: 8,
    max_free_requests: 3,
    refunds: RefundLimit { burst: 3, every: Duration::from_millis(20) },
    sweep_batch: 2,
    session_idle: Duration::from_millis(300),
    session_lifetime: Duration::from_millis(900),
    // More than a list of operations records: of these bounds, the contract has cases.
    max_audit_changes: 1000,
    max_audit_operators: 1000,
    max_audit_attempts: 1000,
};
const STARTING_CREDITS: i64 = 40;

#[derive(Debug, Clone)]
enum Operation {
    Check {
        request: u8,
        attempt: u8,
        fingerprint: u8,
        price: Price,
        max_in: u32,
        max_out: u32,
        require_full: bool,
    },
    Extend {
        handle: Handle,
        usage: TokenUsage,
    },
    Settle {
        handle: Handle,
        outcome: Outcome,
        usage: TokenUsage,
    },
    Release {
        request: u8,
        attempt: u8,
    },
    Grant {
        request: u8,
        credits: i64,
    },
    Balance,
    Receipt {
        request: u8,
    },
    Ledger {
        before: Option<u64>,
        limit: u32,
    },
    /// The oldest entries, as many as there are of these; `is_stale`: somebody else folded the first one meanwhile.
    Fold {
        entries: u32,
        is_stale: bool,
    },
    Walk,
    Wait {
        ms: i64,
    },
    /// The user is disabled or enabled.
    Disable(bool),
}

/// A handle that was given out, counted from the last one back, and perhaps altered.
#[derive(Debug, Clone, Copy)]
struct Handle {
    back: usize,
    change: Change,
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Nothing,
    Attempt(u8),
    Request(u8),
    Key,
    Fingerprint,
    Model,
    PerCall,
    HeldCredits,
    MaxInput,
    MaxOutput,
    /// It doesn't say what it was made with.
    Standing,
}

fn handle() -> impl Strategy<Value = Handle> {
    let altered = prop_oneof![
        Just(Change::Key),
        Just(Change::Fingerprint),
        Just(Change::Model),
        Just(Change::PerCall),
        Just(Change::HeldCredits),
        Just(Change::MaxInput),
        Just(Change::MaxOutput),
        Just(Change::Standing),
    ];
    let change = prop_oneof![
        15 => Just(Change::Nothing),
        2 => (0..3_u8).prop_map(Change::Attempt),
        1 => (0..14_u8).prop_map(Change::Request),
        2 => altered,
    ];
    (prop_oneof![3 => 0..3_usize, 1 => 0..30_usize], change).prop_map(|(back, change)| Handle { back, change })
}

fn usage() -> impl Strategy<Value = TokenUsage> {
    (0..1500_u32, 0..1500_u32, any::<bool>()).prop_map(|(input_tokens, output_tokens, estimated)| TokenUsage {
        input_tokens,
        output_tokens,
        estimated,
    })
}

fn price() -> impl Strategy<Value = Price> {
    (0..4_i64, prop_oneof![Just(0), 1..30_i64], prop_oneof![Just(0), 1..30_i64])
        .prop_map(|(per_call, per_1k_input_tokens, per_1k_output_tokens)| Price { per_call, per_1k_input_tokens, per_1k_output_tokens })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        3 => Just(Outcome::Completed),
        1 => Just(Outcome::Cancelled),
        1 => Just(Outcome::UpstreamFailed),
        2 => Just(Outcome::NothingGenerated),
    ]
}

/// Often the same few, so that a request is refunded and held again more than once.
fn request() -> impl Strategy<Value = u8> {
    prop_oneof![1 => 0..2_u8, 2 => 0..14_u8]
}

fn operation() -> impl Strategy<Value = Operation> {
    let check = (request(), 0..3_u8, prop_oneof![15 => Just(0_u8), 1 => Just(1)], price(), 0..1000_u32, 1..1000_u32, any::<bool>())
        .prop_map(|(request, attempt, fingerprint, price, max_in, max_out, require_full)| Operation::Check {
            request,
            attempt,
            fingerprint,
            price,
            max_in,
            max_out,
            require_full,
        });
    prop_oneof![
        8 => check,
        3 => (handle(), usage()).prop_map(|(handle, usage)| Operation::Extend { handle, usage }),
        6 => (handle(), outcome(), usage()).prop_map(|(handle, outcome, usage)| Operation::Settle { handle, outcome, usage }),
        3 => (request(), 0..3_u8).prop_map(|(request, attempt)| Operation::Release { request, attempt }),
        1 => (0..4_u8, 1..30_i64).prop_map(|(request, credits)| Operation::Grant { request, credits }),
        1 => Just(Operation::Balance),
        1 => request().prop_map(|request| Operation::Receipt { request }),
        1 => (proptest::option::of(0..20_u64), 0..6_u32).prop_map(|(before, limit)| Operation::Ledger { before, limit }),
        1 => (1..5_u32, prop_oneof![4 => Just(false), 1 => Just(true)])
            .prop_map(|(entries, is_stale)| Operation::Fold { entries, is_stale }),
        1 => Just(Operation::Walk),
        1 => any::<bool>().prop_map(Operation::Disable),
        4 => prop_oneof![8 => 0..60_i64, 2 => 60..300_i64, 1 => 300..600_i64, 2 => -40..0_i64].prop_map(|ms| Operation::Wait { ms }),
    ]
}

/// One operation; or one of those sequences to which they would seldom come by themselves.
fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let several = || proptest::collection::vec(0..14_u8, 4..9);
    prop_oneof![
        20 => operation().prop_map(|operation| vec![operation]),
        2 => rounds(),
        2 => (several(), request()).prop_map(|(dues, request)| more_is_due(&dues, request)),
        2 => (several(), 0..3_u8).prop_map(|(requests, attempt)| requests.into_iter().map(|request| check(request, attempt, 0)).collect()),
        1 => several().prop_map(|requests| forgotten_together(&requests)),
        1 => (several(), proptest::collection::vec(-50..30_i64, 1..5)).prop_map(|(requests, waits)| clock_goes_back(&requests, &waits)),
        2 => (request(), request(), outcome()).prop_map(|(request, other, outcome)| settled_when_all_is_held(request, other, outcome)),
        1 => (request(), usage(), 0..2000_i64).prop_map(|(request, usage, ms)| extended_after_a_revocation(request, usage, ms)),
    ]
}

/// Applies an operation and tells its answer in words, and what a new hold was made with. `handle`: what an Extend or Settle is given; they
/// do nothing without one.
async fn apply(
    store: &dyn Store,
    user: &fixture::Person,
    now_ms: i64,
    operation: &Operation,
    handle: Option<&Terms>,
) -> (String, Option<Standing>) {
    let name = |request: u8| format!("request-{request}");
    let answer = match (operation.clone(), handle) {
        (Operation::Check { request, attempt, fingerprint, price, max_in, max_out, require_full }, _) => {
            let charge = ChargeRequest {
                request_id: name(request),
                attempt_id: format!("attempt-{attempt}"),
                fingerprint: vec![fingerprint],
                price,
                max_input_tokens: max_in,
                max_output_tokens: max_out,
                require_full,
            };
            let credential = PresentedCredential::AccessToken { user_id: user.id.clone(), session: None, issued_at_ms: now_ms };
            let request = CheckRequest {
                account: user.account.clone(),
                credential,
                permission: permission(Scope::Chat),
                charge: Some(charge),
                caller_address: None,
            };
            let answer = store.check(request).await.unwrap();
            let standing = match &answer {
                CheckAnswer::Held(_, held) => held.terms.standing.clone(),
                _ => None,
            };
            return (format!("{answer:?}"), standing);
        }
        (Operation::Extend { usage, .. }, Some(handle)) => format!("{:?}", store.extend(handle, usage).await.unwrap()),
        (Operation::Settle { outcome, usage, .. }, Some(handle)) => format!("{:?}", store.settle(handle, outcome, usage).await.unwrap()),
        (Operation::Release { request, attempt }, _) => {
            let release = ReleaseRequest {
                account: user.account.clone(),
                credential: PresentedCredential::AccessToken { user_id: user.id.clone(), session: None, issued_at_ms: now_ms },
                request_id: name(request),
                attempt_id: format!("attempt-{attempt}"),
            };
            format!("{:?}", store.release(release).await.unwrap())
        }
        (Operation::Grant { request, credits }, _) => {
            let grant = GrantRequest {
                account: user.account.clone(),
                credits,
                request_id: format!("grant-{request}"),
                note: "a note".to_owned(),
                granted_by: user.id.clone(),
            };
            format!("{:?}", store.grant(grant, event()).await.unwrap())
        }
        (Operation::Balance, _) => format!("{:?}", store.balance(&user.account).await.unwrap()),
        (Operation::Receipt { request }, _) => format!("{:?}", store.receipt(&user.account, &user.id, &name(request)).await.unwrap()),
        (Operation::Ledger { before, limit }, _) => {
            format!("{:?}", store.ledger_entries(&user.account, before, limit).await.unwrap().entries)
        }
        (Operation::Fold { entries, is_stale }, _) => {
            let part = store.oldest_entries(&user.account, 0, entries).await.unwrap();
            let Some(first) = part.entries.first().map(|entry| entry.entry) else { return ("false".to_owned(), None) };
            let checkpoint = Checkpoint::fold(part.checkpoint, &part.entries).unwrap().unwrap();
            format!("{}", store.fold_ledger(&user.account, first + u64::from(is_stale), checkpoint).await.unwrap())
        }
        (Operation::Walk, _) => format!("{}", fixture::walk(store).await),
        (Operation::Disable(disabled), _) => {
            format!("{}", store.set_disabled(&user.id, disabled, "", event()).await.unwrap().unwrap().changed)
        }
        (Operation::Extend { .. } | Operation::Settle { .. } | Operation::Wait { .. }, _) => String::new(),
    };
    (answer, None)
}

/// Applies operations to the model and to a store: the answers, and the whole account after each, must be the same. What happened.
async fn agree(
    store: &dyn Store,
    oldest: Oldest,
    hand: &AtomicI64,
    name: &str,
    operations: &[Operation],
) -> Result<BTreeSet<&'static str>, TestCaseError> {
    hand.store(START_MS, Ordering::SeqCst);
    let user = new_user(name, STARTING_CREDITS);
    let person = fixture::Person { id: user.user_id.clone(), account: (&user.user_id).into() };
    let mut model = Model::new(LIMITS, oldest, &person, STARTING_CREDITS, START_MS);
    store.create_user(user, event()).await.unwrap();
    for (step, operation) in operations.iter().enumerate() {
        if let Operation::Wait { ms } = operation {
            hand.fetch_add(*ms, Ordering::SeqCst);
        }
        let now_ms = hand.load(Ordering::SeqCst);
        let handle = match operation {
            Operation::Extend { handle, .. } | Operation::Settle { handle, .. } => model.handle(*handle),
            _ => None,
        };
        let at = format!("step {step}: {operation:?}");
        let (answer, standing) = apply(store, &person, now_ms, operation, handle.as_ref()).await;
        let expected = model.apply(now_ms, operation, handle.as_ref(), standing);
        // The walk goes over the accounts of earlier cases too: the model knows of one.
        if !matches!(operation, Operation::Walk) {
            prop_assert_eq!(answer, expected, "{}", at);
        }
        let expected = model.snapshot();
        prop_assert_eq!(expected.violations(), Vec::<String>::new(), "the model, {}", at);
        prop_assert_eq!(store.snapshot(&person.account).await.unwrap(), Some(expected), "{}", at);
    }
    Ok(model.reached)
}

/// Random operations, by a user of their own in each case.
fn agrees_with_the_model(runtime: &Runtime, store: &dyn Store, oldest: Oldest, hand: &AtomicI64) {
    let (users, reached) = (Cell::new(0), RefCell::new(BTreeSet::new()));
    let case = |operations: &[Operation]| -> Result<(), TestCaseError> {
        users.set(users.get() + 1);
        let happened = runtime.block_on(agree(store, oldest, hand, &format!("user{}", users.get()), operations))?;
        reached.borrow_mut().extend(happened);
        Ok(())
    };
    // Random ones come to some situations by luck alone. Written ones come to each.
    for scene in scenes::all() {
        case(&scene).unwrap();
    }
    assert_eq!(reached.take(), model::ALL.into(), "the scenes come to everything");
    let config = ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(operations in proptest::collection::vec(operations(), 1..80))| {
        case(&operations.concat())?;
    });
}

fn current_thread() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn sqlite_and_the_model_agree_after_every_operation() {
    let (runtime, folder) = (current_thread(), tempfile::tempdir().unwrap());
    let (clock, hand) = Clock::fixed(START_MS);
    let store = runtime.block_on(async { SqliteStore::open(&sqlite_file(folder.path()), LIMITS, clock).unwrap() });
    agrees_with_the_model(&runtime, &store, Oldest::ByTime, &hand);
}

#[test]
fn redis_and_the_model_agree_after_every_operation() {
    let (runtime, server) = (current_thread(), RedisServer::start(&["--appendfsync", "no"]));
    let (clock, hand) = Clock::fixed(START_MS);
    let store = runtime.block_on(server.store(LIMITS, clock));
    agrees_with_the_model(&runtime, &store, Oldest::InOrder, &hand);
}

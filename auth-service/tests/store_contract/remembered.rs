//! How long a resolved request is remembered, and how many.

use std::time::Duration;

use auth_service::hold::{HoldRecord, Outcome, Resolution, Terms};
use auth_service::price::Price;
use auth_service::store::{ChargeRequest, CheckAnswer, EntryKind, ExtendAnswer, LedgerEntry, Refusal, SettleAnswer};

use crate::credits::{expired, recorded, resolution};
use crate::fixture::{Fixture, Person, of_attempt, one_credit, used};

/// Holds and settles a request.
async fn settled(f: &Fixture, person: &Person, request_id: &str, outcome: Outcome) -> (Terms, HoldRecord) {
    let held = f.hold(person, one_credit(request_id, "a")).await;
    let record = f.settle(&held.terms, outcome, 1).await;
    (held.terms, record)
}

async fn is_remembered(f: &Fixture, person: &Person, request_id: &str) -> bool {
    f.store.receipt(&person.account, &person.id, request_id).await.unwrap().is_some()
}

pub(crate) async fn above_the_bound_the_oldest_resolved_request_is_forgotten_and_none_is_refused(f: Fixture) {
    let ada = f.person("ada", 200).await;
    let most = f.limits.max_remembered_requests;
    for i in 0..most {
        f.advance(Duration::from_millis(1));
        settled(&f, &ada, &format!("r{i}"), Outcome::Completed).await;
    }
    // What costs nothing takes none of their places.
    settled(&f, &ada, "free", Outcome::NothingGenerated).await;
    // Holding forgets nothing, and takes no place.
    let open = f.hold(&ada, one_credit("open", "a")).await;
    assert_eq!(f.snapshot(&ada).await.remembered.len(), 61);
    f.advance(Duration::from_millis(1));
    settled(&f, &ada, "more", Outcome::Completed).await;
    assert_eq!((is_remembered(&f, &ada, "r0").await, is_remembered(&f, &ada, "r1").await), (false, true));
    f.settle(&open.terms, Outcome::Completed, 1).await;
    assert_eq!((is_remembered(&f, &ada, "r1").await, is_remembered(&f, &ada, "r2").await), (false, true));
    // An expiry takes a place as well, if it charges.
    expired(&f, &ada, "expires").await;
    let snapshot = f.snapshot(&ada).await;
    assert_eq!((is_remembered(&f, &ada, "r2").await, is_remembered(&f, &ada, "r3").await, snapshot.remembered.len()), (false, true, 61));
    // What was forgotten may be held anew, and is another request.
    assert_eq!(f.hold(&ada, ChargeRequest { fingerprint: vec![1], ..one_credit("r0", "b") }).await.terms.attempt_id, "b");
}

pub(crate) async fn a_forgotten_request_may_be_held_again_at_once_though_nothing_has_removed_it(f: Fixture) {
    let ada = f.person("ada", 100).await;
    let (first, record) = settled(&f, &ada, "r", Outcome::Completed).await;
    let (other, _) = settled(&f, &ada, "s", Outcome::Completed).await;
    f.advance(f.limits.forget_after - Duration::from_millis(1));
    assert_eq!(recorded(&f, &ada, one_credit("r", "a")).await, record);
    f.advance(Duration::from_millis(1));
    assert_eq!(f.snapshot(&ada).await.remembered.len(), 2, "nothing has removed it");
    // It counts as none, for all that could ask.
    assert_eq!(f.store.receipt(&ada.account, &ada.id, "r").await.unwrap(), None);
    assert_eq!(f.store.settle(&first, Outcome::Completed, used(1)).await.unwrap(), SettleAnswer::NotFound);
    assert_eq!(f.store.extend(&first, used(1)).await.unwrap(), ExtendAnswer::NotFound);
    let again = f.hold(&ada, ChargeRequest { fingerprint: vec![7], ..one_credit("r", "a") }).await;
    let snapshot = f.snapshot(&ada).await;
    assert_eq!((snapshot.open.len(), snapshot.remembered.len(), snapshot.balance.available), (1, 1, 97));
    // The first settle of it is a settle, and removes what else is forgotten.
    f.settle(&again.terms, Outcome::Completed, 1).await;
    let snapshot = f.snapshot(&ada).await;
    assert_eq!((snapshot.remembered.len(), snapshot.remembered[0].terms.request_id.as_str()), (1, "r"));
    assert_eq!(f.store.settle(&other, Outcome::Completed, used(1)).await.unwrap(), SettleAnswer::NotFound);
}

pub(crate) async fn a_request_that_is_refunded_and_held_again_without_end_is_one_request(f: Fixture) {
    let ada = f.person("ada", 1).await;
    let attempts = ["a", "b", "c"];
    for round in 0..100 {
        let held = f.hold(&ada, one_credit("r", attempts[round % 3])).await;
        f.settle(&held.terms, Outcome::NothingGenerated, 0).await;
    }
    let snapshot = f.snapshot(&ada).await;
    assert_eq!((snapshot.remembered.len(), snapshot.ledger.len(), snapshot.balance.available), (1, 1, 1));
    assert_eq!(f.store.receipt(&ada.account, &ada.id, "r").await.unwrap().as_ref(), Some(&snapshot.remembered[0]));
    // The last attempt's record is what is remembered: those before it are superseded.
    assert_eq!(recorded(&f, &ada, one_credit("r", "a")).await, snapshot.remembered[0]);
    let earlier = of_attempt(&snapshot.remembered[0].terms, "b");
    assert_eq!(f.store.settle(&earlier, Outcome::Completed, used(1)).await.unwrap(), SettleAnswer::Superseded);
    // A place is given back by each hold: others find theirs.
    for i in 0..f.limits.max_free_requests - 1 {
        f.advance(Duration::from_millis(1));
        settled(&f, &ada, &format!("s{i}"), Outcome::NothingGenerated).await;
    }
    assert!(is_remembered(&f, &ada, "r").await);
    f.advance(Duration::from_millis(1));
    settled(&f, &ada, "last", Outcome::NothingGenerated).await;
    assert!(!is_remembered(&f, &ada, "r").await);
}

pub(crate) async fn a_late_settle_is_remembered_from_then_on(f: Fixture) {
    let ada = f.person("ada", 40).await;
    let (handle, _) = expired(&f, &ada, "r").await;
    let (_, other) = expired(&f, &ada, "s").await;
    f.advance(f.limits.forget_after - Duration::from_secs(61));
    let record = f.settle(&handle, Outcome::Completed, 5).await;
    assert_eq!((resolution(&record), record.expires_at_ms), (Some(Resolution::SettledLate), other.expires_at_ms - 60_000));
    f.advance(Duration::from_secs(3000));
    f.walk().await;
    assert_eq!(f.snapshot(&ada).await.remembered, std::slice::from_ref(&record));
    f.advance(f.limits.forget_after - Duration::from_secs(3001));
    assert_eq!(f.settle(&handle, Outcome::Completed, 5).await, record);
    f.advance(Duration::from_secs(1));
    assert_eq!(f.store.settle(&handle, Outcome::Completed, used(5)).await.unwrap(), SettleAnswer::NotFound);
}

pub(crate) async fn the_slow_walk_forgets_all_whose_time_is_over(f: Fixture) {
    let ada = f.person("ada", 100).await;
    for i in 0..50 {
        let held = f.hold(&ada, one_credit(&format!("r{i}"), "a")).await;
        f.settle(&held.terms, Outcome::Completed, 1).await;
    }
    f.advance(f.limits.forget_after - Duration::from_millis(1));
    f.walk().await;
    assert_eq!(f.snapshot(&ada).await.remembered.len(), 50);
    f.advance(Duration::from_millis(1));
    assert_eq!(f.walk().await, 0);
    assert_eq!(f.snapshot(&ada).await.remembered, []);
}

pub(crate) async fn what_costs_nothing_leaves_no_ledger_entry_but_for_an_expiry_and_few_records(f: Fixture) {
    let ada = f.person("ada", 1).await;
    let mut expired = 0;
    for i in 0..f.limits.max_free_requests * 3 {
        f.advance(Duration::from_millis(1));
        if i % 3 == 0 {
            // Nobody comes back: it expires. A service died, which the ledger tells.
            expired += 1;
            f.hold(&ada, one_credit(&format!("r{i}"), "a")).await;
            f.pass_ttl();
            f.store.balance(&ada.account).await.unwrap();
        } else {
            let (_, record) = settled(&f, &ada, &format!("r{i}"), Outcome::NothingGenerated).await;
            assert_eq!(record.resolved.unwrap().ledger_entry, None);
        }
    }
    let snapshot = f.snapshot(&ada).await;
    assert_eq!((snapshot.ledger.len(), snapshot.remembered.len()), (1 + expired, f.limits.max_free_requests as usize));
    let is_expiry = |entry: &LedgerEntry| entry.kind == EntryKind::Resolved(Resolution::Expired) && entry.credits == 0;
    assert!(snapshot.ledger[1..].iter().all(is_expiry), "{:?}", snapshot.ledger);
    assert_eq!(snapshot.balance.available, 1);
    // The last ones are remembered.
    assert!(is_remembered(&f, &ada, &format!("r{}", f.limits.max_free_requests * 3 - 1)).await);
    // So is a free model's call, which is no refund.
    let free = Price { per_call: 0, ..Price::default() };
    let held = f.hold(&ada, ChargeRequest { price: free, ..one_credit("free", "a") }).await;
    let record = f.settle(&held.terms, Outcome::Completed, 1).await;
    assert_eq!((resolution(&record), record.resolved.unwrap().ledger_entry), (Some(Resolution::Settled), None));
}

pub(crate) async fn an_account_whose_calls_come_to_nothing_waits_until_its_bucket_fills(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let limit = f.limits.refunds;
    let refused = |after: Duration| CheckAnswer::Refused(Refusal::TooManyRefunds { retry_after: after });
    settled(&f, &ada, "charged", Outcome::Completed).await;
    for i in 0..limit.burst {
        settled(&f, &ada, &format!("r{i}"), Outcome::NothingGenerated).await;
    }
    assert_eq!(f.check(&ada, one_credit("r", "a")).await, refused(limit.every));
    // What is open goes on, and what is known is answered.
    assert!(matches!(f.check(&ada, one_credit("charged", "a")).await, CheckAnswer::Recorded(..)));
    // Others don't wait.
    let bob = f.person("bob", 10).await;
    settled(&f, &bob, "r", Outcome::NothingGenerated).await;
    f.advance(limit.every - Duration::from_millis(1));
    assert_eq!(f.check(&ada, one_credit("r", "a")).await, refused(Duration::from_millis(1)));
    f.advance(Duration::from_millis(1));
    // A call that is charged takes nothing from the bucket.
    settled(&f, &ada, "r", Outcome::Completed).await;
    settled(&f, &ada, "s", Outcome::NothingGenerated).await;
    assert_eq!(f.check(&ada, one_credit("t", "a")).await, refused(limit.every));
    // Neither does one of a free model.
    f.advance(limit.every);
    let free = Price { per_call: 0, ..Price::default() };
    for i in 0..3 {
        let held = f.hold(&ada, ChargeRequest { price: free, ..one_credit(&format!("free{i}"), "a") }).await;
        f.settle(&held.terms, Outcome::NothingGenerated, 0).await;
    }
    // An expiry without a charge does.
    f.hold(&ada, one_credit("expires", "a")).await;
    f.pass_ttl();
    let snapshot = f.snapshot(&ada).await;
    assert_eq!((snapshot.balance.spent, snapshot.open.len()), (2, 1));
    // It has filled for a minute meanwhile, by ten a second.
    for i in 0..600 {
        settled(&f, &ada, &format!("again{i}"), Outcome::NothingGenerated).await;
    }
    assert_eq!(f.check(&ada, one_credit("u", "a")).await, refused(limit.every));
    // A clock that went back keeps nobody out for long.
    f.go_back(Duration::from_secs(3600));
    settled(&f, &ada, "u", Outcome::NothingGenerated).await;
}

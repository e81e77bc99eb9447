//! The hold's table, cell by cell, and what bounds it.

use std::time::Duration;

use auth_service::hold::{HoldRecord, Outcome, Resolution, Terms, TokenUsage};
use auth_service::price::Price;
use auth_service::store::{Balance, ChargeRequest, CheckAnswer, EntryKind, ExtendAnswer, Refusal, Scope, SettleAnswer, StoreLimits};
use shared::ledger::MAX_CREDITS;

use crate::fixture::{Fixture, Person, altered, by_token, of_attempt, one_credit, permission, used};

pub(crate) fn resolution(record: &HoldRecord) -> Option<Resolution> {
    record.resolved.as_ref().map(|resolved| resolved.resolution)
}

pub(crate) fn charged(record: &HoldRecord) -> i64 {
    record.resolved.as_ref().unwrap().charged_credits
}

pub(crate) async fn recorded(f: &Fixture, person: &Person, charge: ChargeRequest) -> HoldRecord {
    match f.check(person, charge).await {
        CheckAnswer::Recorded(_, record) => record,
        other => panic!("not recorded: {other:?}"),
    }
}

pub(crate) async fn none_held_is_not_found(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let bob = f.person("bob", 20).await;
    let of_bob = f.hold(&bob, by_token("r", "a")).await.terms;
    let handle = altered(&of_bob, |fields| (fields.account, fields.user_id) = (ada.account.clone(), ada.id.clone()));
    assert_eq!(f.store.extend(&handle, used(1)).await.unwrap(), ExtendAnswer::NotFound);
    assert_eq!(f.store.settle(&handle, Outcome::Completed, used(1)).await.unwrap(), SettleAnswer::NotFound);
    assert_eq!(f.available(&ada).await, 10);
}

pub(crate) async fn a_check_holds_the_worst_case(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let held = f.hold(&ada, by_token("r", "a")).await;
    assert_eq!((held.terms.held_credits, held.remaining_credits, held.terms.max_output_tokens), (11, 9, 10));
    assert_eq!(held.expires_at_ms, f.now_ms() + 60_000);
    assert_eq!(Terms::from_handle(&held.terms.to_handle()), Some(held.terms));
    let snapshot = f.snapshot(&ada).await;
    assert_eq!(snapshot.balance, Balance { available: 9, held: 11, granted: 20, ..Balance::default() });
    assert_eq!(snapshot.open.len(), 1);
    assert_eq!(snapshot.open[0].terms.request_id, "r");
    assert_eq!(snapshot.open[0].terms.model, "llama3");
    // The ledger is written when a hold is resolved.
    assert_eq!(snapshot.ledger.len(), 1);
}

pub(crate) async fn held_and_the_same_attempt_is_the_same_grant(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let first = f.hold(&ada, by_token("r", "a")).await;
    f.advance(Duration::from_secs(1));
    assert_eq!(f.hold(&ada, by_token("r", "a")).await, first);
    assert_eq!(f.available(&ada).await, 9);
}

pub(crate) async fn held_and_another_attempt_is_in_progress(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let held = f.hold(&ada, by_token("r", "a")).await;
    assert_eq!(f.check(&ada, by_token("r", "b")).await, CheckAnswer::Refused(Refusal::RequestInProgress));
    let other = of_attempt(&held.terms, "b");
    assert_eq!(f.store.extend(&other, used(1)).await.unwrap(), ExtendAnswer::Resolved);
    assert_eq!(f.store.settle(&other, Outcome::Completed, used(1)).await.unwrap(), SettleAnswer::Superseded);
    assert_eq!(f.snapshot(&ada).await.open.len(), 1);
}

pub(crate) async fn held_is_extended_and_never_back(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let held = f.hold(&ada, by_token("r", "a")).await;
    f.advance(Duration::from_secs(10));
    let later = ExtendAnswer::Extended { expires_at_ms: f.now_ms() + 60_000 };
    assert_eq!(f.store.extend(&held.terms, used(4)).await.unwrap(), later);
    // The clock goes back: the expiry doesn't. Usage never falls, and is clamped to the hold.
    f.hand.fetch_sub(20_000, std::sync::atomic::Ordering::SeqCst);
    let less = TokenUsage { input_tokens: 3, output_tokens: 2, estimated: true };
    assert_eq!(f.store.extend(&held.terms, less).await.unwrap(), later);
    assert_eq!(f.snapshot(&ada).await.open[0].usage, TokenUsage { input_tokens: 7, output_tokens: 4, estimated: true });
    let more = TokenUsage { input_tokens: 1000, output_tokens: 1000, estimated: false };
    f.store.extend(&held.terms, more).await.unwrap();
    assert_eq!(f.snapshot(&ada).await.open[0].usage, TokenUsage { input_tokens: 100, output_tokens: 10, estimated: false });
    // What would have been due without Extend is not.
    f.advance(Duration::from_secs(79));
    assert_eq!(f.walk().await, 0);
    f.advance(Duration::from_secs(1));
    assert_eq!(f.walk().await, 1);
}

pub(crate) async fn held_is_settled_for_its_usage_and_never_more_than_held(f: Fixture) {
    let ada = f.person("ada", 50).await;
    for (request, outcome, tokens, cost) in [
        ("completed", Outcome::Completed, 3, 4),
        ("cancelled", Outcome::Cancelled, 2, 3),
        ("failed", Outcome::UpstreamFailed, 0, 1),
        ("clamped", Outcome::Completed, 9999, 11),
    ] {
        let before = f.available(&ada).await;
        let held = f.hold(&ada, by_token(request, "a")).await;
        f.advance(Duration::from_millis(5));
        let record = f.settle(&held.terms, outcome, tokens).await;
        assert_eq!(resolution(&record), Some(Resolution::Settled));
        let resolved = record.resolved.clone().unwrap();
        assert_eq!((resolved.charged_credits, resolved.uncollected_credits), (cost, 0), "{request}");
        assert_eq!((resolved.outcome, resolved.remaining_credits, resolved.at_ms), (Some(outcome), before - cost, f.now_ms()));
        assert_eq!(record.usage, TokenUsage { input_tokens: 7, output_tokens: tokens.min(10), estimated: false });
        let snapshot = f.snapshot(&ada).await;
        let entry = snapshot.ledger.last().unwrap();
        assert_eq!(Some(entry.entry), resolved.ledger_entry);
        assert_eq!((entry.kind, entry.credits, entry.available), (EntryKind::Resolved(Resolution::Settled), -cost, before - cost));
        assert_eq!((entry.request_id.as_str(), entry.model.as_str(), entry.usage), (request, "llama3", Some(record.usage)));
    }
}

pub(crate) async fn held_is_refunded_when_nothing_was_generated(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let held = f.hold(&ada, by_token("r", "a")).await;
    f.store.extend(&held.terms, used(3)).await.unwrap();
    let record = f.settle(&held.terms, Outcome::NothingGenerated, 3).await;
    assert_eq!(resolution(&record), Some(Resolution::Refunded));
    assert_eq!((charged(&record), record.usage), (0, TokenUsage::default()));
    let snapshot = f.snapshot(&ada).await;
    assert_eq!(snapshot.balance, Balance { available: 20, granted: 20, ..Balance::default() });
    // What moves no credits leaves no entry.
    assert_eq!((snapshot.ledger.len(), record.resolved.unwrap().ledger_entry), (1, None));
}

pub(crate) async fn settled_answers_its_record(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let held = f.hold(&ada, by_token("r", "a")).await;
    let record = f.settle(&held.terms, Outcome::Completed, 3).await;
    f.pass_ttl();
    assert_eq!(recorded(&f, &ada, by_token("r", "a")).await, record);
    assert_eq!(recorded(&f, &ada, by_token("r", "b")).await, record);
    assert_eq!(f.store.extend(&held.terms, used(9)).await.unwrap(), ExtendAnswer::Resolved);
    assert_eq!(f.settle(&held.terms, Outcome::Cancelled, 9).await, record);
    let other = of_attempt(&held.terms, "b");
    assert_eq!(f.store.settle(&other, Outcome::Completed, used(1)).await.unwrap(), SettleAnswer::Superseded);
    assert_eq!(f.available(&ada).await, 16);
}

pub(crate) async fn refunded_answers_its_record_and_lets_another_attempt_hold(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let first = f.hold(&ada, by_token("r", "a")).await;
    let record = f.settle(&first.terms, Outcome::NothingGenerated, 0).await;
    assert_eq!(recorded(&f, &ada, by_token("r", "a")).await, record);
    assert_eq!(f.store.extend(&first.terms, used(9)).await.unwrap(), ExtendAnswer::Resolved);
    assert_eq!(f.settle(&first.terms, Outcome::Completed, 9).await, record);
    let second = f.hold(&ada, by_token("r", "b")).await;
    assert_eq!(second.remaining_credits, 9);
    // The first attempt's late settle doesn't resolve the second one's hold.
    assert_eq!(f.store.settle(&first.terms, Outcome::Completed, used(1)).await.unwrap(), SettleAnswer::Superseded);
    assert_eq!(f.store.extend(&first.terms, used(9)).await.unwrap(), ExtendAnswer::Resolved);
    let snapshot = f.snapshot(&ada).await;
    // The first attempt's record has made room.
    assert_eq!((snapshot.open.len(), snapshot.remembered), (1, Vec::new()));
    assert_eq!(charged(&f.settle(&second.terms, Outcome::Completed, 1).await), 2);
    assert_eq!(f.available(&ada).await, 18);
    assert_eq!(f.store.settle(&first.terms, Outcome::Completed, used(1)).await.unwrap(), SettleAnswer::Superseded);
}

/// Lets a hold with three recorded tokens expire.
pub(crate) async fn expired(f: &Fixture, person: &Person, request_id: &str) -> (Terms, HoldRecord) {
    let held = f.hold(person, by_token(request_id, "a")).await;
    f.store.extend(&held.terms, used(3)).await.unwrap();
    f.pass_ttl();
    let record = f.store.receipt(&person.account, &person.id, request_id).await.unwrap().unwrap();
    assert_eq!(resolution(&record), Some(Resolution::Expired));
    (held.terms, record)
}

pub(crate) async fn expired_charges_recorded_tokens_and_answers_its_record(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let (handle, record) = expired(&f, &ada, "r").await;
    // Three tokens, and no price for the call.
    assert_eq!((charged(&record), record.usage), (3, used(3)));
    assert_eq!(record.resolved.as_ref().unwrap().outcome, None);
    assert_eq!(f.available(&ada).await, 17);
    assert_eq!(recorded(&f, &ada, by_token("r", "a")).await, record);
    assert_eq!(recorded(&f, &ada, by_token("r", "b")).await, record);
    assert_eq!(f.store.extend(&handle, used(9)).await.unwrap(), ExtendAnswer::Resolved);
    // Without recorded usage, all comes back.
    f.hold(&ada, by_token("s", "a")).await;
    f.pass_ttl();
    assert_eq!(f.store.balance(&ada.account).await.unwrap().unwrap().available, 17);
    f.snapshot(&ada).await;
}

pub(crate) async fn expired_is_settled_late_for_what_is_still_due(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let (handle, before) = expired(&f, &ada, "r").await;
    f.advance(Duration::from_secs(30));
    let record = f.settle(&handle, Outcome::Completed, 5).await;
    assert_eq!(resolution(&record), Some(Resolution::SettledLate));
    let resolved = record.resolved.unwrap();
    assert_eq!((resolved.charged_credits, resolved.uncollected_credits, resolved.remaining_credits), (6, 0, 14));
    assert_eq!(resolved.ledger_entry, before.resolved.unwrap().ledger_entry.map(|entry| entry + 1));
    let snapshot = f.snapshot(&ada).await;
    assert_eq!(snapshot.balance, Balance { available: 14, spent: 6, granted: 20, ..Balance::default() });
    assert_eq!(snapshot.ledger.last().unwrap().credits, -3);
    // Less than was charged at the expiry: spent never falls.
    let (handle, _) = expired(&f, &ada, "s").await;
    let record = f.settle(&handle, Outcome::NothingGenerated, 0).await;
    assert_eq!((resolution(&record), charged(&record)), (Some(Resolution::SettledLate), 3));
    assert_eq!(record.usage, used(3));
    assert_eq!(f.available(&ada).await, 11);
}

pub(crate) async fn settled_late_takes_at_most_what_is_available(f: Fixture) {
    let ada = f.person("ada", 12).await;
    let (handle, _) = expired(&f, &ada, "r").await;
    // 9 are there; 7 of them are held by another request.
    let other = ChargeRequest { max_output_tokens: 6, ..by_token("s", "a") };
    assert_eq!(f.hold(&ada, other).await.remaining_credits, 2);
    let resolved = f.settle(&handle, Outcome::Completed, 10).await.resolved.unwrap();
    assert_eq!((resolved.charged_credits, resolved.uncollected_credits, resolved.remaining_credits), (5, 6, 0));
    f.snapshot(&ada).await;
}

pub(crate) async fn settled_late_answers_its_record(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let (handle, _) = expired(&f, &ada, "r").await;
    let record = f.settle(&handle, Outcome::Completed, 5).await;
    assert_eq!(f.settle(&handle, Outcome::Completed, 9).await, record);
    assert_eq!(recorded(&f, &ada, by_token("r", "a")).await, record);
    assert_eq!(recorded(&f, &ada, by_token("r", "b")).await, record);
    assert_eq!(f.store.extend(&handle, used(9)).await.unwrap(), ExtendAnswer::Resolved);
    assert_eq!(f.available(&ada).await, 14);
}

pub(crate) async fn the_same_settle_ten_times_is_one_charge(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let held = f.hold(&ada, by_token("r", "a")).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (store, handle) = (f.store.clone(), held.terms.clone());
        tasks.spawn(async move { store.settle(&handle, Outcome::Completed, used(4)).await.unwrap() });
    }
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(|answer| *answer == answers[0] && matches!(answer, SettleAnswer::Settled(_))));
    let snapshot = f.snapshot(&ada).await;
    assert_eq!((snapshot.balance.spent, snapshot.ledger.len()), (5, 2));
}

pub(crate) async fn the_same_request_twice_at_once_is_one_hold(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let (first, second) = tokio::join!(f.check(&ada, by_token("r", "a")), f.check(&ada, by_token("r", "b")));
    let held = [&first, &second].into_iter().filter(|answer| matches!(answer, CheckAnswer::Held(..))).count();
    let in_progress = [&first, &second].into_iter().filter(|answer| **answer == CheckAnswer::Refused(Refusal::RequestInProgress)).count();
    assert_eq!((held, in_progress), (1, 1));
    assert_eq!(f.snapshot(&ada).await.balance.held, 11);
}

pub(crate) async fn another_fingerprint_under_a_request_id_is_refused(f: Fixture) {
    let ada = f.person("ada", 50).await;
    let bob = f.person("bob", 50).await;
    let other = |request_id: &str| ChargeRequest { fingerprint: vec![0xbe, 0xef], ..by_token(request_id, "a") };
    let reused = CheckAnswer::Refused(Refusal::RequestIdReused);
    let held = f.hold(&ada, by_token("held", "a")).await;
    assert_eq!(f.check(&ada, other("held")).await, reused);
    f.settle(&held.terms, Outcome::Completed, 1).await;
    assert_eq!(f.check(&ada, other("held")).await, reused);
    let refunded = f.hold(&ada, by_token("refunded", "a")).await;
    f.settle(&refunded.terms, Outcome::NothingGenerated, 0).await;
    assert_eq!(f.check(&ada, ChargeRequest { attempt_id: "b".to_owned(), ..other("refunded") }).await, reused);
    expired(&f, &ada, "expired").await;
    assert_eq!(f.check(&ada, other("expired")).await, reused);
    // The same id of another user is another request.
    f.hold(&bob, other("held")).await;
}

pub(crate) async fn too_few_credits_hold_a_part_or_nothing(f: Fixture) {
    let ada = f.person("ada", 5).await;
    let whole = ChargeRequest { require_full: true, ..by_token("whole", "a") };
    assert_eq!(f.check(&ada, whole).await, CheckAnswer::Refused(Refusal::InsufficientCredits { needed: 11, available: 5 }));
    let part = f.hold(&ada, by_token("part", "a")).await;
    assert_eq!((part.terms.held_credits, part.terms.max_output_tokens, part.remaining_credits), (5, 4, 0));
    let refused = CheckAnswer::Refused(Refusal::InsufficientCredits { needed: 2, available: 0 });
    assert_eq!(f.check(&ada, by_token("none", "a")).await, refused);
    f.settle(&part.terms, Outcome::Completed, 3).await;
    // One is left: a call, and not one token.
    let refused = CheckAnswer::Refused(Refusal::InsufficientCredits { needed: 2, available: 1 });
    assert_eq!(f.check(&ada, by_token("none", "a")).await, refused);
    let snapshot = f.snapshot(&ada).await;
    assert_eq!((snapshot.open.len(), snapshot.remembered.len()), (0, 1));
}

pub(crate) async fn more_due_holds_than_one_operation_sweeps_is_retryable(f: Fixture) {
    let ada = f.person("ada", 40).await;
    for i in 0..40 {
        f.hold(&ada, one_credit(&format!("r{i}"), "a")).await;
    }
    let all = ChargeRequest { price: Price { per_call: 40, ..Price::default() }, ..one_credit("all", "a") };
    assert_eq!(f.check(&ada, all.clone()).await, CheckAnswer::Refused(Refusal::InsufficientCredits { needed: 40, available: 0 }));
    f.pass_ttl();
    assert_eq!(f.check(&ada, all.clone()).await, CheckAnswer::Refused(Refusal::SweepInProgress));
    assert_eq!(f.snapshot(&ada).await.open.len(), 24);
    assert_eq!(f.check(&ada, all.clone()).await, CheckAnswer::Refused(Refusal::SweepInProgress));
    assert_eq!(f.hold(&ada, all).await.terms.held_credits, 40);
    let snapshot = f.snapshot(&ada).await;
    assert_eq!((snapshot.open.len(), snapshot.remembered.len(), snapshot.ledger.len()), (1, 20, 41));
}

pub(crate) async fn an_operation_resolves_what_is_due_on_its_own_account_whoever_else_has_holds(f: Fixture) {
    let (ada, bob) = (f.person("ada", 100).await, f.person("bob", 100).await);
    // One after the other, Bob's before and behind each of Ada's, more than one operation sweeps.
    for i in 0..20 {
        f.hold(&bob, one_credit(&format!("b{i}"), "a")).await;
        f.advance(Duration::from_millis(1));
        if i < 3 {
            f.hold(&ada, one_credit(&format!("a{i}"), "a")).await;
        }
    }
    f.pass_ttl();
    let last = f.hold(&ada, one_credit("last", "a")).await;
    assert_eq!(last.remaining_credits, 99);
    assert_eq!((f.snapshot(&ada).await.open.len(), f.snapshot(&bob).await.open.len()), (1, 20));
    // The one that is left is found at its time, and not before.
    f.advance(f.limits.hold_ttl - Duration::from_millis(1));
    assert_eq!(f.store.balance(&ada.account).await.unwrap().unwrap().held, 1);
    f.advance(Duration::from_millis(1));
    assert_eq!(f.store.balance(&ada.account).await.unwrap().unwrap().held, 0);
}

pub(crate) async fn the_slow_walk_resolves_all_that_is_due(f: Fixture) {
    let mut people = Vec::new();
    for i in 0..40 {
        let person = f.person(&format!("user{i}"), 100).await;
        f.hold(&person, one_credit("r", "a")).await;
        people.push(person);
    }
    for i in 0..50 {
        f.hold(&people[0], one_credit(&format!("r{i}"), "a")).await;
    }
    assert_eq!(f.walk().await, 0);
    f.pass_ttl();
    assert_eq!(f.walk().await, 90);
    for person in &people {
        assert_eq!(f.snapshot(person).await.balance, Balance { available: 100, granted: 100, ..Balance::default() });
    }
    assert_eq!(f.walk().await, 0);
    // And forgets.
    f.advance(f.limits.forget_after);
    f.walk().await;
    assert_eq!(f.snapshot(&people[1]).await.remembered, []);
}

pub(crate) async fn open_holds_have_a_bound(f: Fixture) {
    let ada = f.person("ada", 100).await;
    let mut last = None;
    for i in 0..f.limits.max_open_holds {
        last = Some(f.hold(&ada, one_credit(&format!("r{i}"), "a")).await);
    }
    assert_eq!(f.check(&ada, one_credit("more", "a")).await, CheckAnswer::Refused(Refusal::TooManyOpenHolds));
    // A retry of one that is held is no new hold.
    let last = last.unwrap();
    assert_eq!(f.hold(&ada, one_credit(&format!("r{}", f.limits.max_open_holds - 1), "a")).await, last);
    f.settle(&last.terms, Outcome::Completed, 1).await;
    f.hold(&ada, one_credit("more", "a")).await;
}

pub(crate) async fn a_call_above_the_bound_is_refused_costs_nothing_and_leaves_other_accounts_alone(f: Fixture) {
    let (ada, bob) = (f.person("ada", 100).await, f.person("bob", 100).await);
    let mut held = Vec::new();
    for i in 0..f.limits.max_open_holds {
        held.push(f.hold(&ada, one_credit(&format!("r{i}"), "a")).await);
    }
    let before = f.snapshot(&ada).await;
    for i in 0..3 {
        assert_eq!(f.check(&ada, one_credit(&format!("more{i}"), "a")).await, CheckAnswer::Refused(Refusal::TooManyOpenHolds));
    }
    assert_eq!(f.snapshot(&ada).await, before, "a refusal writes nothing");
    f.hold(&bob, one_credit("r", "a")).await;
    // However a call ends, its place is free for one more.
    for (i, held) in held.iter().take(3).enumerate() {
        match i {
            0 => drop(f.settle(&held.terms, Outcome::Completed, 1).await),
            1 => drop(f.settle(&held.terms, Outcome::NothingGenerated, 0).await),
            _ => f.pass_ttl(),
        }
        f.hold(&ada, one_credit(&format!("next{i}"), "a")).await;
    }
}

pub(crate) async fn holds_whose_time_is_over_take_no_place(f: Fixture) {
    // Made while an account could have more.
    let ada = f.person("ada", 1000).await;
    let limits = f.limits;
    let f = f.open_again(StoreLimits { max_open_holds: 200, ..limits }).await;
    for i in 0..120 {
        f.hold(&ada, one_credit(&format!("r{i}"), "a")).await;
    }
    let f = f.open_again(limits).await;
    assert_eq!(f.check(&ada, one_credit("new", "a")).await, CheckAnswer::Refused(Refusal::TooManyOpenHolds));
    f.pass_ttl();
    // One operation resolves sixteen of them: it says that the same may succeed, until there is a place.
    let mut answers = Vec::new();
    loop {
        match f.check(&ada, one_credit("new", "a")).await {
            CheckAnswer::Held(..) => break,
            other => answers.push(other),
        }
        assert!(answers.len() < 10, "{answers:?}");
    }
    assert_eq!(answers, vec![CheckAnswer::Refused(Refusal::SweepInProgress); 3], "120, 104, 88, 72 and 56 are open");
}

pub(crate) async fn a_receipt_tells_what_became_of_a_request(f: Fixture) {
    let ada = f.person("ada", 20).await;
    assert_eq!(f.store.receipt(&ada.account, &ada.id, "r").await.unwrap(), None);
    let held = f.hold(&ada, by_token("r", "a")).await;
    let open = f.store.receipt(&ada.account, &ada.id, "r").await.unwrap().unwrap();
    assert_eq!((open.resolved, open.terms.held_credits), (None, 11));
    let record = f.settle(&held.terms, Outcome::Completed, 2).await;
    assert_eq!(f.store.receipt(&ada.account, &ada.id, "r").await.unwrap(), Some(record));
    let bob = f.person("bob", 20).await;
    assert_eq!(f.store.receipt(&ada.account, &bob.id, "r").await.unwrap(), None);
    f.advance(f.limits.forget_after);
    assert_eq!(f.store.receipt(&ada.account, &ada.id, "r").await.unwrap(), None);
}

pub(crate) async fn fifty_at_once_on_ten_credits_are_ten(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..50 {
        let (store, request) = (f.store.clone(), f.request(&ada, Some(one_credit(&format!("r{i}"), "a"))));
        tasks.spawn(async move { store.check(request).await.unwrap() });
    }
    let answers = tasks.join_all().await;
    let held = answers.iter().filter(|answer| matches!(answer, CheckAnswer::Held(..))).count();
    let refused = CheckAnswer::Refused(Refusal::InsufficientCredits { needed: 1, available: 0 });
    assert_eq!((held, answers.iter().filter(|answer| **answer == refused).count()), (10, 40));
    assert_eq!(f.snapshot(&ada).await.balance, Balance { held: 10, granted: 10, ..Balance::default() });
}

pub(crate) async fn a_model_name_may_hold_any_printable_character(f: Fixture) {
    let ada = f.person("ada", 20).await;
    let key = f.key(&ada, 1, |_| {}).await;
    let model = " hf.co/bartowski/Llama 3%2 |,;:\"'{}[]é ";
    let mut wanted = permission(Scope::Chat);
    wanted.model = model.to_owned();
    let request_id = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
    let CheckAnswer::Held(principal, held) = f.check_key(&ada, 1, wanted, Some(by_token(request_id, "a_-Z9"))).await else {
        panic!("refused")
    };
    assert_eq!(principal.key_id, Some(key.key_id.clone()));
    f.store.extend(&held.terms, used(1)).await.unwrap();
    let record = f.settle(&held.terms, Outcome::Completed, 2).await;
    assert_eq!((record.terms.model.as_str(), record.terms.request_id.as_str()), (model, request_id));
    assert_eq!(record.terms.key_id, Some(key.key_id.clone()));
    let entry = f.snapshot(&ada).await.ledger.pop().unwrap();
    assert_eq!((entry.model.as_str(), entry.request_id.as_str(), entry.key_id), (model, request_id, Some(key.key_id)));
}

pub(crate) async fn large_figures_stay_exact(f: Fixture) {
    let ada = f.person("ada", MAX_CREDITS).await;
    let charge = ChargeRequest {
        price: Price { per_call: 999_999, per_1k_input_tokens: 999_983, per_1k_output_tokens: 1_000_000 },
        max_input_tokens: 9_999_991,
        max_output_tokens: 10_000_000,
        ..one_credit("r", "a")
    };
    let worst = charge.price.of(charge.max_input_tokens, charge.max_output_tokens);
    let held = f.hold(&ada, charge).await;
    assert_eq!((held.terms.held_credits, held.remaining_credits), (worst, MAX_CREDITS - worst));
    let usage = TokenUsage { input_tokens: 9_999_989, output_tokens: 9_999_999, estimated: false };
    let SettleAnswer::Settled(record) = f.store.settle(&held.terms, Outcome::Completed, usage).await.unwrap() else {
        panic!("not settled")
    };
    assert_eq!(charged(&record), record.terms.price.of(9_999_989, 9_999_999));
    assert_eq!(f.available(&ada).await, MAX_CREDITS - charged(&record));
}

//! How Redis finds the holds that are due: its queue of new holds, and the set of the others.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use auth_service::hold::Outcome;
use auth_service::store::clock::Clock;
use auth_service::store::{CheckAnswer, Refusal, Store, StoreLimits};

use crate::fixture::{Fixture, Person, by_token, one_credit};
use crate::limits;
use crate::redis_only::server;

/// How many ids wait in the account's queue of new holds.
fn queued(f: &Fixture, person: &Person) -> usize {
    redis::cmd("LLEN").arg(format!("tg:{{{}}}:queue", person.account)).query(&mut server(f).connection()).unwrap()
}

#[tokio::test]
async fn what_was_settled_leaves_the_queue_when_its_time_comes_and_hides_nothing_behind_it() {
    let f = Fixture::redis(StoreLimits { max_open_holds: 200, max_remembered_requests: 400, ..limits() }).await;
    let ada = f.person("ada", 161).await;
    let mut held = Vec::new();
    for i in 0..150 {
        held.push(f.hold(&ada, one_credit(&format!("r{i}"), "a")).await);
    }
    // The first one last: as long as it is open, nothing behind it leaves.
    for held in held.iter().rev() {
        f.settle(&held.handle, Outcome::Completed, 1).await;
    }
    let last = f.hold(&ada, by_token("last", "a")).await;
    assert_eq!((last.remaining_credits, queued(&f, &ada)), (0, 151));
    f.advance(f.limits.hold_ttl - Duration::from_millis(1));
    assert_eq!((f.walk().await, queued(&f, &ada)), (0, 151), "nothing may be due yet");
    f.advance(Duration::from_millis(1));
    // One call looks at some of them only, and says that it may be too early to refuse.
    let charge = || one_credit("new", "a");
    assert_eq!(f.check(&ada, charge()).await, CheckAnswer::Refused(Refusal::SweepInProgress));
    assert_eq!(queued(&f, &ada), 71);
    assert!(matches!(f.check(&ada, charge()).await, CheckAnswer::Held(..)));
    assert_eq!(queued(&f, &ada), 1);
    f.snapshot(&ada).await;
    f.pass_ttl();
    assert_eq!((f.walk().await, queued(&f, &ada)), (1, 0));
}

#[tokio::test]
async fn under_lasting_load_the_queue_is_as_long_as_there_are_open_holds_and_some_more() {
    let f = Fixture::redis(StoreLimits { max_remembered_requests: 400, ..limits() }).await;
    let ada = f.person("ada", 400).await;
    let mut open = std::collections::VecDeque::new();
    for i in 0..200 {
        open.push_back(f.hold(&ada, one_credit(&format!("r{i}"), "a")).await);
        if open.len() > 20 {
            f.settle(&open.pop_front().unwrap().handle, Outcome::Completed, 1).await;
            assert!(queued(&f, &ada) <= open.len() + 16, "{} at {i}", queued(&f, &ada));
        }
        f.advance(Duration::from_millis(10));
    }
    f.snapshot(&ada).await;
    // Those that are left are due one after the other, from 1.8 seconds after the first one on.
    f.advance(f.limits.hold_ttl - Duration::from_millis(200));
    assert_eq!(f.walk().await, 1);
    f.advance(Duration::from_millis(190));
    assert_eq!((f.walk().await, queued(&f, &ada)), (19, 0));
}

#[tokio::test]
async fn a_settlement_that_comes_when_something_is_due_drops_no_open_hold_from_the_queue() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    // With the grant, one ledger entry less than those after which the queue's head is looked at.
    for i in 0..f.limits.sweep_batch - 2 {
        let held = f.hold(&ada, one_credit(&format!("r{i}"), "a")).await;
        f.settle(&held.handle, Outcome::Completed, 1).await;
    }
    f.advance(f.limits.hold_ttl - Duration::from_secs(1));
    let settled = f.hold(&ada, one_credit("settled", "a")).await;
    f.hold(&ada, one_credit("open", "a")).await;
    f.advance(Duration::from_secs(1));
    f.settle(&settled.handle, Outcome::Completed, 1).await;
    assert_eq!((f.snapshot(&ada).await.ledger.len(), queued(&f, &ada)), (16, 2));
    f.pass_ttl();
    assert_eq!(f.walk().await, 1);
}

#[tokio::test]
async fn a_hold_is_due_at_its_time_though_a_longer_one_was_made_before_it() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    f.hold(&ada, by_token("a-minute", "a")).await;
    // Another process, or this one started again, with a shorter life for holds.
    let short = StoreLimits { hold_ttl: Duration::from_secs(10), ..limits() };
    let elsewhere = server(&f).store(short, Clock::Fixed(Arc::clone(&f.hand))).await;
    assert!(matches!(elsewhere.check(f.request(&ada, Some(by_token("short", "a")))).await.unwrap(), CheckAnswer::Held(..)));
    f.snapshot(&ada).await;
    f.advance(short.hold_ttl);
    assert_eq!(f.walk().await, 1);
    // A clock that was set back.
    f.hand.fetch_sub(30_000, Ordering::SeqCst);
    f.hold(&ada, by_token("set-back", "a")).await;
    f.snapshot(&ada).await;
    f.pass_ttl();
    assert_eq!(f.walk().await, 1, "40 s after the first one was made, the last one is due and the first isn't");
    f.advance(Duration::from_secs(20));
    assert_eq!((f.walk().await, queued(&f, &ada)), (1, 0));
    // The queue is empty: a shorter hold is in order there.
    assert!(matches!(elsewhere.check(f.request(&ada, Some(by_token("short-again", "a")))).await.unwrap(), CheckAnswer::Held(..)));
    assert_eq!(queued(&f, &ada), 1);
    f.snapshot(&ada).await;
}

#[tokio::test]
async fn a_refunded_request_that_is_held_again_is_due_at_its_own_time_and_hides_nothing() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    let first = f.hold(&ada, by_token("r", "a")).await;
    f.settle(&first.handle, Outcome::NothingGenerated, 0).await;
    f.advance(Duration::from_secs(10));
    f.hold(&ada, by_token("between", "a")).await;
    f.advance(Duration::from_secs(10));
    f.hold(&ada, by_token("r", "b")).await;
    f.snapshot(&ada).await;
    let mut due = Vec::new();
    for _ in 0..7 {
        due.push(f.walk().await);
        f.advance(Duration::from_secs(10));
    }
    assert_eq!(due, [0, 0, 0, 0, 0, 1, 1]);
    f.snapshot(&ada).await;
    assert_eq!(queued(&f, &ada), 0);
}

#[tokio::test]
async fn holds_are_found_when_requests_are_forgotten_sooner_than_holds_expire() {
    let f = Fixture::redis(StoreLimits { forget_after: Duration::from_secs(1), ..limits() }).await;
    let ada = f.person("ada", 50).await;
    let first = f.hold(&ada, by_token("r", "a")).await;
    f.settle(&first.handle, Outcome::Completed, 1).await;
    f.advance(Duration::from_secs(5));
    f.hold(&ada, by_token("between", "a")).await;
    f.advance(Duration::from_secs(5));
    // Forgotten, and so a new request.
    f.walk().await;
    f.hold(&ada, by_token("r", "a")).await;
    f.snapshot(&ada).await;
    f.advance(Duration::from_secs(55));
    assert_eq!(f.walk().await, 1);
    f.advance(Duration::from_secs(5));
    assert_eq!(f.walk().await, 1);
    f.snapshot(&ada).await;
}

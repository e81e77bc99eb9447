//! How Redis finds the holds that are due.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use auth_service::hold::Outcome;
use auth_service::store::clock::Clock;
use auth_service::store::{CheckAnswer, Store, StoreLimits};

use crate::fixture::{Fixture, by_token};
use crate::limits;
use crate::redis_only::server;

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
    assert_eq!(f.walk().await, 1);
    assert!(matches!(elsewhere.check(f.request(&ada, Some(by_token("short-again", "a")))).await.unwrap(), CheckAnswer::Held(..)));
    f.snapshot(&ada).await;
}

#[tokio::test]
async fn a_refunded_request_that_is_held_again_is_due_at_its_own_time_and_hides_nothing() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    let first = f.hold(&ada, by_token("r", "a")).await;
    f.settle(&first.terms, Outcome::NothingGenerated, 0).await;
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
}

#[tokio::test]
async fn holds_are_found_when_requests_are_forgotten_sooner_than_holds_expire() {
    let f = Fixture::redis(StoreLimits { forget_after: Duration::from_secs(1), ..limits() }).await;
    let ada = f.person("ada", 50).await;
    let first = f.hold(&ada, by_token("r", "a")).await;
    f.settle(&first.terms, Outcome::Completed, 1).await;
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

#[tokio::test]
async fn a_bound_of_what_is_due_that_is_out_of_date_costs_no_round_trip() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    let first = f.hold(&ada, by_token("first", "a")).await;
    f.advance(Duration::from_secs(30));
    f.hold(&ada, by_token("second", "a")).await;
    f.settle(&first.terms, Outcome::Completed, 1).await;
    // The first one would be due now.
    f.advance(Duration::from_secs(30));
    let evalsha = server(&f).calls_of("evalsha");
    f.hold(&ada, by_token("third", "a")).await;
    assert_eq!(server(&f).calls_of("evalsha"), evalsha + 1);
    f.snapshot(&ada).await;
}

#[tokio::test]
async fn due_holds_are_resolved_in_the_script_of_the_call_that_met_them() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    f.hold(&ada, by_token("due", "a")).await;
    f.pass_ttl();
    let evalsha = server(&f).calls_of("evalsha");
    f.hold(&ada, by_token("new", "a")).await;
    assert_eq!(server(&f).calls_of("evalsha"), evalsha + 2);
    let snapshot = f.snapshot(&ada).await;
    assert_eq!((snapshot.open.len(), snapshot.remembered.len()), (1, 1));
}

//! The slow walk over all accounts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use auth_service::hold::Outcome;
use auth_service::sweeper::{self, Ahead, Walk};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, Person, one_credit};
use crate::limits;
use crate::redis_only::server;

/// Somebody with so many open holds.
async fn holder(f: &Fixture, name: &str, holds: u32) -> Person {
    let person = f.person(name, 100).await;
    for i in 0..holds {
        f.hold(&person, one_credit(&format!("r{i}"), "a")).await;
    }
    person
}

pub(crate) async fn every_account_has_its_turn_in_the_walk_however_much_waits_on_others(f: Fixture) {
    let mut people = Vec::new();
    // Four turns' work each.
    for i in 0..30 {
        people.push(holder(&f, &format!("user{i}"), 60).await);
    }
    f.pass_ttl();
    let (mut walk, mut turns, mut expired) = (Walk::new(), 0, 0);
    while walk.ahead() != Ahead::Nothing {
        let resolved = walk.turn(&*f.store).await.unwrap();
        assert!(resolved <= f.limits.sweep_batch, "a turn is one operation's share");
        (turns, expired) = (turns + 1, expired + resolved);
        // A turn for each, and one of somebody else's between; and sixteen looks that may have found nobody.
        if turns == 2 * 30 + 16 {
            for person in &people {
                assert!(f.snapshot(person).await.open.len() <= 44, "somebody waits until others are done");
            }
        }
    }
    assert_eq!(expired, 30 * 60);
    assert!(turns <= 30 * 4 + 16, "no turn is for nothing");
}

pub(crate) async fn the_walk_comes_back_to_what_it_left_before_the_next_one_begins(f: Fixture) {
    let ada = f.person("ada", 100).await;
    for i in 0..60 {
        let held = f.hold(&ada, one_credit(&format!("r{i}"), "a")).await;
        f.settle(&held.terms, Outcome::Completed, 1).await;
    }
    let bob = holder(&f, "bob", 60).await;
    f.advance(f.limits.forget_after);
    let stop = CancellationToken::new();
    let walk = tokio::spawn(sweeper::run(Arc::clone(&f.store), Duration::from_secs(3600), stop.clone()));
    let deadline = Instant::now() + Duration::from_secs(20);
    while !(f.snapshot(&ada).await.remembered.is_empty() && f.snapshot(&bob).await.open.is_empty()) {
        assert!(Instant::now() < deadline, "what a turn left stays until the next walk");
        tokio::task::yield_now().await;
    }
    stop.cancel();
    walk.await.unwrap();
}

pub(crate) async fn accounts_that_are_added_during_a_walk_keep_it_from_none_of_those_before(f: Fixture) {
    let mut found = HashMap::new();
    for i in 0..600 {
        found.insert(holder(&f, &format!("user{i}"), 1).await.account, 0);
    }
    f.pass_ttl();
    let (mut after, mut added) = (None, 0);
    loop {
        let page = f.store.accounts_to_sweep(after).await.unwrap();
        for account in page.accounts {
            *found.get_mut(&account).unwrap() += 1;
        }
        for _ in 0..10 {
            f.person(&format!("later{added}"), 0).await;
            added += 1;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert!(found.values().all(|times| *times == 1), "{found:?}");
}

pub(crate) async fn the_walk_forgets_what_a_lowered_bound_leaves_above_it(f: Fixture) {
    let ada = f.person("ada", 100).await;
    for i in 0..60 {
        let held = f.hold(&ada, one_credit(&format!("r{i}"), "a")).await;
        f.settle(&held.terms, Outcome::Completed, 1).await;
    }
    let f = f.open_again(auth_service::store::StoreLimits { max_remembered_requests: 10, ..limits() }).await;
    for left in [44, 28, 12, 10] {
        f.walk().await;
        assert_eq!(f.snapshot(&ada).await.remembered.len(), left, "a share at each walk");
    }
}

#[tokio::test]
async fn what_redis_can_not_read_of_one_account_keeps_the_walk_from_no_other() {
    let f = Fixture::redis(limits()).await;
    let mut people = Vec::new();
    for i in 0..40 {
        people.push(holder(&f, &format!("user{i}"), 1).await);
    }
    let redis = server(&f);
    redis.command(&["SET", &format!("tg:{{{}}}:acct", people[0].account), "no hash"]);
    for shard in 0..16 {
        redis.command(&["ZADD", &format!("tg:accounts:{{{shard}}}"), "0", "no id"]);
        redis.command(&["ZADD", &format!("tg:accounts:{{{shard}}}"), "0", "0123456789abcdef"]);
    }
    f.pass_ttl();
    assert_eq!(f.walk().await, 39);
}

#[tokio::test]
async fn the_walk_runs_no_script_on_accounts_that_have_nothing_to_do() {
    let f = Fixture::redis(limits()).await;
    for i in 0..40 {
        holder(&f, &format!("user{i}"), 1).await;
    }
    let scripts = server(&f).calls_of("evalsha");
    assert_eq!(f.walk().await, 0);
    assert_eq!(server(&f).calls_of("evalsha"), scripts);
    f.pass_ttl();
    assert_eq!(f.walk().await, 40);
    // The script finds what is due, and is given its resolution.
    assert_eq!(server(&f).calls_of("evalsha"), scripts + 2 * 40);
}

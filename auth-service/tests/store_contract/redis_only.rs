//! What only Redis can show: round trips, memory, settings, breakage.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use auth_service::hold::{HoldHandle, Outcome};
use auth_service::ids::AccountId;
use auth_service::store::clock::Clock;
use auth_service::store::redis::{RedisOptions, RedisStore};
use auth_service::store::{CheckAnswer, Refusal, Scope, Store, StoreError, StoreLimits, StoreOpenError, UserCreation};

use crate::fixture::{Fixture, Home, Person, RedisServer, START_MS, by_token, new_user, one_credit, permission, used};
use crate::limits;

fn server(f: &Fixture) -> &RedisServer {
    match &f.home {
        Home::Redis(server) => server,
        Home::Sqlite(_) => panic!("not Redis"),
    }
}

#[tokio::test]
async fn check_extend_and_settle_are_one_script_and_one_round_trip_each() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 20).await;
    f.key(&ada, 1, |_| {}).await;
    let calls = || (server(&f).calls_of("evalsha"), server(&f).calls_of("eval"), server(&f).calls_of("script|load"));
    let (evalsha, eval, loads) = calls();
    // The second time, the caller is known.
    for round in 0..2 {
        let before = evalsha + 4 * round;
        let by_key = f.check_key(&ada, 1, permission(Scope::Inference), Some(one_credit(&format!("key-{round}"), "a"))).await;
        assert!(matches!(by_key, CheckAnswer::Held(..)));
        assert_eq!(calls(), (before + 1, eval, loads));
        let held = f.hold(&ada, by_token(&format!("token-{round}"), "a")).await;
        assert_eq!(calls(), (before + 2, eval, loads));
        f.store.extend(&held.handle, used(1)).await.unwrap();
        assert_eq!(calls(), (before + 3, eval, loads));
        f.settle(&held.handle, Outcome::Completed, 1).await;
        assert_eq!(calls(), (before + 4, eval, loads));
    }
}

/// Checks of these people, one of each, asked at the same time; their answers in that order.
async fn checks_at_once(f: &Fixture, people: &[&Person], request_id: &str) -> Vec<Result<CheckAnswer, StoreError>> {
    let checks: Vec<_> = people
        .iter()
        .map(|person| {
            let (store, request) = (Arc::clone(&f.store), f.request(person, Some(one_credit(request_id, "a"))));
            tokio::spawn(async move { store.check(request).await })
        })
        .collect();
    let mut answers = Vec::new();
    for check in checks {
        answers.push(check.await.unwrap());
    }
    answers
}

fn is_held(answer: &Result<CheckAnswer, StoreError>) -> bool {
    matches!(answer, Ok(CheckAnswer::Held(..)))
}

#[tokio::test]
async fn checks_of_several_accounts_at_the_same_time_share_a_script_and_are_decided_each_by_itself() {
    let f = Fixture::redis(limits()).await;
    let (ada, bob, poor, mallory) =
        (f.person("ada", 20).await, f.person("bob", 20).await, f.person("poor", 0).await, new_user("mallory", 0));
    let nobody = Person { account: AccountId::from(&mallory.user_id), id: mallory.user_id };
    // The second time, those who were let in are known.
    for request_id in ["first", "second"] {
        let evalsha = server(&f).calls_of("evalsha");
        let answers = checks_at_once(&f, &[&ada, &poor, &nobody, &bob], request_id).await;
        assert_eq!(server(&f).calls_of("evalsha"), evalsha + 1);
        assert!(is_held(&answers[0]) && is_held(&answers[3]), "{answers:?}");
        let refused = CheckAnswer::Refused(Refusal::InsufficientCredits { needed: 1, available: 0 });
        assert_eq!(answers[1].as_ref().unwrap(), &refused);
        assert_eq!(answers[2].as_ref().unwrap(), &CheckAnswer::Refused(Refusal::CredentialUnknown));
    }
    for (person, open, available) in [(&ada, 2, 18), (&bob, 2, 18), (&poor, 0, 0)] {
        let snapshot = f.snapshot(person).await;
        assert_eq!((snapshot.open.len(), snapshot.balance.available), (open, available));
    }
}

#[tokio::test]
async fn one_account_asked_many_times_at_once_admits_what_its_credits_pay_for_in_few_scripts() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 10).await;
    f.hold(&ada, one_credit("known", "a")).await;
    let evalsha = server(&f).calls_of("evalsha");
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..30 {
        // Ten requests, each made three times: two of them are the same attempt.
        let charge = one_credit(&format!("r{}", i % 10), if i < 20 { "a" } else { "b" });
        let (store, request) = (Arc::clone(&f.store), f.request(&ada, Some(charge)));
        tasks.spawn(async move { (i, store.check(request).await.unwrap()) });
    }
    let answers = tasks.join_all().await;
    let scripts = server(&f).calls_of("evalsha") - evalsha;
    assert!((4..=8).contains(&scripts), "{scripts} scripts");
    let mut grants = BTreeMap::new();
    for (i, answer) in answers {
        match answer {
            CheckAnswer::Held(_, held) => assert_eq!(grants.entry(i % 10).or_insert(held.clone()).handle, held.handle),
            CheckAnswer::Refused(Refusal::RequestInProgress | Refusal::InsufficientCredits { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(grants.len(), 9);
    assert_eq!(f.snapshot(&ada).await.open.len(), 10);
}

#[tokio::test]
async fn whatever_is_asked_at_once_every_hold_is_one_answers_grant() {
    let f = Fixture::redis(StoreLimits { max_open_holds: 200, ..limits() }).await;
    let people = [f.person("ada", 25).await, f.person("bob", 12).await, f.person("eve", 0).await];
    let mut granted: BTreeMap<String, HoldHandle> = BTreeMap::new();
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..40 {
        let checks: Vec<_> = (0..random.usize(1..=20))
            .map(|_| {
                let charge = one_credit(&format!("r{}", random.u8(..12)), if random.bool() { "a" } else { "b" });
                let (store, request) = (Arc::clone(&f.store), f.request(random.choice(&people).unwrap(), Some(charge)));
                tokio::spawn(async move { store.check(request).await.unwrap() })
            })
            .collect();
        for check in checks {
            match check.await.unwrap() {
                CheckAnswer::Held(_, held) => {
                    // Whoever holds a request is its only attempt.
                    let first =
                        granted.entry(held.handle.account.as_str().to_owned() + &held.handle.request_id).or_insert(held.handle.clone());
                    assert_eq!(*first, held.handle);
                }
                CheckAnswer::Refused(Refusal::RequestInProgress | Refusal::InsufficientCredits { .. }) => {}
                other => panic!("round {round}: {other:?}"),
            }
        }
        let mut open = Vec::new();
        for person in &people {
            let snapshot = f.snapshot(person).await;
            open.extend(snapshot.open.into_iter().map(|hold| (person.account.as_str().to_owned() + &hold.request_id, hold.attempt_id)));
        }
        open.sort();
        let answered: Vec<_> = granted.iter().map(|(name, handle)| (name.clone(), handle.attempt_id.clone())).collect();
        assert_eq!(open, answered, "round {round}");
    }
    assert_eq!(granted.len(), 24, "12 requests on each account that has credits");
}

#[tokio::test]
async fn an_account_that_contradicts_itself_spoils_no_check_of_the_same_script() {
    let f = Fixture::redis(limits()).await;
    let (ada, bob, eve) = (f.person("ada", 20).await, f.person("bob", 20).await, f.person("eve", 20).await);
    // The second time, the others are known.
    for field in ["figures", "access"] {
        let eves = format!("tg:{{{}}}:acct", eve.account);
        let kept: Vec<u8> = redis::cmd("HGET").arg(&eves).arg(field).query(&mut server(&f).connection()).unwrap();
        redis::cmd("HDEL").arg(&eves).arg(field).exec(&mut server(&f).connection()).unwrap();
        let answers = checks_at_once(&f, &[&ada, &eve, &bob], field).await;
        assert!(is_held(&answers[0]) && is_held(&answers[2]), "{answers:?}");
        assert!(matches!(answers[1], Err(StoreError::Corrupt(_))), "{answers:?}");
        redis::cmd("HSET").arg(&eves).arg(field).arg(kept).exec(&mut server(&f).connection()).unwrap();
    }
    for (person, open) in [(&ada, 2), (&bob, 2), (&eve, 0)] {
        assert_eq!(f.snapshot(person).await.open.len(), open);
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nobody_waiting_who_shared_its_script() {
    let f = Fixture::redis(limits()).await;
    let (ada, bob) = (f.person("ada", 20).await, f.person("bob", 20).await);
    // Before it has asked for both, and after.
    for (asked, request_id) in [(false, "first"), (true, "second")] {
        let mut first = f.store.check(f.request(&ada, Some(one_credit(request_id, "a"))));
        let mut poll_first = async || std::future::poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx).is_pending())).await;
        assert!(poll_first().await);
        let (store, request) = (Arc::clone(&f.store), f.request(&bob, Some(one_credit(request_id, "a"))));
        let second = tokio::spawn(async move { store.check(request).await });
        tokio::task::yield_now().await;
        if asked {
            assert!(poll_first().await);
        }
        drop(first);
        let answer = tokio::time::timeout(Duration::from_secs(20), second).await.expect("it is still waiting").unwrap();
        assert!(is_held(&answer), "{answer:?}");
    }
    assert_eq!(f.snapshot(&bob).await.open.len(), 2);
    assert!(f.snapshot(&ada).await.open.len() <= 1, "what nobody had asked for was held");
}

/// A Redis that is a cluster of itself alone.
fn cluster_of_one() -> RedisServer {
    // Its usual place, the port and 10,000, may be above all ports.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = RedisServer::start(&["--cluster-enabled", "yes", "--cluster-port", &port.to_string()]);
    let mut connection = server.connection();
    redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(16_383).exec(&mut connection).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !redis::cmd("CLUSTER").arg("INFO").query::<String>(&mut connection).unwrap().contains("cluster_state:ok") {
        assert!(Instant::now() < deadline, "the cluster doesn't take its slots");
        std::thread::yield_now();
    }
    server
}

#[tokio::test]
async fn in_a_cluster_checks_of_several_accounts_are_asked_one_by_one() {
    let server = cluster_of_one();
    let (clock, hand) = Clock::fixed(START_MS);
    let store = Arc::new(server.store(limits(), clock).await);
    let f = Fixture { store, hand, limits: limits(), home: Home::Redis(server) };
    let (ada, bob, eve) = (f.person("ada", 20).await, f.person("bob", 20).await, f.person("eve", 20).await);
    for request_id in ["first", "second"] {
        let evalsha = self::server(&f).calls_of("evalsha");
        let answers = checks_at_once(&f, &[&ada, &bob, &eve], request_id).await;
        assert!(answers.iter().all(is_held), "{answers:?}");
        assert_eq!(self::server(&f).calls_of("evalsha"), evalsha + 3);
        // Asked together once, which Redis refused before it began.
        assert_eq!(self::server(&f).counted("errorstats", "errorstat_CROSSSLOT:count="), 1);
    }
    for person in [&ada, &bob, &eve] {
        assert_eq!(f.snapshot(person).await.open.len(), 2);
    }
}

/// How often Redis looked into a hash for a key's or a member's record.
fn records_read(f: &Fixture) -> u64 {
    // The quick way reads all it needs with one HMGET.
    server(f).calls_of("hget")
}

#[tokio::test]
async fn a_known_callers_rights_are_not_read_again_until_they_change() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    let key = f.key(&ada, 1, |_| {}).await;
    let other = f.key(&ada, 2, |_| {}).await;
    let check =
        async |secret: u8, request: &str| f.check_key(&ada, secret, permission(Scope::Inference), Some(one_credit(request, "a"))).await;
    assert!(matches!(check(1, "first").await, CheckAnswer::Held(..)));
    assert!(matches!(f.check(&ada, one_credit("by-token", "a")).await, CheckAnswer::Held(..)));
    let read = records_read(&f);
    assert!(matches!(check(1, "second").await, CheckAnswer::Held(..)));
    assert!(matches!(f.check(&ada, one_credit("again-by-token", "a")).await, CheckAnswer::Held(..)));
    assert_eq!(records_read(&f), read);

    // Another key's revocation takes nothing from this one, whose rights are read again all the same.
    f.store.revoke_api_key(&ada.account, &other.key_id).await.unwrap().unwrap();
    assert!(matches!(check(1, "third").await, CheckAnswer::Held(..)));
    assert!(records_read(&f) > read);
    f.store.revoke_api_key(&ada.account, &key.key_id).await.unwrap().unwrap();
    assert_eq!(check(1, "fourth").await, CheckAnswer::Refused(Refusal::CredentialRevoked));
    f.snapshot(&ada).await;
}

#[tokio::test]
async fn what_another_process_revokes_is_refused_to_a_known_caller_on_the_next_call() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    f.key(&ada, 1, |_| {}).await;
    let check = async |request: &str| f.check_key(&ada, 1, permission(Scope::Inference), Some(one_credit(request, "a"))).await;
    assert!(matches!(check("first").await, CheckAnswer::Held(..)));
    assert!(matches!(check("second").await, CheckAnswer::Held(..)));
    let elsewhere = server(&f).store(limits(), Clock::Store).await;
    elsewhere.set_disabled(&ada.id, true).await.unwrap().unwrap();
    assert_eq!(check("third").await, CheckAnswer::Refused(Refusal::UserDisabled));
    elsewhere.set_disabled(&ada.id, false).await.unwrap().unwrap();
    assert!(matches!(check("fourth").await, CheckAnswer::Held(..)));
    f.snapshot(&ada).await;
}

#[tokio::test]
async fn a_known_key_ends_at_its_time() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    let ends = f.now_ms() + 1000;
    f.key(&ada, 1, |key| key.expires_at_ms = Some(ends)).await;
    let check = async |request: &str| f.check_key(&ada, 1, permission(Scope::Inference), Some(one_credit(request, "a"))).await;
    assert!(matches!(check("first").await, CheckAnswer::Held(..)));
    f.advance(Duration::from_millis(999));
    assert!(matches!(check("second").await, CheckAnswer::Held(..)));
    f.advance(Duration::from_millis(1));
    assert_eq!(check("third").await, CheckAnswer::Refused(Refusal::CredentialExpired));
}

#[tokio::test]
async fn scripts_that_redis_has_forgotten_are_loaded_again() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 20).await;
    redis::cmd("SCRIPT").arg("FLUSH").exec(&mut server(&f).connection()).unwrap();
    f.hold(&ada, by_token("r", "a")).await;
}

#[tokio::test]
async fn no_key_of_an_account_ever_expires_and_all_lie_in_its_slot() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 20).await;
    f.key(&ada, 1, |_| {}).await;
    let held = f.hold(&ada, by_token("r", "a")).await;
    let extended = f.hold(&ada, one_credit("s", "a")).await;
    f.store.extend(&extended.handle, used(1)).await.unwrap();
    f.settle(&held.handle, Outcome::Completed, 1).await;
    let mut connection = server(&f).connection();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    let of_account = keys.iter().filter(|key| key.starts_with(&format!("tg:{{{}}}:", ada.account))).count();
    // acct, queue, due, gc, log, members, keys, grants, user; beside them the name and one shard of the registry.
    assert_eq!((of_account, keys.len()), (9, 11), "{keys:?}");
    for key in keys {
        let ttl: i64 = redis::cmd("TTL").arg(&key).query(&mut connection).unwrap();
        assert_eq!(ttl, -1, "{key}");
    }
}

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

#[tokio::test]
async fn a_full_redis_refuses_checks_and_still_settles_and_sweeps() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    let held = f.hold(&ada, by_token("r", "a")).await;
    f.hold(&ada, by_token("s", "a")).await;
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").exec(&mut server(&f).connection()).unwrap();
    let refused = f.store.check(f.request(&ada, Some(by_token("t", "a")))).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    f.store.extend(&held.handle, used(2)).await.unwrap();
    f.settle(&held.handle, Outcome::Completed, 3).await;
    f.advance(f.limits.hold_ttl);
    assert_eq!(f.walk().await, 1);
    assert_eq!(f.store.balance(&ada.account).await.unwrap().unwrap().available, 46);
    assert!(f.store.set_disabled(&ada.id, true).await.unwrap().unwrap().disabled);
    f.snapshot(&ada).await;
}

#[tokio::test]
async fn a_full_redis_still_lets_callers_in_to_revoke_keys_and_disable_users() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    let key = f.key(&ada, 1, |_| {}).await;
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").exec(&mut server(&f).connection()).unwrap();
    let calls = || (server(&f).calls_of("evalsha"), server(&f).calls_of("eval"), server(&f).calls_of("script|load"));
    let (evalsha, eval, loads) = calls();
    assert!(matches!(f.store.check(f.request(&ada, None)).await.unwrap(), CheckAnswer::Allowed(_)));
    assert_eq!(calls(), (evalsha + 1, eval, loads), "one script, one round trip");
    f.store.revoke_api_key(&ada.account, &key.key_id).await.unwrap().unwrap();
    assert_eq!(f.check_key(&ada, 1, permission(Scope::Inference), None).await, CheckAnswer::Refused(Refusal::CredentialRevoked));
    f.store.set_disabled(&ada.id, true).await.unwrap().unwrap();
    assert_eq!(f.store.check(f.request(&ada, None)).await.unwrap(), CheckAnswer::Refused(Refusal::UserDisabled));
}

#[tokio::test]
async fn a_look_up_by_name_takes_the_same_round_trips_whether_there_is_such_a_user_or_not() {
    let f = Fixture::redis(limits()).await;
    let ada = new_user("ada", 0);
    f.store.create_user(ada.clone()).await.unwrap();
    let calls = || (server(&f).calls_of("get"), server(&f).calls_of("hmget"));
    for name in [&ada.user_name, &new_user("nobody", 0).user_name] {
        let (get, hmget) = calls();
        let found = f.store.user_by_name(name).await.unwrap();
        assert_eq!(found.is_some(), *name == ada.user_name);
        assert_eq!(calls(), (get + 1, hmget + 1), "{name}");
    }
}

#[tokio::test]
async fn a_redis_that_may_lose_credits_is_refused_unless_allowed_by_name() {
    let server = RedisServer::start(&["--appendonly", "no", "--maxmemory-policy", "allkeys-lru"]);
    let connect = |allow_eviction, allow_no_aof| {
        let options = RedisOptions { allow_eviction, allow_no_aof, ..RedisOptions::default() };
        let url = server.url();
        async move { RedisStore::connect(&url, limits(), options).await }
    };
    let refused = connect(false, true).await.unwrap_err();
    assert!(matches!(&refused, StoreOpenError::Unsafe(text) if text.contains("allkeys-lru")), "{refused}");
    let refused = connect(true, false).await.unwrap_err();
    assert!(matches!(&refused, StoreOpenError::Unsafe(text) if text.contains("append-only")), "{refused}");
    connect(true, true).await.unwrap();
}

#[tokio::test]
async fn a_redis_that_hides_its_settings_is_refused_unless_allowed_by_name() {
    let server = RedisServer::start(&["--rename-command", "CONFIG", ""]);
    let refused = RedisStore::connect(&server.url(), limits(), RedisOptions::default()).await.unwrap_err();
    assert!(matches!(&refused, StoreOpenError::Unsafe(text) if text.contains("CONFIG GET")), "{refused}");
    let options = RedisOptions { allow_eviction: true, allow_no_aof: true, ..RedisOptions::default() };
    RedisStore::connect(&server.url(), limits(), options).await.unwrap();
}

#[tokio::test]
async fn an_address_where_nothing_answers_is_unreachable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nowhere = RedisStore::connect(&format!("redis://127.0.0.1:{port}/"), limits(), RedisOptions::default()).await;
    assert!(matches!(nowhere, Err(StoreOpenError::Unreachable(_))), "{nowhere:?}");
    let no_address = RedisStore::connect("no address", limits(), RedisOptions::default()).await;
    assert!(matches!(no_address, Err(StoreOpenError::Unusable(_))), "{no_address:?}");
}

#[tokio::test]
async fn a_stopped_redis_fails_closed() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 20).await;
    let request = f.request(&ada, Some(by_token("r", "a")));
    let Fixture { store, home, .. } = f;
    drop(home);
    let answer = store.check(request).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn a_broken_connection_is_replaced_within_the_call() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 20).await;
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes").exec(&mut server(&f).connection()).unwrap();
    assert!(matches!(f.check(&ada, by_token("r", "a")).await, CheckAnswer::Held(..)));
}

#[tokio::test]
async fn a_contradiction_in_what_is_stored_writes_nothing() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 20).await;
    let held = f.hold(&ada, by_token("r", "a")).await;
    let acct = format!("tg:{{{}}}:acct", ada.account);
    let mut figures: Vec<u8> = redis::cmd("HGET").arg(&acct).arg("figures").query(&mut server(&f).connection()).unwrap();
    // `available`, behind the version.
    figures[1..9].copy_from_slice(&10_f64.to_le_bytes());
    redis::cmd("HSET").arg(&acct).arg("figures").arg(figures).exec(&mut server(&f).connection()).unwrap();
    let before = f.store.snapshot(&ada.account).await.unwrap();
    let check = f.store.check(f.request(&ada, Some(by_token("s", "a")))).await;
    assert!(matches!(&check, Err(StoreError::Corrupt(text)) if text == "granted is not available + held + spent + lapsed"), "{check:?}");
    let settle = f.store.settle(&held.handle, Outcome::Completed, used(1)).await;
    assert!(matches!(settle, Err(StoreError::Corrupt(_))), "{settle:?}");
    f.pass_ttl();
    // The walk passes it by, and reaches the others.
    let bob = f.person("bob", 20).await;
    f.hold(&bob, by_token("r", "a")).await;
    f.pass_ttl();
    assert_eq!(f.walk().await, 1);
    assert_eq!(f.store.snapshot(&ada.account).await.unwrap(), before);
}

#[tokio::test]
async fn a_name_whose_user_was_never_made_is_in_progress_and_free_again_after_a_minute() {
    let f = Fixture::redis(limits()).await;
    let claim = format!("{}|{}", new_user("ada", 0).user_id, f.now_ms());
    redis::cmd("SET").arg("tg:names:{ada}").arg(claim).exec(&mut server(&f).connection()).unwrap();
    let user = new_user("ada", 10);
    for left_ms in [60_000, 1] {
        let retry_after = Duration::from_millis(left_ms);
        assert_eq!(f.store.create_user(user.clone()).await.unwrap(), UserCreation::NameInProgress { retry_after });
        f.advance(retry_after - Duration::from_millis(1));
    }
    assert_eq!(f.store.user_by_name(&user.user_name).await.unwrap(), None);
    f.advance(Duration::from_millis(1));
    assert!(matches!(f.store.create_user(user.clone()).await.unwrap(), UserCreation::Created(_)));
    assert_eq!(f.store.user_by_name(&user.user_name).await.unwrap().unwrap().user_id, user.user_id);
}

#[tokio::test]
async fn three_stores_on_one_redis_admit_what_the_credits_pay_for() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 10).await;
    let mut tasks = tokio::task::JoinSet::new();
    for replica in 0..3 {
        // Redis's own clock, as in production.
        let store = Arc::new(server(&f).store(limits(), Clock::Store).await);
        for i in 0..20 {
            let (store, request) = (store.clone(), f.request(&ada, Some(one_credit(&format!("r{replica}-{i}"), "a"))));
            tasks.spawn(async move { store.check(request).await.unwrap() });
        }
    }
    let held = tasks.join_all().await.into_iter().filter(|answer| matches!(answer, CheckAnswer::Held(..))).count();
    assert_eq!(held, 10);
    f.snapshot(&ada).await;
}

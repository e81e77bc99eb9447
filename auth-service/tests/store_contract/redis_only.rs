//! What only Redis can show: round trips, memory, settings, breakage.

use std::sync::Arc;
use std::time::Duration;

use auth_service::hold::Outcome;
use auth_service::store::clock::Clock;
use auth_service::store::{CheckAnswer, Checkpoint, GrantAnswer, GrantRequest, Refusal, Scope, Store, StoreError, UserCreation};

use crate::fixture::{Fixture, Home, RedisServer, by_token, event, new_user, one_credit, permission, revoke_key, used};
use crate::limits;

pub(crate) fn server(f: &Fixture) -> &RedisServer {
    match &f.home {
        Home::Redis(server) => server,
        Home::Sqlite(_) => panic!("not Redis"),
    }
}

#[tokio::test]
async fn check_extend_and_settle_are_one_script_and_one_round_trip_each_and_two_for_a_caller_who_is_new() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 20).await;
    f.key(&ada, 1, |_| {}).await;
    let calls = || (server(&f).calls_of("evalsha"), server(&f).calls_of("eval"), server(&f).calls_of("script|load"));
    let (mut evalsha, eval, loads) = calls();
    for (round, check) in [("first", 2), ("second", 1), ("third", 1)] {
        let mut expect = |scripts| {
            evalsha += scripts;
            assert_eq!(calls(), (evalsha, eval, loads), "{round}");
        };
        let by_key = f.check_key(&ada, 1, permission(Scope::Chat), Some(one_credit(&format!("key-{round}"), "a"))).await;
        assert!(matches!(by_key, CheckAnswer::Held(..)));
        expect(check);
        let held = f.hold(&ada, by_token(&format!("token-{round}"), "a")).await;
        expect(check);
        for tokens in [1, 2] {
            f.store.extend(&held.terms, used(tokens)).await.unwrap();
            expect(1);
        }
        f.settle(&held.terms, Outcome::Completed, 1).await;
        expect(1);
    }
}

#[tokio::test]
async fn a_repetition_and_an_account_that_runs_short_take_two_scripts() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 20).await;
    let held = f.hold(&ada, by_token("r", "a")).await;
    let mut evalsha = server(&f).calls_of("evalsha");
    let mut expect = |scripts, what| {
        evalsha += scripts;
        assert_eq!(server(&f).calls_of("evalsha"), evalsha, "{what}");
    };
    assert_eq!(f.hold(&ada, by_token("r", "a")).await.terms, held.terms);
    expect(1, "the same attempt, which is answered by what the script found");
    // 9 of 11.
    assert_eq!(f.hold(&ada, by_token("part", "a")).await.terms.held_credits, 9);
    expect(2, "a part of what was asked for");
    assert!(matches!(f.check(&ada, by_token("none", "a")).await, CheckAnswer::Refused(Refusal::InsufficientCredits { .. })));
    expect(1, "no credits, which the script found");
    let first = f.settle(&held.terms, Outcome::Completed, 1).await;
    expect(1, "a settlement");
    assert_eq!(f.settle(&held.terms, Outcome::Completed, 1).await, first);
    expect(1, "its repetition");
    // Tokens that would fall don't.
    let more = f.hold(&ada, by_token("more", "a")).await;
    expect(2, "a part again");
    f.store.extend(&more.terms, used(5)).await.unwrap();
    expect(1, "an extension");
    f.store.extend(&more.terms, used(4)).await.unwrap();
    expect(2, "an extension with fewer tokens");
    assert_eq!(f.snapshot(&ada).await.open[0].usage, used(5));
}

/// How often Redis looked into a hash for a key's or a member's record.
fn records_read(f: &Fixture) -> u64 {
    // What is moved is read with one HMGET.
    server(f).calls_of("hget")
}

#[tokio::test]
async fn a_known_callers_rights_are_not_read_again_until_they_change() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    let key = f.key(&ada, 1, |_| {}).await;
    let other = f.key(&ada, 2, |_| {}).await;
    let check = async |secret: u8, request: &str| f.check_key(&ada, secret, permission(Scope::Chat), Some(one_credit(request, "a"))).await;
    assert!(matches!(check(1, "first").await, CheckAnswer::Held(..)));
    assert!(matches!(f.check(&ada, one_credit("by-token", "a")).await, CheckAnswer::Held(..)));
    let read = records_read(&f);
    assert!(matches!(check(1, "second").await, CheckAnswer::Held(..)));
    assert!(matches!(f.check(&ada, one_credit("again-by-token", "a")).await, CheckAnswer::Held(..)));
    assert_eq!(records_read(&f), read);

    // Another key's revocation takes nothing from this one, whose rights are read again all the same.
    revoke_key(&*f.store, &ada.account, &other.key_id).await.unwrap();
    assert!(matches!(check(1, "third").await, CheckAnswer::Held(..)));
    assert!(records_read(&f) > read);
    revoke_key(&*f.store, &ada.account, &key.key_id).await.unwrap();
    assert_eq!(check(1, "fourth").await, CheckAnswer::Refused(Refusal::CredentialRevoked));
    f.snapshot(&ada).await;
}

#[tokio::test]
async fn what_another_process_revokes_is_refused_to_a_known_caller_on_the_next_call() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    f.key(&ada, 1, |_| {}).await;
    let check = async |request: &str| f.check_key(&ada, 1, permission(Scope::Chat), Some(one_credit(request, "a"))).await;
    assert!(matches!(check("first").await, CheckAnswer::Held(..)));
    assert!(matches!(check("second").await, CheckAnswer::Held(..)));
    let elsewhere = server(&f).store(limits(), Clock::Store).await;
    elsewhere.set_disabled(&ada.id, true, "", event()).await.unwrap().unwrap();
    assert_eq!(check("third").await, CheckAnswer::Refused(Refusal::UserDisabled));
    elsewhere.set_disabled(&ada.id, false, "", event()).await.unwrap().unwrap();
    assert!(matches!(check("fourth").await, CheckAnswer::Held(..)));
    f.snapshot(&ada).await;
}

#[tokio::test]
async fn a_known_key_ends_at_its_time() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    let ends = f.now_ms() + 1000;
    f.key(&ada, 1, |key| key.expires_at_ms = Some(ends)).await;
    let check = async |request: &str| f.check_key(&ada, 1, permission(Scope::Chat), Some(one_credit(request, "a"))).await;
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
    f.store.extend(&extended.terms, used(1)).await.unwrap();
    f.settle(&held.terms, Outcome::Completed, 1).await;
    let mut connection = server(&f).connection();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    let of_account = keys.iter().filter(|key| key.starts_with(&format!("tg:{{{}}}:", ada.account))).count();
    // acct, due, paid, log, members, keys, user; beside them the name, one shard of the registry, the index of names, and the audit log of
    // operators' actions.
    assert_eq!((of_account, keys.len()), (7, 11), "{keys:?}");
    for key in keys {
        let ttl: i64 = redis::cmd("TTL").arg(&key).query(&mut connection).unwrap();
        assert_eq!(ttl, -1, "{key}");
    }
}

#[tokio::test]
async fn a_full_redis_refuses_checks_and_still_settles_and_sweeps() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    let held = f.hold(&ada, by_token("r", "a")).await;
    f.hold(&ada, by_token("s", "a")).await;
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").exec(&mut server(&f).connection()).unwrap();
    let refused = f.store.check(f.request(&ada, Some(by_token("t", "a")))).await;
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    f.store.extend(&held.terms, used(2)).await.unwrap();
    f.settle(&held.terms, Outcome::Completed, 3).await;
    f.advance(f.limits.hold_ttl);
    assert_eq!(f.walk().await, 1);
    assert_eq!(f.store.balance(&ada.account).await.unwrap().unwrap().available, 46);
    assert!(f.store.set_disabled(&ada.id, true, "", event()).await.unwrap().unwrap().user.disabled);
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
    revoke_key(&*f.store, &ada.account, &key.key_id).await.unwrap();
    assert_eq!(f.check_key(&ada, 1, permission(Scope::Chat), None).await, CheckAnswer::Refused(Refusal::CredentialRevoked));
    f.store.set_disabled(&ada.id, true, "", event()).await.unwrap().unwrap();
    assert_eq!(f.store.check(f.request(&ada, None)).await.unwrap(), CheckAnswer::Refused(Refusal::UserDisabled));
}

#[tokio::test]
async fn a_look_up_by_name_takes_the_same_round_trips_whether_there_is_such_a_user_or_not() {
    let f = Fixture::redis(limits()).await;
    let ada = new_user("ada", 0);
    f.store.create_user(ada.clone(), event()).await.unwrap();
    for name in [&ada.user_name, &new_user("nobody", 0).user_name] {
        let get = server(&f).calls_of("get");
        let found = f.store.user_by_name(name).await.unwrap();
        assert_eq!(found.is_some(), *name == ada.user_name);
        assert_eq!(server(&f).calls_of("get"), get + 2, "{name}");
    }
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
    let mut counters: Vec<u8> = redis::cmd("HGET").arg(&acct).arg("counters").query(&mut server(&f).connection()).unwrap();
    // `available`, behind the version.
    counters[1..9].copy_from_slice(&10_f64.to_le_bytes());
    redis::cmd("HSET").arg(&acct).arg("counters").arg(counters).exec(&mut server(&f).connection()).unwrap();
    let before = f.store.snapshot(&ada.account).await.unwrap();
    let check = f.store.check(f.request(&ada, Some(by_token("s", "a")))).await;
    assert!(matches!(&check, Err(StoreError::Corrupt(text)) if text == "granted is not available + held + spent + lapsed"), "{check:?}");
    let settle = f.store.settle(&held.terms, Outcome::Completed, used(1)).await;
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
        assert_eq!(f.store.create_user(user.clone(), event()).await.unwrap(), UserCreation::NameInProgress { retry_after });
        f.advance(retry_after - Duration::from_millis(1));
    }
    assert_eq!(f.store.user_by_name(&user.user_name).await.unwrap(), None);
    f.advance(Duration::from_millis(1));
    assert!(matches!(f.store.create_user(user.clone(), event()).await.unwrap(), UserCreation::Created(_)));
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

#[tokio::test]
async fn numbers_of_a_ledger_that_was_folded_empty_go_on_after_a_restart_and_a_rewritten_log_and_none_comes_again() {
    // Without it Redis may answer before it writes, and what is killed then forgets.
    let writes_first = ["--appendfsync", "always"];
    let server = RedisServer::start(&writes_first);
    let url = server.url();
    let f = Fixture::redis_at(server, &url, limits()).await;
    let ada = f.person("ada", 5).await;
    let held = f.hold(&ada, one_credit("r", "a")).await;
    f.settle(&held.terms, Outcome::Completed, 1).await;
    let read = f.store.oldest_entries(&ada.account, 0, 9).await.unwrap();
    let all = Checkpoint::fold(None, &read.entries).unwrap().unwrap();
    assert!(f.store.fold_ledger(&ada.account, 1, all).await.unwrap());
    let Fixture { home: Home::Redis(mut server), hand, .. } = f else { panic!("not Redis") };
    let log = format!("tg:{{{}}}:log", ada.account);
    let add = |server: &RedisServer, id: &str| redis::cmd("XADD").arg(&log).arg(id).arg("e").arg("").exec(&mut server.connection());
    for rewrites in [false, true] {
        if rewrites {
            server.command(&["BGREWRITEAOF"]);
            let started = std::time::Instant::now();
            while server.counted("persistence", "aof_rewrite_in_progress:") + server.counted("persistence", "aof_rewrite_scheduled:") > 0 {
                assert!(started.elapsed() < Duration::from_secs(20), "it rewrites for ever");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        server.stop();
        server.start_again(&writes_first);
        // It takes connections before it has loaded what it wrote.
        let started = std::time::Instant::now();
        while let Err(error) = redis::cmd("PING").exec(&mut server.connection()) {
            assert!(started.elapsed() < Duration::from_secs(20), "{error}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for id in ["1-0", "2-0"] {
            let refused = add(&server, id).unwrap_err().to_string();
            assert!(refused.contains("equal or smaller"), "{id}: {refused}");
        }
    }
    let store = server.store(limits(), Clock::Fixed(hand)).await;
    let granted_by = ada.id.clone();
    let grant = GrantRequest { account: ada.account.clone(), credits: 1, request_id: "g".to_owned(), note: String::new(), granted_by };
    assert!(matches!(store.grant(grant, event()).await.unwrap(), GrantAnswer::Granted { entry: 3, .. }));
    let snapshot = store.snapshot(&ada.account).await.unwrap().unwrap();
    assert_eq!((snapshot.violations(), snapshot.checkpoint), (Vec::new(), Some(all)));
}

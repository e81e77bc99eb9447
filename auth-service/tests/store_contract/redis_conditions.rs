//! A Redis that is full, read-only, misconfigured or silent: each is told apart, and is used again without a restart.

use std::time::{Duration, Instant};

use auth_service::hold::Outcome;
use auth_service::store::clock::Clock;
use auth_service::store::redis::{RedisOptions, RedisStore};
use auth_service::store::{CheckAnswer, Store, StoreError};

use crate::fixture::{Fixture, Person, RedisServer, by_token, reserve_port, used};
use crate::forwarder::Forwarder;
use crate::limits;
use crate::redis_only::server;

const SOON: Duration = Duration::from_secs(40);

/// What a Check that holds credits meets, which the probe must meet as well.
async fn met(f: &Fixture, ada: &Person) -> StoreError {
    let met = f.store.check(f.request(ada, Some(by_token("refused", "a")))).await.unwrap_err();
    let probed = f.store.ping().await.unwrap_err();
    assert_eq!(met.error_reason(), probed.error_reason(), "{met} and {probed}");
    assert!(!f.store.condition().works());
    met
}

/// Waits until a Check is answered again, and the probe.
async fn is_used_again(f: &Fixture, ada: &Person) {
    let started = Instant::now();
    loop {
        match f.store.check(f.request(ada, Some(by_token("again", "a")))).await {
            Ok(answer) => {
                assert!(matches!(answer, CheckAnswer::Held(..)), "{answer:?}");
                break;
            }
            Err(error) => assert!(started.elapsed() < SOON, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    f.store.ping().await.unwrap();
    f.snapshot(ada).await;
}

/// Waits until Redis says this about itself.
pub(crate) fn until_info(server: &RedisServer, section: &str, says: &str) {
    let started = Instant::now();
    let mut connection = server.connection();
    loop {
        let info: String = redis::cmd("INFO").arg(section).query(&mut connection).unwrap();
        if info.contains(says) {
            return;
        }
        assert!(started.elapsed() < SOON, "waited for {says}: {info}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A Redis that refuses for a while: what is done to it and undone, and how its refusal is called.
async fn refuses(make: &[&[&str]], undo: &[&[&str]], is_expected: fn(&StoreError) -> bool) {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    make.iter().for_each(|words| server(&f).command(words));
    let met = met(&f, &ada).await;
    assert!(is_expected(&met), "{met:?}");
    undo.iter().for_each(|words| server(&f).command(words));
    is_used_again(&f, &ada).await;
}

#[tokio::test]
async fn a_full_redis_is_full_until_there_is_room() {
    let is_full = |met: &StoreError| matches!(met, StoreError::Full(text) if text.contains("maxmemory") && text.contains("OOM"));
    refuses(&[&["CONFIG", "SET", "maxmemory", "1"]], &[&["CONFIG", "SET", "maxmemory", "0"]], is_full).await;
}

#[tokio::test]
async fn a_redis_that_became_a_replica_is_read_only_until_it_is_a_primary() {
    let is_read_only = |met: &StoreError| matches!(met, StoreError::ReadOnly(text) if text.contains("READONLY"));
    // Nobody listens there: it keeps what it has.
    refuses(&[&["REPLICAOF", "127.0.0.1", "1"]], &[&["REPLICAOF", "NO", "ONE"]], is_read_only).await;
}

#[tokio::test]
async fn a_replica_without_its_primary_is_read_only() {
    let is_read_only = |met: &StoreError| matches!(met, StoreError::ReadOnly(_));
    let make: &[&[&str]] = &[&["REPLICAOF", "127.0.0.1", "1"], &["CONFIG", "SET", "replica-serve-stale-data", "no"]];
    refuses(make, &[&["REPLICAOF", "NO", "ONE"]], is_read_only).await;
}

#[tokio::test]
async fn a_primary_with_too_few_replicas_is_read_only() {
    let is_read_only = |met: &StoreError| matches!(met, StoreError::ReadOnly(text) if text.contains("min-replicas-to-write"));
    let setting = |number| ["CONFIG", "SET", "min-replicas-to-write", number];
    refuses(&[&setting("1")], &[&setting("0")], is_read_only).await;
}

#[tokio::test]
async fn a_redis_whose_snapshot_fails_is_misconfigured_until_one_succeeds() {
    let redis = RedisServer::start(&["--enable-protected-configs", "yes"]);
    let url = redis.url();
    let f = Fixture::redis_at(redis, &url, limits()).await;
    let ada = f.person("ada", 50).await;
    let (gone, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    server(&f).command(&["CONFIG", "SET", "save", "3600 1"]);
    server(&f).command(&["CONFIG", "SET", "dir", gone.path().to_str().unwrap()]);
    drop(gone);
    server(&f).command(&["BGSAVE"]);
    until_info(server(&f), "persistence", "rdb_last_bgsave_status:err");
    let met = met(&f, &ada).await;
    assert!(matches!(&met, StoreError::Misconfigured(text) if text.contains("MISCONF")), "{met:?}");
    server(&f).command(&["CONFIG", "SET", "dir", kept.path().to_str().unwrap()]);
    server(&f).command(&["BGSAVE"]);
    until_info(server(&f), "persistence", "rdb_last_bgsave_status:ok");
    is_used_again(&f, &ada).await;
}

#[tokio::test]
async fn a_redis_whose_append_only_file_can_not_grow_is_full_until_it_can() {
    let redis = RedisServer::start_that_outlives_the_longest_file();
    let url = redis.url();
    let f = Fixture::redis_at(redis, &url, limits()).await;
    let ada = f.person("ada", 50).await;
    let before = server(&f).limit_files(Some(1));
    // Once a second it is written; what comes until then is taken.
    let started = Instant::now();
    while f.store.ping().await.is_ok() {
        assert!(started.elapsed() < SOON, "Redis takes everything");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let met = met(&f, &ada).await;
    assert!(matches!(&met, StoreError::Full(text) if text.contains("MISCONF")), "{met:?}");
    server(&f).limit_files(before);
    is_used_again(&f, &ada).await;
}

#[tokio::test]
async fn a_password_that_was_changed_and_changed_back_is_a_misconfiguration_meanwhile() {
    let mut redis = RedisServer::start(&["--requirepass", "old"]);
    let url = format!("redis://:old@127.0.0.1:{}", redis.port());
    redis.set_password("old");
    let f = Fixture::redis_at(redis, &url, limits()).await;
    let ada = f.person("ada", 50).await;
    let change = |from: &str, to: &str| {
        let mut connection =
            redis::Client::open(format!("redis://:{from}@127.0.0.1:{}", server(&f).port())).unwrap().get_connection().unwrap();
        redis::cmd("CONFIG").arg("SET").arg("requirepass").arg(to).exec(&mut connection).unwrap();
        redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes").exec(&mut connection).unwrap();
    };
    change("old", "new");
    let met = met(&f, &ada).await;
    assert!(matches!(&met, StoreError::Misconfigured(text) if text.contains("password") && !text.contains("old")), "{met:?}");
    change("new", "old");
    is_used_again(&f, &ada).await;
}

#[tokio::test]
async fn a_password_that_redis_asks_for_all_at_once_is_a_misconfiguration_until_it_does_not() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    let mut connection = server(&f).connection();
    redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("new").exec(&mut connection).unwrap();
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes").exec(&mut connection).unwrap();
    let met = met(&f, &ada).await;
    assert!(matches!(&met, StoreError::Misconfigured(text) if text.contains("user or password")), "{met:?}");
    redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("").exec(&mut connection).unwrap();
    is_used_again(&f, &ada).await;
}

#[tokio::test]
async fn a_user_that_may_not_do_what_is_needed_is_a_misconfiguration_until_it_may() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    // All scripts; and what every script does: a user's rights count within them.
    for (taken, given) in [("-evalsha", "+evalsha"), ("-@all", "+@all"), ("resetkeys", "~*")] {
        let mut connection = server(&f).connection();
        redis::cmd("ACL").arg("SETUSER").arg("operator").arg("on").arg(">p").arg("~*").arg("+@all").exec(&mut connection).unwrap();
        let mut operator =
            redis::Client::open(format!("redis://operator:p@127.0.0.1:{}", server(&f).port())).unwrap().get_connection().unwrap();
        let mut set = |rule: &str| redis::cmd("ACL").arg("SETUSER").arg("default").arg(rule).exec(&mut operator).unwrap();
        set(taken);
        let met = met(&f, &ada).await;
        assert!(matches!(&met, StoreError::Misconfigured(text) if text.contains("ACL")), "{taken}: {met:?}");
        set(given);
        is_used_again(&f, &ada).await;
    }
    let writes = |rule| ["ACL", "SETUSER", "default", rule];
    server(&f).command(&writes("-@write"));
    let within = met(&f, &ada).await;
    assert!(matches!(&within, StoreError::Misconfigured(text) if text.contains("ACL")), "{within:?}");
    server(&f).command(&writes("+@write"));
    is_used_again(&f, &ada).await;
}

#[tokio::test]
async fn a_redis_that_runs_somebody_elses_endless_script_is_unavailable_until_it_is_killed() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    server(&f).command(&["CONFIG", "SET", "busy-reply-threshold", "20"]);
    let mut endless = server(&f).connection();
    let running = std::thread::spawn(move || redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut endless));
    let mut connection = server(&f).connection();
    let started = Instant::now();
    while redis::cmd("PING").exec(&mut connection).is_ok() {
        assert!(started.elapsed() < SOON, "the script doesn't run");
    }
    let met = met(&f, &ada).await;
    assert!(matches!(&met, StoreError::Unavailable(text) if text.contains("BUSY")), "{met:?}");
    redis::cmd("SCRIPT").arg("KILL").exec(&mut connection).unwrap();
    assert!(running.join().unwrap().is_err());
    is_used_again(&f, &ada).await;
}

#[tokio::test]
async fn a_redis_that_is_still_loading_is_unavailable_until_it_has() {
    let mut redis = RedisServer::start(&[]);
    let url = redis.url();
    let mut filling = redis::pipe();
    (0..6000).for_each(|i| {
        filling.set(format!("filler:{i}"), i);
    });
    filling.exec(&mut redis.connection()).unwrap();
    // Two milliseconds a key: long enough to be asked meanwhile.
    let slowly = ["--key-load-delay", "2000"];
    let store = RedisStore::connect(&url, limits(), RedisOptions::default()).await.unwrap();
    redis.stop();
    redis.start_again(&slowly);
    let met = store.ping().await.unwrap_err();
    assert!(matches!(&met, StoreError::Unavailable(_)), "{met:?}");
    let started = Instant::now();
    while store.ping().await.is_err() {
        assert!(started.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_redis_that_answers_no_one_is_unavailable_and_used_again_when_it_goes_on() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    let held = f.hold(&ada, by_token("r", "a")).await;
    server(&f).signal("STOP");
    let started = Instant::now();
    let met = met(&f, &ada).await;
    assert!(matches!(met, StoreError::Unavailable(_)), "{met:?}");
    assert!(started.elapsed() < SOON, "it waits no longer for nobody");
    server(&f).signal("CONT");
    is_used_again(&f, &ada).await;
    f.settle(&held.terms, Outcome::Completed, 1).await;
}

#[tokio::test]
async fn a_redis_that_is_gone_is_unavailable_and_used_again_when_it_is_back() {
    let mut redis = RedisServer::start(&[]);
    let store = redis.store(limits(), Clock::Store).await;
    redis.stop();
    let met = store.ping().await.unwrap_err();
    assert!(matches!(met, StoreError::Unavailable(_)), "{met:?}");
    redis.start_again(&[]);
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_redis_that_came_back_as_a_cluster_is_misconfigured_and_one_that_is_none_used_again() {
    let mut redis = RedisServer::start(&["--appendonly", "no"]);
    let options = RedisOptions { allow_no_aof: true, ..RedisOptions::default() };
    let store = RedisStore::connect(&redis.url(), limits(), options).await.unwrap();
    redis.stop();
    let (_reserved, port) = reserve_port();
    redis.start_again(&["--appendonly", "no", "--cluster-enabled", "yes", "--cluster-port", &port.to_string()]);
    let met = store.ping().await.unwrap_err();
    assert!(matches!(&met, StoreError::Misconfigured(text) if text.contains("cluster")), "{met:?}");
    redis.stop();
    redis.start_again(&["--appendonly", "no"]);
    store.ping().await.unwrap();
}

#[tokio::test]
async fn after_a_failover_the_same_call_goes_to_the_new_primary() {
    let (old, new) = (RedisServer::start(&[]), RedisServer::start(&[]));
    let address = Forwarder::to(old.port()).await;
    let (old_port, new_port) = (old.port().to_string(), new.port().to_string());
    let f = Fixture::redis_at(old, &address.url(), limits()).await;
    let ada = f.person("ada", 50).await;
    let held = f.hold(&ada, by_token("r", "a")).await;
    new.command(&["REPLICAOF", "127.0.0.1", &old_port]);
    until_info(&new, "replication", "master_link_status:up");
    redis::cmd("WAIT").arg(1).arg(10_000).exec(&mut server(&f).connection()).unwrap();
    // The connection there is leads to what is a replica now.
    new.command(&["REPLICAOF", "NO", "ONE"]);
    server(&f).command(&["REPLICAOF", "127.0.0.1", &new_port]);
    address.lead_to(new.port());
    f.settle(&held.terms, Outcome::Completed, 1).await;
    f.hold(&ada, by_token("s", "a")).await;
    assert!(f.store.condition().works());
    assert!(new.calls_of("evalsha") > 0);
}

#[tokio::test]
async fn a_connection_that_has_gone_silent_costs_one_call_and_not_those_after_it() {
    let redis = RedisServer::start(&[]);
    let address = Forwarder::to(redis.port()).await;
    let f = Fixture::redis_at(redis, &address.url(), limits()).await;
    let ada = f.person("ada", 50).await;
    address.silence();
    let lost = f.store.check(f.request(&ada, Some(by_token("r", "a")))).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    let answer = f.store.check(f.request(&ada, Some(by_token("r", "a")))).await;
    assert!(matches!(answer, Ok(CheckAnswer::Held(..))), "{answer:?}");
}

#[tokio::test]
async fn the_probe_writes_and_takes_no_more_room_the_second_time() {
    let f = Fixture::redis(limits()).await;
    f.store.ping().await.unwrap();
    let size = |f: &Fixture| redis::cmd("DBSIZE").query::<u64>(&mut server(f).connection()).unwrap();
    let (keys, sets) = (size(&f), server(&f).calls_of("mset"));
    for _ in 0..20 {
        f.store.ping().await.unwrap();
    }
    assert_eq!((size(&f), server(&f).calls_of("mset")), (keys, sets + 20));
}

#[tokio::test]
async fn a_read_only_redis_still_answers_what_writes_nothing_and_settles_when_it_is_a_primary_again() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    let held = f.hold(&ada, by_token("r", "a")).await;
    server(&f).command(&["REPLICAOF", "127.0.0.1", "1"]);
    assert!(matches!(f.store.check(f.request(&ada, None)).await, Ok(CheckAnswer::Allowed(_))));
    let settled = f.store.settle(&held.terms, Outcome::Completed, used(3)).await;
    assert!(matches!(settled, Err(StoreError::ReadOnly(_))), "{settled:?}");
    server(&f).command(&["REPLICAOF", "NO", "ONE"]);
    f.settle(&held.terms, Outcome::Completed, 3).await;
    assert_eq!(f.available(&ada).await, 46);
}

//! Which Redis is refused at the start, and in which words.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use auth_service::store::StoreOpenError;
use auth_service::store::redis::{RedisOptions, RedisPassword, RedisStore};

use crate::fixture::{RedisServer, reserve_port};
use crate::limits;

async fn refused(url: &str) -> StoreOpenError {
    RedisStore::connect(url, limits(), RedisOptions::default()).await.unwrap_err()
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
    let (_reserved, port) = reserve_port();
    let nowhere = RedisStore::connect(&format!("redis://127.0.0.1:{port}/"), limits(), RedisOptions::default()).await;
    assert!(matches!(nowhere, Err(StoreOpenError::Unreachable(_))), "{nowhere:?}");
    let no_address = RedisStore::connect("no address", limits(), RedisOptions::default()).await;
    assert!(matches!(no_address, Err(StoreOpenError::Misconfigured(_))), "{no_address:?}");
}

#[tokio::test]
async fn a_replica_is_refused_and_the_primary_asked_for() {
    let (primary, replica) = (RedisServer::start(&[]), RedisServer::start(&[]));
    replica.command(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    let refused = refused(&replica.url()).await;
    assert!(matches!(&refused, StoreOpenError::Unusable(text) if text.contains("replica") && text.contains("primary")), "{refused}");
    // One that has lost its primary is still none.
    drop(primary);
    replica.command(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    let refused = self::refused(&replica.url()).await;
    assert!(matches!(&refused, StoreOpenError::Unusable(text) if text.contains("replica")), "{refused}");
}

#[tokio::test]
async fn a_node_of_a_cluster_is_refused_whether_or_not_the_cluster_works() {
    // Its usual place, the port and 10,000, may be above all ports.
    let (_reserved, port) = reserve_port();
    let server = RedisServer::start(&["--cluster-enabled", "yes", "--cluster-port", &port.to_string()]);
    for _ in 0..2 {
        let refused = refused(&server.url()).await;
        assert!(matches!(&refused, StoreOpenError::Unusable(text) if text.contains("cluster-enabled no")), "{refused}");
        // The second time it has all slots.
        let _given = redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(16_383).exec(&mut server.connection());
    }
}

#[tokio::test]
async fn a_sentinel_is_refused() {
    let sentinel = RedisServer::start_sentinel();
    let refused = refused(&sentinel.url()).await;
    assert!(matches!(&refused, StoreOpenError::Unusable(text) if text.contains("Sentinel")), "{refused}");
}

#[tokio::test]
async fn a_user_or_password_that_redis_refuses_is_a_wrong_configuration_and_not_repeated() {
    let server = RedisServer::start(&["--requirepass", "the right one"]);
    let at = |credentials: &str| format!("redis://{credentials}127.0.0.1:{}", server.port());
    RedisStore::connect(&at(":the%20right%20one@"), limits(), RedisOptions::default()).await.unwrap();
    for url in [at(""), at(":canary@"), at("canary:canary@"), at(":the%20right%20one@") + "/99"] {
        let refused = refused(&url).await;
        assert!(matches!(&refused, StoreOpenError::Misconfigured(_)), "{refused:?}");
        let said = refused.to_string();
        assert!(said.contains("TOLLGATE_REDIS_URL") && !said.contains("canary") && !said.contains("the right one"), "{said}");
    }
}

#[tokio::test]
async fn a_password_of_any_characters_is_given_to_redis_as_it_is() {
    for password in ["a/b", "a#b", "a%41b", "a$b", "@:?&=+ ", "\"quoted\" 'twice' \\", "ünïcode", "--save"] {
        let server = RedisServer::start(&[]);
        server.command(&["CONFIG", "SET", "requirepass", password]);
        let url = server.url();
        let connect = |password: &str| {
            let options = RedisOptions { password: Some(RedisPassword::new(password.to_owned())), ..RedisOptions::default() };
            let url = url.clone();
            async move { RedisStore::connect(&url, limits(), options).await }
        };
        connect(password).await.unwrap_or_else(|error| panic!("{password}: {error}"));
        let refused = connect(&format!("{password}canary")).await.unwrap_err();
        assert!(matches!(&refused, StoreOpenError::Misconfigured(_)), "{refused:?}");
        let said = refused.to_string();
        assert!(said.contains("TOLLGATE_REDIS_PASSWORD") && !said.contains("canary"), "{said}");
    }
}

#[tokio::test]
async fn an_address_that_can_not_be_used_is_a_wrong_configuration_and_not_repeated() {
    for url in ["rediss://:canary@127.0.0.1", "redis-sentinel://:canary@127.0.0.1", "redis://:canary@a:1,b:2", "canary"] {
        let refused = refused(url).await;
        assert!(matches!(&refused, StoreOpenError::Misconfigured(text) if !text.contains("canary")), "{refused:?}");
    }
}

/// Answers as a Redis 6 did: with this to `HELLO`, and with an error to what it doesn't know.
fn redis_6(hello: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(stream, hello));
        }
    });
    port
}

fn answer(mut stream: TcpStream, hello: &str) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines().map_while(Result::ok);
    loop {
        // *<words>, then each word as $<length> and itself.
        let words: usize = lines.next()?.strip_prefix('*')?.parse().ok()?;
        let command: Vec<String> = (0..words).map_while(|_| lines.by_ref().nth(1)).collect();
        let said = if command.first()?.eq_ignore_ascii_case("HELLO") { hello } else { "-ERR unknown command\r\n" };
        stream.write_all(said.as_bytes()).ok()?;
    }
}

#[tokio::test]
async fn a_redis_older_than_7_is_refused() {
    let hello = "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n6.2.14\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:3\r\n\
                 $4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";
    let before_6 = "-ERR unknown command `HELLO`, with args beginning with: \r\n";
    for (hello, version) in [(hello, "version 6.2.14"), (before_6, "older than 6")] {
        let refused = refused(&format!("redis://127.0.0.1:{}", redis_6(hello))).await;
        assert!(matches!(&refused, StoreOpenError::Unusable(text) if text.contains(version) && text.contains("7 or newer")), "{refused}");
    }
}

use std::time::Instant;

use jsonwebtoken::Algorithm;
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use super::test_issuer::{IssuerKey, Reply, TestIssuer};
use super::*;

const SOON: Duration = Duration::from_secs(40);

/// A feed that runs.
struct Fed {
    keys: Arc<KeyFeed>,
    _running: AbortOnDropHandle<()>,
}

fn entry(at: &serde_json::Value) -> IssuerConfig {
    let mut entry = json!({ "name": "corp", "issuer": "corp", "audience": "tollgate", "algorithms": ["EdDSA"], "claim": "sub" });
    entry.as_object_mut().unwrap().extend(at.as_object().unwrap().clone());
    parse_issuers(&json!({ "issuers": [entry] }).to_string(), std::path::Path::new("/")).unwrap().remove(0)
}

fn feed_of(at: &serde_json::Value, times: FeedTimes) -> Fed {
    let keys = Arc::new(KeyFeed::of(&entry(at), times).unwrap());
    let run = Arc::clone(&keys);
    Fed { keys, _running: AbortOnDropHandle::new(tokio::spawn(async move { run.run(CancellationToken::new()).await })) }
}

fn feed(issuer: &TestIssuer, times: FeedTimes) -> Fed {
    feed_of(&json!({ "jwks_url": issuer.keys_url() }), times)
}

impl Fed {
    async fn says(&self, kid: &str) -> &'static str {
        match self.keys.key(kid).await {
            KeyAnswer::Key(_) => "key",
            KeyAnswer::Unknown => "unknown",
            KeyAnswer::Unavailable => "unavailable",
        }
    }

    async fn comes_to_say(&self, kid: &str, said: &str) {
        let give_up = Instant::now() + SOON;
        while self.says(kid).await != said {
            assert!(Instant::now() < give_up, "{kid} is {} and not {said}", self.says(kid).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn key(kid: &str) -> IssuerKey {
    IssuerKey::new(kid, Algorithm::EdDSA)
}

/// Times in which a test sees everything happen.
fn short() -> FeedTimes {
    let times = FeedTimes { retry: Duration::from_millis(20), keep_unsaid: Duration::from_millis(50), ..FeedTimes::default() };
    FeedTimes { keep: (Duration::from_millis(20), Duration::from_secs(3600)), ..times }
}

#[tokio::test]
async fn a_new_key_is_there_at_once_and_a_flood_of_names_that_nobody_has_makes_one_read_a_minute() {
    let issuer = TestIssuer::start(Reply::keys(&[&key("old")])).await;
    let fed = feed(&issuer, FeedTimes::default());
    // Who comes before the first read waits for it.
    assert_eq!((fed.says("old").await, issuer.requests()), ("key", 1));
    issuer.answers(Reply::keys(&[&key("new")]));
    assert_eq!(fed.says("new").await, "key");
    assert_eq!((fed.says("old").await, issuer.requests()), ("unknown", 2));
    let asked: Vec<_> = (0..500).map(|number| format!("made up {number}")).collect();
    let flood = asked.iter().map(|kid| fed.says(kid)).collect::<Vec<_>>();
    for said in flood {
        assert_eq!(said.await, "unknown");
    }
    assert_eq!((fed.says("new").await, issuer.requests()), ("key", 2));
}

#[tokio::test]
async fn names_that_nobody_has_and_that_come_together_make_one_read() {
    let issuer = TestIssuer::start(Reply::keys(&[&key("k")])).await;
    let fed = Arc::new(feed(&issuer, FeedTimes::default()));
    assert_eq!(fed.says("k").await, "key");
    let mut flood = tokio::task::JoinSet::new();
    for number in 0..200 {
        let fed = Arc::clone(&fed);
        flood.spawn(async move { fed.says(&number.to_string()).await });
    }
    assert!(flood.join_all().await.iter().all(|said| *said == "unknown"));
    assert_eq!(issuer.requests(), 2);
}

#[tokio::test]
async fn an_issuer_that_is_down_refuses_at_once_and_is_used_when_it_is_there_and_its_last_keys_meanwhile() {
    // Bound, and not listened on: nobody else is given it before the issuer is there.
    let reserved = tokio::net::TcpSocket::new_v4().unwrap();
    reserved.set_reuseaddr(true).unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = reserved.local_addr().unwrap();
    let fed = feed_of(&json!({ "jwks_url": format!("http://{address}/keys") }), short());
    assert_eq!(fed.says("k").await, "unavailable");
    let asked = Instant::now();
    for _ in 0..100 {
        assert_eq!(fed.says("k").await, "unavailable");
    }
    // One of them alone would take seconds that waits for an answer.
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    let issuer = TestIssuer::start_on(address, Reply::keys(&[&key("k")])).await;
    fed.comes_to_say("k", "key").await;
    issuer.answers(Reply::Whole { status: "503 Service Unavailable", headers: String::new(), body: String::new() });
    let asked = issuer.requests();
    while issuer.requests() < asked + 3 {
        assert_eq!(fed.says("k").await, "key");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn keys_that_were_not_read_again_for_a_day_are_used_no_longer() {
    let issuer = TestIssuer::start(Reply::keys(&[&key("k")])).await;
    let fed = feed(&issuer, FeedTimes { use_for: Duration::from_millis(300), ..short() });
    assert_eq!(fed.says("k").await, "key");
    issuer.answers(Reply::Whole { status: "500 Internal Server Error", headers: String::new(), body: String::new() });
    fed.comes_to_say("k", "unavailable").await;
    issuer.answers(Reply::keys(&[&key("k")]));
    fed.comes_to_say("k", "key").await;
    assert_eq!(FeedTimes::default().use_for, Duration::from_secs(24 * 3600));
}

#[tokio::test]
async fn an_issuer_that_never_answers_makes_nobody_wait_for_long() {
    let issuer = TestIssuer::start(Reply::Silence).await;
    let fed = feed(&issuer, FeedTimes { wait: Duration::from_millis(200), ..short() });
    let asked = Instant::now();
    assert_eq!(fed.says("k").await, "unavailable");
    // Before the read is given up.
    assert!(asked.elapsed() < super::jwks_source::TIMEOUT, "{:?}", asked.elapsed());
    issuer.answers(Reply::keys(&[&key("k")]));
    // The read that got no answer is given up.
    fed.comes_to_say("k", "key").await;
}

#[tokio::test]
async fn an_answer_of_megabytes_is_given_up_and_so_is_a_redirect_and_what_is_no_set_of_keys() {
    let issuer = TestIssuer::start(Reply::Endless).await;
    let times = FeedTimes { retry: Duration::from_secs(60), ..short() };
    let fed = feed(&issuer, times);
    assert_eq!(fed.says("k").await, "unavailable");
    // What the sockets between took beside.
    assert!(issuer.sent() < 16 << 20, "{}", issuer.sent());
    let elsewhere = TestIssuer::start(Reply::keys(&[&key("k")])).await;
    let long = json!({ "keys": [key("k").jwk()], "padding": "x".repeat(300_000) }).to_string();
    let good = json!({ "keys": [key("k").jwk()] }).to_string();
    for (status, headers, body) in [
        ("302 Found", format!("location: {}\r\n", elsewhere.keys_url()), good.clone()),
        ("307 Temporary Redirect", format!("location: {}\r\n", elsewhere.keys_url()), String::new()),
        ("200 OK", String::new(), long),
        ("200 OK", String::new(), "<html>".to_owned()),
        ("200 OK", String::new(), String::new()),
        ("404 Not Found", String::new(), good.clone()),
        ("201 Created", String::new(), good),
    ] {
        let issuer = TestIssuer::start(Reply::Whole { status, headers, body }).await;
        assert_eq!(feed(&issuer, times).says("k").await, "unavailable", "{status}");
        assert_eq!(issuer.requests(), 1, "{status}");
    }
    assert_eq!(elsewhere.requests(), 0);
}

#[tokio::test]
async fn keys_are_read_again_when_their_server_says_so_and_a_key_that_was_taken_back_is_refused() {
    let reply = |keys: &[&IssuerKey]| match Reply::keys(keys) {
        Reply::Whole { status, body, .. } => Reply::Whole { status, body, headers: "cache-control: max-age=0\r\n".to_owned() },
        other => other,
    };
    let (kept, leaked) = (key("kept"), key("leaked"));
    let issuer = TestIssuer::start(reply(&[&kept, &leaked])).await;
    let fed = feed(&issuer, FeedTimes { keep_unsaid: SOON, ..short() });
    assert_eq!(fed.says("leaked").await, "key");
    issuer.answers(reply(&[&kept]));
    fed.comes_to_say("leaked", "unknown").await;
    assert_eq!(fed.says("kept").await, "key");
}

#[tokio::test]
async fn keys_in_a_file_are_read_anew_and_a_file_that_is_too_long_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let write = |keys: &[&IssuerKey]| {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        std::fs::write(&path, json!({ "keys": keys }).to_string()).unwrap();
    };
    write(&[&key("old")]);
    let fed = feed_of(&json!({ "jwks_file": path }), short());
    assert_eq!(fed.says("old").await, "key");
    write(&[&key("new")]);
    fed.comes_to_say("new", "key").await;
    fed.comes_to_say("old", "unknown").await;
    let endless = feed_of(&json!({ "jwks_file": "/dev/zero" }), short());
    assert_eq!(endless.says("k").await, "unavailable");
}

//! Metadata is judged before a body is read, and a body is read within bounds.

use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::join_all;
use http::StatusCode;
use integration::hostile_http1::{HostileHttp1, chunk, head, request};
use integration::polling::{SOON, until};
use shared::credential_form::to_bearer;
use tokio::time::timeout;

use crate::server::{MIB, Plan, Server, good_key, key, refusal, text_of};

fn refused(status: u16, code: &str) -> (StatusCode, String) {
    (StatusCode::from_u16(status).unwrap(), code.to_owned())
}

#[tokio::test]
async fn a_credential_is_judged_before_a_byte_of_the_body_is_asked_for() {
    let server = Server::start().await;
    let (made_up, mistyped) = (to_bearer(&key("Zz19")), to_bearer(&good_key().replace('a', "b")));
    let long = (31 * MIB).to_string();
    let announced = [("content-length", long.as_str()), ("expect", "100-continue")];
    for (credential, code) in [
        (vec![], "CREDENTIAL_MISSING"),
        (vec![("authorization", "Bearer nonsense")], "CREDENTIAL_INVALID"),
        (vec![("authorization", "Basic dXNlcjpwYXNz")], "CREDENTIAL_INVALID"),
        (vec![("authorization", mistyped.as_str())], "CREDENTIAL_INVALID"),
        (vec![("authorization", made_up.as_str())], "CREDENTIAL_INVALID"),
        (vec![("x-api-key", "nonsense")], "CREDENTIAL_INVALID"),
        (vec![("x-api-key", &good_key()), ("authorization", made_up.as_str())], "CREDENTIAL_INVALID"),
        (vec![("authorization", made_up.as_str()), ("authorization", made_up.as_str())], "CREDENTIAL_INVALID"),
    ] {
        let mut http1 = HostileHttp1::connect(server.address).await;
        http1.send(&head("POST", "/echo", &[&credential[..], &announced].concat())).await;
        let (status, headers) = http1.head().await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "no interim response: {credential:?}");
        assert_eq!(headers["www-authenticate"], "Bearer");
        let length = headers["content-length"].to_str().unwrap();
        assert_ne!(length, "0", "{code}");
    }
    assert_eq!(server.confirmed.load(Ordering::Relaxed), 0, "their form tells, or the handler");
    // Whoever is let in is asked for the body.
    let mut http1 = HostileHttp1::connect(server.address).await;
    let text = text_of(10);
    let (key, length) = (good_key(), text.len().to_string());
    http1.send(&head("POST", "/echo", &[("x-api-key", &key), ("content-length", &length), ("expect", "100-continue")])).await;
    assert_eq!(http1.head().await.0, StatusCode::CONTINUE);
    http1.send(&text).await;
    assert_eq!(http1.response(false).await.json()["bytes"], 10);
}

#[tokio::test]
async fn more_than_64_kib_are_read_only_of_a_caller_who_is_confirmed() {
    let server = Server::start().await;
    let good = to_bearer(&good_key());
    let text = text_of(MIB);
    let mut http1 = HostileHttp1::connect(server.address).await;
    let answer = http1.call("POST", "/echo", &[("authorization", &good)], &text).await;
    assert_eq!(answer.json()["bytes"], MIB);
    assert_eq!(server.confirmed.load(Ordering::Relaxed), 1);
    let mut sent = head("POST", "/echo", &[("authorization", &good), ("transfer-encoding", "chunked")]);
    text.chunks(50_000).for_each(|piece| sent.extend(chunk(piece)));
    sent.extend(b"0\r\n\r\n");
    http1.send(&sent).await;
    assert_eq!(http1.response(false).await.json()["bytes"], MIB);
    assert_eq!(server.confirmed.load(Ordering::Relaxed), 2);
    // What is short asks nobody.
    assert_eq!(http1.call("POST", "/echo", &[("authorization", &good)], &text_of(60_000)).await.status, StatusCode::OK);
    assert_eq!(server.confirmed.load(Ordering::Relaxed), 2);
    // Nobody is confirmed where anybody may call.
    let answer = http1.call("POST", "/open", &[], &text_of(20_000)).await;
    assert_eq!(refusal(&answer), refused(413, "MESSAGE_TOO_LARGE"));
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_by_what_it_announces_or_once_it_is() {
    let server = Server::start().await;
    let good = to_bearer(&good_key());
    for length in [33 * MIB, usize::MAX / 4] {
        let mut http1 = HostileHttp1::connect(server.address).await;
        http1.send(&head("POST", "/echo", &[("authorization", &good), ("content-length", &length.to_string())])).await;
        assert_eq!(refusal(&http1.response(false).await), refused(413, "MESSAGE_TOO_LARGE"));
    }
    let mut http1 = HostileHttp1::connect(server.address).await;
    http1.send(&head("POST", "/open", &[("transfer-encoding", "chunked")])).await;
    http1.send_what_is_taken(&chunk(&vec![b'x'; 16 << 10])).await;
    http1.send_what_is_taken(&chunk(b"x")).await;
    assert_eq!(refusal(&http1.response(false).await), refused(413, "MESSAGE_TOO_LARGE"));
}

#[tokio::test]
async fn a_refusal_is_read_by_a_client_that_is_still_sending() {
    let server = Server::start().await;
    for _ in 0..10 {
        let mut http1 = HostileHttp1::connect(server.address).await;
        // Written whole before a byte of the answer is read.
        http1.send(&request("POST", "/echo", &[("authorization", "Bearer nonsense")], &text_of(8 * MIB))).await;
        assert_eq!(refusal(&http1.response(false).await), refused(401, "CREDENTIAL_INVALID"));
    }
}

#[tokio::test]
async fn a_slow_body_is_given_up() {
    let server = Server::start().await;
    let heads = [
        head("POST", "/open", &[("content-length", "100")]),
        head("POST", "/open", &[("transfer-encoding", "chunked")]),
        head("POST", "/echo", &[("x-api-key", &good_key()), ("content-length", "60000")]),
    ];
    let began = Instant::now();
    let answers = join_all(heads.iter().map(|head| async {
        let mut http1 = HostileHttp1::connect(server.address).await;
        http1.send(head).await;
        http1.send(b"2\r\n{\"").await;
        http1.response(false).await
    }));
    for answer in timeout(SOON, answers).await.expect("after 10 s") {
        assert_eq!(refusal(&answer), refused(408, "MESSAGE_TOO_SLOW"));
    }
    assert!(began.elapsed() > Duration::from_secs(9));
}

#[tokio::test]
async fn what_is_received_at_a_time_has_a_budget_and_the_others_are_told_to_come_again() {
    let server = Server::start().await;
    let good = to_bearer(&good_key());
    let headers = [("authorization", good.as_str()), ("content-length", "32505856"), ("expect", "100-continue")];
    let mut begun = Vec::new();
    for _ in 0..4 {
        let mut http1 = HostileHttp1::connect(server.address).await;
        http1.send(&head("POST", "/echo", &headers)).await;
        assert_eq!(http1.head().await.0, StatusCode::CONTINUE);
        begun.push(http1);
    }
    let one_more = async || {
        let mut http1 = HostileHttp1::connect(server.address).await;
        http1.send(&head("POST", "/echo", &headers)).await;
        http1.head().await
    };
    let (status, headers) = one_more().await;
    assert_eq!((status, headers["retry-after"].to_str().unwrap()), (StatusCode::TOO_MANY_REQUESTS, "1"));
    assert!(!headers.contains_key("x-should-retry"), "it may be repeated");
    // What was taken goes back with the connections.
    drop(begun);
    until("the budget's return", SOON, || async { (one_more().await.0 == StatusCode::CONTINUE).then_some(()) }).await;
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn gzip_is_taken_within_the_bounds_of_what_it_stands_for_and_other_compressions_are_refused_by_words() {
    let server = Server::start().await;
    let good = to_bearer(&good_key());
    let mut http1 = HostileHttp1::connect(server.address).await;
    for encoding in ["deflate", "zstd", "br", "gzip, gzip", "identity, gzip"] {
        let answer = http1.call("POST", "/open", &[("content-encoding", encoding)], &text_of(1)).await;
        assert_eq!(refusal(&answer), refused(415, "COMPRESSION_UNKNOWN"), "{encoding}");
        assert!(answer.json()["message"].as_str().unwrap().contains("content-encoding"));
    }
    let answer = http1.call("POST", "/open", &[("content-encoding", "identity")], &text_of(1)).await;
    assert_eq!(answer.status, StatusCode::OK);
    let headers = [("content-encoding", "gzip"), ("authorization", good.as_str())];
    for (bytes, asked) in [(10, 0), (60_000, 0), (70_000, 1), (5 * MIB, 2)] {
        assert_eq!(http1.call("POST", "/echo", &headers, &gzipped(&text_of(bytes))).await.json()["bytes"], bytes);
        assert_eq!(server.confirmed.load(Ordering::Relaxed), asked, "confirmed by what it becomes");
    }
    let made_up = to_bearer(&key("Zz19"));
    let bomb = gzipped(&vec![b' '; 256 * MIB]);
    for (authorization, refusal_of) in [(&good, refused(413, "MESSAGE_TOO_LARGE")), (&made_up, refused(401, "CREDENTIAL_INVALID"))] {
        let mut http1 = HostileHttp1::connect(server.address).await;
        let answer = http1.call("POST", "/echo", &[("content-encoding", "gzip"), ("authorization", authorization)], &bomb).await;
        assert_eq!(refusal(&answer), refusal_of);
    }
    let answer = http1.call("POST", "/open", &[("content-encoding", "gzip")], &gzipped(&text_of(20_000))).await;
    assert_eq!(refusal(&answer), refused(413, "MESSAGE_TOO_LARGE"));
    let answer = http1.call("POST", "/open", &[("content-encoding", "gzip")], &text_of(1)).await;
    assert_eq!(refusal(&answer), refused(400, "MESSAGE_MALFORMED"));
}

#[tokio::test]
async fn json_is_taken_whatever_it_is_called_and_a_form_only_as_one() {
    let server = Server::start().await;
    let mut http1 = HostileHttp1::connect(server.address).await;
    for kind in ["application/json", "application/x-www-form-urlencoded", "text/plain"] {
        let answer = http1.call("POST", "/open", &[("content-type", kind)], &text_of(3)).await;
        assert_eq!(answer.json()["bytes"], 3, "{kind}");
    }
    let form = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
    assert_eq!(http1.call("POST", "/form", &form, b"text=a%20b+c").await.text(), "a b c");
    let answer = http1.call("POST", "/form", &[("content-type", "application/json")], b"{}").await;
    assert_eq!(refusal(&answer), refused(415, "MESSAGE_MALFORMED"));
    let answer = http1.call("POST", "/open", &[], b"").await;
    assert_eq!(refusal(&answer), refused(400, "MESSAGE_MALFORMED"));
}

#[tokio::test]
async fn a_listed_proxy_says_who_calls_over_http_and_nobody_else_does() {
    let proxied = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &[203, 0, 113, 7, 127, 0, 0, 1, 1, 0, 1, 0][..]].concat();
    for (proxies, named) in [("127.0.0.0/8", true), ("192.0.2.1", false)] {
        let server = Server::planned(Plan { proxies, ..Plan::default() }).await;
        let mut http1 = HostileHttp1::connect(server.address).await;
        let answer = http1.call("POST", "/open", &[("x-forwarded-for", "198.51.100.1, 203.0.113.7")], &text_of(1)).await;
        assert_eq!(answer.json()["address"], if named { "203.0.113.7" } else { "127.0.0.1" });
        let mut http1 = HostileHttp1::connect(server.address).await;
        http1.send(&proxied).await;
        let answer = http1.call("POST", "/open", &[("x-forwarded-for", "198.51.100.1")], &text_of(1)).await;
        assert_eq!(answer.json()["address"], if named { "203.0.113.7" } else { "127.0.0.1" }, "the header alone counts, and once");
    }
}

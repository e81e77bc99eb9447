//! What a body may be, and what it costs before its caller is known.

use std::io::Write;
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use integration::hostile_http1::{HostileHttp1, chunk, head};
use integration::polling::SOON;
use integration::processes::ServiceProcess;
use integration::raw_http2::RawHttp2;
use integration::stack::PASSWORD;
use serde_json::json;
use shared::credential_form::{API_KEY_PREFIX, checksum, to_bearer};

use crate::stage::*;

const MIB: usize = 1 << 20;
const EMBED: &str = "/tollgate.inference.v1.Inference/Embed";

/// A key whose form and checksum are right, and which nobody has.
fn made_up_key() -> String {
    let body = format!("{API_KEY_PREFIX}{}", "Zz19".repeat(10));
    to_bearer(&format!("{body}{}", std::str::from_utf8(&checksum(&body)).unwrap()))
}

/// A figure of a process in KiB, by its name in `/proc/PID/status`.
fn memory_kib(process: &ServiceProcess, figure: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(figure)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The most memory that a process takes more while this works, in KiB.
async fn peak_kib(process: &ServiceProcess, work: impl Future<Output = ()>) -> usize {
    let before = memory_kib(process, "VmRSS");
    // From here on the peak counts anew.
    std::fs::write(format!("/proc/{}/clear_refs", process.pid()), "5").unwrap();
    work.await;
    memory_kib(process, "VmHWM").saturating_sub(before)
}

#[tokio::test]
async fn a_call_is_judged_by_its_headers_before_a_byte_of_its_body_comes() {
    let stage = Stage::set().await;
    let (mistyped, made_up) = (to_bearer(&format!("{}x", stage.key)), made_up_key());
    for (authorization, expected) in [
        (None, "CREDENTIAL_MISSING"),
        (Some("Bearer nonsense"), "CREDENTIAL_INVALID"),
        (Some(mistyped.as_str()), "CREDENTIAL_INVALID"),
        // Its form is right: it is asked about once the body says that it is long.
        (Some(made_up.as_str()), "CREDENTIAL_INVALID"),
    ] {
        let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
        let length = [&[JSON, ("content-length", "30000000")], &headers[..]].concat();
        let mut connection = HostileHttp1::connect(stage.inference()).await;
        connection.send(&head("POST", EMBED, &length)).await;
        let answer = Whole::read(connection).await;
        assert_eq!((answer.status, reason(&answer.json()).as_str()), (401, expected), "{authorization:?}");
        // The same in chunks, which don't say how long they become.
        let chunked = [&[JSON, ("transfer-encoding", "chunked")], &headers[..]].concat();
        let mut connection = HostileHttp1::connect(stage.inference()).await;
        connection.send(&head("POST", EMBED, &chunked)).await;
        if authorization == Some(made_up.as_str()) {
            connection.send_what_is_taken(&chunk(&vec![b' '; (64 << 10) + 1])).await;
        }
        let answer = Whole::read(connection).await;
        assert_eq!((answer.status, reason(&answer.json()).as_str()), (401, expected), "{authorization:?}");
    }
}

#[tokio::test]
async fn a_connection_that_closes_after_a_refusal_says_so_and_any_other_goes_on() {
    let stage = Stage::set().await;
    let bearer = ("authorization", stage.bearer.as_str());
    for (path, headers, body, status, closes) in [
        (BALANCE, vec![JSON], &b"{}"[..], 401, true),
        ("/tollgate.auth.v1.Accounts/Nope", vec![JSON], b"{}", 404, true),
        (BALANCE, vec![("content-type", "text/plain"), bearer], b"{}", 415, true),
        (BALANCE, vec![JSON, bearer], b"{", 400, false),
        (BALANCE, vec![JSON, bearer], b"{}", 200, false),
    ] {
        let length = body.len().to_string();
        let head = head("POST", path, &[&headers[..], &[("content-length", length.as_str())]].concat());
        if closes {
            // The body comes when the answer is there: as of a client that writes it by itself.
            let mut connection = HostileHttp1::connect(stage.auth()).await;
            connection.send(&head).await;
            let answer = connection.response(false).await;
            assert_eq!((answer.status.as_u16(), answer.header("connection")), (status, "close"), "{path} {answer:?}");
            connection.send_what_is_taken(body).await;
            assert!(connection.is_closed().await);
        }
        let mut connection = HostileHttp1::connect(stage.auth()).await;
        connection.send(&[&head[..], body].concat()).await;
        let answer = connection.response(false).await;
        assert_eq!((answer.status.as_u16(), answer.header("connection")), (status, ""), "{path} {answer:?}");
        assert_eq!(connection.call("POST", BALANCE, &[JSON, bearer], b"{}").await.status.as_u16(), 200, "after {status}");
    }
}

#[tokio::test]
async fn a_long_message_is_taken_whole_once_its_caller_is_confirmed() {
    let stage = Stage::set().await;
    let bearer = ("authorization", stage.bearer.as_str());
    let long = chat(&"word ".repeat(300 << 10));
    let body = envelope(&long);
    let mut connection = HostileHttp1::connect(stage.inference()).await;
    connection.send(&head("POST", CHAT, &[STREAM_JSON, bearer, ("transfer-encoding", "chunked")])).await;
    for piece in body.chunks(100_000).chain([&[][..]]) {
        connection.send_what_is_taken(&chunk(piece)).await;
    }
    let answer = Whole::read(connection).await;
    assert_eq!(envelopes(&answer.body).last().unwrap(), &(2, json!({})), "{answer:?}");
    let sent = stage.upstream.request("/api/chat", 0).await.json();
    assert_eq!(sent["messages"][0]["content"].as_str().unwrap().len(), 5 * (300 << 10));
    // Bare messages: with their length, in chunks, and over HTTP/2 without a length.
    let inputs = json!({ "model": "nosuch", "inputs": ["word ".repeat(300 << 10)] }).to_string();
    let expected = call(stage.inference(), "POST", EMBED, &[JSON, bearer], br#"{"model":"nosuch","inputs":["word"]}"#).await;
    assert_eq!(expected.status, 404);
    let with_length = call(stage.inference(), "POST", EMBED, &[JSON, bearer], inputs.as_bytes()).await;
    assert_eq!((with_length.status, with_length.json()["code"].clone()), (expected.status, expected.json()["code"].clone()));
    let mut connection = HostileHttp1::connect(stage.inference()).await;
    connection.send(&head("POST", EMBED, &[JSON, bearer, ("transfer-encoding", "chunked")])).await;
    for piece in inputs.as_bytes().chunks(100_000).chain([&[][..]]) {
        connection.send_what_is_taken(&chunk(piece)).await;
    }
    let chunked = Whole::read(connection).await;
    assert_eq!((chunked.status, chunked.body), (expected.status, with_length.body.clone()));
    let http2 = RawHttp2::connect(stage.inference()).await.plain("POST", EMBED, &[JSON, bearer], inputs.as_bytes()).await;
    assert_eq!((http2.status().as_u16(), http2.body()), (expected.status, &with_length.body));
}

#[tokio::test]
async fn what_is_longer_than_its_method_takes_is_refused_unread() {
    let stage = Stage::set().await;
    let long = json!({ "user_name": "a".repeat(MIB), "password": PASSWORD }).to_string();
    let answer = call(stage.auth(), "POST", LOGIN, &[JSON], long.as_bytes()).await;
    assert_eq!((answer.status, reason(&answer.json()).as_str()), (429, "MESSAGE_TOO_LARGE"));
    let mut connection = HostileHttp1::connect(stage.inference()).await;
    let headers = [JSON, ("authorization", stage.bearer.as_str()), ("content-length", "4000000000")];
    connection.send(&head("POST", MODELS, &headers)).await;
    let answer = Whole::read(connection).await;
    assert_eq!((answer.status, reason(&answer.json()).as_str()), (429, "MESSAGE_TOO_LARGE"));
    let bearer = ("authorization", stage.bearer.as_str());
    let query = format!("{MODELS}?encoding=json&message={}", "%20".repeat(20 << 10));
    let answer = call(stage.inference(), "GET", &query, &[bearer], b"").await;
    assert!((400..500).contains(&answer.status), "{answer:?}");
}

#[tokio::test]
async fn a_bomb_of_json_or_gzip_takes_no_memory() {
    let stage = Stage::set().await;
    let bearer = ("authorization", stage.bearer.as_str());
    let elements = format!(r#"{{"model":"smollm2","messages":[{}{{}}]}}"#, "{},".repeat(8 * MIB / 3));
    let deep = format!(r#"{{"nobody":{}"#, "[".repeat(8 * MIB));
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![b' '; 300 * MIB]).unwrap();
    let gzip = encoder.finish().unwrap();
    assert!(gzip.len() < MIB);
    let peak = peak_kib(&stage.pair.inference, async {
        for bomb in [&elements, &deep] {
            let body = integration::raw_http2::prefixed(bomb.as_bytes());
            let answer = call(stage.inference(), "POST", CHAT, &[STREAM_JSON, bearer], &body).await;
            let error = &envelopes(&answer.body)[0].1["error"];
            assert_eq!(reason(error), "MESSAGE_MALFORMED", "{error}");
        }
        let zipped = [JSON, bearer, ("content-encoding", "gzip")];
        let answer = call(stage.inference(), "POST", EMBED, &zipped, &gzip).await;
        assert_eq!(reason(&answer.json()), "MESSAGE_TOO_LARGE");
    })
    .await;
    assert!(peak < 64 << 10, "{peak} KiB");
    let peak = peak_kib(&stage.pair.auth, async {
        let answer = call(stage.auth(), "POST", LOGIN, &[JSON, ("content-encoding", "gzip")], &gzip).await;
        assert_eq!(reason(&answer.json()), "MESSAGE_TOO_LARGE");
    })
    .await;
    assert!(peak < 16 << 10, "{peak} KiB");
    // Few enough values, and more elements than the field takes: the contract's own limit.
    let many = format!(r#"{{"model":"smollm2","tools":[{}{{}}]}}"#, "{},".repeat(300));
    let body = integration::raw_http2::prefixed(many.as_bytes());
    let answer = call(stage.inference(), "POST", CHAT, &[STREAM_JSON, bearer], &body).await;
    let error = &envelopes(&answer.body)[0].1["error"];
    assert!(reason(error) == "INVALID_ARGUMENT" && error["message"].as_str().unwrap().contains("tools"), "{error}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for_beyond_its_time() {
    let stage = Stage::set().await;
    let began = Instant::now();
    let mut connection = HostileHttp1::connect(stage.auth()).await;
    connection.send(&head("POST", LOGIN, &[JSON, ("content-length", "20")])).await;
    connection.send(b"{").await;
    let answer = Whole::read(connection).await;
    assert_eq!((answer.status, reason(&answer.json()).as_str()), (504, "MESSAGE_TOO_SLOW"));
    assert!(began.elapsed() < SOON);
}

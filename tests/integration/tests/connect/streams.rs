//! Answers that stream.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::BytesMut;
use integration::polling::{SOON, until};
use integration::raw_http2::{RawHttp2, prefixed};
use integration::scripted_upstream::{Gate, Script};
use prost::Message;
use serde_json::{Value, json};
use shared::proto::inference::chat_event::Event;
use shared::proto::inference::{ChatEvent, ChatRequest, Receipt};

use crate::stage::*;

const GENERATE: &str = "/tollgate.inference.v1.Inference/Generate";

/// The envelopes of an answer as they come.
struct Stream {
    answer: Begun,
    read: BytesMut,
}

impl Stream {
    async fn open(stage: &Stage, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let headers = [headers, &[("authorization", stage.bearer.as_str())]].concat();
        let answer = Begun::call(stage.inference(), path, &headers, body).await;
        Self { answer, read: BytesMut::new() }
    }

    /// The next flag and message; `None` at the body's end.
    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let [flag, a, b, c, d, ..] = *self.read {
                let length = 5 + u32::from_be_bytes([a, b, c, d]) as usize;
                if self.read.len() >= length {
                    return Some((flag, self.read.split_to(length)[5..].to_vec()));
                }
            }
            let piece = self.answer.piece().await;
            assert!(piece.is_some() || self.read.is_empty(), "an envelope is cut off");
            self.read.extend_from_slice(&piece?);
        }
    }

    async fn json(&mut self) -> (u8, Value) {
        let (flag, message) = self.next().await.unwrap();
        (flag, serde_json::from_slice(&message).unwrap())
    }

    async fn rest(mut self) -> Vec<(u8, Value)> {
        let mut rest = Vec::new();
        while let Some((flag, message)) = self.next().await {
            rest.push((flag, serde_json::from_slice(&message).unwrap()));
        }
        rest
    }
}

async fn settled(stage: &Stage) -> i64 {
    until("the hold to be settled", SOON, || async {
        let balance = stage.pair.balance(&stage.key).await?;
        (balance.held_credits() == 0).then_some(balance.spent_credits())
    })
    .await
}

#[tokio::test]
async fn a_chat_comes_piece_by_piece_as_json() {
    let stage = Stage::set().await;
    let gate = Gate::new();
    stage.upstream.script("/api/chat", Script::stream().gated_tokens(&gate, &["one ", "two"]).gate(&gate).done("stop", 14, 2));
    let mut stream = Stream::open(&stage, CHAT, &[STREAM_JSON], &envelope(&chat("count"))).await;
    assert_eq!((stream.answer.status, &stream.answer.headers["content-type"]), (200, &"application/connect+json".parse().unwrap()));
    let (flag, started) = stream.json().await;
    assert!(flag == 0 && started["started"]["heldCredits"] == "1" && started["started"]["model"] == "smollm2", "{started}");
    for text in ["one ", "two"] {
        gate.open(1);
        assert_eq!(stream.json().await, (0, json!({ "delta": { "content": text } })), "it comes before the next is made");
    }
    gate.open(1);
    let (_, finished) = stream.json().await;
    assert_eq!(finished["finished"]["reason"], "FINISH_REASON_STOP", "{finished}");
    assert_eq!(finished["finished"]["usage"]["outputTokens"], 2, "{finished}");
    assert_eq!(finished["finished"]["receipt"]["chargedCredits"], "1", "{finished}");
    assert_eq!(stream.json().await, (2, json!({})));
    assert!(stream.next().await.is_none(), "the last envelope is the last");
    assert_eq!(stage.available().await, 9);
}

#[tokio::test]
async fn a_chat_comes_piece_by_piece_as_protobuf_and_a_prompt_does() {
    let stage = Stage::set().await;
    let gate = Gate::new();
    stage.upstream.script("/api/chat", Script::stream().gated_tokens(&gate, &["one"]).gate(&gate).done("stop", 14, 1));
    let request: ChatRequest = integration::stack::chat_request("smollm2", "count");
    let kind = ("content-type", "application/connect+proto");
    let mut stream = Stream::open(&stage, CHAT, &[kind], &prefixed(&request.encode_to_vec())).await;
    let event = |(flag, message): (u8, Vec<u8>)| (flag, ChatEvent::decode(message.as_slice()).unwrap().event.unwrap());
    assert!(matches!(event(stream.next().await.unwrap()), (0, Event::Started(_))));
    gate.open(1);
    assert!(matches!(event(stream.next().await.unwrap()), (0, Event::Delta(delta)) if delta.content == "one"));
    gate.open(1);
    assert!(matches!(event(stream.next().await.unwrap()), (0, Event::Finished(_))));
    assert_eq!(stream.next().await.unwrap(), (2, b"{}".to_vec()), "the end is JSON in either codec");
    let prompt = json!({ "model": "smollm2", "prompt": "go on", "maxOutputTokens": 5, "requestId": "mine" });
    let events = Stream::open(&stage, GENERATE, &[STREAM_JSON], &envelope(&prompt)).await.rest().await;
    assert_eq!(events[0].1["started"]["requestId"], "mine", "{events:?}");
    assert_eq!(events.last().unwrap(), &(2, json!({})));
    // The same request once more: what it was, and nothing charged.
    let before = stage.available().await;
    let replayed = Stream::open(&stage, GENERATE, &[STREAM_JSON], &envelope(&prompt)).await.rest().await;
    assert_eq!(replayed[1].1["finished"]["replayed"], true, "{replayed:?}");
    assert_eq!(stage.available().await, before);
}

#[tokio::test]
async fn a_stream_that_is_refused_or_fails_says_so_in_its_last_envelope() {
    let stage = Stage::set().await;
    let broken = Stream::open(&stage, CHAT, &[STREAM_JSON], b"{\"model\":\"smollm2\"}").await.rest().await;
    assert_eq!(reason(&broken[0].1["error"]), "MESSAGE_MALFORMED", "without an envelope: {broken:?}");
    for (body, expected) in [
        (envelope(&json!({ "model": "nope", "messages": [{ "role": "user", "content": "x" }] })), ("not_found", "MODEL_NOT_FOUND")),
        (envelope(&json!({ "model": "smollm2" })), ("invalid_argument", "INVALID_ARGUMENT")),
        (envelope(&json!({ "model": 5 })), ("invalid_argument", "INVALID_ARGUMENT")),
        ([envelope(&chat("a")), envelope(&chat("b"))].concat(), ("invalid_argument", "MESSAGE_MALFORMED")),
        (envelope(&chat("a"))[..20].to_vec(), ("invalid_argument", "MESSAGE_MALFORMED")),
        (Vec::new(), ("invalid_argument", "MESSAGE_MALFORMED")),
        ([&[2][..], &envelope(&chat("a"))[1..]].concat(), ("invalid_argument", "MESSAGE_MALFORMED")),
        ([&[1][..], &envelope(&chat("a"))[1..]].concat(), ("invalid_argument", "MESSAGE_MALFORMED")),
    ] {
        let stream = Stream::open(&stage, CHAT, &[STREAM_JSON], &body).await;
        assert_eq!(stream.answer.status, 200, "streams have no other");
        let [(2, end)] = &stream.rest().await[..] else { panic!("more than the end") };
        assert_eq!((end["error"]["code"].as_str().unwrap(), reason(&end["error"]).as_str()), expected, "{end}");
    }
    let nobody = call(stage.inference(), "POST", CHAT, &[STREAM_JSON], &envelope(&chat("a"))).await;
    let [(2, end)] = &envelopes(&nobody.body)[..] else { panic!("more than the end") };
    assert_eq!((&end["error"]["code"], reason(&end["error"]).as_str()), (&json!("unauthenticated"), "CREDENTIAL_MISSING"));
    // Cut in the middle: what it had cost is among the details.
    stage.upstream.script_once("/api/chat", Script::stream().token("one").cut());
    let events = Stream::open(&stage, CHAT, &[STREAM_JSON], &envelope(&chat("a"))).await.rest().await;
    assert_eq!(events[1].1, json!({ "delta": { "content": "one" } }));
    let error = &events.last().unwrap().1["error"];
    assert_eq!((&error["code"], reason(error).as_str()), (&json!("unavailable"), "UPSTREAM_UNAVAILABLE"));
    let receipt = error["details"].as_array().unwrap().iter().find(|one| one["type"] == "tollgate.inference.v1.Receipt").unwrap();
    let value = STANDARD_NO_PAD.decode(receipt["value"].as_str().unwrap()).unwrap();
    assert_eq!(Receipt::decode(value.as_slice()).unwrap().charged_credits, Some(1));
    assert_eq!(receipt["debug"]["chargedCredits"], "1");
    // Until nothing is left.
    while stage.available().await > 0 {
        assert_eq!(Stream::open(&stage, CHAT, &[STREAM_JSON], &envelope(&chat("a"))).await.rest().await.last().unwrap().1, json!({}));
    }
    let [(2, end)] = &Stream::open(&stage, CHAT, &[STREAM_JSON], &envelope(&chat("a"))).await.rest().await[..] else { panic!("credits") };
    assert_eq!((&end["error"]["code"], reason(&end["error"]).as_str()), (&json!("resource_exhausted"), "INSUFFICIENT_CREDITS"));
}

#[tokio::test]
async fn a_stream_over_http_2_is_the_same_and_one_that_is_reset_is_noticed() {
    let stage = Stage::set().await;
    let http2 = RawHttp2::connect(stage.inference()).await;
    let headers = [STREAM_JSON, ("authorization", stage.bearer.as_str())];
    let answer = http2.plain("POST", CHAT, &headers, &envelope(&chat("hi"))).await;
    let events = envelopes(answer.body());
    assert!(answer.status() == 200 && events[0].1["started"].is_object(), "{events:?}");
    assert_eq!(events.last().unwrap(), &(2, json!({})));
    stage.upstream.script("/api/chat", Script::stream().token("one").stall());
    let body = envelope(&chat("slow"));
    let left = http2.plain("POST", CHAT, &headers, &body);
    let request = async { stage.upstream.request("/api/chat", 1).await };
    let request = tokio::select! {
        _ = left => panic!("it never ends by itself"),
        request = request => request,
    };
    // Whoever drops an answer resets its stream.
    request.client_closed().await;
    assert_eq!(stage.available().await, 8);
}

#[tokio::test]
async fn a_deadline_ends_a_stream_as_grpcs_does() {
    let stage = Stage::set().await;
    stage.upstream.script("/api/chat", Script::stream().token("one").stall());
    let headers = [STREAM_JSON, ("connect-timeout-ms", "5000")];
    let events = Stream::open(&stage, CHAT, &headers, &envelope(&chat("slow"))).await.rest().await;
    let error = &events.last().unwrap().1["error"];
    assert_eq!((&error["code"], reason(error).as_str()), (&json!("deadline_exceeded"), "DEADLINE_EXCEEDED"));
    assert_eq!(settled(&stage).await, 1);
    stage.upstream.request("/api/chat", 0).await.client_closed().await;
}

#[tokio::test]
async fn a_caller_that_leaves_is_noticed_and_pays_what_it_read() {
    let stage = Stage::set().await;
    stage.upstream.script("/api/chat", Script::stream().token("one").stall());
    let mut stream = Stream::open(&stage, CHAT, &[STREAM_JSON], &envelope(&chat("slow"))).await;
    stream.json().await;
    stream.json().await;
    drop(stream);
    stage.upstream.request("/api/chat", 0).await.client_closed().await;
    assert_eq!(settled(&stage).await, 1);
}

#[tokio::test]
async fn a_call_leaves_its_line_in_the_log_whether_it_is_refused_before_or_by_its_method() {
    let stage = Stage::set().await;
    let id = |id: &'static str| ("x-request-id", id);
    let body = envelope(&chat("hi"));
    Stream::open(&stage, CHAT, &[STREAM_JSON, id("well-ended")], &body).await.rest().await;
    Stream::open(&stage, CHAT, &[STREAM_JSON, id("bad-timeout"), ("connect-timeout-ms", "x")], &body).await.rest().await;
    Stream::open(&stage, CHAT, &[STREAM_JSON, id("bad-message")], &envelope(&json!({ "messages": 1 }))).await.rest().await;
    call(stage.inference(), "POST", CHAT, &[STREAM_JSON, id("no-key")], &body).await;
    for (id, outcome, reason) in [
        ("well-ended", "completed", Value::Null),
        ("bad-timeout", "refused", json!("INVALID_ARGUMENT")),
        ("bad-message", "refused", json!("INVALID_ARGUMENT")),
        ("no-key", "refused", json!("CREDENTIAL_MISSING")),
    ] {
        let is_it = |line: &&Value| line["target"] == "call" && line["x_request_id"] == id;
        let lines = until("the call's line", SOON, || async {
            let log: Vec<Value> = stage.pair.inference.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let lines: Vec<Value> = log.iter().filter(is_it).cloned().collect();
            (!lines.is_empty()).then_some(lines)
        })
        .await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!((&lines[0]["outcome"], &lines[0]["reason"]), (&json!(outcome), &reason), "{id}");
        assert_eq!(lines[0]["method"], CHAT, "{id}");
    }
}

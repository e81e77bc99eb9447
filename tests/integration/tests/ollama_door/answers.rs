//! Chats and bare prompts.

use std::time::Duration;

use integration::hostile_http1;
use integration::scripted_upstream::{Gate, Script};
use serde_json::{Value, json};
use shared::credential_form::to_bearer;
use tokio::time::timeout;

use crate::bench::{Bench, SOON, lines, timeless};

fn hi(more: Value) -> Value {
    let mut body = json!({ "model": "smollm2", "messages": [{ "role": "user", "content": "hi" }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_chat_is_streamed_by_default_in_ollamas_lines_and_the_last_says_what_it_cost() {
    let bench = Bench::start().await;
    bench.upstream.script("/api/chat", Script::chat(&["It", "'s", " me"]));
    let answer = bench.post("/api/chat", &hi(json!({}))).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/x-ndjson"));
    let lines = lines(&answer);
    let piece = |text: &str| json!({ "model": "smollm2", "message": { "role": "assistant", "content": text }, "done": false });
    let last = json!({
        "model": "smollm2", "message": { "role": "assistant", "content": "" }, "done": true, "done_reason": "stop",
        "total_duration": 2_407_570_808_u64, "load_duration": 52_431_400, "prompt_eval_count": 14, "prompt_eval_duration": 1_038_372_776,
        "eval_count": 3, "eval_duration": 1_312_466_834, "cost": 19, "remaining_credits": 9981,
    });
    let expected = [piece("It"), piece("'s"), piece(" me"), last];
    assert!(lines.iter().all(|line| line["created_at"].as_str().unwrap().ends_with('Z')));
    assert_eq!(lines.into_iter().map(timeless).collect::<Vec<_>>(), expected);
    assert_eq!(bench.settled().await, 19);
}

#[tokio::test]
async fn an_answer_at_once_is_one_object_with_the_receipt_in_its_headers() {
    let bench = Bench::start().await;
    bench.upstream.script("/api/chat", Script::chat(&["It", "'s", " me"]));
    let answer = bench.post("/api/chat", &hi(json!({ "stream": false }))).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json; charset=utf-8"));
    assert_eq!((answer.header("x-tollgate-charged-credits"), answer.header("x-tollgate-remaining-credits")), ("19", "9981"));
    assert!(!answer.header("x-request-id").is_empty());
    let said = answer.json();
    assert_eq!(
        (&said["message"]["content"], &said["done"], &said["eval_count"], &said["cost"]),
        (&json!("It's me"), &json!(true), &json!(3), &json!(19))
    );

    let prompt = json!({ "model": "smollm2", "prompt": "The sky", "stream": false });
    let answer = bench.post("/api/generate", &prompt).await.json();
    assert_eq!((&answer["response"], &answer["done_reason"], &answer["cost"]), (&json!("The sky"), &json!("stop"), &json!(19)));
}

#[tokio::test]
async fn what_is_asked_for_goes_upstream_as_it_was_meant() {
    let bench = Bench::start().await;
    bench.upstream.model("smollm2", &["completion", "tools", "thinking", "vision"], 8192);
    let pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let body = json!({
        "model": "smollm2:latest", "stream": false,
        "messages": [
            { "role": "user", "content": "look", "images": [pixel] },
            { "role": "assistant", "content": "", "tool_calls": [{ "function": { "name": "f", "arguments": { "z": 1, "a": [2] } } }] },
            { "role": "tool", "content": "42", "tool_name": "f" },
        ],
        "tools": [{ "type": "function",
            "function": { "name": "f", "description": "d", "parameters": { "type": "object", "properties": {} } } }],
        "format": { "type": "object" }, "think": false, "keep_alive": "10m", "truncate": true, "logprobs": true, "top_logprobs": 2,
        "options": { "temperature": 0.5, "top_k": 3, "seed": 7, "num_ctx": 1024, "num_predict": 5, "stop": ["x"], "repeat_last_n": 8,
            "presence_penalty": 0.5, "frequency_penalty": 0.25, "typical_p": 0.5, "num_gpu": 1, "num_thread": 4 },
    });
    assert_eq!(bench.post("/api/chat", &body).await.status, 200);
    let sent = bench.upstream.request("/api/chat", 0).await.json();
    assert_eq!(sent["messages"][0]["images"][0], pixel);
    assert_eq!(sent["messages"][1]["tool_calls"][0]["function"]["arguments"], json!({ "z": 1, "a": [2] }));
    assert_eq!(sent["tools"], body["tools"]);
    assert_eq!((&sent["format"], &sent["think"], &sent["keep_alive"]), (&body["format"], &json!(false), &json!("600s")));
    let mut options = body["options"].clone();
    for machine in ["num_gpu", "num_thread"] {
        options.as_object_mut().unwrap().remove(machine);
    }
    assert_eq!(sent["options"], options);
    assert_eq!((&sent["stream"], &sent["top_logprobs"], &sent["model"]), (&json!(true), &json!(2), &json!("smollm2")));
}

#[tokio::test]
async fn tool_calls_and_thinking_are_told_as_ollama_tells_them() {
    let bench = Bench::start().await;
    bench.upstream.model("smollm2", &["completion", "tools", "thinking"], 8192);
    let call = json!({ "id": "call_1", "function": { "index": 0, "name": "f", "arguments": { "city": "Paris" } } });
    let line = |message: Value| json!({ "model": "smollm2", "message": message, "done": false });
    let thinking = line(json!({ "role": "assistant", "content": "", "thinking": "hm" }));
    let calling = line(json!({ "role": "assistant", "content": "", "tool_calls": [call] }));
    bench.upstream.script("/api/chat", Script::stream().line(&thinking).line(&calling).done("stop", 14, 8));
    let tools = json!([{ "function": { "name": "f" } }]);
    let answer = bench.post("/api/chat", &hi(json!({ "tools": tools, "think": true }))).await;
    let lines: Vec<_> = lines(&answer).into_iter().map(timeless).collect();
    assert_eq!((&lines[0], &lines[1], &lines[2]["done_reason"]), (&thinking, &calling, &json!("stop")));
    let whole = bench.post("/api/chat", &hi(json!({ "tools": tools, "think": true, "stream": false }))).await.json();
    assert_eq!((&whole["message"]["tool_calls"][0], &whole["message"]["thinking"]), (&call, &json!("hm")));
}

#[tokio::test]
async fn what_would_load_or_unload_a_model_is_answered_and_neither_touches_it_nor_costs_anything() {
    let bench = Bench::start().await;
    for (path, body, reason) in [
        ("/api/chat", json!({ "model": "smollm2", "messages": [] }), "load"),
        ("/api/chat", json!({ "model": "smollm2" }), "load"),
        ("/api/chat", json!({ "model": "smollm2", "messages": null, "keep_alive": 0 }), "unload"),
        ("/api/generate", json!({ "model": "smollm2", "prompt": "", "keep_alive": "0s" }), "unload"),
        ("/api/generate", json!({ "model": "smollm2", "keep_alive": -1, "system": "", "options": {} }), "load"),
    ] {
        let answer = bench.post(path, &body).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json; charset=utf-8"), "{body}");
        let said = answer.json();
        assert_eq!((&said["done"], &said["done_reason"], &said["model"]), (&json!(true), &json!(reason), &json!("smollm2")), "{body}");
        let is_empty = if path == "/api/chat" { &said["message"]["content"] } else { &said["response"] };
        assert_eq!(is_empty, "", "{body}");
    }
    let missing = bench.post("/api/generate", &json!({ "model": "nosuch" })).await;
    assert_eq!((missing.status.as_u16(), &missing.json()["code"]), (404, &json!("MODEL_NOT_FOUND")));
    let thinking = bench.post("/api/generate", &json!({ "model": "smollm2", "think": true })).await;
    assert_eq!((thinking.status.as_u16(), &thinking.json()["code"]), (422, &json!("MODEL_INCAPABLE")));
    let stranger = bench.call_as("", &[], "POST", "/api/generate", &json!({ "model": "smollm2" })).await;
    assert_eq!(stranger.status, 401);
    let revoked = bench.call_as(&forged(), &[], "POST", "/api/generate", &json!({ "model": "smollm2" })).await;
    assert_eq!(revoked.status, 401, "a key that nobody has is found out");
    assert_eq!((bench.sent(), bench.settled().await), (0, 0));
}

/// A key with the right form that nobody has.
fn forged() -> String {
    let body = format!("tg_{}", "a1B2".repeat(10));
    let checksum = shared::credential_form::checksum(&body);
    format!("{body}{}", std::str::from_utf8(&checksum).unwrap())
}

#[tokio::test]
async fn an_error_in_mid_stream_is_a_line_with_its_code_and_what_it_cost() {
    let bench = Bench::start().await;
    bench.upstream.script("/api/chat", Script::stream().token("one").error_line("llama runner process has terminated"));
    let answer = bench.post("/api/chat", &hi(json!({}))).await;
    assert_eq!(answer.status, 200);
    let lines = lines(&answer);
    assert_eq!(lines.len(), 2);
    let said = &lines[1];
    assert_eq!(said["code"], "UPSTREAM_UNAVAILABLE");
    assert!(said["error"].as_str().unwrap().contains("broke the answer off") && !answer.text().contains("runner"), "{said}");
    let spent = bench.settled().await;
    assert_eq!((said["cost"].as_i64(), spent > 2), (Some(spent), true));
}

#[tokio::test]
async fn what_fails_before_the_first_token_has_its_status() {
    let bench = Bench::start().await;
    for (script, status, code) in [
        (Script::error(503, "server busy"), 503, "UPSTREAM_BUSY"),
        (Script::error(400, "invalid format"), 422, "UPSTREAM_REJECTED"),
        (Script::error(500, "unable to load model"), 502, "MODEL_BROKEN"),
        (Script::raw_bytes().cut(), 503, "UPSTREAM_UNAVAILABLE"),
    ] {
        for stream in [true, false] {
            bench.upstream.script_once("/api/chat", script.clone());
            let answer = bench.post("/api/chat", &hi(json!({ "stream": stream }))).await;
            assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (status, &json!(code)));
            assert_eq!(answer.header("content-type"), "application/json; charset=utf-8");
        }
    }
    assert_eq!(bench.settled().await, 0);
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_model_and_pays_for_what_it_read() {
    let bench = Bench::start().await;
    let gate = Gate::new();
    bench.upstream.script("/api/chat", Script::stream().gated_tokens(&gate, &["one", "two"]).stall());
    let mut client = bench.connect().await;
    let authorization = to_bearer(&bench.user.key);
    client
        .send(&hostile_http1::request("POST", "/api/chat", &[("authorization", &authorization)], hi(json!({})).to_string().as_bytes()))
        .await;
    let request = bench.upstream.request("/api/chat", 0).await;
    gate.open(1);
    assert_eq!(client.head().await.0, 200);
    assert!(client.chunk().await.unwrap().ends_with(b"\n"));
    drop(client);
    timeout(SOON, request.client_closed()).await.unwrap();
    let spent = bench.settled().await;
    // Two for the call, one token, and an estimate of the prompt.
    assert_eq!(spent, 2 + 1 + 5);
}

#[tokio::test]
async fn a_silent_model_sends_nothing_that_is_no_line() {
    let bench = Bench::start().await;
    let gate = Gate::new();
    bench.upstream.script("/api/chat", Script::stream().gate(&gate).token("late").done("stop", 14, 1));
    let mut client = bench.connect().await;
    let authorization = to_bearer(&bench.user.key);
    client
        .send(&hostile_http1::request("POST", "/api/chat", &[("authorization", &authorization)], hi(json!({})).to_string().as_bytes()))
        .await;
    // The head comes after a second, whatever the model does.
    assert_eq!(timeout(SOON, client.head()).await.unwrap().0, 200);
    assert!(timeout(Duration::from_millis(300), client.chunk()).await.is_err(), "an empty line is no JSON to Go's client, nor to Python's");
    gate.open_for_good();
    let first = client.chunk().await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&first).unwrap()["message"]["content"], "late");
}

#[tokio::test]
async fn a_repetition_under_one_key_is_refused_with_the_receipt_of_then_and_never_an_empty_answer() {
    let bench = Bench::start().await;
    let again = |body: Value| {
        let bench = &bench;
        async move { bench.call_as(&bench.user.key, &[("idempotency-key", "k1")], "POST", "/api/chat", &body).await }
    };
    assert_eq!(again(hi(json!({ "stream": false }))).await.status, 200);
    let spent = bench.settled().await;
    for stream in [true, false] {
        let repeated = again(hi(json!({ "stream": stream }))).await;
        assert_eq!((repeated.status.as_u16(), &repeated.json()["code"]), (409, &json!("REQUEST_RESOLVED")));
        assert_eq!(repeated.header("x-tollgate-charged-credits"), spent.to_string());
        assert_eq!(repeated.header("x-should-retry"), "false");
    }
    let other = again(json!({ "model": "smollm2", "messages": [{ "role": "user", "content": "other" }] })).await;
    assert_eq!((other.status.as_u16(), &other.json()["code"]), (422, &json!("REQUEST_ID_REUSED")));
    assert_eq!((bench.sent(), bench.settled().await), (1, spent));
}

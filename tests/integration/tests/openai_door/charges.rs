//! What a call costs, however it ends.

use integration::http_client::HttpCall;
use integration::polling::{SOON, until};
use integration::scripted_upstream::{Gate, Script};
use serde_json::{Value, json};

use crate::scene::{CHAT, Scene, chat, chunks, error};

/// Waits until nothing is held, and answers what is spent.
async fn settled(scene: &Scene) -> i64 {
    until("the hold to be settled", SOON, || async {
        let (_, held, spent) = scene.credits().await;
        (held == 0).then_some(spent)
    })
    .await
}

/// Ten credits a call and one each token: a charge tells how many were read.
async fn priced() -> Scene {
    Scene::start_with(|plan| plan.set("TOLLGATE_PRICES", "*=10/0/1000").set("TOLLGATE_STARTING_CREDITS", "1000")).await
}

#[tokio::test]
async fn a_whole_answer_and_a_streamed_one_are_each_charged_once_and_stand_in_the_ledger() {
    let scene = priced().await;
    let mut whole = scene.chat(json!({})).await;
    assert_eq!(whole.json().await["usage"]["cost"], 14);
    assert_eq!((whole.header("x-tollgate-charged-credits"), whole.header("x-tollgate-remaining-credits")), (Some("14"), Some("986")));
    let mut stream = scene.chat(json!({ "stream": true, "stream_options": { "include_usage": true } })).await;
    let last = chunks(&mut stream).await.pop().unwrap();
    assert_eq!((&last["usage"]["cost"], &last["receipt"]["remaining_credits"]), (&json!(14), &json!(972)));
    assert_eq!(scene.credits().await, (972, 0, 28));
    let ledger: Vec<i64> = scene.stack.ledger(&scene.user.token).await.iter().map(|entry| entry.credits()).collect();
    assert_eq!(ledger, [-14, -14, 1000]);
}

#[tokio::test]
async fn without_credits_a_call_is_402_and_no_sdk_repeats_it() {
    let scene = Scene::start_with(|plan| plan.set("TOLLGATE_STARTING_CREDITS", "1")).await;
    assert_eq!(scene.chat(json!({})).await.status, 200);
    for stream in [false, true] {
        let mut answer = scene.chat(json!({ "stream": stream })).await;
        let expected = (402, "insufficient_quota".to_owned(), "INSUFFICIENT_CREDITS".to_owned(), Value::Null);
        assert_eq!(error(&mut answer).await, expected);
    }
    assert_eq!(scene.credits().await, (0, 0, 1));
    assert_eq!(scene.upstream.requests_to("/api/chat").len(), 1);
}

#[tokio::test]
async fn a_wrong_key_and_a_missing_model_cost_nothing() {
    let scene = Scene::start().await;
    let mut answer = HttpCall::post(scene.address(), CHAT, &chat(json!({}))).bearer("tg_wrong").send().await;
    assert_eq!(error(&mut answer).await.0, 401);
    for stream in [false, true] {
        let mut answer = scene.chat(json!({ "model": "nothere", "stream": stream })).await;
        let expected = (404, "invalid_request_error".to_owned(), "MODEL_NOT_FOUND".to_owned(), json!("model"));
        assert_eq!(error(&mut answer).await, expected);
    }
    assert_eq!(scene.credits().await, (10, 0, 0));
    assert_eq!(scene.upstream.requests_to("/api/chat").len(), 0);
}

#[tokio::test]
async fn a_repeated_request_is_409_and_charged_once() {
    let scene = Scene::start().await;
    let call = |stream: bool| scene.post(CHAT, &chat(json!({ "stream": stream }))).header("idempotency-key", "once").send();
    assert_eq!(call(false).await.status, 200);
    let mut again = call(false).await;
    assert_eq!(again.header("x-should-retry"), Some("false"), "an SDK would repeat it");
    assert_eq!((again.header("x-tollgate-charged-credits"), again.header("x-tollgate-remaining-credits")), (Some("1"), Some("9")));
    let body = again.json().await;
    assert_eq!((again.status, &body["error"]["code"]), (409, &json!("REQUEST_RESOLVED")));
    assert_eq!(body["error"]["receipt"], json!({ "charged_credits": 1, "remaining_credits": 9 }));
    let mut streamed = call(true).await;
    assert_eq!(error(&mut streamed).await.2, "REQUEST_RESOLVED", "how it is sent is no part of what is asked");
    let mut other = scene.post(CHAT, &chat(json!({ "seed": 1 }))).header("idempotency-key", "once").send().await;
    assert_eq!(error(&mut other).await, (422, "invalid_request_error".into(), "REQUEST_ID_REUSED".into(), Value::Null));
    assert_eq!(scene.credits().await, (9, 0, 1));
    assert_eq!(scene.upstream.requests_to("/api/chat").len(), 1);
}

#[tokio::test]
async fn a_request_that_is_being_answered_is_409_and_may_be_repeated() {
    let scene = Scene::start().await;
    let gate = Gate::new();
    scene.upstream.script("/api/chat", Script::stream().token("one").gate(&gate).token(" two").done("stop", 5, 2));
    let call = || scene.post(CHAT, &chat(json!({ "stream": true }))).header("idempotency-key", "once").send();
    let mut first = call().await;
    let mut second = call().await;
    assert!(second.header("retry-after").is_some() && second.header("x-should-retry").is_none());
    assert_eq!(error(&mut second).await, (409, "invalid_request_error".into(), "REQUEST_IN_PROGRESS".into(), Value::Null));
    gate.open_for_good();
    assert_eq!(crate::scene::text(&chunks(&mut first).await), "one two");
    assert_eq!(scene.credits().await, (9, 0, 1));
}

#[tokio::test]
async fn a_caller_that_leaves_a_stream_pays_the_call_and_what_was_read() {
    let scene = priced().await;
    let gate = Gate::new();
    scene.upstream.script("/api/chat", Script::stream().gated_tokens(&gate, &["one ", "two ", "three "]).stall());
    gate.open(2);
    let mut answer = scene.chat(json!({ "stream": true })).await;
    for _ in 0..2 {
        answer.next_event().await.unwrap();
    }
    drop(answer);
    scene.upstream.request("/api/chat", 0).await.client_closed().await;
    assert_eq!(settled(&scene).await, 12);
}

#[tokio::test]
async fn a_caller_that_leaves_before_its_whole_answer_pays_the_call_and_what_was_read() {
    let scene = priced().await;
    scene.upstream.script("/api/chat", Script::stream().token("one ").token("two ").stall());
    let body = chat(json!({})).to_string();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        scene.user.key,
        body.len()
    );
    let mut connection = tokio::net::TcpStream::connect(scene.address()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut connection, head.as_bytes()).await.unwrap();
    let request = scene.upstream.request("/api/chat", 0).await;
    drop(connection);
    request.client_closed().await;
    // It left while two tokens were on their way: none, one or both of them were read.
    assert!((10..=12).contains(&settled(&scene).await));
}

#[tokio::test]
async fn an_upstream_that_dies_in_mid_stream_is_an_error_event_with_what_it_cost_and_no_done() {
    for script in [
        Script::stream().token("one").error_line("unexpected EOF"),
        Script::stream().token("one").cut(),
        Script::stream().token("one").close_early(),
    ] {
        let scene = priced().await;
        scene.upstream.script("/api/chat", script);
        let mut answer = scene.chat(json!({ "stream": true })).await;
        assert_eq!(answer.status, 200);
        let data = answer.data().await;
        let events: Vec<Value> = data.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        assert_eq!(events.len(), 2, "{events:?}");
        let failure = &events[1]["error"];
        assert_eq!((&failure["type"], &failure["code"]), (&json!("server_error"), &json!("UPSTREAM_UNAVAILABLE")));
        assert_eq!(failure["receipt"], json!({ "charged_credits": 11, "remaining_credits": 989 }));
        assert_eq!(scene.credits().await, (989, 0, 11));
    }
}

#[tokio::test]
async fn an_upstream_that_dies_within_a_whole_answer_is_a_status_with_what_it_cost() {
    let scene = priced().await;
    scene.upstream.script("/api/chat", Script::stream().token("one").cut());
    let mut answer = scene.chat(json!({})).await;
    assert_eq!((answer.header("x-tollgate-charged-credits"), answer.header("x-tollgate-remaining-credits")), (Some("11"), Some("989")));
    assert_eq!(answer.header("x-should-retry"), Some("false"), "an SDK would repeat it, and it would be charged again");
    assert_eq!(error(&mut answer).await, (503, "server_error".into(), "UPSTREAM_UNAVAILABLE".into(), Value::Null));
    assert_eq!(scene.credits().await, (989, 0, 11));
}

#[tokio::test]
async fn a_limit_that_ends_a_stream_is_an_error_event() {
    let scene = Scene::start_with(|plan| plan.set("TOLLGATE_IDLE_TIMEOUT", "3s")).await;
    scene.upstream.script("/api/chat", Script::stream().token("one").stall());
    let mut answer = scene.chat(json!({ "stream": true })).await;
    let data = answer.data().await;
    let last: Value = serde_json::from_str(data.last().unwrap()).unwrap();
    assert_eq!((&last["error"]["code"], &last["error"]["receipt"]["charged_credits"]), (&json!("UPSTREAM_TIMEOUT"), &json!(1)));
    assert_eq!(settled(&scene).await, 1);
}

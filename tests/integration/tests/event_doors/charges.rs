//! What a call costs at each of the two doors, however it ends.

use integration::http_client::HttpCall;
use integration::polling::{SOON, until};
use integration::scripted_upstream::{Gate, Script};
use serde_json::{Value, json};

use crate::scene::{DOORS, MESSAGES, RESPONSES, Scene, error, events, whole};

/// Waits until nothing is held, and answers what is spent.
async fn settled(scene: &Scene) -> i64 {
    until("the hold to be settled", SOON, || async {
        let (_, held, spent) = scene.credits().await;
        (held == 0).then_some(spent)
    })
    .await
}

/// What the last event with a usage says.
fn cost(event: &Value) -> &Value {
    event.pointer("/response/usage/cost").unwrap_or(&event["usage"]["cost"])
}

#[tokio::test]
async fn a_whole_answer_and_a_streamed_one_are_each_charged_once_and_stand_in_the_ledger() {
    for door in DOORS {
        let scene = Scene::priced().await;
        let mut answer = scene.post(door.path, &door.request(json!({}))).send().await;
        assert_eq!(whole(&mut answer).await["usage"]["cost"], 14);
        assert_eq!((answer.header("x-tollgate-charged-credits"), answer.header("x-tollgate-remaining-credits")), (Some("14"), Some("986")));
        assert!(answer.header("x-request-id").is_some());
        let mut stream = scene.post(door.path, &door.request(json!({ "stream": true }))).send().await;
        let all = events(&mut stream).await;
        let last = all.iter().rfind(|event| event.get("receipt").is_some()).unwrap();
        assert_eq!(cost(last), 14);
        assert_eq!(last["receipt"], json!({ "charged_credits": 14, "remaining_credits": 972 }));
        assert_eq!(scene.credits().await, (972, 0, 28));
        let ledger: Vec<i64> = scene.stack.ledger(&scene.user.token).await.iter().map(|entry| entry.credits()).collect();
        assert_eq!(ledger, [-14, -14, 1000]);
    }
}

#[tokio::test]
async fn a_wrong_key_in_either_header_and_two_different_ones_are_401_and_cost_nothing() {
    let scene = Scene::start().await;
    for door in DOORS {
        let call = || HttpCall::post(scene.address(), door.path, &door.request(json!({})));
        let (kept, last) = scene.user.key.split_at(scene.user.key.len() - 1);
        let mistyped = format!("{kept}{}", if last == "x" { "y" } else { "x" });
        for (call, code) in [
            (call(), "CREDENTIAL_MISSING"),
            (call().bearer("tg_wrong"), "CREDENTIAL_INVALID"),
            (call().header("x-api-key", "tg_wrong"), "CREDENTIAL_INVALID"),
            (call().header("x-api-key", &mistyped), "CREDENTIAL_INVALID"),
            (call().header("x-api-key", &scene.user.key).bearer("tg_wrong"), "CREDENTIAL_INVALID"),
        ] {
            assert_eq!(error(&mut call.send().await).await, crate::scene::refusal(401, "authentication_error", code));
        }
        assert_eq!(call().header("x-api-key", &scene.user.key).send().await.status, 200);
    }
    assert_eq!(scene.credits().await, (8, 0, 2));
    assert_eq!(scene.upstream.requests_to("/api/chat").len(), 2);
}

#[tokio::test]
async fn without_credits_a_call_is_402_and_no_sdk_repeats_it() {
    for (door, kind) in DOORS.into_iter().zip(["billing_error", "insufficient_quota"]) {
        let scene = Scene::start_with(|plan| plan.set("TOLLGATE_STARTING_CREDITS", "1")).await;
        assert_eq!(scene.post(door.path, &door.request(json!({}))).send().await.status, 200);
        for stream in [false, true] {
            let mut answer = scene.post(door.path, &door.request(json!({ "stream": stream }))).send().await;
            assert_eq!(error(&mut answer).await, crate::scene::refusal(402, kind, "INSUFFICIENT_CREDITS"));
        }
        assert_eq!(scene.credits().await, (0, 0, 1));
        assert_eq!(scene.upstream.requests_to("/api/chat").len(), 1);
    }
}

#[tokio::test]
async fn a_model_that_is_not_there_is_404_and_costs_nothing() {
    let scene = Scene::start().await;
    for (door, kind) in DOORS.into_iter().zip(["not_found_error", "invalid_request_error"]) {
        for stream in [false, true] {
            let mut answer = scene.post(door.path, &door.request(json!({ "model": "nothere", "stream": stream }))).send().await;
            assert_eq!(error(&mut answer).await, crate::scene::refusal(404, kind, "MODEL_NOT_FOUND"));
        }
    }
    assert_eq!(scene.credits().await, (10, 0, 0));
    assert!(scene.upstream.requests_to("/api/chat").is_empty());
}

#[tokio::test]
async fn a_repeated_request_is_409_and_charged_once() {
    for (door, kind) in DOORS.into_iter().zip(["conflict_error", "invalid_request_error"]) {
        let scene = Scene::start().await;
        let call =
            |stream: bool| scene.post(door.path, &door.request(json!({ "stream": stream }))).header("idempotency-key", "once").send();
        let mut first = call(false).await;
        assert!(whole(&mut first).await["id"].as_str().unwrap().ends_with("_once"), "the id names the request in the ledger");
        let mut again = call(true).await;
        assert_eq!(again.header("x-should-retry"), Some("false"), "an SDK would repeat it");
        assert_eq!((again.header("x-tollgate-charged-credits"), again.header("x-tollgate-remaining-credits")), (Some("1"), Some("9")));
        let body = again.json().await;
        assert_eq!((again.status, &body["error"]["type"], &body["error"]["code"]), (409, &json!(kind), &json!("REQUEST_RESOLVED")));
        assert_eq!(body["error"]["receipt"], json!({ "charged_credits": 1, "remaining_credits": 9 }));
        let other = door.request(json!({ "temperature": 1 }));
        let mut other = scene.post(door.path, &other).header("idempotency-key", "once").send().await;
        assert_eq!(error(&mut other).await, crate::scene::refusal(422, "invalid_request_error", "REQUEST_ID_REUSED"));
        let mut wrong = scene.post(door.path, &door.request(json!({}))).header("idempotency-key", "a b").send().await;
        assert_eq!(error(&mut wrong).await, crate::scene::refusal(400, "invalid_request_error", "INVALID_ARGUMENT"));
        assert_eq!(scene.credits().await, (9, 0, 1));
        assert_eq!(scene.upstream.requests_to("/api/chat").len(), 1);
    }
}

#[tokio::test]
async fn a_caller_that_leaves_a_stream_pays_the_call_and_what_was_read() {
    for (door, first_events) in DOORS.into_iter().zip([4, 6]) {
        let scene = Scene::priced().await;
        let gate = Gate::new();
        scene.upstream.script("/api/chat", Script::stream().gated_tokens(&gate, &["one ", "two ", "three "]).stall());
        gate.open(2);
        let mut answer = scene.post(door.path, &door.request(json!({ "stream": true }))).send().await;
        // Until the second token's event.
        for _ in 0..first_events {
            answer.next_event().await.unwrap();
        }
        drop(answer);
        scene.upstream.request("/api/chat", 0).await.client_closed().await;
        assert_eq!(settled(&scene).await, 12);
    }
}

#[tokio::test]
async fn a_caller_that_leaves_before_its_whole_answer_pays_the_call() {
    for door in DOORS {
        let scene = Scene::priced().await;
        scene.upstream.script("/api/chat", Script::silence());
        let body = door.request(json!({})).to_string();
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            door.path,
            scene.user.key,
            body.len()
        );
        let mut connection = tokio::net::TcpStream::connect(scene.address()).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut connection, head.as_bytes()).await.unwrap();
        let request = scene.upstream.request("/api/chat", 0).await;
        drop(connection);
        request.client_closed().await;
        assert_eq!(settled(&scene).await, 10);
    }
}

#[tokio::test]
async fn an_upstream_that_dies_within_a_whole_answer_is_a_status_with_what_it_cost() {
    for (door, kind) in DOORS.into_iter().zip(["overloaded_error", "server_error"]) {
        let scene = Scene::priced().await;
        scene.upstream.script("/api/chat", Script::stream().token("one").cut());
        let mut answer = scene.post(door.path, &door.request(json!({}))).send().await;
        assert_eq!((answer.header("x-tollgate-charged-credits"), answer.header("x-tollgate-remaining-credits")), (Some("11"), Some("989")));
        assert_eq!(error(&mut answer).await, crate::scene::refusal(503, kind, "UPSTREAM_UNAVAILABLE"));
        assert_eq!(scene.credits().await, (989, 0, 11));
    }
}

/// The ways in which a model server breaks off.
fn broken() -> [Script; 3] {
    let begun = || Script::stream().token("one");
    [begun().error_line("unexpected EOF"), begun().cut(), begun().close_early()]
}

#[tokio::test]
async fn an_upstream_that_dies_in_mid_stream_is_anthropics_error_event_with_what_it_cost() {
    for script in broken() {
        let scene = Scene::priced().await;
        scene.upstream.script("/api/chat", script);
        let mut answer = scene.message(json!({ "stream": true })).await;
        let request_id = answer.header("x-request-id").unwrap().to_owned();
        let all = events(&mut answer).await;
        let last = all.last().unwrap();
        assert_eq!(
            (&last["type"], &last["error"]["type"], &last["error"]["code"]),
            (&json!("error"), &json!("overloaded_error"), &json!("UPSTREAM_UNAVAILABLE"))
        );
        assert_eq!(last["error"]["receipt"], json!({ "charged_credits": 11, "remaining_credits": 989 }));
        assert_eq!(last["request_id"], request_id);
        assert!(!all.iter().any(|event| event["type"] == "message_stop"), "{MESSAGES} must not say that it is whole");
        assert_eq!(scene.credits().await, (989, 0, 11));
    }
}

#[tokio::test]
async fn an_upstream_that_dies_in_mid_stream_is_a_failed_response_and_an_error_that_sdks_raise() {
    for script in broken() {
        let scene = Scene::priced().await;
        scene.upstream.script("/api/chat", script);
        let mut answer = scene.response(json!({ "stream": true })).await;
        let all = events(&mut answer).await;
        let (failed, error) = (&all[all.len() - 2], &all[all.len() - 1]);
        assert_eq!(failed["type"], "response.failed");
        assert_eq!(
            (&failed["response"]["status"], &failed["response"]["error"]["code"]),
            (&json!("failed"), &json!("UPSTREAM_UNAVAILABLE"))
        );
        assert_eq!(failed["response"]["output"][0]["content"][0]["text"], "one");
        assert_eq!(failed["receipt"], json!({ "charged_credits": 11, "remaining_credits": 989 }));
        assert_eq!((&error["code"], &error["error"]["code"]), (&json!("UPSTREAM_UNAVAILABLE"), &json!("UPSTREAM_UNAVAILABLE")));
        assert!(!all.iter().any(|event| event["type"] == "response.completed"), "{RESPONSES} must not say that it is whole");
        assert_eq!(scene.credits().await, (989, 0, 11));
    }
}

#[tokio::test]
async fn what_fails_before_the_first_token_of_a_stream_has_its_status_and_costs_nothing() {
    for door in DOORS {
        let scene = Scene::priced().await;
        scene.upstream.script("/api/chat", Script::error(503, "server busy, please try again.  maximum pending requests exceeded"));
        let mut answer = scene.post(door.path, &door.request(json!({ "stream": true }))).send().await;
        assert!(answer.header("retry-after").is_some());
        let (status, _, code) = error(&mut answer).await;
        assert_eq!((status, code.as_str()), (503, "UPSTREAM_BUSY"));
        assert_eq!(scene.credits().await, (1000, 0, 0));
    }
}

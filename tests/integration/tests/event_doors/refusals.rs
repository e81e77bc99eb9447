//! What the two doors refuse, in the words of each.

use integration::http_client::HttpCall;
use serde_json::{Value, json};

use crate::scene::{DOORS, MESSAGES, RESPONSES, Scene, error, refusal};

#[tokio::test]
async fn what_a_door_cannot_do_is_refused_by_name_and_never_reaches_the_model_server() {
    let scene = Scene::start().await;
    let source = json!({ "type": "url", "url": "http://127.0.0.1/" });
    for (fields, name) in [
        (json!({ "mcp_servers": [{ "url": "http://127.0.0.1/" }] }), "mcp_servers"),
        (json!({ "tools": [{ "type": "web_search_20250305", "name": "web_search" }] }), "tools[0].type"),
        (json!({ "tool_choice": { "type": "any" } }), "tool_choice.type"),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image", "source": source }] }] }),
            "messages[0].content[0].source.type",
        ),
        (json!({ "temperature": -1 }), "temperature"),
        (json!({ "max_tokens": "many" }), "max_tokens"),
        (json!({ "messages": [{ "role": "user", "content": [{ "text": "no type" }] }] }), "messages[0].content[0].type"),
        (json!({ "seed": 1 }), "seed"),
    ] {
        let mut answer = scene.message(fields.clone()).await;
        let body = answer.json().await;
        let said = body["error"]["message"].as_str().unwrap();
        assert!(said.starts_with(&format!("{name} ")) || said.starts_with(&format!("{name}:")), "{fields}: {said}");
        assert_eq!((answer.status, &body["type"], &body["error"]["type"]), (400, &json!("error"), &json!("invalid_request_error")));
        assert_eq!(body["error"]["details"]["fields"][0]["field"], name, "{body}");
        assert_eq!(body["request_id"].as_str(), answer.header("x-request-id"));
        assert_eq!(answer.header("request-id"), answer.header("x-request-id"), "where Anthropic's SDKs look for it");
    }
    for (fields, name) in [
        (json!({ "previous_response_id": "resp_1" }), "previous_response_id"),
        (json!({ "store": true }), "store"),
        (json!({ "tools": [{ "type": "web_search" }] }), "tools[0].type"),
        (json!({ "tool_choice": "required" }), "tool_choice"),
        (
            json!({ "input": [{ "role": "user", "content": [{ "type": "input_image", "image_url": "http://127.0.0.1/" }] }] }),
            "input[0].content[0].image_url",
        ),
        (json!({ "temperature": -1 }), "temperature"),
        (json!({ "max_output_tokens": 0 }), "max_output_tokens"),
        (json!({ "input": [{ "role": "user", "content": [{ "text": "no type" }] }] }), "input[0].content[0].type"),
        (json!({ "seed": 1 }), "seed"),
    ] {
        let mut answer = scene.response(fields.clone()).await;
        let body = answer.json().await;
        assert_eq!((answer.status, &body["error"]["param"]), (400, &json!(name)), "{fields}: {body}");
        assert_eq!(body["error"]["type"], "invalid_request_error");
    }
    assert_eq!(scene.credits().await, (10, 0, 0));
    assert!(scene.upstream.requests_to("/api/chat").is_empty());
}

#[tokio::test]
async fn what_a_model_cannot_do_is_422_and_costs_nothing() {
    let scene = Scene::start().await;
    for (path, fields) in [
        (MESSAGES, json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 } })),
        (MESSAGES, json!({ "tools": [{ "name": "f", "input_schema": { "type": "object" } }] })),
        (RESPONSES, json!({ "reasoning": { "effort": "low" } })),
        (RESPONSES, json!({ "tools": [{ "type": "function", "name": "f", "parameters": { "type": "object" } }] })),
    ] {
        let mut answer = if path == MESSAGES { scene.message(fields).await } else { scene.response(fields).await };
        assert_eq!(error(&mut answer).await, refusal(422, "invalid_request_error", "MODEL_INCAPABLE"));
    }
    assert_eq!(scene.credits().await, (10, 0, 0));
}

#[tokio::test]
async fn tokens_are_not_guessed_counting_them_is_501_with_words_and_no_sdk_repeats_it() {
    let scene = Scene::start().await;
    let path = format!("{MESSAGES}/count_tokens");
    let mut answer = scene.post(&path, &crate::scene::plain_message()).send().await;
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(error(&mut answer).await, refusal(501, "api_error", "NOT_SUPPORTED"));
    let mut answer = HttpCall::post(scene.address(), &path, &crate::scene::plain_message()).send().await;
    assert_eq!(error(&mut answer).await, refusal(401, "authentication_error", "CREDENTIAL_MISSING"));
}

#[tokio::test]
async fn what_is_no_request_is_refused_in_the_doors_form() {
    let scene = Scene::start().await;
    for door in DOORS {
        for (body, code) in [("", "MESSAGE_MALFORMED"), ("{", "MESSAGE_MALFORMED"), ("[]", "INVALID_ARGUMENT"), ("{}", "INVALID_ARGUMENT")]
        {
            let mut answer = scene.post(door.path, &Value::Null).body(body).send().await;
            assert_eq!(error(&mut answer).await, refusal(400, "invalid_request_error", code), "{body}");
        }
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let body = door.request(json!({ "metadata": "DEEP" })).to_string().replace("\"DEEP\"", &deep);
        let mut answer = scene.post(door.path, &Value::Null).body(body).send().await;
        assert_eq!(error(&mut answer).await.0, 400);
        let many = format!("[{}0]", "0,".repeat(300_000));
        let body = door.request(json!({ "metadata": "MANY" })).to_string().replace("\"MANY\"", &many);
        let mut answer = scene.post(door.path, &Value::Null).body(body).send().await;
        assert_eq!(error(&mut answer).await.0, 400);
        let get = HttpCall::get(scene.address(), door.path).bearer(&scene.user.key).send().await;
        assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    }
    assert!(scene.upstream.requests_to("/api/chat").is_empty());
}

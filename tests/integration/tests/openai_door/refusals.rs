//! What is refused: with which status, in OpenAI's form, by which field.

use integration::http_client::HttpCall;
use integration::scripted_upstream::{Gate, Script};
use serde_json::{Value, json};

use crate::scene::{CHAT, COMPLETIONS, Scene, chat, error};

#[tokio::test]
async fn a_wrong_value_is_named_as_the_caller_knows_the_field() {
    let scene = Scene::start().await;
    let message = |message: Value| json!({ "messages": [message] });
    let part = |part: Value| message(json!({ "role": "user", "content": [{ "type": "text", "text": "?" }, part] }));
    let deep = (0..70).fold(json!({}), |schema, _| json!({ "not": schema }));
    for (fields, param) in [
        (json!({ "model": "../etc/passwd" }), "model"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "temperature": -1 }), "temperature"),
        (json!({ "top_p": 2 }), "top_p"),
        (json!({ "frequency_penalty": 2.5 }), "frequency_penalty"),
        (json!({ "presence_penalty": -3 }), "presence_penalty"),
        (json!({ "stop": [""] }), "stop"),
        (json!({ "stop": 5 }), "stop"),
        (json!({ "max_tokens": 0 }), "max_tokens"),
        (json!({ "max_tokens": -1 }), "max_tokens"),
        (json!({ "max_completion_tokens": 0 }), "max_completion_tokens"),
        (json!({ "logprobs": true, "top_logprobs": 21 }), "top_logprobs"),
        (json!({ "n": 2 }), "n"),
        (json!({ "seed": "x" }), "seed"),
        (json!({ "num_ctx": 4096 }), "num_ctx"),
        (json!({ "response_format": { "type": "json_schema", "json_schema": { "schema": deep } } }), "response_format.json_schema.schema"),
        (json!({ "response_format": { "type": "json_schema", "json_schema": { "schema": [] } } }), "response_format.json_schema.schema"),
        (json!({ "tools": [{ "type": "function", "function": { "name": "" } }] }), "tools[0].function.name"),
        (json!({ "tools": [{ "type": "function", "function": { "name": "f", "parameters": deep } }] }), "tools[0].function.parameters"),
        (json!({ "tools": [{ "type": "function", "function": { "parameters": {} } }] }), "tools[0].function.name"),
        (message(json!({ "role": "robot", "content": "x" })), "messages[0].role"),
        (message(json!({ "role": "user", "content": 5 })), "messages[0].content"),
        (message(json!({ "role": "user", "content": "x", "mood": "good" })), "messages[0].mood"),
        (message(json!({ "role": "user", "content": "x", "reasoning": "hm" })), "messages[0].reasoning"),
        (
            part(json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,AQI=" } })),
            "messages[0].content[1].image_url.url",
        ),
        (part(json!({ "type": "image_url", "image_url": { "url": "http://127.0.0.1/x.png" } })), "messages[0].content[1].image_url.url"),
        (
            message(json!({ "role": "assistant", "content": "", "tool_calls": [
                { "id": "c", "type": "function", "function": { "name": "f", "arguments": "[" } },
            ] })),
            "messages[0].tool_calls[0].function.arguments",
        ),
    ] {
        let mut answer = scene.chat(fields.clone()).await;
        let expected = (400, "invalid_request_error".to_owned(), "INVALID_ARGUMENT".to_owned(), json!(param));
        assert_eq!(error(&mut answer).await, expected, "{fields}");
    }
    assert_eq!(scene.upstream.requests_to("/api/chat").len(), 0);
    assert_eq!(scene.credits().await, (10, 0, 0));
}

#[tokio::test]
async fn what_is_no_json_or_no_request_is_malformed() {
    let scene = Scene::start().await;
    for body in ["", "{", "[]", "null", "{\"model\":1}"] {
        for path in [CHAT, COMPLETIONS] {
            let call = HttpCall::new(scene.address(), "POST", path).bearer(&scene.user.key).body(body);
            let (status, kind, code, _) = error(&mut call.send().await).await;
            assert_eq!((status, kind.as_str()), (400, "invalid_request_error"), "{body}");
            assert!(["MESSAGE_MALFORMED", "INVALID_ARGUMENT"].contains(&code.as_str()), "{body}: {code}");
        }
    }
}

#[tokio::test]
async fn a_key_that_is_missing_or_wrong_is_401_before_the_body_is_looked_at() {
    let scene = Scene::start().await;
    let (missing, wrong) = ("CREDENTIAL_MISSING", "CREDENTIAL_INVALID");
    let unknown = format!("{}x", &scene.user.key[..scene.user.key.len() - 1]);
    for (credential, code) in [(None, missing), (Some("sk-something"), wrong), (Some(unknown.as_str()), wrong)] {
        for path in [CHAT, COMPLETIONS] {
            let call = HttpCall::post(scene.address(), path, &json!("nothing like a request"));
            let call = match credential {
                Some(credential) => call.bearer(credential),
                None => call,
            };
            let mut answer = call.send().await;
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            assert_eq!(error(&mut answer).await, (401, "authentication_error".to_owned(), code.to_owned(), Value::Null), "{credential:?}");
        }
    }
}

#[tokio::test]
async fn what_a_model_can_not_do_is_422_and_names_the_model() {
    let scene = Scene::start().await;
    let tools = json!([{ "type": "function", "function": { "name": "f" } }]);
    for fields in [json!({ "tools": tools }), json!({ "reasoning_effort": "high" }), json!({ "tools": tools, "stream": true })] {
        let mut answer = scene.chat(fields).await;
        let expected = (422, "invalid_request_error".to_owned(), "MODEL_INCAPABLE".to_owned(), json!("model"));
        assert_eq!(error(&mut answer).await, expected);
    }
    assert_eq!(scene.credits().await, (10, 0, 0));
}

#[tokio::test]
async fn what_the_model_server_refuses_or_breaks_before_its_first_token_has_a_status_and_costs_nothing() {
    for (script, status, kind, code) in [
        (Script::error(404, "model 'smollm2' not found"), 404, "invalid_request_error", "MODEL_NOT_FOUND"),
        (Script::error(400, "invalid options"), 422, "invalid_request_error", "UPSTREAM_REJECTED"),
        (Script::error(503, "server busy, please try again. maximum pending requests exceeded"), 503, "server_error", "UPSTREAM_BUSY"),
        (Script::stream().error_line("open /models/blobs/sha256-1: no such file"), 503, "server_error", "UPSTREAM_UNAVAILABLE"),
    ] {
        for stream in [false, true] {
            let scene = Scene::start().await;
            scene.upstream.script("/api/chat", script.clone());
            let mut answer = scene.chat(json!({ "stream": stream })).await;
            let retry_after = answer.header("retry-after").is_some();
            let (got, said, reason, _) = error(&mut answer).await;
            assert_eq!((got, said.as_str(), reason.as_str(), retry_after), (status, kind, code, status == 503), "stream: {stream}");
            assert_eq!(scene.credits().await, (10, 0, 0));
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_413_before_it_is_read() {
    let scene = Scene::start().await;
    let mut answer = scene.post(CHAT, &chat(json!({}))).announcing(1 << 40).send().await;
    assert_eq!(error(&mut answer).await, (413, "invalid_request_error".into(), "MESSAGE_TOO_LARGE".into(), Value::Null));
}

#[tokio::test]
async fn more_calls_at_a_time_than_an_account_may_have_are_429_with_a_time() {
    let scene = Scene::start_with(|plan| plan.set("TOLLGATE_STARTING_CREDITS", "1000")).await;
    let gate = Gate::new();
    scene.upstream.script("/api/chat", Script::stream().token("one").gate(&gate).done("stop", 5, 1));
    let mut open = Vec::new();
    for _ in 0..64 {
        let answer = scene.chat(json!({ "stream": true })).await;
        assert_eq!(answer.status, 200);
        open.push(answer);
    }
    let mut answer = scene.chat(json!({})).await;
    assert!(answer.header("retry-after").is_some() && answer.header("x-should-retry").is_none());
    assert_eq!(error(&mut answer).await, (429, "rate_limit_error".into(), "TOO_MANY_OPEN_HOLDS".into(), Value::Null));
    gate.open_for_good();
    for mut answer in open {
        assert_eq!(crate::scene::text(&crate::scene::chunks(&mut answer).await), "one");
    }
}

#[tokio::test]
async fn what_fails_after_the_head_was_sent_is_an_error_event_and_costs_nothing_before_the_first_token() {
    let scene = Scene::start().await;
    let gate = Gate::new();
    scene.upstream.script("/api/chat", Script::stream().gate(&gate).error_line("no such file"));
    // The head comes without a token once a second has passed.
    let mut answer = scene.chat(json!({ "stream": true })).await;
    assert_eq!(answer.status, 200);
    gate.open_for_good();
    let data = answer.data().await;
    let failure: Value = serde_json::from_str(&data[0]).unwrap();
    assert_eq!((data.len(), &failure["error"]["code"]), (1, &json!("UPSTREAM_UNAVAILABLE")));
    assert_eq!(failure["error"]["receipt"]["charged_credits"], 0);
    assert_eq!(scene.credits().await, (10, 0, 0));
}

#[tokio::test]
async fn an_idempotency_key_that_can_be_no_request_id_is_refused() {
    let scene = Scene::start().await;
    for key in ["with space", &"x".repeat(65)] {
        let mut answer = scene.post(CHAT, &chat(json!({}))).header("idempotency-key", key).send().await;
        let expected = (400, "invalid_request_error".to_owned(), "INVALID_ARGUMENT".to_owned(), json!("Idempotency-Key"));
        assert_eq!(error(&mut answer).await, expected);
    }
}

#[tokio::test]
async fn another_method_is_405_and_says_which_are_answered() {
    let scene = Scene::start().await;
    for (method, path, allow) in [("GET", CHAT, "POST"), ("PUT", COMPLETIONS, "POST"), ("POST", "/v1/models", "GET,HEAD")] {
        let mut answer = HttpCall::new(scene.address(), method, path).bearer(&scene.user.key).send().await;
        assert_eq!(answer.header("allow"), Some(allow));
        assert_eq!(error(&mut answer).await.0, 405);
    }
}

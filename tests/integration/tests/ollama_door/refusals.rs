//! What is refused, in Ollama's form and by its path.

use serde_json::{Value, json};

use crate::bench::Bench;

#[tokio::test]
async fn a_refusal_is_ollamas_error_with_our_code_beside_it() {
    let bench = Bench::start_with(&[("TOLLGATE_STARTING_CREDITS", "100")]).await;
    let chat = json!({ "model": "smollm2", "messages": [{ "role": "user", "content": "hi" }] });
    let of = |model: &str| json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] });
    let poor = bench.stack.user("poor").await;
    let dear = json!({ "model": "smollm2", "messages": [{ "role": "user", "content": "x".repeat(30_000) }] });
    let mistyped = bench.user.key.replacen(&bench.user.key[4..5], if &bench.user.key[4..5] == "x" { "y" } else { "x" }, 1);
    for (credential, body, status, code) in [
        ("", &chat, 401, "CREDENTIAL_MISSING"),
        (mistyped.as_str(), &chat, 401, "CREDENTIAL_INVALID"),
        (&bench.user.key, &of("nosuch"), 404, "MODEL_NOT_FOUND"),
        (&bench.user.key, &of("far:cloud"), 403, "CLOUD_MODEL_NOT_ALLOWED"),
        (&bench.user.key, &of("../x"), 400, "INVALID_ARGUMENT"),
        (&poor.key, &dear, 402, "INSUFFICIENT_CREDITS"),
    ] {
        let refused = bench.call_as(credential, &[], "POST", "/api/chat", body).await;
        let said = refused.json();
        assert_eq!((refused.status.as_u16(), said["code"].as_str()), (status, Some(code)), "{said}");
        assert!(said["error"].as_str().is_some_and(|error| error.len() > 10), "{said}");
        assert_eq!(refused.header("content-type"), "application/json; charset=utf-8");
    }
    assert_eq!((bench.sent(), bench.settled().await), (0, 0));
}

#[tokio::test]
async fn fields_are_refused_by_the_paths_that_ollamas_clients_know() {
    let bench = Bench::start().await;
    let chat = |more: Value| {
        let mut body = json!({ "model": "smollm2", "messages": [{ "role": "user", "content": "hi" }] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ("/api/chat", body)
    };
    let generate = |more: Value| {
        let mut body = json!({ "model": "smollm2", "prompt": "hi" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ("/api/generate", body)
    };
    let call = |arguments: Value| json!([{ "role": "assistant", "tool_calls": [{ "function": { "name": "f", "arguments": arguments } }] }]);
    for ((path, body), says) in [
        (chat(json!({ "messages": [{ "role": "robot", "content": "x" }] })), "messages[0].role must be"),
        (chat(json!({ "messages": [{ "role": "user", "content": 7 }] })), "messages[0].content must be"),
        (chat(json!({ "messages": [{ "role": "user", "images": ["§"] }] })), "messages[0].images[0] must be a picture in base64"),
        (chat(json!({ "messages": call(json!([1])) })), "messages[0].tool_calls[0].function.arguments must be"),
        (chat(json!({ "tools": [{ "function": { "name": "f", "parameters": [1] } }] })), "tools[0].function.parameters must be"),
        (chat(json!({ "tools": [{ "function": {} }] })), "tools[0].function.name is required"),
        (chat(json!({ "format": "xml" })), "format must be"),
        (chat(json!({ "format": { "pattern": "(" } })), "format"),
        (chat(json!({ "think": "enormous" })), "think must be"),
        (chat(json!({ "think": 7 })), "think must be"),
        (chat(json!({ "keep_alive": "soon" })), "keep_alive must be"),
        (chat(json!({ "keep_alive": "24h" })), "keep_alive must be from 0 to"),
        (chat(json!({ "keep_alive": true })), "keep_alive must be a number of seconds"),
        (chat(json!({ "shift": false })), "shift is not taken"),
        (chat(json!({ "options": { "mirostat": 2 } })), "options.mirostat is no sampler"),
        (chat(json!({ "options": { "num_keep": 5 } })), "options.num_keep is not taken"),
        (chat(json!({ "options": { "top_p": 2 } })), "options.top_p must be from 0 to 1"),
        (chat(json!({ "options": { "temperature": "hot" } })), "options.temperature must be"),
        (chat(json!({ "options": { "num_ctx": 100_000 } })), "options.num_ctx must be from 1 to 8192"),
        (chat(json!({ "options": { "stop": [""] } })), "options.stop must hold no empty"),
        (chat(json!({ "top_logprobs": 21 })), "top_logprobs must be from 0 to 20"),
        (generate(json!({ "template": "{{ .Prompt }}" })), "template is not taken"),
        (generate(json!({ "context": [1, 2] })), "context is not taken"),
        (generate(json!({ "raw": true, "system": "x" })), "system can't be given with raw"),
        (generate(json!({ "_debug_render_only": true })), "_debug_render_only is not taken"),
    ] {
        let refused = bench.post(path, &body).await;
        let said = refused.json();
        assert_eq!((refused.status.as_u16(), &said["code"]), (400, &json!("INVALID_ARGUMENT")), "{body}: {said}");
        assert!(said["error"].as_str().unwrap().starts_with(says), "{body}: {said} doesn't begin with {says:?}");
    }
    for body in ["{", "", "{}x", "{\"model\":\"smollm2\",\"messages\":["] {
        let authorization = shared::credential_form::to_bearer(&bench.user.key);
        let refused = bench.connect().await.call("POST", "/api/chat", &[("authorization", &authorization)], body.as_bytes()).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (400, &json!("MESSAGE_MALFORMED")), "{body}");
    }
    assert_eq!((bench.sent(), bench.settled().await), (0, 0));
}

#[tokio::test]
async fn fields_that_nobody_knows_are_taken_as_ollama_takes_them() {
    let bench = Bench::start().await;
    let body = json!({ "model": "smollm2", "messages": [{ "role": "user", "content": "hi", "name": "ada" }], "stream": false,
        "frobnicate": [1], "options": { "frobnicate": 1, "numa": true, "mirostat": 0, "num_keep": null } });
    assert_eq!(bench.post("/api/chat", &body).await.status, 200);
}

#[tokio::test]
async fn what_ollama_has_and_this_server_has_not_is_refused_with_words() {
    let bench = Bench::start().await;
    let digest = format!("/api/blobs/sha256:{}", "0".repeat(64));
    for (method, path, says) in [
        ("POST", "/api/pull", "operator"),
        ("POST", "/api/push", "not pushed"),
        ("POST", "/api/copy", "/api/create"),
        ("POST", digest.as_str(), "not taken"),
    ] {
        let refused = bench.call(method, path, &json!({ "model": "x" })).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (501, &json!("NOT_SUPPORTED")), "{path}");
        assert!(refused.json()["error"].as_str().unwrap().contains(says), "{path}: {}", refused.text());
        assert_eq!(bench.call_as("", &[], method, path, &json!({})).await.status, 401, "{path}: a stranger learns nothing");
    }
    assert_eq!(bench.call("HEAD", &digest, &Value::Null).await.status, 501);
    let wrong_method = bench.get("/api/chat").await;
    assert_eq!((wrong_method.status.as_u16(), wrong_method.header("allow")), (405, "POST"));
    assert!(wrong_method.json()["error"].is_string(), "in this door's form: {}", wrong_method.text());
    let nowhere = bench.get("/api/nosuch").await;
    assert_eq!(nowhere.status, 404);
    assert!(nowhere.text().contains("/api/chat"), "the list of doors: {}", nowhere.text());
}

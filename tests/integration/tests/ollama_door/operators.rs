//! A model's making and its removal, for operators.

use integration::scripted_upstream::Script;
use serde_json::{Value, json};

use crate::bench::{Bench, lines};

#[tokio::test]
async fn an_operator_makes_a_model_from_json_and_removes_it() {
    let bench = Bench::start().await;
    let admin = bench.stack.admin_token().await;
    let body = json!({
        "model": "mario", "from": "smollm2", "system": "You are \"Mario\".\nBe brief.", "template": "{{ .Prompt }}",
        "parameters": { "temperature": 0.5, "num_ctx": 2048, "stop": ["<|im_end|>", "\""] },
        "messages": [{ "role": "user", "content": "Hi" }, { "role": "assistant", "content": "It's-a me!" }], "license": "MIT",
    });
    let made = bench.call_as(&admin, &[], "POST", "/api/create", &body).await;
    assert_eq!((made.status.as_u16(), made.header("content-type")), (200, "application/x-ndjson"));
    let steps = lines(&made);
    assert_eq!(steps.last().unwrap(), &json!({ "status": "success" }));
    let sent = bench.upstream.request("/api/create", 0).await.json();
    for field in ["model", "from", "system", "template", "parameters", "messages"] {
        assert_eq!(sent[field], body[field], "{field}");
    }
    let at_once = json!({ "name": "luigi", "from": "smollm2", "stream": false });
    let made = bench.call_as(&admin, &[], "POST", "/api/create", &at_once).await;
    assert_eq!((made.status.as_u16(), made.json()), (200, json!({ "status": "success" })));
    let removed = bench.call_as(&admin, &[], "DELETE", "/api/delete", &json!({ "model": "mario" })).await;
    assert_eq!((removed.status.as_u16(), removed.body.len()), (200, 0));
    assert_eq!(bench.call_as(&admin, &[], "DELETE", "/api/delete", &json!({ "name": "mario" })).await.status, 404);
}

#[tokio::test]
async fn who_is_no_operator_is_refused_before_what_it_sends_is_looked_at() {
    let bench = Bench::start().await;
    for credential in [&bench.user.key, &bench.user.token] {
        for (method, path, body) in [
            ("POST", "/api/create", json!({ "model": "x", "from": "smollm2", "files": { "a": "b" } })),
            ("DELETE", "/api/delete", json!({ "model": "smollm2" })),
        ] {
            let refused = bench.call_as(credential, &[], method, path, &body).await;
            assert_eq!(refused.status, 403, "{path}: {}", refused.text());
            assert!(!refused.text().contains("files"), "{}", refused.text());
        }
    }
    assert!(bench.upstream.requests_to("/api/create").is_empty() && bench.upstream.requests_to("/api/delete").is_empty());
}

#[tokio::test]
async fn a_making_is_refused_by_the_field_and_what_fails_later_is_a_line() {
    let bench = Bench::start().await;
    let admin = bench.stack.admin_token().await;
    let create = |body: Value| {
        let (bench, admin) = (&bench, admin.as_str());
        async move { bench.call_as(admin, &[], "POST", "/api/create", &body).await }
    };
    for (body, says) in [
        (json!({ "model": "x" }), "from is required"),
        (json!({ "model": "x", "from": "smollm2", "files": { "a": "b" } }), "files is not taken"),
        (json!({ "model": "x", "from": "smollm2", "quantize": "q4_0" }), "quantize is not taken"),
        (json!({ "model": "x", "from": "smollm2", "adapters": { "a": "b" } }), "adapters is not taken"),
        (json!({ "model": "x", "from": "./model.gguf" }), "FROM a file is not supported"),
        (json!({ "model": "x", "from": "nosuch" }), "FROM names a model that isn't there"),
        (json!({ "model": "x", "from": "smollm2", "parameters": { "temperature": "hot" } }), "temperature must be a number"),
        (json!({ "model": "x", "from": "smollm2", "parameters": { "frobnicate": 1 } }), "\"frobnicate\" is not a parameter"),
        (json!({ "model": "x", "from": "smollm2", "messages": [{ "role": "robot", "content": "" }] }), "messages[0].role must be"),
        (json!({ "from": "smollm2" }), "model is required"),
    ] {
        let refused = create(body.clone()).await;
        let said = refused.json();
        assert_eq!(refused.status, 400, "{body}: {said}");
        assert!(said["error"].as_str().unwrap().starts_with(says), "{body}: {said} doesn't begin with {says:?}");
    }
    let breaks = Script::stream().line(&json!({ "status": "writing manifest" })).error_line("no space left on device");
    bench.upstream.script_once("/api/create", breaks.clone());
    let failed = create(json!({ "model": "x", "from": "smollm2" })).await;
    let steps = lines(&failed);
    assert_eq!((failed.status.as_u16(), steps.len(), steps[1]["error"].is_string()), (200, 2, true), "{steps:?}");
    assert!(!failed.text().contains("no space"), "upstream's words are the operator's log's");
    bench.upstream.script_once("/api/create", breaks);
    assert_eq!(create(json!({ "model": "x", "from": "smollm2", "stream": false })).await.status, 503);
}

//! What of a request reaches the model server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::scene::Scene;

/// What the model server was asked by the first chat.
async fn asked(scene: &Scene, fields: Value) -> Value {
    let mut answer = scene.chat(fields).await;
    let body = answer.text().await;
    assert_eq!(answer.status, 200, "{body}");
    scene.upstream.request("/api/chat", 0).await.json()
}

#[tokio::test]
async fn sampling_bounds_and_the_form_reach_the_model_server() {
    let scene = Scene::start().await;
    let schema = json!({ "type": "object", "properties": { "z": { "type": "string" }, "a": { "type": "integer" } }, "required": ["z"] });
    let body = asked(
        &scene,
        json!({
            "max_completion_tokens": 9, "temperature": 0.25, "top_p": 0.5, "seed": 42, "stop": ["\n\n", "END"],
            "frequency_penalty": 0.5, "presence_penalty": 0,
            "response_format": { "type": "json_schema", "json_schema": { "name": "n", "schema": schema, "strict": true } },
        }),
    )
    .await;
    let options = json!({
        "temperature": 0.25, "top_p": 0.5, "presence_penalty": 0.0, "frequency_penalty": 0.5, "seed": 42, "stop": ["\n\n", "END"],
        "num_predict": 9,
    });
    assert_eq!(body["options"], options);
    // Keys in the order in which they were sent: a grammar follows it.
    assert_eq!(body["format"].to_string(), schema.to_string());
    assert_eq!(body["stream"], true, "only a stream can be stopped");
}

#[tokio::test]
async fn any_json_is_asked_for_by_json_object_and_free_text_by_text() {
    for (kind, format) in [("json_object", json!("json")), ("text", Value::Null)] {
        let scene = Scene::start().await;
        assert_eq!(asked(&scene, json!({ "response_format": { "type": kind } })).await["format"], format);
    }
}

#[tokio::test]
async fn a_conversation_with_calls_and_results_reaches_the_model_server() {
    let scene = Scene::start().await;
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let called = json!({ "name": "get_weather", "arguments": "{\"city\": \"Paris\", \"a\": 1.0}" });
    let body = asked(
        &scene,
        json!({
            "model": "withtools",
            "messages": [
                { "role": "developer", "content": "Be brief." },
                { "role": "user", "content": [{ "type": "text", "text": "Weather" }, { "type": "text", "text": "in Paris?" }] },
                { "role": "assistant", "content": null, "tool_calls": [
                    { "id": "call_1", "type": "function", "function": called },
                ] },
                { "role": "tool", "tool_call_id": "call_1", "content": "sunny" },
            ],
            "tools": [{ "type": "function", "function": { "name": "get_weather", "description": "Of a city", "parameters": parameters } }],
            "tool_choice": "auto",
        }),
    )
    .await;
    let messages = json!([
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": "Weather\nin Paris?" },
        { "role": "assistant", "content": "", "tool_calls": [
            { "id": "call_1", "function": { "index": 0, "name": "get_weather", "arguments": { "city": "Paris", "a": 1.0 } } },
        ] },
        { "role": "tool", "content": "sunny", "tool_name": "get_weather", "tool_call_id": "call_1" },
    ]);
    assert_eq!(body["messages"], messages);
    let function = json!({ "name": "get_weather", "description": "Of a city", "parameters": parameters });
    assert_eq!(body["tools"], json!([{ "type": "function", "function": function }]));
}

#[tokio::test]
async fn tools_that_none_may_be_called_of_are_not_told_to_the_model() {
    let scene = Scene::start().await;
    let tools = json!([{ "type": "function", "function": { "name": "f" } }]);
    // smollm2 has no tools: it needs none here.
    assert_eq!(asked(&scene, json!({ "tools": tools, "tool_choice": "none" })).await.get("tools"), None);
}

#[tokio::test]
async fn pictures_reach_the_model_server_as_they_were_sent() {
    let scene = Scene::start().await;
    let picture = STANDARD.encode(include_bytes!("../../fixtures/pixel.png"));
    let body = asked(
        &scene,
        json!({ "model": "sees", "messages": [{ "role": "user", "content": [
            { "type": "text", "text": "What is it?" },
            { "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{picture}"), "detail": "low" } },
            { "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{}", picture.trim_end_matches('=')) } },
        ] }] }),
    )
    .await;
    assert_eq!(body["messages"], json!([{ "role": "user", "content": "What is it?", "images": [picture, picture] }]));
}

#[tokio::test]
async fn a_picture_of_a_megabyte_reaches_the_model_server_and_too_many_are_refused_by_their_path() {
    let scene = Scene::start().await;
    let mut picture = include_bytes!("../../fixtures/pixel.png").to_vec();
    picture.resize(1 << 20, 7);
    let picture = STANDARD.encode(picture);
    let part = |picture: &str| json!({ "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{picture}") } });
    let message = |parts: Vec<Value>| json!({ "model": "sees", "messages": [{ "role": "user", "content": parts }] });
    assert_eq!(asked(&scene, message(vec![part(&picture)])).await["messages"][0]["images"], json!([picture]));
    let small = STANDARD.encode(include_bytes!("../../fixtures/pixel.png"));
    let mut answer = scene.chat(message(vec![part(&small); 65])).await;
    assert_eq!(crate::scene::error(&mut answer).await.3, "messages[].content[].image_url");
}

#[tokio::test]
async fn efforts_are_the_model_servers_levels() {
    for (effort, think) in [("none", json!(false)), ("minimal", json!("low")), ("medium", json!("medium")), ("xhigh", json!("max"))] {
        let scene = Scene::start().await;
        assert_eq!(asked(&scene, json!({ "model": "thinks", "reasoning_effort": effort })).await["think"], think);
    }
    let scene = Scene::start().await;
    assert_eq!(asked(&scene, json!({ "model": "thinks" })).await.get("think"), None);
}

#[tokio::test]
async fn what_python_and_node_send_beside_the_request_is_taken() {
    let scene = Scene::start().await;
    let mut answer = scene
        .post(
            crate::scene::CHAT,
            &crate::scene::chat(json!({ "user": "ann", "metadata": { "a": "b" }, "store": false, "n": 1, "service_tier": "auto" })),
        )
        .header("x-stainless-retry-count", "0")
        .header("openai-organization", "org")
        .header("idempotency-key", "stainless-python-retry-0f8fad5b-d9cb-469f-a165-70867728950e")
        .send()
        .await;
    let body = answer.json().await;
    assert_eq!((answer.status, &body["service_tier"]), (200, &json!("default")), "{body}");
    assert_eq!(body["id"], "chatcmpl-stainless-python-retry-0f8fad5b-d9cb-469f-a165-70867728950e");
}

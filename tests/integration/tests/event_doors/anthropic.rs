//! What Anthropic's door answers.

use base64::Engine as _;
use integration::http_client::HttpCall;
use integration::recorded::Release;
use integration::scripted_upstream::Script;
use serde_json::{Value, json};

use crate::scene::{MESSAGES, Scene, events, joined, whole};

const PNG: &[u8] = include_bytes!("../../fixtures/pixel.png");

fn weather() -> Value {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    json!([{ "name": "get_weather", "description": "The weather in a city", "input_schema": schema }])
}

#[tokio::test]
async fn a_whole_message_has_its_text_its_end_and_its_counts() {
    let scene = Scene::start().await;
    let mut answer = scene.message(json!({ "system": "be short", "stop_sequences": ["END"], "temperature": 0.5, "top_k": 3 })).await;
    assert_eq!(answer.header("request-id"), answer.header("x-request-id"), "where Anthropic's SDKs look for it");
    let mut message = whole(&mut answer).await;
    assert!(message["id"].take().as_str().unwrap().starts_with("msg_"));
    let expected = json!({
        "id": null, "type": "message", "role": "assistant", "model": "smollm2", "content": [{ "type": "text", "text": "It's-a me!" }],
        "stop_reason": "end_turn", "stop_sequence": null,
        "usage": { "input_tokens": 14, "output_tokens": 4, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "cost": 1 },
    });
    assert_eq!(message, expected);
    let sent = scene.upstream.request("/api/chat", 0).await.json();
    assert_eq!(sent["messages"], json!([{ "role": "system", "content": "be short" }, { "role": "user", "content": "hi" }]));
    let options = &sent["options"];
    assert_eq!((&options["num_predict"], &options["stop"], &options["top_k"]), (&json!(64), &json!(["END"]), &json!(3)));
    assert_eq!(options["temperature"], 0.5);
}

#[tokio::test]
async fn a_streamed_message_is_the_events_that_anthropic_sends() {
    let scene = Scene::start().await;
    let mut answer = scene.message(json!({ "stream": true })).await;
    let all = events(&mut answer).await;
    let names: Vec<&str> = all.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let delta = "content_block_delta";
    let expected =
        ["message_start", "content_block_start", delta, delta, delta, delta, "content_block_stop", "message_delta", "message_stop"];
    assert_eq!(names, expected);
    assert_eq!(joined(&all, delta, "/delta/text"), "It's-a me!");
    let end = &all[7];
    assert_eq!(end["delta"], json!({ "stop_reason": "end_turn", "stop_sequence": null }));
    assert_eq!((&end["usage"]["input_tokens"], &end["usage"]["output_tokens"]), (&json!(14), &json!(4)));
}

#[tokio::test]
async fn a_call_that_a_real_ollama_made_arrives_whole_in_both_ways_and_its_result_goes_back() {
    for release in Release::ALL {
        let scene = Scene::start().await;
        scene.upstream.script("/api/chat", release.exchange("chat-tool-call").script(0.0));
        let request = json!({ "model": "withtools", "tools": weather() });
        let message = whole(&mut scene.message(request.clone()).await).await;
        let call = &message["content"][0];
        assert_eq!(
            (&call["type"], &call["name"], &call["input"]),
            (&json!("tool_use"), &json!("get_weather"), &json!({ "city": "Paris" }))
        );
        assert_eq!(message["stop_reason"], "tool_use");
        let all = events(&mut scene.message(crate::scene::with(request, json!({ "stream": true }))).await).await;
        let input: Value = serde_json::from_str(&joined(&all, "content_block_delta", "/delta/partial_json")).unwrap();
        assert_eq!(input, json!({ "city": "Paris" }));
        assert_eq!(joined(&all, "message_delta", "/delta/stop_reason"), "tool_use");

        let result = json!([{ "type": "tool_result", "tool_use_id": call["id"], "content": "11 degrees" }]);
        let turns = json!([
            { "role": "user", "content": "hi" }, { "role": "assistant", "content": message["content"] },
            { "role": "user", "content": result },
        ]);
        whole(&mut scene.message(json!({ "model": "withtools", "tools": weather(), "messages": turns })).await).await;
        let sent = scene.upstream.request("/api/chat", 2).await.json();
        assert_eq!(sent["messages"][1]["tool_calls"][0]["function"]["arguments"], json!({ "city": "Paris" }));
        let result = &sent["messages"][2];
        assert_eq!(
            (&result["role"], &result["content"], &result["tool_name"]),
            (&json!("tool"), &json!("11 degrees"), &json!("get_weather"))
        );
    }
}

#[tokio::test]
async fn what_a_real_ollamas_model_thought_is_a_block_before_its_text() {
    let scene = Scene::start().await;
    scene.upstream.script("/api/chat", Release::V0_32.exchange("chat-thinking-deltas").script(0.0));
    let request = json!({ "model": "thinks", "thinking": { "type": "enabled", "budget_tokens": 1024 } });
    let message = whole(&mut scene.message(request.clone()).await).await;
    let thought = message["content"][0]["thinking"].as_str().unwrap().to_owned();
    assert_eq!((&message["content"][0]["type"], thought.is_empty()), (&json!("thinking"), false));
    let all = events(&mut scene.message(crate::scene::with(request, json!({ "stream": true }))).await).await;
    assert_eq!(joined(&all, "content_block_delta", "/delta/thinking"), thought);
    assert_eq!(scene.upstream.request("/api/chat", 0).await.json()["think"], true);
    let turns = json!([{ "role": "assistant", "content": message["content"] }, { "role": "user", "content": "go on" }]);
    whole(&mut scene.message(json!({ "model": "thinks", "messages": turns })).await).await;
    assert_eq!(scene.upstream.request("/api/chat", 2).await.json()["messages"][0]["thinking"], thought);
}

#[tokio::test]
async fn a_bound_that_is_reached_is_max_tokens_and_a_schema_reaches_the_model_server() {
    let scene = Scene::start().await;
    scene.upstream.script("/api/chat", Script::stream().token("{}").done("length", 5, 1));
    let schema = json!({ "type": "object", "properties": { "b": { "type": "string" }, "a": { "type": "string" } } });
    let config = json!({ "format": { "type": "json_schema", "schema": schema } });
    let message = whole(&mut scene.message(json!({ "output_config": config })).await).await;
    assert_eq!(message["stop_reason"], "max_tokens");
    let sent = String::from_utf8(scene.upstream.request("/api/chat", 0).await.body.to_vec()).unwrap();
    assert!(sent.contains(&format!("\"format\":{schema}")), "{sent}");
}

#[tokio::test]
async fn pictures_reach_a_model_that_sees() {
    let scene = Scene::start().await;
    let data = base64::engine::general_purpose::STANDARD.encode(PNG);
    let source = json!({ "type": "base64", "media_type": "image/png", "data": data });
    let turns = json!([{ "role": "user", "content": [{ "type": "image", "source": source }, { "type": "text", "text": "what?" }] }]);
    whole(&mut scene.message(json!({ "model": "sees", "messages": turns })).await).await;
    assert_eq!(scene.upstream.request("/api/chat", 0).await.json()["messages"][0]["images"], json!([data]));
}

#[tokio::test]
async fn the_headers_of_anthropics_sdk_are_taken_and_none_is_needed_but_the_key() {
    let scene = Scene::start().await;
    let call = HttpCall::post(scene.address(), MESSAGES, &crate::scene::plain_message()).header("x-api-key", &scene.user.key);
    assert_eq!(call.clone().send().await.status, 200);
    let with_headers = call.header("anthropic-version", "2023-06-01").header("anthropic-beta", "interleaved-thinking-2025-05-14");
    assert_eq!(with_headers.send().await.status, 200);
}

#[tokio::test]
async fn models_are_in_anthropics_form_where_its_header_is_sent() {
    let scene = Scene::start().await;
    let get = |path: &str| {
        HttpCall::get(scene.address(), path).header("x-api-key", &scene.user.key).header("anthropic-version", "2023-06-01").send()
    };
    let list = whole(&mut get("/v1/models?limit=1").await).await;
    assert_eq!((&list["data"][0]["type"], &list["data"][0]["id"], &list["has_more"]), (&json!("model"), &json!("smollm2"), &json!(true)));
    assert_eq!(list["data"][0]["created_at"], "2026-11-22T01:56:36.049722669Z");
    let rest = whole(&mut get("/v1/models?after_id=smollm2").await).await;
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["has_more"]), (3, &json!(false)));
    let one = whole(&mut get("/v1/models/thinks").await).await;
    assert_eq!((&one["type"], &one["id"], &one["display_name"]), (&json!("model"), &json!("thinks"), &json!("thinks")));
}

#[tokio::test]
async fn effort_counts_where_the_model_thinks_and_is_no_reason_to_refuse_one_that_does_not() {
    let scene = Scene::start().await;
    for (number, (model, think)) in [("smollm2", Value::Null), ("thinks", json!("high"))].into_iter().enumerate() {
        let config = json!({ "thinking": { "type": "adaptive" }, "output_config": { "effort": "high" }, "model": model });
        whole(&mut scene.message(config).await).await;
        assert_eq!(scene.upstream.request("/api/chat", number).await.json()["think"], think);
    }
    let mut missing = scene.message(json!({ "output_config": { "effort": "high" }, "model": "nothere" })).await;
    assert_eq!(crate::scene::error(&mut missing).await.0, 404);
    let body = crate::scene::with(crate::scene::plain_message(), json!({ "output_config": { "effort": "low" } }));
    assert_eq!(HttpCall::post(scene.address(), MESSAGES, &body).bearer("tg_wrong").send().await.status, 401);
}

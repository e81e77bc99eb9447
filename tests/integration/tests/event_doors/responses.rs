//! What the door of OpenAI's Responses API answers.

use base64::Engine as _;
use integration::recorded::Release;
use integration::scripted_upstream::Script;
use serde_json::{Value, json};

use crate::scene::{Scene, events, joined, whole};

const PNG: &[u8] = include_bytes!("../../fixtures/pixel.png");

fn weather() -> Value {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    json!([{ "type": "function", "name": "get_weather", "description": "The weather in a city", "parameters": schema, "strict": true }])
}

#[tokio::test]
async fn a_whole_response_has_its_text_its_counts_and_all_that_was_asked_for() {
    let scene = Scene::start().await;
    let mut answer = scene.response(json!({ "instructions": "be short", "temperature": 0.5, "metadata": { "k": "v" } })).await;
    let mut response = whole(&mut answer).await;
    assert!(response["id"].take().as_str().unwrap().starts_with("resp_"));
    assert!(response["output"][0]["id"].take().as_str().unwrap().starts_with("msg_"));
    assert!(response["created_at"].take().as_u64().unwrap() <= response["completed_at"].take().as_u64().unwrap());
    let expected = json!({
        "id": null, "object": "response", "created_at": null, "completed_at": null, "status": "completed", "background": false,
        "error": null,
        "incomplete_details": null, "model": "smollm2",
        "output": [{
            "type": "message", "id": null, "status": "completed", "role": "assistant",
            "content": [{ "type": "output_text", "text": "It's-a me!", "annotations": [], "logprobs": [] }],
        }],
        "usage": {
            "input_tokens": 14, "input_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 }, "output_tokens": 4,
            "output_tokens_details": { "reasoning_tokens": 0 }, "total_tokens": 18, "cost": 1,
        },
        "instructions": "be short", "max_output_tokens": 64, "max_tool_calls": null, "metadata": { "k": "v" }, "parallel_tool_calls": true,
        "previous_response_id": null, "prompt_cache_key": null, "reasoning": { "effort": null, "summary": null }, "safety_identifier": null,
        "service_tier": "default", "store": false, "temperature": 0.5, "text": { "format": { "type": "text" }, "verbosity": "medium" },
        "tool_choice": "auto", "tools": [], "top_logprobs": 0, "top_p": null, "truncation": "disabled", "user": null,
    });
    assert_eq!(response, expected);
    let sent = scene.upstream.request("/api/chat", 0).await.json();
    assert_eq!(sent["messages"], json!([{ "role": "system", "content": "be short" }, { "role": "user", "content": "hi" }]));
    assert_eq!((&sent["options"]["num_predict"], &sent["truncate"]), (&json!(64), &json!(false)));
}

#[tokio::test]
async fn a_streamed_response_is_the_events_that_openai_sends_in_their_order() {
    let scene = Scene::start().await;
    let mut answer = scene.response(json!({ "stream": true })).await;
    let all = events(&mut answer).await;
    let names: Vec<&str> = all.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let delta = "response.output_text.delta";
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        delta,
        delta,
        delta,
        delta,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(names, expected);
    let numbers: Vec<u64> = all.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..12).collect::<Vec<u64>>());
    assert_eq!(joined(&all, delta, "/delta"), "It's-a me!");
    let response = &all[11]["response"];
    assert_eq!(response["output"][0]["content"][0]["text"], "It's-a me!");
    assert_eq!((&response["id"], &response["usage"]["output_tokens"]), (&all[0]["response"]["id"], &json!(4)));
}

#[tokio::test]
async fn a_call_that_a_real_ollama_made_arrives_whole_in_both_ways_and_its_output_goes_back() {
    for release in Release::ALL {
        let scene = Scene::start().await;
        scene.upstream.script("/api/chat", release.exchange("chat-tool-call").script(0.0));
        let request = json!({ "model": "withtools", "tools": weather() });
        let response = whole(&mut scene.response(request.clone()).await).await;
        let call = &response["output"][0];
        assert_eq!((&call["type"], &call["name"], &call["status"]), (&json!("function_call"), &json!("get_weather"), &json!("completed")));
        let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
        assert_eq!(arguments, json!({ "city": "Paris" }));
        let all = events(&mut scene.response(crate::scene::with(request, json!({ "stream": true }))).await).await;
        let streamed: Value = serde_json::from_str(&joined(&all, "response.function_call_arguments.delta", "/delta")).unwrap();
        assert_eq!(streamed, arguments);

        let mut input = vec![json!({ "role": "user", "content": "hi" })];
        input.extend(response["output"].as_array().unwrap().iter().cloned());
        input.push(json!({ "type": "function_call_output", "call_id": call["call_id"], "output": "11 degrees" }));
        whole(&mut scene.response(json!({ "model": "withtools", "tools": weather(), "input": input })).await).await;
        let sent = scene.upstream.request("/api/chat", 2).await.json();
        assert_eq!(sent["messages"][1]["tool_calls"][0]["function"]["arguments"], arguments);
        let output = &sent["messages"][2];
        assert_eq!(
            (&output["role"], &output["content"], &output["tool_name"]),
            (&json!("tool"), &json!("11 degrees"), &json!("get_weather"))
        );
    }
}

#[tokio::test]
async fn what_a_real_ollamas_model_thought_is_an_item_before_its_message() {
    let scene = Scene::start().await;
    scene.upstream.script("/api/chat", Release::V0_32.exchange("chat-thinking-deltas").script(0.0));
    let request = json!({ "model": "thinks", "reasoning": { "effort": "high", "summary": "auto" } });
    let response = whole(&mut scene.response(request.clone()).await).await;
    let thought = response["output"][0]["summary"][0]["text"].as_str().unwrap().to_owned();
    assert_eq!((&response["output"][0]["type"], thought.is_empty()), (&json!("reasoning"), false));
    let all = events(&mut scene.response(crate::scene::with(request, json!({ "stream": true }))).await).await;
    assert_eq!(joined(&all, "response.reasoning_summary_text.delta", "/delta"), thought);
    assert_eq!(scene.upstream.request("/api/chat", 0).await.json()["think"], "high");
    let mut input = response["output"].as_array().unwrap().clone();
    input.push(json!({ "role": "user", "content": "go on" }));
    whole(&mut scene.response(json!({ "model": "thinks", "input": input })).await).await;
    assert_eq!(scene.upstream.request("/api/chat", 2).await.json()["messages"][0]["thinking"], thought);
}

#[tokio::test]
async fn log_probabilities_of_a_real_ollama_are_with_the_text() {
    let scene = Scene::start().await;
    scene.upstream.script("/api/chat", Release::V0_32.exchange("chat-top-logprobs").script(0.0));
    let asked = json!({ "top_logprobs": 2, "include": ["message.output_text.logprobs"] });
    let response = whole(&mut scene.response(asked.clone()).await).await;
    let logprobs = response["output"][0]["content"][0]["logprobs"].as_array().unwrap().clone();
    assert!(!logprobs.is_empty() && logprobs[0]["logprob"].is_number() && logprobs[0]["top_logprobs"][0]["token"].is_string());
    let all = events(&mut scene.response(crate::scene::with(asked, json!({ "stream": true }))).await).await;
    let streamed = all.iter().filter(|event| event["type"] == "response.output_text.delta");
    let streamed: Vec<Value> = streamed.flat_map(|event| event["logprobs"].as_array().unwrap().clone()).collect();
    assert_eq!(streamed, logprobs);
}

#[tokio::test]
async fn a_bound_that_is_reached_is_incomplete_in_both_ways() {
    let scene = Scene::start().await;
    scene.upstream.script("/api/chat", Script::stream().token("on").done("length", 5, 1));
    let response = whole(&mut scene.response(json!({})).await).await;
    assert_eq!((&response["status"], &response["incomplete_details"]["reason"]), (&json!("incomplete"), &json!("max_output_tokens")));
    let all = events(&mut scene.response(json!({ "stream": true })).await).await;
    assert_eq!(all.last().unwrap()["type"], "response.incomplete");
}

#[tokio::test]
async fn a_schema_reaches_the_model_server_as_it_was_sent_and_comes_back() {
    let scene = Scene::start().await;
    scene.upstream.script("/api/chat", Script::chat(&["{}"]));
    let schema = json!({ "type": "object", "properties": { "b": { "type": "string" }, "a": { "type": "string" } } });
    let format = json!({ "type": "json_schema", "name": "n", "schema": schema, "strict": true });
    let response = whole(&mut scene.response(json!({ "text": { "format": format } })).await).await;
    assert_eq!(response["text"]["format"], format);
    let sent = String::from_utf8(scene.upstream.request("/api/chat", 0).await.body.to_vec()).unwrap();
    assert!(sent.contains(&format!("\"format\":{schema}")), "{sent}");
}

#[tokio::test]
async fn pictures_reach_a_model_that_sees() {
    let scene = Scene::start().await;
    let data = base64::engine::general_purpose::STANDARD.encode(PNG);
    let url = format!("data:image/png;base64,{data}");
    let content = json!([{ "type": "input_text", "text": "what?" }, { "type": "input_image", "detail": "auto", "image_url": url }]);
    whole(&mut scene.response(json!({ "model": "sees", "input": [{ "role": "user", "content": content }] })).await).await;
    assert_eq!(scene.upstream.request("/api/chat", 0).await.json()["messages"][0]["images"], json!([data]));
}

#[tokio::test]
async fn a_function_that_must_be_called_is_the_answer_in_both_ways() {
    let scene = Scene::start().await;
    scene.upstream.script("/api/chat", Script::chat(&["{\"city\":", "\"Paris\"}"]));
    // With a model that has no tools: what it answers is held to the schema.
    let request = json!({ "tools": weather(), "tool_choice": { "type": "function", "name": "get_weather" } });
    let response = whole(&mut scene.response(request.clone()).await).await;
    let call = &response["output"][0];
    assert_eq!(
        (&call["type"], &call["name"], &call["arguments"]),
        (&json!("function_call"), &json!("get_weather"), &json!("{\"city\":\"Paris\"}"))
    );
    assert_eq!(response["output"].as_array().unwrap().len(), 1);
    let all = events(&mut scene.response(crate::scene::with(request, json!({ "stream": true }))).await).await;
    assert_eq!(joined(&all, "response.function_call_arguments.delta", "/delta"), "{\"city\":\"Paris\"}");
    assert!(!all.iter().any(|event| event["type"] == "response.output_text.delta"));
    assert_eq!(scene.upstream.request("/api/chat", 0).await.json()["format"], weather()[0]["parameters"]);
}

//! What an answer looks like, whole and in chunks.

use integration::recorded::Release;
use integration::scripted_upstream::{Script, chat_line, done_line};
use serde_json::{Value, json};

use crate::scene::{CHAT, Scene, chat, chunks, text};

/// What is the same in all chunks of a stream.
fn head(chunk: &Value) -> Value {
    json!([chunk["id"], chunk["object"], chunk["created"], chunk["model"], chunk["system_fingerprint"]])
}

#[tokio::test]
async fn a_whole_answer_has_openais_form_and_its_receipt_in_usage_and_headers() {
    let scene = Scene::start().await;
    let mut answer = scene.post(CHAT, &chat(json!({}))).header("idempotency-key", "one-1").send().await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.header("x-tollgate-charged-credits"), Some("1"));
    assert_eq!(answer.header("x-tollgate-remaining-credits"), Some("9"));
    assert!(answer.header("x-request-id").is_some());
    let mut body = answer.json().await;
    assert!(body["created"].take().as_u64().unwrap() > 1_700_000_000);
    let expected = json!({
        "id": "chatcmpl-one-1", "object": "chat.completion", "created": null, "model": "smollm2", "system_fingerprint": "fp_tollgate",
        "choices": [{
            "index": 0, "message": { "role": "assistant", "content": "It's-a me!", "refusal": null }, "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": { "prompt_tokens": 14, "completion_tokens": 4, "total_tokens": 18, "cost": 1 },
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_stream_has_the_role_first_then_pieces_and_last_its_end_with_the_receipt() {
    let scene = Scene::start().await;
    let mut answer = scene.chat(json!({ "stream": true })).await;
    let chunks = chunks(&mut answer).await;
    let choices: Vec<Value> = chunks.iter().map(|chunk| chunk["choices"].clone()).collect();
    let choice = |delta: Value, reason: Value| json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": reason }]);
    let expected = [
        choice(json!({ "role": "assistant", "content": "It" }), Value::Null),
        choice(json!({ "content": "'s" }), Value::Null),
        choice(json!({ "content": "-a" }), Value::Null),
        choice(json!({ "content": " me!" }), Value::Null),
        choice(json!({}), "stop".into()),
    ];
    assert_eq!(choices, expected);
    assert!(chunks.iter().all(|chunk| head(chunk) == head(&chunks[0]) && chunk.get("usage").is_none()));
    assert!(chunks[0]["id"].as_str().unwrap().starts_with("chatcmpl-") && chunks[0]["object"] == "chat.completion.chunk");
    assert_eq!(chunks[4]["receipt"], json!({ "charged_credits": 1, "remaining_credits": 9 }));
    assert!(chunks[..4].iter().all(|chunk| chunk.get("receipt").is_none()));
}

#[tokio::test]
async fn the_counts_come_last_and_without_a_choice_when_they_are_asked_for() {
    let scene = Scene::start().await;
    let mut answer = scene.chat(json!({ "stream": true, "stream_options": { "include_usage": true } })).await;
    let chunks = chunks(&mut answer).await;
    let (last, before) = chunks.split_last().unwrap();
    assert!(before.iter().all(|chunk| chunk["usage"].is_null() && chunk.get("receipt").is_none()));
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"], json!({ "prompt_tokens": 14, "completion_tokens": 4, "total_tokens": 18, "cost": 1 }));
    assert_eq!(last["receipt"], json!({ "charged_credits": 1, "remaining_credits": 9 }));
}

#[tokio::test]
async fn recorded_calls_of_tools_arrive_whole_and_numbered() {
    for release in Release::ALL {
        let scene = Scene::start().await;
        let exchange = release.exchange("chat-tool-call");
        let body = exchange.response.body();
        let line: Value = serde_json::from_str(body.lines().next().unwrap()).unwrap();
        let id = line["message"]["tool_calls"][0]["id"].clone();
        scene.upstream.script("/api/chat", exchange.script(0.0));
        let tools = json!([{ "type": "function", "function": { "name": "get_weather" } }]);
        let function = json!({ "name": "get_weather", "arguments": r#"{"city":"Paris"}"# });

        let mut whole = scene.chat(json!({ "model": "withtools", "tools": tools })).await;
        let choice = whole.json().await["choices"][0].clone();
        let message = json!({
            "role": "assistant", "content": null, "refusal": null, "tool_calls": [{ "id": id, "type": "function", "function": function }],
        });
        assert_eq!((&choice["message"], &choice["finish_reason"]), (&message, &json!("tool_calls")), "{release:?}");

        let mut stream = scene.chat(json!({ "model": "withtools", "tools": tools, "stream": true })).await;
        let chunks = chunks(&mut stream).await;
        let delta = json!({
            "role": "assistant", "tool_calls": [{ "index": 0, "id": id, "type": "function", "function": function }],
        });
        assert_eq!(chunks[0]["choices"][0]["delta"], delta, "{release:?}");
        assert_eq!(chunks[1]["choices"][0]["finish_reason"], "tool_calls");
    }
}

#[tokio::test]
async fn a_tool_that_must_be_called_is_an_answer_held_to_its_schema() {
    let scene = Scene::start().await;
    scene.upstream.script("/api/chat", Script::chat(&["{\"city\":", " \"Paris\"}"]));
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    let tools = json!([{ "type": "function", "function": { "name": "get_weather", "parameters": parameters, "strict": true } }]);
    let function = json!({ "name": "get_weather", "arguments": r#"{"city": "Paris"}"# });
    for choice in [json!("required"), json!({ "type": "function", "function": { "name": "get_weather" } })] {
        // smollm2 has no tools, and needs none for this.
        let fields = json!({ "tools": tools, "tool_choice": choice });
        let mut whole = scene.chat(fields.clone()).await;
        let body = whole.json().await;
        let said = &body["choices"][0];
        assert_eq!((&said["message"]["tool_calls"][0]["function"], &said["message"]["content"]), (&function, &Value::Null), "{body}");
        let mut stream = scene.chat(crate::scene::with(fields, json!({ "stream": true }))).await;
        let chunks = chunks(&mut stream).await;
        assert_eq!(chunks[0]["choices"][0]["delta"]["tool_calls"][0]["function"], function);
        assert!(chunks[0]["choices"][0]["delta"]["tool_calls"][0]["id"].as_str().is_some_and(|id| !id.is_empty()));
        assert_eq!(chunks.len(), 2);
    }
    assert_eq!(scene.upstream.request("/api/chat", 0).await.json()["format"], parameters);
    assert_eq!(scene.credits().await, (6, 0, 4));
    let two = json!([tools[0], { "type": "function", "function": { "name": "other" } }]);
    for (choice, param) in
        [(json!("required"), "tool_choice"), (json!({ "type": "function", "function": { "name": "third" } }), "tool_choice.function.name")]
    {
        let mut answer = scene.chat(json!({ "tools": two, "tool_choice": choice })).await;
        let (status, _, _, named) = crate::scene::error(&mut answer).await;
        assert_eq!((status, named), (400, json!(param)));
    }
}

#[tokio::test]
async fn without_parallel_calls_the_first_one_counts() {
    let scene = Scene::start().await;
    let call = |name: &str| json!({ "id": format!("call_{name}"), "function": { "name": name, "arguments": {} } });
    let mut line = chat_line("");
    line["message"]["tool_calls"] = json!([call("a"), call("b")]);
    scene.upstream.script("/api/chat", Script::stream().line(&line).line(&done_line("stop", 14, 9)));
    let tools = json!([{ "type": "function", "function": { "name": "a" } }, { "type": "function", "function": { "name": "b" } }]);
    for (parallel, calls) in [(json!(true), 2), (Value::Null, 2), (json!(false), 1)] {
        for stream in [false, true] {
            let fields = json!({ "model": "withtools", "tools": tools, "parallel_tool_calls": parallel, "stream": stream });
            let mut answer = scene.chat(fields).await;
            let body = answer.text().await;
            assert_eq!(body.matches("\"call_").count(), calls, "{body}");
            assert!(body.contains(r#""finish_reason":"tool_calls""#));
        }
    }
}

#[tokio::test]
async fn recorded_thinking_stands_beside_the_text_under_both_of_its_names() {
    for release in Release::ALL {
        let scene = Scene::start().await;
        let exchange = release.exchange("chat-thinking-deltas");
        let recorded: String = exchange
            .response
            .body()
            .lines()
            .filter_map(|line| Some(serde_json::from_str::<Value>(line).unwrap().pointer("/message/thinking")?.as_str()?.to_owned()))
            .collect();
        scene.upstream.script("/api/chat", exchange.script(0.0));
        let mut whole = scene.chat(json!({ "model": "thinks", "reasoning_effort": "high" })).await;
        let message = whole.json().await["choices"][0]["message"].clone();
        assert_eq!((&message["reasoning"], &message["reasoning_content"]), (&json!(recorded), &json!(recorded)), "{release:?}");
        let mut stream = scene.chat(json!({ "model": "thinks", "reasoning_effort": "high", "stream": true })).await;
        let chunks = chunks(&mut stream).await;
        let said = |name: &str| -> String { chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"][name].as_str()).collect() };
        assert_eq!((said("reasoning"), said("reasoning_content")), (recorded.clone(), recorded), "{release:?}");
        let asked: Vec<Value> = scene.upstream.requests_to("/api/chat").iter().map(|request| request.json()["think"].clone()).collect();
        assert_eq!(asked, ["high", "high"]);
    }
}

#[tokio::test]
async fn recorded_log_probabilities_have_openais_form() {
    for release in Release::ALL {
        let scene = Scene::start().await;
        let exchange = release.exchange("chat-top-logprobs");
        scene.upstream.script("/api/chat", exchange.script(0.0));
        let recorded: Vec<Value> = exchange
            .response
            .body()
            .lines()
            .filter_map(|line| Some(serde_json::from_str::<Value>(line).unwrap().get("logprobs")?.as_array()?.clone()))
            .flatten()
            .collect();
        let fields = json!({ "logprobs": true, "top_logprobs": 2 });
        let mut whole = scene.chat(fields.clone()).await;
        assert_eq!(whole.json().await["choices"][0]["logprobs"], json!({ "content": recorded, "refusal": null }), "{release:?}");
        let mut stream = scene.chat(crate::scene::with(fields, json!({ "stream": true }))).await;
        let chunks = chunks(&mut stream).await;
        let streamed: Vec<Value> =
            chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/logprobs/content")?.as_array().cloned()).flatten().collect();
        assert_eq!(streamed, recorded, "{release:?}");
    }
}

#[tokio::test]
async fn text_of_any_kind_goes_through_unchanged() {
    let scene = Scene::start().await;
    let pieces = ["line\nbreak", "\r\n\u{2028}", "\"quoted\" \\", "日本 🦀", "\u{0}\u{1b}", "data: [DONE]\n\n"];
    scene.upstream.script("/api/chat", Script::chat(&pieces));
    let mut whole = scene.chat(json!({})).await;
    assert_eq!(whole.json().await["choices"][0]["message"]["content"], pieces.concat());
    let mut stream = scene.chat(json!({ "stream": true })).await;
    assert_eq!(text(&chunks(&mut stream).await), pieces.concat());
}

#[tokio::test]
async fn an_answer_that_met_its_bound_says_so_and_an_empty_one_is_an_empty_text() {
    let scene = Scene::start().await;
    scene.upstream.script("/api/chat", Script::stream().done("length", 14, 1));
    let mut whole = scene.chat(json!({})).await;
    let choice = whole.json().await["choices"][0].clone();
    assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!(""), &json!("length")));
    let mut stream = scene.chat(json!({ "stream": true })).await;
    let chunks = chunks(&mut stream).await;
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
    assert_eq!(chunks[0]["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn an_answer_of_many_pieces_at_once_arrives_whole() {
    let scene = Scene::start_with(|plan| plan.set("TOLLGATE_MAX_OUTPUT_TOKENS", "4096")).await;
    let pieces: Vec<String> = (0..2000).map(|number| format!("{number} ")).collect();
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    scene.upstream.script("/api/chat", Script::chat(&pieces));
    let mut stream = scene.chat(json!({ "stream": true })).await;
    let chunks = chunks(&mut stream).await;
    assert_eq!((chunks.len(), text(&chunks)), (2001, pieces.concat()));
    let mut whole = scene.chat(json!({})).await;
    assert_eq!(whole.json().await["choices"][0]["message"]["content"], pieces.concat());
}

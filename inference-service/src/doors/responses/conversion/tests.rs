//! What becomes of requests, and what is refused.

use serde_json::{Value, json};
use shared::error::violations_of;
use tonic::Status;

use super::super::TAKEN;
use super::*;

const PNG: &[u8] = include_bytes!("../../../../../tests/integration/fixtures/pixel.png");

fn data_url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// A plain request with these fields.
fn with(fields: Value) -> Value {
    let mut request = json!({ "model": "m", "input": "hi" });
    for (name, value) in fields.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

fn read(request: Value) -> Result<Converted, CallError> {
    // As text: raw JSON is read from text alone.
    convert(serde_json::from_str(&request.to_string()).unwrap(), "r-1".to_owned())
}

fn converted(request: Value) -> wire::ChatRequest {
    read(request).unwrap_or_else(|error| panic!("{}", error.message())).request
}

fn of_items(items: Value) -> Vec<wire::Message> {
    converted(with(json!({ "input": items }))).messages
}

/// The fields that are wrong.
fn refused(request: Value) -> Vec<(String, String)> {
    let Err(error) = read(request.clone()) else { panic!("taken: {request}") };
    violations_of(&Status::from(error))
}

fn text(role: &str, content: &str) -> wire::Message {
    wire::Message { role: role.into(), content: content.into(), ..Default::default() }
}

fn call(id: &str, name: &str, arguments: &str) -> wire::ToolCall {
    wire::ToolCall { id: id.into(), name: name.into(), arguments_json: arguments.into() }
}

#[test]
fn every_field_reaches_the_contract_and_comes_back_with_the_answer() {
    let sent = with(json!({
        "instructions": "be short", "max_output_tokens": 64, "temperature": 0.5, "top_p": 0.9, "top_logprobs": 2,
        "include": ["message.output_text.logprobs", "reasoning.encrypted_content"], "reasoning": { "effort": "low", "summary": "auto" },
        "text": {
            "format": { "type": "json_schema", "name": "n", "schema": { "b": 1.0, "a": {} }, "strict": true }, "verbosity": "medium",
        },
        "tools": [{ "type": "function", "name": "f", "description": "does", "parameters": { "type": "object" }, "strict": true }],
        "tool_choice": "auto", "parallel_tool_calls": true, "truncation": "auto", "metadata": { "k": "v" }, "user": "u", "store": false,
        "stream": true, "stream_options": { "include_obfuscation": false }, "background": false, "service_tier": "auto",
        "safety_identifier": "s", "prompt_cache_key": "p", "previous_response_id": null, "max_tool_calls": 3,
    }));
    let Converted { request, echo, .. } = read(sent).unwrap_or_else(|error| panic!("{}", error.message()));
    let expected = wire::ChatRequest {
        model: "m".into(),
        messages: vec![text("system", "be short"), text("user", "hi")],
        max_output_tokens: Some(64),
        options: Some(wire::Options { temperature: Some(0.5), top_p: Some(0.9), ..Default::default() }),
        format: Some(wire::Format { kind: Some(wire::format::Kind::JsonSchema(r#"{"b":1.0,"a":{}}"#.into())) }),
        tools: vec![wire::Tool { name: "f".into(), description: "does".into(), parameters_json: r#"{"type":"object"}"#.into() }],
        think: Some("low".into()),
        top_logprobs: Some(2),
        request_id: "r-1".into(),
        truncate: Some(true),
        ..Default::default()
    };
    assert_eq!(request, expected);
    let echoed = json!({
        "instructions": "be short", "max_output_tokens": 64, "max_tool_calls": 3, "metadata": { "k": "v" }, "parallel_tool_calls": true,
        "previous_response_id": null, "prompt_cache_key": "p", "reasoning": { "effort": "low", "summary": "auto" },
        "safety_identifier": "s", "service_tier": "default", "store": false, "temperature": 0.5,
        "text": {
            "format": { "type": "json_schema", "name": "n", "schema": { "b": 1.0, "a": {} }, "strict": true }, "verbosity": "medium",
        },
        "tool_choice": "auto", "top_logprobs": 2, "truncation": "auto", "user": "u",
        "tools": [{ "type": "function", "name": "f", "description": "does", "parameters": { "type": "object" }, "strict": false }],
    });
    let mut said: Value = serde_json::from_str(&serde_json::to_string(&echo).unwrap()).unwrap();
    assert!((said["top_p"].take().as_f64().unwrap() - 0.9).abs() < 1e-9);
    said.as_object_mut().unwrap().remove("top_p");
    assert_eq!(said, echoed);
}

#[test]
fn a_conversation_that_does_not_fit_is_refused_unless_truncation_is_asked_for() {
    assert_eq!(converted(with(json!({}))).truncate, Some(false));
    assert_eq!(converted(with(json!({ "truncation": "disabled" }))).truncate, Some(false));
}

#[test]
fn messages_of_all_roles_and_parts_are_taken_with_and_without_their_type() {
    let messages = of_items(json!([
        { "role": "developer", "content": "d" },
        { "type": "message", "role": "user", "content": [
            { "type": "input_text", "text": "a" }, { "type": "input_image", "detail": "auto", "image_url": data_url(PNG) },
            { "type": "input_text", "text": "b" },
        ] },
        { "type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "phase": "final_answer", "content": [
            { "type": "output_text", "text": "c", "annotations": [], "logprobs": [] }, { "type": "refusal", "refusal": "no" },
        ] },
    ]));
    assert_eq!(messages[0], text("system", "d"));
    assert_eq!(messages[1], wire::Message { images: vec![PNG.to_vec()], ..text("user", "a\nb") });
    assert_eq!(messages[2], text("assistant", "c\nno"));
}

#[test]
fn what_an_answer_held_can_be_sent_back_and_is_one_turn() {
    let messages = of_items(json!([
        { "role": "user", "content": "q" },
        { "type": "reasoning", "id": "rs_1", "summary": [{ "type": "summary_text", "text": "hm" }], "encrypted_content": null },
        { "type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
            { "type": "output_text", "text": "I look", "annotations": [] },
        ] },
        { "type": "function_call", "id": "fc_1", "call_id": "c1", "name": "look", "arguments": "{\"at\": 1.50}", "status": "completed" },
        { "type": "function_call", "call_id": "c2", "name": "see", "arguments": "{}", "parsed_arguments": {} },
        { "type": "function_call_output", "call_id": "c1", "output": "there" },
        { "type": "function_call_output", "call_id": "c2", "output": [
            { "type": "input_text", "text": "dark" }, { "type": "input_image", "image_url": data_url(PNG) },
        ] },
        { "type": "reasoning", "summary": [], "content": [{ "type": "reasoning_text", "text": "so" }] },
        { "role": "assistant", "content": "done" },
    ]));
    let result =
        |id: &str, name: &str, content: &str| wire::Message { tool_call_id: id.into(), tool_name: name.into(), ..text("tool", content) };
    let tool_calls = vec![call("c1", "look", "{\"at\": 1.50}"), call("c2", "see", "{}")];
    let expected = [
        text("user", "q"),
        wire::Message { thinking: "hm".into(), tool_calls, ..text("assistant", "I look") },
        result("c1", "look", "there"),
        wire::Message { images: vec![PNG.to_vec()], ..result("c2", "see", "dark") },
        wire::Message { thinking: "so".into(), ..text("assistant", "done") },
    ];
    assert_eq!(messages, expected);
}

#[test]
fn effort_format_and_tool_choice_are_each_read_as_they_are_meant() {
    for (effort, think) in [("none", "off"), ("minimal", "low"), ("low", "low"), ("medium", "medium"), ("high", "high"), ("xhigh", "max")] {
        assert_eq!(converted(with(json!({ "reasoning": { "effort": effort } }))).think.as_deref(), Some(think), "{effort}");
    }
    assert_eq!(converted(with(json!({ "reasoning": { "effort": null } }))).think, None);
    let format = |kind: &str| converted(with(json!({ "text": { "format": { "type": kind } } }))).format;
    assert_eq!(format("text"), None);
    assert_eq!(format("json_object"), Some(wire::Format { kind: Some(wire::format::Kind::Json(true)) }));
    let tools = json!([{ "type": "function", "name": "f", "parameters": null, "strict": null }]);
    for (choice, count) in [("none", 0), ("auto", 1)] {
        assert_eq!(converted(with(json!({ "tools": tools, "tool_choice": choice }))).tools.len(), count);
    }
    for (fields, logprobs) in [
        (json!({}), None),
        (json!({ "include": ["message.output_text.logprobs"] }), Some(0)),
        (json!({ "top_logprobs": 3 }), Some(3)),
        (json!({ "top_logprobs": 0 }), None),
    ] {
        assert_eq!(converted(with(fields.clone())).top_logprobs, logprobs, "{fields}");
    }
}

fn item(item: Value) -> Value {
    with(json!({ "input": [item] }))
}

fn user_part(part: Value) -> Value {
    item(json!({ "role": "user", "content": [part] }))
}

fn tool_with(field: &str, value: Value) -> Value {
    with(json!({ "tools": [{ "type": "function", "name": "f", "parameters": {}, "strict": true, field: value }] }))
}

#[test]
fn each_field_that_is_refused_is_named_with_its_reason() {
    let function_call = |field: &str| item(json!({ "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", field: {} }));
    let examples: Vec<(&str, &str, Value)> = vec![
        ("access_programs", "access_programs", with(json!({ "access_programs": {} }))),
        ("background: true", "background", with(json!({ "background": true }))),
        ("background_options", "background_options", with(json!({ "background_options": {} }))),
        ("context_management", "context_management", with(json!({ "context_management": [] }))),
        ("conversation", "conversation", with(json!({ "conversation": "conv_1" }))),
        ("image", "image", with(json!({ "image": {} }))),
        ("include", "include[0]", with(json!({ "include": ["file_search_call.results"] }))),
        ("moderation", "moderation", with(json!({ "moderation": { "model": "x" } }))),
        ("previous_response_id", "previous_response_id", with(json!({ "previous_response_id": "resp_1" }))),
        ("prompt", "prompt", with(json!({ "prompt": { "id": "p" } }))),
        ("store: true", "store", with(json!({ "store": true }))),
        ("input[].type", "input[0].type", item(json!({ "type": "item_reference", "id": "msg_1" }))),
        ("input[].async", "input[0].async", function_call("async")),
        ("input[].caller", "input[0].caller", function_call("caller")),
        ("input[].namespace", "input[0].namespace", function_call("namespace")),
        ("input[].content[].type", "input[0].content[0].type", user_part(json!({ "type": "input_file", "file_data": "x" }))),
        (
            "input[].content[].file_id",
            "input[0].content[0].file_id",
            user_part(json!({ "type": "input_image", "file_id": "f", "image_url": data_url(PNG) })),
        ),
        ("reasoning.context", "reasoning.context", with(json!({ "reasoning": { "context": "all_turns" } }))),
        ("reasoning.mode", "reasoning.mode", with(json!({ "reasoning": { "mode": "pro" } }))),
        ("text.verbosity", "text.verbosity", with(json!({ "text": { "verbosity": "low" } }))),
        ("text.format.type", "text.format.type", with(json!({ "text": { "format": { "type": "grammar" } } }))),
        ("tool_choice", "tool_choice", with(json!({ "tool_choice": { "type": "allowed_tools", "mode": "auto" } }))),
        ("tools[].type", "tools[0].type", with(json!({ "tools": [{ "type": "web_search" }] }))),
        ("tools[].async", "tools[0].async", tool_with("async", json!(true))),
        ("tools[].output_schema", "tools[0].output_schema", tool_with("output_schema", json!({}))),
        ("tools[].defer_loading: true", "tools[0].defer_loading", tool_with("defer_loading", json!(true))),
        ("tools[].allowed_callers", "tools[0].allowed_callers", tool_with("allowed_callers", json!(["programmatic"]))),
    ];
    for (pattern, path, request) in &examples {
        assert!(REFUSED.iter().any(|(known, _)| known == pattern), "{pattern} isn't in the table");
        assert_eq!(refused(request.clone()), [((*path).to_owned(), why(REFUSED, pattern).to_owned())], "{pattern}");
    }
    let without: Vec<_> = REFUSED.iter().filter(|(known, _)| !examples.iter().any(|(pattern, ..)| pattern == known)).collect();
    assert!(without.is_empty(), "no example of {without:?}");
    assert_eq!(refused(with(json!({ "tool_choice": "required" })))[0].0, "tool_choice");
}

#[test]
fn what_is_wrong_is_named_wherever_it_stands_and_all_at_once() {
    let items = json!([
        { "role": "tool", "content": "x" },
        { "content": "x" },
        { "role": "user" },
        { "role": "user", "content": [{ "type": "input_text" }, { "type": "input_image", "image_url": "http://127.0.0.1/a.png" }] },
        { "type": "function_call", "name": "f" },
        { "type": "function_call_output", "call_id": "c" },
        { "role": "user", "content": "x", "arguments": "{}", "odd": 1 },
    ]);
    let names: Vec<String> = refused(with(json!({ "input": items, "seed": 1 }))).into_iter().map(|(field, _)| field).collect();
    let expected = [
        "seed",
        "input[0].role",
        "input[1].role",
        "input[2].content",
        "input[3].content[0].text",
        "input[3].content[1].image_url",
        "input[4].call_id",
        "input[4].arguments",
        "input[5].output",
        "input[6].arguments",
        "input[6].odd",
    ];
    assert_eq!(names, expected);
}

#[test]
fn what_the_contract_refuses_is_named_as_it_was_sent() {
    let items = json!([
        { "role": "user", "content": [{ "type": "input_text", "text": "a" }, { "type": "input_image", "image_url": data_url(b"GIF89a") }] },
        { "type": "reasoning", "summary": [] },
        { "type": "function_call", "call_id": "c", "name": "f", "arguments": "no" },
        { "type": "function_call_output", "call_id": "c", "output": [{ "type": "input_image", "image_url": data_url(b"GIF89a") }] },
    ]);
    let tools = json!([{ "type": "function", "name": "f", "parameters": [] }]);
    let format = json!({ "format": { "type": "json_schema", "schema": [] } });
    let sent = with(json!({ "instructions": "s", "input": items, "top_logprobs": 21, "tools": tools, "text": format, "temperature": -1 }));
    let Converted { request, origins, .. } = read(sent).unwrap_or_else(|error| panic!("{}", error.message()));
    let limits = crate::prompt::PromptLimits {
        max_context_tokens: 8192,
        max_output_tokens: 1024,
        max_keep_alive: std::time::Duration::from_secs(1),
        allow_cloud_models: false,
    };
    let error = crate::prompt::Prompt::from_chat(request, "", &limits).unwrap_err();
    let refusal = NAMES.translate(error.into(), &origins);
    let names: std::collections::BTreeSet<&str> = refusal.fields.iter().map(|(field, _)| field.as_str()).collect();
    let expected = [
        "input[0].content[1].image_url",
        "input[2].arguments",
        "input[3].output[0].image_url",
        "temperature",
        "text.format.schema",
        "tools[0].parameters",
        "top_logprobs",
    ];
    assert_eq!(names.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn each_field_that_is_taken_for_nothing_changes_nothing() {
    let part = |field: &str, value: Value| user_part(json!({ "type": "input_text", "text": "a", field: value }));
    let message = |field: &str, value: Value| item(json!({ "role": "assistant", "content": "a", field: value }));
    let reasoning = |fields: Value| with(json!({ "reasoning": fields }));
    let format = |field: &str, value: Value| {
        with(json!({ "text": { "format": { "type": "json_schema", "schema": { "type": "object" }, field: value } } }))
    };
    let (plain, plain_part, plain_message) = (with(json!({})), part("text", json!("a")), message("content", json!("a")));
    let (plain_format, plain_tool) = (format("name", Value::Null), tool_with("strict", Value::Null));
    let thought = |fields: Value| {
        let mut thought = json!({ "type": "reasoning", "summary": [] });
        thought.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        item(thought)
    };
    let plain_thought = thought(json!({}));
    let examples: Vec<(&str, Value, &Value)> = vec![
        ("input[].content[].annotations", part("annotations", json!([{ "type": "file_path" }])), &plain_part),
        ("input[].content[].detail", part("detail", json!("high")), &plain_part),
        ("input[].content[].logprobs", part("logprobs", json!([])), &plain_part),
        ("input[].content[].prompt_cache_breakpoint", part("prompt_cache_breakpoint", json!({ "mode": "explicit" })), &plain_part),
        ("input[].encrypted_content", thought(json!({ "encrypted_content": "x" })), &plain_thought),
        ("input[].id", message("id", json!("msg_1")), &plain_message),
        ("input[].phase", message("phase", json!("commentary")), &plain_message),
        ("input[].status", message("status", json!("completed")), &plain_message),
        ("max_tool_calls", with(json!({ "max_tool_calls": 1 })), &plain),
        ("metadata", with(json!({ "metadata": { "k": "v" } })), &plain),
        ("prompt_cache_key", with(json!({ "prompt_cache_key": "k" })), &plain),
        ("prompt_cache_options", with(json!({ "prompt_cache_options": { "mode": "implicit" } })), &plain),
        ("prompt_cache_retention", with(json!({ "prompt_cache_retention": "24h" })), &plain),
        ("reasoning.generate_summary", reasoning(json!({ "generate_summary": "auto" })), &plain),
        ("reasoning.summary", reasoning(json!({ "summary": "detailed" })), &plain),
        ("safety_identifier", with(json!({ "safety_identifier": "s" })), &plain),
        ("service_tier", with(json!({ "service_tier": "flex" })), &plain),
        ("stream_options.include_obfuscation", with(json!({ "stream_options": { "include_obfuscation": true } })), &plain),
        ("text.format.description", format("description", json!("d")), &plain_format),
        ("text.format.name", format("name", json!("n")), &plain_format),
        ("text.format.strict", format("strict", json!(false)), &plain_format),
        ("tools[].strict", tool_with("strict", json!(true)), &plain_tool),
        ("user", with(json!({ "user": "u" })), &plain),
    ];
    let paths: Vec<&str> = examples.iter().map(|(path, ..)| *path).collect();
    assert_eq!(paths, TAKEN);
    for (path, given, without) in examples {
        assert_eq!(converted(given), converted(without.clone()), "{path}");
    }
}

#[test]
fn what_only_comes_back_is_bounded() {
    let long = "é".repeat(513);
    for (fields, name) in [
        (json!({ "metadata": { "k": long } }), "metadata"),
        (json!({ "metadata": { "k".repeat(65): "v" } }), "metadata"),
        (json!({ "metadata": (0..17).map(|index| (index.to_string(), json!("v"))).collect::<serde_json::Map<_, _>>() }), "metadata"),
        (json!({ "user": long }), "user"),
        (json!({ "safety_identifier": long }), "safety_identifier"),
        (json!({ "prompt_cache_key": long }), "prompt_cache_key"),
        (json!({ "text": { "format": { "type": "json_schema", "name": long, "schema": {} } } }), "text.format.name"),
        (
            json!({ "text": { "format": { "type": "json_schema", "schema": {}, "description": long.repeat(8) } } }),
            "text.format.description",
        ),
    ] {
        assert_eq!(refused(with(fields))[0].0, name);
    }
    assert!(read(with(json!({ "user": "é".repeat(512), "metadata": { "k".repeat(64): "é".repeat(512) } }))).is_ok());
}

#[test]
fn a_conversation_of_instructions_alone_is_none() {
    assert_eq!(refused(with(json!({ "instructions": "s", "input": [] })))[0].0, "input");
}

#[test]
fn a_function_that_is_named_and_one_that_is_alone_must_be_called() {
    let one = json!([{ "type": "function", "name": "f", "parameters": { "type": "object" }, "strict": true }]);
    let two = json!([{ "type": "function", "name": "g" }, { "type": "function", "name": "f", "parameters": { "type": "object" } }]);
    for (tools, choice) in
        [(&one, json!("required")), (&one, json!({ "type": "function", "name": "f" })), (&two, json!({ "type": "function", "name": "f" }))]
    {
        let sent = with(json!({ "tools": tools, "tool_choice": choice }));
        let Converted { request, echo, forced, .. } = read(sent).unwrap_or_else(|error| panic!("{}", error.message()));
        assert!(forced.is_some() && request.tools.is_empty());
        assert_eq!(request.format, Some(wire::Format { kind: Some(wire::format::Kind::JsonSchema(r#"{"type":"object"}"#.into())) }));
        assert_eq!(serde_json::to_value(&echo.tool_choice).unwrap(), choice);
    }
    for (fields, name) in [
        (json!({ "tools": two, "tool_choice": "required" }), "tool_choice"),
        (json!({ "tools": one, "tool_choice": { "type": "function", "name": "h" } }), "tool_choice.name"),
        (json!({ "tools": one, "tool_choice": "required", "text": { "format": { "type": "json_object" } } }), "text.format"),
    ] {
        assert_eq!(refused(with(fields))[0].0, name);
    }
}

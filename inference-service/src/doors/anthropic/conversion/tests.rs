//! What becomes of requests, and what is refused.

use serde_json::{Value, json};
use shared::error::violations_of;
use tonic::Status;

use super::super::TAKEN;
use super::*;

const PNG: &[u8] = include_bytes!("../../../../../tests/integration/fixtures/pixel.png");

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn plain() -> Value {
    json!({ "model": "m", "max_tokens": 64, "messages": [{ "role": "user", "content": "hi" }] })
}

/// The plain request with these fields.
fn with(fields: Value) -> Value {
    let mut request = plain();
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

fn of_turns(turns: Value) -> wire::ChatRequest {
    converted(with(json!({ "messages": turns })))
}

/// The fields that are wrong.
fn refused(request: Value) -> Vec<(String, String)> {
    let Err(error) = read(request.clone()) else { panic!("taken: {request}") };
    violations_of(&Status::from(error))
}

fn text(role: &str, content: &str) -> wire::Message {
    wire::Message { role: role.into(), content: content.into(), ..Default::default() }
}

#[test]
fn every_field_reaches_the_contract() {
    let request = converted(with(json!({
        "system": "be short", "temperature": 0.5, "top_p": 0.9, "top_k": 40, "stop_sequences": ["END"], "stream": true,
        "tools": [{ "name": "f", "description": "does", "input_schema": { "type": "object", "b": 1.0, "a": 2 } }],
        "thinking": { "type": "enabled", "budget_tokens": 1024 },
        "output_config": { "format": { "type": "json_schema", "schema": { "type": "object" } } },
        "metadata": { "user_id": "u" }, "service_tier": "auto", "cache_control": { "type": "ephemeral", "ttl": "1h" }, "container": null,
    })));
    let expected = wire::ChatRequest {
        model: "m".into(),
        messages: vec![text("system", "be short"), text("user", "hi")],
        max_output_tokens: Some(64),
        options: Some(wire::Options {
            temperature: Some(0.5),
            top_p: Some(0.9),
            top_k: Some(40),
            stop: vec!["END".into()],
            ..Default::default()
        }),
        format: Some(wire::Format { kind: Some(wire::format::Kind::JsonSchema(r#"{"type":"object"}"#.into())) }),
        tools: vec![wire::Tool {
            name: "f".into(),
            description: "does".into(),
            parameters_json: r#"{"type":"object","b":1.0,"a":2}"#.into(),
        }],
        think: Some("on".into()),
        request_id: "r-1".into(),
        truncate: Some(false),
        ..Default::default()
    };
    assert_eq!(request, expected);
}

#[test]
fn a_system_prompt_of_blocks_is_their_text_and_an_empty_one_is_none() {
    let blocks = json!([{ "type": "text", "text": "a", "cache_control": { "type": "ephemeral" } }, { "type": "text", "text": "b" }]);
    assert_eq!(converted(with(json!({ "system": blocks }))).messages[0], text("system", "a\nb"));
    assert_eq!(converted(with(json!({ "system": "" }))).messages, [text("user", "hi")]);
    assert_eq!(
        of_turns(json!([{ "role": "system", "content": "s" }, { "role": "user", "content": "u" }])).messages[0],
        text("system", "s")
    );
}

#[test]
fn pictures_are_the_bytes_that_their_base64_says() {
    let source = json!({ "type": "base64", "media_type": "image/png", "data": base64(PNG) });
    let content = json!([{ "type": "image", "source": source }, { "type": "text", "text": "what is it?" }]);
    let messages = of_turns(json!([{ "role": "user", "content": content }])).messages;
    assert_eq!(messages, [wire::Message { images: vec![PNG.to_vec()], ..text("user", "what is it?") }]);
}

#[test]
fn calls_and_their_results_become_messages_in_their_order_with_the_tools_name() {
    let picture = json!({ "type": "image", "source": { "type": "base64", "data": base64(PNG) } });
    let messages = of_turns(json!([
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "hm", "signature": "unsigned" }, { "type": "redacted_thinking", "data": "x" },
            { "type": "text", "text": "I look" },
            { "type": "tool_use", "id": "c1", "name": "look", "input": { "at": 1.50 } },
            { "type": "tool_use", "id": "c2", "name": "see", "input": {} },
        ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "c1", "content": "there" },
            { "type": "tool_result", "tool_use_id": "c2", "is_error": true, "content": [{ "type": "text", "text": "dark" }, picture] },
            { "type": "tool_result", "tool_use_id": "c3" },
            { "type": "text", "text": "go on" },
        ] },
    ]))
    .messages;
    let call =
        |id: &str, name: &str, arguments: &str| wire::ToolCall { id: id.into(), name: name.into(), arguments_json: arguments.into() };
    let result =
        |id: &str, name: &str, content: &str| wire::Message { tool_call_id: id.into(), tool_name: name.into(), ..text("tool", content) };
    let tool_calls = vec![call("c1", "look", r#"{"at":1.5}"#), call("c2", "see", "{}")];
    assert_eq!(messages[0], wire::Message { thinking: "hm".into(), tool_calls, ..text("assistant", "I look") });
    assert_eq!(messages[1], result("c1", "look", "there"));
    assert_eq!(messages[2], wire::Message { images: vec![PNG.to_vec()], ..result("c2", "see", "Error:\ndark") });
    assert_eq!(messages[3], result("c3", "", ""));
    assert_eq!(messages[4], text("user", "go on"));
    assert_eq!(messages.len(), 5);
}

#[test]
fn how_much_the_model_thinks_follows_from_thinking_and_effort() {
    for (fields, think, where_able) in [
        (json!({}), None, None),
        (json!({ "thinking": { "type": "disabled" } }), Some("off"), None),
        (json!({ "thinking": { "type": "adaptive" } }), None, None),
        (json!({ "thinking": { "type": "enabled", "budget_tokens": 2000 } }), Some("on"), None),
        (json!({ "thinking": { "type": "enabled" }, "output_config": { "effort": "low" } }), Some("low"), None),
        (json!({ "thinking": { "type": "adaptive" }, "output_config": { "effort": "medium" } }), None, Some("medium")),
        (json!({ "thinking": { "type": "disabled" }, "output_config": { "effort": "high" } }), Some("off"), None),
        (json!({ "output_config": { "effort": "xhigh" } }), None, Some("high")),
        (json!({ "output_config": { "effort": "max" } }), None, Some("max")),
    ] {
        let Converted { request, effort, .. } = read(with(fields.clone())).unwrap_or_else(|error| panic!("{}", error.message()));
        assert_eq!((request.think.as_deref(), effort.as_deref()), (think, where_able), "{fields}");
    }
    let omitted = json!({ "thinking": { "type": "enabled", "budget_tokens": 2000, "display": "omitted" } });
    assert!(read(with(omitted)).is_ok_and(|converted| converted.form.omits_thinking));
}

#[test]
fn with_tool_choice_none_the_model_is_told_of_no_tool() {
    let tools = json!([{ "type": "custom", "name": "f", "input_schema": {} }]);
    for (choice, count) in [("none", 0), ("auto", 1)] {
        let request = with(json!({ "tools": tools, "tool_choice": { "type": choice } }));
        assert_eq!(converted(request).tools.len(), count, "{choice}");
    }
    let one = with(json!({ "tools": tools, "tool_choice": { "type": "auto", "disable_parallel_tool_use": true } }));
    assert!(read(one).is_ok_and(|converted| converted.form.one_call));
}

#[test]
fn a_tool_that_is_named_and_one_that_is_alone_must_be_called_and_may_be_strict() {
    let tools = json!([{ "name": "g", "input_schema": {} }, { "name": "f", "strict": true, "input_schema": { "type": "object" } }]);
    let named = json!({ "type": "tool", "name": "f", "disable_parallel_tool_use": true });
    for (choice, tools) in [(named, tools.clone()), (json!({ "type": "any" }), json!([tools[1]]))] {
        let read = read(with(json!({ "tools": tools, "tool_choice": choice }))).unwrap_or_else(|error| panic!("{}", error.message()));
        assert!(read.forced.is_some() && read.request.tools.is_empty(), "{choice}");
        let schema = wire::format::Kind::JsonSchema(r#"{"type":"object"}"#.into());
        assert_eq!(read.request.format, Some(wire::Format { kind: Some(schema) }), "{choice}");
    }
    let other = read(with(json!({ "tools": tools, "tool_choice": { "type": "tool", "name": "h" } })));
    assert!(other.is_err_and(|error| error.message().starts_with("tool_choice.name must be")));
}

fn block(block: Value) -> Value {
    with(json!({ "messages": [{ "role": "user", "content": [block] }] }))
}

fn tool(field: &str, value: Value) -> Value {
    with(json!({ "tools": [{ "name": "f", "input_schema": {}, field: value }] }))
}

#[test]
fn each_field_that_is_refused_is_named_with_its_reason() {
    let examples: Vec<(&str, &str, Value)> = vec![
        ("billing_policy", "billing_policy", with(json!({ "billing_policy": {} }))),
        ("compaction", "compaction", with(json!({ "compaction": {} }))),
        ("fallback_credit_token", "fallback_credit_token", with(json!({ "fallback_credit_token": "t" }))),
        ("thread", "thread", with(json!({ "thread": { "type": "create" } }))),
        ("container", "container", with(json!({ "container": "c" }))),
        (
            "context_management.edits",
            "context_management.edits[0]",
            with(json!({ "context_management": { "edits": [{ "type": "clear_thinking_20251015", "keep": { "value": 1 } }] } })),
        ),
        ("diagnostics", "diagnostics", with(json!({ "diagnostics": {} }))),
        ("fallbacks", "fallbacks", with(json!({ "fallbacks": [] }))),
        ("inference_geo", "inference_geo", with(json!({ "inference_geo": "eu" }))),
        ("mcp_servers", "mcp_servers", with(json!({ "mcp_servers": [{ "url": "x" }] }))),
        ("output_format", "output_format", with(json!({ "output_format": { "type": "json_schema" } }))),
        ("speed", "speed", with(json!({ "speed": "fast" }))),
        ("user_profile_id", "user_profile_id", with(json!({ "user_profile_id": "u" }))),
        ("max_tokens: 0", "max_tokens", with(json!({ "max_tokens": 0 }))),
        (
            "messages[].content[].type",
            "messages[0].content[0].type",
            block(json!({ "type": "document", "source": {"type": "text"}, "title": "t" })),
        ),
        (
            "messages[].content[].citations",
            "messages[0].content[0].citations",
            block(json!({ "type": "text", "text": "a", "citations": [1] })),
        ),
        (
            "messages[].content[].transformations",
            "messages[0].content[0].transformations",
            block(json!({ "type": "image", "source": { "type": "base64", "data": base64(PNG) }, "transformations": {} })),
        ),
        (
            "messages[].content[].source.type",
            "messages[0].content[0].source.type",
            block(json!({ "type": "image", "source": { "type": "url", "url": "http://127.0.0.1/" } })),
        ),
        (
            "output_config.format.type",
            "output_config.format.type",
            with(json!({ "output_config": { "format": { "type": "xml", "schema": {} } } })),
        ),
        ("output_config.task_budget", "output_config.task_budget", with(json!({ "output_config": { "task_budget": {} } }))),
        ("thinking.type", "thinking.type", with(json!({ "thinking": { "type": "between_tools" } }))),
        ("tool_choice.type", "tool_choice.type", with(json!({ "tool_choice": { "type": "any" } }))),
        (
            "tools[].type",
            "tools[0].type",
            with(json!({ "tools": [{ "type": "web_search_20250305", "name": "web_search", "max_uses": 5 }] })),
        ),
        ("tools[].strict: true", "tools[0].strict", tool("strict", json!(true))),
        ("tools[].defer_loading: true", "tools[0].defer_loading", tool("defer_loading", json!(true))),
        ("tools[].allowed_callers", "tools[0].allowed_callers", tool("allowed_callers", json!(["code_execution_20250825"]))),
        ("tools[].input_examples", "tools[0].input_examples", tool("input_examples", json!([{}]))),
    ];
    for (pattern, path, request) in &examples {
        let reason = why(REFUSED, pattern);
        assert!(REFUSED.iter().any(|(known, _)| known == pattern), "{pattern} isn't in the table");
        assert_eq!(refused(request.clone()), [((*path).to_owned(), reason.to_owned())], "{pattern}");
    }
    let without: Vec<_> = REFUSED.iter().filter(|(known, _)| !examples.iter().any(|(pattern, ..)| pattern == known)).collect();
    assert!(without.is_empty(), "no example of {without:?}");
}

#[test]
fn what_is_wrong_is_named_wherever_it_stands_and_all_at_once() {
    let turns = json!([
        { "role": "tool", "content": "x" },
        { "role": "user", "content": [
            { "type": "text" }, { "type": "tool_use", "id": "c", "name": "f", "input": {} }, { "type": "text", "text": "a", "id": "i" },
        ] },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "c" }, { "type": "text", "text": "a", "colour": 1 }], "odd": 1 },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "c", "content": [{ "type": "tool_result", "tool_use_id": "d" }] },
        ] },
        { "role": "user", "content": [{ "type": "image", "source": { "type": "base64", "data": "@@" } }, { "type": "image" }] },
    ]);
    let names: Vec<String> = refused(with(json!({ "messages": turns, "seed": 1 }))).into_iter().map(|(field, _)| field).collect();
    let expected = [
        "seed",
        "messages[0].role",
        "messages[1].content[0].text",
        "messages[1].content[1].type",
        "messages[1].content[2].id",
        "messages[2].odd",
        "messages[2].content[0].name",
        "messages[2].content[0].input",
        "messages[2].content[1].colour",
        "messages[3].content[0].content[0].type",
        "messages[4].content[0].source.data",
        "messages[4].content[1].source",
    ];
    assert_eq!(names, expected);
}

#[test]
fn what_the_contract_refuses_is_named_as_it_was_sent() {
    let source = json!({ "type": "base64", "data": base64(b"GIF89a") });
    let turns = json!([
        { "role": "assistant", "content": [{ "type": "text", "text": "a" }, { "type": "tool_use", "id": "c", "name": "f", "input": [1] }] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "c", "content": [
                { "type": "text", "text": "a" }, { "type": "image", "source": source },
            ] },
            { "type": "image", "source": source },
        ] },
    ]);
    let tools = json!([{ "name": "f", "input_schema": [] }]);
    let sent = with(json!({ "system": "s", "messages": turns, "temperature": -1, "stop_sequences": [""], "tools": tools }));
    let Converted { request, origins, .. } = read(sent).unwrap_or_else(|error| panic!("{}", error.message()));
    let limits = crate::prompt::PromptLimits {
        max_context_tokens: 8192,
        max_output_tokens: 1024,
        max_keep_alive: std::time::Duration::from_secs(1),
        allow_cloud_models: false,
    };
    let error = crate::prompt::Prompt::from_chat(request, "a b", &limits).unwrap_err();
    let refusal = NAMES.translate(error.into(), &origins);
    let names: std::collections::BTreeSet<&str> = refusal.fields.iter().map(|(field, _)| field.as_str()).collect();
    let expected = [
        "Idempotency-Key",
        "messages[0].content[1].input",
        "messages[1].content[0].content[1].source.data",
        "messages[1].content[1].source.data",
        "stop_sequences",
        "temperature",
        "tools[0].input_schema",
    ];
    assert_eq!(names.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn each_field_that_is_taken_for_nothing_changes_nothing() {
    let in_block = |field: &str, value: Value| block(json!({ "type": "text", "text": "a", field: value }));
    let of_assistant = |block: Value| with(json!({ "messages": [{ "role": "assistant", "content": [block] }] }));
    let call = |fields: Value| {
        let mut call = json!({ "type": "tool_use", "id": "c", "name": "f", "input": {} });
        call.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        of_assistant(call)
    };
    let thinking = |fields: Value| {
        let mut block = json!({ "type": "thinking", "thinking": "a" });
        block.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        of_assistant(block)
    };
    let image = |fields: Value| {
        let mut source = json!({ "type": "base64", "data": base64(PNG) });
        source.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        block(json!({ "type": "image", "source": source }))
    };
    let cached = json!({ "type": "ephemeral" });
    let examples: Vec<(&str, Value, Value)> = vec![
        ("cache_control", with(json!({ "cache_control": cached })), plain()),
        ("messages[].content[].cache_control", in_block("cache_control", cached.clone()), block(json!({ "type": "text", "text": "a" }))),
        ("messages[].content[].caller", call(json!({ "caller": { "type": "direct" } })), call(json!({}))),
        (
            "messages[].content[].data",
            of_assistant(json!({ "type": "redacted_thinking", "data": "x" })),
            of_assistant(json!({ "type": "redacted_thinking" })),
        ),
        ("messages[].content[].signature", thinking(json!({ "signature": "x" })), thinking(json!({}))),
        ("messages[].content[].source.media_type", image(json!({ "media_type": "image/png" })), image(json!({}))),
        ("metadata", with(json!({ "metadata": { "user_id": "u" } })), plain()),
        ("service_tier", with(json!({ "service_tier": "standard_only" })), plain()),
        (
            "thinking.budget_tokens",
            with(json!({ "thinking": { "type": "enabled", "budget_tokens": 9 } })),
            with(json!({ "thinking": { "type": "enabled" } })),
        ),
        ("tools[].cache_control", tool("cache_control", cached), tool("strict", json!(false))),
        ("tools[].eager_input_streaming", tool("eager_input_streaming", json!(true)), tool("strict", json!(false))),
    ];
    let paths: Vec<&str> = examples.iter().map(|(path, ..)| *path).collect();
    assert_eq!(paths, TAKEN);
    for (path, given, without) in examples {
        assert_eq!(converted(given), converted(without), "{path}");
    }
}

#[test]
fn edits_of_the_conversation_that_leave_out_nothing_are_taken() {
    let keep = json!({ "type": "clear_thinking_20251015", "keep": "all" });
    for edits in [json!([]), json!([keep]), Value::Null] {
        assert_eq!(converted(with(json!({ "context_management": { "edits": edits } }))), converted(plain()));
    }
    for edit in [json!({ "type": "clear_tool_uses_20250919" }), json!({ "type": "clear_thinking_20251015" })] {
        assert_eq!(refused(with(json!({ "context_management": { "edits": [keep, edit] } })))[0].0, "context_management.edits[1]");
    }
}

#[test]
fn a_conversation_of_a_system_prompt_alone_is_none() {
    assert_eq!(refused(with(json!({ "system": "s", "messages": [] })))[0].0, "messages");
}

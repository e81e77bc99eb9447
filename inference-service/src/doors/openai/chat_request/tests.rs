use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::refused::reason_for;
use super::*;

/// A request of one message with these fields besides.
fn request(fields: Value) -> ChatCompletionRequest {
    let mut body = json!({ "model": "smollm2", "messages": [{ "role": "user", "content": "hi" }] });
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    // As it comes over the wire: a value that is passed on stays text.
    serde_json::from_str(&body.to_string()).unwrap()
}

fn read(fields: Value) -> ReadRequest<wire::ChatRequest> {
    request(fields.clone()).read(String::new()).unwrap_or_else(|refusal| panic!("{fields}: {}", refusal.message))
}

fn refusal(fields: Value) -> Refusal {
    request(fields.clone()).read(String::new()).err().unwrap_or_else(|| panic!("{fields} is taken"))
}

#[test]
fn a_request_becomes_the_contracts() {
    let ReadRequest { asked, form, .. } = request(json!({
        "stream": true, "stream_options": { "include_usage": true }, "max_completion_tokens": 7, "temperature": 0.5, "top_p": 0.25,
        "seed": -3, "stop": [".", "!"], "logprobs": true, "top_logprobs": 2, "reasoning_effort": "low", "n": 1,
        "frequency_penalty": 0, "presence_penalty": -1.5, "parallel_tool_calls": false, "response_format": { "type": "json_object" },
        "tools": [{ "type": "function", "function": { "name": "f" } }], "tool_choice": "auto",
    }))
    .read("id-1".to_owned())
    .unwrap();
    let expected = wire::ChatRequest {
        model: "smollm2".into(),
        messages: vec![wire::Message { role: "user".into(), content: "hi".into(), ..Default::default() }],
        max_output_tokens: Some(7),
        options: Some(wire::Options {
            temperature: Some(0.5),
            top_p: Some(0.25),
            seed: Some(-3),
            frequency_penalty: Some(0.0),
            presence_penalty: Some(-1.5),
            stop: vec![".".into(), "!".into()],
            ..Default::default()
        }),
        format: Some(wire::Format { kind: Some(wire::format::Kind::Json(true)) }),
        tools: vec![wire::Tool { name: "f".into(), ..Default::default() }],
        think: Some("low".into()),
        top_logprobs: Some(2),
        request_id: "id-1".into(),
        ..Default::default()
    };
    assert_eq!(asked, expected);
    assert_eq!(form, AnswerForm { stream: true, include_usage: true, logprobs: true, one_call: true, service_tier: false });
}

#[test]
fn what_is_not_said_stays_unset() {
    let ReadRequest { asked, form, .. } = read(json!({}));
    assert_eq!((asked.options, asked.format, asked.think, asked.top_logprobs), (None, None, None, None));
    assert_eq!((asked.max_output_tokens, asked.stream), (None, None));
    assert_eq!(form, AnswerForm::default());
}

#[test]
fn null_is_as_if_a_field_were_not_there() {
    let names = [
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "seed",
        "stop",
        "frequency_penalty",
        "presence_penalty",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "logprobs",
        "top_logprobs",
        "reasoning_effort",
        "reasoning",
        "n",
        "store",
        "modalities",
        "verbosity",
        "logit_bias",
        "functions",
        "function_call",
        "audio",
        "moderation",
        "prediction",
        "web_search_options",
        "service_tier",
        "user",
        "metadata",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
    ];
    let fields: serde_json::Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    assert_eq!(read(fields.into()).asked, read(json!({})).asked);
}

#[test]
fn fields_that_change_no_answer_are_taken() {
    let taken = read(json!({
        "user": "ann", "metadata": { "a": "b" }, "store": false, "service_tier": "auto", "safety_identifier": "x", "prompt_cache_key": "k",
        "prompt_cache_retention": "24h", "prompt_cache_options": { "mode": "implicit" }, "modalities": ["text"], "verbosity": "medium",
        "logit_bias": {}, "functions": [], "tools": [], "stream_options": { "include_obfuscation": false },
    }));
    assert!(taken.form.service_tier);
    assert_eq!(taken.asked, read(json!({})).asked);
}

#[test]
fn each_field_of_the_table_is_refused_by_its_path_and_with_its_reason() {
    let message = |message: Value| json!({ "messages": [message] });
    let part = |part: Value| message(json!({ "role": "user", "content": [part] }));
    let cases = [
        ("audio", json!({ "audio": { "voice": "ash", "format": "wav" } })),
        ("function_call", json!({ "function_call": "auto" })),
        ("functions", json!({ "functions": [{ "name": "f" }] })),
        ("logit_bias", json!({ "logit_bias": { "50256": -100 } })),
        ("messages[0].audio", message(json!({ "role": "assistant", "content": "x", "audio": { "id": "a" } }))),
        ("messages[0].content[0].file", part(json!({ "type": "file", "file": { "file_id": "f" } }))),
        ("messages[0].content[0].image_url.url", part(json!({ "type": "image_url", "image_url": { "url": "https://example.com/a.png" } }))),
        ("messages[0].content[0].input_audio", part(json!({ "type": "input_audio", "input_audio": { "data": "", "format": "wav" } }))),
        (
            "messages[0].function_call",
            message(json!({ "role": "assistant", "content": "x", "function_call": { "name": "f", "arguments": "" } })),
        ),
        ("messages[0].name", message(json!({ "role": "user", "content": "x", "name": "ann" }))),
        (
            "messages[0].tool_calls[0].type",
            message(json!({ "role": "assistant", "content": "x", "tool_calls": [{ "id": "c", "type": "custom", "custom": {} }] })),
        ),
        ("modalities", json!({ "modalities": ["text", "audio"] })),
        ("moderation", json!({ "moderation": { "model": "m" } })),
        ("n", json!({ "n": 2 })),
        ("prediction", json!({ "prediction": { "type": "content", "content": "x" } })),
        ("store", json!({ "store": true })),
        ("stream_options.include_obfuscation", json!({ "stream_options": { "include_obfuscation": true } })),
        ("tool_choice", json!({ "tool_choice": "required" })),
        (
            "tool_choice",
            json!({ "tool_choice": "required", "tools": [
                { "type": "function", "function": { "name": "f" } }, { "type": "function", "function": { "name": "g" } },
            ] }),
        ),
        ("tools[0].type", json!({ "tools": [{ "type": "custom", "custom": {} }] })),
        ("verbosity", json!({ "verbosity": "low" })),
        ("web_search_options", json!({ "web_search_options": {} })),
    ];
    for (path, fields) in &cases {
        let refusal = refusal(fields.clone());
        assert_eq!(*refusal.fields, [((*path).to_owned(), reason_for(REFUSED, path).to_owned())]);
        assert!(refusal.message.starts_with(path), "{}", refusal.message);
    }
    let tested: BTreeSet<String> = cases.iter().map(|(path, _)| path.replace("[0]", "[]")).collect();
    let listed: BTreeSet<String> = REFUSED.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(tested, listed);
}

#[test]
fn all_that_is_refused_is_named_at_once() {
    let refusal = refusal(json!({ "n": 3, "audio": {}, "messages": [{ "role": "user", "content": "x", "name": "ann" }] }));
    let fields: Vec<&str> = refusal.fields.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(fields, ["audio", "n", "messages[0].name"]);
    assert_eq!(refusal.code(), "INVALID_ARGUMENT");
    assert_eq!(refusal.status, http::StatusCode::BAD_REQUEST);
}

#[test]
fn the_newer_name_of_the_bound_counts_and_two_that_differ_are_refused() {
    assert_eq!(read(json!({ "max_tokens": 3 })).asked.max_output_tokens, Some(3));
    assert_eq!(read(json!({ "max_tokens": 3, "max_completion_tokens": 3 })).asked.max_output_tokens, Some(3));
    assert_eq!(refusal(json!({ "max_tokens": 3, "max_completion_tokens": 4 })).fields[0].0, "max_tokens");
    let name = |fields: Value| read(fields).names.rename(Refusal::invalid("max_output_tokens", "must be 1 or more")).message;
    assert_eq!(name(json!({ "max_tokens": 3 })), "max_tokens must be 1 or more");
    assert_eq!(name(json!({ "max_completion_tokens": 3 })), "max_completion_tokens must be 1 or more");
}

#[test]
fn every_effort_is_the_nearest_there_is_and_other_words_are_refused() {
    for (effort, think) in
        [("none", "off"), ("minimal", "low"), ("low", "low"), ("medium", "medium"), ("high", "high"), ("xhigh", "max"), ("max", "max")]
    {
        assert_eq!(read(json!({ "reasoning_effort": effort })).asked.think.as_deref(), Some(think));
        assert_eq!(read(json!({ "reasoning": { "effort": effort } })).asked.think.as_deref(), Some(think));
    }
    assert_eq!(refusal(json!({ "reasoning_effort": "very" })).fields[0].0, "reasoning_effort");
}

#[test]
fn log_probabilities_are_asked_for_by_logprobs_alone() {
    assert_eq!(read(json!({ "logprobs": true })).asked.top_logprobs, Some(0));
    assert_eq!(read(json!({ "logprobs": false, "top_logprobs": 0 })).asked.top_logprobs, None);
    assert_eq!(refusal(json!({ "top_logprobs": 2 })).fields[0].0, "top_logprobs");
    assert_eq!(refusal(json!({ "logprobs": false, "top_logprobs": 2 })).fields[0].0, "top_logprobs");
}

#[test]
fn a_stop_is_a_string_or_several() {
    assert_eq!(read(json!({ "stop": "." })).asked.options.unwrap().stop, ["."]);
    assert_eq!(read(json!({ "stop": [] })).asked.options, None);
}

#[test]
fn unknown_fields_are_refused_as_openai_does() {
    let error = serde_json::from_str::<ChatCompletionRequest>(r#"{"model":"m","messages":[],"num_ctx":4096}"#).unwrap_err();
    assert!(error.to_string().contains("unknown field `num_ctx`"), "{error}");
}

#[test]
fn fields_of_the_contract_have_the_names_that_the_caller_used() {
    let picture = json!({ "type": "image_url", "image_url": { "url": "data:;base64," } });
    let message = json!({ "role": "user", "content": [{ "type": "text", "text": "?" }, picture] });
    let names = read(json!({ "messages": [{ "role": "user", "content": "x" }, message] })).names;
    for (path, name) in [
        ("model", "model"),
        ("options.top_p", "top_p"),
        ("top_logprobs", "top_logprobs"),
        ("think", "reasoning_effort"),
        ("format.json_schema", "response_format.json_schema.schema"),
        ("messages[1].images[0]", "messages[1].content[1].image_url.url"),
        ("messages[0].tool_calls[2].arguments_json", "messages[0].tool_calls[2].function.arguments"),
        ("messages[0].tool_calls[2].name", "messages[0].tool_calls[2].function.name"),
        ("messages[0].tool_name", "messages[0].name"),
        ("messages[0].role", "messages[0].role"),
        ("messages[0].thinking", "messages[0].reasoning"),
        ("tools[10].parameters_json", "tools[10].function.parameters"),
        ("tools[10].name", "tools[10].function.name"),
        ("request_id", "Idempotency-Key"),
        ("images", "messages[].content[].image_url"),
    ] {
        assert_eq!(names.rename(Refusal::invalid(path, "must be right")).fields[0].0, name);
    }
}

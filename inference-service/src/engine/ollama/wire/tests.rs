use std::time::Duration;

use serde_json::value::RawValue;

use super::answer_line::MAX_REASON_BYTES;
use super::{AnswerLine, ParsedLine, answer_request};
use crate::engine::EngineError;
use crate::prompt::{ChatRole, Format, Message, ModelName, Options, Prompt, Task, Think, Tool, ToolCall};

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn prompt(task: Task) -> Prompt {
    Prompt {
        model: ModelName::parse("smollm2").unwrap(),
        task,
        options: Options::default(),
        format: None,
        think: None,
        top_logprobs: None,
        max_output_tokens: None,
        truncate: None,
        keep_alive: None,
    }
}

fn message(role: ChatRole, content: &str) -> Message {
    Message {
        role,
        content: content.to_owned(),
        thinking: String::new(),
        images: Vec::new(),
        tool_calls: Vec::new(),
        tool_name: String::new(),
        tool_call_id: String::new(),
    }
}

fn sent(prompt: &Prompt, max_output_tokens: u32) -> (&'static str, String) {
    let (path, body) = answer_request(prompt, max_output_tokens, prompt.options.num_ctx, Some(Duration::from_secs(600))).unwrap();
    (path, String::from_utf8(body).unwrap())
}

#[test]
fn a_bare_chat_is_one_object_with_its_bound_last() {
    let chat = prompt(Task::Chat { messages: vec![message(ChatRole::User, "hi")], tools: Vec::new() });
    let expected = r#"{"model":"smollm2","messages":[{"role":"user","content":"hi"}],"stream":true,"options":{"num_predict":5}}"#;
    assert_eq!(sent(&chat, 5), ("/api/chat", expected.to_owned()));
    assert!(sent(&chat, 0).1.ends_with(r#""options":{"num_predict":1}}"#), "0 would mean no bound");
}

#[test]
fn everything_a_caller_can_ask_for_goes_upstream_verbatim() {
    let mut assistant = message(ChatRole::Assistant, "");
    assistant.thinking = "hm".to_owned();
    assistant.tool_calls = vec![ToolCall {
        id: "call_1".to_owned(),
        name: "f".to_owned(),
        arguments_json: r#"{"z":12345678901234567890,"a":1.0}"#.to_owned(),
    }];
    let mut result = message(ChatRole::Tool, "42");
    (result.tool_name, result.tool_call_id) = ("f".to_owned(), "call_1".to_owned());
    let mut user = message(ChatRole::User, "é\n\"");
    user.images = vec![vec![1, 2, 3]];
    let tools = vec![
        Tool {
            name: "f".to_owned(),
            description: "d".to_owned(),
            parameters: Some(raw(r#"{"type": "object", "properties":{"z":{},"a":{}}}"#)),
        },
        Tool { name: "g".to_owned(), description: String::new(), parameters: None },
    ];
    let mut chat = prompt(Task::Chat { messages: vec![user, assistant, result], tools });
    chat.options = Options {
        temperature: Some(0.7),
        top_p: Some(0.9),
        min_p: Some(0.0),
        repeat_penalty: Some(1.1),
        presence_penalty: Some(0.5),
        frequency_penalty: Some(-2.0),
        typical_p: Some(1.0),
        repeat_last_n: Some(-1),
        top_k: Some(0),
        seed: Some(-1),
        num_ctx: Some(4096),
        stop: vec!["a".to_owned()],
    };
    chat.format = Some(Format::Schema(raw(r#"{"z": 1,"a":2}"#)));
    chat.think = Some(Think::Low);
    chat.top_logprobs = Some(0);
    chat.truncate = Some(false);
    chat.keep_alive = Some(Duration::from_secs(7200));
    let expected = concat!(
        r#"{"model":"smollm2","messages":[{"role":"user","content":"é\n\"","images":["AQID"]},"#,
        r#"{"role":"assistant","content":"","thinking":"hm","tool_calls":[{"id":"call_1","function":{"index":0,"name":"f","#,
        r#""arguments":{"z":12345678901234567890,"a":1.0}}}]},{"role":"tool","content":"42","tool_name":"f","tool_call_id":"call_1"}],"#,
        r#""tools":[{"type":"function","function":{"name":"f","description":"d","#,
        r#""parameters":{"type": "object", "properties":{"z":{},"a":{}}}}},"#,
        r#"{"type":"function","function":{"name":"g","parameters":{"type":"object","properties":{}}}}],"#,
        r#""stream":true,"format":{"z": 1,"a":2},"think":"low","keep_alive":"600s","truncate":false,"logprobs":true,"top_logprobs":0,"#,
        r#""options":{"temperature":0.7,"top_p":0.9,"min_p":0.0,"repeat_penalty":1.1,"presence_penalty":0.5,"#,
        r#""frequency_penalty":-2.0,"typical_p":1.0,"repeat_last_n":-1,"top_k":0,"seed":-1,"#,
        r#""num_ctx":4096,"stop":["a"],"num_predict":9}}"#,
    );
    assert_eq!(sent(&chat, 9).1, expected);
}

#[test]
fn a_bare_prompt_goes_to_generate() {
    let mut bare = prompt(Task::Generate {
        prompt: "p".to_owned(),
        suffix: "s".to_owned(),
        system: Some(String::new()),
        images: vec![vec![0]],
        raw: true,
    });
    bare.format = Some(Format::Json);
    bare.think = Some(Think::Off);
    bare.keep_alive = Some(Duration::from_millis(1500));
    let expected = concat!(
        r#"{"model":"smollm2","prompt":"p","suffix":"s","system":"","images":["AA=="],"raw":true,"stream":true,"#,
        r#""format":"json","think":false,"keep_alive":"1500ms","options":{"num_predict":1}}"#
    );
    assert_eq!(sent(&bare, 1), ("/api/generate", expected.to_owned()));
}

#[test]
fn arguments_that_are_no_object_are_refused_and_not_sent() {
    for arguments in ["[]", "1", "{", "{}}", "{\"a\":1},\"b\":{}"] {
        let mut assistant = message(ChatRole::Assistant, "");
        assistant.tool_calls = vec![ToolCall { id: String::new(), name: "f".to_owned(), arguments_json: arguments.to_owned() }];
        let chat = prompt(Task::Chat { messages: vec![assistant], tools: Vec::new() });
        assert!(matches!(answer_request(&chat, 1, None, None), Err(EngineError::Rejected { .. })), "{arguments}");
    }
}

#[test]
fn a_malformed_line_is_named_without_its_content() {
    let line = br#"{"message":{"content":"canary"},"done":"canary"}"#;
    let Err(EngineError::Protocol { detail }) = AnswerLine::parse(line) else { panic!("accepted") };
    assert!(!detail.contains("canary"), "{detail}");
    for line in ["[]", "1", "{}", "{\"done\":false}", "canary", "{\"message\":3}", "{\"message\":{}"] {
        assert!(matches!(AnswerLine::parse(line.as_bytes()), Err(EngineError::Protocol { .. })), "{line}");
    }
}

#[test]
fn a_tool_call_keeps_the_order_and_the_digits_that_the_model_wrote() {
    let call = r#"{"id":"c","function":{"index":0,"name":"f","arguments":{"z":1,"a":1.50}}}"#;
    let line = format!(r#"{{"message":{{"content":"","tool_calls":[{call}]}},"done":false}}"#);
    let Ok(ParsedLine::Piece(piece)) = AnswerLine::parse(line.as_bytes()) else { panic!("no piece") };
    assert_eq!(piece.tool_calls, [ToolCall { id: "c".to_owned(), name: "f".to_owned(), arguments_json: r#"{"z":1,"a":1.50}"#.to_owned() }]);
}

#[test]
fn counts_of_any_kind_lose_no_answer() {
    for (json, expected) in [
        ("7", Some(7)),
        ("7.9", Some(7)),
        ("0", Some(0)),
        ("-1", None),
        ("-1.5", None),
        ("4294967295", Some(u32::MAX)),
        ("99999999999999999999999", Some(u32::MAX)),
        ("1e30", Some(u32::MAX)),
        ("1e999", None),
        ("null", None),
        ("\"7\"", None),
        ("[7]", None),
        ("true", None),
    ] {
        let line =
            format!(r#"{{"message":{{"content":"x"}},"done":true,"done_reason":"stop","eval_count":{json},"total_duration":{json}}}"#);
        let Ok(ParsedLine::Done(piece, done)) = AnswerLine::parse(line.as_bytes()) else { panic!("{json}: no end") };
        assert_eq!((piece.content.as_str(), done.output_tokens, done.input_tokens), ("x", expected, None), "{json}");
    }
    let line = format!(r#"{{"done":true,"done_reason":"{}"}}"#, "é".repeat(1 << 20));
    let Ok(ParsedLine::Done(_, done)) = AnswerLine::parse(line.as_bytes()) else { panic!("no end") };
    assert!(done.reason.len() <= MAX_REASON_BYTES);
}

//! The engine that asks an Ollama, against a scripted one: every recorded exchange, and what a real one won't do on command.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use futures_util::StreamExt;
use inference_service::engine::ollama::{OllamaConfig, OllamaEngine, OllamaHost};
use inference_service::engine::{AnswerEvent, AnswerStream, Dispatched, Done, Engine, EngineError, Piece};
use inference_service::modelfile::Modelfile;
use inference_service::prompt::{ChatRole, Format, Message, ModelName, Options, Prompt, Task, Think};
use integration::recorded::{Exchange, Release, with_rows};
use integration::reserved_port::ReservedPort;
use integration::scripted_upstream::{Gate, Script, ScriptedUpstream, done_line};
use serde_json::json;

/// What a recorded exchange must become.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Becomes {
    /// An answer that ends well: its reason, and the tokens of prompt and answer.
    Answer(&'static str, u32, u32),
    /// Pieces with so many bytes of content at least, and then this error.
    BreaksOff(usize, &'static str),
    /// No stream: this error, by the name of its variant.
    Fails(&'static str),
    /// So many pieces, then silence.
    GoesOn(usize),
    /// `/api/tags` with so many models.
    Models(usize),
    /// `/api/show` with these capabilities.
    Facts(&'static [&'static str]),
    /// `/api/create` with so many steps, the last one `success`.
    Made(usize),
    /// `/api/create` that begins and then fails so.
    MakingFails(&'static str),
    /// `/api/delete`.
    Deleted,
    /// The engine can't meet it, for this reason.
    NotMet(&'static str),
}

use Becomes::{Answer, BreaksOff, Deleted, Facts, Fails, GoesOn, Made, MakingFails, Models, NotMet};

const NO_BLOBS: &str = "blobs are not pushed yet";
const NO_EMBED: &str = "embeddings go through the whole stack in recorded_exchanges";
const NO_CALL: &str = "the engine never calls this";

/// One row for each file of either release.
const ROWS: &[(&str, Becomes)] = &[
    ("blob-head-bad-digest", NotMet(NO_BLOBS)),
    ("blob-head-missing", NotMet(NO_BLOBS)),
    ("blob-head-there", NotMet(NO_BLOBS)),
    ("blob-push", NotMet(NO_BLOBS)),
    ("blob-push-wrong-digest", NotMet(NO_BLOBS)),
    ("chat-after-delete", Fails("ModelNotFound")),
    ("chat-after-runner-killed", Answer("length", 14, 3)),
    ("chat-bad-json", Fails("Rejected")),
    ("chat-client-stops-after-3", GoesOn(3)),
    ("chat-cloud-model", Fails("Unreachable")),
    ("chat-cold", Answer("length", 14, 6)),
    ("chat-context-fills-while-generating", Answer("length", 18, 160)),
    ("chat-empty-body", Fails("Rejected")),
    ("chat-empty-content", Answer("length", 9, 4)),
    ("chat-empty-messages-loads", BreaksOff(0, "Protocol")),
    ("chat-empty-messages-unloads", BreaksOff(0, "Protocol")),
    ("chat-field-unknown", Answer("length", 10, 2)),
    ("chat-format-bad-schema", Fails("Rejected")),
    ("chat-format-bad-word", Fails("Rejected")),
    ("chat-format-json", Answer("length", 17, 40)),
    ("chat-format-schema", Answer("stop", 15, 11)),
    ("chat-history-and-system", Answer("length", 42, 8)),
    ("chat-images-not-base64", Fails("Rejected")),
    ("chat-images-unsupported", Answer("length", 17, 2)),
    ("chat-keep-alive-bad", Fails("Rejected")),
    ("chat-keep-alive-seconds", Answer("length", 14, 2)),
    ("chat-logprobs", Answer("length", 14, 3)),
    ("chat-long-prompt-truncate-false", Fails("PromptTooLong")),
    ("chat-long-prompt-truncated", Answer("length", 256, 3)),
    ("chat-mario", Answer("length", 55, 10)),
    ("chat-model-bad-name", Fails("Rejected")),
    ("chat-model-empty", Fails("Rejected")),
    ("chat-model-missing", Fails("ModelNotFound")),
    ("chat-no-messages-field", BreaksOff(0, "Protocol")),
    ("chat-num-predict-0", Answer("stop", 17, 24)),
    ("chat-num-predict-1", Answer("length", 17, 1)),
    ("chat-num-predict-minus-1", Answer("stop", 17, 24)),
    ("chat-num-predict-minus-2", Answer("stop", 17, 24)),
    ("chat-one-reply", Answer("stop", 14, 10)),
    ("chat-option-unknown", Answer("length", 10, 2)),
    ("chat-option-wrong-type", Fails("Rejected")),
    ("chat-queue-full", Fails("Busy")),
    ("chat-repeats-itself", BreaksOff(3, "Interrupted")),
    ("chat-role-missing", Answer("length", 9, 4)),
    ("chat-role-unknown", Answer("length", 11, 4)),
    ("chat-runner-killed-at-3", BreaksOff(3, "Interrupted")),
    ("chat-server-killed-at-3", BreaksOff(3, "Interrupted")),
    ("chat-shift-false", Answer("length", 18, 47)),
    ("chat-stop-reason-stop", Answer("length", 17, 64)),
    ("chat-stop-sequence", Answer("length", 17, 40)),
    ("chat-stream", Answer("stop", 14, 10)),
    ("chat-think-bad", Fails("Rejected")),
    ("chat-think-false", Answer("length", 14, 2)),
    ("chat-think-level-unsupported", Fails("ModelIncapable")),
    ("chat-think-unsupported", Fails("ModelIncapable")),
    ("chat-thinking-deltas-with-format", Answer("length", 17, 8)),
    ("chat-thinking-deltas", Answer("length", 17, 8)),
    ("chat-thinking-not-asked", Answer("length", 17, 8)),
    ("chat-thinking", Answer("length", 20, 24)),
    ("chat-tool-call-one-reply", Answer("stop", 71, 28)),
    ("chat-tool-call", Answer("stop", 71, 28)),
    ("chat-tool-result", Answer("length", 104, 10)),
    ("chat-tools-unsupported", Fails("ModelIncapable")),
    ("chat-tools", Answer("length", 91, 48)),
    ("chat-top-logprobs-21", Fails("Rejected")),
    ("chat-top-logprobs-without-logprobs", Answer("length", 14, 2)),
    ("chat-top-logprobs", Answer("length", 14, 2)),
    ("chat-unicode", Answer("length", 21, 16)),
    ("chat-weights-gone", Fails("ModelBroken")),
    ("chat-wrong-type", Fails("Rejected")),
    ("copy", NotMet(NO_CALL)),
    ("copy-missing", NotMet(NO_CALL)),
    ("create-bad-name", Fails("Rejected")),
    ("create-bad-parameter", Made(5)),
    ("create-bad-parameter-type", Made(5)),
    ("create-bad-role", Made(6)),
    ("create-bad-template", Fails("Modelfile")),
    ("create-blob-missing", MakingFails("Interrupted")),
    ("create-from-bad-gguf", MakingFails("Interrupted")),
    ("create-from-missing", MakingFails("Interrupted")),
    ("create-from-truncated-gguf", MakingFails("Interrupted")),
    ("create-mario", Made(7)),
    ("create-nothing", Fails("Rejected")),
    ("create-one-reply", Made(1)),
    ("create-quantize-already", Fails("Interrupted")),
    ("create-thinking-template", Made(5)),
    ("create-thinks-at-once", Made(5)),
    ("create-tools-template", Made(5)),
    ("delete", Deleted),
    ("delete-missing", Fails("ModelNotFound")),
    ("delete-while-loaded", Deleted),
    ("embed-batch", NotMet(NO_EMBED)),
    ("embed-empty", NotMet(NO_EMBED)),
    ("embed-model-missing", NotMet(NO_EMBED)),
    ("embed-none", NotMet(NO_EMBED)),
    ("embed-one", NotMet(NO_EMBED)),
    ("embed-too-long-truncate-false", NotMet(NO_EMBED)),
    ("embed-wrong-type", NotMet(NO_EMBED)),
    ("generate-bad-template", Fails("Rejected")),
    ("generate-empty-prompt-loads", BreaksOff(0, "Protocol")),
    ("generate-empty-prompt-unloads", BreaksOff(0, "Protocol")),
    ("generate-model-missing", Fails("ModelNotFound")),
    ("generate-one-reply", Answer("length", 15, 6)),
    ("generate-raw-with-system", Fails("Rejected")),
    ("generate-raw", Answer("length", 4, 6)),
    ("generate-stream", Answer("length", 15, 6)),
    ("generate-suffix-unsupported", Fails("ModelIncapable")),
    ("generate-system", Answer("length", 23, 6)),
    ("get-on-chat", Fails("Protocol")),
    ("host-foreign", Fails("Unreachable")),
    ("no-such-path", NotMet(NO_CALL)),
    ("origin-foreign", Fails("Unreachable")),
    ("ps-loaded", NotMet(NO_CALL)),
    ("ps-nothing-loaded", NotMet(NO_CALL)),
    ("pull-bad-name", NotMet("models are not pulled yet")),
    ("pull-without-network", NotMet("models are not pulled yet")),
    ("root", NotMet(NO_CALL)),
    ("root-head", NotMet(NO_CALL)),
    ("show", Facts(&["completion"])),
    ("show-empty", Fails("Rejected")),
    ("show-mario", Facts(&["completion"])),
    ("show-missing", Fails("ModelNotFound")),
    ("show-tools", Facts(&["completion", "tools"])),
    ("tags", Models(1)),
    ("tags-with-mario", Models(3)),
    ("version", NotMet("it is what the scripted upstream says by itself")),
];

/// The same questions, where 0.32 answers differently.
const ROWS_0_32: &[(&str, Becomes)] = &[
    ("chat-history-and-system", Answer("stop", 42, 6)),
    ("chat-images-unsupported", Fails("ModelIncapable")),
    ("chat-long-prompt-truncated", Answer("length", 130, 3)),
    ("chat-num-predict-0", Answer("stop", 17, 9)),
    ("chat-num-predict-minus-1", Answer("stop", 17, 9)),
    ("chat-num-predict-minus-2", Answer("stop", 17, 9)),
    ("chat-one-reply", Answer("length", 14, 12)),
    ("chat-shift-false", Answer("length", 18, 160)),
    ("chat-stop-reason-stop", Answer("stop", 17, 10)),
    ("chat-stream", Answer("length", 14, 12)),
    ("chat-tool-call", Answer("stop", 71, 18)),
    ("chat-tool-call-one-reply", Answer("stop", 71, 18)),
];

fn engine(upstream: &ScriptedUpstream) -> OllamaEngine {
    let host = OllamaHost::parse(&upstream.url()).unwrap();
    OllamaEngine::new(OllamaConfig { host, ..OllamaConfig::default() }).unwrap()
}

fn model(name: &str) -> ModelName {
    ModelName::parse(name).unwrap()
}

fn prompt(task: Task) -> Prompt {
    Prompt {
        model: model("smollm2"),
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

fn chat() -> Prompt {
    let message = Message {
        role: ChatRole::User,
        content: "hi".to_owned(),
        thinking: String::new(),
        images: Vec::new(),
        tool_calls: Vec::new(),
        tool_name: String::new(),
        tool_call_id: String::new(),
    };
    prompt(Task::Chat { messages: vec![message], tools: Vec::new() })
}

fn generate() -> Prompt {
    prompt(Task::Generate { prompt: "hi".to_owned(), suffix: String::new(), system: None, images: Vec::new(), raw: false })
}

fn variant(error: &EngineError) -> String {
    format!("{error:?}").split([' ', '{']).next().unwrap().to_owned()
}

/// What a stream said.
#[derive(Debug, Default)]
struct ReceivedAnswer {
    all: Piece,
    pieces: usize,
    done: Option<Done>,
    error: Option<EngineError>,
}

impl ReceivedAnswer {
    fn add(&mut self, piece: Piece) {
        self.all.content.push_str(&piece.content);
        self.all.thinking.push_str(&piece.thinking);
        self.all.tool_calls.extend(piece.tool_calls);
        self.all.logprobs.extend(piece.logprobs);
    }
}

async fn hear(mut stream: AnswerStream) -> ReceivedAnswer {
    let mut heard = ReceivedAnswer::default();
    while let Some(event) = stream.next().await {
        assert!(heard.done.is_none() && heard.error.is_none(), "something came after the end");
        match event {
            Ok(AnswerEvent::Piece(piece)) => {
                assert!(!piece.is_empty(), "an empty piece");
                heard.pieces += 1;
                heard.add(piece);
            }
            Ok(AnswerEvent::Done(piece, done)) => {
                heard.add(piece);
                heard.done = Some(done);
            }
            Err(error) => heard.error = Some(error),
        }
    }
    assert!(heard.done.is_some() || heard.error.is_some(), "neither an end nor an error");
    heard
}

/// The text of a recorded answer, read without the code under test.
fn recorded_text(exchange: &Exchange) -> (String, String) {
    let (mut content, mut thinking) = (String::new(), String::new());
    for line in exchange.response.body().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let part = |path: &str| line.pointer(path).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        content += &(part("/message/content") + &part("/response"));
        thinking += &part("/message/thinking");
    }
    (content, thinking)
}

async fn replay(exchange: &Exchange, becomes: Becomes) {
    let name = &exchange.label;
    let upstream = ScriptedUpstream::start().await;
    upstream.script(&exchange.request.path, exchange.script(0.0));
    let engine = engine(&upstream);
    let asks = if exchange.request.path == "/api/generate" { generate() } else { chat() };
    match becomes {
        NotMet(_) => {}
        Answer(reason, input, output) => {
            let heard = hear(engine.answer(&asks, 9, &Dispatched::default()).await.unwrap_or_else(|error| panic!("{name}: {error}"))).await;
            let done = heard.done.unwrap_or_else(|| panic!("{name}: {:?}", heard.error));
            assert_eq!((done.reason.as_str(), done.input_tokens, done.output_tokens), (reason, Some(input), Some(output)), "{name}");
            assert!(done.total.is_some() && done.load.is_some(), "{name}");
            assert_eq!((heard.all.content, heard.all.thinking), recorded_text(exchange), "{name}");
        }
        BreaksOff(bytes, error) => {
            let heard = hear(engine.answer(&asks, 9, &Dispatched::default()).await.unwrap_or_else(|error| panic!("{name}: {error}"))).await;
            assert_eq!(heard.error.as_ref().map(variant).as_deref(), Some(error), "{name}");
            assert!(heard.all.bytes() >= bytes, "{name}: {} bytes", heard.all.bytes());
        }
        GoesOn(pieces) => {
            let mut stream = engine.answer(&asks, 9, &Dispatched::default()).await.unwrap();
            for _ in 0..pieces {
                assert!(matches!(stream.next().await, Some(Ok(AnswerEvent::Piece(_)))), "{name}");
            }
            drop(stream);
            upstream.request(&exchange.request.path, 0).await.client_closed().await;
        }
        Fails(error) => {
            let failed = match exchange.request.path.as_str() {
                "/api/chat" | "/api/generate" => engine.answer(&asks, 9, &Dispatched::default()).await.err(),
                "/api/show" => engine.show_model(&model("smollm2")).await.err(),
                "/api/tags" => engine.list_models().await.err(),
                "/api/delete" => engine.delete_model(&model("smollm2")).await.err(),
                "/api/create" => engine.create_model(&model("x"), &Modelfile::parse("FROM smollm2\nTEMPLATE t").unwrap()).await.err(),
                path => panic!("{name}: {path}"),
            };
            assert_eq!(failed.as_ref().map(variant).as_deref(), Some(error), "{name}: {failed:?}");
        }
        Models(count) => {
            let models = engine.list_models().await.unwrap();
            assert_eq!(models.len(), count, "{name}");
            assert!(
                models.iter().all(|model| model.modified_at.is_some() && model.size_bytes > 0 && !model.name.ends_with(":latest")),
                "{name}"
            );
        }
        Facts(capabilities) => {
            let facts = engine.show_model(&model("smollm2")).await.unwrap();
            assert_eq!(facts.capabilities, capabilities, "{name}");
            assert_eq!((facts.context_length, facts.details.family.as_str()), (8192, "llama"), "{name}");
            assert!(!format!("{facts:?}").contains("/models/"), "{name}: a path");
        }
        Made(steps) => {
            let made = engine.create_model(&model("x"), &Modelfile::parse("FROM smollm2").unwrap()).await.unwrap();
            let progress: Vec<_> = made.map(|step| step.unwrap().status).collect().await;
            assert_eq!((progress.len(), progress.last().map(String::as_str)), (steps, Some("success")), "{name}");
        }
        MakingFails(error) => {
            let made = engine.create_model(&model("x"), &Modelfile::parse("FROM smollm2").unwrap()).await.unwrap();
            let steps: Vec<_> = made.collect().await;
            assert_eq!(steps.last().and_then(|step| step.as_ref().err()).map(variant).as_deref(), Some(error), "{name}");
        }
        Deleted => engine.delete_model(&model("smollm2")).await.unwrap(),
    }
}

#[tokio::test]
async fn every_recorded_exchange_becomes_the_right_events_or_error() {
    for (_, exchange, becomes) in with_rows(ROWS, ROWS_0_32) {
        replay(&exchange, becomes).await;
    }
}

#[tokio::test]
async fn a_tool_call_and_log_probabilities_arrive_whole() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script_once("/api/chat", Release::V0_24.exchange("chat-tool-call").script(0.0));
    upstream.script_once("/api/chat", Release::V0_24.exchange("chat-top-logprobs").script(0.0));
    let engine = engine(&upstream);
    let heard = hear(engine.answer(&chat(), 60, &Dispatched::default()).await.unwrap()).await;
    let call = &heard.all.tool_calls[0];
    assert_eq!(
        (call.id.as_str(), call.name.as_str(), call.arguments_json.as_str()),
        ("call_32fwp181", "get_weather", r#"{"city":"Paris"}"#)
    );
    let heard = hear(engine.answer(&chat(), 2, &Dispatched::default()).await.unwrap()).await;
    let first = &heard.all.logprobs[0];
    assert_eq!((first.token.as_str(), first.bytes.as_slice(), first.top.len()), ("A", &[65_u8][..], 2));
    assert!(first.logprob < -3.16 && first.top[1].token == "S");
}

#[tokio::test]
async fn dropping_the_stream_closes_the_upstream_connection() {
    let upstream = ScriptedUpstream::start().await;
    let engine = engine(&upstream);
    for (number, tokens) in [0, 1, 5].into_iter().enumerate() {
        let gate = Gate::new();
        upstream.script_once("/api/chat", Script::stream().token("0").gated_tokens(&gate, &["1", "2", "3", "4", "5"]).stall());
        let mut stream = engine.answer(&chat(), 60, &Dispatched::default()).await.unwrap();
        gate.open(tokens);
        for _ in 0..tokens {
            assert!(matches!(stream.next().await, Some(Ok(AnswerEvent::Piece(_)))));
        }
        drop(stream);
        upstream.request("/api/chat", number).await.client_closed().await;
    }
}

#[tokio::test]
async fn dropping_the_call_before_the_head_closes_the_upstream_connection() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::silence());
    let engine = engine(&upstream);
    let asked = chat();
    let dispatched = Dispatched::default();
    let call = engine.answer(&asked, 9, &dispatched);
    let request = tokio::select! {
        _ = call => panic!("an answer out of silence"),
        request = upstream.request("/api/chat", 0) => request,
    };
    request.client_closed().await;
}

#[tokio::test]
async fn a_line_split_anywhere_and_many_lines_in_one_read_are_the_same_answer() {
    let upstream = ScriptedUpstream::start().await;
    let engine = engine(&upstream);
    let body = format!(
        "{}\r\n{}\n\n{}",
        json!({ "message": { "role": "assistant", "content": "naïve 東京 🍄" }, "done": false }),
        json!({ "message": { "role": "assistant", "content": "!" }, "done": false }),
        done_line("stop", 3, 2),
    );
    for position in 0..=body.len() {
        upstream.script_once("/api/chat", Script::stream().split(body.clone(), &[position]));
        let heard = hear(engine.answer(&chat(), 9, &Dispatched::default()).await.unwrap()).await;
        assert_eq!((heard.all.content.as_str(), heard.pieces), ("naïve 東京 🍄!", 2), "split at {position}");
        assert_eq!(heard.done.and_then(|done| done.output_tokens), Some(2));
    }
}

#[tokio::test]
async fn what_breaks_off_is_interrupted_and_what_is_no_protocol_says_so() {
    let upstream = ScriptedUpstream::start().await;
    let engine = engine(&upstream);
    let long = format!("{{\"message\":{{\"content\":\"{}\"}}}}\n", "x".repeat(5 << 20));
    let cases = [
        ("an early close", Script::stream().tokens(&["a", "b"]).close_early(), "Interrupted"),
        ("a reset", Script::stream().tokens(&["a", "b"]).cut(), "Interrupted"),
        ("no last line", Script::stream().tokens(&["a", "b"]), "Interrupted"),
        ("half a line", Script::stream().token("a").chunk("{\"message\":").close_early(), "Interrupted"),
        ("an error line", Script::stream().token("a").error_line("unexpected EOF"), "Interrupted"),
        ("an error line with a status", Script::stream().token("a").line(&json!({ "error": "busy", "status": 503 })), "Busy"),
        ("a malformed line", Script::stream().token("a").malformed_line(), "Protocol"),
        ("half a line at a proper end", Script::stream().token("a").chunk("{\"message\":"), "Protocol"),
        ("an endless line", Script::stream().token("a").chunk(long), "Protocol"),
        ("broken chunks", Script::stream().token("a").raw("zz\r\n"), "Interrupted"),
        ("a load", Script::stream().line(&done_line("load", 0, 0)), "Protocol"),
        ("no body", Script::stream(), "Interrupted"),
    ];
    for (what, script, expected) in cases {
        upstream.script_once("/api/chat", script);
        let heard = hear(engine.answer(&chat(), 9, &Dispatched::default()).await.unwrap_or_else(|error| panic!("{what}: {error}"))).await;
        assert_eq!(heard.error.as_ref().map(variant).as_deref(), Some(expected), "{what}: {:?}", heard.error);
    }
}

#[tokio::test]
async fn a_call_that_gets_no_head_says_whether_it_may_have_run() {
    let upstream = ScriptedUpstream::start().await;
    let engine = engine(&upstream);
    upstream.script("/api/chat", Script::raw_bytes().cut());
    assert!(matches!(engine.answer(&chat(), 9, &Dispatched::default()).await.err(), Some(EngineError::Interrupted { .. })));
    assert_eq!(upstream.requests_to("/api/chat").len(), 1, "it was sent again");
    upstream.script("/api/chat", Script::empty(302).header("Location", "/api/elsewhere"));
    assert!(matches!(engine.answer(&chat(), 9, &Dispatched::default()).await.err(), Some(EngineError::Protocol { .. })));
    assert!(upstream.requests_to("/api/elsewhere").is_empty(), "a redirect was followed");
    drop(upstream);
    let reserved = ReservedPort::new();
    let nobody = OllamaHost::parse(&reserved.address().to_string()).unwrap();
    let engine = OllamaEngine::new(OllamaConfig { host: nobody, ..OllamaConfig::default() }).unwrap();
    assert!(matches!(engine.answer(&chat(), 9, &Dispatched::default()).await.err(), Some(EngineError::Unreachable { .. })));
    let unreachable = engine.probe().await.unwrap_err().to_string();
    assert!(unreachable.contains(&reserved.address().to_string()), "the address asked is named: {unreachable}");
}

#[tokio::test]
async fn a_slow_head_and_a_slow_body_are_waited_for() {
    let upstream = ScriptedUpstream::start().await;
    let gate = Gate::new();
    let slow = Script::stream().head_gate(&gate).slow_head(Duration::from_millis(1)).tokens(&["a"]).done("stop", 1, 1);
    upstream.script("/api/chat", slow);
    let engine = engine(&upstream);
    let asked = chat();
    let dispatched = Dispatched::default();
    let (answer, ()) = tokio::join!(engine.answer(&asked, 9, &dispatched), async {
        upstream.request("/api/chat", 0).await;
        gate.open(1);
    });
    assert_eq!(hear(answer.unwrap()).await.all.content, "a");
}

#[tokio::test]
async fn one_answer_after_another_comes_whole_when_each_is_left_at_its_last_line() {
    let upstream = ScriptedUpstream::start().await;
    let engine = engine(&upstream);
    for _ in 0..2 {
        let mut stream = engine.answer(&chat(), 9, &Dispatched::default()).await.unwrap();
        while let Some(event) = stream.next().await {
            if matches!(event.unwrap(), AnswerEvent::Done(..)) {
                break;
            }
        }
    }
    let requests = upstream.requests_to("/api/chat");
    assert_eq!(requests.len(), 2);
    assert!(engine.probe().await.is_ok());
}

#[tokio::test]
async fn the_request_is_what_was_asked_for() {
    let upstream = ScriptedUpstream::start().await;
    let engine = engine(&upstream);
    let mut asked = chat();
    asked.format = Some(Format::Json);
    asked.think = Some(Think::Off);
    asked.top_logprobs = Some(3);
    drop(engine.answer(&asked, 7, &Dispatched::default()).await.unwrap());
    let request = upstream.request("/api/chat", 0).await;
    let expected = json!({
        "model": "smollm2", "messages": [{ "role": "user", "content": "hi" }], "stream": true, "format": "json", "think": false,
        "logprobs": true, "top_logprobs": 3, "options": { "num_predict": 7 },
    });
    assert_eq!(request.json(), expected);
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("host"), Some(upstream.address().to_string().as_str()));
    assert_eq!(request.header("origin"), None);
}

#[tokio::test]
async fn facts_are_asked_for_once_and_again_after_a_change() {
    let upstream = ScriptedUpstream::start().await;
    let engine = engine(&upstream);
    let asked = || upstream.requests_to("/api/show").len();
    for _ in 0..3 {
        engine.show_model(&model("smollm2")).await.unwrap();
    }
    assert_eq!(asked(), 1);
    let made = engine.create_model(&model("mario"), &Modelfile::parse("FROM smollm2\nSYSTEM You are mario.").unwrap()).await.unwrap();
    assert_eq!(made.count().await, 3);
    assert_eq!(asked(), 1, "FROM was known");
    assert_eq!(upstream.request("/api/create", 0).await.json()["system"], "You are mario.");
    engine.show_model(&model("mario")).await.unwrap();
    assert_eq!(asked(), 2);
    engine.delete_model(&model("mario")).await.unwrap();
    assert!(matches!(engine.show_model(&model("mario")).await, Err(EngineError::ModelNotFound)));
    assert!(matches!(engine.delete_model(&model("mario")).await, Err(EngineError::ModelNotFound)));
}

#[tokio::test]
async fn a_from_that_is_not_there_is_refused_before_ollama_would_pull_it() {
    let upstream = ScriptedUpstream::start().await;
    let refused = engine(&upstream).create_model(&model("x"), &Modelfile::parse("\nFROM nosuch").unwrap()).await.err();
    assert!(matches!(&refused, Some(EngineError::Modelfile { sentence }) if sentence.starts_with("line 2: ")), "{refused:?}");
    assert!(upstream.requests_to("/api/create").is_empty());
}

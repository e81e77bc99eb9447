//! Every recorded answer of a real Ollama is written by the door as Ollama wrote it.

use integration::recorded::{Exchange, Release};
use serde_json::Value;

use crate::bench::{Bench, timeless};

/// Requests that the door refuses or answers by itself, each with its reason.
const NOT_PASSED_ON: &[(&str, &str)] = &[
    ("chat-shift-false", "shift can't be false"),
    ("chat-cloud-model", "runs elsewhere"),
    ("chat-role-missing", "Ollama takes any role"),
    ("chat-role-unknown", "Ollama takes any role"),
    ("chat-images-unsupported", "Ollama 0.24 drops pictures silently"),
    ("chat-empty-messages-loads", "answered without the model"),
    ("chat-empty-messages-unloads", "answered without the model"),
    ("chat-no-messages-field", "answered without the model"),
    ("generate-empty-prompt-loads", "answered without the model"),
    ("generate-empty-prompt-unloads", "answered without the model"),
    ("chat-long-prompt-truncated", "its request was recorded in part"),
];

/// A line as Ollama writes it, without what the door leaves out or adds.
fn comparable(line: &str) -> Value {
    let mut line = timeless(serde_json::from_str(line).unwrap());
    if let Some(line) = line.as_object_mut() {
        for own in ["cost", "remaining_credits", "code", "context", "status"] {
            line.remove(own);
        }
        // In our words.
        if line.contains_key("error") {
            line.insert("error".to_owned(), Value::Null);
        }
    }
    line
}

/// Whether a line says nothing: the first often has the role alone, and is not passed on.
fn is_empty(line: &Value) -> bool {
    let message = line.get("message").unwrap_or(line);
    let text = |field: &str| message[field].as_str().unwrap_or_default().is_empty();
    line["done"] == false
        && text("content")
        && text("response")
        && text("thinking")
        && message["tool_calls"].is_null()
        && line["logprobs"].is_null()
}

/// A last line of a stream that brings a piece of the answer, as the two lines that the door makes of it.
fn parts(line: Value, is_streamed: bool) -> Vec<Value> {
    let message = line.get("message").unwrap_or(&line);
    let has_text = ["content", "response"].iter().any(|field| message[*field].as_str().is_some_and(|text| !text.is_empty()));
    if !(is_streamed && line["done"] == true && has_text) {
        return vec![line];
    }
    let mut piece = line.clone();
    let fields = piece.as_object_mut().unwrap();
    fields.retain(|name, _| matches!(name.as_str(), "model" | "message" | "response" | "thinking" | "logprobs"));
    fields.insert("done".to_owned(), Value::Bool(false));
    let mut last = line;
    match last.get_mut("message") {
        Some(message) => message["content"] = "".into(),
        None => last["response"] = "".into(),
    }
    last.as_object_mut().unwrap().remove("logprobs");
    vec![piece, last]
}

async fn replay(bench: &Bench, exchange: &Exchange) {
    let (name, path) = (exchange.label.as_str(), exchange.request.path.as_str());
    bench.upstream.script_once(path, exchange.script(0.0));
    let answer = bench.post(path, &exchange.request.json()).await;
    assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    let recorded = exchange.response.body();
    let is_streamed = exchange.request.json()["stream"] != false;
    let expected: Vec<_> =
        recorded.lines().map(comparable).flat_map(|line| parts(line, is_streamed)).filter(|line| !is_empty(line)).collect();
    let written: Vec<_> = answer.text().lines().map(comparable).collect();
    // A stream that ended without a last line is told as an error: what was there before is the same.
    let ended = expected.last().is_some_and(|line| line["done"] == true || line.get("error").is_some());
    if ended {
        assert_eq!(written, expected, "{name}");
    } else {
        assert_eq!(written[..written.len() - 1], expected, "{name}");
        assert!(written.last().unwrap().get("error").is_some(), "{name}");
    }
}

#[tokio::test]
async fn every_recorded_answer_is_written_as_ollama_wrote_it() {
    let bench = Bench::start_with(&[("TOLLGATE_STARTING_CREDITS", "1000000000")]).await;
    for (name, capabilities) in [
        ("smollm2", &["completion"][..]),
        ("mario", &["completion"]),
        ("gone", &["completion"]),
        ("withtools", &["completion", "tools"]),
        ("withthinking", &["completion", "thinking"]),
        ("thinks", &["completion", "thinking"]),
    ] {
        bench.upstream.model(name, capabilities, 8192);
    }
    let mut replayed = 0;
    for release in Release::ALL {
        for name in release.names() {
            let exchange = release.exchange(&name);
            let is_answer = matches!(exchange.request.path.as_str(), "/api/chat" | "/api/generate") && exchange.request.method == "POST";
            let is_told = exchange.response.status_code() == 200 && !exchange.response.closed_early && exchange.request.json().is_object();
            if is_answer && is_told && !NOT_PASSED_ON.iter().any(|(known, _)| *known == name) && name != "chat-client-stops-after-3" {
                replay(&bench, &exchange).await;
                replayed += 1;
            }
        }
    }
    assert!(replayed > 60, "{replayed}");
    assert_eq!(bench.stack.snapshot(&bench.user).await.balance.held, 0);
}

//! What holds at every door that costs credits, whatever it speaks: how a call ends and what it costs then, and what an attacker gets.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod attacks;
mod exits;
mod limited;
mod log;

use integration::scripted_upstream::{Gate, Script, chat_line, done_line};
use serde_json::{Value, json};

/// A door's route that costs credits.
struct MeteredDoor {
    path: &'static str,
    /// Where its call goes upstream.
    upstream: &'static str,
    /// A request for an answer of some words: whole, or streamed.
    body: fn(stream: bool) -> Value,
}

/// All of them.
const DOORS: [MeteredDoor; 6] = [
    MeteredDoor { path: "/v1/chat/completions", upstream: "/api/chat", body: openai_chat },
    MeteredDoor { path: "/v1/completions", upstream: "/api/generate", body: openai_completion },
    MeteredDoor { path: "/v1/responses", upstream: "/api/chat", body: openai_response },
    MeteredDoor { path: "/v1/messages", upstream: "/api/chat", body: anthropic_message },
    MeteredDoor { path: "/api/chat", upstream: "/api/chat", body: ollama_chat },
    MeteredDoor { path: "/api/generate", upstream: "/api/generate", body: ollama_prompt },
];

fn messages() -> Value {
    json!([{ "role": "user", "content": "count" }])
}

fn openai_chat(stream: bool) -> Value {
    let options = json!({ "include_usage": true });
    let mut body = json!({ "model": "smollm2", "messages": messages(), "max_tokens": 64, "stream": stream });
    if stream {
        body["stream_options"] = options;
    }
    body
}

fn openai_completion(stream: bool) -> Value {
    let mut body = json!({ "model": "smollm2", "prompt": "count", "max_tokens": 64, "stream": stream });
    if stream {
        body["stream_options"] = json!({ "include_usage": true });
    }
    body
}

fn openai_response(stream: bool) -> Value {
    json!({ "model": "smollm2", "input": "count", "max_output_tokens": 64, "stream": stream })
}

fn anthropic_message(stream: bool) -> Value {
    json!({ "model": "smollm2", "messages": messages(), "max_tokens": 64, "stream": stream })
}

fn ollama_chat(stream: bool) -> Value {
    json!({ "model": "smollm2", "messages": messages(), "options": { "num_predict": 64 }, "stream": stream })
}

fn ollama_prompt(stream: bool) -> Value {
    json!({ "model": "smollm2", "prompt": "count", "options": { "num_predict": 64 }, "stream": stream })
}

impl MeteredDoor {
    /// A piece of an answer, as the model server sends it.
    fn piece(&self, text: &str) -> Value {
        if self.upstream == "/api/generate" { json!({ "model": "smollm2", "response": text, "done": false }) } else { chat_line(text) }
    }

    /// Its end.
    fn done(&self, tokens: usize) -> Value {
        let mut line = done_line("stop", 5, tokens);
        if self.upstream == "/api/generate" {
            line["response"] = json!("");
        }
        line
    }

    /// An answer of these pieces, each behind the gate.
    fn gated(&self, gate: &Gate, pieces: &[&str]) -> Script {
        pieces.iter().fold(Script::stream(), |script, text| script.gate(gate).line(&self.piece(text)))
    }

    /// An answer of these pieces.
    fn answer(&self, pieces: &[&str]) -> Script {
        pieces.iter().fold(Script::stream(), |script, text| script.line(&self.piece(text))).line(&self.done(pieces.len()))
    }
}

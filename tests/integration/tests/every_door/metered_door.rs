//! The doors that cost credits, and a request for each.

use integration::scripted_upstream::{Gate, Script, chat_line, done_line};
use serde_json::{Value, json};

/// A door's route that costs credits.
pub(crate) struct MeteredDoor {
    pub(crate) path: &'static str,
    /// Where its call goes upstream.
    pub(crate) upstream: &'static str,
    /// A request for an answer of some words: whole, or streamed.
    pub(crate) body: fn(stream: bool) -> Value,
}

/// All of them.
pub(crate) const DOORS: [MeteredDoor; 6] = [
    MeteredDoor { path: "/v1/chat/completions", upstream: "/api/chat", body: openai_chat },
    MeteredDoor { path: "/v1/completions", upstream: "/api/generate", body: openai_completion },
    MeteredDoor { path: "/v1/responses", upstream: "/api/chat", body: openai_response },
    MeteredDoor { path: "/v1/messages", upstream: "/api/chat", body: anthropic_message },
    MeteredDoor { path: "/api/chat", upstream: "/api/chat", body: ollama_chat },
    MeteredDoor { path: "/api/generate", upstream: "/api/generate", body: ollama_prompt },
];

pub(crate) fn messages() -> Value {
    json!([{ "role": "user", "content": "count" }])
}

pub(crate) fn openai_chat(stream: bool) -> Value {
    let options = json!({ "include_usage": true });
    let mut body = json!({ "model": "smollm2", "messages": messages(), "max_tokens": 64, "stream": stream });
    if stream {
        body["stream_options"] = options;
    }
    body
}

pub(crate) fn openai_completion(stream: bool) -> Value {
    let mut body = json!({ "model": "smollm2", "prompt": "count", "max_tokens": 64, "stream": stream });
    if stream {
        body["stream_options"] = json!({ "include_usage": true });
    }
    body
}

pub(crate) fn openai_response(stream: bool) -> Value {
    json!({ "model": "smollm2", "input": "count", "max_output_tokens": 64, "stream": stream })
}

pub(crate) fn anthropic_message(stream: bool) -> Value {
    json!({ "model": "smollm2", "messages": messages(), "max_tokens": 64, "stream": stream })
}

pub(crate) fn ollama_chat(stream: bool) -> Value {
    json!({ "model": "smollm2", "messages": messages(), "options": { "num_predict": 64 }, "stream": stream })
}

pub(crate) fn ollama_prompt(stream: bool) -> Value {
    json!({ "model": "smollm2", "prompt": "count", "options": { "num_predict": 64 }, "stream": stream })
}

impl MeteredDoor {
    /// A piece of an answer, as the model server sends it.
    pub(crate) fn piece(&self, text: &str) -> Value {
        if self.upstream == "/api/generate" { json!({ "model": "smollm2", "response": text, "done": false }) } else { chat_line(text) }
    }

    /// Its end.
    pub(crate) fn done(&self, tokens: usize) -> Value {
        let mut line = done_line("stop", 5, tokens);
        if self.upstream == "/api/generate" {
            line["response"] = json!("");
        }
        line
    }

    /// An answer of these pieces, each behind the gate.
    pub(crate) fn gated(&self, gate: &Gate, pieces: &[&str]) -> Script {
        pieces.iter().fold(Script::stream(), |script, text| script.gate(gate).line(&self.piece(text)))
    }

    /// An answer of these pieces.
    pub(crate) fn answer(&self, pieces: &[&str]) -> Script {
        pieces.iter().fold(Script::stream(), |script, text| script.line(&self.piece(text))).line(&self.done(pieces.len()))
    }
}

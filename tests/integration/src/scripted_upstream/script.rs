//! What the scripted upstream does with one request, built step by step.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// Holds a script back until a test opens it: each `open` lets so many waits through.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets so many waits through, now or later.
    pub fn open(&self, times: usize) {
        self.0.add_permits(times);
    }

    /// Lets every wait through, for good.
    pub fn open_for_good(&self) {
        self.0.close();
    }

    pub(super) async fn pass(&self) {
        // Closed means open for good.
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

/// What the upstream does with one request. Built step by step, in order.
#[derive(Debug, Clone)]
pub struct Script {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) framing: Framing,
    pub(super) before_head: Vec<Step>,
    /// The head is written byte by byte, with this between.
    pub(super) head_pace: Option<Duration>,
    pub(super) steps: Vec<Step>,
    /// Before each chunk from here on.
    pub(super) pace: Duration,
    pub(super) ending: Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Chunked,
    ContentLength,
    /// Neither: `raw` writes everything.
    None,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Pause(Duration),
    Gate(Gate),
    Chunk(Bytes),
    Raw(Bytes),
    Endless { line: Bytes, pace: Duration },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// As HTTP wants it; the connection may serve another request.
    Proper,
    /// The connection is closed without the last chunk.
    Early,
    /// The connection is reset.
    Reset,
    /// Nothing more comes, for ever.
    Stall,
}

impl Script {
    /// A 200 with a chunked NDJSON body, as `/api/chat` answers.
    #[must_use]
    pub fn stream() -> Self {
        Self::with(200, Framing::Chunked).header("Content-Type", "application/x-ndjson")
    }

    /// A whole JSON body with its length.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self::body(status, "application/json; charset=utf-8", body.to_string())
    }

    /// Ollama's error body: `{"error":"…"}`.
    #[must_use]
    pub fn error(status: u16, text: &str) -> Self {
        Self::json(status, &json!({ "error": text }))
    }

    /// A whole body with its length.
    #[must_use]
    pub fn body(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::with(status, Framing::ContentLength).header("Content-Type", content_type).chunk(body)
    }

    /// A status without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self::with(status, Framing::ContentLength)
    }

    /// Any status with a chunked body.
    #[must_use]
    pub fn chunked(status: u16) -> Self {
        Self::with(status, Framing::Chunked)
    }

    /// No head at all: [`Self::raw`] writes what goes over the wire.
    #[must_use]
    pub fn raw_bytes() -> Self {
        Self::with(200, Framing::None)
    }

    /// Accepts the request and never says a word.
    #[must_use]
    pub fn silence() -> Self {
        Self::raw_bytes().stall()
    }

    /// A whole well-formed chat: a line per token, and the last line with the counts.
    #[must_use]
    pub fn chat(tokens: &[&str]) -> Self {
        Self::stream().tokens(tokens).done("stop", 14, tokens.len())
    }

    /// A whole well-formed reply of `/api/embed`: vectors of four numbers, and three tokens for each text.
    #[must_use]
    pub fn embeddings(model: &str, texts: usize) -> Self {
        let vectors = vec![[0.5, -0.5, 0.5, -0.5]; texts];
        let (total, load) = (575_358_674_u64, 31_040_767_u64);
        let reply = json!({
            "model": model, "embeddings": vectors, "total_duration": total, "load_duration": load, "prompt_eval_count": 3 * texts,
        });
        Self::json(200, &reply)
    }

    fn with(status: u16, framing: Framing) -> Self {
        let steps = Vec::new();
        Self {
            status,
            headers: Vec::new(),
            framing,
            before_head: Vec::new(),
            head_pace: None,
            steps,
            pace: Duration::ZERO,
            ending: Ending::Proper,
        }
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Waits before the head, as a model that loads does.
    #[must_use]
    pub fn head_delay(mut self, delay: Duration) -> Self {
        self.before_head.push(Step::Pause(delay));
        self
    }

    /// Waits before the head until the gate opens.
    #[must_use]
    pub fn head_gate(mut self, gate: &Gate) -> Self {
        self.before_head.push(Step::Gate(gate.clone()));
        self
    }

    /// Writes the head byte by byte, with this between two.
    #[must_use]
    pub fn slow_head(mut self, pace: Duration) -> Self {
        self.head_pace = Some(pace);
        self
    }

    /// Waits.
    #[must_use]
    pub fn pause(mut self, time: Duration) -> Self {
        self.steps.push(Step::Pause(time));
        self
    }

    /// Waits before each chunk that is added after this.
    #[must_use]
    pub fn pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Waits until the gate opens.
    #[must_use]
    pub fn gate(mut self, gate: &Gate) -> Self {
        self.steps.push(Step::Gate(gate.clone()));
        self
    }

    /// One HTTP chunk, flushed by itself.
    #[must_use]
    pub fn chunk(mut self, bytes: impl Into<Bytes>) -> Self {
        if !self.pace.is_zero() {
            self.steps.push(Step::Pause(self.pace));
        }
        let bytes = bytes.into();
        if !bytes.is_empty() {
            self.steps.push(Step::Chunk(bytes));
        }
        self
    }

    /// One chunk for each stretch between these byte positions: splits a line anywhere, also inside a character.
    #[must_use]
    pub fn split(mut self, bytes: impl Into<Bytes>, positions: &[usize]) -> Self {
        let bytes = bytes.into();
        let mut start = 0;
        for position in positions.iter().copied().chain([bytes.len()]) {
            let end = position.clamp(start, bytes.len());
            self = self.chunk(bytes.slice(start..end));
            start = end;
        }
        self
    }

    /// Bytes as they are, outside any chunk: for broken HTTP.
    #[must_use]
    pub fn raw(mut self, bytes: impl Into<Bytes>) -> Self {
        self.steps.push(Step::Raw(bytes.into()));
        self
    }

    /// A line of JSON, as one chunk.
    #[must_use]
    pub fn line(self, line: &Value) -> Self {
        self.chunk(format!("{line}\n"))
    }

    /// A chat token, as one line.
    #[must_use]
    pub fn token(self, text: &str) -> Self {
        self.line(&chat_line(text))
    }

    /// Chat tokens, a line each.
    #[must_use]
    pub fn tokens(mut self, texts: &[&str]) -> Self {
        for text in texts {
            self = self.token(text);
        }
        self
    }

    /// Chat tokens, a line each, and each behind the gate.
    #[must_use]
    pub fn gated_tokens(mut self, gate: &Gate, texts: &[&str]) -> Self {
        for text in texts {
            self = self.gate(gate).token(text);
        }
        self
    }

    /// The last line of a chat.
    #[must_use]
    pub fn done(self, reason: &str, input_tokens: usize, output_tokens: usize) -> Self {
        self.line(&done_line(reason, input_tokens, output_tokens))
    }

    /// An error in the middle of the stream, as Ollama says it when its runner dies.
    #[must_use]
    pub fn error_line(self, text: &str) -> Self {
        self.line(&json!({ "error": text }))
    }

    /// A line that isn't JSON.
    #[must_use]
    pub fn malformed_line(self) -> Self {
        self.chunk("{\"model\":\"smollm2\",\"message\":{\"role\"\n")
    }

    /// Chat tokens without end, until the client closes. Nothing comes after it.
    #[must_use]
    pub fn endless(mut self, text: &str, pace: Duration) -> Self {
        self.steps.push(Step::Endless { line: format!("{}\n", chat_line(text)).into(), pace });
        self
    }

    /// Ends with silence: nothing more comes until the client closes.
    #[must_use]
    pub fn stall(mut self) -> Self {
        self.ending = Ending::Stall;
        self
    }

    /// Ends with a reset of the connection.
    #[must_use]
    pub fn cut(mut self) -> Self {
        self.ending = Ending::Reset;
        self
    }

    /// Ends by closing the connection before the body's end.
    #[must_use]
    pub fn close_early(mut self) -> Self {
        self.ending = Ending::Early;
        self
    }

    pub(super) fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        match self.framing {
            Framing::Chunked => head += "Transfer-Encoding: chunked\r\n",
            Framing::ContentLength => {
                let length: usize = self.steps.iter().map(|step| if let Step::Chunk(bytes) = step { bytes.len() } else { 0 }).sum();
                head += &format!("Content-Length: {length}\r\n");
            }
            Framing::None => return Vec::new(),
        }
        head += "\r\n";
        head.into_bytes()
    }
}

/// A line of a chat with a piece of text.
#[must_use]
pub fn chat_line(text: &str) -> Value {
    let message = json!({ "role": "assistant", "content": text });
    json!({ "model": "smollm2", "created_at": "2026-11-22T02:07:20.321941737Z", "message": message, "done": false })
}

/// The last line of a chat.
#[must_use]
pub fn done_line(reason: &str, input_tokens: usize, output_tokens: usize) -> Value {
    json!({
        "model": "smollm2", "created_at": "2026-11-22T02:07:21.63623819Z", "message": { "role": "assistant", "content": "" }, "done": true,
        "done_reason": reason, "total_duration": 2_407_570_808_u64, "load_duration": 52_431_400, "prompt_eval_count": input_tokens,
        "prompt_eval_duration": 1_038_372_776, "eval_count": output_tokens, "eval_duration": 1_312_466_834,
    })
}

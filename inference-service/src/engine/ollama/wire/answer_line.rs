//! The lines of an answer.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::malformed;
use crate::engine::{Done, EngineError, Logprob, Piece};
use crate::prompt::ToolCall;

/// A line of an answer: of `/api/chat` (`message`), or of `/api/generate` (`response` and what lies beside it).
#[derive(Deserialize)]
pub(in crate::engine::ollama) struct AnswerLine<'a> {
    #[serde(borrow)]
    message: Option<MessageLine<'a>>,
    response: Option<String>,
    thinking: Option<String>,
    #[serde(borrow)]
    tool_calls: Option<Vec<ToolCallLine<'a>>>,
    logprobs: Option<Vec<LogprobLine>>,
    #[serde(default)]
    done: bool,
    done_reason: Option<String>,
    #[serde(borrow)]
    total_duration: Option<&'a RawValue>,
    #[serde(borrow)]
    load_duration: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_eval_count: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_eval_duration: Option<&'a RawValue>,
    #[serde(borrow)]
    eval_count: Option<&'a RawValue>,
    #[serde(borrow)]
    eval_duration: Option<&'a RawValue>,
    /// In the middle of a stream, where no status can be sent.
    error: Option<serde_json::Value>,
    /// Beside `error`, in newer releases.
    #[serde(borrow)]
    status: Option<&'a RawValue>,
}

/// The longest reason of an end that is passed on; Ollama's own are a word.
pub(super) const MAX_REASON_BYTES: usize = 64;

/// A number of what is counted; `None` for what counts nothing: less than none, no number, or beyond all numbers. An answer isn't lost for
/// that.
pub(in crate::engine::ollama) fn count(json: Option<&RawValue>) -> Option<u64> {
    let number: serde_json::Number = serde_json::from_str(json?.get()).ok()?;
    // `as` saturates.
    number.as_u64().or_else(|| number.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64))
}

#[derive(Deserialize)]
struct MessageLine<'a> {
    content: Option<String>,
    thinking: Option<String>,
    #[serde(borrow)]
    tool_calls: Option<Vec<ToolCallLine<'a>>>,
}

#[derive(Deserialize)]
struct ToolCallLine<'a> {
    id: Option<String>,
    #[serde(borrow)]
    function: FunctionCallLine<'a>,
}

#[derive(Deserialize)]
struct FunctionCallLine<'a> {
    name: String,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct LogprobLine {
    token: String,
    logprob: f64,
    bytes: Option<Vec<u8>>,
    top_logprobs: Option<Vec<LogprobLine>>,
}

/// A line of an answer, as the engine takes it.
pub(in crate::engine::ollama) enum ParsedLine {
    Piece(Piece),
    Done(Piece, Done),
    Error { status: Option<u16>, text: String },
}

impl<'a> AnswerLine<'a> {
    /// Parses a line. The error's text holds nothing of it.
    pub(in crate::engine::ollama) fn parse(line: &'a [u8]) -> Result<ParsedLine, EngineError> {
        let line: Self = serde_json::from_slice(line).map_err(|error| malformed("a line of an answer", &error))?;
        if let Some(error) = line.error {
            let text = match error {
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            };
            let status = count(line.status).and_then(|status| u16::try_from(status).ok());
            return Ok(ParsedLine::Error { status, text });
        }
        if line.message.is_none() && line.response.is_none() && !line.done {
            return Err(EngineError::Protocol { detail: "a line of an answer has neither a message nor a response".to_owned() });
        }
        let (content, thinking, tool_calls) = match line.message {
            Some(message) => (message.content, message.thinking, message.tool_calls),
            None => (line.response, line.thinking, line.tool_calls),
        };
        let piece = Piece {
            content: content.unwrap_or_default(),
            thinking: thinking.unwrap_or_default(),
            tool_calls: tool_calls.unwrap_or_default().into_iter().map(ToolCallLine::into_call).collect(),
            logprobs: line.logprobs.unwrap_or_default().into_iter().map(LogprobLine::into_logprob).collect(),
        };
        if !line.done {
            return Ok(ParsedLine::Piece(piece));
        }
        let mut reason = line.done_reason.unwrap_or_default();
        reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
        if reason == "load" || reason == "unload" {
            // An answer to an empty prompt, which is never sent.
            return Err(EngineError::Protocol { detail: format!("the answer is a {reason}, not an answer") });
        }
        let tokens = |json| count(json).map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX));
        let time = |json| count(json).map(Duration::from_nanos);
        let done = Done {
            reason,
            input_tokens: tokens(line.prompt_eval_count),
            output_tokens: tokens(line.eval_count),
            load: time(line.load_duration),
            total: time(line.total_duration),
            prompt_evaluation: time(line.prompt_eval_duration),
            generation: time(line.eval_duration),
        };
        Ok(ParsedLine::Done(piece, done))
    }
}

impl ToolCallLine<'_> {
    fn into_call(self) -> ToolCall {
        let arguments_json = self.function.arguments.map_or("{}", RawValue::get).to_owned();
        ToolCall { id: self.id.unwrap_or_default(), name: self.function.name, arguments_json }
    }
}

impl LogprobLine {
    fn into_logprob(self) -> Logprob {
        let top = self.top_logprobs.unwrap_or_default();
        let top = top.into_iter().map(|line| Self { top_logprobs: None, ..line }.into_logprob()).collect();
        let bytes = self.bytes.unwrap_or_else(|| self.token.as_bytes().to_vec());
        Logprob { token: self.token, logprob: self.logprob, bytes, top }
    }
}

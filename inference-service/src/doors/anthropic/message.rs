//! What `/v1/messages` gives.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::proto::inference as wire;

/// The id of the message that answers a request.
pub(super) fn message_id(request_id: &str) -> String {
    format!("msg_{request_id}")
}

/// A call's id. Where the model server gave none, one is made of its number.
pub(super) fn call_id<'a>(call: &'a wire::ToolCall, message_id: &str, number: usize) -> Cow<'a, str> {
    if call.id.is_empty() { format!("toolu_{message_id}_{number}").into() } else { call.id.as_str().into() }
}

/// An answer.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Message<'a> {
    /// `msg_` and the request's id in the ledger.
    pub(super) id: &'a str,
    /// `message`.
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    /// `assistant`.
    pub(super) role: &'static str,
    /// As requested.
    pub(super) model: &'a str,
    /// What the model said.
    pub(super) content: Vec<ContentBlock<'a>>,
    /// end_turn, max_tokens or tool_use. The model server doesn't say whether a stop sequence was met: that is an end_turn.
    pub(super) stop_reason: Option<&'static str>,
    /// Always null.
    pub(super) stop_sequence: Option<&'static str>,
    /// What it used, and what was charged.
    pub(super) usage: Usage,
}

impl<'a> Message<'a> {
    pub(super) fn new(id: &'a str, model: &'a str, content: Vec<ContentBlock<'a>>, finished: Option<&wire::Finished>) -> Self {
        let (stop_reason, usage) = (finished.map(stop_reason), finished.map(Usage::from).unwrap_or_default());
        Self { id, kind: "message", role: "assistant", model, content, stop_reason, stop_sequence: None, usage }
    }
}

/// A block of an answer.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ContentBlock<'a> {
    /// What the model thought.
    Thinking {
        /// Empty where it was to be left out.
        thinking: &'a str,
        /// Says that nobody signed it.
        signature: &'static str,
    },
    /// Text.
    Text {
        /// The text.
        text: &'a str,
    },
    /// A call that the model asks for.
    ToolUse {
        /// For the result.
        id: Cow<'a, str>,
        /// The tool's.
        name: &'a str,
        /// An object.
        input: &'a RawValue,
    },
}

/// Stands where Anthropic's API has a signature: clients keep a thinking block for the next turn only with one.
pub(super) const UNSIGNED: &str = "unsigned";

/// What an answer used, and what was charged.
#[derive(Serialize, JsonSchema, Default)]
pub(super) struct Usage {
    /// Tokens of the prompt. In a stream's first event, where they aren't known yet, 0.
    pub(super) input_tokens: u32,
    /// Tokens generated, thinking included.
    pub(super) output_tokens: u32,
    /// 0: there is no prompt cache.
    pub(super) cache_creation_input_tokens: u32,
    /// 0: there is no prompt cache.
    pub(super) cache_read_input_tokens: u32,
    /// Credits charged. Absent where the charge could not be recorded in time: the ledger has it later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cost: Option<i64>,
    /// True where the model server gave no counts.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) estimated: bool,
}

impl From<&wire::Finished> for Usage {
    fn from(finished: &wire::Finished) -> Self {
        let usage = finished.usage.unwrap_or_default();
        Self {
            input_tokens: usage.input_tokens.unwrap_or_default(),
            output_tokens: usage.output_tokens.unwrap_or_default(),
            cost: finished.receipt.as_ref().and_then(|receipt| receipt.charged_credits),
            estimated: usage.estimated,
            ..Self::default()
        }
    }
}

/// Why the answer ended, in Anthropic's words.
pub(super) fn stop_reason(finished: &wire::Finished) -> &'static str {
    match finished.reason() {
        wire::FinishReason::Length => "max_tokens",
        wire::FinishReason::ToolCalls => "tool_use",
        wire::FinishReason::Stop | wire::FinishReason::Unspecified => "end_turn",
    }
}

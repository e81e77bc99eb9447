//! The items of an answer.

use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use shared::proto::inference as wire;

use crate::doors::openai::string_or::Unread;

/// An item that is whole, or is being given.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum OutputItem {
    /// What the model thought.
    Reasoning {
        /// Of the item.
        id: String,
        /// The thinking, whole.
        summary: Vec<SummaryText>,
        /// Always null: what was thought is in the summary.
        encrypted_content: Option<String>,
    },
    /// What it said.
    Message {
        /// Of the item.
        id: String,
        /// completed; incomplete where the bound on tokens was reached.
        status: Status,
        /// `assistant`.
        role: &'static str,
        /// One text.
        content: Vec<OutputText>,
    },
    /// A call that it asks for.
    FunctionCall {
        /// Of the item.
        id: String,
        /// completed.
        status: Status,
        /// For the output.
        call_id: String,
        /// The function's.
        name: String,
        /// A JSON object as text.
        arguments: String,
    },
}

/// How far an item has come.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    InProgress,
    Completed,
    Incomplete,
}

/// What was thought.
#[derive(Serialize, JsonSchema, Default)]
#[serde(tag = "type", rename = "summary_text")]
pub(super) struct SummaryText {
    pub(super) text: String,
}

/// What was said.
#[derive(Serialize, JsonSchema, Default)]
#[serde(tag = "type", rename = "output_text")]
pub(super) struct OutputText {
    pub(super) text: String,
    /// Always empty.
    annotations: [u8; 0],
    /// Of each token, when asked for.
    #[serde(serialize_with = "logprobs")]
    #[schemars(with = "Vec<Unread>")]
    pub(super) logprobs: Vec<wire::Logprob>,
}

fn logprobs<S: Serializer>(logprobs: &[wire::Logprob], serializer: S) -> Result<S::Ok, S::Error> {
    Logprobs(logprobs).serialize(serializer)
}

/// Tokens and how likely they were, written from the contract's without a copy.
pub(super) struct Logprobs<'a>(pub(super) &'a [wire::Logprob]);

impl Serialize for Logprobs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|logprob| Token {
            token: &logprob.token,
            bytes: &logprob.token_bytes,
            logprob: logprob.logprob,
            top_logprobs: TopTokens(&logprob.top_logprobs),
        }))
    }
}

#[derive(Serialize)]
struct Token<'a> {
    token: &'a str,
    bytes: &'a [u8],
    logprob: f64,
    top_logprobs: TopTokens<'a>,
}

struct TopTokens<'a>(&'a [wire::TopLogprob]);

impl Serialize for TopTokens<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|top| TopToken { token: &top.token, bytes: &top.token_bytes, logprob: top.logprob }))
    }
}

#[derive(Serialize)]
struct TopToken<'a> {
    token: &'a str,
    bytes: &'a [u8],
    logprob: f64,
}

impl OutputItem {
    pub(super) fn reasoning(id: String, text: String) -> Self {
        Self::Reasoning { id, summary: vec![SummaryText { text }], encrypted_content: None }
    }

    pub(super) fn message(id: String, text: String, logprobs: Vec<wire::Logprob>, status: Status) -> Self {
        let content = vec![OutputText { text, annotations: [], logprobs }];
        Self::Message { id, status, role: "assistant", content }
    }

    pub(super) fn call(id: String, call: wire::ToolCall, status: Status) -> Self {
        // A model server that gives no id has calls told apart by this one.
        let call_id = if call.id.is_empty() { format!("call_{id}") } else { call.id };
        Self::FunctionCall { id, status, call_id, name: call.name, arguments: call.arguments_json }
    }
}

/// The ids of an answer's items: what they are, the answer's, and their number.
pub(super) fn item_id(prefix: &str, request_id: &str, number: usize) -> String {
    format!("{prefix}_{request_id}_{number}")
}

/// The status of an answer's text when the answer ended so.
pub(super) fn text_status(finished: &wire::Finished) -> Status {
    if finished.reason() == wire::FinishReason::Length { Status::Incomplete } else { Status::Completed }
}

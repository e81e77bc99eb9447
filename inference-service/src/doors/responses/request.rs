//! What `/v1/responses` takes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::input::InputItem;
use crate::doors::openai::string_or::{StringOr, Unread};
use crate::doors::other_fields::OtherFields;

/// A conversation that a model is to go on with. Nothing of it is stored.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct ResponseRequest {
    /// As `/v1/models` lists it.
    pub(super) model: String,
    /// A text, or items, oldest first.
    pub(super) input: StringOr<Vec<InputItem>>,
    /// The system prompt.
    pub(super) instructions: Option<String>,
    /// True: server-sent events. Else one answer.
    pub(super) stream: Option<bool>,
    /// How the events are.
    pub(super) stream_options: Option<StreamOptions>,
    /// The most tokens to generate, thinking included; 1 or more. Absent: the server's own bound.
    pub(super) max_output_tokens: Option<u32>,
    /// 0 or more; 0 is greedy.
    pub(super) temperature: Option<f32>,
    /// 0 to 1.
    pub(super) top_p: Option<f32>,
    /// 0 to 20 alternatives of each token.
    pub(super) top_logprobs: Option<u32>,
    /// What the answer has beyond the usual: `message.output_text.logprobs`, `reasoning.encrypted_content`.
    pub(super) include: Option<Vec<String>>,
    /// Whether and how much the model thinks.
    pub(super) reasoning: Option<Reasoning>,
    /// The form of the answer.
    pub(super) text: Option<TextConfig>,
    /// What the model may ask to be called.
    pub(super) tools: Option<Vec<Tool>>,
    /// `auto`: it may. `none`: it is told of no tool. `required`, where there is one function, or a function's name: it must.
    pub(super) tool_choice: Option<StringOr<NamedTool>>,
    /// False: of the calls that the model asks for, the first one alone.
    pub(super) parallel_tool_calls: Option<bool>,
    /// `auto`: the oldest messages of a conversation that doesn't fit are left out. `disabled`, or absent: it is refused.
    pub(super) truncation: Option<String>,
    /// Comes back with the answer.
    pub(super) metadata: Option<BTreeMap<String, String>>,
    /// False, or absent.
    pub(super) store: Option<bool>,
    /// False, or absent.
    pub(super) background: Option<bool>,
    /// Comes back with the answer.
    pub(super) user: Option<String>,
    /// Comes back with the answer.
    pub(super) safety_identifier: Option<String>,
    /// Comes back with the answer.
    pub(super) prompt_cache_key: Option<String>,
    /// Taken, without effect: it bounds the tools that OpenAI runs, of which there are none.
    pub(super) max_tool_calls: Option<u32>,
    /// Taken, without effect.
    #[serde(rename = "prompt_cache_retention")]
    _prompt_cache_retention: Option<String>,
    /// Taken, without effect.
    #[serde(rename = "prompt_cache_options")]
    _prompt_cache_options: Option<Unread>,
    /// Taken, without effect: there is one tier.
    #[serde(rename = "service_tier")]
    _service_tier: Option<String>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub(super) others: OtherFields,
}

/// How the events of a stream are.
#[derive(Deserialize, JsonSchema)]
pub(super) struct StreamOptions {
    /// Taken, without effect: events are as long as what is in them.
    #[serde(rename = "include_obfuscation")]
    _include_obfuscation: Option<bool>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub(super) others: OtherFields,
}

/// Whether and how much the model thinks.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Reasoning {
    /// none, minimal (as low), low, medium, high, xhigh (as max) or max. Absent: as the model does by itself.
    pub(super) effort: Option<String>,
    /// auto, concise or detailed: what the model thought is in the answer whole, asked for or not.
    pub(super) summary: Option<String>,
    /// The old name of `summary`.
    pub(super) generate_summary: Option<String>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub(super) others: OtherFields,
}

/// The form of the answer.
#[derive(Deserialize, JsonSchema)]
pub(super) struct TextConfig {
    /// Absent: free text.
    pub(super) format: Option<TextFormat>,
    /// `medium`, or absent.
    pub(super) verbosity: Option<String>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub(super) others: OtherFields,
}

/// The form of a text.
#[derive(Deserialize, JsonSchema)]
pub(super) struct TextFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Comes back with the answer.
    pub(super) name: Option<String>,
    /// The schema, which is a JSON object.
    pub(super) schema: Option<Box<RawValue>>,
    /// Comes back with the answer: a schema is always held to.
    pub(super) strict: Option<bool>,
    /// Comes back with the answer.
    pub(super) description: Option<String>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub(super) others: OtherFields,
}

/// The function that the model must call.
#[derive(Deserialize, JsonSchema)]
pub(super) struct NamedTool {
    /// `function`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// One among the tools.
    pub(super) name: Option<String>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub(super) others: OtherFields,
}

/// Something that the model may ask to be called.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Tool {
    /// `function`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Its name.
    pub(super) name: Option<String>,
    /// For the model.
    pub(super) description: Option<String>,
    /// A JSON schema of its arguments. Absent: none.
    pub(super) parameters: Option<Box<RawValue>>,
    /// Taken, and answered with false: arguments are as the model writes them.
    #[serde(rename = "strict")]
    _strict: Option<bool>,
    /// False, or absent.
    pub(super) defer_loading: Option<bool>,
    /// `direct`, or absent.
    pub(super) allowed_callers: Option<Vec<String>>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub(super) others: OtherFields,
}

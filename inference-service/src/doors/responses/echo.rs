//! What of a request comes back with its answer.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::proto::inference as wire;

/// The fields of a response that repeat its request.
#[derive(Serialize, JsonSchema)]
pub(super) struct Echo {
    /// The system prompt.
    pub(super) instructions: Option<String>,
    /// The bound that was asked for.
    pub(super) max_output_tokens: Option<u32>,
    /// As it was sent.
    pub(super) max_tool_calls: Option<u32>,
    /// As it was sent.
    pub(super) metadata: BTreeMap<String, String>,
    /// Whether there may be several calls.
    pub(super) parallel_tool_calls: bool,
    /// Always null.
    pub(super) previous_response_id: Option<&'static str>,
    /// As it was sent.
    pub(super) prompt_cache_key: Option<String>,
    /// As it was sent.
    pub(super) reasoning: EchoedReasoning,
    /// As it was sent.
    pub(super) safety_identifier: Option<String>,
    /// `default`.
    pub(super) service_tier: &'static str,
    /// False.
    pub(super) store: bool,
    /// Null: as the model has it.
    pub(super) temperature: Option<f32>,
    /// The form of the answer.
    pub(super) text: EchoedText,
    /// As it was sent; `auto` where it wasn't.
    pub(super) tool_choice: EchoedChoice,
    /// What the model might ask to be called.
    pub(super) tools: Vec<EchoedTool>,
    /// Alternatives of each token.
    pub(super) top_logprobs: u32,
    /// Null: as the model has it.
    pub(super) top_p: Option<f32>,
    /// `auto` or `disabled`.
    pub(super) truncation: &'static str,
    /// As it was sent.
    pub(super) user: Option<String>,
}

/// As it was sent.
#[derive(Serialize, JsonSchema, Default)]
pub(super) struct EchoedReasoning {
    pub(super) effort: Option<String>,
    pub(super) summary: Option<String>,
}

/// The form of the answer.
#[derive(Serialize, JsonSchema)]
pub(super) struct EchoedText {
    pub(super) format: TextForm,
    pub(super) verbosity: &'static str,
}

impl Default for EchoedText {
    fn default() -> Self {
        Self { format: TextForm::Text, verbosity: "medium" }
    }
}

/// The form of a text.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum TextForm {
    /// Free.
    Text,
    /// Any JSON.
    JsonObject,
    /// JSON that fits a schema.
    JsonSchema {
        /// As it was sent.
        name: Option<String>,
        /// As it was sent.
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// As it was sent.
        schema: Box<RawValue>,
        /// As it was sent.
        strict: Option<bool>,
    },
}

/// Whether the model may, or must, ask for a call.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum EchoedChoice {
    /// `auto`, `none` or `required`.
    Word(&'static str),
    /// The function that it must call.
    Function {
        /// `function`.
        #[serde(rename = "type")]
        kind: &'static str,
        name: String,
    },
}

/// A function that the model may ask to be called.
#[derive(Serialize, JsonSchema)]
pub(super) struct EchoedTool {
    /// `function`.
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) parameters: Option<Box<RawValue>>,
    /// False: arguments are as the model writes them.
    pub(super) strict: bool,
}

impl EchoedTool {
    /// As the contract has it.
    pub(super) fn to_wire(&self) -> wire::Tool {
        wire::Tool {
            name: self.name.clone(),
            description: self.description.clone().unwrap_or_default(),
            parameters_json: self.parameters.as_ref().map(|schema| schema.get().to_owned()).unwrap_or_default(),
        }
    }
}

//! What `/v1/messages` takes.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::doors::openai::string_or::{StringOr, Unread};
use crate::doors::other_fields::OtherFields;

/// A conversation that a model is to go on with.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct MessagesRequest {
    /// As `/v1/models` lists it.
    pub(super) model: String,
    /// The conversation, oldest first.
    pub(super) messages: Vec<InputMessage>,
    /// The most tokens to generate, thinking included; 1 or more. The server's own bound, and what the credits pay for, may be less.
    pub(super) max_tokens: u32,
    /// The system prompt. Of blocks, only text.
    pub(super) system: Option<StringOr<Vec<Block>>>,
    /// True: server-sent events. Else one answer.
    pub(super) stream: Option<bool>,
    /// 0 or more; 0 is greedy.
    pub(super) temperature: Option<f32>,
    /// 0 to 1.
    pub(super) top_p: Option<f32>,
    /// 0 or more; 0 is off.
    pub(super) top_k: Option<i32>,
    /// At most 16 sequences that end the answer; none empty.
    pub(super) stop_sequences: Option<Vec<String>>,
    /// What the model may ask to be called.
    pub(super) tools: Option<Vec<Tool>>,
    /// Whether it may.
    pub(super) tool_choice: Option<ToolChoice>,
    /// Whether the model thinks first.
    pub(super) thinking: Option<Thinking>,
    /// How much it thinks, and the form of its answer.
    pub(super) output_config: Option<OutputConfig>,
    /// What is left out of the conversation: nothing.
    pub(super) context_management: Option<ContextManagement>,
    /// Taken, without effect.
    #[serde(rename = "metadata")]
    _metadata: Option<Unread>,
    /// Taken, without effect.
    #[serde(rename = "cache_control")]
    _cache_control: Option<Unread>,
    /// Taken, without effect: there is one tier.
    #[serde(rename = "service_tier")]
    _service_tier: Option<String>,
    /// `standard`.
    pub(super) speed: Option<String>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub(super) others: OtherFields,
}

/// One turn of the conversation.
#[derive(Deserialize, JsonSchema)]
pub(super) struct InputMessage {
    /// user, assistant or system.
    pub(super) role: String,
    /// A text, or blocks.
    pub(super) content: StringOr<Vec<Block>>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub(super) others: OtherFields,
}

/// A block of content. Which fields it has follows from its type.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Block {
    /// text, image, tool_use, tool_result, thinking or redacted_thinking.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Of a `text`.
    pub(super) text: Option<String>,
    /// Of an `image`.
    pub(super) source: Option<Box<Source>>,
    /// Of a `tool_use`.
    pub(super) id: Option<String>,
    /// Of a `tool_use`: the tool's.
    pub(super) name: Option<String>,
    /// Of a `tool_use`: an object.
    pub(super) input: Option<Box<RawValue>>,
    /// Of a `tool_result`: whose result it is.
    pub(super) tool_use_id: Option<String>,
    /// Of a `tool_result`: a text, or blocks of text and images.
    pub(super) content: Option<StringOr<Vec<Block>>>,
    /// Of a `tool_result`: the model is told that the tool failed.
    pub(super) is_error: Option<bool>,
    /// Of a `thinking`.
    pub(super) thinking: Option<String>,
    /// Of a `thinking`: taken, without effect.
    pub(super) signature: Option<String>,
    /// Of a `redacted_thinking`: taken, without effect, since only its maker can read it.
    pub(super) data: Option<String>,
    /// Taken, without effect.
    #[serde(rename = "cache_control")]
    _cache_control: Option<Unread>,
    /// Of a `tool_use`: taken, without effect.
    #[serde(rename = "caller")]
    _caller: Option<Unread>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub(super) others: OtherFields,
}

/// Where a picture is.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Source {
    /// `base64`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// image/png, image/jpeg or image/webp; the picture's own first bytes count.
    #[serde(rename = "media_type")]
    _media_type: Option<String>,
    /// The picture in base64.
    pub(super) data: Option<String>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub(super) others: OtherFields,
}

/// Something that the model may ask to be called.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Tool {
    /// `custom`, or absent.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    /// Its name.
    pub(super) name: Option<String>,
    /// For the model.
    pub(super) description: Option<String>,
    /// A JSON schema of its arguments.
    pub(super) input_schema: Option<Box<RawValue>>,
    /// False, or absent.
    pub(super) strict: Option<bool>,
    /// False, or absent.
    pub(super) defer_loading: Option<bool>,
    /// `direct`, or absent.
    pub(super) allowed_callers: Option<Vec<String>>,
    /// Taken, without effect: a call comes whole.
    #[serde(rename = "eager_input_streaming")]
    _eager_input_streaming: Option<bool>,
    /// Taken, without effect.
    #[serde(rename = "cache_control")]
    _cache_control: Option<Unread>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub(super) others: OtherFields,
}

/// Whether the model may ask for calls.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ToolChoice {
    /// `auto`: it may. `none`: it is told of no tool. `tool`: it must call the one that is named. `any`: the only one there is.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// True: of the calls that the model asks for, the first one alone.
    pub(super) disable_parallel_tool_use: Option<bool>,
    /// Of the type `tool`.
    pub(super) name: Option<String>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub(super) others: OtherFields,
}

/// Whether the model thinks before it answers.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Thinking {
    /// `enabled`, `disabled`, or `adaptive`: as the model does by itself.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Taken, without effect: thinking counts among `max_tokens`.
    #[serde(rename = "budget_tokens")]
    _budget_tokens: Option<u64>,
    /// `summarized`: the thinking is in the answer, whole. `omitted`: its blocks are empty.
    pub(super) display: Option<String>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub(super) others: OtherFields,
}

/// What is left out of the conversation.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ContextManagement {
    /// Those that leave out nothing.
    pub(super) edits: Option<Vec<ContextEdit>>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub(super) others: OtherFields,
}

/// What is left out of a part of the conversation.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ContextEdit {
    /// `clear_thinking_20251015`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// `all`.
    #[schemars(with = "Option<String>")]
    pub(super) keep: Option<StringOr<Unread>>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub(super) others: OtherFields,
}

impl ContextEdit {
    /// Whether the conversation stays as it is.
    pub(super) fn keeps_all(&self) -> bool {
        let keeps = matches!(&self.keep, Some(StringOr::String(keep)) if keep == "all");
        self.kind == "clear_thinking_20251015" && keeps && self.others.is_empty()
    }
}

/// How much the model thinks, and the form of its answer.
#[derive(Deserialize, JsonSchema)]
pub(super) struct OutputConfig {
    /// low, medium, high, xhigh (as high) or max: how much a model thinks that does, unless `thinking` is disabled.
    pub(super) effort: Option<String>,
    /// The form.
    pub(super) format: Option<OutputFormat>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub(super) others: OtherFields,
}

/// The form of an answer.
#[derive(Deserialize, JsonSchema)]
pub(super) struct OutputFormat {
    /// `json_schema`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The schema, which is a JSON object.
    pub(super) schema: Option<Box<RawValue>>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub(super) others: OtherFields,
}

impl Block {
    /// The fields that some type of block has, and whether each is still here.
    pub(super) fn fields(&self) -> [(&'static str, bool); 11] {
        [
            ("text", self.text.is_some()),
            ("source", self.source.is_some()),
            ("id", self.id.is_some()),
            ("name", self.name.is_some()),
            ("input", self.input.is_some()),
            ("tool_use_id", self.tool_use_id.is_some()),
            ("content", self.content.is_some()),
            ("is_error", self.is_error.is_some()),
            ("thinking", self.thinking.is_some()),
            ("signature", self.signature.is_some()),
            ("data", self.data.is_some()),
        ]
    }
}

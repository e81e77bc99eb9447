//! The items of a conversation, as `/v1/responses` takes them.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::doors::openai::string_or::{StringOr, Unread};
use crate::doors::other_fields::OtherFields;

/// An item. Which fields it has follows from its type.
#[derive(Deserialize, JsonSchema)]
pub(super) struct InputItem {
    /// message (also where it is absent), function_call, function_call_output or reasoning.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    /// Of a message: user, assistant, system, or developer, which is the same.
    pub(super) role: Option<String>,
    /// Of a message: a text, or parts. Of reasoning: parts of what was thought.
    pub(super) content: Option<StringOr<Vec<Part>>>,
    /// Of a function's call and output: what connects them.
    pub(super) call_id: Option<String>,
    /// Of a function's call, and sometimes of its output: the function's.
    pub(super) name: Option<String>,
    /// Of a function's call: a JSON object as text.
    pub(super) arguments: Option<String>,
    /// Of a function's output: a text, or parts.
    pub(super) output: Option<StringOr<Vec<Part>>>,
    /// Of reasoning: what was thought.
    pub(super) summary: Option<Vec<Part>>,
    /// Of reasoning: taken, without effect; the summary says what was thought.
    pub(super) encrypted_content: Option<String>,
    /// Taken, without effect.
    #[serde(rename = "id")]
    _id: Option<String>,
    /// Taken, without effect.
    #[serde(rename = "status")]
    _status: Option<String>,
    /// Taken, without effect.
    #[serde(rename = "phase")]
    _phase: Option<String>,
    /// Taken, without effect: what an SDK parsed of the arguments.
    #[serde(rename = "parsed_arguments")]
    #[schemars(skip)]
    _parsed_arguments: Option<Unread>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub(super) others: OtherFields,
}

impl InputItem {
    /// The fields that some type of item has, and whether each is still here.
    pub(super) fn fields(&self) -> [(&'static str, bool); 8] {
        [
            ("role", self.role.is_some()),
            ("content", self.content.is_some()),
            ("call_id", self.call_id.is_some()),
            ("name", self.name.is_some()),
            ("arguments", self.arguments.is_some()),
            ("output", self.output.is_some()),
            ("summary", self.summary.is_some()),
            ("encrypted_content", self.encrypted_content.is_some()),
        ]
    }
}

/// A part of content.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Part {
    /// input_text, output_text, summary_text, reasoning_text, refusal or input_image.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Of every type of text.
    pub(super) text: Option<String>,
    /// Of a refusal.
    pub(super) refusal: Option<String>,
    /// Of a picture: a data URL.
    pub(super) image_url: Option<String>,
    /// Of a picture: taken, without effect; the model sees it as it sees all.
    #[serde(rename = "detail")]
    _detail: Option<String>,
    /// Of an answer's text: taken, without effect.
    #[serde(rename = "annotations")]
    _annotations: Option<Unread>,
    /// Of an answer's text: taken, without effect.
    #[serde(rename = "logprobs")]
    _logprobs: Option<Unread>,
    /// Taken, without effect: what an SDK parsed of the text.
    #[serde(rename = "parsed")]
    #[schemars(skip)]
    _parsed: Option<Unread>,
    /// Taken, without effect.
    #[serde(rename = "prompt_cache_breakpoint")]
    _prompt_cache_breakpoint: Option<Unread>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub(super) others: OtherFields,
}

impl Part {
    /// The fields that some type of part has, and whether each is still here.
    pub(super) fn fields(&self) -> [(&'static str, bool); 3] {
        [("text", self.text.is_some()), ("refusal", self.refusal.is_some()), ("image_url", self.image_url.is_some())]
    }
}

//! `POST /v1/chat/completions`: what is sent, and the contract's request that it becomes.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Deserialize;
use shared::doors::Refusal;
use shared::proto::inference as wire;

use super::message::{ChatMessage, Conversation, PicturePlaces};
use super::refused::{RefusedFields, refuse_given};
use super::response_format::ResponseFormat;
use super::sampling::{Sampling, Stop, StreamOptions};
use super::string_or::Unread;
use super::tool::{self, Callable, ChatTool, ToolChoice};
use crate::doors::field_names::FieldNames;
use crate::doors::forced_tool::ForcedTool;
use crate::prompt::Violations;

/// What this endpoint can't do.
pub const REFUSED: RefusedFields = &[
    ("audio", "is not taken: answers are text"),
    ("function_call", "is the old form: use tool_choice"),
    ("functions", "is the old form: use tools"),
    ("logit_bias", "is not taken: the model server has no such option"),
    ("messages[].audio", "is not taken: a model reads text and pictures"),
    ("messages[].content[].file", "is not taken: put the file's text into a part of type text"),
    ("messages[].content[].image_url.url", super::data_url::NOT_FETCHED),
    ("messages[].content[].input_audio", "is not taken: a model reads text and pictures"),
    ("messages[].function_call", "is the old form: use tool_calls"),
    ("messages[].name", "is taken of a tool's message only: a model's template has no place for it, so put it into the content"),
    ("messages[].tool_calls[].type", "must be function"),
    ("modalities", r#"must be ["text"]"#),
    ("moderation", "is not taken: nothing moderates here"),
    ("n", "must be 1: send a request for each answer"),
    ("prediction", "is not taken: the model server has no such option"),
    ("store", "must be false: no answer is stored"),
    ("stream_options.include_obfuscation", "must be false: chunks are as long as what is in them"),
    ("tool_choice", "must be none, auto, a function among tools, or required where there is one: a model can't be made to choose"),
    ("tools[].type", "must be function"),
    ("verbosity", "must be medium: say in a message how long the answer shall be"),
    ("web_search_options", "is not taken: nothing is searched here"),
];

/// What is taken and changes no answer.
pub const TAKEN: &[&str] = &[
    "messages[].annotations",
    "messages[].content[].image_url.detail",
    "messages[].content[].prompt_cache_breakpoint",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "response_format.json_schema.name",
    "response_format.json_schema.strict",
    "safety_identifier",
    "service_tier",
    "tools[].function.strict",
    "user",
];

/// A conversation to be answered.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChatCompletionRequest {
    /// As in `GET /v1/models`.
    model: String,
    /// Oldest first; at least one.
    messages: Vec<ChatMessage>,
    /// Whether the answer comes as it is made.
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    /// The most tokens to generate; ≥ 1. Unset: the server's own bound.
    max_completion_tokens: Option<u32>,
    /// The same, in its old name.
    max_tokens: Option<u32>,
    /// ≥ 0. Unset: as the model has it.
    temperature: Option<f32>,
    /// 0 to 1. Unset: as the model has it.
    top_p: Option<f32>,
    /// The same seed and request give the same answer on the same machine.
    seed: Option<i64>,
    /// At most 16.
    stop: Option<Stop>,
    /// -2 to 2. Unset: as the model has it.
    frequency_penalty: Option<f32>,
    /// -2 to 2. Unset: as the model has it.
    presence_penalty: Option<f32>,
    /// What the model may ask to be called.
    tools: Option<Vec<ChatTool>>,
    /// none, auto, required, or the function that must be called.
    tool_choice: Option<ToolChoice>,
    /// False: an answer has one call at most.
    parallel_tool_calls: Option<bool>,
    /// The form of the answer. Unset: free text.
    response_format: Option<ResponseFormat>,
    /// Asks for log probabilities.
    logprobs: Option<bool>,
    /// 0 to 20.
    top_logprobs: Option<u32>,
    /// none, minimal, low, medium, high, xhigh or max.
    reasoning_effort: Option<String>,
    /// The same, as Ollama takes it too.
    reasoning: Option<Reasoning>,
    /// Only 1.
    n: Option<u32>,
    /// Only false.
    store: Option<bool>,
    /// Only text.
    modalities: Option<Vec<String>>,
    /// Only medium.
    verbosity: Option<String>,
    /// Refused.
    logit_bias: Option<HashMap<String, Unread>>,
    /// Refused.
    functions: Option<Vec<Unread>>,
    /// Refused.
    function_call: Option<Unread>,
    /// Refused.
    audio: Option<Unread>,
    /// Refused.
    moderation: Option<Unread>,
    /// Refused.
    prediction: Option<Unread>,
    /// Refused.
    web_search_options: Option<Unread>,
    /// Taken, and changes no answer.
    service_tier: Option<Unread>,
    /// Taken, and changes no answer.
    #[expect(dead_code, reason = "it is for the provider's own use")]
    user: Option<Unread>,
    /// Taken, and changes no answer.
    #[expect(dead_code, reason = "it is for the provider's own use")]
    metadata: Option<Unread>,
    /// Taken, and changes no answer.
    #[expect(dead_code, reason = "it is for the provider's own use")]
    safety_identifier: Option<Unread>,
    /// Taken, and changes no answer.
    #[expect(dead_code, reason = "what is cached changes no answer")]
    prompt_cache_key: Option<Unread>,
    /// Taken, and changes no answer.
    #[expect(dead_code, reason = "what is cached changes no answer")]
    prompt_cache_options: Option<Unread>,
    /// Taken, and changes no answer.
    #[expect(dead_code, reason = "what is cached changes no answer")]
    prompt_cache_retention: Option<Unread>,
}

/// How much a model thinks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reasoning {
    effort: Option<String>,
}

/// What the answer must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct AnswerForm {
    /// As it is made.
    pub(super) stream: bool,
    /// With the counts in a chunk of their own.
    pub(super) include_usage: bool,
    /// With log probabilities.
    pub(super) logprobs: bool,
    /// With one call at most.
    pub(super) one_call: bool,
    /// With the tier that answered.
    pub(super) service_tier: bool,
}

/// A request that was read: what to ask for, what to make of the answer, and how its fields are called.
#[derive(Debug)]
pub(super) struct ReadRequest<T> {
    pub(super) asked: T,
    pub(super) form: AnswerForm,
    pub(super) names: RequestNames,
    /// What the model must call.
    pub(super) forced: Option<ForcedTool>,
}

/// How a request's fields are called here.
#[derive(Debug)]
pub(super) struct RequestNames {
    pub(super) fields: FieldNames,
    pub(super) pictures: PicturePlaces,
}

impl RequestNames {
    /// The same refusal, with each field by its name here.
    pub(super) fn rename(&self, refusal: Refusal) -> Refusal {
        self.fields.translate(refusal, &self.pictures.origins())
    }
}

/// With the bound by its newer name.
const NAMES: FieldNames = FieldNames {
    messages: "messages",
    system: "messages",
    paths: &[
        ("max_output_tokens", "max_completion_tokens"),
        ("think", "reasoning_effort"),
        ("format.json_schema", "response_format.json_schema.schema"),
        ("images", "messages[].content[].image_url"),
        ("request_id", "Idempotency-Key"),
    ],
    endings: &[
        (".arguments_json", ".function.arguments"),
        (".parameters_json", ".function.parameters"),
        (".name", ".function.name"),
        (".thinking", ".reasoning"),
        (".tool_name", ".name"),
    ],
};

/// With the bound by its older name.
const OLDER_NAMES: FieldNames = FieldNames {
    paths: &[
        ("max_output_tokens", "max_tokens"),
        ("think", "reasoning_effort"),
        ("format.json_schema", "response_format.json_schema.schema"),
        ("images", "messages[].content[].image_url"),
        ("request_id", "Idempotency-Key"),
    ],
    ..NAMES
};

impl ChatCompletionRequest {
    /// The contract's request. Everything that this endpoint can't do is refused, by all its names at once.
    pub(super) fn read(self, request_id: String) -> Result<ReadRequest<wire::ChatRequest>, Refusal> {
        let mut wrong = Violations::default();
        self.refuse_what_cant_be_done(&mut wrong);
        let stream = self.stream.unwrap_or_default();
        let (max_output_tokens, fields) = output_bound(self.max_completion_tokens, self.max_tokens, &mut wrong);
        let top_logprobs = match (self.logprobs.unwrap_or_default(), self.top_logprobs) {
            (true, count) => Some(count.unwrap_or_default()),
            (false, None | Some(0)) => None,
            (false, Some(_)) => {
                wrong.add("top_logprobs", "can't be given without logprobs: true");
                None
            }
        };
        let effort = self.reasoning.and_then(|reasoning| reasoning.effort).or(self.reasoning_effort);
        let think = effort.and_then(|effort| think(&effort, &mut wrong));
        let conversation = Conversation::read(self.messages, &mut wrong);
        let sampling = Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            seed: self.seed,
            stop: self.stop,
        };
        let Callable { tools, forced } = tool::read(self.tools.unwrap_or_default(), self.tool_choice, &mut wrong);
        let format = self.response_format.and_then(|format| format.read(&mut wrong));
        if forced.is_some() && format.is_some() {
            wrong.add("response_format", "can't be given where a function must be called: the answer is its arguments");
        }
        let mut asked = wire::ChatRequest {
            model: self.model,
            messages: conversation.messages,
            max_output_tokens,
            options: sampling.into_options(),
            format,
            tools,
            think,
            top_logprobs,
            request_id,
            ..wire::ChatRequest::default()
        };
        if !wrong.is_empty() {
            return Err(wrong.refuse().into());
        }
        let forced = forced.map(|tool| ForcedTool::of(&mut asked, tool));
        let form = AnswerForm {
            stream,
            include_usage: self.stream_options.unwrap_or_default().include_usage.unwrap_or_default(),
            logprobs: top_logprobs.is_some(),
            one_call: self.parallel_tool_calls == Some(false),
            service_tier: self.service_tier.is_some(),
        };
        Ok(ReadRequest { asked, form, forced, names: RequestNames { fields, pictures: conversation.pictures } })
    }

    fn refuse_what_cant_be_done(&self, wrong: &mut Violations) {
        let obfuscates = self.stream_options.is_some_and(|options| options.include_obfuscation == Some(true));
        let fields = [
            ("audio", self.audio.is_some()),
            ("function_call", self.function_call.is_some()),
            ("functions", self.functions.as_ref().is_some_and(|functions| !functions.is_empty())),
            ("logit_bias", self.logit_bias.as_ref().is_some_and(|bias| !bias.is_empty())),
            ("modalities", self.modalities.as_ref().is_some_and(|modalities| *modalities != ["text"])),
            ("moderation", self.moderation.is_some()),
            ("n", self.n.is_some_and(|n| n != 1)),
            ("prediction", self.prediction.is_some()),
            ("store", self.store == Some(true)),
            ("stream_options.include_obfuscation", obfuscates),
            ("verbosity", self.verbosity.as_ref().is_some_and(|verbosity| verbosity != "medium")),
            ("web_search_options", self.web_search_options.is_some()),
        ];
        refuse_given(REFUSED, &fields, wrong);
    }
}

/// The bound on tokens, and the names that go with what the caller called it. Two different ones are refused, because one of them would be
/// dropped.
fn output_bound(new: Option<u32>, old: Option<u32>, wrong: &mut Violations) -> (Option<u32>, FieldNames) {
    match (new, old) {
        (Some(new), Some(old)) if new != old => {
            wrong.add("max_tokens", "can't differ from max_completion_tokens; send one of them");
            (None, NAMES)
        }
        (Some(new), _) => (Some(new), NAMES),
        (None, old) => (old, OLDER_NAMES),
    }
}

/// How much to think, in the contract's words. The ends of OpenAI's scale are the nearest there are, as in Ollama's own endpoint.
fn think(effort: &str, wrong: &mut Violations) -> Option<String> {
    let think = match effort {
        "none" => "off",
        "minimal" | "low" => "low",
        "medium" => "medium",
        "high" => "high",
        "xhigh" | "max" => "max",
        _ => {
            wrong.add("reasoning_effort", "must be none, minimal, low, medium, high, xhigh or max");
            return None;
        }
    };
    Some(think.to_owned())
}

#[cfg(test)]
mod tests;

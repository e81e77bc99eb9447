//! What both kinds of OpenAI's requests say about how to answer.

use schemars::JsonSchema;
use serde::Deserialize;
use shared::proto::inference as wire;

use super::string_or::StringOr;

/// How an answer is streamed.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamOptions {
    /// Whether a last chunk has the counts.
    pub(super) include_usage: Option<bool>,
    /// Only false: chunks are as long as what is in them.
    pub(super) include_obfuscation: Option<bool>,
}

/// A sequence that ends the answer, or several.
pub(super) type Stop = StringOr<Vec<String>>;

/// How to choose among tokens.
#[derive(Debug)]
pub(super) struct Sampling {
    pub(super) temperature: Option<f32>,
    pub(super) top_p: Option<f32>,
    pub(super) frequency_penalty: Option<f32>,
    pub(super) presence_penalty: Option<f32>,
    pub(super) seed: Option<i64>,
    pub(super) stop: Option<Stop>,
}

impl Sampling {
    /// As the contract has it. What is unset stays as the model has it.
    pub(super) fn into_options(self) -> Option<wire::Options> {
        let Self { temperature, top_p, frequency_penalty, presence_penalty, seed, stop } = self;
        let stop = stop.map(StringOr::into_list).unwrap_or_default();
        let options = wire::Options { temperature, top_p, frequency_penalty, presence_penalty, seed, stop, ..wire::Options::default() };
        (options != wire::Options::default()).then_some(options)
    }
}

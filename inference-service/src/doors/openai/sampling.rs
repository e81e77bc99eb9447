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

/// Sampling as the contract has it. What is unset stays as the model has it.
pub(super) fn options(temperature: Option<f32>, top_p: Option<f32>, seed: Option<i64>, stop: Option<Stop>) -> Option<wire::Options> {
    let stop = stop.map(StringOr::into_list).unwrap_or_default();
    let options = wire::Options { temperature, top_p, seed, stop, ..wire::Options::default() };
    (options != wire::Options::default()).then_some(options)
}

/// Whether a penalty asks for something.
pub(super) fn is_penalty(value: Option<f64>) -> bool {
    value.is_some_and(|value| value != 0.0)
}

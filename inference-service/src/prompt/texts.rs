//! Texts that a caller wants as vectors, parsed and checked.

use std::fmt;
use std::time::Duration;

use shared::counted_message::MAX_INPUTS;
use shared::error::CallError;
use shared::proto::inference as wire;

use super::parse::{check_counts, check_request_id, keep_alive};
use super::{ModelName, PromptLimits, Violations};

/// Room for what a model puts around each text: a token before it and one after it, and what a tokenizer adds.
const TEXT_ALLOWANCE_TOKENS: usize = 16;
/// The most input tokens that one request can be charged for: what auth-service takes.
const MAX_CHARGED_TOKENS: usize = 10_000_000;

/// A checked request for embeddings.
#[derive(Clone)]
pub struct Texts {
    /// Which model.
    pub model: ModelName,
    /// 1 to [`MAX_INPUTS`].
    pub inputs: Vec<String>,
    /// `Some(false)`: refuse what is longer than the context.
    pub truncate: Option<bool>,
    /// Numbers of each vector; ≥ 1. `None`: all that the model has.
    pub dimensions: Option<u32>,
    /// How long the model stays loaded; `None`: the engine's default.
    pub keep_alive: Option<Duration>,
    /// 1 to the operator's cap; `None`: the model's own.
    pub num_ctx: Option<u32>,
}

impl fmt::Debug for Texts {
    /// What callers send never appears in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Texts").field("model", &self.model).field("inputs", &self.inputs.len()).finish_non_exhaustive()
    }
}

impl Texts {
    /// Checks an EmbedRequest, whose `request_id` is given apart.
    pub fn from_embed(request: wire::EmbedRequest, request_id: &str, limits: &PromptLimits) -> Result<Self, CallError> {
        let cap = limits.max_context_tokens;
        let mut wrong = Violations::default();
        let model = wrong.take("model", ModelName::parse(&request.model));
        check_counts(&[("inputs", request.inputs.len(), MAX_INPUTS)], &mut wrong);
        if request.inputs.is_empty() {
            wrong.add("inputs", "must hold at least one text");
        }
        check_request_id(request_id, &mut wrong);
        if request.dimensions == Some(0) {
            wrong.add("dimensions", "must be 1 or more; leave it unset for all that the model has");
        }
        if request.num_ctx.is_some_and(|tokens| !(1..=cap).contains(&tokens)) {
            wrong.add("num_ctx", format!("must be from 1 to {cap}, this server's cap"));
        }
        let keep_alive = keep_alive(request.keep_alive, limits, &mut wrong);
        if worst_case(&request.inputs, request.num_ctx.unwrap_or(cap)) > MAX_CHARGED_TOKENS {
            wrong.add("inputs", format!("must be at most {MAX_CHARGED_TOKENS} tokens in all; send fewer at a time"));
        }
        let Some(model) = model.filter(|_| wrong.is_empty()) else { return Err(wrong.refuse()) };
        model.refuse_cloud(limits.allow_cloud_models)?;
        let wire::EmbedRequest { inputs, truncate, dimensions, num_ctx, .. } = request;
        Ok(Self { model, inputs, truncate, dimensions, keep_alive, num_ctx })
    }

    /// The most input tokens that they can take: a token has at least one byte, and each text is cut at the context.
    #[must_use]
    pub fn max_input_tokens(&self, limits: &PromptLimits) -> u32 {
        u32::try_from(worst_case(&self.inputs, self.num_ctx.unwrap_or(limits.max_context_tokens))).unwrap_or(u32::MAX)
    }

    /// About how many tokens they take: four bytes are about one, and each text has one more.
    #[must_use]
    pub fn estimated_input_tokens(&self) -> u32 {
        u32::try_from(self.inputs.iter().map(|text| text.len().div_ceil(4) + 1).sum::<usize>()).unwrap_or(u32::MAX)
    }

    /// How long they are, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.inputs.iter().map(String::len).sum()
    }

    /// How many numbers all vectors have together, when the model's have so many each.
    #[must_use]
    pub fn numbers(&self, embedding_length: u32) -> usize {
        let length = self.dimensions.map_or(embedding_length, |dimensions| dimensions.min(embedding_length));
        self.inputs.len().saturating_mul(usize::try_from(length).unwrap_or(usize::MAX))
    }
}

fn worst_case(inputs: &[String], context: u32) -> usize {
    let context = usize::try_from(context).unwrap_or(usize::MAX);
    inputs.iter().map(|text| (text.len() + TEXT_ALLOWANCE_TOKENS).min(context)).sum()
}

#[cfg(test)]
mod tests {
    use prost_types::Duration as WireDuration;

    use super::*;

    const LIMITS: PromptLimits = PromptLimits {
        max_context_tokens: 8192,
        max_output_tokens: 1024,
        max_keep_alive: Duration::from_secs(1800),
        allow_cloud_models: false,
    };

    fn request(inputs: &[&str]) -> wire::EmbedRequest {
        wire::EmbedRequest {
            model: "embedder".to_owned(),
            inputs: inputs.iter().map(|text| (*text).to_owned()).collect(),
            ..Default::default()
        }
    }

    fn fields(request: wire::EmbedRequest, request_id: &str) -> Vec<String> {
        let status = tonic::Status::from(Texts::from_embed(request, request_id, &LIMITS).unwrap_err());
        shared::error::violations_of(&status).into_iter().map(|(field, _)| field).collect()
    }

    #[test]
    fn all_wrong_fields_are_named_at_once() {
        let wrong = wire::EmbedRequest {
            dimensions: Some(0),
            num_ctx: Some(8193),
            keep_alive: Some(WireDuration { seconds: -1, nanos: 0 }),
            ..Default::default()
        };
        assert_eq!(fields(wrong, "two words"), ["model", "inputs", "request_id", "dimensions", "num_ctx", "keep_alive"]);
        assert_eq!(fields(request(&["x"; 2049]), ""), ["inputs"]);
    }

    #[test]
    fn each_text_is_bounded_by_its_bytes_and_by_the_context() {
        let long = "x".repeat(50_000);
        let texts = |num_ctx| Texts::from_embed(wire::EmbedRequest { num_ctx, ..request(&["", "four", &long]) }, "", &LIMITS).unwrap();
        assert_eq!(texts(None).max_input_tokens(&LIMITS), 16 + 20 + 8192);
        assert_eq!(texts(Some(10)).max_input_tokens(&LIMITS), 30);
        assert_eq!(texts(None).estimated_input_tokens(), 1 + 2 + 12_501);
    }

    #[test]
    fn more_than_can_be_charged_at_once_is_refused() {
        let long = "x".repeat(8192);
        assert_eq!(fields(request(&vec![long.as_str(); 1221]), ""), ["inputs"]);
        assert!(Texts::from_embed(request(&vec![long.as_str(); 1220]), "", &LIMITS).is_ok());
    }

    #[test]
    fn the_length_of_an_answer_follows_from_the_models_vectors_and_the_callers_wish() {
        let texts = |dimensions| Texts::from_embed(wire::EmbedRequest { dimensions, ..request(&["a", "b"]) }, "", &LIMITS).unwrap();
        assert_eq!([None, Some(4), Some(1000)].map(|wish| texts(wish).numbers(768)), [1536, 8, 1536]);
    }
}

//! `POST /v1/completions`: what is sent, and the contract's request that it becomes.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Deserialize;
use shared::doors::Refusal;
use shared::proto::inference as wire;

use super::chat_request::{AnswerForm, ReadRequest, RequestNames};
use super::message::PicturePlaces;
use super::refused::{RefusedFields, refuse_given};
use super::sampling::{Sampling, Stop, StreamOptions};
use super::string_or::{StringOr, Unread};
use crate::doors::field_names::FieldNames;
use crate::prompt::Violations;

/// What this endpoint can't do.
pub const REFUSED: RefusedFields = &[
    ("best_of", "must be 1: send a request for each answer"),
    ("echo", "must be false: put the prompt before the answer yourself"),
    ("logit_bias", "is not taken: the model server has no such option"),
    ("n", "must be 1: send a request for each answer"),
    ("prompt", "must be one text: send a request for each prompt, and text in place of tokens"),
    ("stream_options.include_obfuscation", "must be false: chunks are as long as what is in them"),
];

/// What is taken and changes no answer.
pub const TAKEN: &[&str] = &["user"];

/// How the contract's fields are called here.
const NAMES: FieldNames = FieldNames {
    messages: "messages",
    system: "prompt",
    paths: &[("max_output_tokens", "max_tokens"), ("top_logprobs", "logprobs"), ("request_id", "Idempotency-Key")],
    endings: &[],
};

/// A text to go on from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CompletionRequest {
    /// As in `GET /v1/models`.
    model: String,
    /// A text, or a list of one.
    prompt: Option<StringOr<Vec<PromptItem>>>,
    /// What comes after the gap, for models that can fill in.
    suffix: Option<String>,
    /// Whether the answer comes as it is made.
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    /// The most tokens to generate; ≥ 1. Unset: the server's own bound.
    max_tokens: Option<u32>,
    /// ≥ 0. Unset: as the model has it.
    temperature: Option<f32>,
    /// 0 to 1. Unset: as the model has it.
    top_p: Option<f32>,
    seed: Option<i64>,
    /// At most 16.
    stop: Option<Stop>,
    /// Asks for log probabilities, and of so many alternatives: 0 to 20.
    logprobs: Option<u32>,
    /// Only 1.
    n: Option<u32>,
    /// Only 1.
    best_of: Option<u32>,
    /// Only false.
    echo: Option<bool>,
    /// -2 to 2. Unset: as the model has it.
    frequency_penalty: Option<f32>,
    /// -2 to 2. Unset: as the model has it.
    presence_penalty: Option<f32>,
    /// Refused.
    logit_bias: Option<HashMap<String, Unread>>,
    /// Taken, and changes no answer.
    #[expect(dead_code, reason = "it is for the provider's own use")]
    user: Option<Unread>,
}

/// One of several prompts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum PromptItem {
    Text(String),
    /// A token's number.
    Token(#[expect(dead_code, reason = "it is refused")] u64),
    /// Tokens' numbers.
    Tokens(#[expect(dead_code, reason = "they are refused")] Vec<u64>),
}

impl CompletionRequest {
    /// The contract's request. Everything that this endpoint can't do is refused, by all its names at once.
    pub(super) fn read(self, request_id: String) -> Result<ReadRequest<wire::GenerateRequest>, Refusal> {
        let mut wrong = Violations::default();
        self.refuse_what_cant_be_done(&mut wrong);
        let sampling = Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            seed: self.seed,
            stop: self.stop,
        };
        let asked = wire::GenerateRequest {
            model: self.model,
            prompt: prompt(self.prompt, &mut wrong),
            suffix: self.suffix.unwrap_or_default(),
            max_output_tokens: self.max_tokens,
            options: sampling.into_options(),
            top_logprobs: self.logprobs,
            request_id,
            ..wire::GenerateRequest::default()
        };
        if !wrong.is_empty() {
            return Err(wrong.refuse().into());
        }
        let form = AnswerForm {
            stream: self.stream.unwrap_or_default(),
            include_usage: self.stream_options.unwrap_or_default().include_usage.unwrap_or_default(),
            logprobs: asked.top_logprobs.is_some(),
            ..AnswerForm::default()
        };
        Ok(ReadRequest { asked, form, forced: None, names: RequestNames { fields: NAMES, pictures: PicturePlaces::default() } })
    }

    fn refuse_what_cant_be_done(&self, wrong: &mut Violations) {
        let obfuscates = self.stream_options.is_some_and(|options| options.include_obfuscation == Some(true));
        let fields = [
            ("best_of", self.best_of.is_some_and(|count| count != 1)),
            ("echo", self.echo == Some(true)),
            ("logit_bias", self.logit_bias.as_ref().is_some_and(|bias| !bias.is_empty())),
            ("n", self.n.is_some_and(|n| n != 1)),
            ("stream_options.include_obfuscation", obfuscates),
        ];
        refuse_given(REFUSED, &fields, wrong);
    }
}

/// The one prompt.
fn prompt(sent: Option<StringOr<Vec<PromptItem>>>, wrong: &mut Violations) -> String {
    let list = match sent {
        None => Vec::new(),
        Some(StringOr::String(text)) => return text,
        Some(StringOr::Other(list)) => list,
    };
    let one: Result<[PromptItem; 1], _> = list.try_into();
    match one {
        Ok([PromptItem::Text(text)]) => return text,
        Err(list) if list.is_empty() => wrong.add("prompt", "is required"),
        Ok([PromptItem::Token(_) | PromptItem::Tokens(_)]) | Err(_) => refuse_given(REFUSED, &[("prompt", true)], wrong),
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;

    fn read(fields: Value) -> Result<ReadRequest<wire::GenerateRequest>, Refusal> {
        let mut body = json!({ "model": "smollm2", "prompt": "Once" });
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        serde_json::from_str::<CompletionRequest>(&body.to_string()).unwrap().read("id-1".to_owned())
    }

    #[test]
    fn a_request_becomes_the_contracts() {
        let ReadRequest { asked, form, names, .. } = read(json!({
            "prompt": ["Once"], "suffix": "end", "max_tokens": 5, "temperature": 0, "seed": 3, "stop": "\n", "logprobs": 0, "stream": true,
            "stream_options": { "include_usage": true }, "n": 1, "best_of": 1, "echo": false, "user": "ann", "presence_penalty": 1,
        }))
        .unwrap();
        let options = wire::Options {
            presence_penalty: Some(1.0),
            temperature: Some(0.0),
            seed: Some(3),
            stop: vec!["\n".into()],
            ..Default::default()
        };
        let expected = wire::GenerateRequest {
            model: "smollm2".into(),
            prompt: "Once".into(),
            suffix: "end".into(),
            max_output_tokens: Some(5),
            options: Some(options),
            top_logprobs: Some(0),
            request_id: "id-1".into(),
            ..Default::default()
        };
        assert_eq!(asked, expected);
        assert_eq!(form, AnswerForm { stream: true, include_usage: true, logprobs: true, ..Default::default() });
        let name = |path: &str| names.rename(Refusal::invalid(path, "must be right")).fields[0].0.clone();
        assert_eq!(["max_output_tokens", "top_logprobs", "options.stop"].map(name), ["max_tokens", "logprobs", "stop"]);
    }

    #[test]
    fn each_field_of_the_table_is_refused_by_its_path() {
        let cases = [
            ("best_of", json!({ "best_of": 2 })),
            ("echo", json!({ "echo": true })),
            ("logit_bias", json!({ "logit_bias": { "1": 1 } })),
            ("n", json!({ "n": 2 })),
            ("prompt", json!({ "prompt": ["a", "b"] })),
            ("stream_options.include_obfuscation", json!({ "stream_options": { "include_obfuscation": true } })),
        ];
        for (path, fields) in &cases {
            let refusal = read(fields.clone()).err().unwrap_or_else(|| panic!("{fields} is taken"));
            assert!(refusal.fields.len() == 1 && refusal.fields[0].0 == *path, "{:?}", refusal.fields);
        }
        let tested: BTreeSet<&str> = cases.iter().map(|(path, _)| *path).collect();
        assert_eq!(tested, REFUSED.iter().map(|(path, _)| *path).collect());
    }

    #[test]
    fn tokens_in_place_of_a_text_are_refused_and_so_is_no_prompt() {
        for prompt in [json!([1, 2]), json!([[1, 2]]), json!([7])] {
            assert!(read(json!({ "prompt": prompt })).unwrap_err().message.starts_with("prompt must be one text"), "{prompt}");
        }
        for prompt in [json!(null), json!([])] {
            assert_eq!(read(json!({ "prompt": prompt })).unwrap_err().message, "prompt is required");
        }
    }
}

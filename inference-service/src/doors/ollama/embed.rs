//! `/api/embed`, and `/api/embeddings` of older clients.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use shared::error::CallError;
use shared::proto::inference as wire;

use super::answer::{Counts, counts_of};
use super::body::keep_alive;
use super::keep_alive::KeepAlive;
use super::options::{OptionsBody, whole, whole_u32};
use crate::prompt::Violations;

/// One text, or several.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "must be a text or a list of texts")]
pub(super) enum Input {
    One(String),
    Many(Vec<String>),
}

impl Input {
    /// None for an empty text, as in Ollama: nothing is to be done.
    fn into_list(self) -> Vec<String> {
        match self {
            Self::One(text) if text.is_empty() => Vec::new(),
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// The body of `/api/embed`. Of the options `num_ctx` counts; the others are about what is generated, and nothing is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct EmbedBody {
    /// The model's name.
    model: Option<String>,
    /// None, or an empty one: the model is loaded, and nothing is charged.
    input: Option<Input>,
    truncate: Option<bool>,
    /// Numbers of each vector; 0: all that the model has.
    #[schemars(with = "Option<i64>")]
    dimensions: Option<Number>,
    keep_alive: Option<KeepAlive>,
    options: Option<OptionsBody>,
}

/// The body of `/api/embeddings`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct EmbeddingsBody {
    /// The model's name.
    model: Option<String>,
    /// Empty: the model is loaded, and nothing is charged.
    prompt: Option<String>,
    keep_alive: Option<KeepAlive>,
    options: Option<OptionsBody>,
}

impl EmbedBody {
    /// The contract's message, under this request id. One without inputs only loads the model.
    pub(super) fn into_wire(self, request_id: String, most: Duration) -> Result<wire::EmbedRequest, CallError> {
        let mut wrong = Violations::default();
        if self.dimensions.as_ref().is_some_and(|dimensions| whole(dimensions) < 0) {
            wrong.add("dimensions", "must be 0 or more");
        }
        let request = wire::EmbedRequest {
            model: self.model.unwrap_or_default(),
            inputs: self.input.map(Input::into_list).unwrap_or_default(),
            request_id,
            truncate: self.truncate,
            dimensions: self.dimensions.as_ref().map(whole_u32).filter(|dimensions| *dimensions > 0),
            keep_alive: keep_alive(self.keep_alive.as_ref(), most, &mut wrong),
            num_ctx: self.options.and_then(|options| options.num_ctx()),
        };
        if wrong.is_empty() { Ok(request) } else { Err(wrong.refuse()) }
    }
}

impl From<EmbeddingsBody> for EmbedBody {
    fn from(body: EmbeddingsBody) -> Self {
        let EmbeddingsBody { model, prompt, keep_alive, options } = body;
        Self { model, input: prompt.map(Input::One), keep_alive, options, ..Self::default() }
    }
}

/// The answer of `/api/embed`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Embedded {
    model: String,
    embeddings: Vec<Vec<f32>>,
    #[serde(flatten)]
    counts: Counts,
}

/// The answer of `/api/embeddings`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct OneEmbedded {
    embedding: Vec<f32>,
}

impl Embedded {
    /// Of a model that was only loaded.
    pub(super) fn nothing(model: String) -> Self {
        Self { model, embeddings: Vec::new(), counts: Counts::default() }
    }
}

impl From<wire::EmbedResponse> for Embedded {
    fn from(response: wire::EmbedResponse) -> Self {
        let counts = counts_of(&response.usage.unwrap_or_default()).with_receipt(response.receipt.as_ref());
        let embeddings = response.embeddings.into_iter().map(|embedding| embedding.values).collect();
        Self { model: response.model, embeddings, counts }
    }
}

impl From<Embedded> for OneEmbedded {
    fn from(embedded: Embedded) -> Self {
        Self { embedding: embedded.embeddings.into_iter().next().unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(json: &str) -> wire::EmbedRequest {
        let body: EmbedBody = serde_json::from_str(json).unwrap();
        body.into_wire(String::new(), Duration::from_secs(1800)).unwrap()
    }

    #[test]
    fn one_text_and_several_are_taken_and_an_empty_one_is_none() {
        assert_eq!(sent(r#"{"model":"m","input":"a"}"#).inputs, ["a"]);
        assert_eq!(sent(r#"{"model":"m","input":["a",""]}"#).inputs, ["a", ""]);
        for none in [r#""""#, "[]", "null"] {
            assert_eq!(sent(&format!(r#"{{"model":"m","input":{none}}}"#)).inputs, Vec::<String>::new(), "{none}");
        }
        let wrong = serde_json::from_str::<EmbedBody>(r#"{"input":[1,2]}"#).unwrap_err();
        assert!(wrong.to_string().contains("must be a text or a list of texts"), "{wrong}");
    }

    #[test]
    fn dimensions_and_options_are_read_as_ollama_reads_them() {
        let request =
            sent(r#"{"model":"m","input":"a","dimensions":4.0,"truncate":false,"keep_alive":-1,"options":{"num_ctx":64,"temperature":1}}"#);
        assert_eq!((request.dimensions, request.truncate, request.num_ctx), (Some(4), Some(false), Some(64)));
        assert_eq!(request.keep_alive.unwrap().seconds, 1800);
        assert_eq!(sent(r#"{"model":"m","input":"a","dimensions":0}"#).dimensions, None);
        let body: EmbedBody = serde_json::from_str(r#"{"dimensions":-1}"#).unwrap();
        assert!(body.into_wire(String::new(), Duration::ZERO).is_err());
    }

    #[test]
    fn older_clients_send_a_prompt_and_get_one_vector() {
        let body: EmbeddingsBody = serde_json::from_str(r#"{"model":"m","prompt":"a"}"#).unwrap();
        assert_eq!(EmbedBody::from(body).into_wire(String::new(), Duration::ZERO).unwrap().inputs, ["a"]);
        let response = wire::EmbedResponse { embeddings: vec![wire::Embedding { values: vec![0.5, 1.0] }], ..Default::default() };
        assert_eq!(serde_json::to_string(&OneEmbedded::from(Embedded::from(response))).unwrap(), r#"{"embedding":[0.5,1.0]}"#);
    }
}

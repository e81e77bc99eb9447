//! `/v1/embeddings`.

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::doors::{DoorRequest, Refusal, Route, insert_receipt, json};
use shared::proto::inference as wire;
use shared::runtime::work_through;

use crate::caller::Caller;
use crate::doors::METERED;
use crate::doors::answer::request_id;
use crate::doors::embedding::answered;
use crate::prompt::rename_violations;
use crate::service::inference::InferenceService;

/// What is refused, and why.
pub const REFUSED: &[(&str, &str)] =
    &[("input[]", "must be a text: lists of tokens are not taken, because they are another model's words")];

/// The body.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EmbeddingsRequest {
    /// The model's name.
    model: String,
    /// One text, or several: one vector each.
    input: Input,
    /// How vectors are written. Unset: as numbers.
    encoding_format: Option<EncodingFormat>,
    /// Numbers of each vector. Unset: all that the model has.
    dimensions: Option<u32>,
    /// Taken, and of no effect.
    #[expect(dead_code, reason = "SDKs send it")]
    user: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "must be a text or a list of texts; lists of tokens are not taken")]
enum Input {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum EncodingFormat {
    /// Numbers.
    #[default]
    Float,
    /// Their bytes in base64, the lowest first, four each.
    Base64,
}

/// The answer.
#[derive(Debug, Serialize, JsonSchema)]
struct EmbeddingList {
    object: &'static str,
    data: Vec<Embedding>,
    model: String,
    usage: Usage,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum Vector {
    Numbers(Vec<f32>),
    Base64(String),
}

#[derive(Debug, Serialize, JsonSchema)]
struct Usage {
    prompt_tokens: u32,
    total_tokens: u32,
    /// Credits charged. Not there when the charge could not be recorded in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<i64>,
}

/// The route.
pub(super) fn route(inference: &InferenceService) -> Route {
    let inference = inference.clone();
    let handler = move |request| embeddings(inference.clone(), request);
    Route::new(Method::POST, "/v1/embeddings", METERED, "turns texts into vectors", handler)
        .taking::<EmbeddingsRequest>()
        .giving::<EmbeddingList>()
}

async fn embeddings(inference: InferenceService, mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
    let request_id = request_id(request.headers())?;
    let caller = Caller::from_parts(request.headers(), request.extensions());
    let sent: EmbeddingsRequest = request.json().await?;
    let format = sent.encoding_format.unwrap_or_default();
    let answer = inference.embedded(caller, sent.into_wire(request_id)).await.map_err(|error| renamed(error.into()))?;
    let answer = answered(answer)?;
    let receipt = answer.receipt.clone();
    let bytes = answer.embeddings.iter().map(|embedding| embedding.values.len() * size_of::<f32>()).sum();
    let mut response = work_through(bytes, || json(&EmbeddingList::of(answer, format)));
    if let Some(receipt) = &receipt {
        insert_receipt(response.headers_mut(), receipt);
    }
    Ok(response)
}

/// A refusal with the names that the caller used.
fn renamed(mut refusal: Refusal) -> Refusal {
    let name = |path: &str| match path {
        "inputs" => "input".to_owned(),
        "request_id" => "Idempotency-Key".to_owned(),
        path => path.to_owned(),
    };
    refusal.message = rename_violations(&refusal.message, &mut refusal.fields, name);
    refusal
}

impl EmbeddingsRequest {
    fn into_wire(self, request_id: String) -> wire::EmbedRequest {
        let inputs = match self.input {
            Input::One(text) => vec![text],
            Input::Many(texts) => texts,
        };
        wire::EmbedRequest { model: self.model, inputs, request_id, dimensions: self.dimensions, ..Default::default() }
    }
}

impl EmbeddingList {
    fn of(answer: wire::EmbedResponse, format: EncodingFormat) -> Self {
        let prompt_tokens = answer.usage.unwrap_or_default().input_tokens();
        let cost = answer.receipt.as_ref().and_then(|receipt| receipt.charged_credits);
        let data = answer.embeddings.into_iter().enumerate().map(|(index, embedding)| {
            let embedding = match format {
                EncodingFormat::Float => Vector::Numbers(embedding.values),
                EncodingFormat::Base64 => Vector::Base64(base64_of(&embedding.values)),
            };
            Embedding { object: "embedding", index, embedding }
        });
        let usage = Usage { prompt_tokens, total_tokens: prompt_tokens, cost };
        Self { object: "list", data: data.collect(), model: answer.model, usage }
    }
}

fn base64_of(numbers: &[f32]) -> String {
    STANDARD.encode(numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<EmbeddingsRequest, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn texts_are_taken_and_tokens_are_refused_by_name() {
        let request = read(r#"{"model":"m","input":["a","b"],"encoding_format":"base64","dimensions":4,"user":"u"}"#).unwrap();
        assert_eq!(request.encoding_format, Some(EncodingFormat::Base64));
        let sent = request.into_wire("r".to_owned());
        assert_eq!((sent.inputs, sent.dimensions, sent.request_id.as_str()), (vec!["a".to_owned(), "b".to_owned()], Some(4), "r"));
        assert_eq!(read(r#"{"model":"m","input":"a"}"#).unwrap().into_wire(String::new()).inputs, ["a"]);
        for tokens in ["[1,2]", "[[1,2],[3]]", "7", "{}"] {
            let wrong = read(&format!(r#"{{"model":"m","input":{tokens}}}"#)).unwrap_err();
            assert!(wrong.contains("lists of tokens are not taken"), "{wrong}");
        }
        assert!(read(r#"{"model":"m","input":"a","frobnicate":1}"#).unwrap_err().contains("frobnicate"));
        assert!(read(r#"{"model":"m","input":"a","encoding_format":"int8"}"#).is_err());
    }

    #[test]
    fn vectors_are_numbers_or_the_bytes_of_numbers() {
        let answer = || wire::EmbedResponse {
            embeddings: vec![wire::Embedding { values: vec![1.0, -0.5] }],
            model: "m".to_owned(),
            usage: Some(wire::Usage { input_tokens: Some(3), ..Default::default() }),
            receipt: Some(wire::Receipt { charged_credits: Some(1), ..Default::default() }),
            ..Default::default()
        };
        let written = |format| serde_json::to_string(&EmbeddingList::of(answer(), format)).unwrap();
        let expected = concat!(
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.0,-0.5]}],"model":"m","#,
            r#""usage":{"prompt_tokens":3,"total_tokens":3,"cost":1}}"#
        );
        assert_eq!(written(EncodingFormat::Float), expected);
        // 1.0 is 00 00 80 3f, -0.5 is 00 00 00 bf.
        assert!(written(EncodingFormat::Base64).contains(r#""embedding":"AACAPwAAAL8=""#));
    }
}

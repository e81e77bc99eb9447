//! Embeddings by `/api/embed`: one request, and one reply with a vector for each text.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::wire::{OnlyContext, Seconds, count, encode, malformed};
use crate::engine::{Done, Embeddings, EngineError};
use crate::prompt::Texts;

/// The longest reply: four million numbers of a vector, as they are written.
pub(super) const MAX_REPLY_BYTES: usize = 64 << 20;

#[derive(Serialize)]
struct EmbedBody<'a> {
    model: &'a str,
    input: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    truncate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_alive: Option<Seconds>,
    options: OnlyContext,
}

/// The body to post.
pub(super) fn body(texts: &Texts, num_ctx: Option<u32>, max_keep_alive: Option<Duration>) -> Result<Vec<u8>, EngineError> {
    encode(&EmbedBody {
        model: texts.model.as_str(),
        input: &texts.inputs,
        truncate: texts.truncate,
        dimensions: texts.dimensions,
        keep_alive: texts.keep_alive.map(|wanted| Seconds::at_most(wanted, max_keep_alive)),
        options: OnlyContext { num_ctx },
    })
}

#[derive(Deserialize)]
struct Reply<'a> {
    embeddings: Vec<Vec<f32>>,
    #[serde(borrow)]
    total_duration: Option<&'a RawValue>,
    #[serde(borrow)]
    load_duration: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_eval_count: Option<&'a RawValue>,
}

/// Reads a reply to so many texts.
pub(super) fn parse(reply: &[u8], texts: usize) -> Result<Embeddings, EngineError> {
    let wrong = |detail: &str| EngineError::Protocol { detail: detail.to_owned() };
    // A list takes two bytes on the wire and 24 in memory: they are counted first.
    if memchr::memchr_iter(b'[', reply).count() > texts + 1 {
        return Err(wrong("more embeddings than texts"));
    }
    let Reply { embeddings: vectors, total_duration, load_duration, prompt_eval_count } =
        serde_json::from_slice(reply).map_err(|error| malformed("a reply with embeddings", &error))?;
    let length = vectors.first().map_or(0, Vec::len);
    if vectors.len() != texts || length == 0 || vectors.iter().any(|vector| vector.len() != length) {
        return Err(wrong("not one embedding of the same length for each text"));
    }
    if !vectors.iter().flatten().all(|number| number.is_finite()) {
        return Err(wrong("an embedding with a number beyond all numbers"));
    }
    let time = |json| count(json).map(Duration::from_nanos);
    let done = Done {
        reason: "stop".to_owned(),
        input_tokens: count(prompt_eval_count).map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX)),
        output_tokens: Some(0),
        load: time(load_duration),
        total: time(total_duration),
        ..Done::default()
    };
    Ok(Embeddings { vectors, done })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::ModelName;

    #[test]
    fn what_is_sent_is_what_api_embed_takes() {
        let bare = Texts {
            model: ModelName::parse("embedder").unwrap(),
            inputs: vec!["é".to_owned(), String::new()],
            truncate: None,
            dimensions: None,
            keep_alive: None,
            num_ctx: None,
        };
        let sent = |texts: &Texts, num_ctx| String::from_utf8(body(texts, num_ctx, Some(Duration::from_secs(60))).unwrap()).unwrap();
        assert_eq!(sent(&bare, None), r#"{"model":"embedder","input":["é",""],"options":{}}"#);
        let keep_alive = Some(Duration::from_secs(600));
        let full = Texts { truncate: Some(false), dimensions: Some(4), keep_alive, num_ctx: Some(64), ..bare };
        let expected =
            r#"{"model":"embedder","input":["é",""],"truncate":false,"dimensions":4,"keep_alive":"60s","options":{"num_ctx":64}}"#;
        assert_eq!(sent(&full, Some(64)), expected);
    }

    #[test]
    fn a_reply_has_one_finite_vector_of_the_same_length_for_each_text() {
        let read = |reply: &str, texts| parse(reply.as_bytes(), texts);
        let good =
            read(r#"{"model":"m","embeddings":[[1,-0.5],[0.25,2e-3]],"total_duration":7,"load_duration":3,"prompt_eval_count":2}"#, 2);
        let Embeddings { vectors, done } = good.unwrap();
        assert_eq!(vectors, [[1.0, -0.5], [0.25, 0.002]]);
        assert_eq!((done.input_tokens, done.output_tokens, done.total), (Some(2), Some(0), Some(Duration::from_nanos(7))));
        for (wrong, texts) in [
            (r#"{"embeddings":[]}"#, 1),
            (r#"{"embeddings":[[]]}"#, 1),
            (r#"{"embeddings":[[1]]}"#, 2),
            (r#"{"embeddings":[[1],[2]]}"#, 1),
            (r#"{"embeddings":[[1],[2,3]]}"#, 2),
            (r#"{"embeddings":[[NaN]]}"#, 1),
            (r#"{"embeddings":[[1e39]]}"#, 1),
            (r#"{"embeddings":[[null]]}"#, 1),
            (r#"{"embeddings":[[1]"#, 1),
            (r#"{}"#, 1),
        ] {
            assert!(matches!(read(wrong, texts), Err(EngineError::Protocol { .. })), "{wrong}");
        }
        assert_eq!(read(r#"{"embeddings":[[1]]}"#, 1).unwrap().done.input_tokens, None);
    }
}

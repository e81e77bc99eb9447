//! Log probabilities, as each of the two endpoints has them. They are written from the contract's, without a copy.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use shared::proto::inference as wire;

/// `choices[].logprobs` of a chat.
pub(super) struct ChatLogprobs<'a>(pub(super) &'a [wire::Logprob]);

impl Serialize for ChatLogprobs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut logprobs = serializer.serialize_struct("ChatLogprobs", 2)?;
        logprobs.serialize_field("content", &Tokens(self.0))?;
        logprobs.serialize_field("refusal", &None::<()>)?;
        logprobs.end()
    }
}

struct Tokens<'a>(&'a [wire::Logprob]);

impl Serialize for Tokens<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|logprob| Token {
            token: &logprob.token,
            logprob: logprob.logprob,
            bytes: &logprob.token_bytes,
            top_logprobs: TopTokens(&logprob.top_logprobs),
        }))
    }
}

#[derive(Serialize, JsonSchema)]
struct Token<'a> {
    token: &'a str,
    logprob: f64,
    bytes: &'a [u8],
    #[schemars(with = "Vec<TopToken<'a>>")]
    top_logprobs: TopTokens<'a>,
}

struct TopTokens<'a>(&'a [wire::TopLogprob]);

impl Serialize for TopTokens<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|top| TopToken { token: &top.token, logprob: top.logprob, bytes: &top.token_bytes }))
    }
}

#[derive(Serialize, JsonSchema)]
struct TopToken<'a> {
    token: &'a str,
    logprob: f64,
    bytes: &'a [u8],
}

/// `choices[].logprobs` of a completion: a list of each thing.
pub(super) struct CompletionLogprobs<'a> {
    pub(super) logprobs: &'a [wire::Logprob],
    /// Characters of the answer's text before the first token.
    pub(super) offset: usize,
}

impl CompletionLogprobs<'_> {
    /// Characters of text up to the end of the last token.
    pub(super) fn end(&self) -> usize {
        self.offset + self.logprobs.iter().map(|logprob| logprob.token.chars().count()).sum::<usize>()
    }
}

impl Serialize for CompletionLogprobs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut offset = self.offset;
        let offsets: Vec<usize> = self
            .logprobs
            .iter()
            .map(|logprob| {
                let starts = offset;
                offset += logprob.token.chars().count();
                starts
            })
            .collect();
        let has_top = self.logprobs.iter().any(|logprob| !logprob.top_logprobs.is_empty());
        let mut logprobs = serializer.serialize_struct("CompletionLogprobs", 4)?;
        logprobs.serialize_field("tokens", &Seq(self.logprobs.iter().map(|logprob| logprob.token.as_str())))?;
        logprobs.serialize_field("token_logprobs", &Seq(self.logprobs.iter().map(|logprob| logprob.logprob)))?;
        let top = has_top.then(|| Seq(self.logprobs.iter().map(|logprob| TopMap(&logprob.top_logprobs))));
        logprobs.serialize_field("top_logprobs", &top)?;
        logprobs.serialize_field("text_offset", &offsets)?;
        logprobs.end()
    }
}

/// An iterator as a list.
struct Seq<I>(I);

impl<I: Iterator<Item: Serialize> + Clone> Serialize for Seq<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

/// Tokens and their probabilities. Of two with the same text the likelier one is there: an object has a name once.
struct TopMap<'a>(&'a [wire::TopLogprob]);

impl Serialize for TopMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (index, top) in self.0.iter().enumerate() {
            // At most 20 of them.
            if !self.0[..index].iter().any(|earlier| earlier.token == top.token) {
                map.serialize_entry(&top.token, &top.logprob)?;
            }
        }
        map.end()
    }
}

/// Log probabilities of a chat's tokens.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "its fields are the schema")]
struct ChatLogprobsForm {
    content: Vec<Token<'static>>,
    refusal: Option<Vec<Token<'static>>>,
}

/// Log probabilities of a completion's tokens: a list of each thing.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "its fields are the schema")]
struct CompletionLogprobsForm {
    tokens: Vec<String>,
    token_logprobs: Vec<f64>,
    top_logprobs: Option<Vec<BTreeMap<String, f64>>>,
    text_offset: Vec<usize>,
}

impl JsonSchema for ChatLogprobs<'_> {
    fn schema_name() -> Cow<'static, str> {
        "ChatLogprobs".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        ChatLogprobsForm::json_schema(generator)
    }
}

impl JsonSchema for CompletionLogprobs<'_> {
    fn schema_name() -> Cow<'static, str> {
        "CompletionLogprobs".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        CompletionLogprobsForm::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logprobs() -> Vec<wire::Logprob> {
        let top = |token: &str, logprob| wire::TopLogprob { token: token.into(), logprob, token_bytes: token.into() };
        vec![
            wire::Logprob {
                token: "é".into(),
                logprob: -0.5,
                token_bytes: "é".into(),
                top_logprobs: vec![top("é", -0.5), top("?", -1.0), top("?", -2.0)],
            },
            wire::Logprob { token: "s".into(), logprob: -0.25, token_bytes: "s".into(), top_logprobs: Vec::new() },
        ]
    }

    #[test]
    fn a_chats_have_bytes_and_alternatives() {
        let json = serde_json::to_string(&ChatLogprobs(&logprobs()[..1])).unwrap();
        let expected = concat!(
            r#"{"content":[{"token":"é","logprob":-0.5,"bytes":[195,169],"top_logprobs":["#,
            r#"{"token":"é","logprob":-0.5,"bytes":[195,169]},{"token":"?","logprob":-1.0,"bytes":[63]},"#,
            r#"{"token":"?","logprob":-2.0,"bytes":[63]}]}],"refusal":null}"#
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn a_completions_are_lists_and_offsets_count_characters() {
        let logprobs = logprobs();
        let of_text = CompletionLogprobs { logprobs: &logprobs, offset: 3 };
        let expected = concat!(
            r#"{"tokens":["é","s"],"token_logprobs":[-0.5,-0.25],"#,
            r#""top_logprobs":[{"é":-0.5,"?":-1.0},{}],"text_offset":[3,4]}"#
        );
        assert_eq!(serde_json::to_string(&of_text).unwrap(), expected);
        assert_eq!(of_text.end(), 5);
        let none = CompletionLogprobs { logprobs: &logprobs[1..], offset: 0 };
        assert_eq!(serde_json::to_value(&none).unwrap()["top_logprobs"], serde_json::Value::Null);
    }
}

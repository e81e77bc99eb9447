//! The calls of an answer, as they are written.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use shared::proto::inference as wire;

/// Some of an answer's calls. A stream gives each its number.
pub(super) struct ToolCalls<'a> {
    pub(super) calls: &'a [wire::ToolCall],
    /// The number of the first one.
    pub(super) first: usize,
    /// For calls that the model server gave no id.
    pub(super) request_id: &'a str,
    /// Whether each says its number.
    pub(super) with_index: bool,
}

impl ToolCalls<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

impl Serialize for ToolCalls<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.calls.iter().enumerate().map(|(number, call)| {
            let index = self.first + number;
            let id = if call.id.is_empty() { CallId::Made { request_id: self.request_id, index } } else { CallId::Given(&call.id) };
            let function = Function { name: &call.name, arguments: &call.arguments_json };
            ToolCall { index: self.with_index.then_some(index), id, kind: "function", function }
        }))
    }
}

impl JsonSchema for ToolCalls<'_> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ToolCalls".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<ToolCall<'static>>::json_schema(generator)
    }
}

#[derive(Serialize, JsonSchema)]
struct ToolCall<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[schemars(with = "String")]
    id: CallId<'a>,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Serialize, JsonSchema)]
struct Function<'a> {
    name: &'a str,
    /// A JSON object, as text.
    arguments: &'a str,
}

/// What a tool's result names its call by, so that there is always one.
enum CallId<'a> {
    Given(&'a str),
    Made { request_id: &'a str, index: usize },
}

impl Serialize for CallId<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Given(id) => serializer.serialize_str(id),
            Self::Made { request_id, index } => serializer.collect_str(&format_args!("call_{request_id}_{index}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_numbered_in_a_stream_and_each_has_an_id() {
        let call = |id: &str| wire::ToolCall { id: id.into(), name: "f".into(), arguments_json: r#"{"a":"b"}"#.into() };
        let calls = [call("c1"), call("")];
        let streamed = ToolCalls { calls: &calls, first: 2, request_id: "r", with_index: true };
        let expected = concat!(
            r#"[{"index":2,"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":\"b\"}"}},"#,
            r#"{"index":3,"id":"call_r_3","type":"function","function":{"name":"f","arguments":"{\"a\":\"b\"}"}}]"#
        );
        assert_eq!(serde_json::to_string(&streamed).unwrap(), expected);
        let whole = ToolCalls { calls: &calls[..1], first: 0, request_id: "r", with_index: false };
        assert!(!serde_json::to_string(&whole).unwrap().contains("index"));
    }
}

//! The form that an answer must have.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use shared::proto::inference::Format;
use shared::proto::inference::format::Kind;

use crate::prompt::Violations;

/// Which form.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResponseFormat {
    /// text, json_object or json_schema.
    #[serde(rename = "type")]
    kind: String,
    json_schema: Option<JsonSchemaFormat>,
}

/// A schema and what goes with it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonSchemaFormat {
    #[expect(dead_code, reason = "the model server has no name for a schema")]
    name: Option<String>,
    /// Goes into the schema, unless it has one.
    description: Option<String>,
    /// It is passed on as it came.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    schema: Option<Box<RawValue>>,
    #[expect(dead_code, reason = "an answer is always held to its schema")]
    strict: Option<bool>,
}

impl ResponseFormat {
    /// The contract's form; `None` is free text.
    pub(super) fn read(self, wrong: &mut Violations) -> Option<Format> {
        let kind = match (self.kind.as_str(), self.json_schema) {
            ("text", _) => return None,
            ("json_object", _) => Kind::Json(true),
            ("json_schema", Some(JsonSchemaFormat { schema: Some(schema), description, .. })) => {
                Kind::JsonSchema(described(schema.get(), description.as_deref()))
            }
            ("json_schema", Some(_)) => {
                wrong.add("response_format.json_schema.schema", "is required");
                return None;
            }
            ("json_schema", None) => {
                wrong.add("response_format.json_schema", "is required");
                return None;
            }
            _ => {
                wrong.add("response_format.type", "must be text, json_object or json_schema");
                return None;
            }
        };
        Some(Format { kind: Some(kind) })
    }
}

/// Which of a schema's own fields matter here.
#[derive(Deserialize)]
struct SchemaHead {
    description: Option<IgnoredAny>,
}

/// The schema with the description that was sent beside it, if it has none of its own.
fn described(schema: &str, description: Option<&str>) -> String {
    let has_none = || serde_json::from_str::<SchemaHead>(schema).is_ok_and(|head| head.description.is_none());
    let fields = schema.trim_start().strip_prefix('{').map(str::trim_start);
    match (fields, description) {
        (Some(fields), Some(description)) if has_none() => {
            let separator = if fields.starts_with('}') { "" } else { "," };
            format!(r#"{{"description":{}{separator}{fields}"#, serde_json::Value::from(description))
        }
        // What isn't an object is refused by the prompt's own checks.
        _ => schema.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> (Option<Kind>, Violations) {
        let mut wrong = Violations::default();
        let format = serde_json::from_str::<ResponseFormat>(json).unwrap().read(&mut wrong);
        (format.and_then(|format| format.kind), wrong)
    }

    #[test]
    fn the_three_forms_are_those_of_the_contract() {
        assert_eq!(read(r#"{"type":"text"}"#).0, None);
        assert_eq!(read(r#"{"type":"json_object"}"#).0, Some(Kind::Json(true)));
        let (kind, wrong) = read(r#"{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type": "object"}}}"#);
        assert!(wrong.is_empty());
        assert_eq!(kind, Some(Kind::JsonSchema(r#"{"type": "object"}"#.to_owned())));
    }

    #[test]
    fn a_description_goes_into_a_schema_that_has_none() {
        assert_eq!(described(r#"{ "type":"object"}"#, Some("a \"b\"")), r#"{"description":"a \"b\"","type":"object"}"#);
        assert_eq!(described("{}", Some("a")), r#"{"description":"a"}"#);
        assert_eq!(described(r#"{"description":"own"}"#, Some("a")), r#"{"description":"own"}"#);
        assert_eq!(described("[1]", Some("a")), "[1]");
        assert_eq!(described(r#"{"type":"object"}"#, None), r#"{"type":"object"}"#);
    }

    #[test]
    fn what_is_missing_of_a_form_is_named() {
        for (json, field) in [
            (r#"{"type":"json_schema"}"#, "response_format.json_schema is required"),
            (r#"{"type":"json_schema","json_schema":{"name":"n"}}"#, "response_format.json_schema.schema is required"),
            (r#"{"type":"grammar"}"#, "response_format.type must be text, json_object or json_schema"),
        ] {
            assert_eq!(read(json).1.refuse().message(), field, "{json}");
        }
    }
}

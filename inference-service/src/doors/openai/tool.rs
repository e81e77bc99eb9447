//! What a request lets the model call, and which of it.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::proto::inference as wire;

use super::chat_request::REFUSED;
use super::refused::refuse;
use super::string_or::{StringOr, Unread};
use crate::prompt::Violations;

/// Something that the model may ask to be called.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChatTool {
    /// function.
    #[serde(rename = "type")]
    kind: String,
    function: Option<FunctionDefinition>,
    #[expect(dead_code, reason = "its type says that it is refused")]
    custom: Option<Unread>,
}

/// A function.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FunctionDefinition {
    name: String,
    /// For the model.
    description: Option<String>,
    /// A JSON schema. It is passed on as it came.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    parameters: Option<Box<RawValue>>,
    /// Only false: nothing holds a model's arguments to the schema.
    strict: Option<bool>,
}

/// none, auto, or an object that names what must be called.
pub(super) type ToolChoice = StringOr<Unread>;

/// The tools that the model is told of: none of them when none may be called.
pub(super) fn read(sent: Vec<ChatTool>, choice: Option<ToolChoice>, wrong: &mut Violations) -> Vec<wire::Tool> {
    let tools = sent.into_iter().enumerate().filter_map(|(index, tool)| tool.read(index, wrong)).collect();
    match choice {
        None => tools,
        Some(StringOr::String(choice)) if choice == "auto" => tools,
        Some(StringOr::String(choice)) if choice == "none" => Vec::new(),
        Some(_) => {
            refuse(REFUSED, "tool_choice", wrong);
            tools
        }
    }
}

impl ChatTool {
    fn read(self, index: usize, wrong: &mut Violations) -> Option<wire::Tool> {
        if self.kind != "function" {
            refuse(REFUSED, &format!("tools[{index}].type"), wrong);
            return None;
        }
        let Some(function) = self.function else {
            wrong.add(format!("tools[{index}].function"), "is required");
            return None;
        };
        if function.strict == Some(true) {
            refuse(REFUSED, &format!("tools[{index}].function.strict"), wrong);
        }
        Some(wire::Tool {
            name: function.name,
            description: function.description.unwrap_or_default(),
            parameters_json: function.parameters.map(|json| json.get().to_owned()).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEATHER: &str =
        r#"{"type":"function","function":{"name":"weather","description":"of a city","parameters":{"type":"object", "z":1, "a":2}}}"#;

    fn read_json(tool: &str, choice: &str) -> (Vec<wire::Tool>, Violations) {
        let mut wrong = Violations::default();
        let tools = read(vec![serde_json::from_str(tool).unwrap()], serde_json::from_str(choice).unwrap(), &mut wrong);
        (tools, wrong)
    }

    #[test]
    fn a_tools_schema_is_passed_on_as_it_came() {
        let (tools, wrong) = read_json(WEATHER, "null");
        assert!(wrong.is_empty());
        let parameters_json = r#"{"type":"object", "z":1, "a":2}"#.to_owned();
        assert_eq!(tools, [wire::Tool { name: "weather".into(), description: "of a city".into(), parameters_json }]);
    }

    #[test]
    fn auto_is_as_none_was_said_and_none_hides_the_tools() {
        assert_eq!(read_json(WEATHER, r#""auto""#).0.len(), 1);
        let (tools, wrong) = read_json(WEATHER, r#""none""#);
        assert!(tools.is_empty() && wrong.is_empty());
    }

    #[test]
    fn a_choice_that_the_model_server_can_not_be_held_to_is_refused() {
        for choice in [
            r#""required""#,
            r#"{"type":"function","function":{"name":"weather"}}"#,
            r#"{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[]}}"#,
        ] {
            let (_, wrong) = read_json(WEATHER, choice);
            assert!(wrong.refuse().message().starts_with("tool_choice must be none or auto"), "{choice}");
        }
    }

    #[test]
    fn tools_of_other_types_and_strict_ones_are_refused_by_name() {
        for (tool, field) in [
            (r#"{"type":"custom","custom":{"name":"c"}}"#, "tools[0].type "),
            (r#"{"type":"web_search"}"#, "tools[0].type "),
            (r#"{"type":"function"}"#, "tools[0].function "),
            (r#"{"type":"function","function":{"name":"f","strict":true}}"#, "tools[0].function.strict "),
        ] {
            let (_, wrong) = read_json(tool, "null");
            assert!(wrong.refuse().message().starts_with(field), "{tool}");
        }
        assert!(read_json(r#"{"type":"function","function":{"name":"f","strict":false,"parameters":null}}"#, "null").1.is_empty());
    }
}

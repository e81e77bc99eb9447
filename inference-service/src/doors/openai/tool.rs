//! What a request lets the model call, which of it, and which it must call.

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
    /// Taken, since SDKs send it by themselves. A tool that must be called is held to its schema with it and without it, others to nothing.
    #[expect(dead_code, reason = "what can be held to a schema is")]
    strict: Option<bool>,
}

/// none, auto, required, or the tool that must be called.
pub(super) type ToolChoice = StringOr<NamedTool>;

/// The tool that must be called.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedTool {
    /// function.
    #[serde(rename = "type")]
    kind: String,
    function: Option<NamedFunction>,
    #[expect(dead_code, reason = "its type says that it is refused")]
    allowed_tools: Option<Unread>,
    #[expect(dead_code, reason = "its type says that it is refused")]
    custom: Option<Unread>,
}

/// The function that must be called.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedFunction {
    name: String,
}

/// What the model may call, and what it must.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Callable {
    /// What it is told of: nothing when nothing may be called.
    pub(super) tools: Vec<wire::Tool>,
    /// Whatever it would like.
    pub(super) forced: Option<wire::Tool>,
}

/// The tools of a request, and what its choice makes of them.
pub(super) fn read(sent: Vec<ChatTool>, choice: Option<ToolChoice>, wrong: &mut Violations) -> Callable {
    let must_call = match choice {
        None => None,
        Some(StringOr::String(choice)) if choice == "auto" => None,
        Some(StringOr::String(choice)) if choice == "none" => return Callable::default(),
        // Which one of several is for the model to choose, and it can't be made to.
        Some(StringOr::String(choice)) if choice == "required" && sent.len() == 1 => Some(0),
        Some(StringOr::Other(NamedTool { kind, function: Some(named), .. })) if kind == "function" => {
            let place = sent.iter().position(|tool| tool.function.as_ref().is_some_and(|function| function.name == named.name));
            if place.is_none() {
                wrong.add("tool_choice.function.name", "must be the name of a function among tools");
            }
            place
        }
        Some(_) => {
            refuse(REFUSED, "tool_choice", wrong);
            None
        }
    };
    let tools = sent.into_iter().enumerate().map(|(index, tool)| tool.read(index, wrong));
    let mut tools: Vec<Option<wire::Tool>> = tools.collect();
    let forced = must_call.and_then(|place| tools[place].take());
    Callable { tools: if forced.is_some() { Vec::new() } else { tools.into_iter().flatten().collect() }, forced }
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

    fn read_json(tool: &str, choice: &str) -> (Callable, Violations) {
        let mut wrong = Violations::default();
        let tools = read(vec![serde_json::from_str(tool).unwrap()], serde_json::from_str(choice).unwrap(), &mut wrong);
        (tools, wrong)
    }

    fn weather() -> wire::Tool {
        let parameters_json = r#"{"type":"object", "z":1, "a":2}"#.to_owned();
        wire::Tool { name: "weather".into(), description: "of a city".into(), parameters_json }
    }

    #[test]
    fn a_tools_schema_is_passed_on_as_it_came() {
        let (read, wrong) = read_json(WEATHER, "null");
        assert!(wrong.is_empty());
        assert_eq!(read, Callable { tools: vec![weather()], forced: None });
    }

    #[test]
    fn auto_is_as_none_was_said_and_none_hides_the_tools() {
        assert_eq!(read_json(WEATHER, r#""auto""#).0, Callable { tools: vec![weather()], forced: None });
        let (read, wrong) = read_json(WEATHER, r#""none""#);
        assert!(read == Callable::default() && wrong.is_empty());
    }

    #[test]
    fn a_tool_that_is_named_and_one_that_is_alone_can_be_forced_and_may_be_strict() {
        let strict = WEATHER.replace(r#""name":"weather","#, r#""name":"weather","strict":true,"#);
        for choice in [r#""required""#, r#"{"type":"function","function":{"name":"weather"}}"#] {
            for tool in [WEATHER, strict.as_str()] {
                let (read, wrong) = read_json(tool, choice);
                assert!(wrong.is_empty(), "{choice}");
                assert_eq!(read, Callable { tools: Vec::new(), forced: Some(weather()) }, "{choice}");
            }
        }
        let (_, wrong) = read_json(WEATHER, r#"{"type":"function","function":{"name":"other"}}"#);
        assert!(wrong.refuse().message().starts_with("tool_choice.function.name must be"));
    }

    #[test]
    fn a_choice_that_the_model_server_can_not_be_held_to_is_refused() {
        for choice in [r#""any""#, r#"{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[]}}"#, r#"{"type":"function"}"#] {
            let (_, wrong) = read_json(WEATHER, choice);
            assert!(wrong.refuse().message().starts_with("tool_choice must be none, auto"), "{choice}");
        }
        let (mut wrong, tool) = (Violations::default(), || serde_json::from_str(WEATHER).unwrap());
        read(vec![tool(), tool()], Some(StringOr::String("required".into())), &mut wrong);
        assert!(wrong.refuse().message().starts_with("tool_choice must be none, auto"));
    }

    #[test]
    fn tools_of_other_types_are_refused_by_name_and_strict_ones_are_taken_as_sdks_send_them() {
        for (tool, field) in [
            (r#"{"type":"custom","custom":{"name":"c"}}"#, "tools[0].type "),
            (r#"{"type":"web_search"}"#, "tools[0].type "),
            (r#"{"type":"function"}"#, "tools[0].function "),
        ] {
            let (_, wrong) = read_json(tool, "null");
            assert!(wrong.refuse().message().starts_with(field), "{tool}");
        }
        for strict in [true, false] {
            let tool = format!(r#"{{"type":"function","function":{{"name":"f","strict":{strict},"parameters":null}}}}"#);
            assert!(read_json(&tool, "null").1.is_empty());
        }
    }
}

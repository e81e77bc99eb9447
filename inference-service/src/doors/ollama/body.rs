//! What `/api/chat` and `/api/generate` take, and the contract's messages that it becomes. A field that is null counts as left out, as it
//! does in Ollama.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Number;
use serde_json::value::RawValue;
use shared::error::CallError;
use shared::proto::inference as wire;

use super::keep_alive::KeepAlive;
use super::options::{OptionsBody, whole};
use super::refused::{REFUSED, refuse_asked};
use crate::prompt::Violations;

/// How much a model thinks.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "must be true, false, \"low\", \"medium\", \"high\" or \"max\"")]
pub(super) enum Think {
    Switch(bool),
    Level(String),
}

impl Think {
    /// In the contract's words.
    fn to_wire(&self, wrong: &mut Violations) -> Option<String> {
        match self {
            Self::Switch(true) => Some("on".to_owned()),
            Self::Switch(false) => Some("off".to_owned()),
            Self::Level(level) if matches!(level.as_str(), "low" | "medium" | "high" | "max") => Some(level.clone()),
            Self::Level(_) => {
                wrong.add("think", "must be true, false, \"low\", \"medium\", \"high\" or \"max\"");
                None
            }
        }
    }

    /// Whether the model is asked to think.
    pub(super) fn is_on(&self) -> bool {
        !matches!(self, Self::Switch(false))
    }
}

/// The body of `/api/chat`.
#[derive(Deserialize, JsonSchema)]
#[serde(default)]
#[derive(Default)]
pub(super) struct ChatBody {
    /// The model's name.
    pub(super) model: Option<String>,
    /// The conversation, oldest first. None: the model is loaded, and nothing is charged.
    pub(super) messages: Option<Vec<MessageBody>>,
    /// True unless it is false.
    pub(super) stream: Option<bool>,
    /// `"json"`, or a JSON schema.
    #[schemars(with = "Option<serde_json::Value>")]
    format: Option<Box<RawValue>>,
    pub(super) keep_alive: Option<KeepAlive>,
    tools: Option<Vec<ToolBody>>,
    options: Option<OptionsBody>,
    pub(super) think: Option<Think>,
    truncate: Option<bool>,
    shift: Option<bool>,
    #[serde(rename = "_debug_render_only")]
    debug_render_only: Option<bool>,
    logprobs: Option<bool>,
    #[schemars(with = "Option<i64>")]
    top_logprobs: Option<Number>,
}

/// The body of `/api/generate`.
#[derive(Deserialize, JsonSchema)]
#[serde(default)]
#[derive(Default)]
pub(super) struct GenerateBody {
    /// The model's name.
    pub(super) model: Option<String>,
    /// The text to go on from. Empty: the model is loaded, and nothing is charged.
    pub(super) prompt: Option<String>,
    suffix: Option<String>,
    system: Option<String>,
    /// Refused.
    template: Option<String>,
    /// Refused.
    context: Option<Vec<i64>>,
    /// True unless it is false.
    pub(super) stream: Option<bool>,
    raw: Option<bool>,
    /// `"json"`, or a JSON schema.
    #[schemars(with = "Option<serde_json::Value>")]
    format: Option<Box<RawValue>>,
    pub(super) keep_alive: Option<KeepAlive>,
    /// In base64.
    images: Option<Vec<String>>,
    options: Option<OptionsBody>,
    pub(super) think: Option<Think>,
    truncate: Option<bool>,
    shift: Option<bool>,
    #[serde(rename = "_debug_render_only")]
    debug_render_only: Option<bool>,
    logprobs: Option<bool>,
    #[schemars(with = "Option<i64>")]
    top_logprobs: Option<Number>,
}

/// One turn of a conversation.
#[derive(Deserialize, JsonSchema)]
#[serde(default)]
#[derive(Default)]
pub(super) struct MessageBody {
    role: Option<String>,
    content: Option<String>,
    thinking: Option<String>,
    /// In base64.
    images: Option<Vec<String>>,
    tool_calls: Option<Vec<ToolCallBody>>,
    tool_name: Option<String>,
    tool_call_id: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(default)]
#[derive(Default)]
struct ToolCallBody {
    id: Option<String>,
    function: Option<CalledFunction>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(default)]
#[derive(Default)]
struct CalledFunction {
    name: Option<String>,
    /// An object.
    #[schemars(with = "Option<serde_json::Value>")]
    arguments: Option<Box<RawValue>>,
}

/// Something that the model may ask to be called.
#[derive(Deserialize, JsonSchema)]
#[serde(default)]
#[derive(Default)]
pub(super) struct ToolBody {
    function: Option<FunctionBody>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(default)]
#[derive(Default)]
struct FunctionBody {
    name: Option<String>,
    description: Option<String>,
    /// A JSON schema.
    #[schemars(with = "Option<serde_json::Value>")]
    parameters: Option<Box<RawValue>>,
}

impl ChatBody {
    /// The contract's message, under this request id. `most`: how long this server keeps a model loaded.
    pub(super) fn into_wire(self, request_id: String, most: Duration) -> Result<wire::ChatRequest, CallError> {
        let mut wrong = Violations::default();
        refuse_unsupported(self.shift, self.debug_render_only, &mut wrong);
        let (options, max_output_tokens) = self.options.unwrap_or_default().into_wire(&mut wrong);
        let messages = self.messages.unwrap_or_default();
        let request = wire::ChatRequest {
            model: self.model.unwrap_or_default(),
            messages: messages.into_iter().enumerate().map(|(index, message)| message.into_wire(index, &mut wrong)).collect(),
            max_output_tokens,
            options: Some(options),
            format: format(self.format.as_deref(), &mut wrong),
            tools: self.tools.unwrap_or_default().into_iter().map(ToolBody::into_wire).collect(),
            think: self.think.and_then(|think| think.to_wire(&mut wrong)),
            top_logprobs: top_logprobs(self.logprobs, self.top_logprobs.as_ref(), &mut wrong),
            stream: None,
            request_id,
            require_full: false,
            truncate: self.truncate,
            keep_alive: keep_alive(self.keep_alive.as_ref(), most, &mut wrong),
        };
        if wrong.is_empty() { Ok(request) } else { Err(wrong.refuse()) }
    }
}

impl GenerateBody {
    /// The same for a bare prompt.
    pub(super) fn into_wire(self, request_id: String, most: Duration) -> Result<wire::GenerateRequest, CallError> {
        let mut wrong = Violations::default();
        refuse_unsupported(self.shift, self.debug_render_only, &mut wrong);
        let has_template = self.template.is_some_and(|template| !template.is_empty());
        let has_context = self.context.is_some_and(|context| !context.is_empty());
        refuse_asked(REFUSED, &[("template", has_template), ("context", has_context)], &mut wrong);
        let (options, max_output_tokens) = self.options.unwrap_or_default().into_wire(&mut wrong);
        let request = wire::GenerateRequest {
            model: self.model.unwrap_or_default(),
            prompt: self.prompt.unwrap_or_default(),
            suffix: self.suffix.unwrap_or_default(),
            // Ollama takes an empty one for none.
            system: self.system.filter(|system| !system.is_empty()),
            images: images("images", self.images, &mut wrong),
            raw: self.raw.unwrap_or_default(),
            max_output_tokens,
            options: Some(options),
            format: format(self.format.as_deref(), &mut wrong),
            think: self.think.and_then(|think| think.to_wire(&mut wrong)),
            top_logprobs: top_logprobs(self.logprobs, self.top_logprobs.as_ref(), &mut wrong),
            stream: None,
            request_id,
            require_full: false,
            truncate: self.truncate,
            keep_alive: keep_alive(self.keep_alive.as_ref(), most, &mut wrong),
        };
        if wrong.is_empty() { Ok(request) } else { Err(wrong.refuse()) }
    }
}

impl MessageBody {
    fn into_wire(self, index: usize, wrong: &mut Violations) -> wire::Message {
        let call = |call: ToolCallBody| {
            let function = call.function.unwrap_or_default();
            let arguments_json = function.arguments.map(|arguments| arguments.get().to_owned()).unwrap_or_default();
            wire::ToolCall { id: call.id.unwrap_or_default(), name: function.name.unwrap_or_default(), arguments_json }
        };
        wire::Message {
            // As Ollama reads it, in any case.
            role: self.role.unwrap_or_default().to_lowercase(),
            content: self.content.unwrap_or_default(),
            thinking: self.thinking.unwrap_or_default(),
            images: images(&format!("messages[{index}].images"), self.images, wrong),
            tool_calls: self.tool_calls.unwrap_or_default().into_iter().map(call).collect(),
            tool_name: self.tool_name.unwrap_or_default(),
            tool_call_id: self.tool_call_id.unwrap_or_default(),
        }
    }
}

impl ToolBody {
    fn into_wire(self) -> wire::Tool {
        let FunctionBody { name, description, parameters } = self.function.unwrap_or_default();
        wire::Tool {
            name: name.unwrap_or_default(),
            description: description.unwrap_or_default(),
            parameters_json: parameters.map(|parameters| parameters.get().to_owned()).unwrap_or_default(),
        }
    }
}

fn refuse_unsupported(shift: Option<bool>, debug_render_only: Option<bool>, wrong: &mut Violations) {
    refuse_asked(REFUSED, &[("shift", shift == Some(false)), ("_debug_render_only", debug_render_only == Some(true))], wrong);
}

fn images(field: &str, sent: Option<Vec<String>>, wrong: &mut Violations) -> Vec<Vec<u8>> {
    let image = |(index, text): (usize, String)| {
        wrong.take(&format!("{field}[{index}]"), STANDARD.decode(text).map_err(|_| "must be a picture in base64".to_owned()))
    };
    sent.unwrap_or_default().into_iter().enumerate().filter_map(image).collect()
}

fn format(sent: Option<&RawValue>, wrong: &mut Violations) -> Option<wire::Format> {
    let kind = match sent?.get() {
        // As Ollama takes them: for none.
        r#""""# | "null" => return None,
        r#""json""# => wire::format::Kind::Json(true),
        schema if schema.starts_with('{') => wire::format::Kind::JsonSchema(schema.to_owned()),
        _ => {
            wrong.add("format", "must be \"json\" or a JSON schema");
            return None;
        }
    };
    Some(wire::Format { kind: Some(kind) })
}

/// Ollama gives alternatives only where log probabilities are asked for.
fn top_logprobs(logprobs: Option<bool>, top: Option<&Number>, wrong: &mut Violations) -> Option<u32> {
    let top = top.map(whole).unwrap_or_default();
    if !(0..=20).contains(&top) {
        wrong.add("top_logprobs", "must be from 0 to 20");
    }
    logprobs.unwrap_or_default().then(|| u32::try_from(top).unwrap_or_default())
}

pub(super) fn keep_alive(sent: Option<&KeepAlive>, most: Duration, wrong: &mut Violations) -> Option<prost_types::Duration> {
    let wanted = sent?.to_wire(most);
    if wanted.is_none() {
        wrong.add("keep_alive", "must be a number of seconds, or a duration such as \"5m\"");
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_AN_HOUR: Duration = Duration::from_secs(1800);

    fn chat(json: &str) -> Result<wire::ChatRequest, Vec<String>> {
        let body: ChatBody = serde_json::from_str(json).unwrap();
        body.into_wire("r".to_owned(), HALF_AN_HOUR).map_err(fields)
    }

    fn generate(json: &str) -> Result<wire::GenerateRequest, Vec<String>> {
        let body: GenerateBody = serde_json::from_str(json).unwrap();
        body.into_wire(String::new(), HALF_AN_HOUR).map_err(fields)
    }

    fn fields(error: CallError) -> Vec<String> {
        shared::error::violations_of(&error.into()).into_iter().map(|(field, _)| field).collect()
    }

    #[test]
    fn a_chat_of_any_client_becomes_the_contracts() {
        let sent = chat(
            r#"{"model":"m:latest","messages":[{"role":"System","content":"s"},{"role":"user","content":"u","images":["AQID"]},
                {"role":"assistant","content":null,"thinking":"hm",
                    "tool_calls":[{"id":"c","function":{"index":0,"name":"f","arguments":{"z":1.0,"a":2}}}]},
                {"role":"tool","content":"r","tool_name":"f","tool_call_id":"c"}],"stream":false,"format":{"type": "object"},
                "tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}},
                    {"function":{"name":"g"}}],"keep_alive":"10m",
                "options":{"temperature":0.5,"num_predict":9},"think":"high","truncate":false,"shift":true,"logprobs":true,"top_logprobs":3,
                "something_newer":[1]}"#,
        )
        .unwrap();
        let roles: Vec<_> = sent.messages.iter().map(|message| message.role.as_str()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "tool"]);
        assert_eq!(sent.messages[1].images, [vec![1, 2, 3]]);
        assert_eq!(sent.messages[2].tool_calls[0].arguments_json, r#"{"z":1.0,"a":2}"#);
        assert_eq!((sent.messages[3].tool_name.as_str(), sent.messages[3].tool_call_id.as_str()), ("f", "c"));
        assert_eq!((sent.tools[0].parameters_json.as_str(), sent.tools[1].parameters_json.as_str()), (r#"{"type":"object"}"#, ""));
        assert_eq!(sent.format.unwrap().kind, Some(wire::format::Kind::JsonSchema(r#"{"type": "object"}"#.to_owned())));
        assert_eq!((sent.think.as_deref(), sent.top_logprobs, sent.max_output_tokens), (Some("high"), Some(3), Some(9)));
        assert_eq!((sent.truncate, sent.request_id.as_str(), sent.keep_alive.unwrap().seconds), (Some(false), "r", 600));
    }

    #[test]
    fn what_is_null_or_empty_is_left_out_as_gos_client_sends_it() {
        let sent = generate(
            r#"{"model":"m","prompt":"p","suffix":"","system":"","template":"","context":null,"options":null,"format":"","images":[],
                "think":null,"keep_alive":null,"raw":null,"logprobs":null,"top_logprobs":null}"#,
        )
        .unwrap();
        let plain = wire::GenerateRequest {
            model: "m".to_owned(),
            prompt: "p".to_owned(),
            options: Some(wire::Options::default()),
            ..Default::default()
        };
        assert_eq!(sent, plain);
        let sent =
            chat(r#"{"model":"m","messages":[{"role":"user","content":"u","images":null,"tool_calls":null}],"format":null,"tools":null}"#);
        assert_eq!(sent.unwrap().messages.len(), 1);
    }

    #[test]
    fn json_think_and_log_probabilities_are_read_as_ollama_reads_them() {
        let with = |rest: &str| chat(&format!(r#"{{"model":"m","messages":[],{rest}}}"#)).unwrap();
        assert_eq!(with(r#""format":"json""#).format.unwrap().kind, Some(wire::format::Kind::Json(true)));
        for (think, word) in [("true", "on"), ("false", "off"), (r#""low""#, "low"), (r#""max""#, "max")] {
            assert_eq!(with(&format!(r#""think":{think}"#)).think.as_deref(), Some(word));
        }
        assert_eq!(with(r#""logprobs":true"#).top_logprobs, Some(0));
        assert_eq!(with(r#""top_logprobs":5"#).top_logprobs, None, "without logprobs it gives nothing");
    }

    #[test]
    fn what_can_not_be_done_is_refused_by_its_path() {
        let wrong = chat(
            r#"{"model":"m","messages":[{"role":"user","images":["AQID","§"]}],"format":"xml","think":"enormous","keep_alive":"soon",
                "top_logprobs":21,"shift":false,"_debug_render_only":true,"options":{"mirostat":1}}"#,
        );
        let expected =
            ["shift", "_debug_render_only", "options.mirostat", "messages[0].images[1]", "format", "think", "top_logprobs", "keep_alive"];
        assert_eq!(wrong.unwrap_err(), expected);
        let wrong = generate(r#"{"model":"m","prompt":"p","template":"{{ .Prompt }}","context":[1,2]}"#);
        assert_eq!(wrong.unwrap_err(), ["template", "context"]);
    }
}

//! The request for an answer.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::engine::EngineError;
use crate::prompt::{Format, Message, Options, Prompt, Task, Think, Tool};

/// The endpoint that answers a prompt, and the body to post there: one JSON object.
pub(in crate::engine::ollama) fn answer_request(
    prompt: &Prompt,
    max_output_tokens: u32,
    num_ctx: Option<u32>,
    max_keep_alive: Option<Duration>,
) -> Result<(&'static str, Vec<u8>), EngineError> {
    let common = CommonParams {
        // Always streamed, whatever the caller wants: only a stream can be stopped, and shows that the model is alive.
        stream: true,
        format: prompt.format.as_ref(),
        think: prompt.think,
        keep_alive: prompt.keep_alive.map(|wanted| Seconds::at_most(wanted, max_keep_alive)),
        truncate: prompt.truncate,
        logprobs: prompt.top_logprobs.is_some(),
        top_logprobs: prompt.top_logprobs,
        // The bound comes last, so that nothing in the same object can raise it; Ollama drops 0, and takes less than 0 for no bound.
        options: OptionsBody { options: &prompt.options, num_ctx, num_predict: max_output_tokens.max(1) },
    };
    match &prompt.task {
        Task::Chat { messages, tools } => {
            let messages = messages.iter().map(message_body).collect::<Result<Vec<_>, _>>()?;
            Ok((
                "/api/chat",
                encode(&ChatBody { model: prompt.model.as_str(), messages, tools: tools.iter().map(ToolBody::new).collect(), common })?,
            ))
        }
        Task::Generate { prompt: text, suffix, system, images, raw } => {
            let body = GenerateBody {
                model: prompt.model.as_str(),
                prompt: text,
                suffix,
                system: system.as_deref(),
                images: Images(images),
                raw: *raw,
                common,
            };
            Ok(("/api/generate", encode(&body)?))
        }
    }
}

/// A body to post.
pub(in crate::engine::ollama) fn encode(body: &impl Serialize) -> Result<Vec<u8>, EngineError> {
    serde_json::to_vec(body).map_err(|error| EngineError::Protocol { detail: format!("the request can't be written: {error}") })
}

#[derive(Serialize)]
struct ChatBody<'a> {
    model: &'a str,
    messages: Vec<MessageBody<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolBody<'a>>,
    #[serde(flatten)]
    common: CommonParams<'a>,
}

#[derive(Serialize)]
struct GenerateBody<'a> {
    model: &'a str,
    prompt: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    suffix: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'a str>,
    #[serde(skip_serializing_if = "Images::is_empty")]
    images: Images<'a>,
    #[serde(skip_serializing_if = "is_false")]
    raw: bool,
    #[serde(flatten)]
    common: CommonParams<'a>,
}

/// The parameters that both requests have.
#[derive(Serialize)]
struct CommonParams<'a> {
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "format_body")]
    format: Option<&'a Format>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "think_body")]
    think: Option<Think>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_alive: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncate: Option<bool>,
    // Without it Ollama ignores top_logprobs.
    #[serde(skip_serializing_if = "is_false")]
    logprobs: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u8>,
    options: OptionsBody<'a>,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn format_body<S: Serializer>(format: &Option<&Format>, serializer: S) -> Result<S::Ok, S::Error> {
    match format {
        Some(Format::Json) => serializer.serialize_str("json"),
        Some(Format::Schema(schema)) => schema.serialize(serializer),
        None => serializer.serialize_none(),
    }
}

fn think_body<S: Serializer>(think: &Option<Think>, serializer: S) -> Result<S::Ok, S::Error> {
    match think {
        Some(Think::Off) => serializer.serialize_bool(false),
        Some(Think::On) => serializer.serialize_bool(true),
        Some(Think::Low) => serializer.serialize_str("low"),
        Some(Think::Medium) => serializer.serialize_str("medium"),
        Some(Think::High) => serializer.serialize_str("high"),
        Some(Think::Max) => serializer.serialize_str("max"),
        None => serializer.serialize_none(),
    }
}

/// A time as Go writes it.
pub(in crate::engine::ollama) struct Seconds(Duration);

impl Seconds {
    /// How long a model stays loaded, at most as long as may be.
    pub(in crate::engine::ollama) fn at_most(wanted: Duration, most: Option<Duration>) -> Self {
        Self(most.map_or(wanted, |most| wanted.min(most)))
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.subsec_nanos() == 0 {
            serializer.collect_str(&format_args!("{}s", self.0.as_secs()))
        } else {
            serializer.collect_str(&format_args!("{}ms", self.0.as_millis().max(1)))
        }
    }
}

/// The one option that embeddings have.
#[derive(Serialize)]
pub(in crate::engine::ollama) struct OnlyContext {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::engine::ollama) num_ctx: Option<u32>,
}

struct OptionsBody<'a> {
    options: &'a Options,
    /// Instead of the caller's.
    num_ctx: Option<u32>,
    num_predict: u32,
}

impl Serialize for OptionsBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Options {
            temperature,
            top_p,
            min_p,
            repeat_penalty,
            presence_penalty,
            frequency_penalty,
            typical_p,
            repeat_last_n,
            top_k,
            seed,
            num_ctx: _,
            stop,
        } = self.options;
        let mut map = serializer.serialize_map(None)?;
        let floats = [
            ("temperature", temperature),
            ("top_p", top_p),
            ("min_p", min_p),
            ("repeat_penalty", repeat_penalty),
            ("presence_penalty", presence_penalty),
            ("frequency_penalty", frequency_penalty),
            ("typical_p", typical_p),
        ];
        for (name, value) in floats {
            if let Some(value) = value {
                map.serialize_entry(name, value)?;
            }
        }
        if let Some(repeat_last_n) = repeat_last_n {
            map.serialize_entry("repeat_last_n", repeat_last_n)?;
        }
        if let Some(top_k) = top_k {
            map.serialize_entry("top_k", top_k)?;
        }
        if let Some(seed) = seed {
            map.serialize_entry("seed", seed)?;
        }
        if let Some(num_ctx) = &self.num_ctx {
            map.serialize_entry("num_ctx", num_ctx)?;
        }
        if !stop.is_empty() {
            map.serialize_entry("stop", stop)?;
        }
        map.serialize_entry("num_predict", &self.num_predict)?;
        map.end()
    }
}

/// Images in base64, made as they are written.
struct Images<'a>(&'a [Vec<u8>]);

impl Images<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Images<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for image in self.0 {
            list.serialize_element(&STANDARD.encode(image))?;
        }
        list.end()
    }
}

#[derive(Serialize)]
struct MessageBody<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    thinking: &'a str,
    #[serde(skip_serializing_if = "Images::is_empty")]
    images: Images<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCallBody<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    tool_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    tool_call_id: &'a str,
}

#[derive(Serialize)]
struct ToolCallBody<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    function: FunctionCallBody<'a>,
}

#[derive(Serialize)]
struct FunctionCallBody<'a> {
    index: usize,
    name: &'a str,
    arguments: &'a RawValue,
}

fn message_body(message: &Message) -> Result<MessageBody<'_>, EngineError> {
    let calls = message.tool_calls.iter().enumerate().map(|(index, call)| {
        let text = if call.arguments_json.trim().is_empty() { "{}" } else { &call.arguments_json };
        // Read as JSON, though not changed: what isn't JSON would end the object around it.
        let arguments = serde_json::from_str::<&RawValue>(text).ok().filter(|json| json.get().starts_with('{'));
        let arguments =
            arguments.ok_or_else(|| EngineError::Rejected { detail: "a tool call's arguments are not a JSON object".to_owned() })?;
        Ok(ToolCallBody { id: &call.id, function: FunctionCallBody { index, name: &call.name, arguments } })
    });
    Ok(MessageBody {
        role: message.role.as_str(),
        content: &message.content,
        thinking: &message.thinking,
        images: Images(&message.images),
        tool_calls: calls.collect::<Result<_, EngineError>>()?,
        tool_name: &message.tool_name,
        tool_call_id: &message.tool_call_id,
    })
}

#[derive(Serialize)]
struct ToolBody<'a> {
    r#type: &'static str,
    function: FunctionBody<'a>,
}

#[derive(Serialize)]
struct FunctionBody<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: Parameters<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Parameters<'a> {
    Verbatim(&'a RawValue),
    // Templates print what is in it; left out it would be printed as an object full of nulls.
    None { r#type: &'static str, properties: serde_json::Map<String, serde_json::Value> },
}

impl<'a> ToolBody<'a> {
    fn new(tool: &'a Tool) -> Self {
        let parameters = match &tool.parameters {
            Some(parameters) => Parameters::Verbatim(parameters),
            None => Parameters::None { r#type: "object", properties: serde_json::Map::new() },
        };
        Self { r#type: "function", function: FunctionBody { name: &tool.name, description: &tool.description, parameters } }
    }
}

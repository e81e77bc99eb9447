//! The recorded requests, in our contract.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use integration::recorded::Exchange;
use integration::stack::chat_request;
use serde_json::{Map, Value};
use shared::proto::inference;

/// One call of our contract.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Chat(inference::ChatRequest),
    Generate(inference::GenerateRequest),
    Embed(inference::EmbedRequest),
    ListModels,
    ShowModel(String),
    CreateModel { model: String, modelfile: String },
    DeleteModel(String),
}

impl Call {
    /// One that nothing is wrong with.
    pub(crate) fn plain(path: &str) -> Self {
        match path {
            "/api/chat" => Self::Chat(inference::ChatRequest { max_output_tokens: None, ..chat_request("smollm2", "hi") }),
            "/api/generate" => {
                Self::Generate(inference::GenerateRequest { model: "smollm2".into(), prompt: "hi".into(), ..Default::default() })
            }
            "/api/embed" => {
                Self::Embed(inference::EmbedRequest { model: "smollm2".into(), inputs: vec!["hi".into()], ..Default::default() })
            }
            "/api/tags" => Self::ListModels,
            "/api/show" => Self::ShowModel("smollm2".into()),
            "/api/create" => Self::CreateModel { model: "x".into(), modelfile: "FROM smollm2".into() },
            "/api/delete" => Self::DeleteModel("smollm2".into()),
            path => panic!("{path}"),
        }
    }

    /// The recorded request in our contract, right or wrong; `None` when it can't be said there.
    pub(crate) fn recorded(exchange: &Exchange) -> Option<Self> {
        let body = exchange.request.json();
        let model = || body.get("model").map_or(Some(""), Value::as_str).map(str::to_owned);
        match (exchange.request.method.as_str(), exchange.request.path.as_str()) {
            ("POST", "/api/chat") => chat_of(body.as_object()?).map(Self::Chat),
            ("POST", "/api/generate") => generate_of(body.as_object()?).map(Self::Generate),
            ("POST", "/api/embed") => embed_of(body.as_object()?).map(Self::Embed),
            ("GET", "/api/tags") => Some(Self::ListModels),
            ("POST", "/api/show") => model().map(Self::ShowModel),
            ("POST", "/api/create") => Some(Self::CreateModel { model: model()?, modelfile: modelfile_of(body.as_object()?)? }),
            ("DELETE", "/api/delete") => model().map(Self::DeleteModel),
            _ => None,
        }
    }

    /// The estimate of the prompt's tokens: four bytes are about one, and each message adds four.
    pub(crate) fn input_estimate(&self) -> i64 {
        let (bytes, messages) = match self {
            Self::Chat(request) => (request.messages.iter().map(|message| message.content.len()).sum::<usize>(), request.messages.len()),
            Self::Generate(request) => (request.prompt.len(), 1),
            Self::Embed(_) | Self::ListModels | Self::ShowModel(_) | Self::CreateModel { .. } | Self::DeleteModel(_) => (0, 0),
        };
        i64::try_from(bytes.div_ceil(4) + 4 * messages).unwrap()
    }

    pub(crate) fn wants_one_delta(&self) -> bool {
        match self {
            Self::Chat(request) => request.stream == Some(false),
            Self::Generate(request) => request.stream == Some(false),
            Self::Embed(_) | Self::ListModels | Self::ShowModel(_) | Self::CreateModel { .. } | Self::DeleteModel(_) => false,
        }
    }
}

/// A text; absent is empty, another type can't be said.
fn text(value: Option<&Value>) -> Option<String> {
    value.map_or(Some(""), Value::as_str).map(str::to_owned)
}

fn chat_of(body: &Map<String, Value>) -> Option<inference::ChatRequest> {
    let mut request = inference::ChatRequest { model: text(body.get("model"))?, ..Default::default() };
    for (key, value) in body {
        match key.as_str() {
            "model" | "logprobs" => {}
            "messages" => request.messages = value.as_array()?.iter().map(message_of).collect::<Option<_>>()?,
            "tools" => request.tools = value.as_array()?.iter().map(tool_of).collect::<Option<_>>()?,
            "options" => (request.options, request.max_output_tokens) = options_of(value.as_object()?)?,
            "format" => request.format = Some(format_of(value)),
            "think" => request.think = Some(think_of(value)?),
            "top_logprobs" => request.top_logprobs = Some(value.as_u64()?.try_into().ok()?),
            "stream" => request.stream = Some(value.as_bool()?),
            "truncate" => request.truncate = Some(value.as_bool()?),
            "keep_alive" => request.keep_alive = Some(keep_alive_of(value)?),
            _ => return None,
        }
    }
    if body.contains_key("logprobs") {
        request.top_logprobs.get_or_insert(0);
    }
    Some(request)
}

fn generate_of(body: &Map<String, Value>) -> Option<inference::GenerateRequest> {
    let mut request = inference::GenerateRequest { model: text(body.get("model"))?, ..Default::default() };
    for (key, value) in body {
        match key.as_str() {
            "model" => {}
            "prompt" => request.prompt = text(Some(value))?,
            "suffix" => request.suffix = text(Some(value))?,
            "system" => request.system = Some(text(Some(value))?),
            "raw" => request.raw = value.as_bool()?,
            "options" => (request.options, request.max_output_tokens) = options_of(value.as_object()?)?,
            "stream" => request.stream = Some(value.as_bool()?),
            "keep_alive" => request.keep_alive = Some(keep_alive_of(value)?),
            _ => return None,
        }
    }
    Some(request)
}

/// One text is a list of one, and an empty one is none: that is the door's to say.
fn embed_of(body: &Map<String, Value>) -> Option<inference::EmbedRequest> {
    let mut request = inference::EmbedRequest { model: text(body.get("model"))?, ..Default::default() };
    for (key, value) in body {
        match (key.as_str(), value) {
            ("model", _) => {}
            ("input", Value::String(one)) if one.is_empty() => {}
            ("input", Value::String(one)) => request.inputs = vec![one.clone()],
            ("input", value) => request.inputs = value.as_array()?.iter().map(|one| text(Some(one))).collect::<Option<_>>()?,
            ("dimensions", value) => request.dimensions = Some(value.as_u64()?.try_into().ok()?),
            _ => return None,
        }
    }
    Some(request)
}

fn message_of(value: &Value) -> Option<inference::Message> {
    let mut message = inference::Message::default();
    for (key, value) in value.as_object()? {
        match key.as_str() {
            "role" => message.role = text(Some(value))?,
            "content" => message.content = text(Some(value))?,
            "tool_name" => message.tool_name = text(Some(value))?,
            "images" => {
                message.images = value.as_array()?.iter().map(|image| STANDARD.decode(image.as_str()?).ok()).collect::<Option<_>>()?
            }
            "tool_calls" => {
                let call = |call: &Value| {
                    let (name, arguments_json) = (text(call.pointer("/function/name"))?, call.pointer("/function/arguments")?.to_string());
                    Some(inference::ToolCall { id: text(call.get("id"))?, name, arguments_json })
                };
                message.tool_calls = value.as_array()?.iter().map(call).collect::<Option<_>>()?;
            }
            _ => return None,
        }
    }
    Some(message)
}

fn tool_of(value: &Value) -> Option<inference::Tool> {
    let function = value.get("function")?;
    let parameters_json = function.get("parameters").map(Value::to_string).unwrap_or_default();
    Some(inference::Tool { name: text(function.get("name"))?, description: text(function.get("description"))?, parameters_json })
}

/// Options, and the bound on tokens, which is none of them in our contract.
fn options_of(body: &Map<String, Value>) -> Option<(Option<inference::Options>, Option<u32>)> {
    let (mut options, mut max_output_tokens) = (inference::Options::default(), None);
    #[expect(clippy::cast_possible_truncation, reason = "the recorded ones are short decimals")]
    let float = |value: &Value| value.as_f64().map(|value| value as f32);
    for (key, value) in body {
        match key.as_str() {
            "num_predict" => max_output_tokens = Some(value.as_u64()?.try_into().ok()?),
            "temperature" => options.temperature = Some(float(value)?),
            "repeat_penalty" => options.repeat_penalty = Some(float(value)?),
            "seed" => options.seed = Some(value.as_i64()?),
            "num_ctx" => options.num_ctx = Some(value.as_u64()?.try_into().ok()?),
            "stop" => options.stop = value.as_array()?.iter().map(|stop| text(Some(stop))).collect::<Option<_>>()?,
            _ => return None,
        }
    }
    Some((Some(options), max_output_tokens))
}

pub(crate) fn format_of(value: &Value) -> inference::Format {
    let kind = if value == "json" { inference::format::Kind::Json(true) } else { inference::format::Kind::JsonSchema(value.to_string()) };
    inference::Format { kind: Some(kind) }
}

fn think_of(value: &Value) -> Option<String> {
    match value {
        Value::Bool(true) => Some("on".to_owned()),
        Value::Bool(false) => Some("off".to_owned()),
        value => text(Some(value)),
    }
}

fn keep_alive_of(value: &Value) -> Option<prost_types::Duration> {
    let seconds = value.as_i64().or_else(|| value.as_str()?.strip_suffix('s')?.parse().ok())?;
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn modelfile_of(body: &Map<String, Value>) -> Option<String> {
    let mut modelfile = body.get("from").and_then(Value::as_str).map_or(String::new(), |from| format!("FROM {from}\n"));
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for (key, value) in body {
        match key.as_str() {
            "model" | "from" | "stream" => {}
            "system" => modelfile += &format!("SYSTEM \"\"\"{}\"\"\"\n", value.as_str()?),
            "template" => modelfile += &format!("TEMPLATE \"\"\"{}\"\"\"\n", value.as_str()?),
            "parameters" => {
                for (name, value) in value.as_object()? {
                    for value in value.as_array().unwrap_or(&vec![value.clone()]) {
                        modelfile += &format!("PARAMETER {name} {}\n", plain(value));
                    }
                }
            }
            "messages" => {
                for message in value.as_array()? {
                    modelfile += &format!("MESSAGE {} {}\n", text(message.get("role"))?, text(message.get("content"))?);
                }
            }
            _ => return None,
        }
    }
    Some(modelfile)
}

//! From the wire's types to a checked [`Prompt`]; every refusal names the field and says what it takes.

use std::time::Duration;

use prost_types::Duration as WireDuration;
use serde_json::value::RawValue;
use shared::ErrorReason;
use shared::error::CallError;
use shared::proto::inference as wire;
use tonic::Code;

use super::{ChatRole, Format, Message, ModelName, Options, Prompt, PromptLimits, Task, Think, Tool, ToolCall};

const MAX_MESSAGES: usize = 10_000;
const MAX_TOOLS: usize = 256;
const MAX_IMAGES: usize = 64;
const MAX_STOPS: usize = 16;

impl Prompt {
    /// Checks a ChatRequest.
    pub fn from_chat(request: wire::ChatRequest, limits: &PromptLimits) -> Result<Self, CallError> {
        let model = model(&request.model, limits)?;
        if request.messages.is_empty() {
            return refuse("messages must hold at least one message");
        }
        if request.messages.len() > MAX_MESSAGES {
            return refuse(format!("messages must be at most {MAX_MESSAGES}"));
        }
        if request.tools.len() > MAX_TOOLS {
            return refuse(format!("tools must be at most {MAX_TOOLS}"));
        }
        let messages: Vec<Message> =
            request.messages.into_iter().enumerate().map(|(index, sent)| message(index, sent)).collect::<Result<_, _>>()?;
        if messages.iter().map(|message| message.images.len()).sum::<usize>() > MAX_IMAGES {
            return refuse(format!("images must be at most {MAX_IMAGES} in all messages together"));
        }
        let tools = request.tools.into_iter().enumerate().map(|(index, sent)| tool(index, sent)).collect::<Result<_, _>>()?;
        Ok(Self {
            model,
            task: Task::Chat { messages, tools },
            options: options(request.options, limits)?,
            format: format(request.format)?,
            think: think(request.think)?,
            top_logprobs: top_logprobs(request.top_logprobs)?,
            max_output_tokens: output_bound(request.max_output_tokens, request.require_full, limits)?,
            truncate: request.truncate,
            keep_alive: keep_alive(request.keep_alive, limits)?,
        })
    }

    /// Checks a GenerateRequest.
    pub fn from_generate(request: wire::GenerateRequest, limits: &PromptLimits) -> Result<Self, CallError> {
        let model = model(&request.model, limits)?;
        if request.prompt.is_empty() {
            return refuse("prompt is required");
        }
        if request.system.as_deref() == Some("") {
            // Ollama takes it for unset, and the model's own would be used.
            return refuse("system must not be empty; leave it unset for the model's own");
        }
        if request.raw && request.system.is_some() {
            return refuse("system can't be given with raw: a raw prompt goes to the model as it is");
        }
        if request.images.len() > MAX_IMAGES {
            return refuse(format!("images must be at most {MAX_IMAGES}"));
        }
        for (index, image) in request.images.iter().enumerate() {
            check_image(&format!("images[{index}]"), image)?;
        }
        Ok(Self {
            model,
            task: Task::Generate {
                prompt: request.prompt,
                suffix: request.suffix,
                system: request.system,
                images: request.images,
                raw: request.raw,
            },
            options: options(request.options, limits)?,
            format: format(request.format)?,
            think: think(request.think)?,
            top_logprobs: top_logprobs(request.top_logprobs)?,
            max_output_tokens: output_bound(request.max_output_tokens, request.require_full, limits)?,
            truncate: request.truncate,
            keep_alive: keep_alive(request.keep_alive, limits)?,
        })
    }
}

/// Parses a model's name for use: a cloud model is refused unless allowed.
pub(crate) fn model(name: &str, limits: &PromptLimits) -> Result<ModelName, CallError> {
    let model = ModelName::parse(name).map_err(CallError::invalid_argument)?;
    if model.is_cloud() && !limits.allow_cloud_models {
        let message = "models that run elsewhere on the operator's account are not allowed on this server";
        return Err(CallError::new(Code::PermissionDenied, ErrorReason::CloudModelNotAllowed, message));
    }
    Ok(model)
}

fn refuse<T>(message: impl Into<String>) -> Result<T, CallError> {
    Err(CallError::invalid_argument(message))
}

fn message(index: usize, sent: wire::Message) -> Result<Message, CallError> {
    let field = format!("messages[{index}]");
    let Some(role) = ChatRole::parse(&sent.role) else {
        return refuse(format!("{field}.role must be system, user, assistant or tool"));
    };
    if role != ChatRole::Assistant && !(sent.tool_calls.is_empty() && sent.thinking.is_empty()) {
        return refuse(format!("{field}: tool_calls and thinking belong to an assistant's message"));
    }
    if role != ChatRole::Tool && !(sent.tool_name.is_empty() && sent.tool_call_id.is_empty()) {
        return refuse(format!("{field}: tool_name and tool_call_id belong to a tool's message"));
    }
    for (number, image) in sent.images.iter().enumerate() {
        check_image(&format!("{field}.images[{number}]"), image)?;
    }
    let call = |(number, call): (usize, wire::ToolCall)| {
        if call.name.is_empty() {
            return refuse(format!("{field}.tool_calls[{number}].name is required"));
        }
        let arguments_json = if call.arguments_json.is_empty() { "{}".to_owned() } else { call.arguments_json };
        json_object(&format!("{field}.tool_calls[{number}].arguments_json"), &arguments_json)?;
        Ok(ToolCall { id: call.id, name: call.name, arguments_json })
    };
    Ok(Message {
        role,
        content: sent.content,
        thinking: sent.thinking,
        images: sent.images,
        tool_calls: sent.tool_calls.into_iter().enumerate().map(call).collect::<Result<_, _>>()?,
        tool_name: sent.tool_name,
        tool_call_id: sent.tool_call_id,
    })
}

fn tool(index: usize, sent: wire::Tool) -> Result<Tool, CallError> {
    if sent.name.is_empty() {
        return refuse(format!("tools[{index}].name is required"));
    }
    let parameters = match sent.parameters_json.as_str() {
        "" => None,
        json => Some(json_object(&format!("tools[{index}].parameters_json"), json)?),
    };
    Ok(Tool { name: sent.name, description: sent.description, parameters })
}

fn check_image(field: &str, image: &[u8]) -> Result<(), CallError> {
    let png = image.starts_with(b"\x89PNG\r\n\x1a\n");
    let jpeg = image.starts_with(b"\xff\xd8\xff");
    let webp = image.starts_with(b"RIFF") && image.get(8..12) == Some(b"WEBP");
    if png || jpeg || webp { Ok(()) } else { refuse(format!("{field} must be a PNG, JPEG or WebP picture, as bytes")) }
}

fn json_object(field: &str, json: &str) -> Result<Box<RawValue>, CallError> {
    match serde_json::from_str::<Box<RawValue>>(json) {
        Ok(value) if value.get().starts_with('{') => Ok(value),
        Ok(_) => refuse(format!("{field} must be a JSON object")),
        Err(error) => refuse(format!("{field} must be a JSON object: line {}, column {}", error.line(), error.column())),
    }
}

fn options(sent: Option<wire::Options>, limits: &PromptLimits) -> Result<Options, CallError> {
    let Some(sent) = sent else { return Ok(Options::default()) };
    let check = |valid: bool, expected: &str| if valid { Ok(()) } else { refuse(format!("options.{expected}")) };
    let in_unit = |value: Option<f32>| value.is_none_or(|value| (0.0..=1.0).contains(&value));
    check(sent.temperature.is_none_or(|value| value.is_finite() && value >= 0.0), "temperature must be 0 or more")?;
    check(in_unit(sent.top_p), "top_p must be from 0 to 1")?;
    check(in_unit(sent.min_p), "min_p must be from 0 to 1")?;
    check(sent.repeat_penalty.is_none_or(|value| value.is_finite() && value > 0.0), "repeat_penalty must be above 0")?;
    check(sent.top_k.is_none_or(|value| value >= 0), "top_k must be 0 or more")?;
    let cap = limits.max_context_tokens;
    check(sent.num_ctx.is_none_or(|value| (1..=cap).contains(&value)), &format!("num_ctx must be from 1 to {cap}, this server's cap"))?;
    check(sent.stop.len() <= MAX_STOPS, &format!("stop must be at most {MAX_STOPS} sequences"))?;
    check(sent.stop.iter().all(|stop| !stop.is_empty()), "stop must hold no empty sequence")?;
    Ok(Options {
        temperature: sent.temperature,
        top_p: sent.top_p,
        min_p: sent.min_p,
        repeat_penalty: sent.repeat_penalty,
        top_k: sent.top_k,
        seed: sent.seed,
        num_ctx: sent.num_ctx,
        stop: sent.stop,
    })
}

fn format(sent: Option<wire::Format>) -> Result<Option<Format>, CallError> {
    match sent.and_then(|format| format.kind) {
        None => Ok(None),
        Some(wire::format::Kind::Json(true)) => Ok(Some(Format::Json)),
        Some(wire::format::Kind::Json(false)) => refuse("format.json must be true; leave format unset for free text"),
        Some(wire::format::Kind::JsonSchema(schema)) => Ok(Some(Format::Schema(json_object("format.json_schema", &schema)?))),
    }
}

fn think(sent: Option<String>) -> Result<Option<Think>, CallError> {
    match sent.as_deref() {
        None => Ok(None),
        Some("off") => Ok(Some(Think::Off)),
        Some("on") => Ok(Some(Think::On)),
        Some("low") => Ok(Some(Think::Low)),
        Some("medium") => Ok(Some(Think::Medium)),
        Some("high") => Ok(Some(Think::High)),
        Some("max") => Ok(Some(Think::Max)),
        Some(_) => refuse("think must be off, on, low, medium, high or max"),
    }
}

fn top_logprobs(sent: Option<u32>) -> Result<Option<u8>, CallError> {
    match sent {
        None => Ok(None),
        Some(count) => match u8::try_from(count) {
            Ok(count) if count <= 20 => Ok(Some(count)),
            _ => refuse("top_logprobs must be from 0 to 20"),
        },
    }
}

fn output_bound(sent: Option<u32>, require_full: bool, limits: &PromptLimits) -> Result<Option<u32>, CallError> {
    match sent {
        Some(0) => refuse("max_output_tokens must be 1 or more"),
        Some(tokens) if require_full && tokens > limits.max_output_tokens => {
            refuse(format!("max_output_tokens must be at most {}, this server's bound, when require_full is set", limits.max_output_tokens))
        }
        sent => Ok(sent),
    }
}

fn keep_alive(sent: Option<WireDuration>, limits: &PromptLimits) -> Result<Option<Duration>, CallError> {
    let Some(sent) = sent else { return Ok(None) };
    match Duration::try_from(sent) {
        Ok(duration) if duration <= limits.max_keep_alive => Ok(Some(duration)),
        _ => refuse(format!("keep_alive must be from 0 to {:?}, this server's bound", limits.max_keep_alive)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PromptLimits = PromptLimits {
        max_context_tokens: 8192,
        max_output_tokens: 1024,
        max_keep_alive: Duration::from_secs(1800),
        allow_cloud_models: false,
    };

    fn chat() -> wire::ChatRequest {
        let message = wire::Message { role: "user".into(), content: "hi".into(), ..Default::default() };
        wire::ChatRequest { model: "smollm2:latest".into(), messages: vec![message], ..Default::default() }
    }

    fn refusal(change: impl FnOnce(&mut wire::ChatRequest)) -> String {
        let mut request = chat();
        change(&mut request);
        let error = Prompt::from_chat(request, &LIMITS).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        error.message().to_owned()
    }

    #[test]
    fn latest_is_the_same_model_as_no_tag() {
        assert_eq!(Prompt::from_chat(chat(), &LIMITS).unwrap().model.as_str(), "smollm2");
    }

    #[test]
    fn every_spelling_that_ollama_takes_for_a_model_is_one_name() {
        for spelling in ["smollm2", "smollm2:LATEST", "library/smollm2", "registry.ollama.ai/library/smollm2:latest"] {
            let request = wire::ChatRequest { model: spelling.into(), ..chat() };
            assert_eq!(Prompt::from_chat(request, &LIMITS).unwrap().model.as_str(), "smollm2", "{spelling}");
        }
        let other = wire::ChatRequest { model: "hf.co/library/smollm2:Q4_1".into(), ..chat() };
        assert_eq!(Prompt::from_chat(other, &LIMITS).unwrap().model.as_str(), "hf.co/library/smollm2:Q4_1");
    }

    #[test]
    fn an_empty_system_prompt_is_refused_because_ollama_takes_it_for_unset() {
        let request =
            wire::GenerateRequest { model: "smollm2".into(), prompt: "hi".into(), system: Some(String::new()), ..Default::default() };
        assert!(Prompt::from_generate(request, &LIMITS).unwrap_err().message().starts_with("system"));
    }

    #[test]
    fn every_wrong_field_is_refused_by_its_name() {
        type Change = Box<dyn FnOnce(&mut wire::ChatRequest)>;
        let wrong: Vec<(&str, Change)> = vec![
            ("model", Box::new(|r| r.model.clear())),
            ("model", Box::new(|r| r.model = "../etc/passwd".into())),
            ("messages", Box::new(|r| r.messages.clear())),
            ("messages[0].role", Box::new(|r| r.messages[0].role = "robot".into())),
            ("messages[0].role", Box::new(|r| r.messages[0].role.clear())),
            ("messages[0].images[0]", Box::new(|r| r.messages[0].images.push(b"GIF89a".to_vec()))),
            ("messages[0]: tool_calls", Box::new(|r| r.messages[0].thinking = "hm".into())),
            ("options.temperature", Box::new(|r| r.options = Some(wire::Options { temperature: Some(f32::NAN), ..Default::default() }))),
            ("options.num_ctx", Box::new(|r| r.options = Some(wire::Options { num_ctx: Some(8193), ..Default::default() }))),
            ("options.stop", Box::new(|r| r.options = Some(wire::Options { stop: vec![String::new()], ..Default::default() }))),
            (
                "format.json_schema",
                Box::new(|r| r.format = Some(wire::Format { kind: Some(wire::format::Kind::JsonSchema("[1]".into())) })),
            ),
            (
                "tools[0].parameters_json",
                Box::new(|r| r.tools.push(wire::Tool { name: "t".into(), parameters_json: "{".into(), ..Default::default() })),
            ),
            ("think", Box::new(|r| r.think = Some("yes".into()))),
            ("top_logprobs", Box::new(|r| r.top_logprobs = Some(21))),
            ("max_output_tokens", Box::new(|r| r.max_output_tokens = Some(0))),
            ("keep_alive", Box::new(|r| r.keep_alive = Some(WireDuration { seconds: -1, nanos: 0 }))),
            ("keep_alive", Box::new(|r| r.keep_alive = Some(WireDuration { seconds: 1801, nanos: 0 }))),
        ];
        for (field, change) in wrong {
            let message = refusal(change);
            assert!(message.starts_with(field), "{message:?} doesn't name {field}");
        }
    }

    #[test]
    fn a_cloud_model_is_refused_unless_allowed() {
        for name in ["gpt-oss:120b-cloud", "library/qwen3-coder:480b-cloud", "glm:cloud"] {
            let request = wire::ChatRequest { model: name.into(), ..chat() };
            assert_eq!(Prompt::from_chat(request.clone(), &LIMITS).unwrap_err().reason(), ErrorReason::CloudModelNotAllowed);
            assert!(Prompt::from_chat(request, &PromptLimits { allow_cloud_models: true, ..LIMITS }).is_ok());
        }
        let request = wire::ChatRequest { model: "cloudy:7b".into(), ..chat() };
        assert!(Prompt::from_chat(request, &LIMITS).is_ok());
    }

    #[test]
    fn the_input_bound_covers_the_bytes_and_stops_at_the_cap() {
        let mut request = chat();
        request.messages[0].content = "x".repeat(5000);
        assert_eq!(Prompt::from_chat(request.clone(), &LIMITS).unwrap().max_input_tokens(&LIMITS), 5000 + 1024 + 16);
        request.messages[0].content = "x".repeat(50_000);
        assert_eq!(Prompt::from_chat(request, &LIMITS).unwrap().max_input_tokens(&LIMITS), 8192);
    }
}

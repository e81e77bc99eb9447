//! From the wire's types to a checked [`Prompt`]. A refusal names every field that is wrong, and says what each takes.

use std::time::Duration;

use prost_types::Duration as WireDuration;
use serde_json::value::RawValue;
use shared::counted_message::{MAX_IMAGES, MAX_MESSAGES, MAX_STOPS, MAX_TOOLS};
use shared::error::CallError;
use shared::proto::inference as wire;
use shared::request_id::{REQUEST_ID_RULE, is_request_id};

use super::schema_guard::{self, SchemaUse};
use super::{ChatRole, Format, Message, ModelName, Options, Prompt, PromptLimits, Task, Think, Tool, ToolCall, Violations};
use super::{json_text, picture};

impl Prompt {
    /// Checks a ChatRequest, whose `request_id` is given apart.
    pub fn from_chat(request: wire::ChatRequest, request_id: &str, limits: &PromptLimits) -> Result<Self, CallError> {
        let mut wrong = Violations::default();
        let model = wrong.take("model", ModelName::parse(&request.model));
        let counts = [
            ("messages", request.messages.len(), MAX_MESSAGES),
            ("tools", request.tools.len(), MAX_TOOLS),
            ("images", request.messages.iter().map(|message| message.images.len()).sum(), MAX_IMAGES),
        ];
        check_counts(&counts, &mut wrong);
        if request.messages.is_empty() {
            wrong.add("messages", "must hold at least one message");
        }
        check_request_id(request_id, &mut wrong);
        let mut prompt = PromptFields {
            options: options(request.options, limits, &mut wrong),
            format: format(request.format, &mut wrong),
            think: think(request.think, &mut wrong),
            top_logprobs: top_logprobs(request.top_logprobs, &mut wrong),
            max_output_tokens: output_bound(request.max_output_tokens, request.require_full, limits, &mut wrong),
            truncate: request.truncate,
            keep_alive: keep_alive(request.keep_alive, limits, &mut wrong),
            task: Task::Chat { messages: Vec::new(), tools: Vec::new() },
        };
        let messages = request.messages.into_iter().enumerate().take(MAX_MESSAGES);
        let messages = messages.filter_map(|(index, sent)| message(index, sent, &mut wrong)).collect();
        let tools = request.tools.into_iter().enumerate().take(MAX_TOOLS);
        let tools = tools.filter_map(|(index, sent)| tool(index, sent, &mut wrong)).collect();
        prompt.task = Task::Chat { messages, tools };
        prompt.with_model(model, wrong, limits)
    }

    /// Checks a GenerateRequest, whose `request_id` is given apart.
    pub fn from_generate(request: wire::GenerateRequest, request_id: &str, limits: &PromptLimits) -> Result<Self, CallError> {
        let mut wrong = Violations::default();
        let model = wrong.take("model", ModelName::parse(&request.model));
        if request.prompt.is_empty() {
            wrong.add("prompt", "is required");
        }
        if request.system.as_deref() == Some("") {
            // Ollama takes it for unset, and the model's own would be used.
            wrong.add("system", "must not be empty; leave it unset for the model's own");
        }
        if request.raw && request.system.is_some() {
            wrong.add("system", "can't be given with raw: a raw prompt goes to the model as it is");
        }
        check_counts(&[("images", request.images.len(), MAX_IMAGES)], &mut wrong);
        check_request_id(request_id, &mut wrong);
        for (index, image) in request.images.iter().enumerate().take(MAX_IMAGES) {
            wrong.take(&format!("images[{index}]"), picture::check(image));
        }
        let prompt = PromptFields {
            options: options(request.options, limits, &mut wrong),
            format: format(request.format, &mut wrong),
            think: think(request.think, &mut wrong),
            top_logprobs: top_logprobs(request.top_logprobs, &mut wrong),
            max_output_tokens: output_bound(request.max_output_tokens, request.require_full, limits, &mut wrong),
            truncate: request.truncate,
            keep_alive: keep_alive(request.keep_alive, limits, &mut wrong),
            task: Task::Generate {
                prompt: request.prompt,
                suffix: request.suffix,
                system: request.system,
                images: request.images,
                raw: request.raw,
            },
        };
        prompt.with_model(model, wrong, limits)
    }
}

/// A prompt without its model. Its values count only when nothing was wrong.
struct PromptFields {
    task: Task,
    options: Options,
    format: Option<Format>,
    think: Option<Think>,
    top_logprobs: Option<u8>,
    max_output_tokens: Option<u32>,
    truncate: Option<bool>,
    keep_alive: Option<Duration>,
}

impl PromptFields {
    fn with_model(self, model: Option<ModelName>, wrong: Violations, limits: &PromptLimits) -> Result<Prompt, CallError> {
        let Some(model) = model.filter(|_| wrong.is_empty()) else { return Err(wrong.refuse()) };
        model.refuse_cloud(limits.allow_cloud_models)?;
        let Self { task, options, format, think, top_logprobs, max_output_tokens, truncate, keep_alive } = self;
        Ok(Prompt { model, task, options, format, think, top_logprobs, max_output_tokens, truncate, keep_alive })
    }
}

/// Refuses what can't name a request; an empty id is made up for.
pub(super) fn check_request_id(request_id: &str, wrong: &mut Violations) {
    if !request_id.is_empty() && !is_request_id(request_id) {
        wrong.add("request_id", format!("must be empty, or {}", REQUEST_ID_RULE.trim_start_matches("must be ")));
    }
}

/// Each count: a field, how many there are, and how many there may be.
pub(super) fn check_counts(counts: &[(&str, usize, usize)], wrong: &mut Violations) {
    for &(field, has, most) in counts {
        if has > most {
            wrong.add(field, format!("must be at most {most} in all; there are {has}"));
        }
    }
}

fn message(index: usize, sent: wire::Message, wrong: &mut Violations) -> Option<Message> {
    let field = format!("messages[{index}]");
    let role = ChatRole::parse(&sent.role);
    if role.is_none() {
        wrong.add(format!("{field}.role"), "must be system, user, assistant or tool");
    }
    let belongs = [
        ("thinking", !sent.thinking.is_empty(), ChatRole::Assistant, "belongs to an assistant's message"),
        ("tool_calls", !sent.tool_calls.is_empty(), ChatRole::Assistant, "belongs to an assistant's message"),
        ("tool_name", !sent.tool_name.is_empty(), ChatRole::Tool, "belongs to a tool's message"),
        ("tool_call_id", !sent.tool_call_id.is_empty(), ChatRole::Tool, "belongs to a tool's message"),
    ];
    for (name, given, owner, description) in belongs {
        if given && role.is_some_and(|role| role != owner) {
            wrong.add(format!("{field}.{name}"), description);
        }
    }
    for (number, image) in sent.images.iter().enumerate().take(MAX_IMAGES) {
        wrong.take(&format!("{field}.images[{number}]"), picture::check(image));
    }
    let call = |(number, call): (usize, wire::ToolCall)| {
        let field = format!("{field}.tool_calls[{number}]");
        if call.name.is_empty() {
            wrong.add(format!("{field}.name"), "is required");
        }
        let arguments_json = if call.arguments_json.is_empty() { "{}".to_owned() } else { call.arguments_json };
        wrong.take(&format!("{field}.arguments_json"), json_text::object(&arguments_json, &json_text::ARGUMENTS));
        ToolCall { id: call.id, name: call.name, arguments_json }
    };
    let tool_calls = sent.tool_calls.into_iter().enumerate().map(call).collect();
    let (content, thinking, images) = (sent.content, sent.thinking, sent.images);
    Some(Message { role: role?, content, thinking, images, tool_calls, tool_name: sent.tool_name, tool_call_id: sent.tool_call_id })
}

fn tool(index: usize, sent: wire::Tool, wrong: &mut Violations) -> Option<Tool> {
    if sent.name.is_empty() {
        wrong.add(format!("tools[{index}].name"), "is required");
    }
    let parameters = match sent.parameters_json.as_str() {
        "" => None,
        json => Some(schema(&format!("tools[{index}].parameters_json"), json, SchemaUse::Tool, wrong)?),
    };
    Some(Tool { name: sent.name, description: sent.description, parameters })
}

fn schema(field: &str, json: &str, schema_use: SchemaUse, wrong: &mut Violations) -> Option<Box<RawValue>> {
    let checked = schema_guard::check(json, schema_use).map_err(|refused| match refused.path.as_str() {
        "" => refused.rule,
        path => format!("{path} {}", refused.rule),
    });
    wrong.take(field, checked)?;
    wrong.take(field, serde_json::from_str(json).map_err(|_| "must be a JSON object".to_owned()))
}

fn options(sent: Option<wire::Options>, limits: &PromptLimits, wrong: &mut Violations) -> Options {
    let Some(sent) = sent else { return Options::default() };
    let cap = limits.max_context_tokens;
    let in_unit = |value: Option<f32>| value.is_none_or(|value| (0.0..=1.0).contains(&value));
    let in_penalty = |value: Option<f32>| value.is_none_or(|value| (-2.0..=2.0).contains(&value));
    let (unit, num_ctx, stops) = (
        "must be from 0 to 1".to_owned(),
        format!("must be from 1 to {cap}, this server's cap"),
        format!("must be at most {MAX_STOPS} sequences"),
    );
    let checks = [
        ("temperature", sent.temperature.is_none_or(|value| value.is_finite() && value >= 0.0), "must be 0 or more"),
        ("top_p", in_unit(sent.top_p), &unit),
        ("min_p", in_unit(sent.min_p), &unit),
        ("repeat_penalty", sent.repeat_penalty.is_none_or(|value| value.is_finite() && value > 0.0), "must be above 0"),
        ("presence_penalty", in_penalty(sent.presence_penalty), "must be from -2 to 2"),
        ("frequency_penalty", in_penalty(sent.frequency_penalty), "must be from -2 to 2"),
        ("typical_p", in_unit(sent.typical_p), &unit),
        ("repeat_last_n", sent.repeat_last_n.is_none_or(|value| value >= -1), "must be -1 or more"),
        ("top_k", sent.top_k.is_none_or(|value| value >= 0), "must be 0 or more"),
        ("num_ctx", sent.num_ctx.is_none_or(|value| (1..=cap).contains(&value)), &num_ctx),
        ("stop", sent.stop.len() <= MAX_STOPS, &stops),
        ("stop", sent.stop.iter().all(|stop| !stop.is_empty()), "must hold no empty sequence"),
    ];
    for (field, _, description) in checks.into_iter().filter(|(_, valid, _)| !valid) {
        wrong.add(format!("options.{field}"), description);
    }
    Options {
        temperature: sent.temperature,
        top_p: sent.top_p,
        min_p: sent.min_p,
        repeat_penalty: sent.repeat_penalty,
        presence_penalty: sent.presence_penalty,
        frequency_penalty: sent.frequency_penalty,
        typical_p: sent.typical_p,
        repeat_last_n: sent.repeat_last_n,
        top_k: sent.top_k,
        seed: sent.seed,
        num_ctx: sent.num_ctx,
        stop: sent.stop,
    }
}

fn format(sent: Option<wire::Format>, wrong: &mut Violations) -> Option<Format> {
    match sent?.kind? {
        wire::format::Kind::Json(true) => Some(Format::Json),
        wire::format::Kind::Json(false) => {
            wrong.add("format.json", "must be true; leave format unset for free text");
            None
        }
        wire::format::Kind::JsonSchema(json) => schema("format.json_schema", &json, SchemaUse::Format, wrong).map(Format::Schema),
    }
}

fn think(sent: Option<String>, wrong: &mut Violations) -> Option<Think> {
    match sent?.as_str() {
        "off" => Some(Think::Off),
        "on" => Some(Think::On),
        "low" => Some(Think::Low),
        "medium" => Some(Think::Medium),
        "high" => Some(Think::High),
        "max" => Some(Think::Max),
        _ => {
            wrong.add("think", "must be off, on, low, medium, high or max");
            None
        }
    }
}

fn top_logprobs(sent: Option<u32>, wrong: &mut Violations) -> Option<u8> {
    let count = u8::try_from(sent?).ok().filter(|count| *count <= 20);
    if count.is_none() {
        wrong.add("top_logprobs", "must be from 0 to 20");
    }
    count
}

fn output_bound(sent: Option<u32>, require_full: bool, limits: &PromptLimits, wrong: &mut Violations) -> Option<u32> {
    let most = limits.max_output_tokens;
    match sent {
        Some(0) => wrong.add("max_output_tokens", "must be 1 or more"),
        Some(tokens) if require_full && tokens > most => {
            wrong.add("max_output_tokens", format!("must be at most {most}, this server's bound, when require_full is set"));
        }
        _ => {}
    }
    sent
}

pub(super) fn keep_alive(sent: Option<WireDuration>, limits: &PromptLimits, wrong: &mut Violations) -> Option<Duration> {
    // The conversion of the least duration that there is overflows.
    let sent = sent?;
    let whole = (sent.seconds >= 0).then_some(sent);
    let duration = whole.and_then(|sent| Duration::try_from(sent).ok()).filter(|duration| *duration <= limits.max_keep_alive);
    if duration.is_none() {
        wrong.add("keep_alive", format!("must be from 0 to {:?}, this server's bound", limits.max_keep_alive));
    }
    duration
}

#[cfg(test)]
mod tests {
    use shared::ErrorReason;
    use tonic::Code;

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
        let error = Prompt::from_chat(request, "", &LIMITS).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        error.message().to_owned()
    }

    #[test]
    fn latest_is_the_same_model_as_no_tag() {
        assert_eq!(Prompt::from_chat(chat(), "", &LIMITS).unwrap().model.as_str(), "smollm2");
    }

    #[test]
    fn every_spelling_that_ollama_takes_for_a_model_is_one_name() {
        for spelling in ["smollm2", "smollm2:LATEST", "library/smollm2", "registry.ollama.ai/library/smollm2:latest"] {
            let request = wire::ChatRequest { model: spelling.into(), ..chat() };
            assert_eq!(Prompt::from_chat(request, "", &LIMITS).unwrap().model.as_str(), "smollm2", "{spelling}");
        }
        let other = wire::ChatRequest { model: "hf.co/library/smollm2:Q4_1".into(), ..chat() };
        assert_eq!(Prompt::from_chat(other, "", &LIMITS).unwrap().model.as_str(), "hf.co/library/smollm2:Q4_1");
    }

    #[test]
    fn an_empty_system_prompt_is_refused_because_ollama_takes_it_for_unset() {
        let request =
            wire::GenerateRequest { model: "smollm2".into(), prompt: "hi".into(), system: Some(String::new()), ..Default::default() };
        assert!(Prompt::from_generate(request, "", &LIMITS).unwrap_err().message().starts_with("system"));
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
            ("messages[0].thinking", Box::new(|r| r.messages[0].thinking = "hm".into())),
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
            ("keep_alive", Box::new(|r| r.keep_alive = Some(WireDuration { seconds: i64::MIN, nanos: -1 }))),
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
            assert_eq!(Prompt::from_chat(request.clone(), "", &LIMITS).unwrap_err().reason(), ErrorReason::CloudModelNotAllowed);
            assert!(Prompt::from_chat(request, "", &PromptLimits { allow_cloud_models: true, ..LIMITS }).is_ok());
        }
        let request = wire::ChatRequest { model: "cloudy:7b".into(), ..chat() };
        assert!(Prompt::from_chat(request, "", &LIMITS).is_ok());
    }

    #[test]
    fn the_input_bound_covers_the_bytes_and_stops_at_the_cap() {
        let mut request = chat();
        request.messages[0].content = "x".repeat(5000);
        assert_eq!(Prompt::from_chat(request.clone(), "", &LIMITS).unwrap().max_input_tokens(&LIMITS), 5000 + 1024 + 16);
        request.messages[0].content = "x".repeat(50_000);
        assert_eq!(Prompt::from_chat(request, "", &LIMITS).unwrap().max_input_tokens(&LIMITS), 8192);
    }

    #[test]
    fn all_wrong_fields_of_a_chat_are_named_at_once() {
        let request = wire::ChatRequest {
            messages: vec![
                wire::Message { role: "robot".into(), images: vec![b"GIF89a".to_vec()], ..Default::default() },
                wire::Message { role: "user".into(), thinking: "hm".into(), tool_name: "f".into(), ..Default::default() },
                wire::Message {
                    role: "assistant".into(),
                    tool_calls: vec![wire::ToolCall { arguments_json: "[".into(), ..Default::default() }],
                    ..Default::default()
                },
            ],
            tools: vec![
                wire::Tool { name: "fine".into(), ..Default::default() },
                wire::Tool { name: "t".into(), parameters_json: "xml".into(), ..Default::default() },
            ],
            options: Some(wire::Options { num_ctx: Some(0), top_p: Some(2.0), ..Default::default() }),
            format: Some(wire::Format { kind: Some(wire::format::Kind::JsonSchema(r#"{"properties":{"a":{"pattern":"]"}}}"#.into())) }),
            think: Some("yes".into()),
            top_logprobs: Some(21),
            max_output_tokens: Some(0),
            keep_alive: Some(WireDuration { seconds: -1, nanos: 0 }),
            ..Default::default()
        };
        let error = Prompt::from_chat(request, "two words", &LIMITS).unwrap_err();
        let message = error.message();
        assert!(message.starts_with("model is required") && message.contains("(wrong as well: request_id, "), "{message}");
        let status = tonic::Status::from(error);
        assert_eq!(shared::error::reason_of(&status), Some(ErrorReason::InvalidArgument));
        let mut fields: Vec<String> = shared::error::violations_of(&status).into_iter().map(|(field, _)| field).collect();
        fields.sort();
        let expected = [
            "format.json_schema",
            "keep_alive",
            "max_output_tokens",
            "messages[0].images[0]",
            "messages[0].role",
            "messages[1].thinking",
            "messages[1].tool_name",
            "messages[2].tool_calls[0].arguments_json",
            "messages[2].tool_calls[0].name",
            "model",
            "options.num_ctx",
            "options.top_p",
            "request_id",
            "think",
            "tools[1].parameters_json",
            "top_logprobs",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn all_wrong_fields_of_a_generate_are_named_at_once() {
        let request = wire::GenerateRequest { raw: true, system: Some("x".into()), images: vec![Vec::new()], ..Default::default() };
        let status = tonic::Status::from(Prompt::from_generate(request, "", &LIMITS).unwrap_err());
        let fields: Vec<String> = shared::error::violations_of(&status).into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["model", "prompt", "system", "images[0]"]);
    }

    #[test]
    fn a_schema_is_refused_by_the_fields_name_and_the_place_in_it() {
        let deep = format!("{}{{}}{}", r#"{"not":"#.repeat(8000), "}".repeat(8000));
        let long = format!(r#"{{"properties":{{"a":{{"type":"string","pattern":"^{}a{}$"}}}}}}"#, "(".repeat(20_000), ")".repeat(20_000));
        let tool = |json: String| wire::Tool { name: "t".into(), parameters_json: json, ..Default::default() };
        let schema = |json: String| Some(wire::Format { kind: Some(wire::format::Kind::JsonSchema(json)) });
        let call = |json: String| wire::Message {
            role: "assistant".into(),
            tool_calls: vec![wire::ToolCall { name: "f".into(), arguments_json: json, ..Default::default() }],
            ..Default::default()
        };
        let said = [
            refusal(|r| r.format = schema(deep.clone())),
            refusal(|r| r.format = schema(long.clone())),
            refusal(|r| r.tools.push(tool(deep.clone()))),
            refusal(|r| r.tools.push(tool(long))),
            refusal(|r| r.messages.push(call(deep))),
        ];
        let expected = [
            "format.json_schema must be at most 64 levels deep; it has 8001",
            "format.json_schema: properties.a.pattern must be at most 1024 bytes; it has 40003",
            "tools[0].parameters_json must be at most 64 levels deep; it has 8001",
            "tools[0].parameters_json: properties.a.pattern must be at most 1024 bytes; it has 40003",
            "messages[1].tool_calls[0].arguments_json must be at most 64 levels deep; it has 8001",
        ];
        assert_eq!(said, expected);
    }
}

//! From what `/v1/responses` takes to a chat request of the contract.

use shared::error::CallError;
use shared::proto::inference as wire;

use super::conversation::Conversation;
use super::echo::{Echo, EchoedChoice, EchoedReasoning, EchoedText, EchoedTool, TextForm};
use super::refused::REFUSED;
use super::request::{NamedTool, Reasoning, ResponseRequest, TextConfig, TextFormat, Tool};
use crate::doors::field_names::{FieldNames, Origin};
use crate::doors::forced_tool::ForcedTool;
use crate::doors::openai::string_or::StringOr;
use crate::doors::other_fields::why;
use crate::prompt::Violations;

/// How this door calls the fields of a chat request.
pub(super) const NAMES: FieldNames = FieldNames {
    messages: "input",
    system: "instructions",
    paths: &[
        ("messages", "input"),
        ("format.json_schema", "text.format.schema"),
        ("think", "reasoning.effort"),
        ("request_id", "Idempotency-Key"),
    ],
    endings: &[(".parameters_json", ".parameters"), (".arguments_json", ".arguments")],
};

/// A request in the words of the contract.
pub(super) struct Converted {
    pub(super) request: wire::ChatRequest,
    /// Where each of its messages came from.
    pub(super) origins: Vec<Origin>,
    /// What comes back with the answer.
    pub(super) echo: Echo,
    /// The function that the model must call.
    pub(super) forced: Option<ForcedTool>,
}

/// Converts a request. What this door can't do is refused, all of it at once.
pub(super) fn convert(sent: ResponseRequest, request_id: String) -> Result<Converted, CallError> {
    let mut wrong = Violations::default();
    sent.others.refuse("", "", REFUSED, &mut wrong);
    for (field, is_set) in [("store", sent.store == Some(true)), ("background", sent.background == Some(true))] {
        if is_set {
            wrong.add(field, why(REFUSED, &format!("{field}: true")));
        }
    }
    if let Some(options) = &sent.stream_options {
        options.others.refuse("stream_options.", "stream_options.", REFUSED, &mut wrong);
    }
    check_labels(&sent, &mut wrong);
    let top_logprobs = top_logprobs(sent.include.unwrap_or_default(), sent.top_logprobs, &mut wrong);
    let tools = sent.tools.unwrap_or_default().into_iter().enumerate().filter_map(|(index, sent)| tool(index, sent, &mut wrong));
    let tools: Vec<EchoedTool> = tools.collect();
    let (tool_choice, must_call) = tool_choice(sent.tool_choice, &tools, &mut wrong);
    let (think, reasoning) = reasoning(sent.reasoning, &mut wrong);
    let (format, text) = text(sent.text, &mut wrong);
    if must_call.is_some() && format.is_some() {
        wrong.add("text.format", "can't be given where a function must be called: the answer is its arguments");
    }
    let truncation = truncation(sent.truncation, &mut wrong);
    if matches!(&sent.input, StringOr::Other(items) if items.is_empty()) {
        wrong.add("input", "must hold at least one item");
    }
    let mut conversation = Conversation::new(sent.instructions.as_deref(), &mut wrong);
    conversation.input(sent.input);
    let (messages, origins) = conversation.finish();
    if !wrong.is_empty() {
        return Err(wrong.refuse());
    }
    let told = if matches!(tool_choice, EchoedChoice::Word("none")) { &[][..] } else { &tools };
    let mut request = wire::ChatRequest {
        model: sent.model,
        messages,
        max_output_tokens: sent.max_output_tokens,
        options: Some(wire::Options { temperature: sent.temperature, top_p: sent.top_p, ..wire::Options::default() }),
        format,
        tools: told.iter().map(EchoedTool::to_wire).collect(),
        think,
        top_logprobs,
        request_id,
        truncate: Some(truncation == "auto"),
        ..wire::ChatRequest::default()
    };
    let forced = must_call.and_then(|place| tools.get(place)).map(|tool| ForcedTool::of(&mut request, tool.to_wire()));
    let echo = Echo {
        instructions: sent.instructions,
        max_output_tokens: sent.max_output_tokens,
        max_tool_calls: sent.max_tool_calls,
        metadata: sent.metadata.unwrap_or_default(),
        parallel_tool_calls: sent.parallel_tool_calls != Some(false),
        previous_response_id: None,
        prompt_cache_key: sent.prompt_cache_key,
        reasoning,
        safety_identifier: sent.safety_identifier,
        service_tier: "default",
        store: false,
        temperature: sent.temperature,
        text,
        tool_choice,
        tools,
        top_logprobs: top_logprobs.unwrap_or_default(),
        top_p: sent.top_p,
        truncation,
        user: sent.user,
    };
    Ok(Converted { request, origins, echo, forced })
}

/// What only comes back with the answer is bounded, as OpenAI bounds it: a stream says it three times.
fn check_labels(sent: &ResponseRequest, wrong: &mut Violations) {
    const MAX_PAIRS: usize = 16;
    const MAX_KEY: usize = 64;
    const MAX_VALUE: usize = 512;
    let is_long = |text: &str, most: usize| text.chars().take(most + 1).count() > most;
    let pair_is_long = |(key, value): (&String, &String)| is_long(key, MAX_KEY) || is_long(value, MAX_VALUE);
    if sent.metadata.as_ref().is_some_and(|metadata| metadata.len() > MAX_PAIRS || metadata.iter().any(pair_is_long)) {
        let must = format!("must be at most {MAX_PAIRS} pairs, of at most {MAX_KEY} characters for a key and {MAX_VALUE} for a value");
        wrong.add("metadata", must);
    }
    let format = sent.text.as_ref().and_then(|text| text.format.as_ref());
    let labels = [
        ("user", &sent.user),
        ("safety_identifier", &sent.safety_identifier),
        ("prompt_cache_key", &sent.prompt_cache_key),
        ("text.format.name", format.map_or(&None, |format| &format.name)),
        ("text.format.description", format.map_or(&None, |format| &format.description)),
    ];
    for (field, label) in labels {
        let most = if field == "text.format.description" { 8 * MAX_VALUE } else { MAX_VALUE };
        if label.as_ref().is_some_and(|label| is_long(label, most)) {
            wrong.add(field, format!("must be at most {most} characters"));
        }
    }
}

/// How many alternatives of each token are asked for; `None`: no log probabilities at all.
fn top_logprobs(include: Vec<String>, sent: Option<u32>, wrong: &mut Violations) -> Option<u32> {
    let mut includes_logprobs = false;
    for (index, included) in include.iter().enumerate() {
        match included.as_str() {
            "message.output_text.logprobs" => includes_logprobs = true,
            "reasoning.encrypted_content" => {}
            _ => wrong.add(format!("include[{index}]"), why(REFUSED, "include")),
        }
    }
    sent.filter(|count| includes_logprobs || *count > 0).or(includes_logprobs.then_some(0))
}

/// What comes back of the choice, and the place of the function that must be called.
fn tool_choice(sent: Option<StringOr<NamedTool>>, tools: &[EchoedTool], wrong: &mut Violations) -> (EchoedChoice, Option<usize>) {
    match sent {
        None => (EchoedChoice::Word("auto"), None),
        Some(StringOr::String(word)) if word == "auto" => (EchoedChoice::Word("auto"), None),
        Some(StringOr::String(word)) if word == "none" => (EchoedChoice::Word("none"), None),
        // Which one of several is for the model to choose, and it can't be made to.
        Some(StringOr::String(word)) if word == "required" && tools.len() == 1 => (EchoedChoice::Word("required"), Some(0)),
        Some(StringOr::Other(NamedTool { kind, name, others })) if kind == "function" => {
            others.refuse("tool_choice.", "tool_choice.", REFUSED, wrong);
            let name = name.unwrap_or_default();
            let place = tools.iter().position(|tool| tool.name == name);
            if place.is_none() {
                wrong.add("tool_choice.name", "must be the name of a function among tools");
            }
            (EchoedChoice::Function { kind: "function", name }, place)
        }
        Some(StringOr::String(_) | StringOr::Other(_)) => {
            wrong.add("tool_choice", why(REFUSED, "tool_choice"));
            (EchoedChoice::Word("auto"), None)
        }
    }
}

fn tool(index: usize, sent: Tool, wrong: &mut Violations) -> Option<EchoedTool> {
    let field = format!("tools[{index}]");
    if sent.kind != "function" {
        wrong.add(format!("{field}.type"), why(REFUSED, "tools[].type"));
        return None;
    }
    sent.others.refuse(&format!("{field}."), "tools[].", REFUSED, wrong);
    if sent.defer_loading == Some(true) {
        wrong.add(format!("{field}.defer_loading"), why(REFUSED, "tools[].defer_loading: true"));
    }
    if sent.allowed_callers.is_some_and(|callers| callers.iter().any(|caller| caller != "direct")) {
        wrong.add(format!("{field}.allowed_callers"), why(REFUSED, "tools[].allowed_callers"));
    }
    let Some(name) = sent.name else {
        wrong.add(format!("{field}.name"), "is required");
        return None;
    };
    Some(EchoedTool { kind: "function", name, description: sent.description, parameters: sent.parameters, strict: false })
}

/// How much the model thinks. The ends of OpenAI's scale are the nearest there are.
fn reasoning(sent: Option<Reasoning>, wrong: &mut Violations) -> (Option<String>, EchoedReasoning) {
    let Some(sent) = sent else { return (None, EchoedReasoning::default()) };
    sent.others.refuse("reasoning.", "reasoning.", REFUSED, wrong);
    let think = match sent.effort.as_deref() {
        None => None,
        Some("none") => Some("off"),
        Some("minimal" | "low") => Some("low"),
        Some("medium") => Some("medium"),
        Some("high") => Some("high"),
        Some("xhigh" | "max") => Some("max"),
        Some(_) => {
            wrong.add("reasoning.effort", "must be none, minimal, low, medium, high, xhigh or max");
            None
        }
    };
    for (name, summary) in [("summary", &sent.summary), ("generate_summary", &sent.generate_summary)] {
        if summary.as_deref().is_some_and(|summary| !matches!(summary, "auto" | "concise" | "detailed")) {
            wrong.add(format!("reasoning.{name}"), "must be auto, concise or detailed");
        }
    }
    (think.map(str::to_owned), EchoedReasoning { effort: sent.effort, summary: sent.summary.or(sent.generate_summary) })
}

fn text(sent: Option<TextConfig>, wrong: &mut Violations) -> (Option<wire::Format>, EchoedText) {
    let Some(sent) = sent else { return (None, EchoedText::default()) };
    sent.others.refuse("text.", "text.", REFUSED, wrong);
    if sent.verbosity.is_some_and(|verbosity| verbosity != "medium") {
        wrong.add("text.verbosity", why(REFUSED, "text.verbosity"));
    }
    let Some(format) = sent.format else { return (None, EchoedText::default()) };
    let (format, form) = text_format(format, wrong);
    (format, EchoedText { format: form, ..EchoedText::default() })
}

fn text_format(sent: TextFormat, wrong: &mut Violations) -> (Option<wire::Format>, TextForm) {
    sent.others.refuse("text.format.", "text.format.", REFUSED, wrong);
    let (kind, form) = match sent.kind.as_str() {
        "text" => (None, TextForm::Text),
        "json_object" => (Some(wire::format::Kind::Json(true)), TextForm::JsonObject),
        "json_schema" => {
            let Some(schema) = sent.schema else {
                wrong.add("text.format.schema", "is required");
                return (None, TextForm::Text);
            };
            let kind = wire::format::Kind::JsonSchema(schema.get().to_owned());
            let TextFormat { name, description, strict, .. } = sent;
            return (Some(wire::Format { kind: Some(kind) }), TextForm::JsonSchema { name, description, schema, strict });
        }
        _ => {
            wrong.add("text.format.type", why(REFUSED, "text.format.type"));
            (None, TextForm::Text)
        }
    };
    for (name, is_there) in [("schema", sent.schema.is_some()), ("name", sent.name.is_some())] {
        if is_there {
            wrong.add(format!("text.format.{name}"), "belongs to the type json_schema");
        }
    }
    (kind.map(|kind| wire::Format { kind: Some(kind) }), form)
}

fn truncation(sent: Option<String>, wrong: &mut Violations) -> &'static str {
    match sent.as_deref() {
        None | Some("disabled") => "disabled",
        Some("auto") => "auto",
        Some(_) => {
            wrong.add("truncation", "must be auto or disabled");
            "disabled"
        }
    }
}

#[cfg(test)]
mod tests;

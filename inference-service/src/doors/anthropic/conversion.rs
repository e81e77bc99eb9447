//! From what `/v1/messages` takes to a chat request of the contract.

use shared::error::CallError;
use shared::proto::inference as wire;

use super::conversation::Conversation;
use super::refused::REFUSED;
use super::request::{ContextManagement, MessagesRequest, OutputConfig, Thinking, Tool, ToolChoice};
use crate::doors::field_names::{FieldNames, Origin};
use crate::doors::forced_tool::ForcedTool;
use crate::doors::other_fields::why;
use crate::prompt::Violations;

/// How this door calls the fields of a chat request.
pub(super) const NAMES: FieldNames = FieldNames {
    messages: "messages",
    system: "system",
    paths: &[
        ("max_output_tokens", "max_tokens"),
        ("options.stop", "stop_sequences"),
        ("format.json_schema", "output_config.format.schema"),
        ("think", "output_config.effort"),
        ("request_id", "Idempotency-Key"),
    ],
    endings: &[(".parameters_json", ".input_schema"), (".arguments_json", ".input")],
};

/// A request in the words of the contract.
pub(super) struct Converted {
    pub(super) request: wire::ChatRequest,
    /// Where each of its messages came from.
    pub(super) origins: Vec<Origin>,
    /// How much the model thinks, where it is one that does.
    pub(super) effort: Option<String>,
    pub(super) form: AnswerForm,
    /// What the model must call.
    pub(super) forced: Option<ForcedTool>,
}

/// What is given of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AnswerForm {
    /// Without what was thought.
    pub(super) omits_thinking: bool,
    /// With one call at most.
    pub(super) one_call: bool,
}

/// Converts a request. What this door can't do is refused, all of it at once.
pub(super) fn convert(sent: MessagesRequest, request_id: String) -> Result<Converted, CallError> {
    let mut wrong = Violations::default();
    sent.others.refuse("", "", REFUSED, &mut wrong);
    if sent.max_tokens == 0 {
        wrong.add("max_tokens", why(REFUSED, "max_tokens: 0"));
    }
    if sent.speed.is_some_and(|speed| speed != "standard") {
        wrong.add("speed", why(REFUSED, "speed"));
    }
    let one_call = sent.tool_choice.as_ref().is_some_and(|choice| choice.disable_parallel_tool_use == Some(true));
    let tools = sent.tools.unwrap_or_default();
    let choice = choice(sent.tool_choice, &tools, &mut wrong);
    let tools = tools.into_iter().enumerate();
    let tools = tools.map(|(index, sent)| tool(index, sent, choice == Choice::Must(index), &mut wrong));
    let mut tools: Vec<wire::Tool> = tools.collect();
    let forced = match choice {
        Choice::May => None,
        Choice::Not => {
            tools.clear();
            None
        }
        Choice::Must(place) => Some(tools.swap_remove(place)),
    };
    if forced.is_some() && sent.output_config.as_ref().is_some_and(|output| output.format.is_some()) {
        wrong.add("output_config.format", "can't be given where a tool must be called: the answer is its input");
    }
    let (thinks, omits_thinking) = thinking(sent.thinking, &mut wrong);
    let (effort, format) = output(sent.output_config, &mut wrong);
    let (think, effort) = match thinks {
        Some(true) => (Some(effort.unwrap_or_else(|| "on".to_owned())), None),
        Some(false) => (Some("off".to_owned()), None),
        None => (None, effort),
    };
    context_management(sent.context_management, &mut wrong);
    let options = wire::Options {
        temperature: sent.temperature,
        top_p: sent.top_p,
        top_k: sent.top_k,
        stop: sent.stop_sequences.unwrap_or_default(),
        ..wire::Options::default()
    };
    if sent.messages.is_empty() {
        wrong.add("messages", "must hold at least one message");
    }
    let mut conversation = Conversation::new(&mut wrong);
    if let Some(system) = sent.system {
        conversation.system(system);
    }
    for (index, message) in sent.messages.into_iter().enumerate() {
        conversation.turn(index, message);
    }
    let (messages, origins) = conversation.finish();
    if !wrong.is_empty() {
        return Err(wrong.refuse());
    }
    let mut request = wire::ChatRequest {
        model: sent.model,
        messages,
        max_output_tokens: Some(sent.max_tokens),
        options: Some(options),
        format,
        tools,
        think,
        request_id,
        // As in Anthropic's API: a conversation that doesn't fit is refused, and not cut.
        truncate: Some(false),
        ..wire::ChatRequest::default()
    };
    let forced = forced.map(|tool| ForcedTool::of(&mut request, tool));
    Ok(Converted { request, origins, effort, forced, form: AnswerForm { omits_thinking, one_call } })
}

/// What a model is to do with its tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// As it likes.
    May,
    /// It is told of none.
    Not,
    /// It must call the one in this place.
    Must(usize),
}

fn choice(choice: Option<ToolChoice>, tools: &[Tool], wrong: &mut Violations) -> Choice {
    let Some(choice) = choice else { return Choice::May };
    choice.others.refuse("tool_choice.", "tool_choice.", REFUSED, wrong);
    match choice.kind.as_str() {
        "auto" => Choice::May,
        "none" => Choice::Not,
        "any" if tools.len() == 1 => Choice::Must(0),
        "tool" => {
            let place = tools.iter().position(|tool| tool.name.is_some() && tool.name == choice.name);
            place.map_or_else(
                || {
                    wrong.add("tool_choice.name", "must be the name of a tool among tools");
                    Choice::May
                },
                Choice::Must,
            )
        }
        _ => {
            wrong.add("tool_choice.type", why(REFUSED, "tool_choice.type"));
            Choice::May
        }
    }
}

fn tool(index: usize, sent: Tool, is_forced: bool, wrong: &mut Violations) -> wire::Tool {
    let field = format!("tools[{index}]");
    if sent.kind.is_some_and(|kind| kind != "custom") {
        wrong.add(format!("{field}.type"), why(REFUSED, "tools[].type"));
        return wire::Tool::default();
    }
    sent.others.refuse(&format!("{field}."), "tools[].", REFUSED, wrong);
    let refused = [
        ("strict", ": true", sent.strict == Some(true) && !is_forced),
        ("defer_loading", ": true", sent.defer_loading == Some(true)),
        ("allowed_callers", "", sent.allowed_callers.is_some_and(|callers| callers.iter().any(|caller| caller != "direct"))),
    ];
    for (name, value, _) in refused.into_iter().filter(|(_, _, is_refused)| *is_refused) {
        wrong.add(format!("{field}.{name}"), why(REFUSED, &format!("tools[].{name}{value}")));
    }
    for (name, is_missing) in [("name", sent.name.is_none()), ("input_schema", sent.input_schema.is_none())] {
        if is_missing {
            wrong.add(format!("{field}.{name}"), "is required");
        }
    }
    wire::Tool {
        name: sent.name.unwrap_or_default(),
        description: sent.description.unwrap_or_default(),
        parameters_json: sent.input_schema.map(|schema| Box::<str>::from(schema).into_string()).unwrap_or_default(),
    }
}

fn context_management(sent: Option<ContextManagement>, wrong: &mut Violations) {
    let Some(sent) = sent else { return };
    sent.others.refuse("context_management.", "context_management.", REFUSED, wrong);
    for (index, edit) in sent.edits.unwrap_or_default().iter().enumerate() {
        if !edit.keeps_all() {
            wrong.add(format!("context_management.edits[{index}]"), why(REFUSED, "context_management.edits"));
        }
    }
}

/// Whether the model thinks, as far as this says, and whether its thinking is left out of the answer.
fn thinking(sent: Option<Thinking>, wrong: &mut Violations) -> (Option<bool>, bool) {
    let Some(sent) = sent else { return (None, false) };
    sent.others.refuse("thinking.", "thinking.", REFUSED, wrong);
    let thinks = match sent.kind.as_str() {
        "enabled" => Some(true),
        "disabled" => Some(false),
        "adaptive" => None,
        _ => {
            wrong.add("thinking.type", why(REFUSED, "thinking.type"));
            None
        }
    };
    let omits = match sent.display.as_deref() {
        None | Some("summarized") => false,
        Some("omitted") => true,
        Some(_) => {
            wrong.add("thinking.display", "must be summarized or omitted");
            false
        }
    };
    (thinks, omits)
}

/// How much the model thinks, and the form of its answer.
fn output(sent: Option<OutputConfig>, wrong: &mut Violations) -> (Option<String>, Option<wire::Format>) {
    let Some(sent) = sent else { return (None, None) };
    sent.others.refuse("output_config.", "output_config.", REFUSED, wrong);
    let effort = sent.effort.map(|effort| if effort == "xhigh" { "high".to_owned() } else { effort });
    if effort.as_deref().is_some_and(|effort| !matches!(effort, "low" | "medium" | "high" | "max")) {
        wrong.add("output_config.effort", "must be low, medium, high, xhigh or max");
    }
    let Some(format) = sent.format else { return (effort, None) };
    format.others.refuse("output_config.format.", "output_config.format.", REFUSED, wrong);
    if format.kind != "json_schema" {
        wrong.add("output_config.format.type", why(REFUSED, "output_config.format.type"));
    }
    let Some(schema) = format.schema else {
        wrong.add("output_config.format.schema", "is required");
        return (effort, None);
    };
    let kind = wire::format::Kind::JsonSchema(Box::<str>::from(schema).into_string());
    (effort, Some(wire::Format { kind: Some(kind) }))
}

#[cfg(test)]
mod tests;

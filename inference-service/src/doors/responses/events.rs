//! One answer as the stream of events of OpenAI's Responses API.

use serde::Serialize;
use shared::doors::Refusal;
use shared::proto::inference as wire;

use super::output::{Logprobs, OutputItem, OutputText, Status, SummaryText, item_id, text_status};
use super::response::{Head, Progress, ResponseObject};
use crate::doors::named_events::{EventFormat, write_event};
use crate::doors::openai::error::ErrorBody;
use crate::doors::openai::usage::Receipt;

/// What has been said of an answer, and in which item it goes on.
pub(super) struct ResponseEvents {
    head: Head,
    request_id: String,
    /// The number of the next event.
    sequence: u64,
    /// The items that are whole.
    items: Vec<OutputItem>,
    /// The item that is being given: reasoning or a message.
    open: Option<OutputItem>,
}

/// What every event has.
#[derive(Serialize)]
struct Event<T> {
    #[serde(rename = "type")]
    kind: &'static str,
    sequence_number: u64,
    #[serde(flatten)]
    data: T,
}

#[derive(Serialize)]
struct ResponseEvent<'a> {
    response: ResponseObject<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<Receipt>,
}

#[derive(Serialize)]
struct ItemEvent<'a> {
    output_index: usize,
    item: &'a OutputItem,
}

/// An event of the one part that a message has.
#[derive(Serialize)]
struct ContentEvent<'a, T> {
    item_id: &'a str,
    output_index: usize,
    content_index: u32,
    #[serde(flatten)]
    data: T,
}

/// An event of the one part that reasoning has.
#[derive(Serialize)]
struct SummaryEvent<'a, T> {
    item_id: &'a str,
    output_index: usize,
    summary_index: u32,
    #[serde(flatten)]
    data: T,
}

#[derive(Serialize)]
struct PartOf<'a, T> {
    part: &'a T,
}

#[derive(Serialize)]
struct TextDelta<'a> {
    delta: &'a str,
    logprobs: Logprobs<'a>,
}

#[derive(Serialize)]
struct TextDone<'a> {
    text: &'a str,
    logprobs: Logprobs<'a>,
}

#[derive(Serialize)]
struct SummaryDelta<'a> {
    delta: &'a str,
}

#[derive(Serialize)]
struct SummaryDone<'a> {
    text: &'a str,
}

#[derive(Serialize)]
struct ArgumentsDelta<'a> {
    item_id: &'a str,
    output_index: usize,
    delta: &'a str,
}

#[derive(Serialize)]
struct ArgumentsDone<'a> {
    item_id: &'a str,
    output_index: usize,
    name: &'a str,
    arguments: &'a str,
}

/// An error as the reference has it, and within `error` as both SDKs raise it.
#[derive(Serialize)]
struct ErrorEvent<'a> {
    code: &'static str,
    message: &'a str,
    param: Option<&'a str>,
    #[serde(flatten)]
    body: ErrorBody<'a>,
}

impl ResponseEvents {
    pub(super) fn new(head: Head, request_id: String) -> Self {
        Self { head, request_id, sequence: 0, items: Vec::new(), open: None }
    }

    fn write(&mut self, out: &mut Vec<u8>, kind: &'static str, data: impl Serialize) {
        write_event(out, kind, &Event { kind, sequence_number: self.sequence, data });
        self.sequence += 1;
    }

    fn thinking(&mut self, delta: &str, out: &mut Vec<u8>) {
        if !matches!(self.open, Some(OutputItem::Reasoning { .. })) {
            self.close(Status::Completed, out);
            self.open_reasoning(out);
        }
        let output_index = self.items.len();
        let Some(mut item) = self.open.take() else { return };
        if let OutputItem::Reasoning { id, summary, .. } = &mut item {
            if let Some(part) = summary.first_mut() {
                part.text.push_str(delta);
            }
            let data = SummaryEvent { item_id: id, output_index, summary_index: 0, data: SummaryDelta { delta } };
            self.write(out, "response.reasoning_summary_text.delta", data);
        }
        self.open = Some(item);
    }

    fn open_reasoning(&mut self, out: &mut Vec<u8>) {
        let output_index = self.items.len();
        let id = item_id("rs", &self.request_id, output_index);
        let added = OutputItem::Reasoning { id: id.clone(), summary: Vec::new(), encrypted_content: None };
        self.write(out, "response.output_item.added", ItemEvent { output_index, item: &added });
        let data = PartOf { part: &SummaryText::default() };
        self.write(out, "response.reasoning_summary_part.added", SummaryEvent { item_id: &id, output_index, summary_index: 0, data });
        self.open = Some(OutputItem::reasoning(id, String::new()));
    }

    fn text(&mut self, delta: &str, logprobs: Vec<wire::Logprob>, out: &mut Vec<u8>) {
        if !matches!(self.open, Some(OutputItem::Message { .. })) {
            self.close(Status::Completed, out);
            self.open_message(out);
        }
        let output_index = self.items.len();
        let Some(mut item) = self.open.take() else { return };
        if let OutputItem::Message { id, content, .. } = &mut item {
            let data = TextDelta { delta, logprobs: Logprobs(&logprobs) };
            self.write(out, "response.output_text.delta", ContentEvent { item_id: id, output_index, content_index: 0, data });
            if let Some(part) = content.first_mut() {
                part.text.push_str(delta);
                part.logprobs.extend(logprobs);
            }
        }
        self.open = Some(item);
    }

    fn open_message(&mut self, out: &mut Vec<u8>) {
        let output_index = self.items.len();
        let id = item_id("msg", &self.request_id, output_index);
        let added = OutputItem::Message { id: id.clone(), status: Status::InProgress, role: "assistant", content: Vec::new() };
        self.write(out, "response.output_item.added", ItemEvent { output_index, item: &added });
        let data = PartOf { part: &OutputText::default() };
        self.write(out, "response.content_part.added", ContentEvent { item_id: &id, output_index, content_index: 0, data });
        self.open = Some(OutputItem::message(id, String::new(), Vec::new(), Status::InProgress));
    }

    /// Closes the item that is open, if any. A message gets this status.
    fn close(&mut self, ended: Status, out: &mut Vec<u8>) {
        let Some(mut item) = self.open.take() else { return };
        let output_index = self.items.len();
        match &mut item {
            OutputItem::Reasoning { id, summary, .. } => {
                for part in summary.iter() {
                    let done = SummaryEvent { item_id: id, output_index, summary_index: 0, data: SummaryDone { text: &part.text } };
                    self.write(out, "response.reasoning_summary_text.done", done);
                    let done = SummaryEvent { item_id: id, output_index, summary_index: 0, data: PartOf { part } };
                    self.write(out, "response.reasoning_summary_part.done", done);
                }
            }
            OutputItem::Message { id, content, status, .. } => {
                *status = ended;
                for part in content.iter() {
                    let data = TextDone { text: &part.text, logprobs: Logprobs(&part.logprobs) };
                    self.write(out, "response.output_text.done", ContentEvent { item_id: id, output_index, content_index: 0, data });
                    let data = PartOf { part };
                    self.write(out, "response.content_part.done", ContentEvent { item_id: id, output_index, content_index: 0, data });
                }
            }
            OutputItem::FunctionCall { .. } => {}
        }
        self.write(out, "response.output_item.done", ItemEvent { output_index, item: &item });
        self.items.push(item);
    }

    /// A call is an item by itself, and comes whole.
    fn call(&mut self, call: wire::ToolCall, out: &mut Vec<u8>) {
        self.close(Status::Completed, out);
        let output_index = self.items.len();
        let id = item_id("fc", &self.request_id, output_index);
        let empty = wire::ToolCall { arguments_json: String::new(), ..call.clone() };
        let added = OutputItem::call(id.clone(), empty, Status::InProgress);
        self.write(out, "response.output_item.added", ItemEvent { output_index, item: &added });
        let (item_id, arguments) = (id.as_str(), call.arguments_json.as_str());
        self.write(out, "response.function_call_arguments.delta", ArgumentsDelta { item_id, output_index, delta: arguments });
        let done = ArgumentsDone { item_id, output_index, name: &call.name, arguments };
        self.write(out, "response.function_call_arguments.done", done);
        let item = OutputItem::call(id, call, Status::Completed);
        self.write(out, "response.output_item.done", ItemEvent { output_index, item: &item });
        self.items.push(item);
    }

    /// An event that has the whole answer, as far as it has come.
    fn write_response(&mut self, out: &mut Vec<u8>, kind: &'static str, progress: Progress<'_>, receipt: Option<Receipt>) {
        let response = self.head.response(progress, &self.items);
        write_event(out, kind, &Event { kind, sequence_number: self.sequence, data: ResponseEvent { response, receipt } });
        self.sequence += 1;
    }

    /// Whether another call may be given.
    fn takes_call(&self) -> bool {
        self.head.echo.parallel_tool_calls || !self.items.iter().any(|item| matches!(item, OutputItem::FunctionCall { .. }))
    }
}

impl EventFormat for ResponseEvents {
    const KEEP_ALIVE: &'static [u8] = b": keep-alive\n\n";

    fn begin(&mut self, out: &mut Vec<u8>) {
        for kind in ["response.created", "response.in_progress"] {
            self.write_response(out, kind, Progress::Begun, None);
        }
    }

    fn delta(&mut self, delta: wire::Delta, out: &mut Vec<u8>) {
        if !delta.thinking.is_empty() {
            self.thinking(&delta.thinking, out);
        }
        if !delta.content.is_empty() || !delta.logprobs.is_empty() {
            self.text(&delta.content, delta.logprobs, out);
        }
        for call in delta.tool_calls {
            if self.takes_call() {
                self.call(call, out);
            }
        }
    }

    fn finish(&mut self, finished: &wire::Finished, out: &mut Vec<u8>) {
        let has_said = |item: &OutputItem| !matches!(item, OutputItem::Reasoning { .. });
        if !self.items.iter().chain(&self.open).any(has_said) {
            // Callers look for a message.
            self.close(Status::Completed, out);
            self.open_message(out);
        }
        self.close(text_status(finished), out);
        let is_cut = finished.reason() == wire::FinishReason::Length;
        let kind = if is_cut { "response.incomplete" } else { "response.completed" };
        self.write_response(out, kind, Progress::Ended(finished), finished.receipt.as_ref().map(Receipt::from));
    }

    fn fail(&mut self, refusal: &Refusal, out: &mut Vec<u8>) {
        if let Some(mut item) = self.open.take() {
            if let OutputItem::Message { status, .. } = &mut item {
                *status = Status::Incomplete;
            }
            self.items.push(item);
        }
        self.write_response(out, "response.failed", Progress::Failed(refusal), refusal.receipt.as_ref().map(Receipt::from));
        let param = refusal.fields.first().map(|(field, _)| field.as_str());
        let error = ErrorEvent { code: refusal.code(), message: &refusal.message, param, body: refusal.into() };
        self.write(out, "error", error);
    }
}

#[cfg(test)]
mod tests;

//! One answer as Anthropic's stream of events.

use serde::Serialize;
use shared::doors::Refusal;
use shared::proto::inference as wire;
use shared::request_context::CurrentCall;

use super::conversion::AnswerForm;
use super::error::ErrorBody;
use super::message::{Message, UNSIGNED, Usage, call_id, message_id, stop_reason};
use crate::doors::named_events::{EventFormat, write_event};
use crate::doors::openai::usage::Receipt;

/// What has been said of an answer, and in which block it goes on.
pub(super) struct MessageEvents {
    id: String,
    model: String,
    form: AnswerForm,
    /// Calls so far.
    calls: usize,
    /// The number of the block that is open, or comes next.
    index: u32,
    open: Option<OpenBlock>,
    request_id: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OpenBlock {
    Thinking,
    Text,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event<'a> {
    MessageStart {
        message: &'a Message<'a>,
    },
    ContentBlockStart {
        index: u32,
        content_block: EmptyBlock<'a>,
    },
    ContentBlockDelta {
        index: u32,
        delta: BlockDelta<'a>,
    },
    ContentBlockStop {
        index: u32,
    },
    MessageDelta {
        delta: MessageEnd,
        usage: Usage,
        #[serde(skip_serializing_if = "Option::is_none")]
        receipt: Option<Receipt>,
    },
    MessageStop,
}

/// A block as it begins.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum EmptyBlock<'a> {
    Thinking { thinking: &'static str, signature: &'static str },
    Text { text: &'static str },
    ToolUse { id: &'a str, name: &'a str, input: EmptyObject },
}

#[derive(Serialize)]
struct EmptyObject {}

#[derive(Serialize)]
#[serde(tag = "type")]
enum BlockDelta<'a> {
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'static str },
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: &'a str },
}

#[derive(Serialize)]
struct MessageEnd {
    stop_reason: &'static str,
    stop_sequence: Option<&'static str>,
}

impl Event<'_> {
    /// Its name stands before it and in it.
    fn name(&self) -> &'static str {
        match self {
            Self::MessageStart { .. } => "message_start",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop => "message_stop",
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_event(out, self.name(), self);
    }
}

impl MessageEvents {
    pub(super) fn new(started: &wire::Started, form: AnswerForm) -> Self {
        let (id, model) = (message_id(&started.request_id), started.model.clone());
        let request_id = CurrentCall::get().request_id().map(str::to_owned);
        Self { id, model, form, calls: 0, index: 0, open: None, request_id }
    }

    /// Opens a block, unless it is open.
    fn open(&mut self, block: OpenBlock, out: &mut Vec<u8>) {
        if self.open == Some(block) {
            return;
        }
        self.close(out);
        self.open = Some(block);
        let content_block = match block {
            OpenBlock::Thinking => EmptyBlock::Thinking { thinking: "", signature: "" },
            OpenBlock::Text => EmptyBlock::Text { text: "" },
        };
        Event::ContentBlockStart { index: self.index, content_block }.write(out);
    }

    /// Closes the block that is open, if any.
    fn close(&mut self, out: &mut Vec<u8>) {
        let Some(block) = self.open.take() else { return };
        if block == OpenBlock::Thinking {
            self.write_delta(BlockDelta::Signature { signature: UNSIGNED }, out);
        }
        self.stop(out);
    }

    fn stop(&mut self, out: &mut Vec<u8>) {
        Event::ContentBlockStop { index: self.index }.write(out);
        self.index += 1;
    }

    fn write_delta(&self, delta: BlockDelta<'_>, out: &mut Vec<u8>) {
        Event::ContentBlockDelta { index: self.index, delta }.write(out);
    }

    /// A call is a block by itself, and comes whole.
    fn tool_use(&mut self, call: &wire::ToolCall, out: &mut Vec<u8>) {
        if self.form.one_call && self.calls > 0 {
            return;
        }
        self.close(out);
        let id = call_id(call, &self.id, self.calls);
        self.calls += 1;
        let content_block = EmptyBlock::ToolUse { id: &id, name: &call.name, input: EmptyObject {} };
        Event::ContentBlockStart { index: self.index, content_block }.write(out);
        self.write_delta(BlockDelta::InputJson { partial_json: &call.arguments_json }, out);
        self.stop(out);
    }
}

impl EventFormat for MessageEvents {
    const KEEP_ALIVE: &'static [u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";

    fn begin(&mut self, out: &mut Vec<u8>) {
        Event::MessageStart { message: &Message::new(&self.id, &self.model, Vec::new(), None) }.write(out);
    }

    fn delta(&mut self, delta: wire::Delta, out: &mut Vec<u8>) {
        if !delta.thinking.is_empty() {
            self.open(OpenBlock::Thinking, out);
            if !self.form.omits_thinking {
                self.write_delta(BlockDelta::Thinking { thinking: &delta.thinking }, out);
            }
        }
        if !delta.content.is_empty() {
            self.open(OpenBlock::Text, out);
            self.write_delta(BlockDelta::Text { text: &delta.content }, out);
        }
        for call in &delta.tool_calls {
            self.tool_use(call, out);
        }
    }

    fn finish(&mut self, finished: &wire::Finished, out: &mut Vec<u8>) {
        if self.index == 0 && self.open.is_none() {
            // Callers look for a first block.
            self.open(OpenBlock::Text, out);
        }
        self.close(out);
        let delta = MessageEnd { stop_reason: stop_reason(finished), stop_sequence: None };
        let receipt = finished.receipt.as_ref().map(Receipt::from);
        Event::MessageDelta { delta, usage: finished.into(), receipt }.write(out);
        Event::MessageStop.write(out);
    }

    fn fail(&mut self, refusal: &Refusal, out: &mut Vec<u8>) {
        write_event(out, "error", &ErrorBody::new(refusal, self.request_id.take()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::error::CallError;

    use super::*;

    const WHOLE: AnswerForm = AnswerForm { omits_thinking: false, one_call: false };

    fn events(form: AnswerForm, pieces: &[wire::Delta], end: Result<&wire::Finished, &Refusal>) -> Vec<Value> {
        let started = wire::Started { request_id: "r-1".into(), model: "m".into(), ..Default::default() };
        let (mut format, mut out) = (MessageEvents::new(&started, form), Vec::new());
        format.begin(&mut out);
        for piece in pieces {
            format.delta(piece.clone(), &mut out);
        }
        match end {
            Ok(finished) => format.finish(finished, &mut out),
            Err(refusal) => format.fail(refusal, &mut out),
        }
        let text = String::from_utf8(out.to_vec()).unwrap();
        let mut all = Vec::new();
        for event in text.split_terminator("\n\n") {
            let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!(data["type"], name);
            all.push(data);
        }
        all
    }

    fn text(content: &str) -> wire::Delta {
        wire::Delta { content: content.into(), ..Default::default() }
    }

    fn thinking(thinking: &str) -> wire::Delta {
        wire::Delta { thinking: thinking.into(), ..Default::default() }
    }

    fn finished(reason: wire::FinishReason) -> wire::Finished {
        wire::Finished {
            reason: reason.into(),
            usage: Some(wire::Usage { input_tokens: Some(14), output_tokens: Some(3), ..Default::default() }),
            receipt: Some(wire::Receipt { charged_credits: Some(2), remaining_credits: Some(8), ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn thinking_text_and_a_call_are_three_blocks_and_the_end_has_the_counts_and_the_cost() {
        let call = wire::ToolCall { id: "c1".into(), name: "f".into(), arguments_json: r#"{"b":1.0,"a":2}"#.into() };
        let pieces = [thinking("hm"), thinking("m"), text("I"), wire::Delta { tool_calls: vec![call], ..text(" call") }];
        let all = events(WHOLE, &pieces, Ok(&finished(wire::FinishReason::ToolCalls)));
        let message = json!({
            "id": "msg_r-1", "type": "message", "role": "assistant", "model": "m", "content": [],
            "stop_reason": null, "stop_sequence": null,
            "usage": { "input_tokens": 0, "output_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0 },
        });
        let start = |index: u32, block: Value| json!({ "type": "content_block_start", "index": index, "content_block": block });
        let delta = |index: u32, delta: Value| json!({ "type": "content_block_delta", "index": index, "delta": delta });
        let stop = |index: u32| json!({ "type": "content_block_stop", "index": index });
        let expected = [
            json!({ "type": "message_start", "message": message }),
            start(0, json!({ "type": "thinking", "thinking": "", "signature": "" })),
            delta(0, json!({ "type": "thinking_delta", "thinking": "hm" })),
            delta(0, json!({ "type": "thinking_delta", "thinking": "m" })),
            delta(0, json!({ "type": "signature_delta", "signature": "unsigned" })),
            stop(0),
            start(1, json!({ "type": "text", "text": "" })),
            delta(1, json!({ "type": "text_delta", "text": "I" })),
            delta(1, json!({ "type": "text_delta", "text": " call" })),
            stop(1),
            start(2, json!({ "type": "tool_use", "id": "c1", "name": "f", "input": {} })),
            delta(2, json!({ "type": "input_json_delta", "partial_json": "{\"b\":1.0,\"a\":2}" })),
            stop(2),
            json!({
                "type": "message_delta", "delta": { "stop_reason": "tool_use", "stop_sequence": null },
                "usage": {
                    "input_tokens": 14, "output_tokens": 3, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "cost": 2,
                },
                "receipt": { "charged_credits": 2, "remaining_credits": 8 },
            }),
            json!({ "type": "message_stop" }),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn thinking_that_is_to_be_omitted_leaves_an_empty_block() {
        let all =
            events(AnswerForm { omits_thinking: true, ..WHOLE }, &[thinking("secret"), text("x")], Ok(&finished(wire::FinishReason::Stop)));
        assert!(!format!("{all:?}").contains("secret"));
        assert_eq!(all[1]["content_block"]["type"], "thinking");
        assert_eq!(all[2]["delta"]["type"], "signature_delta");
    }

    #[test]
    fn where_calls_may_not_be_parallel_the_first_alone_is_given() {
        let call = |id: &str| wire::ToolCall { id: id.into(), name: "f".into(), arguments_json: "{}".into() };
        let pieces = [
            wire::Delta { tool_calls: vec![call("c1"), call("c2")], ..Default::default() },
            wire::Delta { tool_calls: vec![call("c3")], ..Default::default() },
        ];
        let all = events(AnswerForm { one_call: true, ..WHOLE }, &pieces, Ok(&finished(wire::FinishReason::ToolCalls)));
        let starts: Vec<_> = all.iter().filter(|event| event["type"] == "content_block_start").collect();
        assert_eq!((starts.len(), &starts[0]["content_block"]["id"]), (1, &json!("c1")));
    }

    #[test]
    fn a_call_that_the_model_server_gave_no_id_has_one() {
        let call = wire::ToolCall { name: "f".into(), arguments_json: "{}".into(), ..Default::default() };
        let pieces = [wire::Delta { tool_calls: vec![call.clone(), call], ..Default::default() }];
        let all = events(WHOLE, &pieces, Ok(&finished(wire::FinishReason::ToolCalls)));
        let starts = all.iter().filter(|event| event["type"] == "content_block_start");
        let ids: Vec<&str> = starts.map(|event| event["content_block"]["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["toolu_msg_r-1_0", "toolu_msg_r-1_1"]);
    }

    #[test]
    fn an_answer_of_nothing_is_one_empty_text() {
        let all = events(WHOLE, &[], Ok(&finished(wire::FinishReason::Length)));
        let names: Vec<&str> = all.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(names, ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"]);
        assert_eq!(all[3]["delta"]["stop_reason"], "max_tokens");
    }

    #[test]
    fn an_answer_that_breaks_off_ends_with_an_error_event_that_says_what_it_cost() {
        let receipt = wire::Receipt { charged_credits: Some(1), ..Default::default() };
        let refusal = Refusal::from(CallError::internal().receipt(&receipt));
        let all = events(WHOLE, &[text("x")], Err(&refusal));
        let last = all.last().unwrap();
        assert_eq!(
            (&last["type"], &last["error"]["type"], &last["error"]["code"]),
            (&json!("error"), &json!("api_error"), &json!("INTERNAL"))
        );
        assert_eq!(last["error"]["receipt"], json!({ "charged_credits": 1 }));
        assert!(!all.iter().any(|event| event["type"] == "message_stop"));
    }
}

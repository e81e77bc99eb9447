//! The chunks of a streamed answer to a chat. Each is written into one buffer, from what it borrows.

use bytes::Bytes;
use serde::Serialize;
use shared::doors::Refusal;
use shared::proto::inference as wire;

use super::answer_head::{AnswerHead, FINGERPRINT, SERVICE_TIER};
use super::chat_request::AnswerForm;
use super::logprobs::ChatLogprobs;
use super::tool_calls::ToolCalls;
use super::usage::{Receipt, Usage, finish_reason};
use super::{error, event};
use crate::chat_stream::StreamEvent;

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'static str>,
    choices: &'a [Choice<'a>],
    /// `null` in all chunks before the last, where counts were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
    /// In the last chunk. It is none of OpenAI's, so SDKs pass over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<Receipt>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<ChatLogprobs<'a>>,
    finish_reason: Option<&'a str>,
}

#[derive(Serialize, Default)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    /// Thinking, in Ollama's word and in that of other servers: SDKs' users read the one or the other.
    #[serde(skip_serializing_if = "str::is_empty")]
    reasoning: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reasoning_content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<ToolCalls<'a>>,
}

/// Room for a chunk of a few characters, whatever its ids.
const FIRST_BYTES: usize = 384;

/// Writes an answer's chunks.
#[derive(Debug)]
pub(super) struct ChunkWriter {
    head: AnswerHead,
    form: AnswerForm,
    /// Whether a chunk has said who speaks: the first one does.
    has_said_role: bool,
    /// Calls that were sent.
    calls: usize,
}

impl ChunkWriter {
    pub(super) fn new(head: AnswerHead, form: AnswerForm) -> Self {
        Self { head, form, has_said_role: false, calls: 0 }
    }

    /// The events that one event of the answer becomes; empty when there is nothing to say.
    pub(super) fn write(&mut self, event: Result<StreamEvent, Refusal>) -> Bytes {
        let mut out = Vec::new();
        match event {
            Ok(StreamEvent::Started(_)) => {}
            Ok(StreamEvent::Delta(delta)) => self.delta(&mut out, &delta),
            Ok(StreamEvent::Finished(finished)) => self.finish(&mut out, &finished),
            Err(refusal) => error::write_event(&mut out, &refusal),
        }
        out.into()
    }

    fn delta(&mut self, out: &mut Vec<u8>, delta: &wire::Delta) {
        let most = if self.form.one_call { 1_usize.saturating_sub(self.calls) } else { usize::MAX };
        let calls = &delta.tool_calls[..delta.tool_calls.len().min(most)];
        if calls.is_empty() && delta.content.is_empty() && delta.thinking.is_empty() && delta.logprobs.is_empty() {
            return;
        }
        out.reserve(FIRST_BYTES + delta.content.len() + 2 * delta.thinking.len());
        let first = self.calls;
        self.calls += calls.len();
        let has_content = !delta.content.is_empty() || (calls.is_empty() && delta.thinking.is_empty());
        let role = self.role();
        let delta_body = Delta {
            role,
            content: has_content.then_some(delta.content.as_str()),
            reasoning: &delta.thinking,
            reasoning_content: &delta.thinking,
            tool_calls: (!calls.is_empty()).then(|| ToolCalls { calls, first, request_id: self.head.request_id(), with_index: true }),
        };
        let logprobs = self.form.logprobs.then_some(ChatLogprobs(&delta.logprobs));
        self.chunk(out, &[Choice { index: 0, delta: delta_body, logprobs, finish_reason: None }], None, None);
    }

    fn finish(&mut self, out: &mut Vec<u8>, finished: &wire::Finished) {
        out.reserve(3 * FIRST_BYTES);
        // An answer without a word says all the same who was silent.
        let role = self.role();
        let delta = Delta { role, content: role.map(|_| ""), ..Delta::default() };
        let choice = Choice { index: 0, delta, logprobs: None, finish_reason: Some(finish_reason(finished)) };
        let receipt = finished.receipt.as_ref().map(Receipt::from);
        if self.form.include_usage {
            self.chunk(out, &[choice], None, None);
            self.chunk(out, &[], Some(Usage::of(finished)), receipt);
        } else {
            self.chunk(out, &[choice], None, receipt);
        }
        out.extend_from_slice(event::DONE);
    }

    /// Who speaks, the first time that it is asked for.
    fn role(&mut self) -> Option<&'static str> {
        let is_first = !std::mem::replace(&mut self.has_said_role, true);
        is_first.then_some("assistant")
    }

    fn chunk(&self, out: &mut Vec<u8>, choices: &[Choice<'_>], usage: Option<Usage>, receipt: Option<Receipt>) {
        let chunk = Chunk {
            id: &self.head.id,
            object: "chat.completion.chunk",
            created: self.head.created,
            model: &self.head.model,
            system_fingerprint: FINGERPRINT,
            service_tier: self.form.service_tier.then_some(SERVICE_TIER),
            choices,
            usage: self.form.include_usage.then_some(usage),
            receipt,
        };
        event::write(out, &chunk);
    }
}

#[cfg(test)]
mod tests {
    use shared::ErrorReason;

    use super::*;

    const HEAD: &str =
        r#"data: {"id":"chatcmpl-r","object":"chat.completion.chunk","created":7,"model":"m","system_fingerprint":"fp_tollgate","#;

    fn writer(form: AnswerForm) -> ChunkWriter {
        let started = wire::Started { request_id: "r".into(), model: "m".into(), ..Default::default() };
        let head = AnswerHead::at(7, "chatcmpl-", &started);
        ChunkWriter::new(head, form)
    }

    fn text(content: &str) -> Result<StreamEvent, Refusal> {
        Ok(StreamEvent::Delta(wire::Delta { content: content.into(), ..Default::default() }))
    }

    fn finished(reason: wire::FinishReason) -> Result<StreamEvent, Refusal> {
        Ok(StreamEvent::Finished(wire::Finished {
            reason: reason.into(),
            usage: Some(wire::Usage { input_tokens: Some(5), output_tokens: Some(2), ..Default::default() }),
            receipt: Some(wire::Receipt { charged_credits: Some(1), remaining_credits: Some(9), ..Default::default() }),
            ..Default::default()
        }))
    }

    fn written(writer: &mut ChunkWriter, event: Result<StreamEvent, Refusal>) -> String {
        String::from_utf8(writer.write(event).to_vec()).unwrap()
    }

    #[test]
    fn the_first_chunk_says_who_speaks_and_the_last_why_it_ended_and_what_it_cost() {
        let mut writer = writer(AnswerForm { stream: true, ..Default::default() });
        assert_eq!(written(&mut writer, Ok(StreamEvent::Started(wire::Started::default()))), "");
        let choice = |delta: &str, reason: &str| {
            format!(r#"{HEAD}"choices":[{{"index":0,"delta":{{{delta}}},"logprobs":null,"finish_reason":{reason}}}]"#)
        };
        assert_eq!(written(&mut writer, text("one\n")), format!("{}}}\n\n", choice(r#""role":"assistant","content":"one\n""#, "null")));
        assert_eq!(written(&mut writer, text("two")), format!("{}}}\n\n", choice(r#""content":"two""#, "null")));
        assert_eq!(
            written(&mut writer, finished(wire::FinishReason::Length)),
            format!("{},\"receipt\":{{\"charged_credits\":1,\"remaining_credits\":9}}}}\n\ndata: [DONE]\n\n", choice("", "\"length\""))
        );
    }

    #[test]
    fn the_counts_come_in_a_chunk_of_their_own_when_they_were_asked_for() {
        let mut writer = writer(AnswerForm { stream: true, include_usage: true, ..Default::default() });
        assert!(written(&mut writer, text("one")).ends_with(",\"usage\":null}\n\n"));
        let last = written(&mut writer, finished(wire::FinishReason::Stop));
        let events: Vec<&str> = last.split_terminator("\n\n").collect();
        assert!(events[0].ends_with(r#""finish_reason":"stop"}],"usage":null}"#), "{}", events[0]);
        let usage = concat!(
            r#""choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,"cost":1},"#,
            r#""receipt":{"charged_credits":1,"remaining_credits":9}}"#
        );
        assert_eq!(events[1..], [&format!("{HEAD}{usage}"), "data: [DONE]"]);
    }

    #[test]
    fn thinking_has_both_of_its_names_and_calls_have_their_numbers_through_the_stream() {
        let mut writer = writer(AnswerForm { stream: true, ..Default::default() });
        let thinking = wire::Delta { thinking: "hm".into(), ..Default::default() };
        let event = written(&mut writer, Ok(StreamEvent::Delta(thinking)));
        assert!(event.contains(r#""delta":{"role":"assistant","reasoning":"hm","reasoning_content":"hm"}"#), "{event}");
        let call = wire::ToolCall { id: "c".into(), name: "f".into(), arguments_json: "{}".into() };
        let calls = wire::Delta { tool_calls: vec![call], ..Default::default() };
        for index in 0..2 {
            let event = written(&mut writer, Ok(StreamEvent::Delta(calls.clone())));
            let expected = format!(
                r#""delta":{{"tool_calls":[{{"index":{index},"id":"c","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}]}}"#
            );
            assert!(event.contains(&expected), "{event}");
        }
        assert!(
            written(&mut writer, finished(wire::FinishReason::ToolCalls))
                .contains(r#""delta":{},"logprobs":null,"finish_reason":"tool_calls""#)
        );
    }

    #[test]
    fn without_parallel_calls_an_answer_has_one() {
        let mut writer = writer(AnswerForm { stream: true, one_call: true, ..Default::default() });
        let call = wire::ToolCall { id: "c".into(), name: "f".into(), arguments_json: "{}".into() };
        let calls = wire::Delta { tool_calls: vec![call.clone(), call], ..Default::default() };
        assert_eq!(written(&mut writer, Ok(StreamEvent::Delta(calls.clone()))).matches("\"function\":").count(), 1);
        assert_eq!(written(&mut writer, Ok(StreamEvent::Delta(calls))), "");
    }

    #[test]
    fn an_answer_without_a_word_says_who_was_silent() {
        let mut writer = writer(AnswerForm { stream: true, ..Default::default() });
        let event = written(&mut writer, finished(wire::FinishReason::Stop));
        assert!(event.contains(r#""delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":"stop""#), "{event}");
    }

    #[test]
    fn a_failure_ends_the_stream_without_its_last_event() {
        let mut writer = writer(AnswerForm { stream: true, ..Default::default() });
        let refusal = Refusal::new(http::StatusCode::SERVICE_UNAVAILABLE, ErrorReason::UpstreamUnavailable, "broken off");
        let event = written(&mut writer, Err(refusal));
        assert!(event.starts_with(r#"data: {"error":{"message":"broken off""#) && !event.contains("[DONE]"), "{event}");
    }
}

//! The answer to a bare prompt: whole, and in chunks, which have the same form.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use shared::doors::Refusal;
use shared::proto::inference as wire;

use super::answer_head::{AnswerHead, FINGERPRINT};
use super::chat_request::AnswerForm;
use super::logprobs::CompletionLogprobs;
use super::usage::{Receipt, Usage, finish_reason};
use super::{error, event};
use crate::chat_stream::StreamEvent;
use crate::doors::answer::WholeAnswer;

/// An answer, or a chunk of one.
#[derive(Serialize, JsonSchema)]
pub(super) struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: &'a [Choice<'a>],
    /// `null` in all chunks before the last, where counts were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
    /// In the last chunk. It is none of OpenAI's, so SDKs pass over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<Receipt>,
}

#[derive(Serialize, JsonSchema)]
struct Choice<'a> {
    index: u32,
    text: &'a str,
    /// Thinking, of models that think without being asked.
    #[serde(skip_serializing_if = "str::is_empty")]
    reasoning: &'a str,
    logprobs: Option<CompletionLogprobs<'a>>,
    finish_reason: Option<&'a str>,
}

/// Room for a chunk of a few characters, whatever its ids.
const FIRST_BYTES: usize = 320;

fn completion<'a>(
    head: &'a AnswerHead,
    choices: &'a [Choice<'a>],
    usage: Option<Option<Usage>>,
    receipt: Option<Receipt>,
) -> Completion<'a> {
    Completion {
        id: &head.id,
        object: "text_completion",
        created: head.created,
        model: &head.model,
        system_fingerprint: FINGERPRINT,
        choices,
        usage,
        receipt,
    }
}

/// The whole answer as JSON.
pub(super) fn to_json(head: &AnswerHead, form: AnswerForm, whole: &WholeAnswer) -> Vec<u8> {
    let choice = Choice {
        index: 0,
        text: &whole.content,
        reasoning: &whole.thinking,
        logprobs: form.logprobs.then_some(CompletionLogprobs { logprobs: &whole.logprobs, offset: 0 }),
        finish_reason: Some(finish_reason(&whole.finished)),
    };
    super::to_json(&completion(head, &[choice], Some(Some(Usage::of(&whole.finished))), None))
}

/// Writes an answer's chunks.
#[derive(Debug)]
pub(super) struct CompletionWriter {
    head: AnswerHead,
    form: AnswerForm,
    /// Characters of text whose log probabilities were sent.
    offset: usize,
}

impl CompletionWriter {
    pub(super) fn new(head: AnswerHead, form: AnswerForm) -> Self {
        Self { head, form, offset: 0 }
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
        out.reserve(FIRST_BYTES + delta.content.len() + delta.thinking.len());
        let logprobs = self.form.logprobs.then_some(CompletionLogprobs { logprobs: &delta.logprobs, offset: self.offset });
        self.offset = logprobs.as_ref().map_or(self.offset, CompletionLogprobs::end);
        let choice = Choice { index: 0, text: &delta.content, reasoning: &delta.thinking, logprobs, finish_reason: None };
        self.chunk(out, &[choice], None, None);
    }

    fn finish(&self, out: &mut Vec<u8>, finished: &wire::Finished) {
        out.reserve(3 * FIRST_BYTES);
        let choice = Choice { index: 0, text: "", reasoning: "", logprobs: None, finish_reason: Some(finish_reason(finished)) };
        let receipt = finished.receipt.as_ref().map(Receipt::from);
        if self.form.include_usage {
            self.chunk(out, &[choice], None, None);
            self.chunk(out, &[], Some(Usage::of(finished)), receipt);
        } else {
            self.chunk(out, &[choice], None, receipt);
        }
        out.extend_from_slice(event::DONE);
    }

    fn chunk(&self, out: &mut Vec<u8>, choices: &[Choice<'_>], usage: Option<Usage>, receipt: Option<Receipt>) {
        event::write(out, &completion(&self.head, choices, self.form.include_usage.then_some(usage), receipt));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"{"id":"cmpl-r","object":"text_completion","created":7,"model":"m","system_fingerprint":"fp_tollgate","#;

    fn head() -> AnswerHead {
        let started = wire::Started { request_id: "r".into(), model: "m".into(), ..Default::default() };
        AnswerHead::at(7, "cmpl-", &started)
    }

    fn finished() -> wire::Finished {
        wire::Finished {
            reason: wire::FinishReason::Length.into(),
            usage: Some(wire::Usage { input_tokens: Some(5), output_tokens: Some(2), ..Default::default() }),
            receipt: Some(wire::Receipt { charged_credits: Some(1), remaining_credits: Some(9), ..Default::default() }),
            ..Default::default()
        }
    }

    fn delta(content: &str) -> wire::Delta {
        let logprobs = vec![wire::Logprob { token: content.into(), logprob: -0.5, ..Default::default() }];
        wire::Delta { content: content.into(), logprobs, ..Default::default() }
    }

    fn written(writer: &mut CompletionWriter, event: StreamEvent) -> String {
        String::from_utf8(writer.write(Ok(event)).to_vec()).unwrap()
    }

    #[test]
    fn a_whole_answer_has_openais_form_and_what_it_cost() {
        let whole = WholeAnswer { content: "upon".into(), finished: finished(), ..Default::default() };
        let json = String::from_utf8(to_json(&head(), AnswerForm::default(), &whole)).unwrap();
        let rest = concat!(
            r#""choices":[{"index":0,"text":"upon","logprobs":null,"finish_reason":"length"}],"#,
            r#""usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,"cost":1}}"#
        );
        assert_eq!(json, format!("{HEAD}{rest}"));
    }

    #[test]
    fn chunks_have_the_text_and_offsets_go_on_through_the_stream() {
        let mut writer = CompletionWriter::new(head(), AnswerForm { stream: true, logprobs: true, ..Default::default() });
        assert!(written(&mut writer, StreamEvent::Delta(delta("éa"))).contains(r#""text_offset":[0]"#));
        let second = written(&mut writer, StreamEvent::Delta(delta("b")));
        let choice = concat!(
            r#""choices":[{"index":0,"text":"b","logprobs":{"tokens":["b"],"token_logprobs":[-0.5],"top_logprobs":null,"#,
            r#""text_offset":[2]},"finish_reason":null}]}"#
        );
        assert_eq!(second, format!("data: {HEAD}{choice}\n\n"));
        let last = written(&mut writer, StreamEvent::Finished(finished()));
        let choice = concat!(
            r#""choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"length"}],"#,
            r#""receipt":{"charged_credits":1,"remaining_credits":9}}"#
        );
        assert_eq!(last, format!("data: {HEAD}{choice}\n\ndata: [DONE]\n\n"));
    }
}

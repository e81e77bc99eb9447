//! What a caller is told of an answer, made of what the engine and auth-service say.

use std::time::Duration;

use shared::proto::{auth, inference as wire};

use crate::auth_client::TokenUsage;
use crate::engine::{Done, Piece};

/// One event of an answer, before it is wrapped for Chat or Generate.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamEvent {
    /// First.
    Started(wire::Started),
    /// A piece.
    Delta(wire::Delta),
    /// Last.
    Finished(wire::Finished),
}

/// A caller's view of auth-service's receipt.
pub(crate) fn to_wire_receipt(receipt: &auth::Receipt) -> wire::Receipt {
    wire::Receipt {
        charged_credits: Some(receipt.charged_credits()),
        remaining_credits: Some(receipt.remaining_credits()),
        ledger_entry_id: receipt.ledger_entry_id.clone(),
    }
}

pub(super) fn finished(done: &Done, usage: TokenUsage, called_tools: bool) -> wire::Finished {
    let reason = match done.reason.as_str() {
        "stop" if called_tools => wire::FinishReason::ToolCalls,
        "stop" => wire::FinishReason::Stop,
        "length" => wire::FinishReason::Length,
        _ => wire::FinishReason::Unspecified,
    };
    wire::Finished {
        reason: reason.into(),
        upstream_reason: done.reason.clone(),
        usage: Some(to_wire_usage(done, usage)),
        receipt: None,
        replayed: false,
    }
}

/// A caller's view of what was counted, and of the engine's times.
pub(crate) fn to_wire_usage(done: &Done, usage: TokenUsage) -> wire::Usage {
    let duration = |duration: Option<Duration>| duration.and_then(|duration| duration.try_into().ok());
    wire::Usage {
        input_tokens: Some(usage.input_tokens),
        output_tokens: Some(usage.output_tokens),
        estimated: usage.estimated,
        load: duration(done.load),
        total: duration(done.total),
        prompt_evaluation: duration(done.prompt_evaluation),
        generation: duration(done.generation),
    }
}

/// What a request had used that was resolved before.
pub(crate) fn recorded_usage(recorded: &auth::Receipt) -> Option<wire::Usage> {
    recorded.usage.map(|usage| wire::Usage {
        input_tokens: Some(usage.input_tokens()),
        output_tokens: Some(usage.output_tokens()),
        estimated: usage.estimated,
        ..wire::Usage::default()
    })
}

/// The two events that answer a request which was resolved before.
#[must_use]
pub fn replay(request_id: String, model: String, recorded: &auth::Receipt) -> [StreamEvent; 2] {
    let started = wire::Started { request_id, model, ..wire::Started::default() };
    let usage = recorded_usage(recorded);
    let finished = wire::Finished { usage, receipt: Some(to_wire_receipt(recorded)), replayed: true, ..wire::Finished::default() };
    [StreamEvent::Started(started), StreamEvent::Finished(finished)]
}

/// Appends what came after it.
pub(super) fn append(whole: &mut wire::Delta, next: wire::Delta) {
    whole.content.push_str(&next.content);
    whole.thinking.push_str(&next.thinking);
    whole.tool_calls.extend(next.tool_calls);
    whole.logprobs.extend(next.logprobs);
}

impl From<Piece> for wire::Delta {
    fn from(piece: Piece) -> Self {
        let tool_calls =
            piece.tool_calls.into_iter().map(|call| wire::ToolCall { id: call.id, name: call.name, arguments_json: call.arguments_json });
        let logprobs = piece.logprobs.into_iter().map(|logprob| wire::Logprob {
            token: logprob.token,
            logprob: logprob.logprob,
            token_bytes: logprob.bytes,
            top_logprobs: logprob
                .top
                .into_iter()
                .map(|top| wire::TopLogprob { token: top.token, logprob: top.logprob, token_bytes: top.bytes })
                .collect(),
        });
        Self { content: piece.content, thinking: piece.thinking, tool_calls: tool_calls.collect(), logprobs: logprobs.collect() }
    }
}

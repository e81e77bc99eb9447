//! What an answer took.

use schemars::JsonSchema;
use serde::Serialize;
use shared::proto::inference as wire;

/// Tokens, and what they cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub(super) struct Usage {
    prompt_tokens: u32,
    /// Thinking included.
    completion_tokens: u32,
    total_tokens: u64,
    /// Credits charged. Not there when the charge could not be recorded in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<i64>,
}

impl Usage {
    pub(super) fn of(finished: &wire::Finished) -> Self {
        let tokens = finished.usage.unwrap_or_default();
        let (prompt_tokens, completion_tokens) = (tokens.input_tokens.unwrap_or_default(), tokens.output_tokens.unwrap_or_default());
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: u64::from(prompt_tokens) + u64::from(completion_tokens),
            cost: finished.receipt.as_ref().and_then(|receipt| receipt.charged_credits),
        }
    }
}

/// What was charged: beside a stream's last chunk and an error, where there are no headers any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub(in crate::doors) struct Receipt {
    /// Credits.
    #[serde(skip_serializing_if = "Option::is_none")]
    charged_credits: Option<i64>,
    /// Credits left on the account right after.
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_credits: Option<i64>,
}

impl From<&wire::Receipt> for Receipt {
    fn from(receipt: &wire::Receipt) -> Self {
        Self { charged_credits: receipt.charged_credits, remaining_credits: receipt.remaining_credits }
    }
}

/// OpenAI's word for an answer's end. What is none of them is the model server's own, as in Ollama's own endpoint.
pub(super) fn finish_reason(finished: &wire::Finished) -> &str {
    match finished.reason() {
        wire::FinishReason::Stop => "stop",
        wire::FinishReason::Length => "length",
        wire::FinishReason::ToolCalls => "tool_calls",
        wire::FinishReason::Unspecified if finished.upstream_reason.is_empty() => "stop",
        wire::FinishReason::Unspecified => &finished.upstream_reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_stands_beside_the_counts() {
        let finished = wire::Finished {
            usage: Some(wire::Usage { input_tokens: Some(5), output_tokens: Some(2), ..Default::default() }),
            receipt: Some(wire::Receipt { charged_credits: Some(3), remaining_credits: Some(7), ..Default::default() }),
            ..Default::default()
        };
        let json = serde_json::to_string(&Usage::of(&finished)).unwrap();
        assert_eq!(json, r#"{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,"cost":3}"#);
        let unsettled = wire::Finished { receipt: None, ..finished };
        assert!(!serde_json::to_string(&Usage::of(&unsettled)).unwrap().contains("cost"));
    }

    #[test]
    fn an_end_has_openais_word() {
        for (reason, upstream, word) in [
            (wire::FinishReason::Stop, "stop", "stop"),
            (wire::FinishReason::Length, "length", "length"),
            (wire::FinishReason::ToolCalls, "stop", "tool_calls"),
            (wire::FinishReason::Unspecified, "", "stop"),
            (wire::FinishReason::Unspecified, "other", "other"),
        ] {
            let finished = wire::Finished { reason: reason.into(), upstream_reason: upstream.into(), ..Default::default() };
            assert_eq!(finish_reason(&finished), word);
        }
    }
}

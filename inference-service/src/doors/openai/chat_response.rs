//! The whole answer to a chat.

use schemars::JsonSchema;
use serde::Serialize;

use super::answer_head::{AnswerHead, FINGERPRINT, SERVICE_TIER};
use super::chat_request::AnswerForm;
use super::logprobs::ChatLogprobs;
use super::tool_calls::ToolCalls;
use super::usage::{Usage, finish_reason};
use crate::doors::answer::WholeAnswer;

/// An answer.
#[derive(Serialize, JsonSchema)]
pub(super) struct ChatCompletion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'static str>,
    choices: [Choice<'a>; 1],
    usage: Usage,
}

#[derive(Serialize, JsonSchema)]
struct Choice<'a> {
    index: u32,
    message: Message<'a>,
    logprobs: Option<ChatLogprobs<'a>>,
    finish_reason: &'a str,
}

#[derive(Serialize, JsonSchema)]
struct Message<'a> {
    role: &'static str,
    /// `null` beside calls alone.
    content: Option<&'a str>,
    refusal: Option<&'a str>,
    /// Thinking, in Ollama's word and in that of other servers: SDKs' users read the one or the other.
    #[serde(skip_serializing_if = "str::is_empty")]
    reasoning: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reasoning_content: &'a str,
    #[serde(skip_serializing_if = "ToolCalls::is_empty")]
    tool_calls: ToolCalls<'a>,
}

/// The answer as JSON.
pub(super) fn to_json(head: &AnswerHead, form: AnswerForm, whole: &WholeAnswer) -> Vec<u8> {
    let WholeAnswer { content, thinking, tool_calls, logprobs, finished, .. } = whole;
    let calls = if form.one_call { &tool_calls[..tool_calls.len().min(1)] } else { &tool_calls[..] };
    let says_nothing = content.is_empty() && !calls.is_empty();
    let message = Message {
        role: "assistant",
        content: (!says_nothing).then_some(content.as_str()),
        refusal: None,
        reasoning: thinking,
        reasoning_content: thinking,
        tool_calls: ToolCalls { calls, first: 0, request_id: head.request_id(), with_index: false },
    };
    let choice =
        Choice { index: 0, message, logprobs: form.logprobs.then_some(ChatLogprobs(logprobs)), finish_reason: finish_reason(finished) };
    let completion = ChatCompletion {
        id: &head.id,
        object: "chat.completion",
        created: head.created,
        model: &head.model,
        system_fingerprint: FINGERPRINT,
        service_tier: form.service_tier.then_some(SERVICE_TIER),
        choices: [choice],
        usage: Usage::of(finished),
    };
    super::to_json(&completion)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::proto::inference as wire;

    use super::*;

    fn said(form: AnswerForm, whole: WholeAnswer) -> Value {
        let started = wire::Started { request_id: "r".into(), model: "m:7b".into(), ..Default::default() };
        let head = AnswerHead::at(7, "chatcmpl-", &started);
        serde_json::from_slice(&to_json(&head, form, &whole)).unwrap()
    }

    fn finished() -> wire::Finished {
        wire::Finished {
            reason: wire::FinishReason::Stop.into(),
            usage: Some(wire::Usage { input_tokens: Some(5), output_tokens: Some(2), ..Default::default() }),
            receipt: Some(wire::Receipt { charged_credits: Some(1), ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn a_whole_answer_has_openais_form_and_what_it_cost() {
        let whole = WholeAnswer { content: "Hi".into(), thinking: "hm".into(), finished: finished(), ..Default::default() };
        let expected = json!({
            "id": "chatcmpl-r", "object": "chat.completion", "created": 7, "model": "m:7b", "system_fingerprint": "fp_tollgate",
            "service_tier": "default",
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": "Hi", "refusal": null, "reasoning": "hm", "reasoning_content": "hm" },
                "logprobs": null, "finish_reason": "stop",
            }],
            "usage": { "prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "cost": 1 },
        });
        assert_eq!(said(AnswerForm { service_tier: true, ..Default::default() }, whole), expected);
    }

    #[test]
    fn calls_alone_have_no_content_and_without_parallel_ones_there_is_one() {
        let call = wire::ToolCall { id: "c".into(), name: "f".into(), arguments_json: "{}".into() };
        let whole = WholeAnswer { tool_calls: vec![call.clone(), call], finished: finished(), ..Default::default() };
        let both = said(AnswerForm::default(), whole.clone());
        let message = &both["choices"][0]["message"];
        assert_eq!(message["content"], Value::Null);
        assert_eq!(message["tool_calls"].as_array().unwrap().len(), 2);
        assert_eq!(message["tool_calls"][0], json!({ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } }));
        let one = said(AnswerForm { one_call: true, ..Default::default() }, whole);
        assert_eq!(one["choices"][0]["message"]["tool_calls"].as_array().unwrap().len(), 1);
        let silent = said(AnswerForm::default(), WholeAnswer { finished: finished(), ..Default::default() });
        assert_eq!(silent["choices"][0]["message"]["content"], "");
    }
}

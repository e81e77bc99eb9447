//! What a recorded answer says, read without the code under test, and what was heard of it.

use integration::recorded::Exchange;
use serde_json::Value;
use shared::proto::inference;

/// Whether all that was recorded was sent, and with the same values. More may be sent.
pub(crate) fn covers(sent: &Value, recorded: &Value) -> bool {
    match (sent, recorded) {
        (Value::Object(sent), Value::Object(recorded)) => {
            recorded.iter().all(|(key, recorded)| sent.get(key).is_some_and(|sent| covers(sent, recorded)))
        }
        (Value::Array(sent), Value::Array(recorded)) => {
            sent.len() == recorded.len() && sent.iter().zip(recorded).all(|(sent, recorded)| covers(sent, recorded))
        }
        // 1 and 1.0 are the same; 0.1 goes through a float of half the length.
        (Value::Number(sent), Value::Number(recorded)) => (sent.as_f64().unwrap() - recorded.as_f64().unwrap()).abs() < 1e-6,
        (sent, recorded) => sent == recorded,
    }
}

/// A recorded answer, read without the code under test.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct AnswerSummary {
    pub(crate) content: String,
    pub(crate) thinking: String,
    /// Names and arguments.
    pub(crate) tool_calls: Vec<(String, Value)>,
    /// Tokens, and how many alternatives each has.
    pub(crate) logprobs: Vec<(String, usize)>,
    /// Lines with any of these.
    pub(crate) pieces: usize,
    /// About how many tokens they are, when nobody has counted: one each, but four bytes are one where a line has a whole call or more than
    /// any token, and each log probability is one.
    pub(crate) tokens: usize,
}

pub(crate) fn piece_tokens(text: usize, calls: &[(String, Value)], logprobs: usize) -> usize {
    let calls: usize = calls.iter().map(|(name, arguments)| name.len() + arguments.to_string().len()).sum();
    let gathered = if calls > 0 || text > 128 { (text + calls).div_ceil(4) } else { 1 };
    gathered.max(logprobs)
}

impl AnswerSummary {
    pub(crate) fn recorded(exchange: &Exchange) -> (Self, String) {
        let (mut said, mut done_reason) = (Self::default(), String::new());
        for line in exchange.response.body().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let part = |path: &str| line.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
            let list = |path: &str| line.pointer(path).and_then(Value::as_array).cloned().unwrap_or_default();
            let (content, thinking) = (part("/message/content") + &part("/response"), part("/message/thinking") + &part("/thinking"));
            let (tool_calls, logprobs) = (list("/message/tool_calls"), list("/logprobs"));
            let call = |call: &Value| (call["function"]["name"].as_str().unwrap().to_owned(), call["function"]["arguments"].clone());
            let tool_calls: Vec<_> = tool_calls.iter().map(call).collect();
            if !(content.is_empty() && thinking.is_empty() && tool_calls.is_empty() && logprobs.is_empty()) {
                said.pieces += 1;
                said.tokens += piece_tokens(content.len() + thinking.len(), &tool_calls, logprobs.len());
            }
            said.content += &content;
            said.thinking += &thinking;
            said.tool_calls.extend(tool_calls);
            said.logprobs.extend(
                logprobs
                    .iter()
                    .map(|logprob| (logprob["token"].as_str().unwrap().to_owned(), logprob["top_logprobs"].as_array().map_or(0, Vec::len))),
            );
            done_reason += &part("/done_reason");
        }
        (said, done_reason)
    }

    pub(crate) fn heard(deltas: &[inference::Delta]) -> Self {
        let mut said = Self { pieces: deltas.len(), ..Self::default() };
        for delta in deltas {
            said.content += &delta.content;
            said.thinking += &delta.thinking;
            let call = |call: &inference::ToolCall| (call.name.clone(), serde_json::from_str(&call.arguments_json).unwrap());
            let tool_calls: Vec<_> = delta.tool_calls.iter().map(call).collect();
            said.tokens += piece_tokens(delta.content.len() + delta.thinking.len(), &tool_calls, delta.logprobs.len());
            said.tool_calls.extend(tool_calls);
            said.logprobs.extend(delta.logprobs.iter().map(|logprob| (logprob.token.clone(), logprob.top_logprobs.len())));
        }
        said
    }

    pub(crate) fn output_estimate(&self) -> i64 {
        i64::try_from(self.tokens).unwrap()
    }
}

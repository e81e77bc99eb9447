//! The answer to a chat or a bare prompt, in lines as Ollama writes them. What it cost stands beside the counts of the last line.
//!
//! Nothing is sent while the model is silent: clients take each line for JSON, and a comment isn't.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use prost_types::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::doors::Refusal;
use shared::proto::inference as wire;

use super::{NDJSON, json, refusal_body};
use crate::chat_stream::StreamEvent;
use crate::doors::answer::{OpenAnswer, receipt_headers};

/// Which of the two forms an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Chat,
    Generate,
}

/// A line of `/api/chat`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ChatLine {
    model: String,
    created_at: String,
    message: MessageLine,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    done_reason: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logprobs: Vec<LogprobLine>,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Debug, Serialize, JsonSchema)]
struct MessageLine {
    role: &'static str,
    content: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    thinking: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCallLine>,
}

/// A line of `/api/generate`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct GenerateLine {
    model: String,
    created_at: String,
    response: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    thinking: String,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    done_reason: Option<String>,
    #[serde(flatten)]
    counts: Counts,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCallLine>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logprobs: Vec<LogprobLine>,
}

/// What the last line has beside it. Times are nanoseconds; what is 0 or unknown is left out, as Ollama does.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct Counts {
    #[serde(skip_serializing_if = "is_zero")]
    total_duration: u64,
    #[serde(skip_serializing_if = "is_zero")]
    load_duration: u64,
    #[serde(skip_serializing_if = "is_zero")]
    prompt_eval_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    prompt_eval_duration: u64,
    #[serde(skip_serializing_if = "is_zero")]
    eval_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    eval_duration: u64,
    #[serde(flatten)]
    receipt: ReceiptFields,
}

/// Tollgate's own: what was charged. Left out while that is not known.
#[derive(Debug, Default, Clone, Copy, Serialize, JsonSchema)]
pub(super) struct ReceiptFields {
    /// Credits that were charged.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<i64>,
    /// Credits that are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_credits: Option<i64>,
}

impl From<Option<&wire::Receipt>> for ReceiptFields {
    fn from(receipt: Option<&wire::Receipt>) -> Self {
        let Some(receipt) = receipt else { return Self::default() };
        Self { cost: receipt.charged_credits, remaining_credits: receipt.remaining_credits }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Debug, Serialize, JsonSchema)]
struct ToolCallLine {
    #[serde(skip_serializing_if = "String::is_empty")]
    id: String,
    function: FunctionLine,
}

#[derive(Debug, Serialize, JsonSchema)]
struct FunctionLine {
    index: usize,
    name: String,
    /// An object.
    #[schemars(with = "serde_json::Value")]
    arguments: Box<RawValue>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct LogprobLine {
    token: String,
    logprob: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bytes: Vec<u8>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    top_logprobs: Vec<TopLogprobLine>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct TopLogprobLine {
    token: String,
    logprob: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bytes: Vec<u8>,
}

/// Now, as Go writes times.
fn now() -> String {
    Timestamp::from(SystemTime::now()).to_string()
}

/// Writes the lines of one answer.
#[derive(Debug)]
pub(super) struct Lines {
    form: Form,
    model: String,
    /// Tool calls so far: each has its index.
    tool_calls: usize,
}

impl Lines {
    pub(super) fn new(form: Form, model: String) -> Self {
        Self { form, model, tool_calls: 0 }
    }

    /// A piece of the answer.
    fn piece(&mut self, delta: wire::Delta) -> String {
        self.line(delta, None, Counts::default())
    }

    /// The last line, which has the rest of the answer if it came at once.
    fn last(&mut self, rest: wire::Delta, finished: &wire::Finished) -> String {
        self.line(rest, Some(finished.upstream_reason.clone()), counts(finished))
    }

    /// The answer to what only loads or unloads a model.
    pub(super) fn loaded(&mut self, reason: &str) -> String {
        self.line(wire::Delta::default(), Some(reason.to_owned()), Counts::default())
    }

    fn line(&mut self, delta: wire::Delta, done_reason: Option<String>, counts: Counts) -> String {
        let tool_calls: Vec<_> = delta.tool_calls.into_iter().zip(self.tool_calls..).map(ToolCallLine::from).collect();
        self.tool_calls += tool_calls.len();
        let logprobs = delta.logprobs.into_iter().map(LogprobLine::from).collect();
        let (model, created_at, done) = (self.model.clone(), now(), done_reason.is_some());
        match self.form {
            Form::Chat => {
                let message = MessageLine { role: "assistant", content: delta.content, thinking: delta.thinking, tool_calls };
                json_text(&ChatLine { model, created_at, message, done, done_reason, logprobs, counts })
            }
            Form::Generate => {
                let (response, thinking) = (delta.content, delta.thinking);
                json_text(&GenerateLine { model, created_at, response, thinking, done, done_reason, counts, tool_calls, logprobs })
            }
        }
    }
}

fn json_text(line: &impl Serialize) -> String {
    // These types can always be written.
    in_one_line(serde_json::to_string(line).unwrap_or_default())
}

/// JSON without Unicode's own line breaks, which stand in its texts alone. Go writes them as escapes, too, and clients in Python end a line
/// at each.
pub(super) fn in_one_line(json: String) -> String {
    const BREAKS: [(char, &str); 3] = [('\u{85}', "\\u0085"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];
    if !json.contains(BREAKS.map(|(character, _)| character)) {
        return json;
    }
    BREAKS.into_iter().fold(json, |json, (character, escape)| json.replace(character, escape))
}

pub(super) fn counts(finished: &wire::Finished) -> Counts {
    let usage = finished.usage.unwrap_or_default();
    Counts { receipt: finished.receipt.as_ref().into(), ..counts_of(&usage) }
}

/// The same without a receipt.
pub(super) fn counts_of(usage: &wire::Usage) -> Counts {
    let nanoseconds = |duration: Option<prost_types::Duration>| {
        let duration = duration.and_then(|duration| Duration::try_from(duration).ok()).unwrap_or_default();
        u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
    };
    Counts {
        total_duration: nanoseconds(usage.total),
        load_duration: nanoseconds(usage.load),
        prompt_eval_count: usage.input_tokens().into(),
        prompt_eval_duration: nanoseconds(usage.prompt_evaluation),
        eval_count: usage.output_tokens().into(),
        eval_duration: nanoseconds(usage.generation),
        receipt: ReceiptFields::default(),
    }
}

impl Counts {
    /// With what was charged.
    pub(super) fn with_receipt(self, receipt: Option<&wire::Receipt>) -> Self {
        Self { receipt: receipt.into(), ..self }
    }
}

impl From<(wire::ToolCall, usize)> for ToolCallLine {
    fn from((call, index): (wire::ToolCall, usize)) -> Self {
        // The engine gave JSON, which stays as it was.
        let arguments = RawValue::from_string(call.arguments_json).ok();
        let arguments = arguments.unwrap_or_else(|| RawValue::NULL.to_owned());
        Self { id: call.id, function: FunctionLine { index, name: call.name, arguments } }
    }
}

impl From<wire::Logprob> for LogprobLine {
    fn from(logprob: wire::Logprob) -> Self {
        let top = |top: wire::TopLogprob| TopLogprobLine { token: top.token, logprob: top.logprob, bytes: top.token_bytes };
        Self {
            token: logprob.token,
            logprob: logprob.logprob,
            bytes: logprob.token_bytes,
            top_logprobs: logprob.top_logprobs.into_iter().map(top).collect(),
        }
    }
}

/// Answers with all of it at once.
pub(super) async fn whole(form: Form, model: String, answer: OpenAnswer) -> Result<Response<Body>, Refusal> {
    let whole = answer.whole().await?;
    let (content, thinking, tool_calls, logprobs) = (whole.content, whole.thinking, whole.tool_calls, whole.logprobs);
    let text = Lines::new(form, model).last(wire::Delta { content, thinking, tool_calls, logprobs }, &whole.finished);
    let mut response = json(text);
    receipt_headers(&mut response, &whole.finished);
    Ok(response)
}

/// Answers line by line. What fails after the first line is an `error` line, and the last.
pub(super) fn stream(form: Form, model: String, answer: OpenAnswer) -> Response<Body> {
    let lines = lines(Lines::new(form, model), answer.events()).map(|line| Ok::<_, Infallible>(Bytes::from(line + "\n")));
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    response
}

fn lines(mut lines: Lines, events: impl Stream<Item = Result<StreamEvent, Refusal>> + Send) -> impl Stream<Item = String> + Send {
    events.filter_map(move |event| {
        let line = match event {
            Ok(StreamEvent::Started(_)) => None,
            Ok(StreamEvent::Delta(delta)) => Some(lines.piece(delta)),
            Ok(StreamEvent::Finished(finished)) => Some(lines.last(wire::Delta::default(), &finished)),
            Err(refusal) => Some(refusal_body(&refusal)),
        };
        std::future::ready(line)
    })
}

/// Steps of the making of a model.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ProgressLine {
    /// In the model server's words; the last one is `success`.
    pub(super) status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) total: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) completed: Option<i64>,
}

impl From<wire::CreateModelResponse> for ProgressLine {
    fn from(step: wire::CreateModelResponse) -> Self {
        Self { status: step.status, total: step.total_bytes, completed: step.completed_bytes }
    }
}

/// Answers with a line for each step. `first` has come already: what fails before it has its status.
pub(super) fn progress_stream(
    first: ProgressLine,
    rest: impl Stream<Item = Result<ProgressLine, Refusal>> + Send + 'static,
) -> Response<Body> {
    let lines = stream::iter([Ok(first)]).chain(rest).map(|step| {
        let line = step.map_or_else(|refusal| refusal_body(&refusal), |step| json_text(&step));
        Ok::<_, Infallible>(Bytes::from(line + "\n"))
    });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    response
}

/// Answers with the last step.
pub(super) fn progress(last: &ProgressLine) -> Response<Body> {
    json(json_text(last))
}

/// A JSON answer of this value.
pub(super) fn json_of(value: &impl Serialize) -> Response<Body> {
    json(json_text(value))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn without_time(line: &str) -> Value {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let created_at = line.as_object_mut().unwrap().remove("created_at").unwrap();
        assert!(created_at.as_str().unwrap().parse::<Timestamp>().is_ok(), "{created_at}");
        line
    }

    fn finished() -> wire::Finished {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 5 });
        wire::Finished {
            reason: wire::FinishReason::Stop.into(),
            upstream_reason: "stop".to_owned(),
            usage: Some(wire::Usage {
                input_tokens: Some(14),
                output_tokens: Some(10),
                total: seconds(2),
                prompt_evaluation: seconds(1),
                generation: seconds(1),
                ..Default::default()
            }),
            receipt: Some(wire::Receipt { charged_credits: Some(3), remaining_credits: Some(7), ..Default::default() }),
            replayed: false,
        }
    }

    fn text(content: &str) -> wire::Delta {
        wire::Delta { content: content.to_owned(), ..Default::default() }
    }

    #[test]
    fn the_lines_of_a_chat_are_ollamas_and_the_last_says_what_it_cost() {
        let mut lines = Lines::new(Form::Chat, "m:latest".to_owned());
        let line = lines.piece(text("Hi"));
        assert!(line.starts_with(r#"{"model":"m:latest","created_at":""#), "{line}");
        assert_eq!(without_time(&line), json!({ "model": "m:latest", "message": { "role": "assistant", "content": "Hi" }, "done": false }));
        let expected = json!({
            "model": "m:latest", "message": { "role": "assistant", "content": "" }, "done": true, "done_reason": "stop",
            "total_duration": 2_000_000_005_u64, "prompt_eval_count": 14, "prompt_eval_duration": 1_000_000_005, "eval_count": 10,
            "eval_duration": 1_000_000_005, "cost": 3, "remaining_credits": 7,
        });
        assert_eq!(without_time(&lines.last(wire::Delta::default(), &finished())), expected);
    }

    #[test]
    fn the_lines_of_a_bare_prompt_have_a_response() {
        let mut lines = Lines::new(Form::Generate, "m".to_owned());
        let delta = wire::Delta { thinking: "hm".to_owned(), ..text("Hi") };
        assert_eq!(without_time(&lines.piece(delta)), json!({ "model": "m", "response": "Hi", "thinking": "hm", "done": false }));
        assert_eq!(without_time(&lines.loaded("load")), json!({ "model": "m", "response": "", "done": true, "done_reason": "load" }));
    }

    #[test]
    fn tool_calls_are_objects_with_their_keys_in_order_and_indices_over_the_whole_answer() {
        let call = |id: &str, arguments_json: &str| wire::Delta {
            tool_calls: vec![wire::ToolCall { id: id.to_owned(), name: "f".to_owned(), arguments_json: arguments_json.to_owned() }],
            ..Default::default()
        };
        let mut lines = Lines::new(Form::Chat, "m".to_owned());
        let line = lines.piece(call("c1", r#"{"z":12345678901234567890,"a":1.0}"#));
        assert!(
            line.contains(r#""tool_calls":[{"id":"c1","function":{"index":0,"name":"f","arguments":{"z":12345678901234567890,"a":1.0}}}]"#)
        );
        assert!(lines.piece(call("", "{}")).contains(r#""tool_calls":[{"function":{"index":1,"name":"f","arguments":{}}}]"#));
    }

    #[test]
    fn log_probabilities_have_their_bytes_and_alternatives() {
        let top = vec![wire::TopLogprob { token: "b".to_owned(), logprob: -1.5, token_bytes: vec![98] }];
        let logprob = wire::Logprob { token: "a".to_owned(), logprob: -0.5, token_bytes: vec![97], top_logprobs: top };
        let line = Lines::new(Form::Chat, "m".to_owned()).piece(wire::Delta { logprobs: vec![logprob], ..text("a") });
        let expected =
            json!([{ "token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{ "token": "b", "logprob": -1.5, "bytes": [98] }] }]);
        assert_eq!(without_time(&line)["logprobs"], expected);
    }

    #[test]
    fn no_text_ends_a_line_for_a_client_that_knows_unicodes_line_breaks() {
        let delta = wire::Delta { content: "a\u{2028}b\u{2029}c\u{85}d\u{b}\n é".to_owned(), ..wire::Delta::default() };
        let line = Lines::new(Form::Chat, "m".to_owned()).piece(delta.clone());
        assert!(line.contains(r"a\u2028b\u2029c\u0085d\u000b\n é"), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["message"]["content"], delta.content);
    }
}

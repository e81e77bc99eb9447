//! A tool that the model must call. No model server can be told so: the model is told in words, its answer is held to the schema of the
//! tool's arguments, and what it answers is the call.

use std::mem::take;

use futures_util::{Stream, StreamExt, stream};
use serde_json::value::RawValue;
use shared::proto::inference as wire;

use crate::chat_stream::StreamEvent;

/// The longest text that is gathered into a call. What is longer is given as text.
const MAX_CALL_BYTES: usize = 4 << 20;

/// A tool that is called whatever the model would like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ForcedTool {
    name: String,
}

impl ForcedTool {
    /// Makes the request one for a call of this tool. Its messages keep their places: what the model is told comes last.
    pub(super) fn of(request: &mut wire::ChatRequest, tool: wire::Tool) -> Self {
        let wire::Tool { name, description, parameters_json } = tool;
        let schema = if parameters_json.is_empty() { r#"{"type":"object"}"#.to_owned() } else { parameters_json };
        let mut content =
            format!("Call the function {name}: answer with its arguments alone, as a JSON object that fits the schema {schema}");
        if !description.is_empty() {
            content = format!("{content}\n\nThe function: {description}");
        }
        request.messages.push(wire::Message { role: "system".to_owned(), content, ..wire::Message::default() });
        request.format = Some(wire::Format { kind: Some(wire::format::Kind::JsonSchema(schema)) });
        request.tools.clear();
        Self { name }
    }

    /// The answer's events, with the call in the place of its text. Text that is no JSON object, because the answer was cut, stays text.
    pub(super) fn call_in<E>(self, events: impl Stream<Item = Result<StreamEvent, E>>) -> impl Stream<Item = Result<StreamEvent, E>> {
        let mut gathered = Some(String::new());
        events.flat_map(move |event| stream::iter(self.read(&mut gathered, event)))
    }

    /// What comes of one event. `gathered` is the text so far; none when there was too much of it.
    fn read<E>(&self, gathered: &mut Option<String>, event: Result<StreamEvent, E>) -> Vec<Result<StreamEvent, E>> {
        match (event, &mut *gathered) {
            (Ok(StreamEvent::Delta(mut delta)), Some(text)) => {
                text.push_str(&take(&mut delta.content));
                if text.len() > MAX_CALL_BYTES {
                    delta.content = gathered.take().unwrap_or_default();
                }
                if delta == wire::Delta::default() { Vec::new() } else { vec![Ok(StreamEvent::Delta(delta))] }
            }
            (Ok(StreamEvent::Finished(mut finished)), Some(text)) => {
                let text = take(text);
                let delta = if is_object(&text) {
                    finished.set_reason(wire::FinishReason::ToolCalls);
                    let call = wire::ToolCall { id: String::new(), name: self.name.clone(), arguments_json: text };
                    wire::Delta { tool_calls: vec![call], ..wire::Delta::default() }
                } else {
                    wire::Delta { content: text, ..wire::Delta::default() }
                };
                let delta = (delta != wire::Delta::default()).then_some(StreamEvent::Delta(delta));
                delta.into_iter().chain([StreamEvent::Finished(finished)]).map(Ok).collect()
            }
            (event, _) => vec![event],
        }
    }
}

fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn forced() -> (wire::ChatRequest, ForcedTool) {
        let user = wire::Message { role: "user".into(), content: "Hi.".into(), ..wire::Message::default() };
        let tool = wire::Tool { name: "f".into(), description: "does".into(), parameters_json: r#"{"type":"object","a":1}"#.into() };
        let mut request = wire::ChatRequest { messages: vec![user], tools: vec![tool.clone()], ..wire::ChatRequest::default() };
        let forced = ForcedTool::of(&mut request, tool);
        (request, forced)
    }

    fn text(content: &str) -> StreamEvent {
        StreamEvent::Delta(wire::Delta { content: content.into(), ..wire::Delta::default() })
    }

    fn finished(reason: wire::FinishReason) -> StreamEvent {
        StreamEvent::Finished(wire::Finished { reason: reason.into(), ..wire::Finished::default() })
    }

    async fn read(events: Vec<StreamEvent>) -> Vec<StreamEvent> {
        let events = stream::iter(events.into_iter().map(Ok::<_, Infallible>));
        forced().1.call_in(events).map(|event| event.unwrap()).collect().await
    }

    #[test]
    fn the_model_is_told_of_the_tool_and_held_to_its_schema() {
        let (request, _) = forced();
        assert_eq!((request.messages.len(), request.messages[0].content.as_str(), request.tools.len()), (2, "Hi.", 0));
        assert_eq!(
            (request.messages[1].role.as_str(), request.messages[1].content.as_str()),
            (
                "system",
                "Call the function f: answer with its arguments alone, as a JSON object that fits the schema \
                 {\"type\":\"object\",\"a\":1}\n\nThe function: does"
            )
        );
        let schema = wire::format::Kind::JsonSchema(r#"{"type":"object","a":1}"#.into());
        assert_eq!(request.format, Some(wire::Format { kind: Some(schema) }));
    }

    #[tokio::test]
    async fn the_text_of_an_answer_is_the_call() {
        let said = read(vec![text("{\"a\""), text(":1}"), finished(wire::FinishReason::Stop)]).await;
        let call = wire::ToolCall { id: String::new(), name: "f".into(), arguments_json: r#"{"a":1}"#.into() };
        let delta = wire::Delta { tool_calls: vec![call], ..wire::Delta::default() };
        assert_eq!(said, [StreamEvent::Delta(delta), finished(wire::FinishReason::ToolCalls)]);
    }

    #[tokio::test]
    async fn an_answer_that_was_cut_is_text_and_says_that_it_was_cut() {
        let said = read(vec![text("{\"a\""), finished(wire::FinishReason::Length)]).await;
        assert_eq!(said, [text("{\"a\""), finished(wire::FinishReason::Length)]);
        assert_eq!(read(vec![finished(wire::FinishReason::Length)]).await, [finished(wire::FinishReason::Length)]);
    }

    #[tokio::test]
    async fn thoughts_come_as_they_are_thought_and_text_without_end_is_not_gathered() {
        let thought = StreamEvent::Delta(wire::Delta { thinking: "hm".into(), ..wire::Delta::default() });
        let long = "x".repeat(MAX_CALL_BYTES + 1);
        let said = read(vec![thought.clone(), text(&long), text("y"), finished(wire::FinishReason::Stop)]).await;
        assert_eq!(said, [thought, text(&long), text("y"), finished(wire::FinishReason::Stop)]);
    }
}

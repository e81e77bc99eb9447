//! Server-sent events that have names, as Anthropic's and OpenAI's Responses API send them: one answer, in a protocol's own events.

use std::future::ready;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use shared::doors::Refusal;
use shared::proto::inference as wire;

use super::event_stream::event_stream_kept_alive;
use crate::chat_stream::StreamEvent;

/// A protocol's events, made of those of an answer.
pub(super) trait EventFormat: Send + 'static {
    /// What is sent when nothing was for long.
    const KEEP_ALIVE: &'static [u8];

    /// Comes first.
    fn begin(&mut self, out: &mut Vec<u8>);
    /// A piece of the answer.
    fn delta(&mut self, delta: wire::Delta, out: &mut Vec<u8>);
    /// The answer is whole.
    fn finish(&mut self, finished: &wire::Finished, out: &mut Vec<u8>);
    /// The answer broke off.
    fn fail(&mut self, refusal: &Refusal, out: &mut Vec<u8>);
}

/// The response that streams an answer.
pub(super) fn named_events<F: EventFormat>(
    events: impl Stream<Item = Result<StreamEvent, Refusal>> + Send + 'static,
    mut format: F,
) -> Response<Body> {
    let mut first = Vec::new();
    format.begin(&mut first);
    let rest = events.map(move |event| {
        let mut out = Vec::new();
        match event {
            Ok(StreamEvent::Started(_)) => {}
            Ok(StreamEvent::Delta(delta)) => format.delta(delta, &mut out),
            Ok(StreamEvent::Finished(finished)) => format.finish(&finished, &mut out),
            Err(refusal) => format.fail(&refusal, &mut out),
        }
        Bytes::from(out)
    });
    let all = stream::once(ready(Bytes::from(first))).chain(rest);
    event_stream_kept_alive(all, Bytes::from_static(F::KEEP_ALIVE))
}

/// Writes an event: its name, and its data as one line of JSON, straight into the buffer.
pub(super) fn write_event(out: &mut Vec<u8>, name: &str, data: &impl Serialize) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    // What is written has text for keys, and a vector takes everything: this can't fail.
    let written = serde_json::to_writer(&mut *out, data);
    debug_assert!(written.is_ok());
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_its_name_and_one_line_of_json_whatever_is_in_it() {
        let mut out = Vec::new();
        write_event(&mut out, "said", &serde_json::json!({ "text": "a\n\nevent: b\r\n" }));
        assert_eq!(out, b"event: said\ndata: {\"text\":\"a\\n\\nevent: b\\r\\n\"}\n\n");
    }
}

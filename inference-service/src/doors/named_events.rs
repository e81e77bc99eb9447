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

/// As long as most events are: a token and what stands around it.
const EVENT_BYTES: usize = 256;

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
        let mut out = Vec::with_capacity(EVENT_BYTES);
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
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::time::Duration;

    use http_body::Body as _;

    use super::*;

    struct Words;

    impl EventFormat for Words {
        const KEEP_ALIVE: &'static [u8] = b"event: ping\ndata: {}\n\n";

        fn begin(&mut self, out: &mut Vec<u8>) {
            out.extend_from_slice(b"begun");
        }

        fn delta(&mut self, delta: wire::Delta, out: &mut Vec<u8>) {
            out.extend_from_slice(delta.content.as_bytes());
        }

        fn finish(&mut self, _: &wire::Finished, out: &mut Vec<u8>) {
            out.extend_from_slice(b"finished");
        }

        fn fail(&mut self, refusal: &Refusal, out: &mut Vec<u8>) {
            out.extend_from_slice(refusal.code().as_bytes());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_model_loads_the_protocols_own_event_keeps_the_stream_alive() {
        let load = Duration::from_secs(31);
        let events = stream::once(async move {
            tokio::time::sleep(load).await;
            Ok(StreamEvent::Finished(wire::Finished::default()))
        });
        let mut body = named_events(events, Words).into_body();
        let begun = tokio::time::Instant::now();
        let mut said = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            said.push((begun.elapsed().as_secs(), frame.unwrap().into_data().unwrap()));
        }
        let ping = Bytes::from_static(Words::KEEP_ALIVE);
        assert_eq!(said, [(0, "begun".into()), (15, ping.clone()), (30, ping), (31, "finished".into())]);
    }

    #[tokio::test]
    async fn a_failure_is_the_last_that_is_said() {
        let delta = wire::Delta { content: "one".into(), ..Default::default() };
        let events = stream::iter([Ok(StreamEvent::Delta(delta)), Err(Refusal::from(shared::error::CallError::internal()))]);
        let mut body = named_events(events, Words).into_body();
        let mut said = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            said.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        assert_eq!(said, b"begunoneINTERNAL");
    }

    #[test]
    fn an_event_is_its_name_and_one_line_of_json_whatever_is_in_it() {
        let mut out = Vec::new();
        write_event(&mut out, "said", &serde_json::json!({ "text": "a\n\nevent: b\r\n" }));
        assert_eq!(out, b"event: said\ndata: {\"text\":\"a\\n\\nevent: b\\r\\n\"}\n\n");
    }
}

//! A response of server-sent events that are bytes already. axum's own events are written through a search for line ends, a few bytes at a
//! time; JSON has none, and a chunk of a few characters is all that a token pays for.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::Stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep_until};

/// Between two comments while nothing is said: proxies cut what is silent for a minute.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// A comment: clients pass over it.
const KEEP_ALIVE: Bytes = Bytes::from_static(b":\n\n");

/// A response of these events, each whole with its `data: ` and its empty line, with comments while nothing is said. Empty ones are left
/// out.
pub fn event_stream(events: impl Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    event_stream_kept_alive(events, KEEP_ALIVE)
}

/// The same, with a protocol's own event in place of the comment.
pub fn event_stream_kept_alive(events: impl Stream<Item = Bytes> + Send + 'static, keep_alive: Bytes) -> Response<Body> {
    let body = EventBody { events: Box::pin(events), keep_alive, last: Instant::now(), silence: None };
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx would gather them.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

struct EventBody<S> {
    events: Pin<Box<S>>,
    keep_alive: Bytes,
    /// When something was said last.
    last: Instant,
    /// Armed when there is nothing to say, and not moved for each event: it looks at `last` when it rings.
    silence: Option<Pin<Box<Sleep>>>,
}

impl<S: Stream<Item = Bytes>> http_body::Body for EventBody<S> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        loop {
            match this.events.as_mut().poll_next(cx) {
                Poll::Ready(Some(event)) if event.is_empty() => {}
                Poll::Ready(Some(event)) => {
                    this.last = Instant::now();
                    return Poll::Ready(Some(Ok(Frame::data(event))));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        let silence = this.silence.get_or_insert_with(|| Box::pin(sleep_until(this.last + KEEP_ALIVE_EVERY)));
        while silence.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let is_due = now >= this.last + KEEP_ALIVE_EVERY;
            if is_due {
                this.last = now;
            }
            silence.as_mut().reset(this.last + KEEP_ALIVE_EVERY);
            if is_due {
                return Poll::Ready(Some(Ok(Frame::data(this.keep_alive.clone()))));
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use futures_util::stream;
    use http_body::Body as _;

    use super::*;

    async fn next(body: &mut Body) -> Option<Bytes> {
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
        Some(frame.unwrap().into_data().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn comments_come_while_nothing_is_said_and_the_time_counts_from_the_last_event() {
        let waits = [20, 20, 40].map(Duration::from_secs);
        let events = stream::unfold(0, move |index| async move {
            tokio::time::sleep(*waits.get(index)?).await;
            Some((if index == 1 { Bytes::new() } else { Bytes::from_static(b"data: {}\n\n") }, index + 1))
        });
        let begun = Instant::now();
        let mut body = event_stream(events).into_body();
        let mut said = Vec::new();
        while let Some(bytes) = next(&mut body).await {
            said.push((begun.elapsed().as_secs(), bytes == KEEP_ALIVE));
        }
        assert_eq!(said, [(15, true), (20, false), (35, true), (50, true), (65, true), (80, false)]);
    }
}

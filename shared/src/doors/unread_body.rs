//! Whether a request's body was read to its end before its answer.
//!
//! What is refused by its headers is answered before its body is read. On HTTP/1.1 nothing can follow on such a connection, which closes
//! after the answer. The answer must say so: else a client sends its next request there, and finds the connection closed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};

/// What was read of a body. Clones are one.
#[derive(Debug, Clone)]
pub(crate) struct BodyEnd(Arc<AtomicBool>);

impl BodyEnd {
    /// Watches a body.
    pub(crate) fn watch<B: HttpBody>(body: B) -> (WatchedBody<B>, Self) {
        let end = Self(Arc::new(AtomicBool::new(body.is_end_stream())));
        (WatchedBody { body, end: end.clone() }, end)
    }

    /// Says that the connection closes, unless the body was read.
    pub(crate) fn tell<B>(&self, response: &mut Response<B>) {
        if !self.0.load(Ordering::Relaxed) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// A body that says when it was read.
pub(crate) struct WatchedBody<B> {
    body: B,
    end: BodyEnd,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for WatchedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.end.0.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Empty, Full};

    use super::*;

    fn told(end: &BodyEnd) -> bool {
        let mut response = Response::new(());
        end.tell(&mut response);
        response.headers().contains_key(CONNECTION)
    }

    #[tokio::test]
    async fn a_connection_closes_after_the_answer_to_a_body_that_was_not_read() {
        let (_, end) = BodyEnd::watch(Empty::<Bytes>::new());
        assert!(!told(&end), "there is none");
        let (mut body, end) = BodyEnd::watch(Full::new(Bytes::from_static(b"{}")));
        assert!(told(&end));
        body.frame().await;
        assert!(!told(&end), "its last piece was read");
        let (body, end) = BodyEnd::watch(Full::new(Bytes::from_static(b"{}")));
        drop(body);
        assert!(told(&end), "nobody will read it");
    }
}

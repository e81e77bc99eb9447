//! Whether a request's body was read to its end before its answer.
//!
//! What is refused by its headers is answered before its body is read. On HTTP/1.1 nothing can follow on a connection whose request is
//! still on its way: it closes after the answer. The answer must say so: else a client sends its next request there, and finds it closed. A
//! body that has come already is passed over instead, and the connection goes on.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;

/// What is passed over of a body, at most.
const MAX_PASSED_OVER_BYTES: usize = 64 << 10;
/// How often the connection is given its turn to hand on what has come. Twice: one turn asks, and the next has it.
const TURNS: usize = 2;

/// What was read of a body.
#[derive(Debug)]
pub(crate) struct BodyEnd<B>(Arc<Watched<B>>);

#[derive(Debug)]
struct Watched<B> {
    ended: AtomicBool,
    /// Whether its sender waits to be asked for it (`Expect: 100-continue`). Reading would ask.
    waits: bool,
    /// What nobody read.
    left: Mutex<Option<B>>,
}

impl<B: HttpBody<Data = Bytes> + Unpin> BodyEnd<B> {
    /// Watches a request's body.
    pub(crate) fn watch(headers: &HeaderMap, body: B) -> (WatchedBody<B>, Self) {
        let (ended, waits) = (AtomicBool::new(body.is_end_stream()), headers.contains_key(EXPECT));
        let watched = Arc::new(Watched { ended, waits, left: Mutex::new(None) });
        (WatchedBody { body: Some(body), watched: Arc::clone(&watched) }, Self(watched))
    }

    /// Says that the connection closes, unless all of the body has come.
    pub(crate) async fn tell<T>(&self, response: &mut Response<T>) {
        if !self.0.ended.load(Ordering::Relaxed) && !self.pass_over().await {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// Passes over what has come of a body that nobody reads. Whether that is all.
    async fn pass_over(&self) -> bool {
        let left = self.0.left.lock().unwrap_or_else(PoisonError::into_inner).take();
        let is_short = |body: &B| body.size_hint().lower() <= MAX_PASSED_OVER_BYTES as u64;
        let Some(mut body) = left.filter(|body| !self.0.waits && is_short(body)) else { return false };
        let (mut bytes, mut turns) = (0, 0);
        while bytes <= MAX_PASSED_OVER_BYTES {
            match body.frame().now_or_never() {
                Some(None) => return true,
                Some(Some(Ok(frame))) => {
                    bytes += frame.data_ref().map_or(0, Bytes::len);
                    if body.is_end_stream() {
                        return true;
                    }
                }
                None if turns < TURNS => {
                    turns += 1;
                    tokio::task::yield_now().await;
                }
                Some(Some(Err(_))) | None => return false,
            }
        }
        false
    }
}

/// A body that says when it was read, and gives itself back when it isn't.
pub(crate) struct WatchedBody<B> {
    /// `None` once it is given back.
    body: Option<B>,
    watched: Arc<Watched<B>>,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for WatchedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        if frame.is_none() || body.is_end_stream() {
            this.watched.ended.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl<B> Drop for WatchedBody<B> {
    fn drop(&mut self) {
        let left = self.body.take().filter(|_| !self.watched.ended.load(Ordering::Relaxed));
        *self.watched.left.lock().unwrap_or_else(PoisonError::into_inner) = left;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::{Empty, Full, StreamBody};

    use super::*;

    async fn closes<B: HttpBody<Data = Bytes> + Unpin>(end: &BodyEnd<B>) -> bool {
        let mut response = Response::new(());
        end.tell(&mut response).await;
        response.headers().contains_key(CONNECTION)
    }

    #[tokio::test]
    async fn a_connection_goes_on_after_the_answer_to_a_body_that_was_read_or_has_come() {
        let (_, end) = BodyEnd::watch(&HeaderMap::new(), Empty::<Bytes>::new());
        assert!(!closes(&end).await, "there is none");
        let (mut body, end) = BodyEnd::watch(&HeaderMap::new(), Full::new(Bytes::from_static(b"{}")));
        body.frame().await;
        assert!(!closes(&end).await, "its last piece was read");
        let (body, end) = BodyEnd::watch(&HeaderMap::new(), Full::new(Bytes::from_static(b"{}")));
        drop(body);
        assert!(!closes(&end).await, "it is here, and passed over");
    }

    #[tokio::test]
    async fn a_connection_closes_after_the_answer_to_a_body_that_is_on_its_way_or_long() {
        let (body, end) = BodyEnd::watch(&HeaderMap::new(), Full::new(Bytes::from_static(b"{}")));
        assert!(closes(&end).await, "somebody may still read it");
        drop(body);
        let waits = HeaderMap::from_iter([(EXPECT, HeaderValue::from_static("100-continue"))]);
        let (body, end) = BodyEnd::watch(&waits, Full::new(Bytes::from_static(b"{}")));
        drop(body);
        assert!(closes(&end).await, "it would be asked for");
        let never = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let (body, end) = BodyEnd::watch(&HeaderMap::new(), never);
        drop(body);
        assert!(closes(&end).await, "it didn't come");
        let endless = stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 4096]))));
        let (body, end) = BodyEnd::watch(&HeaderMap::new(), StreamBody::new(endless));
        drop(body);
        assert!(closes(&end).await, "nobody reads so much for nothing");
    }
}

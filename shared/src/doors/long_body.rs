//! The body of a long answer, handed on piece by piece: as long as it is read its call runs, and it must be read in time.
//!
//! An answer that is one piece would be taken over whole by the connection. The call would count as over, and a client that reads a byte
//! now and then could keep megabytes as long as it likes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

/// What is handed on at once, and the shortest body that this is for.
const PIECE_BYTES: usize = 64 << 10;
/// How long a client may take for any answer.
const LEAST_TIME: Duration = Duration::from_secs(30);
/// What it must read in each second beyond that.
const LEAST_BYTES_PER_SECOND: u64 = 64 << 10;

/// A response whose body is handed on in pieces, if it is long and its length is known.
pub(super) fn in_pieces(response: Response<Body>) -> Response<Body> {
    match response.body().size_hint().exact() {
        Some(length) if length > PIECE_BYTES as u64 => response.map(|body| Body::new(LongBody::new(body, length))),
        _ => response,
    }
}

struct LongBody {
    inner: Body,
    /// What the inner body gave and is not handed on yet.
    rest: Bytes,
    deadline: Instant,
}

/// The answer was read too slowly: its connection is closed.
#[derive(Debug, thiserror::Error)]
#[error("an answer was read too slowly")]
struct ReadTooSlowly;

impl LongBody {
    fn new(inner: Body, length: u64) -> Self {
        let deadline = Instant::now() + LEAST_TIME + Duration::from_secs(length / LEAST_BYTES_PER_SECOND);
        Self { inner, rest: Bytes::new(), deadline }
    }
}

impl HttpBody for LongBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => this.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => return Poll::Ready(None),
            }
        }
        // Asked for the next piece only when there is room for it: that is, when the client has read.
        if Instant::now() > this.deadline {
            return Poll::Ready(Some(Err(ReadTooSlowly.into())));
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        self.inner.size_hint().exact().map_or_else(SizeHint::default, |inner| SizeHint::with_exact(inner + rest))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_long_answer_comes_in_pieces_whole_and_with_its_length() {
        let text: Vec<u8> = (0..200_000_u32).map(|index| index as u8).collect();
        let mut body = in_pieces(Response::new(Body::from(text.clone()))).into_body();
        let (mut read, mut pieces) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            assert_eq!(
                body.size_hint().exact(),
                Some((text.len() - read.len() - frame.as_ref().unwrap().data_ref().unwrap().len()) as u64)
            );
            read.extend_from_slice(&frame.unwrap().into_data().unwrap());
            pieces += 1;
        }
        assert_eq!((read, pieces), (text, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_read_too_slowly_ends() {
        let mut body = in_pieces(Response::new(Body::from(vec![0_u8; 10 << 20]))).into_body();
        assert!(body.frame().await.unwrap().is_ok());
        // 10 MiB have 160 s and the half minute that all have.
        tokio::time::advance(Duration::from_secs(189)).await;
        assert!(body.frame().await.unwrap().is_ok());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(body.frame().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_short_answer_and_one_of_unknown_length_stay_as_they_are() {
        let mut body = in_pieces(Response::new(Body::from(vec![0_u8; PIECE_BYTES]))).into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), PIECE_BYTES);
    }
}

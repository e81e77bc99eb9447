//! A request's body that tells when it goes out: only then does the request reach a model, and cost.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::engine::Dispatched;

/// Bytes with their length. The client asks for them once there is a connection to write them to, not while it resolves or connects.
#[derive(Debug)]
pub(super) struct DispatchedBody {
    bytes: Option<Bytes>,
    dispatched: Dispatched,
}

impl DispatchedBody {
    pub(super) fn new(bytes: Vec<u8>, dispatched: Dispatched) -> Self {
        Self { bytes: Some(bytes.into()), dispatched }
    }
}

impl Body for DispatchedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = self.bytes.take();
        if bytes.is_some() {
            self.dispatched.mark();
        }
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
    }
}

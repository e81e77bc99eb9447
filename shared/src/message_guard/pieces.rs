//! A body in pieces, for tests and the fuzzer.

use std::collections::VecDeque;

use super::{Bytes, Context, Frame, HttpBody, Pin, Poll, Polled, Status};

/// Gives its pieces, and then ends or stays silent.
pub(super) struct Pieces {
    pieces: VecDeque<Bytes>,
    ends: bool,
}

impl Pieces {
    pub(super) fn new(pieces: &[&[u8]], ends: bool) -> Self {
        Self { pieces: pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect(), ends }
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled {
        match self.pieces.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

//! Lines out of a body that arrives in pieces.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::Stream;

use crate::engine::EngineError;
use crate::engine::ollama::refusal::cause_chain;

/// The longest line. A tool call is one line, log probabilities are long; nothing that a model says in earnest is longer than this.
pub(super) const MAX_LINE_BYTES: usize = 4 << 20;

/// Splits bytes into lines, whatever pieces they come in. A line that lies in one piece is a slice of it: nothing is copied.
#[derive(Debug, Default)]
pub(super) struct LineBuffer {
    /// The start of a line that goes on in the next piece.
    partial: BytesMut,
    /// What of the last piece was not looked at yet.
    piece: Bytes,
}

/// A line is longer than [`MAX_LINE_BYTES`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LineTooLong;

impl LineBuffer {
    /// Takes the next piece; [`Self::next_line`] must have answered `None` before.
    pub(super) fn push(&mut self, piece: Bytes) {
        debug_assert!(self.piece.is_empty(), "lines of the last piece are lost");
        self.piece = piece;
    }

    /// The next complete line, without its end. Blank lines are skipped.
    pub(super) fn next_line(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        while !self.piece.is_empty() {
            let Some(end) = self.piece.iter().position(|byte| *byte == b'\n') else {
                let rest = std::mem::take(&mut self.piece);
                if self.partial.len() + rest.len() > MAX_LINE_BYTES {
                    return Err(LineTooLong);
                }
                self.partial.extend_from_slice(&rest);
                return Ok(None);
            };
            if self.partial.len() + end > MAX_LINE_BYTES {
                return Err(LineTooLong);
            }
            let mut line = self.piece.split_to(end);
            self.piece.advance(1);
            if !self.partial.is_empty() {
                self.partial.extend_from_slice(&line);
                line = self.partial.split().freeze();
            }
            let line = trimmed(line);
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    /// What came after the last line end: a last line that lacks one.
    pub(super) fn last_line(&mut self) -> Option<Bytes> {
        Some(trimmed(self.partial.split().freeze())).filter(|line| !line.is_empty())
    }
}

/// Without the blanks that JSON allows around it; a CR among them.
fn trimmed(mut line: Bytes) -> Bytes {
    let start = line.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    line.advance(start);
    let blanks = line.iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count();
    line.truncate(line.len() - blanks);
    line
}

/// The lines of a response. Dropping it closes the connection.
pub(super) struct Lines {
    body: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    buffer: LineBuffer,
    ended: bool,
}

impl Lines {
    pub(super) fn new(response: reqwest::Response) -> Self {
        Self { body: Box::pin(response.bytes_stream()), buffer: LineBuffer::default(), ended: false }
    }

    /// The next line; `None` at the body's proper end. Lines that are there already are given without waiting.
    pub(super) fn poll_line(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, EngineError>>> {
        loop {
            match self.buffer.next_line() {
                Ok(Some(line)) => return Poll::Ready(Some(Ok(line))),
                Ok(None) => {}
                Err(LineTooLong) => {
                    let detail = format!("a line is longer than {MAX_LINE_BYTES} bytes");
                    return Poll::Ready(Some(Err(EngineError::Protocol { detail })));
                }
            }
            if self.ended {
                return Poll::Ready(self.buffer.last_line().map(Ok));
            }
            match std::task::ready!(self.body.as_mut().poll_next(context)) {
                Some(Ok(piece)) => self.buffer.push(piece),
                // Half a line of a body that broke off is no line: what is in the buffer is not given.
                Some(Err(error)) => return Poll::Ready(Some(Err(EngineError::Interrupted { detail: cause_chain(&error.without_url()) }))),
                None => self.ended = true,
            }
        }
    }

    /// Reads the body's end when it is there already, so that the connection serves another request. What comes instead doesn't matter.
    pub(super) fn finish(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Some(Ok(piece))) = self.body.as_mut().poll_next(context) {
            drop(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut buffer = LineBuffer::default();
        let mut lines = Vec::new();
        for piece in pieces {
            buffer.push(Bytes::copy_from_slice(piece));
            while let Some(line) = buffer.next_line().unwrap() {
                lines.push(String::from_utf8(line.to_vec()).unwrap());
            }
        }
        lines.extend(buffer.last_line().map(|line| String::from_utf8(line.to_vec()).unwrap()));
        lines
    }

    #[test]
    fn a_line_may_be_split_anywhere_even_inside_a_character() {
        let text = "{\"a\":\"é東🍄\"}\r\n\n{\"b\":2}\n{\"c\":3}".as_bytes();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let found = lines(&[&text[..first], &text[first..second], &text[second..]]);
                assert_eq!(found, ["{\"a\":\"é東🍄\"}", "{\"b\":2}", "{\"c\":3}"], "split at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_line_within_one_piece_is_not_copied() {
        let piece = Bytes::from_static(b"{\"a\":1}\n{\"b\":2}\n");
        let mut buffer = LineBuffer::default();
        buffer.push(piece.clone());
        assert_eq!(buffer.next_line().unwrap().unwrap().as_ptr(), piece.as_ptr());
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        let mut buffer = LineBuffer::default();
        let piece = Bytes::from(vec![b'x'; 1 << 20]);
        let mut pushed = 0;
        loop {
            buffer.push(piece.clone());
            match buffer.next_line() {
                Ok(None) => pushed += piece.len(),
                answer => {
                    assert_eq!(answer, Err(LineTooLong));
                    break;
                }
            }
        }
        assert_eq!(pushed, MAX_LINE_BYTES);
    }
}

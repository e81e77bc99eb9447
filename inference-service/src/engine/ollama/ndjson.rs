//! Lines out of a body that arrives in pieces.

use std::ops::Range;
use std::task::{Context, Poll};

use crate::engine::EngineError;
use crate::engine::ollama::http1::{Body, HttpError};
use crate::engine::ollama::ollama_error::cause_chain;

/// The longest line. A tool call is one line, and log probabilities are long.
pub(super) const MAX_LINE_BYTES: usize = 4 << 20;
/// Memory that an empty buffer may keep: a line of a plain answer. Many answers are silent for minutes.
const MAX_IDLE_CAPACITY: usize = 512;

/// Splits bytes into lines, whatever pieces they come in. A line is a slice of what was read: nothing is copied.
#[derive(Debug, Default)]
pub(super) struct LineBuffer {
    data: Vec<u8>,
    /// Lines before it were given.
    consumed: usize,
    /// From `consumed` up to it there is no line end.
    searched: usize,
}

/// A line is longer than [`MAX_LINE_BYTES`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LineTooLong;

impl LineBuffer {
    /// Where what comes next is to be appended. Removes the lines that were given.
    fn spare(&mut self) -> &mut Vec<u8> {
        if self.consumed > 0 {
            self.data.drain(..self.consumed);
            self.searched -= self.consumed;
            self.consumed = 0;
        }
        &mut self.data
    }

    /// Gives memory back while there is nothing in it.
    fn shrink(&mut self) {
        if self.consumed == self.data.len() && self.data.capacity() > MAX_IDLE_CAPACITY {
            *self = Self::default();
        }
    }

    /// Where the next complete line lies, without its end. Blank lines are skipped.
    fn next_line(&mut self) -> Result<Option<Range<usize>>, LineTooLong> {
        loop {
            let Some(end) = memchr::memchr(b'\n', &self.data[self.searched..]).map(|end| self.searched + end) else {
                self.searched = self.data.len();
                return if self.searched - self.consumed > MAX_LINE_BYTES { Err(LineTooLong) } else { Ok(None) };
            };
            let line = self.consumed..end;
            (self.consumed, self.searched) = (end + 1, end + 1);
            if line.len() > MAX_LINE_BYTES {
                return Err(LineTooLong);
            }
            if let Some(line) = self.trimmed(line) {
                return Ok(Some(line));
            }
        }
    }

    /// What came after the last line end: a last line that lacks one.
    fn last_line(&mut self) -> Option<Range<usize>> {
        let line = self.consumed..self.data.len();
        (self.consumed, self.searched) = (line.end, line.end);
        self.trimmed(line)
    }

    /// Without the blanks that JSON allows around it, a CR among them; `None` when nothing else is in it.
    fn trimmed(&self, line: Range<usize>) -> Option<Range<usize>> {
        let bytes = &self.data[line.clone()];
        let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace())?;
        let blanks = bytes.iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count();
        Some(line.start + start..line.end - blanks)
    }
}

/// The lines of a response. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Lines {
    body: Body,
    buffer: LineBuffer,
    ended: bool,
}

impl Lines {
    pub(super) fn new(body: Body) -> Self {
        Self { body, buffer: LineBuffer::default(), ended: false }
    }

    /// The next line; `None` at the body's proper end. Lines that are there already are given without waiting.
    pub(super) fn poll_line(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<&[u8], EngineError>>> {
        Poll::Ready(match std::task::ready!(self.poll_range(context)) {
            Some(Ok(line)) => Some(Ok(&self.buffer.data[line])),
            Some(Err(error)) => Some(Err(error)),
            None => None,
        })
    }

    fn poll_range(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Range<usize>, EngineError>>> {
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
            match self.body.poll_read(context, self.buffer.spare()) {
                Poll::Ready(Ok(more)) => self.ended = !more,
                // Half a line of a body that broke off is no line: what is in the buffer is not given.
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(interrupted(&error)))),
                Poll::Pending => {
                    self.buffer.shrink();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Nobody needs what comes behind the last line that was given: the connection may serve another request.
    pub(super) fn finish(self) {
        self.body.finish();
    }
}

/// What it means that a body broke off: the model may have run.
fn interrupted(error: &HttpError) -> EngineError {
    EngineError::Interrupted { detail: cause_chain(error) }
}

/// The lines of a body that comes in these pieces, for tests and the fuzzer.
#[cfg(any(test, fuzzing))]
pub(super) fn lines_of(pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, LineTooLong> {
    let mut buffer = LineBuffer::default();
    let mut lines = Vec::new();
    for piece in pieces {
        buffer.spare().extend_from_slice(piece);
        while let Some(line) = buffer.next_line()? {
            lines.push(buffer.data[line].to_vec());
        }
        buffer.shrink();
    }
    let last = buffer.last_line();
    lines.extend(last.map(|line| buffer.data[line].to_vec()));
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_may_be_split_anywhere_even_inside_a_character() {
        let text = "{\"a\":\"é東🍄\"}\r\n\n{\"b\":2}\n{\"c\":3}".as_bytes();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let found = lines_of(&[&text[..first], &text[first..second], &text[second..]]).unwrap();
                let expected = ["{\"a\":\"é東🍄\"}", "{\"b\":2}", "{\"c\":3}"].map(str::as_bytes);
                assert_eq!(found, expected, "split at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_buffer_that_waits_keeps_little() {
        let mut buffer = LineBuffer::default();
        buffer.spare().extend_from_slice(&[b"{}\n".repeat(1000), b"{".to_vec()].concat());
        while buffer.next_line().unwrap().is_some() {}
        buffer.shrink();
        assert_eq!(buffer.spare().len(), 1, "half a line is kept");
        buffer.spare().extend_from_slice(b"}\n");
        while buffer.next_line().unwrap().is_some() {}
        buffer.shrink();
        assert_eq!(buffer.data.capacity(), 0);
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        let mut buffer = LineBuffer::default();
        let piece = vec![b'x'; 1 << 20];
        let mut pushed = 0;
        loop {
            buffer.spare().extend_from_slice(&piece);
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

//! Where a response's body ends.

use std::io;

use super::HttpError;
use super::chunked::Chunked;

/// How a body ends, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    /// In chunks.
    Chunked(Chunked),
    /// With the connection.
    UntilClose,
}

impl Framing {
    /// Of a body of which nothing is still to come.
    pub(super) const ENDED: Self = Self::Length(0);

    pub(super) fn is_ended(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.is_ended(),
            Self::UntilClose => false,
        }
    }

    /// Takes what was read, appends what it holds of the body to `data`, and says how many bytes lie behind the body's end.
    pub(super) fn decode(&mut self, bytes: &[u8], data: &mut Vec<u8>) -> Result<usize, HttpError> {
        match self {
            Self::UntilClose => {
                data.extend_from_slice(bytes);
                Ok(0)
            }
            Self::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                data.extend_from_slice(&bytes[..taken]);
                *left -= taken as u64;
                Ok(bytes.len() - taken)
            }
            Self::Chunked(chunked) => chunked.decode(bytes, data),
        }
    }

    /// The server has closed the connection: `Ok` when that is the body's end. Nothing can be asked on it any more.
    pub(super) fn end_of_input(&mut self) -> Result<(), HttpError> {
        if *self != Self::UntilClose {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the body's end").into());
        }
        *self = Self::ENDED;
        Ok(())
    }
}

//! Where a response's head and body end.

use std::io;

use http::StatusCode;

use super::HttpError;

/// Headers of a response, at most.
const MAX_HEADERS: usize = 100;
/// The longest line behind a chunk's size, and the longest trailer.
const MAX_EXTENSION_BYTES: usize = 8 << 10;

/// What matters of a response's head.
#[derive(Debug)]
pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    pub(super) framing: Framing,
    /// Whether the connection may serve another request after this.
    pub(super) keep_alive: bool,
}

impl ResponseHead {
    /// Parses a head, and says how long it is; `None` while it isn't whole.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, HttpError> {
        let protocol = |what: String| HttpError::Protocol(what);
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(bytes).map_err(|error| protocol(error.to_string()))? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial => return Ok(None),
        };
        let code = response.code.unwrap_or_default();
        let status = StatusCode::from_u16(code).map_err(|_| protocol(format!("{code} is no status")))?;
        let values = |name: &'static str| {
            response.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
        };
        let words = |name: &'static str| values(name).flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
        let mut lengths = values("content-length").map(|value| std::str::from_utf8(value).ok()?.trim().parse::<u64>().ok());
        let mut codings = words("transfer-encoding");
        let framing = match (codings.next(), lengths.next()) {
            _ if status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => Framing::ENDED,
            (Some(coding), _) if coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none() => Framing::Chunked(Chunk::START),
            (Some(_), _) => return Err(protocol("a transfer coding that was not asked for".to_owned())),
            (None, Some(Some(length))) if lengths.all(|other| other == Some(length)) => Framing::Length(length),
            (None, Some(_)) => return Err(protocol("a content-length that is none".to_owned())),
            (None, None) => Framing::UntilClose,
        };
        let says = |word: &[u8]| words("connection").any(|said| said.eq_ignore_ascii_case(word));
        let keep_alive = if response.version == Some(1) { !says(b"close") } else { says(b"keep-alive") };
        Ok(Some((Self { status, framing, keep_alive }, length)))
    }
}

/// How a body ends, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    /// In chunks.
    Chunked(Chunk),
    /// With the connection.
    UntilClose,
}

/// Where in a chunked body we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In the digits of a chunk's size.
    Size { size: u64, digits: u8 },
    /// Behind them, up to the line's end; so many bytes of it were seen.
    Extension { size: u64, seen: usize },
    /// So many bytes of the chunk are still to come.
    Data(u64),
    /// Behind the chunk; so many bytes of its line end were seen.
    DataEnd(u8),
    /// Behind the last chunk: in a trailer's line of so many bytes, after so many bytes of trailers.
    Trailer { line: usize, seen: usize },
    /// Behind all.
    End,
}

impl Chunk {
    const START: Self = Self::Size { size: 0, digits: 0 };
}

impl Framing {
    /// Of a body of which nothing is still to come.
    pub(super) const ENDED: Self = Self::Length(0);

    pub(super) fn is_ended(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::End))
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
            Self::Chunked(chunk) => decode_chunks(chunk, bytes, data),
        }
    }

    /// The connection has ended: `Ok` when the body has, too.
    pub(super) fn end_of_input(&mut self) -> Result<bool, HttpError> {
        if *self == Self::UntilClose {
            *self = Self::ENDED;
            // Nothing can be asked on it any more.
            return Ok(false);
        }
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the body's end").into())
    }
}

fn decode_chunks(chunk: &mut Chunk, bytes: &[u8], data: &mut Vec<u8>) -> Result<usize, HttpError> {
    let malformed = |what: &str| Err(HttpError::Protocol(format!("a chunked body {what}")));
    let mut rest = bytes;
    loop {
        if let Chunk::Data(left) = chunk {
            let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
            data.extend_from_slice(&rest[..taken]);
            rest = &rest[taken..];
            *left -= taken as u64;
            if *left > 0 {
                return Ok(0);
            }
            *chunk = Chunk::DataEnd(0);
        }
        if *chunk == Chunk::End {
            return Ok(rest.len());
        }
        let Some((&byte, behind)) = rest.split_first() else { return Ok(0) };
        rest = behind;
        *chunk = match *chunk {
            Chunk::Size { size, digits } => match (char::from(byte).to_digit(16), byte) {
                (Some(_), _) if digits == 15 => return malformed("has a chunk of a size beyond all measure"),
                (Some(digit), _) => Chunk::Size { size: size << 4 | u64::from(digit), digits: digits + 1 },
                (None, b';' | b' ' | b'\t' | b'\r' | b'\n') if digits > 0 => after_size(size, byte, 0),
                (None, _) => return malformed("has a chunk without a size"),
            },
            Chunk::Extension { seen, .. } if seen >= MAX_EXTENSION_BYTES => return malformed("has an endless chunk extension"),
            Chunk::Extension { size, seen } => after_size(size, byte, seen),
            Chunk::DataEnd(0) if byte == b'\r' => Chunk::DataEnd(1),
            Chunk::DataEnd(_) if byte == b'\n' => Chunk::START,
            Chunk::DataEnd(_) => return malformed("has a chunk that is longer than its size"),
            Chunk::Trailer { seen, .. } if seen >= MAX_EXTENSION_BYTES => return malformed("has endless trailers"),
            Chunk::Trailer { line: 0, .. } if byte == b'\n' => Chunk::End,
            Chunk::Trailer { seen, .. } if byte == b'\n' => Chunk::Trailer { line: 0, seen: seen + 1 },
            Chunk::Trailer { line: 0, seen } if byte == b'\r' => Chunk::Trailer { line: 0, seen: seen + 1 },
            Chunk::Trailer { line, seen } => Chunk::Trailer { line: line + 1, seen: seen + 1 },
            Chunk::Data(_) | Chunk::End => *chunk,
        };
    }
}

/// What follows a byte behind a chunk's size.
fn after_size(size: u64, byte: u8, seen: usize) -> Chunk {
    match (byte, size) {
        (b'\n', 0) => Chunk::Trailer { line: 0, seen: 0 },
        (b'\n', size) => Chunk::Data(size),
        _ => Chunk::Extension { size, seen: seen + 1 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_may_be_split_anywhere() {
        let text = b"5\r\nhello\r\n1;a=b\r\n \r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\nbehind";
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let (mut framing, mut data, mut behind) = (Framing::Chunked(Chunk::START), Vec::new(), 0);
                for piece in [&text[..first], &text[first..second], &text[second..]] {
                    behind += framing.decode(piece, &mut data).unwrap();
                }
                assert_eq!(data, b"hello 0123456789", "split at {first} and {second}");
                assert!(framing.is_ended());
                assert_eq!(behind, b"behind".len());
            }
        }
    }

    #[test]
    fn an_endless_extension_or_trailer_is_refused() {
        for start in [&b"1;"[..], b"0\r\nX: "] {
            let mut framing = Framing::Chunked(Chunk::START);
            framing.decode(start, &mut Vec::new()).unwrap();
            assert!(framing.decode(&vec![b'x'; MAX_EXTENSION_BYTES + 2], &mut Vec::new()).is_err());
        }
    }
}

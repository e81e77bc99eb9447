//! The head of a response, and how its body is framed.
//!
//! What RFC 9112 lets a client forgive is refused: a response whose length could be read in two ways would leave what belongs to one call
//! in the connection of the next.

use std::str;

use http::StatusCode;

use super::HttpError;
use super::chunked::Chunked;
use super::framing::Framing;

/// Header fields of a response, at most.
const MAX_HEADERS: usize = 100;

/// The longest that the heads of a response may be together: those of informational responses, and the last.
pub(super) const MAX_HEAD_BYTES: usize = 64 << 10;

/// How much is read at once while a head is expected: as a rule all of it, and the first of the body.
const READ_BYTES: usize = 2 << 10;

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
    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, HttpError> {
        // The parser would skip blank lines.
        if bytes.first().is_some_and(|byte| *byte != b'H') {
            return Err(protocol("it begins with no status line"));
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(bytes).map_err(|error| HttpError::Protocol(error.to_string()))?;
        let length = match parsed {
            httparse::Status::Complete(length) => Some(length),
            httparse::Status::Partial => None,
        };
        // The parser takes a bare LF for a line's end.
        if has_bare_line_feed(&bytes[..length.unwrap_or(bytes.len())]) {
            return Err(protocol("a line of the head ends without CR"));
        }
        let Some(length) = length else { return Ok(None) };
        let code = response.code.unwrap_or_default();
        let status = StatusCode::from_u16(code).map_err(|_| HttpError::Protocol(format!("{code} is no status")))?;
        let fields = Fields { is_http_1_1: response.version == Some(1), headers: response.headers };
        Ok(Some((Self { status, framing: fields.framing(status)?, keep_alive: fields.keep_alive() }, length)))
    }
}

fn has_bare_line_feed(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes).any(|at| at == 0 || bytes[at - 1] != b'\r')
}

/// The version and the header fields.
struct Fields<'a> {
    is_http_1_1: bool,
    headers: &'a [httparse::Header<'a>],
}

impl<'a> Fields<'a> {
    /// The elements of a field that is a list, in however many lines.
    fn elements(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        lines.flat_map(|header| header.value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
    }

    /// RFC 9112, section 6.3. What a status without a body says of its length is held to the same rules.
    fn framing(&self, status: StatusCode) -> Result<Framing, HttpError> {
        let (mut codings, mut lengths) = (self.elements("transfer-encoding"), self.elements("content-length"));
        let framing = match (codings.next(), lengths.next()) {
            (Some(_), Some(_)) => return Err(protocol("it has a transfer-encoding and a content-length")),
            (Some(_), None) if !self.is_http_1_1 => return Err(protocol("it is HTTP/1.0 and has a transfer-encoding")),
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none() => {
                Framing::Chunked(Chunked::default())
            }
            (Some(_), None) => return Err(protocol("it has a transfer-encoding that was not asked for")),
            (None, Some(length)) => {
                let length = decimal(length).ok_or_else(|| protocol("its content-length is no length"))?;
                if lengths.any(|other| decimal(other) != Some(length)) {
                    return Err(protocol("it has two different content-lengths"));
                }
                Framing::Length(length)
            }
            (None, None) => Framing::UntilClose,
        };
        let has_no_body = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        Ok(if has_no_body { Framing::ENDED } else { framing })
    }

    fn keep_alive(&self) -> bool {
        let has_option = |option: &[u8]| self.elements("connection").any(|element| element.eq_ignore_ascii_case(option));
        if self.is_http_1_1 { !has_option(b"close") } else { has_option(b"keep-alive") }
    }
}

/// A number of digits alone. `parse` would take a plus sign.
fn decimal(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if is_number { str::from_utf8(text).ok()?.parse().ok() } else { None }
}

fn protocol(what: &str) -> HttpError {
    HttpError::Protocol(what.to_owned())
}

/// Gathers bytes until the head is there of the response proper, behind those of informational responses.
#[derive(Debug)]
pub(super) struct HeadReader {
    bytes: Vec<u8>,
    /// Bytes of the informational responses that were passed over.
    passed: usize,
    /// An informational response has come: the request has arrived.
    pub(super) is_informed: bool,
    /// One of them was `100 Continue`.
    pub(super) has_continue: bool,
}

impl HeadReader {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::with_capacity(READ_BYTES), passed: 0, is_informed: false, has_continue: false }
    }

    /// Where what comes next is to be appended.
    pub(super) fn spare(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The head, and what came behind it; `None` while it isn't whole. Fails when it is no head, or too long.
    pub(super) fn next(&mut self) -> Result<Option<(ResponseHead, Vec<u8>)>, HttpError> {
        loop {
            let found = ResponseHead::parse(&self.bytes)?;
            let length = found.as_ref().map_or(self.bytes.len(), |(_, length)| *length);
            if self.passed + length > MAX_HEAD_BYTES {
                return Err(HttpError::Protocol(format!("its head is longer than {MAX_HEAD_BYTES} bytes")));
            }
            let Some((head, length)) = found else { return Ok(None) };
            if !head.status.is_informational() {
                return Ok(Some((head, self.bytes.split_off(length))));
            }
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(protocol("it switches to a protocol that was not asked for"));
            }
            self.is_informed = true;
            self.has_continue |= head.status == StatusCode::CONTINUE;
            self.passed += length;
            self.bytes.drain(..length);
        }
    }
}

//! The heads of an HTTP/1.1 connection's requests, watched while they are read: how long each takes, and whether it gives its body two
//! lengths.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use tokio::time::Sleep;

use crate::connection_slots::ConnectionState;

/// How long the head of a later request may take, from its first byte.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// As much of a head as is looked at: longer ones are refused.
const MAX_WATCHED_BYTES: usize = 16 << 10;
/// As many headers as are looked at: more are refused.
pub(crate) const MAX_HEADERS: usize = 100;

/// Watches the heads of a connection's requests. The first has its time from the connection's acceptance, the others from their first byte.
#[derive(Debug)]
pub(super) struct RequestHeads {
    connection: Arc<ConnectionState>,
    /// Requests that had begun when this was looked at last: their heads are whole.
    begun: u32,
    timeout: Option<Pin<Box<Sleep>>>,
    /// What is here of the next one.
    head: Vec<u8>,
}

impl RequestHeads {
    /// `timeout`: of the first one.
    pub(super) fn new(connection: Arc<ConnectionState>, timeout: Pin<Box<Sleep>>) -> Self {
        Self { connection, begun: 0, timeout: Some(timeout), head: Vec::new() }
    }

    /// Whether a request of the connection is being answered.
    pub(super) fn has_running_call(&self) -> bool {
        self.connection.idle_for().is_none()
    }

    /// Follows what was just read. Answers whether a head is late.
    pub(super) fn is_late(&mut self, read: &[u8], cx: &mut Context<'_>) -> bool {
        let begun = self.connection.begun_requests();
        if begun != self.begun {
            (self.begun, self.timeout) = (begun, None);
            self.head.clear();
        }
        // What comes while a request is answered is its body; or it is a next request that wasn't waited for.
        if !read.is_empty() && self.connection.idle_for().is_some() {
            self.timeout.get_or_insert_with(|| Box::pin(tokio::time::sleep(HEAD_TIMEOUT)));
            let room = MAX_WATCHED_BYTES.saturating_sub(self.head.len());
            self.head.extend_from_slice(&read[..read.len().min(room)]);
            if read.contains(&b'\n') && has_two_lengths(&self.head) {
                self.connection.doubt_next_request();
            }
        }
        self.timeout.as_mut().is_some_and(|timeout| timeout.as_mut().poll(cx).is_ready())
    }
}

/// Whether a head is whole and gives its body two lengths. A proxy may have read the one, and hyper, which follows the standard, reads the
/// other and hides the first.
fn has_two_lengths(head: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    if !request.parse(head).is_ok_and(|parsed| parsed.is_complete()) {
        return false;
    }
    let has = |name: &str| request.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name));
    has(CONTENT_LENGTH.as_str()) && has(TRANSFER_ENCODING.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_with_two_lengths_is_known_once_it_is_whole() {
        let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nx: y\r\ncontent-LENGTH: 3\r\n\r\nabc";
        let end = head.len() - 3;
        for cut in 0..=head.len() {
            assert_eq!(has_two_lengths(&head[..cut]), cut >= end, "{cut}");
        }
        for one in ["transfer-encoding: chunked", "content-length: 3", "x: content-length: 3\r\ntransfer-encoding: chunked"] {
            assert!(!has_two_lengths(format!("POST / HTTP/1.1\r\n{one}\r\n\r\n").as_bytes()), "{one}");
        }
    }
}

//! What the fuzz targets call.

use std::sync::Arc;
use std::task::Waker;

use http::HeaderMap;

use super::pieces::Pieces;
use super::{
    Body, BodyRules, Bytes, CallError, Code, Confirmation, Context, ErrorReason, GuardedBody, HttpBody, Pin, Poll, Status, Unconfirmed,
};
use crate::admission::Confirm;
use crate::caller_address::CallerAddress;

/// How a body is read.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// The longest message, in bytes.
    pub most_bytes: usize,
    /// Whether the method takes many messages.
    pub many_messages: bool,
    /// Whether a message may be compressed.
    pub gzip: bool,
    /// Whether the caller's credential is in force.
    pub in_force: bool,
}

struct Judge(bool);

impl Confirm for Judge {
    fn confirm(&self, _: &str, _: HeaderMap, _: Option<CallerAddress>) -> Confirmation {
        let refused = || CallError::new(Code::Unauthenticated, ErrorReason::CredentialInvalid, "unknown");
        Box::pin(std::future::ready(if self.0 { Ok(()) } else { Err(refused()) }))
    }
}

/// What is handed on of a body that comes in these pieces, or why it is refused. `None`: it waits, though all is there.
#[must_use]
pub fn received(pieces: &[&[u8]], reading: Reading) -> Option<Result<Vec<u8>, Status>> {
    let Reading { most_bytes, many_messages, gzip, in_force } = reading;
    let caller = Some(Unconfirmed::of(Arc::new(Judge(in_force))));
    let rules = BodyRules { most_bytes, many_messages, gzip, network: [192, 0, 2, 1].into(), budgets: Arc::default(), caller };
    let mut body = GuardedBody::new(Body::new(Pieces::new(pieces, true)), rules);
    let mut received = Vec::new();
    loop {
        match Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => return None,
            Poll::Ready(None) => return Some(Ok(received)),
            Poll::Ready(Some(Err(status))) => return Some(Err(status)),
            Poll::Ready(Some(Ok(frame))) => received.extend(frame.into_data().unwrap_or_else(|_| Bytes::new())),
        }
    }
}

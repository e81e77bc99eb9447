//! The Connect protocol: each unary method by an HTTP request, at the path that it has in gRPC.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use tonic::body::Body;

use super::entry::{Routing, refuse_plainly};
use super::refusal::Refusal;
use crate::ErrorReason;
use crate::admission::Rules;
use crate::connection_slots::ConnectionState;

/// What a call goes through, and what answers it.
pub(crate) struct Gate {
    /// `rules.method(path)` has a method's policy, `rules.admit_plain` judges a call and bounds its body, `grpc` answers what was admitted.
    pub(crate) routing: Routing,
    /// Proved by a call that was authenticated.
    pub(crate) connection: Arc<ConnectionState>,
}

/// Whether a request is for a method of gRPC.
pub(crate) fn is_for(rules: &Rules, request: &Request<Body>) -> bool {
    rules.method(request.uri().path()).is_ok()
}

/// Answers it.
pub(crate) async fn answer(gate: Gate, request: Request<Body>) -> Response<Body> {
    let Gate { routing: _, connection: _ } = gate;
    let message = format!("{} is answered over gRPC and gRPC-Web", request.uri().path());
    refuse_plainly(&Refusal::new(StatusCode::NOT_IMPLEMENTED, ErrorReason::NotImplemented, message))
}

//! gRPC-Web, translated around the admission that gRPC has.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request};
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service};

use crate::admission::{AdmissionService, BoxedAnswer};
use crate::request_context::RequestContext;

/// Whether a request speaks gRPC-Web.
pub(crate) fn is_for(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).is_some_and(|kind| kind.starts_with(b"application/grpc-web"))
}

/// Answers it by the same connection's gRPC.
pub(crate) fn answer(grpc: RequestContext<AdmissionService>, request: Request<Body>) -> BoxedAnswer {
    let answer = GrpcWebLayer::new().layer(grpc).call(request);
    Box::pin(answer)
}

//! gRPC-Web: gRPC for browsers, with its trailers at the end of the body. `tonic-web` translates, around what answers gRPC.

use std::convert::Infallible;

use http::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service, service_fn};

use crate::ErrorReason;
use crate::error::CallError;

/// All of them; the others are other codecs than protobuf.
const TYPES: [&str; 4] =
    ["application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text", "application/grpc-web-text+proto"];
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

/// Whether a request speaks gRPC-Web.
pub(crate) fn is_for(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).is_some_and(|kind| kind.starts_with(b"application/grpc-web"))
}

/// Answers a call over gRPC-Web. `calls` answers gRPC.
pub(crate) async fn answer<S>(mut calls: S, mut request: Request<Body>) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let Some(kind) = known_type(request.headers()) else {
        let mut refused =
            no_call(StatusCode::UNSUPPORTED_MEDIA_TYPE, "gRPC-Web is taken with protobuf: as grpc-web+proto, or as grpc-web-text");
        refused.headers_mut().insert(ACCEPT_POST, HeaderValue::from_static("application/grpc-web+proto, application/grpc-web-text+proto"));
        return Ok(refused);
    };
    if request.method() != Method::POST {
        let mut refused = no_call(StatusCode::METHOD_NOT_ALLOWED, "call this method with POST");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Ok(refused);
    }
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // Whoever sends text is answered in text, unless it asks for something else.
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).and_then(known);
    headers.insert(ACCEPT, HeaderValue::from_static(accepted.unwrap_or(kind)));
    let calls = service_fn(move |request: Request<Body>| calls.call(request.map(malformed_unless_read)));
    GrpcWebLayer::new().layer(calls).call(request).await
}

/// Base64 that is none is the caller's mistake: `tonic-web` calls it a defect.
fn malformed_unless_read(body: Body) -> Body {
    let malformed = |_| Status::from(CallError::message_malformed("the body is cut off, or is no base64 where its content-type says so"));
    Body::new(body.map_err(malformed))
}

fn known_type(headers: &HeaderMap) -> Option<&'static str> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    known(kind.split(';').next().unwrap_or_default())
}

fn known(kind: &str) -> Option<&'static str> {
    TYPES.into_iter().find(|known| kind.trim().eq_ignore_ascii_case(known))
}

/// A request that is no call: its status is HTTP's, and gRPC's beside it.
fn no_call(http: StatusCode, message: &'static str) -> Response<Body> {
    let refused = Status::from(CallError::new(Code::Unimplemented, ErrorReason::InvalidArgument, message));
    let mut response = refused.into_http::<Body>().map(|_| Body::new(Full::new(message.into())));
    *response.status_mut() = http;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_protobuf_is_known_and_its_parameters_are_passed_over() {
        let of = |kind: &'static str| known_type(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]));
        assert_eq!(of("application/grpc-web"), Some("application/grpc-web"));
        assert_eq!(of("application/GRPC-Web-text; charset=utf-8"), Some("application/grpc-web-text"));
        for other in ["application/grpc-web+json", "application/grpc-webby", "application/grpc-web-text+thrift", ""] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}

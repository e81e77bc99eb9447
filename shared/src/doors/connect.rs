//! The Connect protocol: every method of the contract over plain HTTP, with JSON or protobuf (connectrpc.com/docs/protocol).
//!
//! A request becomes the same call over gRPC, and goes through what every such call goes through: admission, the message guard, the
//! method. Its answer is told as Connect has it. So nothing is decided twice, and a call over Connect is judged, priced and logged as it is
//! over gRPC.

mod answer;
mod call;
mod contract;
mod failure;
mod framing;
mod json;
mod metadata;
mod request_body;

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

pub(crate) use self::failure::{code_name, status_of};
pub(crate) use self::request_body::MessageForm;
use super::Refusal;
use super::openapi::code_of;
use crate::error::CallError;

/// Headers of an answer that a browser's client must be able to read, of Connect and of gRPC-Web: for CORS. What such a client sends is for
/// CORS to allow whole: `content-type`, `authorization`, `connect-*`, `grpc-timeout`, `x-grpc-web`, `x-user-agent`.
pub(crate) const EXPOSED_HEADERS: [&str; 5] =
    ["grpc-status", "grpc-message", "grpc-status-details-bin", "connect-accept-encoding", "accept-encoding"];

/// Whether a path is a method's: `/package.Service/Method`. No door over HTTP has such a path.
pub(crate) fn is_method_path(path: &str) -> bool {
    let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) else { return false };
    let is_identifier = |part: &str| {
        let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        part.bytes().next().is_some_and(letter) && part.bytes().all(|byte| letter(byte) || byte.is_ascii_digit())
    };
    service.contains('.') && service.split('.').all(is_identifier) && is_identifier(method)
}

/// Answers a call over Connect. `calls` answers gRPC.
pub(crate) async fn answer<S>(mut calls: S, request: Request<Body>) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let Some(method) = contract::method(request.uri().path()) else {
        let refused = calls.call(call::unknown(request)).await?;
        let status = Status::from_header_map(refused.headers()).unwrap_or_else(|| CallError::internal().into());
        return Ok(failure::refused(&status, None, refused.headers()));
    };
    let (request, form) = call::translate(method, request);
    let response = calls.call(request).await?;
    Ok(answer::translate(response, form, &method.output).await)
}

/// A refusal as Connect tells one: for what is called beside its methods by whoever calls those, too.
pub fn refused_over_connect(error: CallError) -> Response<axum::body::Body> {
    failure::refused(&error.into(), None, &HeaderMap::new()).map(axum::body::Body::new)
}

/// Connect's form of a refusal, for a door.
pub fn connect_form(refusal: &Refusal) -> Response<axum::body::Body> {
    let error = CallError::from(refusal.clone());
    // Several codes have one status.
    let code = code_of(refusal.reason).unwrap_or(error.code());
    refused_over_connect(error.coded(code))
}

/// A refusal with the status that Connect's table has for it.
#[must_use]
pub fn refusal_over_connect(error: CallError) -> Refusal {
    let status = status_of(error.code(), Some(error.reason()));
    Refusal { status, ..error.into() }
}

/// A body that is all here.
fn full_body(bytes: impl Into<Bytes>) -> Body {
    Body::new(Full::new(bytes.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_methods_path_is_told_from_a_doors() {
        for path in ["/tollgate.auth.v1.Accounts/Login", "/grpc.health.v1.Health/Check", "/a.B/c", "/tollgate.nobody.v1.Knows/It"] {
            assert!(is_method_path(path), "{path}");
        }
        for path in [
            "/",
            "/v1/chat/completions",
            "/v1/models",
            "/api/chat",
            "/users/me",
            "/.well-known/jwks.json",
            "/openapi.json",
            "/v1.5/models/x",
            "/a.B/c/d",
            "/a.B/",
            "//c",
            "/a..B/c",
            "/a.B./c",
            "/models.gguf/",
            "",
        ] {
            assert!(!is_method_path(path), "{path}");
        }
    }
}

//! Errors as Connect has them: a code, a sentence, and details, in JSON.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use prost::Message;
use prost_reflect::DynamicMessage;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::pb;

use super::contract::{message_name, message_of_any};
use super::full_body;
use super::metadata::Metadata;
use crate::ErrorReason;
use crate::error::{reason_of, retry_delay_of};

/// An error in JSON.
#[derive(Serialize)]
pub(super) struct WireError {
    code: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<WireDetail>,
}

#[derive(Serialize)]
struct WireDetail {
    r#type: String,
    /// Protobuf, as base64 without padding.
    value: String,
    /// The same for people. Clients don't read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<DynamicMessage>,
}

impl WireError {
    pub(super) fn of(status: &Status) -> Self {
        let rich = pb::Status::decode(status.details()).unwrap_or_default();
        let details = rich.details.into_iter().map(|detail| WireDetail {
            r#type: message_name(&detail.type_url).to_owned(),
            value: STANDARD_NO_PAD.encode(&detail.value),
            debug: message_of_any(&detail.type_url, &detail.value),
        });
        Self { code: code_name(status.code()), message: status.message().to_owned(), details: details.collect() }
    }
}

/// What a stream ends with.
#[derive(Serialize)]
pub(super) struct EndOfStream {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<WireError>,
    #[serde(skip_serializing_if = "Trailers::is_empty")]
    metadata: Trailers,
}

/// Names with all of their values.
struct Trailers(HeaderMap);

impl Trailers {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Trailers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = |name: &HeaderName| self.0.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let mut map = serializer.serialize_map(Some(self.0.keys_len()))?;
        for name in self.0.keys() {
            let values: Vec<_> = values(name);
            map.serialize_entry(name.as_str(), &values)?;
        }
        map.end()
    }
}

impl EndOfStream {
    /// The end that this status says, with the other trailers.
    pub(super) fn of(status: &Status, trailers: &HeaderMap) -> Self {
        let error = (status.code() != Code::Ok).then(|| WireError::of(status));
        Self { error, metadata: Trailers(Metadata::of(trailers).into_headers()) }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        // Texts alone: nothing of it can fail.
        serde_json::to_vec(self).unwrap_or_else(|_| br#"{"error":{"code":"internal"}}"#.to_vec())
    }
}

/// The answer to a unary call that failed. `http`: HTTP's status, where the error's own isn't meant; `said`: what else the answer says.
pub(super) fn refused(status: &Status, http: Option<StatusCode>, said: &HeaderMap) -> Response<Body> {
    let json = serde_json::to_vec(&WireError::of(status)).unwrap_or_default();
    let mut response = Response::new(full_body(json));
    *response.status_mut() = http.unwrap_or_else(|| http_status(status));
    let is_unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    *headers = Metadata::of(said).into_headers();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if is_unauthorized {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(after) = retry_delay_of(status) {
        headers.insert(RETRY_AFTER, whole_seconds(after).into());
    }
    response
}

/// `Retry-After` has whole seconds; an earlier call would be refused again.
fn whole_seconds(after: Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0)
}

fn http_status(status: &Status) -> StatusCode {
    status_of(status.code(), reason_of(status))
}

/// HTTP's status for an error, by the protocol's table. A path that is none of ours is 404, as every HTTP server has it; clients read that
/// as `unimplemented`, too.
pub(crate) fn status_of(code: Code, reason: Option<ErrorReason>) -> StatusCode {
    let number = match code {
        Code::Unimplemented if reason == Some(ErrorReason::MethodUnknown) => 404,
        Code::Ok => 200,
        Code::Cancelled => 499,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::ResourceExhausted => 429,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::DeadlineExceeded => 504,
    };
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The protocol's name of a code.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        // An error that says it is none can't be told.
        Code::Ok | Code::Unknown => "unknown",
        Code::Cancelled => "canceled",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::error::CallError;

    #[test]
    fn every_code_has_the_name_and_the_status_of_the_protocols_table() {
        let table = [
            (Code::Cancelled, "canceled", 499),
            (Code::Unknown, "unknown", 500),
            (Code::InvalidArgument, "invalid_argument", 400),
            (Code::DeadlineExceeded, "deadline_exceeded", 504),
            (Code::NotFound, "not_found", 404),
            (Code::AlreadyExists, "already_exists", 409),
            (Code::PermissionDenied, "permission_denied", 403),
            (Code::ResourceExhausted, "resource_exhausted", 429),
            (Code::FailedPrecondition, "failed_precondition", 400),
            (Code::Aborted, "aborted", 409),
            (Code::OutOfRange, "out_of_range", 400),
            (Code::Unimplemented, "unimplemented", 501),
            (Code::Internal, "internal", 500),
            (Code::Unavailable, "unavailable", 503),
            (Code::DataLoss, "data_loss", 500),
            (Code::Unauthenticated, "unauthenticated", 401),
        ];
        for (code, name, http) in table {
            let status = Status::new(code, "no");
            assert_eq!((code_name(code), http_status(&status).as_u16()), (name, http));
            let json: Value = serde_json::to_value(WireError::of(&status)).unwrap();
            assert_eq!(json, json!({"code": name, "message": "no"}));
        }
        let unknown = CallError::new(Code::Unimplemented, ErrorReason::MethodUnknown, "no such method");
        assert_eq!(http_status(&unknown.into()), StatusCode::NOT_FOUND);
    }

    #[test]
    fn an_error_has_its_details_as_protobuf_and_for_people() {
        let error = CallError::new(Code::ResourceExhausted, ErrorReason::RateLimited, "later").retry_after(Duration::from_millis(1500));
        let status = Status::from(error);
        let json: Value = serde_json::to_value(WireError::of(&status)).unwrap();
        let [info, retry] = json["details"].as_array().unwrap().as_slice() else { panic!("{json}") };
        assert_eq!(info["type"], "google.rpc.ErrorInfo");
        assert_eq!(info["debug"], json!({"reason": "RATE_LIMITED", "domain": "tollgate"}));
        let value = STANDARD_NO_PAD.decode(info["value"].as_str().unwrap()).unwrap();
        assert_eq!(pb::ErrorInfo::decode(value.as_slice()).unwrap().reason, "RATE_LIMITED");
        assert_eq!((&retry["type"], &retry["debug"]), (&json!("google.rpc.RetryInfo"), &json!({"retryDelay": "1.500s"})));
        let response = refused(&status, None, &HeaderMap::new());
        assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &HeaderValue::from_static("2")));
        assert_eq!(response.headers()["content-type"], "application/json");
        let missing = CallError::new(Code::Unauthenticated, ErrorReason::CredentialMissing, "send one").into();
        assert_eq!(refused(&missing, None, &HeaderMap::new()).headers()["www-authenticate"], "Bearer");
    }

    #[test]
    fn a_stream_that_ends_well_says_nothing_but_its_trailers() {
        assert_eq!(EndOfStream::of(&Status::ok(""), &HeaderMap::new()).to_json(), b"{}");
        let trailers = HeaderMap::from_iter([
            (HeaderName::from_static("grpc-status"), HeaderValue::from_static("0")),
            (HeaderName::from_static("cost"), HeaderValue::from_static("237")),
        ]);
        assert_eq!(EndOfStream::of(&Status::ok(""), &trailers).to_json(), br#"{"metadata":{"cost":["237"]}}"#);
    }
}

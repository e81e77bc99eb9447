//! Anthropic's form of an error.

use std::borrow::Cow;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use shared::doors::{Refusal, json};
use shared::request_context::CurrentCall;

use crate::doors::openai::error::in_words_of_http;
use crate::doors::openai::usage::Receipt;

/// An error, as the body of a response and as an event of a stream.
#[derive(Serialize)]
pub(super) struct ErrorBody<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    error: Error<'a>,
    /// The call's id in the log; also in the header.
    request_id: Option<String>,
}

#[derive(Serialize)]
struct Error<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    message: Cow<'a, str>,
    /// Our reason.
    code: &'static str,
    /// What the call had cost all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<Receipt>,
    details: Details<'a>,
}

/// The code by which Anthropic's SDKs know that they must send the whole conversation: their tool runners ask for a thread first.
const NO_THREADS: &str = "thread_unsupported_request";

/// Where Anthropic's SDKs look for a code.
#[derive(Serialize)]
struct Details<'a> {
    error_code: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<WrongField<'a>>,
}

#[derive(Serialize)]
struct WrongField<'a> {
    field: &'a str,
    must: &'a str,
}

impl<'a> ErrorBody<'a> {
    pub(super) fn new(refusal: &'a Refusal, request_id: Option<String>) -> Self {
        let fields = refusal.fields.iter().map(|(field, must)| WrongField { field, must }).collect();
        let code = refusal.code();
        let asks_for_thread = refusal.fields.iter().any(|(field, _)| field == "thread");
        let error_code = if asks_for_thread { NO_THREADS } else { code };
        let (receipt, details) = (refusal.receipt.as_ref().map(Receipt::from), Details { error_code, fields });
        let error = Error { kind: kind(refusal.status), message: in_words_of_http(&refusal.message), code, receipt, details };
        Self { kind: "error", error, request_id }
    }
}

/// The body of a refusal.
pub(super) fn refusal(refusal: &Refusal) -> Response<Body> {
    with_request_id(json(&ErrorBody::new(refusal, CurrentCall::get().request_id().map(str::to_owned))))
}

/// With the call's id in the header in which Anthropic's SDKs look for it, too.
pub(super) fn with_request_id(mut response: Response<Body>) -> Response<Body> {
    if let Some(id) = CurrentCall::get().request_id().and_then(|id| HeaderValue::from_str(id).ok()) {
        response.headers_mut().insert(HeaderName::from_static("request-id"), id);
    }
    response
}

/// Anthropic's type of error for a status.
fn kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 | 504 => "timeout_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use shared::ErrorReason;
    use shared::proto::inference as wire;

    use super::*;

    #[test]
    fn an_error_has_anthropics_type_by_its_status_our_code_and_what_it_cost() {
        let receipt = wire::Receipt { charged_credits: Some(3), ..wire::Receipt::default() };
        for (status, kind) in [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (402, "billing_error"),
            (403, "permission_error"),
            (404, "not_found_error"),
            (409, "conflict_error"),
            (413, "request_too_large"),
            (422, "invalid_request_error"),
            (429, "rate_limit_error"),
            (500, "api_error"),
            (501, "api_error"),
            (503, "overloaded_error"),
            (504, "timeout_error"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let refusal = Refusal { receipt: Some(receipt.clone()), ..Refusal::new(status, ErrorReason::InsufficientCredits, "none left") };
            let body = serde_json::to_value(ErrorBody::new(&refusal, Some("r-1".to_owned()))).unwrap();
            let error = serde_json::json!({
                "type": kind, "message": "none left", "code": "INSUFFICIENT_CREDITS", "receipt": { "charged_credits": 3 },
                "details": { "error_code": "INSUFFICIENT_CREDITS" },
            });
            assert_eq!(body, serde_json::json!({ "type": "error", "error": error, "request_id": "r-1" }));
        }
    }

    #[test]
    fn a_thread_is_refused_so_that_the_sdk_sends_the_whole_conversation() {
        let refusal = Refusal::invalid("thread", "can't be had");
        let body = serde_json::to_value(ErrorBody::new(&refusal, None)).unwrap();
        assert_eq!(body["error"]["details"]["error_code"], "thread_unsupported_request");
        assert_eq!(body["error"]["code"], "INVALID_ARGUMENT");
    }

    #[test]
    fn a_sentence_names_what_is_there_over_http() {
        let refusal = Refusal::new(StatusCode::NOT_FOUND, ErrorReason::ModelNotFound, "there is none; ListModels has those there are");
        let body = serde_json::to_value(ErrorBody::new(&refusal, None)).unwrap();
        assert_eq!(body["error"]["message"], "there is none; GET /v1/models has those there are");
    }
}

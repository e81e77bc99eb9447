//! Anthropic's form of an error.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use shared::doors::{Refusal, json};
use shared::request_context::CurrentCall;

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
    message: &'a str,
    /// Our reason.
    code: &'static str,
    /// What the call had cost all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<Receipt>,
    details: Details<'a>,
}

/// Where Anthropic's SDKs look for a code.
#[derive(Serialize)]
struct Details<'a> {
    error_code: &'static str,
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
        let (receipt, details) = (refusal.receipt.as_ref().map(Receipt::from), Details { error_code: code, fields });
        let error = Error { kind: kind(refusal.status), message: &refusal.message, code, receipt, details };
        Self { kind: "error", error, request_id }
    }
}

/// The body of a refusal.
pub(super) fn refusal(refusal: &Refusal) -> Response<Body> {
    json(&ErrorBody::new(refusal, CurrentCall::get().request_id().map(str::to_owned)))
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
}

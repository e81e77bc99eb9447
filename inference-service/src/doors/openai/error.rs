//! OpenAI's form of an error.

use std::borrow::Cow;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use shared::ErrorReason;
use shared::doors::Refusal;

use super::usage::Receipt;
use super::{event, json_response, to_json};

/// An error, as the body of a response and as an event.
#[derive(Serialize)]
pub(in crate::doors) struct ErrorBody<'a> {
    error: ApiError<'a>,
}

/// SDKs show the message, and give programs `type`, `param` and `code`.
#[derive(Serialize)]
struct ApiError<'a> {
    message: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    /// The field that is wrong.
    param: Option<&'a str>,
    /// Our reason.
    code: &'static str,
    /// What the call had cost all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<Receipt>,
}

impl<'a> From<&'a Refusal> for ErrorBody<'a> {
    fn from(refusal: &'a Refusal) -> Self {
        let first = refusal.fields.first().map(|(field, _)| field.as_str());
        let param = first.or_else(|| is_about_model(refusal.reason).then_some("model"));
        let receipt = refusal.receipt.as_ref().map(Receipt::from);
        let error =
            ApiError { message: in_words_of_http(&refusal.message), kind: kind(refusal.status), param, code: refusal.code(), receipt };
        Self { error }
    }
}

/// A refusal as a response.
pub(in crate::doors) fn response(refusal: &Refusal) -> Response<Body> {
    json_response(to_json(&ErrorBody::from(refusal)))
}

/// A failure in mid-stream: both SDKs raise what has `error`. Nothing comes after it.
pub(super) fn write_event(out: &mut Vec<u8>, refusal: &Refusal) {
    event::write(out, &ErrorBody::from(refusal));
}

/// Methods that sentences name, and where the same is found over HTTP.
const METHODS: [(&str, &str); 2] = [("ListModels", "GET /v1/models"), ("ShowModel", "POST /api/show")];

/// A sentence that names a method, with its place over HTTP instead.
pub(in crate::doors) fn in_words_of_http(message: &str) -> Cow<'_, str> {
    METHODS.iter().fold(Cow::Borrowed(message), |said, (method, path)| match said.contains(method) {
        true => Cow::Owned(said.replace(method, path)),
        false => said,
    })
}

/// OpenAI's kind of error. SDKs tell theirs by the status.
fn kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "insufficient_quota",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    }
}

fn is_about_model(reason: ErrorReason) -> bool {
    matches!(
        reason,
        ErrorReason::ModelNotFound
            | ErrorReason::ModelNotAllowed
            | ErrorReason::ModelIncapable
            | ErrorReason::ModelBroken
            | ErrorReason::CloudModelNotAllowed
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::proto::inference as wire;

    fn said(refusal: &Refusal) -> String {
        serde_json::to_string(&ErrorBody::from(refusal)).unwrap()
    }

    #[test]
    fn an_error_has_openais_form_and_our_reason() {
        let refusal = Refusal::invalid("temperature", "must be 0 or more");
        let expected = concat!(
            r#"{"error":{"message":"temperature must be 0 or more","type":"invalid_request_error","param":"temperature","#,
            r#""code":"INVALID_ARGUMENT"}}"#
        );
        assert_eq!(said(&refusal), expected);
        let missing = Refusal::new(StatusCode::NOT_FOUND, ErrorReason::ModelNotFound, "none; ListModels has them");
        let expected = concat!(
            r#"{"error":{"message":"none; GET /v1/models has them","type":"invalid_request_error","param":"model","#,
            r#""code":"MODEL_NOT_FOUND"}}"#
        );
        assert_eq!(said(&missing), expected);
    }

    #[test]
    fn each_status_has_its_kind() {
        for (status, expected) in [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (402, "insufficient_quota"),
            (403, "permission_error"),
            (404, "invalid_request_error"),
            (409, "invalid_request_error"),
            (422, "invalid_request_error"),
            (429, "rate_limit_error"),
            (500, "server_error"),
            (503, "server_error"),
            (504, "server_error"),
        ] {
            assert_eq!(kind(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
    }

    #[test]
    fn a_failure_in_mid_stream_is_one_event_with_what_it_cost() {
        let receipt = wire::Receipt { charged_credits: Some(1), remaining_credits: Some(9), ..Default::default() };
        let mut refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, ErrorReason::UpstreamUnavailable, "broken off");
        refusal.receipt = Some(receipt);
        let mut out = Vec::new();
        write_event(&mut out, &refusal);
        let expected = concat!(
            r#"data: {"error":{"message":"broken off","type":"server_error","param":null,"code":"UPSTREAM_UNAVAILABLE","#,
            r#""receipt":{"charged_credits":1,"remaining_credits":9}}}"#,
            "\n\n"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

//! Refusals as OAuth2 (RFC 6749, section 5.2) and its bearer tokens (RFC 6750, section 3) have them.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, PRAGMA, WWW_AUTHENTICATE};
use schemars::JsonSchema;
use serde::Serialize;
use shared::ErrorReason;
use shared::doors::Refusal;

use super::oauth2_token;
use super::token_form::SHOWN_TOKEN;

/// Who protects what: it stands in every challenge.
const REALM: &str = "tollgate";

/// An error's body.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct OAuth2Error<'a> {
    /// OAuth2's own word for it.
    error: &'a str,
    /// A sentence for people that says what to do.
    error_description: &'a str,
    /// Tollgate's reason, for programs.
    code: &'a str,
}

/// The form of OAuth2's own endpoints.
pub(super) fn token_form(refusal: &Refusal) -> Response<Body> {
    let word = token_error(refusal);
    let mut response = response(refusal, word);
    if refusal.status == StatusCode::UNAUTHORIZED {
        insert(&mut response, WWW_AUTHENTICATE, format!("Basic realm=\"{REALM}\", charset=\"UTF-8\""));
    }
    response
}

/// The form of what an access token opens.
pub(super) fn bearer_form(refusal: &Refusal) -> Response<Body> {
    let word = bearer_error(refusal);
    let mut response = response(refusal, word);
    if matches!(refusal.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        let challenge = if refusal.reason == ErrorReason::CredentialMissing {
            // Whoever sent nothing is only told what to send.
            format!("Bearer realm=\"{REALM}\"")
        } else {
            format!("Bearer realm=\"{REALM}\", error=\"{word}\", error_description=\"{}\"", plain(&refusal.message))
        };
        insert(&mut response, WWW_AUTHENTICATE, challenge);
    }
    response
}

/// No answer of these doors, good or bad, is for a cache.
pub(super) fn never_stored(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// An answer of this JSON.
pub(crate) fn json(value: &impl Serialize) -> Response<Body> {
    let mut response = Response::new(Body::from(serde_json::to_vec(value).unwrap_or_default()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    never_stored(response)
}

fn response(refusal: &Refusal, word: &str) -> Response<Body> {
    json(&OAuth2Error { error: word, error_description: &plain(&refusal.message), code: refusal.code() })
}

fn insert(response: &mut Response<Body>, name: HeaderName, value: String) {
    // Of printable ASCII alone, so it is a header's value.
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}

/// OAuth2's word at `/token`.
fn token_error(refusal: &Refusal) -> &'static str {
    if let Some(word) = oauth2_token::word_of_device(refusal) {
        return word;
    }
    let field = refusal.fields.first().map(|(field, _)| field.as_str());
    match (refusal.reason, field) {
        _ if oauth2_token::is_of_grant(refusal) => "invalid_grant",
        (ErrorReason::NotSupported, Some("grant_type")) => "unsupported_grant_type",
        (ErrorReason::NotSupported, Some(SHOWN_TOKEN)) => "unsupported_token_type",
        (ErrorReason::InvalidArgument, Some("scope")) => "invalid_scope",
        _ if refusal.status == StatusCode::UNAUTHORIZED => "invalid_client",
        _ if refusal.status == StatusCode::FORBIDDEN => "access_denied",
        _ => by_status(refusal.status),
    }
}

/// OAuth2's word where a token is shown.
fn bearer_error(refusal: &Refusal) -> &'static str {
    match refusal.status {
        StatusCode::UNAUTHORIZED => "invalid_token",
        StatusCode::FORBIDDEN if refusal.reason == ErrorReason::ScopeRequired => "insufficient_scope",
        StatusCode::FORBIDDEN => "access_denied",
        status => by_status(status),
    }
}

fn by_status(status: StatusCode) -> &'static str {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => "temporarily_unavailable",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request",
    }
}

/// A description has printable ASCII alone, and neither a quotation mark nor a backslash.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '"' || c == '\\' {
                '\''
            } else if c == ' ' || c.is_ascii_graphic() {
                c
            } else {
                '?'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_word_of_oauth2() {
        let refusal = |status, reason| Refusal::new(StatusCode::from_u16(status).unwrap(), reason, "no");
        let of_field =
            |field: &str, status, reason| Refusal { fields: Box::new([(field.to_owned(), "no".to_owned())]), ..refusal(status, reason) };
        for (refusal, word) in [
            (refusal(400, ErrorReason::LoginFailed), "invalid_grant"),
            (of_field("grant_type", 400, ErrorReason::NotSupported), "unsupported_grant_type"),
            (of_field("token", 400, ErrorReason::NotSupported), "unsupported_token_type"),
            (of_field("scope", 400, ErrorReason::InvalidArgument), "invalid_scope"),
            (of_field("username", 400, ErrorReason::InvalidArgument), "invalid_request"),
            (of_field("scope", 400, ErrorReason::MessageMalformed), "invalid_request"),
            (refusal(401, ErrorReason::CredentialInvalid), "invalid_client"),
            (refusal(403, ErrorReason::RoleRequired), "access_denied"),
            (refusal(400, ErrorReason::AuthorizationPending), "authorization_pending"),
            (refusal(400, ErrorReason::SlowDown), "slow_down"),
            (refusal(400, ErrorReason::DeviceSignInDenied), "access_denied"),
            (refusal(400, ErrorReason::DeviceCodeExpired), "expired_token"),
            (refusal(415, ErrorReason::MessageMalformed), "invalid_request"),
            (refusal(413, ErrorReason::MessageTooLarge), "invalid_request"),
            (refusal(429, ErrorReason::RateLimited), "temporarily_unavailable"),
            (refusal(503, ErrorReason::StoreUnavailable), "temporarily_unavailable"),
            (refusal(500, ErrorReason::Internal), "server_error"),
        ] {
            assert_eq!(token_error(&refusal), word, "{refusal:?}");
        }
        for (refusal, word) in [
            (refusal(401, ErrorReason::CredentialExpired), "invalid_token"),
            (refusal(403, ErrorReason::ScopeRequired), "insufficient_scope"),
            (refusal(403, ErrorReason::UserDisabled), "access_denied"),
            (refusal(503, ErrorReason::Draining), "temporarily_unavailable"),
        ] {
            assert_eq!(bearer_error(&refusal), word, "{refusal:?}");
        }
    }

    #[test]
    fn a_challenge_says_what_is_wrong_unless_nothing_was_sent_and_quotes_nothing_that_would_end_it() {
        let challenge = |refusal: &Refusal| bearer_form(refusal).headers()["www-authenticate"].to_str().unwrap().to_owned();
        let missing = Refusal::new(StatusCode::UNAUTHORIZED, ErrorReason::CredentialMissing, "send one");
        assert_eq!(challenge(&missing), "Bearer realm=\"tollgate\"");
        let invalid = Refusal::new(StatusCode::UNAUTHORIZED, ErrorReason::CredentialInvalid, "a \"wrong\" one\\\r\n\u{e4}");
        assert_eq!(challenge(&invalid), "Bearer realm=\"tollgate\", error=\"invalid_token\", error_description=\"a 'wrong' one'???\"");
    }
}

//! The headers of every answer at the page's paths, and what a request says that it asked for.

use http::header::{CONTENT_SECURITY_POLICY, HOST, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::uri::Authority;
use http::{HeaderMap, Uri};

use super::{AccountPage, InferenceUrl};

/// Those that are the same for every request.
const FIXED: [(HeaderName, &str); 5] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=(), clipboard-read=(), clipboard-write=(self)",
    ),
];

/// The headers of an answer. The policy names inference-service, which the page calls by the person's own credential.
pub(super) fn of_answer(page: &AccountPage, uri: &Uri, headers: &HeaderMap) -> HeaderMap {
    let inference = inference_url(page, uri, headers);
    let connect = inference.as_ref().map(|url| format!(" {}", url.origin())).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'{connect}; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    );
    let mut made = HeaderMap::new();
    for (name, value) in FIXED {
        made.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::try_from(policy) {
        made.insert(CONTENT_SECURITY_POLICY, policy);
    }
    made
}

/// Where the page finds inference-service: as it is configured, or beside the host that was asked.
pub(super) fn inference_url(page: &AccountPage, uri: &Uri, headers: &HeaderMap) -> Option<InferenceUrl> {
    page.inference_url.clone().or_else(|| InferenceUrl::beside(&asked(uri, headers)?, page.tls))
}

/// Host and port that a request was sent to, as it says. HTTP/2 says it in the URI. `None`: it doesn't say, or says it twice.
pub(super) fn asked(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let authority = uri.authority().cloned().or_else(|| only(headers, HOST)?.parse().ok())?;
    (!authority.as_str().contains('@')).then_some(authority)
}

/// The text of a header that is there once.
pub(super) fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

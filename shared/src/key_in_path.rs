//! An API key as the beginning of a path: `/key/tg_…/api/chat`. It is for clients that can send no header, such as Ollama's own command
//! line, which keeps the path of `OLLAMA_HOST`.
//!
//! Paths are logged, and put into messages. So a key is taken off before anything reads the path, wherever in it the key stands and
//! whether or not this way in is open.

use http::header::AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Uri};
use tonic::Code;

use crate::ErrorReason;
use crate::credential_form::{API_KEY_PREFIX, FormError, bearer, could_be_a_service_credential, holds_credential, is_api_key, to_bearer};
use crate::error::CallError;
use crate::request_context::EarlyRefusal;

/// What stands before the key.
const BEGINNING: &str = "/key/";
/// What stands for a key that is no part of a path.
const HIDDEN: &str = "[key]";

/// Whether keys are taken from paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyInPath {
    /// A key makes the credential of its request.
    Taken,
    /// A request with one is refused.
    #[default]
    Refused,
}

/// Takes a key off a request's path, and makes it the request's credential where that is allowed. What is wrong with it is left in the
/// extensions, for whoever can say so in the right form.
pub(crate) fn take<B>(request: &mut Request<B>, allowed: KeyInPath) {
    let path = request.uri().path();
    let candidate = path.strip_prefix(BEGINNING).map(|rest| rest.split_once('/').unwrap_or((rest, "")));
    let Some((key, rest)) = candidate else {
        if let Some(shown) = without_keys(path) {
            set_path(request, &shown);
        }
        return;
    };
    let (key, rest) = (decoded(key), format!("/{rest}"));
    let rest = without_keys(&rest).unwrap_or(rest);
    set_path(request, &rest);
    if let Err(refused) = use_key(request, &key, allowed) {
        request.extensions_mut().insert(EarlyRefusal(refused));
    }
}

/// Makes a key the request's credential. One that comes in a header as well must be the same.
fn use_key<B>(request: &mut Request<B>, key: &str, allowed: KeyInPath) -> Result<(), CallError> {
    if allowed == KeyInPath::Refused {
        let message = "keys are not taken from paths here; send the header `authorization: Bearer <API key>`";
        return Err(CallError::new(Code::Unauthenticated, ErrorReason::CredentialMissing, message));
    }
    if !key.starts_with(API_KEY_PREFIX) {
        let message = "behind /key/ belongs an API key; send an access token in the header `authorization: Bearer <access token>`";
        return Err(CallError::new(Code::Unauthenticated, ErrorReason::CredentialInvalid, message));
    }
    if !is_api_key(key) {
        return Err(FormError::Mistyped.into());
    }
    match bearer(request.headers()) {
        Ok(sent) if sent == key => return Ok(()),
        Err(FormError::Missing) => {}
        Ok(_) | Err(_) => {
            let message = "the path and the authorization header carry different credentials; send one";
            return Err(CallError::new(Code::Unauthenticated, ErrorReason::CredentialInvalid, message));
        }
    }
    let mut value = HeaderValue::from_str(&to_bearer(key)).map_err(|_| FormError::Mistyped)?;
    value.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, value);
    Ok(())
}

/// A path as it may be written down. A gRPC call's is not looked at before: none of ours has a key in it.
pub(crate) fn shown(path: &str) -> &str {
    if holds_credential(path) || path.split('/').any(|part| is_key(part) || could_be_a_service_credential(part)) { "/[key]" } else { path }
}

/// Whether a part of a path looks like a key, or has one.
fn is_key(part: &str) -> bool {
    part.contains(API_KEY_PREFIX) || (part.contains('%') && decoded(part).contains(API_KEY_PREFIX))
}

/// A path in which nothing looks like a key; `None`: nothing does in this one.
fn without_keys(path: &str) -> Option<String> {
    if !path.split('/').any(is_key) {
        return None;
    }
    Some(path.split('/').map(|part| if is_key(part) { HIDDEN } else { part }).collect::<Vec<_>>().join("/"))
}

/// A part of a path without its percent signs; what is no UTF-8 is replaced.
fn decoded(part: &str) -> String {
    percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
}

/// Sets the path and keeps the query, which nothing writes down.
fn set_path<B>(request: &mut Request<B>, path: &str) {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    let query = parts.path_and_query.as_ref().and_then(|path| path.query());
    let with_query = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    // A path that was one without a key is one with less.
    parts.path_and_query = Some(with_query.parse().unwrap_or(PathAndQuery::from_static("/")));
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential_form::checksum;

    fn key() -> String {
        let body = format!("{API_KEY_PREFIX}{}", "a1B2".repeat(10));
        format!("{body}{}", std::str::from_utf8(&checksum(&body)).unwrap())
    }

    /// The path that is left, the credential, and why the request is refused.
    fn taken(uri: &str, authorization: Option<&str>, allowed: KeyInPath) -> (String, Option<String>, Option<ErrorReason>) {
        let mut request = Request::builder().uri(uri);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let mut request = request.body(()).unwrap();
        take(&mut request, allowed);
        let refused = request.extensions().get::<EarlyRefusal>().map(|refused| refused.0.reason());
        let credential = bearer(request.headers()).ok().map(str::to_owned);
        (request.uri().to_string(), credential, refused)
    }

    #[test]
    fn a_key_in_the_path_is_the_credential_of_the_rest_of_the_path() {
        let key = key();
        let good = |rest: &str| (rest.to_owned(), Some(key.clone()), None);
        for (path, rest) in [("/api/chat", "/api/chat"), ("/", "/"), ("", "/"), ("/v1/models?a=b", "/v1/models?a=b")] {
            assert_eq!(taken(&format!("/key/{key}{path}"), None, KeyInPath::Taken), good(rest), "{path}");
        }
        assert_eq!(taken(&format!("http://localhost:1/key/{key}/api/ps"), None, KeyInPath::Taken).0, "http://localhost:1/api/ps");
        assert_eq!(taken(&format!("/key/%74{}/x", &key[1..]), None, KeyInPath::Taken), good("/x"));
        assert_eq!(taken(&format!("/key/{key}/x"), Some(&to_bearer(&key)), KeyInPath::Taken), good("/x"));
        assert_eq!(taken("/api/chat", None, KeyInPath::Taken), ("/api/chat".to_owned(), None, None));
    }

    #[test]
    fn another_credential_beside_it_a_token_and_a_mistyped_key_are_refused() {
        let key = key();
        let refused = |path: &str, authorization, allowed| taken(path, authorization, allowed).2;
        let invalid = Some(ErrorReason::CredentialInvalid);
        assert_eq!(refused(&format!("/key/{key}/x"), Some("Bearer other"), KeyInPath::Taken), invalid);
        assert_eq!(refused(&format!("/key/{key}/x"), Some("Basic b3RoZXI6"), KeyInPath::Taken), invalid);
        assert_eq!(refused("/key/eyJh.eyJi.c/x", None, KeyInPath::Taken), invalid);
        assert_eq!(refused(&format!("/key/{}/x", &key[..48]), None, KeyInPath::Taken), invalid);
        assert_eq!(refused("/key//x", None, KeyInPath::Taken), invalid);
        let off = taken(&format!("/key/{key}/x"), None, KeyInPath::Refused);
        assert_eq!(off, ("/x".to_owned(), None, Some(ErrorReason::CredentialMissing)));
        // A good header doesn't open this way in.
        assert!(refused(&format!("/key/{key}/x"), Some(&to_bearer(&key)), KeyInPath::Refused).is_some());
    }

    #[test]
    fn no_path_keeps_a_key_wherever_it_stands() {
        assert_eq!(shown("/tollgate.auth.v1.Auth/Check"), "/tollgate.auth.v1.Auth/Check");
        let key = key();
        let hidden = format!("%{:x}", b't');
        for uri in [
            format!("/key/{key}/x/{key}"),
            format!("/api/{key}"),
            format!("//key/{key}/api/chat"),
            format!("/KEY/{key}/api/chat"),
            format!("/{key}"),
            format!("/x{key}"),
            format!("/api/{hidden}{}", &key[1..]),
            format!("/key/{}", &key[..40]),
        ] {
            for allowed in [KeyInPath::Taken, KeyInPath::Refused] {
                let left = taken(&uri, None, allowed).0;
                assert!(!left.contains(&key[4..20]), "{uri} → {left}");
            }
            assert_eq!(shown(&uri), "/[key]", "{uri}");
        }
    }
}

//! What clients of OAuth2 find by itself: the keys that access tokens are signed with (RFC 7517), and where everything is (RFC 8414).

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, HOST, HeaderValue};
use http::uri::Authority;
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use shared::ErrorReason;
use shared::admission::MethodPolicy;
use shared::authorization::CallerKind;
use shared::doors::{DoorRequest, Refusal, Route};
use shared::error::CallError;

use super::oauth2::{DEVICE_AUTHORIZATION, INTROSPECT, JWKS, METADATA, REVOKE, TOKEN};
use super::oauth2_error::json;
use super::token_form::DEVICE_GRANT;
use crate::access_token::AccessTokens;
use crate::service::contract;
use crate::service::service_error::ServiceError;

/// A set of keys.
#[derive(Serialize, JsonSchema)]
struct KeySet {
    /// Those that verify access tokens now, and those that will sign next. None where a secret signs (HS256).
    keys: Vec<Key>,
}

/// A public key.
#[derive(Serialize, JsonSchema)]
struct Key {
    /// `OKP`.
    kty: String,
    /// `Ed25519`.
    crv: String,
    /// `EdDSA`.
    alg: String,
    /// `sig`.
    r#use: String,
    /// What tokens call it by.
    kid: String,
    /// The key, in base64url.
    x: String,
}

/// Where everything is, and what there is.
#[derive(Serialize, JsonSchema)]
struct Metadata {
    /// The URL that the others begin with.
    issuer: String,
    /// Where tokens are given.
    token_endpoint: String,
    /// Where the keys are that tokens are signed with. Only with an issuer that is configured: else tokens name another one than this
    /// document does, and whoever verifies them by it would refuse them.
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks_uri: Option<String>,
    /// Where tokens are revoked.
    revocation_endpoint: String,
    /// Where services ask what a token is.
    introspection_endpoint: String,
    /// Where a device without a browser begins its sign-in (RFC 8628).
    device_authorization_endpoint: String,
    /// `password`, `refresh_token` and `urn:ietf:params:oauth:grant-type:device_code`.
    grant_types_supported: [&'static str; 3],
    /// `none`: there is no page to log in at, which would answer one of the others. RFC 8414 wants at least one.
    response_types_supported: [&'static str; 1],
    /// What a token can be asked for.
    scopes_supported: Vec<String>,
    /// `none`: no clients are registered.
    token_endpoint_auth_methods_supported: [&'static str; 1],
    /// `none`: whoever has a token may revoke it.
    revocation_endpoint_auth_methods_supported: [&'static str; 1],
    /// The service credential, or an operator's token: as `Bearer`, or as the password of HTTP Basic.
    introspection_endpoint_auth_methods_supported: [&'static str; 2],
}

/// The routes. `issuer`: as it is configured; `tls`: whether callers speak it with the service itself.
pub(super) fn routes(tokens: Arc<AccessTokens>, issuer: Option<String>, tls: bool) -> [Route; 2] {
    let policy = MethodPolicy { caller: CallerKind::Anybody, most_bytes: 0, is_recorded: false };
    let keys = move |_: DoorRequest| std::future::ready(key_set(&tokens));
    let metadata = move |request: DoorRequest| std::future::ready(metadata(&request, issuer.as_deref(), tls));
    [
        Route::new(Method::GET, JWKS, policy, "the public keys of access tokens, for services that verify them", keys).giving::<KeySet>(),
        Route::new(Method::GET, METADATA, policy, "where clients of OAuth2 find everything", metadata).giving::<Metadata>(),
    ]
}

fn key_set(tokens: &AccessTokens) -> Result<Response<Body>, Refusal> {
    let keys = tokens.public_keys().map_err(|error| Refusal::from(CallError::from(ServiceError::defect(error))))?;
    let key = |key| {
        let shared::proto::auth::JsonWebKey { kty, crv, alg, r#use, kid, x } = contract::json_web_key(key);
        Key { kty, crv, alg, r#use, kid, x }
    };
    let keys = keys.into_iter().map(key).collect();
    Ok(kept(json(&KeySet { keys }), tokens.keep_public_keys_for().as_secs()))
}

fn metadata(request: &DoorRequest, configured: Option<&str>, tls: bool) -> Result<Response<Body>, Refusal> {
    let issuer = match configured {
        Some(issuer) => issuer.to_owned(),
        None => own_url(request, tls).ok_or_else(|| {
            let message = "send the host header that you know this service by";
            Refusal::new(StatusCode::BAD_REQUEST, ErrorReason::MessageMalformed, message)
        })?,
    };
    let at = |path: &str| format!("{issuer}{path}");
    let answer = json(&Metadata {
        token_endpoint: at(TOKEN),
        jwks_uri: configured.map(|_| at(JWKS)),
        revocation_endpoint: at(REVOKE),
        introspection_endpoint: at(INTROSPECT),
        device_authorization_endpoint: at(DEVICE_AUTHORIZATION),
        grant_types_supported: ["password", "refresh_token", DEVICE_GRANT],
        response_types_supported: ["none"],
        scopes_supported: shared::scope::ALL.map(str::to_owned).to_vec(),
        token_endpoint_auth_methods_supported: ["none"],
        revocation_endpoint_auth_methods_supported: ["none"],
        introspection_endpoint_auth_methods_supported: ["Bearer", "client_secret_basic"],
        issuer,
    });
    // What a caller's own words are part of is for nobody else.
    Ok(if configured.is_some() { kept(answer, 3600) } else { answer })
}

/// The URL that the request was sent to, as far as it says.
fn own_url(request: &DoorRequest, tls: bool) -> Option<String> {
    let uri = request.uri();
    let named = || request.headers().get(HOST)?.to_str().ok()?.parse::<Authority>().ok();
    let authority = uri.authority().cloned().or_else(named)?;
    let scheme = if tls || uri.scheme_str() == Some("https") { "https" } else { "http" };
    (!authority.as_str().contains('@')).then(|| format!("{scheme}://{authority}"))
}

/// For a cache, so many seconds.
fn kept(mut response: Response<Body>, seconds: u64) -> Response<Body> {
    response.headers_mut().remove(http::header::PRAGMA);
    if let Ok(value) = HeaderValue::try_from(format!("public, max-age={seconds}")) {
        response.headers_mut().insert(CACHE_CONTROL, value);
    }
    response
}

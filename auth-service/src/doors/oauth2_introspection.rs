//! OAuth2's introspection endpoint: `POST /introspect` (RFC 7662).

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use shared::ErrorReason;
use shared::admission::MethodPolicy;
use shared::authorization::CallerKind;
use shared::credential_form::{self, is_access_token, to_bearer};
use shared::doors::{DoorRequest, Refusal, Route};
use shared::error::CallError;
use shared::secret::Secret;
use tonic::metadata::MetadataMap;

use super::oauth2::{INTROSPECT, refuse_query};
use super::oauth2_error::json;
use super::token_form::{self, CALLER_ADDRESS, IntrospectionForm};
use crate::service::accounts::AccountsService;
use crate::service::call::Call;
use crate::service::introspection::{CredentialKind, Introspected};
use crate::startup::MAX_OPEN_REQUEST_BYTES;

/// What the door refuses, and why.
pub const REFUSED: &[(&str, &str)] = &[
    (
        "no credential, or one that is neither a service's nor an operator's",
        "invalid_client, with 401: what a token is isn't for everybody",
    ),
    ("client_secret in the form", "invalid_client: who asks is judged before the form is read; send it in the authorization header"),
    ("/introspect?…", "invalid_request: what stands in a URL is logged on its way"),
    ("a token that is not in force", "nothing is refused: active is false, whatever the reason"),
];

/// What a credential is.
#[derive(Default, Serialize, JsonSchema)]
struct Introspection {
    /// Whether it is in force. When it isn't, nothing else is said.
    active: bool,
    /// The user's id, or the service account's.
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    /// The user's name; absent for a service account.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    /// What it may be used for, with spaces between.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// `Bearer`, as at `/token`; absent for a refresh token, which opens nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    /// When it ends by itself, in seconds since 1970. An API key may have no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    /// When it was issued or made, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    /// Who issued it.
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    /// A token's session.
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    /// An API key's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key_id: Option<String>,
    /// The account that an API key pays from.
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<String>,
}

pub(super) fn route(accounts: Arc<AccountsService>, services: Arc<[Secret]>) -> Route {
    let policy = MethodPolicy { caller: CallerKind::ServiceOrOperator, most_bytes: MAX_OPEN_REQUEST_BYTES, is_recorded: false };
    let answer = move |request: DoorRequest| {
        let (accounts, services) = (Arc::clone(&accounts), Arc::clone(&services));
        async move { introspect(&accounts, &services, request).await }
    };
    let route = Route::new(Method::POST, INTROSPECT, policy, "what a token or an API key is, and whether it is in force", answer);
    route.taking_form::<IntrospectionForm>().giving::<Introspection>()
}

async fn introspect(accounts: &AccountsService, services: &[Secret], mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
    refuse_query(&request)?;
    let metadata = MetadataMap::from_headers(request.headers().clone());
    let call = Call::new(&metadata, request.extensions());
    judge(accounts, services, call).await?;
    let form = token_form::parse_introspection(request.form().await?)?;
    let address: Option<IpAddr> = match form.caller_address.as_deref().map(str::parse::<IpAddr>) {
        None => None,
        Some(Ok(address)) => Some(address.to_canonical()),
        Some(Err(_)) => return Err(Refusal::invalid(CALLER_ADDRESS, "must be an IP address")),
    };
    let found = accounts.introspect(&form.token, address).await.map_err(CallError::from)?;
    Ok(json(&found.map(|found| Introspection::of(found, accounts.tokens.issuer())).unwrap_or_default()))
}

/// Lets in who shows a service's credential, or is an operator: as `Bearer`, or as the password of HTTP Basic, under any name.
async fn judge(accounts: &AccountsService, services: &[Secret], call: Call<'_>) -> Result<(), Refusal> {
    let headers = call.metadata.as_ref();
    let shown = match token_form::basic_client(headers)? {
        Some(client) => client.secret,
        None => credential_form::bearer(headers).map_err(CallError::from)?.to_owned(),
    };
    // All are compared, so that the time doesn't tell which one matched.
    if services.iter().filter(|secret| secret.matches(&shown)).count() > 0 {
        return Ok(());
    }
    if !is_access_token(&shown) {
        let message = "this is answered to services, by the service credential, and to operators, by an access token";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, ErrorReason::ServiceCredentialInvalid, message));
    }
    let mut bearer = HeaderMap::new();
    let value = HeaderValue::try_from(to_bearer(&shown)).map_err(|_| CallError::internal())?;
    bearer.insert(AUTHORIZATION, value);
    let metadata = MetadataMap::from_headers(bearer);
    accounts.authorizer.operator_reading(Call { metadata: &metadata, ..call }).await.map_err(CallError::from)?;
    Ok(())
}

impl Introspection {
    fn of(found: Introspected, ours: &str) -> Self {
        let Introspected { user_id, user_name, scope, issued_at_s, expires_at_s, kind, foreign_issuer } = found;
        let known = Self {
            active: true,
            sub: Some(user_id),
            username: Some(user_name).filter(|name| !name.is_empty()),
            scope: Some(scope),
            token_type: Some("Bearer"),
            exp: expires_at_s,
            iat: Some(issued_at_s),
            iss: Some(foreign_issuer.unwrap_or_else(|| ours.to_owned())),
            ..Self::default()
        };
        match kind {
            CredentialKind::AccessToken { session_id } => Self { sid: session_id, ..known },
            // It opens nothing, and so is of no type.
            CredentialKind::RefreshToken { session_id } => Self { sid: Some(session_id), token_type: None, ..known },
            CredentialKind::ApiKey { key_id, account_id } => Self { api_key_id: Some(key_id), account_id: Some(account_id), ..known },
        }
    }
}

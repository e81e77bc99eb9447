//! OAuth2's token endpoint: `POST /token`, with the password grant.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use shared::ErrorReason;
use shared::admission::MethodPolicy;
use shared::authorization::CallerKind;
use shared::doors::{Door, DoorRequest, Refusal, Route};
use shared::error::CallError;
use tonic::metadata::MetadataMap;

use super::oauth2_error::{json, token_form};
use super::token_form::{self, PasswordGrant, TokenForm};
use crate::service::accounts::AccountsService;
use crate::service::call::Call;
use crate::service::service_error::ServiceError;
use crate::service::sign_in::SignIn;
use crate::startup::MAX_OPEN_REQUEST_BYTES;

/// What the door refuses, and why.
pub const REFUSED: &[(&str, &str)] = &[
    ("grant_type: anything but password", "unsupported_grant_type: the others come with sessions"),
    (
        "client_secret that isn't empty, also by HTTP Basic",
        "invalid_client: no clients are registered, so none has a secret; client_id may be anything",
    ),
    ("scope: anything but chat, generate, embed, list_models, inference, models, account", "invalid_scope"),
    ("a parameter twice", "invalid_request: it could be read in two ways"),
    ("/token?…", "invalid_request: what stands in a URL is logged on its way"),
    ("a body that is no form", "invalid_request, with 415"),
];

/// A token, as OAuth2 answers it.
#[derive(Serialize, JsonSchema)]
struct TokenResponse {
    /// The access token, to be sent as `authorization: Bearer <access token>`.
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// In how many seconds it ends.
    expires_in: u64,
    /// What it may be used for.
    scope: String,
}

pub(super) fn door(accounts: Arc<AccountsService>) -> Door {
    let policy = MethodPolicy { caller: CallerKind::Anybody, most_bytes: MAX_OPEN_REQUEST_BYTES, is_recorded: false };
    let answer = move |request: DoorRequest| {
        let accounts = Arc::clone(&accounts);
        async move { log_in(&accounts, request).await }
    };
    let route = Route::new(Method::POST, "/token", policy, "an access token for a user's name and password (OAuth2, a form)", answer);
    let route = route.taking_form::<TokenForm>().giving::<TokenResponse>().refusing(refusals);
    Door { name: "OAuth2", refusal: token_form, routes: vec![route] }
}

async fn log_in(accounts: &AccountsService, mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
    if request.uri().query().is_some() {
        let message = "send all parameters in the body: what stands in a URL is logged on its way";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, ErrorReason::MessageMalformed, message));
    }
    let form: Vec<(String, String)> = request.form().await?;
    let PasswordGrant { user_name, password, scopes } = token_form::parse(form, request.headers())?;
    let metadata = MetadataMap::from_headers(request.headers().clone());
    let sign_in = SignIn { user_name: &user_name, password: &password, client: "", scopes: &scopes };
    let signed_in = accounts.sign_in(Call::new(&metadata, request.extensions()), sign_in).await.map_err(refusal)?;
    Ok(json(&TokenResponse {
        access_token: signed_in.access_token.token,
        token_type: "Bearer",
        expires_in: signed_in.access_token.lifetime.as_secs(),
        scope: scopes.to_string(),
    }))
}

/// What OAuth2 has words for.
fn refusals() -> Vec<Refusal> {
    let mut all = token_form::refusals();
    all.push(refusal(ServiceError::LoginFailed));
    all
}

/// A log-in that failed is no missing credential here: OAuth2 answers it with 400.
fn refusal(error: ServiceError) -> Refusal {
    let refusal = Refusal::from(CallError::from(error));
    if refusal.reason == ErrorReason::LoginFailed { Refusal { status: StatusCode::BAD_REQUEST, ..refusal } } else { refusal }
}

//! OAuth2's token endpoint: `POST /token`, with the grants `password` and `refresh_token`, and that of devices (RFC 8628).

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use shared::ErrorReason;
use shared::admission::MethodPolicy;
use shared::authorization::CallerKind;
use shared::doors::{DoorRequest, Refusal, Route};
use shared::error::CallError;
use tonic::metadata::MetadataMap;

use super::oauth2::{TOKEN, refuse_query};
use super::oauth2_error::json;
use super::token_form::{self, DeviceGrant, Grant, PasswordGrant, RefreshGrant, TokenForm};
use crate::device_sign_in::INTERVAL;
use crate::service::accounts::AccountsService;
use crate::service::call::Call;
use crate::service::device_sign_in::DeviceRefusal;
use crate::service::service_error::ServiceError;
use crate::service::sign_in::{SignIn, SignedIn};
use crate::session::RefreshRefusal;
use crate::startup::MAX_OPEN_REQUEST_BYTES;

/// What the door refuses, and why.
pub const REFUSED: &[(&str, &str)] = &[
    (
        "grant_type: anything but password, refresh_token and urn:ietf:params:oauth:grant-type:device_code",
        "unsupported_grant_type: nothing here has a code or a secret to give for them",
    ),
    ("a device code before somebody has approved", "authorization_pending; asked too often, slow_down: wait 5 s longer from then on"),
    ("a device code that was denied", "access_denied"),
    (
        "a device code that is unknown, used or past its time, or whose approval no longer counts",
        "expired_token: begin again. Shown again later than its session began, it also ends that session",
    ),
    (
        "client_secret that isn't empty, also by HTTP Basic",
        "invalid_client: no clients are registered, so none has a secret; client_id may be anything",
    ),
    ("scope: a name that is none of this service's, or more than was granted before", "invalid_scope; a refresh token stays good"),
    ("a refresh token that was used before", "invalid_grant: the session is ended, since somebody else may have the token"),
    ("a parameter twice", "invalid_request: it could be read in two ways"),
    ("/token?…", "invalid_request: what stands in a URL is logged on its way"),
    ("a body that is no form", "invalid_request, with 415"),
];

/// Tokens, as OAuth2 answers them.
#[derive(Serialize, JsonSchema)]
struct TokenResponse {
    /// The access token, to be sent as `authorization: Bearer <access token>`.
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// In how many seconds it ends.
    expires_in: u64,
    /// For `grant_type=refresh_token`, once: the answer has the next one.
    refresh_token: String,
    /// What the access token may be used for.
    scope: String,
}

pub(super) fn route(accounts: Arc<AccountsService>) -> Route {
    let policy = MethodPolicy { caller: CallerKind::Anybody, most_bytes: MAX_OPEN_REQUEST_BYTES, is_recorded: false };
    let answer = move |request: DoorRequest| {
        let accounts = Arc::clone(&accounts);
        async move { give(&accounts, request).await }
    };
    let summary = "tokens for a user's name and password, a refresh token, or a device that was approved (OAuth2, a form)";
    let route = Route::new(Method::POST, TOKEN, policy, summary, answer);
    route.taking_form::<TokenForm>().giving::<TokenResponse>().refusing(refusals)
}

async fn give(accounts: &AccountsService, mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
    refuse_query(&request)?;
    let form: Vec<(String, String)> = request.form().await?;
    let grant = token_form::parse(form, request.headers())?;
    let metadata = MetadataMap::from_headers(request.headers().clone());
    let call = Call::new(&metadata, request.extensions());
    let SignedIn { access_token, refresh_token, scopes, .. } = match grant {
        Grant::Password(PasswordGrant { user_name, password, second_factor_code, scopes, client }) => {
            let client = client.unwrap_or_default();
            let sign_in = SignIn {
                user_name: &user_name,
                password: &password,
                second_factor_code: &second_factor_code,
                client: &client,
                scopes: &scopes,
            };
            accounts.sign_in(call, sign_in).await
        }
        Grant::Refresh(RefreshGrant { refresh_token, scopes }) => {
            if let Some(asked) = &scopes {
                // Before the token is used up.
                let has = accounts.session_scopes(&refresh_token).await.map_err(refusal)?;
                if has.is_some_and(|has| asked.within(&has) != *asked) {
                    return Err(token_form::no_scope());
                }
            }
            accounts.refresh(call, &refresh_token, scopes.as_ref()).await
        }
        Grant::Device(DeviceGrant { device_code }) => accounts.exchange_device(call, &device_code).await.map(|(signed_in, _)| signed_in),
    }
    .map_err(refusal)?;
    Ok(json(&TokenResponse {
        access_token: access_token.token,
        token_type: "Bearer",
        expires_in: access_token.lifetime.as_secs(),
        refresh_token: refresh_token.reveal().to_owned(),
        scope: scopes.to_string(),
    }))
}

/// What OAuth2 has words for.
fn refusals() -> Vec<Refusal> {
    let refused = [
        RefreshRefusal::Invalid,
        RefreshRefusal::Expired,
        RefreshRefusal::Revoked,
        RefreshRefusal::Reused,
        RefreshRefusal::UserDisabled,
        RefreshRefusal::UserLocked,
        RefreshRefusal::PasswordChangeRequired,
    ];
    let mut all = token_form::refusals();
    all.extend([ServiceError::LoginFailed, ServiceError::SecondFactorRequired, ServiceError::SecondFactorInvalid].map(refusal));
    all.extend(refused.map(|refused| refusal(ServiceError::Refresh(refused))));
    let wait = INTERVAL;
    let of_devices = [DeviceRefusal::Pending { wait }, DeviceRefusal::TooEarly { wait }, DeviceRefusal::Denied, DeviceRefusal::Over];
    all.extend(of_devices.map(|refused| refusal(ServiceError::Device(refused))));
    all
}

/// A grant that is not good is no missing credential here: OAuth2 answers it with 400.
fn refusal(error: ServiceError) -> Refusal {
    let of_grant = matches!(
        error,
        ServiceError::LoginFailed
            | ServiceError::PasswordChangeRequired
            | ServiceError::SecondFactorRequired
            | ServiceError::SecondFactorInvalid
            | ServiceError::Refresh(_)
            | ServiceError::Device(_)
    );
    let refusal = Refusal::from(CallError::from(error));
    if of_grant { Refusal { status: StatusCode::BAD_REQUEST, ..refusal } } else { refusal }
}

/// OAuth2's words for what became of a device's sign-in (RFC 8628, section 3.5).
pub(super) fn word_of_device(refusal: &Refusal) -> Option<&'static str> {
    Some(match refusal.reason {
        ErrorReason::AuthorizationPending => "authorization_pending",
        ErrorReason::SlowDown => "slow_down",
        ErrorReason::DeviceSignInDenied => "access_denied",
        ErrorReason::DeviceCodeExpired => "expired_token",
        _ => return None,
    })
}

/// Whether a refusal is about the grant itself, by its reason.
pub(super) fn is_of_grant(refusal: &Refusal) -> bool {
    let reason = matches!(
        refusal.reason,
        ErrorReason::LoginFailed
            | ErrorReason::PasswordChangeRequired
            | ErrorReason::SecondFactorRequired
            | ErrorReason::SecondFactorInvalid
            | ErrorReason::CredentialInvalid
            | ErrorReason::CredentialExpired
            | ErrorReason::CredentialRevoked
            | ErrorReason::RefreshTokenReused
            | ErrorReason::UserDisabled
            | ErrorReason::UserLocked
    );
    reason && refusal.status == StatusCode::BAD_REQUEST
}

//! OAuth2's device authorization endpoint (RFC 8628): `POST /device_authorization`.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::Method;
use schemars::JsonSchema;
use serde::Serialize;
use shared::admission::MethodPolicy;
use shared::asked_host::AskedHost;
use shared::authorization::CallerKind;
use shared::doors::{DoorRequest, Refusal, Route};
use shared::error::CallError;
use tonic::metadata::MetadataMap;

use super::oauth2::{DEVICE_AUTHORIZATION, refuse_query};
use super::oauth2_error::json;
use super::token_form::{self, DeviceAuthorization, DeviceForm};
use crate::device_sign_in::LIFE;
use crate::service::accounts::AccountsService;
use crate::service::call::Call;
use crate::service::device_sign_in::DeviceRefusal;
use crate::service::service_error::ServiceError;
use crate::startup::MAX_OPEN_REQUEST_BYTES;

/// What the door refuses, and why.
pub const REFUSED: &[(&str, &str)] = &[
    ("client_secret that isn't empty, also by HTTP Basic", "invalid_client: no clients are registered; client_id is the device's name"),
    ("client_id of more than 200 characters, or with what can't be seen", "invalid_request: whoever approves is shown it"),
    ("scope: a name that is none of this service's", "invalid_scope"),
    ("more than 10 at once from one network, or than one in 6 s after that", "temporarily_unavailable, with 429"),
    ("more than 10,000 that nobody has finished", "temporarily_unavailable, with 429, until the first of them is over"),
    ("/device_authorization?…", "invalid_request: what stands in a URL is logged on its way"),
    ("a body that is no form", "invalid_request, with 415"),
];

/// A sign-in that has begun, as OAuth2 answers it.
#[derive(Serialize, JsonSchema)]
struct DeviceAuthorizationResponse {
    /// For `/token`. A secret of the device.
    device_code: String,
    /// To be typed by the person who approves: eight letters, `BCDF-GHJK`.
    user_code: String,
    /// Where to type it.
    verification_uri: String,
    /// The same with the code in it.
    verification_uri_complete: String,
    /// In how many seconds it is over.
    expires_in: u64,
    /// How many seconds to wait between two questions.
    interval: u64,
}

pub(super) fn route(accounts: Arc<AccountsService>) -> Route {
    let policy = MethodPolicy { caller: CallerKind::Anybody, most_bytes: MAX_OPEN_REQUEST_BYTES, is_recorded: false };
    let answer = move |request: DoorRequest| {
        let accounts = Arc::clone(&accounts);
        async move { begin(&accounts, request).await }
    };
    let summary = "begins the sign-in of a device without a browser (OAuth2, a form)";
    let route = Route::new(Method::POST, DEVICE_AUTHORIZATION, policy, summary, answer);
    route.taking_form::<DeviceForm>().giving::<DeviceAuthorizationResponse>().refusing(refusals)
}

async fn begin(accounts: &AccountsService, mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
    refuse_query(&request)?;
    let form: Vec<(String, String)> = request.form().await?;
    let DeviceAuthorization { client, scopes } = token_form::parse_device(form, request.headers())?;
    let metadata = MetadataMap::from_headers(request.headers().clone());
    let (call, asked) = (Call::new(&metadata, request.extensions()), AskedHost::of(request.extensions()));
    let begun = accounts.begin_device(call, asked, client.unwrap_or_default(), scopes).await;
    let begun = begun.map_err(|error| Refusal::from(CallError::from(error)))?;
    Ok(json(&DeviceAuthorizationResponse {
        device_code: begun.device_code.reveal().to_owned(),
        user_code: begun.sign_in.user_code.shown(),
        verification_uri_complete: begun.verification_uri_complete(),
        verification_uri: begun.verification_uri,
        expires_in: LIFE.as_secs(),
        interval: begun.sign_in.interval.as_secs(),
    }))
}

/// What OAuth2 has words for.
fn refusals() -> Vec<Refusal> {
    let mut all = token_form::refusals_to_devices();
    let full = DeviceRefusal::Full { retry_after: LIFE };
    all.push(Refusal::from(CallError::from(ServiceError::Device(full))));
    all
}

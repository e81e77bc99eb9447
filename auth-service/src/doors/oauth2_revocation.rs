//! OAuth2's revocation endpoint: `POST /revoke` (RFC 7009).

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::Method;
use shared::ErrorReason;
use shared::admission::MethodPolicy;
use shared::authorization::CallerKind;
use shared::doors::{DoorRequest, Refusal, Route};
use shared::error::CallError;
use tonic::metadata::MetadataMap;

use super::oauth2::{REVOKE, refuse_query};
use super::oauth2_error::never_stored;
use super::token_form::{self, RevocationForm, SHOWN_TOKEN};
use crate::service::accounts::AccountsService;
use crate::service::call::Call;
use crate::service::sessions::RevokedCredential;
use crate::startup::MAX_OPEN_REQUEST_BYTES;

/// What the door refuses, and why.
pub const REFUSED: &[(&str, &str)] = &[
    ("a token that nobody knows", "nothing is refused: it is answered with 200, as RFC 7009 wants"),
    ("a token of a listed foreign issuer", "unsupported_token_type: its issuer alone can revoke it; an operator can lock the user here"),
    ("client_secret that isn't empty, also by HTTP Basic", "invalid_client: no clients are registered; whoever has a token may revoke it"),
    ("/revoke?…", "invalid_request: what stands in a URL is logged on its way"),
];

pub(super) fn route(accounts: Arc<AccountsService>) -> Route {
    let policy = MethodPolicy { caller: CallerKind::Anybody, most_bytes: MAX_OPEN_REQUEST_BYTES, is_recorded: false };
    let answer = move |request: DoorRequest| {
        let accounts = Arc::clone(&accounts);
        async move { revoke(&accounts, request).await }
    };
    let summary = "revokes the session of a token, or an API key, by showing it (OAuth2, a form)";
    Route::new(Method::POST, REVOKE, policy, summary, answer).taking_form::<RevocationForm>()
}

/// A token that stays good must not be answered like one that is revoked.
fn foreign() -> Refusal {
    let must = "is a foreign issuer's token, which its issuer alone can revoke; an operator can lock or disable the user here";
    Refusal { reason: ErrorReason::NotSupported, ..Refusal::invalid(SHOWN_TOKEN, must) }
}

async fn revoke(accounts: &AccountsService, mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
    refuse_query(&request)?;
    let form: Vec<(String, String)> = request.form().await?;
    let token = token_form::parse_revocation(form, request.headers())?;
    let metadata = MetadataMap::from_headers(request.headers().clone());
    let call = Call::new(&metadata, request.extensions());
    if accounts.revoke_shown(call, &token).await.map_err(CallError::from)? == RevokedCredential::Foreign {
        return Err(foreign());
    }
    // Whether it was anybody's: what matters to the caller is that it is no longer good.
    Ok(never_stored(Response::new(Body::empty())))
}

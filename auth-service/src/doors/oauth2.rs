//! OAuth2's endpoints, as one door: they refuse in one form.

use std::sync::Arc;

use shared::doors::{Door, Refusal};
use shared::secret::Secret;

use super::oauth2_error::token_form;
use super::{oauth2_device, oauth2_introspection, oauth2_revocation, oauth2_token, well_known};
use crate::service::accounts::AccountsService;

/// Where the endpoints are.
pub(super) const TOKEN: &str = "/token";
pub(super) const DEVICE_AUTHORIZATION: &str = "/device_authorization";
pub(super) const REVOKE: &str = "/revoke";
pub(super) const INTROSPECT: &str = "/introspect";
pub(super) const JWKS: &str = "/.well-known/jwks.json";
pub(super) const METADATA: &str = "/.well-known/oauth-authorization-server";

/// What the endpoints are told beside what the service knows.
#[derive(Debug, Clone, Default)]
pub struct OAuth2Config {
    /// The URL by which clients know this service, as far as it is configured.
    pub issuer: Option<String>,
    /// Whether callers speak TLS with the service itself.
    pub tls: bool,
    /// Secrets of services that may ask what a token is.
    pub service_credentials: Vec<Secret>,
}

pub(super) fn door(accounts: &Arc<AccountsService>, config: OAuth2Config) -> Door {
    let OAuth2Config { issuer, tls, service_credentials } = config;
    let mut routes = vec![
        oauth2_token::route(Arc::clone(accounts)),
        oauth2_device::route(Arc::clone(accounts)),
        oauth2_revocation::route(Arc::clone(accounts)),
        oauth2_introspection::route(Arc::clone(accounts), service_credentials.into()),
    ];
    routes.extend(well_known::routes(Arc::clone(&accounts.tokens), issuer, tls));
    Door { name: "OAuth2", refusal: token_form, routes }
}

/// What stands in a URL is logged on its way.
pub(super) fn refuse_query(request: &shared::doors::DoorRequest) -> Result<(), Refusal> {
    if request.uri().query().is_none() {
        return Ok(());
    }
    let message = "send all parameters in the body: what stands in a URL is logged on its way";
    Err(Refusal::new(http::StatusCode::BAD_REQUEST, shared::ErrorReason::MessageMalformed, message))
}

//! `GET /account-page/settings`: what the page must know before anybody signs in.

use std::net::IpAddr;

use axum::body::Body;
use axum::response::Response;
use http::Method;
use schemars::JsonSchema;
use serde::Serialize;
use shared::admission::MethodPolicy;
use shared::authorization::CallerKind;
use shared::doors::{DoorRequest, Refusal, Route};
use tonic::Request;
use tonic::metadata::MetadataMap;

use super::AccountPage;
use super::headers::{asked, inference_url};
use crate::doors::never_stored_json;
use crate::service::sign_up_policy::{Origin, SignUpPolicy};

/// What settings are made from.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) page: AccountPage,
    pub(super) sign_up: SignUpPolicy,
    /// Names and identifiers.
    pub(super) issuers: Vec<(String, String)>,
}

/// What the page must know.
#[derive(Serialize, JsonSchema)]
struct Told<'s> {
    /// `open`, or `closed`: whether whoever asks may sign up.
    sign_up: &'static str,
    /// Where inference-service is, without a slash at the end. Null: the host that was asked is no name that a page's policy can have, and
    /// `TOLLGATE_INFERENCE_URL` is unset.
    inference_url: Option<String>,
    /// The issuers that one can sign in with.
    issuers: Vec<IssuerTold<'s>>,
    /// The release.
    version: &'static str,
}

/// An issuer that one can sign in with.
#[derive(Serialize, JsonSchema)]
struct IssuerTold<'s> {
    /// Its name here.
    name: &'s str,
    /// Its identifier.
    issuer: &'s str,
}

pub(super) fn route(settings: Settings) -> Route {
    let policy = MethodPolicy { caller: CallerKind::Anybody, most_bytes: 0, is_recorded: false };
    let answer = move |request: DoorRequest| std::future::ready(Ok::<Response<Body>, Refusal>(settings.tell(&request)));
    Route::new(Method::GET, "/account-page/settings", policy, "what the account page knows before a sign-in", answer).giving::<Told>()
}

impl Settings {
    fn tell(&self, request: &DoorRequest) -> Response<Body> {
        let may_sign_up = self.sign_up.admits(origin(request));
        never_stored_json(&Told {
            sign_up: if may_sign_up { "open" } else { "closed" },
            inference_url: inference_url(&self.page, request.uri(), request.headers()).map(|url| url.to_string()),
            issuers: self.issuers.iter().map(|(name, issuer)| IssuerTold { name, issuer }).collect(),
            version: env!("CARGO_PKG_VERSION"),
        })
    }
}

/// Where the page's sign-up would come from. It names its own origin then, which is the host that is asked now.
pub(super) fn origin(request: &DoorRequest) -> Origin {
    let mut call = Request::new(());
    *call.metadata_mut() = MetadataMap::from_headers(request.headers().clone());
    *call.extensions_mut() = request.extensions().clone();
    let host = asked(request.uri(), request.headers());
    let is_here = host.is_some_and(|host| {
        let address: Option<IpAddr> = host.host().trim_matches(['[', ']']).parse().ok();
        host.host().eq_ignore_ascii_case("localhost") || address.is_some_and(|address| address.is_loopback())
    });
    Origin { by_web_page: !is_here, ..Origin::of(&call) }
}

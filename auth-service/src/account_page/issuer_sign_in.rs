//! How the page has somebody sign in with an issuer, or link an identity.
//!
//! The page asks where to send the browser, and the answer keeps the sign-in in a cookie. That is asked where the session's cookie comes
//! along: the session that it is of ends once another begins in its place, as with any sign-in of the page. The issuer sends the browser
//! back to its own callback with a code, which is good with the sign-in's cookie alone. Nothing of it reaches the page: the callback sets
//! the session's cookie, and sends the browser on.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue, LOCATION, SET_COOKIE};
use http::{Extensions, HeaderMap, Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::ErrorReason;
use shared::admission::MethodPolicy;
use shared::authorization::CallerKind;
use shared::doors::{DoorRequest, Refusal, Route, refusal_over_connect, refused_over_connect};
use shared::error::{CallError, reason_name, reason_of};
use tonic::Request;
use tonic::metadata::MetadataMap;

use super::headers::{asked, only};
use super::own_page::{self, OwnPage};
use super::sign_in_cookie::{self, Kept};
use super::{cookie, settings};
use crate::doors::never_stored_json;
use crate::ids::AccountId;
use crate::refresh_token::RefreshToken;
use crate::service::accounts::AccountsService;
use crate::service::authorizer::Caller;
use crate::service::call::Call;
use crate::service::issuer_sign_in::{CALLBACK_ROUTE, IssuerSignIn, page_callback};
use crate::service::service_error::ServiceError;
use crate::service::sign_in::SignedIn;
use crate::service::sign_up_policy::Origin;
use crate::sign_in_issuers::{BegunFor, FormerSession, LinkedSession, PendingSignIn, Proof};
use crate::startup::MAX_OPEN_REQUEST_BYTES;
use crate::store::{AuditAction, PresentedCredential, Principal};
use crate::user::Role;

/// What the door refuses, and why.
pub const REFUSED: &[(&str, &str)] = &[
    ("a request of a page of another origin, or of none", "CROSS_ORIGIN_REQUEST, with 403: it could be made with a visitor's cookie"),
    ("redirect_uri", "INVALID_ARGUMENT: the issuer sends people back to this service's own callback"),
];

/// What a browser says of why it asks.
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
/// What a browser says of where the answer goes.
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Who wants to sign in with an issuer.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BeginBody {
    /// The issuer's name. May be empty where there is one alone.
    #[serde(default)]
    issuer: String,
    /// Whether its identity is to be linked to whoever shows an access token, in place of signing in.
    #[serde(default)]
    link: bool,
}

/// Where to send the browser.
#[derive(Serialize, JsonSchema)]
struct BegunBody {
    /// At the issuer.
    authorization_url: String,
}

pub(super) fn routes(accounts: &Arc<AccountsService>, tls: bool) -> Vec<Route> {
    let with_body = MethodPolicy { caller: CallerKind::Anybody, most_bytes: MAX_OPEN_REQUEST_BYTES, is_recorded: false };
    let without = MethodPolicy { most_bytes: 0, ..with_body };
    let doors = IssuerDoors { accounts: Arc::clone(accounts), tls };
    let begin = doors.clone();
    vec![
        Route::new(
            Method::POST,
            "/account/session/issuer",
            with_body,
            "the account page begins a sign-in with an issuer",
            move |request| {
                let doors = begin.clone();
                async move { doors.begin(request).await }
            },
        )
        .taking::<BeginBody>()
        .giving::<BegunBody>()
        .refusing(refusals),
        Route::new(Method::GET, CALLBACK_ROUTE, without, "an issuer sends people back to the account page", move |request| {
            let doors = doors.clone();
            let came = Came::of(&request);
            async move { Ok(doors.come_back(came).await) }
        }),
    ]
}

#[derive(Clone)]
struct IssuerDoors {
    accounts: Arc<AccountsService>,
    tls: bool,
}

/// Somebody who was sent back.
struct Came {
    headers: HeaderMap,
    extensions: Extensions,
    /// Which issuer's callback it is.
    path: String,
    query: String,
    origin: Origin,
}

impl Came {
    fn of(request: &DoorRequest) -> Self {
        Self {
            headers: request.headers().clone(),
            extensions: request.extensions().clone(),
            path: request.uri().path().to_owned(),
            query: request.query().to_owned(),
            origin: settings::origin(request),
        }
    }
}

/// With what an issuer sent somebody back.
#[derive(Default)]
struct Answer {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    issuer: Option<String>,
}

impl IssuerDoors {
    async fn begin(&self, mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
        let page = own_page::of(request.uri(), request.headers(), self.tls)?;
        let BeginBody { issuer, link } = request.json().await?;
        let metadata = MetadataMap::from_headers(request.headers().clone());
        let call = Call::new(&metadata, request.extensions());
        let origin = self.origin(&request, page);
        let before = cookie::only_value(page, request.headers()).and_then(|token| RefreshToken::parse(&token));
        let begun = async {
            let begun_for = if link {
                BegunFor::Link(self.linked_session(call).await?)
            } else {
                before.as_ref().map_or(BegunFor::Holder, |token| BegunFor::InPlaceOf(FormerSession::from(token)))
            };
            let redirect_uri = page_callback(&origin?, &self.accounts.issuers.named(&issuer)?.name);
            Ok(self.accounts.issuers.begin(&issuer, &redirect_uri, begun_for).await?)
        };
        Ok(match begun.await {
            Ok(begun) => {
                let answer = never_stored_json(&BegunBody { authorization_url: begun.authorization_url });
                let is_secure = self.is_secure(page);
                with_cookies(answer, [sign_in_cookie::keeping(is_secure, &begun.sign_in)])
            }
            Err(error) => refused(error),
        })
    }

    /// The session of whoever shows an access token of ours.
    async fn linked_session(&self, call: Call<'_>) -> Result<LinkedSession, ServiceError> {
        let principal = self.accounts.authorizer.signed_in(call).await?.principal;
        let session_id = principal.session_id.ok_or(ServiceError::RecentSignInRequired)?;
        Ok(LinkedSession { user_id: principal.user_id, session_id })
    }

    /// The page's origin: as an operator says, else as the browser asked.
    fn origin(&self, request: &DoorRequest, page: OwnPage) -> Result<String, ServiceError> {
        if let Some(url) = &self.accounts.public_url {
            return Ok(url.to_string());
        }
        let host = asked(request.uri(), request.headers());
        let host = host.ok_or_else(|| ServiceError::field("host", "must say which host was asked, once"))?;
        Ok(format!("{}://{host}", if page.is_secure { "https" } else { "http" }))
    }

    /// Whether the issuer sends people back over TLS: the cookie must come back there.
    fn is_secure(&self, page: OwnPage) -> bool {
        self.accounts.public_url.as_ref().map_or(page.is_secure, |url| url.to_string().starts_with("https:"))
    }

    /// Ends a sign-in. Whatever becomes of it, the browser is sent on to the page, and the cookie is gone.
    async fn come_back(&self, came: Came) -> Response<Body> {
        let mut pending = None;
        let done = self.end(&came, &mut pending).await;
        let is_link = pending.is_some_and(|pending: PendingSignIn| pending.begun_for.linked_session().is_some());
        let view = if is_link { "/#/security" } else { "/#/sign-in" };
        let (location, kept) = match done {
            Ok(Done::SignedIn(kept)) => ("/".to_owned(), kept),
            Ok(Done::Linked) => (format!("{view}?linked=1"), None),
            Ok(Done::SaidNo) => (view.to_owned(), None),
            Err(reason) => (format!("{view}?failed={}", reason_name(reason)), None),
        };
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::SEE_OTHER;
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(location) = HeaderValue::try_from(location) {
            answer.headers_mut().insert(LOCATION, location);
        }
        let [secure, plain] = sign_in_cookie::clearing();
        with_cookies(answer, [secure, plain, kept])
    }

    async fn end(&self, came: &Came, begun: &mut Option<PendingSignIn>) -> Result<Done, ErrorReason> {
        // A page that has it loaded as a picture, a frame or a script is none that somebody was sent to.
        let is_other = |name, expected| came.headers.contains_key(&name) && only(&came.headers, name) != Some(expected);
        if is_other(FETCH_MODE, "navigate") || is_other(FETCH_DEST, "document") {
            return Err(ErrorReason::CrossOriginRequest);
        }
        let Kept { sign_in, is_secure } = sign_in_cookie::only_value(&came.headers).ok_or(ErrorReason::SignInExpired)?;
        let pending = self.accounts.issuers.pending(sign_in).map_err(|_| ErrorReason::SignInExpired)?;
        let pending = begun.insert(pending);
        if !pending.redirect_uri.ends_with(&came.path) {
            // It was begun with another issuer, who had the browser brought here with a code of this one. Or for a program on this host.
            return Err(ErrorReason::IdTokenInvalid);
        }
        let page = OwnPage { is_secure: pending.redirect_uri.starts_with("https:") };
        if page.is_secure != is_secure {
            // Somebody else may have set the cookie that anybody on the way can set.
            return Err(ErrorReason::SignInExpired);
        }
        let Answer { state, code, error, issuer } = Answer::of(&came.query).ok_or(ErrorReason::IdTokenInvalid)?;
        // Before anything is done for it: another site may have sent the browser here (RFC 6749, section 10.12).
        let state = state.filter(|state| crate::sign_in_issuers::is_same(state, &pending.state)).ok_or(ErrorReason::IdTokenInvalid)?;
        // An issuer that says who it is must be the one that was asked (RFC 9207).
        if issuer.is_some_and(|issuer| issuer != pending.issuer) {
            return Err(ErrorReason::IdTokenInvalid);
        }
        let code = match (code, error.as_deref()) {
            (Some(code), None) => code,
            (None, Some("access_denied")) => return Ok(Done::SaidNo),
            _ => return Err(ErrorReason::IdTokenInvalid),
        };
        let proof = Proof::Code { sign_in, code: &code, state: &state };
        let reason = |status: tonic::Status| reason_of(&status).unwrap_or(ErrorReason::Internal);
        let mut call = Request::new(());
        *call.metadata_mut() = MetadataMap::from_headers(came.headers.clone());
        *call.extensions_mut() = came.extensions.clone();
        if let Some(session) = pending.begun_for.linked_session().cloned() {
            let link = |request: Request<()>| async move { self.accounts.link_by(Call::of(&request), &owner(session), proof).await };
            self.accounts.trail.answer(AuditAction::LinkIdentity, call, link).await.map_err(reason)?;
            return Ok(Done::Linked);
        }
        let origin = came.origin;
        let sign_in = |request: Request<()>| async move { self.accounts.sign_in_with_issuer(Call::of(&request), origin, proof, "").await };
        let signed_in = self.accounts.trail.answer(AuditAction::SignInWithIssuer, call, sign_in).await.map_err(reason)?;
        if let BegunFor::InPlaceOf(former) = &pending.begun_for {
            let metadata = MetadataMap::from_headers(came.headers.clone());
            if let Err(error) = self.accounts.end_shown(Call::new(&metadata, &came.extensions), former).await {
                // It ends by itself when its time is over. Whoever signed in is not kept from it.
                tracing::warn!(%error, "the session that a browser had before could not be ended");
            }
        }
        let IssuerSignIn { signed_in: SignedIn { refresh_token, session, .. }, .. } = signed_in.into_inner();
        let left_ms = session.refresh_expires_at_ms.saturating_sub(session.last_used_at_ms);
        let lifetime = Duration::from_millis(u64::try_from(left_ms).unwrap_or_default());
        Ok(Done::SignedIn(cookie::keeping(page, &refresh_token, lifetime)))
    }
}

/// What became of a sign-in.
enum Done {
    /// The session's cookie.
    SignedIn(Option<HeaderValue>),
    Linked,
    /// The person was asked, and said no.
    SaidNo,
}

/// Whoever began with an access token of this session. The store looks whether it is still in force.
fn owner(LinkedSession { user_id, session_id }: LinkedSession) -> Caller {
    let credential = PresentedCredential::AccessToken { user_id: user_id.clone(), session: Some(session_id.clone()), issued_at_ms: 0 };
    let account = AccountId::from(&user_id);
    let principal = Principal { user_id, role: Role::User, key_id: None, key_secret: 0, session_id: Some(session_id), membership: None };
    Caller { principal, account, credential }
}

impl Answer {
    /// `None`: one of them is there twice.
    fn of(query: &str) -> Option<Self> {
        let mut answer = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "state" => &mut answer.state,
                "code" => &mut answer.code,
                "error" => &mut answer.error,
                "iss" => &mut answer.issuer,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return None;
            }
        }
        Some(answer)
    }
}

/// What the door says beside what every door does.
fn refusals() -> Vec<Refusal> {
    let issuer = String::new();
    let of_service = [
        ServiceError::IssuerUnknown,
        ServiceError::IssuerUnavailable { issuer, retry_after: Duration::from_secs(1) },
        ServiceError::RecentSignInRequired,
    ];
    let of_service = of_service.into_iter().map(CallError::from);
    of_service.chain([own_page::refused(own_page::CROSS_ORIGIN)]).map(refusal_over_connect).collect()
}

fn refused(error: ServiceError) -> Response<Body> {
    let mut answer = refused_over_connect(error.into());
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn with_cookies(mut answer: Response<Body>, cookies: impl IntoIterator<Item = Option<HeaderValue>>) -> Response<Body> {
    for cookie in cookies.into_iter().flatten() {
        answer.headers_mut().append(SET_COOKIE, cookie);
    }
    answer
}

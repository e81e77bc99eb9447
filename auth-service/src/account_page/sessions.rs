//! `/account/session`: how the page signs in, stays signed in, and signs out. The refresh token is in a cookie, both ways.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, HeaderValue, SET_COOKIE};
use http::{HeaderMap, Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::ErrorReason;
use shared::admission::MethodPolicy;
use shared::authorization::CallerKind;
use shared::doors::{DoorRequest, Refusal, Route, refusal_over_connect, refused_over_connect};
use shared::error::CallError;
use tonic::Code;
use tonic::metadata::MetadataMap;

use super::cookie;
use super::own_page::{self, OwnPage};
use crate::doors::never_stored_json;
use crate::ids::AccountId;
use crate::refresh_token::RefreshToken;
use crate::service::accounts::AccountsService;
use crate::service::call::Call;
use crate::service::contract;
use crate::service::service_error::ServiceError;
use crate::service::sign_in::{PasswordReset, SignIn, SignedIn};
use crate::session::RefreshRefusal;
use crate::startup::MAX_OPEN_REQUEST_BYTES;
use crate::token_scopes::TokenScopes;
use crate::user::Role;

/// What the doors refuse, and why.
pub const REFUSED: &[(&str, &str)] = &[
    ("a request of a page of another origin, or of none", "CROSS_ORIGIN_REQUEST, with 403: it could be made with a visitor's cookie"),
    ("content-type: anything but application/json", "the same: a form of another site could send it"),
    ("two cookies of this name", "CREDENTIAL_INVALID: another site of the same domain may have set one of them"),
    ("client, scope", "INVALID_ARGUMENT: a browser says by user-agent what it is, and the page's tokens may do all that its user may"),
];

/// Who signs in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SignInBody {
    /// As the user was made.
    user_name: String,
    /// As it was typed.
    password: String,
    /// Where the user has a second factor: six digits of the app, or a recovery code. SECOND_FACTOR_REQUIRED asks for it.
    #[serde(default)]
    second_factor_code: String,
}

/// Who chooses another password, after an operator reset it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ResetBody {
    /// As the user was made.
    user_name: String,
    /// What the operator was given.
    one_time_password: String,
    /// At least 15 characters, and another one.
    new_password: String,
    /// As where one signs in.
    #[serde(default)]
    second_factor_code: String,
}

/// Somebody is signed in. The refresh token is in the cookie, and nowhere here.
#[derive(Serialize, JsonSchema)]
struct SessionBody {
    /// The access token, to be sent as `authorization: Bearer <access token>`.
    access_token: String,
    /// When it ends, in RFC 3339's form.
    expires_at: String,
    /// In how many seconds it ends.
    expires_in: u64,
    /// The session, as `ListSessions` names it.
    session_id: String,
    /// Until when the session can be refreshed, in RFC 3339's form.
    session_expires_at: String,
    /// Who it is.
    user: Who,
    /// The user's own account.
    account_id: String,
}

/// A user.
#[derive(Serialize, JsonSchema)]
struct Who {
    /// Stable.
    user_id: String,
    /// Unique.
    user_name: String,
    /// May be empty.
    full_name: String,
    /// May be empty.
    email: String,
    /// `user`, or `admin` for an operator.
    role: &'static str,
}

pub(super) fn routes(accounts: &Arc<AccountsService>, tls: bool) -> Vec<Route> {
    let with_body = MethodPolicy { caller: CallerKind::Anybody, most_bytes: MAX_OPEN_REQUEST_BYTES, is_recorded: false };
    let without = MethodPolicy { most_bytes: 0, ..with_body };
    let doors = Doors { accounts: Arc::clone(accounts), tls };
    let (sign_in, refresh, sign_out, reset) = (doors.clone(), doors.clone(), doors.clone(), doors);
    vec![
        Route::new(Method::POST, "/account/session", with_body, "the account page signs in", move |request| {
            let doors = sign_in.clone();
            async move { doors.sign_in(request).await }
        })
        .taking::<SignInBody>()
        .giving::<SessionBody>()
        .refusing(refusals),
        Route::new(Method::POST, "/account/session/refresh", without, "the account page stays signed in, by its cookie", move |request| {
            let doors = refresh.clone();
            async move { doors.refresh(request).await }
        })
        .giving::<SessionBody>(),
        Route::new(Method::DELETE, "/account/session", without, "the account page signs out, by its cookie", move |request| {
            let doors = sign_out.clone();
            async move { doors.sign_out(request).await }
        }),
        Route::new(Method::POST, "/account/session/reset", with_body, "the account page completes a password's reset", move |request| {
            let doors = reset.clone();
            async move { doors.reset(request).await }
        })
        .taking::<ResetBody>()
        .giving::<SessionBody>(),
    ]
}

#[derive(Clone)]
struct Doors {
    accounts: Arc<AccountsService>,
    tls: bool,
}

impl Doors {
    async fn sign_in(&self, mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
        let page = self.own_page(&request)?;
        let body: SignInBody = request.json().await?;
        let before = cookie::only_value(page, request.headers());
        let metadata = MetadataMap::from_headers(request.headers().clone());
        let call = Call::new(&metadata, request.extensions());
        let SignInBody { user_name, password, second_factor_code } = &body;
        let sign_in = SignIn { user_name, password, second_factor_code, client: "", scopes: &TokenScopes::All };
        let begun = self.accounts.sign_in(call, sign_in).await;
        Ok(self.begun(page, call, before.as_deref(), begun).await)
    }

    async fn reset(&self, mut request: DoorRequest) -> Result<Response<Body>, Refusal> {
        let page = self.own_page(&request)?;
        let body: ResetBody = request.json().await?;
        let before = cookie::only_value(page, request.headers());
        let metadata = MetadataMap::from_headers(request.headers().clone());
        let call = Call::new(&metadata, request.extensions());
        let ResetBody { user_name, one_time_password, new_password, second_factor_code } = &body;
        let reset = PasswordReset { user_name, one_time_password, new_password, second_factor_code, client: "" };
        let begun = self.accounts.complete_reset(call, reset).await;
        Ok(self.begun(page, call, before.as_deref(), begun).await)
    }

    async fn refresh(&self, request: DoorRequest) -> Result<Response<Body>, Refusal> {
        let page = self.own_page(&request)?;
        let token = match cookie::values(page, request.headers())[..] {
            [token] => token,
            // Another tab may be signing in just now: what it is given stays.
            [] => return Ok(refused_over_connect(nobody())),
            _ => return Ok(refused_over_connect(several())),
        };
        let metadata = MetadataMap::from_headers(request.headers().clone());
        let answer = match self.accounts.refresh_shared(Call::new(&metadata, request.extensions()), token).await {
            Ok(signed_in) => self.signed_in(page, signed_in).await,
            // Another Tollgate on this host name may have given it, by another port: there its session goes on.
            Err(error @ ServiceError::Refresh(RefreshRefusal::Invalid)) if RefreshToken::parse(token).is_some() => refused(error),
            Err(error @ ServiceError::Refresh(_)) => with_cookie(refused(error), cookie::clearing(page)),
            Err(error) => refused(error),
        };
        Ok(answer)
    }

    async fn sign_out(&self, request: DoorRequest) -> Result<Response<Body>, Refusal> {
        let page = self.own_page(&request)?;
        let metadata = MetadataMap::from_headers(request.headers().clone());
        let shown = cookie::values(page, request.headers());
        if shown.len() > cookie::MOST_VALUES {
            return Ok(refused_over_connect(several()));
        }
        // Whoever shows several is signed out of all of them.
        for token in shown {
            if let Err(error) = self.accounts.sign_out(Call::new(&metadata, request.extensions()), token).await {
                // It is still signed in, and says so.
                return Ok(refused(error));
            }
        }
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        Ok(with_cookie(never_stored(answer), cookie::clearing(page)))
    }

    /// The answer to whoever begins a session. The one that the browser had `before` is ended: its only token goes away with the cookie,
    /// and nobody could sign out of it.
    async fn begun(&self, page: OwnPage, call: Call<'_>, before: Option<&str>, begun: Result<SignedIn, ServiceError>) -> Response<Body> {
        let signed_in = match begun {
            Ok(signed_in) => signed_in,
            Err(error) => return refused(error),
        };
        if let Some(token) = before
            && let Err(error) = self.accounts.sign_out(call, token).await
        {
            // It ends by itself when its time is over. Whoever signed in is not kept from it.
            tracing::warn!(%error, "the session that a browser had before could not be ended");
        }
        self.signed_in(page, signed_in).await
    }

    fn own_page(&self, request: &DoorRequest) -> Result<OwnPage, Refusal> {
        Ok(own_page::of(request.uri(), request.headers(), self.tls)?)
    }

    /// The answer to a browser that has a new token: whatever becomes of the answer's body, the token is in the cookie.
    async fn signed_in(&self, page: OwnPage, signed_in: SignedIn) -> Response<Body> {
        let SignedIn { access_token, refresh_token, session, .. } = signed_in;
        let left_ms = session.refresh_expires_at_ms.saturating_sub(session.last_used_at_ms);
        let lifetime = Duration::from_millis(u64::try_from(left_ms).unwrap_or_default());
        let kept = cookie::keeping(page, &refresh_token, lifetime);
        let answer = match self.accounts.user(refresh_token.user_id()).await {
            Ok(user) => never_stored_json(&SessionBody {
                expires_at: prost_types::Timestamp::from(access_token.expires_at).to_string(),
                expires_in: access_token.lifetime.as_secs(),
                access_token: access_token.token,
                session_id: session.session_id.to_string(),
                session_expires_at: contract::timestamp(session.refresh_expires_at_ms).to_string(),
                account_id: AccountId::from(&user.user_id).to_string(),
                user: Who {
                    user_id: user.user_id.to_string(),
                    user_name: user.user_name.to_string(),
                    full_name: user.full_name,
                    email: user.email,
                    role: if user.role == Role::Admin { "admin" } else { "user" },
                },
            }),
            Err(error) => refused(error),
        };
        with_cookie(answer, kept)
    }
}

/// What the doors say beside what every door does.
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
    let of_service = [
        ServiceError::LoginFailed,
        ServiceError::PasswordChangeRequired,
        ServiceError::SecondFactorRequired,
        ServiceError::SecondFactorInvalid,
    ]
    .into_iter();
    let of_service = of_service.chain(refused.map(ServiceError::Refresh)).map(CallError::from);
    of_service.chain([nobody(), several(), own_page::refused(own_page::CROSS_ORIGIN)]).map(refusal_over_connect).collect()
}

/// No cookie came.
fn nobody() -> CallError {
    CallError::new(Code::Unauthenticated, ErrorReason::CredentialMissing, "nobody is signed in here: sign in")
}

fn several() -> CallError {
    let message = "the browser sent two cookies of this name: remove this site's cookies, and sign in";
    CallError::new(Code::Unauthenticated, ErrorReason::CredentialInvalid, message)
}

fn refused(error: ServiceError) -> Response<Body> {
    never_stored(refused_over_connect(error.into()))
}

fn never_stored(mut answer: Response<Body>) -> Response<Body> {
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn with_cookie(mut answer: Response<Body>, cookie: Option<HeaderValue>) -> Response<Body> {
    let headers: &mut HeaderMap = answer.headers_mut();
    if let Some(cookie) = cookie {
        headers.append(SET_COOKIE, cookie);
    }
    answer
}

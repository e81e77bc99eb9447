//! `GET /users/me`: who a credential belongs to, and what the account has.

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
use shared::proto::auth as pb;
use tonic::metadata::MetadataMap;

use super::oauth2_error::{bearer_form, json};
use crate::service::accounts::AccountsService;
use crate::service::call::Call;

/// What the door refuses, and why.
pub const REFUSED: &[(&str, &str)] =
    &[("/users/me?access_token=…", "invalid_request: what stands in a URL is logged on its way; send it in the authorization header")];

/// Names by which clients put a credential into a URL.
const CREDENTIALS_IN_URL: [&str; 5] = ["access_token", "token", "api_key", "apikey", "key"];

/// Who calls.
#[derive(Serialize, JsonSchema)]
struct Me {
    /// Stable. Of a service account, its own.
    user_id: String,
    /// Unique. Empty for a service account.
    user_name: String,
    /// The name of a service account in its organization; null for a user.
    service_account: Option<String>,
    /// May be empty.
    full_name: String,
    /// May be empty.
    email: String,
    /// `user`, or `admin` for an operator.
    role: &'static str,
    /// Always false: a disabled user's credentials are refused.
    disabled: bool,
    /// In RFC 3339's form.
    created_at: String,
    /// The account that the credential pays from.
    account_id: String,
    /// Null for an access token.
    api_key_id: Option<String>,
    /// Null where the credential may not read it: it lacks the scope `account`.
    balance: Option<Credits>,
}

/// An account's credits.
#[derive(Serialize, JsonSchema)]
struct Credits {
    /// Can be held by the next call.
    available_credits: i64,
    /// Held by calls in progress.
    held_credits: i64,
    /// Charged; never falls.
    spent_credits: i64,
    /// Granted and no longer usable.
    lapsed_credits: i64,
    /// All that was ever granted: the sum of the others.
    granted_credits: i64,
}

pub(super) fn door(accounts: Arc<AccountsService>) -> Door {
    let policy = MethodPolicy { caller: CallerKind::EndUser, most_bytes: 0, is_recorded: false };
    let answer = move |request: DoorRequest| {
        let accounts = Arc::clone(&accounts);
        async move { who_am_i(&accounts, request).await }
    };
    let route = Route::new(Method::GET, "/users/me", policy, "who the credential belongs to, and the account's credits", answer);
    Door { name: "Users", refusal: bearer_form, routes: vec![route.giving::<Me>()] }
}

async fn who_am_i(accounts: &AccountsService, request: DoorRequest) -> Result<Response<Body>, Refusal> {
    if has_credential(request.query()) {
        let message = "send the credential in the authorization header: what stands in a URL is logged on its way";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, ErrorReason::MessageMalformed, message));
    }
    let metadata = MetadataMap::from_headers(request.headers().clone());
    let (me, balance) = accounts.who_am_i(Call::new(&metadata, request.extensions())).await.map_err(CallError::from)?;
    Ok(json(&Me::new(me, balance)))
}

fn has_credential(query: &str) -> bool {
    let mut names = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    names.any(|name| CREDENTIALS_IN_URL.iter().any(|known| name.eq_ignore_ascii_case(known)))
}

impl Me {
    fn new(me: pb::GetMeResponse, balance: Option<pb::Balance>) -> Self {
        let user = me.user.unwrap_or_default();
        let robot = me.service_account;
        Self {
            role: if user.role() == pb::Role::Admin { "admin" } else { "user" },
            created_at: user.created_at.or(robot.as_ref().and_then(|robot| robot.created_at)).map(|at| at.to_string()).unwrap_or_default(),
            user_id: robot.as_ref().map_or(user.user_id, |robot| robot.service_account_id.clone()),
            service_account: robot.map(|robot| robot.name),
            user_name: user.user_name,
            full_name: user.full_name,
            email: user.email,
            disabled: user.disabled,
            account_id: me.account_id,
            api_key_id: Some(me.api_key_id).filter(|id| !id.is_empty()),
            balance: balance.map(Credits::from),
        }
    }
}

impl From<pb::Balance> for Credits {
    fn from(balance: pb::Balance) -> Self {
        Self {
            available_credits: balance.available_credits(),
            held_credits: balance.held_credits(),
            spent_credits: balance.spent_credits(),
            lapsed_credits: balance.lapsed_credits(),
            granted_credits: balance.granted_credits(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_in_the_url_is_seen_under_every_name_that_clients_give_it() {
        for query in ["access_token=x", "a=b&api_key=x", "KEY=x", "token"] {
            assert!(has_credential(query), "{query}");
        }
        for query in ["", "a=b", "monkey=1", "a=access_token"] {
            assert!(!has_credential(query), "{query}");
        }
    }
}

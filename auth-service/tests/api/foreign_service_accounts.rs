//! Tokens of a foreign issuer that name a service account: a pipeline's own token pays from its organization, and is good for nothing else.

#![expect(clippy::unwrap_used, reason = "the parts that the tests share")]

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use shared::ErrorReason;
use shared::proto::auth as pb;
use tonic::{Code, Request};

use crate::foreign_tokens::{entry, start_trusting_at};
use crate::http::*;
use crate::second_factor::clock;
use crate::support::*;
use crate::test_issuer::{IssuerKey, Reply, TestIssuer};

/// What a pipeline's token says that it is.
const PIPELINE: &str = "repo:plumbers/pipes:ref:refs/heads/main";

/// A service that trusts an issuer, and an organization of its user `ada` with a service account that the issuer's tokens name.
struct Scene {
    server: Server,
    issuer: TestIssuer,
    key: IssuerKey,
    account: String,
    robot: String,
    operator: String,
}

impl Scene {
    async fn start(cap: Option<i64>, more: &Value) -> Self {
        let key = IssuerKey::new("one", Algorithm::EdDSA);
        let issuer = TestIssuer::start(Reply::keys(&[&key])).await;
        // It stands still: no month ends meanwhile.
        let (clock, _hand) = clock();
        let mut server = start_at(&[], clock.clone()).await;
        let (ada, operator) = (server.user("ada").await, server.operator().await);
        let request = with(&ada, pb::CreateOrganizationRequest { name: "Plumbers".into() });
        let account = server.accounts.create_organization(request).await.unwrap().into_inner().organization.unwrap().account_id;
        let grant = pb::GrantCreditsRequest { account_id: account.clone(), credits: 10, request_id: "g".into(), ..Default::default() };
        server.admin.grant_credits(with(&operator, grant)).await.unwrap();
        let request = pb::CreateServiceAccountRequest { account_id: account.clone(), name: "ci".into(), monthly_cap_credits: cap };
        let robot = server.accounts.create_service_account(with(&ada, request)).await.unwrap().into_inner();
        let robot = robot.service_account.unwrap().service_account_id;
        // An operator names it once it is there.
        let mut entry = entry(&issuer, &json!({ "service_accounts": { PIPELINE: format!("{account}/{robot}") } }));
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let server = start_trusting_at(server.stop().await, &[entry], clock).await;
        Self { server, issuer, key, account, robot, operator }
    }

    /// A token of the issuer for this one.
    fn token(&self, who: &str) -> String {
        self.key.sign(&self.issuer.claims(who))
    }
}

fn on<T>(account: &str, credential: &str, message: T) -> Request<T> {
    let mut request = with(credential, message);
    request.metadata_mut().insert("x-tollgate-account", account.parse().unwrap());
    request
}

#[tokio::test]
async fn a_foreign_token_that_names_a_service_account_pays_from_its_organization_within_its_cap() {
    let mut scene = Scene::start(Some(2), &json!({})).await;
    let token = scene.token(PIPELINE);
    let server = &mut scene.server;
    assert_eq!(server.balance(&token).await.unwrap().available_credits(), 10);
    for request_id in ["r1", "r2"] {
        let held = server.check(chat(&token, request_id)).await.unwrap();
        let principal = held.principal.clone().unwrap();
        let named = (principal.user_id, principal.account_id, principal.api_key_id, principal.session_id);
        assert_eq!(named, (scene.robot.clone(), scene.account.clone(), String::new(), String::new()));
    }
    let over = server.check(chat(&token, "r3")).await;
    assert_refused(over, Code::ResourceExhausted, ErrorReason::MemberCapReached);
    let me = server.accounts.get_me(with(&token, pb::GetMeRequest {})).await.unwrap().into_inner();
    assert_eq!((me.user, me.service_account.unwrap().name.as_str(), &me.account_id), (None, "ci", &scene.account));
    let bearer = format!("Bearer {token}");
    let me = http(server.address, "GET /users/me", &[("authorization", &bearer)], "").await;
    assert_eq!(
        (me.status, me.text("service_account"), me.text("user_id"), me.text("user_name")),
        (200, "ci".into(), scene.robot.clone(), String::new())
    );
    let service = [FORM, ("authorization", &*format!("Bearer {}", server.service_credential))];
    let said = http(server.address, "POST /introspect", &service, &format!("token={token}")).await.json();
    assert_eq!((&said["active"], &said["sub"], &said["username"]), (&json!(true), &json!(scene.robot), &Value::Null), "{said}");
}

#[tokio::test]
async fn a_service_account_that_is_named_pays_from_no_other_account_and_manages_nothing() {
    let mut scene = Scene::start(None, &json!({ "admin": true })).await;
    let token = scene.token(PIPELINE);
    let server = &mut scene.server;
    let mut elsewhere = chat(&token, "r1");
    elsewhere.account = "0123456789abcdef".to_owned();
    assert_refused(server.check(elsewhere).await, Code::PermissionDenied, ErrorReason::AccountNotAllowed);
    let mut own = chat(&token, "r1");
    own.account.clone_from(&scene.account);
    server.check(own).await.unwrap();
    let made = server.accounts.create_api_key(on(&scene.account, &token, pb::CreateApiKeyRequest::default())).await;
    assert_refused(made, Code::PermissionDenied, ErrorReason::AccessTokenRequired);
    let invited = pb::InviteMemberRequest { account_id: scene.account.clone(), ..Default::default() };
    let invited = server.accounts.invite_member(with(&token, invited)).await;
    assert_eq!(invited.unwrap_err().code(), Code::PermissionDenied);
    let device = server.accounts.begin_device_sign_in(pb::BeginDeviceSignInRequest::default()).await.unwrap().into_inner();
    let approved = pb::ApproveDeviceRequest { user_code: device.user_code, deny: false };
    assert_refused(server.accounts.approve_device(with(&token, approved)).await, Code::PermissionDenied, ErrorReason::AccessTokenRequired);
    let listed = server.admin.list_users(with(&token, pb::ListUsersRequest::default())).await;
    assert_refused(listed, Code::PermissionDenied, ErrorReason::RoleRequired);
}

#[tokio::test]
async fn where_service_accounts_alone_are_listed_a_foreign_token_names_nobody_else() {
    let mut scene = Scene::start(None, &json!({})).await;
    for who in ["ada", "repo:plumbers/pipes:ref:refs/heads/other", &scene.robot.clone(), ""] {
        let token = scene.token(who);
        assert_refused(scene.server.balance(&token).await, Code::Unauthenticated, ErrorReason::CredentialInvalid);
    }
    let mut scene = Scene::start(None, &json!({ "users": { "u-1": "ada" } })).await;
    let (user, robot) = (scene.token("u-1"), scene.token(PIPELINE));
    let me = scene.server.accounts.get_me(with(&user, pb::GetMeRequest {})).await.unwrap().into_inner();
    assert_eq!(me.user.unwrap().user_name, "ada");
    assert_eq!(scene.server.balance(&robot).await.unwrap().available_credits(), 10);
    let other = scene.token("ada");
    assert_refused(scene.server.balance(&other).await, Code::Unauthenticated, ErrorReason::CredentialInvalid);
}

#[tokio::test]
async fn a_service_account_that_is_removed_is_refused_by_its_issuers_token_from_the_next_call_on_and_its_maker_may_go() {
    let mut scene = Scene::start(None, &json!({})).await;
    let token = scene.token(PIPELINE);
    let server = &mut scene.server;
    // Its maker is disabled: it goes on.
    let disable = pb::DisableUserRequest { user_name: "ada".into(), reason: "left".into() };
    server.admin.disable_user(with(&scene.operator, disable)).await.unwrap();
    let held = grant(server.check(chat(&token, "r1")).await.unwrap());
    let remove = pb::RemoveServiceAccountRequest { account_id: scene.account.clone(), service_account_id: scene.robot.clone() };
    server.accounts.remove_service_account(with(&scene.operator, remove)).await.unwrap();
    assert_refused(server.check(chat(&token, "r2")).await, Code::PermissionDenied, ErrorReason::AccountNotAllowed);
    assert_refused(server.balance(&token).await, Code::PermissionDenied, ErrorReason::AccountNotAllowed);
    let extend = pb::ExtendRequest { hold: held.hold, ..Default::default() };
    assert_eq!(server.extend(extend).await.unwrap_err().code(), Code::PermissionDenied);
}

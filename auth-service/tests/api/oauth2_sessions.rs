//! Sessions by OAuth2: refresh tokens, `/revoke`, `/introspect`, and what clients find by itself.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use shared::ErrorReason;
use shared::proto::auth as pb;
use tonic::Code;

use crate::http::*;
use crate::support::*;

/// `POST` of a form; its values are in need of no escape but spaces.
async fn post(server: &Server, path: &str, form: &[(&str, &str)]) -> Reply {
    post_with(server, path, &[], form).await
}

async fn post_with(server: &Server, path: &str, headers: &[(&str, &str)], form: &[(&str, &str)]) -> Reply {
    let form: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", value.replace(' ', "+"))).collect();
    http(server.address, &format!("POST {path}"), &[&[FORM], headers].concat(), &form.join("&")).await
}

/// Tokens by the password grant.
pub(crate) async fn signed_in(server: &Server, more: &[(&str, &str)]) -> Reply {
    let form = [&[("grant_type", "password"), ("username", "ada"), ("password", PASSWORD)][..], more].concat();
    let answer = post(server, "/token", &form).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

async fn refresh(server: &Server, token: &str, more: &[(&str, &str)]) -> Reply {
    post(server, "/token", &[&[("grant_type", "refresh_token"), ("refresh_token", token)][..], more].concat()).await
}

/// What a service is told of a token.
async fn introspect(server: &Server, token: &str) -> Value {
    let bearer = format!("Bearer {}", server.service_credential);
    let answer = post_with(server, "/introspect", &[("authorization", &bearer)], &[("token", token)]).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"), "{answer:?}");
    answer.json()
}

fn assert_invalid_grant(answer: &Reply, code: &str) {
    let said = (answer.status, answer.text("error"), answer.text("code"));
    assert_eq!(said, (400, "invalid_grant".to_owned(), code.to_owned()), "{answer:?}");
    assert_eq!((answer.header("cache-control"), answer.header("www-authenticate")), ("no-store", ""), "{answer:?}");
}

#[tokio::test]
async fn a_refresh_token_gives_new_tokens_once_and_used_again_it_ends_the_session() {
    let mut server = start().await;
    server.sign_up("ada").await;
    let first = signed_in(&server, &[("client_id", "my laptop")]).await;
    let sessions = pb::ListSessionsRequest {};
    let listed = server.accounts.list_sessions(with(&first.text("access_token"), sessions)).await.unwrap().into_inner().sessions;
    assert_eq!(listed[0].client, "my laptop");
    let second = refresh(&server, &first.text("refresh_token"), &[]).await;
    assert_eq!((second.status, second.text("token_type").as_str()), (200, "Bearer"), "{second:?}");
    assert_ne!(second.text("refresh_token"), first.text("refresh_token"));
    assert_eq!((second.text("scope"), second.header("cache-control")), (first.text("scope"), "no-store"));
    // A running answer is not cut: both access tokens are good.
    for token in [&first, &second] {
        server.balance(&token.text("access_token")).await.unwrap();
    }
    let third = refresh(&server, &second.text("refresh_token"), &[]).await;
    assert_invalid_grant(&refresh(&server, &first.text("refresh_token"), &[]).await, "REFRESH_TOKEN_REUSED");
    assert_invalid_grant(&refresh(&server, &third.text("refresh_token"), &[]).await, "CREDENTIAL_REVOKED");
    for token in [&first, &second, &third] {
        assert_refused(server.balance(&token.text("access_token")).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_a_refresh_token_it_is_an_invalid_grant() {
    let mut server = start().await;
    let operator = server.operator().await;
    server.sign_up("ada").await;
    let good = signed_in(&server, &[]).await;
    let (token, access) = (good.text("refresh_token"), good.text("access_token"));
    let key = server.key(&access, pb::CreateApiKeyRequest::default()).await.key;
    let (kept, last) = token.split_at(token.len() - 1);
    let mistyped = format!("{kept}{}", if last == "0" { "1" } else { "0" });
    // The ids of a session are no secrets; its secrets are somebody else's here, with a right checksum.
    let mut forged = format!("{}{}", &token[..32], "a".repeat(44));
    forged.push_str(std::str::from_utf8(&shared::credential_form::checksum(&forged)).unwrap());
    for wrong in [mistyped.as_str(), &forged, &access, &key, "tgr_", "nonsense", &"x".repeat(5000)] {
        assert_invalid_grant(&refresh(&server, wrong, &[]).await, "CREDENTIAL_INVALID");
    }
    let disable = pb::DisableUserRequest { user_name: "ada".into(), ..Default::default() };
    server.admin.disable_user(with(&operator, disable)).await.unwrap();
    assert_invalid_grant(&refresh(&server, &token, &[]).await, "USER_DISABLED");
    server.admin.enable_user(with(&operator, pb::EnableUserRequest { user_name: "ada".into() })).await.unwrap();
    assert_invalid_grant(&refresh(&server, &token, &[]).await, "CREDENTIAL_REVOKED");
}

#[tokio::test]
async fn a_refresh_gives_the_sessions_scopes_or_fewer_and_asked_for_more_it_leaves_the_token_good() {
    let mut server = start().await;
    server.sign_up("ada").await;
    let first = signed_in(&server, &[("scope", "account inference")]).await;
    let narrow = refresh(&server, &first.text("refresh_token"), &[("scope", "account")]).await;
    assert_eq!((narrow.status, narrow.text("scope").as_str()), (200, "account"), "{narrow:?}");
    let refused = server.check(chat(&narrow.text("access_token"), "r1")).await;
    assert_refused(refused, Code::PermissionDenied, ErrorReason::ScopeRequired);
    for more in ["models", "account models", "account inference models", "openid"] {
        let answer = refresh(&server, &narrow.text("refresh_token"), &[("scope", more)]).await;
        assert_eq!((answer.status, answer.text("error").as_str()), (400, "invalid_scope"), "{more}: {answer:?}");
    }
    // The session has what it had.
    let whole = refresh(&server, &narrow.text("refresh_token"), &[]).await;
    assert_eq!((whole.status, whole.text("scope")), (200, first.text("scope")), "{whole:?}");
    server.check(chat(&whole.text("access_token"), "r2")).await.unwrap();
}

#[tokio::test]
async fn whoever_shows_a_token_revokes_it_and_what_is_nobodys_is_answered_alike() {
    let mut server = start().await;
    server.sign_up("ada").await;
    for (by, hint) in [("access_token", ""), ("refresh_token", "refresh_token"), ("refresh_token", "access_token"), ("access_token", "pat")]
    {
        let tokens = signed_in(&server, &[]).await;
        let other = signed_in(&server, &[]).await;
        let shown = tokens.text(by);
        for _ in 0..2 {
            let answer = post(&server, "/revoke", &[("token", &shown), ("token_type_hint", hint), ("client_id", "any")]).await;
            assert_eq!((answer.status, answer.body.as_str(), answer.header("cache-control")), (200, "", "no-store"), "{answer:?}");
        }
        assert_refused(server.balance(&tokens.text("access_token")).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
        assert_invalid_grant(&refresh(&server, &tokens.text("refresh_token"), &[]).await, "CREDENTIAL_REVOKED");
        server.balance(&other.text("access_token")).await.unwrap();
    }
    let access = signed_in(&server, &[]).await.text("access_token");
    let forged = format!("{}AAAA", &access[..access.len() - 4]);
    for nobodys in [forged.as_str(), "nonsense", "tgr_nonsense", "tg_nonsense", &"x".repeat(9000)] {
        let answer = post(&server, "/revoke", &[("token", nobodys)]).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{answer:?}");
    }
    server.balance(&access).await.unwrap();
    for (path, form, status, error) in [
        ("/revoke", &[][..], 400, "invalid_request"),
        ("/revoke", &[("token", "a"), ("token", "b")], 400, "invalid_request"),
        ("/revoke?token=canary", &[("token", "a")], 400, "invalid_request"),
        ("/revoke", &[("token", "a"), ("client_secret", "canary")], 401, "invalid_client"),
    ] {
        let answer = post(&server, path, form).await;
        assert_eq!((answer.status, answer.text("error").as_str()), (status, error), "{answer:?}");
        assert!(!answer.body.contains("canary"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_leaked_api_key_is_revoked_by_showing_it() {
    let mut server = start().await;
    let login = server.user("ada").await;
    let key = server.key(&login, pb::CreateApiKeyRequest::default()).await.key;
    server.balance(&key).await.unwrap();
    assert_eq!(introspect(&server, &key).await["active"], json!(true));
    assert_eq!(post(&server, "/revoke", &[("token", &key)]).await.status, 200);
    assert_refused(server.balance(&key).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    assert_eq!(introspect(&server, &key).await, json!({ "active": false }));
}

#[tokio::test]
async fn a_service_is_told_whose_a_credential_is_and_what_for_while_it_is_in_force() {
    let mut server = start_with(&[("TOLLGATE_ISSUER", "https://auth.example.com")]).await;
    let user = server.sign_up("ada").await;
    let tokens = signed_in(&server, &[("scope", "account")]).await;
    let (access, refresh_token) = (tokens.text("access_token"), tokens.text("refresh_token"));
    let said = introspect(&server, &access).await;
    assert_eq!((&said["active"], &said["sub"], &said["username"]), (&json!(true), &json!(user.user_id), &json!("ada")), "{said}");
    assert_eq!(
        (&said["scope"], &said["token_type"], &said["iss"]),
        (&json!("account"), &json!("Bearer"), &json!("https://auth.example.com"))
    );
    let (iat, exp) = (said["iat"].as_i64().unwrap(), said["exp"].as_i64().unwrap());
    assert_eq!(exp - iat, 1800, "{said}");
    let session = said["sid"].as_str().unwrap().to_owned();
    assert_eq!(session.len(), 12);
    let of_refresh = introspect(&server, &refresh_token).await;
    let (scope, sid, none) = (&of_refresh["scope"], &of_refresh["sid"], &of_refresh["token_type"]);
    assert_eq!((&of_refresh["active"], scope, sid, none), (&json!(true), &json!("account"), &json!(session), &Value::Null));
    let login = server.login("ada").await;
    let request = pb::CreateApiKeyRequest { scopes: vec!["account".into()], ..Default::default() };
    let key = server.key(&login, request).await;
    let of_key = introspect(&server, &key.key).await;
    let id = key.api_key.unwrap().api_key_id;
    assert_eq!((&of_key["api_key_id"], &of_key["scope"], &of_key["exp"]), (&json!(id), &json!("account"), &Value::Null), "{of_key}");
    assert_eq!((&of_key["username"], &of_key["account_id"]), (&json!("ada"), &json!(user.user_id)));
    // What is no longer in force, or never was, is said nothing about.
    let next = refresh(&server, &refresh_token, &[]).await.text("refresh_token");
    assert_eq!(introspect(&server, &refresh_token).await, json!({ "active": false }));
    assert_eq!(introspect(&server, &next).await["active"], json!(true));
    post(&server, "/revoke", &[("token", &next)]).await;
    let forged = format!("{}AAAA", &login[..login.len() - 4]);
    for nothing in [access.as_str(), &next, &refresh_token, &forged, "nonsense", "tg_x", "tgr_x", &server.service_credential] {
        assert_eq!(introspect(&server, nothing).await, json!({ "active": false }), "{nothing}");
    }
}

#[tokio::test]
async fn a_disabled_users_credentials_are_not_active_from_the_next_answer_on() {
    let mut server = start().await;
    let operator = server.operator().await;
    let login = server.user("ada").await;
    let key = server.key(&login, pb::CreateApiKeyRequest::default()).await.key;
    let refresh_token = signed_in(&server, &[]).await.text("refresh_token");
    for credential in [&login, &key, &refresh_token] {
        assert_eq!(introspect(&server, credential).await["active"], json!(true));
    }
    let disable = pb::DisableUserRequest { user_name: "ada".into(), ..Default::default() };
    server.admin.disable_user(with(&operator, disable)).await.unwrap();
    for credential in [&login, &key, &refresh_token] {
        assert_eq!(introspect(&server, credential).await, json!({ "active": false }));
    }
}

#[tokio::test]
async fn an_expired_token_is_not_active() {
    let mut server = start_with(&[("TOLLGATE_ACCESS_TOKEN_TTL", "1s"), ("TOLLGATE_CLOCK_LEEWAY", "0s")]).await;
    let login = server.user("ada").await;
    let give_up = std::time::Instant::now() + Duration::from_secs(40);
    while introspect(&server, &login).await["active"] == json!(true) {
        assert!(std::time::Instant::now() < give_up);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(introspect(&server, &login).await, json!({ "active": false }));
}

#[tokio::test]
async fn only_services_and_operators_are_told_what_a_token_is_and_they_are_judged_before_the_form_is_read() {
    use base64::Engine;
    let mut server = start().await;
    let operator = server.operator().await;
    let login = server.user("ada").await;
    let key = server.key(&login, pb::CreateApiKeyRequest::default()).await.key;
    let basic = |secret: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("resource-server:{secret}")));
    let service = server.service_credential.clone();
    for good in [format!("Bearer {service}"), basic(&service), format!("Bearer {operator}"), basic(&operator)] {
        let answer = post_with(&server, "/introspect", &[("authorization", &good)], &[("token", &login)]).await;
        assert_eq!((answer.status, &answer.json()["active"]), (200, &json!(true)), "{answer:?}");
    }
    let another = new_secret().to_hex();
    for (wrong, status, error) in [
        (format!("Bearer {login}"), 403, "access_denied"),
        (basic(&login), 403, "access_denied"),
        (format!("Bearer {key}"), 401, "invalid_client"),
        (format!("Bearer {another}"), 401, "invalid_client"),
        (basic(&another), 401, "invalid_client"),
        (basic(""), 401, "invalid_client"),
        ("Bearer canary".to_owned(), 401, "invalid_client"),
        ("Basic canary".to_owned(), 400, "invalid_request"),
    ] {
        // A form that would be refused is not looked at.
        let answer = http(server.address, "POST /introspect", &[("authorization", &wrong)], "canary").await;
        assert_eq!((answer.status, answer.text("error").as_str()), (status, error), "{answer:?}");
        assert_eq!(answer.header("www-authenticate").starts_with("Basic "), status == 401, "{answer:?}");
        assert!(!answer.body.contains("canary") && !answer.body.contains("active"), "{answer:?}");
    }
    let nobody = post(&server, "/introspect", &[("token", &login), ("client_secret", &service)]).await;
    assert_eq!((nobody.status, nobody.text("error").as_str()), (401, "invalid_client"), "{nobody:?}");
    let bearer = format!("Bearer {service}");
    for (path, form) in [
        ("/introspect", &[][..]),
        ("/introspect?token=x", &[("token", "x")]),
        ("/introspect", &[("token", "x"), ("caller_address", "here")]),
    ] {
        let answer = post_with(&server, path, &[("authorization", &bearer)], form).await;
        assert_eq!((answer.status, answer.text("error").as_str()), (400, "invalid_request"), "{answer:?}");
    }
    assert_eq!(http(server.address, "GET /introspect", &[], "").await.status, 405);
}

#[tokio::test]
async fn clients_find_every_endpoint_by_the_configured_issuer_or_by_the_name_that_they_called() {
    let metadata = "GET /.well-known/oauth-authorization-server";
    let server = start_with(&[("TOLLGATE_ISSUER", "https://auth.example.com/tollgate")]).await;
    let answer = http(server.address, metadata, &[], "").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{answer:?}");
    assert_eq!(answer.header("cache-control"), "public, max-age=3600");
    let said = answer.json();
    assert_eq!(
        (&said["issuer"], &said["token_endpoint"]),
        (&json!("https://auth.example.com/tollgate"), &json!("https://auth.example.com/tollgate/token"))
    );
    assert_eq!(said["response_types_supported"], json!(["none"]));
    assert_eq!(said["grant_types_supported"], json!(["password", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"]));
    assert_eq!(said["device_authorization_endpoint"], json!("https://auth.example.com/tollgate/device_authorization"));
    assert_eq!(said["scopes_supported"], json!(shared::scope::ALL));
    assert_eq!(said["jwks_uri"], json!("https://auth.example.com/tollgate/.well-known/jwks.json"));
    let server = start().await;
    let answer = http(server.address, metadata, &[], "").await;
    assert_eq!((answer.text("issuer").as_str(), answer.header("cache-control")), ("http://tollgate", "no-store"), "{answer:?}");
    let said = answer.json();
    for (member, method, path) in [
        ("token_endpoint", "POST", "/token"),
        ("revocation_endpoint", "POST", "/revoke"),
        ("introspection_endpoint", "POST", "/introspect"),
    ] {
        assert_eq!(said[member], json!(format!("http://tollgate{path}")));
        assert_ne!(http(server.address, &format!("{method} {path}"), &[], "").await.status, 404, "{path}");
    }
    assert_eq!(http(server.address, "GET /.well-known/jwks.json", &[], "").await.status, 200);
}

#[tokio::test]
async fn the_metadata_leads_to_the_keys_only_where_tokens_name_its_issuer() {
    for (variables, name) in [(&[][..], "tollgate"), (&[("TOLLGATE_ISSUER", "https://auth.example.com")], "https://auth.example.com")] {
        let mut server = start_with(&[variables, &[("TOLLGATE_TOKEN_ALGORITHM", "EdDSA")]].concat()).await;
        let token = server.user("ada").await;
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&claims).unwrap()["iss"], json!(name));
        let said = http(server.address, "GET /.well-known/oauth-authorization-server", &[], "").await.json();
        assert_eq!(said.get("jwks_uri").is_some(), said["issuer"] == json!(name), "{said}");
    }
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may_use_the_endpoints() {
    let mut server = start_with(&[("TOLLGATE_CORS_ORIGINS", "https://app.example.com")]).await;
    server.sign_up("ada").await;
    let origin = ("origin", "https://app.example.com");
    for path in ["/token", "/revoke", "/introspect"] {
        let asks = [origin, ("access-control-request-method", "POST"), ("access-control-request-headers", "authorization,content-type")];
        let answer = http(server.address, &format!("OPTIONS {path}"), &asks, "").await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, origin.1), "{answer:?}");
    }
    for path in ["/.well-known/jwks.json", "/.well-known/oauth-authorization-server"] {
        let answer = http(server.address, &format!("GET {path}"), &[origin], "").await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, origin.1), "{answer:?}");
    }
}

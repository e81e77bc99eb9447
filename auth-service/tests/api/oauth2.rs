//! OAuth2's `/token`, and what its tokens open.

use std::net::IpAddr;

use shared::ErrorReason;
use shared::proto::auth as pb;
use tonic::Code;

use crate::http::*;
use crate::support::*;

/// `POST /token` with this form.
async fn token(server: &Server, form: &str) -> Reply {
    http(server.address, "POST /token", &[FORM], form).await
}

/// A form of the password grant, its values in need of no escape but spaces.
fn grant(name: &str, password: &str) -> String {
    format!("grant_type=password&username={name}&password={}", password.replace(' ', "+"))
}

#[tokio::test]
async fn name_and_password_give_a_bearer_token_that_is_good_on_every_door_and_is_stored_nowhere() {
    let mut server = start_with(&[("TOLLGATE_ACCESS_TOKEN_TTL", "10m")]).await;
    server.sign_up("ada").await;
    let answer = token(&server, &grant("Ada", PASSWORD)).await;
    assert_eq!((answer.status, answer.header("cache-control"), answer.header("pragma")), (200, "no-store", "no-cache"), "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    let json = answer.json();
    assert_eq!(
        (&json["token_type"], &json["expires_in"], &json["scope"]),
        (&"Bearer".into(), &600.into(), &"inference models account".into())
    );
    let access_token = answer.text("access_token");
    assert_eq!(server.balance(&access_token).await.unwrap().available_credits(), 10);
    server.check(chat(&access_token, "r1")).await.unwrap();
    server.key(&access_token, pb::CreateApiKeyRequest::default()).await;
}

#[tokio::test]
async fn a_password_may_hold_what_a_form_escapes_and_arrives_as_it_is() {
    let mut server = start().await;
    let password = "a+b&c=d%e ünï;\u{1f511} fifteen";
    let request = pb::SignUpRequest { user_name: "ada".into(), password: password.into(), ..Default::default() };
    server.accounts.sign_up(request).await.unwrap();
    let escaped: String = password.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let answer = token(&server, &format!("password={escaped}&username=ada&grant_type=password")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn unknown_user_wrong_password_and_disabled_user_are_answered_alike() {
    let mut server = start().await;
    let operator = server.operator().await;
    for name in ["ada", "bob"] {
        server.sign_up(name).await;
    }
    let bob = pb::DisableUserRequest { user_name: "bob".into(), ..Default::default() };
    server.admin.disable_user(with(&operator, bob)).await.unwrap();
    let forms = [grant("ada", "a wrong password"), grant("nobody", PASSWORD), grant("bob", PASSWORD), grant("?", PASSWORD)];
    let mut bodies = Vec::new();
    for form in &forms {
        let answer = token(&server, form).await;
        assert_eq!((answer.status, answer.text("error").as_str(), answer.text("code").as_str()), (400, "invalid_grant", "LOGIN_FAILED"));
        assert_eq!((answer.header("cache-control"), answer.header("www-authenticate")), ("no-store", ""), "{answer:?}");
        bodies.push(answer.body);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
}

#[tokio::test]
async fn guesses_at_token_and_at_login_are_counted_together() {
    let mut server = start().await;
    server.sign_up("ada").await;
    for number in 0..3 {
        let guess = server.try_login("ada", &format!("a wrong guess, number {number}")).await;
        assert_refused(guess, Code::Unauthenticated, ErrorReason::LoginFailed);
    }
    for number in 3..5 {
        assert_eq!(token(&server, &grant("ADA", &format!("a wrong guess, number {number}"))).await.text("error"), "invalid_grant");
    }
    let answer = token(&server, &grant("ada", "one more guess")).await;
    let said = (answer.status, answer.text("error"), answer.text("code"));
    assert_eq!(said, (429, "temporarily_unavailable".to_owned(), "RATE_LIMITED".to_owned()), "{answer:?}");
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{answer:?}");
    assert_refused(server.try_login("ada", "another guess").await, Code::ResourceExhausted, ErrorReason::RateLimited);
    // Another address has guesses of its own.
    let elsewhere = http_from(IpAddr::from([127, 0, 0, 2]), server.address, "POST /token", &[FORM], &grant("ada", "a guess")).await;
    assert_eq!(elsewhere.text("error"), "invalid_grant");
}

#[tokio::test]
async fn of_a_hundred_guesses_at_once_by_both_doors_five_are_compared() {
    let mut server = start().await;
    server.sign_up("ada").await;
    let mut guesses = tokio::task::JoinSet::new();
    for number in 0..100 {
        let (address, mut accounts, password) = (server.address, server.accounts.clone(), format!("a wrong guess, number {number}"));
        guesses.spawn(async move {
            if number % 2 == 0 {
                return http(address, "POST /token", &[FORM], &grant("ada", &password)).await.text("code");
            }
            let login = pb::LoginRequest { user_name: "ada".into(), password, ..Default::default() };
            let status = accounts.login(login).await.unwrap_err();
            shared::error::reason_name(shared::error::reason_of(&status).unwrap()).to_owned()
        });
    }
    let reasons = guesses.join_all().await;
    let compared = reasons.iter().filter(|reason| *reason == "LOGIN_FAILED").count();
    assert_eq!((compared, reasons.iter().filter(|reason| *reason == "RATE_LIMITED").count()), (5, 95), "{reasons:?}");
}

#[tokio::test]
async fn what_is_no_request_for_a_token_is_refused_in_oauth2s_words_and_repeats_nothing() {
    let mut server = start().await;
    server.sign_up("ada").await;
    let good = grant("ada", PASSWORD);
    let json = r#"{"grant_type":"password","username":"ada","password":"canary"}"#;
    let (twice, long) = (format!("{good}&password=canary"), format!("{good}&padding={}", "x".repeat(20_000)));
    let scope = format!("{good}&scope=openid+canary");
    let secret = format!("{good}&client_id=me&client_secret=canary");
    for (request, headers, body, status, error) in [
        ("POST /token", &[("content-type", "application/json")][..], json, 415, "invalid_request"),
        ("POST /token", &[], &good, 415, "invalid_request"),
        ("POST /token", &[FORM], "", 400, "invalid_request"),
        ("POST /token", &[FORM], &twice, 400, "invalid_request"),
        ("POST /token", &[FORM], "username=ada&password=canary", 400, "invalid_request"),
        ("POST /token", &[FORM], "grant_type=password&password=canary", 400, "invalid_request"),
        ("POST /token", &[FORM], "grant_type=password&username=ada&password=", 400, "invalid_request"),
        ("POST /token", &[FORM], "grant_type=refresh_token&refresh_token=canary", 400, "invalid_grant"),
        ("POST /token", &[FORM], "grant_type=refresh_token", 400, "invalid_request"),
        ("POST /token", &[FORM], "grant_type=authorization_code&code=canary", 400, "unsupported_grant_type"),
        ("POST /token", &[FORM], "grant_type=client_credentials", 400, "unsupported_grant_type"),
        ("POST /token", &[FORM], &scope, 400, "invalid_scope"),
        ("POST /token", &[FORM], &secret, 401, "invalid_client"),
        ("POST /token", &[FORM, ("authorization", "Basic bWU6Y2FuYXJ5")], &good, 401, "invalid_client"),
        ("POST /token", &[FORM, ("authorization", "Basic canary")], &good, 400, "invalid_request"),
        ("POST /token?grant_type=password&username=ada&password=canary", &[FORM], "", 400, "invalid_request"),
        ("POST /token?x=1", &[FORM], &good, 400, "invalid_request"),
        ("POST /token", &[FORM], &long, 413, "invalid_request"),
    ] {
        let answer = http(server.address, request, headers, body).await;
        assert_eq!((answer.status, answer.text("error").as_str()), (status, error), "{request} {headers:?} {body}: {answer:?}");
        assert_eq!(answer.header("cache-control"), "no-store", "{answer:?}");
        assert!(!answer.text("error_description").is_empty() && !answer.text("code").is_empty(), "{answer:?}");
        assert!(!answer.body.contains("canary"), "{answer:?}");
        assert_eq!(answer.header("www-authenticate").starts_with("Basic "), status == 401, "{answer:?}");
    }
    for method in ["GET", "PUT", "DELETE"] {
        let answer = http(server.address, &format!("{method} /token"), &[], "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, "POST"), "{answer:?}");
    }
}

#[tokio::test]
async fn what_clients_send_beside_the_grant_keeps_nobody_out() {
    let mut server = start().await;
    server.sign_up("ada").await;
    let good = grant("ada", PASSWORD);
    for (headers, more) in [
        (&[("content-type", "application/x-www-form-urlencoded; charset=UTF-8")][..], ""),
        (&[FORM, ("authorization", "Basic Og==")], ""),
        (&[FORM, ("authorization", "Basic bWU6")], "&client_id=me"),
        (&[FORM, ("authorization", "Bearer an-old-one")], ""),
        (&[FORM], "&scope=&client_id=&client_secret="),
        (&[FORM], "&client_id=me&audience=tollgate&state=x"),
    ] {
        let answer = http(server.address, "POST /token", headers, &format!("{good}{more}")).await;
        assert_eq!(answer.status, 200, "{headers:?} {more}: {answer:?}");
    }
}

#[tokio::test]
async fn a_token_is_good_for_the_scopes_that_were_asked_for_and_for_no_more() {
    let mut server = start().await;
    server.sign_up("ada").await;
    let asked = async |scope: &str| {
        let answer = token(&server, &format!("{}&scope={scope}", grant("ada", PASSWORD))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        (answer.text("access_token"), answer.text("scope"))
    };
    let (reads, said) = asked("account").await;
    assert_eq!(said, "account");
    let (chats, said) = asked("inference").await;
    assert_eq!(said, "inference");
    let (both, said) = asked("account+inference").await;
    assert_eq!(said, "inference account");
    server.balance(&reads).await.unwrap();
    server.check(chat(&chats, "r1")).await.unwrap();
    server.balance(&both).await.unwrap();
    server.check(chat(&both, "r2")).await.unwrap();
    assert_refused(server.balance(&chats).await, Code::PermissionDenied, ErrorReason::ScopeRequired);
    assert_refused(server.check(chat(&reads, "r3")).await, Code::PermissionDenied, ErrorReason::ScopeRequired);
    // Keys could do more than the token that made them.
    for limited in [&reads, &chats, &both] {
        let made = server.accounts.create_api_key(with(limited, pb::CreateApiKeyRequest::default())).await;
        assert_refused(made, Code::PermissionDenied, ErrorReason::ScopeRequired);
        let listed = server.accounts.list_api_keys(with(limited, pb::ListApiKeysRequest {})).await;
        assert_refused(listed, Code::PermissionDenied, ErrorReason::ScopeRequired);
    }
}

/// `GET /users/me`, or with a query, with this `authorization` header.
async fn me(server: &Server, path: &str, authorization: Option<&str>) -> Reply {
    let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
    http(server.address, &format!("GET {path}"), &headers, "").await
}

#[tokio::test]
async fn users_me_tells_who_a_credential_belongs_to_and_the_credits_where_it_may_read_them() {
    let mut server = start().await;
    let user = server.sign_up("ada").await;
    let login = server.login("ada").await;
    let answer = me(&server, "/users/me", Some(&format!("bearer {login}"))).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"), "{answer:?}");
    let json = answer.json();
    assert_eq!((&json["user_name"], &json["user_id"], &json["role"]), (&"ada".into(), &user.user_id.clone().into(), &"user".into()));
    assert_eq!((&json["account_id"], json["api_key_id"].is_null(), &json["disabled"]), (&user.user_id.into(), true, &false.into()));
    assert_eq!((&json["balance"]["available_credits"], &json["balance"]["held_credits"]), (&10.into(), &0.into()));
    assert!(json["created_at"].as_str().unwrap().ends_with('Z'), "{json}");
    let narrow = pb::CreateApiKeyRequest { scopes: vec!["inference".into()], ..Default::default() };
    for (request, reads) in [(pb::CreateApiKeyRequest::default(), true), (narrow, false)] {
        let made = server.key(&login, request).await;
        let id = made.api_key.unwrap().api_key_id;
        for header in ["authorization", "x-api-key"] {
            let value = if header == "authorization" { format!("Bearer {}", made.key) } else { made.key.clone() };
            let json = http(server.address, "GET /users/me", &[(header, &value)], "").await.json();
            assert_eq!((&json["user_name"], &json["api_key_id"]), (&"ada".into(), &id.clone().into()), "{json}");
            assert_eq!(json["balance"].is_object(), reads, "{json}");
        }
    }
}

#[tokio::test]
async fn a_credential_that_is_not_good_is_challenged_as_rfc_6750_says() {
    let mut server = start().await;
    let login = server.user("ada").await;
    let revoked = server.key(&login, pb::CreateApiKeyRequest::default()).await;
    let id = revoked.api_key.unwrap().api_key_id;
    server.accounts.revoke_api_key(with(&login, pb::RevokeApiKeyRequest { api_key_id: id, ..Default::default() })).await.unwrap();
    let missing = me(&server, "/users/me", None).await;
    assert_eq!((missing.status, missing.header("www-authenticate")), (401, "Bearer realm=\"tollgate\""), "{missing:?}");
    assert_eq!(missing.text("code"), "CREDENTIAL_MISSING");
    let forged = format!("{}AAAA", &login[..login.len() - 4]);
    for (wrong, code) in [
        (format!("Bearer {forged}"), "CREDENTIAL_INVALID"),
        (format!("Bearer {}", revoked.key), "CREDENTIAL_REVOKED"),
        ("Bearer canary".to_owned(), "CREDENTIAL_INVALID"),
        ("Basic YWRhOmNhbmFyeQ==".to_owned(), "CREDENTIAL_INVALID"),
    ] {
        let answer = me(&server, "/users/me", Some(&wrong)).await;
        assert_eq!((answer.status, answer.text("error").as_str(), answer.text("code").as_str()), (401, "invalid_token", code), "{wrong}");
        assert!(answer.header("www-authenticate").starts_with("Bearer realm=\"tollgate\", error=\"invalid_token\", error_description=\""));
        assert!(!answer.body.contains("canary"), "{answer:?}");
    }
    let in_url = me(&server, &format!("/users/me?access_token={login}"), Some(&format!("Bearer {login}"))).await;
    assert_eq!((in_url.status, in_url.text("error").as_str()), (400, "invalid_request"), "{in_url:?}");
}

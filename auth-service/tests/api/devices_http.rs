//! Devices without a browser over HTTP, as RFC 8628 has it.

use shared::ErrorReason;
use shared::proto::auth as pb;
use tonic::Code;

use crate::devices::answer;
use crate::http::*;
use crate::support::*;

const GRANT: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code";

async fn begin(server: &Server, form: &str) -> Reply {
    http(server.address, "POST /device_authorization", &[FORM], form).await
}

/// A device asks; what it is told.
async fn ask(server: &Server, device_code: &str) -> (u16, String, String) {
    let answer = http(server.address, "POST /token", &[FORM], &format!("{GRANT}&device_code={device_code}&client_id=notebook")).await;
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"), "{answer:?}");
    assert!(answer.header("www-authenticate").is_empty() && !answer.body.contains(device_code), "{answer:?}");
    (answer.status, answer.text("error"), answer.text("access_token"))
}

#[tokio::test]
async fn a_device_is_told_authorization_pending_slow_down_and_its_tokens_and_then_expired_token() {
    let mut server = start().await;
    let token = server.user("ada").await;
    let begun = begin(&server, "client_id=notebook&scope=account+inference").await;
    assert_eq!((begun.status, begun.header("cache-control")), (200, "no-store"), "{begun:?}");
    let (device_code, user_code) = (begun.text("device_code"), begun.text("user_code"));
    let json = begun.json();
    assert_eq!((&json["expires_in"], &json["interval"]), (&600.into(), &5.into()));
    assert_eq!(begun.text("verification_uri"), "http://tollgate/device");
    assert_eq!(begun.text("verification_uri_complete"), format!("http://tollgate/device?user_code={user_code}"));
    let said = |status: u16, error: &str| (status, error.to_owned(), String::new());
    assert_eq!(ask(&server, &device_code).await, said(400, "authorization_pending"));
    assert_eq!(ask(&server, &device_code).await, said(400, "slow_down"));
    answer(&mut server, &token, &user_code, false).await.unwrap();
    let (status, error, access_token) = ask(&server, &device_code).await;
    assert_eq!((status, error.as_str()), (200, ""));
    server.balance(&access_token).await.unwrap();
    server.check(chat(&access_token, "r1")).await.unwrap();
    let keys = server.accounts.list_api_keys(with(&access_token, pb::ListApiKeysRequest {})).await;
    assert_refused(keys, Code::PermissionDenied, ErrorReason::ScopeRequired);
    assert_eq!(ask(&server, &device_code).await, said(400, "expired_token"));
    // As does whatever was never a device code.
    for nonsense in ["tgd_", "canary", &device_code.to_lowercase()] {
        assert_eq!(ask(&server, nonsense).await.1, "expired_token");
    }
    let denied = begin(&server, "").await;
    answer(&mut server, &token, &denied.text("user_code"), true).await.unwrap();
    assert_eq!(ask(&server, &denied.text("device_code")).await, said(400, "access_denied"));
}

#[tokio::test]
async fn where_to_approve_a_device_is_the_configured_address_or_the_host_that_it_asked() {
    let server = start_with(&[("TOLLGATE_ISSUER", "https://auth.example.com")]).await;
    assert_eq!(begin(&server, "").await.text("verification_uri"), "https://auth.example.com/device");
    let server = start().await;
    for (host, uri) in [("a.example:8080", "http://a.example:8080/device"), ("[::1]:50051", "http://[::1]:50051/device")] {
        let begun = http(server.address, "POST /device_authorization", &[FORM, ("host", host)], "").await;
        assert_eq!(begun.text("verification_uri"), uri);
    }
    let nowhere = http(server.address, "POST /device_authorization", &[FORM, ("host", "u@a")], "").await;
    assert_eq!((nowhere.status, nowhere.text("error").as_str()), (400, "invalid_request"), "{nowhere:?}");
    // Over Connect as over gRPC.
    let json = [("content-type", "application/json"), ("connect-protocol-version", "1")];
    let begun = http(server.address, "POST /tollgate.auth.v1.Accounts/BeginDeviceSignIn", &json, r#"{"client":"n"}"#).await;
    assert_eq!((begun.status, begun.text("verificationUri").as_str()), (200, "http://tollgate/device"), "{begun:?}");
}

#[tokio::test]
async fn what_is_no_beginning_of_a_devices_sign_in_is_refused_in_oauth2s_words_and_repeats_nothing() {
    let server = start().await;
    let long = format!("client_id={}", "x".repeat(201));
    for (request, headers, body, status, error) in [
        ("POST /device_authorization", &[("content-type", "application/json")][..], r#"{"client_id":"canary"}"#, 415, "invalid_request"),
        ("POST /device_authorization?client_id=canary", &[FORM], "", 400, "invalid_request"),
        ("POST /device_authorization", &[FORM], "scope=canary", 400, "invalid_scope"),
        ("POST /device_authorization", &[FORM], "client_id=a%E2%80%AEcanary", 400, "invalid_request"),
        ("POST /device_authorization", &[FORM], &long, 400, "invalid_request"),
        ("POST /device_authorization", &[FORM], "client_id=a&client_id=canary", 400, "invalid_request"),
        ("POST /device_authorization", &[FORM], "client_id=a&client_secret=canary", 401, "invalid_client"),
        ("POST /token", &[FORM], GRANT, 400, "invalid_request"),
        ("POST /token", &[FORM], "grant_type=device_code&device_code=canary", 400, "unsupported_grant_type"),
    ] {
        let answer = http(server.address, request, headers, body).await;
        assert_eq!((answer.status, answer.text("error").as_str()), (status, error), "{request} {body}: {answer:?}");
        assert!(!answer.body.contains("canary") && answer.header("cache-control") == "no-store", "{answer:?}");
    }
    for _ in 0..10 {
        assert_eq!(begin(&server, "").await.status, 200);
    }
    let flood = begin(&server, "").await;
    assert_eq!((flood.status, flood.text("error").as_str(), flood.text("code").as_str()), (429, "temporarily_unavailable", "RATE_LIMITED"));
    assert!((1..=7).contains(&flood.header("retry-after").parse::<u64>().unwrap()), "{flood:?}");
}

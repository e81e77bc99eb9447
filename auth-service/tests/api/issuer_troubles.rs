//! Issuers that change their keys, are down, slow, or answer what they must not; and floods that are sent because of them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::ErrorReason;
use shared::error::retry_delay_of;
use tokio::time::timeout;
use tonic::Code;

use crate::issuer_sign_in::{CALLBACK, assert_invalid, server_of};
use crate::oidc_issuer::{IssuerKey, OidcIssuer, Trouble};
use crate::support::assert_refused;

/// By when what has a time of some seconds is over.
const SOON: Duration = Duration::from_secs(40);

#[tokio::test]
async fn a_new_key_is_known_at_once_and_a_flood_of_unknown_kids_causes_few_fetches() {
    let issuer = OidcIssuer::start().await;
    let mut server = server_of(&[&issuer], &[]).await;
    server.exchange_token(issuer.id_token(json!({}))).await.unwrap();
    let old = issuer.behaviour().signer.clone();
    issuer.rotate("key-2", true);
    server.exchange_token(issuer.id_token(json!({}))).await.unwrap();
    assert_eq!((issuer.requests("/jwks"), issuer.requests("/.well-known/openid-configuration")), (2, 2));
    let claims = issuer.claims();
    let by_old = old.sign(&json!({ "alg": "RS256", "kid": "key-1" }), &claims);
    server.exchange_token(by_old).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..300 {
        let mut accounts = server.accounts.clone();
        let id_token = old.sign(&json!({ "alg": "RS256", "kid": format!("unknown-{number}") }), &claims);
        tasks.spawn(async move {
            let request = shared::proto::auth::ExchangeIdTokenRequest { id_token, ..Default::default() };
            accounts.exchange_id_token(request).await.unwrap_err()
        });
    }
    let refused = tasks.join_all().await;
    assert!(refused.iter().all(|status| shared::error::reason_of(status) == Some(ErrorReason::IdTokenInvalid)), "{:?}", refused[0]);
    assert_eq!(issuer.requests("/jwks"), 2, "so soon after it was read for one that was there");
    // A key that is no longer published, once the keys were read again, is nobody's: here by another server.
    issuer.rotate("key-3", false);
    let mut later = server_of(&[&issuer], &[]).await;
    assert_invalid(later.exchange_token(old.sign(&json!({ "alg": "RS256", "kid": "key-1" }), &issuer.claims())).await);
    later.exchange_token(issuer.id_token(json!({}))).await.unwrap();
}

#[tokio::test]
async fn the_document_and_the_keys_are_read_once_for_many_and_not_again_while_they_may_be_kept() {
    let issuer = OidcIssuer::start().await;
    let server = server_of(&[&issuer], &[]).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let mut accounts = server.accounts.clone();
        let request = shared::proto::auth::BeginSignInRequest { issuer: "one".into(), redirect_uri: CALLBACK.into() };
        tasks.spawn(async move { accounts.begin_sign_in(request).await.unwrap().into_inner() });
    }
    let begun = tasks.join_all().await;
    assert!(begun.iter().all(|one| one.authorization_url.starts_with(&issuer.url())));
    assert_eq!(issuer.requests("*"), 2);
}

#[tokio::test]
async fn an_issuer_that_gives_no_answer_that_can_be_used_is_unavailable_in_seconds_and_costs_nobody_else_anything() {
    let elsewhere = OidcIssuer::start().await;
    let status = || Trouble::Status("500 Internal Server Error".to_owned());
    let to_elsewhere = || Trouble::Redirect(format!("{}/.well-known/openid-configuration", elsewhere.url()));
    let troubles = [
        ("*", status()),
        ("*", Trouble::Silence),
        ("*", Trouble::Garbage),
        ("*", Trouble::Endless),
        ("*", to_elsewhere()),
        ("/jwks", status()),
        ("/jwks", Trouble::Endless),
        ("/jwks", Trouble::Redirect(format!("{}/jwks", elsewhere.url()))),
    ];
    // One after the other: what the next one's keys and server take is not the time that this one's caller waits.
    for (path, trouble) in troubles {
        let (broken, good) = (OidcIssuer::start().await, OidcIssuer::start().await);
        broken.trouble(path, Some(trouble.clone()));
        let mut server = server_of(&[&broken, &good], &[]).await;
        let mut other = server.accounts.clone();
        let token = broken.id_token(json!({}));
        let asked = Instant::now();
        let waits = tokio::spawn(async move {
            let request = shared::proto::auth::ExchangeIdTokenRequest { id_token: token, ..Default::default() };
            other.exchange_id_token(request).await
        });
        // Meanwhile, and after it: who had to wait for it would wait for five seconds.
        assert_eq!(server.sign_in_by_code(&good, "two").await.unwrap().user_name, "ada");
        assert!(asked.elapsed() < Duration::from_secs(4), "{trouble:?}: {:?}", asked.elapsed());
        let waits = timeout(SOON, waits).await.expect("it is given up").unwrap();
        let unavailable = assert_refused(waits, Code::Unavailable, ErrorReason::IssuerUnavailable);
        assert!(retry_delay_of(&unavailable).is_some_and(|delay| delay >= Duration::from_secs(1)));
        assert!(broken.sent() < 8 << 20, "{trouble:?}: {}", broken.sent());
        // Others aren't kept waiting by what has just failed, and it is not asked for each of them.
        let requests = broken.requests("*");
        for _ in 0..20 {
            assert_refused(server.begin_at("one", CALLBACK).await, Code::Unavailable, ErrorReason::IssuerUnavailable);
        }
        assert_eq!(broken.requests("*"), requests, "{trouble:?}");
    }
    assert_eq!(elsewhere.requests("*"), 0, "nobody was sent there");
}

#[tokio::test]
async fn a_token_endpoint_that_gives_no_answer_that_can_be_used_is_unavailable_and_says_nothing_of_the_code() {
    let issuer = OidcIssuer::start().await;
    let mut server = server_of(&[&issuer], &[]).await;
    for trouble in [Trouble::Status("503 Service Unavailable".to_owned()), Trouble::Garbage, Trouble::Endless, Trouble::Silence] {
        let proof = server.proof_by_code(&issuer, "one").await;
        issuer.trouble("/token", Some(trouble.clone()));
        let exchanged = timeout(SOON, server.exchange(proof.clone())).await.expect("it is given up");
        let refused = assert_refused(exchanged, Code::Unavailable, ErrorReason::IssuerUnavailable);
        assert!(!refused.message().contains(&proof.authorization_code), "{refused:?}");
        issuer.trouble("/token", None);
        // It was never used.
        server.exchange(proof).await.unwrap();
    }
    // The client's secret is wrong: that is the operator's business, and not the caller's.
    issuer.behaviour().client_secret = Some("another".to_owned());
    assert_refused(server.sign_in_by_code(&issuer, "one").await, Code::Unavailable, ErrorReason::IssuerUnavailable);
}

#[tokio::test]
async fn a_document_that_names_another_issuer_or_no_algorithm_of_ours_or_endpoints_elsewhere_is_not_used() {
    let other = OidcIssuer::start().await;
    for document in [
        json!({ "issuer": other.url() }),
        json!({ "issuer": "https://accounts.google.com" }),
        json!({ "issuer": null }),
        json!({ "id_token_signing_alg_values_supported": ["HS256", "none"] }),
        json!({ "id_token_signing_alg_values_supported": [] }),
        json!({ "jwks_uri": "http://issuer.example/jwks" }),
        json!({ "jwks_uri": "file:///etc/passwd" }),
        json!({ "authorization_endpoint": "javascript:alert(1)" }),
        json!({ "token_endpoint": "http://issuer.example/token" }),
    ] {
        let issuer = OidcIssuer::start().await;
        issuer.behaviour().document = document.as_object().unwrap().clone();
        let mut server = server_of(&[&issuer], &[]).await;
        let begun = server.begin_at("one", CALLBACK).await;
        assert_refused(begun, Code::Unavailable, ErrorReason::IssuerUnavailable);
    }
}

#[tokio::test]
async fn keys_of_a_name_that_two_have_and_keys_that_are_not_for_signing_verify_nothing() {
    let issuer = OidcIssuer::start().await;
    let twin = IssuerKey::new("key-1", jsonwebtoken::Algorithm::RS256);
    issuer.behaviour().keys.push(twin);
    let mut server = server_of(&[&issuer], &[]).await;
    assert_invalid(server.exchange_token(issuer.id_token(json!({}))).await);
    let _: Value = issuer.claims();
}

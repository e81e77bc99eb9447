//! The public keys of access tokens, for services that verify them by themselves.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use shared::ErrorReason;
use shared::proto::auth as pb;
use tonic::Code;

use crate::http::*;
use crate::support::*;

const EDDSA: (&str, &str) = ("TOLLGATE_TOKEN_ALGORITHM", "EdDSA");

#[tokio::test]
async fn others_verify_tokens_by_the_published_keys_and_both_doors_publish_the_same() {
    let mut server = start_with(&[EDDSA]).await;
    let token = server.user("mario").await;
    let answer = http(server.address, "GET /.well-known/jwks.json", &[], "").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{answer:?}");
    assert_eq!(answer.header("cache-control"), "public, max-age=3600");
    let set: JwkSet = serde_json::from_str(&answer.body).unwrap();
    let header = jsonwebtoken::decode_header(&token).unwrap();
    assert_eq!((header.alg, header.typ.as_deref()), (Algorithm::EdDSA, Some("at+jwt")));
    let jwk = set.find(&header.kid.unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&["tollgate"]);
    validation.set_issuer(&["tollgate"]);
    let claims = jsonwebtoken::decode::<Value>(&token, &DecodingKey::from_jwk(jwk).unwrap(), &validation).unwrap().claims;
    assert!(claims["sub"].as_str().is_some_and(|id| id.len() == 16), "{claims}");
    let keys = server.accounts.get_jwks(pb::GetJwksRequest {}).await.unwrap().into_inner().keys;
    let as_json =
        |key: &pb::JsonWebKey| json!({ "kty": key.kty, "crv": key.crv, "alg": key.alg, "use": key.r#use, "kid": key.kid, "x": key.x });
    let published: Vec<Value> = keys.iter().map(as_json).collect();
    assert_eq!((answer.json(), keys.len()), (json!({ "keys": published }), 3));
    server.balance(&token).await.unwrap();
    // No private part.
    assert!(!answer.body.contains("\"d\""), "{}", answer.body);
}

#[tokio::test]
async fn where_a_secret_signs_no_key_is_published() {
    let mut server = start().await;
    let answer = http(server.address, "GET /.well-known/jwks.json", &[], "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"keys":[]}"#));
    assert!(server.accounts.get_jwks(pb::GetJwksRequest {}).await.unwrap().into_inner().keys.is_empty());
}

#[tokio::test]
async fn the_configured_issuer_is_named_in_tokens_and_tokens_from_before_are_taken() {
    let mut server = start_with(&[("TOLLGATE_ISSUER", "https://auth.example.com")]).await;
    let user = server.sign_up("mario").await;
    let token = server.login("mario").await;
    let claims = jsonwebtoken::dangerous::insecure_decode_claims::<Value>(&token).unwrap();
    assert_eq!(claims["iss"], "https://auth.example.com");
    server.balance(&token).await.unwrap();
    let before =
        crate::hostile_tokens::sign_right(&server, &crate::hostile_tokens::header(&server), &crate::hostile_tokens::claims(&user.user_id));
    server.balance(&before).await.unwrap();
}

#[tokio::test]
async fn keys_change_by_themselves_and_each_was_published_before_it_signs() {
    let times = [("TOLLGATE_TOKEN_KEY_PERIOD", "10s"), ("TOLLGATE_ACCESS_TOKEN_TTL", "5s"), ("TOLLGATE_CLOCK_LEEWAY", "1s")];
    let mut server = start_with(&[&[EDDSA], &times[..]].concat()).await;
    server.sign_up("mario").await;
    let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let first = server.login("mario").await;
    let answer = http(server.address, "GET /.well-known/jwks.json", &[], "").await;
    assert_eq!(answer.header("cache-control"), "public, max-age=2");
    let published: Vec<String> =
        answer.json()["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect();
    let give_up = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let next = loop {
        let token = server.login("mario").await;
        // What was signed just now is good, also around the turn.
        server.balance(&token).await.unwrap();
        if kid(&token) != kid(&first) {
            break kid(&token);
        }
        assert!(std::time::Instant::now() < give_up);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };
    assert!(published.contains(&next), "{published:?} {next}");
    let now = http(server.address, "GET /.well-known/jwks.json", &[], "").await;
    assert!(now.body.contains(&kid(&first)) && now.json()["keys"].as_array().unwrap().len() == 3, "{now:?}");
}

#[tokio::test]
async fn a_refresh_token_opens_nothing_and_an_access_token_refreshes_nothing() {
    let mut server = start_with(&[EDDSA]).await;
    server.sign_up("mario").await;
    let login = pb::LoginRequest { user_name: "mario".into(), password: PASSWORD.into(), ..Default::default() };
    let pb::LoginResponse { access_token, refresh_token, .. } = server.accounts.login(login).await.unwrap().into_inner();
    assert_refused(server.balance(&refresh_token).await, Code::Unauthenticated, ErrorReason::CredentialInvalid);
    assert_refused(server.check(chat(&refresh_token, "r1")).await, Code::Unauthenticated, ErrorReason::CredentialInvalid);
    let refreshed = server.accounts.refresh(pb::RefreshRequest { refresh_token: access_token.clone() }).await;
    assert_refused(refreshed, Code::Unauthenticated, ErrorReason::CredentialInvalid);
    server.balance(&access_token).await.unwrap();
}

//! Access tokens that somebody made up (RFC 8725), each refused as forged; and the good ones beside them.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "the parts that the tests share")]

use auth_service::access_token::SigningSecret;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use shared::ErrorReason;
use shared::secret::Secret;
use tonic::Code;

use crate::support::*;

pub(crate) fn now() -> i64 {
    i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

pub(crate) fn header(server: &Server) -> Value {
    json!({ "alg": "HS256", "typ": "at+jwt", "kid": server.signing.kid })
}

pub(crate) fn claims(user_id: &str) -> Value {
    let now = now();
    json!({
        "iss": "tollgate", "aud": "tollgate", "sub": user_id, "sid": "ofNoSessionOfNoSession", "jti": "token",
        "iat": now, "nbf": now, "exp": now + 600
    })
}

pub(crate) fn changed(mut value: Value, key: &str, to: Value) -> Value {
    value[key] = to;
    value
}

fn without(mut value: Value, key: &str) -> Value {
    value.as_object_mut().unwrap().remove(key);
    value
}

/// Any header and any claims, signed whatever the header says.
fn sign(header: &Value, claims: &Value, secret: &[u8], algorithm: Algorithm) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &EncodingKey::from_secret(secret), algorithm).unwrap();
    format!("{message}.{signature}")
}

pub(crate) fn sign_right(server: &Server, header: &Value, claims: &Value) -> String {
    sign(header, claims, server.signing.secret.bytes(), Algorithm::HS256)
}

async fn assert_forged(server: &mut Server, token: &str, what: &str) {
    let status = server.balance(token).await.expect_err(what);
    assert_eq!(
        (status.code(), shared::error::reason_of(&status)),
        (Code::Unauthenticated, Some(ErrorReason::CredentialInvalid)),
        "{what}: {status:?}"
    );
    let status = server.check(chat(token, "r1")).await.expect_err(what);
    assert_eq!(status.code(), Code::Unauthenticated, "{what}");
}

#[tokio::test]
async fn a_token_with_our_signature_and_all_claims_is_good() {
    let mut server = start().await;
    let user = server.sign_up("mario").await;
    let token = sign_right(&server, &header(&server), &claims(&user.user_id));
    server.balance(&token).await.unwrap();
}

#[tokio::test]
async fn another_algorithm_than_ours_is_refused() {
    let mut server = start().await;
    let user = server.sign_up("mario").await;
    let claims = claims(&user.user_id);
    let secret = server.signing.secret.bytes().to_vec();
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let header = changed(header(&server), "alg", json!(format!("{algorithm:?}")));
        assert_forged(&mut server, &sign(&header, &claims, &secret, algorithm), "another HMAC").await;
    }
    for name in ["none", "None", "NONE", "RS256", "ES256", "EdDSA", "hs256", ""] {
        let header = changed(header(&server), "alg", json!(name));
        assert_forged(&mut server, &sign(&header, &claims, &secret, Algorithm::HS256), name).await;
        let signed = sign(&header, &claims, &secret, Algorithm::HS256);
        let unsigned = format!("{}.", signed.rsplit_once('.').unwrap().0);
        assert_forged(&mut server, &unsigned, name).await;
    }
    let unsigned = sign_right(&server, &header(&server), &claims);
    assert_forged(&mut server, &format!("{}.", unsigned.rsplit_once('.').unwrap().0), "no signature").await;
}

#[tokio::test]
async fn a_token_signed_with_another_secret_or_changed_is_refused() {
    let mut server = start().await;
    let (user, other) = (server.sign_up("mario").await, server.sign_up("luigi").await);
    let forged = sign(&header(&server), &claims(&user.user_id), new_secret().bytes(), Algorithm::HS256);
    assert_forged(&mut server, &forged, "another secret").await;
    // A public key, or anything else that isn't secret, as the HMAC key.
    let forged = sign(&header(&server), &claims(&user.user_id), b"-----BEGIN PUBLIC KEY-----", Algorithm::HS256);
    assert_forged(&mut server, &forged, "a public key").await;
    let forged = sign(&header(&server), &claims(&user.user_id), b"", Algorithm::HS256);
    assert_forged(&mut server, &forged, "an empty secret").await;
    let good = sign_right(&server, &header(&server), &claims(&user.user_id));
    let parts: Vec<&str> = good.split('.').collect();
    let swapped = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims(&other.user_id).to_string()), parts[2]);
    assert_forged(&mut server, &swapped, "another user's claims").await;
    for garbage in ["..", "a.b.c", "a.b", "....", &format!("{good}x"), &format!("{good}.x")] {
        assert_forged(&mut server, garbage, garbage).await;
    }
    let long = format!("{good}{}", "A".repeat(5000));
    assert_forged(&mut server, &long, "too long").await;
}

#[tokio::test]
async fn an_unknown_kid_is_refused_and_a_key_in_the_header_is_ignored() {
    let mut server = start().await;
    let user = server.sign_up("mario").await;
    let claims = claims(&user.user_id);
    for kid in [json!("unknown"), json!(""), json!("../../jwt-secret"), json!("' OR 1=1"), json!(1), json!(null)] {
        let header = changed(header(&server), "kid", kid.clone());
        let token = sign_right(&server, &header, &claims);
        assert_forged(&mut server, &token, &kid.to_string()).await;
    }
    let token = sign_right(&server, &without(header(&server), "kid"), &claims);
    assert_forged(&mut server, &token, "no kid").await;
    let attacker = new_secret();
    let jwk = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(attacker.bytes()), "alg": "HS256", "kid": server.signing.kid });
    for (name, value) in [("jwk", jwk), ("jku", json!("http://127.0.0.1:1/keys")), ("x5u", json!("http://127.0.0.1:1/cert"))] {
        let header = changed(header(&server), name, value);
        let forged = sign(&header, &claims, attacker.bytes(), Algorithm::HS256);
        assert_forged(&mut server, &forged, name).await;
        let ours = sign_right(&server, &header, &claims);
        server.balance(&ours).await.unwrap();
    }
    let token = sign_right(&server, &changed(header(&server), "crit", json!(["exp"])), &claims);
    assert_forged(&mut server, &token, "crit").await;
}

#[tokio::test]
async fn another_kind_of_token_cant_stand_in_for_an_access_token() {
    let mut server = start().await;
    let user = server.sign_up("mario").await;
    for typ in [json!("JWT"), json!("rt+jwt"), json!("id+jwt"), json!(""), json!(1), json!(null)] {
        let token = sign_right(&server, &changed(header(&server), "typ", typ.clone()), &claims(&user.user_id));
        assert_forged(&mut server, &token, &typ.to_string()).await;
    }
    let token = sign_right(&server, &without(header(&server), "typ"), &claims(&user.user_id));
    assert_forged(&mut server, &token, "no typ").await;
    let good = server.login("mario").await;
    let held = grant(server.check(chat(&good, "r1")).await.unwrap()).hold;
    assert_forged(&mut server, &held, "a hold's handle").await;
}

#[tokio::test]
async fn every_claim_is_required_and_must_have_its_type() {
    let mut server = start().await;
    let user = server.sign_up("mario").await;
    let good = claims(&user.user_id);
    for name in ["iss", "aud", "sub", "sid", "iat", "nbf", "exp", "jti"] {
        let token = sign_right(&server, &header(&server), &without(good.clone(), name));
        assert_forged(&mut server, &token, name).await;
        let wrong =
            [json!(null), json!([]), json!({}), json!(true), if good[name].is_string() { json!(1) } else { json!(good[name].to_string()) }];
        for value in wrong {
            let token = sign_right(&server, &header(&server), &changed(good.clone(), name, value.clone()));
            assert_forged(&mut server, &token, &format!("{name} {value}")).await;
        }
    }
    let soon = now() + 600;
    for (name, value) in [
        ("aud", json!(["tollgate"])),
        ("iss", json!(["tollgate"])),
        ("aud", json!("another")),
        ("iss", json!("another")),
        ("sub", json!("not a user")),
        ("sub", json!("")),
        ("sid", json!("")),
        ("sid", json!("no such session")),
        ("sid", json!("AAAAAAAAAAA")),
        ("sid", json!("7f0c5e9a-7d42-4f38-8c21-e0b4d95a7733")),
        ("jti", json!("")),
        ("exp", json!(soon as f64 + 0.5)),
        ("exp", json!(-1)),
        ("nbf", json!(-1)),
    ] {
        let token = sign_right(&server, &header(&server), &changed(good.clone(), name, value.clone()));
        assert_forged(&mut server, &token, &format!("{name} {value}")).await;
    }
    let token = sign_right(&server, &header(&server), &changed(good, "sub", json!("AAAAAAAAAAAAAAAA")));
    assert_forged(&mut server, &token, "a user that isn't there").await;
}

#[tokio::test]
async fn times_are_checked_with_at_most_five_seconds_of_leeway() {
    let mut server = start().await;
    let user = server.sign_up("mario").await;
    let now = now();
    let good = claims(&user.user_id);
    let expired = sign_right(&server, &header(&server), &changed(good.clone(), "exp", json!(now - 10)));
    assert_refused(server.balance(&expired).await, Code::Unauthenticated, ErrorReason::CredentialExpired);
    assert_refused(server.check(chat(&expired, "r1")).await, Code::Unauthenticated, ErrorReason::CredentialExpired);
    for name in ["nbf", "iat"] {
        let early = sign_right(&server, &header(&server), &changed(good.clone(), name, json!(now + 60)));
        assert_forged(&mut server, &early, name).await;
    }
    let within = sign_right(&server, &header(&server), &changed(good, "nbf", json!(now + 3)));
    server.balance(&within).await.unwrap();
}

#[tokio::test]
async fn old_and_new_secret_verify_side_by_side_and_the_first_signs() {
    let (old, new) = (new_secret(), new_secret());
    let both = format!("new:{},old:{}", new.to_hex(), old.to_hex());
    let mut server = start_with(&[("TOLLGATE_JWT_SECRETS", &both)]).await;
    let user = server.sign_up("mario").await;
    let signed_by = |kid: &str, secret: &Secret| {
        let header = json!({ "alg": "HS256", "typ": "at+jwt", "kid": kid });
        sign(&header, &claims(&user.user_id), secret.bytes(), Algorithm::HS256)
    };
    server.balance(&signed_by("old", &old)).await.unwrap();
    server.balance(&signed_by("new", &new)).await.unwrap();
    let crossed = signed_by("old", &new);
    assert_forged(&mut server, &crossed, "one's kid with the other's secret").await;
    let issued = server.login("mario").await;
    assert_eq!(jsonwebtoken::decode_header(&issued).unwrap().kid.as_deref(), Some("new"));
}

#[test]
fn secrets_and_tokens_are_never_shown_by_debug() {
    let secret = new_secret();
    let hex = secret.to_hex();
    let signing = SigningSecret { kid: "k".into(), secret };
    let tokens = auth_service::access_token::AccessTokens::new(
        std::slice::from_ref(&signing),
        std::time::Duration::from_secs(60),
        auth_service::access_token::DEFAULT_LEEWAY,
    )
    .unwrap();
    let issued = tokens.issue(&auth_service::ids::UserId::random().unwrap()).unwrap();
    let shown = format!("{signing:?} {tokens:?} {issued:?}");
    assert!(!shown.contains(&hex[..8]) && !shown.contains(&issued.token[issued.token.len() - 16..]), "{shown}");
}

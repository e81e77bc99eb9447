//! Tokens of a foreign issuer that the test starts: taken where its entry says so, and refused everywhere else.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "the parts that the tests share")]

use auth_service::store::clock::Clock;
use auth_service::user::Role;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use shared::ErrorReason;
use shared::proto::auth as pb;
use tonic::Code;

use crate::http::*;
use crate::support::*;
use crate::test_issuer::{IssuerKey, Reply, TestIssuer};

impl IssuerKey {
    fn header(&self) -> Value {
        json!({ "typ": "JWT", "alg": format!("{:?}", self.algorithm), "kid": self.kid })
    }

    /// A token of these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&self.header(), claims)
    }

    /// Any header and any claims, signed by this key whatever the header says.
    fn sign_with(&self, header: &Value, claims: &Value) -> String {
        signed(header, claims, &self.key, self.algorithm)
    }
}

fn signed(header: &Value, claims: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

impl TestIssuer {
    /// What its tokens' `iss` is.
    fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The claims of a good token for a user of this name.
    pub(crate) fn claims(&self, name: &str) -> Value {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        json!({ "iss": self.issuer(), "aud": "tollgate", "sub": name, "iat": now, "exp": now + 600 })
    }
}

/// An issuer's entry in the file, for its users by name.
pub(crate) fn entry(issuer: &TestIssuer, more: &Value) -> Value {
    let mut entry = json!({
        "name": "corp", "issuer": issuer.issuer(), "audience": "tollgate", "jwks_url": issuer.keys_url(),
        "algorithms": ["RS256", "PS256", "ES256", "EdDSA"], "claim": "sub"
    });
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    entry
}

async fn start_trusting(entries: &[Value]) -> Server {
    start_trusting_at(tempfile::tempdir().unwrap(), entries, Clock::Store).await
}

/// The same on a store that is there, with this clock.
pub(crate) async fn start_trusting_at(store: tempfile::TempDir, entries: &[Value], clock: Clock) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("issuers.json");
    std::fs::write(&path, json!({ "issuers": entries }).to_string()).unwrap();
    start_in(store, &[("TOLLGATE_TOKEN_ISSUERS_FILE", path.to_str().unwrap())], clock).await
}

/// A service that trusts an issuer with one Ed25519 key, and has the user `ada`.
async fn trusted(more: &Value) -> (Server, TestIssuer, IssuerKey) {
    let key = IssuerKey::new("one", Algorithm::EdDSA);
    let issuer = TestIssuer::start(Reply::keys(&[&key])).await;
    let mut server = start_trusting(&[entry(&issuer, more)]).await;
    server.sign_up("ada").await;
    (server, issuer, key)
}

fn changed(mut value: Value, name: &str, to: Value) -> Value {
    value[name] = to;
    value
}

fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().unwrap().remove(name);
    value
}

async fn assert_refused_everywhere(server: &mut Server, token: &str, reason: ErrorReason, what: &str) {
    let status = server.balance(token).await.map(|_| ()).expect_err(what);
    assert_eq!((status.code(), shared::error::reason_of(&status)), (Code::Unauthenticated, Some(reason)), "{what}: {status:?}");
    let status = server.check(chat(token, "refused")).await.map(|_| ()).expect_err(what);
    assert_eq!((status.code(), shared::error::reason_of(&status)), (Code::Unauthenticated, Some(reason)), "{what}: {status:?}");
}

#[tokio::test]
async fn a_token_of_a_listed_issuer_is_good_for_calls_and_for_reading_ones_account_by_each_listed_algorithm() {
    let algorithms = [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA];
    let keys = algorithms.map(|algorithm| IssuerKey::new(&format!("{algorithm:?}"), algorithm));
    let issuer = TestIssuer::start(Reply::keys(&keys.each_ref())).await;
    let mut server = start_trusting(&[entry(&issuer, &json!({}))]).await;
    let ada = server.sign_up("ada").await;
    for (key, typ) in keys.iter().zip(["JWT", "at+jwt", "application/at+jwt", "jwt"]) {
        let several = changed(issuer.claims("ada"), "aud", json!(["other", "tollgate"]));
        for claims in [issuer.claims("ada"), several, changed(issuer.claims("ada"), "nbf", json!(1))] {
            let token = key.sign_with(&changed(key.header(), "typ", json!(typ)), &claims);
            server.balance(&token).await.unwrap();
            let held = server.check(chat(&token, &key.kid)).await.unwrap();
            let principal = held.principal.clone().unwrap();
            assert_eq!(
                (principal.user_id, principal.api_key_id, principal.session_id),
                (ada.user_id.clone(), String::new(), String::new())
            );
        }
    }
    let token = keys[0].sign(&issuer.claims("ada"));
    let me = server.accounts.get_me(with(&token, pb::GetMeRequest {})).await.unwrap().into_inner();
    assert_eq!(me.user.unwrap().user_name, "ada");
    server.accounts.list_ledger_entries(with(&token, pb::ListLedgerEntriesRequest::default())).await.unwrap();
    let me = http(server.address, "GET /users/me", &[("authorization", &format!("Bearer {token}"))], "").await;
    assert_eq!((me.status, me.text("user_name").as_str()), (200, "ada"), "{me:?}");
    // A release of what it held.
    server.check(chat(&token, "r-1")).await.unwrap();
    assert_eq!(server.release(attempt(&token, "r-1")).await.unwrap(), pb::ReleaseResult::Released);
    assert_eq!(issuer.requests(), 1);
}

#[tokio::test]
async fn a_foreign_token_manages_neither_keys_nor_users_unless_its_issuer_is_trusted_with_operators() {
    let key = IssuerKey::new("one", Algorithm::EdDSA);
    let issuer = TestIssuer::start(Reply::keys(&[&key])).await;
    let other = TestIssuer::start(Reply::keys(&[&key])).await;
    let entries = [entry(&issuer, &json!({})), entry(&other, &json!({ "name": "staff", "admin": true }))];
    let mut server = start_trusting(&entries).await;
    server.operator().await;
    assert_eq!(
        server.store.user_by_name(&auth_service::user::UserName::parse("operator").unwrap()).await.unwrap().unwrap().role,
        Role::Admin
    );
    let plain = key.sign(&issuer.claims("operator"));
    let staff = key.sign(&other.claims("operator"));
    let staff_user = key.sign(&other.claims("template"));
    for token in [&plain, &staff] {
        let made = server.accounts.create_api_key(with(token, pb::CreateApiKeyRequest::default())).await;
        assert_refused(made, Code::PermissionDenied, ErrorReason::AccessTokenRequired);
        let listed = server.accounts.list_api_keys(with(token, pb::ListApiKeysRequest {})).await;
        assert_refused(listed, Code::PermissionDenied, ErrorReason::AccessTokenRequired);
    }
    let grant =
        |id: &str| pb::GrantCreditsRequest { user_name: "template".into(), credits: 1, request_id: id.into(), ..Default::default() };
    for (token, id) in [(&plain, "g1"), (&staff_user, "g2")] {
        assert_refused(server.admin.grant_credits(with(token, grant(id))).await, Code::PermissionDenied, ErrorReason::RoleRequired);
        let manages = pb::CheckRequest { operation: pb::Operation::ManageModels.into(), charge: None, ..chat(token, id) };
        assert_refused(server.check(manages).await, Code::PermissionDenied, ErrorReason::RoleRequired);
    }
    server.admin.grant_credits(with(&staff, grant("g3"))).await.unwrap();
    server.check(pb::CheckRequest { operation: pb::Operation::ManageModels.into(), charge: None, ..chat(&staff, "m") }).await.unwrap();
}

#[tokio::test]
async fn whatever_is_wrong_with_a_foreign_token_it_is_refused() {
    let (mut server, issuer, key) = trusted(&json!({})).await;
    let (good, header) = (issuer.claims("ada"), key.header());
    server.balance(&key.sign(&good)).await.unwrap();
    let now = good["iat"].as_u64().unwrap();
    for (name, value) in [
        ("iss", json!("http://127.0.0.1:1")),
        ("iss", json!(format!("{}/", issuer.issuer()))),
        ("iss", json!([issuer.issuer()])),
        ("iss", json!("tollgate")),
        ("aud", json!("other")),
        ("aud", json!(["other"])),
        ("aud", json!([])),
        ("aud", json!(1)),
        ("sub", json!("nobody")),
        ("sub", json!("Ada")),
        ("sub", json!(" ada")),
        ("sub", json!(["ada"])),
        ("sub", json!(1)),
        ("sub", json!("")),
        ("exp", json!("soon")),
        ("exp", json!(-1)),
        ("iat", json!("now")),
        ("iat", json!(now + 60)),
        ("nbf", json!(now + 60)),
        ("nbf", json!("now")),
    ] {
        let token = key.sign(&changed(good.clone(), name, value.clone()));
        assert_refused_everywhere(&mut server, &token, ErrorReason::CredentialInvalid, &format!("{name} {value}")).await;
    }
    for name in ["iss", "aud", "sub", "exp", "iat"] {
        assert_refused_everywhere(&mut server, &key.sign(&without(good.clone(), name)), ErrorReason::CredentialInvalid, name).await;
    }
    let expired = key.sign(&changed(good.clone(), "exp", json!(now - 10)));
    assert_refused_everywhere(&mut server, &expired, ErrorReason::CredentialExpired, "expired").await;
    for typ in [json!("logout+jwt"), json!("id+jwt"), json!("rt+jwt"), json!(""), json!(null), json!(1)] {
        let token = key.sign_with(&changed(header.clone(), "typ", typ.clone()), &good);
        assert_refused_everywhere(&mut server, &token, ErrorReason::CredentialInvalid, &typ.to_string()).await;
    }
    for kid in [json!("two"), json!(""), json!(null), json!("../one"), json!(server.signing.kid), json!("k".repeat(2000))] {
        let token = key.sign_with(&changed(header.clone(), "kid", kid.clone()), &good);
        assert_refused_everywhere(&mut server, &token, ErrorReason::CredentialInvalid, &kid.to_string()).await;
    }
    let token = key.sign_with(&changed(header.clone(), "crit", json!(["b64"])), &good);
    assert_refused_everywhere(&mut server, &token, ErrorReason::CredentialInvalid, "crit").await;
    let long = key.sign(&changed(good.clone(), "groups", json!("x".repeat(10_000))));
    assert_refused_everywhere(&mut server, &long, ErrorReason::CredentialInvalid, "too long").await;
    let with_groups = key.sign(&changed(good, "groups", json!(vec!["a group"; 300])));
    server.balance(&with_groups).await.unwrap();
}

#[tokio::test]
async fn another_algorithm_or_key_than_the_issuer_publishes_is_refused_whatever_the_header_says() {
    let (mut server, issuer, key) = trusted(&json!({})).await;
    let (good, header) = (issuer.claims("ada"), key.header());
    let attacker = IssuerKey::new("one", Algorithm::EdDSA);
    assert_refused_everywhere(&mut server, &attacker.sign(&good), ErrorReason::CredentialInvalid, "another's key").await;
    for (name, value) in [
        ("jwk", attacker.jwk()),
        ("jku", json!("http://127.0.0.1:1/keys")),
        ("x5u", json!("http://127.0.0.1:1/certificate")),
        ("x5c", json!(["MIIB"])),
    ] {
        let header = changed(header.clone(), name, value);
        let forged = attacker.sign_with(&header, &good);
        assert_refused_everywhere(&mut server, &forged, ErrorReason::CredentialInvalid, name).await;
        server.balance(&key.sign_with(&header, &good)).await.unwrap();
    }
    // The public key as a secret, in each form in which somebody may have it.
    let x = key.jwk()["x"].as_str().unwrap().to_owned();
    for secret in [x.as_bytes(), key.jwk().to_string().as_bytes(), b""] {
        let header = changed(header.clone(), "alg", json!("HS256"));
        let forged = signed(&header, &good, &EncodingKey::from_secret(secret), Algorithm::HS256);
        assert_refused_everywhere(&mut server, &forged, ErrorReason::CredentialInvalid, "HS256").await;
    }
    for alg in ["none", "None", "RS256", "ES256", "HS256", "eddsa", ""] {
        let forged = key.sign_with(&changed(header.clone(), "alg", json!(alg)), &good);
        assert_refused_everywhere(&mut server, &forged, ErrorReason::CredentialInvalid, alg).await;
        let unsigned = format!("{}.", forged.rsplit_once('.').unwrap().0);
        assert!(server.balance(&unsigned).await.is_err(), "{alg}");
    }
    // The issuer's key signs no token of ours, and ours none of the issuer's.
    let ours = json!({ "typ": "at+jwt", "alg": "EdDSA", "kid": server.signing.kid });
    assert_refused_everywhere(&mut server, &key.sign_with(&ours, &good), ErrorReason::CredentialInvalid, "our kid").await;
    let mut as_ours = crate::hostile_tokens::claims("AAAAAAAAAAAAAAAA");
    as_ours["sub"] = json!("ada");
    let token = key.sign_with(&changed(header.clone(), "typ", json!("at+jwt")), &as_ours);
    assert_refused_everywhere(&mut server, &token, ErrorReason::CredentialInvalid, "our issuer").await;
    let secret = EncodingKey::from_secret(server.signing.secret.bytes());
    let hs256 = json!({ "typ": "at+jwt", "alg": "HS256", "kid": server.signing.kid });
    let token = signed(&hs256, &good, &secret, Algorithm::HS256);
    assert_refused_everywhere(&mut server, &token, ErrorReason::CredentialInvalid, "our secret").await;
}

#[tokio::test]
async fn a_table_says_who_a_claims_value_is_and_nobody_else_is_let_in() {
    let more = json!({ "claim": "preferred_username", "users": { "ADA@example.com": "ada" }, "scopes": ["account"] });
    let (mut server, issuer, key) = trusted(&more).await;
    let named = |name: &str| key.sign(&changed(issuer.claims("eve"), "preferred_username", json!(name)));
    server.balance(&named("ADA@example.com")).await.unwrap();
    for nobody in ["ada", "ada@example.com", "eve"] {
        assert_refused_everywhere(&mut server, &named(nobody), ErrorReason::CredentialInvalid, nobody).await;
    }
    // Its tokens are limited as the entry says.
    let check = server.check(chat(&named("ADA@example.com"), "r1")).await;
    assert_refused(check, Code::PermissionDenied, ErrorReason::ScopeRequired);
}

#[tokio::test]
async fn a_disabled_users_foreign_token_is_refused_from_the_next_call_on_and_one_from_before_stays_so() {
    let (mut server, issuer, key) = trusted(&json!({})).await;
    let operator = server.operator().await;
    let token = key.sign(&issuer.claims("ada"));
    let old = key.sign(&changed(issuer.claims("ada"), "iat", json!(issuer.claims("ada")["iat"].as_u64().unwrap() - 60)));
    server.balance(&token).await.unwrap();
    let ada = || pb::DisableUserRequest { user_name: "ada".into(), ..Default::default() };
    server.admin.disable_user(with(&operator, ada())).await.unwrap();
    for token in [&token, &old] {
        assert_refused(server.balance(token).await, Code::PermissionDenied, ErrorReason::UserDisabled);
        assert_refused(server.check(chat(token, "r1")).await, Code::PermissionDenied, ErrorReason::UserDisabled);
    }
    server.admin.enable_user(with(&operator, pb::EnableUserRequest { user_name: "ada".into() })).await.unwrap();
    assert_refused(server.balance(&old).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
}

#[tokio::test]
async fn a_locked_users_foreign_token_is_refused_and_their_keys_are_not_and_tokens_from_before_stay_so() {
    let (mut server, issuer, key) = trusted(&json!({})).await;
    let operator = server.operator().await;
    let login = server.login("ada").await;
    let api_key = server.key(&login, pb::CreateApiKeyRequest::default()).await.key;
    let token = key.sign(&issuer.claims("ada"));
    server.balance(&token).await.unwrap();
    let lock = pb::LockUserRequest { user_name: "ada".into(), ..Default::default() };
    server.admin.lock_user(with(&operator, lock)).await.unwrap();
    for token in [&token, &key.sign(&issuer.claims("ada"))] {
        assert_refused(server.balance(token).await, Code::PermissionDenied, ErrorReason::UserLocked);
        assert_refused(server.check(chat(token, "r1")).await, Code::PermissionDenied, ErrorReason::UserLocked);
    }
    server.check(chat(&api_key, "r2")).await.unwrap();
    server.admin.unlock_user(with(&operator, pb::UnlockUserRequest { user_name: "ada".into() })).await.unwrap();
    server.balance(&key.sign(&issued_later(&issuer, 5))).await.unwrap();
    let old = key.sign(&changed(issuer.claims("ada"), "iat", json!(issuer.claims("ada")["iat"].as_u64().unwrap() - 60)));
    assert_refused(server.balance(&old).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
}

/// The claims of a token for ada whose issuer's clock is ahead of ours by so many seconds; 5 may be.
fn issued_later(issuer: &TestIssuer, seconds: u64) -> Value {
    let claims = issuer.claims("ada");
    let now = claims["iat"].as_u64().unwrap();
    changed(claims, "iat", json!(now + seconds))
}

#[tokio::test]
async fn a_foreign_token_from_before_a_disable_stays_refused_after_it_though_its_issuers_clock_is_ahead() {
    let (mut server, issuer, key) = trusted(&json!({})).await;
    let operator = server.operator().await;
    let tokens: Vec<String> = (0..5).map(|ahead| key.sign(&issued_later(&issuer, ahead))).collect();
    for token in &tokens {
        server.balance(token).await.unwrap();
    }
    let disable = pb::DisableUserRequest { user_name: "ada".into(), ..Default::default() };
    server.admin.disable_user(with(&operator, disable)).await.unwrap();
    server.admin.enable_user(with(&operator, pb::EnableUserRequest { user_name: "ada".into() })).await.unwrap();
    for token in &tokens {
        assert_refused(server.balance(token).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    }
    // One that was issued after it, whatever its issuer's clock says.
    let token = key.sign(&issued_later(&issuer, 5));
    server.balance(&token).await.unwrap();
    let service = [FORM, ("authorization", &*format!("Bearer {}", server.service_credential))];
    let answer = http(server.address, "POST /introspect", &service, &format!("token={token}")).await.json();
    let says = |token: &str| {
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        serde_json::from_slice::<Value>(&claims).unwrap()
    };
    assert_eq!(answer["iat"], says(&token)["iat"], "as the token says it");
}

#[tokio::test]
async fn while_a_password_reset_is_pending_a_foreign_token_is_refused_with_what_to_do_and_keys_are_not() {
    let (mut server, issuer, key) = trusted(&json!({})).await;
    let operator = server.operator().await;
    let login = server.login("ada").await;
    let api_key = server.key(&login, pb::CreateApiKeyRequest::default()).await.key;
    let token = key.sign(&issued_later(&issuer, 5));
    server.balance(&token).await.unwrap();
    let reset = with(&operator, pb::ResetPasswordRequest { user_name: "ada".into() });
    let one_time_password = server.admin.reset_password(reset).await.unwrap().into_inner().one_time_password;
    // Disabled and enabled meanwhile, it is still pending.
    for round in 0..2 {
        for token in [&token, &key.sign(&issued_later(&issuer, 5))] {
            assert_refused(server.balance(token).await, Code::FailedPrecondition, ErrorReason::PasswordChangeRequired);
            let check = server.check(chat(token, &format!("r{round}"))).await;
            assert_refused(check, Code::FailedPrecondition, ErrorReason::PasswordChangeRequired);
        }
        server.check(chat(&api_key, &format!("k{round}"))).await.unwrap();
        let disable = pb::DisableUserRequest { user_name: "ada".into(), ..Default::default() };
        server.admin.disable_user(with(&operator, disable)).await.unwrap();
        server.admin.enable_user(with(&operator, pb::EnableUserRequest { user_name: "ada".into() })).await.unwrap();
    }
    let complete = pb::CompletePasswordResetRequest {
        user_name: "ada".into(),
        one_time_password,
        new_password: "four random words of hers".into(),
        ..Default::default()
    };
    server.accounts.complete_password_reset(complete).await.unwrap();
    server.balance(&key.sign(&issued_later(&issuer, 5))).await.unwrap();
}

#[tokio::test]
async fn revoking_a_foreign_token_says_that_it_stays_good_and_what_nobody_knows_is_answered_as_oauth2_wants() {
    let (mut server, issuer, key) = trusted(&json!({})).await;
    let token = key.sign(&issuer.claims("ada"));
    let revoke = async |token: &str| http(server.address, "POST /revoke", &[FORM], &format!("token={token}")).await;
    let refused = revoke(&token).await;
    assert_eq!((refused.status, refused.text("error").as_str()), (400, "unsupported_token_type"), "{refused:?}");
    assert!(refused.text("error_description").contains("lock"), "{refused:?}");
    for unknown in [&key.sign(&changed(issuer.claims("ada"), "iss", json!("https://elsewhere.example"))), "nonsense", "a.b.c"] {
        assert_eq!(revoke(unknown).await.status, 200, "{unknown}");
    }
    let answer = server.accounts.revoke_credential(pb::RevokeCredentialRequest { credential: token.clone() }).await.unwrap().into_inner();
    assert_eq!(answer.result(), pb::revoke_credential_response::Result::Unknown);
    server.balance(&token).await.unwrap();
}

#[tokio::test]
async fn an_issuers_new_key_is_taken_at_once_and_its_old_one_no_longer() {
    let (mut server, issuer, old) = trusted(&json!({})).await;
    let new = IssuerKey::new("two", Algorithm::EdDSA);
    server.balance(&old.sign(&issuer.claims("ada"))).await.unwrap();
    issuer.answers(Reply::keys(&[&new]));
    server.balance(&new.sign(&issuer.claims("ada"))).await.unwrap();
    assert_refused_everywhere(&mut server, &old.sign(&issuer.claims("ada")), ErrorReason::CredentialInvalid, "old").await;
    assert_eq!(issuer.requests(), 2);
}

#[tokio::test]
async fn an_issuer_that_is_down_or_silent_costs_nothing_but_its_own_tokens_and_says_so() {
    let key = IssuerKey::new("one", Algorithm::EdDSA);
    let (silent, well) = (TestIssuer::start(Reply::Silence).await, TestIssuer::start(Reply::keys(&[&key])).await);
    let mut down = entry(&silent, &json!({ "name": "down", "issuer": "down" }));
    down["jwks_url"] = json!("http://127.0.0.1:1/keys");
    let entries = [down, entry(&silent, &json!({ "name": "silent" })), entry(&well, &json!({ "name": "well" }))];
    let mut server = start_trusting(&entries).await;
    let ours = server.user("ada").await;
    server.balance(&ours).await.unwrap();
    server.balance(&key.sign(&well.claims("ada"))).await.unwrap();
    let of_down = key.sign(&changed(silent.claims("ada"), "iss", json!("down")));
    for token in [of_down, key.sign(&silent.claims("ada"))] {
        let status = assert_refused(server.check(chat(&token, "r1")).await, Code::Unavailable, ErrorReason::AuthUnavailable);
        assert!(status.message().contains("issuer"), "{status:?}");
        assert_refused(server.balance(&token).await, Code::Unavailable, ErrorReason::AuthUnavailable);
        // What a Check may have held before is not said to be nothing.
        assert_refused(server.release(attempt(&token, "r1")).await, Code::Unavailable, ErrorReason::AuthUnavailable);
    }
}

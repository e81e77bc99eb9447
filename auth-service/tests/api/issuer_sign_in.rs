//! Signing in with an OpenID issuer that the test starts: by a code, and by an ID token.

#![expect(clippy::unwrap_used, reason = "the parts that the tests share")]

use serde_json::{Value, json};
use shared::ErrorReason;
use shared::proto::auth as pb;
use tonic::{Code, Status};

use crate::oidc_issuer::{IssuerKey, OidcIssuer, code_and_state, now, unsigned};
use crate::support::{PASSWORD, Server, assert_refused, start_with, with};

/// Where a program has issuer `one` send people back to.
pub(crate) const CALLBACK: &str = "http://127.0.0.1:4321/callback/one";

/// A server that people sign in to with these issuers, `one`, `two`, and so on.
pub(crate) async fn server_of(issuers: &[&OidcIssuer], more: &[(&str, &str)]) -> Server {
    let names = ["one", "two", "three"];
    let entries: Vec<Value> = issuers.iter().zip(names).map(|(issuer, name)| issuer.entry(name)).collect();
    let entries = Value::from(entries).to_string();
    let set: Vec<(&str, &str)> = more.iter().copied().chain([("TOLLGATE_OIDC_ISSUERS", entries.as_str())]).collect();
    start_with(&set).await
}

impl Server {
    pub(crate) async fn begin_at(&mut self, name: &str, redirect_uri: &str) -> Result<pb::BeginSignInResponse, Status> {
        let request = pb::BeginSignInRequest { issuer: name.to_owned(), redirect_uri: redirect_uri.to_owned() };
        Ok(self.accounts.begin_sign_in(request).await?.into_inner())
    }

    pub(crate) async fn exchange(&mut self, proof: pb::IssuerProof) -> Result<pb::ExchangeIdTokenResponse, Status> {
        let request = pb::ExchangeIdTokenRequest { proof: Some(proof), client: "a test".to_owned(), ..Default::default() };
        Ok(self.accounts.exchange_id_token(request).await?.into_inner())
    }

    pub(crate) async fn exchange_token(&mut self, id_token: String) -> Result<pb::ExchangeIdTokenResponse, Status> {
        self.exchange(pb::IssuerProof { id_token, ..Default::default() }).await
    }

    /// Begins, has the issuer send the person back, and answers what they came back with.
    pub(crate) async fn proof_by_code(&mut self, issuer: &OidcIssuer, name: &str) -> pb::IssuerProof {
        let callback = if name.is_empty() { CALLBACK.to_owned() } else { CALLBACK.replace("one", name) };
        let begun = self.begin_at(name, &callback).await.unwrap();
        let (authorization_code, state) = code_and_state(&issuer.visit(&begun.authorization_url).await);
        pb::IssuerProof { sign_in: begun.sign_in, authorization_code, state, id_token: String::new() }
    }

    pub(crate) async fn sign_in_by_code(&mut self, issuer: &OidcIssuer, name: &str) -> Result<pb::ExchangeIdTokenResponse, Status> {
        let proof = self.proof_by_code(issuer, name).await;
        self.exchange(proof).await
    }

    pub(crate) async fn user_of(&mut self, token: &str) -> pb::User {
        self.accounts.get_me(with(token, pb::GetMeRequest {})).await.unwrap().into_inner().user.unwrap()
    }
}

pub(crate) fn assert_invalid<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    assert_refused(answer, Code::Unauthenticated, ErrorReason::IdTokenInvalid).message().to_owned()
}

#[tokio::test]
async fn the_first_sign_in_with_an_issuer_makes_a_user_with_starting_credits_and_every_other_one_is_that_user() {
    let issuer = OidcIssuer::start().await;
    issuer.behaviour().client_secret = Some("a client's secret, with : and %".to_owned());
    let mut server = server_of(&[&issuer], &[]).await;
    let listed = server.accounts.list_sign_in_issuers(pb::ListSignInIssuersRequest {}).await.unwrap().into_inner().issuers;
    assert_eq!(listed.iter().map(|one| (one.name.as_str(), one.issuer.as_str())).collect::<Vec<_>>(), [("one", issuer.url().as_str())]);
    let first = server.sign_in_by_code(&issuer, "").await.unwrap();
    assert_eq!((first.created, first.user_name.as_str()), (true, "ada"));
    let user = server.user_of(&first.access_token).await;
    assert_eq!((user.full_name.as_str(), user.email.as_str()), ("Ada Lovelace", "ada@example.com"));
    assert_eq!(server.balance(&first.access_token).await.unwrap().available_credits, Some(10));
    let again = server.sign_in_by_code(&issuer, "one").await.unwrap();
    let by_token = server.exchange_token(issuer.id_token(json!({}))).await.unwrap();
    for later in [again, by_token] {
        assert_eq!((later.created, later.user_name.as_str()), (false, "ada"));
        assert_eq!(server.user_of(&later.access_token).await.user_id, user.user_id);
    }
    let sessions =
        server.accounts.list_sessions(with(&first.access_token, pb::ListSessionsRequest {})).await.unwrap().into_inner().sessions;
    assert_eq!(sessions.len(), 3);
    assert!(sessions.iter().all(|one| one.method() == pb::SignInMethod::Issuer && one.issuer == issuer.url()), "{sessions:?}");
    let identities = server.accounts.list_identities(with(&first.access_token, pb::ListIdentitiesRequest::default())).await;
    let identities = identities.unwrap().into_inner();
    let [identity] = <[pb::Identity; 1]>::try_from(identities.identities).unwrap();
    assert_eq!((identity.subject.as_str(), identity.issuer_name.as_str()), ("1001", "one"));
    // Nobody knows a password of theirs, and there is none.
    for password in ["", PASSWORD] {
        assert_refused(server.try_login("ada", password).await, Code::Unauthenticated, ErrorReason::LoginFailed);
    }
    let change = pb::ChangePasswordRequest { current_password: String::new(), new_password: PASSWORD.to_owned() };
    let changed = server.accounts.change_password(with(&first.access_token, change)).await;
    assert_refused(changed, Code::FailedPrecondition, ErrorReason::NoPassword);
    // A refresh keeps it, as every session.
    let refresh = pb::RefreshRequest { refresh_token: first.refresh_token };
    server.accounts.refresh(refresh).await.unwrap();
}

#[tokio::test]
async fn a_code_is_good_once_and_with_the_sign_in_and_state_that_it_was_begun_with() {
    let issuer = OidcIssuer::start().await;
    let mut server = server_of(&[&issuer], &[]).await;
    let good = server.proof_by_code(&issuer, "one").await;
    let other = server.begin_at("one", CALLBACK).await.unwrap();
    let with_state = pb::IssuerProof { state: other.state.clone(), ..good.clone() };
    assert_invalid(server.exchange(with_state).await);
    // PKCE: the verifier is another sign-in's.
    let with_sign_in = pb::IssuerProof { sign_in: other.sign_in, state: other.state, ..good.clone() };
    assert_invalid(server.exchange(with_sign_in).await);
    let unknown = pb::IssuerProof { sign_in: "AAAA".to_owned(), ..good.clone() };
    assert_refused(server.exchange(unknown).await, Code::FailedPrecondition, ErrorReason::SignInExpired);
    let without_redirect = server.begin_at("one", "").await.unwrap();
    assert!(without_redirect.authorization_url.is_empty() && without_redirect.state.is_empty());
    let without = pb::IssuerProof { sign_in: without_redirect.sign_in, ..good.clone() };
    assert_invalid(server.exchange(without).await);
    // Nothing of that has used it up: the issuer refused, or was never asked.
    assert_eq!(server.exchange(good.clone()).await.unwrap().user_name, "ada");
    assert_invalid(server.exchange(good).await);
    for half in [
        pb::IssuerProof::default(),
        pb::IssuerProof { authorization_code: "x".to_owned(), ..Default::default() },
        pb::IssuerProof { authorization_code: "x".to_owned(), id_token: "y".to_owned(), ..Default::default() },
        pb::IssuerProof { id_token: "y".to_owned(), state: "z".to_owned(), ..Default::default() },
        pb::IssuerProof { authorization_code: "x".repeat(5000), sign_in: "s".to_owned(), state: "z".to_owned(), ..Default::default() },
    ] {
        assert_refused(server.exchange(half).await, Code::InvalidArgument, ErrorReason::InvalidArgument);
    }
    for redirect in ["http://evil.example/one", "http://localhost:1/one", "https://127.0.0.1:1/one", "x", "http://127.0.0.1:1/two"] {
        assert_refused(server.begin_at("one", redirect).await, Code::InvalidArgument, ErrorReason::InvalidArgument);
    }
    assert_refused(server.begin_at("two", "").await, Code::NotFound, ErrorReason::IssuerUnknown);
}

#[tokio::test]
async fn in_the_browser_flow_the_nonce_of_the_sign_in_is_bound() {
    let issuer = OidcIssuer::start().await;
    let mut server = server_of(&[&issuer], &[]).await;
    for nonce in [json!("another"), json!(""), Value::Null] {
        issuer.behaviour().claims = json!({ "nonce": nonce }).as_object().unwrap().clone();
        let said = assert_invalid(server.sign_in_by_code(&issuer, "one").await);
        assert!(said.contains("nonce"), "{said}");
    }
    issuer.behaviour().claims.clear();
    // A client that gets an ID token by itself: its sign-in's nonce, in that sign-in, once.
    let begun = server.begin_at("one", "").await.unwrap();
    let token = issuer.id_token(json!({ "nonce": begun.nonce }));
    let said = assert_invalid(server.exchange_token(token.clone()).await);
    assert!(said.contains("nonce"), "without its sign-in: {said}");
    let other = server.begin_at("one", "").await.unwrap();
    assert_invalid(server.exchange(pb::IssuerProof { sign_in: other.sign_in, id_token: token.clone(), ..Default::default() }).await);
    let proof = pb::IssuerProof { sign_in: begun.sign_in, id_token: token, ..Default::default() };
    server.exchange(proof.clone()).await.unwrap();
    assert_invalid(server.exchange(proof.clone()).await);
    // Another token with the nonce that was used.
    let second = issuer.id_token(json!({ "nonce": begun.nonce }));
    assert_invalid(server.exchange(pb::IssuerProof { id_token: second, ..proof }).await);
}

#[tokio::test]
async fn an_id_token_without_a_sign_in_is_accepted_once_however_its_signature_is_written_and_however_many_bring_it() {
    let issuer = OidcIssuer::start_on("127.0.0.1:0".parse().unwrap(), jsonwebtoken::Algorithm::ES256).await;
    let mut server = server_of(&[&issuer], &[]).await;
    let token = issuer.id_token(json!({}));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (mut accounts, id_token) = (server.accounts.clone(), token.clone());
        tasks.spawn(async move { accounts.exchange_id_token(pb::ExchangeIdTokenRequest { id_token, ..Default::default() }).await });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    // (r, s) and (r, n - s) are two signatures of the same.
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let twin = format!("{signed}.{}", twin_of(signature));
    assert_ne!(twin, token);
    let said = assert_invalid(server.exchange_token(twin).await);
    assert!(said.contains("used before"), "{said}");
    assert!(server.exchange_token(issuer.id_token(json!({}))).await.is_ok());
}

/// The other signature that ECDSA on P-256 takes for the same.
fn twin_of(signature: &str) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let byte = |place: usize| u8::from_str_radix(&order[2 * place..2 * place + 2], 16).unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = 0_i16;
    for place in (0..32).rev() {
        let difference = i16::from(byte(place)) - i16::from(bytes[32 + place]) - borrow;
        borrow = i16::from(difference < 0);
        bytes[32 + place] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

#[tokio::test]
async fn an_id_token_is_good_by_the_issuers_keys_for_our_client_of_the_issuer_and_in_its_time_and_no_other_is() {
    let issuer = OidcIssuer::start().await;
    let mut server = server_of(&[&issuer], &[]).await;
    let now = now();
    let wrong_claims = [
        json!({ "aud": "canary-7" }),
        json!({ "aud": ["canary-7"] }),
        json!({ "aud": ["tollgate-test", "canary-7"] }),
        json!({ "aud": [] }),
        json!({ "aud": 1 }),
        json!({ "aud": null }),
        json!({ "iss": "https://accounts.google.com" }),
        json!({ "iss": format!("{}/", issuer.url()) }),
        json!({ "iss": {} }),
        json!({ "iss": null }),
        json!({ "azp": "canary-7" }),
        json!({ "exp": now - 1 }),
        json!({ "exp": "soon" }),
        json!({ "exp": null }),
        json!({ "iat": now + 600 }),
        json!({ "iat": null }),
        json!({ "iat": now - 25 * 3600, "exp": now + 3600 }),
        json!({ "nbf": now + 600 }),
        json!({ "nbf": now.to_string() }),
        json!({ "sub": "" }),
        json!({ "sub": null }),
        json!({ "sub": "x".repeat(256) }),
        json!({ "events": { "http://schemas.openid.net/event/backchannel-logout": {} } }),
    ];
    for claims in wrong_claims {
        let said = assert_invalid(server.exchange_token(issuer.id_token(claims.clone())).await);
        assert!(!said.contains("canary-7") && !said.contains("1001"), "nothing of it is repeated: {said}");
    }
    let key = issuer.behaviour().signer.clone();
    let jwk = key.jwk();
    let header = |changes: Value| {
        let mut header = json!({ "alg": "RS256", "typ": "JWT", "kid": "key-1" });
        header.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        header
    };
    let hs256 = |secret: &[u8]| {
        let header = header(json!({ "alg": "HS256" }));
        let key = jsonwebtoken::EncodingKey::from_secret(secret);
        let signed = unsigned(&header, &issuer.claims());
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
        format!("{signed}.{signature}")
    };
    let none = unsigned(&header(json!({ "alg": "none" })), &issuer.claims());
    let stranger = IssuerKey::new("key-1", jsonwebtoken::Algorithm::RS256);
    let good = issuer.id_token(json!({}));
    let mut cut = good.clone();
    cut.truncate(cut.len() - 8);
    for forged in [
        format!("{none}."),
        none,
        hs256(jwk["n"].as_str().unwrap().as_bytes()),
        hs256(jwk.to_string().as_bytes()),
        hs256(b""),
        stranger.sign(&header(json!({})), &issuer.claims()),
        stranger.sign(&header(json!({ "jwk": stranger.jwk() })), &issuer.claims()),
        stranger.sign(&header(json!({ "jku": "https://evil.example/jwks", "kid": "other" })), &issuer.claims()),
        key.sign(&header(json!({ "typ": "at+jwt" })), &issuer.claims()),
        key.sign(&header(json!({ "typ": "logout+jwt" })), &issuer.claims()),
        key.sign(&header(json!({ "typ": 1 })), &issuer.claims()),
        key.sign(&header(json!({ "crit": ["exp"] })), &issuer.claims()),
        key.sign(&header(json!({ "alg": "RS512" })), &issuer.claims()),
        key.sign(&header(json!({ "alg": "PS256" })), &issuer.claims()),
        cut,
        String::from("x.y.z"),
        "x".repeat(15_000),
    ] {
        assert_invalid(server.exchange_token(forged).await);
    }
    // None of that has made anybody.
    assert!(server.store.user_by_name(&auth_service::user::UserName::parse("ada").unwrap()).await.unwrap().is_none());
    let without_typ = key.sign(&json!({ "alg": "RS256", "kid": "key-1" }), &issuer.claims());
    for fine in [good, without_typ, issuer.id_token(json!({ "azp": null, "aud": ["tollgate-test"], "nbf": now, "nonce": "of a client" }))] {
        assert_eq!(server.exchange_token(fine).await.unwrap().user_name, "ada");
    }
}

#[tokio::test]
async fn an_identity_is_issuer_and_subject_and_never_an_email_address() {
    let (one, two) = (OidcIssuer::start().await, OidcIssuer::start().await);
    let mut server = server_of(&[&one, &two], &[]).await;
    let victim =
        pb::SignUpRequest { user_name: "ada".into(), password: PASSWORD.into(), email: "ada@example.com".into(), ..Default::default() };
    let victim = server.accounts.sign_up(victim).await.unwrap().into_inner().user.unwrap();
    let by_one = server.sign_in_by_code(&one, "one").await.unwrap();
    assert_eq!((by_one.created, by_one.user_name.as_str()), (true, "ada2"), "the e-mail address and the name of another user");
    let by_two = server.sign_in_by_code(&two, "two").await.unwrap();
    assert_eq!((by_two.created, by_two.user_name.as_str()), (true, "ada3"), "the same subject at another issuer");
    let mut ids = vec![victim.user_id];
    for token in [&by_one.access_token, &by_two.access_token] {
        ids.push(server.user_of(token).await.user_id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
    // Whoever changes their address at the issuer is who they were.
    one.person(json!({ "sub": "1001", "email": "else@example.com", "preferred_username": "somebody" }));
    assert_eq!(server.sign_in_by_code(&one, "one").await.unwrap().user_name, "ada2");
    one.person(json!({ "sub": "1002", "email": "ada@example.com", "email_verified": true, "hd": "example.com" }));
    assert_eq!(server.sign_in_by_code(&one, "one").await.unwrap().user_name, "ada4");
    // A token of one issuer is none of the other's.
    let claims = json!({ "iss": two.url() });
    assert_invalid(server.exchange_token(one.id_token(claims)).await);
}

#[tokio::test]
async fn where_sign_up_is_closed_an_unknown_identity_makes_nobody_and_a_known_one_signs_in() {
    let issuer = OidcIssuer::start().await;
    let mut server = server_of(&[&issuer], &[("TOLLGATE_SIGNUP", "closed")]).await;
    let closed = server.sign_in_by_code(&issuer, "one").await;
    assert_refused(closed, Code::PermissionDenied, ErrorReason::SignUpClosed);
    let mut few = server_of(&[&issuer], &[("TOLLGATE_SIGNUPS_PER_HOUR", "1")]).await;
    few.sign_in_by_code(&issuer, "one").await.unwrap();
    issuer.person(json!({ "sub": "1002" }));
    let throttled = few.sign_in_by_code(&issuer, "one").await;
    assert_refused(throttled, Code::ResourceExhausted, ErrorReason::RateLimited);
    issuer.person(json!({ "sub": "1001" }));
    assert!(!few.sign_in_by_code(&issuer, "one").await.unwrap().created);
}

//! What is wrong with a request's fields: all of it at once; and what a field takes.

use argon2::Argon2;
use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::PasswordHash;
use auth_service::ids::UserId;
use auth_service::store::NewUser;
use auth_service::user::{Role, UserName};
use prost_types::Timestamp;
use serde_json::json;
use shared::ErrorReason;
use shared::error::{reason_of, violations_of};
use shared::proto::auth as pb;
use tonic::Code;

use crate::hostile_tokens::{changed, claims, header, now, sign_right};
use crate::support::*;

#[tokio::test]
async fn all_violated_fields_of_a_request_are_named_at_once() {
    let mut server = start().await;
    let operator = server.operator().await;
    let token = server.user("mario").await;
    let sign_up =
        pb::SignUpRequest { user_name: "-x".into(), password: "short".into(), full_name: "a\u{202e}b".into(), email: "nowhere".into() };
    let user_fields = ["user_name", "password", "full_name", "email"];
    assert_eq!(violated(server.accounts.sign_up(sign_up.clone()).await), user_fields);
    let pb::SignUpRequest { user_name, password, full_name, email } = sign_up;
    let create = pb::CreateUserRequest { user_name, password, full_name, email, role: 99, starting_credits: Some(-1) };
    let expected = [&["role", "starting_credits"], &user_fields[..]].concat();
    assert_eq!(violated(server.admin.create_user(with(&operator, create)).await), expected);
    let key = pb::CreateApiKeyRequest {
        name: "x".repeat(101),
        scopes: vec!["inference".into(), "everything".into()],
        models: vec!["a b".into()],
        expires_at: Some(Timestamp { seconds: 1, nanos: 0 }),
        ..Default::default()
    };
    assert_eq!(violated(server.accounts.create_api_key(with(&token, key)).await), ["name", "scopes", "models", "expires_at"]);
    let grant =
        pb::GrantCreditsRequest { user_name: "?".into(), credits: 0, request_id: String::new(), note: "a\nb".into(), ..Default::default() };
    assert_eq!(violated(server.admin.grant_credits(with(&operator, grant)).await), ["user_name", "credits", "request_id", "note"]);
    let page = pb::ListLedgerEntriesRequest { page_size: 501, page_token: "x".into(), ..Default::default() };
    assert_eq!(violated(server.accounts.list_ledger_entries(with(&token, page)).await), ["page_size", "page_token"]);
    let charge = pb::Charge { max_input_tokens: 10_000_001, ..Default::default() };
    let check = pb::CheckRequest { account: "x".into(), charge: Some(charge), ..Default::default() };
    let of_charge =
        ["request_id", "attempt_id", "fingerprint", "max_input_tokens", "max_output_tokens"].map(|name| format!("charge.{name}"));
    let unknown = violated(server.check(check.clone()).await);
    assert_eq!(unknown, [&["operation".to_owned(), "account".to_owned()], &of_charge[..]].concat());
    let chat = pb::CheckRequest { operation: pb::Operation::Chat.into(), ..check.clone() };
    assert_eq!(violated(server.check(chat).await), [&["model".to_owned(), "account".to_owned()], &of_charge[..]].concat());
    let manage = pb::CheckRequest { operation: pb::Operation::ManageModels.into(), model: "a b".into(), ..check };
    assert_eq!(violated(server.check(manage).await), ["model", "account", "charge"]);
    assert_eq!(violated(server.settle(pb::SettleRequest::default()).await), ["hold", "outcome"]);
    // One alone has the same form.
    assert_eq!(violated(server.extend(pb::ExtendRequest::default()).await), ["hold"]);
    assert_eq!(violated(server.accounts.get_receipt(with(&token, pb::GetReceiptRequest::default())).await), ["request_id"]);
    assert_eq!(violated(server.admin.disable_user(with(&operator, pb::DisableUserRequest::default())).await), ["user_name"]);
    assert_eq!(violated(server.admin.enable_user(with(&operator, pb::EnableUserRequest::default())).await), ["user_name"]);
}

#[tokio::test]
async fn a_password_that_is_refused_is_not_repeated() {
    let mut server = start().await;
    let request = pb::SignUpRequest { user_name: "m".into(), password: "hunter2hunter".into(), ..Default::default() };
    let status = server.accounts.sign_up(request).await.unwrap_err();
    assert!(!format!("{status:?}{:?}", violations_of(&status)).contains("hunter2"));
}

#[tokio::test]
async fn a_new_users_name_does_not_begin_with_a_hyphen_or_a_dot_and_one_that_does_still_logs_in() {
    let mut server = start().await;
    let operator = server.operator().await;
    for name in ["-rf", ".ssh", "--help", "...", "-mario"] {
        let sign_up = pb::SignUpRequest { user_name: name.into(), password: PASSWORD.into(), ..Default::default() };
        assert_eq!(violated(server.accounts.sign_up(sign_up).await), ["user_name"], "{name}");
        let create = pb::CreateUserRequest { user_name: name.into(), password: PASSWORD.into(), ..Default::default() };
        assert_eq!(violated(server.admin.create_user(with(&operator, create)).await), ["user_name"], "{name}");
    }
    // Made before names were held to that.
    let template = server.store.user_by_name(&UserName::parse("template").unwrap()).await.unwrap().unwrap();
    let old = NewUser {
        user_id: UserId::random().unwrap(),
        user_name: UserName::parse("-mario").unwrap(),
        password_hash: template.password_hash,
        full_name: String::new(),
        email: String::new(),
        role: Role::User,
        starting_credits: 0,
    };
    server.store.create_user(old, event()).await.unwrap();
    server.login("-Mario").await;
    server.admin.disable_user(with(&operator, pb::DisableUserRequest { user_name: "-mario".into(), ..Default::default() })).await.unwrap();
}

#[tokio::test]
async fn what_could_be_taken_for_something_else_is_no_email_address_and_no_name() {
    let mut server = start().await;
    let with_email =
        |email: &str| pb::SignUpRequest { user_name: "mario".into(), password: PASSWORD.into(), email: email.into(), ..Default::default() };
    for email in [
        "mario@example.com\r\nBcc: all@example.com",
        "<mario@example.com>",
        "\"mario\"@example.com",
        "a@example.com,b@example.com",
        "a@example.com;b@example.com",
        "mario @example.com",
        "mario\u{202e}@example.com",
        "mario@example.com\u{0}",
    ] {
        assert_eq!(violated(server.accounts.sign_up(with_email(email)).await), ["email"], "{email:?}");
    }
    for full_name in ["Mario\u{202e}", "Ma\u{2066}rio\u{2069}", "Mario\nLuigi", "Mario\u{200b}"] {
        let request = pb::SignUpRequest { full_name: full_name.into(), ..with_email("") };
        assert_eq!(violated(server.accounts.sign_up(request).await), ["full_name"], "{full_name:?}");
    }
    server
        .accounts
        .sign_up(pb::SignUpRequest { full_name: "Mário \"M\" O'Mario".into(), ..with_email("m.mario+x@example.com") })
        .await
        .unwrap();
}

const COMPOSED: &str = "it is me, the caf\u{e9}";
const DECOMPOSED: &str = "it is me, the cafe\u{301}";

#[tokio::test]
async fn a_password_typed_on_two_systems_logs_in_on_both() {
    let mut server = start().await;
    for (name, password) in [("mario", COMPOSED), ("luigi", DECOMPOSED)] {
        let request = pb::SignUpRequest { user_name: name.into(), password: password.into(), ..Default::default() };
        server.accounts.sign_up(request).await.unwrap();
        server.try_login(name, COMPOSED).await.unwrap();
        server.try_login(name, DECOMPOSED).await.unwrap();
        let other = server.try_login(name, "it is me, the cafe").await;
        assert_refused(other, Code::Unauthenticated, ErrorReason::LoginFailed);
    }
}

#[tokio::test]
async fn a_hash_from_before_passwords_were_normalized_logs_in_and_is_made_anew() {
    let mut server = start().await;
    server.sign_up("mario").await;
    let name = UserName::parse("mario").unwrap();
    // Of the text as it came, with the cost of today.
    let old: PasswordHash = Argon2::default().hash_password(DECOMPOSED.as_bytes()).unwrap();
    let old = &old.to_string();
    assert!(old.contains("$m=19456,t=2,p=1$"), "{old}");
    let user = server.store.user_by_name(&name).await.unwrap().unwrap();
    server.store.replace_password_hash(&user.user_id, &user.password_hash, old).await.unwrap();
    server.try_login("mario", DECOMPOSED).await.unwrap();
    assert_ne!(&server.store.user_by_name(&name).await.unwrap().unwrap().password_hash, old);
    server.try_login("mario", COMPOSED).await.unwrap();
    server.try_login("mario", DECOMPOSED).await.unwrap();
}

#[tokio::test]
async fn clocks_may_differ_by_what_is_configured_and_a_refusal_says_that_it_is_the_time() {
    let mut server = start_with(&[("TOLLGATE_CLOCK_LEEWAY", "60s")]).await;
    let user = server.sign_up("mario").await;
    let (good, now) = (claims(&user.user_id), now());
    let token = |name: &str, at: i64| sign_right(&server, &header(&server), &changed(good.clone(), name, json!(at)));
    let (early, late, too_early, too_late, long_ago) =
        (token("nbf", now + 40), token("exp", now - 40), token("iat", now + 90), token("exp", now - 90), token("exp", now - 9000));
    server.balance(&early).await.unwrap();
    server.balance(&late).await.unwrap();
    let refused = server.balance(&too_early).await.unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused)), (Code::Unauthenticated, Some(ErrorReason::CredentialInvalid)));
    for part in ["not valid yet", "clocks", "differ by", "60 s may be", "TOLLGATE_CLOCK_LEEWAY"] {
        assert!(refused.message().contains(part), "{part}: {refused:?}");
    }
    let refused = assert_refused(server.balance(&too_late).await, Code::Unauthenticated, ErrorReason::CredentialExpired);
    assert!(refused.message().contains("past its time") && refused.message().contains("clocks differ"), "{refused:?}");
    let refused = assert_refused(server.balance(&long_ago).await, Code::Unauthenticated, ErrorReason::CredentialExpired);
    assert!(refused.message().contains("past its time") && !refused.message().contains("clocks"), "{refused:?}");
}

#[tokio::test]
async fn every_spelling_of_a_models_name_has_one_price_and_is_held_to_one_list() {
    let mut server = start_with(&[("TOLLGATE_PRICES", "Tiny:LOCAL=7,*=1"), ("TOLLGATE_STARTING_CREDITS", "1000")]).await;
    let token = server.user("mario").await;
    let models = vec!["registry.ollama.ai/library/TINY:local".to_owned()];
    let made = server.key(&token, pb::CreateApiKeyRequest { models, ..Default::default() }).await;
    assert_eq!(made.api_key.unwrap().models, ["tiny"]);
    let spellings =
        ["tiny", "tiny:latest", "tiny:local", "tiny:LOCAL", "Tiny:Latest:local", "library/tiny", "registry.ollama.ai/library/tiny"];
    for (number, model) in spellings.into_iter().enumerate() {
        let request_id = format!("r{number}");
        let held = grant(server.check(pb::CheckRequest { model: model.into(), ..chat(&made.key, &request_id) }).await.unwrap());
        assert_eq!(held.held_credits, 7, "{model}");
        let receipt = server.accounts.get_receipt(with(&token, pb::GetReceiptRequest { request_id })).await.unwrap().into_inner();
        assert_eq!(receipt.receipt.unwrap().model, "tiny", "{model}");
    }
    let other = pb::CheckRequest { model: "tiny:1b:local".into(), ..chat(&made.key, "other") };
    assert_refused(server.check(other).await, Code::PermissionDenied, ErrorReason::ModelNotAllowed);
    for model in
        ["tiny:cloud:local", "tiny:local:local", "https://registry.ollama.ai/library/tiny", " tiny", "tiny.", "tiny@sha256:00", "t\u{e9}ny"]
    {
        let check = pb::CheckRequest { model: model.into(), ..chat(&token, "wrong") };
        assert_eq!(violated(server.check(check).await), ["model"], "{model}");
    }
}

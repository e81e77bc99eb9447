//! The Auth service, as inference-service calls it.

use auth_service::hold::{Fields, Terms};
use shared::ErrorReason;
use shared::proto::auth as pb;
use tonic::Code;

use crate::support::*;

#[tokio::test]
async fn only_the_service_credential_opens_auth() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let key = server.key(&token, pb::CreateApiKeyRequest::default()).await.key;
    let (kept, last) = server.service_credential.split_at(63);
    let almost = format!("{kept}{}", if last == "0" { "1" } else { "0" });
    let other = new_secret().to_hex();
    let longer = format!("{}00", server.service_credential);
    for wrong in [&token, &key, &almost, &other, &longer, "x"] {
        let hold = pb::ExtendRequest::default();
        assert_refused(
            server.auth.check(with(wrong, chat(&key, "r1"))).await,
            Code::Unauthenticated,
            ErrorReason::ServiceCredentialInvalid,
        );
        assert_refused(server.auth.extend(with(wrong, hold)).await, Code::Unauthenticated, ErrorReason::ServiceCredentialInvalid);
        assert_refused(
            server.auth.settle(with(wrong, pb::SettleRequest::default())).await,
            Code::Unauthenticated,
            ErrorReason::ServiceCredentialInvalid,
        );
        assert_refused(
            server.auth.release(with(wrong, attempt(&key, "r1"))).await,
            Code::Unauthenticated,
            ErrorReason::ServiceCredentialInvalid,
        );
        let watch = server.auth.watch_revocations(with(wrong, pb::WatchRevocationsRequest::default())).await;
        assert_refused(watch, Code::Unauthenticated, ErrorReason::ServiceCredentialInvalid);
    }
    assert_refused(server.auth.check(chat(&key, "r1")).await, Code::Unauthenticated, ErrorReason::CredentialMissing);
    assert_refused(server.auth.release(attempt(&key, "r1")).await, Code::Unauthenticated, ErrorReason::CredentialMissing);
    let credential = server.service_credential.clone();
    server.auth.watch_revocations(with(&credential, pb::WatchRevocationsRequest::default())).await.unwrap();
    assert_refused(server.balance(&credential).await, Code::Unauthenticated, ErrorReason::CredentialInvalid);
}

#[tokio::test]
async fn two_service_credentials_are_in_force_while_they_rotate() {
    let (old, new) = (new_secret().to_hex(), new_secret().to_hex());
    let mut server = start_with(&[("TOLLGATE_SERVICE_CREDENTIALS", &format!("{new},{old}"))]).await;
    let token = server.user("mario").await;
    for (number, credential) in [old, new].iter().enumerate() {
        server.auth.check(with(credential, chat(&token, &format!("r{number}")))).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_is_held_extended_settled_and_has_one_receipt() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let key = server.key(&token, pb::CreateApiKeyRequest::default()).await;
    let answer = server.check(chat(&key.key, "r1")).await.unwrap();
    let principal = answer.principal.clone().unwrap();
    assert_eq!(principal.api_key_id, key.api_key.unwrap().api_key_id);
    let grant = grant(answer.clone());
    assert_eq!((grant.held_credits, grant.remaining_credits, grant.max_output_tokens), (1, 9, 200));
    assert_eq!(grant.extend_every.unwrap().seconds, 20);
    assert_eq!(server.check(chat(&key.key, "r1")).await.unwrap(), answer, "the same attempt gets the same grant");

    let mut another = chat(&key.key, "r1");
    another.charge.as_mut().unwrap().attempt_id = "attempt-2".into();
    let status = assert_refused(server.check(another.clone()).await, Code::Aborted, ErrorReason::RequestInProgress);
    assert!(shared::error::retry_delay_of(&status).is_some());
    let mut changed = chat(&key.key, "r1");
    changed.charge.as_mut().unwrap().fingerprint = b"other".to_vec();
    assert_refused(server.check(changed).await, Code::InvalidArgument, ErrorReason::RequestIdReused);

    let usage = pb::TokenUsage { input_tokens: Some(7), output_tokens: Some(30), estimated: false };
    server.extend(pb::ExtendRequest { hold: grant.hold.clone(), usage: Some(usage) }).await.unwrap();
    let settle = pb::SettleRequest { hold: grant.hold.clone(), outcome: pb::Outcome::Completed.into(), usage: Some(usage) };
    let receipt = server.settle(settle.clone()).await.unwrap();
    assert_eq!((receipt.charged_credits(), receipt.remaining_credits(), receipt.state()), (1, 9, pb::RequestState::Settled));
    assert_eq!(receipt.usage, Some(usage));
    for _ in 0..9 {
        assert_eq!(server.settle(settle.clone()).await.unwrap(), receipt);
    }
    let extend = server.extend(pb::ExtendRequest { hold: grant.hold, usage: None }).await;
    assert_refused(extend, Code::FailedPrecondition, ErrorReason::HoldResolved);
    let replay = server.check(another).await.unwrap();
    assert_eq!(replay.result, Some(pb::check_response::Result::Recorded(receipt.clone())));
    let got = server.accounts.get_receipt(with(&token, pb::GetReceiptRequest { request_id: "r1".into() })).await.unwrap();
    assert_eq!(got.into_inner().receipt, Some(receipt));
    let unknown = server.accounts.get_receipt(with(&token, pb::GetReceiptRequest { request_id: "r2".into() })).await;
    assert_refused(unknown, Code::NotFound, ErrorReason::RequestNotFound);
    assert_eq!(server.balance(&token).await.unwrap().spent_credits(), 1);
}

#[tokio::test]
async fn ten_credits_are_ten_calls_and_the_eleventh_says_what_is_needed() {
    let mut server = start().await;
    let token = server.user("mario").await;
    for number in 0..10 {
        server.check(chat(&token, &format!("r{number}"))).await.unwrap();
    }
    let status = assert_refused(server.check(chat(&token, "r10")).await, Code::ResourceExhausted, ErrorReason::InsufficientCredits);
    assert!(status.message().contains("needs 1 credit, and 0 are available"), "{status:?}");
}

#[tokio::test]
async fn prices_come_from_the_table() {
    let mut server = start_with(&[("TOLLGATE_PRICES", "big*=2/1/10,free=0")]).await;
    let token = server.user("mario").await;
    let mut big = chat(&token, "r1");
    big.model = "big:latest".into();
    let held = grant(server.check(big).await.unwrap());
    // 2 + (100 * 1 + 200 * 10) / 1000, rounded up.
    assert_eq!(held.held_credits, 5);
    let mut free = chat(&token, "r2");
    free.model = "free".into();
    assert_eq!(grant(server.check(free).await.unwrap()).held_credits, 0);
}

#[tokio::test]
async fn every_wrong_field_of_a_check_is_named() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let charged = |change: fn(&mut pb::Charge)| {
        let mut request = chat(&token, "r1");
        change(request.charge.as_mut().unwrap());
        request
    };
    for (field, wrong) in [
        ("operation", pb::CheckRequest { operation: 0, ..chat(&token, "r1") }),
        ("operation", pb::CheckRequest { operation: 99, ..chat(&token, "r1") }),
        ("model", pb::CheckRequest { model: String::new(), ..chat(&token, "r1") }),
        ("model", pb::CheckRequest { model: "x".repeat(257), ..chat(&token, "r1") }),
        ("account", pb::CheckRequest { account: "x".into(), ..chat(&token, "r1") }),
        ("charge ", pb::CheckRequest { operation: pb::Operation::ReadModels.into(), ..chat(&token, "r1") }),
        ("charge.request_id", charged(|charge| charge.request_id = String::new())),
        ("charge.request_id", charged(|charge| charge.request_id = "x".repeat(65))),
        ("charge.attempt_id", charged(|charge| charge.attempt_id = "a.b".into())),
        ("charge.fingerprint", charged(|charge| charge.fingerprint.clear())),
        ("charge.fingerprint", charged(|charge| charge.fingerprint = vec![0; 65])),
        ("charge.max_input_tokens", charged(|charge| charge.max_input_tokens = 10_000_001)),
        ("charge.max_output_tokens", charged(|charge| charge.max_output_tokens = 0)),
        ("charge.max_output_tokens", charged(|charge| charge.max_output_tokens = 10_000_001)),
    ] {
        let status = assert_refused(server.check(wrong).await, Code::InvalidArgument, ErrorReason::InvalidArgument);
        assert!(status.message().starts_with(field), "{field}: {status:?}");
    }
    assert_refused(server.check(chat("", "r1")).await, Code::Unauthenticated, ErrorReason::CredentialMissing);
    let settle = pb::SettleRequest { hold: "x".into(), outcome: pb::Outcome::Completed.into(), usage: None };
    assert_refused(server.settle(settle).await, Code::InvalidArgument, ErrorReason::InvalidArgument);
    let held = grant(server.check(chat(&token, "r1")).await.unwrap()).hold;
    let settle = pb::SettleRequest { hold: held.clone(), outcome: 0, usage: None };
    assert_refused(server.settle(settle).await, Code::InvalidArgument, ErrorReason::InvalidArgument);
    let given_out = Terms::from_handle(&held).unwrap();
    let never = Terms::new(Fields { attempt_id: "attempt-9".to_owned(), ..(*given_out).clone() }).to_handle();
    let unknown = server.extend(pb::ExtendRequest { hold: never.clone(), usage: None }).await.unwrap_err();
    assert!(matches!(unknown.code(), Code::NotFound | Code::FailedPrecondition), "{unknown:?}");
}

#[tokio::test]
async fn embeddings_are_held_for_without_output_tokens_and_nothing_else_is() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let embed = |most: u32| {
        let mut request = chat(&token, "r1");
        request.operation = pb::Operation::Embed.into();
        request.charge.as_mut().unwrap().max_output_tokens = most;
        request
    };
    let held = grant(server.check(embed(0)).await.unwrap());
    assert_eq!((held.held_credits, held.max_output_tokens), (1, 0));
    let settle = pb::SettleRequest { hold: held.hold, outcome: pb::Outcome::Completed.into(), usage: None };
    let receipt = server.settle(settle).await.unwrap();
    assert_eq!((receipt.charged_credits, receipt.state()), (Some(1), pb::RequestState::Settled));
    for operation in [pb::Operation::Chat, pb::Operation::Generate] {
        let without = pb::CheckRequest { operation: operation.into(), ..embed(0) };
        assert_refused(server.check(without).await, Code::InvalidArgument, ErrorReason::InvalidArgument);
    }
}

#[tokio::test]
async fn managing_models_needs_the_admin_role() {
    let mut server = start().await;
    let user = server.user("mario").await;
    let operator = server.operator().await;
    let manage = |credential: &str| pb::CheckRequest {
        credential: credential.into(),
        operation: pb::Operation::ManageModels.into(),
        model: "tiny".into(),
        ..Default::default()
    };
    assert_refused(server.check(manage(&user)).await, Code::PermissionDenied, ErrorReason::RoleRequired);
    let answer = server.check(manage(&operator)).await.unwrap();
    assert_eq!(answer.result, None);
    let key = server.key(&operator, pb::CreateApiKeyRequest::default()).await.key;
    assert_refused(server.check(manage(&key)).await, Code::PermissionDenied, ErrorReason::ScopeRequired);
}

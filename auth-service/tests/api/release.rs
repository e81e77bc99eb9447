//! Auth.Release, as inference-service calls it when a Check had no answer.

use std::time::{Duration, Instant};

use shared::ErrorReason;
use shared::error::{reason_of, violations_of};
use shared::proto::auth as pb;
use tonic::Code;

use crate::support::*;

const SOON: Duration = Duration::from_secs(40);

#[tokio::test]
async fn what_an_attempt_holds_goes_back_and_the_same_request_id_may_be_used_again() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let key = server.key(&token, pb::CreateApiKeyRequest::default()).await.key;
    for (request_id, credential) in [("by-token", &token), ("by-key", &key)] {
        let held = grant(server.check(chat(credential, request_id)).await.unwrap());
        let mut another = attempt(credential, request_id);
        another.attempt_id = "attempt-2".into();
        assert_eq!(server.release(another.clone()).await.unwrap(), pb::ReleaseResult::NothingHeld);
        assert_eq!(server.balance(&token).await.unwrap().held_credits(), 1, "another attempt's hold stays");
        for _ in 0..3 {
            assert_eq!(server.release(attempt(credential, request_id)).await.unwrap(), pb::ReleaseResult::Released);
        }
        let balance = server.balance(&token).await.unwrap();
        assert_eq!((balance.available_credits() + balance.spent_credits(), balance.held_credits()), (10, 0));
        let settle = pb::SettleRequest { hold: held.hold, outcome: pb::Outcome::Completed.into(), usage: None };
        let receipt = server.settle(settle).await.unwrap();
        assert_eq!((receipt.state(), receipt.outcome()), (pb::RequestState::Refunded, pb::Outcome::NothingGenerated));
        let mut again = chat(credential, request_id);
        again.charge.as_mut().unwrap().attempt_id = "attempt-2".into();
        let settle =
            pb::SettleRequest { hold: grant(server.check(again).await.unwrap()).hold, outcome: pb::Outcome::Completed.into(), usage: None };
        server.settle(settle).await.unwrap();
        assert_eq!(server.release(another).await.unwrap(), pb::ReleaseResult::ResolvedBefore);
    }
}

#[tokio::test]
async fn a_release_works_after_its_token_has_expired_its_key_was_revoked_and_its_user_was_disabled() {
    let mut server = start_with(&[("TOLLGATE_ACCESS_TOKEN_TTL", "6s"), ("TOLLGATE_CLOCK_LEEWAY", "0s")]).await;
    let operator = server.operator().await;
    let token = server.user("mario").await;
    let key = server.key(&token, pb::CreateApiKeyRequest::default()).await;
    server.check(chat(&token, "by-token")).await.unwrap();
    server.check(chat(&key.key, "by-key")).await.unwrap();
    let revoke = pb::RevokeApiKeyRequest { api_key_id: key.api_key.unwrap().api_key_id, ..Default::default() };
    server.accounts.revoke_api_key(with(&token, revoke)).await.unwrap();
    server.admin.disable_user(with(&operator, pb::DisableUserRequest { user_name: "mario".into(), ..Default::default() })).await.unwrap();
    let began = Instant::now();
    loop {
        let refused = server.check(chat(&token, "new")).await.unwrap_err();
        if reason_of(&refused) == Some(ErrorReason::CredentialExpired) {
            break;
        }
        assert!(began.elapsed() < SOON, "{refused:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.release(attempt(&token, "by-token")).await.unwrap(), pb::ReleaseResult::Released);
    assert_eq!(server.release(attempt(&key.key, "by-key")).await.unwrap(), pb::ReleaseResult::Released);
}

#[tokio::test]
async fn a_release_tells_nothing_of_a_credential_and_holds_nothing() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let other = server.user("luigi").await;
    let key = server.key(&token, pb::CreateApiKeyRequest::default()).await.key;
    let revoked = server.key(&token, pb::CreateApiKeyRequest::default()).await;
    let revoke = pb::RevokeApiKeyRequest { api_key_id: revoked.api_key.unwrap().api_key_id, ..Default::default() };
    server.accounts.revoke_api_key(with(&token, revoke)).await.unwrap();
    server.check(chat(&token, "held")).await.unwrap();
    let forged = format!("{}{}", &token[..token.len() - 4], "AAAA");
    let mistyped = format!("{}{}", &key[..key.len() - 1], if key.ends_with('0') { '1' } else { '0' });
    let account = server.accounts.get_me(with(&other, pb::GetMeRequest {})).await.unwrap().into_inner().user.unwrap().user_id;
    let elsewhere = |credential: &str| pb::ReleaseRequest { account: account.clone(), ..attempt(credential, "held") };
    for request in [
        attempt(&key, "other"),
        attempt(&revoked.key, "other"),
        attempt(&other, "held"),
        attempt(&forged, "held"),
        attempt(&mistyped, "held"),
        attempt("tg_x", "held"),
        attempt("nonsense", "held"),
        elsewhere(&key),
        elsewhere(&token),
    ] {
        assert_eq!(server.release(request.clone()).await.unwrap(), pb::ReleaseResult::NothingHeld, "{request:?}");
    }
    let balance = server.balance(&token).await.unwrap();
    assert_eq!((balance.available_credits(), balance.held_credits()), (9, 1), "the hold that there is stays");
    assert_eq!(server.balance(&other).await.unwrap().available_credits(), 10);
}

#[tokio::test]
async fn every_wrong_field_of_a_release_is_named() {
    let mut server = start().await;
    let wrong = pb::ReleaseRequest { account: "x".into(), request_id: "a b".into(), attempt_id: "a.b".into(), ..Default::default() };
    for (request, fields) in [
        (pb::ReleaseRequest::default(), &["credential", "request_id", "attempt_id"][..]),
        (wrong, &["credential", "account", "request_id", "attempt_id"]),
        (pb::ReleaseRequest { request_id: "x".repeat(129), ..attempt("t", "r") }, &["request_id"]),
        (pb::ReleaseRequest { attempt_id: "x".repeat(65), ..attempt("t", "r") }, &["attempt_id"]),
    ] {
        let status = assert_refused(server.release(request).await, Code::InvalidArgument, ErrorReason::InvalidArgument);
        let named: Vec<_> = violations_of(&status).into_iter().map(|(field, _)| field).collect();
        assert_eq!(named, fields);
    }
}

#[tokio::test]
async fn an_account_has_so_many_calls_in_progress_and_the_next_one_is_told_what_to_do() {
    let mut server = start_with(&[("TOLLGATE_MAX_OPEN_HOLDS", "2")]).await;
    let (token, other) = (server.user("mario").await, server.user("luigi").await);
    let first = grant(server.check(chat(&token, "r1")).await.unwrap());
    server.check(chat(&token, "r2")).await.unwrap();
    let status = assert_refused(server.check(chat(&token, "r3")).await, Code::ResourceExhausted, ErrorReason::TooManyOpenHolds);
    for words in ["calls in progress", "wait until one of them has ended", "ask the operator"] {
        assert!(status.message().contains(words), "{status:?}");
    }
    assert!(shared::error::retry_delay_of(&status).is_some_and(|delay| delay > Duration::ZERO));
    assert_eq!(shared::error::quota_of(&status).len(), 1);
    server.check(chat(&other, "r1")).await.unwrap();
    let balance = server.balance(&token).await.unwrap();
    assert_eq!((balance.available_credits(), balance.held_credits()), (8, 2), "the refusal costs nothing");
    let settle = pb::SettleRequest { hold: first.hold, outcome: pb::Outcome::Completed.into(), usage: None };
    server.settle(settle).await.unwrap();
    server.check(chat(&token, "r3")).await.unwrap();
}

#[tokio::test]
async fn without_configuration_an_account_has_64_calls_in_progress() {
    let mut server = start_with(&[("TOLLGATE_STARTING_CREDITS", "1000")]).await;
    let token = server.user("mario").await;
    for number in 0..64 {
        server.check(chat(&token, &format!("r{number}"))).await.unwrap();
    }
    assert_refused(server.check(chat(&token, "r64")).await, Code::ResourceExhausted, ErrorReason::TooManyOpenHolds);
}

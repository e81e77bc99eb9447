//! `Auth.WatchRevocations`, and Extend after a revocation, over gRPC.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "the parts that the tests share")]

use std::time::Duration;

use auth_service::ids::UserId;
use auth_service::store::NewUser;
use auth_service::user::{Role, UserName};
use shared::ErrorReason;
use shared::proto::auth as pb;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tonic::{Code, Streaming};

use crate::support::{Server, assert_refused, event, start, with};

const SOON: Duration = Duration::from_secs(40);

/// A watch, and where it begins.
struct Watch {
    told: Streaming<pb::WatchRevocationsResponse>,
    first: pb::WatchRevocationsResponse,
}

impl Watch {
    async fn begin(server: &mut Server, after: &str) -> Self {
        let credential = server.service_credential.clone();
        let request = with(&credential, pb::WatchRevocationsRequest { after: after.to_owned() });
        let mut told = server.auth.watch_revocations(request).await.unwrap().into_inner();
        let first = timeout(SOON, told.message()).await.expect("it is told at once where it begins").unwrap().unwrap();
        assert!(!first.cursor.is_empty());
        Self { told, first }
    }

    /// What is told next, signs of life aside.
    async fn next(&mut self) -> pb::WatchRevocationsResponse {
        loop {
            let told = timeout(SOON, self.told.message()).await.expect("something is told").unwrap().unwrap();
            if !told.user_id.is_empty() || told.has_gap {
                return told;
            }
        }
    }
}

fn check(credential: &str, request_id: &str) -> pb::CheckRequest {
    let charge = pb::Charge {
        request_id: request_id.to_owned(),
        attempt_id: "a".to_owned(),
        fingerprint: vec![1],
        max_input_tokens: 1,
        max_output_tokens: 1,
        require_full: false,
    };
    pb::CheckRequest {
        credential: credential.to_owned(),
        operation: pb::Operation::Chat.into(),
        model: "llama3".to_owned(),
        charge: Some(charge),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_watch_tells_what_is_revoked_at_once_and_what_came_after_its_place() {
    let mut server = start().await;
    let token = server.user("ada").await;
    let operator = server.operator().await;
    let key = server.key(&token, pb::CreateApiKeyRequest::default()).await.api_key.unwrap();
    let mut watch = Watch::begin(&mut server, "").await;
    assert_eq!((watch.first.user_id.as_str(), watch.first.has_gap), ("", false));
    let user_id = server.store.user_by_name(&UserName::parse("ada").unwrap()).await.unwrap().unwrap().user_id.to_string();

    let revoke = pb::RevokeApiKeyRequest { api_key_id: key.api_key_id.clone(), ..Default::default() };
    server.accounts.revoke_api_key(with(&token, revoke)).await.unwrap();
    let of_key = watch.next().await;
    assert_eq!((&of_key.user_id, &of_key.api_key_id, of_key.reason.as_str()), (&user_id, &key.api_key_id, "CREDENTIAL_REVOKED"));
    assert_eq!((of_key.api_key_secret, of_key.tokens_only, of_key.session_id.as_str(), of_key.has_gap), (0, false, "", false));

    let disable = pb::DisableUserRequest { user_name: "ada".into(), ..Default::default() };
    server.admin.disable_user(with(&operator, disable)).await.unwrap();
    let of_user = watch.next().await;
    assert_eq!((&of_user.user_id, of_user.api_key_id.as_str(), of_user.reason.as_str()), (&user_id, "", "USER_DISABLED"));
    // Whoever was away is told the same.
    let mut late = Watch::begin(&mut server, &watch.first.cursor).await;
    assert_eq!([late.first.clone(), late.next().await], [of_key.clone(), of_user.clone()]);
    assert_eq!(Watch::begin(&mut server, &of_key.cursor).await.first, of_user);
    let here = Watch::begin(&mut server, &of_user.cursor).await.first;
    assert_eq!((here.user_id.as_str(), here.has_gap, &here.cursor), ("", false, &of_user.cursor));
    for unknown in ["none", "1-1", "not a place at all: é", &"x".repeat(5000)] {
        assert!(Watch::begin(&mut server, unknown).await.first.has_gap, "{unknown}");
    }
}

/// More revocations than are kept for slow callers, and than a connection takes for them.
const MANY: usize = 2500;

#[tokio::test]
async fn a_caller_that_reads_slowly_misses_nothing_and_costs_others_nothing() {
    let mut server = start().await;
    let (mut slow, mut quick) = (Watch::begin(&mut server, "").await, Watch::begin(&mut server, "").await);
    let mut people = JoinSet::new();
    for number in 0..50 {
        let (store, person) = (server.store.clone(), person(&format!("person{number}")));
        people.spawn(async move {
            let id = person.user_id.clone();
            store.create_user(person, event()).await.unwrap();
            for change in 0..2 * MANY / 50 {
                store.set_disabled(&id, change % 2 == 0, "", event()).await.unwrap();
            }
        });
    }
    let mut told = Vec::new();
    while told.len() < MANY {
        told.push(quick.next().await.cursor);
    }
    people.join_all().await;
    for cursor in told {
        assert_eq!(slow.next().await.cursor, cursor);
    }
}

fn person(name: &str) -> NewUser {
    NewUser {
        user_id: UserId::random().unwrap(),
        user_name: UserName::parse(name).unwrap(),
        password_hash: String::new(),
        full_name: String::new(),
        email: String::new(),
        role: Role::User,
        starting_credits: 0,
    }
}

#[tokio::test]
async fn a_watch_gives_signs_of_life_while_nothing_is_revoked() {
    let mut server = start().await;
    let mut watch = Watch::begin(&mut server, "").await;
    for _ in 0..2 {
        let alive = timeout(SOON, watch.told.message()).await.expect("a sign of life").unwrap().unwrap();
        assert_eq!(alive, watch.first);
    }
}

#[tokio::test]
async fn watches_end_when_the_service_stops_and_hold_it_up_no_longer() {
    let mut server = start().await;
    let mut watch = Watch::begin(&mut server, "").await;
    let stopped = Instant::now();
    server.shutdown.cancel();
    let ended = loop {
        match timeout(SOON, watch.told.message()).await.expect("it ends") {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    assert_refused(ended, Code::Unavailable, ErrorReason::Draining);
    drop(watch);
    let Server { running, accounts, admin, auth, .. } = server;
    drop((accounts, admin, auth));
    timeout(SOON, running).await.expect("nobody is waited for").unwrap();
    // Long before the drain's deadline.
    assert!(stopped.elapsed() < Duration::from_secs(15), "{:?}", stopped.elapsed());
}

#[tokio::test]
async fn an_extend_after_a_revocation_is_permission_denied_with_its_reason() {
    let mut server = start().await;
    let token = server.user("ada").await;
    let operator = server.operator().await;
    let service = server.service_credential.clone();
    let made = server.key(&token, pb::CreateApiKeyRequest::default()).await;
    let hold = |answer: pb::CheckResponse| match answer.result {
        Some(pb::check_response::Result::Grant(grant)) => grant.hold,
        other => panic!("not held: {other:?}"),
    };
    let by_key = hold(server.check(check(&made.key, "k")).await.unwrap());
    let by_token = hold(server.check(check(&token, "t")).await.unwrap());
    let extend = |hold: &str| with(&service, pb::ExtendRequest { hold: hold.to_owned(), usage: None });
    for hold in [&by_key, &by_token] {
        server.auth.clone().extend(extend(hold)).await.unwrap();
    }
    let revoke = pb::RevokeApiKeyRequest { api_key_id: made.api_key.unwrap().api_key_id, ..Default::default() };
    server.accounts.revoke_api_key(with(&token, revoke)).await.unwrap();
    assert_refused(server.auth.clone().extend(extend(&by_key)).await, Code::PermissionDenied, ErrorReason::CredentialRevoked);
    server.auth.clone().extend(extend(&by_token)).await.unwrap();
    let disable = pb::DisableUserRequest { user_name: "ada".into(), ..Default::default() };
    server.admin.disable_user(with(&operator, disable)).await.unwrap();
    assert_refused(server.auth.clone().extend(extend(&by_token)).await, Code::PermissionDenied, ErrorReason::UserDisabled);
    // Both are settled all the same.
    for hold in [by_key, by_token] {
        let settle = pb::SettleRequest { hold, outcome: pb::Outcome::Cancelled.into(), usage: None };
        assert_eq!(server.auth.clone().settle(with(&service, settle)).await.unwrap().into_inner().receipt.unwrap().charged_credits(), 1);
    }
}

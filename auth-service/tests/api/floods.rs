//! Guesses at what isn't a password: refresh tokens, credentials to be revoked, one-time passwords. They cost the store no room, and keep
//! nobody out.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::HashMap;

use auth_service::ids::{SessionId, UserId};
use auth_service::refresh_token::RefreshToken;
use shared::ErrorReason;
use shared::error::reason_of;
use shared::proto::auth as pb;
use tonic::{Code, Status};

use crate::support::*;

/// Guesses of each kind.
const GUESSES: usize = 1000;
/// What the audit log keeps in a minute of callers of whom nobody is known.
const KEPT: usize = 60;

/// How each of many calls at once ended; `None`: well.
async fn at_once<T: Send + 'static>(
    calls: impl Iterator<Item = impl Future<Output = Result<T, Status>> + Send + 'static>,
) -> HashMap<Option<ErrorReason>, usize> {
    let running: Vec<_> = calls.map(tokio::spawn).collect();
    let mut ended = HashMap::new();
    for call in running {
        let reason = call.await.unwrap().err().map(|status| reason_of(&status).unwrap());
        *ended.entry(reason).or_default() += 1;
    }
    ended
}

/// How many events of this action the audit log has.
async fn kept(server: &mut Server, operator: &str, action: &str) -> usize {
    let list = pb::ListAuditEventsRequest { page_size: 500, action: action.to_owned(), ..Default::default() };
    server.admin.list_audit_events(with(operator, list)).await.unwrap().into_inner().events.len()
}

#[tokio::test]
async fn a_flood_of_forged_tokens_fills_no_log_ends_no_session_and_keeps_nobody_out() {
    let mut server = start().await;
    let operator = server.operator().await;
    server.sign_up("mario").await;
    let login = pb::LoginRequest { user_name: "mario".into(), password: PASSWORD.into(), ..Default::default() };
    let mine = server.accounts.login(login).await.unwrap().into_inner();
    let me = server.accounts.get_me(with(&mine.access_token, pb::GetMeRequest {})).await.unwrap().into_inner().user.unwrap();
    // Of a user and a session that are there, of a session that isn't, and of nobody.
    let (user, session) = (UserId::parse(&me.user_id).unwrap(), SessionId::parse(&mine.session_id).unwrap());
    let forged = move |number: usize| {
        let user = if number.is_multiple_of(3) { UserId::random().unwrap() } else { user.clone() };
        let session = if number.is_multiple_of(2) { SessionId::random().unwrap() } else { session.clone() };
        RefreshToken::random(user, session).unwrap().reveal().to_owned()
    };
    let accounts = server.accounts.clone();
    let refreshes = (0..GUESSES).map(|number| {
        let (mut accounts, refresh_token) = (accounts.clone(), forged(number));
        async move { accounts.refresh(pb::RefreshRequest { refresh_token }).await }
    });
    let ended = at_once(refreshes).await;
    assert!(
        ended.keys().all(|reason| matches!(reason, Some(ErrorReason::CredentialInvalid | ErrorReason::CredentialRevoked))),
        "{ended:?}"
    );
    let (signed, signature) = mine.access_token.rsplit_once('.').unwrap();
    let forged_access_token = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    let revocations = (0..GUESSES).map(|number| {
        // With somebody else's signature, or made up of two ids.
        let credential = if number.is_multiple_of(2) { forged_access_token.clone() } else { forged(number) };
        let mut accounts = accounts.clone();
        async move {
            accounts.revoke_credential(pb::RevokeCredentialRequest { credential }).await.map(|answer| assert_unknown(&answer.into_inner()))
        }
    });
    let ended = at_once(revocations).await;
    assert_eq!(ended.get(&None), Some(&GUESSES), "{ended:?}");
    for action in ["refresh", "revoke_credential"] {
        let kept = kept(&mut server, &operator, action).await;
        assert!(kept <= KEPT, "{kept} events of {action}");
    }
    // The session is as it was, and so are its user and the network.
    let refreshed = server.accounts.refresh(pb::RefreshRequest { refresh_token: mine.refresh_token }).await.unwrap().into_inner();
    assert_eq!(refreshed.session_id, mine.session_id);
    server.login("mario").await;
}

fn assert_unknown(answer: &pb::RevokeCredentialResponse) {
    assert_eq!(answer.result(), pb::revoke_credential_response::Result::Unknown);
}

#[tokio::test]
async fn guesses_at_one_time_passwords_are_counted_with_those_at_passwords() {
    let mut server = start().await;
    let operator = server.operator().await;
    server.user("mario").await;
    let reset = with(&operator, pb::ResetPasswordRequest { user_name: "mario".into() });
    let one_time_password = server.admin.reset_password(reset).await.unwrap().into_inner().one_time_password;
    let complete = |one_time_password: String| pb::CompletePasswordResetRequest {
        user_name: "mario".into(),
        one_time_password,
        new_password: "four random words of mine".into(),
        ..Default::default()
    };
    let guesses = (0..200).map(|number| {
        let (mut accounts, guess) = (server.accounts.clone(), complete(format!("a guess, number {number}")));
        async move { accounts.complete_password_reset(guess).await }
    });
    let ended = at_once(guesses).await;
    assert_eq!(ended, HashMap::from([(Some(ErrorReason::LoginFailed), 5), (Some(ErrorReason::RateLimited), 195)]));
    let guess = server.try_login("mario", "another guess").await;
    assert_refused(guess, Code::ResourceExhausted, ErrorReason::RateLimited);
    // From elsewhere the one-time password is good.
    let mut elsewhere = server.accounts_from([127, 0, 0, 2].into()).await;
    elsewhere.complete_password_reset(complete(one_time_password)).await.unwrap();
}

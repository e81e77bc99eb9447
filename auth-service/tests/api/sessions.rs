//! Sessions, passwords and user states over gRPC.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::{Duration, SystemTime};

use auth_service::access_token::{AccessTokens, DEFAULT_LEEWAY};
use auth_service::ids::UserId;
use auth_service::refresh_token::RefreshToken;
use auth_service::token_scopes::TokenScopes;
use shared::ErrorReason;
use shared::proto::auth as pb;
use shared::proto::auth::revoke_credential_response::Result as Revoked;
use tonic::{Code, Status};

use crate::support::*;

const NEW_PASSWORD: &str = "the princess is elsewhere";

impl Server {
    async fn sign_in(&mut self, name: &str, client: &str) -> pb::LoginResponse {
        let request = pb::LoginRequest { user_name: name.into(), password: PASSWORD.into(), client: client.into(), ..Default::default() };
        self.accounts.login(request).await.unwrap().into_inner()
    }

    async fn refresh(&mut self, token: &str) -> Result<pb::RefreshResponse, Status> {
        Ok(self.accounts.refresh(pb::RefreshRequest { refresh_token: token.into() }).await?.into_inner())
    }

    async fn me(&mut self, credential: &str) -> Result<pb::GetMeResponse, Status> {
        Ok(self.accounts.get_me(with(credential, pb::GetMeRequest {})).await?.into_inner())
    }

    async fn sessions(&mut self, token: &str) -> Result<Vec<pb::Session>, Status> {
        Ok(self.accounts.list_sessions(with(token, pb::ListSessionsRequest {})).await?.into_inner().sessions)
    }

    async fn revoke(&mut self, credential: &str) -> pb::RevokeCredentialResponse {
        self.accounts.revoke_credential(pb::RevokeCredentialRequest { credential: credential.into() }).await.unwrap().into_inner()
    }

    async fn change_password(&mut self, token: &str, current: &str, new: &str) -> Result<u32, Status> {
        let request = pb::ChangePasswordRequest { current_password: current.into(), new_password: new.into() };
        Ok(self.accounts.change_password(with(token, request)).await?.into_inner().ended_sessions)
    }

    async fn complete(&mut self, name: &str, one_time: &str, new: &str) -> Result<pb::CompletePasswordResetResponse, Status> {
        let request = pb::CompletePasswordResetRequest {
            user_name: name.into(),
            one_time_password: one_time.into(),
            new_password: new.into(),
            ..Default::default()
        };
        Ok(self.accounts.complete_password_reset(request).await?.into_inner())
    }
}

#[tokio::test]
async fn a_refresh_gives_new_tokens_for_one_that_is_good_once_and_the_access_token_before_stays_good() {
    let mut server = start().await;
    server.sign_up("mario").await;
    let first = server.sign_in("mario", "").await;
    let second = server.refresh(&first.refresh_token).await.unwrap();
    assert_eq!((second.session_id.as_str(), second.refresh_token.len()), (first.session_id.as_str(), 82));
    assert!(second.refresh_token != first.refresh_token && second.access_token != first.access_token);
    assert!(second.refresh_expires_at.unwrap().seconds >= first.refresh_expires_at.unwrap().seconds);
    for token in [&first.access_token, &second.access_token] {
        assert_eq!(server.me(token).await.unwrap().user.unwrap().user_name, "mario");
    }
    let third = server.refresh(&second.refresh_token).await.unwrap();
    // By now the first one's reply can't have been lost.
    assert_refused(server.refresh(&first.refresh_token).await, Code::Unauthenticated, ErrorReason::RefreshTokenReused);
    for token in [&first.access_token, &second.access_token, &third.access_token] {
        assert_refused(server.me(token).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    }
    assert_refused(server.refresh(&third.refresh_token).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
}

#[tokio::test]
async fn a_refresh_token_that_is_mistyped_or_forged_or_of_nobody_changes_nothing_and_is_no_credential_for_calls() {
    let mut server = start().await;
    server.sign_up("mario").await;
    let login = server.sign_in("mario", "").await;
    let token = RefreshToken::parse(&login.refresh_token).unwrap();
    let forged = RefreshToken::random(token.user_id().clone(), token.session_id().clone()).unwrap();
    let nobodys = RefreshToken::random(UserId::random().unwrap(), token.session_id().clone()).unwrap();
    let mistyped = login.refresh_token.replacen(&login.refresh_token[40..41], "_", 1);
    for wrong in [forged.reveal(), nobodys.reveal(), &mistyped, "", "tgr_", &login.access_token, &"x".repeat(5000)] {
        assert_refused(server.refresh(wrong).await, Code::Unauthenticated, ErrorReason::CredentialInvalid);
    }
    assert_refused(server.me(&login.refresh_token).await, Code::Unauthenticated, ErrorReason::CredentialInvalid);
    assert!(server.me(&login.access_token).await.is_ok() && server.refresh(&login.refresh_token).await.is_ok());
}

#[tokio::test]
async fn sessions_are_listed_with_what_the_client_called_itself_and_where_it_was() {
    let mut server = start().await;
    server.sign_up("mario").await;
    let named = server.sign_in("mario", "Mario's laptop").await;
    let unnamed = server.sign_in("mario", "").await;
    let sessions = server.sessions(&unnamed.access_token).await.unwrap();
    let ids: Vec<_> = sessions.iter().map(|session| (session.session_id.as_str(), session.current)).collect();
    assert_eq!(ids, [(unnamed.session_id.as_str(), true), (named.session_id.as_str(), false)]);
    assert_eq!(sessions[1].client, "Mario's laptop");
    assert!(sessions[0].client.starts_with("tonic/"), "the user-agent: {:?}", sessions[0].client);
    for session in &sessions {
        assert_eq!((session.address.as_str(), session.method()), ("127.0.0.1", pb::SignInMethod::Password));
        assert!(session.created_at.is_some() && session.ends_at.unwrap().seconds > session.refresh_expires_at.unwrap().seconds);
        assert_eq!(session.scopes, Vec::<String>::new());
    }
    for wrong in ["a\nb", &"x".repeat(201), "\u{202e}evil"] {
        let request = pb::LoginRequest { user_name: "mario".into(), password: PASSWORD.into(), client: wrong.into(), ..Default::default() };
        assert_refused(server.accounts.login(request).await, Code::InvalidArgument, ErrorReason::InvalidArgument);
    }
}

#[tokio::test]
async fn logging_out_ends_one_session_and_everywhere_all_of_them_and_keys_stay_in_force() {
    let mut server = start().await;
    server.sign_up("mario").await;
    let logins = [server.sign_in("mario", "1").await, server.sign_in("mario", "2").await, server.sign_in("mario", "3").await];
    let [one, two, three] = logins.each_ref().map(|login| login.access_token.as_str());
    let key = server.key(one, pb::CreateApiKeyRequest::default()).await.key;
    server.accounts.logout(with(one, pb::LogoutRequest {})).await.unwrap();
    assert_refused(server.me(one).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    assert_refused(server.refresh(&logins[0].refresh_token).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    let revoke = |id: &str| pb::RevokeSessionRequest { session_id: id.to_owned() };
    server.accounts.revoke_session(with(two, revoke(&logins[2].session_id))).await.unwrap();
    assert_refused(server.me(three).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    for gone in [logins[2].session_id.as_str(), "", "not a session", "000000000000"] {
        let refused = server.accounts.revoke_session(with(two, revoke(gone))).await;
        assert_refused(refused, Code::NotFound, ErrorReason::SessionNotFound);
    }
    server.sign_in("mario", "4").await;
    let ended = server.accounts.logout_everywhere(with(two, pb::LogoutEverywhereRequest {})).await.unwrap().into_inner();
    assert_eq!(ended.ended_sessions, 2);
    assert_refused(server.me(two).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    assert!(server.me(&key).await.is_ok());
    let again = server.login("mario").await;
    assert_eq!(server.sessions(&again).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_log_out_that_is_repeated_after_a_lost_answer_succeeds_and_ends_nothing_else() {
    let mut server = start().await;
    let operator = server.operator().await;
    server.sign_up("mario").await;
    let [own, other] = [server.sign_in("mario", "1").await, server.sign_in("mario", "2").await];
    let (own, other) = ((own.access_token.as_str(), own.session_id.as_str()), (other.access_token.as_str(), other.session_id.as_str()));
    let revoke = |id: &str| pb::RevokeSessionRequest { session_id: id.to_owned() };
    for _ in 0..3 {
        server.accounts.logout(with(own.0, pb::LogoutRequest {})).await.unwrap();
    }
    // Ending it by its own token is the same, and it ends no other.
    server.accounts.revoke_session(with(own.0, revoke(own.1))).await.unwrap();
    for id in [other.1, "", "000000000000"] {
        let refused = server.accounts.revoke_session(with(own.0, revoke(id))).await;
        assert_refused(refused, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    }
    // Whoever has no session any more is not told that all are over while one is.
    let everywhere = pb::LogoutEverywhereRequest {};
    let refused = server.accounts.logout_everywhere(with(own.0, everywhere)).await;
    assert_refused(refused, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    assert!(server.me(other.0).await.is_ok());
    let mut ended = Vec::new();
    for _ in 0..3 {
        ended.push(server.accounts.logout_everywhere(with(other.0, everywhere)).await.unwrap().into_inner().ended_sessions);
    }
    assert_eq!(ended, [1, 0, 0]);
    let later = server.sign_in("mario", "3").await;
    let refused = server.accounts.logout_everywhere(with(other.0, everywhere)).await;
    assert_refused(refused, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    assert!(server.me(&later.access_token).await.is_ok());
    // Also when somebody else ended it.
    let disable = pb::DisableUserRequest { user_name: "mario".into(), reason: String::new() };
    server.admin.disable_user(with(&operator, disable)).await.unwrap();
    server.accounts.logout(with(&later.access_token, pb::LogoutRequest {})).await.unwrap();
    // What is only like it is refused as everywhere.
    let forged = format!("{}AA", &own.0[..own.0.len() - 2]);
    assert_refused(
        server.accounts.logout(with(&forged, pb::LogoutRequest {})).await,
        Code::Unauthenticated,
        ErrorReason::CredentialInvalid,
    );
    let page = pb::ListAuditEventsRequest { user_name: "mario".into(), action: "sign_out".into(), ..Default::default() };
    let recorded = server.admin.list_audit_events(with(&operator, page)).await.unwrap().into_inner().events;
    let recorded: Vec<_> = recorded.iter().map(|event| event.failure.as_str()).collect();
    assert_eq!(recorded, [""], "a repetition changes nothing, and is not recorded");
}

#[tokio::test]
async fn neither_an_api_key_nor_a_limited_token_manages_sessions_or_passwords() {
    let mut server = start().await;
    server.sign_up("mario").await;
    let login = server.sign_in("mario", "").await;
    let all = ["inference".to_owned(), "account".to_owned()].to_vec();
    let key = server.key(&login.access_token, pb::CreateApiKeyRequest { scopes: all, ..Default::default() }).await.key;
    let tokens = AccessTokens::new(&[server.signing.clone()], Duration::from_secs(60), DEFAULT_LEEWAY).unwrap();
    let user = UserId::parse(&server.me(&login.access_token).await.unwrap().user.unwrap().user_id).unwrap();
    let session = auth_service::ids::SessionId::parse(&login.session_id).unwrap();
    let limited = tokens.issue_in(&user, &session, &TokenScopes::parse("account").unwrap(), i64::MAX).unwrap().token;
    assert!(server.me(&limited).await.is_ok());
    for (credential, reason) in [(&key, ErrorReason::AccessTokenRequired), (&limited, ErrorReason::ScopeRequired)] {
        let refused = |answer: Status| assert_refused(Err::<(), _>(answer), Code::PermissionDenied, reason);
        refused(server.sessions(credential).await.unwrap_err());
        refused(server.accounts.logout(with(credential, pb::LogoutRequest {})).await.unwrap_err());
        refused(server.accounts.logout_everywhere(with(credential, pb::LogoutEverywhereRequest {})).await.unwrap_err());
        let revoke = pb::RevokeSessionRequest { session_id: login.session_id.clone() };
        refused(server.accounts.revoke_session(with(credential, revoke)).await.unwrap_err());
        refused(server.change_password(credential, PASSWORD, NEW_PASSWORD).await.unwrap_err());
    }
    assert!(server.me(&login.access_token).await.is_ok());
}

#[tokio::test]
async fn a_changed_password_ends_every_other_session_and_is_the_only_one_from_then_on() {
    let mut server = start().await;
    server.sign_up("mario").await;
    let (own, other) = (server.sign_in("mario", "own").await, server.sign_in("mario", "other").await);
    let token = own.access_token.as_str();
    for (new, why) in [("short", "too short"), (PASSWORD, "the same"), ("passwordpassword", "common")] {
        let refused = server.change_password(token, PASSWORD, new).await;
        let status = assert_refused(refused, Code::InvalidArgument, ErrorReason::InvalidArgument);
        assert!(status.message().contains("new_password") && !status.message().contains(new), "{why}: {status:?}");
    }
    assert_refused(server.change_password(token, "not the password", NEW_PASSWORD).await, Code::Unauthenticated, ErrorReason::LoginFailed);
    assert!(server.me(&other.access_token).await.is_ok(), "nothing has changed");
    assert_eq!(server.change_password(token, PASSWORD, NEW_PASSWORD).await.unwrap(), 1);
    assert_refused(server.me(&other.access_token).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    assert_refused(server.refresh(&other.refresh_token).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    assert!(server.me(token).await.is_ok() && server.refresh(&own.refresh_token).await.is_ok());
    assert_refused(server.try_login("mario", PASSWORD).await, Code::Unauthenticated, ErrorReason::LoginFailed);
    assert!(server.try_login("mario", NEW_PASSWORD).await.is_ok());
}

#[tokio::test]
async fn whoever_has_stolen_an_access_token_guesses_the_password_no_faster_than_whoever_has_none() {
    let mut server = start().await;
    server.sign_up("mario").await;
    let token = server.login("mario").await;
    for guess in 0..5 {
        let refused = server.change_password(&token, &format!("guess number {guess}"), NEW_PASSWORD).await;
        assert_refused(refused, Code::Unauthenticated, ErrorReason::LoginFailed);
    }
    let refused = server.change_password(&token, "one guess more", NEW_PASSWORD).await;
    assert_refused(refused, Code::ResourceExhausted, ErrorReason::RateLimited);
    assert_refused(server.try_login("mario", "by another way").await, Code::ResourceExhausted, ErrorReason::RateLimited);
}

#[tokio::test]
async fn an_operators_one_time_password_is_good_once_and_only_to_choose_another() {
    let mut server = start().await;
    let operator = server.operator().await;
    server.sign_up("mario").await;
    let login = server.sign_in("mario", "").await;
    let reset = pb::ResetPasswordRequest { user_name: "mario".into() };
    let answer = server.admin.reset_password(with(&operator, reset)).await.unwrap().into_inner();
    let (one_time, user) = (answer.one_time_password.as_str(), answer.user.unwrap());
    assert!(one_time.len() >= 20 && user.password_change_required);
    let ends: SystemTime = answer.expires_at.unwrap().try_into().unwrap();
    let left = ends.duration_since(SystemTime::now()).unwrap();
    assert!(left > Duration::from_secs(23 * 3600) && left <= Duration::from_secs(24 * 3600 + 5), "{left:?}");
    assert_refused(server.me(&login.access_token).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    assert_refused(server.refresh(&login.refresh_token).await, Code::FailedPrecondition, ErrorReason::PasswordChangeRequired);
    assert_refused(server.try_login("mario", PASSWORD).await, Code::Unauthenticated, ErrorReason::LoginFailed);
    assert_refused(server.try_login("mario", one_time).await, Code::FailedPrecondition, ErrorReason::PasswordChangeRequired);
    for (name, password) in [("mario", PASSWORD), ("mario", "wrong"), ("nobody", one_time), ("operator", PASSWORD)] {
        let refused = server.complete(name, password, NEW_PASSWORD).await;
        assert_refused(refused, Code::Unauthenticated, ErrorReason::LoginFailed);
    }
    for new in ["short", one_time] {
        assert_refused(server.complete("mario", one_time, new).await, Code::InvalidArgument, ErrorReason::InvalidArgument);
    }
    let completed = server.complete("Mario", one_time, NEW_PASSWORD).await.unwrap();
    assert!(!server.me(&completed.access_token).await.unwrap().user.unwrap().password_change_required);
    assert!(server.refresh(&completed.refresh_token).await.is_ok());
    let refused = server.complete("mario", one_time, "yet another password").await;
    assert_refused(refused, Code::Unauthenticated, ErrorReason::LoginFailed);
    assert!(server.try_login("mario", NEW_PASSWORD).await.is_ok());
}

#[tokio::test]
async fn guesses_of_a_one_time_password_count_as_logins_do() {
    let mut server = start().await;
    server.sign_up("mario").await;
    for guess in 0..5 {
        let refused = server.complete("mario", &format!("guess {guess}"), NEW_PASSWORD).await;
        assert_refused(refused, Code::Unauthenticated, ErrorReason::LoginFailed);
    }
    assert_refused(server.complete("mario", "one more", NEW_PASSWORD).await, Code::ResourceExhausted, ErrorReason::RateLimited);
    assert_refused(server.try_login("mario", "by another way").await, Code::ResourceExhausted, ErrorReason::RateLimited);
}

#[tokio::test]
async fn a_credential_is_revoked_by_showing_it_and_what_is_none_of_ours_is_unknown() {
    let mut server = start().await;
    server.sign_up("mario").await;
    let (by_refresh, by_access) = (server.sign_in("mario", "1").await, server.sign_in("mario", "2").await);
    let later = server.refresh(&by_refresh.refresh_token).await.unwrap();
    let forged = {
        let token = RefreshToken::parse(&later.refresh_token).unwrap();
        RefreshToken::random(token.user_id().clone(), token.session_id().clone()).unwrap()
    };
    let altered = format!("{}AA", &by_access.access_token[..by_access.access_token.len() - 2]);
    for unknown in ["", "tgr_x", "tg_x", "nonsense", forged.reveal(), &altered] {
        let answer = server.revoke(unknown).await;
        assert_eq!((answer.result(), answer.session_id.as_str()), (Revoked::Unknown, ""), "{unknown}");
    }
    assert!(server.me(&later.access_token).await.is_ok() && server.me(&by_access.access_token).await.is_ok());
    // One that was replaced long since is enough.
    let answer = server.revoke(&by_refresh.refresh_token).await;
    assert_eq!((answer.result(), &answer.session_id), (Revoked::Revoked, &by_refresh.session_id));
    assert_refused(server.me(&later.access_token).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    for _ in 0..2 {
        let answer = server.revoke(&by_access.access_token).await;
        assert_eq!((answer.result(), &answer.session_id), (Revoked::Revoked, &by_access.session_id), "idempotent");
    }
    assert_refused(server.refresh(&by_access.refresh_token).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
}

#[tokio::test]
async fn a_locked_user_is_answered_like_a_wrong_password_and_told_why_only_by_what_they_held() {
    let mut server = start().await;
    let operator = server.operator().await;
    server.sign_up("mario").await;
    let login = server.sign_in("mario", "").await;
    let key = server.key(&login.access_token, pb::CreateApiKeyRequest::default()).await.key;
    let lock = || pb::LockUserRequest { user_name: "mario".into(), reason: "a leaked password".into() };
    let locked = server.admin.lock_user(with(&operator, lock())).await.unwrap().into_inner().user.unwrap();
    assert_eq!((locked.locked, locked.disabled, locked.state_reason.as_str()), (true, false, "a leaked password"));
    server.admin.lock_user(with(&operator, lock())).await.unwrap();
    let wrong = server.try_login("mario", "not the password").await.unwrap_err();
    let right = server.try_login("mario", PASSWORD).await.unwrap_err();
    assert_eq!((right.code(), right.message()), (wrong.code(), wrong.message()));
    assert_refused(Err::<(), _>(right), Code::Unauthenticated, ErrorReason::LoginFailed);
    assert_refused(server.me(&login.access_token).await, Code::PermissionDenied, ErrorReason::UserLocked);
    assert_refused(server.refresh(&login.refresh_token).await, Code::PermissionDenied, ErrorReason::UserLocked);
    let user = server.me(&key).await.unwrap().user.unwrap();
    assert_eq!((user.locked, user.state_reason.as_str()), (true, ""), "the reason is for operators");
    let unlock = pb::UnlockUserRequest { user_name: "mario".into() };
    assert!(!server.admin.unlock_user(with(&operator, unlock)).await.unwrap().into_inner().user.unwrap().locked);
    assert_refused(server.refresh(&login.refresh_token).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    assert!(server.try_login("mario", PASSWORD).await.is_ok());
    let nobody = pb::LockUserRequest { user_name: "nobody".into(), reason: String::new() };
    assert_refused(server.admin.lock_user(with(&operator, nobody)).await, Code::NotFound, ErrorReason::UserNotFound);
    let long = pb::LockUserRequest { user_name: "mario".into(), reason: "x".repeat(201) };
    assert_refused(server.admin.lock_user(with(&operator, long)).await, Code::InvalidArgument, ErrorReason::InvalidArgument);
    let by_user = server.login("mario").await;
    assert_refused(server.admin.lock_user(with(&by_user, lock())).await, Code::PermissionDenied, ErrorReason::RoleRequired);
}

#[tokio::test]
async fn a_check_names_the_session_and_refuses_an_address_that_is_none() {
    let mut server = start().await;
    server.sign_up("mario").await;
    let login = server.sign_in("mario", "").await;
    let check = |address: &str| pb::CheckRequest {
        credential: login.access_token.clone(),
        operation: pb::Operation::ReadModels.into(),
        caller_address: address.to_owned(),
        ..Default::default()
    };
    for address in ["", "192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"] {
        let principal = server.check(check(address)).await.unwrap().principal.unwrap();
        assert_eq!((&principal.session_id, principal.api_key_secret), (&login.session_id, 0));
    }
    for wrong in ["192.0.2", "192.0.2.1:80", "localhost", "192.0.2.0/24", " "] {
        assert_refused(server.check(check(wrong)).await, Code::InvalidArgument, ErrorReason::InvalidArgument);
    }
    server.accounts.logout(with(&login.access_token, pb::LogoutRequest {})).await.unwrap();
    assert_refused(server.check(check("")).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
}

#[tokio::test]
async fn a_token_of_the_release_before_sessions_is_good_until_it_ends_and_has_no_session_to_log_out_of() {
    let mut server = start().await;
    let user = UserId::parse(&server.sign_up("mario").await.user_id).unwrap();
    let release_before = AccessTokens::new(&[server.signing.clone()], Duration::from_secs(60), DEFAULT_LEEWAY).unwrap();
    let old = release_before.issue(&user).unwrap().token;
    assert!(server.me(&old).await.is_ok());
    let login = server.sign_in("mario", "").await;
    assert!(server.sessions(&old).await.unwrap().iter().all(|session| !session.current));
    assert_refused(server.accounts.logout(with(&old, pb::LogoutRequest {})).await, Code::NotFound, ErrorReason::SessionNotFound);
    assert!(server.me(&old).await.is_ok());
    // The old release's own sign-out of all: by whichever token.
    let ended = server.accounts.logout_everywhere(with(&old, pb::LogoutEverywhereRequest {})).await.unwrap().into_inner();
    assert_eq!(ended.ended_sessions, 1);
    assert_refused(server.me(&login.access_token).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
}

#[tokio::test]
async fn an_access_token_ends_with_its_session_at_the_latest() {
    let mut server = start_with(&[("TOLLGATE_SESSION_LIFETIME", "30m"), ("TOLLGATE_SESSION_IDLE", "30m")]).await;
    server.sign_up("mario").await;
    let login = server.sign_in("mario", "").await;
    let ends = server.sessions(&login.access_token).await.unwrap()[0].ends_at.unwrap();
    let refreshed = server.refresh(&login.refresh_token).await.unwrap();
    for expires in [login.expires_at.unwrap(), refreshed.expires_at.unwrap(), refreshed.refresh_expires_at.unwrap()] {
        assert!((expires.seconds, expires.nanos) <= (ends.seconds, ends.nanos), "{expires:?} {ends:?}");
    }
}

//! The audit log: every action, who did it, and whether it worked; and what is never in it.

#![expect(clippy::unwrap_used, reason = "the parts that the tests share")]

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use auth_service::store::AuditAction;
use shared::ErrorReason;
use shared::proto::auth as pb;
use tonic::{Code, Request};

use crate::oidc_issuer::OidcIssuer;
use crate::support::{PASSWORD, Server, assert_refused, start, start_at, start_with, violated, with};
use crate::{identities, organizations, second_factor, second_factor_log};

const NEW_PASSWORD: &str = "another plumber, by the pipe";

/// What an operator reads of the log: each event once, as it comes.
pub(crate) struct Follower {
    pub(crate) operator: String,
    since: String,
    calls: u32,
    pub(crate) worked: BTreeSet<&'static str>,
    failed: BTreeSet<&'static str>,
}

impl Follower {
    pub(crate) async fn start(server: &mut Server) -> Self {
        let operator = server.operator().await;
        let list = with(&operator, pb::ListAuditEventsRequest::default());
        let since = server.admin.list_audit_events(list).await.unwrap().into_inner().newest_token;
        Self { operator, since, calls: 0, worked: BTreeSet::new(), failed: BTreeSet::new() }
    }

    /// A message of this follower's own request id.
    pub(crate) fn ask<T>(&mut self, credential: &str, message: T) -> Request<T> {
        self.calls += 1;
        let mut request = if credential.is_empty() { Request::new(message) } else { with(credential, message) };
        request.metadata_mut().insert("x-request-id", format!("audit-{}", self.calls).parse().unwrap());
        request
    }

    pub(crate) async fn events(&mut self, server: &mut Server) -> Vec<pb::AuditEvent> {
        let request = pb::ListAuditEventsRequest { since_token: self.since.clone(), ..Default::default() };
        let page = server.admin.list_audit_events(with(&self.operator, request)).await.unwrap().into_inner();
        self.since = page.newest_token;
        page.events
    }

    /// The one event that the last call left, which worked, or failed for this reason.
    pub(crate) async fn one(&mut self, server: &mut Server, action: AuditAction, failure: &str) -> pb::AuditEvent {
        let events = self.events(server).await;
        let seen: Vec<_> = events.iter().map(|event| (event.action.as_str(), event.failure.as_str())).collect();
        assert_eq!(seen, [(action.name(), failure)]);
        let event = events[0].clone();
        assert_eq!((event.address.as_str(), &event.request_id), ("127.0.0.1", &format!("audit-{}", self.calls)), "{seen:?}");
        assert!(event.created_at.is_some() && !event.event_id.is_empty(), "{seen:?}");
        if failure.is_empty() {
            self.worked.insert(action.name())
        } else {
            self.failed.insert(action.name())
        };
        event
    }
}

/// Whether an action is recorded when it works, and when it is refused or fails.
fn is_recorded(action: AuditAction) -> (bool, bool) {
    match action {
        AuditAction::SignUp
        | AuditAction::SignIn
        | AuditAction::SignOut
        | AuditAction::SignOutEverywhere
        | AuditAction::RevokeSession
        | AuditAction::ChangePassword
        | AuditAction::CompletePasswordReset
        | AuditAction::CreateApiKey
        | AuditAction::RevokeApiKey
        | AuditAction::ApproveDevice
        | AuditAction::DenyDevice
        | AuditAction::DeviceSignIn
        | AuditAction::CreateUser
        | AuditAction::DisableUser
        | AuditAction::EnableUser
        | AuditAction::LockUser
        | AuditAction::UnlockUser
        | AuditAction::ResetPassword
        | AuditAction::GrantCredits
        | AuditAction::ManageModels => (true, true),
        // That a session goes on, and that somebody reads, changes nothing.
        AuditAction::Refresh | AuditAction::ListUsers | AuditAction::ListAllOrganizations | AuditAction::ListAuditEvents => (false, true),
        // What is throttled has not been tried.
        AuditAction::BeginDeviceSignIn => (true, false),
        // What nobody knows is no failure.
        AuditAction::RevokeCredential => (true, false),
        // Commands on the store's host: who may run them may do anything with it.
        AuditAction::CreateAdmin | AuditAction::ExportLedger => (true, false),
        AuditAction::RotateApiKey => (false, false),
        AuditAction::BeginSecondFactor
        | AuditAction::SignInWithIssuer
        | AuditAction::LinkIdentity
        | AuditAction::UnlinkIdentity
        | AuditAction::CreateOrganization
        | AuditAction::InviteMember
        | AuditAction::WithdrawInvitation
        | AuditAction::AcceptInvitation
        | AuditAction::AddMember
        | AuditAction::RemoveMember
        | AuditAction::SetMemberRole
        | AuditAction::SetMemberCap
        | AuditAction::CreateServiceAccount
        | AuditAction::RemoveServiceAccount
        | AuditAction::EnableSecondFactor
        | AuditAction::DisableSecondFactor
        | AuditAction::StepUp
        | AuditAction::CreateRecoveryCodes
        | AuditAction::ResetSecondFactor => (true, true),
        // One that fails is the failure of a sign-in with an issuer.
        AuditAction::SignUpWithIssuer => (true, false),
        // What it is used for is recorded beside it, and so is one that is wrong.
        AuditAction::UseRecoveryCode => (true, false),
    }
}

#[test]
fn the_table_of_actions_in_security_md_has_all_of_them_and_says_when_each_is_recorded() {
    let text = include_str!("../../../SECURITY.md");
    let table = text.split("## The audit log").nth(1).and_then(|section| section.split("## Boundaries").next()).unwrap();
    let rows: Vec<Vec<&str>> =
        table.lines().filter(|line| line.starts_with("| `")).map(|line| line.split('|').map(str::trim).collect()).collect();
    let names: Vec<String> = AuditAction::ALL.iter().map(|action| format!("`{}`", action.name())).collect();
    assert_eq!(rows.iter().map(|cells| cells[1]).collect::<Vec<_>>(), names);
    for (action, cells) in AuditAction::ALL.iter().zip(rows) {
        let says_yes = |cell: &str| !cell.starts_with("no");
        let shown = (says_yes(cells[3]), says_yes(cells[4]));
        match action {
            // Not built in this test's service.
            AuditAction::RotateApiKey | AuditAction::ExportLedger => {}
            action => assert_eq!(shown, is_recorded(*action), "{action:?}"),
        }
    }
}

fn create_user(name: &str) -> pb::CreateUserRequest {
    pb::CreateUserRequest { user_name: name.into(), password: PASSWORD.into(), starting_credits: Some(3), ..Default::default() }
}

fn disable(name: &str) -> pb::DisableUserRequest {
    pb::DisableUserRequest { user_name: name.into(), reason: "left".into() }
}

fn login(name: &str, password: &str) -> pb::LoginRequest {
    pb::LoginRequest { user_name: name.into(), password: password.into(), ..Default::default() }
}

/// What users do: keys, sessions and sign-ins.
async fn users(server: &mut Server, log: &mut Follower) {
    use AuditAction as A;
    let sign_up = |name: &str| pb::SignUpRequest { user_name: name.into(), password: PASSWORD.into(), ..Default::default() };
    let ada = server.accounts.sign_up(log.ask("", sign_up("ada"))).await.unwrap().into_inner().user.unwrap();
    let event = log.one(server, A::SignUp, "").await;
    assert_eq!((&event.actor_user_id, &event.subject_user_id, event.subject_name.as_str()), (&ada.user_id, &ada.user_id, "ada"));
    server.accounts.sign_up(log.ask("", sign_up("ada"))).await.unwrap_err();
    log.one(server, A::SignUp, "USER_NAME_TAKEN").await;

    let signed_in = server.accounts.login(log.ask("", login("ada", PASSWORD))).await.unwrap().into_inner();
    let event = log.one(server, A::SignIn, "").await;
    assert_eq!((event.actor_name.as_str(), &event.actor_user_id, &event.subject_id), ("ada", &ada.user_id, &signed_in.session_id));
    assert!(event.client.starts_with("tonic/"), "{event:?}");
    server.accounts.login(log.ask("", login("ada", "not the password"))).await.unwrap_err();
    let event = log.one(server, A::SignIn, "LOGIN_FAILED").await;
    assert_eq!((event.subject_name.as_str(), event.actor_user_id.as_str()), ("ada", ""), "who it was isn't known");
    server.accounts.login(log.ask("", login("it.is.a.password", PASSWORD))).await.unwrap_err();
    let event = log.one(server, A::SignIn, "LOGIN_FAILED").await;
    assert_eq!((event.actor_name.as_str(), event.subject_name.as_str()), ("", ""), "a name that nobody has may be a password");

    let token = signed_in.access_token;
    let made = server.accounts.create_api_key(log.ask(&token, pb::CreateApiKeyRequest::default())).await.unwrap().into_inner();
    let key_id = made.api_key.unwrap().api_key_id;
    let event = log.one(server, A::CreateApiKey, "").await;
    assert_eq!((&event.actor_user_id, &event.subject_id, &event.actor_credential_id), (&ada.user_id, &key_id, &signed_in.session_id));
    assert_eq!(event.actor_name, "ada");
    server.accounts.create_api_key(log.ask(&made.key, pb::CreateApiKeyRequest::default())).await.unwrap_err();
    log.one(server, A::CreateApiKey, "ACCESS_TOKEN_REQUIRED").await;
    let revoke = |key: &str| pb::RevokeApiKeyRequest { api_key_id: key.into(), ..Default::default() };
    server.accounts.revoke_api_key(log.ask(&token, revoke(&key_id))).await.unwrap();
    assert_eq!(log.one(server, A::RevokeApiKey, "").await.subject_id, key_id);
    server.accounts.revoke_api_key(log.ask(&token, revoke("AAAAAAAAAAAA"))).await.unwrap_err();
    assert_eq!(log.one(server, A::RevokeApiKey, "API_KEY_NOT_FOUND").await.actor_user_id, ada.user_id);

    let refresh = |token: &str| pb::RefreshRequest { refresh_token: token.into() };
    for _ in 0..2 {
        server.accounts.refresh(log.ask("", refresh(&signed_in.refresh_token))).await.unwrap();
        assert_eq!(log.events(server).await, [], "that a session goes on is not recorded");
    }
    server.accounts.refresh(log.ask("", refresh(&signed_in.refresh_token))).await.unwrap_err();
    let event = log.one(server, A::Refresh, "REFRESH_TOKEN_REUSED").await;
    assert_eq!((&event.subject_user_id, &event.subject_id), (&ada.user_id, &signed_in.session_id));
    server.accounts.refresh(log.ask("", refresh(&signed_in.refresh_token))).await.unwrap_err();
    let event = log.one(server, A::Refresh, "CREDENTIAL_REVOKED").await;
    assert_eq!((event.actor_user_id.as_str(), &event.subject_id), ("", &signed_in.session_id));

    let sign_in = async |server: &mut Server, log: &mut Follower| {
        let signed_in = server.accounts.login(log.ask("", login("ada", PASSWORD))).await.unwrap().into_inner();
        log.one(server, A::SignIn, "").await;
        signed_in
    };
    let (first, second) = (sign_in(server, log).await, sign_in(server, log).await);
    let revoke = |session: &str| pb::RevokeSessionRequest { session_id: session.into() };
    server.accounts.revoke_session(log.ask(&first.access_token, revoke(&second.session_id))).await.unwrap();
    assert_eq!(log.one(server, A::RevokeSession, "").await.subject_id, second.session_id);
    server.accounts.revoke_session(log.ask(&first.access_token, revoke(&second.session_id))).await.unwrap_err();
    log.one(server, A::RevokeSession, "SESSION_NOT_FOUND").await;
    server.accounts.logout(log.ask(&first.access_token, pb::LogoutRequest {})).await.unwrap();
    assert_eq!(log.one(server, A::SignOut, "").await.subject_id, first.session_id);
    server.accounts.logout(log.ask(&first.access_token, pb::LogoutRequest {})).await.unwrap();
    assert_eq!(log.events(server).await, [], "that a log-out is repeated is not recorded");
    let ended = log.ask(&first.access_token, revoke(&second.session_id));
    server.accounts.revoke_session(ended).await.unwrap_err();
    let event = log.one(server, A::RevokeSession, "CREDENTIAL_REVOKED").await;
    assert_eq!((&event.actor_user_id, &event.actor_credential_id), (&ada.user_id, &first.session_id));
    server.accounts.logout(log.ask(&made.key, pb::LogoutRequest {})).await.unwrap_err();
    log.one(server, A::SignOut, "ACCESS_TOKEN_REQUIRED").await;
    let third = sign_in(server, log).await;
    server.accounts.logout_everywhere(log.ask(&third.access_token, pb::LogoutEverywhereRequest {})).await.unwrap();
    log.one(server, A::SignOutEverywhere, "").await;
    sign_in(server, log).await;
    server.accounts.logout_everywhere(log.ask(&third.access_token, pb::LogoutEverywhereRequest {})).await.unwrap_err();
    log.one(server, A::SignOutEverywhere, "CREDENTIAL_REVOKED").await;
    let fourth = sign_in(server, log).await;
    let shown = pb::RevokeCredentialRequest { credential: fourth.refresh_token };
    server.accounts.revoke_credential(log.ask("", shown.clone())).await.unwrap();
    assert_eq!(log.one(server, A::RevokeCredential, "").await.subject_id, fourth.session_id);
    server.accounts.revoke_credential(log.ask("", shown)).await.unwrap();
    assert_eq!(log.events(server).await, []);

    let fifth = sign_in(server, log).await.access_token;
    let change = |current: &str| pb::ChangePasswordRequest { current_password: current.into(), new_password: NEW_PASSWORD.into() };
    server.accounts.change_password(log.ask(&fifth, change("not the password"))).await.unwrap_err();
    assert_eq!(log.one(server, A::ChangePassword, "LOGIN_FAILED").await.actor_user_id, ada.user_id);
    server.accounts.change_password(log.ask(&fifth, change(PASSWORD))).await.unwrap();
    assert_eq!(log.one(server, A::ChangePassword, "").await.subject_name, "ada");
}

/// What operators do.
async fn operators(server: &mut Server, log: &mut Follower) {
    use AuditAction as A;
    let (operator, ada) = (log.operator.clone(), server.try_login("ada", NEW_PASSWORD).await.unwrap());
    log.events(server).await;
    let user = server.admin.create_user(log.ask(&operator, create_user("bob"))).await.unwrap().into_inner().user.unwrap();
    let event = log.one(server, A::CreateUser, "").await;
    assert_eq!((event.actor_name.as_str(), event.subject_name.as_str(), &event.subject_user_id), ("operator", "bob", &user.user_id));
    assert_eq!(event.detail, "user, 3 credits");
    server.admin.create_user(log.ask(&operator, create_user("bob"))).await.unwrap_err();
    log.one(server, A::CreateUser, "USER_NAME_TAKEN").await;
    server.admin.create_user(log.ask(&ada, create_user("cleo"))).await.unwrap_err();
    assert_eq!(log.one(server, A::CreateUser, "ROLE_REQUIRED").await.actor_name, "ada");

    server.admin.disable_user(log.ask(&operator, disable("bob"))).await.unwrap();
    let event = log.one(server, A::DisableUser, "").await;
    assert_eq!((event.subject_name.as_str(), event.detail.as_str()), ("bob", "left"));
    server.admin.disable_user(log.ask(&operator, disable("bob"))).await.unwrap();
    assert_eq!(log.one(server, A::DisableUser, "").await.detail, "no change");
    server.admin.disable_user(log.ask(&operator, disable("nobody"))).await.unwrap_err();
    log.one(server, A::DisableUser, "USER_NOT_FOUND").await;
    let enable = |name: &str| pb::EnableUserRequest { user_name: name.into() };
    server.admin.enable_user(log.ask(&operator, enable("bob"))).await.unwrap();
    log.one(server, A::EnableUser, "").await;
    server.admin.enable_user(log.ask(&ada, enable("bob"))).await.unwrap_err();
    log.one(server, A::EnableUser, "ROLE_REQUIRED").await;
    let lock = |name: &str| pb::LockUserRequest { user_name: name.into(), reason: "lost laptop".into() };
    server.admin.lock_user(log.ask(&operator, lock("bob"))).await.unwrap();
    assert_eq!(log.one(server, A::LockUser, "").await.detail, "lost laptop");
    server.admin.lock_user(log.ask(&operator, lock("?"))).await.unwrap_err();
    log.one(server, A::LockUser, "INVALID_ARGUMENT").await;
    let unlock = |name: &str| pb::UnlockUserRequest { user_name: name.into() };
    server.admin.unlock_user(log.ask(&operator, unlock("bob"))).await.unwrap();
    log.one(server, A::UnlockUser, "").await;
    server.admin.unlock_user(log.ask(&operator, unlock("nobody"))).await.unwrap_err();
    log.one(server, A::UnlockUser, "USER_NOT_FOUND").await;

    let reset = |name: &str| pb::ResetPasswordRequest { user_name: name.into() };
    let one_time = server.admin.reset_password(log.ask(&operator, reset("bob"))).await.unwrap().into_inner().one_time_password;
    assert_eq!(log.one(server, A::ResetPassword, "").await.subject_name, "bob");
    server.admin.reset_password(log.ask(&operator, reset("nobody"))).await.unwrap_err();
    log.one(server, A::ResetPassword, "USER_NOT_FOUND").await;
    server.accounts.login(log.ask("", login("bob", &one_time))).await.unwrap_err();
    log.one(server, A::SignIn, "PASSWORD_CHANGE_REQUIRED").await;
    let complete = |one_time: &str| pb::CompletePasswordResetRequest {
        user_name: "bob".into(),
        one_time_password: one_time.into(),
        new_password: NEW_PASSWORD.into(),
        ..Default::default()
    };
    server.accounts.complete_password_reset(log.ask("", complete("k7mf-2x9q-0abc-defg-hjkm"))).await.unwrap_err();
    log.one(server, A::CompletePasswordReset, "LOGIN_FAILED").await;
    server.accounts.complete_password_reset(log.ask("", complete(&one_time))).await.unwrap();
    assert_eq!(log.one(server, A::CompletePasswordReset, "").await.actor_name, "bob");

    let grant = |credits| pb::GrantCreditsRequest {
        user_name: "bob".into(),
        credits,
        request_id: "g".into(),
        note: "for the demo".into(),
        ..Default::default()
    };
    server.admin.grant_credits(log.ask(&operator, grant(5))).await.unwrap();
    assert_eq!(log.one(server, A::GrantCredits, "").await.detail, "5 credits: for the demo");
    server.admin.grant_credits(log.ask(&operator, grant(5))).await.unwrap();
    assert_eq!(log.one(server, A::GrantCredits, "").await.detail, "5 credits: for the demo; no change");
    server.admin.grant_credits(log.ask(&operator, grant(6))).await.unwrap_err();
    log.one(server, A::GrantCredits, "REQUEST_ID_REUSED").await;

    server.admin.list_users(log.ask(&operator, pb::ListUsersRequest::default())).await.unwrap();
    server.admin.list_all_organizations(log.ask(&operator, pb::ListAllOrganizationsRequest::default())).await.unwrap();
    server.admin.list_audit_events(log.ask(&operator, pb::ListAuditEventsRequest::default())).await.unwrap();
    assert_eq!(log.events(server).await, [], "that an operator reads is not recorded");
    server.admin.list_users(log.ask(&ada, pb::ListUsersRequest::default())).await.unwrap_err();
    log.one(server, A::ListUsers, "ROLE_REQUIRED").await;
    server.admin.list_all_organizations(log.ask(&ada, pb::ListAllOrganizationsRequest::default())).await.unwrap_err();
    log.one(server, A::ListAllOrganizations, "ROLE_REQUIRED").await;
    server.admin.list_audit_events(log.ask(&ada, pb::ListAuditEventsRequest::default())).await.unwrap_err();
    log.one(server, A::ListAuditEvents, "ROLE_REQUIRED").await;
}

/// What is asked for beside the two services: models, by inference-service, and the commands.
async fn others(server: &mut Server, log: &mut Follower) {
    use AuditAction as A;
    let ada = server.try_login("ada", NEW_PASSWORD).await.unwrap();
    log.events(server).await;
    let manage = |credential: &str| pb::CheckRequest {
        credential: credential.into(),
        operation: pb::Operation::ManageModels.into(),
        model: "Library/Tiny:latest".into(),
        caller_address: "127.0.0.1".into(),
        ..Default::default()
    };
    let service = server.service_credential.clone();
    server.auth.check(log.ask(&service, manage(&log.operator.clone()))).await.unwrap();
    let event = log.one(server, A::ManageModels, "").await;
    assert_eq!((event.actor_name.as_str(), event.detail.as_str()), ("operator", "tiny"));
    server.auth.check(log.ask(&service, manage(&ada))).await.unwrap_err();
    assert_eq!(log.one(server, A::ManageModels, "ROLE_REQUIRED").await.actor_name, "ada");

    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_auth-service"));
        command.env_clear().env("TOLLGATE_DATA_DIR", server.folder.path()).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
        assert!(child.wait_with_output().unwrap().status.success(), "{arguments:?}");
    };
    run(&["create-admin", "root"]);
    run(&["export-ledger"]);
    let events = log.events(server).await;
    let seen: Vec<_> = events.iter().map(|event| (event.action.as_str(), event.subject_name.as_str(), event.detail.as_str())).collect();
    let exported = "5 ledger entries were written, and 0 of them folded";
    assert_eq!(seen, [("create_admin", "root", "admin, 10 credits"), ("export_ledger", "", exported)]);
    assert!(events.iter().all(|event| event.address.is_empty() && event.actor_user_id.is_empty() && event.failure.is_empty()));
    log.worked.extend(["create_admin", "export_ledger"]);
}

/// What devices do, and those who answer them.
async fn devices(server: &mut Server, log: &mut Follower) {
    use AuditAction as A;
    server.sign_up("dora").await;
    let token = server.login("dora").await;
    log.events(server).await;
    let begin = async |server: &mut Server, log: &mut Follower| {
        let request = log.ask("", pb::BeginDeviceSignInRequest { client: "a notebook".into(), ..Default::default() });
        let begun = server.accounts.begin_device_sign_in(request).await.unwrap().into_inner();
        let event = log.one(server, A::BeginDeviceSignIn, "").await;
        assert_eq!((event.actor_user_id.as_str(), event.detail.as_str()), ("", "a notebook"));
        begun
    };
    let answer = |code: &str, deny| pb::ApproveDeviceRequest { user_code: code.into(), deny };
    let (first, second) = (begin(server, log).await, begin(server, log).await);
    for (action, deny) in [(A::ApproveDevice, false), (A::DenyDevice, true)] {
        server.accounts.approve_device(log.ask(&token, answer("BBBB-BBBB", deny))).await.unwrap_err();
        let event = log.one(server, action, "USER_CODE_UNKNOWN").await;
        assert_eq!((event.actor_name.as_str(), event.subject_name.as_str()), ("dora", "dora"));
    }
    server.accounts.approve_device(log.ask(&token, answer(&second.user_code, true))).await.unwrap();
    assert_eq!(log.one(server, A::DenyDevice, "").await.detail, "a notebook");
    server.accounts.approve_device(log.ask(&token, answer(&first.user_code, false))).await.unwrap();
    let event = log.one(server, A::ApproveDevice, "").await;
    assert_eq!((event.actor_name.as_str(), event.subject_name.as_str(), event.detail.as_str()), ("dora", "dora", "a notebook"));
    let asks = |begun: &pb::BeginDeviceSignInResponse| pb::ExchangeDeviceCodeRequest { device_code: begun.device_code.clone() };
    let signed_in = server.accounts.exchange_device_code(log.ask("", asks(&first))).await.unwrap().into_inner();
    let event = log.one(server, A::DeviceSignIn, "").await;
    assert_eq!((event.actor_name.as_str(), &event.subject_id), ("dora", &signed_in.session_id));
    for begun in [&first, &second] {
        server.accounts.exchange_device_code(log.ask("", asks(begun))).await.unwrap_err();
        assert_eq!(log.events(server).await, [], "that a device asks changes nothing");
    }
    let third = begin(server, log).await;
    server.accounts.approve_device(log.ask(&token, answer(&third.user_code, false))).await.unwrap();
    server.accounts.logout_everywhere(log.ask(&token, pb::LogoutEverywhereRequest {})).await.unwrap();
    log.events(server).await;
    server.accounts.exchange_device_code(log.ask("", asks(&third))).await.unwrap_err();
    let event = log.one(server, A::DeviceSignIn, "DEVICE_CODE_EXPIRED").await;
    assert_eq!((event.actor_user_id.as_str(), event.subject_name.as_str()), ("", "dora"));
}

#[tokio::test]
async fn every_action_is_recorded_once_when_it_works_and_once_when_it_is_refused_with_who_whom_from_where_and_by_which_call() {
    let (clock, hand) = second_factor::clock();
    let (one, two) = (OidcIssuer::start().await, OidcIssuer::start().await);
    let issuers = serde_json::json!([one.entry("one"), two.entry("two")]).to_string();
    let mut server = start_at(&[("TOLLGATE_OIDC_ISSUERS", &issuers)], clock).await;
    let mut log = Follower::start(&mut server).await;
    users(&mut server, &mut log).await;
    operators(&mut server, &mut log).await;
    others(&mut server, &mut log).await;
    devices(&mut server, &mut log).await;
    organizations::each_action_is_recorded(&mut server, &mut log).await;
    identities::each_action_is_recorded(&mut server, &mut log, &one, &two).await;
    second_factor_log::each_action_is_recorded(&mut server, &mut log, &hand).await;
    for action in AuditAction::ALL {
        let recorded = (log.worked.contains(action.name()), log.failed.contains(action.name()));
        assert_eq!(recorded, is_recorded(*action), "{action:?}");
    }
}

#[tokio::test]
async fn the_log_is_listed_by_user_and_by_action_page_by_page_and_to_operators_alone() {
    let mut server = start().await;
    let log = Follower::start(&mut server).await;
    for name in ["mario", "luigi"] {
        server.sign_up(name).await;
        server.login(name).await;
    }
    server.try_login("mario", "not the password").await.unwrap_err();
    let list =
        |user: &str, action: &str| pb::ListAuditEventsRequest { user_name: user.into(), action: action.into(), ..Default::default() };
    let actions = async |server: &mut Server, request: pb::ListAuditEventsRequest| {
        let page = server.admin.list_audit_events(with(&log.operator, request)).await.unwrap().into_inner();
        page.events.into_iter().map(|event| event.action + &event.failure).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(actions(&mut server, list("Mario", "")).await, "sign_inLOGIN_FAILED sign_in sign_up");
    assert_eq!(actions(&mut server, list("luigi", "")).await, "sign_in sign_up");
    assert_eq!(actions(&mut server, list("mario", "sign_up")).await, "sign_up");
    assert_eq!(actions(&mut server, list("", "disable_user")).await, "");
    let (mut request, mut paged) = (pb::ListAuditEventsRequest { page_size: 2, ..list("", "") }, Vec::new());
    loop {
        let page = server.admin.list_audit_events(with(&log.operator, request.clone())).await.unwrap().into_inner();
        assert!(page.events.len() <= 2 && !page.newest_token.is_empty());
        paged.extend(page.events);
        // Meanwhile, somebody else does something.
        server.try_login("luigi", "not the password").await.unwrap_err();
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let ids: BTreeSet<_> = paged.iter().map(|event| event.event_id.clone()).collect();
    // Of template and operator, the operator's sign-in, and what stands above.
    assert_eq!((ids.len(), paged.len()), (8, 8), "each once: {paged:?}");
    let nobody = with(&log.operator, list("nobody", ""));
    assert_refused(server.admin.list_audit_events(nobody).await, Code::NotFound, ErrorReason::UserNotFound);
    let wrong = pb::ListAuditEventsRequest { page_token: "x".into(), page_size: 501, ..list("?", "explode") };
    let wrong = server.admin.list_audit_events(with(&log.operator, wrong)).await;
    assert_eq!(violated(wrong), ["page_size", "page_token", "user_name", "action"]);
    let token = server.login("mario").await;
    let refused = server.admin.list_audit_events(with(&token, list("", ""))).await;
    assert_refused(refused, Code::PermissionDenied, ErrorReason::RoleRequired);
}

#[tokio::test]
async fn a_flood_of_attempts_pushes_no_change_out_and_costs_a_bounded_number_of_events() {
    let mut server = start_with(&[("TOLLGATE_AUDIT_EVENTS", "1000")]).await;
    let mut log = Follower::start(&mut server).await;
    server.admin.create_user(log.ask(&log.operator.clone(), create_user("bob"))).await.unwrap();
    // Of nobody who is known, as fast as they come.
    for _ in 0..200 {
        let forged = "tgr_00000000000000000000000000000000000000000000000000000000000000000000000000000000";
        server.accounts.refresh(pb::RefreshRequest { refresh_token: forged.into() }).await.unwrap_err();
        server.accounts.sign_up(pb::SignUpRequest { user_name: "?".into(), ..Default::default() }).await.unwrap_err();
    }
    let events = log.events(&mut server).await;
    let attempts = events.iter().filter(|event| !event.failure.is_empty()).count();
    assert!((1..=60).contains(&attempts), "{attempts} attempts were recorded");
    assert!(events.iter().any(|event| event.action == "create_user"));
}

#[tokio::test]
async fn no_password_token_or_key_that_was_sent_or_given_is_in_the_stores_file() {
    let mut server = start().await;
    let mut log = Follower::start(&mut server).await;
    let operator = log.operator.clone();
    server.sign_up("ada").await;
    let signed_in = server.accounts.login(login("ada", PASSWORD)).await.unwrap().into_inner();
    let key = server.key(&signed_in.access_token, pb::CreateApiKeyRequest::default()).await.key;
    let refreshed = pb::RefreshRequest { refresh_token: signed_in.refresh_token.clone() };
    let refreshed = server.accounts.refresh(refreshed).await.unwrap().into_inner();
    let reset = with(&operator, pb::ResetPasswordRequest { user_name: "ada".into() });
    let one_time = server.admin.reset_password(reset).await.unwrap().into_inner().one_time_password;
    let mut secrets = vec![PASSWORD.to_owned(), signed_in.access_token, signed_in.refresh_token, key, operator.clone()];
    secrets.extend([refreshed.access_token, refreshed.refresh_token, one_time, server.service_credential.clone()]);
    // In every field where somebody may have typed them by mistake.
    for secret in secrets.clone().into_iter().chain(["hunter2.hunter2".to_owned()]) {
        let _ = server.accounts.login(login(&secret, &secret)).await;
        let _ = server.accounts.login(login("ada", &secret)).await;
        let _ = server.accounts.refresh(pb::RefreshRequest { refresh_token: format!("{secret}x") }).await;
        let _ = server.accounts.revoke_credential(pb::RevokeCredentialRequest { credential: format!("{secret}x") }).await;
        let _ = server.admin.disable_user(with(&operator, disable(&secret))).await;
        let _ = server.admin.reset_password(with(&operator, pb::ResetPasswordRequest { user_name: secret.clone() })).await;
        let list = pb::ListAuditEventsRequest { user_name: secret.clone(), action: secret.clone(), ..Default::default() };
        let _ = server.admin.list_audit_events(with(&operator, list)).await;
        let _ = server.admin.disable_user(log.ask(&format!("{secret}x"), disable("ada"))).await;
        let _ = server.admin.disable_user(log.ask(&secret, disable("ada"))).await;
    }
    secrets.push("hunter2".to_owned());
    assert!(log.events(&mut server).await.len() > 10);
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(server.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with(auth_service::config::STORE_FILE) {
            bytes.extend(std::fs::read(path).unwrap());
        }
    }
    let holds = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("operator"), "the file was read");
    for secret in secrets {
        assert!(!holds(&secret), "{secret} is in the file");
    }
}

//! End users and operators, through real clients.

use std::time::Duration;

use auth_service::ids::AccountId;
use auth_service::store::Checkpoint;
use auth_service::user::UserName;
use shared::ErrorReason;
use shared::error::retry_delay_of;
use shared::proto::auth as pb;
use tonic::Code;

use crate::hostile_tokens::{changed, claims, header, now, sign_right};
use crate::support::*;

#[tokio::test]
async fn a_user_signs_up_logs_in_makes_a_key_and_reads_ten_credits() {
    let mut server = start().await;
    let request = pb::SignUpRequest {
        user_name: "Mario".into(),
        password: PASSWORD.into(),
        full_name: "Mario Mario".into(),
        email: "mario@example.com".into(),
    };
    let made = server.accounts.sign_up(request).await.unwrap().into_inner();
    assert_eq!(made.available_credits(), 10);
    assert_eq!(made.user.unwrap().user_name, "mario");
    let token = server.login("MARIO").await;
    let made = server.key(&token, pb::CreateApiKeyRequest { name: "laptop".into(), ..Default::default() }).await;
    let key = made.api_key.unwrap();
    assert_eq!(made.key.len(), 49);
    assert_eq!(key.scopes, ["inference", "account"]);
    assert!(key.hint.starts_with(&made.key[..7]) && key.hint.ends_with(&made.key[45..]));
    for credential in [&token, &made.key] {
        let balance = server.balance(credential).await.unwrap();
        assert_eq!((balance.available_credits(), balance.granted_credits()), (10, 10));
        let me = server.accounts.get_me(with(credential, pb::GetMeRequest {})).await.unwrap().into_inner();
        let user = me.user.unwrap();
        assert_eq!((user.user_name.as_str(), user.full_name.as_str(), user.email.as_str()), ("mario", "Mario Mario", "mario@example.com"));
        assert_eq!(me.account_id, user.user_id);
        assert_eq!(me.api_key_id, if *credential == made.key { key.api_key_id.clone() } else { String::new() });
    }
    let listed = server.accounts.list_api_keys(with(&token, pb::ListApiKeysRequest {})).await.unwrap().into_inner().api_keys;
    assert_eq!(listed, [key]);
}

#[tokio::test]
async fn a_token_lives_for_thirty_minutes() {
    let mut server = start().await;
    server.sign_up("mario").await;
    let request = pb::LoginRequest { user_name: "mario".into(), password: PASSWORD.into(), ..Default::default() };
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let before = now();
    let answer = server.accounts.login(request).await.unwrap().into_inner();
    let issued = answer.expires_at.unwrap().seconds - 1800;
    assert!((before..=now()).contains(&issued), "{before} {issued}");
    assert!(answer.refresh_token.starts_with("tgr_") && answer.session_id.len() == 12, "{answer:?}");
}

#[tokio::test]
async fn unknown_user_wrong_password_and_disabled_user_get_the_same_answer() {
    let mut server = start().await;
    let operator = server.operator().await;
    server.sign_up("mario").await;
    server.sign_up("luigi").await;
    server.admin.disable_user(with(&operator, pb::DisableUserRequest { user_name: "luigi".into(), ..Default::default() })).await.unwrap();
    let mut answers = Vec::new();
    let too_long = "x".repeat(5000);
    for (name, password) in [("mario", "not the password"), ("nobody", PASSWORD), ("luigi", PASSWORD), ("?", ""), ("bowser", &too_long)] {
        let status = assert_refused(server.try_login(name, password).await, Code::Unauthenticated, ErrorReason::LoginFailed);
        answers.push((status.message().to_owned(), status.details().to_vec()));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn guessing_a_password_is_slowed_down_for_the_name_and_not_for_others() {
    let mut server = start().await;
    server.sign_up("mario").await;
    server.sign_up("luigi").await;
    for number in 0..5 {
        assert_refused(
            server.try_login("mario", &format!("wrong password {number}")).await,
            Code::Unauthenticated,
            ErrorReason::LoginFailed,
        );
    }
    let status = assert_refused(server.try_login("mario", PASSWORD).await, Code::ResourceExhausted, ErrorReason::RateLimited);
    assert!(retry_delay_of(&status).unwrap() <= Duration::from_secs(60));
    server.login("luigi").await;
}

#[tokio::test]
async fn sign_up_is_bounded_by_address_and_can_be_closed() {
    let mut server = start_with(&[("TOLLGATE_SIGNUPS_PER_HOUR", "2")]).await;
    server.sign_up("mario").await;
    server.sign_up("luigi").await;
    let third = pb::SignUpRequest { user_name: "bowser".into(), password: PASSWORD.into(), ..Default::default() };
    let status = assert_refused(server.accounts.sign_up(third.clone()).await, Code::ResourceExhausted, ErrorReason::RateLimited);
    assert!(retry_delay_of(&status).is_some());
    let mut closed = start_with(&[("TOLLGATE_SIGNUP", "closed")]).await;
    assert_refused(closed.accounts.sign_up(third).await, Code::PermissionDenied, ErrorReason::SignUpClosed);
}

#[tokio::test]
async fn every_wrong_field_of_a_sign_up_is_named() {
    let mut server = start().await;
    let good = || pb::SignUpRequest { user_name: "mario".into(), password: PASSWORD.into(), ..Default::default() };
    for (field, wrong) in [
        ("user_name", pb::SignUpRequest { user_name: "m".into(), ..good() }),
        ("user_name", pb::SignUpRequest { user_name: "mario mario".into(), ..good() }),
        ("password", pb::SignUpRequest { password: "short".into(), ..good() }),
        ("password", pb::SignUpRequest { password: "passwordpassword".into(), ..good() }),
        ("full_name", pb::SignUpRequest { full_name: "x".repeat(201), ..good() }),
        ("email", pb::SignUpRequest { email: "nowhere".into(), ..good() }),
    ] {
        let status = assert_refused(server.accounts.sign_up(wrong).await, Code::InvalidArgument, ErrorReason::InvalidArgument);
        assert!(status.message().starts_with(field), "{status:?}");
    }
    server.sign_up("mario").await;
    assert_refused(server.accounts.sign_up(good()).await, Code::AlreadyExists, ErrorReason::UserNameTaken);
}

#[tokio::test]
async fn a_revoked_key_is_refused_on_the_next_call() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let made = server.key(&token, pb::CreateApiKeyRequest::default()).await;
    server.balance(&made.key).await.unwrap();
    let api_key_id = made.api_key.unwrap().api_key_id;
    let revoke = || with(&token, pb::RevokeApiKeyRequest { api_key_id: api_key_id.clone(), ..Default::default() });
    let first = server.accounts.revoke_api_key(revoke()).await.unwrap().into_inner();
    assert_refused(server.balance(&made.key).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    assert_refused(server.check(chat(&made.key, "r1")).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    assert_eq!(server.accounts.revoke_api_key(revoke()).await.unwrap().into_inner(), first, "a repetition answers the same");
    for unknown in ["AAAAAAAAAAAA", "x"] {
        let request = with(&token, pb::RevokeApiKeyRequest { api_key_id: unknown.into(), ..Default::default() });
        assert_refused(server.accounts.revoke_api_key(request).await, Code::NotFound, ErrorReason::ApiKeyNotFound);
    }
}

#[tokio::test]
async fn a_mistyped_key_is_refused_by_its_checksum() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let key = server.key(&token, pb::CreateApiKeyRequest::default()).await.key;
    let swapped = if key.as_bytes()[30] == b'a' { "b" } else { "a" };
    let mut typed = key.clone();
    typed.replace_range(30..=30, swapped);
    let status = assert_refused(server.balance(&typed).await, Code::Unauthenticated, ErrorReason::CredentialInvalid);
    assert!(status.message().contains("checksum"));
    let status = assert_refused(server.check(chat(&typed, "r1")).await, Code::Unauthenticated, ErrorReason::CredentialInvalid);
    assert!(status.message().contains("checksum"));
}

#[tokio::test]
async fn a_key_is_held_to_its_scopes_models_and_expiry() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let inference = pb::CreateApiKeyRequest { scopes: vec!["inference".into()], models: vec!["llama*".into()], ..Default::default() };
    let key = server.key(&token, inference).await.key;
    assert_refused(server.balance(&key).await, Code::PermissionDenied, ErrorReason::ScopeRequired);
    server.accounts.get_me(with(&key, pb::GetMeRequest {})).await.unwrap();
    assert_refused(server.check(chat(&key, "r1")).await, Code::PermissionDenied, ErrorReason::ModelNotAllowed);
    let long = pb::CheckRequest { model: "registry.ollama.ai/Library/llama3:LATEST".into(), ..chat(&key, "r1") };
    let held = server.check(long).await.unwrap();
    let same = server.check(pb::CheckRequest { model: "llama3:latest".into(), ..chat(&key, "r1") }).await.unwrap();
    assert_eq!(same, held);
    let models = pb::CreateApiKeyRequest { scopes: vec!["models".into()], ..Default::default() };
    let key = server.key(&token, models).await.key;
    server.accounts.get_me(with(&key, pb::GetMeRequest {})).await.unwrap();
    let manage =
        pb::CheckRequest { credential: key, operation: pb::Operation::ManageModels.into(), model: "tiny".into(), ..Default::default() };
    assert_refused(server.check(manage).await, Code::PermissionDenied, ErrorReason::RoleRequired);
    for (field, wrong) in [
        ("scopes", pb::CreateApiKeyRequest { scopes: vec!["everything".into()], ..Default::default() }),
        ("models", pb::CreateApiKeyRequest { models: vec![String::new()], ..Default::default() }),
        ("models", pb::CreateApiKeyRequest { models: vec!["x".into(); 33], ..Default::default() }),
        ("models", pb::CreateApiKeyRequest { models: vec!["*".repeat(128)], ..Default::default() }),
        ("name", pb::CreateApiKeyRequest { name: "x".repeat(101), ..Default::default() }),
        ("expires_at", pb::CreateApiKeyRequest { expires_at: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }), ..Default::default() }),
    ] {
        let status =
            assert_refused(server.accounts.create_api_key(with(&token, wrong)).await, Code::InvalidArgument, ErrorReason::InvalidArgument);
        assert!(status.message().starts_with(field), "{status:?}");
    }
}

#[tokio::test]
async fn keys_and_users_are_managed_with_an_access_token_only() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let key = server.key(&token, pb::CreateApiKeyRequest::default()).await.key;
    let (code, reason) = (Code::PermissionDenied, ErrorReason::AccessTokenRequired);
    assert_refused(server.accounts.create_api_key(with(&key, pb::CreateApiKeyRequest::default())).await, code, reason);
    assert_refused(server.accounts.list_api_keys(with(&key, pb::ListApiKeysRequest {})).await, code, reason);
    assert_refused(server.accounts.revoke_api_key(with(&key, pb::RevokeApiKeyRequest::default())).await, code, reason);
    assert_refused(server.admin.disable_user(with(&key, pb::DisableUserRequest::default())).await, code, reason);
    let denied = server.admin.disable_user(with(&token, pb::DisableUserRequest { user_name: "mario".into(), ..Default::default() })).await;
    assert_refused(denied, Code::PermissionDenied, ErrorReason::RoleRequired);
    let grant = pb::GrantCreditsRequest {
        user_name: "mario".into(),
        credits: 5,
        request_id: "g".into(),
        note: String::new(),
        ..Default::default()
    };
    assert_refused(server.admin.grant_credits(with(&token, grant)).await, Code::PermissionDenied, ErrorReason::RoleRequired);
    assert_refused(server.accounts.get_me(pb::GetMeRequest {}).await, Code::Unauthenticated, ErrorReason::CredentialMissing);
}

#[tokio::test]
async fn another_users_account_is_out_of_reach() {
    let mut server = start().await;
    let mario = server.user("mario").await;
    let luigi = server.sign_up("luigi").await;
    let key = server.key(&mario, pb::CreateApiKeyRequest::default()).await.key;
    for credential in [&mario, &key] {
        let mut request = with(credential, pb::GetBalanceRequest {});
        request.metadata_mut().insert("x-tollgate-account", luigi.user_id.parse().unwrap());
        assert_refused(server.accounts.get_balance(request).await, Code::PermissionDenied, ErrorReason::AccountNotAllowed);
        let check = pb::CheckRequest { account: luigi.user_id.clone(), ..chat(credential, "r1") };
        assert_refused(server.check(check).await, Code::PermissionDenied, ErrorReason::AccountNotAllowed);
    }
    let mut request = with(&mario, pb::GetBalanceRequest {});
    request.metadata_mut().insert("x-tollgate-account", "not-an-account".parse().unwrap());
    assert_refused(server.accounts.get_balance(request).await, Code::InvalidArgument, ErrorReason::InvalidArgument);
}

#[tokio::test]
async fn a_disabled_user_is_refused_everywhere_on_the_next_call_and_old_tokens_stay_refused() {
    let mut server = start().await;
    let operator = server.operator().await;
    let token = server.user("mario").await;
    let key = server.key(&token, pb::CreateApiKeyRequest::default()).await.key;
    // A token's time has whole seconds: this one is plainly from before.
    let me = server.accounts.get_me(with(&token, pb::GetMeRequest {})).await.unwrap().into_inner().user.unwrap();
    let before = changed(claims(&me.user_id), "iat", (now() - 2).into());
    let token = sign_right(&server, &header(&server), &before);
    let user_name = || "mario".to_owned();
    let disabled =
        server.admin.disable_user(with(&operator, pb::DisableUserRequest { user_name: user_name(), ..Default::default() })).await.unwrap();
    assert!(disabled.into_inner().user.unwrap().disabled);
    for credential in [&token, &key] {
        assert_refused(server.balance(credential).await, Code::PermissionDenied, ErrorReason::UserDisabled);
        assert_refused(server.check(chat(credential, "r1")).await, Code::PermissionDenied, ErrorReason::UserDisabled);
    }
    let enabled = server.admin.enable_user(with(&operator, pb::EnableUserRequest { user_name: user_name() })).await.unwrap();
    assert!(!enabled.into_inner().user.unwrap().disabled);
    server.balance(&key).await.unwrap();
    assert_refused(server.balance(&token).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    let nobody = with(&operator, pb::DisableUserRequest { user_name: "nobody".into(), ..Default::default() });
    assert_refused(server.admin.disable_user(nobody).await, Code::NotFound, ErrorReason::UserNotFound);
}

#[tokio::test]
async fn an_operator_makes_users_and_grants_credits_once_per_request_id() {
    let mut server = start().await;
    let operator = server.operator().await;
    let create = pb::CreateUserRequest {
        user_name: "peach".into(),
        password: PASSWORD.into(),
        role: pb::Role::User.into(),
        starting_credits: Some(3),
        ..Default::default()
    };
    let made = server.admin.create_user(with(&operator, create)).await.unwrap().into_inner();
    assert_eq!(made.available_credits(), 3);
    let grant = |credits, request_id: &str| {
        let request = pb::GrantCreditsRequest {
            user_name: "Peach".into(),
            credits,
            request_id: request_id.into(),
            note: "a present".into(),
            ..Default::default()
        };
        with(&operator, request)
    };
    let first = server.admin.grant_credits(grant(5, "g1")).await.unwrap().into_inner();
    assert_eq!((first.balance.unwrap().available_credits(), first.replayed), (8, false));
    let again = server.admin.grant_credits(grant(5, "g1")).await.unwrap().into_inner();
    assert_eq!((again.balance.unwrap().available_credits(), again.replayed, again.ledger_entry_id), (8, true, first.ledger_entry_id));
    assert_refused(server.admin.grant_credits(grant(6, "g1")).await, Code::InvalidArgument, ErrorReason::RequestIdReused);
    for (credits, request_id) in [(0, "g2"), (-1, "g2"), (1_000_000_000_001, "g2"), (1, ""), (1, "a b")] {
        assert_refused(server.admin.grant_credits(grant(credits, request_id)).await, Code::InvalidArgument, ErrorReason::InvalidArgument);
    }
    assert_refused(server.admin.grant_credits(grant(1_000_000_000_000, "g3")).await, Code::ResourceExhausted, ErrorReason::LimitReached);
    let token = server.login("peach").await;
    assert_eq!(server.balance(&token).await.unwrap().granted_credits(), 8);
}

#[tokio::test]
async fn the_ledger_is_paged_newest_first() {
    let mut server = start().await;
    let operator = server.operator().await;
    let token = server.user("mario").await;
    for number in 1..=4 {
        let request = pb::GrantCreditsRequest {
            user_name: "mario".into(),
            credits: number,
            request_id: format!("g{number}"),
            note: String::new(),
            ..Default::default()
        };
        server.admin.grant_credits(with(&operator, request)).await.unwrap();
    }
    let (mut seen, mut page_token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let request = with(&token, pb::ListLedgerEntriesRequest { page_size: 2, page_token, ..Default::default() });
        let page = server.accounts.list_ledger_entries(request).await.unwrap().into_inner();
        seen.extend(page.entries.iter().map(|entry| entry.credits()));
        pages += 1;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!((seen, pages), (vec![4, 3, 2, 1, 10], 3));
    for wrong in [
        pb::ListLedgerEntriesRequest { page_size: 501, ..Default::default() },
        pb::ListLedgerEntriesRequest { page_token: "x".into(), ..Default::default() },
    ] {
        assert_refused(server.accounts.list_ledger_entries(with(&token, wrong)).await, Code::InvalidArgument, ErrorReason::InvalidArgument);
    }
}

#[tokio::test]
async fn a_ledger_whose_beginning_is_folded_is_paged_to_its_checkpoint() {
    let mut server = start().await;
    let operator = server.operator().await;
    let token = server.user("mario").await;
    for number in 1..=4 {
        let request = pb::GrantCreditsRequest {
            user_name: "mario".into(),
            credits: number,
            request_id: format!("g{number}"),
            note: String::new(),
            ..Default::default()
        };
        server.admin.grant_credits(with(&operator, request)).await.unwrap();
    }
    let user = server.store.user_by_name(&UserName::parse("mario").unwrap()).await.unwrap().unwrap();
    let account = AccountId::from(&user.user_id);
    let oldest = server.store.oldest_entries(&account, 0, 3).await.unwrap().entries;
    let folded = Checkpoint::fold(None, &oldest).unwrap().unwrap();
    assert!(server.store.fold_ledger(&account, 1, folded).await.unwrap());
    let mut page = async |page_token| {
        let request = with(&token, pb::ListLedgerEntriesRequest { page_size: 2, page_token, ..Default::default() });
        server.accounts.list_ledger_entries(request).await.unwrap().into_inner()
    };
    let first = page(String::new()).await;
    assert_eq!(first.entries.iter().map(|entry| entry.credits()).collect::<Vec<_>>(), [4, 3]);
    let last = page(first.next_page_token).await;
    let expected = pb::LedgerEntry {
        ledger_entry_id: "3".to_owned(),
        kind: pb::LedgerEntryKind::Checkpoint.into(),
        credits: Some(13),
        available_credits: Some(13),
        created_at: last.entries[0].created_at,
        folded_entries: Some(3),
        ..Default::default()
    };
    assert_eq!((last.entries, last.next_page_token), (vec![expected], String::new()));
}

#[tokio::test]
async fn what_is_not_built_yet_says_so_by_name() {
    let mut server = start().await;
    server.sign_up("mario").await;
    let token = server.login("mario").await;
    let request = with(&token, pb::VerifyLedgerRequest::default());
    let status = assert_refused(server.admin.verify_ledger(request).await, Code::Unimplemented, ErrorReason::NotImplemented);
    assert!(status.message().contains("Admin.VerifyLedger"));
}

#[tokio::test]
async fn a_password_is_rehashed_at_login_when_the_parameters_rose() {
    let mut server = start_with(&[("TOLLGATE_ARGON2_PASSES", "3")]).await;
    server.sign_up("mario").await;
    let name = auth_service::user::UserName::parse("mario").unwrap();
    let weaker = auth_service::password::PasswordHashing::new(Default::default()).unwrap().rehash(PASSWORD).await.unwrap();
    let user = server.store.user_by_name(&name).await.unwrap().unwrap();
    server.store.replace_password_hash(&user.user_id, &user.password_hash, &weaker).await.unwrap();
    server.login("mario").await;
    let stored = server.store.user_by_name(&name).await.unwrap().unwrap().password_hash;
    assert!(stored.contains("t=3"), "{stored}");
    server.login("mario").await;
}

#[tokio::test]
async fn the_server_drains_and_ends_when_told_to() {
    let Server { shutdown, running, accounts, admin, auth, .. } = start().await;
    drop((accounts, admin, auth));
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(40), running).await.unwrap().unwrap();
}

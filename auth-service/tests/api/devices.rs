//! Devices without a browser: how they are signed in over gRPC.

#![expect(clippy::unwrap_used, reason = "the parts that the tests share")]

use std::net::IpAddr;

use shared::ErrorReason;
use shared::error::{reason_of, retry_delay_of};
use shared::proto::auth as pb;
use tonic::Code;

use crate::support::*;

pub(crate) async fn begin(server: &mut Server, client: &str, scopes: &[&str]) -> pb::BeginDeviceSignInResponse {
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let request = pb::BeginDeviceSignInRequest { client: client.to_owned(), scopes };
    server.accounts.begin_device_sign_in(request).await.unwrap().into_inner()
}

async fn exchange(server: &mut Server, device_code: &str) -> Result<pb::ExchangeDeviceCodeResponse, tonic::Status> {
    let request = pb::ExchangeDeviceCodeRequest { device_code: device_code.to_owned() };
    Ok(server.accounts.exchange_device_code(request).await?.into_inner())
}

pub(crate) async fn answer(server: &mut Server, token: &str, user_code: &str, deny: bool) -> Result<(), tonic::Status> {
    let request = pb::ApproveDeviceRequest { user_code: user_code.to_owned(), deny };
    server.accounts.approve_device(with(token, request)).await.map(|_| ())
}

async fn look(server: &mut Server, token: &str, user_code: &str) -> Result<pb::GetDeviceSignInResponse, tonic::Status> {
    let request = pb::GetDeviceSignInRequest { user_code: user_code.to_owned() };
    Ok(server.accounts.get_device_sign_in(with(token, request)).await?.into_inner())
}

#[tokio::test]
async fn a_device_that_is_approved_gets_a_session_of_its_own_and_no_device_code_gives_two() {
    let mut server = start().await;
    let token = server.user("ada").await;
    let begun = begin(&mut server, "Jupyter on lab-3", &[]).await;
    assert!(begun.device_code.starts_with("tgd_") && begun.device_code.len() == 42);
    assert_eq!((begun.user_code.len(), begun.interval.as_ref().unwrap().seconds), (9, 5));
    assert_eq!(begun.verification_uri, format!("http://{}/device", server.address));
    assert_eq!(begun.verification_uri_complete, format!("http://{}/device?user_code={}", server.address, begun.user_code));
    let pending =
        assert_refused(exchange(&mut server, &begun.device_code).await, Code::FailedPrecondition, ErrorReason::AuthorizationPending);
    assert_eq!(retry_delay_of(&pending).unwrap().as_secs(), 5);
    let early = assert_refused(exchange(&mut server, &begun.device_code).await, Code::ResourceExhausted, ErrorReason::SlowDown);
    assert_eq!(retry_delay_of(&early).unwrap().as_secs(), 10);
    let asks = look(&mut server, &token, &begun.user_code.to_ascii_lowercase().replace('-', " ")).await.unwrap();
    assert_eq!(
        (asks.user_code.as_str(), asks.client.as_str(), asks.address.as_str()),
        (&*begun.user_code, "Jupyter on lab-3", "127.0.0.1")
    );
    assert_eq!((asks.expires_at, asks.scopes), (begun.expires_at, Vec::<String>::new()));
    let said = "A device that calls itself \u{201c}Jupyter on lab-3\u{201d}, at 127.0.0.1, asks to be signed in as ada. It will be able to \
                do all that you may: spend your credits, make API keys, and change your account, until its session ends or you end \
                it. Approve it only if you began this yourself, just now.";
    assert_eq!(asks.description, said);
    answer(&mut server, &token, &begun.user_code, false).await.unwrap();
    // Whoever asked too early isn't kept waiting once it is approved.
    let signed_in = exchange(&mut server, &begun.device_code).await.unwrap();
    assert_eq!(signed_in.user_name, "ada");
    server.key(&signed_in.access_token, pb::CreateApiKeyRequest::default()).await;
    let refresh = pb::RefreshRequest { refresh_token: signed_in.refresh_token };
    let refreshed = server.accounts.refresh(refresh).await.unwrap().into_inner();
    assert_eq!(refreshed.session_id, signed_in.session_id);
    let sessions = server.accounts.list_sessions(with(&token, pb::ListSessionsRequest {})).await.unwrap().into_inner().sessions;
    let of_device: Vec<_> = sessions.iter().filter(|session| session.method() == pb::SignInMethod::Device).collect();
    assert_eq!((of_device.len(), of_device[0].client.as_str(), sessions.len()), (1, "Jupyter on lab-3", 2));
    assert_refused(exchange(&mut server, &begun.device_code).await, Code::NotFound, ErrorReason::DeviceCodeExpired);
    assert_refused(look(&mut server, &token, &begun.user_code).await, Code::NotFound, ErrorReason::UserCodeUnknown);
    assert!(server.balance(&refreshed.access_token).await.is_ok());
}

#[tokio::test]
async fn a_device_that_is_denied_is_told_so_and_gets_nothing() {
    let mut server = start().await;
    let token = server.user("ada").await;
    let begun = begin(&mut server, "", &[]).await;
    let asks = look(&mut server, &token, &begun.user_code).await.unwrap();
    assert!(asks.client.contains("tonic"), "what its user-agent says: {}", asks.client);
    answer(&mut server, &token, &begun.user_code, true).await.unwrap();
    assert_refused(exchange(&mut server, &begun.device_code).await, Code::PermissionDenied, ErrorReason::DeviceSignInDenied);
    assert_refused(answer(&mut server, &token, &begun.user_code, false).await, Code::NotFound, ErrorReason::UserCodeUnknown);
    assert_refused(exchange(&mut server, &begun.device_code).await, Code::PermissionDenied, ErrorReason::DeviceSignInDenied);
}

#[tokio::test]
async fn a_devices_tokens_may_no_more_than_was_asked_for_and_approved_also_after_a_refresh() {
    let mut server = start().await;
    let token = server.user("ada").await;
    let begun = begin(&mut server, "a \u{201d} notebook", &["account"]).await;
    let asks = look(&mut server, &token, &begun.user_code).await.unwrap();
    assert_eq!(asks.scopes, ["account"]);
    let said = "A device that calls itself \u{201c}a ' notebook\u{201d}, at 127.0.0.1, asks to be signed in as ada. It will be able to \
                read your balance, ledger and usage, and nothing else, until its session ends or you end it. Approve it only if you \
                began this yourself, just now.";
    assert_eq!(asks.description, said);
    answer(&mut server, &token, &begun.user_code, false).await.unwrap();
    let signed_in = exchange(&mut server, &begun.device_code).await.unwrap();
    let refresh = pb::RefreshRequest { refresh_token: signed_in.refresh_token };
    let refreshed = server.accounts.refresh(refresh).await.unwrap().into_inner();
    for access_token in [signed_in.access_token, refreshed.access_token] {
        server.balance(&access_token).await.unwrap();
        assert_refused(server.check(chat(&access_token, "r1")).await, Code::PermissionDenied, ErrorReason::ScopeRequired);
        // A session that is limited makes none that isn't.
        let another = begin(&mut server, "", &[]).await;
        let approved = answer(&mut server, &access_token, &another.user_code, false).await;
        assert_refused(approved, Code::PermissionDenied, ErrorReason::ScopeRequired);
        let looked = look(&mut server, &access_token, &another.user_code).await;
        assert_refused(looked, Code::PermissionDenied, ErrorReason::ScopeRequired);
    }
}

#[tokio::test]
async fn an_api_key_approves_no_device_and_neither_does_nobody() {
    let mut server = start().await;
    let token = server.user("ada").await;
    let key = server.key(&token, pb::CreateApiKeyRequest::default()).await.key;
    let begun = begin(&mut server, "", &[]).await;
    for deny in [false, true] {
        let by_key = answer(&mut server, &key, &begun.user_code, deny).await;
        assert_refused(by_key, Code::PermissionDenied, ErrorReason::AccessTokenRequired);
        let request = pb::ApproveDeviceRequest { user_code: begun.user_code.clone(), deny };
        assert_refused(server.accounts.approve_device(request).await, Code::Unauthenticated, ErrorReason::CredentialMissing);
    }
    assert_refused(look(&mut server, &key, &begun.user_code).await, Code::PermissionDenied, ErrorReason::AccessTokenRequired);
    let pending = exchange(&mut server, &begun.device_code).await;
    assert_refused(pending, Code::FailedPrecondition, ErrorReason::AuthorizationPending);
}

#[tokio::test]
async fn guesses_of_user_codes_are_throttled_by_user_and_network_and_a_code_of_ones_own_clears_nothing() {
    let mut server = start().await;
    let token = server.user("ada").await;
    let other = server.user("bob").await;
    let own = begin(&mut server, "", &[]).await;
    let unknown = ["BBBB-BBBB", "CCCC-CCCC", "DDDD-DDDD", "FFFF-FFFF", "GGGG-GGGG"];
    for (number, code) in unknown.into_iter().enumerate() {
        look(&mut server, &token, &own.user_code).await.unwrap();
        let guess =
            if number % 2 == 0 { look(&mut server, &token, code).await.map(|_| ()) } else { answer(&mut server, &token, code, true).await };
        assert_refused(guess, Code::NotFound, ErrorReason::UserCodeUnknown);
    }
    for code in ["HHHH-HHHH", own.user_code.as_str()] {
        let guess = assert_refused(look(&mut server, &token, code).await, Code::ResourceExhausted, ErrorReason::RateLimited);
        assert!(retry_delay_of(&guess).is_some());
        assert_refused(answer(&mut server, &token, code, false).await, Code::ResourceExhausted, ErrorReason::RateLimited);
    }
    // What has no code's form is no guess, and whoever else types theirs is let through.
    assert_eq!(violated(look(&mut server, &other, "AEIO-UAEI").await), ["user_code"]);
    answer(&mut server, &other, &own.user_code, false).await.unwrap();
    assert_eq!(exchange(&mut server, &own.device_code).await.unwrap().user_name, "bob");
}

#[tokio::test]
async fn a_network_begins_ten_sign_ins_at_once_and_another_network_its_own() {
    let mut server = start().await;
    for _ in 0..10 {
        begin(&mut server, "", &[]).await;
    }
    let one_more = server.accounts.begin_device_sign_in(pb::BeginDeviceSignInRequest::default()).await;
    let status = assert_refused(one_more, Code::ResourceExhausted, ErrorReason::RateLimited);
    assert!(retry_delay_of(&status).is_some_and(|delay| delay.as_secs() <= 7), "{status:?}");
    let mut elsewhere = server.accounts_from(IpAddr::from([127, 0, 0, 2])).await;
    elsewhere.begin_device_sign_in(pb::BeginDeviceSignInRequest::default()).await.unwrap();
}

#[tokio::test]
async fn what_a_device_says_of_itself_is_a_name_that_can_be_read_and_scopes_that_are_there() {
    let mut server = start().await;
    let credential = begin(&mut server, "", &[]).await.device_code;
    for (client, scopes, fields) in [
        ("a\u{202e}b", vec![], &["client"][..]),
        (&"x".repeat(201), vec![], &["client"]),
        (&credential, vec![], &["client"]),
        ("", vec!["everything".to_owned()], &["scopes"]),
        ("\n", vec!["account inference".to_owned()], &["client", "scopes"]),
    ] {
        let request = pb::BeginDeviceSignInRequest { client: client.to_owned(), scopes };
        assert_eq!(violated(server.accounts.begin_device_sign_in(request).await), fields);
    }
    for nonsense in ["", "tgd_", &credential[..41], "canary"] {
        let status = exchange(&mut server, nonsense).await.unwrap_err();
        assert_eq!(reason_of(&status), Some(ErrorReason::DeviceCodeExpired));
    }
}

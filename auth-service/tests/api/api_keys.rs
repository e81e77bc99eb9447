//! API keys with several secrets, networks, lifetimes and single scopes.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prost::Message;
use shared::ErrorReason;
use shared::proto::auth as pb;
use shared::proto::auth::revoke_credential_response::Result as RevokeResult;
use tonic::{Code, Request, Status};

use crate::support::*;

fn now_s() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

fn rotation(api_key_id: &str, grace_s: Option<i64>) -> pb::RotateApiKeyRequest {
    pb::RotateApiKeyRequest { api_key_id: api_key_id.into(), grace_period: grace_s.map(seconds), request_id: String::new() }
}

impl Server {
    async fn rotate(&mut self, token: &str, request: pb::RotateApiKeyRequest) -> Result<pb::RotateApiKeyResponse, Status> {
        Ok(self.accounts.rotate_api_key(with(token, request)).await?.into_inner())
    }

    async fn list(&mut self, token: &str) -> Vec<pb::ApiKey> {
        self.accounts.list_api_keys(with(token, pb::ListApiKeysRequest {})).await.unwrap().into_inner().api_keys
    }

    async fn show(&mut self, credential: &str) -> pb::RevokeCredentialResponse {
        self.accounts.revoke_credential(pb::RevokeCredentialRequest { credential: credential.into() }).await.unwrap().into_inner()
    }
}

#[tokio::test]
async fn a_key_rotates_and_either_secret_is_revoked_at_once() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let made = server.key(&token, pb::CreateApiKeyRequest::default()).await;
    let id = made.api_key.unwrap().api_key_id;
    let second = server.rotate(&token, rotation(&id, None)).await.unwrap();
    let listed = second.api_key.unwrap();
    assert_eq!(listed.secrets.iter().map(|secret| secret.number).collect::<Vec<_>>(), [2, 1]);
    let left = listed.secrets[1].expires_at.unwrap().seconds - now_s();
    assert!((86_300..=86_400).contains(&left) && listed.secrets[0].expires_at.is_none(), "24 hours: {left}");
    assert!(listed.hint == listed.secrets[0].hint && second.key.ends_with(&listed.hint[listed.hint.len() - 4..]));
    for key in [&made.key, &second.key] {
        server.balance(key).await.unwrap();
    }
    let checked = server.check(chat(&second.key, "r")).await.unwrap().principal.unwrap();
    assert_eq!((checked.api_key_id.as_str(), checked.api_key_secret), (id.as_str(), 2));
    // The new one alone.
    let revoke = |secret_number| with(&token, pb::RevokeApiKeyRequest { api_key_id: id.clone(), secret_number });
    let revoked = server.accounts.revoke_api_key(revoke(Some(2))).await.unwrap().into_inner().api_key.unwrap();
    assert!(revoked.revoked_at.is_none() && revoked.secrets[0].revoked_at.is_some() && revoked.secrets[1].revoked_at.is_none());
    assert_refused(server.balance(&second.key).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    server.balance(&made.key).await.unwrap();
    // All before the third one.
    let third = server.rotate(&token, rotation(&id, Some(0))).await.unwrap();
    assert_refused(server.balance(&made.key).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    server.balance(&third.key).await.unwrap();
    for unknown in [Some(4), Some(0)] {
        assert_refused(server.accounts.revoke_api_key(revoke(unknown)).await, Code::NotFound, ErrorReason::ApiKeyNotFound);
    }
    server.accounts.revoke_api_key(revoke(None)).await.unwrap();
    assert_refused(server.balance(&third.key).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    for (gone, grace_s) in [(id.as_str(), None), ("AAAAAAAAAAAA", None), ("?", Some(0))] {
        assert_refused(server.rotate(&token, rotation(gone, grace_s)).await, Code::NotFound, ErrorReason::ApiKeyNotFound);
    }
    let mine = server.user("luigi").await;
    assert_refused(server.rotate(&mine, rotation(&id, None)).await, Code::NotFound, ErrorReason::ApiKeyNotFound);
}

#[tokio::test]
async fn a_key_has_five_secrets_in_force_at_most() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let id = server.key(&token, pb::CreateApiKeyRequest::default()).await.api_key.unwrap().api_key_id;
    for _ in 0..4 {
        server.rotate(&token, rotation(&id, Some(60))).await.unwrap();
    }
    let refused = server.rotate(&token, rotation(&id, Some(60))).await;
    let status = assert_refused(refused, Code::ResourceExhausted, ErrorReason::LimitReached);
    assert!(status.message().contains("5 secrets"), "{status:?}");
}

#[tokio::test]
async fn a_key_that_lasts_so_long_from_now_on_is_made_once_however_late_its_request_is_repeated() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let hour = Some(seconds(3600));
    let wanted = pb::CreateApiKeyRequest { lifetime: hour, request_id: "r".into(), ..Default::default() };
    let (before, lost) = (now_s(), server.key(&token, wanted.clone()).await);
    let end = lost.api_key.as_ref().unwrap().expires_at.unwrap().seconds;
    assert!((before + 3600..=now_s() + 3600).contains(&end), "{end}");
    // In another second, so that its end would be another.
    while now_s() == before {
        tokio::task::yield_now().await;
    }
    let found = server.key(&token, wanted.clone()).await;
    assert_eq!(found.api_key.unwrap().api_key_id, lost.api_key.unwrap().api_key_id);
    assert_refused(server.balance(&lost.key).await, Code::Unauthenticated, ErrorReason::CredentialInvalid);
    let longer = pb::CreateApiKeyRequest { lifetime: Some(seconds(3601)), ..wanted.clone() };
    assert_refused(server.accounts.create_api_key(with(&token, longer)).await, Code::InvalidArgument, ErrorReason::RequestIdReused);
    let end = Some(prost_types::Timestamp { seconds: now_s() + 60, nanos: 0 });
    for wrong in [
        pb::CreateApiKeyRequest { expires_at: end, ..wanted.clone() },
        pb::CreateApiKeyRequest { lifetime: Some(seconds(0)), ..wanted.clone() },
        pb::CreateApiKeyRequest { lifetime: Some(seconds(-1)), ..wanted.clone() },
        pb::CreateApiKeyRequest { lifetime: Some(seconds(i64::MIN)), ..wanted.clone() },
        pb::CreateApiKeyRequest { lifetime: Some(seconds(i64::MAX)), ..wanted.clone() },
        pb::CreateApiKeyRequest { lifetime: Some(prost_types::Duration { seconds: 1, nanos: -1 }), ..wanted },
    ] {
        assert_eq!(violated(server.accounts.create_api_key(with(&token, wrong)).await), ["lifetime"]);
    }
}

#[tokio::test]
async fn a_repetition_that_comes_after_the_keys_end_is_told_that_it_has_ended_and_no_key_is_made_that_has() {
    let mut server = start().await;
    let token = server.user("mario").await;
    // Ahead by some seconds: the key is made meanwhile.
    let end = now_s() + 5;
    let expires_at = Some(prost_types::Timestamp { seconds: end, nanos: 0 });
    let wanted = pb::CreateApiKeyRequest { expires_at, request_id: "r".into(), ..Default::default() };
    server.key(&token, wanted.clone()).await;
    while now_s() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let repeated = server.accounts.create_api_key(with(&token, wanted.clone())).await;
    assert_refused(repeated, Code::NotFound, ErrorReason::ApiKeyNotFound);
    let other = pb::CreateApiKeyRequest { name: "other".into(), ..wanted.clone() };
    assert_refused(server.accounts.create_api_key(with(&token, other)).await, Code::InvalidArgument, ErrorReason::RequestIdReused);
    for request_id in ["", "s"] {
        let late = pb::CreateApiKeyRequest { request_id: request_id.into(), ..wanted.clone() };
        assert_eq!(violated(server.accounts.create_api_key(with(&token, late)).await), ["expires_at"], "{request_id:?}");
    }
    assert_eq!(server.list(&token).await.len(), 1);
}

#[tokio::test]
async fn a_repetition_after_a_lost_answer_gives_another_secret_for_the_same_key_and_the_lost_one_is_dead() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let expires_at = Some(prost_types::Timestamp { seconds: now_s() + 3600, nanos: 5 });
    let wanted = pb::CreateApiKeyRequest {
        name: "laptop".into(),
        scopes: ["account", "chat"].map(str::to_owned).to_vec(),
        models: vec!["Tiny".into()],
        networks: ["127.0.0.0/8", "::1"].map(str::to_owned).to_vec(),
        expires_at,
        request_id: "~".repeat(128),
        ..Default::default()
    };
    let lost = server.key(&token, wanted.clone()).await;
    // However the same is written.
    let again = pb::CreateApiKeyRequest {
        scopes: ["chat", "account", "account"].map(str::to_owned).to_vec(),
        models: vec!["registry.ollama.ai/library/tiny:latest".into()],
        networks: ["::1/128", "127.0.0.0/8", "::ffff:127.0.0.0/104"].map(str::to_owned).to_vec(),
        ..wanted.clone()
    };
    let found = server.key(&token, again).await;
    let id = |made: &pb::CreateApiKeyResponse| made.api_key.as_ref().unwrap().api_key_id.clone();
    assert_eq!((id(&lost), server.list(&token).await.len()), (id(&found), 1));
    assert_ne!(lost.key, found.key);
    assert_refused(server.balance(&lost.key).await, Code::Unauthenticated, ErrorReason::CredentialInvalid);
    server.balance(&found.key).await.unwrap();
    for other in [
        pb::CreateApiKeyRequest { name: "desk".into(), ..wanted.clone() },
        pb::CreateApiKeyRequest { scopes: vec!["account".into()], ..wanted.clone() },
        pb::CreateApiKeyRequest { models: vec![], ..wanted.clone() },
        pb::CreateApiKeyRequest { networks: vec![], ..wanted.clone() },
        pb::CreateApiKeyRequest { expires_at: None, ..wanted.clone() },
    ] {
        assert_refused(server.accounts.create_api_key(with(&token, other)).await, Code::InvalidArgument, ErrorReason::RequestIdReused);
    }
    server.balance(&found.key).await.unwrap();
    // Rotations, whose ids are of the same kind.
    let rotate = pb::RotateApiKeyRequest { request_id: "r".into(), ..rotation(&id(&found), None) };
    let lost = server.rotate(&token, rotate.clone()).await.unwrap();
    let spelled_out = pb::RotateApiKeyRequest { grace_period: Some(seconds(86_400)), ..rotate.clone() };
    let rotated = server.rotate(&token, spelled_out).await.unwrap();
    assert_refused(server.balance(&lost.key).await, Code::Unauthenticated, ErrorReason::CredentialInvalid);
    for good in [&found.key, &rotated.key] {
        server.balance(good).await.unwrap();
    }
    for other in [
        pb::RotateApiKeyRequest { grace_period: Some(seconds(1)), ..rotate.clone() },
        pb::RotateApiKeyRequest { request_id: wanted.request_id.clone(), ..rotate.clone() },
        pb::RotateApiKeyRequest { api_key_id: "AAAAAAAAAAAA".into(), ..rotate.clone() },
    ] {
        assert_refused(server.rotate(&token, other).await, Code::InvalidArgument, ErrorReason::RequestIdReused);
    }
    // Another user's request of the same name is another one.
    let other = server.user("luigi").await;
    assert_ne!(id(&server.key(&other, wanted).await), id(&found));
}

#[tokio::test]
async fn neither_a_listing_nor_the_store_ever_has_a_secret() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let wanted = pb::CreateApiKeyRequest { request_id: "r".into(), ..Default::default() };
    let mut secrets = Vec::new();
    for _ in 0..2 {
        let made = server.key(&token, wanted.clone()).await;
        secrets.push(made.key);
        let rotate = pb::RotateApiKeyRequest { request_id: "s".into(), ..rotation(&made.api_key.unwrap().api_key_id, Some(60)) };
        for _ in 0..2 {
            secrets.push(server.rotate(&token, rotate.clone()).await.unwrap().key);
        }
    }
    let listed = server.list(&token).await;
    let answer = pb::ListApiKeysResponse { api_keys: listed }.encode_to_vec();
    let mut files = Vec::new();
    for file in std::fs::read_dir(server.folder.path()).unwrap() {
        files.extend(std::fs::read(file.unwrap().path()).unwrap_or_default());
    }
    assert!(files.windows(6).any(|part| part == b"mario\x1a" || part == b"mario\""), "the store's bytes");
    for secret in &secrets {
        // The random part, of which no piece is anywhere; the last four characters, which are of the checksum, are for people.
        for piece in secret.as_bytes()[19..43].windows(6) {
            for (place, bytes) in [("the listing", &answer), ("the store", &files)] {
                assert!(!bytes.windows(piece.len()).any(|part| part == piece), "a piece of a secret is in {place}");
            }
        }
    }
}

#[tokio::test]
async fn a_key_is_good_from_its_networks_alone_by_the_address_that_a_listed_proxy_names() {
    let mut server = start_with(&[("TOLLGATE_TRUSTED_PROXIES", "127.0.0.1"), ("TOLLGATE_SIGNUP", "open")]).await;
    let token = server.user("mario").await;
    let networks = ["192.0.2.0/24", "2001:db8::/32"].map(str::to_owned).to_vec();
    let key = server.key(&token, pb::CreateApiKeyRequest { networks: networks.clone(), ..Default::default() }).await.key;
    assert_eq!(server.list(&token).await[0].networks, networks);
    let from = |address: &str| {
        let mut request: Request<pb::GetBalanceRequest> = with(&key, pb::GetBalanceRequest {});
        if !address.is_empty() {
            request.metadata_mut().insert("x-forwarded-for", address.parse().unwrap());
        }
        request
    };
    for inside in ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::7", "198.51.100.1, 192.0.2.7"] {
        server.accounts.get_balance(from(inside)).await.unwrap();
    }
    for outside in ["", "198.51.100.1", "192.0.2.7, 198.51.100.1", "2001:db9::7", "::1"] {
        let answer = server.accounts.get_balance(from(outside)).await;
        assert_refused(answer, Code::PermissionDenied, ErrorReason::NetworkNotAllowed);
    }
    // What a service says of its caller.
    let check = |address: &str| pb::CheckRequest { caller_address: address.into(), ..chat(&key, "r") };
    for inside in ["192.0.2.7", "::ffff:192.0.2.7", "2001:DB8:0::7"] {
        server.check(check(inside)).await.unwrap();
    }
    for outside in ["", "198.51.100.1", "::1"] {
        assert_refused(server.check(check(outside)).await, Code::PermissionDenied, ErrorReason::NetworkNotAllowed);
    }
    for wrong in ["192.0.2.7:80", "192.0.2.0/24", "here"] {
        assert_eq!(violated(server.check(check(wrong)).await), ["caller_address"]);
    }
    // From others, the header says nothing.
    let mut server = start().await;
    let token = server.user("mario").await;
    let key = server.key(&token, pb::CreateApiKeyRequest { networks, ..Default::default() }).await.key;
    let mut request = with(&key, pb::GetBalanceRequest {});
    request.metadata_mut().insert("x-forwarded-for", "192.0.2.7".parse().unwrap());
    assert_refused(server.accounts.get_balance(request).await, Code::PermissionDenied, ErrorReason::NetworkNotAllowed);
    let local = pb::CreateApiKeyRequest { networks: vec!["127.0.0.1".into()], ..Default::default() };
    let key = server.key(&token, local).await.key;
    server.balance(&key).await.unwrap();
    let anywhere = server.accounts_from([127, 0, 0, 2].into()).await.get_balance(with(&key, pb::GetBalanceRequest {})).await;
    assert_refused(anywhere, Code::PermissionDenied, ErrorReason::NetworkNotAllowed);
}

#[tokio::test]
async fn a_key_lasts_as_long_as_by_default_and_no_longer_than_any_may() {
    let mut server = start_with(&[("TOLLGATE_KEY_LIFETIME", "1h"), ("TOLLGATE_KEY_MAX_LIFETIME", "2h")]).await;
    let token = server.user("mario").await;
    let ending = |in_s: i64| pb::CreateApiKeyRequest {
        expires_at: Some(prost_types::Timestamp { seconds: now_s() + in_s, nanos: 0 }),
        ..Default::default()
    };
    let lasts = |made: pb::CreateApiKeyResponse| made.api_key.unwrap().expires_at.unwrap().seconds - now_s();
    let by_default = lasts(server.key(&token, pb::CreateApiKeyRequest::default()).await);
    assert!((3_590..=3_600).contains(&by_default), "{by_default}");
    let said = lasts(server.key(&token, ending(7_190)).await);
    assert!((7_180..=7_190).contains(&said), "{said}");
    for wrong in [7_210, i64::from(i32::MAX), -1] {
        assert_eq!(violated(server.accounts.create_api_key(with(&token, ending(wrong))).await), ["expires_at"]);
    }
    // A rotation keeps the key's time.
    let listed = server.list(&token).await.remove(0);
    let rotated = server.rotate(&token, rotation(&listed.api_key_id, None)).await.unwrap().api_key.unwrap();
    assert_eq!((rotated.expires_at, rotated.secrets[0].expires_at), (listed.expires_at, listed.expires_at));
}

#[tokio::test]
async fn a_key_is_good_for_the_operations_that_it_names_and_for_no_other() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let operations = [
        (pb::Operation::Chat, "chat"),
        (pb::Operation::Generate, "generate"),
        (pb::Operation::Embed, "embed"),
        (pb::Operation::ReadModels, "list_models"),
    ];
    for (_, scope) in operations {
        let made = server.key(&token, pb::CreateApiKeyRequest { scopes: vec![scope.into()], ..Default::default() }).await;
        assert_eq!(made.api_key.unwrap().scopes, [scope]);
        for (operation, needs) in operations {
            // Also where no model is named yet: so is asked before a long message is read.
            for model in ["tiny", ""] {
                let request = pb::CheckRequest {
                    credential: made.key.clone(),
                    operation: operation.into(),
                    model: model.into(),
                    ..Default::default()
                };
                let answer = server.check(request).await;
                if needs == scope {
                    answer.unwrap();
                } else {
                    assert_refused(answer, Code::PermissionDenied, ErrorReason::ScopeRequired);
                }
            }
        }
        assert_refused(server.balance(&made.key).await, Code::PermissionDenied, ErrorReason::ScopeRequired);
        server.accounts.get_me(with(&made.key, pb::GetMeRequest {})).await.unwrap();
    }
    let charged = pb::CheckRequest { model: String::new(), ..chat(&token, "r") };
    assert_eq!(violated(server.check(charged).await), ["model"], "what is paid for has a model");
    let all = ["embed", "list_models", "generate", "chat"].map(str::to_owned).to_vec();
    let made = server.key(&token, pb::CreateApiKeyRequest { scopes: all, ..Default::default() }).await;
    assert_eq!(made.api_key.unwrap().scopes, ["inference"]);
}

#[tokio::test]
async fn whoever_finds_a_key_can_have_it_revoked_by_showing_it() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let made = server.key(&token, pb::CreateApiKeyRequest::default()).await;
    let id = made.api_key.unwrap().api_key_id;
    let second = server.rotate(&token, rotation(&id, None)).await.unwrap().key;
    for _ in 0..2 {
        let shown = server.show(&made.key).await;
        assert_eq!((shown.result(), shown.api_key_id.as_str(), shown.session_id.as_str()), (RevokeResult::Revoked, id.as_str(), ""));
        assert_refused(server.balance(&made.key).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
        server.balance(&second).await.unwrap();
    }
    assert_eq!(server.show(&second).await.result(), RevokeResult::Revoked);
    assert!(server.list(&token).await[0].revoked_at.is_some(), "none of its secrets is in force");
    let elsewhere = auth_service::api_key::ApiKey::random(auth_service::ids::AccountId::random().unwrap()).unwrap();
    let forged = auth_service::api_key::ApiKey::random(auth_service::ids::AccountId::parse(&made.key[3..19]).unwrap()).unwrap();
    let mistyped = format!("{}0", &second[..48]);
    for unknown in [elsewhere.reveal(), forged.reveal(), &mistyped, "tg_", "tg_x"] {
        let shown = server.show(unknown).await;
        assert_eq!((shown.result(), shown.api_key_id.as_str()), (RevokeResult::Unknown, ""), "{}", unknown.len());
    }
}

#[tokio::test]
async fn networks_graces_and_request_ids_that_are_none_are_named() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let id = server.key(&token, pb::CreateApiKeyRequest::default()).await.api_key.unwrap().api_key_id;
    let long = "1".repeat(5_000);
    for wrong in ["", "10.0.0.1/8", "10.0.0.0/33", "010.0.0.0/8", "10/8", "fe80::1%eth0", "localhost", "10.0.0.0/8 ", &long] {
        let request = pb::CreateApiKeyRequest { networks: vec!["10.0.0.0/8".into(), wrong.into()], ..Default::default() };
        let answer = server.accounts.create_api_key(with(&token, request)).await;
        assert!(answer.as_ref().is_err_and(|status| status.message().len() < 400), "{answer:?}");
        assert_eq!(violated(answer), ["networks"], "{wrong}");
    }
    let many = |count: usize| pb::CreateApiKeyRequest { networks: vec!["10.0.0.0/8".into(); count], ..Default::default() };
    assert_eq!(server.key(&token, many(32)).await.api_key.unwrap().networks, ["10.0.0.0/8"]);
    let refused = server.accounts.create_api_key(with(&token, many(33))).await;
    assert_refused(refused, Code::InvalidArgument, ErrorReason::InvalidArgument);
    for wrong in ["a b", "ü", "\u{7}", &"r".repeat(129)] {
        let request = pb::CreateApiKeyRequest { request_id: wrong.into(), ..Default::default() };
        assert_eq!(violated(server.accounts.create_api_key(with(&token, request)).await), ["request_id"], "{wrong}");
        let request = pb::RotateApiKeyRequest { request_id: wrong.into(), ..rotation(&id, None) };
        assert_eq!(violated(server.rotate(&token, request).await), ["request_id"], "{wrong}");
    }
    for grace_period in [
        seconds(-1),
        seconds(30 * 86_400 + 1),
        seconds(i64::MAX),
        seconds(i64::MIN),
        prost_types::Duration { seconds: 0, nanos: -1 },
        prost_types::Duration { seconds: 30 * 86_400, nanos: 1 },
        prost_types::Duration { seconds: 1, nanos: 1_000_000_000 },
    ] {
        let request = pb::RotateApiKeyRequest { grace_period: Some(grace_period), ..rotation(&id, None) };
        assert_eq!(violated(server.rotate(&token, request).await), ["grace_period"], "{grace_period:?}");
    }
    server.rotate(&token, rotation(&id, Some(30 * 86_400))).await.unwrap();
    assert_eq!(server.list(&token).await[0].secrets.len(), 2, "nothing came of what was refused");
}

#[tokio::test]
async fn when_each_secret_was_used_is_listed_soon_after() {
    let mut server = start().await;
    let token = server.user("mario").await;
    let made = server.key(&token, pb::CreateApiKeyRequest::default()).await;
    let id = made.api_key.unwrap().api_key_id;
    let second = server.rotate(&token, rotation(&id, None)).await.unwrap().key;
    let listed = server.list(&token).await.remove(0);
    assert!(listed.last_used_at.is_none() && listed.secrets.iter().all(|secret| secret.last_used_at.is_none()));
    // By a method of its own, and by what another service asks.
    server.balance(&made.key).await.unwrap();
    server.check(chat(&second, "r")).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let listed = loop {
        let listed = server.list(&token).await.remove(0);
        if listed.secrets.iter().all(|secret| secret.last_used_at.is_some()) {
            break listed;
        }
        assert!(Instant::now() < deadline, "not noted: {listed:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let newest = listed.secrets.iter().filter_map(|secret| secret.last_used_at).map(|at| (at.seconds, at.nanos)).max();
    assert_eq!(listed.last_used_at.map(|at| (at.seconds, at.nanos)), newest);
    assert!((now_s() - newest.unwrap().0) < 60);
}

//! An organization's account, as its members see it: keys, ledger, usage, receipts and caps.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use shared::ErrorReason;
use shared::error::reason_of;
use shared::proto::auth as pb;
use tonic::{Code, Request, Status};

use crate::http::http;
use crate::support::*;

/// A message with a credential, for an organization's account.
fn on<T>(account: &str, credential: &str, message: T) -> Request<T> {
    let mut request = with(credential, message);
    request.metadata_mut().insert("x-tollgate-account", account.parse().unwrap());
    request
}

/// An organization with credits: its owner, two members and a service account.
struct Shared {
    account: String,
    owner: String,
    ada: String,
    bob: String,
    ada_id: String,
    robot: String,
}

impl Server {
    async fn shared(&mut self, credits: i64) -> Shared {
        let (owner, ada, bob) = (self.user("owner").await, self.user("ada").await, self.user("bob").await);
        let create = pb::CreateOrganizationRequest { name: "Plumbers".into() };
        let made = self.accounts.create_organization(with(&owner, create)).await.unwrap().into_inner();
        let account = made.organization.unwrap().account_id;
        let operator = self.operator().await;
        let grant = pb::GrantCreditsRequest { credits, request_id: "g".into(), account_id: account.clone(), ..Default::default() };
        self.admin.grant_credits(with(&operator, grant)).await.unwrap();
        let mut ids = Vec::new();
        for name in ["ada", "bob"] {
            let add = pb::AddMemberRequest {
                account_id: account.clone(),
                user_name: name.into(),
                role: pb::MemberRole::Member.into(),
                ..Default::default()
            };
            ids.push(self.accounts.add_member(with(&owner, add)).await.unwrap().into_inner().member.unwrap().user_id);
        }
        let create = pb::CreateServiceAccountRequest { account_id: account.clone(), name: "ci".into(), ..Default::default() };
        let made = self.accounts.create_service_account(with(&owner, create)).await.unwrap().into_inner();
        let robot = made.service_account.unwrap().service_account_id;
        Shared { account, owner, ada, bob, ada_id: ids.remove(0), robot }
    }

    async fn key_on(&mut self, account: &str, token: &str, service_account_id: &str) -> Result<pb::CreateApiKeyResponse, Status> {
        let message = pb::CreateApiKeyRequest {
            scopes: vec!["account".into(), "chat".into()],
            service_account_id: service_account_id.into(),
            ..Default::default()
        };
        Ok(self.accounts.create_api_key(on(account, token, message)).await?.into_inner())
    }

    /// The ids of the keys that somebody sees.
    async fn keys_on(&mut self, account: &str, token: &str) -> Vec<String> {
        let listed = self.accounts.list_api_keys(on(account, token, pb::ListApiKeysRequest {})).await.unwrap().into_inner();
        listed.api_keys.into_iter().map(|key| key.api_key_id).collect()
    }

    /// Holds and settles one call.
    async fn spend_on(&mut self, account: &str, credential: &str, request_id: &str) -> Result<(), Status> {
        let answer = self.check(pb::CheckRequest { account: account.into(), ..chat(credential, request_id) }).await?;
        let settle = pb::SettleRequest {
            hold: grant(answer).hold,
            outcome: pb::Outcome::Completed.into(),
            usage: Some(pb::TokenUsage { input_tokens: Some(3), output_tokens: Some(4), ..Default::default() }),
        };
        self.settle(settle).await.map(|_| ())
    }

    /// The requests of the entries that somebody sees.
    async fn entries_on(&mut self, account: &str, credential: &str, user_id: &str, page_size: u32) -> Vec<String> {
        let (mut requests, mut page_token) = (Vec::new(), String::new());
        loop {
            let message = pb::ListLedgerEntriesRequest { page_size, page_token, user_id: user_id.into() };
            let page = self.accounts.list_ledger_entries(on(account, credential, message)).await.unwrap().into_inner();
            assert!(page_size == 0 || page.entries.len() <= page_size as usize);
            requests.extend(page.entries.into_iter().map(|entry| entry.request_id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return requests;
            }
        }
    }

    /// The calls that somebody's usage has.
    async fn calls_on(&mut self, account: &str, credential: &str, user_id: &str) -> i64 {
        let message = pb::GetUsageRequest { user_id: user_id.into(), ..Default::default() };
        let usage = self.accounts.get_usage(on(account, credential, message)).await.unwrap().into_inner();
        assert_eq!(usage.account_id, account);
        usage.rows.iter().map(|row| row.calls.unwrap()).sum()
    }
}

#[tokio::test]
async fn members_see_their_own_keys_entries_and_usage_and_owners_see_all() {
    let mut server = start().await;
    let Shared { account, owner, ada, bob, ada_id, robot } = server.shared(100).await;
    let ada_key = server.key_on(&account, &ada, "").await.unwrap();
    let bob_key = server.key_on(&account, &bob, "").await.unwrap();
    let robot_key = server.key_on(&account, &owner, &robot).await.unwrap();
    let id = |made: &pb::CreateApiKeyResponse| made.api_key.clone().unwrap().api_key_id;
    assert_eq!(server.keys_on(&account, &ada).await, [id(&ada_key)]);
    let mut all = server.keys_on(&account, &owner).await;
    all.sort();
    let mut made = [id(&ada_key), id(&bob_key), id(&robot_key)];
    made.sort();
    assert_eq!(all, made);
    // A key made for the organization pays from it, and one's own keys are none of it.
    for number in 0..3 {
        server.spend_on("", &ada_key.key, &format!("ada-{number}")).await.unwrap();
        server.spend_on(&account, &bob, &format!("bob-{number}")).await.unwrap();
    }
    server.spend_on("", &robot_key.key, "robot-0").await.unwrap();
    let own = ["ada-2", "ada-1", "ada-0"];
    for page_size in [0, 1, 2] {
        assert_eq!(server.entries_on(&account, &ada, "", page_size).await, own);
        assert_eq!(server.entries_on(&account, &ada_key.key, &robot, page_size).await, own, "whatever they ask");
        assert_eq!(server.entries_on(&account, &owner, &ada_id, page_size).await, own);
        assert_eq!(server.entries_on(&account, &owner, &robot, page_size).await, ["robot-0"]);
    }
    assert_eq!(server.entries_on(&account, &robot_key.key, "", 0).await, ["robot-0"]);
    assert_eq!(server.entries_on(&account, &owner, "", 3).await.len(), 8, "with the grant");
    assert_eq!((server.calls_on(&account, &ada, "").await, server.calls_on(&account, &robot_key.key, "").await), (3, 1));
    assert_eq!((server.calls_on(&account, &owner, "").await, server.calls_on(&account, &owner, &ada_id).await), (7, 3));
    let malformed = pb::GetUsageRequest { user_id: "x".into(), ..Default::default() };
    assert_eq!(violated(server.accounts.get_usage(on(&account, &owner, malformed)).await), ["user_id"]);
    // A receipt is of one's own request.
    let receipt = |request_id: &str| pb::GetReceiptRequest { request_id: request_id.into() };
    server.accounts.get_receipt(on(&account, &ada, receipt("ada-0"))).await.unwrap();
    let of_bob = server.accounts.get_receipt(on(&account, &ada, receipt("bob-0"))).await;
    assert_refused(of_bob, Code::NotFound, ErrorReason::RequestNotFound);
    // What was spent here was spent nowhere else.
    assert_eq!(server.balance(&ada).await.unwrap().spent_credits(), 0);
    let balance = server.accounts.get_balance(on(&account, &ada, pb::GetBalanceRequest {})).await.unwrap().into_inner();
    assert_eq!((balance.account_id.as_str(), balance.balance.unwrap().spent_credits()), (&*account, 7));
    let stranger = server.user("eve").await;
    let denied = server.accounts.get_balance(on(&account, &stranger, pb::GetBalanceRequest {})).await;
    assert_refused(denied, Code::PermissionDenied, ErrorReason::AccountNotAllowed);
}

#[tokio::test]
async fn keys_are_made_rotated_and_revoked_by_whose_they_are_and_owners_care_for_service_accounts() {
    let mut server = start().await;
    let Shared { account, owner, ada, bob, robot, .. } = server.shared(10).await;
    let made = server.key_on(&account, &ada, "").await.unwrap();
    let of_robot = server.key_on(&account, &owner, &robot).await.unwrap();
    assert_eq!(of_robot.api_key.clone().unwrap().user_id, robot);
    let id = |made: &pb::CreateApiKeyResponse| made.api_key.clone().unwrap().api_key_id;
    let rotate = |key: &pb::CreateApiKeyResponse| pb::RotateApiKeyRequest { api_key_id: id(key), ..Default::default() };
    let revoke = |key: &pb::CreateApiKeyResponse| pb::RevokeApiKeyRequest { api_key_id: id(key), ..Default::default() };
    assert_refused(server.key_on(&account, &ada, &robot).await, Code::PermissionDenied, ErrorReason::OwnerRequired);
    for nobody in ["0123456789abcdef", "x"] {
        assert_refused(server.key_on(&account, &owner, nobody).await, Code::NotFound, ErrorReason::MemberNotFound);
    }
    // On her own account nobody has service accounts.
    let at_home = pb::CreateApiKeyRequest { service_account_id: robot.clone(), ..Default::default() };
    assert_refused(server.accounts.create_api_key(with(&owner, at_home)).await, Code::NotFound, ErrorReason::MemberNotFound);
    for key in [&made, &of_robot] {
        let rotated = server.accounts.rotate_api_key(on(&account, &bob, rotate(key))).await;
        assert_refused(rotated, Code::NotFound, ErrorReason::ApiKeyNotFound);
        let revoked = server.accounts.revoke_api_key(on(&account, &bob, revoke(key))).await;
        assert_refused(revoked, Code::NotFound, ErrorReason::ApiKeyNotFound);
    }
    let rotated = server.accounts.rotate_api_key(on(&account, &owner, rotate(&made))).await;
    assert_refused(rotated, Code::PermissionDenied, ErrorReason::AccountNotAllowed);
    server.accounts.rotate_api_key(on(&account, &owner, rotate(&of_robot))).await.unwrap();
    server.accounts.revoke_api_key(on(&account, &owner, revoke(&made))).await.unwrap();
    let refused = server.check(chat(&made.key, "r1")).await;
    assert_refused(refused, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    // A key changes none: neither a member's nor a service account's.
    let by_key = server.key_on(&account, &of_robot.key, "").await;
    assert_refused(by_key, Code::PermissionDenied, ErrorReason::AccessTokenRequired);
}

#[tokio::test]
async fn a_service_account_is_shown_by_its_own_name_to_whom_asks_with_its_key() {
    let mut server = start().await;
    let Shared { account, owner, robot, .. } = server.shared(10).await;
    let key = server.key_on(&account, &owner, &robot).await.unwrap().key;
    let me = server.accounts.get_me(with(&key, pb::GetMeRequest {})).await.unwrap().into_inner();
    let service_account = me.service_account.unwrap();
    assert_eq!((service_account.name.as_str(), &service_account.service_account_id, me.user), ("ci", &robot, None));
    assert_eq!(me.organization.unwrap().name, "Plumbers");
    let me = http(server.address, "GET /users/me", &[("authorization", &format!("Bearer {key}"))], "").await.json();
    assert_eq!((&me["user_id"], &me["service_account"], &me["account_id"]), (&robot.into(), &"ci".into(), &account.into()));
}

#[tokio::test]
async fn whom_a_cap_stops_is_told_what_is_needed_and_what_is_left() {
    let mut server = start().await;
    let Shared { account, owner, ada, ada_id, robot, .. } = server.shared(10).await;
    let robot_key = server.key_on(&account, &owner, &robot).await.unwrap().key;
    for (id, credential, named) in [(&ada_id, &ada, account.as_str()), (&robot, &robot_key, "")] {
        let cap = pb::SetMemberCapRequest { account_id: account.clone(), user_id: id.clone(), monthly_cap_credits: Some(2) };
        server.accounts.set_member_cap(with(&owner, cap)).await.unwrap();
        for number in 0..2 {
            server.spend_on(named, credential, &format!("{id}-{number}")).await.unwrap();
        }
        let refused = server.spend_on(named, credential, "one-more").await;
        let status = assert_refused(refused, Code::ResourceExhausted, ErrorReason::MemberCapReached);
        assert!(status.message().contains("1 credit, and 0 are left"), "{}", status.message());
        assert_eq!(reason_of(&status), Some(ErrorReason::MemberCapReached));
    }
    server.spend_on(&account, &owner, "an-owners").await.unwrap();
}

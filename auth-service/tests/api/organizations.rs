//! Organizations, their members, invitations and service accounts, as callers see them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use auth_service::ids::AccountId;
use auth_service::organization::invitation_code::InvitationCode;
use shared::ErrorReason;
use shared::proto::auth as pb;
use shared::proto::auth::revoke_credential_response::Result as RevokeResult;
use tonic::{Code, Request, Status};

use crate::audit::Follower;
use crate::oauth2_sessions::signed_in;
use crate::support::*;

pub(crate) type Answer<T> = Result<T, Status>;

/// A message with a credential, for an organization's account.
fn on<T>(account: &str, credential: &str, message: T) -> Request<T> {
    let mut request = with(credential, message);
    request.metadata_mut().insert("x-tollgate-account", account.parse().unwrap());
    request
}

impl Server {
    pub(crate) async fn organize(&mut self, token: &str, name: &str) -> Answer<pb::Organization> {
        let request = with(token, pb::CreateOrganizationRequest { name: name.into() });
        Ok(self.accounts.create_organization(request).await?.into_inner().organization.unwrap())
    }

    async fn organizations(&mut self, credential: &str) -> Answer<Vec<pb::Organization>> {
        Ok(self.accounts.list_organizations(with(credential, pb::ListOrganizationsRequest {})).await?.into_inner().organizations)
    }

    pub(crate) async fn add(&mut self, token: &str, account: &str, name: &str, role: pb::MemberRole) -> Answer<pb::Member> {
        let message =
            pb::AddMemberRequest { account_id: account.into(), user_name: name.into(), role: role.into(), monthly_cap_credits: None };
        Ok(self.accounts.add_member(with(token, message)).await?.into_inner().member.unwrap())
    }

    async fn members(&mut self, credential: &str, account: &str) -> Answer<Vec<pb::Member>> {
        let request = with(credential, pb::ListMembersRequest { account_id: account.into() });
        Ok(self.accounts.list_members(request).await?.into_inner().members)
    }

    async fn remove(&mut self, token: &str, account: &str, user_id: &str) -> Answer<()> {
        let message = pb::RemoveMemberRequest { account_id: account.into(), user_id: user_id.into() };
        self.accounts.remove_member(with(token, message)).await.map(|_| ())
    }

    async fn role(&mut self, token: &str, account: &str, user_id: &str, role: pb::MemberRole) -> Answer<pb::Member> {
        let message = pb::SetMemberRoleRequest { account_id: account.into(), user_id: user_id.into(), role: role.into() };
        Ok(self.accounts.set_member_role(with(token, message)).await?.into_inner().member.unwrap())
    }

    async fn cap(
        &mut self,
        token: &str,
        account: &str,
        user_id: &str,
        monthly_cap_credits: Option<i64>,
    ) -> Answer<pb::SetMemberCapResponse> {
        let message = pb::SetMemberCapRequest { account_id: account.into(), user_id: user_id.into(), monthly_cap_credits };
        Ok(self.accounts.set_member_cap(with(token, message)).await?.into_inner())
    }

    pub(crate) async fn invite(&mut self, token: &str, message: pb::InviteMemberRequest) -> Answer<pb::InviteMemberResponse> {
        Ok(self.accounts.invite_member(with(token, message)).await?.into_inner())
    }

    async fn invitations(&mut self, credential: &str, account: &str) -> Answer<Vec<pb::Invitation>> {
        let request = with(credential, pb::ListInvitationsRequest { account_id: account.into() });
        Ok(self.accounts.list_invitations(request).await?.into_inner().invitations)
    }

    async fn withdraw(&mut self, token: &str, account: &str, invitation_id: &str) -> Answer<()> {
        let message = pb::WithdrawInvitationRequest { account_id: account.into(), invitation_id: invitation_id.into() };
        self.accounts.withdraw_invitation(with(token, message)).await.map(|_| ())
    }

    pub(crate) async fn look(&mut self, credential: &str, code: &str) -> Answer<pb::Invitation> {
        let request = with(credential, pb::GetInvitationRequest { invitation_code: code.into() });
        Ok(self.accounts.get_invitation(request).await?.into_inner().invitation.unwrap())
    }

    pub(crate) async fn accept(&mut self, token: &str, code: &str) -> Answer<pb::Organization> {
        let request = with(token, pb::AcceptInvitationRequest { invitation_code: code.into() });
        Ok(self.accounts.accept_invitation(request).await?.into_inner().organization.unwrap())
    }

    async fn robot(&mut self, token: &str, account: &str, name: &str) -> Answer<pb::ServiceAccount> {
        let message = pb::CreateServiceAccountRequest { account_id: account.into(), name: name.into(), monthly_cap_credits: None };
        Ok(self.accounts.create_service_account(with(token, message)).await?.into_inner().service_account.unwrap())
    }

    async fn robots(&mut self, credential: &str, account: &str) -> Answer<Vec<pb::ServiceAccount>> {
        let request = with(credential, pb::ListServiceAccountsRequest { account_id: account.into() });
        Ok(self.accounts.list_service_accounts(request).await?.into_inner().service_accounts)
    }

    async fn end_robot(&mut self, token: &str, account: &str, id: &str) -> Answer<()> {
        let message = pb::RemoveServiceAccountRequest { account_id: account.into(), service_account_id: id.into() };
        self.accounts.remove_service_account(with(token, message)).await.map(|_| ())
    }

    async fn who_am_i(&mut self, request: Request<pb::GetMeRequest>) -> Answer<pb::GetMeResponse> {
        Ok(self.accounts.get_me(request).await?.into_inner())
    }
}

pub(crate) fn invitation(account: &str, role: pb::MemberRole) -> pb::InviteMemberRequest {
    pb::InviteMemberRequest { account_id: account.into(), role: role.into(), ..Default::default() }
}

pub(crate) const MEMBER: pb::MemberRole = pb::MemberRole::Member;
pub(crate) const OWNER: pb::MemberRole = pb::MemberRole::Owner;

#[tokio::test]
async fn an_organization_is_made_listed_by_name_and_shared_until_its_members_leave() {
    let mut server = start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let plumbers = server.organize(&ada, " Plumbers & Söhne ").await.unwrap();
    let account = plumbers.account_id.as_str();
    let me = plumbers.me.clone().unwrap();
    assert_eq!(
        (plumbers.name.as_str(), me.user_name.as_str(), me.role(), me.spent_this_month_credits),
        ("Plumbers & Söhne", "ada", OWNER, Some(0))
    );
    assert_refused(server.organize(&ada, "plumbers & söhne").await, Code::AlreadyExists, ErrorReason::NameTaken);
    let bakers = server.organize(&ada, "Bakers").await.unwrap();
    let added = server.add(&ada, account, "bob", MEMBER).await.unwrap();
    assert_eq!((added.user_name.as_str(), added.role(), added.monthly_cap_credits, added.disabled), ("bob", MEMBER, None, false));
    assert_refused(server.add(&ada, account, "bob", OWNER).await, Code::AlreadyExists, ErrorReason::AlreadyAMember);
    assert_refused(server.add(&ada, account, "nobody", OWNER).await, Code::NotFound, ErrorReason::UserNotFound);
    let names = |organizations: Vec<pb::Organization>| organizations.into_iter().map(|one| one.name).collect::<Vec<_>>();
    assert_eq!(names(server.organizations(&ada).await.unwrap()), ["Bakers", "Plumbers & Söhne"]);
    let of_bob = server.organizations(&bob).await.unwrap();
    assert_eq!((of_bob[0].account_id.as_str(), of_bob[0].me.clone().unwrap().role(), of_bob.len()), (account, MEMBER, 1));
    let members = server.members(&bob, account).await.unwrap();
    assert_eq!(members.iter().map(|member| member.user_name.as_str()).collect::<Vec<_>>(), ["ada", "bob"]);
    // Its account is theirs to read.
    let me = server.who_am_i(on(account, &bob, pb::GetMeRequest {})).await.unwrap();
    assert_eq!((me.account_id.as_str(), me.user.unwrap().user_name.as_str()), (account, "bob"));
    assert_eq!(me.organization.unwrap().me.unwrap().role(), MEMBER);
    assert_eq!(server.who_am_i(with(&bob, pb::GetMeRequest {})).await.unwrap().organization, None);
    assert_refused(
        server.who_am_i(on(&bakers.account_id, &bob, pb::GetMeRequest {})).await,
        Code::PermissionDenied,
        ErrorReason::AccountNotAllowed,
    );
    // Bob leaves, naming nobody; a repetition says that he is no member.
    server.remove(&bob, account, "").await.unwrap();
    assert_refused(server.remove(&bob, account, "").await, Code::NotFound, ErrorReason::OrganizationNotFound);
    assert_refused(server.remove(&ada, account, &added.user_id).await, Code::NotFound, ErrorReason::MemberNotFound);
    assert_refused(server.members(&bob, account).await, Code::NotFound, ErrorReason::OrganizationNotFound);
    assert_refused(server.who_am_i(on(account, &bob, pb::GetMeRequest {})).await, Code::PermissionDenied, ErrorReason::AccountNotAllowed);
    assert_refused(server.remove(&ada, account, "").await, Code::FailedPrecondition, ErrorReason::LastOwner);
}

#[tokio::test]
async fn caps_and_what_was_spent_are_told_to_owners_and_to_whom_they_are_of() {
    let mut server = start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let carl = server.sign_up("carl").await;
    let account = server.organize(&ada, "Plumbers").await.unwrap().account_id;
    let robot = server.robot(&ada, &account, "ci").await.unwrap();
    let (added, other) =
        (server.add(&ada, &account, "bob", MEMBER).await.unwrap(), server.add(&ada, &account, "carl", MEMBER).await.unwrap());
    assert_eq!(other.user_id, carl.user_id);
    let of_bob = server.cap(&ada, &account, &added.user_id, Some(7)).await.unwrap();
    assert_eq!((of_bob.member.unwrap().monthly_cap_credits, of_bob.service_account), (Some(7), None));
    server.cap(&ada, &account, &other.user_id, Some(0)).await.unwrap();
    let of_robot = server.cap(&ada, &account, &robot.service_account_id, Some(9)).await.unwrap();
    assert_eq!((of_robot.service_account.unwrap().monthly_cap_credits, of_robot.member), (Some(9), None));
    server.store.set_disabled(&auth_service::ids::UserId::parse(&other.user_id).unwrap(), true, "", event()).await.unwrap();
    let seen = |members: &[pb::Member]| {
        members.iter().map(|one| (one.monthly_cap_credits, one.spent_this_month_credits, one.disabled)).collect::<Vec<_>>()
    };
    let (by_owner, by_member) = (server.members(&ada, &account).await.unwrap(), server.members(&bob, &account).await.unwrap());
    assert_eq!(seen(&by_owner), [(None, Some(0), false), (Some(7), Some(0), false), (Some(0), Some(0), true)]);
    assert_eq!(seen(&by_member), [(None, None, false), (Some(7), Some(0), false), (None, None, false)]);
    let (by_owner, by_member) = (server.robots(&ada, &account).await.unwrap(), server.robots(&bob, &account).await.unwrap());
    assert_eq!((by_owner[0].monthly_cap_credits, by_owner[0].spent_this_month_credits), (Some(9), Some(0)));
    assert_eq!((by_member[0].name.as_str(), by_member[0].monthly_cap_credits, by_member[0].spent_this_month_credits), ("ci", None, None));
    assert_refused(server.cap(&bob, &account, &added.user_id, None).await, Code::PermissionDenied, ErrorReason::OwnerRequired);
    assert_refused(server.cap(&ada, &account, &"0".repeat(16), None).await, Code::NotFound, ErrorReason::MemberNotFound);
    assert_eq!(server.cap(&ada, &account, &added.user_id, None).await.unwrap().member.unwrap().monthly_cap_credits, None);
}

#[tokio::test]
async fn an_invitation_is_looked_at_redeemed_once_withdrawn_and_revoked_by_its_code() {
    let mut server = start().await;
    let (ada, bob, eve) = (server.user("ada").await, server.user("bob").await, server.user("eve").await);
    let account = server.organize(&ada, "Plumbers").await.unwrap().account_id;
    let wanted = pb::InviteMemberRequest {
        monthly_cap_credits: Some(5),
        lifetime: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        note: "for Bob".into(),
        ..invitation(&account, OWNER)
    };
    let made = server.invite(&ada, wanted).await.unwrap();
    let (code, told) = (made.invitation_code.as_str(), made.invitation.unwrap());
    assert!(code.starts_with("tgi_") && code.len() == 48, "{code}");
    assert_eq!(
        (told.organization_name.as_str(), told.role(), told.monthly_cap_credits, told.note.as_str()),
        ("Plumbers", OWNER, Some(5), "for Bob")
    );
    assert_eq!((told.created_by_name.as_str(), told.expires_at.unwrap().seconds - told.created_at.unwrap().seconds), ("ada", 60));
    assert_eq!(server.look(&bob, code).await.unwrap(), told);
    assert_eq!(server.invitations(&ada, &account).await.unwrap(), std::slice::from_ref(&told));
    let joined = server.accept(&bob, code).await.unwrap();
    assert_eq!((joined.account_id.as_str(), joined.me.unwrap().monthly_cap_credits), (account.as_str(), Some(5)));
    for who in [&eve, &bob] {
        assert_refused(server.accept(who, code).await, Code::NotFound, ErrorReason::InvitationInvalid);
        assert_refused(server.look(who, code).await, Code::NotFound, ErrorReason::InvitationInvalid);
    }
    let second = server.invite(&bob, invitation(&account, MEMBER)).await.unwrap();
    assert_eq!(
        server.invitations(&bob, &account).await.unwrap()[0].expires_at.unwrap().seconds
            - second.invitation.clone().unwrap().created_at.unwrap().seconds,
        7 * 86_400
    );
    let id = second.invitation.unwrap().invitation_id;
    for _ in 0..2 {
        server.withdraw(&ada, &account, &id).await.unwrap();
    }
    assert_refused(server.accept(&eve, &second.invitation_code).await, Code::NotFound, ErrorReason::InvitationInvalid);
    // Whoever finds a code in a log withdraws it by showing it.
    let third = server.invite(&ada, invitation(&account, MEMBER)).await.unwrap().invitation_code;
    let show = |credential: &str| pb::RevokeCredentialRequest { credential: credential.into() };
    for expected in [RevokeResult::Revoked, RevokeResult::Unknown] {
        let shown = server.accounts.revoke_credential(show(&third)).await.unwrap().into_inner();
        assert_eq!((shown.result(), shown.api_key_id.as_str(), shown.session_id.as_str()), (expected, "", ""));
    }
    assert_refused(server.accept(&eve, &third).await, Code::NotFound, ErrorReason::InvitationInvalid);
    // Of an organization that isn't there, a well-formed code is as any that is used up; one that is mistyped is told so.
    let elsewhere = InvitationCode::random(AccountId::random().unwrap()).unwrap();
    assert_refused(server.accept(&eve, elsewhere.reveal()).await, Code::NotFound, ErrorReason::InvitationInvalid);
    assert_refused(server.look(&eve, elsewhere.reveal()).await, Code::NotFound, ErrorReason::InvitationInvalid);
    for wrong in ["", "tgi_", &third[..47], &third.replace("tgi_", "tgx_"), &format!("{third} "), &"é".repeat(24)] {
        assert_eq!(violated(server.accept(&eve, wrong).await), ["invitation_code"], "{wrong}");
        assert_eq!(violated(server.look(&eve, wrong).await), ["invitation_code"], "{wrong}");
        assert_eq!(
            server.accounts.revoke_credential(show(wrong)).await.map(|shown| shown.into_inner().result()).unwrap_or(RevokeResult::Unknown),
            RevokeResult::Unknown
        );
    }
    assert_eq!(server.members(&ada, &account).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_invitation_is_good_for_nothing_as_a_bearer_and_never_in_a_text_that_is_kept() {
    let mut server = start().await;
    let ada = server.user("ada").await;
    let account = server.organize(&ada, "Plumbers").await.unwrap().account_id;
    let code = server.invite(&ada, invitation(&account, MEMBER)).await.unwrap().invitation_code;
    assert_refused(server.organizations(&code).await, Code::Unauthenticated, ErrorReason::CredentialInvalid);
    assert_eq!(violated(server.organize(&ada, &code).await), ["name"]);
    assert_eq!(violated(server.robot(&ada, &account, &format!("x {code}")).await), ["name"]);
    let note = pb::InviteMemberRequest { note: format!("give {code}"), ..invitation(&account, MEMBER) };
    assert_eq!(violated(server.invite(&ada, note).await), ["note"]);
}

#[tokio::test]
async fn bad_input_is_refused_by_field_all_at_once_and_changes_nothing() {
    let mut server = start().await;
    let ada = server.user("ada").await;
    let account = server.organize(&ada, "Plumbers").await.unwrap().account_id;
    for name in ["", "  ", &"x".repeat(101), "a\u{0}b", "a\u{202e}b", "line\nfeed"] {
        assert_eq!(violated(server.organize(&ada, name).await), ["name"], "{name:?}");
        assert_eq!(violated(server.robot(&ada, &account, name).await), ["name"], "{name:?}");
    }
    let wrong_ids =
        ["", "x", &"a".repeat(17), "../../../../etc/pa", "ÄÄÄÄÄÄÄÄ", &account.to_uppercase().replace(|c: char| c.is_ascii_digit(), "-")];
    for wrong in wrong_ids {
        assert_eq!(violated(server.members(&ada, wrong).await), ["account_id"], "{wrong}");
        assert_eq!(violated(server.robots(&ada, wrong).await), ["account_id"], "{wrong}");
        assert_eq!(violated(server.invitations(&ada, wrong).await), ["account_id"], "{wrong}");
        assert_eq!(violated(server.role(&ada, wrong, wrong, MEMBER).await), ["account_id", "user_id"], "{wrong}");
        assert_eq!(violated(server.end_robot(&ada, wrong, wrong).await), ["account_id", "service_account_id"], "{wrong}");
        assert_eq!(violated(server.withdraw(&ada, wrong, wrong).await), ["account_id", "invitation_id"], "{wrong}");
    }
    let message = pb::AddMemberRequest { account_id: "x".into(), user_name: "?".into(), role: 7, monthly_cap_credits: Some(-1) };
    let all = violated(server.accounts.add_member(with(&ada, message)).await);
    assert_eq!(all, ["account_id", "user_name", "role", "monthly_cap_credits"]);
    let message = pb::InviteMemberRequest {
        account_id: String::new(),
        role: -1,
        monthly_cap_credits: Some(i64::MAX),
        lifetime: Some(prost_types::Duration { seconds: 59, nanos: 0 }),
        note: "x".repeat(201),
    };
    assert_eq!(violated(server.invite(&ada, message).await), ["account_id", "role", "monthly_cap_credits", "lifetime", "note"]);
    let id = server.organizations(&ada).await.unwrap()[0].me.clone().unwrap().user_id;
    let message = pb::SetMemberRoleRequest { account_id: account.clone(), user_id: id.clone(), role: 0 };
    assert_eq!(violated(server.accounts.set_member_role(with(&ada, message)).await), ["role"], "it must be said");
    for wrong in [-1, 1_000_000_000_001, i64::MIN] {
        assert_eq!(violated(server.cap(&ada, &account, &id, Some(wrong)).await), ["monthly_cap_credits"]);
    }
    assert_eq!(server.organizations(&ada).await.unwrap().len(), 1);
    assert!(server.robots(&ada, &account).await.unwrap().is_empty() && server.invitations(&ada, &account).await.unwrap().is_empty());
}

#[tokio::test]
async fn who_has_not_signed_in_changes_nothing_and_a_key_reads_what_its_account_is_for() {
    let mut server = start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let account = server.organize(&ada, "Plumbers").await.unwrap().account_id;
    let bakers = server.organize(&ada, "Bakers").await.unwrap().account_id;
    let scopes =
        |scopes: &[&str]| pb::CreateApiKeyRequest { scopes: scopes.iter().map(|&scope| scope.into()).collect(), ..Default::default() };
    let own = server.key(&ada, scopes(&["account"])).await.key;
    let chat = server.key(&ada, scopes(&["inference"])).await.key;
    let of_plumbers = server.accounts.create_api_key(on(&account, &ada, scopes(&["account"]))).await.unwrap().into_inner().key;
    for key in [&own, &of_plumbers] {
        assert_eq!(server.members(key, &account).await.unwrap().len(), 1);
        for refused in [
            server.organize(key, "x").await.map(|_| ()),
            server.add(key, &account, "bob", MEMBER).await.map(|_| ()),
            server.remove(key, &account, "").await,
            server.invite(key, invitation(&account, MEMBER)).await.map(|_| ()),
            server.robot(key, &account, "x").await.map(|_| ()),
        ] {
            assert_refused(refused, Code::PermissionDenied, ErrorReason::AccessTokenRequired);
        }
    }
    assert_eq!(server.organizations(&own).await.unwrap().len(), 2);
    // A key of one organization tells nothing of another.
    assert_eq!(server.organizations(&of_plumbers).await.unwrap().len(), 1);
    assert_refused(server.members(&of_plumbers, &bakers).await, Code::NotFound, ErrorReason::OrganizationNotFound);
    assert_refused(server.members(&chat, &account).await, Code::PermissionDenied, ErrorReason::ScopeRequired);
    // Strangers are told the same of an organization that is there as of one that isn't.
    for none in [&account, &"0".repeat(16)] {
        assert_refused(server.members(&bob, none).await, Code::NotFound, ErrorReason::OrganizationNotFound);
        assert_refused(server.add(&bob, none, "ada", MEMBER).await, Code::NotFound, ErrorReason::OrganizationNotFound);
        assert_refused(server.add(&bob, none, "nobody", MEMBER).await, Code::NotFound, ErrorReason::OrganizationNotFound);
        assert_refused(server.remove(&bob, none, "").await, Code::NotFound, ErrorReason::OrganizationNotFound);
        assert_refused(server.invitations(&bob, none).await, Code::NotFound, ErrorReason::OrganizationNotFound);
    }
    let none = server.accounts.list_organizations(pb::ListOrganizationsRequest {}).await;
    assert_refused(none, Code::Unauthenticated, ErrorReason::CredentialMissing);
    // A token that is limited reads, and changes nothing.
    let limited = signed_in(&server, &[("scope", "account")]).await.text("access_token");
    assert_eq!(server.organizations(&limited).await.unwrap().len(), 2);
    assert_refused(server.organize(&limited, "x").await, Code::PermissionDenied, ErrorReason::ScopeRequired);
}

#[tokio::test]
async fn a_service_account_says_who_it_is_reads_its_organization_and_outlives_its_maker() {
    let mut server = start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let account = server.organize(&ada, "Plumbers").await.unwrap().account_id;
    let member = server.add(&ada, &account, "bob", OWNER).await.unwrap();
    let robot = server.robot(&bob, &account, "ci").await.unwrap();
    assert_refused(server.robot(&ada, &account, "CI").await, Code::AlreadyExists, ErrorReason::NameTaken);
    let wanted = pb::CreateApiKeyRequest {
        scopes: vec!["account".into()],
        service_account_id: robot.service_account_id.clone(),
        ..Default::default()
    };
    let key = server.accounts.create_api_key(on(&account, &bob, wanted)).await.unwrap().into_inner().key;
    let me = server.who_am_i(with(&key, pb::GetMeRequest {})).await.unwrap();
    assert_eq!(
        (me.user, me.service_account, me.account_id.as_str()),
        (None, Some(pb::ServiceAccount { ..robot.clone() }), account.as_str())
    );
    assert_eq!(me.organization.unwrap().me, None);
    assert_eq!(server.robots(&key, &account).await.unwrap()[0].spent_this_month_credits, Some(0));
    assert_eq!(server.members(&key, &account).await.unwrap()[0].spent_this_month_credits, None);
    assert_refused(server.invitations(&key, &account).await, Code::PermissionDenied, ErrorReason::OwnerRequired);
    assert_refused(server.accept(&key, "tgi_").await, Code::PermissionDenied, ErrorReason::AccessTokenRequired);
    server.remove(&ada, &account, &member.user_id).await.unwrap();
    server.store.set_disabled(&auth_service::ids::UserId::parse(&member.user_id).unwrap(), true, "", event()).await.unwrap();
    assert_eq!(server.robots(&key, &account).await.unwrap()[0].created_by, member.user_id);
    server.end_robot(&ada, &account, &robot.service_account_id).await.unwrap();
    assert!(server.who_am_i(with(&key, pb::GetMeRequest {})).await.is_err());
    assert_refused(server.end_robot(&ada, &account, &robot.service_account_id).await, Code::NotFound, ErrorReason::MemberNotFound);
}

#[tokio::test]
async fn an_operator_may_do_what_owners_may_in_any_organization_and_needs_an_access_token_for_it() {
    let mut server = start().await;
    let (ada, root) = (server.user("ada").await, server.operator().await);
    let account = server.organize(&ada, "Plumbers").await.unwrap().account_id;
    server.sign_up("bob").await;
    let bob = server.add(&root, &account, "bob", MEMBER).await.unwrap();
    assert_eq!(server.role(&root, &account, &bob.user_id, OWNER).await.unwrap().role(), OWNER);
    assert_eq!(server.members(&root, &account).await.unwrap()[0].spent_this_month_credits, Some(0));
    assert_eq!(server.organizations(&root).await.unwrap(), [], "it is no member");
    let code = server.invite(&root, invitation(&account, MEMBER)).await.unwrap().invitation_code;
    assert_eq!(server.look(&ada, &code).await.unwrap().created_by_name, "operator");
    let ada_id = server.members(&root, &account).await.unwrap()[0].user_id.clone();
    server.remove(&root, &account, &ada_id).await.unwrap();
    assert_refused(server.remove(&root, &account, &bob.user_id).await, Code::FailedPrecondition, ErrorReason::LastOwner);
    let key = server.key(&root, pb::CreateApiKeyRequest { scopes: vec!["account".into()], ..Default::default() }).await.key;
    assert_refused(server.members(&key, &account).await, Code::NotFound, ErrorReason::OrganizationNotFound);
    // What was done is listed, with who, where and to whom; what failed too.
    let request = pb::ListAuditEventsRequest { action: "remove_member".into(), ..Default::default() };
    let events = server.admin.list_audit_events(with(&root, request)).await.unwrap().into_inner().events;
    let told: Vec<_> = events.iter().map(|event| (event.failure.as_str(), event.subject_id.as_str(), event.detail.as_str())).collect();
    let reason = shared::error::reason_name(ErrorReason::LastOwner);
    assert_eq!(told, [(reason, account.as_str(), ""), ("", account.as_str(), "as an operator")], "{events:?}");
    assert_eq!(events[1].subject_name, "ada");
}

#[tokio::test]
async fn no_secret_of_an_invitation_is_in_the_audit_log() {
    let mut server = start().await;
    let (ada, bob, root) = (server.user("ada").await, server.user("bob").await, server.operator().await);
    let account = server.organize(&ada, "Plumbers").await.unwrap().account_id;
    let code = server.invite(&ada, invitation(&account, MEMBER)).await.unwrap().invitation_code;
    server.accept(&bob, &code).await.unwrap();
    assert_refused(server.accept(&bob, &code).await, Code::NotFound, ErrorReason::InvitationInvalid);
    let request = pb::ListAuditEventsRequest { page_size: 500, ..Default::default() };
    let events = server.admin.list_audit_events(with(&root, request)).await.unwrap().into_inner().events;
    let actions: Vec<_> = events.iter().map(|event| event.action.as_str()).collect();
    for action in ["create_organization", "invite_member", "accept_invitation"] {
        assert!(actions.contains(&action), "{actions:?}");
    }
    assert!(!format!("{events:?}").contains(&code[20..42]));
}

/// What users do with organizations: each action once that works, and once that fails.
pub(crate) async fn each_action_is_recorded(server: &mut Server, log: &mut Follower) {
    use auth_service::store::AuditAction as A;
    let (anna, ben) = (server.user("anna").await, server.user("ben").await);
    log.events(server).await;
    let create = |name: &str| pb::CreateOrganizationRequest { name: name.into() };
    let made = server.accounts.create_organization(log.ask(&anna, create("Plumbers"))).await.unwrap().into_inner().organization.unwrap();
    let account = made.account_id;
    let event = log.one(server, A::CreateOrganization, "").await;
    assert_eq!((event.actor_name.as_str(), &event.subject_id, event.detail.as_str()), ("anna", &account, "Plumbers"));
    server.accounts.create_organization(log.ask(&anna, create("Plumbers"))).await.unwrap_err();
    log.one(server, A::CreateOrganization, "NAME_TAKEN").await;

    let invite = |account: &str| invitation(account, OWNER);
    let invited = server.accounts.invite_member(log.ask(&anna, invite(&account))).await.unwrap().into_inner();
    let id = invited.invitation.unwrap().invitation_id;
    let event = log.one(server, A::InviteMember, "").await;
    assert_eq!((&event.subject_id, event.detail), (&account, format!("invitation {id}, owner, no cap")));
    server.accounts.invite_member(log.ask(&ben, invite(&account))).await.unwrap_err();
    let event = log.one(server, A::InviteMember, "ORGANIZATION_NOT_FOUND").await;
    assert_eq!((event.actor_name.as_str(), &event.subject_id), ("ben", &account));
    let withdraw = |id: &str| pb::WithdrawInvitationRequest { account_id: account.clone(), invitation_id: id.into() };
    server.accounts.withdraw_invitation(log.ask(&ben, withdraw(&id))).await.unwrap_err();
    log.one(server, A::WithdrawInvitation, "ORGANIZATION_NOT_FOUND").await;
    server.accounts.withdraw_invitation(log.ask(&anna, withdraw(&id))).await.unwrap();
    assert_eq!(log.one(server, A::WithdrawInvitation, "").await.detail, format!("invitation {id}"));
    server.accounts.withdraw_invitation(log.ask(&anna, withdraw(&id))).await.unwrap();
    assert_eq!(log.events(server).await, [], "that it is withdrawn twice changes nothing");
    let accept = |code: &str| pb::AcceptInvitationRequest { invitation_code: code.into() };
    server.accounts.accept_invitation(log.ask(&ben, accept(&invited.invitation_code))).await.unwrap_err();
    log.one(server, A::AcceptInvitation, "INVITATION_INVALID").await;
    let again = server.accounts.invite_member(log.ask(&anna, invite(&account))).await.unwrap().into_inner().invitation_code;
    log.events(server).await;
    server.accounts.accept_invitation(log.ask(&ben, accept(&again))).await.unwrap();
    let event = log.one(server, A::AcceptInvitation, "").await;
    assert_eq!((event.actor_name.as_str(), event.subject_name.as_str(), &event.subject_id), ("ben", "ben", &account));
    let ben_id = event.subject_user_id;

    let add = |name: &str| pb::AddMemberRequest { account_id: account.clone(), user_name: name.into(), ..Default::default() };
    server.accounts.add_member(log.ask(&ben, add("dora"))).await.unwrap();
    let event = log.one(server, A::AddMember, "").await;
    assert_eq!((event.actor_name.as_str(), event.subject_name.as_str(), event.detail.as_str()), ("ben", "dora", "member, no cap"));
    let dora_id = event.subject_user_id;
    server.accounts.add_member(log.ask(&ben, add("dora"))).await.unwrap_err();
    log.one(server, A::AddMember, "ALREADY_A_MEMBER").await;
    let role =
        |id: &str, role: pb::MemberRole| pb::SetMemberRoleRequest { account_id: account.clone(), user_id: id.into(), role: role.into() };
    server.accounts.set_member_role(log.ask(&anna, role(&dora_id, OWNER))).await.unwrap();
    assert_eq!(log.one(server, A::SetMemberRole, "").await.detail, "owner");
    server.accounts.set_member_role(log.ask(&anna, role(&dora_id, OWNER))).await.unwrap();
    assert_eq!(log.events(server).await, [], "what is so already changes nothing");
    server.accounts.set_member_role(log.ask(&anna, role(&"0".repeat(16), OWNER))).await.unwrap_err();
    log.one(server, A::SetMemberRole, "MEMBER_NOT_FOUND").await;
    let cap = |id: &str| pb::SetMemberCapRequest { account_id: account.clone(), user_id: id.into(), monthly_cap_credits: Some(3) };
    server.accounts.set_member_cap(log.ask(&anna, cap(&dora_id))).await.unwrap();
    assert_eq!(log.one(server, A::SetMemberCap, "").await.detail, "3 credits a month");
    server.accounts.set_member_cap(log.ask(&anna, cap(&"0".repeat(16)))).await.unwrap_err();
    log.one(server, A::SetMemberCap, "MEMBER_NOT_FOUND").await;
    let remove = |id: &str| pb::RemoveMemberRequest { account_id: account.clone(), user_id: id.into() };
    server.accounts.remove_member(log.ask(&anna, remove(&ben_id))).await.unwrap();
    assert_eq!(log.one(server, A::RemoveMember, "").await.subject_name, "ben");
    server.accounts.remove_member(log.ask(&anna, remove(&ben_id))).await.unwrap_err();
    log.one(server, A::RemoveMember, "MEMBER_NOT_FOUND").await;

    let robot = |name: &str| pb::CreateServiceAccountRequest { account_id: account.clone(), name: name.into(), monthly_cap_credits: None };
    let made = server.accounts.create_service_account(log.ask(&anna, robot("ci"))).await.unwrap().into_inner().service_account.unwrap();
    let event = log.one(server, A::CreateServiceAccount, "").await;
    assert_eq!((&event.subject_user_id, event.detail.as_str()), (&made.service_account_id, "service account ci, no cap"));
    server.accounts.create_service_account(log.ask(&anna, robot("ci"))).await.unwrap_err();
    log.one(server, A::CreateServiceAccount, "NAME_TAKEN").await;
    let end = || pb::RemoveServiceAccountRequest { account_id: account.clone(), service_account_id: made.service_account_id.clone() };
    server.accounts.remove_service_account(log.ask(&anna, end())).await.unwrap();
    assert_eq!(log.one(server, A::RemoveServiceAccount, "").await.detail, "service account ci");
    server.accounts.remove_service_account(log.ask(&anna, end())).await.unwrap_err();
    log.one(server, A::RemoveServiceAccount, "MEMBER_NOT_FOUND").await;
}

//! Which identities sign a user in: linking, unlinking, and what ends a sign-in that has begun.

#![expect(clippy::unwrap_used, reason = "the parts that the tests share")]

use serde_json::json;
use shared::ErrorReason;
use shared::proto::auth as pb;
use tonic::{Code, Status};

use crate::audit::Follower;
use crate::issuer_sign_in::{assert_invalid, server_of};
use crate::oidc_issuer::OidcIssuer;
use crate::support::{PASSWORD, Server, assert_refused, with};

impl Server {
    async fn link(&mut self, token: &str, proof: pb::IssuerProof) -> Result<pb::Identity, Status> {
        let request = with(token, pb::LinkIdentityRequest { proof: Some(proof) });
        Ok(self.accounts.link_identity(request).await?.into_inner().identity.unwrap())
    }

    async fn unlink(&mut self, token: &str, issuer: &OidcIssuer, subject: &str) -> Result<u32, Status> {
        let request = pb::UnlinkIdentityRequest { issuer: issuer.url(), subject: subject.to_owned(), ..Default::default() };
        Ok(self.accounts.unlink_identity(with(token, request)).await?.into_inner().ended_sessions)
    }

    async fn actions(&mut self, operator: &str) -> Vec<(String, String)> {
        let events = self.accounts_events(operator).await;
        events.into_iter().map(|event| (event.action, event.failure)).collect()
    }

    async fn accounts_events(&mut self, operator: &str) -> Vec<pb::AuditEvent> {
        let request = pb::ListAuditEventsRequest { page_size: 100, ..Default::default() };
        self.admin.list_audit_events(with(operator, request)).await.unwrap().into_inner().events
    }
}

#[tokio::test]
async fn an_identity_signs_in_whoever_linked_it_and_nobody_once_it_was_unlinked_whose_sessions_end() {
    let issuer = OidcIssuer::start().await;
    let mut server = server_of(&[&issuer], &[]).await;
    let token = server.user("bob").await;
    let proof = server.proof_by_code(&issuer, "one").await;
    let identity = server.link(&token, proof.clone()).await.unwrap();
    assert_eq!((identity.issuer.as_str(), identity.subject.as_str(), identity.email.as_str()), (&*issuer.url(), "1001", "ada@example.com"));
    let signed_in = server.sign_in_by_code(&issuer, "one").await.unwrap();
    assert_eq!((signed_in.user_name.as_str(), signed_in.created), ("bob", false));
    // The proof was good once, for this too; and there is one identity of an issuer.
    assert_refused(server.exchange(proof).await, Code::Unauthenticated, ErrorReason::IdTokenInvalid);
    issuer.person(json!({ "sub": "1002" }));
    let another = server.proof_by_code(&issuer, "one").await;
    assert_refused(server.link(&token, another).await, Code::AlreadyExists, ErrorReason::IdentityLinked);
    // Nor does it sign in another user.
    issuer.person(json!({ "sub": "1001" }));
    let carol = server.user("carol").await;
    let proof = server.proof_by_code(&issuer, "one").await;
    assert_refused(server.link(&carol, proof).await, Code::AlreadyExists, ErrorReason::IdentityLinked);
    assert_refused(server.unlink(&carol, &issuer, "1001").await, Code::NotFound, ErrorReason::IdentityNotFound);
    assert_eq!(server.unlink(&token, &issuer, "1001").await.unwrap(), 1);
    let ended = server.balance(&signed_in.access_token).await;
    assert_refused(ended, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    server.balance(&token).await.unwrap();
    assert_refused(server.unlink(&token, &issuer, "1001").await, Code::NotFound, ErrorReason::IdentityNotFound);
    let anew = server.sign_in_by_code(&issuer, "one").await.unwrap();
    assert!(anew.created && anew.user_name != "bob");
    let operator = server.operator().await;
    let actions = server.actions(&operator).await;
    let count = |action: &str, failure: &str| actions.iter().filter(|event| **event == (action.to_owned(), failure.to_owned())).count();
    assert_eq!(
        [count("link_identity", ""), count("link_identity", "IDENTITY_LINKED"), count("unlink_identity", "")],
        [1, 2, 1],
        "{actions:?}"
    );
    assert_eq!([count("sign_in_with_issuer", ""), count("sign_up_with_issuer", "")], [1, 1], "{actions:?}");
    assert_eq!(count("sign_in_with_issuer", "ID_TOKEN_INVALID"), 1, "{actions:?}");
}

#[tokio::test]
async fn the_last_way_to_sign_in_stays_and_linking_needs_an_access_token_of_a_session() {
    let (one, two) = (OidcIssuer::start().await, OidcIssuer::start().await);
    let mut server = server_of(&[&one, &two], &[]).await;
    let ada = server.sign_in_by_code(&one, "one").await.unwrap().access_token;
    assert_refused(server.unlink(&ada, &one, "1001").await, Code::FailedPrecondition, ErrorReason::LastSignInMethod);
    let key = server.key(&ada, pb::CreateApiKeyRequest { name: "k".into(), ..Default::default() }).await.key;
    let proof = server.proof_by_code(&two, "two").await;
    assert_refused(server.link(&key, proof.clone()).await, Code::PermissionDenied, ErrorReason::AccessTokenRequired);
    server.link(&ada, proof).await.unwrap();
    assert_eq!(server.sign_in_by_code(&two, "two").await.unwrap().user_name, "ada");
    // The session that asks was begun by it, and ends with it.
    assert_eq!(server.unlink(&ada, &one, "1001").await.unwrap(), 1);
    assert_refused(server.balance(&ada).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    let ada = server.sign_in_by_code(&two, "two").await.unwrap().access_token;
    assert_refused(server.unlink(&ada, &two, "1001").await, Code::FailedPrecondition, ErrorReason::LastSignInMethod);
}

#[tokio::test]
async fn a_sign_in_that_outlives_a_disable_a_lock_or_a_reset_begins_nothing() {
    let issuer = OidcIssuer::start().await;
    let mut server = server_of(&[&issuer], &[]).await;
    let operator = server.operator().await;
    let user_name = server.sign_in_by_code(&issuer, "one").await.unwrap().user_name;
    let name = || user_name.clone();
    let begun = [
        server.proof_by_code(&issuer, "one").await,
        server.proof_by_code(&issuer, "one").await,
        server.proof_by_code(&issuer, "one").await,
    ];
    let [disabled, locked, reset] = begun;
    let request = pb::DisableUserRequest { user_name: name(), ..Default::default() };
    server.admin.disable_user(with(&operator, request)).await.unwrap();
    assert_refused(server.exchange(disabled).await, Code::PermissionDenied, ErrorReason::UserDisabled);
    server.admin.enable_user(with(&operator, pb::EnableUserRequest { user_name: name() })).await.unwrap();
    server.admin.lock_user(with(&operator, pb::LockUserRequest { user_name: name(), ..Default::default() })).await.unwrap();
    assert_refused(server.exchange(locked).await, Code::PermissionDenied, ErrorReason::UserLocked);
    server.admin.unlock_user(with(&operator, pb::UnlockUserRequest { user_name: name() })).await.unwrap();
    let one_time = server.admin.reset_password(with(&operator, pb::ResetPasswordRequest { user_name: name() })).await.unwrap().into_inner();
    assert_refused(server.exchange(reset).await, Code::FailedPrecondition, ErrorReason::PasswordChangeRequired);
    // The operator gave a password to whoever had none.
    let complete = pb::CompletePasswordResetRequest {
        user_name: name(),
        one_time_password: one_time.one_time_password,
        new_password: PASSWORD.to_owned(),
        ..Default::default()
    };
    server.accounts.complete_password_reset(complete).await.unwrap();
    server.login(&name()).await;
    assert!(!server.sign_in_by_code(&issuer, "one").await.unwrap().created);
}

#[tokio::test]
async fn an_operator_sees_after_a_reset_which_identities_are_linked_and_takes_a_strangers_away() {
    let (issuer, other) = (OidcIssuer::start().await, OidcIssuer::start().await);
    let mut server = server_of(&[&issuer, &other], &[]).await;
    let (bob, operator) = (server.user("bob").await, server.operator().await);
    // Whoever had taken bob over has linked an identity of their own.
    issuer.person(json!({ "sub": "strangers", "email": "stranger@example.com" }));
    let proof = server.proof_by_code(&issuer, "one").await;
    server.link(&bob, proof).await.unwrap();
    let reset = pb::ResetPasswordRequest { user_name: "bob".to_owned() };
    let reset = server.admin.reset_password(with(&operator, reset)).await.unwrap().into_inner();
    assert_eq!(reset.linked_identities, 1);
    let complete = pb::CompletePasswordResetRequest {
        user_name: "bob".to_owned(),
        one_time_password: reset.one_time_password,
        new_password: PASSWORD.to_owned(),
        ..Default::default()
    };
    let bob = server.accounts.complete_password_reset(complete).await.unwrap().into_inner().access_token;
    let strangers = server.sign_in_by_code(&issuer, "one").await.unwrap();
    assert_eq!(strangers.user_name, "bob");
    let list = pb::ListIdentitiesRequest { user_name: "Bob".to_owned() };
    let listed = server.accounts.list_identities(with(&operator, list.clone())).await.unwrap().into_inner().identities;
    assert_eq!(listed.iter().map(|one| one.email.as_str()).collect::<Vec<_>>(), ["stranger@example.com"]);
    let unlink = |name: &str| {
        let (issuer, subject) = (issuer.url(), "strangers".to_owned());
        pb::UnlinkIdentityRequest { issuer, subject, user_name: name.to_owned() }
    };
    // Nobody else asks about another user, not even about themselves by name; nor does an operator's key.
    let key = server.key(&operator, pb::CreateApiKeyRequest { name: "k".into(), ..Default::default() }).await.key;
    for (token, reason) in [(&bob, ErrorReason::RoleRequired), (&key, ErrorReason::AccessTokenRequired)] {
        assert_refused(server.accounts.list_identities(with(token, list.clone())).await, Code::PermissionDenied, reason);
        assert_refused(server.accounts.unlink_identity(with(token, unlink("bob"))).await, Code::PermissionDenied, reason);
    }
    for nobody in [unlink("nobody"), unlink("b"), unlink(&operator)] {
        server.accounts.unlink_identity(with(&operator, nobody)).await.unwrap_err();
    }
    let ended = server.accounts.unlink_identity(with(&operator, unlink("bob"))).await.unwrap().into_inner().ended_sessions;
    assert_eq!(ended, 1);
    assert_refused(server.balance(&strangers.access_token).await, Code::Unauthenticated, ErrorReason::CredentialRevoked);
    server.balance(&bob).await.unwrap();
    let again = server.accounts.unlink_identity(with(&operator, unlink("bob"))).await;
    assert_refused(again, Code::NotFound, ErrorReason::IdentityNotFound);
    assert_ne!(server.sign_in_by_code(&issuer, "one").await.unwrap().user_name, "bob");
    // The trail says that it was an operator, and who.
    let events = server.accounts_events(&operator).await;
    let [event] = events.iter().filter(|one| one.action == "unlink_identity" && one.failure.is_empty()).collect::<Vec<_>>()[..] else {
        panic!("{events:?}")
    };
    assert_eq!((event.subject_name.as_str(), event.detail.as_str()), ("bob", &*format!("as an operator; {}", issuer.url())));
    assert_ne!(event.actor_user_id, event.subject_user_id);
    // The last way in stays, until a reset gives another one.
    let person = server.exchange_token(other.id_token(json!({ "sub": "alone", "preferred_username": "carol" }))).await.unwrap();
    let last = || pb::UnlinkIdentityRequest { issuer: other.url(), subject: "alone".to_owned(), user_name: person.user_name.clone() };
    let refused = server.accounts.unlink_identity(with(&operator, last())).await;
    assert_refused(refused, Code::FailedPrecondition, ErrorReason::LastSignInMethod);
    server.admin.reset_password(with(&operator, pb::ResetPasswordRequest { user_name: person.user_name.clone() })).await.unwrap();
    server.accounts.unlink_identity(with(&operator, last())).await.unwrap();
}

#[tokio::test]
async fn sixteen_first_sign_ins_at_once_of_one_person_make_one_user() {
    let issuer = OidcIssuer::start().await;
    let mut server = server_of(&[&issuer], &[]).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (mut accounts, id_token) = (server.accounts.clone(), issuer.id_token(json!({})));
        tasks.spawn(async move {
            accounts.exchange_id_token(pb::ExchangeIdTokenRequest { id_token, ..Default::default() }).await.unwrap().into_inner()
        });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.created).count(), 1);
    assert!(answers.iter().all(|answer| answer.user_name == answers[0].user_name));
    assert_invalid(server.exchange_token(String::from("a.b.c")).await);
}

/// What is done with issuers `one` and `two`: each action once that works, and once that fails.
pub(crate) async fn each_action_is_recorded(server: &mut Server, log: &mut Follower, one: &OidcIssuer, two: &OidcIssuer) {
    use auth_service::store::AuditAction as A;
    let by_token = |issuer: &OidcIssuer| pb::ExchangeIdTokenRequest { id_token: issuer.id_token(json!({})), ..Default::default() };
    let made = server.accounts.exchange_id_token(log.ask("", by_token(one))).await.unwrap().into_inner();
    let event = log.one(server, A::SignUpWithIssuer, "").await;
    assert_eq!((&event.actor_name, &event.subject_name, &event.detail), (&made.user_name, &made.user_name, &one.url()));
    let again = by_token(one);
    let signed_in = server.accounts.exchange_id_token(log.ask("", again.clone())).await.unwrap().into_inner();
    let event = log.one(server, A::SignInWithIssuer, "").await;
    assert_eq!((&event.actor_name, &event.subject_id, &event.detail), (&made.user_name, &signed_in.session_id, &one.url()));
    server.accounts.exchange_id_token(log.ask("", again)).await.unwrap_err();
    let event = log.one(server, A::SignInWithIssuer, "ID_TOKEN_INVALID").await;
    assert_eq!((event.actor_user_id.as_str(), &event.subject_name, &event.detail), ("", &made.user_name, &one.url()));
    let proof = pb::IssuerProof { id_token: two.id_token(json!({})), ..Default::default() };
    let link = || pb::LinkIdentityRequest { proof: Some(proof.clone()) };
    let unlink = || pb::UnlinkIdentityRequest { issuer: two.url(), subject: "1001".to_owned(), ..Default::default() };
    server.accounts.link_identity(log.ask(&made.access_token, link())).await.unwrap();
    let event = log.one(server, A::LinkIdentity, "").await;
    assert_eq!((&event.actor_name, &event.detail), (&made.user_name, &two.url()));
    server.accounts.unlink_identity(log.ask(&made.access_token, unlink())).await.unwrap();
    let event = log.one(server, A::UnlinkIdentity, "").await;
    assert_eq!((&event.actor_name, &event.detail), (&made.user_name, &two.url()));
    server.accounts.link_identity(log.ask(&made.access_token, link())).await.unwrap_err();
    log.one(server, A::LinkIdentity, "ID_TOKEN_INVALID").await;
    server.accounts.unlink_identity(log.ask(&made.access_token, unlink())).await.unwrap_err();
    log.one(server, A::UnlinkIdentity, "IDENTITY_NOT_FOUND").await;
}

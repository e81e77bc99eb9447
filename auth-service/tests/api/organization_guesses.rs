//! What members and strangers can guess of organizations, and how soon they have to wait.

use auth_service::ids::AccountId;
use auth_service::organization::invitation_code::InvitationCode;
use shared::ErrorReason;
use shared::error::{reason_of, retry_delay_of};
use tonic::Code;

use crate::organizations::{MEMBER, OWNER, invitation};
use crate::support::*;

#[tokio::test]
async fn wrong_codes_of_invitations_make_the_next_wait_by_user_and_network_and_a_right_one_clears_nothing() {
    let mut server = start().await;
    let (ada, bob, eve) = (server.user("ada").await, server.user("bob").await, server.user("eve").await);
    let account = server.organize(&ada, "Plumbers").await.unwrap().account_id;
    let code = server.invite(&ada, invitation(&account, MEMBER)).await.unwrap().invitation_code;
    let made_up = || InvitationCode::random(AccountId::parse(&account).unwrap()).unwrap().reveal().to_owned();
    for number in 0..4 {
        server.look(&eve, &code).await.unwrap();
        let wrong = made_up();
        // The same one again is no further guess.
        for again in 0..4 {
            let refused = if (number + again) % 2 == 0 {
                server.look(&eve, &wrong).await.map(|_| ())
            } else {
                server.accept(&eve, &wrong).await.map(|_| ())
            };
            assert_refused(refused, Code::NotFound, ErrorReason::InvitationInvalid);
        }
    }
    // The fifth makes the next one wait: a second, and twice as long each time that it was over before the next call came.
    let mut wrong = 4;
    loop {
        match server.look(&eve, &made_up()).await {
            Err(status) if status.code() == Code::NotFound => wrong += 1,
            limited => {
                let status = assert_refused(limited, Code::ResourceExhausted, ErrorReason::RateLimited);
                assert!(wrong >= 5 && retry_delay_of(&status).is_some(), "after {wrong}");
                if let Err(status) = server.look(&eve, &code).await {
                    assert_eq!(reason_of(&status), Some(ErrorReason::RateLimited), "a right one waits too");
                    break;
                }
            }
        }
        assert!(wrong < 20, "it never waits");
    }
    // What has no code's form is no guess, and whoever else has one is let in.
    assert_eq!(violated(server.accept(&eve, &code[..47]).await), ["invitation_code"]);
    server.accept(&bob, &code).await.unwrap();
}

#[tokio::test]
async fn an_owner_who_adds_names_that_nobody_has_waits_and_an_operator_does_not() {
    let mut server = start().await;
    let (ada, root) = (server.user("ada").await, server.operator().await);
    let (bob, eve) = (server.user("bob").await, server.user("eve").await);
    let account = server.organize(&ada, "Plumbers").await.unwrap().account_id;
    server.add(&ada, &account, "bob", OWNER).await.unwrap();
    server.sign_up("carl").await;
    // Who may add nobody learns nothing, and so has guessed nothing.
    for name in ["ada", "nobody-1", "nobody-2", "nobody-3", "nobody-4", "nobody-5", "nobody-6"] {
        assert_refused(server.add(&eve, &account, name, MEMBER).await, Code::NotFound, ErrorReason::OrganizationNotFound);
    }
    for name in ["nobody-1", "nobody-2", "nobody-3", "nobody-4"] {
        // Who is there is no guess, nor is the same name again.
        assert_refused(server.add(&ada, &account, "bob", MEMBER).await, Code::AlreadyExists, ErrorReason::AlreadyAMember);
        for _ in 0..3 {
            assert_refused(server.add(&ada, &account, name, MEMBER).await, Code::NotFound, ErrorReason::UserNotFound);
        }
    }
    // As long as the wait is over before the next call comes, it is twice as long the next time.
    let mut wrong = 4;
    loop {
        match server.add(&ada, &account, &format!("nobody-again-{wrong}"), MEMBER).await {
            Err(status) if status.code() == Code::NotFound => wrong += 1,
            limited => {
                let status = assert_refused(limited, Code::ResourceExhausted, ErrorReason::RateLimited);
                assert!(wrong >= 5 && retry_delay_of(&status).is_some(), "after {wrong}");
                let known = server.add(&ada, &account, "bob", MEMBER).await.unwrap_err();
                if reason_of(&known) == Some(ErrorReason::RateLimited) {
                    break;
                }
            }
        }
        assert!(wrong < 20, "it never waits");
    }
    // Another owner isn't slowed down by it, and neither is what else this one does.
    server.add(&bob, &account, "carl", MEMBER).await.unwrap();
    server.invite(&ada, invitation(&account, MEMBER)).await.unwrap();
    for number in 0..40 {
        assert_refused(
            server.add(&root, &account, &format!("nobody-at-all-{number}"), MEMBER).await,
            Code::NotFound,
            ErrorReason::UserNotFound,
        );
    }
}

//! What members and strangers can guess of organizations, and how soon they have to wait.

use std::time::{Duration, Instant};

use auth_service::ids::AccountId;
use auth_service::organization::invitation_code::InvitationCode;
use shared::ErrorReason;
use shared::error::{reason_of, retry_delay_of};
use tonic::{Code, Status};

use crate::organizations::{MEMBER, OWNER, invitation};
use crate::support::*;

/// Goes on guessing until the next guess must wait for eight seconds: long enough for what follows, also on a machine that does much else.
/// After four, the first wait is of a second, and each guess that is compared doubles it.
async fn guess_until_the_wait_is_long(mut guess: impl AsyncFnMut(usize) -> Status, wrong: ErrorReason) {
    let (began, mut compared) = (Instant::now(), 0);
    for number in 0.. {
        let reason = reason_of(&guess(number).await);
        compared += usize::from(reason == Some(wrong));
        if compared == 4 {
            return;
        }
        assert!(reason == Some(wrong) || reason == Some(ErrorReason::RateLimited), "{reason:?}");
        assert!(began.elapsed() < Duration::from_secs(60), "it waits for longer than a few seconds");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

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
    let guess = async |_| server.look(&eve, &made_up()).await.unwrap_err();
    guess_until_the_wait_is_long(guess, ErrorReason::InvitationInvalid).await;
    for next in [made_up(), code.clone()] {
        let looked = assert_refused(server.look(&eve, &next).await, Code::ResourceExhausted, ErrorReason::RateLimited);
        assert!(retry_delay_of(&looked).is_some());
        assert_refused(server.accept(&eve, &next).await, Code::ResourceExhausted, ErrorReason::RateLimited);
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
    let guess = async |number| server.add(&ada, &account, &format!("no-such-{number}"), MEMBER).await.unwrap_err();
    guess_until_the_wait_is_long(guess, ErrorReason::UserNotFound).await;
    for name in ["nobody-6", "carl"] {
        let refused = assert_refused(server.add(&ada, &account, name, MEMBER).await, Code::ResourceExhausted, ErrorReason::RateLimited);
        assert!(retry_delay_of(&refused).is_some());
        assert_refused(server.add(&root, &account, "nobody-7", MEMBER).await, Code::NotFound, ErrorReason::UserNotFound);
    }
    // Another owner isn't slowed down by it, and neither is what else this one does.
    server.add(&bob, &account, "carl", MEMBER).await.unwrap();
    server.invite(&ada, invitation(&account, MEMBER)).await.unwrap();
    for number in 8..20 {
        assert_refused(server.add(&root, &account, &format!("nobody-{number}"), MEMBER).await, Code::NotFound, ErrorReason::UserNotFound);
    }
}

//! Which passwords are taken, wherever somebody chooses one.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use shared::ErrorReason;
use shared::error::violations_of;
use shared::proto::auth as pb;
use tonic::{Code, Status};

use crate::support::*;

/// The field that a refusal names, and what it must be.
fn violation<T: std::fmt::Debug>(answer: Result<T, Status>) -> (String, String) {
    let status = assert_refused(answer, Code::InvalidArgument, ErrorReason::InvalidArgument);
    let [violation] = <[_; 1]>::try_from(violations_of(&status)).unwrap();
    violation
}

#[tokio::test]
async fn a_password_made_of_names_or_a_common_one_is_refused_wherever_one_is_chosen_and_said_why() {
    let mut server = start().await;
    let operator = server.operator().await;
    let (email, full_name) = ("super.mario@mushroom.example", "Mario Jumpman");
    for (password, why) in [
        ("mario85-mario85!", "names"),
        ("M4rio85_2026_mario", "names"),
        ("super.mario12345", "names"),
        ("mushroom-mushroom", "names"),
        ("Jumpman Mario 19", "names"),
        ("tollgate12345678", "names"),
        ("0ll4ma-0ll4ma-0ll4ma", "names"),
        ("1qaz2wsx3edc4rfv", "first"),
        ("Welcome2Password!", "first"),
    ] {
        let says = |(field, expected): (String, String), of: &str| {
            assert_eq!(field, of, "{password}");
            assert!(expected.contains(why) && expected.contains("four random words") && !expected.contains(password), "{expected}");
        };
        let (user_name, email, full_name, password) = ("mario85".to_owned(), email.to_owned(), full_name.to_owned(), password.to_owned());
        let sign_up = pb::SignUpRequest {
            user_name: user_name.clone(),
            password: password.clone(),
            email: email.clone(),
            full_name: full_name.clone(),
        };
        says(violation(server.accounts.sign_up(sign_up).await), "password");
        let create = pb::CreateUserRequest { user_name, password, email, full_name, ..Default::default() };
        says(violation(server.admin.create_user(with(&operator, create)).await), "password");
    }
    // Long enough, and with a name in it.
    let password = "my name is mario, isn't it";
    let user = pb::SignUpRequest {
        user_name: "mario85".to_owned(),
        password: password.to_owned(),
        email: email.to_owned(),
        full_name: full_name.to_owned(),
    };
    server.accounts.sign_up(user).await.unwrap();

    let token = server.try_login("mario85", password).await.unwrap();
    for wrong in ["mushroom-mushroom", "Jumpman Mario 19", "tollgate12345678", "qwertyuiop123456789"] {
        let change = pb::ChangePasswordRequest { current_password: password.to_owned(), new_password: wrong.to_owned() };
        assert_eq!(violation(server.accounts.change_password(with(&token, change)).await).0, "new_password", "{wrong}");
    }

    let reset = with(&operator, pb::ResetPasswordRequest { user_name: "mario85".to_owned() });
    let one_time_password = server.admin.reset_password(reset).await.unwrap().into_inner().one_time_password;
    let complete = |new: &str| pb::CompletePasswordResetRequest {
        user_name: "mario85".to_owned(),
        one_time_password: one_time_password.clone(),
        new_password: new.to_owned(),
        ..Default::default()
    };
    for wrong in ["mushroom-mushroom", "Jumpman Mario 19", "tollgate12345678", "qwertyuiop123456789"] {
        assert_eq!(violation(server.accounts.complete_password_reset(complete(wrong)).await).0, "new_password", "{wrong}");
    }
    // What the names are is found out by nobody who doesn't have the one-time password.
    let guess = pb::CompletePasswordResetRequest { one_time_password: "a guess".to_owned(), ..complete("mushroom-mushroom") };
    assert_refused(server.accounts.complete_password_reset(guess).await, Code::Unauthenticated, ErrorReason::LoginFailed);
    server.accounts.complete_password_reset(complete("four random words of mine")).await.unwrap();
}

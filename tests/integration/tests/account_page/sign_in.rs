//! Signing in and out, signing up, and a new password after a reset.

use integration::process_pair::bearer;
use integration::stack::PASSWORD;
use shared::proto::auth;

use crate::page::{scene, scene_with};
use crate::stage::OPERATOR;

#[tokio::test]
async fn a_person_signs_in_and_out() {
    scene("a_person_signs_in_and_out", async |stage, page| {
        stage.person("in.and.out").await;
        page.sign_in("in.and.out").await;
        page.says("in.and.out").await;
        page.press("button", "Sign out").await;
        page.says("You are signed out.").await;
        page.gone("button", "Sign out").await;
        page.load().await;
        page.find("button", "Sign in").await;
        page.gone("button", "Sign out").await;
    })
    .await;
}

#[tokio::test]
async fn a_wrong_password_is_told_in_the_words_that_an_unknown_name_and_a_disabled_user_get() {
    scene("a_wrong_password_is_told_in_the_words_that_an_unknown_name_and_a_disabled_user_get", async |stage, page| {
        stage.person("known.name").await;
        stage.person("disabled.name").await;
        let operator = stage.log_in(OPERATOR).await;
        let disable = auth::DisableUserRequest { user_name: "disabled.name".to_owned(), reason: "left".to_owned() };
        stage.operator().disable_user(bearer(&operator, disable)).await.unwrap();
        let mut said = Vec::new();
        for (name, password) in [("known.name", "not the pass phrase of this one"), ("no.such.name", PASSWORD), ("disabled.name", PASSWORD)]
        {
            page.load().await;
            page.try_to_sign_in(name, password).await;
            said.push(page.alert().await);
            let left = page.find("textbox", "Password").await;
            assert_eq!(page.call(left, "function() { return this.type }").await, "password");
        }
        assert!(said[0].contains("don't match") && said.iter().all(|words| *words == said[0]), "{said:#?}");
    })
    .await;
}

#[tokio::test]
async fn whoever_signs_up_is_signed_in() {
    scene("whoever_signs_up_is_signed_in", async |stage, page| {
        page.press("link", "Sign up").await;
        // The form for signing in has such fields too, until it goes.
        page.find("button", "Sign up").await;
        page.fill("textbox", "User name", "just.signed.up").await;
        page.fill("textbox", "Password", "short").await;
        page.press("button", "Sign up").await;
        page.says("15 characters").await;
        page.fill("textbox", "Password", PASSWORD).await;
        page.press("button", "Sign up").await;
        page.find("button", "Sign out").await;
        page.says("just.signed.up").await;
        stage.log_in("just.signed.up").await;
    })
    .await;
}

#[tokio::test]
async fn signing_up_is_not_offered_where_it_is_closed() {
    scene_with("signing_up_is_not_offered_where_it_is_closed", &[("TOLLGATE_SIGNUP", "closed")], async |_, page| {
        page.find("button", "Sign in").await;
        assert!(page.all("link", "Sign up").await.is_empty());
        // Nor by its address.
        page.browser.evaluate("location.hash = '#/sign-up'").await;
        page.load().await;
        page.find("button", "Sign in").await;
        assert!(page.all("button", "Sign up").await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_reset_is_completed_with_the_one_time_password_and_signs_in() {
    scene("a_reset_is_completed_with_the_one_time_password_and_signs_in", async |stage, page| {
        stage.person("has.forgotten").await;
        let operator = stage.log_in(OPERATOR).await;
        let reset = auth::ResetPasswordRequest { user_name: "has.forgotten".to_owned() };
        let once = stage.operator().reset_password(bearer(&operator, reset)).await.unwrap().into_inner().one_time_password;
        page.press("link", "I have a one-time password").await;
        page.find("button", "Choose it and sign in").await;
        for (given, is_right) in [("not this one", false), (once.as_str(), true)] {
            page.fill("textbox", "User name", "has.forgotten").await;
            page.fill("textbox", "One-time password", given).await;
            page.fill("textbox", "New password", "another long phrase to remember").await;
            page.press("button", "Choose it and sign in").await;
            if !is_right {
                assert!(page.alert().await.contains("don't match"));
            }
        }
        page.find("button", "Sign out").await;
        page.says("has.forgotten").await;
    })
    .await;
}

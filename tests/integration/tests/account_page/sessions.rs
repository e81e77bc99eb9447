//! Sessions, where somebody is signed in, and the password.

use integration::process_pair::bearer;
use integration::stack::PASSWORD;
use shared::proto::auth;

use crate::cookie::cookie;
use crate::page::scene;
use crate::stage::OPERATOR;

#[tokio::test]
async fn ending_a_session_signs_that_browser_out_and_leaves_this_one() {
    scene("ending_a_session_signs_that_browser_out_and_leaves_this_one", async |stage, page| {
        stage.person("is.in.two.places").await;
        page.sign_in("is.in.two.places").await;
        let elsewhere = page.elsewhere().await;
        elsewhere.sign_in("is.in.two.places").await;
        page.view("Security").await;
        page.says("this one").await;
        // The one by gRPC is called by its library.
        page.press("button", "End Chrome on Linux").await;
        page.press("button", "End the session").await;
        page.says("The session has ended.").await;
        page.gone("button", "End Chrome on Linux").await;
        elsewhere.press("link", "API keys").await;
        elsewhere.says("Your session has ended. Sign in again.").await;
        elsewhere.find("button", "Sign in").await;
        elsewhere.close().await;
        page.load().await;
        page.find("button", "Sign out").await;
    })
    .await;
}

#[tokio::test]
async fn signing_out_everywhere_ends_every_session() {
    scene("signing_out_everywhere_ends_every_session", async |stage, page| {
        let person = stage.person("leaves.all.places").await;
        page.sign_in("leaves.all.places").await;
        page.view("Security").await;
        page.press("button", "Sign out everywhere").await;
        let dialog = page.find("dialog", "Sign out everywhere?").await;
        page.press_in(dialog, "button", "Sign out everywhere").await;
        page.says("You are signed out everywhere").await;
        let refused = stage.accounts().get_me(bearer(&person.token, auth::GetMeRequest {})).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unauthenticated);
        page.load().await;
        page.find("button", "Sign in").await;
    })
    .await;
}

#[tokio::test]
async fn a_changed_password_is_the_one_that_signs_in_and_this_session_goes_on() {
    scene("a_changed_password_is_the_one_that_signs_in_and_this_session_goes_on", async |stage, page| {
        stage.person("changes.it").await;
        page.sign_in("changes.it").await;
        page.view("Security").await;
        for (current, is_right) in [("not the one that is in force", false), (PASSWORD, true)] {
            page.fill("textbox", "Current password", current).await;
            page.fill("textbox", "New password", "quite another phrase to remember").await;
            page.press("button", "Change the password").await;
            page.says(if is_right { "The password is changed." } else { "is not the one in force" }).await;
        }
        page.load().await;
        page.press("button", "Sign out").await;
        page.try_to_sign_in("changes.it", PASSWORD).await;
        page.alert().await;
        page.try_to_sign_in("changes.it", "quite another phrase to remember").await;
        page.find("button", "Sign out").await;
    })
    .await;
}

#[tokio::test]
async fn a_user_who_is_disabled_is_signed_out_of_the_open_page_in_words_without_the_reason() {
    let test = "a_user_who_is_disabled_is_signed_out_of_the_open_page_in_words_without_the_reason";
    scene(test, async |stage, page| {
        stage.person("disabled.meanwhile").await;
        page.sign_in("disabled.meanwhile").await;
        let operator = stage.log_in(OPERATOR).await;
        let user_name = "disabled.meanwhile".to_owned();
        let disable = auth::DisableUserRequest { user_name, reason: "for operators alone".to_owned() };
        stage.operator().disable_user(bearer(&operator, disable)).await.unwrap();
        page.press("link", "API keys").await;
        page.says("This user is disabled.").await;
        page.find("button", "Sign in").await;
        let all = page.browser.evaluate("document.documentElement.outerHTML").await;
        assert!(!all.as_str().unwrap().contains("for operators alone"));
        assert_eq!(cookie(stage, page).await, None);
    })
    .await;
}

#[tokio::test]
async fn what_was_typed_when_the_session_ended_waits_for_the_same_user_and_for_nobody_else() {
    let test = "what_was_typed_when_the_session_ended_waits_for_the_same_user_and_for_nobody_else";
    scene(test, async |stage, page| {
        let person = stage.person("was.typing").await;
        stage.person("comes.after").await;
        page.sign_in("was.typing").await;
        for next in ["was.typing", "comes.after"] {
            page.view("API keys").await;
            page.press("button", "Make a key").await;
            page.fill("textbox", "Name (optional)", "half a name").await;
            let token = stage.log_in(&person.name).await;
            stage.accounts().logout_everywhere(bearer(&token, auth::LogoutEverywhereRequest {})).await.unwrap();
            page.press("button", "Make the key").await;
            page.says("Your session has ended. Sign in again.").await;
            page.try_to_sign_in(next, PASSWORD).await;
            if next == person.name {
                let typed = page.find("textbox", "Name (optional)").await;
                assert_eq!(page.call(typed, "function() { return this.value }").await, "half a name");
                page.press("button", "Cancel").await;
            } else {
                page.find("button", "Sign out").await;
                let all = page.browser.evaluate("document.documentElement.outerHTML").await;
                assert!(page.all("dialog", "Make a key").await.is_empty() && !all.as_str().unwrap().contains("half a name"));
            }
        }
    })
    .await;
}

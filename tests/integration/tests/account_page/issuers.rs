//! Signing in with an issuer, and the identities that sign a user in.

use integration::oidc_issuer::{OidcIssuer, Trouble};
use integration::process_pair::bearer;
use integration::stack::PASSWORD;
use serde_json::json;
use shared::proto::auth;

use crate::page::{Page, scene_with};
use crate::stage::Stage;

/// A scene in front of services that know an issuer as `google`.
async fn scene_with_issuer(test: &str, scene: impl AsyncFnOnce(&OidcIssuer, &mut Stage, &Page)) {
    let issuer = OidcIssuer::start().await;
    let known = json!([issuer.entry("google")]).to_string();
    scene_with(test, &[("TOLLGATE_OIDC_ISSUERS", &known)], async |stage, page| scene(&issuer, stage, page).await).await;
}

async fn sign_out(page: &Page) {
    page.press("button", "Sign out").await;
    page.says("You are signed out.").await;
}

/// Comes back from the issuer, signed in.
async fn sign_in_with_google(page: &Page) {
    page.press("button", "Sign in with Google").await;
    page.find("button", "Sign out").await;
}

#[tokio::test]
async fn somebody_signs_in_with_an_issuer_and_is_the_same_user_the_next_time() {
    scene_with_issuer("somebody_signs_in_with_an_issuer_and_is_the_same_user_the_next_time", async |issuer, _, page| {
        issuer.person(json!({ "sub": "a-1", "preferred_username": "comes.by.google", "name": "<b>Ada</b>", "email": "ada@example.com" }));
        sign_in_with_google(page).await;
        page.find("heading", "Overview").await;
        page.says("comes.by.google").await;
        page.says("<b>Ada</b>").await;
        assert_eq!(page.browser.evaluate("location.pathname + location.search + location.hash").await, "/#/");
        page.view("Security").await;
        let card = page.part_with("listitem", "this one").await;
        assert!(page.text_of(card).await.contains("with Google"), "{}", page.text_of(card).await);
        page.says("ada@example.com").await;
        // Nothing else signs this user in, so it stays.
        page.press("button", "Unlink Google").await;
        page.press("button", "Unlink").await;
        page.says("You would have no way left to sign in.").await;
        page.press("button", "Cancel").await;
        sign_out(page).await;
        issuer.person(json!({ "sub": "a-1", "preferred_username": "another.name" }));
        sign_in_with_google(page).await;
        page.says("comes.by.google").await;
        page.load().await;
        page.says("comes.by.google").await;
    })
    .await;
}

#[tokio::test]
async fn a_sign_in_that_an_issuer_spoils_is_told_in_words_and_signs_nobody_in() {
    scene_with_issuer("a_sign_in_that_an_issuer_spoils_is_told_in_words_and_signs_nobody_in", async |issuer, stage, page| {
        issuer.behaviour().claims.insert("aud".to_owned(), json!("somebody else's client"));
        page.press("button", "Sign in with Google").await;
        page.says("What the issuer answered proves nothing here. Nobody was signed in.").await;
        assert_eq!(page.browser.evaluate("location.hash").await, "#/");
        issuer.behaviour().claims.clear();
        issuer.trouble("/token", Some(Trouble::Status("500 Internal Server Error".to_owned())));
        page.load().await;
        page.press("button", "Sign in with Google").await;
        page.says("The issuer can't be reached, or can't be understood.").await;
        issuer.trouble("/token", None);
        // What anybody may write into an address is never said by the page.
        let lie = "<img src=x onerror=alert(1)> call this number";
        page.browser.go("about:blank").await;
        page.browser.go(&format!("{}/#/sign-in?failed={lie}", stage.origin())).await;
        page.says("The issuer did not sign you in.").await;
        assert!(!page.text().await.contains("call this number"));
        assert_eq!(page.browser.evaluate("document.querySelectorAll('main img').length").await, 0);
        page.find("button", "Sign in").await;
    })
    .await;
}

#[tokio::test]
async fn signing_in_with_an_issuer_ends_the_session_that_the_browser_had() {
    scene_with_issuer("signing_in_with_an_issuer_ends_the_session_that_the_browser_had", async |issuer, stage, page| {
        issuer.person(json!({ "sub": "e-1", "preferred_username": "comes.later" }));
        stage.person("was.here.before").await;
        page.find("button", "Sign in with Google").await;
        // As another tab does, of which this one knows nothing.
        let body = json!({ "user_name": "was.here.before", "password": PASSWORD }).to_string();
        let asked = json!({ "method": "POST", "headers": { "content-type": "application/json" }, "body": body });
        let token = page.browser.evaluate(&format!("fetch('/account/session', {asked}).then((answer) => answer.json())")).await;
        let before = || bearer(token["access_token"].as_str().unwrap(), auth::GetMeRequest {});
        stage.accounts().get_me(before()).await.unwrap();
        sign_in_with_google(page).await;
        page.says("comes.later").await;
        let ended = stage.accounts().get_me(before()).await.unwrap_err();
        assert_eq!(shared::error::reason_of(&ended), Some(shared::ErrorReason::CredentialRevoked));
    })
    .await;
}

#[tokio::test]
async fn an_identity_is_linked_signs_its_user_in_and_is_unlinked() {
    scene_with_issuer("an_identity_is_linked_signs_its_user_in_and_is_unlinked", async |issuer, stage, page| {
        issuer.person(json!({ "sub": "l-1", "preferred_username": "somebody.else", "email": "has.a.password@example.com" }));
        stage.person("has.a.password").await;
        page.sign_in("has.a.password").await;
        page.view("Security").await;
        page.says("None signs you in.").await;
        page.press("button", "Link Google").await;
        page.says("The identity is linked: it signs you in from now on.").await;
        page.says("has.a.password@example.com").await;
        sign_out(page).await;
        sign_in_with_google(page).await;
        page.says("has.a.password").await;
        page.view("Security").await;
        page.press("button", "Unlink Google").await;
        let dialog = page.find("dialog", "Unlink the identity?").await;
        page.press_in(dialog, "button", "Unlink").await;
        // The session that it began ends with it, and that is this one.
        page.find("button", "Sign in").await;
        page.try_to_sign_in("has.a.password", PASSWORD).await;
        page.find("button", "Sign out").await;
        page.view("Security").await;
        page.says("None signs you in.").await;
        // An identity of another user isn't taken from them.
        let taken = page.elsewhere().await;
        sign_in_with_google(&taken).await;
        taken.says("somebody.else").await;
        taken.close().await;
        page.press("button", "Link Google").await;
        page.says("This identity signs another user in, or you have one of this issuer already.").await;
    })
    .await;
}

#[tokio::test]
async fn whoever_signs_in_with_an_issuer_comes_to_the_device_that_they_wanted_to_approve() {
    let test = "whoever_signs_in_with_an_issuer_comes_to_the_device_that_they_wanted_to_approve";
    scene_with_issuer(test, async |_, stage, page| {
        let asked = auth::BeginDeviceSignInRequest { client: "a notebook".to_owned(), ..Default::default() };
        let begun = stage.accounts().begin_device_sign_in(asked).await.unwrap().into_inner();
        page.browser.go("about:blank").await;
        page.browser.go(&format!("{}/device?user_code={}", stage.origin(), begun.user_code)).await;
        page.press("button", "Sign in with Google").await;
        page.find("heading", "Does your device show this code?").await;
        page.press("button", "Approve").await;
        page.find("heading", "Approved").await;
        // That was for once.
        assert_eq!(page.browser.evaluate("sessionStorage.length").await, 0);
    })
    .await;
}

//! The session behind the page: its refresh token in a cookie that no script reads, its access token in a variable alone, over reloads and
//! in several tabs.

use integration::polling::until;
use serde_json::{Value, json};

use crate::page::{Page, SOON, scene, scene_with};
use crate::stage::Stage;

/// The cookie of the session, as the browser keeps it; `None` when it has none.
pub(crate) async fn cookie(stage: &Stage, page: &Page) -> Option<Value> {
    let urls = json!({ "urls": [format!("{}/account/session", stage.origin())] });
    let cookies = page.browser.devtools("Network.getCookies", urls).await;
    let of_session = |cookie: &&Value| cookie["name"].as_str().is_some_and(|name| name.contains("tollgate_refresh"));
    cookies["cookies"].as_array().unwrap().iter().find(of_session).cloned()
}

#[tokio::test]
async fn the_refresh_token_is_in_a_cookie_that_no_script_reads_and_no_other_site_sends() {
    scene("the_refresh_token_is_in_a_cookie_that_no_script_reads_and_no_other_site_sends", async |stage, page| {
        stage.person("has.a.cookie").await;
        assert_eq!(cookie(stage, page).await, None);
        page.sign_in("has.a.cookie").await;
        let cookie = cookie(stage, page).await.unwrap();
        assert_eq!(
            (&cookie["httpOnly"], &cookie["sameSite"], &cookie["path"]),
            (&json!(true), &json!("Strict"), &json!("/account/session"))
        );
        assert!(cookie["expires"].as_f64().unwrap() > 0.0, "it ends with the browser: {cookie}");
        let token = cookie["value"].as_str().unwrap();
        assert!(token.len() > 20);
        let read = page.browser.evaluate("cookieStore.getAll().then((all) => document.cookie + JSON.stringify(all))").await;
        assert_eq!(read, "[]");
        // Neither token is where a script of another visit would find it.
        let kept = "JSON.stringify([{ ...localStorage }, { ...sessionStorage }, history.state, await indexedDB.databases(), \
                    await caches.keys(), name, document.documentElement.outerHTML])";
        let kept = page.browser.evaluate(&format!("(async () => {kept})()")).await.as_str().unwrap().to_owned();
        assert!(kept.starts_with(r#"[{},{},null,[],[],"","#) && !kept.contains(token) && !kept.contains("eyJ"), "{kept}");
    })
    .await;
}

#[tokio::test]
async fn a_session_goes_on_after_reloads_with_another_refresh_token() {
    scene("a_session_goes_on_after_reloads_with_another_refresh_token", async |stage, page| {
        stage.person("reloads").await;
        page.sign_in("reloads").await;
        let first = cookie(stage, page).await.unwrap()["value"].clone();
        for _ in 0..3 {
            page.browser.reload().await;
            page.find("button", "Sign out").await;
            page.says("reloads").await;
            // What took its place stays for 30 s, since tabs may ask at once.
            assert!(cookie(stage, page).await.unwrap()["value"] != first, "a refresh token was used twice");
        }
    })
    .await;
}

#[tokio::test]
async fn two_tabs_that_load_at_once_are_both_signed_in() {
    scene("two_tabs_that_load_at_once_are_both_signed_in", async |stage, page| {
        stage.person("has.two.tabs").await;
        page.sign_in("has.two.tabs").await;
        page.browser.new_tab().await;
        let tabs = page.browser.tabs().await;
        page.browser.look_at(&tabs[1]).await;
        page.load().await;
        page.find("button", "Sign out").await;
        for _ in 0..5 {
            // Neither is waited for before the other begins.
            for tab in &tabs {
                page.browser.look_at(tab).await;
                page.browser.devtools("Page.reload", json!({})).await;
            }
            for tab in &tabs {
                page.browser.look_at(tab).await;
                page.find("button", "Sign out").await;
            }
        }
        let asked = integration::process_pair::bearer(&stage.log_in("has.two.tabs").await, Default::default());
        let sessions = stage.accounts().list_sessions(asked).await.unwrap().into_inner().sessions;
        assert_eq!(sessions.len(), 3, "the page's one, and two by gRPC: {sessions:#?}");
    })
    .await;
}

#[tokio::test]
async fn signing_out_or_in_as_somebody_else_in_one_tab_is_so_in_the_other() {
    scene("signing_out_or_in_as_somebody_else_in_one_tab_is_so_in_the_other", async |stage, page| {
        stage.person("first.one").await;
        stage.person("second.one").await;
        page.sign_in("first.one").await;
        page.browser.new_tab().await;
        let tabs = page.browser.tabs().await;
        page.browser.look_at(&tabs[1]).await;
        page.load().await;
        page.press("button", "Sign out").await;
        page.says("You are signed out.").await;
        page.browser.look_at(&tabs[0]).await;
        page.says("You signed out in another tab.").await;
        page.browser.look_at(&tabs[1]).await;
        page.sign_in("second.one").await;
        page.browser.look_at(&tabs[0]).await;
        page.load().await;
        page.says("second.one").await;
        // This one loaded before and is told of another user.
        page.press("button", "Sign out").await;
        page.sign_in("first.one").await;
        page.browser.look_at(&tabs[1]).await;
        page.load().await;
        page.says("first.one").await;
    })
    .await;
}

#[tokio::test]
async fn an_access_token_that_ended_is_renewed_without_a_word() {
    let short = [("TOLLGATE_ACCESS_TOKEN_TTL", "1s"), ("TOLLGATE_CLOCK_LEEWAY", "0s")];
    scene_with("an_access_token_that_ended_is_renewed_without_a_word", &short, async |stage, page| {
        stage.person("stays.for.long").await;
        page.sign_in("stays.for.long").await;
        let refreshes = "performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('/account/session/refresh')).length";
        let before = page.browser.evaluate(refreshes).await.as_i64().unwrap();
        until("two more refreshes", SOON, || async {
            page.view("API keys").await;
            page.find("button", "Make a key").await;
            page.view("Overview").await;
            page.find("button", "Sign out").await;
            (page.browser.evaluate(refreshes).await.as_i64().unwrap() >= before + 2).then_some(())
        })
        .await;
    })
    .await;
}

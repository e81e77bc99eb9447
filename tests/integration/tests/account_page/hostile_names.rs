//! What users and operators write is shown as text, wherever it is shown: it never becomes markup, a link, or another direction of what
//! stands around it.

use integration::process_pair::bearer;
use integration::stack::PASSWORD;
use serde_json::json;
use shared::proto::auth;

use crate::page::{Page, scene, scene_with};
use crate::stage::OPERATOR;

/// Texts that would do something if they became anything but text.
const TEXTS: [&str; 6] = [
    "<img src=x onerror=\"document.title='ran'\">",
    "</code></bdi></li><script>document.title='ran'</script>",
    "javascript:document.title='ran'",
    "\"'><svg/onload=document.title='ran'>${1+1}{{1+1}}&lt;b&gt;",
    "שלום <b>עולם</b> مرحبا",
    "🔑👩‍👩‍👧 🏳️‍🌈 ünïcødé",
];
/// What turns the direction of text around.
const TURNING: [&str; 2] = ["\u{202E}gnp.exe\u{2066}", "\u{2067}turned"];

/// All of these are seen as they were written, and nothing came of them but text.
async fn shows(page: &Page, view: &str, texts: &[&str]) {
    page.view(view).await;
    // Those of a closed part too.
    page.browser.evaluate("for (const part of document.querySelectorAll('details')) part.open = true").await;
    for text in texts {
        page.says(text).await;
    }
    let made = "['main img', 'main script', 'main iframe', 'main b', 'main [onerror]', 'main [onload]', 'main a[href^=\"javascript:\" i]']
      .filter((selector) => document.querySelector(selector))";
    assert_eq!(page.browser.evaluate(made).await, json!([]), "{view}");
    assert_eq!(page.browser.evaluate("document.title").await, format!("{view} – Tollgate"));
    // Whoever wrote from right to left doesn't turn what stands around it: each such text is isolated.
    let turned = "(() => {
      const walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
      const turned = [];
      while (walker.nextNode()) {
        const parent = walker.currentNode.parentElement;
        const isTurning = /[\\u0590-\\u08ff\\u202a-\\u202e\\u2066-\\u2069]/.test(walker.currentNode.data);
        if (isTurning && !parent.closest('bdi, option, select, title, .unseen, [dir=auto]')) turned.push(parent.outerHTML);
      }
      return turned;
    })()";
    assert_eq!(page.browser.evaluate(turned).await, json!([]), "{view}");
}

#[tokio::test]
async fn names_and_notes_that_look_like_markup_are_shown_as_text_to_their_owner() {
    scene("names_and_notes_that_look_like_markup_are_shown_as_text_to_their_owner", async |stage, page| {
        let sign_up = auth::SignUpRequest {
            user_name: "names.are.hostile".to_owned(),
            password: PASSWORD.to_owned(),
            full_name: TEXTS[0].to_owned(),
            ..Default::default()
        };
        stage.accounts().sign_up(sign_up).await.unwrap();
        let person = crate::stage::Person { name: "names.are.hostile".to_owned(), token: stage.log_in("names.are.hostile").await };
        for text in TEXTS {
            let key = auth::CreateApiKeyRequest { name: text.to_owned(), ..Default::default() };
            stage.accounts().create_api_key(bearer(&person.token, key)).await.unwrap();
            let login = auth::LoginRequest {
                user_name: person.name.clone(),
                password: PASSWORD.to_owned(),
                client: text.to_owned(),
                ..Default::default()
            };
            stage.accounts().login(login).await.unwrap();
        }
        stage.grant(&person, TEXTS.map(str::to_owned)).await;
        page.sign_in(&person.name).await;
        shows(page, "Overview", &[TEXTS[0]]).await;
        shows(page, "API keys", &TEXTS).await;
        shows(page, "Ledger", &TEXTS).await;
        shows(page, "Security", &TEXTS).await;
        page.view("API keys").await;
        // What turns the direction around is refused beside its field.
        page.press("button", "Make a key").await;
        for text in TURNING {
            page.fill("textbox", "Name (optional)", text).await;
            page.press("button", "Make the key").await;
            page.says("changes of direction").await;
            page.fill("textbox", "Name (optional)", "").await;
        }
        page.press("button", "Cancel").await;
        // Also in what is asked and said of them.
        page.press("button", &format!("Revoke {}", TEXTS[0])).await;
        page.press("button", "Revoke the key").await;
        page.says(&format!("Revoked: {}.", TEXTS[0])).await;
    })
    .await;
}

#[tokio::test]
async fn reasons_and_names_that_look_like_markup_are_shown_as_text_to_operators() {
    scene("reasons_and_names_that_look_like_markup_are_shown_as_text_to_operators", async |stage, page| {
        let operator = stage.log_in(OPERATOR).await;
        for (number, text) in TEXTS.into_iter().enumerate() {
            let user_name = format!("reason-{number}");
            stage.person(&user_name).await;
            let disable = auth::DisableUserRequest { user_name, reason: text.to_owned() };
            stage.operator().disable_user(bearer(&operator, disable)).await.unwrap();
        }
        page.sign_in(OPERATOR).await;
        page.view("Users").await;
        page.fill("textbox", "Name begins with", "reason-").await;
        page.press("button", "Show").await;
        for text in TEXTS {
            page.says(text).await;
        }
        page.view("Audit log").await;
        page.fill("combobox", "Action", "disable_user").await;
        page.press("button", "Show").await;
        for text in TEXTS {
            page.says(text).await;
        }
        assert_eq!(page.browser.evaluate("document.querySelectorAll('main img, main script, main svg').length").await, 0);
        assert_eq!(page.browser.evaluate("document.title").await, "Audit log – Tollgate");
    })
    .await;
}

#[tokio::test]
async fn names_and_notes_of_organizations_that_look_like_markup_are_shown_as_text() {
    scene("names_and_notes_of_organizations_that_look_like_markup_are_shown_as_text", async |stage, page| {
        let person = stage.person("org.names.are.hostile").await;
        for text in TEXTS {
            stage.organization(&person, text).await;
        }
        let account_id = stage.organization(&person, "hostile within").await;
        for text in TEXTS {
            let (account_id, note) = (account_id.clone(), text.to_owned());
            let invite = auth::InviteMemberRequest { account_id: account_id.clone(), note: note.clone(), ..Default::default() };
            stage.accounts().invite_member(bearer(&person.token, invite)).await.unwrap();
            let make = auth::CreateServiceAccountRequest { account_id, name: note, ..Default::default() };
            stage.accounts().create_service_account(bearer(&person.token, make)).await.unwrap();
        }
        page.sign_in(&person.name).await;
        shows(page, "Organizations", &TEXTS).await;
        page.press("link", "hostile within").await;
        page.find("heading", "Organization").await;
        page.loaded().await;
        for text in TEXTS {
            page.says(text).await;
        }
        page.press("button", &format!("Remove {}", TEXTS[0])).await;
        page.find("dialog", "Remove the service account?").await;
        page.says(TEXTS[0]).await;
        page.press("button", "Cancel").await;
        // The account that is looked at is named on every view of it.
        page.choose("Account", TEXTS[0]).await;
        assert_eq!(page.browser.evaluate("document.title").await, "Organization – Tollgate");
        let named = format!("Of the organization {}.", TEXTS[0]);
        shows(page, "Overview", &[&named]).await;
    })
    .await;
}

#[tokio::test]
async fn names_of_models_that_look_like_markup_are_shown_as_text() {
    scene_with("names_of_models_that_look_like_markup_are_shown_as_text", &[], async |stage, page| {
        let hostile = ["<img src=x onerror=document.title='ran'>", "javascript:document.title='ran'"];
        for name in hostile {
            stage.upstream.model(name, &["completion"], 8192);
        }
        stage.person("sees.odd.models").await;
        page.sign_in("sees.odd.models").await;
        page.view("Try a call").await;
        let options = "[...document.querySelectorAll('#try-form-model option')].map(({ text }) => text)";
        let listed = page.browser.evaluate(options).await;
        assert!(listed.as_array().unwrap().iter().any(|name| name.as_str().unwrap().starts_with("smollm2")), "{listed}");
        assert_eq!(page.browser.evaluate("document.querySelectorAll('main img').length").await, 0);
        assert_eq!(page.browser.evaluate("document.title").await, "Try a call – Tollgate");
    })
    .await;
}

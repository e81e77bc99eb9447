//! The page by keyboard alone: Tab, Shift+Tab, Enter, Space, Escape and the arrows. The mouse is never used here.

use integration::polling::until;
use integration::stack::PASSWORD;
use shared::proto::auth;

use crate::chromedriver::key;
use crate::page::{Page, SOON, scene};
use crate::stage::OPERATOR;

/// More stops than any view has.
const STOPS: usize = 80;

/// Moves the focus by Tab until it is on this control, which shows that it has it.
async fn tab_to(page: &Page, role: &str, name: &str) {
    let node = page.find(role, name).await;
    for _ in 0..STOPS {
        if page.call(node, "function() { return document.activeElement === this }").await == true {
            let seen = "function() {
              const { outlineStyle, outlineWidth } = getComputedStyle(this);
              return this.matches(':focus-visible') && outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2;
            }";
            assert_eq!(page.call(node, seen).await, true, "the focus on the {role} {name:?} is not seen");
            return;
        }
        page.browser.keys(&key::TAB.to_string()).await;
    }
    panic!("Tab never comes to the {role} {name:?}");
}

async fn go(page: &Page, role: &str, name: &str, pressed: char) {
    tab_to(page, role, name).await;
    page.browser.keys(&pressed.to_string()).await;
}

/// Goes to a view by its link.
async fn view(page: &Page, title: &str) {
    go(page, "link", title, key::ENTER).await;
    page.find("heading", title).await;
    page.loaded().await;
}

/// Writes where the focus comes to.
async fn write(page: &Page, role: &str, name: &str, text: &str) {
    tab_to(page, role, name).await;
    page.browser.keys(text).await;
}

/// Signs in. The focus is on the first field when the page is there.
async fn sign_in(page: &Page, name: &str) {
    page.find("textbox", "User name").await;
    until("the focus to be on the first field", SOON, || async {
        (page.browser.evaluate("document.activeElement.id").await == "sign-in-user-name").then_some(())
    })
    .await;
    page.browser.keys(name).await;
    write(page, "textbox", "Password", PASSWORD).await;
    page.browser.keys(&key::ENTER.to_string()).await;
    page.find("button", "Sign out").await;
}

async fn is_on(page: &Page, what: &str, expression: &str) {
    until(what, SOON, || async { (page.browser.evaluate(expression).await == true).then_some(()) }).await;
}

#[tokio::test]
async fn a_person_signs_up_makes_rotates_and_revokes_a_key_and_signs_out_by_keyboard_alone() {
    let test = "a_person_signs_up_makes_rotates_and_revokes_a_key_and_signs_out_by_keyboard_alone";
    scene(test, async |stage, page| {
        go(page, "link", "Sign up", key::ENTER).await;
        write(page, "textbox", "User name", "by.keyboard").await;
        write(page, "textbox", "Password", PASSWORD).await;
        go(page, "button", "Sign up", key::SPACE).await;
        page.find("button", "Sign out").await;
        view(page, "API keys").await;
        go(page, "button", "Make a key", key::ENTER).await;
        // The focus is in the dialog, and Escape closes it and gives the focus back.
        is_on(page, "the focus in the dialog", "document.activeElement.closest('dialog') !== null").await;
        page.browser.keys(&key::ESCAPE.to_string()).await;
        page.gone("dialog", "Make a key").await;
        is_on(page, "the focus where it was", "document.activeElement.id === 'ask-for-key'").await;
        page.browser.keys(&key::ENTER.to_string()).await;
        write(page, "textbox", "Name (optional)", "typed").await;
        // A tick is taken away and set again.
        go(page, "checkbox", "Read the account balance, receipts, usage and ledger", key::SPACE).await;
        page.browser.keys(&key::SPACE.to_string()).await;
        go(page, "button", "Make the key", key::ENTER).await;
        page.find("dialog", "Your new key").await;
        go(page, "button", "Copy the key", key::SPACE).await;
        page.says("Copied: the key.").await;
        go(page, "button", "I have kept it", key::ENTER).await;
        page.find("heading", "typed in force").await;
        go(page, "button", "Rotate typed", key::ENTER).await;
        tab_to(page, "combobox", "How long its secrets before stay good").await;
        page.browser.keys("They stop").await;
        go(page, "button", "Rotate", key::ENTER).await;
        page.find("dialog", "Your new key").await;
        go(page, "button", "I have kept it", key::SPACE).await;
        go(page, "button", "Revoke typed", key::SPACE).await;
        go(page, "button", "Revoke the key", key::ENTER).await;
        page.says("1 key revoked or expired").await;
        let person = crate::stage::Person { name: "by.keyboard".to_owned(), token: stage.log_in("by.keyboard").await };
        assert!(stage.keys(&person).await[0].revoked_at.is_some());
        go(page, "button", "Sign out", key::ENTER).await;
        page.says("You are signed out.").await;
    })
    .await;
}

#[tokio::test]
async fn a_person_asks_a_model_reads_usage_receipts_and_sessions_by_keyboard_alone() {
    let test = "a_person_asks_a_model_reads_usage_receipts_and_sessions_by_keyboard_alone";
    scene(test, async |stage, page| {
        let person = stage.person("asks.by.keyboard").await;
        sign_in(page, "asks.by.keyboard").await;
        view(page, "Try a call").await;
        write(page, "textbox", "Prompt", "hello").await;
        page.browser.with(key::CONTROL, key::ENTER).await;
        page.says("Finished. Charged: 14 credits.").await;
        stage.settled(&person).await;
        view(page, "Usage").await;
        tab_to(page, "combobox", "Plot").await;
        page.browser.keys(&key::DOWN.to_string()).await;
        is_on(page, "the plot of calls", "document.querySelector('#usage-plot figcaption')?.textContent.startsWith('Calls') === true")
            .await;
        view(page, "Ledger").await;
        let entry = stage.ledger(&person).await.remove(0).ledger_entry_id;
        go(page, "button", &format!("Receipt of entry {entry}"), key::ENTER).await;
        page.says("the model finished").await;
        page.browser.keys(&key::ESCAPE.to_string()).await;
        page.gone("dialog", "Receipt").await;
        view(page, "Security").await;
        page.says("this one").await;
        let ends = page.browser.evaluate("document.querySelector('#sessions button').textContent").await;
        go(page, "button", ends.as_str().unwrap(), key::SPACE).await;
        go(page, "button", "End the session", key::ENTER).await;
        page.says("The session has ended.").await;
    })
    .await;
}

#[tokio::test]
async fn an_operator_finds_disables_and_grants_by_keyboard_alone() {
    scene("an_operator_finds_disables_and_grants_by_keyboard_alone", async |stage, page| {
        stage.person("found.by.keyboard").await;
        sign_in(page, OPERATOR).await;
        view(page, "Users").await;
        write(page, "textbox", "Name begins with", "found.by").await;
        page.browser.keys(&key::ENTER.to_string()).await;
        is_on(page, "one user", "document.querySelectorAll('#users tbody tr').length === 1").await;
        go(page, "button", "Grant found.by.keyboard", key::ENTER).await;
        write(page, "textbox", "Credits", "7").await;
        go(page, "button", "Grant", key::ENTER).await;
        page.says("Granted: found.by.keyboard has 100,007 credits now.").await;
        go(page, "button", "Disable found.by.keyboard", key::SPACE).await;
        write(page, "textbox", "Reason (optional)", "gone").await;
        page.browser.keys(&key::ENTER.to_string()).await;
        page.says("found.by.keyboard is disabled.").await;
        view(page, "Audit log").await;
        write(page, "textbox", "User", "found.by.keyboard").await;
        go(page, "button", "Show", key::ENTER).await;
        page.says("disable_user").await;
    })
    .await;
}

#[tokio::test]
async fn a_person_makes_an_organization_chooses_its_account_and_approves_a_device_by_keyboard_alone() {
    let test = "a_person_makes_an_organization_chooses_its_account_and_approves_a_device_by_keyboard_alone";
    scene(test, async |stage, page| {
        stage.person("organizes.by.keyboard").await;
        sign_in(page, "organizes.by.keyboard").await;
        view(page, "Organizations").await;
        go(page, "button", "Make an organization", key::ENTER).await;
        write(page, "textbox", "Name", "Typed Together").await;
        page.browser.keys(&key::ENTER.to_string()).await;
        page.says("Typed Together is there.").await;
        go(page, "link", "Typed Together", key::ENTER).await;
        page.find("heading", "Organization").await;
        page.loaded().await;
        go(page, "button", "Invite somebody", key::SPACE).await;
        go(page, "button", "Make the invitation", key::ENTER).await;
        page.find("dialog", "The invitation").await;
        // What is shown once stays when Escape is pressed.
        page.browser.keys(&key::ESCAPE.to_string()).await;
        go(page, "button", "Copy the link", key::ENTER).await;
        page.says("Copied: the link.").await;
        go(page, "button", "I have kept it", key::ENTER).await;
        page.gone("dialog", "The invitation").await;
        tab_to(page, "combobox", "Account").await;
        page.browser.keys("T").await;
        page.says("This is the account of Typed Together now.").await;
        is_on(page, "the focus still on the choice", "document.activeElement.id === 'account'").await;
        let asked = auth::BeginDeviceSignInRequest { client: "a shell".to_owned(), ..Default::default() };
        let begun = stage.accounts().begin_device_sign_in(asked).await.unwrap().into_inner();
        view(page, "Approve a device").await;
        write(page, "textbox", "Code", &begun.user_code).await;
        page.browser.keys(&key::ENTER.to_string()).await;
        page.find("heading", "Does your device show this code?").await;
        go(page, "button", "Approve", key::SPACE).await;
        page.find("heading", "Approved").await;
    })
    .await;
}

#[tokio::test]
async fn the_first_stop_of_tab_leads_past_the_navigation() {
    scene("the_first_stop_of_tab_leads_past_the_navigation", async |stage, page| {
        stage.person("skips.ahead").await;
        page.sign_in("skips.ahead").await;
        page.load().await;
        page.find("button", "Sign out").await;
        page.browser.evaluate("document.activeElement.blur()").await;
        page.browser.with(key::SHIFT, key::TAB).await;
        go(page, "link", "Skip to the content", key::ENTER).await;
        is_on(page, "the focus on the content", "document.activeElement.id === 'main'").await;
    })
    .await;
}

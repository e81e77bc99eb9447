//! What operators do: users, their state with a reason, grants, passwords, the audit log. And that nobody else sees it.

use integration::polling::until;
use integration::process_pair::bearer;
use integration::stack::PASSWORD;
use shared::proto::auth;

use crate::page::{Page, SOON, scene};
use crate::stage::{OPERATOR, STARTING};

/// The users whose names begin so.
async fn show(page: &Page, prefix: &str) {
    page.view("Users").await;
    page.fill("textbox", "Name begins with", prefix).await;
    page.press("button", "Show").await;
    page.loaded().await;
}

#[tokio::test]
async fn an_operator_disables_a_user_with_a_reason_that_the_list_and_the_audit_log_show() {
    scene("an_operator_disables_a_user_with_a_reason_that_the_list_and_the_audit_log_show", async |stage, page| {
        let person = stage.person("to.be.disabled").await;
        page.sign_in(OPERATOR).await;
        show(page, "to.be.disabled").await;
        page.press("button", "Disable to.be.disabled").await;
        page.fill("textbox", "Reason (optional)", "shared the key").await;
        page.press("button", "Disable").await;
        page.says("to.be.disabled is disabled.").await;
        let row = page.part_with("row", "to.be.disabled").await;
        assert!(page.text_of(row).await.contains("shared the key"));
        let refused = stage.accounts().get_balance(bearer(&person.token, auth::GetBalanceRequest {})).await.unwrap_err();
        assert!(matches!(refused.code(), tonic::Code::PermissionDenied | tonic::Code::Unauthenticated), "{refused:?}");
        page.press("button", "Enable to.be.disabled").await;
        page.press("button", "Enable").await;
        page.says("to.be.disabled is enabled.").await;
        stage.log_in("to.be.disabled").await;
        page.view("Audit log").await;
        page.fill("textbox", "User", "to.be.disabled").await;
        page.press("button", "Show").await;
        let row = page.part_with("row", "disable_user").await;
        let said = page.text_of(row).await;
        assert!(said.contains("shared the key") && said.contains(OPERATOR) && said.contains("done"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn an_operator_s_grant_is_made_once_and_its_note_is_in_the_user_s_ledger() {
    scene("an_operator_s_grant_is_made_once_and_its_note_is_in_the_user_s_ledger", async |stage, page| {
        let person = stage.person("gets.a.grant").await;
        page.sign_in(OPERATOR).await;
        show(page, "gets.a.grant").await;
        page.press("button", "Grant gets.a.grant").await;
        page.fill("textbox", "Credits", "many").await;
        page.press("button", "Grant").await;
        page.says("must be a whole number").await;
        page.fill("textbox", "Credits", "12345").await;
        page.fill("textbox", "Note (optional)", "for the workshop").await;
        page.press("button", "Grant").await;
        page.says("Granted: gets.a.grant has 112,345 credits now.").await;
        assert_eq!(stage.balance(&person).await.available_credits(), STARTING + 12_345);
        let entry = stage.ledger(&person).await.remove(0);
        assert_eq!((entry.note.as_str(), entry.credits()), ("for the workshop", 12_345));
    })
    .await;
}

#[tokio::test]
async fn an_operator_makes_a_user_and_resets_a_password_which_is_shown_once() {
    scene("an_operator_makes_a_user_and_resets_a_password_which_is_shown_once", async |stage, page| {
        page.sign_in(OPERATOR).await;
        show(page, "made.by").await;
        page.press("button", "Make a user").await;
        page.fill("textbox", "User name", "made.by.operator").await;
        page.fill("textbox", "Password", PASSWORD).await;
        page.press("button", "Make the user").await;
        page.says("made.by.operator is there").await;
        stage.log_in("made.by.operator").await;
        page.press("button", "Reset password made.by.operator").await;
        page.press("button", "Reset the password").await;
        page.find("dialog", "One-time password").await;
        let once = page.text_at("one-time-password-secret").await;
        page.press("button", "I have kept it").await;
        page.gone("dialog", "One-time password").await;
        page.says("must choose a password").await;
        assert!(!page.browser.evaluate("document.documentElement.outerHTML").await.as_str().unwrap().contains(&once));
        let new = "the phrase that I chose myself";
        let complete = auth::CompletePasswordResetRequest {
            user_name: "made.by.operator".to_owned(),
            one_time_password: once,
            new_password: new.to_owned(),
            ..Default::default()
        };
        stage.accounts().complete_password_reset(complete).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_user_is_offered_nothing_of_operators_and_gets_it_by_no_address() {
    scene("a_user_is_offered_nothing_of_operators_and_gets_it_by_no_address", async |stage, page| {
        stage.person("no.operator").await;
        page.sign_in("no.operator").await;
        for (view, title) in [("users", "Users"), ("audit", "Audit log")] {
            assert!(page.all("link", title).await.is_empty());
            page.browser.evaluate(&format!("location.hash = '#/{view}'")).await;
            page.find("heading", "Overview").await;
            until(&format!("no heading {title}"), SOON, || async { page.all("heading", title).await.is_empty().then_some(()) }).await;
        }
    })
    .await;
}

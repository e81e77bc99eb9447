//! A call from the page: its answer grows while it streams, and ends with what it cost. And what the page says of servers that are gone.

use integration::polling::until;
use integration::scripted_upstream::{Gate, Script};

use crate::page::{Page, SOON, grouped, scene_with};
use crate::stage::{ANSWER, STARTING, Stage};

async fn ask(page: &Page, prompt: &str) {
    page.fill("textbox", "Prompt", prompt).await;
    page.press("button", "Send").await;
}

async fn answer_is(page: &Page, text: &str) {
    until(&format!("the answer {text:?}"), SOON, || async { (page.text_at("answer").await == text).then_some(()) }).await;
}

/// From now on an answer is two tokens, and a third behind this gate.
fn gate(stage: &Stage) -> Gate {
    let gate = Gate::new();
    stage.upstream.script("/api/chat", Script::stream().tokens(&["one ", "two "]).gate(&gate).token("three").done("stop", 5, 3));
    gate
}

#[tokio::test]
async fn an_answer_grows_before_it_ends_with_its_receipt() {
    scene_with("an_answer_grows_before_it_ends_with_its_receipt", &[], async |stage, page| {
        let person = stage.person("asks.a.model").await;
        let gate = gate(stage);
        page.sign_in("asks.a.model").await;
        page.view("Try a call").await;
        ask(page, "count").await;
        answer_is(page, "one two ").await;
        page.says("The model is answering. Held: ").await;
        page.find("button", "Stop").await;
        gate.open_for_good();
        answer_is(page, "one two three").await;
        page.says(&format!("Finished. Charged: 13 credits. Left: {}.", grouped(STARTING - 13))).await;
        page.gone("button", "Stop").await;
        assert_eq!(stage.settled(&person).await.spent_credits(), 13);
        assert_eq!(stage.upstream.requests_to("/api/chat").len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_is_stopped_is_cut_upstream_and_says_what_it_cost() {
    scene_with("an_answer_that_is_stopped_is_cut_upstream_and_says_what_it_cost", &[], async |stage, page| {
        let person = stage.person("stops.a.model").await;
        let _never_opened = gate(stage);
        page.sign_in("stops.a.model").await;
        page.view("Try a call").await;
        ask(page, "count").await;
        answer_is(page, "one two ").await;
        page.press("button", "Stop").await;
        page.says(&format!("Stopped. Charged: 12 credits. Left: {}.", grouped(STARTING - 12))).await;
        stage.upstream.requests_to("/api/chat")[0].client_closed().await;
        assert_eq!(stage.settled(&person).await.spent_credits(), 12);
    })
    .await;
}

#[tokio::test]
async fn a_call_without_credits_is_refused_in_words_and_leaves_the_prompt() {
    let settings = [("TOLLGATE_STARTING_CREDITS", "3")];
    scene_with("a_call_without_credits_is_refused_in_words_and_leaves_the_prompt", &settings, async |stage, page| {
        stage.person("has.no.credits").await;
        page.sign_in("has.no.credits").await;
        page.view("Try a call").await;
        ask(page, "a question").await;
        assert!(page.alert().await.contains("not enough credits"));
        let prompt = page.find("textbox", "Prompt").await;
        assert_eq!(page.call(prompt, "function() { return this.value }").await, "a question");
    })
    .await;
}

#[tokio::test]
async fn a_page_whose_server_was_killed_says_so_and_works_again_after_its_restart() {
    scene_with("a_page_whose_server_was_killed_says_so_and_works_again_after_its_restart", &[], async |stage, page| {
        stage.person("sees.a.crash").await;
        page.sign_in("sees.a.crash").await;
        page.view("API keys").await;
        stage.auth.kill();
        page.press("link", "Ledger").await;
        page.says("The server can't be reached.").await;
        page.find("button", "Sign out").await;
        stage.start_auth_again();
        page.press("button", "Try again").await;
        page.says("Newest first").await;
        page.view("API keys").await;
        page.press("button", "Make a key").await;
        page.fill("textbox", "Name (optional)", "after the crash").await;
        page.press("button", "Make the key").await;
        page.find("dialog", "Your new key").await;
        page.press("button", "I have kept it").await;
        page.find("heading", "after the crash in force").await;
    })
    .await;
}

#[tokio::test]
async fn an_answer_whose_server_is_killed_says_so_and_the_next_one_after_its_restart_is_whole() {
    let test = "an_answer_whose_server_is_killed_says_so_and_the_next_one_after_its_restart_is_whole";
    scene_with(test, &[("TOLLGATE_HOLD_TTL", "6s")], async |stage, page| {
        stage.person("sees.a.cut").await;
        let _never_opened = gate(stage);
        page.sign_in("sees.a.cut").await;
        page.view("Try a call").await;
        ask(page, "count").await;
        answer_is(page, "one two ").await;
        stage.inference.kill();
        let said = page.alert().await;
        assert!(!said.is_empty());
        page.gone("button", "Stop").await;
        page.press("link", "Overview").await;
        page.press("link", "Try a call").await;
        page.says("can't be reached from this page").await;
        stage.start_inference_again();
        stage.upstream.script("/api/chat", Script::chat(&["It", "'s", "-a", " me!"]));
        page.press("button", "Try again").await;
        ask(page, "count").await;
        answer_is(page, ANSWER).await;
        page.says("Finished. Charged: 14 credits.").await;
    })
    .await;
}

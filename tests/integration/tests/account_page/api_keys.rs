//! API keys: made, shown once, copied, used as the page says, rotated, revoked.

use integration::polling::until;

use crate::chromedriver::key;
use crate::page::{Page, SOON, scene};
use crate::stage::{ANSWER, CALL, Person, Stage};

/// Runs lines as a shell does, with this workspace's `tollgate` on PATH; what they print.
async fn run_lines(program: &str, lines: &str) -> String {
    let folder = integration::processes::binary("auth-service").parent().unwrap().to_owned();
    let path = std::env::join_paths([folder].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap()))).unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(program);
    command.args(["-c", lines]).env_clear().env("PATH", path).env("HOME", home.path()).stdin(std::process::Stdio::null());
    let done = tokio::time::timeout(SOON, command.kill_on_drop(true).output()).await.expect("it ends").unwrap();
    let [printed, said] = [&done.stdout, &done.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(done.status.success(), "{lines}\n{printed}{said}");
    printed
}

/// Makes a key with this name in the view of keys; the secret that is shown.
async fn make(page: &Page, name: &str) -> String {
    page.view("API keys").await;
    page.press("button", "Make a key").await;
    page.fill("textbox", "Name (optional)", name).await;
    page.press("button", "Make the key").await;
    page.find("dialog", "Your new key").await;
    page.text_at("new-key-secret").await
}

/// Whether a key pays for a call.
async fn works(stage: &Stage, key: &str) -> bool {
    use integration::process_pair::bearer;
    use integration::stack::{channel, chat_request};
    let mut client = shared::proto::inference::inference_client::InferenceClient::new(channel(stage.inference.address()));
    client.chat(bearer(key, chat_request("smollm2", "hi"))).await.is_ok()
}

async fn signed_in(stage: &Stage, page: &Page, name: &str) -> Person {
    let person = stage.person(name).await;
    page.sign_in(name).await;
    person
}

#[tokio::test]
async fn a_key_is_shown_once_and_what_its_button_copies_works() {
    scene("a_key_is_shown_once_and_what_its_button_copies_works", async |stage, page| {
        signed_in(stage, page, "makes.a.key").await;
        let secret = make(page, "laptop").await;
        assert!(secret.starts_with("tg_") && secret.len() == 49, "{secret:?}");
        page.press("button", "Copy the key").await;
        page.says("Copied: the key.").await;
        assert!(works(stage, &secret).await);
        // Escape is pressed by mistake, and the key would be lost.
        page.browser.keys(&key::ESCAPE.to_string()).await;
        assert_eq!(page.all("dialog", "Your new key").await.len(), 1);
        page.press("button", "I have kept it").await;
        page.gone("dialog", "Your new key").await;
        page.find("heading", "laptop in force").await;
        // What was copied is pasted.
        page.press("button", "Make a key").await;
        page.find("textbox", "Name (optional)").await;
        page.browser.with(key::CONTROL, 'v').await;
        let pasted = page.find("textbox", "Name (optional)").await;
        assert_eq!(page.call(pasted, "function() { return this.value }").await, secret.as_str());
        page.press("button", "Cancel").await;
        let everywhere = "document.documentElement.outerHTML + JSON.stringify([{ ...localStorage }, { ...sessionStorage }, history.state])";
        for _ in 0..2 {
            let everywhere = page.browser.evaluate(everywhere).await.to_string();
            assert!(!everywhere.contains(&secret), "the key is still there");
            page.load().await;
            page.view("API keys").await;
            page.find("heading", "laptop in force").await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_lines_that_are_printed_beside_a_key_work_as_they_are() {
    scene("the_lines_that_are_printed_beside_a_key_work_as_they_are", async |stage, page| {
        let person = signed_in(stage, page, "runs.the.lines").await;
        make(page, "it's \"mine\" $HOME `id`").await;
        let answer: serde_json::Value = serde_json::from_str(&run_lines("sh", &page.text_at("lines-0").await).await).unwrap();
        assert_eq!(answer["choices"][0]["message"]["content"], ANSWER, "{answer}");
        assert_eq!(run_lines("python3", &page.text_at("lines-2").await).await.trim(), ANSWER);
        let printed = run_lines("sh", &page.text_at("lines-4").await).await;
        assert!(printed.contains(ANSWER), "{printed}");
        // Each was paid for.
        assert_eq!(stage.settled(&person).await.spent_credits(), 3 * CALL);
    })
    .await;
}

#[tokio::test]
async fn a_rotated_key_has_a_new_secret_and_the_one_before_stops_as_was_asked() {
    scene("a_rotated_key_has_a_new_secret_and_the_one_before_stops_as_was_asked", async |stage, page| {
        signed_in(stage, page, "rotates.a.key").await;
        let first = make(page, "server").await;
        page.press("button", "I have kept it").await;
        page.press("button", "Rotate server").await;
        page.choose("How long its secrets before stay good", "1 hour").await;
        page.press("button", "Rotate").await;
        page.find("dialog", "Your new key").await;
        let second = page.text_at("new-key-secret").await;
        page.press("button", "I have kept it").await;
        assert!(first != second && works(stage, &first).await && works(stage, &second).await);
        page.press("button", "Rotate server").await;
        page.choose("How long its secrets before stay good", "They stop at once").await;
        page.press("button", "Rotate").await;
        page.find("dialog", "Your new key").await;
        let third = page.text_at("new-key-secret").await;
        page.press("button", "I have kept it").await;
        assert!(!works(stage, &first).await && !works(stage, &second).await && works(stage, &third).await);
    })
    .await;
}

#[tokio::test]
async fn a_key_is_revoked_only_once_it_is_confirmed() {
    scene("a_key_is_revoked_only_once_it_is_confirmed", async |stage, page| {
        let person = signed_in(stage, page, "revokes.a.key").await;
        let key = make(page, "lost").await;
        page.press("button", "I have kept it").await;
        page.press("button", "Revoke lost").await;
        page.find("dialog", "Revoke the key?").await;
        page.press("button", "Cancel").await;
        page.gone("dialog", "Revoke the key?").await;
        assert!(works(stage, &key).await);
        page.press("button", "Revoke lost").await;
        page.press("button", "Revoke the key").await;
        page.gone("button", "Revoke lost").await;
        page.says("1 key revoked or expired").await;
        assert!(stage.keys(&person).await.iter().all(|key| key.revoked_at.is_some()));
        until("the key to be refused", SOON, || async { (!works(stage, &key).await).then_some(()) }).await;
    })
    .await;
}

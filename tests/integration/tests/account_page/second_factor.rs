//! The second factor: set up, asked for at sign-in and for operators' changes, its recovery codes, and taken away.

use integration::polling::until;
use integration::process_pair::bearer;
use integration::stack::PASSWORD;
use serde_json::{Value, json};
use shared::proto::auth;

use crate::authenticator::code;
use crate::page::{Page, SOON, scene, scene_with};
use crate::stage::{OPERATOR, Stage};

/// The drawing of the QR code, in grey, four pixels a module, as a camera would have it.
const DRAWN: &str = "(() => {
  const picture = document.querySelector('svg.qr');
  const [x, y, side] = picture.getAttribute('viewBox').split(' ').map(Number);
  const canvas = new OffscreenCanvas(side * 4, side * 4).getContext('2d');
  canvas.fillStyle = getComputedStyle(picture.querySelector('rect')).fill;
  canvas.fillRect(0, 0, side * 4, side * 4);
  canvas.scale(4, 4);
  canvas.translate(-x, -y);
  canvas.fillStyle = getComputedStyle(picture.querySelector('path')).fill;
  canvas.fill(new Path2D(picture.querySelector('path').getAttribute('d')));
  const { data } = canvas.getImageData(0, 0, side * 4, side * 4);
  return Array.from({ length: data.length / 4 }, (_, at) => data[at * 4]);
})()";

/// What a reader that isn't ours reads from the picture.
fn read(drawn: &Value) -> String {
    let pixels: Vec<u8> = serde_json::from_value(drawn.clone()).unwrap();
    let side = pixels.len().isqrt();
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(side, side, |x, y| pixels[y * side + x]);
    let grids = image.detect_grids();
    assert_eq!(grids.len(), 1);
    grids[0].decode().unwrap().1
}

/// Sets a second factor up by the page, and gives its secret and its recovery codes, each of which is looked at. The code of this step is
/// used.
pub(crate) async fn set_up(page: &Page, secret_shown: impl AsyncFn(&Page), codes_shown: impl AsyncFn(&Page)) -> (String, Vec<String>) {
    // Not by its link, which a narrow screen doesn't show.
    page.browser.evaluate("location.hash = '#/security'").await;
    page.find("heading", "Security").await;
    page.loaded().await;
    page.press("button", "Set it up").await;
    let dialog = page.find("dialog", "Set up a second factor").await;
    let password = page.find_in(dialog, "textbox", "Password").await;
    page.fill_node(password, PASSWORD).await;
    page.press("button", "Go on").await;
    page.find("dialog", "Give the secret to your app").await;
    secret_shown(page).await;
    let secret = page.text_at("totp-secret").await;
    page.fill("textbox", "Code of the app", &code(&secret, 0)).await;
    page.press("button", "Turn it on").await;
    page.find("dialog", "The second factor is on").await;
    let codes: Vec<String> = page.text_at("recovery-codes-text").await.lines().map(str::to_owned).collect();
    codes_shown(page).await;
    page.press("button", "I have kept them").await;
    page.gone("dialog", "The second factor is on").await;
    page.says("Recovery codes left").await;
    (secret, codes)
}

/// Is asked for a code, and gives one.
async fn answer(page: &Page, given: &str) {
    page.find("heading", "Your second factor").await;
    page.fill("textbox", "Code", given).await;
    page.press("button", "Sign in").await;
}

#[tokio::test]
async fn a_second_factor_is_set_up_by_a_picture_that_any_reader_reads_and_signing_in_asks_for_it() {
    let test = "a_second_factor_is_set_up_by_a_picture_that_any_reader_reads_and_signing_in_asks_for_it";
    scene(test, async |stage, page| {
        stage.person("has.an.app").await;
        page.sign_in("has.an.app").await;
        page.view("Security").await;
        page.press("button", "Set it up").await;
        let dialog = page.find("dialog", "Set up a second factor").await;
        let password = page.find_in(dialog, "textbox", "Password").await;
        page.fill_node(password, "not the one that is in force").await;
        page.press("button", "Go on").await;
        page.says("is not the one in force").await;
        page.fill_node(password, PASSWORD).await;
        page.press("button", "Go on").await;
        page.find("dialog", "Give the secret to your app").await;
        let secret = page.text_at("totp-secret").await;
        let address = page.text_at("otpauth-uri").await;
        assert!(address.starts_with("otpauth://totp/") && address.contains(&secret), "another address than that of the secret");
        assert_eq!(read(&page.browser.evaluate(DRAWN).await), address);
        page.fill("textbox", "Code of the app", "000000").await;
        page.press("button", "Turn it on").await;
        page.says("This code is wrong, or was used before.").await;
        page.fill("textbox", "Code of the app", &code(&secret, 0)).await;
        page.press("button", "Turn it on").await;
        page.find("dialog", "The second factor is on").await;
        let codes = page.text_at("recovery-codes-text").await;
        assert_eq!(codes.lines().count(), 10);
        // They are kept as a file too, which no server sends.
        let folder = tempfile::tempdir().unwrap();
        let downloads = json!({ "behavior": "allow", "downloadPath": folder.path() });
        page.browser.devtools("Browser.setDownloadBehavior", downloads).await;
        page.press("link", "Download them").await;
        let file = folder.path().join("tollgate-recovery-codes.txt");
        let kept = until("the file", SOON, || async { std::fs::read_to_string(&file).ok().filter(|text| !text.is_empty()) }).await;
        assert_eq!(kept.trim(), codes);
        page.press("button", "Copy the recovery codes").await;
        page.says("Copied: the recovery codes.").await;
        page.press("button", "I have kept them").await;
        page.gone("dialog", "The second factor is on").await;
        page.says("10 codes").await;
        let all = page.browser.evaluate("document.documentElement.outerHTML").await;
        let first = codes.lines().next().unwrap();
        assert!(!all.as_str().unwrap().contains(first) && !all.as_str().unwrap().contains(&secret), "a secret is still there");

        page.press("button", "Sign out").await;
        page.says("You are signed out.").await;
        page.try_to_sign_in("has.an.app", "not the one that is in force").await;
        // A wrong password says nothing of a second factor.
        page.says("don't match").await;
        page.try_to_sign_in("has.an.app", PASSWORD).await;
        answer(page, "000000").await;
        page.says("This code is wrong, or was used before.").await;
        answer(page, &code(&secret, 1)).await;
        page.find("button", "Sign out").await;
        page.press("button", "Sign out").await;
        page.says("You are signed out.").await;
        page.try_to_sign_in("has.an.app", PASSWORD).await;
        answer(page, first).await;
        page.find("button", "Sign out").await;
        page.view("Security").await;
        page.says("9 codes").await;
    })
    .await;
}

#[tokio::test]
async fn recovery_codes_are_made_anew_and_the_second_factor_is_taken_away_by_a_code() {
    scene("recovery_codes_are_made_anew_and_the_second_factor_is_taken_away_by_a_code", async |stage, page| {
        stage.person("takes.it.away").await;
        page.sign_in("takes.it.away").await;
        let (_, before) = set_up(page, async |_| (), async |_| ()).await;
        page.press("button", "Make new recovery codes").await;
        page.fill("textbox", "Code", &before[0]).await;
        page.press("button", "Make new ones").await;
        page.find("dialog", "New recovery codes").await;
        let codes: Vec<String> = page.text_at("recovery-codes-text").await.lines().map(str::to_owned).collect();
        assert!(codes.len() == 10 && !codes.contains(&before[1]));
        page.press("button", "I have kept them").await;
        page.press("button", "Turn it off").await;
        let dialog = page.find("dialog", "Turn the second factor off?").await;
        for (given, is_good) in [(&before[1], false), (&codes[0], true)] {
            page.fill("textbox", "Code", given).await;
            page.press_in(dialog, "button", "Turn it off").await;
            page.says(if is_good { "The second factor is off." } else { "This code is wrong, or was used before." }).await;
        }
        page.find("button", "Set it up").await;
        page.press("button", "Sign out").await;
        page.says("You are signed out.").await;
        page.sign_in("takes.it.away").await;
    })
    .await;
}

async fn is_disabled(stage: &Stage, operator: &str, name: &str) -> bool {
    let asked = bearer(operator, auth::ListUsersRequest { name_prefix: name.to_owned(), ..Default::default() });
    stage.operator().list_users(asked).await.unwrap().into_inner().users[0].disabled
}

#[tokio::test]
async fn an_operator_s_change_that_needs_a_second_factor_asks_for_it_and_is_then_done() {
    let test = "an_operator_s_change_that_needs_a_second_factor_asks_for_it_and_is_then_done";
    scene_with(test, &[("TOLLGATE_REQUIRE_ADMIN_TOTP", "true")], async |stage, page| {
        stage.person("to.be.changed").await;
        let operator = stage.log_in(OPERATOR).await;
        page.sign_in(OPERATOR).await;
        // Whoever has none is told what to do.
        page.view("Users").await;
        page.press("button", "Lock to.be.changed").await;
        page.press("button", "Lock").await;
        let ask = page.find("dialog", "Prove that it is you").await;
        page.fill("textbox", "Code", "123456").await;
        page.press_in(ask, "button", "Go on").await;
        page.says("This needs a second factor, and you have none. Set one up under Security.").await;
        page.press_in(ask, "button", "Cancel").await;
        page.press("button", "Cancel").await;
        // It is set up in another session, so that this one has proved nothing.
        let elsewhere = page.elsewhere().await;
        elsewhere.sign_in(OPERATOR).await;
        let (_, codes) = set_up(&elsewhere, async |_| (), async |_| ()).await;
        elsewhere.close().await;
        page.view("Users").await;
        page.fill("textbox", "Name begins with", "to.be.changed").await;
        page.press("button", "Show").await;
        page.loaded().await;
        page.press("button", "Disable to.be.changed").await;
        page.fill("textbox", "Reason (optional)", "a reason that stays").await;
        page.press("button", "Disable").await;
        page.find("dialog", "Prove that it is you").await;
        assert!(!is_disabled(stage, &operator, "to.be.changed").await);
        // Given up, nothing is done, and what was typed is still there.
        let ask = page.find("dialog", "Prove that it is you").await;
        page.press_in(ask, "button", "Cancel").await;
        page.says("This was not done: it needs your second factor.").await;
        assert!(!is_disabled(stage, &operator, "to.be.changed").await);
        page.press("button", "Disable").await;
        let ask = page.find("dialog", "Prove that it is you").await;
        for given in ["wrong", &codes[0]] {
            page.fill("textbox", "Code", given).await;
            page.press_in(ask, "button", "Go on").await;
            if given == "wrong" {
                page.says("This code is wrong, or was used before.").await;
            }
        }
        page.says("to.be.changed is disabled.").await;
        page.says("a reason that stays").await;
        assert!(is_disabled(stage, &operator, "to.be.changed").await);
        // For a quarter of an hour nothing more is asked.
        page.press("button", "Enable to.be.changed").await;
        page.press("button", "Enable").await;
        page.says("to.be.changed is enabled.").await;
    })
    .await;
}

#[tokio::test]
async fn an_operator_resets_the_second_factor_of_a_user_who_lost_it() {
    scene("an_operator_resets_the_second_factor_of_a_user_who_lost_it", async |stage, page| {
        stage.person("lost.the.phone").await;
        page.sign_in("lost.the.phone").await;
        set_up(page, async |_| (), async |_| ()).await;
        let operator = page.elsewhere().await;
        operator.sign_in(OPERATOR).await;
        operator.view("Users").await;
        operator.fill("textbox", "Name begins with", "lost.the.phone").await;
        operator.press("button", "Show").await;
        operator.loaded().await;
        operator.press("button", "Reset second factor lost.the.phone").await;
        operator.press("button", "Reset the second factor").await;
        operator.says("lost.the.phone has no second factor now.").await;
        operator.close().await;
        page.press("link", "API keys").await;
        page.says("Your session has ended. Sign in again.").await;
        page.try_to_sign_in("lost.the.phone", PASSWORD).await;
        page.find("button", "Sign out").await;
    })
    .await;
}

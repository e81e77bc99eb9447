//! Approving the sign-in of a device without a browser.

use shared::ErrorReason;
use shared::error::reason_of;
use shared::proto::auth;
use tonic::Status;

use crate::page::{Page, scene};
use crate::stage::Stage;

/// A device asks to be signed in.
async fn ask(stage: &Stage, client: &str) -> auth::BeginDeviceSignInResponse {
    let asked = auth::BeginDeviceSignInRequest { client: client.to_owned(), scopes: vec!["chat".to_owned()] };
    stage.accounts().begin_device_sign_in(asked).await.unwrap().into_inner()
}

/// It asks whether it was approved.
async fn exchange(stage: &Stage, begun: &auth::BeginDeviceSignInResponse) -> Result<auth::ExchangeDeviceCodeResponse, Status> {
    let asked = auth::ExchangeDeviceCodeRequest { device_code: begun.device_code.clone() };
    stage.accounts().exchange_device_code(asked).await.map(tonic::Response::into_inner)
}

/// Goes to an address in a tab that had another one.
async fn go(page: &Page, address: &str) {
    page.browser.go("about:blank").await;
    page.browser.go(address).await;
}

#[tokio::test]
async fn the_address_that_a_device_shows_leads_through_signing_in_to_its_approval_in_words() {
    scene("the_address_that_a_device_shows_leads_through_signing_in_to_its_approval_in_words", async |stage, page| {
        stage.person("has.a.notebook").await;
        let begun = ask(stage, "a notebook <b>of mine</b>").await;
        let path = begun.verification_uri_complete.split_once("/device").expect("an address of the page").1;
        go(page, &format!("{}/device{path}", stage.origin())).await;
        page.says("Sign in to approve the device.").await;
        page.sign_in("has.a.notebook").await;
        page.find("heading", "Approve a device").await;
        page.find("heading", "Does your device show this code?").await;
        assert_eq!(page.text_at("user-code").await, begun.user_code);
        for said in ["a notebook <b>of mine</b>", "has.a.notebook", "chat", "127.0.0.1", "If somebody sent you this code, or a link"] {
            page.says(said).await;
        }
        assert_eq!(page.browser.evaluate("document.querySelectorAll('main b').length").await, 0);
        page.press("button", "Approve").await;
        page.find("heading", "Approved").await;
        let signed_in = exchange(stage, &begun).await.unwrap();
        assert_eq!(signed_in.user_name, "has.a.notebook");
        page.view("Security").await;
        let card = page.part_with("listitem", "a notebook <b>of mine</b>").await;
        assert!(page.text_of(card).await.contains("as a device that you approved"), "{}", page.text_of(card).await);
    })
    .await;
}

#[tokio::test]
async fn a_code_is_typed_in_any_form_and_a_denied_device_is_not_signed_in() {
    scene("a_code_is_typed_in_any_form_and_a_denied_device_is_not_signed_in", async |stage, page| {
        stage.person("denies.it").await;
        page.sign_in("denies.it").await;
        page.view("Approve a device").await;
        page.fill("textbox", "Code", "BBBB-BBBB").await;
        page.press("button", "Look at it").await;
        page.says("No device waits under this code.").await;
        let begun = ask(stage, "somebody else's").await;
        page.fill("textbox", "Code", &begun.user_code.replace('-', " ").to_lowercase()).await;
        page.press("button", "Look at it").await;
        page.find("heading", "Does your device show this code?").await;
        page.press("button", "Deny").await;
        page.find("heading", "Denied").await;
        let refused = exchange(stage, &begun).await.unwrap_err();
        assert_eq!(reason_of(&refused), Some(ErrorReason::DeviceSignInDenied));
    })
    .await;
}

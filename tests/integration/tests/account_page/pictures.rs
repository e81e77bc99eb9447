//! Pictures of the page for docs/account-page.md. They are made anew by
//! `scripts/cargo test -p integration --test account_page -- --ignored`, and never compared: fonts differ between machines.

use integration::process_pair::bearer;
use serde_json::json;
use shared::proto::auth;

use crate::page::{Page, scene_with};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/images");
/// For readers of a repository, who wait for each.
const MOST_BYTES: usize = 120 << 10;

async fn look(page: &Page, width: u32, height: u32, scheme: &str) {
    let device = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
    page.browser.devtools("Emulation.setDeviceMetricsOverride", device).await;
    let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
    page.browser.devtools("Emulation.setEmulatedMedia", features).await;
}

async fn keep(page: &Page, name: &str) {
    page.loaded().await;
    page.browser.evaluate("scrollTo(0, 0)").await;
    page.browser.evaluate("new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))").await;
    let picture = page.browser.picture().await;
    assert!(picture.len() < MOST_BYTES, "{name} has {} bytes", picture.len());
    std::fs::create_dir_all(FOLDER).unwrap();
    std::fs::write(format!("{FOLDER}/account-page-{name}.png"), picture).unwrap();
}

#[tokio::test]
#[ignore = "writes docs/images"]
async fn pictures_for_the_documentation_are_made() {
    scene_with("pictures_for_the_documentation_are_made", &[], async |stage, page| {
        let person = stage.person("ada").await;
        stage.upstream.model("llama3.2", &["completion"], 8192);
        for (model, times) in [("smollm2", 7), ("llama3.2", 4)] {
            let key = stage.key(&person, if model == "smollm2" { "laptop" } else { "build server" }).await;
            for _ in 0..times {
                stage.call(&key, model).await;
            }
        }
        stage.settled(&person).await;
        look(page, 1040, 640, "light").await;
        page.sign_in("ada").await;
        keep(page, "overview-light").await;
        page.view("Usage").await;
        keep(page, "usage-light").await;
        look(page, 1040, 760, "dark").await;
        page.view("Try a call").await;
        page.fill("textbox", "Prompt", "Who are you?").await;
        page.press("button", "Send").await;
        page.says("Finished.").await;
        keep(page, "try-dark").await;
        let account_id = stage.organization(&person, "Analytical Engines").await;
        stage.grant_to(&account_id, 250_000).await;
        for (name, cap) in [("grace", Some(20_000)), ("charles", None)] {
            stage.person(name).await;
            let user_name = name.to_owned();
            let add = auth::AddMemberRequest { account_id: account_id.clone(), user_name, monthly_cap_credits: cap, ..Default::default() };
            stage.accounts().add_member(bearer(&person.token, add)).await.unwrap();
        }
        let (name, monthly_cap_credits) = ("nightly build".to_owned(), Some(50_000));
        let make = auth::CreateServiceAccountRequest { account_id: account_id.clone(), name, monthly_cap_credits };
        stage.accounts().create_service_account(bearer(&person.token, make)).await.unwrap();
        look(page, 1040, 1100, "light").await;
        page.browser.evaluate(&format!("location.hash = '#/organization?account={account_id}'")).await;
        page.find("heading", "Organization").await;
        keep(page, "organization-light").await;
        let asked = auth::BeginDeviceSignInRequest { client: "notebook on gpu-3".to_owned(), ..Default::default() };
        let user_code = stage.accounts().begin_device_sign_in(asked).await.unwrap().into_inner().user_code;
        look(page, 1040, 760, "dark").await;
        page.browser.evaluate(&format!("location.hash = '#/device?user_code={user_code}'")).await;
        page.find("heading", "Does your device show this code?").await;
        keep(page, "device-dark").await;
        look(page, 390, 780, "light").await;
        page.browser.evaluate("location.hash = '#/keys'").await;
        page.press("button", "Make a key").await;
        page.fill("textbox", "Name (optional)", "phone").await;
        page.press("button", "Make the key").await;
        page.find("dialog", "Your new key").await;
        keep(page, "new-key-phone").await;
    })
    .await;
}

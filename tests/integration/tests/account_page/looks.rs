//! What every view must be, with something in it: named for screen readers, as wide as a phone, legible in light and in dark.

use integration::process_pair::bearer;
use integration::stack::PASSWORD;
use serde_json::{Value, json};
use shared::proto::auth;

use crate::page::{Page, scene};
use crate::second_factor::set_up;
use crate::stage::{Person, Stage};

/// Roles of what is used.
const CONTROLS: [&str; 12] =
    ["button", "link", "textbox", "searchbox", "combobox", "checkbox", "radio", "switch", "spinbutton", "tab", "menuitem", "Date"];

/// An operator's own account with all that views can show, and an organization of it.
async fn furnish(stage: &Stage, name: &str) -> (Person, String) {
    let operator = stage.another_operator(name).await;
    stage.grant(&operator, (0..30).map(|number| format!("a note that goes on for some while, as notes do, number {number}"))).await;
    for name in ["laptop", "a key with a name that is quite a lot longer than the names that people give to their keys, by and large"] {
        let key = stage.key(&operator, &name.chars().take(100).collect::<String>()).await;
        stage.call(&key, "smollm2").await;
    }
    let organization = "An organization with a name that is quite a lot longer than names are, as some people's are";
    let account_id = stage.organization(&operator, organization).await;
    for (number, role) in [(1, auth::MemberRole::Member), (2, auth::MemberRole::Owner)] {
        let user_name = format!("someone-called-{number}-whom-{name}-has-added");
        stage.person(&user_name).await;
        let monthly_cap_credits = Some(1_000_000_000_000);
        let add = auth::AddMemberRequest { account_id: account_id.clone(), user_name, role: role.into(), monthly_cap_credits };
        stage.accounts().add_member(bearer(&operator.token, add)).await.unwrap();
    }
    let note = "somebody whom a note of some length describes".to_owned();
    let invite = auth::InviteMemberRequest { account_id: account_id.clone(), note, ..Default::default() };
    stage.accounts().invite_member(bearer(&operator.token, invite)).await.unwrap();
    let name = "a program that runs every night".to_owned();
    let make = auth::CreateServiceAccountRequest { account_id: account_id.clone(), name, monthly_cap_credits: Some(500) };
    stage.accounts().create_service_account(bearer(&operator.token, make)).await.unwrap();
    (operator, account_id)
}

/// A view that an address shows, and what opens in it.
async fn look_at(page: &Page, hash: &str, heading: &str, opens: &[&str], look: &impl AsyncFn(&Page, &str)) {
    page.browser.evaluate(&format!("location.hash = '{hash}'")).await;
    page.find("heading", heading).await;
    page.loaded().await;
    look(page, heading).await;
    for opens in opens {
        open(page, opens).await;
        look(page, &format!("{heading}, {opens}")).await;
        close(page).await;
    }
}

/// Opens a dialog by a button of the view, by how it begins.
async fn open(page: &Page, begins: &str) {
    let find = "[...document.querySelectorAll('main button')].find((button) => button.textContent.startsWith(BEGINS)).click()";
    page.browser.evaluate(&find.replace("BEGINS", &Value::from(begins).to_string())).await;
    page.part_with("dialog", "").await;
    page.loaded().await;
}

async fn close(page: &Page) {
    page.browser.evaluate("for (const dialog of document.querySelectorAll('dialog')) dialog.close()").await;
}

/// Looks at each view, and at what opens in it: as a guest, and as an operator, who sees all of them.
async fn every_view(stage: &Stage, page: &Page, operator: &str, look: impl AsyncFn(&Page, &str)) {
    let (person, account_id) = furnish(stage, operator).await;
    for guest in ["", "sign-up", "complete-reset"] {
        page.browser.evaluate(&format!("location.hash = '#/{guest}'")).await;
        page.find("textbox", "User name").await;
        look(page, &format!("guest {guest}")).await;
    }
    // What is wrong stands beside its field.
    page.browser.evaluate("location.hash = '#/sign-up'").await;
    page.press("button", "Sign up").await;
    page.says("is required").await;
    look(page, "guest, with what is wrong").await;
    page.load().await;
    page.sign_in(operator).await;
    let titles = "[...document.querySelectorAll('#navigation a')].map((link) => link.textContent)";
    let titles: Vec<String> = serde_json::from_value(page.browser.evaluate(titles).await).unwrap();
    assert!(titles.len() >= 8, "{titles:?}");
    for title in &titles {
        page.browser
            .evaluate(&format!(
                "[...document.querySelectorAll('#navigation a')].find((link) => link.textContent === {}).click()",
                Value::from(title.as_str())
            ))
            .await;
        page.find("heading", title).await;
        page.loaded().await;
        look(page, title).await;
        for opens in opening(title) {
            open(page, opens).await;
            look(page, &format!("{title}, {opens}")).await;
            close(page).await;
        }
    }
    let opens = ["Add a member", "Invite somebody", "Make an owner", "Set the cap", "Remove", "Withdraw", "Leave", "Grant", "Make a key"];
    look_at(page, &format!("#/organization?account={account_id}"), "Organization", &opens, &look).await;
    let invite = auth::InviteMemberRequest { account_id, ..Default::default() };
    let code = stage.accounts().invite_member(bearer(&person.token, invite)).await.unwrap().into_inner().invitation_code;
    look_at(page, "#/invitation", "Invitation", &[], &look).await;
    look_at(page, &format!("#/invitation?code={code}"), "Invitation", &[], &look).await;
    let asked = auth::BeginDeviceSignInRequest { client: "a notebook that says of itself quite a lot".to_owned(), ..Default::default() };
    let user_code = stage.accounts().begin_device_sign_in(asked).await.unwrap().into_inner().user_code;
    look_at(page, &format!("#/device?user_code={user_code}"), "Approve a device", &[], &look).await;
    // The secret of a second factor, and its recovery codes.
    look_at(page, "#/security", "Security", &[], &look).await;
    let (_, codes) =
        set_up(page, async |page| look(page, "Security, the secret").await, async |page| look(page, "Security, codes").await).await;
    look(page, "Security, with a second factor").await;
    for opens in ["Make new recovery codes", "Turn it off"] {
        open(page, opens).await;
        look(page, &format!("Security, {opens}")).await;
        close(page).await;
    }
    page.press("button", "Sign out").await;
    page.says("You are signed out.").await;
    page.try_to_sign_in(operator, PASSWORD).await;
    page.find("heading", "Your second factor").await;
    look(page, "guest, second factor").await;
    page.fill("textbox", "Code", &codes[0]).await;
    page.press("button", "Sign in").await;
    page.find("button", "Sign out").await;
}

/// The buttons of a view that open dialogs, by how they begin.
fn opening(title: &str) -> &'static [&'static str] {
    match title {
        "API keys" => &["Make a key", "Rotate", "Revoke"],
        "Ledger" => &["Receipt"],
        "Organizations" => &["Make an organization"],
        "Users" => &["Make a user", "Grant", "Disable", "Reset password", "Reset second factor"],
        "Security" => &["Sign out everywhere", "Set it up"],
        _ => &[],
    }
}

fn property<'a>(node: &'a Value, name: &str) -> Option<&'a Value> {
    node["properties"].as_array()?.iter().find(|property| property["name"] == name).map(|property| &property["value"]["value"])
}

/// The nodes in the order in which they are read out, and those of the content or of the dialog before it.
fn read_out<'a>(all: &'a Value, node: &'a Value, is_within: bool, nodes: &mut Vec<&'a Value>, within: &mut Vec<&'a Value>) {
    let is_within = is_within || matches!(node["role"]["value"].as_str(), Some("main" | "dialog"));
    if node["ignored"] != true {
        nodes.push(node);
        if is_within {
            within.push(node);
        }
    }
    for child in node["childIds"].as_array().into_iter().flatten() {
        if let Some(child) = all.as_array().unwrap().iter().find(|node| node["nodeId"] == *child) {
            read_out(all, child, is_within, nodes, within);
        }
    }
}

#[tokio::test]
async fn every_control_has_a_name_and_headings_come_in_order_for_screen_readers() {
    scene("every_control_has_a_name_and_headings_come_in_order_for_screen_readers", async |stage, page| {
        every_view(stage, page, "heard.operator", async |page, what| {
            let tree = page.browser.devtools("Accessibility.getFullAXTree", json!({})).await;
            let (mut nodes, mut within) = (Vec::new(), Vec::new());
            read_out(&tree["nodes"], &tree["nodes"][0], false, &mut nodes, &mut within);
            let text = |value: &Value| value["value"].as_str().unwrap_or_default().trim().to_owned();
            let nameless: Vec<_> =
                nodes.iter().filter(|node| CONTROLS.contains(&text(&node["role"]).as_str()) && text(&node["name"]).is_empty()).collect();
            assert!(nameless.is_empty(), "{what}: {nameless:#?}");
            let ids = "[...document.querySelectorAll('[id]')].map(one => one.id)";
            let twice = page.browser.evaluate(&format!("{ids}.filter((id, at, ids) => ids.indexOf(id) !== at)")).await;
            assert_eq!(twice, json!([]), "{what}: ids that stand twice");
            // Two of one name that do different things can't be told apart.
            let mut names: Vec<_> = nodes.iter().filter(|node| text(&node["role"]) == "button").map(|node| text(&node["name"])).collect();
            // Those of the browser's own field for days.
            names.retain(|name| !name.starts_with("Show date picker"));
            names.sort();
            let twice: Vec<_> = names.windows(2).filter(|two| two[0] == two[1]).map(|two| &two[0]).collect();
            assert!(twice.is_empty(), "{what}: buttons of one name: {twice:?}");
            let heading = |node: &&Value| property(node, "level").filter(|_| text(&node["role"]) == "heading").and_then(Value::as_i64);
            let levels: Vec<i64> = within.iter().filter_map(heading).collect();
            let is_dialog = nodes.iter().any(|node| text(&node["role"]) == "dialog");
            assert_eq!(levels.first(), Some(if is_dialog { &2 } else { &1 }), "{what}: {levels:?}");
            assert!(levels.windows(2).all(|two| two[1] <= two[0] + 1), "{what}: a level of headings is left out: {levels:?}");
            assert_eq!(levels.iter().filter(|level| **level == 1).count(), usize::from(!is_dialog), "{what}: {levels:?}");
            // What happens is told.
            let lives = nodes.iter().filter_map(|node| property(node, "live")).any(|live| live == "polite" || live == "assertive");
            assert!(lives, "{what} has no live region");
            assert!(!within.is_empty(), "{what} has no content that is marked so");
        })
        .await;
        assert_eq!(page.browser.evaluate("document.documentElement.lang").await, "en");
    })
    .await;
}

#[tokio::test]
async fn no_view_scrolls_sideways_on_a_phone_of_360_pixels() {
    is_as_wide_as("no_view_scrolls_sideways_on_a_phone_of_360_pixels", 360).await;
}

#[tokio::test]
async fn no_view_scrolls_sideways_in_the_narrowest_window_that_shows_tables() {
    is_as_wide_as("no_view_scrolls_sideways_in_the_narrowest_window_that_shows_tables", 1025).await;
}

async fn is_as_wide_as(test: &str, width: u32) {
    let operator = format!("operator.of.{width}");
    scene(test, async |stage, page| {
        let screen = json!({ "width": width, "height": 740, "deviceScaleFactor": 1, "mobile": false });
        page.browser.devtools("Emulation.setDeviceMetricsOverride", screen).await;
        every_view(stage, page, &operator, async |page, what| {
            let wide = "(() => {
              const { scrollWidth, clientWidth } = document.documentElement;
              const wide = scrollWidth > clientWidth ? [`the page: ${scrollWidth}`] : [];
              for (const element of document.querySelectorAll('body *')) {
                const { overflowX } = getComputedStyle(element);
                const scrolls = ['auto', 'scroll'].includes(overflowX) && element.scrollWidth > element.clientWidth + 1;
                if (scrolls) wide.push(element.outerHTML.slice(0, 200));
                const { right, width } = element.getBoundingClientRect();
                if (width > 1 && right > clientWidth + 1) wide.push(`${right}: ${element.outerHTML.slice(0, 200)}`);
              }
              return wide;
            })()";
            assert_eq!(page.browser.evaluate(wide).await, json!([]), "{what}");
        })
        .await;
    })
    .await;
}

/// The texts whose contrast with what is behind them is below what WCAG's AA asks for.
const FAINT: &str = "(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const parse = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((value, index) => value * a + below[index] * (1 - a));
  const luminance = (color) => {
    const [r, g, b] = color.map((value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    if (!element) return parse(getComputedStyle(document.documentElement).colorScheme.includes('dark') &&
      matchMedia('(prefers-color-scheme: dark)').matches ? '#121212' : '#ffffff').slice(0, 3);
    return over(parse(getComputedStyle(element).backgroundColor), ground(element.parentElement));
  };
  const faint = [];
  const look = (element, text, color) => {
    const { fontSize, fontWeight } = getComputedStyle(element);
    const below = ground(element);
    const [light, dark] = [luminance(over(parse(color), below)), luminance(below)].sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    const isLarge = parseFloat(fontSize) >= 24 || (parseFloat(fontSize) >= 18.66 && fontWeight >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) faint.push(`${ratio.toFixed(2)}: ${text}`);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let looked = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.data.trim();
    if (!text || element.closest('title, option, noscript, [aria-disabled=true]') || !element.checkVisibility()) continue;
    if (document.querySelector('dialog[open]') && !element.closest('dialog')) continue;
    const style = getComputedStyle(element);
    look(element, text, element.closest('svg') ? style.fill : style.color);
    looked++;
  }
  for (const field of document.querySelectorAll('input, select, textarea')) {
    if (field.checkVisibility()) look(field, field.name, getComputedStyle(field).color);
  }
  return looked ? faint : ['no text'];
})()";

async fn is_legible(test: &str, scheme: &str) {
    let operator = format!("{scheme}.operator");
    scene(test, async |stage, page| {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        page.browser.devtools("Emulation.setEmulatedMedia", features).await;
        let ground = "getComputedStyle(document.body).backgroundColor";
        let ground = page.browser.evaluate(ground).await.as_str().unwrap().to_owned();
        let first: u32 = ground.split(['(', ',']).nth(1).unwrap().trim().parse().unwrap();
        assert_eq!(first < 128, scheme == "dark", "{ground}");
        every_view(stage, page, &operator, async |page, what| assert_eq!(page.browser.evaluate(FAINT).await, json!([]), "{what}")).await;
    })
    .await;
}

#[tokio::test]
async fn all_text_has_contrast_in_light() {
    is_legible("all_text_has_contrast_in_light", "light").await;
}

#[tokio::test]
async fn all_text_has_contrast_in_dark() {
    is_legible("all_text_has_contrast_in_dark", "dark").await;
}

#[tokio::test]
async fn what_moves_moves_less_for_whoever_asked_for_that() {
    scene("what_moves_moves_less_for_whoever_asked_for_that", async |_, page| {
        let moves = "(() => {
          const button = document.querySelector('button');
          button.classList.add('busy');
          const { animationName, animationDuration } = getComputedStyle(button, '::after');
          button.classList.remove('busy');
          const all = [...document.querySelectorAll('*')].map((element) => getComputedStyle(element));
          const own = all.filter((style) => style.animationName !== 'none' || parseFloat(style.transitionDuration) > 0).length;
          return [animationName === 'none' ? 0 : 1 / parseFloat(animationDuration), own];
        })()";
        page.find("button", "Sign in").await;
        let before: [f64; 2] = serde_json::from_value(page.browser.evaluate(moves).await).unwrap();
        let features = json!({ "features": [{ "name": "prefers-reduced-motion", "value": "reduce" }] });
        page.browser.devtools("Emulation.setEmulatedMedia", features).await;
        let after: [f64; 2] = serde_json::from_value(page.browser.evaluate(moves).await).unwrap();
        assert!(after[0] < before[0] / 3.0 && after[1] == 0.0, "{before:?} {after:?}");
    })
    .await;
}

//! The page as a person has it: controls are found by their role and their name, as a screen reader says them, and never by markup.

use std::sync::Mutex;
use std::time::Duration;

pub(crate) use integration::polling::SOON;
use integration::polling::until;
use integration::stack::PASSWORD;
use serde_json::{Value, json};

use crate::chromedriver::Browser;
use crate::stage::Stage;

/// Something on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node(i64);

/// Where the middle of a control is, once it can be pressed there.
const MIDDLE: &str = "function() {
  this.scrollIntoView({ block: 'center', inline: 'center', behavior: 'instant' });
  const box = this.getBoundingClientRect();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const there = document.elementFromPoint(x, y);
  const enabled = !this.matches(':disabled') && this.ariaDisabled !== 'true';
  return enabled && there && (this.contains(there) || [...(this.labels ?? [])].some(label => label.contains(there))) ? { x, y } : null;
}";

/// A page in a browser of its own.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) browser: Browser,
    origin: String,
}

impl Page {
    /// A browser that has loaded the account page.
    pub(crate) async fn open(browser: Browser, origin: &str) -> Self {
        let page = Self { browser, origin: origin.to_owned() };
        page.load().await;
        page
    }

    /// The page in a browser with a profile of its own.
    pub(crate) async fn elsewhere(&self) -> Self {
        Self::open(self.browser.another().await, &self.origin).await
    }

    /// Loads the page from its address.
    pub(crate) async fn load(&self) {
        self.browser.go(&format!("{}/", self.origin)).await;
    }

    /// What is there with this role and name now; in `scope`, or anywhere.
    pub(crate) async fn all_in(&self, scope: Option<Node>, role: &str, name: Option<&str>) -> Vec<Node> {
        let Some(found) = self.query(scope, role, name).await else { return Vec::new() };
        let seen = |node: &&Value| node["ignored"] != true && node["role"]["value"] == role;
        found["nodes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(seen)
            .filter_map(|node| node["backendDOMNodeId"].as_i64().map(Node))
            .collect()
    }

    /// `None` while the page changes beneath the question.
    async fn query(&self, scope: Option<Node>, role: &str, name: Option<&str>) -> Option<Value> {
        let mut asked = json!({ "role": role });
        match scope {
            Some(Node(id)) => asked["backendNodeId"] = id.into(),
            None => {
                let document = self.browser.try_devtools("DOM.getDocument", json!({ "depth": 0 })).await.ok()?;
                asked["nodeId"] = document["root"]["nodeId"].clone();
            }
        }
        if let Some(name) = name {
            asked["accessibleName"] = name.into();
        }
        self.browser.try_devtools("Accessibility.queryAXTree", asked).await.ok()
    }

    /// The same, anywhere.
    pub(crate) async fn all(&self, role: &str, name: &str) -> Vec<Node> {
        self.all_in(None, role, Some(name)).await
    }

    /// Waits for it.
    pub(crate) async fn find(&self, role: &str, name: &str) -> Node {
        until(&format!("the {role} {name:?}"), SOON, || async { self.all(role, name).await.first().copied() }).await
    }

    /// Waits for it within something.
    pub(crate) async fn find_in(&self, scope: Node, role: &str, name: &str) -> Node {
        let what = format!("the {role} {name:?} there");
        until(&what, SOON, || async { self.all_in(Some(scope), role, Some(name)).await.first().copied() }).await
    }

    /// Waits until there is no such thing.
    pub(crate) async fn gone(&self, role: &str, name: &str) {
        until(&format!("no {role} {name:?}"), SOON, || async { self.all(role, name).await.is_empty().then_some(()) }).await;
    }

    /// The row, list item or the like in which this text is.
    pub(crate) async fn part_with(&self, role: &str, text: &str) -> Node {
        let what = format!("a {role} with {text:?}");
        until(&what, SOON, || async {
            for node in self.all_in(None, role, None).await {
                if self.try_call(node, "function() { return this.innerText }").await.ok()?.as_str()?.contains(text) {
                    return Some(node);
                }
            }
            None
        })
        .await
    }

    /// What a function makes of a node, which is its `this`.
    pub(crate) async fn call(&self, node: Node, function: &str) -> Value {
        self.try_call(node, function).await.unwrap_or_else(|error| panic!("{function}: {error}"))
    }

    async fn try_call(&self, Node(id): Node, function: &str) -> Result<Value, String> {
        let node = self.browser.try_devtools("DOM.resolveNode", json!({ "backendNodeId": id })).await?;
        let asked = json!({ "objectId": node["object"]["objectId"], "functionDeclaration": function, "awaitPromise": true,
            "returnByValue": true });
        let mut answer = self.browser.try_devtools("Runtime.callFunctionOn", asked).await?;
        if answer.get("exceptionDetails").is_some() { Err(answer.to_string()) } else { Ok(answer["result"]["value"].take()) }
    }

    /// Its text, as it is seen.
    pub(crate) async fn text_of(&self, node: Node) -> String {
        self.call(node, "function() { return this.innerText ?? this.textContent }").await.as_str().unwrap_or_default().to_owned()
    }

    /// All text of the page, as it is seen.
    pub(crate) async fn text(&self) -> String {
        self.browser.evaluate("document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page says this.
    pub(crate) async fn says(&self, text: &str) {
        let started = std::time::Instant::now();
        loop {
            // While the browser goes to another address there is nothing to read.
            let said = self.browser.try_evaluate("document.body.innerText").await.ok();
            let said = said.as_ref().and_then(Value::as_str).unwrap_or_default();
            if said.contains(text) {
                return;
            }
            assert!(started.elapsed() < SOON, "waited for {text:?} on the page, which says:\n{said}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Presses a thing with the mouse, once it can be.
    pub(crate) async fn press_node(&self, node: Node) {
        self.press_found("it can be pressed", || async { Some(node) }).await;
    }

    /// Presses what is found with the mouse, once it can be and stands still; what it was. The page may draw it anew meanwhile: it is
    /// found anew too.
    async fn press_found(&self, what: &str, find: impl AsyncFn() -> Option<Node>) -> Node {
        let last = Mutex::new(Value::Null);
        let (node, middle) = until(what, SOON, || async {
            let node = find().await?;
            let middle = self.try_call(node, MIDDLE).await.ok()?;
            let is_still = std::mem::replace(&mut *last.lock().unwrap(), middle.clone()) == middle;
            middle.as_object().filter(|_| is_still).map(|middle| (node, middle.clone()))
        })
        .await;
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": middle["x"], "y": middle["y"], "button": "left", "clickCount": 1 });
            self.browser.devtools("Input.dispatchMouseEvent", event).await;
        }
        node
    }

    /// Waits for a control, and presses it with the mouse.
    pub(crate) async fn press(&self, role: &str, name: &str) {
        self.press_named(role, name).await;
    }

    async fn press_named(&self, role: &str, name: &str) -> Node {
        let find = || async { self.all(role, name).await.first().copied() };
        self.press_found(&format!("the {role} {name:?} to be pressed"), find).await
    }

    /// Presses a control in something.
    pub(crate) async fn press_in(&self, scope: Node, role: &str, name: &str) {
        let find = || async { self.all_in(Some(scope), role, Some(name)).await.first().copied() };
        self.press_found(&format!("the {role} {name:?} there to be pressed"), find).await;
    }

    /// Writes into a text field in place of what is there.
    pub(crate) async fn fill(&self, role: &str, name: &str, text: &str) {
        let node = self.press_named(role, name).await;
        self.write_over(node, text).await;
    }

    /// The same where the field is known.
    pub(crate) async fn fill_node(&self, node: Node, text: &str) {
        self.press_node(node).await;
        self.write_over(node, text).await;
    }

    async fn write_over(&self, node: Node, text: &str) {
        self.call(node, "function() { this.select() }").await;
        self.browser.devtools("Input.insertText", json!({ "text": text })).await;
    }

    /// Chooses an option of a list by its text.
    pub(crate) async fn choose(&self, name: &str, option: &str) {
        let node = self.find("combobox", name).await;
        let option = Value::from(option);
        let choose = format!(
            "function() {{
              this.value = [...this.options].find(({{ text }}) => text === {option}).value;
              for (const kind of ['input', 'change']) this.dispatchEvent(new Event(kind, {{ bubbles: true }}));
            }}"
        );
        self.call(node, &choose).await;
    }

    /// Signs in through the page, and waits until it shows so.
    pub(crate) async fn sign_in(&self, name: &str) {
        self.try_to_sign_in(name, PASSWORD).await;
        self.find("button", "Sign out").await;
    }

    /// Fills the form in, and sends it.
    pub(crate) async fn try_to_sign_in(&self, name: &str, password: &str) {
        self.fill("textbox", "User name", name).await;
        self.fill("textbox", "Password", password).await;
        self.press("button", "Sign in").await;
    }

    /// Goes to a view by its link, and waits until all of it is loaded.
    pub(crate) async fn view(&self, title: &str) {
        self.press("link", title).await;
        self.find("heading", title).await;
        self.loaded().await;
    }

    /// Waits until nothing is being loaded.
    pub(crate) async fn loaded(&self) {
        until("all to be loaded", SOON, || async {
            let busy = self.browser.try_evaluate("document.querySelectorAll('main [aria-busy=true]').length").await.ok()?;
            (busy == 0).then_some(())
        })
        .await;
    }

    /// The text of the element that has this id, seen or not.
    pub(crate) async fn text_at(&self, id: &str) -> String {
        let text = format!("document.getElementById({})?.textContent ?? null", Value::from(id));
        until(&format!("#{id}"), SOON, || async { self.browser.try_evaluate(&text).await.ok()?.as_str().map(str::to_owned) }).await
    }

    /// Waits until an alert says something, and gives what.
    pub(crate) async fn alert(&self) -> String {
        until("an alert", SOON, || async {
            for node in self.all_in(None, "alert", None).await {
                let text = self.try_call(node, "function() { return this.innerText }").await.ok()?;
                if let Some(text) = text.as_str().filter(|text| !text.is_empty()) {
                    return Some(text.to_owned());
                }
            }
            None
        })
        .await
    }

    /// Nothing went wrong that only the console says: no policy was violated, no error was left uncaught. Refused requests are told on
    /// the page, and the browser notes them too.
    pub(crate) async fn is_clean(&self) {
        let lines = self.browser.console().await;
        let wrong: Vec<_> = lines.iter().filter(|line| line.source != "network" && line.level != "DEBUG").collect();
        assert!(wrong.is_empty(), "the console has: {wrong:#?}");
    }

    /// Ends it, once it is clean in every tab.
    pub(crate) async fn close(self) {
        for tab in self.browser.tabs().await {
            self.browser.look_at(&tab).await;
            self.is_clean().await;
        }
        self.browser.close().await;
    }
}

/// A number as the page writes it.
pub(crate) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap()).collect();
    format!("{}{}", if number < 0 { "−" } else { "" }, groups.join(","))
}

/// Runs a scene in a browser that has loaded the page of the services that all share, and looks at the console afterwards; it is skipped
/// where there is no browser.
pub(crate) async fn scene(test: &str, scene: impl AsyncFnOnce(&Stage, &Page)) {
    let Some((stage, browser)) = Stage::shared(test).await else { return };
    let page = Page::open(browser, &stage.origin()).await;
    scene(&stage, &page).await;
    page.close().await;
}

/// The same in front of services of its own, with these variables more.
pub(crate) async fn scene_with(test: &str, more: &[(&str, &str)], scene: impl AsyncFnOnce(&mut Stage, &Page)) {
    let Some((mut stage, browser)) = Stage::own(test, more).await else { return };
    let page = Page::open(browser, &stage.origin()).await;
    scene(&mut stage, &page).await;
    page.close().await;
}

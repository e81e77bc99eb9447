//! What a page of another origin can do: nothing. One is of another site, and one of the same site and another port, to which browsers send
//! SameSite cookies.

use std::net::SocketAddr;

use integration::process_pair::bearer;
use integration::stack::PASSWORD;
use serde_json::{Value, json};
use shared::proto::auth;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::chromedriver::ConsoleLine;
use crate::cookie::cookie;
use crate::page::{Page, scene_with};
use crate::stage::{Person, Stage};

/// A server of somebody else, which answers everything with an empty page, and keeps the heads of what it is asked.
pub(crate) struct OtherServer {
    pub(crate) address: SocketAddr,
    requests: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl OtherServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), std::sync::Arc::default());
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, std::sync::Arc::clone(&requests)));
        Self { address, requests, _serving: serving }
    }

    /// Its origins: of the page's site, and of another one.
    pub(crate) fn origins(&self) -> [String; 2] {
        ["127.0.0.1", "localhost"].map(|host| format!("http://{host}:{}", self.address.port()))
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(listener: TcpListener, requests: std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    let mut connections = JoinSet::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let requests = std::sync::Arc::clone(&requests);
        connections.spawn(async move {
            let (mut head, mut byte) = (Vec::new(), [0; 1024]);
            while !head.windows(4).any(|four| four == b"\r\n\r\n") {
                match stream.read(&mut byte).await {
                    Ok(read @ 1..) => head.extend_from_slice(&byte[..read]),
                    _ => return,
                }
            }
            requests.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
            let answer = "<!doctype html><title>other</title><p>other";
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\naccess-control-allow-origin: *\r\nconnection: close\r\n";
            let _ = stream.write_all(format!("{head}content-length: {}\r\n\r\n{answer}", answer.len()).as_bytes()).await;
        });
    }
}

/// How many sessions somebody has.
async fn sessions(stage: &Stage, person: &Person) -> usize {
    let asked = bearer(&person.token, auth::ListSessionsRequest::default());
    stage.accounts().list_sessions(asked).await.unwrap().into_inner().sessions.len()
}

/// A scene with a server of somebody else, whose origins auth-service lets read its JSON doors.
async fn beside_other_server(test: &str, scene: impl AsyncFnOnce(&Stage, &Page, &OtherServer)) {
    let other = OtherServer::start().await;
    let origins = other.origins().join(",");
    let settings = [("TOLLGATE_CORS_ORIGINS", origins.as_str())];
    scene_with(test, &settings, async |stage, page| {
        scene(stage, page, &other).await;
        // What was refused there is in the console.
        page.browser.console().await;
        page.load().await;
    })
    .await;
}

/// Ways to send this body there from a script: each as far as the browser lets it.
fn ways_to_send(method: &str, url: &str, body: &str) -> String {
    let [method, url, body] = [method, url, body].map(Value::from);
    format!(
        "(async () => {{
          const said = [];
          for (const mode of ['cors', 'no-cors']) {{
            for (const type of ['application/json', 'text/plain', 'text/plain;application/json', 'application/x-www-form-urlencoded']) {{
              try {{
                const body = {body} === '' ? undefined : {body};
                const headers = {{ 'content-type': type }};
                const answer = await fetch({url}, {{ method: {method}, mode, credentials: 'include', headers, body }});
                said.push([mode, type, answer.type, answer.status, await answer.text()]);
              }} catch (error) {{ said.push([mode, type, 'refused']) }}
            }}
          }}
          navigator.sendBeacon({url}, new Blob([{body}], {{ type: 'text/plain' }}));
          const frame = document.createElement('iframe');
          frame.name = `answer-${{document.querySelectorAll('iframe').length}}`;
          document.body.append(frame);
          const form = document.createElement('form');
          Object.assign(form, {{ action: {url}, method: 'POST', enctype: 'text/plain', target: frame.name }});
          const field = document.createElement('input');
          const cut = {body}.lastIndexOf('\"}}');
          Object.assign(field, {{ name: {body}.slice(0, cut), value: {body}.slice(cut) }});
          form.append(field);
          document.body.append(form);
          await new Promise((resolve) => {{ frame.addEventListener('load', resolve); form.submit(); }});
          return said;
        }})()"
    )
}

/// Nothing of it was read: no answer is more than opaque, or than a refusal.
fn assert_nothing_read(said: &Value) {
    for attempt in said.as_array().unwrap() {
        let attempt = attempt.as_array().unwrap();
        assert!(attempt[2] == "refused" || (attempt[2] == "opaque" && attempt[4] == ""), "{attempt:?}");
    }
}

#[tokio::test]
async fn another_origin_cannot_sign_a_browser_in() {
    beside_other_server("another_origin_cannot_sign_a_browser_in", async |stage, page, other| {
        let mallory = stage.person("mallory").await;
        let before = sessions(stage, &mallory).await;
        let body = json!({ "user_name": "mallory", "password": PASSWORD }).to_string();
        for origin in other.origins() {
            page.browser.go(&origin).await;
            let said = page.browser.evaluate(&ways_to_send("POST", &format!("{}/account/session", stage.origin()), &body)).await;
            assert_nothing_read(&said);
            assert_eq!(cookie(stage, page).await, None, "{origin} has signed it in");
            assert_eq!(sessions(stage, &mallory).await, before, "{origin} has begun a session");
        }
        page.load().await;
        page.find("button", "Sign in").await;
    })
    .await;
}

#[tokio::test]
async fn another_origin_can_neither_refresh_nor_end_nor_read_a_session() {
    beside_other_server("another_origin_can_neither_refresh_nor_end_nor_read_a_session", async |stage, page, other| {
        let victim = stage.person("victim").await;
        page.sign_in("victim").await;
        let (kept, before) = (cookie(stage, page).await.unwrap()["value"].clone(), sessions(stage, &victim).await);
        for origin in other.origins() {
            page.browser.go(&origin).await;
            for (method, path) in [("POST", "/account/session/refresh"), ("DELETE", "/account/session")] {
                let said = page.browser.evaluate(&ways_to_send(method, &format!("{}{path}", stage.origin()), "")).await;
                assert_nothing_read(&said);
            }
            for path in ["/account-page/settings", "/", "/account-page/main.js", "/account/session"] {
                let read = format!(
                    "fetch({}, {{ credentials: 'include' }}).then(() => 'read', () => 'refused')",
                    Value::from(format!("{}{path}", stage.origin()))
                );
                assert_eq!(page.browser.evaluate(&read).await, "refused", "{origin} has read {path}");
            }
            assert_eq!(cookie(stage, page).await.unwrap()["value"], kept, "{origin} has refreshed it");
            assert_eq!(sessions(stage, &victim).await, before);
        }
        page.load().await;
        page.find("button", "Sign out").await;
    })
    .await;
}

#[tokio::test]
async fn another_origin_can_neither_frame_the_page_nor_hold_its_window_nor_load_its_files() {
    let test = "another_origin_can_neither_frame_the_page_nor_hold_its_window_nor_load_its_files";
    beside_other_server(test, async |stage, page, other| {
        let at = Value::from(format!("{}/", stage.origin()));
        let frames = format!(
            "new Promise((resolve) => {{
              const frame = document.createElement('iframe');
              Object.assign(frame, {{ src: {at}, onload: resolve, onerror: resolve }});
              document.body.append(frame);
            }})"
        );
        let loads = format!(
            "new Promise((resolve) => {{
              const picture = new Image();
              picture.src = {at} + 'account-page/icon.svg';
              Object.assign(picture, {{ onload: () => resolve('loads'), onerror: () => resolve('refused') }});
            }})"
        );
        let opens = format!(
            "new Promise((resolve) => {{
              const opened = open({at});
              const look = () => opened.closed ? resolve('severed') : setTimeout(look, 5);
              look();
              setTimeout(() => resolve('held'), 10_000);
            }})"
        );
        for origin in other.origins() {
            page.browser.go(&origin).await;
            page.browser.evaluate(&frames).await;
            let said = page.browser.console().await;
            let is_refused = |line: &ConsoleLine| line.source == "security" && line.message.contains("frame-ancestors 'none'");
            assert!(said.iter().any(is_refused), "{origin} has framed it: {said:#?}");
            // A resource policy of the same origin holds for both.
            assert_eq!(page.browser.evaluate(&loads).await, "refused", "{origin}");
            let asked = json!({ "expression": opens, "userGesture": true, "awaitPromise": true, "returnByValue": true });
            let window = page.browser.devtools("Runtime.evaluate", asked).await;
            assert_eq!(window["result"]["value"], "severed", "{origin}: {window}");
        }
    })
    .await;
}

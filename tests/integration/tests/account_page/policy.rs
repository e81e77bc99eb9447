//! The content security policy: what an attacker who got markup into the page could do with it. And that the tests see a violation.

use serde_json::{Value, json};

use crate::other_origin::OtherServer;
use crate::page::scene;

#[tokio::test]
async fn markup_that_got_into_the_page_runs_nothing_and_sends_nothing_elsewhere() {
    let other = OtherServer::start().await;
    scene("markup_that_got_into_the_page_runs_nothing_and_sends_nothing_elsewhere", async |stage, page| {
        stage.person("is.attacked").await;
        page.sign_in("is.attacked").await;
        page.is_clean().await;
        let there = &other.origins()[0];
        let markup = format!(
            "<div id=got-in><script>window.ran = 'inline'</script><script src='{there}/x.js'></script>\
             <img src=/nowhere onerror=\"window.ran = 'onerror'\"><img src='{there}/seen.png'>\
             <a id=link href=\"javascript:window.ran = 'link'\">link</a>\
             <button id=pressed onclick=\"window.ran = 'onclick'\">press</button>\
             <form id=form action='{there}/form'><input name=secret value=1></form><link rel=stylesheet href='{there}/x.css'>\
             <iframe srcdoc=\"<script>parent.ran = 'srcdoc'</script>\"></iframe><iframe src='{there}/frame'></iframe>\
             <object data='{there}/object'></object><base href='{there}/'>\
             <style>body {{ background: url('{there}/style.png') }}</style></div>"
        );
        // As a debugger puts it there: the page itself has no way to.
        let document = page.browser.devtools("DOM.getDocument", json!({ "depth": 0 })).await;
        let found = json!({ "nodeId": document["root"]["nodeId"], "selector": "#said" });
        let node = page.browser.devtools("DOM.querySelector", found).await;
        page.browser.devtools("DOM.setOuterHTML", json!({ "nodeId": node["nodeId"], "outerHTML": markup })).await;
        let attempts = "(async () => {
          for (const id of ['link', 'pressed']) document.getElementById(id).click();
          try { document.getElementById('form').submit() } catch {}
          const thrown = [];
          const attempts = {
            eval: () => (0, eval)('window.ran = \"eval\"'),
            Function: () => new Function('window.ran = \"Function\"')(),
            setTimeout: () => setTimeout('window.ran = \"setTimeout\"'),
            innerHTML: () => { document.createElement('div').innerHTML = '<b>bold</b>' },
            script: () => { document.createElement('script').src = THERE + '/y.js' },
            attribute: () => document.createElement('img').setAttribute('onerror', 'window.ran = \"attribute\"'),
          };
          for (const [name, attempt] of Object.entries(attempts)) {
            try { attempt() } catch (error) { thrown.push(name) }
          }
          for (const send of [() => fetch(THERE + '/fetched'), () => new Promise((resolve, reject) => {
            const socket = new WebSocket(THERE.replace('http', 'ws'));
            Object.assign(socket, { onopen: resolve, onerror: reject });
          })]) {
            await send().then(() => thrown.push('it was sent'), () => {});
          }
          return thrown;
        })()";
        let thrown = page.browser.evaluate(&attempts.replace("THERE", &Value::from(there.as_str()).to_string())).await;
        assert_eq!(thrown, json!(["eval", "Function", "setTimeout", "innerHTML", "script", "attribute"]));
        assert_eq!(page.browser.evaluate("window.ran ?? null").await, Value::Null);
        assert_eq!(other.requests(), Vec::<String>::new());
        let said = page.browser.console().await;
        let of_policy = said.iter().filter(|line| line.message.contains("Content Security Policy")).count();
        assert!(of_policy > 5, "the tests would not see a violation: {said:#?}");
    })
    .await;
}

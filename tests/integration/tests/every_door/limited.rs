//! API keys that are good from some networks, or for some operations: the same at every door, for short requests and for long ones, whose
//! caller is asked about before they are read.

use integration::hostile_http1::{HostileHttp1, Response};
use integration::scripted_upstream::{Script, ScriptedUpstream};
use integration::stack::{Plan, Stack};
use serde_json::{Value, json};
use shared::credential_form::to_bearer;
use shared::proto::auth;

use crate::metered_door::DOORS;

/// Something that a key may be used for: the scope that it takes, and a request.
struct Use {
    scope: &'static str,
    method: &'static str,
    path: &'static str,
    body: Option<Value>,
}

/// At every door.
fn uses() -> Vec<Use> {
    let metered = DOORS.iter().map(|door| {
        let scope = if door.upstream == "/api/generate" { "generate" } else { "chat" };
        Use { scope, method: "POST", path: door.path, body: Some((door.body)(false)) }
    });
    let post = |scope, path, body| Use { scope, method: "POST", path, body: Some(body) };
    let get = |path| Use { scope: "list_models", method: "GET", path, body: None };
    let others = [
        post("embed", "/v1/embeddings", json!({ "model": "smollm2", "input": "count" })),
        post("embed", "/api/embed", json!({ "model": "smollm2", "input": "count" })),
        post("embed", "/api/embeddings", json!({ "model": "smollm2", "prompt": "count" })),
        get("/v1/models"),
        get("/api/tags"),
        post(
            "chat",
            "/tollgate.inference.v1.Inference/Chat",
            json!({ "model": "smollm2", "messages": [{ "role": "user", "content": "count" }] }),
        ),
        post("list_models", "/tollgate.inference.v1.Inference/ListModels", json!({})),
    ];
    metered.chain(others).collect()
}

/// The use of a key from an address, with so many more characters in its text.
async fn call(stack: &Stack, key: &str, used: &Use, address: &str, more: usize) -> Response {
    let text = "count ".repeat(more / 6 + 1);
    let body = used.body.as_ref().map(|body| body.to_string().replace("count", text.trim())).unwrap_or_default();
    let body = if is_stream(used) {
        [&[0][..], &u32::try_from(body.len()).unwrap().to_be_bytes(), body.as_bytes()].concat()
    } else {
        body.into_bytes()
    };
    let bearer = to_bearer(key);
    let content_type = if is_stream(used) { "application/connect+json" } else { "application/json" };
    let headers = [("authorization", bearer.as_str()), ("x-forwarded-for", address), ("content-type", content_type)];
    HostileHttp1::connect(stack.inferences[0].address()).await.call(used.method, used.path, &headers, &body).await
}

/// A stream over Connect has a type and a framing of its own.
fn is_stream(used: &Use) -> bool {
    used.path.ends_with("Inference/Chat")
}

/// Whether a call was kept out for this reason.
fn is_kept_out(used: &Use, answer: &Response, reason: &str, words: &str) -> bool {
    // A stream over Connect tells its error in its end.
    let is_refused = answer.status == 403 || is_stream(used);
    is_refused && (answer.text().contains(reason) || answer.text().contains(words) || answer.header("x-tollgate-reason") == reason)
}

async fn scene() -> (ScriptedUpstream, Stack) {
    let upstream = ScriptedUpstream::start().await;
    for door in &DOORS {
        upstream.script(door.upstream, door.answer(&["one"]));
    }
    upstream.script("/api/embed", Script::embeddings("smollm2", 1));
    let plan = Plan::with_upstream(&upstream.url()).set("TOLLGATE_TRUSTED_PROXIES", "127.0.0.1").set("TOLLGATE_SIGNUP", "open");
    let stack = plan.set("TOLLGATE_STARTING_CREDITS", "1000").start().await;
    (upstream, stack)
}

async fn key(stack: &Stack, token: &str, request: auth::CreateApiKeyRequest) -> String {
    stack.accounts(token).create_api_key(request).await.unwrap().into_inner().key
}

#[tokio::test]
async fn a_key_with_networks_is_good_from_within_them_alone_at_every_door() {
    let (_upstream, stack) = scene().await;
    let user = stack.user("ada").await;
    let networks = ["192.0.2.0/24", "2001:db8::/32"].map(str::to_owned).to_vec();
    let key = key(&stack, &user.token, auth::CreateApiKeyRequest { networks, ..Default::default() }).await;
    for used in uses() {
        for more in [0, 100_000] {
            for outside in ["198.51.100.7", "192.0.2.7, 198.51.100.7", "2001:db9::7"] {
                let answer = call(&stack, &key, &used, outside, more).await;
                let kept_out = is_kept_out(&used, &answer, "NETWORK_NOT_ALLOWED", "may not be used from this address");
                assert!(kept_out, "{} {outside} {more}: {} {}", used.path, answer.status, answer.text());
            }
            for inside in ["192.0.2.7", "::ffff:192.0.2.7", "198.51.100.7, 2001:db8::7"] {
                let answer = call(&stack, &key, &used, inside, more).await;
                let kept_out = is_kept_out(&used, &answer, "NETWORK_NOT_ALLOWED", "may not be used from this address");
                assert!(!kept_out && answer.status != 403, "{} {inside} {more}: {} {}", used.path, answer.status, answer.text());
            }
        }
    }
    assert!(stack.balance(&user.key).await.spent_credits() > 0);
}

#[tokio::test]
async fn a_key_is_good_for_the_operations_of_its_scopes_at_every_door() {
    let (_upstream, stack) = scene().await;
    let user = stack.user("ada").await;
    for scope in ["chat", "generate", "embed", "list_models", "account"] {
        let key = key(&stack, &user.token, auth::CreateApiKeyRequest { scopes: vec![scope.to_owned()], ..Default::default() }).await;
        for used in uses() {
            for more in [0, 100_000] {
                let answer = call(&stack, &key, &used, "192.0.2.7", more).await;
                let kept_out = is_kept_out(&used, &answer, "SCOPE_REQUIRED", "scopes of the API key");
                assert_eq!(kept_out, used.scope != scope, "{scope}: {} {more}: {} {}", used.path, answer.status, answer.text());
            }
        }
    }
}

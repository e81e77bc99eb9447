//! A stack in front of a scripted upstream, and who calls OpenAI's API on it.

use std::net::SocketAddr;

use integration::http_client::{HttpAnswer, HttpCall};
use integration::scripted_upstream::ScriptedUpstream;
use integration::stack::{Plan, Stack, TestUser};
use serde_json::{Value, json};

pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const COMPLETIONS: &str = "/v1/completions";

/// A stack in front of a scripted upstream, and who calls it.
pub(crate) struct Scene {
    pub(crate) upstream: ScriptedUpstream,
    pub(crate) stack: Stack,
    pub(crate) user: TestUser,
}

impl Scene {
    pub(crate) async fn start() -> Self {
        Self::start_with(|plan| plan).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(Plan<'static>) -> Plan<'static>) -> Self {
        let upstream = ScriptedUpstream::start().await;
        upstream.model("withtools", &["completion", "tools"], 8192);
        upstream.model("thinks", &["completion", "thinking"], 8192);
        upstream.model("sees", &["completion", "vision"], 8192);
        upstream.model("fills", &["completion", "insert"], 8192);
        let stack = change(Plan::with_upstream(&upstream.url())).start().await;
        let user = stack.user("ada").await;
        Self { upstream, stack, user }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.stack.inferences[0].address()
    }

    /// A call with the user's key.
    pub(crate) fn post(&self, path: &str, body: &Value) -> HttpCall {
        HttpCall::post(self.address(), path, body).bearer(&self.user.key)
    }

    pub(crate) async fn chat(&self, fields: Value) -> HttpAnswer {
        self.post(CHAT, &chat(fields)).send().await
    }

    /// Credits that are available, held and spent.
    pub(crate) async fn credits(&self) -> (i64, i64, i64) {
        let balance = self.stack.snapshot(&self.user).await.balance;
        (balance.available, balance.held, balance.spent)
    }
}

/// A conversation of one message with smollm2, with these fields besides or in their place.
pub(crate) fn chat(fields: Value) -> Value {
    with(json!({ "model": "smollm2", "messages": [{ "role": "user", "content": "hi" }] }), fields)
}

pub(crate) fn with(mut body: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// A stream's chunks; its last event must be `[DONE]`.
pub(crate) async fn chunks(answer: &mut HttpAnswer) -> Vec<Value> {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream")));
    let mut data = answer.data().await;
    assert_eq!(data.pop().as_deref(), Some("[DONE]"));
    data.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

/// The text of a stream's chunks.
pub(crate) fn text(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta/content")?.as_str()).collect()
}

/// An error's status, type, code and field.
pub(crate) async fn error(answer: &mut HttpAnswer) -> (u16, String, String, Value) {
    let body = answer.json().await;
    let said = |name: &str| body["error"][name].as_str().unwrap_or_else(|| panic!("no {name}: {body}")).to_owned();
    assert!(!said("message").is_empty());
    (answer.status, said("type"), said("code"), body["error"]["param"].clone())
}

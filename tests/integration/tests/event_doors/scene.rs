//! The two doors, a stack in front of a scripted upstream, and who calls it.

use std::net::SocketAddr;

use integration::http_client::{HttpAnswer, HttpCall};
use integration::scripted_upstream::ScriptedUpstream;
use integration::stack::{Plan, Stack, TestUser};
use serde_json::{Value, json};

pub(crate) const MESSAGES: &str = "/v1/messages";
pub(crate) const RESPONSES: &str = "/v1/responses";

/// Both doors: what holds of one holds of the other.
pub(crate) const DOORS: [Door; 2] = [Door { path: MESSAGES, plain: plain_message }, Door { path: RESPONSES, plain: plain_response }];

/// A door, and a request that it takes.
#[derive(Clone, Copy)]
pub(crate) struct Door {
    pub(crate) path: &'static str,
    pub(crate) plain: fn() -> Value,
}

impl Door {
    /// The plain request with these fields besides or in their place.
    pub(crate) fn request(&self, fields: Value) -> Value {
        with((self.plain)(), fields)
    }
}

pub(crate) fn plain_message() -> Value {
    json!({ "model": "smollm2", "max_tokens": 64, "messages": [{ "role": "user", "content": "hi" }] })
}

pub(crate) fn plain_response() -> Value {
    json!({ "model": "smollm2", "max_output_tokens": 64, "input": "hi" })
}

pub(crate) fn with(mut body: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

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
        let stack = change(Plan::with_upstream(&upstream.url())).start().await;
        let user = stack.user("ada").await;
        Self { upstream, stack, user }
    }

    /// Ten credits a call and one each token: a charge tells how many were read.
    pub(crate) async fn priced() -> Self {
        Self::start_with(|plan| plan.set("TOLLGATE_PRICES", "*=10/0/1000").set("TOLLGATE_STARTING_CREDITS", "1000")).await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.stack.inferences[0].address()
    }

    /// A call with the user's key.
    pub(crate) fn post(&self, path: &str, body: &Value) -> HttpCall {
        HttpCall::post(self.address(), path, body).bearer(&self.user.key)
    }

    /// The answer to a message with these fields.
    pub(crate) async fn message(&self, fields: Value) -> HttpAnswer {
        self.post(MESSAGES, &with(plain_message(), fields)).send().await
    }

    /// The answer to a request for a response with these fields.
    pub(crate) async fn response(&self, fields: Value) -> HttpAnswer {
        self.post(RESPONSES, &with(plain_response(), fields)).send().await
    }

    /// Credits that are available, held and spent.
    pub(crate) async fn credits(&self) -> (i64, i64, i64) {
        let balance = self.stack.snapshot(&self.user).await.balance;
        (balance.available, balance.held, balance.spent)
    }
}

/// An answer that is no refusal, as JSON.
pub(crate) async fn whole(answer: &mut HttpAnswer) -> Value {
    let body = answer.json().await;
    assert_eq!(answer.status, 200, "{body}");
    body
}

/// A stream's events; each one's name stands in its data, too.
pub(crate) async fn events(answer: &mut HttpAnswer) -> Vec<Value> {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream")));
    let mut all = Vec::new();
    while let Some(event) = answer.next_event().await {
        let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["type"], name);
        all.push(data);
    }
    all
}

/// The texts at this place of all events of a type.
pub(crate) fn joined(events: &[Value], kind: &str, pointer: &str) -> String {
    events.iter().filter(|event| event["type"] == kind).filter_map(|event| event.pointer(pointer)?.as_str()).collect()
}

/// An error's status, type and code.
pub(crate) async fn error(answer: &mut HttpAnswer) -> (u16, String, String) {
    let body = answer.json().await;
    let said = |name: &str| body["error"][name].as_str().unwrap_or_else(|| panic!("no {name}: {body}")).to_owned();
    assert!(!said("message").is_empty());
    (answer.status, said("type"), said("code"))
}

pub(crate) fn refusal(status: u16, kind: &str, code: &str) -> (u16, String, String) {
    (status, kind.to_owned(), code.to_owned())
}

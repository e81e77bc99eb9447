//! A stack in front of a scripted upstream, a user, and calls of the door.

use integration::hostile_http1::{HostileHttp1, Response};
pub(crate) use integration::polling::SOON;
use integration::polling::until;
use integration::scripted_upstream::ScriptedUpstream;
use integration::stack::{Plan, Stack, TestUser};
use serde_json::Value;
use shared::credential_form::to_bearer;

pub(crate) struct Bench {
    pub(crate) upstream: ScriptedUpstream,
    pub(crate) stack: Stack,
    pub(crate) user: TestUser,
}

impl Bench {
    /// A call costs two credits, and each token one.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(more: &[(&'static str, &str)]) -> Self {
        let upstream = ScriptedUpstream::start().await;
        upstream.model("embedder", &["embedding"], 2048);
        let plan = Plan::with_upstream(&upstream.url()).set("TOLLGATE_PRICES", "*=2/1000/1000").set("TOLLGATE_STARTING_CREDITS", "10000");
        let stack = more.iter().fold(plan, |plan, (name, value)| plan.set(name, value)).start().await;
        let user = stack.user("ada").await;
        Self { upstream, stack, user }
    }

    pub(crate) async fn connect(&self) -> HostileHttp1 {
        HostileHttp1::connect(self.stack.inferences[0].address()).await
    }

    /// A call with the user's key.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> Response {
        self.call_as(&self.user.key, &[], method, path, body).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.call("POST", path, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.call_as(&self.user.key, &[], "GET", path, &Value::Null).await
    }

    /// A call with this credential and these headers.
    pub(crate) async fn call_as(&self, credential: &str, more: &[(&str, &str)], method: &str, path: &str, body: &Value) -> Response {
        let authorization = to_bearer(credential);
        let mut headers = more.to_vec();
        if !credential.is_empty() {
            headers.push(("authorization", &authorization));
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.connect().await.call(method, path, &headers, body.as_bytes()).await
    }

    /// Waits until nothing is held, and answers what is spent.
    pub(crate) async fn settled(&self) -> i64 {
        until("the hold to be settled", SOON, || async {
            let balance = self.stack.balance(&self.user.key).await;
            (balance.held_credits() == 0).then_some(balance.spent_credits())
        })
        .await
    }

    /// What went to the model so far: lists and facts don't.
    pub(crate) fn sent(&self) -> usize {
        let is_work = |path: &str| matches!(path, "/api/chat" | "/api/generate" | "/api/embed");
        self.upstream.requests().iter().filter(|request| is_work(&request.path)).count()
    }
}

/// The lines of a streamed answer.
pub(crate) fn lines(response: &Response) -> Vec<Value> {
    response.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A line without what differs from run to run.
pub(crate) fn timeless(mut line: Value) -> Value {
    if let Some(line) = line.as_object_mut() {
        line.remove("created_at");
    }
    line
}

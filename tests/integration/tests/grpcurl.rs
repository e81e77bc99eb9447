//! People who debug use grpcurl: the real one, which knows no proto file, against both services.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::net::SocketAddr;
use std::process::{Output, Stdio};

use futures_util::stream;
use integration::grpcurl;
use integration::scripted_upstream::{Script, ScriptedUpstream};
use integration::stack::{PASSWORD, Plan, Stack, channel};
use serde_json::{Value, json};
use tokio::process::Command;
use tonic_reflection::pb::{v1, v1alpha};

async fn run(arguments: &[&str]) -> Output {
    let run = Command::new(grpcurl::program()).arg("-plaintext").args(arguments).stdin(Stdio::null()).kill_on_drop(true).output().await;
    run.unwrap_or_else(|error| panic!("grpcurl can't be run: {error}"))
}

/// What grpcurl printed; it must have succeeded.
async fn printed(arguments: &[&str]) -> String {
    let output = run(arguments).await;
    assert!(output.status.success(), "grpcurl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A service to call, and a credential to call it with.
struct Caller {
    address: String,
    authorization: String,
}

impl Caller {
    fn new(address: SocketAddr, credential: &str) -> Self {
        Self { address: address.to_string(), authorization: format!("authorization: Bearer {credential}") }
    }

    async fn call(&self, method: &str, request: &Value) -> Output {
        run(&["-H", &self.authorization, "-d", &request.to_string(), &self.address, method]).await
    }

    /// The messages of a call that succeeds.
    async fn messages(&self, method: &str, request: &Value) -> Vec<Value> {
        let output = self.call(method, request).await;
        assert!(output.status.success(), "{method}: {}", String::from_utf8_lossy(&output.stderr));
        messages(&output)
    }
}

fn messages(output: &Output) -> Vec<Value> {
    serde_json::Deserializer::from_slice(&output.stdout).into_iter().map(Result::unwrap).collect()
}

fn event(message: &Value) -> &str {
    let keys: Vec<&String> = message.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 1, "one event: {message}");
    keys[0]
}

/// Signs up, logs in and makes a key, all by grpcurl.
async fn api_key(stack: &Stack) -> String {
    let nobody = Caller::new(stack.auths[0].address(), "");
    let sign_up = ["-d".to_owned(), json!({ "user_name": "ada", "password": PASSWORD }).to_string(), nobody.address.clone()];
    let signed_up = printed(&[&sign_up[0], &sign_up[1], &sign_up[2], "tollgate.auth.v1.Accounts/SignUp"]).await;
    let signed_up: Value = serde_json::from_str(&signed_up).unwrap();
    assert_eq!(signed_up["user"]["userName"], "ada", "{signed_up}");
    let login = printed(&[&sign_up[0], &sign_up[1], &sign_up[2], "tollgate.auth.v1.Accounts/Login"]).await;
    let login: Value = serde_json::from_str(&login).unwrap();
    let token = login["accessToken"].as_str().unwrap();
    let user = Caller::new(stack.auths[0].address(), token);
    let made = user.messages("tollgate.auth.v1.Accounts/CreateApiKey", &json!({ "name": "grpcurl" })).await;
    made[0]["key"].as_str().unwrap().to_owned()
}

fn chat(prompt: &str) -> Value {
    json!({ "model": "smollm2", "messages": [{ "role": "user", "content": prompt }], "max_output_tokens": 64 })
}

const CHAT: &str = "tollgate.inference.v1.Inference/Chat";

#[tokio::test]
async fn it_lists_and_describes_both_services_without_a_proto_file() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (auth, inference) = (stack.auths[0].address().to_string(), stack.inferences[0].address().to_string());
    let health = "grpc.health.v1.Health";
    let services = [
        (&auth, vec![health, "tollgate.auth.v1.Accounts", "tollgate.auth.v1.Admin", "tollgate.auth.v1.Auth"]),
        (&inference, vec![health, "tollgate.inference.v1.Inference", "tollgate.inference.v1.Models"]),
    ];
    for (address, expected) in services {
        let listed = printed(&[address, "list"]).await;
        let listed: Vec<&str> = listed.lines().filter(|line| !line.contains("ServerReflection")).collect();
        assert_eq!(listed, expected);
        for message in ["google.rpc.ErrorInfo", "google.rpc.RetryInfo", "google.rpc.QuotaFailure", "tollgate.inference.v1.Receipt"] {
            let described = printed(&[address, "describe", message]).await;
            assert!(described.contains("is a message"), "{message}: {described}");
        }
        let healthy = printed(&[address, "grpc.health.v1.Health/Check"]).await;
        assert!(healthy.contains("SERVING"), "{healthy}");
    }
    let methods = printed(&[&inference, "list", "tollgate.inference.v1.Inference"]).await;
    assert!(methods.lines().any(|method| method.ends_with("Inference.Chat")), "{methods}");
    let request = printed(&[&inference, "describe", ".tollgate.inference.v1.ChatRequest"]).await;
    assert!(request.contains("max_output_tokens"), "{request}");
}

#[tokio::test]
async fn it_signs_up_logs_in_makes_a_key_and_streams_a_chat_to_its_receipt() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::chat(&["It", "'s", "-a me!"]));
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let key = api_key(&stack).await;
    let caller = Caller::new(stack.inferences[0].address(), &key);

    let answer = caller.messages(CHAT, &chat("Who are you?")).await;

    let events: Vec<&str> = answer.iter().map(event).collect();
    assert_eq!(events, ["started", "delta", "delta", "delta", "finished"]);
    assert_eq!((answer[0]["started"]["heldCredits"].as_str(), answer[0]["started"]["remainingCredits"].as_str()), (Some("1"), Some("9")));
    let text: String = answer.iter().filter_map(|message| message["delta"]["content"].as_str()).collect();
    assert_eq!(text, "It's-a me!");
    let finished = &answer[4]["finished"];
    assert_eq!((finished["reason"].as_str(), finished["usage"]["outputTokens"].as_u64()), (Some("FINISH_REASON_STOP"), Some(3)));
    let receipt = &finished["receipt"];
    assert_eq!((receipt["chargedCredits"].as_str(), receipt["remainingCredits"].as_str()), (Some("1"), Some("9")), "{finished}");

    let balance = Caller::new(stack.auths[0].address(), &key).messages("tollgate.auth.v1.Accounts/GetBalance", &json!({})).await;
    assert_eq!(balance[0]["balance"]["availableCredits"], "9", "{balance:?}");
}

#[tokio::test]
async fn it_prints_a_refusals_reason_in_words_and_a_zero_as_a_zero() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::chat(&["x"]));
    let stack = Plan::with_upstream(&upstream.url()).set("TOLLGATE_STARTING_CREDITS", "1").start().await;
    let key = api_key(&stack).await;
    let caller = Caller::new(stack.inferences[0].address(), &key);
    let last = caller.messages(CHAT, &chat("the last credit")).await;
    assert_eq!(last.last().unwrap()["finished"]["receipt"]["remainingCredits"], "0", "nothing left is said, not left out");

    let refused = caller.call(CHAT, &chat("one more")).await;

    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && refused.stdout.is_empty());
    for part in ["ResourceExhausted", "google.rpc.ErrorInfo", "INSUFFICIENT_CREDITS", "tollgate"] {
        assert!(said.contains(part), "no {part} in: {said}");
    }
    let nobody = Caller::new(stack.inferences[0].address(), "nonsense");
    let said = String::from_utf8(nobody.call(CHAT, &chat("hi")).await.stderr).unwrap();
    assert!(said.contains("Unauthenticated") && said.contains("CREDENTIAL_INVALID"), "{said}");
    assert_eq!(upstream.requests_to("/api/chat").len(), 1);
}

#[tokio::test]
async fn it_prints_every_figure_of_an_account_also_when_it_is_zero() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script_once("/api/chat", Script::chat(&["x"]));
    upstream.script_once("/api/chat", Script::error(500, "no such runner"));
    let plan = Plan::with_upstream(&upstream.url()).set("TOLLGATE_STARTING_CREDITS", "0").set("TOLLGATE_PRICES", "*=0");
    let stack = plan.start().await;
    let key = api_key(&stack).await;
    let (accounts, inference) = (Caller::new(stack.auths[0].address(), &key), Caller::new(stack.inferences[0].address(), &key));
    let balance = &accounts.messages("tollgate.auth.v1.Accounts/GetBalance", &json!({})).await[0]["balance"];
    let zeros = json!({
        "availableCredits": "0", "heldCredits": "0", "spentCredits": "0", "lapsedCredits": "0", "grantedCredits": "0"
    });
    assert_eq!(balance, &zeros);

    let mut free = chat("for nothing");
    free["request_id"] = json!("free");
    inference.messages(CHAT, &free).await;
    let receipt = &accounts.messages("tollgate.auth.v1.Accounts/GetReceipt", &json!({ "request_id": "free" })).await[0]["receipt"];
    for figure in ["heldCredits", "chargedCredits", "uncollectedCredits", "remainingCredits"] {
        assert_eq!(receipt[figure], "0", "{figure}: {receipt}");
    }
    let mut broken = chat("to nothing");
    broken["request_id"] = json!("broken");
    assert!(!inference.call(CHAT, &broken).await.status.success());
    let receipt = &accounts.messages("tollgate.auth.v1.Accounts/GetReceipt", &json!({ "request_id": "broken" })).await[0]["receipt"];
    assert_eq!((&receipt["state"], &receipt["chargedCredits"]), (&json!("REQUEST_STATE_REFUNDED"), &json!("0")), "{receipt}");
    assert_eq!((&receipt["usage"]["inputTokens"], &receipt["usage"]["outputTokens"]), (&json!(0), &json!(0)), "{receipt}");
    // What moves no credits leaves no entry.
    let ledger = &accounts.messages("tollgate.auth.v1.Accounts/ListLedgerEntries", &json!({})).await[0];
    assert_eq!(ledger.get("entries"), None, "{ledger}");
    let sign_up = json!({ "user_name": "bob", "password": PASSWORD }).to_string();
    let made = printed(&["-d", &sign_up, &accounts.address, "tollgate.auth.v1.Accounts/SignUp"]).await;
    assert_eq!(serde_json::from_str::<Value>(&made).unwrap()["availableCredits"], "0", "{made}");
}

#[tokio::test]
async fn it_prints_every_violated_field_of_a_request() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let sign_up = json!({ "user_name": "-x", "password": "short", "email": "nowhere" }).to_string();
    let refused = run(&["-d", &sign_up, &stack.auths[0].address().to_string(), "tollgate.auth.v1.Accounts/SignUp"]).await;
    let said = String::from_utf8(refused.stderr).unwrap();
    for part in ["InvalidArgument", "INVALID_ARGUMENT", "google.rpc.BadRequest", "\"user_name\"", "\"password\"", "\"email\""] {
        assert!(said.contains(part), "no {part} in: {said}");
    }
    assert_eq!(said.matches("google.rpc.ErrorInfo").count(), 1, "{said}");
}

#[tokio::test]
async fn it_prints_what_a_broken_answer_cost() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::stream().tokens(&["one", " two"]).error_line("unexpected EOF"));
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let key = api_key(&stack).await;
    let caller = Caller::new(stack.inferences[0].address(), &key);

    let broken = caller.call(CHAT, &chat("count")).await;

    let events = messages(&broken);
    assert_eq!(events.iter().map(event).collect::<Vec<_>>(), ["started", "delta", "delta"]);
    let said = String::from_utf8(broken.stderr).unwrap();
    for part in ["Unavailable", "UPSTREAM_UNAVAILABLE", "google.rpc.RetryInfo", "tollgate.inference.v1.Receipt"] {
        assert!(said.contains(part), "no {part} in: {said}");
    }
    let receipt = said.split("tollgate.inference.v1.Receipt").nth(1).unwrap();
    let flat: String = receipt.chars().filter(|c| !c.is_whitespace()).collect();
    assert!(flat.contains(r#""chargedCredits":"1""#) && flat.contains(r#""remainingCredits":"9""#), "{said}");
}

#[tokio::test]
async fn reflection_answers_in_both_of_its_versions() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    for (address, service) in
        [(stack.auths[0].address(), "tollgate.auth.v1.Accounts"), (stack.inferences[0].address(), "tollgate.inference.v1.Inference")]
    {
        let ask = v1::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
        };
        let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel(address));
        let answer = client.server_reflection_info(stream::iter([ask])).await.unwrap().into_inner().message().await.unwrap().unwrap();
        let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) = answer.message_response else {
            panic!("v1: {answer:?}")
        };
        assert!(list.service.iter().any(|listed| listed.name == service), "v1: {list:?}");

        let ask = v1alpha::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(service.to_owned())),
        };
        let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel(address));
        let answer = client.server_reflection_info(stream::iter([ask])).await.unwrap().into_inner().message().await.unwrap().unwrap();
        let Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(files)) = answer.message_response else {
            panic!("v1alpha: {answer:?}")
        };
        assert!(!files.file_descriptor_proto.is_empty());
    }
}

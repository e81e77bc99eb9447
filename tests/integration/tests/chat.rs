//! A chat from its credential to its receipt.

use std::collections::BTreeSet;

use integration::redis_server::RedisServer;
use integration::scripted_upstream::{Gate, Script, ScriptedUpstream};
use integration::stack::{Answer, Plan, Stack, TestUser, chat_request, read_all};
use shared::ErrorReason;
use shared::error::reason_of;
use shared::proto::{auth, inference};
use tonic::Code;

async fn chat(stack: &Stack, user: &TestUser, request: inference::ChatRequest) -> Answer {
    match stack.inference(&user.key).chat(request).await {
        Ok(stream) => read_all(&mut stream.into_inner()).await,
        Err(status) => Answer { failure: Some(status), ..Answer::default() },
    }
}

fn with_id(request_id: &str) -> inference::ChatRequest {
    inference::ChatRequest { request_id: request_id.to_owned(), ..chat_request("smollm2", "Say hello") }
}

#[tokio::test]
async fn a_caller_pays_one_credit_and_gets_started_deltas_and_a_receipt() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::chat(&["Hello", " there", "!"]));
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;

    let answer = chat(&stack, &user, chat_request("smollm2", "Say hello")).await;

    let started = answer.started.as_ref().unwrap();
    assert_eq!((started.held_credits, started.remaining_credits, started.max_output_tokens), (Some(1), Some(9), Some(64)));
    assert!(!started.request_id.is_empty());
    assert_eq!(answer.deltas.len(), 3);
    assert_eq!(answer.text(), "Hello there!");
    let finished = answer.finished.unwrap();
    assert_eq!(finished.reason(), inference::FinishReason::Stop);
    let usage = finished.usage.unwrap();
    assert_eq!((usage.output_tokens, usage.estimated), (Some(3), false));
    let receipt = finished.receipt.unwrap();
    assert_eq!((receipt.charged_credits, receipt.remaining_credits), (Some(1), Some(9)));

    let balance = stack.balance(&user.key).await;
    assert_eq!((balance.available_credits(), balance.held_credits(), balance.spent_credits(), balance.granted_credits()), (9, 0, 1, 10));
    let ledger = stack.ledger(&user.key).await;
    assert_eq!(ledger[0].ledger_entry_id, receipt.ledger_entry_id);
    assert_eq!((ledger[0].credits(), ledger[0].model.as_str()), (-1, "smollm2"));
    stack.snapshot(&user).await;

    let sent = upstream.request("/api/chat", 0).await.json();
    assert_eq!(sent["options"]["num_predict"], 64);
    assert_eq!(sent["messages"][0]["content"], "Say hello");
}

#[tokio::test]
async fn ten_credits_are_ten_calls_then_it_stops() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::chat(&["x"]));
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    for left in (0..10).rev() {
        let answer = chat(&stack, &user, chat_request("smollm2", "again")).await;
        assert_eq!(answer.finished.unwrap().receipt.unwrap().remaining_credits, Some(left));
    }
    let refused = chat(&stack, &user, chat_request("smollm2", "again")).await.failure.unwrap();
    assert_eq!((refused.code(), reason_of(&refused)), (Code::ResourceExhausted, Some(ErrorReason::InsufficientCredits)));
    assert_eq!(upstream.requests_to("/api/chat").len(), 10);
    assert_eq!(stack.snapshot(&user).await.balance.spent, 10);
}

#[tokio::test]
async fn the_same_request_id_later_is_replayed_and_costs_nothing() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::chat(&["Hello"]));
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    let first = chat(&stack, &user, with_id("order-1")).await.finished.unwrap();
    let again = chat(&stack, &user, with_id("order-1")).await;
    assert!(again.deltas.is_empty());
    assert_eq!(again.started.unwrap().held_credits, None);
    let finished = again.finished.unwrap();
    assert!(finished.replayed && !first.replayed);
    assert_eq!(finished.receipt, first.receipt);
    assert_eq!(stack.balance(&user.key).await.spent_credits(), 1);
    assert_eq!(upstream.requests_to("/api/chat").len(), 1);

    let receipt = auth::GetReceiptRequest { request_id: "order-1".to_owned() };
    let receipt = stack.accounts(&user.key).get_receipt(receipt).await.unwrap().into_inner().receipt.unwrap();
    assert_eq!((receipt.charged_credits(), receipt.state()), (1, auth::RequestState::Settled));

    let other =
        chat(&stack, &user, inference::ChatRequest { request_id: "order-1".to_owned(), ..chat_request("smollm2", "something else") }).await;
    assert_eq!(reason_of(&other.failure.unwrap()), Some(ErrorReason::RequestIdReused));
}

#[tokio::test]
async fn the_same_request_id_at_once_runs_once() {
    let upstream = ScriptedUpstream::start().await;
    let gate = Gate::new();
    upstream.script("/api/chat", Script::stream().token("one").gate(&gate).token(" two").done("stop", 5, 2));
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    let mut running = stack.inference(&user.key).chat(with_id("twice")).await.unwrap().into_inner();
    upstream.request("/api/chat", 0).await;
    let second = chat(&stack, &user, with_id("twice")).await.failure.unwrap();
    assert_eq!((second.code(), reason_of(&second)), (Code::Aborted, Some(ErrorReason::RequestInProgress)));
    gate.open_for_good();
    assert_eq!(read_all(&mut running).await.text(), "one two");
    assert!(chat(&stack, &user, with_id("twice")).await.finished.unwrap().replayed);
    assert_eq!(stack.balance(&user.key).await.spent_credits(), 1);
}

#[tokio::test]
async fn a_refunded_request_may_be_tried_again_under_its_id() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script_once("/api/chat", Script::error(503, "server busy, please try again.  maximum pending requests exceeded"));
    upstream.script("/api/chat", Script::chat(&["now"]));
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    let busy = chat(&stack, &user, with_id("retry-me")).await;
    assert_eq!(busy.charged(), Some(0));
    let busy = busy.failure.unwrap();
    assert_eq!((busy.code(), reason_of(&busy)), (Code::Unavailable, Some(ErrorReason::UpstreamBusy)));
    assert!(shared::error::retry_delay_of(&busy).is_some());
    assert_eq!(chat(&stack, &user, with_id("retry-me")).await.text(), "now");
    assert_eq!(stack.snapshot(&user).await.balance.spent, 1);
}

#[tokio::test]
async fn stream_false_is_one_delta() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::chat(&["a", "b", "c"]));
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    let answer = chat(&stack, &user, inference::ChatRequest { stream: Some(false), ..chat_request("smollm2", "abc") }).await;
    assert_eq!((answer.deltas.len(), answer.text().as_str()), (1, "abc"));
    assert!(answer.finished.is_some());
}

#[tokio::test]
async fn credentials_that_do_not_hold_are_refused_before_anything_goes_upstream() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    let mut mistyped = user.key.clone();
    let last = mistyped.pop().unwrap();
    mistyped.push(if last == 'a' { 'b' } else { 'a' });
    for (credential, reason) in [
        ("", ErrorReason::CredentialMissing),
        ("nonsense", ErrorReason::CredentialInvalid),
        (mistyped.as_str(), ErrorReason::CredentialInvalid),
        ("eyJhbGciOiJub25lIn0.e30.", ErrorReason::CredentialInvalid),
    ] {
        let refused = stack.inference(credential).chat(chat_request("smollm2", "hi")).await.unwrap_err();
        assert_eq!((refused.code(), reason_of(&refused)), (Code::Unauthenticated, Some(reason)), "{credential}");
    }
    let keys = stack.accounts(&user.token).list_api_keys(auth::ListApiKeysRequest {}).await.unwrap().into_inner().api_keys;
    let revoke = auth::RevokeApiKeyRequest { api_key_id: keys[0].api_key_id.clone(), ..Default::default() };
    stack.accounts(&user.token).revoke_api_key(revoke).await.unwrap();
    let refused = stack.inference(&user.key).chat(chat_request("smollm2", "hi")).await.unwrap_err();
    assert_eq!(reason_of(&refused), Some(ErrorReason::CredentialRevoked));

    let admin = stack.admin_token().await;
    stack.admin(&admin).disable_user(auth::DisableUserRequest { user_name: "ada".to_owned(), ..Default::default() }).await.unwrap();
    let refused = stack.inference(&user.token).chat(chat_request("smollm2", "hi")).await.unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused)), (Code::PermissionDenied, Some(ErrorReason::UserDisabled)));
    assert!(upstream.requests_to("/api/chat").is_empty());
}

#[tokio::test]
async fn an_end_users_key_is_refused_on_auth() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    for credential in [&user.key, &user.token] {
        let check =
            auth::CheckRequest { credential: user.key.clone(), operation: auth::Operation::ReadModels.into(), ..Default::default() };
        assert!(matches!(stack.auth(credential).check(check).await.unwrap_err().code(), Code::Unauthenticated | Code::PermissionDenied));
    }
}

#[tokio::test]
async fn what_a_model_cannot_do_is_refused_and_never_charged() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    let plain = chat_request("smollm2", "hi");
    let png = include_bytes!("../fixtures/pixel.png").to_vec();
    let mut with_image = plain.clone();
    with_image.messages[0].images.push(png);
    let with_tool = inference::ChatRequest { tools: vec![inference::Tool { name: "f".into(), ..Default::default() }], ..plain.clone() };
    let with_think = inference::ChatRequest { think: Some("on".into()), ..plain.clone() };
    for (request, capability) in [(with_image, "vision"), (with_tool, "tools"), (with_think, "thinking")] {
        let refused = chat(&stack, &user, request).await.failure.unwrap();
        assert_eq!((refused.code(), reason_of(&refused)), (Code::FailedPrecondition, Some(ErrorReason::ModelIncapable)));
        assert!(refused.message().contains(capability), "{}", refused.message());
    }
    let nothing_said = inference::ChatRequest { messages: Vec::new(), ..plain };
    assert_eq!(chat(&stack, &user, nothing_said).await.failure.unwrap().code(), Code::InvalidArgument);
    assert!(upstream.requests_to("/api/chat").is_empty());
    assert_eq!(stack.snapshot(&user).await.ledger.len(), 1, "only the starting credits");
}

#[tokio::test]
async fn where_ollama_may_run_a_thinking_model_twice_the_hold_covers_both() {
    let upstream = ScriptedUpstream::start().await;
    upstream.model("thinks", &["completion", "thinking"], 8192);
    upstream.script("/api/chat", Script::chat(&["{}"]));
    let stack =
        Plan::with_upstream(&upstream.url()).set("TOLLGATE_PRICES", "*=1/0/1000").set("TOLLGATE_STARTING_CREDITS", "1000").start().await;
    let user = stack.user("ada").await;
    let format = Some(inference::Format { kind: Some(inference::format::Kind::Json(true)) });
    let answer = chat(&stack, &user, inference::ChatRequest { format, ..chat_request("thinks", "json") }).await;
    assert_eq!(answer.started.unwrap().held_credits, Some(1 + 2 * 64));
    assert_eq!(upstream.request("/api/chat", 0).await.json()["options"]["num_predict"], 64);
}

#[tokio::test]
async fn a_thousand_chats_at_once_on_three_replicas_admit_exactly_the_ten_that_are_paid() {
    let redis = RedisServer::start();
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::chat(&["x"]));
    let mut plan = Plan::with_upstream(&upstream.url()).on_redis(&redis);
    plan.auth_replicas = 3;
    let stack = plan.start().await;
    let user = stack.user("ada").await;

    let clients: Vec<_> = (0..3).map(|replica| stack.inference_at(replica, &user.key)).collect();
    let calls = (0..1000).map(|number| {
        let mut client = clients[number % 3].clone();
        async move {
            match client.chat(chat_request("smollm2", "at once")).await {
                Ok(stream) => read_all(&mut stream.into_inner()).await,
                Err(status) => Answer { failure: Some(status), ..Answer::default() },
            }
        }
    });
    let answers = futures_util::future::join_all(calls).await;

    let (admitted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.finished.is_some());
    let reasons: BTreeSet<_> =
        refused.iter().map(|answer| reason_of(answer.failure.as_ref().unwrap()).map(|reason| reason.as_str_name())).collect();
    assert_eq!((admitted.len(), refused.len()), (10, 990), "{reasons:?}");
    assert_eq!(reasons, BTreeSet::from([Some("ERROR_REASON_INSUFFICIENT_CREDITS")]));
    let snapshot = stack.snapshot(&user).await;
    assert_eq!((snapshot.balance.available, snapshot.balance.held, snapshot.balance.spent), (0, 0, 10));
    assert_eq!(upstream.requests_to("/api/chat").len(), 10);
}

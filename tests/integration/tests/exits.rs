//! Every way a stream can end gives back what was held, and charges what the design says.

use std::time::Duration;

use integration::polling::{SOON, until};
use integration::scripted_upstream::{Gate, Script, ScriptedUpstream};
use integration::stack::{Plan, Stack, TestUser, chat_request, read_all};
use shared::ErrorReason;
use shared::error::reason_of;
use shared::proto::inference;
use tokio::time::timeout;
use tonic::{Code, Request};

/// Waits until nothing is held, and answers what is spent.
async fn settled(stack: &Stack, user: &TestUser) -> i64 {
    until("the hold to be settled", SOON, || async {
        let balance = stack.balance(&user.key).await;
        (balance.held_credits() == 0).then_some(balance.spent_credits())
    })
    .await
}

async fn a_caller_that_goes_away_after(deltas: usize) {
    let upstream = ScriptedUpstream::start().await;
    let gate = Gate::new();
    // Ten credits a call and one each token: the charge tells how many were read.
    let texts = ["one ", "two ", "three ", "four ", "five "];
    upstream.script("/api/chat", Script::stream().gated_tokens(&gate, &texts).stall());
    let stack =
        Plan::with_upstream(&upstream.url()).set("TOLLGATE_PRICES", "*=10/0/1000").set("TOLLGATE_STARTING_CREDITS", "1000").start().await;
    let user = stack.user("ada").await;
    let mut stream = stack.inference(&user.key).chat(chat_request("smollm2", "count")).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().unwrap().event.is_some(), "started");
    let request = upstream.request("/api/chat", 0).await;
    gate.open(deltas);
    for _ in 0..deltas {
        stream.message().await.unwrap().unwrap();
    }

    drop(stream);

    request.client_closed().await;
    assert_eq!(settled(&stack, &user).await, 10 + i64::try_from(deltas).unwrap(), "a piece is a token");
    let snapshot = stack.snapshot(&user).await;
    assert!(
        matches!(snapshot.remembered[0].resolved.as_ref().unwrap().resolution, auth_service::hold::Resolution::Settled),
        "not by expiry"
    );
}

#[tokio::test]
async fn a_caller_that_goes_away_before_the_first_token_pays_the_call() {
    a_caller_that_goes_away_after(0).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_after_one_token_pays_the_call_and_the_token() {
    a_caller_that_goes_away_after(1).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_after_five_tokens_pays_the_call_and_the_tokens() {
    a_caller_that_goes_away_after(5).await;
}

#[tokio::test]
async fn a_callers_deadline_ends_the_stream_and_settles() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::stream().token("one").stall());
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    let mut request = Request::new(chat_request("smollm2", "slow"));
    // Long enough for its first token.
    request.set_timeout(Duration::from_secs(5));
    let mut stream = stack.inference(&user.key).chat(request).await.unwrap().into_inner();
    let answer = timeout(SOON, read_all(&mut stream)).await.expect("the deadline ends the stream");
    assert_eq!(answer.failure.unwrap().code(), Code::DeadlineExceeded);
    assert_eq!(settled(&stack, &user).await, 1);
    upstream.request("/api/chat", 0).await.client_closed().await;
    assert_eq!(stack.snapshot(&user).await.balance.held, 0);
}

/// One limit, made short, and long enough for a first token: how the stream ends, and what it costs.
async fn a_limit(variable: &'static str, script: Script, expected: (Code, ErrorReason), spent: i64) {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", script);
    let stack = Plan::with_upstream(&upstream.url()).set(variable, "3s").start().await;
    let user = stack.user("ada").await;
    let mut stream = stack.inference(&user.key).chat(chat_request("smollm2", "hi")).await.unwrap().into_inner();
    // Below every other limit: the one that is set must be what ends it.
    let answer = timeout(SOON, read_all(&mut stream)).await.expect("the limit ends the answer");
    assert_eq!(answer.charged(), Some(spent), "the status says what was charged");
    let failure = answer.failure.unwrap();
    assert_eq!((failure.code(), reason_of(&failure)), (expected.0, Some(expected.1)));
    assert_eq!(settled(&stack, &user).await, spent);
    upstream.request("/api/chat", 0).await.client_closed().await;
}

#[tokio::test]
async fn silence_before_the_first_byte_costs_nothing() {
    a_limit("TOLLGATE_FIRST_BYTE_TIMEOUT", Script::silence(), (Code::DeadlineExceeded, ErrorReason::UpstreamTimeout), 0).await;
}

#[tokio::test]
async fn silence_within_an_answer_costs_what_was_read() {
    let script = Script::stream().token("one").stall();
    a_limit("TOLLGATE_IDLE_TIMEOUT", script, (Code::DeadlineExceeded, ErrorReason::UpstreamTimeout), 1).await;
}

#[tokio::test]
async fn a_stream_has_a_longest_life() {
    let script = Script::stream().endless("x", Duration::from_millis(200));
    a_limit("TOLLGATE_MAX_STREAM_LIFE", script, (Code::Aborted, ErrorReason::StreamTooLong), 1).await;
}

#[tokio::test]
async fn a_caller_that_does_not_read_is_cut_off_and_the_model_is_free_again() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::stream().endless(&"x".repeat(128 * 1024), Duration::ZERO));
    let stack = Plan::with_upstream(&upstream.url()).set("TOLLGATE_SLOW_READER_TIMEOUT", "300ms").start().await;
    let user = stack.user("ada").await;
    // More tokens than fit into what lies between the upstream and the caller: who doesn't read is noticed before their bound is.
    let request = inference::ChatRequest { max_output_tokens: Some(4096), ..chat_request("smollm2", "hi") };
    let mut stream = stack.inference(&user.key).chat(request).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    upstream.request("/api/chat", 0).await.client_closed().await;
    assert_eq!(settled(&stack, &user).await, 1);
    let answer = read_all(&mut stream).await;
    assert_eq!(reason_of(&answer.failure.unwrap()), Some(ErrorReason::SlowReader));
}

/// An upstream that fails: the code and reason, and the charge.
async fn an_upstream_that_fails(script: Script, expected: (Code, ErrorReason), charged: i64) {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", script);
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    let mut stream = stack.inference(&user.key).chat(chat_request("smollm2", "hi")).await.unwrap().into_inner();
    let answer = read_all(&mut stream).await;
    assert_eq!(answer.charged(), Some(charged));
    let failure = answer.failure.unwrap();
    assert_eq!((failure.code(), reason_of(&failure)), (expected.0, Some(expected.1)));
    assert!(!failure.message().contains("/models"), "upstream's text is for the log: {}", failure.message());
    let snapshot = stack.snapshot(&user).await;
    assert_eq!((snapshot.balance.spent, snapshot.balance.held), (charged, 0));
}

#[tokio::test]
async fn an_upstream_that_fails_before_its_first_token_costs_nothing() {
    let missing = Script::error(404, "model 'smollm2' not found");
    an_upstream_that_fails(missing, (Code::NotFound, ErrorReason::ModelNotFound), 0).await;
    let broken = Script::stream().error_line("open /models/blobs/sha256-1: no such file");
    an_upstream_that_fails(broken, (Code::Unavailable, ErrorReason::UpstreamUnavailable), 0).await;
    let empty = Script::stream();
    an_upstream_that_fails(empty, (Code::Unavailable, ErrorReason::UpstreamUnavailable), 0).await;
}

#[tokio::test]
async fn an_upstream_that_fails_after_its_first_token_costs_what_was_read() {
    let unavailable = (Code::Unavailable, ErrorReason::UpstreamUnavailable);
    an_upstream_that_fails(Script::stream().token("one").error_line("unexpected EOF"), unavailable, 1).await;
    an_upstream_that_fails(Script::stream().token("one").cut(), unavailable, 1).await;
    an_upstream_that_fails(Script::stream().token("one").close_early(), unavailable, 1).await;
    // Neither a last line nor an error: the repetition guard's silent end.
    an_upstream_that_fails(Script::stream().token("one"), unavailable, 1).await;
    an_upstream_that_fails(Script::stream().token("one").malformed_line(), (Code::Internal, ErrorReason::UpstreamProtocol), 1).await;
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_unavailable_and_costs_nothing() {
    let stack = Plan::with_upstream("http://127.0.0.1:1").start().await;
    let user = stack.user("ada").await;
    let mut stream = stack.inference(&user.key).chat(chat_request("smollm2", "hi")).await.unwrap().into_inner();
    let failure = read_all(&mut stream).await.failure.unwrap();
    assert_eq!((failure.code(), reason_of(&failure)), (Code::Unavailable, Some(ErrorReason::UpstreamUnavailable)));
    assert_eq!(stack.snapshot(&user).await.balance.available, 10);
}

#[tokio::test]
async fn a_caller_that_goes_away_before_its_request_went_upstream_pays_nothing() {
    // A listener whose queue of connections is full: connecting to it takes until somebody gives up.
    let full = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = full.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(connection) = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(2)) {
        queued.push(connection);
        assert!(queued.len() < 10_000, "the queue of connections is never full");
    }
    let stack = Plan::with_upstream(&format!("http://{address}")).start().await;
    let user = stack.user("ada").await;
    let mut request = Request::new(chat_request("smollm2", "hi"));
    // Two seconds of it go to the list of models, which can't be had.
    request.set_timeout(Duration::from_secs(10));
    let mut stream = stack.inference(&user.key).chat(request).await.unwrap().into_inner();
    assert_eq!(read_all(&mut stream).await.failure.unwrap().code(), Code::DeadlineExceeded);
    assert_eq!(settled(&stack, &user).await, 0);
}

#[tokio::test]
async fn an_upstream_that_ignores_the_bound_on_tokens_is_cut_off() {
    let script = Script::stream().endless("x", Duration::ZERO);
    an_upstream_that_fails(script, (Code::Internal, ErrorReason::UpstreamProtocol), 1).await;
}

#[tokio::test]
async fn a_model_that_takes_longer_to_load_than_a_hold_lives_is_extended_and_served() {
    let upstream = ScriptedUpstream::start().await;
    let gate = Gate::new();
    upstream.script("/api/chat", Script::stream().head_gate(&gate).token("loaded").done("stop", 5, 1));
    let stack = Plan::with_upstream(&upstream.url()).set("TOLLGATE_HOLD_TTL", "3s").start().await;
    let user = stack.user("ada").await;
    let mut stream = stack.inference(&user.key).chat(chat_request("smollm2", "hi")).await.unwrap().into_inner();
    upstream.request("/api/chat", 0).await;
    let expiry = async || stack.snapshot(&user).await.open.first().map(|hold| hold.expires_at_ms);
    let first = expiry().await.expect("a hold");
    // It has been extended by three of its lives; the sweep runs all the while.
    until("three of the hold's lives", SOON, || async { (expiry().await.expect("the hold lives") >= first + 9_000).then_some(()) }).await;
    assert_eq!(stack.balance(&user.key).await.held_credits(), 1);
    gate.open_for_good();
    let answer = read_all(&mut stream).await;
    assert_eq!(answer.text(), "loaded");
    assert_eq!(answer.finished.unwrap().receipt.unwrap().charged_credits, Some(1));
}

#[tokio::test]
async fn without_auth_chats_are_refused_and_a_running_one_finishes_and_is_settled_when_auth_is_back() {
    let upstream = ScriptedUpstream::start().await;
    let gate = Gate::new();
    upstream.script("/api/chat", Script::stream().token("one").gate(&gate).token(" two").done("stop", 5, 2));
    let mut stack = Plan::with_upstream(&upstream.url())
        .set("TOLLGATE_SETTLE_WAIT", "100ms")
        .set("TOLLGATE_DRAIN_DEADLINE", "200ms")
        .set("TOLLGATE_CHECK_TIMEOUT", "3s")
        .start()
        .await;
    let user = stack.user("ada").await;
    let mut stream = stack.inference(&user.key).chat(chat_request("smollm2", "hi")).await.unwrap().into_inner();
    upstream.request("/api/chat", 0).await;
    let port = stack.stop_auth().await;

    let refused = stack.inference(&user.key).chat(chat_request("smollm2", "hi")).await.unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused)), (Code::Unavailable, Some(ErrorReason::AuthUnavailable)));
    gate.open_for_good();
    let answer = read_all(&mut stream).await;
    assert_eq!(answer.text(), "one two");
    assert_eq!(answer.finished.unwrap().receipt, None, "it could not be settled in time");

    stack.start_auth_at(port).await;
    assert_eq!(settled(&stack, &user).await, 1);
    let snapshot = stack.snapshot(&user).await;
    assert!(matches!(snapshot.remembered[0].resolved.as_ref().unwrap().resolution, auth_service::hold::Resolution::Settled));
}

#[tokio::test]
async fn draining_lets_a_running_stream_finish_and_refuses_new_ones() {
    let upstream = ScriptedUpstream::start().await;
    let gate = Gate::new();
    upstream.script("/api/chat", Script::stream().token("one").gate(&gate).token(" two").done("stop", 5, 2));
    let mut stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    let mut client = stack.inference(&user.key);
    let mut stream = client.chat(chat_request("smollm2", "hi")).await.unwrap().into_inner();
    upstream.request("/api/chat", 0).await;
    stack.inferences[0].begin_stop();
    until("a new call to be refused", SOON, || async {
        let refused = stack.inference(&user.key).chat(chat_request("smollm2", "hi")).await;
        refused.err().filter(|status| status.code() == Code::Unavailable)
    })
    .await;
    gate.open_for_good();
    let answer = read_all(&mut stream).await;
    assert_eq!(answer.text(), "one two");
    assert!(answer.finished.unwrap().receipt.is_some());
    until("the service to end", SOON, || async { stack.inferences[0].is_over().then_some(()) }).await;
    assert_eq!(stack.snapshot(&user).await.balance.held, 0);
}

#[tokio::test]
async fn what_still_runs_at_the_drain_deadline_is_cut_off_and_settled() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::stream().token("one").stall());
    let mut stack = Plan::with_upstream(&upstream.url()).set("TOLLGATE_DRAIN_DEADLINE", "1s").start().await;
    let user = stack.user("ada").await;
    let mut stream = stack.inference(&user.key).chat(chat_request("smollm2", "hi")).await.unwrap().into_inner();
    upstream.request("/api/chat", 0).await;
    stack.inferences[0].begin_stop();
    let failure = read_all(&mut stream).await.failure.unwrap();
    assert_eq!((failure.code(), reason_of(&failure)), (Code::Unavailable, Some(ErrorReason::Draining)));
    until("the service to end", SOON, || async { stack.inferences[0].is_over().then_some(()) }).await;
    assert_eq!(stack.snapshot(&user).await.balance.held, 0);
}

#[tokio::test]
async fn generate_streams_and_settles_like_chat() {
    let upstream = ScriptedUpstream::start().await;
    let at = "2026-01-01T00:00:00Z";
    let line = |text: &str, done: bool| serde_json::json!({"model": "smollm2", "created_at": at, "response": text, "done": done});
    let mut last = line("", true);
    last["done_reason"] = "length".into();
    last["prompt_eval_count"] = 4.into();
    last["eval_count"] = 2.into();
    upstream.script("/api/generate", Script::stream().line(&line("on", false)).line(&line("ce", false)).line(&last));
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    let request = inference::GenerateRequest { model: "smollm2".into(), prompt: "Once".into(), ..Default::default() };
    let mut stream = stack.inference(&user.key).generate(request).await.unwrap().into_inner();
    let answer = read_all(&mut stream).await;
    assert_eq!(answer.text(), "once");
    let finished = answer.finished.unwrap();
    assert_eq!((finished.reason(), finished.receipt.unwrap().charged_credits), (inference::FinishReason::Length, Some(1)));
}

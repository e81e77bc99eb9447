//! One account's calls in progress are bounded, so that it can't keep Ollama's queue full for all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use integration::redis_server::RedisServer;
use integration::scripted_upstream::{Gate, Script, ScriptedUpstream};
use integration::stack::{Plan, chat_request, read_all};
use shared::ErrorReason;
use shared::error::{reason_of, retry_delay_of};
use tonic::Code;

/// An upstream that keeps so many requests waiting and refuses more in Ollama's words, until the gate opens.
fn keep_waiting(upstream: &ScriptedUpstream, most: usize) -> Gate {
    let (gate, came) = (Gate::new(), Arc::new(AtomicUsize::default()));
    let waits = Script::stream().head_gate(&gate).token("x").done("stop", 1, 1);
    upstream.answer("/api/chat", move |_| {
        if came.fetch_add(1, Ordering::SeqCst) < most {
            return waits.clone();
        }
        Script::error(503, "server busy, please try again.  maximum pending requests exceeded")
    });
    gate
}

async fn an_account_with_as_many_calls_as_it_can_start(redis: Option<&RedisServer>) {
    let upstream = ScriptedUpstream::start().await;
    // More than one account may have in progress, and less than it tries.
    let gate = keep_waiting(&upstream, 80);
    let plan = Plan::with_upstream(&upstream.url()).set("TOLLGATE_STARTING_CREDITS", "1000");
    let stack = if let Some(redis) = redis { plan.on_redis(redis) } else { plan }.start().await;
    let (greedy, other) = (stack.user("greedy").await, stack.user("other").await);
    let (mut running, mut refused) = (Vec::new(), Vec::new());
    let mut client = stack.inference(&greedy.key);
    for _ in 0..100 {
        match client.chat(chat_request("smollm2", "hi")).await {
            Ok(stream) => running.push(stream.into_inner()),
            Err(status) => refused.push(status),
        }
    }
    assert_eq!((running.len(), refused.len()), (64, 36));
    for status in &refused {
        assert_eq!((status.code(), reason_of(status)), (Code::ResourceExhausted, Some(ErrorReason::TooManyOpenHolds)));
        assert!(retry_delay_of(status).is_some() && status.message().contains("wait until one of them has ended"), "{status}");
    }
    assert_eq!(stack.balance(&greedy.key).await.held_credits(), 64, "what is refused costs nothing");

    let mut stream =
        stack.inference(&other.key).chat(chat_request("smollm2", "hi")).await.expect("the other account is let in").into_inner();
    upstream.request("/api/chat", 64).await;
    gate.open_for_good();
    let answer = read_all(&mut stream).await;
    assert_eq!((answer.text().as_str(), answer.charged()), ("x", Some(1)), "{answer:?}");
    for mut stream in running {
        assert_eq!(read_all(&mut stream).await.text(), "x");
    }
    // Their places are free again.
    let mut stream = client.chat(chat_request("smollm2", "hi")).await.expect("it is let in again").into_inner();
    assert_eq!(read_all(&mut stream).await.text(), "x");
}

#[tokio::test]
async fn an_account_with_as_many_calls_as_it_can_start_leaves_another_able_to_be_served() {
    an_account_with_as_many_calls_as_it_can_start(None).await;
}

#[tokio::test]
async fn an_account_with_as_many_calls_as_it_can_start_leaves_another_able_to_be_served_on_redis() {
    let redis = RedisServer::start();
    an_account_with_as_many_calls_as_it_can_start(Some(&redis)).await;
}

//! What a Check may have held whose answer never came: it is given back, and nothing is held anew for that.

use auth_service::hold::{Outcome, Resolution};
use integration::lossy_forwarder::{Loss, LossyForwarder};
use integration::polling::{SOON, until};
use integration::redis_server::RedisServer;
use integration::scripted_upstream::ScriptedUpstream;
use integration::stack::{Plan, Stack, TestUser, chat_request, read_all};
use shared::ErrorReason;
use shared::error::reason_of;
use shared::proto::inference;
use tonic::Status;

/// As the upstream of these tests answers.
const TEXT: &str = "It's-a me!";

/// inference-service in front of a forwarder to auth-service.
async fn start(plan: Plan<'_>) -> (Stack, LossyForwarder, TestUser) {
    let mut stack = plan.set("TOLLGATE_CHECK_TIMEOUT", "3s").start().await;
    let forwarder = LossyForwarder::to(stack.auths[0].address()).await;
    stack.inferences.clear();
    stack.start_inference_asking(&forwarder.url()).await;
    let user = stack.user("ada").await;
    (stack, forwarder, user)
}

/// A chat under this request id, to its end.
async fn chat(stack: &Stack, user: &TestUser, request_id: &str) -> Result<String, Status> {
    let request = inference::ChatRequest { request_id: request_id.to_owned(), ..chat_request("smollm2", "hi") };
    let stream = stack.inference(&user.key).chat(request).await?;
    let answer = read_all(&mut stream.into_inner()).await;
    answer.failure.as_ref().map_or_else(|| Ok(answer.text()), |failure| Err(failure.clone()))
}

fn assert_auth_is_unavailable(answer: Result<String, Status>) {
    assert_eq!(reason_of(&answer.expect_err("it has no answer")), Some(ErrorReason::AuthUnavailable));
}

async fn is_given_back(plan: Plan<'_>) {
    let (stack, forwarder, user) = start(plan).await;
    assert_eq!(chat(&stack, &user, "before").await.expect("an answer"), TEXT);

    forwarder.lose(Loss::Answers);
    assert_auth_is_unavailable(chat(&stack, &user, "lost").await);
    let held = stack.snapshot(&user).await;
    assert_eq!((held.balance.held, held.open.len()), (1, 1), "the Check was carried out, and nobody knows");

    forwarder.lose(Loss::Nothing);
    // A hold lives for a minute: it isn't its expiry that resolves it.
    until("the hold to be given back", SOON, || async { (stack.snapshot(&user).await.balance.held == 0).then_some(()) }).await;
    let after = stack.snapshot(&user).await;
    let lost = after.remembered.iter().find(|hold| hold.terms.request_id == "lost").and_then(|hold| hold.resolved.clone());
    let lost = lost.expect("it is remembered");
    assert_eq!((lost.resolution, lost.outcome), (Resolution::Refunded, Some(Outcome::NothingGenerated)));
    assert_eq!((after.balance.spent, after.balance.available), (1, 9));
    assert_eq!(chat(&stack, &user, "lost").await.expect("the same request id is free"), TEXT);
}

#[tokio::test]
async fn what_a_check_held_whose_answer_was_lost_is_given_back_and_its_request_id_is_free() {
    let upstream = ScriptedUpstream::start().await;
    is_given_back(Plan::with_upstream(&upstream.url())).await;
}

#[tokio::test]
async fn what_a_check_held_whose_answer_was_lost_is_given_back_and_its_request_id_is_free_on_redis() {
    let (upstream, redis) = (ScriptedUpstream::start().await, RedisServer::start());
    is_given_back(Plan::with_upstream(&upstream.url()).on_redis(&redis)).await;
}

async fn leaves_no_trace(plan: Plan<'_>) {
    let (mut stack, forwarder, user) = start(plan).await;
    assert_eq!(chat(&stack, &user, "before").await.expect("an answer"), TEXT);
    let before = until("the chat to be settled", SOON, || async {
        let snapshot = stack.snapshot(&user).await;
        (snapshot.balance.held == 0).then_some(snapshot)
    })
    .await;

    forwarder.lose(Loss::All);
    assert_auth_is_unavailable(chat(&stack, &user, "lost").await);
    forwarder.lose(Loss::Nothing);
    // It ends when nothing is left to be released.
    stack.inferences[0].begin_stop();
    until("the service to end", SOON, || async { stack.inferences[0].is_over().then_some(()) }).await;
    assert_eq!(stack.snapshot(&user).await, before, "nothing was held, and nothing is remembered");
}

#[tokio::test]
async fn a_check_that_never_arrived_is_not_made_to_be_undone() {
    let upstream = ScriptedUpstream::start().await;
    leaves_no_trace(Plan::with_upstream(&upstream.url())).await;
}

#[tokio::test]
async fn a_check_that_never_arrived_is_not_made_to_be_undone_on_redis() {
    let (upstream, redis) = (ScriptedUpstream::start().await, RedisServer::start());
    leaves_no_trace(Plan::with_upstream(&upstream.url()).on_redis(&redis)).await;
}

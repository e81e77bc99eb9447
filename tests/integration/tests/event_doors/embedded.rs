//! With the real model in this process.

use integration::http_client::HttpCall;
use integration::stack::{Plan, TestStore};
use serde_json::{Value, json};

use crate::scene::{MESSAGES, RESPONSES, events, joined, plain_message, plain_response, whole, with};

#[tokio::test]
async fn a_real_models_answer_is_the_same_whole_and_in_events_at_both_doors() {
    let plan = Plan { store: TestStore::Sqlite, upstream: None, auth_replicas: 1, environment: Vec::new() };
    let stack = plan.start().await;
    let user = stack.user("ada").await;
    let address = stack.inferences[0].address();
    let post = |path: &str, body: Value| HttpCall::post(address, path, &body).header("x-api-key", &user.key).send();

    let asked = with(plain_message(), json!({ "temperature": 0, "max_tokens": 8 }));
    let message = whole(&mut post(MESSAGES, asked.clone()).await).await;
    let text = message["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.split_whitespace().count() > 3, "words: {text}");
    assert_eq!((&message["stop_reason"], &message["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(8)));
    let streamed = events(&mut post(MESSAGES, with(asked, json!({ "stream": true }))).await).await;
    assert_eq!(joined(&streamed, "content_block_delta", "/delta/text"), text);

    let asked = with(plain_response(), json!({ "temperature": 0, "max_output_tokens": 8 }));
    let response = whole(&mut post(RESPONSES, asked.clone()).await).await;
    assert_eq!((&response["output"][0]["content"][0]["text"], &response["status"]), (&json!(text), &json!("incomplete")));
    let streamed = events(&mut post(RESPONSES, with(asked, json!({ "stream": true }))).await).await;
    assert_eq!(joined(&streamed, "response.output_text.delta", "/delta"), text);
    assert!(streamed.len() > 10, "several pieces: {}", streamed.len());
    assert_eq!(stack.balance(&user.key).await.available_credits(), 6);
}

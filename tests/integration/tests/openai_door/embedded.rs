//! With the real model in this process.

use integration::http_client::HttpCall;
use integration::stack::{Plan, TestStore};
use serde_json::{Value, json};

use crate::scene::{CHAT, COMPLETIONS, chat, chunks, text, with};

#[tokio::test]
async fn a_real_models_answer_is_the_same_whole_and_in_chunks() {
    let plan = Plan { store: TestStore::Sqlite, upstream: None, auth_replicas: 1, environment: Vec::new() };
    let stack = plan.start().await;
    let user = stack.user("ada").await;
    let address = stack.inferences[0].address();
    let post = |path: &str, body: &Value| HttpCall::post(address, path, body).bearer(&user.key).send();
    let fields = json!({ "temperature": 0, "seed": 7, "max_tokens": 6 });

    let mut whole = post(CHAT, &chat(fields.clone())).await;
    let body = whole.json().await;
    let content = body["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(content.split_whitespace().count() > 2, "words: {content}");
    assert_eq!((&body["choices"][0]["finish_reason"], &body["usage"]["completion_tokens"]), (&json!("length"), &json!(6)));
    assert_eq!(whole.header("x-tollgate-remaining-credits"), Some("9"));

    let mut stream = post(CHAT, &chat(with(fields.clone(), json!({ "stream": true })))).await;
    let chunks = chunks(&mut stream).await;
    assert!(chunks.len() > 4, "several chunks: {}", chunks.len());
    assert_eq!(text(&chunks), content);
    assert_eq!(chunks.last().unwrap()["receipt"], json!({ "charged_credits": 1, "remaining_credits": 8 }));

    let mut completion = post(COMPLETIONS, &with(json!({ "model": "smollm2", "prompt": "The sky is" }), fields)).await;
    assert!(!completion.json().await["choices"][0]["text"].as_str().unwrap().is_empty());
    assert_eq!(stack.balance(&user.key).await.available_credits(), 7);
}

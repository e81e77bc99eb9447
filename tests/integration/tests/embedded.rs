//! Both services with the embedded engine and a real model: SmolLM2-135M, which `scripts/fetch-model` puts into the user's cache folder.
#![cfg(feature = "embedded-engine")]

use std::collections::BTreeSet;
use std::time::Duration;

use integration::polling::until;
use integration::stack::{Answer, Plan, Stack, TestStore, TestUser, chat_request, read_all};
use shared::ErrorReason;
use shared::error::reason_of;
use shared::proto::inference::{self, FinishReason};
use tokio::time::timeout;
use tonic::Code;

/// For what a model does on a machine that others use as well.
const PATIENCE: Duration = Duration::from_secs(60);

fn plan() -> Plan<'static> {
    Plan { store: TestStore::Sqlite, upstream: None, auth_replicas: 1, environment: Vec::new() }
}

fn ask(model: &str, prompt: &str, max_output_tokens: u32) -> inference::ChatRequest {
    let options = inference::Options { temperature: Some(0.0), seed: Some(7), ..Default::default() };
    inference::ChatRequest { max_output_tokens: Some(max_output_tokens), options: Some(options), ..chat_request(model, prompt) }
}

async fn chat(stack: &Stack, user: &TestUser, request: inference::ChatRequest) -> Answer {
    let answer = async {
        match stack.inference(&user.key).chat(request).await {
            Ok(stream) => read_all(&mut stream.into_inner()).await,
            Err(status) => Answer { failure: Some(status), ..Answer::default() },
        }
    };
    timeout(PATIENCE, answer).await.expect("an answer in time")
}

#[tokio::test]
async fn a_real_models_answer_streams_and_ten_credits_become_nine() {
    let stack = plan().start().await;
    let user = stack.user("ada").await;
    let models = stack.inference(&user.key).list_models(inference::ListModelsRequest {}).await.unwrap().into_inner().models;
    assert!(models.iter().any(|model| model.name == "smollm2" && model.size_bytes == 98_362_432), "{models:?}");
    let shown = stack.inference(&user.key).show_model(inference::ShowModelRequest { model: "smollm2".into() }).await.unwrap().into_inner();
    assert_eq!((shown.capabilities, shown.details.unwrap().family.as_str()), (vec!["completion".to_owned()], "llama"));

    let answer = chat(&stack, &user, ask("smollm2", "Why is the sky blue?", 16)).await;

    let finished = answer.finished.as_ref().unwrap();
    assert!(answer.deltas.len() > 5, "several deltas: {}", answer.deltas.len());
    assert!(answer.text().split_whitespace().count() > 5, "words: {}", answer.text());
    let usage = finished.usage.as_ref().unwrap();
    assert_eq!((finished.reason(), usage.output_tokens, usage.estimated), (FinishReason::Length, Some(16), false));
    assert!(usage.input_tokens > Some(5), "{usage:?}");
    let receipt = finished.receipt.as_ref().unwrap();
    assert_eq!((receipt.charged_credits, receipt.remaining_credits), (Some(1), Some(9)));
    let snapshot = stack.snapshot(&user).await;
    assert_eq!((snapshot.balance.available, snapshot.balance.held, snapshot.balance.spent), (9, 0, 1));

    let prompt = inference::GenerateRequest {
        model: "smollm2".into(),
        prompt: "Once upon a time".into(),
        raw: true,
        max_output_tokens: Some(3),
        stream: Some(false),
        ..Default::default()
    };
    let mut stream = stack.inference(&user.key).generate(prompt).await.unwrap().into_inner();
    let (mut deltas, mut finished) = (0, None);
    while let Some(event) = timeout(PATIENCE, stream.message()).await.unwrap().unwrap() {
        match event.event.unwrap() {
            inference::generate_event::Event::Started(_) => {}
            inference::generate_event::Event::Delta(_) => deltas += 1,
            inference::generate_event::Event::Finished(last) => finished = Some(last),
        }
    }
    assert_eq!((deltas, finished.unwrap().receipt.unwrap().remaining_credits), (1, Some(8)));
}

#[tokio::test]
async fn mario_made_from_a_modelfile_answers_and_can_be_removed() {
    let stack = plan().start().await;
    let (user, admin) = (stack.user("ada").await, stack.admin_token().await);
    let system = "You are mario from Super Mario Bros. Answer as Mario, the assistant, only.";
    let modelfile = format!("FROM smollm2\nPARAMETER temperature 0\nSYSTEM \"\"\"{system}\"\"\"\n");
    let request = inference::CreateModelRequest { model: "mario".into(), modelfile };
    let mut steps = stack.models(&admin).create_model(request).await.unwrap().into_inner();
    let mut last = String::new();
    while let Some(step) = steps.message().await.unwrap() {
        last = step.status;
    }
    assert_eq!(last, "success");

    let plain = chat(&stack, &user, ask("smollm2", "Who are you?", 12)).await;
    let mario = chat(&stack, &user, ask("mario", "Who are you?", 12)).await;
    assert!(mario.text().contains("Mario"), "{}", mario.text());
    assert_ne!(mario.text(), plain.text());
    assert_eq!(mario.charged(), Some(1));

    let wrong = inference::CreateModelRequest { model: "lora".into(), modelfile: "FROM smollm2\nADAPTER ./lora.gguf\n".into() };
    let refused = match stack.models(&admin).create_model(wrong).await {
        Err(status) => status,
        Ok(steps) => steps.into_inner().message().await.unwrap_err(),
    };
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("ADAPTER") && refused.message().contains("line 2"), "{}", refused.message());

    stack.models(&admin).delete_model(inference::DeleteModelRequest { model: "mario".into() }).await.unwrap();
    let gone = chat(&stack, &user, ask("mario", "Who are you?", 12)).await;
    assert_eq!(gone.charged().unwrap_or(0), 0);
    let gone = gone.failure.unwrap();
    assert_eq!((gone.code(), reason_of(&gone)), (Code::NotFound, Some(ErrorReason::ModelNotFound)));
    assert_eq!(stack.snapshot(&user).await.balance.spent, 2);
}

#[tokio::test]
async fn a_dropped_stream_frees_the_engine_for_the_next_chat() {
    let stack = plan().start().await;
    let user = stack.user("ada").await;
    // Nobody waits for 4000 tokens: the next chat starts because this one stops.
    let long = ask("smollm2", "Write a long story about a plumber.", 4000);
    let mut stream = stack.inference(&user.key).chat(long).await.unwrap().into_inner();
    for _ in 0..3 {
        timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
    }
    let mut waiting = stack.inference(&user.key).chat(ask("smollm2", "Say hello", 2)).await.unwrap().into_inner();
    assert!(waiting.message().await.unwrap().is_some(), "it is started, and waits for the engine");

    drop(stream);

    let answer = timeout(PATIENCE, read_all(&mut waiting)).await.expect("the engine is free again");
    assert_eq!(answer.charged(), Some(1));
    let balance = until("both to be settled", PATIENCE, || async {
        Some(stack.balance(&user.key).await).filter(|balance| balance.held_credits() == 0)
    })
    .await;
    assert_eq!((balance.available_credits(), balance.spent_credits()), (8, 2));
    stack.snapshot(&user).await;
}

#[tokio::test]
async fn what_the_engine_cannot_do_is_refused_by_name_and_free() {
    let stack = plan().start().await;
    let user = stack.user("ada").await;
    let plain = || ask("smollm2", "hi", 2);
    let mut with_image = plain();
    with_image.messages[0].images.push(include_bytes!("../fixtures/pixel.png").to_vec());
    let with_tool = inference::ChatRequest { tools: vec![inference::Tool { name: "f".into(), ..Default::default() }], ..plain() };
    let format = |kind| Some(inference::Format { kind: Some(kind) });
    let with_json = inference::ChatRequest { format: format(inference::format::Kind::Json(true)), ..plain() };
    let with_schema = inference::ChatRequest { format: format(inference::format::Kind::JsonSchema("{}".into())), ..plain() };
    for (request, feature) in [(with_image, "images"), (with_tool, "tools"), (with_json, "format"), (with_schema, "format")] {
        let refused = chat(&stack, &user, request).await.failure.unwrap();
        assert_eq!((refused.code(), reason_of(&refused)), (Code::Unimplemented, Some(ErrorReason::NotSupported)), "{feature}");
        assert!(refused.message().contains(feature), "{}", refused.message());
    }
    let texts = inference::EmbedRequest { model: "smollm2".into(), inputs: vec!["hi".into()], ..Default::default() };
    let refused = stack.inference(&user.key).embed(texts).await.unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused)), (Code::Unimplemented, Some(ErrorReason::NotSupported)));
    assert!(refused.message().contains("embeddings"), "{}", refused.message());
    assert_eq!(stack.snapshot(&user).await.ledger.len(), 1, "only the starting credits");
}

#[tokio::test]
async fn two_hundred_chats_at_once_admit_exactly_as_many_as_there_are_credits() {
    let stack = plan().set("TOLLGATE_STARTING_CREDITS", "4").set("TOLLGATE_EMBEDDED_QUEUE", "200").start().await;
    let user = stack.user("ada").await;
    let client = stack.inference(&user.key);
    // A system prompt of its own, shorter than the one that the model's template brings.
    let mut request = ask("smollm2", "Hi", 2);
    request.messages.insert(0, inference::Message { role: "system".into(), content: "Short.".into(), ..Default::default() });
    let calls = (0..200).map(|_| {
        let (mut client, request) = (client.clone(), request.clone());
        async move {
            match client.chat(request).await {
                Ok(stream) => read_all(&mut stream.into_inner()).await,
                Err(status) => Answer { failure: Some(status), ..Answer::default() },
            }
        }
    });
    let answers = timeout(PATIENCE, futures_util::future::join_all(calls)).await.expect("answers in time");
    let (admitted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.finished.is_some());
    let reasons: BTreeSet<_> =
        refused.iter().map(|answer| reason_of(answer.failure.as_ref().unwrap()).map(|reason| reason.as_str_name())).collect();
    assert_eq!((admitted.len(), refused.len()), (4, 196), "{reasons:?}");
    assert_eq!(reasons, BTreeSet::from([Some("ERROR_REASON_INSUFFICIENT_CREDITS")]));
    assert!(admitted.iter().all(|answer| answer.charged() == Some(1) && !answer.text().is_empty()));
    let snapshot = stack.snapshot(&user).await;
    assert_eq!((snapshot.balance.available, snapshot.balance.held, snapshot.balance.spent), (0, 0, 4));
}

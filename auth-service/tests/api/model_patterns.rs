//! What API keys are limited to and prices are for: patterns of models' names.

use shared::ErrorReason;
use shared::counted_message::MAX_CHECK_MODELS;
use shared::proto::auth as pb;
use tonic::Code;

use crate::support::*;

async fn limited(server: &mut Server, models: &[&str]) -> String {
    let token = server.user("mario").await;
    let models = models.iter().map(|model| (*model).to_owned()).collect();
    server.key(&token, pb::CreateApiKeyRequest { models, ..Default::default() }).await.key
}

fn asks(credential: &str, models: &[&str]) -> pb::CheckRequest {
    pb::CheckRequest {
        credential: credential.into(),
        operation: pb::Operation::ReadModels.into(),
        models: models.iter().map(|model| (*model).to_owned()).collect(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_limited_key_reaches_its_models_in_every_spelling_and_no_other() {
    let mut server = start().await;
    let key = limited(&mut server, &["library/*", "Hf.co/A/B*", "qwen*:latest"]).await;
    for (number, (model, allowed)) in [
        ("llama3:70b", true),
        ("Registry.Ollama.AI/Library/LLAMA3:local", true),
        ("hf.co/a/b", true),
        ("HF.CO/a/BIG:q8_0", true),
        ("hf.co/evil/big", false),
        ("hf.co/a/c", false),
        ("hf.co/library/llama3", false),
        ("huggingface.co/a/b", false),
        ("someone/qwen", false),
        ("localhost:5000/library/llama3", false),
    ]
    .into_iter()
    .enumerate()
    {
        let check = pb::CheckRequest { model: model.into(), ..chat(&key, &format!("r{number}")) };
        match server.check(check).await {
            Ok(_) => assert!(allowed, "{model}"),
            refused => {
                assert!(!allowed, "{model}: {refused:?}");
                assert_refused(refused, Code::PermissionDenied, ErrorReason::ModelNotAllowed);
            }
        }
    }
}

#[tokio::test]
async fn a_pattern_of_one_tag_lets_no_other_tag_in() {
    let mut server = start().await;
    let key = limited(&mut server, &["llama3*:latest"]).await;
    let check = |model: &str| pb::CheckRequest { model: model.into(), ..chat(&key, "r1") };
    server.check(check("llama3.2")).await.unwrap();
    assert_refused(server.check(check("llama3:70b")).await, Code::PermissionDenied, ErrorReason::ModelNotAllowed);
}

#[tokio::test]
async fn a_pattern_that_could_be_meant_in_two_ways_is_refused_with_what_to_write() {
    let mut server = start().await;
    let token = server.user("mario").await;
    for (pattern, say) in [("*-cloud", "write *-cloud:*"), ("hf.co/b*", "write hf.co/*/b*"), ("x*:*:local", "leave it out")] {
        let refused =
            server.accounts.create_api_key(with(&token, pb::CreateApiKeyRequest { models: vec![pattern.into()], ..Default::default() }));
        let refused = refused.await.map(|_| ());
        assert_eq!(violated(refused.clone()), ["models"], "{pattern}");
        let refused = refused.unwrap_err();
        assert!(refused.message().contains(pattern) && refused.message().contains(say), "{refused:?}");
    }
}

#[tokio::test]
async fn a_caller_is_told_which_of_many_models_it_may_name() {
    let mut server = start().await;
    let key = limited(&mut server, &["llama*", "hf.co/a/*"]).await;
    let models = ["qwen", "LLAMA3:70b", "hf.co/A/x:q4", "hf.co/b/x", "library/llama3:local", "x/llama3"];
    let answer = server.check(asks(&key, &models)).await.unwrap();
    assert_eq!((answer.allowed_models, answer.result), (vec![1, 2, 4], None));
    assert!(!answer.principal.unwrap().user_id.is_empty());
    let token = server.user("luigi").await;
    let every = vec!["qwen"; MAX_CHECK_MODELS];
    assert_eq!(server.check(asks(&token, &every)).await.unwrap().allowed_models.len(), MAX_CHECK_MODELS);
    // More are refused before they are decoded, and none is named beside a charge.
    assert_refused(
        server.check(asks(&token, &[&every[..], &["qwen"]].concat())).await,
        Code::InvalidArgument,
        ErrorReason::InvalidArgument,
    );
    assert_eq!(violated(server.check(pb::CheckRequest { models: vec!["qwen".into()], ..chat(&token, "r1") }).await), ["models"]);
    assert_eq!(violated(server.check(asks(&token, &["qwen", "a b"])).await), ["models"]);
    // Who may not ask learns nothing.
    assert_refused(server.check(asks("tg_x", &["qwen"])).await, Code::Unauthenticated, ErrorReason::CredentialInvalid);
    let manage = pb::CheckRequest { operation: pb::Operation::ManageModels.into(), ..asks(&key, &["llama3"]) };
    assert_refused(server.check(manage).await, Code::PermissionDenied, ErrorReason::RoleRequired);
}

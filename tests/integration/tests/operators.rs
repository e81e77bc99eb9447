//! What operators do with models and users.

use integration::recorded::Release;
use integration::scripted_upstream::{Script, ScriptedUpstream};
use integration::stack::{Plan, chat_request, read_all};
use shared::ErrorReason;
use shared::error::reason_of;
use shared::proto::{auth, inference};
use tonic::{Code, Status, Streaming};

const MARIO: &str = "FROM smollm2\n# a comment\nPARAMETER temperature 1\nSYSTEM \"\"\"You are mario from Super Mario Bros.\n\
                     Answer as Mario, the assistant, only.\"\"\"\n";

async fn statuses(stream: &mut Streaming<inference::CreateModelResponse>) -> Result<Vec<String>, Status> {
    let mut statuses = Vec::new();
    while let Some(step) = stream.message().await? {
        statuses.push(step.status);
    }
    Ok(statuses)
}

#[tokio::test]
async fn an_operator_makes_a_model_from_a_modelfile_and_removes_it() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let admin = stack.admin_token().await;
    let request = inference::CreateModelRequest { model: "mario".into(), modelfile: MARIO.into() };
    let mut stream = stack.models(&admin).create_model(request).await.unwrap().into_inner();
    assert_eq!(statuses(&mut stream).await.unwrap().last().map(String::as_str), Some("success"));
    let sent = upstream.request("/api/create", 0).await.json();
    assert_eq!((sent["model"].as_str(), sent["from"].as_str()), (Some("mario"), Some("smollm2")));
    assert_eq!(sent["system"], "You are mario from Super Mario Bros.\nAnswer as Mario, the assistant, only.");
    assert_eq!(sent["parameters"]["temperature"].as_f64(), Some(1.0));
    stack.models(&admin).delete_model(inference::DeleteModelRequest { model: "mario".into() }).await.unwrap();
    upstream.request("/api/delete", 0).await;
}

#[tokio::test]
async fn a_mistake_in_a_modelfile_is_answered_with_its_line() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let admin = stack.admin_token().await;
    for (modelfile, line) in [
        ("FROM smollm2\nPARAMETER temprature 1\n", "2"),
        ("FROM smollm2\n\nMESSAGE robot hi\n", "3"),
        ("FROM smollm2\nSYSTEM \"\"\"never closed\n", "2"),
        ("FROM smollm2\nADAPTER ./lora.gguf\n", "2"),
        ("FROM ./local.gguf\n", "1"),
        ("FROM smollm2\nSYSTEM \"\"\n", "2"),
        ("FROM smollm2\n\nTEMPLATE \"\"\"\"\"\"\n", "3"),
        ("\u{ff}\u{fe}F\0R\0O\0M\0 \0a\0", "1"),
    ] {
        let request = inference::CreateModelRequest { model: "m".into(), modelfile: modelfile.into() };
        let refused = match stack.models(&admin).create_model(request).await {
            Err(status) => status,
            Ok(stream) => statuses(&mut stream.into_inner()).await.unwrap_err(),
        };
        assert_eq!(refused.code(), Code::InvalidArgument, "{modelfile}: {refused:?}");
        assert!(refused.message().contains(&format!("line {line}")), "{modelfile:?}: {}", refused.message());
    }
    assert!(upstream.requests_to("/api/create").is_empty());
}

#[tokio::test]
async fn a_modelfile_that_ollama_printed_is_refused_with_the_line_to_change_and_works_once_it_is_changed() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let admin = stack.admin_token().await;
    // As the recorded Ollama printed it, but for the name.
    let shown = Release::V0_32.exchange("show-mario").response.body();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let printed = shown["modelfile"].as_str().unwrap().replace("# FROM mario:latest", "# FROM smollm2:latest");
    let create = |modelfile: String| inference::CreateModelRequest { model: "again".into(), modelfile };
    let refused = stack.models(&admin).create_model(create(printed.clone())).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused.message().contains("line 5: ") && refused.message().contains("write FROM smollm2:latest instead"),
        "{}",
        refused.message()
    );
    assert!(!refused.message().contains("/models"), "{}", refused.message());

    let path = printed.lines().find(|line| line.starts_with("FROM ")).unwrap();
    let mut stream = stack.models(&admin).create_model(create(printed.replace(path, "FROM smollm2:latest"))).await.unwrap().into_inner();
    assert_eq!(statuses(&mut stream).await.unwrap().last().map(String::as_str), Some("success"));
    let sent = upstream.request("/api/create", 0).await.json();
    assert_eq!((sent["from"].as_str(), &sent["template"], &sent["system"]), (Some("smollm2"), &shown["template"], &shown["system"]));
}

#[tokio::test]
async fn models_are_operators_business() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    let request = || inference::CreateModelRequest { model: "mario".into(), modelfile: MARIO.into() };
    let refused = stack.models(&user.token).create_model(request()).await.unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused)), (Code::PermissionDenied, Some(ErrorReason::RoleRequired)));
    let refused = stack.models(&user.key).create_model(request()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = stack.models(&user.key).delete_model(inference::DeleteModelRequest { model: "smollm2".into() }).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let models = stack.inference(&user.key).list_models(inference::ListModelsRequest {}).await.unwrap().into_inner().models;
    assert_eq!(models.len(), 1);
    let shown =
        stack.inference(&user.key).show_model(inference::ShowModelRequest { model: models[0].name.clone() }).await.unwrap().into_inner();
    assert_eq!((shown.capabilities, shown.context_length), (vec!["completion".to_owned()], 8192));
    assert_eq!(stack.balance(&user.key).await.available_credits(), 10, "looking costs nothing");
}

#[tokio::test]
async fn a_grant_repeated_under_its_request_id_adds_nothing() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", Script::chat(&["x"]));
    let stack = Plan::with_upstream(&upstream.url()).set("TOLLGATE_STARTING_CREDITS", "0").start().await;
    let user = stack.user("ada").await;
    let refused = stack.inference(&user.key).chat(chat_request("smollm2", "hi")).await.unwrap_err();
    assert_eq!(reason_of(&refused), Some(ErrorReason::InsufficientCredits));
    let admin = stack.admin_token().await;
    let grant = || auth::GrantCreditsRequest {
        account_id: String::new(),
        user_name: "ada".into(),
        credits: 5,
        request_id: "invoice-7".into(),
        note: "paid".into(),
    };
    let first = stack.admin(&admin).grant_credits(grant()).await.unwrap().into_inner();
    let again = stack.admin(&admin).grant_credits(grant()).await.unwrap().into_inner();
    assert_eq!((first.replayed, again.replayed), (false, true));
    assert_eq!(first.ledger_entry_id, again.ledger_entry_id);
    let mut stream = stack.inference(&user.key).chat(chat_request("smollm2", "hi")).await.unwrap().into_inner();
    assert_eq!(read_all(&mut stream).await.finished.unwrap().receipt.unwrap().remaining_credits, Some(4));
    assert_eq!(stack.snapshot(&user).await.balance.granted, 5);
}

#[tokio::test]
async fn what_is_not_built_yet_says_so_by_name() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    let copy = stack.models(&user.key).copy_model(inference::CopyModelRequest::default()).await.unwrap_err();
    let pull = stack.models(&user.key).pull_model(inference::PullModelRequest::default()).await.unwrap_err();
    for (refused, name) in [(copy, "Models.CopyModel"), (pull, "Models.PullModel")] {
        assert_eq!((refused.code(), reason_of(&refused)), (Code::Unimplemented, Some(ErrorReason::NotImplemented)));
        assert!(refused.message().contains(name), "{}", refused.message());
    }
}

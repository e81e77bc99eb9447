//! Models that are missing, or can't answer: a call for one is refused before anything is held.

use integration::polling::{SOON, until};
use integration::scripted_upstream::{Gate, Script, ScriptedUpstream};
use integration::stack::{Plan, Stack, TestUser, chat_request, read_all};
use serde_json::json;
use shared::ErrorReason;
use shared::error::reason_of;
use shared::proto::{auth, inference};
use tonic::{Code, Status};

const MISSING: (Code, ErrorReason) = (Code::NotFound, ErrorReason::ModelNotFound);

async fn chat(stack: &Stack, key: &str, request: inference::ChatRequest) -> Result<(), Status> {
    let answer = read_all(&mut stack.inference(key).chat(request).await?.into_inner()).await;
    answer.failure.map_or(Ok(()), Err)
}

fn refused(answer: Result<(), Status>) -> (Code, ErrorReason) {
    let status = answer.unwrap_err();
    (status.code(), reason_of(&status).unwrap())
}

/// How many requests the store remembers of an account, and how many entries its ledger has.
async fn kept(stack: &Stack, user: &TestUser) -> (usize, usize) {
    let snapshot = stack.snapshot(user).await;
    (snapshot.remembered.len() + snapshot.open.len(), snapshot.ledger.len())
}

/// What upstream was asked for, but for its version, by which it is known to be there.
fn asked(upstream: &ScriptedUpstream) -> Vec<String> {
    upstream.requests().into_iter().map(|request| request.path).filter(|path| path != "/api/version").collect()
}

#[tokio::test]
async fn a_model_that_is_missing_is_refused_without_a_hold_whatever_its_name() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    let before = kept(&stack, &user).await;
    for number in 0..50 {
        let name = format!("made-up-{number}");
        assert_eq!(refused(chat(&stack, &user.key, chat_request(&name, "hi")).await), MISSING);
        let generate = inference::GenerateRequest { model: format!("hf.co/x/{name}:q4"), prompt: "hi".into(), ..Default::default() };
        let generated = stack.inference(&user.key).generate(generate).await.map(|_| ());
        assert_eq!(refused(generated), MISSING);
        // With more than text, too.
        let tools = vec![inference::Tool { name: "f".into(), ..Default::default() }];
        assert_eq!(refused(chat(&stack, &user.key, inference::ChatRequest { tools, ..chat_request(&name, "hi") }).await), MISSING);
    }
    assert_eq!(kept(&stack, &user).await, before);
    assert!(upstream.requests_to("/api/chat").is_empty() && upstream.requests_to("/api/generate").is_empty());
    assert!(upstream.requests_to("/api/show").is_empty(), "missing models aren't asked for one by one");
    // Those that are there are used meanwhile.
    chat(&stack, &user.key, chat_request("smollm2:latest", "hi")).await.unwrap();
}

#[tokio::test]
async fn a_call_for_a_model_that_is_there_asks_for_no_list() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).set("TOLLGATE_STARTING_CREDITS", "1000").start().await;
    let user = stack.user("ada").await;
    for spelling in ["smollm2", "smollm2:latest", "library/smollm2", "registry.ollama.ai/library/smollm2:local"] {
        for _ in 0..5 {
            chat(&stack, &user.key, chat_request(spelling, "hi")).await.unwrap();
        }
    }
    assert_eq!(upstream.requests_to("/api/tags").len(), 1);
    assert_eq!(upstream.requests_to("/api/chat").len(), 20);
}

#[tokio::test]
async fn who_may_not_name_a_model_learns_nothing_of_whether_it_is_there() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    let limited = auth::CreateApiKeyRequest { models: vec!["mine*".into()], ..Default::default() };
    let limited = stack.accounts(&user.token).create_api_key(limited).await.unwrap().into_inner().key;
    for model in ["smollm2", "nosuch"] {
        let unauthenticated = refused(chat(&stack, "tg_nobody", chat_request(model, "hi")).await);
        assert_eq!(unauthenticated, (Code::Unauthenticated, ErrorReason::CredentialInvalid), "{model}");
        let denied = refused(chat(&stack, &limited, chat_request(model, "hi")).await);
        assert_eq!(denied, (Code::PermissionDenied, ErrorReason::ModelNotAllowed), "{model}");
    }
    assert_eq!(asked(&upstream), Vec::<String>::new());
    assert_eq!(refused(chat(&stack, &limited, chat_request("mine", "hi")).await), MISSING);
}

#[tokio::test]
async fn a_new_model_is_used_at_once_when_made_here_and_soon_when_pulled_elsewhere() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (user, admin) = (stack.user("ada").await, stack.admin_token().await);
    assert_eq!(refused(chat(&stack, &user.key, chat_request("mario", "hi")).await), MISSING);
    let create = inference::CreateModelRequest { model: "mario".into(), modelfile: "FROM smollm2".into() };
    let mut steps = stack.models(&admin).create_model(create).await.unwrap().into_inner();
    while steps.message().await.unwrap().is_some() {}
    chat(&stack, &user.key, chat_request("mario", "hi")).await.unwrap();
    stack.models(&admin).delete_model(inference::DeleteModelRequest { model: "mario".into() }).await.unwrap();
    let before = kept(&stack, &user).await;
    assert_eq!(refused(chat(&stack, &user.key, chat_request("mario", "hi")).await), MISSING);
    assert_eq!(kept(&stack, &user).await, before);
    upstream.model("pulled", &["completion"], 8192);
    until("the pulled model is used", SOON, || async {
        let answered = chat(&stack, &user.key, chat_request("pulled", "hi")).await;
        answered.is_ok().then_some(()).or_else(|| {
            assert_eq!(refused(answered), MISSING);
            None
        })
    })
    .await;
}

#[tokio::test]
async fn a_model_that_was_removed_elsewhere_costs_one_hold_and_no_second() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    chat(&stack, &user.key, chat_request("smollm2", "hi")).await.unwrap();
    upstream.script("/api/chat", Script::error(404, "model 'smollm2' not found"));
    upstream.script("/api/tags", Script::json(200, &json!({ "models": [] })));
    assert_eq!(refused(chat(&stack, &user.key, chat_request("smollm2", "hi")).await), MISSING);
    let before = kept(&stack, &user).await;
    until("a list says that it is missing", SOON, || async {
        let sent = upstream.requests_to("/api/chat").len();
        assert_eq!(refused(chat(&stack, &user.key, chat_request("smollm2", "hi")).await), MISSING);
        (upstream.requests_to("/api/chat").len() == sent).then_some(())
    })
    .await;
    assert_eq!(kept(&stack, &user).await, before);
}

#[tokio::test]
async fn a_list_that_can_not_be_had_or_read_keeps_nobody_from_a_model() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).set("TOLLGATE_STARTING_CREDITS", "1000").start().await;
    let user = stack.user("ada").await;
    for script in [
        Script::error(500, "model list cache unavailable"),
        Script::body(404, "text/plain", "404 page not found"),
        Script::body(200, "application/json", "{"),
        Script::json(200, &json!({ "models": 1 })),
        Script::stream().cut(),
    ] {
        upstream.script("/api/tags", script);
        chat(&stack, &user.key, chat_request("smollm2", "hi")).await.unwrap();
        assert_eq!(refused(chat(&stack, &user.key, chat_request("nosuch", "hi")).await), MISSING);
    }
    assert_eq!(upstream.requests_to("/api/chat").len(), 10);
}

#[tokio::test]
async fn a_list_that_does_not_come_holds_up_no_call_for_a_model_that_is_there() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    chat(&stack, &user.key, chat_request("smollm2", "hi")).await.unwrap();
    let gate = Gate::new();
    upstream.script("/api/tags", Script::json(200, &json!({ "models": [] })).head_gate(&gate));
    // Until the list of before is too old, the call is answered by it.
    let missing = until("the list is asked for anew", SOON, || async {
        let mut inference = stack.inference(&user.key);
        let call = tokio::spawn(async move { inference.chat(chat_request("nosuch", "hi")).await.map(|_| ()) });
        let asked = || upstream.requests_to("/api/tags").len() == 2;
        until("an answer, or a list", SOON, || async { (call.is_finished() || asked()).then_some(()) }).await;
        asked().then_some(call)
    })
    .await;
    chat(&stack, &user.key, chat_request("smollm2", "hi")).await.unwrap();
    assert!(!missing.is_finished(), "it waits for the list");
    gate.open_for_good();
    assert_eq!(refused(missing.await.unwrap()), MISSING);
}

#[tokio::test]
async fn a_model_that_answers_nothing_or_runs_elsewhere_is_refused_without_a_hold_once_that_is_known() {
    let upstream = ScriptedUpstream::start().await;
    upstream.model("embeds", &["embedding"], 2048);
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    upstream.script("/api/chat", Script::error(400, "\"embeds\" does not support chat"));
    let incapable = (Code::FailedPrecondition, ErrorReason::ModelIncapable);
    // Ollama 0.24 doesn't list what a model can do: the first call finds it out.
    assert_eq!(refused(chat(&stack, &user.key, chat_request("embeds", "hi")).await), incapable);
    let before = kept(&stack, &user).await;
    for _ in 0..5 {
        assert_eq!(refused(chat(&stack, &user.key, chat_request("embeds", "hi")).await), incapable);
    }
    assert_eq!((kept(&stack, &user).await, upstream.requests_to("/api/chat").len()), (before, 1));

    // Ollama 0.32 lists it.
    let upstream = ScriptedUpstream::start().await;
    upstream.model("embeds", &["embedding"], 2048);
    let tags = json!({ "models": [
        { "name": "embeds:latest", "capabilities": ["embedding"] },
        { "name": "far:latest", "remote_host": "https://ollama.com:443", "remote_model": "gpt-oss:120b" },
    ] });
    upstream.script("/api/tags", Script::json(200, &tags));
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    let before = kept(&stack, &user).await;
    assert_eq!(refused(chat(&stack, &user.key, chat_request("embeds", "hi")).await), incapable);
    assert_eq!(refused(chat(&stack, &user.key, chat_request("far", "hi")).await), (Code::Unimplemented, ErrorReason::NotSupported));
    assert_eq!((kept(&stack, &user).await, upstream.requests_to("/api/chat").len()), (before, 0));
}

#[tokio::test]
async fn a_name_or_a_request_id_that_is_too_long_is_refused_by_its_field_before_anything_is_held() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    let before = kept(&stack, &user).await;
    let (name, id) = (format!("{}:{}", "m".repeat(80), "t".repeat(80)), "r".repeat(65));
    for (request, says) in [
        (chat_request(&name, "hi"), "model must"),
        (inference::ChatRequest { request_id: id, ..chat_request("smollm2", "hi") }, "request_id must be empty, or 1 to 64"),
    ] {
        let status = chat(&stack, &user.key, request).await.unwrap_err();
        assert!(status.code() == Code::InvalidArgument && status.message().starts_with(says), "{status:?}");
    }
    assert_eq!(asked(&upstream), Vec::<String>::new());
    assert_eq!(kept(&stack, &user).await, before);
    let longest = inference::ChatRequest { request_id: "r".repeat(64), ..chat_request("smollm2", "hi") };
    chat(&stack, &user.key, longest).await.unwrap();
}

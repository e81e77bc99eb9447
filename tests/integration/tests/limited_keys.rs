//! API keys that are limited to some models: what they see, use, make and remove.

use integration::scripted_upstream::{Script, ScriptedUpstream};
use integration::stack::{Plan, Stack, chat_request, read_all};
use serde_json::json;
use shared::ErrorReason;
use shared::error::reason_of;
use shared::proto::{auth, inference};
use tonic::{Code, Status};

async fn key(stack: &Stack, token: &str, models: &[&str]) -> String {
    let request = auth::CreateApiKeyRequest {
        scopes: ["inference", "models", "account"].map(str::to_owned).to_vec(),
        models: models.iter().map(|model| (*model).to_owned()).collect(),
        ..Default::default()
    };
    stack.accounts(token).create_api_key(request).await.unwrap().into_inner().key
}

async fn list(stack: &Stack, key: &str) -> Vec<inference::Model> {
    stack.inference(key).list_models(inference::ListModelsRequest {}).await.unwrap().into_inner().models
}

async fn listed(stack: &Stack, key: &str) -> Vec<String> {
    list(stack, key).await.into_iter().map(|model| model.name).collect()
}

async fn create(stack: &Stack, key: &str, model: &str, modelfile: &str) -> Result<(), Status> {
    let request = inference::CreateModelRequest { model: model.into(), modelfile: modelfile.into() };
    let mut steps = stack.models(key).create_model(request).await?.into_inner();
    while steps.message().await?.is_some() {}
    Ok(())
}

async fn delete(stack: &Stack, key: &str, model: &str) -> Result<(), Status> {
    stack.models(key).delete_model(inference::DeleteModelRequest { model: model.into() }).await.map(|_| ())
}

fn refused(answer: Result<(), Status>) -> (Code, ErrorReason) {
    let status = answer.unwrap_err();
    (status.code(), reason_of(&status).unwrap())
}

const NOT_ALLOWED: (Code, ErrorReason) = (Code::PermissionDenied, ErrorReason::ModelNotAllowed);
const NO_CLOUD: (Code, ErrorReason) = (Code::PermissionDenied, ErrorReason::CloudModelNotAllowed);

#[tokio::test]
async fn a_limited_key_is_listed_its_models_and_nobody_a_cloud_model_that_chat_would_refuse() {
    let upstream = ScriptedUpstream::start().await;
    let tag = |name: &str, parent: &str| json!({ "name": name, "details": { "parent_model": parent } });
    let tags = json!({ "models": [
        tag("smollm2:latest", ""), tag("SmolLM2:1b", "smollm2:latest"), tag("mine:latest", "hf.co/evil/big:q4"), tag("qwen3:8b", ""),
        tag("hf.co/evil/big:q4", ""), tag("gpt-oss:20b-cloud", ""), tag("glm:cloud", ""),
        { "name": "far:latest", "remote_host": "https://ollama.com:443", "remote_model": "gpt-oss:120b" },
    ] });
    upstream.script("/api/tags", Script::json(200, &tags));
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    let local = ["smollm2", "SmolLM2:1b", "mine", "qwen3:8b", "hf.co/evil/big:q4"];
    assert_eq!(listed(&stack, &user.key).await, local);
    for (patterns, models) in [
        (&["library/*"][..], &local[..4]),
        (&["smollm2"], &local[..1]),
        (&["SMOLLM2*", "HF.co/Evil/Big:*"], &["smollm2", "SmolLM2:1b", "hf.co/evil/big:q4"]),
        (&["*:latest"], &["smollm2", "mine"]),
        (&["nosuch", "glm:cloud", "far"], &[]),
    ] {
        let key = key(&stack, &user.token, patterns).await;
        assert_eq!(listed(&stack, &key).await, models, "{patterns:?}");
    }
    // What a model was made from is a model's name, too.
    let parents =
        async |key: &str| list(&stack, key).await.into_iter().map(|model| model.details.unwrap().parent_model).collect::<Vec<_>>();
    assert_eq!(parents(&user.key).await, ["", "smollm2", "hf.co/evil/big:q4", "", ""]);
    assert_eq!(parents(&key(&stack, &user.token, &["library/*"]).await).await, ["", "smollm2", "", ""]);
    // Who isn't let in makes Ollama list nothing.
    let before = upstream.requests_to("/api/tags").len();
    let stranger = stack.inference("tg_nobody").list_models(inference::ListModelsRequest {}).await.unwrap_err();
    assert_eq!((stranger.code(), upstream.requests_to("/api/tags").len()), (Code::Unauthenticated, before));
}

#[tokio::test]
async fn cloud_models_are_listed_where_they_are_allowed() {
    let upstream = ScriptedUpstream::start().await;
    let tags = json!({ "models": [
        { "name": "gpt-oss:20b-cloud", "remote_host": "https://ollama.com:443" },
        { "name": "far:latest", "remote_host": "https://ollama.com:443" },
    ] });
    upstream.script("/api/tags", Script::json(200, &tags));
    let stack = Plan::with_upstream(&upstream.url()).set("TOLLGATE_ALLOW_CLOUD_MODELS", "true").start().await;
    let user = stack.user("ada").await;
    assert_eq!(listed(&stack, &user.key).await, ["gpt-oss:20b-cloud", "far"]);
    assert_eq!(listed(&stack, &key(&stack, &user.token, &["*:*-cloud"]).await).await, ["gpt-oss:20b-cloud"]);
}

#[tokio::test]
async fn thousands_of_models_are_listed_to_a_limited_key() {
    let upstream = ScriptedUpstream::start().await;
    // Each name is as long as names are, so that they don't fit into one Check.
    let name = |number: usize| format!("{}-{number:04}:{}", "m".repeat(60), if number.is_multiple_of(2) { "even" } else { "odd" });
    let tags: Vec<_> = (0..2500).map(|number| json!({ "name": name(number) })).collect();
    upstream.script("/api/tags", Script::json(200, &json!({ "models": tags })));
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    assert_eq!(listed(&stack, &user.key).await.len(), 2500);
    let even: Vec<_> = (0..2500).step_by(2).map(name).collect();
    assert_eq!(listed(&stack, &key(&stack, &user.token, &["*:even"]).await).await, even);
}

#[tokio::test]
async fn a_limited_key_uses_and_is_shown_its_models_in_every_spelling_and_no_other() {
    let upstream = ScriptedUpstream::start().await;
    for name in ["hf.co/a/b", "hf.co/a/bc:q4", "hf.co/evil/big", "llama3.2", "llama3.2:70b"] {
        upstream.model(name, &["completion"], 8192);
    }
    let stack = Plan::with_upstream(&upstream.url()).set("TOLLGATE_STARTING_CREDITS", "1000").start().await;
    let user = stack.user("ada").await;
    let key = key(&stack, &user.token, &["library/*:latest", "Hf.co/A/B*"]).await;
    let show = async |model: &str| stack.inference(&key).show_model(inference::ShowModelRequest { model: model.into() }).await.map(|_| ());
    let chat = async |model: &str| -> Result<(), Status> {
        let answer = read_all(&mut stack.inference(&key).chat(chat_request(model, "hi")).await?.into_inner()).await;
        answer.failure.map_or(Ok(()), Err)
    };
    for model in ["smollm2", "llama3.2:local", "hf.co/a/b", "hf.co/a/bc:q4"] {
        show(model).await.unwrap();
        chat(model).await.unwrap();
    }
    for model in ["hf.co/evil/big", "llama3.2:70b", "HF.CO/evil/Big:LATEST", "no/such", "hf.co/a/cb"] {
        assert_eq!(refused(show(model).await), NOT_ALLOWED, "{model}");
        assert_eq!(refused(chat(model).await), NOT_ALLOWED, "{model}");
    }
    for model in ["gpt-oss:20b-cloud", "gpt-oss:cloud"] {
        assert_eq!(refused(show(model).await), NO_CLOUD, "{model}");
        assert_eq!(refused(chat(model).await), NO_CLOUD, "{model}");
    }
    assert_eq!(upstream.requests_to("/api/chat").len(), 4);
}

#[tokio::test]
async fn a_limited_key_makes_and_removes_its_models_of_its_models_alone() {
    let upstream = ScriptedUpstream::start().await;
    upstream.model("secret", &["completion"], 8192);
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let admin = stack.admin_token().await;
    let key = key(&stack, &admin, &["team-*", "smollm2"]).await;
    assert_eq!(refused(create(&stack, &key, "other", "FROM smollm2").await), NOT_ALLOWED);
    assert_eq!(refused(create(&stack, &key, "smollm2:other", "FROM smollm2").await), NOT_ALLOWED);
    assert_eq!(refused(create(&stack, &key, "team-a", "FROM secret").await), NOT_ALLOWED);
    assert_eq!(refused(create(&stack, &key, "team-a", "FROM smollm2\nFROM Library/SECRET:local").await), NOT_ALLOWED);
    assert_eq!(refused(create(&stack, &key, "team-a", "FROM hf.co/team-a/smollm2").await), NOT_ALLOWED);
    assert_eq!(refused(delete(&stack, &key, "secret").await), NOT_ALLOWED);
    assert_eq!(refused(delete(&stack, &key, "hf.co/x/team-a").await), NOT_ALLOWED);
    assert!(upstream.requests_to("/api/create").is_empty() && upstream.requests_to("/api/delete").is_empty());
    assert!(upstream.requests_to("/api/show").is_empty(), "whether a model is there is told to nobody who may not name it");
    create(&stack, &key, "team-a:1b", "FROM smollm2:latest").await.unwrap();
    delete(&stack, &key, "team-a:1b").await.unwrap();
    // An access token isn't limited.
    create(&stack, &admin, "other", "FROM secret").await.unwrap();
    delete(&stack, &admin, "secret").await.unwrap();
}

#[tokio::test]
async fn no_model_is_made_under_a_name_that_chat_would_refuse() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let admin = stack.admin_token().await;
    for cloud in ["mine:cloud", "mine:20b:cloud", "mine:x-Cloud", "hf.co/a/b:cloud"] {
        assert_eq!(refused(create(&stack, &admin, cloud, "FROM smollm2").await), NO_CLOUD, "{cloud}");
    }
    let wrong = (Code::InvalidArgument, ErrorReason::InvalidArgument);
    let long = format!("{}:{}", "m".repeat(80), "t".repeat(80));
    for name in
        ["", "a b", "mine:latest-cloud", "mine@sha256:00", "https://hf.co/a/b", "mine\0", "m\u{ed}ne", "/mine", "mine/", "mine:", &long]
    {
        assert_eq!(refused(create(&stack, &admin, name, "FROM smollm2").await), wrong, "{name:?}");
    }
    assert!(upstream.requests_to("/api/create").is_empty());
    // One that is there all the same can be removed.
    upstream.model("left:cloud", &["completion"], 8192);
    delete(&stack, &admin, "left:cloud").await.unwrap();
}

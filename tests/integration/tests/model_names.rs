//! However a model's name is spelled, it is one model to Ollama, and so it is to whoever pays.

use integration::scripted_upstream::{Script, ScriptedUpstream};
use integration::stack::{Plan, chat_request, read_all};
use shared::ErrorReason;
use shared::error::reason_of;
use shared::proto::auth;
use tonic::Code;

#[tokio::test]
async fn every_spelling_of_a_model_is_charged_and_sent_as_one() {
    let upstream = ScriptedUpstream::start().await;
    upstream.model("llama3.2", &["completion"], 8192);
    upstream.script("/api/chat", Script::chat(&["x"]));
    let stack = Plan::with_upstream(&upstream.url())
        .set("TOLLGATE_PRICES", "llama3.2=61,*=1")
        .set("TOLLGATE_STARTING_CREDITS", "10000")
        .start()
        .await;
    let user = stack.user("ada").await;
    let limited = auth::CreateApiKeyRequest { models: vec!["llama3.2".into()], ..Default::default() };
    let limited = stack.accounts(&user.token).create_api_key(limited).await.unwrap().into_inner().key;
    let spellings = [
        "llama3.2",
        "llama3.2:latest",
        "llama3.2:local",
        "llama3.2:LOCAL",
        "llama3.2:latest:Local",
        "library/llama3.2:local",
        "Registry.Ollama.AI/library/llama3.2:local",
    ];
    for (number, spelling) in spellings.into_iter().enumerate() {
        let mut stream = stack.inference(&limited).chat(chat_request(spelling, "hi")).await.unwrap().into_inner();
        let answer = read_all(&mut stream).await;
        assert_eq!(answer.charged(), Some(61), "{spelling}");
        assert_eq!(upstream.request("/api/chat", number).await.json()["model"], "llama3.2", "{spelling}");
    }
    // Case is left as it is on the way, and tells nothing apart in the price.
    let mut stream = stack.inference(&limited).chat(chat_request("LLAMA3.2:Local", "hi")).await.unwrap().into_inner();
    assert_eq!(read_all(&mut stream).await.charged(), Some(61));
    assert_eq!(upstream.request("/api/chat", spellings.len()).await.json()["model"], "LLAMA3.2");
    for wrong in ["llama3.2:cloud:local", "llama3.2:local:local", "https://registry.ollama.ai/library/llama3.2", " llama3.2", "llama3.2."] {
        let refused = stack.inference(&user.key).chat(chat_request(wrong, "hi")).await.unwrap_err();
        assert_eq!((refused.code(), reason_of(&refused)), (Code::InvalidArgument, Some(ErrorReason::InvalidArgument)), "{wrong}");
        assert!(refused.message().starts_with("model must"), "{wrong}: {refused:?}");
    }
    for cloud in ["llama3.2:cloud", "llama3.2:3b:CLOUD", "llama3.2:3b-Cloud"] {
        let refused = stack.inference(&user.key).chat(chat_request(cloud, "hi")).await.unwrap_err();
        assert_eq!(reason_of(&refused), Some(ErrorReason::CloudModelNotAllowed), "{cloud}");
    }
    assert_eq!(upstream.requests_to("/api/chat").len(), spellings.len() + 1);
}

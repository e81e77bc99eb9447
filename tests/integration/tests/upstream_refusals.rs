//! What Ollama refuses, in the words of each of its releases, is the same to a caller.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use integration::scripted_upstream::{Script, ScriptedUpstream};
use integration::stack::{Plan, Stack, TestUser, chat_request, read_all};
use serde_json::json;
use shared::ErrorReason as Reason;
use shared::error::{reason_of, retry_delay_of};
use shared::proto::inference;
use tonic::{Code, Status};

/// A PNG of one pixel, whole.
const PNG: &[u8] = &[
    0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', 0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0, 1, 8, 6, 0, 0, 0, 0x1f,
    0x15, 0xc4, 0x89, 0, 0, 0, 13, b'I', b'D', b'A', b'T', 0x78, 0x9c, 0x63, 0xf8, 0xcf, 0xc0, 0xf0, 0x1f, 0, 5, 0, 1, 0xff, 0x89, 0x99,
    0x3d, 0x1d, 0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82,
];

/// The runner's refusal, as Ollama 0.32 passes it on.
fn nested(status: u16, message: &str, kind: &str) -> Script {
    let inner = json!({ "error": { "code": status, "message": message, "type": kind } });
    Script::error(status, &inner.to_string())
}

async fn start(upstream: &ScriptedUpstream) -> (Stack, TestUser) {
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = stack.user("ada").await;
    (stack, user)
}

/// A chat that fails and costs nothing.
async fn refused(stack: &Stack, user: &TestUser, request: inference::ChatRequest) -> Status {
    let failure = match stack.inference(&user.key).chat(request).await {
        Err(status) => status,
        Ok(answer) => read_all(&mut answer.into_inner()).await.failure.unwrap(),
    };
    let snapshot = stack.snapshot(user).await;
    assert_eq!((snapshot.balance.spent, snapshot.balance.held), (0, 0), "{failure:?}");
    failure
}

#[tokio::test]
async fn a_prompt_that_is_too_long_and_a_bad_schema_are_the_callers_mistake_in_the_words_of_either_release() {
    let upstream = ScriptedUpstream::start().await;
    let (stack, user) = start(&upstream).await;
    let exceeds = "request (2710 tokens) exceeds the available context size (256 tokens), try increasing it";
    let schema =
        "Field 'json_schema': \"json_schema\": JSON schema conversion failed:\nJSON schema error at #: unrecognized type nosuchtype";
    let inner = json!({ "error": { "code": 400, "message": exceeds, "type": "exceed_context_size_error", "n_ctx": 256 } }).to_string();
    let twice = json!({ "error": inner }).to_string();
    for (script, reason, says) in [
        (Script::error(400, "the input length exceeds the context length"), Reason::InvalidArgument, "longer than the model's context"),
        (nested(400, exceeds, "exceed_context_size_error"), Reason::InvalidArgument, "longer than the model's context"),
        (nested(400, "anything", "exceed_context_size_error"), Reason::InvalidArgument, "longer than the model's context"),
        (Script::error(400, &twice), Reason::InvalidArgument, "longer than the model's context"),
        (Script::error(400, &inner[..inner.len() - 40]), Reason::InvalidArgument, "longer than the model's context"),
        (Script::error(400, &inner.replace("\"type\"", "type")), Reason::InvalidArgument, "longer than the model's context"),
        (Script::stream().error_line(&inner), Reason::InvalidArgument, "longer than the model's context"),
        (Script::error(500, "invalid JSON schema in format"), Reason::UpstreamRejected, "schema"),
        (nested(400, schema, "invalid_request_error"), Reason::UpstreamRejected, "schema"),
        (nested(500, schema, "server_error"), Reason::UpstreamRejected, "schema"),
    ] {
        let what = format!("{script:?}");
        upstream.script_once("/api/chat", script);
        let refused = refused(&stack, &user, chat_request("smollm2", "hi")).await;
        assert_eq!((refused.code(), reason_of(&refused)), (Code::InvalidArgument, Some(reason)), "{what}");
        assert!(refused.message().contains(says) && retry_delay_of(&refused).is_none(), "{what}: {refused:?}");
        assert!(!refused.message().contains("2710") && !refused.message().contains("nosuchtype"), "{what}: {refused:?}");
    }
}

#[tokio::test]
async fn a_picture_that_ollama_can_not_read_is_the_callers_mistake_and_not_to_be_sent_again() {
    let upstream = ScriptedUpstream::start().await;
    upstream.model("seeing", &["completion", "vision"], 8192);
    let (stack, user) = start(&upstream).await;
    let mut request = chat_request("seeing", "what is this?");
    request.messages[0].images.push(PNG.to_vec());
    for script in [
        Script::error(500, "Failed to create new sequence: failed to process inputs: image: unknown format"),
        Script::error(500, "Failed to create new sequence: failed to process inputs: unexpected EOF"),
        Script::error(500, "Failed to create new sequence: failed to process inputs: png: invalid format: not enough pixel data"),
        nested(400, "Failed to load image or audio file", "invalid_request_error"),
        nested(500, "Failed to load image or audio file", "server_error"),
        Script::error(500, "decode WebP image: riff: short chunk data"),
    ] {
        let what = format!("{script:?}");
        upstream.script_once("/api/chat", script);
        let refused = refused(&stack, &user, request.clone()).await;
        assert_eq!((refused.code(), reason_of(&refused)), (Code::InvalidArgument, Some(Reason::UpstreamRejected)), "{what}");
        assert!(retry_delay_of(&refused).is_none() && refused.message().contains("pictures"), "{what}: {refused:?}");
    }
}

#[tokio::test]
async fn a_picture_for_a_model_without_vision_is_answered_the_same_by_either_release() {
    let upstream = ScriptedUpstream::start().await;
    upstream.model("was-seeing", &["completion", "vision"], 8192);
    let (stack, user) = start(&upstream).await;
    let mut request = chat_request("smollm2", "what is this?");
    request.messages[0].images.push(PNG.to_vec());
    let before = refused(&stack, &user, request.clone()).await;
    assert!(upstream.requests_to("/api/chat").is_empty());
    // Whoever was believed to see says so only when it is asked.
    request.model = "was-seeing".to_owned();
    for script in [
        nested(400, "Multimodal data provided, but model does not support multimodal requests.", "invalid_request_error"),
        nested(500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj", "server_error"),
        Script::error(500, "Failed to create new sequence: failed to process inputs: this model is missing data required for image input"),
    ] {
        upstream.script_once("/api/chat", script);
        let refused = refused(&stack, &user, request.clone()).await;
        assert_eq!((refused.code(), reason_of(&refused), refused.message()), (before.code(), reason_of(&before), before.message()));
    }
    assert_eq!((before.code(), reason_of(&before)), (Code::FailedPrecondition, Some(Reason::ModelIncapable)));
}

#[tokio::test]
async fn a_model_that_is_made_for_something_else_can_not_chat_and_one_whose_weights_are_gone_is_broken() {
    let upstream = ScriptedUpstream::start().await;
    for (model, capabilities) in
        [("nomic", &["embedding"][..]), ("painter", &["image"]), ("gone", &[]), ("gone-with-tools", &["tools"]), ("whole", &["completion"])]
    {
        upstream.model(model, capabilities, 8192);
    }
    let (stack, user) = start(&upstream).await;
    for (model, reason) in [
        ("nomic", Reason::ModelIncapable),
        ("painter", Reason::ModelIncapable),
        ("gone", Reason::ModelBroken),
        ("gone-with-tools", Reason::ModelBroken),
        ("whole", Reason::ModelBroken),
    ] {
        upstream.script_once("/api/chat", Script::error(400, &format!("\"{model}\" does not support chat")));
        let failure = refused(&stack, &user, chat_request(model, "hi")).await;
        assert_eq!((failure.code(), reason_of(&failure)), (Code::FailedPrecondition, Some(reason)), "{model}: {failure:?}");

        upstream.script("/api/generate", Script::error(400, &format!("\"{model}\" does not support generate")));
        let request = inference::GenerateRequest { model: model.to_owned(), prompt: "hi".to_owned(), ..Default::default() };
        // What the first call found out of a model, the second is told before anything is held.
        let failure = match stack.inference(&user.key).generate(request).await {
            Ok(answer) => read_all(&mut answer.into_inner()).await.failure.unwrap(),
            Err(refused) => refused,
        };
        assert_eq!(reason_of(&failure), Some(reason), "{model}");
    }
}

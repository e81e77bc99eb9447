//! What a proxy in front of Ollama asks for is sent with every request, and shown nowhere.

use std::collections::BTreeMap;

use integration::polling::{SOON, until};
use integration::processes::{ServiceProcess, run};
use integration::reserved_port::ReservedPort;
use integration::scripted_upstream::{Script, ScriptedUpstream};
use integration::stack::{Plan, chat_request, read_all};
use shared::proto::inference;

/// Every kind of request that goes to Ollama, and what each says of who asks.
async fn sent(upstream: &ScriptedUpstream, stack: &integration::stack::Stack) -> Vec<(String, Option<String>)> {
    let (user, admin) = (stack.user("ada").await, stack.admin_token().await);
    let mut client = stack.inference(&user.key);
    let answer = read_all(&mut client.chat(chat_request("smollm2", "hi")).await.unwrap().into_inner()).await;
    assert!(answer.finished.is_some(), "{answer:?}");
    let request = inference::GenerateRequest { model: "smollm2".into(), prompt: "hi".into(), ..Default::default() };
    read_all(&mut client.generate(request).await.unwrap().into_inner()).await;
    client.list_models(inference::ListModelsRequest {}).await.unwrap();
    client.show_model(inference::ShowModelRequest { model: "smollm2".into() }).await.unwrap();
    let create = inference::CreateModelRequest { model: "x".into(), modelfile: "FROM smollm2".into() };
    let mut steps = stack.models(&admin).create_model(create).await.unwrap().into_inner();
    while steps.message().await.unwrap().is_some() {}
    stack.models(&admin).delete_model(inference::DeleteModelRequest { model: "x".into() }).await.unwrap();
    upstream.requests().iter().map(|request| (request.path.clone(), request.header("authorization").map(str::to_owned))).collect()
}

const PATHS: [&str; 6] = ["/api/chat", "/api/generate", "/api/tags", "/api/show", "/api/create", "/api/delete"];

#[tokio::test]
async fn a_credential_in_ollama_host_is_basic_authentication_on_every_request() {
    let upstream = ScriptedUpstream::start().await;
    let host = format!("http://ada:p%40ss%2Fword@{}", upstream.address());
    let stack = Plan::with_upstream(&host).start().await;
    let sent = sent(&upstream, &stack).await;
    for path in PATHS {
        assert!(sent.iter().any(|(sent, _)| sent == path), "{path} was not asked");
    }
    for (path, authorization) in sent {
        // ada:p@ss/word
        assert_eq!(authorization.as_deref(), Some("Basic YWRhOnBAc3Mvd29yZA=="), "{path}");
    }
    for request in upstream.requests() {
        assert_eq!(request.header("host"), Some(upstream.address().to_string().as_str()), "the header names the host alone");
    }
}

#[tokio::test]
async fn ollama_api_key_is_the_bearer_on_every_request() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).set("OLLAMA_API_KEY", "key-of-the-proxy").start().await;
    for (path, authorization) in sent(&upstream, &stack).await {
        assert_eq!(authorization.as_deref(), Some("Bearer key-of-the-proxy"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_for_ollama_is_in_no_line_of_the_log_whatever_happens() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/version", Script::error(401, "unauthorized"));
    let nobody = ReservedPort::new();
    for (engine, address) in [("ollama", upstream.address()), ("auto", upstream.address()), ("auto", nobody.address())] {
        let folder = tempfile::tempdir().unwrap();
        let host = format!("http://canary:c%61nary@{address}");
        let environment: BTreeMap<String, String> = [
            ("TOLLGATE_DATA_DIR", folder.path().to_str().unwrap()),
            ("TOLLGATE_ENGINE", engine),
            ("OLLAMA_HOST", host.as_str()),
            ("TOLLGATE_LOG", "trace"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let mut service = ServiceProcess::start("inference-service", &environment);
        // From then on it stops in order.
        let serves = || async { shared::healthcheck::check(service.address(), shared::healthcheck::PROCESS).await.ok() };
        until("it to serve", SOON, serves).await;
        assert!(service.stop().success());
        let log = service.log();
        assert!(log.contains("listens"), "{log}");
        for shown in ["canary", "c%61nary", "Y2FuYXJ5"] {
            assert!(!log.contains(shown), "{engine} {address}: {shown} in\n{log}");
        }
    }
}

#[test]
fn a_credential_that_can_not_be_used_stops_the_start_with_64_and_is_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    for (variables, name) in [
        (&[("OLLAMA_HOST", "http://user:canary@example.com"), ("OLLAMA_API_KEY", "canary-key")][..], "OLLAMA_API_KEY"),
        (&[("OLLAMA_HOST", "http://user:canary/x@example.com")], "OLLAMA_HOST"),
        (&[("OLLAMA_HOST", "http://user:80/canary@example.com")], "OLLAMA_HOST"),
        (&[("OLLAMA_HOST", "http://user:canary%@example.com")], "OLLAMA_HOST"),
        (&[("OLLAMA_HOST", "http://user:canary@example.com:port")], "OLLAMA_HOST"),
        (&[("OLLAMA_HOST", "http://user:canary")], "OLLAMA_HOST"),
        (&[("OLLAMA_HOST", "canary://user@example.com")], "OLLAMA_HOST"),
        (&[("OLLAMA_API_KEY", "canary key")], "OLLAMA_API_KEY"),
    ] {
        let mut environment = BTreeMap::from([("TOLLGATE_DATA_DIR".to_owned(), folder.path().to_string_lossy().into_owned())]);
        environment.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let ended = run("inference-service", &[], &environment, "");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(64), "{variables:?}: {said}");
        assert!(said.contains(name) && !said.contains("canary"), "{variables:?}: {said}");
    }
}

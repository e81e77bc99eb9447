//! An API key as the beginning of a path, for Ollama's own command line: it keeps the path of `OLLAMA_HOST`, and sends no header.

use integration::hostile_http1::{HostileHttp1, Response};
use integration::process_pair::ProcessPair;
use integration::raw_http2::{RawHttp2, prefixed};
use integration::scripted_upstream::ScriptedUpstream;
use serde_json::{Value, json};
use shared::credential_form::to_bearer;
use tonic::Code;

use crate::bench::Bench;

async fn call(bench: &Bench, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Response {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    bench.connect().await.call(method, path, headers, body.as_bytes()).await
}

#[tokio::test]
async fn what_ollama_run_sends_is_answered_with_the_key_in_the_path_alone() {
    let bench = Bench::start().await;
    let base = format!("/key/{}", bench.user.key);
    let at = |path: &str| format!("{base}{path}");
    assert_eq!(call(&bench, "HEAD", &at("/"), &[], &Value::Null).await.status, 200);
    let show = json!({ "model": "smollm2", "system": "", "template": "", "verbose": false, "options": null, "name": "" });
    assert_eq!(call(&bench, "POST", &at("/api/show"), &[], &show).await.json()["capabilities"], json!(["completion"]));
    let load = json!({ "model": "smollm2", "prompt": "", "suffix": "", "system": "", "template": "", "options": null });
    assert_eq!(call(&bench, "POST", &at("/api/generate"), &[], &load).await.json()["done_reason"], "load");
    let prompt = json!({ "model": "smollm2", "prompt": "hi", "suffix": "", "system": "", "template": "", "options": {} });
    let answer = call(&bench, "POST", &at("/api/generate"), &[("accept", "application/x-ndjson")], &prompt).await;
    assert!(answer.text().lines().last().unwrap().contains("\"done\":true"), "{}", answer.text());
    let chat = json!({ "model": "smollm2", "messages": [{ "role": "user", "content": "hi" }], "options": {} });
    assert_eq!(call(&bench, "POST", &at("/api/chat"), &[], &chat).await.status, 200);
    for path in ["/api/tags", "/api/ps", "/api/version"] {
        assert_eq!(call(&bench, "GET", &at(path), &[], &Value::Null).await.status, 200, "{path}");
    }
    assert_eq!(bench.settled().await, 2 * 2 + 14 + 4 + 15 + 2);
}

#[tokio::test]
async fn only_one_api_key_is_taken_and_never_an_access_token() {
    let bench = Bench::start().await;
    let (key, token) = (&bench.user.key, &bench.user.token);
    let (same, other) = (to_bearer(key), to_bearer(token));
    let tags = |key: &str| format!("/key/{key}/api/tags");
    for (path, headers, status) in [
        (tags(key), &[("authorization", same.as_str())][..], 200),
        (tags(key), &[("authorization", other.as_str())], 401),
        (tags(key), &[("x-api-key", token.as_str())], 401),
        (tags(key), &[("x-api-key", key.as_str())], 200),
        (tags(token), &[], 401),
        (tags(&key[..48]), &[], 401),
        (tags(""), &[], 401),
    ] {
        let answer = call(&bench, "GET", &path, headers, &Value::Null).await;
        assert_eq!(answer.status.as_u16(), status, "{headers:?}: {}", answer.text());
    }
}

#[tokio::test]
async fn where_it_is_off_the_refusal_says_which_header_to_send() {
    let bench = Bench::start_with(&[("TOLLGATE_KEY_IN_PATH", "false")]).await;
    let refused = call(&bench, "GET", &format!("/key/{}/api/tags", bench.user.key), &[], &Value::Null).await;
    let said = refused.json();
    assert_eq!((refused.status.as_u16(), &said["code"]), (401, &json!("CREDENTIAL_MISSING")));
    assert!(said["error"].as_str().unwrap().contains("authorization: Bearer"), "{said}");
}

#[tokio::test]
async fn the_key_is_in_no_log_line_of_either_service_and_in_no_answer() {
    let upstream = ScriptedUpstream::start().await;
    let processes = ProcessPair::start(&upstream.url(), &[("TOLLGATE_LOG", "trace")]);
    let key = processes.user().await;
    let chat = json!({ "model": "smollm2", "messages": [{ "role": "user", "content": "hi" }] }).to_string();
    let missing = json!({ "model": "nosuch", "messages": [{ "role": "user", "content": "hi" }] }).to_string();
    let escaped = format!("%74{}", &key[1..]);
    for address in [processes.inference.address(), processes.auth.address()] {
        for (method, path, body) in [
            ("POST", format!("/key/{key}/api/chat"), chat.as_str()),
            ("POST", format!("/key/{escaped}/api/chat"), chat.as_str()),
            ("POST", format!("/key/{key}/api/chat"), missing.as_str()),
            ("POST", format!("/key/{key}/api/chat"), "{"),
            ("GET", format!("/key/{key}/api/chat"), ""),
            ("GET", format!("/key/{key}/api/tags?x={}", "y"), ""),
            ("GET", format!("/key/{key}/nosuch"), ""),
            ("GET", format!("/key/{key}"), ""),
            ("GET", format!("/{key}/api/tags"), ""),
            ("GET", format!("//key/{key}/api/tags"), ""),
            ("GET", format!("/api/{key}"), ""),
            ("GET", format!("/api/tags/{escaped}"), ""),
            ("POST", format!("/key/{key}/tollgate.inference.v1.Inference/ListModels"), "{}"),
        ] {
            let answer = HostileHttp1::connect(address).await.call(method, &path, &[], body.as_bytes()).await;
            let said = answer.text() + &format!("{:?}", answer.headers);
            assert!(!said.contains(&key[4..]), "{method} {path}: {said}");
        }
    }
    // gRPC looks for no key, and tells none.
    for address in [processes.inference.address(), processes.auth.address()] {
        for path in [format!("/key/{key}/api/chat"), format!("/key/{escaped}/tollgate.inference.v1.Inference/Chat")] {
            let refused = RawHttp2::connect(address).await.call(&path, &[("authorization", &to_bearer(&key))], &prefixed(&[])).await.status;
            assert!(refused.code() == Code::Unimplemented && !refused.message().contains(&key[4..]), "{refused:?}");
        }
    }
    for process in [&processes.inference, &processes.auth] {
        let log = process.log();
        assert!(!log.is_empty() && !log.contains(&key[4..]) && !log.contains(&key[4..20]), "the key is in a log");
    }
}

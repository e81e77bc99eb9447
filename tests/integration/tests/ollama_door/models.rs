//! What models there are, what each is, and which are loaded.

use serde_json::{Value, json};
use shared::proto::auth;

use crate::bench::Bench;

fn names(models: &Value) -> Vec<String> {
    models["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_list_of_models_and_of_those_loaded_has_what_clients_read() {
    let bench = Bench::start().await;
    let details = json!({
        "parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"], "parameter_size": "134.52M",
        "quantization_level": "Q4_1",
    });
    let tags = bench.get("/api/tags").await.json();
    let expected = json!({
        "name": "smollm2:latest", "model": "smollm2:latest", "modified_at": "2026-11-22T01:56:36.049722669Z", "size": 98_363_007,
        "digest": "cd2972495b984d2d2fb0cba302b3d46167d9166a65ce8f1fa793bf5747df1343", "details": details,
    });
    assert_eq!(tags["models"][0], expected);
    let running = bench.get("/api/ps").await.json();
    let expected = json!({
        "name": "smollm2:latest", "model": "smollm2:latest", "size": 210_690_374, "digest": "fd5f44c0", "details": details,
        "expires_at": "2026-11-22T01:56:36.049722669Z", "size_vram": 0, "context_length": 4096,
    });
    assert_eq!(running["models"][0], expected);
    assert_eq!(bench.get("/api/version").await.json(), json!({ "version": "0.24.0" }));
    assert_eq!(
        (bench.call("HEAD", "/api/tags", &Value::Null).await.status.as_u16(), bench.call("HEAD", "/", &Value::Null).await.status.as_u16()),
        (200, 200)
    );
    assert_eq!((bench.sent(), bench.settled().await), (0, 0));
}

#[tokio::test]
async fn a_model_is_shown_by_either_name_and_without_what_is_the_operators() {
    let bench = Bench::start().await;
    for body in [json!({ "model": "smollm2" }), json!({ "name": "smollm2:latest", "verbose": true })] {
        let shown = bench.post("/api/show", &body).await.json();
        assert_eq!(shown["capabilities"], json!(["completion"]));
        assert_eq!(shown["model_info"], json!({ "general.architecture": "llama", "llama.context_length": 8192 }));
        assert_eq!(shown["details"]["families"], json!(["llama"]));
        for operators in ["modelfile", "template", "system", "parameters", "license", "tensors"] {
            assert!(shown.get(operators).is_none(), "{operators}");
        }
    }
    assert_eq!(bench.post("/api/show", &json!({ "model": "nosuch" })).await.status, 404);
    assert_eq!(bench.post("/api/show", &json!({})).await.status, 400);
}

#[tokio::test]
async fn a_limited_key_sees_only_its_models_in_every_list() {
    let bench = Bench::start().await;
    let limited = auth::CreateApiKeyRequest { models: vec!["embedder".to_owned()], ..Default::default() };
    let key = bench.stack.accounts(&bench.user.token).create_api_key(limited).await.unwrap().into_inner().key;
    for path in ["/api/tags", "/api/ps"] {
        assert_eq!(names(&bench.get(path).await.json()), ["smollm2:latest", "embedder:latest"], "{path}");
        assert_eq!(names(&bench.call_as(&key, &[], "GET", path, &Value::Null).await.json()), ["embedder:latest"], "{path}");
    }
    let hidden = bench.call_as(&key, &[], "POST", "/api/show", &json!({ "model": "smollm2" })).await;
    assert_eq!(hidden.status, 403);
    let load = bench.call_as(&key, &[], "POST", "/api/generate", &json!({ "model": "smollm2" })).await;
    assert_eq!(load.status, 403);
}

#[tokio::test]
async fn who_has_no_credential_learns_nothing_of_the_models() {
    let bench = Bench::start().await;
    for path in ["/api/tags", "/api/ps", "/api/version"] {
        assert_eq!(bench.call_as("", &[], "GET", path, &Value::Null).await.status, 401, "{path}");
    }
    assert_eq!(bench.upstream.requests_to("/api/ps").len(), 0);
}

//! The list of models, and one of them.

use integration::http_client::{HttpAnswer, HttpCall};
use serde_json::{Value, json};
use shared::proto::auth;

use crate::scene::{Scene, error};

async fn get(scene: &Scene, path: &str) -> HttpAnswer {
    HttpCall::get(scene.address(), path).bearer(&scene.user.key).send().await
}

#[tokio::test]
async fn models_are_listed_in_openais_form_and_cost_nothing() {
    let scene = Scene::start().await;
    scene.upstream.model("ann/tuned:7b", &["completion"], 4096);
    let mut answer = get(&scene, "/v1/models").await;
    let body = answer.json().await;
    assert_eq!((answer.status, &body["object"]), (200, &json!("list")));
    let owners: Vec<(&str, &str)> =
        body["data"].as_array().unwrap().iter().map(|model| (model["id"].as_str().unwrap(), model["owned_by"].as_str().unwrap())).collect();
    let library = ["smollm2", "withtools", "thinks", "sees", "fills"].map(|name| (name, "library"));
    assert_eq!(owners, [&library[..], &[("ann/tuned:7b", "ann")]].concat());
    assert!(body["data"].as_array().unwrap().iter().all(|model| model["object"] == "model" && model["created"].as_u64() > Some(0)));
    assert_eq!(scene.credits().await, (10, 0, 0));
}

#[tokio::test]
async fn one_model_is_found_by_any_name_that_it_has() {
    let scene = Scene::start().await;
    scene.upstream.model("hf.co/ann/tuned:Q4_1", &["completion"], 4096);
    for (path, id) in [
        ("/v1/models/smollm2", "smollm2"),
        ("/v1/models/smollm2:latest", "smollm2:latest"),
        ("/v1/models/smollm2%3Alatest", "smollm2:latest"),
        ("/v1/models/hf.co/ann/tuned:Q4_1", "hf.co/ann/tuned:Q4_1"),
        ("/v1/models/hf.co%2Fann%2Ftuned%3AQ4_1", "hf.co/ann/tuned:Q4_1"),
    ] {
        let mut answer = get(&scene, path).await;
        let body = answer.json().await;
        assert_eq!((answer.status, &body["id"], &body["object"]), (200, &json!(id), &json!("model")), "{path}");
    }
    let mut answer = get(&scene, "/v1/models/nothere").await;
    assert_eq!(error(&mut answer).await, (404, "invalid_request_error".into(), "MODEL_NOT_FOUND".into(), json!("model")));
    let mut answer = get(&scene, "/v1/models/..%2F..%2Fetc").await;
    assert_eq!(error(&mut answer).await, (400, "invalid_request_error".into(), "INVALID_ARGUMENT".into(), json!("model")));
}

#[tokio::test]
async fn a_key_that_is_limited_to_some_models_sees_those_and_no_other() {
    let scene = Scene::start().await;
    let request = auth::CreateApiKeyRequest {
        scopes: vec!["inference".into(), "models".into()],
        models: vec!["thinks".into()],
        ..Default::default()
    };
    let key = scene.stack.accounts(&scene.user.token).create_api_key(request).await.unwrap().into_inner().key;
    let mut answer = HttpCall::get(scene.address(), "/v1/models").bearer(&key).send().await;
    let names: Vec<Value> = answer.json().await["data"].as_array().unwrap().iter().map(|model| model["id"].clone()).collect();
    assert_eq!(names, ["thinks"]);
    for call in [
        HttpCall::get(scene.address(), "/v1/models/smollm2").bearer(&key),
        HttpCall::post(scene.address(), crate::scene::CHAT, &crate::scene::chat(json!({}))).bearer(&key),
    ] {
        let expected = (403, "permission_error".to_owned(), "MODEL_NOT_ALLOWED".to_owned(), json!("model"));
        assert_eq!(error(&mut call.send().await).await, expected);
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_told_of_models() {
    let scene = Scene::start().await;
    for path in ["/v1/models", "/v1/models/smollm2", "/v1/models/nothere"] {
        let mut answer = HttpCall::get(scene.address(), path).send().await;
        assert_eq!(error(&mut answer).await, (401, "authentication_error".into(), "CREDENTIAL_MISSING".into(), Value::Null), "{path}");
    }
}

//! `/api/embed`, `/api/embeddings` and `/v1/embeddings`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use integration::scripted_upstream::Script;
use serde_json::{Value, json};

use crate::bench::Bench;

#[tokio::test]
async fn embeddings_are_ollamas_and_say_what_they_cost() {
    let bench = Bench::start().await;
    let body = json!({
        "model": "embedder", "input": ["a", "b"], "dimensions": 4, "truncate": true, "keep_alive": "5m", "options": { "num_ctx": 512 },
    });
    let answer = bench.post("/api/embed", &body).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-tollgate-charged-credits")), (200, "8"));
    let vector = json!([0.5, -0.5, 0.5, -0.5]);
    let expected = json!({
        "model": "embedder", "embeddings": [vector, vector], "total_duration": 575_358_674, "load_duration": 31_040_767,
        "prompt_eval_count": 6, "cost": 8, "remaining_credits": 9992,
    });
    assert_eq!(answer.json(), expected);
    let sent = bench.upstream.request("/api/embed", 0).await.json();
    let expected = json!({
        "model": "embedder", "input": ["a", "b"], "truncate": true, "dimensions": 4, "keep_alive": "300s", "options": { "num_ctx": 512 },
    });
    assert_eq!(sent, expected);
    let one = bench.post("/api/embed", &json!({ "model": "embedder", "input": "a" })).await.json();
    assert_eq!(one["embeddings"], json!([vector]));
    let old = bench.post("/api/embeddings", &json!({ "model": "embedder", "prompt": "a" })).await;
    assert_eq!((old.json(), old.header("x-tollgate-charged-credits")), (json!({ "embedding": vector }), "5"));
    assert_eq!(bench.settled().await, 18);
}

#[tokio::test]
async fn nothing_to_embed_is_no_vector_and_no_charge() {
    let bench = Bench::start().await;
    for (path, body, expected) in [
        ("/api/embed", json!({ "model": "embedder", "input": "" }), json!({ "model": "embedder", "embeddings": [] })),
        ("/api/embed", json!({ "model": "embedder", "input": [] }), json!({ "model": "embedder", "embeddings": [] })),
        ("/api/embed", json!({ "model": "embedder" }), json!({ "model": "embedder", "embeddings": [] })),
        ("/api/embeddings", json!({ "model": "embedder", "prompt": "" }), json!({ "embedding": [] })),
    ] {
        assert_eq!(bench.post(path, &body).await.json(), expected);
    }
    assert_eq!(bench.post("/api/embed", &json!({ "model": "nosuch" })).await.status, 404);
    assert_eq!((bench.sent(), bench.settled().await), (0, 0));
}

#[tokio::test]
async fn openais_embeddings_are_numbers_or_base64() {
    let bench = Bench::start().await;
    let ask = |more: Value| {
        let mut body = json!({ "model": "embedder", "input": ["a", "b"] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let vector = json!([0.5, -0.5, 0.5, -0.5]);
    let answer = bench.post("/v1/embeddings", &ask(json!({ "user": "u" }))).await;
    let item = |index: usize| json!({ "object": "embedding", "index": index, "embedding": vector });
    let usage = json!({ "prompt_tokens": 6, "total_tokens": 6, "cost": 8 });
    assert_eq!(answer.json(), json!({ "object": "list", "data": [item(0), item(1)], "model": "embedder", "usage": usage }));
    assert_eq!(answer.header("x-tollgate-charged-credits"), "8");
    // As openai-python asks by itself.
    let answer = bench.post("/v1/embeddings", &ask(json!({ "encoding_format": "base64", "dimensions": 4 }))).await.json();
    let bytes = STANDARD.decode(answer["data"][1]["embedding"].as_str().unwrap()).unwrap();
    let numbers: Vec<f32> = bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    assert_eq!(numbers, [0.5, -0.5, 0.5, -0.5]);
    let tokens = bench.post("/v1/embeddings", &ask(json!({ "input": [[1, 2]] }))).await;
    assert_eq!(tokens.status, 400);
    assert!(tokens.text().contains("lists of tokens are not taken"), "{}", tokens.text());
    assert_eq!(bench.post("/v1/embeddings", &ask(json!({ "input": [] }))).await.status, 400);
}

#[tokio::test]
async fn embeddings_are_refused_by_name_and_a_repetition_is_never_an_empty_list() {
    let bench = Bench::start().await;
    bench.upstream.model("painter", &["image"], 2048);
    for (body, status, code) in [
        (json!({ "model": "painter", "input": "a" }), 422, "MODEL_INCAPABLE"),
        (json!({ "model": "nosuch", "input": "a" }), 404, "MODEL_NOT_FOUND"),
        (json!({ "model": "embedder", "input": 7 }), 400, "INVALID_ARGUMENT"),
        (json!({ "model": "embedder", "input": "a", "dimensions": -1 }), 400, "INVALID_ARGUMENT"),
        (json!({ "model": "embedder", "input": "a", "options": { "num_ctx": 100_000 } }), 400, "INVALID_ARGUMENT"),
    ] {
        let refused = bench.post("/api/embed", &body).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (status, &json!(code)), "{body}");
    }
    bench.upstream.script_once("/api/embed", Script::error(400, "the input length exceeds the context length"));
    let long = bench.post("/api/embed", &json!({ "model": "embedder", "input": "a", "truncate": false })).await;
    assert_eq!((long.status.as_u16(), bench.settled().await), (400, 0));
    for path in ["/api/embed", "/v1/embeddings"] {
        let body = json!({ "model": "embedder", "input": "a" });
        let named = [("idempotency-key", path)];
        let call = || bench.call_as(&bench.user.key, &named, "POST", path, &body);
        // The doors' requests are one, whichever door they came by; the keys tell them apart.
        assert_eq!(call().await.status, 200);
        let repeated = call().await;
        assert_eq!((repeated.status.as_u16(), repeated.header("x-tollgate-charged-credits")), (409, "5"), "{path}");
        assert!(repeated.text().contains("REQUEST_RESOLVED"), "{path}");
    }
}

//! Bare prompts.

use integration::recorded::Release;
use integration::scripted_upstream::{Script, done_line};
use serde_json::{Value, json};

use crate::scene::{COMPLETIONS, Scene, chunks, error, with};

fn completion(fields: Value) -> Value {
    with(json!({ "model": "smollm2", "prompt": "Why is the sky blue?" }), fields)
}

#[tokio::test]
async fn a_recorded_completion_has_openais_form_whole_and_in_chunks() {
    for release in Release::ALL {
        let scene = Scene::start().await;
        let exchange = release.exchange("generate-stream");
        let recorded: String = exchange
            .response
            .body()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["response"].as_str().unwrap().to_owned())
            .collect();
        scene.upstream.script("/api/generate", exchange.script(0.0));
        let mut whole = scene.post(COMPLETIONS, &completion(json!({ "max_tokens": 6 }))).send().await;
        let body = whole.json().await;
        let choice = json!({ "index": 0, "text": recorded, "logprobs": null, "finish_reason": "length" });
        assert_eq!((&body["object"], &body["choices"]), (&json!("text_completion"), &json!([choice])), "{release:?}");
        assert_eq!(body["usage"], json!({ "prompt_tokens": 15, "completion_tokens": 6, "total_tokens": 21, "cost": 1 }));
        assert_eq!((whole.header("x-tollgate-charged-credits"), whole.header("x-tollgate-remaining-credits")), (Some("1"), Some("9")));

        let fields = json!({ "max_tokens": 6, "stream": true, "stream_options": { "include_usage": true } });
        let mut stream = scene.post(COMPLETIONS, &completion(fields)).send().await;
        let chunks = chunks(&mut stream).await;
        let text: String = chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/text")?.as_str()).collect();
        assert_eq!(text, recorded, "{release:?}");
        let (last, before) = chunks.split_last().unwrap();
        assert_eq!((&last["choices"], &last["usage"]["total_tokens"], &last["usage"]["cost"]), (&json!([]), &json!(21), &json!(1)));
        assert_eq!(before.last().unwrap()["choices"][0]["finish_reason"], "length");
        assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"] && chunk["object"] == "text_completion"));
        assert_eq!(scene.credits().await, (8, 0, 2));
    }
}

#[tokio::test]
async fn a_prompt_and_a_suffix_reach_the_model_server() {
    let scene = Scene::start().await;
    let fields = json!({ "model": "fills", "prompt": ["def f("], "suffix": "return x", "stop": "\n", "temperature": 0, "max_tokens": 4 });
    let mut answer = scene.post(COMPLETIONS, &completion(fields)).send().await;
    assert_eq!(answer.json().await["choices"][0]["text"], "The sky");
    let asked = scene.upstream.request("/api/generate", 0).await.json();
    assert_eq!((&asked["prompt"], &asked["suffix"]), (&json!("def f("), &json!("return x")));
    assert_eq!(asked["options"], json!({ "temperature": 0.0, "stop": ["\n"], "num_predict": 4 }));
    let mut answer = scene.post(COMPLETIONS, &completion(json!({ "suffix": "x" }))).send().await;
    assert_eq!(error(&mut answer).await, (422, "invalid_request_error".into(), "MODEL_INCAPABLE".into(), json!("model")));
}

#[tokio::test]
async fn log_probabilities_are_lists_as_this_endpoint_has_them() {
    let scene = Scene::start().await;
    let line = |text: &str, logprob: f64| {
        let top =
            json!([{ "token": text, "logprob": logprob, "bytes": text.as_bytes() }, { "token": "x", "logprob": -9.5, "bytes": [120] }]);
        let token = json!({ "token": text, "logprob": logprob, "bytes": text.as_bytes(), "top_logprobs": top });
        json!({ "model": "smollm2", "response": text, "done": false, "logprobs": [token] })
    };
    let mut last = done_line("stop", 5, 2);
    last["response"] = json!("");
    scene.upstream.script("/api/generate", Script::stream().line(&line("é", -0.5)).line(&line("t", -0.25)).line(&last));
    let mut answer = scene.post(COMPLETIONS, &completion(json!({ "logprobs": 2 }))).send().await;
    let expected = json!({
        "tokens": ["é", "t"], "token_logprobs": [-0.5, -0.25], "top_logprobs": [{ "é": -0.5, "x": -9.5 }, { "t": -0.25, "x": -9.5 }],
        "text_offset": [0, 1],
    });
    assert_eq!(answer.json().await["choices"][0]["logprobs"], expected);
    let asked = scene.upstream.request("/api/generate", 0).await.json();
    assert_eq!((&asked["logprobs"], &asked["top_logprobs"]), (&json!(true), &json!(2)));
}

#[tokio::test]
async fn what_this_endpoint_can_not_do_is_refused_by_name_and_costs_nothing() {
    let scene = Scene::start().await;
    for (fields, param) in [
        (json!({ "echo": true }), "echo"),
        (json!({ "best_of": 3 }), "best_of"),
        (json!({ "n": 2 }), "n"),
        (json!({ "prompt": ["a", "b"] }), "prompt"),
        (json!({ "prompt": [1, 2, 3] }), "prompt"),
        (json!({ "prompt": "" }), "prompt"),
        (json!({ "prompt": null }), "prompt"),
        (json!({ "logprobs": 21 }), "logprobs"),
        (json!({ "max_tokens": 0 }), "max_tokens"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "context": [1] }), "context"),
    ] {
        let mut answer = scene.post(COMPLETIONS, &completion(fields.clone())).send().await;
        let expected = (400, "invalid_request_error".to_owned(), "INVALID_ARGUMENT".to_owned(), json!(param));
        assert_eq!(error(&mut answer).await, expected, "{fields}");
    }
    assert_eq!(scene.credits().await, (10, 0, 0));
}

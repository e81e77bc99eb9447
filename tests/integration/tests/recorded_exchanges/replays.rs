//! Each exchange, and each row.

use integration::recorded::{Release, with_rows};
use integration::stack::chat_request;
use serde_json::Value;
use shared::ErrorReason as Reason;
use shared::proto::inference;
use tonic::Code;

use crate::bench::{Bench, Price};
use crate::call::{Call, format_of};
use crate::rows::Becomes::Nothing;
use crate::rows::Replay::Never;
use crate::rows::{ROWS, ROWS_0_32};

#[test]
fn every_file_of_either_release_is_named_in_a_row_and_every_row_has_a_file() {
    let rows = with_rows(ROWS, ROWS_0_32);
    assert_eq!(rows.iter().filter(|(release, ..)| *release == Release::V0_24).count(), 125);
    assert_eq!(rows.iter().filter(|(release, ..)| *release == Release::V0_32).count(), 122);
    for (_, exchange, (replay, becomes)) in rows {
        let never = if let Never(why) = replay { Some(why) } else { None };
        assert_eq!(never.is_some(), matches!(becomes, Nothing), "{}: {never:?}", exchange.name);
    }
}

async fn replay_all(price: Price) {
    let mut bench = Bench::start(price).await;
    for (_, exchange, (replay, becomes)) in with_rows(ROWS, ROWS_0_32) {
        bench.replay(&exchange, replay, becomes).await;
    }
}

#[tokio::test]
async fn every_recorded_exchange_becomes_the_right_events_code_reason_and_charge_of_a_call() {
    replay_all(Price { call: 1, token: 0 }).await;
}

#[tokio::test]
async fn every_recorded_exchange_is_charged_for_the_tokens_that_ollama_counted() {
    replay_all(Price { call: 1, token: 1 }).await;
}

fn schema_of(json: &str) -> inference::Format {
    inference::Format { kind: Some(inference::format::Kind::JsonSchema(json.to_owned())) }
}

#[tokio::test]
async fn what_tollgate_refuses_itself_never_goes_upstream_and_costs_nothing() {
    let bench = Bench::start(Price { call: 1, token: 1 }).await;
    let chat = |change: fn(&mut inference::ChatRequest)| {
        let mut request = chat_request("smollm2", "hi");
        change(&mut request);
        Call::Chat(request)
    };
    let generate = |change: fn(&mut inference::GenerateRequest)| {
        let mut request = inference::GenerateRequest { model: "smollm2".into(), prompt: "hi".into(), ..Default::default() };
        change(&mut request);
        Call::Generate(request)
    };
    let create = |model: &str, modelfile: &str| Call::CreateModel { model: model.to_owned(), modelfile: modelfile.to_owned() };
    let with = |options: inference::Options| Call::Chat(inference::ChatRequest { options: Some(options), ..chat_request("smollm2", "hi") });
    let options = inference::Options::default;
    let rows = [
        ("model", chat(|r| r.model.clear())),
        ("model", chat(|r| r.model = "../../etc/passwd".into())),
        ("messages", chat(|r| r.messages.clear())),
        ("messages[0].role", chat(|r| r.messages[0].role.clear())),
        ("messages[0].role", chat(|r| r.messages[0].role = "User".into())),
        ("messages[0].images[0]", chat(|r| r.messages[0].images.push(b"GIF89a".to_vec()))),
        ("messages[0].thinking", chat(|r| r.messages[0].thinking = "hm".into())),
        ("messages[0].tool_name", chat(|r| r.messages[0].tool_name = "f".into())),
        ("max_output_tokens", chat(|r| r.max_output_tokens = Some(0))),
        ("max_output_tokens", chat(|r| (r.max_output_tokens, r.require_full) = (Some(1_000_000), true))),
        ("options.temperature", with(inference::Options { temperature: Some(-0.1), ..options() })),
        ("options.temperature", with(inference::Options { temperature: Some(f32::INFINITY), ..options() })),
        ("options.top_p", with(inference::Options { top_p: Some(1.1), ..options() })),
        ("options.min_p", with(inference::Options { min_p: Some(f32::NAN), ..options() })),
        ("options.presence_penalty", with(inference::Options { presence_penalty: Some(2.1), ..options() })),
        ("options.frequency_penalty", with(inference::Options { frequency_penalty: Some(f32::NAN), ..options() })),
        ("options.typical_p", with(inference::Options { typical_p: Some(-0.1), ..options() })),
        ("options.repeat_last_n", with(inference::Options { repeat_last_n: Some(-2), ..options() })),
        ("options.repeat_penalty", with(inference::Options { repeat_penalty: Some(0.0), ..options() })),
        ("options.top_k", with(inference::Options { top_k: Some(-1), ..options() })),
        ("options.num_ctx", with(inference::Options { num_ctx: Some(0), ..options() })),
        ("options.num_ctx", with(inference::Options { num_ctx: Some(8193), ..options() })),
        ("options.stop", with(inference::Options { stop: vec![String::new()], ..options() })),
        ("options.stop", with(inference::Options { stop: vec!["x".into(); 17], ..options() })),
        ("format.json", chat(|r| r.format = Some(inference::Format { kind: Some(inference::format::Kind::Json(false)) }))),
        ("format.json_schema", chat(|r| r.format = Some(format_of(&Value::from("xml"))))),
        (
            "at most 64 levels deep",
            chat(|r| r.format = Some(schema_of(&format!("{}{{}}{}", r#"{"items":"#.repeat(6000), "}".repeat(6000))))),
        ),
        ("properties.a.pattern", chat(|r| r.format = Some(schema_of(r#"{"properties":{"a":{"type":"string","pattern":"^(?:a)$"}}}"#)))),
        ("minItems", chat(|r| r.format = Some(schema_of(r#"{"type":"array","items":{},"minItems":1000000}"#)))),
        (
            "tools[0].parameters_json",
            chat(|r| r.tools.push(inference::Tool { name: "f".into(), parameters_json: "[1]".into(), ..Default::default() })),
        ),
        ("damaged", chat(|r| r.messages[0].images.push(b"\x89PNG\r\n\x1a\n....".to_vec()))),
        ("tools[0].name", chat(|r| r.tools.push(inference::Tool::default()))),
        ("think", chat(|r| r.think = Some("enormous".into()))),
        ("think", chat(|r| r.think = Some(String::new()))),
        ("top_logprobs", chat(|r| r.top_logprobs = Some(21))),
        ("keep_alive", chat(|r| r.keep_alive = Some(prost_types::Duration { seconds: -1, nanos: 0 }))),
        ("keep_alive", chat(|r| r.keep_alive = Some(prost_types::Duration { seconds: 1801, nanos: 0 }))),
        ("request_id", chat(|r| r.request_id = "x".repeat(65))),
        ("request_id", chat(|r| r.request_id = "naïve".into())),
        ("model", generate(|r| r.model.clear())),
        ("prompt", generate(|r| r.prompt.clear())),
        ("system", generate(|r| (r.raw, r.system) = (true, Some("x".into())))),
        ("images[0]", generate(|r| r.images.push(Vec::new()))),
        ("model is required", Call::ShowModel(String::new())),
        ("model is required", Call::DeleteModel(String::new())),
        ("model is required", create("", "FROM smollm2")),
        ("FROM", create("x", "")),
        ("line 1", create("x", "FROM nosuch")),
        ("line 1", create("x", "FROM ./model.gguf")),
        ("line 1", create("x", "FROM gpt-oss:120b-cloud")),
        ("line 2", create("x", "FROM smollm2\nADAPTER ./lora.gguf")),
    ];
    for (says, call) in &rows {
        bench.refuses(&format!("{call:?}"), call, Code::InvalidArgument, Reason::InvalidArgument, says).await;
    }
    let cloud = chat(|r| r.model = "gpt-oss:120b-cloud".into());
    bench.refuses("a cloud model", &cloud, Code::PermissionDenied, Reason::CloudModelNotAllowed, "not allowed").await;
    let ledger = bench.stack.snapshot(&bench.user).await.ledger;
    assert_eq!(ledger.len(), 1, "only the starting credits: {ledger:?}");
}

//! What is sent of an answer, event by event.

use serde_json::{Value, json};
use shared::error::CallError;

use super::super::conversion::convert;
use super::*;

fn head(request: Value) -> Head {
    let sent = serde_json::from_str(&request.to_string()).unwrap();
    let converted = convert(sent, "r-1".to_owned()).unwrap_or_else(|error| panic!("{}", error.message()));
    Head::new(&wire::Started { request_id: "r-1".into(), model: "m".into(), ..Default::default() }, converted.echo)
}

fn events(request: Value, pieces: &[wire::Delta], end: Result<&wire::Finished, &Refusal>) -> Vec<Value> {
    let (mut format, mut out) = (ResponseEvents::new(head(request), "r-1".to_owned()), Vec::new());
    format.begin(&mut out);
    for piece in pieces {
        format.delta(piece.clone(), &mut out);
    }
    match end {
        Ok(finished) => format.finish(finished, &mut out),
        Err(refusal) => format.fail(refusal, &mut out),
    }
    let mut all = Vec::new();
    for (number, event) in String::from_utf8(out).unwrap().split_terminator("\n\n").enumerate() {
        let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!((&data["type"], &data["sequence_number"]), (&json!(name), &json!(number)));
        all.push(data);
    }
    all
}

fn plain() -> Value {
    json!({ "model": "m", "input": "hi" })
}

fn text(content: &str) -> wire::Delta {
    wire::Delta { content: content.into(), ..Default::default() }
}

fn call(id: &str) -> wire::ToolCall {
    wire::ToolCall { id: id.into(), name: "f".into(), arguments_json: "{\"a\":1.0}".into() }
}

fn finished(reason: wire::FinishReason) -> wire::Finished {
    wire::Finished {
        reason: reason.into(),
        usage: Some(wire::Usage { input_tokens: Some(14), output_tokens: Some(3), ..Default::default() }),
        receipt: Some(wire::Receipt { charged_credits: Some(2), remaining_credits: Some(8), ..Default::default() }),
        ..Default::default()
    }
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap().strip_prefix("response.").unwrap_or("error")).collect()
}

#[test]
fn thinking_text_and_a_call_are_three_items_with_all_their_events() {
    let thinking = wire::Delta { thinking: "hm".into(), ..Default::default() };
    let pieces = [thinking, text("I"), wire::Delta { tool_calls: vec![call("c1")], ..text(" call") }];
    let all = events(plain(), &pieces, Ok(&finished(wire::FinishReason::ToolCalls)));
    let expected = [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(names(&all), expected);
    assert_eq!((&all[0]["response"]["status"], &all[0]["response"]["output"]), (&json!("in_progress"), &json!([])));
    assert_eq!(
        all[8]["item"],
        json!({ "type": "message", "id": "msg_r-1_1", "status": "in_progress", "role": "assistant", "content": [] })
    );
    let delta = json!({
        "type": "response.output_text.delta", "sequence_number": 10, "item_id": "msg_r-1_1", "output_index": 1, "content_index": 0,
        "delta": "I", "logprobs": [],
    });
    assert_eq!(all[10], delta);
    assert_eq!(all[15]["item"]["arguments"], "");
    assert_eq!((&all[16]["delta"], &all[17]["arguments"]), (&json!("{\"a\":1.0}"), &json!("{\"a\":1.0}")));
    let response = &all[19]["response"];
    let output = json!([
        { "type": "reasoning", "id": "rs_r-1_0", "summary": [{ "type": "summary_text", "text": "hm" }], "encrypted_content": null },
        { "type": "message", "id": "msg_r-1_1", "status": "completed", "role": "assistant",
          "content": [{ "type": "output_text", "text": "I call", "annotations": [], "logprobs": [] }] },
        { "type": "function_call", "id": "fc_r-1_2", "status": "completed", "call_id": "c1", "name": "f", "arguments": "{\"a\":1.0}" },
    ]);
    assert_eq!(response["output"], output);
    assert_eq!((&response["id"], &response["object"], &response["status"]), (&json!("resp_r-1"), &json!("response"), &json!("completed")));
    let usage = json!({
        "input_tokens": 14, "input_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 }, "output_tokens": 3,
        "output_tokens_details": { "reasoning_tokens": 0 }, "total_tokens": 17, "cost": 2,
    });
    assert_eq!(response["usage"], usage);
    assert_eq!(all[19]["receipt"], json!({ "charged_credits": 2, "remaining_credits": 8 }));
}

#[test]
fn an_answer_that_reached_its_bound_is_incomplete() {
    let all = events(plain(), &[text("x")], Ok(&finished(wire::FinishReason::Length)));
    let last = all.last().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(last["response"]["status"], "incomplete");
    assert_eq!(last["response"]["incomplete_details"], json!({ "reason": "max_output_tokens" }));
    assert_eq!(last["response"]["output"][0]["status"], "incomplete");
    assert_eq!(last["response"]["completed_at"], Value::Null);
}

#[test]
fn an_answer_of_nothing_is_one_empty_message() {
    let all = events(plain(), &[], Ok(&finished(wire::FinishReason::Stop)));
    let expected = ["created", "in_progress", "output_item.added", "content_part.added", "output_text.done", "content_part.done"];
    assert_eq!(names(&all)[..6], expected);
    assert_eq!(all.last().unwrap()["response"]["output"][0]["content"][0]["text"], "");
}

#[test]
fn log_probabilities_are_in_each_delta_and_all_of_them_in_the_end() {
    let logprob = |token: &str| wire::Logprob {
        token: token.into(),
        logprob: -0.5,
        token_bytes: token.into(),
        top_logprobs: vec![wire::TopLogprob { token: "b".into(), logprob: -1.0, token_bytes: "b".into() }],
    };
    let piece = |token: &str| wire::Delta { logprobs: vec![logprob(token)], ..text(token) };
    let all = events(plain(), &[piece("a"), piece("é")], Ok(&finished(wire::FinishReason::Stop)));
    let top = json!([{ "token": "b", "bytes": [98], "logprob": -1.0 }]);
    let a = json!({ "token": "a", "bytes": [97], "logprob": -0.5, "top_logprobs": top });
    let e = json!({ "token": "é", "bytes": [195, 169], "logprob": -0.5, "top_logprobs": top });
    assert_eq!((&all[4]["logprobs"], &all[5]["logprobs"]), (&json!([a]), &json!([e])));
    assert_eq!(all.last().unwrap()["response"]["output"][0]["content"][0]["logprobs"], json!([a, e]));
}

#[test]
fn where_calls_may_not_be_parallel_the_first_alone_is_given() {
    let request = json!({ "model": "m", "input": "hi", "parallel_tool_calls": false });
    let pieces = [wire::Delta { tool_calls: vec![call("c1"), call("c2")], ..Default::default() }];
    let all = events(request, &pieces, Ok(&finished(wire::FinishReason::ToolCalls)));
    let response = &all.last().unwrap()["response"];
    assert_eq!((response["output"].as_array().unwrap().len(), &response["output"][0]["call_id"]), (1, &json!("c1")));
    assert_eq!(response["parallel_tool_calls"], false);
}

#[test]
fn an_answer_that_breaks_off_is_failed_with_what_there_was_and_then_an_error_that_sdks_raise() {
    let receipt = wire::Receipt { charged_credits: Some(1), ..Default::default() };
    let refusal = Refusal::from(CallError::internal().receipt(&receipt));
    let all = events(plain(), &[text("x")], Err(&refusal));
    assert_eq!(names(&all)[all.len() - 2..], ["failed", "error"]);
    let (failed, error) = (&all[all.len() - 2], &all[all.len() - 1]);
    assert_eq!((&failed["response"]["status"], &failed["response"]["error"]["code"]), (&json!("failed"), &json!("INTERNAL")));
    assert_eq!(failed["response"]["output"][0]["content"][0]["text"], "x");
    assert_eq!(failed["response"]["output"][0]["status"], "incomplete");
    assert_eq!(failed["receipt"], json!({ "charged_credits": 1 }));
    assert_eq!((&error["code"], &error["error"]["code"]), (&json!("INTERNAL"), &json!("INTERNAL")));
    assert_eq!(error["message"], error["error"]["message"]);
}

#[test]
fn a_call_that_the_model_server_gave_no_id_has_one() {
    let call = wire::ToolCall { id: String::new(), ..call("") };
    let pieces = [wire::Delta { tool_calls: vec![call.clone(), call], ..Default::default() }];
    let all = events(plain(), &pieces, Ok(&finished(wire::FinishReason::ToolCalls)));
    let output = all.last().unwrap()["response"]["output"].as_array().unwrap();
    let ids: Vec<&Value> = output.iter().map(|item| &item["call_id"]).collect();
    assert_eq!(ids, [&json!("call_fc_r-1_0"), &json!("call_fc_r-1_1")]);
}

//! What is held, evaluated, charged and said of tokens is the same, whatever upstream counts, and no message is longer than clients take.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use integration::polling::{SOON, until};
use integration::scripted_upstream::{RecordedRequest, Script, ScriptedUpstream, chat_line, done_line};
use integration::stack::{Answer, Plan, Stack, TestUser, chat_request, read_all};
use prost::Message as _;
use serde_json::{Value, json};
use shared::ErrorReason;
use shared::error::reason_of;
use shared::proto::inference::{self, chat_event};
use tonic::Code;

/// What gRPC clients take by default.
const FOUR_MIB: usize = 4 << 20;

/// Ten credits a call and one each token, in and out.
async fn stack(upstream: &ScriptedUpstream) -> (Stack, TestUser) {
    let plan = Plan::with_upstream(&upstream.url()).set("TOLLGATE_PRICES", "*=10/1000/1000").set("TOLLGATE_STARTING_CREDITS", "1000000");
    let stack = plan.start().await;
    let user = stack.user("ada").await;
    (stack, user)
}

async fn chat(stack: &Stack, user: &TestUser, request: inference::ChatRequest) -> Answer {
    read_all(&mut stack.inference(&user.key).chat(request).await.unwrap().into_inner()).await
}

/// Input tokens, output tokens, and whether they are estimates.
fn usage(answer: &Answer) -> (u32, u32, bool) {
    let usage = answer.finished.as_ref().unwrap_or_else(|| panic!("{answer:?}")).usage.unwrap();
    (usage.input_tokens.unwrap(), usage.output_tokens.unwrap(), usage.estimated)
}

/// What the account paid, once nothing is held.
async fn spent(stack: &Stack, user: &TestUser) -> i64 {
    until("the hold to be settled", SOON, || async {
        let balance = stack.balance(&user.key).await;
        (balance.held_credits() == 0).then_some(balance.spent_credits())
    })
    .await
}

/// An Ollama on a large machine: a context of 32k where nothing else is said, cut to what the model was trained for. It evaluates what
/// fits, and counts a token for each four bytes.
fn evaluates(request: &RecordedRequest, own: Option<usize>, trained: usize) -> Script {
    let body = request.json();
    let bytes: usize = body["messages"].as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap().len()).sum();
    let asked = body["options"]["num_ctx"].as_u64().map(|tokens| usize::try_from(tokens).unwrap());
    let context = asked.or(own).unwrap_or(32_768).min(trained);
    Script::stream().token("yes").done("stop", (bytes / 4).min(context), 1)
}

#[tokio::test]
async fn charged_input_tokens_are_those_that_were_evaluated_of_a_prompt_of_20000_tokens() {
    let twenty_thousand = "word".repeat(20_000);
    // The Modelfile's num_ctx, what the model was trained for, what the caller asks for; what is sent and what is evaluated.
    for (own, trained, asked, sent, evaluated) in [
        (None, 131_072, None, Some(8192), 8192),
        (Some(65_536), 131_072, None, Some(8192), 8192),
        (Some(2048), 131_072, None, None, 2048),
        (None, 4096, None, None, 4096),
        (None, 8192, None, None, 8192),
        (None, 131_072, Some(4096), Some(4096), 4096),
        (Some(2048), 131_072, Some(8192), Some(8192), 8192),
    ] {
        let what = format!("{own:?} {trained} {asked:?}");
        let upstream = ScriptedUpstream::start().await;
        let info = json!({ "general.architecture": "llama", "llama.context_length": trained });
        let parameters = own.map_or(String::new(), |own| format!("stop    \"x\"\nnum_ctx                        {own}"));
        upstream.script(
            "/api/show",
            Script::json(200, &json!({ "model_info": info, "parameters": parameters, "capabilities": ["completion"] })),
        );
        upstream.answer("/api/chat", move |request| evaluates(request, own, trained));
        let (stack, user) = stack(&upstream).await;
        let options = inference::Options { num_ctx: asked, ..Default::default() };
        let request = inference::ChatRequest { options: Some(options), ..chat_request("smollm2", &twenty_thousand) };
        for call in 1..=3 {
            let answer = chat(&stack, &user, request.clone()).await;
            assert_eq!(usage(&answer), (evaluated, 1, false), "{what}");
            assert_eq!(answer.charged(), Some(10 + i64::from(evaluated) + 1), "{what}");
            let body = upstream.requests_to("/api/chat").last().unwrap().json();
            assert_eq!(body["options"]["num_ctx"].as_u64(), sent, "{what}");
            assert_eq!(spent(&stack, &user).await, call * (11 + i64::from(evaluated)), "{what}");
        }
        // Not one look for each chat: that is remembered.
        assert_eq!(upstream.requests_to("/api/show").len(), 1, "{what}");
    }
}

#[tokio::test]
async fn a_model_whose_own_context_is_unknown_gets_the_cap() {
    for facts in [
        Script::error(500, "no"),
        Script::body(404, "text/plain", "404 page not found"),
        Script::json(200, &json!({})),
        Script::raw_bytes().cut(),
    ] {
        let upstream = ScriptedUpstream::start().await;
        upstream.script("/api/show", facts);
        upstream.answer("/api/chat", |request| evaluates(request, None, usize::MAX));
        let (stack, user) = stack(&upstream).await;
        for _ in 0..2 {
            let answer = chat(&stack, &user, chat_request("smollm2", &"word".repeat(20_000))).await;
            assert_eq!((usage(&answer), answer.charged()), ((8192, 1, false), Some(8203)));
        }
        assert_eq!(upstream.requests_to("/api/show").len(), 1, "what could not be asked isn't asked at each call");
    }
}

#[tokio::test]
async fn a_model_that_was_made_from_one_that_runs_elsewhere_is_refused_for_plain_text_too() {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/show", Script::json(200, &json!({ "remote_host": "https://ollama.com:443", "capabilities": ["completion"] })));
    let (stack, user) = stack(&upstream).await;
    let answer = chat(&stack, &user, chat_request("smollm2", "hi")).await;
    assert_eq!(reason_of(answer.failure.as_ref().unwrap()), Some(ErrorReason::NotSupported));
    assert!(upstream.requests_to("/api/chat").is_empty());
    assert_eq!(spent(&stack, &user).await, 0);
}

#[tokio::test]
async fn counts_that_are_negative_absurd_or_missing_are_clamped_and_flagged() {
    let upstream = ScriptedUpstream::start().await;
    let (stack, user) = stack(&upstream).await;
    // "hi" is held as 2 bytes and what templates add; the estimate is a token for it and four for the message. Three pieces are at least
    // three tokens, and 64 were asked for.
    let (most_input, estimate) = (2 + 1024 + 16, 5);
    let missing = Value::Null;
    let huge = json!(9_999_999_999_999_999_999_u64);
    for (input, output, expected) in [
        (json!(14), json!(3), (14, 3, false)),
        (json!(14), json!(64), (14, 64, false)),
        (json!(-1), json!(3), (estimate, 3, true)),
        (json!(14), json!(-9_223_372_036_854_775_808_i64), (14, 3, true)),
        (json!(0), json!(0), (estimate, 3, true)),
        (json!(14), json!(1), (14, 3, true)),
        (json!(1_000_000_000_000_i64), json!(3), (most_input, 3, true)),
        (json!(14), json!(4096), (14, 64, true)),
        (huge.clone(), huge, (most_input, 64, true)),
        (json!(1e300), json!(1e300), (most_input, 64, true)),
        (missing.clone(), json!(3), (estimate, 3, true)),
        (json!(14), missing.clone(), (14, 3, true)),
        (missing.clone(), missing, (estimate, 3, true)),
        (json!("14"), json!([3]), (estimate, 3, true)),
    ] {
        let mut last = done_line("stop", 0, 0);
        let fields = last.as_object_mut().unwrap();
        for (name, count) in [("prompt_eval_count", &input), ("eval_count", &output)] {
            if count.is_null() {
                fields.remove(name);
            } else {
                fields.insert(name.to_owned(), count.clone());
            }
        }
        upstream.script_once("/api/chat", Script::stream().tokens(&["a", "b", "c"]).line(&last));
        let answer = chat(&stack, &user, chat_request("smollm2", "hi")).await;
        assert_eq!((answer.text().as_str(), usage(&answer)), ("abc", expected), "{input} {output}");
        assert_eq!(answer.charged(), Some(10 + i64::from(expected.0) + i64::from(expected.1)), "{input} {output}");
    }
}

/// Leaves an answer of so many pieces, and answers what that cost beyond the call.
async fn cut_off_after(pieces: usize, lines: &[Value]) -> i64 {
    let upstream = ScriptedUpstream::start().await;
    upstream.script("/api/chat", lines.iter().fold(Script::stream(), Script::line).stall());
    let (stack, user) = stack(&upstream).await;
    let request = inference::ChatRequest { max_output_tokens: Some(4096), ..chat_request("smollm2", "hi") };
    let mut stream = stack.inference(&user.key).chat(request).await.unwrap().into_inner();
    let mut deltas = 0;
    while deltas < pieces {
        deltas += usize::from(matches!(stream.message().await.unwrap().unwrap().event, Some(chat_event::Event::Delta(_))));
    }
    drop(stream);
    spent(&stack, &user).await - 10 - 5
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_charged_a_token_for_each_piece_and_not_by_its_bytes() {
    // As long as English words are: by bytes it were 720.
    let words = vec![chat_line(" word"); 576];
    assert_eq!(cut_off_after(576, &words).await, 576);
    assert_eq!(cut_off_after(117, &words[..117]).await, 117);
    // Letters of three bytes, and the longest word.
    assert_eq!(cut_off_after(40, &vec![chat_line("東京東京"); 40]).await, 40);
    assert_eq!(cut_off_after(3, &vec![chat_line(&" ".repeat(128)); 3]).await, 3);
}

#[tokio::test]
async fn what_is_gathered_in_one_piece_is_charged_by_its_bytes() {
    let call = json!({ "function": { "name": "get_weather", "arguments": { "city": "P".repeat(178) } } });
    let line = json!({ "message": { "role": "assistant", "content": "", "tool_calls": [call] }, "done": false });
    // {"city":"…"} is 189 bytes, and the name 11.
    assert_eq!(cut_off_after(1, &[line]).await, 50);
    assert_eq!(cut_off_after(2, &[chat_line(&"x".repeat(400)), chat_line("y")]).await, 101);
}

fn logprob(token: &str, alternatives: usize) -> Value {
    let one = |token: &str| json!({ "token": token, "logprob": -0.5, "bytes": token.as_bytes() });
    let mut logprob = one(token);
    logprob["top_logprobs"] = (0..alternatives).map(|_| one(token)).collect();
    logprob
}

fn line_with(content: &str, logprobs: &[Value]) -> Value {
    json!({ "message": { "role": "assistant", "content": content }, "logprobs": logprobs, "done": false })
}

fn longest_event(answer: &Answer) -> usize {
    answer
        .deltas
        .iter()
        .map(|delta| inference::ChatEvent { event: Some(chat_event::Event::Delta(delta.clone())) }.encoded_len())
        .max()
        .unwrap_or(0)
}

#[tokio::test]
async fn an_answer_in_one_delta_stays_below_4_mib_with_its_logprobs_and_tool_calls() {
    let upstream = ScriptedUpstream::start().await;
    let (stack, user) = stack(&upstream).await;
    let one_delta =
        |tokens| inference::ChatRequest { stream: Some(false), max_output_tokens: Some(tokens), ..chat_request("smollm2", "hi") };

    // 4,000 tokens with 20 alternatives each: 5 MB, of 16 kB of text.
    let probable = vec![logprob(&"x".repeat(24), 20)];
    let lines = (0..4000).fold(Script::stream(), |script, _| script.line(&line_with("four", &probable)));
    upstream.script_once("/api/chat", lines.done("stop", 14, 4000));
    let answer = chat(&stack, &user, one_delta(4000)).await;
    let failure = answer.failure.as_ref().unwrap_or_else(|| panic!("{} bytes were sent", longest_event(&answer)));
    assert_eq!((failure.code(), reason_of(failure)), (Code::Internal, Some(ErrorReason::UpstreamProtocol)));
    let charged = answer.charged().unwrap();
    assert!(charged > 10 + 5 + 2000 && charged <= 10 + 5 + 4000, "settled as the tokens until then: {charged}");
    assert_eq!(spent(&stack, &user).await, charged);

    // Arguments count, wherever the answer ends.
    let call = json!({ "function": { "name": "f", "arguments": { "x": "y".repeat(3 << 20) } } });
    let mut last = done_line("stop", 14, 60);
    last["message"]["tool_calls"] = json!([call]);
    upstream.script_once("/api/chat", Script::stream().token(&"x".repeat((1 << 20) - 2048)).line(&last));
    let answer = chat(&stack, &user, one_delta(64)).await;
    assert_eq!(reason_of(answer.failure.as_ref().unwrap()), Some(ErrorReason::UpstreamProtocol));
    assert_eq!(answer.charged(), Some(10 + 14 + 60), "it has counted all the same");

    // What fits comes whole.
    let lines = (0..2000).fold(Script::stream(), |script, _| script.line(&line_with("four", &probable)));
    upstream.script_once("/api/chat", lines.done("stop", 14, 2000));
    let answer = chat(&stack, &user, one_delta(4000)).await;
    assert_eq!((answer.deltas.len(), answer.deltas[0].logprobs.len(), usage(&answer)), (1, 2000, (14, 2000, false)));
    assert!((FOUR_MIB / 4..FOUR_MIB).contains(&longest_event(&answer)));
}

#[tokio::test]
async fn a_single_piece_of_a_stream_stays_below_4_mib_and_so_does_the_last_event() {
    let upstream = ScriptedUpstream::start().await;
    let (stack, user) = stack(&upstream).await;
    // In JSON these fit a line; without `bytes` each token is sent twice.
    let logprobs = vec![json!({ "token": "x".repeat(1000), "logprob": -0.5 }); 3000];
    upstream.script_once("/api/chat", Script::stream().token("a").line(&line_with("b", &logprobs)).done("stop", 14, 2));
    let answer = chat(&stack, &user, chat_request("smollm2", "hi")).await;
    assert_eq!((answer.text().as_str(), reason_of(answer.failure.as_ref().unwrap())), ("a", Some(ErrorReason::UpstreamProtocol)));
    assert_eq!(answer.charged(), Some(10 + 5 + 64), "by estimate, and no more than was held");

    let mut last = done_line("stop", 14, 2);
    last["message"]["content"] = Value::from("x".repeat(FOUR_MIB - 1000));
    upstream.script_once("/api/chat", Script::stream().token("a").line(&last));
    let answer = chat(&stack, &user, chat_request("smollm2", "hi")).await;
    assert_eq!(reason_of(answer.failure.as_ref().unwrap()), Some(ErrorReason::UpstreamProtocol));
    assert_eq!(answer.charged(), Some(10 + 14 + 2));

    upstream.script_once("/api/chat", Script::stream().token("a").done(&"x".repeat(FOUR_MIB - 1000), 14, 2));
    let answer = chat(&stack, &user, chat_request("smollm2", "hi")).await;
    assert!(answer.finished.unwrap().upstream_reason.len() <= 64);
}

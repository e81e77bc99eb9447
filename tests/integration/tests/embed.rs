//! `Inference.Embed`: metered as a chat is, and settled on every exit.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use integration::polling::{SOON, until};
use integration::raw_http2::{RawHttp2, prefixed};
use integration::scripted_upstream::{EMBEDDING_LENGTH, Gate, Script, ScriptedUpstream};
use integration::stack::{Plan, Stack, TestUser};
use prost::Message as _;
use serde_json::{Value, json};
use shared::ErrorReason;
use shared::credential_form::to_bearer;
use shared::error::{reason_of, receipt_of};
use shared::proto::inference::{EmbedRequest, EmbedResponse};
use tonic::{Code, Status};

/// Two credits a call, and one each input token.
const PRICES: &str = "*=2/1000/0";

struct Bench {
    upstream: ScriptedUpstream,
    stack: Stack,
    user: TestUser,
}

impl Bench {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(more: &[(&'static str, &str)]) -> Self {
        let upstream = ScriptedUpstream::start().await;
        upstream.model("embedder", &["embedding"], 2048);
        let plan = Plan::with_upstream(&upstream.url()).set("TOLLGATE_PRICES", PRICES).set("TOLLGATE_STARTING_CREDITS", "1000");
        let stack = more.iter().fold(plan, |plan, (name, value)| plan.set(name, value)).start().await;
        let user = stack.user("ada").await;
        Self { upstream, stack, user }
    }

    async fn embed(&self, request: impl tonic::IntoRequest<EmbedRequest>) -> Result<EmbedResponse, Status> {
        self.stack.inference(&self.user.key).embed(request).await.map(tonic::Response::into_inner)
    }

    /// Waits until nothing is held, and answers what is spent.
    async fn settled(&self) -> i64 {
        until("the hold to be settled", SOON, || async {
            let balance = self.stack.balance(&self.user.key).await;
            (balance.held_credits() == 0).then_some(balance.spent_credits())
        })
        .await
    }

    fn sent(&self) -> Vec<Value> {
        self.upstream.requests_to("/api/embed").iter().map(integration::scripted_upstream::RecordedRequest::json).collect()
    }

    /// A call that fails upstream, and what it costs.
    async fn fails(&self, code: Code, reason: ErrorReason, charged: i64) {
        let failure = self.embed(request(&["a text"])).await.unwrap_err();
        assert_eq!((failure.code(), reason_of(&failure)), (code, Some(reason)), "{failure:?}");
        assert_eq!(receipt_of(&failure).and_then(|receipt| receipt.charged_credits), Some(charged), "the status says what was charged");
        assert_eq!(self.settled().await, charged);
    }
}

fn request(inputs: &[&str]) -> EmbedRequest {
    EmbedRequest { model: "embedder".to_owned(), inputs: inputs.iter().map(|&text| text.to_owned()).collect(), ..Default::default() }
}

#[tokio::test]
async fn an_embedding_is_paid_by_its_tokens_and_its_answer_has_the_receipt() {
    let bench = Bench::start().await;
    let asked = EmbedRequest { request_id: "r1".to_owned(), truncate: Some(false), dimensions: Some(2), ..request(&["one", "two"]) };
    let answer = bench.embed(asked).await.unwrap();
    assert_eq!(answer.embeddings.len(), 2);
    assert_eq!(answer.embeddings[0].values, [0.5, -0.5, 0.5, -0.5]);
    assert_eq!((answer.request_id.as_str(), answer.model.as_str(), answer.replayed), ("r1", "embedder", false));
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.estimated), (Some(6), Some(0), false));
    assert!(usage.total.is_some() && usage.load.is_some());
    let receipt = answer.receipt.unwrap();
    assert_eq!((receipt.charged_credits, receipt.remaining_credits), (Some(8), Some(992)));
    assert_eq!(bench.settled().await, 8);
    let ledger = bench.stack.ledger(&bench.user.key).await;
    assert!(ledger.iter().any(|entry| entry.ledger_entry_id == receipt.ledger_entry_id), "{ledger:?}");
    let expected = json!({ "model": "embedder", "input": ["one", "two"], "truncate": false, "dimensions": 2, "options": {} });
    assert_eq!(bench.sent(), [expected], "the model's own context is within the cap: none is asked for");
    bench.stack.snapshot(&bench.user).await;
}

#[tokio::test]
async fn the_worst_case_is_held_while_it_is_computed() {
    let bench = Bench::start().await;
    let gate = Gate::new();
    bench.upstream.script("/api/embed", Script::embeddings("embedder", 1).head_gate(&gate));
    let (key, stack) = (bench.user.key.clone(), &bench.stack);
    let asking = async { stack.inference(&key).embed(request(&["12345678"])).await.unwrap().into_inner() };
    let watching = async {
        bench.upstream.request("/api/embed", 0).await;
        // Eight bytes, and room for what is put around them.
        assert_eq!(stack.balance(&key).await.held_credits(), 2 + 8 + 16);
        gate.open(1);
    };
    let (answer, ()) = tokio::join!(asking, watching);
    assert_eq!(answer.receipt.unwrap().charged_credits, Some(5));
}

#[tokio::test]
async fn the_hold_is_extended_while_a_model_is_slow() {
    let bench = Bench::start_with(&[("TOLLGATE_HOLD_TTL", "3s")]).await;
    let gate = Gate::new();
    bench.upstream.script("/api/embed", Script::embeddings("embedder", 1).head_gate(&gate));
    let (key, stack) = (bench.user.key.clone(), &bench.stack);
    let asking = async { stack.inference(&key).embed(request(&["x"])).await.unwrap().into_inner() };
    let watching = async {
        bench.upstream.request("/api/embed", 0).await;
        let began = tokio::time::Instant::now();
        // Well beyond the time that a hold lives without being extended.
        until("a hold that outlives its time", SOON, || async {
            assert!(stack.balance(&key).await.held_credits() > 0, "it has expired after {:?}", began.elapsed());
            (began.elapsed() > Duration::from_millis(7500)).then_some(())
        })
        .await;
        gate.open(1);
    };
    let (answer, ()) = tokio::join!(asking, watching);
    assert_eq!(answer.receipt.unwrap().charged_credits, Some(5), "it was settled, and not by its expiry");
}

#[tokio::test]
async fn a_repetition_is_answered_without_vectors_and_costs_nothing() {
    let bench = Bench::start().await;
    let named = |inputs: &[&str]| EmbedRequest { request_id: "r1".to_owned(), ..request(inputs) };
    let first = bench.embed(named(&["a"])).await.unwrap();
    let again = bench.embed(named(&["a"])).await.unwrap();
    assert!(again.replayed && again.embeddings.is_empty());
    assert_eq!((again.receipt, again.usage.unwrap().input_tokens), (first.receipt, Some(3)));
    let other = bench.embed(named(&["b"])).await.unwrap_err();
    assert_eq!(reason_of(&other), Some(ErrorReason::RequestIdReused));
    assert_eq!((bench.settled().await, bench.sent().len()), (5, 1));
}

#[tokio::test]
async fn what_can_not_be_done_is_refused_before_anything_is_held_or_sent() {
    let bench = Bench::start().await;
    bench.upstream.model("painter", &["image"], 2048);
    let of = |model: &str| EmbedRequest { model: model.to_owned(), ..request(&["x"]) };
    for (asked, code, reason, says) in [
        (of("painter"), Code::FailedPrecondition, ErrorReason::ModelIncapable, "embedding"),
        (of("nosuch"), Code::NotFound, ErrorReason::ModelNotFound, "no such model"),
        (of("far:cloud"), Code::PermissionDenied, ErrorReason::CloudModelNotAllowed, "not allowed"),
        (of(""), Code::InvalidArgument, ErrorReason::InvalidArgument, "model is required"),
        (request(&[]), Code::InvalidArgument, ErrorReason::InvalidArgument, "inputs must hold at least one"),
        (
            EmbedRequest { num_ctx: Some(9000), ..request(&["x"]) },
            Code::InvalidArgument,
            ErrorReason::InvalidArgument,
            "num_ctx must be from 1 to 8192",
        ),
        (request(&["x".repeat(2000).as_str()]), Code::ResourceExhausted, ErrorReason::InsufficientCredits, "credits"),
    ] {
        let refused = bench.embed(asked).await.unwrap_err();
        assert_eq!((refused.code(), reason_of(&refused)), (code, Some(reason)), "{refused:?}");
        assert!(refused.message().contains(says), "{:?} doesn't say {says:?}", refused.message());
    }
    let stranger = bench.stack.inference("").embed(request(&["x"])).await.unwrap_err();
    assert_eq!(reason_of(&stranger), Some(ErrorReason::CredentialMissing));
    assert_eq!((bench.settled().await, bench.sent().len()), (0, 0));
}

#[tokio::test]
async fn an_answer_that_is_longer_than_clients_take_is_refused_with_how_many_inputs_fit() {
    let bench = Bench::start().await;
    let facts = json!({ "details": {}, "capabilities": ["embedding"],
        "model_info": { "general.architecture": "bert", "bert.context_length": 512, "bert.embedding_length": 1_000_000 } });
    bench.upstream.script("/api/show", Script::json(200, &facts));
    let refused = bench.embed(request(&["a", "b"])).await.unwrap_err();
    assert_eq!(reason_of(&refused), Some(ErrorReason::InvalidArgument));
    assert!(refused.message().starts_with("inputs must be at most 1 at a time"), "{}", refused.message());
    assert_eq!((bench.settled().await, bench.sent().len()), (0, 0));
    // Fewer numbers each, and both fit.
    bench.embed(EmbedRequest { dimensions: Some(EMBEDDING_LENGTH as u32), ..request(&["a", "b"]) }).await.unwrap();
}

#[tokio::test]
async fn a_caller_that_leaves_pays_from_when_its_request_went_upstream() {
    let bench = Bench::start().await;
    let gate = Gate::new();
    bench.upstream.script("/api/embed", Script::embeddings("embedder", 1).head_gate(&gate));
    let (key, mut inference) = (bench.user.key.clone(), bench.stack.inference(&bench.user.key));
    let asking = tokio::spawn(async move { inference.embed(request(&["12345678"])).await });
    let sent = bench.upstream.request("/api/embed", 0).await;
    assert!(bench.stack.balance(&key).await.held_credits() > 0);
    asking.abort();
    sent.client_closed().await;
    // Two for the call, and an estimate of the tokens: a quarter of the bytes, and one.
    assert_eq!(bench.settled().await, 2 + 3);
    let ledger = bench.stack.ledger(&key).await;
    assert!(!ledger.is_empty());
    bench.stack.snapshot(&bench.user).await;
}

#[tokio::test]
async fn a_callers_deadline_ends_the_work_and_costs_as_much() {
    let bench = Bench::start().await;
    bench.upstream.script("/api/embed", Script::silence());
    // Not by a client that watches over its deadline itself.
    let call = RawHttp2::connect(bench.stack.inferences[0].address()).await;
    let headers = [("authorization", to_bearer(&bench.user.key)), ("grpc-timeout", "5S".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let body = prefixed(&request(&["12345678"]).encode_to_vec());
    let late = call.call("/tollgate.inference.v1.Inference/Embed", &headers, &body).await.status;
    assert_eq!((late.code(), reason_of(&late)), (Code::DeadlineExceeded, Some(ErrorReason::DeadlineExceeded)));
    bench.upstream.request("/api/embed", 0).await.client_closed().await;
    assert_eq!(bench.settled().await, 5);
}

#[tokio::test]
async fn silence_costs_nothing() {
    let bench = Bench::start_with(&[("TOLLGATE_FIRST_BYTE_TIMEOUT", "2s")]).await;
    bench.upstream.script("/api/embed", Script::silence());
    bench.fails(Code::DeadlineExceeded, ErrorReason::UpstreamTimeout, 0).await;
    bench.upstream.request("/api/embed", 0).await.client_closed().await;
}

#[tokio::test]
async fn the_longest_life_of_a_call_is_its_callers_to_pay() {
    let bench = Bench::start_with(&[("TOLLGATE_MAX_STREAM_LIFE", "3s")]).await;
    bench.upstream.script("/api/embed", Script::silence());
    bench.fails(Code::Aborted, ErrorReason::StreamTooLong, 2 + 3).await;
}

#[tokio::test]
async fn what_fails_upstream_costs_nothing_whenever_it_fails() {
    let bench = Bench::start().await;
    let whole = Script::embeddings("embedder", 2);
    let half = r#"{"model":"embedder","embeddings":[[0.5,"#;
    for (script, code, reason) in [
        (Script::error(500, "llama runner process has terminated"), Code::FailedPrecondition, ErrorReason::ModelBroken),
        (Script::error(503, "server busy"), Code::Unavailable, ErrorReason::UpstreamBusy),
        (Script::error(400, "embedding contains NaN or Inf values"), Code::FailedPrecondition, ErrorReason::ModelBroken),
        (Script::error(400, "the input length exceeds the context length"), Code::InvalidArgument, ErrorReason::InvalidArgument),
        (Script::error(400, "\"embedder\" does not support embeddings"), Code::FailedPrecondition, ErrorReason::ModelIncapable),
        (Script::body(200, "application/json", half), Code::Internal, ErrorReason::UpstreamProtocol),
        (Script::body(200, "application/json", r#"{"embeddings":[[NaN]]}"#), Code::Internal, ErrorReason::UpstreamProtocol),
        // One vector too many.
        (whole, Code::Internal, ErrorReason::UpstreamProtocol),
        (Script::chunked(200).chunk(half).close_early(), Code::Unavailable, ErrorReason::UpstreamUnavailable),
        (Script::raw_bytes().cut(), Code::Unavailable, ErrorReason::UpstreamUnavailable),
    ] {
        bench.upstream.script_once("/api/embed", script);
        bench.fails(code, reason, 0).await;
    }
    // And the next one is answered.
    assert_eq!(bench.embed(request(&["x"])).await.unwrap().receipt.unwrap().charged_credits, Some(5));
}

#[tokio::test]
async fn a_model_that_is_gone_meanwhile_is_not_found_and_costs_nothing() {
    let bench = Bench::start().await;
    bench.upstream.script_once("/api/embed", Script::error(404, "model 'embedder' not found"));
    bench.fails(Code::NotFound, ErrorReason::ModelNotFound, 0).await;
}

#[tokio::test]
async fn the_drain_cuts_off_what_still_runs_and_it_costs_nothing() {
    let mut bench = Bench::start_with(&[("TOLLGATE_DRAIN_DEADLINE", "1s")]).await;
    bench.upstream.script("/api/embed", Script::silence());
    let mut inference = bench.stack.inference(&bench.user.key);
    let asking = tokio::spawn(async move { inference.embed(request(&["x"])).await });
    bench.upstream.request("/api/embed", 0).await;
    bench.stack.inferences[0].begin_stop();
    let cut = asking.await.unwrap().unwrap_err();
    assert_eq!(reason_of(&cut), Some(ErrorReason::Draining), "{cut:?}");
    assert_eq!(bench.settled().await, 0);
}

#[tokio::test]
async fn counts_that_can_not_be_are_clamped_and_said_to_be_estimates() {
    let bench = Bench::start().await;
    for (counted, tokens, estimated) in [(json!(7), 7, false), (json!(1_000_000), 17, true), (json!(0), 2, true), (Value::Null, 2, true)] {
        let reply = json!({ "model": "embedder", "embeddings": [[1.0]], "prompt_eval_count": counted });
        bench.upstream.script_once("/api/embed", Script::json(200, &reply));
        let answer = bench.embed(request(&["x"])).await.unwrap();
        let usage = answer.usage.unwrap();
        assert_eq!((usage.input_tokens, usage.estimated), (Some(tokens), estimated), "{counted}");
        assert_eq!(answer.receipt.unwrap().charged_credits, Some(2 + i64::from(tokens)));
    }
}

#[tokio::test]
async fn a_context_that_is_larger_than_the_cap_is_cut_to_it() {
    let bench = Bench::start_with(&[("TOLLGATE_MAX_CONTEXT_TOKENS", "512")]).await;
    bench.embed(request(&["x"])).await.unwrap();
    bench.embed(EmbedRequest { num_ctx: Some(64), ..request(&["x"]) }).await.unwrap();
    let asked: Vec<_> = bench.sent().iter().map(|sent| sent["options"]["num_ctx"].clone()).collect();
    assert_eq!(asked, [json!(512), json!(64)]);
}

#[tokio::test]
async fn a_key_that_is_limited_to_other_models_gets_no_embeddings() {
    let bench = Bench::start().await;
    let limited = shared::proto::auth::CreateApiKeyRequest { models: vec!["talker".to_owned()], ..Default::default() };
    let key = bench.stack.accounts(&bench.user.token).create_api_key(limited).await.unwrap().into_inner().key;
    for model in ["embedder", "nosuch"] {
        let asked = EmbedRequest { model: model.to_owned(), ..request(&["x"]) };
        let refused = bench.stack.inference(&key).embed(asked).await.unwrap_err();
        assert_eq!(reason_of(&refused), Some(ErrorReason::ModelNotAllowed), "{model}: whether it is there is nobody's business");
    }
    assert_eq!(bench.sent().len(), 0);
}

#[tokio::test]
async fn a_model_that_was_used_lately_takes_one_question_upstream() {
    let bench = Bench::start().await;
    for _ in 0..5 {
        bench.embed(request(&["x"])).await.unwrap();
    }
    assert_eq!((bench.upstream.requests_to("/api/show").len(), bench.upstream.requests_to("/api/tags").len()), (1, 1));
}

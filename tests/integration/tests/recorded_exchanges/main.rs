//! Every recorded exchange with Ollama, through the whole stack: gRPC in, events, codes, reasons and credits out.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use integration::polling::until;
use integration::recorded::{Exchange, Release, with_rows};
use integration::scripted_upstream::ScriptedUpstream;
use integration::stack::{Answer, Plan, Stack, TestUser, chat_request, read_all};
use serde_json::Value;
use shared::ErrorReason as Reason;
use shared::error::{reason_of, retry_delay_of};
use shared::proto::inference::{self, chat_event};
use tonic::{Code, Status};

mod call;
mod rows;

use call::{Call, format_of};
use rows::Becomes::{self, Answer as Answers, BreaksOff, Deleted, Embeds, Facts, Fails, Left, Made, MakingFails, Models, Nothing};
use rows::Replay::{self, AsRecorded, Never, Refused, Unsayable};
use rows::{ROWS, ROWS_0_32};

/// Whether all that was recorded was sent, and with the same values. More may be sent.
fn covers(sent: &Value, recorded: &Value) -> bool {
    match (sent, recorded) {
        (Value::Object(sent), Value::Object(recorded)) => {
            recorded.iter().all(|(key, recorded)| sent.get(key).is_some_and(|sent| covers(sent, recorded)))
        }
        (Value::Array(sent), Value::Array(recorded)) => {
            sent.len() == recorded.len() && sent.iter().zip(recorded).all(|(sent, recorded)| covers(sent, recorded))
        }
        // 1 and 1.0 are the same; 0.1 goes through a float of half the length.
        (Value::Number(sent), Value::Number(recorded)) => (sent.as_f64().unwrap() - recorded.as_f64().unwrap()).abs() < 1e-6,
        (sent, recorded) => sent == recorded,
    }
}

/// A recorded answer, read without the code under test.
#[derive(Debug, Default, PartialEq)]
struct AnswerSummary {
    content: String,
    thinking: String,
    /// Names and arguments.
    tool_calls: Vec<(String, Value)>,
    /// Tokens, and how many alternatives each has.
    logprobs: Vec<(String, usize)>,
    /// Lines with any of these.
    pieces: usize,
    /// About how many tokens they are, when nobody has counted: one each, but four bytes are one where a line has a whole call or more than
    /// any token, and each log probability is one.
    tokens: usize,
}

fn piece_tokens(text: usize, calls: &[(String, Value)], logprobs: usize) -> usize {
    let calls: usize = calls.iter().map(|(name, arguments)| name.len() + arguments.to_string().len()).sum();
    let gathered = if calls > 0 || text > 128 { (text + calls).div_ceil(4) } else { 1 };
    gathered.max(logprobs)
}

impl AnswerSummary {
    fn recorded(exchange: &Exchange) -> (Self, String) {
        let (mut said, mut done_reason) = (Self::default(), String::new());
        for line in exchange.response.body().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let part = |path: &str| line.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
            let list = |path: &str| line.pointer(path).and_then(Value::as_array).cloned().unwrap_or_default();
            let (content, thinking) = (part("/message/content") + &part("/response"), part("/message/thinking") + &part("/thinking"));
            let (tool_calls, logprobs) = (list("/message/tool_calls"), list("/logprobs"));
            let call = |call: &Value| (call["function"]["name"].as_str().unwrap().to_owned(), call["function"]["arguments"].clone());
            let tool_calls: Vec<_> = tool_calls.iter().map(call).collect();
            if !(content.is_empty() && thinking.is_empty() && tool_calls.is_empty() && logprobs.is_empty()) {
                said.pieces += 1;
                said.tokens += piece_tokens(content.len() + thinking.len(), &tool_calls, logprobs.len());
            }
            said.content += &content;
            said.thinking += &thinking;
            said.tool_calls.extend(tool_calls);
            said.logprobs.extend(
                logprobs
                    .iter()
                    .map(|logprob| (logprob["token"].as_str().unwrap().to_owned(), logprob["top_logprobs"].as_array().map_or(0, Vec::len))),
            );
            done_reason += &part("/done_reason");
        }
        (said, done_reason)
    }

    fn heard(deltas: &[inference::Delta]) -> Self {
        let mut said = Self { pieces: deltas.len(), ..Self::default() };
        for delta in deltas {
            said.content += &delta.content;
            said.thinking += &delta.thinking;
            let call = |call: &inference::ToolCall| (call.name.clone(), serde_json::from_str(&call.arguments_json).unwrap());
            let tool_calls: Vec<_> = delta.tool_calls.iter().map(call).collect();
            said.tokens += piece_tokens(delta.content.len() + delta.thinking.len(), &tool_calls, delta.logprobs.len());
            said.tool_calls.extend(tool_calls);
            said.logprobs.extend(delta.logprobs.iter().map(|logprob| (logprob.token.clone(), logprob.top_logprobs.len())));
        }
        said
    }

    fn output_estimate(&self) -> i64 {
        i64::try_from(self.tokens).unwrap()
    }
}

/// What a call was answered.
#[derive(Debug, Default)]
struct ReceivedAnswer {
    answer: Answer,
    steps: Vec<String>,
    models: Vec<inference::Model>,
    facts: Option<inference::ShowModelResponse>,
    embedded: Option<inference::EmbedResponse>,
}

/// What a call costs, and each token.
#[derive(Debug, Clone, Copy)]
struct Price {
    call: i64,
    token: i64,
}

/// A stack in front of a scripted upstream, and who calls it.
struct Bench {
    upstream: ScriptedUpstream,
    stack: Stack,
    user: TestUser,
    admin: String,
    price: Price,
}

impl Bench {
    async fn start(price: Price) -> Self {
        let upstream = ScriptedUpstream::start().await;
        // Ollama 0.24 gave embeddings of any model.
        upstream.model("smollm2", &["completion", "embedding"], 8192);
        upstream.model("mario", &["completion"], 8192);
        upstream.model("withtools", &["completion", "tools"], 8192);
        upstream.model("withthinking", &["completion", "thinking"], 8192);
        upstream.model("thinks", &["completion", "thinking"], 8192);
        upstream.model("gone", &["completion"], 8192);
        let Price { call, token } = price;
        let prices = format!("*={call}/{0}/{0}", token * 1000);
        let stack =
            Plan::with_upstream(&upstream.url()).set("TOLLGATE_PRICES", &prices).set("TOLLGATE_STARTING_CREDITS", "1000000").start().await;
        let (user, admin) = (stack.user("ada").await, stack.admin_token().await);
        Self { upstream, stack, user, admin, price }
    }

    /// What was spent so far; the invariants hold, and nothing is held.
    async fn spent(&self, name: &str) -> i64 {
        let snapshot = self.stack.snapshot(&self.user).await;
        assert_eq!(snapshot.balance.held, 0, "{name}: something is held");
        snapshot.balance.spent
    }

    async fn call(&self, call: &Call) -> Result<ReceivedAnswer, Status> {
        let mut heard = ReceivedAnswer::default();
        let (mut inference, mut models) = (self.stack.inference(&self.user.key), self.stack.models(&self.admin));
        match call.clone() {
            Call::Chat(request) => heard.answer = read_all(&mut inference.chat(request).await?.into_inner()).await,
            Call::Generate(request) => heard.answer = read_all(&mut inference.generate(request).await?.into_inner()).await,
            Call::Embed(request) => heard.embedded = Some(inference.embed(request).await?.into_inner()),
            Call::ListModels => heard.models = inference.list_models(inference::ListModelsRequest {}).await?.into_inner().models,
            Call::ShowModel(model) => heard.facts = Some(inference.show_model(inference::ShowModelRequest { model }).await?.into_inner()),
            Call::CreateModel { model, modelfile } => {
                let mut steps = models.create_model(inference::CreateModelRequest { model, modelfile }).await?.into_inner();
                loop {
                    match steps.message().await {
                        Ok(Some(step)) => heard.steps.push(step.status),
                        Ok(None) => break,
                        Err(status) => {
                            heard.answer.failure = Some(status);
                            break;
                        }
                    }
                }
            }
            Call::DeleteModel(model) => {
                models.delete_model(inference::DeleteModelRequest { model }).await?;
            }
        }
        Ok(heard)
    }

    /// What went upstream so far. Questions that change and cost nothing there don't count: readiness asks for the release when it likes.
    fn sent(&self) -> usize {
        let is_free = |path: &str| matches!(path, "/api/tags" | "/api/show" | "/api/version");
        self.upstream.requests().iter().filter(|request| !is_free(&request.path)).count()
    }

    /// A call that Tollgate refuses by itself: nothing goes upstream, nothing is charged.
    async fn refuses(&self, name: &str, call: &Call, code: Code, reason: Reason, says: &str) {
        let (sent, spent) = (self.sent(), self.spent(name).await);
        let refused = match self.call(call).await {
            Err(status) => status,
            Ok(heard) => heard.answer.failure.unwrap_or_else(|| panic!("{name}: it was answered")),
        };
        assert_eq!((refused.code(), reason_of(&refused)), (code, Some(reason)), "{name}: {refused:?}");
        assert!(refused.message().contains(says), "{name}: {:?} doesn't say {says:?}", refused.message());
        assert_eq!(self.sent(), sent, "{name}: it went upstream");
        assert_eq!(self.spent(name).await, spent, "{name}: it was charged");
    }

    async fn replay(&mut self, exchange: &Exchange, replay: Replay, becomes: Becomes) {
        let (name, path) = (exchange.label.as_str(), exchange.request.path.as_str());
        let recorded = if matches!(replay, Never(_)) { None } else { Call::recorded(exchange) };
        let call = match replay {
            Never(_) => return,
            AsRecorded => recorded.unwrap_or_else(|| panic!("{name}: our contract can't say this")),
            Refused(code, reason, says) => {
                let call = recorded.unwrap_or_else(|| panic!("{name}: our contract can't say this"));
                self.refuses(name, &call, code, reason, says).await;
                Call::plain(path)
            }
            Unsayable => {
                assert!(recorded.is_none(), "{name}: our contract can say this: {recorded:?}");
                Call::plain(path)
            }
        };
        // A new service remembers nothing of models.
        self.stack.inferences.clear();
        self.stack.start_inference(0).await;
        let (spent, number) = (self.spent(name).await, self.upstream.requests_to(path).len());
        self.upstream.script_once(path, exchange.script(0.0));

        let charged = match becomes {
            Left(deltas) => self.leave_after(deltas, name, &call).await,
            becomes => {
                let heard = match self.call(&call).await {
                    Ok(heard) => heard,
                    Err(status) => {
                        ReceivedAnswer { answer: Answer { failure: Some(status), ..Answer::default() }, ..ReceivedAnswer::default() }
                    }
                };
                self.check(exchange, &call, becomes, &heard)
            }
        };
        assert_eq!(self.spent(name).await - spent, charged, "{name}: charged");
        let sent = self.upstream.requests_to(path);
        assert_eq!(sent.len(), number + 1, "{name}: it goes upstream once");
        if matches!(replay, AsRecorded) {
            let (sent, mut wanted) = (sent[number].json(), exchange.request.json());
            // Always streamed: the caller's wish is met behind the stream.
            wanted.as_object_mut().map(|wanted| wanted.remove("stream"));
            // One text is sent as a list of one.
            if let Some(Value::String(one)) = wanted.get("input").cloned() {
                wanted["input"] = Value::from(vec![one]);
            }
            assert!(covers(&sent, &wanted), "{name}: {sent} was sent instead of {wanted}");
        }
    }

    /// Reads so many deltas, goes away, and answers what that costs.
    async fn leave_after(&self, deltas: usize, name: &str, call: &Call) -> i64 {
        let Call::Chat(request) = call else { panic!("{name}: not a chat") };
        let mut stream = self.stack.inference(&self.user.key).chat(request.clone()).await.unwrap().into_inner();
        let mut heard = Vec::new();
        while heard.len() < deltas {
            if let Some(chat_event::Event::Delta(delta)) = stream.message().await.unwrap().unwrap().event {
                heard.push(delta);
            }
        }
        drop(stream);
        self.upstream.requests_to("/api/chat").last().unwrap().client_closed().await;
        until("the hold to be settled", Duration::from_secs(5), || async {
            (self.stack.balance(&self.user.key).await.held_credits() == 0).then_some(())
        })
        .await;
        self.price.call + self.price.token * (call.input_estimate() + AnswerSummary::heard(&heard).output_estimate())
    }

    /// Checks what was heard, and answers what it must have cost.
    fn check(&self, exchange: &Exchange, call: &Call, becomes: Becomes, heard: &ReceivedAnswer) -> i64 {
        let (name, answer) = (exchange.label.as_str(), &heard.answer);
        let is_answer = matches!(call, Call::Chat(_) | Call::Generate(_));
        let failed = |code: Code, reason: Reason| {
            let failure = answer.failure.as_ref().unwrap_or_else(|| panic!("{name}: it did not fail: {heard:?}"));
            assert_eq!((failure.code(), reason_of(failure)), (code, Some(reason)), "{name}: {failure:?}");
            assert_eq!(retry_delay_of(failure).is_some(), code == Code::Unavailable, "{name}: RetryInfo");
            // Upstream's words name files and registries.
            for words in ["/models", "registry", "ollama.com", "dial tcp", "unexpected EOF", "does not support"] {
                assert!(!failure.message().contains(words), "{name}: {}", failure.message());
            }
            assert!(answer.finished.is_none(), "{name}: finished and failed");
        };
        let (said, done_reason) = if is_answer && exchange.response.status_code() == 200 {
            AnswerSummary::recorded(exchange)
        } else {
            (AnswerSummary::default(), String::new())
        };
        let charged = match becomes {
            Answers(reason, input, output) => {
                let finished = answer.finished.as_ref().unwrap_or_else(|| panic!("{name}: {answer:?}"));
                assert!(answer.started.is_some() && answer.failure.is_none(), "{name}");
                assert_eq!((finished.reason(), finished.upstream_reason.as_str()), (reason, done_reason.as_str()), "{name}");
                let usage = finished.usage.as_ref().unwrap();
                assert_eq!((usage.input_tokens, usage.output_tokens, usage.estimated), (Some(input), Some(output), false), "{name}");
                assert!(usage.total.is_some() && usage.load.is_some() && !finished.replayed, "{name}");
                let heard = AnswerSummary::heard(&answer.deltas);
                // What a delta of all pieces is by estimate tells nothing.
                let (pieces, tokens) = if call.wants_one_delta() { (1, heard.tokens) } else { (said.pieces, said.tokens) };
                assert_eq!(heard, AnswerSummary { pieces, tokens, ..said }, "{name}");
                self.price.call + self.price.token * i64::from(input + output)
            }
            BreaksOff(code, reason) => {
                failed(code, reason);
                assert!(answer.started.is_some(), "{name}");
                assert_eq!(AnswerSummary::heard(&answer.deltas), said, "{name}");
                let tokens = call.input_estimate() + said.output_estimate();
                if said.pieces == 0 { 0 } else { self.price.call + self.price.token * tokens }
            }
            Fails(code, reason) => {
                failed(code, reason);
                assert!(answer.deltas.is_empty() && heard.steps.is_empty(), "{name}");
                0
            }
            Embeds(count, input) => {
                let embedded = heard.embedded.as_ref().unwrap_or_else(|| panic!("{name}: {heard:?}"));
                assert_eq!(embedded.embeddings.len(), count, "{name}");
                let recorded: Value = serde_json::from_str(&exchange.response.body()).unwrap();
                let first = recorded["embeddings"][0][0].as_f64().unwrap();
                assert!((f64::from(embedded.embeddings[0].values[0]) - first).abs() < 1e-6, "{name}");
                let usage = embedded.usage.unwrap();
                assert_eq!((usage.input_tokens, usage.output_tokens, usage.estimated), (Some(input), Some(0), false), "{name}");
                let charged = self.price.call + self.price.token * i64::from(input);
                assert_eq!(embedded.receipt.as_ref().and_then(|receipt| receipt.charged_credits), Some(charged), "{name}: the receipt");
                charged
            }
            Models(count) => {
                assert_eq!(heard.models.len(), count, "{name}");
                let right = |model: &inference::Model| {
                    model.size_bytes > 0 && model.modified_at.is_some() && !model.digest.is_empty() && !model.name.ends_with(":latest")
                };
                assert!(heard.models.iter().all(right), "{name}: {:?}", heard.models);
                0
            }
            Facts(capabilities) => {
                let facts = heard.facts.as_ref().unwrap_or_else(|| panic!("{name}: {heard:?}"));
                assert_eq!(
                    (facts.capabilities.iter().map(String::as_str).collect::<Vec<_>>(), facts.context_length),
                    (capabilities.to_vec(), 8192),
                    "{name}"
                );
                assert!(facts.modified_at.is_some(), "{name}");
                let said = format!("{facts:?}");
                assert!(!said.contains("/models") && !said.to_lowercase().contains("mario from"), "{name}: operators' business: {said}");
                0
            }
            Made(steps) => {
                assert!(answer.failure.is_none(), "{name}: {:?}", answer.failure);
                assert_eq!((heard.steps.len(), heard.steps.last().map(String::as_str)), (steps, Some("success")), "{name}");
                0
            }
            MakingFails(steps, code, reason) => {
                failed(code, reason);
                assert_eq!(heard.steps.len(), steps, "{name}: {:?}", heard.steps);
                0
            }
            Deleted => {
                assert!(answer.failure.is_none(), "{name}: {:?}", answer.failure);
                0
            }
            Left(_) | Nothing => panic!("{name}: nothing to check"),
        };
        if is_answer {
            assert_eq!(answer.charged(), Some(charged), "{name}: the receipt");
        }
        charged
    }
}

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

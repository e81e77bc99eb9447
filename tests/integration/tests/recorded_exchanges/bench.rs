//! A stack in front of a scripted upstream that replays exchanges, and what a call must come to.

use integration::polling::{SOON, until};
use integration::recorded::Exchange;
use integration::scripted_upstream::ScriptedUpstream;
use integration::stack::{Answer, Plan, Stack, TestUser, read_all};
use serde_json::Value;
use shared::ErrorReason as Reason;
use shared::error::{reason_of, retry_delay_of};
use shared::proto::inference;
use shared::proto::inference::chat_event;
use tonic::{Code, Status};

use crate::answer_summary::{AnswerSummary, covers};
use crate::call::Call;
use crate::rows::Becomes::{Answer as Answers, BreaksOff, Deleted, Embeds, Facts, Fails, Left, Made, MakingFails, Models, Nothing};
use crate::rows::Replay::{AsRecorded, Never, Refused, Unsayable};
use crate::rows::{Becomes, Replay};

/// What a call was answered.
#[derive(Debug, Default)]
pub(crate) struct ReceivedAnswer {
    pub(crate) answer: Answer,
    pub(crate) steps: Vec<String>,
    pub(crate) models: Vec<inference::Model>,
    pub(crate) facts: Option<inference::ShowModelResponse>,
    pub(crate) embedded: Option<inference::EmbedResponse>,
}

/// What a call costs, and each token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Price {
    pub(crate) call: i64,
    pub(crate) token: i64,
}

/// A stack in front of a scripted upstream, and who calls it.
pub(crate) struct Bench {
    pub(crate) upstream: ScriptedUpstream,
    pub(crate) stack: Stack,
    pub(crate) user: TestUser,
    pub(crate) admin: String,
    pub(crate) price: Price,
}

impl Bench {
    pub(crate) async fn start(price: Price) -> Self {
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
    pub(crate) async fn spent(&self, name: &str) -> i64 {
        let snapshot = self.stack.snapshot(&self.user).await;
        assert_eq!(snapshot.balance.held, 0, "{name}: something is held");
        snapshot.balance.spent
    }

    pub(crate) async fn call(&self, call: &Call) -> Result<ReceivedAnswer, Status> {
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
    pub(crate) fn sent(&self) -> usize {
        let is_free = |path: &str| matches!(path, "/api/tags" | "/api/show" | "/api/version");
        self.upstream.requests().iter().filter(|request| !is_free(&request.path)).count()
    }

    /// A call that Tollgate refuses by itself: nothing goes upstream, nothing is charged.
    pub(crate) async fn refuses(&self, name: &str, call: &Call, code: Code, reason: Reason, says: &str) {
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

    pub(crate) async fn replay(&mut self, exchange: &Exchange, replay: Replay, becomes: Becomes) {
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
    pub(crate) async fn leave_after(&self, deltas: usize, name: &str, call: &Call) -> i64 {
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
        until("the hold to be settled", SOON, || async { (self.stack.balance(&self.user.key).await.held_credits() == 0).then_some(()) })
            .await;
        self.price.call + self.price.token * (call.input_estimate() + AnswerSummary::heard(&heard).output_estimate())
    }

    /// Checks what was heard, and answers what it must have cost.
    pub(crate) fn check(&self, exchange: &Exchange, call: &Call, becomes: Becomes, heard: &ReceivedAnswer) -> i64 {
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

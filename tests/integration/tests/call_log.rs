//! One line a call in each service's log, found by the id that the ledger has, whichever way the call ends.

use std::collections::BTreeMap;
use std::time::Duration;

use integration::polling::{SOON, until};
use integration::process_pair::{ProcessPair, bearer};
use integration::processes::ServiceProcess;
use integration::redis_server::RedisServer;
use integration::scripted_upstream::{Gate, Script, ScriptedUpstream};
use integration::stack::{Answer, channel, chat_request, read_all};
use serde_json::{Value, json};
use shared::credential_form::{API_KEY_PREFIX, checksum};
use shared::proto::auth::accounts_client::AccountsClient;
use shared::proto::auth::{self, LedgerEntry};
use shared::proto::inference::{ChatRequest, EmbedRequest, GenerateRequest, Tool};
use tonic::{Code, Request};

/// What a line says: all of its fields but the time that the call took.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line(BTreeMap<String, Value>);

impl Line {
    fn new(outcome: &str, more: Value) -> Self {
        let Value::Object(more) = more else { panic!("no object: {more}") };
        Self(more.into_iter().chain([("outcome".to_owned(), json!(outcome))]).collect())
    }
}

/// The lines of calls in a log.
fn lines_of_target(process: &ServiceProcess) -> impl Iterator<Item = Value> {
    let lines: Vec<Value> = process.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.into_iter().filter(|line| line["target"] == "call")
}

fn said(line: &Value) -> Line {
    const FIELDS: [&str; 9] =
        ["account", "model", "outcome", "state", "reason", "request_id", "input_tokens", "output_tokens", "charged_credits"];
    assert!(line["level"] == "INFO" && line["message"] == "a call is over", "{line}");
    Line(FIELDS.iter().filter(|field| !line[**field].is_null()).map(|field| ((*field).to_owned(), line[*field].clone())).collect())
}

/// The lines of one call, by the id in its header.
fn call_lines(process: &ServiceProcess, x_request_id: &str) -> Vec<Line> {
    let of_call = lines_of_target(process).filter(|line| line["x_request_id"] == x_request_id);
    of_call.inspect(|line| assert!(line["elapsed_ms"].is_u64() && line["method"].is_string(), "{line}")).map(|line| said(&line)).collect()
}

/// Both services, a user, and prices that tell tokens apart.
struct Calls {
    upstream: ScriptedUpstream,
    processes: ProcessPair,
    key: String,
    account: String,
}

impl Calls {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(more: &[(&str, &str)]) -> Self {
        let upstream = ScriptedUpstream::start().await;
        upstream.model("smollm2", &["completion", "embedding"], 8192);
        let own = [("TOLLGATE_PRICES", "*=10/1000/1000"), ("TOLLGATE_STARTING_CREDITS", "5000"), ("TOLLGATE_LOG", "info")];
        let more = [&own, more].concat();
        let processes = ProcessPair::start(&upstream.url(), &more);
        let key = processes.user().await;
        let mut accounts = AccountsClient::new(channel(processes.auth.address()));
        let account = accounts.get_me(bearer(&key, auth::GetMeRequest {})).await.unwrap().into_inner().user.unwrap().user_id;
        Self { upstream, processes, key, account }
    }

    /// A request under this id in message and header.
    fn chat(&self, id: &str) -> Request<ChatRequest> {
        let mut request = bearer(&self.key, ChatRequest { request_id: id.to_owned(), ..chat_request("smollm2:latest", "hi") });
        request.metadata_mut().insert("x-request-id", format!("x-{id}").parse().unwrap());
        request
    }

    async fn answer(&self, request: Request<ChatRequest>) -> Answer {
        read_all(&mut self.processes.inference().chat(request).await.unwrap().into_inner()).await
    }

    async fn ledger(&self) -> Vec<LedgerEntry> {
        let mut accounts = AccountsClient::new(channel(self.processes.auth.address()));
        let request = auth::ListLedgerEntriesRequest { page_size: 100, ..Default::default() };
        accounts.list_ledger_entries(bearer(&self.key, request)).await.unwrap().into_inner().entries
    }

    /// A line of a call that held credits.
    fn held(&self, id: &str, outcome: &str, state: &str, tokens: (u32, u32), credits: i64, reason: Option<&str>) -> Line {
        let mut line = self.refused(id, outcome, reason.unwrap_or_default(), true);
        for (name, value) in [
            ("state", json!(state)),
            ("input_tokens", json!(tokens.0)),
            ("output_tokens", json!(tokens.1)),
            ("charged_credits", json!(credits)),
        ] {
            line.0.insert(name.to_owned(), value);
        }
        if reason.is_none() {
            line.0.remove("reason");
        }
        line
    }

    /// A line of a call that held none.
    fn refused(&self, id: &str, outcome: &str, reason: &str, is_known: bool) -> Line {
        let line = json!({ "request_id": id, "model": "smollm2", "account": self.account, "reason": reason, "charged_credits": 0 });
        let mut line = Line::new(outcome, line);
        if !is_known {
            line.0.remove("account");
        }
        line
    }

    /// Waits until both logs have so many lines of the call.
    async fn until_said(&self, id: &str, inference: usize, auth: usize) {
        let id = format!("x-{id}");
        until("the lines of the call", SOON, || async {
            let said = |process| call_lines(process, &id).len();
            (said(&self.processes.inference) >= inference && said(&self.processes.auth) >= auth).then_some(())
        })
        .await;
    }

    /// Waits until auth-service has a line of the request.
    async fn until_said_by_auth(&self, request_id: &str) {
        let is_said = || async { lines_of_target(&self.processes.auth).any(|line| line["request_id"] == request_id).then_some(()) };
        until("the line of the request", SOON, is_said).await;
    }

    /// Ends both services, and with them both logs: these are the lines of the call, and no others.
    fn assert_lines(mut self, expected: &[(&str, Line, Option<Line>)]) {
        assert!(self.processes.inference.stop().success() && self.processes.auth.stop().success());
        for (id, inference, auth) in expected {
            let of = |process| call_lines(process, &format!("x-{id}"));
            assert_eq!(of(&self.processes.inference), std::slice::from_ref(inference), "{id}, inference-service");
            assert_eq!(of(&self.processes.auth), auth.as_slice(), "{id}, auth-service");
        }
    }
}

/// The same line without a reason: auth-service isn't told what the caller was.
fn without_reason(line: &Line) -> Line {
    let mut line = line.clone();
    line.0.remove("reason");
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_held_credits_has_one_line_in_each_service_with_the_figures_of_its_receipt_and_ledger_entry() {
    let calls = Calls::start().await;
    let done = Script::stream().tokens(&["a", "b", "c"]).done("stop", 7, 3);
    calls.upstream.script_once("/api/chat", done);
    let answer = calls.answer(calls.chat("completed")).await;
    assert_eq!(answer.started.unwrap().request_id, "completed");
    let charged = answer.finished.unwrap().receipt.unwrap().charged_credits();
    // The same once more is answered with the same receipt.
    let mut again = calls.chat("completed");
    again.metadata_mut().insert("x-request-id", "x-replayed".parse().unwrap());
    assert!(calls.answer(again).await.finished.unwrap().replayed);

    // Fails before its first token, and after it.
    calls.upstream.script_once("/api/chat", Script::error(500, "no"));
    assert!(calls.answer(calls.chat("refunded")).await.failure.is_some());
    calls.upstream.script_once("/api/chat", Script::stream().token("one").error_line("no"));
    let failed = calls.answer(calls.chat("failed")).await;
    let charged_for_failed = failed.charged().unwrap();

    // The caller goes away after a token, and another one has a deadline.
    let gate = Gate::new();
    calls.upstream.script("/api/chat", Script::stream().token("one").gate(&gate).stall());
    let mut stream = calls.processes.inference().chat(calls.chat("left")).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    stream.message().await.unwrap().unwrap();
    drop(stream);
    calls.until_said("left", 1, 1).await;
    let mut late = calls.chat("late");
    late.set_timeout(Duration::from_secs(5));
    assert_eq!(calls.answer(late).await.failure.unwrap().code(), Code::DeadlineExceeded);
    calls.until_said("late", 1, 1).await;

    calls.upstream.script(
        "/api/generate",
        Script::stream().line(&json!({ "response": "x", "done": false })).line(&json!({
            "response": "", "done": true, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 1
        })),
    );
    let generate = GenerateRequest {
        model: "smollm2".into(),
        prompt: "hi".into(),
        request_id: "generated".into(),
        max_output_tokens: Some(64),
        ..Default::default()
    };
    let mut generate = bearer(&calls.key, generate);
    generate.metadata_mut().insert("x-request-id", "x-generated".parse().unwrap());
    let generated = calls.processes.inference().generate(generate).await.unwrap();
    assert!(read_all(&mut generated.into_inner()).await.finished.is_some());
    calls.until_said("generated", 1, 1).await;

    let asked =
        EmbedRequest { model: "smollm2".into(), inputs: vec!["a".into(), "b".into()], request_id: "embedded".into(), ..Default::default() };
    let mut embed = bearer(&calls.key, asked);
    embed.metadata_mut().insert("x-request-id", "x-embedded".parse().unwrap());
    assert!(calls.processes.inference().embed(embed).await.unwrap().into_inner().receipt.is_some());
    calls.until_said("embedded", 1, 1).await;

    let ledger = calls.ledger().await;
    let of_ledger = |id: &str| {
        let entry = ledger.iter().find(|entry| entry.request_id == id).unwrap();
        let usage = entry.usage.unwrap();
        ((usage.input_tokens(), usage.output_tokens()), -entry.credits())
    };
    let settled = |id: &str, outcome: &str, reason: Option<&str>| {
        let (tokens, credits) = of_ledger(id);
        calls.held(id, outcome, "settled", tokens, credits, reason)
    };
    assert_eq!(of_ledger("completed"), ((7, 3), charged));
    assert_eq!(of_ledger("failed").1, charged_for_failed);
    let completed = settled("completed", "completed", None);
    let mut replayed = completed.clone();
    replayed.0.insert("outcome".to_owned(), json!("replayed"));
    let refunded = calls.held("refunded", "nothing_generated", "refunded", (0, 0), 0, Some("UPSTREAM_UNAVAILABLE"));
    let failed = settled("failed", "upstream_failed", Some("UPSTREAM_UNAVAILABLE"));
    let left = settled("left", "cancelled", Some("CANCELLED"));
    let late = settled("late", "cancelled", Some("DEADLINE_EXCEEDED"));
    let generated = settled("generated", "completed", None);
    assert_eq!(of_ledger("embedded").0, (6, 0));
    let embedded = settled("embedded", "completed", None);
    let expected: Vec<_> = [
        ("embedded", embedded),
        ("completed", completed),
        ("replayed", replayed),
        ("refunded", refunded),
        ("failed", failed),
        ("left", left),
        ("late", late),
        ("generated", generated),
    ]
    .map(|(id, line)| (id, line.clone(), Some(without_reason(&line))))
    .into();
    calls.assert_lines(&expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_refused_before_a_hold_has_one_line_in_each_service_that_heard_of_it() {
    let calls = Calls::start().await;
    let mut inference = calls.processes.inference();
    // Refused by auth-service, which knows the caller.
    let mut dear = calls.chat("dear");
    (dear.get_mut().require_full, dear.get_mut().max_output_tokens) = (true, Some(4096));
    dear.get_mut().messages[0].content = "word ".repeat(8_000);
    assert_eq!(inference.chat(dear).await.unwrap_err().code(), Code::ResourceExhausted);
    // Refused by it, as a stranger.
    let mut strange = calls.chat("strange");
    let body = format!("{API_KEY_PREFIX}{}", "Zz19".repeat(10));
    let stranger = format!("{body}{}", std::str::from_utf8(&checksum(&body)).unwrap());
    strange.metadata_mut().insert("authorization", format!("Bearer {stranger}").parse().unwrap());
    assert_eq!(inference.chat(strange).await.unwrap_err().code(), Code::Unauthenticated);
    // auth-service hears nothing of these.
    let mut mistyped = calls.chat("mistyped");
    let other = if calls.key.ends_with('x') { 'y' } else { 'x' };
    let key = format!("{}{other}", &calls.key[..calls.key.len() - 1]);
    mistyped.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    assert_eq!(inference.chat(mistyped).await.unwrap_err().code(), Code::Unauthenticated);
    let mut wrong = calls.chat("wrong");
    wrong.get_mut().messages.clear();
    assert_eq!(inference.chat(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    let mut nobody = calls.chat("nobody");
    nobody.metadata_mut().remove("authorization");
    assert_eq!(inference.chat(nobody).await.unwrap_err().code(), Code::Unauthenticated);
    let mut timeless = calls.chat("timeless");
    timeless.metadata_mut().insert("grpc-timeout", "soon".parse().unwrap());
    assert_eq!(inference.chat(timeless).await.unwrap_err().code(), Code::InvalidArgument);
    let mut unnamed = calls.chat("unnamed");
    (unnamed.get_mut().request_id, unnamed.get_mut().model) = ("a b".to_owned(), "my secret".to_owned());
    assert_eq!(inference.chat(unnamed).await.unwrap_err().code(), Code::InvalidArgument);
    // It lets the caller in, and the model can't do what is asked of it.
    let mut incapable = calls.chat("incapable");
    incapable.get_mut().tools = vec![Tool { name: "f".into(), description: "f".into(), parameters_json: "{\"type\":\"object\"}".into() }];
    assert_eq!(inference.chat(incapable).await.unwrap_err().code(), Code::FailedPrecondition);

    let unread = |reason: &str| Line::new("refused", json!({ "reason": reason, "charged_credits": 0 }));
    let dear = calls.refused("dear", "refused", "INSUFFICIENT_CREDITS", true);
    let strange = calls.refused("strange", "refused", "CREDENTIAL_INVALID", false);
    let wrong = calls.refused("wrong", "refused", "INVALID_ARGUMENT", false);
    let incapable = calls.refused("incapable", "refused", "MODEL_INCAPABLE", true);
    calls.assert_lines(&[
        ("dear", dear.clone(), Some(dear)),
        ("strange", strange.clone(), Some(strange)),
        ("wrong", wrong, None),
        ("mistyped", unread("CREDENTIAL_INVALID"), None),
        ("nobody", unread("CREDENTIAL_MISSING"), None),
        ("timeless", unread("INVALID_ARGUMENT"), None),
        ("unnamed", unread("INVALID_ARGUMENT"), None),
        ("incapable", incapable, None),
    ]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_during_its_check_has_one_line_in_each_service() {
    let calls = Calls::start().await;
    // From then on the model is known, and the first that auth-service is asked is to hold credits.
    calls.upstream.script_once("/api/chat", Script::chat(&["x"]));
    assert!(calls.answer(calls.chat("first")).await.finished.is_some());
    // auth-service takes the Check, and answers it when nobody waits any more.
    calls.processes.auth.signal("STOP");
    let mut inference = calls.processes.inference();
    let left = tokio::time::timeout(Duration::from_secs(1), inference.chat(calls.chat("gone"))).await;
    assert!(left.is_err(), "{left:?}");
    calls.processes.auth.signal("CONT");
    calls.until_said("gone", 1, 1).await;
    let line = calls.held("gone", "nothing_generated", "refunded", (0, 0), 0, Some("CANCELLED"));
    calls.assert_lines(&[("gone", line.clone(), Some(without_reason(&line)))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_the_drain_cuts_off_has_its_line_before_the_process_ends() {
    let mut calls = Calls::start().await;
    calls.processes.inference.kill();
    calls.processes.environment.insert("TOLLGATE_DRAIN_DEADLINE".to_owned(), "1s".to_owned());
    calls.processes.inference = ServiceProcess::start("inference-service", &calls.processes.environment);
    calls.upstream.script("/api/chat", Script::stream().token("one").stall());
    let mut stream = calls.processes.inference().chat(calls.chat("cut")).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    stream.message().await.unwrap().unwrap();
    calls.processes.inference.signal("TERM");
    assert_eq!(read_all(&mut stream).await.failure.unwrap().code(), Code::Unavailable);
    drop(stream);
    calls.until_said("cut", 1, 1).await;
    let ledger = calls.ledger().await;
    let entry = ledger.iter().find(|entry| entry.request_id == "cut").unwrap();
    let (usage, credits) = (entry.usage.unwrap(), -entry.credits());
    let tokens = (usage.input_tokens(), usage.output_tokens());
    let line = calls.held("cut", "upstream_failed", "settled", tokens, credits, Some("DRAINING"));
    calls.assert_lines(&[("cut", line.clone(), Some(without_reason(&line)))]);
}

async fn a_call_whose_service_died_has_its_line_when_its_hold_expires(more: &[(&str, &str)]) {
    let mut calls = Calls::start_with(&[&[("TOLLGATE_HOLD_TTL", "1s")], more].concat()).await;
    calls.upstream.script("/api/chat", Script::stream().token("one").stall());
    let mut stream = calls.processes.inference().chat(calls.chat("orphan")).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    calls.processes.inference.kill();
    calls.until_said_by_auth("orphan").await;
    let ledger = calls.ledger().await;
    let entry = ledger.iter().find(|entry| entry.request_id == "orphan");
    let usage = entry.and_then(|entry| entry.usage).unwrap_or_default();
    let tokens = (usage.input_tokens(), usage.output_tokens());
    let charged = -entry.map(LedgerEntry::credits).unwrap_or_default();
    let expected = without_reason(&calls.held("orphan", "expired", "expired", tokens, charged, None));
    assert!(calls.processes.auth.stop().success());
    let orphans = lines_of_target(&calls.processes.auth).filter(|line| line["request_id"] == "orphan").map(|line| said(&line));
    assert_eq!(orphans.collect::<Vec<_>>(), [expected]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_service_died_has_its_line_when_its_hold_expires_in_sqlite() {
    a_call_whose_service_died_has_its_line_when_its_hold_expires(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_service_died_has_its_line_when_its_hold_expires_in_redis() {
    let redis = RedisServer::start();
    let secret = || shared::secret::Secret::generate().unwrap().1;
    let (jwt, service, url) = (format!("k1:{}", secret()), secret(), redis.url());
    let more = [
        ("TOLLGATE_REDIS_URL", url.as_str()),
        ("TOLLGATE_JWT_SECRETS", jwt.as_str()),
        ("TOLLGATE_SERVICE_CREDENTIALS", service.as_str()),
        ("TOLLGATE_SERVICE_CREDENTIAL", service.as_str()),
    ];
    a_call_whose_service_died_has_its_line_when_its_hold_expires(&more).await;
}

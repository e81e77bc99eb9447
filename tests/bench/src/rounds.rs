//! The run: for each of Redis's modes, several rounds; in each round everything once, in random order. What is compared is measured in turns
//! of a tenth of a second, since these machines' speed drifts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use integration::processes::ServiceProcess;
use integration::redis_server::AppendOnly;
use prost::Message;
use serde_json::json;
use shared::credential_form::to_bearer;
use shared::proto::auth as pb;
use shared::proto::auth::auth_client::AuthClient;
use tonic::Request;

use crate::ledger::{Accounts, Books};
use crate::load::{
    DiskJob, IdleJob, IdleOutcome, Job, Outcome, Pace, Phase, Span, StreamJob, StreamOutcome, StreamTarget, Thing, Turns, UnaryJob,
    UnaryOutcome, UnaryTarget, check_request,
};
use crate::percentiles::{Percentiles, median};
use crate::report::{Measured, Report};
use crate::stage::{Pinning, Stage, baselines, load, upstream};
use crate::upstream::{PACED, SATURATED, SINGLY};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Check beside the baselines.
    Check,
    /// Streams beside a reader of the same upstream.
    Stream,
    /// The first token of a stream, beside a reader's and a Check.
    FirstToken,
    /// Memory of silent streams.
    Memory,
    /// The embedded store beside its disk.
    Sqlite,
}

/// What is measured, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How often.
    pub rounds: usize,
    /// For how long each time.
    pub measured: Duration,
    /// Redis's modes, and their names in the report.
    pub modes: Vec<(&'static str, AppendOnly)>,
    /// What.
    pub parts: Vec<Part>,
    /// Idle streams at which memory is read.
    pub idle_streams: Vec<usize>,
    /// Which processors are whose.
    pub pinning: Pinning,
    /// A folder on the disk that stores are put on.
    pub folder: Option<PathBuf>,
    /// What was built, for the report.
    pub commit: String,
}

/// Turns that a round takes of each thing.
const TURNS: u32 = 8;
/// Turns of open loops. A turn has 25 calls; with eight turns, the medians of two rounds differ by a quarter of what is measured. A multiple of
/// `TURNS`.
const OPEN_TURNS: u32 = 32;
/// Accounts that calls are spread over.
const ACCOUNTS: usize = 16;
/// Credits of each: more than a run can spend.
const PLENTY: i64 = 1_000_000_000;
/// Credits of the account that is exhausted, and calls on it.
const SCARCE: (i64, u64) = (500, 1500);
/// Calls of the caller that is alone.
const ALONE: u64 = 500;
/// Bytes of a packed hold, about.
const RECORD_BYTES: usize = 200;
/// Calls and streams a second in open loops: far from what the services can take.
const OPEN_RATE: f64 = 200.0;
/// Between the services: inference-service has one connection to auth-service.
const CHECK_CONNECTIONS: usize = 1;
/// Of callers to inference-service.
const STREAM_CONNECTIONS: usize = 2;
/// Connections that idle streams are on.
const IDLE_CONNECTIONS: usize = 16;
/// Tokens of a saturated answer.
const SATURATED_TOKENS: u32 = 50_000;
/// Saturated streams at a time.
const SATURATED_STREAMS: usize = 4;
/// Paced streams at a time.
const PACED_STREAMS: usize = 50;
/// Tokens of an answer whose first token is timed.
const SHORT_TOKENS: u32 = 8;
/// Callers of the embedded store.
const SQLITE_CALLERS: usize = 64;
/// Threads of the load on SQLite. What it is held against, the disk, has no load: two threads would pass calls to each other, on one of two
/// processors, and what is measured would be the load. Where both sides of a ratio have the same load, it is as a client's runtime is.
const SQLITE_LOAD_THREADS: usize = 1;
/// How often memory is measured, at most: each time takes an inference-service of its own.
const MEMORY_ROUNDS: usize = 3;

/// A thing that is measured in each round.
struct Cell {
    name: &'static str,
    thing: Thing,
}

/// Things that are compared with each other.
struct Group {
    turns: u32,
    cells: Vec<Cell>,
    /// Of the load; `None`: one for each processor.
    threads: Option<usize>,
}

/// What a round's cells came to, by name.
#[derive(Default)]
struct Outcomes(BTreeMap<&'static str, Outcome>);

impl Outcomes {
    /// Measures things that are compared with each other.
    fn measure(&mut self, group: Group, plan: &Plan) {
        let (names, things): (Vec<_>, Vec<_>) = group.cells.into_iter().map(|cell| (cell.name, cell.thing)).unzip();
        let turns = Turns { things, turns: group.turns, span: plan.turn() };
        let outcomes: Vec<Outcome> = load(&Job::Turns(turns), group.threads, &plan.pinning);
        self.0.extend(names.into_iter().zip(outcomes));
    }

    fn unary(&self, name: &str) -> &UnaryOutcome {
        match self.0.get(name) {
            Some(Outcome::Unary(outcome)) => outcome,
            _ => panic!("{name} was not measured"),
        }
    }

    fn stream(&self, name: &str) -> &StreamOutcome {
        match self.0.get(name) {
            Some(Outcome::Stream(outcome)) => outcome,
            _ => panic!("{name} was not measured"),
        }
    }

    fn syncs_per_second(&self, name: &str) -> f64 {
        match self.0.get(name) {
            Some(Outcome::Disk(outcome)) => outcome.syncs_per_second,
            _ => panic!("{name} was not measured"),
        }
    }

    /// Calls of one credit that were admitted.
    fn admitted(&self) -> u64 {
        let of = |outcome: &Outcome| match outcome {
            Outcome::Unary(outcome) => outcome.admitted,
            Outcome::Stream(outcome) => outcome.admitted,
            Outcome::Disk(_) => 0,
        };
        // A reader's streams cost nothing.
        self.0.iter().filter(|(name, _)| !name.starts_with("reader")).map(|(_, outcome)| of(outcome)).sum()
    }
}

impl Plan {
    /// How long one turn takes.
    fn turn(&self) -> Span {
        let measured = self.measured / TURNS;
        Span { warm_up: measured / 4, measured }
    }
}

/// Measures all of it.
pub async fn run(plan: &Plan) -> Report {
    let program = std::env::current_exe().expect("this program's own path");
    let beside = plan.folder.clone().unwrap_or_else(|| program.parent().expect("a folder").to_owned());
    let mut measured = Measured::default();
    for (mode, append_only) in &plan.modes {
        let folder = tempfile::tempdir_in(&beside).expect("a folder for the store");
        if plan.parts.iter().any(|part| *part != Part::Sqlite) {
            on_redis(plan, mode, *append_only, folder.path(), &mut measured).await;
        }
    }
    if plan.parts.contains(&Part::Sqlite) {
        let folder = tempfile::tempdir_in(&beside).expect("a folder for the store");
        on_sqlite(plan, folder.path(), &mut measured).await;
    }
    measured.report(machine(plan))
}

async fn on_redis(plan: &Plan, mode: &str, append_only: AppendOnly, folder: &Path, measured: &mut Measured) {
    let stage = Stage::open(folder, Some(append_only), &plan.pinning);
    let books = Books::open(&stage.environment).await;
    let (sizes, admitted) = message_sizes(&stage, &books).await;
    let redis = stage.redis_url().expect("a Redis");
    let baselines = baselines(&redis, (sizes.answer, RECORD_BYTES), &plan.pinning);
    let upstream = upstream(&plan.pinning);
    measured.ledger(admitted);
    let inference = stage.inference(&upstream);
    let parts = Parts { plan, stage: &stage, baselines: &baselines, upstream: &upstream, inference: &inference, sizes };
    for round in 1..=plan.rounds {
        eprintln!("{mode}, round {round} of {}", plan.rounds);
        let accounts = books.accounts(ACCOUNTS, PLENTY).await;
        let mut groups = parts.groups(&accounts);
        fastrand::shuffle(&mut groups);
        let mut outcomes = Outcomes::default();
        for group in groups {
            outcomes.measure(group, plan);
        }
        measured.ledger(books.mistakes(&accounts, outcomes.admitted()).await);
        parts.exhaust(mode, &books, measured).await;
        parts.alone(mode, &books, measured).await;
        if plan.parts.contains(&Part::Check) {
            check_figures(mode, &outcomes, measured);
        }
        if plan.parts.contains(&Part::Stream) {
            stream_figures(mode, &outcomes, measured);
        }
        if plan.parts.contains(&Part::FirstToken) {
            first_token_figures(mode, &outcomes, measured);
        }
    }
    if plan.parts.contains(&Part::Memory) {
        for round in 1..=plan.rounds.min(MEMORY_ROUNDS) {
            eprintln!("{mode}, memory, round {round}");
            parts.memory(mode, &books, measured).await;
        }
    }
}

/// Bytes of Check's messages.
#[derive(Debug, Clone, Copy)]
struct MessageSizes {
    request: usize,
    answer: usize,
}

/// Makes one real Check, to know how long its messages are, and answers what is wrong with the ledger after it.
async fn message_sizes(stage: &Stage, books: &Books) -> (MessageSizes, Vec<String>) {
    let accounts = books.accounts(1, PLENTY).await;
    let mut auth = AuthClient::connect(stage.auth.url()).await.expect("auth-service answers");
    let authorized = |mut metadata: tonic::metadata::MetadataMap| {
        metadata.insert("authorization", to_bearer(&stage.service_credential).parse().expect("a header's value"));
        metadata
    };
    let message = check_request(&accounts.api_keys[0]);
    let request = message.encoded_len();
    let call = Request::from_parts(authorized(Default::default()), Default::default(), message);
    let answer = auth.check(call).await.expect("a Check").into_inner();
    let sizes = MessageSizes { request, answer: answer.encoded_len() };
    let Some(pb::check_response::Result::Grant(grant)) = answer.result else { panic!("a Check holds credits") };
    let settle = pb::SettleRequest { hold: grant.hold, outcome: pb::Outcome::Completed.into(), usage: None };
    auth.settle(Request::from_parts(authorized(Default::default()), Default::default(), settle)).await.expect("a settle");
    (sizes, books.mistakes(&accounts, 1).await)
}

/// What rounds on one Redis are made of.
struct Parts<'a> {
    plan: &'a Plan,
    stage: &'a Stage,
    baselines: &'a ServiceProcess,
    upstream: &'a ServiceProcess,
    inference: &'a ServiceProcess,
    sizes: MessageSizes,
}

impl Parts<'_> {
    /// What is measured in one round.
    fn groups(&self, accounts: &Accounts) -> Vec<Group> {
        let mut groups = Vec::new();
        let unary = |name, target, phase| Cell { name, thing: Thing::Unary(self.unary(target, phase, &accounts.api_keys)) };
        let stream = |name, target, model, tokens, pace| Cell {
            name,
            thing: Thing::Stream(self.stream(target, model, tokens, pace, &accounts.api_keys)),
        };
        let mut group = |turns, cells| groups.push(Group { turns, cells, threads: None });
        if self.plan.parts.contains(&Part::Check) {
            let beside = |[echo, script, check]: [&'static str; 3], callers| {
                let phase = Phase::Closed { callers };
                vec![
                    unary(echo, UnaryTarget::Echo, phase),
                    unary(script, UnaryTarget::Script, phase),
                    unary(check, UnaryTarget::Check, phase),
                ]
            };
            let with_token = self.unary(UnaryTarget::Check, Phase::Closed { callers: 32 }, &accounts.access_tokens);
            let mut of_32 = beside(["echo 32", "script 32", "check 32"], 32);
            of_32.push(Cell { name: "check with a token 32", thing: Thing::Unary(with_token) });
            group(TURNS, of_32);
            group(TURNS, beside(["echo 128", "script 128", "check 128"], 128));
            group(TURNS, beside(["echo 1", "script 1", "check 1"], 1));
        }
        let both = |[gateway, reader]: [&'static str; 2], model, tokens, pace| {
            vec![stream(gateway, StreamTarget::Gateway, model, tokens, pace), stream(reader, StreamTarget::Reader, model, tokens, pace)]
        };
        if self.plan.parts.contains(&Part::Stream) {
            let (saturated, paced) = (Pace::Closed { streams: SATURATED_STREAMS }, Pace::Closed { streams: PACED_STREAMS });
            // Paced answers are longer than a turn: what is measured are streams that go on, not the moment at which all of them begin.
            let Span { warm_up, measured } = self.plan.turn();
            let steps = (warm_up + measured).as_millis() / crate::upstream::PACE.as_millis() + 2;
            let paced_tokens = u32::try_from(steps).unwrap_or(u32::MAX);
            group(TURNS, both(["gateway saturated", "reader saturated"], SATURATED, SATURATED_TOKENS, saturated));
            group(TURNS, both(["gateway singly", "reader singly"], SINGLY, SATURATED_TOKENS, saturated));
            group(TURNS, both(["gateway paced", "reader paced"], PACED, paced_tokens, paced));
        }
        if self.plan.parts.contains(&Part::FirstToken) {
            let open = Phase::Open { rate: OPEN_RATE };
            let mut cells = both(["gateway first", "reader first"], SATURATED, SHORT_TOKENS, Pace::Open { rate: OPEN_RATE });
            cells.extend([unary("check open", UnaryTarget::Check, open), unary("echo open", UnaryTarget::Echo, open)]);
            group(OPEN_TURNS, cells);
        }
        groups
    }

    fn unary(&self, target: UnaryTarget, phase: Phase, credentials: &[String]) -> UnaryJob {
        let url = if target == UnaryTarget::Check { self.stage.auth.url() } else { self.baselines.url() };
        UnaryJob {
            target,
            url,
            phase,
            connections: CHECK_CONNECTIONS,
            request_bytes: self.sizes.request,
            credentials: credentials.to_vec(),
            service_credential: self.stage.service_credential.clone(),
            watch: self.stage.watch(&[("baselines", self.baselines)]),
        }
    }

    fn stream(&self, target: StreamTarget, model: &str, tokens: u32, pace: Pace, credentials: &[String]) -> StreamJob {
        StreamJob {
            target,
            url: if target == StreamTarget::Gateway { self.inference.url() } else { self.upstream.url() },
            model: model.to_owned(),
            tokens,
            pace,
            connections: STREAM_CONNECTIONS,
            credentials: credentials.to_vec(),
            gaps: model == PACED,
            watch: self.stage.watch(&[("inference-service", self.inference), ("upstream", self.upstream)]),
        }
    }

    /// Makes more calls on an account than it has credits: exactly as many are admitted as there are.
    async fn exhaust(&self, mode: &str, books: &Books, measured: &mut Measured) {
        let (credits, calls) = SCARCE;
        let accounts = books.accounts(1, credits).await;
        let outcome = self.counted(128, calls, &accounts);
        let mut mistakes = books.mistakes(&accounts, outcome.admitted).await;
        if i64::try_from(outcome.admitted) != Ok(credits) || outcome.admitted + outcome.refused != calls {
            mistakes
                .push(format!("of {calls} calls on {credits} credits, {} were admitted and {} refused", outcome.admitted, outcome.refused));
        }
        measured.ledger(mistakes);
        measured.add("evalsha_per_check_128", mode, outcome.spent.evalsha.calls as f64 / outcome.calls as f64);
        measured.add("evalsha_per_extend", mode, outcome.extended.1.evalsha.calls as f64 / outcome.extended.0 as f64);
        measured.add("evalsha_per_settle", mode, outcome.settled.1.evalsha.calls as f64 / outcome.settled.0 as f64);
    }

    /// One caller, whose calls have no others to share a script with.
    async fn alone(&self, mode: &str, books: &Books, measured: &mut Measured) {
        let accounts = books.accounts(1, PLENTY).await;
        let outcome = self.counted(1, ALONE, &accounts);
        measured.ledger(books.mistakes(&accounts, outcome.admitted).await);
        measured.add("evalsha_per_check", mode, outcome.spent.evalsha.calls as f64 / outcome.calls as f64);
    }

    /// Makes so many Checks, all of which are counted, from the first to the last.
    fn counted(&self, callers: usize, calls: u64, accounts: &Accounts) -> UnaryOutcome {
        let job = self.unary(UnaryTarget::Check, Phase::Counted { callers, calls }, &accounts.api_keys);
        let turns = Turns { things: vec![Thing::Unary(job)], turns: 1, span: self.plan.turn() };
        let outcomes: Vec<Outcome> = load(&Job::Turns(turns), None, &self.plan.pinning);
        match <[Outcome; 1]>::try_from(outcomes) {
            Ok([Outcome::Unary(outcome)]) => outcome,
            other => panic!("calls came to {other:?}"),
        }
    }

    /// Opens silent streams on an inference-service of their own.
    async fn memory(&self, mode: &str, books: &Books, measured: &mut Measured) {
        let accounts = books.accounts(ACCOUNTS, PLENTY).await;
        let inference = self.stage.inference(self.upstream);
        let counts = self.plan.idle_streams.clone();
        let job = Job::Idle(IdleJob {
            url: inference.url(),
            pid: inference.pid(),
            connections: IDLE_CONNECTIONS,
            credentials: accounts.api_keys.clone(),
            counts: counts.clone(),
        });
        let outcome: IdleOutcome = load(&job, None, &self.plan.pinning);
        measured.ledger(books.mistakes(&accounts, outcome.admitted).await);
        let ends = (counts.first().zip(outcome.resident_kib.first()), counts.last().zip(outcome.resident_kib.last()));
        let (Some((few, before)), Some((many, after))) = ends else { panic!("memory is read at two counts at least") };
        measured.add("kib_per_idle_stream", mode, (*after as f64 - *before as f64) / (*many as f64 - *few as f64));
        for (count, kib) in counts.iter().zip(&outcome.resident_kib) {
            measured.see(mode, format!("inference-service, {count} idle streams, KiB"), *kib as f64);
        }
    }
}

fn per_second(outcome: &UnaryOutcome) -> f64 {
    outcome.calls as f64 / outcome.seconds
}

fn cpu_per_call(outcome: &UnaryOutcome, process: &str) -> f64 {
    outcome.spent.cpu_us_of(process) / outcome.calls as f64
}

/// Redis's time in scripts, for each call.
fn script_us(outcome: &UnaryOutcome) -> f64 {
    outcome.spent.evalsha.usec as f64 / outcome.calls as f64
}

fn check_figures(mode: &str, outcomes: &Outcomes, measured: &mut Measured) {
    let of = |name: &str| outcomes.unary(name);
    let mut add = |row, figure| measured.add(row, mode, figure);
    add("check_vs_script_32", per_second(of("check 32")) / per_second(of("script 32")));
    add("check_vs_script_128", per_second(of("check 128")) / per_second(of("script 128")));
    add("check_vs_echo_32", per_second(of("check 32")) / per_second(of("echo 32")));
    add("check_vs_echo_128", per_second(of("check 128")) / per_second(of("echo 128")));
    add("check_cpu_vs_script", cpu_per_call(of("check 32"), "auth-service") / cpu_per_call(of("script 32"), "baselines"));
    add("check_p50_vs_script", of("check 1").latency.p50_us / of("script 1").latency.p50_us);
    add("script_us_vs_script", script_us(of("check 32")) / script_us(of("script 32")));
    let token = of("check with a token 32");
    add("token_cpu_vs_key", cpu_per_call(token, "auth-service") / cpu_per_call(of("check 32"), "auth-service"));

    for name in [
        "echo 1",
        "script 1",
        "check 1",
        "echo 32",
        "script 32",
        "check 32",
        "check with a token 32",
        "echo 128",
        "script 128",
        "check 128",
    ] {
        let outcome = of(name);
        let service = if name.starts_with("check") { "auth-service" } else { "baselines" };
        let mut see = |what: &str, figure| measured.see(mode, format!("{name}: {what}"), figure);
        see("calls per second", per_second(outcome));
        see("p50, µs", outcome.latency.p50_us);
        see("p99, µs", outcome.latency.p99_us);
        see("service's CPU per call, µs", cpu_per_call(outcome, service));
        see("load's CPU per call, µs", cpu_per_call(outcome, "load"));
        if !name.starts_with("echo") {
            see("Redis's CPU per call, µs", cpu_per_call(outcome, "redis"));
            see("Redis's time in scripts per call, µs", script_us(outcome));
            see("scripts per call", outcome.spent.evalsha.calls as f64 / outcome.calls as f64);
        }
    }
    let settled = &of("check 32").settled;
    measured.see(mode, "settle: service's CPU per call, µs".to_owned(), settled.1.cpu_us_of("auth-service") / settled.0 as f64);
    measured.see(mode, "settle: Redis's time per script, µs".to_owned(), settled.1.evalsha.usec as f64 / settled.1.evalsha.calls as f64);
}

fn stream_figures(mode: &str, outcomes: &Outcomes, measured: &mut Measured) {
    let of = |name: &str| outcomes.stream(name);
    let cpu_per_token = |name: &str, process: &str| of(name).spent.cpu_us_of(process) / of(name).tokens as f64;
    for (way, ratio, cpu) in
        [("saturated", "tokens_per_cpu_vs_reader", "cpu_per_token"), ("singly", "tokens_per_cpu_vs_reader_singly", "cpu_per_token_singly")]
    {
        let (gateway, reader) = (format!("gateway {way}"), format!("reader {way}"));
        let gateway_cpu = cpu_per_token(&gateway, "inference-service");
        let reader_cpu = cpu_per_token(&reader, "load");
        measured.add(ratio, mode, reader_cpu / gateway_cpu);
        measured.add(cpu, mode, gateway_cpu);
        measured.see(mode, format!("{reader}: CPU per token, µs"), reader_cpu);
        for name in [&gateway, &reader] {
            measured.see(mode, format!("{name}: tokens per second"), of(name).tokens as f64 / of(name).seconds);
        }
    }
    // A turn has some 600 gaps.
    let (gateway, reader) = (of("gateway paced"), of("reader paced"));
    measured.add("gap_p99", mode, added(1, &gateway.turns, &[&reader.turns], |gap| gap.p99_us));
    let (gateway, reader) = (gateway.gap, reader.gap);
    measured.see(mode, "gateway, paced: p99 between tokens, µs".to_owned(), gateway.p99_us);
    measured.see(mode, "reader, paced: p99 between tokens, µs".to_owned(), reader.p99_us);
    measured.see(mode, "gateway, paced: CPU per token, µs".to_owned(), cpu_per_token("gateway paced", "inference-service"));
}

/// A figure of one thing less those of others, of turns that were taken one right after the other, so many together; the median of them. Of all
/// turns together, the figure of one thing may be from a moment at which the machine was fast, and that of another from one at which it was slow.
fn added(together: usize, whole: &[Vec<Duration>], beside: &[&Vec<Vec<Duration>>], of: fn(Percentiles) -> f64) -> f64 {
    let figures = |turns: &[Vec<Duration>]| turns.chunks(together).map(|some| of(Percentiles::of(some.concat()))).collect::<Vec<_>>();
    let mut added = figures(whole);
    for turns in beside {
        added.iter_mut().zip(figures(turns)).for_each(|(added, figure)| *added -= figure);
    }
    median(&added)
}

fn first_token_figures(mode: &str, outcomes: &Outcomes, measured: &mut Measured) {
    let (gateway, reader) = (outcomes.stream("gateway first"), outcomes.stream("reader first"));
    let (check, echo) = (outcomes.unary("check open"), outcomes.unary("echo open"));
    let beside = [&reader.turns, &check.turns];
    measured.add("first_token_p50", mode, added(1, &gateway.turns, &beside, |latency| latency.p50_us));
    // A turn has 25 calls: eight of them make a p99.
    measured.add("first_token_p99", mode, added(TURNS as usize, &gateway.turns, &beside, |latency| latency.p99_us));
    for (name, latency) in
        [("gateway", gateway.first_token), ("reader", reader.first_token), ("check", check.latency), ("echo", echo.latency)]
    {
        measured.see(mode, format!("{name}, open loop: p50, µs"), latency.p50_us);
        measured.see(mode, format!("{name}, open loop: p99, µs"), latency.p99_us);
    }
    let cpu_per_chat = gateway.spent.cpu_us_of("inference-service") / gateway.first_token.count as f64;
    measured.see(mode, "gateway, open loop: inference-service's CPU per chat, µs".to_owned(), cpu_per_chat);
}

async fn on_sqlite(plan: &Plan, folder: &Path, measured: &mut Measured) {
    const MODE: &str = "sqlite";
    let stage = Stage::open(folder, None, &plan.pinning);
    let books = Books::open(&stage.environment).await;
    for round in 1..=plan.rounds {
        eprintln!("sqlite, round {round} of {}", plan.rounds);
        let accounts = books.accounts(ACCOUNTS, PLENTY).await;
        let check = UnaryJob {
            target: UnaryTarget::Check,
            url: stage.auth.url(),
            phase: Phase::Closed { callers: SQLITE_CALLERS },
            connections: CHECK_CONNECTIONS,
            request_bytes: 0,
            credentials: accounts.api_keys.clone(),
            service_credential: stage.service_credential.clone(),
            watch: stage.watch(&[]),
        };
        let mut outcomes = Outcomes::default();
        let disk = Cell { name: "disk", thing: Thing::Disk(DiskJob { folder: folder.to_owned() }) };
        let cells = vec![Cell { name: "check 64", thing: Thing::Unary(check) }, disk];
        outcomes.measure(Group { turns: TURNS, cells, threads: Some(SQLITE_LOAD_THREADS) }, plan);
        let (outcome, syncs) = (outcomes.unary("check 64"), outcomes.syncs_per_second("disk"));
        measured.ledger(books.mistakes(&accounts, outcome.admitted).await);
        measured.add("sqlite_vs_fsync", MODE, per_second(outcome) / syncs);
        measured.see(MODE, "check 64: calls per second".to_owned(), per_second(outcome));
        measured.see(MODE, "check 64: p50, µs".to_owned(), outcome.latency.p50_us);
        measured.see(MODE, "check 64: service's CPU per call, µs".to_owned(), cpu_per_call(outcome, "auth-service"));
        measured.see(MODE, "check 64: load's CPU per call, µs".to_owned(), cpu_per_call(outcome, "load"));
        measured.see(MODE, "fsyncs per second".to_owned(), syncs);
    }
}

/// Where and how it was measured.
fn machine(plan: &Plan) -> BTreeMap<&'static str, String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name").map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned()));
    let redis = std::process::Command::new("redis-server").arg("--version").output();
    let redis = redis.map(|output| String::from_utf8_lossy(&output.stdout).split(' ').nth(2).unwrap_or_default().to_owned());
    let pinning = &plan.pinning;
    [
        ("tollgate", format!("{} {}", env!("CARGO_PKG_VERSION"), plan.commit).trim().to_owned()),
        ("processors", std::thread::available_parallelism().map_or(0, usize::from).to_string()),
        ("processor", cpu.unwrap_or_default()),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("redis-server", redis.unwrap_or_default()),
        ("rounds", format!("{} of {:?} each, {:?} in open loops", plan.rounds, plan.measured, plan.measured / TURNS * OPEN_TURNS)),
        ("pinned", json!({ "services": pinning.services, "load": pinning.load, "redis": pinning.redis }).to_string()),
    ]
    .into()
}

//! The run: for each of Redis's modes, several rounds; in each round everything once, in random order. What is compared is measured in
//! turns of a tenth of a second, since these machines' speed drifts.

mod figures;
mod outcomes;
mod parts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use integration::redis_server::AppendOnly;
use prost::Message;
use serde_json::json;
use shared::credential_form::to_bearer;
use shared::proto::auth as pb;
use shared::proto::auth::auth_client::AuthClient;
use tonic::Request;

use self::outcomes::{Group, NamedWorkload, Outcomes};
use self::parts::Parts;
use crate::ledger::Ledgers;
use crate::load::{DiskJob, Phase, Span, UnaryJob, UnaryTarget, Workload, check_request};
use crate::report::{Measured, Report};
use crate::testbed::{Pinning, Testbed, baselines, chain, upstream};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Check beside the baselines.
    Check,
    /// Check beside log-ins.
    Logins,
    /// Chats over HTTP beside the same by gRPC.
    Http,
    /// A whole chat beside the chain, and what the services keep in memory after their first call.
    Chat,
    /// Streams beside a reader of the same upstream.
    Stream,
    /// The first token of a stream, beside a reader's and a Check.
    FirstToken,
    /// Memory of silent streams.
    Memory,
    /// The embedded store beside its disk.
    Sqlite,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Check, Self::Logins, Self::Http, Self::Chat, Self::Stream, Self::FirstToken, Self::Memory, Self::Sqlite];
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
/// Turns of open loops. A turn has 25 calls; with eight turns, the medians of two rounds differ by a quarter of what is measured. A
/// multiple of `TURNS`.
const OPEN_TURNS: u32 = 32;
/// Turns beside log-ins, long ones: what is measured is a flood that goes on. That 500 callers begin in one moment is, on two processors,
/// the load's own work.
const LOGIN_TURNS: u32 = 2;
/// Accounts that calls are spread over.
const ACCOUNTS: usize = 16;
/// Credits of each: more than a run can spend.
const PLENTY: i64 = 1_000_000_000;
/// Bytes of a packed hold, about.
const RECORD_BYTES: usize = 200;
/// Between the services: inference-service has one connection to auth-service.
const CHECK_CONNECTIONS: usize = 1;
/// Callers of the embedded store.
const SQLITE_CALLERS: usize = 64;
/// Threads of the load on SQLite. What it is held against, the disk, has no load: two threads would pass calls to each other, on one of two
/// processors, and what is measured would be the load. Where both sides of a ratio have the same load, it is as a client's runtime is.
const SQLITE_LOAD_THREADS: usize = 1;
/// How often memory is measured, at most: each time takes an inference-service of its own.
const MEMORY_ROUNDS: usize = 3;

impl Plan {
    /// How long one turn takes.
    fn turn(&self) -> Span {
        let measured = self.measured / TURNS;
        Span { warm_up: measured / 4, measured }
    }

    /// How long one turn beside log-ins takes.
    fn login_turn(&self) -> Span {
        let measured = self.measured * (OPEN_TURNS / TURNS) / LOGIN_TURNS;
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
    let testbed = Testbed::open(folder, Some(append_only), &plan.pinning);
    let ledgers = Ledgers::open(&testbed.environment).await;
    let (sizes, admitted) = message_sizes(&testbed, &ledgers).await;
    let redis = testbed.redis_url().expect("a Redis");
    let baselines = baselines(&redis, (sizes.answer, RECORD_BYTES), &plan.pinning);
    let upstream = upstream(&plan.pinning);
    measured.ledger(admitted);
    let inference = testbed.inference(&testbed.auth, &upstream);
    let chain = chain(&baselines, &upstream, sizes.request, &plan.pinning);
    let parts = Parts { plan, testbed: &testbed, baselines: &baselines, chain: &chain, upstream: &upstream, inference: &inference, sizes };
    for round in 1..=plan.rounds {
        eprintln!("{mode}, round {round} of {}", plan.rounds);
        let accounts = ledgers.accounts(ACCOUNTS, PLENTY).await;
        let mut groups = parts.groups(&accounts);
        fastrand::shuffle(&mut groups);
        let mut outcomes = Outcomes::default();
        for group in groups {
            outcomes.measure(group, plan);
        }
        measured.ledger(ledgers.mistakes(&accounts, outcomes.admitted()).await);
        parts.exhaust(mode, &ledgers, measured).await;
        parts.alone(mode, &ledgers, measured).await;
        if plan.parts.contains(&Part::Check) {
            figures::of_checks(mode, &outcomes, measured);
        }
        if plan.parts.contains(&Part::Logins) {
            figures::of_logins(mode, &outcomes, measured);
        }
        if plan.parts.contains(&Part::Chat) {
            figures::of_chats(mode, &outcomes, measured);
            parts.first_calls(mode, &ledgers, measured).await;
        }
        if plan.parts.contains(&Part::Http) {
            figures::of_http(mode, &outcomes, measured);
        }
        if plan.parts.contains(&Part::Stream) {
            figures::of_streams(mode, &outcomes, measured);
        }
        if plan.parts.contains(&Part::FirstToken) {
            figures::of_first_tokens(mode, &outcomes, measured);
        }
    }
    if plan.parts.contains(&Part::Memory) {
        for round in 1..=plan.rounds.min(MEMORY_ROUNDS) {
            eprintln!("{mode}, memory, round {round}");
            parts.memory(mode, &ledgers, measured).await;
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
async fn message_sizes(testbed: &Testbed, ledgers: &Ledgers) -> (MessageSizes, Vec<String>) {
    let accounts = ledgers.accounts(1, PLENTY).await;
    let mut auth = AuthClient::connect(testbed.auth.url()).await.expect("auth-service answers");
    let authorized = |mut metadata: tonic::metadata::MetadataMap| {
        metadata.insert("authorization", to_bearer(&testbed.service_credential).parse().expect("a header's value"));
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
    (sizes, ledgers.mistakes(&accounts, 1).await)
}

async fn on_sqlite(plan: &Plan, folder: &Path, measured: &mut Measured) {
    const MODE: &str = "sqlite";
    let testbed = Testbed::open(folder, None, &plan.pinning);
    let ledgers = Ledgers::open(&testbed.environment).await;
    for round in 1..=plan.rounds {
        eprintln!("sqlite, round {round} of {}", plan.rounds);
        let accounts = ledgers.accounts(ACCOUNTS, PLENTY).await;
        let check = UnaryJob {
            target: UnaryTarget::Check,
            url: testbed.auth.url(),
            phase: Phase::Closed { callers: SQLITE_CALLERS },
            connections: CHECK_CONNECTIONS,
            request_bytes: 0,
            credentials: accounts.api_keys.clone(),
            service_credential: testbed.service_credential.clone(),
            beside: None,
            watch: testbed.watch(&[]),
        };
        let mut outcomes = Outcomes::default();
        let disk = NamedWorkload { name: "disk", workload: Workload::Disk(DiskJob { folder: folder.to_owned() }) };
        let workloads = vec![NamedWorkload { name: "check 64", workload: Workload::Unary(check) }, disk];
        outcomes.measure(Group { turns: TURNS, span: plan.turn(), workloads, threads: Some(SQLITE_LOAD_THREADS) }, plan);
        let (outcome, syncs) = (outcomes.unary("check 64"), outcomes.syncs_per_second("disk"));
        measured.ledger(ledgers.mistakes(&accounts, outcome.admitted).await);
        figures::of_sqlite(MODE, outcome, syncs, measured);
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

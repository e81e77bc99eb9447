//! The load: a process of its own, which takes a job as JSON on standard input, does it, and writes what it measured as JSON on standard
//! output.

mod disk;
mod http_chat;
mod idle;
mod logins;
mod raw;
mod stream;
mod unary;

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::credential_form::to_bearer;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use self::disk::Disk;
use self::stream::Streaming;
use self::unary::Unary;

pub use disk::{DiskJob, DiskOutcome};
pub use idle::{IdleJob, IdleOutcome};
pub use logins::{LoginFlood, Logins};
pub use stream::{Pace, StreamJob, StreamOutcome, StreamTarget, chat};
pub use unary::{Phase, UnaryJob, UnaryOutcome, UnaryTarget, check_request};

/// What a load process does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Job {
    /// Workloads that are measured in turn.
    Turns(Turns),
    /// Streams that stay open and are silent.
    Idle(IdleJob),
}

/// Workloads that are measured in turn, each several times for a short while: a machine's speed drifts from one second to the next, and so
/// drifts for all of them alike.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Turns {
    /// What is measured.
    pub workloads: Vec<Workload>,
    /// How often.
    pub turns: u32,
    /// For how long each time.
    pub span: Span,
}

/// Load that is measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Workload {
    /// Calls that have one answer.
    Unary(UnaryJob),
    /// Answers that stream.
    Stream(StreamJob),
    /// Writes to a disk.
    Disk(DiskJob),
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Outcome {
    /// Calls that have one answer.
    Unary(UnaryOutcome),
    /// Answers that stream.
    Stream(StreamOutcome),
    /// Writes to a disk.
    Disk(DiskOutcome),
}

/// How long load is applied.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Span {
    /// Before anything is counted.
    pub warm_up: Duration,
    /// While all is counted.
    pub measured: Duration,
}

/// Reads a job from standard input, does it, and writes its outcome to standard output.
pub async fn work() {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).expect("a job on standard input");
    let written = match serde_json::from_str(&text).expect("a job in JSON") {
        Job::Turns(job) => serde_json::to_string(&take_turns(job).await),
        Job::Idle(job) => serde_json::to_string(&idle::run(job).await),
    };
    println!("{}", written.expect("an outcome in JSON"));
}

/// A workload while it is measured.
enum Measuring {
    Unary(Unary),
    Stream(Streaming),
    Disk(Disk),
}

/// Measures all workloads in each turn, in random order. Their outcomes are in the order of the job.
async fn take_turns(job: Turns) -> Vec<Outcome> {
    let mut measuring = Vec::new();
    for workload in job.workloads {
        measuring.push(match workload {
            Workload::Unary(job) => Measuring::Unary(Unary::open(&job).await),
            Workload::Stream(job) => Measuring::Stream(Streaming::open(job).await),
            Workload::Disk(job) => Measuring::Disk(Disk::open(&job)),
        });
    }
    let mut order: Vec<usize> = (0..measuring.len()).collect();
    for _ in 0..job.turns {
        fastrand::shuffle(&mut order);
        for index in &order {
            match &mut measuring[*index] {
                Measuring::Unary(unary) => unary.turn(job.span).await,
                Measuring::Stream(streaming) => streaming.turn(job.span).await,
                Measuring::Disk(disk) => disk.turn(job.span),
            }
        }
    }
    let mut outcomes = Vec::new();
    for measured in measuring {
        outcomes.push(match measured {
            Measuring::Unary(unary) => Outcome::Unary(unary.close().await),
            Measuring::Stream(streaming) => Outcome::Stream(streaming.close()),
            Measuring::Disk(disk) => Outcome::Disk(disk.close()),
        });
    }
    outcomes
}

/// Channels to one address, each with a connection of its own.
async fn connect(url: &str, connections: usize) -> Vec<Channel> {
    let mut channels = Vec::new();
    for _ in 0..connections.max(1) {
        let endpoint = Endpoint::from_shared(url.to_owned()).expect("a URL").tcp_nodelay(true);
        channels.push(endpoint.connect().await.unwrap_or_else(|error| panic!("{url} can't be reached: {error}")));
    }
    channels
}

/// Begins some work at a rate, each whether or not the ones before have ended, until it is over; waits for all, and puts together what they
/// saw.
async fn at_rate<S, F>(rate: f64, over: &AtomicBool, mut begin: impl FnMut() -> F, merge: impl Fn(&mut S, S)) -> S
where
    S: Default + Send + 'static,
    F: Future<Output = S> + Send + 'static,
{
    let (mut seen, mut running) = (S::default(), JoinSet::new());
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    while !over.load(Ordering::Relaxed) {
        ticks.tick().await;
        running.spawn(begin());
        while let Some(done) = running.try_join_next() {
            merge(&mut seen, done.expect("the load doesn't panic"));
        }
    }
    while let Some(done) = running.join_next().await {
        merge(&mut seen, done.expect("the load doesn't panic"));
    }
    seen
}

/// The value of an `authorization` header.
fn bearer(credential: &str) -> tonic::metadata::MetadataValue<tonic::metadata::Ascii> {
    to_bearer(credential).parse().expect("a header's value")
}

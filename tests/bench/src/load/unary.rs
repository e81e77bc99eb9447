//! Calls that have one answer: Check and what it is compared with. Closed loop at a concurrency, open loop at a rate, or a number of calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use shared::ErrorReason;
use shared::error::reason_of;
use shared::proto::auth as pb;
use shared::proto::auth::auth_client::AuthClient;
use tokio::task::JoinSet;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::Span;
use crate::gauge::{Spent, Watch};
use crate::percentiles::Percentiles;
use crate::proto::Payload;
use crate::proto::baseline_client::BaselineClient;

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnaryTarget {
    /// The baseline that only answers.
    Echo,
    /// The baseline that runs one script.
    Script,
    /// `Auth.Check`, with a charge. What it held is extended and settled after the measurement.
    Check,
}

/// How calls follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    /// So many callers, each of which calls again when it has its answer.
    Closed {
        /// Callers.
        callers: usize,
    },
    /// So many calls a second, whether or not the ones before were answered.
    Open {
        /// Calls a second.
        rate: f64,
    },
    /// So many callers, until so many calls were made; nothing is left out of the count.
    Counted {
        /// Callers.
        callers: usize,
        /// Calls in all.
        calls: u64,
    },
}

/// Calls to one service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnaryJob {
    /// What is called.
    pub target: UnaryTarget,
    /// Where.
    pub url: String,
    /// How.
    pub phase: Phase,
    /// For how long.
    pub span: Span,
    /// Connections; callers use them in turn.
    pub connections: usize,
    /// Bytes of a baseline's request.
    pub request_bytes: usize,
    /// For Check: what its caller shows, used in turn.
    pub credentials: Vec<String>,
    /// For Check: what this process shows.
    pub service_credential: String,
    /// What to watch meanwhile.
    pub watch: Watch,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnaryOutcome {
    /// Answers while it was measured.
    pub calls: u64,
    /// How long it was measured, in seconds.
    pub seconds: f64,
    /// From the call to its answer.
    pub latency: Percentiles,
    /// What was spent while it was measured.
    pub spent: Spent,
    /// Holds, of all calls.
    pub admitted: u64,
    /// Refused for want of credits, of all calls.
    pub refused: u64,
    /// The holds that were extended after the measurement, and what that spent.
    pub extended: (u64, Spent),
    /// The holds that were settled after the measurement, and what that spent.
    pub settled: (u64, Spent),
}

/// Holds that are extended after the measurement.
const EXTENDED: usize = 256;
/// Settles at a time, after the measurement.
const SETTLING: usize = 64;

/// Makes the calls of one job.
struct Calls {
    target: UnaryTarget,
    channels: Vec<Channel>,
    request_bytes: usize,
    credentials: Vec<String>,
    authorization: MetadataValue<Ascii>,
    /// Tells this job's request ids from every other's.
    nonce: u64,
    made: AtomicU64,
    measuring: AtomicBool,
    over: AtomicBool,
}

/// What one caller saw.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    holds: Vec<String>,
    refused: u64,
}

impl Seen {
    fn merge(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.holds.extend(other.holds);
        self.refused += other.refused;
    }
}

pub(super) async fn run(job: UnaryJob) -> UnaryOutcome {
    let calls = Arc::new(Calls {
        target: job.target,
        channels: super::connect(&job.url, job.connections).await,
        request_bytes: job.request_bytes,
        credentials: job.credentials,
        authorization: super::bearer(&job.service_credential),
        nonce: fastrand::u64(..),
        made: AtomicU64::new(0),
        measuring: AtomicBool::new(matches!(job.phase, Phase::Counted { .. })),
        over: AtomicBool::new(false),
    });
    let mut callers = JoinSet::new();
    // Of counted calls, none may be made before this.
    let mut before = job.watch.read();
    match job.phase {
        Phase::Closed { callers: count } => {
            for _ in 0..count {
                callers.spawn(Arc::clone(&calls).call_until(None));
            }
        }
        Phase::Counted { callers: count, calls: most } => {
            for _ in 0..count {
                callers.spawn(Arc::clone(&calls).call_until(Some(most)));
            }
        }
        Phase::Open { rate } => {
            callers.spawn(Arc::clone(&calls).call_at(rate));
        }
    }

    let counted = matches!(job.phase, Phase::Counted { .. });
    if !counted {
        tokio::time::sleep(job.span.warm_up).await;
        before = job.watch.read();
    }
    let started = Instant::now();
    calls.measuring.store(true, Ordering::Relaxed);
    let mut seen = Seen::default();
    if !counted {
        tokio::time::sleep(job.span.measured).await;
        calls.measuring.store(false, Ordering::Relaxed);
    } else {
        while let Some(caller) = callers.join_next().await {
            seen.merge(caller.expect("a caller doesn't panic"));
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let spent = job.watch.read().since(&before);
    calls.over.store(true, Ordering::Relaxed);
    while let Some(caller) = callers.join_next().await {
        seen.merge(caller.expect("a caller doesn't panic"));
    }

    let before = job.watch.read();
    let extended = &seen.holds[..seen.holds.len().min(EXTENDED)];
    for hold in extended {
        calls.extend(hold).await;
    }
    let extended = (extended.len() as u64, job.watch.read().since(&before));
    let (admitted, before) = (seen.holds.len() as u64, job.watch.read());
    Arc::clone(&calls).settle(seen.holds).await;
    let settled = (admitted, job.watch.read().since(&before));
    UnaryOutcome {
        calls: seen.latencies.len() as u64,
        seconds,
        latency: Percentiles::of(seen.latencies),
        spent,
        admitted,
        refused: seen.refused,
        extended,
        settled,
    }
}

impl Calls {
    /// Calls again and again, until this job is over or `most` calls were made by all of its callers.
    async fn call_until(self: Arc<Self>, most: Option<u64>) -> Seen {
        let mut seen = Seen::default();
        loop {
            let number = self.made.fetch_add(1, Ordering::Relaxed);
            if most.is_some_and(|most| number >= most) || self.over.load(Ordering::Relaxed) {
                return seen;
            }
            self.timed_call(number, &mut seen).await;
        }
    }

    /// Calls at a rate until this job is over.
    async fn call_at(self: Arc<Self>, rate: f64) -> Seen {
        let (mut seen, mut running) = (Seen::default(), JoinSet::new());
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
        while !self.over.load(Ordering::Relaxed) {
            ticks.tick().await;
            let (calls, number) = (Arc::clone(&self), self.made.fetch_add(1, Ordering::Relaxed));
            running.spawn(async move {
                let mut seen = Seen::default();
                calls.timed_call(number, &mut seen).await;
                seen
            });
            while let Some(done) = running.try_join_next() {
                seen.merge(done.expect("a call doesn't panic"));
            }
        }
        while let Some(done) = running.join_next().await {
            seen.merge(done.expect("a call doesn't panic"));
        }
        seen
    }

    async fn timed_call(&self, number: u64, seen: &mut Seen) {
        let started = Instant::now();
        let hold = self.call(number).await;
        let took = started.elapsed();
        if self.measuring.load(Ordering::Relaxed) {
            seen.latencies.push(took);
        }
        match hold {
            Ok(hold) => seen.holds.extend(hold),
            Err(status) if reason_of(&status) == Some(ErrorReason::InsufficientCredits) => seen.refused += 1,
            Err(status) => panic!("a call failed: {status}"),
        }
    }

    /// One call; of Check, the hold.
    async fn call(&self, number: u64) -> Result<Option<String>, Status> {
        let index = usize::try_from(number).unwrap_or_default();
        let channel = self.channels[index % self.channels.len()].clone();
        if self.target == UnaryTarget::Check {
            let credential = &self.credentials[index % self.credentials.len()];
            let request = self.authorized(check_request(credential, &format!("{:016x}-{number}", self.nonce)));
            let answer = AuthClient::new(channel).check(request).await?.into_inner();
            return match answer.result {
                Some(pb::check_response::Result::Grant(grant)) => Ok(Some(grant.hold)),
                other => panic!("a Check with a new request id was answered with {other:?}"),
            };
        }
        let mut content = vec![b'q'; self.request_bytes.max(16)];
        content[..8].copy_from_slice(&number.to_le_bytes());
        content[8..16].copy_from_slice(&self.nonce.to_le_bytes());
        let mut client = BaselineClient::new(channel);
        match self.target {
            UnaryTarget::Echo => client.echo(Payload { content }).await?,
            UnaryTarget::Script | UnaryTarget::Check => client.run_script(Payload { content }).await?,
        };
        Ok(None)
    }

    fn authorized<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.authorization.clone());
        request
    }

    async fn extend(&self, hold: &str) {
        let usage = Some(pb::TokenUsage { input_tokens: 9, output_tokens: 1, estimated: true });
        let request = self.authorized(pb::ExtendRequest { hold: hold.to_owned(), usage });
        AuthClient::new(self.channels[0].clone()).extend(request).await.expect("an open hold is extended");
    }

    async fn settle(self: Arc<Self>, holds: Vec<String>) {
        let mut settling = JoinSet::new();
        for hold in holds {
            if settling.len() >= SETTLING {
                settling.join_next().await.expect("there are some").expect("a settle doesn't panic");
            }
            let calls = Arc::clone(&self);
            settling.spawn(async move {
                let usage = Some(pb::TokenUsage { input_tokens: 14, output_tokens: 9, estimated: false });
                let request = calls.authorized(pb::SettleRequest { hold, outcome: pb::Outcome::Completed.into(), usage });
                AuthClient::new(calls.channels[0].clone()).settle(request).await.expect("an open hold is settled");
            });
        }
        while let Some(settled) = settling.join_next().await {
            settled.expect("a settle doesn't panic");
        }
    }
}

/// A Check as inference-service sends it for a short chat.
#[must_use]
pub fn check_request(credential: &str, request_id: &str) -> pb::CheckRequest {
    pb::CheckRequest {
        credential: credential.to_owned(),
        account: String::new(),
        operation: pb::Operation::Chat.into(),
        model: "smollm2".to_owned(),
        charge: Some(pb::Charge {
            request_id: request_id.to_owned(),
            attempt_id: format!("{:032x}", fastrand::u128(..)),
            fingerprint: vec![0xa5; 32],
            max_input_tokens: 300,
            max_output_tokens: 64,
            require_full: false,
        }),
    }
}

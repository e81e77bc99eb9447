//! Calls that have one answer: Check and what it is compared with. Closed loop at a concurrency, open loop at a rate, or a number of calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
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
use super::logins::{Flood, LoginFlood, Logins};
use super::raw::{self, Template, hex_digits};
use crate::gauge::{Gauge, Reading, Spent, Watch};
use crate::percentiles::Percentiles;
use crate::proto::Payload;

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
    /// Connections; callers use them in turn.
    pub connections: usize,
    /// Bytes of a baseline's request.
    pub request_bytes: usize,
    /// For Check: what its caller shows, used in turn.
    pub credentials: Vec<String>,
    /// For Check: what this process shows.
    pub service_credential: String,
    /// Log-ins that begin with each turn, all at once, and go on while it lasts.
    pub beside: Option<LoginFlood>,
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
    /// The same in an open loop, by turns.
    pub turns: Vec<Vec<Duration>>,
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
    /// How the log-ins beside it ended.
    pub logins: Logins,
}

/// Holds that are extended after the measurement.
const EXTENDED: usize = 256;
/// Settles at a time, after an open loop.
const SETTLING: usize = 64;

/// Makes the calls of one job.
struct Calls {
    target: UnaryTarget,
    channels: Vec<Channel>,
    /// Requests, used in turn; they differ in the credential.
    templates: Vec<Template>,
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
    /// Of Check: answers with a hold.
    held: Vec<Bytes>,
    refused: u64,
}

impl Seen {
    fn merge(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.held.extend(other.held);
        self.refused += other.refused;
    }
}

/// One job, while it is done turn by turn.
pub(super) struct Unary {
    calls: Arc<Calls>,
    phase: Phase,
    flood: Option<Flood>,
    gauge: Gauge,
    seen: Seen,
    turns: Vec<Vec<Duration>>,
    seconds: f64,
    spent: Spent,
}

impl Unary {
    pub(super) async fn open(job: &UnaryJob) -> Self {
        let calls = Arc::new(Calls {
            target: job.target,
            channels: super::connect(&job.url, job.connections).await,
            templates: templates(job.target, job.request_bytes, &job.credentials),
            authorization: super::bearer(&job.service_credential),
            nonce: fastrand::u64(..),
            made: AtomicU64::new(0),
            measuring: AtomicBool::new(false),
            over: AtomicBool::new(false),
        });
        let flood = match &job.beside {
            Some(logins) => Some(Flood::open(logins).await),
            None => None,
        };
        Self {
            calls,
            phase: job.phase,
            flood,
            gauge: Gauge::of(&job.watch),
            seen: Seen::default(),
            turns: Vec::new(),
            seconds: 0.0,
            spent: Spent::default(),
        }
    }

    pub(super) async fn turn(&mut self, span: Span) {
        let counted = matches!(self.phase, Phase::Counted { .. });
        self.calls.over.store(false, Ordering::Relaxed);
        self.calls.measuring.store(counted, Ordering::Relaxed);
        // Of counted calls, none may be made before this.
        let (mut before, mut started) = (self.gauge.read(), Instant::now());
        let mut callers = self.begin();
        let beside = self.flood.as_ref().map(Flood::begin);
        if !counted {
            tokio::time::sleep(span.warm_up).await;
            if let Some(flood) = &self.flood {
                flood.under_way().await;
            }
            (before, started) = (self.gauge.read(), Instant::now());
            self.calls.measuring.store(true, Ordering::Relaxed);
            tokio::time::sleep(span.measured).await;
            self.calls.measuring.store(false, Ordering::Relaxed);
            self.note(&before, started);
            self.calls.over.store(true, Ordering::Relaxed);
        }
        drop(beside);
        let mut seen = Seen::default();
        while let Some(caller) = callers.join_next().await {
            seen.merge(caller.expect("a caller doesn't panic"));
        }
        if matches!(self.phase, Phase::Open { .. }) {
            self.turns.push(seen.latencies.clone());
        }
        self.seen.merge(seen);
        if counted {
            self.note(&before, started);
        }
    }

    /// Has all callers begin.
    fn begin(&self) -> JoinSet<Seen> {
        let mut callers = JoinSet::new();
        let mut begin = |count, most| {
            for _ in 0..count {
                callers.spawn(Arc::clone(&self.calls).call_until(most));
            }
        };
        match self.phase {
            Phase::Closed { callers: count } => begin(count, None),
            Phase::Counted { callers: count, calls: most } => begin(count, Some(most)),
            Phase::Open { rate } => {
                callers.spawn(Arc::clone(&self.calls).call_at(rate));
            }
        }
        callers
    }

    /// Notes how long a turn took, and what it spent.
    fn note(&mut self, before: &Reading, started: Instant) {
        self.seconds += started.elapsed().as_secs_f64();
        self.spent.add(&self.gauge.read().since(before));
    }

    /// Extends some of what was held, and settles all of it, by as many callers as there were.
    pub(super) async fn close(mut self) -> UnaryOutcome {
        let holds: Vec<String> = self.seen.held.iter().map(hold).collect();
        let before = self.gauge.read();
        let extended = &holds[..holds.len().min(EXTENDED)];
        for hold in extended {
            self.calls.extend(hold).await;
        }
        let extended = (extended.len() as u64, self.gauge.read().since(&before));
        let (admitted, before) = (holds.len() as u64, self.gauge.read());
        let at_a_time = match self.phase {
            Phase::Closed { callers } | Phase::Counted { callers, .. } => callers,
            Phase::Open { .. } => SETTLING,
        };
        Arc::clone(&self.calls).settle(holds, at_a_time).await;
        let settled = (admitted, self.gauge.read().since(&before));
        UnaryOutcome {
            calls: self.seen.latencies.len() as u64,
            seconds: self.seconds,
            latency: Percentiles::of(self.seen.latencies),
            turns: self.turns,
            spent: self.spent,
            admitted,
            refused: self.seen.refused,
            extended,
            settled,
            logins: self.flood.as_ref().map(Flood::logins).unwrap_or_default(),
        }
    }
}

impl Calls {
    /// Calls again and again, until this turn is over or `most` calls were made by all of its callers.
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

    /// Calls at a rate until this turn is over.
    async fn call_at(self: Arc<Self>, rate: f64) -> Seen {
        let begin = || {
            let (calls, number) = (Arc::clone(&self), self.made.fetch_add(1, Ordering::Relaxed));
            async move {
                let mut seen = Seen::default();
                calls.timed_call(number, &mut seen).await;
                seen
            }
        };
        super::at_rate(rate, &self.over, begin, Seen::merge).await
    }

    async fn timed_call(&self, number: u64, seen: &mut Seen) {
        let started = Instant::now();
        let answer = self.call(number).await;
        let took = started.elapsed();
        if self.measuring.load(Ordering::Relaxed) {
            seen.latencies.push(took);
        }
        match answer {
            Ok(answer) if self.target == UnaryTarget::Check => seen.held.push(answer),
            Ok(_) => {}
            Err(status) if reason_of(&status) == Some(ErrorReason::InsufficientCredits) => seen.refused += 1,
            Err(status) => panic!("a call failed: {status}"),
        }
    }

    async fn call(&self, number: u64) -> Result<Bytes, Status> {
        let index = usize::try_from(number).unwrap_or_default();
        let (channel, template) = (self.channels[index % self.channels.len()].clone(), &self.templates[index % self.templates.len()]);
        let (nonce, digits) = (hex_digits(self.nonce), hex_digits(number));
        match self.target {
            UnaryTarget::Echo | UnaryTarget::Script => {
                let path = if self.target == UnaryTarget::Echo { ECHO } else { RUN_SCRIPT };
                let name = (u128::from(self.nonce) << 64 | u128::from(number)).to_le_bytes();
                raw::call(channel, path, Request::new(template.with(&[&name]))).await
            }
            UnaryTarget::Check => {
                let (request_id, attempt_id) = ([nonce, digits].concat(), [digits, nonce].concat());
                raw::call(channel, CHECK, self.authorized(template.with(&[&request_id, &attempt_id]))).await
            }
        }
    }

    fn authorized<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.authorization.clone());
        request
    }

    async fn extend(&self, hold: &str) {
        let usage = Some(pb::TokenUsage { input_tokens: Some(9), output_tokens: Some(1), estimated: true });
        let request = self.authorized(pb::ExtendRequest { hold: hold.to_owned(), usage });
        AuthClient::new(self.channels[0].clone()).extend(request).await.expect("an open hold is extended");
    }

    async fn settle(self: Arc<Self>, holds: Vec<String>, at_a_time: usize) {
        let mut settling = JoinSet::new();
        for hold in holds {
            if settling.len() >= at_a_time {
                settling.join_next().await.expect("there are some").expect("a settle doesn't panic");
            }
            let calls = Arc::clone(&self);
            settling.spawn(async move {
                let usage = Some(pb::TokenUsage { input_tokens: Some(14), output_tokens: Some(9), estimated: false });
                let request = calls.authorized(pb::SettleRequest { hold, outcome: pb::Outcome::Completed.into(), usage });
                AuthClient::new(calls.channels[0].clone()).settle(request).await.expect("an open hold is settled");
            });
        }
        while let Some(settled) = settling.join_next().await {
            settled.expect("a settle doesn't panic");
        }
    }
}

const ECHO: &str = "/tollgate.bench.v1.Baseline/Echo";
const RUN_SCRIPT: &str = "/tollgate.bench.v1.Baseline/RunScript";
const CHECK: &str = "/tollgate.auth.v1.Auth/Check";
/// What templates have where calls have their own.
const NAME: [u8; 16] = [0xee; 16];
const REQUEST_ID: &str = "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr";
const ATTEMPT_ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn templates(target: UnaryTarget, request_bytes: usize, credentials: &[String]) -> Vec<Template> {
    match target {
        UnaryTarget::Echo | UnaryTarget::Script => {
            let content = [&NAME[..], &vec![b'q'; request_bytes.saturating_sub(NAME.len() + 3)]].concat();
            vec![Template::new(&Payload { content }, &[&NAME])]
        }
        UnaryTarget::Check => {
            let template = |credential: &String| Template::new(&check_request(credential), &[REQUEST_ID.as_bytes(), ATTEMPT_ID.as_bytes()]);
            credentials.iter().map(template).collect()
        }
    }
}

/// The hold that a Check's answer grants.
fn hold(answer: &Bytes) -> String {
    match pb::CheckResponse::decode(answer.clone()).expect("a Check's answer").result {
        Some(pb::check_response::Result::Grant(grant)) => grant.hold,
        other => panic!("a Check with a new request id was answered with {other:?}"),
    }
}

/// A Check as inference-service sends it for a short chat.
#[must_use]
pub fn check_request(credential: &str) -> pb::CheckRequest {
    pb::CheckRequest {
        credential: credential.to_owned(),
        account: String::new(),
        operation: pb::Operation::Chat.into(),
        model: "smollm2".to_owned(),
        charge: Some(pb::Charge {
            request_id: REQUEST_ID.to_owned(),
            attempt_id: ATTEMPT_ID.to_owned(),
            fingerprint: vec![0xa5; 32],
            max_input_tokens: 300,
            max_output_tokens: 64,
            require_full: false,
        }),
        ..pb::CheckRequest::default()
    }
}

//! Answers that stream: through the gateway, through the chain, or read straight from the upstream by a client of the same NDJSON.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use shared::proto::inference::chat_event::Event;
use shared::proto::inference::inference_client::InferenceClient;
use shared::proto::inference::{ChatEvent, ChatRequest};
use tokio::task::JoinSet;
use tonic::Request;
use tonic::transport::Channel;

use super::Span;
use super::http_chat::HttpChat;
use crate::gauge::{Gauge, Spent, Watch};
use crate::http_client::http_client;
use crate::percentiles::Percentiles;
use crate::proto::ChainChatRequest;
use crate::proto::chain_client::ChainClient;

/// How long an answer may take at the most.
const AN_ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// Where answers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamTarget {
    /// `Inference.Chat`.
    Gateway,
    /// `/v1/chat/completions` of inference-service.
    Http,
    /// `/api/chat` of the upstream.
    Reader,
    /// The chain.
    Chain,
}

/// How streams follow one another.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Pace {
    /// So many at a time, each followed by the next.
    Closed {
        /// Streams at a time.
        streams: usize,
    },
    /// So many a second, whether or not the ones before have ended.
    Open {
        /// Streams a second.
        rate: f64,
    },
}

/// Streams from one place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StreamJob {
    /// From where.
    pub target: StreamTarget,
    /// Its URL.
    pub url: String,
    /// The model, which says how the upstream answers.
    pub model: String,
    /// Tokens of each answer.
    pub tokens: u32,
    /// Whether an answer comes at once when it is done, and not as it is made.
    pub whole: bool,
    /// How streams follow one another.
    pub pace: Pace,
    /// Connections to the gateway or the chain.
    pub connections: usize,
    /// API keys for the gateway, used in turn.
    pub credentials: Vec<String>,
    /// Whether the time between tokens is measured.
    pub gaps: bool,
    /// What to watch meanwhile.
    pub watch: Watch,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StreamOutcome {
    /// Answers that ended while it was measured.
    pub answers: u64,
    /// Tokens read while it was measured.
    pub tokens: u64,
    /// How long it was measured, in seconds.
    pub seconds: f64,
    /// From the request to the first token.
    pub first_token: Percentiles,
    /// Between two tokens of one stream.
    pub gap: Percentiles,
    /// By turns: the gaps where they are measured, else the first tokens in an open loop.
    pub turns: Vec<Vec<Duration>>,
    /// What was spent while it was measured.
    pub spent: Spent,
    /// Answers of the gateway, each of which costs a credit.
    pub admitted: u64,
}

struct Streams {
    job: StreamJob,
    channels: Vec<Channel>,
    http: reqwest::Client,
    begun: AtomicU64,
    tokens: AtomicU64,
    ended: AtomicU64,
    measuring: AtomicBool,
    over: AtomicBool,
}

/// What was seen of some streams.
#[derive(Default)]
struct Seen {
    first_tokens: Vec<Duration>,
    gaps: Vec<Duration>,
    streams: u64,
}

impl Seen {
    fn merge(&mut self, other: Self) {
        self.first_tokens.extend(other.first_tokens);
        self.gaps.extend(other.gaps);
        self.streams += other.streams;
    }
}

/// One job, while it is done turn by turn.
pub(super) struct Streaming {
    streams: Arc<Streams>,
    gauge: Gauge,
    seen: Seen,
    turns: Vec<Vec<Duration>>,
    answers: u64,
    tokens: u64,
    seconds: f64,
    spent: Spent,
}

impl Streaming {
    pub(super) async fn open(job: StreamJob) -> Self {
        let channels = match job.target {
            StreamTarget::Gateway | StreamTarget::Chain => super::connect(&job.url, job.connections).await,
            StreamTarget::Http | StreamTarget::Reader => Vec::new(),
        };
        let http = http_client();
        let gauge = Gauge::of(&job.watch);
        let streams = Arc::new(Streams {
            job,
            channels,
            http,
            begun: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            measuring: AtomicBool::new(false),
            over: AtomicBool::new(false),
        });
        Self { streams, gauge, seen: Seen::default(), turns: Vec::new(), answers: 0, tokens: 0, seconds: 0.0, spent: Spent::default() }
    }

    pub(super) async fn turn(&mut self, span: Span) {
        let streams = &self.streams;
        streams.over.store(false, Ordering::Relaxed);
        let mut readers = JoinSet::new();
        match streams.job.pace {
            Pace::Closed { streams: count } => {
                for _ in 0..count {
                    readers.spawn(Arc::clone(streams).read_again_and_again());
                }
            }
            Pace::Open { rate } => {
                readers.spawn(Arc::clone(streams).read_at(rate));
            }
        }
        tokio::time::sleep(span.warm_up).await;
        let counts = || (streams.ended.load(Ordering::Relaxed), streams.tokens.load(Ordering::Relaxed));
        let (before, (answers_before, tokens_before), started) = (self.gauge.read(), counts(), Instant::now());
        streams.measuring.store(true, Ordering::Relaxed);
        tokio::time::sleep(span.measured).await;
        // A short span may be over before the first answer is, and of no answer nothing can be said.
        let is_closed = matches!(streams.job.pace, Pace::Closed { .. });
        while is_closed && counts().0 == answers_before && started.elapsed() < AN_ANSWER_WITHIN {
            tokio::time::sleep(span.measured).await;
        }
        streams.measuring.store(false, Ordering::Relaxed);
        let (answers, tokens) = counts();
        self.answers += answers - answers_before;
        self.tokens += tokens - tokens_before;
        self.seconds += started.elapsed().as_secs_f64();
        self.spent.add(&self.gauge.read().since(&before));
        streams.over.store(true, Ordering::Relaxed);
        let mut seen = Seen::default();
        while let Some(reader) = readers.join_next().await {
            seen.merge(reader.expect("a reader doesn't panic"));
        }
        if self.streams.job.gaps {
            self.turns.push(seen.gaps.clone());
        } else if matches!(self.streams.job.pace, Pace::Open { .. }) {
            self.turns.push(seen.first_tokens.clone());
        }
        self.seen.merge(seen);
    }

    pub(super) fn close(self) -> StreamOutcome {
        StreamOutcome {
            answers: self.answers,
            tokens: self.tokens,
            seconds: self.seconds,
            first_token: Percentiles::of(self.seen.first_tokens),
            gap: Percentiles::of(self.seen.gaps),
            turns: self.turns,
            spent: self.spent,
            admitted: match self.streams.job.target {
                StreamTarget::Gateway | StreamTarget::Http => self.seen.streams,
                StreamTarget::Reader | StreamTarget::Chain => 0,
            },
        }
    }
}

impl Streams {
    async fn read_again_and_again(self: Arc<Self>) -> Seen {
        let mut seen = Seen::default();
        while !self.over.load(Ordering::Relaxed) {
            self.read_one(&mut seen).await;
        }
        seen
    }

    async fn read_at(self: Arc<Self>, rate: f64) -> Seen {
        let begin = || {
            let streams = Arc::clone(&self);
            async move {
                let mut seen = Seen::default();
                streams.read_one(&mut seen).await;
                seen
            }
        };
        super::at_rate(rate, &self.over, begin, Seen::merge).await
    }

    /// Reads one answer to its end.
    async fn read_one(&self, seen: &mut Seen) {
        let number = usize::try_from(self.begun.fetch_add(1, Ordering::Relaxed)).unwrap_or_default();
        let mut clock = TokenClock { streams: self, asked: Instant::now(), last: None, uncounted: 0 };
        match self.job.target {
            StreamTarget::Gateway => self.read_gateway(number, &mut clock, seen).await,
            StreamTarget::Http => self.read_http(number, &mut clock, seen).await,
            StreamTarget::Reader => self.read_upstream(&mut clock, seen).await,
            StreamTarget::Chain => self.read_chain(number, &mut clock, seen).await,
        }
        seen.streams += 1;
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    async fn read_gateway(&self, number: usize, clock: &mut TokenClock<'_>, seen: &mut Seen) {
        let credential = &self.job.credentials[number % self.job.credentials.len()];
        let mut client = InferenceClient::new(self.channels[number % self.channels.len()].clone());
        let mut request = chat(credential, &self.job.model, self.job.tokens);
        request.get_mut().stream = self.job.whole.then_some(false);
        let mut answer = client.chat(request).await.unwrap_or_else(|status| panic!("a chat was refused: {status}")).into_inner();
        let mut finished = false;
        while let Some(event) = answer.message().await.unwrap_or_else(|status| panic!("a chat failed: {status}")) {
            if has_token(&event) {
                (0..if self.job.whole { self.job.tokens } else { 1 }).for_each(|_| clock.token(seen));
            }
            finished = matches!(event.event, Some(Event::Finished(finished)) if finished.receipt.is_some());
        }
        assert!(finished, "an answer ends with a receipt");
    }

    async fn read_http(&self, number: usize, clock: &mut TokenClock<'_>, seen: &mut Seen) {
        let StreamJob { url, credentials, model, tokens, whole, .. } = &self.job;
        let credential = &credentials[number % credentials.len()];
        HttpChat { url, credential, model, tokens: *tokens, whole: *whole }.read(&self.http, || clock.token(seen)).await;
    }

    async fn read_chain(&self, number: usize, clock: &mut TokenClock<'_>, seen: &mut Seen) {
        let mut client = ChainClient::new(self.channels[number % self.channels.len()].clone());
        let answer = client.chat(ChainChatRequest { model: self.job.model.clone(), tokens: self.job.tokens }).await;
        let mut answer = answer.unwrap_or_else(|status| panic!("the chain refused: {status}")).into_inner();
        // All lines but the last one are tokens.
        let mut lines = 0;
        while answer.message().await.unwrap_or_else(|status| panic!("the chain failed: {status}")).is_some() {
            lines += 1;
            if lines <= self.job.tokens {
                clock.token(seen);
            }
        }
        assert_eq!(lines, self.job.tokens + 1, "an answer ends with a last line");
    }

    /// As a plain client does it: lines out of the pieces that come, and each line parsed for its text.
    async fn read_upstream(&self, clock: &mut TokenClock<'_>, seen: &mut Seen) {
        #[derive(Deserialize)]
        struct Line<'a> {
            #[serde(borrow)]
            message: Message<'a>,
            done: bool,
        }
        #[derive(Deserialize)]
        struct Message<'a> {
            #[serde(borrow)]
            content: Cow<'a, str>,
        }
        let body = serde_json::json!({
            "model": self.job.model, "messages": [{ "role": "user", "content": "hi" }], "options": { "num_predict": self.job.tokens },
        });
        let request = self.http.post(format!("{}/api/chat", self.job.url)).body(body.to_string()).send();
        let mut pieces = request.await.expect("the upstream answers").bytes_stream();
        let (mut partial, mut ended): (Vec<u8>, bool) = (Vec::new(), false);
        let mut said = |line: &[u8]| {
            let line: Line<'_> = serde_json::from_slice(line).expect("a line of JSON");
            if !line.message.content.is_empty() {
                clock.token(seen);
            }
            ended |= line.done;
        };
        while let Some(piece) = pieces.next().await {
            let piece = piece.expect("the upstream doesn't break off");
            let mut rest = &piece[..];
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                if partial.is_empty() {
                    said(&rest[..end]);
                } else {
                    partial.extend_from_slice(&rest[..end]);
                    said(&partial);
                    partial.clear();
                }
                rest = &rest[end + 1..];
            }
            partial.extend_from_slice(rest);
        }
        assert!(ended, "an answer ends with a last line");
    }
}

/// Notes when tokens come.
struct TokenClock<'a> {
    streams: &'a Streams,
    asked: Instant,
    last: Option<Instant>,
    /// Tokens that the sum of all streams lacks yet: adding each would have the threads contend for it.
    uncounted: u64,
}

/// So many tokens are counted at once.
const COUNTED_AT_ONCE: u64 = 64;

impl TokenClock<'_> {
    fn token(&mut self, seen: &mut Seen) {
        self.uncounted += 1;
        // Where gaps are measured there are few, and a turn may be over before so many came.
        if self.uncounted == COUNTED_AT_ONCE || self.streams.job.gaps {
            self.count();
        }
        if self.last.is_some() && !self.streams.job.gaps {
            return;
        }
        let now = Instant::now();
        let measuring = self.streams.measuring.load(Ordering::Relaxed);
        match self.last.replace(now) {
            None if measuring => seen.first_tokens.push(now - self.asked),
            Some(last) if measuring => seen.gaps.push(now - last),
            None | Some(_) => {}
        }
    }

    fn count(&mut self) {
        self.streams.tokens.fetch_add(std::mem::take(&mut self.uncounted), Ordering::Relaxed);
    }
}

impl Drop for TokenClock<'_> {
    fn drop(&mut self) {
        self.count();
    }
}

/// A short chat of this many tokens.
#[must_use]
pub fn chat(credential: &str, model: &str, tokens: u32) -> Request<ChatRequest> {
    let mut request = Request::new(ChatRequest { max_output_tokens: Some(tokens), ..integration::stack::chat_request(model, "hi") });
    request.metadata_mut().insert("authorization", super::bearer(credential));
    request
}

pub(super) fn has_token(event: &ChatEvent) -> bool {
    matches!(&event.event, Some(Event::Delta(delta)) if !delta.content.is_empty())
}

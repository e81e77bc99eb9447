//! The stream of an answer: it takes a [`Grant`] by value, so that streaming without authorization doesn't compile, and settles it exactly
//! once on every exit: the end, a failure, a caller that goes away, a limit, a drain.
//!
//! The stream is polled by the caller's connection, so a caller that doesn't read stops it. What must happen all the same (deadlines, the
//! slow reader's end) is done when [`Timers`] call. Tokens pass through no task but the one that polls.

mod events;
mod tally;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::Stream;
use futures_util::task::AtomicWaker;
use prost::Message as _;
use shared::error::CallError;
use shared::proto::{auth, inference as wire};
use shared::request_context::CurrentCall;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;

pub use self::events::{StreamEvent, replay};
use self::events::{append, finished, to_wire_receipt};
use self::tally::{Counted, Tally};
use crate::auth_client::{Grant, Meter, Outcome, TokenUsage};
use crate::call_failure::{CallFailure, Limit};
use crate::engine::{AnswerEvent, AnswerStream, Dispatched, Done, Engine, EngineError, Piece};
use crate::prompt::Prompt;
use crate::timers::{Timed, TimerGuard, Timers};

/// How long things may take while an answer is streamed.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// Until the first piece: load, queue and prompt evaluation are silence.
    pub first_byte_timeout: Duration,
    /// Between pieces: a tool call is one piece after all of it was generated.
    pub idle_timeout: Duration,
    /// That a caller may take to read what is there.
    pub slow_reader_timeout: Duration,
    /// In all.
    pub max_stream_life: Duration,
    /// That the last event waits for the receipt.
    pub settle_wait: Duration,
}

/// What streams need of their process, and what ends them with it.
#[derive(Debug, Clone)]
pub struct StreamOwner {
    /// Owns what is settled.
    pub tasks: TaskTracker,
    /// Watch over the limits of streams, and extend holds.
    pub timers: Timers,
    /// Cancelled when streams that still run must end.
    pub cut_off: CancellationToken,
}

impl Default for StreamOwner {
    fn default() -> Self {
        let cut_off = CancellationToken::new();
        Self { tasks: TaskTracker::new(), timers: Timers::new(cut_off.clone()), cut_off }
    }
}

/// What is to be answered, and how.
#[derive(Debug)]
pub struct AnswerPlan {
    /// The caller's, or the one that was made.
    pub request_id: String,
    /// As requested.
    pub requested_model: String,
    /// Checked.
    pub prompt: Prompt,
    /// Whether all of the answer comes in one delta.
    pub one_delta: bool,
    /// How often the engine may run the model for this one request: the hold pays for all of them together.
    pub runs: u32,
    /// The input tokens that the hold pays for.
    pub max_input_tokens: u32,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
}

/// Pieces that may come beyond the tokens that were asked for, before the engine is taken for one that ignores its bound.
const PIECES_SLACK: u32 = 16;
/// The longest delta, as it is encoded: gRPC clients take messages of 4 MiB by default, and there is an event around it.
const MAX_DELTA_BYTES: usize = 4 * 1024 * 1024 - 4096;

type Opening = Pin<Box<dyn Future<Output = Result<AnswerStream, EngineError>> + Send>>;
type SettledReceipt = oneshot::Receiver<Option<auth::Receipt>>;

/// A running answer.
pub struct ChatStream {
    shared: Arc<Shared>,
    /// Rings the doorbell; what the engine's stream is polled with.
    doorbell: Waker,
    phase: Phase,
    started: Option<wire::Started>,
    /// All of the answer so far, and at most how long that is when it is encoded.
    one_delta: Option<(wire::Delta, usize)>,
    settle_wait: Duration,
    _watch: TimerGuard,
}

/// What the stream and the watch over its limits share.
struct Shared {
    state: Mutex<State>,
    doorbell: Arc<Doorbell>,
    limits: StreamLimits,
    deadline: Option<Instant>,
    /// What the log says of all this: the stream is polled and dropped by its connection, outside the call.
    call: CurrentCall,
}

/// Notes since when there is something that the caller has not come for: the engine has woken the stream, or the stream gave a piece, and it
/// was not polled again. A caller that doesn't read looks just so, because its connection has no room.
struct Doorbell {
    opened: Instant,
    /// Microseconds since `opened`, plus 1; 0: nothing is there.
    rung_at: AtomicU64,
    caller: AtomicWaker,
}

impl Doorbell {
    fn ring(&self) {
        let now = u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(u64::MAX - 1) + 1;
        // The first ring counts: failing means that it had rung.
        let _ = self.rung_at.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn answered(&self) {
        self.rung_at.store(0, Ordering::Relaxed);
    }

    fn ringing_since(&self) -> Option<Instant> {
        match self.rung_at.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(self.opened + Duration::from_micros(micros - 1)),
        }
    }
}

impl Wake for Doorbell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
        self.caller.wake();
    }
}

struct State {
    source: Source,
    dispatched: Dispatched,
    /// A piece is at least one token: an engine that sends more than this ignores the bound that it was given.
    most_pieces: u32,
    /// `None` once the settle has begun.
    grant: Option<Grant>,
    meter: Arc<Meter>,
    tally: Tally,
    /// Why the stream must end.
    cut: Option<(Limit, SettledReceipt)>,
    last_piece_at: Option<Instant>,
}

enum Source {
    Opening(Opening),
    Open(AnswerStream),
    /// It could not be opened.
    Refused(EngineError),
    Closed,
}

impl Source {
    /// Asks the engine, if it hasn't answered yet.
    fn poll_open(&mut self, cx: &mut Context<'_>) {
        let Self::Opening(opening) = self else { return };
        match opening.as_mut().poll(cx) {
            Poll::Pending => {}
            Poll::Ready(Ok(stream)) => *self = Self::Open(stream),
            Poll::Ready(Err(error)) => *self = Self::Refused(error),
        }
    }
}

enum Phase {
    Answering,
    /// The engine is done: what is left to say, once the receipt is there or was waited for long enough.
    Finishing {
        delta: Option<wire::Delta>,
        finished: Box<wire::Finished>,
        receipt: SettledReceipt,
        patience: Pin<Box<Sleep>>,
    },
    /// It failed.
    Failing {
        failure: CallFailure,
        receipt: SettledReceipt,
        patience: Pin<Box<Sleep>>,
    },
    Ended,
}

impl ChatStream {
    /// Streams the answer that the grant pays for.
    pub fn open(grant: Grant, plan: AnswerPlan, engine: Arc<dyn Engine>, limits: StreamLimits, owner: &StreamOwner) -> Self {
        let started = wire::Started {
            request_id: plan.request_id,
            model: plan.requested_model,
            held_credits: Some(grant.held_credits()),
            remaining_credits: Some(grant.remaining_credits()),
            max_output_tokens: Some(grant.max_output_tokens()),
        };
        let tokens_a_run = (grant.max_output_tokens() / plan.runs.max(1)).max(1);
        let tally = Tally::new(plan.prompt.estimated_input_tokens(), plan.max_input_tokens, grant.max_output_tokens());
        let prompt = plan.prompt;
        let dispatched = Dispatched::default();
        let sent = dispatched.clone();
        let opening = Box::pin(async move { engine.answer(&prompt, tokens_a_run, &sent).await });
        let state = State {
            source: Source::Opening(opening),
            dispatched,
            most_pieces: grant.max_output_tokens().saturating_add(PIECES_SLACK),
            meter: grant.meter(),
            grant: Some(grant),
            tally,
            cut: None,
            last_piece_at: None,
        };
        let doorbell = Arc::new(Doorbell { opened: Instant::now(), rung_at: AtomicU64::new(0), caller: AtomicWaker::new() });
        // The caller has to come for the first event.
        doorbell.ring();
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            doorbell: doorbell.clone(),
            limits,
            deadline: plan.deadline,
            call: CurrentCall::get(),
        });
        let now = Instant::now();
        let watch = owner.timers.arm(shared.clone(), shared.next_look(now));
        // The engine is asked before the caller gets its first event, and works while that is written. (Unless the stream has been cut already.)
        let doorbell = Waker::from(doorbell);
        shared.lock().source.poll_open(&mut Context::from_waker(&doorbell));
        Self {
            shared,
            doorbell,
            phase: Phase::Answering,
            started: Some(started),
            one_delta: plan.one_delta.then(Default::default),
            settle_wait: limits.settle_wait,
            _watch: watch,
        }
    }

    /// The next thing the engine says, or why there is nothing more.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<StreamEvent, Status>>> {
        let shared = self.shared.clone();
        shared.doorbell.answered();
        shared.doorbell.caller.register(cx.waker());
        let doorbell = self.doorbell.clone();
        let mut source_cx = Context::from_waker(&doorbell);
        let mut state = shared.lock();
        loop {
            if let Some((limit, receipt)) = state.cut.take() {
                // A caller whose time is over gets its answer now; the others wait for the receipt.
                let wait = if limit == Limit::Deadline { Duration::ZERO } else { self.settle_wait };
                self.phase = Phase::Failing { failure: CallFailure::Limit(limit), receipt, patience: Box::pin(tokio::time::sleep(wait)) };
                drop(state);
                return self.poll_end(cx);
            }
            match state.poll_source(&mut source_cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(AnswerEvent::Piece(piece))) => {
                    state.count(&piece, Tally::count);
                    if state.tally.pieces() > state.most_pieces {
                        let detail = "more pieces than tokens were asked for".to_owned();
                        return self.fail(state, EngineError::Protocol { detail }, None, cx);
                    }
                    let delta = match self.delta(piece) {
                        Ok(delta) => delta,
                        Err(error) => return self.fail(state, error, None, cx),
                    };
                    if let Some(delta) = delta {
                        shared.doorbell.ring();
                        return Poll::Ready(Some(Ok(StreamEvent::Delta(delta))));
                    }
                }
                Poll::Ready(Ok(AnswerEvent::Done(piece, done))) => {
                    let is_empty = piece.is_empty();
                    state.count(&piece, Tally::count_last);
                    let last = match self.delta(piece) {
                        Ok(delta) => delta.filter(|_| !is_empty),
                        Err(error) => return self.fail(state, error, Some(&done), cx),
                    };
                    let delta = match self.one_delta.take() {
                        Some((whole, length)) => (length > 0).then_some(whole),
                        None => last,
                    };
                    let usage = state.tally.usage(Some(&done));
                    let settled = shared.call.clone().enter(|| state.settle(Outcome::Completed, usage));
                    let Some(receipt) = settled else { return Poll::Ready(None) };
                    let finished = Box::new(finished(&done, usage, state.tally.tool_calls() > 0));
                    self.phase = Phase::Finishing { delta, finished, receipt, patience: Box::pin(tokio::time::sleep(self.settle_wait)) };
                    drop(state);
                    return self.poll_end(cx);
                }
                Poll::Ready(Err(error)) => return self.fail(state, error, None, cx),
            }
        }
    }

    /// What to give of a piece: `None` while all of the answer is gathered in one delta. Fails when it is longer than clients take, its
    /// calls and log probabilities included.
    fn delta(&mut self, piece: Piece) -> Result<Option<wire::Delta>, EngineError> {
        let delta = wire::Delta::from(piece);
        let length = delta.encoded_len();
        // What is gathered is encoded in no more bytes than its pieces: each of its fields has one head for all.
        let gathered = self.one_delta.as_ref().map_or(0, |(_, gathered)| *gathered) + length;
        if gathered > MAX_DELTA_BYTES {
            return Err(EngineError::Protocol { detail: format!("a delta of more than {MAX_DELTA_BYTES} bytes") });
        }
        let Some((whole, so_far)) = &mut self.one_delta else { return Ok(Some(delta)) };
        append(whole, delta);
        *so_far = gathered;
        Ok(None)
    }

    /// Settles a failure of the engine, and begins to say so. `done`: it has counted all the same.
    fn fail(
        &mut self,
        mut state: MutexGuard<'_, State>,
        error: EngineError,
        done: Option<&Done>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<StreamEvent, Status>>> {
        let (outcome, usage) = (state.outcome_of_failure(), state.tally.usage(done));
        let settled = self.shared.call.clone().enter(|| state.settle(outcome, usage));
        let Some(receipt) = settled else { return Poll::Ready(None) };
        drop(state);
        let patience = Box::pin(tokio::time::sleep(self.settle_wait));
        self.phase = Phase::Failing { failure: CallFailure::Engine(error), receipt, patience };
        self.poll_end(cx)
    }

    /// The last events, when the receipt is there or was waited for long enough.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<StreamEvent, Status>>> {
        match &mut self.phase {
            Phase::Finishing { delta, finished, receipt, patience } => {
                if let Some(delta) = delta.take() {
                    return Poll::Ready(Some(Ok(StreamEvent::Delta(delta))));
                }
                let Poll::Ready(receipt) = poll_receipt(receipt, patience, cx) else { return Poll::Pending };
                finished.receipt = receipt;
                let finished = std::mem::take(&mut **finished);
                self.phase = Phase::Ended;
                Poll::Ready(Some(Ok(StreamEvent::Finished(finished))))
            }
            Phase::Failing { failure, receipt, patience } => {
                let Poll::Ready(receipt) = poll_receipt(receipt, patience, cx) else { return Poll::Pending };
                let mut error = self.shared.call.clone().enter(|| CallError::from(&*failure));
                if let Some(receipt) = receipt {
                    error = error.receipt(&receipt);
                }
                self.phase = Phase::Ended;
                Poll::Ready(Some(Err(error.into())))
            }
            Phase::Answering | Phase::Ended => Poll::Ready(None),
        }
    }
}

impl Stream for ChatStream {
    type Item = Result<StreamEvent, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(started) = self.started.take() {
            return Poll::Ready(Some(Ok(StreamEvent::Started(started))));
        }
        match self.phase {
            Phase::Answering => self.poll_answer(cx),
            Phase::Finishing { .. } | Phase::Failing { .. } => self.poll_end(cx),
            Phase::Ended => Poll::Ready(None),
        }
    }
}

impl Drop for ChatStream {
    /// The caller went away: the upstream connection closes here and now, and the hold is settled by the process.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.grant.is_some() {
            self.shared.call.clone().enter(|| {
                let (outcome, usage) = (state.outcome_of_cancel(), state.tally.usage(None));
                tracing::info!(?outcome, output_tokens = usage.output_tokens, "the caller went away");
                drop(state.settle(outcome, usage));
            });
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves the state as it was between two events: good enough to settle.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerEvent, EngineError>> {
        self.source.poll_open(cx);
        match &mut self.source {
            Source::Opening(_) => Poll::Pending,
            Source::Open(stream) => {
                let next = std::task::ready!(stream.as_mut().poll_next(cx));
                let ended = || EngineError::Interrupted { detail: "the answer ended without a last line".to_owned() };
                Poll::Ready(next.unwrap_or_else(|| Err(ended())))
            }
            Source::Refused(error) => Poll::Ready(Err(error.clone())),
            Source::Closed => Poll::Ready(Err(EngineError::Interrupted { detail: "the answer is over".to_owned() })),
        }
    }

    fn count(&mut self, piece: &Piece, count: fn(&mut Tally, Counted)) {
        if piece.is_empty() {
            return;
        }
        count(&mut self.tally, Counted::from(piece));
        self.last_piece_at = Some(Instant::now());
        let usage = self.tally.usage(None);
        self.meter.record(usage.input_tokens, usage.output_tokens);
    }

    /// Begins to settle, and closes the upstream connection. `None`: it had begun before.
    fn settle(&mut self, outcome: Outcome, usage: TokenUsage) -> Option<SettledReceipt> {
        self.source = Source::Closed;
        self.grant.take().map(|grant| grant.settle(outcome, usage))
    }

    /// A failure before the first token costs nothing; after it, what was read.
    fn outcome_of_failure(&self) -> Outcome {
        if self.tally.pieces() == 0 { Outcome::NothingGenerated } else { Outcome::UpstreamFailed }
    }

    /// A caller that goes away pays from when its request went upstream, unless it was refused there.
    fn outcome_of_cancel(&self) -> Outcome {
        if matches!(self.source, Source::Refused(_)) {
            self.outcome_of_failure()
        } else if self.dispatched.is_marked() {
            Outcome::Cancelled
        } else {
            Outcome::NothingGenerated
        }
    }
}

impl Shared {
    /// The limit that is reached first, as things stand now.
    fn first_limit(&self, state: &State) -> (Instant, Limit) {
        let Self { limits, doorbell, deadline, .. } = self;
        // Time that the caller takes to read is not the engine's.
        let silence = match (doorbell.ringing_since(), state.last_piece_at) {
            (Some(since), _) => (since + limits.slow_reader_timeout, Limit::SlowReader),
            (None, Some(last)) => (last + limits.idle_timeout, Limit::Idle),
            (None, None) => (doorbell.opened + limits.first_byte_timeout, Limit::FirstByte),
        };
        let end_of_life = (doorbell.opened + limits.max_stream_life, Limit::Life);
        let first = if silence.0 <= end_of_life.0 { silence } else { end_of_life };
        match deadline {
            Some(deadline) if *deadline < first.0 => (*deadline, Limit::Deadline),
            _ => first,
        }
    }

    /// What the stream waits for can change at any moment, from the caller to the engine and back: the next look is no later than the shortest of
    /// the time-outs for it could be over, whatever the first limit is now.
    fn next_look(&self, now: Instant) -> Instant {
        let (at, _) = self.first_limit(&self.lock());
        let StreamLimits { first_byte_timeout, idle_timeout, slow_reader_timeout, .. } = self.limits;
        at.min(now + slow_reader_timeout.min(idle_timeout).min(first_byte_timeout))
    }

    /// Ends the stream for a limit that is reached, whether or not the caller reads.
    fn cut(&self, limit: Limit) {
        let mut state = self.lock();
        if state.grant.is_none() {
            return;
        }
        let outcome = match limit {
            Limit::Deadline | Limit::SlowReader | Limit::Life => state.outcome_of_cancel(),
            Limit::FirstByte | Limit::Idle | Limit::Drain => state.outcome_of_failure(),
        };
        self.call.clone().enter(|| {
            let (usage, after) = (state.tally.usage(None), self.doorbell.opened.elapsed());
            tracing::info!(?limit, ?after, output_tokens = usage.output_tokens, "an answer was cut off");
            if let Some(receipt) = state.settle(outcome, usage) {
                state.cut = Some((limit, receipt));
            }
        });
        drop(state);
        self.doorbell.caller.wake();
    }
}

impl Timed for Shared {
    fn on_time(&self, now: Instant) -> Option<Instant> {
        let (at, limit) = {
            let state = self.lock();
            state.grant.as_ref()?;
            self.first_limit(&state)
        };
        if at > now {
            return Some(self.next_look(now));
        }
        self.cut(limit);
        None
    }

    fn on_cut_off(&self) {
        self.cut(Limit::Drain);
    }
}

fn poll_receipt(receipt: &mut SettledReceipt, patience: &mut Pin<Box<Sleep>>, cx: &mut Context<'_>) -> Poll<Option<wire::Receipt>> {
    match Pin::new(receipt).poll(cx) {
        Poll::Ready(settled) => Poll::Ready(settled.ok().flatten().map(|receipt| to_wire_receipt(&receipt))),
        Poll::Pending => patience.as_mut().poll(cx).map(|()| None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_that_leaves_pays_from_when_its_request_went_upstream_unless_it_was_refused_there() {
        let refused = EngineError::Interrupted { detail: String::new() };
        let opening = || -> Opening { Box::pin(std::future::pending()) };
        for (source, is_dispatched, outcome) in [
            (Source::Opening(opening()), false, Outcome::NothingGenerated),
            (Source::Opening(opening()), true, Outcome::Cancelled),
            (Source::Opening(Box::pin(std::future::ready(Err(refused)))), true, Outcome::NothingGenerated),
        ] {
            let dispatched = Dispatched::default();
            if is_dispatched {
                dispatched.mark();
            }
            let mut state = State {
                source,
                dispatched,
                most_pieces: 1,
                grant: None,
                meter: Arc::default(),
                tally: Tally::default(),
                cut: None,
                last_piece_at: None,
            };
            state.source.poll_open(&mut Context::from_waker(Waker::noop()));
            assert_eq!(state.outcome_of_cancel(), outcome);
        }
    }
}

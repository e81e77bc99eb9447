//! The stream of an answer. It takes a [`Grant`] by value, so that streaming without authorization doesn't compile. It settles the grant
//! exactly once on every exit: the end, a failure, a caller that goes away, a limit, a revoked credential, a drain.
//!
//! The stream is polled by the caller's connection, so a caller that doesn't read stops it. What must happen all the same (deadlines, the
//! end of a slow reader) is done by [`Timers`]. Tokens pass through no task but the one that polls.

mod answer;
mod events;
mod limits;
mod stream_state;
mod tally;
mod unread_waker;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::Stream;
use prost::Message as _;
use shared::error::CallError;
use shared::proto::inference as wire;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;

use self::answer::{Answer, SettledReceipt, Source};
pub use self::events::{StreamEvent, replay};
use self::events::{append, finished};
pub(crate) use self::events::{recorded_usage, to_wire_receipt, to_wire_usage};
pub use self::limits::StreamLimits;
use self::stream_state::StreamState;
use self::tally::Tally;
use self::unread_waker::UnreadWaker;
use crate::auth_client::{Grant, Outcome};
use crate::call_failure::CallFailure;
use crate::engine::{AnswerEvent, Dispatched, Done, Engine, EngineError, Piece};
use crate::prompt::Prompt;
use crate::timers::{TimerGuard, Timers};

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
const EXTRA_PIECES: u32 = 16;
/// The longest delta, as it is encoded: gRPC clients take messages of 4 MiB by default, and there is an event around it.
const MAX_DELTA_BYTES: usize = 4 * 1024 * 1024 - 4096;

/// A running answer.
pub struct ChatStream {
    state: Arc<StreamState>,
    /// What the engine's stream is polled with.
    unread: Waker,
    phase: Phase,
    started: Option<wire::Started>,
    /// All of the answer so far, and at most how long that is when it is encoded.
    one_delta: Option<(wire::Delta, usize)>,
    settle_wait: Duration,
    _limits: TimerGuard,
}

enum Phase {
    Answering,
    /// The engine is done: what is left to say, once the receipt is there or its time is over.
    Finishing {
        delta: Option<wire::Delta>,
        finished: Box<wire::Finished>,
        receipt: SettledReceipt,
        timeout: Pin<Box<Sleep>>,
    },
    /// The answer failed.
    Failing {
        error: CallError,
        receipt: SettledReceipt,
        timeout: Pin<Box<Sleep>>,
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
        let bell = grant.revocation_bell();
        let answer = Answer {
            source: Source::Opening(opening),
            dispatched,
            max_pieces: grant.max_output_tokens().saturating_add(EXTRA_PIECES),
            meter: grant.meter(),
            grant: Some(grant),
            tally,
            cut_off: None,
            last_piece: None,
        };
        let now = Instant::now();
        let unread = Arc::new(UnreadWaker::new(now));
        // The caller has to read the first event.
        unread.mark_unread();
        let state = Arc::new(StreamState::new(answer, Arc::clone(&unread), limits, plan.deadline));
        let timer = owner.timers.arm(state.clone(), state.next_look(now));
        let this: Weak<StreamState> = Arc::downgrade(&state);
        bell.ends(this);
        // The engine is asked before the caller gets its first event, and works while that is written. A stream that was cut off already
        // has none.
        let unread = Waker::from(unread);
        state.lock().source.poll_open(&mut Context::from_waker(&unread));
        Self {
            state,
            unread,
            phase: Phase::Answering,
            started: Some(started),
            one_delta: plan.one_delta.then(Default::default),
            settle_wait: limits.settle_wait,
            _limits: timer,
        }
    }

    /// The next event of the answer, or its end.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<StreamEvent, Status>>> {
        let state = self.state.clone();
        state.unread.mark_read(cx.waker());
        let unread = self.unread.clone();
        let mut engine_cx = Context::from_waker(&unread);
        let mut answer = state.lock();
        loop {
            if let Some((limit, receipt)) = answer.cut_off.take() {
                let wait = limit.receipt_wait(self.settle_wait);
                let error = CallError::from(&CallFailure::Limit(limit));
                self.phase = Phase::Failing { error, receipt, timeout: timeout(wait) };
                drop(answer);
                return self.poll_end(cx);
            }
            match answer.poll_next(&mut engine_cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(AnswerEvent::Piece(piece))) => {
                    answer.count(&piece, false);
                    if answer.is_beyond_bound() {
                        let detail = "more pieces than tokens were asked for".to_owned();
                        return self.fail(answer, EngineError::Protocol { detail }, None, cx);
                    }
                    let delta = match self.delta(piece) {
                        Ok(delta) => delta,
                        Err(error) => return self.fail(answer, error, None, cx),
                    };
                    if let Some(delta) = delta {
                        state.unread.mark_unread();
                        return Poll::Ready(Some(Ok(StreamEvent::Delta(delta))));
                    }
                }
                Poll::Ready(Ok(AnswerEvent::Done(piece, done))) => return self.finish(answer, piece, &done, cx),
                Poll::Ready(Err(error)) => return self.fail(answer, error, None, cx),
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

    /// Settles a complete answer, and begins to say so.
    fn finish(
        &mut self,
        mut answer: MutexGuard<'_, Answer>,
        piece: Piece,
        done: &Done,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<StreamEvent, Status>>> {
        let is_empty = piece.is_empty();
        answer.count(&piece, true);
        let last = match self.delta(piece) {
            Ok(delta) => delta.filter(|_| !is_empty),
            Err(error) => return self.fail(answer, error, Some(done), cx),
        };
        let delta = match self.one_delta.take() {
            Some((whole, length)) => (length > 0).then_some(whole),
            None => last,
        };
        let usage = answer.tally.usage(Some(done));
        let settled = self.state.call.clone().enter(|| answer.settle(Outcome::Completed, usage, None));
        let Some(receipt) = settled else { return Poll::Ready(None) };
        let finished = Box::new(finished(done, usage, answer.tally.tool_calls() > 0));
        drop(answer);
        self.phase = Phase::Finishing { delta, finished, receipt, timeout: timeout(self.settle_wait) };
        self.poll_end(cx)
    }

    /// Settles a failure of the engine, and begins to say so. `done`: it has counted all the same.
    fn fail(
        &mut self,
        mut answer: MutexGuard<'_, Answer>,
        error: EngineError,
        done: Option<&Done>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<StreamEvent, Status>>> {
        let (outcome, usage) = (answer.outcome_of_failure(), answer.tally.usage(done));
        let (error, settled) = self.state.call.clone().enter(|| {
            let error = CallError::from(&error);
            let settled = answer.settle(outcome, usage, Some(error.reason()));
            (error, settled)
        });
        let Some(receipt) = settled else { return Poll::Ready(None) };
        drop(answer);
        self.phase = Phase::Failing { error, receipt, timeout: timeout(self.settle_wait) };
        self.poll_end(cx)
    }

    /// The last events, when the receipt is there or its time is over.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<StreamEvent, Status>>> {
        match &mut self.phase {
            Phase::Finishing { delta, finished, receipt, timeout } => {
                if let Some(delta) = delta.take() {
                    return Poll::Ready(Some(Ok(StreamEvent::Delta(delta))));
                }
                let Poll::Ready(receipt) = poll_receipt(receipt, timeout, cx) else { return Poll::Pending };
                finished.receipt = receipt;
                let finished = std::mem::take(&mut **finished);
                self.phase = Phase::Ended;
                Poll::Ready(Some(Ok(StreamEvent::Finished(finished))))
            }
            Phase::Failing { error, receipt, timeout } => {
                let Poll::Ready(receipt) = poll_receipt(receipt, timeout, cx) else { return Poll::Pending };
                let mut error = error.clone();
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
        let mut answer = self.state.lock();
        if answer.grant.is_some() {
            self.state.call.clone().enter(|| {
                let (outcome, usage) = (answer.outcome_of_cancel(), answer.tally.usage(None));
                drop(answer.settle(outcome, usage, None));
            });
        }
    }
}

fn timeout(wait: Duration) -> Pin<Box<Sleep>> {
    Box::pin(tokio::time::sleep(wait))
}

fn poll_receipt(receipt: &mut SettledReceipt, timeout: &mut Pin<Box<Sleep>>, cx: &mut Context<'_>) -> Poll<Option<wire::Receipt>> {
    match Pin::new(receipt).poll(cx) {
        Poll::Ready(settled) => Poll::Ready(settled.ok().flatten().map(|receipt| to_wire_receipt(&receipt))),
        Poll::Pending => timeout.as_mut().poll(cx).map(|()| None),
    }
}

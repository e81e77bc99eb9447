//! The answer behind a stream: where its pieces come from, what was read of it, and the grant that pays for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use shared::ErrorReason;
use shared::proto::auth;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::tally::{PieceCount, Tally};
use crate::auth_client::{Grant, Meter, Outcome, TokenUsage};
use crate::call_end::WorkDone;
use crate::call_failure::Limit;
use crate::engine::{AnswerEvent, AnswerStream, Dispatched, EngineError, Piece};

pub(super) type Opening = Pin<Box<dyn Future<Output = Result<AnswerStream, EngineError>> + Send>>;
pub(super) type SettledReceipt = oneshot::Receiver<Option<auth::Receipt>>;

/// Where the pieces come from.
pub(super) enum Source {
    Opening(Opening),
    Open(AnswerStream),
    /// It could not be opened.
    Refused(EngineError),
    Closed,
}

impl Source {
    /// Asks the engine, if it hasn't answered yet.
    pub(super) fn poll_open(&mut self, cx: &mut Context<'_>) {
        let Self::Opening(opening) = self else { return };
        match opening.as_mut().poll(cx) {
            Poll::Pending => {}
            Poll::Ready(Ok(stream)) => *self = Self::Open(stream),
            Poll::Ready(Err(error)) => *self = Self::Refused(error),
        }
    }

    /// The next event; the first error is the last.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerEvent, EngineError>> {
        self.poll_open(cx);
        match self {
            Self::Opening(_) => Poll::Pending,
            Self::Open(stream) => {
                let next = std::task::ready!(stream.as_mut().poll_next(cx));
                let ended = || EngineError::Interrupted { detail: "the answer ended without a last line".to_owned() };
                Poll::Ready(next.unwrap_or_else(|| Err(ended())))
            }
            Self::Refused(error) => Poll::Ready(Err(error.clone())),
            Self::Closed => Poll::Ready(Err(EngineError::Interrupted { detail: "the answer is over".to_owned() })),
        }
    }
}

/// An answer that is being read.
pub(super) struct Answer {
    pub(super) source: Source,
    pub(super) dispatched: Dispatched,
    /// A piece is at least one token: an engine that sends more than this ignores the bound that it was given.
    pub(super) max_pieces: u32,
    /// `None` once the settle has begun.
    pub(super) grant: Option<Grant>,
    pub(super) meter: Arc<Meter>,
    pub(super) tally: Tally,
    /// The limit that ended it, until the stream has said so.
    pub(super) cut_off: Option<(Limit, SettledReceipt)>,
    pub(super) last_piece: Option<Instant>,
}

impl Answer {
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerEvent, EngineError>> {
        self.source.poll_next(cx)
    }

    /// Counts a piece; `is_last`: it came with the end.
    pub(super) fn count(&mut self, piece: &Piece, is_last: bool) {
        if piece.is_empty() {
            return;
        }
        let count = PieceCount::from(piece);
        if is_last {
            self.tally.count_last(count)
        } else {
            self.tally.count(count)
        }
        self.last_piece = Some(Instant::now());
        let usage = self.tally.usage(None);
        self.meter.record(usage.input_tokens, usage.output_tokens);
    }

    /// Whether the engine has sent more than it was asked for.
    pub(super) fn is_beyond_bound(&self) -> bool {
        self.tally.pieces() > self.max_pieces
    }

    /// Begins to settle, and closes the upstream connection. `reason`: what the caller is told of a failure. `None`: it had begun before.
    pub(super) fn settle(&mut self, outcome: Outcome, usage: TokenUsage, reason: Option<ErrorReason>) -> Option<SettledReceipt> {
        self.source = Source::Closed;
        self.grant.take().map(|grant| grant.settle(outcome, usage, reason))
    }

    pub(super) fn outcome_of_failure(&self) -> Outcome {
        self.work_done().outcome_of_failure()
    }

    pub(super) fn outcome_of_cancel(&self) -> Outcome {
        self.work_done().outcome_of_cancel()
    }

    pub(super) fn outcome_of_limit(&self, limit: Limit) -> Outcome {
        self.work_done().outcome_of_limit(limit)
    }

    fn work_done(&self) -> WorkDone {
        let was_refused = matches!(self.source, Source::Refused(_));
        WorkDone { was_sent: self.dispatched.is_marked(), was_refused, has_begun: self.tally.pieces() > 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

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
            let mut answer = Answer {
                source,
                dispatched,
                max_pieces: 1,
                grant: None,
                meter: Arc::default(),
                tally: Tally::default(),
                cut_off: None,
                last_piece: None,
            };
            answer.source.poll_open(&mut Context::from_waker(Waker::noop()));
            assert_eq!(answer.outcome_of_cancel(), outcome);
        }
    }
}

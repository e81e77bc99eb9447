//! A call that is paid for and has one answer, which comes whole or not at all. It takes a [`Grant`] by value and settles it exactly once
//! on every exit: the answer, a failure, a caller that goes away, a limit, a revoked credential, a drain.
//!
//! Its future is polled by the caller's connection until the answer is there, so limits need no timer beside it. What is read of an answer
//! that breaks off is of no use to the caller: its failure costs nothing.

use std::pin::pin;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use shared::ErrorReason;
use shared::error::CallError;
use shared::proto::{auth, inference as wire};
use shared::request_context::CurrentCall;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::auth_client::{Grant, Outcome, Revocable, TokenUsage};
use crate::call_end::WorkDone;
use crate::call_failure::{CallFailure, Limit};
use crate::chat_stream::{StreamLimits, to_wire_receipt};
use crate::engine::{Dispatched, EngineError};

/// A call under way. Dropped before it is settled, its caller has gone away.
#[derive(Debug)]
pub(crate) struct MeteredCall {
    /// `None` once the settle has begun.
    grant: Option<Grant>,
    dispatched: Dispatched,
    /// What is charged when nobody has counted.
    estimate: TokenUsage,
    /// The call that log lines are about: a connection drops this outside of it.
    call: CurrentCall,
    revoked: Arc<Revoked>,
}

/// Whether the credential that pays was revoked.
#[derive(Debug, Default)]
struct Revoked {
    reason: OnceLock<ErrorReason>,
    told: CancellationToken,
}

impl Revocable for Revoked {
    fn on_revoked(&self, reason: ErrorReason) {
        // The first reason counts.
        let _ = self.reason.set(reason);
        self.told.cancel();
    }
}

impl Revoked {
    async fn limit(&self) -> Limit {
        self.told.cancelled().await;
        Limit::Revoked(self.reason.get().copied().unwrap_or(ErrorReason::CredentialRevoked))
    }
}

/// How long a call may take.
#[derive(Debug)]
pub(crate) struct CallLimits<'a> {
    pub(crate) limits: &'a StreamLimits,
    /// When the caller stops waiting.
    pub(crate) deadline: Option<Instant>,
    /// Cancelled when what still runs must end.
    pub(crate) cut_off: &'a CancellationToken,
}

impl MeteredCall {
    /// A call that the grant pays for.
    pub(crate) fn new(grant: Grant, estimate: TokenUsage) -> Self {
        let revoked = Arc::<Revoked>::default();
        let this: Weak<Revoked> = Arc::downgrade(&revoked);
        grant.revocation_bell().ends(this);
        Self { grant: Some(grant), dispatched: Dispatched::default(), estimate, call: CurrentCall::get(), revoked }
    }

    /// To be marked when the request is on its way to the model.
    pub(crate) fn dispatched(&self) -> Dispatched {
        self.dispatched.clone()
    }

    /// Waits for the work, within the limits, and settles. Answers what the work gave, and what was charged: `None` when that could not be
    /// recorded in time. The error says what was charged for a call that failed.
    pub(crate) async fn run<T>(
        mut self,
        work: impl Future<Output = Result<(T, TokenUsage), EngineError>>,
        within: CallLimits<'_>,
    ) -> Result<(T, Option<wire::Receipt>), CallError> {
        let CallLimits { limits, deadline, cut_off } = within;
        let (at, limit) = limits.first_of_silence(Instant::now(), deadline);
        let worked = {
            let mut work = pin!(work);
            tokio::select! {
                biased;
                revoked = self.revoked.limit() => Err(CallFailure::Limit(revoked)),
                worked = &mut work => worked.map_err(CallFailure::Engine),
                () = tokio::time::sleep_until(at) => Err(CallFailure::Limit(limit)),
                () = cut_off.cancelled() => Err(CallFailure::Limit(Limit::Drain)),
            }
        };
        let failure = match worked {
            Ok((answer, usage)) => {
                let settled = self.settle(Outcome::Completed, usage, None);
                return Ok((answer, receipt_within(settled, limits.settle_wait).await));
            }
            Err(failure) => failure,
        };
        let error = CallError::from(&failure);
        let (outcome, wait) = match failure {
            CallFailure::Engine(_) => (self.work_done(true).outcome_of_failure(), limits.settle_wait),
            CallFailure::Limit(limit) => (self.work_done(false).outcome_of_limit(limit), limit.receipt_wait(limits.settle_wait)),
        };
        let settled = self.settle(outcome, self.estimate, Some(error.reason()));
        Err(match receipt_within(settled, wait).await {
            Some(receipt) => error.receipt(&receipt),
            None => error,
        })
    }

    fn work_done(&self, was_refused: bool) -> WorkDone {
        WorkDone { was_sent: self.dispatched.is_marked(), was_refused, has_begun: false }
    }

    /// Begins to settle. `None`: it had begun before.
    fn settle(
        &mut self,
        outcome: Outcome,
        usage: TokenUsage,
        reason: Option<ErrorReason>,
    ) -> Option<oneshot::Receiver<Option<auth::Receipt>>> {
        self.grant.take().map(|grant| grant.settle(outcome, usage, reason))
    }
}

impl Drop for MeteredCall {
    fn drop(&mut self) {
        if self.grant.is_some() {
            self.call.clone().enter(|| {
                let outcome = self.work_done(false).outcome_of_cancel();
                drop(self.settle(outcome, self.estimate, None));
            });
        }
    }
}

async fn receipt_within(settled: Option<oneshot::Receiver<Option<auth::Receipt>>>, wait: Duration) -> Option<wire::Receipt> {
    let receipt = tokio::time::timeout(wait, settled?).await.ok()?.ok()??;
    Some(to_wire_receipt(&receipt))
}

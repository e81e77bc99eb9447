//! The line that says how a call ended: one in each service, with the same fields, whichever way the call ends.
//!
//! It is for calls that cost credits, and for those that were refused before they did. Its target is `call`, so that `TOLLGATE_LOG` can
//! name it: `warn,call=info` keeps these lines and no others below a warning.

use tonic::Status;

use crate::ErrorReason;
use crate::error::{CallError, reason_name, reason_of};
use crate::proto::auth;
use crate::request_context::CurrentCall;
use crate::request_id::is_request_id;

/// The outcome of a call whose caller went away.
const CANCELLED: &str = "cancelled";

/// What the line will say of a call. It is written when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct CallRecord {
    call: CurrentCall,
    request_id: String,
    account: String,
    model: String,
    outcome: &'static str,
    state: Option<&'static str>,
    reason: Option<ErrorReason>,
    usage: Option<auth::TokenUsage>,
    charged_credits: Option<i64>,
}

impl CallRecord {
    /// Of the current call. Until something else is said, its caller went away, and nothing was charged.
    pub fn begin() -> Self {
        let call = CurrentCall::get();
        // From here on whoever has the record answers for the line.
        call.claim();
        Self::of(call)
    }

    /// Of a call that others worked on, and whose hold has expired.
    pub fn expired(usage: auth::TokenUsage, charged_credits: i64) -> Self {
        let mut record = Self::of(CurrentCall::none());
        (record.outcome, record.state) = ("expired", Some("expired"));
        (record.usage, record.charged_credits) = (Some(usage), Some(charged_credits));
        record
    }

    fn of(call: CurrentCall) -> Self {
        Self {
            call,
            request_id: String::new(),
            account: String::new(),
            model: String::new(),
            outcome: CANCELLED,
            state: None,
            reason: None,
            usage: None,
            charged_credits: Some(0),
        }
    }

    /// Sets the id that the charge has in the ledger. What can be none is left out: it is whatever somebody sent.
    pub fn set_request_id(&mut self, request_id: &str) {
        if is_request_id(request_id) {
            request_id.clone_into(&mut self.request_id);
        }
    }

    /// Sets the model, by its canonical name.
    pub fn set_model(&mut self, canonical: &str) {
        self.model = canonical.to_ascii_lowercase();
    }

    /// Sets the account that pays. Its id, and only after the caller has proved to be one of its own.
    pub fn set_account(&mut self, account: String) {
        self.account = account;
    }

    /// Notes a refusal, and hands the result on. Nothing was charged.
    pub fn note_refusal<T>(&mut self, result: Result<T, CallError>) -> Result<T, CallError> {
        if let Err(error) = &result {
            self.refused(error.reason());
        }
        result
    }

    /// Notes that the call was refused before anything was held.
    pub fn refused(&mut self, reason: ErrorReason) {
        (self.outcome, self.reason) = ("refused", Some(reason));
    }

    /// Notes that the call was answered without anything being held, though calls of its kind cost something.
    pub fn cost_nothing(&mut self) {
        self.outcome = outcome_name(auth::Outcome::Completed);
    }

    /// Notes how the work on it ended, while its charge is not known yet. `reason`: what its caller is told; `None`: the caller is gone.
    pub fn settling(&mut self, outcome: auth::Outcome, usage: auth::TokenUsage, reason: Option<ErrorReason>) {
        let is_failure = outcome != auth::Outcome::Completed;
        (self.outcome, self.state) = (outcome_name(outcome), Some("unsettled"));
        self.reason = is_failure.then(|| reason.unwrap_or_else(|| self.why_left()));
        (self.usage, self.charged_credits) = (Some(usage), None);
    }

    /// Notes what was charged.
    pub fn settled(&mut self, receipt: &auth::Receipt) {
        self.outcome = outcome_name(receipt.outcome());
        self.state = Some(state_name(receipt.state()));
        (self.usage, self.charged_credits) = (receipt.usage, receipt.charged_credits);
    }

    /// Notes that the request was resolved before, and that this call was answered with its receipt.
    pub fn replayed(&mut self, receipt: &auth::Receipt) {
        self.settled(receipt);
        self.outcome = "replayed";
    }

    /// Why its caller is gone.
    fn why_left(&self) -> ErrorReason {
        if self.call.is_late() { ErrorReason::DeadlineExceeded } else { ErrorReason::Cancelled }
    }

    fn write(&self) {
        let reason = self.reason.or_else(|| (self.outcome == CANCELLED && self.state.is_none()).then(|| self.why_left()));
        let usage = self.usage.as_ref();
        tracing::info!(
            target: "call",
            request_id = given(&self.request_id),
            account = given(&self.account),
            model = given(&self.model),
            outcome = self.outcome,
            state = self.state,
            reason = reason.map(reason_name),
            input_tokens = usage.map(auth::TokenUsage::input_tokens),
            output_tokens = usage.map(auth::TokenUsage::output_tokens),
            charged_credits = self.charged_credits,
            elapsed_ms = self.call.elapsed().map(|elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)),
            "a call is over"
        );
    }
}

impl Drop for CallRecord {
    fn drop(&mut self) {
        // As a rule this is in another task than the call's.
        self.call.clone().enter(|| self.write());
    }
}

/// A call whose method has not begun. Dropped while that is so, it writes the call's line.
#[derive(Debug)]
pub(crate) struct UnclaimedCall(CurrentCall);

impl UnclaimedCall {
    /// The current call.
    pub(crate) fn begin() -> Self {
        Self(CurrentCall::get())
    }

    /// It was refused.
    pub(crate) fn refused(self, reason: ErrorReason) {
        if self.0.claim() {
            CallRecord::of(self.0.clone()).refused(reason);
        }
    }

    /// It was answered with an error, by its method or before that.
    pub(crate) fn answered(self, status: impl FnOnce() -> Option<Status>) {
        if self.0.claim() {
            let reason = status().as_ref().and_then(reason_of);
            CallRecord::of(self.0.clone()).refused(reason.unwrap_or(ErrorReason::Internal));
        }
    }
}

impl Drop for UnclaimedCall {
    fn drop(&mut self) {
        if self.0.claim() {
            drop(CallRecord::of(self.0.clone()));
        }
    }
}

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn outcome_name(outcome: auth::Outcome) -> &'static str {
    match outcome {
        // What expired was never said to have ended.
        auth::Outcome::Unspecified => "expired",
        auth::Outcome::Completed => "completed",
        auth::Outcome::Cancelled => CANCELLED,
        auth::Outcome::UpstreamFailed => "upstream_failed",
        auth::Outcome::NothingGenerated => "nothing_generated",
    }
}

fn state_name(state: auth::RequestState) -> &'static str {
    match state {
        auth::RequestState::Unspecified => "unknown",
        auth::RequestState::Held => "held",
        auth::RequestState::Settled => "settled",
        auth::RequestState::Refunded => "refunded",
        auth::RequestState::Expired => "expired",
        auth::RequestState::SettledLate => "settled_late",
    }
}

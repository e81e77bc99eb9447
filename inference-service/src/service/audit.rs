//! The audit trail of what operators do with models: one line for each change, when it is over, whichever way that is.

use shared::ErrorReason;
use shared::credential_form::{could_be_a_service_credential, holds_credential};
use shared::error::{CallError, reason_name};
use shared::model_name;
use shared::proto::auth::Principal;
use shared::request_context::CurrentCall;

/// The most characters that are logged of a name that is none.
const MAX_NAME_CHARS: usize = 100;

/// How a change ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuditOutcome {
    /// It was made.
    Success,
    /// It was refused, or broke.
    Failure,
    /// The operator went away, the operator's deadline passed, or the service stopped: the engine may have made it or not.
    CutOff,
}

impl AuditOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::CutOff => "cut off",
        }
    }
}

/// A change under way. Dropped before it ended, it was cut off.
#[derive(Debug)]
pub(super) struct AuditEntry {
    action: &'static str,
    actor: Principal,
    model: String,
    call: CurrentCall,
    is_over: bool,
}

impl AuditEntry {
    /// `model` as it was sent: logged by its canonical name, or, when it is none, by its start.
    pub(super) fn begin(action: &'static str, actor: Principal, model: &str) -> Self {
        let start = || model.chars().take(MAX_NAME_CHARS).flat_map(char::escape_debug).collect();
        let shown = || if holds_credential(model) || could_be_a_service_credential(model) { "[credential]".to_owned() } else { start() };
        let model = model_name::canonical(model).unwrap_or_else(|_| shown());
        Self { action, actor, model, call: CurrentCall::get(), is_over: false }
    }

    /// Notes a failure, and hands the result on.
    pub(super) fn record_failure<T>(&mut self, result: Result<T, CallError>) -> Result<T, CallError> {
        if let Err(error) = &result {
            self.log(AuditOutcome::Failure, Some(error.reason()));
        }
        result
    }

    /// Notes how it ended; only the first time counts.
    pub(super) fn end(&mut self, outcome: AuditOutcome) {
        self.log(outcome, None);
    }

    fn log(&mut self, outcome: AuditOutcome, reason: Option<ErrorReason>) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let Self { action, actor, model, .. } = self;
        let (outcome, reason) = (outcome.as_str(), reason.map(reason_name));
        // When an answer is dropped, no call is current: the line is about the one that it was made in.
        self.call.clone().enter(|| {
            tracing::info!(
                target: "audit",
                action,
                actor = %actor.user_id,
                api_key = %actor.api_key_id,
                model,
                outcome,
                reason,
                "an operator's change of a model is over"
            );
        });
    }
}

impl Drop for AuditEntry {
    fn drop(&mut self) {
        self.end(AuditOutcome::CutOff);
    }
}

//! The one place where what went wrong with an answer becomes a gRPC status. Upstream's text goes to the log; the caller gets ours.

use std::time::Duration;

use shared::ErrorReason as Reason;
use shared::error::CallError;
use shared::request_context::deadline_passed;
use tonic::Code;

use crate::engine::EngineError;

/// What cut an answer off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The caller's deadline.
    Deadline,
    /// The engine sent nothing at all.
    FirstByte,
    /// The engine sent nothing more.
    Idle,
    /// The caller didn't read.
    SlowReader,
    /// The stream's longest life.
    Life,
    /// The process ends.
    Drain,
    /// The credential that pays for it was revoked, for this reason.
    Revoked(Reason),
}

/// How long a caller whose credential was revoked waits for the receipt: their answer is over within a second, also when the settle goes to
/// an auth-service that no longer answers.
const REVOKED_WAIT: Duration = Duration::from_millis(400);

impl Limit {
    /// How long the end of the answer waits for its receipt. `settle_wait`: what is configured.
    #[must_use]
    pub fn receipt_wait(self, settle_wait: Duration) -> Duration {
        match self {
            // A caller whose deadline has passed gets its error now.
            Self::Deadline => Duration::ZERO,
            Self::Revoked(_) => settle_wait.min(REVOKED_WAIT),
            Self::FirstByte | Self::Idle | Self::SlowReader | Self::Life | Self::Drain => settle_wait,
        }
    }
}

/// Why an answer ended without its last event.
#[derive(Debug, Clone)]
pub enum CallFailure {
    /// The engine failed.
    Engine(EngineError),
    /// We ended it.
    Limit(Limit),
}

impl From<&CallFailure> for CallError {
    fn from(failure: &CallFailure) -> Self {
        match failure {
            CallFailure::Engine(error) => error.into(),
            CallFailure::Limit(limit) => match limit {
                Limit::Deadline => deadline_passed(),
                Limit::FirstByte => {
                    Self::new(Code::DeadlineExceeded, Reason::UpstreamTimeout, "the model sent nothing in time; try again later")
                }
                Limit::Idle => {
                    Self::new(Code::DeadlineExceeded, Reason::UpstreamTimeout, "the model stopped sending in the middle of its answer")
                }
                Limit::SlowReader => {
                    Self::new(Code::Aborted, Reason::SlowReader, "the answer was not read for too long; read it as it comes")
                }
                Limit::Life => {
                    Self::new(Code::Aborted, Reason::StreamTooLong, "the answer took longer than a stream may live; ask for fewer tokens")
                }
                Limit::Drain => draining(),
                Limit::Revoked(reason) => revoked(*reason),
            },
        }
    }
}

/// The credential was revoked while the answer ran.
fn revoked(reason: Reason) -> CallError {
    let what = match reason {
        Reason::UserDisabled => "the user was disabled",
        Reason::AccountNotAllowed => "the membership of the account that pays ended",
        Reason::UserLocked => "the user was locked",
        _ => "the API key or session was revoked",
    };
    CallError::new(Code::PermissionDenied, reason, format!("{what} while the answer ran; what was generated until then is charged"))
}

/// The service is stopping.
pub fn draining() -> CallError {
    CallError::new(Code::Unavailable, Reason::Draining, "the service is stopping; call again, or another replica")
        .retry_after(Duration::from_secs(1))
}

impl From<&EngineError> for CallError {
    fn from(error: &EngineError) -> Self {
        match error {
            EngineError::ModelNotFound
            | EngineError::ModelIncapable { .. }
            | EngineError::NotSupported { .. }
            | EngineError::PromptTooLong
            | EngineError::Modelfile { .. }
            | EngineError::Busy => {}
            EngineError::Unreachable { .. }
            | EngineError::TimedOut { .. }
            | EngineError::Rejected { .. }
            | EngineError::ModelBroken { .. }
            | EngineError::Interrupted { .. }
            | EngineError::Protocol { .. } => tracing::warn!(%error, "the model server failed a call"),
        }
        match error {
            EngineError::Unreachable { .. } => {
                Self::new(Code::Unavailable, Reason::UpstreamUnavailable, "the model server can't be reached; try again later")
                    .retry_after(Duration::from_secs(2))
            }
            EngineError::Busy => Self::new(Code::Unavailable, Reason::UpstreamBusy, "the model server's queue is full; try again")
                .retry_after(Duration::from_secs(1)),
            EngineError::TimedOut { .. } => {
                Self::new(Code::DeadlineExceeded, Reason::UpstreamTimeout, "the model server sent nothing in time")
            }
            EngineError::Rejected { .. } => {
                let message =
                    "the model server refused the request as wrong; look at the options, the format's schema, the tools and the pictures";
                Self::new(Code::InvalidArgument, Reason::UpstreamRejected, message)
            }
            EngineError::ModelNotFound => {
                Self::new(Code::NotFound, Reason::ModelNotFound, "there is no such model; ListModels has those there are")
            }
            EngineError::ModelIncapable { capability } => {
                let message = format!("this model doesn't support {capability}; ShowModel has what a model can do");
                Self::new(Code::FailedPrecondition, Reason::ModelIncapable, message).metadata("capability", capability)
            }
            EngineError::ModelBroken { .. } => Self::new(
                Code::FailedPrecondition,
                Reason::ModelBroken,
                "the model can't be used at the moment; its operator must look at it",
            ),
            EngineError::NotSupported { feature } => {
                Self::new(Code::Unimplemented, Reason::NotSupported, format!("this server's engine doesn't support {feature}"))
                    .metadata("feature", feature)
            }
            EngineError::PromptTooLong => {
                let message = "the prompt is longer than the model's context; shorten it, or allow truncation";
                Self::new(Code::InvalidArgument, Reason::InvalidArgument, message)
            }
            EngineError::Interrupted { .. } => {
                Self::new(Code::Unavailable, Reason::UpstreamUnavailable, "the model server broke the answer off")
                    .retry_after(Duration::from_secs(1))
            }
            EngineError::Protocol { .. } => Self::new(Code::Internal, Reason::UpstreamProtocol, "the model server's answer was malformed"),
            EngineError::Modelfile { sentence } => Self::invalid_argument(sentence.clone()).violations([("modelfile", sentence.as_str())]),
        }
    }
}

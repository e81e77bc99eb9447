//! What can go wrong with a call.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use shared::ErrorReason;
use shared::error as details;
use tonic::{Code, Status};

use crate::proto::inference::Receipt;
use crate::service::Service;

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A URL, the credential or the account can't be used. Nothing was sent.
    #[error("{0}")]
    Configuration(String),
    /// No connection could be made. The request was not sent.
    #[error("{service} can't be reached at {url}: {cause}")]
    Unreachable {
        /// Which service.
        service: Service,
        /// Where it was looked for.
        url: String,
        /// What the operating system said.
        cause: String,
        /// The request's id, for chats.
        request_id: Option<String>,
    },
    /// The connection broke during the call. What became of the request is not known: send it again under the same request id, or ask
    /// for its receipt.
    #[error("the connection to {service} broke: {cause}")]
    Interrupted {
        /// Which service.
        service: Service,
        /// What broke.
        cause: String,
        /// The request's id, for chats.
        request_id: Option<String>,
    },
    /// The caller's own deadline passed, and the call was cancelled.
    #[error("{service} had not answered when the time limit passed")]
    TimedOut {
        /// Which service.
        service: Service,
        /// The request's id, for chats.
        request_id: Option<String>,
    },
    /// The service answered with an error.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// The client's session is no more: it was ended, its time is over, or its user may not come in. Nothing but another login helps.
    #[error("the session has ended: {0}")]
    SessionEnded(Box<Refusal>),
    /// The session can't be kept where it should be ([`crate::SessionStore`]).
    #[error("the session can't be kept: {0}")]
    SessionStore(String),
}

/// An error that a service answered with.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The gRPC code.
    pub code: Code,
    /// Why; `None` when the answer was not Tollgate's own, such as a proxy's, or has a reason that is newer than this library.
    pub reason: Option<ErrorReason>,
    /// A sentence for people.
    pub message: String,
    /// When the same call may succeed.
    pub retry_delay: Option<Duration>,
    /// What was charged, when the call failed after it had cost something.
    pub receipt: Option<Receipt>,
    /// The quotas that were hit: subjects and descriptions.
    pub quotas: Vec<(String, String)>,
    /// The request's id, for chats.
    pub request_id: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Some(reason) => write!(f, "{} ({})", self.message, details::reason_name(reason)),
            None => write!(f, "{} ({:?})", self.message, self.code),
        }
    }
}

impl std::error::Error for Refusal {}

impl Error {
    /// The error that a status stands for, of a call to this service.
    pub(crate) fn from_status(status: &Status, service: Service, url: &str, request_id: Option<&str>) -> Self {
        let request_id = request_id.map(str::to_owned);
        // A status that came from the service has no source; one that tonic made of a broken transport has.
        let mut cause = status.source();
        let mut innermost = None;
        let mut connecting = false;
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<Self>() {
                return error.clone().with_request_id(request_id);
            }
            if error.is::<tonic::TimeoutExpired>() {
                return Self::TimedOut { service, request_id };
            }
            connecting |= error.is::<tonic::ConnectError>();
            innermost = Some(error.to_string());
            cause = error.source();
        }
        match innermost {
            Some(cause) if connecting => Self::Unreachable { service, url: url.to_owned(), cause, request_id },
            Some(cause) => Self::Interrupted { service, cause, request_id },
            None => Self::Refused(Box::new(Refusal {
                code: status.code(),
                reason: details::reason_of(status),
                message: status.message().to_owned(),
                retry_delay: details::retry_delay_of(status),
                receipt: details::receipt_of(status),
                quotas: details::quota_of(status),
                request_id,
            })),
        }
    }

    /// The error of a call that failed because of what came before it, such as a refresh: the call itself was not sent, or did nothing.
    fn with_request_id(mut self, id: Option<String>) -> Self {
        match &mut self {
            Self::Configuration(_) | Self::SessionStore(_) => {}
            Self::Unreachable { request_id, .. } | Self::Interrupted { request_id, .. } | Self::TimedOut { request_id, .. } => {
                *request_id = id
            }
            Self::Refused(refusal) | Self::SessionEnded(refusal) => refusal.request_id = id,
        }
        self
    }

    /// What the service answered, when it answered.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        if let Self::Refused(refusal) | Self::SessionEnded(refusal) = self { Some(refusal) } else { None }
    }

    /// The gRPC code that fits best.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Configuration(_) => Code::InvalidArgument,
            Self::Unreachable { .. } | Self::Interrupted { .. } => Code::Unavailable,
            Self::TimedOut { .. } => Code::DeadlineExceeded,
            Self::SessionStore(_) => Code::FailedPrecondition,
            Self::Refused(refusal) | Self::SessionEnded(refusal) => refusal.code,
        }
    }

    /// Why the service refused, in one of Tollgate's own reasons.
    #[must_use]
    pub fn reason(&self) -> Option<ErrorReason> {
        self.refusal().and_then(|refusal| refusal.reason)
    }

    /// When the same call may succeed, if the service said so.
    #[must_use]
    pub fn retry_delay(&self) -> Option<Duration> {
        self.refusal().and_then(|refusal| refusal.retry_delay)
    }

    /// What was charged, when the call failed after it had cost something.
    #[must_use]
    pub fn receipt(&self) -> Option<&Receipt> {
        self.refusal().and_then(|refusal| refusal.receipt.as_ref())
    }

    /// The id of the request that failed, for chats: the key to [`crate::Client::receipt`] and to a repetition that is charged once.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Configuration(_) | Self::SessionStore(_) => None,
            Self::Unreachable { request_id, .. } | Self::Interrupted { request_id, .. } | Self::TimedOut { request_id, .. } => {
                request_id.as_deref()
            }
            Self::Refused(refusal) | Self::SessionEnded(refusal) => refusal.request_id.as_deref(),
        }
    }

    /// Whether the same call may succeed later, unchanged. A chat should be repeated under the same request id.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Interrupted { .. } => true,
            Self::Configuration(_) | Self::TimedOut { .. } | Self::SessionEnded(_) | Self::SessionStore(_) => false,
            Self::Refused(refusal) => refusal.retry_delay.is_some() || refusal.code == Code::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::error::CallError;

    use super::*;

    fn error(status: impl Into<Status>) -> Error {
        Error::from_status(&status.into(), Service::Inference, "http://127.0.0.1:50052", Some("r1"))
    }

    #[test]
    fn a_refusal_keeps_reason_retry_delay_receipt_and_request_id() {
        let receipt = Receipt { charged_credits: Some(1), remaining_credits: Some(8), ledger_entry_id: "2".to_owned() };
        let sent = CallError::new(Code::Unavailable, ErrorReason::UpstreamUnavailable, "the model server broke");
        let error = error(sent.retry_after(Duration::from_secs(2)).receipt(&receipt));
        assert_eq!(error.reason(), Some(ErrorReason::UpstreamUnavailable));
        assert_eq!(error.code(), Code::Unavailable);
        assert_eq!(error.retry_delay(), Some(Duration::from_secs(2)));
        assert_eq!(error.receipt(), Some(&receipt));
        assert_eq!(error.request_id(), Some("r1"));
        assert_eq!(error.to_string(), "the model server broke (UPSTREAM_UNAVAILABLE)");
        assert!(error.is_retryable());
    }

    #[test]
    fn an_answer_of_somebody_else_has_a_code_and_no_reason() {
        let error = error(Status::not_found("no route"));
        assert_eq!((error.reason(), error.code()), (None, Code::NotFound));
        assert_eq!(error.to_string(), "no route (NotFound)");
        assert!(!error.is_retryable());
    }

    #[test]
    fn what_ends_a_session_is_told_from_a_refusal_and_keeps_its_reason_on_the_way_through_a_call() {
        let ended = CallError::new(Code::Unauthenticated, ErrorReason::RefreshTokenReused, "it was used before");
        let Error::Refused(refusal) = error(ended) else { panic!("a refusal") };
        let beneath: Box<dyn std::error::Error + Send + Sync> = Box::new(Error::SessionEnded(refusal));
        let error = error(Status::from_error(beneath));
        assert!(matches!(error, Error::SessionEnded(_)), "{error:?}");
        assert_eq!((error.reason(), error.code()), (Some(ErrorReason::RefreshTokenReused), Code::Unauthenticated));
        assert_eq!((error.request_id(), error.is_retryable()), (Some("r1"), false));
        assert_eq!(error.to_string(), "the session has ended: it was used before (REFRESH_TOKEN_REUSED)");
    }

    #[test]
    fn insufficient_credits_is_not_worth_a_retry() {
        let sent = CallError::new(Code::ResourceExhausted, ErrorReason::InsufficientCredits, "none left").quota("account:a", "credits");
        let error = error(sent);
        assert!(!error.is_retryable());
        assert_eq!(error.refusal().unwrap().quotas, [("account:a".to_owned(), "credits".to_owned())]);
    }
}

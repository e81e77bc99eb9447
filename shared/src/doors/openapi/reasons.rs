//! Every reason of the contract, as its proto explains it: what it means, its gRPC code, and who answers it.

use tonic::Code;

use super::descriptors::Descriptors;
use crate::ErrorReason;

/// The names of gRPC's codes, and Connect's names of the same.
const CODES: [(Code, &str, &str); 16] = [
    (Code::Cancelled, "CANCELLED", "canceled"),
    (Code::Unknown, "UNKNOWN", "unknown"),
    (Code::InvalidArgument, "INVALID_ARGUMENT", "invalid_argument"),
    (Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "deadline_exceeded"),
    (Code::NotFound, "NOT_FOUND", "not_found"),
    (Code::AlreadyExists, "ALREADY_EXISTS", "already_exists"),
    (Code::PermissionDenied, "PERMISSION_DENIED", "permission_denied"),
    (Code::ResourceExhausted, "RESOURCE_EXHAUSTED", "resource_exhausted"),
    (Code::FailedPrecondition, "FAILED_PRECONDITION", "failed_precondition"),
    (Code::Aborted, "ABORTED", "aborted"),
    (Code::OutOfRange, "OUT_OF_RANGE", "out_of_range"),
    (Code::Unimplemented, "UNIMPLEMENTED", "unimplemented"),
    (Code::Internal, "INTERNAL", "internal"),
    (Code::Unavailable, "UNAVAILABLE", "unavailable"),
    (Code::DataLoss, "DATA_LOSS", "data_loss"),
    (Code::Unauthenticated, "UNAUTHENTICATED", "unauthenticated"),
];

/// A reason, as its proto explains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedReason {
    /// The reason.
    pub reason: ErrorReason,
    /// The gRPC code that it comes with.
    pub code: Code,
    /// What it means, in a sentence.
    pub meaning: String,
}

/// A code's name in Connect.
#[must_use]
pub fn connect_code(code: Code) -> &'static str {
    CODES.iter().find(|(each, ..)| *each == code).map_or("unknown", |(.., name)| name)
}

/// Connect's names of all codes.
pub(super) fn connect_codes() -> impl Iterator<Item = &'static str> {
    CODES.iter().map(|(.., name)| *name)
}

/// All reasons that are sent, in the order of the proto.
#[must_use]
pub fn explained_reasons() -> Vec<ExplainedReason> {
    let descriptors = Descriptors::read();
    let Some(reasons) = descriptors.enums.get(REASONS) else { return Vec::new() };
    let explained = reasons.value.iter().filter_map(|value| {
        let reason = ErrorReason::try_from(value.number()).ok()?;
        let (code, meaning) = descriptors.comment(&format!("{REASONS}.{}", value.name())).split_once(": ")?;
        let (code, ..) = *CODES.iter().find(|(_, name, _)| *name == code)?;
        Some(ExplainedReason { reason, code, meaning: meaning.to_owned() })
    });
    explained.collect()
}

const REASONS: &str = "tollgate.error.v1.ErrorReason";

/// Which of the two services it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answerer {
    /// auth-service.
    Auth,
    /// inference-service.
    Inference,
}

/// By which way a refusal comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Both services, on every door.
    Everywhere,
    /// auth-service, on every door.
    Auth,
    /// inference-service, on every door.
    Inference,
    /// auth-service's gRPC methods, also by Connect.
    AuthMethods,
    /// What no door answers.
    Nowhere,
}

fn way(reason: ErrorReason) -> Way {
    match reason {
        ErrorReason::Unspecified | ErrorReason::ServiceUnknown | ErrorReason::Cancelled => Way::Nowhere,
        ErrorReason::InvalidArgument
        | ErrorReason::CredentialMissing
        | ErrorReason::CredentialInvalid
        | ErrorReason::CredentialExpired
        | ErrorReason::CredentialRevoked
        | ErrorReason::UserDisabled
        | ErrorReason::ScopeRequired
        | ErrorReason::AccountNotAllowed
        | ErrorReason::RateLimited
        | ErrorReason::StoreUnavailable
        | ErrorReason::StoreFull
        | ErrorReason::StoreReadOnly
        | ErrorReason::StoreMisconfigured
        | ErrorReason::DeadlineExceeded
        | ErrorReason::Draining
        | ErrorReason::NotSupported
        | ErrorReason::Internal
        | ErrorReason::MessageTooLarge
        | ErrorReason::MessageMalformed
        | ErrorReason::MessageTooSlow
        | ErrorReason::ServerBusy
        | ErrorReason::MethodUnknown
        | ErrorReason::CompressionUnknown => Way::Everywhere,
        ErrorReason::LoginFailed => Way::Auth,
        ErrorReason::AccessTokenRequired
        | ErrorReason::SignUpClosed
        | ErrorReason::HoldNotFound
        | ErrorReason::HoldResolved
        | ErrorReason::UserNameTaken
        | ErrorReason::UserNotFound
        | ErrorReason::ApiKeyNotFound
        | ErrorReason::RequestNotFound
        | ErrorReason::LimitReached
        | ErrorReason::ServiceCredentialInvalid => Way::AuthMethods,
        ErrorReason::RoleRequired
        | ErrorReason::ModelNotAllowed
        | ErrorReason::InsufficientCredits
        | ErrorReason::RequestInProgress
        | ErrorReason::RequestIdReused
        | ErrorReason::RequestResolved
        | ErrorReason::SweepInProgress
        | ErrorReason::TooManyOpenHolds
        | ErrorReason::AuthUnavailable
        | ErrorReason::UpstreamUnavailable
        | ErrorReason::UpstreamBusy
        | ErrorReason::UpstreamTimeout
        | ErrorReason::UpstreamProtocol
        | ErrorReason::UpstreamRejected
        | ErrorReason::ModelNotFound
        | ErrorReason::ModelIncapable
        | ErrorReason::ModelBroken
        | ErrorReason::CloudModelNotAllowed
        | ErrorReason::SlowReader
        | ErrorReason::StreamTooLong
        | ErrorReason::NotImplemented => Way::Inference,
    }
}

/// Whether a service's HTTP doors answer a reason.
#[must_use]
pub fn is_answered(reason: ErrorReason, by: Answerer) -> bool {
    match way(reason) {
        Way::Everywhere => true,
        Way::Auth => by == Answerer::Auth,
        Way::Inference => by == Answerer::Inference,
        Way::AuthMethods | Way::Nowhere => false,
    }
}

/// Whether a reason is about the credential that a call shows.
pub(super) fn is_about_credential(reason: ErrorReason) -> bool {
    matches!(
        reason,
        ErrorReason::CredentialMissing
            | ErrorReason::CredentialInvalid
            | ErrorReason::CredentialExpired
            | ErrorReason::CredentialRevoked
            | ErrorReason::UserDisabled
            | ErrorReason::ScopeRequired
            | ErrorReason::AccountNotAllowed
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_but_the_one_that_is_never_sent_is_explained_with_its_code() {
        let explained = explained_reasons();
        let all = (1..200).filter_map(|number| ErrorReason::try_from(number).ok());
        for reason in all {
            assert!(explained.iter().any(|each| each.reason == reason), "{reason:?}: the comment must be `CODE: what it means`");
        }
        let credits = explained.iter().find(|each| each.reason == ErrorReason::InsufficientCredits).unwrap();
        assert_eq!((credits.code, connect_code(credits.code)), (Code::ResourceExhausted, "resource_exhausted"));
        assert!(credits.meaning.starts_with("fewer credits are available"), "{credits:?}");
    }
}

//! Every reason of the contract, as its proto explains it: what it means, its gRPC code, and who answers it.

use std::sync::LazyLock;

use http::StatusCode;
use tonic::Code;

use super::descriptors::Descriptors;
use crate::ErrorReason;
use crate::doors::connect;

/// gRPC's codes by their names.
const CODES: [(Code, &str); 16] = [
    (Code::Cancelled, "CANCELLED"),
    (Code::Unknown, "UNKNOWN"),
    (Code::InvalidArgument, "INVALID_ARGUMENT"),
    (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (Code::NotFound, "NOT_FOUND"),
    (Code::AlreadyExists, "ALREADY_EXISTS"),
    (Code::PermissionDenied, "PERMISSION_DENIED"),
    (Code::ResourceExhausted, "RESOURCE_EXHAUSTED"),
    (Code::FailedPrecondition, "FAILED_PRECONDITION"),
    (Code::Aborted, "ABORTED"),
    (Code::OutOfRange, "OUT_OF_RANGE"),
    (Code::Unimplemented, "UNIMPLEMENTED"),
    (Code::Internal, "INTERNAL"),
    (Code::Unavailable, "UNAVAILABLE"),
    (Code::DataLoss, "DATA_LOSS"),
    (Code::Unauthenticated, "UNAUTHENTICATED"),
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

/// How Connect tells a reason: its name of the code, and HTTP's status, which follows from the code alone there.
#[must_use]
pub fn told_by_connect(explained: &ExplainedReason) -> (&'static str, StatusCode) {
    (connect::code_name(explained.code), connect::status_of(explained.code, Some(explained.reason)))
}

/// Connect's names of all codes.
pub(super) fn connect_codes() -> impl Iterator<Item = &'static str> {
    CODES.iter().map(|(code, _)| connect::code_name(*code))
}

/// All reasons that are sent, in the order of the proto.
#[must_use]
pub fn explained_reasons() -> Vec<ExplainedReason> {
    let descriptors = Descriptors::read();
    let Some(reasons) = descriptors.enums.get(REASONS) else { return Vec::new() };
    let explained = reasons.value.iter().filter_map(|value| {
        let reason = ErrorReason::try_from(value.number()).ok()?;
        let (code, meaning) = descriptors.comment(&format!("{REASONS}.{}", value.name())).split_once(": ")?;
        let (code, _) = *CODES.iter().find(|(_, name)| *name == code)?;
        Some(ExplainedReason { reason, code, meaning: meaning.to_owned() })
    });
    explained.collect()
}

/// The gRPC code that a reason comes with.
pub(in crate::doors) fn code_of(reason: ErrorReason) -> Option<Code> {
    static CODE_OF: LazyLock<Vec<(ErrorReason, Code)>> =
        LazyLock::new(|| explained_reasons().iter().map(|explained| (explained.reason, explained.code)).collect());
    CODE_OF.iter().find(|(each, _)| *each == reason).map(|(_, code)| *code)
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
    /// inference-service, on every door.
    Inference,
    /// The same, and methods of auth-service: what it decides for the other.
    InferenceAndAuthMethods,
    /// Methods of gRPC, also by Connect, and what a door says of itself alone.
    AuthMethods,
    /// What a door of auth-service says of itself alone, and no method.
    AuthDoor,
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
        | ErrorReason::NetworkNotAllowed
        | ErrorReason::ScopeRequired
        | ErrorReason::AccountNotAllowed
        | ErrorReason::RateLimited
        | ErrorReason::StoreUnavailable
        | ErrorReason::StoreFull
        | ErrorReason::StoreReadOnly
        | ErrorReason::StoreMisconfigured
        | ErrorReason::DeadlineExceeded
        | ErrorReason::Draining
        | ErrorReason::Internal
        | ErrorReason::MessageTooLarge
        | ErrorReason::MessageMalformed
        | ErrorReason::MessageTooSlow
        | ErrorReason::ServerBusy
        | ErrorReason::MethodUnknown
        | ErrorReason::CompressionUnknown => Way::Everywhere,
        ErrorReason::LoginFailed
        | ErrorReason::RefreshTokenReused
        | ErrorReason::SessionNotFound
        | ErrorReason::OtherOperatorRequired
        | ErrorReason::AccessTokenRequired
        | ErrorReason::SignUpClosed
        | ErrorReason::HoldNotFound
        | ErrorReason::HoldResolved
        | ErrorReason::UserNameTaken
        | ErrorReason::UserNotFound
        | ErrorReason::ApiKeyNotFound
        | ErrorReason::RequestNotFound
        | ErrorReason::LimitReached
        | ErrorReason::ServiceCredentialInvalid
        | ErrorReason::OrganizationNotFound
        | ErrorReason::OwnerRequired
        | ErrorReason::LastOwner
        | ErrorReason::MemberNotFound
        | ErrorReason::AlreadyAMember
        | ErrorReason::NameTaken
        | ErrorReason::InvitationInvalid
        | ErrorReason::SecondFactorRequired
        | ErrorReason::SecondFactorInvalid
        | ErrorReason::SecondFactorNotSetUp
        | ErrorReason::SecondFactorSetUp
        | ErrorReason::IssuerUnknown
        | ErrorReason::IssuerUnavailable
        | ErrorReason::IdTokenInvalid
        | ErrorReason::SignInExpired
        | ErrorReason::IdentityLinked
        | ErrorReason::IdentityNotFound
        | ErrorReason::LastSignInMethod
        | ErrorReason::AuthorizationPending
        | ErrorReason::SlowDown
        | ErrorReason::DeviceSignInDenied
        | ErrorReason::DeviceCodeExpired
        | ErrorReason::UserCodeUnknown
        | ErrorReason::NoPassword
        | ErrorReason::RecentSignInRequired => Way::AuthMethods,
        ErrorReason::CrossOriginRequest => Way::AuthDoor,
        ErrorReason::RoleRequired
        // Of a foreign issuer's token.
        | ErrorReason::PasswordChangeRequired
        // And in mid-answer.
        | ErrorReason::UserLocked
        | ErrorReason::ModelNotAllowed
        | ErrorReason::InsufficientCredits
        | ErrorReason::RequestInProgress
        | ErrorReason::RequestIdReused
        | ErrorReason::SweepInProgress
        | ErrorReason::TooManyOpenHolds
        | ErrorReason::StepUpRequired
        | ErrorReason::NotImplemented => Way::InferenceAndAuthMethods,
        ErrorReason::RequestResolved
        | ErrorReason::MemberCapReached
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
        | ErrorReason::NotSupported => Way::Inference,
    }
}

/// Whether a service's HTTP doors answer a reason.
#[must_use]
pub fn is_answered(reason: ErrorReason, by: Answerer) -> bool {
    match way(reason) {
        Way::Everywhere => true,
        Way::Inference | Way::InferenceAndAuthMethods => by == Answerer::Inference,
        Way::AuthMethods | Way::AuthDoor | Way::Nowhere => false,
    }
}

/// Whether a service's methods answer a reason, over gRPC and over Connect.
pub(super) fn is_answered_by_methods(reason: ErrorReason, by: Answerer) -> bool {
    is_answered(reason, by) || (matches!(way(reason), Way::AuthMethods | Way::InferenceAndAuthMethods) && by == Answerer::Auth)
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
            | ErrorReason::NetworkNotAllowed
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
        assert_eq!(credits.code, Code::ResourceExhausted);
        assert_eq!(told_by_connect(credits), ("resource_exhausted", StatusCode::TOO_MANY_REQUESTS));
        assert!(credits.meaning.starts_with("fewer credits are available"), "{credits:?}");
    }
}

//! What a failed Check means: for the hold that it may have made, and for the caller.

use std::time::Duration;

use shared::ErrorReason;
use shared::error::{CallError, reason_of};
use tonic::{Code, Status};

use super::auth_urls::AuthUrls;

/// Whether the same Check may succeed soon: nobody answered, or the answer says so. Every other answer of auth-service's is final.
pub(super) fn is_retryable(status: &Status) -> bool {
    reason_of(status).is_none_or(|reason| reason == ErrorReason::SweepInProgress)
}

/// Whether a Check that failed so may have held credits all the same: nobody answered, or auth-service can't say what its store did. A
/// store that is full or read-only refuses before it writes; one that doesn't permit what a script does may refuse in the middle of it.
pub(super) fn may_have_held(status: &Status) -> bool {
    match reason_of(status) {
        None | Some(ErrorReason::StoreUnavailable | ErrorReason::StoreMisconfigured | ErrorReason::DeadlineExceeded) => true,
        Some(_) => false,
    }
}

/// What a caller is told of a refusal: auth-service's own words where they are about the caller, ours where they are about this service.
/// `asked`: where, for the log.
pub(super) fn refusal(status: &Status, asked: &AuthUrls) -> CallError {
    let Some(reason) = reason_of(status).filter(|reason| *reason != ErrorReason::DeadlineExceeded) else {
        // The text of a failed connection names addresses: it goes to the log alone.
        tracing::warn!(%asked, code = ?status.code(), why = status.message(), "auth-service can't be reached");
        return CallError::new(
            Code::Unavailable,
            ErrorReason::AuthUnavailable,
            "auth-service can't be reached; nothing was charged. Try again",
        )
        .retry_after(Duration::from_secs(1));
    };
    // A caller without a credential was refused before: what is missing is ours.
    if matches!(reason, ErrorReason::ServiceCredentialInvalid | ErrorReason::CredentialMissing) {
        let why = status.message();
        tracing::error!(%asked, ?reason, why, "auth-service refuses this service: check TOLLGATE_SERVICE_CREDENTIAL or its certificate");
        return CallError::new(
            Code::Unavailable,
            ErrorReason::AuthUnavailable,
            "this service isn't let in by auth-service; its operator must look at it",
        );
    }
    let mut error = CallError::new(status.code(), reason, status.message());
    if let Some(delay) = shared::error::retry_delay_of(status) {
        error = error.retry_after(delay);
    }
    for (subject, description) in shared::error::quota_of(status) {
        error = error.quota(subject, description);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_refused_before_it_wrote_has_held_nothing_and_one_that_can_not_say_may_have() {
        let of = |reason| may_have_held(&CallError::new(Code::Unavailable, reason, "no").into());
        for reason in [ErrorReason::StoreUnavailable, ErrorReason::StoreMisconfigured, ErrorReason::DeadlineExceeded] {
            assert!(of(reason), "{reason:?}");
        }
        for reason in [ErrorReason::StoreFull, ErrorReason::StoreReadOnly, ErrorReason::InsufficientCredits, ErrorReason::SweepInProgress] {
            assert!(!of(reason), "{reason:?}");
        }
        // The connection broke, or somebody else answered.
        assert!(may_have_held(&Status::unavailable("connecting")));
    }
}

//! What each reason is as a gRPC status: its code, its words, and when to come again.

use std::time::Duration;

use shared::ErrorReason;
use shared::error::CallError;
use shared::ledger::credits;
use tonic::Code;

use super::ServiceError;
use crate::access_token::AccessTokenError;
use crate::credential::CredentialError;
use crate::foreign_issuer::ForeignTokenError;
use crate::identity::MAX_IDENTITIES;
use crate::keyring::{MAX_LIVE_API_KEYS, MAX_LIVE_SECRETS};
use crate::password::{HashingError, retry_when_busy};
use crate::service::organization_refusal;
use crate::service::violations::sentence;
use crate::session::RefreshRefusal;
use crate::store::{KeyRefusal, Refusal, StoreError};

/// When what is short by design may be there again: a hold that is due, a request in progress.
const RETRY_SOON: Duration = Duration::from_millis(200);
/// When a full account may have room again.
const RETRY_LATER: Duration = Duration::from_secs(5);

fn unauthenticated(reason: ErrorReason, message: impl Into<String>) -> CallError {
    CallError::new(Code::Unauthenticated, reason, message)
}

fn denied(reason: ErrorReason, message: impl Into<String>) -> CallError {
    CallError::new(Code::PermissionDenied, reason, message)
}

fn exhausted(reason: ErrorReason, message: impl Into<String>) -> CallError {
    CallError::new(Code::ResourceExhausted, reason, message)
}

/// How long a caller is told to wait: whole seconds, upwards, so that who waits as told is let through.
fn told(retry_after: Duration) -> Duration {
    Duration::from_secs(retry_after.as_secs() + 1)
}

pub(super) fn call_error(error: ServiceError) -> CallError {
    match error {
        ServiceError::Fields(violations) => {
            let first = violations.first().map(|violation| violation.field.to_string()).unwrap_or_default();
            CallError::invalid_argument(sentence(&violations))
                .metadata("field", first)
                .violations(violations.iter().map(|violation| (&*violation.field, violation.expected.as_str())))
        }
        ServiceError::Credential(error) => credential_error(error),
        ServiceError::ServiceCredentialMissing => unauthenticated(
            ErrorReason::CredentialMissing,
            "this service answers services: send `authorization: Bearer <service credential>`",
        ),
        ServiceError::Store(refusal) => store_refusal(refusal),
        ServiceError::Revoked(refusal) => revoked(refusal),
        ServiceError::Stopping => {
            CallError::new(Code::Unavailable, ErrorReason::Draining, "the service is stopping; call again, or another replica")
                .retry_after(RETRY_SOON)
        }
        ServiceError::StoreFailed(error) => store_failure(&error),
        ServiceError::KeyForbidden(refusal) => key_refusal(refusal),
        ServiceError::AccessTokenRequired => {
            let message = "this needs an access token from Accounts.Login; an API key, or a foreign issuer's token, was sent";
            denied(ErrorReason::AccessTokenRequired, message)
        }
        ServiceError::LoginFailed => unauthenticated(ErrorReason::LoginFailed, "user name and password don't match an enabled user"),
        ServiceError::Refresh(refusal) => refresh_refusal(refusal),
        ServiceError::PasswordChangeRequired => CallError::new(
            Code::FailedPrecondition,
            ErrorReason::PasswordChangeRequired,
            "an operator reset the password: choose a new one with Accounts.CompletePasswordReset",
        ),
        ServiceError::SecondFactorRequired => {
            let message = "the password is right, and a second factor is set up: send second_factor_code with it, six digits of the app or \
                           a recovery code";
            unauthenticated(ErrorReason::SecondFactorRequired, message)
        }
        ServiceError::SecondFactorInvalid => {
            let message = "the code of the second factor is wrong, past its time or was used before; wait for the app's next one";
            unauthenticated(ErrorReason::SecondFactorInvalid, message)
        }
        ServiceError::SecondFactorNotSetUp => CallError::new(
            Code::FailedPrecondition,
            ErrorReason::SecondFactorNotSetUp,
            "no second factor is set up, or none waits to be confirmed: call BeginTotp, and within 15 minutes ConfirmTotp",
        ),
        ServiceError::SecondFactorSetUp => CallError::new(
            Code::AlreadyExists,
            ErrorReason::SecondFactorSetUp,
            "a second factor is set up already: remove it first, with RemoveTotp",
        ),
        ServiceError::RecentSignInRequired => {
            let message = "this needs a session that began, or proved its second factor, within the last 15 minutes: sign in again";
            denied(ErrorReason::RecentSignInRequired, message)
        }
        ServiceError::SessionNotFound => {
            CallError::new(Code::NotFound, ErrorReason::SessionNotFound, "the user has no such session; it may be over")
        }
        ServiceError::Throttled { retry_after } => {
            let wait = told(retry_after);
            exhausted(ErrorReason::RateLimited, format!("too many attempts; try again in {} s", wait.as_secs())).retry_after(wait)
        }
        ServiceError::Crowded { retry_after } => {
            let wait = told(retry_after);
            let message = format!("too many log in at once from this network, or under this name; try again in {} s", wait.as_secs());
            exhausted(ErrorReason::RateLimited, message).retry_after(wait)
        }
        ServiceError::Hashing(HashingError::Busy) => {
            exhausted(ErrorReason::RateLimited, "too many people log in or sign up at once; try again").retry_after(retry_when_busy())
        }
        ServiceError::Hashing(HashingError::Broken(what)) => {
            tracing::error!(what, "hashing broke");
            CallError::internal()
        }
        ServiceError::SignUpClosed => denied(ErrorReason::SignUpClosed, "sign-up is closed on this server; an operator makes users"),
        ServiceError::UserNameTaken => {
            CallError::new(Code::AlreadyExists, ErrorReason::UserNameTaken, "the user name is taken; take another")
        }
        ServiceError::UserNameInProgress { retry_after } => {
            let wait = told(retry_after);
            let message = "a user of that name is being made, or the making of one broke off; try again when told";
            CallError::new(Code::Aborted, ErrorReason::RequestInProgress, message).retry_after(wait)
        }
        ServiceError::UserNotFound => CallError::new(Code::NotFound, ErrorReason::UserNotFound, "no user of that name"),
        ServiceError::ApiKeyNotFound => {
            CallError::new(Code::NotFound, ErrorReason::ApiKeyNotFound, "no such API key, or secret of it, in this account")
        }
        ServiceError::TooManyApiKeys => exhausted(
            ErrorReason::LimitReached,
            format!("{MAX_LIVE_API_KEYS} API keys of yours are in force on the account, as many as may be; revoke one, or let one end"),
        )
        .quota("api_keys", format!("{MAX_LIVE_API_KEYS} an account")),
        ServiceError::ApiKeyEnded => CallError::new(
            Code::NotFound,
            ErrorReason::ApiKeyNotFound,
            "the API key, or the secret that this request_id made, was revoked or is past its time; make a new one with a new request_id",
        ),
        ServiceError::TooManySecrets => exhausted(
            ErrorReason::LimitReached,
            format!("the API key has {MAX_LIVE_SECRETS} secrets in force, as many as it may; revoke one, or rotate without a grace period"),
        )
        .quota("api_key_secrets", format!("{MAX_LIVE_SECRETS} an API key")),
        ServiceError::KeyRequestIdReused => CallError::new(
            Code::InvalidArgument,
            ErrorReason::RequestIdReused,
            "request_id was used before for an API key or a rotation with other fields; take a new one",
        ),
        ServiceError::RequestNotFound => CallError::new(
            Code::NotFound,
            ErrorReason::RequestNotFound,
            "nothing of that request id is remembered: it was never paid for, or it is forgotten; the ledger keeps charges for good",
        ),
        ServiceError::HoldNotFound => {
            CallError::new(Code::NotFound, ErrorReason::HoldNotFound, "no such hold; it was never made, or is forgotten")
        }
        ServiceError::HoldResolved => CallError::new(Code::FailedPrecondition, ErrorReason::HoldResolved, "the hold is resolved already"),
        ServiceError::GrantRequestIdReused => CallError::new(
            Code::InvalidArgument,
            ErrorReason::RequestIdReused,
            "request_id was used before for a grant of another amount; take a new one",
        ),
        ServiceError::TooManyCredits => {
            exhausted(ErrorReason::LimitReached, "the account would hold more than 10^12 credits").quota("credits", "10^12 an account")
        }
        ServiceError::IssuerUnknown => CallError::new(
            Code::NotFound,
            ErrorReason::IssuerUnknown,
            "no such issuer is configured; ListSignInIssuers has those there are",
        ),
        ServiceError::IssuerUnavailable { issuer, retry_after } => {
            let message =
                format!("the issuer {issuer:?} can't be reached, or answers what can't be used; try again, or sign in another way");
            CallError::new(Code::Unavailable, ErrorReason::IssuerUnavailable, message).retry_after(retry_after)
        }
        ServiceError::IdTokenInvalid(why) => unauthenticated(ErrorReason::IdTokenInvalid, why),
        ServiceError::SignInExpired => {
            let message = "the sign-in was begun too long ago, or elsewhere, or by somebody else; begin again";
            CallError::new(Code::FailedPrecondition, ErrorReason::SignInExpired, message)
        }
        ServiceError::IdentityLinked => {
            let message = "the identity signs a user in already, or the user has one of this issuer; unlink that first";
            CallError::new(Code::AlreadyExists, ErrorReason::IdentityLinked, message)
        }
        ServiceError::TooManyIdentities => {
            exhausted(ErrorReason::LimitReached, format!("the user has {MAX_IDENTITIES} identities, as many as they may; unlink one"))
                .quota("identities", format!("{MAX_IDENTITIES} a user"))
        }
        ServiceError::IdentityNotFound => {
            CallError::new(Code::NotFound, ErrorReason::IdentityNotFound, "the user has no such identity; ListIdentities has them")
        }
        ServiceError::LastSignInMethod => CallError::new(
            Code::FailedPrecondition,
            ErrorReason::LastSignInMethod,
            "the user would have no way left to sign in; link another identity first, or have an operator reset the password",
        ),
        ServiceError::NoPassword => CallError::new(
            Code::FailedPrecondition,
            ErrorReason::NoPassword,
            "the user signs in with an issuer, and has no password; an operator's ResetPassword gives one",
        ),
        ServiceError::Organization(refusal) => organization_refusal::call_error(refusal),
        ServiceError::Device(refusal) => refusal.into(),
        ServiceError::NotBuilt(method) => CallError::not_implemented(method),
        ServiceError::Defect(what) => {
            tracing::error!(what, "a defect");
            CallError::internal()
        }
    }
}

/// The credential was good when the hold was made: it isn't this call that isn't authenticated.
fn revoked(refusal: Refusal) -> CallError {
    match refusal {
        Refusal::CredentialRevoked => denied(ErrorReason::CredentialRevoked, "the credential was revoked since; settle the hold"),
        refusal => store_refusal(refusal),
    }
}

fn key_refusal(refusal: KeyRefusal) -> CallError {
    match refusal {
        KeyRefusal::OwnerRequired => denied(ErrorReason::OwnerRequired, "owners of the organization make keys of its service accounts"),
        KeyRefusal::NoSuchServiceAccount => CallError::new(
            Code::NotFound,
            ErrorReason::MemberNotFound,
            "the account has no such service account; x-tollgate-account names the organization that it belongs to",
        ),
        KeyRefusal::OfAnotherMember => denied(
            ErrorReason::AccountNotAllowed,
            "the API key is another member's, who alone may have another secret of it; an owner may revoke it",
        ),
    }
}

fn refresh_refusal(refusal: RefreshRefusal) -> CallError {
    match refusal {
        RefreshRefusal::UserDisabled => store_refusal(Refusal::UserDisabled),
        RefreshRefusal::UserLocked => store_refusal(Refusal::UserLocked),
        RefreshRefusal::PasswordChangeRequired => call_error(ServiceError::PasswordChangeRequired),
        RefreshRefusal::Revoked => unauthenticated(ErrorReason::CredentialRevoked, "the session is ended; log in again"),
        RefreshRefusal::Expired => unauthenticated(ErrorReason::CredentialExpired, "the session is past its time; log in again"),
        RefreshRefusal::Invalid => {
            unauthenticated(ErrorReason::CredentialInvalid, "this is no refresh token of this server, or it is mistyped or cut")
        }
        RefreshRefusal::Reused => unauthenticated(
            ErrorReason::RefreshTokenReused,
            "the refresh token was used before, so somebody else may have it: the session is ended; log in again",
        ),
    }
}

fn credential_error(error: CredentialError) -> CallError {
    let message = error.to_string();
    match error {
        CredentialError::Store(error) => store_failure(&error),
        CredentialError::ForeignToken(ForeignTokenError::KeysUnavailable(_)) => {
            CallError::new(Code::Unavailable, ErrorReason::AuthUnavailable, message).retry_after(RETRY_LATER)
        }
        CredentialError::ForeignToken(_) => unauthenticated(ErrorReason::CredentialInvalid, message),
        CredentialError::Form(form) => form.into(),
        CredentialError::AccessToken(AccessTokenError::Invalid | AccessTokenError::NotYetValid { .. }) => {
            unauthenticated(ErrorReason::CredentialInvalid, message)
        }
        CredentialError::AccessToken(AccessTokenError::Expired { .. }) => {
            unauthenticated(ErrorReason::CredentialExpired, format!("{message}; log in again"))
        }
        CredentialError::AccountMalformed => CallError::invalid_argument(message),
        CredentialError::AccountOfAnotherKey => denied(ErrorReason::AccountNotAllowed, message),
    }
}

fn store_refusal(refusal: Refusal) -> CallError {
    match refusal {
        Refusal::CredentialUnknown => unauthenticated(ErrorReason::CredentialInvalid, "the credential is unknown"),
        Refusal::CredentialExpired => {
            unauthenticated(ErrorReason::CredentialExpired, "the API key or the session is past its time; make a new one, or log in again")
        }
        Refusal::CredentialRevoked => {
            unauthenticated(ErrorReason::CredentialRevoked, "the credential was revoked; log in again, or make a new API key")
        }
        Refusal::UserDisabled => denied(ErrorReason::UserDisabled, "the user is disabled; an operator can enable the user again"),
        Refusal::UserLocked => denied(ErrorReason::UserLocked, "the user is locked; an operator can unlock the user"),
        Refusal::PasswordChangeRequired => call_error(ServiceError::PasswordChangeRequired),
        Refusal::OtherOperatorRequired => CallError::new(
            Code::FailedPrecondition,
            ErrorReason::OtherOperatorRequired,
            "operators disable and lock others, and not themselves, so that one is always left: ask another operator; one is made with \
             Admin.CreateUser, or on the store's host with auth-service create-admin",
        ),
        Refusal::NetworkNotAllowed => {
            denied(ErrorReason::NetworkNotAllowed, "the API key may not be used from this address; its list of networks says from where")
        }
        Refusal::NotAMember => denied(ErrorReason::AccountNotAllowed, "the user is no member of the account"),
        Refusal::StepUpRequired => denied(
            ErrorReason::StepUpRequired,
            "an operator's change needs a session whose second factor was proved within the last 15 minutes: call Accounts.StepUp, or sign \
             in with a code; an API key or a foreign issuer's token has no such session",
        ),
        Refusal::RoleRequired => denied(ErrorReason::RoleRequired, "this needs the admin role"),
        Refusal::ScopeRequired => denied(ErrorReason::ScopeRequired, "the scopes of the API key, or of the access token, don't cover this"),
        Refusal::ModelNotAllowed => denied(ErrorReason::ModelNotAllowed, "the API key is limited to other models"),
        Refusal::RequestInProgress => {
            CallError::new(Code::Aborted, ErrorReason::RequestInProgress, "another attempt works on this request id; wait for it")
                .retry_after(Duration::from_secs(1))
        }
        Refusal::RequestIdReused => CallError::new(
            Code::InvalidArgument,
            ErrorReason::RequestIdReused,
            "request_id was used before for a request with other parameters; take a new one",
        ),
        Refusal::InsufficientCredits { needed, available } => {
            exhausted(ErrorReason::InsufficientCredits, format!("the call needs {}, and {available} are available", credits(needed)))
                .quota("credits", format!("{needed} needed, {available} available"))
                .metadata("needed_credits", needed.to_string())
                .metadata("available_credits", available.to_string())
        }
        Refusal::MemberCapReached { needed, left } => exhausted(
            ErrorReason::MemberCapReached,
            format!("the call needs {}, and {left} are left of what you may spend of the account's this month (UTC)", credits(needed)),
        )
        .quota("member_cap", format!("{needed} needed, {left} left this month"))
        .metadata("needed_credits", needed.to_string())
        .metadata("left_credits", left.to_string()),
        Refusal::SweepInProgress => {
            CallError::new(Code::Unavailable, ErrorReason::SweepInProgress, "credits of requests that ended come back right now; try again")
                .retry_after(RETRY_SOON)
        }
        Refusal::TooManyRefunds { retry_after } => exhausted(
            ErrorReason::RateLimited,
            "too many of the account's calls came to nothing lately, and were not charged; look at their errors, and try again when told",
        )
        .retry_after(retry_after.max(RETRY_SOON)),
        Refusal::TooManyOpenHolds => {
            let message = "the account has as many calls in progress as it may; wait until one of them has ended, or ask the operator for \
                           more at a time";
            exhausted(ErrorReason::TooManyOpenHolds, message)
                .quota("open_holds", "calls in progress of one account")
                .retry_after(RETRY_LATER)
        }
    }
}

/// What the store met goes to the log when its condition changes (`store::Condition`), and not with every call.
fn store_failure(error: &StoreError) -> CallError {
    let (message, retry_after) = match error {
        StoreError::Unavailable(_) => {
            ("the store can't be reached; nothing was charged, or the charge stands as it was: try again", Duration::from_secs(1))
        }
        StoreError::Full(_) => ("the store is full, and nothing was written; its operator must make room: try again later", RETRY_LATER),
        StoreError::ReadOnly(_) => ("the store takes no writes at the moment, and nothing was written; try again", Duration::from_secs(2)),
        StoreError::Misconfigured(_) => {
            ("the store can't be used as it is set up; its operator must look at it: try again later", RETRY_LATER)
        }
        StoreError::Corrupt(what) => {
            tracing::error!(what, "the store contradicts itself; an operator must look at it");
            return CallError::internal();
        }
    };
    CallError::new(Code::Unavailable, error.error_reason(), message).retry_after(retry_after)
}

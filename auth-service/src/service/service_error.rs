//! Why a call gets no answer. What that is as a gRPC status, `call_error` says, in one place.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use shared::error::CallError;
use tonic::Status;

use crate::access_token::IssueError;
use crate::credential::CredentialError;
use crate::organization::change::OrganizationRefusal;
use crate::password::HashingError;
use crate::revocation_feed::WatchEnd;
use crate::service::device_sign_in::DeviceRefusal;
use crate::service::violations::{Violation, sentence};
use crate::session::RefreshRefusal;
use crate::sign_in_issuers::ProofError;
use crate::store::{KeyRefusal, Refusal, StoreError};

mod call_error;

/// Why a call gets no answer.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Fields are missing, malformed or out of range: all that are, at once.
    #[error("{}", sentence(.0))]
    Fields(Vec<Violation>),
    /// The credential is refused by its form or signature.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The Auth service was called without the service credential.
    #[error("the call carries no service credential")]
    ServiceCredentialMissing,
    /// The store refused.
    #[error("refused: {0:?}")]
    Store(Refusal),
    /// What was held may go on no longer.
    #[error("no longer: {0:?}")]
    Revoked(Refusal),
    /// The process stops.
    #[error("stopping")]
    Stopping,
    /// The store gave no answer.
    #[error(transparent)]
    StoreFailed(#[from] StoreError),
    /// The operation needs an access token.
    #[error("another credential was sent where an access token of ours is needed")]
    AccessTokenRequired,
    /// No such user, wrong password, or disabled.
    #[error("login failed")]
    LoginFailed,
    /// A refresh token is refused.
    #[error("the refresh token is refused: {0:?}")]
    Refresh(RefreshRefusal),
    /// The password is an operator's one-time password.
    #[error("another password must be chosen")]
    PasswordChangeRequired,
    /// The password was right, and a code of the second factor must come with it.
    #[error("a code of the second factor is required")]
    SecondFactorRequired,
    /// The code of the second factor is wrong, or was used.
    #[error("the code of the second factor is wrong")]
    SecondFactorInvalid,
    /// The user has no second factor.
    #[error("there is no second factor")]
    SecondFactorNotSetUp,
    /// The user has a second factor.
    #[error("there is a second factor already")]
    SecondFactorSetUp,
    /// The session must have begun just now, or have proved its second factor.
    #[error("a recent sign-in is required")]
    RecentSignInRequired,
    /// The user has no such session.
    #[error("no such session")]
    SessionNotFound,
    /// Too many attempts.
    #[error("throttled")]
    Throttled {
        /// When the next one may be let through.
        retry_after: Duration,
    },
    /// Too many logins wait for one another. Nobody need have failed.
    #[error("too many logins at once")]
    Crowded {
        /// When there may be room.
        retry_after: Duration,
    },
    /// Hashing gave no answer.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// Sign-up is closed.
    #[error("sign-up is closed")]
    SignUpClosed,
    /// Another user has the name.
    #[error("the user name is taken")]
    UserNameTaken,
    /// The making of a user of that name is under way, or broke off half way.
    #[error("the user name is being taken")]
    UserNameInProgress {
        /// When the name is free, unless its user is made by then.
        retry_after: Duration,
    },
    /// No such user.
    #[error("no such user")]
    UserNotFound,
    /// No such API key in the account.
    #[error("no such API key")]
    ApiKeyNotFound,
    /// The API key is another's.
    #[error("the API key is another's: {0:?}")]
    KeyForbidden(KeyRefusal),
    /// The API key, or what the request made, is no longer in force.
    #[error("the API key is no longer in force")]
    ApiKeyEnded,
    /// The account has as many API keys as it may.
    #[error("too many API keys")]
    TooManyApiKeys,
    /// The API key has as many secrets as it may.
    #[error("too many secrets of one API key")]
    TooManySecrets,
    /// The request id of a key or a rotation was used for another.
    #[error("the key's request id was used before")]
    KeyRequestIdReused,
    /// Nothing of that request id is remembered.
    #[error("no such request")]
    RequestNotFound,
    /// No such hold.
    #[error("no such hold")]
    HoldNotFound,
    /// The hold is resolved, or another attempt holds it.
    #[error("the hold is resolved")]
    HoldResolved,
    /// A grant's request id was used for another amount.
    #[error("the grant's request id was used before")]
    GrantRequestIdReused,
    /// An organization isn't made or changed, or there is none.
    #[error("organization: {0:?}")]
    Organization(OrganizationRefusal),
    /// The account would hold more than any may.
    #[error("too many credits")]
    TooManyCredits,
    /// No such issuer is configured.
    #[error("no such issuer")]
    IssuerUnknown,
    /// An issuer gave no answer that can be used.
    #[error("the issuer {issuer:?} gave no answer that can be used")]
    IssuerUnavailable {
        /// Its name.
        issuer: String,
        /// When it may be asked again.
        retry_after: Duration,
    },
    /// The proof of an identity is not good; why.
    #[error("{0}")]
    IdTokenInvalid(&'static str),
    /// The sign-in with an issuer is over, or was begun elsewhere.
    #[error("the sign-in is over, or was begun elsewhere")]
    SignInExpired,
    /// The identity signs a user in already, or the user has one of its issuer.
    #[error("the identity is linked")]
    IdentityLinked,
    /// The user has as many identities as they may.
    #[error("too many identities")]
    TooManyIdentities,
    /// The user has no such identity.
    #[error("no such identity")]
    IdentityNotFound,
    /// The user would have no way left to sign in.
    #[error("the last way to sign in")]
    LastSignInMethod,
    /// The user has no password.
    #[error("the user has no password")]
    NoPassword,
    /// A device gets no session, or nobody answered it.
    #[error("the device's sign-in: {0:?}")]
    Device(DeviceRefusal),
    /// In the contract, and not built yet.
    #[error("{0} is not built yet")]
    NotBuilt(&'static str),
    /// A defect, or no randomness.
    #[error("{0}")]
    Defect(String),
}

impl ServiceError {
    /// INVALID_ARGUMENT by one field.
    pub fn field(field: impl Into<Cow<'static, str>>, expected: impl Into<String>) -> Self {
        Violation::new(field, expected).into()
    }

    /// A defect: its text goes to the log, and not to the caller.
    pub fn defect(error: impl fmt::Display) -> Self {
        Self::Defect(error.to_string())
    }
}

impl From<Violation> for ServiceError {
    fn from(violation: Violation) -> Self {
        Self::Fields(vec![violation])
    }
}

impl From<Vec<Violation>> for ServiceError {
    fn from(violations: Vec<Violation>) -> Self {
        Self::Fields(violations)
    }
}

impl From<ProofError> for ServiceError {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::IssuerUnknown => Self::IssuerUnknown,
            ProofError::IssuerUnavailable { issuer, retry_after } => Self::IssuerUnavailable { issuer, retry_after },
            ProofError::Invalid(why) => Self::IdTokenInvalid(why),
            ProofError::SignInExpired => Self::SignInExpired,
            ProofError::Throttled { retry_after } => Self::Throttled { retry_after },
            ProofError::Broken(what) => Self::Defect(what),
        }
    }
}

impl From<WatchEnd> for ServiceError {
    fn from(end: WatchEnd) -> Self {
        match end {
            WatchEnd::Stopping => Self::Stopping,
            WatchEnd::Unreadable(error) => Self::StoreFailed(error),
        }
    }
}

impl From<OrganizationRefusal> for ServiceError {
    fn from(refusal: OrganizationRefusal) -> Self {
        Self::Organization(refusal)
    }
}

impl From<IssueError> for ServiceError {
    fn from(error: IssueError) -> Self {
        Self::defect(error)
    }
}

impl From<getrandom::Error> for ServiceError {
    fn from(error: getrandom::Error) -> Self {
        Self::defect(error)
    }
}

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        CallError::from(error).into()
    }
}

impl From<ServiceError> for CallError {
    fn from(error: ServiceError) -> Self {
        call_error::call_error(error)
    }
}

#[cfg(test)]
mod tests {
    use shared::ErrorReason;
    use shared::error::{reason_of, retry_delay_of};
    use tonic::Code;

    use super::*;

    #[test]
    fn a_sign_up_that_broke_off_tells_its_own_retry_when_to_come_again() {
        let status = Status::from(ServiceError::UserNameInProgress { retry_after: Duration::from_millis(59_500) });
        assert_eq!((status.code(), reason_of(&status)), (Code::Aborted, Some(ErrorReason::RequestInProgress)));
        assert_eq!(retry_delay_of(&status), Some(Duration::from_secs(60)));
    }

    #[test]
    fn each_failure_of_the_store_has_a_reason_of_its_own_and_says_when_to_come_again() {
        let words = || "the operator's words".to_owned();
        for (error, reason) in [
            (StoreError::Unavailable(words()), ErrorReason::StoreUnavailable),
            (StoreError::Full(words()), ErrorReason::StoreFull),
            (StoreError::ReadOnly(words()), ErrorReason::StoreReadOnly),
            (StoreError::Misconfigured(words()), ErrorReason::StoreMisconfigured),
        ] {
            let status = Status::from(ServiceError::StoreFailed(error));
            assert_eq!((status.code(), reason_of(&status)), (Code::Unavailable, Some(reason)));
            assert!(retry_delay_of(&status).is_some_and(|delay| delay >= Duration::from_secs(1)), "{status:?}");
            assert!(!status.message().contains(&words()), "{status:?}");
        }
    }
}

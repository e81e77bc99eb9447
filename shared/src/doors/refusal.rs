//! Why a call over HTTP is refused, and what each reason is in HTTP.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use tonic::{Code, Status};

use super::{CHARGED_HEADER, REMAINING_HEADER, RefusalForm};
use crate::ErrorReason as Reason;
use crate::error::{CallError, reason_name, reason_of, receipt_of, retry_delay_of, violations_of};
use crate::proto::inference::Receipt;

/// SDKs that Stainless makes (OpenAI's, Anthropic's) repeat a call that failed by its status alone, unless this says `false`.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Why a call over HTTP is refused.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// HTTP's status.
    pub status: StatusCode,
    /// The reason.
    pub reason: Reason,
    /// A sentence for people that says what to do. It holds no secret.
    pub message: String,
    /// The fields that are wrong, by their paths, and what each must be.
    pub fields: Box<[(String, String)]>,
    /// When the same call may succeed.
    pub retry_after: Option<Duration>,
    /// What the call had cost, or what the request that it repeats had cost.
    pub receipt: Option<Receipt>,
}

impl Refusal {
    /// A refusal with its status, its reason, and a sentence for people that says what to do.
    #[must_use]
    pub fn new(status: StatusCode, reason: Reason, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into(), fields: Box::default(), retry_after: None, receipt: None }
    }

    /// A field is wrong: `messages[0].role` must be …
    #[must_use]
    pub fn invalid(field: &str, must: impl Into<String>) -> Self {
        let must = must.into();
        let fields = Box::new([(field.to_owned(), must.clone())]);
        Self { fields, ..Self::new(StatusCode::BAD_REQUEST, Reason::InvalidArgument, format!("{field} {must}")) }
    }

    /// The reason as programs read it, for example `INSUFFICIENT_CREDITS`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        reason_name(self.reason)
    }

    /// The answer in a door's form, with what all doors have.
    pub(crate) fn respond(&self, form: RefusalForm) -> Response<Body> {
        let mut response = form(self);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            // A door's form may know more of what to send.
            headers.entry(WWW_AUTHENTICATE).or_insert(HeaderValue::from_static("Bearer"));
        }
        // What had cost something costs it again: whoever pays decides that, and no SDK by itself.
        let has_cost = self.receipt.as_ref().is_some_and(|receipt| receipt.charged_credits() > 0);
        if is_repeated_by_status(self.status) && (has_cost || !helps_to_repeat(self.reason)) {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        } else if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, whole_seconds(after).into());
        }
        if let Some(receipt) = &self.receipt {
            insert_receipt(headers, receipt);
        }
        response
    }
}

/// Says what was charged, in a response's headers.
pub fn insert_receipt(headers: &mut http::HeaderMap, receipt: &Receipt) {
    for (name, credits) in [(CHARGED_HEADER, receipt.charged_credits), (REMAINING_HEADER, receipt.remaining_credits)] {
        if let Some(credits) = credits {
            headers.insert(HeaderName::from_static(name), credits.into());
        }
    }
}

/// `Retry-After` has whole seconds; an earlier call would be refused again.
fn whole_seconds(after: Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0)
}

/// Whether SDKs repeat a call of this status by themselves.
fn is_repeated_by_status(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 409 | 429 | 500..)
}

/// The form of a refusal where no protocol is known: by its path the request belongs to no door.
pub(crate) fn plain_form(refusal: &Refusal) -> Response<Body> {
    #[derive(Serialize)]
    struct Said<'a> {
        error: Error<'a>,
    }
    #[derive(Serialize)]
    struct Error<'a> {
        code: &'a str,
        message: &'a str,
    }
    json(&Said { error: Error { code: refusal.code(), message: &refusal.message } })
}

/// A response of this JSON, with status 200.
pub fn json(value: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        Status::from(error).into()
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let reason = reason_of(&status).unwrap_or(Reason::Internal);
        Self {
            status: http_status(reason, status.code()),
            reason,
            fields: violations_of(&status).into(),
            retry_after: retry_delay_of(&status),
            receipt: receipt_of(&status),
            message: status.message().to_owned(),
        }
    }
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        let Refusal { status, reason, message, fields, retry_after, receipt } = refusal;
        let mut error = Self::new(grpc_code(status), reason, message);
        if !fields.is_empty() {
            error = error.violations(fields.iter().map(|(field, must)| (field.as_str(), must.as_str())));
        }
        if let Some(after) = retry_after {
            error = error.retry_after(after);
        }
        match receipt {
            Some(receipt) => error.receipt(&receipt),
            None => error,
        }
    }
}

/// The gRPC code that a status stands for.
fn grpc_code(status: StatusCode) -> Code {
    match status.as_u16() {
        400 | 422 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        402 | 413 | 429 => Code::ResourceExhausted,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        405 | 415 | 501 => Code::Unimplemented,
        408 | 504 => Code::DeadlineExceeded,
        409 => Code::Aborted,
        502 | 503 => Code::Unavailable,
        _ => Code::Internal,
    }
}

/// HTTP's status for a reason. `code` decides where the reason says nothing.
#[must_use]
pub fn http_status(reason: Reason, code: Code) -> StatusCode {
    match reason {
        // It was good when the call began: another one is needed, and not this one again.
        Reason::CredentialRevoked if code == Code::PermissionDenied => StatusCode::FORBIDDEN,
        Reason::InvalidArgument | Reason::MessageMalformed => StatusCode::BAD_REQUEST,
        Reason::CredentialMissing
        | Reason::CredentialInvalid
        | Reason::CredentialExpired
        | Reason::CredentialRevoked
        | Reason::RefreshTokenReused
        | Reason::LoginFailed
        | Reason::SecondFactorRequired
        | Reason::SecondFactorInvalid
        | Reason::IdTokenInvalid
        | Reason::ServiceCredentialInvalid => StatusCode::UNAUTHORIZED,
        Reason::InsufficientCredits | Reason::MemberCapReached => StatusCode::PAYMENT_REQUIRED,
        Reason::UserDisabled
        | Reason::UserLocked
        | Reason::PasswordChangeRequired
        | Reason::NetworkNotAllowed
        | Reason::RoleRequired
        | Reason::ScopeRequired
        | Reason::ModelNotAllowed
        | Reason::AccessTokenRequired
        | Reason::AccountNotAllowed
        | Reason::SignUpClosed
        | Reason::CrossOriginRequest
        | Reason::OwnerRequired
        | Reason::StepUpRequired
        | Reason::DeviceSignInDenied
        | Reason::RecentSignInRequired
        | Reason::CloudModelNotAllowed => StatusCode::FORBIDDEN,
        Reason::HoldNotFound
        | Reason::UserNotFound
        | Reason::ApiKeyNotFound
        | Reason::SessionNotFound
        | Reason::RequestNotFound
        | Reason::ModelNotFound
        | Reason::OrganizationNotFound
        | Reason::MemberNotFound
        | Reason::InvitationInvalid
        | Reason::IssuerUnknown
        | Reason::IdentityNotFound
        | Reason::DeviceCodeExpired
        | Reason::UserCodeUnknown
        | Reason::ServiceUnknown
        | Reason::MethodUnknown => StatusCode::NOT_FOUND,
        // We waited for the caller.
        Reason::MessageTooSlow | Reason::SlowReader | Reason::Cancelled => StatusCode::REQUEST_TIMEOUT,
        // The caller waited for us, or for the model.
        Reason::UpstreamTimeout | Reason::DeadlineExceeded | Reason::StreamTooLong => StatusCode::GATEWAY_TIMEOUT,
        Reason::RequestInProgress
        | Reason::RequestResolved
        | Reason::HoldResolved
        | Reason::UserNameTaken
        | Reason::LimitReached
        | Reason::LastOwner
        | Reason::AlreadyAMember
        | Reason::NameTaken
        | Reason::SecondFactorNotSetUp
        | Reason::SecondFactorSetUp
        | Reason::SignInExpired
        | Reason::IdentityLinked
        | Reason::LastSignInMethod
        | Reason::NoPassword
        | Reason::AuthorizationPending
        | Reason::OtherOperatorRequired => StatusCode::CONFLICT,
        Reason::MessageTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::CompressionUnknown => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Reason::RequestIdReused | Reason::ModelIncapable | Reason::UpstreamRejected => StatusCode::UNPROCESSABLE_ENTITY,
        Reason::RateLimited | Reason::TooManyOpenHolds | Reason::ServerBusy | Reason::SlowDown => StatusCode::TOO_MANY_REQUESTS,
        Reason::NotImplemented | Reason::NotSupported => StatusCode::NOT_IMPLEMENTED,
        Reason::UpstreamProtocol | Reason::ModelBroken => StatusCode::BAD_GATEWAY,
        Reason::SweepInProgress
        | Reason::StoreUnavailable
        | Reason::StoreFull
        | Reason::StoreReadOnly
        | Reason::StoreMisconfigured
        | Reason::AuthUnavailable
        | Reason::UpstreamUnavailable
        | Reason::UpstreamBusy
        | Reason::IssuerUnavailable
        | Reason::Draining => StatusCode::SERVICE_UNAVAILABLE,
        Reason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Reason::Unspecified => status_of_code(code),
    }
}

fn status_of_code(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Cancelled => StatusCode::REQUEST_TIMEOUT,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Whether the same call may succeed later, though nobody changes anything meanwhile.
fn helps_to_repeat(reason: Reason) -> bool {
    match reason {
        Reason::RequestInProgress
        | Reason::SweepInProgress
        | Reason::TooManyOpenHolds
        | Reason::RateLimited
        | Reason::StoreUnavailable
        | Reason::AuthUnavailable
        | Reason::UpstreamUnavailable
        | Reason::UpstreamBusy
        | Reason::UpstreamTimeout
        | Reason::UpstreamProtocol
        | Reason::Draining
        | Reason::Cancelled
        | Reason::StoreFull
        | Reason::StoreReadOnly
        | Reason::StoreMisconfigured
        | Reason::MessageTooSlow
        | Reason::SlowReader
        | Reason::ServerBusy
        | Reason::IssuerUnavailable
        | Reason::AuthorizationPending
        | Reason::SlowDown
        | Reason::Internal
        | Reason::Unspecified => true,
        Reason::InvalidArgument
        | Reason::CredentialMissing
        | Reason::CredentialInvalid
        | Reason::CredentialExpired
        | Reason::CredentialRevoked
        | Reason::RefreshTokenReused
        | Reason::NetworkNotAllowed
        | Reason::UserLocked
        | Reason::PasswordChangeRequired
        | Reason::OtherOperatorRequired
        | Reason::SessionNotFound
        | Reason::LoginFailed
        | Reason::UserDisabled
        | Reason::RoleRequired
        | Reason::ScopeRequired
        | Reason::ModelNotAllowed
        | Reason::AccessTokenRequired
        | Reason::AccountNotAllowed
        | Reason::SignUpClosed
        | Reason::CrossOriginRequest
        | Reason::InsufficientCredits
        | Reason::RequestIdReused
        | Reason::RequestResolved
        | Reason::HoldNotFound
        | Reason::HoldResolved
        | Reason::UserNameTaken
        | Reason::UserNotFound
        | Reason::ApiKeyNotFound
        | Reason::RequestNotFound
        | Reason::LimitReached
        | Reason::UpstreamRejected
        | Reason::ModelNotFound
        | Reason::ModelIncapable
        | Reason::ModelBroken
        | Reason::CloudModelNotAllowed
        | Reason::DeadlineExceeded
        | Reason::StreamTooLong
        | Reason::NotImplemented
        | Reason::NotSupported
        | Reason::ServiceCredentialInvalid
        | Reason::MessageTooLarge
        | Reason::MessageMalformed
        | Reason::MethodUnknown
        | Reason::CompressionUnknown
        | Reason::OrganizationNotFound
        | Reason::OwnerRequired
        | Reason::LastOwner
        | Reason::MemberNotFound
        | Reason::AlreadyAMember
        | Reason::NameTaken
        | Reason::MemberCapReached
        | Reason::InvitationInvalid
        | Reason::SecondFactorRequired
        | Reason::SecondFactorInvalid
        | Reason::StepUpRequired
        | Reason::SecondFactorNotSetUp
        | Reason::SecondFactorSetUp
        | Reason::IssuerUnknown
        | Reason::IdTokenInvalid
        | Reason::SignInExpired
        | Reason::IdentityLinked
        | Reason::IdentityNotFound
        | Reason::LastSignInMethod
        | Reason::DeviceSignInDenied
        | Reason::DeviceCodeExpired
        | Reason::UserCodeUnknown
        | Reason::NoPassword
        | Reason::RecentSignInRequired
        | Reason::ServiceUnknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(refusal: &Refusal) -> http::HeaderMap {
        refusal.respond(plain_form).headers().clone()
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_never_too_short() {
        for (milliseconds, seconds) in [(0, "0"), (1, "1"), (1000, "1"), (1001, "2")] {
            let busy = CallError::new(Code::ResourceExhausted, Reason::ServerBusy, "busy").retry_after(Duration::from_millis(milliseconds));
            let refusal = Refusal::from(busy);
            assert_eq!(refusal.status, 429);
            assert_eq!(headers(&refusal)["retry-after"], seconds);
            assert!(!headers(&refusal).contains_key("x-should-retry"));
        }
    }

    #[test]
    fn what_a_repetition_cannot_help_says_so_where_a_client_would_repeat_it() {
        for reason in [Reason::RequestResolved, Reason::NotSupported, Reason::ModelBroken, Reason::LimitReached] {
            let refusal = Refusal::from(CallError::new(Code::Internal, reason, "no"));
            assert_eq!(headers(&refusal)["x-should-retry"], "false", "{reason:?}");
        }
        let cost = |credits| {
            let receipt = Receipt { charged_credits: Some(credits), ..Receipt::default() };
            Refusal::from(CallError::new(Code::Unavailable, Reason::UpstreamUnavailable, "broken off").receipt(&receipt))
        };
        assert_eq!(headers(&cost(1))["x-should-retry"], "false", "it would be charged again");
        let later = Refusal { retry_after: Some(Duration::from_secs(1)), ..cost(1) };
        assert!(!headers(&later).contains_key("retry-after"), "clients that know that header alone would repeat it");
        assert!(!headers(&cost(0)).contains_key("x-should-retry"));
        let paid = Refusal::from(CallError::new(Code::ResourceExhausted, Reason::InsufficientCredits, "no"));
        assert_eq!(paid.status, 402);
        assert!(!headers(&paid).contains_key("x-should-retry"), "nobody repeats a 402");
    }

    #[test]
    fn an_error_is_the_same_over_grpc_and_http_and_back() {
        let receipt = Receipt { charged_credits: Some(3), remaining_credits: Some(7), ..Receipt::default() };
        let error = CallError::new(Code::InvalidArgument, Reason::InvalidArgument, "wrong").violations([("a[0].b", "must be c")]);
        let refusal = Refusal::from(error.retry_after(Duration::from_secs(2)).receipt(&receipt));
        assert_eq!((refusal.status.as_u16(), refusal.code()), (400, "INVALID_ARGUMENT"));
        assert_eq!(*refusal.fields, [("a[0].b".to_owned(), "must be c".to_owned())]);
        assert_eq!(headers(&refusal)["x-tollgate-charged-credits"], "3");
        assert_eq!(headers(&refusal)["x-tollgate-remaining-credits"], "7");
        let back = Refusal::from(CallError::from(refusal.clone()));
        assert_eq!(format!("{back:?}"), format!("{refusal:?}"));
    }

    #[test]
    fn a_credential_that_is_revoked_while_an_answer_runs_is_a_403_and_one_that_was_before_a_401() {
        for (code, status) in [(Code::PermissionDenied, 403), (Code::Unauthenticated, 401)] {
            let refusal = Refusal::from(CallError::new(code, Reason::CredentialRevoked, "revoked"));
            assert_eq!((refusal.status.as_u16(), headers(&refusal).contains_key("www-authenticate")), (status, status == 401));
        }
    }

    #[test]
    fn a_missing_credential_is_told_which_scheme_to_use() {
        let refusal = Refusal::from(CallError::new(Code::Unauthenticated, Reason::CredentialMissing, "send one"));
        assert_eq!(headers(&refusal)["www-authenticate"], "Bearer");
    }
}

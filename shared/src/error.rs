//! Errors as AIP-193 has them: a code, a sentence that says what to do, and exactly one `google.rpc.ErrorInfo`, with `RetryInfo`,
//! `QuotaFailure` or our own receipt beside it where they help.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};
use tonic_types::pb;

use crate::ErrorReason;

/// Under this key a refused Check says whose credential it was, once that is proved. It is for the calling service's log.
pub const ACCOUNT_METADATA: &str = "account_id";

/// The domain of every reason.
pub const DOMAIN: &str = "tollgate";

/// An error on its way to a caller.
#[derive(Debug, Clone)]
#[must_use]
pub struct CallError {
    code: Code,
    reason: ErrorReason,
    message: String,
    metadata: HashMap<String, String>,
    details: Vec<prost_types::Any>,
}

impl CallError {
    /// An error with its code, its reason, and a sentence for people that says what to do. The sentence must hold no secret.
    pub fn new(code: Code, reason: ErrorReason, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), metadata: HashMap::new(), details: Vec::new() }
    }

    /// INVALID_ARGUMENT, with a sentence that names the field.
    pub fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, ErrorReason::InvalidArgument, message)
    }

    /// INTERNAL, for defects of ours. What happened belongs into the log, not into the message.
    pub fn internal() -> Self {
        Self::new(Code::Internal, ErrorReason::Internal, "a defect in Tollgate; the server's log has more under this call's x-request-id")
    }

    /// UNIMPLEMENTED, for a method that is in the contract and not built yet.
    pub fn not_implemented(method: &str) -> Self {
        Self::new(Code::Unimplemented, ErrorReason::NotImplemented, format!("{method} is in the contract and not built yet"))
    }

    /// INVALID_ARGUMENT, for bytes that are no message of the method that they were sent to.
    pub fn message_malformed(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, ErrorReason::MessageMalformed, message)
    }

    /// Adds a `google.rpc.RetryInfo`: when the same call may succeed.
    pub fn retry_after(self, delay: Duration) -> Self {
        let delay = prost_types::Duration::try_from(delay).ok();
        self.detail("google.rpc.RetryInfo", &pb::RetryInfo { retry_delay: delay })
    }

    /// Adds a `google.rpc.QuotaFailure`: which quota was hit.
    pub fn quota(self, subject: impl Into<String>, description: impl Into<String>) -> Self {
        let violation = pb::quota_failure::Violation { subject: subject.into(), description: description.into(), ..Default::default() };
        self.detail("google.rpc.QuotaFailure", &pb::QuotaFailure { violations: vec![violation] })
    }

    /// Adds a `google.rpc.BadRequest`: every violated field, by its path in the contract, and what it must be.
    pub fn violations<'a>(self, violations: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let field_violations = violations.into_iter().map(|(field, description)| pb::bad_request::FieldViolation {
            field: field.to_owned(),
            description: description.to_owned(),
            ..Default::default()
        });
        let bad_request = pb::BadRequest { field_violations: field_violations.collect() };
        self.detail("google.rpc.BadRequest", &bad_request)
    }

    /// Adds what was charged for a call that failed after it had cost something.
    pub fn receipt(self, receipt: &crate::proto::inference::Receipt) -> Self {
        self.detail("tollgate.inference.v1.Receipt", receipt)
    }

    /// Adds a key and value to the `ErrorInfo`, for programs.
    pub fn metadata(mut self, key: &str, value: impl Into<String>) -> Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }

    /// The same, with the code that its reason comes with.
    #[cfg(feature = "server")]
    pub(crate) fn coded(self, code: Code) -> Self {
        Self { code, ..self }
    }

    /// The gRPC code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> ErrorReason {
        self.reason
    }

    /// The sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    fn detail(mut self, type_name: &str, message: &impl Message) -> Self {
        self.details.push(prost_types::Any { type_url: format!("type.googleapis.com/{type_name}"), value: message.encode_to_vec() });
        self
    }
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        let info = pb::ErrorInfo { reason: reason_name(error.reason).to_owned(), domain: DOMAIN.to_owned(), metadata: error.metadata };
        let mut details =
            vec![prost_types::Any { type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(), value: info.encode_to_vec() }];
        details.extend(error.details);
        let rich = pb::Status { code: error.code as i32, message: error.message.clone(), details };
        Status::with_details(error.code, error.message, rich.encode_to_vec().into())
    }
}

/// A reason as it stands in an `ErrorInfo`, for example `INSUFFICIENT_CREDITS`.
#[must_use]
pub fn reason_name(reason: ErrorReason) -> &'static str {
    reason.as_str_name().trim_start_matches("ERROR_REASON_")
}

/// The reason that a status carries; `None` when it is none of Tollgate's errors.
#[must_use]
pub fn reason_of(status: &Status) -> Option<ErrorReason> {
    let info: pb::ErrorInfo = detail_of(status, "google.rpc.ErrorInfo")?;
    if info.domain != DOMAIN {
        return None;
    }
    ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason))
}

/// What a status's `ErrorInfo` says under this key, for programs.
#[must_use]
pub fn metadata_of(status: &Status, key: &str) -> Option<String> {
    let mut info: pb::ErrorInfo = detail_of(status, "google.rpc.ErrorInfo")?;
    info.metadata.remove(key).filter(|_| info.domain == DOMAIN)
}

/// The receipt that a status carries, when a failed call had cost something.
#[must_use]
pub fn receipt_of(status: &Status) -> Option<crate::proto::inference::Receipt> {
    detail_of(status, "tollgate.inference.v1.Receipt")
}

/// When the same call may succeed, if the status says so.
#[must_use]
pub fn retry_delay_of(status: &Status) -> Option<Duration> {
    let info: pb::RetryInfo = detail_of(status, "google.rpc.RetryInfo")?;
    info.retry_delay?.try_into().ok()
}

/// The quotas that were hit: subjects and descriptions.
#[must_use]
pub fn quota_of(status: &Status) -> Vec<(String, String)> {
    let failure: Option<pb::QuotaFailure> = detail_of(status, "google.rpc.QuotaFailure");
    failure.unwrap_or_default().violations.into_iter().map(|violation| (violation.subject, violation.description)).collect()
}

/// The violated fields that a status names: their paths, and what each must be.
#[must_use]
pub fn violations_of(status: &Status) -> Vec<(String, String)> {
    let request: Option<pb::BadRequest> = detail_of(status, "google.rpc.BadRequest");
    request.unwrap_or_default().field_violations.into_iter().map(|violation| (violation.field, violation.description)).collect()
}

fn detail_of<M: Message + Default>(status: &Status, type_name: &str) -> Option<M> {
    let rich = pb::Status::decode(status.details()).ok()?;
    let any = rich.details.iter().find(|any| any.type_url.rsplit('/').next() == Some(type_name))?;
    M::decode(any.value.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_exactly_one_reason_and_its_details() {
        let status: Status = CallError::new(Code::ResourceExhausted, ErrorReason::InsufficientCredits, "none left")
            .quota("account:x", "credits")
            .retry_after(Duration::from_secs(2))
            .into();
        let rich = pb::Status::decode(status.details()).unwrap();
        let infos = rich.details.iter().filter(|any| any.type_url.ends_with("ErrorInfo")).count();
        assert_eq!(infos, 1);
        assert_eq!(rich.code, Code::ResourceExhausted as i32);
        assert_eq!(reason_of(&status), Some(ErrorReason::InsufficientCredits));
        assert_eq!(retry_delay_of(&status), Some(Duration::from_secs(2)));
        assert_eq!(reason_name(ErrorReason::InsufficientCredits), "INSUFFICIENT_CREDITS");
    }

    #[test]
    fn the_receipt_is_packed_under_its_own_name() {
        let receipt = crate::proto::inference::Receipt { charged_credits: Some(1), ..Default::default() };
        let status: Status = CallError::internal().receipt(&receipt).into();
        assert_eq!(receipt_of(&status), Some(receipt));
        let descriptors = prost_types::FileDescriptorSet::decode(crate::proto::FILE_DESCRIPTOR_SET).unwrap();
        assert!(
            descriptors.file.iter().any(
                |file| file.package() == "tollgate.inference.v1" && file.message_type.iter().any(|message| message.name() == "Receipt")
            )
        );
    }
}

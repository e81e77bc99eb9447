//! Who is calling, as the call's metadata says it: a credential to be checked, the account to pay, the request id, the deadline.

use std::fmt;
use std::net::IpAddr;

use http::{Extensions, HeaderMap};
use shared::caller_address::CallerAddress;
use shared::credential_form;
use shared::error::CallError;
use shared::request_context::{CallDeadline, REQUEST_ID_HEADER};
use tokio::time::Instant;
use tonic::Request;

/// A caller that is not authenticated yet.
#[derive(Clone)]
pub struct Caller {
    credential: String,
    account: String,
    request_id: String,
    address: Option<IpAddr>,
    deadline: Option<Instant>,
}

impl Caller {
    /// Reads a call's metadata. A call without a credential is refused here.
    pub fn from_request<T>(request: &Request<T>) -> Result<Self, CallError> {
        Self::from_parts(request.metadata().as_ref(), request.extensions())
    }

    /// The same of an HTTP request's headers and extensions.
    pub fn from_parts(headers: &HeaderMap, extensions: &Extensions) -> Result<Self, CallError> {
        let deadline = extensions.get::<CallDeadline>().map(|deadline| deadline.0);
        let credential = credential_form::bearer(headers)?;
        let account = credential_form::account(headers)?;
        let request_id = headers.get(REQUEST_ID_HEADER).and_then(|id| id.to_str().ok()).unwrap_or_default();
        Ok(Self {
            credential: credential.to_owned(),
            account: account.to_owned(),
            request_id: request_id.to_owned(),
            address: CallerAddress::of(extensions).map(|caller| caller.ip),
            deadline,
        })
    }

    /// As it was sent. Not to be logged.
    #[must_use]
    pub fn credential(&self) -> &str {
        &self.credential
    }

    /// Empty: the credential's own.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.account
    }

    /// For the logs.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Where the call comes from, for an API key's list of networks; `None`: over no connection of ours.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// When the caller stops waiting.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("request_id", &self.request_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use shared::ErrorReason;
    use shared::credential_form::ACCOUNT_HEADER;
    use tonic::metadata::MetadataValue;

    use super::*;

    fn reason(metadata: &[(&'static str, &'static str)]) -> Option<ErrorReason> {
        let mut request = Request::new(());
        for (name, value) in metadata {
            request.metadata_mut().append(*name, MetadataValue::from_static(value));
        }
        Caller::from_request(&request).err().and_then(|error| shared::error::reason_of(&error.into()))
    }

    #[test]
    fn two_credentials_or_two_accounts_are_refused_in_two_headers_and_in_one() {
        let (one, other) = (("authorization", "Bearer a"), ("authorization", "Bearer b"));
        assert_eq!(reason(&[one]), None);
        assert_eq!(reason(&[]), Some(ErrorReason::CredentialMissing));
        for wrong in [&[one, other][..], &[one, one], &[("authorization", "Bearer a, Bearer b")], &[("authorization", "Bearer a,b")]] {
            assert_eq!(reason(wrong), Some(ErrorReason::CredentialInvalid), "{wrong:?}");
        }
        let (account, another) = ((ACCOUNT_HEADER, "a"), (ACCOUNT_HEADER, "b"));
        assert_eq!(reason(&[one, account]), None);
        for wrong in [&[one, account, another][..], &[one, account, account], &[one, (ACCOUNT_HEADER, "a,b")]] {
            assert_eq!(reason(wrong), Some(ErrorReason::InvalidArgument), "{wrong:?}");
        }
    }
}

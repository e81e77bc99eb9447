//! Who is calling, as the call's metadata says it: a credential to be checked, the account to pay, the request id, the deadline.

use std::fmt;
use std::time::Duration;

use shared::ErrorReason;
use shared::error::CallError;
use shared::request_context::{REQUEST_ID_HEADER, deadline};
use tokio::time::Instant;
use tonic::Code;
use tonic::metadata::MetadataMap;

/// The header that names the account to pay, for access tokens.
pub const ACCOUNT_HEADER: &str = "x-tollgate-account";

/// The longest credential that is passed on to be checked, in bytes.
const MAX_CREDENTIAL_BYTES: usize = 8192;

/// The answer must be there before the caller's own timer fires.
const DEADLINE_MARGIN: Duration = Duration::from_millis(2);

/// A caller that is not authenticated yet.
#[derive(Clone)]
pub struct Caller {
    credential: String,
    account: String,
    request_id: String,
    deadline: Option<Instant>,
}

impl Caller {
    /// Reads a call's metadata. A call without a credential is refused here.
    pub fn from_metadata(metadata: &MetadataMap) -> Result<Self, CallError> {
        let header = metadata.get("authorization").ok_or_else(|| {
            let message = "a credential is required: send the metadata `authorization: Bearer <API key or access token>`";
            CallError::new(Code::Unauthenticated, ErrorReason::CredentialMissing, message)
        })?;
        let malformed = || {
            let message = "`authorization` must be `Bearer <API key or access token>`";
            CallError::new(Code::Unauthenticated, ErrorReason::CredentialInvalid, message)
        };
        let (scheme, credential) = header.to_str().ok().and_then(|header| header.split_once(' ')).ok_or_else(malformed)?;
        let credential = credential.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || credential.is_empty() || credential.len() > MAX_CREDENTIAL_BYTES {
            return Err(malformed());
        }
        let text = |name: &str| metadata.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let patience = deadline(metadata.as_ref())?;
        Ok(Self {
            credential: credential.to_owned(),
            account: text(ACCOUNT_HEADER),
            request_id: text(REQUEST_ID_HEADER),
            deadline: patience.and_then(|patience| Instant::now().checked_add(patience.saturating_sub(DEADLINE_MARGIN))),
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

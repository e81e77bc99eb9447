//! Who is calling, as the call's metadata says it: a credential to be checked, the account to pay, the request id, the deadline.

use std::fmt;

use shared::credential_form;
use shared::error::CallError;
use shared::request_context::{CallDeadline, REQUEST_ID_HEADER};
use tokio::time::Instant;
use tonic::Request;

/// The header that names the account to pay, for access tokens.
pub const ACCOUNT_HEADER: &str = "x-tollgate-account";

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
    pub fn from_request<T>(request: &Request<T>) -> Result<Self, CallError> {
        let metadata = request.metadata();
        let deadline = request.extensions().get::<CallDeadline>().map(|deadline| deadline.0);
        let credential = credential_form::bearer(metadata.as_ref()).map_err(credential_form::refused)?;
        let mut accounts = metadata.get_all(ACCOUNT_HEADER).iter();
        let account = match (accounts.next().map(|account| account.to_str()), accounts.next()) {
            (None, _) => "",
            (Some(Ok(account)), None) => account,
            // Never the own account in place of the one that was meant.
            (Some(_), _) => return Err(CallError::invalid_argument(format!("{ACCOUNT_HEADER} must be one account's id"))),
        };
        let request_id = metadata.get(REQUEST_ID_HEADER).and_then(|id| id.to_str().ok()).unwrap_or_default();
        Ok(Self { credential: credential.to_owned(), account: account.to_owned(), request_id: request_id.to_owned(), deadline })
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

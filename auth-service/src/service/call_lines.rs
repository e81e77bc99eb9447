//! Which calls have their line in this service's log: those whose Check is refused or answered with a record, and those whose hold is
//! settled or released. A Check that holds has none, since its call goes on.

use shared::ErrorReason;
use shared::call_record::CallRecord;
use shared::error::{ACCOUNT_METADATA, CallError};
use shared::model_name;
use shared::proto::auth as pb;
use tonic::Status;

use crate::ids::{AccountId, UserId};
use crate::service::service_error::ServiceError;
use crate::store::Refusal;

/// What a Check is about, for its line.
#[derive(Debug, Default)]
pub struct CheckSubject {
    /// As the caller named the request.
    pub request_id: String,
    /// As it was sent.
    pub model: String,
    /// Whose credential it is, unless that is not proved.
    pub account: Option<AccountId>,
    /// The user of an access token.
    pub user: Option<UserId>,
}

/// Logs a Check that was refused, and gives the error that it is answered with.
pub fn refused(mut subject: CheckSubject, error: ServiceError) -> Status {
    // Who shows a secret that is none of the account's has not proved to be of it.
    if matches!(error, ServiceError::Store(Refusal::CredentialUnknown)) {
        subject.account = None;
    }
    // What is swept meanwhile may make it a yes: it is sent again, and has its line then.
    let is_final = !matches!(error, ServiceError::Store(Refusal::SweepInProgress));
    let mut error = CallError::from(error);
    let account = subject.account.map(|account| account.to_string());
    if is_final {
        log_refusal(&subject.request_id, &subject.model, account.clone(), error.reason());
    }
    if let Some(account) = account {
        error = error.metadata(ACCOUNT_METADATA, account);
    }
    error.into()
}

fn log_refusal(request_id: &str, model: &str, account: Option<String>, reason: ErrorReason) {
    let mut record = CallRecord::begin();
    record.set_request_id(request_id);
    if let Ok(model) = model_name::canonical(model) {
        record.set_model(&model);
    }
    record.set_account(account.unwrap_or_default());
    record.refused(reason);
}

/// Logs a call that is settled.
pub fn settled(account: &AccountId, receipt: &pb::Receipt) {
    begin(account, receipt).settled(receipt);
}

/// Logs a call that is answered with the receipt of the one that was paid for.
pub fn replayed(account: &AccountId, receipt: &pb::Receipt) {
    begin(account, receipt).replayed(receipt);
}

/// Logs a call whose Check had no answer, and whose hold went back all the same.
pub fn released(account: &AccountId, request_id: &str) {
    let (outcome, state) = (pb::Outcome::NothingGenerated.into(), pb::RequestState::Refunded.into());
    let receipt = pb::Receipt { request_id: request_id.to_owned(), outcome, state, charged_credits: Some(0), ..Default::default() };
    begin(account, &receipt).settled(&receipt);
}

fn begin(account: &AccountId, receipt: &pb::Receipt) -> CallRecord {
    let mut record = CallRecord::begin();
    record.set_request_id(&receipt.request_id);
    record.set_model(&receipt.model);
    record.set_account(account.to_string());
    record
}

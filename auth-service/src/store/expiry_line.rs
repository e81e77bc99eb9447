//! The line in the log of a call whose hold has expired. Whoever worked on it is gone, so nobody else says how it ended.

use shared::call_record::CallRecord;
use shared::proto::auth as pb;

use crate::hold::{Settlement, Terms, TokenUsage};

/// A hold that has expired, and how it was resolved.
#[derive(Debug)]
pub(super) struct Expired {
    pub(super) terms: Terms,
    pub(super) settlement: Settlement,
}

/// Logs them. They must be stored by then.
pub(super) fn log_all(expired: impl IntoIterator<Item = Expired>) {
    for Expired { terms, settlement } in expired {
        let TokenUsage { input_tokens, output_tokens, estimated } = settlement.usage;
        let usage = pb::TokenUsage { input_tokens: Some(input_tokens), output_tokens: Some(output_tokens), estimated };
        let mut record = CallRecord::expired(usage, settlement.charged_credits);
        record.set_request_id(&terms.request_id);
        record.set_model(&terms.model);
        record.set_account(terms.account.to_string());
    }
}

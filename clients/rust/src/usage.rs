//! What an account's calls used.

use crate::client::Client;
use crate::error::Error;
use crate::proto::auth::{GetUsageRequest, GetUsageResponse};

impl Client {
    /// What the account's calls used, by day and model. Days are UTC's, such as `2026-11-29`, and both are included: at most 92. An empty
    /// `last_day` is today, an empty `first_day` the 29th day before the last. `complete_from_day` of the answer says from which day on its
    /// figures are whole.
    pub async fn usage(&self, first_day: &str, last_day: &str) -> Result<GetUsageResponse, Error> {
        self.usage_of("", first_day, last_day).await
    }

    /// The same of one member of an organization, by the id of the user or service account; empty: of all that the caller may see.
    pub async fn usage_of(&self, user_id: &str, first_day: &str, last_day: &str) -> Result<GetUsageResponse, Error> {
        let message = GetUsageRequest { first_day: first_day.to_owned(), last_day: last_day.to_owned(), user_id: user_id.to_owned() };
        let answer = self.accounts().get_usage(self.account_request(message)).await;
        self.connections.auth.answer(answer, None)
    }
}

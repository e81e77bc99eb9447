//! Service accounts: programs that belong to an organization, and stay when people leave. [`crate::ApiKeyOptions`] makes keys of one, and
//! [`Client::set_member_cap`] bounds what it spends.

use crate::client::Client;
use crate::error::Error;
use crate::proto::auth::{CreateServiceAccountRequest, ListServiceAccountsRequest, RemoveServiceAccountRequest, ServiceAccount};

impl Client {
    /// Makes a service account. Its name has 1 to 100 characters and is unique within the organization; the cap is as for a member. Owners.
    pub async fn create_service_account(
        &self,
        account_id: &str,
        name: &str,
        monthly_cap_credits: Option<i64>,
    ) -> Result<ServiceAccount, Error> {
        let message = CreateServiceAccountRequest { account_id: account_id.to_owned(), name: name.to_owned(), monthly_cap_credits };
        let answer = self.accounts().create_service_account(self.request(message)).await;
        Ok(self.connections.auth.answer(answer, None)?.service_account.unwrap_or_default())
    }

    /// The organization's service accounts, oldest first.
    pub async fn service_accounts(&self, account_id: &str) -> Result<Vec<ServiceAccount>, Error> {
        let message = ListServiceAccountsRequest { account_id: account_id.to_owned() };
        let answer = self.accounts().list_service_accounts(self.request(message)).await;
        Ok(self.connections.auth.answer(answer, None)?.service_accounts)
    }

    /// Removes a service account: its keys are revoked, and answers that run end. Owners.
    pub async fn remove_service_account(&self, account_id: &str, service_account_id: &str) -> Result<(), Error> {
        let message = RemoveServiceAccountRequest { account_id: account_id.to_owned(), service_account_id: service_account_id.to_owned() };
        let answer = self.accounts().remove_service_account(self.request(message)).await;
        self.connections.auth.answer(answer, None)?;
        Ok(())
    }
}

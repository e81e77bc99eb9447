//! What end users do with their own account.

use crate::client::Client;
use crate::error::Error;
use crate::proto::auth::{
    GetBalanceRequest, GetBalanceResponse, GetMeRequest, GetMeResponse, GetReceiptRequest, Receipt, SignUpRequest, SignUpResponse,
};

/// What a user may tell about themselves. All of it may be empty.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// At most 200 characters.
    pub full_name: String,
    /// Contact data, not an identifier; at most 254 characters.
    pub email: String,
}

impl Client {
    /// Makes a user with the server's starting credits. The password has 15 to 1024 bytes. Refused with `SIGN_UP_CLOSED` where
    /// operators make the users.
    pub async fn sign_up(&self, user_name: &str, password: &str, profile: Profile) -> Result<SignUpResponse, Error> {
        let message = SignUpRequest {
            user_name: user_name.to_owned(),
            password: password.to_owned(),
            full_name: profile.full_name,
            email: profile.email,
        };
        let answer = self.accounts().sign_up(self.anonymous_request(message)).await;
        self.connections.auth.answer(answer, None)
    }

    /// Who the credential belongs to, and which account it pays from; `organization` and `service_account` are set where it is of one.
    pub async fn get_me(&self) -> Result<GetMeResponse, Error> {
        let answer = self.accounts().get_me(self.account_request(GetMeRequest {})).await;
        self.connections.auth.answer(answer, None)
    }

    /// The account's credits.
    pub async fn balance(&self) -> Result<GetBalanceResponse, Error> {
        let answer = self.accounts().get_balance(self.account_request(GetBalanceRequest {})).await;
        self.connections.auth.answer(answer, None)
    }

    /// What became of one of the caller's own requests, as long as it is remembered (an hour by default).
    pub async fn receipt(&self, request_id: &str) -> Result<Receipt, Error> {
        let answer = self.accounts().get_receipt(self.account_request(GetReceiptRequest { request_id: request_id.to_owned() })).await;
        Ok(self.connections.auth.answer(answer, Some(request_id))?.receipt.unwrap_or_default())
    }
}

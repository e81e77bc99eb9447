//! What operators do. Each call needs an access token of a user with the admin role.

use std::fmt;
use std::time::SystemTime;

use crate::accounts::Profile;
use crate::client::Client;
use crate::error::Error;
use crate::proto::auth::{
    CreateUserRequest, CreateUserResponse, DisableUserRequest, EnableUserRequest, GrantCreditsRequest, GrantCreditsResponse,
    LockUserRequest, ResetPasswordRequest, ResetSecondFactorRequest, Role, UnlockUserRequest, User,
};

/// A user to be made.
#[derive(Debug, Clone, Default)]
pub struct NewUser {
    /// 3 to 64 characters: letters, digits, `.`, `_`, `-`; case is folded.
    pub user_name: String,
    /// Full name and e-mail.
    pub profile: Profile,
    /// Whether the user is an operator.
    pub admin: bool,
    /// 0 to 10^12. `None`: the server's own figure.
    pub starting_credits: Option<i64>,
}

/// A password that lets its user choose another one, once.
#[derive(Clone)]
pub struct OneTimePassword {
    /// To be given to the user; it can't be had again.
    pub password: String,
    /// When it ends; `None` when the service didn't say.
    pub expires_at: Option<SystemTime>,
    /// Whose.
    pub user: User,
    /// Issuers' identities that sign the user in once the reset is complete: see [`Client::identities_of`].
    pub linked_identities: u32,
}

impl fmt::Debug for OneTimePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneTimePassword")
            .field("user_name", &self.user.user_name)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a user. The password has 15 to 1024 bytes.
    pub async fn create_user(&self, user: NewUser, password: &str) -> Result<CreateUserResponse, Error> {
        let message = CreateUserRequest {
            user_name: user.user_name,
            password: password.to_owned(),
            full_name: user.profile.full_name,
            email: user.profile.email,
            role: if user.admin { Role::Admin } else { Role::User }.into(),
            starting_credits: user.starting_credits,
        };
        let answer = self.admin().create_user(self.request(message)).await;
        self.connections.auth.answer(answer, None)
    }

    /// Refuses all of a user's credentials from the next call after this one's answer, and ends their sessions. The reason is for other
    /// operators, of at most 200 characters; it may be empty. Idempotent.
    pub async fn disable_user(&self, user_name: &str, reason: &str) -> Result<User, Error> {
        let message = DisableUserRequest { user_name: user_name.to_owned(), reason: reason.to_owned() };
        let answer = self.admin().disable_user(self.request(message)).await;
        Ok(self.connections.auth.answer(answer, None)?.user.unwrap_or_default())
    }

    /// Lets a disabled user log in and use API keys again. Idempotent.
    pub async fn enable_user(&self, user_name: &str) -> Result<User, Error> {
        let message = EnableUserRequest { user_name: user_name.to_owned() };
        let answer = self.admin().enable_user(self.request(message)).await;
        Ok(self.connections.auth.answer(answer, None)?.user.unwrap_or_default())
    }

    /// Keeps a user from signing in, and ends their sessions; API keys stay in force. The reason is as for [`Self::disable_user`].
    /// Idempotent.
    pub async fn lock_user(&self, user_name: &str, reason: &str) -> Result<User, Error> {
        let message = LockUserRequest { user_name: user_name.to_owned(), reason: reason.to_owned() };
        let answer = self.admin().lock_user(self.request(message)).await;
        Ok(self.connections.auth.answer(answer, None)?.user.unwrap_or_default())
    }

    /// Lets a locked user sign in again. Idempotent.
    pub async fn unlock_user(&self, user_name: &str) -> Result<User, Error> {
        let message = UnlockUserRequest { user_name: user_name.to_owned() };
        let answer = self.admin().unlock_user(self.request(message)).await;
        Ok(self.connections.auth.answer(answer, None)?.user.unwrap_or_default())
    }

    /// Replaces a user's password by a one-time password, with which the user chooses another, and ends their sessions; API keys stay in
    /// force.
    pub async fn reset_password(&self, user_name: &str) -> Result<OneTimePassword, Error> {
        let message = ResetPasswordRequest { user_name: user_name.to_owned() };
        let answer = self.admin().reset_password(self.request(message)).await;
        let reset = self.connections.auth.answer(answer, None)?;
        Ok(OneTimePassword {
            password: reset.one_time_password,
            expires_at: reset.expires_at.and_then(|time| time.try_into().ok()),
            user: reset.user.unwrap_or_default(),
            linked_identities: reset.linked_identities,
        })
    }

    /// Turns a user's second factor off: they have lost it. Their sessions end. Not one's own. Idempotent.
    pub async fn reset_second_factor(&self, user_name: &str) -> Result<User, Error> {
        let message = ResetSecondFactorRequest { user_name: user_name.to_owned() };
        let answer = self.admin().reset_second_factor(self.request(message)).await;
        Ok(self.connections.auth.answer(answer, None)?.user.unwrap_or_default())
    }

    /// Adds 1 to 10^12 credits to a user's account. Idempotent by `request_id` (see [`crate::new_request_id`]): a repetition adds
    /// nothing. The note says why, in at most 200 characters.
    pub async fn grant_credits(&self, user_name: &str, credits: i64, request_id: &str, note: &str) -> Result<GrantCreditsResponse, Error> {
        let (user_name, request_id, note) = (user_name.to_owned(), request_id.to_owned(), note.to_owned());
        self.grant(GrantCreditsRequest { user_name, credits, request_id, note, account_id: String::new() }).await
    }

    /// The same for an account, by its id: an organization's, or a user's own.
    pub async fn grant_credits_to_account(
        &self,
        account_id: &str,
        credits: i64,
        request_id: &str,
        note: &str,
    ) -> Result<GrantCreditsResponse, Error> {
        let (account_id, request_id, note) = (account_id.to_owned(), request_id.to_owned(), note.to_owned());
        self.grant(GrantCreditsRequest { user_name: String::new(), credits, request_id, note, account_id }).await
    }

    async fn grant(&self, message: GrantCreditsRequest) -> Result<GrantCreditsResponse, Error> {
        let request_id = message.request_id.clone();
        let answer = self.admin().grant_credits(self.request(message)).await;
        self.connections.auth.answer(answer, Some(&request_id))
    }
}

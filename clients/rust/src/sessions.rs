//! Signing in and out, the user's sessions, and the password.

use std::fmt;

use crate::client::Client;
use crate::error::Error;
use crate::proto::auth::{
    ChangePasswordRequest, CompletePasswordResetRequest, GetJwksRequest, JsonWebKey, ListSessionsRequest, LoginRequest,
    LogoutEverywhereRequest, LogoutRequest, RevokeSessionRequest, Session as SessionEntry,
};
use crate::session::Session;

/// What a sign-in with a password may say beside it. The default: nothing.
#[derive(Clone, Default)]
pub struct SignInOptions {
    /// What the list of sessions shows: at most 200 characters. Empty: what this library calls itself.
    pub client: String,
    /// Six digits of the authenticator app, or a recovery code. A user who has a second factor is refused without it:
    /// `SECOND_FACTOR_REQUIRED`, and only after the right password.
    pub second_factor_code: String,
}

impl fmt::Debug for SignInOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignInOptions").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Client {
    /// Begins a session. For [`Client::with_session`], or by its access token for [`Client::with_credential`].
    pub async fn login(&self, user_name: &str, password: &str) -> Result<Session, Error> {
        self.login_with(user_name, password, SignInOptions::default()).await
    }

    /// The same, with a name that the list of sessions shows: at most 200 characters. Empty: what this library calls itself.
    pub async fn login_as(&self, user_name: &str, password: &str, client: &str) -> Result<Session, Error> {
        self.login_with(user_name, password, SignInOptions { client: client.to_owned(), ..SignInOptions::default() }).await
    }

    /// The same, with all that can be said beside the password: a code of the second factor, for users who have one.
    pub async fn login_with(&self, user_name: &str, password: &str, options: SignInOptions) -> Result<Session, Error> {
        let SignInOptions { client, second_factor_code } = options;
        let message = LoginRequest { user_name: user_name.to_owned(), password: password.to_owned(), client, second_factor_code };
        let answer = self.accounts().login(self.anonymous_request(message)).await;
        Session::of_login(self.connections.auth.answer(answer, None)?)
    }

    /// Chooses a password in place of the one-time password that an operator gave, and begins a session. The one-time password is good
    /// once.
    pub async fn complete_password_reset(
        &self,
        user_name: &str,
        one_time_password: &str,
        new_password: &str,
        options: SignInOptions,
    ) -> Result<Session, Error> {
        let message = CompletePasswordResetRequest {
            user_name: user_name.to_owned(),
            one_time_password: one_time_password.to_owned(),
            new_password: new_password.to_owned(),
            client: options.client,
            second_factor_code: options.second_factor_code,
        };
        let answer = self.accounts().complete_password_reset(self.anonymous_request(message)).await;
        Session::of_password_reset(self.connections.auth.answer(answer, None)?)
    }

    /// Refreshes the client's session now, and answers it. There is seldom a need: the client does it by itself.
    pub async fn refresh(&self) -> Result<Session, Error> {
        let session = self.kept_session().ok_or_else(|| Error::Configuration("the client has no session".to_owned()))?;
        session.refresh_now().await
    }

    /// Ends the session that the client's access token is of: its tokens are refused from then on, and answers that run end. Idempotent.
    pub async fn logout(&self) -> Result<(), Error> {
        let answer = self.accounts().logout(self.request(LogoutRequest {})).await;
        self.connections.auth.answer(answer, None)?;
        self.end_session();
        Ok(())
    }

    /// Ends all of the user's sessions, this one included, and says how many. API keys stay in force. Idempotent.
    pub async fn logout_everywhere(&self) -> Result<u32, Error> {
        let answer = self.accounts().logout_everywhere(self.request(LogoutEverywhereRequest {})).await;
        let ended = self.connections.auth.answer(answer, None)?.ended_sessions;
        self.end_session();
        Ok(ended)
    }

    fn end_session(&self) {
        if let Some(session) = self.kept_session() {
            session.end("it was logged out");
        }
    }

    /// The user's sessions that can still be refreshed, the one used last first.
    pub async fn sessions(&self) -> Result<Vec<SessionEntry>, Error> {
        let answer = self.accounts().list_sessions(self.request(ListSessionsRequest {})).await;
        Ok(self.connections.auth.answer(answer, None)?.sessions)
    }

    /// Ends one of the user's sessions. Idempotent.
    pub async fn revoke_session(&self, session_id: &str) -> Result<(), Error> {
        let message = RevokeSessionRequest { session_id: session_id.to_owned() };
        let answer = self.accounts().revoke_session(self.request(message)).await;
        self.connections.auth.answer(answer, None)?;
        if self.session().is_some_and(|session| session.session_id == session_id) {
            self.end_session();
        }
        Ok(())
    }

    /// Changes the password, ends all other sessions, and says how many those were. API keys stay in force.
    pub async fn change_password(&self, current_password: &str, new_password: &str) -> Result<u32, Error> {
        let message = ChangePasswordRequest { current_password: current_password.to_owned(), new_password: new_password.to_owned() };
        let answer = self.accounts().change_password(self.request(message)).await;
        Ok(self.connections.auth.answer(answer, None)?.ended_sessions)
    }

    /// The public keys that access tokens are signed with. None where they are signed with a secret.
    pub async fn jwks(&self) -> Result<Vec<JsonWebKey>, Error> {
        let answer = self.accounts().get_jwks(self.anonymous_request(GetJwksRequest {})).await;
        Ok(self.connections.auth.answer(answer, None)?.keys)
    }
}

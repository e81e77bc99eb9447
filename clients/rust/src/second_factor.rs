//! The second factor: an authenticator app (TOTP), and recovery codes in its place.

use std::fmt;
use std::time::SystemTime;

use crate::client::Client;
use crate::error::Error;
use crate::proto::auth::{
    BeginTotpRequest, ConfirmTotpRequest, CreateRecoveryCodesRequest, GetSecondFactorRequest, GetSecondFactorResponse, RemoveTotpRequest,
    StepUpRequest,
};

/// The secret of an authenticator app. It counts once [`Client::confirm_totp`] has proved that the app has it.
#[derive(Clone)]
pub struct NewTotp {
    /// In base32, to be typed into the app.
    pub secret: String,
    /// The same as an `otpauth://` address, to be shown as a QR code.
    pub otpauth_uri: String,
}

impl fmt::Debug for NewTotp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewTotp(…)")
    }
}

/// Codes that are good once each, in place of the app's. They can't be had again.
#[derive(Clone)]
pub struct RecoveryCodes(Vec<String>);

impl RecoveryCodes {
    /// The codes themselves, to be shown once.
    #[must_use]
    pub fn expose(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Debug for RecoveryCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecoveryCodes({} …)", self.0.len())
    }
}

impl Client {
    /// Whether the user has a second factor, and how many recovery codes are left.
    pub async fn second_factor(&self) -> Result<GetSecondFactorResponse, Error> {
        let answer = self.accounts().get_second_factor(self.request(GetSecondFactorRequest {})).await;
        self.connections.auth.answer(answer, None)
    }

    /// Makes the secret of an authenticator app; called again before it is confirmed, another. The password is empty for a user who has
    /// none: then the session must have begun within the last 15 minutes.
    pub async fn begin_totp(&self, password: &str) -> Result<NewTotp, Error> {
        let answer = self.accounts().begin_totp(self.request(BeginTotpRequest { password: password.to_owned() })).await;
        let made = self.connections.auth.answer(answer, None)?;
        Ok(NewTotp { secret: made.totp_secret, otpauth_uri: made.otpauth_uri })
    }

    /// Turns the second factor on by a code of the app. From then on signing in with the password needs a code as well.
    pub async fn confirm_totp(&self, code: &str) -> Result<RecoveryCodes, Error> {
        let answer = self.accounts().confirm_totp(self.request(ConfirmTotpRequest { second_factor_code: code.to_owned() })).await;
        Ok(RecoveryCodes(self.connections.auth.answer(answer, None)?.recovery_codes))
    }

    /// Turns the second factor off. The code is the app's or a recovery code.
    pub async fn remove_totp(&self, code: &str) -> Result<(), Error> {
        let answer = self.accounts().remove_totp(self.request(RemoveTotpRequest { second_factor_code: code.to_owned() })).await;
        self.connections.auth.answer(answer, None)?;
        Ok(())
    }

    /// Makes new recovery codes in place of those before.
    pub async fn create_recovery_codes(&self, code: &str) -> Result<RecoveryCodes, Error> {
        let message = CreateRecoveryCodesRequest { second_factor_code: code.to_owned() };
        let answer = self.accounts().create_recovery_codes(self.request(message)).await;
        Ok(RecoveryCodes(self.connections.auth.answer(answer, None)?.recovery_codes))
    }

    /// Proves the second factor anew in the client's session, and says until when what asks for it is allowed: 15 minutes.
    /// [`Client::with_step_up`] does it when a call asks for it.
    pub async fn step_up(&self, code: &str) -> Result<Option<SystemTime>, Error> {
        let answer = self.accounts().step_up(self.request(StepUpRequest { second_factor_code: code.to_owned() })).await;
        Ok(self.connections.auth.answer(answer, None)?.good_until.and_then(|time| time.try_into().ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_the_secret_nor_a_recovery_code_is_shown() {
        let totp = NewTotp { secret: "canary".into(), otpauth_uri: "otpauth://canary".into() };
        let codes = RecoveryCodes(vec!["canary".into(), "canary".into()]);
        let shown = format!("{totp:?} {codes:?}");
        assert!(!shown.contains("canary") && shown.contains("2 …"), "{shown}");
    }
}

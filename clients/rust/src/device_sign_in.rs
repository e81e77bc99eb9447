//! Signing in where there is no browser (RFC 8628): the device shows a code, and somebody who is signed in approves it elsewhere.

use std::fmt;
use std::time::{Duration, SystemTime};

use shared::ErrorReason;
use tokio::time::Instant;

use crate::client::Client;
use crate::error::Error;
use crate::proto::auth::{
    ApproveDeviceRequest, BeginDeviceSignInRequest, ExchangeDeviceCodeRequest, GetDeviceSignInRequest, GetDeviceSignInResponse,
};
use crate::session::{Session, SignedIn};

/// How long to wait between two questions where the service doesn't say.
const INTERVAL: Duration = Duration::from_secs(5);
/// How much longer, each time that the service wants it slower.
const SLOWER_BY: Duration = Duration::from_secs(5);
/// The longest wait while the service can't be reached.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// No code is good for longer. The service says when it ends; this counts when there is no service.
const LONGEST_LIFE: Duration = Duration::from_secs(15 * 60);

/// A device's sign-in that has begun.
#[derive(Clone)]
pub struct DeviceSignIn {
    /// To be shown, and typed by whoever approves: eight letters, `BCDF-GHJK`.
    pub user_code: String,
    /// Where to type it.
    pub verification_uri: String,
    /// The same with the code in it.
    pub verification_uri_complete: String,
    /// Until when; `None` when the service didn't say.
    pub expires_at: Option<SystemTime>,
    /// How long to wait between two questions.
    pub interval: Duration,
    device_code: String,
    begun: Instant,
}

impl fmt::Debug for DeviceSignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceSignIn")
            .field("verification_uri", &self.verification_uri)
            .field("expires_at", &self.expires_at)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

/// How long to wait before the next question.
#[derive(Debug)]
struct Pace {
    interval: Duration,
    /// Questions in a row that nobody answered.
    unanswered: u32,
}

impl Pace {
    fn new(interval: Duration) -> Self {
        Self { interval, unanswered: 0 }
    }

    /// What to do after this answer; `None`: nothing, it is the last one.
    fn after(&mut self, error: &Error) -> Option<Duration> {
        let wait = match error.reason() {
            Some(ErrorReason::AuthorizationPending) => self.answered(),
            Some(ErrorReason::SlowDown) => {
                self.interval += SLOWER_BY;
                self.answered()
            }
            // The code may be good yet: only the service can say.
            _ if error.is_retryable() || matches!(error, Error::TimedOut { .. }) => {
                self.unanswered = self.unanswered.saturating_add(1);
                let factor = 2_u32.saturating_pow(self.unanswered);
                self.interval.saturating_mul(factor).min(LONGEST_WAIT).max(self.interval)
            }
            _ => return None,
        };
        Some(error.retry_delay().map_or(wait, |delay| delay.max(wait)))
    }

    fn answered(&mut self) -> Duration {
        self.unanswered = 0;
        self.interval
    }
}

impl Client {
    /// Begins the sign-in of a device. `client` is what whoever approves is shown; empty: what this library calls itself. `scopes` limit
    /// the session's access tokens, as those of an API key; empty: all that the user may do.
    pub async fn begin_device_sign_in(&self, client: &str, scopes: &[String]) -> Result<DeviceSignIn, Error> {
        let message = BeginDeviceSignInRequest { client: client.to_owned(), scopes: scopes.to_vec() };
        let answer = self.accounts().begin_device_sign_in(self.anonymous_request(message)).await;
        let begun = self.connections.auth.answer(answer, None)?;
        let interval = begun.interval.and_then(|interval| Duration::try_from(interval).ok()).filter(|interval| !interval.is_zero());
        Ok(DeviceSignIn {
            user_code: begun.user_code,
            verification_uri: begun.verification_uri,
            verification_uri_complete: begun.verification_uri_complete,
            expires_at: begun.expires_at.and_then(|time| time.try_into().ok()),
            interval: interval.unwrap_or(INTERVAL),
            device_code: begun.device_code,
            begun: Instant::now(),
        })
    }

    /// Asks once whether the sign-in was approved, and begins the session when it was. `AUTHORIZATION_PENDING` and `SLOW_DOWN` say that it
    /// wasn't yet, and when to ask again: [`Client::wait_for_device`] does that.
    pub async fn exchange_device_code(&self, sign_in: &DeviceSignIn) -> Result<SignedIn, Error> {
        let message = ExchangeDeviceCodeRequest { device_code: sign_in.device_code.clone() };
        let answer = self.accounts().exchange_device_code(self.anonymous_request(message)).await;
        let mut answer = self.connections.auth.answer(answer, None)?;
        let user_name = std::mem::take(&mut answer.user_name);
        Ok(SignedIn { session: Session::of_device(answer)?, user_name, created: false })
    }

    /// Waits until somebody has approved, and begins the session. It asks as often as the service wants it, and less often while the
    /// service can't be reached. Fails with `DEVICE_SIGN_IN_DENIED`, or with `DEVICE_CODE_EXPIRED` when nobody approved in time. Dropping
    /// it stops the questions.
    pub async fn wait_for_device(&self, sign_in: &DeviceSignIn) -> Result<SignedIn, Error> {
        let ends = sign_in.begun + LONGEST_LIFE;
        let mut pace = Pace::new(sign_in.interval);
        let mut wait = sign_in.interval;
        loop {
            tokio::time::sleep(wait).await;
            let error = match self.exchange_device_code(sign_in).await {
                Ok(signed_in) => return Ok(signed_in),
                Err(error) => error,
            };
            wait = match pace.after(&error) {
                Some(wait) if Instant::now() + wait < ends => wait,
                _ => return Err(error),
            };
        }
    }

    /// What would be approved, by the code that the device shows; case, spaces and hyphens don't matter. Needs an access token.
    pub async fn device_sign_in(&self, user_code: &str) -> Result<GetDeviceSignInResponse, Error> {
        let message = GetDeviceSignInRequest { user_code: user_code.to_owned() };
        let answer = self.accounts().get_device_sign_in(self.request(message)).await;
        self.connections.auth.answer(answer, None)
    }

    /// Lets the device sign in as the caller. Whoever asks must have been shown to a person first: [`Client::device_sign_in`]. Needs an
    /// access token with a session, and counts as long as that session is there.
    pub async fn approve_device(&self, user_code: &str) -> Result<(), Error> {
        self.decide(user_code, false).await
    }

    /// Refuses the device's sign-in.
    pub async fn deny_device(&self, user_code: &str) -> Result<(), Error> {
        self.decide(user_code, true).await
    }

    async fn decide(&self, user_code: &str, deny: bool) -> Result<(), Error> {
        let message = ApproveDeviceRequest { user_code: user_code.to_owned(), deny };
        let answer = self.accounts().approve_device(self.request(message)).await;
        self.connections.auth.answer(answer, None)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::error::Refusal;
    use crate::service::Service;

    fn refused(code: Code, reason: ErrorReason, retry_delay: Option<u64>) -> Error {
        Error::Refused(Box::new(Refusal {
            code,
            reason: Some(reason),
            message: String::new(),
            retry_delay: retry_delay.map(Duration::from_secs),
            receipt: None,
            quotas: Vec::new(),
            request_id: None,
        }))
    }

    fn pending() -> Error {
        refused(Code::FailedPrecondition, ErrorReason::AuthorizationPending, None)
    }

    #[test]
    fn questions_come_at_the_interval_and_five_seconds_slower_each_time_that_the_service_wants_it_slower() {
        let mut pace = Pace::new(Duration::from_secs(5));
        let slow_down = refused(Code::FailedPrecondition, ErrorReason::SlowDown, None);
        let waits = [pending(), slow_down.clone(), pending(), slow_down, pending()].map(|error| pace.after(&error).unwrap().as_secs());
        assert_eq!(waits, [5, 10, 10, 15, 15]);
        let later = refused(Code::ResourceExhausted, ErrorReason::RateLimited, Some(90));
        assert_eq!(pace.after(&later).unwrap().as_secs(), 90, "the service's own word counts when it is longer");
    }

    #[test]
    fn a_service_that_is_away_is_asked_less_and_less_often_and_at_the_interval_again_once_it_answers() {
        let mut pace = Pace::new(Duration::from_secs(5));
        let broke = Error::Interrupted { service: Service::Auth, cause: "c".into(), request_id: None };
        let timed_out = Error::TimedOut { service: Service::Auth, request_id: None };
        let waits = [&broke, &timed_out, &broke, &broke, &broke].map(|error| pace.after(error).unwrap().as_secs());
        assert_eq!(waits, [10, 20, 40, 60, 60]);
        assert_eq!(pace.after(&pending()).unwrap().as_secs(), 5);
    }

    #[test]
    fn what_is_decided_is_not_asked_again() {
        let mut pace = Pace::new(Duration::from_secs(5));
        for (code, reason) in [
            (Code::PermissionDenied, ErrorReason::DeviceSignInDenied),
            (Code::FailedPrecondition, ErrorReason::DeviceCodeExpired),
            (Code::PermissionDenied, ErrorReason::UserDisabled),
            (Code::InvalidArgument, ErrorReason::InvalidArgument),
        ] {
            assert_eq!(pace.after(&refused(code, reason, None)), None, "{reason:?}");
        }
    }

    #[tokio::test]
    async fn neither_code_of_a_device_is_shown() {
        let sign_in = DeviceSignIn {
            user_code: "canary".into(),
            verification_uri: "http://host/device".into(),
            verification_uri_complete: "http://host/device?user_code=canary".into(),
            expires_at: None,
            interval: INTERVAL,
            device_code: "canary".into(),
            begun: Instant::now(),
        };
        let shown = format!("{sign_in:?}");
        assert!(shown.contains("http://host/device") && !shown.contains("canary"), "{shown}");
    }
}

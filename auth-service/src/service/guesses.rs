//! What somebody who is signed in can guess. Who is wrong too often waits, by user and network.

use crate::ids::UserId;
use crate::organization::change::OrganizationRefusal;
use crate::service::call::Call;
use crate::service::device_sign_in::DeviceRefusal;
use crate::service::service_error::ServiceError;
use crate::throttle::{LoginThrottle, PutOff};

/// Counts of wrong guesses, each kind apart.
#[derive(Debug)]
pub struct Guesses {
    /// User codes of devices.
    pub device_codes: LoginThrottle,
    /// Codes of invitations.
    pub invitation_codes: LoginThrottle,
    /// Names of users, by who adds members.
    pub user_names: LoginThrottle,
}

impl Default for Guesses {
    fn default() -> Self {
        let [device_codes, invitation_codes, user_names] = [(); 3].map(|()| LoginThrottle::of_guesses());
        Self { device_codes, invitation_codes, user_names }
    }
}

/// Tries what may be a guess, and counts it when it is a wrong one. One that hits never happened: what somebody knows would else clear what
/// they have guessed.
pub(super) async fn counted<T>(
    throttle: &LoginThrottle,
    call: Call<'_>,
    user: &UserId,
    guess: &str,
    attempt: impl Future<Output = Result<T, ServiceError>>,
) -> Result<T, ServiceError> {
    let begun = throttle.begin(user.as_str(), guess, call.address).await.map_err(|put_off| match put_off {
        PutOff::Failures(retry_after) => ServiceError::Throttled { retry_after },
        PutOff::Crowd(retry_after) => ServiceError::Crowded { retry_after },
    })?;
    let answer = attempt.await;
    match &answer {
        Err(error) if is_wrong(error) => begun.failed(),
        Ok(_) | Err(_) => begun.withdraw(),
    }
    answer
}

/// Whether nobody has what was guessed.
fn is_wrong(error: &ServiceError) -> bool {
    matches!(
        error,
        ServiceError::Device(DeviceRefusal::UserCodeUnknown)
            | ServiceError::Organization(OrganizationRefusal::InvitationInvalid | OrganizationRefusal::UserNotFound)
    )
}

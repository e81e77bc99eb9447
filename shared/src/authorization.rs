//! Who may call a method, judged from the `authorization` header alone.
//!
//! Both services judge it before they read a call's message. So nobody who holds no credential makes them read, decode or ask.

use http::HeaderMap;
use tonic::Code;

use crate::ErrorReason;
use crate::credential_form::{API_KEY_PREFIX, FormError, bearer, end_users};
use crate::error::CallError;
use crate::secret::Secret;
use crate::tls::ClientCertificate;

/// Who a method's callers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerKind {
    /// Anybody: sign-up, log-in, health, reflection.
    Anybody,
    /// An end user, with an API key or an access token.
    EndUser,
    /// Another service, with the service credential or a listed certificate.
    Service,
    /// Another service, or an operator with an access token. The method judges it, before it reads a message: it knows who is an operator.
    ServiceOrOperator,
}

/// Another service, which showed the service credential or a listed certificate: in the extensions of a request. Only
/// [`crate::admission`] makes one.
#[derive(Debug, Clone, Copy)]
pub struct ServiceCaller(());

/// Judges the credential of an end user's call by its form. What passes may still be unknown, revoked or forged.
pub fn judge_end_user(headers: &HeaderMap) -> Result<(), CallError> {
    Ok(bearer(headers).and_then(end_users)?)
}

/// Judges the credential of another service's call: it is one of these, or the call is refused. Where none is sent, the certificate of the
/// call's connection stands for it.
pub fn judge_service(headers: &HeaderMap, credentials: &[Secret], certificate: ClientCertificate) -> Result<ServiceCaller, CallError> {
    let sent = match bearer(headers) {
        Err(FormError::Missing) => return judge_certificate(certificate),
        sent => sent.unwrap_or_default(),
    };
    // All are compared, so that the time doesn't tell which one matched.
    if credentials.iter().filter(|secret| secret.matches(sent)).count() > 0 {
        return Ok(ServiceCaller(()));
    }
    let message = if end_users(sent).is_ok() || sent.starts_with(API_KEY_PREFIX) {
        "this service answers services, by the service credential; an API key or access token belongs into CheckRequest.credential"
    } else {
        "this service answers services, and the service credential is wrong"
    };
    Err(CallError::new(Code::Unauthenticated, ErrorReason::ServiceCredentialInvalid, message))
}

fn judge_certificate(certificate: ClientCertificate) -> Result<ServiceCaller, CallError> {
    let (reason, message) = match certificate {
        ClientCertificate::Listed => return Ok(ServiceCaller(())),
        ClientCertificate::None => (
            ErrorReason::CredentialMissing,
            "this service answers services: send `authorization: Bearer <service credential>`, or show a client certificate that is listed",
        ),
        ClientCertificate::NotListed => (
            ErrorReason::ServiceCredentialInvalid,
            "this service answers services, and no name of the client certificate is listed: TOLLGATE_AUTH_CLIENT_NAMES has those that are",
        ),
        ClientCertificate::NoLongerGood => (
            ErrorReason::ServiceCredentialInvalid,
            "this service answers services, and the client certificate of this connection is no longer good: connect with another one",
        ),
    };
    Err(CallError::new(Code::Unauthenticated, reason, message))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::AUTHORIZATION;

    use super::*;
    use crate::credential_form::{checksum, to_bearer};

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap())).collect()
    }

    fn api_key() -> String {
        let body = format!("{API_KEY_PREFIX}{}", "a1B2".repeat(10));
        let written = checksum(&body);
        format!("{body}{}", std::str::from_utf8(&written).unwrap())
    }

    #[test]
    fn only_a_service_credential_in_force_lets_a_service_in_and_others_are_told_what_to_send() {
        let secrets: Vec<(Secret, String)> = (0..2).map(|_| Secret::generate().unwrap()).collect();
        let in_force: Vec<Secret> = secrets.iter().map(|(secret, _)| secret.clone()).collect();
        let judged = |values: &[&str], certificate| {
            judge_service(&headers(values), &in_force, certificate).map(|_| ()).map_err(|error| error.reason())
        };
        let reason = |values: &[&str]| judged(values, ClientCertificate::None);
        for (_, text) in &secrets {
            assert_eq!(reason(&[&to_bearer(text)]), Ok(()));
        }
        assert_eq!(reason(&[]), Err(ErrorReason::CredentialMissing));
        let (_, another) = Secret::generate().unwrap();
        let one = to_bearer(&secrets[0].1);
        for wrong in [to_bearer(&api_key()), to_bearer("short"), to_bearer(&another), to_bearer("")] {
            assert_eq!(reason(&[&wrong]), Err(ErrorReason::ServiceCredentialInvalid), "{wrong}");
        }
        assert_eq!(reason(&[&one, &one]), Err(ErrorReason::ServiceCredentialInvalid));
        // A certificate stands for a credential that isn't sent, and for none that is wrong.
        assert_eq!(judged(&[], ClientCertificate::Listed), Ok(()));
        assert_eq!(judged(&[&to_bearer(&another)], ClientCertificate::Listed), Err(ErrorReason::ServiceCredentialInvalid));
        for worthless in [ClientCertificate::NotListed, ClientCertificate::NoLongerGood] {
            assert_eq!(judged(&[], worthless), Err(ErrorReason::ServiceCredentialInvalid));
            assert_eq!(judged(&[&one], worthless), Ok(()));
        }
    }
}

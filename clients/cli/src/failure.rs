//! What a command that failed tells: one line in words, and an exit code for scripts.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use shared::error::reason_name;
use tollgate_client::{Code, Error, ErrorReason, Service};

use crate::display::{credits, one_line};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line, or what it names, can't be used.
    #[error("{0}")]
    Usage(String),
    /// What is named isn't there, or isn't named so that one alone is meant.
    #[error("{0}")]
    NotThere(String),
    /// Somebody said no.
    #[error("{0}")]
    Declined(String),
    /// An issuer didn't let the person in, or the person didn't let us.
    #[error("{0}")]
    Denied(String),
    /// A person took longer than there was time.
    #[error("{0}")]
    Late(String),
    /// A call failed.
    #[error(transparent)]
    Call(#[from] Error),
    /// A file or stream on this machine failed.
    #[error("{what}: {source}")]
    Io {
        /// What failed.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file that should have a session isn't there.
    #[error("there is no session in {}: tollgate login NAME begins one", path.display())]
    NoSession {
        /// The file.
        path: PathBuf,
    },
    /// A session must not go to another server than the one that began it.
    #[error(
        "the session in {} is of {begun_at}, and auth-service is said to be {asked}: --auth-url {begun_at} uses it, tollgate login NAME \
         begins another one",
        path.display()
    )]
    OtherServer {
        /// The file.
        path: PathBuf,
        /// The server that began it.
        begun_at: Box<str>,
        /// The server that would be shown it.
        asked: Box<str>,
    },
    /// The operating system's keychain can't be used, or hasn't what it should have.
    #[error("{0}")]
    Keychain(String),
    /// There is no such value.
    #[error("{0} isn't set: tollgate config set {0} sets it")]
    NotSet(&'static str),
    /// Whoever read standard output has gone: there is nothing left to do, and nothing to complain about.
    #[error("nobody reads the output")]
    ReaderGone,
    /// Ctrl-C, while nothing was under way that has a price.
    #[error("interrupted")]
    Interrupted,
    /// A signal ended the session.
    #[error("ended by a signal")]
    Ended {
        /// The exit code that stands for it.
        code: u8,
    },
    /// Ctrl-C.
    #[error("cancelled")]
    Cancelled {
        /// The request that was cancelled.
        request_id: String,
    },
}

const FAILED: u8 = 1;
const INSUFFICIENT_CREDITS: u8 = 3;
// The names of sysexits.h.
const USAGE: u8 = shared::env::EXIT_USAGE;
const UNAVAILABLE: u8 = 69;
const TEMPORARY: u8 = 75;
const NO_PERMISSION: u8 = 77;
const CTRL_C: u8 = 130;

/// Prints what clap has to say, which is help and the version as well.
pub(crate) fn report_usage(error: &clap::Error) -> ExitCode {
    // A closed standard output or error is no reason to fail differently.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

/// Says on standard error what happened, and gives the exit code for it.
pub(crate) fn report(failure: &Failure) -> ExitCode {
    if let Some(line) = line(failure) {
        let _ = writeln!(io::stderr(), "tollgate: {line}");
    }
    ExitCode::from(exit_code(failure))
}

fn exit_code(failure: &Failure) -> u8 {
    match failure {
        Failure::Usage(_) | Failure::Call(Error::Configuration(_)) => USAGE,
        Failure::Io { .. } | Failure::Keychain(_) | Failure::NotSet(_) | Failure::NotThere(_) | Failure::Declined(_) => FAILED,
        Failure::NoSession { .. } | Failure::OtherServer { .. } | Failure::Denied(_) => NO_PERMISSION,
        Failure::Late(_) => TEMPORARY,
        Failure::ReaderGone => 0,
        Failure::Cancelled { .. } | Failure::Interrupted => CTRL_C,
        Failure::Ended { code } => *code,
        Failure::Call(error) => match error.reason() {
            Some(ErrorReason::InsufficientCredits | ErrorReason::MemberCapReached) => INSUFFICIENT_CREDITS,
            Some(
                ErrorReason::DeviceCodeExpired
                | ErrorReason::SignInExpired
                | ErrorReason::RateLimited
                | ErrorReason::RequestInProgress
                | ErrorReason::SweepInProgress
                | ErrorReason::TooManyOpenHolds
                | ErrorReason::UpstreamBusy,
            ) => TEMPORARY,
            _ => match error.code() {
                Code::InvalidArgument => USAGE,
                Code::Unauthenticated | Code::PermissionDenied => NO_PERMISSION,
                Code::Unavailable => UNAVAILABLE,
                Code::DeadlineExceeded => TEMPORARY,
                _ if error.is_retryable() => TEMPORARY,
                _ => FAILED,
            },
        },
    }
}

/// What happened, the reason's name, what to do, and what it cost; `None` when there is nothing to say.
pub(crate) fn line(failure: &Failure) -> Option<String> {
    let error = match failure {
        Failure::ReaderGone | Failure::Interrupted | Failure::Ended { .. } => return None,
        Failure::Cancelled { request_id } => {
            return Some(format!("cancelled; what was generated until then is charged: tollgate receipt {request_id}"));
        }
        Failure::Call(error) => error,
        Failure::Usage(_)
        | Failure::NotThere(_)
        | Failure::Declined(_)
        | Failure::Denied(_)
        | Failure::Late(_)
        | Failure::Io { .. }
        | Failure::NoSession { .. }
        | Failure::OtherServer { .. }
        | Failure::Keychain(_)
        | Failure::NotSet(_) => return Some(one_line(&failure.to_string())),
    };
    let mut parts = vec![match error.refusal() {
        Some(refusal) => {
            let name = refusal.reason.map_or_else(|| format!("{:?}", refusal.code), |reason| reason_name(reason).to_owned());
            let message = refusal.message.trim_end_matches('.');
            let said = if message.is_empty() { name } else { format!("{message} ({name})") };
            if matches!(error, Error::SessionEnded(_)) { format!("the session has ended: {said}") } else { said }
        }
        None => error.to_string(),
    }];
    parts.extend(advice(error));
    if let Some(delay) = error.retry_delay() {
        parts.push(format!("try again in {} s", delay.as_secs_f64().ceil().max(1.0)));
    }
    if let Some(receipt) = error.receipt() {
        let charged = receipt.charged_credits();
        let left = receipt.remaining_credits.map(|left| format!(", {left} left")).unwrap_or_default();
        let request = error.request_id().map(|id| format!(" (request {id})")).unwrap_or_default();
        parts.push(format!("{} charged{left}{request}", credits(charged)));
    }
    Some(one_line(&parts.join("; ")))
}

/// What to do, where this command knows better than the server.
fn advice(error: &Error) -> Option<String> {
    match error {
        Error::Unreachable { cause, .. } if cause.contains("authority that isn't trusted") => {
            return Some("--ca or TOLLGATE_CA names the file of its authority".into());
        }
        // It is there, and its words say what to do.
        Error::Unreachable { cause, .. } if cause.contains("certificate") || cause.contains("TLS") => return None,
        Error::Unreachable { service: Service::Auth, .. } => {
            return Some("is it running? --auth-url or TOLLGATE_AUTH_URL says where".into());
        }
        Error::Unreachable { service: Service::Inference, .. } => return Some("is it running? --url or TOLLGATE_URL says where".into()),
        Error::Interrupted { request_id: Some(id), .. } | Error::TimedOut { request_id: Some(id), .. } => {
            return Some(format!("what became of the request: tollgate receipt {id}"));
        }
        Error::SessionEnded(refusal) if refusal.reason != Some(ErrorReason::PasswordChangeRequired) => {
            return Some("tollgate login NAME begins another one".into());
        }
        // The server's word came before its settle: the receipt has the charge.
        _ if error.reason() == Some(ErrorReason::DeadlineExceeded) && error.receipt().is_none() => {
            return error.request_id().map(|id| format!("what became of the request: tollgate receipt {id}"));
        }
        _ => {}
    }
    let advice = match error.reason()? {
        ErrorReason::CredentialMissing => "sign in (tollgate login NAME), or give a key: tollgate config set key, or TOLLGATE_API_KEY",
        ErrorReason::CredentialExpired => "log in again (tollgate login NAME), or make a new key",
        ErrorReason::AccessTokenRequired => {
            "sign in (tollgate login NAME), and leave out what gives a key: tollgate config shows where it comes from"
        }
        ErrorReason::PasswordChangeRequired => "tollgate password complete-reset NAME chooses a new one",
        ErrorReason::OtherOperatorRequired => "tollgate admin create-user NAME --admin makes another operator, who can",
        ErrorReason::SecondFactorRequired => "on a terminal the code is asked for; elsewhere it is the next line, or --second-factor-code",
        ErrorReason::StepUpRequired => "tollgate me step-up, and then this again",
        ErrorReason::SecondFactorNotSetUp => "tollgate me totp setup sets one up",
        ErrorReason::RecentSignInRequired => "sign in again (tollgate login), or prove your second factor: tollgate me step-up",
        ErrorReason::NoPassword => "tollgate login --with ISSUER signs in without one",
        ErrorReason::OrganizationNotFound => "tollgate orgs list shows what there is",
        ErrorReason::MemberNotFound => "tollgate orgs members and tollgate service-accounts list show who is there",
        ErrorReason::LastOwner => "tollgate orgs role ORG USER owner makes another one first",
        ErrorReason::MemberCapReached => "an owner can raise it: tollgate orgs cap",
        ErrorReason::InvitationInvalid => "it was used or withdrawn, or has ended: ask for another",
        ErrorReason::UserCodeUnknown => "the device shows it, for 10 minutes; tollgate login --device makes another",
        ErrorReason::DeviceCodeExpired | ErrorReason::SignInExpired => "begin again",
        ErrorReason::IdentityNotFound => "tollgate me identities list shows what there is",
        ErrorReason::SessionNotFound => "tollgate sessions list shows what there is",
        ErrorReason::InsufficientCredits => "tollgate balance shows what there is; an operator can grant more",
        ErrorReason::ModelNotFound => "tollgate models list shows what there is",
        ErrorReason::UserNotFound => "tollgate admin users shows whom there is",
        ErrorReason::ApiKeyNotFound => "tollgate keys list shows what there is",
        ErrorReason::RequestIdReused => "leave --request-id out, or give a new one",
        ErrorReason::StoreFull | ErrorReason::StoreReadOnly | ErrorReason::StoreMisconfigured => {
            "its operator finds the cause in auth-service's log, under this reason"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tollgate_client::Refusal;
    use tollgate_client::proto::inference::Receipt;

    use super::*;

    fn refusal(code: Code, reason: Option<ErrorReason>, message: &str) -> Refusal {
        Refusal { code, reason, message: message.to_owned(), retry_delay: None, receipt: None, quotas: Vec::new(), request_id: None }
    }

    fn refused(refusal: Refusal) -> Failure {
        Failure::Call(Error::Refused(Box::new(refusal)))
    }

    #[test]
    fn each_kind_of_failure_has_its_exit_code() {
        let code = |code, reason| exit_code(&refused(refusal(code, Some(reason), "no")));
        assert_eq!(code(Code::ResourceExhausted, ErrorReason::InsufficientCredits), 3);
        assert_eq!(code(Code::InvalidArgument, ErrorReason::InvalidArgument), 64);
        assert_eq!(code(Code::Unavailable, ErrorReason::StoreUnavailable), 69);
        assert_eq!(code(Code::Unavailable, ErrorReason::StoreFull), 69);
        assert_eq!(code(Code::Unavailable, ErrorReason::StoreReadOnly), 69);
        assert_eq!(code(Code::Unavailable, ErrorReason::StoreMisconfigured), 69);
        assert_eq!(code(Code::Unavailable, ErrorReason::Draining), 69);
        assert_eq!(code(Code::Unavailable, ErrorReason::UpstreamBusy), 75);
        assert_eq!(code(Code::Unavailable, ErrorReason::SweepInProgress), 75);
        assert_eq!(code(Code::Aborted, ErrorReason::RequestInProgress), 75);
        assert_eq!(code(Code::ResourceExhausted, ErrorReason::RateLimited), 75);
        assert_eq!(code(Code::ResourceExhausted, ErrorReason::LimitReached), 1);
        assert_eq!(code(Code::DeadlineExceeded, ErrorReason::UpstreamTimeout), 75);
        assert_eq!(code(Code::Unauthenticated, ErrorReason::CredentialExpired), 77);
        assert_eq!(code(Code::PermissionDenied, ErrorReason::RoleRequired), 77);
        assert_eq!(code(Code::NotFound, ErrorReason::ModelNotFound), 1);
        assert_eq!(code(Code::ResourceExhausted, ErrorReason::MemberCapReached), 3);
        assert_eq!(code(Code::FailedPrecondition, ErrorReason::DeviceCodeExpired), 75);
        assert_eq!(exit_code(&Failure::NotThere("no".into())), 1);
        assert_eq!(exit_code(&Failure::Declined("no".into())), 1);
        assert_eq!(exit_code(&Failure::Denied("no".into())), 77);
        assert_eq!(exit_code(&Failure::Late("no".into())), 75);
        assert_eq!(code(Code::Internal, ErrorReason::Internal), 1);
        assert_eq!(exit_code(&refused(refusal(Code::Unauthenticated, None, "of a proxy"))), 77);
        assert_eq!(exit_code(&Failure::Usage("no".into())), 64);
        assert_eq!(exit_code(&Failure::Call(Error::Configuration("no".into()))), 64);
        assert_eq!(exit_code(&Failure::ReaderGone), 0);
        assert_eq!(exit_code(&Failure::Cancelled { request_id: "r".into() }), 130);
        assert_eq!(exit_code(&Failure::Interrupted), 130);
        let unreachable = Error::Unreachable { service: Service::Auth, url: "u".into(), cause: "c".into(), request_id: None };
        assert_eq!(exit_code(&Failure::Call(unreachable)), 69);
        let broke = Error::Interrupted { service: Service::Inference, cause: "c".into(), request_id: None };
        assert_eq!(exit_code(&Failure::Call(broke)), 69);
        assert_eq!(exit_code(&Failure::Call(Error::TimedOut { service: Service::Inference, request_id: None })), 75);
    }

    #[test]
    fn a_store_that_only_its_operator_can_mend_says_where_to_look() {
        for reason in [ErrorReason::StoreFull, ErrorReason::StoreReadOnly, ErrorReason::StoreMisconfigured] {
            let line = line(&refused(refusal(Code::Unavailable, Some(reason), "no"))).unwrap();
            assert!(line.contains("auth-service's log"), "{line}");
        }
    }

    #[test]
    fn a_failure_is_one_line_with_reason_advice_delay_and_charge() {
        let mut refusal = refusal(Code::Unavailable, Some(ErrorReason::UpstreamUnavailable), "the model server\nbroke.");
        refusal.retry_delay = Some(Duration::from_millis(1500));
        refusal.receipt = Some(Receipt { charged_credits: Some(1), remaining_credits: Some(8), ledger_entry_id: "2".to_owned() });
        refusal.request_id = Some("r1".to_owned());
        assert_eq!(
            line(&refused(refusal)).unwrap(),
            "the model server broke (UPSTREAM_UNAVAILABLE); try again in 2 s; 1 credit charged, 8 left (request r1)"
        );
        let unreachable = Error::Unreachable {
            service: Service::Inference,
            url: "http://h:1".into(),
            cause: "Connection refused (os error 111)".into(),
            request_id: None,
        };
        assert_eq!(
            line(&Failure::Call(unreachable)).unwrap(),
            "inference-service can't be reached at http://h:1: Connection refused (os error 111); \
             is it running? --url or TOLLGATE_URL says where"
        );
        assert_eq!(line(&Failure::ReaderGone), None);
    }
}

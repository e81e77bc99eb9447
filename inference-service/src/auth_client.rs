//! The client of auth-service, and the one place that can make a [`Grant`].
//!
//! What is held is given back on every exit. A Check whose caller goes away is finished by the process, and the grant that comes back is
//! refunded. What a Check without an answer may have held is released. Settles run in tasks of their own, which the process waits for at
//! its end.

mod auth_tls;
mod auth_urls;
mod balancer;
mod connection;
mod detach_on_drop;
mod extension;
mod grant;
mod refusal;
mod releases;
mod revocation;
mod running;
mod settle;
mod stub;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use shared::call_record::CallRecord;
use shared::counted_message::MAX_CHECK_MODELS;
use shared::error::{ACCOUNT_METADATA, CallError, metadata_of};
use shared::proto::auth as wire;
use shared::secret::Secret;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::metadata::errors::InvalidMetadataValue;

pub use self::auth_tls::{AUTH_TLS_VARIABLES, AuthTls};
pub use self::auth_urls::AuthUrls;
use self::balancer::Balancer;
use self::detach_on_drop::DetachOnDrop;
pub use self::grant::{Grant, Meter, Outcome, TokenUsage};
use self::refusal::{is_retryable, may_have_held, refusal};
use self::releases::ReleaseQueue;
use self::revocation::Holder;
pub(crate) use self::running::Revocable;
use self::running::RunningAnswers;
use self::stub::{RetryableCheck, Stub};
use crate::caller::Caller;
use crate::timers::Timers;

/// Replicas that are asked in turn, before all of them count as out of order.
const MAX_PROBED_REPLICAS: usize = 3;
/// The most bytes of names in one Check, whose message may have 64 KiB with a credential of 8 KiB.
const MAX_ASKED_BYTES: usize = 32 << 10;

/// How auth-service is reached.
#[derive(Debug, Clone)]
pub struct AuthClientConfig {
    /// Where its replicas listen.
    pub urls: AuthUrls,
    /// How the TLS of those that ask for it is spoken.
    pub tls: Option<AuthTls>,
    /// Proves that this service may ask; `None`: its certificate does.
    pub service_credential: Option<Secret>,
    /// How long a Check may take, its retries included. Then the call is refused with UNAVAILABLE.
    pub check_timeout: Duration,
    /// How long a settle is tried again: as long as the store remembers the request.
    pub settle_retry_for: Duration,
}

/// Asks auth-service. Cheap to clone.
#[derive(Clone)]
pub struct AuthClient {
    inner: Arc<Inner>,
}

struct Inner {
    urls: AuthUrls,
    tls: Option<AuthTls>,
    stub: Stub,
    check_timeout: Duration,
    settle_retry_for: Duration,
    releases: ReleaseQueue,
    running: Arc<RunningAnswers>,
    tasks: TaskTracker,
    timers: Timers,
}

impl fmt::Debug for AuthClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthClient").finish_non_exhaustive()
    }
}

/// What a call wants to be paid.
#[derive(Debug, Clone)]
pub struct Charge {
    /// The caller's, or one made for it.
    pub request_id: String,
    /// A digest of the request's parameters.
    pub fingerprint: Vec<u8>,
    /// The most input tokens.
    pub max_input_tokens: u32,
    /// The most output tokens; ≥ 1.
    pub max_output_tokens: u32,
    /// Whether to refuse when the whole worst case can't be held.
    pub require_full: bool,
}

/// The answer to a request for credits.
#[derive(Debug)]
pub enum Admission {
    /// Paid for: go ahead.
    Granted(Grant),
    /// Resolved before: nothing may be generated.
    Recorded(wire::Receipt),
}

impl AuthClient {
    /// A client that connects at its first call. `tasks` owns what must outlive a request, `timers` extend holds.
    pub fn new(config: AuthClientConfig, tasks: TaskTracker, timers: Timers) -> Result<Self, InvalidMetadataValue> {
        let inner = Inner {
            urls: config.urls.clone(),
            tls: config.tls.clone(),
            stub: Stub::new(Balancer::new(config.urls, config.tls), config.service_credential.as_ref())?,
            check_timeout: config.check_timeout,
            settle_retry_for: config.settle_retry_for,
            releases: ReleaseQueue::default(),
            running: Arc::new(RunningAnswers::new(config.check_timeout)),
            tasks,
            timers,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Where auth-service is asked.
    #[must_use]
    pub fn urls(&self) -> &AuthUrls {
        &self.inner.urls
    }

    /// Follows the files of certificates, for ever.
    pub async fn watch_tls(self) {
        match &self.inner.tls {
            Some(tls) => tls.watch().await,
            None => std::future::pending().await,
        }
    }

    /// Whether auth-service can be asked: it takes this service's credential, and says that it can answer. The error says why not, for the
    /// log. `patience`: how long each try may take.
    pub async fn probe(&self, patience: Duration) -> Result<(), String> {
        let mut answer = Ok(());
        for _ in 0..MAX_PROBED_REPLICAS {
            answer = self.inner.stub.probe(Instant::now() + patience).await;
            if answer.is_ok() {
                break;
            }
        }
        answer
    }

    /// Authenticates the caller and authorizes the operation, for what costs nothing. Answers who is calling.
    pub async fn authorize(&self, caller: &Caller, operation: wire::Operation, model: &str) -> Result<wire::Principal, CallError> {
        let checked = self.check_free(caller, operation, model).await;
        principal(checked.map_err(|status| refusal(&status, &self.inner.urls)))
    }

    /// The same for a call that has a record: it learns whose the call is.
    pub async fn authorize_recorded(
        &self,
        caller: &Caller,
        operation: wire::Operation,
        model: &str,
        record: &mut CallRecord,
    ) -> Result<(), CallError> {
        let checked = self.check_free(caller, operation, model).await;
        record.set_account(account_of(&checked));
        principal(checked.map_err(|status| refusal(&status, &self.inner.urls))).map(|_| ())
    }

    async fn check_free(&self, caller: &Caller, operation: wire::Operation, model: &str) -> Result<wire::CheckResponse, Status> {
        let mut check = new_check(caller, operation, model, None);
        self.check(&mut check, Instant::now() + self.inner.check_timeout).await
    }

    /// Which of these models the caller may name, by their places in the list. auth-service knows the rule; it is asked in pieces that fit
    /// a message.
    pub async fn allowed_models(&self, caller: &Caller, operation: wire::Operation, models: &[&str]) -> Result<Vec<bool>, CallError> {
        let mut allowed = vec![false; models.len()];
        let mut from = 0;
        while from < models.len() {
            let piece = &models[from..from + piece_length(&models[from..])];
            let mut check = new_check(caller, operation, "", None);
            check.message.models = piece.iter().map(|model| (*model).to_owned()).collect();
            let checked = self
                .check(&mut check, Instant::now() + self.inner.check_timeout)
                .await
                .map_err(|status| refusal(&status, &self.inner.urls))?;
            for place in checked.allowed_models {
                // A place beyond the piece is nobody's.
                let place = usize::try_from(place).ok().filter(|place| *place < piece.len());
                if let Some(allowed) = place.and_then(|place| allowed.get_mut(from + place)) {
                    *allowed = true;
                }
            }
            from += piece.len();
        }
        Ok(allowed)
    }

    /// Authenticates the caller, authorizes the operation, and holds the worst case of the charge.
    ///
    /// Dropping the future loses nothing: the hold that may come back then is refunded. The call's record is ended by whoever learns how
    /// the call ended: here, or by the settle of the grant.
    pub async fn admit(
        &self,
        caller: &Caller,
        operation: wire::Operation,
        model: &str,
        charge: Charge,
        mut record: CallRecord,
    ) -> Result<Admission, CallError> {
        let charge = wire::Charge {
            request_id: charge.request_id,
            // A new one for each attempt at a request, the same for each retry of this attempt.
            attempt_id: uuid::Uuid::now_v7().simple().to_string(),
            fingerprint: charge.fingerprint,
            max_input_tokens: charge.max_input_tokens,
            max_output_tokens: charge.max_output_tokens,
            require_full: charge.require_full,
        };
        let mut check = new_check(caller, operation, model, Some(charge));
        let client = self.clone();
        let check = async move {
            let began = Instant::now();
            let deadline = began + client.inner.check_timeout;
            let checked = client.check(&mut check, deadline).await;
            record.set_account(account_of(&checked));
            let admission = record.note_refusal(client.admission(checked, &check.request_id, began));
            // Whatever the last try was answered: the one before it may still be carried out.
            if admission.is_err() && check.may_have_held() {
                client.release(check, deadline);
            }
            Ok(match admission? {
                Admission::Granted(grant) => Admission::Granted(grant.recorded_in(record)),
                Admission::Recorded(receipt) => {
                    record.replayed(&receipt);
                    Admission::Recorded(receipt)
                }
            })
        };
        // When nobody waits any more, the grant that comes is dropped, and so refunded.
        DetachOnDrop::new(check, self.inner.tasks.clone()).await
    }

    /// `began`: when the Check was sent.
    fn admission(&self, checked: Result<wire::CheckResponse, Status>, request_id: &str, began: Instant) -> Result<Admission, CallError> {
        let wire::CheckResponse { principal, result, .. } = checked.map_err(|status| refusal(&status, &self.inner.urls))?;
        match result {
            Some(wire::check_response::Result::Grant(grant)) => {
                let holder = Holder::from(&principal.unwrap_or_default());
                Ok(Admission::Granted(Grant::new(self.clone(), grant, request_id, holder, began)))
            }
            Some(wire::check_response::Result::Recorded(receipt)) => Ok(Admission::Recorded(receipt)),
            None => {
                tracing::error!("auth-service answered a charge with neither a grant nor a record");
                Err(CallError::internal())
            }
        }
    }

    /// Sends a Check, and sends it again while that may help and `give_up` is not reached. Each attempt may go to another replica.
    async fn check(&self, check: &mut RetryableCheck, give_up: Instant) -> Result<wire::CheckResponse, Status> {
        let mut pause = Duration::from_millis(50);
        loop {
            let status = match self.inner.stub.check(check, give_up).await {
                Ok(response) => return Ok(response),
                Err(status) => status,
            };
            check.is_uncertain |= may_have_held(&status);
            if !is_retryable(&status) || Instant::now() + pause >= give_up {
                return Err(status);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }
}

/// Who is calling. A yes that doesn't say so is none.
fn principal(checked: Result<wire::CheckResponse, CallError>) -> Result<wire::Principal, CallError> {
    let principal = checked?.principal;
    principal.filter(|principal| !principal.user_id.is_empty()).ok_or_else(|| {
        tracing::error!("auth-service let somebody in without saying whom");
        CallError::internal()
    })
}

/// The account that pays, or that was refused: empty where its credential is not proved.
fn account_of(checked: &Result<wire::CheckResponse, Status>) -> String {
    match checked {
        Ok(response) => response.principal.as_ref().map(|principal| principal.account_id.clone()).unwrap_or_default(),
        Err(status) => metadata_of(status, ACCOUNT_METADATA).unwrap_or_default(),
    }
}

/// How many of these models are asked for in one Check, from the first on; at least one.
fn piece_length(models: &[&str]) -> usize {
    let mut bytes = 0;
    let fits = |model: &&&str| {
        // A tag and a length are beside each name.
        bytes += model.len() + 4;
        bytes <= MAX_ASKED_BYTES
    };
    models.iter().take(MAX_CHECK_MODELS).take_while(fits).count().max(1)
}

fn new_check(caller: &Caller, operation: wire::Operation, model: &str, charge: Option<wire::Charge>) -> RetryableCheck {
    let message = wire::CheckRequest {
        credential: caller.credential().to_owned(),
        account: caller.account().to_owned(),
        operation: operation.into(),
        model: model.to_owned(),
        charge,
        caller_address: caller.address().map(|address| address.to_string()).unwrap_or_default(),
        ..wire::CheckRequest::default()
    };
    RetryableCheck::new(message, caller.request_id())
}

//! The client of auth-service, and the one place that can make a [`Grant`].
//!
//! What is held is given back on every exit. An RPC whose caller goes away is finished by the process (`Unfinished`): the grant that comes
//! back then is refunded. Settles run in tasks of their own, which the process waits for at its end.

mod channel;
mod releases;

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderValue;
use shared::ErrorReason;
use shared::error::{CallError, reason_of};
use shared::proto::auth as wire;
use shared::request_context::CurrentCall;
use shared::secret::Secret;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tonic::transport::Uri;
use tonic::{Code, Status};

use self::channel::{Call, Channel, RpcMethod};
use self::releases::{Queued, Release, Releases};
use crate::caller::Caller;
use crate::timers::{Timed, TimerGuard, Timers};

/// How long one try to settle may take.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// How auth-service is reached.
#[derive(Debug, Clone)]
pub struct AuthClientConfig {
    /// For example `http://127.0.0.1:50051`.
    pub url: Uri,
    /// Proves that this service may ask.
    pub service_credential: Secret,
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
    channel: Channel,
    check: RpcMethod,
    extend: RpcMethod,
    settle: RpcMethod,
    check_timeout: Duration,
    settle_retry_for: Duration,
    releases: Releases,
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

/// How a granted request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The model finished.
    Completed,
    /// The caller went away, or was cut off, after the request had gone upstream.
    Cancelled,
    /// The model server failed after its first token.
    UpstreamFailed,
    /// Nothing was generated, and nothing is charged.
    NothingGenerated,
}

/// Tokens used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenUsage {
    /// Of the prompt.
    pub input_tokens: u32,
    /// Generated.
    pub output_tokens: u32,
    /// Whether they were estimated and not counted.
    pub estimated: bool,
}

impl AuthClient {
    /// A client that connects at its first call, and again whenever the connection is lost. `tasks` owns what must outlive a request, `timers`
    /// extend holds.
    pub fn new(config: AuthClientConfig, tasks: TaskTracker, timers: Timers) -> Result<Self, http::Error> {
        let channel = Channel::new(config.url);
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", config.service_credential.to_hex()))?;
        authorization.set_sensitive(true);
        let inner = Inner {
            check: channel.method("/tollgate.auth.v1.Auth/Check", &authorization)?,
            extend: channel.method("/tollgate.auth.v1.Auth/Extend", &authorization)?,
            settle: channel.method("/tollgate.auth.v1.Auth/Settle", &authorization)?,
            channel,
            check_timeout: config.check_timeout,
            settle_retry_for: config.settle_retry_for,
            releases: Releases::default(),
            tasks,
            timers,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Authenticates the caller and authorizes the operation, for what costs nothing. Answers who is calling.
    pub async fn authorize(&self, caller: &Caller, operation: wire::Operation, model: &str) -> Result<wire::Principal, CallError> {
        let check = self.check_call(caller, operation, model, None);
        let checked = self.check(&check, Instant::now() + self.inner.check_timeout).await;
        let principal = checked.map_err(|status| refusal(&status))?.principal;
        principal.filter(|principal| !principal.user_id.is_empty()).ok_or_else(|| {
            tracing::error!("auth-service let somebody in without saying whom");
            CallError::internal()
        })
    }

    /// Authenticates the caller, authorizes the operation, and holds the worst case of the charge.
    ///
    /// Dropping the future loses nothing: the hold that may come back then is refunded.
    pub async fn admit(&self, caller: &Caller, operation: wire::Operation, model: &str, charge: Charge) -> Result<Admission, CallError> {
        let charge = wire::Charge {
            request_id: charge.request_id,
            // A new one for each attempt at a request, the same for each retry of this attempt.
            attempt_id: uuid::Uuid::now_v7().simple().to_string(),
            fingerprint: charge.fingerprint,
            max_input_tokens: charge.max_input_tokens,
            max_output_tokens: charge.max_output_tokens,
            require_full: charge.require_full,
        };
        let check = self.check_call(caller, operation, model, Some(charge));
        let (client, request_id) = (self.clone(), caller.request_id().to_owned());
        let check = async move {
            let checked = client.check(&check, Instant::now() + client.inner.check_timeout).await;
            // What was never sent can't have held anything.
            let unknown = check.was_sent() && checked.as_ref().is_err_and(may_have_held);
            let admission = client.admission(checked, &request_id);
            if unknown {
                client.release(Release::new(check, request_id));
            }
            admission
        };
        // When nobody waits any more, the grant that comes is dropped, and so refunded.
        Unfinished { work: Some(Box::pin(check)), tasks: self.inner.tasks.clone() }.await
    }

    fn admission(&self, checked: Result<wire::CheckResponse, Status>, request_id: &str) -> Result<Admission, CallError> {
        match checked.map_err(|status| refusal(&status))?.result {
            Some(wire::check_response::Result::Grant(grant)) => Ok(Admission::Granted(Grant::new(self.clone(), grant, request_id))),
            Some(wire::check_response::Result::Recorded(receipt)) => Ok(Admission::Recorded(receipt)),
            None => {
                tracing::error!("auth-service answered a charge with neither a grant nor a record");
                Err(CallError::internal())
            }
        }
    }

    /// Gives back what a Check without an answer may have held: the caller was told that nothing was charged, and may come again under the same
    /// request id. The same attempt gets the same grant again, which is dropped here, and so refunded.
    fn release(&self, release: Release) {
        match self.inner.releases.put(release) {
            Queued::StartTask => drop(self.inner.tasks.spawn(self.clone().release_all())),
            Queued::Waits => {}
            Queued::NoPlace => tracing::debug!("too many Checks had no answer: what this one may have held is left to its expiry"),
        }
    }

    /// Looks up what waits, one after the other, until nothing does.
    async fn release_all(self) {
        const FIRST_PAUSE: Duration = Duration::from_secs(1);
        // Unhurried: who gave no answer to one is unlikely to answer the next.
        let mut pause = FIRST_PAUSE;
        while !self.inner.releases.is_done() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(15));
            while let Some(release) = self.inner.releases.take(Instant::now()) {
                if !release.call.clone().scope(self.look_up(&release)).await {
                    // When others have taken its place meanwhile, it is left to its expiry.
                    self.inner.releases.put(release);
                    break;
                }
                pause = FIRST_PAUSE;
            }
        }
    }

    /// Asks once more. Whether there was an answer.
    async fn look_up(&self, release: &Release) -> bool {
        let checked = self.inner.channel.unary(&release.check, Instant::now() + self.inner.check_timeout).await;
        let answered = !checked.as_ref().is_err_and(may_have_held);
        if answered {
            let held = self.admission(checked, &release.request_id).is_ok();
            tracing::info!(held, "a Check that had no answer was looked up again");
        }
        answered
    }

    fn check_call(&self, caller: &Caller, operation: wire::Operation, model: &str, charge: Option<wire::Charge>) -> Call {
        let request = wire::CheckRequest {
            credential: caller.credential().to_owned(),
            account: caller.account().to_owned(),
            operation: operation.into(),
            model: model.to_owned(),
            charge,
        };
        Call::new(&self.inner.check, &request, caller.request_id())
    }

    /// Asks, and asks again until `give_up` while no answer comes: a Check may be repeated. An answer of auth-service's is final, unless it is
    /// that the same call may succeed soon.
    async fn check(&self, check: &Call, give_up: Instant) -> Result<wire::CheckResponse, Status> {
        let mut pause = Duration::from_millis(50);
        loop {
            let status = match self.inner.channel.unary(check, give_up).await {
                Ok(response) => return Ok(response),
                Err(status) => status,
            };
            // A connection that breaks under a call has many codes, and none of them has a reason of ours.
            let retryable = reason_of(&status).is_none_or(|reason| reason == ErrorReason::SweepInProgress);
            if !retryable || Instant::now() + pause >= give_up {
                return Err(status);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Settles until it lands, is answered with a final no, or the store has forgotten the request.
    async fn settle(&self, request: &wire::SettleRequest, request_id: &str) -> Option<wire::Receipt> {
        let settle = Call::new(&self.inner.settle, request, request_id);
        let give_up = Instant::now() + self.inner.settle_retry_for;
        let mut pause = Duration::from_millis(100);
        loop {
            let settled = self.inner.channel.unary(&settle, Instant::now() + SETTLE_TIMEOUT).await;
            let status = match settled {
                Ok(wire::SettleResponse { receipt, .. }) => return receipt,
                Err(status) => status,
            };
            match status.code() {
                Code::NotFound | Code::FailedPrecondition | Code::InvalidArgument | Code::Unimplemented => {
                    tracing::error!(reason = ?reason_of(&status), "a hold can't be settled; it is resolved as its expiry says");
                    return None;
                }
                code => {
                    if Instant::now() + pause >= give_up {
                        tracing::error!(?code, "a settle was given up; the hold is resolved as its expiry says");
                        return None;
                    }
                    tracing::warn!(?code, ?pause, "a settle did not land; it is tried again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
            }
        }
    }
}

/// Work that is finished by the process when whoever waits for it goes away. Until then it is done by the task that waits: a task of its own
/// would cost each call the wake-up of another processor.
struct Unfinished<T: Send + 'static> {
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    tasks: TaskTracker,
}

impl<T: Send + 'static> Future for Unfinished<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let done = std::task::ready!(work.as_mut().poll(context));
        self.work = None;
        Poll::Ready(done)
    }
}

impl<T: Send + 'static> Drop for Unfinished<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.tasks.spawn(CurrentCall::get().scope(async move { drop(work.await) }));
        }
    }
}

/// Moves a hold's expiry, again and again.
struct Extension {
    client: AuthClient,
    hold: String,
    request_id: String,
    call: CurrentCall,
    meter: Arc<Meter>,
    every: Duration,
    next: Arc<Mutex<NextExtend>>,
}

/// When to extend again.
#[derive(Debug, Clone, Copy)]
enum NextExtend {
    At(Instant),
    /// One is under way.
    Running,
    /// The hold was resolved by somebody else.
    Never,
}

impl Extension {
    /// Between two looks at an Extend that is under way, and before one that failed is tried again: the hold's life is three of `every`.
    fn soon(&self) -> Duration {
        (self.every / 4).max(Duration::from_millis(50))
    }

    fn set(next: &Mutex<NextExtend>, value: NextExtend) {
        *next.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }

    fn start(&self) {
        let (client, every, soon, next) = (self.client.clone(), self.every, self.soon(), Arc::clone(&self.next));
        let request = wire::ExtendRequest { hold: self.hold.clone(), usage: Some(self.meter.usage().into()) };
        let call = Call::new(&client.inner.extend, &request, &self.request_id);
        let extend = async move {
            let extended: Result<wire::ExtendResponse, _> = client.inner.channel.unary(&call, Instant::now() + every).await;
            let after = match extended {
                Ok(_) => every,
                Err(status) if matches!(status.code(), Code::NotFound | Code::FailedPrecondition) => {
                    let reason = reason_of(&status);
                    tracing::warn!(?reason, "the hold was resolved while its answer is still running; it will be settled late");
                    return Self::set(&next, NextExtend::Never);
                }
                Err(_) => soon,
            };
            Self::set(&next, NextExtend::At(Instant::now() + after));
        };
        self.client.inner.tasks.spawn(self.call.clone().scope(extend));
    }
}

impl Timed for Extension {
    fn on_time(&self, now: Instant) -> Option<Instant> {
        let next = *self.next.lock().unwrap_or_else(PoisonError::into_inner);
        match next {
            NextExtend::Never => None,
            NextExtend::At(at) if at > now => Some(at),
            NextExtend::At(_) => {
                Self::set(&self.next, NextExtend::Running);
                self.start();
                Some(now + self.soon())
            }
            NextExtend::Running => Some(now + self.soon()),
        }
    }
}

/// Whether a Check that failed so may have held credits all the same: nobody answered, or auth-service can't say what its store did. A
/// store that is full or read-only refuses before it writes; one that doesn't permit what a script does may refuse in the middle of it.
fn may_have_held(status: &Status) -> bool {
    match reason_of(status) {
        None | Some(ErrorReason::StoreUnavailable | ErrorReason::StoreMisconfigured | ErrorReason::DeadlineExceeded) => true,
        Some(_) => false,
    }
}

/// What a caller is told of a refusal: auth's own words where they are about the caller, ours where they are about this service.
fn refusal(status: &Status) -> CallError {
    let Some(reason) = reason_of(status).filter(|reason| *reason != ErrorReason::DeadlineExceeded) else {
        // No answer of auth-service's: the connection failed. Its text names addresses.
        tracing::warn!(code = ?status.code(), message = status.message(), "auth-service can't be reached");
        return CallError::new(
            Code::Unavailable,
            ErrorReason::AuthUnavailable,
            "auth-service can't be reached; nothing was charged. Try again",
        )
        .retry_after(Duration::from_secs(1));
    };
    if reason == ErrorReason::ServiceCredentialInvalid {
        tracing::error!(?reason, "auth-service refuses this service's credential: check TOLLGATE_SERVICE_CREDENTIAL");
        return CallError::new(
            Code::Unavailable,
            ErrorReason::AuthUnavailable,
            "this service isn't let in by auth-service; its operator must look at it",
        );
    }
    let mut error = CallError::new(status.code(), reason, status.message());
    if let Some(delay) = shared::error::retry_delay_of(status) {
        error = error.retry_after(delay);
    }
    for (subject, description) in shared::error::quota_of(status) {
        error = error.quota(subject, description);
    }
    error
}

/// Tokens that were read so far, for Extend.
#[derive(Debug, Default)]
pub struct Meter {
    input_tokens: AtomicU32,
    output_tokens: AtomicU32,
}

impl Meter {
    /// Records what was read so far.
    pub fn record(&self, input_tokens: u32, output_tokens: u32) {
        self.input_tokens.store(input_tokens, Ordering::Relaxed);
        self.output_tokens.store(output_tokens, Ordering::Relaxed);
    }

    fn usage(&self) -> TokenUsage {
        let (input_tokens, output_tokens) = (self.input_tokens.load(Ordering::Relaxed), self.output_tokens.load(Ordering::Relaxed));
        TokenUsage { input_tokens, output_tokens, estimated: true }
    }
}

/// Credits held for one request: the permission to generate. Only this module can make one.
///
/// It is extended until it is settled. Dropped without [`Grant::settle`], it is refunded.
#[must_use]
pub struct Grant {
    /// `None` once it is settled.
    open: Option<OpenGrant>,
    held_credits: i64,
    remaining_credits: i64,
    max_output_tokens: u32,
}

struct OpenGrant {
    extension: Arc<Extension>,
    /// Ends the extending.
    _extending: TimerGuard,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("held_credits", &self.held_credits).field("open", &self.open.is_some()).finish_non_exhaustive()
    }
}

impl Grant {
    fn new(client: AuthClient, grant: wire::Grant, request_id: &str) -> Self {
        let every = grant.extend_every.and_then(|every| Duration::try_from(every).ok()).unwrap_or(Duration::from_secs(10));
        let every = every.max(Duration::from_millis(50));
        let (timers, at) = (client.inner.timers.clone(), Instant::now() + every);
        let extension = Arc::new(Extension {
            client,
            hold: grant.hold,
            request_id: request_id.to_owned(),
            call: CurrentCall::get(),
            meter: Arc::default(),
            every,
            next: Arc::new(Mutex::new(NextExtend::At(at))),
        });
        let open = OpenGrant { _extending: timers.arm(extension.clone(), at), extension };
        Self {
            open: Some(open),
            held_credits: grant.held_credits,
            remaining_credits: grant.remaining_credits,
            max_output_tokens: grant.max_output_tokens.max(1),
        }
    }

    /// Credits held.
    #[must_use]
    pub fn held_credits(&self) -> i64 {
        self.held_credits
    }

    /// Credits available beside the hold.
    #[must_use]
    pub fn remaining_credits(&self) -> i64 {
        self.remaining_credits
    }

    /// The output tokens that the hold pays for; ≥ 1.
    #[must_use]
    pub fn max_output_tokens(&self) -> u32 {
        self.max_output_tokens
    }

    /// Where to record what was read so far.
    #[must_use]
    pub fn meter(&self) -> Arc<Meter> {
        self.open.as_ref().map(|open| open.extension.meter.clone()).unwrap_or_default()
    }

    /// Resolves the hold, in a task that the process owns. The receipt comes when it has landed; dropping the receiver changes nothing.
    pub fn settle(mut self, outcome: Outcome, usage: TokenUsage) -> oneshot::Receiver<Option<wire::Receipt>> {
        let (receipt, received) = oneshot::channel();
        if let Some(open) = self.open.take() {
            open.settle(outcome, usage, receipt);
        }
        received
    }
}

impl OpenGrant {
    fn settle(self, outcome: Outcome, usage: TokenUsage, receipt: oneshot::Sender<Option<wire::Receipt>>) {
        let Extension { client, hold, request_id, call, .. } = &*self.extension;
        let (client, request_id) = (client.clone(), request_id.clone());
        let request = wire::SettleRequest { hold: hold.clone(), outcome: wire::Outcome::from(outcome).into(), usage: Some(usage.into()) };
        let tasks = client.inner.tasks.clone();
        tasks.spawn(call.clone().scope(async move {
            let settled = client.settle(&request, &request_id).await;
            if let Some(receipt) = &settled {
                let charged_credits = receipt.charged_credits();
                let TokenUsage { input_tokens, output_tokens, .. } = usage;
                tracing::info!(?outcome, charged_credits, input_tokens, output_tokens, "settled");
            }
            drop(receipt.send(settled));
        }));
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            open.settle(Outcome::NothingGenerated, TokenUsage::default(), oneshot::channel().0);
        }
    }
}

impl From<Outcome> for wire::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::UpstreamFailed => Self::UpstreamFailed,
            Outcome::NothingGenerated => Self::NothingGenerated,
        }
    }
}

impl From<TokenUsage> for wire::TokenUsage {
    fn from(usage: TokenUsage) -> Self {
        Self { input_tokens: Some(usage.input_tokens), output_tokens: Some(usage.output_tokens), estimated: usage.estimated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_refused_before_it_wrote_has_held_nothing_and_one_that_can_not_say_may_have() {
        let of = |reason| may_have_held(&CallError::new(Code::Unavailable, reason, "no").into());
        for reason in [ErrorReason::StoreUnavailable, ErrorReason::StoreMisconfigured, ErrorReason::DeadlineExceeded] {
            assert!(of(reason), "{reason:?}");
        }
        for reason in [ErrorReason::StoreFull, ErrorReason::StoreReadOnly, ErrorReason::InsufficientCredits, ErrorReason::SweepInProgress] {
            assert!(!of(reason), "{reason:?}");
        }
        // The connection broke, or somebody else answered.
        assert!(may_have_held(&Status::unavailable("connecting")));
    }
}

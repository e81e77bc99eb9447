//! The [`Grant`]: credits held for one request, and the permission to generate.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use shared::ErrorReason;
use shared::call_record::CallRecord;
use shared::proto::auth as wire;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::AuthClient;
use super::extension::Extension;
use super::revocation::Holder;
use super::running::{Revocable, RunningGuard};
use crate::timers::TimerGuard;

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

    pub(super) fn usage(&self) -> TokenUsage {
        let (input_tokens, output_tokens) = (self.input_tokens.load(Ordering::Relaxed), self.output_tokens.load(Ordering::Relaxed));
        TokenUsage { input_tokens, output_tokens, estimated: true }
    }
}

/// Credits held for one request: the permission to generate. Only [`AuthClient::admit`] makes one.
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
    /// `None` for one that nobody waits for any more: its call has a line already.
    record: Option<CallRecord>,
    /// Dropped, it ends the extending.
    _extending: TimerGuard,
    /// Dropped, no revocation is about it any more.
    _running: RunningGuard,
}

/// Where an answer says that it is to be ended when the credential that pays for it is revoked.
pub(crate) struct RevocationBell(Option<Arc<Extension>>);

impl RevocationBell {
    /// Ends this answer, at once when it was revoked already.
    pub(crate) fn ends(self, answer: Weak<dyn Revocable>) {
        if let Some(extension) = self.0 {
            extension.ends(answer);
        }
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("held_credits", &self.held_credits).field("open", &self.open.is_some()).finish_non_exhaustive()
    }
}

impl Grant {
    /// `checked`: when its Check was sent.
    pub(super) fn new(client: AuthClient, grant: wire::Grant, request_id: &str, holder: Holder, checked: Instant) -> Self {
        let interval = grant.extend_every.and_then(|every| Duration::try_from(every).ok()).unwrap_or(Duration::from_secs(10));
        let (timers, running) = (client.inner.timers.clone(), Arc::clone(&client.inner.running));
        let (extension, at) = Extension::new(client, grant.hold, request_id, holder, interval);
        let (extending, running) = (timers.arm(extension.clone(), at), running.begin(&extension, checked));
        Self {
            open: Some(OpenGrant { extension, record: None, _extending: extending, _running: running }),
            held_credits: grant.held_credits,
            remaining_credits: grant.remaining_credits,
            max_output_tokens: grant.max_output_tokens.max(1),
        }
    }

    /// The same; its settle ends the record of the call that it is for.
    pub(super) fn recorded_in(mut self, record: CallRecord) -> Self {
        if let Some(open) = &mut self.open {
            open.record = Some(record);
        }
        self
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

    /// Rings when the credential is revoked, until the settle begins.
    pub(crate) fn revocation_bell(&self) -> RevocationBell {
        RevocationBell(self.open.as_ref().map(|open| Arc::clone(&open.extension)))
    }

    /// Resolves the hold, in a task that the process owns. The receipt comes when it has landed; dropping the receiver changes nothing.
    /// `reason`: what the caller is told when the answer failed; `None`: all is well, or the caller is gone.
    pub fn settle(mut self, outcome: Outcome, usage: TokenUsage, reason: Option<ErrorReason>) -> oneshot::Receiver<Option<wire::Receipt>> {
        let (receipt, received) = oneshot::channel();
        if let Some(open) = self.open.take() {
            open.settle(outcome, usage, reason, receipt);
        }
        received
    }
}

impl OpenGrant {
    fn settle(self, outcome: Outcome, usage: TokenUsage, reason: Option<ErrorReason>, receipt: oneshot::Sender<Option<wire::Receipt>>) {
        let Self { extension, mut record, .. } = self;
        let Extension { client, hold, request_id, call, .. } = &*extension;
        let (client, request_id) = (client.clone(), request_id.clone());
        let (outcome, usage) = (wire::Outcome::from(outcome), wire::TokenUsage::from(usage));
        let request = wire::SettleRequest { hold: hold.clone(), outcome: outcome.into(), usage: Some(usage) };
        if let Some(record) = &mut record {
            record.settling(outcome, usage, reason);
        }
        let tasks = client.inner.tasks.clone();
        tasks.spawn(call.clone().scope(async move {
            let settled = client.settle(&request, &request_id).await;
            if let (Some(record), Some(receipt)) = (&mut record, &settled) {
                record.settled(receipt);
            }
            // The line is there before the caller's last event.
            drop(record);
            drop(receipt.send(settled));
        }));
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            open.settle(Outcome::NothingGenerated, TokenUsage::default(), None, oneshot::channel().0);
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

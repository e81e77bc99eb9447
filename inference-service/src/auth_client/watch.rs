//! The watch over revocations: one stream from whichever replica of auth-service, which tells all of them. It begins anew where it ended,
//! at another replica if need be.
//!
//! What it may have missed is made up for: every answer that runs is asked about by an Extend.

use std::sync::Weak;
use std::time::Duration;

use shared::proto::auth as wire;
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use super::AuthClient;
use super::revocation::Revocation;

/// How long the beginning of a watch may take.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a watch may be silent: auth-service gives a sign of life every 5 s.
const SILENCE: Duration = Duration::from_secs(16);
/// The pause after the first failed try. It doubles with each further one.
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_millis(500);
/// How long there may be no watch before every answer that runs is asked about.
const PATIENCE: Duration = Duration::from_secs(1);
/// Answers that are asked about at a time, and the pause between.
const ASKED_AT_ONCE: usize = 64;
const ASK_EVERY: Duration = Duration::from_millis(10);

/// Where a watch stands.
struct Watch {
    /// Of what was told last.
    cursor: String,
    /// Since when nobody tells what is revoked; `None`: somebody does.
    down_since: Option<Instant>,
    /// Whether all answers were asked about since then.
    was_doubted: bool,
}

impl AuthClient {
    /// Ends answers whose credentials are revoked, for ever.
    pub async fn watch_revocations(self) {
        tokio::join!(self.watch(), self.ask_in_doubt());
    }

    async fn watch(&self) {
        let mut watch = Watch { cursor: String::new(), down_since: Some(Instant::now()), was_doubted: false };
        let mut pause = MIN_PAUSE;
        loop {
            let ended = self.watch_once(&mut watch).await;
            let now = Instant::now();
            if watch.down_since.is_none() {
                (watch.down_since, watch.was_doubted, pause) = (Some(now), false, MIN_PAUSE);
            }
            tracing::debug!(asked = %self.inner.urls, code = ?ended.code(), why = ended.message(), "a watch over revocations ended");
            let down_for = watch.down_since.map(|since| now.saturating_duration_since(since)).unwrap_or_default();
            if !watch.was_doubted && down_for >= PATIENCE {
                watch.was_doubted = true;
                let why = ended.message();
                tracing::warn!(asked = %self.inner.urls, why, "nobody tells what is revoked: answers end at their next Extend");
                self.inner.running.doubt_all();
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Watches until the stream ends; why it did.
    async fn watch_once(&self, watch: &mut Watch) -> Status {
        let begun = self.inner.stub.watch(&watch.cursor, Instant::now() + BEGIN_TIMEOUT).await;
        let mut stream = match begun {
            Ok(stream) => stream,
            Err(status) => return status,
        };
        let silence = || Status::unavailable("it gives no sign of life");
        // The first message says where the watch begins.
        let mut patience = BEGIN_TIMEOUT;
        loop {
            let told = match timeout(patience, stream.message()).await {
                Ok(Ok(Some(told))) => told,
                Ok(Ok(None)) => return Status::unavailable("it ended"),
                Ok(Err(status)) => return status,
                Err(_) => return silence(),
            };
            patience = SILENCE;
            self.told(watch, told);
        }
    }

    fn told(&self, watch: &mut Watch, told: wire::WatchRevocationsResponse) {
        // Of what was revoked before the first watch nothing is told.
        let has_gap = told.has_gap || watch.cursor.is_empty();
        if watch.down_since.take().is_some() && watch.was_doubted {
            tracing::info!(asked = %self.inner.urls, "what is revoked is told again");
        }
        if !told.cursor.is_empty() {
            watch.cursor.clone_from(&told.cursor);
        }
        if has_gap {
            self.inner.running.doubt_all();
        }
        if let Some(revocation) = Revocation::read(told) {
            self.inner.running.revoked(revocation);
        }
    }

    /// Asks about all answers that run, some at a time, whenever there is a doubt.
    async fn ask_in_doubt(&self) {
        loop {
            self.inner.running.doubts.notified().await;
            for some in self.inner.running.all().chunks(ASKED_AT_ONCE) {
                some.iter().filter_map(Weak::upgrade).for_each(|extension| extension.ask(None));
                sleep(ASK_EVERY).await;
            }
        }
    }
}

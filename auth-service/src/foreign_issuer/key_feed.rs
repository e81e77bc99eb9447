//! Keeps the keys of one foreign issuer: one task reads them, when they are due and when a token names one that isn't there.
//!
//! Nobody but the issuer's own callers waits for it, and they not for long. An issuer that can't be reached has its last keys used for a
//! day, and no longer: a key that it took back in the meantime would be used as well.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::config::IssuerConfig;
use super::jwks_source::{JwksSource, SourceError};
use super::key_set::{ForeignKey, KeySet};

/// The times of a feed. Tests have others.
#[derive(Debug, Clone, Copy)]
pub(super) struct FeedTimes {
    /// The least between two reads for names that aren't there: anybody can send those.
    pub(super) between_unknown: Duration,
    /// Between two tries while keys can't be read.
    pub(super) retry: Duration,
    /// The least and the most for which keys are kept, whatever their server says.
    pub(super) keep: (Duration, Duration),
    /// For how long, when it says nothing.
    pub(super) keep_unsaid: Duration,
    /// For how long they are used without being read again.
    pub(super) use_for: Duration,
    /// How long a caller waits.
    pub(super) wait: Duration,
}

impl Default for FeedTimes {
    fn default() -> Self {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        Self {
            between_unknown: 60 * second,
            retry: 10 * second,
            keep: (60 * second, 24 * hour),
            keep_unsaid: hour / 4,
            use_for: 24 * hour,
            wait: 3 * second,
        }
    }
}

/// The keys of one issuer.
pub(super) struct KeyFeed {
    name: String,
    algorithms: Vec<jsonwebtoken::Algorithm>,
    source: JwksSource,
    times: FeedTimes,
    known: watch::Sender<Known>,
    wanted: Notify,
}

/// What is known of the keys.
#[derive(Clone, Default)]
struct Known {
    /// How often it was tried to read them.
    tries: u64,
    /// The last that were read, and when.
    keys: Option<(Arc<KeySet>, Instant)>,
    /// When they were last read because a name was not there.
    wanted_at: Option<Instant>,
}

/// What there is to say of a key's name.
pub(super) enum KeyAnswer {
    /// The key.
    Key(ForeignKey),
    /// The issuer has no such key.
    Unknown,
    /// Its keys can't be had.
    Unavailable,
}

impl KeyFeed {
    pub(super) fn of(config: &IssuerConfig, times: FeedTimes) -> Result<Self, SourceError> {
        Ok(Self {
            name: config.name.clone(),
            algorithms: config.algorithms.clone(),
            source: JwksSource::new(&config.keys_at)?,
            times,
            known: watch::Sender::new(Known::default()),
            wanted: Notify::new(),
        })
    }

    /// The key of this name. Waits only where one may just have been published, and at the start.
    pub(super) async fn key(&self, kid: &str) -> KeyAnswer {
        let known = self.known.borrow().clone();
        let found = self.find(&known, kid);
        match found {
            KeyAnswer::Unknown if self.may_be_wanted(&known) => self.wanted.notify_one(),
            // At the start. Later, a caller would wait for an issuer that can't be reached.
            KeyAnswer::Unavailable if known.tries == 0 => {}
            found => return found,
        }
        let mut tries = self.known.subscribe();
        // Too late is as if nothing new was read.
        let _ = timeout(self.times.wait, tries.wait_for(|now| now.tries > known.tries)).await;
        let now = self.known.borrow().clone();
        self.find(&now, kid)
    }

    fn find(&self, known: &Known, kid: &str) -> KeyAnswer {
        match &known.keys {
            Some((keys, read_at)) if read_at.elapsed() < self.times.use_for => {
                keys.get(kid).cloned().map_or(KeyAnswer::Unknown, KeyAnswer::Key)
            }
            _ => KeyAnswer::Unavailable,
        }
    }

    fn may_be_wanted(&self, known: &Known) -> bool {
        known.wanted_at.is_none_or(|at| at.elapsed() >= self.times.between_unknown)
    }

    /// Reads the keys, again and again, until `stop` is cancelled.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let mut due = Instant::now();
        let mut has_failed = false;
        loop {
            let is_wanted = tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(due) => false,
                () = self.wanted.notified() => self.may_be_wanted(&self.known.borrow()),
            };
            if !is_wanted && Instant::now() < due {
                continue;
            }
            let read = tokio::select! {
                () = stop.cancelled() => return,
                read = self.read() => read,
            };
            let now = Instant::now();
            due = now + *read.as_ref().map_or(&self.times.retry, |(_, keep)| keep);
            match &read {
                Err(why) if !has_failed => {
                    tracing::warn!(
                        issuer = self.name,
                        why,
                        "the keys of a foreign issuer can't be read; those read before are used for a day"
                    );
                }
                Ok((keys, _)) if has_failed || self.known.borrow().keys.is_none() => {
                    tracing::info!(issuer = self.name, keys = keys.len(), "the keys of a foreign issuer were read");
                }
                _ => {}
            }
            has_failed = read.is_err();
            self.known.send_modify(|known| {
                known.tries += 1;
                if let Ok((keys, _)) = read {
                    known.keys = Some((Arc::new(keys), now));
                }
                if is_wanted {
                    known.wanted_at = Some(now);
                }
            });
        }
    }

    async fn read(&self) -> Result<(KeySet, Duration), String> {
        let fetched = self.source.fetch().await?;
        let keys = KeySet::parse(&fetched.json, &self.algorithms)?;
        let (least, most) = self.times.keep;
        Ok((keys, fetched.keep.unwrap_or(self.times.keep_unsaid).clamp(least, most)))
    }
}

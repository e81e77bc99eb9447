//! The answers that run, by whose credential pays for them, so that a revocation finds those that it ends.
//!
//! An answer is found here from when its Check was answered until its settle begins. A revocation that comes while the Check is on its way
//! is kept until then: the Check may have been carried out before it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use shared::ErrorReason;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::extension::Extension;
use super::revocation::{Bearing, Revocation};

/// Revocations that are kept for answers that begin.
const MAX_RECENT: usize = 4096;

/// An answer that something of its own would end before its time.
pub(crate) trait Revocable: Send + Sync + 'static {
    /// Its credential was revoked: it ends here and now, whether or not its caller reads.
    fn on_revoked(&self, reason: ErrorReason);
}

/// The answers that run.
pub(super) struct RunningAnswers {
    state: Mutex<State>,
    /// How long a revocation is kept: longer than a Check takes.
    keep_for: Duration,
    /// Told when every answer that runs must be asked about.
    pub(super) doubts: Notify,
}

struct State {
    /// By user, and a number that tells answers of one user apart.
    running: BTreeMap<(Arc<str>, u64), Weak<Extension>>,
    last_number: u64,
    /// With the time at which each came.
    recent: VecDeque<(Instant, Arc<Revocation>)>,
    /// All that came after this is in `recent`; `None`: nothing came before.
    known_since: Option<Instant>,
}

/// Removes an answer when it is dropped.
pub(super) struct RunningGuard {
    answers: Arc<RunningAnswers>,
    key: (Arc<str>, u64),
}

impl fmt::Debug for RunningGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningGuard").field("number", &self.key.1).finish_non_exhaustive()
    }
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        let removed = self.answers.lock().running.remove(&self.key);
        drop(removed);
    }
}

impl RunningAnswers {
    /// None yet. `check_timeout`: how long a Check may take.
    pub(super) fn new(check_timeout: Duration) -> Self {
        let state = State { running: BTreeMap::new(), last_number: 0, recent: VecDeque::new(), known_since: None };
        Self { state: Mutex::new(state), keep_for: check_timeout + Duration::from_secs(5), doubts: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is called under the lock, and nothing in it can be left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer begins, whose Check was sent at this time. What was revoked since then counts for it at once.
    pub(super) fn begin(self: &Arc<Self>, extension: &Arc<Extension>, checked: Instant) -> RunningGuard {
        let user_id = Arc::clone(&extension.holder.user_id);
        let mut state = self.lock();
        state.last_number += 1;
        let key = (user_id, state.last_number);
        state.running.insert(key.clone(), Arc::downgrade(extension));
        let since_then: Vec<_> =
            state.recent.iter().filter(|(at, _)| *at >= checked).map(|(_, revocation)| Arc::clone(revocation)).collect();
        let is_doubtful = state.known_since.is_some_and(|known_since| checked <= known_since);
        drop(state);
        since_then.iter().for_each(|revocation| apply(extension, revocation));
        if is_doubtful {
            extension.ask(None);
        }
        RunningGuard { answers: Arc::clone(self), key }
    }

    /// Ends what this revocation ends, and has auth-service asked about what it may mean.
    pub(super) fn revoked(&self, revocation: Revocation) {
        let revocation = Arc::new(revocation);
        let now = Instant::now();
        let mut state = self.lock();
        while let Some((at, _)) = state.recent.front()
            && (state.recent.len() >= MAX_RECENT || now.saturating_duration_since(*at) > self.keep_for)
        {
            state.known_since = Some(*at);
            state.recent.pop_front();
        }
        state.recent.push_back((now, Arc::clone(&revocation)));
        let user_id: Arc<str> = revocation.user_id.as_str().into();
        let theirs = state.running.range((Arc::clone(&user_id), 0)..=(user_id, u64::MAX));
        let theirs: Vec<_> = theirs.filter_map(|(_, extension)| extension.upgrade()).collect();
        drop(state);
        theirs.iter().for_each(|extension| apply(extension, &revocation));
    }

    /// Something may have been revoked that nobody told: every answer must be asked about.
    pub(super) fn doubt_all(&self) {
        let mut state = self.lock();
        state.known_since = Some(Instant::now());
        state.recent.clear();
        drop(state);
        self.doubts.notify_one();
    }

    /// Those that run now.
    pub(super) fn all(&self) -> Vec<Weak<Extension>> {
        self.lock().running.values().cloned().collect()
    }
}

fn apply(extension: &Arc<Extension>, revocation: &Revocation) {
    match extension.holder.bearing_of(revocation) {
        Bearing::None => {}
        Bearing::Ends => extension.revoke(revocation.reason),
        Bearing::Doubtful => extension.ask(Some(revocation.reason)),
    }
}

#[cfg(test)]
mod tests;

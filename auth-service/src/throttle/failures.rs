//! Counts of failed logins by a key: they make the next attempt wait, leak away over time, and are bounded in number.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// The longest wait.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Failures above the free ones that are counted: 1 s doubled so often is the longest wait.
pub(super) const MOST_ABOVE_FREE: u32 = 6;
/// One failure is forgotten every so often.
pub(super) const LEAK: Duration = Duration::from_secs(30);
/// Keys remembered, at most; above, the one that was quiet for the longest is forgotten.
pub(super) const MOST_REMEMBERED: usize = 10_000;
/// Wrong pairs of name and password that are remembered of a key, so that each counts once: the newest ones, 8 bytes each.
const MOST_PAIRS: usize = 32;

/// A name and a password that were tried together, as a keyed hash: what is kept is of no use outside this process.
pub(super) type Pair = u64;

/// How an attempt ended, for its key's count.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending {
    /// The pair is wrong. It counts once, however often it is tried.
    Wrong(Pair),
    /// Nobody waited for the verdict: it counts, each time.
    Unheard,
    /// Nothing to count.
    Harmless,
}

/// Counts failures by key.
#[derive(Debug)]
pub(super) struct Failures<K> {
    by_key: HashMap<K, Count>,
    free: u32,
}

#[derive(Debug)]
struct Count {
    failures: u32,
    /// Since when nothing leaked: the next leak counts from here.
    since: Instant,
    /// When the last one was: the wait counts from here.
    last: Instant,
    /// Attempts without a verdict.
    running: u32,
    wrong: VecDeque<Pair>,
}

impl Count {
    fn new(now: Instant) -> Self {
        Self { failures: 0, since: now, last: now, running: 0, wrong: VecDeque::new() }
    }

    /// Failures that are left now, and since when nothing leaked.
    fn leaked(&self, now: Instant) -> (u32, Instant) {
        let leaks = now.saturating_duration_since(self.since).as_secs() / LEAK.as_secs();
        let leaks = u32::try_from(leaks).unwrap_or(u32::MAX).min(self.failures);
        (self.failures - leaks, self.since + LEAK * leaks)
    }

    /// Remembers a wrong pair; whether it is a new one.
    fn remember(&mut self, pair: Pair) -> bool {
        let known = self.wrong.iter().position(|other| *other == pair);
        if let Some(at) = known {
            self.wrong.remove(at);
        } else if self.wrong.len() == MOST_PAIRS {
            self.wrong.pop_front();
        }
        self.wrong.push_back(pair);
        known.is_none()
    }
}

impl<K: Hash + Eq + Clone> Failures<K> {
    /// Counts in which so many failures have no effect.
    pub(super) fn new(free: u32) -> Self {
        Self { by_key: HashMap::new(), free }
    }

    /// How long a key must wait now.
    pub(super) fn wait(&self, key: &K, now: Instant) -> Duration {
        let Some(count) = self.by_key.get(key) else { return Duration::ZERO };
        let Some(above) = count.leaked(now).0.checked_sub(self.free) else { return Duration::ZERO };
        let wait = Duration::from_secs(1_u64 << above.min(MOST_ABOVE_FREE)).min(LONGEST_WAIT);
        wait.saturating_sub(now.saturating_duration_since(count.last))
    }

    /// Whether as many attempts are under way as may still fail: one more could be a guess too many, and waits for their verdict.
    pub(super) fn is_taken(&self, key: &K, now: Instant) -> bool {
        self.by_key.get(key).is_some_and(|count| count.running >= self.free.saturating_sub(count.leaked(now).0).max(1))
    }

    /// Whether a pair was wrong here lately.
    pub(super) fn knows(&self, key: &K, pair: Pair) -> bool {
        self.by_key.get(key).is_some_and(|count| count.wrong.contains(&pair))
    }

    /// An attempt is under way.
    pub(super) fn start(&mut self, key: &K, now: Instant) {
        self.count(key, now).running += 1;
    }

    /// An attempt that was started is over.
    pub(super) fn end(&mut self, key: &K) {
        if let Some(count) = self.by_key.get_mut(key) {
            count.running = count.running.saturating_sub(1);
        }
        self.forget_if_empty(key);
    }

    /// Counts what an attempt came to.
    pub(super) fn add(&mut self, key: &K, ending: Ending, now: Instant) {
        if matches!(ending, Ending::Harmless) {
            return;
        }
        let most = self.free + MOST_ABOVE_FREE;
        let count = self.count(key, now);
        if let Ending::Wrong(pair) = ending
            && !count.remember(pair)
        {
            return;
        }
        let (failures, since) = count.leaked(now);
        count.since = if failures == 0 { now } else { since };
        count.failures = (failures + 1).min(most);
        count.last = now;
    }

    /// The key starts again at nothing.
    pub(super) fn clear(&mut self, key: &K) {
        if let Some(count) = self.by_key.get_mut(key) {
            count.failures = 0;
            count.wrong = VecDeque::new();
        }
        self.forget_if_empty(key);
    }

    fn forget_if_empty(&mut self, key: &K) {
        if self.by_key.get(key).is_some_and(|count| count.failures == 0 && count.running == 0 && count.wrong.is_empty()) {
            self.by_key.remove(key);
        }
    }

    fn count(&mut self, key: &K, now: Instant) -> &mut Count {
        // Whatever has so many failures at the most has none after so long.
        let forgotten = LEAK * (self.free + MOST_ABOVE_FREE);
        make_room(&mut self.by_key, key, now, |count| (count.running == 0).then_some(count.last), forgotten);
        self.by_key.entry(key.clone()).or_insert_with(|| Count::new(now))
    }

    /// Keys remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}

/// Makes room for a new key in a full map: forgets what is old enough, else the one that was quiet for the longest. `last` says when a
/// value was last of use; one without is kept.
pub(super) fn make_room<K: Hash + Eq + Clone, V>(
    map: &mut HashMap<K, V>,
    key: &K,
    now: Instant,
    last: impl Fn(&V) -> Option<Instant>,
    old: Duration,
) {
    if map.len() < MOST_REMEMBERED || map.contains_key(key) {
        return;
    }
    map.retain(|_, value| last(value).is_none_or(|last| now.saturating_duration_since(last) < old));
    if map.len() >= MOST_REMEMBERED {
        let quietest = map.iter().filter_map(|(key, value)| Some((key, last(value)?))).min_by_key(|(_, last)| *last);
        let quietest = quietest.map(|(key, _)| key.clone());
        quietest.and_then(|key| map.remove(&key));
    }
}

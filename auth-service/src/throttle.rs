//! Limits on what somebody may try, by user name and by the network that a call comes from, in this process's memory and bounded: some 40
//! MB at the most.
//!
//! A login counts when it has failed, and the same wrong pair of name and password counts once. Failures for a name from one network make
//! the next one from there wait, longer with each, at most a minute. Laxer counts go over all names of a network (many names with a few
//! passwords each are what credential stuffing looks like), over all networks of an IPv6 /48, and over all networks of a name. None of
//! these binds a network that has logged in as the name. Counts leak away over time. So nobody can lock a user out from where the user is
//! known, unless they share a network.
//!
//! As many attempts may be under way as may still fail. What comes beyond waits for their verdict: right logins pass one after the other,
//! however many come at once, and of many guesses at once no more are compared than of as many in a row.

mod failures;
mod network;
mod quota;
mod sign_ups;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use self::failures::{Ending, Failures, Pair};
use self::network::Network;
pub use self::quota::NetworkQuota;
pub use self::sign_ups::SignUpThrottle;

/// Failures for a name from one network before the next attempt must wait.
const FREE_FAILURES: u32 = 5;
/// Failures from a network before the next attempt must wait. A network may stand for many people.
const FREE_FAILURES_BY_NETWORK: u32 = 30;
/// Failures from an IPv6 /48 before the next attempt must wait.
const FREE_FAILURES_BY_SITE: u32 = 120;
/// Failures for a name from all networks before the next attempt from an unknown one must wait.
const FREE_FAILURES_BY_NAME: u32 = 60;
/// Networks remembered that logged in as one name: the newest ones.
const KNOWN_NETWORKS_OF_A_NAME: usize = 8;
/// A name that nobody logged in as for so long is forgotten with its networks, when there is no room.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Names whose networks are known, at most. A new one never takes another's place, whoever makes users and logs in with them.
const MOST_KNOWN_NAMES: usize = 50_000;
/// Between two searches for names to be forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(3600);
/// A pair that was just wrong is compared again so often from one network: comparing costs a processor some 30 ms.
const REPEAT_EVERY: Duration = Duration::from_secs(1);
/// Logins that wait for others' verdict, at most. One costs the memory of its call.
const MOST_WAITING: u32 = 2048;
/// The same, from one network: it may be the one address of a school, all of whom log in at once. Those who fill it keep out nobody but
/// crowds.
const MOST_WAITING_OF_A_NETWORK: u32 = 512;
/// How long one waits for others' verdict. One thread hashes for some 300 of a network in that time; who comes later is told so.
const WAIT_FOR_VERDICTS: Duration = Duration::from_secs(10);
/// When one that couldn't wait, or waited for nothing, may come again.
const COME_AGAIN: Duration = Duration::from_secs(1);
/// A longer name than any user's is counted by its start.
const MOST_NAME_CHARACTERS: usize = 64;

/// The networks that logged in as a name, the newest last. The name is a keyed hash.
#[derive(Debug, Default)]
struct Known {
    by_name: HashMap<u64, KnownNetworks>,
    searched: Option<Instant>,
}

#[derive(Debug)]
struct KnownNetworks {
    networks: Vec<Network>,
    last: Instant,
}

impl Known {
    fn has(&self, name: u64, network: Network) -> bool {
        self.by_name.get(&name).is_some_and(|known| known.networks.contains(&network))
    }

    /// Bounded for each name, and for all: what is known of one is displaced by its own newer networks alone.
    fn learn(&mut self, name: u64, network: Network, now: Instant) {
        if self.by_name.len() >= MOST_KNOWN_NAMES && !self.by_name.contains_key(&name) {
            if self.searched.is_none_or(|searched| now.saturating_duration_since(searched) >= FORGET_EVERY) {
                self.by_name.retain(|_, known| now.saturating_duration_since(known.last) < KNOWN_FOR);
                self.searched = Some(now);
            }
            if self.by_name.len() >= MOST_KNOWN_NAMES {
                return;
            }
        }
        let known = self.by_name.entry(name).or_insert_with(|| KnownNetworks { networks: Vec::with_capacity(1), last: now });
        known.last = now;
        known.networks.retain(|other| *other != network);
        if known.networks.len() == KNOWN_NETWORKS_OF_A_NAME {
            known.networks.remove(0);
        }
        known.networks.push(network);
    }
}

/// Whose attempt it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Who {
    name: String,
    network: Network,
}

#[derive(Debug)]
struct Logins {
    by_name_and_network: Failures<Who>,
    by_name: Failures<String>,
    by_network: Failures<Network>,
    by_site: Failures<Network>,
    known: Known,
    /// When a pair that was wrong before was last compared again, of the networks where that was within [`REPEAT_EVERY`].
    repeats: HashMap<Network, Instant>,
    waiting: HashMap<Network, u32>,
    all_waiting: u32,
}

/// Why a login is not let through now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOff {
    /// Others have failed before it. The next one may be let through when this is over.
    Failures(Duration),
    /// Too many wait for others' verdict, or that one waited for too long: nobody need have failed. It may come again after this.
    Crowd(Duration),
}

/// What becomes of a login now.
#[derive(Debug)]
enum Decision {
    Admitted(LoginAttempt),
    Refused(Duration),
    /// As many are under way as may fail.
    Undecided,
}

/// Slows down guessing of passwords.
#[derive(Debug, Clone)]
pub struct LoginThrottle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    logins: Mutex<Logins>,
    /// Told of each attempt that is over.
    verdicts: Notify,
    /// Whether a pair that is known to be wrong is compared but once in a while.
    paces_repeats: bool,
    /// Keys of the hashes that stand for names and for pairs.
    names: RandomState,
    pairs: RandomState,
}

/// A login that was let through. Dropped without a verdict, it counts as failed: a caller who leaves has had the password compared all the
/// same, and only hasn't heard the verdict.
#[derive(Debug)]
#[must_use]
pub struct LoginAttempt {
    throttle: LoginThrottle,
    who: Who,
    pair: Pair,
    /// The name is known in this network: what is counted over many doesn't bind it.
    known: bool,
    began: Instant,
    over: bool,
}

impl Default for LoginThrottle {
    fn default() -> Self {
        Self::new(true)
    }
}

impl LoginThrottle {
    /// For guesses of what costs no processor time to compare: one that is known to be wrong is no further guess, and may come again at
    /// once.
    #[must_use]
    pub fn of_guesses() -> Self {
        Self::new(false)
    }

    fn new(paces_repeats: bool) -> Self {
        let logins = Logins {
            by_name_and_network: Failures::new(FREE_FAILURES),
            by_name: Failures::new(FREE_FAILURES_BY_NAME),
            by_network: Failures::new(FREE_FAILURES_BY_NETWORK),
            by_site: Failures::new(FREE_FAILURES_BY_SITE),
            known: Known::default(),
            repeats: HashMap::new(),
            waiting: HashMap::new(),
            all_waiting: 0,
        };
        let (names, pairs) = (RandomState::new(), RandomState::new());
        Self(Arc::new(Shared { logins: Mutex::new(logins), verdicts: Notify::new(), paces_repeats, names, pairs }))
    }

    /// Lets a login through, after those before it have their verdict; or says why not, and how long to wait before the next try. `name`
    /// as it was sent, in lower case, whether there is such a user or not; of name and password, a keyed hash is kept.
    pub async fn begin(&self, name: &str, password: &str, address: Option<IpAddr>) -> Result<LoginAttempt, PutOff> {
        let give_up = tokio::time::Instant::now() + WAIT_FOR_VERDICTS;
        let mut place = None;
        loop {
            // Made before the look, so that no verdict after it is missed.
            let verdict = self.0.verdicts.notified();
            match self.decide(name, password, address, Instant::now()) {
                Decision::Admitted(attempt) => return Ok(attempt),
                Decision::Refused(wait) => return Err(PutOff::Failures(wait)),
                Decision::Undecided => {}
            }
            if place.is_none() {
                place = Some(self.wait_in_line(Network::of(address)).ok_or(PutOff::Crowd(COME_AGAIN))?);
            }
            if tokio::time::timeout_at(give_up, verdict).await.is_err() {
                return Err(PutOff::Crowd(COME_AGAIN));
            }
        }
    }

    fn decide(&self, name: &str, password: &str, address: Option<IpAddr>, now: Instant) -> Decision {
        let pair = self.0.pairs.hash_one((name, password));
        let who = Who { name: name.chars().take(MOST_NAME_CHARACTERS).collect(), network: Network::of(address) };
        let mut logins = self.lock();
        let known = logins.known.has(self.name_hash(&who.name), who.network);
        let wait = logins.wait(&who, known, now);
        if !wait.is_zero() {
            return Decision::Refused(wait);
        }
        if logins.is_taken(&who, known, now) {
            return Decision::Undecided;
        }
        if self.0.paces_repeats
            && logins.by_name_and_network.knows(&who, pair)
            && let Some(wait) = logins.repeat(who.network, now)
        {
            return Decision::Refused(wait);
        }
        logins.start(&who, known, now);
        Decision::Admitted(LoginAttempt { throttle: self.clone(), who, pair, known, began: now, over: false })
    }

    /// A place among those that wait for others' verdict; `None` when there is none.
    fn wait_in_line(&self, network: Network) -> Option<Place> {
        let mut logins = self.lock();
        let of_network = logins.waiting.get(&network).copied().unwrap_or(0);
        if logins.all_waiting >= MOST_WAITING || of_network >= MOST_WAITING_OF_A_NETWORK {
            return None;
        }
        logins.all_waiting += 1;
        logins.waiting.insert(network, of_network + 1);
        drop(logins);
        Some(Place { throttle: self.clone(), network })
    }

    fn name_hash(&self, name: &str) -> u64 {
        self.0.names.hash_one(name)
    }

    // A standard mutex, not tokio's: it is held for a few map operations and never over an await. Counts are right after every statement,
    // so one that a panic poisoned can be used on.
    fn lock(&self) -> MutexGuard<'_, Logins> {
        self.0.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Logins {
    fn wait(&self, who: &Who, known: bool, now: Instant) -> Duration {
        let mut wait = self.by_name_and_network.wait(who, now);
        if !known {
            wait = wait.max(self.by_name.wait(&who.name, now));
            // Nothing is told apart by a missing address: what is counted by the network alone doesn't bind it.
            if who.network.host.is_some() {
                wait = wait.max(self.by_network.wait(&who.network, now));
            }
            if who.network.has_site() {
                wait = wait.max(self.by_site.wait(&who.network.site(), now));
            }
        }
        wait
    }

    /// Whether this one must wait for the verdict of those under way.
    fn is_taken(&self, who: &Who, known: bool, now: Instant) -> bool {
        let over_many = || {
            self.by_name.is_taken(&who.name, now)
                || (who.network.host.is_some() && self.by_network.is_taken(&who.network, now))
                || (who.network.has_site() && self.by_site.is_taken(&who.network.site(), now))
        };
        self.by_name_and_network.is_taken(who, now) || (!known && over_many())
    }

    fn start(&mut self, who: &Who, known: bool, now: Instant) {
        self.by_name_and_network.start(who, now);
        if !known {
            self.by_name.start(&who.name, now);
            self.by_network.start(&who.network, now);
            if who.network.has_site() {
                self.by_site.start(&who.network.site(), now);
            }
        }
    }

    fn end(&mut self, who: &Who, known: bool, ending: Ending, now: Instant) {
        self.by_name_and_network.add(who, ending, now);
        self.by_name.add(&who.name, ending, now);
        self.by_network.add(&who.network, ending, now);
        if who.network.has_site() {
            self.by_site.add(&who.network.site(), ending, now);
        }
        self.by_name_and_network.end(who);
        if !known {
            self.by_name.end(&who.name);
            self.by_network.end(&who.network);
            self.by_site.end(&who.network.site());
        }
    }

    /// How long a pair that is known to be wrong must wait before it is compared again; `None`: now.
    fn repeat(&mut self, network: Network, now: Instant) -> Option<Duration> {
        if let Some(before) = self.repeats.get(&network) {
            let wait = REPEAT_EVERY.saturating_sub(now.saturating_duration_since(*before));
            if !wait.is_zero() {
                return Some(wait);
            }
        }
        // Small: it has the networks of one second.
        self.repeats.retain(|_, before| now.saturating_duration_since(*before) < REPEAT_EVERY);
        self.repeats.insert(network, now);
        None
    }
}

/// A place among those that wait.
#[derive(Debug)]
struct Place {
    throttle: LoginThrottle,
    network: Network,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut logins = self.throttle.lock();
        logins.all_waiting = logins.all_waiting.saturating_sub(1);
        let left = logins.waiting.get(&self.network).copied().unwrap_or(0).saturating_sub(1);
        if left == 0 {
            logins.waiting.remove(&self.network);
        } else {
            logins.waiting.insert(self.network, left);
        }
    }
}

impl LoginAttempt {
    /// The password was wrong.
    pub fn failed(self) {
        self.failed_at(Instant::now());
    }

    /// The same; the wait begins at the verdict, however long the comparison had to wait for its turn.
    fn failed_at(mut self, now: Instant) {
        self.end(Ending::Wrong(self.pair), now);
    }

    /// The password was right: the name starts again at nothing in this network, which is known from now on. What is counted over many
    /// stays, or an attacker's own login would clear the network, and the user's an attacker's failures elsewhere.
    pub fn succeeded(mut self) {
        {
            let mut logins = self.throttle.lock();
            logins.by_name_and_network.clear(&self.who);
            logins.known.learn(self.throttle.name_hash(&self.who.name), self.who.network, self.began);
        }
        self.end(Ending::Harmless, self.began);
    }

    /// No password was compared: the attempt never happened.
    pub fn withdraw(mut self) {
        self.end(Ending::Harmless, self.began);
    }

    fn end(&mut self, ending: Ending, now: Instant) {
        self.over = true;
        self.throttle.lock().end(&self.who, self.known, ending, now);
        self.throttle.0.verdicts.notify_waiters();
    }
}

impl Drop for LoginAttempt {
    fn drop(&mut self) {
        if !self.over {
            self.end(Ending::Unheard, Instant::now());
        }
    }
}

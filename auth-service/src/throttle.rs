//! Limits on what somebody may try, by user name and by the network that the peer's address lies in, in this process's memory and bounded.
//!
//! A login that failed makes the next ones for the same name from the same network wait, longer with each failure, at most a minute. Laxer
//! counts go over all names of a network and over all networks of a name; the latter doesn't bind a network that has logged in as that name.
//! Counts leak away over time. So nobody can lock a user out from where the user is known, unless they share a network.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures for a name from one network before the next attempt must wait.
const FREE_FAILURES: u32 = 5;
/// Failures from a network before the next attempt must wait. A network may stand for many people.
const FREE_FAILURES_BY_NETWORK: u32 = 30;
/// Failures for a name from all networks before the next attempt from an unknown one must wait.
const FREE_FAILURES_BY_NAME: u32 = 60;
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Failures above the free ones that are counted: 1 s doubled so often is the longest wait.
const MOST_ABOVE_FREE: u32 = 6;
/// One failure is forgotten every so often.
const LEAK: Duration = Duration::from_secs(30);
/// Names or networks remembered, at most; above, the one that was quiet for the longest is forgotten.
const MOST_REMEMBERED: usize = 10_000;
/// Networks remembered that logged in as one name: the newest ones.
const KNOWN_NETWORKS_OF_A_NAME: usize = 8;
/// A name that nobody logged in as for so long may be forgotten with its networks.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// Counts failures by key.
#[derive(Debug)]
struct Failures<K> {
    by_key: HashMap<K, Count>,
    free: u32,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    failures: u32,
    /// Since when nothing leaked: the next leak counts from here.
    since: Instant,
    /// When the last one was: the wait counts from here.
    last: Instant,
}

impl Count {
    /// The count as it is now, after what has leaked.
    fn leaked(self, now: Instant) -> Self {
        let leaks = now.saturating_duration_since(self.since).as_secs() / LEAK.as_secs();
        let leaks = u32::try_from(leaks).unwrap_or(u32::MAX).min(self.failures);
        Self { failures: self.failures - leaks, since: self.since + LEAK * leaks, ..self }
    }
}

impl<K: Hash + Eq + Clone> Failures<K> {
    fn new(free: u32) -> Self {
        Self { by_key: HashMap::new(), free }
    }

    /// How long a key must wait now.
    fn wait(&self, key: &K, now: Instant) -> Duration {
        let Some(count) = self.by_key.get(key).map(|count| count.leaked(now)) else { return Duration::ZERO };
        let Some(above) = count.failures.checked_sub(self.free) else { return Duration::ZERO };
        let wait = Duration::from_secs(1_u64 << above.min(MOST_ABOVE_FREE)).min(LONGEST_WAIT);
        wait.saturating_sub(now.saturating_duration_since(count.last))
    }

    fn add(&mut self, key: &K, now: Instant) {
        // Whatever has so many failures at the most has none after so long.
        let forgotten = LEAK * (self.free + MOST_ABOVE_FREE);
        make_room(&mut self.by_key, key, now, |count| count.last, forgotten);
        let new = Count { failures: 0, since: now, last: now };
        let count = self.by_key.entry(key.clone()).or_insert(new);
        let leaked = count.leaked(now);
        let since = if leaked.failures == 0 { now } else { leaked.since };
        *count = Count { failures: (leaked.failures + 1).min(self.free + MOST_ABOVE_FREE), since, last: now };
    }

    fn take_back(&mut self, key: &K) {
        if let Some(count) = self.by_key.get_mut(key) {
            count.failures = count.failures.saturating_sub(1);
            if count.failures == 0 {
                self.by_key.remove(key);
            }
        }
    }
}

/// Makes room for a new key in a full map: forgets what is old enough, else the one that was quiet for the longest.
fn make_room<K: Hash + Eq + Clone, V>(map: &mut HashMap<K, V>, key: &K, now: Instant, last: impl Fn(&V) -> Instant, old: Duration) {
    if map.len() < MOST_REMEMBERED || map.contains_key(key) {
        return;
    }
    map.retain(|_, value| now.saturating_duration_since(last(value)) < old);
    if map.len() >= MOST_REMEMBERED {
        let quietest = map.iter().min_by_key(|(_, value)| last(value)).map(|(key, _)| key.clone());
        quietest.and_then(|key| map.remove(&key));
    }
}

/// An address as it is counted: an IPv6 host has its whole /64 to itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

/// The networks that logged in as a name, the newest last.
#[derive(Debug)]
struct Known {
    networks: VecDeque<Option<IpAddr>>,
    last: Instant,
}

#[derive(Debug)]
struct Logins {
    /// A peer without an address is one network.
    by_name_and_network: Failures<(String, Option<IpAddr>)>,
    by_name: Failures<String>,
    by_network: Failures<Option<IpAddr>>,
    known: HashMap<String, Known>,
}

impl Logins {
    fn is_known(&self, name: &str, network: Option<IpAddr>) -> bool {
        self.known.get(name).is_some_and(|known| known.networks.contains(&network))
    }

    /// Bounded for each name, so that nobody's own logins from many networks displace the networks of others.
    fn know(&mut self, name: &String, network: Option<IpAddr>, now: Instant) {
        make_room(&mut self.known, name, now, |known| known.last, KNOWN_FOR);
        let known = self.known.entry(name.clone()).or_insert_with(|| Known { networks: VecDeque::new(), last: now });
        known.last = now;
        known.networks.retain(|other| *other != network);
        if known.networks.len() == KNOWN_NETWORKS_OF_A_NAME {
            known.networks.pop_front();
        }
        known.networks.push_back(network);
    }
}

/// Slows down guessing of passwords.
#[derive(Debug, Clone)]
pub struct LoginThrottle(Arc<Mutex<Logins>>);

/// A login that was let through. It counts as failed from the start, so that many at once don't slip through together, and stays so when it
/// is dropped: a caller who leaves has had the password compared all the same, and only hasn't heard the verdict.
#[derive(Debug)]
#[must_use]
pub struct LoginAttempt {
    throttle: LoginThrottle,
    name: String,
    network: Option<IpAddr>,
    began: Instant,
}

impl Default for LoginThrottle {
    fn default() -> Self {
        let logins = Logins {
            by_name_and_network: Failures::new(FREE_FAILURES),
            by_name: Failures::new(FREE_FAILURES_BY_NAME),
            by_network: Failures::new(FREE_FAILURES_BY_NETWORK),
            known: HashMap::new(),
        };
        Self(Arc::new(Mutex::new(logins)))
    }
}

impl LoginThrottle {
    /// Lets a login through, or says how long to wait. `name` as it was sent, in lower case, whether there is such a user or not.
    pub fn begin(&self, name: &str, address: Option<IpAddr>, now: Instant) -> Result<LoginAttempt, Duration> {
        // A name longer than any user's is counted by its start.
        let name: String = name.chars().take(64).collect();
        let network = address.map(network);
        let key = (name, network);
        let mut logins = self.lock();
        let by_name = if logins.is_known(&key.0, network) { Duration::ZERO } else { logins.by_name.wait(&key.0, now) };
        // Nothing is told apart by a missing address: what is counted by the network alone doesn't bind it.
        let by_network = if network.is_some() { logins.by_network.wait(&network, now) } else { Duration::ZERO };
        let wait = logins.by_name_and_network.wait(&key, now).max(by_name).max(by_network);
        if !wait.is_zero() {
            return Err(wait);
        }
        logins.by_name_and_network.add(&key, now);
        logins.by_name.add(&key.0, now);
        logins.by_network.add(&network, now);
        drop(logins);
        let (name, network) = key;
        Ok(LoginAttempt { throttle: self.clone(), name, network, began: now })
    }

    // A standard mutex, not tokio's: it is held for a few map operations and never over an await. Counts are right after every statement, so
    // one that a panic poisoned can be used on.
    fn lock(&self) -> MutexGuard<'_, Logins> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LoginAttempt {
    /// The password was wrong.
    pub fn failed(self) {}

    /// The password was right: the name starts again at nothing in this network, which is known from now on. What is counted over many loses
    /// this attempt alone, or an attacker's own login would clear the network, and the user's an attacker's failures elsewhere.
    pub fn succeeded(self) {
        let Self { throttle, name, network, began } = self;
        let mut logins = throttle.lock();
        logins.by_name.take_back(&name);
        logins.by_network.take_back(&network);
        logins.know(&name, network, began);
        logins.by_name_and_network.by_key.remove(&(name, network));
    }

    /// No password was compared: the attempt never happened.
    pub fn withdraw(self) {
        let Self { throttle, name, network, .. } = self;
        let mut logins = throttle.lock();
        logins.by_name.take_back(&name);
        logins.by_network.take_back(&network);
        logins.by_name_and_network.take_back(&(name, network));
    }
}

/// Bounds how many users sign up from one address: so many at once, and so many an hour.
#[derive(Debug)]
pub struct SignUpThrottle {
    per_hour: u32,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    filled: Instant,
}

impl SignUpThrottle {
    /// `per_hour` at once, and then evenly over the hour.
    #[must_use]
    pub fn new(per_hour: u32) -> Self {
        Self { per_hour: per_hour.max(1), buckets: Mutex::new(HashMap::new()) }
    }

    /// Counts a sign-up, or says how long to wait for the next.
    pub fn admit(&self, address: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        // A connection without an address is none over TCP; there is nobody to tell apart.
        let Some(address) = address.map(network) else { return Ok(()) };
        let (full, per_second) = (f64::from(self.per_hour), f64::from(self.per_hour) / 3600.0);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut buckets, &address, now, |bucket| bucket.filled, Duration::from_secs(3600));
        let bucket = buckets.entry(address).or_insert(Bucket { left: full, filled: now });
        let since = now.saturating_duration_since(bucket.filled).as_secs_f64();
        *bucket = Bucket { left: (bucket.left + since * per_second).min(full), filled: now };
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / per_second));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn elsewhere(number: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, number]))
    }

    fn fail(throttle: &LoginThrottle, name: &str, address: Option<IpAddr>, now: Instant) {
        throttle.begin(name, address, now).unwrap().failed();
    }

    #[test]
    fn failures_for_a_name_make_the_next_wait_longer_and_never_longer_than_a_minute() {
        let throttle = LoginThrottle::default();
        let mut now = Instant::now();
        (0..FREE_FAILURES).for_each(|_| fail(&throttle, "mario", HOME, now));
        let mut waits = Vec::new();
        for _ in 0..5 {
            let wait = throttle.begin("mario", HOME, now).unwrap_err();
            waits.push(wait.as_secs());
            now += wait;
            fail(&throttle, "mario", HOME, now);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16]);
        for _ in 0..100 {
            let wait = throttle.begin("mario", HOME, now).unwrap_err();
            assert!(wait <= LONGEST_WAIT && wait >= LEAK / 2, "{wait:?}");
            now += wait;
            fail(&throttle, "mario", HOME, now);
        }
        assert!(throttle.begin("luigi", HOME, now).is_ok(), "another name doesn't wait");
    }

    #[test]
    fn nobody_locks_a_user_out_of_a_network_that_the_user_has_logged_in_from() {
        let throttle = LoginThrottle::default();
        let mut now = Instant::now();
        throttle.begin("mario", HOME, now).unwrap().succeeded();
        // An attacker with many networks, who goes on for an hour.
        for _ in 0..3600 {
            for number in 0..20 {
                drop(throttle.begin("mario", elsewhere(number), now));
            }
            now += Duration::from_secs(1);
        }
        drop(throttle.begin("mario", elsewhere(0), now));
        let stranger = throttle.begin("mario", elsewhere(200), now).unwrap_err();
        assert!(stranger <= LONGEST_WAIT, "{stranger:?}");
        throttle.begin("mario", HOME, now).unwrap().succeeded();
    }

    #[test]
    fn failures_from_one_network_make_no_other_wait() {
        let throttle = LoginThrottle::default();
        let mut now = Instant::now();
        for _ in 0..600 {
            drop(throttle.begin("mario", elsewhere(1), now));
            now += Duration::from_secs(1);
        }
        drop(throttle.begin("mario", elsewhere(1), now));
        assert!(throttle.begin("mario", elsewhere(1), now).is_err());
        assert!(throttle.begin("mario", HOME, now).is_ok());
    }

    #[test]
    fn failures_of_all_networks_together_are_counted_for_a_name() {
        let throttle = LoginThrottle::default();
        let now = Instant::now();
        let guesses = (0..=255).flat_map(|number| [elsewhere(number); 2]);
        let admitted = guesses.filter(|address| throttle.begin("mario", *address, now).is_ok()).count();
        assert_eq!(admitted, FREE_FAILURES_BY_NAME as usize);
    }

    #[test]
    fn counts_leak_one_failure_at_a_time() {
        let throttle = LoginThrottle::default();
        let mut now = Instant::now();
        (0..FREE_FAILURES).for_each(|_| fail(&throttle, "mario", HOME, now));
        now += LEAK * 2;
        (0..2).for_each(|_| fail(&throttle, "mario", HOME, now));
        assert!(throttle.begin("mario", HOME, now).is_err(), "two leaked, not all");
        now += LEAK * FREE_FAILURES;
        (0..FREE_FAILURES).for_each(|_| fail(&throttle, "mario", HOME, now));
        for number in 0..FREE_FAILURES_BY_NETWORK {
            fail(&throttle, &format!("user{number}"), elsewhere(1), now);
        }
        assert!(throttle.begin("another", elsewhere(1), now).is_err());
        now += LEAK;
        fail(&throttle, "another", elsewhere(1), now);
        assert!(throttle.begin("another", elsewhere(1), now).is_err());
    }

    #[test]
    fn attempts_that_run_at_once_are_counted_before_their_verdict() {
        let throttle = LoginThrottle::default();
        let now = Instant::now();
        let _running: Vec<_> = (0..FREE_FAILURES).map(|_| throttle.begin("mario", HOME, now).unwrap()).collect();
        assert!(throttle.begin("mario", HOME, now).is_err());
    }

    #[test]
    fn an_attempt_that_is_cancelled_counts_as_failed() {
        let throttle = LoginThrottle::default();
        let now = Instant::now();
        (0..FREE_FAILURES).for_each(|_| drop(throttle.begin("mario", HOME, now).unwrap()));
        assert!(throttle.begin("mario", HOME, now).is_err());
    }

    #[test]
    fn an_attempt_that_is_withdrawn_never_happened() {
        let throttle = LoginThrottle::default();
        let now = Instant::now();
        (0..1000).for_each(|_| throttle.begin("mario", HOME, now).unwrap().withdraw());
        let logins = throttle.lock();
        assert!(logins.by_name_and_network.by_key.is_empty() && logins.by_name.by_key.is_empty() && logins.by_network.by_key.is_empty());
    }

    #[test]
    fn a_login_clears_its_name_and_not_its_network() {
        let throttle = LoginThrottle::default();
        let now = Instant::now();
        for number in 0..FREE_FAILURES_BY_NETWORK - 1 {
            fail(&throttle, &format!("user{number}"), HOME, now);
        }
        throttle.begin("mario", HOME, now).unwrap().succeeded();
        fail(&throttle, "mario", HOME, now);
        assert!(throttle.begin("mario", HOME, now).is_err());
        assert!(throttle.begin("mario", elsewhere(1), now).is_ok());
    }

    #[test]
    fn the_maps_are_bounded_and_many_networks_of_one_name_displace_nobody_elses() {
        let throttle = LoginThrottle::default();
        let now = Instant::now();
        throttle.begin("luigi", HOME, now).unwrap().succeeded();
        for number in 0..MOST_REMEMBERED + 100 {
            let network = u64::try_from(number).unwrap() << 16;
            let address = Some(IpAddr::from(std::net::Ipv6Addr::from(u128::from(network) << 64)));
            throttle.begin("mario", address, now).unwrap().succeeded();
            fail(&throttle, &number.to_string(), address, now);
        }
        let logins = throttle.lock();
        assert_eq!(logins.by_name_and_network.by_key.len(), MOST_REMEMBERED);
        assert_eq!((logins.by_name.by_key.len(), logins.by_network.by_key.len()), (MOST_REMEMBERED, MOST_REMEMBERED));
        assert_eq!(logins.known["mario"].networks.len(), KNOWN_NETWORKS_OF_A_NAME);
        assert!(logins.is_known("luigi", HOME));
    }

    #[test]
    fn an_ipv6_host_counts_by_its_network() {
        let throttle = SignUpThrottle::new(1);
        let now = Instant::now();
        let address = |text: &str| Some(text.parse().unwrap());
        assert!(throttle.admit(address("2001:db8::1"), now).is_ok());
        assert!(throttle.admit(address("2001:db8::2"), now).is_err());
        assert!(throttle.admit(address("2001:db8:0:1::1"), now).is_ok());
    }

    #[test]
    fn sign_ups_are_bounded_by_the_hour() {
        let throttle = SignUpThrottle::new(60);
        let mut now = Instant::now();
        assert!((0..60).all(|_| throttle.admit(HOME, now).is_ok()));
        let wait = throttle.admit(HOME, now).unwrap_err();
        assert!(wait > Duration::from_secs(59) && wait <= Duration::from_secs(60), "{wait:?}");
        now += Duration::from_secs(61);
        assert!(throttle.admit(HOME, now).is_ok());
        assert!(throttle.admit(HOME, now).is_err());
    }
}

//! Limits on what somebody may try, by user name and by peer address, in this process's memory and bounded.
//!
//! A login that failed makes the next ones for the same name, and from the same address, wait; longer with each failure, at most a minute.
//! Nobody can lock a user out for good.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row for a name before the next attempt must wait.
const FREE_FAILURES_BY_NAME: u32 = 5;
/// Failures from an address before the next attempt must wait. An address may stand for many people.
const FREE_FAILURES_BY_ADDRESS: u32 = 30;
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// After so long without a failure, a name or an address starts again at nothing.
const FORGET_AFTER: Duration = Duration::from_secs(15 * 60);
/// Names or addresses remembered, at most; above, the one that was quiet for the longest is forgotten.
const MOST_REMEMBERED: usize = 10_000;

/// Counts failures by key.
#[derive(Debug)]
struct Failures<K> {
    by_key: HashMap<K, Count>,
    free: u32,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    failures: u32,
    last: Instant,
}

impl<K: Hash + Eq + Clone> Failures<K> {
    fn new(free: u32) -> Self {
        Self { by_key: HashMap::new(), free }
    }

    /// How long a key must wait now.
    fn wait(&self, key: &K, now: Instant) -> Duration {
        let Some(count) = self.by_key.get(key) else { return Duration::ZERO };
        let passed = now.saturating_duration_since(count.last);
        if passed >= FORGET_AFTER || count.failures < self.free {
            return Duration::ZERO;
        }
        let wait = Duration::from_secs(1 << (count.failures - self.free).min(10)).min(LONGEST_WAIT);
        wait.saturating_sub(passed)
    }

    fn add(&mut self, key: &K, now: Instant) {
        make_room(&mut self.by_key, key, now, |count| count.last, FORGET_AFTER);
        let count = self.by_key.entry(key.clone()).or_insert(Count { failures: 0, last: now });
        if now.saturating_duration_since(count.last) >= FORGET_AFTER {
            count.failures = 0;
        }
        *count = Count { failures: count.failures.saturating_add(1), last: now };
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

#[derive(Debug)]
struct Logins {
    by_name: Failures<String>,
    by_address: Failures<IpAddr>,
}

/// Slows down guessing of passwords.
#[derive(Debug, Clone)]
pub struct LoginThrottle(Arc<Mutex<Logins>>);

/// A login that was let through. It counts as failed from the start, so that many at once don't slip through together; dropped without a
/// verdict, it didn't happen.
#[derive(Debug)]
#[must_use]
pub struct LoginAttempt {
    throttle: LoginThrottle,
    name: String,
    address: Option<IpAddr>,
    settled: bool,
}

impl Default for LoginThrottle {
    fn default() -> Self {
        let logins = Logins { by_name: Failures::new(FREE_FAILURES_BY_NAME), by_address: Failures::new(FREE_FAILURES_BY_ADDRESS) };
        Self(Arc::new(Mutex::new(logins)))
    }
}

impl LoginThrottle {
    /// Lets a login through, or says how long to wait. `name` as it was sent, in lower case, whether there is such a user or not.
    pub fn begin(&self, name: &str, address: Option<IpAddr>, now: Instant) -> Result<LoginAttempt, Duration> {
        // A name longer than any user's is counted by its start.
        let name: String = name.chars().take(64).collect();
        let address = address.map(network);
        let mut logins = self.lock();
        let by_address = address.map_or(Duration::ZERO, |address| logins.by_address.wait(&address, now));
        let wait = logins.by_name.wait(&name, now).max(by_address);
        if !wait.is_zero() {
            return Err(wait);
        }
        logins.by_name.add(&name, now);
        if let Some(address) = &address {
            logins.by_address.add(address, now);
        }
        drop(logins);
        Ok(LoginAttempt { throttle: self.clone(), name, address, settled: false })
    }

    // A standard mutex, not tokio's: it is held for a few map operations and never over an await. Counts are right after every statement, so
    // one that a panic poisoned can be used on.
    fn lock(&self) -> MutexGuard<'_, Logins> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LoginAttempt {
    /// The password was wrong.
    pub fn failed(mut self) {
        self.settled = true;
    }

    /// The password was right: the name starts again at nothing. The address doesn't, or an attacker's own login would clear it.
    pub fn succeeded(mut self) {
        self.settled = true;
        let mut logins = self.throttle.lock();
        logins.by_name.by_key.remove(&self.name);
        if let Some(address) = &self.address {
            logins.by_address.take_back(address);
        }
    }
}

impl Drop for LoginAttempt {
    fn drop(&mut self) {
        if !self.settled {
            let mut logins = self.throttle.lock();
            logins.by_name.take_back(&self.name);
            if let Some(address) = &self.address {
                logins.by_address.take_back(address);
            }
        }
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

    fn fail(throttle: &LoginThrottle, name: &str, address: Option<IpAddr>, now: Instant) {
        throttle.begin(name, address, now).unwrap().failed();
    }

    #[test]
    fn failures_for_a_name_make_the_next_wait_longer_and_never_longer_than_a_minute() {
        let throttle = LoginThrottle::default();
        let mut now = Instant::now();
        (0..FREE_FAILURES_BY_NAME).for_each(|_| fail(&throttle, "mario", None, now));
        let mut waits = Vec::new();
        for _ in 0..10 {
            let wait = throttle.begin("mario", None, now).unwrap_err();
            waits.push(wait.as_secs());
            now += wait;
            fail(&throttle, "mario", None, now);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert!(throttle.begin("luigi", None, now).is_ok(), "another name doesn't wait");
        now += FORGET_AFTER;
        (0..FREE_FAILURES_BY_NAME).for_each(|_| fail(&throttle, "mario", None, now));
    }

    #[test]
    fn attempts_that_run_at_once_are_counted_before_their_verdict() {
        let throttle = LoginThrottle::default();
        let now = Instant::now();
        let running: Vec<_> = (0..FREE_FAILURES_BY_NAME).map(|_| throttle.begin("mario", None, now).unwrap()).collect();
        assert!(throttle.begin("mario", None, now).is_err());
        drop(running);
        assert!(throttle.begin("mario", None, now).is_ok(), "without a verdict they didn't happen");
    }

    #[test]
    fn a_login_clears_its_name_and_not_its_address() {
        let throttle = LoginThrottle::default();
        let now = Instant::now();
        for number in 0..FREE_FAILURES_BY_ADDRESS - 1 {
            fail(&throttle, &format!("user{number}"), HOME, now);
        }
        throttle.begin("mario", HOME, now).unwrap().succeeded();
        fail(&throttle, "mario", HOME, now);
        assert!(throttle.begin("mario", HOME, now).is_err());
        assert!(throttle.begin("mario", None, now).is_ok());
    }

    #[test]
    fn the_maps_are_bounded() {
        let throttle = LoginThrottle::default();
        let now = Instant::now();
        for number in 0..MOST_REMEMBERED + 100 {
            fail(&throttle, &number.to_string(), None, now);
        }
        assert_eq!(throttle.lock().by_name.by_key.len(), MOST_REMEMBERED);
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

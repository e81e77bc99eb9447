//! A quota for each network: so many at once, and one more every so often.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::failures::make_room;
use super::network::Network;

/// What an IPv6 /48 may do for each that one of its networks may.
pub(super) const SITE: u32 = 4;

/// Bounds what is done from one address: so much at once, and then evenly.
#[derive(Debug)]
pub struct NetworkQuota {
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    by_network: Level,
    by_site: Level,
}

#[derive(Debug)]
struct Level {
    burst: u32,
    every: Duration,
    buckets: HashMap<Network, Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    filled: Instant,
}

impl Level {
    fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, buckets: HashMap::new() }
    }

    /// The network's bucket, filled up to now.
    fn bucket(&mut self, network: Network, now: Instant) -> &mut Bucket {
        let full = f64::from(self.burst);
        make_room(&mut self.buckets, &network, now, |bucket| Some(bucket.filled), self.every * self.burst);
        let bucket = self.buckets.entry(network).or_insert(Bucket { left: full, filled: now });
        let since = now.saturating_duration_since(bucket.filled).as_secs_f64();
        *bucket = Bucket { left: (bucket.left + since / self.every.as_secs_f64()).min(full), filled: now };
        bucket
    }

    fn wait(&mut self, network: Network, now: Instant) -> Duration {
        let missing = 1.0 - self.bucket(network, now).left;
        if missing > 0.0 { self.every.mul_f64(missing) } else { Duration::ZERO }
    }

    fn take(&mut self, network: Network, now: Instant) {
        self.bucket(network, now).left -= 1.0;
    }
}

impl NetworkQuota {
    /// `burst` at once, and one more `every` so often.
    #[must_use]
    pub fn new(burst: u32, every: Duration) -> Self {
        let (burst, every) = (burst.max(1), every.max(Duration::from_millis(1)));
        let by_site = Level::new(burst.saturating_mul(SITE), every / SITE);
        Self { buckets: Mutex::new(Buckets { by_network: Level::new(burst, every), by_site }) }
    }

    /// Counts one, or says how long to wait for the next.
    pub fn admit(&self, address: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let network = Network::of(address);
        // A connection without an address is none over TCP; there is nobody to tell apart.
        if network.host.is_none() {
            return Ok(());
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Buckets { by_network, by_site } = &mut *buckets;
        let mut wait = by_network.wait(network, now);
        if network.has_site() {
            wait = wait.max(by_site.wait(network.site(), now));
        }
        if !wait.is_zero() {
            return Err(wait);
        }
        by_network.take(network, now);
        if network.has_site() {
            by_site.take(network.site(), now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_let_through_at_once_and_one_more_every_so_often() {
        let quota = NetworkQuota::new(10, Duration::from_secs(6));
        let home = Some("192.0.2.1".parse().unwrap());
        let mut now = Instant::now();
        assert!((0..10).all(|_| quota.admit(home, now).is_ok()));
        let wait = quota.admit(home, now).unwrap_err();
        assert!(wait > Duration::from_secs(5) && wait <= Duration::from_secs(6), "{wait:?}");
        now += Duration::from_secs(7);
        assert!(quota.admit(home, now).is_ok());
        assert!(quota.admit(home, now).is_err());
        assert!(quota.admit(Some("192.0.2.2".parse().unwrap()), now).is_ok(), "another network");
        assert!((0..100).all(|_| quota.admit(None, now).is_ok()));
    }
}

//! Limits on how many users sign up from one place.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::failures::make_room;
use super::network::Network;

/// Sign-ups of an IPv6 /48 for each that one of its networks has.
const SITE: u32 = 4;

/// Bounds how many users sign up from one address: so many at once, and so many an hour.
#[derive(Debug)]
pub struct SignUpThrottle {
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    by_network: Level,
    by_site: Level,
}

#[derive(Debug)]
struct Level {
    per_hour: u32,
    buckets: HashMap<Network, Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    filled: Instant,
}

impl Level {
    fn new(per_hour: u32) -> Self {
        Self { per_hour, buckets: HashMap::new() }
    }

    /// The network's bucket, filled up to now.
    fn bucket(&mut self, network: Network, now: Instant) -> &mut Bucket {
        let full = f64::from(self.per_hour);
        make_room(&mut self.buckets, &network, now, |bucket| Some(bucket.filled), Duration::from_secs(3600));
        let bucket = self.buckets.entry(network).or_insert(Bucket { left: full, filled: now });
        let since = now.saturating_duration_since(bucket.filled).as_secs_f64();
        *bucket = Bucket { left: (bucket.left + since * full / 3600.0).min(full), filled: now };
        bucket
    }

    fn wait(&mut self, network: Network, now: Instant) -> Duration {
        let missing = 1.0 - self.bucket(network, now).left;
        if missing > 0.0 { Duration::from_secs_f64(missing * 3600.0 / f64::from(self.per_hour)) } else { Duration::ZERO }
    }

    fn take(&mut self, network: Network, now: Instant) {
        self.bucket(network, now).left -= 1.0;
    }
}

impl SignUpThrottle {
    /// `per_hour` at once, and then evenly over the hour.
    #[must_use]
    pub fn new(per_hour: u32) -> Self {
        let per_hour = per_hour.max(1);
        let by_site = Level::new(per_hour.saturating_mul(SITE));
        Self { buckets: Mutex::new(Buckets { by_network: Level::new(per_hour), by_site }) }
    }

    /// Counts a sign-up, or says how long to wait for the next.
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

    const HOME: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_ipv6_host_counts_by_its_network_and_its_site_higher() {
        let throttle = SignUpThrottle::new(1);
        let now = Instant::now();
        assert!(throttle.admit(address("2001:db8::1"), now).is_ok());
        assert!(throttle.admit(address("2001:db8::2"), now).is_err());
        for number in 1..SITE {
            assert!(throttle.admit(address(&format!("2001:db8:0:{number:x}::1")), now).is_ok(), "{number}");
        }
        assert!(throttle.admit(address("2001:db8:0:ff::1"), now).is_err(), "another network of the same /48");
        assert!(throttle.admit(address("2001:db8:1::1"), now).is_ok(), "another /48");
    }

    #[test]
    fn an_ipv4_address_counts_by_itself_in_either_form() {
        let throttle = SignUpThrottle::new(1);
        let now = Instant::now();
        assert!(throttle.admit(address("192.0.2.1"), now).is_ok());
        assert!(throttle.admit(address("::ffff:192.0.2.1"), now).is_err());
        assert!(throttle.admit(address("192.0.2.2"), now).is_ok());
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

//! Limits on how many users sign up from one place.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::quota::NetworkQuota;

/// Bounds how many users sign up from one address: so many at once, and so many an hour.
#[derive(Debug)]
pub struct SignUpThrottle(NetworkQuota);

impl SignUpThrottle {
    /// `per_hour` at once, and then evenly over the hour.
    #[must_use]
    pub fn new(per_hour: u32) -> Self {
        let per_hour = per_hour.max(1);
        Self(NetworkQuota::new(per_hour, Duration::from_secs(3600) / per_hour))
    }

    /// Counts a sign-up, or says how long to wait for the next.
    pub fn admit(&self, address: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        self.0.admit(address, now)
    }
}

#[cfg(test)]
mod tests {
    use super::super::quota::SITE;
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

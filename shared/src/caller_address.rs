//! Where a call comes from: its connection's address, or what a listed proxy says of it.
//!
//! A listed proxy (`TOLLGATE_TRUSTED_PROXIES`) says it by a PROXY protocol header (version 2) at the start of its connection, or by
//! `x-forwarded-for` on each call. Of the latter, the right-most address counts that isn't a listed proxy's itself: anybody could have
//! written what stands left of it. From everybody else both are ignored.

use std::net::{IpAddr, Ipv6Addr};

use http::{Extensions, HeaderMap};
use ipnet::IpNet;

/// The header in which proxies write whom they forward for.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// Addresses of an `x-forwarded-for` that are looked at, from the right: so many listed proxies may stand behind one another.
const MOST_HOPS: usize = 16;

/// The address that a call comes from. It is in the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerAddress {
    /// The address itself, an IPv4 address in IPv4's form.
    pub ip: IpAddr,
    /// Whether it came through a listed proxy. Such a caller is never "on this host", whatever address the proxy names.
    pub through_proxy: bool,
}

impl CallerAddress {
    /// The address of a request; `None` when it didn't come over a connection of [`crate::serving`].
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().copied()
    }

    /// Whether the caller is on this host.
    #[must_use]
    pub fn is_local(self) -> bool {
        self.ip.is_loopback() && !self.through_proxy
    }
}

/// The network that an address is counted by: an IPv4 address stands for itself, an IPv6 host has its whole /64.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    network_of(address, 64)
}

/// An IPv6 address without all but its first bits (1 to 128); an IPv4 address is its own network.
#[must_use]
pub fn network_of(address: IpAddr, ipv6_bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << (128 - ipv6_bits))).into(),
    }
}

/// Networks of proxies whose word counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Parses a comma list of addresses and networks, such as `10.0.0.0/8, 2001:db8::7`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let one = |part: &str| {
            let part = part.trim();
            let network = part.parse::<IpNet>().or_else(|_| part.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical())));
            network.map_err(|_| format!("must be a comma list of addresses and networks, such as 10.0.0.0/8, and has {part:?}"))
        };
        text.split(',').map(one).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this is a listed proxy's address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Who calls over a connection. `peer` is the connection's address; `proxied` is what its PROXY header says, if it began with one.
    #[must_use]
    pub fn connection(&self, peer: IpAddr, proxied: Option<IpAddr>) -> CallerAddress {
        let peer = peer.to_canonical();
        let through_proxy = self.contains(peer);
        let ip = proxied.filter(|_| through_proxy).map_or(peer, |proxied| proxied.to_canonical());
        CallerAddress { ip, through_proxy }
    }

    /// Who makes a call, by its headers.
    #[must_use]
    pub fn caller(&self, connection: CallerAddress, headers: &HeaderMap) -> CallerAddress {
        if !connection.through_proxy || !self.contains(connection.ip) {
            return connection;
        }
        let mut ip = connection.ip;
        let lines: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().map(|line| line.to_str().unwrap_or_default()).collect();
        for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')).take(MOST_HOPS) {
            // What can't be read was written by nobody whom we know: whoever stands left of it can't be told.
            let Some(address) = hop_address(hop.trim()) else { break };
            ip = address;
            if !self.contains(ip) {
                break;
            }
        }
        CallerAddress { ip, through_proxy: true }
    }
}

/// An address as proxies write it: alone, with a port, or an IPv6 address in brackets.
fn hop_address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.split_once(']').map(|(address, _)| address);
    let with_port = || text.rsplit_once(':').map(|(address, _)| address);
    let parsed = text.parse::<IpAddr>().ok();
    let parsed = parsed.or_else(|| bracketed()?.parse().ok()).or_else(|| with_port()?.parse().ok());
    parsed.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> TrustedProxies {
        TrustedProxies::parse("10.0.0.0/8, 127.0.0.1,2001:db8::/32").unwrap()
    }

    fn caller(peer: &str, proxied: Option<&str>, lines: &[&str]) -> (String, bool) {
        let mut headers = HeaderMap::new();
        lines.iter().for_each(|line| {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        });
        let connection = proxies().connection(peer.parse().unwrap(), proxied.map(|ip| ip.parse().unwrap()));
        let caller = proxies().caller(connection, &headers);
        (caller.ip.to_string(), caller.through_proxy)
    }

    fn is(ip: &str, through_proxy: bool) -> (String, bool) {
        (ip.to_owned(), through_proxy)
    }

    #[test]
    fn the_right_most_address_that_is_no_listed_proxys_is_the_callers() {
        assert_eq!(caller("10.0.0.1", None, &["203.0.113.9"]), is("203.0.113.9", true));
        assert_eq!(caller("10.0.0.1", None, &["198.51.100.1, 203.0.113.9, 10.2.3.4"]), is("203.0.113.9", true));
        assert_eq!(caller("10.0.0.1", None, &["198.51.100.1", "203.0.113.9"]), is("203.0.113.9", true));
        assert_eq!(caller("::ffff:10.0.0.1", None, &["203.0.113.9:4711"]), is("203.0.113.9", true));
        assert_eq!(caller("2001:db8::1", None, &["[2001:0:1::5]:80"]), is("2001:0:1::5", true));
        assert_eq!(caller("10.0.0.1", None, &["10.9.9.9,10.8.8.8"]), is("10.9.9.9", true), "all are listed: the left-most");
    }

    #[test]
    fn what_cannot_be_read_is_not_passed_over() {
        assert_eq!(caller("10.0.0.1", None, &["203.0.113.9, unknown"]), is("10.0.0.1", true));
        assert_eq!(caller("10.0.0.1", None, &["203.0.113.9, unknown, 10.2.3.4"]), is("10.2.3.4", true));
        assert_eq!(caller("10.0.0.1", None, &[""]), is("10.0.0.1", true));
        let long = "10.1.1.1,".repeat(5_000) + "10.2.2.2";
        assert_eq!(caller("10.0.0.1", None, &[&long]), is("10.1.1.1", true));
    }

    #[test]
    fn from_others_both_are_ignored() {
        assert_eq!(caller("203.0.113.5", None, &["127.0.0.1"]), is("203.0.113.5", false));
        assert_eq!(caller("203.0.113.5", Some("127.0.0.1"), &["127.0.0.1"]), is("203.0.113.5", false));
        // What a PROXY header named is no proxy, so its headers don't count either.
        assert_eq!(caller("10.0.0.1", Some("203.0.113.5"), &["127.0.0.1"]), is("203.0.113.5", true));
    }

    #[test]
    fn a_caller_behind_a_proxy_on_this_host_is_not_on_this_host() {
        let connection = proxies().connection(IpAddr::from([127, 0, 0, 1]), None);
        assert!(!proxies().caller(connection, &HeaderMap::new()).is_local());
        assert!(TrustedProxies::default().connection(IpAddr::from([127, 0, 0, 1]), None).is_local());
    }

    #[test]
    fn a_wrong_list_is_refused_and_an_ipv6_host_counts_by_its_64() {
        for wrong in ["", "10.0.0.0/33", "proxy", "10.0.0.1,,10.0.0.2"] {
            assert!(TrustedProxies::parse(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(network("2001:db8:1:2:3:4:5:6".parse().unwrap()).to_string(), "2001:db8:1:2::");
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()).to_string(), "192.0.2.1");
    }
}

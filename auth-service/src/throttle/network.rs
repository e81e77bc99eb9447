//! Addresses as they are counted.

use std::net::{IpAddr, Ipv6Addr};

/// The network that an attempt comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Network {
    /// An IPv4 address, or an IPv6 host's whole /64; `None` for a peer without an address, which is one network.
    pub(super) host: Option<IpAddr>,
}

impl Network {
    pub(super) fn of(address: Option<IpAddr>) -> Self {
        Self { host: address.map(|address| masked(address, 64)) }
    }

    /// What an IPv6 customer is given at the least, which has 65,536 networks: a /48. An IPv4 address is its own.
    pub(super) fn site(self) -> Self {
        Self { host: self.host.map(|address| masked(address, 48)) }
    }

    /// Whether the site is more than the network.
    pub(super) fn has_site(self) -> bool {
        matches!(self.host, Some(IpAddr::V6(_)))
    }
}

fn masked(address: IpAddr, bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & (u128::MAX << (128 - bits))).into(),
        v4 => v4,
    }
}

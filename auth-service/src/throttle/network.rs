//! Addresses as they are counted.

use std::net::IpAddr;

use shared::caller_address::network_of;

/// The network that an attempt comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Network {
    /// An IPv4 address, or an IPv6 host's whole /64; `None` for a peer without an address, which is one network.
    pub(super) host: Option<IpAddr>,
}

impl Network {
    pub(super) fn of(address: Option<IpAddr>) -> Self {
        Self { host: address.map(|address| network_of(address, 64)) }
    }

    /// What an IPv6 customer is given at the least, which has 65,536 networks: a /48. An IPv4 address is its own.
    pub(super) fn site(self) -> Self {
        Self { host: self.host.map(|address| network_of(address, 48)) }
    }

    /// Whether the site is more than the network.
    pub(super) fn has_site(self) -> bool {
        matches!(self.host, Some(IpAddr::V6(_)))
    }
}

//! How many connections there may be, and for how long.

use std::time::Duration;

use crate::caller_address::TrustedProxies;
use crate::connection_slots::SlotLimits;
use crate::env::{Reader, Variable};

/// The variables that [`ConnectionLimits::read`] reads.
pub const CONNECTION_VARIABLES: [Variable; 5] = [
    Variable {
        name: "TOLLGATE_TRUSTED_PROXIES",
        default: "unset: none",
        meaning: "Networks of proxies whose PROXY header (version 2) or x-forwarded-for says who calls, comma separated.",
        bad: "10.0.0.0/33",
    },
    Variable {
        name: "TOLLGATE_MAX_CONNECTIONS",
        default: "10000",
        meaning: "Connections at a time, at most; fewer where the limit of open files asks for it.",
        bad: "0",
    },
    Variable {
        name: "TOLLGATE_MAX_CONNECTIONS_PER_ADDRESS",
        default: "1000",
        meaning: "Connections of one address (of one /64, for IPv6) at a time. Listed proxies have no such limit.",
        bad: "none",
    },
    Variable {
        name: "TOLLGATE_CONNECTION_IDLE",
        default: "15m",
        meaning: "How long a connection may be without a call; a minute while none on it was authenticated.",
        bad: "0s",
    },
    Variable {
        name: "TOLLGATE_CONNECTION_AGE",
        default: "1h",
        meaning: "How old a connection becomes before its client is asked to make another one; its calls may finish.",
        bad: "0s",
    },
];

/// Limits on connections.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// How many there may be.
    pub slots: SlotLimits,
    /// Proxies whose word on who calls counts.
    pub trusted_proxies: TrustedProxies,
    /// How long one may be without a call.
    pub idle: Duration,
    /// How old one becomes.
    pub age: Duration,
}

impl ConnectionLimits {
    /// Reads [`CONNECTION_VARIABLES`].
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
        let mut connections = |name, default| usize::try_from(reader.integer(name, default, 1..=1_000_000)).unwrap_or(usize::MAX);
        let slots = SlotLimits {
            total: connections("TOLLGATE_MAX_CONNECTIONS", 10_000),
            per_network: connections("TOLLGATE_MAX_CONNECTIONS_PER_ADDRESS", 1_000),
        };
        Self {
            slots,
            trusted_proxies: reader.parse("TOLLGATE_TRUSTED_PROXIES", TrustedProxies::parse).unwrap_or_default(),
            idle: reader.duration("TOLLGATE_CONNECTION_IDLE", second * 900, second..=day),
            age: reader.duration("TOLLGATE_CONNECTION_AGE", second * 3600, second..=day * 30),
        }
    }
}

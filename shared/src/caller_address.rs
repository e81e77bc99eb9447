//! Where a call comes from.

use std::net::IpAddr;

use http::Extensions;

/// The address that a call comes from: the connection's, or what a listed proxy says of it. It is in the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerAddress {
    /// The address itself.
    pub ip: IpAddr,
    /// Whether a listed proxy said so. Such a caller is never "on this host", whatever address it names.
    pub through_proxy: bool,
}

impl CallerAddress {
    /// The address of a request; `None` when it didn't come over a connection of [`crate::serving`].
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().copied()
    }
}

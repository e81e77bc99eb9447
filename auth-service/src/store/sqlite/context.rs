//! What an operation works with.

use std::cell::RefCell;
use std::time::Duration;

use rusqlite::Connection;

use crate::store::expiry_line::Expired;
use crate::store::{Revocation, StoreLimits};

/// The connection, inside a savepoint; the bounds; and the time, read once for the whole operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'c> {
    pub(super) connection: &'c Connection,
    pub(super) limits: StoreLimits,
    pub(super) now_ms: i64,
    /// Holds that have expired in this operation: they are logged once it is stored.
    pub(super) expired: &'c RefCell<Vec<Expired>>,
    /// What was revoked in this operation: it is told once it is stored.
    pub(super) revoked: &'c RefCell<Vec<Revocation>>,
}

impl Context<'_> {
    /// When a hold expires that is made or extended now.
    pub(super) fn expires_at_ms(&self) -> i64 {
        self.after(self.limits.hold_ttl)
    }

    /// When a request is forgotten that is resolved now.
    pub(super) fn forget_at_ms(&self) -> i64 {
        self.after(self.limits.forget_after)
    }

    fn after(&self, time: Duration) -> i64 {
        self.now_ms.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
    }
}

//! What was revoked, for those who must end what runs by it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::ErrorReason;
use tokio::sync::watch;

use crate::ids::{AccountId, KeyId, SessionId, UserId};

/// Revocations that a store remembers, at least: whoever reads is no further behind, or is told that there is a gap.
pub const REMEMBERED_REVOCATIONS: usize = 10_000;

/// Something that is no longer in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Whose.
    pub user_id: UserId,
    /// What.
    pub revoked: Revoked,
    /// Why.
    pub reason: ErrorReason,
}

/// What is no longer in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// All of the user's credentials.
    Everything,
    /// All of the user's sessions and tokens; API keys stay in force.
    Tokens,
    /// One session.
    Session(SessionId),
    /// An API key.
    Key {
        /// Which.
        key_id: KeyId,
        /// Which of its secrets alone; 0: all.
        secret: u32,
    },
    /// A place in an organization, with all that was allowed by it. Elsewhere the user goes on.
    Membership {
        /// The organization's.
        account: AccountId,
    },
}

/// The revocations of a store that one process writes, the newest [`REMEMBERED_REVOCATIONS`] of them, numbered from 1.
#[derive(Debug, Clone)]
pub struct RevocationLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    log: Mutex<Log>,
    /// The newest one's number.
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Log {
    newest: u64,
    kept: VecDeque<Revocation>,
}

impl Default for RevocationLog {
    fn default() -> Self {
        Self(Arc::new(Shared { log: Mutex::default(), newest: watch::Sender::new(0) }))
    }
}

impl RevocationLog {
    /// Appends what has just been revoked: it is stored by now.
    pub fn publish(&self, revocations: Vec<Revocation>) {
        if revocations.is_empty() {
            return;
        }
        let mut log = self.lock();
        for revocation in revocations {
            log.newest += 1;
            log.kept.push_back(revocation);
        }
        let surplus = log.kept.len().saturating_sub(REMEMBERED_REVOCATIONS);
        log.kept.drain(..surplus);
        let newest = log.newest;
        drop(log);
        // Never back, should another have been quicker.
        self.0.newest.send_if_modified(|number| {
            let is_newer = newest > *number;
            *number = newest.max(*number);
            is_newer
        });
    }

    /// Tells the newest one's number, whenever there is a newer one.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.0.newest.subscribe()
    }

    /// Those behind a number, each with its own; `None`: some of them are no longer kept.
    #[must_use]
    pub fn after(&self, number: u64) -> Option<Vec<(u64, Revocation)>> {
        let log = self.lock();
        let first = log.newest - log.kept.len() as u64 + 1;
        let skipped = usize::try_from((number + 1).checked_sub(first)?).ok()?;
        Some((number + 1..).zip(log.kept.iter().skip(skipped).cloned()).collect())
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        // Nothing in it can be left half done.
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(number: usize) -> Revocation {
        let session = SessionId::parse(&format!("{number:012}")).unwrap();
        let user_id = UserId::parse("0123456789abcdef").unwrap();
        Revocation { user_id, revoked: Revoked::Session(session), reason: ErrorReason::CredentialRevoked }
    }

    #[test]
    fn those_behind_a_number_are_told_in_their_order_until_they_are_no_longer_kept() {
        let log = RevocationLog::default();
        assert_eq!(log.after(0), Some(Vec::new()));
        let newest = log.newest();
        log.publish(vec![revocation(1), revocation(2)]);
        log.publish(Vec::new());
        log.publish(vec![revocation(3)]);
        assert_eq!(*newest.borrow(), 3);
        assert_eq!(log.after(1), Some(vec![(2, revocation(2)), (3, revocation(3))]));
        assert_eq!(log.after(3), Some(Vec::new()));
        log.publish((4..=REMEMBERED_REVOCATIONS + 2).map(revocation).collect());
        assert_eq!(log.after(1), None);
        assert_eq!(log.after(2).unwrap().len(), REMEMBERED_REVOCATIONS);
    }
}

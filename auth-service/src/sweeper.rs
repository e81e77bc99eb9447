//! The slow walk over all accounts, which resolves holds that are due and forgets requests whose time is over where nobody calls.
//!
//! It is fair: an account has one operation's share done at a turn, however much waits on it. What is left waits for another turn, and the
//! accounts that weren't reached yet have theirs between.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ids::AccountId;
use crate::store::{AccountPage, Store, StoreError, Swept};

/// Between two looks of which the first found nothing to do: a walk over many accounts leaves the store to callers.
const PAUSE: Duration = Duration::from_millis(10);
/// Accounts that are remembered for another turn. What is left on others is found by the next walk.
const MAX_UNFINISHED: usize = 1024;

/// One walk after the other over all accounts.
#[derive(Debug)]
pub struct Walk {
    place: Place,
    /// Accounts that were found, and wait for their turn.
    coming: VecDeque<AccountId>,
    /// Accounts on which a turn left something to do.
    unfinished: VecDeque<AccountId>,
    /// Whose turn comes first: of an unfinished account, or of one that is coming.
    unfinished_first: bool,
}

/// Where a walk is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Before the first page, or behind another one.
    Behind(Option<String>),
    /// All accounts were found.
    End,
}

/// What a walk has before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// Accounts that wait for a turn.
    Turns,
    /// No account that is known to wait; not all were looked at.
    Looks,
    /// Nothing: all accounts were looked at, and nothing is left to do on them.
    Nothing,
}

impl Walk {
    /// One that begins with the first account.
    #[must_use]
    pub fn new() -> Self {
        Self { place: Place::Behind(None), coming: VecDeque::new(), unfinished: VecDeque::new(), unfinished_first: true }
    }

    /// Begins again with the first account when all were found. Those that wait for a turn keep their places.
    pub fn begin_again(&mut self) {
        if self.has_found_all() {
            self.place = Place::Behind(None);
        }
    }

    fn has_found_all(&self) -> bool {
        self.place == Place::End
    }

    /// What is before it.
    #[must_use]
    pub fn ahead(&self) -> Ahead {
        match (self.coming.is_empty() && self.unfinished.is_empty(), &self.place) {
            (false, _) => Ahead::Turns,
            (true, Place::Behind(_)) => Ahead::Looks,
            (true, Place::End) => Ahead::Nothing,
        }
    }

    /// Gives one account its turn, and looks for the next accounts first when none is coming. Answers how many holds were resolved.
    ///
    /// # Errors
    /// When the store fails. The walk goes on behind the account that it failed on.
    pub async fn turn(&mut self, store: &dyn Store) -> Result<u32, StoreError> {
        if self.coming.is_empty()
            && let Place::Behind(after) = &self.place
        {
            let AccountPage { accounts, next } = store.accounts_to_sweep(after.clone()).await?;
            self.place = next.map_or(Place::End, |next| Place::Behind(Some(next)));
            self.coming.extend(accounts);
        }
        let Some(account) = self.next_account() else { return Ok(0) };
        match store.sweep(&account).await {
            Ok(Swept { expired, more }) => {
                if more && self.unfinished.len() < MAX_UNFINISHED && !self.unfinished.contains(&account) {
                    self.unfinished.push_back(account);
                }
                Ok(expired)
            }
            // One account that contradicts itself must not keep the walk from all others.
            Err(StoreError::Corrupt(what)) => {
                tracing::error!(%account, what, "the account can't be swept");
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    /// Of both kinds in turn, so that neither waits for all of the other.
    fn next_account(&mut self) -> Option<AccountId> {
        let unfinished_first = self.unfinished_first;
        self.unfinished_first = !unfinished_first;
        let (first, second) =
            if unfinished_first { (&mut self.unfinished, &mut self.coming) } else { (&mut self.coming, &mut self.unfinished) };
        first.pop_front().or_else(|| second.pop_front())
    }
}

impl Default for Walk {
    fn default() -> Self {
        Self::new()
    }
}

/// Walks over all accounts, and again `interval` after all were found, until `stop` is cancelled. A store that fails is tried again after
/// the interval.
pub async fn run(store: Arc<dyn Store>, interval: Duration, stop: CancellationToken) {
    let mut walk = Walk::new();
    let (mut expired, mut found_all_at) = (0, None);
    loop {
        let left = found_all_at.map_or(interval, |at: Instant| interval.saturating_sub(at.elapsed()));
        if left.is_zero() {
            found_all_at = None;
            walk.begin_again();
        }
        // A turn that runs is not cut off when the drain begins: it is bounded.
        let pause = match walk.turn(&*store).await {
            Ok(resolved) => {
                expired += resolved;
                if walk.has_found_all() {
                    found_all_at.get_or_insert_with(Instant::now);
                }
                pause(walk.ahead(), left)
            }
            Err(error) => {
                match &error {
                    StoreError::Corrupt(_) => tracing::warn!(%error, "the walk over the accounts broke off"),
                    // The store's condition has said it, once; this comes again at every walk.
                    StoreError::Unavailable(_) | StoreError::Full(_) | StoreError::ReadOnly(_) | StoreError::Misconfigured(_) => {
                        tracing::debug!(%error, "the walk over the accounts broke off");
                    }
                }
                interval
            }
        };
        if !pause.is_zero() && expired > 0 {
            tracing::info!(holds = mem::take(&mut expired), "holds expired");
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// `left`: until the next walk begins.
fn pause(ahead: Ahead, left: Duration) -> Duration {
    match ahead {
        Ahead::Turns => Duration::ZERO,
        Ahead::Looks => PAUSE,
        Ahead::Nothing => left,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_hurries_while_accounts_wait_for_a_turn_and_pauses_between_looks_that_found_none() {
        let left = Duration::from_secs(5);
        let pauses = [Ahead::Turns, Ahead::Looks, Ahead::Nothing].map(|ahead| pause(ahead, left));
        assert_eq!(pauses, [Duration::ZERO, PAUSE, left]);
    }
}

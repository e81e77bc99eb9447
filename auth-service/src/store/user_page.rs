//! Lists of users by name: what is asked for, and how much one page may look at.

use crate::ids::UserId;
use crate::user::{UserName, UserRecord};

/// Users that one page looks at, at most: of a state that few are in, a page has fewer than were asked for.
pub const MAX_USERS_LOOKED_AT: usize = 500;

/// Users in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateFilter {
    /// Neither disabled nor locked.
    Enabled,
    /// Disabled, locked or not.
    Disabled,
    /// Locked, and not disabled.
    Locked,
}

impl StateFilter {
    /// The state of a user.
    #[must_use]
    pub fn of(user: &UserRecord) -> Self {
        match (user.disabled, user.locked) {
            (true, _) => Self::Disabled,
            (false, true) => Self::Locked,
            (false, false) => Self::Enabled,
        }
    }
}

/// Which users are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserQuery {
    /// What their names begin with, in lower case; empty: all.
    pub prefix: String,
    /// In which state; `None`: all.
    pub state: Option<StateFilter>,
    /// Behind whom; `None`: from the first.
    pub after: Option<UserPosition>,
    /// So many at most, and at most [`MAX_USERS_LOOKED_AT`].
    pub limit: u32,
}

impl UserQuery {
    /// What sorts before no name that the query is about, and behind every other one.
    pub(super) fn end(&self) -> String {
        // Behind every character of a name.
        format!("{}{{", self.prefix)
    }
}

/// A place in the list: that of a user, or of a name whose user was never made. It stays, whoever is added.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserPosition {
    /// By it first.
    pub name: UserName,
    /// Of two with one name, of whom one was never made.
    pub user_id: UserId,
}

/// Users, in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserPage {
    /// May be fewer than were asked for, and none, though more follow.
    pub users: Vec<UserRecord>,
    /// Where the next page begins; `None`: this is the last one.
    pub next: Option<UserPosition>,
}

/// Fills a page from what a store reads, one after the other.
#[derive(Debug)]
pub(super) struct PageInProgress<'q> {
    query: &'q UserQuery,
    users: Vec<UserRecord>,
    looked_at: usize,
    last: Option<UserPosition>,
}

impl<'q> PageInProgress<'q> {
    pub(super) fn new(query: &'q UserQuery) -> Self {
        Self { query, users: Vec::new(), looked_at: 0, last: query.after.clone() }
    }

    /// How many are to be looked at before the page is full, or has looked at as many as it may; 0: it has.
    pub(super) fn room(&self) -> usize {
        let missing = (self.query.limit as usize).saturating_sub(self.users.len());
        if missing == 0 { 0 } else { MAX_USERS_LOOKED_AT.saturating_sub(self.looked_at).min(self.chunk(missing)) }
    }

    /// Of those in one state, some more are read at a time than are missing.
    fn chunk(&self, missing: usize) -> usize {
        const CHUNK: usize = 100;
        if self.query.state.is_some() { missing.max(CHUNK) } else { missing }
    }

    /// What was looked at last.
    pub(super) fn last(&self) -> Option<&UserPosition> {
        self.last.as_ref()
    }

    /// Takes the next one. `user`: `None`, when the user of that name was never made.
    pub(super) fn take(&mut self, position: UserPosition, user: Option<UserRecord>) {
        self.looked_at += 1;
        self.last = Some(position);
        self.users.extend(user.filter(|user| self.query.state.is_none_or(|state| StateFilter::of(user) == state)));
    }

    /// The page. `more`: whether something follows what was looked at last.
    pub(super) fn finish(self, more: bool) -> UserPage {
        UserPage { users: self.users, next: self.last.filter(|_| more) }
    }
}

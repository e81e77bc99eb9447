//! The index of user names: a sorted set of `<name>!<user id>`, all with score 0.
//!
//! An entry is written before its user is made, like the registry of accounts, so that no user is ever missing; one whose user was never
//! made is passed over. Releases before the index made users without it. Each account is in the registry, and has one entry at most, here
//! or among the organizations: where the registry is as long as both together, none is missing. Else those that are missing are added
//! when the store is opened, before a list begins, and by the walk over the accounts.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::RedisStore;
use super::keys::{Keys, REGISTRY_SHARDS};
use super::scripts::ScriptCall;
use super::stored::unreadable;
use crate::ids::{AccountId, UserId};
use crate::store::user_page::PageInProgress;
use crate::store::{StoreError, UserPage, UserPosition, UserQuery, records};
use crate::user::{UserName, UserRecord};

/// Between name and id: sorts before every character of a name, so that the order is that of the names.
const SEPARATOR: char = '!';
/// Accounts that are looked at in one go when the store is opened.
const PAGE: usize = 500;
/// When accounts are looked at again whose users weren't there the last time: one may have been made since.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// What this process knows of how complete the index is.
#[derive(Debug, Default)]
pub(super) struct IndexState(Mutex<Completion>);

#[derive(Debug, Default)]
struct Completion {
    /// While a walk adds what is missing: how many entries are, as far as it knows.
    missing: Option<i64>,
    /// The last time that all accounts were looked at, and how many entries were missing still: those of accounts that have no user.
    complete: Option<(Instant, i64)>,
}

impl IndexState {
    fn lock(&self) -> MutexGuard<'_, Completion> {
        // Held for a few instructions, and nothing in it can be left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Completion {
    /// Whether all accounts are to be looked at when the registry is longer than the index by so much.
    fn is_worth_a_look(&self, missing: i64, now: Instant) -> bool {
        let is_known = self.complete.is_some_and(|(at, without_user)| without_user == missing && now.duration_since(at) < LOOK_AGAIN_AFTER);
        missing != 0 && !is_known
    }
}

/// An entry of the index.
pub(super) fn entry(name: &UserName, user: &UserId) -> String {
    format!("{name}{SEPARATOR}{user}")
}

fn position(entry: &str) -> Option<UserPosition> {
    let (name, user) = entry.split_once(SEPARATOR)?;
    Some(UserPosition { name: UserName::parse(name).filter(|parsed| parsed.as_str() == name)?, user_id: UserId::parse(user)? })
}

/// Where a range begins, as `ZRANGEBYLEX` has it.
fn start(query: &UserQuery, last: Option<&UserPosition>) -> String {
    let prefix = format!("[{}", query.prefix);
    let Some(last) = last else { return if query.prefix.is_empty() { "-".to_owned() } else { prefix } };
    let behind = format!("({}", entry(&last.name, &last.user_id));
    // Compared without the brackets.
    if behind[1..] < prefix[1..] { prefix } else { behind }
}

impl RedisStore {
    pub(super) async fn list_users(&self, query: &UserQuery) -> Result<UserPage, StoreError> {
        if query.after.is_none() {
            self.mend_index().await?;
        }
        let mut page = PageInProgress::new(query);
        loop {
            let room = page.room();
            // One more tells whether something follows.
            let wanted = room + 1;
            let mut pipeline = ::redis::pipe();
            pipeline.cmd("ZRANGEBYLEX").arg(self.keys.user_names()).arg(start(query, page.last())).arg(format!("({}", query.end()));
            let (entries,): (Vec<String>,) = self.query(pipeline.arg("LIMIT").arg(0).arg(wanted)).await?;
            let follows = entries.len() == wanted;
            let positions: Vec<UserPosition> = entries
                .iter()
                .take(room)
                .map(|entry| position(entry).ok_or_else(|| unreadable("the index of user names")))
                .collect::<Result<_, _>>()?;
            let users = self.users_of(positions.iter().map(|position| &position.user_id)).await?;
            for (position, user) in positions.into_iter().zip(users) {
                // Of those in one state, more were read than may be missing.
                if page.room() == 0 {
                    return Ok(page.finish(true));
                }
                let user = user.filter(|user| user.user_name == position.name);
                page.take(position, user);
            }
            if !follows || page.room() == 0 {
                return Ok(page.finish(follows));
            }
        }
    }

    /// Adds what is missing before a list begins: the index was lost, say, or another release has made users. Costs next to nothing where
    /// nothing is.
    async fn mend_index(&self) -> Result<(), StoreError> {
        let missing = self.missing_names().await?;
        // Fewer than none: users are being made.
        if missing > 0 && self.index.lock().is_worth_a_look(missing, Instant::now()) {
            self.complete_index().await?;
        }
        Ok(())
    }

    /// The records of users; `None`, where there is no such user.
    pub(super) async fn users_of<'u>(&self, ids: impl Iterator<Item = &'u UserId> + Clone) -> Result<Vec<Option<UserRecord>>, StoreError> {
        let mut pipeline = ::redis::pipe();
        for id in ids.clone() {
            pipeline.get(self.keys.user(id));
        }
        if pipeline.cmd_iter().next().is_none() {
            return Ok(Vec::new());
        }
        let found: Vec<Option<Vec<u8>>> = self.query(&pipeline).await?;
        let read = |(id, bytes): (&UserId, Option<Vec<u8>>)| {
            let user = records::user(id, &bytes?);
            if user.is_none() {
                // It must not keep a list from all others.
                tracing::error!(user_id = %id, "a user's record can't be read");
            }
            user
        };
        Ok(ids.zip(found).map(read).collect())
    }

    /// By how many entries the registry of accounts is longer than the index.
    async fn missing_names(&self) -> Result<i64, StoreError> {
        let mut pipeline = ::redis::pipe();
        for shard in 0..REGISTRY_SHARDS {
            pipeline.cmd("ZCARD").arg(self.keys.registry(shard));
        }
        // Last: whoever is made meanwhile has the index no shorter.
        pipeline.cmd("ZCARD").arg(self.keys.user_names()).cmd("ZCARD").arg(self.keys.organizations());
        let lengths: Vec<i64> = self.query(&pipeline).await?;
        let (registry, indexes) =
            lengths.split_at_checked(REGISTRY_SHARDS.into()).ok_or_else(|| unreadable("the lengths of the registry"))?;
        Ok(registry.iter().sum::<i64>() - indexes.iter().sum::<i64>())
    }

    /// Adds what is missing of the index, so that a store of an earlier release lists its users from the first call on.
    pub(super) async fn complete_index(&self) -> Result<(), StoreError> {
        let missing = self.missing_names().await?;
        if missing == 0 {
            return Ok(());
        }
        let (mut after, mut added) = (None, 0);
        loop {
            let page = self.page_of_registry(after, PAGE).await?;
            added += self.add_to_index(&page.accounts).await?;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.index.lock().complete = Some((Instant::now(), missing - added));
        Ok(())
    }

    /// Decides whether the walk that begins adds what is missing.
    pub(super) async fn walk_begins(&self) {
        // What fails here keeps the walk from nothing else.
        let missing = self.missing_names().await.unwrap_or(0);
        let mut completion = self.index.lock();
        completion.missing = completion.is_worth_a_look(missing, Instant::now()).then_some(missing);
    }

    /// Adds what is missing of these accounts, when the walk does. One that fails leaves it to the next.
    pub(super) async fn walk_passes(&self, accounts: &[AccountId], is_last: bool) {
        if self.index.lock().missing.is_none() {
            return;
        }
        let added = self.add_to_index(accounts).await;
        let mut completion = self.index.lock();
        let Some(missing) = completion.missing.take() else { return };
        match added {
            Ok(added) if is_last => completion.complete = Some((Instant::now(), missing - added)),
            Ok(added) => completion.missing = Some(missing - added),
            Err(error) => tracing::debug!(%error, "the index of user names was not filled"),
        }
    }

    /// Adds the users of these accounts to the index; how many it didn't have.
    async fn add_to_index(&self, accounts: &[AccountId]) -> Result<i64, StoreError> {
        let ids: Vec<UserId> = accounts.iter().filter_map(|account| UserId::parse(account.as_str())).collect();
        let mut pipeline = ::redis::pipe();
        pipeline.cmd("ZADD").arg(self.keys.user_names());
        let mut found = false;
        for user in self.users_of(ids.iter()).await?.into_iter().flatten() {
            pipeline.arg(0).arg(entry(&user.user_name, &user.user_id));
            found = true;
        }
        if !found {
            return Ok(0);
        }
        let (added,): (i64,) = self.query(&pipeline).await?;
        if added > 0 {
            tracing::info!(users = added, "users who were missing in the index of user names were added");
        }
        Ok(added)
    }

    /// Registers an account and its user's name, both or neither.
    pub(super) async fn register(&self, account: &AccountId, name: &UserName, user: &UserId) -> Result<(), StoreError> {
        self.register_in(self.keys.user_names(), account, entry(name, user)).await
    }

    /// Registers an organization's account.
    pub(super) async fn register_organization(&self, account: &AccountId) -> Result<(), StoreError> {
        self.register_in(self.keys.organizations(), account, account.to_string()).await
    }

    async fn register_in(&self, index: String, account: &AccountId, entry: String) -> Result<(), StoreError> {
        let keys = [self.keys.registry(Keys::shard_of(account)), index];
        let mut call = ScriptCall::new(&self.scripts.register, keys.iter());
        call.arg(account.as_str()).arg(entry);
        self.run::<i64>(&call).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_without_a_user_are_looked_at_again_when_they_are_more_or_fewer_and_else_after_ten_minutes() {
        let now = Instant::now();
        assert!(!Completion::default().is_worth_a_look(0, now) && Completion::default().is_worth_a_look(1, now));
        let known = Completion { missing: None, complete: Some((now, 2)) };
        for (missing, after, expected) in [(2, 0, false), (2, 599, false), (2, 600, true), (3, 0, true), (1, 0, true), (0, 600, false)] {
            assert_eq!(known.is_worth_a_look(missing, now + Duration::from_secs(after)), expected, "{missing} after {after} s");
        }
    }

    #[test]
    fn entries_are_in_the_order_of_names_and_a_page_begins_behind_the_one_before() {
        let user = UserId::parse("0123456789abcdef").unwrap();
        let name = |name| UserName::parse(name).unwrap();
        let names = ["a-b", "a.b", "a0b", "aaa", "aaa-", "aaa.", "aaa0", "aaa_", "aaaa", "b00"];
        let mut entries: Vec<String> = names.iter().rev().map(|text| entry(&name(text), &user)).collect();
        entries.sort();
        let read: Vec<UserPosition> = entries.iter().map(|entry| position(entry).unwrap()).collect();
        assert_eq!(read.iter().map(|position| position.name.as_str()).collect::<Vec<_>>(), names);
        let query = |prefix: &str| UserQuery { prefix: prefix.to_owned(), state: None, after: None, limit: 1 };
        assert_eq!((start(&query(""), None), start(&query("ab"), None)), ("-".to_owned(), "[ab".to_owned()));
        let last = UserPosition { name: name("abc"), user_id: user };
        assert_eq!(start(&query("ab"), Some(&last)), "(abc!0123456789abcdef");
        assert_eq!(start(&query("b"), Some(&last)), "[b");
        assert_eq!(query("ab").end(), "ab{");
        for broken in ["", "ada", "ada!", "ada!x", "Ada!0123456789abcdef", "a!0123456789abcdef", "ada!0123456789abcde!"] {
            assert_eq!(position(broken), None, "{broken}");
        }
    }
}

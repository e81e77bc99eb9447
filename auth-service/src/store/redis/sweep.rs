//! Walks over all accounts in Redis, and the sweeping of those that nobody may call.

use ::redis::{Value, from_redis_value};

use super::RedisStore;
use super::decision::{Next, Operation, Situation};
use super::keys::REGISTRY_SHARDS;
use super::move_script::{Done, Move};
use super::stored::{Counters, unreadable};
use crate::ids::AccountId;
use crate::store::{AccountPage, StoreError, StoreLimits, Swept};

/// Accounts that one look takes in.
const PAGE: usize = 32;

/// Resolves what is due on an account, and forgets what is to be forgotten.
struct Sweep {
    expired: u32,
}

impl Operation for Sweep {
    type Answer = Swept;

    fn first(&mut self) -> Move {
        Move::forget()
    }

    fn expire(&mut self, resolved: u32) {
        self.expired += resolved;
    }

    fn done(&mut self, now_ms: i64, Done { counters, .. }: Done) -> Result<Swept, StoreError> {
        Ok(Swept { expired: self.expired, more: is_due(&counters, now_ms) })
    }

    fn decide(&mut self, situation: Situation<'_>) -> Result<Next<Swept>, StoreError> {
        // What finds nothing to do finds no account, or one that contradicts itself.
        match situation.found.counters()? {
            None => Ok(Next::Answer(Swept { expired: self.expired, more: false })),
            Some(_) => Err(unreadable("a hold")),
        }
    }
}

/// Whether holds are due, or requests to be forgotten, as far as is known without looking: exactly so after a sweep.
fn is_due(counters: &Counters, now_ms: i64) -> bool {
    counters.next_due_ms.min(counters.next_forget_ms) <= now_ms
}

/// Whether there is something to do, also that more requests are remembered than may be, since the bounds were lowered: the walk forgets a
/// share of them each time.
fn waits_for_sweep(counters: &Counters, limits: &StoreLimits, now_ms: i64) -> bool {
    is_due(counters, now_ms) || counters.paid > limits.max_remembered_requests || counters.free > limits.max_free_requests
}

impl RedisStore {
    pub(super) async fn find_accounts_to_sweep(&self, after: Option<String>) -> Result<AccountPage, StoreError> {
        if after.is_none() {
            self.walk_begins().await;
        }
        let AccountPage { accounts, next } = self.page_of_accounts(after).await?;
        self.walk_passes(&accounts, next.is_none()).await;
        Ok(AccountPage { accounts: self.waiting_of(accounts).await?, next })
    }

    /// `after`: the shard of the registry, and the account in it that was looked at last.
    pub(super) async fn page_of_accounts(&self, after: Option<String>) -> Result<AccountPage, StoreError> {
        self.page_of_registry(after, PAGE).await
    }

    /// The same, with so many accounts.
    pub(super) async fn page_of_registry(&self, after: Option<String>, size: usize) -> Result<AccountPage, StoreError> {
        let (shard, after) = match after.as_deref().map(|after| after.split_once(':')) {
            None => (0, ""),
            Some(position) => position
                .and_then(|(shard, after)| Some((shard.parse::<u8>().ok()?, after)))
                .ok_or_else(|| unreadable("where the walk goes on"))?,
        };
        let start = if after.is_empty() { "-".to_owned() } else { format!("({after}") };
        let mut pipeline = ::redis::pipe();
        pipeline.cmd("ZRANGEBYLEX").arg(self.keys.registry(shard)).arg(start).arg("+").arg("LIMIT").arg(0).arg(size);
        let (ids,): (Vec<String>,) = self.query(&pipeline).await?;
        let next = match ids.last() {
            // Of those behind it in the order, none is missed, whichever are added meanwhile.
            Some(last) if ids.len() == size => Some(format!("{shard}:{last}")),
            _ => (shard + 1 < REGISTRY_SHARDS).then(|| format!("{}:", shard + 1)),
        };
        let mut accounts = Vec::with_capacity(ids.len());
        for id in &ids {
            match AccountId::parse(id) {
                Some(account) => accounts.push(account),
                // It must not keep the walk from all others.
                None => tracing::error!(shard, id, "the registry of accounts has an id that is none"),
            }
        }
        Ok(AccountPage { accounts, next })
    }

    /// Those of these accounts that wait to be swept, and those that can't be read.
    async fn waiting_of(&self, mut accounts: Vec<AccountId>) -> Result<Vec<AccountId>, StoreError> {
        let mut pipeline = ::redis::pipe();
        pipeline.cmd("TIME");
        for account in &accounts {
            pipeline.hget(self.keys.account_part(account, "acct"), "counters");
        }
        let mut answers = match self.query::<Vec<Value>>(&pipeline).await {
            Ok(answers) => answers.into_iter(),
            // One of them is the reason. Swept by itself, it is told from the others.
            Err(StoreError::Corrupt(_)) => return Ok(accounts),
            Err(error) => return Err(error),
        };
        let time = answers.next().and_then(|time| from_redis_value(time).ok()).ok_or_else(|| unreadable("Redis's time"))?;
        let now_ms = self.time_ms(time);
        let mut waits = answers.map(|counters| match counters {
            // It was registered, and never made.
            Value::Nil => false,
            Value::BulkString(counters) => {
                Counters::parse(&counters).map_or(true, |counters| waits_for_sweep(&counters, &self.limits, now_ms))
            }
            _ => true,
        });
        accounts.retain(|_| waits.next().unwrap_or(true));
        Ok(accounts)
    }

    pub(super) async fn sweep_account(&self, account: &AccountId) -> Result<Swept, StoreError> {
        self.operate(account, Sweep { expired: 0 }).await
    }
}

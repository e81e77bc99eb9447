//! The embedded store: SQLite in one file, with nothing else installed. One process serves from it; `create-admin` may write to it at the
//! same time.

mod account;
mod check;
mod columns;
mod disk;
mod users;
mod writer;

use std::path::Path;

use async_trait::async_trait;
use rusqlite::Connection;
use shared::essential::Lost;
use tokio::runtime::Handle;

use self::account::Account;
use self::writer::{Failure, Outcome as Done, Writer, in_savepoint};
use super::clock::Clock;
use super::known_callers::{CallerId, KnownCallers};
use super::{
    AccountSnapshot, ApiKeyCreation, ApiKeyRecord, Balance, CheckAnswer, CheckRequest, Condition, ExtendAnswer, GrantAnswer, GrantRequest,
    LedgerEntry, MAX_CREDITS, NewApiKey, NewUser, SettleAnswer, Store, StoreError, StoreLimits, StoreOpenError, SweepStep, UserCreation,
};
use crate::hold::{HoldHandle, HoldRecord, Outcome, Resolution, TokenUsage};
use crate::ids::{AccountId, KeyId, UserId};
use crate::user::{UserName, UserRecord};

/// What the probe writes into the file's head: the letters `toll`. SQLite keeps it for an application to mark its files with, and a newer
/// release may bring the schema up without being disturbed by it.
const APPLICATION_ID: i32 = 0x746f_6c6c;
/// Accounts that one step of the slow walk looks at.
const ACCOUNTS_PER_STEP: usize = 32;

/// The store in a file. Dropping it closes the file, after what is queued.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    condition: Condition,
    known_callers: KnownCallers,
    limits: StoreLimits,
    clock: Clock,
}

/// What an operation works with.
struct Context<'c> {
    connection: &'c Connection,
    limits: StoreLimits,
    now_ms: i64,
}

impl SqliteStore {
    /// Opens a file, or makes it, readable by its owner alone. It is called on the runtime that the store is used on.
    ///
    /// # Errors
    /// [`StoreOpenError::Unusable`] when the file can't be opened or written, is none of ours, or was written by a later
    /// release, and without a runtime.
    pub fn open(path: &Path, limits: StoreLimits, clock: Clock) -> Result<Self, StoreOpenError> {
        let runtime = Handle::try_current().map_err(|error| StoreOpenError::Unusable(error.to_string()))?;
        let writer = Writer::start(path, &runtime)?;
        Ok(Self { writer, condition: Condition::default(), known_callers: KnownCallers::new(), limits, clock })
    }

    async fn run<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Context<'_>) -> Done<T> + Send + 'static,
    {
        let (limits, clock) = (self.limits, self.clock.clone());
        // The clock is read when the operation's turn comes, so that times don't run backwards on an account.
        let done = self.writer.run(move |connection| operation(&Context { connection, limits, now_ms: clock.now_ms() })).await;
        done.inspect_err(|error| self.condition.call_failed(error))
    }
}

impl<'c> Context<'c> {
    /// An account, swept; `None`: no such account.
    fn account(&self, id: &AccountId) -> Done<Option<Account<'c>>> {
        Account::load_swept(self.connection, self.limits, self.now_ms, id)
    }

    fn extend(&self, handle: &HoldHandle, usage: TokenUsage) -> Done<ExtendAnswer> {
        let Some(mut account) = self.account(&handle.account)? else { return Ok(ExtendAnswer::NotFound) };
        let answer = match account.hold(&handle.user_id, &handle.request_id)? {
            None => ExtendAnswer::NotFound,
            Some(hold) if hold.resolved.is_some() || hold.attempt_id != handle.attempt_id => ExtendAnswer::Resolved,
            Some(mut hold) => {
                let usage = hold.clamp(usage);
                hold.usage = TokenUsage {
                    input_tokens: hold.usage.input_tokens.max(usage.input_tokens),
                    output_tokens: hold.usage.output_tokens.max(usage.output_tokens),
                    estimated: usage.estimated,
                };
                let ttl_ms = i64::try_from(self.limits.hold_ttl.as_millis()).unwrap_or(i64::MAX);
                hold.expires_at_ms = hold.expires_at_ms.max(self.now_ms.saturating_add(ttl_ms));
                account.write_open(&hold)?;
                ExtendAnswer::Extended { expires_at_ms: hold.expires_at_ms }
            }
        };
        account.save()?;
        Ok(answer)
    }

    fn settle(&self, handle: &HoldHandle, outcome: Outcome, usage: TokenUsage) -> Done<SettleAnswer> {
        let Some(mut account) = self.account(&handle.account)? else { return Ok(SettleAnswer::NotFound) };
        let Some(hold) = account.hold(&handle.user_id, &handle.request_id)? else {
            account.save()?;
            return Ok(SettleAnswer::NotFound);
        };
        let nothing = outcome == Outcome::NothingGenerated;
        let usage = hold.clamp(usage);
        let due = hold.due(outcome, usage);
        let answer = if hold.attempt_id != handle.attempt_id {
            SettleAnswer::Superseded
        } else {
            match &hold.resolved {
                None => {
                    let resolution = if nothing { Resolution::Refunded } else { Resolution::Settled };
                    let hold = HoldRecord { usage: if nothing { TokenUsage::default() } else { usage }, ..hold };
                    SettleAnswer::Settled(account.resolve(hold, resolution, Some(outcome), due)?)
                }
                Some(resolved) if resolved.resolution == Resolution::Expired => {
                    let charged_before = resolved.charged_credits;
                    // Nothing generated leaves the usage that was charged for at the expiry.
                    let hold = HoldRecord { usage: if nothing { hold.usage } else { usage }, ..hold };
                    SettleAnswer::Settled(account.settle_late(hold, charged_before, outcome, due)?)
                }
                Some(_) => SettleAnswer::Settled(hold),
            }
        };
        account.save()?;
        Ok(answer)
    }

    fn grant(&self, grant: &GrantRequest) -> Done<GrantAnswer> {
        let Some(mut account) = self.account(&grant.account)? else { return Ok(GrantAnswer::NotFound) };
        let answer = match account.grant(&grant.request_id)? {
            Some((credits, entry)) if credits == grant.credits => GrantAnswer::Replayed { entry, balance: account.balance },
            Some(_) => GrantAnswer::RequestIdReused,
            None if account.balance.granted + grant.credits > MAX_CREDITS => GrantAnswer::TooMuch,
            None => {
                let entry = account.add(grant.credits, &grant.request_id, &grant.granted_by, &grant.note)?;
                GrantAnswer::Granted { entry, balance: account.balance }
            }
        };
        account.save()?;
        Ok(answer)
    }

    /// Resolves what is due on one account and forgets what is to be forgotten: how many holds were resolved, and whether there is more.
    fn sweep_account(&self, id: &AccountId) -> Done<(u32, bool)> {
        let Some(mut account) = Account::load(self.connection, self.limits, self.now_ms, id)? else { return Ok((0, false)) };
        let resolved = account.sweep()?;
        let more = account.more_is_due() || account.more_is_to_forget()?;
        account.save()?;
        Ok((resolved, more))
    }

    fn sweep(&self, from: Option<String>) -> Done<SweepStep> {
        let sql = "SELECT account_id FROM accounts WHERE account_id > ?1 ORDER BY account_id LIMIT ?2";
        let mut last = from.unwrap_or_default();
        let ids = self
            .connection
            .prepare_cached(sql)?
            .query_map(rusqlite::params![last, ACCOUNTS_PER_STEP], |row| row.get::<_, AccountId>(0))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let mut expired = 0;
        for id in &ids {
            // In a savepoint of its own: one account that contradicts itself must not keep the walk from all others.
            let more = match in_savepoint(self.connection, |_| self.sweep_account(id)) {
                Ok((resolved, more)) => {
                    expired += resolved;
                    more
                }
                Err(failure) => {
                    let what = failure.contradiction()?;
                    tracing::error!(account = %id, what, "the account can't be swept");
                    false
                }
            };
            if more {
                // The next step begins with this account again.
                return Ok(SweepStep { expired, next: Some(last) });
            }
            id.as_str().clone_into(&mut last);
        }
        Ok(SweepStep { expired, next: (ids.len() == ACCOUNTS_PER_STEP).then_some(last) })
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.run(|context| Ok(context.connection.pragma_update(None, "application_id", APPLICATION_ID)?)).await
    }

    fn condition(&self) -> &Condition {
        &self.condition
    }

    async fn lost(&self) -> Lost {
        self.writer.lost().await
    }

    async fn create_user(&self, user: NewUser) -> Result<UserCreation, StoreError> {
        self.run(move |context| users::create(context.connection, context.limits, context.now_ms, user)).await
    }

    async fn user_by_name(&self, name: &UserName) -> Result<Option<UserRecord>, StoreError> {
        let name = name.clone();
        self.run(move |context| users::by_name(context.connection, &name)).await
    }

    async fn user_by_id(&self, id: &UserId) -> Result<Option<UserRecord>, StoreError> {
        let id = id.clone();
        self.run(move |context| users::by_id(context.connection, &id)).await
    }

    async fn replace_password_hash(&self, id: &UserId, old: &str, new: &str) -> Result<(), StoreError> {
        let (id, old, new) = (id.clone(), old.to_owned(), new.to_owned());
        self.run(move |context| users::replace_password_hash(context.connection, &id, &old, &new)).await
    }

    async fn set_disabled(&self, id: &UserId, disabled: bool) -> Result<Option<UserRecord>, StoreError> {
        let id = id.clone();
        self.run(move |context| users::set_disabled(context.connection, context.now_ms, &id, disabled)).await
    }

    async fn create_api_key(&self, key: NewApiKey) -> Result<ApiKeyCreation, StoreError> {
        self.run(move |context| users::create_api_key(context.connection, context.now_ms, key)).await
    }

    async fn api_keys(&self, account: &AccountId) -> Result<Vec<ApiKeyRecord>, StoreError> {
        let account = account.clone();
        self.run(move |context| users::api_keys(context.connection, &account)).await
    }

    async fn revoke_api_key(&self, account: &AccountId, key: &KeyId) -> Result<Option<ApiKeyRecord>, StoreError> {
        let (account, key) = (account.clone(), key.clone());
        self.run(move |context| users::revoke_api_key(context.connection, context.now_ms, &account, &key)).await
    }

    async fn check(&self, request: CheckRequest) -> Result<CheckAnswer, StoreError> {
        let (known, caller) = (self.known_callers.find(&request), CallerId::of(&request));
        let checked = self.run(move |context| check::check(context.connection, context.limits, context.now_ms, request, known.as_deref()));
        let (answer, learned) = checked.await?;
        if let Some((access, rights)) = learned {
            self.known_callers.learn(caller, access, rights);
        }
        Ok(answer)
    }

    async fn extend(&self, hold: &HoldHandle, usage: TokenUsage) -> Result<ExtendAnswer, StoreError> {
        let hold = hold.clone();
        self.run(move |context| context.extend(&hold, usage)).await
    }

    async fn settle(&self, hold: &HoldHandle, outcome: Outcome, usage: TokenUsage) -> Result<SettleAnswer, StoreError> {
        let hold = hold.clone();
        self.run(move |context| context.settle(&hold, outcome, usage)).await
    }

    async fn grant(&self, grant: GrantRequest) -> Result<GrantAnswer, StoreError> {
        if !(1..=MAX_CREDITS).contains(&grant.credits) {
            return Err(Failure::Corrupt(format!("a grant of {} credits", grant.credits)).into());
        }
        self.run(move |context| context.grant(&grant)).await
    }

    async fn balance(&self, account: &AccountId) -> Result<Option<Balance>, StoreError> {
        let account = account.clone();
        self.run(move |context| {
            let Some(account) = context.account(&account)? else { return Ok(None) };
            let balance = account.balance;
            account.save()?;
            Ok(Some(balance))
        })
        .await
    }

    async fn receipt(&self, account: &AccountId, user: &UserId, request_id: &str) -> Result<Option<HoldRecord>, StoreError> {
        let (account, user, request_id) = (account.clone(), user.clone(), request_id.to_owned());
        self.run(move |context| {
            let Some(account) = context.account(&account)? else { return Ok(None) };
            let hold = account.hold(&user, &request_id)?;
            account.save()?;
            Ok(hold)
        })
        .await
    }

    async fn ledger_entries(&self, account: &AccountId, before: Option<u64>, limit: u32) -> Result<Vec<LedgerEntry>, StoreError> {
        let account = account.clone();
        self.run(move |context| {
            let Some(account) = context.account(&account)? else { return Ok(Vec::new()) };
            let entries = account.ledger(before, limit)?;
            account.save()?;
            Ok(entries)
        })
        .await
    }

    async fn sweep(&self, from: Option<String>) -> Result<SweepStep, StoreError> {
        self.run(move |context| context.sweep(from)).await
    }

    async fn snapshot(&self, account: &AccountId) -> Result<Option<AccountSnapshot>, StoreError> {
        let account = account.clone();
        self.run(move |context| {
            // Read only: not swept, not written.
            let account = Account::load(context.connection, context.limits, context.now_ms, &account)?;
            account.map(|account| account.snapshot()).transpose()
        })
        .await
    }
}

#[cfg(test)]
impl SqliteStore {
    /// Has an operation panic, for tests of what the process does then.
    pub(crate) async fn panic(&self) -> Result<(), StoreError> {
        self.run(|_| -> Done<()> { panic!("on purpose") }).await
    }
}

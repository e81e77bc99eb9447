//! An account's row: its credits and counts. An operation reads it at its start and writes it at its end.

use rusqlite::{OptionalExtension, Row, params};

use super::context::Context;
use super::failure::{Failure, StoreResult};
use crate::access::RightsVersion;
use crate::hold::{Funds, Settlement, Terms};
use crate::ids::AccountId;
use crate::store::{Balance, StoreLimits};

/// An account that an operation works on. Its holds are in `holds.rs`, its ledger in `ledger.rs`.
pub(super) struct Account<'c> {
    pub(super) context: Context<'c>,
    pub(super) id: AccountId,
    pub(super) balance: Balance,
    pub(super) rights_version: RightsVersion,
    pub(super) counters: Counters,
    /// Both as they were read.
    before: (Balance, Counters),
}

/// What is counted here because counting rows takes as long as there are rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) last_entry: u64,
    pub(super) open_holds: u32,
    /// Charged requests whose row is there.
    pub(super) paid: u32,
    /// The same of those that cost nothing.
    pub(super) free: u32,
    /// Until when the account's refunds reach.
    pub(super) refunds_until_ms: i64,
    /// No open hold is due before it.
    pub(super) next_due_ms: i64,
    /// No resolved request is to be forgotten before it.
    pub(super) next_forget_ms: i64,
}

/// The columns of counters, in the order in which [`Counters::read`] reads them.
macro_rules! counter_columns {
    () => {
        "last_entry, open_holds, paid, free, refunds_until_ms, next_due_ms, next_forget_ms"
    };
}
pub(super) use counter_columns;

impl Counters {
    /// Reads them from a row's columns, `first` and those behind it.
    pub(super) fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            last_entry: row.get(first)?,
            open_holds: row.get(first + 1)?,
            paid: row.get(first + 2)?,
            free: row.get(first + 3)?,
            refunds_until_ms: row.get(first + 4)?,
            next_due_ms: row.get(first + 5)?,
            next_forget_ms: row.get(first + 6)?,
        })
    }

    /// Whether holds are due, or requests to be forgotten, as far as is known without looking: exactly so after a sweep.
    pub(super) fn are_due(&self, context: Context<'_>) -> bool {
        self.next_due_ms.min(self.next_forget_ms) <= context.now_ms
    }

    /// Whether there is something to do, also that more requests are remembered than may be, since the bounds were lowered: the walk
    /// forgets a share of them each time.
    pub(super) fn wait_for_sweep(&self, context: Context<'_>) -> bool {
        let StoreLimits { max_remembered_requests, max_free_requests, .. } = context.limits;
        self.are_due(context) || self.paid > max_remembered_requests || self.free > max_free_requests
    }
}

impl<'c> Account<'c> {
    /// Makes an account without credits.
    pub(super) fn create(context: Context<'c>, id: &AccountId) -> StoreResult<Self> {
        let sql = "INSERT INTO accounts (account_id, available, held, spent, lapsed, granted, last_entry, open_holds, paid, free, \
                   refunds_until_ms, rights_version, next_due_ms, next_forget_ms) VALUES (?, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ?, ?, ?)";
        context.connection.prepare_cached(sql)?.execute(params![id, new_rights_version()?, i64::MAX, i64::MAX])?;
        Self::load(context, id)?.ok_or_else(|| Failure::corrupt("a new account isn't there"))
    }

    /// Reads an account; `None`: no such account.
    pub(super) fn load(context: Context<'c>, id: &AccountId) -> StoreResult<Option<Self>> {
        let read = |row: &Row<'_>| {
            let (available, held, spent) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let balance = Balance { available, held, spent, lapsed: row.get(3)?, granted: row.get(4)? };
            let (rights_version, counters) = (RightsVersion::from_bytes(row.get(5)?), Counters::read(row, 6)?);
            Ok(Self { context, id: id.clone(), balance, rights_version, counters, before: (balance, counters) })
        };
        let sql = concat!(
            "SELECT available, held, spent, lapsed, granted, rights_version, ",
            counter_columns!(),
            " FROM accounts WHERE account_id = ?"
        );
        let account = context.connection.prepare_cached(sql)?.query_row([id], read).optional()?;
        if let Some(account) = &account {
            verify(&account.balance)?;
        }
        Ok(account)
    }

    /// Reads an account, and resolves what is due on it.
    pub(super) fn load_swept(context: Context<'c>, id: &AccountId) -> StoreResult<Option<Self>> {
        let Some(mut account) = Self::load(context, id)? else { return Ok(None) };
        account.expire()?;
        Ok(Some(account))
    }

    /// Verifies the figures and writes them back.
    pub(super) fn save(self) -> StoreResult<()> {
        verify(&self.balance)?;
        let (balance_before, _) = self.before;
        if self.balance.spent < balance_before.spent {
            return Err(Failure::corrupt("spent would fall"));
        }
        if self.before == (self.balance, self.counters) {
            // Nothing to write, and so no fsync for what only reads.
            return Ok(());
        }
        let Balance { available, held, spent, lapsed, granted } = self.balance;
        let Counters { last_entry, open_holds, paid, free, refunds_until_ms, next_due_ms, next_forget_ms } = self.counters;
        let sql = "UPDATE accounts SET available = ?, held = ?, spent = ?, lapsed = ?, granted = ?, last_entry = ?, open_holds = ?, \
                   paid = ?, free = ?, refunds_until_ms = ?, next_due_ms = ?, next_forget_ms = ? WHERE account_id = ?";
        self.context.connection.prepare_cached(sql)?.execute(params![
            available,
            held,
            spent,
            lapsed,
            granted,
            last_entry,
            open_holds,
            paid,
            free,
            refunds_until_ms,
            next_due_ms,
            next_forget_ms,
            self.id
        ])?;
        Ok(())
    }

    /// What there is to hold from, once what is due is resolved.
    pub(super) fn funds(&self) -> Funds {
        let StoreLimits { max_open_holds, refunds, .. } = self.context.limits;
        Funds {
            available: self.balance.available,
            open_holds: self.counters.open_holds,
            max_open_holds,
            more_is_due: self.more_is_due(),
            refund_wait: refunds.wait(self.counters.refunds_until_ms, max_open_holds, self.context.now_ms),
            left_of_cap: None,
        }
    }

    /// Whether holds are due, as far as is known without looking: exactly so after [`expire`](Self::expire).
    pub(super) fn more_is_due(&self) -> bool {
        self.counters.next_due_ms <= self.context.now_ms
    }

    /// Moves the credits of a new hold.
    pub(super) fn hold_credits(&mut self, terms: &Terms, expires_at_ms: i64) -> StoreResult<()> {
        self.balance.available -= terms.held_credits;
        self.balance.held += terms.held_credits;
        self.counters.open_holds += 1;
        self.counters.next_due_ms = self.counters.next_due_ms.min(expires_at_ms);
        self.count_usage(terms, terms.held_credits, 0)
    }

    /// Moves the credits of a hold that was open, and gives back what is not charged.
    pub(super) fn settle_credits(&mut self, terms: &Terms, settlement: &Settlement) -> StoreResult<()> {
        self.balance.held -= terms.held_credits;
        self.balance.available += terms.held_credits - settlement.charge;
        self.balance.spent += settlement.charge;
        let open_holds = self.counters.open_holds.checked_sub(1);
        self.counters.open_holds = open_holds.ok_or_else(|| Failure::corrupt("more holds are open than were counted"))?;
        if settlement.is_refund(terms) {
            let StoreLimits { max_open_holds, refunds, .. } = self.context.limits;
            self.counters.refunds_until_ms = refunds.after_one(self.counters.refunds_until_ms, max_open_holds, self.context.now_ms);
        }
        self.count_usage(terms, -terms.held_credits, settlement.charge)
    }

    /// Charges for a hold that was resolved before.
    pub(super) fn charge_late(&mut self, terms: &Terms, settlement: &Settlement) -> StoreResult<()> {
        self.balance.available -= settlement.charge;
        self.balance.spent += settlement.charge;
        self.count_usage(terms, 0, settlement.charge)
    }

    /// So many resolved requests are remembered that were charged, or that cost nothing.
    pub(super) fn remembered(&mut self, is_paid: bool) -> &mut u32 {
        if is_paid { &mut self.counters.paid } else { &mut self.counters.free }
    }

    /// A resolved request's row goes.
    pub(super) fn remember_one_less(&mut self, is_paid: bool) -> StoreResult<()> {
        let count = self.remembered(is_paid);
        *count = count.checked_sub(1).ok_or_else(|| Failure::corrupt("more requests are remembered than were counted"))?;
        Ok(())
    }
}

/// A rights version that was never there before.
pub(super) fn new_rights_version() -> StoreResult<[u8; 8]> {
    RightsVersion::draw().map(RightsVersion::to_bytes).map_err(|error| Failure::Corrupt(error.to_string()))
}

fn verify(balance: &Balance) -> StoreResult<()> {
    let Balance { available, held, spent, lapsed, granted } = *balance;
    if [available, held, spent, lapsed].iter().any(|figure| *figure < 0) {
        return Err(Failure::corrupt("a figure of the account is negative"));
    }
    if granted != available + held + spent + lapsed {
        return Err(Failure::corrupt("granted is not available + held + spent + lapsed"));
    }
    Ok(())
}

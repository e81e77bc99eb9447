//! An account's ledger, which is only appended to and folded from its beginning, and its grants.

use rusqlite::{OptionalExtension, Row, Rows, params};

use super::account::Account;
use super::columns::record;
use super::context::Context;
use super::failure::{Failure, StoreResult};
use super::member_usage;
use crate::ids::{AccountId, UserId};
use crate::store::records::{self, EntryFigures};
use crate::store::{AccountSnapshot, Checkpoint, LedgerEntry, LedgerPart};

impl Account<'_> {
    /// Appends to the ledger, with the next number, what is available, and the time. The number is answered.
    pub(super) fn append(&mut self, credits: i64, detail: &[u8]) -> StoreResult<u64> {
        self.counters.last_entry += 1;
        let entry = self.counters.last_entry;
        let sql = "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?)";
        let figures = params![self.id, entry, credits, self.balance.available, self.context.now_ms, detail];
        self.context.connection.prepare_cached(sql)?.execute(figures)?;
        Ok(entry)
    }

    /// Adds credits, with a ledger entry, whose number is answered.
    pub(super) fn add(&mut self, credits: i64, request_id: &str, granted_by: &UserId, note: &str) -> StoreResult<u64> {
        self.balance.available += credits;
        self.balance.granted += credits;
        let entry = self.append(credits, &records::grant_entry_bytes(request_id, granted_by, note))?;
        let sql = "INSERT INTO grants (account_id, request_id, credits, entry) VALUES (?, ?, ?, ?)";
        self.context.connection.prepare_cached(sql)?.execute(params![self.id, request_id, credits, entry])?;
        Ok(entry)
    }

    /// A grant that was made before: its credits and its ledger entry.
    pub(super) fn grant(&self, request_id: &str) -> StoreResult<Option<(i64, u64)>> {
        let sql = "SELECT credits, entry FROM grants WHERE account_id = ? AND request_id = ?";
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        Ok(self.context.connection.prepare_cached(sql)?.query_row(params![self.id, request_id], read).optional()?)
    }

    /// Ledger entries below `before`, newest first.
    pub(super) fn ledger(&self, before: Option<u64>, limit: u32) -> StoreResult<Vec<LedgerEntry>> {
        let sql = "SELECT entry, credits, available, at_ms, detail FROM ledger WHERE account_id = ? AND entry < ? \
                   ORDER BY entry DESC LIMIT ?";
        let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
        let mut statement = self.context.connection.prepare_cached(sql)?;
        entries_of(statement.query(params![self.id, before, limit])?)
    }

    /// Everything, verified.
    pub(super) fn snapshot(&self) -> StoreResult<AccountSnapshot> {
        self.verify_counters()?;
        let mut ledger = self.ledger(None, u32::MAX)?;
        ledger.reverse();
        let usage = member_usage::stored(self.context, &self.id)?;
        let (open, remembered) = (self.all_holds(true)?, self.all_holds(false)?);
        Ok(AccountSnapshot { balance: self.balance, open, remembered, ledger, checkpoint: checkpoint(self.context, &self.id)?, usage })
    }
}

/// What stands for the entries of an account that were folded.
pub(super) fn checkpoint(context: Context<'_>, account: &AccountId) -> StoreResult<Option<Checkpoint>> {
    let mut statement = context.connection.prepare_cached("SELECT record FROM checkpoints WHERE account_id = ?")?;
    let mut rows = statement.query([account])?;
    rows.next()?.map(|row| record(row, 0, "the checkpoint of a ledger", records::checkpoint)).transpose()
}

/// The oldest entries above `after`.
pub(super) fn oldest_entries(context: Context<'_>, account: &AccountId, after: u64, limit: u32) -> StoreResult<LedgerPart> {
    let sql = "SELECT entry, credits, available, at_ms, detail FROM ledger WHERE account_id = ? AND entry > ? ORDER BY entry LIMIT ?";
    let mut statement = context.connection.prepare_cached(sql)?;
    let entries = entries_of(statement.query(params![account, after, limit])?)?;
    Ok(LedgerPart { now_ms: context.now_ms, checkpoint: checkpoint(context, account)?, entries })
}

/// Folds the oldest entries, if `first` is the oldest.
pub(super) fn fold(context: Context<'_>, account: &AccountId, first: u64, folded: &Checkpoint) -> StoreResult<bool> {
    if checkpoint(context, account)? == Some(*folded) {
        return Ok(true);
    }
    let oldest = "SELECT min(entry) FROM ledger WHERE account_id = ?";
    let oldest: Option<u64> = context.connection.prepare_cached(oldest)?.query_row([account], |row| row.get(0))?;
    if oldest != Some(first) {
        return Ok(false);
    }
    let replace = "INSERT OR REPLACE INTO checkpoints (account_id, record) VALUES (?, ?)";
    context.connection.prepare_cached(replace)?.execute(params![account, records::checkpoint_bytes(folded)])?;
    let remove = "DELETE FROM ledger WHERE account_id = ? AND entry <= ?";
    let removed = context.connection.prepare_cached(remove)?.execute(params![account, folded.last_entry])?;
    if removed as u64 != folded.last_entry.saturating_sub(first) + 1 {
        return Err(Failure::corrupt("the ledger's entries aren't numbered without a gap"));
    }
    Ok(true)
}

fn entries_of(mut rows: Rows<'_>) -> StoreResult<Vec<LedgerEntry>> {
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry_of(row)?);
    }
    Ok(entries)
}

fn entry_of(row: &Row<'_>) -> StoreResult<LedgerEntry> {
    let figures = EntryFigures { entry: row.get(0)?, credits: row.get(1)?, available: row.get(2)?, at_ms: row.get(3)? };
    record(row, 4, "a ledger entry", |detail| records::ledger_entry(figures, detail))
}

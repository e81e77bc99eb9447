//! An account's credits: holds, ledger and balance, inside one operation.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::writer::{Failure, Outcome as Done};
use crate::hold::{HoldRecord, Outcome, Price, Resolution, ResolvedHold, TokenUsage, hold_id};
use crate::ids::{AccountId, KeyId, UserId};
use crate::store::{AccountSnapshot, Balance, EntryKind, LedgerEntry, StoreLimits};

/// The columns of a hold, in the order in which [`hold_of`] reads them.
macro_rules! hold_columns {
    () => {
        "user_id, key_id, request_id, attempt_id, fingerprint, model, per_call, per_1k_input_tokens, per_1k_output_tokens, held_credits, \
         max_input_tokens, max_output_tokens, input_tokens, output_tokens, estimated, expires_at_ms, resolution, outcome, charged_credits, \
         uncollected_credits, remaining_credits, ledger_entry, resolved_at_ms"
    };
}

/// Inserts a hold, and says what to do when there is one of its name. By position, in the order of the columns: looking 26 parameters up by
/// their names takes longer than binding them.
macro_rules! insert_hold {
    ($or:literal) => {
        concat!(
            "INSERT ",
            $or,
            " INTO holds (account_id, hold_id, ",
            hold_columns!(),
            ", forget_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
    };
}

macro_rules! ledger_columns {
    () => {
        "entry, resolution, credits, available, request_id, user_id, key_id, model, input_tokens, output_tokens, estimated, at_ms, note"
    };
}

/// An account that an operation works on. [`save`](Self::save) writes its figures back.
pub(super) struct Account<'c> {
    connection: &'c Connection,
    limits: StoreLimits,
    now_ms: i64,
    pub(super) id: AccountId,
    pub(super) balance: Balance,
    last_entry: u64,
    pub(super) open_holds: u32,
    pub(super) remembered: u32,
    /// Counts the changes that take a right from a key or a member.
    pub(super) access: i64,
    /// No open hold is due before it.
    next_due_ms: i64,
    /// The figures as they were read.
    before: (Balance, u64, u32, u32, i64),
}

impl<'c> Account<'c> {
    /// Makes an account without credits.
    pub(super) fn create(connection: &'c Connection, limits: StoreLimits, now_ms: i64, id: &AccountId) -> Done<Self> {
        connection.prepare_cached("INSERT INTO accounts VALUES (?1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)")?.execute([id])?;
        Self::load(connection, limits, now_ms, id)?.ok_or_else(|| Failure::Corrupt("a new account isn't there".to_owned()))
    }

    /// Reads an account; `None`: no such account.
    pub(super) fn load(connection: &'c Connection, limits: StoreLimits, now_ms: i64, id: &AccountId) -> Done<Option<Self>> {
        let read = |row: &Row<'_>| {
            let balance =
                Balance { available: row.get(0)?, held: row.get(1)?, spent: row.get(2)?, lapsed: row.get(3)?, granted: row.get(4)? };
            let (last_entry, open_holds, remembered) = (row.get(5)?, row.get(6)?, row.get(7)?);
            let (access, next_due_ms) = (row.get(8)?, row.get(9)?);
            let before = (balance, last_entry, open_holds, remembered, next_due_ms);
            let id = id.clone();
            Ok(Self { connection, limits, now_ms, id, balance, last_entry, open_holds, remembered, access, next_due_ms, before })
        };
        let sql = "SELECT available, held, spent, lapsed, granted, last_entry, open_holds, remembered, access, next_due_ms FROM accounts \
                   WHERE account_id = ?1";
        let account = connection.prepare_cached(sql)?.query_row([id], read).optional()?;
        if let Some(account) = &account {
            check(&account.balance)?;
        }
        Ok(account)
    }

    /// Reads an account, and resolves what is due on it.
    pub(super) fn load_swept(connection: &'c Connection, limits: StoreLimits, now_ms: i64, id: &AccountId) -> Done<Option<Self>> {
        let mut account = Self::load(connection, limits, now_ms, id)?;
        if let Some(account) = &mut account {
            account.sweep()?;
        }
        Ok(account)
    }

    /// Checks the figures and writes them back.
    pub(super) fn save(self) -> Done<()> {
        check(&self.balance)?;
        if self.balance.spent < self.before.0.spent {
            return Err(Failure::Corrupt("spent would fall".to_owned()));
        }
        if self.before == (self.balance, self.last_entry, self.open_holds, self.remembered, self.next_due_ms) {
            // Nothing to write, and so no fsync for what only reads.
            return Ok(());
        }
        let Balance { available, held, spent, lapsed, granted } = self.balance;
        let sql = "UPDATE accounts SET available = ?2, held = ?3, spent = ?4, lapsed = ?5, granted = ?6, last_entry = ?7, open_holds = ?8, \
                   remembered = ?9, next_due_ms = ?10 WHERE account_id = ?1";
        let counts = (self.last_entry, self.open_holds, self.remembered);
        let figures = params![self.id, available, held, spent, lapsed, granted, counts.0, counts.1, counts.2, self.next_due_ms];
        self.connection.prepare_cached(sql)?.execute(figures)?;
        Ok(())
    }

    /// Forgets requests whose time is over, then resolves holds that are due; how many were resolved.
    pub(super) fn sweep(&mut self) -> Done<u32> {
        self.forget()?;
        self.expire()
    }

    /// Forgets requests whose time is over; how many.
    pub(super) fn forget(&mut self) -> Done<usize> {
        let sql = "DELETE FROM holds WHERE account_id = ?1 AND (user_id, request_id, laid_aside) IN (SELECT user_id, request_id, laid_aside \
                   FROM holds WHERE account_id = ?1 AND resolution IS NOT NULL AND forget_at_ms <= ?2 ORDER BY forget_at_ms, hold_id LIMIT ?3)";
        let forgotten = self.connection.prepare_cached(sql)?.execute(params![self.id, self.now_ms, self.limits.sweep_batch])?;
        self.remembered = u32::try_from(forgotten)
            .ok()
            .and_then(|forgotten| self.remembered.checked_sub(forgotten))
            .ok_or_else(|| Failure::Corrupt("more requests are remembered than were counted".to_owned()))?;
        Ok(forgotten)
    }

    /// Resolves holds that are due; how many.
    pub(super) fn expire(&mut self) -> Done<u32> {
        if !self.more_is_due() {
            return Ok(0);
        }
        let sql = concat!(
            "SELECT ",
            hold_columns!(),
            " FROM holds WHERE (request_id, account_id, user_id, laid_aside) IN \
              (SELECT request_id, account_id, user_id, laid_aside FROM holds INDEXED BY holds_due WHERE account_id = ?1 \
              AND resolution IS NULL AND expires_at_ms <= ?2 ORDER BY expires_at_ms, hold_id LIMIT ?3) ORDER BY expires_at_ms, hold_id"
        );
        let due = self
            .connection
            .prepare_cached(sql)?
            .query_map(params![self.id, self.now_ms, self.limits.sweep_batch], hold_of)?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let mut resolved = 0;
        for hold in due {
            let charged = hold.due_at_expiry();
            self.resolve(hold, Resolution::Expired, None, charged)?;
            resolved += 1;
        }
        let sql = "SELECT expires_at_ms FROM holds INDEXED BY holds_due WHERE account_id = ?1 AND resolution IS NULL \
                   ORDER BY expires_at_ms LIMIT 1";
        let next: Option<i64> = self.connection.prepare_cached(sql)?.query_row([&self.id], |row| row.get(0)).optional()?;
        self.next_due_ms = next.unwrap_or(i64::MAX);
        Ok(resolved)
    }

    /// Whether there are requests still whose time is over.
    pub(super) fn more_is_to_forget(&self) -> Done<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM holds WHERE account_id = ?1 AND resolution IS NOT NULL AND forget_at_ms <= ?2)";
        Ok(self.connection.prepare_cached(sql)?.query_row(params![self.id, self.now_ms], |row| row.get(0))?)
    }

    /// Whether holds are due, as far as is known without looking: exactly so after [`expire`](Self::expire).
    pub(super) fn more_is_due(&self) -> bool {
        self.next_due_ms <= self.now_ms
    }

    /// An open hold or a remembered request.
    pub(super) fn hold(&self, user: &UserId, request_id: &str) -> Done<Option<HoldRecord>> {
        let sql = concat!(
            "SELECT ",
            hold_columns!(),
            " FROM holds WHERE account_id = ?1 AND user_id = ?2 AND request_id = ?3 AND laid_aside = 0"
        );
        Ok(self.connection.prepare_cached(sql)?.query_row(params![self.id, user, request_id], hold_of).optional()?)
    }

    /// Whether no request need be forgotten yet for want of room.
    pub(super) fn has_room_to_remember(&self) -> bool {
        self.remembered.saturating_add(self.limits.sweep_batch) < self.limits.max_remembered_requests
    }

    /// Holds credits, unless there is a request of that name; whether it did. Nobody need have looked for one.
    pub(super) fn open_if_new(&mut self, hold: &HoldRecord) -> Done<bool> {
        let is_new = self.insert(insert_hold!("OR IGNORE"), hold)? == 1;
        if is_new {
            self.take(hold);
        }
        Ok(is_new)
    }

    /// Moves a new hold's credits.
    fn take(&mut self, hold: &HoldRecord) {
        self.balance.available -= hold.held_credits;
        self.balance.held += hold.held_credits;
        self.open_holds += 1;
        self.next_due_ms = self.next_due_ms.min(hold.expires_at_ms);
    }

    /// Holds credits. A refunded request of the same name is laid aside, under its ledger entry, and counts until it is forgotten.
    pub(super) fn open(&mut self, hold: &HoldRecord, replaces: bool) -> Done<()> {
        self.take(hold);
        if replaces {
            let sql = "UPDATE holds SET hold_id = hold_id || '#' || ledger_entry, laid_aside = ledger_entry \
                       WHERE account_id = ?1 AND user_id = ?2 AND request_id = ?3 AND laid_aside = 0";
            self.connection.prepare_cached(sql)?.execute(params![self.id, hold.user_id, hold.request_id])?;
        }
        self.write(hold)
    }

    /// Records an open hold's new expiry and usage.
    pub(super) fn write_open(&mut self, hold: &HoldRecord) -> Done<()> {
        self.write(hold)
    }

    /// Resolves an open hold, whose usage is what is charged for, and gives back what is not charged.
    pub(super) fn resolve(&mut self, hold: HoldRecord, resolution: Resolution, outcome: Option<Outcome>, charged: i64) -> Done<HoldRecord> {
        self.balance.held -= hold.held_credits;
        self.balance.available += hold.held_credits - charged;
        self.balance.spent += charged;
        self.open_holds =
            self.open_holds.checked_sub(1).ok_or_else(|| Failure::Corrupt("more holds are open than were counted".to_owned()))?;
        self.remembered += 1;
        self.remember(hold, resolution, outcome, charged, charged, 0)
    }

    /// Charges, after the expiry, what is still due, at most what is available. `hold`'s usage is what is charged for.
    pub(super) fn settle_late(&mut self, hold: HoldRecord, charged_before: i64, outcome: Outcome, due: i64) -> Done<HoldRecord> {
        let missing = (due - charged_before).max(0);
        let additional = missing.min(self.balance.available);
        self.balance.available -= additional;
        self.balance.spent += additional;
        let charged = charged_before + additional;
        self.remember(hold, Resolution::SettledLate, Some(outcome), additional, charged, missing - additional)
    }

    fn remember(
        &mut self,
        hold: HoldRecord,
        resolution: Resolution,
        outcome: Option<Outcome>,
        charged_now: i64,
        charged_credits: i64,
        uncollected_credits: i64,
    ) -> Done<HoldRecord> {
        let ledger_entry = self.append(LedgerEntry {
            entry: 0,
            kind: EntryKind::Resolved(resolution),
            credits: -charged_now,
            available: 0,
            request_id: hold.request_id.clone(),
            user_id: hold.user_id.clone(),
            key_id: hold.key_id.clone(),
            model: hold.model.clone(),
            usage: Some(hold.usage),
            at_ms: 0,
            note: String::new(),
        })?;
        let resolved = ResolvedHold {
            resolution,
            outcome,
            charged_credits,
            uncollected_credits,
            remaining_credits: self.balance.available,
            ledger_entry,
            at_ms: self.now_ms,
        };
        let hold = HoldRecord { resolved: Some(resolved), ..hold };
        self.write(&hold)?;
        Ok(hold)
    }

    /// Adds credits, with a ledger entry, whose number is answered.
    pub(super) fn add(&mut self, credits: i64, request_id: &str, granted_by: &UserId, note: &str) -> Done<u64> {
        self.balance.available += credits;
        self.balance.granted += credits;
        let entry = self.append(LedgerEntry {
            entry: 0,
            kind: EntryKind::Grant,
            credits,
            available: 0,
            request_id: request_id.to_owned(),
            user_id: granted_by.clone(),
            key_id: None,
            model: String::new(),
            usage: None,
            at_ms: 0,
            note: note.to_owned(),
        })?;
        let sql = "INSERT INTO grants (account_id, request_id, credits, entry) VALUES (?1, ?2, ?3, ?4)";
        self.connection.prepare_cached(sql)?.execute(params![self.id, request_id, credits, entry])?;
        Ok(entry)
    }

    /// A grant that was made before: its credits and its ledger entry.
    pub(super) fn grant(&self, request_id: &str) -> Done<Option<(i64, u64)>> {
        let sql = "SELECT credits, entry FROM grants WHERE account_id = ?1 AND request_id = ?2";
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        Ok(self.connection.prepare_cached(sql)?.query_row(params![self.id, request_id], read).optional()?)
    }

    /// Appends to the ledger, with the next number, what is available, and the time.
    fn append(&mut self, entry: LedgerEntry) -> Done<u64> {
        self.last_entry += 1;
        let resolution = match entry.kind {
            EntryKind::Grant => None,
            EntryKind::Resolved(resolution) => Some(resolution),
        };
        let sql = concat!(
            "INSERT INTO ledger (account_id, ",
            ledger_columns!(),
            ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
        );
        self.connection.prepare_cached(sql)?.execute(params![
            self.id,
            self.last_entry,
            resolution,
            entry.credits,
            self.balance.available,
            entry.request_id,
            entry.user_id,
            entry.key_id,
            entry.model,
            entry.usage.map(|usage| usage.input_tokens),
            entry.usage.map(|usage| usage.output_tokens),
            entry.usage.map(|usage| usage.estimated),
            self.now_ms,
            entry.note,
        ])?;
        Ok(self.last_entry)
    }

    fn write(&self, hold: &HoldRecord) -> Done<()> {
        self.insert(insert_hold!("OR REPLACE"), hold)?;
        Ok(())
    }

    /// Writes a hold by one of the statements of [`insert_hold`]; how many rows that were.
    fn insert(&self, sql: &str, hold: &HoldRecord) -> Done<usize> {
        let resolved = hold.resolved.as_ref();
        let forget_after_ms = i64::try_from(self.limits.forget_after.as_millis()).unwrap_or(i64::MAX);
        Ok(self.connection.prepare_cached(sql)?.execute(params![
            self.id,
            hold_id(&hold.user_id, &hold.request_id),
            hold.user_id,
            hold.key_id,
            hold.request_id,
            hold.attempt_id,
            hold.fingerprint,
            hold.model,
            hold.price.per_call,
            hold.price.per_1k_input_tokens,
            hold.price.per_1k_output_tokens,
            hold.held_credits,
            hold.max_input_tokens,
            hold.max_output_tokens,
            hold.usage.input_tokens,
            hold.usage.output_tokens,
            hold.usage.estimated,
            hold.expires_at_ms,
            resolved.map(|resolved| resolved.resolution),
            resolved.and_then(|resolved| resolved.outcome),
            resolved.map(|resolved| resolved.charged_credits),
            resolved.map(|resolved| resolved.uncollected_credits),
            resolved.map(|resolved| resolved.remaining_credits),
            resolved.map(|resolved| resolved.ledger_entry),
            resolved.map(|resolved| resolved.at_ms),
            resolved.map(|resolved| resolved.at_ms.saturating_add(forget_after_ms)),
        ])?)
    }

    /// Ledger entries below `before`, newest first.
    pub(super) fn ledger(&self, before: Option<u64>, limit: u32) -> Done<Vec<LedgerEntry>> {
        let sql = concat!("SELECT ", ledger_columns!(), " FROM ledger WHERE account_id = ?1 AND entry < ?2 ORDER BY entry DESC LIMIT ?3");
        let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_map(params![self.id, before, limit], entry_of)?.collect::<rusqlite::Result<_>>()?)
    }

    /// Everything.
    pub(super) fn snapshot(&self) -> Done<AccountSnapshot> {
        let holds = |sql| {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_map([&self.id], hold_of)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        let mut ledger = self.ledger(None, u32::MAX)?;
        ledger.reverse();
        Ok(AccountSnapshot {
            balance: self.balance,
            open: holds(concat!(
                "SELECT ",
                hold_columns!(),
                " FROM holds WHERE account_id = ?1 AND resolution IS NULL ORDER BY user_id, request_id"
            ))?,
            remembered: holds(concat!(
                "SELECT ",
                hold_columns!(),
                " FROM holds WHERE account_id = ?1 AND resolution IS NOT NULL ORDER BY user_id, request_id, ledger_entry"
            ))?,
            ledger,
        })
    }
}

fn check(balance: &Balance) -> Done<()> {
    let Balance { available, held, spent, lapsed, granted } = *balance;
    if [available, held, spent, lapsed].iter().any(|figure| *figure < 0) {
        return Err(Failure::Corrupt("a figure of the account is negative".to_owned()));
    }
    if granted != available + held + spent + lapsed {
        return Err(Failure::Corrupt("granted is not available + held + spent + lapsed".to_owned()));
    }
    Ok(())
}

fn hold_of(row: &Row<'_>) -> rusqlite::Result<HoldRecord> {
    let resolved = match row.get::<_, Option<Resolution>>(16)? {
        None => None,
        Some(resolution) => Some(ResolvedHold {
            resolution,
            outcome: row.get(17)?,
            charged_credits: row.get(18)?,
            uncollected_credits: row.get(19)?,
            remaining_credits: row.get(20)?,
            ledger_entry: row.get(21)?,
            at_ms: row.get(22)?,
        }),
    };
    Ok(HoldRecord {
        user_id: row.get(0)?,
        key_id: row.get(1)?,
        request_id: row.get(2)?,
        attempt_id: row.get(3)?,
        fingerprint: row.get(4)?,
        model: row.get(5)?,
        price: Price { per_call: row.get(6)?, per_1k_input_tokens: row.get(7)?, per_1k_output_tokens: row.get(8)? },
        held_credits: row.get(9)?,
        max_input_tokens: row.get(10)?,
        max_output_tokens: row.get(11)?,
        usage: TokenUsage { input_tokens: row.get(12)?, output_tokens: row.get(13)?, estimated: row.get(14)? },
        expires_at_ms: row.get(15)?,
        resolved,
    })
}

fn entry_of(row: &Row<'_>) -> rusqlite::Result<LedgerEntry> {
    let usage = match (row.get(8)?, row.get(9)?, row.get(10)?) {
        (Some(input_tokens), Some(output_tokens), Some(estimated)) => Some(TokenUsage { input_tokens, output_tokens, estimated }),
        _ => None,
    };
    let key_id: Option<KeyId> = row.get(6)?;
    Ok(LedgerEntry {
        entry: row.get(0)?,
        kind: row.get::<_, Option<Resolution>>(1)?.map_or(EntryKind::Grant, EntryKind::Resolved),
        credits: row.get(2)?,
        available: row.get(3)?,
        request_id: row.get(4)?,
        user_id: row.get(5)?,
        key_id,
        model: row.get(7)?,
        usage,
        at_ms: row.get(11)?,
        note: row.get(12)?,
    })
}

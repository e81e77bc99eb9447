//! An account's holds: open ones, and resolved requests that are remembered.

use rusqlite::{Row, Rows, params};

use super::account::Account;
use super::columns::record;
use super::failure::{Failure, StoreResult};
use crate::hold::{HoldRecord, ResolvedHold, Settlement, Terms, TokenUsage, on_expiry};
use crate::ids::UserId;
use crate::store::expiry_line::Expired;
use crate::store::{Held, records};

/// The state of an open hold. Resolved ones have the number of their resolution.
const OPEN: u32 = 0;

/// The columns of a hold, in the order in which [`hold_of`] reads them.
macro_rules! hold_columns {
    () => {
        "terms, state, input_tokens, output_tokens, ending, expires_at_ms, charged_credits, remaining_credits, ledger_entry, resolved_at_ms"
    };
}

/// Inserts an open hold, and says what to do when there is one of its name.
macro_rules! insert_hold {
    ($or:literal) => {
        concat!(
            "INSERT ",
            $or,
            " INTO holds (request_id, account_id, user_id, state, terms, input_tokens, output_tokens, ending, expires_at_ms) \
             VALUES (?, ?, ?, 0, ?, 0, 0, ?, ?)"
        )
    };
}

/// An account's own, in the order of time. Neither looks at what others have.
const OPEN_BY_TIME: &str = "SELECT expires_at_ms, user_id, request_id FROM holds INDEXED BY holds_due WHERE account_id = ? AND state = 0 \
                            ORDER BY expires_at_ms, request_id, user_id";
const RESOLVED_BY_TIME: &str = "SELECT forget_at_ms, user_id, request_id FROM holds INDEXED BY holds_to_forget WHERE account_id = ? \
                                AND (charged_credits > 0) = ? AND forget_at_ms IS NOT NULL ORDER BY forget_at_ms, request_id, user_id";

/// A hold's name within its account.
struct Name {
    user_id: UserId,
    request_id: String,
}

impl Account<'_> {
    /// A hold or a request by its name, whether or not it counts as forgotten.
    pub(super) fn hold(&self, user: &UserId, request_id: &str) -> StoreResult<Option<HoldRecord>> {
        let sql = concat!("SELECT ", hold_columns!(), " FROM holds WHERE request_id = ? AND account_id = ? AND user_id = ?");
        let mut statement = self.context.connection.prepare_cached(sql)?;
        statement.query(params![request_id, self.id, user])?.next()?.map(hold_of).transpose()
    }

    /// The same, unless it is forgotten.
    pub(super) fn remembered_hold(&self, user: &UserId, request_id: &str) -> StoreResult<Option<HoldRecord>> {
        let hold = self.hold(user, request_id)?;
        Ok(hold.filter(|hold| !hold.is_forgotten(self.context.limits.forget_after, self.context.now_ms)))
    }

    /// Holds credits, unless there is a row of that name. Nobody need have looked for one.
    pub(super) fn open_if_new(&mut self, terms: &Terms) -> StoreResult<Option<Held>> {
        if self.insert(insert_hold!("OR IGNORE"), terms)? == 1 { self.opened(terms).map(Some) } else { Ok(None) }
    }

    /// Holds credits in place of a resolved request.
    pub(super) fn open_again(&mut self, terms: &Terms) -> StoreResult<Held> {
        let before = self.hold(&terms.user_id, &terms.request_id)?.and_then(|before| before.resolved);
        let before = before.ok_or_else(|| Failure::corrupt("a request was found that isn't there"))?;
        self.insert(insert_hold!("OR REPLACE"), terms)?;
        self.remember_one_less(before.charged_credits > 0)?;
        self.opened(terms)
    }

    /// Writes the row of an open hold; how many rows that were.
    fn insert(&self, sql: &str, terms: &Terms) -> StoreResult<usize> {
        Ok(self.context.connection.prepare_cached(sql)?.execute(params![
            terms.request_id,
            self.id,
            terms.user_id,
            terms.as_bytes(),
            records::progress_bytes(false),
            self.context.expires_at_ms()
        ])?)
    }

    fn opened(&mut self, terms: &Terms) -> StoreResult<Held> {
        let expires_at_ms = self.context.expires_at_ms();
        self.hold_credits(terms, expires_at_ms)?;
        Ok(Held { terms: terms.clone(), remaining_credits: self.balance.available, expires_at_ms })
    }

    /// Records an open hold's usage and its new expiry.
    pub(super) fn record_progress(&self, terms: &Terms, usage: TokenUsage, expires_at_ms: i64) -> StoreResult<()> {
        let sql = "UPDATE holds SET input_tokens = ?, output_tokens = ?, ending = ?, expires_at_ms = ? \
                   WHERE request_id = ? AND account_id = ? AND user_id = ?";
        self.context.connection.prepare_cached(sql)?.execute(params![
            usage.input_tokens,
            usage.output_tokens,
            records::progress_bytes(usage.estimated),
            expires_at_ms,
            terms.request_id,
            self.id,
            terms.user_id
        ])?;
        Ok(())
    }

    /// Resolves a hold: moves its credits, appends to the ledger, writes its record, and forgets what it takes the place of.
    pub(super) fn resolve(&mut self, hold: HoldRecord, settlement: &Settlement) -> StoreResult<HoldRecord> {
        match &hold.resolved {
            None => self.settle_credits(&hold.terms, settlement)?,
            Some(before) => {
                self.charge_late(&hold.terms, settlement)?;
                self.remember_one_less(before.charged_credits > 0)?;
            }
        }
        *self.remembered(settlement.charged_credits > 0) += 1;
        let entry = || records::resolution_entry_bytes(&hold.terms, settlement);
        let ledger_entry = if settlement.is_in_ledger() { Some(self.append(-settlement.charge, &entry())?) } else { None };
        let forget_at_ms = self.context.forget_at_ms();
        let sql = "UPDATE holds SET state = ?, input_tokens = ?, output_tokens = ?, ending = ?, charged_credits = ?, \
                   remaining_credits = ?, ledger_entry = ?, resolved_at_ms = ?, forget_at_ms = ? \
                   WHERE request_id = ? AND account_id = ? AND user_id = ?";
        self.context.connection.prepare_cached(sql)?.execute(params![
            records::resolution_number(settlement.resolution),
            settlement.usage.input_tokens,
            settlement.usage.output_tokens,
            records::ending_bytes(settlement),
            settlement.charged_credits,
            self.balance.available,
            ledger_entry,
            self.context.now_ms,
            forget_at_ms,
            hold.terms.request_id,
            self.id,
            hold.terms.user_id
        ])?;
        self.counters.next_forget_ms = self.counters.next_forget_ms.min(forget_at_ms);
        self.forget()?;
        Ok(hold.resolve(settlement, self.balance.available, ledger_entry, self.context.now_ms))
    }

    /// Resolves holds that are due, as many as one operation may; how many.
    pub(super) fn expire(&mut self) -> StoreResult<u32> {
        if !self.more_is_due() {
            return Ok(0);
        }
        let now_ms = self.context.now_ms;
        let mut statement = self.context.connection.prepare_cached(OPEN_BY_TIME)?;
        let (due, next_due_ms) = self.first_of(statement.query([&self.id])?, |_, at_ms| at_ms <= now_ms)?;
        drop(statement);
        self.counters.next_due_ms = next_due_ms;
        let mut resolved = 0;
        for Name { user_id, request_id } in due {
            if let Some(hold) = self.hold(&user_id, &request_id)? {
                let (terms, settlement) = (hold.terms.clone(), on_expiry(&hold));
                self.resolve(hold, &settlement)?;
                self.context.expired.borrow_mut().push(Expired { terms, settlement });
                resolved += 1;
            }
        }
        Ok(resolved)
    }

    /// Removes resolved requests whose time is over, and the oldest above their bound: of those that were charged, and of those that cost
    /// nothing, as many as one operation may.
    pub(super) fn forget(&mut self) -> StoreResult<()> {
        let bounds = [(true, self.context.limits.max_remembered_requests), (false, self.context.limits.max_free_requests)];
        if !self.more_is_to_forget() && bounds.iter().all(|(is_paid, most)| *self.remembered(*is_paid) <= *most) {
            return Ok(());
        }
        self.counters.next_forget_ms = i64::MAX;
        for (is_paid, most) in bounds {
            let (remembered, now_ms) = (*self.remembered(is_paid), self.context.now_ms);
            let mut statement = self.context.connection.prepare_cached(RESOLVED_BY_TIME)?;
            let goes = |before: u32, at_ms| at_ms <= now_ms || remembered.saturating_sub(before) > most;
            let (forgotten, next_forget_ms) = self.first_of(statement.query(params![self.id, is_paid])?, goes)?;
            drop(statement);
            self.counters.next_forget_ms = self.counters.next_forget_ms.min(next_forget_ms);
            let sql = "DELETE FROM holds WHERE request_id = ? AND account_id = ? AND user_id = ?";
            for Name { user_id, request_id } in forgotten {
                self.context.connection.prepare_cached(sql)?.execute(params![request_id, self.id, user_id])?;
                self.remember_one_less(is_paid)?;
            }
        }
        Ok(())
    }

    /// Whether requests are to be forgotten, as far as is known without looking: exactly so after [`forget`](Self::forget).
    pub(super) fn more_is_to_forget(&self) -> bool {
        self.counters.next_forget_ms <= self.context.now_ms
    }

    /// The first rows that are wanted, as many as one operation may take, and the time of the one behind them. `wanted` is told how many
    /// there are before it, and its time.
    fn first_of(&self, mut rows: Rows<'_>, wanted: impl Fn(u32, i64) -> bool) -> StoreResult<(Vec<Name>, i64)> {
        let mut first = Vec::new();
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let at_ms = row.get(0)?;
            if count == self.context.limits.sweep_batch || !wanted(count, at_ms) {
                return Ok((first, at_ms));
            }
            first.push(Name { user_id: row.get(1)?, request_id: row.get(2)? });
            count += 1;
        }
        Ok((first, i64::MAX))
    }

    /// Verifies what is counted of holds against the holds there are. Reads all.
    pub(super) fn verify_counters(&self) -> StoreResult<()> {
        let sql = "SELECT count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE charged_credits > 0), \
                   count(*) FILTER (WHERE charged_credits = 0), min(iif(state = 0, expires_at_ms, NULL)), min(forget_at_ms) \
                   FROM holds WHERE account_id = ?";
        let mut statement = self.context.connection.prepare_cached(sql)?;
        let counted = |row: &Row<'_>| Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?, row.get(4)?));
        let (counted, first_due_ms, first_forget_ms): ((u32, u32, u32), _, _) = statement.query_row([&self.id], counted)?;
        let counters = &self.counters;
        if counted != (counters.open_holds, counters.paid, counters.free) {
            return Err(Failure::corrupt("the account's counts of holds are not those of the holds there are"));
        }
        let is_missed = |first_ms: Option<i64>, next_ms| first_ms.is_some_and(|first_ms| first_ms < next_ms);
        if is_missed(first_due_ms, counters.next_due_ms) || is_missed(first_forget_ms, counters.next_forget_ms) {
            return Err(Failure::corrupt("a hold is never due, or a request never forgotten"));
        }
        Ok(())
    }

    /// All holds in the given state, in the order of their names. For verification: reads all.
    pub(super) fn all_holds(&self, open: bool) -> StoreResult<Vec<HoldRecord>> {
        let sql = concat!("SELECT ", hold_columns!(), " FROM holds WHERE account_id = ? AND (state = 0) = ? ORDER BY user_id, request_id");
        let mut statement = self.context.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![self.id, open])?;
        let mut holds = Vec::new();
        while let Some(row) = rows.next()? {
            holds.push(hold_of(row)?);
        }
        Ok(holds)
    }
}

fn hold_of(row: &Row<'_>) -> StoreResult<HoldRecord> {
    let terms = record(row, 0, "a hold's terms", |bytes| Terms::from_bytes(bytes.to_vec()))?;
    let ending = record(row, 4, "what is recorded of a hold", records::ending)?;
    let resolution = match row.get(1)? {
        OPEN => None,
        state => Some(records::resolution(state).ok_or_else(|| Failure::Corrupt(format!("a hold is in state {state}")))?),
    };
    let resolved = match resolution {
        None => None,
        Some(resolution) => Some(ResolvedHold {
            resolution,
            outcome: ending.outcome,
            charged_credits: row.get(6)?,
            uncollected_credits: ending.uncollected_credits,
            remaining_credits: row.get(7)?,
            ledger_entry: row.get(8)?,
            at_ms: row.get(9)?,
        }),
    };
    let usage = TokenUsage { input_tokens: row.get(2)?, output_tokens: row.get(3)?, estimated: ending.estimated };
    Ok(HoldRecord { terms, usage, expires_at_ms: row.get(5)?, resolved })
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, StatementStatus};

    use crate::store::sqlite::schema::SCHEMA;

    /// A new file's schema.
    fn tables() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(&SCHEMA.concat()).unwrap();
        connection
    }

    #[test]
    fn what_is_due_and_what_is_to_be_forgotten_is_found_in_order_by_an_index_of_the_account_alone() {
        let connection = tables();
        for sql in [super::OPEN_BY_TIME, super::RESOLVED_BY_TIME] {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let plan: Vec<String> = statement.raw_query().mapped(|row| row.get(3)).collect::<Result<_, _>>().unwrap();
            assert!(
                plan.len() == 1 && plan[0].contains("SEARCH holds USING COVERING INDEX") && plan[0].contains("(account_id=?"),
                "{plan:?}"
            );
        }
    }

    #[test]
    fn thousands_of_due_holds_of_one_account_cost_the_search_in_another_not_a_step() {
        let connection = tables();
        let hold = "INSERT INTO holds (request_id, account_id, user_id, state, terms, input_tokens, output_tokens, ending, expires_at_ms) \
                    VALUES (?, ?, 'a user', 0, x'', 0, 0, x'', ?)";
        let steps = |account: &str| {
            let mut statement = connection.prepare(super::OPEN_BY_TIME).unwrap();
            let found = statement.query_map([account], |row| row.get::<_, i64>(0)).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
            (found, statement.get_status(StatementStatus::VmStep))
        };
        let add = |request: &str, account: &str, at_ms: i64| connection.execute(hold, rusqlite::params![request, account, at_ms]).unwrap();
        add("mine", "ada", 5_000);
        add("theirs", "bob", 5_000);
        let (found, few) = steps("ada");
        for at_ms in 0..10_000 {
            add(&format!("r{at_ms}"), "bob", at_ms);
        }
        assert_eq!(steps("ada"), (found.clone(), few));
        assert_eq!(found, [5_000]);
    }
}

//! What the principals of an organization spent in a month of its account.

use rusqlite::{OptionalExtension, Row, params};

use super::account::Account;
use super::context::Context;
use super::failure::{Failure, StoreResult};
use crate::hold::Terms;
use crate::ids::{AccountId, UserId};
use crate::month::{Month, left_of_cap};
use crate::organization::MonthUsage;

impl Account<'_> {
    /// What is left of a principal's cap; `None`: they have none.
    pub(super) fn left_of_cap(&self, user_id: &UserId, cap: Option<i64>) -> StoreResult<Option<i64>> {
        let Some(cap) = cap else { return Ok(None) };
        Ok(Some(left_of_cap(self.usage(user_id)?, cap, self.month())))
    }

    /// Counts what becomes of a hold that an organization pays for.
    pub(super) fn count_usage(&self, terms: &Terms, more_held: i64, charge: i64) -> StoreResult<()> {
        if !terms.is_of_organization() || (more_held, charge) == (0, 0) {
            return Ok(());
        }
        let usage = self.usage(&terms.user_id)?.moved(more_held, charge, self.month());
        let MonthUsage { month_start_ms, spent, held } = usage.ok_or_else(|| Failure::corrupt("a member holds less than was counted"))?;
        let sql = "INSERT OR REPLACE INTO member_usage (account_id, user_id, month_start_ms, spent, held) VALUES (?, ?, ?, ?, ?)";
        self.context.connection.prepare_cached(sql)?.execute(params![self.id, terms.user_id, month_start_ms, spent, held])?;
        Ok(())
    }

    fn month(&self) -> Month {
        Month::of_ms(self.context.now_ms)
    }

    fn usage(&self, user_id: &UserId) -> StoreResult<MonthUsage> {
        let sql = "SELECT month_start_ms, spent, held FROM member_usage WHERE account_id = ? AND user_id = ?";
        let found = self.context.connection.prepare_cached(sql)?.query_row(params![self.id, user_id], |row| usage_of(row, 0)).optional()?;
        Ok(found.unwrap_or_default())
    }
}

/// What each principal spent and holds, in the month that the store's clock is in, by their ids.
pub(super) fn list(context: Context<'_>, account: &AccountId) -> StoreResult<Vec<(UserId, MonthUsage)>> {
    let month = Month::of_ms(context.now_ms);
    Ok(stored(context, account)?.into_iter().map(|(user_id, usage)| (user_id, usage.in_month(month))).collect())
}

/// The same as it is stored.
pub(super) fn stored(context: Context<'_>, account: &AccountId) -> StoreResult<Vec<(UserId, MonthUsage)>> {
    let sql = "SELECT user_id, month_start_ms, spent, held FROM member_usage WHERE account_id = ? ORDER BY user_id";
    let mut statement = context.connection.prepare_cached(sql)?;
    let usages = statement.query_map([account], |row| Ok((row.get(0)?, usage_of(row, 1)?)))?;
    Ok(usages.collect::<rusqlite::Result<_>>()?)
}

fn usage_of(row: &Row<'_>, first: usize) -> rusqlite::Result<MonthUsage> {
    Ok(MonthUsage { month_start_ms: row.get(first)?, spent: row.get(first + 1)?, held: row.get(first + 2)? })
}

//! The slow walk: holds that are due and requests to be forgotten on accounts that nobody calls.

use super::account::Account;
use super::context::Context;
use super::failure::StoreResult;
use super::writer::in_savepoint;
use crate::ids::AccountId;
use crate::store::SweepStep;

/// Accounts that one step looks at.
const ACCOUNTS_PER_STEP: usize = 32;

/// One step of the slow walk.
pub(super) fn sweep(context: Context<'_>, from: Option<String>) -> StoreResult<SweepStep> {
    let mut last = from.unwrap_or_default();
    let ids = {
        let sql = "SELECT account_id FROM accounts WHERE account_id > ? ORDER BY account_id LIMIT ?";
        let mut statement = context.connection.prepare_cached(sql)?;
        statement
            .query_map(rusqlite::params![last, ACCOUNTS_PER_STEP], |row| row.get::<_, AccountId>(0))?
            .collect::<rusqlite::Result<Vec<_>>>()?
    };
    let mut expired = 0;
    for id in &ids {
        // In a savepoint of its own: one account that contradicts itself must not keep the walk from all others.
        let more = match in_savepoint(context.connection, |_| sweep_account(context, id)) {
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

/// Resolves what is due on one account and forgets what is to be forgotten: how many holds were resolved, and whether there is more.
fn sweep_account(context: Context<'_>, id: &AccountId) -> StoreResult<(u32, bool)> {
    let Some(mut account) = Account::load(context, id)? else { return Ok((0, false)) };
    let resolved = account.expire()?;
    account.forget()?;
    let more = account.more_is_due() || account.more_is_to_forget();
    account.save()?;
    Ok((resolved, more))
}

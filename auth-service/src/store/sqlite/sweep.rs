//! Walks over all accounts, and the sweeping of those that nobody may call.

use super::account::{Account, Counters, counter_columns};
use super::context::Context;
use super::failure::StoreResult;
use crate::ids::AccountId;
use crate::store::{AccountPage, Swept};

/// Accounts that one look takes in.
const PAGE: usize = 32;

/// The next accounts, in the order of their ids.
pub(super) fn accounts(context: Context<'_>, after: Option<String>) -> StoreResult<AccountPage> {
    let sql = "SELECT account_id FROM accounts WHERE account_id > ? ORDER BY account_id LIMIT ?";
    let mut statement = context.connection.prepare_cached(sql)?;
    let ids = statement.query_map(rusqlite::params![after.unwrap_or_default(), PAGE], |row| row.get::<_, AccountId>(0))?;
    let accounts = ids.collect::<rusqlite::Result<Vec<_>>>()?;
    let next = accounts.last().filter(|_| accounts.len() == PAGE).map(ToString::to_string);
    Ok(AccountPage { accounts, next })
}

/// The next accounts that wait to be swept, in the order of their ids.
pub(super) fn accounts_to_sweep(context: Context<'_>, after: Option<String>) -> StoreResult<AccountPage> {
    let sql = concat!("SELECT account_id, ", counter_columns!(), " FROM accounts WHERE account_id > ? ORDER BY account_id LIMIT ?");
    let mut statement = context.connection.prepare_cached(sql)?;
    let mut rows = statement.query(rusqlite::params![after.unwrap_or_default(), PAGE])?;
    let (mut page, mut looked_at) = (AccountPage { accounts: Vec::new(), next: None }, 0);
    while let Some(row) = rows.next()? {
        let id: AccountId = row.get(0)?;
        looked_at += 1;
        page.next = (looked_at == PAGE).then(|| id.as_str().to_owned());
        if Counters::read(row, 1)?.wait_for_sweep(context) {
            page.accounts.push(id);
        }
    }
    Ok(page)
}

/// Resolves what is due on one account, and forgets what is to be forgotten, as much as one operation may.
pub(super) fn sweep(context: Context<'_>, id: &AccountId) -> StoreResult<Swept> {
    let Some(mut account) = Account::load(context, id)? else { return Ok(Swept { expired: 0, more: false }) };
    let expired = account.expire()?;
    account.forget()?;
    let more = account.counters.are_due(context);
    account.save()?;
    Ok(Swept { expired, more })
}

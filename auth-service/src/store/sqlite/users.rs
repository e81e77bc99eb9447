//! Users, and their places in accounts.

use rusqlite::{Row, ToSql, params};

use super::account::{Account, new_rights_version};
use super::audit;
use super::columns::record;
use super::context::Context;
use super::failure::StoreResult;
use crate::access::Member;
use crate::ids::{AccountId, UserId};
use crate::store::user_page::PageInProgress;
use crate::store::{
    AuditEvent, NewUser, STARTING_GRANT_NOTE, STARTING_GRANT_REQUEST_ID, UserCreation, UserPage, UserPosition, UserQuery, records,
};
use crate::user::{UserName, UserRecord};

pub(super) fn create(context: Context<'_>, new: NewUser, event: &AuditEvent) -> StoreResult<UserCreation> {
    if let Some(existing) = by_name(context, &new.user_name)? {
        // The same user: a repetition of what happened, whose answer was lost.
        return Ok(if existing.user_id == new.user_id { UserCreation::Created(existing) } else { UserCreation::NameTaken });
    }
    let starting_credits = new.starting_credits;
    let user = new.into_record(context.now_ms);
    insert(context, &user, starting_credits)?;
    audit::append_change(context, event)?;
    Ok(UserCreation::Created(user))
}

/// A user's rows, their account, and its first ledger entry.
pub(super) fn insert(context: Context<'_>, user: &UserRecord, starting_credits: i64) -> StoreResult<()> {
    let sql = "INSERT INTO users (user_id, user_name, record) VALUES (?, ?, ?)";
    context.connection.prepare_cached(sql)?.execute(params![user.user_id, user.user_name, records::user_bytes(user)])?;
    let account_id = AccountId::from(&user.user_id);
    let member = Member::of_new_user(user.role);
    let sql = "INSERT INTO members (account_id, user_id, record) VALUES (?, ?, ?)";
    context.connection.prepare_cached(sql)?.execute(params![account_id, user.user_id, records::member_bytes(&member)])?;
    let mut account = Account::create(context, &account_id)?;
    if starting_credits > 0 {
        account.add(starting_credits, STARTING_GRANT_REQUEST_ID, &user.user_id, STARTING_GRANT_NOTE)?;
    }
    account.save()
}

pub(super) fn by_name(context: Context<'_>, name: &UserName) -> StoreResult<Option<UserRecord>> {
    find(context, "SELECT user_id, record FROM users WHERE user_name = ?", name)
}

pub(super) fn by_id(context: Context<'_>, id: &UserId) -> StoreResult<Option<UserRecord>> {
    find(context, "SELECT user_id, record FROM users WHERE user_id = ?", id)
}

/// Users by name, as far as one page goes.
pub(super) fn list(context: Context<'_>, query: &UserQuery) -> StoreResult<UserPage> {
    let sql = "SELECT user_id, record, user_name FROM users WHERE user_name >= ?1 AND user_name > ?2 AND user_name < ?3 ORDER BY user_name";
    let mut statement = context.connection.prepare_cached(sql)?;
    let after = query.after.as_ref().map(|after| after.name.as_str()).unwrap_or_default();
    let mut rows = statement.query(params![query.prefix, after, query.end()])?;
    let mut page = PageInProgress::new(query);
    while let Some(row) = rows.next()? {
        if page.room() == 0 {
            return Ok(page.finish(true));
        }
        let position = UserPosition { user_id: row.get(0)?, name: row.get(2)? };
        let user = user_of(row).inspect_err(|_| {
            // It must not keep the list from all others.
            tracing::error!(user_id = %position.user_id, "a user's record can't be read");
        });
        page.take(position, user.ok());
    }
    Ok(page.finish(false))
}

fn find(context: Context<'_>, sql: &str, by: &dyn ToSql) -> StoreResult<Option<UserRecord>> {
    let mut statement = context.connection.prepare_cached(sql)?;
    statement.query([by])?.next()?.map(user_of).transpose()
}

fn user_of(row: &Row<'_>) -> StoreResult<UserRecord> {
    let user_id = row.get(0)?;
    record(row, 1, "a user", |bytes| records::user(&user_id, bytes))
}

/// Gives an account a new rights version: what was remembered of its callers counts no longer.
pub(super) fn rights_changed(context: Context<'_>, account: &AccountId) -> StoreResult<()> {
    let sql = "UPDATE accounts SET rights_version = ? WHERE account_id = ?";
    context.connection.prepare_cached(sql)?.execute(params![new_rights_version()?, account])?;
    Ok(())
}

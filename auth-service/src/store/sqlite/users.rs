//! Users, and their places in accounts.

use rusqlite::{Row, ToSql, params};

use super::account::{Account, new_rights_version};
use super::audit;
use super::columns::record;
use super::context::Context;
use super::failure::StoreResult;
use crate::access::Member;
use crate::ids::{AccountId, UserId};
use crate::store::{AuditEvent, NewUser, STARTING_GRANT_NOTE, STARTING_GRANT_REQUEST_ID, UserCreation, records};
use crate::user::{UserName, UserRecord};

pub(super) fn create(context: Context<'_>, new: NewUser, event: &AuditEvent) -> StoreResult<UserCreation> {
    if let Some(existing) = by_name(context, &new.user_name)? {
        // The same user: a repetition of what happened, whose answer was lost.
        return Ok(if existing.user_id == new.user_id { UserCreation::Created(existing) } else { UserCreation::NameTaken });
    }
    let starting_credits = new.starting_credits;
    let user = new.into_record(context.now_ms);
    let sql = "INSERT INTO users (user_id, user_name, record) VALUES (?, ?, ?)";
    context.connection.prepare_cached(sql)?.execute(params![user.user_id, user.user_name, records::user_bytes(&user)])?;
    let account_id = AccountId::from(&user.user_id);
    let member = Member { role: user.role, disabled: false, locked: false, tokens_valid_from_ms: 0 };
    let sql = "INSERT INTO members (account_id, user_id, record) VALUES (?, ?, ?)";
    context.connection.prepare_cached(sql)?.execute(params![account_id, user.user_id, records::member_bytes(&member)])?;
    let mut account = Account::create(context, &account_id)?;
    if starting_credits > 0 {
        account.add(starting_credits, STARTING_GRANT_REQUEST_ID, &user.user_id, STARTING_GRANT_NOTE)?;
    }
    account.save()?;
    audit::append_change(context, event)?;
    Ok(UserCreation::Created(user))
}

pub(super) fn by_name(context: Context<'_>, name: &UserName) -> StoreResult<Option<UserRecord>> {
    find(context, "SELECT user_id, record FROM users WHERE user_name = ?", name)
}

pub(super) fn by_id(context: Context<'_>, id: &UserId) -> StoreResult<Option<UserRecord>> {
    find(context, "SELECT user_id, record FROM users WHERE user_id = ?", id)
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

//! Users, and their places in accounts.

use rusqlite::{Row, ToSql, params};

use super::account::{Account, new_rights_version};
use super::audit;
use super::columns::record;
use super::context::Context;
use super::failure::StoreResult;
use crate::access::Member;
use crate::ids::{AccountId, UserId};
use crate::store::{AuditEvent, NewUser, STARTING_GRANT_NOTE, STARTING_GRANT_REQUEST_ID, UserChange, UserCreation, records};
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

fn replace(context: Context<'_>, user: &UserRecord) -> StoreResult<()> {
    let sql = "UPDATE users SET record = ? WHERE user_id = ?";
    context.connection.prepare_cached(sql)?.execute(params![records::user_bytes(user), user.user_id])?;
    Ok(())
}

pub(super) fn replace_password_hash(context: Context<'_>, id: &UserId, old: &str, new: &str) -> StoreResult<()> {
    match by_id(context, id)? {
        Some(user) if user.password_hash == old => replace(context, &UserRecord { password_hash: new.to_owned(), ..user }),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn set_disabled(
    context: Context<'_>,
    id: &UserId,
    disabled: bool,
    reason: &str,
    event: &AuditEvent,
) -> StoreResult<Option<UserChange>> {
    let Some(user) = by_id(context, id)? else { return Ok(None) };
    if user.disabled == disabled {
        return Ok(Some(UserChange { user, changed: false }));
    }
    let user = UserRecord { disabled, ..user };
    replace(context, &user)?;
    for (account, member) in memberships(context, id)? {
        // Now, also when that is earlier than before: a clock that jumped ahead must not shut a user out until the time comes.
        let member = Member { disabled, tokens_valid_from_ms: context.now_ms, ..member };
        let sql = "UPDATE members SET record = ? WHERE account_id = ? AND user_id = ?";
        context.connection.prepare_cached(sql)?.execute(params![records::member_bytes(&member), account, id])?;
        rights_changed(context, &account)?;
    }
    audit::append_change(context, event)?;
    Ok(Some(UserChange { user, changed: true }))
}

fn memberships(context: Context<'_>, id: &UserId) -> StoreResult<Vec<(AccountId, Member)>> {
    let mut statement = context.connection.prepare_cached("SELECT account_id, record FROM members WHERE user_id = ?")?;
    let mut rows = statement.query([id])?;
    let mut memberships = Vec::new();
    while let Some(row) = rows.next()? {
        memberships.push((row.get(0)?, record(row, 1, "a member", records::member)?));
    }
    Ok(memberships)
}

/// Gives an account a new rights version: what was remembered of its callers counts no longer.
pub(super) fn rights_changed(context: Context<'_>, account: &AccountId) -> StoreResult<()> {
    let sql = "UPDATE accounts SET rights_version = ? WHERE account_id = ?";
    context.connection.prepare_cached(sql)?.execute(params![new_rights_version()?, account])?;
    Ok(())
}

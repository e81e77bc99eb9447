//! Users and API keys.

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::account::Account;
use super::columns::{Models, Scopes};
use super::writer::{Failure, Outcome as Done};
use crate::ids::{AccountId, KeyId, UserId};
use crate::store::{
    ApiKeyCreation, ApiKeyRecord, MAX_LIVE_API_KEYS, NewApiKey, NewUser, STARTING_GRANT_NOTE, STARTING_GRANT_REQUEST_ID, StoreLimits,
    UserCreation,
};
use crate::user::{UserName, UserRecord};

pub(super) fn create(connection: &Connection, limits: StoreLimits, now_ms: i64, user: NewUser) -> Done<UserCreation> {
    if let Some(existing) = by_name(connection, &user.user_name)? {
        // The same user: a repetition of what happened, whose answer was lost.
        return Ok(if existing.user_id == user.user_id { UserCreation::Created(existing) } else { UserCreation::NameTaken });
    }
    let sql = "INSERT INTO users (user_id, user_name, password_hash, full_name, email, role, disabled, tokens_valid_from_ms, created_at_ms) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, FALSE, 0, ?7)";
    connection.prepare_cached(sql)?.execute(params![
        user.user_id,
        user.user_name,
        user.password_hash,
        user.full_name,
        user.email,
        user.role,
        now_ms
    ])?;
    let account_id = AccountId::from(&user.user_id);
    connection.prepare_cached("INSERT INTO members VALUES (?1, ?2)")?.execute(params![account_id, user.user_id])?;
    let mut account = Account::create(connection, limits, now_ms, &account_id)?;
    if user.starting_credits > 0 {
        account.add(user.starting_credits, STARTING_GRANT_REQUEST_ID, &user.user_id, STARTING_GRANT_NOTE)?;
    }
    account.save()?;
    by_id(connection, &user.user_id)?.map(UserCreation::Created).ok_or_else(|| Failure::Corrupt("a new user isn't there".to_owned()))
}

pub(super) fn by_name(connection: &Connection, name: &UserName) -> Done<Option<UserRecord>> {
    find(
        connection,
        "SELECT user_id, user_name, password_hash, full_name, email, role, disabled, created_at_ms FROM users WHERE user_name = ?1",
        name,
    )
}

pub(super) fn by_id(connection: &Connection, id: &UserId) -> Done<Option<UserRecord>> {
    find(
        connection,
        "SELECT user_id, user_name, password_hash, full_name, email, role, disabled, created_at_ms FROM users WHERE user_id = ?1",
        id,
    )
}

fn find(connection: &Connection, sql: &str, by: &dyn ToSql) -> Done<Option<UserRecord>> {
    let read = |row: &Row<'_>| {
        Ok(UserRecord {
            user_id: row.get(0)?,
            user_name: row.get(1)?,
            password_hash: row.get(2)?,
            full_name: row.get(3)?,
            email: row.get(4)?,
            role: row.get(5)?,
            disabled: row.get(6)?,
            created_at_ms: row.get(7)?,
        })
    };
    Ok(connection.prepare_cached(sql)?.query_row([by], read).optional()?)
}

pub(super) fn replace_password_hash(connection: &Connection, id: &UserId, old: &str, new: &str) -> Done<()> {
    let sql = "UPDATE users SET password_hash = ?3 WHERE user_id = ?1 AND password_hash = ?2";
    connection.prepare_cached(sql)?.execute(params![id, old, new])?;
    Ok(())
}

pub(super) fn set_disabled(connection: &Connection, now_ms: i64, id: &UserId, disabled: bool) -> Done<Option<UserRecord>> {
    // Now, also when that is earlier than before: a clock that jumped ahead must not shut a user out until the time comes.
    let sql = "UPDATE users SET disabled = ?2, tokens_valid_from_ms = ?3 WHERE user_id = ?1 AND disabled <> ?2";
    if connection.prepare_cached(sql)?.execute(params![id, disabled, now_ms])? > 0 {
        let sql = "UPDATE accounts SET access = access + 1 WHERE account_id IN (SELECT account_id FROM members WHERE user_id = ?1)";
        connection.prepare_cached(sql)?.execute([id])?;
    }
    by_id(connection, id)
}

pub(super) fn create_api_key(connection: &Connection, now_ms: i64, key: NewApiKey) -> Done<ApiKeyCreation> {
    let exists = "SELECT EXISTS (SELECT 1 FROM accounts WHERE account_id = ?1)";
    if !connection.prepare_cached(exists)?.query_row([&key.account], |row| row.get::<_, bool>(0))? {
        return Err(Failure::Corrupt("the account of a new API key doesn't exist".to_owned()));
    }
    let same = "SELECT key_id, user_id, name, hint, scopes, models, created_at_ms, expires_at_ms, revoked_at_ms FROM api_keys \
                WHERE account_id = ?1 AND secret_hash = ?2";
    if let Some(record) = connection.prepare_cached(same)?.query_row(params![key.account, key.secret_hash], key_of).optional()? {
        return Ok(ApiKeyCreation::Created(record));
    }
    let live =
        "SELECT count(*) FROM api_keys WHERE account_id = ?1 AND revoked_at_ms IS NULL AND (expires_at_ms IS NULL OR expires_at_ms > ?2)";
    if connection.prepare_cached(live)?.query_row(params![key.account, now_ms], |row| row.get::<_, usize>(0))? >= MAX_LIVE_API_KEYS {
        return Ok(ApiKeyCreation::LimitReached);
    }
    // Those that are past their time don't count, and would else be kept without bound.
    let sql = "DELETE FROM api_keys WHERE account_id = ?1 AND secret_hash IN (SELECT secret_hash FROM api_keys WHERE account_id = ?1 \
               AND revoked_at_ms IS NULL AND expires_at_ms <= ?2 ORDER BY expires_at_ms DESC, key_id DESC LIMIT -1 OFFSET ?3)";
    connection.prepare_cached(sql)?.execute(params![key.account, now_ms, MAX_LIVE_API_KEYS])?;
    let record = ApiKeyRecord { created_at_ms: now_ms, ..key.record };
    let sql = "INSERT INTO api_keys (account_id, secret_hash, key_id, user_id, name, hint, scopes, models, created_at_ms, expires_at_ms, \
               revoked_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    connection.prepare_cached(sql)?.execute(params![
        key.account,
        key.secret_hash,
        record.key_id,
        record.user_id,
        record.name,
        record.hint,
        Scopes(record.scopes.clone()),
        Models(record.models.clone()),
        record.created_at_ms,
        record.expires_at_ms,
        record.revoked_at_ms
    ])?;
    Ok(ApiKeyCreation::Created(record))
}

pub(super) fn api_keys(connection: &Connection, account: &AccountId) -> Done<Vec<ApiKeyRecord>> {
    let sql = "SELECT key_id, user_id, name, hint, scopes, models, created_at_ms, expires_at_ms, revoked_at_ms FROM api_keys \
               WHERE account_id = ?1 ORDER BY created_at_ms, key_id";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_map([account], key_of)?.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn revoke_api_key(connection: &Connection, now_ms: i64, account: &AccountId, key: &KeyId) -> Done<Option<ApiKeyRecord>> {
    let sql = "UPDATE api_keys SET revoked_at_ms = ?3 WHERE account_id = ?1 AND key_id = ?2 AND revoked_at_ms IS NULL";
    if connection.prepare_cached(sql)?.execute(params![account, key, now_ms])? > 0 {
        connection.prepare_cached("UPDATE accounts SET access = access + 1 WHERE account_id = ?1")?.execute([account])?;
    }
    let sql = "SELECT key_id, user_id, name, hint, scopes, models, created_at_ms, expires_at_ms, revoked_at_ms FROM api_keys \
               WHERE account_id = ?1 AND key_id = ?2";
    let record = connection.prepare_cached(sql)?.query_row(params![account, key], key_of).optional()?;
    let sql = "DELETE FROM api_keys WHERE account_id = ?1 AND secret_hash IN (SELECT secret_hash FROM api_keys WHERE account_id = ?1 \
               AND revoked_at_ms IS NOT NULL ORDER BY revoked_at_ms DESC, key_id DESC LIMIT -1 OFFSET ?2)";
    connection.prepare_cached(sql)?.execute(params![account, MAX_LIVE_API_KEYS])?;
    Ok(record)
}

fn key_of(row: &Row<'_>) -> rusqlite::Result<ApiKeyRecord> {
    Ok(ApiKeyRecord {
        key_id: row.get(0)?,
        user_id: row.get(1)?,
        name: row.get(2)?,
        hint: row.get(3)?,
        scopes: row.get::<_, Scopes>(4)?.0,
        models: row.get::<_, Models>(5)?.0,
        created_at_ms: row.get(6)?,
        expires_at_ms: row.get(7)?,
        revoked_at_ms: row.get(8)?,
    })
}

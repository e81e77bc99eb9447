//! The schema's version 4, of which everything was a column, and text. Its rows are carried over to version 5.

use rusqlite::{Connection, Row, params};

use super::failure::{Failure, StoreResult};
use crate::access::Member;
use crate::hold::{Fields, Outcome, Resolution, Settlement, Terms, TokenUsage, request_digest};
use crate::ids::{AccountId, KeyId, UserId};
use crate::model_pattern::PatternRule;
use crate::price::Price;
use crate::scope::{self, Scope};
use crate::store::{ApiKeyRecord, SecretRecord, StoredSecret, records};
use crate::user::{Role, UserRecord};

/// Renames the tables, so that those of version 5 can have their names.
pub(super) fn set_aside(connection: &Connection) -> StoreResult<()> {
    Ok(connection.execute_batch(
        "DROP INDEX holds_due; DROP INDEX holds_to_forget; \
         ALTER TABLE users RENAME TO users_4; ALTER TABLE accounts RENAME TO accounts_4; ALTER TABLE members RENAME TO members_4; \
         ALTER TABLE api_keys RENAME TO api_keys_4; ALTER TABLE holds RENAME TO holds_4; ALTER TABLE ledger RENAME TO ledger_4; \
         ALTER TABLE grants RENAME TO grants_4;",
    )?)
}

/// Copies every row, and drops the old tables. Refunded requests that had been laid aside go.
pub(super) fn carry_over(connection: &Connection) -> StoreResult<()> {
    // Nothing is due or forgotten too late: 0 is a time that has passed.
    connection.execute_batch(
        "INSERT INTO accounts SELECT account_id, available, held, spent, lapsed, granted, last_entry, open_holds, \
         remembered - coalesce(rounds, 0), access, next_due_ms, 0 FROM accounts_4 LEFT JOIN (SELECT account_id, count(*) AS rounds \
         FROM holds_4 WHERE laid_aside <> 0 GROUP BY account_id) USING (account_id); \
         INSERT INTO grants SELECT account_id, request_id, credits, entry FROM grants_4;",
    )?;
    users(connection)?;
    members(connection)?;
    api_keys(connection)?;
    holds(connection)?;
    ledger(connection)?;
    Ok(connection.execute_batch(
        "DROP TABLE users_4; DROP TABLE accounts_4; DROP TABLE members_4; DROP TABLE api_keys_4; DROP TABLE holds_4; DROP TABLE ledger_4; \
         DROP TABLE grants_4;",
    )?)
}

/// Calls a function with each row that a query finds.
fn each(connection: &Connection, sql: &str, mut carry: impl FnMut(&Row<'_>) -> StoreResult<()>) -> StoreResult<()> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        carry(row)?;
    }
    Ok(())
}

fn users(connection: &Connection) -> StoreResult<()> {
    let mut insert = connection.prepare("INSERT INTO users (user_id, user_name, record) VALUES (?, ?, ?)")?;
    let sql = "SELECT user_id, user_name, password_hash, full_name, email, role, disabled, created_at_ms FROM users_4";
    each(connection, sql, |row| {
        let user = UserRecord {
            user_id: row.get(0)?,
            user_name: row.get(1)?,
            password_hash: row.get(2)?,
            full_name: row.get(3)?,
            email: row.get(4)?,
            role: named(row, 5, role)?,
            disabled: row.get(6)?,
            locked: false,
            reset_ends_at_ms: None,
            state_reason: String::new(),
            created_at_ms: row.get(7)?,
        };
        insert.execute(params![user.user_id, user.user_name, records::user_bytes(&user)])?;
        Ok(())
    })
}

fn members(connection: &Connection) -> StoreResult<()> {
    let mut insert = connection.prepare("INSERT INTO members (account_id, user_id, record) VALUES (?, ?, ?)")?;
    let sql = "SELECT account_id, user_id, role, disabled, tokens_valid_from_ms FROM members_4 JOIN users_4 USING (user_id)";
    each(connection, sql, |row| {
        let member = Member {
            role: named(row, 2, role)?,
            disabled: row.get(3)?,
            locked: false,
            password_change_required: false,
            tokens_valid_from_ms: row.get(4)?,
        };
        insert.execute(params![row.get::<_, AccountId>(0)?, row.get::<_, UserId>(1)?, records::member_bytes(&member)])?;
        Ok(())
    })
}

fn api_keys(connection: &Connection) -> StoreResult<()> {
    let mut insert = connection.prepare("INSERT INTO api_keys (account_id, secret_hash, record) VALUES (?, ?, ?)")?;
    let sql = "SELECT account_id, secret_hash, key_id, user_id, name, hint, scopes, models, created_at_ms, expires_at_ms, revoked_at_ms \
               FROM api_keys_4";
    each(connection, sql, |row| {
        let created_at_ms = row.get(8)?;
        let key = ApiKeyRecord {
            key_id: named(row, 2, KeyId::parse)?,
            user_id: row.get(3)?,
            name: row.get(4)?,
            scopes: scopes(&texts(row, 6)?).ok_or_else(|| unknown(6))?,
            models: texts(row, 7)?,
            pattern_rule: PatternRule::Whole,
            networks: Vec::new(),
            created_at_ms,
            expires_at_ms: row.get(9)?,
            revoked_at_ms: row.get(10)?,
        };
        let (hint, made_by) = (row.get(5)?, None);
        let secret = SecretRecord { number: 1, hint, created_at_ms, ends_at_ms: None, revoked_at_ms: None, made_by };
        let stored = StoredSecret { secret_hash: row.get(1)?, key, secret, last_used_at_ms: None };
        insert.execute(params![row.get::<_, AccountId>(0)?, stored.secret_hash, records::secret_bytes(&stored)])?;
        Ok(())
    })
}

fn holds(connection: &Connection) -> StoreResult<()> {
    let mut insert = connection.prepare("INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
    let sql = "SELECT account_id, user_id, key_id, request_id, attempt_id, fingerprint, model, per_call, per_1k_input_tokens, \
               per_1k_output_tokens, held_credits, max_input_tokens, max_output_tokens, input_tokens, output_tokens, estimated, \
               expires_at_ms, resolution, outcome, charged_credits, uncollected_credits, remaining_credits, ledger_entry, resolved_at_ms, \
               forget_at_ms FROM holds_4 WHERE laid_aside = 0";
    each(connection, sql, |row| {
        let terms = Terms::new(Fields {
            account: row.get(0)?,
            user_id: row.get(1)?,
            key_id: optional(row, 2, KeyId::parse)?,
            request_id: row.get(3)?,
            attempt_id: row.get(4)?,
            fingerprint: named(row, 5, |text| hex::decode(text).ok())?,
            model: row.get(6)?,
            price: Price { per_call: row.get(7)?, per_1k_input_tokens: row.get(8)?, per_1k_output_tokens: row.get(9)? },
            held_credits: row.get(10)?,
            max_input_tokens: row.get(11)?,
            max_output_tokens: row.get(12)?,
            standing: None,
        });
        let usage = TokenUsage { input_tokens: row.get(13)?, output_tokens: row.get(14)?, estimated: row.get(15)? };
        let (state, ending) = match optional(row, 17, resolution)? {
            None => (0, records::progress_bytes(usage.estimated)),
            Some(resolution) => {
                let (charged_credits, outcome) = (row.get(19)?, optional(row, 18, outcome)?);
                // What was charged by the last entry alone is not a part of the record.
                let charge = charged_credits;
                let settlement = Settlement { resolution, outcome, usage, charge, charged_credits, uncollected_credits: row.get(20)? };
                (records::resolution_number(resolution), records::ending_bytes(&settlement))
            }
        };
        insert.execute(params![
            terms.request_id,
            terms.account,
            terms.user_id,
            request_digest(&terms.request_id),
            state,
            terms.as_bytes(),
            usage.input_tokens,
            usage.output_tokens,
            ending,
            row.get::<_, i64>(16)?,
            row.get::<_, Option<i64>>(19)?,
            row.get::<_, Option<i64>>(21)?,
            row.get::<_, Option<i64>>(22)?,
            row.get::<_, Option<i64>>(23)?,
            row.get::<_, Option<i64>>(24)?
        ])?;
        Ok(())
    })
}

fn ledger(connection: &Connection) -> StoreResult<()> {
    let mut insert = connection.prepare("INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?)")?;
    let sql = "SELECT account_id, entry, resolution, credits, available, request_id, user_id, key_id, model, input_tokens, output_tokens, \
               estimated, at_ms, note FROM ledger_4";
    each(connection, sql, |row| {
        let (account, credits) = (row.get::<_, AccountId>(0)?, row.get::<_, i64>(3)?);
        let (request_id, user_id): (String, UserId) = (row.get(5)?, row.get(6)?);
        let detail = match optional(row, 2, resolution)? {
            None => records::grant_entry_bytes(&request_id, &user_id, &row.get::<_, String>(13)?),
            Some(resolution) => {
                let usage = TokenUsage { input_tokens: row.get(9)?, output_tokens: row.get(10)?, estimated: row.get(11)? };
                // Names are all that an entry takes from the terms.
                let terms = Terms::new(Fields {
                    account: account.clone(),
                    user_id,
                    key_id: optional(row, 7, KeyId::parse)?,
                    request_id,
                    attempt_id: String::new(),
                    fingerprint: Vec::new(),
                    model: row.get(8)?,
                    price: Price::default(),
                    held_credits: 0,
                    max_input_tokens: 0,
                    max_output_tokens: 0,
                    standing: None,
                });
                let charge = -credits;
                let settlement = Settlement { resolution, outcome: None, usage, charge, charged_credits: charge, uncollected_credits: 0 };
                records::resolution_entry_bytes(&terms, &settlement)
            }
        };
        insert.execute(params![account, row.get::<_, i64>(1)?, credits, row.get::<_, i64>(4)?, row.get::<_, i64>(12)?, detail])?;
        Ok(())
    })
}

fn unknown(column: usize) -> Failure {
    Failure::Corrupt(format!("a row's column {column} can't be read"))
}

fn named<T>(row: &Row<'_>, column: usize, parse: impl FnOnce(&str) -> Option<T>) -> StoreResult<T> {
    optional(row, column, parse)?.ok_or_else(|| unknown(column))
}

fn optional<T>(row: &Row<'_>, column: usize, parse: impl FnOnce(&str) -> Option<T>) -> StoreResult<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| parse(&text).ok_or_else(|| unknown(column))).transpose()
}

/// A list, in JSON.
fn texts(row: &Row<'_>, column: usize) -> StoreResult<Vec<String>> {
    named(row, column, |text| serde_json::from_str(text).ok())
}

fn role(text: &str) -> Option<Role> {
    match text {
        "user" => Some(Role::User),
        "admin" => Some(Role::Admin),
        _ => None,
    }
}

fn scopes(texts: &[String]) -> Option<Vec<Scope>> {
    let known = |text: &String| ["inference", "models", "account"].contains(&text.as_str());
    texts.iter().all(known).then(|| scope::named(texts.iter().map(String::as_str)))
}

fn resolution(text: &str) -> Option<Resolution> {
    match text {
        "settled" => Some(Resolution::Settled),
        "refunded" => Some(Resolution::Refunded),
        "expired" => Some(Resolution::Expired),
        "settled_late" => Some(Resolution::SettledLate),
        _ => None,
    }
}

fn outcome(text: &str) -> Option<Outcome> {
    match text {
        "completed" => Some(Outcome::Completed),
        "cancelled" => Some(Outcome::Cancelled),
        "upstream_failed" => Some(Outcome::UpstreamFailed),
        "nothing_generated" => Some(Outcome::NothingGenerated),
        _ => None,
    }
}

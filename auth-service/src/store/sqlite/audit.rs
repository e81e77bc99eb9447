//! The audit log: its events, of each kind the newest ones, numbered without a gap.

use std::collections::HashMap;

use rusqlite::params;

use super::context::Context;
use super::failure::StoreResult;
use super::users;
use crate::store::audit_page::{AuditLog, AuditPageInProgress, ReadEvent};
use crate::store::{AuditEvent, AuditPage, AuditPlace, AuditPosition, AuditQuery, records};

/// Appends what changed something.
pub(super) fn append_change(context: Context<'_>, event: &AuditEvent) -> StoreResult<()> {
    append_to(context, event.log_of_change(), event)
}

/// Appends what changed nothing, or failed.
pub(super) fn append(context: Context<'_>, event: &AuditEvent) -> StoreResult<()> {
    append_to(context, event.log(), event)
}

fn append_to(context: Context<'_>, log: AuditLog, event: &AuditEvent) -> StoreResult<()> {
    let Statements { insert, trim, .. } = statements(log);
    context.connection.prepare_cached(insert)?.execute(params![context.now_ms, records::audit_event_bytes(event)])?;
    let number = context.connection.last_insert_rowid();
    context.connection.prepare_cached(trim)?.execute([number - i64::from(log.most(&context.limits))])?;
    Ok(())
}

/// What is done with one log.
struct Statements {
    insert: &'static str,
    trim: &'static str,
    newest: &'static str,
    before: &'static str,
    after: &'static str,
}

macro_rules! statements_on {
    ($table:literal) => {
        Statements {
            insert: concat!("INSERT INTO ", $table, " (at_ms, record) VALUES (?, ?)"),
            trim: concat!("DELETE FROM ", $table, " WHERE number <= ?"),
            newest: concat!("SELECT max(number) FROM ", $table),
            before: concat!("SELECT number, at_ms, record FROM ", $table, " WHERE number < ? ORDER BY number DESC LIMIT ?"),
            after: concat!("SELECT number, at_ms, record FROM ", $table, " WHERE number > ? ORDER BY number LIMIT ?"),
        }
    };
}

fn statements(log: AuditLog) -> Statements {
    match log {
        AuditLog::Changes => statements_on!("audit_changes"),
        AuditLog::Operators => statements_on!("audit_operators"),
        AuditLog::Attempts => statements_on!("audit_attempts"),
    }
}

pub(super) fn list(context: Context<'_>, query: &AuditQuery) -> StoreResult<AuditPage> {
    let newest = |log| -> StoreResult<AuditPlace> {
        let number: Option<u64> = context.connection.prepare_cached(statements(log).newest)?.query_row([], |row| row.get(0))?;
        Ok(AuditPlace(number.unwrap_or(0), 0))
    };
    let [changes, operators, attempts] = AuditLog::ALL.map(newest);
    let newest = AuditPosition::of_each([changes?, operators?, attempts?]);
    let mut page = AuditPageInProgress::new(query, newest);
    let mut page = loop {
        let [changes, operators, attempts] = AuditLog::ALL.map(|log| read(context, &page, log));
        let more = page.take([changes?, operators?, attempts?]);
        if !more || page.room() == 0 {
            break page.finish(more);
        }
    };
    let mut names = HashMap::new();
    for id in page.unnamed() {
        if let Some(user) = users::by_id(context, &id)? {
            names.insert(id, user.user_name.to_string());
        }
    }
    page.name(&names);
    Ok(page)
}

/// One more than there is room for, which tells whether something follows.
fn read(context: Context<'_>, page: &AuditPageInProgress<'_>, log: AuditLog) -> StoreResult<Vec<ReadEvent>> {
    let Statements { before, after, .. } = statements(log);
    let sql = if page.newest_first() { before } else { after };
    // Numbers are in the first part of a place; the second one is for what sorts right behind.
    let AuditPlace(number, behind) = page.bound(log);
    let bound = if page.newest_first() { number.saturating_add(behind.min(1)) } else { number };
    let bound = i64::try_from(bound).unwrap_or(i64::MAX);
    let mut statement = context.connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![bound, page.room() + 1])?;
    let mut read = Vec::new();
    while let Some(row) = rows.next()? {
        let at_ms = row.get(1)?;
        let event = row.get_ref(2)?.as_blob().ok().and_then(records::audit_event);
        read.push(ReadEvent { place: AuditPlace(row.get(0)?, 0), order_ms: at_ms, at_ms, event });
    }
    Ok(read)
}

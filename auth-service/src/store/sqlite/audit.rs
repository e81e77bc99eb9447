//! The audit log: its events, of each kind the newest ones, numbered without a gap.

use std::collections::HashMap;

use rusqlite::params;

use super::context::Context;
use super::failure::StoreResult;
use super::users;
use crate::store::audit_page::{AuditLog, AuditPageInProgress, ReadEvent};
use crate::store::{AuditEvent, AuditPage, AuditPlace, AuditPosition, AuditQuery, records};

/// Appends what was changed.
pub(super) fn append_change(context: Context<'_>, event: &AuditEvent) -> StoreResult<()> {
    let insert = "INSERT INTO audit_changes (at_ms, record) VALUES (?, ?)";
    let trim = "DELETE FROM audit_changes WHERE number <= ?";
    append_to(context, insert, trim, context.limits.max_audit_changes, event)
}

/// Appends what changed nothing, or failed.
pub(super) fn append(context: Context<'_>, event: &AuditEvent) -> StoreResult<()> {
    if event.failure.is_none() {
        return append_change(context, event);
    }
    let insert = "INSERT INTO audit_attempts (at_ms, record) VALUES (?, ?)";
    let trim = "DELETE FROM audit_attempts WHERE number <= ?";
    append_to(context, insert, trim, context.limits.max_audit_attempts, event)
}

fn append_to(context: Context<'_>, insert: &str, trim: &str, most: u32, event: &AuditEvent) -> StoreResult<()> {
    context.connection.prepare_cached(insert)?.execute(params![context.now_ms, records::audit_event_bytes(event)])?;
    let number = context.connection.last_insert_rowid();
    context.connection.prepare_cached(trim)?.execute([number - i64::from(most)])?;
    Ok(())
}

pub(super) fn list(context: Context<'_>, query: &AuditQuery) -> StoreResult<AuditPage> {
    let newest = |sql| -> StoreResult<AuditPlace> {
        let number: Option<u64> = context.connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        Ok(AuditPlace(number.unwrap_or(0), 0))
    };
    let newest = AuditPosition {
        changes: newest("SELECT max(number) FROM audit_changes")?,
        attempts: newest("SELECT max(number) FROM audit_attempts")?,
    };
    let mut page = AuditPageInProgress::new(query, newest);
    let mut page = loop {
        let changes = read(context, &page, AuditLog::Changes)?;
        let attempts = read(context, &page, AuditLog::Attempts)?;
        let more = page.take(changes, attempts);
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
    let sql = match (log, page.newest_first()) {
        (AuditLog::Changes, true) => "SELECT number, at_ms, record FROM audit_changes WHERE number < ? ORDER BY number DESC LIMIT ?",
        (AuditLog::Changes, false) => "SELECT number, at_ms, record FROM audit_changes WHERE number > ? ORDER BY number LIMIT ?",
        (AuditLog::Attempts, true) => "SELECT number, at_ms, record FROM audit_attempts WHERE number < ? ORDER BY number DESC LIMIT ?",
        (AuditLog::Attempts, false) => "SELECT number, at_ms, record FROM audit_attempts WHERE number > ? ORDER BY number LIMIT ?",
    };
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

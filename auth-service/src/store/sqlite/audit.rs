//! The audit log: its events, of each kind the newest ones, numbered without a gap.

use rusqlite::params;

use super::context::Context;
use super::failure::StoreResult;
use crate::store::{AuditEvent, records};

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

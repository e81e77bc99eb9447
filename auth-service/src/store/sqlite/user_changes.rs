//! Changes of one user's state, password and sessions: read, decided by a rule, and written, in one savepoint.

use rusqlite::params;

use super::audit;
use super::columns::record;
use super::context::Context;
use super::failure::{Failure, StoreResult};
use super::users::{by_id, rights_changed};
use crate::ids::{AccountId, UserId};
use crate::second_factor::SecondFactor;
use crate::session::Session;
use crate::store::{AuditEvent, UserChange, records};
use crate::user_state::{Decision, FactorRecordChange, UserChanges, UserState};

/// Has a rule decide about a user, and writes what it says; `None`: no such user.
pub(super) fn change<T>(context: Context<'_>, id: &UserId, rule: impl FnOnce(&UserState, i64) -> Decision<T>) -> StoreResult<Option<T>> {
    let Some(state) = read(context, id)? else { return Ok(None) };
    let Decision { answer, changes } = rule(&state, context.now_ms);
    if let Some(changes) = changes {
        write(context, id, changes)?;
    }
    Ok(Some(answer))
}

/// Has a rule decide about a user, and about the operator who is the event's actor; `None`: no such user.
pub(super) fn change_by_operator(
    context: Context<'_>,
    id: &UserId,
    event: &AuditEvent,
    rule: impl FnOnce(&UserState, Option<&UserState>, i64, &AuditEvent) -> Decision<UserChange>,
) -> StoreResult<Option<UserChange>> {
    let operator = match &event.actor {
        Some(actor) => Some(read(context, actor)?.ok_or_else(|| Failure::corrupt("who asks is no user"))?),
        None => None,
    };
    change(context, id, |state, now_ms| rule(state, operator.as_ref(), now_ms, event))
}

/// Has a rule that changes nothing look at a user.
pub(super) fn look<T>(context: Context<'_>, id: &UserId, rule: impl FnOnce(&UserState, i64) -> T) -> StoreResult<Option<T>> {
    Ok(read(context, id)?.map(|state| rule(&state, context.now_ms)))
}

pub(super) fn read(context: Context<'_>, id: &UserId) -> StoreResult<Option<UserState>> {
    let Some(user) = by_id(context, id)? else { return Ok(None) };
    let sql = "SELECT record FROM members WHERE account_id = ? AND user_id = ?";
    let mut statement = context.connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![AccountId::from(id), id])?;
    let Some(row) = rows.next()? else { return Err(Failure::corrupt("a user has no place in their account")) };
    let member = record(row, 0, "a member", records::member)?;
    Ok(Some(UserState { user, member, sessions: sessions(context, id)?, second_factor: second_factor(context, id)? }))
}

fn second_factor(context: Context<'_>, id: &UserId) -> StoreResult<Option<SecondFactor>> {
    let mut statement = context.connection.prepare_cached("SELECT record FROM second_factors WHERE user_id = ?")?;
    let mut rows = statement.query([id])?;
    rows.next()?.map(|row| record(row, 0, "a second factor", records::second_factor)).transpose()
}

fn sessions(context: Context<'_>, id: &UserId) -> StoreResult<Vec<Session>> {
    let mut statement = context.connection.prepare_cached("SELECT session_id, record FROM sessions WHERE user_id = ?")?;
    let mut rows = statement.query([id])?;
    let mut sessions = Vec::new();
    while let Some(row) = rows.next()? {
        let session_id = row.get(0)?;
        sessions.push(record(row, 1, "a session", |bytes| records::session(&session_id, bytes))?);
    }
    Ok(sessions)
}

pub(super) fn write(context: Context<'_>, id: &UserId, changes: UserChanges) -> StoreResult<()> {
    let UserChanges { user, member, put, ended, second_factor, revocations, event } = changes;
    let account = AccountId::from(id);
    if let Some(user) = user {
        let sql = "UPDATE users SET record = ? WHERE user_id = ?";
        context.connection.prepare_cached(sql)?.execute(params![records::user_bytes(&user), id])?;
    }
    if let Some(member) = member {
        let sql = "UPDATE members SET record = ? WHERE account_id = ? AND user_id = ?";
        context.connection.prepare_cached(sql)?.execute(params![records::member_bytes(&member), account, id])?;
    }
    for session in ended {
        let sql = "DELETE FROM sessions WHERE user_id = ? AND session_id = ?";
        context.connection.prepare_cached(sql)?.execute(params![id, session])?;
    }
    for session in put {
        let sql = "INSERT OR REPLACE INTO sessions (user_id, session_id, record) VALUES (?, ?, ?)";
        context.connection.prepare_cached(sql)?.execute(params![id, session.session_id, records::session_bytes(&session)])?;
    }
    match second_factor {
        Some(FactorRecordChange::Put(factor)) => {
            let sql = "INSERT OR REPLACE INTO second_factors (user_id, record) VALUES (?, ?)";
            context.connection.prepare_cached(sql)?.execute(params![id, records::second_factor_bytes(&factor)])?;
        }
        Some(FactorRecordChange::Removed) => {
            context.connection.prepare_cached("DELETE FROM second_factors WHERE user_id = ?")?.execute([id])?;
        }
        None => {}
    }
    rights_changed(context, &account)?;
    if let Some(event) = event {
        audit::append_change(context, &event)?;
    }
    context.revoked.borrow_mut().extend(revocations);
    Ok(())
}

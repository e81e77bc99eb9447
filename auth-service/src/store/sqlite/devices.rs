//! Sign-ins of devices. Those that are over go when another one begins.

use rusqlite::{OptionalExtension, params};

use super::audit;
use super::columns::record;
use super::context::Context;
use super::failure::StoreResult;
use super::user_changes;
use crate::device_sign_in::{DeviceDecision, DeviceQuestion, DeviceSignIn, DeviceStart, NewDeviceSignIn, UserCode, on_begin, on_question};
use crate::ids::UserId;
use crate::store::{AuditEvent, records};
use crate::user_state::UserState;

pub(super) fn begin(context: Context<'_>, new: &NewDeviceSignIn, event: &AuditEvent) -> StoreResult<DeviceStart> {
    let connection = context.connection;
    connection.prepare_cached("DELETE FROM device_sign_ins WHERE ends_at_ms <= ?")?.execute([context.now_ms])?;
    let sql = "SELECT count(*), min(ends_at_ms) FROM device_sign_ins";
    let (kept, first_ends_at_ms) = connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let sign_in = match on_begin(new, kept, first_ends_at_ms, context.now_ms) {
        DeviceStart::Begun(sign_in) => sign_in,
        full => return Ok(full),
    };
    let sql = "INSERT INTO device_sign_ins (user_code, device_hash, ends_at_ms, record) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
    let values = params![new.user_code, new.device_hash, sign_in.ends_at_ms, records::device_sign_in_bytes(&sign_in)];
    if connection.prepare_cached(sql)?.execute(values)? == 0 {
        return Ok(DeviceStart::CodeTaken);
    }
    audit::append_change(context, event)?;
    Ok(DeviceStart::Begun(sign_in))
}

pub(super) fn find(context: Context<'_>, code: &UserCode) -> StoreResult<Option<DeviceSignIn>> {
    Ok(read(context, code)?.filter(|sign_in| !sign_in.is_over(context.now_ms)))
}

pub(super) fn question(context: Context<'_>, device_hash: &[u8; 32]) -> StoreResult<DeviceQuestion> {
    let Some(code) = user_code_of(context, device_hash)? else { return Ok(DeviceQuestion::Over) };
    let Some(sign_in) = read(context, &code)? else { return Ok(DeviceQuestion::Over) };
    let (answer, next) = on_question(&sign_in, context.now_ms);
    if let Some(next) = next {
        write(context, &next)?;
    }
    Ok(answer)
}

/// Has a rule decide about a sign-in with the user whom it is about, and writes what it says; `None`: no such user.
pub(super) fn change<T>(
    context: Context<'_>,
    code: &UserCode,
    id: &UserId,
    rule: impl FnOnce(Option<&DeviceSignIn>, &UserState, i64) -> DeviceDecision<T>,
) -> StoreResult<Option<T>> {
    let Some(state) = user_changes::read(context, id)? else { return Ok(None) };
    let sign_in = read(context, code)?;
    let DeviceDecision { answer, sign_in, changes } = rule(sign_in.as_ref(), &state, context.now_ms);
    if let Some(sign_in) = sign_in {
        write(context, &sign_in)?;
    }
    if let Some(changes) = changes {
        user_changes::write(context, id, changes)?;
    }
    Ok(Some(answer))
}

pub(super) fn user_code_of(context: Context<'_>, device_hash: &[u8; 32]) -> StoreResult<Option<UserCode>> {
    let sql = "SELECT user_code FROM device_sign_ins WHERE device_hash = ?";
    Ok(context.connection.prepare_cached(sql)?.query_row([device_hash], |row| row.get(0)).optional()?)
}

fn read(context: Context<'_>, code: &UserCode) -> StoreResult<Option<DeviceSignIn>> {
    let mut statement = context.connection.prepare_cached("SELECT record FROM device_sign_ins WHERE user_code = ?")?;
    let mut rows = statement.query([code])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    record(row, 0, "a device's sign-in", |bytes| records::device_sign_in(code, bytes)).map(Some)
}

fn write(context: Context<'_>, sign_in: &DeviceSignIn) -> StoreResult<()> {
    let sql = "UPDATE device_sign_ins SET record = ? WHERE user_code = ?";
    context.connection.prepare_cached(sql)?.execute(params![records::device_sign_in_bytes(sign_in), sign_in.user_code])?;
    Ok(())
}

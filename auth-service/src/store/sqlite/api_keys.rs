//! An account's API keys: a row for each secret.

use rusqlite::params;

use super::audit;
use super::check::{membership, rows};
use super::columns::record;
use super::context::Context;
use super::failure::StoreResult;
use super::users::rights_changed;
use crate::access::{self, KeyRights};
use crate::ids::AccountId;
use crate::keyring;
use crate::store::{AuditEvent, KeyAnswer, KeyChange, KeyChangeRequest, KeyUse, ListedKey, StoredSecret, records};

/// What the key of this secret may do, in force or not.
pub(super) fn find(context: Context<'_>, account: &AccountId, secret_hash: &[u8; 32]) -> StoreResult<Option<KeyRights>> {
    let sql = "SELECT record FROM api_keys WHERE account_id = ? AND secret_hash = ?";
    let mut statement = context.connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![account, secret_hash])?;
    rows.next()?.map(|row| record(row, 0, "an API key", records::key_rights)).transpose()
}

pub(super) fn change(context: Context<'_>, request: &KeyChangeRequest, event: AuditEvent) -> StoreResult<KeyAnswer> {
    let KeyChangeRequest { account, change, .. } = request;
    let asker = match request.check() {
        Some(check) => match access::authorize(&check, rows(context, account, &check.credential)?, context.now_ms) {
            Ok(rights) => Some(rights.principal),
            Err(refusal) => return Ok(KeyAnswer::Refused(refusal)),
        },
        None => None,
    };
    // Anybody may show a secret. One that isn't ours must not have a whole keyring read.
    if let KeyChange::RevokeShown { secret_hash } = change
        && find(context, account, secret_hash)?.is_none()
    {
        return Ok(KeyAnswer::NotFound);
    }
    let secrets = secrets(context, account)?;
    if let Some(asker) = asker {
        let whose = keyring::whose(&secrets, change);
        let place = whose.map_or(Ok(None), |whose| membership(context, account, whose))?;
        if let Some(refusal) = keyring::refusal(&asker, change, whose.map(|whose| (whose, place.as_ref()))) {
            return Ok(refusal);
        }
    }
    let keyring::Decision { answer, put, dropped, revoked } = keyring::on_change(&secrets, change, context.now_ms);
    if put.is_empty() && dropped.is_empty() {
        return Ok(answer);
    }
    write(context, account, &put, &dropped)?;
    rights_changed(context, account)?;
    audit::append_change(context, &answer.recorded_in(event))?;
    context.revoked.borrow_mut().extend(revoked);
    Ok(answer)
}

/// Stores secrets, and removes others, by their hashes.
pub(super) fn write(context: Context<'_>, account: &AccountId, put: &[StoredSecret], dropped: &[[u8; 32]]) -> StoreResult<()> {
    let sql = "INSERT INTO api_keys (account_id, secret_hash, record) VALUES (?, ?, ?) \
               ON CONFLICT (account_id, secret_hash) DO UPDATE SET record = excluded.record";
    for secret in put {
        context.connection.prepare_cached(sql)?.execute(params![account, secret.secret_hash, records::secret_bytes(secret)])?;
    }
    for secret_hash in dropped {
        for sql in [
            "DELETE FROM api_keys WHERE account_id = ? AND secret_hash = ?",
            "DELETE FROM api_key_uses WHERE account_id = ? AND secret_hash = ?",
        ] {
            context.connection.prepare_cached(sql)?.execute(params![account, secret_hash])?;
        }
    }
    Ok(())
}

pub(super) fn list(context: Context<'_>, account: &AccountId) -> StoreResult<Vec<ListedKey>> {
    Ok(keyring::list(&secrets(context, account)?))
}

pub(super) fn secrets(context: Context<'_>, account: &AccountId) -> StoreResult<Vec<StoredSecret>> {
    let sql = "SELECT secret_hash, used_at_ms, record FROM api_keys LEFT JOIN api_key_uses USING (account_id, secret_hash) \
               WHERE account_id = ?";
    let mut statement = context.connection.prepare_cached(sql)?;
    let mut rows = statement.query([account])?;
    let mut secrets = Vec::new();
    while let Some(row) = rows.next()? {
        let (secret_hash, used_at_ms) = (row.get(0)?, row.get(1)?);
        secrets.push(record(row, 2, "an API key", |bytes| records::secret(secret_hash, used_at_ms, bytes))?);
    }
    Ok(secrets)
}

pub(super) fn note_uses(context: Context<'_>, uses: &[KeyUse]) -> StoreResult<()> {
    // Of a secret that is no longer kept, nothing is noted.
    let sql = "INSERT INTO api_key_uses (account_id, secret_hash, used_at_ms) \
               SELECT account_id, secret_hash, ? FROM api_keys WHERE account_id = ? AND secret_hash = ? \
               ON CONFLICT (account_id, secret_hash) DO UPDATE SET used_at_ms = excluded.used_at_ms";
    for KeyUse { account, secret_hash } in uses {
        context.connection.prepare_cached(sql)?.execute(params![context.now_ms, account, secret_hash])?;
    }
    Ok(())
}

//! An account's API keys.

use rusqlite::params;
use shared::ErrorReason;

use super::audit;
use super::columns::record;
use super::context::Context;
use super::failure::{Failure, StoreResult};
use super::users::rights_changed;
use crate::access::KeyRights;
use crate::ids::{AccountId, KeyId};
use crate::keyring::{self, on_create, on_revoke};
use crate::store::{ApiKeyCreation, ApiKeyRecord, AuditEvent, NewApiKey, Revocation, Revoked, records};

/// An account's keys, oldest first, each behind its secret's hash.
struct Keys {
    hashes: Vec<[u8; 32]>,
    records: Vec<ApiKeyRecord>,
}

impl Keys {
    fn of(context: Context<'_>, account: &AccountId) -> StoreResult<Self> {
        let sql = "SELECT secret_hash, record FROM api_keys WHERE account_id = ?";
        let mut statement = context.connection.prepare_cached(sql)?;
        let mut rows = statement.query([account])?;
        let mut keys: Vec<([u8; 32], ApiKeyRecord)> = Vec::new();
        while let Some(row) = rows.next()? {
            keys.push((row.get(0)?, record(row, 1, "an API key", records::api_key)?));
        }
        keys.sort_by(|(_, a), (_, b)| (a.created_at_ms, &a.key_id).cmp(&(b.created_at_ms, &b.key_id)));
        let (hashes, records) = keys.into_iter().unzip();
        Ok(Self { hashes, records })
    }

    fn find(&self, wanted: impl Fn(&[u8; 32], &ApiKeyRecord) -> bool) -> Option<(&[u8; 32], &ApiKeyRecord)> {
        self.hashes.iter().zip(&self.records).find(|(hash, key)| wanted(hash, key))
    }

    /// Removes those of these ids.
    fn remove(&self, context: Context<'_>, account: &AccountId, ids: &[KeyId]) -> StoreResult<()> {
        let sql = "DELETE FROM api_keys WHERE account_id = ? AND secret_hash = ?";
        for (hash, _) in self.hashes.iter().zip(&self.records).filter(|(_, key)| ids.contains(&key.key_id)) {
            context.connection.prepare_cached(sql)?.execute(params![account, hash])?;
        }
        Ok(())
    }
}

/// What the key of this secret may do, in force or not.
pub(super) fn find(context: Context<'_>, account: &AccountId, secret_hash: &[u8; 32]) -> StoreResult<Option<KeyRights>> {
    let sql = "SELECT record FROM api_keys WHERE account_id = ? AND secret_hash = ?";
    let mut statement = context.connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![account, secret_hash])?;
    rows.next()?.map(|row| record(row, 0, "an API key", records::key_rights)).transpose()
}

pub(super) fn create(context: Context<'_>, new: NewApiKey, event: &AuditEvent) -> StoreResult<ApiKeyCreation> {
    let NewApiKey { account, secret_hash, record } = new;
    let exists = "SELECT EXISTS (SELECT 1 FROM accounts WHERE account_id = ?)";
    if !context.connection.prepare_cached(exists)?.query_row([&account], |row| row.get::<_, bool>(0))? {
        return Err(Failure::corrupt("the account of a new API key doesn't exist"));
    }
    let keys = Keys::of(context, &account)?;
    // A repetition of what happened, whose answer was lost.
    if let Some((_, same)) = keys.find(|hash, _| *hash == secret_hash) {
        return Ok(ApiKeyCreation::Created(same.clone()));
    }
    let Some(dropped) = on_create(&keys.records, context.now_ms) else { return Ok(ApiKeyCreation::LimitReached) };
    keys.remove(context, &account, &dropped)?;
    let record = ApiKeyRecord { created_at_ms: context.now_ms, ..record };
    let sql = "INSERT INTO api_keys (account_id, secret_hash, record) VALUES (?, ?, ?)";
    context.connection.prepare_cached(sql)?.execute(params![account, secret_hash, records::api_key_bytes(&record)])?;
    rights_changed(context, &account)?;
    audit::append_change(context, event)?;
    Ok(ApiKeyCreation::Created(record))
}

pub(super) fn list(context: Context<'_>, account: &AccountId) -> StoreResult<Vec<ApiKeyRecord>> {
    Ok(Keys::of(context, account)?.records)
}

pub(super) fn revoke(context: Context<'_>, account: &AccountId, key_id: &KeyId, event: &AuditEvent) -> StoreResult<Option<ApiKeyRecord>> {
    let keys = Keys::of(context, account)?;
    let Some(keyring::Revocation { revoked, dropped }) = on_revoke(&keys.records, key_id, context.now_ms) else { return Ok(None) };
    if let Some((secret_hash, before)) = keys.find(|_, key| key.key_id == *key_id)
        && *before != revoked
    {
        let sql = "UPDATE api_keys SET record = ? WHERE account_id = ? AND secret_hash = ?";
        context.connection.prepare_cached(sql)?.execute(params![records::api_key_bytes(&revoked), account, secret_hash])?;
        rights_changed(context, account)?;
        audit::append_change(context, event)?;
        let (user_id, revoked) = (revoked.user_id.clone(), Revoked::Key { key_id: key_id.clone(), secret: 0 });
        context.revoked.borrow_mut().push(Revocation { user_id, revoked, reason: ErrorReason::CredentialRevoked });
    }
    keys.remove(context, account, &dropped)?;
    Ok(Some(revoked))
}

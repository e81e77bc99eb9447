//! What becomes of an account's API keys and their secrets: how many are kept, and how long.
//!
//! A key is in force while one of its secrets is. A secret is in force until it is revoked, by itself or with its key, and until its time,
//! which is the earlier of its key's and of the one that a rotation set. Nothing here makes that time later.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use shared::ErrorReason;

pub use self::permission::{refusal, whose};
use crate::ids::{KeyId, UserId};
use crate::store::{
    ApiKeyRecord, KeyAnswer, KeyChange, KeyRequest, ListedKey, ListedSecret, NewSecret, REQUEST_LIFE, RequestMark, Revocation, Revoked,
    SecretRecord, StoredSecret,
};

mod permission;

/// Keys of one user, or service account, on one account that are in force. Of the others, the newest so many are kept to be listed.
pub const MAX_LIVE_API_KEYS: usize = 100;
/// Secrets of one key that are in force. Of the others, the newest so many are kept to be listed.
pub const MAX_LIVE_SECRETS: usize = 5;

/// What a [`KeyChange`] comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is answered once the rest is stored.
    pub answer: KeyAnswer,
    /// Secrets to be stored, in place of those with the same hash.
    pub put: Vec<StoredSecret>,
    /// Hashes of secrets to be removed.
    pub dropped: Vec<[u8; 32]>,
    /// What was revoked, or gave way to another.
    pub revoked: Vec<Revocation>,
}

impl Decision {
    /// Changes nothing.
    fn of(answer: KeyAnswer) -> Self {
        Self { answer, put: Vec::new(), dropped: Vec::new(), revoked: Vec::new() }
    }
}

/// Decides about a change, from all secrets of the account's keys.
#[must_use]
pub fn on_change(before: &[StoredSecret], change: &KeyChange, now_ms: i64) -> Decision {
    match changed(before, change, now_ms) {
        Ok(Changed { key_id, number, after }) => decision(before, after, &key_id, number, now_ms),
        Err(answer) => Decision::of(answer),
    }
}

/// The keys that these secrets are of, oldest first.
#[must_use]
pub fn list(secrets: &[StoredSecret]) -> Vec<ListedKey> {
    let ids: BTreeSet<&KeyId> = secrets.iter().map(|row| &row.key.key_id).collect();
    let mut keys: Vec<ListedKey> = ids.into_iter().filter_map(|key_id| listed(secrets, key_id)).collect();
    keys.sort_by(|a, b| (a.key.created_at_ms, &a.key.key_id).cmp(&(b.key.created_at_ms, &b.key.key_id)));
    keys
}

/// What becomes of an account's keys when somebody's place there ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// As in [`Decision`].
    pub put: Vec<StoredSecret>,
    /// As in [`Decision`].
    pub dropped: Vec<[u8; 32]>,
}

/// Revokes all keys of a user or a service account for good. `stays`: whether somebody has a place on the account after that. Of the keys
/// of all others together, the newest so many are kept as of one who stays.
#[must_use]
pub fn on_end_of(before: &[StoredSecret], user: &UserId, stays: impl Fn(&UserId) -> bool, now_ms: i64) -> Ended {
    let keys: BTreeSet<KeyId> = before.iter().filter(|row| row.key.user_id == *user).map(|row| row.key.key_id.clone()).collect();
    let mut after = before.to_vec();
    keys.iter().for_each(|key_id| revoke_key(&mut after, key_id, now_ms));
    if after == before {
        return Ended::default();
    }
    let mut kept = within_bounds(after, now_ms);
    let of_the_gone = kept.iter().filter(|row| !stays(&row.key.user_id)).map(|row| (row.key.created_at_ms, row.key.key_id.clone()));
    let of_the_gone: BTreeSet<(i64, KeyId)> = of_the_gone.collect();
    let too_old: BTreeSet<KeyId> = of_the_gone.into_iter().rev().skip(MAX_LIVE_API_KEYS).map(|(_, key_id)| key_id).collect();
    kept.retain(|row| !too_old.contains(&row.key.key_id));
    Ended { put: put(before, &kept), dropped: dropped(before, &kept) }
}

/// Secrets that are new, or not as they were.
fn put(before: &[StoredSecret], kept: &[StoredSecret]) -> Vec<StoredSecret> {
    kept.iter().filter(|row| !before.contains(row)).cloned().collect()
}

/// Hashes of secrets that are no longer kept.
fn dropped(before: &[StoredSecret], kept: &[StoredSecret]) -> Vec<[u8; 32]> {
    let is_kept = |row: &&StoredSecret| kept.iter().any(|kept| kept.secret_hash == row.secret_hash);
    before.iter().filter(|row| !is_kept(row)).map(|row| row.secret_hash).collect()
}

/// An account's secrets after a change, and what it was about.
struct Changed {
    key_id: KeyId,
    /// `None`: all of the key's secrets.
    number: Option<u32>,
    after: Vec<StoredSecret>,
}

/// `Err`: nothing is changed.
fn changed(before: &[StoredSecret], change: &KeyChange, now_ms: i64) -> Result<Changed, KeyAnswer> {
    match change {
        KeyChange::Create { key, secret, request } => match repeated(before, secret, request.as_ref(), now_ms)? {
            Some(repetition) => Ok(repetition),
            None => created(before, key, new_secret(secret, 1, request.as_ref(), now_ms), now_ms),
        },
        KeyChange::Rotate { key_id, secret, grace, request } => match repeated(before, secret, request.as_ref(), now_ms)? {
            Some(repetition) => Ok(repetition),
            None => {
                let number = next_number(before, key_id);
                let grace_ms = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
                rotated(before, key_id, new_secret(secret, number, request.as_ref(), now_ms), grace_ms, now_ms)
            }
        },
        KeyChange::Revoke { key_id } => {
            let mut after = before.to_vec();
            if of(before, key_id).next().is_none() {
                return Err(KeyAnswer::NotFound);
            }
            revoke_key(&mut after, key_id, now_ms);
            Ok(Changed { key_id: key_id.clone(), number: None, after })
        }
        KeyChange::RevokeSecret { key_id, number } => {
            let found = of(before, key_id).find(|row| row.secret.number == *number);
            Ok(without(before, found.ok_or(KeyAnswer::NotFound)?, now_ms))
        }
        KeyChange::RevokeShown { secret_hash } => {
            let found = before.iter().find(|row| row.secret_hash == *secret_hash);
            Ok(without(before, found.ok_or(KeyAnswer::NotFound)?, now_ms))
        }
    }
}

/// What comes of a request that was carried out before. The secret that it made then may never have reached its caller, so another takes
/// its place.
fn repeated(before: &[StoredSecret], secret: &NewSecret, request: Option<&KeyRequest>, now_ms: i64) -> Result<Option<Changed>, KeyAnswer> {
    let changed = |row: &StoredSecret, after| Changed { key_id: row.key.key_id.clone(), number: Some(row.secret.number), after };
    // The store's own repetition of a call whose answer was lost.
    if let Some(same) = before.iter().find(|row| row.secret_hash == secret.secret_hash) {
        return Ok(Some(changed(same, before.to_vec())));
    }
    let is_known = |mark: &RequestMark| {
        let life_ms = i64::try_from(REQUEST_LIFE.as_millis()).unwrap_or(i64::MAX);
        request.is_some_and(|request| mark.request.digest == request.digest) && now_ms < mark.at_ms.saturating_add(life_ms)
    };
    // The last one, should the clock have gone back behind the end of another's life.
    let made_before = before.iter().filter_map(|row| row.secret.made_by.filter(is_known).map(|mark| (row, mark)));
    let Some((lost, mark)) = made_before.max_by_key(|(row, mark)| (mark.at_ms, row.secret_hash)) else { return Ok(None) };
    if request != Some(&mark.request) {
        return Err(KeyAnswer::RequestIdReused);
    }
    if !is_in_force(lost, now_ms) {
        return Err(KeyAnswer::NotInForce);
    }
    // A number of its own, so that what is said of the lost one is never taken to be about this one.
    let number = next_number(before, &lost.key.key_id);
    let made = SecretRecord { ends_at_ms: lost.secret.ends_at_ms, made_by: Some(mark), ..new_secret(secret, number, request, now_ms).1 };
    let instead = StoredSecret { secret_hash: secret.secret_hash, secret: made, last_used_at_ms: None, ..lost.clone() };
    let others = before.iter().filter(|row| row.secret_hash != lost.secret_hash).cloned();
    Ok(Some(changed(&instead, others.chain([instead.clone()]).collect())))
}

fn new_secret(secret: &NewSecret, number: u32, request: Option<&KeyRequest>, now_ms: i64) -> ([u8; 32], SecretRecord) {
    let made_by = request.map(|request| RequestMark { request: *request, at_ms: now_ms });
    let hint = secret.hint.clone();
    (secret.secret_hash, SecretRecord { number, hint, created_at_ms: now_ms, ends_at_ms: None, revoked_at_ms: None, made_by })
}

fn created(
    before: &[StoredSecret],
    key: &ApiKeyRecord,
    (secret_hash, secret): ([u8; 32], SecretRecord),
    now_ms: i64,
) -> Result<Changed, KeyAnswer> {
    let is_theirs = |row: &&StoredSecret| row.key.user_id == key.user_id && is_in_force(row, now_ms);
    let live: BTreeSet<_> = before.iter().filter(is_theirs).map(|row| &row.key.key_id).collect();
    if key.expires_at_ms.is_some_and(|end_ms| end_ms <= now_ms) {
        return Err(KeyAnswer::EndIsOver);
    }
    if live.len() >= MAX_LIVE_API_KEYS {
        return Err(KeyAnswer::TooManyKeys);
    }
    let (key_id, number) = (key.key_id.clone(), Some(secret.number));
    let key = ApiKeyRecord { created_at_ms: now_ms, ..key.clone() };
    let made = StoredSecret { secret_hash, key, secret, last_used_at_ms: None };
    Ok(Changed { key_id, number, after: before.iter().cloned().chain([made]).collect() })
}

fn rotated(
    before: &[StoredSecret],
    key_id: &KeyId,
    (secret_hash, secret): ([u8; 32], SecretRecord),
    grace_ms: i64,
    now_ms: i64,
) -> Result<Changed, KeyAnswer> {
    let newest = of(before, key_id).max_by_key(|row| row.secret.number).ok_or(KeyAnswer::NotFound)?;
    if !of(before, key_id).any(|row| is_in_force(row, now_ms)) {
        return Err(KeyAnswer::NotInForce);
    }
    let made = StoredSecret { secret_hash, key: newest.key.clone(), secret, last_used_at_ms: None };
    let mut after = before.to_vec();
    for row in after.iter_mut().filter(|row| row.key.key_id == *key_id && is_in_force(row, now_ms)) {
        let ends_at_ms = now_ms.saturating_add(grace_ms);
        if grace_ms == 0 {
            row.secret.revoked_at_ms = Some(now_ms);
        } else if row.secret.ends_at_ms.is_none_or(|before_ms| ends_at_ms < before_ms) {
            row.secret.ends_at_ms = Some(ends_at_ms);
        }
    }
    if of(&after, key_id).filter(|row| is_in_force(row, now_ms)).count() >= MAX_LIVE_SECRETS {
        return Err(KeyAnswer::TooManySecrets);
    }
    let number = Some(made.secret.number);
    after.push(made);
    Ok(Changed { key_id: key_id.clone(), number, after })
}

/// Revokes one secret, and its key when it was the last in force.
fn without(before: &[StoredSecret], revoked: &StoredSecret, now_ms: i64) -> Changed {
    let (key_id, number) = (revoked.key.key_id.clone(), Some(revoked.secret.number));
    let mut after = before.to_vec();
    if revoked.revoked_at_ms().is_some() {
        return Changed { key_id, number, after };
    }
    for row in after.iter_mut().filter(|row| row.secret_hash == revoked.secret_hash) {
        row.secret.revoked_at_ms = Some(now_ms);
    }
    if is_in_force(revoked, now_ms) && !of(&after, &key_id).any(|row| is_in_force(row, now_ms)) {
        revoke_key(&mut after, &key_id, now_ms);
    }
    Changed { key_id, number, after }
}

/// One that was revoked before keeps its time.
fn revoke_key(secrets: &mut [StoredSecret], key_id: &KeyId, now_ms: i64) {
    let at_ms = of(secrets, key_id).filter_map(|row| row.key.revoked_at_ms).min().unwrap_or(now_ms);
    secrets.iter_mut().filter(|row| row.key.key_id == *key_id).for_each(|row| row.key.revoked_at_ms = Some(at_ms));
}

fn decision(before: &[StoredSecret], after: Vec<StoredSecret>, key_id: &KeyId, number: Option<u32>, now_ms: i64) -> Decision {
    let is_change = after != before;
    let Some(key) = listed(&after, key_id) else { return Decision::of(KeyAnswer::NotFound) };
    let then = |row: &StoredSecret| after.iter().find(|after| after.secret_hash == row.secret_hash);
    let is_revoked_now = |row: &&StoredSecret| row.revoked_at_ms().is_none() && then(row).is_none_or(|row| row.revoked_at_ms().is_some());
    let whole_key = key.key.revoked_at_ms.is_some();
    let revocation = |row: &StoredSecret| Revocation {
        user_id: row.key.user_id.clone(),
        revoked: Revoked::Key { key_id: key_id.clone(), secret: if whole_key { 0 } else { row.secret.number } },
        reason: ErrorReason::CredentialRevoked,
    };
    let mut revoked: Vec<_> = before.iter().filter(is_revoked_now).map(revocation).collect();
    revoked.dedup();
    let kept = if is_change { within_bounds(after, now_ms) } else { after };
    let (put, dropped) = (put(before, &kept), dropped(before, &kept));
    Decision { answer: KeyAnswer::Done { key: Box::new(key), number, is_change }, put, dropped, revoked }
}

/// All that is in force, and of the rest the newest: of each key's secrets by their numbers, of each user's keys by their ends and then by
/// id, so that all stores keep the same.
fn within_bounds(mut secrets: Vec<StoredSecret>, now_ms: i64) -> Vec<StoredSecret> {
    let ids: BTreeSet<(UserId, KeyId)> = secrets.iter().map(|row| (row.key.user_id.clone(), row.key.key_id.clone())).collect();
    let mut ended = BTreeMap::<&UserId, Vec<_>>::new();
    for (user_id, key_id) in &ids {
        if let Some(ended_at_ms) = key_ended_at_ms(&secrets, key_id, now_ms) {
            ended.entry(user_id).or_default().push((ended_at_ms, key_id));
        }
    }
    let gone = ended.into_values().flat_map(|mut ended| {
        ended.sort_unstable_by_key(|ended| Reverse(*ended));
        ended.into_iter().skip(MAX_LIVE_API_KEYS).map(|(_, key_id)| key_id)
    });
    let gone: BTreeSet<&KeyId> = gone.collect();
    secrets.retain(|row| !gone.contains(&row.key.key_id));
    for (_, key_id) in &ids {
        let mut numbers: Vec<u32> = of(&secrets, key_id).filter(|row| !is_in_force(row, now_ms)).map(|row| row.secret.number).collect();
        numbers.sort_unstable_by_key(|number| Reverse(*number));
        let Some(first_gone) = numbers.get(MAX_LIVE_SECRETS).copied() else { continue };
        let is_gone = |row: &StoredSecret| row.key.key_id == *key_id && row.secret.number <= first_gone && !is_in_force(row, now_ms);
        secrets.retain(|row| !is_gone(row));
    }
    secrets
}

fn of<'a>(secrets: &'a [StoredSecret], key_id: &KeyId) -> impl Iterator<Item = &'a StoredSecret> {
    secrets.iter().filter(move |row| row.key.key_id == *key_id)
}

fn next_number(secrets: &[StoredSecret], key_id: &KeyId) -> u32 {
    of(secrets, key_id).map(|row| row.secret.number).max().unwrap_or_default().saturating_add(1)
}

fn is_in_force(row: &StoredSecret, now_ms: i64) -> bool {
    ended_at_ms(row, now_ms).is_none()
}

/// When a secret ended; `None`: it is in force.
fn ended_at_ms(row: &StoredSecret, now_ms: i64) -> Option<i64> {
    row.revoked_at_ms().or(row.expires_at_ms().filter(|expires_at_ms| *expires_at_ms <= now_ms))
}

/// When the last of a key's secrets ended; `None`: one is in force.
fn key_ended_at_ms(secrets: &[StoredSecret], key_id: &KeyId, now_ms: i64) -> Option<i64> {
    let ends: Option<Vec<i64>> = of(secrets, key_id).map(|row| ended_at_ms(row, now_ms)).collect();
    ends?.into_iter().max()
}

fn listed(secrets: &[StoredSecret], key_id: &KeyId) -> Option<ListedKey> {
    let mut rows: Vec<&StoredSecret> = of(secrets, key_id).collect();
    rows.sort_unstable_by_key(|row| Reverse(row.secret.number));
    let revoked_at_ms = rows.iter().filter_map(|row| row.key.revoked_at_ms).min();
    let key = ApiKeyRecord { revoked_at_ms, ..rows.first()?.key.clone() };
    let secrets = rows.into_iter().map(|row| ListedSecret { secret: row.secret.clone(), last_used_at_ms: row.last_used_at_ms });
    Some(ListedKey { key, secrets: secrets.collect() })
}

#[cfg(test)]
mod tests;

//! API keys in Redis.

use std::collections::BTreeMap;

use super::RedisStore;
use super::change::{Change, MAX_TRIES, OtherAccount, Part, Replacement, changing_too_quickly};
use super::move_script::{member, membership, session_rights};
use super::scripts::ScriptCall;
use super::stored::{Counters, unreadable};
use crate::access::{self, RightsVersion, Rows};
use crate::ids::{AccountId, UserId};
use crate::keyring;
use crate::organization::Membership;
use crate::store::{
    AuditEvent, CheckRequest, KeyAnswer, KeyChange, KeyChangeRequest, KeyUse, ListedKey, PresentedCredential, StoreError, StoredSecret,
    records,
};

/// What decides about an account's keys.
struct Keyring {
    now_ms: i64,
    rights_version: RightsVersion,
    /// That of the account of who asks, where it is another.
    asker: Option<OtherAccount>,
    /// About who asks.
    rows: Rows,
    secrets: Vec<StoredSecret>,
}

/// A hash's fields with their values.
pub(super) type Fields<T> = Vec<(Vec<u8>, T)>;

impl RedisStore {
    pub(super) async fn change_keyring(&self, request: &KeyChangeRequest, event: &AuditEvent) -> Result<KeyAnswer, StoreError> {
        let KeyChangeRequest { account, change, .. } = request;
        // Anybody may show a secret. One that isn't ours must not have a whole keyring read.
        if let KeyChange::RevokeShown { secret_hash } = change
            && !self.has_secret(account, secret_hash).await?
        {
            return Ok(KeyAnswer::NotFound);
        }
        let check = request.check();
        let script = if request.only_restricts() { &self.scripts.restrict } else { &self.scripts.replace };
        for _ in 0..MAX_TRIES {
            let Some(Keyring { now_ms, rights_version, asker, rows, secrets }) = self.keyring(account, check.as_ref()).await? else {
                return Ok(KeyAnswer::NotFound);
            };
            if let Some(check) = &check {
                let principal = match access::authorize(check, rows, now_ms) {
                    Ok(rights) => rights.principal,
                    Err(refusal) => return Ok(KeyAnswer::Refused(refusal)),
                };
                let whose = keyring::whose(&secrets, change);
                let place = match whose {
                    Some(whose) if *whose != principal.user_id => self.membership(account, whose).await?,
                    _ => None,
                };
                if let Some(refusal) = keyring::refusal(&principal, change, whose.map(|whose| (whose, place.as_ref()))) {
                    return Ok(refusal);
                }
            }
            let keyring::Decision { answer, put, dropped, revoked } = keyring::on_change(&secrets, change, now_ms);
            if put.is_empty() && dropped.is_empty() {
                return Ok(answer);
            }
            let event = answer.recorded_in(event.clone());
            let change = Change {
                replacements: put.iter().map(replaced).chain(dropped.iter().flat_map(removed)).collect(),
                event: Some(&event),
                revocations: revoked,
                others: asker.into_iter().collect(),
                ..Change::new(account.clone(), rights_version)
            };
            if self.replace_records(script, change).await? {
                return Ok(answer);
            }
        }
        Err(changing_too_quickly())
    }

    async fn has_secret(&self, account: &AccountId, secret_hash: &[u8; 32]) -> Result<bool, StoreError> {
        let keys = self.keys.account_part(account, "keys");
        let (found,): (bool,) = self.query(::redis::pipe().hexists(keys, &secret_hash[..])).await?;
        Ok(found)
    }

    /// A place in an organization, read after the account's rights version.
    async fn membership(&self, account: &AccountId, user_id: &UserId) -> Result<Option<Membership>, StoreError> {
        if account.is_own_of(user_id) {
            return Ok(None);
        }
        let (found,): (Option<Vec<u8>>,) =
            self.query(::redis::pipe().hget(self.keys.account_part(account, "members"), user_id.as_str())).await?;
        membership(found.as_deref())
    }

    /// `None`: there is no such account.
    async fn keyring(&self, account: &AccountId, check: Option<&CheckRequest>) -> Result<Option<Keyring>, StoreError> {
        let (user, session) = match check.map(|check| &check.credential) {
            Some(PresentedCredential::AccessToken { user_id, session, .. }) => (Some(user_id), session.as_ref()),
            Some(PresentedCredential::ApiKey { .. }) | None => (None, None),
        };
        let home = user.map_or_else(|| account.clone(), AccountId::from);
        let part = |name| self.keys.account_part(account, name);
        let of_home = |name| self.keys.account_part(&home, name);
        let user = user.map_or("", UserId::as_str);
        let mut pipeline = ::redis::pipe();
        // The versions first: if the rest is later, they are out of date, and nothing is replaced.
        pipeline.hget(part("acct"), "counters").hget(of_home("acct"), "counters").hgetall(part("keys")).hgetall(part("used"));
        pipeline.hget(part("members"), user).hget(of_home("members"), user);
        pipeline.hget(of_home("sessions"), session.map_or("", |session| session.as_str())).cmd("TIME");
        type Record = Option<Vec<u8>>;
        type Parts = (Record, Record, Fields<Vec<u8>>, Fields<i64>, Record, Record, Record, (i64, i64));
        let (counters, home_counters, keys, used, found_place, found_member, found_session, time): Parts = self.query(&pipeline).await?;
        let Some(counters) = counters else { return Ok(None) };
        let is_elsewhere = home != *account;
        let asker = match home_counters.filter(|_| is_elsewhere) {
            Some(counters) => Some(OtherAccount { account: home, rights_version: Counters::rights_version(&counters)?, changes: false }),
            None => None,
        };
        let membership = membership(found_place.as_deref().filter(|_| is_elsewhere))?;
        let (session, member) = (session_rights(found_session.as_deref())?, member(found_member.as_deref())?);
        Ok(Some(Keyring {
            now_ms: self.time_ms(time),
            rights_version: Counters::rights_version(&counters)?,
            asker,
            rows: Rows { key: None, session, member, membership },
            secrets: secrets(&keys, used)?,
        }))
    }

    pub(super) async fn list_api_keys(&self, account: &AccountId) -> Result<Vec<ListedKey>, StoreError> {
        let mut pipeline = ::redis::pipe();
        pipeline.hgetall(self.keys.account_part(account, "keys")).hgetall(self.keys.account_part(account, "used"));
        let (keys, used): (Fields<Vec<u8>>, Fields<i64>) = self.query(&pipeline).await?;
        Ok(keyring::list(&secrets(&keys, used)?))
    }

    pub(super) async fn note_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        let mut by_account: BTreeMap<&AccountId, Vec<&[u8]>> = BTreeMap::new();
        for used in uses {
            by_account.entry(&used.account).or_default().push(&used.secret_hash[..]);
        }
        for (account, hashes) in by_account {
            let keys = ["keys", "used"].map(|part| self.keys.account_part(account, part));
            let mut call = ScriptCall::new(&self.scripts.note_uses, keys.iter());
            call.arg(self.now());
            for hash in hashes {
                call.arg(hash);
            }
            self.run::<i64>(&call).await?;
        }
        Ok(())
    }
}

pub(super) fn secrets(keys: &Fields<Vec<u8>>, used: Fields<i64>) -> Result<Vec<StoredSecret>, StoreError> {
    let used: BTreeMap<Vec<u8>, i64> = used.into_iter().collect();
    let read = |(hash, stored): &(Vec<u8>, Vec<u8>)| {
        // It stands behind the user's id, by which scripts find the member.
        let (user_id, record) = stored.split_at_checked(UserId::LENGTH)?;
        let secret = records::secret(hash.as_slice().try_into().ok()?, used.get(hash).copied(), record)?;
        (secret.key.user_id.as_str().as_bytes() == user_id).then_some(secret)
    };
    keys.iter().map(|row| read(row).ok_or_else(|| unreadable("an API key"))).collect()
}

pub(super) fn replaced(secret: &StoredSecret) -> Replacement {
    let stored = [secret.key.user_id.as_str().as_bytes(), &records::secret_bytes(secret)].concat();
    Replacement::of(Part::Keys, secret.secret_hash, stored)
}

/// With when it was used.
pub(super) fn removed(secret_hash: &[u8; 32]) -> [Replacement; 2] {
    [Part::Keys, Part::Used].map(|part| Replacement::of(part, *secret_hash, Vec::new()))
}

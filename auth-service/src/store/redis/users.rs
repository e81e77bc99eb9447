//! Users and API keys in Redis.

use std::time::Duration;

use shared::ErrorReason;

use super::RedisStore;
use super::change::{CHANGES, Change, MAX_TRIES, Part, Replacement, changing_too_quickly, new_rights_version};
use super::millis;
use super::move_script::{grant_id, stored_api_key};
use super::scripts::ScriptCall;
use super::stored::{Counters, unreadable};
use crate::access::{Member, RightsVersion};
use crate::ids::{AccountId, KeyId, UserId};
use crate::keyring::{self, on_create, on_revoke};
use crate::store::{
    ApiKeyCreation, ApiKeyRecord, AuditEvent, NAME_CLAIM_LIFE, NewApiKey, NewUser, Revocation, Revoked, STARTING_GRANT_NOTE,
    STARTING_GRANT_REQUEST_ID, StoreError, UserCreation, records,
};
use crate::user::{UserName, UserRecord};

/// What became of the claim of a name.
enum Claim {
    /// It is ours.
    Ours {
        /// Since when.
        at_ms: i64,
    },
    /// It is the name of a user.
    Taken,
    /// Somebody else claimed it a short while ago, and their user isn't made.
    InProgress {
        /// When that claim is over.
        retry_after: Duration,
    },
}

/// An account's keys with their secrets' hashes, and what else decides about them.
struct Keyring {
    now_ms: i64,
    rights_version: RightsVersion,
    keys: Vec<(Vec<u8>, ApiKeyRecord)>,
}

impl Keyring {
    fn records(&self) -> Vec<ApiKeyRecord> {
        self.keys.iter().map(|(_, record)| record.clone()).collect()
    }

    /// Drops these keys.
    fn drop(&self, dropped: &[KeyId]) -> impl Iterator<Item = Replacement> {
        let dropped = self.keys.iter().filter(|(_, record)| dropped.contains(&record.key_id));
        dropped.map(|(hash, _)| (Part::Keys, hash.clone(), Vec::new()))
    }
}

impl RedisStore {
    pub(super) async fn make_user(&self, user: NewUser, event: &AuditEvent) -> Result<UserCreation, StoreError> {
        let claimed_at_ms = match self.claim_name(&user).await? {
            Claim::Ours { at_ms } => at_ms,
            Claim::Taken => return Ok(UserCreation::NameTaken),
            Claim::InProgress { retry_after } => return Ok(UserCreation::NameInProgress { retry_after }),
        };
        let account = AccountId::from(&user.user_id);
        // Before the account, so that no account is ever missed by the walk, and no user by a list.
        self.register(&account, &user.user_name, &user.user_id).await?;
        let starting_credits = user.starting_credits;
        let record = user.into_record(claimed_at_ms);
        let member = Member { role: record.role, disabled: false, locked: false, tokens_valid_from_ms: 0 };
        let parts = ["acct", "members", "user", "log"].map(|part| self.keys.account_part(&account, part));
        let keys: Vec<_> = parts.into_iter().chain([self.keys.audit(CHANGES)]).collect();
        let mut call = ScriptCall::new(&self.scripts.create_user, keys.iter());
        call.arg(self.now()).arg(record.user_id.as_str()).arg(&records::user_bytes(&record)[..]).arg(&records::member_bytes(&member)[..]);
        // Half of the claim's life: by the time that somebody else may take the name, this script has run or never will.
        call.arg(claimed_at_ms + millis(NAME_CLAIM_LIFE) / 2).arg(starting_credits).arg(grant_id(STARTING_GRANT_REQUEST_ID));
        call.arg(&records::grant_entry_bytes(STARTING_GRANT_REQUEST_ID, &record.user_id, STARTING_GRANT_NOTE)[..]);
        call.arg(&new_rights_version()?.to_bytes()).arg(&records::audit_event_bytes(event)[..]);
        let answer: Vec<Vec<u8>> = self.run(&call).await?;
        match &answer[..] {
            [word, stored] if word == b"created" => {
                records::user(&record.user_id, stored).map(UserCreation::Created).ok_or_else(|| unreadable("a user"))
            }
            [word] if word == b"late" => Err(StoreError::Unavailable("making the user took too long".to_owned())),
            _ => Err(unreadable("the answer to the making of a user")),
        }
    }

    /// Takes a name for a user.
    async fn claim_name(&self, user: &NewUser) -> Result<Claim, StoreError> {
        let mut replaceable = String::new();
        // Twice at most: the second time, it is somebody else who is quicker.
        for _ in 0..2 {
            let mut call = ScriptCall::new(&self.scripts.claim_name, std::iter::once(self.keys.name(&user.user_name)));
            call.arg(self.now()).arg(user.user_id.as_str()).arg(&replaceable);
            let answer: Vec<String> = self.run(&call).await?;
            match &answer[..] {
                [word, claim] if word == "claimed" => return parse_claim(claim).map(|(_, at_ms)| Claim::Ours { at_ms }),
                [word, claim, age_ms] if word == "taken" => {
                    let (owner, _) = parse_claim(claim)?;
                    if self.find_user(&owner).await?.is_some() {
                        return Ok(Claim::Taken);
                    }
                    let age_ms: i64 = age_ms.parse().map_err(|_| unreadable("the age of a claim"))?;
                    let left_ms = millis(NAME_CLAIM_LIFE).saturating_sub(age_ms);
                    if left_ms > 0 {
                        // Never longer than a whole life, should the clock have gone back.
                        let retry_after = Duration::from_millis(left_ms.unsigned_abs()).min(NAME_CLAIM_LIFE);
                        return Ok(Claim::InProgress { retry_after });
                    }
                    claim.clone_into(&mut replaceable);
                }
                _ => return Err(unreadable("the answer to a claim of a name")),
            }
        }
        Ok(Claim::InProgress { retry_after: NAME_CLAIM_LIFE })
    }

    pub(super) async fn find_user_by_name(&self, name: &UserName) -> Result<Option<UserRecord>, StoreError> {
        let (claim,): (Option<String>,) = self.query(::redis::pipe().get(self.keys.name(name))).await?;
        let owner = match claim {
            Some(claim) => parse_claim(&claim)?.0,
            // Nobody's id: the look-up takes as long whether there is such a name or not.
            None => UserId::parse("0000000000000000").ok_or_else(|| unreadable("nobody's id"))?,
        };
        // A claim whose user was never made, or is just being made, is nobody's yet.
        self.find_user(&owner).await
    }

    pub(super) async fn find_user(&self, id: &UserId) -> Result<Option<UserRecord>, StoreError> {
        let (record,): (Option<Vec<u8>>,) = self.query(::redis::pipe().get(self.keys.user(id))).await?;
        record.map(|record| records::user(id, &record).ok_or_else(|| unreadable("a user"))).transpose()
    }

    async fn keyring(&self, account: &AccountId) -> Result<Option<Keyring>, StoreError> {
        let mut pipeline = ::redis::pipe();
        // The version first, as for a user.
        pipeline.hget(self.keys.account_part(account, "acct"), "counters");
        pipeline.hgetall(self.keys.account_part(account, "keys")).cmd("TIME");
        type Parts = (Option<Vec<u8>>, Vec<(Vec<u8>, Vec<u8>)>, (i64, i64));
        let (counters, keys, time): Parts = self.query(&pipeline).await?;
        let Some(counters) = counters else { return Ok(None) };
        let keys = keys.into_iter().map(|(hash, record)| Ok((hash, stored_api_key(&record)?))).collect::<Result<_, StoreError>>()?;
        Ok(Some(Keyring { now_ms: self.time_ms(time), rights_version: Counters::rights_version(&counters)?, keys }))
    }

    pub(super) async fn add_api_key(&self, key: &NewApiKey, event: &AuditEvent) -> Result<ApiKeyCreation, StoreError> {
        for _ in 0..MAX_TRIES {
            let keyring = self.keyring(&key.account).await?;
            let keyring = keyring.ok_or_else(|| StoreError::Corrupt("the account of a new API key doesn't exist".to_owned()))?;
            if let Some((_, record)) = keyring.keys.iter().find(|(hash, _)| *hash == key.secret_hash) {
                return Ok(ApiKeyCreation::Created(record.clone()));
            }
            let Some(dropped) = on_create(&keyring.records(), keyring.now_ms) else { return Ok(ApiKeyCreation::LimitReached) };
            let record = ApiKeyRecord { created_at_ms: keyring.now_ms, ..key.record.clone() };
            let added = (Part::Keys, key.secret_hash.to_vec(), stored_key_bytes(&record));
            let replacements = keyring.drop(&dropped).chain([added]).collect();
            let change = Change { replacements, event: Some(event), ..Change::new(key.account.clone(), keyring.rights_version) };
            if self.replace_records(&self.scripts.replace, change).await? {
                return Ok(ApiKeyCreation::Created(record));
            }
        }
        Err(changing_too_quickly())
    }

    pub(super) async fn list_api_keys(&self, account: &AccountId) -> Result<Vec<ApiKeyRecord>, StoreError> {
        let (records,): (Vec<Vec<u8>>,) = self.query(::redis::pipe().hvals(self.keys.account_part(account, "keys"))).await?;
        let mut keys = records.iter().map(|record| stored_api_key(record)).collect::<Result<Vec<_>, _>>()?;
        keys.sort_by(|a, b| (a.created_at_ms, &a.key_id).cmp(&(b.created_at_ms, &b.key_id)));
        Ok(keys)
    }

    pub(super) async fn end_api_key(
        &self,
        account: &AccountId,
        key: &KeyId,
        event: &AuditEvent,
    ) -> Result<Option<ApiKeyRecord>, StoreError> {
        for _ in 0..MAX_TRIES {
            let Some(keyring) = self.keyring(account).await? else { return Ok(None) };
            let Some(keyring::Revocation { revoked, dropped }) = on_revoke(&keyring.records(), key, keyring.now_ms) else {
                return Ok(None);
            };
            let before = keyring.keys.iter().find(|(_, record)| record.key_id == *key).ok_or_else(|| unreadable("an API key"))?;
            if before.1.revoked_at_ms.is_some() {
                return Ok(Some(revoked));
            }
            let changed = (Part::Keys, before.0.clone(), stored_key_bytes(&revoked));
            let change = Change {
                replacements: [changed].into_iter().chain(keyring.drop(&dropped)).collect(),
                event: Some(event),
                revocations: vec![Revocation {
                    user_id: revoked.user_id.clone(),
                    revoked: Revoked::Key { key_id: key.clone(), secret: 0 },
                    reason: ErrorReason::CredentialRevoked,
                }],
                ..Change::new(account.clone(), keyring.rights_version)
            };
            if self.replace_records(&self.scripts.restrict, change).await? {
                return Ok(Some(revoked));
            }
        }
        Err(changing_too_quickly())
    }

    /// The time that was set, or what Redis says it is, in seconds and microseconds.
    pub(super) fn time_ms(&self, (seconds, micros): (i64, i64)) -> i64 {
        self.clock.fixed_ms().unwrap_or(seconds * 1000 + micros / 1000)
    }
}

/// A key as the keyring has it: behind the user's id.
fn stored_key_bytes(record: &ApiKeyRecord) -> Vec<u8> {
    [record.user_id.as_str().as_bytes(), &records::api_key_bytes(record)].concat()
}

/// Reads `<user id>|<claimed at, ms>`.
fn parse_claim(claim: &str) -> Result<(UserId, i64), StoreError> {
    let parse = || {
        let (user, at_ms) = claim.split_once('|')?;
        Some((UserId::parse(user)?, at_ms.parse().ok()?))
    };
    parse().ok_or_else(|| unreadable("the claim of a user name"))
}

//! A change of who may do what: its records, its audit event and what it revokes, in one script (`lua/replace.lua`).

use std::collections::HashMap;
use std::time::Duration;

use ::redis::Script;

use super::RedisStore;
use super::millis;
use super::scripts::ScriptCall;
use crate::access::{Member, RightsVersion};
use crate::ids::{AccountId, UserId};
use crate::store::audit_page::AuditLog;
use crate::store::{AuditEvent, Revocation, StoreError, records};
use crate::user::UserRecord;

/// How often a change of records is tried, at most. Each time but the first, another change of the account's rights came before it. So as
/// many changes at once as this all succeed: of those that compare the same version one does.
pub(super) const MAX_TRIES: usize = 100;

/// A key of an account that records of rights are in, as `lua/replace.lua` is given them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Members = 2,
    Keys = 3,
    User = 4,
    Sessions = 5,
    Used = 8,
}

/// Where a record is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// In a key of the account.
    Part(Part),
    /// In any other key, by its name.
    Key(String),
}

/// A record to be replaced.
#[derive(Debug, Clone)]
pub(super) struct Replacement {
    pub(super) place: Place,
    /// Its field; empty where the key has none.
    pub(super) field: Vec<u8>,
    /// Its bytes; empty to drop it.
    pub(super) record: Vec<u8>,
    /// How long Redis keeps it at the least, where the key has no field. `None`: until it is dropped. Nothing that moves credits has one.
    pub(super) life: Option<Duration>,
}

impl Replacement {
    /// A record in a key of the account.
    pub(super) fn of(part: Part, field: impl Into<Vec<u8>>, record: Vec<u8>) -> Self {
        Self { place: Place::Part(part), field: field.into(), record, life: None }
    }

    /// A record in any other key.
    pub(super) fn at(key: String, field: impl Into<Vec<u8>>, record: Vec<u8>) -> Self {
        Self { place: Place::Key(key), field: field.into(), record, life: None }
    }
}

/// Another account that a change was decided from.
#[derive(Debug, Clone)]
pub(super) struct OtherAccount {
    pub(super) account: AccountId,
    /// What its rights version must be.
    pub(super) rights_version: RightsVersion,
    /// Whether its rights change too.
    pub(super) changes: bool,
}

/// A record that must be as it was read.
#[derive(Debug, Clone)]
pub(super) struct Compared {
    pub(super) key: String,
    /// Its field; empty where the key has none.
    pub(super) field: Vec<u8>,
    /// Its bytes; empty when there must be none.
    pub(super) expected: Vec<u8>,
}

/// What is written together, or not at all.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) account: AccountId,
    /// What the account's rights version must be.
    pub(super) rights_version: RightsVersion,
    /// Other accounts that it was decided from: of who asks, of who becomes a member. Each once, and not the account itself.
    pub(super) others: Vec<OtherAccount>,
    /// Records that it was decided from, and that no rights version stands for.
    pub(super) compared: Vec<Compared>,
    pub(super) replacements: Vec<Replacement>,
    pub(super) event: Option<&'a AuditEvent>,
    pub(super) revocations: Vec<Revocation>,
}

impl Change<'_> {
    /// A change of nothing, yet.
    pub(super) fn new(account: AccountId, rights_version: RightsVersion) -> Self {
        let (others, compared, replacements, revocations) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { account, rights_version, others, compared, replacements, event: None, revocations }
    }
}

impl RedisStore {
    /// Makes a change; `false`: others changed something of it meanwhile, and nothing was written.
    pub(super) async fn replace_records(&self, script: &Script, change: Change<'_>) -> Result<bool, StoreError> {
        let parts = ["acct", "members", "keys", "user", "sessions"].map(|part| self.keys.account_part(&change.account, part));
        // Which one, where there is no event, is all the same.
        let log = change.event.map_or(AuditLog::Changes, AuditEvent::log_of_change);
        let logs = [self.keys.audit(log), self.keys.revocations(), self.keys.account_part(&change.account, "used")];
        let others = change.others.iter().map(|other| self.keys.account_part(&other.account, "acct"));
        let mut keys: Vec<_> = parts.into_iter().chain(logs).chain(others).collect();
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let compared = change.compared.iter().map(|compared| compared.key.as_str());
        let replaced = change.replacements.iter().filter_map(|replacement| match &replacement.place {
            Place::Part(_) => None,
            Place::Key(key) => Some(key.as_str()),
        });
        for key in compared.chain(replaced) {
            numbers.entry(key).or_insert_with(|| {
                keys.push(key.to_owned());
                keys.len()
            });
        }
        let number = |key: &str| numbers.get(key).copied().unwrap_or_default();
        let mut call = ScriptCall::new(script, keys.iter());
        call.arg(self.now()).arg(&change.rights_version.to_bytes()).arg(&new_rights_version()?.to_bytes());
        call.arg(change.others.len()).arg(change.compared.len());
        call.arg(change.event.map(records::audit_event_bytes).unwrap_or_default()).arg(change.revocations.len());
        for other in &change.others {
            let next = if other.changes { new_rights_version()?.to_bytes().to_vec() } else { Vec::new() };
            call.arg(&other.rights_version.to_bytes()).arg(next);
        }
        for compared in &change.compared {
            call.arg(number(&compared.key)).arg(&compared.field[..]).arg(&compared.expected[..]);
        }
        for revocation in &change.revocations {
            call.arg(records::revocation_bytes(revocation));
        }
        for Replacement { place, field, record, life } in &change.replacements {
            let key = match place {
                Place::Part(part) => *part as usize,
                Place::Key(key) => number(key),
            };
            let life = life.map(|life| millis(life).to_string()).unwrap_or_default();
            call.arg(key).arg(&field[..]).arg(&record[..]).arg(life);
        }
        Ok(self.run::<i64>(&call).await? == 1)
    }

    pub(super) async fn append_event(&self, event: &AuditEvent) -> Result<(), StoreError> {
        let log = event.log();
        let mut call = ScriptCall::new(&self.scripts.record, std::iter::once(self.keys.audit(log)));
        call.arg(self.now()).arg(log.most(&self.limits)).arg(records::audit_event_bytes(event));
        self.run::<i64>(&call).await.map(|_| ())
    }
}

pub(super) fn replaced_user(user: &UserRecord) -> Replacement {
    Replacement::of(Part::User, Vec::new(), records::user_bytes(user))
}

pub(super) fn replaced_member(id: &UserId, member: &Member) -> Replacement {
    Replacement::of(Part::Members, id.as_str(), records::member_bytes(member))
}

pub(super) fn new_rights_version() -> Result<RightsVersion, StoreError> {
    RightsVersion::draw().map_err(|error| StoreError::Unavailable(error.to_string()))
}

pub(super) fn changing_too_quickly() -> StoreError {
    StoreError::Unavailable("others change the account's rights faster than this call can".to_owned())
}

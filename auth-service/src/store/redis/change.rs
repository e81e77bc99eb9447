//! A change of who may do what: its records, its audit event and what it revokes, in one script (`lua/replace.lua`).

use ::redis::Script;

use super::RedisStore;
use super::scripts::ScriptCall;
use crate::access::{Member, RightsVersion};
use crate::ids::{AccountId, UserId};
use crate::store::audit_page::AuditLog;
use crate::store::{AuditEvent, Revocation, StoreError, records};
use crate::user::UserRecord;

/// How often a change of records is tried, at most. Each time but the first, another change of the account's rights came before it. So as
/// many changes at once as this all succeed: of those that compare the same version one does.
pub(super) const MAX_TRIES: usize = 32;

/// A key of an account that records of rights are in, as `lua/replace.lua` is given them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Members = 2,
    Keys = 3,
    User = 4,
    Sessions = 5,
    Used = 8,
}

/// A record to be replaced: where it is, its field, and its bytes; none to drop it.
pub(super) type Replacement = (Part, Vec<u8>, Vec<u8>);

/// What is written together, or not at all.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) account: AccountId,
    /// What the account's rights version must be.
    pub(super) rights_version: RightsVersion,
    /// Who asks, and what the rights version of their account must be.
    pub(super) asked_by: Option<(AccountId, RightsVersion)>,
    pub(super) replacements: Vec<Replacement>,
    pub(super) event: Option<&'a AuditEvent>,
    pub(super) revocations: Vec<Revocation>,
}

impl Change<'_> {
    /// A change of nothing, yet.
    pub(super) fn new(account: AccountId, rights_version: RightsVersion) -> Self {
        Self { account, rights_version, asked_by: None, replacements: Vec::new(), event: None, revocations: Vec::new() }
    }
}

impl RedisStore {
    /// Makes a change; `false`: others changed the account's rights meanwhile, and nothing was written.
    pub(super) async fn replace_records(&self, script: &Script, change: Change<'_>) -> Result<bool, StoreError> {
        let parts = ["acct", "members", "keys", "user", "sessions"].map(|part| self.keys.account_part(&change.account, part));
        let used = self.keys.account_part(&change.account, "used");
        // Which one, where there is no event, is all the same.
        let log = change.event.map_or(AuditLog::Changes, AuditEvent::log_of_change);
        // Nobody else's, where nobody asks: it is compared twice then.
        let (asks, asks_with) = change.asked_by.as_ref().map_or((&change.account, change.rights_version), |(asks, with)| (asks, *with));
        let others = [self.keys.audit(log), self.keys.revocations(), used, self.keys.account_part(asks, "acct")];
        let keys: Vec<_> = parts.into_iter().chain(others).collect();
        let mut call = ScriptCall::new(script, keys.iter());
        call.arg(self.now()).arg(&change.rights_version.to_bytes()).arg(&new_rights_version()?.to_bytes());
        call.arg(&asks_with.to_bytes());
        call.arg(change.event.map(records::audit_event_bytes).unwrap_or_default()).arg(change.revocations.len());
        for revocation in &change.revocations {
            call.arg(records::revocation_bytes(revocation));
        }
        for (part, field, record) in &change.replacements {
            call.arg(*part as i64).arg(&field[..]).arg(&record[..]);
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
    (Part::User, Vec::new(), records::user_bytes(user))
}

pub(super) fn replaced_member(id: &UserId, member: &Member) -> Replacement {
    (Part::Members, id.as_str().as_bytes().to_vec(), records::member_bytes(member))
}

pub(super) fn new_rights_version() -> Result<RightsVersion, StoreError> {
    RightsVersion::draw().map_err(|error| StoreError::Unavailable(error.to_string()))
}

pub(super) fn changing_too_quickly() -> StoreError {
    StoreError::Unavailable("others change the account's rights faster than this call can".to_owned())
}

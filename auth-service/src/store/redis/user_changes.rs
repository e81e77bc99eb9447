//! Changes of one user's state, password and sessions in Redis: read, decided by a rule, and written if nothing has changed since.

use ::redis::Script;

use super::RedisStore;
use super::change::{Change, MAX_TRIES, OtherAccount, Part, Replacement, changing_too_quickly, replaced_member, replaced_user};
use super::scripts::ScriptCall;
use super::stored::{Counters, unreadable};
use crate::access::RightsVersion;
use crate::ids::{AccountId, SessionId, UserId};
use crate::store::{AuditEvent, StoreError, UserChange, records};
use crate::user_state::{Decision, FactorRecordChange, UserChanges, UserState};

/// A user as read, and what counts for a change of it.
pub(super) struct Read {
    pub(super) state: UserState,
    pub(super) rights_version: RightsVersion,
    pub(super) now_ms: i64,
}

impl RedisStore {
    /// Has a rule decide about a user, and writes what it says by `script`; `None`: no such user. The rule is asked again when others
    /// changed the user meanwhile.
    pub(super) async fn change_user<T>(
        &self,
        script: &Script,
        id: &UserId,
        rule: impl Fn(&UserState, i64) -> Decision<T>,
    ) -> Result<Option<T>, StoreError> {
        for _ in 0..MAX_TRIES {
            let Some(Read { state, rights_version, now_ms }) = self.read_user_state(id).await? else { return Ok(None) };
            let Decision { answer, changes } = rule(&state, now_ms);
            let Some(changes) = changes else { return Ok(Some(answer)) };
            let change = Change {
                replacements: self.replacements(id, &changes),
                event: changes.event.as_ref(),
                revocations: changes.revocations,
                ..Change::new(AccountId::from(id), rights_version)
            };
            if self.replace_records(script, change).await? {
                return Ok(Some(answer));
            }
        }
        Err(changing_too_quickly())
    }

    /// Has a rule decide about a user, and about the operator who is the event's actor: both are what they were in the step that writes
    /// what it says. `None`: no such user.
    pub(super) async fn change_by_operator(
        &self,
        id: &UserId,
        event: &AuditEvent,
        rule: impl Fn(&UserState, Option<&UserState>, i64) -> Decision<UserChange>,
    ) -> Result<Option<UserChange>, StoreError> {
        for _ in 0..MAX_TRIES {
            // The operator first: if they changed by the time that the user is read, their version is out of date, and nothing is written.
            let operator = match &event.actor {
                Some(actor) => Some(self.read_user_state(actor).await?.ok_or_else(|| unreadable("who asks"))?),
                None => None,
            };
            let Some(Read { state, rights_version, now_ms }) = self.read_user_state(id).await? else { return Ok(None) };
            let Decision { answer, changes } = rule(&state, operator.as_ref().map(|operator| &operator.state), now_ms);
            let Some(changes) = changes else { return Ok(Some(answer)) };
            let change = Change {
                replacements: self.replacements(id, &changes),
                event: changes.event.as_ref(),
                revocations: changes.revocations,
                others: event.actor.iter().filter(|actor| *actor != id).zip(operator).map(asker).collect(),
                ..Change::new(AccountId::from(id), rights_version)
            };
            if self.replace_records(&self.scripts.restrict, change).await? {
                return Ok(Some(answer));
            }
        }
        Err(changing_too_quickly())
    }

    /// Has a rule that changes nothing look at a user.
    pub(super) async fn look_at_user<T>(&self, id: &UserId, rule: impl FnOnce(&UserState, i64) -> T) -> Result<Option<T>, StoreError> {
        Ok(self.read_user_state(id).await?.map(|Read { state, now_ms, .. }| rule(&state, now_ms)))
    }

    pub(super) async fn read_user_state(&self, id: &UserId) -> Result<Option<Read>, StoreError> {
        let account = AccountId::from(id);
        let keys = ["acct", "user", "members", "sessions", "second_factor"].map(|part| self.keys.account_part(&account, part));
        let mut call = ScriptCall::new(&self.scripts.user, keys.iter());
        call.arg(self.now()).arg(id.as_str());
        type Parts = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Vec<u8>)>, Option<Vec<u8>>);
        let (now_ms, counters, user, member, sessions, second_factor): Parts = self.run(&call).await?;
        let Some(user) = user else { return Ok(None) };
        let missing = |what: &str| StoreError::Corrupt(format!("a user has no {what}"));
        let user = records::user(id, &user).ok_or_else(|| unreadable("a user"))?;
        let member = records::member(&member.ok_or_else(|| missing("place in their account"))?).ok_or_else(|| unreadable("a member"))?;
        let read = |(id, record): &(String, Vec<u8>)| SessionId::parse(id).and_then(|id| records::session(&id, record));
        let sessions = sessions.iter().map(read).collect::<Option<_>>().ok_or_else(|| unreadable("a session"))?;
        let read = |bytes: Vec<u8>| records::second_factor(&bytes).ok_or_else(|| unreadable("a second factor"));
        let second_factor = second_factor.map(read).transpose()?;
        let rights_version = Counters::rights_version(&counters.ok_or_else(|| missing("account"))?)?;
        Ok(Some(Read { state: UserState { user, member, sessions, second_factor }, rights_version, now_ms }))
    }

    pub(super) fn replacements(&self, id: &UserId, changes: &UserChanges) -> Vec<Replacement> {
        let ended = changes.ended.iter().map(|session| Replacement::of(Part::Sessions, session.as_str(), Vec::new()));
        let put = changes.put.iter();
        let put = put.map(|session| Replacement::of(Part::Sessions, session.session_id.as_str(), records::session_bytes(session)));
        let user = changes.user.iter().map(replaced_user);
        let member = changes.member.iter().map(|member| replaced_member(id, member));
        let second_factor = changes.second_factor.iter().map(|change| {
            let record = match change {
                FactorRecordChange::Put(factor) => records::second_factor_bytes(factor),
                FactorRecordChange::Removed => Vec::new(),
            };
            Replacement::at(self.keys.account_part(&AccountId::from(id), "second_factor"), Vec::new(), record)
        });
        ended.chain(put).chain(user).chain(member).chain(second_factor).collect()
    }
}

/// Who asks, whose rights must be what they were read as.
fn asker((id, read): (&UserId, Read)) -> OtherAccount {
    OtherAccount { account: AccountId::from(id), rights_version: read.rights_version, changes: false }
}

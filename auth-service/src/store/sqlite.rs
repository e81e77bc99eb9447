//! The embedded store: SQLite in one file, with nothing else installed. One process serves from it; `create-admin` and
//! `export-ledger` may write to it at the same time.

mod account;
mod api_keys;
mod audit;
mod check;
mod columns;
mod context;
mod credits;
mod devices;
mod disk;
mod failure;
mod holds;
mod identities;
mod ledger;
mod member_usage;
mod organizations;
mod revocations;
mod schema;
mod sweep;
mod user_changes;
mod users;
mod version_4;
mod writer;

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use shared::essential::Lost;
use shared::ledger::MAX_CREDITS;
use tokio::runtime::Handle;

use self::account::Account;
use self::context::Context;
use self::failure::{Failure, StoreResult};
use self::revocations::Revocations;
use self::writer::{IN_MEMORY, Writer};
use super::clock::Clock;
use super::expiry_line;
use super::known_callers::{CallerId, KnownCallers};
use super::{
    AccountPage, AccountSnapshot, AuditEvent, AuditPage, AuditQuery, Balance, CheckAnswer, CheckRequest, Checkpoint, Condition,
    ExtendAnswer, GrantAnswer, GrantRequest, IssuerUserCreation, KeyAnswer, KeyChangeRequest, KeyUse, LedgerPage, LedgerPart, ListedKey,
    NewUser, OrganizationPage, OrganizationPlace, PresentedCredential, Refusal, ReleaseAnswer, ReleaseRequest, RevocationCursor,
    RevocationPage, SettleAnswer, Store, StoreError, StoreLimits, StoreOpenError, Swept, UserChange, UserCreation, UserPage, UserQuery,
};
use crate::access::Rights;
use crate::device_sign_in::{
    AnswerRefusal, DeviceExchange, DeviceQuestion, DeviceSignIn, DeviceStart, NewDeviceSignIn, UserCode, on_answer, on_exchange,
};
use crate::hold::{HoldRecord, Outcome, Terms, TokenUsage};
use crate::identity::{Identity, IdentityHash, IssuerSessionStart, LinkAnswer, ProvedIdentity, UnlinkAnswer};
use crate::ids::{AccountId, SessionId, UserId};
use crate::organization::change::{OrganizationAnswer, OrganizationRequest};
use crate::organization::creation::NewOrganization;
use crate::organization::{MonthUsage, Organization};
use crate::second_factor::{self, FactorAnswer, FactorChangeRequest, SecondFactorStatus};
use crate::session::{
    self, NewSession, Refresh, RefreshAnswer, RefreshRefusal, Session, SessionStart, Shown, on_begin, on_end, on_end_all, on_end_by_token,
    on_refresh,
};
use crate::user::{UserName, UserRecord};
use crate::user_state::{
    NewState, PasswordChange, UserState, on_change_password, on_complete_reset, on_new_state, on_rehash, on_reset_password,
    on_reset_second_factor,
};

/// What the probe writes into the file's head: the letters `toll`. SQLite keeps it for an application to mark its files with, and a newer
/// release may bring the schema up without being disturbed by it.
const APPLICATION_ID: i32 = 0x746f_6c6c;

/// The store in a file. Dropping it closes the file, after what is queued.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    condition: Condition,
    known_callers: KnownCallers,
    revocations: Revocations,
    limits: StoreLimits,
    clock: Clock,
}

impl SqliteStore {
    /// Opens a file, or makes it, readable by its owner alone. It is called on the runtime that the store is used on.
    ///
    /// # Errors
    /// [`StoreOpenError::Unusable`] when the file can't be opened or written, is none of ours, or was written by a later
    /// release, and without a runtime.
    pub fn open(path: &Path, limits: StoreLimits, clock: Clock) -> Result<Self, StoreOpenError> {
        let runtime = Handle::try_current().map_err(|error| StoreOpenError::Unusable(error.to_string()))?;
        let writer = Writer::start(path, &runtime)?;
        Ok(Self {
            writer,
            condition: Condition::of(path.display().to_string()),
            known_callers: KnownCallers::new(),
            revocations: Revocations::new().map_err(|error| StoreOpenError::Unusable(error.to_string()))?,
            limits,
            clock,
        })
    }

    /// Opens a store in no file, which ends with this value.
    ///
    /// # Errors
    /// [`StoreOpenError::Unusable`] when SQLite has no memory for it, and without a runtime.
    pub fn in_memory(limits: StoreLimits, clock: Clock) -> Result<Self, StoreOpenError> {
        Self::open(Path::new(IN_MEMORY), limits, clock)
    }

    async fn run<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(Context<'_>) -> StoreResult<T> + Send + 'static,
    {
        let (limits, clock) = (self.limits, self.clock.clone());
        // The clock is read when the operation's turn comes, so that times don't run backwards on an account.
        let work = move |connection: &Connection| {
            let (expired, revoked) = (RefCell::default(), RefCell::default());
            let answer = operation(Context { connection, limits, now_ms: clock.now_ms(), expired: &expired, revoked: &revoked })?;
            Ok(((answer, expired.into_inner()), revoked.into_inner()))
        };
        let revocations = self.revocations.log.clone();
        // Whether or not the caller waits for the answer.
        let stored = move |revoked| revocations.publish(revoked);
        let (answer, expired) = self.writer.run(work, stored).await.inspect_err(|error| self.condition.call_failed(error))?;
        expiry_line::log_all(expired);
        Ok(answer)
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.run(|context| Ok(context.connection.pragma_update(None, "application_id", APPLICATION_ID)?)).await
    }

    fn condition(&self) -> &Condition {
        &self.condition
    }

    async fn lost(&self) -> Lost {
        self.writer.lost().await
    }

    async fn create_user(&self, user: NewUser, event: AuditEvent) -> Result<UserCreation, StoreError> {
        self.run(move |context| users::create(context, user, &event)).await
    }

    async fn user_by_name(&self, name: &UserName) -> Result<Option<UserRecord>, StoreError> {
        let name = name.clone();
        self.run(move |context| users::by_name(context, &name)).await
    }

    async fn user_by_id(&self, id: &UserId) -> Result<Option<UserRecord>, StoreError> {
        let id = id.clone();
        self.run(move |context| users::by_id(context, &id)).await
    }

    async fn users_by_id(&self, ids: &[UserId]) -> Result<Vec<Option<UserRecord>>, StoreError> {
        let ids = ids.to_vec();
        self.run(move |context| ids.iter().map(|id| users::by_id(context, id)).collect()).await
    }

    async fn users(&self, query: &UserQuery) -> Result<UserPage, StoreError> {
        let query = query.clone();
        self.run(move |context| users::list(context, &query)).await
    }

    async fn replace_password_hash(&self, id: &UserId, old: &str, new: &str) -> Result<(), StoreError> {
        let id = id.clone();
        let (old, new) = (old.to_owned(), new.to_owned());
        let rule = move |state: &UserState, _| on_rehash(state, &old, &new);
        self.run(move |context| user_changes::change(context, &id, rule)).await.map(Option::unwrap_or_default)
    }

    async fn set_disabled(&self, id: &UserId, disabled: bool, reason: &str, event: AuditEvent) -> Result<Option<UserChange>, StoreError> {
        let (id, reason) = (id.clone(), reason.to_owned());
        let new = NewState::Disabled(disabled);
        let rule = move |state: &UserState, asked_by: Option<&UserState>, now_ms, event: &AuditEvent| {
            on_new_state(state, new, asked_by, &reason, now_ms, event)
        };
        self.run(move |context| user_changes::change_by_operator(context, &id, &event, rule)).await
    }

    async fn set_locked(&self, id: &UserId, locked: bool, reason: &str, event: AuditEvent) -> Result<Option<UserChange>, StoreError> {
        let (id, reason) = (id.clone(), reason.to_owned());
        let new = NewState::Locked(locked);
        let rule = move |state: &UserState, asked_by: Option<&UserState>, now_ms, event: &AuditEvent| {
            on_new_state(state, new, asked_by, &reason, now_ms, event)
        };
        self.run(move |context| user_changes::change_by_operator(context, &id, &event, rule)).await
    }

    async fn begin_session(&self, id: &UserId, shown: Shown<'_>, new: NewSession, event: AuditEvent) -> Result<SessionStart, StoreError> {
        let id = id.clone();
        let (verified_hash, code, limits) = (shown.verified_hash.to_owned(), shown.code.cloned(), self.limits.sessions());
        let rule = move |state: &UserState, now_ms| {
            on_begin(state, Shown { verified_hash: &verified_hash, code: code.as_ref() }, &new, limits, now_ms, &event)
        };
        self.run(move |context| user_changes::change(context, &id, rule)).await.map(|answer| answer.unwrap_or(SessionStart::Refused))
    }

    async fn refresh_session(&self, id: &UserId, shown: Refresh, event: AuditEvent) -> Result<RefreshAnswer, StoreError> {
        let id = id.clone();
        let limits = self.limits.sessions();
        let rule = move |state: &UserState, now_ms| on_refresh(state, &shown, limits, now_ms, &event);
        self.run(move |context| user_changes::change(context, &id, rule))
            .await
            .map(|answer| answer.unwrap_or(RefreshAnswer::Refused(RefreshRefusal::Invalid)))
    }

    async fn sessions(&self, id: &UserId) -> Result<Vec<Session>, StoreError> {
        let id = id.clone();
        self.run(move |context| user_changes::look(context, &id, session::live)).await.map(Option::unwrap_or_default)
    }

    async fn end_session(&self, id: &UserId, session: &SessionId, event: AuditEvent) -> Result<bool, StoreError> {
        let id = id.clone();
        let session = session.clone();
        let rule = move |state: &UserState, now_ms| on_end(state, &session, now_ms, &event);
        self.run(move |context| user_changes::change(context, &id, rule)).await.map(Option::unwrap_or_default)
    }

    async fn end_session_of(&self, id: &UserId, session: &SessionId, family: [u8; 32], event: AuditEvent) -> Result<bool, StoreError> {
        let id = id.clone();
        let session = session.clone();
        let rule = move |state: &UserState, now_ms| on_end_by_token(state, &session, family, now_ms, &event);
        self.run(move |context| user_changes::change(context, &id, rule)).await.map(Option::unwrap_or_default)
    }

    async fn end_all_sessions(&self, id: &UserId, event: AuditEvent) -> Result<Option<u32>, StoreError> {
        let id = id.clone();
        let rule = move |state: &UserState, now_ms| on_end_all(state, now_ms, &event);
        self.run(move |context| user_changes::change(context, &id, rule)).await
    }

    async fn change_password(
        &self,
        id: &UserId,
        asked_by: &PresentedCredential,
        verified: &str,
        new: &str,
        event: AuditEvent,
    ) -> Result<Option<PasswordChange>, StoreError> {
        let id = id.clone();
        let (asked_by, verified, new) = (asked_by.clone(), verified.to_owned(), new.to_owned());
        let rule = move |state: &UserState, now_ms| on_change_password(state, &asked_by, &verified, &new, now_ms, &event);
        self.run(move |context| user_changes::change(context, &id, rule)).await
    }

    async fn reset_password(&self, id: &UserId, one_time: &str, event: AuditEvent) -> Result<Option<UserRecord>, StoreError> {
        let id = id.clone();
        let one_time = one_time.to_owned();
        let rule = move |state: &UserState, now_ms| on_reset_password(state, &one_time, now_ms, &event);
        self.run(move |context| user_changes::change(context, &id, rule)).await
    }

    async fn complete_password_reset(
        &self,
        id: &UserId,
        shown: Shown<'_>,
        new_hash: &str,
        new: NewSession,
        event: AuditEvent,
    ) -> Result<SessionStart, StoreError> {
        let id = id.clone();
        let (verified_hash, code) = (shown.verified_hash.to_owned(), shown.code.cloned());
        let (new_hash, limits) = (new_hash.to_owned(), self.limits.sessions());
        let rule = move |state: &UserState, now_ms| {
            let shown = Shown { verified_hash: &verified_hash, code: code.as_ref() };
            on_complete_reset(state, shown, &new_hash, &new, limits, now_ms, &event)
        };
        self.run(move |context| user_changes::change(context, &id, rule)).await.map(|answer| answer.unwrap_or(SessionStart::Refused))
    }

    async fn user_of_identity(&self, identity: &IdentityHash) -> Result<Option<UserId>, StoreError> {
        let identity = *identity;
        self.run(move |context| identities::user_of(context, identity)).await
    }

    async fn identities(&self, id: &UserId) -> Result<Vec<Identity>, StoreError> {
        let id = id.clone();
        self.run(move |context| identities::list(context, &id)).await
    }

    async fn begin_issuer_session(
        &self,
        id: &UserId,
        proved: &ProvedIdentity,
        new: NewSession,
        event: AuditEvent,
    ) -> Result<IssuerSessionStart, StoreError> {
        let (id, proved) = (id.clone(), proved.clone());
        self.run(move |context| identities::begin_session(context, &id, &proved, &new, &event)).await
    }

    async fn create_issuer_user(
        &self,
        user: NewUser,
        proved: &ProvedIdentity,
        new: NewSession,
        event: AuditEvent,
    ) -> Result<IssuerUserCreation, StoreError> {
        let proved = proved.clone();
        self.run(move |context| identities::create_user(context, user, &proved, &new, &event)).await
    }

    async fn link_identity(
        &self,
        id: &UserId,
        asked_by: &PresentedCredential,
        proved: &ProvedIdentity,
        event: AuditEvent,
    ) -> Result<Option<LinkAnswer>, StoreError> {
        let (id, asked_by, proved) = (id.clone(), asked_by.clone(), proved.clone());
        self.run(move |context| identities::link(context, &id, &asked_by, &proved, &event)).await
    }

    async fn unlink_identity(
        &self,
        id: &UserId,
        asked_by: Option<&PresentedCredential>,
        (issuer, subject): (&str, &str),
        event: AuditEvent,
    ) -> Result<Option<UnlinkAnswer>, StoreError> {
        let (id, asked_by, issuer, subject) = (id.clone(), asked_by.cloned(), issuer.to_owned(), subject.to_owned());
        self.run(move |context| identities::unlink(context, &id, asked_by.as_ref(), (&issuer, &subject), &event)).await
    }

    async fn second_factor(&self, id: &UserId, session: Option<&SessionId>) -> Result<Option<SecondFactorStatus>, StoreError> {
        let (id, session) = (id.clone(), session.cloned());
        self.run(move |context| user_changes::look(context, &id, |state, _| second_factor::status(state, session.as_ref()))).await
    }

    async fn change_second_factor(
        &self,
        id: &UserId,
        request: FactorChangeRequest,
        event: AuditEvent,
    ) -> Result<Option<FactorAnswer>, StoreError> {
        let id = id.clone();
        let rule = move |state: &UserState, now_ms| second_factor::on_change(state, &request, now_ms, &event);
        self.run(move |context| user_changes::change(context, &id, rule)).await
    }

    async fn reset_second_factor(&self, id: &UserId, event: AuditEvent) -> Result<Option<UserChange>, StoreError> {
        let id = id.clone();
        self.run(move |context| user_changes::change_by_operator(context, &id, &event, on_reset_second_factor)).await
    }

    async fn begin_device_sign_in(&self, new: NewDeviceSignIn, event: AuditEvent) -> Result<DeviceStart, StoreError> {
        self.run(move |context| devices::begin(context, &new, &event)).await
    }

    async fn device_sign_in(&self, code: &UserCode) -> Result<Option<DeviceSignIn>, StoreError> {
        let code = code.clone();
        self.run(move |context| devices::find(context, &code)).await
    }

    async fn answer_device_sign_in(
        &self,
        code: &UserCode,
        user: &UserId,
        session: &SessionId,
        approves: bool,
        event: AuditEvent,
    ) -> Result<Result<(), AnswerRefusal>, StoreError> {
        let (code, user, session) = (code.clone(), user.clone(), session.clone());
        let rule =
            move |sign_in: Option<&DeviceSignIn>, state: &UserState, now_ms| on_answer(sign_in, state, &session, approves, now_ms, &event);
        let answer = self.run(move |context| devices::change(context, &code, &user, rule)).await?;
        Ok(answer.unwrap_or(Err(AnswerRefusal::Unknown)))
    }

    async fn question_of_device(&self, device: &[u8; 32]) -> Result<DeviceQuestion, StoreError> {
        let device = *device;
        self.run(move |context| devices::question(context, &device)).await
    }

    async fn exchange_device_code(
        &self,
        device: &[u8; 32],
        user: &UserId,
        new: NewSession,
        event: AuditEvent,
    ) -> Result<DeviceExchange, StoreError> {
        let (device, user, limits) = (*device, user.clone(), self.limits.sessions());
        let rule =
            move |sign_in: Option<&DeviceSignIn>, state: &UserState, now_ms| on_exchange(sign_in, state, &new, limits, now_ms, &event);
        let exchange = move |context: Context<'_>| match devices::user_code_of(context, &device)? {
            Some(code) => devices::change(context, &code, &user, rule),
            None => Ok(None),
        };
        Ok(self.run(exchange).await?.unwrap_or(DeviceExchange::Over))
    }

    async fn change_api_keys(&self, request: KeyChangeRequest, event: AuditEvent) -> Result<KeyAnswer, StoreError> {
        self.run(move |context| api_keys::change(context, &request, event)).await
    }

    async fn api_keys(&self, account: &AccountId) -> Result<Vec<ListedKey>, StoreError> {
        let account = account.clone();
        self.run(move |context| api_keys::list(context, &account)).await
    }

    async fn note_key_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        let uses = uses.to_vec();
        self.run(move |context| api_keys::note_uses(context, &uses)).await
    }

    async fn create_organization(
        &self,
        new: NewOrganization,
        asked_by: &PresentedCredential,
        event: AuditEvent,
    ) -> Result<OrganizationAnswer, StoreError> {
        let asked_by = asked_by.clone();
        self.run(move |context| organizations::create(context, &new, &asked_by, &event)).await
    }

    async fn change_organization(&self, request: OrganizationRequest, event: AuditEvent) -> Result<OrganizationAnswer, StoreError> {
        self.run(move |context| organizations::change(context, &request, &event)).await
    }

    async fn organization(&self, account: &AccountId) -> Result<Option<Organization>, StoreError> {
        let account = account.clone();
        self.run(move |context| Ok(organizations::read(context, &account)?.map(|found| found.with_open_invitations(context.now_ms)))).await
    }

    async fn has_invitation(&self, account: &AccountId, code_hash: &[u8; 32]) -> Result<bool, StoreError> {
        let (account, code_hash) = (account.clone(), *code_hash);
        self.run(move |context| Ok(organizations::invitations(context, &account)?.iter().any(|one| one.code_hash == code_hash))).await
    }

    async fn organizations_of(&self, user: &UserId) -> Result<Vec<OrganizationPlace>, StoreError> {
        let user = user.clone();
        self.run(move |context| organizations::of_user(context, &user)).await
    }

    async fn all_organizations(&self, after: Option<&AccountId>, limit: u32) -> Result<OrganizationPage, StoreError> {
        let after = after.cloned();
        self.run(move |context| organizations::list(context, after.as_ref(), limit)).await
    }

    async fn record_event(&self, event: AuditEvent) -> Result<(), StoreError> {
        self.run(move |context| audit::append(context, &event)).await
    }

    async fn audit_events(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        let query = query.clone();
        self.run(move |context| audit::list(context, &query)).await
    }

    async fn check(&self, request: CheckRequest) -> Result<CheckAnswer, StoreError> {
        let (known, caller) = (self.known_callers.find(&request), CallerId::of(&request));
        let (answer, learned) = self.run(move |context| check::check(context, request, known.as_deref())).await?;
        if let Some((rights_versions, rights)) = learned {
            self.known_callers.learn(caller, rights_versions, rights);
        }
        Ok(answer)
    }

    async fn authorize(&self, request: CheckRequest) -> Result<Result<Rights, Refusal>, StoreError> {
        self.run(move |context| check::authorize(context, &request)).await
    }

    async fn extend(&self, hold: &Terms, usage: TokenUsage) -> Result<ExtendAnswer, StoreError> {
        let hold = hold.clone();
        self.run(move |context| credits::extend(context, &hold, usage)).await
    }

    async fn settle(&self, hold: &Terms, outcome: Outcome, usage: TokenUsage) -> Result<SettleAnswer, StoreError> {
        let hold = hold.clone();
        self.run(move |context| credits::settle(context, &hold, outcome, usage)).await
    }

    async fn release(&self, attempt: ReleaseRequest) -> Result<ReleaseAnswer, StoreError> {
        self.run(move |context| credits::release(context, &attempt)).await
    }

    async fn revocations(&self, after: Option<&RevocationCursor>) -> Result<RevocationPage, StoreError> {
        Ok(self.revocations.after(after))
    }

    async fn await_revocation(&self, after: &RevocationCursor, patience: Duration) {
        self.revocations.wait(after, patience).await;
    }

    async fn grant(&self, grant: GrantRequest, event: AuditEvent) -> Result<GrantAnswer, StoreError> {
        if !(1..=MAX_CREDITS).contains(&grant.credits) {
            return Err(Failure::Corrupt(format!("a grant of {} credits", grant.credits)).into());
        }
        self.run(move |context| credits::grant(context, &grant, &event)).await
    }

    async fn balance(&self, account: &AccountId) -> Result<Option<Balance>, StoreError> {
        let account = account.clone();
        self.run(move |context| credits::balance(context, &account)).await
    }

    async fn month_usage(&self, account: &AccountId) -> Result<Vec<(UserId, MonthUsage)>, StoreError> {
        let account = account.clone();
        self.run(move |context| member_usage::list(context, &account)).await
    }

    async fn receipt(&self, account: &AccountId, user: &UserId, request_id: &str) -> Result<Option<HoldRecord>, StoreError> {
        let (account, user, request_id) = (account.clone(), user.clone(), request_id.to_owned());
        self.run(move |context| credits::receipt(context, &account, &user, &request_id)).await
    }

    async fn ledger_entries(&self, account: &AccountId, before: Option<u64>, limit: u32) -> Result<LedgerPage, StoreError> {
        let account = account.clone();
        self.run(move |context| credits::ledger_entries(context, &account, before, limit)).await
    }

    async fn accounts_to_sweep(&self, after: Option<String>) -> Result<AccountPage, StoreError> {
        self.run(move |context| sweep::accounts_to_sweep(context, after)).await
    }

    async fn sweep(&self, account: &AccountId) -> Result<Swept, StoreError> {
        let account = account.clone();
        self.run(move |context| sweep::sweep(context, &account)).await
    }

    async fn snapshot(&self, account: &AccountId) -> Result<Option<AccountSnapshot>, StoreError> {
        let account = account.clone();
        // Read only: not swept, not written.
        self.run(move |context| Account::load(context, &account)?.map(|account| account.snapshot()).transpose()).await
    }

    async fn accounts(&self, after: Option<String>) -> Result<AccountPage, StoreError> {
        self.run(move |context| sweep::accounts(context, after)).await
    }

    async fn oldest_entries(&self, account: &AccountId, after: u64, limit: u32) -> Result<LedgerPart, StoreError> {
        let account = account.clone();
        self.run(move |context| ledger::oldest_entries(context, &account, after, limit)).await
    }

    async fn fold_ledger(&self, account: &AccountId, first: u64, checkpoint: Checkpoint) -> Result<bool, StoreError> {
        let account = account.clone();
        self.run(move |context| ledger::fold(context, &account, first, &checkpoint)).await
    }
}

#[cfg(test)]
impl SqliteStore {
    /// Has an operation panic, for tests of what the process does then.
    pub(crate) async fn panic(&self) -> Result<(), StoreError> {
        self.run(|_| -> StoreResult<()> { panic!("on purpose") }).await
    }
}

//! The store in Redis. What is decided about an account is compared and moved by one Lua script in one round trip, which calls that come
//! together share (`move_batcher.rs`); the scripts are in `redis/lua/`, the names of keys in `keys.rs`.
//!
//! Every script may run twice with the effect of one, so that a broken connection is answered by one more try on a new one (`link.rs`).

mod accounts;
pub(crate) mod address;
mod api_keys;
mod audit_log;
mod change;
mod check;
mod decision;
mod devices;
mod failures;
mod fitness;
mod holds;
mod identities;
mod keys;
mod ledger;
mod link;
mod member_usage;
mod move_batcher;
mod move_script;
mod organizations;
mod release;
mod revocations;
mod scripts;
mod stored;
mod sweep;
mod user_changes;
mod user_names;
mod users;

use std::fmt;
use std::time::Duration;

use ::redis::{FromRedisValue, RedisError, RedisResult, Value, from_redis_value};
use async_trait::async_trait;
use shared::essential::Lost;

pub use self::address::RedisPassword;
use self::check::Authorize;
use self::failures::{open_error, store_error};
use self::keys::Keys;
use self::link::Link;
use self::move_batcher::MoveBatcher;
use self::revocations::WaitingLine;
use self::scripts::{ScriptCall, Scripts};
use self::user_names::IndexState;
use super::clock::Clock;
use super::known_callers::KnownCallers;
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

/// What a [`RedisStore`] is opened with, beside its address and limits.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// Use a Redis that may evict keys, and so credits.
    pub allow_eviction: bool,
    /// Use a Redis that writes no append-only file, and so loses what happened since its last snapshot.
    pub allow_no_aof: bool,
    /// What all names of keys begin with; `tg`.
    pub key_prefix: String,
    /// In place of the address's own.
    pub password: Option<RedisPassword>,
    /// Whose time counts.
    pub clock: Clock,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self { allow_eviction: false, allow_no_aof: false, key_prefix: "tg".to_owned(), password: None, clock: Clock::Store }
    }
}

/// The store in Redis; any number of processes may share one.
pub struct RedisStore {
    link: Link,
    condition: Condition,
    scripts: Scripts,
    keys: Keys,
    known_callers: KnownCallers,
    index: IndexState,
    /// Calls that write share runs.
    writes: MoveBatcher,
    /// So do those that only read: they must be answered by a Redis that takes no writes.
    reads: MoveBatcher,
    waiting: WaitingLine,
    limits: StoreLimits,
    clock: Clock,
}

impl fmt::Debug for RedisStore {
    // The address may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("keys", &self.keys).field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl RedisStore {
    /// Connects, and checks that this Redis is one that Tollgate's scripts run on, and keeps what is written: its eviction policy must be
    /// `noeviction` and its append-only file on, unless the options say otherwise.
    ///
    /// # Errors
    /// [`StoreOpenError::Misconfigured`] when the address is none, or its user or password are refused; [`StoreOpenError::Unreachable`]
    /// when nothing answers there; [`StoreOpenError::Unusable`] when what answers is too old, a replica, a Sentinel or a cluster;
    /// and [`StoreOpenError::Unsafe`] when it may lose what it is given, or doesn't let us see whether it may.
    pub async fn connect(url: &str, limits: StoreLimits, options: RedisOptions) -> Result<Self, StoreOpenError> {
        let client = address::client(url).map_err(|change| StoreOpenError::Misconfigured(format!("TOLLGATE_REDIS_URL {change}")))?;
        let client = match &options.password {
            Some(password) => password.on(&client).map_err(|error| open_error(&error))?,
            None => client,
        };
        let place = address::place(&client);
        let link = Link::connect(client).await.map_err(|error| open_error(&error))?;
        let mut connection = link.line().connection;
        fitness::require(&mut connection, &options).await?;
        let keys = Keys::new(&options.key_prefix);
        let scripts = Scripts::new(&limits, &keys);
        for script in scripts.all() {
            script.load_async(&mut connection).await.map_err(|error| open_error(&error))?;
        }
        let store = Self {
            link,
            condition: Condition::of(place),
            scripts,
            keys,
            known_callers: KnownCallers::new(),
            index: IndexState::default(),
            writes: MoveBatcher::default(),
            reads: MoveBatcher::default(),
            waiting: WaitingLine::default(),
            limits,
            clock: options.clock,
        };
        // What keeps it from being filled is no reason to refuse calls: the walk tries again.
        if let Err(error) = store.complete_index().await {
            tracing::warn!(%error, "the index of user names was not filled; the walk over the accounts will");
        }
        Ok(store)
    }

    /// The time that was set, or nothing for Redis's own.
    fn now(&self) -> String {
        self.clock.fixed_ms().map(|at| at.to_string()).unwrap_or_default()
    }

    /// What a script answers, at the second try if need be.
    async fn answer(&self, call: &ScriptCall<'_>) -> RedisResult<Value> {
        let mut line = self.link.line();
        match call.run(&mut line.connection).await {
            Err(error) if self.link.is_worth_another_try(&line, &error) => call.run(&mut self.link.line().connection).await,
            answer => answer,
        }
    }

    async fn run<T: FromRedisValue>(&self, call: &ScriptCall<'_>) -> Result<T, StoreError> {
        let answer = self.answer(call).await.map_err(|error| self.failed(&error))?;
        from_redis_value(answer).map_err(|error| StoreError::Corrupt(format!("a script's answer can't be read: {error}")))
    }

    /// A plain command or pipeline, with the same second try.
    async fn query<T: FromRedisValue>(&self, pipeline: &::redis::Pipeline) -> Result<T, StoreError> {
        let mut line = self.link.line();
        let answer = match pipeline.query_async(&mut line.connection).await {
            Err(error) if self.link.is_worth_another_try(&line, &error) => pipeline.query_async(&mut self.link.line().connection).await,
            answer => answer,
        };
        answer.map_err(|error| self.failed(&error))
    }

    /// What a failure means, which the store's condition hears of.
    fn failed(&self, error: &RedisError) -> StoreError {
        let error = store_error(error);
        self.condition.call_failed(&error);
        error
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.run::<i64>(&ScriptCall::new(&self.scripts.probe, std::iter::once(self.keys.probe()))).await.map(|_| ())
    }

    fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Never: the tasks of the connection may end, and are then made anew with it.
    async fn lost(&self) -> Lost {
        std::future::pending().await
    }

    async fn create_user(&self, user: NewUser, event: AuditEvent) -> Result<UserCreation, StoreError> {
        self.make_user(user, &event).await
    }

    async fn user_by_name(&self, name: &UserName) -> Result<Option<UserRecord>, StoreError> {
        self.find_user_by_name(name).await
    }

    async fn user_by_id(&self, id: &UserId) -> Result<Option<UserRecord>, StoreError> {
        self.find_user(id).await
    }

    async fn users_by_id(&self, ids: &[UserId]) -> Result<Vec<Option<UserRecord>>, StoreError> {
        self.users_of(ids.iter()).await
    }

    async fn users(&self, query: &UserQuery) -> Result<UserPage, StoreError> {
        self.list_users(query).await
    }

    async fn replace_password_hash(&self, id: &UserId, old: &str, new: &str) -> Result<(), StoreError> {
        let rule = |state: &UserState, _| on_rehash(state, old, new);
        self.change_user(&self.scripts.replace, id, rule).await.map(Option::unwrap_or_default)
    }

    async fn set_disabled(&self, id: &UserId, disabled: bool, reason: &str, event: AuditEvent) -> Result<Option<UserChange>, StoreError> {
        let new = NewState::Disabled(disabled);
        self.change_by_operator(id, &event, |state, asked_by, now_ms| on_new_state(state, new, asked_by, reason, now_ms, &event)).await
    }

    async fn set_locked(&self, id: &UserId, locked: bool, reason: &str, event: AuditEvent) -> Result<Option<UserChange>, StoreError> {
        let new = NewState::Locked(locked);
        self.change_by_operator(id, &event, |state, asked_by, now_ms| on_new_state(state, new, asked_by, reason, now_ms, &event)).await
    }

    async fn begin_session(&self, id: &UserId, shown: Shown<'_>, new: NewSession, event: AuditEvent) -> Result<SessionStart, StoreError> {
        let rule = |state: &UserState, now_ms| on_begin(state, shown, &new, self.limits.sessions(), now_ms, &event);
        self.change_user(&self.scripts.replace, id, rule).await.map(|answer| answer.unwrap_or(SessionStart::Refused))
    }

    async fn refresh_session(&self, id: &UserId, shown: Refresh, event: AuditEvent) -> Result<RefreshAnswer, StoreError> {
        let rule = |state: &UserState, now_ms| on_refresh(state, &shown, self.limits.sessions(), now_ms, &event);
        self.change_user(&self.scripts.restrict, id, rule)
            .await
            .map(|answer| answer.unwrap_or(RefreshAnswer::Refused(RefreshRefusal::Invalid)))
    }

    async fn sessions(&self, id: &UserId) -> Result<Vec<Session>, StoreError> {
        self.look_at_user(id, session::live).await.map(Option::unwrap_or_default)
    }

    async fn end_session(&self, id: &UserId, session: &SessionId, event: AuditEvent) -> Result<bool, StoreError> {
        let rule = |state: &UserState, now_ms| on_end(state, session, now_ms, &event);
        self.change_user(&self.scripts.restrict, id, rule).await.map(Option::unwrap_or_default)
    }

    async fn end_session_of(&self, id: &UserId, session: &SessionId, family: [u8; 32], event: AuditEvent) -> Result<bool, StoreError> {
        let rule = |state: &UserState, now_ms| on_end_by_token(state, session, family, now_ms, &event);
        self.change_user(&self.scripts.restrict, id, rule).await.map(Option::unwrap_or_default)
    }

    async fn end_all_sessions(&self, id: &UserId, event: AuditEvent) -> Result<Option<u32>, StoreError> {
        let rule = |state: &UserState, now_ms| on_end_all(state, now_ms, &event);
        self.change_user(&self.scripts.restrict, id, rule).await
    }

    async fn change_password(
        &self,
        id: &UserId,
        asked_by: &PresentedCredential,
        verified: &str,
        new: &str,
        event: AuditEvent,
    ) -> Result<Option<PasswordChange>, StoreError> {
        let rule = |state: &UserState, now_ms| on_change_password(state, asked_by, verified, new, now_ms, &event);
        self.change_user(&self.scripts.restrict, id, rule).await
    }

    async fn reset_password(&self, id: &UserId, one_time: &str, event: AuditEvent) -> Result<Option<UserRecord>, StoreError> {
        let rule = |state: &UserState, now_ms| on_reset_password(state, one_time, now_ms, &event);
        self.change_user(&self.scripts.restrict, id, rule).await
    }

    async fn complete_password_reset(
        &self,
        id: &UserId,
        shown: Shown<'_>,
        new_hash: &str,
        new: NewSession,
        event: AuditEvent,
    ) -> Result<SessionStart, StoreError> {
        let rule = |state: &UserState, now_ms| on_complete_reset(state, shown, new_hash, &new, self.limits.sessions(), now_ms, &event);
        self.change_user(&self.scripts.replace, id, rule).await.map(|answer| answer.unwrap_or(SessionStart::Refused))
    }

    async fn user_of_identity(&self, identity: &IdentityHash) -> Result<Option<UserId>, StoreError> {
        self.find_user_of_identity(*identity).await
    }

    async fn identities(&self, id: &UserId) -> Result<Vec<Identity>, StoreError> {
        self.list_identities(id).await
    }

    async fn begin_issuer_session(
        &self,
        id: &UserId,
        proved: &ProvedIdentity,
        new: NewSession,
        event: AuditEvent,
    ) -> Result<IssuerSessionStart, StoreError> {
        self.sign_in_by_identity(id, proved, &new, &event).await
    }

    async fn create_issuer_user(
        &self,
        user: NewUser,
        proved: &ProvedIdentity,
        new: NewSession,
        event: AuditEvent,
    ) -> Result<IssuerUserCreation, StoreError> {
        self.make_user_by_identity(user, proved, &new, &event).await
    }

    async fn link_identity(
        &self,
        id: &UserId,
        asked_by: &PresentedCredential,
        proved: &ProvedIdentity,
        event: AuditEvent,
    ) -> Result<Option<LinkAnswer>, StoreError> {
        self.link(id, asked_by, proved, &event).await
    }

    async fn unlink_identity(
        &self,
        id: &UserId,
        asked_by: Option<&PresentedCredential>,
        identity: (&str, &str),
        event: AuditEvent,
    ) -> Result<Option<UnlinkAnswer>, StoreError> {
        self.unlink(id, asked_by, identity, &event).await
    }

    async fn second_factor(&self, id: &UserId, session: Option<&SessionId>) -> Result<Option<SecondFactorStatus>, StoreError> {
        self.look_at_user(id, |state, _| second_factor::status(state, session)).await
    }

    async fn change_second_factor(
        &self,
        id: &UserId,
        request: FactorChangeRequest,
        event: AuditEvent,
    ) -> Result<Option<FactorAnswer>, StoreError> {
        let script = if request.needs_no_room() { &self.scripts.restrict } else { &self.scripts.replace };
        self.change_user(script, id, |state, now_ms| second_factor::on_change(state, &request, now_ms, &event)).await
    }

    async fn reset_second_factor(&self, id: &UserId, event: AuditEvent) -> Result<Option<UserChange>, StoreError> {
        self.change_by_operator(id, &event, |state, asked_by, now_ms| on_reset_second_factor(state, asked_by, now_ms, &event)).await
    }

    async fn begin_device_sign_in(&self, new: NewDeviceSignIn, event: AuditEvent) -> Result<DeviceStart, StoreError> {
        self.begin_device(&new, &event).await
    }

    async fn device_sign_in(&self, code: &UserCode) -> Result<Option<DeviceSignIn>, StoreError> {
        self.find_device(code).await
    }

    async fn answer_device_sign_in(
        &self,
        code: &UserCode,
        user: &UserId,
        session: &SessionId,
        approves: bool,
        event: AuditEvent,
    ) -> Result<Result<(), AnswerRefusal>, StoreError> {
        let rule = |sign_in: Option<&DeviceSignIn>, state: &UserState, now_ms| on_answer(sign_in, state, session, approves, now_ms, &event);
        // A denial takes something away.
        let script = if approves { &self.scripts.replace } else { &self.scripts.restrict };
        self.change_device(script, code, user, rule).await.map(|answer| answer.unwrap_or(Err(AnswerRefusal::Unknown)))
    }

    async fn question_of_device(&self, device: &[u8; 32]) -> Result<DeviceQuestion, StoreError> {
        self.ask_for_device(device).await
    }

    async fn exchange_device_code(
        &self,
        device: &[u8; 32],
        user: &UserId,
        new: NewSession,
        event: AuditEvent,
    ) -> Result<DeviceExchange, StoreError> {
        let Some(code) = self.user_code_of(device).await? else { return Ok(DeviceExchange::Over) };
        let limits = self.limits.sessions();
        let rule = |sign_in: Option<&DeviceSignIn>, state: &UserState, now_ms| on_exchange(sign_in, state, &new, limits, now_ms, &event);
        self.change_device(&self.scripts.replace, &code, user, rule).await.map(|answer| answer.unwrap_or(DeviceExchange::Over))
    }

    async fn change_api_keys(&self, request: KeyChangeRequest, event: AuditEvent) -> Result<KeyAnswer, StoreError> {
        self.change_keyring(&request, &event).await
    }

    async fn api_keys(&self, account: &AccountId) -> Result<Vec<ListedKey>, StoreError> {
        self.list_api_keys(account).await
    }

    async fn note_key_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        self.note_uses(uses).await
    }

    async fn create_organization(
        &self,
        new: NewOrganization,
        asked_by: &PresentedCredential,
        event: AuditEvent,
    ) -> Result<OrganizationAnswer, StoreError> {
        self.make_organization(&new, asked_by, &event).await
    }

    async fn change_organization(&self, request: OrganizationRequest, event: AuditEvent) -> Result<OrganizationAnswer, StoreError> {
        self.replace_in_organization(&request, &event).await
    }

    async fn organization(&self, account: &AccountId) -> Result<Option<Organization>, StoreError> {
        self.look_at_organization(account).await
    }

    async fn has_invitation(&self, account: &AccountId, code_hash: &[u8; 32]) -> Result<bool, StoreError> {
        self.find_invitation(account, code_hash).await
    }

    async fn organizations_of(&self, user: &UserId) -> Result<Vec<OrganizationPlace>, StoreError> {
        self.list_organizations(user).await
    }

    async fn all_organizations(&self, after: Option<&AccountId>, limit: u32) -> Result<OrganizationPage, StoreError> {
        self.page_of_organizations(after, limit).await
    }

    async fn record_event(&self, event: AuditEvent) -> Result<(), StoreError> {
        self.append_event(&event).await
    }

    async fn audit_events(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        self.list_audit_events(query).await
    }

    async fn check(&self, request: CheckRequest) -> Result<CheckAnswer, StoreError> {
        self.check_request(&request).await
    }

    async fn authorize(&self, request: CheckRequest) -> Result<Result<Rights, Refusal>, StoreError> {
        self.operate(&request.account, Authorize { request: &request }).await
    }

    async fn extend(&self, hold: &Terms, usage: TokenUsage) -> Result<ExtendAnswer, StoreError> {
        self.extend_hold(hold, usage).await
    }

    async fn settle(&self, hold: &Terms, outcome: Outcome, usage: TokenUsage) -> Result<SettleAnswer, StoreError> {
        self.settle_hold(hold, outcome, usage).await
    }

    async fn release(&self, attempt: ReleaseRequest) -> Result<ReleaseAnswer, StoreError> {
        self.release_attempt(&attempt).await
    }

    async fn revocations(&self, after: Option<&RevocationCursor>) -> Result<RevocationPage, StoreError> {
        self.read_revocations(after).await
    }

    async fn await_revocation(&self, after: &RevocationCursor, patience: Duration) {
        self.wait_for_revocation(after, patience).await;
    }

    async fn grant(&self, grant: GrantRequest, event: AuditEvent) -> Result<GrantAnswer, StoreError> {
        self.grant_credits(&grant, &event).await
    }

    async fn balance(&self, account: &AccountId) -> Result<Option<Balance>, StoreError> {
        self.read_balance(account).await
    }

    async fn month_usage(&self, account: &AccountId) -> Result<Vec<(UserId, MonthUsage)>, StoreError> {
        self.read_month_usage(account).await
    }

    async fn receipt(&self, account: &AccountId, user: &UserId, request_id: &str) -> Result<Option<HoldRecord>, StoreError> {
        self.read_receipt(account, user, request_id).await
    }

    async fn ledger_entries(&self, account: &AccountId, before: Option<u64>, limit: u32) -> Result<LedgerPage, StoreError> {
        self.read_ledger(account, before, limit).await
    }

    async fn accounts_to_sweep(&self, after: Option<String>) -> Result<AccountPage, StoreError> {
        self.find_accounts_to_sweep(after).await
    }

    async fn sweep(&self, account: &AccountId) -> Result<Swept, StoreError> {
        self.sweep_account(account).await
    }

    async fn snapshot(&self, account: &AccountId) -> Result<Option<AccountSnapshot>, StoreError> {
        self.read_snapshot(account).await
    }

    async fn accounts(&self, after: Option<String>) -> Result<AccountPage, StoreError> {
        self.page_of_accounts(after).await
    }

    async fn oldest_entries(&self, account: &AccountId, after: u64, limit: u32) -> Result<LedgerPart, StoreError> {
        self.read_oldest_entries(account, after, limit).await
    }

    async fn fold_ledger(&self, account: &AccountId, first: u64, checkpoint: Checkpoint) -> Result<bool, StoreError> {
        self.fold(account, first, &checkpoint).await
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

//! The store: users, API keys, and the ledger of credits, behind one trait. [`redis::RedisStore`] and [`sqlite::SqliteStore`] implement it,
//! and one list of contract cases (`tests/store_contract.rs`) holds both to what is written here.
//!
//! # What every operation keeps
//!
//! - **Atomic.** An operation happens wholly or not at all, and operations on one account are serial. Redis compares what it was decided
//!   from and writes it in one script, else it is decided anew; on SQLite each is one savepoint, answered after its commit.
//! - **The balance holds.** `granted = available + held + spent + lapsed`, none negative, `spent` never falls. An operation that would
//!   break this answers [`StoreError::Corrupt`] and writes nothing.
//! - **A hold is resolved at most once**, and a repeated request has the effect of one.
//! - **Due holds first.** Every operation on an account's credits first resolves up to [`StoreLimits::sweep_batch`] of its holds that are
//!   due.
//! - **Requests are forgotten at their time.** From then on a resolved request counts as none. It is removed where another one takes its
//!   place: whenever a hold is resolved, and by the walk, requests are removed whose time is over, and the oldest above
//!   [`StoreLimits::max_remembered_requests`] and [`StoreLimits::max_free_requests`]: up to [`StoreLimits::sweep_batch`] of each.
//! - **What costs nothing leaves nothing for good.** The ledger records what moves credits, and expiries; of requests that cost nothing, a
//!   few are remembered for their time.
//! - **The ledger is appended to, and folded from its beginning.** Entries are numbered from 1 without a gap, and no number comes again.
//!   Those up to the checkpoint's last are no longer kept one by one; the checkpoint's figures stand for theirs.
//! - **A change is recorded with itself.** Every change of users, sessions and keys takes an [`AuditEvent`] and appends it, with what it
//!   revokes ([`Revocation`]), in the same step; what changes nothing appends nothing.
//! - **Changes of one user are serial.** Of any two changes of a user's state, password, sessions and keys at once, one sees the other.
//! - **The store's clock.** Times are milliseconds since 1970 by the store's own clock. A clock that jumps may expire a hold early or late;
//!   it never breaks the balance.
//! - **Unreachable is an error.** [`StoreError::Unavailable`] says nothing about whether the operation happened; every operation here may
//!   be repeated.
//! - **A store that takes no writes says why.** It is full, read-only, or set up so that only its operator can mend it. Each store keeps
//!   its [`Condition`], and works again without a restart.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use shared::essential::Lost;

pub(crate) use self::api_key::earlier;
pub use self::api_key::{
    ApiKeyRecord, KeyAnswer, KeyChange, KeyChangeRequest, KeyRefusal, KeyRequest, KeyUse, ListedKey, ListedSecret, NewSecret, REQUEST_LIFE,
    RequestMark, SecretRecord, StoredSecret,
};
pub use self::audit::{AuditAction, AuditEvent};
pub use self::audit_page::{AuditPage, AuditPlace, AuditPosition, AuditQuery, AuditRange, MAX_EVENTS_LOOKED_AT, RecordedEvent};
pub use self::caller::{Permission, PresentedCredential, Principal};
pub use self::check::{ChargeRequest, CheckAnswer, CheckRequest, ExtendAnswer, Held, Refusal, ReleaseAnswer, ReleaseRequest, SettleAnswer};
pub use self::checkpoint::{Checkpoint, Contradiction, count_older_than};
pub use self::condition::Condition;
pub use self::failure::{StoreError, StoreOpenError};
pub use self::ledger::{AccountSnapshot, Balance, EntryKind, GrantAnswer, GrantRequest, LedgerEntry, LedgerPage, LedgerPart};
pub use self::new_user::{IssuerUserCreation, NAME_CLAIM_LIFE, NewUser, STARTING_GRANT_NOTE, STARTING_GRANT_REQUEST_ID, UserCreation};
pub use self::organization_view::{ListedOrganization, OrganizationPage, OrganizationPlace};
pub use self::revocation::{REMEMBERED_REVOCATIONS, Revocation, RevocationLog, Revoked};
pub use self::revocation_page::{RevocationCursor, RevocationPage};
pub use self::user_change::UserChange;
pub use self::user_page::{MAX_USERS_LOOKED_AT, StateFilter, UserPage, UserPosition, UserQuery};
use crate::access::Rights;
use crate::device_sign_in::{AnswerRefusal, DeviceExchange, DeviceQuestion, DeviceSignIn, DeviceStart, NewDeviceSignIn, UserCode};
use crate::hold::{HoldRecord, Outcome, Terms, TokenUsage};
use crate::identity::{Identity, IdentityHash, IssuerSessionStart, LinkAnswer, ProvedIdentity, UnlinkAnswer};
use crate::ids::{AccountId, SessionId, UserId};
use crate::organization::change::{OrganizationAnswer, OrganizationRequest};
use crate::organization::creation::NewOrganization;
use crate::organization::{MonthUsage, Organization};
use crate::refunds::RefundLimit;
pub use crate::scope::Scope;
use crate::second_factor::{FactorAnswer, FactorChangeRequest, SecondFactorStatus};
use crate::session::{NewSession, Refresh, RefreshAnswer, Session, SessionLimits, SessionStart, Shown};
use crate::user::{UserName, UserRecord};
use crate::user_state::PasswordChange;

mod api_key;
mod audit;
mod audit_page;
mod caller;
mod check;
mod checkpoint;
pub mod clock;
mod condition;
mod expiry_line;
mod failure;
mod known_callers;
mod ledger;
mod new_user;
mod organization_view;
mod records;
pub mod redis;
mod revocation;
mod revocation_page;
pub mod sqlite;
mod user_change;
mod user_page;

/// Users, keys and credits. See the [module](self) for what every operation keeps.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Writes something that takes no more room the second time. For health: a store that answers may take no writes all the same.
    async fn ping(&self) -> Result<(), StoreError>;
    /// Whether the store takes writes, as far as calls and pings have shown.
    fn condition(&self) -> &Condition;
    /// Ready when the store has lost a thread or a task of its own, and will never answer again.
    async fn lost(&self) -> Lost;

    /// Makes a user, their account and its first ledger entry. Not idempotent: a repetition with another id finds its own name taken. If
    /// the store breaks off half way, the name is in progress, and free again a minute later at the latest.
    async fn create_user(&self, user: NewUser, event: AuditEvent) -> Result<UserCreation, StoreError>;
    /// Finds a user by name.
    async fn user_by_name(&self, name: &UserName) -> Result<Option<UserRecord>, StoreError>;
    /// Finds a user by id.
    async fn user_by_id(&self, id: &UserId) -> Result<Option<UserRecord>, StoreError>;
    /// Finds users by their ids, one answer each.
    async fn users_by_id(&self, ids: &[UserId]) -> Result<Vec<Option<UserRecord>>, StoreError>;
    /// Users by name. The work of a page is bounded, and the pages of a list have every user once who was there when it began, whoever is
    /// added meanwhile.
    async fn users(&self, query: &UserQuery) -> Result<UserPage, StoreError>;
    /// Replaces a password's hash if it is still the one that was read. Idempotent.
    async fn replace_password_hash(&self, id: &UserId, old: &str, new: &str) -> Result<(), StoreError>;
    /// Disables a user for a reason, or enables them; `None`: no such user. The event's actor is who asks: an operator, who must be in
    /// force in the same step, and may not do it to themselves. Idempotent: what is so already changes nothing. When disabling has
    /// answered, every later check of that user's credentials is refused. Their sessions are ended, and tokens without one that were
    /// issued in a second before that of enabling stay refused after it.
    async fn set_disabled(&self, id: &UserId, disabled: bool, reason: &str, event: AuditEvent) -> Result<Option<UserChange>, StoreError>;

    /// Locks a user for a reason, or unlocks them; as [`set_disabled`](Self::set_disabled), and API keys stay in force.
    async fn set_locked(&self, id: &UserId, locked: bool, reason: &str, event: AuditEvent) -> Result<Option<UserChange>, StoreError>;

    /// Begins a session for whoever has shown a password that was just verified, if it is still the user's and the user may sign in, and
    /// uses the second factor's code up: see [`on_begin`](crate::session::on_begin). Idempotent by the session's id and token.
    async fn begin_session(&self, id: &UserId, shown: Shown<'_>, new: NewSession, event: AuditEvent) -> Result<SessionStart, StoreError>;
    /// Puts another refresh token in the place of the one that is shown: see [`on_refresh`](crate::session::on_refresh). Idempotent by the
    /// next token. What is recorded is reuse alone.
    async fn refresh_session(&self, id: &UserId, shown: Refresh, event: AuditEvent) -> Result<RefreshAnswer, StoreError>;
    /// A user's sessions that can be refreshed, the one used last first. Of no user: none.
    async fn sessions(&self, id: &UserId) -> Result<Vec<Session>, StoreError>;
    /// Ends a session; whether it was there. When it has answered, every later check of the session's tokens is refused. Idempotent.
    async fn end_session(&self, id: &UserId, session: &SessionId, event: AuditEvent) -> Result<bool, StoreError>;
    /// The same for whom shows any of the session's refresh tokens, of which the family's hash is given.
    async fn end_session_of(&self, id: &UserId, session: &SessionId, family: [u8; 32], event: AuditEvent) -> Result<bool, StoreError>;
    /// Ends all of a user's sessions and tokens, and answers how many sessions; `None`: no such user. Idempotent.
    async fn end_all_sessions(&self, id: &UserId, event: AuditEvent) -> Result<Option<u32>, StoreError>;
    /// Changes the password with this hash, which was just verified, and ends all sessions but that of the credential that asks, which must
    /// still be in force; `None`: no such user. Idempotent by the new hash.
    async fn change_password(
        &self,
        id: &UserId,
        asked_by: &PresentedCredential,
        verified: &str,
        new: &str,
        event: AuditEvent,
    ) -> Result<Option<PasswordChange>, StoreError>;
    /// Replaces the password by a one-time password, from now on for its life, and ends all sessions; `None`: no such user. Idempotent by
    /// the hash.
    async fn reset_password(&self, id: &UserId, one_time: &str, event: AuditEvent) -> Result<Option<UserRecord>, StoreError>;
    /// Replaces the one-time password that is shown, which was just verified, and begins a session. Idempotent as
    /// [`begin_session`](Self::begin_session) is.
    async fn complete_password_reset(
        &self,
        id: &UserId,
        shown: Shown<'_>,
        new_hash: &str,
        new: NewSession,
        event: AuditEvent,
    ) -> Result<SessionStart, StoreError>;

    /// Whom an issuer's identity signs in.
    async fn user_of_identity(&self, identity: &IdentityHash) -> Result<Option<UserId>, StoreError>;
    /// The identities that sign a user in, the one linked first first.
    async fn identities(&self, id: &UserId) -> Result<Vec<Identity>, StoreError>;
    /// Begins a session for whom an identity was just proved, if it still signs this user in, the user may sign in, and the proof was
    /// never used: see [`on_issuer_sign_in`](crate::identity::on_issuer_sign_in). The proof is used from then on, until its end.
    /// Idempotent by the session's id and token.
    async fn begin_issuer_session(
        &self,
        id: &UserId,
        proved: &ProvedIdentity,
        new: NewSession,
        event: AuditEvent,
    ) -> Result<IssuerSessionStart, StoreError>;
    /// Makes a user whom a proved identity signs in, as [`create_user`](Self::create_user) does, and begins their first session, all in one
    /// step: if the identity signs nobody in and the proof was never used.
    async fn create_issuer_user(
        &self,
        user: NewUser,
        proved: &ProvedIdentity,
        new: NewSession,
        event: AuditEvent,
    ) -> Result<IssuerUserCreation, StoreError>;
    /// Lets a proved identity sign a user in from now on: see [`on_link`](crate::identity::on_link). `None`: no such user. Idempotent by
    /// the proof.
    async fn link_identity(
        &self,
        id: &UserId,
        asked_by: &PresentedCredential,
        proved: &ProvedIdentity,
        event: AuditEvent,
    ) -> Result<Option<LinkAnswer>, StoreError>;
    /// Takes an identity, by its issuer and subject, away from a user: see [`on_unlink`](crate::identity::on_unlink). `asked_by`: as there.
    /// `None`: no such user.
    async fn unlink_identity(
        &self,
        id: &UserId,
        asked_by: Option<&PresentedCredential>,
        identity: (&str, &str),
        event: AuditEvent,
    ) -> Result<Option<UnlinkAnswer>, StoreError>;
    /// What a user is told of their second factor, in one of their sessions; `None`: no such user.
    async fn second_factor(&self, id: &UserId, session: Option<&SessionId>) -> Result<Option<SecondFactorStatus>, StoreError>;
    /// Changes a user's second factor, or proves it: see [`on_change`](crate::second_factor::on_change). Who asks must be in force in the
    /// same step. A code that it takes is good for nothing else from then on: of many at once with one code, one is done. `None`: no such
    /// user. Idempotent by the attempt; what removes the factor finds none when it comes again.
    async fn change_second_factor(
        &self,
        id: &UserId,
        request: FactorChangeRequest,
        event: AuditEvent,
    ) -> Result<Option<FactorAnswer>, StoreError>;
    /// Turns a user's second factor off, and ends all sessions; as [`set_disabled`](Self::set_disabled).
    async fn reset_second_factor(&self, id: &UserId, event: AuditEvent) -> Result<Option<UserChange>, StoreError>;
    /// Keeps the sign-in of a device, unless there are as many as there may be: see [`on_begin`](crate::device_sign_in::on_begin). The
    /// event goes to the attempts, since anybody may ask. Idempotent by both codes.
    async fn begin_device_sign_in(&self, new: NewDeviceSignIn, event: AuditEvent) -> Result<DeviceStart, StoreError>;
    /// The sign-in that has a user code and isn't over, whatever became of it.
    async fn device_sign_in(&self, code: &UserCode) -> Result<Option<DeviceSignIn>, StoreError>;
    /// Approves or denies a sign-in as this user, who must be in force with this session in the same step: see
    /// [`on_answer`](crate::device_sign_in::on_answer). Idempotent.
    async fn answer_device_sign_in(
        &self,
        code: &UserCode,
        user: &UserId,
        session: &SessionId,
        approves: bool,
        event: AuditEvent,
    ) -> Result<Result<(), AnswerRefusal>, StoreError>;
    /// What a device is told that asks with the code with this SHA-256: see [`on_question`](crate::device_sign_in::on_question).
    async fn question_of_device(&self, device: &[u8; 32]) -> Result<DeviceQuestion, StoreError>;
    /// Begins the session of a device whose sign-in this user approved, if the approval counts in the same step: see
    /// [`on_exchange`](crate::device_sign_in::on_exchange). Idempotent by the session's id and token.
    async fn exchange_device_code(
        &self,
        device: &[u8; 32],
        user: &UserId,
        new: NewSession,
        event: AuditEvent,
    ) -> Result<DeviceExchange, StoreError>;

    /// Makes an API key, gives it another secret, or revokes it or a secret: see [`KeyChange`], and [`keyring`](crate::keyring) for the
    /// rules. Who asks must be in force in the same step, or [`KeyAnswer::Refused`]. Idempotent by the request that the change names, and
    /// for the same new secret. When it has answered, every later check of a secret that was revoked, or lost its place, is refused.
    async fn change_api_keys(&self, request: KeyChangeRequest, event: AuditEvent) -> Result<KeyAnswer, StoreError>;
    /// An account's keys, oldest first.
    async fn api_keys(&self, account: &AccountId) -> Result<Vec<ListedKey>, StoreError>;
    /// Notes that secrets were used now. Of a secret that is no longer kept nothing is noted.
    async fn note_key_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError>;

    /// Makes an organization with an account that has no credits, whose first owner is whose access token asks: see
    /// [`on_create`](crate::organization::creation::on_create). Idempotent by its account. If the store breaks off half way, there is no
    /// organization.
    async fn create_organization(
        &self,
        new: NewOrganization,
        asked_by: &PresentedCredential,
        event: AuditEvent,
    ) -> Result<OrganizationAnswer, StoreError>;
    /// Changes an organization's members, invitations or service accounts: see [`on_change`](crate::organization::change::on_change). All
    /// that it is decided from is the same in the step that makes the change: who asks, the organization, who becomes a member, who made
    /// the invitation, and the owner who stays. When a membership's end has answered, every later check on it is refused, and its keys
    /// are revoked.
    async fn change_organization(&self, request: OrganizationRequest, event: AuditEvent) -> Result<OrganizationAnswer, StoreError>;
    /// An organization, with those of its invitations that are open; `None`: the account is no organization's.
    async fn organization(&self, account: &AccountId) -> Result<Option<Organization>, StoreError>;
    /// Whether one of an account's invitations, also of those past their time, has a code with this SHA-256. Reads no more than the
    /// account's invitations: anybody may ask, with a code that was made up.
    async fn has_invitation(&self, account: &AccountId, code_hash: &[u8; 32]) -> Result<bool, StoreError>;
    /// The organizations that a user is a member of, in any order. Of no user: none.
    async fn organizations_of(&self, user: &UserId) -> Result<Vec<OrganizationPlace>, StoreError>;
    /// All organizations behind an account's id, at most `limit`. The pages of a list have each once that was there when it began,
    /// whichever are made meanwhile.
    async fn all_organizations(&self, after: Option<&AccountId>, limit: u32) -> Result<OrganizationPage, StoreError>;

    /// Appends to the audit log what changed nothing, or failed: failures to a log of their own, so that nobody displaces what was changed
    /// by guessing.
    async fn record_event(&self, event: AuditEvent) -> Result<(), StoreError>;
    /// Audit events of both logs, by time. The work of a page is bounded. The pages of a list have every event once, whatever is appended
    /// meanwhile; what is no longer kept when its page comes is passed over. A user's name is in each event that has their id.
    async fn audit_events(&self, query: &AuditQuery) -> Result<AuditPage, StoreError>;

    /// Authenticates, authorizes, and holds credits, in this order, so that a refusal tells no more than the credential may know.
    /// Idempotent by (account, user, request id) and attempt: see the table in `ARCHITECTURE.md`.
    async fn check(&self, request: CheckRequest) -> Result<CheckAnswer, StoreError>;
    /// Authenticates and authorizes as `check` does, holds nothing, and answers what else the caller may.
    async fn authorize(&self, request: CheckRequest) -> Result<Result<Rights, Refusal>, StoreError>;
    /// Moves a hold's expiry to now + `hold_ttl`, never back, and records usage, each figure never falling and clamped to the hold. Refused
    /// when the credential that it was held with was revoked since, or its user disabled or locked out of it: nothing is changed then. That
    /// the credential's time is over is no reason.
    async fn extend(&self, hold: &Terms, usage: TokenUsage) -> Result<ExtendAnswer, StoreError>;
    /// Resolves a hold. Idempotent: the first answer is the answer.
    async fn settle(&self, hold: &Terms, outcome: Outcome, usage: TokenUsage) -> Result<SettleAnswer, StoreError>;
    /// Gives back what an attempt holds, whether or not its credential is still in force. Never makes a hold, and works when the store is
    /// full. Idempotent.
    async fn release(&self, attempt: ReleaseRequest) -> Result<ReleaseAnswer, StoreError>;

    /// What was revoked from a place on, as far as it is kept; at most some. `None`: nothing, and where what comes from now on will be.
    async fn revocations(&self, after: Option<&RevocationCursor>) -> Result<RevocationPage, StoreError>;
    /// Ready when something may have been revoked behind a place, and after so long at the latest. Others on the same store are waited for,
    /// too.
    async fn await_revocation(&self, after: &RevocationCursor, patience: Duration);

    /// Adds credits. Idempotent by request id.
    async fn grant(&self, grant: GrantRequest, event: AuditEvent) -> Result<GrantAnswer, StoreError>;
    /// An account's credits; `None`: no such account.
    async fn balance(&self, account: &AccountId) -> Result<Option<Balance>, StoreError>;
    /// What each principal of an organization spent in the month that the store's clock is in, and holds, by their ids. Who never spent
    /// anything isn't there. Of a user's own account nothing is counted.
    async fn month_usage(&self, account: &AccountId) -> Result<Vec<(UserId, MonthUsage)>, StoreError>;
    /// What became of a request; `None`: nothing of that id is remembered.
    async fn receipt(&self, account: &AccountId, user: &UserId, request_id: &str) -> Result<Option<HoldRecord>, StoreError>;
    /// Ledger entries below `before` (or the newest), newest first, and behind the oldest that is kept the checkpoint; at most `limit`.
    async fn ledger_entries(&self, account: &AccountId, before: Option<u64>, limit: u32) -> Result<LedgerPage, StoreError>;

    /// Looks at the next accounts, and answers those of them that [`sweep`](Self::sweep) has something to do on. `after`: what the page
    /// before answered. All accounts have their place in an order that stays, whichever are added meanwhile.
    async fn accounts_to_sweep(&self, after: Option<String>) -> Result<AccountPage, StoreError>;
    /// Does one operation's share of what is to be done on an account that nobody may call: resolves holds that are due, and forgets
    /// requests whose time is over.
    async fn sweep(&self, account: &AccountId) -> Result<Swept, StoreError>;
    /// Everything about an account's credits, without sweeping; `None`: no such account.
    async fn snapshot(&self, account: &AccountId) -> Result<Option<AccountSnapshot>, StoreError>;

    /// The next accounts, all of them. `after`: what the page before answered; the order is that of
    /// [`accounts_to_sweep`](Self::accounts_to_sweep).
    async fn accounts(&self, after: Option<String>) -> Result<AccountPage, StoreError>;
    /// The oldest ledger entries above `after` that are kept, at most `limit`, without sweeping. Of no account: none.
    async fn oldest_entries(&self, account: &AccountId, after: u64, limit: u32) -> Result<LedgerPart, StoreError>;
    /// Folds the oldest ledger entries: removes those from `first` to the checkpoint's last, and replaces the checkpoint that stood for
    /// those before them. `false`: `first` isn't the oldest one that is kept, and nothing was written. Idempotent. Works when the store is
    /// full. How many they are is the caller's business: no other call is answered meanwhile.
    async fn fold_ledger(&self, account: &AccountId, first: u64, checkpoint: Checkpoint) -> Result<bool, StoreError>;
}

/// Bounds and times that a store is opened with.
#[derive(Debug, Clone, Copy)]
pub struct StoreLimits {
    /// How long a hold lives after Check and after each Extend.
    pub hold_ttl: Duration,
    /// How long a resolved request is remembered.
    pub forget_after: Duration,
    /// Open holds that an account may have: each is a call in progress.
    pub max_open_holds: u32,
    /// Charged requests that an account has remembered: above, the oldest is forgotten before its time.
    pub max_remembered_requests: u32,
    /// The same of requests that cost nothing.
    pub max_free_requests: u32,
    /// How often holds of an account may come back whole.
    pub refunds: RefundLimit,
    /// Due holds that one operation resolves, and forgotten requests that it removes, at most.
    pub sweep_batch: u32,
    /// How long a session lives without a refresh.
    pub session_idle: Duration,
    /// How long a session lives, however often it is refreshed.
    pub session_lifetime: Duration,
    /// Changes by users that the audit log keeps, about.
    pub max_audit_changes: u32,
    /// Operators' actions that it keeps, about.
    pub max_audit_operators: u32,
    /// Failed attempts that it keeps, about.
    pub max_audit_attempts: u32,
}

impl StoreLimits {
    /// Those of sessions.
    #[must_use]
    pub fn sessions(&self) -> SessionLimits {
        SessionLimits { idle: self.session_idle, lifetime: self.session_lifetime }
    }
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            hold_ttl: Duration::from_secs(60),
            forget_after: Duration::from_secs(3600),
            max_open_holds: 64,
            max_remembered_requests: 200_000,
            max_free_requests: 500,
            refunds: RefundLimit::default(),
            sweep_batch: 16,
            session_idle: Duration::from_secs(14 * 24 * 3600),
            session_lifetime: Duration::from_secs(90 * 24 * 3600),
            max_audit_changes: 100_000,
            max_audit_operators: 100_000,
            max_audit_attempts: 20_000,
        }
    }
}

/// Accounts, or those of them that wait to be swept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountPage {
    /// In their order.
    pub accounts: Vec<AccountId>,
    /// Where the next page begins; `None`: this is the last one.
    pub next: Option<String>,
}

/// What one operation's share of sweeping an account came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Holds that were resolved. Requests that were forgotten don't count.
    pub expired: u32,
    /// Whether holds are still due, or requests to be forgotten.
    pub more: bool,
}

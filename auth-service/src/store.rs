//! The store: users, API keys, and the ledger of credits, behind one trait. [`redis::RedisStore`] and [`sqlite::SqliteStore`] implement it,
//! and one list of contract cases (`tests/store_contract.rs`) holds both to what is written here.
//!
//! # What every operation keeps
//!
//! - **Atomic.** An operation reads, computes, checks, and only then writes; it happens wholly or not at all, and operations on one account
//!   are serial. On Redis each is one script and one round trip, which Checks that come together share; on SQLite each is one savepoint,
//!   answered after its commit.
//! - **The balance holds.** `granted = available + held + spent + lapsed`, none negative, `spent` never falls. An operation that would break
//!   this answers [`StoreError::Corrupt`] and writes nothing.
//! - **A hold is resolved at most once**, and a repeated request has the effect of one.
//! - **Due holds first.** Every operation on an account's credits first resolves up to [`StoreLimits::sweep_batch`] of its holds that are due.
//! - **Requests are forgotten at their time.** From then on a resolved request counts as none. It is removed where another one takes its
//!   place: whenever a hold is resolved, and by the walk, up to [`StoreLimits::sweep_batch`] requests are removed whose time is over, and
//!   the oldest above [`StoreLimits::max_remembered_requests`].
//! - **The store's clock.** Times are milliseconds since 1970 by the store's own clock. A clock that jumps may expire a hold early or late; it
//!   never breaks the balance.
//! - **Unreachable is an error.** [`StoreError::Unavailable`] says nothing about whether the operation happened; every operation here may be
//!   repeated.
//! - **A store that takes no writes says why.** It is full, read-only, or set up so that only its operator can mend it. Each store keeps its
//!   [`Condition`], and works again without a restart.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use shared::essential::Lost;

pub use self::condition::Condition;
pub use self::failure::{StoreError, StoreOpenError};
use crate::hold::{HoldRecord, Outcome, Resolution, Terms, TokenUsage};
use crate::ids::{AccountId, KeyId, UserId};
use crate::price::{Price, WorstCase};
use crate::user::{Role, UserName, UserRecord};

pub mod clock;
mod condition;
mod failure;
mod known_callers;
mod records;
pub mod redis;
pub mod sqlite;

/// The largest figure of credits: Redis's Lua prints 14 digits of a number exactly.
pub const MAX_CREDITS: i64 = 1_000_000_000_000;

/// How long a user name stays claimed when the making of its user broke off half way.
pub const NAME_CLAIM_LIFE: Duration = Duration::from_secs(60);
/// The request id of the grant that a user starts with.
pub const STARTING_GRANT_REQUEST_ID: &str = "starting-credits";
/// The note of the grant that a user starts with.
pub const STARTING_GRANT_NOTE: &str = "starting credits";

/// Bounds and times that a store is opened with.
#[derive(Debug, Clone, Copy)]
pub struct StoreLimits {
    /// How long a hold lives after Check and after each Extend.
    pub hold_ttl: Duration,
    /// How long a resolved request is remembered.
    pub forget_after: Duration,
    /// Open holds that an account may have.
    pub max_open_holds: u32,
    /// Resolved requests that an account has remembered: above, the oldest is forgotten before its time.
    pub max_remembered_requests: u32,
    /// Due holds that one operation resolves, and forgotten requests that it removes, at most.
    pub sweep_batch: u32,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            hold_ttl: Duration::from_secs(60),
            forget_after: Duration::from_secs(3600),
            max_open_holds: 10_000,
            max_remembered_requests: 200_000,
            sweep_batch: 16,
        }
    }
}

/// A user to be made, with an account of their own that has the same id.
#[derive(Clone)]
pub struct NewUser {
    /// New, random.
    pub user_id: UserId,
    /// Unique among users.
    pub user_name: UserName,
    /// Argon2id, in PHC form.
    pub password_hash: String,
    /// May be empty.
    pub full_name: String,
    /// May be empty.
    pub email: String,
    /// What the user may do.
    pub role: Role,
    /// Granted at once, with a ledger entry when above 0.
    pub starting_credits: i64,
}

impl fmt::Debug for NewUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewUser").field("user_id", &self.user_id).field("user_name", &self.user_name).finish_non_exhaustive()
    }
}

/// What became of a [`NewUser`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserCreation {
    /// Made.
    Created(UserRecord),
    /// Another user has the name; nothing was made.
    NameTaken,
    /// Somebody's making of a user of that name is under way, or broke off half way; nothing was made. The same may work later.
    NameInProgress {
        /// When the name is free, unless its user is made by then; at most [`NAME_CLAIM_LIFE`].
        retry_after: Duration,
    },
}

/// What an API key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Chat, generate, embed, list and show models.
    Inference,
    /// Make and remove models; needs the admin role too.
    Models,
    /// Read the account's balance, receipts and ledger.
    Account,
}

/// An API key as it is stored: everything but the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// Its id.
    pub key_id: KeyId,
    /// Who made it, and acts when it is used.
    pub user_id: UserId,
    /// For people; may be empty.
    pub name: String,
    /// The key's first characters and last four, for people.
    pub hint: String,
    /// What it may do; not empty.
    pub scopes: Vec<Scope>,
    /// Patterns of model names it may use, `*` for any run of characters; empty: all.
    pub models: Vec<String>,
    /// When it was made.
    pub created_at_ms: i64,
    /// When it ends, if ever.
    pub expires_at_ms: Option<i64>,
    /// When it was revoked.
    pub revoked_at_ms: Option<i64>,
}

/// An API key to be kept.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// Whose.
    pub account: AccountId,
    /// SHA-256 of the key's secret.
    pub secret_hash: [u8; 32],
    /// The rest; `created_at_ms` is set by the store's clock, whatever it is here.
    pub record: ApiKeyRecord,
}

/// What became of a [`NewApiKey`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiKeyCreation {
    /// Kept.
    Created(ApiKeyRecord),
    /// The account has [`MAX_LIVE_API_KEYS`](crate::keyring::MAX_LIVE_API_KEYS) keys that are neither revoked nor past their time; nothing was kept.
    LimitReached,
}

/// A credential as it was presented, its form and checksum or signature verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresentedCredential {
    /// An API key of the account that is asked.
    ApiKey {
        /// SHA-256 of the key's secret.
        secret_hash: [u8; 32],
    },
    /// An access token, its signature and times verified.
    AccessToken {
        /// Its subject.
        user_id: UserId,
        /// When it was issued, in milliseconds (whole seconds: a JWT has no finer).
        issued_at_ms: i64,
    },
}

/// What a credential must be good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// The scope that an API key must have. Access tokens have all.
    pub scope: Scope,
    /// Whether the user must have [`Role::Admin`].
    pub admin: bool,
    /// The model to be used, as [`folded`](shared::model_name::folded) gives it; empty: none. An API key's list must match it.
    pub model: String,
}

/// A question to the store: is this credential good for this, and, with a charge, can it be paid for?
#[derive(Debug, Clone)]
pub struct CheckRequest {
    /// The account that is asked and pays.
    pub account: AccountId,
    /// Who is asking.
    pub credential: PresentedCredential,
    /// What for.
    pub permission: Permission,
    /// What to hold; `None` for what costs nothing.
    pub charge: Option<ChargeRequest>,
}

/// One request to be paid for.
#[derive(Debug, Clone)]
pub struct ChargeRequest {
    /// Names the request within (account, user); 1 to 128 printable ASCII characters.
    pub request_id: String,
    /// Names the attempt; 1 to 64 ASCII letters, digits, `-`, `_`.
    pub attempt_id: String,
    /// A digest of the request's parameters; at most 64 bytes.
    pub fingerprint: Vec<u8>,
    /// What tokens cost.
    pub price: Price,
    /// The most input tokens.
    pub max_input_tokens: u32,
    /// The most output tokens; ≥ 1.
    pub max_output_tokens: u32,
    /// Whether to refuse when the whole worst case can't be held.
    pub require_full: bool,
}

impl ChargeRequest {
    /// What it may use at the most.
    #[must_use]
    pub fn worst_case(&self) -> WorstCase {
        let Self { max_input_tokens: input_tokens, max_output_tokens: output_tokens, require_full, .. } = *self;
        WorstCase { input_tokens, output_tokens, require_full }
    }
}

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The user who acts.
    pub user_id: UserId,
    /// What the user may do.
    pub role: Role,
    /// The key that was used; `None` for an access token.
    pub key_id: Option<KeyId>,
}

/// Credits held for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What they are held for, for Extend and Settle.
    pub terms: Terms,
    /// Credits available beside the hold.
    pub remaining_credits: i64,
    /// When it expires.
    pub expires_at_ms: i64,
}

/// The answer to a [`CheckRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckAnswer {
    /// Good, and nothing was to be held.
    Allowed(Principal),
    /// Good, and the credits are held (now, or by this same attempt before).
    Held(Principal, Held),
    /// Good, and the request is resolved already: nothing is held.
    Recorded(Principal, HoldRecord),
    /// Not good.
    Refused(Refusal),
}

/// Why a check was refused. Nothing was written but what was due anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No such key in the account, or no such user.
    CredentialUnknown,
    /// The key is past its time.
    CredentialExpired,
    /// The key was revoked, or the token was issued before the user's tokens were made invalid.
    CredentialRevoked,
    /// The user is disabled.
    UserDisabled,
    /// The user is no member of the account.
    NotAMember,
    /// The user lacks the admin role.
    RoleRequired,
    /// The key lacks the scope.
    ScopeRequired,
    /// The key's list doesn't match the model.
    ModelNotAllowed,
    /// Another attempt holds credits for the same request.
    RequestInProgress,
    /// The request id was used with another fingerprint.
    RequestIdReused,
    /// Too few credits are available, and no hold is due. (What must be held at the least, and what there is.)
    InsufficientCredits {
        /// The least that must be held.
        needed: i64,
        /// What there is.
        available: i64,
    },
    /// Too few credits are available, and more holds are due than one operation sweeps: the same call may succeed.
    SweepInProgress,
    /// The account has as many open holds as it may.
    TooManyOpenHolds,
}

/// The answer to Extend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtendAnswer {
    /// The new expiry, never earlier than before.
    Extended {
        /// When the hold expires now.
        expires_at_ms: i64,
    },
    /// No such hold.
    NotFound,
    /// It is resolved, or another attempt holds it now.
    Resolved,
}

/// The answer to Settle.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "made once a call and taken apart at once; a box would cost each call an allocation")]
pub enum SettleAnswer {
    /// Resolved, now or before: the same record each time.
    Settled(HoldRecord),
    /// No such hold.
    NotFound,
    /// This attempt was refunded, and another attempt has held the request since.
    Superseded,
}

/// Credits of one account. `granted = available + held + spent + lapsed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// Can be held.
    pub available: i64,
    /// Held by open holds.
    pub held: i64,
    /// Charged; never falls.
    pub spent: i64,
    /// Granted and no longer usable.
    pub lapsed: i64,
    /// All that was ever granted.
    pub granted: i64,
}

/// Credits to be added.
#[derive(Debug, Clone)]
pub struct GrantRequest {
    /// To whom.
    pub account: AccountId,
    /// 1 to [`MAX_CREDITS`].
    pub credits: i64,
    /// Names the grant within the account, for as long as the account is.
    pub request_id: String,
    /// Why.
    pub note: String,
    /// Who grants.
    pub granted_by: UserId,
}

/// The answer to a [`GrantRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantAnswer {
    /// Added.
    Granted {
        /// The grant's ledger entry.
        entry: u64,
        /// The balance after it.
        balance: Balance,
    },
    /// The same grant was made before; nothing was added.
    Replayed {
        /// The first one's ledger entry.
        entry: u64,
        /// The balance as it is now.
        balance: Balance,
    },
    /// The request id was used for a grant of another amount.
    RequestIdReused,
    /// The account would hold more than [`MAX_CREDITS`].
    TooMuch,
    /// No such account.
    NotFound,
}

/// What a ledger entry records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// Credits were granted.
    Grant,
    /// A hold was resolved.
    Resolved(Resolution),
}

/// One change of an account's credits; never altered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Counts up by one within the account, from 1.
    pub entry: u64,
    /// What happened.
    pub kind: EntryKind,
    /// Granted (positive), or charged by this entry (negative or 0).
    pub credits: i64,
    /// Available right after it.
    pub available: i64,
    /// The request's or the grant's id.
    pub request_id: String,
    /// Who spent, or who granted.
    pub user_id: UserId,
    /// The key it was done with.
    pub key_id: Option<KeyId>,
    /// The model; empty for grants.
    pub model: String,
    /// Tokens charged for; `None` for grants.
    pub usage: Option<TokenUsage>,
    /// When.
    pub at_ms: i64,
    /// Why credits were granted; empty otherwise.
    pub note: String,
}

/// Everything about an account's credits, for verification and tests. Reads it all: not for the hot path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSnapshot {
    /// The figures.
    pub balance: Balance,
    /// Open holds, by (user id, request id).
    pub open: Vec<HoldRecord>,
    /// Resolved requests that are there, by (user id, request id): also those that count as forgotten, until they are removed.
    pub remembered: Vec<HoldRecord>,
    /// The ledger, oldest first.
    pub ledger: Vec<LedgerEntry>,
}

impl AccountSnapshot {
    /// What contradicts the invariants, one sentence each; empty: nothing.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let Balance { available, held, spent, lapsed, granted } = self.balance;
        let mut violations = Vec::new();
        let mut require = |holds: bool, sentence: String| {
            if !holds {
                violations.push(sentence);
            }
        };
        require(
            granted == available + held + spent + lapsed,
            format!("granted isn't available + held + spent + lapsed: {:?}", self.balance),
        );
        require(
            [available, held, spent, lapsed, granted].iter().all(|figure| *figure >= 0),
            format!("a figure is negative: {:?}", self.balance),
        );
        let open: i64 = self.open.iter().map(|hold| hold.terms.held_credits).sum();
        require(held == open, format!("held is {held}, and the open holds hold {open}"));
        let granted_by_ledger: i64 = self.ledger.iter().filter(|entry| entry.kind == EntryKind::Grant).map(|entry| entry.credits).sum();
        require(granted == granted_by_ledger, format!("granted is {granted}, and the ledger granted {granted_by_ledger}"));
        let spent_by_ledger: i64 =
            -self.ledger.iter().filter(|entry| entry.kind != EntryKind::Grant).map(|entry| entry.credits).sum::<i64>();
        require(spent == spent_by_ledger, format!("spent is {spent}, and the ledger charged {spent_by_ledger}"));
        require(
            self.ledger.iter().zip(1..).all(|(entry, number)| entry.entry == number),
            "the ledger's entries aren't numbered from 1 without a gap".to_owned(),
        );
        violations
    }
}

/// One step of the slow walk over all accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepStep {
    /// Holds that were resolved. Requests that were forgotten don't count.
    pub expired: u32,
    /// Where the next step goes on; `None`: the walk is at its end.
    pub next: Option<String>,
}

/// Users, keys and credits. See the [module](self) for what every operation keeps.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Writes something that takes no more room the second time. For health: a store that answers may take no writes all the same.
    async fn ping(&self) -> Result<(), StoreError>;
    /// Whether the store takes writes, as far as calls and pings have shown.
    fn condition(&self) -> &Condition;
    /// Ready when the store has lost a thread or a task of its own, and will never answer again.
    async fn lost(&self) -> Lost;

    /// Makes a user, their account and its first ledger entry. Not idempotent: a repetition with another id finds its own name taken. If the
    /// store breaks off half way, the name is in progress, and free again a minute later at the latest.
    async fn create_user(&self, user: NewUser) -> Result<UserCreation, StoreError>;
    /// Finds a user by name.
    async fn user_by_name(&self, name: &UserName) -> Result<Option<UserRecord>, StoreError>;
    /// Finds a user by id.
    async fn user_by_id(&self, id: &UserId) -> Result<Option<UserRecord>, StoreError>;
    /// Replaces a password's hash if it is still the one that was read. Idempotent.
    async fn replace_password_hash(&self, id: &UserId, old: &str, new: &str) -> Result<(), StoreError>;
    /// Disables or enables a user; `None`: no such user. Idempotent: what is so already changes nothing. When disabling has answered, every
    /// later check of that user's credentials is refused; tokens issued in a second before that of enabling stay refused after it.
    async fn set_disabled(&self, id: &UserId, disabled: bool) -> Result<Option<UserRecord>, StoreError>;

    /// Keeps an API key.
    async fn create_api_key(&self, key: NewApiKey) -> Result<ApiKeyCreation, StoreError>;
    /// An account's keys, oldest first.
    async fn api_keys(&self, account: &AccountId) -> Result<Vec<ApiKeyRecord>, StoreError>;
    /// Revokes a key; `None`: no such key. Idempotent: the first revocation's time stays. When it has answered, every later check of the
    /// key is refused.
    async fn revoke_api_key(&self, account: &AccountId, key: &KeyId) -> Result<Option<ApiKeyRecord>, StoreError>;

    /// Authenticates, authorizes, and holds credits, in this order, so that a refusal tells no more than the credential may know. Idempotent
    /// by (account, user, request id) and attempt: see the table in `ARCHITECTURE.md`.
    async fn check(&self, request: CheckRequest) -> Result<CheckAnswer, StoreError>;
    /// Moves a hold's expiry to now + `hold_ttl`, never back, and records usage, each figure never falling and clamped to the hold.
    async fn extend(&self, hold: &Terms, usage: TokenUsage) -> Result<ExtendAnswer, StoreError>;
    /// Resolves a hold. Idempotent: the first answer is the answer.
    async fn settle(&self, hold: &Terms, outcome: Outcome, usage: TokenUsage) -> Result<SettleAnswer, StoreError>;

    /// Adds credits. Idempotent by request id.
    async fn grant(&self, grant: GrantRequest) -> Result<GrantAnswer, StoreError>;
    /// An account's credits; `None`: no such account.
    async fn balance(&self, account: &AccountId) -> Result<Option<Balance>, StoreError>;
    /// What became of a request; `None`: nothing of that id is remembered.
    async fn receipt(&self, account: &AccountId, user: &UserId, request_id: &str) -> Result<Option<HoldRecord>, StoreError>;
    /// Ledger entries below `before` (or the newest), newest first, at most `limit`.
    async fn ledger_entries(&self, account: &AccountId, before: Option<u64>, limit: u32) -> Result<Vec<LedgerEntry>, StoreError>;

    /// Resolves holds that are due on some accounts, forgets requests whose time is over, and says where to go on. Each step is bounded.
    async fn sweep(&self, from: Option<String>) -> Result<SweepStep, StoreError>;
    /// Everything about an account's credits, without sweeping; `None`: no such account.
    async fn snapshot(&self, account: &AccountId) -> Result<Option<AccountSnapshot>, StoreError>;
}

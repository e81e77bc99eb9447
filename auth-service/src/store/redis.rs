//! The store in Redis. Each operation on an account is one Lua script in one round trip, which Checks that come together share
//! (`gathered_checks.rs`); the scripts are in `store/lua/`, the names of keys in `keys.rs`.
//!
//! Every script may run twice with the effect of one, so that a broken connection is answered by one more try on a new one (`link.rs`).

pub(crate) mod address;
mod answers;
mod failures;
mod fitness;
mod gathered_checks;
mod keys;
mod link;
mod packing;
mod question;
mod scripts;

use std::fmt;
use std::time::Duration;

use ::redis::{FromRedisValue, RedisError, RedisResult, Script, Value, from_redis_value};
use async_trait::async_trait;
use shared::essential::Lost;

use self::answers::{
    api_key, balance, check_answer, ledger, number, open_hold, parse_claim, resolved_hold, unreadable, user_record, words,
};
use self::failures::{open_error, store_error};
use self::gathered_checks::GatheredChecks;
use self::keys::{ACCOUNT_PARTS, Keys, REGISTRY_SHARDS};
use self::link::Link;
use self::question::{Question, Reply, whole_price};
use self::scripts::{ScriptCall, Scripts};
use super::clock::Clock;
use super::known_callers::KnownCallers;
use super::{
    AccountSnapshot, ApiKeyCreation, ApiKeyRecord, Balance, CheckAnswer, CheckRequest, Condition, ExtendAnswer, GrantAnswer, GrantRequest,
    Held, LedgerEntry, MAX_CREDITS, MAX_LIVE_API_KEYS, NAME_CLAIM_LIFE, NewApiKey, NewUser, STARTING_GRANT_NOTE, STARTING_GRANT_REQUEST_ID,
    SettleAnswer, Store, StoreError, StoreLimits, StoreOpenError, SweepStep, UserCreation,
};
use crate::hold::{HoldHandle, HoldRecord, Outcome, TokenUsage, hold_id};
use crate::ids::{AccountId, KeyId, UserId};
use crate::user::{UserName, UserRecord};

/// The keys of an account that Check is given.
const CHECK_KEYS: usize = 2;
/// Those that Extend and Settle touch.
const RESOLVE_KEYS: usize = 5;
/// Accounts that one step of the slow walk looks at.
const ACCOUNTS_PER_STEP: usize = 32;

/// What a [`RedisStore`] is opened with, beside its address and limits.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// Use a Redis that may evict keys, and so credits.
    pub allow_eviction: bool,
    /// Use a Redis that writes no append-only file, and so loses what happened since its last snapshot.
    pub allow_no_aof: bool,
    /// What all names of keys begin with; `tg`.
    pub key_prefix: String,
    /// Whose time counts.
    pub clock: Clock,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self { allow_eviction: false, allow_no_aof: false, key_prefix: "tg".to_owned(), clock: Clock::Store }
    }
}

/// The store in Redis; any number of processes may share one.
pub struct RedisStore {
    link: Link,
    condition: Condition,
    scripts: Scripts,
    keys: Keys,
    known_callers: KnownCallers,
    gathered_checks: GatheredChecks,
    limits: StoreLimits,
    clock: Clock,
}

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
    /// [`StoreOpenError::Misconfigured`] when the address is none, or its user or password are refused; [`StoreOpenError::Unreachable`] when
    /// nothing answers there; [`StoreOpenError::Unusable`] when what answers is too old, a replica, a Sentinel or a cluster;
    /// and [`StoreOpenError::Unsafe`] when it may lose what it is given, or doesn't let us see whether it may.
    pub async fn connect(url: &str, limits: StoreLimits, options: RedisOptions) -> Result<Self, StoreOpenError> {
        let client = address::client(url).map_err(|change| StoreOpenError::Misconfigured(format!("it {change}")))?;
        let link = Link::connect(client).await.map_err(|error| open_error(&error))?;
        let mut connection = link.line().connection;
        fitness::require(&mut connection, &options).await?;
        let scripts = Scripts::new(&limits);
        for script in scripts.all() {
            script.load_async(&mut connection).await.map_err(|error| open_error(&error))?;
        }
        Ok(Self {
            link,
            condition: Condition::default(),
            scripts,
            keys: Keys::new(&options.key_prefix),
            known_callers: KnownCallers::new(),
            gathered_checks: GatheredChecks::default(),
            limits,
            clock: options.clock,
        })
    }

    /// A call of a script on an account, with the keys and the argument that all have.
    fn call<'s>(&self, script: &'s Script, account: &AccountId) -> ScriptCall<'s> {
        self.call_with_keys(script, account, ACCOUNT_PARTS.len())
    }

    /// The same with the first so many keys only: every one costs Redis time.
    fn call_with_keys<'s>(&self, script: &'s Script, account: &AccountId, keys: usize) -> ScriptCall<'s> {
        let mut call = ScriptCall::new(script, ACCOUNT_PARTS.iter().take(keys).map(|part| self.keys.account_part(account, part)));
        call.arg(self.now());
        call
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

    /// Takes a name for a user.
    async fn claim_name(&self, user: &NewUser) -> Result<Claim, StoreError> {
        let mut replaceable = String::new();
        // Twice at most: the second time, it is somebody else who is quicker.
        for _ in 0..2 {
            let mut call = ScriptCall::new(&self.scripts.claim_name, std::iter::once(self.keys.name(&user.user_name)));
            call.arg(self.now()).arg(user.user_id.as_str()).arg(&replaceable);
            let answer: Vec<String> = self.run(&call).await?;
            match words(&answer)[..] {
                ["claimed", claim] => return parse_claim(claim).map(|(_, at_ms)| Claim::Ours { at_ms }),
                ["taken", claim, age_ms] => {
                    let (owner, _) = parse_claim(claim)?;
                    if self.user_by_id(&owner).await?.is_some() {
                        return Ok(Claim::Taken);
                    }
                    let left_ms = millis(NAME_CLAIM_LIFE).saturating_sub(number(age_ms)?);
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

    async fn create_user(&self, user: NewUser) -> Result<UserCreation, StoreError> {
        let claimed_at_ms = match self.claim_name(&user).await? {
            Claim::Ours { at_ms } => at_ms,
            Claim::Taken => return Ok(UserCreation::NameTaken),
            Claim::InProgress { retry_after } => return Ok(UserCreation::NameInProgress { retry_after }),
        };
        let account = AccountId::from(&user.user_id);
        // Before the account, so that no account is ever missed by the walk.
        let registry = self.keys.registry(Keys::shard_of(&account));
        self.query::<()>(::redis::pipe().cmd("ZADD").arg(registry).arg(0).arg(account.as_str()).ignore()).await?;
        let mut call = self.call(&self.scripts.create_user, &account);
        call.arg(user.user_id.as_str()).arg(user.user_name.as_str()).arg(&user.password_hash).arg(&user.full_name).arg(&user.email);
        call.arg(packing::role_letter(user.role)).arg(user.starting_credits).arg(claimed_at_ms);
        // Half of the claim's life: by the time that somebody else may take the name, this script has run or never will.
        call.arg(millis(NAME_CLAIM_LIFE) / 2).arg(STARTING_GRANT_REQUEST_ID).arg(STARTING_GRANT_NOTE);
        let answer: Vec<String> = self.run(&call).await?;
        match words(&answer)[..] {
            ["created", at_ms] => Ok(UserCreation::Created(UserRecord {
                user_id: user.user_id,
                user_name: user.user_name,
                password_hash: user.password_hash,
                full_name: user.full_name,
                email: user.email,
                role: user.role,
                disabled: false,
                created_at_ms: number(at_ms)?,
            })),
            ["late"] => Err(StoreError::Unavailable("making the user took too long".to_owned())),
            _ => Err(unreadable("the answer to the making of a user")),
        }
    }

    async fn user_by_name(&self, name: &UserName) -> Result<Option<UserRecord>, StoreError> {
        let (claim,): (Option<String>,) = self.query(::redis::pipe().get(self.keys.name(name))).await?;
        let owner = match claim {
            Some(claim) => parse_claim(&claim)?.0,
            // Nobody's id: the look-up takes as long whether there is such a name or not.
            None => UserId::parse("0000000000000000").ok_or_else(|| unreadable("nobody's id"))?,
        };
        // A claim whose user was never made, or is just being made, is nobody's yet.
        self.user_by_id(&owner).await
    }

    async fn user_by_id(&self, id: &UserId) -> Result<Option<UserRecord>, StoreError> {
        let mut pipeline = ::redis::pipe();
        pipeline.cmd("HMGET").arg(self.keys.user(id));
        pipeline.arg(&["v", "name", "password_hash", "full_name", "email", "role", "disabled", "created_at_ms"]);
        let (fields,): (Vec<Option<String>>,) = self.query(&pipeline).await?;
        if fields.iter().all(Option::is_none) {
            return Ok(None);
        }
        user_record(id, &fields).map(Some).ok_or_else(|| unreadable("a user"))
    }

    async fn replace_password_hash(&self, id: &UserId, old: &str, new: &str) -> Result<(), StoreError> {
        let mut call = self.call(&self.scripts.replace_password_hash, &AccountId::from(id));
        call.arg(old).arg(new);
        self.run::<i64>(&call).await.map(|_| ())
    }

    async fn set_disabled(&self, id: &UserId, disabled: bool) -> Result<Option<UserRecord>, StoreError> {
        let mut call = self.call(&self.scripts.set_disabled, &AccountId::from(id));
        call.arg(id.as_str()).arg(flag(disabled));
        match self.run::<i64>(&call).await? {
            0 => Ok(None),
            _ => self.user_by_id(id).await,
        }
    }

    async fn create_api_key(&self, key: NewApiKey) -> Result<ApiKeyCreation, StoreError> {
        let (head, tail) = packing::pack_api_key(&key.record);
        let mut call = self.call(&self.scripts.create_api_key, &key.account);
        call.arg(&key.secret_hash).arg(head).arg(tail).arg(MAX_LIVE_API_KEYS);
        let answer: Vec<String> = self.run(&call).await?;
        match words(&answer)[..] {
            ["created", packed] => Ok(ApiKeyCreation::Created(api_key(packed)?)),
            ["limit"] => Ok(ApiKeyCreation::LimitReached),
            ["none"] => Err(StoreError::Corrupt("the account of a new API key doesn't exist".to_owned())),
            _ => Err(unreadable("the answer to the making of an API key")),
        }
    }

    async fn api_keys(&self, account: &AccountId) -> Result<Vec<ApiKeyRecord>, StoreError> {
        let keyring = self.keys.account_part(account, "keys");
        let (packed,): (Vec<String>,) = self.query(::redis::pipe().hvals(keyring)).await?;
        let mut keys = packed.iter().map(|packed| api_key(packed)).collect::<Result<Vec<_>, _>>()?;
        keys.sort_by(|a, b| (a.created_at_ms, &a.key_id).cmp(&(b.created_at_ms, &b.key_id)));
        Ok(keys)
    }

    async fn revoke_api_key(&self, account: &AccountId, key: &KeyId) -> Result<Option<ApiKeyRecord>, StoreError> {
        let mut call = self.call(&self.scripts.revoke_api_key, account);
        call.arg(key.as_str()).arg(MAX_LIVE_API_KEYS);
        let answer: Vec<String> = self.run(&call).await?;
        match words(&answer)[..] {
            ["revoked", packed] => api_key(packed).map(Some),
            ["none"] => Ok(None),
            _ => Err(unreadable("the answer to the revocation of an API key")),
        }
    }

    async fn check(&self, request: CheckRequest) -> Result<CheckAnswer, StoreError> {
        let Some(charge) = &request.charge else {
            // What holds nothing writes nothing: it must still be answered when Redis is full, or no key could be revoked then.
            let question = Question::without_charge(&request);
            return match self.ask_alone(&self.scripts.authorize, &question).await? {
                Reply::Full(answer) => check_answer(&request, &self.known_callers, &words(&answer)),
                Reply::Held { .. } => Err(unreadable("the answer to Check")),
            };
        };
        let known = self.known_callers.find(&request);
        let question = || Question::of(&request, charge, known.as_deref());
        let reply = match self.gathered_checks.ask(self, question()).await {
            Some(reply) => reply?,
            None => self.ask_alone(&self.scripts.check, &question()).await?,
        };
        match (reply, known) {
            (Reply::Held { remaining_credits, expires_at_ms }, Some(known)) => {
                let principal = known.principal().clone();
                let handle = HoldHandle {
                    account: request.account,
                    user_id: principal.user_id.clone(),
                    request_id: charge.request_id.clone(),
                    attempt_id: charge.attempt_id.clone(),
                };
                let (held_credits, max_output_tokens) = (whole_price(charge), charge.max_output_tokens);
                Ok(CheckAnswer::Held(principal, Held { handle, held_credits, remaining_credits, max_output_tokens, expires_at_ms }))
            }
            (Reply::Full(answer), _) => check_answer(&request, &self.known_callers, &words(&answer)),
            (Reply::Held { .. }, None) => Err(unreadable("the answer to Check")),
        }
    }

    async fn extend(&self, hold: &HoldHandle, usage: TokenUsage) -> Result<ExtendAnswer, StoreError> {
        let mut call = self.call_with_keys(&self.scripts.extend, &hold.account, RESOLVE_KEYS);
        call.arg(hold.hold_id()).arg(&hold.attempt_id);
        call.arg(usage.input_tokens).arg(usage.output_tokens).arg(flag(usage.estimated));
        let answer: Vec<String> = self.run(&call).await?;
        match words(&answer)[..] {
            ["extended", expires_at_ms] => Ok(ExtendAnswer::Extended { expires_at_ms: number(expires_at_ms)? }),
            ["resolved"] => Ok(ExtendAnswer::Resolved),
            ["none"] => Ok(ExtendAnswer::NotFound),
            _ => Err(unreadable("the answer to Extend")),
        }
    }

    async fn settle(&self, hold: &HoldHandle, outcome: Outcome, usage: TokenUsage) -> Result<SettleAnswer, StoreError> {
        let mut call = self.call_with_keys(&self.scripts.settle, &hold.account, RESOLVE_KEYS);
        call.arg(hold.hold_id()).arg(&hold.attempt_id).arg(packing::outcome_letter(outcome));
        call.arg(usage.input_tokens).arg(usage.output_tokens).arg(flag(usage.estimated));
        let answer: Vec<String> = self.run(&call).await?;
        match words(&answer)[..] {
            ["settled", packed] => resolved_hold(packed).map(SettleAnswer::Settled),
            ["superseded"] => Ok(SettleAnswer::Superseded),
            ["none"] => Ok(SettleAnswer::NotFound),
            _ => Err(unreadable("the answer to Settle")),
        }
    }

    async fn grant(&self, grant: GrantRequest) -> Result<GrantAnswer, StoreError> {
        if !(1..=MAX_CREDITS).contains(&grant.credits) {
            return Err(StoreError::Corrupt(format!("a grant of {} credits", grant.credits)));
        }
        let mut call = self.call(&self.scripts.grant, &grant.account);
        call.arg(grant.credits).arg(&grant.request_id).arg(&grant.note).arg(grant.granted_by.as_str()).arg(MAX_CREDITS);
        let answer: Vec<String> = self.run(&call).await?;
        match words(&answer)[..] {
            ["granted", entry, ref figures @ ..] => Ok(GrantAnswer::Granted { entry: number(entry)?, balance: balance(figures)? }),
            ["replayed", entry, ref figures @ ..] => Ok(GrantAnswer::Replayed { entry: number(entry)?, balance: balance(figures)? }),
            ["reused"] => Ok(GrantAnswer::RequestIdReused),
            ["too_much"] => Ok(GrantAnswer::TooMuch),
            ["none"] => Ok(GrantAnswer::NotFound),
            _ => Err(unreadable("the answer to a grant")),
        }
    }

    async fn balance(&self, account: &AccountId) -> Result<Option<Balance>, StoreError> {
        let answer: Vec<String> = self.run(&self.call(&self.scripts.balance, account)).await?;
        if answer.is_empty() { Ok(None) } else { balance(&words(&answer)).map(Some) }
    }

    async fn receipt(&self, account: &AccountId, user: &UserId, request_id: &str) -> Result<Option<HoldRecord>, StoreError> {
        let mut call = self.call(&self.scripts.receipt, account);
        call.arg(hold_id(user, request_id));
        let answer: Vec<String> = self.run(&call).await?;
        match words(&answer)[..] {
            ["open", packed] => open_hold(packed).map(Some),
            ["done", packed] => resolved_hold(packed).map(Some),
            ["none"] => Ok(None),
            _ => Err(unreadable("the answer to a receipt")),
        }
    }

    async fn ledger_entries(&self, account: &AccountId, before: Option<u64>, limit: u32) -> Result<Vec<LedgerEntry>, StoreError> {
        let mut call = self.call(&self.scripts.ledger, account);
        // Above what a double holds, every entry is below.
        call.arg(before.map(|entry| entry.min(1 << 53).to_string()).unwrap_or_default()).arg(limit);
        let answer: Vec<(String, Vec<String>)> = self.run(&call).await?;
        ledger(&answer)
    }

    async fn sweep(&self, from: Option<String>) -> Result<SweepStep, StoreError> {
        let (shard, after) = match from.as_deref().map(|from| from.split_once(':')) {
            None => (0, ""),
            Some(position) => position
                .and_then(|(shard, after)| Some((shard.parse::<u8>().ok()?, after)))
                .ok_or_else(|| unreadable("where the walk goes on"))?,
        };
        let start = if after.is_empty() { "-".to_owned() } else { format!("({after}") };
        let mut pipeline = ::redis::pipe();
        pipeline.cmd("ZRANGEBYLEX").arg(self.keys.registry(shard)).arg(start).arg("+").arg("LIMIT").arg(0).arg(ACCOUNTS_PER_STEP);
        let (ids,): (Vec<String>,) = self.query(&pipeline).await?;
        let mut expired = 0;
        let mut last = after;
        for id in &ids {
            let account = AccountId::parse(id).ok_or_else(|| unreadable("the registry of accounts"))?;
            let (resolved, more): (u32, u8) = match self.run(&self.call(&self.scripts.sweep, &account)).await {
                // One account that contradicts itself must not keep the walk from all others.
                Err(StoreError::Corrupt(what)) => {
                    tracing::error!(%account, what, "the account can't be swept");
                    (0, 0)
                }
                answer => answer?,
            };
            expired += resolved;
            if more == 1 {
                // The next step begins with this account again.
                return Ok(SweepStep { expired, next: Some(format!("{shard}:{last}")) });
            }
            last = id;
        }
        let next = if ids.len() == ACCOUNTS_PER_STEP {
            Some(format!("{shard}:{last}"))
        } else {
            (shard + 1 < REGISTRY_SHARDS).then(|| format!("{}:", shard + 1))
        };
        Ok(SweepStep { expired, next })
    }

    async fn snapshot(&self, account: &AccountId) -> Result<Option<AccountSnapshot>, StoreError> {
        type Answer = Option<(Vec<String>, Vec<String>, Vec<(String, Vec<String>)>)>;
        let answer: Value = self.run(&self.call(&self.scripts.snapshot, account)).await?;
        // An empty list is no account.
        let answer: Answer = match answer {
            Value::Array(parts) if parts.is_empty() => None,
            parts => Some(from_redis_value(parts).map_err(|_| unreadable("an account"))?),
        };
        let Some((figures, holds, log)) = answer else { return Ok(None) };
        let [figures @ .., open_count, remembered_count] = &words(&figures)[..] else { return Err(unreadable("an account's figures")) };
        let read = |packed: &String| packing::hold(packed).ok_or_else(|| unreadable("a hold"));
        let holds = holds.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let (remembered, open): (Vec<_>, Vec<_>) = holds.into_iter().partition(|hold| hold.resolved.is_some());
        if (open.len(), remembered.len()) != (number(open_count)?, number(remembered_count)?) {
            return Err(StoreError::Corrupt("the account's counts of holds are not those of the holds there are".to_owned()));
        }
        let sorted = |mut holds: Vec<HoldRecord>| {
            let entry = |hold: &HoldRecord| hold.resolved.as_ref().map(|resolved| resolved.ledger_entry);
            holds.sort_by(|a, b| (&a.user_id, &a.request_id, entry(a)).cmp(&(&b.user_id, &b.request_id, entry(b))));
            holds
        };
        Ok(Some(AccountSnapshot { balance: balance(figures)?, open: sorted(open), remembered: sorted(remembered), ledger: ledger(&log)? }))
    }
}

impl RedisStore {
    /// Asks a script of `check.lua` some questions.
    async fn ask(&self, script: &Script, questions: &[Question]) -> RedisResult<Value> {
        let keys: Vec<String> = questions
            .iter()
            .flat_map(|question| ACCOUNT_PARTS.iter().take(CHECK_KEYS).map(|part| self.keys.account_part(&question.account, part)))
            .collect();
        let mut call = ScriptCall::with_room(questions.len(), script, keys.iter());
        call.arg(self.now());
        for Question { access, hold_id, price, hold, who_asks, ends_at_ms, .. } in questions {
            match access {
                Some(access) => call.arg(access),
                None => call.arg(""),
            };
            call.arg(hold_id).arg(price).arg(hold).arg(who_asks);
            match ends_at_ms {
                Some(ends_at_ms) => call.arg(ends_at_ms),
                None => call.arg(""),
            };
        }
        self.answer(&call).await
    }

    async fn ask_alone(&self, script: &Script, question: &Question) -> Result<Reply, StoreError> {
        let answer = self.ask(script, std::slice::from_ref(question)).await.map_err(|error| self.failed(&error))?;
        question::answers(answer, 1).pop().unwrap_or_else(|| Err(unreadable("the answer to Check")))
    }
}

fn flag(set: bool) -> &'static str {
    if set { "1" } else { "0" }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

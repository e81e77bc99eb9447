//! A store with a clock that the test moves, and what the cases say often.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use auth_service::hold::{Fields, HoldRecord, Outcome, Terms, TokenUsage};
use auth_service::ids::{AccountId, KeyId, UserId};
use auth_service::model_pattern::PatternRule;
use auth_service::price::Price;
use auth_service::store::clock::Clock;
use auth_service::store::redis::{RedisOptions, RedisStore};
use auth_service::store::sqlite::SqliteStore;
use auth_service::store::{
    AccountSnapshot, ApiKeyRecord, AuditAction, AuditEvent, ChargeRequest, CheckAnswer, CheckRequest, Held, KeyAnswer, KeyChange,
    KeyChangeRequest, NewSecret, NewUser, Permission, PresentedCredential, Refusal, Scope, SettleAnswer, Store, StoreLimits, UserCreation,
};
use auth_service::sweeper::{Ahead, Walk};
use auth_service::user::{Role, UserName};
use rustix::process::{Resource, Rlimit};
use tokio::net::TcpSocket;

/// The hash of every new user's password.
pub(crate) const PASSWORD_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA";
/// When the tests' clock starts.
pub(crate) const START_MS: i64 = 1_700_000_000_500;

/// A Redis of its own, stopped when dropped.
#[derive(Debug)]
pub(crate) struct RedisServer {
    process: Child,
    port: u16,
    _reserved: Option<TcpSocket>,
    folder: tempfile::TempDir,
    password: Option<String>,
}

impl RedisServer {
    /// Starts one on a free port of the loopback address. A machine without redis-server fails the test: it is never skipped.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_by(|port, folder| spawn(port, folder, arguments))
    }

    /// Starts one that isn't ended by the signal that a process gets whose file may not grow.
    pub(crate) fn start_that_outlives_the_longest_file() -> Self {
        Self::start_by(|port, folder| {
            let without_signal = "trap '' XFSZ; exec redis-server --bind 127.0.0.1 --port \"$0\" --save '' --appendonly yes --dir \"$1\"";
            let mut shell = Command::new("sh");
            shell.args(["-c", without_signal, &port.to_string()]).arg(folder).stdout(Stdio::null()).spawn().unwrap()
        })
    }

    /// Sets how long its files may be, in bytes, and answers what it was.
    pub(crate) fn limit_files(&self, current: Option<u64>) -> Option<u64> {
        let pid = rustix::process::Pid::from_child(&self.process);
        let maximum = rustix::process::getrlimit(Resource::Fsize).maximum;
        rustix::process::prlimit(Some(pid), Resource::Fsize, Rlimit { current, maximum }).unwrap().current
    }

    /// Starts a Sentinel.
    pub(crate) fn start_sentinel() -> Self {
        Self::start_by(|port, folder| {
            let file = folder.join("sentinel.conf");
            std::fs::write(&file, format!("port {port}\nbind 127.0.0.1\n")).unwrap();
            Command::new("redis-server").arg(file).arg("--sentinel").stdout(Stdio::null()).spawn().unwrap()
        })
    }

    fn start_by(spawn: impl Fn(u16, &Path) -> Child) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (reserved, port) = reserve_port();
        let process = spawn(port, folder.path());
        let mut server = Self { process, port, _reserved: reserved, folder, password: None };
        assert!(server.answers(), "redis-server ended at its start");
        server
    }

    /// Starts it again on its port and with its files, after it was stopped.
    pub(crate) fn start_again(&mut self, arguments: &[&str]) {
        self.process = spawn(self.port, self.folder.path(), arguments);
        assert!(self.answers(), "redis-server ended at its start");
    }

    /// Kills it, as a crash would.
    pub(crate) fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Sends it a signal, such as `STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it takes connections; `false`: it has ended.
    fn answers(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.process.try_wait().unwrap().is_none() {
            if redis::Client::open(("127.0.0.1", self.port)).unwrap().get_connection().is_ok() {
                return true;
            }
            assert!(Instant::now() < deadline, "redis-server doesn't answer on port {}", self.port);
            std::thread::yield_now();
        }
        false
    }

    /// What the test's own connections need.
    pub(crate) fn set_password(&mut self, password: &str) {
        self.password = Some(password.to_owned());
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Runs a command on a connection of the test's own.
    pub(crate) fn command(&self, words: &[&str]) {
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| {
            command.arg(word);
        });
        command.exec(&mut self.connection()).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// A connection of the test's own.
    pub(crate) fn connection(&self) -> redis::Connection {
        let url = match &self.password {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}", self.port),
            None => self.url(),
        };
        redis::Client::open(url).unwrap().get_connection().unwrap()
    }

    /// Calls that Redis has counted of a command.
    pub(crate) fn calls_of(&self, command: &str) -> u64 {
        self.counted("commandstats", &format!("cmdstat_{command}:calls="))
    }

    /// What a section of `INFO` says behind a prefix; 0 when it says nothing.
    pub(crate) fn counted(&self, section: &str, prefix: &str) -> u64 {
        let info: String = redis::cmd("INFO").arg(section).query(&mut self.connection()).unwrap();
        info.lines().find_map(|line| line.strip_prefix(prefix)?.split(',').next()?.parse().ok()).unwrap_or(0)
    }

    pub(crate) async fn store(&self, limits: StoreLimits, clock: Clock) -> RedisStore {
        RedisStore::connect(&self.url(), limits, RedisOptions { clock, ..RedisOptions::default() }).await.unwrap()
    }
}

/// Takes away what version 10 of the file's schema added.
pub(crate) const WITHOUT_VERSION_10: &str = "DROP TABLE organizations; DROP TABLE member_usage; DROP TABLE invitations; \
     DROP TABLE second_factors; DROP TABLE identities; DROP TABLE used_proofs; DROP TABLE device_sign_ins;";

/// A port that nobody else is given while the socket lives. Nothing listens on it until a server does that was told to: Linux lets it,
/// since both set SO_REUSEADDR. Elsewhere the port is free again, and was unused a moment ago.
pub(crate) fn reserve_port() -> (Option<TcpSocket>, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (cfg!(target_os = "linux").then_some(socket), port)
}

fn spawn(port: u16, folder: &Path, arguments: &[&str]) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "yes", "--dir"])
        .arg(folder)
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("redis-server must be installed for these tests: {error}"))
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a fixture's store lives in.
#[derive(Debug)]
pub(crate) enum Home {
    Redis(RedisServer),
    Sqlite(tempfile::TempDir),
}

/// A store under test.
#[derive(Debug)]
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) hand: Arc<AtomicI64>,
    pub(crate) limits: StoreLimits,
    pub(crate) home: Home,
}

/// A user with their own account.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) id: UserId,
    pub(crate) account: AccountId,
}

impl Fixture {
    pub(crate) async fn redis(limits: StoreLimits) -> Self {
        let server = RedisServer::start(&[]);
        let url = server.url();
        Self::redis_at(server, &url, limits).await
    }

    /// On this Redis, reached by this address.
    pub(crate) async fn redis_at(server: RedisServer, url: &str, limits: StoreLimits) -> Self {
        let (clock, hand) = Clock::fixed(START_MS);
        let store = Arc::new(RedisStore::connect(url, limits, RedisOptions { clock, ..RedisOptions::default() }).await.unwrap());
        Self { store, hand, limits, home: Home::Redis(server) }
    }

    pub(crate) async fn sqlite(limits: StoreLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, hand) = Clock::fixed(START_MS);
        let store = Arc::new(SqliteStore::open(&sqlite_file(folder.path()), limits, clock).unwrap());
        Self { store, hand, limits, home: Home::Sqlite(folder) }
    }

    /// The same store, opened again with other limits.
    pub(crate) async fn open_again(self, limits: StoreLimits) -> Self {
        let Self { store, hand, home, .. } = self;
        drop(store);
        let clock = Clock::Fixed(Arc::clone(&hand));
        let store: Arc<dyn Store> = match &home {
            Home::Redis(server) => Arc::new(server.store(limits, clock).await),
            Home::Sqlite(folder) => Arc::new(SqliteStore::open(&sqlite_file(folder.path()), limits, clock).unwrap()),
        };
        Self { store, hand, limits, home }
    }

    /// Another process on the same store.
    pub(crate) async fn elsewhere(&self) -> Arc<dyn Store> {
        let clock = Clock::Fixed(Arc::clone(&self.hand));
        match &self.home {
            Home::Redis(server) => Arc::new(server.store(self.limits, clock).await),
            Home::Sqlite(folder) => Arc::new(SqliteStore::open(&sqlite_file(folder.path()), self.limits, clock).unwrap()),
        }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.hand.load(Ordering::SeqCst)
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.hand.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub(crate) fn go_back(&self, by: Duration) {
        self.hand.fetch_sub(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// To the moment at which a hold that was made now is due.
    pub(crate) fn pass_ttl(&self) {
        self.advance(self.limits.hold_ttl);
    }

    pub(crate) async fn person(&self, name: &str, credits: i64) -> Person {
        self.person_with_role(name, credits, Role::User).await
    }

    pub(crate) async fn person_with_role(&self, name: &str, credits: i64, role: Role) -> Person {
        let user = NewUser { role, ..new_user(name, credits) };
        let id = user.user_id.clone();
        match self.store.create_user(user, event()).await.unwrap() {
            UserCreation::Created(record) => assert_eq!(record.user_id, id),
            UserCreation::NameTaken | UserCreation::NameInProgress { .. } => panic!("the name {name} is taken"),
        }
        Person { account: AccountId::from(&id), id }
    }

    pub(crate) async fn check(&self, person: &Person, charge: ChargeRequest) -> CheckAnswer {
        self.store.check(self.request(person, Some(charge))).await.unwrap()
    }

    /// A check by access token, for inference with `llama3`.
    pub(crate) fn request(&self, person: &Person, charge: Option<ChargeRequest>) -> CheckRequest {
        CheckRequest {
            account: person.account.clone(),
            credential: PresentedCredential::AccessToken {
                user_id: person.id.clone(),
                session: None,
                issued_at_ms: self.now_ms() - self.now_ms() % 1000,
            },
            permission: permission(Scope::Chat),
            charge,
            caller_address: None,
        }
    }

    pub(crate) async fn hold(&self, person: &Person, charge: ChargeRequest) -> Held {
        match self.check(person, charge).await {
            CheckAnswer::Held(_, held) => held,
            other => panic!("not held: {other:?}"),
        }
    }

    pub(crate) async fn settle(&self, handle: &Terms, outcome: Outcome, output_tokens: u32) -> HoldRecord {
        match self.store.settle(handle, outcome, used(output_tokens)).await.unwrap() {
            SettleAnswer::Settled(record) => record,
            other => panic!("not settled: {other:?}"),
        }
    }

    /// Everything about an account, its invariants checked.
    pub(crate) async fn snapshot(&self, person: &Person) -> AccountSnapshot {
        let snapshot = self.store.snapshot(&person.account).await.unwrap().unwrap();
        assert_eq!(snapshot.violations(), Vec::<String>::new());
        snapshot
    }

    pub(crate) async fn available(&self, person: &Person) -> i64 {
        self.snapshot(person).await.balance.available
    }

    pub(crate) async fn key(&self, person: &Person, secret: u8, change: impl FnOnce(&mut ApiKeyRecord)) -> ApiKeyRecord {
        let mut record = new_key(&person.id);
        change(&mut record);
        match create_key(&*self.store, &person.account, secret, record).await {
            KeyAnswer::Done { key, .. } => key.key,
            other => panic!("no key: {other:?}"),
        }
    }

    /// An account's keys as they are listed, without their secrets.
    pub(crate) async fn keys(&self, person: &Person) -> Vec<ApiKeyRecord> {
        self.store.api_keys(&person.account).await.unwrap().into_iter().map(|listed| listed.key).collect()
    }

    /// Whether a secret is good, or why not.
    pub(crate) async fn is_good(&self, person: &Person, secret: u8) -> Result<u32, Refusal> {
        match self.check_key(person, secret, permission(Scope::Chat), None).await {
            CheckAnswer::Allowed(principal) => Ok(principal.key_secret),
            CheckAnswer::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    /// A check by API key.
    pub(crate) async fn check_key(
        &self,
        person: &Person,
        secret: u8,
        permission: Permission,
        charge: Option<ChargeRequest>,
    ) -> CheckAnswer {
        let credential = PresentedCredential::ApiKey { secret_hash: [secret; 32] };
        self.store
            .check(CheckRequest { account: person.account.clone(), credential, permission, charge, caller_address: None })
            .await
            .unwrap()
    }

    /// How many changes and operators' actions the audit log has.
    pub(crate) fn recorded_changes(&self) -> usize {
        match &self.home {
            Home::Redis(server) => {
                let length = |log| redis::cmd("XLEN").arg(log).query::<usize>(&mut server.connection()).unwrap();
                length("tg:audit:changes") + length("tg:audit:operators")
            }
            Home::Sqlite(folder) => {
                let connection = rusqlite::Connection::open(sqlite_file(folder.path())).unwrap();
                let count = "SELECT (SELECT count(*) FROM audit_changes) + (SELECT count(*) FROM audit_operators)";
                connection.query_row(count, [], |row| row.get(0)).unwrap()
            }
        }
    }

    /// Walks over all accounts; the holds that were resolved.
    pub(crate) async fn walk(&self) -> u32 {
        walk(&*self.store).await
    }
}

/// Changes an account's keys, whoever asks.
pub(crate) async fn change_keys(store: &dyn Store, account: &AccountId, change: KeyChange) -> KeyAnswer {
    store.change_api_keys(KeyChangeRequest { account: account.clone(), asker: None, change }, event()).await.unwrap()
}

pub(crate) fn new_secret(secret: u8) -> NewSecret {
    NewSecret { secret_hash: [secret; 32], hint: format!("tg_ab…{secret:04}") }
}

pub(crate) async fn create_key(store: &dyn Store, account: &AccountId, secret: u8, key: ApiKeyRecord) -> KeyAnswer {
    change_keys(store, account, KeyChange::Create { key, secret: new_secret(secret), request: None }).await
}

/// `None`: there is no such key.
pub(crate) async fn revoke_key(store: &dyn Store, account: &AccountId, key_id: &KeyId) -> Option<ApiKeyRecord> {
    match change_keys(store, account, KeyChange::Revoke { key_id: key_id.clone() }).await {
        KeyAnswer::Done { key, .. } => Some(key.key),
        KeyAnswer::NotFound => None,
        other => panic!("{other:?}"),
    }
}

/// Walks over all accounts until nothing is left to do; the holds that were resolved.
pub(crate) async fn walk(store: &dyn Store) -> u32 {
    let (mut walk, mut expired) = (Walk::new(), 0);
    while walk.ahead() != Ahead::Nothing {
        expired += walk.turn(store).await.unwrap();
    }
    expired
}

pub(crate) fn sqlite_file(folder: &Path) -> std::path::PathBuf {
    folder.join(auth_service::config::STORE_FILE)
}

/// A key for inference.
pub(crate) fn new_key(user_id: &UserId) -> ApiKeyRecord {
    ApiKeyRecord {
        key_id: KeyId::random().unwrap(),
        user_id: user_id.clone(),
        name: "laptop, of \"Ada\"".to_owned(),
        scopes: Scope::INFERENCE.to_vec(),
        models: Vec::new(),
        pattern_rule: PatternRule::ByPart,
        networks: Vec::new(),
        created_at_ms: 0,
        expires_at_ms: None,
        revoked_at_ms: None,
    }
}

/// What is recorded of a change; cases that aren't about it say nothing more.
pub(crate) fn event() -> AuditEvent {
    AuditEvent::new(AuditAction::CreateUser)
}

pub(crate) fn new_user(name: &str, credits: i64) -> NewUser {
    NewUser {
        user_id: UserId::random().unwrap(),
        user_name: UserName::parse(name).unwrap(),
        password_hash: PASSWORD_HASH.to_owned(),
        full_name: "Ada Lovelace".to_owned(),
        email: "ada@example.org".to_owned(),
        role: Role::User,
        starting_credits: credits,
    }
}

pub(crate) fn permission(scope: Scope) -> Permission {
    Permission { model: "llama3".to_owned(), ..Permission::of(scope) }
}

/// A request that costs one credit a call.
pub(crate) fn one_credit(request_id: &str, attempt_id: &str) -> ChargeRequest {
    ChargeRequest {
        request_id: request_id.to_owned(),
        attempt_id: attempt_id.to_owned(),
        fingerprint: vec![0xf0, 0x0d],
        price: Price::default(),
        max_input_tokens: 100,
        max_output_tokens: 200,
        require_full: false,
    }
}

/// A request whose call costs 1, and each of its up to 10 output tokens 1.
pub(crate) fn by_token(request_id: &str, attempt_id: &str) -> ChargeRequest {
    ChargeRequest {
        price: Price { per_call: 1, per_1k_input_tokens: 0, per_1k_output_tokens: 1000 },
        max_output_tokens: 10,
        ..one_credit(request_id, attempt_id)
    }
}

/// A handle that differs from one that was given out.
pub(crate) fn altered(handle: &Terms, change: impl FnOnce(&mut Fields)) -> Terms {
    let mut fields = (**handle).clone();
    change(&mut fields);
    Terms::new(fields)
}

/// The handle that another attempt at the same request would have.
pub(crate) fn of_attempt(handle: &Terms, attempt_id: &str) -> Terms {
    altered(handle, |fields| attempt_id.clone_into(&mut fields.attempt_id))
}

pub(crate) fn used(output_tokens: u32) -> TokenUsage {
    TokenUsage { input_tokens: 7, output_tokens, estimated: false }
}

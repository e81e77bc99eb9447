//! Configuration from environment variables. [`VARIABLES`] is the list that the README shows and a test walks.

mod token_config;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256};
use shared::data_folder::DataFolder;
use shared::default_address::AUTH_LISTEN;
use shared::env::{Mistakes, Reader, Strings, Variable};
use shared::ledger::MAX_CREDITS;
use shared::secret::Secret;
use shared::serving::{CONNECTION_VARIABLES, CORS_VARIABLE, ConnectionLimits, CorsOrigins};
use shared::telemetry::LogConfig;
use shared::tls::{ClientNames, ServerTls, TLS_VARIABLES};

pub use self::token_config::TokenConfig;
use crate::access_token::{DEFAULT_LEEWAY, MAX_LEEWAY, SigningSecret};
use crate::account_page::{AccountPage, INFERENCE_URL_VARIABLE, PAGE_VARIABLE};
use crate::key_lifetimes::KeyLifetimes;
use crate::password::HashingCost;
use crate::price_table::PriceTable;
use crate::refunds::RefundLimit;
use crate::service::sign_up_policy::SignUpPolicy;
use crate::store::StoreLimits;
use crate::store::clock::Clock;
use crate::store::redis::{RedisPassword, address};

/// The store's file in the data folder.
pub const STORE_FILE: &str = "tollgate.db";
/// The file of the access tokens' secret in the data folder.
pub const JWT_SECRET_FILE: &str = "jwt-secret";
/// The file of the service credential in the data folder; inference-service reads the same.
pub const SERVICE_CREDENTIAL_FILE: &str = "service-credential";

/// All variables that auth-service reads.
pub const VARIABLES: &[Variable] = &[
    variable("TOLLGATE_AUTH_LISTEN", "127.0.0.1:50051", "The address and port to listen on.", "localhost"),
    variable("TOLLGATE_DATA_DIR", "./data", "The folder of the embedded store and of secrets made on the first start.", "/dev/null/data"),
    variable(
        "TOLLGATE_REDIS_URL",
        "unset: SQLite in the data folder",
        "`redis://[user:password@]host[:port][/db]`, of a Redis 7 or newer, or a Valkey.",
        "http://redis",
    ),
    variable(
        "TOLLGATE_REDIS_PASSWORD",
        "unset: that of the URL, or none",
        "Redis's password, as it is: any characters, none of them escaped.",
        "without a Redis",
    ),
    variable("TOLLGATE_REDIS_KEY_PREFIX", "tg", "What every Redis key starts with: 1 to 32 letters, digits, `-`, `_`.", "{tg}"),
    variable(
        "TOLLGATE_ALLOW_UNSAFE_REDIS",
        "unset: none",
        "Comma list of what a Redis may lack: `eviction` (another policy than noeviction), `no-aof` (no append-only file).",
        "everything",
    ),
    variable(
        "TOLLGATE_JWT_SECRETS",
        "made once in the data folder; required with Redis",
        "`kid:secret`, comma separated: each secret at least 64 hexadecimal digits (`openssl rand -hex 32`). The first signs, all verify.",
        "2026:secret",
    ),
    variable(
        "TOLLGATE_SERVICE_CREDENTIALS",
        "made once in the data folder; required with Redis",
        "One or two secrets of at least 64 hexadecimal digits, comma separated: any of them opens the Auth service.",
        "secret",
    ),
    variable(
        "TOLLGATE_SERVICE_CREDENTIAL",
        "unset",
        "The one of `TOLLGATE_SERVICE_CREDENTIALS`, where that is unset: both services can be given the same variable.",
        "secret",
    ),
    variable("TOLLGATE_JWT_SECRETS_FILE", "unset", "The file that holds `TOLLGATE_JWT_SECRETS`.", "/dev/null/secret"),
    variable("TOLLGATE_SERVICE_CREDENTIALS_FILE", "unset", "The file that holds `TOLLGATE_SERVICE_CREDENTIALS`.", "/dev/null/secret"),
    variable("TOLLGATE_SERVICE_CREDENTIAL_FILE", "unset", "The file that holds `TOLLGATE_SERVICE_CREDENTIAL`.", "/dev/null/secret"),
    variable("TOLLGATE_REDIS_PASSWORD_FILE", "unset", "The file that holds `TOLLGATE_REDIS_PASSWORD`.", "/dev/null/secret"),
    variable(
        "TOLLGATE_SIGNUP",
        "callers on this host while it listens on loopback, else closed",
        "`open` or `closed`: whether anybody may sign up.",
        "maybe",
    ),
    variable("TOLLGATE_SIGNUPS_PER_HOUR", "60", "Sign-ups from one address, at once and in an hour.", "0"),
    variable("TOLLGATE_STARTING_CREDITS", "10", "Credits of a new user.", "-1"),
    variable(
        "TOLLGATE_PRICES",
        "one credit a call",
        "`pattern=per_call[/per_1k_input_tokens[/per_1k_output_tokens]]` in whole credits, comma separated; the first match counts. \
         docs/models.md has what a pattern matches.",
        "llama3=cheap",
    ),
    variable("TOLLGATE_ACCESS_TOKEN_TTL", "30m", "How long an access token is good.", "30"),
    variable(
        "TOLLGATE_TOKEN_ALGORITHM",
        "HS256",
        "What signs access tokens: `HS256`, a secret itself, or `EdDSA`, keys derived from it that change by themselves, so that others \
         can verify tokens by `/.well-known/jwks.json`. Tokens of both are taken.",
        "RS256",
    ),
    variable(
        "TOLLGATE_TOKEN_KEY_PERIOD",
        "30d",
        "How long a key of `EdDSA` signs; it is published as long before and after. 10s to 366d, and no less than \
         `TOLLGATE_ACCESS_TOKEN_TTL`. Another one ends the access tokens of `EdDSA` in force.",
        "5s",
    ),
    variable(
        "TOLLGATE_ISSUER",
        "unset: `tollgate` in tokens",
        "The URL by which clients of OAuth2 know auth-service; it is the `iss` of access tokens. Those issued before are still taken.",
        "tollgate",
    ),
    variable(
        "TOLLGATE_TOKEN_ISSUERS_FILE",
        "unset: none",
        "A JSON file of other issuers whose tokens are taken; docs/http.md has its form.",
        "/dev/null/issuers.json",
    ),
    variable("TOLLGATE_SESSION_IDLE", "14d", "How long a session lives without a refresh; at least `TOLLGATE_ACCESS_TOKEN_TTL`.", "1s"),
    variable(
        "TOLLGATE_SESSION_LIFETIME",
        "90d",
        "How long a session lives, however often it is refreshed; at least `TOLLGATE_ACCESS_TOKEN_TTL`.",
        "forever",
    ),
    variable(
        "TOLLGATE_AUDIT_EVENTS",
        "100000",
        "Changes that the audit log keeps, at least; 1,000 to 10,000,000. Above, the oldest go. Of attempts that failed it keeps 20,000.",
        "10",
    ),
    variable("TOLLGATE_HOLD_TTL", "60s", "How long a hold lives after Check and after each Extend; 1s to 1h.", "2h"),
    variable("TOLLGATE_FORGET_AFTER", "1h", "How long a resolved request is remembered.", "soon"),
    variable("TOLLGATE_MAX_OPEN_HOLDS", "64", "Calls in progress of one account, at most: each has an open hold; 1 to 1,000,000.", "0"),
    variable(
        "TOLLGATE_MAX_REMEMBERED_REQUESTS",
        "200000",
        "Charged requests that an account has remembered; above, the oldest is forgotten before its time. Of those that cost nothing, 500.",
        "many",
    ),
    variable("TOLLGATE_REFUND_BURST", "100", "Calls of one account that may come to nothing at once; 1 to 1,000,000.", "0"),
    variable("TOLLGATE_REFUNDS_PER_SECOND", "10", "How many more may in each second after that; 1 to 1,000.", "0"),
    variable("TOLLGATE_SWEEP_INTERVAL", "5s", "Time between two walks over all accounts for holds that are due.", "0s"),
    variable("TOLLGATE_DRAIN_DEADLINE", "30s", "How long running calls may go on after SIGTERM.", "forever"),
    variable(
        "TOLLGATE_REFLECTION",
        "true; false where `TOLLGATE_PUBLISHED_ADDRESS` is not loopback",
        "Whether server reflection is there.",
        "perhaps",
    ),
    variable(
        "TOLLGATE_ALLOW_PLAINTEXT",
        "false",
        "Whether to listen on another address than loopback without TLS, where a proxy in front speaks it.",
        "perhaps",
    ),
    TLS_VARIABLES[0],
    TLS_VARIABLES[1],
    TLS_VARIABLES[2],
    variable(
        "TOLLGATE_AUTH_CLIENT_NAMES",
        "unset: none",
        "Names of client certificates that may call the Auth service without a service credential: whole DNS names and URIs, comma \
         separated.",
        "*.example.com",
    ),
    variable("TOLLGATE_ARGON2_MEMORY_KIB", "19456", "Memory of one password hash in KiB; at least 19456.", "1024"),
    variable("TOLLGATE_ARGON2_PASSES", "2", "Passes of one password hash; at least 2.", "1"),
    variable("TOLLGATE_LOG", "info", "What is logged: a level, or a list of target=level.", "auth_service=loud"),
    variable("TOLLGATE_LOG_FORMAT", "auto", "`auto` (human on a terminal, else JSON), `human` or `json`.", "xml"),
    CONNECTION_VARIABLES[0],
    CONNECTION_VARIABLES[1],
    CONNECTION_VARIABLES[2],
    CONNECTION_VARIABLES[3],
    CONNECTION_VARIABLES[4],
    CORS_VARIABLE,
    variable(
        "TOLLGATE_CLOCK_LEEWAY",
        "5s",
        "How far the clocks of auth-services may differ that take each other's access tokens; at most 60s.",
        "2m",
    ),
    variable(
        "TOLLGATE_PUBLISHED_ADDRESS",
        "unset: none but `TOLLGATE_AUTH_LISTEN`",
        "The IP address on which a container's port is published. Only the default of `TOLLGATE_REFLECTION` follows from it.",
        "localhost",
    ),
    variable(
        "TOLLGATE_LEDGER_RETENTION",
        "unset: all entries are kept",
        "How old a ledger entry becomes before `auth-service export-ledger` folds it; at least `TOLLGATE_FORGET_AFTER`.",
        "1y",
    ),
    variable(
        "TOLLGATE_KEY_LIFETIME",
        "unset: `TOLLGATE_KEY_MAX_LIFETIME`, or for ever",
        "How long a new API key lasts of which nothing is said; at most `TOLLGATE_KEY_MAX_LIFETIME`.",
        "0s",
    ),
    variable(
        "TOLLGATE_KEY_MAX_LIFETIME",
        "unset: no limit",
        "The longest that a new API key may last. Keys that were made before keep their time.",
        "forever",
    ),
    variable(PAGE_VARIABLE, "true", "Whether the account page is at `/`.", "perhaps"),
    variable(
        INFERENCE_URL_VARIABLE,
        "unset: the host that the browser asked, at port 50052",
        "Where people reach inference-service: the account page's 'try a call' goes there. It must list the page's origin in its own \
         `TOLLGATE_CORS_ORIGINS`.",
        "localhost",
    ),
];

/// Those that hold secrets: each may be given by a file, which `NAME_FILE` names.
const SECRETS: &[&str] =
    &["TOLLGATE_JWT_SECRETS", "TOLLGATE_SERVICE_CREDENTIALS", "TOLLGATE_SERVICE_CREDENTIAL", "TOLLGATE_REDIS_PASSWORD"];

/// Whose certificates open the Auth service.
const CLIENT_NAMES: &str = "TOLLGATE_AUTH_CLIENT_NAMES";

const fn variable(name: &'static str, default: &'static str, meaning: &'static str, bad: &'static str) -> Variable {
    Variable { name, default, meaning, bad }
}

/// Where users and credits are kept.
#[derive(Clone)]
pub enum StoreConfig {
    /// In a file.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
    /// In a Redis.
    Redis {
        /// `redis://…`. May hold a password: never logged.
        url: String,
        /// Its password, where the URL has none.
        password: Option<RedisPassword>,
        /// What every key starts with.
        key_prefix: String,
        /// Whether another policy than `noeviction` is taken.
        allow_eviction: bool,
        /// Whether a Redis without an append-only file is taken.
        allow_no_aof: bool,
    },
}

impl StoreConfig {
    /// Where it is, for the log: the file, or the Redis without user and password.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Sqlite { path } => path.display().to_string(),
            // What is no address is refused with a message of its own.
            Self::Redis { url, .. } => address::client(url).map(|client| address::place(&client)).unwrap_or_default(),
        }
    }
}

impl std::fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite { path } => f.debug_struct("Sqlite").field("path", path).finish(),
            Self::Redis { key_prefix, .. } => f.debug_struct("Redis").field("key_prefix", key_prefix).finish_non_exhaustive(),
        }
    }
}

/// Everything that auth-service is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen. Tests bind a listener of their own.
    pub listen: SocketAddr,
    /// Where users and credits are kept.
    pub store: StoreConfig,
    /// The store's bounds and times.
    pub limits: StoreLimits,
    /// How old a ledger entry becomes before an export folds it; `None`: none is folded. Not shorter than requests are remembered, so that
    /// a receipt's entry is there.
    pub ledger_retention: Option<Duration>,
    /// The store's clock; not from the environment. Tests inject one.
    pub clock: Clock,
    /// The access tokens' secrets; not empty, the first signs.
    pub signing_secrets: Vec<SigningSecret>,
    /// How long an access token is good.
    pub access_token_ttl: Duration,
    /// How far the clocks of hosts may differ.
    pub clock_leeway: Duration,
    /// How access tokens are signed, and whose others are taken.
    pub tokens: TokenConfig,
    /// Secrets that open the Auth service: one or two, or none where client certificates do.
    pub service_credentials: Vec<Secret>,
    /// Who may sign up.
    pub sign_up: SignUpPolicy,
    /// Sign-ups from one address, at once and in an hour.
    pub sign_ups_per_hour: u32,
    /// Credits of a new user.
    pub starting_credits: i64,
    /// What models cost.
    pub prices: PriceTable,
    /// Time between two walks over all accounts.
    pub sweep_interval: Duration,
    /// How long running calls may go on after the shutdown began.
    pub drain_deadline: Duration,
    /// Whether server reflection is there.
    pub reflection: bool,
    /// How many connections, and for how long.
    pub connections: ConnectionLimits,
    /// Which web pages may call.
    pub cors: CorsOrigins,
    /// The account page; `None`: there is none.
    pub account_page: Option<AccountPage>,
    /// How TLS is spoken; `None`: everything is in plaintext.
    pub tls: Option<ServerTls>,
    /// How long API keys last.
    pub key_lifetimes: KeyLifetimes,
    /// What a password hash costs.
    pub hashing: HashingCost,
    /// What is logged.
    pub log: LogConfig,
}

impl Config {
    /// Reads all variables, reports every mistake at once, and makes the data folder and its secrets when they are needed and not there.
    pub fn read(strings: &dyn Strings) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(strings);
        reader.refuse_unknown(VARIABLES);
        reader.read_secret_files(SECRETS);
        let log = LogConfig::read(&mut reader);
        let listen = read_listen(&mut reader);
        let allow_plaintext = reader.boolean("TOLLGATE_ALLOW_PLAINTEXT", false);
        let tls = read_tls(&mut reader);
        if !allow_plaintext && !listen.ip().is_loopback() && !ServerTls::is_asked_for(&reader) {
            let why = "is no loopback address: callers' credentials would cross the network in the clear; set TOLLGATE_TLS_CERTIFICATE and \
                       TOLLGATE_TLS_KEY, or put TLS in front and set TOLLGATE_ALLOW_PLAINTEXT=true";
            reader.mistake("TOLLGATE_AUTH_LISTEN", why);
        }
        let signup = reader.parse("TOLLGATE_SIGNUP", |value| match value {
            "open" => Ok(SignUpPolicy::Open),
            "closed" => Ok(SignUpPolicy::Closed),
            _ => Err(format!("must be open or closed, and is {value:?}")),
        });
        let sign_ups_per_hour = read_u32(&mut reader, "TOLLGATE_SIGNUPS_PER_HOUR", 60, 1, 1_000_000);
        let starting_credits = reader.integer("TOLLGATE_STARTING_CREDITS", 10, 0..=MAX_CREDITS);
        let prices = reader.parse("TOLLGATE_PRICES", PriceTable::parse).unwrap_or_default();
        let (seconds, hours) = (Duration::from_secs, |hours: u64| Duration::from_secs(hours * 3600));
        let access_token_ttl = reader.duration("TOLLGATE_ACCESS_TOKEN_TTL", seconds(1800), seconds(1)..=hours(24));
        let clock_leeway = reader.duration("TOLLGATE_CLOCK_LEEWAY", DEFAULT_LEEWAY, Duration::ZERO..=MAX_LEEWAY);
        let tokens = TokenConfig::read(&mut reader, access_token_ttl + 2 * clock_leeway);
        let default = StoreLimits::default();
        // A session that ends before its access tokens do would be refreshed too late by whoever goes by those.
        let session = access_token_ttl..=hours(24 * 366 * 10);
        let limits = StoreLimits {
            hold_ttl: reader.duration("TOLLGATE_HOLD_TTL", default.hold_ttl, seconds(1)..=hours(1)),
            forget_after: reader.duration("TOLLGATE_FORGET_AFTER", default.forget_after, seconds(1)..=hours(24 * 30)),
            max_open_holds: read_u32(&mut reader, "TOLLGATE_MAX_OPEN_HOLDS", default.max_open_holds, 1, 1_000_000),
            max_remembered_requests: read_u32(
                &mut reader,
                "TOLLGATE_MAX_REMEMBERED_REQUESTS",
                default.max_remembered_requests,
                1,
                10_000_000,
            ),
            max_free_requests: default.max_free_requests,
            refunds: RefundLimit {
                burst: read_u32(&mut reader, "TOLLGATE_REFUND_BURST", default.refunds.burst, 1, 1_000_000),
                every: seconds(1) / read_u32(&mut reader, "TOLLGATE_REFUNDS_PER_SECOND", 10, 1, 1000),
            },
            sweep_batch: default.sweep_batch,
            session_idle: reader.duration("TOLLGATE_SESSION_IDLE", default.session_idle, session.clone()),
            session_lifetime: reader.duration("TOLLGATE_SESSION_LIFETIME", default.session_lifetime, session),
            max_audit_changes: read_u32(&mut reader, "TOLLGATE_AUDIT_EVENTS", default.max_audit_changes, 1000, 10_000_000),
            max_audit_attempts: default.max_audit_attempts,
        };
        let ledger_retention = reader.string("TOLLGATE_LEDGER_RETENTION").map(|_| {
            let least = limits.forget_after;
            reader.duration("TOLLGATE_LEDGER_RETENTION", least, least..=hours(24 * 366 * 100))
        });
        let key_lifetimes = read_key_lifetimes(&mut reader);
        let sweep_interval = reader.duration("TOLLGATE_SWEEP_INTERVAL", seconds(5), Duration::from_millis(100)..=hours(1));
        let drain_deadline = reader.duration("TOLLGATE_DRAIN_DEADLINE", seconds(30), Duration::ZERO..=hours(1));
        let reflection = reader.reflection();
        let account_page = AccountPage::read(&mut reader, tls.is_some());
        let connections = ConnectionLimits::read(&mut reader);
        let cors = CorsOrigins::read(&mut reader);
        let least = HashingCost::default();
        let hashing = HashingCost {
            memory_kib: read_u32(&mut reader, "TOLLGATE_ARGON2_MEMORY_KIB", least.memory_kib, least.memory_kib, 4 * 1024 * 1024),
            passes: read_u32(&mut reader, "TOLLGATE_ARGON2_PASSES", least.passes, least.passes, 64),
        };
        let given_jwt = Given::read(&mut reader, "TOLLGATE_JWT_SECRETS", parse_signing_secrets);
        let given_service = read_service_credentials(&mut reader);
        // Where certificates open the Auth service, a credential does only if it is given.
        let needs_credential = reader.string(CLIENT_NAMES).is_none();
        let (store, signing_secrets, service_credentials) = match read_redis(&mut reader) {
            Some(redis) => (
                redis,
                given_jwt.required(&mut reader, "make k1:SECRET, with a SECRET from `openssl rand -hex 32`"),
                if needs_credential {
                    given_service.required(&mut reader, shared::secret::HOW_TO_MAKE)
                } else {
                    given_service.secrets.unwrap_or_default()
                },
            ),
            None => read_data_folder(&mut reader, given_jwt, given_service, needs_credential),
        };
        reader.finish(Self {
            listen,
            store,
            limits,
            ledger_retention,
            clock: Clock::Store,
            signing_secrets,
            access_token_ttl,
            clock_leeway,
            tokens,
            service_credentials,
            sign_up: signup.unwrap_or(if listen.ip().is_loopback() { SignUpPolicy::OnThisHost } else { SignUpPolicy::Closed }),
            sign_ups_per_hour,
            starting_credits,
            prices,
            sweep_interval,
            drain_deadline,
            reflection,
            connections,
            cors,
            account_page,
            tls,
            key_lifetimes,
            hashing,
            log,
        })
    }

    /// Only where the service listens, for `healthcheck`, which needs no secrets.
    pub fn read_listen_address(strings: &dyn Strings) -> Result<SocketAddr, Mistakes> {
        let mut reader = Reader::new(strings);
        let listen = read_listen(&mut reader);
        reader.finish(listen)
    }
}

fn read_listen(reader: &mut Reader<'_>) -> SocketAddr {
    reader.address("TOLLGATE_AUTH_LISTEN", AUTH_LISTEN)
}

/// TLS, and whose certificates open the Auth service.
fn read_tls(reader: &mut Reader<'_>) -> Option<ServerTls> {
    let tls = ServerTls::read(reader);
    let Some(names) = reader.parse(CLIENT_NAMES, ClientNames::parse) else { return tls };
    if reader.string(TLS_VARIABLES[2].name).is_none() {
        reader.mistake(CLIENT_NAMES, "is set, and no client is asked for a certificate: set TOLLGATE_TLS_CLIENT_CA");
    }
    tls.map(|tls| tls.with_client_names(names))
}

fn read_u32(reader: &mut Reader<'_>, name: &str, default: u32, low: u32, high: u32) -> u32 {
    let read = reader.integer(name, i64::from(default), i64::from(low)..=i64::from(high));
    u32::try_from(read).unwrap_or(default)
}

/// `None` when no Redis is named. A URL that is wrong counts as named: the mistake is recorded, and no data folder is made for it.
fn read_redis(reader: &mut Reader<'_>) -> Option<StoreConfig> {
    let key_prefix = reader.parse("TOLLGATE_REDIS_KEY_PREFIX", |value| {
        let valid =
            (1..=32).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if valid { Ok(value.to_owned()) } else { Err(format!("must be 1 to 32 letters, digits, - or _, and is {value:?}")) }
    });
    let mut allowed = (false, false);
    reader.parse("TOLLGATE_ALLOW_UNSAFE_REDIS", |value| {
        value.split(',').map(str::trim).try_for_each(|word| match word {
            "eviction" => {
                allowed.0 = true;
                Ok(())
            }
            "no-aof" => {
                allowed.1 = true;
                Ok(())
            }
            _ => Err(format!("must be a comma list of eviction and no-aof, and has {word:?}")),
        })
    });
    let named = reader.string("TOLLGATE_REDIS_URL").is_some();
    let url = reader.parse("TOLLGATE_REDIS_URL", |value| address::client(value).map(|_| value.to_owned()).map_err(str::to_owned));
    let password = reader.string("TOLLGATE_REDIS_PASSWORD").map(RedisPassword::new);
    if password.is_some() && !named {
        reader.mistake("TOLLGATE_REDIS_PASSWORD", "is set, and no Redis is named by TOLLGATE_REDIS_URL, such as redis://redis:6379");
    }
    if password.is_some() && url.as_deref().is_some_and(address::has_password) {
        reader.mistake("TOLLGATE_REDIS_PASSWORD", "is set, and TOLLGATE_REDIS_URL has a password too: take it out of the URL");
    }
    named.then(|| StoreConfig::Redis {
        url: url.unwrap_or_default(),
        password,
        key_prefix: key_prefix.unwrap_or_else(|| "tg".to_owned()),
        allow_eviction: allowed.0,
        allow_no_aof: allowed.1,
    })
}

fn read_key_lifetimes(reader: &mut Reader<'_>) -> KeyLifetimes {
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(3600 * 24 * 366 * 100));
    let mut read = |name| reader.string(name).map(|_| reader.duration(name, most, least..=most));
    let (longest, default) = (read("TOLLGATE_KEY_MAX_LIFETIME"), read("TOLLGATE_KEY_LIFETIME"));
    if let (Some(default), Some(longest)) = (default, longest)
        && default > longest
    {
        reader.mistake("TOLLGATE_KEY_LIFETIME", "must be at most TOLLGATE_KEY_MAX_LIFETIME, or be left out");
    }
    KeyLifetimes { default, longest }
}

/// The secrets of a variable, whether it was given rightly, wrongly or not at all.
struct Given<T> {
    name: &'static str,
    secrets: Option<Vec<T>>,
    is_given: bool,
}

impl<T> Given<T> {
    fn read(reader: &mut Reader<'_>, name: &'static str, parse: impl FnOnce(&str) -> Result<Vec<T>, String>) -> Self {
        let is_given = reader.is_given(name);
        Self { name, secrets: reader.parse(name, parse), is_given }
    }

    /// With a Redis: it serves several replicas, which must be given the same secrets.
    fn required(self, reader: &mut Reader<'_>, how_to_make: &str) -> Vec<T> {
        if !self.is_given {
            reader.mistake(self.name, format!("is required with TOLLGATE_REDIS_URL: {how_to_make}"));
        }
        self.secrets.unwrap_or_default()
    }
}

/// The list, or the one secret that inference-service is given too: a mistake names the variable that was set.
fn read_service_credentials(reader: &mut Reader<'_>) -> Given<Secret> {
    let list = Given::read(reader, "TOLLGATE_SERVICE_CREDENTIALS", parse_service_credentials);
    let one = Given::read(reader, "TOLLGATE_SERVICE_CREDENTIAL", |value| Secret::parse(value).map(|secret| vec![secret]));
    if !list.is_given && one.is_given { one } else { list }
}

/// The embedded store, and the secrets that were not given from its folder.
fn read_data_folder(
    reader: &mut Reader<'_>,
    given_jwt: Given<SigningSecret>,
    given_service: Given<Secret>,
    needs_credential: bool,
) -> (StoreConfig, Vec<SigningSecret>, Vec<Secret>) {
    const NAME: &str = "TOLLGATE_DATA_DIR";
    let path = PathBuf::from(reader.string(NAME).unwrap_or_else(|| "./data".to_owned()));
    let store = StoreConfig::Sqlite { path: path.join(STORE_FILE) };
    let folder = match DataFolder::open(&path) {
        Ok(folder) => folder,
        Err(error) => {
            reader.mistake(NAME, format!("must be a folder: {error}"));
            return (store, given_jwt.secrets.unwrap_or_default(), given_service.secrets.unwrap_or_default());
        }
    };
    let mut secret_of = |file: &str, is_given: bool| {
        if is_given {
            return None;
        }
        folder.secret(file).map_err(|error| reader.mistake(NAME, format!("is unusable: {error}"))).ok()
    };
    let made_jwt = secret_of(JWT_SECRET_FILE, given_jwt.is_given);
    let made_service = secret_of(SERVICE_CREDENTIAL_FILE, given_service.is_given || !needs_credential);
    let signing = made_jwt.map(|secret| {
        // Named after the secret, so that a new one in the folder gets a new name.
        let digest = Sha256::new().chain_update(b"tollgate kid").chain_update(secret.bytes()).finalize();
        vec![SigningSecret { kid: hex::encode(&digest[..8]), secret }]
    });
    let signing = given_jwt.secrets.or(signing).unwrap_or_default();
    let service = given_service.secrets.or(made_service.map(|secret| vec![secret])).unwrap_or_default();
    (store, signing, service)
}

fn parse_signing_secrets(text: &str) -> Result<Vec<SigningSecret>, String> {
    let mut secrets: Vec<SigningSecret> = Vec::new();
    for (entry, number) in text.split(',').zip(1..) {
        let (kid, secret) =
            entry.trim().split_once(':').ok_or_else(|| format!("must be kid:secret, comma separated; entry {number} has no colon"))?;
        let valid = (1..=64).contains(&kid.len()) && kid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if !valid || secrets.iter().any(|other| other.kid == kid) {
            return Err(format!("must name each secret by another kid of 1 to 64 letters, digits, - or _; see entry {number}"));
        }
        let secret = Secret::parse(secret).map_err(|expected| format!("entry {number}: the secret {expected}"))?;
        secrets.push(SigningSecret { kid: kid.to_owned(), secret });
    }
    Ok(secrets)
}

fn parse_service_credentials(text: &str) -> Result<Vec<Secret>, String> {
    let secrets = text.split(',').map(|secret| Secret::parse(secret.trim())).collect::<Result<Vec<_>, _>>()?;
    if secrets.len() <= 2 { Ok(secrets) } else { Err("must be one secret, or two while it rotates".to_owned()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, Mistakes> {
        let strings: BTreeMap<String, String> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::read(&strings)
    }

    fn hex_secret() -> String {
        Secret::generate().unwrap().1
    }

    #[test]
    fn without_configuration_the_secrets_are_made_once_in_the_data_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let set = [("TOLLGATE_DATA_DIR", path.to_str().unwrap())];
        let (first, second) = (read(&set).unwrap(), read(&set).unwrap());
        assert_eq!(first.signing_secrets[0].kid, second.signing_secrets[0].kid);
        assert_eq!(first.service_credentials[0].to_hex(), second.service_credentials[0].to_hex());
        assert_ne!(first.service_credentials[0].to_hex(), first.signing_secrets[0].secret.to_hex());
        assert_eq!(first.sign_up, SignUpPolicy::OnThisHost);
        assert_eq!(first.starting_credits, 10);
    }

    #[test]
    fn redis_needs_its_secrets_given_and_makes_no_folder() {
        let Mistakes(mistakes) = read(&[("TOLLGATE_REDIS_URL", "redis://127.0.0.1"), ("TOLLGATE_DATA_DIR", "/dev/null/x")]).unwrap_err();
        let names: Vec<_> = mistakes.iter().map(|mistake| mistake.split(' ').next().unwrap()).collect();
        assert_eq!(names, ["TOLLGATE_JWT_SECRETS", "TOLLGATE_SERVICE_CREDENTIALS"]);
        let (jwt, old, service) = (hex_secret(), hex_secret(), hex_secret());
        let config = read(&[
            ("TOLLGATE_REDIS_URL", "redis://127.0.0.1"),
            ("TOLLGATE_JWT_SECRETS", &format!("new:{jwt},old:{old}")),
            ("TOLLGATE_SERVICE_CREDENTIALS", &service),
        ])
        .unwrap();
        assert_eq!(config.signing_secrets.iter().map(|one| one.kid.as_str()).collect::<Vec<_>>(), ["new", "old"]);
        let shown = format!("{config:?}");
        assert!([jwt, old, service].iter().all(|secret| !shown.contains(&secret[..8])), "{shown}");
    }

    #[test]
    fn every_secret_is_read_from_the_file_that_its_variable_names() {
        let folder = tempfile::tempdir().unwrap();
        let in_file = |name: &str, secret: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("{secret}\n")).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (jwt, service) = (hex_secret(), hex_secret());
        let password = in_file("password", "a/b#c%41 $d");
        let (jwt_file, service_file) = (in_file("jwt", &format!("k1:{jwt}")), in_file("service", &service));
        for of_service in ["TOLLGATE_SERVICE_CREDENTIALS_FILE", "TOLLGATE_SERVICE_CREDENTIAL_FILE"] {
            let config = read(&[
                ("TOLLGATE_REDIS_URL", "redis://host"),
                ("TOLLGATE_REDIS_PASSWORD_FILE", &password),
                ("TOLLGATE_JWT_SECRETS_FILE", &jwt_file),
                (of_service, &service_file),
            ])
            .unwrap();
            assert_eq!(config.signing_secrets[0].secret.to_hex(), jwt);
            assert_eq!(config.service_credentials[0].to_hex(), service);
            let StoreConfig::Redis { password, .. } = config.store else { panic!("no Redis") };
            assert_eq!(password.unwrap().text(), "a/b#c%41 $d");
        }
        // One that can't be read is the only mistake, and no other secret is made in its place.
        let data = folder.path().join("data");
        let (data, missing) = (data.to_str().unwrap(), folder.path().join("missing").to_str().unwrap().to_owned());
        let Mistakes(mistakes) = read(&[("TOLLGATE_DATA_DIR", data), ("TOLLGATE_JWT_SECRETS_FILE", &missing)]).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].starts_with("TOLLGATE_JWT_SECRETS_FILE"), "{mistakes:?}");
        assert!(!folder.path().join("data").join(JWT_SECRET_FILE).exists());
    }

    #[test]
    fn the_password_of_redis_needs_a_redis_and_stands_in_one_place() {
        let secrets = [("TOLLGATE_JWT_SECRETS", format!("k1:{}", hex_secret())), ("TOLLGATE_SERVICE_CREDENTIALS", hex_secret())];
        let with = |more: &[(&str, &str)]| {
            let secrets = secrets.iter().map(|(name, value)| (*name, value.as_str()));
            read(&secrets.chain(more.iter().copied()).collect::<Vec<_>>())
        };
        let password = ("TOLLGATE_REDIS_PASSWORD", "can/ary#1");
        let config = with(&[password, ("TOLLGATE_REDIS_URL", "redis://user@redis")]).unwrap();
        assert!(!format!("{config:?}").contains("ary"), "{config:?}");
        let folder = tempfile::tempdir().unwrap();
        let data = ("TOLLGATE_DATA_DIR", folder.path().to_str().unwrap());
        for (more, says) in [
            (&[password, data][..], "no Redis is named"),
            (&[password, ("TOLLGATE_REDIS_URL", "redis://:other@redis")], "take it out of the URL"),
        ] {
            let Mistakes(mistakes) = with(more).unwrap_err();
            assert!(mistakes.len() == 1 && mistakes[0].starts_with("TOLLGATE_REDIS_PASSWORD is set"), "{mistakes:?}");
            assert!(mistakes[0].contains(says) && !mistakes[0].contains("ary") && !mistakes[0].contains("other@"), "{mistakes:?}");
        }
    }

    #[test]
    fn a_mistake_names_the_variable_of_the_service_credential_that_was_set() {
        let redis = ("TOLLGATE_REDIS_URL", "redis://redis");
        let jwt = format!("k1:{}", hex_secret());
        let jwt = ("TOLLGATE_JWT_SECRETS", jwt.as_str());
        let (one, list) = (("TOLLGATE_SERVICE_CREDENTIAL", "weak"), ("TOLLGATE_SERVICE_CREDENTIALS", "weak"));
        let Mistakes(mistakes) = read(&[redis, jwt, one]).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].starts_with("TOLLGATE_SERVICE_CREDENTIAL must"), "{mistakes:?}");
        assert_eq!(read(&[redis, jwt, one, list]).unwrap_err().0.len(), 2);
        // As a compose file gives it: the list is there, and empty.
        let secret = hex_secret();
        let config = read(&[redis, jwt, ("TOLLGATE_SERVICE_CREDENTIALS", ""), ("TOLLGATE_SERVICE_CREDENTIAL", &secret)]).unwrap();
        assert_eq!(config.service_credentials[0].to_hex(), secret);
        let other = hex_secret();
        let both = format!("{secret},{other}");
        let config = read(&[redis, jwt, ("TOLLGATE_SERVICE_CREDENTIALS", &both), ("TOLLGATE_SERVICE_CREDENTIAL", &secret)]).unwrap();
        assert_eq!(config.service_credentials.len(), 2);
    }

    #[test]
    fn a_network_address_needs_plaintext_to_be_allowed_and_closes_sign_up() {
        let folder = tempfile::tempdir().unwrap();
        let data = ("TOLLGATE_DATA_DIR", folder.path().to_str().unwrap());
        let listen = ("TOLLGATE_AUTH_LISTEN", "0.0.0.0:50051");
        let Mistakes(mistakes) = read(&[data, listen]).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].starts_with("TOLLGATE_AUTH_LISTEN"), "{mistakes:?}");
        let plaintext = ("TOLLGATE_ALLOW_PLAINTEXT", "true");
        assert_eq!(read(&[data, listen, plaintext]).unwrap().sign_up, SignUpPolicy::Closed);
        assert_eq!(read(&[data, listen, plaintext, ("TOLLGATE_SIGNUP", "open")]).unwrap().sign_up, SignUpPolicy::Open);
    }

    #[test]
    fn the_ledger_is_kept_unless_a_retention_is_given_that_no_receipt_outlives() {
        let folder = tempfile::tempdir().unwrap();
        let data = ("TOLLGATE_DATA_DIR", folder.path().to_str().unwrap());
        let retention = |value| ("TOLLGATE_LEDGER_RETENTION", value);
        assert_eq!(read(&[data]).unwrap().ledger_retention, None);
        assert_eq!(read(&[data, retention("")]).unwrap().ledger_retention, None);
        assert_eq!(read(&[data, retention("1h")]).unwrap().ledger_retention, Some(Duration::from_secs(3600)));
        let forget_after = ("TOLLGATE_FORGET_AFTER", "2h");
        assert_eq!(read(&[data, forget_after, retention("2h")]).unwrap().ledger_retention, Some(Duration::from_secs(7200)));
        for wrong in [&[data, retention("3599s")][..], &[data, forget_after, retention("119m")], &[data, retention("0s")]] {
            let Mistakes(mistakes) = read(wrong).unwrap_err();
            assert!(mistakes.len() == 1 && mistakes[0].starts_with("TOLLGATE_LEDGER_RETENTION"), "{mistakes:?}");
        }
    }

    #[test]
    fn api_keys_last_for_ever_unless_a_time_is_given_that_is_within_the_longest() {
        let folder = tempfile::tempdir().unwrap();
        let data = ("TOLLGATE_DATA_DIR", folder.path().to_str().unwrap());
        let (default, longest) = (|value| ("TOLLGATE_KEY_LIFETIME", value), |value| ("TOLLGATE_KEY_MAX_LIFETIME", value));
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        for (given, lifetimes) in [
            (vec![], KeyLifetimes::default()),
            (vec![default("1h")], KeyLifetimes { default: hours(1), longest: None }),
            (vec![default("2h"), longest("2h")], KeyLifetimes { default: hours(2), longest: hours(2) }),
        ] {
            assert_eq!(read(&[&[data][..], &given].concat()).unwrap().key_lifetimes, lifetimes);
        }
        let Mistakes(mistakes) = read(&[data, default("2h"), longest("119m")]).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].starts_with("TOLLGATE_KEY_LIFETIME must be at most"), "{mistakes:?}");
    }

    #[test]
    fn a_refused_secret_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let data = ("TOLLGATE_DATA_DIR", folder.path().to_str().unwrap());
        let weak = "correct-horse-battery-staple";
        for name in ["TOLLGATE_JWT_SECRETS", "TOLLGATE_SERVICE_CREDENTIALS", "TOLLGATE_REDIS_URL"] {
            let error = read(&[data, (name, weak)]).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains(weak), "{error}");
            let error = read(&[data, (name, &format!("kid:{weak}"))]).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains(weak), "{error}");
        }
    }
}

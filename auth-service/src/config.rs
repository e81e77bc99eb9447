//! Configuration from environment variables. [`VARIABLES`] is the list that docs/variables.md shows and a test walks.

mod token_config;
mod variables;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256};
use shared::data_folder::DataFolder;
use shared::default_address::AUTH_LISTEN;
use shared::env::{Mistakes, Reader, Strings};
use shared::ledger::MAX_CREDITS;
use shared::secret::Secret;
use shared::serving::{ConnectionLimits, CorsOrigins};
use shared::telemetry::LogConfig;
use shared::tls::{ClientNames, ServerTls, TLS_VARIABLES};

pub use self::token_config::TokenConfig;
pub use self::variables::VARIABLES;
use crate::access_token::{DEFAULT_LEEWAY, MAX_LEEWAY, SigningSecret};
use crate::account_page::AccountPage;
use crate::key_lifetimes::KeyLifetimes;
use crate::password::HashingCost;
use crate::price_table::PriceTable;
use crate::public_url::{PUBLIC_URL_VARIABLE, PublicUrl};
use crate::refunds::RefundLimit;
use crate::service::sign_up_policy::SignUpPolicy;
use crate::sign_in_issuers::{SignInIssuerConfig, read_sign_in_issuers};
use crate::store::StoreLimits;
use crate::store::clock::Clock;
use crate::store::redis::{RedisPassword, address};

/// The store's file in the data folder.
pub const STORE_FILE: &str = "tollgate.db";
/// The file of the access tokens' secret in the data folder.
pub const JWT_SECRET_FILE: &str = "jwt-secret";
/// The file of the service credential in the data folder; inference-service reads the same.
pub const SERVICE_CREDENTIAL_FILE: &str = "service-credential";

/// Those that hold secrets: each may be given by a file, which `NAME_FILE` names.
const SECRETS: &[&str] =
    &["TOLLGATE_JWT_SECRETS", "TOLLGATE_SERVICE_CREDENTIALS", "TOLLGATE_SERVICE_CREDENTIAL", "TOLLGATE_REDIS_PASSWORD"];

/// Whose certificates open the Auth service.
const CLIENT_NAMES: &str = "TOLLGATE_AUTH_CLIENT_NAMES";

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
    /// Whom people sign in with, beside us.
    pub sign_in_issuers: Vec<SignInIssuerConfig>,
    /// Where people reach this service; `None`: as each of them asked.
    pub public_url: Option<PublicUrl>,
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
    /// Whether operators' changes need a second factor that was proved just now.
    pub require_admin_totp: bool,
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
        let sign_in_issuers = read_sign_in_issuers(&mut reader);
        let public_url = reader.parse(PUBLIC_URL_VARIABLE, PublicUrl::parse);
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
            max_audit_operators: read_u32(&mut reader, "TOLLGATE_AUDIT_OPERATOR_EVENTS", default.max_audit_operators, 1000, 10_000_000),
            max_audit_attempts: default.max_audit_attempts,
        };
        let ledger_retention = reader.string("TOLLGATE_LEDGER_RETENTION").map(|_| {
            let least = limits.forget_after;
            reader.duration("TOLLGATE_LEDGER_RETENTION", least, least..=hours(24 * 366 * 100))
        });
        let key_lifetimes = read_key_lifetimes(&mut reader);
        let require_admin_totp = reader.boolean("TOLLGATE_REQUIRE_ADMIN_TOTP", false);
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
            sign_in_issuers,
            public_url,
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
            require_admin_totp,
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
mod tests;

//! What `main` and the tests start: the store opened, the services on a listener that the caller owns, and the walk over due holds beside
//! them.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::admission::{MethodPolicies, MethodPolicy};
use shared::authorization::CallerKind;
use shared::env::EXIT_USAGE;
use shared::essential::{EXIT_SOFTWARE, Essentials, Lost};
use shared::key_in_path::KeyInPath;
use shared::message_guard::MAX_UNCONFIRMED_BYTES;
use shared::proto::auth::accounts_server::AccountsServer;
use shared::proto::auth::admin_server::AdminServer;
use shared::proto::auth::auth_server::AuthServer;
use shared::secret::Secret;
use shared::serving::{self, Health, ServeConfig, ServeError, Served};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::server::NamedService;
use tonic::service::RoutesBuilder;

use crate::access_token::AccessTokens;
use crate::account_page::AccountPage;
use crate::config::{Config, StoreConfig};
use crate::credential::Credentials;
use crate::doors::{OAuth2Config, doors};
use crate::foreign_issuer::{ForeignIssuers, SourceError};
use crate::key_uses::{KeyUseNotes, KeyUses};
use crate::password::{HashingError, PasswordHashing};
use crate::revocation_feed::RevocationFeed;
use crate::service::accounts::AccountsService;
use crate::service::admin::AdminService;
use crate::service::audit_trail::AuditTrail;
use crate::service::auth::AuthService;
use crate::service::authorizer::Authorizer;
use crate::service::device_sign_in::DeviceSignIns;
use crate::service::guesses::Guesses;
use crate::service::usage_report::UsageReads;
use crate::sign_in_issuers::{IssuersError, SignInIssuers};
use crate::store::redis::{RedisOptions, RedisStore};
use crate::store::sqlite::SqliteStore;
use crate::store::{Store, StoreOpenError};
use crate::store_health::StoreWatch;
use crate::sweeper;
use crate::throttle::{LoginThrottle, SignUpThrottle};

/// The exit status when the store can't be reached at the start (`EX_UNAVAILABLE` of sysexits.h).
pub const EXIT_UNAVAILABLE: u8 = 69;

/// How long the start tries to reach a store: in a compose file, both start at once.
const REACH_STORE_FOR: Duration = Duration::from_secs(10);
/// Between two tries.
const REACH_STORE_EVERY: Duration = Duration::from_millis(250);
/// The largest request of these services: nothing here is long.
const MAX_REQUEST_BYTES: usize = MAX_UNCONFIRMED_BYTES;
/// The largest request of those who show no credential: a name, a password, an e-mail address.
pub(crate) const MAX_OPEN_REQUEST_BYTES: usize = 16 * 1024;
/// The gRPC services.
pub(crate) const SERVICES: [&str; 3] = [
    <AuthServer<AuthService> as NamedService>::NAME,
    <AccountsServer<AccountsService> as NamedService>::NAME,
    <AdminServer<AdminService> as NamedService>::NAME,
];
/// Calls at a time on one connection: an inference-service sends all of its calls on one.
const MAX_CONCURRENT_STREAMS: u32 = 4096;

/// Why auth-service didn't start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store can't be opened.
    #[error(transparent)]
    Store(#[from] StoreOpenError),
    /// A first password hash failed: too little memory.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// No secret to sign access tokens with.
    #[error("there is no secret to sign access tokens with")]
    NoSigningSecret,
    /// The operating system gave no randomness.
    #[error("no randomness: {0}")]
    Random(#[from] getrandom::Error),
    /// Foreign issuers' keys can't be read.
    #[error(transparent)]
    Issuers(#[from] SourceError),
    /// Nobody can sign in with issuers.
    #[error(transparent)]
    SignInIssuers(#[from] IssuersError),
    /// Listening or serving failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A thread or task that the process needs has ended.
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl StartError {
    /// What the process exits with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(StoreOpenError::Unreachable(_)) => EXIT_UNAVAILABLE,
            Self::Store(StoreOpenError::Misconfigured(_)) => EXIT_USAGE,
            Self::Lost(_) => EXIT_SOFTWARE,
            Self::Store(StoreOpenError::Unsafe(_) | StoreOpenError::Unusable(_))
            | Self::Hashing(_)
            | Self::NoSigningSecret
            | Self::Issuers(_)
            | Self::SignInIssuers(_)
            | Self::Random(_)
            | Self::Serve(_) => 1,
        }
    }
}

/// Opens the configured store; one that can't be reached is tried for about ten seconds.
pub async fn open_store(config: &Config) -> Result<Arc<dyn Store>, StoreOpenError> {
    let (give_up, place) = (Instant::now() + REACH_STORE_FOR, config.store.place());
    loop {
        match open_store_once(config).await {
            Err(StoreOpenError::Unreachable(why)) if Instant::now() < give_up => {
                tracing::warn!(store = place, why, "the store can't be reached; trying again");
                tokio::time::sleep(REACH_STORE_EVERY).await;
            }
            Err(StoreOpenError::Unreachable(why)) => return Err(StoreOpenError::Unreachable(format!("{place}: {why}"))),
            opened => return opened,
        }
    }
}

async fn open_store_once(config: &Config) -> Result<Arc<dyn Store>, StoreOpenError> {
    let clock = config.clock.clone();
    match &config.store {
        StoreConfig::Sqlite { path } => {
            outlive_the_longest_file();
            Ok(Arc::new(SqliteStore::open(path, config.limits, clock)?))
        }
        StoreConfig::Redis { url, password, key_prefix, allow_eviction, allow_no_aof } => {
            let options = RedisOptions {
                allow_eviction: *allow_eviction,
                allow_no_aof: *allow_no_aof,
                key_prefix: key_prefix.clone(),
                password: password.clone(),
                clock,
            };
            Ok(Arc::new(RedisStore::connect(url, config.limits, options).await?))
        }
    }
}

/// A file that grows beyond the longest that the process may write (`ulimit -f`) would end it by a signal. Watched, the signal does nothing
/// more: the write fails, and the store is full.
pub(crate) fn outlive_the_longest_file() {
    if let Err(error) = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())) {
        tracing::warn!(%error, "SIGXFSZ can't be watched");
    }
}

/// auth-service, ready to run.
pub struct Application {
    store: Arc<dyn Store>,
    revocations: Arc<RevocationFeed>,
    auth: AuthService,
    accounts: AccountsService,
    admin: AdminService,
    /// The URL by which clients of OAuth2 know it.
    issuer: Option<String>,
    issuers: Arc<ForeignIssuers>,
    page: Option<AccountPage>,
    serve: ServeConfig,
    sweep_interval: Duration,
    key_use_notes: KeyUseNotes,
    service_credentials: Vec<Secret>,
}

impl Application {
    /// Opens the store and prepares the services. No socket is opened.
    pub async fn build(config: Config) -> Result<Self, StartError> {
        let store = open_store(&config).await?;
        Self::with_store(config, store).await
    }

    /// Prepares the services on a store that is open.
    pub async fn with_store(config: Config, store: Arc<dyn Store>) -> Result<Self, StartError> {
        let tokens = AccessTokens::new(&config.signing_secrets, config.access_token_ttl, config.clock_leeway);
        let tokens = tokens.ok_or(StartError::NoSigningSecret)?.signing_with(config.tokens.algorithm, config.tokens.key_period);
        let tokens = Arc::new(match config.tokens.issuer.clone() {
            Some(issuer) => tokens.issued_by(issuer),
            None => tokens,
        });
        let public_url = config.public_url;
        let sign_in_issuers = SignInIssuers::new(config.sign_in_issuers, &tokens, config.clock_leeway)?;
        let issuers = Arc::new(ForeignIssuers::new(config.tokens.issuers, config.clock_leeway)?);
        let credentials = Credentials { tokens: Arc::clone(&tokens), issuers: Arc::clone(&issuers), store: Arc::clone(&store) };
        let hashing = config.hashing;
        let made = tokio::task::spawn_blocking(move || PasswordHashing::new(hashing)).await;
        let passwords = Arc::new(made.map_err(|error| HashingError::Broken(error.to_string()))??);
        let (key_uses, key_use_notes) = KeyUses::new();
        let require_admin_totp = config.require_admin_totp;
        let authorizer =
            Authorizer { store: Arc::clone(&store), credentials: credentials.clone(), key_uses: key_uses.clone(), require_admin_totp };
        let revocations = Arc::new(RevocationFeed::new(Arc::clone(&store)));
        let trail = Arc::new(AuditTrail::new(Arc::clone(&store)));
        Ok(Self {
            revocations: Arc::clone(&revocations),
            auth: AuthService {
                store: Arc::clone(&store),
                credentials,
                prices: config.prices,
                key_uses,
                hold_ttl: config.limits.hold_ttl,
                revocations,
                trail: Arc::clone(&trail),
                require_admin_totp,
            },
            accounts: AccountsService {
                authorizer: authorizer.clone(),
                store: Arc::clone(&store),
                tokens,
                passwords: Arc::clone(&passwords),
                logins: LoginThrottle::default(),
                sign_ups: SignUpThrottle::new(config.sign_ups_per_hour),
                sign_up: config.sign_up,
                starting_credits: config.starting_credits,
                key_lifetimes: config.key_lifetimes,
                trail: Arc::clone(&trail),
                issuers: sign_in_issuers,
                public_url: public_url.clone(),
                usage_reads: UsageReads::default(),
                devices: DeviceSignIns::new(public_url.map(|url| url.to_string()).or(config.tokens.issuer.clone()), config.tls.is_some()),
                guesses: Guesses::default(),
            },
            admin: AdminService { authorizer, store: Arc::clone(&store), passwords, starting_credits: config.starting_credits, trail },
            serve: ServeConfig {
                // Nothing here is for clients that can send no header.
                keys_in_paths: KeyInPath::Refused,
                reflection: config.reflection,
                drain_deadline: config.drain_deadline,
                max_concurrent_streams: MAX_CONCURRENT_STREAMS,
                connections: config.connections,
                cors: config.cors,
                tls: config.tls,
            },
            issuer: config.tokens.issuer,
            issuers,
            page: config.account_page,
            sweep_interval: config.sweep_interval,
            key_use_notes,
            service_credentials: config.service_credentials,
            store,
        })
    }

    /// The store, for tests that look behind the services.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// Serves until `shutdown` is ready, then drains. Calls are still answered while connections close: the settles of an inference-service
    /// that drains at the same time must land.
    ///
    /// # Errors
    /// [`StartError::Serve`] when serving broke; [`StartError::Lost`], at once, when the process lost what it can't do without.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), StartError> {
        let draining = CancellationToken::new();
        let accounts = Arc::new(self.accounts);
        let doors = doors(
            &accounts,
            OAuth2Config { issuer: self.issuer, tls: self.serve.tls.is_some(), service_credentials: self.service_credentials.clone() },
            self.page.as_ref(),
        );
        let site = self.page.as_ref().map(AccountPage::site);
        let mut routes = RoutesBuilder::default();
        let (most, gzip) = (MAX_REQUEST_BYTES, CompressionEncoding::Gzip);
        routes.add_service(AuthServer::new(self.auth).max_decoding_message_size(most).send_compressed(gzip));
        routes.add_service(AccountsServer::from_arc(accounts).max_decoding_message_size(most).send_compressed(gzip));
        routes.add_service(AdminServer::new(self.admin).max_decoding_message_size(most).send_compressed(gzip));
        let policies = MethodPolicies::new(&SERVICES, policy).with_service_credentials(self.service_credentials);
        let health = Health::new(&SERVICES).await;
        let served = Served { name: "Tollgate's auth-service", routes, policies, doors, site, health: health.clone() };
        let watch = StoreWatch::begin(Arc::clone(&self.store), health, draining.clone()).await;
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, store = self.store.condition().place(), "auth-service serves");
        }
        let essentials = Essentials::default();
        let sweep = sweeper::run(Arc::clone(&self.store), self.sweep_interval, draining.clone());
        let mut sweep = essentials.spawn("the walk over due holds", &draining, sweep);
        let notes = self.key_use_notes.run(Arc::clone(&self.store), draining.clone());
        let mut notes = essentials.spawn("the notes of when API keys were used", &draining, notes);
        // It ends with the drain's beginning, and with it what others watch: nobody waits for them.
        let _revocations = essentials.spawn("the watch over revocations", &draining, self.revocations.run(draining.clone()));
        let keys = self.issuers.run(draining.clone());
        let _keys = essentials.spawn("the reading of foreign issuers' keys", &draining, keys);
        let _watch = essentials.spawn("the watch over the store", &draining, watch.run());
        let serve = async {
            let served = serving::serve(listener, served, self.serve, draining.clone(), shutdown).await;
            // Also when serving broke: the walk ends with it.
            draining.cancel();
            sweep.ended().await;
            notes.ended().await;
            served
        };
        tokio::select! {
            served = serve => Ok(served?),
            lost = essentials.lost() => Err(lost.into()),
            lost = self.store.lost() => Err(lost.into()),
        }
    }
}

/// Who may call a method, and how long its message may be.
pub(crate) fn policy(service: &str, method: &str) -> MethodPolicy {
    match (service, method) {
        ("tollgate.auth.v1.Auth", _) => MethodPolicy { caller: CallerKind::Service, most_bytes: MAX_REQUEST_BYTES, is_recorded: false },
        (
            "tollgate.auth.v1.Accounts",
            "SignUp"
            | "Login"
            | "Refresh"
            | "CompletePasswordReset"
            | "RevokeCredential"
            | "GetJwks"
            | "BeginSignIn"
            | "ExchangeIdToken"
            | "ListSignInIssuers"
            | "BeginDeviceSignIn"
            | "ExchangeDeviceCode",
        ) => MethodPolicy { caller: CallerKind::Anybody, most_bytes: MAX_OPEN_REQUEST_BYTES, is_recorded: false },
        _ => MethodPolicy { caller: CallerKind::EndUser, most_bytes: MAX_REQUEST_BYTES, is_recorded: false },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::process::{Command, ExitCode};

    use super::*;

    /// What a process does whose writer panics: it serves, and would for ever.
    async fn serve_with_a_writer_that_panics(folder: &str) -> ExitCode {
        let strings = BTreeMap::from([("TOLLGATE_DATA_DIR".to_owned(), folder.to_owned())]);
        let config = Config::read(&strings).unwrap();
        let StoreConfig::Sqlite { path } = &config.store else { panic!("not SQLite") };
        let store = Arc::new(SqliteStore::open(path, config.limits, config.clock.clone()).unwrap());
        let application = Application::with_store(config, Arc::clone(&store) as Arc<dyn Store>).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let serving = tokio::spawn(application.run(listener, std::future::pending()));
        assert!(store.panic().await.is_err());
        let error = serving.await.unwrap().unwrap_err();
        shared::telemetry::report_fatal("auth-service", &error);
        ExitCode::from(error.exit_code())
    }

    #[test]
    fn a_process_whose_sqlite_writer_panics_says_so_and_exits_70() {
        const CHILD: &str = "TOLLGATE_TEST_OF_A_PANIC";
        if let Some(folder) = std::env::var_os(CHILD) {
            let code = shared::runtime::block_on("auth-service", serve_with_a_writer_that_panics(folder.to_str().unwrap()));
            std::process::exit(if code == ExitCode::from(EXIT_SOFTWARE) { i32::from(EXIT_SOFTWARE) } else { 1 });
        }
        let folder = tempfile::tempdir().unwrap();
        let this = "startup::tests::a_process_whose_sqlite_writer_panics_says_so_and_exits_70";
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", this, "--nocapture"])
            .env(CHILD, folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(70), "{said}");
        assert!(said.contains("on purpose"), "the panic itself: {said}");
        assert!(said.contains("auth-service: the thread that writes SQLite's file panicked"), "{said}");
    }
}

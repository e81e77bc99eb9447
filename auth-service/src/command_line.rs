//! The command line: serve, make an admin, reset a second factor, export the ledger, print the contract, ask for health.

use std::future::Future;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::ErrorReason;
use shared::doors::openapi::descriptor_set;
use shared::env::{EXIT_USAGE, Mistakes, Strings};
use shared::healthcheck::{self, Transport, Unhealthy};
use shared::ledger::credits;
use shared::proto::auth::auth_server::AuthServer;
use shared::service_log::log_beside_the_service;
use shared::{serving, telemetry};
use tonic::server::NamedService;

use crate::config::Config;
use crate::doors;
use crate::ids::UserId;
use crate::ledger_export::{Destination, ExportError, Exported, OutputError, export};
use crate::password::{HashingError, MAX_BYTES_AS_SENT, NewPassword, Owner, PasswordHashing, UnfitPassword};
use crate::service::auth::AuthService;
use crate::startup::{Application, StartError, open_store, outlive_the_longest_file};
use crate::store::{AuditAction, AuditEvent, NewUser, Store, StoreError, StoreOpenError, UserCreation};
use crate::user::{Role, UserName};

/// Keeps Tollgate's users, keys and credits. Without a command it serves; it is configured by environment variables, which
/// docs/variables.md lists.
#[derive(Debug, Parser)]
#[command(name = "auth-service", version)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes a user with the admin role; the password is the first line of standard input.
    CreateAdmin {
        /// The user's name.
        name: String,
    },
    /// Turns a user's second factor off, and ends their sessions: for an operator who has lost both the app and the recovery codes.
    ResetSecondFactor {
        /// The user's name.
        name: String,
    },
    /// Appends the ledger to a file as JSON lines, then folds what is older than TOLLGATE_LEDGER_RETENTION.
    ///
    /// With TOLLGATE_LEDGER_RETENTION, entries that are older are written. Once they are on the disk, they are folded into one checkpoint
    /// an account, and no longer kept. Without it, all entries are written and none is folded. The services may run meanwhile. An export
    /// that breaks off loses nothing; the next one may write some entries again, under the same accountId and ledgerEntryId.
    ExportLedger {
        /// The file; - is standard output, whose reader must read to the end.
        #[arg(long, value_name = "FILE", default_value = "-")]
        to: PathBuf,
    },
    /// Prints what the HTTP doors take and answer, as OpenAPI 3.1 (JSON).
    Openapi,
    /// Prints the descriptors of all gRPC methods of both services: a google.protobuf.FileDescriptorSet, in bytes.
    Descriptors,
    /// Exits with 0 when the service that listens at TOLLGATE_AUTH_LISTEN can answer calls: its store takes writes.
    Healthcheck {
        /// Ask only whether the process lives.
        #[arg(long)]
        live: bool,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Config(#[from] Mistakes),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Unhealthy(#[from] Unhealthy),
    #[error("the user name must be 3 to 64 letters, digits, '.', '_' or '-', and begin with a letter, a digit or '_'")]
    UserName,
    #[error("the password {0}")]
    Password(#[from] UnfitPassword),
    #[error("there is a user of that name already")]
    NameTaken,
    #[error("there is no user of that name")]
    NoSuchUser,
    #[error("a user of that name is being made, or the making of one broke off; try again in {} s", .0.as_secs() + 1)]
    NameInProgress(std::time::Duration),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no randomness: {0}")]
    Random(#[from] getrandom::Error),
    #[error("standard input can't be read, or standard output can't be written: {0}")]
    Input(#[from] io::Error),
    #[error("{error}. {}", done(.exported))]
    Export { error: ExportError, exported: Exported },
    #[error("a signal stopped the export. {}; the next export goes on", done(.0))]
    ExportStopped(Exported),
    #[error("{}. {} accounts contradict themselves and were passed over: the log names them", done(.0), .0.passed_over)]
    AccountsPassedOver(Exported),
}

fn done(exported: &Exported) -> String {
    format!("{} ledger entries were written, and {} of them folded", exported.written, exported.folded)
}

impl From<StoreOpenError> for CommandError {
    fn from(error: StoreOpenError) -> Self {
        Self::Start(error.into())
    }
}

impl From<OutputError> for CommandError {
    fn from(error: OutputError) -> Self {
        Self::Export { error: error.into(), exported: Exported::default() }
    }
}

impl From<HashingError> for CommandError {
    fn from(error: HashingError) -> Self {
        Self::Start(error.into())
    }
}

impl CommandError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => EXIT_USAGE,
            Self::Start(error) => error.exit_code(),
            Self::Unhealthy(_)
            | Self::UserName
            | Self::Password(_)
            | Self::NameTaken
            | Self::NoSuchUser
            | Self::NameInProgress(_)
            | Self::Store(_)
            | Self::Random(_)
            | Self::Input(_)
            | Self::Export { .. }
            | Self::ExportStopped(_)
            | Self::AccountsPassedOver(_) => 1,
        }
    }
}

impl CommandLine {
    /// Does what the command line says, and gives what the process exits with. `shutdown` ends serving, and an export.
    pub async fn run(self, strings: &dyn Strings, shutdown: impl Future<Output = ()> + Send + 'static) -> ExitCode {
        let done = match self.command {
            None => serve(strings, shutdown).await,
            Some(Command::CreateAdmin { name }) => create_admin(strings, &name).await,
            Some(Command::ResetSecondFactor { name }) => reset_second_factor(strings, &name).await,
            Some(Command::ExportLedger { to }) => export_ledger(strings, &to, shutdown).await,
            Some(Command::Openapi) => print_openapi(),
            Some(Command::Descriptors) => io::stdout().write_all(&descriptor_set()).map_err(CommandError::from),
            Some(Command::Healthcheck { live }) => check_health(strings, live).await,
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // Plain text: a mistake in the configuration is read by a person, whatever the format of the logs.
                telemetry::report_fatal("auth-service", &error);
                ExitCode::from(error.exit_code())
            }
        }
    }
}

async fn serve(strings: &dyn Strings, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), CommandError> {
    let config = Config::read(strings)?;
    config.log.install();
    if config.tls.is_none() && !config.listen.ip().is_loopback() {
        tracing::warn!(address = %config.listen, "listening without TLS beyond loopback: credentials cross the network in the clear");
    }
    let listen = config.listen;
    let application = Application::build(config).await?;
    let listener = serving::listen(listen).await.map_err(StartError::from)?;
    Ok(application.run(listener, shutdown).await?)
}

async fn create_admin(strings: &dyn Strings, name: &str) -> Result<(), CommandError> {
    let config = Config::read(strings)?;
    config.log.install();
    let user_name = UserName::parse_new(name).ok_or(CommandError::UserName)?;
    let password = NewPassword::parse(&read_password()?, &Owner { user_name: user_name.as_str(), ..Owner::default() })?;
    let store = open_store(&config).await?;
    let password_hash = PasswordHashing::new(config.hashing)?.hash(password).await?;
    let user = NewUser {
        user_id: UserId::random()?,
        user_name,
        password_hash,
        full_name: String::new(),
        email: String::new(),
        role: Role::Admin,
        starting_credits: config.starting_credits,
    };
    let detail = format!("admin, {}", credits(user.starting_credits));
    let event = AuditEvent { detail, ..AuditEvent::new(AuditAction::CreateAdmin).to_user(&user.user_id, &user.user_name) };
    match store.create_user(user, event).await? {
        UserCreation::Created(user) => {
            log_beside_the_service(|| {
                let subject = user.user_id.to_string();
                tracing::info!(target: "audit", action = "create_admin", actor = "command line", subject, "an admin was made");
            });
            writeln!(io::stdout(), "{} is an admin now", user.user_name)?;
            Ok(())
        }
        UserCreation::NameTaken => Err(CommandError::NameTaken),
        UserCreation::NameInProgress { retry_after } => Err(CommandError::NameInProgress(retry_after)),
    }
}

async fn reset_second_factor(strings: &dyn Strings, name: &str) -> Result<(), CommandError> {
    let config = Config::read(strings)?;
    config.log.install();
    let name = UserName::parse(name).ok_or(CommandError::NoSuchUser)?;
    let store = open_store(&config).await?;
    let user = store.user_by_name(&name).await?.ok_or(CommandError::NoSuchUser)?;
    let event = AuditEvent::new(AuditAction::ResetSecondFactor).to_user(&user.user_id, &user.user_name);
    let change = store.reset_second_factor(&user.user_id, event).await?.ok_or(CommandError::NoSuchUser)?;
    if change.changed {
        log_beside_the_service(|| {
            let subject = user.user_id.to_string();
            tracing::info!(target: "audit", action = "reset_second_factor", actor = "command line", subject, "a second factor was reset");
        });
        writeln!(io::stdout(), "{} has no second factor now, and is signed out everywhere", user.user_name)?;
    } else {
        writeln!(io::stdout(), "{} had no second factor", user.user_name)?;
    }
    Ok(())
}

async fn export_ledger(strings: &dyn Strings, to: &Path, shutdown: impl Future<Output = ()>) -> Result<(), CommandError> {
    let config = Config::read(strings)?;
    config.log.install();
    outlive_the_longest_file();
    let mut exported = Exported::default();
    let stopped = {
        let exporting = async {
            // Before the store is opened: nobody waits for it in vain.
            let destination = if to == Path::new("-") {
                Destination::standard_output(config.ledger_retention.is_some())?
            } else {
                Destination::file(to).await?
            };
            let store = open_store(&config).await?;
            let result = export(&*store, &destination, config.ledger_retention, &mut exported).await;
            record_export(&*store, &exported, result.is_ok()).await;
            Ok(result)
        };
        tokio::select! {
            biased;
            () = shutdown => None,
            done = exporting => Some(done),
        }
    };
    let result = match stopped {
        None => Err(CommandError::ExportStopped(exported)),
        Some(Ok(Err(error))) => Err(CommandError::Export { error, exported }),
        Some(Ok(Ok(()))) if exported.passed_over > 0 => Err(CommandError::AccountsPassedOver(exported)),
        Some(opened) => opened.map(|_| ()),
    };
    let Exported { written, folded, passed_over } = exported;
    tracing::info!(
        target: "audit", action = "export_ledger", actor = "command line", to = %to.display(), written, folded, passed_over,
        succeeded = result.is_ok(), "the ledger was exported"
    );
    result
}

/// Records an export that came to its end. That it can't be recorded is no reason to do it again.
async fn record_export(store: &dyn Store, exported: &Exported, succeeded: bool) {
    let event = AuditEvent { detail: done(exported), ..AuditEvent::new(AuditAction::ExportLedger) };
    let event = if succeeded { event } else { event.failed(ErrorReason::Internal) };
    if let Err(error) = store.record_event(event).await {
        tracing::warn!(%error, "the export was not recorded in the audit log");
    }
}

/// The first line of standard input, without its end.
fn read_password() -> io::Result<String> {
    let input = io::stdin();
    if input.is_terminal() {
        write!(io::stderr(), "Password, at least 15 characters (it is shown as you type): ")?;
    }
    let mut line = String::new();
    // Two bytes more than the longest, so that a longer one is seen to be too long.
    input.lock().take(MAX_BYTES_AS_SENT as u64 + 2).read_line(&mut line)?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

fn print_openapi() -> Result<(), CommandError> {
    Ok(writeln!(io::stdout(), "{:#}", doors::document()?)?)
}

async fn check_health(strings: &dyn Strings, live: bool) -> Result<(), CommandError> {
    let service = if live { healthcheck::PROCESS } else { <AuthServer<AuthService> as NamedService>::NAME };
    Ok(healthcheck::check_over(Transport::of(strings), Config::read_listen_address(strings)?, service).await?)
}

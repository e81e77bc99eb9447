//! The command line: serve, make an admin, ask for health.

use std::future::Future;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::env::{EXIT_USAGE, Mistakes, Strings};
use shared::healthcheck::{self, Unhealthy};
use shared::proto::auth::auth_server::AuthServer;
use shared::{serving, telemetry};
use tonic::server::NamedService;

use crate::config::Config;
use crate::ids::UserId;
use crate::password::{HashingError, MAX_BYTES_AS_SENT, NewPassword, PasswordHashing, UnfitPassword};
use crate::service::auth::AuthService;
use crate::startup::{Application, StartError, open_store};
use crate::store::{NewUser, StoreError, StoreOpenError, UserCreation};
use crate::user::{Role, UserName};

/// Keeps Tollgate's users, keys and credits. Without a command it serves; it is configured by environment variables, which the README
/// lists.
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
    #[error("a user of that name is being made, or the making of one broke off; try again in {} s", .0.as_secs() + 1)]
    NameInProgress(std::time::Duration),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no randomness: {0}")]
    Random(#[from] getrandom::Error),
    #[error("the password can't be read from standard input: {0}")]
    Input(#[from] io::Error),
}

impl From<StoreOpenError> for CommandError {
    fn from(error: StoreOpenError) -> Self {
        Self::Start(error.into())
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
            | Self::NameInProgress(_)
            | Self::Store(_)
            | Self::Random(_)
            | Self::Input(_) => 1,
        }
    }
}

impl CommandLine {
    /// Does what the command line says, and gives what the process exits with. `shutdown` ends serving.
    pub async fn run(self, strings: &dyn Strings, shutdown: impl Future<Output = ()> + Send + 'static) -> ExitCode {
        let done = match self.command {
            None => serve(strings, shutdown).await,
            Some(Command::CreateAdmin { name }) => create_admin(strings, &name).await,
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
    if !config.listen.ip().is_loopback() {
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
    let password = NewPassword::parse(&read_password()?, Some(&user_name))?;
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
    match store.create_user(user).await? {
        UserCreation::Created(user) => {
            tracing::info!(target: "audit", action = "create_admin", actor = "command line", subject = %user.user_id, "an admin was made");
            writeln!(io::stdout(), "{} is an admin now", user.user_name)?;
            Ok(())
        }
        UserCreation::NameTaken => Err(CommandError::NameTaken),
        UserCreation::NameInProgress { retry_after } => Err(CommandError::NameInProgress(retry_after)),
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

async fn check_health(strings: &dyn Strings, live: bool) -> Result<(), CommandError> {
    let service = if live { healthcheck::PROCESS } else { <AuthServer<AuthService> as NamedService>::NAME };
    Ok(healthcheck::check(Config::read_listen_address(strings)?, service).await?)
}

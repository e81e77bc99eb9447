//! The command line: serve, or ask for health.

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::env::{EXIT_USAGE, Strings};
use shared::{healthcheck, serving, telemetry};

use crate::config::{Config, listen_address};
use crate::startup::{Application, INFERENCE};

/// Streams a model's answers, after each call was authenticated and paid for. Configured by environment variables.
#[derive(Debug, Parser)]
#[command(name = "inference-service", version)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Exits 0 when the service on this host can answer calls: it reaches auth-service and a model server.
    Healthcheck {
        /// Ask only whether the process lives.
        #[arg(long)]
        live: bool,
    },
}

/// What the process exits with, and why.
type Failure = (u8, Box<dyn Error>);

impl CommandLine {
    /// Does what the command line says, and gives what the process exits with. `shutdown` ends serving.
    pub async fn run(self, strings: &dyn Strings, shutdown: impl Future<Output = ()> + Send + 'static) -> ExitCode {
        let done = match self.command {
            None => serve(strings, shutdown).await,
            Some(Command::Healthcheck { live }) => check_health(strings, live).await,
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err((code, error)) => {
                telemetry::report_fatal("inference-service", &error);
                ExitCode::from(code)
            }
        }
    }
}

async fn serve(strings: &dyn Strings, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), Failure> {
    let config = Config::read(strings).map_err(|mistakes| (EXIT_USAGE, mistakes.into()))?;
    config.log.install();
    let listener = serving::listen(config.listen).await.map_err(|error| (1, error.into()))?;
    config.announce(&listener);
    let application = Application::build(config).await.map_err(|error| (1, error.into()))?;
    application.run(listener, shutdown).await.map_err(|error| (error.exit_code(), error.into()))?;
    tracing::info!("stopped");
    Ok(())
}

async fn check_health(strings: &dyn Strings, live: bool) -> Result<(), Failure> {
    let address = listen_address(strings).map_err(|mistakes| (EXIT_USAGE, mistakes.into()))?;
    healthcheck::check(address, if live { healthcheck::PROCESS } else { INFERENCE }).await.map_err(|error| (1, error.into()))
}

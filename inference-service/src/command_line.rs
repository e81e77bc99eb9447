//! The command line: serve, print the contract, or ask for health.

use std::error::Error;
use std::io::{Write, stdout};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::doors::openapi::descriptor_set;
use shared::env::{EXIT_USAGE, Strings};
use shared::healthcheck::{self, Transport};
use shared::{serving, telemetry};

use crate::config::{Config, listen_address};
use crate::doors::published::document;
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
    /// Prints what the HTTP doors take and answer, as OpenAPI 3.1 (JSON).
    Openapi,
    /// Prints the descriptors of all gRPC methods of both services: a google.protobuf.FileDescriptorSet, in bytes.
    Descriptors,
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
            Some(Command::Openapi) => {
                document().and_then(|document| print(format!("{document:#}\n").as_bytes())).map_err(|error| (1, error))
            }
            Some(Command::Descriptors) => print(&descriptor_set()).map_err(|error| (1, error)),
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

fn print(bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    Ok(stdout().write_all(bytes)?)
}

async fn check_health(strings: &dyn Strings, live: bool) -> Result<(), Failure> {
    let address = listen_address(strings).map_err(|mistakes| (EXIT_USAGE, mistakes.into()))?;
    let service = if live { healthcheck::PROCESS } else { INFERENCE };
    healthcheck::check_over(Transport::of(strings), address, service).await.map_err(|error| (1, error.into()))
}

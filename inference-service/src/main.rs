//! The command `inference-service`. See the README for the variables that it reads.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use inference_service::config::{Config, listen_address};
use inference_service::startup::Application;
use shared::env::{EXIT_USAGE, ProcessEnvironment};

const NAME: &str = "inference-service";

/// Streams a model's answers, after each call was authenticated and paid for. Configured by environment variables.
#[derive(Parser)]
#[command(name = "inference-service", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Exits 0 when the service on this host serves.
    Healthcheck,
}

/// A call makes some dozens of small allocations, most of which another thread gives back: what this allocator is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    shared::runtime::block_on(NAME, async {
        let done = match command {
            Some(Command::Healthcheck) => healthcheck().await,
            None => serve().await,
        };
        done.unwrap_or_else(|(code, error)| {
            shared::telemetry::last_words(NAME, &error);
            ExitCode::from(code)
        })
    })
}

type Failure = (u8, Box<dyn std::error::Error>);

async fn serve() -> Result<ExitCode, Failure> {
    let config = Config::read(&ProcessEnvironment).map_err(|mistakes| (EXIT_USAGE, mistakes.into()))?;
    config.log.install();
    let listener = shared::serving::listen(config.listen).await.map_err(|error| (1, error.into()))?;
    config.announce(&listener);
    let application = Application::build(config).await.map_err(|error| (1, error.into()))?;
    application.run(listener, shared::serving::shutdown_signal()).await.map_err(|error| (1, error.into()))?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

async fn healthcheck() -> Result<ExitCode, Failure> {
    let address = listen_address(&ProcessEnvironment).map_err(|mistakes| (EXIT_USAGE, mistakes.into()))?;
    shared::healthcheck::check(address).await.map_err(|error| (1, error.into()))?;
    Ok(ExitCode::SUCCESS)
}

//! The `tollgate` command: accounts, keys, credits, answers streamed to the terminal, and the services' certificates.

mod account;
mod admin;
mod arguments;
mod certificates;
mod chat;
mod display;
mod failure;
mod keys;
mod ledger;
mod models;
mod output;
mod password;
mod table;
mod text_file;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command};
use crate::failure::Failure;
use crate::output::Output;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return failure::report_usage(&error),
    };
    // One worker beside the main thread: it goes on watching for Ctrl-C while a write to standard output blocks.
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => return failure::report(&Failure::Io { what: "the runtime can't start".to_owned(), source }),
    };
    let outcome = runtime.block_on(run(arguments));
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure::report(&failure),
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let output = &mut Output::stdout();
    let command = match arguments.command {
        // It asks no server.
        Command::Tls(command) => return certificates::run(&command, output),
        command => command,
    };
    let client = arguments.connection.client()?;
    match command {
        Command::Signup(arguments) => account::sign_up(&client, arguments, output).await,
        Command::Login { name } => account::login(&client, &name, output).await,
        Command::Me => account::me(&client, output).await,
        Command::Keys(command) => keys::run(&client, command, output).await,
        Command::Balance => account::balance(&client, output).await,
        Command::History { limit } => ledger::history(&client, limit, output).await,
        Command::Receipt { request_id } => ledger::receipt(&client, &request_id, output).await,
        Command::Chat(arguments) => chat::chat(&client, arguments, output).await,
        Command::Generate(arguments) => chat::generate(&client, arguments, output).await,
        Command::Models(command) => models::run(&client, command, output).await,
        Command::Admin(command) => admin::run(&client, command, output).await,
        Command::Tls(command) => certificates::run(&command, output),
    }
}

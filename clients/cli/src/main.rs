//! The `tollgate` command: accounts, sessions, keys, credits, answers streamed to the terminal, and the services' certificates.

mod account;
mod admin;
mod arguments;
mod certificates;
mod chat;
mod connection;
mod display;
mod duration;
mod failure;
mod keys;
mod leaked;
mod ledger;
mod models;
mod output;
mod password;
mod session_file;
mod sessions;
mod table;
mod text_file;
mod usage;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command, Login};
use crate::failure::Failure;
use crate::output::Output;
use crate::sessions::Password;

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
    let connected = arguments.connection.open(command.caller())?;
    let client = connected.client.clone();
    match command {
        Command::Signup(arguments) => account::sign_up(&client, arguments, output).await,
        Command::Login(Login { name, client }) => sessions::login(connected, &name, &client, output).await,
        Command::Logout { everywhere } => sessions::logout(connected, everywhere, output).await,
        Command::Sessions(command) => sessions::run(connected, command, output).await,
        Command::Password(Password::Change) => sessions::change_password(&client, output).await,
        Command::Password(Password::CompleteReset { name, client }) => sessions::complete_reset(connected, &name, &client, output).await,
        Command::Me => account::me(&client, output).await,
        Command::Keys(command) => keys::run(&client, command, output).await,
        Command::Balance => account::balance(&client, output).await,
        Command::History { limit } => ledger::history(&client, limit, output).await,
        Command::Usage { from, to } => usage::usage(&client, &from, &to, output).await,
        Command::Receipt { request_id } => ledger::receipt(&client, &request_id, output).await,
        Command::Chat(arguments) => chat::chat(&client, arguments, output).await,
        Command::Generate(arguments) => chat::generate(&client, arguments, output).await,
        Command::Models(command) => models::run(&client, command, output).await,
        Command::Admin(command) => admin::run(&client, command, output).await,
        Command::Tls(command) => certificates::run(&command, output),
    }
}

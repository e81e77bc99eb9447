//! Running a command: what asks no server, and what does.

use clap::CommandFactory as _;

use crate::account;
use crate::admin;
use crate::arguments::{Arguments, Command};
use crate::certificates;
use crate::chat;
use crate::config;
use crate::connection::Connected;
use crate::failure::Failure;
use crate::keys;
use crate::ledger;
use crate::manual;
use crate::models;
use crate::output::Output;
use crate::sessions;
use crate::usage;

/// Runs what the command line says.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let output = &mut Output::stdout(arguments.json);
    let command = match arguments.command {
        Command::Tls(command) => return certificates::run(&command, output),
        Command::Config { command } => return config::run(arguments.connection, command.unwrap_or(config::Config::Show), output).await,
        Command::Completions { shell } => return manual::completions(Arguments::command(), shell, output),
        Command::Man { folder } => return manual::pages(Arguments::command(), folder.as_deref(), output),
        command => command,
    };
    let connected = arguments.connection.open(command.caller()).await?;
    ask(connected, command, output).await
}

async fn ask(connected: Connected, command: Command, output: &mut Output) -> Result<(), Failure> {
    let client = &connected.client;
    match command {
        Command::Signup(arguments) => account::sign_up(client, arguments, output).await,
        Command::Login(arguments) => sessions::login(connected, arguments, output).await,
        Command::Logout { everywhere } => sessions::logout(connected, everywhere, output).await,
        Command::Sessions(command) => sessions::run(connected, command, output).await,
        Command::Password(command) => sessions::password(connected, command, output).await,
        Command::Me => account::me(client, output).await,
        Command::Keys(command) => keys::run(connected, command, output).await,
        Command::Balance => account::balance(client, output).await,
        Command::History { limit } => ledger::history(client, limit, output).await,
        Command::Usage { from, to } => usage::usage(client, &from, &to, output).await,
        Command::Receipt { request_id } => ledger::receipt(client, &request_id, output).await,
        Command::Chat(arguments) => chat::chat(&connected, arguments, output).await,
        Command::Generate(arguments) => chat::generate(client, arguments, output).await,
        Command::Models(command) => models::run(client, command, output).await,
        Command::Admin(command) => admin::run(client, command, output).await,
        // They asked no server.
        Command::Tls(_) | Command::Config { .. } | Command::Completions { .. } | Command::Man { .. } => Ok(()),
    }
}

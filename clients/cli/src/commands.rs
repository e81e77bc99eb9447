//! Running a command: what asks no server, and what does.

use clap::CommandFactory as _;

use crate::account;
use crate::admin;
use crate::arguments::{Arguments, Command, Me, OfMember};
use crate::certificates;
use crate::chat;
use crate::config;
use crate::connection::Connected;
use crate::devices;
use crate::failure::Failure;
use crate::identities;
use crate::keys;
use crate::ledger;
use crate::login;
use crate::manual;
use crate::models;
use crate::named;
use crate::organizations;
use crate::output::Output;
use crate::second_factor;
use crate::service_accounts;
use crate::sessions;
use crate::setting::Setting;
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
    let connected = if command.is_of_account() { of_account(connected).await? } else { connected };
    ask(connected, command, output).await
}

/// The same, about the account that is named.
async fn of_account(connected: Connected) -> Result<Connected, Failure> {
    let Some(named) = connected.situation.text(Setting::Account)? else { return Ok(connected) };
    let account = named::account_id(&connected.client, &named).await?;
    Ok(Connected { client: connected.client.with_account(&account)?, account: Some(account), ..connected })
}

/// The id of the member whose part of the account is meant; empty: all.
async fn member(connected: &Connected, of: OfMember) -> Result<String, Failure> {
    match (of.member, &connected.account) {
        (None, _) => Ok(String::new()),
        (Some(named), Some(account)) => named::principal_id(&connected.client, account, &named).await,
        (Some(_), None) => Err(Failure::Usage("--account says in which organization the member is".to_owned())),
    }
}

async fn ask(connected: Connected, command: Command, output: &mut Output) -> Result<(), Failure> {
    let client = &connected.client;
    match command {
        Command::Signup(arguments) => account::sign_up(client, arguments, output).await,
        Command::Login(arguments) => login::login(connected, arguments, output).await,
        Command::Logout { everywhere } => sessions::logout(connected, everywhere, output).await,
        Command::Sessions(command) => sessions::run(connected, command, output).await,
        Command::Password(command) => sessions::password(connected, command, output).await,
        Command::Me { command: None } => account::me(client, output).await,
        Command::Me { command: Some(Me::Totp(command)) } => second_factor::run(client, command, output).await,
        Command::Me { command: Some(Me::Identities(command)) } => identities::run(client, command, output).await,
        Command::Me { command: Some(Me::StepUp(code)) } => second_factor::step_up(client, code, output).await,
        Command::Devices(command) => devices::run(client, command, output).await,
        Command::Organizations(command) => organizations::run(client, command, output).await,
        Command::ServiceAccounts(command) => service_accounts::run(client, command, output).await,
        Command::Keys(command) => keys::run(connected, command, output).await,
        Command::Balance => account::balance(client, output).await,
        Command::History { limit, of } => ledger::history(client, &member(&connected, of).await?, limit, output).await,
        Command::Usage { from, to, of } => usage::usage(client, &member(&connected, of).await?, &from, &to, output).await,
        Command::Receipt { request_id } => ledger::receipt(client, &request_id, output).await,
        Command::Chat(arguments) => chat::chat(&connected, arguments, output).await,
        Command::Generate(arguments) => chat::generate(client, arguments, output).await,
        Command::Models(command) => models::run(client, command, output).await,
        Command::Admin(command) => admin::run(&connected, command, output).await,
        // They asked no server.
        Command::Tls(_) | Command::Config { .. } | Command::Completions { .. } | Command::Man { .. } => Ok(()),
    }
}

//! The `tollgate` command: accounts, organizations, sessions, keys, profiles, credits, answers streamed to the terminal, and the services'
//! certificates.

mod account;
mod admin;
mod arguments;
mod browser;
mod cap;
mod certificates;
mod chat;
mod commands;
mod config;
mod config_file;
mod connection;
mod credential_text;
mod devices;
mod display;
mod duration;
mod failure;
mod identities;
mod interruption;
mod issuer;
mod key_place;
mod key_scope;
mod keychain;
mod keys;
mod leaked;
mod ledger;
mod login;
mod loopback;
mod manual;
mod models;
mod named;
mod organizations;
mod output;
mod password;
mod places;
mod private_file;
mod profile_text;
mod question;
mod second_factor;
mod second_factor_code;
mod service_accounts;
mod session_file;
mod sessions;
mod setting;
mod settings;
mod table;
mod text_file;
mod usage;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::Arguments;
use crate::failure::Failure;

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
    let outcome = runtime.block_on(commands::run(arguments));
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure::report(&failure),
    }
}

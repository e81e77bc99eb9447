//! The `tollgate` command and its profiles: the config file, which source wins, the session that `login` keeps, keys that nobody sees.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod config_command;
mod hostile_files;
mod kept_sessions;
mod keychain;
mod person;
mod saved_keys;
mod sources;

use person::{CANARY, Person, ended, mode, names};

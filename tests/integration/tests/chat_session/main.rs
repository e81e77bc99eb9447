//! `tollgate chat` with a person at a terminal, and with pipes: real processes on real pseudo-terminals, in front of real services.
//! Linux alone: a terminal is given by util-linux's setsid, and what a process waits for is read in /proc.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod commands;
mod conversation;
#[cfg(feature = "embedded-engine")]
mod embedded;
mod ends;
mod failures;
mod history;
mod keys;
mod pipes;
mod screen;
mod stage;

use stage::{PNG, Stage, png};

//! TLS, as real processes speak it with real clients of others.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod account_page;
mod clients;
mod floods;
mod handshakes;
mod made_certificates;
mod reload;
mod services;
mod stage;
mod start;
mod wire;
mod wrong_port;

//! The `tollgate` command where somebody shows who they are: the second factor, devices, issuers, and organizations with their members.
//! Linux alone: a terminal is given by util-linux's setsid.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod client;
mod device;
mod issuer;
mod organizations;
mod passwords;
mod person;
mod second_factor;

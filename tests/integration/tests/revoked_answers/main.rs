//! Answers that run when what pays for them is revoked: they end within a second, on every replica, and cost what was delivered. Real
//! processes, on both stores.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod breakage;
mod changes;
mod doors;
mod members;
mod moment;
mod stage;

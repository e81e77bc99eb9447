//! OpenAI's API on inference-service, over real sockets: what it takes, what it answers, and what that costs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod answers;
mod charges;
mod completions;
#[cfg(feature = "embedded-engine")]
mod embedded;
mod models;
mod refusals;
mod requests;
mod scene;

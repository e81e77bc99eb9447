//! Anthropic's Messages API and OpenAI's Responses API on inference-service, over real sockets: what they answer, and what that costs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod anthropic;
mod charges;
#[cfg(feature = "embedded-engine")]
mod embedded;
mod refusals;
mod responses;
mod scene;

//! Ollama's API as a door: what its clients send and read, over raw sockets, in front of the scripted upstream.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod answers;
mod bench;
mod embeddings;
mod key_in_path;
mod models;
mod operators;
mod recorded;
mod refusals;

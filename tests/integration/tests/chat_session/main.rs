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

use integration::scripted_upstream::ScriptedUpstream;
use integration::shell::Shell;
use integration::stack::{Plan, Stack};

/// A PNG of one pixel, in base64.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// The same.
fn png() -> Vec<u8> {
    base64::Engine::decode(&base64::prelude::BASE64_STANDARD, PNG).unwrap()
}

/// Services in front of an upstream of scripts, and somebody with a key and ten credits.
struct Stage {
    upstream: ScriptedUpstream,
    stack: Stack,
    /// With the access token.
    logged_in: Shell,
    /// With the key, and a folder for state.
    shell: Shell,
}

impl Stage {
    async fn start() -> Self {
        Self::with_credits(10).await
    }

    async fn with_credits(credits: u32) -> Self {
        let upstream = ScriptedUpstream::start().await;
        let plan = Plan::with_upstream(&upstream.url()).set("TOLLGATE_STARTING_CREDITS", &credits.to_string());
        let stack = plan.start().await;
        let (logged_in, shell) = Shell::at(&stack).user("ada").await;
        let state = stack.folder().join("state");
        let shell = shell.with("XDG_STATE_HOME", state.to_str().unwrap());
        Self { upstream, stack, logged_in, shell }
    }

    /// The roles and texts that a chat was sent.
    async fn sent(&self, number: usize) -> Vec<String> {
        let sent = self.upstream.request("/api/chat", number).await.json();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let messages = sent["messages"].as_array().unwrap();
        messages.iter().map(|message| format!("{}: {}", text(&message["role"]), text(&message["content"]))).collect()
    }
}

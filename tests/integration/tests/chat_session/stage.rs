//! The services behind a conversation, and a picture to ask about.

use integration::scripted_upstream::ScriptedUpstream;
use integration::shell::Shell;
use integration::stack::{Plan, Stack};

/// A PNG of one pixel, in base64.
pub(crate) const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// The same.
pub(crate) fn png() -> Vec<u8> {
    base64::Engine::decode(&base64::prelude::BASE64_STANDARD, PNG).unwrap()
}

/// Services in front of an upstream of scripts, and somebody with a key and ten credits.
pub(crate) struct Stage {
    pub(crate) upstream: ScriptedUpstream,
    pub(crate) stack: Stack,
    /// With the access token.
    pub(crate) logged_in: Shell,
    /// With the key, and a folder for state.
    pub(crate) shell: Shell,
}

impl Stage {
    pub(crate) async fn start() -> Self {
        Self::with_credits(10).await
    }

    pub(crate) async fn with_credits(credits: u32) -> Self {
        let upstream = ScriptedUpstream::start().await;
        let plan = Plan::with_upstream(&upstream.url()).set("TOLLGATE_STARTING_CREDITS", &credits.to_string());
        let stack = plan.start().await;
        let (logged_in, shell) = Shell::at(&stack).user("ada").await;
        let state = stack.folder().join("state");
        let shell = shell.with("XDG_STATE_HOME", state.to_str().unwrap());
        Self { upstream, stack, logged_in, shell }
    }

    /// The roles and texts that a chat was sent.
    pub(crate) async fn sent(&self, number: usize) -> Vec<String> {
        let sent = self.upstream.request("/api/chat", number).await.json();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let messages = sent["messages"].as_array().unwrap();
        messages.iter().map(|message| format!("{}: {}", text(&message["role"]), text(&message["content"]))).collect()
    }
}

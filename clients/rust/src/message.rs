//! The turns of a conversation.

use crate::proto::inference::Message;

/// What the user says.
#[must_use]
pub fn user(content: impl Into<String>) -> Message {
    turn("user", content)
}

/// What the model is told beforehand.
#[must_use]
pub fn system(content: impl Into<String>) -> Message {
    turn("system", content)
}

/// What the model had answered.
#[must_use]
pub fn assistant(content: impl Into<String>) -> Message {
    turn("assistant", content)
}

/// What a tool answered to the call of this id; the id is empty where the model gave none.
#[must_use]
pub fn tool(name: impl Into<String>, call_id: impl Into<String>, content: impl Into<String>) -> Message {
    Message { tool_name: name.into(), tool_call_id: call_id.into(), ..turn("tool", content) }
}

fn turn(role: &str, content: impl Into<String>) -> Message {
    Message { role: role.to_owned(), content: content.into(), ..Message::default() }
}

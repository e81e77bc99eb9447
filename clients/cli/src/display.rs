//! How a value is shown to people: on one line, in their units, and with nothing that a terminal would obey.

use serde_json::Value;
pub(crate) use shared::ledger::credits;
use tollgate_client::proto::auth::Role;

/// The text on one line, and without what a terminal would obey.
pub(crate) fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// A time of a service, in UTC and whole seconds; empty when it is unset.
pub(crate) fn time(time: Option<prost_types::Timestamp>) -> String {
    time.map(|time| prost_types::Timestamp { nanos: 0, ..time }.to_string()).unwrap_or_default()
}

/// The same in JSON: RFC 3339 in UTC, or null.
pub(crate) fn json_time(time: Option<prost_types::Timestamp>) -> Value {
    time.map_or(Value::Null, |time| Value::from(time.to_string()))
}

/// A text in JSON; null where there is none.
pub(crate) fn json_text(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { Value::from(text) }
}

/// The text with its lines, and without what a terminal would obey.
pub(crate) fn without_control(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n' && c != '\t', "\u{fffd}")
}

/// A role in a word.
pub(crate) fn role(role: Role) -> &'static str {
    match role {
        Role::Unspecified | Role::User => "user",
        Role::Admin => "admin",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_in_whole_seconds() {
        assert_eq!(time(Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 123_000_000 })), "2026-09-21T14:13:20Z");
        assert_eq!(time(None), "");
    }

    #[test]
    fn no_text_of_a_server_commands_the_terminal() {
        assert_eq!(one_line("a\u{1b}[31m\nb"), "a [31m b");
        assert_eq!(without_control("a\u{1b}[31m\n\tb"), "a\u{fffd}[31m\n\tb");
    }
}

//! Errors as Ollama states them. They name files and registries: they are for the log, and never for a caller.

use std::error::Error;
use std::fmt::Write as _;

use serde_json::Value;

/// The most of an error that is read.
pub(super) const MAX_ERROR_BYTES: usize = 64 << 10;
/// The most of an error that goes to the log.
const MAX_DETAIL_BYTES: usize = 2048;
/// The longest quotation that is a name and not somebody's text.
const MAX_QUOTED_BYTES: usize = 80;

/// How deep an error in an error is looked for. Ollama nests its runner's once.
const MAX_NESTING: usize = 4;
/// Braces of a text that may begin a nested error.
const MAX_BRACES: usize = 16;

/// An error as Ollama states it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct OllamaError {
    /// The runner's type of it, such as `exceed_context_size_error`; empty: it gave none.
    pub(super) kind: String,
    /// The status that the runner gave it.
    pub(super) status: Option<u16>,
    /// For the log.
    pub(super) text: String,
}

impl OllamaError {
    /// Reads an error body: `{"error":"…"}`, or whatever a proxy between us and Ollama sends.
    pub(super) fn from_body(body: &[u8]) -> Self {
        Self::from_text(String::from_utf8_lossy(body).trim().to_owned())
    }

    /// Reads an error's text. Ollama passes its runner's errors on as JSON inside of its own. They are taken apart before anything is
    /// decided by them or shortened, also when they are cut or malformed.
    pub(super) fn from_text(mut text: String) -> Self {
        text.truncate(text.floor_char_boundary(MAX_ERROR_BYTES));
        let mut error = Self { text, ..Self::default() };
        for _ in 0..MAX_NESTING {
            let Some(inner) = nested_error(&error.text) else { break };
            error = Self {
                kind: if inner.kind.is_empty() { error.kind } else { inner.kind },
                status: inner.status.or(error.status),
                text: inner.text,
            };
        }
        Self { kind: shortened(error.kind), text: shortened(error.text), ..error }
    }

    /// For the log, in one line.
    pub(super) fn detail(&self) -> String {
        let detail = match (self.kind.as_str(), self.text.as_str()) {
            ("", text) => text.to_owned(),
            (kind, "") => kind.to_owned(),
            (kind, text) => format!("{kind}: {text}"),
        };
        detail.replace(char::is_control, " ")
    }
}

/// The error that is in a text as JSON, with what stands around it. `None`: there is none.
fn nested_error(text: &str) -> Option<OllamaError> {
    let braces = text.match_indices('{').take(MAX_BRACES).map(|(at, _)| at);
    let whole = |at: usize| {
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        let value = values.next()?.ok()?;
        let inner = error_in_value(&value)?;
        // An outer object that was cut begins before it, and may end after it.
        let before = text[..at].split('{').next().unwrap_or_default().trim_end();
        let after = text[at + values.byte_offset()..].trim_start_matches(['}', ' ', '\n']);
        let parts = [before, &inner.text, after];
        let joined = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        Some(OllamaError { text: joined, ..inner })
    };
    braces.clone().find_map(whole).or_else(|| braces.clone().next().and_then(|at| error_in_cut_json(&text[at..])))
}

fn error_in_value(value: &Value) -> Option<OllamaError> {
    let error = value.get("error").unwrap_or(value);
    if let Some(text) = error.as_str() {
        return Some(OllamaError { text: text.to_owned(), ..OllamaError::default() });
    }
    let text = error.get("message")?.as_str()?.to_owned();
    let kind = error.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let status = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    Some(OllamaError { kind, status, text })
}

/// The same of JSON that breaks off or is malformed: what can be found of it.
fn error_in_cut_json(json: &str) -> Option<OllamaError> {
    if let Some(text) = string_after(json, "error") {
        return Some(OllamaError { text, ..OllamaError::default() });
    }
    let kind = string_after(json, "type").filter(|kind| kind.ends_with("_error"));
    let text = string_after(json, "message").filter(|_| kind.is_some() || json.contains("\"error\""));
    if kind.is_none() && text.is_none() {
        return None;
    }
    Some(OllamaError { kind: kind.unwrap_or_default(), status: None, text: text.unwrap_or_default() })
}

/// The string that a key has, up to its end or the end of all.
fn string_after(json: &str, key: &str) -> Option<String> {
    let (_, rest) = json.split_once(&format!("\"{key}\""))?;
    let raw = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let mut escaped = false;
    let end = raw.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    let raw = &raw[..end.unwrap_or(raw.len())];
    // An escape that was cut in two is as long as six bytes.
    let decoded =
        (0..=6).filter_map(|cut| raw.get(..raw.len().checked_sub(cut)?)).find_map(|raw| serde_json::from_str(&format!("\"{raw}\"")).ok());
    Some(decoded.unwrap_or_else(|| raw.to_owned()))
}

/// What may go to the log of a text. Not what the model generated: Ollama quotes it behind `raw=` when it can't parse a tool call. Nor a
/// long quotation, which is the caller's.
pub(super) fn shortened(text: String) -> String {
    let mut text = match text.find("raw=") {
        Some(at) => format!("{}raw=…", &text[..at]),
        None => without_long_quotations(&text),
    };
    if text.len() > MAX_DETAIL_BYTES {
        text.truncate(text.floor_char_boundary(MAX_DETAIL_BYTES));
        text.push('…');
    }
    text
}

fn without_long_quotations(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for (number, part) in text.split('"').enumerate() {
        if number > 0 {
            kept.push('"');
        }
        let quoted = number % 2 == 1;
        kept.push_str(if quoted && part.len() > MAX_QUOTED_BYTES { "…" } else { part });
    }
    kept
}

/// An error and what caused it, in one line.
pub(super) fn cause_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // A String can't fail to be written to.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    shortened(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_body_of_any_kind_gives_a_short_text() {
        let text = |body: &[u8]| OllamaError::from_body(body).text;
        assert_eq!(text(b"{\"error\":\"x\"}"), "x");
        assert_eq!(text(b"{\"error\":{\"message\":\"x\"}}"), "x");
        assert_eq!(text(b"{\"error\":3}"), "{\"error\":3}");
        assert_eq!(text(b"{\"error\":\"template: :1: unexpected \\\"}\\\" in {{ x }}\"}"), "template: :1: unexpected \"}\" in {{ x }}");
        assert_eq!(text(b" <html>\xff "), "<html>\u{fffd}");
        assert!(text("é".repeat(100_000).as_bytes()).len() <= MAX_DETAIL_BYTES + 3);
        // Braces without end cost no more than a look at some of them.
        text("{\"a\":".repeat(60_000).as_bytes());
    }
}

//! What Ollama's refusals mean. Its words name files and registries: they become an error's detail, for the log, and never a caller's text.

use std::error::Error;
use std::fmt::Write as _;

use http::StatusCode;
use serde::Deserialize;

use super::http1::HttpError;
use crate::engine::EngineError;

/// The most of Ollama's words that goes to the log.
const MAX_DETAIL_BYTES: usize = 2048;
/// The longest quotation that is a name and not somebody's text.
const MAX_QUOTED_BYTES: usize = 80;

/// The text in an error body: `{"error":"…"}`, or whatever else something between us and Ollama said.
pub(super) fn error_text(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body {
        error: serde_json::Value,
    }
    let text = match serde_json::from_slice::<Body>(body) {
        Ok(Body { error: serde_json::Value::String(text) }) => text,
        Ok(Body { error }) => error.to_string(),
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    };
    shortened(text)
}

/// What may go to the log of a text: not what the model generated (Ollama quotes it behind `raw=` when it can't parse a tool call), nor a long
/// quotation, which is the caller's.
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

/// What a status other than 200 means.
pub(super) fn refusal(status: StatusCode, text: &str) -> EngineError {
    let detail = || if text.is_empty() { status.to_string() } else { format!("{status}: {text}") };
    if is_prompt_too_long(text) && matches!(status.as_u16(), 400 | 413 | 500) {
        return EngineError::PromptTooLong;
    }
    match status.as_u16() {
        // Ollama's own words are "model … not found"; a bare "404 page not found" is a server without this path, so no Ollama, or too old.
        404 if text.contains("not found") && !text.contains("page not found") => EngineError::ModelNotFound,
        400 => {
            if let Some((_, capability)) = text.split_once("does not support ") {
                // A capability that a caller asked for is named to it. "chat", "generate" and "completion" are what any model can do whose
                // weights are there: without them the model is broken, and that isn't the caller's mistake.
                return match capability.trim_end_matches('.') {
                    capability @ ("tools" | "thinking" | "insert" | "vision" | "audio" | "embedding") => {
                        EngineError::ModelIncapable { capability: capability.to_owned() }
                    }
                    "chat" | "generate" | "completion" => EngineError::ModelBroken { detail: detail() },
                    _ => EngineError::Rejected { detail: detail() },
                };
            }
            EngineError::Rejected { detail: detail() }
        }
        // The queue is full (503), or an account elsewhere is over its limit (429). Both pass.
        429 | 503 => EngineError::Busy,
        // Ollama refuses our Host or asks for a sign-in: only an operator can help, no caller is at fault. 502 and 504 are said by proxies,
        // and by Ollama of a cloud that it can't reach.
        401 | 403 | 407 | 502 | 504 => EngineError::Unreachable { detail: detail() },
        // Several mistakes in a request come as 500: the words are all there is to tell them from a failure.
        500 if is_callers_mistake(text) => EngineError::Rejected { detail: detail() },
        500 if is_broken_model(text) => EngineError::ModelBroken { detail: detail() },
        500..=599 => EngineError::Interrupted { detail: detail() },
        413 | 422 => EngineError::Rejected { detail: detail() },
        // No redirect is followed, and nothing else is in Ollama's protocol.
        _ => EngineError::Protocol { detail: detail() },
    }
}

fn is_prompt_too_long(text: &str) -> bool {
    let exceeds = text.contains("exceeds") || text.contains("longer than");
    exceeds && (text.contains("context length") || text.contains("context size") || text.contains("available context"))
}

fn is_callers_mistake(text: &str) -> bool {
    (text.contains("option ") && text.contains("must be of type"))
        || text.contains("invalid JSON schema")
        || text.contains("invalid format")
        || text.contains("failed to parse grammar")
        || text.starts_with("template:")
        || text.starts_with("json:")
}

fn is_broken_model(text: &str) -> bool {
    text.contains("unable to load model")
        || text.contains("error loading model")
        || text.contains("runner process has terminated")
        || text.contains("requires more system memory")
        || text.contains("no such file")
        || text.contains("unsupported architecture")
}

/// What a request that got no answer means. Only a connection that never stood is safe to call unreachable: after it the model may have run.
pub(super) fn no_answer(error: HttpError) -> EngineError {
    let detail = cause_chain(&error);
    match error {
        HttpError::Connect(_) => EngineError::Unreachable { detail },
        HttpError::Broken(_) | HttpError::Protocol(_) => EngineError::Interrupted { detail },
    }
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

    fn meaning(status: u16, text: &str) -> String {
        let error = refusal(StatusCode::from_u16(status).unwrap(), text);
        format!("{error:?}").split([' ', '{']).next().unwrap().to_owned()
    }

    #[test]
    fn each_refusal_is_what_its_status_and_words_say() {
        let cases = [
            (404, "model 'x' not found", "ModelNotFound"),
            (404, "404 page not found", "Protocol"),
            (405, "405 method not allowed", "Protocol"),
            (302, "", "Protocol"),
            (204, "", "Protocol"),
            (503, "server busy, please try again.  maximum pending requests exceeded", "Busy"),
            (429, "", "Busy"),
            (403, "", "Unreachable"),
            (502, "dial tcp", "Unreachable"),
            (400, "registry.ollama.ai/library/x:latest does not support tools", "ModelIncapable"),
            (400, "\"x\" does not support thinking", "ModelIncapable"),
            (400, "x does not support insert", "ModelIncapable"),
            (400, "\"x\" does not support chat", "ModelBroken"),
            (400, "\"x\" does not support generate", "ModelBroken"),
            (400, "raw mode does not support template, system, or context", "Rejected"),
            (400, "invalid model name", "Rejected"),
            (400, "the input length exceeds the context length", "PromptTooLong"),
            (500, "input exceeds maximum context length and cannot be truncated further", "PromptTooLong"),
            (500, "option \"num_predict\" must be of type integer", "Rejected"),
            (500, "invalid JSON schema in format", "Rejected"),
            (500, "invalid format: \"xml\"", "Rejected"),
            (500, "template: :1: unclosed action", "Rejected"),
            (500, "llama runner process has terminated: exit status 2", "ModelBroken"),
            (500, "model requires more system memory (9 GiB) than is available (1 GiB)", "ModelBroken"),
            (500, "unexpected EOF", "Interrupted"),
            (599, "", "Interrupted"),
        ];
        for (status, text, expected) in cases {
            assert_eq!(meaning(status, text), expected, "{status} {text}");
        }
    }

    #[test]
    fn an_error_body_of_any_kind_gives_a_short_text() {
        assert_eq!(error_text(b"{\"error\":\"x\"}"), "x");
        assert_eq!(error_text(b"{\"error\":{\"message\":\"x\"}}"), "{\"message\":\"x\"}");
        assert_eq!(error_text(b" <html>\xff "), "<html>\u{fffd}");
        assert!(error_text("é".repeat(100_000).as_bytes()).len() <= MAX_DETAIL_BYTES + 3);
    }
}

//! What Ollama's refusals mean. Its words name files and registries: they become an error's detail, for the log, and never a caller's text.

use std::error::Error;
use std::fmt::Write as _;

use http::StatusCode;
use serde_json::Value;

use super::http1::HttpError;
use crate::engine::EngineError;

/// The most of an error that is read.
pub(super) const MAX_ERROR_BYTES: usize = 64 << 10;
/// The most of Ollama's words that goes to the log.
const MAX_DETAIL_BYTES: usize = 2048;
/// The longest quotation that is a name and not somebody's text.
const MAX_QUOTED_BYTES: usize = 80;

/// How deep a refusal in a refusal is looked for. Ollama nests its runner's once.
const MAX_NESTING: usize = 4;
/// Braces of a text that may begin a nested refusal.
const MAX_BRACES: usize = 16;

/// A refusal in words.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Words {
    /// The runner's own word for it, such as `exceed_context_size_error`; empty: it gave none.
    kind: String,
    /// The status that the runner gave it.
    code: Option<u16>,
    /// For the log.
    text: String,
}

impl Words {
    /// The words of an error body: `{"error":"…"}`, or whatever else something between us and Ollama said.
    pub(super) fn of_body(body: &[u8]) -> Self {
        Self::of_text(String::from_utf8_lossy(body).trim().to_owned())
    }

    /// The words of a text. Ollama passes its runner's refusals on as JSON inside of its own: they are taken apart, also when they are cut
    /// or malformed, before anything is decided by them or shortened.
    pub(super) fn of_text(mut text: String) -> Self {
        text.truncate(text.floor_char_boundary(MAX_ERROR_BYTES));
        let mut words = Self { text, ..Self::default() };
        for _ in 0..MAX_NESTING {
            let Some(inner) = inner_refusal(&words.text) else { break };
            words = Self {
                kind: if inner.kind.is_empty() { words.kind } else { inner.kind },
                code: inner.code.or(words.code),
                text: inner.text,
            };
        }
        Self { kind: shortened(words.kind), text: shortened(words.text), ..words }
    }

    /// The status that the runner gave it.
    pub(super) fn code(&self) -> Option<u16> {
        self.code
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

/// The refusal that is in a text as JSON, with what stands around it. `None`: there is none.
fn inner_refusal(text: &str) -> Option<Words> {
    let braces = text.match_indices('{').take(MAX_BRACES).map(|(at, _)| at);
    let whole = |at: usize| {
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        let value = values.next()?.ok()?;
        let inner = words_of_value(&value)?;
        // An outer object that was cut begins before it, and may end after it.
        let before = text[..at].split('{').next().unwrap_or_default().trim_end();
        let after = text[at + values.byte_offset()..].trim_start_matches(['}', ' ', '\n']);
        let parts = [before, &inner.text, after];
        let joined = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        Some(Words { text: joined, ..inner })
    };
    braces.clone().find_map(whole).or_else(|| braces.clone().next().and_then(|at| cut_words(&text[at..])))
}

fn words_of_value(value: &Value) -> Option<Words> {
    let error = value.get("error").unwrap_or(value);
    if let Some(text) = error.as_str() {
        return Some(Words { text: text.to_owned(), ..Words::default() });
    }
    let text = error.get("message")?.as_str()?.to_owned();
    let kind = error.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let code = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    Some(Words { kind, code, text })
}

/// The same of JSON that breaks off or is malformed: what can be found of it.
fn cut_words(json: &str) -> Option<Words> {
    if let Some(text) = string_after(json, "error") {
        return Some(Words { text, ..Words::default() });
    }
    let kind = string_after(json, "type").filter(|kind| kind.ends_with("_error"));
    let text = string_after(json, "message").filter(|_| kind.is_some() || json.contains("\"error\""));
    if kind.is_none() && text.is_none() {
        return None;
    }
    Some(Words { kind: kind.unwrap_or_default(), code: None, text: text.unwrap_or_default() })
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
pub(super) fn refusal(status: StatusCode, words: &Words) -> EngineError {
    let detail = || match words.detail() {
        detail if detail.is_empty() => status.to_string(),
        detail => format!("{status}: {detail}"),
    };
    let text = words.text.to_lowercase();
    if is_prompt_too_long(&words.kind, &text) && matches!(status.as_u16(), 400 | 413 | 422 | 500) {
        return EngineError::PromptTooLong;
    }
    if matches!(status.as_u16(), 400 | 500 | 501) {
        match missing_capability(&text) {
            // A capability that a caller asked for is named to it.
            Some(Missing::Capability(capability)) => return EngineError::ModelIncapable { capability: capability.to_owned() },
            Some(Missing::Answers) => return EngineError::ModelBroken { detail: detail() },
            None => {}
        }
    }
    match status.as_u16() {
        // Ollama's own words are "model … not found"; a bare "404 page not found" is a server without this path, so no Ollama, or too old.
        404 if text.contains("not found") && !text.contains("page not found") => EngineError::ModelNotFound,
        400 | 413 | 422 => EngineError::Rejected { detail: detail() },
        // The queue is full (503), or an account elsewhere is over its limit (429). Both pass.
        429 | 503 => EngineError::Busy,
        // Ollama refuses our Host or asks for a sign-in: only an operator can help, no caller is at fault. 502 and 504 are said by proxies,
        // and by Ollama of a cloud that it can't reach.
        401 | 403 | 407 | 502 | 504 => EngineError::Unreachable { detail: detail() },
        // Several mistakes in a request come as 500: the words are all there is to tell them from a failure.
        500 if words.kind == "invalid_request_error" || is_callers_mistake(&text) => EngineError::Rejected { detail: detail() },
        500 if is_broken_model(&text) => EngineError::ModelBroken { detail: detail() },
        // The runner was started without what this takes: asking again doesn't help.
        501 => EngineError::ModelBroken { detail: detail() },
        500..=599 => EngineError::Interrupted { detail: detail() },
        // No redirect is followed, and nothing else is in Ollama's protocol.
        _ => EngineError::Protocol { detail: detail() },
    }
}

fn is_prompt_too_long(kind: &str, text: &str) -> bool {
    let exceeds = text.contains("exceeds") || text.contains("longer than");
    kind == "exceed_context_size_error"
        || text.contains("exceed_context_size_error")
        || exceeds && (text.contains("context length") || text.contains("context size") || text.contains("available context"))
}

/// What a model lacks.
enum Missing {
    Capability(&'static str),
    /// All of `chat`, `generate` and `completion`: what any model can do whose weights are there and made for it.
    Answers,
}

fn missing_capability(text: &str) -> Option<Missing> {
    const VISION: [&str; 4] = [
        "does not support multimodal",
        "image input is not supported",
        "missing data required for image input",
        "received image but vision model not loaded",
    ];
    if VISION.iter().any(|words| text.contains(words)) {
        return Some(Missing::Capability("vision"));
    }
    if text.contains("audio input is not supported") {
        return Some(Missing::Capability("audio"));
    }
    let (_, capability) = text.split_once("does not support ")?;
    match capability.lines().next().unwrap_or_default().trim_end_matches('.').trim_end() {
        "tools" => Some(Missing::Capability("tools")),
        "thinking" => Some(Missing::Capability("thinking")),
        "insert" => Some(Missing::Capability("insert")),
        "vision" => Some(Missing::Capability("vision")),
        "audio" => Some(Missing::Capability("audio")),
        "embedding" | "embeddings" => Some(Missing::Capability("embedding")),
        "chat" | "generate" | "completion" => Some(Missing::Answers),
        _ => None,
    }
}

/// Whether a model was called broken only because it gives no answers: then its capabilities say whether it is made for something else.
pub(super) fn gives_no_answers(detail: &str) -> bool {
    matches!(missing_capability(&detail.to_lowercase()), Some(Missing::Answers))
}

fn is_callers_mistake(text: &str) -> bool {
    (text.contains("option ") && text.contains("must be of type"))
        || text.contains("invalid json schema")
        || text.contains("json schema conversion failed")
        || text.contains("json schema error")
        || text.contains("invalid format")
        || text.contains("failed to parse grammar")
        || text.starts_with("template:")
        || text.starts_with("json:")
        || is_bad_picture(text)
}

/// Whether the words are of a picture that can't be read. Its format was looked at before it was sent; what is behind its head wasn't.
fn is_bad_picture(text: &str) -> bool {
    const WORDS: [&str; 16] = [
        // Ollama 0.24: what stands before the decoder's own words.
        "failed to process inputs",
        "failed to process image",
        "image: unknown format",
        "image index",
        "zero length image",
        "more than one image",
        // Ollama 0.32 and its runner.
        "failed to load image",
        "failed to decode image",
        "decode webp image",
        "encode webp image",
        "invalid image",
        "unsupported image",
        // The decoders.
        "png: ",
        "jpeg: ",
        "gif: ",
        "webp: ",
    ];
    WORDS.iter().any(|words| text.contains(words))
}

fn is_broken_model(text: &str) -> bool {
    text.contains("unable to load model")
        || text.contains("error loading model")
        || text.contains("process has terminated")
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
        let error = refusal(StatusCode::from_u16(status).unwrap(), &Words::of_text(text.to_owned()));
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
            (400, "this model is missing data required for image input", "ModelIncapable"),
            (500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj", "ModelIncapable"),
            (500, "Failed to create new sequence: failed to process inputs: image: unknown format", "Rejected"),
            (500, "decode WebP image: riff: short chunk data", "Rejected"),
            (400, "Failed to load image or audio file", "Rejected"),
            (500, "Failed to load image or audio file", "Rejected"),
            (501, "This server does not support embeddings. Start it with `--embeddings`", "ModelBroken"),
            (500, "Failed to initialize samplers: failed to parse grammar", "Rejected"),
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
    fn a_runners_refusal_is_taken_apart_however_deep_it_lies_and_wherever_it_breaks_off() {
        const TOO_LONG: &str = r#"{"error":{"code":400,"message":"request (2710 tokens) exceeds the available context size (256 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":2710,"n_ctx":256}}"#;
        let nested = |text: &str| serde_json::json!({ "error": text }).to_string();
        let once = nested(TOO_LONG);
        let twice = nested(&once);
        for body in [TOO_LONG, once.as_str(), twice.as_str(), &format!("llama-server error: {TOO_LONG}\ncudaMalloc failed: out of memory")]
        {
            let words = Words::of_body(body.as_bytes());
            assert_eq!((words.kind.as_str(), words.code), ("exceed_context_size_error", Some(400)), "{body}");
            assert!(words.text.contains("request (2710 tokens) exceeds") && !words.text.contains('{'), "{words:?}");
            assert!(matches!(refusal(StatusCode::BAD_REQUEST, &words), EngineError::PromptTooLong), "{body}");
        }
        // Cut anywhere behind the words that matter, it says the same.
        for whole in [TOO_LONG, &once, &twice] {
            let known = whole.find("context size").unwrap() + "context size".len();
            for end in known..whole.len() {
                let words = Words::of_body(&whole.as_bytes()[..end]);
                assert!(matches!(refusal(StatusCode::BAD_REQUEST, &words), EngineError::PromptTooLong), "{}", &whole[..end]);
                assert!(words.text.starts_with("request (2710"), "{words:?}");
            }
        }
        // The kind alone is enough, and so is one in a text that is no JSON.
        for text in [
            r#"{"error":{"type":"exceed_context_size_error"}}"#,
            r#"{"error":{"message":"too much"  ,  "type" : "exceed_context_size_error", nonsense"#,
            "llama-server chat error: map[code:400 message:too much type:exceed_context_size_error]",
        ] {
            assert!(matches!(refusal(StatusCode::BAD_REQUEST, &Words::of_body(text.as_bytes())), EngineError::PromptTooLong), "{text}");
        }
    }

    #[test]
    fn a_nested_refusal_is_classified_by_what_is_inside() {
        for (status, kind, message, expected) in [
            (400, "invalid_request_error", "Multimodal data provided, but model does not support multimodal requests.", "ModelIncapable"),
            (400, "invalid_request_error", "JSON schema conversion failed:\nunrecognized type nosuchtype", "Rejected"),
            (500, "invalid_request_error", "anything", "Rejected"),
            (500, "server_error", "image input is not supported - hint: x", "ModelIncapable"),
            (400, "invalid_request_error", "Failed to load image or audio file", "Rejected"),
            (503, "unavailable_error", "Loading model", "Busy"),
            (500, "server_error", "compute error", "Interrupted"),
            (501, "not_supported_error", "This server does not support it", "ModelBroken"),
        ] {
            let inner = serde_json::json!({ "error": { "code": status, "message": message, "type": kind } }).to_string();
            assert_eq!(meaning(status, &inner), expected, "{message}");
        }
    }

    #[test]
    fn the_log_gets_the_runners_words_and_not_the_json_around_them_nor_a_long_quotation() {
        let inner = serde_json::json!({ "error": { "code": 400, "message": format!("bad\n\"{}\" here", "x".repeat(500)), "type": "invalid_request_error" } });
        let body = serde_json::json!({ "error": inner.to_string() }).to_string();
        let EngineError::Rejected { detail } = refusal(StatusCode::BAD_REQUEST, &Words::of_body(body.as_bytes())) else { panic!() };
        assert_eq!(detail, "400 Bad Request: invalid_request_error: bad \"…\" here");
    }

    #[test]
    fn an_error_body_of_any_kind_gives_a_short_text() {
        let text = |body: &[u8]| Words::of_body(body).text;
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

//! What Ollama's errors mean: a status and a text become an [`EngineError`]. Ollama's text becomes its detail.

use http::StatusCode;

use super::http1::HttpError;
use super::ollama_error::{OllamaError, cause_chain};
use crate::engine::EngineError;

/// What a status other than 200 means.
pub(super) fn classify(status: StatusCode, error: &OllamaError) -> EngineError {
    let detail = || match error.detail() {
        detail if detail.is_empty() => status.to_string(),
        detail => format!("{status}: {detail}"),
    };
    let text = error.text.to_lowercase();
    if is_prompt_too_long(&error.kind, &text) && matches!(status.as_u16(), 400 | 413 | 422 | 500) {
        return EngineError::PromptTooLong;
    }
    if text.contains("nan or inf values") || text.contains("unsupported value: nan") || text.contains("unsupported value: +inf") {
        // The model computes nonsense, whatever it is asked.
        return EngineError::ModelBroken { detail: detail() };
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
        // Ollama says "model … not found"; a bare "404 page not found" is a server without this path: no Ollama, or too old.
        404 if text.contains("not found") && !text.contains("page not found") => EngineError::ModelNotFound,
        400 | 413 | 422 => EngineError::Rejected { detail: detail() },
        // The queue is full (503), or an account elsewhere is over its limit (429). Both pass.
        429 | 503 => EngineError::Busy,
        // Ollama refuses our Host or asks for a sign-in: only an operator can help, no caller is at fault. 502 and 504 are said by proxies,
        // and by Ollama of a cloud that it can't reach.
        401 | 403 | 407 | 502 | 504 => EngineError::Unreachable { detail: detail() },
        // Several mistakes in a request come as 500: only the text tells them from a failure.
        500 if error.kind == "invalid_request_error" || is_callers_mistake(&text) => EngineError::Rejected { detail: detail() },
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
    if VISION.iter().any(|part| text.contains(part)) {
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

/// Whether a model counts as broken only because it gives no answers: then its capabilities say whether it is made for something else.
pub(super) fn lacks_answers(detail: &str) -> bool {
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

/// Whether a picture can't be read. Its head was checked before it was sent; what is behind it wasn't.
fn is_bad_picture(text: &str) -> bool {
    const TEXTS: [&str; 16] = [
        // Ollama 0.24: what stands before the decoder's own error.
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
    TEXTS.iter().any(|part| text.contains(part))
}

fn is_broken_model(text: &str) -> bool {
    text.contains("unable to load model")
        || text.contains("error loading model")
        || text.contains("process has terminated")
        || text.contains("requires more system memory")
        || text.contains("no such file")
        || text.contains("unsupported architecture")
}

/// What it means that a request got no response. Only without a connection the server is unreachable: with one the model may have run.
pub(super) fn request_failed(error: HttpError) -> EngineError {
    let detail = cause_chain(&error);
    match error {
        HttpError::Connect(_) => EngineError::Unreachable { detail },
        HttpError::Broken(_) | HttpError::Protocol(_) => EngineError::Interrupted { detail },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(status: u16, text: &str) -> String {
        let error = classify(StatusCode::from_u16(status).unwrap(), &OllamaError::from_text(text.to_owned()));
        format!("{error:?}").split([' ', '{']).next().unwrap().to_owned()
    }

    #[test]
    fn each_error_is_what_its_status_and_text_say() {
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
            (400, "\"x\" does not support embeddings", "ModelIncapable"),
            (400, "embedding contains NaN or Inf values", "ModelBroken"),
            (500, "failed to encode response: json: unsupported value: NaN", "ModelBroken"),
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
    fn a_runners_error_is_taken_apart_however_deep_it_lies_and_wherever_it_breaks_off() {
        const TOO_LONG: &str = concat!(
            r#"{"error":{"code":400,"message":"request (2710 tokens) exceeds the available context size (256 tokens), try increasing it","#,
            r#""type":"exceed_context_size_error","n_prompt_tokens":2710,"n_ctx":256}}"#
        );
        let nested = |text: &str| serde_json::json!({ "error": text }).to_string();
        let once = nested(TOO_LONG);
        let twice = nested(&once);
        for body in [TOO_LONG, once.as_str(), twice.as_str(), &format!("llama-server error: {TOO_LONG}\ncudaMalloc failed: out of memory")]
        {
            let error = OllamaError::from_body(body.as_bytes());
            assert_eq!((error.kind.as_str(), error.status), ("exceed_context_size_error", Some(400)), "{body}");
            assert!(error.text.contains("request (2710 tokens) exceeds") && !error.text.contains('{'), "{error:?}");
            assert!(matches!(classify(StatusCode::BAD_REQUEST, &error), EngineError::PromptTooLong), "{body}");
        }
        // Cut anywhere behind the text that matters, it means the same.
        for whole in [TOO_LONG, &once, &twice] {
            let known = whole.find("context size").unwrap() + "context size".len();
            for end in known..whole.len() {
                let error = OllamaError::from_body(&whole.as_bytes()[..end]);
                assert!(matches!(classify(StatusCode::BAD_REQUEST, &error), EngineError::PromptTooLong), "{}", &whole[..end]);
                assert!(error.text.starts_with("request (2710"), "{error:?}");
            }
        }
        // The kind alone is enough, and so is one in a text that is no JSON.
        for text in [
            r#"{"error":{"type":"exceed_context_size_error"}}"#,
            r#"{"error":{"message":"too much"  ,  "type" : "exceed_context_size_error", nonsense"#,
            "llama-server chat error: map[code:400 message:too much type:exceed_context_size_error]",
        ] {
            let error = OllamaError::from_body(text.as_bytes());
            assert!(matches!(classify(StatusCode::BAD_REQUEST, &error), EngineError::PromptTooLong), "{text}");
        }
    }

    #[test]
    fn a_nested_error_is_classified_by_what_is_inside() {
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
    fn the_log_gets_the_runners_text_and_not_the_json_around_it_nor_a_long_quotation() {
        let message = format!("bad\n\"{}\" here", "x".repeat(500));
        let inner = serde_json::json!({ "error": { "code": 400, "message": message, "type": "invalid_request_error" } });
        let body = serde_json::json!({ "error": inner.to_string() }).to_string();
        let error = OllamaError::from_body(body.as_bytes());
        let EngineError::Rejected { detail } = classify(StatusCode::BAD_REQUEST, &error) else { panic!() };
        assert_eq!(detail, "400 Bad Request: invalid_request_error: bad \"…\" here");
    }
}

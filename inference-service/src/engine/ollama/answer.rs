//! The stream of an answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use http::StatusCode;

use super::classification::classify;
use super::ndjson::Lines;
use super::ollama_error::OllamaError;
use super::wire::{AnswerLine, ParsedLine};
use crate::engine::{AnswerEvent, EngineError};

/// An answer, line by line. Dropping it closes the connection.
pub(super) struct AnswerLines {
    /// Gone after the last item.
    lines: Option<Lines>,
}

impl AnswerLines {
    pub(super) fn new(lines: Lines) -> Self {
        Self { lines: Some(lines) }
    }
}

impl Stream for AnswerLines {
    type Item = Result<AnswerEvent, EngineError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(lines) = &mut self.lines else { return Poll::Ready(None) };
        let error = loop {
            match std::task::ready!(lines.poll_line(context)) {
                Some(Ok(line)) => match AnswerLine::parse(line) {
                    // The first line often has the role alone.
                    Ok(ParsedLine::Piece(piece)) if piece.is_empty() => {}
                    Ok(ParsedLine::Piece(piece)) => return Poll::Ready(Some(Ok(AnswerEvent::Piece(piece)))),
                    Ok(ParsedLine::Done(piece, done)) => {
                        if let Some(lines) = self.lines.take() {
                            lines.finish();
                        }
                        return Poll::Ready(Some(Ok(AnswerEvent::Done(piece, done))));
                    }
                    Ok(ParsedLine::Error { status, text }) => break mid_stream_error(status, text),
                    Err(error) => break error,
                },
                Some(Err(error)) => break error,
                // Ollama ends an endless repetition like this. So does a runner that was killed between two lines.
                None => break EngineError::Interrupted { detail: "the answer ended without a last line".to_owned() },
            }
        };
        self.lines = None;
        Poll::Ready(Some(Err(error)))
    }
}

/// An error in the middle of a 200 stream. Only newer releases, or their runners, give it a status; without one the text decides nothing.
pub(super) fn mid_stream_error(status: Option<u16>, text: String) -> EngineError {
    let error = OllamaError::from_text(text);
    match status.or(error.status).and_then(|status| StatusCode::from_u16(status).ok()) {
        Some(status) if !status.is_success() => classify(status, &error),
        _ => EngineError::Interrupted { detail: error.detail() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_in_an_error_line_is_believed() {
        assert!(matches!(mid_stream_error(Some(503), String::new()), EngineError::Busy));
        assert!(matches!(mid_stream_error(Some(200), String::new()), EngineError::Interrupted { .. }));
        let runner = |code: u16, kind: &str| format!(r#"{{"error":{{"code":{code},"message":"x","type":"{kind}"}}}}"#);
        assert!(matches!(mid_stream_error(None, runner(503, "unavailable_error")), EngineError::Busy));
        assert!(matches!(mid_stream_error(None, runner(400, "exceed_context_size_error")), EngineError::PromptTooLong));
        assert!(matches!(mid_stream_error(Some(7), String::new()), EngineError::Interrupted { .. }));
        assert!(matches!(mid_stream_error(None, "model not found".to_owned()), EngineError::Interrupted { .. }));
    }
}

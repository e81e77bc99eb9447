//! Ollama's JSON: what is sent, and what comes back.

use serde::Deserialize;

use crate::engine::{EngineError, ModelDetails};
use crate::prompt::ModelName;

mod answer_line;
mod request;

pub(super) use answer_line::{AnswerLine, ParsedLine, count};
pub(super) use request::{OnlyContext, Seconds, answer_request, encode};

/// What serde says of a mistake in data may quote the data; where it is and of which kind doesn't.
pub(super) fn malformed(what: &str, error: &serde_json::Error) -> EngineError {
    EngineError::Protocol { detail: format!("{what} is not what it should be: {:?} error at column {}", error.classify(), error.column()) }
}

/// A model's details, in `/api/tags` and `/api/show`.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(default)]
pub(super) struct DetailsBody {
    parent_model: String,
    format: String,
    family: String,
    parameter_size: String,
    quantization_level: String,
}

impl DetailsBody {
    pub(super) fn into_details(self) -> ModelDetails {
        // The parent is sometimes the path of a blob; paths are nobody's business.
        let parent_model = ModelName::parse(&self.parent_model).map(|name| name.to_string()).unwrap_or_default();
        let Self { format, family, parameter_size, quantization_level, .. } = self;
        ModelDetails { format, family, parameter_size, quantization_level, parent_model }
    }
}

#[cfg(test)]
mod tests;

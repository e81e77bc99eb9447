//! Why an engine can't do what was asked of it.

use std::time::Duration;

/// Why an engine gave no answer, or broke one off. What is in `detail` is the engine's own text: it names files and registries, so it goes
/// to the log and never to a caller.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// It can't be reached.
    #[error("the model server can't be reached: {detail}")]
    Unreachable {
        /// For the log.
        detail: String,
    },
    /// Its queue is full.
    #[error("the model server's queue is full")]
    Busy,
    /// It sent nothing for longer than it may.
    #[error("the model server sent nothing for {waited:?}: {place}")]
    TimedOut {
        /// How long it was waited for.
        waited: Duration,
        /// Where it is, for the log.
        place: String,
    },
    /// The request is wrong in a way that only the engine could tell.
    #[error("the model server refused the request: {detail}")]
    Rejected {
        /// For the log.
        detail: String,
    },
    /// No such model.
    #[error("no such model")]
    ModelNotFound,
    /// The model can't do what is asked of it.
    #[error("the model can't do this: {capability}")]
    ModelIncapable {
        /// For the caller: for example `tools`.
        capability: String,
    },
    /// The model is there and can't be used.
    #[error("the model can't be used: {detail}")]
    ModelBroken {
        /// For the log.
        detail: String,
    },
    /// This engine can't do it, whatever the model.
    #[error("this engine doesn't support {feature}")]
    NotSupported {
        /// For the caller: for example `tools`.
        feature: String,
    },
    /// The conversation is longer than the context, and may not be truncated.
    #[error("the prompt is longer than the model's context")]
    PromptTooLong,
    /// It broke off: a cut connection, an error in mid-stream, an end without a last line.
    #[error("the model server broke off: {detail}")]
    Interrupted {
        /// For the log.
        detail: String,
    },
    /// Its answer isn't what its protocol says.
    #[error("the model server's answer is malformed: {detail}")]
    Protocol {
        /// For the log. Holds no content of an answer.
        detail: String,
    },
    /// A Modelfile asks for what can't be: a FROM that isn't there, an instruction this engine can't follow.
    #[error("the Modelfile can't be followed: {sentence}")]
    Modelfile {
        /// For the caller; names the instruction, and its line where there is one.
        sentence: String,
    },
}

impl EngineError {
    /// The same, with the address that was asked in what the log says.
    #[must_use]
    pub fn at(mut self, place: &str) -> Self {
        match &mut self {
            Self::Unreachable { detail }
            | Self::Rejected { detail }
            | Self::ModelBroken { detail }
            | Self::Interrupted { detail }
            | Self::Protocol { detail } => *detail = format!("{place}: {detail}"),
            Self::TimedOut { place: asked, .. } => place.clone_into(asked),
            Self::Busy
            | Self::ModelNotFound
            | Self::ModelIncapable { .. }
            | Self::NotSupported { .. }
            | Self::PromptTooLong
            | Self::Modelfile { .. } => {}
        }
        self
    }
}

//! What answers: an Ollama over HTTP ([`ollama`]), or GGUF models in this process (`embedded`, with the feature `embedded-engine`).
//!
//! An engine knows nothing of credentials or credits. Only [`crate::chat_stream`] asks one for an answer, and only with a grant in its
//! hand.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::Stream;

use crate::modelfile::Modelfile;
use crate::prompt::{ModelName, Prompt, Texts, ToolCall};

#[cfg(feature = "embedded-engine")]
pub mod embedded;
mod error;
pub mod ollama;

pub use error::EngineError;

/// Something that answers prompts.
#[async_trait]
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// Where it is, for the log: an address without a credential.
    fn place(&self) -> String;

    /// Whether it can be asked at all. Loads no model.
    async fn probe(&self) -> Result<(), EngineError>;

    /// Refuses what this engine can't do, whatever the model. Asked before anything is held, so it costs the caller nothing.
    fn refuse_unsupported(&self, prompt: &Prompt) -> Result<(), EngineError>;

    /// Whether it takes a question to know that the model is there and can answer at all. Told from memory, at once: for a model that was
    /// used lately it is false.
    fn is_in_doubt(&self, prompt: &Prompt) -> bool;

    /// Refuses a model that is known to be missing, or to be made for something else than answers. Asked before anything is held. What
    /// can't be found out is no refusal.
    async fn refuse_unusable(&self, prompt: &Prompt) -> Result<(), EngineError>;

    /// Starts to answer, with at most `max_output_tokens` (≥ 1) whatever the prompt or the model say. Returns once the engine has accepted
    /// the request and its first piece may come; the waiting for that (load, queue, prompt evaluation) may be part of this or of the
    /// stream. Dropping the future stops it. `dispatched` is marked as soon as the request is on its way to the model: from then on it
    /// costs.
    async fn answer(&self, prompt: &Prompt, max_output_tokens: u32, dispatched: &Dispatched) -> Result<AnswerStream, EngineError>;

    /// Refuses embeddings, where this engine has none whatever the model. Asked before anything is held.
    fn refuse_embeddings(&self) -> Result<(), EngineError>;

    /// Refuses a model that is known to be missing. Asked before anything is held, for what is no prompt. What can't be found out is no
    /// refusal.
    async fn refuse_missing(&self, model: &ModelName) -> Result<(), EngineError>;

    /// Turns texts into vectors, one each. Dropping the future stops it, as far as the engine can be stopped. `dispatched` is marked as for
    /// [`Engine::answer`].
    async fn embed(&self, texts: &Texts, dispatched: &Dispatched) -> Result<Embeddings, EngineError>;

    /// The models there are, but those that run elsewhere where that isn't allowed.
    async fn list_models(&self) -> Result<Vec<ModelEntry>, EngineError>;

    /// What can be known of a model. May be cached for some seconds.
    async fn show_model(&self, model: &ModelName) -> Result<ModelFacts, EngineError>;

    /// What is in memory of [`Engine::show_model`]'s answers, told at once; `None`: it must be asked for.
    fn recall_model(&self, model: &ModelName) -> Option<ModelFacts>;

    /// The models that are loaded, as far as the engine says.
    async fn loaded_models(&self) -> Result<Vec<LoadedModel>, EngineError>;

    /// The release of Ollama that answers, or whose protocol is followed.
    async fn version(&self) -> Result<String, EngineError>;

    /// Makes a model, or replaces one.
    async fn create_model(&self, model: &ModelName, modelfile: &Modelfile) -> Result<ProgressStream, EngineError>;

    /// Removes a model.
    async fn delete_model(&self, model: &ModelName) -> Result<(), EngineError>;
}

/// The pieces of an answer, and last a [`AnswerEvent::Done`]. An end without one is a failure: [`EngineError::Interrupted`] is its last
/// item then. Dropping it stops the generation: an upstream connection is closed at once, an engine in this process stops within one token.
pub type AnswerStream = Pin<Box<dyn Stream<Item = Result<AnswerEvent, EngineError>> + Send>>;

/// Steps of the making of a model. It has succeeded when the stream ends without an error.
pub type ProgressStream = Pin<Box<dyn Stream<Item = Result<Progress, EngineError>> + Send>>;

/// What an engine says of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerEvent {
    /// A piece, as soon as it is there; not always one token.
    Piece(Piece),
    /// The end, with what it cost. It may bring a last piece.
    Done(Piece, Done),
}

/// A piece of an answer.
#[derive(Clone, PartialEq, Default)]
pub struct Piece {
    /// Text.
    pub content: String,
    /// Thinking.
    pub thinking: String,
    /// Complete calls.
    pub tool_calls: Vec<ToolCall>,
    /// Of this piece's tokens, when asked for.
    pub logprobs: Vec<Logprob>,
}

impl Piece {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.content.is_empty() && self.thinking.is_empty() && self.tool_calls.is_empty() && self.logprobs.is_empty()
    }

    /// Bytes of what the model generated.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let calls: usize = self.tool_calls.iter().map(|call| call.name.len() + call.arguments_json.len()).sum();
        self.content.len() + self.thinking.len() + calls
    }
}

impl fmt::Debug for Piece {
    /// Answers never appear in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece({} bytes)", self.bytes())
    }
}

/// A token and how likely it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprob {
    /// As text; may be part of a character.
    pub token: String,
    /// Natural logarithm of the probability.
    pub logprob: f64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The most likely ones instead, most likely first; each without alternatives of its own.
    pub top: Vec<Logprob>,
}

/// How an answer ended. Counts are what the engine counted; `None`: it gave none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Done {
    /// The engine's own word, for example `stop` or `length`.
    pub reason: String,
    /// Tokens of the prompt, after truncation.
    pub input_tokens: Option<u32>,
    /// Tokens generated.
    pub output_tokens: Option<u32>,
    /// Spent loading the model.
    pub load: Option<Duration>,
    /// Spent in all.
    pub total: Option<Duration>,
    /// Spent evaluating the prompt.
    pub prompt_evaluation: Option<Duration>,
    /// Spent generating.
    pub generation: Option<Duration>,
}

/// Vectors, and what they took.
#[derive(Clone, PartialEq, Default)]
pub struct Embeddings {
    /// One for each text, in their order; all of one length.
    pub vectors: Vec<Vec<f32>>,
    /// What was counted. Nothing was generated.
    pub done: Done,
}

impl fmt::Debug for Embeddings {
    /// Texts can be told from their vectors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Embeddings({} vectors)", self.vectors.len())
    }
}

/// A step of the making of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// As the engine states it.
    pub status: String,
    /// Bytes done of this step.
    pub completed_bytes: Option<i64>,
    /// Bytes of this step.
    pub total_bytes: Option<i64>,
}

/// What a model is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelDetails {
    /// For example `gguf`.
    pub format: String,
    /// For example `llama`.
    pub family: String,
    /// For example `134.52M`.
    pub parameter_size: String,
    /// For example `Q4_1`.
    pub quantization_level: String,
    /// The model it was made from; empty: none.
    pub parent_model: String,
}

/// A model as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelEntry {
    /// For requests: its canonical name.
    pub name: String,
    /// Bytes on disk.
    pub size_bytes: i64,
    /// Hexadecimal; empty: unknown.
    pub digest: String,
    /// When it was made or changed.
    pub modified_at: Option<SystemTime>,
    /// What it is.
    pub details: ModelDetails,
    /// As in [`ModelFacts`]; empty: the list doesn't say.
    pub capabilities: Vec<String>,
}

/// A model that is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedModel {
    /// Its canonical name.
    pub name: String,
    /// Bytes in memory, of all kinds.
    pub size_bytes: i64,
    /// Of them, bytes in a graphics card's memory.
    pub graphics_bytes: i64,
    /// Hexadecimal; empty: unknown.
    pub digest: String,
    /// What it is.
    pub details: ModelDetails,
    /// When it is unloaded, if nobody uses it meanwhile.
    pub expires_at: Option<SystemTime>,
    /// The context that it was loaded with, in tokens; 0: unknown.
    pub context_length: u32,
}

/// What can be known of a model before it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFacts {
    /// What it is.
    pub details: ModelDetails,
    /// In Ollama's words: `completion`, `tools`, `thinking`, `vision`, `insert`, `embedding`.
    pub capabilities: Vec<String>,
    /// Tokens; 0: unknown.
    pub context_length: u32,
    /// Numbers of an embedding; 0: unknown.
    pub embedding_length: u32,
    /// When it was made or changed.
    pub modified_at: Option<SystemTime>,
}

/// Whether a request is on its way to the model. A caller that goes away before that pays nothing.
#[derive(Debug, Clone, Default)]
pub struct Dispatched(Arc<AtomicBool>);

impl Dispatched {
    /// It is, from now on.
    pub fn mark(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

//! GGUF models in this process: no Ollama needed.
//!
//! One thread of its own (`worker`) answers one prompt after the other, with the model that it was asked for last kept in memory; prompts
//! wait in a bounded queue in front of it. `catalog` knows which models there are: the GGUF files of a folder, and `overlay`s made from
//! them by Modelfiles. `loaded_model` runs one, with the package `llama` and the GGUF's chat template (`template`); `answer_text` holds
//! back what isn't ready to be shown.
//!
//! What it can't do is refused by name: tools, formats, images, suffixes, thinking. Only the architecture `llama`, without experts, and
//! byte-level BPE run. Unlike in Ollama, a full context ends the answer (`length`) instead of forgetting its beginning, and the default
//! system prompt of the GGUF's template counts as input.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures_util::stream;
use shared::essential::Essentials;
use tokio::sync::{mpsc, oneshot};

use self::catalog::{Catalog, Resolved};
use self::loaded_model::Request;
use self::worker::{Item, Job, Worker};
use super::{
    AnswerEvent, AnswerStream, Dispatched, Embeddings, Engine, EngineError, LoadedModel, ModelEntry, ModelFacts, Progress, ProgressStream,
};
use crate::modelfile::Modelfile;
use crate::prompt::{ModelName, Options, Prompt, Task, Texts, Think};

mod answer_text;
mod catalog;
mod details;
mod loaded_model;
mod overlay;
mod template;
mod worker;

/// Pieces between the thread and a reader. A reader that is so many behind stops the model until it reads on, or goes.
const PIECES: usize = 32;

/// What an embedded engine needs to know.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Every `NAME.gguf` in it is the model `NAME`. It must be there, and is only read.
    pub models_folder: PathBuf,
    /// Where created models are kept, one file each. Made when it isn't there.
    pub overlays_folder: PathBuf,
    /// Prompts that may wait while another one is answered; one more is [`EngineError::Busy`].
    pub queue: usize,
    /// The most tokens of a prompt and its answer together, whatever the model or the caller say.
    pub max_context_tokens: u32,
    /// Hears of the loss of the thread that runs models.
    pub essentials: Essentials,
}

impl EmbeddedConfig {
    /// Prompts that wait when nothing else is said.
    pub const DEFAULT_QUEUE: usize = 16;
}

/// The release of Ollama whose protocol callers of the embedded engine find.
const PROTOCOL_VERSION: &str = "0.32.0";

/// Answers with GGUF models in this process, one prompt at a time. Dropping it stops its thread, and waits for that.
pub struct EmbeddedEngine {
    catalog: Arc<Catalog>,
    worker: Worker,
    max_context_tokens: u32,
}

impl fmt::Debug for EmbeddedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedEngine").field("models_folder", &self.catalog.models_folder()).finish_non_exhaustive()
    }
}

impl EmbeddedEngine {
    /// Checks the folders and starts the thread. No model is loaded before the first prompt.
    pub fn open(config: EmbeddedConfig) -> Result<Self, EngineError> {
        let catalog = Catalog::open(config.models_folder, config.overlays_folder)?;
        let worker = Worker::start(config.queue, &config.essentials)
            .map_err(|error| EngineError::Unreachable { detail: format!("no thread: {error}") })?;
        Ok(Self { catalog: Arc::new(catalog), worker, max_context_tokens: config.max_context_tokens })
    }

    /// Files are read and written off the async threads.
    async fn with_catalog<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Catalog) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let catalog = Arc::clone(&self.catalog);
        let worked = tokio::task::spawn_blocking(move || work(&catalog)).await;
        worked.unwrap_or_else(|error| Err(EngineError::Interrupted { detail: error.to_string() }))
    }
}

#[async_trait]
impl Engine for EmbeddedEngine {
    fn place(&self) -> String {
        format!("this process, with the models of {}", self.catalog.models_folder().display())
    }

    /// The thread that runs models is there as long as the process is.
    async fn probe(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn refuse_unsupported(&self, prompt: &Prompt) -> Result<(), EngineError> {
        let (tools, images, suffix) = match &prompt.task {
            Task::Chat { messages, tools } => (!tools.is_empty(), messages.iter().any(|message| !message.images.is_empty()), false),
            Task::Generate { suffix, images, .. } => (false, !images.is_empty(), !suffix.is_empty()),
        };
        let thinking = !matches!(prompt.think, None | Some(Think::Off));
        let Options { presence_penalty, frequency_penalty, typical_p, repeat_last_n, .. } = &prompt.options;
        let is_on = |value: &Option<f32>, off: f32| value.is_some_and(|value| value != off);
        let asked = [
            ("presence_penalty", is_on(presence_penalty, 0.0)),
            ("frequency_penalty", is_on(frequency_penalty, 0.0)),
            ("typical_p", is_on(typical_p, 1.0)),
            ("repeat_last_n", repeat_last_n.is_some()),
            ("tools", tools),
            ("format", prompt.format.is_some()),
            ("images", images),
            ("suffix", suffix),
            ("thinking", thinking),
        ];
        match asked.iter().find(|(_, asked)| *asked) {
            Some((feature, _)) => Err(EngineError::NotSupported { feature: (*feature).to_owned() }),
            None => Ok(()),
        }
    }

    fn is_in_doubt(&self, prompt: &Prompt) -> bool {
        !self.catalog.was_there(&prompt.model)
    }

    async fn refuse_unusable(&self, prompt: &Prompt) -> Result<(), EngineError> {
        self.refuse_missing(&prompt.model).await
    }

    /// Returns once the model is loaded and the prompt is known to fit. Dropping this, or the stream, takes the prompt out of the queue or
    /// stops its answer within one token.
    async fn answer(&self, prompt: &Prompt, max_output_tokens: u32, dispatched: &Dispatched) -> Result<AnswerStream, EngineError> {
        let since = Instant::now();
        self.refuse_unsupported(prompt)?;
        let model = prompt.model.clone();
        let Resolved { gguf, overlay } = self.with_catalog(move |catalog| catalog.resolve(&model)).await?;
        let request = Request { overlay, prompt: prompt.clone(), max_output_tokens, max_context_tokens: self.max_context_tokens, since };
        let (accepted, acceptance) = oneshot::channel();
        let (pieces, received) = mpsc::channel(PIECES);
        self.worker.submit(Job { gguf, request, accepted, pieces })?;
        acceptance.await.map_err(|_| broken_off())??;
        // Who leaves the queue, or while a model is loaded, has cost nothing.
        dispatched.mark();
        Ok(Box::pin(stream::unfold(Some(received), next_item)))
    }

    async fn list_models(&self) -> Result<Vec<ModelEntry>, EngineError> {
        self.with_catalog(Catalog::list).await
    }

    fn refuse_embeddings(&self) -> Result<(), EngineError> {
        Err(EngineError::NotSupported { feature: "embeddings".to_owned() })
    }

    async fn refuse_missing(&self, model: &ModelName) -> Result<(), EngineError> {
        let model = model.clone();
        match self.with_catalog(move |catalog| catalog.resolve(&model)).await {
            Err(EngineError::ModelNotFound) => Err(EngineError::ModelNotFound),
            // A file that can't be read is found out by the answer.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn embed(&self, _texts: &Texts, _dispatched: &Dispatched) -> Result<Embeddings, EngineError> {
        Err(EngineError::NotSupported { feature: "embeddings".to_owned() })
    }

    fn recall_model(&self, _model: &ModelName) -> Option<ModelFacts> {
        None
    }

    /// A model is in memory while it answers, and its file is the operating system's to keep: there is nothing to list.
    async fn loaded_models(&self) -> Result<Vec<LoadedModel>, EngineError> {
        Ok(Vec::new())
    }

    async fn version(&self) -> Result<String, EngineError> {
        Ok(PROTOCOL_VERSION.to_owned())
    }

    async fn show_model(&self, model: &ModelName) -> Result<ModelFacts, EngineError> {
        let model = model.clone();
        self.with_catalog(move |catalog| catalog.show(&model)).await
    }

    async fn create_model(&self, model: &ModelName, modelfile: &Modelfile) -> Result<ProgressStream, EngineError> {
        let (model, modelfile) = (model.clone(), modelfile.clone());
        self.with_catalog(move |catalog| catalog.create(&model, &modelfile)).await?;
        let success = Progress { status: "success".to_owned(), completed_bytes: None, total_bytes: None };
        Ok(Box::pin(stream::iter([Ok(success)])))
    }

    async fn delete_model(&self, model: &ModelName) -> Result<(), EngineError> {
        let model = model.clone();
        self.with_catalog(move |catalog| catalog.delete(&model)).await
    }
}

/// Ends after the last item that there can be; when the thread has gone before that, with an error that says so.
async fn next_item(received: Option<mpsc::Receiver<Item>>) -> Option<(Item, Option<mpsc::Receiver<Item>>)> {
    let mut received = received?;
    match received.recv().await {
        Some(item @ Ok(AnswerEvent::Piece(_))) => Some((item, Some(received))),
        Some(last) => Some((last, None)),
        None => Some((Err(broken_off()), None)),
    }
}

fn broken_off() -> EngineError {
    EngineError::Interrupted { detail: "the embedded engine stopped".to_owned() }
}

impl From<llama::Broken> for EngineError {
    fn from(broken: llama::Broken) -> Self {
        Self::ModelBroken { detail: broken.to_string() }
    }
}

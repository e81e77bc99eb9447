//! The engine that asks an Ollama over HTTP.
//!
//! Ollama's errors are read in `ollama_error` and `classification`, its JSON in `wire`. There is no time-out on an answer here: a model
//! that loads, a full queue and a long prompt are all silence, and only [`crate::chat_stream`] knows how long that may last.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use http::{Method, StatusCode};
use serde::Deserialize;
use shared::runtime::work_through;
use tokio::time::Instant;

use crate::engine::{AnswerStream, Dispatched, Embeddings, Engine, EngineError, LoadedModel, ModelEntry, ModelFacts, ProgressStream};
use crate::modelfile::Modelfile;
use crate::prompt::{ModelName, Prompt, Task, Texts};

mod answer;
mod authorization;
mod classification;
mod create;
mod embed;
mod facts;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod host;
mod http1;
mod loaded;
mod model_list;
mod ndjson;
mod ollama_error;
mod wire;

pub use host::OllamaHost;

use answer::AnswerLines;
use classification::{classify, lacks_answers, request_failed};
use facts::{FactsCache, KnownFacts, has_no_answers};
use http1::{Client, Response};
use model_list::{Listed, ModelList, Tag};
use ndjson::Lines;
use ollama_error::{MAX_ERROR_BYTES, OllamaError, cause_chain};
use wire::malformed;

/// The most that a list of models or a model's facts may take; the facts list every tensor.
const MAX_REPLY_BYTES: usize = 32 << 20;
/// How long an answer waits to know its model's own context before it is asked for with the operator's.
const CONTEXT_TIMEOUT: Duration = Duration::from_secs(5);

/// How to reach an Ollama, and what it may be asked.
#[derive(Debug, Clone)]
pub struct OllamaConfig {
    /// Where it is.
    pub host: OllamaHost,
    /// How long the making of a connection may take.
    pub connect_timeout: Duration,
    /// How long a reply may take that needs no model: lists, facts, deletions.
    pub reply_timeout: Duration,
    /// The longest that a caller can keep a model loaded; longer wishes are cut to it. `None`: as long as they wish.
    pub max_keep_alive: Option<Duration>,
    /// The operator's cap on a model's context, in tokens: asked for when the caller names no context, unless the model's own is known to
    /// be within it. `None`: each model has its own.
    pub max_context_tokens: Option<u32>,
    /// How long a model's facts are remembered.
    pub remember_facts: Duration,
    /// Whether models may be used that run elsewhere, on the operator's account.
    pub allow_cloud_models: bool,
}

impl Default for OllamaConfig {
    fn default() -> Self {
        Self {
            host: OllamaHost::default(),
            connect_timeout: Duration::from_secs(5),
            reply_timeout: Duration::from_secs(10),
            max_keep_alive: None,
            max_context_tokens: None,
            remember_facts: Duration::from_secs(10),
            allow_cloud_models: false,
        }
    }
}

/// An Ollama.
pub struct OllamaEngine {
    config: OllamaConfig,
    /// Where it is, for errors.
    place: Arc<str>,
    client: Client,
    known: Arc<KnownModels>,
}

/// What is kept in memory of Ollama's models.
struct KnownModels {
    facts: FactsCache,
    list: ModelList,
}

impl KnownModels {
    /// A model has changed, or may have.
    fn outdate(&self) {
        self.facts.invalidate_all();
        self.list.outdate();
    }
}

impl fmt::Debug for OllamaEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OllamaEngine").field("host", &self.config.host).finish_non_exhaustive()
    }
}

impl OllamaEngine {
    /// Makes the client; connects to nothing yet. Fails when the system's certificates can't be read, for `https`.
    pub fn new(config: OllamaConfig) -> Result<Self, EngineError> {
        let unusable = |detail| EngineError::Unreachable { detail };
        let origin = config.host.origin().map_err(unusable)?;
        let client = Client::new(origin, config.host.authorization().cloned(), config.connect_timeout)
            .map_err(|error| unusable(cause_chain(&error)))?;
        let place = config.host.to_string().into();
        let known = KnownModels { facts: FactsCache::default(), list: ModelList::new(config.allow_cloud_models) };
        Ok(Self { config, place, client, known: Arc::new(known) })
    }

    /// Asks what a model is, and caches it.
    async fn fetch_facts(&self, model: &ModelName) -> Result<KnownFacts, EngineError> {
        let generation = self.known.facts.generation();
        let known = match self.reply(Method::POST, "/api/show", Some(&model_body(model))).await {
            Ok(reply) => facts::parse(&reply, self.config.allow_cloud_models),
            Err(error) => Err(error),
        };
        match &known {
            Err(EngineError::ModelNotFound | EngineError::NotSupported { .. }) => self.known.facts.remove(model),
            known => self.known.facts.insert(model, known.as_ref().ok(), generation, self.facts_ttl()),
        }
        known
    }

    /// Asks which models there are, and keeps the list.
    async fn fetch_list(&self) -> Result<Vec<Tag>, EngineError> {
        let reply = self.reply(Method::GET, "/api/tags", None).await?;
        model_list::parse(&reply)
    }

    /// From when on facts are cached, and for how long.
    fn facts_ttl(&self) -> (Instant, Duration) {
        (Instant::now(), self.config.remember_facts)
    }

    /// The `num_ctx` to send. Without one the context is Ollama's own, by the machine's memory up to 256k, and what it evaluates of it
    /// would be more than the hold pays for. So the operator's cap is sent, unless the model's own context is known to be within it: a
    /// Modelfile's smaller `num_ctx` saves memory. All calls that name none share a runner, because they send the same.
    async fn context_to_ask_for(&self, model: &ModelName, num_ctx: Option<u32>) -> Result<Option<u32>, EngineError> {
        let Some(cap) = self.config.max_context_tokens else { return Ok(num_ctx) };
        let own = match self.known.facts.context(model, Instant::now()) {
            Some(own) => own,
            None => match tokio::time::timeout(CONTEXT_TIMEOUT, self.fetch_facts(model)).await {
                Ok(Ok(known)) => known.context,
                Ok(Err(error @ EngineError::NotSupported { .. })) => return Err(error),
                // The answer may come all the same, or its error says more.
                Ok(Err(_)) => self.known.facts.stale_context(model).unwrap_or_default(),
                Err(_) => {
                    self.known.facts.insert(model, None, self.known.facts.generation(), self.facts_ttl());
                    self.known.facts.stale_context(model).unwrap_or_default()
                }
            },
        };
        Ok(num_ctx.or_else(|| own.to_ask_for(cap)))
    }

    /// Ollama says the same of a model whose weights are gone and of one that was made for something else: its capabilities tell them
    /// apart.
    async fn why_without_answers(&self, prompt: &Prompt, detail: String) -> EngineError {
        let other = |facts: &ModelFacts| facts.capabilities.iter().any(|has| matches!(has.as_str(), "embedding" | "image"));
        match self.show_model(&prompt.model).await {
            Ok(facts) if other(&facts) => incapable_of_answers(prompt),
            Ok(_) | Err(_) => EngineError::ModelBroken { detail },
        }
    }

    /// A response with status 200, or what another one means: its detail says who was asked. `dispatched` is marked when the request goes
    /// out.
    async fn accepted(
        &self,
        method: Method,
        endpoint: &str,
        body: Option<&[u8]>,
        dispatched: Option<&Dispatched>,
    ) -> Result<Response, EngineError> {
        let answered = self.answered(method, endpoint, body, dispatched).await;
        answered.map_err(|error| error.at(&self.place))
    }

    async fn answered(
        &self,
        method: Method,
        endpoint: &str,
        body: Option<&[u8]>,
        dispatched: Option<&Dispatched>,
    ) -> Result<Response, EngineError> {
        let response = self.client.send(&method, endpoint, body, dispatched).await.map_err(request_failed)?;
        let status = response.status;
        if status == StatusCode::OK {
            return Ok(response);
        }
        Err(classify(status, &OllamaError::from_body(&read_beginning(response, MAX_ERROR_BYTES).await)))
    }

    /// The whole body of a reply that needs no model.
    async fn reply(&self, method: Method, endpoint: &str, body: Option<&[u8]>) -> Result<Vec<u8>, EngineError> {
        let reply = async { read(self.accepted(method, endpoint, body, None).await?, MAX_REPLY_BYTES).await };
        let waited = self.config.reply_timeout;
        tokio::time::timeout(waited, reply).await.map_err(|_| EngineError::TimedOut { waited, place: self.place.to_string() })?
    }
}

async fn read(mut response: Response, most: usize) -> Result<Vec<u8>, EngineError> {
    let mut body = Vec::new();
    while std::future::poll_fn(|context| response.body.poll_read(context, &mut body)).await.map_err(request_failed)? {
        if body.len() > most {
            return Err(EngineError::Protocol { detail: format!("a reply is longer than {most} bytes") });
        }
    }
    Ok(body)
}

/// The beginning of a body: it says enough of an error that is longer, or breaks off.
async fn read_beginning(mut response: Response, most: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < most && matches!(std::future::poll_fn(|context| response.body.poll_read(context, &mut body)).await, Ok(true)) {}
    body.truncate(most);
    body
}

/// A model that is made for something else.
fn incapable_of_answers(prompt: &Prompt) -> EngineError {
    let capability = match &prompt.task {
        Task::Chat { .. } => "chat",
        Task::Generate { .. } => "generate",
    };
    EngineError::ModelIncapable { capability: capability.to_owned() }
}

fn model_body(model: &ModelName) -> Vec<u8> {
    serde_json::json!({ "model": model.as_str() }).to_string().into_bytes()
}

#[async_trait]
impl Engine for OllamaEngine {
    fn place(&self) -> String {
        self.place.to_string()
    }

    async fn probe(&self) -> Result<(), EngineError> {
        self.version().await.map(|_| ())
    }

    /// Ollama can do everything in the contract; what a model can't is in its capabilities.
    fn refuse_unsupported(&self, _prompt: &Prompt) -> Result<(), EngineError> {
        Ok(())
    }

    /// A model that runs elsewhere need not be listed.
    fn is_in_doubt(&self, prompt: &Prompt) -> bool {
        let model = &prompt.model;
        if model.is_cloud() {
            return false;
        }
        match self.known.list.recall(model, Instant::now()) {
            None => true,
            Some(_) => self.known.facts.answers_nothing(model),
        }
    }

    async fn refuse_unusable(&self, prompt: &Prompt) -> Result<(), EngineError> {
        let model = &prompt.model;
        match self.known.list.find(model, self.fetch_list()).await {
            Listed::Missing => return Err(EngineError::ModelNotFound),
            Listed::Elsewhere => return Err(facts::runs_elsewhere()),
            Listed::Answers | Listed::Unknown if !self.known.facts.answers_nothing(model) => return Ok(()),
            Listed::Answers | Listed::Unknown | Listed::AnswersNothing => {}
        }
        match self.show_model(model).await {
            Ok(facts) if has_no_answers(&facts.capabilities) => Err(incapable_of_answers(prompt)),
            // What it can do now isn't known: its answer says.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn answer(&self, prompt: &Prompt, max_output_tokens: u32, dispatched: &Dispatched) -> Result<AnswerStream, EngineError> {
        let num_ctx = self.context_to_ask_for(&prompt.model, prompt.options.num_ctx).await?;
        let encode = || wire::answer_request(prompt, max_output_tokens, num_ctx, self.config.max_keep_alive);
        let (endpoint, body) = work_through(prompt.size_bytes(), encode)?;
        let response = match self.accepted(Method::POST, endpoint, Some(&body), Some(dispatched)).await {
            Err(EngineError::ModelBroken { detail }) if lacks_answers(&detail) => {
                return Err(self.why_without_answers(prompt, detail).await);
            }
            Err(EngineError::ModelNotFound) => {
                self.known.list.remove(&prompt.model);
                return Err(EngineError::ModelNotFound);
            }
            answered => answered?,
        };
        let place = Arc::clone(&self.place);
        Ok(Box::pin(AnswerLines::new(Lines::new(response.body)).map(move |event| event.map_err(|error| error.at(&place)))))
    }

    fn refuse_embeddings(&self) -> Result<(), EngineError> {
        Ok(())
    }

    async fn refuse_missing(&self, model: &ModelName) -> Result<(), EngineError> {
        // A model that runs elsewhere need not be listed.
        if model.is_cloud() {
            return Ok(());
        }
        match self.known.list.find(model, self.fetch_list()).await {
            Listed::Missing => Err(EngineError::ModelNotFound),
            Listed::Elsewhere => Err(facts::runs_elsewhere()),
            Listed::Answers | Listed::AnswersNothing | Listed::Unknown => Ok(()),
        }
    }

    async fn embed(&self, texts: &Texts, dispatched: &Dispatched) -> Result<Embeddings, EngineError> {
        let num_ctx = self.context_to_ask_for(&texts.model, texts.num_ctx).await?;
        let encode = || embed::body(texts, num_ctx, self.config.max_keep_alive);
        let body = work_through(texts.size_bytes(), encode)?;
        let response = self.accepted(Method::POST, "/api/embed", Some(&body), Some(dispatched)).await;
        if matches!(response, Err(EngineError::ModelNotFound)) {
            self.known.list.remove(&texts.model);
            self.known.facts.remove(&texts.model);
        }
        let place = |error: EngineError| error.at(&self.place);
        let reply = read(response?, embed::MAX_REPLY_BYTES).await.map_err(place)?;
        work_through(reply.len(), || embed::parse(&reply, texts.inputs.len())).map_err(place)
    }

    async fn list_models(&self) -> Result<Vec<ModelEntry>, EngineError> {
        let asked = self.known.list.begin();
        let tags = self.fetch_list().await?;
        self.known.list.keep(&tags, asked);
        let may_be_used = |tag: &Tag| self.config.allow_cloud_models || !tag.runs_elsewhere();
        Ok(tags.into_iter().filter(may_be_used).filter_map(Tag::into_entry).collect())
    }

    async fn show_model(&self, model: &ModelName) -> Result<ModelFacts, EngineError> {
        match self.known.facts.get(model, Instant::now()) {
            Some(known) => Ok(known.facts),
            None => Ok(self.fetch_facts(model).await?.facts),
        }
    }

    fn recall_model(&self, model: &ModelName) -> Option<ModelFacts> {
        self.known.facts.get(model, Instant::now()).map(|known| known.facts)
    }

    async fn loaded_models(&self) -> Result<Vec<LoadedModel>, EngineError> {
        loaded::parse(&self.reply(Method::GET, "/api/ps", None).await?)
    }

    async fn version(&self) -> Result<String, EngineError> {
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let reply = self.reply(Method::GET, "/api/version", None).await?;
        let Version { version } = serde_json::from_slice(&reply).map_err(|error| malformed("the version", &error))?;
        Ok(version)
    }

    async fn create_model(&self, model: &ModelName, modelfile: &Modelfile) -> Result<ProgressStream, EngineError> {
        let from = create::from_model(modelfile, self.config.allow_cloud_models)?;
        // Ollama would pull a FROM that isn't there from its registry.
        match self.show_model(&from).await {
            Ok(_) => {}
            Err(EngineError::ModelNotFound) => return Err(create::missing_from(modelfile)),
            Err(error) => return Err(error),
        }
        let body = create::body(model, &from, modelfile)?;
        let made = self.accepted(Method::POST, "/api/create", Some(&body), None).await.map_err(|error| create::refused(modelfile, error));
        let place = Arc::clone(&self.place);
        let progress = create::CreateProgress::new(Lines::new(made?.body), Arc::clone(&self.known));
        Ok(Box::pin(progress.map(move |step| step.map_err(|error| error.at(&place)))))
    }

    async fn delete_model(&self, model: &ModelName) -> Result<(), EngineError> {
        let deleted = self.reply(Method::DELETE, "/api/delete", Some(&model_body(model))).await;
        self.known.outdate();
        self.known.list.remove(model);
        deleted.map(|_| ())
    }
}

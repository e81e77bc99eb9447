//! The engine that asks an Ollama over HTTP.
//!
//! What Ollama says in words is read in `refusal`, what it says in JSON in `wire`. There is no time-out on an answer here: a model that
//! loads, a full queue and a long prompt are all silence, and only [`crate::chat_stream`] knows how long that may last.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::Stream;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::runtime::work_through;
use tokio::time::Instant;

use crate::engine::{AnswerEvent, AnswerStream, Dispatched, Engine, EngineError, ModelEntry, ModelFacts, ProgressStream};
use crate::modelfile::Modelfile;
use crate::prompt::{ModelName, Prompt};

mod create;
mod host;
mod http1;
mod ndjson;
mod refusal;
mod wire;

pub use host::OllamaHost;

use http1::{Client, Response};
use ndjson::Lines;
use refusal::{error_text, no_answer, refusal, shortened};
use wire::{AnswerLine, DetailsBody, Said, malformed};

/// The most that a list of models or a model's facts may take; the facts list every tensor.
const MAX_REPLY_BYTES: usize = 32 << 20;
/// The most of an error body that is read.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// The most models whose facts are remembered.
const MAX_REMEMBERED: usize = 256;

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
            remember_facts: Duration::from_secs(10),
            allow_cloud_models: false,
        }
    }
}

/// An Ollama.
pub struct OllamaEngine {
    config: OllamaConfig,
    client: Client,
    facts: Arc<FactsMemory>,
}

impl fmt::Debug for OllamaEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OllamaEngine").field("host", &self.config.host).finish_non_exhaustive()
    }
}

/// The facts of models that were asked for lately.
#[derive(Default)]
struct FactsMemory(Mutex<RememberedFacts>);

impl FactsMemory {
    /// The lock is never held across an await, and a panic under it leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, RememberedFacts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A model has changed. Models may be made from one another and have several names: all are asked for anew.
    fn forget(&self) {
        let mut facts = self.lock();
        facts.by_model.clear();
        facts.changes += 1;
    }
}

#[derive(Default)]
struct RememberedFacts {
    by_model: HashMap<ModelName, (Instant, ModelFacts)>,
    /// Counts the changes of models, so that facts asked for before a change aren't remembered after it.
    changes: u64,
}

impl OllamaEngine {
    /// Makes the client; connects to nothing yet. Fails when the system's certificates can't be read, for `https`.
    pub fn new(config: OllamaConfig) -> Result<Self, EngineError> {
        let unusable = |detail| EngineError::Unreachable { detail };
        let origin = config.host.origin().map_err(unusable)?;
        let client = Client::new(origin, config.connect_timeout).map_err(|error| unusable(refusal::cause_chain(&error)))?;
        Ok(Self { config, client, facts: Arc::default() })
    }

    /// Whether an Ollama answers, within a second.
    pub async fn probe(&self) -> bool {
        let second = Duration::from_secs(1);
        matches!(tokio::time::timeout(second, self.version()).await, Ok(Ok(_)))
    }

    /// Ollama's version.
    pub async fn version(&self) -> Result<String, EngineError> {
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let reply = self.reply(Method::GET, "/api/version", None).await?;
        let Version { version } = serde_json::from_slice(&reply).map_err(|error| malformed("the version", &error))?;
        Ok(version)
    }

    /// A response with status 200, or what another one means. `dispatched` is marked when the request goes out.
    async fn accepted(
        &self,
        method: Method,
        endpoint: &str,
        body: Option<&[u8]>,
        dispatched: Option<&Dispatched>,
    ) -> Result<Response, EngineError> {
        let response = self.client.send(&method, endpoint, body, dispatched).await.map_err(no_answer)?;
        let status = response.status;
        if status == StatusCode::OK {
            return Ok(response);
        }
        // The words of a refusal that breaks off are as good as none: the status says enough.
        let body = read(response, MAX_ERROR_BYTES).await.unwrap_or_default();
        Err(refusal(status, &error_text(&body)))
    }

    /// The whole body of a reply that needs no model.
    async fn reply(&self, method: Method, endpoint: &str, body: Option<&[u8]>) -> Result<Vec<u8>, EngineError> {
        let reply = async { read(self.accepted(method, endpoint, body, None).await?, MAX_REPLY_BYTES).await };
        let waited = self.config.reply_timeout;
        tokio::time::timeout(waited, reply).await.map_err(|_| EngineError::TimedOut { waited })?
    }
}

async fn read(mut response: Response, most: usize) -> Result<Vec<u8>, EngineError> {
    let mut body = Vec::new();
    while std::future::poll_fn(|context| response.body.poll_read(context, &mut body)).await.map_err(no_answer)? {
        if body.len() > most {
            return Err(EngineError::Protocol { detail: format!("a reply is longer than {most} bytes") });
        }
    }
    Ok(body)
}

fn model_body(model: &ModelName) -> Vec<u8> {
    serde_json::json!({ "model": model.as_str() }).to_string().into_bytes()
}

/// RFC 3339, as Go writes it. What can't be read is unknown: nobody's request fails for it.
fn parse_time(text: &str) -> Option<SystemTime> {
    text.parse::<prost_types::Timestamp>().ok().and_then(|time| SystemTime::try_from(time).ok())
}

#[async_trait]
impl Engine for OllamaEngine {
    /// Ollama can do everything in the contract; what a model can't is in its capabilities.
    fn refuse_unsupported(&self, _prompt: &Prompt) -> Result<(), EngineError> {
        Ok(())
    }

    async fn answer(&self, prompt: &Prompt, max_output_tokens: u32, dispatched: &Dispatched) -> Result<AnswerStream, EngineError> {
        let encode = || wire::answer_request(prompt, max_output_tokens, self.config.max_keep_alive);
        let (endpoint, body) = work_through(prompt.size_bytes(), encode)?;
        let response = self.accepted(Method::POST, endpoint, Some(&body), Some(dispatched)).await?;
        Ok(Box::pin(Answer { lines: Some(Lines::new(response.body)) }))
    }

    async fn list_models(&self) -> Result<Vec<ModelEntry>, EngineError> {
        #[derive(Deserialize)]
        struct Tags {
            models: Option<Vec<Tag>>,
        }
        #[derive(Deserialize)]
        struct Tag {
            name: String,
            #[serde(default)]
            size: i64,
            #[serde(default)]
            digest: String,
            #[serde(default)]
            modified_at: String,
            #[serde(default)]
            details: DetailsBody,
        }
        let reply = self.reply(Method::GET, "/api/tags", None).await?;
        let Tags { models } = serde_json::from_slice(&reply).map_err(|error| malformed("the list of models", &error))?;
        let entry = |tag: Tag| ModelEntry {
            // One name per model here: without `:latest`.
            name: ModelName::parse(&tag.name).map_or(tag.name, |name| name.to_string()),
            size_bytes: tag.size,
            digest: tag.digest,
            modified_at: parse_time(&tag.modified_at),
            details: tag.details.into_details(),
        };
        Ok(models.unwrap_or_default().into_iter().map(entry).collect())
    }

    async fn show_model(&self, model: &ModelName) -> Result<ModelFacts, EngineError> {
        let changes = {
            let facts = self.facts.lock();
            match facts.by_model.get(model) {
                Some((until, known)) if Instant::now() < *until => return Ok(known.clone()),
                _ => facts.changes,
            }
        };
        let reply = self.reply(Method::POST, "/api/show", Some(&model_body(model))).await?;
        let known = parse_facts(&reply, self.config.allow_cloud_models)?;
        let mut facts = self.facts.lock();
        if facts.changes == changes {
            let now = Instant::now();
            if facts.by_model.len() >= MAX_REMEMBERED {
                facts.by_model.retain(|_, (until, _)| now < *until);
            }
            if facts.by_model.len() >= MAX_REMEMBERED {
                facts.by_model.clear();
            }
            facts.by_model.insert(model.clone(), (now + self.config.remember_facts, known.clone()));
        }
        Ok(known)
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
        Ok(Box::pin(create::Making::new(Lines::new(made?.body), Arc::clone(&self.facts))))
    }

    async fn delete_model(&self, model: &ModelName) -> Result<(), EngineError> {
        let deleted = self.reply(Method::DELETE, "/api/delete", Some(&model_body(model))).await;
        self.facts.forget();
        deleted.map(|_| ())
    }
}

fn parse_facts(reply: &[u8], allow_cloud_models: bool) -> Result<ModelFacts, EngineError> {
    #[derive(Deserialize)]
    struct Show<'a> {
        #[serde(default)]
        details: DetailsBody,
        capabilities: Option<Vec<String>>,
        // Some of its values are whole vocabularies: only two are read.
        #[serde(borrow)]
        model_info: Option<HashMap<String, &'a RawValue>>,
        #[serde(default)]
        modified_at: String,
        #[serde(default)]
        remote_host: String,
    }
    let show: Show<'_> = serde_json::from_slice(reply).map_err(|error| malformed("the facts of a model", &error))?;
    if !show.remote_host.is_empty() && !allow_cloud_models {
        // A name tells a cloud model only until somebody makes another model from it.
        return Err(EngineError::NotSupported { feature: "models that run elsewhere".to_owned() });
    }
    let info = show.model_info.unwrap_or_default();
    let context_length =
        info.get("general.architecture").and_then(|json| serde_json::from_str::<String>(json.get()).ok()).and_then(|architecture| {
            let length = info.get(&format!("{architecture}.context_length"))?;
            serde_json::from_str::<f64>(length.get()).ok()
        });
    // `as` saturates, and a length beyond u32 is as good as its end.
    let context_length = context_length.map_or(0, |length| length as u32);
    Ok(ModelFacts {
        details: show.details.into_details(),
        capabilities: show.capabilities.unwrap_or_default(),
        context_length,
        modified_at: parse_time(&show.modified_at),
    })
}

/// An answer, line by line. Dropping it closes the connection.
struct Answer {
    /// Gone after the last item.
    lines: Option<Lines>,
}

impl Stream for Answer {
    type Item = Result<AnswerEvent, EngineError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(lines) = &mut self.lines else { return Poll::Ready(None) };
        let error = loop {
            match std::task::ready!(lines.poll_line(context)) {
                Some(Ok(line)) => match AnswerLine::parse(line) {
                    // The first line often has an empty content: the role alone.
                    Ok(Said::Piece(piece)) if piece.is_empty() => {}
                    Ok(Said::Piece(piece)) => return Poll::Ready(Some(Ok(AnswerEvent::Piece(piece)))),
                    Ok(Said::Done(piece, done)) => {
                        if let Some(lines) = self.lines.take() {
                            lines.finish();
                        }
                        return Poll::Ready(Some(Ok(AnswerEvent::Done(piece, done))));
                    }
                    Ok(Said::Error { status, text }) => break mid_stream_error(status, text),
                    Err(error) => break error,
                },
                Some(Err(error)) => break error,
                // Ollama's guard against endless repetition ends like this, and so does a runner that was killed at the right moment.
                None => break EngineError::Interrupted { detail: "the answer ended without a last line".to_owned() },
            }
        };
        self.lines = None;
        Poll::Ready(Some(Err(error)))
    }
}

/// An error in the middle of a 200 stream. Only newer releases say a status; without one the words alone decide nothing.
fn mid_stream_error(status: Option<u16>, text: String) -> EngineError {
    let text = shortened(text);
    match status.and_then(|status| StatusCode::from_u16(status).ok()) {
        Some(status) if !status.is_success() => refusal(status, &text),
        _ => EngineError::Interrupted { detail: text },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_writes_them() {
        let time = parse_time("2026-11-22T01:56:36.049722669Z").unwrap();
        assert_eq!(time.duration_since(SystemTime::UNIX_EPOCH).unwrap(), Duration::new(1_795_312_596, 49_722_669));
        assert_eq!(parse_time("2026-11-22T03:56:36.049722669+02:00"), Some(time));
        assert_eq!(parse_time(""), None);
    }

    #[test]
    fn facts_name_no_path_and_refuse_what_runs_elsewhere() {
        let show = br#"{"details":{"parent_model":"/models/blobs/x","family":"llama"},"model_info":{"general.architecture":"llama","llama.context_length":8192}}"#;
        let facts = parse_facts(show, false).unwrap();
        assert_eq!((facts.details.parent_model.as_str(), facts.context_length), ("", 8192));
        let remote = br#"{"remote_host":"https://ollama.com:443","remote_model":"gpt-oss:120b"}"#;
        assert!(matches!(parse_facts(remote, false), Err(EngineError::NotSupported { .. })));
        assert_eq!(parse_facts(remote, true).unwrap().context_length, 0);
    }

    #[test]
    fn a_status_in_an_error_line_is_believed() {
        assert!(matches!(mid_stream_error(Some(503), String::new()), EngineError::Busy));
        assert!(matches!(mid_stream_error(Some(200), String::new()), EngineError::Interrupted { .. }));
        assert!(matches!(mid_stream_error(Some(7), String::new()), EngineError::Interrupted { .. }));
        assert!(matches!(mid_stream_error(None, "model not found".to_owned()), EngineError::Interrupted { .. }));
    }
}

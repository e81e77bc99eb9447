//! What `main` and the tests start: the same parts, on a listener and with a shutdown that the caller owns.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use shared::admission::{MethodPolicies, MethodPolicy};
use shared::authorization::CallerKind;
use shared::codec::MAX_MESSAGE_BYTES;
use shared::doors::Door;
use shared::essential::{EXIT_SOFTWARE, Essentials, Lost};
use shared::proto::inference::inference_server::InferenceServer;
use shared::proto::inference::models_server::ModelsServer;
use shared::serving::{Health, ServeConfig, ServeError, Served, serve};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::metadata::errors::InvalidMetadataValue;
use tonic::service::RoutesBuilder;

use crate::auth_client::{AuthClient, AuthClientConfig};
use crate::chat_stream::StreamOwner;
use crate::config::{Config, EngineChoice};
use crate::doors::published::served;
use crate::engine::ollama::{OllamaConfig, OllamaEngine};
use crate::engine::{Engine, EngineError};
use crate::readiness;
use crate::service::Authorizer;
use crate::service::inference::InferenceService;
use crate::service::models::ModelsService;

/// The service whose health says whether chats can be answered.
pub const INFERENCE: &str = "tollgate.inference.v1.Inference";
/// The gRPC services.
pub(crate) const SERVICES: [&str; 2] = [INFERENCE, "tollgate.inference.v1.Models"];
/// The largest Modelfile: a template and a conversation, and no weights.
const MAX_MODELFILE_BYTES: usize = 1024 * 1024;

/// Why the service can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The engine can't be opened.
    #[error("the engine can't be opened: {0}")]
    Engine(#[from] EngineError),
    /// Calls to auth-service can't be made of what the configuration says.
    #[error("auth-service can't be called: {0}")]
    Auth(#[from] InvalidMetadataValue),
}

/// Why the service stopped before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Serving broke.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A thread or task that the process needs has ended.
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl RunError {
    /// What the process exits with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Serve(_) => 1,
            Self::Lost(_) => EXIT_SOFTWARE,
        }
    }
}

/// The service, ready to be run.
#[derive(Debug)]
pub struct Application {
    inference: InferenceService,
    models: ModelsService,
    owner: StreamOwner,
    draining: CancellationToken,
    serve: ServeConfig,
    essentials: Essentials,
}

impl Application {
    /// Builds the service and chooses its engine.
    pub async fn build(config: Config) -> Result<Self, StartError> {
        let essentials = Essentials::default();
        let engine = choose_engine(&config, &essentials).await?;
        tracing::info!(engine = engine.place(), "this engine answers");
        Ok(Self { essentials, ..Self::with_engine(config, engine)? })
    }

    /// Builds the service on the configured Ollama, whether or not it answers. Nothing is connected to.
    pub(crate) fn on_ollama(config: Config) -> Result<Self, StartError> {
        let engine = Arc::new(ollama(&config)?);
        Self::with_engine(config, engine)
    }

    /// Builds the service on an engine of the caller's.
    pub fn with_engine(config: Config, engine: Arc<dyn Engine>) -> Result<Self, StartError> {
        let owner = StreamOwner::default();
        let auth = AuthClient::new(
            AuthClientConfig {
                urls: config.auth_urls,
                tls: config.auth_tls,
                service_credential: config.service_credential,
                check_timeout: config.check_timeout,
                settle_retry_for: config.settle_retry_for,
            },
            owner.tasks.clone(),
            owner.timers.clone(),
        )?;
        let draining = CancellationToken::new();
        let authorizer = Authorizer { auth, draining: draining.clone() };
        Ok(Self {
            inference: InferenceService {
                authorizer: authorizer.clone(),
                engine: engine.clone(),
                prompt_limits: config.prompt_limits,
                stream_limits: config.stream_limits,
                owner: owner.clone(),
            },
            models: ModelsService {
                authorizer,
                engine,
                allow_cloud_models: config.prompt_limits.allow_cloud_models,
                cut_off: owner.cut_off.clone(),
            },
            owner,
            draining,
            serve: config.serve,
            essentials: Essentials::default(),
        })
    }

    /// Its HTTP doors.
    pub(crate) fn doors(&self) -> Vec<Door> {
        served(&self.inference, &self.models)
    }

    /// Serves until `shutdown` is ready, then drains: running answers may finish, new calls are refused. What still runs shortly before the
    /// deadline is cut off, and what was held is settled by the deadline.
    ///
    /// # Errors
    /// [`RunError::Serve`] when serving broke; [`RunError::Lost`] when the process lost what it can't do without: what was being settled
    /// may land before, and what runs is not waited for.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), RunError> {
        let Self { inference, models, owner, draining, serve: config, essentials } = self;
        let (auth, engine) = (inference.authorizer.auth.clone(), Arc::clone(&inference.engine));
        let policies = MethodPolicies::new(&SERVICES, policy).with_confirmation(Arc::new(inference.authorizer.clone()));
        let doors = served(&inference, &models);
        let (mut routes, gzip) = (RoutesBuilder::default(), CompressionEncoding::Gzip);
        routes
            .add_service(InferenceServer::new(inference).max_decoding_message_size(MAX_MESSAGE_BYTES).send_compressed(gzip))
            .add_service(ModelsServer::new(models).max_decoding_message_size(MAX_MODELFILE_BYTES).send_compressed(gzip));
        let health = Health::new(&SERVICES).await;
        let served = Served { name: "Tollgate's inference-service", routes, policies, doors, site: None, health: health.clone() };
        let _following = essentials.spawn("the watch over TLS files", &CancellationToken::new(), auth.clone().watch_tls());
        let revocations = auth.clone().watch_revocations();
        let _revocations = essentials.spawn("the watch over revocations", &CancellationToken::new(), revocations);
        let watch = readiness::watch(auth, engine, health, draining.clone());
        let _watch = essentials.spawn("the watch over auth-service and the model server", &draining, watch);

        // Answers that still run are cut off a little before the deadline, so that their holds are settled by then.
        let deadline = config.drain_deadline;
        let for_settling = (deadline / 5).min(Duration::from_secs(3));
        let cutting = {
            let (draining, cut_off) = (draining.clone(), owner.cut_off.clone());
            async move {
                draining.cancelled().await;
                let end = Instant::now() + deadline;
                tokio::time::sleep_until(end - for_settling).await;
                cut_off.cancel();
                tokio::time::sleep_until(end).await;
            }
        };
        let mut cutting = essentials.spawn("the task that cuts answers off before the drain's deadline", &draining, cutting);
        let _timing = essentials.spawn("the timer of all streams and holds", &CancellationToken::new(), owner.timers.clone().run());
        let served = tokio::select! {
            served = serve(listener, served, config, draining, shutdown) => served,
            lost = essentials.lost() => {
                owner.tasks.close();
                // Without the answer's limits nothing that runs can be trusted to end; what has ended may still be settled.
                let _late = tokio::time::timeout(for_settling, owner.tasks.wait()).await;
                return Err(lost.into());
            }
        };
        owner.tasks.close();
        tokio::select! {
            () = owner.tasks.wait() => {}
            () = cutting.ended(), if served.is_ok() => {
                tracing::error!(unsettled = owner.tasks.len(), "the process ends with settles that could not land; their holds expire");
            }
        }
        Ok(served?)
    }
}

/// Who may call a method, how long its message may be, and whether each call has a line in the log.
pub(crate) fn policy(service: &str, method: &str) -> MethodPolicy {
    let most_bytes = if service == "tollgate.inference.v1.Models" { MAX_MODELFILE_BYTES } else { MAX_MESSAGE_BYTES };
    MethodPolicy { caller: CallerKind::EndUser, most_bytes, is_recorded: matches!(method, "Chat" | "Generate") }
}

fn ollama(config: &Config) -> Result<OllamaEngine, EngineError> {
    OllamaEngine::new(OllamaConfig {
        host: config.ollama_host.clone(),
        connect_timeout: Duration::from_secs(5),
        reply_timeout: Duration::from_secs(30),
        max_keep_alive: Some(config.prompt_limits.max_keep_alive),
        max_context_tokens: Some(config.prompt_limits.max_context_tokens),
        remember_facts: Duration::from_secs(10),
        allow_cloud_models: config.prompt_limits.allow_cloud_models,
    })
}

async fn choose_engine(config: &Config, essentials: &Essentials) -> Result<Arc<dyn Engine>, StartError> {
    let ollama = ollama(config)?;
    match config.engine {
        EngineChoice::Ollama => Ok(Arc::new(ollama)),
        EngineChoice::Embedded => embedded(config, essentials),
        EngineChoice::Auto if answers(&ollama).await => Ok(Arc::new(ollama)),
        EngineChoice::Auto => match embedded_when_usable(config, essentials)? {
            Some(engine) => Ok(engine),
            None => {
                tracing::warn!(host = %config.ollama_host, "no Ollama answers; calls are refused until one does");
                Ok(Arc::new(ollama))
            }
        },
    }
}

/// Whether an Ollama answers, within a second.
async fn answers(ollama: &OllamaEngine) -> bool {
    matches!(tokio::time::timeout(Duration::from_secs(1), ollama.probe()).await, Ok(Ok(())))
}

#[cfg(feature = "embedded-engine")]
fn embedded(config: &Config, essentials: &Essentials) -> Result<Arc<dyn Engine>, StartError> {
    use crate::engine::embedded::{EmbeddedConfig, EmbeddedEngine};
    Ok(Arc::new(EmbeddedEngine::open(EmbeddedConfig {
        models_folder: config.models_folder.clone(),
        overlays_folder: config.overlays_folder.clone(),
        queue: config.queue,
        max_context_tokens: config.prompt_limits.max_context_tokens,
        essentials: essentials.clone(),
    })?))
}

#[cfg(not(feature = "embedded-engine"))]
fn embedded(_: &Config, _: &Essentials) -> Result<Arc<dyn Engine>, StartError> {
    Err(StartError::Engine(EngineError::NotSupported {
        feature: "models in this process: it was built without embedded-engine".to_owned(),
    }))
}

/// The embedded engine, if it is built in and its folder holds a model.
fn embedded_when_usable(config: &Config, essentials: &Essentials) -> Result<Option<Arc<dyn Engine>>, StartError> {
    let is_model = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.path().extension().is_some_and(|ending| ending == "gguf"))
    };
    let has_model = std::fs::read_dir(&config.models_folder).is_ok_and(|mut entries| entries.any(is_model));
    if cfg!(feature = "embedded-engine") && has_model { embedded(config, essentials).map(Some) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::timers::Timed;

    struct Panics;

    impl Timed for Panics {
        fn on_time(&self, _: Instant) -> Option<Instant> {
            panic!("on purpose")
        }
    }

    #[tokio::test]
    async fn a_service_whose_timer_panics_stops_with_70_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let strings = BTreeMap::from([
            ("TOLLGATE_DATA_DIR".to_owned(), folder.path().to_str().unwrap().to_owned()),
            ("TOLLGATE_ENGINE".to_owned(), "ollama".to_owned()),
        ]);
        let application = Application::build(Config::read(&strings).unwrap()).await.unwrap();
        let _armed = application.owner.timers.arm(Arc::new(Panics), Instant::now());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = application.run(listener, std::future::pending()).await.unwrap_err();
        assert!(matches!(&error, RunError::Lost(_)), "{error}");
        assert_eq!(error.exit_code(), 70);
        assert!(error.to_string().starts_with("the timer of all streams and holds panicked"), "{error}");
    }
}

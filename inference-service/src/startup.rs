//! What `main` and the tests start: the same parts, on a listener and with a shutdown that the caller owns.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use shared::proto::inference::inference_server::InferenceServer;
use shared::proto::inference::models_server::ModelsServer;
use shared::serving::{Health, MAX_MESSAGE_BYTES, ServeConfig, ServeError, serve};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;

use crate::auth_client::{AuthClient, AuthClientConfig};
use crate::chat_stream::StreamOwner;
use crate::config::{Config, EngineChoice};
use crate::engine::ollama::{OllamaConfig, OllamaEngine};
use crate::engine::{Engine, EngineError};
use crate::service::Gate;
use crate::service::inference::InferenceService;
use crate::service::models::ModelsService;

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
    Auth(#[from] http::Error),
}

/// The service, ready to be run.
#[derive(Debug)]
pub struct Application {
    inference: InferenceService,
    models: ModelsService,
    owner: StreamOwner,
    draining: CancellationToken,
    serve: ServeConfig,
}

impl Application {
    /// Builds the service and chooses its engine.
    pub async fn build(config: Config) -> Result<Self, StartError> {
        let engine = choose_engine(&config).await?;
        Self::with_engine(config, engine)
    }

    /// Builds the service on an engine of the caller's.
    pub fn with_engine(config: Config, engine: Arc<dyn Engine>) -> Result<Self, StartError> {
        let owner = StreamOwner::default();
        let auth = AuthClient::new(
            AuthClientConfig {
                url: config.auth_url,
                service_credential: config.service_credential,
                check_timeout: config.check_timeout,
                settle_retry_for: config.settle_retry_for,
            },
            owner.tasks.clone(),
            owner.timers.clone(),
        )?;
        let draining = CancellationToken::new();
        let gate = Gate { auth, draining: draining.clone() };
        Ok(Self {
            inference: InferenceService {
                gate: gate.clone(),
                engine: engine.clone(),
                prompt_limits: config.prompt_limits,
                stream_limits: config.stream_limits,
                owner: owner.clone(),
            },
            models: ModelsService { gate, engine, cut_off: owner.cut_off.clone() },
            owner,
            draining,
            serve: config.serve,
        })
    }

    /// Serves until `shutdown` is ready, then drains: running answers may finish, new calls are refused. What still runs shortly before the
    /// deadline is cut off, and what was held is settled by the deadline.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), ServeError> {
        let Self { inference, models, owner, draining, serve: config } = self;
        let mut routes = RoutesBuilder::default();
        routes
            .add_service(InferenceServer::new(inference).max_decoding_message_size(MAX_MESSAGE_BYTES))
            .add_service(ModelsServer::new(models).max_decoding_message_size(MAX_MODELFILE_BYTES));
        let health = Health::new(&["tollgate.inference.v1.Inference", "tollgate.inference.v1.Models"]).await;

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
        let mut cutting = tokio::spawn(cutting);
        let timing = tokio::spawn(owner.timers.clone().run());
        let served = serve(listener, routes, health, config, draining, shutdown).await;
        owner.tasks.close();
        tokio::select! {
            () = owner.tasks.wait() => {}
            _ = &mut cutting, if served.is_ok() => {
                tracing::error!(unsettled = owner.tasks.len(), "the process ends with settles that could not land; their holds expire");
            }
        }
        cutting.abort();
        timing.abort();
        served
    }
}

async fn choose_engine(config: &Config) -> Result<Arc<dyn Engine>, StartError> {
    let ollama = OllamaEngine::new(OllamaConfig {
        host: config.ollama_host.clone(),
        connect_timeout: Duration::from_secs(5),
        reply_timeout: Duration::from_secs(30),
        max_keep_alive: Some(config.prompt_limits.max_keep_alive),
        max_context_tokens: Some(config.prompt_limits.max_context_tokens),
        remember_facts: Duration::from_secs(10),
        allow_cloud_models: config.prompt_limits.allow_cloud_models,
    })?;
    match config.engine {
        EngineChoice::Ollama => Ok(Arc::new(ollama)),
        EngineChoice::Embedded => embedded(config),
        EngineChoice::Auto if ollama.probe().await => Ok(Arc::new(ollama)),
        EngineChoice::Auto => match embedded_when_usable(config)? {
            Some(engine) => Ok(engine),
            None => {
                tracing::warn!(host = %config.ollama_host, "no Ollama answers; calls are refused until one does");
                Ok(Arc::new(ollama))
            }
        },
    }
}

#[cfg(feature = "embedded-engine")]
fn embedded(config: &Config) -> Result<Arc<dyn Engine>, StartError> {
    use crate::engine::embedded::{EmbeddedConfig, EmbeddedEngine};
    tracing::info!(folder = %config.models_folder.display(), "models run in this process");
    Ok(Arc::new(EmbeddedEngine::open(EmbeddedConfig {
        models_folder: config.models_folder.clone(),
        overlays_folder: config.overlays_folder.clone(),
        queue: config.queue,
        max_context_tokens: config.prompt_limits.max_context_tokens,
    })?))
}

#[cfg(not(feature = "embedded-engine"))]
fn embedded(_: &Config) -> Result<Arc<dyn Engine>, StartError> {
    Err(StartError::Engine(EngineError::NotSupported {
        feature: "models in this process: it was built without embedded-engine".to_owned(),
    }))
}

/// The embedded engine, if it is built in and its folder holds a model.
fn embedded_when_usable(config: &Config) -> Result<Option<Arc<dyn Engine>>, StartError> {
    let is_model = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.path().extension().is_some_and(|ending| ending == "gguf"))
    };
    let has_model = std::fs::read_dir(&config.models_folder).is_ok_and(|mut entries| entries.any(is_model));
    if cfg!(feature = "embedded-engine") && has_model { embedded(config).map(Some) } else { Ok(None) }
}

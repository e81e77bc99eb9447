//! Serving a set of gRPC services on a listener that the caller owns, with health, reflection, limits, and a drain that has a deadline.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::connections::accepted;
use crate::proto;
use crate::request_context::RequestContextLayer;

/// The largest message that is taken: a conversation with a few pictures in it.
pub const MAX_MESSAGE_BYTES: usize = 32 * 1024 * 1024;

/// How a service is served.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Whether server reflection (v1 and v1alpha) is there.
    pub reflection: bool,
    /// How long calls that run may go on after the shutdown began. Then their connections are closed.
    pub drain_deadline: Duration,
    /// Calls at a time on one connection.
    pub max_concurrent_streams: u32,
}

/// Why serving failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address can't be listened on.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The server broke.
    #[error("the server broke: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The descriptors for reflection are damaged.
    #[error("the descriptors for reflection are damaged: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// What `grpc.health.v1` answers for a process: the empty name, and each of its services.
#[derive(Debug, Clone)]
pub struct Health {
    reporter: HealthReporter,
    names: Arc<[String]>,
}

impl Health {
    /// All of them serve, until something else is said.
    pub async fn new(services: &[&str]) -> Self {
        let names = std::iter::once("").chain(services.iter().copied()).map(str::to_owned).collect();
        let health = Self { reporter: HealthReporter::new(), names };
        health.set_serving(true).await;
        health
    }

    /// Whether all of them serve, from now on.
    pub async fn set_serving(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in self.names.iter() {
            self.reporter.set_service_status(name, status).await;
        }
    }
}

/// Binds an address.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

/// Serves until `shutdown` is ready, then drains: health says NOT_SERVING, `draining` is cancelled (services refuse new calls from then
/// on), calls that run may finish until the deadline, and then their connections are closed.
pub async fn serve(
    listener: TcpListener,
    routes: RoutesBuilder,
    health: Health,
    config: ServeConfig,
    draining: CancellationToken,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let mut routes = routes;
    routes.add_service(tonic_health::pb::health_server::HealthServer::new(tonic_health::server::HealthService::from_health_reporter(
        health.reporter.clone(),
    )));
    if config.reflection {
        routes.add_service(reflection(&health.names).build_v1()?);
        routes.add_service(reflection(&health.names).build_v1alpha()?);
    }

    let drained = draining.clone();
    let begin_drain = async move {
        shutdown.await;
        // First, so that nothing sets it back: who watches a dependency stops at this.
        drained.cancel();
        health.set_serving(false).await;
    };
    let server = Server::builder()
        .layer(RequestContextLayer)
        .max_concurrent_streams(config.max_concurrent_streams)
        .http2_max_header_list_size(32 * 1024)
        .http2_keepalive_interval(Some(Duration::from_secs(60)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .add_routes(routes.routes())
        .serve_with_incoming_shutdown(accepted(listener), begin_drain);

    // tonic's own graceful shutdown waits for ever.
    let deadline = async {
        draining.cancelled().await;
        tracing::info!(deadline = ?config.drain_deadline, "draining: running calls may finish, new ones are refused");
        tokio::time::sleep(config.drain_deadline).await;
    };
    tokio::select! {
        served = server => served?,
        () = deadline => tracing::warn!("the drain deadline passed with calls still running; their connections are closed"),
    }
    Ok(())
}

/// Describes every message there is, and lists the services that this process serves: the descriptors have those of the others as well.
fn reflection(services: &[String]) -> tonic_reflection::server::Builder<'static> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let beside = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
    let served = services.iter().map(String::as_str).filter(|name| !name.is_empty());
    served.chain(beside).fold(builder, tonic_reflection::server::Builder::with_service_name)
}

/// Ready at the first SIGTERM or Ctrl-C.
pub async fn shutdown_signal() {
    let interrupt = tokio::signal::ctrl_c();
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut terminate) => {
                terminate.recv().await;
            }
            Err(error) => {
                tracing::warn!(%error, "SIGTERM can't be watched");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        _ = interrupt => {}
        () = terminate => {}
    }
}

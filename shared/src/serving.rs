//! Serving a set of gRPC services on a listener that the caller owns, with health, reflection, limits, and a drain that has a deadline.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::service::RoutesBuilder;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthMethods, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthReporter, HealthService};
use tower::{Layer, Service};

use crate::admission::{Admission, Doors};
use crate::caller_address::TrustedProxies;
use crate::connections::{Connection, HANDSHAKE_TIMEOUT, first_bytes};
use crate::descriptors;
use crate::env::{Reader, Variable};
use crate::holding_body::HoldingBody;
pub use crate::places::PlaceLimits;
use crate::places::{ConnectionState, Place, Places};
use crate::proto;
use crate::request_context::RequestContextLayer;
use crate::telemetry::report_fatal;

/// The headers of one call, at most: an access token and some more.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// What a client may send on a stream, and on its connection, before it is read.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;
/// How often a connection is asked whether its other side is still there. Proxies cut what is silent for a minute, so well below that.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long the answer may take.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a connection may be without a call while none on it was authenticated.
const UNPROVED_IDLE: Duration = Duration::from_secs(60);
/// How long calls may go on after a connection was asked to end because of its age: longer than any answer lives by default.
const AGE_GRACE: Duration = Duration::from_secs(3900);
/// How long an idle connection may take to end once it was asked to.
const IDLE_GRACE: Duration = Duration::from_secs(5);
/// After a failed accept, which is as a rule that the process has no file descriptor left: trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The variables that [`ConnectionLimits::read`] reads.
pub const CONNECTION_VARIABLES: [Variable; 5] = [
    Variable {
        name: "TOLLGATE_TRUSTED_PROXIES",
        default: "unset: none",
        meaning: "Networks of proxies whose PROXY header (version 2) or x-forwarded-for says who calls, comma separated.",
        bad: "10.0.0.0/33",
    },
    Variable {
        name: "TOLLGATE_MAX_CONNECTIONS",
        default: "10000",
        meaning: "Connections at a time, at most; fewer where the limit of open files asks for it.",
        bad: "0",
    },
    Variable {
        name: "TOLLGATE_MAX_CONNECTIONS_PER_ADDRESS",
        default: "1000",
        meaning: "Connections of one address (of one /64, for IPv6) at a time. Listed proxies have no such limit.",
        bad: "none",
    },
    Variable {
        name: "TOLLGATE_CONNECTION_IDLE",
        default: "15m",
        meaning: "How long a connection may be without a call; a minute while none on it was authenticated.",
        bad: "0s",
    },
    Variable {
        name: "TOLLGATE_CONNECTION_AGE",
        default: "1h",
        meaning: "How old a connection becomes before its client is asked to make another one; its calls may finish.",
        bad: "0s",
    },
];

/// Limits on connections.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// How many there may be.
    pub places: PlaceLimits,
    /// Proxies whose word on who calls counts.
    pub trusted_proxies: TrustedProxies,
    /// How long one may be without a call.
    pub idle: Duration,
    /// How old one becomes.
    pub age: Duration,
}

impl ConnectionLimits {
    /// Reads [`CONNECTION_VARIABLES`].
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
        let mut connections = |name, default| usize::try_from(reader.integer(name, default, 1..=1_000_000)).unwrap_or(usize::MAX);
        let places = PlaceLimits {
            total: connections("TOLLGATE_MAX_CONNECTIONS", 10_000),
            per_network: connections("TOLLGATE_MAX_CONNECTIONS_PER_ADDRESS", 1_000),
        };
        Self {
            places,
            trusted_proxies: reader.parse("TOLLGATE_TRUSTED_PROXIES", TrustedProxies::parse).unwrap_or_default(),
            idle: reader.duration("TOLLGATE_CONNECTION_IDLE", second * 900, second..=day),
            age: reader.duration("TOLLGATE_CONNECTION_AGE", second * 3600, second..=day * 30),
        }
    }
}

/// How a service is served.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Whether server reflection (v1 and v1alpha) is there.
    pub reflection: bool,
    /// How long calls that run may go on after the shutdown began. Then their connections are closed.
    pub drain_deadline: Duration,
    /// Calls at a time on one connection.
    pub max_concurrent_streams: u32,
    /// How many connections, and for how long.
    pub connections: ConnectionLimits,
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
    doors: Doors,
    health: Health,
    config: ServeConfig,
    draining: CancellationToken,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let mut routes = routes;
    let watches_end = CancellationToken::new();
    let service = HealthService::from_health_reporter(health.reporter.clone());
    routes.add_service(HealthServer::new(EndingHealth { service, ended: watches_end.clone() }));
    if config.reflection {
        routes.add_service(reflection(&health.names).build_v1()?.accept_compressed(CompressionEncoding::Gzip));
        routes.add_service(reflection(&health.names).build_v1alpha()?.accept_compressed(CompressionEncoding::Gzip));
    }
    let limits = config.connections;
    let places = PlaceLimits { total: descriptors::connections(limits.places.total), ..limits.places };
    let server = Arc::new(Server {
        admission: Admission::new(doors, limits.trusted_proxies.clone(), routes.routes().prepare()),
        places: Places::new(places),
        proxies: limits.trusted_proxies,
        idle: limits.idle,
        age: limits.age,
        streams: config.max_concurrent_streams,
        draining: draining.clone(),
    });

    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(Arc::clone(&server).serve_connection(stream, peer));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection can't be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next(), if !connections.is_empty() => report(ended),
        }
    }
    // Whoever comes now is told at once that nobody listens.
    drop(listener);
    // First, so that nothing sets it back: who watches a dependency stops at this.
    draining.cancel();
    health.set_serving(false).await;
    watches_end.cancel();
    tracing::info!(deadline = ?config.drain_deadline, "draining: running calls may finish, new ones are refused");
    let drained = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(config.drain_deadline, drained).await.is_err() {
        tracing::warn!("the drain deadline passed with calls still running; their connections are closed");
    }
    Ok(())
}

/// A connection's task has ended; a panic in it is a defect, and that connection's alone.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the task of a connection broke");
    }
}

/// What connections share.
struct Server {
    admission: Admission,
    places: Arc<Places>,
    proxies: TrustedProxies,
    idle: Duration,
    age: Duration,
    streams: u32,
    draining: CancellationToken,
}

impl Server {
    /// Serves a connection until one of its sides ends it.
    async fn serve_connection(self: Arc<Self>, mut stream: TcpStream, peer: SocketAddr) {
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        let mut state = Arc::new(ConnectionState::new(self.proxies.connection(peer.ip(), None)));
        let Ok(mut place) = self.places.take(&state) else { return };
        let first = tokio::select! {
            biased;
            () = state.evicted.cancelled() => return,
            first = first_bytes(&mut stream, deadline) => first,
        };
        let Ok(first) = first.inspect_err(|error| tracing::debug!(%error, "a connection ended before it began")) else { return };
        let address = self.proxies.connection(peer.ip(), first.proxied);
        if address != state.address {
            // Counted by whom the proxy names.
            let named = Arc::new(ConnectionState::new(address));
            let Ok(its_place) = self.places.take(&named) else { return };
            (state, place) = (named, its_place);
        }
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was closed before it was used");
        }
        self.serve_http2(Connection::new(stream, first, deadline), state, place).await;
    }

    async fn serve_http2(&self, connection: Connection, state: Arc<ConnectionState>, _place: Place) {
        let calls = RequestContextLayer.layer(self.admission.service(Arc::clone(&state)));
        let of_connection = Arc::clone(&state);
        let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let running = of_connection.run();
            let answer = calls.clone().call(request.map(Body::new));
            async move { answer.await.map(|response| response.map(|body| HoldingBody::new(body, running))) }
        });
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.streams)
            .max_header_list_size(MAX_HEADER_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(Some(PING_INTERVAL))
            .keep_alive_timeout(PING_TIMEOUT);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(connection), service));
        let mut lifetime = Lifetime::new(self.idle, self.age);
        let mut look = pin!(tokio::time::sleep(lifetime.first_look()));
        let (mut draining, mut evicted) = (pin!(self.draining.cancelled()), pin!(state.evicted.cancelled()));
        let mut is_draining = false;
        loop {
            tokio::select! {
                biased;
                ended = &mut connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection ended with an error");
                    }
                    return;
                }
                () = &mut evicted => return,
                () = &mut draining, if !is_draining => {
                    is_draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = &mut look => match lifetime.look(&state) {
                    Look::Again(after) => look.as_mut().reset(Instant::now() + after),
                    Look::AskToEnd(grace) => {
                        connection.as_mut().graceful_shutdown();
                        look.as_mut().reset(Instant::now() + grace);
                    }
                    Look::End => return,
                },
            }
        }
    }
}

/// How long a connection may live on.
struct Lifetime {
    idle: Duration,
    ends: Instant,
    asked_to_end: bool,
}

enum Look {
    Again(Duration),
    /// By GOAWAY; what runs may finish within this time.
    AskToEnd(Duration),
    End,
}

impl Lifetime {
    fn new(idle: Duration, age: Duration) -> Self {
        // Up to a tenth less, by chance: connections that were made together aren't made anew together.
        let mut chance = [0];
        let less = if getrandom::fill(&mut chance).is_ok() { age / 10 * u32::from(chance[0]) / 256 } else { Duration::ZERO };
        Self { idle, ends: Instant::now() + (age - less), asked_to_end: false }
    }

    fn first_look(&self) -> Duration {
        self.idle.min(UNPROVED_IDLE).min(self.ends.saturating_duration_since(Instant::now()))
    }

    fn look(&mut self, state: &ConnectionState) -> Look {
        let now = Instant::now();
        let allowed = if state.is_proved() { self.idle } else { self.idle.min(UNPROVED_IDLE) };
        let idle = state.idle_for().unwrap_or_default();
        if self.asked_to_end {
            return Look::End;
        }
        if idle >= allowed || now >= self.ends {
            self.asked_to_end = true;
            return Look::AskToEnd(if now >= self.ends { AGE_GRACE } else { IDLE_GRACE });
        }
        Look::Again((allowed - idle).min(self.ends - now).max(Duration::from_millis(10)))
    }
}

/// Health whose watches end with the process's drain, after they have said NOT_SERVING: a watch never ends by itself.
struct EndingHealth {
    service: HealthService,
    ended: CancellationToken,
}

type Statuses = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl HealthMethods for EndingHealth {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.service.check(request).await
    }

    type WatchStream = Statuses;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Statuses>, Status> {
        let mut statuses = Box::pin(self.service.watch(request).await?.into_inner());
        let mut ended = Box::pin(self.ended.clone().cancelled_owned());
        // What is there to be said comes before the end.
        let stream = futures_util::stream::poll_fn(move |cx| match statuses.poll_next_unpin(cx) {
            Poll::Pending => ended.as_mut().poll(cx).map(|()| None),
            said => said,
        });
        Ok(Response::new(Box::pin(stream)))
    }
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

/// Ready at the first SIGTERM or Ctrl-C. The second one ends the process at once, as a crash would: what is held then expires.
pub async fn shutdown_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        tracing::warn!("signals can't be watched");
        return std::future::pending().await;
    };
    let mut next = async move || {
        tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
        }
    };
    next().await;
    // The process's own: it ends with it, or ends it.
    tokio::spawn(async move {
        let second = next().await.as_raw_value();
        report_fatal("tollgate", &"a second signal: ended at once, without waiting for running calls");
        std::process::exit(128 + second);
    });
}

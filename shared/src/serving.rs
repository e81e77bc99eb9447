//! Serving gRPC services and HTTP doors on a listener that the caller owns, with health, reflection, limits, and a drain that has a
//! deadline.
//!
//! One listener answers HTTP/2 and HTTP/1.1, and one set of limits holds for both.

mod cors;
mod health;
mod lifetime;
mod limits;
mod opening;
mod shutdown;

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::service::RoutesBuilder;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;
use tower::{Layer, Service};

pub use self::cors::{CORS_VARIABLE, CorsOrigins};
use self::health::EndingHealth;
pub use self::health::Health;
use self::lifetime::{Lifetime, LifetimeStep};
pub use self::limits::{CONNECTION_VARIABLES, ConnectionLimits};
use self::opening::{Said, not_begun};
pub use self::shutdown::shutdown_signal;
use crate::admission::{Admission, AdmissionService, BoxedAnswer, MethodPolicies, Rules};
use crate::caller_address::TrustedProxies;
pub use crate::connection_slots::SlotLimits;
use crate::connection_slots::{ConnectionSlot, ConnectionSlots, ConnectionState};
use crate::connections::{Beginning, Connection, HANDSHAKE_TIMEOUT, MAX_HEADERS, Protocol, beginning, notice_silence};
use crate::doors::site::Site;
use crate::doors::{BodyEnd, Door, HttpEntry, Refusal, Routing, is_grpc, refuse_plainly};
use crate::error::CallError;
use crate::holding_body::HoldingBody;
use crate::key_in_path::{self, KeyInPath};
use crate::open_files;
use crate::proto;
use crate::request_context::{RequestContext, RequestContextLayer};
use crate::tls::{HandshakePlaces, ServerTls};

/// The headers of one call, at most: an access token and some more.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// What is read of an HTTP/1.1 connection at once, and what is written of it without waiting for the client.
const MAX_BUFFER_BYTES: usize = 64 * 1024;
/// What a client may send on a stream, and on its connection, before it is read.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;
/// How often a connection is asked whether its other side is still there. Proxies cut what is silent for a minute, so well below that.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long the answer may take.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// TLS handshakes at a time.
const MAX_HANDSHAKES: usize = 2048;
/// After a failed accept, which is as a rule that the process has no file descriptor left: trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a service is served.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Whether server reflection (v1 and v1alpha) is there.
    pub reflection: bool,
    /// How long calls that run may go on after the shutdown began. Then their connections are closed.
    pub drain_deadline: Duration,
    /// Calls at a time on one connection.
    pub max_concurrent_streams: u32,
    /// Whether an API key may come as the beginning of a path.
    pub keys_in_paths: KeyInPath,
    /// How many connections, and for how long.
    pub connections: ConnectionLimits,
    /// Which web pages may call.
    pub cors: CorsOrigins,
    /// How TLS is spoken; `None`: everything is in plaintext.
    pub tls: Option<ServerTls>,
}

/// What is served.
#[derive(Debug)]
pub struct Served {
    /// The process, as people call it.
    pub name: &'static str,
    /// Its gRPC services.
    pub routes: RoutesBuilder,
    /// What each of their methods requires of a call.
    pub policies: MethodPolicies,
    /// Its HTTP doors.
    pub doors: Vec<Door>,
    /// Its own pages, where it has any.
    pub site: Option<Site>,
    /// What is said of it.
    pub health: Health,
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

/// Binds an address.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

/// Serves until `shutdown` is ready, then drains: health says NOT_SERVING, `draining` is cancelled (services refuse new calls from then
/// on), calls that run may finish until the deadline, and then their connections are closed.
pub async fn serve(
    listener: TcpListener,
    served: Served,
    config: ServeConfig,
    draining: CancellationToken,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let Served { name, mut routes, policies, doors, site, health } = served;
    let watches_end = CancellationToken::new();
    let service = HealthService::from_health_reporter(health.reporter.clone());
    routes.add_service(HealthServer::new(EndingHealth { service, ended: watches_end.clone() }));
    if config.reflection {
        routes.add_service(reflection(&health.names).build_v1()?.accept_compressed(CompressionEncoding::Gzip));
        routes.add_service(reflection(&health.names).build_v1alpha()?.accept_compressed(CompressionEncoding::Gzip));
    }
    let limits = config.connections;
    let slots = SlotLimits { total: open_files::connections(limits.slots.total), ..limits.slots };
    let routes = routes.routes().prepare();
    let rules = Arc::new(Rules::new(policies, limits.trusted_proxies.clone()));
    let server = Arc::new(Server {
        admission: Admission::new(Arc::clone(&rules), routes),
        routing: Routing::new(name, doors, config.cors.layer(), rules).with_site(site),
        slots: ConnectionSlots::new(slots),
        proxies: limits.trusted_proxies,
        idle: limits.idle,
        age: limits.age,
        streams: config.max_concurrent_streams,
        keys_in_paths: config.keys_in_paths,
        draining: draining.clone(),
        tls: config.tls.clone(),
        handshakes: HandshakePlaces::new(MAX_HANDSHAKES),
        said: Said::default(),
    });
    let mut following = pin!(follow(config.tls));

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
            () = &mut following => {}
        }
    }
    // Whoever comes now is told at once that nobody listens.
    drop(listener);
    draining.cancel();
    health.drain().await;
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

/// Follows the files of certificates, for ever.
async fn follow(tls: Option<ServerTls>) {
    if let Some(tls) = tls {
        tls.watch().await;
    }
    std::future::pending().await
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
    routing: Routing,
    slots: Arc<ConnectionSlots>,
    proxies: TrustedProxies,
    idle: Duration,
    age: Duration,
    streams: u32,
    keys_in_paths: KeyInPath,
    draining: CancellationToken,
    tls: Option<ServerTls>,
    handshakes: HandshakePlaces,
    said: Said,
}

impl Server {
    /// Serves a connection until one of its sides ends it.
    async fn serve_connection(self: Arc<Self>, mut stream: TcpStream, peer: SocketAddr) {
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        let mut state = Arc::new(ConnectionState::new(self.proxies.connection(peer.ip(), None)));
        let Ok(mut slot) = self.slots.take(&state) else { return };
        let begun = tokio::select! {
            biased;
            () = state.evicted.cancelled() => return,
            // Nothing runs on it.
            () = self.draining.cancelled() => return,
            begun = beginning(&mut stream, deadline) => begun,
        };
        let Ok(Beginning { proxied, read }) = begun.inspect_err(not_begun) else { return };
        let address = self.proxies.connection(peer.ip(), proxied);
        if address != state.address {
            // Counted by whom the proxy names.
            let named = Arc::new(ConnectionState::new(address));
            let Ok(its_slot) = self.slots.take(&named) else { return };
            (state, slot) = (named, its_slot);
        }
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was closed before it was used");
        }
        let opened = tokio::select! {
            biased;
            () = state.evicted.cancelled() => return,
            () = self.draining.cancelled() => return,
            opened = self.open(stream, read, deadline, &state) => opened,
        };
        let Some((socket, first)) = opened else { return };
        let protocol = first.protocol;
        if protocol == Protocol::Http1
            && let Err(error) = notice_silence(&socket)
        {
            tracing::debug!(%error, "a connection whose other side vanishes will be noticed late");
        }
        let connection = Connection::new(socket, first, deadline, &state);
        match protocol {
            Protocol::Http2 => self.serve_http2(connection, state, slot).await,
            Protocol::Http1 => self.serve_http1(connection, state, slot).await,
        }
    }

    /// What answers the requests of one connection.
    fn calls(&self, state: &Arc<ConnectionState>) -> Calls {
        let grpc = RequestContextLayer.layer(self.admission.service(Arc::clone(state)));
        Calls { http: HttpEntry::new(self.routing.clone(), Arc::clone(state), grpc.clone()), grpc, keys_in_paths: self.keys_in_paths }
    }

    async fn serve_http2(&self, connection: Connection, state: Arc<ConnectionState>, _slot: ConnectionSlot) {
        let (calls, of_connection) = (self.calls(&state), Arc::clone(&state));
        let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
            let running = of_connection.run();
            let answer = calls.answer(request);
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
        let connection = pin!(builder.serve_connection(TokioIo::new(connection), service));
        let end = |connection: Pin<&mut http2::Connection<_, _, _>>| {
            connection.graceful_shutdown();
            ControlFlow::Continue(())
        };
        self.run(connection, end, &state).await;
    }

    async fn serve_http1(&self, connection: Connection, state: Arc<ConnectionState>, _slot: ConnectionSlot) {
        let (calls, of_connection) = (self.calls(&state), Arc::clone(&state));
        let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
            let is_clear = of_connection.begin_request();
            let running = of_connection.run();
            let answer = if is_clear { calls.answer_http1(request) } else { refuse_malformed(TWO_LENGTHS) };
            async move { answer.await.map(|response| response.map(|body| HoldingBody::new(body, running))) }
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            // The connection itself watches over that: a client may also be idle between two requests.
            .header_read_timeout(None)
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEADER_BYTES as usize)
            .max_buf_size(MAX_BUFFER_BYTES);
        let connection = pin!(builder.serve_connection(TokioIo::new(connection), service));
        let end = |connection: Pin<&mut http1::Connection<_, _>>| {
            // hyper would wait for the head of a first request.
            if state.begun_requests() == 0 {
                return ControlFlow::Break(());
            }
            connection.graceful_shutdown();
            ControlFlow::Continue(())
        };
        self.run(connection, end, &state).await;
    }

    /// Runs a connection to its end, or until it must end. `end` asks it to end after what runs, or breaks it off when nothing does.
    async fn run<C, E>(&self, mut connection: Pin<&mut C>, end: impl Fn(Pin<&mut C>) -> ControlFlow<()>, state: &ConnectionState)
    where
        C: Future<Output = Result<(), E>>,
        E: std::fmt::Display,
    {
        let mut lifetime = Lifetime::new(self.idle, self.age);
        let mut check = pin!(tokio::time::sleep(lifetime.first_check()));
        let (mut draining, mut evicted) = (pin!(self.draining.cancelled()), pin!(state.evicted.cancelled()));
        let mut certificate_lost = state.certificate_lost();
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
                () = &mut certificate_lost => return,
                () = &mut draining, if !is_draining => {
                    is_draining = true;
                    if end(connection.as_mut()).is_break() {
                        return;
                    }
                }
                () = &mut check => match lifetime.check(state) {
                    LifetimeStep::CheckAgain(after) => check.as_mut().reset(Instant::now() + after),
                    LifetimeStep::GoAway(grace) => {
                        if end(connection.as_mut()).is_break() {
                            return;
                        }
                        check.as_mut().reset(Instant::now() + grace);
                    }
                    LifetimeStep::Close => return,
                },
            }
        }
    }
}

/// Why such a request is refused. hyper ends its connection.
const TWO_LENGTHS: &str = "the request has both content-length and transfer-encoding; send one";

fn refuse_malformed(message: &str) -> BoxedAnswer {
    let refusal = Refusal::from(CallError::message_malformed(message));
    Box::pin(std::future::ready(Ok(refuse_plainly(&refusal))))
}

/// Answers the requests of one connection.
#[derive(Clone)]
struct Calls {
    grpc: RequestContext<AdmissionService>,
    http: HttpEntry,
    keys_in_paths: KeyInPath,
}

impl Calls {
    fn answer(&self, request: http::Request<Incoming>) -> BoxedAnswer {
        let mut request = request.map(Body::new);
        if is_grpc(request.headers()) {
            return self.grpc.clone().call(request);
        }
        // Before anything reads the path.
        key_in_path::take(&mut request, self.keys_in_paths);
        self.http.clone().call(request)
    }

    /// The same over HTTP/1.1, which has no gRPC.
    fn answer_http1(&self, mut request: http::Request<Incoming>) -> BoxedAnswer {
        key_in_path::take(&mut request, self.keys_in_paths);
        let (parts, body) = request.into_parts();
        let (body, end) = BodyEnd::watch(&parts.headers, body);
        let answer = if is_grpc(&parts.headers) {
            refuse_malformed("gRPC needs HTTP/2; over HTTP/1.1 there are gRPC-Web and Connect")
        } else {
            self.http.clone().call(http::Request::from_parts(parts, Body::new(body)))
        };
        Box::pin(async move {
            let mut response = answer.await?;
            end.tell(&mut response).await;
            Ok(response)
        })
    }
}

/// Describes every message there is, and lists the services that this process serves: the descriptors have those of the others as well.
fn reflection(services: &[String]) -> tonic_reflection::server::Builder<'static> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let beside = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
    services.iter().map(String::as_str).chain(beside).fold(builder, tonic_reflection::server::Builder::with_service_name)
}

//! One HTTP/2 connection to a replica of auth-service.
//!
//! A call's own task writes its request and reads its response. Only the connection has a task, which drives it.
//!
//! This is `h2` and not hyper's client. That one has a task for each request. It says that a connection takes no more requests only when
//! its last call has ended, and not when GOAWAY comes. And it can't be told how many short DATA frames are no attack.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use h2::client::SendRequest;
use h2::{Ping, PingPong, Reason, RecvStream};
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body::{Body as _, Frame};
use shared::ErrorReason;
use shared::error::reason_of;
use shared::gathered_writes::GatheredWrites;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::either::Either;
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::{Code, Status};

use super::auth_tls::AuthTls;
use crate::tcp;

/// How long connecting may take, the first ping included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a replica that answered with UNAVAILABLE is passed over while another one is there.
const UNAVAILABLE_FOR: Duration = Duration::from_secs(1);
/// The most bytes that the headers of one response may take.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// The flow-control window of all responses together, in bytes.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Concurrent streams until the server's SETTINGS say how many it takes.
const INITIAL_MAX_STREAMS: usize = 100;

/// HTTP/2 pings, which notice a connection that a network between has forgotten.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeepAlive {
    /// Time between an answer and the next ping.
    pub(super) interval: Duration,
    /// How long the answer may take.
    pub(super) timeout: Duration,
}

impl Default for KeepAlive {
    /// A Check may take 5 s by default. A silent connection is noticed within 4, so the same Check then succeeds on another one.
    fn default() -> Self {
        Self { interval: Duration::from_secs(2), timeout: Duration::from_secs(2) }
    }
}

/// Whether a call may have reached auth-service: set once a connection has taken its request. Goes with the request as an extension.
#[derive(Debug, Clone, Default)]
pub(super) struct SentFlag(Arc<AtomicBool>);

impl SentFlag {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What carries a connection's bytes: itself, or TLS on it.
type Socket = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// What a connection with TLS needs: whom it trusts, and the name that the certificate must have.
pub(super) type Tls = (Arc<ClientConfig>, ServerName<'static>);

/// An open connection. It is closed when it and the last of its responses are dropped.
pub(super) struct Connection {
    address: SocketAddr,
    scheme: Scheme,
    authority: Authority,
    /// What TLS was configured by.
    tls: Option<Arc<ClientConfig>>,
    requests: SendRequest<Bytes>,
    driver: AbortOnDropHandle<()>,
    /// When the replica last answered with UNAVAILABLE.
    unavailable_at: Mutex<Option<Instant>>,
}

impl Connection {
    /// Connects, and waits for the answer to a first ping: whoever only accepts connections is no auth-service.
    pub(super) async fn open(address: SocketAddr, authority: Authority, keep_alive: KeepAlive, tls: Option<Tls>) -> io::Result<Self> {
        let too_late = || io::Error::new(io::ErrorKind::TimedOut, format!("no HTTP/2 connection within {CONNECT_TIMEOUT:?}"));
        timeout(CONNECT_TIMEOUT, Self::handshake(address, authority, keep_alive, tls)).await.unwrap_or_else(|_| Err(too_late()))
    }

    async fn handshake(address: SocketAddr, authority: Authority, keep_alive: KeepAlive, tls: Option<Tls>) -> io::Result<Self> {
        let stream = tcp::connect_to(address).await?;
        let (scheme, socket, tls) = match tls {
            None => (Scheme::HTTP, Either::Left(stream), None),
            Some((config, name)) => {
                let stream = shared::tls::connect(Arc::clone(&config), name, stream).await?;
                (Scheme::HTTPS, Either::Right(Box::new(stream)), Some(config))
            }
        };
        // A request's head and message leave in one write, and so do calls that begin together: auth-service is woken up once for all of
        // them.
        let stream = GatheredWrites::new(socket);
        let handshake = h2::client::Builder::new()
            .enable_push(false)
            .initial_max_send_streams(INITIAL_MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            // h2 takes many short DATA frames that wait to be read for an attack, and closes the connection. Every response is such a
            // frame, and many come at once when auth-service drains.
            .data_frame_budget(usize::MAX)
            .handshake(stream);
        let (requests, mut connection) = handshake.await.map_err(io::Error::other)?;
        let mut pings = connection.ping_pong().ok_or_else(|| io::Error::other("the connection's pings are taken"))?;
        tokio::select! {
            biased;
            ended = &mut connection => {
                ended.map_err(io::Error::other)?;
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            answered = pings.ping(Ping::opaque()) => {
                answered.map_err(io::Error::other)?;
            }
        }
        let driver = AbortOnDropHandle::new(tokio::spawn(drive(connection, pings, keep_alive, address)));
        Ok(Self { address, scheme, authority, tls, requests, driver, unavailable_at: Mutex::default() })
    }

    /// Whom it leads to.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it takes requests: it is not broken, and no GOAWAY has come.
    pub(super) fn is_open(&self) -> bool {
        // The clone has no stream that it could wait for.
        !self.driver.is_finished() && matches!(self.requests.clone().ready().now_or_never(), Some(Ok(_)))
    }

    /// Whether TLS on it was configured by something else than what is in force.
    pub(super) fn is_outdated(&self, tls: &AuthTls) -> bool {
        self.tls.as_ref().is_some_and(|config| !Arc::ptr_eq(config, &tls.config()))
    }

    /// Whether the replica answered with UNAVAILABLE within the last second: its store can't be reached, say.
    pub(super) fn is_unavailable(&self, now: Instant) -> bool {
        let at = *self.unavailable_at.lock().unwrap_or_else(PoisonError::into_inner);
        at.is_some_and(|at| now.saturating_duration_since(at) < UNAVAILABLE_FOR)
    }

    /// Sends a request, whose body is short and at hand, and waits for the response's head. Dropping the future or the body cancels the
    /// call.
    pub(super) async fn send(self: Arc<Self>, request: Request<Body>) -> Result<Response<ResponseBody>, Status> {
        let (mut head, body) = request.into_parts();
        let body = collect(body).await?;
        let mut uri = std::mem::take(&mut head.uri).into_parts();
        (uri.scheme, uri.authority) = (Some(self.scheme.clone()), Some(self.authority.clone()));
        head.uri = Uri::from_parts(uri).map_err(|error| Status::unavailable(error.to_string()))?;
        let sent = head.extensions.remove::<SentFlag>().unwrap_or_default();

        let mut requests = self.requests.clone();
        let (response, mut stream) = requests.send_request(Request::from_parts(head, ()), false).map_err(|error| broken(&error))?;
        sent.0.store(true, Ordering::Relaxed);
        stream.send_data(body, true).map_err(|error| broken(&error))?;
        let response = response.await.map_err(|error| broken(&error))?;
        // A refusal's status is in its head.
        let refusal = Status::from_header_map(response.headers());
        if response.status() != StatusCode::OK || refusal.is_some_and(|status| is_about_replica(&status)) {
            *self.unavailable_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        if response.status() != StatusCode::OK {
            return Err(Status::unavailable(format!("auth-service answered with HTTP status {}", response.status().as_u16())));
        }
        Ok(response.map(|stream| ResponseBody { stream, data_ended: false, _connection: self }))
    }
}

/// Reads and writes the connection until it ends, or until a ping is not answered.
async fn drive(
    connection: h2::client::Connection<GatheredWrites<Socket>, Bytes>,
    pings: PingPong,
    keep_alive: KeepAlive,
    address: SocketAddr,
) {
    tokio::select! {
        biased;
        ended = connection => match ended {
            Err(error) if error.reason() != Some(Reason::NO_ERROR) => {
                tracing::warn!(%address, %error, "the connection to auth-service was lost");
            }
            _ => tracing::debug!(%address, "the connection to auth-service ended"),
        },
        () = unanswered_ping(pings, keep_alive) => {
            tracing::warn!(%address, "auth-service no longer answers on its connection, which is closed");
        }
    }
}

/// Ends when a ping is not answered in time.
async fn unanswered_ping(mut pings: PingPong, keep_alive: KeepAlive) {
    loop {
        tokio::time::sleep(keep_alive.interval).await;
        match timeout(keep_alive.timeout, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection itself ends with that error.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => return,
        }
    }
}

/// The bytes of a request with one message.
async fn collect(mut body: Body) -> Result<Bytes, Status> {
    let mut whole = Bytes::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            whole = if whole.is_empty() { data } else { [whole, data].concat().into() };
        }
    }
    Ok(whole)
}

/// The body of a response. Counts as a call of its connection until it is dropped.
pub(super) struct ResponseBody {
    stream: RecvStream,
    data_ended: bool,
    _connection: Arc<Connection>,
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if !self.data_ended {
            if let Some(data) = ready!(self.stream.poll_data(cx)) {
                let released = data.and_then(|data| self.stream.flow_control().release_capacity(data.len()).map(|()| data));
                return Poll::Ready(Some(released.map(Frame::data).map_err(|error| broken(&error))));
            }
            self.data_ended = true;
        }
        let trailers = ready!(self.stream.poll_trailers(cx)).map_err(|error| broken(&error));
        Poll::Ready(trailers.transpose().map(|trailers| trailers.map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}

/// The connection, or this call's stream of it, broke.
fn broken(error: &h2::Error) -> Status {
    match error.reason() {
        Some(Reason::REFUSED_STREAM) => Status::unavailable("auth-service took no more calls on its connection"),
        _ => Status::unavailable(format!("the connection to auth-service broke: {error}")),
    }
}

/// Whether a refusal says that the replica itself can answer nobody right now. It answers AUTH_UNAVAILABLE of a foreign issuer, whose
/// tokens anybody can make up: that is no reason to pass the replica over.
fn is_about_replica(refusal: &Status) -> bool {
    refusal.code() == Code::Unavailable && reason_of(refusal) != Some(ErrorReason::AuthUnavailable)
}

//! The connection to auth-service, and calls on it that have one answer.
//!
//! Our own: a call is a stream of the connection, written and read by the task that waits for it, and only the connection has a task. General
//! clients put a queue and two more tasks between, which every chat would pay for twice before it has its receipt. Calls with one answer need
//! none of that.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use h2::client::SendRequest;
use h2::{Ping, PingPong, Reason, RecvStream};
use http::header::{AUTHORIZATION, CONTENT_TYPE, TE, USER_AGENT};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use prost::Message;
use shared::gathered_writes::GatheredWrites;
use shared::request_context::REQUEST_ID_HEADER;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::{Code, Status};

use crate::tcp::{self, bare_host};

/// How long the making of a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Whether the other end is still there. A Check may take 5 s by default: a connection that went silent is noticed within 4, and the same Check
/// then succeeds on a new one.
const PINGS: Pings = Pings { every: Duration::from_secs(2), timeout: Duration::from_secs(2) };
/// The longest message that is taken: auth-service's are some hundred bytes.
const MAX_MESSAGE_BYTES: usize = 64 << 10;
/// The most that the headers of one answer may take.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// Before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// What may be on its way of all answers together.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Calls at a time, until auth-service has said how many it takes.
const FIRST_STREAMS: usize = 100;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_ID_HEADER);

/// One connection, which all calls share. It is made at the first call, and again whenever it is lost.
pub(super) struct Channel {
    target: Target,
    link: Arc<Mutex<Link>>,
}

/// What is connected to.
#[derive(Debug, Clone)]
struct Target {
    /// `http`, and where auth-service listens.
    url: Uri,
    pings: Pings,
}

/// How often the other end is asked whether it is still there, and how long it may take to say so.
#[derive(Debug, Clone, Copy)]
struct Pings {
    every: Duration,
    timeout: Duration,
}

enum Link {
    Down,
    /// All that call meanwhile wait for the same.
    Connecting(Connecting),
    Up(Connection),
}

type Connecting = Shared<BoxFuture<'static, Result<SendRequest<Bytes>, Status>>>;

struct Connection {
    streams: SendRequest<Bytes>,
    /// What reads and writes the connection.
    task: AbortHandle,
}

impl Connection {
    /// To open a stream on it; `None` when it takes no more.
    fn ready(&self) -> Option<SendRequest<Bytes>> {
        if self.task.is_finished() {
            return None;
        }
        // Never waits: no stream was asked for on this clone.
        self.streams.clone().ready().now_or_never()?.ok()
    }
}

/// A method, with the headers that each call of it has.
#[derive(Clone)]
pub(super) struct RpcMethod(Arc<Request<()>>);

/// A call that can be made again, whatever became of it.
pub(super) struct Call {
    method: RpcMethod,
    request_id: Option<HeaderValue>,
    message: Bytes,
    /// Whether a connection was given it.
    sent: AtomicBool,
}

impl Call {
    /// A call with this message; the request id is for auth-service's log.
    pub(super) fn new(method: &RpcMethod, message: &impl Message, request_id: &str) -> Self {
        let mut request_id = HeaderValue::from_str(request_id).ok();
        if let Some(id) = &mut request_id {
            // Different each time: as such it is kept out of the tables in which both ends remember headers.
            id.set_sensitive(true);
        }
        let length = message.encoded_len();
        let mut framed = BytesMut::with_capacity(PREFIX_BYTES + length);
        framed.put_u8(0);
        // Shorter than what the caller sent, which is limited.
        framed.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        message.encode_raw(&mut framed);
        Self { method: method.clone(), request_id, message: framed.freeze(), sent: AtomicBool::new(false) }
    }

    /// Whether it may have reached auth-service.
    pub(super) fn was_sent(&self) -> bool {
        self.sent.load(Ordering::Relaxed)
    }

    /// What it keeps in memory, in bytes.
    pub(super) fn size_bytes(&self) -> usize {
        self.message.len() + self.request_id.as_ref().map_or(0, HeaderValue::len)
    }

    fn request(&self, patience: Duration) -> Request<()> {
        let mut request = Request::clone(&self.method.0);
        let headers = request.headers_mut();
        if let Some(id) = &self.request_id {
            headers.insert(REQUEST_ID, id.clone());
        }
        // Milliseconds: most calls then have the same text, which the tables of both ends keep. At most eight digits.
        let millis = patience.as_millis().clamp(1, 99_999_999);
        if let Ok(timeout) = HeaderValue::from_str(&format!("{millis}m")) {
            headers.insert(GRPC_TIMEOUT, timeout);
        }
        request
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Channel {
    /// A channel that has no connection yet.
    pub(super) fn new(url: Uri) -> Self {
        Self { target: Target { url, pings: PINGS }, link: Arc::new(Mutex::new(Link::Down)) }
    }

    /// A method of auth-service's, such as `/tollgate.auth.v1.Auth/Check`, called with this `authorization`. Fails when the channel's URL isn't
    /// that of a server.
    pub(super) fn method(&self, path: &'static str, authorization: &HeaderValue) -> Result<RpcMethod, http::Error> {
        let authority = self.target.url.authority().map_or("", Authority::as_str);
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query(path).build()?;
        let headers = request.headers_mut();
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, GRPC);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("tollgate-inference-service/", env!("CARGO_PKG_VERSION"))));
        headers.insert(AUTHORIZATION, authorization.clone());
        Ok(RpcMethod(Arc::new(request)))
    }

    /// Calls, and waits for the answer until `give_up`. A call that nobody waits for any more is cancelled.
    ///
    /// The status of a call that was not answered, whatever the reason, has none of auth-service's reasons in it.
    pub(super) async fn unary<T: Message + Default>(&self, call: &Call, give_up: Instant) -> Result<T, Status> {
        let answer = timeout_at(give_up, self.call(call, give_up)).await;
        let message = answer.unwrap_or_else(|_| Err(Status::unavailable("auth-service did not answer in time")))?;
        T::decode(message).map_err(|error| unusable(format!("its message can't be read: {error}")))
    }

    async fn call(&self, call: &Call, give_up: Instant) -> Result<Bytes, Status> {
        let mut streams = self.ready().await?;
        let request = call.request(give_up.saturating_duration_since(Instant::now()));
        let (response, mut body) = streams.send_request(request, false).map_err(|error| broken(&error))?;
        call.sent.store(true, Ordering::Relaxed);
        body.send_data(call.message.clone(), true).map_err(|error| broken(&error))?;
        let (head, body) = response.await.map_err(|error| broken(&error))?.into_parts();
        if head.status != StatusCode::OK {
            return Err(unusable(format!("it answered with HTTP status {}", head.status.as_u16())));
        }
        // A refusal may be all there is.
        if let Some(status) = Status::from_header_map(&head.headers).filter(|status| status.code() != Code::Ok) {
            return Err(status);
        }
        if !head.headers.get(CONTENT_TYPE).is_some_and(|content| content.as_bytes().starts_with(GRPC.as_bytes())) {
            return Err(unusable("it doesn't speak gRPC"));
        }
        let (framed, trailers) = read(body).await?;
        match Status::from_header_map(&trailers) {
            Some(status) if status.code() == Code::Ok => unframed(framed),
            Some(status) => Err(status),
            None => Err(unusable("its answer has no status")),
        }
    }

    /// A connection that is open, as far as is known.
    async fn ready(&self) -> Result<SendRequest<Bytes>, Status> {
        let connecting = {
            let mut link = lock(&self.link);
            match &*link {
                Link::Up(connection) => match connection.ready() {
                    Some(streams) => return Ok(streams),
                    None => self.connect(&mut link),
                },
                Link::Connecting(connecting) => connecting.clone(),
                Link::Down => self.connect(&mut link),
            }
        };
        connecting.await
    }

    /// Begins to connect, in a task of its own: a caller that goes away takes it from nobody else, and what came of it is noted whoever waits.
    fn connect(&self, link: &mut Link) -> Connecting {
        let (noted, target) = (Arc::clone(&self.link), self.target.clone());
        let connecting = tokio::spawn(async move {
            let (now, streams) = match target.connect().await {
                Ok(connection) => {
                    let streams = connection.streams.clone();
                    (Link::Up(connection), Ok(streams))
                }
                Err(status) => (Link::Down, Err(status)),
            };
            *lock(&noted) = now;
            streams
        });
        let noted = Arc::clone(&self.link);
        let connecting = async move {
            connecting.await.unwrap_or_else(|failed| {
                // It panicked, or the runtime ends.
                *lock(&noted) = Link::Down;
                Err(Status::unavailable(format!("connecting: {failed}")))
            })
        };
        let connecting = connecting.boxed().shared();
        *link = Link::Connecting(connecting.clone());
        connecting
    }
}

fn lock(link: &Mutex<Link>) -> MutexGuard<'_, Link> {
    // A panic under the lock would be that of a connection whose own task has panicked before: it is not asked again.
    link.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Target {
    async fn connect(self) -> Result<Connection, Status> {
        let refused = |error: &dyn fmt::Display| Status::unavailable(format!("connecting: {error}"));
        let opening = async {
            let host = bare_host(&self.url).unwrap_or_default();
            let stream = tcp::connect(host, self.url.port_u16().unwrap_or(80), CONNECT_TIMEOUT).await?;
            // A request's head and message leave in one write, and so do those of calls that begin together: auth-service is woken up once for
            // all that it then reads.
            let handshake = h2::client::Builder::new()
                .enable_push(false)
                .initial_max_send_streams(FIRST_STREAMS)
                .max_header_list_size(MAX_HEADER_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                // h2 takes many short frames that nobody has read yet for an attack, and would close the connection. Every answer is such a frame, and
                // many come at once when a process drains.
                .data_frame_budget(usize::MAX)
                .handshake(GatheredWrites::new(stream));
            handshake.await.map_err(io::Error::other)
        };
        let opened = timeout(CONNECT_TIMEOUT, opening).await.map_err(|error| refused(&error))?;
        let (streams, mut connection) = opened.map_err(|error| refused(&error))?;
        let ping_pong = connection.ping_pong();
        let task = tokio::spawn(async move {
            tokio::select! {
                biased;
                ended = connection => match ended {
                    Err(error) if error.reason() != Some(Reason::NO_ERROR) => tracing::warn!(%error, "the connection to auth-service was lost"),
                    _ => tracing::debug!("the connection to auth-service ended"),
                },
                () = silence(ping_pong, self.pings) => tracing::warn!("auth-service no longer answers on its connection, which is closed"),
            }
        });
        Ok(Connection { streams, task: task.abort_handle() })
    }
}

/// Ends when the other end no longer answers, though the connection looks open: behind a network that lost it, nobody says that it is gone.
async fn silence(ping_pong: Option<PingPong>, pings: Pings) {
    if let Some(mut ping_pong) = ping_pong {
        loop {
            tokio::time::sleep(pings.every).await;
            match timeout(pings.timeout, ping_pong.ping(Ping::opaque())).await {
                Ok(Ok(_)) => {}
                // The connection itself knows by now.
                Ok(Err(_)) => break,
                Err(_) => return,
            }
        }
    }
    std::future::pending().await
}

/// All of a body, and what follows it.
async fn read(mut body: RecvStream) -> Result<(Bytes, HeaderMap), Status> {
    let mut whole = Bytes::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(|error| broken(&error))?;
        body.flow_control().release_capacity(piece.len()).map_err(|error| broken(&error))?;
        if whole.len() + piece.len() > PREFIX_BYTES + MAX_MESSAGE_BYTES {
            return Err(unusable(format!("its message is longer than {MAX_MESSAGE_BYTES} bytes")));
        }
        // As a rule there is one.
        whole = if whole.is_empty() { piece } else { [whole, piece].concat().into() };
    }
    let trailers = body.trailers().await.map_err(|error| broken(&error))?;
    Ok((whole, trailers.unwrap_or_default()))
}

/// The one message of an answer.
fn unframed(mut framed: Bytes) -> Result<Bytes, Status> {
    let Some((&[compressed, a, b, c, d], message)) = framed.split_first_chunk() else {
        return Err(unusable("its answer has no message"));
    };
    if compressed != 0 {
        return Err(unusable("its message is compressed"));
    }
    if u32::try_from(message.len()) != Ok(u32::from_be_bytes([a, b, c, d])) {
        return Err(unusable("its answer is not one message"));
    }
    Ok(framed.split_off(PREFIX_BYTES))
}

/// An answer that isn't auth-service's, or is another version's.
fn unusable(what: impl fmt::Display) -> Status {
    Status::unavailable(format!("auth-service's answer is of no use: {what}"))
}

/// The connection, or this call's stream of it, broke.
fn broken(error: &h2::Error) -> Status {
    match error.reason() {
        Some(Reason::REFUSED_STREAM) => Status::unavailable("auth-service took no more calls on its connection"),
        _ => Status::unavailable(format!("the connection to auth-service broke: {error}")),
    }
}

#[cfg(test)]
mod tests;

//! HTTP/1.1 to one host: as much of it as asking an Ollama takes.
//!
//! It is our own for what a silent answer costs in memory: thousands of them may be open, and each may be silent for minutes. A body is
//! read by the task that passes it on, and a connection that waits has no buffer. An idle stream takes 5 KiB. With hyper's
//! `client::conn::http1`, polled by the same task, it took 27: hyper has 17 for a connection's writes and its queue of requests, and they
//! can't be made smaller.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::authorization::Authorization;
use crate::engine::Dispatched;

mod chunked;
mod connection;
mod framing;
#[cfg(fuzzing)]
pub mod fuzzing;
mod origin;
mod pool;
mod response_head;

use connection::{Connection, Connector};
use framing::Framing;
use pool::Pool;
use response_head::{HeadReader, ResponseHead};

pub(super) use origin::Origin;

/// How long a connection that was used before may take to say that a request has arrived.
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why there is no response, or no more of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// No connection was made: nothing was sent.
    #[error("connecting: {0}")]
    Connect(io::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// What came is no HTTP/1.1, or can be read in more than one way.
    #[error("no HTTP/1.1: {0}")]
    Protocol(String),
}

/// Asks one host.
#[derive(Debug)]
pub(super) struct Client {
    connector: Connector,
    /// Sent with every request.
    authorization: Option<Authorization>,
    pool: Arc<Pool>,
}

/// A response whose body is still to be read. Dropping it closes the connection, and that is how Ollama learns that nobody listens.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) body: Body,
}

/// A body, as it comes.
#[derive(Debug)]
pub(super) struct Body {
    /// `None` once it may serve another request, or is of no more use.
    connection: Option<Connection>,
    framing: Framing,
    /// What came with the head, and was not decoded yet.
    early: Vec<u8>,
    keep_alive: bool,
    pool: Arc<Pool>,
}

impl Client {
    /// A client that connects at its first request. Fails when the system's certificates can't be read, which `https` needs.
    pub(super) fn new(origin: Origin, authorization: Option<Authorization>, connect_timeout: Duration) -> Result<Self, HttpError> {
        Ok(Self { connector: Connector::new(origin, connect_timeout)?, authorization, pool: Arc::default() })
    }

    /// Sends a request, and waits for the head of its response, however long that takes. `dispatched` is marked once all of it is
    /// written. Nothing is ever sent twice: a repeated request would be a second generation that nobody paid for.
    pub(super) async fn send(
        &self,
        method: &Method,
        endpoint: &str,
        body: Option<&[u8]>,
        dispatched: Option<&Dispatched>,
    ) -> Result<Response, HttpError> {
        let (mut connection, used_before) = match self.pool.take() {
            Some(connection) => (connection, true),
            None => (self.connector.connect().await.map_err(HttpError::Connect)?, false),
        };
        // A model that loads is silent, and so is a connection that a forwarder has lost. Only the former has sent `100 Continue`.
        let continue_timeout = (used_before && connection.sends_continue && body.is_some()).then_some(CONTINUE_TIMEOUT);
        let request = self.request(method, endpoint, body);
        let written = async {
            connection.write_all(&request).await?;
            connection.flush().await
        };
        // The operating system notices a server that stops reading a long body: see `tcp`.
        let written = written.await;
        if let (Some(dispatched), Ok(())) = (dispatched, &written) {
            dispatched.mark();
        }
        // A server that refuses a request may close before it has read all of it: its response says more than the broken pipe.
        match (read_head(&mut connection, continue_timeout).await, written) {
            (Ok((head, early)), _) => {
                let ResponseHead { status, framing, keep_alive } = head;
                // What comes behind a body that is no body was not asked for.
                let keep_alive = keep_alive && (early.is_empty() || !framing.is_ended());
                let body = Body { connection: Some(connection), framing, early, keep_alive, pool: Arc::clone(&self.pool) };
                Ok(Response { status, body })
            }
            (Err(HttpError::Protocol(what)), _) => Err(HttpError::Protocol(what)),
            (Err(_), Err(error)) => Err(error.into()),
            (Err(error), Ok(())) => Err(error),
        }
    }

    fn request(&self, method: &Method, endpoint: &str, body: Option<&[u8]>) -> Vec<u8> {
        let Origin { authority, path, .. } = self.connector.origin();
        let mut request = format!("{method} {path}{endpoint} HTTP/1.1\r\nhost: {authority}\r\naccept: */*\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            request.extend_from_slice(b"authorization: ");
            request.extend_from_slice(authorization.header_value().as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        if let Some(body) = body {
            // A server that reads the body says `100 Continue`: the request has arrived, however long the response takes. It is not waited
            // for.
            if !body.is_empty() {
                request.extend_from_slice(b"expect: 100-continue\r\n");
            }
            request.extend_from_slice(b"content-type: application/json\r\ncontent-length: ");
            request.extend_from_slice(body.len().to_string().as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body.unwrap_or_default());
        request
    }
}

/// Reads the head of a response, and what came with it of the body. Its first bytes must come within `continue_timeout`, if that is given.
async fn read_head(connection: &mut Connection, continue_timeout: Option<Duration>) -> Result<(ResponseHead, Vec<u8>), HttpError> {
    let mut heads = HeadReader::new();
    loop {
        let limit = continue_timeout.filter(|_| !heads.is_informed);
        let reading = connection.read_buf(heads.spare());
        let count = match limit {
            Some(limit) => tokio::time::timeout(limit, reading).await.unwrap_or_else(|_| Err(lost_connection()))?,
            None => reading.await?,
        };
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before a response").into());
        }
        let found = heads.next()?;
        connection.sends_continue |= heads.has_continue;
        if let Some(found) = found {
            return Ok(found);
        }
    }
}

fn lost_connection() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "a connection that was used before no longer confirms requests: it is lost")
}

impl Body {
    /// Reads once, and appends what that brought to `data`. `Ok(false)`: the body is at its proper end.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>, data: &mut Vec<u8>) -> Poll<Result<bool, HttpError>> {
        if self.framing.is_ended() {
            self.give_back();
            return Poll::Ready(Ok(false));
        }
        if !self.early.is_empty() {
            let decoded = self.decode_early(data);
            if decoded.is_err() {
                self.connection = None;
            }
            return Poll::Ready(decoded.map(|()| true));
        }
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::NotConnected, "the body was given up").into()));
        };
        let (framing, keep_alive) = (&mut self.framing, &mut self.keep_alive);
        let mut decoded = Ok(());
        let read = std::task::ready!(connection.poll_read_with(context, |bytes| {
            if bytes.is_empty() {
                *keep_alive = false;
                decoded = framing.end_of_input();
            } else {
                // Bytes behind the body's end were not asked for.
                decoded = framing.decode(bytes, data).map(|behind| *keep_alive &= behind == 0);
            }
        }));
        if let Err(error) = read.map_err(HttpError::from).and(decoded) {
            self.connection = None;
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(true))
    }

    fn decode_early(&mut self, data: &mut Vec<u8>) -> Result<(), HttpError> {
        let early = std::mem::take(&mut self.early);
        let behind = self.framing.decode(&early, data)?;
        self.keep_alive &= behind == 0;
        Ok(())
    }

    /// The connection may serve another request.
    fn give_back(&mut self) {
        if let Some(connection) = self.connection.take().filter(|_| self.keep_alive) {
            self.pool.put(connection, Framing::ENDED);
        }
    }

    /// Nobody needs the rest. The connection may serve another request, if the body has come to its end by then.
    pub(super) fn finish(mut self) {
        if self.decode_early(&mut Vec::new()).is_err() {
            return;
        }
        if let Some(connection) = self.connection.take().filter(|_| self.keep_alive) {
            self.pool.put(connection, self.framing.clone());
        }
    }
}

#[cfg(test)]
mod tests;

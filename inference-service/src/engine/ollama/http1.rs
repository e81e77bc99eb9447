//! HTTP/1.1 to one host: as much of it as asking an Ollama takes.
//!
//! Our own, because answers are what this service is for. A body is read by the task that passes it on, with no task and no channel between;
//! what waits between two lines keeps no buffer; and all that one read brought is given before anything waits. Clients for general use
//! have a task for each connection, and two buffers of 8 KiB for each answer that is silent.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::authorization::Authorization;
use crate::engine::Dispatched;

mod connection;
mod framing;
mod pool;

use connection::{Connection, Connector};
use framing::{Framing, ResponseHead};
use pool::Pool;

pub(super) use connection::Origin;

/// The longest head of a response.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// What is read at once while a head is expected: as a rule all of it, and the first of the body.
const READ_BYTES: usize = 2 << 10;

/// How long a connection that was used before may take to confirm that a request has come.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(3);

/// Why there is no response, or no more of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// No connection was made: nothing was sent.
    #[error("connecting: {0}")]
    Connect(io::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// What came is no HTTP/1.1.
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
    /// Gone once it may serve another request, or is of no more use.
    connection: Option<Connection>,
    framing: Framing,
    /// What came with the head.
    early: Vec<u8>,
    keep_alive: bool,
    pool: Arc<Pool>,
}

impl Client {
    /// A client that connects at its first request. Fails when the system's certificates can't be read, which `https` needs.
    pub(super) fn new(origin: Origin, authorization: Option<Authorization>, connect_timeout: Duration) -> Result<Self, HttpError> {
        Ok(Self { connector: Connector::new(origin, connect_timeout)?, authorization, pool: Arc::default() })
    }

    /// Sends a request, and waits for the head of its response, however long that takes. `dispatched` is marked when there is a connection to
    /// write to. Nothing is ever sent twice: a repeated request would be a second generation that nobody paid for.
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
        // Silence is what a model that loads sounds like, and a connection that a forwarder has lost. Only the latter doesn't confirm.
        let confirmed_within = (used_before && connection.confirms && body.is_some()).then_some(CONFIRMED_WITHIN);
        let request = self.request(method, endpoint, body);
        if let Some(dispatched) = dispatched {
            dispatched.mark();
        }
        let written = async {
            connection.write_all(&request).await?;
            connection.flush().await
        };
        // Who no longer reads a long body is noticed by the operating system: see `tcp`.
        let written = written.await;
        // A server that refuses a request may close before it has read all of it: its words are worth more than the broken pipe.
        match (read_head(&mut connection, confirmed_within).await, written) {
            (Ok((head, early)), _) => {
                let ResponseHead { status, framing, keep_alive } = head;
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
            // Who reads the body says `100 Continue`, and so that the request has come, however long the response takes. It is not waited for.
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

/// Reads the head of a response, and what came with it of the body.
/// Its first bytes must come within `confirmed_within`, if that is given.
async fn read_head(connection: &mut Connection, confirmed_within: Option<Duration>) -> Result<(ResponseHead, Vec<u8>), HttpError> {
    let (mut read, mut confirmed_within) = (Vec::with_capacity(READ_BYTES), confirmed_within);
    loop {
        while let Some((head, length)) = ResponseHead::parse(&read)? {
            let rest = read.split_off(length);
            // 1xx: the response proper is still to come.
            if !head.status.is_informational() {
                return Ok((head, rest));
            }
            connection.confirms |= head.status == StatusCode::CONTINUE;
            confirmed_within = None;
            read = rest;
        }
        if read.len() >= MAX_HEAD_BYTES {
            return Err(HttpError::Protocol(format!("a response's head is longer than {MAX_HEAD_BYTES} bytes")));
        }
        let reading = connection.read_buf(&mut read);
        let count = match confirmed_within {
            None => reading.await?,
            Some(limit) => tokio::time::timeout(limit, reading).await.unwrap_or_else(|_| Err(lost_connection()))?,
        };
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before a response").into());
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
            let early = std::mem::take(&mut self.early);
            return Poll::Ready(self.take_in(&early, data));
        }
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::NotConnected, "the body was given up").into()));
        };
        let mut filled = Ok(false);
        let framing = &mut self.framing;
        let read = std::task::ready!(connection.poll_read_with(context, |bytes| {
            filled = if bytes.is_empty() { framing.end_of_input() } else { framing.decode(bytes, data).map(|rest| rest == 0) };
        }));
        if let Err(error) = read {
            self.connection = None;
            return Poll::Ready(Err(error.into()));
        }
        match filled {
            // Something behind the end: this connection says more than it was asked.
            Ok(clean) => self.keep_alive &= clean || !self.framing.is_ended(),
            Err(error) => {
                self.connection = None;
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(true))
    }

    fn take_in(&mut self, bytes: &[u8], data: &mut Vec<u8>) -> Result<bool, HttpError> {
        let rest = self.framing.decode(bytes, data)?;
        self.keep_alive &= rest == 0;
        Ok(true)
    }

    /// Gives the connection back, for another request.
    fn give_back(&mut self) {
        if let Some(connection) = self.connection.take().filter(|_| self.keep_alive) {
            self.pool.put(connection, Framing::ENDED);
        }
    }

    /// Nobody needs the rest: what is left of a body that is as good as ended. The connection is kept for another request, if the end comes
    /// until then.
    pub(super) fn finish(mut self) {
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            if self.take_in(&early, &mut Vec::new()).is_err() {
                return;
            }
        }
        if let Some(connection) = self.connection.take().filter(|_| self.keep_alive) {
            self.pool.put(connection, self.framing.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;
    use crate::tcp::silent_forwarder::SilentForwarder;

    /// A client of a server that answers each connection's requests with these bytes in turn, and counts connections.
    async fn client(answers: &'static [&'static [u8]]) -> (Client, tokio::task::JoinHandle<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Origin::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let server = tokio::spawn(async move {
            let (mut left, mut connections) = (answers.iter(), 0);
            while left.len() > 0 {
                let (mut stream, _) = listener.accept().await.unwrap();
                connections += 1;
                let mut request = vec![0; 4096];
                while let Ok(1..) = stream.read(&mut request).await {
                    let Some(answer) = left.next() else { break };
                    stream.write_all(answer).await.unwrap();
                    if answer.starts_with(b"HTTP/1.0") || answer.windows(5).any(|word| word == b"close") {
                        break;
                    }
                }
            }
            connections
        });
        (Client::new(origin, None, Duration::from_secs(5)).unwrap(), server)
    }

    async fn read_all(mut response: Response) -> Result<String, HttpError> {
        let mut data = Vec::new();
        while std::future::poll_fn(|context| response.body.poll_read(context, &mut data)).await? {}
        Ok(String::from_utf8(data).unwrap())
    }

    async fn ask(client: &Client) -> Result<(u16, String), HttpError> {
        let response = client.send(&Method::POST, "/x", Some(b"{}"), None).await?;
        Ok((response.status.as_u16(), read_all(response).await?))
    }

    #[tokio::test]
    async fn every_framing_is_read_and_a_connection_serves_the_next_request() {
        let (client, server) = client(&[
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil close",
            b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold",
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ])
        .await;
        for expected in [(200, "abcde"), (404, "no"), (204, ""), (200, "until close"), (200, "old"), (200, "")] {
            let (status, body) = ask(&client).await.unwrap();
            assert_eq!((status, body.as_str()), expected);
        }
        drop(client);
        // One for the first four, one for each of the others.
        assert_eq!(server.await.unwrap(), 3);
    }

    /// A server that counts requests, confirms each when it has its head, as Ollama's does, and answers as much later as the request's body says, in
    /// milliseconds.
    async fn confirming_server() -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&requests);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    let mut request = vec![0; 4096];
                    while let Ok(count @ 1..) = stream.read(&mut request).await {
                        counted.fetch_add(1, Ordering::SeqCst);
                        let text = String::from_utf8_lossy(&request[..count]).into_owned();
                        assert!(text.contains("expect: 100-continue"), "{text}");
                        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
                        let millis = text.rsplit("\r\n").next().unwrap().parse().unwrap();
                        tokio::time::sleep(Duration::from_millis(millis)).await;
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx").await.unwrap();
                    }
                });
            }
        });
        (address, requests)
    }

    async fn ask_for(client: &Client, millis: &str) -> Result<String, HttpError> {
        read_all(client.send(&Method::POST, "/x", Some(millis.as_bytes()), None).await?).await
    }

    #[tokio::test]
    async fn a_connection_that_a_forwarder_has_lost_is_noticed_in_seconds_and_the_request_is_not_sent_twice() {
        let (server, requests) = confirming_server().await;
        let forwarder = SilentForwarder::to(server).await;
        let client = Client::new(Origin::parse(&format!("http://{}", forwarder.address)).unwrap(), None, Duration::from_secs(5)).unwrap();
        assert_eq!(ask_for(&client, "0").await.unwrap(), "x");
        forwarder.forget_connections();
        let asked = Instant::now();
        let lost = ask_for(&client, "0").await.unwrap_err();
        assert!(matches!(&lost, HttpError::Broken(error) if error.kind() == io::ErrorKind::TimedOut), "{lost:?}");
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        // The next one has a new connection.
        assert_eq!(ask_for(&client, "0").await.unwrap(), "x");
        assert_eq!((requests.load(Ordering::SeqCst), forwarder.accepted()), (2, 2));
    }

    #[tokio::test]
    async fn a_confirmed_request_may_wait_for_its_answer_on_a_connection_that_was_used_before() {
        let (server, requests) = confirming_server().await;
        let client = Client::new(Origin::parse(&format!("http://{server}")).unwrap(), None, Duration::from_secs(5)).unwrap();
        assert_eq!(ask_for(&client, "0").await.unwrap(), "x");
        let later = (CONFIRMED_WITHIN + Duration::from_millis(500)).as_millis().to_string();
        assert_eq!(ask_for(&client, &later).await.unwrap(), "x");
        assert_eq!(requests.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_connection_that_has_waited_for_some_seconds_is_not_used_again() {
        let (server, _) = confirming_server().await;
        let forwarder = SilentForwarder::to(server).await;
        let client = Client::new(Origin::parse(&format!("http://{}", forwarder.address)).unwrap(), None, Duration::from_secs(5)).unwrap();
        assert_eq!(ask_for(&client, "0").await.unwrap(), "x");
        assert_eq!(ask_for(&client, "0").await.unwrap(), "x");
        assert_eq!(forwarder.accepted(), 1);
        forwarder.forget_connections();
        tokio::time::sleep(pool::KEPT_FOR).await;
        assert_eq!(ask_for(&client, "0").await.unwrap(), "x");
        assert_eq!(forwarder.accepted(), 2);
    }

    #[tokio::test]
    async fn a_body_that_is_finished_before_its_end_leaves_its_connection_to_the_next_request() {
        let (client, server) = client(&[
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        ])
        .await;
        client.send(&Method::GET, "/", None, None).await.unwrap().body.finish();
        assert_eq!(ask(&client).await.unwrap().1, "x");
        drop(client);
        assert_eq!(server.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn what_is_no_response_is_refused() {
        for (answer, expected) in [
            (&b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"[..], "Protocol"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "Protocol"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "Protocol"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "Protocol"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", "Protocol"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "Protocol"),
            (b"SSH-2.0-OpenSSH\r\n", "Protocol"),
            (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nshort", "Broken"),
            (b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", "Broken"),
            (b"HTTP/1.1 2 close", "Protocol"),
        ] {
            let answers: &'static [&'static [u8]] = vec![answer].leak();
            let (client, server) = client(answers).await;
            let error = ask(&client).await.unwrap_err();
            assert!(format!("{error:?}").starts_with(expected), "{:?} → {error:?}", String::from_utf8_lossy(answer));
            drop(client);
            server.await.unwrap();
        }
    }

    #[tokio::test]
    async fn nobody_there_is_told_from_a_connection_that_broke() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Origin::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        drop(listener);
        let client = Client::new(origin, None, Duration::from_secs(5)).unwrap();
        let dispatched = Dispatched::default();
        let refused = client.send(&Method::POST, "/", Some(b""), Some(&dispatched)).await;
        assert!(matches!(refused, Err(HttpError::Connect(_))));
        assert!(!dispatched.is_marked(), "nothing was sent");
    }
}

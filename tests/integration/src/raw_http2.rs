//! An HTTP/2 client that says what it is told to, frame by frame: what a hostile client does, and no gRPC library would.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request};
use shared::error::reason_of;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

/// What stands before a gRPC message that isn't compressed.
#[must_use]
pub fn prefixed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("less than 4 GiB");
    [&[0][..], &length.to_be_bytes(), message].concat()
}

/// A connection.
pub struct RawHttp2 {
    calls: SendRequest<Bytes>,
    address: SocketAddr,
    /// Ends with the connection.
    pub connection: JoinHandle<Result<(), h2::Error>>,
}

/// A call whose body is still open.
pub struct OpenCall {
    /// To send more of the body.
    pub body: SendStream<Bytes>,
    answer: ResponseFuture,
}

/// How a call ended.
#[derive(Debug)]
pub struct Answered {
    /// The status, with its details.
    pub status: Status,
    /// The response's headers.
    pub headers: HeaderMap,
    /// Bytes of the response's body.
    pub body: Bytes,
}

impl Answered {
    /// Code and reason.
    #[must_use]
    pub fn refusal(&self) -> (Code, Option<shared::ErrorReason>) {
        (self.status.code(), reason_of(&self.status))
    }
}

impl RawHttp2 {
    /// Connects. Windows are as large as they can be, so that nothing but the server's own hold a body back.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("a connection"), address).await
    }

    /// Begins HTTP/2 on a connection that may have said something before.
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, address: SocketAddr) -> Self {
        let (calls, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        Self { calls, address, connection: tokio::spawn(connection) }
    }

    /// Opens a call to a method with these headers beside gRPC's own.
    pub async fn open(&self, path: &str, headers: &[(&str, &str)]) -> Result<OpenCall, h2::Error> {
        let mut request =
            Request::post(format!("http://{}{path}", self.address)).header("content-type", "application/grpc").header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut calls = self.calls.clone().ready().await?;
        let (answer, body) = calls.send_request(request.body(()).expect("a request"), false)?;
        Ok(OpenCall { body, answer })
    }

    /// Sends a request that is no gRPC, and reads its whole answer.
    pub async fn plain(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> http::Response<Bytes> {
        let request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let mut calls = self.calls.clone().ready().await.expect("a stream");
        let (answer, mut sending) = calls.send_request(request.body(()).expect("a request"), false).expect("a stream");
        // A server that refuses the call may read no more of it.
        let _ = sending.send_data(Bytes::copy_from_slice(body), true);
        let (head, mut body) = answer.await.expect("an answer").into_parts();
        let mut read = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece.expect("the whole body");
            let _ = body.flow_control().release_capacity(piece.len());
            read.extend_from_slice(&piece);
        }
        http::Response::from_parts(head, read.into())
    }

    /// Makes a call with this body, and waits for its end.
    pub async fn call(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answered {
        let call = self.open(path, headers).await.expect("a stream");
        call.send(body, true).await
    }
}

impl OpenCall {
    /// Sends as much of this as the server takes until it answers, ends the body if asked to, and waits for the call's end.
    pub async fn send(mut self, body: &[u8], end: bool) -> Answered {
        let mut rest = Bytes::copy_from_slice(body);
        let mut answer = self.answer;
        let mut head = None;
        while !rest.is_empty() && head.is_none() {
            self.body.reserve_capacity(rest.len());
            tokio::select! {
                biased;
                answered = &mut answer => head = Some(answered),
                capacity = std::future::poll_fn(|cx| self.body.poll_capacity(cx)) => match capacity {
                    Some(Ok(room)) => {
                        let piece = rest.split_to(room.min(rest.len()));
                        if self.body.send_data(piece, end && rest.is_empty()).is_err() {
                            break;
                        }
                    }
                    _ => break,
                },
            }
        }
        if end && body.is_empty() {
            // The server may have reset the stream already.
            let _ = self.body.send_data(Bytes::new(), true);
        }
        let answered = match head {
            Some(answered) => answered,
            None => answer.await,
        };
        read(answered).await
    }
}

/// The call's end; a stream or connection that was reset is told as UNKNOWN, with no reason.
async fn read(answered: Result<http::Response<RecvStream>, h2::Error>) -> Answered {
    let broken = |error: h2::Error| Answered {
        status: Status::unknown(format!("{error} {:?}", error.reason().unwrap_or(Reason::NO_ERROR))),
        headers: HeaderMap::new(),
        body: Bytes::new(),
    };
    let (head, mut body) = match answered {
        Ok(response) => response.into_parts(),
        Err(error) => return broken(error),
    };
    let mut read = Vec::new();
    while let Some(piece) = body.data().await {
        match piece {
            Ok(piece) => {
                // Whoever doesn't give the window back is not sent more.
                let _ = body.flow_control().release_capacity(piece.len());
                read.extend_from_slice(&piece);
            }
            Err(error) => return broken(error),
        }
    }
    let trailers = body.trailers().await.ok().flatten().unwrap_or_default();
    let status = Status::from_header_map(&head.headers).or_else(|| Status::from_header_map(&trailers));
    Answered { status: status.unwrap_or_else(|| Status::unknown("no status")), headers: head.headers, body: read.into() }
}

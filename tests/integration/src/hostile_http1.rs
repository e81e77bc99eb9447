//! An HTTP/1.1 client that says what it is told to, byte by byte: what a hostile client does, and no HTTP library would.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::polling::SOON;

/// A connection.
#[derive(Debug)]
pub struct HostileHttp1 {
    /// To do with it what no client does.
    pub stream: TcpStream,
    read: BytesMut,
    patience: Duration,
}

/// How a request was answered.
#[derive(Debug, Clone)]
pub struct Response {
    /// Of the status line.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// All of the body.
    pub body: Bytes,
}

impl Response {
    /// A header; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The bytes of a request with a `Content-Length`.
#[must_use]
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let length = body.len().to_string();
    let mut all = head(method, path, &[headers, &[("content-length", &length)]].concat());
    all.extend_from_slice(body);
    all
}

/// The bytes of a request's head.
#[must_use]
pub fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: tollgate\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// A piece of a body in chunks.
#[must_use]
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

impl HostileHttp1 {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("a connection"))
    }

    /// Goes on with a connection that may have said something before.
    #[must_use]
    pub fn over(stream: TcpStream) -> Self {
        Self { stream, read: BytesMut::new(), patience: SOON }
    }

    /// Waits for so long for each part of an answer.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Sends these bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("it is written");
    }

    /// Sends as many of these bytes as the other side takes.
    pub async fn send_what_is_taken(&mut self, bytes: &[u8]) {
        // A server that has refused the rest may have closed.
        let _ = self.stream.write_all(bytes).await;
    }

    /// Makes a request, and reads its answer.
    pub async fn call(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.send_what_is_taken(&request(method, path, headers, body)).await;
        self.response(method == "HEAD").await
    }

    /// Reads more; false at the end.
    async fn more(&mut self) -> bool {
        let read = timeout(self.patience, self.stream.read_buf(&mut self.read)).await.expect("an answer in time");
        read.is_ok_and(|read| read > 0)
    }

    /// Reads a response's head.
    pub async fn head(&mut self) -> (StatusCode, HeaderMap) {
        loop {
            let mut found = [httparse::EMPTY_HEADER; 64];
            let mut response = httparse::Response::new(&mut found);
            if let Ok(httparse::Status::Complete(length)) = response.parse(&self.read) {
                let status = StatusCode::from_u16(response.code.expect("a status")).expect("a status");
                let headers = response.headers.iter().map(|header| {
                    let name = HeaderName::from_bytes(header.name.as_bytes()).expect("a name");
                    (name, HeaderValue::from_bytes(header.value).expect("a value"))
                });
                let headers = headers.collect();
                let _head = self.read.split_to(length);
                return (status, headers);
            }
            assert!(self.more().await, "the connection ended before a response: {:?}", self.read);
        }
    }

    /// Reads a response; interim ones are skipped.
    pub async fn response(&mut self, of_head: bool) -> Response {
        let (status, headers) = loop {
            let (status, headers) = self.head().await;
            if !status.is_informational() {
                break (status, headers);
            }
        };
        let length: Option<usize> = headers.get("content-length").map(|length| length.to_str().unwrap().parse().unwrap());
        let is_chunked = headers.get("transfer-encoding").is_some_and(|encoding| encoding == "chunked");
        let mut body = Vec::new();
        if of_head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        } else if is_chunked {
            while let Some(chunk) = self.chunk().await {
                body.extend_from_slice(&chunk);
            }
        } else {
            body = self.rest(length).await.to_vec();
        }
        Response { status, headers, body: body.into() }
    }

    /// Reads a body of this length; without one, all that comes before the connection's end.
    pub async fn rest(&mut self, length: Option<usize>) -> Bytes {
        let Some(length) = length else {
            while self.more().await {}
            return self.read.split().freeze();
        };
        while self.read.len() < length {
            assert!(self.more().await, "the response is cut off");
        }
        self.read.split_to(length).freeze()
    }

    /// Reads a chunk of a body; `None` at its end. Panics when it is cut off.
    pub async fn chunk(&mut self) -> Option<Bytes> {
        self.try_chunk().await.expect("the body is cut off")
    }

    /// The same; an error when it is cut off.
    pub async fn try_chunk(&mut self) -> Result<Option<Bytes>, ()> {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\r\n") {
                let size = usize::from_str_radix(std::str::from_utf8(&self.read[..end]).unwrap().trim(), 16).unwrap();
                if self.read.len() >= end + 2 + size + 2 {
                    let _size = self.read.split_to(end + 2);
                    let chunk = self.read.split_to(size).freeze();
                    let _line = self.read.split_to(2);
                    return Ok((size > 0).then_some(chunk));
                }
            }
            if !self.more().await {
                return Err(());
            }
        }
    }

    /// Whether the other side has closed, without another byte.
    pub async fn is_closed(&mut self) -> bool {
        self.read.is_empty() && !self.more().await
    }
}

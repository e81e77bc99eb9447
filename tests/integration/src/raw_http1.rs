//! An HTTP/1.1 client that says what it is told to, byte by byte, and reads an answer piece by piece as it comes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(20);

/// A connection.
#[derive(Debug)]
pub struct RawHttp1 {
    stream: TcpStream,
    read: BytesMut,
}

/// An answer that is whole.
#[derive(Debug)]
pub struct Whole {
    /// HTTP's status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// Without its framing.
    pub body: Bytes,
}

/// An answer whose head is here.
#[derive(Debug)]
pub struct Begun {
    /// HTTP's status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    connection: RawHttp1,
    framing: Framing,
}

#[derive(Debug, Clone, Copy)]
enum Framing {
    Chunked,
    Length(usize),
}

impl Whole {
    /// A header's value; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("a text")).unwrap_or_default()
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

/// Makes a call on a connection of its own, with the body's length, and reads its whole answer.
pub async fn call(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Whole {
    begin(address, method, path, headers, body).await.whole().await
}

/// Makes a call on a connection of its own, with the body's length, and reads the answer's head.
pub async fn begin(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Begun {
    let length = body.len().to_string();
    let mut all = vec![("content-length", length.as_str())];
    all.extend_from_slice(headers);
    let mut connection = RawHttp1::connect(address).await;
    connection.send_head(method, path, &all).await;
    connection.send(body).await;
    connection.head().await
}

impl RawHttp1 {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.expect("a connection"), read: BytesMut::new() }
    }

    /// Sends a request's head, with `host` beside these headers.
    pub async fn send_head(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.send(head.as_bytes()).await;
    }

    /// Sends bytes as they are. A server that has answered may read no more.
    pub async fn send(&mut self, bytes: &[u8]) {
        // How it answered is what the test reads.
        let _ = tokio::time::timeout(DEADLINE, self.stream.write_all(bytes)).await.expect("the server reads or closes");
    }

    /// Sends one chunk; an empty one ends the body.
    pub async fn send_chunk(&mut self, bytes: &[u8]) {
        let framed = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.send(&framed).await;
    }

    /// Reads the answer's head.
    pub async fn head(mut self) -> Begun {
        loop {
            if let Some(end) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = self.read.split_to(end + 4);
                let text = std::str::from_utf8(&head).expect("a head");
                let mut lines = text.lines();
                let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status").parse().expect("a number");
                let headers: HeaderMap = lines.filter_map(|line| line.split_once(": ")).map(header).collect();
                let length = headers.get("content-length").map(|value| value.to_str().expect("a text").parse().expect("a number"));
                return Begun { status, headers, connection: self, framing: length.map_or(Framing::Chunked, Framing::Length) };
            }
            assert!(self.read_more().await, "the connection ended before an answer: {:?}", self.read);
        }
    }

    /// Whether something came before the connection's end.
    async fn read_more(&mut self) -> bool {
        let read = tokio::time::timeout(DEADLINE, self.stream.read_buf(&mut self.read)).await.expect("something comes");
        read.expect("the connection stands") > 0
    }

    async fn line(&mut self) -> Bytes {
        loop {
            if let Some(end) = self.read.windows(2).position(|bytes| bytes == b"\r\n") {
                let line = self.read.split_to(end);
                self.read.advance(2);
                return line.freeze();
            }
            assert!(self.read_more().await, "the body is cut off");
        }
    }

    async fn exactly(&mut self, bytes: usize) -> Bytes {
        while self.read.len() < bytes {
            assert!(self.read_more().await, "the body is cut off");
        }
        self.read.split_to(bytes).freeze()
    }
}

fn header((name, value): (&str, &str)) -> (HeaderName, HeaderValue) {
    (name.parse().expect("a name"), value.parse().expect("a value"))
}

impl Begun {
    /// The next chunk of the body; `None` at its end.
    pub async fn piece(&mut self) -> Option<Bytes> {
        match self.framing {
            Framing::Length(0) => None,
            Framing::Length(length) => {
                self.framing = Framing::Length(0);
                Some(self.connection.exactly(length).await)
            }
            Framing::Chunked => {
                let size = self.connection.line().await;
                let size = usize::from_str_radix(std::str::from_utf8(&size).expect("a size"), 16).expect("a size");
                let piece = self.connection.exactly(size).await;
                self.connection.exactly(2).await;
                if size == 0 {
                    self.framing = Framing::Length(0);
                }
                (size > 0).then_some(piece)
            }
        }
    }

    /// The whole answer.
    pub async fn whole(mut self) -> Whole {
        let mut body = BytesMut::new();
        // A refusal may come before the request's end.
        while let Some(piece) = self.piece().await {
            body.extend_from_slice(&piece);
        }
        Whole { status: self.status, headers: self.headers, body: body.freeze() }
    }
}

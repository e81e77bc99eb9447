//! A client of HTTP/1.1 over a socket of its own, for the doors: it sends what a test says, reads an answer as it comes, and closes when it
//! is dropped.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a test waits for anything.
const DEADLINE: Duration = Duration::from_secs(20);

/// A request that is being put together.
#[derive(Debug, Clone)]
pub struct HttpCall {
    address: SocketAddr,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl HttpCall {
    /// A request without a body.
    #[must_use]
    pub fn new(address: SocketAddr, method: &str, path: &str) -> Self {
        Self { address, method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// A GET.
    #[must_use]
    pub fn get(address: SocketAddr, path: &str) -> Self {
        Self::new(address, "GET", path)
    }

    /// A POST of JSON.
    #[must_use]
    pub fn post(address: SocketAddr, path: &str, body: &Value) -> Self {
        Self::new(address, "POST", path).header("content-type", "application/json").body(body.to_string())
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this credential.
    #[must_use]
    pub fn bearer(self, credential: &str) -> Self {
        self.header("authorization", &format!("Bearer {credential}"))
    }

    /// With this body, whose length is told.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it, and waits for the answer's head.
    #[expect(clippy::expect_used, reason = "only tests call this, and a panic is how they fail")]
    pub async fn send(self) -> HttpAnswer {
        let mut stream = TcpStream::connect(self.address).await.expect("the service listens");
        stream.set_nodelay(true).expect("a socket");
        let mut request = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", self.method, self.path, self.address);
        for (name, value) in &self.headers {
            request += &format!("{name}: {value}\r\n");
        }
        let mut request = (request + &format!("content-length: {}\r\n\r\n", self.body.len())).into_bytes();
        request.extend_from_slice(&self.body);
        // A refusal may come, and the connection close, before all of it is sent.
        let _ = stream.write_all(&request).await;
        HttpAnswer::read_head(stream).await
    }
}

/// An answer whose head was read. Dropped, its connection is closed.
#[derive(Debug)]
pub struct HttpAnswer {
    /// For example 200.
    pub status: u16,
    headers: Vec<(String, String)>,
    stream: TcpStream,
    /// What was read and not decoded yet.
    raw: BytesMut,
    framing: Framing,
    /// What was decoded and not taken yet.
    decoded: BytesMut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// So many bytes are still to come.
    Length(usize),
    /// Chunks; so many bytes of the present one are still to come, its line's end included.
    Chunked(usize),
    ToTheEnd,
    Over,
    /// The connection closed before the body's end.
    CutOff,
}

impl HttpAnswer {
    #[expect(clippy::expect_used, reason = "only tests call this, and a panic is how they fail")]
    async fn read_head(mut stream: TcpStream) -> Self {
        let mut raw = BytesMut::new();
        let end = loop {
            if let Some(end) = raw.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            assert!(read_some(&mut stream, &mut raw).await, "the connection closed before the head's end: {raw:?}");
        };
        let head = String::from_utf8(raw.split_to(end).to_vec()).expect("a head in ASCII");
        raw.advance(4);
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = Self { status, headers, stream, raw, framing: Framing::ToTheEnd, decoded: BytesMut::new() };
        answer.framing = match (answer.header("transfer-encoding"), answer.header("content-length")) {
            (Some("chunked"), None) => Framing::Chunked(0),
            (None, Some(length)) => Framing::Length(length.parse().expect("a length")),
            (None, None) => Framing::ToTheEnd,
            both => panic!("an answer that can be read in two ways: {both:?}"),
        };
        answer
    }

    /// A header's value by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All of the body.
    #[expect(clippy::expect_used, reason = "only tests call this, and a panic is how they fail")]
    pub async fn text(&mut self) -> String {
        while self.read_more().await {}
        assert_ne!(self.framing, Framing::CutOff, "the body is cut off after {:?}", self.decoded);
        String::from_utf8(self.decoded.split().to_vec()).expect("a body in UTF-8")
    }

    /// All of the body as JSON.
    pub async fn json(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The next server-sent event, its lines without the empty one; `None` at the body's end.
    #[expect(clippy::expect_used, reason = "only tests call this, and a panic is how they fail")]
    pub async fn next_event(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.decoded.windows(2).position(|window| window == b"\n\n") {
                let event = self.decoded.split_to(end);
                self.decoded.advance(2);
                return Some(String::from_utf8(event.to_vec()).expect("an event in UTF-8"));
            }
            if !self.read_more().await {
                assert!(self.decoded.is_empty() && self.framing == Framing::Over, "the stream is cut off after {:?}", self.decoded);
                return None;
            }
        }
    }

    /// The data of every event to the stream's end, without comments.
    pub async fn data(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(event) = self.next_event().await {
            all.extend(event.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned));
        }
        all
    }

    /// Reads and decodes something; false at the body's end.
    async fn read_more(&mut self) -> bool {
        loop {
            let before = self.decoded.len();
            self.decode();
            if self.decoded.len() > before {
                return true;
            }
            if matches!(self.framing, Framing::Over | Framing::CutOff) {
                return false;
            }
            if !read_some(&mut self.stream, &mut self.raw).await {
                self.framing = if self.framing == Framing::ToTheEnd { Framing::Over } else { Framing::CutOff };
            }
        }
    }

    #[expect(clippy::expect_used, reason = "only tests call this, and a panic is how they fail")]
    fn decode(&mut self) {
        loop {
            match self.framing {
                Framing::Over | Framing::CutOff => return,
                Framing::ToTheEnd => return self.decoded.unsplit(self.raw.split()),
                Framing::Length(left) => {
                    let taken = left.min(self.raw.len());
                    self.decoded.extend_from_slice(&self.raw.split_to(taken));
                    self.framing = if taken == left { Framing::Over } else { Framing::Length(left - taken) };
                    return;
                }
                Framing::Chunked(0) => {
                    let Some(end) = self.raw.windows(2).position(|window| window == b"\r\n") else { return };
                    let size = std::str::from_utf8(&self.raw[..end]).expect("a chunk's size");
                    let size = usize::from_str_radix(size, 16).expect("a chunk's size");
                    if size == 0 && self.raw.len() < end + 4 {
                        return;
                    }
                    self.raw.advance(end + 2);
                    self.framing = if size == 0 { Framing::Over } else { Framing::Chunked(size + 2) };
                }
                Framing::Chunked(left) => {
                    if self.raw.is_empty() {
                        return;
                    }
                    let taken = left.min(self.raw.len());
                    // The last two bytes are the chunk's end of line.
                    let of_data = left.saturating_sub(2).min(taken);
                    self.decoded.extend_from_slice(&self.raw[..of_data]);
                    self.raw.advance(taken);
                    self.framing = Framing::Chunked(left - taken);
                }
            }
        }
    }
}

/// Reads something into the buffer; false when the other side has closed.
#[expect(clippy::expect_used, reason = "only tests call this, and a panic is how they fail")]
async fn read_some(stream: &mut TcpStream, buffer: &mut BytesMut) -> bool {
    let read = tokio::time::timeout(DEADLINE, stream.read_buf(buffer)).await.expect("something comes in time");
    matches!(read, Ok(1..))
}

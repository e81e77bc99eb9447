//! Calls over HTTP/1.1 as clients of the doors make them, each on a connection of its own. An answer is read as it comes, whole or event by
//! event; dropped, its connection is closed.

use std::net::SocketAddr;

use bytes::BytesMut;
use http::HeaderMap;
use serde_json::Value;

use crate::hostile_http1::{self, HostileHttp1};

/// A request that is being put together.
#[derive(Debug, Clone)]
pub struct HttpCall {
    address: SocketAddr,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    announced: Option<u64>,
}

impl HttpCall {
    /// A request without a body.
    #[must_use]
    pub fn new(address: SocketAddr, method: &str, path: &str) -> Self {
        Self { address, method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: Vec::new(), announced: None }
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

    /// Says that its body has so many bytes, however many are sent.
    #[must_use]
    pub fn announcing(self, bytes: u64) -> Self {
        Self { announced: Some(bytes), ..self }
    }

    /// Sends it, and waits for the answer's head.
    pub async fn send(self) -> HttpAnswer {
        let length = self.announced.unwrap_or(self.body.len() as u64).to_string();
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers: Vec<(&str, &str)> = headers.chain([("content-length", length.as_str())]).collect();
        let mut request = hostile_http1::head(&self.method, &self.path, &headers);
        request.extend_from_slice(&self.body);
        let mut connection = HostileHttp1::connect(self.address).await;
        connection.send_what_is_taken(&request).await;
        let (status, headers) = connection.head().await;
        HttpAnswer { status: status.as_u16(), headers, connection, is_over: false, read: BytesMut::new() }
    }
}

/// An answer whose head was read. Dropped, its connection is closed.
#[derive(Debug)]
pub struct HttpAnswer {
    /// For example 200.
    pub status: u16,
    headers: HeaderMap,
    connection: HostileHttp1,
    is_over: bool,
    /// What was read of the body and not taken yet.
    read: BytesMut,
}

impl HttpAnswer {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All of the body.
    #[expect(clippy::expect_used, reason = "only tests call this, and a panic is how they fail")]
    pub async fn text(&mut self) -> String {
        while self.read_more().await {}
        String::from_utf8(self.read.split().to_vec()).expect("a body in UTF-8")
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
            if let Some(end) = self.read.windows(2).position(|window| window == b"\n\n") {
                let event = self.read.split_to(end + 2);
                return Some(String::from_utf8(event[..end].to_vec()).expect("an event in UTF-8"));
            }
            if !self.read_more().await {
                assert!(self.read.is_empty(), "the stream ends in the middle of an event: {:?}", self.read);
                return None;
            }
        }
    }

    /// Reads until this is in the body.
    pub async fn wait_for(&mut self, part: &str) {
        while !self.read.windows(part.len()).any(|window| window == part.as_bytes()) {
            assert!(self.read_more().await, "the body ends without {part:?}: {:?}", self.read);
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

    /// Reads some of the body; false at its end.
    async fn read_more(&mut self) -> bool {
        if self.is_over {
            return false;
        }
        if self.headers.contains_key("transfer-encoding") {
            let chunk = self.connection.chunk().await;
            self.is_over = chunk.is_none();
            self.read.extend_from_slice(&chunk.unwrap_or_default());
        } else {
            let length = self.header("content-length").and_then(|length| length.parse().ok());
            self.read.extend_from_slice(&self.connection.rest(length).await);
            self.is_over = true;
        }
        true
    }
}

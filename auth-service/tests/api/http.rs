//! HTTP/1.1 by hand, on a socket of its own for each request: what is sent is what stands here.

#![expect(clippy::unwrap_used, reason = "test support: a failure here is the test's")]

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

pub(crate) const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// A member of the JSON object that it is; empty when it has none.
    pub(crate) fn text(&self, name: &str) -> String {
        self.json()[name].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Sends `POST /token`, say, with these headers and this body; to the host `tollgate`, if no header names one.
pub(crate) async fn http(address: SocketAddr, request: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    http_from(IpAddr::from([127, 0, 0, 1]), address, request, headers, body).await
}

/// The same, from an address of this host.
pub(crate) async fn http_from(from: IpAddr, address: SocketAddr, request: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let host = if headers.iter().any(|(name, _)| *name == "host") { "" } else { "host: tollgate\r\n" };
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let sent = format!("{request} HTTP/1.1\r\n{host}connection: close\r\n{headers}{length}\r\n{body}");
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut answered = Vec::new();
    stream.read_to_end(&mut answered).await.unwrap();
    let answered = String::from_utf8(answered).unwrap();
    let (head, body) = answered.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers =
        lines.map(|line| line.split_once(": ").unwrap()).map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    Reply { status, headers, body: body.to_owned() }
}

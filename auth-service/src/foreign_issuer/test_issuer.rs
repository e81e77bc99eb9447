//! A foreign issuer of a test: keys of its own, and their public halves over HTTP on this host.
//!
//! The tests of auth-service from outside have it too.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// A key that signs tokens.
#[derive(Clone)]
pub(crate) struct IssuerKey {
    pub(crate) kid: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: EncodingKey,
}

impl IssuerKey {
    pub(crate) fn new(kid: &str, algorithm: Algorithm) -> Self {
        let key = match algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_der(Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap().as_ref()),
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
                EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref())
            }
            _ => {
                let pkcs8 = RsaKeyPair::generate(KeySize::Rsa2048).unwrap().as_der().unwrap();
                // The key itself stands behind what says that it is one of RSA.
                EncodingKey::from_rsa_der(&pkcs8.as_ref()[26..])
            }
        };
        Self { kid: kid.to_owned(), algorithm, key }
    }

    /// The public half, with its name.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }
}

/// How it answers.
#[derive(Clone)]
pub(crate) enum Reply {
    /// With this head, but for the length, and this body.
    Whole { status: &'static str, headers: String, body: String },
    /// Never.
    Silence,
    /// With a body that never ends.
    Endless,
}

impl Reply {
    /// These keys.
    pub(crate) fn keys(keys: &[&IssuerKey]) -> Self {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        Self::Whole { status: "200 OK", headers: String::new(), body: json!({ "keys": keys }).to_string() }
    }
}

/// An issuer that answers. Dropping it stops it.
pub(crate) struct TestIssuer {
    pub(crate) address: SocketAddr,
    reply: Arc<Mutex<Reply>>,
    requests: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
    serving: AbortHandle,
}

impl TestIssuer {
    pub(crate) async fn start(reply: Reply) -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap(), reply).await
    }

    pub(crate) async fn start_on(address: SocketAddr, reply: Reply) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (reply, requests, sent) = (Arc::new(Mutex::new(reply)), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (replies, counted, bytes) = (Arc::clone(&reply), Arc::clone(&requests), Arc::clone(&sent));
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, Arc::clone(&replies), Arc::clone(&counted), Arc::clone(&bytes)));
            }
        });
        Self { address, reply, requests, sent, serving: serving.abort_handle() }
    }

    pub(crate) fn keys_url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    pub(crate) fn answers(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }

    /// How often it was asked.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// How many bytes it could send of bodies that never end.
    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }
}

impl Drop for TestIssuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(mut stream: TcpStream, reply: Arc<Mutex<Reply>>, requests: Arc<AtomicUsize>, sent: Arc<AtomicUsize>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    requests.fetch_add(1, Ordering::SeqCst);
    let reply = reply.lock().unwrap().clone();
    match reply {
        Reply::Whole { status, headers, body } => {
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        Reply::Silence => std::future::pending().await,
        Reply::Endless => {
            let mut piece = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"keys\":[".to_vec();
            while stream.write_all(&piece).await.is_ok() {
                sent.fetch_add(piece.len(), Ordering::SeqCst);
                piece = vec![b' '; 16 << 10];
            }
        }
    }
}

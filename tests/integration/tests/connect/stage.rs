//! Both services, who calls them, and what they answer over Connect.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::HeaderMap;
use integration::hostile_http1::{self, HostileHttp1};
use integration::process_pair::ProcessPair;
use integration::scripted_upstream::ScriptedUpstream;
use integration::stack::PASSWORD;
use prost::Message;
use serde_json::{Value, json};
use shared::credential_form::to_bearer;
use tonic_types::pb;

pub(crate) const LOGIN: &str = "/tollgate.auth.v1.Accounts/Login";
pub(crate) const BALANCE: &str = "/tollgate.auth.v1.Accounts/GetBalance";
pub(crate) const CHAT: &str = "/tollgate.inference.v1.Inference/Chat";
pub(crate) const MODELS: &str = "/tollgate.inference.v1.Inference/ListModels";
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");
pub(crate) const STREAM_JSON: (&str, &str) = ("content-type", "application/connect+json");

/// Both services, and a user with the starting credits.
pub(crate) struct Stage {
    pub(crate) upstream: ScriptedUpstream,
    pub(crate) pair: ProcessPair,
    pub(crate) key: String,
    /// `Bearer` and the key.
    pub(crate) bearer: String,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        Self::set_with(&[]).await
    }

    pub(crate) async fn set_with(variables: &[(&str, &str)]) -> Self {
        let upstream = ScriptedUpstream::start().await;
        let pair = ProcessPair::start(&upstream.url(), variables);
        let key = pair.user().await;
        Self { upstream, pair, bearer: to_bearer(&key), key }
    }

    pub(crate) fn auth(&self) -> SocketAddr {
        self.pair.auth.address()
    }

    pub(crate) fn inference(&self) -> SocketAddr {
        self.pair.inference.address()
    }

    /// Logs in over Connect.
    pub(crate) async fn token(&self) -> String {
        let answer = post(self.auth(), LOGIN, &[JSON], &json!({ "user_name": "ada", "password": PASSWORD })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["accessToken"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn available(&self) -> i64 {
        self.pair.balance(&self.key).await.unwrap().available_credits()
    }
}

/// An answer that is whole.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Whole {
    /// A header; empty when there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub(crate) async fn read(mut connection: HostileHttp1) -> Self {
        let answer = connection.response(false).await;
        Self { status: answer.status.as_u16(), headers: answer.headers, body: answer.body }
    }
}

/// Makes a call on a connection of its own, with the body's length, and reads its whole answer.
pub(crate) async fn call(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Whole {
    let mut connection = HostileHttp1::connect(address).await;
    connection.send_what_is_taken(&hostile_http1::request(method, path, headers, body)).await;
    Whole::read(connection).await
}

/// An answer whose head is here, and whose body comes in pieces.
pub(crate) struct Begun {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) connection: HostileHttp1,
}

impl Begun {
    /// Makes a call on a connection of its own, and reads the answer's head.
    pub(crate) async fn call(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut connection = HostileHttp1::connect(address).await;
        connection.send_what_is_taken(&hostile_http1::request("POST", path, headers, body)).await;
        let (status, headers) = connection.head().await;
        Self { status: status.as_u16(), headers, connection }
    }

    /// The next piece as it comes; `None` at the body's end.
    pub(crate) async fn piece(&mut self) -> Option<Bytes> {
        self.connection.chunk().await
    }
}

pub(crate) async fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)], message: &Value) -> Whole {
    call(address, "POST", path, headers, message.to_string().as_bytes()).await
}

pub(crate) fn chat(prompt: &str) -> Value {
    json!({ "model": "smollm2", "messages": [{ "role": "user", "content": prompt }], "max_output_tokens": 64 })
}

/// A message in an envelope.
pub(crate) fn envelope(message: &Value) -> Vec<u8> {
    integration::raw_http2::prefixed(message.to_string().as_bytes())
}

/// Flags and JSON of envelopes.
pub(crate) fn envelopes(mut body: &[u8]) -> Vec<(u8, Value)> {
    let mut read = Vec::new();
    while let [flag, a, b, c, d, rest @ ..] = body {
        let (message, rest) = rest.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        read.push((*flag, serde_json::from_slice(message).unwrap()));
        body = rest;
    }
    assert!(body.is_empty(), "{body:?}");
    read
}

/// The reason of an error in JSON, as protobuf has it and as it is shown.
pub(crate) fn reason(error: &Value) -> String {
    let infos: Vec<&Value> = error["details"].as_array().unwrap().iter().filter(|one| one["type"] == "google.rpc.ErrorInfo").collect();
    assert_eq!(infos.len(), 1, "{error}");
    let value = STANDARD_NO_PAD.decode(infos[0]["value"].as_str().unwrap()).unwrap();
    let info = pb::ErrorInfo::decode(value.as_slice()).unwrap();
    assert_eq!((&infos[0]["debug"]["reason"], info.domain.as_str()), (&json!(info.reason), "tollgate"), "{error}");
    info.reason
}

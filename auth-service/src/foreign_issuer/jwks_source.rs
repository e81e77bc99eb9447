//! Where a foreign issuer's keys are read: a URL or a file. What answers there is not trusted with our memory or our time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AGE, CACHE_CONTROL, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::AsyncReadExt;
use tokio_rustls::rustls::{self, ClientConfig};

use super::config::KeysAt;

/// What is read of an answer. The largest issuers publish some 20 kB.
pub(crate) const MOST_BYTES: usize = 256 << 10;
/// How long an answer may take from the first packet to the last.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// Nothing can be asked by TLS.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The certificates that the operating system trusts can't be used.
    #[error("TLS to foreign issuers can't be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The client refuses its settings.
    #[error("an HTTP client for foreign issuers can't be made: {0}")]
    Client(#[from] reqwest::Error),
}

/// Where keys are read.
pub(super) enum JwksSource {
    Url(Url, Client),
    File(Arc<Path>),
}

/// What was read.
pub(super) struct Fetched {
    pub(super) json: Vec<u8>,
    /// For how long it may be kept, as its server says.
    pub(super) keep: Option<Duration>,
}

impl JwksSource {
    pub(super) fn new(at: &KeysAt) -> Result<Self, SourceError> {
        Ok(match at {
            KeysAt::File(path) => Self::File(path.as_path().into()),
            KeysAt::Url(url) => Self::Url(url.clone(), client(url.scheme() == "http")?),
        })
    }

    /// Reads the keys. The error is for the log.
    pub(super) async fn fetch(&self) -> Result<Fetched, String> {
        match self {
            Self::Url(url, client) => fetch(url, client).await,
            Self::File(path) => {
                let mut json = Vec::new();
                let opened = tokio::fs::File::open(path).await.map_err(|error| error.to_string())?;
                opened.take(MOST_BYTES as u64 + 1).read_to_end(&mut json).await.map_err(|error| error.to_string())?;
                if json.len() > MOST_BYTES { Err(too_long()) } else { Ok(Fetched { json, keep: None }) }
            }
        }
    }
}

/// What asks an issuer. `here`: it is one on this host, in plaintext.
pub(crate) fn client(here: bool) -> Result<Client, SourceError> {
    // A redirect would be followed to wherever the answer says.
    let client = Client::builder().redirect(Policy::none()).timeout(TIMEOUT).user_agent("tollgate").referer(false);
    // On this host, no proxy is in between.
    let client = if here { client.no_proxy() } else { client.https_only(true) };
    Ok(client.tls_backend_preconfigured(tls()?).build()?)
}

/// The certificates that the operating system trusts.
fn tls() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_platform_verifier()?.with_no_client_auth())
}

async fn fetch(url: &Url, client: &Client) -> Result<Fetched, String> {
    let response = client.get(url.clone()).header("accept", "application/json").send().await.map_err(chain)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(format!("it answered with HTTP status {}", response.status().as_u16()));
    }
    let keep = kept_for(response.headers());
    Ok(Fetched { json: read_whole(response).await?, keep })
}

/// A body, as long as it isn't too long.
pub(crate) async fn read_whole(mut response: reqwest::Response) -> Result<Vec<u8>, String> {
    if response.content_length().is_some_and(|length| length > MOST_BYTES as u64) {
        return Err(too_long());
    }
    let mut json = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(chain)? {
        if json.len() + piece.len() > MOST_BYTES {
            return Err(too_long());
        }
        json.extend_from_slice(&piece);
    }
    Ok(json)
}

fn too_long() -> String {
    format!("it has more than {MOST_BYTES} bytes")
}

/// An error and what caused it: the client's own says only where it happened.
pub(crate) fn chain(error: reqwest::Error) -> String {
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        said = format!("{said}: {inner}");
        cause = inner.source();
    }
    said
}

/// What `cache-control` and `age` come to (RFC 9111); `None` when nothing is said.
pub(crate) fn kept_for(headers: &HeaderMap) -> Option<Duration> {
    let directives = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let directives: Vec<&str> = directives.flat_map(|value| value.split(',')).map(str::trim).collect();
    let is = |name: &str| directives.iter().any(|directive| directive.eq_ignore_ascii_case(name));
    if is("no-store") || is("no-cache") {
        return Some(Duration::ZERO);
    }
    let age: u64 = headers.get(AGE).and_then(|value| value.to_str().ok()?.trim().parse().ok()).unwrap_or_default();
    let max_age = directives.iter().find_map(|directive| {
        let (name, value) = directive.split_once('=')?;
        if name.eq_ignore_ascii_case("max-age") { value.trim_matches('"').parse::<u64>().ok() } else { None }
    })?;
    Some(Duration::from_secs(max_age.saturating_sub(age)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn an_answer_is_kept_as_its_server_says() {
        let kept = |cache_control: &'static str, age: Option<&'static str>| {
            let mut headers: HeaderMap = [(CACHE_CONTROL, HeaderValue::from_static(cache_control))].into_iter().collect();
            headers.extend(age.map(|age| (AGE, HeaderValue::from_static(age))));
            kept_for(&headers).map(|kept| kept.as_secs())
        };
        assert_eq!(kept("public, max-age=3600, must-revalidate", None), Some(3600));
        assert_eq!(kept("Max-Age=\"600\"", Some("100")), Some(500));
        assert_eq!(kept("max-age=600", Some("1000")), Some(0));
        assert_eq!([kept("no-store", None), kept("max-age=600, no-cache", None)], [Some(0), Some(0)]);
        assert_eq!([kept("public", None), kept("max-age=soon", None), kept("s-maxage=9", None)], [None; 3]);
        assert_eq!(kept_for(&HeaderMap::new()), None);
    }
}

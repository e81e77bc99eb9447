//! How a client is set up.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shared::default_address::{AUTH_URL, INFERENCE_URL};
use shared::env::{ProcessEnvironment, Strings};
use tonic::transport::Uri;

use crate::account_header::parse_account;
use crate::authorized::Caller;
use crate::client::Client;
use crate::connection::{Connection, Connections};
use crate::credential::Credential;
use crate::error::Error;
use crate::service::Service;
use crate::transport_security::TransportSecurity;

/// Sets up a [`Client`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ClientBuilder {
    auth_url: String,
    inference_url: String,
    credential: Option<Result<Credential, String>>,
    account: Option<String>,
    connect_timeout: Duration,
    call_timeout: Duration,
    stream_timeout: Option<Duration>,
    security: TransportSecurity,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            auth_url: AUTH_URL.to_owned(),
            inference_url: INFERENCE_URL.to_owned(),
            credential: None,
            account: None,
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(30),
            stream_timeout: None,
            security: TransportSecurity::default(),
        }
    }
}

impl ClientBuilder {
    /// Takes what is set of `TOLLGATE_API_KEY` (an API key or an access token), `TOLLGATE_AUTH_URL` and `TOLLGATE_URL`, and for TLS of
    /// `TOLLGATE_CA`, `TOLLGATE_CLIENT_CERTIFICATE` and `TOLLGATE_CLIENT_KEY`, each a file.
    pub fn from_env() -> Self {
        Self::from_strings(&ProcessEnvironment)
    }

    /// Those of its addresses that are called in plaintext and beyond this host: whoever is on the way reads passwords, keys and answers.
    #[must_use]
    pub fn plaintext_urls(&self) -> Vec<&str> {
        [&self.auth_url, &self.inference_url].into_iter().map(String::as_str).filter(|url| is_plaintext_beyond_this_host(url)).collect()
    }

    pub(crate) fn from_strings(strings: &dyn Strings) -> Self {
        let get = |name: &str| strings.get(name).filter(|value| !value.is_empty());
        let mut builder = Self::default();
        if let Some(url) = get("TOLLGATE_AUTH_URL") {
            builder = builder.auth_url(url);
        }
        if let Some(url) = get("TOLLGATE_URL") {
            builder = builder.inference_url(url);
        }
        if let Some(credential) = get("TOLLGATE_API_KEY") {
            builder = builder.credential(credential);
        }
        if let Some(file) = get("TOLLGATE_CA") {
            builder = builder.ca_file(file);
        }
        if let Some(file) = get("TOLLGATE_CLIENT_CERTIFICATE") {
            builder = builder.client_certificate_file(file);
        }
        if let Some(file) = get("TOLLGATE_CLIENT_KEY") {
            builder = builder.client_key_file(file);
        }
        builder
    }

    /// Where auth-service listens. Default: `http://127.0.0.1:50051`.
    pub fn auth_url(mut self, url: impl Into<String>) -> Self {
        self.auth_url = url.into();
        self
    }

    /// Where inference-service listens. Default: `http://127.0.0.1:50052`.
    pub fn inference_url(mut self, url: impl Into<String>) -> Self {
        self.inference_url = url.into();
        self
    }

    /// An API key or an access token, sent with every call but sign-up and login. Default: none.
    pub fn credential(mut self, credential: impl Into<String>) -> Self {
        self.credential = Some(Credential::new(credential).map_err(|error| error.to_string()));
        self
    }

    /// The account that pays, when an access token may pay from several. Default: the user's own. An API key always pays from its own.
    pub fn account(mut self, account: impl Into<String>) -> Self {
        self.account = Some(account.into());
        self
    }

    /// A file of the authorities, in PEM, of which the servers' certificates must be. Default: those that the operating system trusts.
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.security.ca = Some(file.into());
        self
    }

    /// A file of the certificate, in PEM, to show servers that ask for one. Needs a key. Default: none.
    pub fn client_certificate_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.security.certificate = Some(file.into());
        self
    }

    /// A file of the private key, in PEM, of the certificate to show. Default: none.
    pub fn client_key_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.security.key = Some(file.into());
        self
    }

    /// The longest that making a connection may take. Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The longest that a call with a single answer may take. Default: 30 s.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// The longest that a stream may take, from the call to its last event: the server ends it then, and charges what was generated.
    /// Default: no limit.
    pub fn stream_timeout(mut self, timeout: Duration) -> Self {
        self.stream_timeout = Some(timeout);
        self
    }

    /// The client. Connects at the first call, within the runtime of that call. Fails when a URL, the credential, the account or a file
    /// for TLS can't be used.
    pub fn build(self) -> Result<Client, Error> {
        let credential = self.credential.transpose().map_err(Error::Configuration)?;
        let account = self.account.map(|account| parse_account(&account)).transpose()?;
        self.security.check()?;
        let connect = |service, url: &str| Connection::new(service, url, self.connect_timeout, &self.security);
        let connections =
            Connections { auth: connect(Service::Auth, &self.auth_url)?, inference: connect(Service::Inference, &self.inference_url)? };
        Ok(Client {
            connections: Arc::new(connections),
            caller: credential.map(Caller::Credential),
            account,
            call_timeout: self.call_timeout,
            stream_timeout: self.stream_timeout,
            step_up: None,
        })
    }
}

impl Client {
    /// A client of the services at these URLs, without a credential.
    pub fn new(auth_url: impl Into<String>, inference_url: impl Into<String>) -> Result<Self, Error> {
        Self::builder().auth_url(auth_url).inference_url(inference_url).build()
    }

    /// A client as the environment says: `TOLLGATE_API_KEY` (an API key or an access token), `TOLLGATE_AUTH_URL` (default
    /// `http://127.0.0.1:50051`) and `TOLLGATE_URL` (default `http://127.0.0.1:50052`).
    pub fn from_env() -> Result<Self, Error> {
        ClientBuilder::from_env().build()
    }

    /// Sets up a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }
}

fn is_plaintext_beyond_this_host(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let address: Option<IpAddr> = host.parse().ok();
    let is_here = host.eq_ignore_ascii_case("localhost") || address.is_some_and(|address| address.to_canonical().is_loopback());
    uri.scheme_str() == Some("http") && !is_here
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn addresses_beyond_this_host_in_plaintext_are_named() {
        for here in ["http://127.0.0.1:1", "http://[::1]:1", "http://LOCALHOST:1", "https://tollgate.example", "https://192.0.2.1:1"] {
            assert!(ClientBuilder::default().auth_url(here).plaintext_urls().is_empty(), "{here}");
        }
        for beyond in ["http://192.0.2.1:50051", "http://auth-service:50051", "http://localhost.example:1", "http://[2001:db8::1]:1"] {
            assert_eq!(ClientBuilder::default().auth_url(beyond).plaintext_urls(), [beyond]);
        }
    }

    #[test]
    fn the_environment_sets_urls_and_credential_and_an_empty_value_counts_as_unset() {
        let environment: BTreeMap<String, String> =
            [("TOLLGATE_API_KEY", "tg_canary"), ("TOLLGATE_AUTH_URL", ""), ("TOLLGATE_URL", "http://10.0.0.1:1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let client = ClientBuilder::from_strings(&environment).build().unwrap();
        let shown = format!("{client:?}");
        assert!(shown.contains("http://127.0.0.1:50051") && shown.contains("http://10.0.0.1:1"), "{shown}");
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn a_client_can_be_built_outside_of_a_runtime() {
        assert!(Client::builder().build().is_ok());
    }

    #[test]
    fn what_cannot_be_sent_is_refused_at_once() {
        assert!(matches!(Client::builder().credential("a\nb").build(), Err(Error::Configuration(_))));
        assert!(matches!(Client::builder().account("a b").build(), Err(Error::Configuration(_))));
        let tls = || Client::builder().auth_url("https://host");
        assert!(tls().build().is_ok());
        let missing = tls().ca_file("/dev/null/authorities").build().unwrap_err().to_string();
        assert!(missing.starts_with("/dev/null/authorities can't be read"), "{missing}");
        for half in [Client::builder().client_key_file("/dev/null"), Client::builder().client_certificate_file("/dev/null")] {
            assert!(matches!(half.build(), Err(Error::Configuration(_))));
        }
    }
}

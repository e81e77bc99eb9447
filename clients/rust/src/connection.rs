//! A connection to one service: made at the first call, and made again when it breaks. Over TLS where its URL begins with https://.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use shared::default_address::{AUTH_URL, INFERENCE_URL};
use shared::tls::server_name;
use tokio::net::TcpStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use crate::error::Error;
use crate::service::Service;
use crate::transport_security::TransportSecurity;

/// What a session that nobody named is listed as.
const USER_AGENT: &str = concat!("tollgate-client/", env!("CARGO_PKG_VERSION"));

pub(crate) struct Connection {
    service: Service,
    url: String,
    endpoint: Endpoint,
    tls: Option<Tls>,
    // Not made in the builder: a lazy channel needs a runtime, and a client may be built outside of one.
    channel: Mutex<Option<Channel>>,
}

/// The connections to both services.
pub(crate) struct Connections {
    pub(crate) auth: Connection,
    pub(crate) inference: Connection,
}

/// What a connection over TLS needs.
#[derive(Clone)]
struct Tls {
    config: Arc<ClientConfig>,
    /// The name that the server's certificate must have.
    name: ServerName<'static>,
    host: String,
    port: u16,
}

impl Connection {
    pub(crate) fn new(service: Service, url: &str, connect_timeout: Duration, security: &TransportSecurity) -> Result<Self, Error> {
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let refuse = |why: &str| Error::Configuration(format!("the URL of {service} {why}"));
        let example = match service {
            Service::Auth => AUTH_URL,
            Service::Inference => INFERENCE_URL,
        };
        let parsed: http::Uri = url.parse().map_err(|_| refuse(&format!("can't be read; it should look like {example}")))?;
        let uses_tls = match parsed.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(refuse("must begin with https:// or http://")),
        };
        let host = parsed.host().unwrap_or_default();
        if host.is_empty() || parsed.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(refuse("must name a host, and no user"));
        }
        let tls = if uses_tls {
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let name = server_name(&host).ok_or_else(|| refuse("must name a host that a certificate can have"))?;
            Some(Tls { config: security.config()?, name, host, port: parsed.port_u16().unwrap_or(443) })
        } else {
            None
        };
        if parsed.path_and_query().is_some_and(|path| path.as_str() != "/") {
            return Err(refuse("must end after the port"));
        }
        let endpoint = Endpoint::from_shared(url.clone())
            .map_err(|_| refuse("can't be used"))?
            .user_agent(USER_AGENT)
            .map_err(|_| refuse("can't be used"))?
            .connect_timeout(connect_timeout)
            .tcp_nodelay(true)
            // A stream may be silent for minutes while a model loads: pings tell that from a server that is gone.
            .http2_keep_alive_interval(Duration::from_secs(60))
            .keep_alive_timeout(Duration::from_secs(20));
        Ok(Self { service, url, endpoint, tls, channel: Mutex::new(None) })
    }

    pub(crate) fn channel(&self) -> Channel {
        let connect = || match &self.tls {
            None => self.endpoint.connect_lazy(),
            Some(tls) => {
                let tls = tls.clone();
                self.endpoint.connect_with_connector_lazy(tower::service_fn(move |_: http::Uri| tls.clone().connect()))
            }
        };
        self.kept().get_or_insert_with(connect).clone()
    }

    /// Makes another connection at the next call. What runs on this one goes on: a network that has lost it looks like a slow answer.
    pub(crate) fn renew(&self) {
        *self.kept() = None;
    }

    fn kept(&self) -> MutexGuard<'_, Option<Channel>> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn service(&self) -> Service {
        self.service
    }

    pub(crate) fn answer<T>(&self, answer: Result<Response<T>, Status>, request_id: Option<&str>) -> Result<T, Error> {
        answer.map(Response::into_inner).map_err(|status| self.error(&status, request_id))
    }

    pub(crate) fn error(&self, status: &Status, request_id: Option<&str>) -> Error {
        Error::from_status(status, self.service, &self.url, request_id)
    }
}

impl Tls {
    async fn connect(self) -> io::Result<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(TokioIo::new(shared::tls::connect(self.config, self.name, stream).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url_of(service: Service, url: &str) -> Result<String, Error> {
        Connection::new(service, url, Duration::from_secs(5), &TransportSecurity::default()).map(|connection| connection.url)
    }

    fn url(url: &str) -> Result<String, Error> {
        url_of(Service::Auth, url)
    }

    #[test]
    fn a_url_that_cannot_be_read_is_answered_with_one_of_its_service() {
        for (service, example) in [(Service::Auth, AUTH_URL), (Service::Inference, INFERENCE_URL)] {
            let error = url_of(service, "http://a b").unwrap_err().to_string();
            assert!(error.ends_with(&format!("it should look like {example}")), "{error}");
        }
    }

    #[test]
    fn a_url_names_a_host_and_nothing_that_would_be_ignored() {
        assert_eq!(url("http://127.0.0.1:50051").unwrap(), "http://127.0.0.1:50051");
        assert_eq!(url("localhost:50051").unwrap(), "http://localhost:50051");
        assert_eq!(url("http://[::1]:50051/").unwrap(), "http://[::1]:50051/");
        assert_eq!(url("https://tollgate.example").unwrap(), "https://tollgate.example");
        assert_eq!(url("https://[::1]:50051").unwrap(), "https://[::1]:50051");
        for wrong in
            ["", "http://", "ftp://host", "https://", "https://a_b..c", "http://host/prefix", "http://me:canary@host", "http://a b"]
        {
            let error = url(wrong).unwrap_err().to_string();
            assert!(error.contains("auth-service") && !error.contains("canary"), "{wrong}: {error}");
        }
    }
}

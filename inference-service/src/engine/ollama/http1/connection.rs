//! Connections, in the clear or with TLS, and the making of them.

use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig};

use super::HttpError;
use crate::tcp::{self, bare_host};

/// The most that one read takes: some 250 tokens.
const READ_BYTES: usize = 32 << 10;

/// Where requests go.
#[derive(Debug, Clone)]
pub(in crate::engine::ollama) struct Origin {
    tls: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    /// For the header `host`: without a port that is the scheme's own.
    pub(super) authority: String,
    /// What stands before each endpoint; ends without a slash.
    pub(super) path: String,
}

impl Origin {
    /// Parses `http` and `https` URLs without a query.
    pub(in crate::engine::ollama) fn parse(base: &str) -> Result<Self, String> {
        let uri: Uri = base.parse().map_err(|error| format!("it is not an address: {error}"))?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err("it is not an address: the scheme must be http or https".to_owned()),
        };
        let host = uri.host().ok_or("it is not an address: it has no host")?;
        let own_port = if tls { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(own_port);
        let authority = if port == own_port { host.to_owned() } else { format!("{host}:{port}") };
        let bare = bare_host(&uri).unwrap_or(host).to_owned();
        Ok(Self { tls, host: bare, port, authority, path: uri.path().trim_end_matches('/').to_owned() })
    }
}

/// Makes connections to one origin.
pub(super) struct Connector {
    origin: Origin,
    timeout: Duration,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Connector {
    pub(super) fn new(origin: Origin, timeout: Duration) -> Result<Self, HttpError> {
        let tls = if origin.tls { Some(tls(&origin).map_err(|error| HttpError::Connect(io::Error::other(error)))?) } else { None };
        Ok(Self { origin, timeout, tls })
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) async fn connect(&self) -> io::Result<Connection> {
        let connecting = async {
            let stream = tcp::connect(&self.origin.host, self.origin.port, self.timeout).await?;
            Ok(match &self.tls {
                None => Socket::Plain(stream),
                Some((connector, name)) => Socket::Tls(Box::new(connector.connect(name.clone(), stream).await?)),
            })
        };
        let too_late = || io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {:?}", self.timeout));
        let socket = tokio::time::timeout(self.timeout, connecting).await.unwrap_or_else(|_| Err(too_late()))?;
        Ok(Connection { socket, confirms: false })
    }
}

/// TLS with the certificates that the operating system trusts.
fn tls(origin: &Origin) -> Result<(TlsConnector, ServerName<'static>), Box<dyn std::error::Error + Send + Sync>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_platform_verifier()?.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = match origin.host.parse::<IpAddr>() {
        Ok(address) => ServerName::from(address),
        Err(_) => ServerName::try_from(origin.host.clone())?,
    };
    Ok((TlsConnector::from(Arc::new(config)), name))
}

/// A connection. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    /// Whether the other side has said `100 Continue` to a request with a body. Then it does so to each, at once.
    pub(super) confirms: bool,
}

#[derive(Debug)]
enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    /// Reads once, and shows what that brought; nothing: the other side has ended. The memory read into is this call's alone: a connection
    /// that waits keeps none.
    pub(super) fn poll_read_with(&mut self, context: &mut Context<'_>, show: impl FnOnce(&[u8])) -> Poll<io::Result<()>> {
        let mut memory = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut memory);
        std::task::ready!(Pin::new(self).poll_read(context, &mut buffer))?;
        show(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Socket::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().socket {
            Socket::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Socket::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Plain(stream) => Pin::new(stream).poll_flush(context),
            Socket::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Socket::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_as_the_request_needs_it() {
        let parts = |base: &str| {
            let Origin { tls, host, port, authority, path } = Origin::parse(base).unwrap();
            (tls, host, port, authority, path)
        };
        let expected =
            |tls, host: &str, port, authority: &str, path: &str| (tls, host.to_owned(), port, authority.to_owned(), path.to_owned());
        assert_eq!(parts("http://127.0.0.1:11434"), expected(false, "127.0.0.1", 11434, "127.0.0.1:11434", ""));
        assert_eq!(parts("http://[::1]:80"), expected(false, "::1", 80, "[::1]", ""));
        assert_eq!(parts("https://models.example:443/ollama"), expected(true, "models.example", 443, "models.example", "/ollama"));
        for wrong in ["", "ftp://x", "http://", "//x", "x"] {
            assert!(Origin::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_connection_with_tls_needs_the_systems_certificates_and_nothing_else() {
        for base in ["https://models.example", "https://127.0.0.1:1"] {
            assert!(Connector::new(Origin::parse(base).unwrap(), Duration::from_secs(1)).unwrap().tls.is_some());
        }
    }
}

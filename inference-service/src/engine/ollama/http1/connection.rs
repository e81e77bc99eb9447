//! Connections, in the clear or with TLS, and what makes them.

use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig};

use super::HttpError;
use super::origin::Origin;
use crate::tcp;

/// The most that one read takes: some 250 tokens. It is on the stack, and for one read alone.
const READ_BYTES: usize = 32 << 10;

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
        Ok(Connection { socket, sends_continue: false })
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
    /// The server has answered `100 Continue` to a request with a body. It then does so to each, at once.
    pub(super) sends_continue: bool,
}

#[derive(Debug)]
enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    /// Reads once, and shows what that brought; no bytes: the server has closed the connection. The buffer is this call's alone, so that a
    /// silent connection keeps none.
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
    fn a_connection_with_tls_needs_the_systems_certificates_and_nothing_else() {
        for base in ["https://models.example", "https://127.0.0.1:1"] {
            assert!(Connector::new(Origin::parse(base).unwrap(), Duration::from_secs(1)).unwrap().tls.is_some());
        }
    }
}

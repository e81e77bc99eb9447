//! The server's side: its certificate, and the authorities of its clients' certificates.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{Error, ServerConfig};
use tokio_rustls::server::TlsStream;

use super::client::unfit_key;
use super::peer::{ClientNames, PeerCertificate};
use super::pem::{authorities, certificates, private_key};
use super::provider;
use super::reloaded::{Made, Reloaded, Source};
use super::validity::Validity;
use crate::env::{Reader, Variable};

const CERTIFICATE: &str = "TOLLGATE_TLS_CERTIFICATE";
const KEY: &str = "TOLLGATE_TLS_KEY";
const CLIENT_CA: &str = "TOLLGATE_TLS_CLIENT_CA";

/// The variables that [`ServerTls::read`] reads.
pub const TLS_VARIABLES: [Variable; 3] = [
    Variable {
        name: CERTIFICATE,
        default: "unset: no TLS",
        meaning: "The file of this service's certificate in PEM, and behind it those that lead to its authority. \
                  Read anew when it changes.",
        bad: "/dev/null/certificate",
    },
    Variable { name: KEY, default: "unset: no TLS", meaning: "The file of its private key in PEM.", bad: "/dev/null/key" },
    Variable {
        name: CLIENT_CA,
        default: "unset: none is asked for",
        meaning: "The file of the authorities whose certificates clients may show. A client needs none; one that is shown must be good.",
        bad: "/dev/null/authorities",
    },
];

/// What may be read in a handshake: a client's first message, and a chain of certificates.
const MOST_HANDSHAKE_BYTES: usize = 32 << 10;

/// How a service speaks TLS. Clones are one, and follow the files.
#[derive(Debug, Clone)]
pub struct ServerTls {
    files: Arc<Reloaded<Loaded>>,
    names: Arc<ClientNames>,
}

/// What was made of the files.
pub(crate) struct Loaded {
    config: Arc<ServerConfig>,
    /// Verifies clients' certificates.
    pub(super) clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("asks_for_certificates", &self.clients.is_some()).finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Reads [`TLS_VARIABLES`], and the files that they name; `None`: no TLS, or a mistake.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let source = |variable: &'static str, is_secret| {
            reader.string(variable).map(|path| Source { variable, path: PathBuf::from(path), is_secret })
        };
        let (certificate, key, client_ca) = (source(CERTIFICATE, false), source(KEY, true), source(CLIENT_CA, false));
        match (certificate, key) {
            (Some(certificate), Some(key)) => {
                let sources = [certificate, key].into_iter().chain(client_ca).collect();
                let opened = Reloaded::open(sources, load).map_err(|unfit| reader.mistakes_of(unfit));
                opened.ok().map(|files| Self { files: Arc::new(files), names: Arc::default() })
            }
            (Some(_), None) => {
                reader.mistake(CERTIFICATE, format_args!("is set, and {KEY} is not: TLS needs both"));
                None
            }
            (None, Some(_)) => {
                reader.mistake(KEY, format_args!("is set, and {CERTIFICATE} is not: TLS needs both"));
                None
            }
            (None, None) => {
                if client_ca.is_some() {
                    reader
                        .mistake(CLIENT_CA, format_args!("is set, and {CERTIFICATE} and {KEY} are not: only TLS has client certificates"));
                }
                None
            }
        }
    }

    /// Whether the variables ask for TLS, rightly or wrongly.
    #[must_use]
    pub fn is_asked_for(reader: &Reader<'_>) -> bool {
        [CERTIFICATE, KEY].iter().any(|name| reader.string(name).is_some())
    }

    /// Holders of certificates with these names may call as services.
    #[must_use]
    pub fn with_client_names(self, names: ClientNames) -> Self {
        Self { names: Arc::new(names), ..self }
    }

    /// Whether clients are asked for certificates.
    #[must_use]
    pub fn asks_for_certificates(&self) -> bool {
        self.current().value.clients.is_some()
    }

    /// Follows the files, for ever.
    pub async fn watch(&self) {
        self.files.watch().await;
    }

    pub(super) fn current(&self) -> Arc<Made<Loaded>> {
        self.files.current()
    }

    pub(super) fn changes(&self) -> watch::Receiver<Arc<Made<Loaded>>> {
        self.files.changes()
    }

    pub(super) fn names(&self) -> &ClientNames {
        &self.names
    }

    /// Speaks TLS on a connection of which this was read already. Answers what its client showed of itself as well.
    pub(crate) async fn accept(&self, stream: TcpStream, read: Vec<u8>) -> io::Result<(Box<ServerStream>, Option<PeerCertificate>)> {
        let made = self.current();
        let stream = HandshakeBytes { stream, before: read, room: Some(MOST_HANDSHAKE_BYTES) };
        let mut stream = Box::new(TlsAcceptor::from(Arc::clone(&made.value.config)).accept(stream).await?);
        let (inner, session) = stream.get_mut();
        inner.room = None;
        let chain = session.peer_certificates().map(|chain| chain.iter().map(|certificate| certificate.clone().into_owned()).collect());
        let peer = chain.map(|chain| PeerCertificate::new(chain, self.clone(), made));
        Ok((stream, peer))
    }
}

/// Makes a configuration of certificate, key, and perhaps authorities.
fn load(contents: &[&[u8]], _: &[Source]) -> Result<Made<Loaded>, (usize, String)> {
    let (certificate, key) = (|why| (0, why), |why| (1, why));
    let chain = certificates(contents[0]).map_err(certificate)?;
    let validity = Validity::of(&chain[0]).map_err(certificate)?;
    validity.check().map_err(certificate)?;
    let private_key = private_key(contents[1]).map_err(key)?;
    let unusable = |error: Error| (0, format!("can't be used ({error})"));
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(unusable)?;
    let clients = contents.get(2).map(|authorities| verifier(authorities)).transpose().map_err(|why| (2, why))?;
    let builder = match &clients {
        Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, private_key).map_err(|error| match error {
        Error::InvalidCertificate(_) => unusable(error),
        error => key(unfit_key(&error)),
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // What a session could be resumed by would outlive the authorities that its client was verified by.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Made { value: Loaded { config: Arc::new(config), clients }, validity: Some(validity) })
}

/// A client may show a certificate, and one that it shows must be of these authorities.
fn verifier(pem: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let roots = Arc::new(authorities(pem)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).allow_unauthenticated().build();
    verifier.map(|verifier| verifier as _).map_err(|error| format!("can't be used ({error})"))
}

/// A connection that speaks TLS.
pub(crate) type ServerStream = TlsStream<HandshakeBytes>;

/// A connection of which some was read before TLS began. Until its handshake is over, only so much is read of it.
#[derive(Debug)]
pub(crate) struct HandshakeBytes {
    stream: TcpStream,
    before: Vec<u8>,
    /// What may still be read; `None`: the handshake is over.
    room: Option<usize>,
}

impl HandshakeBytes {
    /// What is below.
    pub(crate) fn connection(&self) -> &TcpStream {
        &self.stream
    }

    fn count(&mut self, bytes: usize) -> io::Result<()> {
        let Some(room) = &mut self.room else { return Ok(()) };
        match room.checked_sub(bytes) {
            Some(left) => {
                *room = left;
                Ok(())
            }
            None => Err(io::Error::new(io::ErrorKind::InvalidData, format!("a handshake of more than {MOST_HANDSHAKE_BYTES} bytes"))),
        }
    }
}

impl AsyncRead for HandshakeBytes {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.before.is_empty() {
            let length = this.before.len().min(buffer.remaining());
            buffer.put_slice(&this.before[..length]);
            this.before.drain(..length);
            if this.before.is_empty() {
                // What it took is given back.
                this.before = Vec::new();
            }
            return Poll::Ready(this.count(length));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        Poll::Ready(this.count(buffer.filled().len() - before))
    }
}

impl AsyncWrite for HandshakeBytes {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

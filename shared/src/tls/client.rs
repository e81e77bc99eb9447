//! The caller's side: whom it trusts, and what it shows of itself.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error, InvalidMessage};
#[cfg(feature = "server")]
use tokio_rustls::rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
};

use super::pem::{authorities, certificates, private_key};
use super::provider;
use super::validity::Validity;

/// A certificate with what signed it, and its key, both in PEM.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// The certificate, and behind it those that lead to its authority.
    pub certificate: &'a [u8],
    /// Its private key.
    pub key: &'a [u8],
}

impl Identity<'_> {
    /// When the certificate counts, which must be now. The error is the end of a sentence about its file.
    pub fn validity(&self) -> Result<Validity, String> {
        let validity = Validity::of_pem(self.certificate)?;
        validity.check().map(|()| validity)
    }
}

impl std::fmt::Debug for Identity<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// What a caller's TLS can't be made of. Each is the end of a sentence about the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientTlsError {
    /// About the authorities.
    #[error("{0}")]
    Authorities(String),
    /// About the caller's own certificate.
    #[error("{0}")]
    Certificate(String),
    /// About its key.
    #[error("{0}")]
    Key(String),
}

/// How a caller speaks TLS. `ca`: the authorities that it trusts, in PEM; `None`: those of the operating system. `protocols`: what it
/// speaks inside, as ALPN writes it.
pub fn client_config(ca: Option<&[u8]>, identity: Option<Identity<'_>>, protocols: &[&[u8]]) -> Result<ClientConfig, ClientTlsError> {
    let unusable = |error: Error| ClientTlsError::Authorities(format!("can't be used ({error})"));
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(unusable)?;
    let builder = match ca {
        Some(pem) => builder.with_root_certificates(authorities(pem).map_err(ClientTlsError::Authorities)?),
        None => builder.with_platform_verifier().map_err(unusable)?,
    };
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { certificate, key }) => {
            let chain = certificates(certificate).map_err(ClientTlsError::Certificate)?;
            let key = private_key(key).map_err(ClientTlsError::Key)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| ClientTlsError::Key(unfit_key(&error)))?
        }
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // Each connection verifies the other side anew.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Speaks TLS with whoever is there. For the health check of this host alone, which sends nothing secret: a service whose certificate is
/// of an authority that isn't known here, or has ended, lives all the same.
#[cfg(feature = "server")]
pub(crate) fn unverified_config() -> Result<ClientConfig, Error> {
    let verifier = Arc::new(Unverified(provider()));
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

#[cfg(feature = "server")]
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

#[cfg(feature = "server")]
impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Why a key can't be used with its certificate.
pub(super) fn unfit_key(error: &Error) -> String {
    match error {
        Error::InconsistentKeys(_) => "is not the key of that certificate".to_owned(),
        _ => format!("can't be used with that certificate ({error})"),
    }
}

/// The name that a server's certificate must have: a DNS name or an IP address. `None`: it is neither.
#[must_use]
pub fn server_name(host: &str) -> Option<ServerName<'static>> {
    match host.parse::<IpAddr>() {
        Ok(address) => Some(ServerName::from(address)),
        Err(_) => ServerName::try_from(host.to_owned()).ok(),
    }
}

/// Speaks TLS on a connection. The error says what is wrong with whom.
pub async fn connect(config: Arc<ClientConfig>, name: ServerName<'static>, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    TlsConnector::from(config).connect(name, stream).await.map_err(explain)
}

/// The same error, in words that say what to do where they are known.
fn explain(error: io::Error) -> io::Error {
    let kind = error.kind();
    let Some(cause) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else { return error };
    let said = match cause {
        // One authority may have the name of another.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "the server's certificate is of an authority that isn't trusted here: name the right CA file".to_owned()
        }
        Error::InvalidCertificate(why) => format!("the server's certificate is refused: {why}"),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the server speaks plaintext there, and no TLS: use http://".to_owned()
        }
        Error::AlertReceived(alert) => format!("the server refused TLS with the alert {alert:?}"),
        other => format!("TLS failed: {other}"),
    };
    io::Error::new(kind, said)
}

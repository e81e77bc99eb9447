//! Certificates and keys in PEM.

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The certificates of a file, at least one. The error is the end of a sentence about the file.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|error| format!("holds a certificate that can't be read ({error})"))?;
    if certificates.is_empty() { Err("holds no certificate in PEM (-----BEGIN CERTIFICATE-----)".to_owned()) } else { Ok(certificates) }
}

/// The one private key of a file. The error never repeats what the file holds.
pub(super) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    if contains(pem, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return Err("holds an encrypted key: decrypt it, with `openssl pkey`, and let nobody but its owner read the file".to_owned());
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| "holds no private key in PEM (PKCS #8, PKCS #1 or SEC 1)".to_owned())
}

/// The certificate authorities of a file.
pub(super) fn authorities(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| format!("holds what can't be a certificate authority ({error})"))?;
    }
    Ok(roots)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

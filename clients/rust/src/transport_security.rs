//! Whose certificates a client trusts, and what it shows of itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shared::tls::{ClientTlsError, Identity, client_config};
use tokio_rustls::rustls::ClientConfig;

use crate::error::Error;

/// Files in PEM, which are read when the client is built.
#[derive(Debug, Clone, Default)]
pub(crate) struct TransportSecurity {
    /// The authorities of the servers' certificates; `None`: those of the operating system.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

impl TransportSecurity {
    /// Refuses half of a client certificate, also where no URL asks for TLS.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.certificate.is_some() == self.key.is_some() {
            return Ok(());
        }
        Err(Error::Configuration("a client certificate needs its key, and a key its certificate".to_owned()))
    }

    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        let ca = self.ca.as_deref().map(read).transpose()?;
        let identity = self.certificate.as_deref().zip(self.key.as_deref());
        let identity = identity.map(|(certificate, key)| Ok::<_, Error>((read(certificate)?, read(key)?))).transpose()?;
        let identity = identity.as_ref().map(|(certificate, key)| Identity { certificate, key });
        let config = client_config(ca.as_deref(), identity, &[b"h2"]).map_err(|error| {
            let file = match error {
                ClientTlsError::Authorities(_) => &self.ca,
                ClientTlsError::Certificate(_) => &self.certificate,
                ClientTlsError::Key(_) => &self.key,
            };
            match file {
                Some(file) => Error::Configuration(format!("{} {error}", file.display())),
                None => Error::Configuration(format!("what the operating system trusts {error}")),
            }
        })?;
        Ok(Arc::new(config))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Configuration(format!("{} can't be read: {error}", path.display())))
}

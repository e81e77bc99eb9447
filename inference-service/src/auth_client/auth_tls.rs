//! How auth-service is spoken to over TLS: whom this service trusts, and what it shows of itself.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use shared::env::{Reader, Variable};
use shared::tls::{ClientTlsError, Identity, Made, Reloaded, Source, Sources, client_config, server_name};
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

const CA: &str = "TOLLGATE_AUTH_CA";
const CERTIFICATE: &str = "TOLLGATE_AUTH_CLIENT_CERTIFICATE";
const KEY: &str = "TOLLGATE_AUTH_CLIENT_KEY";
const SERVER_NAME: &str = "TOLLGATE_AUTH_SERVER_NAME";

/// The variables that [`AuthTls::read`] reads.
pub const AUTH_TLS_VARIABLES: [Variable; 4] = [
    Variable {
        name: CA,
        default: "unset: those of the operating system",
        meaning: "file of the authorities, in PEM, of which auth-service's certificate must be",
        bad: "/dev/null/authorities",
    },
    Variable {
        name: CERTIFICATE,
        default: "unset",
        meaning: "file of the certificate, in PEM, that this service shows auth-service; then it needs no service credential",
        bad: "/dev/null/certificate",
    },
    Variable { name: KEY, default: "unset", meaning: "file of that certificate's private key, in PEM", bad: "/dev/null/key" },
    Variable {
        name: SERVER_NAME,
        default: "unset: the host of the URL",
        meaning: "name or IP address that auth-service's certificate must have",
        bad: "not a name",
    },
];

/// What connections to auth-service use for TLS. Clones are one, and follow the files.
#[derive(Clone)]
pub struct AuthTls {
    trust: Arc<Trust>,
    /// In place of the URL's host.
    server_name: Option<ServerName<'static>>,
    shows_certificate: bool,
}

enum Trust {
    System(Arc<ClientConfig>),
    Files(Reloaded<Arc<ClientConfig>>),
}

impl fmt::Debug for AuthTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server_name, shows_certificate, .. } = self;
        f.debug_struct("AuthTls").field("server_name", server_name).field("shows_certificate", shows_certificate).finish_non_exhaustive()
    }
}

impl AuthTls {
    /// Reads [`AUTH_TLS_VARIABLES`], and the files that they name; `None`: no URL asks for TLS, or a mistake.
    pub fn read(reader: &mut Reader<'_>, has_tls_url: bool) -> Option<Self> {
        let name = reader
            .parse(SERVER_NAME, |name| server_name(name).ok_or_else(|| format!("must be a DNS name or an IP address, and is {name:?}")));
        let sources = read_sources(reader)?;
        if !has_tls_url {
            let named = sources.iter().map(|source| source.variable);
            for variable in named.chain(name.is_some().then_some(SERVER_NAME)) {
                reader.mistake(variable, "is set, and no URL of TOLLGATE_AUTH_URL begins with https://");
            }
            return None;
        }
        let shows_certificate = sources.iter().any(|source| source.variable == KEY);
        let trust = if sources.is_empty() {
            let config = client_config(None, None, &[b"h2"]);
            Trust::System(Arc::new(config.map_err(|error| reader.mistake(CA, format_args!("is unset, and the system's {error}"))).ok()?))
        } else {
            let opened = Reloaded::open(sources, make);
            Trust::Files(opened.map_err(|unfit| reader.mistakes_of(unfit)).ok()?)
        };
        Some(Self { trust: Arc::new(trust), server_name: name, shows_certificate })
    }

    /// Whether a certificate stands for the service credential.
    #[must_use]
    pub fn shows_certificate(&self) -> bool {
        self.shows_certificate
    }

    /// Follows the files, for ever.
    pub async fn watch(&self) {
        match &*self.trust {
            Trust::System(_) => std::future::pending().await,
            Trust::Files(files) => files.watch().await,
        }
    }

    /// What is in force.
    pub(super) fn config(&self) -> Arc<ClientConfig> {
        match &*self.trust {
            Trust::System(config) => Arc::clone(config),
            Trust::Files(files) => Arc::clone(&files.current().value),
        }
    }

    /// What a new connection to a host of this name uses.
    pub(super) fn for_connection(&self, host: &ServerName<'static>) -> (Arc<ClientConfig>, ServerName<'static>) {
        (self.config(), self.server_name.clone().unwrap_or_else(|| host.clone()))
    }
}

/// The files that are named; `None`: a certificate without its key, or the other way around.
fn read_sources(reader: &mut Reader<'_>) -> Option<Sources> {
    let source =
        |variable: &'static str, is_secret| reader.string(variable).map(|path| Source { variable, path: PathBuf::from(path), is_secret });
    let (ca, certificate, key) = (source(CA, false), source(CERTIFICATE, false), source(KEY, true));
    let lone = match (&certificate, &key) {
        (Some(_), None) => Some((CERTIFICATE, KEY)),
        (None, Some(_)) => Some((KEY, CERTIFICATE)),
        _ => None,
    };
    if let Some((set, unset)) = lone {
        reader.mistake(set, format_args!("is set, and {unset} is not: a client certificate needs both"));
        return None;
    }
    Some([ca, certificate, key].into_iter().flatten().collect())
}

fn make(contents: &[&[u8]], sources: &[Source]) -> Result<Made<Arc<ClientConfig>>, (usize, String)> {
    let place = |variable: &str| sources.iter().position(|source| source.variable == variable);
    let of = |variable: &str| place(variable).map(|place| contents[place]);
    let identity = of(CERTIFICATE).zip(of(KEY)).map(|(certificate, key)| Identity { certificate, key });
    let validity = identity.map(|identity| identity.validity()).transpose().map_err(|why| (place(CERTIFICATE).unwrap_or(0), why))?;
    let config = client_config(of(CA), identity, &[b"h2"]).map_err(|error| {
        let variable = match error {
            ClientTlsError::Authorities(_) => CA,
            ClientTlsError::Certificate(_) => CERTIFICATE,
            ClientTlsError::Key(_) => KEY,
        };
        (place(variable).unwrap_or(0), error.to_string())
    })?;
    Ok(Made { value: Arc::new(config), validity })
}

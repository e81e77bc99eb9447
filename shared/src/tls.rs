//! TLS: what certificates and keys in files become, for those who call and for those who serve.
//!
//! TLS 1.2 and 1.3, by rustls on AWS-LC. No session is ever resumed, so that every handshake verifies certificates anew, and nothing is
//! sent before a handshake is over.

mod client;
#[cfg(feature = "server")]
mod handshakes;
#[cfg(feature = "server")]
mod peer;
mod pem;
#[cfg(feature = "server")]
mod reloaded;
#[cfg(feature = "server")]
mod server;
mod validity;

use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};

#[cfg(feature = "server")]
pub(crate) use self::client::unverified_config;
pub use self::client::{ClientTlsError, Identity, client_config, connect, server_name};
#[cfg(feature = "server")]
pub(crate) use self::handshakes::HandshakePlaces;
#[cfg(feature = "server")]
pub(crate) use self::peer::PeerCertificate;
#[cfg(feature = "server")]
pub use self::peer::{ClientCertificate, ClientNames};
#[cfg(feature = "server")]
pub use self::reloaded::{Made, Make, Reloaded, Source, Sources, Unfit};
#[cfg(feature = "server")]
pub(crate) use self::server::ServerStream;
#[cfg(feature = "server")]
pub use self::server::{ServerTls, TLS_VARIABLES};
pub use self::validity::{Validity, in_words};

/// The first bytes of what a TLS client says: a handshake, of TLS whatever its version.
pub const HANDSHAKE_RECORD: [u8; 2] = [0x16, 0x03];

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

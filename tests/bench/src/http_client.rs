//! The HTTP client of the bench.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A client of HTTP/1.1 on loopback, in plaintext. It trusts no certificate: reqwest asks for TLS's settings all the same.
///
/// # Panics
/// When no client can be made.
#[must_use]
pub fn http_client() -> reqwest::Client {
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let tls = tls.with_safe_default_protocol_versions().expect("TLS 1.2 and 1.3");
    let tls = tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let client = reqwest::Client::builder().no_proxy().http1_only().tcp_nodelay(true).tls_backend_preconfigured(tls);
    client.build().expect("an HTTP client")
}

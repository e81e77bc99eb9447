//! Where requests go.

use http::Uri;
use http::uri::Scheme;

use crate::tcp::bare_host;

/// The host that requests go to, and what each of them says of it.
#[derive(Debug, Clone)]
pub(in crate::engine::ollama) struct Origin {
    pub(super) tls: bool,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
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
}

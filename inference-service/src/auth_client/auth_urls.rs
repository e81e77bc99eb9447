//! Where auth-service listens, as `TOLLGATE_AUTH_URL` says it.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::uri::Authority;

use shared::tls::server_name;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::tcp::bare_host;

/// The URLs of auth-service: at least one. Each address of each URL's name is a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthUrls(Vec<AuthUrl>);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AuthUrl {
    /// A name, or an address without the brackets that one of IPv6 has in a URL.
    pub(super) host: String,
    pub(super) port: u16,
    /// Host and port as the URL has them, for the requests.
    pub(super) authority: Authority,
    /// The name that its certificate must have, where it is spoken to over TLS.
    pub(super) tls: Option<ServerName<'static>>,
}

impl AuthUrls {
    /// Reads a comma-separated list of URLs, such as `http://10.0.0.1:50051,http://10.0.0.2:50051`.
    ///
    /// # Errors
    /// What is wrong with the first URL that can't be used.
    pub fn parse(value: &str) -> Result<Self, String> {
        value.split(',').map(|url| parse_url(url.trim())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether one of them asks for TLS.
    pub(crate) fn have_tls(&self) -> bool {
        self.0.iter().any(|url| url.tls.is_some())
    }

    /// Whether all of them do.
    pub(crate) fn are_all_tls(&self) -> bool {
        self.0.iter().all(|url| url.tls.is_some())
    }

    /// Whether one of them is called in plaintext over a network.
    pub(crate) fn have_plaintext_beyond_this_host(&self) -> bool {
        self.0.iter().any(|url| {
            let address: Option<IpAddr> = url.host.parse().ok();
            let is_here = url.host.eq_ignore_ascii_case("localhost") || address.is_some_and(|ip| ip.to_canonical().is_loopback());
            url.tls.is_none() && !is_here
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &AuthUrl> {
        self.0.iter()
    }
}

impl Default for AuthUrls {
    /// `http://127.0.0.1:50051`.
    fn default() -> Self {
        let authority = Authority::from_static("127.0.0.1:50051");
        Self(vec![AuthUrl { host: "127.0.0.1".to_owned(), port: 50051, authority, tls: None }])
    }
}

impl fmt::Display for AuthUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, url) in self.0.iter().enumerate() {
            let scheme = if url.tls.is_some() { "https" } else { "http" };
            write!(f, "{}{scheme}://{}", if index == 0 { "" } else { "," }, url.authority)?;
        }
        Ok(())
    }
}

/// What gRPC's own libraries put before a target: a list of addresses behind it would be none for an HTTP client.
const TARGET_SCHEMES: [&str; 6] = ["ipv4", "ipv6", "dns", "unix", "xds", "passthrough"];

fn parse_url(url: &str) -> Result<AuthUrl, String> {
    if url.split_once(':').is_some_and(|(scheme, _)| TARGET_SCHEMES.contains(&scheme)) {
        return Err(format!(
            "has the gRPC target {url:?}: write a URL for each address, as in http://10.0.0.1:50051,http://10.0.0.2:50051"
        ));
    }
    let expected = || format!("must be a URL such as http://127.0.0.1:50051, or several with commas between, and has {url:?}");
    let uri: Uri = url.parse().map_err(|_| expected())?;
    match (uri.scheme_str(), uri.authority(), bare_host(&uri)) {
        (Some(scheme @ ("http" | "https")), Some(authority), Some(host)) if !host.is_empty() => {
            let (tls, own_port) = match scheme {
                "https" => (Some(server_name(host).ok_or_else(expected)?), 443),
                _ => (None, 80),
            };
            Ok(AuthUrl { host: host.to_owned(), port: uri.port_u16().unwrap_or(own_port), authority: authority.clone(), tls })
        }
        _ => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_urls_is_taken_and_the_first_wrong_one_is_named() {
        let list = AuthUrls::parse("http://auth-a:50051, http://[::1]:50052,http://10.0.0.1").unwrap();
        let places: Vec<_> = list.iter().map(|url| (url.host.as_str(), url.port, url.authority.as_str())).collect();
        assert_eq!(places, [("auth-a", 50051, "auth-a:50051"), ("::1", 50052, "[::1]:50052"), ("10.0.0.1", 80, "10.0.0.1")]);
        assert_eq!(list.to_string(), "http://auth-a:50051,http://[::1]:50052,http://10.0.0.1");
        assert_eq!(AuthUrls::parse(&list.to_string()).unwrap(), list);
        assert_eq!(AuthUrls::default(), AuthUrls::parse("http://127.0.0.1:50051").unwrap());
        assert!(list.have_plaintext_beyond_this_host() && !AuthUrls::default().have_plaintext_beyond_this_host());
        let encrypted = AuthUrls::parse("https://10.0.0.1,http://[::1]:1,http://localhost:1").unwrap();
        assert!(!encrypted.have_plaintext_beyond_this_host());
        let list = AuthUrls::parse("http://a:1,https://auth-b:2,https://[::1],https://10.0.0.1").unwrap();
        let places: Vec<_> = list.iter().map(|url| (url.port, url.tls.as_ref().map(|name| name.to_str().into_owned()))).collect();
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(places, [(1, None), (2, name("auth-b")), (443, name("::1")), (443, name("10.0.0.1"))]);
        assert_eq!(AuthUrls::parse(&list.to_string()).unwrap(), list);
        for (wrong, named) in [
            ("auth service", "\"auth service\""),
            ("http://a:1,auth service", "\"auth service\""),
            ("http://a:1,b:2", "\"b:2\""),
            ("http://a:1,", "\"\""),
            ("http://a:1,,http://b:2", "\"\""),
            ("/path", "\"/path\""),
            ("ftp://a", "\"ftp://a\""),
            ("ipv4:10.0.0.1:50051,10.0.0.2:50051", "the gRPC target \"ipv4:10.0.0.1:50051\": write a URL for each address"),
            ("dns:///auth-service:50051", "the gRPC target \"dns:///auth-service:50051\""),
            ("10.0.0.1:50051,10.0.0.2:50051", "\"10.0.0.1:50051\""),
            ("https://", "\"https://\""),
        ] {
            let mistake = AuthUrls::parse(wrong).unwrap_err();
            assert!(mistake.contains(named), "{wrong}: {mistake}");
        }
    }
}

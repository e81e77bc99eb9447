//! Where people reach this service, as an operator says: behind a proxy it can't know by itself.

use std::fmt;

use reqwest::Url;

use crate::foreign_issuer::speaks_tls_or_stays_here;

/// The variable that says it.
pub const PUBLIC_URL_VARIABLE: &str = "TOLLGATE_AUTH_PUBLIC_URL";

/// `https://…`, or `http://…` on this host, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Parses a URL as an operator writes it.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).ok().filter(|url| {
            let is_bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
            // The page is at `/`, and nowhere else.
            is_bare && url.path() == "/" && speaks_tls_or_stays_here(url)
        });
        match url {
            Some(url) => Ok(Self(url.as_str().trim_end_matches('/').to_owned())),
            None => {
                Err(format!("must be a URL such as https://tollgate.example.com (http only on this host), without a path, and is {text:?}"))
            }
        }
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_of_https_or_of_this_host_and_has_no_path() {
        for (given, kept) in [
            ("https://Tollgate.example.com", "https://tollgate.example.com"),
            ("https://a.b:8443/", "https://a.b:8443"),
            ("http://127.0.0.1:50051", "http://127.0.0.1:50051"),
            ("http://[::1]:1", "http://[::1]:1"),
        ] {
            assert_eq!(PublicUrl::parse(given).unwrap().to_string(), kept);
        }
        for wrong in ["", "a.b", "http://a.b", "https://a.b/x", "https://a.b?x", "https://a.b#x", "https://u@a.b", "ftp://a.b"] {
            assert!(PublicUrl::parse(wrong).is_err(), "{wrong}");
        }
    }
}

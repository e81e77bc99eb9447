//! Where people reach inference-service.

use std::fmt;

use http::Uri;
use http::uri::Authority;
use shared::default_address::INFERENCE_LISTEN;

/// `http://…` or `https://…`, without a slash at its end, and the origin of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InferenceUrl {
    url: String,
    origin: String,
}

impl InferenceUrl {
    /// Parses a URL as an operator writes it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("must be a URL such as https://tollgate.example.com:50052, and is {text:?}");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (Some(scheme @ ("http" | "https")), Some(authority), None) = (uri.scheme_str(), uri.authority(), uri.query()) else {
            return Err(wrong());
        };
        let is_plain = !text.contains(['#', '?', '@']) && text.starts_with(scheme);
        if !is_plain || !is_name_or_ipv4(authority.host()) {
            return Err(format!("{}: a host's name or IPv4 address, since browsers know no policy for another", wrong()));
        }
        let origin = format!("{scheme}://{}", authority.as_str().to_ascii_lowercase());
        let url = format!("{origin}{}", uri.path().trim_end_matches('/'));
        Ok(Self { url, origin })
    }

    /// On the host that was asked, at the default port. `None`: that is no name that a policy could have.
    pub(super) fn beside(asked: &Authority, tls: bool) -> Option<Self> {
        let host = asked.host().to_ascii_lowercase();
        if !is_name_or_ipv4(&host) {
            return None;
        }
        let origin = format!("{}://{host}:{}", if tls { "https" } else { "http" }, INFERENCE_LISTEN.port());
        Some(Self { url: origin.clone(), origin })
    }

    /// What a browser calls the origin of it.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }
}

impl fmt::Display for InferenceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// Whether a content security policy can name a host. It knows no IPv6 addresses, and what is in a host's place must not end a source.
fn is_name_or_ipv4(host: &str) -> bool {
    (1..=253).contains(&host.len()) && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_kept_without_its_last_slash_and_its_origin_is_what_browsers_call_it() {
        for (text, url, origin) in [
            ("http://127.0.0.1:50052", "http://127.0.0.1:50052", "http://127.0.0.1:50052"),
            ("https://API.Example.com/", "https://api.example.com", "https://api.example.com"),
            ("https://example.com:8443/models/", "https://example.com:8443/models", "https://example.com:8443"),
        ] {
            let parsed = InferenceUrl::parse(text).unwrap();
            assert_eq!((parsed.to_string().as_str(), parsed.origin()), (url, origin));
        }
    }

    #[test]
    fn what_is_no_url_of_a_host_that_a_policy_can_name_is_refused() {
        let wrong = ["", "x", "localhost:50052", "ftp://a", "http://", "http://a?b", "http://a/#b", "http://u:p@a", "http://[::1]:1"];
        for wrong in wrong.into_iter().chain(["http://a;script-src", "http://a'b", "http://a b", "HTTP://a", "//a"]) {
            assert!(InferenceUrl::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn without_a_url_it_is_the_host_that_was_asked_if_a_policy_can_name_it() {
        let beside = |asked: &str, tls| InferenceUrl::beside(&asked.parse().unwrap(), tls).map(|url| url.to_string());
        assert_eq!(beside("LocalHost:50051", false).unwrap(), "http://localhost:50052");
        assert_eq!(beside("tollgate.example.com", true).unwrap(), "https://tollgate.example.com:50052");
        for asked in ["[::1]:50051", "a;b", "a,b", "a'b", "a*b", "a$b"] {
            assert_eq!(beside(asked, false), None, "{asked}");
        }
    }
}

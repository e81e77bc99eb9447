//! Which host a call was sent to, as it says itself: for addresses in its answer, where nothing else is configured.

use http::header::HOST;
use http::uri::Authority;
use http::{Extensions, HeaderMap, Uri};

/// The host and port that a call says it was sent to. It is in the extensions of requests that anybody may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedHost {
    /// Host and port.
    pub authority: Authority,
    /// Whether the call says that it came over TLS. One that a proxy passed on may not know.
    pub is_https: bool,
}

impl AskedHost {
    /// Of a request; `None` when it doesn't say, or says it twice. HTTP/2 says it in the URI.
    pub(crate) fn read(uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        let named = || {
            let mut values = headers.get_all(HOST).iter();
            let only = values.next().filter(|_| values.next().is_none())?;
            only.to_str().ok()?.parse::<Authority>().ok()
        };
        let authority = uri.authority().cloned().or_else(named)?;
        let is_https = uri.scheme_str() == Some("https");
        (!authority.as_str().contains('@')).then_some(Self { authority, is_https })
    }

    /// Of a request that was let in.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_taken_from_the_uri_or_from_the_one_header_and_never_with_a_user() {
        let read = |uri: &str, hosts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            hosts.iter().for_each(|host| {
                headers.append(HOST, http::HeaderValue::from_static(host));
            });
            AskedHost::read(&uri.parse().unwrap(), &headers).map(|asked| (asked.authority.to_string(), asked.is_https))
        };
        assert_eq!(read("/x", &["a:1"]), Some(("a:1".to_owned(), false)));
        assert_eq!(read("https://b/x", &["a:1"]), Some(("b".to_owned(), true)));
        for none in [&[][..], &["a", "a"], &["u@a"], &["a b"]] {
            assert_eq!(read("/x", none), None, "{none:?}");
        }
    }
}

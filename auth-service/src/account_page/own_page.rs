//! Whether a request is the account page's own. A browser says so in headers that no page can set; a cookie alone says nothing, since it is
//! sent whoever made the browser ask.

use http::header::{CONTENT_TYPE, HeaderName, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Uri};
use shared::ErrorReason;
use shared::error::CallError;
use tonic::Code;

use super::headers::{asked, only};

/// What a browser says of who asks: `same-origin`, `same-site`, `cross-site`, or `none`.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a page of another origin is refused.
pub(super) const CROSS_ORIGIN: &str = "a page of another origin sent the request: these paths are for the account page alone";

/// A request that a page of this origin sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnPage {
    /// Whether the browser spoke TLS: with the service itself, or with a proxy in front, which the browser says by its origin. What a
    /// proxy says of it isn't asked: anybody can say that.
    pub(super) is_secure: bool,
}

/// Lets in what the page of this service sent. `tls`: whether callers speak it with the service itself.
pub(super) fn of(uri: &Uri, headers: &HeaderMap, tls: bool) -> Result<OwnPage, CallError> {
    if !is_json(headers) {
        return Err(refused("send content-type: application/json"));
    }
    let origin = origin(headers)?;
    if headers.contains_key(FETCH_SITE) {
        // The browser has compared what it asked, which a proxy may have rewritten on the way.
        if only(headers, FETCH_SITE) != Some("same-origin") {
            return Err(refused(CROSS_ORIGIN));
        }
    } else {
        let Some(Origin { is_https, authority }) = &origin else {
            return Err(refused("nothing says which page sent the request: neither sec-fetch-site nor origin is there"));
        };
        let is_own = asked(uri, headers).is_some_and(|asked| is_same(&asked, authority, *is_https)) && (!tls || *is_https);
        if !is_own {
            return Err(refused("the origin is not the host that was asked: these paths are for the account page alone"));
        }
    }
    Ok(OwnPage { is_secure: tls || origin.is_some_and(|origin| origin.is_https) })
}

pub(super) fn refused(why: &str) -> CallError {
    CallError::new(Code::PermissionDenied, ErrorReason::CrossOriginRequest, why)
}

/// A form of another site can't have this type, and a script of it would have to ask first.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = only(headers, CONTENT_TYPE).and_then(|value| value.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

struct Origin {
    is_https: bool,
    authority: Authority,
}

/// The page's origin, as far as it has one: `null` is none.
fn origin(headers: &HeaderMap) -> Result<Option<Origin>, CallError> {
    if !headers.contains_key(ORIGIN) {
        return Ok(None);
    }
    let text = only(headers, ORIGIN).ok_or_else(|| refused("send one origin"))?;
    let parsed = text.split_once("://").and_then(|(scheme, authority)| {
        let is_https = match scheme {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority: Authority = authority.parse().ok()?;
        (!authority.as_str().contains('@')).then_some(Origin { is_https, authority })
    });
    Ok(parsed)
}

/// Whether both are one host and port; a scheme has one that isn't written.
fn is_same(asked: &Authority, origin: &Authority, is_https: bool) -> bool {
    let port = |authority: &Authority| authority.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    asked.host().eq_ignore_ascii_case(origin.host()) && port(asked) == port(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_let_in(tls: bool, uri: &str, headers: &[(&'static str, &'static str)]) -> Option<bool> {
        let mut map = HeaderMap::new();
        map.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        for (name, value) in headers {
            map.append(*name, http::HeaderValue::from_static(value));
        }
        of(&uri.parse().unwrap(), &map, tls).ok().map(|page| page.is_secure)
    }

    #[test]
    fn an_origin_counts_only_with_the_scheme_that_is_spoken_and_the_port_that_it_stands_for() {
        let host = |value| ("host", value);
        let origin = |value| ("origin", value);
        for (tls, uri, headers, answer) in [
            (false, "/x", &[host("a:80"), origin("http://a")][..], Some(false)),
            (false, "/x", &[host("a"), origin("https://a")], Some(true)),
            (false, "/x", &[host("a:443"), origin("https://a")], Some(true)),
            (false, "/x", &[host("a:80"), origin("https://a")], None),
            (false, "/x", &[host("[::1]:50051"), origin("http://[::1]:50051")], Some(false)),
            (true, "/x", &[host("a"), origin("https://a")], Some(true)),
            // A page in plaintext of the same host is another origin.
            (true, "/x", &[host("a"), origin("http://a")], None),
            // HTTP/2 says the host in the URI, and that counts.
            (false, "http://a/x", &[origin("http://a")], Some(false)),
            (false, "http://b/x", &[host("a"), origin("http://a")], None),
            // A host that isn't said, or twice, is none.
            (false, "/x", &[origin("http://a")], None),
            (false, "/x", &[host("a"), host("a"), origin("http://a")], None),
            (false, "/x", &[host("u@a"), origin("http://a")], None),
        ] {
            assert_eq!(is_let_in(tls, uri, headers), answer, "{tls} {uri} {headers:?}");
        }
    }
}

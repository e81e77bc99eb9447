//! Which pages of other origins may call, from a browser.

use http::{HeaderName, HeaderValue, Method, Uri};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::doors::{CHARGED_HEADER, REMAINING_HEADER, connect};
use crate::env::{Reader, Variable};
use crate::request_id::REQUEST_ID_HEADER;

/// The variable that [`CorsOrigins::read`] reads.
pub const CORS_VARIABLE: Variable = Variable {
    name: "TOLLGATE_CORS_ORIGINS",
    default: "unset: none",
    meaning: "Origins of web pages that may call from a browser, comma separated, such as `https://app.example.com`.",
    bad: "https://app.example.com/",
};

/// How long a browser may remember what it was told, in seconds.
const MAX_AGE: std::time::Duration = std::time::Duration::from_secs(3600);

/// Origins of web pages that may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CorsOrigins(Vec<HeaderValue>);

impl CorsOrigins {
    /// Reads [`CORS_VARIABLE`].
    pub fn read(reader: &mut Reader<'_>) -> Self {
        reader.parse(CORS_VARIABLE.name, Self::parse).unwrap_or_default()
    }

    /// Parses a comma list of origins.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.split(',').map(|part| origin(part.trim())).collect::<Result<_, _>>().map(Self)
    }

    /// What answers browsers; `None` when no page may call. Cookies are never allowed: a credential is sent by whoever has it.
    pub(crate) fn layer(&self) -> Option<CorsLayer> {
        let exposed = [REQUEST_ID_HEADER, CHARGED_HEADER, REMAINING_HEADER, "retry-after", "x-should-retry"].map(HeaderName::from_static);
        let of_rpc = connect::EXPOSED_HEADERS.map(HeaderName::from_static);
        let layer = CorsLayer::new()
            .allow_origin(AllowOrigin::list(self.0.clone()))
            .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(exposed.into_iter().chain(of_rpc).collect::<Vec<_>>())
            .max_age(MAX_AGE);
        (!self.0.is_empty()).then_some(layer)
    }
}

/// An origin as browsers write it: scheme, host, and a port that isn't the scheme's own.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let wrong = || format!("must be a comma list of origins, such as https://app.example.com:8443, and has {text:?}");
    let is_origin = text.parse::<Uri>().is_ok_and(|uri| {
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
        text == format!("{scheme}://{authority}") && text == text.to_ascii_lowercase() && !authority.as_str().contains('@')
    });
    if is_origin { HeaderValue::from_str(text).map_err(|_| wrong()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for good in ["https://app.example.com", "http://localhost:3000, https://a.b", "http://[::1]:8080", "app://tauri"] {
            assert!(CorsOrigins::parse(good).is_ok(), "{good}");
        }
        for wrong in ["", "*", "null", "example.com", "https://a.b/", "https://a.b/c", "HTTPS://a.b", "https://u@a.b", "https://a.b,"] {
            assert!(CorsOrigins::parse(wrong).is_err(), "{wrong}");
        }
        assert!(CorsOrigins::default().layer().is_none());
    }
}

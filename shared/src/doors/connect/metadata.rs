//! Headers and trailers that belong to the call, without those that belong to gRPC or to HTTP.

use http::{HeaderMap, HeaderName, header};

/// Headers that say how a request is sent over Connect or gRPC, and not what the caller says.
const OF_REQUESTS: [HeaderName; 12] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::ACCEPT_ENCODING,
    header::TE,
    HeaderName::from_static("connect-protocol-version"),
    HeaderName::from_static("connect-timeout-ms"),
    HeaderName::from_static("connect-content-encoding"),
    HeaderName::from_static("connect-accept-encoding"),
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("grpc-accept-encoding"),
];

/// Headers and trailers of a gRPC answer that say how it is sent, or how it ended.
const OF_ANSWERS: [HeaderName; 9] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("grpc-accept-encoding"),
];

/// Takes the headers off a request that say how it is sent.
pub(super) fn strip_request(headers: &mut HeaderMap) {
    for name in &OF_REQUESTS {
        headers.remove(name);
    }
}

/// What an answer says beside its message and its status.
pub(super) struct Metadata(HeaderMap);

impl Metadata {
    /// That of these headers or trailers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut kept = headers.clone();
        for name in &OF_ANSWERS {
            kept.remove(name);
        }
        Self(kept)
    }

    /// As they are named.
    pub(super) fn into_headers(self) -> HeaderMap {
        self.0
    }

    /// As the headers that unary answers have for trailers.
    pub(super) fn into_trailer_headers(self) -> HeaderMap {
        let renamed = |name: &HeaderName| HeaderName::try_from(format!("trailer-{name}")).ok();
        self.0.iter().filter_map(|(name, value)| Some((renamed(name)?, value.clone()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_belongs_to_grpc_is_not_handed_on_and_all_else_is() {
        let trailers: HeaderMap = ["grpc-status", "grpc-message", "grpc-status-details-bin", "a", "a"]
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1")))
            .into_iter()
            .collect();
        let named = Metadata::of(&trailers).into_trailer_headers();
        assert_eq!(named.len(), 2);
        assert_eq!(named.get_all("trailer-a").iter().count(), 2);
    }
}

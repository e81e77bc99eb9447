//! Who may sign up.

use std::net::IpAddr;

use shared::caller_address::CallerAddress;
use tonic::metadata::MetadataMap;

/// What a proxy adds to a call, whichever wrote it.
const PROXY_HEADERS: [&str; 6] = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "forwarded", "via"];

/// Who may sign up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignUpPolicy {
    /// Anybody.
    Open,
    /// Nobody: operators make users.
    Closed,
    /// Whoever calls from this host without a proxy: what is listened to on loopback alone is open to those who are on the host anyway, and
    /// a proxy on the host lets the whole world call from there.
    OnThisHost,
}

/// Where a call comes from, for a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The caller's address; `None` when the call came over no connection of ours.
    pub address: Option<IpAddr>,
    /// Whether a proxy passed the call on.
    pub through_proxy: bool,
    /// Whether a page of the web made the call. It runs in a browser on this host, and whoever wrote it is elsewhere; by a name that is made
    /// to lead here (DNS rebinding) its calls pass for those of a page of ours.
    pub by_web_page: bool,
}

impl Origin {
    /// Where a request comes from. A call that carries what proxies add came through one, listed or not.
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        let proxied = is_proxied(request.metadata());
        let by_web_page = is_by_web_page(request.metadata());
        match CallerAddress::of(request.extensions()) {
            Some(CallerAddress { ip, through_proxy }) => Self { address: Some(ip), through_proxy: through_proxy || proxied, by_web_page },
            None => Self { address: None, through_proxy: proxied, by_web_page },
        }
    }
}

/// Whether a browser says that the call is that of a page which was not served from this host.
fn is_by_web_page(metadata: &MetadataMap) -> bool {
    let Some(origin) = metadata.get("origin") else { return metadata.contains_key("sec-fetch-site") };
    let host = origin.to_str().ok().and_then(|origin| origin.parse::<http::Uri>().ok()).and_then(|origin| origin.host().map(str::to_owned));
    let is_here = host.is_some_and(|host| {
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        host.eq_ignore_ascii_case("localhost") || address.is_some_and(|address| address.is_loopback())
    });
    !is_here
}

fn is_proxied(metadata: &MetadataMap) -> bool {
    PROXY_HEADERS.iter().any(|name| metadata.contains_key(*name))
}

impl SignUpPolicy {
    /// Whether a caller may sign up.
    #[must_use]
    pub fn admits(self, origin: Origin) -> bool {
        match self {
            Self::Open => true,
            Self::Closed => false,
            Self::OnThisHost => {
                let is_local = origin.address.is_some_and(|address| address.to_canonical().is_loopback());
                is_local && !origin.through_proxy && !origin.by_web_page
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(address: &str, through_proxy: bool) -> Origin {
        Origin { address: Some(address.parse().unwrap()), through_proxy, by_web_page: false }
    }

    #[test]
    fn a_page_of_the_web_is_not_on_this_host_whatever_name_led_here() {
        let of = |headers: &[(&'static str, &str)]| {
            let mut request = tonic::Request::new(());
            request.extensions_mut().insert(CallerAddress { ip: [127, 0, 0, 1].into(), through_proxy: false });
            for (name, value) in headers {
                request.metadata_mut().insert(*name, value.parse().unwrap());
            }
            SignUpPolicy::OnThisHost.admits(Origin::of(&request))
        };
        for here in ["http://localhost:3000", "http://127.0.0.1:50051", "http://[::1]:50051", "https://LOCALHOST"] {
            assert!(of(&[("origin", here)]), "{here}");
        }
        let elsewhere = ["http://evil.example:50051", "null", "", "http://localhost.evil.example", "http://192.0.2.1", "file://", "evil"];
        for elsewhere in elsewhere {
            assert!(!of(&[("origin", elsewhere)]), "{elsewhere}");
        }
        // A browser without an origin says at least that it is one.
        assert!(!of(&[("sec-fetch-site", "same-origin")]));
        assert!(of(&[]) && of(&[("origin", "http://localhost"), ("sec-fetch-site", "same-origin")]));
    }

    #[test]
    fn behind_a_proxy_nobody_is_on_this_host() {
        for here in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(SignUpPolicy::OnThisHost.admits(origin(here, false)), "{here}");
            assert!(!SignUpPolicy::OnThisHost.admits(origin(here, true)), "{here}");
        }
        for elsewhere in ["192.0.2.1", "::", "0.0.0.0", "2001:db8::1", "::ffff:192.0.2.1"] {
            assert!(!SignUpPolicy::OnThisHost.admits(origin(elsewhere, false)), "{elsewhere}");
            assert!(SignUpPolicy::Open.admits(origin(elsewhere, true)) && !SignUpPolicy::Closed.admits(origin(elsewhere, false)));
        }
        assert!(!SignUpPolicy::OnThisHost.admits(Origin { address: None, through_proxy: false, by_web_page: false }));
    }

    #[test]
    fn what_a_listed_proxy_says_counts_and_a_proxys_headers_are_a_proxy() {
        let mut request = tonic::Request::new(());
        request.extensions_mut().insert(CallerAddress { ip: [127, 0, 0, 1].into(), through_proxy: true });
        assert_eq!(Origin::of(&request), origin("127.0.0.1", true));
        request.extensions_mut().insert(CallerAddress { ip: [127, 0, 0, 1].into(), through_proxy: false });
        assert_eq!(Origin::of(&request), origin("127.0.0.1", false));
        for header in PROXY_HEADERS {
            let mut request = tonic::Request::new(());
            request.extensions_mut().insert(CallerAddress { ip: [127, 0, 0, 1].into(), through_proxy: false });
            request.metadata_mut().insert(header, "192.0.2.1".parse().unwrap());
            assert!(Origin::of(&request).through_proxy, "{header}");
        }
    }
}

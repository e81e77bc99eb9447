//! The cookie that binds a sign-in with an issuer to the browser that began it. Whoever has somebody else come back with a code of their
//! own doesn't have it there.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::sign_in_issuers::SIGN_IN_LIFE;

/// Over TLS. A browser takes one with such a beginning from this very host alone, over TLS, for all paths: no other site of the domain can
/// plant one.
const SECURE: &str = "__Host-tollgate_sign_in";
/// In plaintext, where no such beginning is taken.
const PLAIN: &str = "tollgate_sign_in";

/// The sign-in that a browser began.
pub(super) struct Kept<'h> {
    pub(super) sign_in: &'h str,
    /// Whether it was kept over TLS.
    pub(super) is_secure: bool,
}

/// What a request's cookies hold of it. `None`: nothing, or several: somebody may have planted one of them.
pub(super) fn only_value(headers: &HeaderMap) -> Option<Kept<'_>> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    let mut kept = pairs.filter_map(|pair| {
        let value = |name: &str| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=");
        let (value, is_secure) = value(SECURE).map(|value| (value, true)).or_else(|| value(PLAIN).map(|value| (value, false)))?;
        Some(Kept { sign_in: std::str::from_utf8(value).unwrap_or_default(), is_secure })
    });
    match (kept.next(), kept.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    }
}

/// `Set-Cookie` that keeps a sign-in until it must be over.
pub(super) fn keeping(is_secure: bool, sign_in: &str) -> Option<HeaderValue> {
    header(is_secure, sign_in, SIGN_IN_LIFE.as_secs())
}

/// `Set-Cookie` that removes it, of both kinds.
pub(super) fn clearing() -> [Option<HeaderValue>; 2] {
    [header(true, "", 0), header(false, "", 0)]
}

fn header(is_secure: bool, value: &str, seconds: u64) -> Option<HeaderValue> {
    // The person comes back from the issuer's site: a strict one would not be sent.
    let (name, rest) = if is_secure { (SECURE, "Path=/; Secure") } else { (PLAIN, "Path=/account/sign-in") };
    let mut header = HeaderValue::try_from(format!("{name}={value}; {rest}; Max-Age={seconds}; HttpOnly; SameSite=Lax")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(cookies: &[&'static str]) -> Option<(String, bool)> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(COOKIE, HeaderValue::from_static(cookie));
        }
        only_value(&headers).map(|kept| (kept.sign_in.to_owned(), kept.is_secure))
    }

    #[test]
    fn one_cookie_counts_and_two_are_none() {
        assert_eq!(value(&["a=b; __Host-tollgate_sign_in=x"]), Some(("x".to_owned(), true)));
        assert_eq!(value(&["tollgate_sign_in=y"]), Some(("y".to_owned(), false)));
        for none in [&["a=b"][..], &[], &["tollgate_sign_in=x; __Host-tollgate_sign_in=x"], &["tollgate_sign_in=x", "tollgate_sign_in=y"]] {
            assert_eq!(value(none), None, "{none:?}");
        }
    }

    #[test]
    fn it_is_for_the_server_alone_and_over_tls_for_this_host_alone() {
        assert_eq!(keeping(true, "x").unwrap(), "__Host-tollgate_sign_in=x; Path=/; Secure; Max-Age=600; HttpOnly; SameSite=Lax");
        assert_eq!(keeping(false, "x").unwrap(), "tollgate_sign_in=x; Path=/account/sign-in; Max-Age=600; HttpOnly; SameSite=Lax");
        assert_eq!(clearing()[0].as_ref().unwrap(), "__Host-tollgate_sign_in=; Path=/; Secure; Max-Age=0; HttpOnly; SameSite=Lax");
    }
}

//! The cookie that holds a refresh token: where no script reads it, and for the doors alone that need it.

use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use super::own_page::OwnPage;
use crate::refresh_token::RefreshToken;

/// The paths that it is sent to.
const PATH: &str = "/account/session";
/// Values that are looked at: a browser has one, or two where another site of its domain has set one as well.
pub(super) const MOST_VALUES: usize = 8;

/// Its name. A browser takes one with such a beginning over TLS alone, so that none in plaintext can take its place.
pub(super) fn name(page: OwnPage) -> &'static str {
    if page.is_secure { "__Secure-tollgate_refresh" } else { "tollgate_refresh" }
}

/// What a request's cookies hold of it, at most one more than [`MOST_VALUES`]. More than one: another site of the same domain may have set
/// one of them. Cookies of others may be of any bytes; a value of ours that is no text is empty here, which is no token either.
pub(super) fn values(page: OwnPage, headers: &HeaderMap) -> Vec<&str> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    let of_ours = pairs.filter_map(|pair| pair.strip_prefix(name(page).as_bytes())?.strip_prefix(b"="));
    of_ours.map(|value| std::str::from_utf8(value).unwrap_or_default()).take(MOST_VALUES + 1).collect()
}

/// The one value that a request's cookies hold of it.
pub(super) fn only_value(page: OwnPage, headers: &HeaderMap) -> Option<String> {
    match values(page, headers)[..] {
        [token] => Some(token.to_owned()),
        _ => None,
    }
}

/// `Set-Cookie` that keeps a token so long. `None` can't be: a token is letters and digits.
pub(super) fn keeping(page: OwnPage, token: &RefreshToken, lifetime: Duration) -> Option<HeaderValue> {
    header(page, token.reveal(), lifetime)
}

/// `Set-Cookie` that removes it.
pub(super) fn clearing(page: OwnPage) -> Option<HeaderValue> {
    header(page, "", Duration::ZERO)
}

fn header(page: OwnPage, value: &str, lifetime: Duration) -> Option<HeaderValue> {
    let secure = if page.is_secure { "; Secure" } else { "" };
    let text = format!("{}={value}; Path={PATH}; Max-Age={}; HttpOnly; SameSite=Strict{secure}", name(page), lifetime.as_secs());
    let mut header = HeaderValue::try_from(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

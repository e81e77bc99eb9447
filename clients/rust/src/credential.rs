//! What a caller proves itself with.

use std::fmt;

use http::HeaderValue;
use shared::credential_form::to_bearer;

use crate::error::Error;

/// An API key or an access token. `Debug` doesn't show it, and it has no `Display`.
#[derive(Clone)]
pub struct Credential {
    text: String,
    header: HeaderValue,
}

impl Credential {
    /// Takes an API key or an access token. Refused when it holds anything but visible ASCII; the error doesn't repeat it.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        let header: Option<HeaderValue> = to_bearer(&text).parse().ok().filter(|_| is_visible_ascii(&text));
        let mut header = header.ok_or_else(|| {
            Error::Configuration("the credential must be an API key or an access token: visible ASCII characters only".to_owned())
        })?;
        header.set_sensitive(true);
        Ok(Self { text, header })
    }

    /// The credential itself, to be shown once or stored.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.header.clone()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

/// Whether a text can stand in a header as one word.
pub(crate) fn is_visible_ascii(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_never_shown() {
        let credential = Credential::new("tg_canary").unwrap();
        assert!(!format!("{credential:?}{:?}", credential.header()).contains("canary"));
        let refused = Credential::new("tg_canary\n").unwrap_err();
        assert!(!format!("{refused}{refused:?}").contains("canary"));
    }
}

//! Where Ollama is: `OLLAMA_HOST` in every form that Ollama itself accepts.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::http1::Origin;

/// Ollama's address, made from a value of `OLLAMA_HOST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OllamaHost {
    /// Ends without a slash.
    base: String,
}

impl Default for OllamaHost {
    /// Where Ollama listens by itself.
    fn default() -> Self {
        Self { base: "http://127.0.0.1:11434".to_owned() }
    }
}

impl fmt::Display for OllamaHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

impl OllamaHost {
    /// Parses `host`, `host:port`, `:port`, an IPv6 address with or without brackets, a URL with `http` or `https` and perhaps a path; in
    /// quotes or not. Empty is the default. The error says what is wrong, without naming the variable.
    ///
    /// As in Ollama the port is 11434 when there is no scheme, else the scheme's own; a host that only a server can listen on (`0.0.0.0`,
    /// `::`, none) becomes this machine. Unlike Ollama, which warns and takes the default, a wrong port is a mistake.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim().trim_matches(['"', '\'']).trim();
        if text.is_empty() {
            return Ok(Self::default());
        }
        let (scheme, rest, default_port) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => ("http", rest, 80),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => ("https", rest, 443),
            Some((scheme, _)) => return Err(format!("the scheme must be http or https, not {scheme:?}")),
            None if text == "ollama.com" => ("https", text, 443),
            None => ("http", text, 11434),
        };
        let (host_port, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = split_host_port(host_port);
        let port = match port {
            None | Some("") => default_port,
            Some(port) => port.parse::<u16>().map_err(|_| format!("the port must be a number up to 65535, not {port:?}"))?,
        };
        let host = match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) if address.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
            Ok(IpAddr::V6(address)) if address.is_unspecified() => format!("[{}]", Ipv6Addr::LOCALHOST),
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            Ok(IpAddr::V4(address)) => address.to_string(),
            Err(_) if host.is_empty() => Ipv4Addr::LOCALHOST.to_string(),
            Err(_) if host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')) => host.to_owned(),
            Err(_) => return Err(format!("{host:?} is not the name or address of a host")),
        };
        let path = path.trim_matches('/');
        if path.contains(['?', '#']) || path.contains(char::is_whitespace) {
            return Err("the path must not contain blanks, '?' or '#'".to_owned());
        }
        let slash = if path.is_empty() { "" } else { "/" };
        let base = format!("{scheme}://{host}:{port}{slash}{path}");
        Origin::parse(&base)?;
        Ok(Self { base })
    }

    /// As requests need it.
    pub(super) fn origin(&self) -> Result<Origin, String> {
        Origin::parse(&self.base)
    }
}

/// What stands before and after the colon of the port; a bare IPv6 address has none.
fn split_host_port(text: &str) -> (&str, Option<&str>) {
    if let Some(rest) = text.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => (text, None),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return (text, None);
    }
    match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_ollama_accepts_is_an_address_to_connect_to() {
        let cases = [
            ("", "http://127.0.0.1:11434"),
            ("  ", "http://127.0.0.1:11434"),
            ("\"10.0.0.1\"", "http://10.0.0.1:11434"),
            ("example.com", "http://example.com:11434"),
            ("example.com:", "http://example.com:11434"),
            ("example.com:1234", "http://example.com:1234"),
            (":1234", "http://127.0.0.1:1234"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:1234", "http://127.0.0.1:1234"),
            ("::", "http://[::1]:11434"),
            ("[::]:1234", "http://[::1]:1234"),
            ("::1", "http://[::1]:11434"),
            ("[::1]", "http://[::1]:11434"),
            ("[::1]:1234", "http://[::1]:1234"),
            ("fe80::1:2", "http://[fe80::1:2]:11434"),
            ("http://example.com", "http://example.com:80"),
            ("http://example.com:1234/", "http://example.com:1234"),
            ("https://example.com", "https://example.com:443"),
            ("https://example.com/ollama/", "https://example.com:443/ollama"),
            ("example.com/ollama", "http://example.com:11434/ollama"),
            ("HTTP://example.com:8080", "http://example.com:8080"),
            ("http://", "http://127.0.0.1:80"),
            ("ollama.com", "https://ollama.com:443"),
            ("host_with_underscore:11434", "http://host_with_underscore:11434"),
        ];
        for (text, base) in cases {
            assert_eq!(OllamaHost::parse(text).map(|host| host.to_string()), Ok(base.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_reason() {
        for text in [
            "ftp://example.com",
            "example.com:port",
            "example.com:65536",
            "example.com:-1",
            "a b",
            "http://u:p@example.com",
            "[::1",
            "http://h/a b",
            "h/?x",
        ] {
            assert!(OllamaHost::parse(text).is_err_and(|reason| !reason.is_empty()), "{text:?}");
        }
    }
}

//! Where Ollama is: `OLLAMA_HOST` in every form that Ollama itself accepts.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::authorization::Authorization;
use super::http1::Origin;

/// Ollama's address, made from a value of `OLLAMA_HOST`, and what proves to a proxy there who asks. Only the address is ever printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OllamaHost {
    /// Ends without a slash; holds no credential.
    base: String,
    authorization: Option<Authorization>,
}

impl Default for OllamaHost {
    /// Where Ollama listens by itself.
    fn default() -> Self {
        Self { base: "http://127.0.0.1:11434".to_owned(), authorization: None }
    }
}

impl fmt::Display for OllamaHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

impl OllamaHost {
    /// Parses `host`, `host:port`, `:port`, an IPv6 address with or without brackets, a URL with `http` or `https` and perhaps a path; in
    /// quotes or not, and with `user:password@` before the host or not. Empty is the default. The error says what is wrong, without naming
    /// the variable. It never repeats any of the value: what is malformed may be part of a password.
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
            Some(_) => return Err("the scheme must be http or https".to_owned()),
            None if text == "ollama.com" => ("https", text, 443),
            None => ("http", text, 11434),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user_info, host_port) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        // A '/' in a password ends the authority too early: what is behind it would be printed as a path.
        if path.contains('@') || user_info.is_some_and(|user| user.contains('@')) {
            return Err(
                "there is an '@' too many: in a user or password '/' is written %2F, '@' %40, ':' %3A, '?' %3F and '#' %23".to_owned()
            );
        }
        let authorization = user_info.filter(|user| !user.is_empty()).map(Authorization::basic).transpose()?;
        let (host, port) = split_host_port(host_port);
        let port = match port {
            None | Some("") => default_port,
            Some(port) => port.parse::<u16>().map_err(|_| "the port must be a number up to 65535".to_owned())?,
        };
        let host = match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) if address.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
            Ok(IpAddr::V6(address)) if address.is_unspecified() => format!("[{}]", Ipv6Addr::LOCALHOST),
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            Ok(IpAddr::V4(address)) => address.to_string(),
            Err(_) if host.is_empty() => Ipv4Addr::LOCALHOST.to_string(),
            Err(_) if host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')) => host.to_owned(),
            Err(_) => return Err("what stands where the host should is not the name or address of one".to_owned()),
        };
        let path = path.trim_matches('/');
        if path.contains(['?', '#']) || path.contains(char::is_whitespace) {
            return Err("the path must not contain blanks, '?' or '#'".to_owned());
        }
        let slash = if path.is_empty() { "" } else { "/" };
        let base = format!("{scheme}://{host}:{port}{slash}{path}");
        Origin::parse(&base)?;
        Ok(Self { base, authorization })
    }

    /// The same with a key (`OLLAMA_API_KEY`) that is sent as a bearer. Refused when there is a user in the address: a request has one
    /// `authorization`. The error doesn't repeat the key.
    pub fn with_api_key(self, key: &str) -> Result<Self, String> {
        if self.authorization.is_some() {
            return Err("is set, and the address of Ollama has a user in it: a request can prove only one of them, so unset one".to_owned());
        }
        Ok(Self { authorization: Some(Authorization::bearer(key)?), ..self })
    }

    /// What every request says of who asks.
    pub(super) fn authorization(&self) -> Option<&Authorization> {
        self.authorization.as_ref()
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
        for text in ["ftp://example.com", "example.com:port", "example.com:65536", "example.com:-1", "a b", "[::1", "http://h/a b", "h/?x"]
        {
            assert!(OllamaHost::parse(text).is_err_and(|reason| !reason.is_empty()), "{text:?}");
        }
    }

    #[test]
    fn a_credential_in_the_address_is_used_and_never_shown() {
        for (text, base, header) in [
            ("http://user:canary@example.com", "http://example.com:80", "Basic dXNlcjpjYW5hcnk="),
            ("user:canary@example.com", "http://example.com:11434", "Basic dXNlcjpjYW5hcnk="),
            ("https://user:canary@[::1]:8443/ollama/", "https://[::1]:8443/ollama", "Basic dXNlcjpjYW5hcnk="),
            ("https://canary@example.com", "https://example.com:443", "Basic Y2FuYXJ5Og=="),
            ("http://user:canary?#@example.com", "http://example.com:80", "Basic dXNlcjpjYW5hcnk/Iw=="),
            ("'http://user:c%61nary@:80'", "http://127.0.0.1:80", "Basic dXNlcjpjYW5hcnk="),
        ] {
            let host = OllamaHost::parse(text).unwrap();
            assert_eq!((host.to_string().as_str(), host.authorization().unwrap().header_value()), (base, header), "{text}");
            let shown = format!("{host} {host:?} {:?} {:?}", host.origin().unwrap(), host.clone().with_api_key("key").unwrap_err());
            assert!(!shown.contains("canary") && !shown.contains("Y2FuYXJ5") && !shown.contains("dXNlcjpj"), "{shown}");
        }
        assert_eq!(OllamaHost::parse("http://@example.com").unwrap().authorization(), None);
        let keyed = OllamaHost::parse("example.com").unwrap().with_api_key("canary").unwrap();
        assert_eq!(keyed.authorization().unwrap().header_value(), "Bearer canary");
        assert!(!format!("{keyed} {keyed:?}").contains("canary"));
    }

    #[test]
    fn a_malformed_address_is_never_repeated_since_a_credential_may_be_in_it() {
        for text in [
            "http://user:canary",
            "http://user:canary/x@example.com",
            "http://user:80/canary@example.com",
            "http://user:can@ary@example.com",
            "ftp://user:canary@example.com",
            "canary://user@example.com",
            "http://user:canary@example.com:port",
            "http://user:canary@exa mple.com",
            "http://user:canary%zz@example.com",
            "http://user:canary@example.com/a?b",
            "user:canary@[::1",
        ] {
            let refused = OllamaHost::parse(text).expect_err(text);
            assert!(!refused.contains("canary") && !refused.contains("user:") && !refused.is_empty(), "{text}: {refused}");
        }
    }
}

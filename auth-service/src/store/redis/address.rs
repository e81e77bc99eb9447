//! The address of a Redis and its password, as they are configured. What is said of them never repeats either.

use std::fmt;

use ::redis::{Client, IntoConnectionInfo, RedisResult};

/// Redis's password, as it is: in a URL some characters would have to be escaped. `Debug` doesn't show it, and it has no `Display`.
#[derive(Clone)]
pub struct RedisPassword(String);

impl RedisPassword {
    /// Any text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The password, for Redis.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// A client that shows this password in place of its own.
    pub(super) fn on(&self, client: &Client) -> RedisResult<Client> {
        let info = client.get_connection_info().clone();
        let settings = info.redis_settings().clone().set_password(&self.0);
        Client::open(info.set_redis_settings(settings))
    }
}

impl fmt::Debug for RedisPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisPassword(…)")
    }
}

/// Whether an address has a password of its own.
pub(crate) fn has_password(url: &str) -> bool {
    url.into_connection_info().is_ok_and(|info| info.redis_settings().password().is_some())
}

/// A client for this address, or what must be changed, as it goes on from the variable's name.
pub(crate) fn client(url: &str) -> Result<Client, &'static str> {
    const FORM: &str = "must be redis://[user:password@]host[:port][/db]; give a password of any characters in TOLLGATE_REDIS_PASSWORD, or \
                        write / ? # @ : and % in it as %2F %3F %23 %40 %3A and %25";
    let (scheme, rest) = url.split_once("://").ok_or(FORM)?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme == "rediss" || scheme == "valkeys" {
        return Err(
            "asks for TLS, which is not built yet: use redis:// on a network that nobody else is on, or through a tunnel that does TLS",
        );
    }
    // A socket's file is named by a path, and what goes with it by a query.
    if scheme == "unix" || scheme.ends_with("+unix") {
        return Client::open(url).map_err(|_| FORM);
    }
    let hosts = rest.rsplit('@').next().unwrap_or_default().split('/').next().unwrap_or_default();
    if scheme.contains("sentinel") || scheme.contains("cluster") || hosts.contains(',') {
        return Err("names a Sentinel, a cluster or several hosts, which are not supported yet: name one Redis that takes writes");
    }
    // A user or password that isn't escaped would end up here, and a part of it would be taken for the host.
    if rest.contains(['?', '#']) {
        return Err(FORM);
    }
    Client::open(url).map_err(|_| FORM)
}

/// Where it is, for the log: host and port, or the socket's file. No user and no password.
pub(crate) fn place(client: &Client) -> String {
    client.get_connection_info().addr().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_redis_are_taken() {
        for url in [
            "redis://127.0.0.1",
            "redis://host:6380/3",
            "redis://:p%2Fss@[::1]:1",
            "valkey://u:p@host",
            "redis+unix:///run/redis.sock",
            "unix:///run/redis.sock?db=1",
        ] {
            assert!(client(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn the_log_has_host_and_port_and_never_a_password() {
        for (url, said) in [
            ("redis://:can%2Fary@redis", "redis:6379"),
            ("redis://canary:canary@10.0.0.1:6380/3", "10.0.0.1:6380"),
            ("redis://:canary@[::1]:1", "::1:1"),
            ("unix:///run/redis.sock?pass=canary", "/run/redis.sock"),
        ] {
            assert_eq!(place(&client(url).unwrap()), said, "{url}");
        }
    }

    #[test]
    fn what_is_refused_is_told_what_to_change_and_never_repeated() {
        for (url, says) in [
            ("rediss://:canary@host", "TLS"),
            ("REDISS://:canary@host", "TLS"),
            ("valkeys://:canary@host", "TLS"),
            ("redis-sentinel://canary@host:26379/0", "Sentinel"),
            ("redis+sentinel://canary@host:26379/0", "Sentinel"),
            ("redis-cluster://canary@host", "cluster"),
            ("redis://canary@one:1,two:2", "several hosts"),
            ("redis://:cana/ry@host", "%2F"),
            ("redis://user:12?canary@host", "%3F"),
            ("redis://user:12#canary@host", "%23"),
            ("redis://host/canary", "[/db]"),
            ("redis://canary:port", "[/db]"),
            ("http://canary", "redis://"),
            ("canary:6379", "redis://"),
            ("redis://", "redis://"),
        ] {
            let refused = client(url).err().unwrap_or_else(|| panic!("{url} was taken"));
            assert!(refused.contains(says), "{url}: {refused}");
            assert!(!refused.contains("canary"), "{url}: {refused}");
        }
    }
}

//! Configuration from environment variables: every value is parsed before a socket opens, and every mistake is reported at once.

#[cfg(feature = "server")]
pub mod known;
mod secret_files;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use self::secret_files::{SecretFile, file_variable};

/// The exit status for a configuration that can't be used (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;

/// A variable, as it is documented.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it is when it is unset, in the form it is written.
    pub default: &'static str,
    /// What it means, and its unit.
    pub meaning: &'static str,
    /// A value that it can't have.
    pub bad: &'static str,
}

/// Where the values come from: the process's environment, or a map in tests.
pub trait Strings {
    /// The value of a variable; `None` when it is unset. Not Unicode: its lossy form, which no parser takes.
    fn get(&self, name: &str) -> Option<String>;

    /// The names of all variables that are set, in no order.
    fn names(&self) -> Vec<String>;
}

/// The process's own environment.
#[derive(Debug, Clone, Copy)]
pub struct ProcessEnvironment;

impl Strings for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }

    fn names(&self) -> Vec<String> {
        std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect()
    }
}

impl Strings for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        BTreeMap::get(self, name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}

/// Everything that is wrong with a configuration: one sentence each, the variable's name first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration can't be used:")?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for Mistakes {}

/// Reads variables and collects what is wrong with them.
///
/// A variable that is set to nothing counts as unset: that is what `VARIABLE: ${VARIABLE:-}` in a compose file gives.
pub struct Reader<'a> {
    strings: &'a dyn Strings,
    /// By the name of the secret.
    secret_files: BTreeMap<&'static str, SecretFile>,
    mistakes: Vec<String>,
}

impl<'a> Reader<'a> {
    /// A reader of these strings.
    #[must_use]
    pub fn new(strings: &'a dyn Strings) -> Self {
        Self { strings, secret_files: BTreeMap::new(), mistakes: Vec::new() }
    }

    /// The value as it is, from a secret's file too; `None` when it is unset or empty.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<String> {
        match self.secret_files.get(name) {
            Some(SecretFile::Read(secret)) => Some(secret.clone()),
            Some(SecretFile::Unusable) => None,
            None => self.strings.get(name).filter(|value| !value.is_empty()),
        }
    }

    /// A value parsed by `parse`, whose error says what was expected and never repeats a secret; `None` when it is unset or wrong.
    pub fn parse<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let value = self.string(name)?;
        match parse(&value) {
            Ok(parsed) => Some(parsed),
            Err(expected) => {
                self.mistake(name, expected);
                None
            }
        }
    }

    /// A whole number within a range.
    pub fn integer(&mut self, name: &str, default: i64, range: RangeInclusive<i64>) -> i64 {
        let (low, high) = (*range.start(), *range.end());
        self.parse(name, |value| {
            let expected = || format!("must be a whole number from {low} to {high}, and is {value:?}");
            value.parse().ok().filter(|number| range.contains(number)).ok_or_else(expected)
        })
        .unwrap_or(default)
    }

    /// A duration within a range: a number and its unit, `ms`, `s`, `m`, `h` or `d`.
    pub fn duration(&mut self, name: &str, default: Duration, range: RangeInclusive<Duration>) -> Duration {
        let (low, high) = (*range.start(), *range.end());
        self.parse(name, |value| {
            let expected = || format!("must be a duration from {low:?} to {high:?}, such as 500ms, 30s, 5m, 1h or 30d, and is {value:?}");
            parse_duration(value).filter(|duration| range.contains(duration)).ok_or_else(expected)
        })
        .unwrap_or(default)
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: &str, default: bool) -> bool {
        self.parse(name, |value| match value {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(format!("must be true or false, and is {value:?}")),
        })
        .unwrap_or(default)
    }

    /// An address to listen on, such as `127.0.0.1:50051`.
    pub fn address(&mut self, name: &str, default: SocketAddr) -> SocketAddr {
        self.parse(name, |value| value.parse().map_err(|_| format!("must be an IP address and port, such as {default}, and is {value:?}")))
            .unwrap_or(default)
    }

    /// `TOLLGATE_REFLECTION`. Unset, server reflection is there unless `TOLLGATE_PUBLISHED_ADDRESS` says that others than this machine
    /// reach the service: a container listens on all of its own addresses, and can't know where its port is published.
    pub fn reflection(&mut self) -> bool {
        let published = self.parse("TOLLGATE_PUBLISHED_ADDRESS", |value| {
            let bare = value.strip_prefix('[').and_then(|value| value.strip_suffix(']')).unwrap_or(value);
            bare.parse::<IpAddr>().map_err(|_| format!("must be an IP address, such as 127.0.0.1, and is {value:?}"))
        });
        self.boolean("TOLLGATE_REFLECTION", published.is_none_or(|address| address.to_canonical().is_loopback()))
    }

    /// Records a mistake that is not one of a single value's form, such as a missing one.
    pub fn mistake(&mut self, name: &str, expected: impl fmt::Display) {
        let said = match self.secret_files.get(name) {
            Some(_) => format!("{} {expected}", file_variable(name)),
            None => format!("{name} {expected}"),
        };
        self.mistakes.push(said);
    }

    /// The configuration, or all that is wrong with it.
    pub fn finish<T>(self, config: T) -> Result<T, Mistakes> {
        if self.mistakes.is_empty() { Ok(config) } else { Err(Mistakes(self.mistakes)) }
    }
}

/// Parses a whole number and its unit: `ms`, `s`, `m`, `h` or `d`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    match &text[digits..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        "d" => number.checked_mul(24 * 3600).map(Duration::from_secs),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported_at_once_and_names_its_variable() {
        let strings: BTreeMap<String, String> =
            [("A", "ten"), ("B", "10"), ("C", "maybe"), ("D", "localhost"), ("E", "")].map(|(k, v)| (k.into(), v.into())).into();
        let mut reader = Reader::new(&strings);
        assert_eq!(reader.integer("A", 3, 1..=5), 3);
        reader.duration("B", Duration::ZERO, Duration::ZERO..=Duration::from_secs(60));
        reader.boolean("C", false);
        reader.address("D", ([127, 0, 0, 1], 1).into());
        assert_eq!(reader.integer("E", 7, 1..=9), 7);
        let Mistakes(mistakes) = reader.finish(()).unwrap_err();
        let names: Vec<_> = mistakes.iter().map(|mistake| mistake.split(' ').next().unwrap()).collect();
        assert_eq!(names, ["A", "B", "C", "D"]);
    }

    #[test]
    fn reflection_is_off_where_the_published_address_is_not_loopback_unless_it_is_asked_for() {
        let read = |published: &str, reflection: &str| {
            let variables = [("TOLLGATE_PUBLISHED_ADDRESS", published), ("TOLLGATE_REFLECTION", reflection)];
            let strings: BTreeMap<String, String> = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let mut reader = Reader::new(&strings);
            let reflection = reader.reflection();
            reader.finish(reflection)
        };
        for loopback in ["", "127.0.0.1", "127.3.2.1", "::1", "[::1]", "::ffff:127.0.0.1"] {
            assert_eq!(read(loopback, ""), Ok(true), "{loopback}");
            assert_eq!(read(loopback, "false"), Ok(false), "{loopback}");
        }
        for reachable in ["0.0.0.0", "::", "[::]", "192.168.1.7", "10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"] {
            assert_eq!(read(reachable, ""), Ok(false), "{reachable}");
            assert_eq!(read(reachable, "true"), Ok(true), "{reachable}");
        }
        for wrong in ["localhost", "127.0.0.1:50051", "127.0.0.1 "] {
            assert!(read(wrong, "").is_err_and(|mistakes| mistakes.0[0].starts_with("TOLLGATE_PUBLISHED_ADDRESS")), "{wrong}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("90s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("2h"), Some(Duration::from_secs(7200)));
        assert_eq!(parse_duration("30d"), Some(Duration::from_secs(30 * 86_400)));
        for wrong in ["", "5", "s", "-1s", "1.5s", "5 s", "99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}

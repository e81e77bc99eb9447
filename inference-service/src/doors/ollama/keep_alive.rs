//! How long a model stays loaded, as Ollama's clients say it.

use std::time::Duration;

use prost_types::Duration as WireDuration;
use schemars::JsonSchema;
use serde::Deserialize;

/// Seconds, or a duration as Go writes it. Less than none is for ever.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "must be a number of seconds, or a duration such as \"5m\"")]
pub(super) enum KeepAlive {
    Seconds(f64),
    Duration(String),
}

impl KeepAlive {
    /// For the contract; `None`: it is no duration. For ever is as long as this server keeps a model loaded.
    pub(super) fn to_wire(&self, most: Duration) -> Option<WireDuration> {
        let wanted = match self {
            Self::Seconds(seconds) => from_seconds(*seconds),
            Self::Duration(text) => from_go(text),
        }?;
        let wanted = wanted.unwrap_or(most);
        WireDuration::try_from(wanted).ok()
    }

    /// Whether the model is to be unloaded at once.
    pub(super) fn is_none(&self) -> bool {
        let wanted = match self {
            Self::Seconds(seconds) => from_seconds(*seconds),
            Self::Duration(text) => from_go(text),
        };
        wanted == Some(Some(Duration::ZERO))
    }
}

/// The inner `None`: for ever.
fn from_seconds(seconds: f64) -> Option<Option<Duration>> {
    if seconds < 0.0 {
        return Some(None);
    }
    Duration::try_from_secs_f64(seconds).ok().map(Some)
}

/// A duration of Go: numbers, each with a unit, such as `1h30m`; `0` needs none. The inner `None`: for ever.
fn from_go(text: &str) -> Option<Option<Duration>> {
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(Some(Duration::ZERO));
    }
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, behind) = rest.split_at(end);
        let next = behind.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(next);
        // "." is no number, and neither is "1.2.3".
        seconds += number.parse::<f64>().ok()? * unit_seconds(unit)?;
        rest = behind;
    }
    if is_negative && seconds > 0.0 { Some(None) } else { Duration::try_from_secs_f64(seconds).ok().map(Some) }
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        // The micro sign and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_go_durations_are_read_and_less_than_none_is_the_servers_bound() {
        const BOUND: Duration = Duration::from_secs(1800);
        let read = |json: &str| {
            let keep_alive: KeepAlive = serde_json::from_str(json).unwrap();
            keep_alive.to_wire(BOUND).map(|duration| (duration.seconds, duration.nanos))
        };
        for (json, expected) in [
            ("300", Some((300, 0))),
            ("0.5", Some((0, 500_000_000))),
            ("0", Some((0, 0))),
            ("-1", Some((1800, 0))),
            ("-0.5", Some((1800, 0))),
            (r#""5m""#, Some((300, 0))),
            (r#""1h30m1.5s""#, Some((5401, 500_000_000))),
            (r#""100ms""#, Some((0, 100_000_000))),
            (r#""+2s""#, Some((2, 0))),
            (r#""0""#, Some((0, 0))),
            (r#""-0""#, Some((0, 0))),
            (r#""-0s""#, Some((0, 0))),
            (r#""-1m""#, Some((1800, 0))),
            (r#""24h""#, Some((86_400, 0))),
            (r#""""#, None),
            (r#""-""#, None),
            (r#""5""#, None),
            (r#""-1""#, None),
            (r#""soon""#, None),
            (r#""5 m""#, None),
            (r#""1.2.3s""#, None),
            (r#"".s""#, None),
            (r#""1d""#, None),
            ("1e300", None),
        ] {
            assert_eq!(read(json), expected, "{json}");
        }
        assert!(serde_json::from_str::<KeepAlive>("true").unwrap_err().to_string().contains("a number of seconds"));
        for none in ["0", r#""0""#, r#""0s""#] {
            assert!(serde_json::from_str::<KeepAlive>(none).unwrap().is_none());
        }
        assert!(!KeepAlive::Seconds(-1.0).is_none());
    }
}

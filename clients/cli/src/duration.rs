//! Durations, as people type them.

use std::time::Duration;

/// Parses a whole number and its unit: `ms`, `s`, `m`, `h`, `d` or `w`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let days = |number: &str, each: u64| number.parse::<u64>().ok()?.checked_mul(each * 86_400).map(Duration::from_secs);
    let parsed = match text.as_bytes().last() {
        Some(b'd') => days(&text[..text.len() - 1], 1),
        Some(b'w') => days(&text[..text.len() - 1], 7),
        _ => shared::env::parse_duration(text),
    };
    // A century is as good as for ever, and keeps every sum with it in range.
    let longest = Duration::from_secs(100 * 366 * 86_400);
    parsed
        .filter(|duration| !duration.is_zero() && *duration <= longest)
        .ok_or_else(|| "it should look like 30s, 5m, 12h, 30d or 8w".to_owned())
}

/// The same, or nothing at all: `0`.
pub(crate) fn parse_duration_or_zero(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { parse_duration(text).map_err(|expected| format!("{expected}, or be 0")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_know_days_and_weeks() {
        assert_eq!(parse_duration("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(parse_duration("2w"), Ok(Duration::from_secs(14 * 86_400)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "d", "1y", "-1d", "0s", "0", "99999999999999999999d", "9999999w", "é"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_duration_or_zero("0"), Ok(Duration::ZERO));
        assert_eq!(parse_duration_or_zero("2w"), parse_duration("2w"));
    }
}

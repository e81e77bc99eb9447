//! Caps, as people type them and as they are shown: credits per calendar month, or none.

use shared::ledger::MAX_CREDITS;

use crate::display::credits;

/// A cap that is set; `None` inside: no cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cap(pub(crate) Option<i64>);

/// Parses credits, or `none`.
pub(crate) fn parse_cap(text: &str) -> Result<Cap, String> {
    if text == "none" {
        return Ok(Cap(None));
    }
    let parsed = text.parse().ok().filter(|credits| (0..=MAX_CREDITS).contains(credits));
    parsed.map(|credits| Cap(Some(credits))).ok_or_else(|| format!("it should be credits a month, 0 to {MAX_CREDITS}, or none"))
}

/// For a cell of a table; empty: no cap.
pub(crate) fn cell(credits: Option<i64>) -> String {
    credits.map(|credits| credits.to_string()).unwrap_or_default()
}

/// In words.
pub(crate) fn words(cap: Option<i64>) -> String {
    cap.map_or("without a cap".to_owned(), |cap| format!("with a cap of {} a month", credits(cap)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_is_a_number_of_credits_or_none() {
        assert_eq!(parse_cap("none"), Ok(Cap(None)));
        assert_eq!(parse_cap("0"), Ok(Cap(Some(0))));
        assert_eq!(parse_cap("1000000000000"), Ok(Cap(Some(MAX_CREDITS))));
        for wrong in ["", "-1", "None", "1000000000001", "1.5", "ten"] {
            assert!(parse_cap(wrong).is_err(), "{wrong}");
        }
        assert_eq!([words(None), words(Some(1))], ["without a cap", "with a cap of 1 credit a month"]);
    }
}

//! Reading what was revoked, from a place on.

use std::fmt;

use super::Revocation;

/// A place in a store's revocations: behind one of them, or before the first. Other processes may be given it; its form is the store's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationCursor(String);

impl RevocationCursor {
    /// The longest that is looked at.
    const MAX_LENGTH: usize = 64;

    /// Reads what somebody was given; `None`: it is no place of any store.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::MAX_LENGTH).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        fits.then(|| Self(text.to_owned()))
    }

    /// A place of no store.
    #[must_use]
    pub fn unknown() -> Self {
        Self("none".to_owned())
    }

    /// As a store writes it.
    pub(super) fn of(text: String) -> Self {
        Self(text)
    }

    /// For others, and to be read again.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RevocationCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What was revoked from a place on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationPage {
    /// Oldest first, each with the place behind it.
    pub revocations: Vec<(RevocationCursor, Revocation)>,
    /// Where to read on.
    pub next: RevocationCursor,
    /// Whether there is more to be read at once.
    pub has_more: bool,
    /// Some of what was revoked from that place on may be missing: it is no longer kept, or the store has lost it. What is told is all that
    /// comes from now on.
    pub has_gap: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_short_and_of_letters_digits_and_dashes() {
        for good in ["0-0", "1764388800000-12", "9f-3", &"a".repeat(64)] {
            assert_eq!(RevocationCursor::parse(good).unwrap().as_str(), good);
        }
        for wrong in ["", "0 0", "+", "(1-0", "é", &"a".repeat(65)] {
            assert_eq!(RevocationCursor::parse(wrong), None, "{wrong}");
        }
    }
}

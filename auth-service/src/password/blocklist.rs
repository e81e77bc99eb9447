//! The passwords that attackers try first. `auth-service/blocklist/README.md` says which they are, and where they come from.

use std::collections::HashSet;
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// The first eight bytes of the SHA-256 of each of the most common ones, sorted.
static MOST_COMMON: &[u8] = include_bytes!("../../blocklist/most_common.bin");

/// The short and long ones that were put together by hand, folded.
static BY_HAND: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let lines = include_str!("../../blocklist/by_hand.txt").lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
});

/// A text of fewer characters is refused when it is repeated, whatever it is.
const SHORTEST_UNIT: usize = 8;

/// Whether a folded password is on a list, with or without what stands around its letters and digits; or repeats few characters or what is
/// on a list.
pub(super) fn is_common(folded: &str) -> bool {
    let bare = folded.trim_matches(|c: char| !c.is_alphanumeric());
    is_listed(folded) || is_listed(bare) || is_repetition(folded)
}

fn is_listed(folded: &str) -> bool {
    BY_HAND.contains(folded) || is_among_the_most_common(folded)
}

fn is_among_the_most_common(folded: &str) -> bool {
    let hash = Sha256::digest(folded.as_bytes());
    let (keys, _) = MOST_COMMON.as_chunks::<8>();
    // Of two texts, eight bytes are the same once in 10^19 times.
    hash.first_chunk::<8>().is_some_and(|key| keys.binary_search(key).is_ok())
}

/// Whether a text is a unit again and again, the last time perhaps cut.
fn is_repetition(folded: &str) -> bool {
    let ends = folded.char_indices().skip(1).map(|(at, _)| at);
    ends.enumerate().any(|(index, end)| {
        let (characters, unit) = (index + 1, &folded[..end]);
        repeats(folded, unit) && (characters < SHORTEST_UNIT || is_listed(unit))
    })
}

fn repeats(text: &str, unit: &str) -> bool {
    text.bytes().eq(unit.bytes().cycle().take(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_the_3000_most_common_passwords_of_at_least_15_characters() {
        let (keys, rest) = MOST_COMMON.as_chunks::<8>();
        assert!(keys.len() >= 3000 && rest.is_empty(), "{}", keys.len());
        assert!(keys.is_sorted(), "a look-up is a binary search");
        // Of the first ten, of the first thousand, and the last.
        for common in ["123456789987654321", "1qaz2wsx3edc4rfv", "qwertyuiop123456789", "passwordpassword", "perasperaadastra"] {
            assert!(is_among_the_most_common(common), "{common}");
        }
        for other in ["1qaz2wsx3edc4rf", "", "mushrooms at dawn", "passwordpasswordpassword"] {
            assert!(!is_among_the_most_common(other), "{other}");
        }
    }

    #[test]
    fn the_list_by_hand_is_folded() {
        assert!(BY_HAND.len() >= 300 && BY_HAND.iter().all(|entry| *entry == entry.to_lowercase()), "{}", BY_HAND.len());
    }

    #[test]
    fn what_is_listed_is_common_in_other_clothes_and_in_repetition() {
        for common in [
            "1qaz2wsx3edc4rfv",
            "1qaz2wsx3edc4rfv!",
            "--passwordpassword--",
            "password123456789",
            "qwertyuiopasdfghjkl",
            "123456789012345",
            "aaaaaaaaaaaaaaaa",
            "abcabcabcabcabcabc",
            "1985198519851985",
            "letmeinletmeinletmein",
            "letmeinletmeinlet",
            "correcthorsebatterystaple",
        ] {
            assert!(is_common(common), "{common}");
        }
        for other in ["it is me, the plumber", "mushroom mushroom", "abcdefgh!abcdefgh!abcdefgh!?"] {
            assert!(!is_common(other), "{other}");
        }
    }
}

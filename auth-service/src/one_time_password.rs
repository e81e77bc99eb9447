//! One-time passwords, which operators give to users who have lost theirs.

use crate::ids::random_digits;

/// Letters and digits that nobody takes for one another: 32 of them, 5 random bits each.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Groups of a password, and characters of a group.
const GROUPS: usize = 5;
const GROUP: usize = 4;

/// Draws one: 100 random bits, as five groups of four characters with `-` between them.
pub(crate) fn draw() -> Result<String, getrandom::Error> {
    let characters = random_digits(ALPHABET, GROUPS * GROUP)?;
    let groups: Vec<&str> = (0..GROUPS).map(|group| &characters[group * GROUP..(group + 1) * GROUP]).collect();
    Ok(groups.join("-"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_one_time_password_is_twenty_characters_of_an_unambiguous_alphabet_and_no_two_are_the_same() {
        let drawn: BTreeSet<String> = (0..200).map(|_| draw().unwrap()).collect();
        assert_eq!(drawn.len(), 200);
        for password in &drawn {
            let groups: Vec<&str> = password.split('-').collect();
            assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), [GROUP; GROUPS], "{password}");
            assert!(groups.concat().bytes().all(|byte| ALPHABET.contains(&byte)), "{password}");
        }
        let used: BTreeSet<u8> = drawn.iter().flat_map(|password| password.bytes()).collect();
        assert_eq!(used.len(), ALPHABET.len() + 1, "all of the alphabet, and the hyphen");
    }
}

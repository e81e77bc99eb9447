//! Secrets of services: at least 256 random bits, written as hexadecimal digits, and never printed.

use std::fmt;

/// How to make one; part of every message that refuses one.
pub const HOW_TO_MAKE: &str = "make one with `openssl rand -hex 32`";

/// A secret of at least 256 random bits. `Debug` doesn't show it, and it has no `Display`.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Parses hexadecimal digits. What is shorter than 64 digits, no hexadecimal, or plainly not random is refused; the error never
    /// repeats the value.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse = |why: &str| Err(format!("{why}: {HOW_TO_MAKE}"));
        if text.len() < 64 || !text.len().is_multiple_of(2) {
            return refuse("must be at least 64 hexadecimal digits");
        }
        let Some(bytes) = decode(text) else { return refuse("must be hexadecimal digits and nothing else") };
        let mut seen = [false; 256];
        bytes.iter().for_each(|byte| seen[usize::from(*byte)] = true);
        // 32 random bytes hold fewer than 16 different ones about once in 10^17 draws.
        if seen.iter().filter(|seen| **seen).count() < 16 {
            return refuse("must be random, and repeats itself");
        }
        Ok(Self(bytes))
    }

    /// Makes a new one from the operating system's randomness, and its text.
    pub fn generate() -> Result<(Self, String), getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let text = hex::encode(bytes);
        Ok((Self(bytes.to_vec()), text))
    }

    /// The bytes, for a cryptographic function.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, for a header.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(&self.0)
    }

    /// Whether a text sent by somebody is this secret, in a time that doesn't tell how much of it was right.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let Some(other) = decode(text) else { return false };
        let same_length = other.len() == self.0.len();
        let difference = self.0.iter().zip(other.iter().chain(std::iter::repeat(&0))).fold(0, |acc, (a, b)| acc | (a ^ b));
        same_length && std::hint::black_box(difference) == 0
    }
}

/// The bytes of hexadecimal digits; a prefix such as `0x` is none.
fn decode(text: &str) -> Option<Vec<u8>> {
    if text.bytes().all(|byte| byte.is_ascii_hexdigit()) { hex::decode(text).ok() } else { None }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_or_passphrase_like_secrets_are_refused() {
        let prefixed = format!("0x{}", &Secret::generate().unwrap().1[..62]);
        for weak in [
            "",
            "secret",
            "correct-horse-battery-staple-correct-horse-battery-staple-correct",
            &"ab".repeat(32),
            &"0".repeat(64),
            &prefixed,
        ] {
            let error = Secret::parse(weak).unwrap_err();
            assert!(weak.is_empty() || !error.contains(weak), "{error}");
        }
    }

    #[test]
    fn a_generated_secret_parses_matches_itself_and_is_not_shown() {
        let (secret, text) = Secret::generate().unwrap();
        assert!(Secret::parse(&text).unwrap().matches(&text));
        assert!(secret.matches(&text));
        assert!(!secret.matches(&text[..62]));
        assert!(!secret.matches(&format!("{text}00")));
        assert!(!format!("{secret:?}").contains(&text[..8]));
    }
}

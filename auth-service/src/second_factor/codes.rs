//! The codes of a second factor: of an authenticator app (TOTP, RFC 6238), and for whoever has lost it.

use std::fmt;

use sha2::{Digest, Sha256};
use totp_rs::{Builder, Secret, Totp};

use crate::ids::random_digits;
use crate::user::UserName;

/// Recovery codes that are made at once.
pub const RECOVERY_CODES: usize = 10;
/// What an app shows beside the user's name.
const ISSUER: &str = "Tollgate";
/// Letters and digits that nobody takes for one another: 32 of them, 5 random bits each.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters of a recovery code, and of a group of them: 80 random bits.
const RECOVERY_LENGTH: usize = 16;
const GROUP: usize = 4;
/// A longer text is no code, whatever is taken out of it.
const MOST_BYTES: usize = 64;

/// The secret of an authenticator app.
#[derive(Clone, PartialEq, Eq)]
pub struct TotpSecret([u8; Self::LENGTH]);

impl TotpSecret {
    /// Bytes of one: 160 bits, as RFC 4226 recommends.
    pub const LENGTH: usize = 20;

    /// Draws a new one.
    pub fn draw() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; Self::LENGTH];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// As it is stored.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    /// To be stored.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LENGTH] {
        self.0
    }

    /// To be typed into an app.
    #[must_use]
    pub fn to_base32(&self) -> String {
        Secret::from(self.0.to_vec()).to_base32()
    }

    /// To be shown to an app as a QR code.
    #[must_use]
    pub fn otpauth_uri(&self, user_name: &UserName) -> String {
        // A user's name has nothing that an address must not have.
        format!("otpauth://totp/{ISSUER}:{user_name}?secret={}&issuer={ISSUER}", self.to_base32())
    }

    /// The time step that a code is of: that of the time, or the one before or after it, as clocks differ.
    pub(super) fn step_of(&self, code: &str, now_ms: i64) -> Option<u64> {
        self.totp()?.check(code, u64::try_from(now_ms).ok()? / 1000)
    }

    /// Six digits of HMAC-SHA-1, every 30 s: what apps take for granted.
    fn totp(&self) -> Option<Totp> {
        Builder::new().with_secret(self.0.to_vec()).build().ok()
    }
}

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpSecret")
    }
}

/// A code as somebody shows it.
#[derive(Clone, PartialEq, Eq)]
pub enum PresentedCode {
    /// Six digits, as an app shows them.
    App(String),
    /// SHA-256 of what has a recovery code's form.
    Recovery([u8; 32]),
    /// It has the form of neither.
    Malformed,
}

impl PresentedCode {
    /// Reads a code; spaces, hyphens and case don't matter. `None`: nothing was sent.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MOST_BYTES {
            return Some(Self::Malformed);
        }
        let code: String = text.chars().filter(|character| !character.is_whitespace() && *character != '-').collect();
        if code.is_empty() {
            return (!text.is_empty()).then_some(Self::Malformed);
        }
        let is_apps = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
        Some(if is_apps { Self::App(code) } else { folded(&code).map_or(Self::Malformed, |code| Self::Recovery(hash(&code))) })
    }
}

impl fmt::Debug for PresentedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::App(_) => "App",
            Self::Recovery(_) => "Recovery",
            Self::Malformed => "Malformed",
        })
    }
}

/// New recovery codes, to be shown once.
#[derive(Clone)]
pub struct RecoveryCodes(Vec<String>);

impl RecoveryCodes {
    /// Draws them: each has four groups of four characters with `-` between them.
    pub fn draw() -> Result<Self, getrandom::Error> {
        let draw = |_| {
            let code = random_digits(ALPHABET, RECOVERY_LENGTH)?;
            let groups: Vec<&str> = (0..RECOVERY_LENGTH / GROUP).map(|group| &code[group * GROUP..(group + 1) * GROUP]).collect();
            Ok(groups.join("-"))
        };
        (0..RECOVERY_CODES).map(draw).collect::<Result<_, _>>().map(Self)
    }

    /// To be stored.
    #[must_use]
    pub fn hashes(&self) -> Vec<[u8; 32]> {
        self.0
            .iter()
            .filter_map(|code| if let Some(PresentedCode::Recovery(hash)) = PresentedCode::parse(code) { Some(hash) } else { None })
            .collect()
    }

    /// To be shown.
    #[must_use]
    pub fn reveal(self) -> Vec<String> {
        self.0
    }
}

impl fmt::Debug for RecoveryCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryCodes")
    }
}

/// A recovery code in its one form; `None`: it is none. Letters that aren't in it are read as the digits that they look like.
fn folded(code: &str) -> Option<String> {
    let fold = |character: char| match character.to_ascii_lowercase() {
        'o' => '0',
        'i' | 'l' => '1',
        character => character,
    };
    let folded: String = code.chars().map(fold).collect();
    (folded.len() == RECOVERY_LENGTH && folded.bytes().all(|byte| ALPHABET.contains(&byte))).then_some(folded)
}

fn hash(code: &str) -> [u8; 32] {
    Sha256::new().chain_update(b"tollgate recovery code").chain_update(code).finalize().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_code_is_that_of_rfc_6238() {
        // The last six of the eight digits that its appendix B has for SHA-1.
        let secret = TotpSecret::from_bytes(*b"12345678901234567890");
        for (at_s, code) in [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924"), (20_000_000_000, "353130")] {
            assert_eq!(secret.step_of(code, at_s * 1000), Some(at_s as u64 / 30), "{at_s}");
        }
        assert_eq!(secret.to_base32(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        let ada = UserName::parse("a.d-a_1").unwrap();
        let uri = "otpauth://totp/Tollgate:a.d-a_1?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Tollgate";
        assert_eq!(secret.otpauth_uri(&ada), uri);
    }

    #[test]
    fn a_code_is_good_for_its_step_and_the_one_before_and_after_it() {
        let secret = TotpSecret::from_bytes(*b"12345678901234567890");
        let at = |step: i64| secret.step_of("005924", step * 30_000);
        let step = 1_234_567_890 / 30;
        assert_eq!([-2, -1, 0, 1, 2].map(|off| at(step + off).is_some()), [false, true, true, true, false]);
        assert_eq!(secret.step_of("005924", i64::MIN), None);
    }

    #[test]
    fn recovery_codes_have_eighty_bits_of_an_unambiguous_alphabet_and_no_two_are_the_same() {
        let mut all = BTreeSet::new();
        for _ in 0..20 {
            let codes = RecoveryCodes::draw().unwrap();
            assert_eq!((codes.hashes().len(), format!("{codes:?}").as_str()), (RECOVERY_CODES, "RecoveryCodes"));
            all.extend(codes.reveal());
        }
        assert_eq!(all.len(), 20 * RECOVERY_CODES);
        for code in &all {
            assert_eq!(code.split('-').map(str::len).collect::<Vec<_>>(), [GROUP; RECOVERY_LENGTH / GROUP], "{code}");
            assert!(code.bytes().all(|byte| byte == b'-' || ALPHABET.contains(&byte)), "{code}");
        }
    }

    #[test]
    fn case_spaces_hyphens_and_letters_that_look_like_digits_do_not_matter_in_a_code() {
        let recovery = PresentedCode::parse("0123-4567-89ab-cdef");
        assert!(matches!(recovery, Some(PresentedCode::Recovery(_))));
        for same in ["0123456789abcdef", " 0123 4567 89AB CDEF ", "oi23-4567-89ab-cdef", "OL23-4567-89ab-cdef\n"] {
            assert_eq!(PresentedCode::parse(same), recovery, "{same}");
        }
        assert_ne!(PresentedCode::parse("0123-4567-89ab-cdeg"), recovery);
        for same in ["012345", "012 345", " 012-345\n"] {
            assert_eq!(PresentedCode::parse(same), Some(PresentedCode::App("012345".to_owned())));
        }
        assert_eq!(PresentedCode::parse(""), None);
        for wrong in [" ", "-", "12345", "1234567", "١٢٣٤٥٦", "0123-4567-89ab-cdeu", "0123-4567-89ab-cde\u{e9}", &"0".repeat(65)] {
            assert_eq!(PresentedCode::parse(wrong), Some(PresentedCode::Malformed), "{wrong}");
        }
    }

    #[test]
    fn what_holds_a_secret_shows_none() {
        let secret = TotpSecret::from_bytes(*b"12345678901234567890");
        let shown = format!("{secret:?} {:?} {:?}", PresentedCode::parse("123456"), PresentedCode::parse("0123-4567-89ab-cdef"));
        assert_eq!(shown, "TotpSecret Some(App) Some(Recovery)");
    }
}

//! Identifiers that the server makes: random, in base62, with a fixed length.

use std::fmt;

use shared::credential_form::BASE62;

/// Random base62 digits, each as likely as any other.
pub fn random_base62(length: usize) -> Result<String, getrandom::Error> {
    random_digits(BASE62, length)
}

/// Random characters of an alphabet of at most 128, each as likely as any other.
pub(crate) fn random_digits(alphabet: &[u8], length: usize) -> Result<String, getrandom::Error> {
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 64];
    // What is above the largest multiple of the alphabet's size would favour the first ones.
    let fair = 256 - 256 % alphabet.len();
    while text.len() < length {
        getrandom::fill(&mut bytes)?;
        let digits = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        text.extend(digits.map(|byte| char::from(alphabet[byte % alphabet.len()])).take(length - text.len()));
    }
    Ok(text)
}

/// The last digits of a number of 256 bits, in base62: as good as random where the number is. At most 42 of them are.
pub(crate) fn base62_of(number: &[u8; 32], length: usize) -> String {
    let mut number = *number;
    let mut digit = || {
        let rest = number.iter_mut().fold(0, |rest, byte| {
            let part = rest * 256 + usize::from(*byte);
            *byte = u8::try_from(part / BASE62.len()).unwrap_or(u8::MAX);
            part % BASE62.len()
        });
        char::from(BASE62[rest])
    };
    (0..length).map(|_| digit()).collect()
}

macro_rules! id {
    ($name:ident, $length:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Characters of one.
            pub const LENGTH: usize = $length;

            /// Draws a new one.
            pub fn random() -> Result<Self, getrandom::Error> {
                random_base62($length).map(Self)
            }

            /// Parses one; `None` when the length or a character is wrong.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                (text.len() == $length && text.bytes().all(|byte| byte.is_ascii_alphanumeric())).then(|| Self(text.to_owned()))
            }

            /// As text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(UserId, 16, "A user's id: 16 base62 characters, 95 random bits.");
id!(AccountId, 16, "An account's id: 16 base62 characters. A user's own account has the user's id.");
id!(KeyId, 12, "An API key's id: 12 base62 characters. Not secret.");
id!(SessionId, 12, "A session's id: 12 base62 characters. Not secret.");
id!(InvitationId, 12, "An invitation's id: 12 base62 characters. Not secret: its code has another part.");

impl AccountId {
    /// Whether it is the user's own account. Any other that they act on is an organization's.
    #[must_use]
    pub fn is_own_of(&self, user: &UserId) -> bool {
        self.0 == user.0
    }
}

impl From<&UserId> for AccountId {
    /// The user's own account.
    fn from(user: &UserId) -> Self {
        Self(user.0.clone())
    }
}

//! A user: a person or program that can log in.

use std::fmt;

use shared::credential_form::holds_credential;

use crate::ids::UserId;

/// A user's name: 3 to 64 of a-z, 0-9, `.`, `_`, `-`. Upper case is folded, so that two users can't differ by it alone. A new one doesn't
/// begin with `-` or `.`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(String);

impl UserName {
    /// Parses and folds a name; `None` when its length or a character is wrong.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        ((3..=64).contains(&text.len()) && text.bytes().all(valid)).then(|| Self(text.to_ascii_lowercase()))
    }

    /// Parses the name of a new user. One that begins with `-` would be an option to a command, one that begins with `.` a hidden file;
    /// those that had such a name before keep it. A credential is somebody's mistake.
    #[must_use]
    pub fn parse_new(text: &str) -> Option<Self> {
        Self::parse(text).filter(|name| !name.0.starts_with(['-', '.']) && !holds_credential(text))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Spend the account's credits and manage its keys.
    User,
    /// An operator: manage users, credits and models too.
    Admin,
}

/// A user as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// Stable.
    pub user_id: UserId,
    /// Unique.
    pub user_name: UserName,
    /// Argon2id, in PHC form.
    pub password_hash: String,
    /// May be empty.
    pub full_name: String,
    /// Contact data; may be empty.
    pub email: String,
    /// What the user may do.
    pub role: Role,
    /// Whether all of the user's credentials are refused.
    pub disabled: bool,
    /// Whether the user can't sign in. API keys stay in force.
    pub locked: bool,
    /// Until when the password's hash is that of an operator's one-time password, which lets nobody in: another must be chosen with it.
    /// `None`: it is the user's own.
    pub reset_ends_at_ms: Option<i64>,
    /// Why an operator disabled or locked the user; may be empty.
    pub state_reason: String,
    /// When it was made.
    pub created_at_ms: i64,
}

impl fmt::Debug for UserRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("UserRecord");
        shown.field("user_id", &self.user_id).field("user_name", &self.user_name).field("role", &self.role);
        shown.field("disabled", &self.disabled).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_name_does_not_begin_with_a_hyphen_or_a_dot_and_an_old_one_may() {
        for name in ["-rf", ".ssh", "...", "---", "-.-", ".bashrc", "--help"] {
            assert_eq!(UserName::parse_new(name), None, "{name}");
            assert!(UserName::parse(name).is_some(), "{name}");
        }
        for name in ["_mario", "mario-", "mario.", "0-1", "m.a-r_io"] {
            assert!(UserName::parse_new(name).is_some(), "{name}");
        }
        for name in ["", "ab", "mario mario", "m\u{e4}rio", "mario\n", "m/a"] {
            assert_eq!((UserName::parse_new(name), UserName::parse(name)), (None, None), "{name:?}");
        }
    }
}

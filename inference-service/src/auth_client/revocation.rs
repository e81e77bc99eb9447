//! What was revoked, and what that means for an answer that runs.

use std::sync::Arc;

use shared::ErrorReason;
use shared::proto::auth as wire;

/// Something that was revoked, as auth-service tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Revocation {
    pub(super) user_id: String,
    what: Revoked,
    pub(super) reason: ErrorReason,
}

/// Which of a user's credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Revoked {
    /// One key; with a number, that secret of it alone.
    Key {
        key_id: String,
        secret: Option<u32>,
    },
    Session(String),
    /// All sessions and tokens.
    Tokens,
    /// All, where this account pays.
    Membership(String),
    All,
}

impl Revocation {
    /// Reads what auth-service sent; `None`: a sign of life.
    pub(super) fn read(sent: wire::WatchRevocationsResponse) -> Option<Self> {
        let wire::WatchRevocationsResponse { user_id, api_key_id, session_id, api_key_secret, tokens_only, reason, account_id, .. } = sent;
        if user_id.is_empty() {
            return None;
        }
        let what = if !api_key_id.is_empty() {
            Revoked::Key { key_id: api_key_id, secret: Some(api_key_secret).filter(|number| *number > 0) }
        } else if !session_id.is_empty() {
            Revoked::Session(session_id)
        } else if tokens_only {
            Revoked::Tokens
        } else if !account_id.is_empty() {
            Revoked::Membership(account_id)
        } else {
            Revoked::All
        };
        Some(Self { user_id, what, reason: reason_of_cut(ErrorReason::from_str_name(&format!("ERROR_REASON_{reason}"))) })
    }
}

/// What the caller of an answer that is cut is told: why nothing of theirs works any more, or nothing on the account, or that their
/// credential doesn't.
pub(super) fn reason_of_cut(reason: Option<ErrorReason>) -> ErrorReason {
    match reason {
        Some(reason @ (ErrorReason::UserDisabled | ErrorReason::UserLocked | ErrorReason::AccountNotAllowed)) => reason,
        _ => ErrorReason::CredentialRevoked,
    }
}

/// Whose credential an answer is paid with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) user_id: Arc<str>,
    /// Which account pays.
    account_id: Box<str>,
    credential: Credential,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Credential {
    /// 0: which of its secrets isn't known.
    Key {
        key_id: Box<str>,
        secret: u32,
    },
    Session(Box<str>),
    /// A token of no session that is known.
    Token,
}

impl From<&wire::Principal> for Holder {
    fn from(principal: &wire::Principal) -> Self {
        let wire::Principal { user_id, account_id, api_key_id, session_id, api_key_secret } = principal;
        let credential = if !api_key_id.is_empty() {
            Credential::Key { key_id: api_key_id.as_str().into(), secret: *api_key_secret }
        } else if !session_id.is_empty() {
            Credential::Session(session_id.as_str().into())
        } else {
            Credential::Token
        };
        Self { user_id: user_id.as_str().into(), account_id: account_id.as_str().into(), credential }
    }
}

/// What a revocation means for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bearing {
    /// Nothing.
    None,
    /// Its credential is no longer good, and never will be.
    Ends,
    /// Only auth-service can say. A user who was disabled may be enabled again, one whose sessions were all ended may have begun this one
    /// since, and one whose place in an organization ended may have been given another.
    Doubtful,
}

impl Holder {
    /// What a revocation means for what this holder's credential pays for.
    pub(super) fn bearing_of(&self, revocation: &Revocation) -> Bearing {
        if *self.user_id != *revocation.user_id {
            return Bearing::None;
        }
        match (&revocation.what, &self.credential) {
            (Revoked::Membership(account), _) if **account == *self.account_id => Bearing::Doubtful,
            (Revoked::Membership(_), _) => Bearing::None,
            (Revoked::Key { key_id, .. }, Credential::Key { key_id: ours, .. }) if **ours != **key_id => Bearing::None,
            (Revoked::Key { secret: None, .. }, Credential::Key { .. }) => Bearing::Ends,
            (Revoked::Key { secret: Some(_), .. }, Credential::Key { secret: 0, .. }) => Bearing::Doubtful,
            (Revoked::Key { secret: Some(number), .. }, Credential::Key { secret, .. }) if number == secret => Bearing::Ends,
            (Revoked::Session(ended), Credential::Session(ours)) if **ours == **ended => Bearing::Ends,
            (Revoked::Session(_), Credential::Token)
            | (Revoked::Tokens, Credential::Session(_) | Credential::Token)
            | (Revoked::All, Credential::Key { .. } | Credential::Session(_) | Credential::Token) => Bearing::Doubtful,
            (Revoked::Key { .. }, Credential::Key { .. } | Credential::Session(_) | Credential::Token)
            | (Revoked::Session(_), Credential::Key { .. } | Credential::Session(_))
            | (Revoked::Tokens, Credential::Key { .. }) => Bearing::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(key: &str, secret: u32, session: &str, tokens_only: bool) -> wire::WatchRevocationsResponse {
        wire::WatchRevocationsResponse {
            user_id: "ada".to_owned(),
            api_key_id: key.to_owned(),
            session_id: session.to_owned(),
            api_key_secret: secret,
            tokens_only,
            reason: "CREDENTIAL_REVOKED".to_owned(),
            ..Default::default()
        }
    }

    fn principal(user: &str, key: &str, secret: u32, session: &str) -> wire::Principal {
        wire::Principal {
            user_id: user.to_owned(),
            account_id: user.to_owned(),
            api_key_id: key.to_owned(),
            session_id: session.to_owned(),
            api_key_secret: secret,
        }
    }

    fn holder(user: &str, key: &str, secret: u32, session: &str) -> Holder {
        Holder::from(&principal(user, key, secret, session))
    }

    #[test]
    fn a_revocation_ends_what_it_names_asks_about_what_it_may_mean_and_leaves_all_else_alone() {
        use Bearing::{Doubtful, Ends, None};
        let holders = [
            holder("ada", "k1", 1, ""),
            holder("ada", "k1", 2, ""),
            holder("ada", "k1", 0, ""),
            holder("ada", "k2", 1, ""),
            holder("ada", "", 0, "s1"),
            holder("ada", "", 0, "s2"),
            holder("ada", "", 0, ""),
            holder("eve", "k1", 1, "s1"),
        ];
        for (event, expected) in [
            (sent("k1", 0, "", false), [Ends, Ends, Ends, None, None, None, None, None]),
            (sent("k1", 2, "", false), [None, Ends, Doubtful, None, None, None, None, None]),
            (sent("", 0, "s1", true), [None, None, None, None, Ends, None, Doubtful, None]),
            (sent("", 0, "", true), [None, None, None, None, Doubtful, Doubtful, Doubtful, None]),
            (sent("", 0, "", false), [Doubtful, Doubtful, Doubtful, Doubtful, Doubtful, Doubtful, Doubtful, None]),
        ] {
            let revocation = Revocation::read(event).unwrap();
            assert_eq!(holders.each_ref().map(|holder| holder.bearing_of(&revocation)), expected, "{revocation:?}");
        }
    }

    #[test]
    fn the_end_of_a_membership_is_about_what_its_organization_pays_for_and_nothing_else() {
        let ended = wire::WatchRevocationsResponse { account_id: "plumbers".to_owned(), ..sent("", 0, "", false) };
        let revocation = Revocation::read(ended).unwrap();
        let bearing = |user: &str, account: &str, key: &str, session: &str| {
            let principal = wire::Principal { account_id: account.to_owned(), ..principal(user, key, 1, session) };
            Holder::from(&principal).bearing_of(&revocation)
        };
        for (key, session) in [("k1", ""), ("", "s1"), ("", "")] {
            assert_eq!(bearing("ada", "plumbers", key, session), Bearing::Doubtful);
            assert_eq!(bearing("ada", "ada", key, session), Bearing::None);
            assert_eq!(bearing("ada", "bakers", key, session), Bearing::None);
            assert_eq!(bearing("eve", "plumbers", key, session), Bearing::None);
        }
    }

    #[test]
    fn a_sign_of_life_revokes_nothing() {
        assert_eq!(Revocation::read(wire::WatchRevocationsResponse { cursor: "7-0".to_owned(), ..Default::default() }), None);
    }

    #[test]
    fn a_cut_says_what_became_of_the_user_or_that_the_credential_was_revoked() {
        for (told, reason) in [
            ("USER_DISABLED", ErrorReason::UserDisabled),
            ("USER_LOCKED", ErrorReason::UserLocked),
            ("ACCOUNT_NOT_ALLOWED", ErrorReason::AccountNotAllowed),
            ("CREDENTIAL_REVOKED", ErrorReason::CredentialRevoked),
            ("REFRESH_TOKEN_REUSED", ErrorReason::CredentialRevoked),
            ("OF_A_LATER_RELEASE", ErrorReason::CredentialRevoked),
            ("", ErrorReason::CredentialRevoked),
        ] {
            let sent = wire::WatchRevocationsResponse { reason: told.to_owned(), ..sent("k1", 0, "", false) };
            assert_eq!(Revocation::read(sent).unwrap().reason, reason, "{told}");
        }
    }
}

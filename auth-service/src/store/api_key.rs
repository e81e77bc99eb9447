//! API keys as they are stored: a row for each secret of a key, with all that is known of the key beside it.

use std::time::Duration;

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::{AuditEvent, CheckRequest, Permission, PresentedCredential, Refusal, Scope};
use crate::ids::{AccountId, KeyId, UserId};
use crate::model_pattern::PatternRule;

/// How long the repetition of a request that made a secret is known as one.
pub const REQUEST_LIFE: Duration = Duration::from_secs(24 * 3600);

/// An API key: what is the same whichever of its secrets is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// Its id.
    pub key_id: KeyId,
    /// Who acts when it is used: who made it, or a service account.
    pub user_id: UserId,
    /// For people; may be empty.
    pub name: String,
    /// What it may do; not empty.
    pub scopes: Vec<Scope>,
    /// Patterns of model names it may use, `*` for any run of characters; empty: all.
    pub models: Vec<String>,
    /// How they are compared.
    pub pattern_rule: PatternRule,
    /// Networks that it may be used from; empty: all.
    pub networks: Vec<IpNet>,
    /// When it was made.
    pub created_at_ms: i64,
    /// When it ends, if ever.
    pub expires_at_ms: Option<i64>,
    /// When it was revoked.
    pub revoked_at_ms: Option<i64>,
}

/// One of a key's secrets: everything but the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRecord {
    /// Counts up from 1 within the key.
    pub number: u32,
    /// The first characters and the last four, for people.
    pub hint: String,
    /// When it was made.
    pub created_at_ms: i64,
    /// When it ends because another took its place, if ever.
    pub ends_at_ms: Option<i64>,
    /// When it was revoked.
    pub revoked_at_ms: Option<i64>,
    /// The request that made it, if it can be repeated.
    pub made_by: Option<RequestMark>,
}

/// What is kept of a request that made a secret, so that its repetition is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestMark {
    /// Which.
    pub request: KeyRequest,
    /// When it was first made. It is known for [`REQUEST_LIFE`] from then.
    pub at_ms: i64,
}

/// Names a request for a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRequest {
    /// SHA-256 of whose it is and of its id.
    pub digest: [u8; 32],
    /// SHA-256 of what is asked for.
    pub fingerprint: [u8; 32],
}

impl KeyRequest {
    /// A user's request by its id. `wanted`: all of its fields in one form, with the method's name.
    #[must_use]
    pub fn new(user: &UserId, request_id: &str, wanted: &[u8]) -> Self {
        // A user's id has one length, so no two pairs run together.
        let digest = Sha256::new().chain_update(user.as_str()).chain_update(request_id).finalize().into();
        Self { digest, fingerprint: Sha256::digest(wanted).into() }
    }
}

/// A secret as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSecret {
    /// SHA-256 of the secret; no two are the same.
    pub secret_hash: [u8; 32],
    /// The key that it is of.
    pub key: ApiKeyRecord,
    /// What is known of it.
    pub secret: SecretRecord,
    /// When it was used last, to the hour or so.
    pub last_used_at_ms: Option<i64>,
}

impl StoredSecret {
    /// When it was revoked, by itself or with its key.
    #[must_use]
    pub fn revoked_at_ms(&self) -> Option<i64> {
        earlier(self.key.revoked_at_ms, self.secret.revoked_at_ms)
    }

    /// When it ends by itself, or with its key.
    #[must_use]
    pub fn expires_at_ms(&self) -> Option<i64> {
        earlier(self.key.expires_at_ms, self.secret.ends_at_ms)
    }
}

/// The earlier of two times, of which each may never come.
pub(crate) fn earlier(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    [one, other].into_iter().flatten().min()
}

/// A key with its secrets, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    /// The key.
    pub key: ApiKeyRecord,
    /// Its secrets, the newest first; not empty.
    pub secrets: Vec<ListedSecret>,
}

/// A secret, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedSecret {
    /// What is known of it.
    pub secret: SecretRecord,
    /// When it was used last, to the hour or so.
    pub last_used_at_ms: Option<i64>,
}

/// A secret that was drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSecret {
    /// SHA-256 of it.
    pub secret_hash: [u8; 32],
    /// As [`SecretRecord::hint`].
    pub hint: String,
}

/// What somebody wants to be changed of an account's API keys.
#[derive(Debug, Clone)]
pub enum KeyChange {
    /// A new key with its first secret.
    Create {
        /// The key; `created_at_ms` is set by the store's clock, whatever it is here.
        key: ApiKeyRecord,
        /// Its secret.
        secret: NewSecret,
        /// Makes it idempotent; `None`: each one makes a key.
        request: Option<KeyRequest>,
    },
    /// Another secret for a key.
    Rotate {
        /// Which key.
        key_id: KeyId,
        /// The new secret.
        secret: NewSecret,
        /// How long those before stay good; zero: they are revoked.
        grace: Duration,
        /// As for a new key.
        request: Option<KeyRequest>,
    },
    /// Ends a key and all of its secrets.
    Revoke {
        /// Which key.
        key_id: KeyId,
    },
    /// Ends one of its secrets, and the key when none is left in force.
    RevokeSecret {
        /// Which key.
        key_id: KeyId,
        /// The secret's number.
        number: u32,
    },
    /// The same of a secret that somebody shows.
    RevokeShown {
        /// SHA-256 of it.
        secret_hash: [u8; 32],
    },
}

/// A change of an account's API keys, and who asks for it.
#[derive(Debug, Clone)]
pub struct KeyChangeRequest {
    /// Whose keys.
    pub account: AccountId,
    /// The access token that asks: it must be in force in the step that makes the change. `None`: whoever shows a secret may revoke it.
    pub asker: Option<PresentedCredential>,
    /// What.
    pub change: KeyChange,
}

impl KeyChangeRequest {
    /// What must be good for the change to be made.
    pub(super) fn check(&self) -> Option<CheckRequest> {
        let permission = Permission::of(Scope::Account);
        let credential = self.asker.clone()?;
        Some(CheckRequest { account: self.account.clone(), credential, permission, charge: None, caller_address: None })
    }

    /// Whether it takes rights away and gives none: that works in a store that is full.
    pub(super) fn only_restricts(&self) -> bool {
        match self.change {
            KeyChange::Create { .. } | KeyChange::Rotate { .. } => false,
            KeyChange::Revoke { .. } | KeyChange::RevokeSecret { .. } | KeyChange::RevokeShown { .. } => true,
        }
    }
}

/// What came of a [`KeyChange`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyAnswer {
    /// It was made, or was so before.
    Done {
        /// The key as it is now.
        key: Box<ListedKey>,
        /// The number of the secret that it is about; `None`: of all.
        number: Option<u32>,
        /// Whether anything was changed.
        is_change: bool,
    },
    /// Whose it would be has [`MAX_LIVE_API_KEYS`](crate::keyring::MAX_LIVE_API_KEYS) keys in force there; nothing was changed.
    TooManyKeys,
    /// The key has [`MAX_LIVE_SECRETS`](crate::keyring::MAX_LIVE_SECRETS) secrets in force; nothing was changed.
    TooManySecrets,
    /// The request's id was used with other fields; nothing was changed.
    RequestIdReused,
    /// The key would have ended before it was made; nothing was changed.
    EndIsOver,
    /// There is no such key or secret.
    NotFound,
    /// The key, or the secret that the request made, is no longer in force; nothing was changed.
    NotInForce,
    /// Who asks may not, or no longer; nothing was changed.
    Refused(Refusal),
    /// Who asks is in force, and the key is another's; nothing was changed.
    Forbidden(KeyRefusal),
}

/// Why somebody may not change a key of an organization's account that isn't theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRefusal {
    /// It is a service account's: owners make its keys.
    OwnerRequired,
    /// The account has no such service account.
    NoSuchServiceAccount,
    /// It is another member's, who alone may have another secret of it.
    OfAnotherMember,
}

impl KeyAnswer {
    /// The event of the change, with the key, whose it is, and the secret that it came to be about.
    pub(super) fn recorded_in(&self, event: AuditEvent) -> AuditEvent {
        let Self::Done { key, number, .. } = self else { return event };
        let event = AuditEvent { subject: Some(key.key.user_id.clone()), ..event.to_object(&key.key.key_id) };
        let secret = number.map(|number| format!("secret {number}"));
        secret.map_or(event.clone(), |detail| AuditEvent { detail, ..event })
    }
}

/// An API key's secret that was used.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyUse {
    /// Whose key.
    pub account: AccountId,
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
}

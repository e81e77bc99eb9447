//! An API key as it is stored, and its making.

use super::Scope;
use crate::ids::{AccountId, KeyId, UserId};

/// An API key as it is stored: everything but the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// Its id.
    pub key_id: KeyId,
    /// Who made it, and acts when it is used.
    pub user_id: UserId,
    /// For people; may be empty.
    pub name: String,
    /// The key's first characters and last four, for people.
    pub hint: String,
    /// What it may do; not empty.
    pub scopes: Vec<Scope>,
    /// Patterns of model names it may use, `*` for any run of characters; empty: all.
    pub models: Vec<String>,
    /// When it was made.
    pub created_at_ms: i64,
    /// When it ends, if ever.
    pub expires_at_ms: Option<i64>,
    /// When it was revoked.
    pub revoked_at_ms: Option<i64>,
}

/// An API key to be kept.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// Whose.
    pub account: AccountId,
    /// SHA-256 of the key's secret.
    pub secret_hash: [u8; 32],
    /// The rest; `created_at_ms` is set by the store's clock, whatever it is here.
    pub record: ApiKeyRecord,
}

/// What became of a [`NewApiKey`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiKeyCreation {
    /// Kept.
    Created(ApiKeyRecord),
    /// The account has [`MAX_LIVE_API_KEYS`](crate::keyring::MAX_LIVE_API_KEYS) keys that are neither revoked nor past their time; nothing
    /// was kept.
    LimitReached,
}

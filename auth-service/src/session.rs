//! Sessions: how one begins, is kept and ends. Pure rules; stores compare what they decide from, and write what they say.

use std::net::IpAddr;

use crate::ids::SessionId;
use crate::token_scopes::TokenScopes;

/// A user signed in, somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub session_id: SessionId,
    /// When it began.
    pub created_at_ms: i64,
    /// When it was last refreshed, or begun.
    pub last_used_at_ms: i64,
    /// Until when it must be refreshed again, or it ends.
    pub refresh_expires_at_ms: i64,
    /// When it ends, however often it is refreshed.
    pub ends_at_ms: i64,
    /// The member's, as it was when the session began.
    pub tokens_valid_from_ms: i64,
    /// What the client called itself.
    pub client: String,
    /// Where it was begun or last refreshed from; `None`: not known.
    pub address: Option<IpAddr>,
    /// How it began.
    pub method: SignInMethod,
    /// What its access tokens may be used for.
    pub scopes: TokenScopes,
    /// SHA-256 of the secret that all of its refresh tokens have in common.
    pub family_hash: [u8; 32],
    /// SHA-256 of the refresh token in force.
    pub token_hash: [u8; 32],
    /// The one before it.
    pub previous: Option<PreviousToken>,
}

/// A refresh token whose place another one took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreviousToken {
    /// SHA-256 of it.
    pub token_hash: [u8; 32],
    /// When the other one took its place.
    pub rotated_at_ms: i64,
    /// Whether it was accepted once more after that.
    pub accepted_again: bool,
}

/// How a session began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignInMethod {
    /// With user name and password.
    Password,
}

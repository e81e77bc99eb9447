//! The credential that something was held with, for Extend to look at again.

use crate::access::RightsVersions;
use crate::ids::{AccountId, KeyId, UserId};
use crate::store::PresentedCredential;

/// A credential that was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What was shown.
    pub credential: PresentedCredential,
    /// The rights versions at which it was good. While they are the same, it still is.
    pub rights_versions: RightsVersions,
    /// Until when it is good if nobody revokes it; `None`: for good.
    pub good_until_ms: Option<i64>,
}

/// Who has credits held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The account that pays.
    pub account: AccountId,
    /// The user who acts, or the service account.
    pub user_id: UserId,
    /// The key that was shown; `None`: it was a token.
    pub key_id: Option<KeyId>,
    /// What was shown.
    pub standing: Standing,
}

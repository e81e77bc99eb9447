//! Callers whose rights were read from Redis lately, so that Check's script need not take the records apart on each call.
//!
//! Nothing is decided here. A caller's rights come with the account's `access`, a count of all changes that take a right away; the script
//! takes its quick way only while that count is still the same, in the same step that holds the credits. A revocation that has answered
//! is seen by the next call of every process, as if nothing were remembered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashlink::LruCache;

use super::packing;
use crate::ids::{AccountId, UserId};
use crate::store::access::{Access, KeyRights};
use crate::store::{CheckRequest, PresentedCredential, Principal};

/// Callers that are remembered, about 500 bytes each.
const MOST: usize = 16_384;

/// Tells one caller from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum CallerId {
    ApiKey(AccountId, [u8; 32]),
    User(AccountId, UserId),
}

impl CallerId {
    fn of(request: &CheckRequest) -> Self {
        let account = request.account.clone();
        match &request.credential {
            PresentedCredential::ApiKey { secret_hash } => Self::ApiKey(account, *secret_hash),
            PresentedCredential::AccessToken { user_id, .. } => Self::User(account, user_id.clone()),
        }
    }
}

/// A caller's rights, as they were when the account's `access` was this.
#[derive(Debug)]
pub(super) struct KnownCaller {
    /// The account's `access`.
    pub(super) access: String,
    rights: Access,
}

impl KnownCaller {
    pub(super) fn principal(&self) -> &Principal {
        &self.rights.principal
    }

    /// When the key ends, if it does.
    pub(super) fn expires_at_ms(&self) -> Option<i64> {
        self.rights.key.as_ref().and_then(|key| key.expires_at_ms)
    }
}

/// The callers that are remembered.
#[derive(Debug)]
pub(super) struct KnownCallers(Mutex<LruCache<CallerId, Arc<KnownCaller>>>);

impl KnownCallers {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(MOST)))
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<CallerId, Arc<KnownCaller>>> {
        // Held for a look-up at a time, and nothing in it can be left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The caller of a request, when it is remembered with rights that suffice.
    pub(super) fn find(&self, request: &CheckRequest) -> Option<Arc<KnownCaller>> {
        let known = self.lock().get(&CallerId::of(request))?.clone();
        let issued_at_ms = match request.credential {
            PresentedCredential::AccessToken { issued_at_ms, .. } => Some(issued_at_ms),
            PresentedCredential::ApiKey { .. } => None,
        };
        known.rights.refusal(&request.permission, issued_at_ms).is_none().then_some(known)
    }

    /// Remembers a caller that Redis let in. `key`, `member`: their records, as the script read them together with `access`. What can't be
    /// read is not remembered.
    pub(super) fn learn(&self, request: &CheckRequest, principal: &Principal, access: &str, key: &str, member: &str) {
        let Some((role, disabled, tokens_valid_from_ms)) = packing::member(member) else { return };
        let rights_of = |key: &str| {
            packing::api_key(key).map(|key| KeyRights {
                scopes: key.scopes,
                models: key.models,
                expires_at_ms: key.expires_at_ms,
                revoked_at_ms: key.revoked_at_ms,
            })
        };
        let key = match (&principal.key_id, rights_of(key)) {
            (None, _) => None,
            (Some(_), Some(rights)) if rights.revoked_at_ms.is_none() => Some(rights),
            (Some(_), _) => return,
        };
        let rights = Access { principal: Principal { role, ..principal.clone() }, disabled, tokens_valid_from_ms, key };
        self.lock().insert(CallerId::of(request), Arc::new(KnownCaller { access: access.to_owned(), rights }));
    }
}

//! Callers whose rights were read from the store lately, so that Check need not take their records apart on each call.
//!
//! Nothing is decided here. A caller's rights come with the account's `access`, a count of all changes that take a right away; a store uses
//! them only while that count is still the same, in the same step that holds the credits. A revocation that has answered is seen by the
//! next call of every process, as if nothing were remembered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashlink::LruCache;

use super::access::Access;
use super::{CheckRequest, PresentedCredential, Principal};
use crate::ids::{AccountId, UserId};

/// Callers that are remembered, about 500 bytes each.
const MOST: usize = 16_384;

/// Tells one caller from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum CallerId {
    ApiKey(AccountId, [u8; 32]),
    User(AccountId, UserId),
}

impl CallerId {
    pub(super) fn of(request: &CheckRequest) -> Self {
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
    pub(super) access: i64,
    pub(super) rights: Access,
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
        known.rights.refusal(&request.permission, request.credential.issued_at_ms()).is_none().then_some(known)
    }

    /// Remembers the rights of a caller that was let in, as they were read together with `access`.
    pub(super) fn learn(&self, caller: CallerId, access: i64, rights: Access) {
        self.lock().insert(caller, Arc::new(KnownCaller { access, rights }));
    }
}

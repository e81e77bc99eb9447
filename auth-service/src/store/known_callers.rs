//! Callers whose rights were read from the store lately, so that Check need not take their records apart on each call.
//!
//! Nothing is decided here. Rights that were read are used only while the account's rights version, compared in the same atomic step, is
//! unchanged. So a revocation that has answered is seen by the next call of every process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashlink::LruCache;

use super::{CheckRequest, PresentedCredential};
use crate::access::{Rights, RightsVersions};
use crate::ids::{AccountId, SessionId, UserId};

/// Callers that are remembered, about 500 bytes each.
const MAX_KNOWN: usize = 16_384;

/// Tells one caller from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum CallerId {
    ApiKey(AccountId, [u8; 32]),
    User(AccountId, UserId, Option<SessionId>),
}

impl CallerId {
    pub(super) fn of(request: &CheckRequest) -> Self {
        let account = request.account.clone();
        match &request.credential {
            PresentedCredential::ApiKey { secret_hash } => Self::ApiKey(account, *secret_hash),
            PresentedCredential::AccessToken { user_id, session, .. } => Self::User(account, user_id.clone(), session.clone()),
        }
    }
}

/// A caller's rights, as they were at one rights version of the account, and of the user's own account where that is another.
#[derive(Debug)]
pub(super) struct KnownCaller {
    pub(super) rights_versions: RightsVersions,
    pub(super) rights: Rights,
}

impl KnownCaller {
    /// Whether they are the caller's rights still, at these rights versions and at this time.
    pub(super) fn counts(&self, rights_versions: RightsVersions, now_ms: i64) -> bool {
        self.rights_versions == rights_versions && self.rights.end_at_ms().is_none_or(|end_at_ms| end_at_ms > now_ms)
    }
}

/// The callers that are remembered.
#[derive(Debug)]
pub(super) struct KnownCallers(Mutex<LruCache<CallerId, Arc<KnownCaller>>>);

impl KnownCallers {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(MAX_KNOWN)))
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<CallerId, Arc<KnownCaller>>> {
        // Held for a look-up at a time, and nothing in it can be left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The caller of a request, when it is remembered with rights that suffice.
    pub(super) fn find(&self, request: &CheckRequest) -> Option<Arc<KnownCaller>> {
        if request.permission.step_up {
            // It depends on the time, which the store has.
            return None;
        }
        let known = self.lock().get(&CallerId::of(request))?.clone();
        known.rights.refusal(request).is_none().then_some(known)
    }

    /// Remembers the rights of a caller that was let in, as they were read together with these rights versions.
    pub(super) fn learn(&self, caller: CallerId, rights_versions: RightsVersions, rights: Rights) -> Arc<KnownCaller> {
        let known = Arc::new(KnownCaller { rights_versions, rights });
        self.lock().insert(caller, Arc::clone(&known));
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Member, RightsVersion, Rows, authorize};
    use crate::store::{Permission, Scope};
    use crate::user::Role;

    const NOW_MS: i64 = 1_700_000_000_000;

    #[test]
    fn rights_that_were_learned_at_a_step_that_the_store_lost_count_at_none_that_takes_its_place() {
        let request = CheckRequest {
            account: AccountId::parse("0123456789abcdef").unwrap(),
            credential: PresentedCredential::AccessToken {
                user_id: UserId::parse("0123456789abcdef").unwrap(),
                session: None,
                issued_at_ms: NOW_MS,
            },
            permission: Permission { model: "llama3".to_owned(), ..Permission::of(Scope::Chat) },
            charge: None,
            caller_address: None,
        };
        let member = Member { role: Role::User, disabled: false, locked: false, password_change_required: false, tokens_valid_from_ms: 0 };
        let rights = authorize(&request, Rows { member: Some(member), ..Rows::default() }, NOW_MS).unwrap();
        let drawn = || RightsVersion::draw().unwrap();
        let (known_callers, lost) = (KnownCallers::new(), RightsVersions { account: drawn(), home: Some(drawn()) });
        known_callers.learn(CallerId::of(&request), lost, rights);
        let known = known_callers.find(&request).unwrap();
        assert!(known.counts(lost, NOW_MS));
        // Whatever is changed in its place, and however often.
        for _ in 0..1000 {
            assert!(!known.counts(RightsVersions { account: drawn(), ..lost }, NOW_MS));
            assert!(!known.counts(RightsVersions { home: Some(drawn()), ..lost }, NOW_MS));
        }
    }
}

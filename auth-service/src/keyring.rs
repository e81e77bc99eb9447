//! How many API keys an account keeps.

use std::cmp::Reverse;

use crate::ids::KeyId;
use crate::store::ApiKeyRecord;

/// Keys of one account that are in force: neither revoked nor past their time. Of the others, the newest so many are kept to be listed.
pub const MAX_LIVE_API_KEYS: usize = 100;

/// Keys that make room for a new one: the oldest of those no longer in force, above the bound. `None`: the account has as many live keys as
/// it may.
#[must_use]
pub fn on_create(keys: &[ApiKeyRecord], now_ms: i64) -> Option<Vec<KeyId>> {
    let live = keys.iter().filter(|key| ended_at_ms(key, now_ms).is_none()).count();
    (live < MAX_LIVE_API_KEYS).then(|| beyond_the_newest(keys, now_ms))
}

/// What becomes of the keys when one is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The key as it is then. One that was revoked before keeps its time.
    pub revoked: ApiKeyRecord,
    /// The oldest of those no longer in force, above the bound.
    pub dropped: Vec<KeyId>,
}

/// Revokes a key; `None`: there is no such key.
#[must_use]
pub fn on_revoke(keys: &[ApiKeyRecord], key_id: &KeyId, now_ms: i64) -> Option<Revocation> {
    let found = keys.iter().find(|key| key.key_id == *key_id)?;
    let revoked = ApiKeyRecord { revoked_at_ms: found.revoked_at_ms.or(Some(now_ms)), ..found.clone() };
    let others = keys.iter().filter(|key| key.key_id != *key_id);
    let dropped = beyond_the_newest(others.chain([&revoked]), now_ms);
    Some(Revocation { revoked, dropped })
}

/// When a key ended; `None`: it is in force.
fn ended_at_ms(key: &ApiKeyRecord, now_ms: i64) -> Option<i64> {
    key.revoked_at_ms.or(key.expires_at_ms.filter(|expires_at_ms| *expires_at_ms <= now_ms))
}

/// Of the keys that ended, all but the newest [`MAX_LIVE_API_KEYS`]: by their end, then by id, so that all stores keep the same.
fn beyond_the_newest<'a>(keys: impl IntoIterator<Item = &'a ApiKeyRecord>, now_ms: i64) -> Vec<KeyId> {
    let mut ended: Vec<_> = keys.into_iter().filter_map(|key| Some((ended_at_ms(key, now_ms)?, &key.key_id))).collect();
    ended.sort_unstable_by_key(|ended| Reverse(*ended));
    ended.into_iter().skip(MAX_LIVE_API_KEYS).map(|(_, key_id)| key_id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ids::UserId;
    use crate::store::Scope;

    fn key(number: i64, expires_at_ms: Option<i64>, revoked_at_ms: Option<i64>) -> ApiKeyRecord {
        ApiKeyRecord {
            key_id: KeyId::parse(&format!("{number:012}")).unwrap(),
            user_id: UserId::parse("0123456789abcdef").unwrap(),
            name: String::new(),
            hint: String::new(),
            scopes: vec![Scope::Inference],
            models: Vec::new(),
            created_at_ms: number,
            expires_at_ms,
            revoked_at_ms,
        }
    }

    #[test]
    fn a_hundred_live_keys_are_the_limit_and_those_past_their_time_or_revoked_do_not_count() {
        let live: Vec<_> = (0..99).map(|number| key(number, Some(11), None)).collect();
        let others = [key(200, Some(10), None), key(201, None, Some(5))];
        assert_eq!(on_create(&[&live[..], &others[..]].concat(), 10), Some(Vec::new()));
        assert_eq!(on_create(&[&live[..], &[key(99, None, None)]].concat(), 10), None);
    }

    #[test]
    fn of_the_keys_past_their_time_the_newest_hundred_are_kept() {
        let ended: Vec<_> = (0..102).map(|number| key(number, Some(number / 2), None)).collect();
        assert_eq!(on_create(&ended, 1000), Some(vec![ended[1].key_id.clone(), ended[0].key_id.clone()]));
    }

    #[test]
    fn a_revocation_keeps_the_first_ones_time_and_drops_the_oldest_above_the_bound() {
        let mut keys: Vec<_> = (0..100).map(|number| key(number, None, Some(number))).collect();
        keys.push(key(500, None, None));
        let Revocation { revoked, dropped } = on_revoke(&keys, &keys[100].key_id, 1000).unwrap();
        assert_eq!((revoked.revoked_at_ms, dropped), (Some(1000), vec![keys[0].key_id.clone()]));
        let again = on_revoke(&keys[..100], &keys[7].key_id, 1000).unwrap();
        assert_eq!((again.revoked.revoked_at_ms, again.dropped), (Some(7), Vec::new()));
        assert_eq!(on_revoke(&keys, &KeyId::parse("nosuchkeyyyy").unwrap(), 1000), None);
    }
    #[test]
    fn keys_that_were_revoked_and_those_past_their_time_are_kept_within_one_bound() {
        let revoked = (0..80).map(|number| key(number, None, Some(2 * number)));
        let ended = (0..80).map(|number| key(100 + number, Some(2 * number + 1), None));
        let keys: Vec<_> = revoked.chain(ended).chain([key(500, Some(1001), None)]).collect();
        let oldest = keys.iter().filter(|key| key.revoked_at_ms.or(key.expires_at_ms) < Some(60));
        let oldest: BTreeSet<_> = oldest.map(|key| key.key_id.clone()).collect();
        let dropped = on_create(&keys, 1000).unwrap();
        assert_eq!((dropped.len(), dropped.into_iter().collect()), (60, oldest));
        let Revocation { revoked, dropped } = on_revoke(&keys, &keys[160].key_id, 1000).unwrap();
        assert!(dropped.len() == 61 && !dropped.contains(&revoked.key_id));
    }
}

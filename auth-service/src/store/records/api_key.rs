//! API keys: a row for each secret, with all of its key.

use prost::Message;

use super::VERSION;
use crate::access::KeyRights;
use crate::ids::{KeyId, UserId};
use crate::model_pattern::{ModelPattern, PatternRule};
use crate::store::{ApiKeyRecord, KeyRequest, RequestMark, Scope, SecretRecord, StoredSecret};

/// A secret of an API key, beside its hash, with all of the key. What releases read that know one secret a key means the secret.
#[derive(Clone, PartialEq, Message)]
struct StoredKey {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(string, tag = "3")]
    user_id: String,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(string, tag = "5")]
    hint: String,
    #[prost(uint32, repeated, tag = "6")]
    scopes: Vec<u32>,
    #[prost(string, repeated, tag = "7")]
    models: Vec<String>,
    #[prost(int64, tag = "8")]
    created_at_ms: i64,
    #[prost(int64, optional, tag = "9")]
    expires_at_ms: Option<i64>,
    #[prost(int64, optional, tag = "10")]
    revoked_at_ms: Option<i64>,
    /// How `models` are compared. 0: with short names as a whole, as they were at first. 1: with full names, part by part.
    #[prost(uint32, tag = "11")]
    pattern_rule: u32,
    #[prost(string, repeated, tag = "12")]
    networks: Vec<String>,
    /// The secret's. 0: written by a release that knew one secret a key, and what follows is not there.
    #[prost(uint32, tag = "13")]
    number: u32,
    #[prost(int64, tag = "14")]
    secret_created_at_ms: i64,
    #[prost(int64, optional, tag = "15")]
    secret_ends_at_ms: Option<i64>,
    #[prost(int64, optional, tag = "16")]
    secret_revoked_at_ms: Option<i64>,
    #[prost(int64, optional, tag = "17")]
    key_expires_at_ms: Option<i64>,
    #[prost(int64, optional, tag = "18")]
    key_revoked_at_ms: Option<i64>,
    /// Empty: no request that can be repeated made it.
    #[prost(bytes = "vec", tag = "19")]
    request_digest: Vec<u8>,
    #[prost(bytes = "vec", tag = "20")]
    request_fingerprint: Vec<u8>,
    #[prost(int64, tag = "21")]
    request_at_ms: i64,
}

/// What a key's row has in [`StoredKey::version`] that says more than releases know whose keys had one secret and no networks: they must
/// not let in whom they know too little about.
const KEY_VERSION: u32 = 2;

/// See [`StoredKey::pattern_rule`].
const PATTERNS_WHOLE: u32 = 0;
const PATTERNS_BY_PART: u32 = 1;

/// Numbers of scopes. All of inference had one before its parts had.
const INFERENCE: u32 = 1;

fn scope_number(scope: Scope) -> u32 {
    match scope {
        Scope::Models => 2,
        Scope::Account => 3,
        Scope::Chat => 4,
        Scope::Generate => 5,
        Scope::Embed => 6,
        Scope::ListModels => 7,
    }
}

pub(super) fn scope_numbers(scopes: &[Scope]) -> Vec<u32> {
    let all_inference = Scope::INFERENCE.iter().all(|scope| scopes.contains(scope));
    let single = scopes.iter().filter(|scope| !(all_inference && Scope::INFERENCE.contains(scope)));
    all_inference.then_some(INFERENCE).into_iter().chain(single.map(|scope| scope_number(*scope))).collect()
}

/// Those of these numbers. One that isn't known can't be read.
pub(super) fn scopes(numbers: &[u32]) -> Option<Vec<Scope>> {
    let is_known = |number: &u32| *number == INFERENCE || Scope::ALL.iter().any(|scope| scope_number(*scope) == *number);
    let has = |scope: &Scope| numbers.contains(&scope_number(*scope)) || (numbers.contains(&INFERENCE) && Scope::INFERENCE.contains(scope));
    numbers.iter().all(is_known).then(|| Scope::ALL.into_iter().filter(has).collect())
}

pub(in crate::store) fn secret_bytes(stored: &StoredSecret) -> Vec<u8> {
    let StoredSecret { key, secret, .. } = stored;
    let pattern_rule = match key.pattern_rule {
        PatternRule::Whole => PATTERNS_WHOLE,
        PatternRule::ByPart => PATTERNS_BY_PART,
    };
    let scopes = scope_numbers(&key.scopes);
    let is_plain = key.networks.is_empty()
        && secret.ends_at_ms.is_none()
        && secret.revoked_at_ms.is_none()
        && scopes.iter().all(|number| *number <= scope_number(Scope::Account));
    let request = secret.made_by.map(|mark| mark.request);
    let stored = StoredKey {
        version: if is_plain { VERSION } else { KEY_VERSION },
        key_id: key.key_id.to_string(),
        user_id: key.user_id.to_string(),
        name: key.name.clone(),
        hint: secret.hint.clone(),
        scopes,
        models: key.models.clone(),
        created_at_ms: key.created_at_ms,
        expires_at_ms: stored.expires_at_ms(),
        revoked_at_ms: stored.revoked_at_ms(),
        pattern_rule,
        networks: key.networks.iter().map(ToString::to_string).collect(),
        number: secret.number,
        secret_created_at_ms: secret.created_at_ms,
        secret_ends_at_ms: secret.ends_at_ms,
        secret_revoked_at_ms: secret.revoked_at_ms,
        key_expires_at_ms: key.expires_at_ms,
        key_revoked_at_ms: key.revoked_at_ms,
        request_digest: request.map(|request| request.digest.to_vec()).unwrap_or_default(),
        request_fingerprint: request.map(|request| request.fingerprint.to_vec()).unwrap_or_default(),
        request_at_ms: secret.made_by.map_or(0, |mark| mark.at_ms),
    };
    stored.encode_to_vec()
}

/// A secret by its bytes. What a release wrote that knew one secret a key is that key's first.
pub(in crate::store) fn secret(secret_hash: [u8; 32], last_used_at_ms: Option<i64>, bytes: &[u8]) -> Option<StoredSecret> {
    let stored = stored_key(bytes)?;
    let is_whole = stored.number == 0;
    let (key, secret) = (key_of(&stored)?, &stored);
    let made_by = match (&secret.request_digest[..], &secret.request_fingerprint[..]) {
        ([], []) => None,
        (digest, fingerprint) => {
            let request = KeyRequest { digest: digest.try_into().ok()?, fingerprint: fingerprint.try_into().ok()? };
            Some(RequestMark { request, at_ms: secret.request_at_ms })
        }
    };
    let secret = SecretRecord {
        number: secret.number.max(1),
        hint: secret.hint.clone(),
        created_at_ms: if is_whole { secret.created_at_ms } else { secret.secret_created_at_ms },
        ends_at_ms: secret.secret_ends_at_ms,
        revoked_at_ms: secret.secret_revoked_at_ms,
        made_by,
    };
    Some(StoredSecret { secret_hash, key, secret, last_used_at_ms })
}

fn stored_key(bytes: &[u8]) -> Option<StoredKey> {
    StoredKey::decode(bytes).ok().filter(|stored| [VERSION, KEY_VERSION].contains(&stored.version))
}

fn key_of(stored: &StoredKey) -> Option<ApiKeyRecord> {
    let is_whole = stored.number == 0;
    Some(ApiKeyRecord {
        key_id: KeyId::parse(&stored.key_id)?,
        user_id: UserId::parse(&stored.user_id)?,
        name: stored.name.clone(),
        scopes: scopes(&stored.scopes)?,
        models: stored.models.clone(),
        // A rule for patterns that isn't known can't be read: what it allows isn't known either.
        pattern_rule: match stored.pattern_rule {
            PATTERNS_WHOLE => PatternRule::Whole,
            PATTERNS_BY_PART => PatternRule::ByPart,
            _ => return None,
        },
        networks: stored.networks.iter().map(|network| network.parse().ok()).collect::<Option<_>>()?,
        created_at_ms: stored.created_at_ms,
        expires_at_ms: if is_whole { stored.expires_at_ms } else { stored.key_expires_at_ms },
        revoked_at_ms: if is_whole { stored.revoked_at_ms } else { stored.key_revoked_at_ms },
    })
}

/// What a secret's key may do, and when the secret ends.
pub(in crate::store) fn key_rights(bytes: &[u8]) -> Option<KeyRights> {
    let stored = stored_key(bytes)?;
    let ApiKeyRecord { key_id, user_id, scopes, models, pattern_rule, networks, .. } = key_of(&stored)?;
    Some(KeyRights {
        key_id,
        secret_number: stored.number.max(1),
        user_id,
        scopes,
        models: models.iter().map(|text| ModelPattern::read_by(pattern_rule, text)).collect(),
        networks,
        expires_at_ms: stored.expires_at_ms,
        revoked_at_ms: stored.revoked_at_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_pattern::FullName;

    const HASH: [u8; 32] = [7; 32];

    fn user_id() -> UserId {
        UserId::parse("0123456789abcdef").unwrap()
    }

    /// All that a key and a secret can have.
    fn full() -> StoredSecret {
        let key = ApiKeyRecord {
            key_id: KeyId::parse("0123456789ab").unwrap(),
            user_id: user_id(),
            name: "a,b c%20-".to_owned(),
            scopes: vec![Scope::Chat, Scope::Account],
            models: vec![String::new(), "llama*".to_owned()],
            pattern_rule: PatternRule::Whole,
            networks: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            created_at_ms: 12,
            expires_at_ms: Some(50),
            revoked_at_ms: Some(40),
        };
        let request = KeyRequest::new(&user_id(), "r", b"a key");
        let secret = SecretRecord {
            number: 3,
            hint: "tg_0123\u{2026}wxyz".to_owned(),
            created_at_ms: 13,
            ends_at_ms: Some(30),
            revoked_at_ms: Some(20),
            made_by: Some(RequestMark { request, at_ms: 11 }),
        };
        StoredSecret { secret_hash: HASH, key, secret, last_used_at_ms: Some(5) }
    }

    /// What a release could write that knew one secret a key, and neither networks nor parts of inference.
    fn plain() -> StoredSecret {
        let full = full();
        let key = ApiKeyRecord { scopes: named(&["inference", "account"]), networks: Vec::new(), revoked_at_ms: None, ..full.key };
        let secret = SecretRecord { number: 1, created_at_ms: 12, ends_at_ms: None, revoked_at_ms: None, made_by: None, ..full.secret };
        StoredSecret { key, secret, ..full }
    }

    fn named(names: &[&str]) -> Vec<Scope> {
        crate::scope::named(names.iter().copied())
    }

    /// As the release before wrote it: the fields up to 11.
    fn of_before(stored: &StoredSecret) -> Vec<u8> {
        let written = StoredKey::decode(&secret_bytes(stored)[..]).unwrap();
        let StoredKey { key_id, user_id, name, hint, scopes, models, created_at_ms, expires_at_ms, revoked_at_ms, pattern_rule, .. } =
            written;
        let before = StoredKey {
            version: 1,
            key_id,
            user_id,
            name,
            hint,
            scopes,
            models,
            created_at_ms,
            expires_at_ms,
            revoked_at_ms,
            pattern_rule,
            ..StoredKey::default()
        };
        before.encode_to_vec()
    }

    #[test]
    fn a_secret_is_read_as_it_was_written_whatever_it_has() {
        for stored in [full(), plain()] {
            assert_eq!(secret(HASH, Some(5), &secret_bytes(&stored)), Some(stored));
        }
    }

    #[test]
    fn a_secret_may_do_what_its_key_may_until_the_first_of_their_ends() {
        let rights = key_rights(&secret_bytes(&full())).unwrap();
        assert_eq!((rights.secret_number, rights.expires_at_ms, rights.revoked_at_ms), (3, Some(30), Some(20)));
        assert_eq!((rights.scopes, rights.networks), (full().key.scopes, full().key.networks));
        let mut lasting = full();
        (lasting.secret.ends_at_ms, lasting.secret.revoked_at_ms) = (Some(60), None);
        let rights = key_rights(&secret_bytes(&lasting)).unwrap();
        assert_eq!((rights.expires_at_ms, rights.revoked_at_ms), (Some(50), Some(40)), "the key's own");
    }

    #[test]
    fn a_key_that_the_release_before_wrote_is_read_with_one_secret() {
        // A key of everything, revoked, byte by byte as that release wrote it.
        let written = b"\x08\x01\x12\x0c0123456789ab\x1a\x100123456789abcdef\x22\x06laptop\x2a\x0etg_AdaL\xe2\x80\xa6wxyz\
            \x32\x03\x01\x02\x03\x3a\x06llama*\x40\x0c\x48\x32\x50\x28\x58\x01";
        let read = secret(HASH, None, written).unwrap();
        assert_eq!((read.key.scopes, read.key.models), (Scope::ALL.to_vec(), vec!["llama*".to_owned()]));
        assert_eq!((read.key.expires_at_ms, read.key.revoked_at_ms, read.key.created_at_ms), (Some(50), Some(40), 12));
        assert_eq!((read.secret.number, read.secret.created_at_ms, read.secret.hint.as_str()), (1, 12, "tg_AdaL\u{2026}wxyz"));
        assert_eq!((read.secret.ends_at_ms, read.secret.revoked_at_ms, read.secret.made_by), (None, None, None));
        assert_eq!(secret(HASH, Some(5), &of_before(&plain())), Some(plain()));
    }

    #[test]
    fn what_the_release_before_would_take_for_more_than_it_is_has_a_version_that_it_refuses() {
        let version = |change: &dyn Fn(&mut StoredSecret)| {
            let mut stored = plain();
            change(&mut stored);
            StoredKey::decode(&secret_bytes(&stored)[..]).unwrap().version
        };
        assert_eq!(version(&|_| {}), VERSION);
        assert_eq!(version(&|stored| stored.key.revoked_at_ms = Some(9)), VERSION, "an end of the whole key is known to it");
        assert_eq!(version(&|stored| stored.key.networks = vec!["10.0.0.0/8".parse().unwrap()]), KEY_VERSION);
        assert_eq!(version(&|stored| stored.key.scopes = vec![Scope::Embed]), KEY_VERSION);
        assert_eq!(version(&|stored| stored.secret.ends_at_ms = Some(60)), KEY_VERSION);
        assert_eq!(version(&|stored| stored.secret.revoked_at_ms = Some(9)), KEY_VERSION);
    }

    #[test]
    fn a_key_that_was_made_before_patterns_had_parts_allows_no_more_than_it_did() {
        let mut stored = plain();
        stored.key.models = vec!["Llama3*".to_owned(), "*:1b".to_owned(), "qwen:*".to_owned()];
        let allowed = |stored: &StoredSecret| {
            let rights = key_rights(&secret_bytes(stored)).unwrap();
            ["llama3:70b", "llama3x/evil", "x:1b", "hf.co/evil/x:1b", "qwen", "qwen:8b"]
                .into_iter()
                .filter(|name| rights.models.iter().any(|pattern| pattern.matches(&FullName::of(name))))
                .collect::<Vec<_>>()
        };
        assert_eq!(allowed(&stored), ["llama3:70b", "x:1b", "qwen:8b"]);
        stored.key.pattern_rule = PatternRule::ByPart;
        assert_eq!(allowed(&stored), ["llama3:70b", "x:1b", "qwen", "qwen:8b"]);
    }

    #[test]
    fn what_is_not_known_can_not_be_read() {
        let written = StoredKey::decode(&secret_bytes(&full())[..]).unwrap();
        for wrong in [
            StoredKey { version: 3, ..written.clone() },
            StoredKey { pattern_rule: 2, ..written.clone() },
            StoredKey { scopes: vec![4, 8], ..written.clone() },
            StoredKey { networks: vec!["10.0.0.0/33".to_owned()], ..written.clone() },
        ] {
            let bytes = wrong.encode_to_vec();
            assert_eq!((key_rights(&bytes), secret(HASH, None, &bytes)), (None, None), "{wrong:?}");
        }
        let bytes = StoredKey { request_digest: vec![1; 31], ..written }.encode_to_vec();
        assert_eq!(secret(HASH, None, &bytes), None);
    }
}

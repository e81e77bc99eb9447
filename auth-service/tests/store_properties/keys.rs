//! Random changes of API keys, one after the other, beside a plain model that uses none of the rules' functions.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use auth_service::ids::KeyId;
use auth_service::model_pattern::PatternRule;
use auth_service::store::clock::Clock;
use auth_service::store::sqlite::SqliteStore;
use auth_service::store::{
    ApiKeyRecord, CheckAnswer, CheckRequest, KeyAnswer, KeyChange, KeyRequest, KeyUse, NewSecret, PresentedCredential, Refusal, Scope,
    Store,
};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::fixture::{Person, RedisServer, START_MS, change_keys, event, new_user, permission, sqlite_file};
use crate::{LIMITS, current_thread};

const HOUR_MS: i64 = 3_600_000;

/// A request's id and what it asks for beside its other fields; `None`: it can't be repeated.
pub(crate) type Named = Option<(u8, u8)>;

/// Keys and secrets are counted in the order in which they were asked for.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Create { request: Named, lasts_ms: Option<i64> },
    Rotate { key: usize, grace_ms: i64, request: Named },
    Revoke { key: usize },
    RevokeSecret { key: usize, number: u32 },
    RevokeShown { secret: usize },
    Note { secret: usize },
    Wait { ms: i64 },
}

pub(crate) fn action() -> impl Strategy<Value = Action> {
    let lasts_ms = prop_oneof![3 => Just(None), 1 => (1..3000_i64).prop_map(Some)];
    let grace_ms = prop_oneof![1 => Just(0_i64), 3 => 1..2000_i64, 3 => 2000..9000_i64, 1 => Just(24 * HOUR_MS)];
    // As a rule the same is asked for again.
    let fields = || prop_oneof![5 => Just(0_u8), 1 => Just(1)];
    prop_oneof![
        2 => lasts_ms.prop_map(|lasts_ms| Action::Create { request: None, lasts_ms }),
        2 => (0..2_u8, fields()).prop_map(|request| Action::Create { request: Some(request), lasts_ms: None }),
        7 => (0..4_usize, grace_ms).prop_map(|(key, grace_ms)| Action::Rotate { key, grace_ms, request: None }),
        4 => (0..4_u8, fields())
            .prop_map(|request| Action::Rotate { key: usize::from(request.0 % 2), grace_ms: 1000, request: Some(request) }),
        1 => (0..4_usize).prop_map(|key| Action::Revoke { key }),
        2 => (0..4_usize, 0..12_u32).prop_map(|(key, number)| Action::RevokeSecret { key, number }),
        2 => (0..30_usize).prop_map(|secret| Action::RevokeShown { secret }),
        2 => (0..30_usize).prop_map(|secret| Action::Note { secret }),
        4 => prop_oneof![8 => 0..500_i64, 1 => Just(23 * HOUR_MS), 1 => Just(25 * HOUR_MS), 1 => -900..0_i64]
            .prop_map(|ms| Action::Wait { ms }),
    ]
}

/// The hash of the secret that is drawn as this one.
pub(crate) fn hash(secret: usize) -> [u8; 32] {
    let mut hash = [7; 32];
    hash[..8].copy_from_slice(&secret.to_le_bytes());
    hash
}

pub(crate) fn key_id(key: usize) -> KeyId {
    KeyId::parse(&format!("{key:012}")).unwrap()
}

/// What a store is asked for. `drawn`: the number of the secret, and of the key, that are drawn for it.
pub(crate) fn change(person: &Person, action: &Action, drawn: usize, now_ms: i64) -> Option<KeyChange> {
    let request = |named: &Named, wanted: String| {
        named.map(|(id, fields)| KeyRequest::new(&person.id, &format!("r{id}"), format!("{wanted} {fields}").as_bytes()))
    };
    let secret = NewSecret { secret_hash: hash(drawn), hint: format!("tg_{drawn}") };
    Some(match action {
        Action::Create { request: named, lasts_ms } => {
            let key = ApiKeyRecord {
                key_id: key_id(drawn),
                user_id: person.id.clone(),
                name: format!("key {drawn}"),
                scopes: vec![Scope::Chat],
                models: Vec::new(),
                pattern_rule: PatternRule::ByPart,
                networks: Vec::new(),
                created_at_ms: 0,
                expires_at_ms: lasts_ms.map(|lasts_ms| now_ms + lasts_ms),
                revoked_at_ms: None,
            };
            KeyChange::Create { key, secret, request: request(named, format!("create {lasts_ms:?}")) }
        }
        Action::Rotate { key, grace_ms, request: named } => {
            let grace = Duration::from_millis(grace_ms.unsigned_abs());
            KeyChange::Rotate { key_id: key_id(*key), secret, grace, request: request(named, format!("rotate {key} {grace_ms}")) }
        }
        Action::Revoke { key } => KeyChange::Revoke { key_id: key_id(*key) },
        Action::RevokeSecret { key, number } => KeyChange::RevokeSecret { key_id: key_id(*key), number: *number },
        Action::RevokeShown { secret } => KeyChange::RevokeShown { secret_hash: hash(*secret) },
        Action::Note { .. } | Action::Wait { .. } => return None,
    })
}

/// Whether a secret is good, or why not.
pub(crate) async fn standing(store: &dyn Store, person: &Person, secret: usize) -> Result<(KeyId, u32), Refusal> {
    let credential = PresentedCredential::ApiKey { secret_hash: hash(secret) };
    let (account, permission) = (person.account.clone(), permission(Scope::Chat));
    match store.check(CheckRequest { account, credential, permission, charge: None, caller_address: None }).await.unwrap() {
        CheckAnswer::Allowed(principal) => Ok((principal.key_id.unwrap(), principal.key_secret)),
        CheckAnswer::Refused(refusal) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

#[derive(Debug, Clone, PartialEq)]
struct ModelSecret {
    /// Its place in the order of what was drawn.
    drawn: usize,
    number: u32,
    created_ms: i64,
    ends_ms: Option<i64>,
    revoked_ms: Option<i64>,
    used_ms: Option<i64>,
    /// The request's id, all that it asked for, and when.
    made_by: Option<(u8, String, i64)>,
}

#[derive(Debug, Clone, PartialEq)]
struct ModelKey {
    key: usize,
    created_ms: i64,
    expires_ms: Option<i64>,
    revoked_ms: Option<i64>,
    secrets: Vec<ModelSecret>,
}

impl ModelKey {
    fn standing(&self, secret: &ModelSecret, now_ms: i64) -> Result<(KeyId, u32), Refusal> {
        if self.revoked_ms.is_some() || secret.revoked_ms.is_some() {
            return Err(Refusal::CredentialRevoked);
        }
        if [self.expires_ms, secret.ends_ms].into_iter().flatten().any(|end_ms| end_ms <= now_ms) {
            return Err(Refusal::CredentialExpired);
        }
        Ok((key_id(self.key), secret.number))
    }

    fn good(&self, now_ms: i64) -> usize {
        self.secrets.iter().filter(|secret| self.standing(secret, now_ms).is_ok()).count()
    }

    fn next_number(&self) -> u32 {
        self.secrets.iter().map(|secret| secret.number).max().unwrap_or(0) + 1
    }

    /// Of those that ended, the newest five.
    fn trim(&mut self, now_ms: i64) {
        self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.number));
        let (key, mut ended) = (self.clone(), 0);
        self.secrets.retain(|secret| {
            let is_good = key.standing(secret, now_ms).is_ok();
            ended += usize::from(!is_good);
            is_good || ended <= 5
        });
    }

    /// As it is listed: newest first.
    fn shown(&self) -> String {
        let mut secrets = self.secrets.clone();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.number));
        let one = |secret: &ModelSecret| {
            let ModelSecret { drawn, number, created_ms, ends_ms, revoked_ms, used_ms, .. } = secret;
            format!("{number}: tg_{drawn} {created_ms} {ends_ms:?} {revoked_ms:?} {used_ms:?}")
        };
        let secrets: Vec<_> = secrets.iter().map(one).collect();
        format!("{} {} {:?} {:?} {secrets:?}", key_id(self.key), self.created_ms, self.expires_ms, self.revoked_ms)
    }
}

fn shown(listed: &auth_service::store::ListedKey) -> String {
    let secrets: Vec<_> = listed
        .secrets
        .iter()
        .map(|listed| {
            let secret = &listed.secret;
            let (ends_ms, revoked_ms, used_ms) = (secret.ends_at_ms, secret.revoked_at_ms, listed.last_used_at_ms);
            format!("{}: {} {} {ends_ms:?} {revoked_ms:?} {used_ms:?}", secret.number, secret.hint, secret.created_at_ms)
        })
        .collect();
    let key = &listed.key;
    format!("{} {} {:?} {:?} {:?}", key.key_id, key.created_at_ms, key.expires_at_ms, key.revoked_at_ms, secrets)
}

#[derive(Debug, Default)]
struct Model {
    keys: Vec<ModelKey>,
    reached: BTreeSet<&'static str>,
}

/// What can happen.
const ALL: [&str; 9] = [
    "a lost rotation repeated",
    "a lost creation repeated",
    "another request's id",
    "what a request made has ended",
    "too many secrets",
    "rotated after its end",
    "revoked without grace",
    "the last secret revoked",
    "an end that stays",
];

impl Model {
    fn secret(&self, drawn: usize) -> Option<(&ModelKey, &ModelSecret)> {
        self.keys.iter().find_map(|key| Some((key, key.secrets.iter().find(|secret| secret.drawn == drawn)?)))
    }

    fn standing(&self, drawn: usize, now_ms: i64) -> Result<(KeyId, u32), Refusal> {
        self.secret(drawn).map_or(Err(Refusal::CredentialUnknown), |(key, secret)| key.standing(secret, now_ms))
    }

    /// The answer in words: the key and secret that it is about, or why it is refused.
    fn apply(&mut self, action: &Action, drawn: usize, now_ms: i64) -> String {
        let before = self.keys.clone();
        let answer = self.decide(action, drawn, now_ms);
        if !matches!(action, Action::Note { .. }) && self.keys != before {
            self.keys.iter_mut().for_each(|key| key.trim(now_ms));
        }
        answer
    }

    fn decide(&mut self, action: &Action, drawn: usize, now_ms: i64) -> String {
        let (named, wanted) = match action {
            Action::Create { request, lasts_ms } => (*request, format!("create {lasts_ms:?}")),
            Action::Rotate { key, grace_ms, request } => (*request, format!("rotate {key} {grace_ms}")),
            _ => (None, String::new()),
        };
        let made_by = named.map(|(id, fields)| (id, format!("{wanted} {fields}"), now_ms));
        let new = |number| ModelSecret {
            drawn,
            number,
            created_ms: now_ms,
            ends_ms: None,
            revoked_ms: None,
            used_ms: None,
            made_by: made_by.clone(),
        };
        if let Some((id, wanted, _)) = &made_by
            && let Some(answer) = self.repeat(*id, wanted, new(0), now_ms)
        {
            return answer;
        }
        match action {
            Action::Create { lasts_ms, .. } => {
                let expires_ms = lasts_ms.map(|lasts_ms| now_ms + lasts_ms);
                self.keys.push(ModelKey { key: drawn, created_ms: now_ms, expires_ms, revoked_ms: None, secrets: vec![new(1)] });
                format!("{} Some(1)", key_id(drawn))
            }
            Action::Rotate { key, grace_ms, .. } => {
                let Some(key) = self.keys.iter_mut().find(|found| found.key == *key) else { return "NotFound".to_owned() };
                if key.good(now_ms) == 0 {
                    self.reached.insert("rotated after its end");
                    return "NotInForce".to_owned();
                }
                let mut after = key.clone();
                for (before, secret) in key.secrets.iter().zip(&mut after.secrets) {
                    match key.standing(before, now_ms) {
                        Err(_) => {}
                        Ok(_) if *grace_ms == 0 => {
                            self.reached.insert("revoked without grace");
                            secret.revoked_ms = Some(now_ms);
                        }
                        Ok(_) => {
                            if before.ends_ms.is_some_and(|ends_ms| ends_ms < now_ms + grace_ms) {
                                self.reached.insert("an end that stays");
                            }
                            secret.ends_ms = Some(before.ends_ms.map_or(now_ms + grace_ms, |ends_ms| ends_ms.min(now_ms + grace_ms)));
                        }
                    }
                }
                // More, where the clock went back to before the ends of some.
                if after.good(now_ms) >= 5 {
                    self.reached.insert("too many secrets");
                    return "TooManySecrets".to_owned();
                }
                let number = after.next_number();
                after.secrets.push(new(number));
                let answer = format!("{} Some({number})", key_id(after.key));
                *key = after;
                answer
            }
            Action::Revoke { key } => {
                let Some(key) = self.keys.iter_mut().find(|found| found.key == *key) else { return "NotFound".to_owned() };
                key.revoked_ms.get_or_insert(now_ms);
                format!("{} None", key_id(key.key))
            }
            Action::RevokeSecret { key, number } => {
                let found = self.keys.iter().find(|found| found.key == *key);
                let drawn = found.and_then(|key| Some(key.secrets.iter().find(|secret| secret.number == *number)?.drawn));
                drawn.map_or_else(|| "NotFound".to_owned(), |drawn| self.revoke(drawn, now_ms))
            }
            Action::RevokeShown { secret } => self.revoke(*secret, now_ms),
            Action::Note { secret } => {
                for secret in self.keys.iter_mut().flat_map(|key| &mut key.secrets).filter(|found| found.drawn == *secret) {
                    secret.used_ms = Some(now_ms);
                }
                String::new()
            }
            Action::Wait { .. } => String::new(),
        }
    }

    fn repeat(&mut self, id: u8, wanted: &str, new: ModelSecret, now_ms: i64) -> Option<String> {
        let known =
            |secret: &ModelSecret| secret.made_by.as_ref().is_some_and(|(known, _, at_ms)| *known == id && now_ms < at_ms + 24 * HOUR_MS);
        let at_ms = |secret: &ModelSecret| secret.made_by.as_ref().map(|(_, _, at_ms)| *at_ms);
        let all = self.keys.iter().flat_map(|key| &key.secrets);
        let lost = all.filter(|secret| known(secret)).max_by_key(|secret| (at_ms(secret), hash(secret.drawn)))?.drawn;
        let key = self.keys.iter_mut().find(|key| key.secrets.iter().any(|secret| secret.drawn == lost))?;
        let number = key.next_number();
        let place = key.secrets.iter().position(|secret| secret.drawn == lost)?;
        let before = key.secrets[place].clone();
        if before.made_by.as_ref().is_some_and(|(_, before, _)| before != wanted) {
            self.reached.insert("another request's id");
            return Some("RequestIdReused".to_owned());
        }
        if key.standing(&before, now_ms).is_err() {
            self.reached.insert("what a request made has ended");
            return Some("NotInForce".to_owned());
        }
        self.reached.insert(if wanted.starts_with("create") { "a lost creation repeated" } else { "a lost rotation repeated" });
        key.secrets[place] = ModelSecret { number, ends_ms: before.ends_ms, made_by: before.made_by, ..new };
        Some(format!("{} Some({number})", key_id(key.key)))
    }

    fn revoke(&mut self, drawn: usize, now_ms: i64) -> String {
        let Some(key) = self.keys.iter_mut().find(|key| key.secrets.iter().any(|secret| secret.drawn == drawn)) else {
            return "NotFound".to_owned();
        };
        let before = key.clone();
        let secret = key.secrets.iter_mut().find(|secret| secret.drawn == drawn).unwrap();
        let (number, was_good) = (secret.number, before.standing(secret, now_ms).is_ok());
        if before.revoked_ms.is_none() && secret.revoked_ms.is_none() {
            secret.revoked_ms = Some(now_ms);
            if was_good && key.good(now_ms) == 0 {
                self.reached.insert("the last secret revoked");
                key.revoked_ms = Some(now_ms);
            }
        }
        format!("{} Some({number})", key_id(key.key))
    }
}

fn words(answer: &KeyAnswer) -> String {
    match answer {
        KeyAnswer::Done { key, number, .. } => format!("{} {number:?}", key.key.key_id),
        other => format!("{other:?}"),
    }
}

async fn agree(store: &dyn Store, hand: &AtomicI64, name: &str, actions: &[Action]) -> Result<BTreeSet<&'static str>, TestCaseError> {
    hand.store(START_MS, Ordering::SeqCst);
    let user = new_user(name, 0);
    let person = Person { id: user.user_id.clone(), account: (&user.user_id).into() };
    store.create_user(user, event()).await.unwrap();
    let mut model = Model::default();
    for (drawn, action) in actions.iter().enumerate() {
        if let Action::Wait { ms } = action {
            hand.fetch_add(*ms, Ordering::SeqCst);
        }
        let now_ms = hand.load(Ordering::SeqCst);
        let at = format!("step {drawn}: {action:?}");
        let expected = model.apply(action, drawn, now_ms);
        if let Action::Note { secret } = action {
            let used = KeyUse { account: person.account.clone(), secret_hash: hash(*secret) };
            store.note_key_uses(&[used]).await.unwrap();
        }
        if let Some(change) = change(&person, action, drawn, now_ms) {
            let answer = change_keys(store, &person.account, change).await;
            prop_assert_eq!(words(&answer), expected, "{}", at);
        }
        let mut keys: Vec<_> = model.keys.iter().collect();
        keys.sort_by_key(|key| (key.created_ms, key_id(key.key)));
        let expected: Vec<_> = keys.into_iter().map(ModelKey::shown).collect();
        let listed: Vec<_> = store.api_keys(&person.account).await.unwrap().iter().map(shown).collect();
        prop_assert_eq!(listed, expected, "{}", at);
        for secret in (0..=drawn).rev().take(8) {
            prop_assert_eq!(standing(store, &person, secret).await, model.standing(secret, now_ms), "secret {}, {}", secret, at);
        }
    }
    let now_ms = hand.load(Ordering::SeqCst);
    for secret in 0..actions.len() {
        prop_assert_eq!(standing(store, &person, secret).await, model.standing(secret, now_ms), "secret {}", secret);
    }
    Ok(model.reached)
}

/// Actions that come to everything, whatever is drawn at random. Keys and secrets have the number of their action.
fn scenes() -> [Vec<Action>; 3] {
    let create = |request| Action::Create { request, lasts_ms: None };
    let rotate = |grace_ms, request| Action::Rotate { key: 0, grace_ms, request };
    [
        // The same again, and then with other fields.
        vec![create(None), rotate(1000, Some((0, 0))), rotate(1000, Some((0, 0))), rotate(1000, Some((0, 1)))],
        // The last secret is shown by whoever found it; the request that made it comes again, and so does a rotation.
        vec![create(Some((0, 0))), create(Some((0, 0))), Action::RevokeShown { secret: 1 }, create(Some((0, 0))), rotate(1000, None)],
        // As many secrets as there may be, with grace periods that end no other one later, and then none.
        vec![
            create(None),
            rotate(5000, None),
            rotate(9000, None),
            rotate(9000, None),
            rotate(9000, None),
            rotate(9000, None),
            rotate(0, None),
        ],
    ]
}

fn agrees_with_the_model(runtime: &Runtime, store: &dyn Store, hand: &AtomicI64) {
    let mut reached = BTreeSet::new();
    for (number, scene) in scenes().iter().enumerate() {
        reached.extend(runtime.block_on(agree(store, hand, &format!("scene{number}"), scene)).unwrap());
    }
    assert_eq!(reached, ALL.into(), "the scenes come to everything");
    let users = Cell::new(0);
    let config = ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() };
    let first = || Just(Action::Create { request: None, lasts_ms: None });
    // The keys that are named are those that are drawn first.
    let begin = proptest::collection::vec(prop_oneof![3 => first(), 2 => action()], 4);
    proptest!(config, |(begin in begin, rest in proptest::collection::vec(action(), 1..60))| {
        users.set(users.get() + 1);
        runtime.block_on(agree(store, hand, &format!("keys{}", users.get()), &[begin, rest].concat()))?;
    });
}

#[test]
fn sqlite_and_the_model_agree_about_every_secret_after_every_change_of_a_key() {
    let (runtime, folder) = (current_thread(), tempfile::tempdir().unwrap());
    let (clock, hand) = Clock::fixed(START_MS);
    let store = runtime.block_on(async { SqliteStore::open(&sqlite_file(folder.path()), LIMITS, clock).unwrap() });
    agrees_with_the_model(&runtime, &store, &hand);
}

#[test]
fn redis_and_the_model_agree_about_every_secret_after_every_change_of_a_key() {
    let (runtime, server) = (current_thread(), RedisServer::start(&["--appendfsync", "no"]));
    let (clock, hand) = Clock::fixed(START_MS);
    let store: Arc<dyn Store> = Arc::new(runtime.block_on(server.store(LIMITS, clock)));
    agrees_with_the_model(&runtime, &*store, &hand);
}

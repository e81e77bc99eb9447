//! API keys with several secrets.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use auth_service::hold::Outcome;
use auth_service::ids::{KeyId, SessionId, UserId};
use auth_service::keyring::MAX_LIVE_SECRETS;
use auth_service::store::{
    ApiKeyRecord, ChargeRequest, CheckAnswer, CheckRequest, KeyAnswer, KeyChange, KeyChangeRequest, KeyRequest, KeyUse, ListedKey,
    PresentedCredential, Refusal, Scope,
};
use tokio::task::JoinSet;

use crate::fixture::{Fixture, Home, Person, change_keys, event, new_secret, one_credit, permission, sqlite_file};

const HOUR: Duration = Duration::from_secs(3600);

fn request(person: &Person, id: &str, wanted: &str) -> Option<KeyRequest> {
    Some(KeyRequest::new(&person.id, id, wanted.as_bytes()))
}

fn rotation(key: &ApiKeyRecord, secret: u8, grace: Duration, request: Option<KeyRequest>) -> KeyChange {
    KeyChange::Rotate { key_id: key.key_id.clone(), secret: new_secret(secret), grace, request }
}

async fn rotate(f: &Fixture, person: &Person, key: &ApiKeyRecord, secret: u8, grace: Duration) -> ListedKey {
    done(change_keys(&*f.store, &person.account, rotation(key, secret, grace, None)).await)
}

fn done(answer: KeyAnswer) -> ListedKey {
    match answer {
        KeyAnswer::Done { key, .. } => *key,
        other => panic!("{other:?}"),
    }
}

fn numbers(key: &ListedKey) -> Vec<u32> {
    key.secrets.iter().map(|secret| secret.secret.number).collect()
}

impl Fixture {
    /// A paid check, which is let in by what is remembered of its caller.
    async fn pay(&self, person: &Person, secret: u8, request_id: &str) -> CheckAnswer {
        self.check_key(person, secret, permission(Scope::Chat), Some(one_credit(request_id, "a"))).await
    }

    /// How many secrets' uses are noted, and how many rows there are of secrets.
    fn kept(&self, person: &Person) -> (usize, usize) {
        match &self.home {
            Home::Redis(server) => {
                let count = |part: &str| {
                    redis::cmd("HLEN").arg(format!("tg:{{{}}}:{part}", person.account)).query(&mut server.connection()).unwrap()
                };
                (count("used"), count("keys"))
            }
            Home::Sqlite(folder) => {
                let connection = rusqlite::Connection::open(sqlite_file(folder.path())).unwrap();
                let count = |table: &str| {
                    let sql = format!("SELECT count(*) FROM {table} WHERE account_id = ?");
                    connection.query_row(&sql, [person.account.as_str()], |row| row.get(0)).unwrap()
                };
                (count("api_key_uses"), count("api_keys"))
            }
        }
    }

    /// Revocations that were told; `None`: of a store that tells them within its process alone.
    fn told(&self) -> Option<usize> {
        let Home::Redis(server) = &self.home else { return None };
        Some(redis::cmd("XLEN").arg("tg:revocations").query(&mut server.connection()).unwrap())
    }
}

pub(crate) async fn all_secrets_of_a_key_spend_one_balance_within_one_set_of_limits(f: Fixture) {
    let ada = f.person("ada", 100).await;
    let key = f.key(&ada, 1, |_| {}).await;
    assert_eq!(numbers(&rotate(&f, &ada, &key, 2, HOUR).await), [2, 1]);
    // One request, whichever of them names it.
    let CheckAnswer::Held(by_first, held) = f.pay(&ada, 1, "r").await else { panic!() };
    let CheckAnswer::Held(by_second, again) = f.pay(&ada, 2, "r").await else { panic!() };
    assert_eq!((&held.terms, by_first.key_secret, by_second.key_secret), (&again.terms, 1, 2));
    assert_eq!((by_first.key_id, by_second.key_id), (Some(key.key_id.clone()), Some(key.key_id.clone())));
    f.settle(&held.terms, Outcome::Completed, 3).await;
    for secret in [1, 2] {
        let CheckAnswer::Recorded(..) = f.pay(&ada, secret, "r").await else { panic!("secret {secret}") };
        let other = ChargeRequest { fingerprint: vec![9], ..one_credit("r", "b") };
        let reused = f.check_key(&ada, secret, permission(Scope::Chat), Some(other)).await;
        assert_eq!(reused, CheckAnswer::Refused(Refusal::RequestIdReused), "secret {secret}");
    }
    // One bound of calls in progress.
    for number in 0..f.limits.max_open_holds {
        let secret = u8::try_from(number % 2 + 1).unwrap();
        assert!(matches!(f.pay(&ada, secret, &format!("open-{number}")).await, CheckAnswer::Held(..)), "{number}");
    }
    for secret in [1, 2] {
        assert_eq!(f.pay(&ada, secret, "more").await, CheckAnswer::Refused(Refusal::TooManyOpenHolds), "secret {secret}");
    }
    let snapshot = f.snapshot(&ada).await;
    assert_eq!((snapshot.balance.available, snapshot.balance.held, snapshot.balance.spent), (100 - 1 - 60, 60, 1));
    assert!(snapshot.ledger.iter().skip(1).all(|entry| entry.key_id.as_ref() == Some(&key.key_id)));
}

pub(crate) async fn refunds_by_any_secret_of_a_key_fill_one_bucket(f: Fixture) {
    let mut limits = f.limits;
    limits.refunds.burst = 2;
    limits.refunds.every = Duration::from_secs(60);
    let f = f.open_again(limits).await;
    let ada = f.person("ada", 100).await;
    let key = f.key(&ada, 1, |_| {}).await;
    rotate(&f, &ada, &key, 2, HOUR).await;
    for (secret, request_id) in [(1, "r1"), (2, "r2")] {
        let CheckAnswer::Held(_, held) = f.pay(&ada, secret, request_id).await else { panic!("{request_id}") };
        f.settle(&held.terms, Outcome::NothingGenerated, 0).await;
    }
    for secret in [1, 2] {
        let refused = f.pay(&ada, secret, "r4").await;
        assert!(matches!(refused, CheckAnswer::Refused(Refusal::TooManyRefunds { .. })), "secret {secret}: {refused:?}");
    }
}

pub(crate) async fn the_old_secret_stops_at_its_time_and_not_a_millisecond_later(f: Fixture) {
    let ada = f.person("ada", 100).await;
    let key = f.key(&ada, 1, |_| {}).await;
    assert!(matches!(f.pay(&ada, 1, "before").await, CheckAnswer::Held(..)));
    let rotated = rotate(&f, &ada, &key, 2, Duration::from_millis(1000)).await;
    assert_eq!(rotated.secrets[1].secret.ends_at_ms, Some(f.now_ms() + 1000));
    for (request_id, wait_ms) in [("at-once", 0), ("in-time", 999)] {
        f.advance(Duration::from_millis(wait_ms));
        assert_eq!((f.is_good(&ada, 1).await, f.is_good(&ada, 2).await), (Ok(1), Ok(2)), "{request_id}");
        assert!(matches!(f.pay(&ada, 1, request_id).await, CheckAnswer::Held(..)));
    }
    f.advance(Duration::from_millis(1));
    assert_eq!((f.is_good(&ada, 1).await, f.is_good(&ada, 2).await), (Err(Refusal::CredentialExpired), Ok(2)));
    assert_eq!(f.pay(&ada, 1, "too-late").await, CheckAnswer::Refused(Refusal::CredentialExpired), "also where the caller is known");
    // What it began may be ended.
    let CheckAnswer::Held(_, held) = f.pay(&ada, 2, "in-time").await else { panic!() };
    f.settle(&held.terms, Outcome::Completed, 1).await;
}

pub(crate) async fn no_rotation_makes_a_secret_last_longer(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let key_ends_at = f.now_ms() + 5000;
    let key = f.key(&ada, 1, |key| key.expires_at_ms = Some(key_ends_at)).await;
    rotate(&f, &ada, &key, 2, Duration::from_millis(1000)).await;
    f.advance(Duration::from_millis(500));
    rotate(&f, &ada, &key, 3, 700 * HOUR).await;
    for (at_ms, good) in [(999, [true, true, true]), (1000, [false, true, true]), (4999, [false, true, true]), (5000, [false; 3])] {
        f.hand.store(key_ends_at - 5000 + at_ms, std::sync::atomic::Ordering::SeqCst);
        let found = [f.is_good(&ada, 1).await.is_ok(), f.is_good(&ada, 2).await.is_ok(), f.is_good(&ada, 3).await.is_ok()];
        assert_eq!(found, good, "{at_ms}");
    }
    let answer = change_keys(&*f.store, &ada.account, rotation(&key, 4, HOUR, None)).await;
    assert_eq!(answer, KeyAnswer::NotInForce);
    assert_eq!(f.keys(&ada).await[0].expires_at_ms, Some(key_ends_at));
}

pub(crate) async fn either_secret_is_refused_everywhere_once_its_revocation_has_answered(f: Fixture) {
    let elsewhere = f.elsewhere().await;
    for (name, revoked, number, other) in [("ada", 1, 1, 2), ("bob", 2, 2, 1)] {
        let person = f.person(name, 100).await;
        let key = f.key(&person, 1, |_| {}).await;
        rotate(&f, &person, &key, 2, HOUR).await;
        for secret in [1, 2] {
            assert!(matches!(f.pay(&person, secret, &format!("known-{secret}")).await, CheckAnswer::Held(..)));
        }
        let change = KeyChange::RevokeSecret { key_id: key.key_id.clone(), number };
        let listed = done(change_keys(&*elsewhere, &person.account, change.clone()).await);
        assert_eq!(listed.key.revoked_at_ms, None, "the key has another secret");
        assert_eq!(f.pay(&person, revoked, "next").await, CheckAnswer::Refused(Refusal::CredentialRevoked));
        assert_eq!(f.is_good(&person, revoked).await, Err(Refusal::CredentialRevoked));
        assert!(matches!(f.pay(&person, other, "next").await, CheckAnswer::Held(..)));
        f.advance(Duration::from_millis(5));
        assert_eq!(done(change_keys(&*f.store, &person.account, change).await), listed, "again is the same");
        // Whoever has the last one may revoke it by showing it, and the key goes with it.
        let shown = KeyChange::RevokeShown { secret_hash: [other; 32] };
        assert_eq!(done(change_keys(&*elsewhere, &person.account, shown).await).key.revoked_at_ms, Some(f.now_ms()));
        assert_eq!(f.pay(&person, other, "last").await, CheckAnswer::Refused(Refusal::CredentialRevoked));
    }
    let ada = f.person("eve", 0).await;
    let key = f.key(&ada, 1, |_| {}).await;
    for unknown in [
        KeyChange::RevokeSecret { key_id: key.key_id.clone(), number: 2 },
        KeyChange::RevokeSecret { key_id: KeyId::random().unwrap(), number: 1 },
        KeyChange::RevokeShown { secret_hash: [2; 32] },
        rotation(&ApiKeyRecord { key_id: KeyId::random().unwrap(), ..key.clone() }, 9, HOUR, None),
    ] {
        assert_eq!(change_keys(&*f.store, &ada.account, unknown).await, KeyAnswer::NotFound);
    }
    assert_eq!(f.is_good(&ada, 1).await, Ok(1));
}

pub(crate) async fn a_rotation_without_grace_ends_the_secrets_before_at_once(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let key = f.key(&ada, 1, |_| {}).await;
    rotate(&f, &ada, &key, 2, HOUR).await;
    rotate(&f, &ada, &key, 3, Duration::ZERO).await;
    assert_eq!((f.is_good(&ada, 1).await, f.is_good(&ada, 2).await), (Err(Refusal::CredentialRevoked), Err(Refusal::CredentialRevoked)));
    assert_eq!(f.is_good(&ada, 3).await, Ok(3));
}

pub(crate) async fn a_lost_answer_is_made_good_by_its_repetition_and_the_lost_secret_is_dead(f: Fixture) {
    let ada = f.person("ada", 100).await;
    let create = |secret: u8| KeyChange::Create {
        key: ApiKeyRecord { key_id: KeyId::random().unwrap(), name: "new".to_owned(), ..template(&ada) },
        secret: new_secret(secret),
        request: request(&ada, "r", "a key"),
    };
    let made = done(change_keys(&*f.store, &ada.account, create(1)).await);
    assert!(matches!(f.pay(&ada, 1, "by-whoever-got-it").await, CheckAnswer::Held(..)));
    f.advance(Duration::from_secs(1));
    let again = done(change_keys(&*f.store, &ada.account, create(2)).await);
    assert_eq!((again.key.key_id.clone(), numbers(&made), numbers(&again)), (made.key.key_id.clone(), vec![1], vec![2]));
    assert_eq!(f.pay(&ada, 1, "next").await, CheckAnswer::Refused(Refusal::CredentialUnknown));
    assert_eq!((f.is_good(&ada, 2).await, f.keys(&ada).await.len()), (Ok(2), 1));
    // The same of a rotation, which stays where it was in time.
    let rotate = |secret| rotation(&made.key, secret, Duration::from_millis(1000), request(&ada, "s", "rotate"));
    done(change_keys(&*f.store, &ada.account, rotate(3)).await);
    f.advance(Duration::from_millis(900));
    done(change_keys(&*f.store, &ada.account, rotate(4)).await);
    assert_eq!((f.is_good(&ada, 3).await, f.is_good(&ada, 2).await), (Err(Refusal::CredentialUnknown), Ok(2)));
    f.advance(Duration::from_millis(100));
    assert_eq!((f.is_good(&ada, 2).await, f.is_good(&ada, 4).await), (Err(Refusal::CredentialExpired), Ok(4)));
    // After a day a request id is a new one.
    f.advance(24 * HOUR);
    let another = done(change_keys(&*f.store, &ada.account, create(5)).await);
    assert_ne!(another.key.key_id, made.key.key_id);
}

/// A key that isn't made.
fn template(person: &Person) -> ApiKeyRecord {
    ApiKeyRecord {
        key_id: KeyId::parse("0123456789ab").unwrap(),
        user_id: person.id.clone(),
        name: String::new(),
        scopes: Scope::INFERENCE.to_vec(),
        models: Vec::new(),
        pattern_rule: auth_service::model_pattern::PatternRule::ByPart,
        networks: Vec::new(),
        created_at_ms: 0,
        expires_at_ms: None,
        revoked_at_ms: None,
    }
}

pub(crate) async fn of_sixteen_repetitions_at_once_one_secret_is_good(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let stores = [Arc::clone(&f.store), f.elsewhere().await];
    let at_once = async |changes: Vec<KeyChange>| {
        let mut calls = JoinSet::new();
        for (number, change) in changes.into_iter().enumerate() {
            let (store, account) = (Arc::clone(&stores[number % 2]), ada.account.clone());
            calls.spawn(async move { done(change_keys(&*store, &account, change).await) });
        }
        calls.join_all().await
    };
    let good = async |secrets: std::ops::RangeInclusive<u8>| {
        let mut good = Vec::new();
        for secret in secrets {
            if f.is_good(&ada, secret).await.is_ok() {
                good.push(secret);
            }
        }
        good
    };
    let create = |secret| KeyChange::Create {
        key: ApiKeyRecord { key_id: KeyId::random().unwrap(), ..template(&ada) },
        secret: new_secret(secret),
        request: request(&ada, "r", "a key"),
    };
    let made = at_once((1..=16).map(create).collect()).await;
    assert_eq!(made.iter().map(|made| made.key.key_id.clone()).collect::<BTreeSet<_>>().len(), 1);
    assert_eq!(made.iter().flat_map(numbers).collect::<BTreeSet<_>>().len(), 16, "each answer was about a secret of its own");
    let first = good(1..=16).await;
    assert_eq!((first.len(), f.kept(&ada).1), (1, 1));
    let rotate = |secret| rotation(&made[0].key, secret, HOUR, request(&ada, "s", "rotate"));
    at_once((17..=32).map(rotate).collect()).await;
    assert_eq!((good(17..=32).await.len(), good(1..=16).await, f.kept(&ada).1), (1, first, 2));
}

pub(crate) async fn a_request_id_with_other_fields_is_refused_and_changes_nothing(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let create = |id: &str, secret, wanted| KeyChange::Create {
        key: ApiKeyRecord { key_id: KeyId::parse(id).unwrap(), ..template(&ada) },
        secret: new_secret(secret),
        request: request(&ada, "r", wanted),
    };
    let made = done(change_keys(&*f.store, &ada.account, create("aaaaaaaaaaaa", 1, "a key")).await);
    let (before, audited) = (f.store.api_keys(&ada.account).await.unwrap(), f.recorded_changes());
    for other in [
        create("bbbbbbbbbbbb", 2, "another key"),
        rotation(&made.key, 3, HOUR, request(&ada, "r", "rotate")),
        rotation(&made.key, 4, Duration::ZERO, request(&ada, "r", "rotate")),
    ] {
        assert_eq!(change_keys(&*f.store, &ada.account, other).await, KeyAnswer::RequestIdReused);
    }
    assert_eq!((f.store.api_keys(&ada.account).await.unwrap(), f.recorded_changes()), (before, audited));
    assert_eq!((f.is_good(&ada, 1).await, f.is_good(&ada, 2).await), (Ok(1), Err(Refusal::CredentialUnknown)));
    // What somebody revoked doesn't come back by a repetition.
    crate::fixture::revoke_key(&*f.store, &ada.account, &made.key.key_id).await.unwrap();
    assert_eq!(change_keys(&*f.store, &ada.account, create("cccccccccccc", 5, "a key")).await, KeyAnswer::NotInForce);
}

pub(crate) async fn a_key_has_a_bound_of_secrets_in_force_and_of_those_that_are_kept(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let key = f.key(&ada, 1, |_| {}).await;
    for secret in 2..=5 {
        rotate(&f, &ada, &key, secret, HOUR).await;
    }
    assert_eq!(change_keys(&*f.store, &ada.account, rotation(&key, 6, HOUR, None)).await, KeyAnswer::TooManySecrets);
    for secret in 1..=5_u8 {
        assert_eq!(f.is_good(&ada, secret).await, Ok(u32::from(secret)));
    }
    for secret in 6..=40 {
        rotate(&f, &ada, &key, secret, Duration::ZERO).await;
    }
    assert_eq!(f.kept(&ada).1, 1 + MAX_LIVE_SECRETS);
    let listed = f.store.api_keys(&ada.account).await.unwrap();
    assert_eq!(numbers(&listed[0]), [40, 39, 38, 37, 36, 35]);
    assert_eq!(f.is_good(&ada, 34).await, Err(Refusal::CredentialUnknown));
}

pub(crate) async fn a_key_with_networks_is_good_from_within_them_alone(f: Fixture) {
    let ada = f.person("ada", 100).await;
    f.key(&ada, 1, |key| {
        key.networks = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap()).to_vec();
    })
    .await;
    let check = async |address: Option<&str>, request_id: &str, pays: bool| {
        let caller_address = address.map(|address| address.parse::<IpAddr>().unwrap());
        let credential = PresentedCredential::ApiKey { secret_hash: [1; 32] };
        let charge = pays.then(|| one_credit(request_id, "a"));
        let request =
            CheckRequest { account: ada.account.clone(), credential, permission: permission(Scope::Chat), charge, caller_address };
        f.store.check(request).await.unwrap()
    };
    // In turn, so that the caller is known from within when it comes from outside.
    for round in 0..3 {
        for (number, inside) in ["10.1.2.3", "::ffff:10.255.0.1", "2001:db8::1"].into_iter().enumerate() {
            let answer = check(Some(inside), &format!("{round}-{number}"), true).await;
            assert!(matches!(answer, CheckAnswer::Held(..)), "{inside}: {answer:?}");
            assert!(matches!(check(Some(inside), "", false).await, CheckAnswer::Allowed(_)), "{inside}");
        }
        for outside in [Some("11.1.2.3"), Some("::ffff:9.255.0.1"), Some("2001:db9::1"), Some("::1"), Some("127.0.0.1"), None] {
            for pays in [true, false] {
                let answer = check(outside, "outside", pays).await;
                assert_eq!(answer, CheckAnswer::Refused(Refusal::NetworkNotAllowed), "{outside:?}");
            }
        }
    }
    // Its other secrets are no way around.
    let key = f.keys(&ada).await.remove(0);
    rotate(&f, &ada, &key, 2, HOUR).await;
    assert_eq!(f.is_good(&ada, 2).await, Err(Refusal::NetworkNotAllowed));
    assert_eq!(f.keys(&ada).await, [key]);
}

pub(crate) async fn who_asks_must_be_in_force_in_the_step_that_changes_a_key(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let key = f.key(&ada, 1, |_| {}).await;
    let changes = |secret: u8| {
        [
            KeyChange::Create {
                key: ApiKeyRecord { key_id: KeyId::random().unwrap(), ..key.clone() },
                secret: new_secret(secret),
                request: None,
            },
            rotation(&key, secret + 1, HOUR, None),
            KeyChange::RevokeSecret { key_id: key.key_id.clone(), number: 1 },
            KeyChange::Revoke { key_id: key.key_id.clone() },
        ]
    };
    let by = |asker: PresentedCredential, change| KeyChangeRequest { account: ada.account.clone(), asker: Some(asker), change };
    let token = |session: Option<&str>| PresentedCredential::AccessToken {
        user_id: ada.id.clone(),
        session: session.map(|session| SessionId::parse(session).unwrap()),
        issued_at_ms: f.now_ms(),
    };
    let (before, audited) = (f.store.api_keys(&ada.account).await.unwrap(), f.recorded_changes());
    let nobody = PresentedCredential::AccessToken { user_id: UserId::random().unwrap(), session: None, issued_at_ms: f.now_ms() };
    for (asker, refusal) in [
        (token(Some("abcdefghijkl")), Refusal::CredentialRevoked),
        (nobody, Refusal::NotAMember),
        (PresentedCredential::ApiKey { secret_hash: [9; 32] }, Refusal::CredentialUnknown),
    ] {
        for change in changes(10) {
            assert_eq!(f.store.change_api_keys(by(asker.clone(), change), event()).await.unwrap(), KeyAnswer::Refused(refusal));
        }
    }
    assert_eq!((f.store.api_keys(&ada.account).await.unwrap(), f.recorded_changes()), (before.clone(), audited));
    f.store.set_disabled(&ada.id, true, "", event()).await.unwrap();
    for change in changes(20) {
        let refused = f.store.change_api_keys(by(token(None), change), event()).await.unwrap();
        assert_eq!(refused, KeyAnswer::Refused(Refusal::UserDisabled));
    }
    assert_eq!(f.store.api_keys(&ada.account).await.unwrap(), before);
    f.store.set_disabled(&ada.id, false, "", event()).await.unwrap();
    let now = || PresentedCredential::AccessToken { user_id: ada.id.clone(), session: None, issued_at_ms: f.now_ms() };
    for change in changes(30) {
        done(f.store.change_api_keys(by(now(), change), event()).await.unwrap());
    }
}

pub(crate) async fn of_rotations_and_the_end_of_who_asks_at_once_each_sees_what_came_before_it(f: Fixture) {
    let elsewhere = f.elsewhere().await;
    for round in 0..8_u8 {
        let ada = f.person(&format!("user-{round}"), 0).await;
        let key = f.key(&ada, 1, |_| {}).await;
        let asker = PresentedCredential::AccessToken { user_id: ada.id.clone(), session: None, issued_at_ms: f.now_ms() };
        let mut calls = JoinSet::new();
        for secret in 2..6 {
            let (store, change) = (Arc::clone(&f.store), rotation(&key, secret, HOUR, None));
            let request = KeyChangeRequest { account: ada.account.clone(), asker: Some(asker.clone()), change };
            calls.spawn(async move { (secret, store.change_api_keys(request, event()).await.unwrap()) });
        }
        let (store, user) = (Arc::clone(&elsewhere), ada.id.clone());
        let disabling = tokio::spawn(async move { store.set_disabled(&user, true, "", event()).await.unwrap() });
        let answers = calls.join_all().await;
        assert!(disabling.await.unwrap().unwrap().changed);
        let listed = f.store.api_keys(&ada.account).await.unwrap().remove(0);
        let made = answers.iter().filter(|(_, answer)| matches!(answer, KeyAnswer::Done { .. })).count();
        assert!(answers.iter().all(|(_, answer)| matches!(answer, KeyAnswer::Done { .. } | KeyAnswer::Refused(Refusal::UserDisabled))));
        assert_eq!(listed.secrets.len(), 1 + made, "what was answered is what is kept");
        let late = KeyChangeRequest { account: ada.account.clone(), asker: Some(asker), change: rotation(&key, 9, HOUR, None) };
        assert_eq!(f.store.change_api_keys(late, event()).await.unwrap(), KeyAnswer::Refused(Refusal::UserDisabled));
    }
}

pub(crate) async fn uses_are_noted_by_the_stores_clock_and_go_with_their_secret(f: Fixture) {
    let (ada, bob) = (f.person("ada", 10).await, f.person("bob", 10).await);
    let key = f.key(&ada, 1, |_| {}).await;
    f.key(&bob, 1, |_| {}).await;
    let lost = change_keys(&*f.store, &ada.account, rotation(&key, 2, HOUR, request(&ada, "r", "rotate"))).await;
    assert!(matches!(lost, KeyAnswer::Done { .. }));
    let version = async || f.pay(&ada, 1, "known").await;
    version().await;
    let used = |person: &Person, secret: u8| KeyUse { account: person.account.clone(), secret_hash: [secret; 32] };
    f.advance(HOUR);
    f.store.note_key_uses(&[used(&ada, 1), used(&bob, 1), used(&ada, 99)]).await.unwrap();
    let at_ms = f.now_ms();
    f.advance(HOUR);
    f.store.note_key_uses(&[used(&ada, 2)]).await.unwrap();
    let times = async |person: &Person| {
        let listed = f.store.api_keys(&person.account).await.unwrap().remove(0);
        listed.secrets.into_iter().map(|secret| secret.last_used_at_ms).collect::<Vec<_>>()
    };
    assert_eq!((times(&ada).await, times(&bob).await), (vec![Some(at_ms + 3_600_000), Some(at_ms)], vec![Some(at_ms)]));
    assert_eq!(f.kept(&ada), (2, 2), "nothing of a secret that isn't kept");
    // A repetition takes the place of a secret, and leaves nothing of it.
    let listed = done(change_keys(&*f.store, &ada.account, rotation(&key, 3, HOUR, request(&ada, "r", "rotate"))).await);
    assert_eq!(listed.secrets.iter().map(|secret| secret.last_used_at_ms).collect::<Vec<_>>(), [None, Some(at_ms)]);
    assert_eq!(f.kept(&ada), (1, 2));
    f.store.note_key_uses(&[used(&ada, 2)]).await.unwrap();
    assert_eq!(f.kept(&ada), (1, 2));
}

/// A row of a key as the release before wrote it, byte by byte: one secret, its scopes inference and account, its patterns as a whole.
fn row_of_before(key_id: &str, user: &UserId) -> Vec<u8> {
    let text = |tag: u8, text: &str| [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let head = [vec![0x08, 1], text(0x12, key_id), text(0x1a, user.as_str()), text(0x22, "laptop"), text(0x2a, "tg_AdaL…wxyz")].concat();
    let rest = [vec![0x32, 2, 1, 3], text(0x3a, "llama*"), vec![0x40, 7]].concat();
    [head, rest].concat()
}

pub(crate) async fn a_key_that_the_release_before_kept_is_listed_checked_rotated_and_revoked(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let bytes = row_of_before("OldOldOldOld", &ada.id);
    match &f.home {
        Home::Redis(server) => {
            let stored = [ada.id.as_str().as_bytes(), &bytes].concat();
            let name = format!("tg:{{{}}}:keys", ada.account);
            redis::cmd("HSET").arg(name).arg(&[1_u8; 32][..]).arg(stored).exec(&mut server.connection()).unwrap();
        }
        Home::Sqlite(folder) => {
            let connection = rusqlite::Connection::open(sqlite_file(folder.path())).unwrap();
            let sql = "INSERT INTO api_keys (account_id, secret_hash, record) VALUES (?, ?, ?)";
            connection.execute(sql, rusqlite::params![ada.account.as_str(), [1_u8; 32], bytes]).unwrap();
        }
    }
    let listed = f.store.api_keys(&ada.account).await.unwrap().remove(0);
    let key = ApiKeyRecord {
        key_id: KeyId::parse("OldOldOldOld").unwrap(),
        name: "laptop".to_owned(),
        scopes: auth_service::scope::named(["inference", "account"]),
        models: vec!["llama*".to_owned()],
        pattern_rule: auth_service::model_pattern::PatternRule::Whole,
        created_at_ms: 7,
        ..template(&ada)
    };
    assert_eq!((&listed.key, numbers(&listed), listed.secrets[0].secret.hint.as_str()), (&key, vec![1], "tg_AdaL…wxyz"));
    assert!(matches!(f.pay(&ada, 1, "r").await, CheckAnswer::Held(..)));
    let rotated = rotate(&f, &ada, &key, 2, Duration::from_millis(10)).await;
    assert_eq!((&rotated.key, numbers(&rotated)), (&key, vec![2, 1]));
    f.advance(Duration::from_millis(10));
    assert_eq!((f.is_good(&ada, 1).await, f.is_good(&ada, 2).await), (Err(Refusal::CredentialExpired), Ok(2)));
    assert_eq!(crate::fixture::revoke_key(&*f.store, &ada.account, &key.key_id).await.unwrap().revoked_at_ms, Some(f.now_ms()));
    assert_eq!(f.is_good(&ada, 2).await, Err(Refusal::CredentialRevoked));
}

pub(crate) async fn each_change_of_a_key_is_in_the_audit_log_and_what_it_ends_is_told(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let key = f.key(&ada, 1, |_| {}).await;
    let named = || request(&ada, "r", "rotate");
    for (change, changes, ends) in [
        (rotation(&key, 2, HOUR, named()), 1, 0),
        (rotation(&key, 3, HOUR, named()), 1, 1),
        (rotation(&key, 4, Duration::ZERO, None), 1, 2),
        (KeyChange::RevokeSecret { key_id: key.key_id.clone(), number: 1 }, 0, 0),
        (rotation(&key, 5, HOUR, None), 1, 0),
        (KeyChange::RevokeShown { secret_hash: [4; 32] }, 1, 1),
        (KeyChange::RevokeShown { secret_hash: [4; 32] }, 0, 0),
        (KeyChange::RevokeShown { secret_hash: [77; 32] }, 0, 0),
        (KeyChange::Revoke { key_id: key.key_id.clone() }, 1, 1),
        (KeyChange::Revoke { key_id: key.key_id.clone() }, 0, 0),
        (rotation(&key, 9, HOUR, None), 0, 0),
    ] {
        let (audited, told) = (f.recorded_changes(), f.told());
        let answer = change_keys(&*f.store, &ada.account, change.clone()).await;
        assert_eq!(f.recorded_changes() - audited, changes, "{change:?}: {answer:?}");
        if let (Some(before), Some(after)) = (told, f.told()) {
            assert_eq!(after - before, ends, "{change:?}: {answer:?}");
        }
    }
}

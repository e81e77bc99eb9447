//! What is revoked is told, and ends what runs by it.

use std::time::{Duration, Instant};

use auth_service::hold::{Outcome, Resolution, Terms};
use auth_service::ids::KeyId;
use auth_service::store::clock::Clock;
use auth_service::store::{CheckAnswer, ExtendAnswer, Held, Refusal, Revocation, RevocationCursor, Revoked, Scope, Store, StoreError};
use shared::ErrorReason;

use crate::fixture::{Fixture, Home, Person, RedisServer, altered, by_token, event, one_credit, permission, revoke_key, sqlite_file, used};
use crate::forwarder::Forwarder;
use crate::limits;
use crate::redis_conditions::until_info;
use crate::redis_only::server;

/// What an account's key holds.
async fn hold_by_key(f: &Fixture, person: &Person, secret: u8, request_id: &str) -> Held {
    match f.check_key(person, secret, permission(Scope::Chat), Some(by_token(request_id, "a"))).await {
        CheckAnswer::Held(_, held) => held,
        other => panic!("not held: {other:?}"),
    }
}

async fn extend(f: &Fixture, held: &Terms) -> ExtendAnswer {
    f.store.extend(held, used(2)).await.unwrap()
}

fn is_extended(answer: &ExtendAnswer) -> bool {
    matches!(answer, ExtendAnswer::Extended { .. })
}

/// All that is told from a place on, and the place behind it.
pub(crate) async fn told(store: &dyn Store, after: &RevocationCursor) -> (Vec<Revocation>, RevocationCursor) {
    let (mut all, mut place) = (Vec::new(), after.clone());
    loop {
        let page = store.revocations(Some(&place)).await.unwrap();
        assert!(!page.has_gap, "{page:?}");
        all.extend(page.revocations.into_iter().map(|(_, revocation)| revocation));
        place = page.next;
        if !page.has_more {
            return (all, place);
        }
    }
}

/// Where what comes from now on will be.
pub(crate) async fn here(store: &dyn Store) -> RevocationCursor {
    let page = store.revocations(None).await.unwrap();
    assert_eq!((page.revocations.len(), page.has_more, page.has_gap), (0, false, false));
    page.next
}

pub(crate) async fn revoke_a_key(f: &Fixture, person: &Person, key_id: &KeyId) {
    revoke_key(&*f.store, &person.account, key_id).await.unwrap();
}

/// Replaces an open hold's terms in the store, as another release would have written them.
fn put_in_place(f: &Fixture, held: &Terms, old: &Terms) {
    match &f.home {
        Home::Sqlite(folder) => {
            let outside = rusqlite::Connection::open(sqlite_file(folder.path())).unwrap();
            let sql = "UPDATE holds SET terms = ? WHERE terms = ?";
            assert_eq!(outside.execute(sql, [old.as_bytes(), held.as_bytes()]).unwrap(), 1);
        }
        Home::Redis(server) => {
            let (mut connection, key) = (server.connection(), format!("tg:{{{}}}:acct", held.account));
            let record: Vec<u8> = redis::cmd("HGET").arg(&key).arg(held.hold_id()).query(&mut connection).unwrap();
            // The length of the terms, and they, follow 26 bytes.
            let size = u16::try_from(old.as_bytes().len()).unwrap().to_le_bytes();
            let replaced = [&record[..26], &size, old.as_bytes(), &record[28 + held.as_bytes().len()..]].concat();
            redis::cmd("HSET").arg(&key).arg(held.hold_id()).arg(replaced).exec(&mut connection).unwrap();
        }
    }
}

pub(crate) async fn what_is_revoked_is_told_once_and_in_its_order_from_any_place_on(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let start = here(&*f.store).await;
    let key = f.key(&ada, 1, |_| {}).await;
    assert_eq!(told(&*f.store, &start).await, (Vec::new(), start.clone()), "a new key revokes nothing");
    for _ in 0..2 {
        revoke_a_key(&f, &ada, &key.key_id).await;
    }
    let of_key = Revocation {
        user_id: ada.id.clone(),
        revoked: Revoked::Key { key_id: key.key_id.clone(), secret: 0 },
        reason: ErrorReason::CredentialRevoked,
    };
    let (all, between) = told(&*f.store, &start).await;
    assert_eq!(all, std::slice::from_ref(&of_key), "a repetition tells nothing");
    for disabled in [true, true, false, false] {
        f.store.set_disabled(&ada.id, disabled, "", event()).await.unwrap().unwrap();
    }
    let of_user = Revocation { user_id: ada.id.clone(), revoked: Revoked::Everything, reason: ErrorReason::UserDisabled };
    let (all, end) = told(&*f.store, &start).await;
    assert_eq!(all, [of_key, of_user.clone()]);
    assert_eq!(told(&*f.store, &between).await, (vec![of_user], end.clone()));
    assert_eq!(told(&*f.store, &end).await, (Vec::new(), end.clone()));
    assert_eq!(here(&*f.store).await, end);
}

pub(crate) async fn whoever_waits_is_woken_by_what_is_revoked_and_by_nothing_else_before_their_time(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let key = f.key(&ada, 1, |_| {}).await;
    let start = here(&*f.store).await;
    let began = Instant::now();
    f.key(&ada, 2, |_| {}).await;
    f.store.await_revocation(&start, Duration::from_millis(300)).await;
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    let long = Duration::from_secs(20);
    let began = Instant::now();
    tokio::join!(f.store.await_revocation(&start, long), revoke_a_key(&f, &ada, &key.key_id));
    // What is there already is not waited for.
    f.store.await_revocation(&start, long).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

pub(crate) async fn behind_a_place_of_another_store_there_is_a_gap(f: Fixture) {
    let ada = f.person("ada", 10).await;
    let key = f.key(&ada, 1, |_| {}).await;
    revoke_a_key(&f, &ada, &key.key_id).await;
    let end = here(&*f.store).await;
    let ahead = format!("{}9", end.as_str());
    for place in ["none", "0", "5-1", "99999999999999-0", "7-x", ahead.as_str()] {
        let page = f.store.revocations(RevocationCursor::parse(place).as_ref()).await.unwrap();
        assert!(page.has_gap && page.revocations.is_empty() && !page.has_more, "{place}: {page:?}");
        assert_eq!(page.next, end, "{place}");
    }
}

pub(crate) async fn a_hold_whose_key_is_revoked_or_whose_user_is_disabled_is_not_extended_and_is_settled_all_the_same(f: Fixture) {
    let ada = f.person("ada", 100).await;
    for (number, disabled, refusal) in [(1, false, Refusal::CredentialRevoked), (2, true, Refusal::UserDisabled)] {
        let key = f.key(&ada, number, |_| {}).await;
        let held = hold_by_key(&f, &ada, number, &format!("r{number}")).await;
        assert!(is_extended(&extend(&f, &held.terms).await));
        match disabled {
            true => drop(f.store.set_disabled(&ada.id, true, "", event()).await.unwrap()),
            false => revoke_a_key(&f, &ada, &key.key_id).await,
        }
        let before = f.snapshot(&ada).await;
        f.advance(Duration::from_secs(1));
        for _ in 0..2 {
            assert_eq!(f.store.extend(&held.terms, used(9)).await.unwrap(), ExtendAnswer::Refused(refusal));
        }
        assert_eq!(f.snapshot(&ada).await, before, "neither moved nor recorded");
        let record = f.settle(&held.terms, Outcome::Cancelled, 4).await;
        assert_eq!(record.resolved.unwrap().charged_credits, 5);
        assert_eq!(extend(&f, &held.terms).await, ExtendAnswer::Resolved, "what is resolved says so first");
    }
    // Enabled again, what runs may go on.
    let held = {
        f.store.set_disabled(&ada.id, false, "", event()).await.unwrap();
        let held = hold_by_key(&f, &ada, 2, "again").await;
        f.store.set_disabled(&ada.id, true, "", event()).await.unwrap();
        assert_eq!(extend(&f, &held.terms).await, ExtendAnswer::Refused(Refusal::UserDisabled));
        f.store.set_disabled(&ada.id, false, "", event()).await.unwrap();
        held
    };
    assert!(is_extended(&extend(&f, &held.terms).await));
}

pub(crate) async fn a_hold_is_extended_whatever_becomes_of_other_credentials_and_when_its_own_time_is_over(f: Fixture) {
    let (ada, bob) = (f.person("ada", 100).await, f.person("bob", 100).await);
    f.key(&ada, 1, |key| key.expires_at_ms = Some(f.now_ms() + 5_000)).await;
    let (by_key, by_token_of_ada) = (hold_by_key(&f, &ada, 1, "k").await, f.hold(&ada, by_token("t", "a")).await);
    let other = f.key(&ada, 2, |_| {}).await;
    revoke_a_key(&f, &ada, &other.key_id).await;
    f.store.set_disabled(&bob.id, true, "", event()).await.unwrap();
    for _ in 0..2 {
        for held in [&by_key, &by_token_of_ada] {
            assert!(is_extended(&extend(&f, &held.terms).await));
        }
        // The key's time is over, and a token's by far.
        f.advance(Duration::from_secs(50));
    }
    let expired = f.check_key(&ada, 1, permission(Scope::Chat), Some(one_credit("late", "a"))).await;
    assert_eq!(expired, CheckAnswer::Refused(Refusal::CredentialExpired));
    // One that ended by its time may be dropped by now. One that was revoked before may not go on.
    let key = f.key(&ada, 3, |key| key.expires_at_ms = Some(f.now_ms() + 5_000)).await;
    let held = hold_by_key(&f, &ada, 3, "revoked").await;
    revoke_a_key(&f, &ada, &key.key_id).await;
    f.advance(Duration::from_secs(10));
    assert_eq!(extend(&f, &held.terms).await, ExtendAnswer::Refused(Refusal::CredentialRevoked));
}

pub(crate) async fn a_token_of_before_its_users_tokens_were_made_invalid_extends_nothing(f: Fixture) {
    let ada = f.person("ada", 100).await;
    let held = f.hold(&ada, by_token("r", "a")).await;
    f.advance(Duration::from_secs(2));
    for disabled in [true, false] {
        f.store.set_disabled(&ada.id, disabled, "", event()).await.unwrap();
    }
    assert_eq!(extend(&f, &held.terms).await, ExtendAnswer::Refused(Refusal::CredentialRevoked));
    let newer = f.hold(&ada, by_token("s", "a")).await;
    assert!(is_extended(&extend(&f, &newer.terms).await));
}

pub(crate) async fn a_hold_that_does_not_say_what_it_was_made_with_is_extended_and_settled_as_before(f: Fixture) {
    let ada = f.person("ada", 100).await;
    f.key(&ada, 1, |_| {}).await;
    let held = hold_by_key(&f, &ada, 1, "r").await;
    // As a release makes it that doesn't look again: the handle of another hold can't take its place.
    let old = altered(&held.terms, |fields| fields.standing = None);
    assert_eq!(extend(&f, &old).await, ExtendAnswer::NotFound);
    put_in_place(&f, &held.terms, &old);
    f.store.set_disabled(&ada.id, true, "", event()).await.unwrap();
    assert!(is_extended(&extend(&f, &old).await));
    let record = f.settle(&old, Outcome::Completed, 3).await;
    assert_eq!(record.resolved.unwrap().resolution, Resolution::Settled);
}

pub(crate) async fn an_extend_beside_a_revocation_is_answered_either_way_and_after_it_refused(f: Fixture) {
    let ada = f.person("ada", 1000).await;
    let f = std::sync::Arc::new(f);
    for secret in 0..20 {
        let key = f.key(&ada, secret, |_| {}).await;
        let held = hold_by_key(&f, &ada, secret, &format!("r{secret}")).await;
        let mut extends = tokio::task::JoinSet::new();
        for tokens in 0..6 {
            let (f, terms) = (f.clone(), held.terms.clone());
            extends.spawn(async move {
                tokio::task::yield_now().await;
                f.store.extend(&terms, used(tokens)).await.unwrap()
            });
        }
        revoke_a_key(&f, &ada, &key.key_id).await;
        assert_eq!(extend(&f, &held.terms).await, ExtendAnswer::Refused(Refusal::CredentialRevoked));
        for answer in extends.join_all().await {
            assert!(is_extended(&answer) || answer == ExtendAnswer::Refused(Refusal::CredentialRevoked), "{answer:?}");
        }
        f.settle(&held.terms, Outcome::Cancelled, 1).await;
    }
}

/// Revokes a key of somebody, as another process does.
async fn revoke_one(store: &dyn Store, f: &Fixture, person: &Person, secret: u8) {
    let key = f.key(person, secret, |_| {}).await;
    revoke_key(store, &person.account, &key.key_id).await.unwrap();
}

#[tokio::test]
async fn an_extend_is_one_script_and_two_after_somebodys_rights_on_the_account_have_changed() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 100).await;
    f.key(&ada, 1, |_| {}).await;
    let held = hold_by_key(&f, &ada, 1, "r").await;
    // Another process, which knows nobody yet.
    let elsewhere = server(&f).store(limits(), Clock::Fixed(f.hand.clone())).await;
    let mut evalsha = server(&f).calls_of("evalsha");
    for (change, scripts) in [(false, 1), (true, 2), (false, 2)] {
        if change {
            f.key(&ada, 2, |_| {}).await;
            evalsha = server(&f).calls_of("evalsha");
        }
        assert!(is_extended(&elsewhere.extend(&held.terms, used(1)).await.unwrap()));
        evalsha += scripts;
        assert_eq!(server(&f).calls_of("evalsha"), evalsha);
    }
}

#[tokio::test]
async fn every_process_is_told_what_another_one_revokes_in_redis() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 10).await;
    let elsewhere = server(&f).store(limits(), Clock::Store).await;
    let place = here(&elsewhere).await;
    let (_, ()) = tokio::join!(revoke_one(&*f.store, &f, &ada, 1), elsewhere.await_revocation(&place, Duration::from_secs(20)));
    let (all, _) = told(&elsewhere, &place).await;
    assert_eq!(all.len(), 1);
}

#[tokio::test]
async fn what_was_trimmed_in_redis_leaves_a_gap_and_what_is_kept_does_not() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 10).await;
    let empty = here(&*f.store).await;
    revoke_one(&*f.store, &f, &ada, 1).await;
    let (all, first) = told(&*f.store, &empty).await;
    assert_eq!(all.len(), 1, "nothing is missing behind the place where nothing was");
    revoke_one(&*f.store, &f, &ada, 2).await;
    let (_, second) = told(&*f.store, &first).await;
    server(&f).command(&["XTRIM", "tg:revocations", "MAXLEN", "1"]);
    for (place, has_gap) in [(&empty, true), (&first, true), (&second, false)] {
        let page = f.store.revocations(Some(place)).await.unwrap();
        assert_eq!((page.has_gap, &page.next), (has_gap, &second), "{place}");
    }
    server(&f).command(&["FLUSHALL"]);
    let page = f.store.revocations(Some(&second)).await.unwrap();
    assert_eq!((page.has_gap, page.next), (true, empty));
}

#[tokio::test]
async fn a_failover_that_lost_the_last_revocations_leaves_a_gap_also_where_others_took_their_place() {
    for others in [false, true] {
        let (old, new) = (RedisServer::start(&[]), RedisServer::start(&[]));
        let address = Forwarder::to(old.port()).await;
        let (old_port, new_port) = (old.port().to_string(), new.port().to_string());
        let f = Fixture::redis_at(old, &address.url(), limits()).await;
        let ada = f.person("ada", 10).await;
        revoke_one(&*f.store, &f, &ada, 1).await;
        let kept = here(&*f.store).await;
        new.command(&["REPLICAOF", "127.0.0.1", &old_port]);
        until_info(&new, "replication", "master_link_status:up");
        redis::cmd("WAIT").arg(1).arg(10_000).exec(&mut server(&f).connection()).unwrap();
        new.command(&["REPLICAOF", "NO", "ONE"]);
        revoke_one(&*f.store, &f, &ada, 2).await;
        let lost = here(&*f.store).await;
        server(&f).command(&["REPLICAOF", "127.0.0.1", &new_port]);
        address.lead_to(new.port());
        let elsewhere = new.store(limits(), Clock::Fixed(f.hand.clone())).await;
        if others {
            for secret in 3..6 {
                let key = f.key(&ada, secret, |_| {});
                let key = key.await;
                revoke_key(&elsewhere, &ada.account, &key.key_id).await.unwrap();
            }
        }
        // Until the connection is a new one, what has become a replica is read.
        let deadline = Instant::now() + Duration::from_secs(20);
        let page = loop {
            assert!(Instant::now() < deadline, "nobody notices the gap");
            let _noticed = f.store.ping().await;
            match f.store.revocations(Some(&lost)).await {
                Ok(page) if page.has_gap => break page,
                Ok(_) | Err(StoreError::Unavailable(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(page.revocations, []);
        let (all, _) = told(&*f.store, &kept).await;
        assert_eq!(all.len(), if others { 3 } else { 0 });
    }
}

#[tokio::test]
async fn what_is_revoked_is_told_soon_when_the_connection_that_waits_is_killed_or_falls_silent() {
    let redis = RedisServer::start(&[]);
    let address = Forwarder::to(redis.port()).await;
    let f = Fixture::redis_at(redis, &address.url(), limits()).await;
    let ada = f.person("ada", 10).await;
    let elsewhere = server(&f).store(limits(), Clock::Store).await;
    for (secret, breakage) in (1..).zip(["kill", "silence", "none"]) {
        let place = here(&*f.store).await;
        let key = f.key(&ada, secret, |_| {}).await;
        let waiting = async {
            let mut waits = 0;
            while !f.store.revocations(Some(&place)).await.is_ok_and(|page| !page.revocations.is_empty()) {
                f.store.await_revocation(&place, Duration::from_millis(500)).await;
                waits += 1;
            }
            (Instant::now(), waits)
        };
        let revoking = async {
            until_waiting(server(&f)).await;
            match breakage {
                "kill" => server(&f).command(&["CLIENT", "KILL", "TYPE", "normal"]),
                "silence" => address.silence(),
                _ => {}
            }
            revoke_key(&elsewhere, &ada.account, &key.key_id).await.unwrap();
            Instant::now()
        };
        let ((told, waits), revoked) = tokio::join!(waiting, revoking);
        // Nobody would notice otherwise. The connection that calls share is noticed as silent within its own time, of some seconds.
        let took = told.saturating_duration_since(revoked);
        assert!(took < Duration::from_secs(15), "{breakage}: {took:?}");
        assert!(waits < 40, "{breakage}: {waits}");
    }
}

/// Waits until a connection of this Redis waits for something.
async fn until_waiting(server: &RedisServer) {
    let deadline = Instant::now() + Duration::from_secs(40);
    while server.counted("clients", "blocked_clients:") == 0 {
        assert!(Instant::now() < deadline, "nobody waits");
        tokio::task::yield_now().await;
    }
}

//! Rights after a store has lost its last steps.

use std::collections::HashSet;
use std::sync::Arc;

use auth_service::store::clock::Clock;
use auth_service::store::sqlite::SqliteStore;
use auth_service::store::{CheckAnswer, CheckRequest, PresentedCredential, Refusal, Scope, Store};

use crate::fixture::{Fixture, Person, RedisServer, event, one_credit, permission, revoke_key};
use crate::forwarder::Forwarder;
use crate::limits;
use crate::redis_conditions::until_info;
use crate::redis_only::server;
use crate::sessions::{Signed, by_session};
use crate::sqlite_only::file;

/// Ada calls by her key, Bob by a token without a session, and Carol by one of a session: what a process knows of them.
struct Callers {
    ada: Person,
    bob: Person,
    carol: Signed,
    key: auth_service::ids::KeyId,
}

impl Callers {
    async fn of(f: &Fixture) -> Self {
        let (ada, bob) = (f.person("ada", 50).await, f.person("bob", 50).await);
        let key = f.key(&ada, 1, |_| {}).await.key_id;
        let carol = f.sign_in(&f.person("carol", 50).await).await;
        Self { ada, bob, carol, key }
    }

    /// One change of the rights on each account, which leaves these callers what they may, and which the store will lose. The process sees
    /// it.
    async fn lose_a_step(&self, f: &Fixture) {
        f.key(&self.ada, 2, |_| {}).await;
        f.key(&self.bob, 3, |_| {}).await;
        f.sign_in(&self.carol.person).await;
        for answer in [self.by_key(f, "lost").await, self.by_token(f, "lost").await, self.by_session(f, "lost").await] {
            assert!(matches!(answer, CheckAnswer::Held(..)), "{answer:?}");
        }
    }

    /// One change of the rights on each account, by another process: both callers may nothing any more.
    async fn revoke(&self, elsewhere: &dyn Store) {
        revoke_key(elsewhere, &self.ada.account, &self.key).await.unwrap();
        elsewhere.set_disabled(&self.bob.id, true, "", event()).await.unwrap().unwrap();
        assert!(elsewhere.end_session(&self.carol.person.id, &self.carol.id, event()).await.unwrap());
    }

    async fn are_refused(&self, f: &Fixture) {
        for request in 0..5 {
            let request = format!("r{request}");
            assert_eq!(self.by_key(f, &request).await, CheckAnswer::Refused(Refusal::CredentialRevoked));
            assert_eq!(self.by_token(f, &request).await, CheckAnswer::Refused(Refusal::UserDisabled));
            assert_eq!(self.by_session(f, &request).await, CheckAnswer::Refused(Refusal::CredentialRevoked));
        }
    }

    async fn by_key(&self, f: &Fixture, request: &str) -> CheckAnswer {
        f.check_key(&self.ada, 1, permission(Scope::Chat), Some(one_credit(request, "a"))).await
    }

    async fn by_session(&self, f: &Fixture, request: &str) -> CheckAnswer {
        f.store.check(by_session(&self.carol, Some(request))).await.unwrap()
    }

    async fn by_token(&self, f: &Fixture, request: &str) -> CheckAnswer {
        // A token of much later than any change: it is the user who is refused.
        let credential =
            PresentedCredential::AccessToken { user_id: self.bob.id.clone(), session: None, issued_at_ms: f.now_ms() + 1_000_000_000 };
        let (account, charge) = (self.bob.account.clone(), Some(one_credit(request, "a")));
        f.store
            .check(CheckRequest { account, credential, permission: permission(Scope::Chat), charge, caller_address: None })
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn what_is_revoked_after_a_failover_that_lost_a_step_is_refused_by_a_process_that_knew_the_step() {
    let (old, new) = (RedisServer::start(&[]), RedisServer::start(&[]));
    let address = Forwarder::to(old.port()).await;
    let (old_port, new_port) = (old.port().to_string(), new.port().to_string());
    let f = Fixture::redis_at(old, &address.url(), limits()).await;
    let callers = Callers::of(&f).await;
    new.command(&["REPLICAOF", "127.0.0.1", &old_port]);
    until_info(&new, "replication", "master_link_status:up");
    redis::cmd("WAIT").arg(1).arg(10_000).exec(&mut server(&f).connection()).unwrap();
    // The replica hears of nothing that happens from here on.
    new.command(&["REPLICAOF", "NO", "ONE"]);
    callers.lose_a_step(&f).await;
    server(&f).command(&["REPLICAOF", "127.0.0.1", &new_port]);
    address.lead_to(new.port());
    callers.revoke(&new.store(limits(), Clock::Fixed(Arc::clone(&f.hand))).await).await;
    callers.are_refused(&f).await;
}

#[tokio::test]
async fn what_is_revoked_after_a_file_was_put_back_by_a_step_is_refused_by_a_process_that_knew_the_step() {
    let f = Fixture::sqlite(limits()).await;
    let callers = Callers::of(&f).await;
    let outside = rusqlite::Connection::open(file(&f)).unwrap();
    let earlier = file(&f).with_extension("earlier");
    outside.execute("VACUUM INTO ?", [earlier.to_str().unwrap()]).unwrap();
    callers.lose_a_step(&f).await;
    outside.execute("ATTACH ? AS earlier", [earlier.to_str().unwrap()]).unwrap();
    for table in ["accounts", "members", "api_keys", "sessions", "holds"] {
        outside.execute_batch(&format!("DELETE FROM main.{table}; INSERT INTO main.{table} SELECT * FROM earlier.{table}")).unwrap();
    }
    callers.revoke(&SqliteStore::open(&file(&f), limits(), Clock::Fixed(Arc::clone(&f.hand))).unwrap()).await;
    callers.are_refused(&f).await;
}

/// Changes rights in every way there is, and collects the versions: of two new accounts, and after each change.
async fn versions(f: &Fixture, version_of: impl Fn(&Person) -> Vec<u8>) -> HashSet<Vec<u8>> {
    let (ada, bob) = (f.person("ada", 10).await, f.person("bob", 10).await);
    let mut versions = HashSet::from([version_of(&ada), version_of(&bob)]);
    let key = f.key(&ada, 1, |_| {}).await.key_id;
    versions.insert(version_of(&ada));
    revoke_key(&*f.store, &ada.account, &key).await.unwrap();
    versions.insert(version_of(&ada));
    for disabled in [true, false] {
        f.store.set_disabled(&ada.id, disabled, "", event()).await.unwrap().unwrap();
        versions.insert(version_of(&ada));
    }
    let signed = f.sign_in(&ada).await;
    versions.insert(version_of(&ada));
    f.refresh(&signed, 0, 1).await.unwrap();
    versions.insert(version_of(&ada));
    f.store.end_session(&ada.id, &signed.id, event()).await.unwrap();
    versions.insert(version_of(&ada));
    versions
}

#[tokio::test]
async fn each_change_of_rights_in_redis_draws_another_version() {
    let f = Fixture::redis(limits()).await;
    let versions = versions(&f, |person| {
        let key = format!("tg:{{{}}}:acct", person.account);
        let counters: Vec<u8> = redis::cmd("HGET").arg(key).arg("counters").query(&mut server(&f).connection()).unwrap();
        counters[counters.len() - 8..].to_vec()
    });
    assert_are_drawn(&versions.await);
}

#[tokio::test]
async fn each_change_of_rights_in_sqlite_draws_another_version() {
    let f = Fixture::sqlite(limits()).await;
    let outside = rusqlite::Connection::open(file(&f)).unwrap();
    let sql = "SELECT rights_version FROM accounts WHERE account_id = ?";
    let versions = versions(&f, |person| outside.query_row(sql, [person.account.as_str()], |row| row.get(0)).unwrap());
    assert_are_drawn(&versions.await);
}

/// That all of them differ, in more than a count's byte or two.
fn assert_are_drawn(versions: &HashSet<Vec<u8>>) {
    assert_eq!(versions.len(), 9, "{versions:?}");
    let is_drawn = |version: &Vec<u8>| version.len() == 8 && version.iter().collect::<HashSet<_>>().len() > 3;
    assert!(versions.iter().all(is_drawn), "{versions:?}");
}

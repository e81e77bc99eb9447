//! Release: gives back what an attempt holds, and never makes a hold.

use std::time::Duration;

use auth_service::hold::{Outcome, Resolution};
use auth_service::ids::KeyId;
use auth_service::store::{
    Balance, CheckAnswer, PresentedCredential, Refusal, ReleaseAnswer, ReleaseRequest, Scope, SettleAnswer, StoreError,
};

use crate::fixture::{Fixture, Person, by_token, event, one_credit, permission, revoke_key, used};
use crate::limits;
use crate::redis_only::server;

/// An attempt of a person who showed an access token.
fn by_access_token(person: &Person, request_id: &str, attempt_id: &str) -> ReleaseRequest {
    ReleaseRequest {
        account: person.account.clone(),
        credential: PresentedCredential::AccessToken { user_id: person.id.clone(), session: None, issued_at_ms: 0 },
        request_id: request_id.to_owned(),
        attempt_id: attempt_id.to_owned(),
    }
}

/// The same of a person who showed the key with this secret.
fn by_key(person: &Person, secret: u8, request_id: &str, attempt_id: &str) -> ReleaseRequest {
    let credential = PresentedCredential::ApiKey { secret_hash: [secret; 32] };
    ReleaseRequest { credential, ..by_access_token(person, request_id, attempt_id) }
}

async fn release(f: &Fixture, attempt: ReleaseRequest) -> ReleaseAnswer {
    f.store.release(attempt).await.unwrap()
}

pub(crate) async fn released_holds_go_back_whole_and_a_repetition_says_the_same(f: Fixture) {
    let ada = f.person("ada", 50).await;
    let held = f.hold(&ada, by_token("r", "a")).await;
    let mut after = Vec::new();
    for _ in 0..3 {
        assert_eq!(release(&f, by_access_token(&ada, "r", "a")).await, ReleaseAnswer::Released);
        after.push(f.snapshot(&ada).await);
    }
    assert_eq!(after[0].balance, Balance { available: 50, granted: 50, ..Balance::default() });
    assert!(after.iter().all(|snapshot| snapshot == &after[0]), "a repetition changes nothing");
    let receipt = f.store.receipt(&ada.account, &ada.id, "r").await.unwrap().unwrap();
    let resolved = receipt.resolved.unwrap();
    assert_eq!((resolved.resolution, resolved.outcome), (Resolution::Refunded, Some(Outcome::NothingGenerated)));
    assert_eq!((resolved.charged_credits, resolved.remaining_credits), (0, 50));
    // A settle that comes all the same charges nothing.
    let late = f.settle(&held.terms, Outcome::Completed, 9).await;
    assert_eq!(late.resolved.unwrap().resolution, Resolution::Refunded);
    assert_eq!(f.available(&ada).await, 50);
}

pub(crate) async fn a_released_request_id_may_be_held_by_another_attempt_and_not_by_the_same(f: Fixture) {
    let ada = f.person("ada", 50).await;
    f.hold(&ada, by_token("r", "a")).await;
    assert_eq!(release(&f, by_access_token(&ada, "r", "a")).await, ReleaseAnswer::Released);
    // The Check that nobody answered, once more.
    assert!(matches!(f.check(&ada, by_token("r", "a")).await, CheckAnswer::Recorded(..)));
    assert_eq!(f.available(&ada).await, 50);
    f.hold(&ada, by_token("r", "b")).await;
    // The first attempt holds nothing any more, and the second's stays.
    assert_eq!(release(&f, by_access_token(&ada, "r", "a")).await, ReleaseAnswer::NothingHeld);
    assert_eq!(f.snapshot(&ada).await.balance.held, 11);
}

pub(crate) async fn a_release_never_makes_a_hold_and_writes_nothing_where_nothing_is_held(f: Fixture) {
    let (ada, bob) = (f.person("ada", 50).await, f.person("bob", 50).await);
    f.key(&ada, 1, |_| {}).await;
    f.key(&bob, 2, |_| {}).await;
    f.hold(&ada, by_token("r", "a")).await;
    let before = (f.snapshot(&ada).await, f.snapshot(&bob).await);
    let of_bob_on_adas_account = ReleaseRequest { account: ada.account.clone(), ..by_access_token(&bob, "r", "a") };
    let key_of_bob_on_adas_account = ReleaseRequest { account: ada.account.clone(), ..by_key(&bob, 2, "r", "a") };
    let nowhere = ReleaseRequest { account: auth_service::ids::AccountId::random().unwrap(), ..by_access_token(&ada, "r", "a") };
    for attempt in [
        by_access_token(&ada, "other", "a"),
        by_access_token(&ada, "r", "b"),
        by_key(&ada, 1, "r", "b"),
        by_key(&ada, 9, "r", "a"),
        by_access_token(&bob, "r", "a"),
        by_key(&bob, 2, "r", "a"),
        of_bob_on_adas_account,
        key_of_bob_on_adas_account,
        nowhere,
    ] {
        assert_eq!(release(&f, attempt.clone()).await, ReleaseAnswer::NothingHeld, "{attempt:?}");
    }
    assert_eq!((f.snapshot(&ada).await, f.snapshot(&bob).await), before);
}

pub(crate) async fn a_release_that_overtook_its_check_finds_the_hold_when_it_comes_again(f: Fixture) {
    let ada = f.person("ada", 50).await;
    assert_eq!(release(&f, by_access_token(&ada, "r", "a")).await, ReleaseAnswer::NothingHeld);
    f.hold(&ada, by_token("r", "a")).await;
    assert_eq!(release(&f, by_access_token(&ada, "r", "a")).await, ReleaseAnswer::Released);
    assert_eq!(f.available(&ada).await, 50);
}

pub(crate) async fn a_hold_is_released_whatever_became_of_its_credential(f: Fixture) {
    let ada = f.person("ada", 50).await;
    let lapses_at = f.now_ms() + 5_000;
    f.key(&ada, 1, |key| key.expires_at_ms = Some(lapses_at)).await;
    let revoked = f.key(&ada, 2, |_| {}).await;
    f.key(&ada, 3, |key| key.models = vec!["llama3".to_owned()]).await;
    for secret in 1..=3_u8 {
        let answer = f.check_key(&ada, secret, permission(Scope::Chat), Some(by_token(&format!("k{secret}"), "a"))).await;
        assert!(matches!(answer, CheckAnswer::Held(..)), "{answer:?}");
    }
    f.hold(&ada, by_token("token", "a")).await;
    f.advance(Duration::from_secs(5));
    revoke_key(&*f.store, &ada.account, &revoked.key_id).await;
    f.store.set_disabled(&ada.id, true, "", event()).await.unwrap();
    assert_eq!(f.check(&ada, one_credit("new", "a")).await, CheckAnswer::Refused(Refusal::UserDisabled));
    for secret in 1..=3_u8 {
        assert_eq!(release(&f, by_key(&ada, secret, &format!("k{secret}"), "a")).await, ReleaseAnswer::Released, "key {secret}");
    }
    assert_eq!(release(&f, by_access_token(&ada, "token", "a")).await, ReleaseAnswer::Released);
    assert_eq!(f.snapshot(&ada).await.balance, Balance { available: 50, granted: 50, ..Balance::default() });
    // A request belongs to the user: any of their credentials names it.
    assert_eq!(release(&f, by_access_token(&ada, "k1", "a")).await, ReleaseAnswer::Released);
}

pub(crate) async fn what_was_settled_or_has_expired_is_left_as_it_is(f: Fixture) {
    let ada = f.person("ada", 50).await;
    let settled = f.hold(&ada, by_token("settled", "a")).await;
    f.settle(&settled.terms, Outcome::Completed, 2).await;
    f.hold(&ada, by_token("expired", "a")).await;
    let used_some = f.hold(&ada, by_token("late", "a")).await;
    f.store.extend(&used_some.terms, used(4)).await.unwrap();
    f.pass_ttl();
    // What is due is resolved first.
    assert_eq!(release(&f, by_access_token(&ada, "expired", "a")).await, ReleaseAnswer::ResolvedBefore);
    f.settle(&used_some.terms, Outcome::Completed, 5).await;
    let before = f.snapshot(&ada).await;
    for request_id in ["settled", "expired", "late"] {
        assert_eq!(release(&f, by_access_token(&ada, request_id, "a")).await, ReleaseAnswer::ResolvedBefore, "{request_id}");
    }
    assert_eq!(f.snapshot(&ada).await, before);
    assert_eq!((before.balance.spent, before.balance.held), (3 + 6, 0));
}

pub(crate) async fn of_many_releases_and_settles_at_once_one_resolves_the_hold(f: Fixture) {
    let ada = f.person("ada", 50).await;
    for round in 0..10 {
        let request_id = format!("r{round}");
        let held = f.hold(&ada, by_token(&request_id, "a")).await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..8 {
            let (store, attempt, terms) = (f.store.clone(), by_access_token(&ada, &request_id, "a"), held.terms.clone());
            tasks.spawn(async move {
                if number == 4 {
                    let settled = store.settle(&terms, Outcome::Completed, used(1)).await.unwrap();
                    assert!(matches!(settled, SettleAnswer::Settled(_)), "{settled:?}");
                    return;
                }
                loop {
                    match store.release(attempt.clone()).await {
                        Ok(answer) => return assert_ne!(answer, ReleaseAnswer::NothingHeld),
                        // Others changed the account faster than this could be decided.
                        Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error}"),
                    }
                }
            });
        }
        tasks.join_all().await;
        let receipt = f.store.receipt(&ada.account, &ada.id, &request_id).await.unwrap().unwrap().resolved.unwrap();
        assert!(matches!((receipt.resolution, receipt.charged_credits), (Resolution::Settled, 2) | (Resolution::Refunded, 0)));
        assert_eq!(f.snapshot(&ada).await.balance.held, 0);
    }
}

#[tokio::test]
async fn a_full_redis_still_releases() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 50).await;
    f.key(&ada, 1, |_| {}).await;
    f.hold(&ada, by_token("token", "a")).await;
    assert!(matches!(f.check_key(&ada, 1, permission(Scope::Chat), Some(by_token("key", "a"))).await, CheckAnswer::Held(..)));
    server(&f).command(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(matches!(f.store.check(f.request(&ada, Some(by_token("new", "a")))).await, Err(StoreError::Full(_))));
    assert_eq!(release(&f, by_access_token(&ada, "token", "a")).await, ReleaseAnswer::Released);
    assert_eq!(release(&f, by_key(&ada, 1, "key", "a")).await, ReleaseAnswer::Released);
    assert_eq!(release(&f, by_key(&ada, 1, "none", "a")).await, ReleaseAnswer::NothingHeld);
    assert_eq!(f.available(&ada).await, 50);
}

#[tokio::test]
async fn a_key_that_is_no_longer_kept_names_nobody_and_its_hold_expires_by_itself() {
    let f = Fixture::sqlite(limits()).await;
    let ada = f.person("ada", 50).await;
    let gone = f.key(&ada, 1, |_| {}).await;
    f.check_key(&ada, 1, permission(Scope::Chat), Some(by_token("r", "a"))).await;
    revoke_key(&*f.store, &ada.account, &gone.key_id).await;
    // As many revoked ones as are kept, all of them newer.
    f.advance(Duration::from_millis(1));
    for number in 0..auth_service::keyring::MAX_LIVE_API_KEYS {
        let secret = u8::try_from(number + 2).unwrap();
        let newer = f.key(&ada, secret, |key| key.key_id = KeyId::random().unwrap()).await;
        revoke_key(&*f.store, &ada.account, &newer.key_id).await;
    }
    assert_eq!(release(&f, by_key(&ada, 1, "r", "a")).await, ReleaseAnswer::NothingHeld);
    f.pass_ttl();
    assert_eq!(f.walk().await, 1);
    assert_eq!(f.available(&ada).await, 50);
}

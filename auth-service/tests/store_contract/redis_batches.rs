//! Calls that are made at the same time share a script on Redis, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use auth_service::hold::{Outcome, Terms};
use auth_service::ids::AccountId;
use auth_service::store::{CheckAnswer, Refusal, SettleAnswer, StoreError, StoreLimits};

use crate::fixture::{Fixture, Person, new_user, one_credit, used};
use crate::limits;
use crate::redis_only::server;

/// Checks of these people, one of each, asked at the same time; their answers in that order.
async fn checks_at_once(f: &Fixture, people: &[&Person], request_id: &str) -> Vec<Result<CheckAnswer, StoreError>> {
    let checks: Vec<_> = people
        .iter()
        .map(|person| {
            let (store, request) = (Arc::clone(&f.store), f.request(person, Some(one_credit(request_id, "a"))));
            tokio::spawn(async move { store.check(request).await })
        })
        .collect();
    let mut answers = Vec::new();
    for check in checks {
        answers.push(check.await.unwrap());
    }
    answers
}

fn is_held(answer: &Result<CheckAnswer, StoreError>) -> bool {
    matches!(answer, Ok(CheckAnswer::Held(..)))
}

#[tokio::test]
async fn checks_of_several_accounts_at_the_same_time_share_a_script_and_are_decided_each_by_itself() {
    let f = Fixture::redis(limits()).await;
    let (ada, bob, poor, mallory) =
        (f.person("ada", 20).await, f.person("bob", 20).await, f.person("poor", 0).await, new_user("mallory", 0));
    let nobody = Person { account: AccountId::from(&mallory.user_id), id: mallory.user_id };
    // The first time, all are looked up, and then two of them hold. The second time, these two are known, and hold in the same script in
    // which the others are looked up; what the one without credits would hold is found out in it too.
    for (request_id, scripts) in [("first", 2), ("second", 2)] {
        let evalsha = server(&f).calls_of("evalsha");
        let answers = checks_at_once(&f, &[&ada, &poor, &nobody, &bob], request_id).await;
        assert_eq!(server(&f).calls_of("evalsha"), evalsha + scripts, "{request_id}");
        assert!(is_held(&answers[0]) && is_held(&answers[3]), "{answers:?}");
        let refused = CheckAnswer::Refused(Refusal::InsufficientCredits { needed: 1, available: 0 });
        assert_eq!(answers[1].as_ref().unwrap(), &refused);
        assert_eq!(answers[2].as_ref().unwrap(), &CheckAnswer::Refused(Refusal::CredentialUnknown));
    }
    for (person, open, available) in [(&ada, 2, 18), (&bob, 2, 18), (&poor, 0, 0)] {
        let snapshot = f.snapshot(person).await;
        assert_eq!((snapshot.open.len(), snapshot.balance.available), (open, available));
    }
}

#[tokio::test]
async fn one_account_asked_many_times_at_once_admits_what_its_credits_pay_for_in_few_scripts() {
    let f = Fixture::redis(limits()).await;
    let ada = f.person("ada", 10).await;
    f.hold(&ada, one_credit("known", "a")).await;
    let evalsha = server(&f).calls_of("evalsha");
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..30 {
        // Ten requests, each made three times: two of them are the same attempt.
        let charge = one_credit(&format!("r{}", i % 10), if i < 20 { "a" } else { "b" });
        let (store, request) = (Arc::clone(&f.store), f.request(&ada, Some(charge)));
        tasks.spawn(async move { (i, store.check(request).await.unwrap()) });
    }
    let answers = tasks.join_all().await;
    let scripts = server(&f).calls_of("evalsha") - evalsha;
    assert!((4..=8).contains(&scripts), "{scripts} scripts");
    let mut grants = BTreeMap::new();
    for (i, answer) in answers {
        match answer {
            CheckAnswer::Held(_, held) => assert_eq!(grants.entry(i % 10).or_insert(held.clone()).terms, held.terms),
            CheckAnswer::Refused(Refusal::RequestInProgress | Refusal::InsufficientCredits { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(grants.len(), 9);
    assert_eq!(f.snapshot(&ada).await.open.len(), 10);
}

#[tokio::test]
async fn whatever_is_asked_at_once_every_hold_is_one_answers_grant() {
    let f = Fixture::redis(StoreLimits { max_open_holds: 200, ..limits() }).await;
    let people = [f.person("ada", 25).await, f.person("bob", 12).await, f.person("eve", 0).await];
    let mut granted: BTreeMap<String, Terms> = BTreeMap::new();
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..40 {
        let checks: Vec<_> = (0..random.usize(1..=20))
            .map(|_| {
                let charge = one_credit(&format!("r{}", random.u8(..12)), if random.bool() { "a" } else { "b" });
                let (store, request) = (Arc::clone(&f.store), f.request(random.choice(&people).unwrap(), Some(charge)));
                tokio::spawn(async move { store.check(request).await.unwrap() })
            })
            .collect();
        for check in checks {
            match check.await.unwrap() {
                CheckAnswer::Held(_, held) => {
                    // Whoever holds a request is its only attempt.
                    let first =
                        granted.entry(held.terms.account.as_str().to_owned() + &held.terms.request_id).or_insert(held.terms.clone());
                    assert_eq!(*first, held.terms);
                }
                CheckAnswer::Refused(Refusal::RequestInProgress | Refusal::InsufficientCredits { .. }) => {}
                other => panic!("round {round}: {other:?}"),
            }
        }
        let mut open = Vec::new();
        for person in &people {
            let snapshot = f.snapshot(person).await;
            open.extend(
                snapshot
                    .open
                    .into_iter()
                    .map(|hold| (person.account.as_str().to_owned() + &hold.terms.request_id, hold.terms.attempt_id.clone())),
            );
        }
        open.sort();
        let answered: Vec<_> = granted.iter().map(|(name, terms)| (name.clone(), terms.attempt_id.clone())).collect();
        assert_eq!(open, answered, "round {round}");
    }
    assert_eq!(granted.len(), 24, "12 requests on each account that has credits");
}

#[tokio::test]
async fn an_account_that_contradicts_itself_spoils_no_check_of_the_same_script() {
    let f = Fixture::redis(limits()).await;
    let (ada, bob, eve) = (f.person("ada", 20).await, f.person("bob", 20).await, f.person("eve", 20).await);
    let eves = format!("tg:{{{}}}:acct", eve.account);
    let kept: Vec<u8> = redis::cmd("HGET").arg(&eves).arg("counters").query(&mut server(&f).connection()).unwrap();
    let mut longer = kept.clone();
    longer.push(0);
    let mut unbalanced = kept.clone();
    // `available`, behind the version.
    unbalanced[1..9].copy_from_slice(&10_f64.to_le_bytes());
    // From the second time on, the others are known.
    for (round, counters) in [Vec::new(), longer, unbalanced].into_iter().enumerate() {
        redis::cmd("HSET").arg(&eves).arg("counters").arg(counters).exec(&mut server(&f).connection()).unwrap();
        let answers = checks_at_once(&f, &[&ada, &eve, &bob], &format!("r{round}")).await;
        assert!(is_held(&answers[0]) && is_held(&answers[2]), "{answers:?}");
        assert!(matches!(answers[1], Err(StoreError::Corrupt(_))), "{answers:?}");
    }
    // A key of another type breaks the script off.
    redis::cmd("HSET").arg(&eves).arg("counters").arg(kept).exec(&mut server(&f).connection()).unwrap();
    redis::cmd("SET").arg(format!("tg:{{{}}}:due", eve.account)).arg("no set").exec(&mut server(&f).connection()).unwrap();
    for request_id in ["broken", "again"] {
        let answers = checks_at_once(&f, &[&ada, &eve, &bob], request_id).await;
        assert!(is_held(&answers[0]) && is_held(&answers[2]), "{answers:?}");
        assert!(matches!(answers[1], Err(StoreError::Corrupt(_))), "{answers:?}");
    }
    redis::cmd("DEL").arg(format!("tg:{{{}}}:due", eve.account)).exec(&mut server(&f).connection()).unwrap();
    for (person, open) in [(&ada, 5), (&bob, 5), (&eve, 0)] {
        assert_eq!(f.snapshot(person).await.open.len(), open);
    }
}

#[tokio::test]
async fn a_settle_that_shares_a_run_with_checks_works_when_redis_is_full() {
    let f = Fixture::redis(limits()).await;
    let (ada, bob) = (f.person("ada", 20).await, f.person("bob", 20).await);
    // From the second time on, they are known.
    let held = [f.hold(&ada, one_credit("r0", "a")).await, f.hold(&ada, one_credit("r1", "a")).await];
    f.hold(&bob, one_credit("r0", "a")).await;
    let maxmemory = |bytes: &str| redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).exec(&mut server(&f).connection()).unwrap();
    maxmemory("1");
    let (check, settle) = tokio::join!(
        f.store.check(f.request(&bob, Some(one_credit("r1", "a")))),
        f.store.settle(&held[0].terms, Outcome::Completed, used(1))
    );
    assert!(matches!(check, Err(StoreError::Full(_))), "{check:?}");
    assert!(matches!(settle, Ok(SettleAnswer::Settled(_))), "{settle:?}");
    maxmemory("0");
    // They share one when there is room.
    let evalsha = server(&f).calls_of("evalsha");
    let (check, settle) = tokio::join!(
        f.store.check(f.request(&bob, Some(one_credit("r1", "a")))),
        f.store.settle(&held[1].terms, Outcome::Completed, used(1))
    );
    assert!(is_held(&check) && matches!(settle, Ok(SettleAnswer::Settled(_))), "{check:?}, {settle:?}");
    assert_eq!(server(&f).calls_of("evalsha"), evalsha + 1);
    assert_eq!(f.snapshot(&ada).await.balance.spent, 2);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nobody_waiting_who_shared_its_script() {
    let f = Fixture::redis(limits()).await;
    let (ada, bob) = (f.person("ada", 20).await, f.person("bob", 20).await);
    // Before it has asked for both, and after.
    for (asked, request_id) in [(false, "first"), (true, "second")] {
        let mut first = f.store.check(f.request(&ada, Some(one_credit(request_id, "a"))));
        let mut poll_first = async || std::future::poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx).is_pending())).await;
        assert!(poll_first().await);
        let (store, request) = (Arc::clone(&f.store), f.request(&bob, Some(one_credit(request_id, "a"))));
        let second = tokio::spawn(async move { store.check(request).await });
        tokio::task::yield_now().await;
        if asked {
            assert!(poll_first().await);
        }
        drop(first);
        let answer = tokio::time::timeout(Duration::from_secs(20), second).await.expect("it is still waiting").unwrap();
        assert!(is_held(&answer), "{answer:?}");
    }
    assert_eq!(f.snapshot(&bob).await.open.len(), 2);
    assert!(f.snapshot(&ada).await.open.len() <= 1, "what nobody had asked for was held");
}

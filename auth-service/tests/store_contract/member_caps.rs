//! What a member of an organization may spend in a calendar month.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use auth_service::hold::{Outcome, Resolution};
use auth_service::ids::AccountId;
use auth_service::month::Month;
use auth_service::organization::MonthUsage;
use auth_service::organization::change::{OrganizationAnswer, OrganizationChange};
use auth_service::store::{ChargeRequest, CheckAnswer, Refusal, ReleaseAnswer, ReleaseRequest, SettleAnswer};
use tokio::task::JoinSet;

use crate::credits::{charged, resolution};
use crate::fixture::{Fixture, Person, by_token, of_attempt, one_credit, used};
use crate::members::Company;

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Fixture {
    /// What is counted of somebody, by the store's clock.
    async fn usage(&self, person: &Person) -> (i64, i64) {
        let usages = self.store.month_usage(&person.account).await.unwrap();
        let usage = usages.into_iter().find(|(id, _)| *id == person.id).map(|(_, usage)| usage).unwrap_or_default();
        (usage.spent, usage.held)
    }

    async fn spend(&self, person: &Person, charge: ChargeRequest, output_tokens: u32) -> i64 {
        let held = self.hold(person, charge).await;
        charged(&self.settle(&held.terms, Outcome::Completed, output_tokens).await)
    }

    /// To the first moment of the next month.
    fn turn_the_month(&self) {
        self.hand.store(Month::of_ms(self.now_ms()).end_ms, Ordering::SeqCst);
    }
}

impl Fixture {
    /// The same, and its owner signs in again: no session lives that long.
    async fn next_month(&self, company: Company) -> Company {
        self.turn_the_month();
        Company { owner: self.sign_in(&company.owner.person).await, ..company }
    }
}

fn reached(needed: i64, left: i64) -> CheckAnswer {
    CheckAnswer::Refused(Refusal::MemberCapReached { needed, left })
}

pub(crate) async fn a_cap_stops_one_member_at_what_they_hold_and_spent_and_nobody_else(f: Fixture) {
    let company = f.company(1000).await;
    let (ada, bob) = (f.member(&company, "ada", Some(5)).await, f.member(&company, "bob", Some(100)).await);
    for number in 0..3 {
        assert_eq!(f.spend(&ada, one_credit(&format!("r{number}"), "a"), 1).await, 1);
    }
    let first = f.hold(&ada, one_credit("h1", "a")).await.terms;
    f.hold(&ada, one_credit("h2", "a")).await;
    assert_eq!(f.usage(&ada).await, (3, 2));
    assert_eq!(f.check(&ada, one_credit("r6", "a")).await, reached(1, 0));
    f.spend(&bob, by_token("r6", "a"), 10).await;
    f.spend(&company.boss(), by_token("r6", "a"), 10).await;
    // What comes back may be spent again, and what is charged may not.
    f.settle(&first, Outcome::NothingGenerated, 0).await;
    assert_eq!(f.usage(&ada).await, (3, 1));
    f.spend(&ada, one_credit("r6", "a"), 1).await;
    assert_eq!(f.check(&ada, one_credit("r7", "a")).await, reached(1, 0));
    assert_eq!((f.usage(&ada).await, f.usage(&bob).await, f.usage(&company.boss()).await), ((4, 1), (11, 0), (11, 0)));
    f.snapshot(&ada).await;
}

pub(crate) async fn of_what_is_left_of_a_cap_a_part_is_held_or_nothing_where_the_whole_is_required(f: Fixture) {
    let company = f.company(1000).await;
    let ada = f.member(&company, "ada", Some(17)).await;
    assert_eq!(f.spend(&ada, by_token("r1", "a"), 10).await, 11);
    let whole = ChargeRequest { require_full: true, ..by_token("r2", "a") };
    assert_eq!(f.check(&ada, whole).await, reached(11, 6));
    let held = f.hold(&ada, by_token("r2", "a")).await;
    assert_eq!((held.terms.held_credits, held.terms.max_output_tokens), (6, 5));
    assert_eq!(f.check(&ada, by_token("r3", "a")).await, reached(2, 0));
    assert_eq!(f.check(&ada, one_credit("r3", "a")).await, reached(1, 0));
    f.settle(&held.terms, Outcome::Completed, 2).await;
    let held = f.hold(&ada, by_token("r3", "a")).await;
    assert_eq!((held.terms.held_credits, f.usage(&ada).await), (3, (14, 3)));
    // A call that costs nothing has no cap.
    let free = ChargeRequest { price: auth_service::price::Price { per_call: 0, ..Default::default() }, ..one_credit("free", "a") };
    assert_eq!(f.spend(&ada, free, 1).await, 0);
}

pub(crate) async fn where_the_account_has_too_little_that_is_said_and_not_the_cap(f: Fixture) {
    let company = f.company(4).await;
    let ada = f.member(&company, "ada", Some(3)).await;
    let whole = |request_id| ChargeRequest { require_full: true, ..by_token(request_id, "a") };
    let short = CheckAnswer::Refused(Refusal::InsufficientCredits { needed: 11, available: 4 });
    assert_eq!(f.check(&ada, whole("r1")).await, short);
    let held = f.hold(&ada, by_token("r1", "a")).await;
    assert_eq!((held.terms.held_credits, held.remaining_credits), (3, 1));
    assert_eq!(f.check(&ada, one_credit("r2", "a")).await, reached(1, 0));
    f.hold(&company.boss(), one_credit("r2", "a")).await;
    assert_eq!(f.check(&ada, one_credit("r2", "a")).await, CheckAnswer::Refused(Refusal::InsufficientCredits { needed: 1, available: 0 }));
}

pub(crate) async fn a_cap_that_is_set_in_mid_month_counts_what_was_spent_and_one_below_that_lets_nothing_through(f: Fixture) {
    let company = f.company(1000).await;
    let ada = f.member(&company, "ada", None).await;
    f.spend(&ada, by_token("r1", "a"), 10).await;
    f.set_cap(&company, &ada, Some(12)).await;
    f.spend(&ada, one_credit("r2", "a"), 1).await;
    assert_eq!(f.check(&ada, one_credit("r3", "a")).await, reached(1, 0));
    f.set_cap(&company, &ada, Some(5)).await;
    assert_eq!(f.check(&ada, one_credit("r3", "a")).await, reached(1, 0));
    f.set_cap(&company, &ada, Some(0)).await;
    assert_eq!(f.check(&ada, one_credit("r3", "a")).await, reached(1, 0));
    f.set_cap(&company, &ada, Some(14)).await;
    f.hold(&ada, one_credit("r3", "a")).await;
    f.set_cap(&company, &ada, None).await;
    f.spend(&ada, by_token("r4", "a"), 10).await;
    assert_eq!(f.usage(&ada).await, (23, 1));
}

pub(crate) async fn with_the_turn_of_the_month_a_cap_begins_anew_and_what_is_held_goes_along(f: Fixture) {
    let company = f.company(1000).await;
    let ada = f.member(&company, "ada", Some(12)).await;
    f.spend(&ada, one_credit("r1", "a"), 1).await;
    let running = f.hold(&ada, by_token("r2", "a")).await.terms;
    assert_eq!(f.check(&ada, one_credit("r3", "a")).await, reached(1, 0));
    // A millisecond before, it is still the same month.
    f.turn_the_month();
    f.go_back(Duration::from_millis(1));
    // It is due by then.
    f.store.extend(&running, used(0)).await.unwrap();
    f.walk().await;
    let running = f.hold(&ada, by_token("r4", "a")).await.terms;
    assert_eq!((f.usage(&ada).await, f.check(&ada, one_credit("r5", "a")).await), ((1, 11), reached(1, 0)));
    f.advance(Duration::from_millis(1));
    assert_eq!(f.usage(&ada).await, (0, 11));
    f.spend(&ada, one_credit("r5", "a"), 1).await;
    assert_eq!(f.check(&ada, one_credit("r6", "a")).await, reached(1, 0));
    // It is charged in the month in which it ends.
    f.settle(&running, Outcome::Completed, 3).await;
    assert_eq!(f.usage(&ada).await, (5, 0));
    assert_eq!(f.hold(&ada, by_token("r6", "a")).await.terms.held_credits, 7);
    f.snapshot(&ada).await;
}

pub(crate) async fn the_first_call_of_a_month_is_the_settle_of_one_that_the_last_month_left(f: Fixture) {
    let company = f.company(1000).await;
    let ada = f.member(&company, "ada", Some(11)).await;
    f.turn_the_month();
    f.go_back(Duration::from_millis(1));
    let running = f.hold(&ada, by_token("r1", "a")).await.terms;
    f.advance(Duration::from_millis(1));
    f.settle(&running, Outcome::Completed, 9).await;
    assert_eq!(f.usage(&ada).await, (10, 0));
    assert_eq!(f.check(&ada, by_token("r2", "a")).await, reached(2, 1));
}

pub(crate) async fn a_clock_that_goes_back_over_the_turn_of_the_month_and_on_again_lets_nobody_spend_twice_in_between(f: Fixture) {
    let company = f.company(1000).await;
    let ada = f.member(&company, "ada", Some(5)).await;
    f.turn_the_month();
    for number in 0..4 {
        f.spend(&ada, one_credit(&format!("r{number}"), "a"), 1).await;
    }
    f.go_back(DAY);
    assert_eq!(f.usage(&ada).await, (4, 0));
    let running = f.hold(&ada, one_credit("r5", "a")).await.terms;
    assert_eq!(f.check(&ada, one_credit("r6", "a")).await, reached(1, 0));
    f.settle(&running, Outcome::Completed, 1).await;
    assert_eq!(f.check(&ada, one_credit("r6", "a")).await, reached(1, 0));
    f.advance(DAY);
    // It was recorded for the earlier month by then.
    assert_eq!(f.usage(&ada).await, (0, 0));
    f.snapshot(&ada).await;
}

pub(crate) async fn an_expiry_and_a_late_settle_count_when_they_come_and_the_late_one_beyond_the_cap(f: Fixture) {
    let company = f.company(1000).await;
    let ada = f.member(&company, "ada", Some(12)).await;
    let lost = f.hold(&ada, by_token("r1", "a")).await.terms;
    f.store.extend(&lost, used(4)).await.unwrap();
    f.pass_ttl();
    // The next call of anybody on the account resolves it: its tokens, without the price of the call.
    f.spend(&company.boss(), one_credit("other", "a"), 1).await;
    assert_eq!(f.usage(&ada).await, (4, 0));
    for number in 0..8 {
        f.spend(&ada, one_credit(&format!("s{number}"), "a"), 1).await;
    }
    assert_eq!(f.check(&ada, one_credit("s9", "a")).await, reached(1, 0));
    let late = f.settle(&lost, Outcome::Completed, 9).await;
    assert_eq!((resolution(&late), charged(&late)), (Some(Resolution::SettledLate), 10));
    assert_eq!(f.usage(&ada).await, (18, 0));
    // Late again, and in the next month.
    f.turn_the_month();
    f.go_back(f.limits.hold_ttl + Duration::from_secs(1));
    let lost = f.hold(&company.boss(), by_token("r2", "a")).await.terms;
    f.pass_ttl();
    assert_eq!(f.walk().await, 1);
    f.turn_the_month();
    f.settle(&lost, Outcome::Completed, 4).await;
    assert_eq!((f.usage(&company.boss()).await, f.usage(&ada).await), ((5, 0), (0, 0)));
    f.snapshot(&ada).await;
}

pub(crate) async fn a_request_that_is_repeated_counts_once_and_is_answered_though_the_cap_is_reached(f: Fixture) {
    let company = f.company(1000).await;
    let ada = f.member(&company, "ada", Some(11)).await;
    let held = f.hold(&ada, by_token("r1", "a")).await;
    assert_eq!(f.hold(&ada, by_token("r1", "a")).await, held);
    assert_eq!(f.usage(&ada).await, (0, 11));
    let settled = f.settle(&held.terms, Outcome::Completed, 10).await;
    assert_eq!(f.settle(&held.terms, Outcome::Completed, 10).await, settled);
    assert!(matches!(f.check(&ada, by_token("r1", "a")).await, CheckAnswer::Recorded(_, record) if record == settled));
    assert_eq!(f.check(&ada, one_credit("r2", "a")).await, reached(1, 0));
    assert_eq!(f.usage(&ada).await, (11, 0));
    // A refunded one may be held again by another attempt.
    f.set_cap(&company, &ada, Some(12)).await;
    let held = f.hold(&ada, one_credit("r2", "a")).await.terms;
    f.settle(&held, Outcome::NothingGenerated, 0).await;
    let again = f.hold(&ada, one_credit("r2", "b")).await.terms;
    assert_eq!((again, f.usage(&ada).await), (again_of(&held, &f, &ada).await, (11, 1)));
}

/// The hold that another attempt has now.
async fn again_of(held: &auth_service::hold::Terms, f: &Fixture, person: &Person) -> auth_service::hold::Terms {
    let open = f.snapshot(person).await.open;
    let now = open.into_iter().find(|hold| hold.terms.request_id == held.request_id).unwrap().terms;
    assert_eq!(of_attempt(held, "b").attempt_id, now.attempt_id);
    now
}

pub(crate) async fn a_release_gives_back_to_the_cap_what_an_attempt_held(f: Fixture) {
    let company = f.company(1000).await;
    let ada = f.member(&company, "ada", Some(1)).await;
    f.hold(&ada, one_credit("r1", "a")).await;
    let credential = f.request(&ada, None).credential;
    let (request_id, attempt_id) = ("r1".to_owned(), "a".to_owned());
    let release = ReleaseRequest { account: ada.account.clone(), credential, request_id, attempt_id };
    for _ in 0..2 {
        assert_eq!(f.store.release(release.clone()).await.unwrap(), ReleaseAnswer::Released);
    }
    assert_eq!(f.usage(&ada).await, (0, 0));
    f.hold(&ada, one_credit("r2", "a")).await;
    f.snapshot(&ada).await;
}

pub(crate) async fn sixteen_at_once_with_a_cap_for_five_are_five_whoever_they_come_to(f: Fixture) {
    let company = f.company(1000).await;
    let other = f.elsewhere().await;
    let robot = f.robot(&company, "ci", 1, Some(5)).await;
    let ada = f.member(&company, "ada", Some(5)).await;
    for (round, person) in [(1, &ada), (2, &robot), (3, &ada)] {
        if round == 3 {
            f.turn_the_month();
        }
        let mut calls = JoinSet::new();
        for number in 0..16 {
            let store = if number % 2 == 0 { Arc::clone(&f.store) } else { Arc::clone(&other) };
            let request = f.request(person, Some(one_credit(&format!("round-{round}-{number}"), "a")));
            calls.spawn(async move { store.check(request).await.unwrap() });
        }
        let mut held = Vec::new();
        for answer in calls.join_all().await {
            match answer {
                CheckAnswer::Held(_, one) => held.push(one.terms),
                refused => assert_eq!(refused, reached(1, 0)),
            }
        }
        assert_eq!((held.len(), f.usage(person).await), (5, (0, 5)), "round {round}");
        let mut settles = JoinSet::new();
        for terms in held {
            let store = Arc::clone(&f.store);
            settles.spawn(async move { store.settle(&terms, Outcome::Completed, used(1)).await.unwrap() });
        }
        settles.join_all().await;
        assert_eq!(f.usage(person).await, (5, 0));
        f.snapshot(person).await;
    }
}

pub(crate) async fn what_those_who_are_gone_spent_is_kept_for_a_month_and_a_service_accounts_no_longer_than_it_holds(f: Fixture) {
    let company = f.company(1000).await;
    let (ada, bob, carl) =
        (f.member(&company, "ada", Some(5)).await, f.member(&company, "bob", None).await, f.member(&company, "carl", None).await);
    let (robot, busy) = (f.robot(&company, "ci", 1, None).await, f.robot(&company, "busy", 2, None).await);
    for person in [&ada, &bob, &robot] {
        f.spend(person, by_token("r1", "a"), 2).await;
    }
    let (of_carl, of_busy) = (f.hold(&carl, one_credit("r2", "a")).await.terms, f.hold(&busy, one_credit("r2", "a")).await.terms);
    let end = async |robot: &Person| {
        let ended = f.change_company(&company, OrganizationChange::RemoveServiceAccount { id: robot.id.clone() }).await;
        assert!(matches!(ended, OrganizationAnswer::Place { place: None, .. }), "{ended:?}");
    };
    let counted = async || {
        let mut names: Vec<_> = f.snapshot(&ada).await.usage.into_iter().map(|(id, _)| id).collect();
        names.sort();
        names
    };
    let ids = |people: &[&Person]| {
        let mut ids: Vec<_> = people.iter().map(|person| person.id.clone()).collect();
        ids.sort();
        ids
    };
    end(&robot).await;
    end(&busy).await;
    f.remove(&company, &ada).await;
    f.remove(&company, &carl).await;
    assert_eq!(counted().await, ids(&[&ada, &bob, &carl, &busy]));
    // Who comes again in the month has what was left, and no more.
    f.add(&company, &ada, Some(5)).await;
    assert_eq!((f.usage(&ada).await, f.hold(&ada, by_token("r3", "a")).await.terms.held_credits), ((3, 0), 2));
    let attempt = ReleaseRequest {
        account: ada.account.clone(),
        credential: f.request(&ada, None).credential,
        request_id: "r3".to_owned(),
        attempt_id: "a".to_owned(),
    };
    f.store.release(attempt).await.unwrap();
    f.remove(&company, &ada).await;
    // What was held by who is gone is settled as any other, whenever that is.
    for terms in [&of_carl, &of_busy] {
        f.settle(terms, Outcome::Completed, 1).await;
    }
    assert_eq!((f.usage(&carl).await, f.usage(&busy).await), ((1, 0), (1, 0)));
    let company = f.next_month(company).await;
    f.add(&company, &carl, None).await;
    let late = f.hold(&carl, one_credit("r4", "a")).await.terms;
    f.remove(&company, &carl).await;
    assert_eq!(counted().await, ids(&[&ada, &bob, &carl, &busy]), "the clock may go back to the last month");
    f.store.extend(&late, used(1)).await.unwrap();
    let company = f.next_month(company).await;
    let company = f.next_month(company).await;
    // It is due by now, and nothing has resolved it yet.
    f.remove(&company, &bob).await;
    assert_eq!(counted().await, ids(&[&carl]));
    f.walk().await;
    let company = f.next_month(company).await;
    let company = f.next_month(company).await;
    let last = f.member(&company, "last", None).await;
    f.remove(&company, &last).await;
    assert_eq!(counted().await, []);
    f.snapshot(&ada).await;
}

pub(crate) async fn a_service_account_that_goes_while_its_calls_come_and_end_has_all_of_them_settled(f: Fixture) {
    let company = f.company(1000).await;
    let other = f.elsewhere().await;
    let mut spent = 0;
    for round in 1..=12_u8 {
        let robot = f.robot(&company, &format!("ci-{round}"), round, None).await;
        let first = f.hold(&robot, one_credit("first", "a")).await.terms;
        let request = f.request(&robot, Some(one_credit("second", "a")));
        let (here, there) = (Arc::clone(&f.store), Arc::clone(&other));
        let check = tokio::spawn(async move { here.check(request).await.unwrap() });
        let settle = tokio::spawn(async move { there.settle(&first, Outcome::Completed, used(1)).await.unwrap() });
        let end = OrganizationChange::RemoveServiceAccount { id: robot.id.clone() };
        let ended = f.change_company(&company, end).await;
        assert!(matches!(ended, OrganizationAnswer::Place { place: None, .. }), "{ended:?}");
        let SettleAnswer::Settled(settled) = settle.await.unwrap() else { panic!("a hold that is open is settled") };
        spent += charged(&settled);
        if let CheckAnswer::Held(_, held) = check.await.unwrap() {
            spent += charged(&f.settle(&held.terms, Outcome::Completed, 1).await);
        }
        assert_eq!(f.usage(&robot).await.1, 0, "round {round}");
        let balance = f.snapshot(&robot).await.balance;
        assert_eq!((balance.spent, balance.held), (spent, 0), "round {round}");
    }
}

pub(crate) async fn of_a_users_own_account_nothing_is_counted(f: Fixture) {
    let ada = f.person("ada", 100).await;
    f.spend(&ada, by_token("r1", "a"), 10).await;
    f.hold(&ada, by_token("r2", "a")).await;
    assert_eq!(f.store.month_usage(&ada.account).await.unwrap(), Vec::new());
    assert_eq!(f.snapshot(&ada).await.usage, Vec::<(_, MonthUsage)>::new());
    // Nor is what a member spends elsewhere.
    let company = f.company(100).await;
    let seat = f.member(&company, "bob", Some(1)).await;
    let own = Person { account: AccountId::from(&seat.id), id: seat.id.clone() };
    f.grant_to(&own, 50).await;
    f.spend(&own, by_token("r1", "a"), 10).await;
    assert_eq!(f.usage(&seat).await, (0, 0));
    f.spend(&seat, one_credit("r1", "a"), 1).await;
}

//! What calls used, summed from a store's ledger.

use std::time::Duration;

use auth_service::hold::Outcome;
use auth_service::ledger_export::{Destination, Exported, export};
use auth_service::service::usage_report::sum_up;
use auth_service::usage::{Day, Days, Figures, UsageSum};

use crate::fixture::{Fixture, Person, by_token, one_credit};

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn sum(f: &Fixture, person: &Person) -> UsageSum {
    // Behind every entry there is: for the clock alone.
    let part = f.store.oldest_entries(&person.account, i64::MAX.unsigned_abs(), 1).await.unwrap();
    assert!(part.entries.is_empty() && part.now_ms == f.now_ms());
    let days = Days::asked(None, None, Day::of_ms(part.now_ms)).unwrap();
    sum_up(&*f.store, &person.account, None, days, 1000).await.unwrap()
}

async fn call(f: &Fixture, person: &Person, request_id: &str, output_tokens: u32) {
    let held = f.hold(person, one_credit(request_id, "a")).await;
    f.settle(&held.terms, Outcome::Completed, output_tokens).await;
}

pub(crate) async fn usage_is_summed_by_the_stores_days_once_for_each_call_and_says_what_an_export_took(f: Fixture) {
    let ada = f.person("ada", 1000).await;
    let first = Day::of_ms(f.now_ms());
    call(&f, &ada, "r1", 1).await;
    call(&f, &ada, "r2", 2).await;
    let late = f.hold(&ada, by_token("late", "a")).await;
    f.advance(DAY);
    // It has expired by now, and is settled all the same: two entries, one call.
    f.settle(&late.terms, Outcome::Completed, 4).await;
    call(&f, &ada, "r3", 8).await;
    // Of others, nothing.
    let bob = f.person("bob", 10).await;
    call(&f, &bob, "r1", 16).await;

    let summed = sum(&f, &ada).await;
    assert_eq!(summed.complete_from(), first.plus(1 + 1 - 30));
    let charged = f.snapshot(&ada).await.balance.spent;
    let rows: Vec<(Day, String, Figures)> = summed.into_rows().collect();
    let counted: Vec<_> = rows.iter().map(|(day, _, figures)| (*day, figures.calls, figures.output_tokens)).collect();
    assert_eq!(counted, [(first, 2, 3), (first.plus(1), 2, 12)], "{rows:?}");
    assert_eq!(rows.iter().map(|(_, _, figures)| figures.charged_credits).sum::<i64>(), charged);

    // The first day is exported and folded. A sum that is made now says so.
    let folder = tempfile::tempdir().unwrap();
    let destination = Destination::file(&folder.path().join("ledger.jsonl")).await.unwrap();
    export(&*f.store, &destination, Some(DAY / 2), &mut Exported::default()).await.unwrap();
    let summed = sum(&f, &ada).await;
    assert_eq!(summed.complete_from(), first.plus(1));
    let counted: Vec<_> = summed.into_rows().map(|(day, _, figures)| (day, figures.calls)).collect();
    assert_eq!(counted, [(first.plus(1), 2)]);
    assert_eq!(sum(&f, &f.person("eve", 0).await).await.into_rows().count(), 0);
}

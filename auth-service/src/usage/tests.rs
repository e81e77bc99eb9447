//! The sum of usage, without a store.

use super::*;
use crate::hold::TokenUsage;

fn day(text: &str) -> Day {
    Day::parse(text).unwrap()
}

fn days(first: &str, last: &str) -> Days {
    Days::asked(Some(day(first)), Some(day(last)), day("2030-01-01")).unwrap()
}

/// An entry at noon.
fn entry(on: &str, kind: EntryKind, request_id: &str, credits: i64, tokens: u32) -> LedgerEntry {
    LedgerEntry {
        entry: 1,
        kind,
        credits,
        available: 0,
        request_id: request_id.to_owned(),
        user_id: UserId::parse("0123456789abcdef").unwrap(),
        key_id: None,
        model: if kind == EntryKind::Grant { String::new() } else { "tiny".to_owned() },
        usage: (kind != EntryKind::Grant).then_some(TokenUsage { input_tokens: tokens, output_tokens: 2 * tokens, estimated: false }),
        at_ms: day(on).0 * DAY_MS + DAY_MS / 2,
        note: String::new(),
    }
}

const SETTLED: EntryKind = EntryKind::Resolved(Resolution::Settled);
const EXPIRED: EntryKind = EntryKind::Resolved(Resolution::Expired);
const LATE: EntryKind = EntryKind::Resolved(Resolution::SettledLate);

/// `day model calls/in/out/credits`, each row.
fn shown(sum: UsageSum) -> Vec<String> {
    let row = |(day, model, figures): (Day, String, Figures)| {
        let Figures { calls, input_tokens, output_tokens, charged_credits } = figures;
        format!("{day} {model} {calls}/{input_tokens}/{output_tokens}/{charged_credits}")
    };
    sum.into_rows().map(row).collect()
}

#[test]
fn a_day_is_a_day_of_the_calendar_and_nothing_else() {
    for text in ["1970-01-01", "2024-02-29", "2026-11-29", "9999-12-31"] {
        assert_eq!(day(text).to_string(), text);
    }
    assert_eq!((day("1970-01-01").0, day("2026-11-29").0), (0, 20_786));
    let wrong = ["", "2026-2-1", "2026-02-30", "2023-02-29", "2026-13-01", "2026-00-10", "2026-01-00", "26-01-01", "2026-01-01T00:00:00Z"];
    for wrong in
        wrong.into_iter().chain(["1969-12-31", "+026-01-01", " 2026-01-01", "2026-01-01 ", "2026/01/01", "2026-01-٣١", "-2026-01-01"])
    {
        assert_eq!(Day::parse(wrong), None, "{wrong:?}");
    }
    assert_eq!((Day::of_ms(-1).0, Day::of_ms(0).0, Day::of_ms(DAY_MS - 1).0, Day::of_ms(DAY_MS).0), (-1, 0, 0, 1));
}

#[test]
fn without_days_it_is_thirty_up_to_today_and_never_more_than_ninety_two() {
    let today = day("2026-11-29");
    let asked = |first: Option<&str>, last: Option<&str>| Days::asked(first.map(day), last.map(day), today);
    let shown = |days: Days| (days.first().to_string(), days.last().to_string());
    let pair = |first: &str, last: &str| (first.to_owned(), last.to_owned());
    assert_eq!(shown(asked(None, None).unwrap()), pair("2026-10-31", "2026-11-29"));
    assert_eq!(shown(asked(None, Some("2026-03-01")).unwrap()), pair("2026-01-31", "2026-03-01"));
    assert_eq!(shown(asked(Some("2026-11-29"), None).unwrap()), pair("2026-11-29", "2026-11-29"));
    assert_eq!(shown(asked(Some("2026-08-30"), None).unwrap()), pair("2026-08-30", "2026-11-29"), "92 days");
    assert_eq!(asked(Some("2026-08-29"), None), Err(WrongDays::TooMany));
    assert_eq!(asked(Some("2026-11-30"), None), Err(WrongDays::Backwards));
    assert_eq!(asked(Some("1970-01-01"), Some("9999-12-31")), Err(WrongDays::TooMany));
}

#[test]
fn calls_are_summed_by_day_and_model_and_grants_and_other_days_are_none() {
    let mut sum = UsageSum::over(days("2026-01-02", "2026-01-03"));
    let other = LedgerEntry { model: "other".to_owned(), ..entry("2026-01-03", SETTLED, "d", -7, 10) };
    let within = sum.add(&[
        entry("2026-01-04", SETTLED, "e", -50, 50),
        other,
        entry("2026-01-03", SETTLED, "c", -2, 3),
        entry("2026-01-03", EntryKind::Grant, "g", 1000, 0),
        entry("2026-01-03", SETTLED, "b", -1, 1),
        entry("2026-01-02", SETTLED, "a", -5, 4),
        entry("2026-01-01", SETTLED, "z", -9, 9),
    ]);
    assert!(within);
    assert_eq!(sum.complete_from(), day("2026-01-02"));
    assert_eq!(shown(sum), ["2026-01-02 tiny 1/4/8/5", "2026-01-03 other 1/10/20/7", "2026-01-03 tiny 2/4/8/3"]);
}

#[test]
fn a_call_that_expired_and_was_settled_late_is_one_call_with_its_tokens_once_and_both_charges() {
    let mut sum = UsageSum::over(days("2026-01-02", "2026-01-03"));
    sum.add(&[
        // The same id again, much later: another call, which only expired.
        entry("2026-01-03", EXPIRED, "r", -1, 1),
        entry("2026-01-03", LATE, "r", -2, 10),
        entry("2026-01-02", EXPIRED, "r", -4, 6),
        // What had cost nothing at its expiry leaves no row of its own.
        entry("2026-01-03", LATE, "q", -3, 5),
    ]);
    sum.add(&[LedgerEntry { model: "free".to_owned(), ..entry("2026-01-02", EXPIRED, "q", 0, 0) }]);
    assert_eq!(shown(sum), ["2026-01-02 tiny 0/0/0/4", "2026-01-03 tiny 3/16/32/6"]);
}

#[test]
fn an_entry_with_an_older_time_than_its_neighbours_does_not_end_the_sum() {
    let mut sum = UsageSum::over(days("2026-01-02", "2026-01-03"));
    let jumped = entry("1970-01-01", SETTLED, "a", -1, 1);
    assert!(sum.add(&[entry("2026-01-03", SETTLED, "c", -1, 1), jumped.clone(), entry("2026-01-02", SETTLED, "b", -1, 1)]));
    assert!(!sum.add(&[jumped, entry("2026-01-01", SETTLED, "b", -1, 1)]));
    assert_eq!(shown(sum), ["2026-01-02 tiny 1/1/2/1", "2026-01-03 tiny 1/1/2/1"]);
}

#[test]
fn what_was_folded_or_not_read_says_from_which_day_on_the_figures_are_whole() {
    let folded = |on: &str| Checkpoint { last_entry: 9, granted: 0, charged: 0, available: 0, at_ms: day(on).0 * DAY_MS };
    let whole = |entries: &[LedgerEntry], end: &dyn Fn(&mut UsageSum)| {
        let mut sum = UsageSum::over(days("2026-01-02", "2026-01-10"));
        sum.add(entries);
        end(&mut sum);
        sum.complete_from().to_string()
    };
    let at = |on: &str| [entry(on, SETTLED, "a", -1, 1)];
    assert_eq!(whole(&at("2026-01-05"), &|_| ()), "2026-01-02");
    assert_eq!(whole(&at("2026-01-05"), &|sum| sum.end_at(&folded("2026-01-01"))), "2026-01-02");
    assert_eq!(whole(&at("2026-01-05"), &|sum| sum.end_at(&folded("2026-01-04"))), "2026-01-05");
    // Folded while the sum was made, with entries that were read before.
    assert_eq!(whole(&at("2026-01-05"), &|sum| sum.end_at(&folded("2026-01-08"))), "2026-01-06");
    assert_eq!(whole(&[], &|sum| sum.end_at(&folded("2026-01-08"))), "2026-01-09");
    assert_eq!(whole(&[], &|sum| sum.end_at(&folded("2026-02-08"))), "2026-01-11", "no day is whole");
    assert_eq!(whole(&at("2026-01-05"), &|sum| sum.break_off()), "2026-01-06");
    assert_eq!(whole(&at("2026-01-01"), &|sum| sum.break_off()), "2026-01-02");
    assert_eq!(whole(&at("2026-01-12"), &|sum| sum.break_off()), "2026-01-11");
}

//! Calendar months of UTC, and what a principal of an organization spent in one. Pure rules: SQLite asks them, and `lua/move.lua` moves
//! figures by the same.

use crate::organization::MonthUsage;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// A calendar month of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Month {
    /// When it begins, in milliseconds since 1970.
    pub start_ms: i64,
    /// When the next one does.
    pub end_ms: i64,
}

impl Month {
    /// The month of a time, in milliseconds since 1970.
    #[must_use]
    pub fn of_ms(at_ms: i64) -> Self {
        let days = at_ms.div_euclid(DAY_MS);
        // Eras of 400 years, of which each has as many days, are counted from 0000-03-01: so a leap day is the last one of a year.
        let of_era = (days + 719_468).rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // Months from March on have 153 days in every five.
        let month = (5 * of_year + 2) / 153;
        let first = (153 * month + 2) / 5;
        // March is 0, January 10 and February 11.
        let year = year_of_era + i64::from(month >= 10);
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = if month == 11 { 28 + i64::from(is_leap) } else { (153 * (month + 1) + 2) / 5 - first };
        let start_ms = (days - (of_year - first)) * DAY_MS;
        Self { start_ms, end_ms: start_ms + length * DAY_MS }
    }
}

impl MonthUsage {
    /// As it counts in this month. Of an earlier one nothing was spent in this. A later one means that the clock went back: what was spent
    /// counts, so that nobody spends twice. What is held goes along.
    #[must_use]
    pub fn in_month(self, month: Month) -> Self {
        let spent = if self.month_start_ms < month.start_ms { 0 } else { self.spent };
        Self { month_start_ms: month.start_ms, spent, held: self.held }
    }

    /// After so much more is held, and so much charged, in this month; `None`: less would be held than nothing.
    #[must_use]
    pub fn moved(self, more_held: i64, charge: i64, month: Month) -> Option<Self> {
        let before = self.in_month(month);
        let (spent, held) = (before.spent.checked_add(charge)?, before.held.checked_add(more_held)?);
        (held >= 0).then_some(Self { spent, held, ..before })
    }
}

/// Credits that may still be held in this month: none, when more was spent than the cap, which an owner lowered.
#[must_use]
pub fn left_of_cap(usage: MonthUsage, cap: i64, month: Month) -> i64 {
    let MonthUsage { spent, held, .. } = usage.in_month(month);
    cap.saturating_sub(spent).saturating_sub(held).max(0)
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().seconds * 1000
    }

    fn month(text: &str) -> Month {
        Month::of_ms(ms(text))
    }

    #[test]
    fn a_month_begins_at_midnight_of_utc_on_its_first_day_and_ends_where_the_next_one_begins() {
        for (within, start, end) in [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1970-02-01T00:00:00Z"),
            ("2024-02-29T23:59:59Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            ("2026-02-28T12:00:00Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"),
            ("2026-11-30T23:59:59Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
            ("2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2000-02-01T00:00:00Z", "2000-02-01T00:00:00Z", "2000-03-01T00:00:00Z"),
            ("2100-02-28T00:00:00Z", "2100-02-01T00:00:00Z", "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(month(within), Month { start_ms: ms(start), end_ms: ms(end) }, "{within}");
        }
    }

    #[test]
    fn every_day_of_five_centuries_is_in_its_month_and_each_month_begins_where_the_last_one_ended() {
        let mut at_ms = ms("1969-12-15T00:00:00Z");
        let mut before = Month::of_ms(at_ms);
        while at_ms < ms("2470-01-01T00:00:00Z") {
            let now = Month::of_ms(at_ms);
            assert!((now.start_ms..now.end_ms).contains(&at_ms), "{at_ms}");
            assert!(now == before || now.start_ms == before.end_ms, "{at_ms}");
            (before, at_ms) = (now, at_ms + DAY_MS);
        }
    }

    #[test]
    fn with_a_new_month_nothing_is_spent_and_what_is_held_goes_along() {
        let october = month("2026-10-31T23:00:00Z");
        let november = month("2026-11-01T00:00:00Z");
        let usage = MonthUsage::default().moved(7, 0, october).unwrap().moved(5, 0, october).unwrap().moved(-5, 4, october).unwrap();
        assert_eq!(usage, MonthUsage { month_start_ms: october.start_ms, spent: 4, held: 7 });
        assert_eq!((left_of_cap(usage, 12, october), left_of_cap(usage, 12, november)), (1, 5));
        let settled = usage.moved(-7, 6, november).unwrap();
        assert_eq!(settled, MonthUsage { month_start_ms: november.start_ms, spent: 6, held: 0 });
    }

    #[test]
    fn a_clock_that_goes_back_to_an_earlier_month_forgets_nothing_that_was_spent() {
        let (october, november) = (month("2026-10-31T23:00:00Z"), month("2026-11-01T00:00:00Z"));
        let usage = MonthUsage { month_start_ms: november.start_ms, spent: 9, held: 1 };
        assert_eq!(left_of_cap(usage, 12, october), 2);
        assert_eq!(usage.moved(0, 1, october), Some(MonthUsage { month_start_ms: october.start_ms, spent: 10, held: 1 }));
    }

    #[test]
    fn of_a_cap_below_what_was_spent_nothing_is_left_and_less_than_nothing_is_never_held() {
        let november = month("2026-11-01T00:00:00Z");
        let usage = MonthUsage { month_start_ms: november.start_ms, spent: 9, held: 1 };
        assert_eq!((left_of_cap(usage, 3, november), left_of_cap(usage, 0, november)), (0, 0));
        assert_eq!(usage.moved(-2, 0, november), None);
    }
}

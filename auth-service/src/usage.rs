//! What an account's calls used, by day and model: a sum over its ledger, from the newest entry backwards.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use prost_types::Timestamp;

use crate::hold::Resolution;
use crate::ids::UserId;
use crate::store::{Checkpoint, EntryKind, LedgerEntry};

/// Days that one sum is about, at most.
pub const MAX_DAYS: i64 = 92;
/// Days that a sum is about where nothing else is asked for.
pub const DEFAULT_DAYS: i64 = 30;
/// Ledger entries that one sum reads, at most.
pub const MAX_ENTRIES: usize = 50_000;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// A day of UTC's, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(i64);

impl Day {
    /// The day of a time, in milliseconds since 1970.
    #[must_use]
    pub fn of_ms(at_ms: i64) -> Self {
        Self(at_ms.div_euclid(DAY_MS))
    }

    /// Parses `2026-11-29`, of a year from 1970 to 9999.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |digits: &str, count: usize| {
            let is_number = digits.len() == count && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse::<u16>().ok()).flatten()
        };
        let mut parts = text.split('-');
        let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
        if parts.next().is_some() || year < 1970 {
            return None;
        }
        let midnight = Timestamp::date(year.into(), u8::try_from(month).ok()?, u8::try_from(day).ok()?).ok()?;
        Some(Self::of_ms(midnight.seconds.checked_mul(1000)?))
    }

    /// So many days later.
    #[must_use]
    pub fn plus(self, days: i64) -> Self {
        Self(self.0.saturating_add(days))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let midnight = Timestamp { seconds: self.0.saturating_mul(DAY_MS / 1000), nanos: 0 }.to_string();
        f.write_str(midnight.split('T').next().unwrap_or_default())
    }
}

/// From one day to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    first: Day,
    last: Day,
}

/// Why such days can't be summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongDays {
    /// The first is after the last.
    Backwards,
    /// They are more than [`MAX_DAYS`].
    TooMany,
}

impl Days {
    /// The days that are asked for: up to today, and [`DEFAULT_DAYS`] of them, where nothing is said.
    pub fn asked(first: Option<Day>, last: Option<Day>, today: Day) -> Result<Self, WrongDays> {
        let last = last.unwrap_or(today);
        let first = first.unwrap_or_else(|| last.plus(1 - DEFAULT_DAYS));
        match last.0 - first.0 {
            ..0 => Err(WrongDays::Backwards),
            MAX_DAYS.. => Err(WrongDays::TooMany),
            _ => Ok(Self { first, last }),
        }
    }

    /// The first of them.
    #[must_use]
    pub fn first(self) -> Day {
        self.first
    }

    /// The last of them.
    #[must_use]
    pub fn last(self) -> Day {
        self.last
    }
}

/// What calls used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// How many they were.
    pub calls: i64,
    /// Tokens of their prompts.
    pub input_tokens: i64,
    /// Tokens that were generated.
    pub output_tokens: i64,
    /// What they cost.
    pub charged_credits: i64,
}

/// A sum in progress.
#[derive(Debug)]
pub struct UsageSum {
    days: Days,
    /// Whose calls count; `None`: everybody's.
    whose: Option<UserId>,
    rows: BTreeMap<(Day, String), Figures>,
    /// Requests that were settled after they had expired, whose expiry is yet to come.
    settled_late: HashSet<(UserId, String)>,
    /// The day of the oldest entry that was read.
    oldest: Option<Day>,
    complete_from: Day,
}

impl UsageSum {
    /// A sum of nothing yet.
    #[must_use]
    pub fn over(days: Days) -> Self {
        Self { days, whose: None, rows: BTreeMap::new(), settled_late: HashSet::new(), oldest: None, complete_from: days.first }
    }

    /// The same of one user's calls, or a service account's.
    #[must_use]
    pub fn of(self, whose: Option<UserId>) -> Self {
        Self { whose, ..self }
    }

    /// Adds entries that are older than all before them, newest first. Whether one of them is of the first day or later: if not, no older
    /// one is looked for. A single one decides nothing, since a clock may have jumped.
    pub fn add(&mut self, entries: &[LedgerEntry]) -> bool {
        let mut is_within = false;
        for entry in entries {
            let day = Day::of_ms(entry.at_ms);
            self.oldest = Some(self.oldest.map_or(day, |oldest| oldest.min(day)));
            is_within |= day >= self.days.first;
            let is_theirs = self.whose.as_ref().is_none_or(|whose| *whose == entry.user_id);
            if let EntryKind::Resolved(resolution) = entry.kind
                && is_theirs
            {
                self.add_call(day, entry, resolution);
            }
        }
        is_within
    }

    fn add_call(&mut self, day: Day, entry: &LedgerEntry, resolution: Resolution) {
        let request = || (entry.user_id.clone(), entry.request_id.clone());
        // A call that expired and was settled late has two entries. Its tokens are those of the later one; its credits are those of both.
        let is_counted = match resolution {
            Resolution::Settled => true,
            Resolution::Refunded => false,
            Resolution::SettledLate => {
                self.settled_late.insert(request());
                true
            }
            Resolution::Expired => !self.settled_late.remove(&request()),
        };
        if day < self.days.first || day > self.days.last || (!is_counted && entry.credits == 0) {
            return;
        }
        let usage = entry.usage.filter(|_| is_counted).unwrap_or_default();
        let figures = self.rows.entry((day, entry.model.clone())).or_default();
        let add = |figure: &mut i64, more: i64| *figure = figure.saturating_add(more);
        add(&mut figures.calls, i64::from(is_counted));
        add(&mut figures.input_tokens, usage.input_tokens.into());
        add(&mut figures.output_tokens, usage.output_tokens.into());
        add(&mut figures.charged_credits, entry.credits.saturating_neg());
    }

    /// Older entries than those that were added are no longer there one by one.
    pub fn end_at(&mut self, folded: &Checkpoint) {
        // An export may have folded entries meanwhile that were read here, before it did.
        let day = Day::of_ms(folded.at_ms);
        self.miss_until(self.oldest.map_or(day, |oldest| oldest.min(day)));
    }

    /// Older entries than those that were added are there, and not read.
    pub fn break_off(&mut self) {
        if let Some(oldest) = self.oldest {
            self.miss_until(oldest);
        }
    }

    fn miss_until(&mut self, day: Day) {
        self.complete_from = self.complete_from.max(day.plus(1)).min(self.days.last.plus(1));
    }

    /// From which day on the figures are whole.
    #[must_use]
    pub fn complete_from(&self) -> Day {
        self.complete_from
    }

    /// What was used, by day and model.
    pub fn into_rows(self) -> impl Iterator<Item = (Day, String, Figures)> {
        self.rows.into_iter().map(|((day, model), figures)| (day, model, figures))
    }
}

#[cfg(test)]
mod tests;

//! What an account's oldest ledger entries came to, once they are folded into one.

use std::time::Duration;

use shared::ledger::MAX_CREDITS;

use super::{EntryKind, LedgerEntry};

/// Stands for an account's oldest ledger entries, 1 to [`last_entry`](Self::last_entry), which are no longer kept one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The newest entry that it stands for, and so how many these are.
    pub last_entry: u64,
    /// Credits that they granted.
    pub granted: i64,
    /// Credits that they charged.
    pub charged: i64,
    /// Available right after the newest of them.
    pub available: i64,
    /// When the newest of them was written.
    pub at_ms: i64,
}

/// Why entries can't be folded: they contradict themselves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ledger entry {entry}: {what}")]
pub struct Contradiction {
    /// The entry that doesn't fit.
    pub entry: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

impl Checkpoint {
    /// What `before` and these entries, oldest first, come to. `None`: there is nothing to stand for.
    ///
    /// # Errors
    /// [`Contradiction`] when an entry isn't the next one, or its figures can't be.
    pub fn fold(before: Option<Self>, entries: &[LedgerEntry]) -> Result<Option<Self>, Contradiction> {
        entries.iter().try_fold(before, |before, entry| Self::and(before, entry).map(Some))
    }

    /// What `before` and the next entry come to.
    fn and(before: Option<Self>, next: &LedgerEntry) -> Result<Self, Contradiction> {
        let require = |holds: bool, what| if holds { Ok(()) } else { Err(Contradiction { entry: next.entry, what }) };
        let (last_entry, granted, charged) = before.map_or((0, 0, 0), |before| (before.last_entry, before.granted, before.charged));
        require(last_entry.checked_add(1) == Some(next.entry), "it isn't the one after the last")?;
        let (grant, charge) = match next.kind {
            EntryKind::Grant => (Some(next.credits), Some(0)),
            EntryKind::Resolved(_) => (Some(0), next.credits.checked_neg()),
        };
        let sum = |sum: i64, more: Option<i64>| {
            let more = more.filter(|more| (0..=MAX_CREDITS).contains(more))?;
            sum.checked_add(more).filter(|sum| *sum <= MAX_CREDITS)
        };
        let out_of_range = Contradiction { entry: next.entry, what: "its credits are out of range" };
        let (granted, charged) = sum(granted, grant).zip(sum(charged, charge)).ok_or(out_of_range)?;
        require(next.available >= 0 && next.available <= granted - charged, "more is available than was granted and not charged")?;
        Ok(Self { last_entry: next.entry, granted, charged, available: next.available, at_ms: next.at_ms })
    }

    /// What it stands for as the credits of one entry: granted less charged.
    #[must_use]
    pub fn credits(&self) -> i64 {
        self.granted - self.charged
    }
}

/// How many of an account's entries, oldest first, are older than `retention`. One that isn't keeps those after it, whatever their times
/// say: a clock may have jumped.
#[must_use]
pub fn count_older_than(retention: Duration, now_ms: i64, entries: &[LedgerEntry]) -> usize {
    let retention_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    entries.iter().take_while(|entry| entry.at_ms < now_ms.saturating_sub(retention_ms)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::Resolution;
    use crate::ids::UserId;

    const GRANT: EntryKind = EntryKind::Grant;
    const SETTLED: EntryKind = EntryKind::Resolved(Resolution::Settled);
    const LATE: EntryKind = EntryKind::Resolved(Resolution::SettledLate);
    const EXPIRED: EntryKind = EntryKind::Resolved(Resolution::Expired);

    fn entry(entry: u64, kind: EntryKind, credits: i64, available: i64) -> LedgerEntry {
        LedgerEntry {
            entry,
            kind,
            credits,
            available,
            request_id: "r".to_owned(),
            user_id: UserId::parse("0123456789abcdef").unwrap(),
            key_id: None,
            model: String::new(),
            usage: None,
            at_ms: 1000 + i64::try_from(entry).unwrap(),
            note: String::new(),
        }
    }

    fn checkpoint(last_entry: u64, granted: i64, charged: i64, available: i64) -> Checkpoint {
        Checkpoint { last_entry, granted, charged, available, at_ms: 1000 + i64::try_from(last_entry).unwrap() }
    }

    #[test]
    fn a_checkpoint_is_the_sum_of_what_was_folded_into_it() {
        let all = [
            entry(1, GRANT, 20, 20),
            // Seven are held meanwhile.
            entry(2, SETTLED, -4, 9),
            entry(3, EXPIRED, 0, 16),
            entry(4, GRANT, 5, 21),
            entry(5, LATE, -7, 14),
        ];
        let whole = checkpoint(5, 25, 11, 14);
        assert_eq!(Checkpoint::fold(None, &[]), Ok(None));
        assert_eq!(Checkpoint::fold(Some(whole), &[]), Ok(Some(whole)));
        // In however many steps.
        for cut in 0..=all.len() {
            let first = Checkpoint::fold(None, &all[..cut]).unwrap();
            assert_eq!(Checkpoint::fold(first, &all[cut..]), Ok(Some(whole)), "{cut}");
        }
        assert_eq!(whole.credits(), 14);
    }

    #[test]
    fn entries_that_contradict_themselves_are_not_folded() {
        let before = Some(checkpoint(3, 10, 4, 6));
        for (next, what) in [
            (entry(5, GRANT, 1, 7), "a gap"),
            (entry(3, GRANT, 1, 7), "once more"),
            (entry(0, GRANT, 1, 7), "none"),
            (entry(4, GRANT, -1, 5), "a grant that takes"),
            (entry(4, SETTLED, 1, 7), "a charge that gives"),
            (entry(4, SETTLED, i64::MIN, 0), "a charge without a positive"),
            (entry(4, GRANT, MAX_CREDITS - 9, 6), "more granted than any figure may be"),
            (entry(4, GRANT, i64::MAX, 6), "more than can be added"),
            (entry(4, SETTLED, -7, 0), "more charged than granted"),
            (entry(4, SETTLED, -1, 6), "more available than is left"),
            (entry(4, SETTLED, -1, -1), "less than nothing available"),
        ] {
            let refused = Checkpoint::fold(before, std::slice::from_ref(&next)).unwrap_err();
            assert_eq!(refused.entry, next.entry, "{what}");
        }
        assert!(Checkpoint::fold(None, &[entry(2, GRANT, 1, 1)]).is_err(), "the first one is missing");
        let last = Some(Checkpoint { last_entry: u64::MAX, ..checkpoint(3, 10, 4, 6) });
        assert!(Checkpoint::fold(last, &[entry(0, GRANT, 1, 7)]).is_err());
        let most = Checkpoint::fold(before, &[entry(4, GRANT, MAX_CREDITS - 10, MAX_CREDITS - 4)]).unwrap().unwrap();
        assert_eq!((most.granted, most.credits()), (MAX_CREDITS, MAX_CREDITS - 4));
    }

    #[test]
    fn an_entry_is_older_than_the_retention_from_the_millisecond_after_it_and_never_before_the_one_ahead_of_it() {
        let at = |times: &[i64]| -> Vec<_> { times.iter().map(|at_ms| LedgerEntry { at_ms: *at_ms, ..entry(1, GRANT, 1, 1) }).collect() };
        let count = |times: &[i64], now_ms| count_older_than(Duration::from_millis(50), now_ms, &at(times));
        assert_eq!(count(&[], 1000), 0);
        assert_eq!(count(&[100, 100, 101], 150), 0);
        assert_eq!(count(&[100, 100, 101], 151), 2);
        assert_eq!(count(&[100, 100, 101], 152), 3);
        // The clock had jumped ahead.
        assert_eq!(count(&[100, 900, 101], 200), 1);
        assert_eq!(count(&[i64::MIN, 0], i64::MIN), 0);
        assert_eq!(count_older_than(Duration::MAX, i64::MAX, &at(&[0])), 0);
    }
}

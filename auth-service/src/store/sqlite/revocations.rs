//! Reading what was revoked, in the process that serves from the file: it alone revokes.

use std::time::Duration;

use crate::store::{RevocationCursor, RevocationLog, RevocationPage};

/// The log of this process, and what tells its numbers from those of the processes before it.
#[derive(Debug)]
pub(super) struct Revocations {
    pub(super) log: RevocationLog,
    process: u64,
}

impl Revocations {
    /// Empty.
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        Ok(Self { log: RevocationLog::default(), process: getrandom::u64()? })
    }

    fn cursor(&self, number: u64) -> RevocationCursor {
        RevocationCursor::of(format!("{:x}-{number}", self.process))
    }

    /// The number of a place; `None`: it is another process's.
    fn number(&self, cursor: &RevocationCursor) -> Option<u64> {
        let (process, number) = cursor.as_str().split_once('-')?;
        let number = number.parse().ok()?;
        (u64::from_str_radix(process, 16) == Ok(self.process)).then_some(number)
    }

    pub(super) fn after(&self, after: Option<&RevocationCursor>) -> RevocationPage {
        let newest = *self.log.newest().borrow();
        let kept =
            after.and_then(|cursor| self.number(cursor)).filter(|number| *number <= newest).and_then(|number| self.log.after(number));
        let has_gap = after.is_some() && kept.is_none();
        let revocations: Vec<_> =
            kept.unwrap_or_default().into_iter().map(|(number, revocation)| (self.cursor(number), revocation)).collect();
        let next = revocations.last().map_or_else(|| self.cursor(newest), |(cursor, _)| cursor.clone());
        RevocationPage { revocations, next, has_more: false, has_gap }
    }

    pub(super) async fn wait(&self, after: &RevocationCursor, patience: Duration) {
        let read = self.number(after).unwrap_or_default();
        let mut newest = self.log.newest();
        // Neither an end of the log nor of the patience says anything.
        let _ = tokio::time::timeout(patience, newest.wait_for(|number| *number > read)).await;
    }
}

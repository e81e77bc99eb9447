//! The export of the ledger: its entries are written as JSON lines, and those that are older than the retention are then folded into one
//! checkpoint an account.
//!
//! An entry is folded only after its line is kept ([`Destination::keep`]). An export that breaks off leaves entries that were written and
//! not folded. The next one writes these again: an entry has one line or more, and never none.

use std::mem;
use std::time::Duration;

use crate::ids::AccountId;
use crate::store::{Checkpoint, Store, StoreError, count_older_than};

pub use self::destination::{Destination, OutputError};

mod destination;
mod line;

/// Entries that one call reads, and one call folds: what other calls wait for.
const ENTRIES_PER_CALL: u32 = 100;
/// Entries that are written before they are folded: a disk is waited for once for so many.
const ENTRIES_PER_WRITE: u64 = 1000;

/// What an export has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exported {
    /// Entries whose lines are kept.
    pub written: u64,
    /// Entries of them that were folded. Of two exports at once, both may count an entry.
    pub folded: u64,
    /// Accounts that were passed over, because what is stored of them contradicts itself.
    pub passed_over: u64,
}

/// Why an export broke off.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store gave no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The lines can't be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Writes the ledger of every account, oldest entries first. `retention`: what is older is written and folded, and nothing else is
/// written. `None`: everything is written, and nothing is folded. Others may use the store meanwhile, and export it.
///
/// # Errors
/// When the store doesn't answer, or the lines can't be written. `exported` says what was done until then.
pub async fn export(
    store: &dyn Store,
    destination: &Destination,
    retention: Option<Duration>,
    exported: &mut Exported,
) -> Result<(), ExportError> {
    let mut export = Export { store, destination, retention, exported, lines: Vec::new(), written: 0, folds: Vec::new() };
    let mut after = None;
    loop {
        let page = store.accounts(after).await?;
        for account in &page.accounts {
            match export.account(account).await {
                // One account that contradicts itself must not keep the export from all others.
                Err(ExportError::Store(StoreError::Corrupt(what))) => {
                    tracing::error!(%account, what, "the account's ledger can't be exported");
                    export.exported.passed_over += 1;
                }
                done => done?,
            }
        }
        if page.next.is_none() {
            return export.keep_and_fold().await;
        }
        after = page.next;
    }
}

/// Entries that may be folded once their lines are kept.
#[derive(Debug)]
struct Fold {
    account: AccountId,
    first: u64,
    checkpoint: Checkpoint,
}

struct Export<'a> {
    store: &'a dyn Store,
    destination: &'a Destination,
    retention: Option<Duration>,
    exported: &'a mut Exported,
    /// Lines to be written.
    lines: Vec<u8>,
    /// How many these are.
    written: u64,
    folds: Vec<Fold>,
}

impl Export<'_> {
    async fn account(&mut self, account: &AccountId) -> Result<(), ExportError> {
        // What all that was written of the account comes to.
        let mut checkpoint: Option<Checkpoint> = None;
        let mut after = 0;
        loop {
            let read = self.store.oldest_entries(account, after, ENTRIES_PER_CALL).await?;
            let old = self.retention.map_or(read.entries.len(), |retention| count_older_than(retention, read.now_ms, &read.entries));
            let entries = &read.entries[..old];
            let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
            if self.retention.is_some() {
                // Somebody else may have folded further meanwhile.
                let before = checkpoint.into_iter().chain(read.checkpoint).max_by_key(|checkpoint| checkpoint.last_entry);
                checkpoint = Checkpoint::fold(before, entries).map_err(|contradiction| StoreError::Corrupt(contradiction.to_string()))?;
                self.folds.extend(checkpoint.map(|checkpoint| Fold { account: account.clone(), first: first.entry, checkpoint }));
            }
            for entry in entries {
                line::push(&mut self.lines, account, entry);
            }
            (self.written, after) = (self.written + entries.len() as u64, last.entry);
            if self.written >= ENTRIES_PER_WRITE {
                self.keep_and_fold().await?;
            }
            if old < ENTRIES_PER_CALL as usize {
                return Ok(());
            }
        }
    }

    /// Has the lines kept, and only then folds their entries, a call for each part of them.
    async fn keep_and_fold(&mut self) -> Result<(), ExportError> {
        self.destination.keep(mem::take(&mut self.lines)).await?;
        self.exported.written += mem::take(&mut self.written);
        for Fold { account, first, checkpoint } in mem::take(&mut self.folds) {
            // Else another export has folded them.
            if self.store.fold_ledger(&account, first, checkpoint).await? {
                self.exported.folded += checkpoint.last_entry - first + 1;
            }
        }
        Ok(())
    }
}

//! The ledger in Redis: its pages, and how its oldest entries are folded.

use super::RedisStore;
use super::accounts::Read;
use super::scripts::ScriptCall;
use super::stored::{StreamEntry, ledger, unreadable};
use crate::ids::AccountId;
use crate::store::{Checkpoint, LedgerPage, LedgerPart, StoreError, records};

/// The field of `acct` that the checkpoint is in.
pub(super) const CHECKPOINT: &str = "checkpoint";

/// A checkpoint as it is stored; `None`: there is none.
pub(super) fn checkpoint(bytes: Option<&[u8]>) -> Result<Option<Checkpoint>, StoreError> {
    bytes.map(|bytes| records::checkpoint(bytes).ok_or_else(|| unreadable("the checkpoint of a ledger"))).transpose()
}

impl RedisStore {
    pub(super) async fn read_ledger(&self, account: &AccountId, before: Option<u64>, limit: u32) -> Result<LedgerPage, StoreError> {
        let Some((_, counters, _)) = self.operate(account, Read(String::new())).await? else { return Ok(LedgerPage::default()) };
        if limit == 0 {
            return Ok(LedgerPage::default());
        }
        let newest = before.map_or(counters.entries, |before| counters.entries.min(before.saturating_sub(1)));
        let part = self.part_of_ledger(account, "XREVRANGE", &format!("{newest}-0"), "-", limit).await?;
        Ok(LedgerPage::new(part.entries, part.checkpoint, limit))
    }

    pub(super) async fn read_oldest_entries(&self, account: &AccountId, after: u64, limit: u32) -> Result<LedgerPart, StoreError> {
        self.part_of_ledger(account, "XRANGE", &format!("({after}-0"), "+", limit).await
    }

    async fn part_of_ledger(&self, account: &AccountId, command: &str, from: &str, to: &str, limit: u32) -> Result<LedgerPart, StoreError> {
        let keys = ["acct", "log"].map(|part| self.keys.account_part(account, part));
        let mut call = ScriptCall::new(&self.scripts.ledger, keys.iter());
        call.arg(self.now()).arg(command).arg(from).arg(to).arg(limit);
        let (now_ms, folded, entries): (i64, Option<Vec<u8>>, Vec<StreamEntry>) = self.run(&call).await?;
        Ok(LedgerPart { now_ms, checkpoint: checkpoint(folded.as_deref())?, entries: ledger(&entries)? })
    }

    pub(super) async fn fold(&self, account: &AccountId, first: u64, checkpoint: &Checkpoint) -> Result<bool, StoreError> {
        let keys = ["acct", "log"].map(|part| self.keys.account_part(account, part));
        let mut call = ScriptCall::new(&self.scripts.fold, keys.iter());
        let below = checkpoint.last_entry.saturating_add(1);
        call.arg(format!("{first}-0")).arg(format!("{below}-0")).arg(records::checkpoint_bytes(checkpoint));
        Ok(self.run::<i64>(&call).await? == 1)
    }
}

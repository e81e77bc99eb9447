//! Pages of the ledger: where one starts, and how long it is.

use shared::ledger::{DEFAULT_PAGE_ENTRIES, MAX_PAGE_ENTRIES};
use shared::proto::auth as pb;

use crate::ids::{AccountId, UserId};
use crate::service::authorizer::Caller;
use crate::service::contract;
use crate::service::violations::Violation;
use crate::store::{EntryKind, LedgerPage, Principal, Store, StoreError};

/// Entries that are read for a page of one user's, at most, when few are theirs.
const MOST_READ: usize = 10_000;

/// Where a page of the ledger starts: opaque, so that it may come to name more than an entry.
pub(crate) fn page_token(last: u64) -> String {
    format!("l{last:x}")
}

/// How many entries a page has; 0 asks for the default.
pub(crate) fn page_size(size: u32) -> Result<u32, Violation> {
    match size {
        0 => Ok(DEFAULT_PAGE_ENTRIES),
        size if size <= MAX_PAGE_ENTRIES => Ok(size),
        _ => Err(Violation::new("page_size", format!("must be from 1 to {MAX_PAGE_ENTRIES}, or 0 for {DEFAULT_PAGE_ENTRIES}"))),
    }
}

/// The entry that a page starts behind; `None`: the newest.
pub(crate) fn page_start(token: &str) -> Result<Option<u64>, Violation> {
    if token.is_empty() {
        return Ok(None);
    }
    let entry = token.strip_prefix('l').and_then(|digits| u64::from_str_radix(digits, 16).ok()).filter(|entry| page_token(*entry) == token);
    entry.map(Some).ok_or_else(|| Violation::new("page_token", "must be a next_page_token of this method, or empty"))
}

/// The first `size` of what was read, the checkpoint counted, and where the rest begins.
pub(crate) fn page_of(read: LedgerPage, size: u32) -> pb::ListLedgerEntriesResponse {
    let size = size as usize;
    let more = read.entries.len() + usize::from(read.checkpoint.is_some()) > size;
    let last = read.entries.iter().take(size).next_back().filter(|_| more);
    let next_page_token = last.map(|last| page_token(last.entry)).unwrap_or_default();
    let entries = read.entries.into_iter().map(contract::ledger_entry).chain(read.checkpoint.map(contract::checkpoint));
    pb::ListLedgerEntriesResponse { entries: entries.take(size).collect(), next_page_token }
}

/// Whose entries somebody sees; `None`: everybody's. In an organization that is no owner's choice alone.
pub(crate) fn whose(caller: &Caller, user_id: &str) -> Result<Option<UserId>, Violation> {
    let Principal { user_id: own, .. } = &caller.principal;
    match user_id {
        _ if !caller.principal.owns() => Ok(Some(own.clone())),
        "" => Ok(None),
        other => UserId::parse(other).map(Some).ok_or_else(|| Violation::new("user_id", "must be the id of a user or a service account")),
    }
}

/// A page of what one user's calls, or a service account's, left in the ledger. It has fewer entries than its size where many others' lie
/// between: one call reads no more than [`MOST_READ`] of them.
pub(crate) async fn page_of_one(
    store: &dyn Store,
    account: &AccountId,
    whose: &UserId,
    mut before: Option<u64>,
    size: u32,
) -> Result<pb::ListLedgerEntriesResponse, StoreError> {
    let (mut entries, mut read) = (Vec::new(), 0);
    loop {
        let page = store.ledger_entries(account, before, MAX_PAGE_ENTRIES).await?;
        // A page that has room was the last one.
        let is_last = page.entries.len() < MAX_PAGE_ENTRIES as usize;
        read += page.entries.len();
        for entry in page.entries {
            if entries.len() == size as usize {
                return Ok(pb::ListLedgerEntriesResponse { entries, next_page_token: before.map(page_token).unwrap_or_default() });
            }
            before = Some(entry.entry);
            if entry.kind != EntryKind::Grant && entry.user_id == *whose {
                entries.push(contract::ledger_entry(entry));
            }
        }
        if is_last {
            return Ok(pb::ListLedgerEntriesResponse { entries, next_page_token: String::new() });
        }
        if read >= MOST_READ {
            return Ok(pb::ListLedgerEntriesResponse { entries, next_page_token: before.map(page_token).unwrap_or_default() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Checkpoint, LedgerEntry};

    #[test]
    fn a_page_ends_with_the_checkpoint_where_it_has_room_and_the_token_leads_to_what_it_has_not() {
        let entry = |entry| LedgerEntry {
            entry,
            kind: EntryKind::Grant,
            credits: 1,
            available: 1,
            request_id: String::new(),
            user_id: UserId::parse("0123456789abcdef").unwrap(),
            key_id: None,
            model: String::new(),
            usage: None,
            at_ms: 0,
            note: String::new(),
        };
        let folded = Checkpoint { last_entry: 4, granted: 9, charged: 2, available: 6, at_ms: 5 };
        for (entries, checkpoint, size, ids, next) in [
            (&[][..], None, 2, &[][..], ""),
            (&[], Some(folded), 2, &["4"], ""),
            (&[5], Some(folded), 2, &["5", "4"], ""),
            (&[6, 5], None, 2, &["6", "5"], ""),
            (&[6, 5], Some(folded), 2, &["6", "5"], "l5"),
            (&[7, 6, 5], None, 2, &["7", "6"], "l6"),
            (&[5], Some(folded), 1, &["5"], "l5"),
        ] {
            let read = LedgerPage { entries: entries.iter().copied().map(entry).collect(), checkpoint };
            let page = page_of(read, size);
            assert_eq!(page.entries.iter().map(|entry| entry.ledger_entry_id.as_str()).collect::<Vec<_>>(), ids);
            assert_eq!(page.next_page_token, next, "{entries:?}");
        }
        let page = page_of(LedgerPage { entries: Vec::new(), checkpoint: Some(folded) }, 1);
        let shown = &page.entries[0];
        assert_eq!(shown.kind(), pb::LedgerEntryKind::Checkpoint);
        assert_eq!((shown.credits(), shown.available_credits(), shown.folded_entries()), (7, 6, 4));
        assert_eq!(shown.created_at, Some(contract::timestamp(5)));
    }

    #[test]
    fn a_page_token_leads_back_to_its_entry_and_nothing_else_does() {
        for entry in [0, 1, 255, u64::MAX] {
            assert_eq!(page_start(&page_token(entry)).unwrap(), Some(entry));
        }
        assert_eq!(page_start("").unwrap(), None);
        for wrong in ["l", "1", "lg", "l01", "l+1", "L1", "l1 "] {
            assert!(page_start(wrong).is_err(), "{wrong}");
        }
    }
}

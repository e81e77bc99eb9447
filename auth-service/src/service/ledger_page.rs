//! Pages of the ledger: where one starts, and how long it is.

use shared::ledger::{DEFAULT_PAGE_ENTRIES, MAX_PAGE_ENTRIES};

use crate::service::violations::Violation;

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

#[cfg(test)]
mod tests {
    use super::*;

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

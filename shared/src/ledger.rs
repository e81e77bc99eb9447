//! Bounds on the ledger: on its figures, and on its pages.

/// The most credits in any figure: 10^12. Credits are whole.
pub const MAX_CREDITS: i64 = 1_000_000_000_000;
/// The most entries of a page.
pub const MAX_PAGE_ENTRIES: u32 = 500;
/// Entries of a page when nobody says how many.
pub const DEFAULT_PAGE_ENTRIES: u32 = 50;

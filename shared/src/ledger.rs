//! Bounds on the ledger, on its figures and on its pages, and how people are told of credits.

/// The most credits in any figure: 10^12. Credits are whole.
pub const MAX_CREDITS: i64 = 1_000_000_000_000;
/// The most entries of a page.
pub const MAX_PAGE_ENTRIES: u32 = 500;
/// Entries of a page when nobody says how many.
pub const DEFAULT_PAGE_ENTRIES: u32 = 50;

/// So many credits, in words: `1 credit`, `2 credits`.
#[must_use]
pub fn credits(number: i64) -> String {
    if number == 1 { "1 credit".to_owned() } else { format!("{number} credits") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_credit_is_a_credit_and_any_other_number_of_them_are_credits() {
        let said = [-1, 0, 1, 2, MAX_CREDITS].map(credits);
        assert_eq!(said, ["-1 credits", "0 credits", "1 credit", "2 credits", "1000000000000 credits"]);
    }
}

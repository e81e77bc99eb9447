//! What becomes of a grant of credits.

use shared::ledger::MAX_CREDITS;

use crate::store::{Balance, GrantAnswer};

/// Decides a grant of credits, on an account with this balance. `before`: the credits and the ledger entry of a grant that was made under
/// the same request id. `None`: the credits are added.
#[must_use]
pub fn on_grant(before: Option<(i64, u64)>, balance: Balance, credits: i64) -> Option<GrantAnswer> {
    match before {
        Some((granted, entry)) if granted == credits => Some(GrantAnswer::Replayed { entry, balance }),
        Some(_) => Some(GrantAnswer::RequestIdReused),
        None if balance.granted + credits > MAX_CREDITS => Some(GrantAnswer::TooMuch),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_made_once_under_its_id_and_never_above_what_an_account_may_hold() {
        let balance = Balance { available: 40, granted: 40, ..Balance::default() };
        assert_eq!(on_grant(None, balance, 5), None);
        assert_eq!(on_grant(Some((5, 7)), balance, 5), Some(GrantAnswer::Replayed { entry: 7, balance }));
        assert_eq!(on_grant(Some((5, 7)), balance, 6), Some(GrantAnswer::RequestIdReused));
        assert_eq!(on_grant(None, balance, MAX_CREDITS - 40), None);
        assert_eq!(on_grant(None, balance, MAX_CREDITS - 39), Some(GrantAnswer::TooMuch));
        // A repetition stays one when the account is full.
        assert_eq!(on_grant(Some((MAX_CREDITS, 1)), balance, MAX_CREDITS), Some(GrantAnswer::Replayed { entry: 1, balance }));
    }
}

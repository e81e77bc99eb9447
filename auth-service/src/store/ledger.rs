//! An account's credits, and the ledger of their changes.

use crate::hold::{HoldRecord, Resolution, TokenUsage};
use crate::ids::{AccountId, KeyId, UserId};

/// Credits of one account. `granted = available + held + spent + lapsed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// Can be held.
    pub available: i64,
    /// Held by open holds.
    pub held: i64,
    /// Charged; never falls.
    pub spent: i64,
    /// Granted and no longer usable.
    pub lapsed: i64,
    /// All that was ever granted.
    pub granted: i64,
}

/// Credits to be added.
#[derive(Debug, Clone)]
pub struct GrantRequest {
    /// To whom.
    pub account: AccountId,
    /// 1 to [`MAX_CREDITS`](shared::ledger::MAX_CREDITS).
    pub credits: i64,
    /// Names the grant within the account, for as long as the account is.
    pub request_id: String,
    /// Why.
    pub note: String,
    /// Who grants.
    pub granted_by: UserId,
}

/// The answer to a [`GrantRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantAnswer {
    /// Added.
    Granted {
        /// The grant's ledger entry.
        entry: u64,
        /// The balance after it.
        balance: Balance,
    },
    /// The same grant was made before; nothing was added.
    Replayed {
        /// The first one's ledger entry.
        entry: u64,
        /// The balance as it is now.
        balance: Balance,
    },
    /// The request id was used for a grant of another amount.
    RequestIdReused,
    /// The account would hold more than [`MAX_CREDITS`](shared::ledger::MAX_CREDITS).
    TooMuch,
    /// No such account.
    NotFound,
}

/// What a ledger entry records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// Credits were granted.
    Grant,
    /// A hold was resolved.
    Resolved(Resolution),
}

/// One change of an account's credits; never altered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Counts up by one within the account, from 1.
    pub entry: u64,
    /// What happened.
    pub kind: EntryKind,
    /// Granted (positive), or charged by this entry (negative or 0).
    pub credits: i64,
    /// Available right after it.
    pub available: i64,
    /// The request's or the grant's id.
    pub request_id: String,
    /// Who spent, or who granted.
    pub user_id: UserId,
    /// The key it was done with.
    pub key_id: Option<KeyId>,
    /// The model; empty for grants.
    pub model: String,
    /// Tokens charged for; `None` for grants.
    pub usage: Option<TokenUsage>,
    /// When.
    pub at_ms: i64,
    /// Why credits were granted; empty otherwise.
    pub note: String,
}

/// Everything about an account's credits, for verification and tests. Reads it all: not for the hot path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSnapshot {
    /// The figures.
    pub balance: Balance,
    /// Open holds, by (user id, request id).
    pub open: Vec<HoldRecord>,
    /// Resolved requests that are there, by (user id, request id): also those that count as forgotten, until they are removed.
    pub remembered: Vec<HoldRecord>,
    /// The ledger, oldest first.
    pub ledger: Vec<LedgerEntry>,
}

impl AccountSnapshot {
    /// What contradicts the invariants, one sentence each; empty: nothing.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let Balance { available, held, spent, lapsed, granted } = self.balance;
        let mut violations = Vec::new();
        let mut require = |holds: bool, sentence: String| {
            if !holds {
                violations.push(sentence);
            }
        };
        require(
            granted == available + held + spent + lapsed,
            format!("granted isn't available + held + spent + lapsed: {:?}", self.balance),
        );
        require(
            [available, held, spent, lapsed, granted].iter().all(|figure| *figure >= 0),
            format!("a figure is negative: {:?}", self.balance),
        );
        let open: i64 = self.open.iter().map(|hold| hold.terms.held_credits).sum();
        require(held == open, format!("held is {held}, and the open holds hold {open}"));
        let granted_by_ledger: i64 = self.ledger.iter().filter(|entry| entry.kind == EntryKind::Grant).map(|entry| entry.credits).sum();
        require(granted == granted_by_ledger, format!("granted is {granted}, and the ledger granted {granted_by_ledger}"));
        let spent_by_ledger: i64 =
            -self.ledger.iter().filter(|entry| entry.kind != EntryKind::Grant).map(|entry| entry.credits).sum::<i64>();
        require(spent == spent_by_ledger, format!("spent is {spent}, and the ledger charged {spent_by_ledger}"));
        require(
            self.ledger.iter().zip(1..).all(|(entry, number)| entry.entry == number),
            "the ledger's entries aren't numbered from 1 without a gap".to_owned(),
        );
        violations
    }
}

//! An account's credits, and the ledger of their changes.

use std::collections::BTreeMap;

use super::Checkpoint;
use crate::hold::{HoldRecord, Resolution, TokenUsage};
use crate::ids::{AccountId, KeyId, UserId};
use crate::organization::MonthUsage;

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

/// A page of an account's ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LedgerPage {
    /// Newest first.
    pub entries: Vec<LedgerEntry>,
    /// What stands for all entries before these, where the page reaches them and there were any.
    pub checkpoint: Option<Checkpoint>,
}

impl LedgerPage {
    /// A page of at most `limit`, the checkpoint counted. `entries`: the newest of those that are kept, as many as there are, or `limit`.
    pub(super) fn new(entries: Vec<LedgerEntry>, checkpoint: Option<Checkpoint>, limit: u32) -> Self {
        let checkpoint = checkpoint.filter(|_| entries.len() < limit as usize);
        Self { entries, checkpoint }
    }
}

/// A part of an account's ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LedgerPart {
    /// When they were read, by the store's clock.
    pub now_ms: i64,
    /// What stands for all entries that were no longer kept then.
    pub checkpoint: Option<Checkpoint>,
    /// In the order that was asked for.
    pub entries: Vec<LedgerEntry>,
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
    /// The ledger's entries that are kept, oldest first.
    pub ledger: Vec<LedgerEntry>,
    /// What stands for the entries before them; `None`: there were none.
    pub checkpoint: Option<Checkpoint>,
    /// Of an organization's account: what each principal spent and holds, by their ids, as it is stored.
    pub usage: Vec<(UserId, MonthUsage)>,
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
        let sum = |wanted: fn(EntryKind) -> bool| -> i64 {
            self.ledger.iter().filter(|entry| wanted(entry.kind)).map(|entry| entry.credits).sum()
        };
        let (last_folded, folded_grants, folded_charges) =
            self.checkpoint.map_or((0, 0, 0), |folded| (folded.last_entry, folded.granted, folded.charged));
        let granted_by_ledger = folded_grants + sum(|kind| kind == EntryKind::Grant);
        require(granted == granted_by_ledger, format!("granted is {granted}, and the ledger granted {granted_by_ledger}"));
        let spent_by_ledger = folded_charges - sum(|kind| kind != EntryKind::Grant);
        require(spent == spent_by_ledger, format!("spent is {spent}, and the ledger charged {spent_by_ledger}"));
        require(
            self.ledger.iter().zip(last_folded + 1..).all(|(entry, number)| entry.entry == number),
            format!("the ledger's entries aren't numbered from {} without a gap", last_folded + 1),
        );
        // Of a user's own account nothing is counted.
        let is_counted = |hold: &&HoldRecord| hold.terms.is_of_organization();
        let mut held_by = BTreeMap::<&UserId, i64>::new();
        for hold in self.open.iter().filter(is_counted) {
            *held_by.entry(&hold.terms.user_id).or_default() += hold.terms.held_credits;
        }
        held_by.retain(|_, held| *held != 0);
        let counted: BTreeMap<_, _> =
            self.usage.iter().map(|(user_id, usage)| (user_id, usage.held)).filter(|(_, held)| *held != 0).collect();
        require(counted == held_by, format!("members hold {held_by:?}, and {counted:?} was counted"));
        let spent_by_members: i64 = self.usage.iter().map(|(_, usage)| usage.spent).sum();
        require(spent_by_members <= spent, format!("members spent {spent_by_members} in a month, and {spent} was spent at all"));
        violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(entry: u64, kind: EntryKind, credits: i64) -> LedgerEntry {
        let user_id = UserId::parse("0123456789abcdef").unwrap();
        let (request_id, model, note) = (String::new(), String::new(), String::new());
        LedgerEntry { entry, kind, credits, available: 0, request_id, user_id, key_id: None, model, usage: None, at_ms: 0, note }
    }

    /// Granted 20 and charged 5 by four entries, of which the first two may be folded.
    fn snapshot(is_folded: bool) -> AccountSnapshot {
        let settled = EntryKind::Resolved(Resolution::Settled);
        let ledger = vec![entry(1, EntryKind::Grant, 15), entry(2, settled, -3), entry(3, EntryKind::Grant, 5), entry(4, settled, -2)];
        let checkpoint = Checkpoint { last_entry: 2, granted: 15, charged: 3, available: 12, at_ms: 0 };
        AccountSnapshot {
            balance: Balance { available: 15, held: 0, spent: 5, lapsed: 0, granted: 20 },
            open: Vec::new(),
            remembered: Vec::new(),
            ledger: if is_folded { ledger[2..].to_vec() } else { ledger },
            checkpoint: is_folded.then_some(checkpoint),
            usage: Vec::new(),
        }
    }

    #[test]
    fn a_ledger_is_right_whether_or_not_its_beginning_is_folded() {
        assert_eq!(snapshot(false).violations(), Vec::<String>::new());
        assert_eq!(snapshot(true).violations(), Vec::<String>::new());
        let all = AccountSnapshot {
            ledger: Vec::new(),
            checkpoint: Some(Checkpoint { last_entry: 4, granted: 20, charged: 5, available: 15, at_ms: 0 }),
            ..snapshot(true)
        };
        assert_eq!(all.violations(), Vec::<String>::new());
    }

    #[test]
    fn a_checkpoint_that_is_not_what_was_folded_is_found() {
        type Change = fn(&mut AccountSnapshot);
        let changes: [(&str, Change); 6] = [
            ("granted", |snapshot| snapshot.checkpoint.as_mut().unwrap().granted += 1),
            ("spent", |snapshot| snapshot.checkpoint.as_mut().unwrap().charged -= 1),
            ("numbered from 2", |snapshot| snapshot.checkpoint.as_mut().unwrap().last_entry = 1),
            ("numbered from 4", |snapshot| snapshot.checkpoint.as_mut().unwrap().last_entry = 3),
            ("numbered from 1", |snapshot| snapshot.checkpoint = None),
            ("numbered from 3", |snapshot| drop(snapshot.ledger.remove(0))),
        ];
        for (what, change) in changes {
            let mut wrong = snapshot(true);
            change(&mut wrong);
            let violations = wrong.violations().join("; ");
            assert!(violations.contains(what), "{what}: {violations}");
        }
    }
}

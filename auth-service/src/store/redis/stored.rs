//! What the scripts write and Rust reads: an account's counters, holds and ledger entries. `lua/account.lua` has the layouts.

use crate::access::RightsVersion;
use crate::hold::{HoldRecord, ResolvedHold, Terms, TokenUsage};
use crate::organization::MonthUsage;
use crate::store::records::{self, EntryFigures};
use crate::store::{Balance, LedgerEntry, StoreError};

const VERSION: u8 = 1;
/// The state of an open hold. Resolved ones have those of `records::resolution_number`.
pub(super) const OPEN: u8 = 0;
/// The state of a grant.
pub(super) const GRANT: u8 = 5;

/// Reads numbers, one after the other.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    /// A whole number, which the scripts keep as a double.
    fn whole(&mut self) -> Option<i64> {
        let number = f64::from_le_bytes(self.bytes()?);
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and within 2^53")]
        (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }
}

/// An account's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) balance: Balance,
    pub(super) next_due_ms: i64,
    pub(super) next_forget_ms: i64,
    pub(super) entries: u64,
    pub(super) open: u32,
    pub(super) paid: u32,
    pub(super) free: u32,
    pub(super) refunds_until_ms: i64,
    pub(super) rights_version: RightsVersion,
}

impl Counters {
    /// Bytes that they take.
    pub(super) const SIZE: usize = 105;

    /// Reads them, and checks that the credits add up.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        let counters = Self::parse(bytes)?;
        let Balance { available, held, spent, lapsed, granted } = counters.balance;
        if [available, held, spent, lapsed].iter().any(|figure| *figure < 0) {
            return Err(StoreError::Corrupt("a figure of the account is negative".to_owned()));
        }
        if granted != available + held + spent + lapsed {
            return Err(StoreError::Corrupt("granted is not available + held + spent + lapsed".to_owned()));
        }
        Ok(counters)
    }

    /// Those of a new account without credits, as `lua/account.lua` has them.
    pub(super) fn of_new_account(rights_version: RightsVersion) -> Vec<u8> {
        // No time: next_due and next_forget.
        let figures: [f64; 12] = std::array::from_fn(|at| if matches!(at, 5 | 6) { 9_007_199_254_740_991.0 } else { 0.0 });
        let figures = figures.iter().flat_map(|figure| figure.to_le_bytes());
        std::iter::once(VERSION).chain(figures).chain(rights_version.to_bytes()).collect()
    }

    /// The account's rights version. Whether its credits add up doesn't matter for that.
    pub(super) fn rights_version(bytes: &[u8]) -> Result<RightsVersion, StoreError> {
        Self::parse(bytes).map(|counters| counters.rights_version)
    }

    /// Reads them, whether or not the credits add up.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::numbers(bytes).ok_or_else(|| unreadable("the account's counters"))
    }

    fn numbers(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        if bytes.len() != Self::SIZE || reader.bytes()? != [VERSION] {
            return None;
        }
        let mut whole = || reader.whole();
        let (available, held, spent, lapsed, granted) = (whole()?, whole()?, whole()?, whole()?, whole()?);
        Some(Self {
            balance: Balance { available, held, spent, lapsed, granted },
            next_due_ms: whole()?,
            next_forget_ms: whole()?,
            entries: whole()?.try_into().ok()?,
            open: whole()?.try_into().ok()?,
            paid: whole()?.try_into().ok()?,
            free: whole()?.try_into().ok()?,
            refunds_until_ms: whole()?,
            rights_version: RightsVersion::from_bytes(reader.bytes()?),
        })
    }
}

/// A hold or request, or a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "made once a call and taken apart at once; a box would cost each call an allocation")]
pub(super) enum Stored {
    Hold(HoldRecord),
    Grant { credits: i64, entry: u64 },
}

impl Stored {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::parse(bytes).ok_or_else(|| unreadable("a hold"))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let [version, state] = reader.bytes()?;
        let (expires_at_ms, credits) = (reader.whole()?, reader.whole()?);
        let (input_tokens, output_tokens) = (reader.u32()?, reader.u32()?);
        let terms_size = usize::from(u16::from_le_bytes(reader.bytes()?));
        if version != VERSION {
            return None;
        }
        let outcome = if state == OPEN {
            None
        } else {
            Some((reader.whole()?, reader.whole()?, u64::try_from(reader.whole()?).ok()?, reader.whole()?))
        };
        if state == GRANT {
            return outcome.map(|(_, _, entry, _)| Self::Grant { credits, entry });
        }
        let (terms, rest) = reader.0.split_at_checked(terms_size)?;
        let (terms, ending) = (Terms::from_bytes(terms.to_vec())?, records::ending(rest)?);
        let resolved = match outcome {
            None => None,
            Some((charged_credits, remaining_credits, ledger_entry, at_ms)) => Some(ResolvedHold {
                resolution: records::resolution(state.into())?,
                outcome: ending.outcome,
                charged_credits,
                uncollected_credits: ending.uncollected_credits,
                remaining_credits,
                // 0: none.
                ledger_entry: (ledger_entry > 0).then_some(ledger_entry),
                at_ms,
            }),
        };
        let usage = TokenUsage { input_tokens, output_tokens, estimated: ending.estimated };
        Some(Self::Hold(HoldRecord { terms, usage, expires_at_ms, resolved }))
    }

    /// The hold that it is. A grant has another id than any hold.
    pub(super) fn hold(self) -> Result<HoldRecord, StoreError> {
        match self {
            Self::Hold(hold) => Ok(hold),
            Self::Grant { .. } => Err(unreadable("a hold")),
        }
    }
}

/// When a record expires, by its head.
pub(super) fn expiry_in(head: &[u8]) -> Option<i64> {
    let mut reader = Reader(head);
    let [_version, _state] = reader.bytes()?;
    reader.whole()
}

/// What a principal of an organization spent in a month, and holds.
pub(super) fn month_usage(bytes: &[u8]) -> Result<MonthUsage, StoreError> {
    let parse = || {
        let mut reader = Reader(bytes);
        let version = reader.bytes::<1>()?;
        let (month_start_ms, spent, held) = (reader.whole()?, reader.whole()?, reader.whole()?);
        let is_good = version == [VERSION] && reader.0.is_empty() && spent >= 0 && held >= 0;
        is_good.then_some(MonthUsage { month_start_ms, spent, held })
    };
    parse().ok_or_else(|| unreadable("what a member spent"))
}

/// A ledger entry, as the stream has it: its id, and the fields.
pub(super) type StreamEntry = (String, Vec<(String, Vec<u8>)>);

pub(super) fn ledger(entries: &[StreamEntry]) -> Result<Vec<LedgerEntry>, StoreError> {
    entries.iter().map(|(id, fields)| ledger_entry(id, fields).ok_or_else(|| unreadable("a ledger entry"))).collect()
}

fn ledger_entry(id: &str, fields: &[(String, Vec<u8>)]) -> Option<LedgerEntry> {
    let entry = id.strip_suffix("-0")?.parse().ok()?;
    let [(field, entry_bytes)] = fields else { return None };
    let mut reader = Reader(entry_bytes);
    if field != "e" || reader.bytes()? != [VERSION] {
        return None;
    }
    let (credits, available, at_ms) = (reader.whole()?, reader.whole()?, reader.whole()?);
    records::ledger_entry(EntryFigures { entry, credits, available, at_ms }, reader.0)
}

pub(super) fn unreadable(what: &str) -> StoreError {
    StoreError::Corrupt(format!("{what} can't be read"))
}

//! Sequences of operations to which random ones would seldom come by themselves.

use auth_service::hold::{Outcome, TokenUsage};
use auth_service::price::Price;
use proptest::prelude::*;

use crate::fixture::START_MS;
use crate::{Change, Handle, Operation, STARTING_CREDITS, request};

const ONE_OF_EACH: TokenUsage = TokenUsage { input_tokens: 1, output_tokens: 1, estimated: false };

/// Sequences that come to every situation which the model knows.
pub(crate) fn all() -> Vec<Vec<Operation>> {
    let requests: Vec<u8> = (0..8).collect();
    vec![
        requests.iter().map(|request| check(*request, 0, 0)).collect(),
        more_is_due(&requests[..4], 9),
        forgotten_together(&requests),
        forgotten_and_still_there(),
        settled_when_all_is_held(1, 2, Outcome::Completed),
        clock_goes_back(&requests[..6], &[20, -50, -50]),
        revoked_in_another_second(),
        settled_late(),
        released(),
        repeated_and_altered(),
    ]
}

/// Tokens are issued to the second: the user is enabled in the second after that in which the hold was made, before the hold ends.
fn revoked_in_another_second() -> Vec<Operation> {
    let before = Operation::Wait { ms: 970 - START_MS % 1000 };
    [before].into_iter().chain(extended_after_a_revocation(1, ONE_OF_EACH, 50)).collect()
}

/// Settled after it expired, while the account can pay.
fn settled_late() -> Vec<Operation> {
    vec![check(1, 0, 3), Operation::Wait { ms: 100 }, settle(LAST)]
}

/// Released by an attempt that holds nothing, by the one that holds, and again; then another attempt asks for it and pays.
fn released() -> Vec<Operation> {
    let release = |attempt| Operation::Release { request: 1, attempt };
    vec![check(1, 0, 1), release(1), release(0), release(0), check(1, 1, 1), settle(LAST), release(1)]
}

/// Asked for twice, extended and settled with handles that aren't what was given out, settled twice; the ledger's oldest entry is folded.
fn repeated_and_altered() -> Vec<Operation> {
    let altered = |change| Handle { back: 0, change };
    let extended = Operation::Extend { handle: altered(Change::Key), usage: ONE_OF_EACH };
    let settled = [altered(Change::Key), altered(Change::Attempt(2)), LAST, LAST].map(settle);
    let fold = Operation::Fold { entries: 1, is_stale: false };
    [check(1, 0, 1), check(1, 0, 1), extended].into_iter().chain(settled).chain([fold]).collect()
}

/// More requests are past their time than one operation removes, and the last one of them is asked for.
fn forgotten_and_still_there() -> Vec<Operation> {
    let refunded = (0..3).flat_map(|request| [check(request, 0, 0), refund()]);
    refunded.chain([Operation::Wait { ms: 400 }, check(2, 1, 0)]).collect()
}

fn settle(handle: Handle) -> Operation {
    Operation::Settle { handle, outcome: Outcome::Completed, usage: ONE_OF_EACH }
}

/// The last one that was held comes back whole.
fn refund() -> Operation {
    Operation::Settle { handle: LAST, outcome: Outcome::NothingGenerated, usage: TokenUsage::default() }
}

/// As many refunds as there can be, and a clock that goes back behind them.
pub(crate) fn clock_goes_back(requests: &[u8], waits: &[i64]) -> Vec<Operation> {
    let refund = |back| Operation::Settle {
        handle: Handle { back, change: Change::Nothing },
        outcome: Outcome::NothingGenerated,
        usage: TokenUsage::default(),
    };
    let held = requests.iter().map(|request| check(*request, 0, 1));
    let refunded = (0..requests.len()).map(refund);
    let asked = waits.iter().flat_map(|ms| [Operation::Wait { ms: *ms }, check(13, 1, 1), refund(0)]);
    held.chain(refunded).chain(asked).collect()
}

/// Extended while its user is disabled, and after; asked for again where the clock may have gone back behind that.
pub(crate) fn extended_after_a_revocation(request: u8, usage: TokenUsage, ms: i64) -> Vec<Operation> {
    let extend = Operation::Extend { handle: LAST, usage };
    let (disable, enable) = (Operation::Disable(true), Operation::Disable(false));
    let (wait, back) = (Operation::Wait { ms }, Operation::Wait { ms: -ms });
    let extended = [extend.clone(), disable, extend.clone(), check(request, 1, 0), wait, enable, extend];
    [check(request, 0, 0)].into_iter().chain(extended).chain([back, check(request, 2, 0)]).collect()
}

pub(crate) const LAST: Handle = Handle { back: 0, change: Change::Nothing };

/// A Check that costs so much a call.
pub(crate) fn check(request: u8, attempt: u8, per_call: i64) -> Operation {
    let price = Price { per_call, per_1k_input_tokens: 0, per_1k_output_tokens: 0 };
    Operation::Check { request, attempt, fingerprint: 0, price, max_in: 1, max_out: 1, require_full: false }
}

/// A request that is refunded and held again by one attempt after the other.
pub(crate) fn rounds() -> impl Strategy<Value = Vec<Operation>> {
    let refund = Operation::Settle { handle: LAST, outcome: Outcome::NothingGenerated, usage: TokenUsage::default() };
    (request(), proptest::collection::vec(0..3_u8, 1..6)).prop_map(move |(request, attempts)| {
        attempts.into_iter().flat_map(|attempt| [check(request, attempt, 1), refund.clone()]).collect()
    })
}

/// More holds are due than one operation resolves, and a Check needs what they hold.
pub(crate) fn more_is_due(dues: &[u8], request: u8) -> Vec<Operation> {
    let holds = dues.iter().map(|due| check(*due, 0, STARTING_CREDITS / 4));
    holds.chain([Operation::Wait { ms: 100 }, check(request, 1, STARTING_CREDITS)]).collect()
}

/// Refunded at the same time, and forgotten at the same time, while another is resolved.
pub(crate) fn forgotten_together(requests: &[u8]) -> Vec<Operation> {
    let refund = Operation::Settle { handle: LAST, outcome: Outcome::NothingGenerated, usage: TokenUsage::default() };
    let wait = Operation::Wait { ms: 400 };
    let resolved = |request: &u8| [check(*request, 1, 0), refund.clone()];
    let together = requests.iter().flat_map(resolved);
    together.chain([wait]).chain(requests.iter().take(1).flat_map(resolved)).collect()
}

/// A hold expires, another takes what came back, and it is settled late.
pub(crate) fn settled_when_all_is_held(request: u8, other: u8, outcome: Outcome) -> Vec<Operation> {
    let (handle, usage) = (Handle { back: 1, ..LAST }, TokenUsage { input_tokens: 1, output_tokens: 1, estimated: false });
    let price = Price { per_call: 1, per_1k_input_tokens: 0, per_1k_output_tokens: 1000 };
    let all = Operation::Check { request: other, attempt: 1, fingerprint: 0, price, max_in: 1, max_out: 1000, require_full: false };
    vec![check(request, 0, 3), Operation::Wait { ms: 100 }, all, Operation::Settle { handle, outcome, usage }]
}

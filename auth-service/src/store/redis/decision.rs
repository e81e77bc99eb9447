//! How an operation on an account's credits is decided and made.
//!
//! It begins with a move that expects what is as a rule so: the caller's rights are those read before, there is no such request yet, the
//! hold is open on the handle's terms, nothing is due. When the script finds something else, it is decided anew from that.

use super::move_batcher::{Answer, Call};
use super::move_script::{Done, Effect, Found, Move, Moved, answers};
use super::scripts::ScriptCall;
use super::stored::unreadable;
use super::{RedisStore, millis};
use crate::ids::AccountId;
use crate::store::{StoreError, expiry_line};

/// How often an operation is decided, at most. Each time but the first, others have changed what it was decided from. One that gives up
/// has been outrun by so many changes that came through; its caller is told to try again.
const MAX_DECISIONS: usize = 12;

/// What an operation finds an account in.
pub(super) struct Situation<'a> {
    /// By the store's clock.
    pub(super) now_ms: i64,
    /// What there is.
    pub(super) found: &'a Found,
    /// Whether holds are due that one operation doesn't come to.
    pub(super) more_is_due: bool,
}

/// What comes of a decision.
#[expect(clippy::large_enum_variant, reason = "made once a call and taken apart at once; a box would cost each call an allocation")]
pub(super) enum Next<T> {
    Answer(T),
    Move(Move),
}

/// An operation on an account's credits.
pub(super) trait Operation {
    type Answer;

    /// What is tried first.
    fn first(&mut self) -> Move;
    /// The answer to whom nothing may be done for, not even what is due.
    fn refuse(&mut self, _situation: &Situation<'_>) -> Result<Option<Self::Answer>, StoreError> {
        Ok(None)
    }
    /// So many holds that were due are resolved before it.
    fn expire(&mut self, _resolved: u32) {}
    /// The answer when the last move was made, at this time.
    fn done(&mut self, now_ms: i64, done: Done) -> Result<Self::Answer, StoreError>;
    /// The answer when others change the account faster than this can be decided.
    fn give_up(&mut self) -> Result<Self::Answer, StoreError> {
        Err(StoreError::Unavailable("others change the account faster than this call can be decided".to_owned()))
    }
    /// What to do when the last move found something else than it expected.
    fn decide(&mut self, situation: Situation<'_>) -> Result<Next<Self::Answer>, StoreError>;
}

impl RedisStore {
    /// Does an operation. When holds are due, they are resolved first, in the same script as the move that met them.
    pub(super) async fn operate<O: Operation>(&self, account: &AccountId, mut operation: O) -> Result<O::Answer, StoreError> {
        let (mut moves, mut next) = (Vec::new(), operation.first());
        let (mut swept, mut more_is_due, mut decisions) = (false, false, 0);
        let mut expiring = Vec::new();
        loop {
            moves.push(next.clone());
            let call = Call { account: account.clone(), moves };
            let batcher = if call.effect() == Effect::Reads { &self.reads } else { &self.writes };
            let (now_ms, mut moved) = batcher.run(self, call).await?;
            let last = moved.pop().ok_or_else(|| unreadable("a script's answer"))?;
            let expired = std::mem::take(&mut expiring).into_iter().zip(moved).filter(|(_, moved)| matches!(moved, Moved::Done(_)));
            expiry_line::log_all(expired.map(|(expired, _)| expired));
            let found = match last {
                Moved::Done(done) => return operation.done(now_ms, done),
                Moved::Found(found) => found,
            };
            let situation = Situation { now_ms, found: &found, more_is_due };
            if let Some(answer) = operation.refuse(&situation)? {
                return Ok(answer);
            }
            let (expirations, more) = found.expirations(self.limits.sweep_batch as usize, now_ms)?;
            if !swept && !expirations.is_empty() {
                operation.expire(u32::try_from(expirations.len()).unwrap_or(u32::MAX));
                (expiring, moves) = expirations.into_iter().unzip();
                (swept, more_is_due, next) = (true, more, next.swept());
                continue;
            }
            if decisions == MAX_DECISIONS {
                return operation.give_up();
            }
            decisions += 1;
            moves = Vec::new();
            next = match operation.decide(situation)? {
                Next::Answer(answer) => return Ok(answer),
                Next::Move(next) if swept => next.swept(),
                Next::Move(next) => next,
            };
        }
    }

    /// Runs calls in one script, the one that works for all of them; what became of each.
    pub(super) async fn run_moves(&self, calls: &[Call]) -> Result<Vec<Answer>, StoreError> {
        let script = match calls.iter().map(Call::effect).max() {
            None | Some(Effect::Reads) => &self.scripts.read,
            Some(Effect::GivesBack) => &self.scripts.settle,
            Some(Effect::NeedsRoom) => &self.scripts.hold,
        };
        let count = calls.iter().map(|call| call.moves.len()).sum();
        let mut keys = Vec::with_capacity(2 * count);
        for call in calls {
            for _ in &call.moves {
                keys.extend(["acct", "due"].map(|part| self.keys.account_part(&call.account, part)));
            }
        }
        let mut script = ScriptCall::with_room(count, script, keys.iter());
        script.arg(self.now());
        calls.iter().flat_map(|call| &call.moves).for_each(|next| next.write(&mut script));
        let answer = self.answer(&script).await.map_err(|error| self.failed(&error))?;
        let (now_ms, moved) = answers(answer, count, millis(self.limits.hold_ttl))?;
        let mut moved = moved.into_iter();
        Ok(calls.iter().map(|call| Ok((now_ms, moved.by_ref().take(call.moves.len()).collect()))).collect())
    }
}

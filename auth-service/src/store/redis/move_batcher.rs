//! Moves of several callers in one run of a script.
//!
//! A run takes Redis some microseconds, and as long again to be read, begun and answered. Calls on any accounts that are made while the
//! others which can run now have their turn share one. Each is decided by itself in the script, as if it were alone.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync::oneshot;

use super::RedisStore;
use super::move_script::{Effect, Move, Moved};
use super::stored::unreadable;
use crate::ids::AccountId;
use crate::store::StoreError;

/// Calls that one run takes. With more, auth-service and Redis would take turns in place of working at the same time.
const MAX_BATCH: usize = 8;

/// One call's moves, in their order.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) account: AccountId,
    pub(super) moves: Vec<Move>,
}

impl Call {
    /// What it asks of Redis, all in all.
    pub(super) fn effect(&self) -> Effect {
        self.moves.iter().map(Move::effect).max().unwrap_or(Effect::Reads)
    }
}

/// The time, and what became of each of a call's moves.
pub(super) type Answer = Result<(i64, Vec<Moved>), StoreError>;

/// A call that waits to be made together with others. Without an answer, it is to be made alone.
type Waiting = (Call, oneshot::Sender<Answer>);

#[derive(Debug, Default)]
struct Batch {
    waiting: Vec<Waiting>,
    /// How many batches were taken before.
    number: u64,
}

/// Where calls wait for each other.
#[derive(Debug, Default)]
pub(super) struct MoveBatcher {
    batch: Mutex<Batch>,
}

/// A call's place in the batch.
enum Place<'a> {
    /// The first one: it takes the batch when its turn comes.
    First(Turn<'a>),
    /// One of those that follow.
    Joined,
    /// The last one: the batch is full, and taken.
    Full(Vec<Waiting>),
}

/// The turn of the call that came first.
struct Turn<'a> {
    batch: &'a Mutex<Batch>,
    number: u64,
}

impl Turn<'_> {
    /// The batch; empty when it was full before, and taken.
    fn take(&self) -> Vec<Waiting> {
        let mut batch = lock(self.batch);
        if batch.number == self.number { batch.take() } else { Vec::new() }
    }
}

impl Drop for Turn<'_> {
    /// A caller that goes away leaves nobody waiting: those who joined it ask alone.
    fn drop(&mut self) {
        self.take();
    }
}

impl Batch {
    fn take(&mut self) -> Vec<Waiting> {
        self.number += 1;
        mem::take(&mut self.waiting)
    }
}

fn lock(batch: &Mutex<Batch>) -> MutexGuard<'_, Batch> {
    // Held for a few instructions, and nothing in it can be left half done.
    batch.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MoveBatcher {
    /// Makes a call together with those that come meanwhile.
    pub(super) async fn run(&self, redis: &RedisStore, call: Call) -> Answer {
        let (answer, answered) = oneshot::channel();
        match self.join((call.clone(), answer)) {
            Place::Joined => {}
            Place::First(turn) => {
                one_turn().await;
                run_batch(redis, turn.take()).await;
            }
            Place::Full(batch) => run_batch(redis, batch).await,
        }
        match answered.await {
            Ok(answer) => answer,
            Err(_) => redis.run_moves(&[call]).await?.pop().unwrap_or_else(|| Err(unreadable("a script's answer"))),
        }
    }

    fn join(&self, waiting: Waiting) -> Place<'_> {
        let mut batch = lock(&self.batch);
        batch.waiting.push(waiting);
        match batch.waiting.len() {
            MAX_BATCH => Place::Full(batch.take()),
            1 => Place::First(Turn { batch: &self.batch, number: batch.number }),
            _ => Place::Joined,
        }
    }
}

/// Makes all of them, and tells everyone their answer.
async fn run_batch(redis: &RedisStore, mut batch: Vec<Waiting>) {
    // For a caller that is gone nothing need be done.
    batch.retain(|(_, caller)| !caller.is_closed());
    if batch.is_empty() {
        return;
    }
    let (calls, callers): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let is_mixed = calls.iter().any(|call| call.effect() != calls[0].effect());
    let answers = match redis.run_moves(&calls).await {
        Ok(answers) => answers,
        // Redis is full. Those that give back need no room: by themselves, they work.
        Err(StoreError::Full(_)) if is_mixed => return,
        // It is one of them that Redis can't do: each asks alone, and hears what is meant for it.
        Err(StoreError::Corrupt(_)) if callers.len() > 1 => return,
        Err(error) => vec![Err(error); callers.len()],
    };
    for (caller, answer) in callers.into_iter().zip(answers) {
        // It may be gone.
        let _ = caller.send(answer);
    }
}

/// Lets every task that can run now run once.
async fn one_turn() {
    let mut waited = false;
    std::future::poll_fn(|cx| {
        if mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

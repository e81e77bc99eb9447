//! Checks that are asked at the same time, run by one script in one round trip.
//!
//! A script on one account takes Redis some microseconds, and as long again to be read, begun and answered. Checks of any accounts share
//! that: those that come while the others which can run now have their turn, as in `shared::gathered_writes`, wait for none of them but
//! these. Each is decided by itself in the script, as if it were alone.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use ::redis::{ErrorKind, ServerErrorKind, Value, from_redis_value};
use tokio::sync::oneshot;

use super::answers::unreadable;
use super::{RedisStore, StoreError, store_error};
use crate::ids::AccountId;

/// Checks that one script runs. With more, auth-service and Redis would take turns in place of working at the same time.
const MOST: usize = 8;

/// What `check.lua` is asked for one request.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) account: AccountId,
    /// The account's `access`, for a known caller.
    pub(super) access: Option<i64>,
    /// A known caller's hold, or the digest of the request.
    pub(super) hold_id: String,
    pub(super) price: i64,
    /// The new hold, packed.
    pub(super) hold: String,
    pub(super) who_asks: Vec<u8>,
    /// When a known caller's key ends.
    pub(super) ends_at_ms: Option<i64>,
}

/// What it answers.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// The hold was made in the quick way.
    Held { remaining_credits: i64, expires_at_ms: i64 },
    /// Whatever the full way found.
    Full(Vec<String>),
}

pub(super) type Answer = Result<Reply, StoreError>;

/// A question that waits to be asked together with others. Without an answer, it is to be asked alone.
type Waiting = (Question, oneshot::Sender<Answer>);

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// How often what waited was taken.
    taken: u64,
}

/// Where Checks wait for each other.
#[derive(Debug, Default)]
pub(super) struct GatheredChecks {
    queue: Mutex<Queue>,
    /// Whether this Redis lets no script touch two accounts: it is a cluster.
    apart: AtomicBool,
}

/// What a question has to do after it was put into the queue.
enum Joined<'a> {
    /// Whoever came first takes it.
    Follows,
    /// It came first, and takes all when its turn comes.
    Leads(Turn<'a>),
    /// It made the number full, and takes all now.
    Fills(Vec<Waiting>),
}

/// The turn of the question that came first.
struct Turn<'a> {
    queue: &'a Mutex<Queue>,
    /// What `taken` was.
    number: u64,
}

impl Turn<'_> {
    /// All that waits; nothing when it was full before, and taken.
    fn take(&self) -> Vec<Waiting> {
        let mut queue = lock(self.queue);
        if queue.taken == self.number { queue.take() } else { Vec::new() }
    }
}

impl Drop for Turn<'_> {
    /// A caller that goes away leaves nobody waiting: those who came after it ask alone.
    fn drop(&mut self) {
        self.take();
    }
}

impl Queue {
    fn take(&mut self) -> Vec<Waiting> {
        self.taken += 1;
        mem::take(&mut self.waiting)
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    // Held for a few instructions, and nothing in it can be left half done.
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GatheredChecks {
    /// Asks a question together with those that come meanwhile. `None`: it must be asked alone, whether or not that was done.
    pub(super) async fn ask(&self, redis: &RedisStore, question: Question) -> Option<Answer> {
        if self.apart.load(Ordering::Relaxed) {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        match self.join((question, answer)) {
            Joined::Follows => {}
            Joined::Leads(turn) => {
                one_turn().await;
                self.run(redis, turn.take()).await;
            }
            Joined::Fills(waiting) => self.run(redis, waiting).await,
        }
        answered.await.ok()
    }

    fn join(&self, waiting: Waiting) -> Joined<'_> {
        let mut queue = lock(&self.queue);
        queue.waiting.push(waiting);
        match queue.waiting.len() {
            MOST => Joined::Fills(queue.take()),
            1 => Joined::Leads(Turn { queue: &self.queue, number: queue.taken }),
            _ => Joined::Follows,
        }
    }

    /// Asks all of them, and tells everyone their answer.
    async fn run(&self, redis: &RedisStore, mut waiting: Vec<Waiting>) {
        // For a caller that is gone nothing need be held.
        waiting.retain(|(_, caller)| !caller.is_closed());
        if waiting.is_empty() {
            return;
        }
        let (questions, callers): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        let answers = match redis.ask(&redis.scripts.check, &questions).await {
            Ok(answer) => answers(answer, questions.len()),
            Err(error) => {
                let apart = error.kind() == ErrorKind::Server(ServerErrorKind::CrossSlot);
                let error = store_error(error);
                // It is one of them that Redis can't do, or all of them together: each asks alone, and hears what is meant for it.
                if callers.len() > 1 && (apart || matches!(error, StoreError::Corrupt(_))) {
                    self.apart.fetch_or(apart, Ordering::Relaxed);
                    return;
                }
                vec![Err(error); callers.len()]
            }
        };
        for (caller, answer) in callers.into_iter().zip(answers) {
            // It may be gone.
            let _ = caller.send(answer);
        }
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

/// Takes the script's answer to so many questions apart: an answer for each.
pub(super) fn answers(answer: Value, questions: usize) -> Vec<Answer> {
    let none_can_be_read = || vec![Err(unreadable("the answer to Check")); questions];
    let Value::Array(parts) = answer else { return none_can_be_read() };
    let mut parts = parts.into_iter();
    let Some(Value::Int(expires_at_ms)) = parts.next() else { return none_can_be_read() };
    if parts.len() != questions {
        return none_can_be_read();
    }
    parts
        .map(|part| match part {
            Value::Int(remaining_credits) => Ok(Reply::Held { remaining_credits, expires_at_ms }),
            part => from_redis_value(part).map(Reply::Full).map_err(|_| unreadable("the answer to Check")),
        })
        .collect()
}

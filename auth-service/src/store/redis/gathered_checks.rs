//! Checks that are asked at the same time, run by one script in one round trip.
//!
//! A script on one account takes Redis some microseconds, and as long again to be read, begun and answered. Checks of any accounts share
//! that: those that come while the others which can run now have their turn, as in `shared::gathered_writes`, wait for none of them but
//! these. Each is decided by itself in the script, as if it were alone.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync::oneshot;

use super::question::{Answer, Question, answers};
use super::{RedisStore, StoreError};

/// Checks that one script runs. With more, auth-service and Redis would take turns in place of working at the same time.
const MOST: usize = 8;

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
                let error = redis.failed(&error);
                // It is one of them that Redis can't do: each asks alone, and hears what is meant for it.
                if callers.len() > 1 && matches!(error, StoreError::Corrupt(_)) {
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

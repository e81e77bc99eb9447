//! Tasks and threads that a process can't do without. When one of them panics or ends, the process says which and ends: living on without
//! it, it would answer nobody, or watch over nothing, and look healthy.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The exit status of a process that lost something it can't do without (`EX_SOFTWARE` of sysexits.h).
pub const EXIT_SOFTWARE: u8 = 70;

/// What was lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {how}, and the process can't do without it: that is a defect in Tollgate, and what is above this line may say more")]
pub struct Lost {
    what: &'static str,
    how: &'static str,
}

/// Whoever needs it waits here for the first loss. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Essentials(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    first: OnceLock<Lost>,
    told: CancellationToken,
}

impl Essentials {
    /// Ready when something was lost; the first loss is the one that is told.
    pub async fn lost(&self) -> Lost {
        self.0.told.cancelled().await;
        // It was set before.
        self.0.first.get().cloned().unwrap_or(Lost { what: "a task", how: "ended" })
    }

    /// A guard for a thread or a task to hold while it runs. `what`: the subject of the sentence that says that it is lost.
    pub fn guard(&self, what: &'static str) -> EssentialGuard {
        EssentialGuard { essentials: self.clone(), what, released: Arc::default() }
    }

    /// Runs a task that the process needs until `stop` is cancelled: it is lost when it panics, and when it ends before that.
    pub fn spawn(&self, what: &'static str, stop: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) -> EssentialTask {
        let (guard, stop) = (self.guard(what), stop.clone());
        let released = Arc::clone(&guard.released);
        let task = tokio::spawn(async move {
            work.await;
            if stop.is_cancelled() {
                guard.release();
            }
        });
        EssentialTask { task, released }
    }
}

/// Dropped without [`EssentialGuard::release`], it tells that its holder is lost.
#[derive(Debug)]
#[must_use]
pub struct EssentialGuard {
    essentials: Essentials,
    what: &'static str,
    released: Arc<AtomicBool>,
}

impl EssentialGuard {
    /// Its holder ends because it may.
    pub fn release(self) {
        self.released.store(true, Ordering::Release);
    }
}

impl Drop for EssentialGuard {
    fn drop(&mut self) {
        if self.released.load(Ordering::Acquire) {
            return;
        }
        let how = if std::thread::panicking() { "panicked" } else { "ended" };
        // Only the first counts: what is lost next is as a rule its consequence.
        let _ = self.essentials.0.first.set(Lost { what: self.what, how });
        self.essentials.0.told.cancel();
    }
}

/// A task that the process needs. Dropping this ends it, which is no loss.
#[derive(Debug)]
#[must_use]
pub struct EssentialTask {
    task: JoinHandle<()>,
    released: Arc<AtomicBool>,
}

impl EssentialTask {
    /// Waits for its end.
    pub async fn ended(&mut self) {
        // A panic was told where it happened, and to whoever waits for a loss.
        let _ = (&mut self.task).await;
    }
}

impl Drop for EssentialTask {
    fn drop(&mut self) {
        self.released.store(true, Ordering::Release);
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What is lost by now; `None`: nothing, though every task that can run has run.
    async fn lost(essentials: &Essentials) -> Option<Lost> {
        tokio::time::timeout(Duration::from_millis(50), essentials.lost()).await.ok()
    }

    #[tokio::test]
    async fn a_needed_task_that_panics_is_lost_and_so_is_one_that_ends_before_it_may() {
        for (how, panics) in [("panicked", true), ("ended", false)] {
            let (essentials, stop) = (Essentials::default(), CancellationToken::new());
            let _task = essentials.spawn("the timer", &stop, async move { assert!(!panics, "on purpose") });
            assert_eq!(essentials.lost().await, Lost { what: "the timer", how });
        }
    }

    #[tokio::test]
    async fn a_needed_thread_that_panics_is_lost() {
        let essentials = Essentials::default();
        let guard = essentials.guard("the thread");
        let thread = std::thread::spawn(move || {
            let _guard = guard;
            panic!("on purpose");
        });
        let lost = essentials.lost().await;
        assert!(lost.to_string().starts_with("the thread panicked, and the process can't do without it"), "{lost}");
        assert!(thread.join().is_err());
    }

    #[tokio::test]
    async fn what_is_stopped_or_dropped_is_not_lost() {
        let (essentials, stop) = (Essentials::default(), CancellationToken::new());
        let mut stopped = essentials.spawn("the walk", &stop, stop.clone().cancelled_owned());
        let dropped = essentials.spawn("the timer", &stop, std::future::pending());
        drop(dropped);
        essentials.guard("the thread").release();
        stop.cancel();
        stopped.ended().await;
        assert_eq!(lost(&essentials).await, None);
    }

    #[tokio::test]
    async fn a_panic_in_a_calls_own_task_is_no_loss() {
        let essentials = Essentials::default();
        assert!(tokio::spawn(async { panic!("on purpose") }).await.is_err());
        assert_eq!(lost(&essentials).await, None);
    }
}

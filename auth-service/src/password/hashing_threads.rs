//! The threads that hash. They are the service's own, and the operating system prefers those that answer calls to them: a flood of log-ins
//! leaves its processors to `Check`.

use std::fmt;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// How much the threads that hash give way to others (0: not at all, 19: to all). At 10 a thread gets a tenth of a processor that another
/// one wants as well: enough to hash in less than a second where a model runs on all of them.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// So many threads, which are started when they are needed and end when they have had nothing to do for a while.
pub(super) struct HashingThreads(Option<Runtime>);

impl HashingThreads {
    pub(super) fn new(count: usize) -> std::io::Result<Self> {
        // It only ever blocks: nothing is polled on it.
        let mut builder = Builder::new_current_thread();
        builder.max_blocking_threads(count).thread_name("hashing").on_thread_start(give_way);
        builder.build().map(|runtime| Self(Some(runtime)))
    }

    /// Runs some work on one of the threads; `None` while it is dropped.
    pub(super) fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<JoinHandle<T>> {
        self.0.as_ref().map(|runtime| runtime.spawn_blocking(work))
    }
}

impl Drop for HashingThreads {
    fn drop(&mut self) {
        // Without waiting: the last owner may be a task.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for HashingThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashingThreads")
    }
}

/// Lowers the priority of the thread that calls it.
fn give_way() {
    // On Linux a process that isn't named is the calling thread. Elsewhere it would be all of them.
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getpriority_process, setpriority_process};
        // One that gives way more already keeps doing so: root could raise it.
        let lowered = getpriority_process(None).and_then(|own| if own < NICENESS { setpriority_process(None, NICENESS) } else { Ok(()) });
        if let Err(error) = lowered {
            tracing::debug!(%error, "a thread that hashes keeps its priority");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_threads_that_hash_give_way_and_those_that_answer_calls_do_not() {
        let own = || rustix::process::getpriority_process(None).unwrap();
        let before = own();
        let threads = HashingThreads::new(1).unwrap();
        assert_eq!(threads.spawn(own).unwrap().await.unwrap(), NICENESS.max(before));
        assert_eq!(own(), before);
    }

    #[test]
    fn the_threads_that_hash_are_never_preferred_to_those_of_a_service_that_gives_way_to_all() {
        // Threads have the priority of those that start them.
        let of_one_that_gives_way = std::thread::spawn(|| {
            rustix::process::setpriority_process(None, 19).unwrap();
            let own = || rustix::process::getpriority_process(None).unwrap();
            let runtime = Builder::new_current_thread().build().unwrap();
            runtime.block_on(async { HashingThreads::new(1).unwrap().spawn(own).unwrap().await.unwrap() })
        });
        assert_eq!(of_one_that_gives_way.join().unwrap(), 19);
    }
}

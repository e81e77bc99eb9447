//! The tokio runtime: the one that a service's binary runs on, and how any of them does long work.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs a future to its end on a multi-threaded runtime: one worker for every two processors, or as many as `TOKIO_WORKER_THREADS` says.
///
/// The other processors have work: Redis, the model server and the other service answer the same call. Waking a worker takes longer than
/// a short call's own work. On two processors, one worker in place of two made a Check a tenth cheaper, and a chat's first token 0.1 ms
/// earlier.
#[cfg(feature = "server")]
pub fn block_on(service: &str, future: impl Future<Output = std::process::ExitCode>) -> std::process::ExitCode {
    // Dropped after the runtime, whose tasks log until they end.
    let _log = crate::telemetry::FlushOnDrop::default();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        builder.worker_threads((processors / 2).max(1));
    }
    match builder.enable_all().build() {
        Ok(runtime) => runtime.block_on(future),
        Err(error) => {
            crate::telemetry::report_fatal(service, &error);
            std::process::ExitCode::FAILURE
        }
    }
}

/// Does work that takes longer the longer a message is. For a long one, tokio first gives this thread's other tasks to another thread
/// (`block_in_place`).
pub fn work_through<T>(message_bytes: usize, work: impl FnOnce() -> T) -> T {
    // Some tenths of a millisecond of work: giving the thread's calls away takes less.
    const LONG_MESSAGE_BYTES: usize = 256 * 1024;
    // A runtime of one thread alone has no other to give them to.
    let can_give = || Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if message_bytes >= LONG_MESSAGE_BYTES && can_give() { tokio::task::block_in_place(work) } else { work() }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn a_long_message_does_not_keep_other_calls_from_the_only_thread() {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let worked = runtime.block_on(async {
            tokio::spawn(async {
                let (other, answer) = std::sync::mpsc::channel();
                tokio::spawn(async move { other.send("the other call's answer") });
                // Waits for the other call, which needs this thread.
                work_through(32 << 20, move || answer.recv().unwrap())
            })
            .await
        });
        assert_eq!(worked.unwrap(), "the other call's answer");
    }

    #[tokio::test]
    async fn where_there_is_no_other_thread_it_is_done_all_the_same() {
        assert_eq!(work_through(32 << 20, || 7), 7);
    }
}

//! Ctrl-C while a command waits for somebody.

use crate::failure::Failure;

/// Does this until it is done, or until Ctrl-C. It is listened for from before the first step on.
pub(crate) async fn unless_interrupted<T>(doing: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => match interrupted {
            Ok(()) => Err(Failure::Interrupted),
            Err(source) => Err(Failure::Io { what: "Ctrl-C can't be listened for".to_owned(), source }),
        },
        done = doing => done,
    }
}

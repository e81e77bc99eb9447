//! The signals that ask a process to end.

use crate::telemetry::report_fatal;

/// Ready at the first SIGTERM or Ctrl-C. The second one ends the process at once, as a crash would: what is held then expires.
pub async fn shutdown_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        tracing::warn!("signals can't be watched");
        return std::future::pending().await;
    };
    let mut next = async move || {
        tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
        }
    };
    next().await;
    // The process's own: it ends with it, or ends it.
    tokio::spawn(async move {
        let second = next().await.as_raw_value();
        report_fatal("tollgate", &"a second signal: ended at once, without waiting for running calls");
        std::process::exit(128 + second);
    });
}

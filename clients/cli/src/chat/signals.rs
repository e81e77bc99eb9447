//! Ctrl-C, and the signals that end a process.

use std::io;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::terminal::Modes;
use crate::failure::Failure;

/// How long a session may take to end itself, when a write to a terminal that takes nothing may hold it up.
const END_WITHIN: Duration = Duration::from_secs(1);
const CTRL_C: i32 = 130;
/// What is added to a signal's number to make it an exit code.
const OF_A_SIGNAL: i32 = 128;

/// Ctrl-C, each time. One that comes while the one before was not yet seen ends the process: something holds it up, such as a write to
/// standard output.
#[derive(Debug)]
pub(super) struct Interrupts {
    presses: mpsc::Receiver<()>,
    watcher: JoinHandle<()>,
}

impl Interrupts {
    /// From now on they end no process. Before this one is ended, its terminal gets these modes.
    pub(super) fn watch(modes: Modes) -> io::Result<Self> {
        let (pressed, presses) = mpsc::channel(1);
        #[cfg(unix)]
        let mut signals = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
        #[cfg(windows)]
        let mut signals = tokio::signal::windows::ctrl_c()?;
        let watcher = tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if pressed.try_send(()).is_err() {
                    modes.restore();
                    std::process::exit(CTRL_C);
                }
            }
        });
        Ok(Self { presses, watcher })
    }

    /// The next one.
    pub(super) async fn next(&mut self) {
        if self.presses.recv().await.is_none() {
            std::future::pending().await
        }
    }

    /// Those that came until now were for something else.
    pub(super) fn forget(&mut self) {
        while self.presses.try_recv().is_ok() {}
    }

    /// What this gives, or `None` when Ctrl-C came first; then it is dropped.
    pub(super) async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.next() => None,
            done = work => Some(done),
        }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

/// The signals that end a process: hang-up, quit and termination.
#[derive(Debug)]
pub(super) struct Endings {
    ended: mpsc::Receiver<i32>,
    watchers: Vec<JoinHandle<()>>,
}

impl Endings {
    /// From now on the process ends itself.
    pub(super) fn watch(modes: &Modes) -> io::Result<Self> {
        let (ends, ended) = mpsc::channel(4);
        let mut watchers = Vec::new();
        #[cfg(unix)]
        for kind in [
            tokio::signal::unix::SignalKind::hangup(),
            tokio::signal::unix::SignalKind::quit(),
            tokio::signal::unix::SignalKind::terminate(),
        ] {
            let (mut signals, ends, modes) = (tokio::signal::unix::signal(kind)?, ends.clone(), modes.clone());
            watchers.push(tokio::spawn(async move {
                if signals.recv().await.is_some() {
                    let code = OF_A_SIGNAL + kind.as_raw_value();
                    // The session may have ended by itself.
                    let _ = ends.send(code).await;
                    tokio::time::sleep(END_WITHIN).await;
                    modes.restore();
                    std::process::exit(code);
                }
            }));
        }
        #[cfg(not(unix))]
        let _ = (ends, modes, END_WITHIN, OF_A_SIGNAL);
        Ok(Self { ended, watchers })
    }

    /// The failure that the first one is.
    pub(super) async fn first(&mut self) -> Failure {
        match self.ended.recv().await {
            Some(code) => Failure::Ended { code: u8::try_from(code).unwrap_or(u8::MAX) },
            None => std::future::pending().await,
        }
    }
}

impl Drop for Endings {
    fn drop(&mut self) {
        for watcher in &self.watchers {
            watcher.abort();
        }
    }
}

/// What watching for signals that can't be watched is.
pub(super) fn no_signals(source: io::Error) -> Failure {
    Failure::Io { what: "signals can't be watched".to_owned(), source }
}

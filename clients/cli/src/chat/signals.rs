//! Ctrl-C, and the signals that end a process.

use std::io;
#[cfg(unix)]
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::terminal::Modes;
use crate::failure::Failure;

/// What is added to a signal's number to make it an exit code.
#[cfg(unix)]
const OF_A_SIGNAL: i32 = 128;
/// How long a session may take to end itself, when a write to a terminal that takes nothing may hold it up.
#[cfg(unix)]
const END_WITHIN: Duration = Duration::from_secs(1);
const CTRL_C: i32 = 130;

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
        let watchers = watchers(&ends, modes)?;
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

#[cfg(unix)]
fn watchers(ends: &mpsc::Sender<i32>, modes: &Modes) -> io::Result<Vec<JoinHandle<()>>> {
    use tokio::signal::unix::{SignalKind, signal};
    let watch = |kind: SignalKind| {
        let (mut signals, ends, modes) = (signal(kind)?, ends.clone(), modes.clone());
        Ok(tokio::spawn(async move {
            if signals.recv().await.is_some() {
                let code = OF_A_SIGNAL + kind.as_raw_value();
                // The session may have ended by itself.
                let _ = ends.send(code).await;
                tokio::time::sleep(END_WITHIN).await;
                modes.restore();
                std::process::exit(code);
            }
        }))
    };
    [SignalKind::hangup(), SignalKind::quit(), SignalKind::terminate()].map(watch).into_iter().collect()
}

#[cfg(not(unix))]
fn watchers(_: &mpsc::Sender<i32>, _: &Modes) -> io::Result<Vec<JoinHandle<()>>> {
    Ok(Vec::new())
}

/// What watching for signals that can't be watched is.
pub(super) fn no_signals(source: io::Error) -> Failure {
    Failure::Io { what: "signals can't be watched".to_owned(), source }
}

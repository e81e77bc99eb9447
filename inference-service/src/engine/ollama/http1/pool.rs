//! Connections that wait for another request.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::framing::Framing;

/// Connections that are kept.
const MOST: usize = 64;
/// How long each is kept. A forwarder between may have lost a connection that waited, and nobody would say so: a new one costs less than to find
/// out.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(3);

/// A connection that waits.
#[derive(Debug)]
struct Waiting {
    connection: Connection,
    /// What is still to come of the last body: its end.
    framing: Framing,
    since: Instant,
}

/// Connections to one host.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Vec<Waiting>>);

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        // Held for a moment, and nothing in it can be left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that the other side has not closed; the one that was used last.
    pub(super) fn take(&self) -> Option<Connection> {
        loop {
            let waiting = self.lock().pop()?;
            if waiting.since.elapsed() < KEPT_FOR
                && let Some(connection) = waiting.usable()
            {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection, of whose last body this is still to come.
    pub(super) fn put(&self, connection: Connection, framing: Framing) {
        let mut waiting = self.lock();
        waiting.retain(|one| one.since.elapsed() < KEPT_FOR);
        if waiting.len() < MOST {
            waiting.push(Waiting { connection, framing, since: Instant::now() });
        }
    }
}

impl Waiting {
    /// The connection, if the last body has come to its end and nothing but that has come since.
    fn usable(mut self) -> Option<Connection> {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            let (framing, mut clean) = (&mut self.framing, false);
            let read = self.connection.poll_read_with(&mut context, |bytes| {
                clean = !framing.is_ended() && !bytes.is_empty() && framing.decode(bytes, &mut Vec::new()).is_ok_and(|rest| rest == 0);
            });
            match read {
                Poll::Pending => return self.framing.is_ended().then_some(self.connection),
                Poll::Ready(Ok(())) if clean => {}
                Poll::Ready(_) => return None,
            }
        }
    }
}

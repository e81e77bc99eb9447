//! Connections that wait for another request.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use super::framing::Framing;

/// Connections that are kept, at most.
const MAX_IDLE: usize = 64;
/// How often a connection is read for the end of its last body: what is left of it is a few bytes.
const MAX_READS: usize = 2;
/// How long each is kept. A forwarder between may have lost a connection that waited, and nobody would say so: a new one costs less than to
/// find out.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection that serves no request.
#[derive(Debug)]
struct Idle {
    connection: Connection,
    /// What is still to come of the last body: its end.
    framing: Framing,
    since: Instant,
}

/// Connections to one host.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Vec<Idle>>);

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        // Held for a moment, and nothing in it can be left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that the server has not closed; the one that was used last.
    pub(super) fn take(&self) -> Option<Connection> {
        loop {
            let idle = self.lock().pop()?;
            if idle.since.elapsed() < IDLE_TIMEOUT
                && let Some(connection) = idle.usable()
            {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection, of whose last body this is still to come.
    pub(super) fn put(&self, connection: Connection, framing: Framing) {
        let mut idle = self.lock();
        idle.retain(|one| one.since.elapsed() < IDLE_TIMEOUT);
        if idle.len() < MAX_IDLE {
            idle.push(Idle { connection, framing, since: Instant::now() });
        }
    }
}

impl Idle {
    /// The connection, if the last body has come to its end and nothing has come behind it.
    fn usable(mut self) -> Option<Connection> {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..=MAX_READS {
            let (framing, mut is_clean) = (&mut self.framing, false);
            let read = self.connection.poll_read_with(&mut context, |bytes| {
                let is_of_body = !framing.is_ended() && !bytes.is_empty();
                is_clean = is_of_body && framing.decode(bytes, &mut Vec::new()).is_ok_and(|behind| behind == 0);
            });
            match read {
                Poll::Pending => return self.framing.is_ended().then_some(self.connection),
                Poll::Ready(Ok(())) if is_clean => {}
                Poll::Ready(_) => return None,
            }
        }
        None
    }
}

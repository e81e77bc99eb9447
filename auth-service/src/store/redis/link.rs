//! The connection to Redis, and when it is made anew.
//!
//! The client's own manager connects again when a connection was closed. That is not enough: after a failover the old connection may lead
//! to what has become a replica, behind a network that lost it a connection is silent for ever, and what Redis refused while the manager
//! connected (a password that was just changed) it would repeat for ever. Then the manager itself is replaced, which looks the host up
//! again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{Client, RedisError, RedisResult};

use super::failures::{Blame, blame};

/// How long an answer may take before the store counts as unavailable.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection may take.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two replacements: a Redis that refuses every call must not be connected to by each of them.
const RENEW_EVERY: Duration = Duration::from_millis(250);

/// A connection that calls share, and its replacement.
pub(super) struct Link {
    client: Client,
    current: Mutex<Current>,
}

struct Current {
    connection: ConnectionManager,
    number: u64,
    /// When it took another one's place; `None`: it is the first.
    renewed: Option<Instant>,
}

/// The connection as one call has it.
pub(super) struct Line {
    pub(super) connection: ConnectionManager,
    number: u64,
}

impl Link {
    /// Connects.
    pub(super) async fn connect(client: Client) -> RedisResult<Self> {
        let connection = ConnectionManager::new_with_config(client.clone(), config()).await?;
        Ok(Self { client, current: Mutex::new(Current { connection, number: 0, renewed: None }) })
    }

    /// What makes connections, for whoever needs one alone.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The connection there is.
    pub(super) fn line(&self) -> Line {
        let current = self.lock();
        Line { connection: current.connection.clone(), number: current.number }
    }

    /// Does what a failure on this connection asks for, and says whether the same call is worth another try at once: it was surely not
    /// executed, or may be repeated, and there is another connection than the one that failed.
    pub(super) fn is_worth_another_try(&self, line: &Line, error: &RedisError) -> bool {
        match blame(error) {
            Blame::Redis => false,
            // The manager has begun to connect again.
            Blame::Closed => true,
            Blame::Connection => self.renew(line),
            Blame::Silence => {
                self.renew(line);
                // The caller has waited long enough.
                false
            }
        }
    }

    /// Puts another connection in the place of this one, if that wasn't done already, and says whether there is another one now.
    fn renew(&self, line: &Line) -> bool {
        let mut current = self.lock();
        if current.number != line.number {
            return true;
        }
        if current.renewed.is_some_and(|renewed| renewed.elapsed() < RENEW_EVERY) {
            return false;
        }
        // It connects at its first call, and fails for no other reason than a wrong configuration of the manager.
        let Ok(connection) = ConnectionManager::new_lazy_with_config(self.client.clone(), config()) else { return false };
        *current = Current { connection, number: line.number + 1, renewed: Some(Instant::now()) };
        true
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        // Held for a few instructions, and nothing in it can be left half done.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Few and quick attempts: a caller is waiting, and the next call tries again.
fn config() -> ConnectionManagerConfig {
    ConnectionManagerConfig::new()
        .set_number_of_retries(1)
        .set_min_delay(Duration::from_millis(20))
        .set_max_delay(Duration::from_millis(100))
        .set_connection_timeout(Some(CONNECTION_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_pipeline_buffer_size(1024)
}

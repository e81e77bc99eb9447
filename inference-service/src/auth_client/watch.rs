//! The watches over revocations: two streams, from two replicas of auth-service where there are as many. Each tells all of them. So what is
//! revoked is known at once though one of the replicas hangs. A watch begins anew where they have come to, at another replica if need be.
//!
//! What they may have missed is made up for: every answer that runs is asked about by an Extend.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use shared::proto::auth as wire;
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use super::AuthClient;
use super::revocation::Revocation;

/// How long the beginning of a watch may take.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a watch may be silent: auth-service gives a sign of life every 5 s.
const SILENCE: Duration = Duration::from_secs(16);
/// The pause after the first failed try. It doubles with each further one.
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_millis(500);
/// How long there may be no watch before every answer that runs is asked about.
const PATIENCE: Duration = Duration::from_secs(1);
/// Answers that are asked about at a time, and the pause between.
const ASKED_AT_ONCE: usize = 64;
const ASK_EVERY: Duration = Duration::from_millis(10);

/// Which replicas the two watches are at.
type Seats = Arc<Mutex<[Option<SocketAddr>; 2]>>;

/// One of the watches' place. It goes with its request as an extension, so that the request leads to another replica than the other's.
#[derive(Debug, Clone)]
pub(super) struct WatchSeat {
    seats: Seats,
    own: usize,
}

impl WatchSeat {
    fn lock(&self) -> MutexGuard<'_, [Option<SocketAddr>; 2]> {
        // Held for a look at a time.
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the other watch is.
    pub(super) fn taken(&self) -> Option<SocketAddr> {
        self.lock()[1 - self.own]
    }

    /// This one is there from now on; `false`: the other one is.
    pub(super) fn take(&self, address: SocketAddr) -> bool {
        let mut seats = self.lock();
        if seats[1 - self.own] == Some(address) {
            return false;
        }
        seats[self.own] = Some(address);
        true
    }

    fn leave(&self) {
        self.lock()[self.own] = None;
    }
}

/// Where the watches stand.
struct Watches {
    /// Of what was told last, by either: both tell the same, in the same order.
    cursor: String,
    /// How many tell what is revoked.
    up: usize,
    /// Since when nobody does; `None`: somebody does.
    down_since: Option<Instant>,
    /// Whether all answers were asked about since then.
    was_doubted: bool,
}

impl AuthClient {
    /// Ends answers whose credentials are revoked, for ever.
    pub async fn watch_revocations(self) {
        let watches = Mutex::new(Watches { cursor: String::new(), up: 0, down_since: Some(Instant::now()), was_doubted: false });
        let seats = Seats::default();
        let seat = |own| WatchSeat { seats: Arc::clone(&seats), own };
        tokio::join!(self.watch(&watches, seat(0)), self.watch(&watches, seat(1)), self.ask_in_doubt());
    }

    async fn watch(&self, watches: &Mutex<Watches>, seat: WatchSeat) {
        let mut pause = MIN_PAUSE;
        loop {
            let mut is_up = false;
            let ended = self.watch_once(watches, &seat, &mut is_up).await;
            seat.leave();
            self.ended(&mut lock(watches), is_up, &ended);
            if is_up {
                pause = MIN_PAUSE;
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Takes note that a watch, which was up or wasn't, has ended. When nobody has told anything for a while, every answer is asked about.
    fn ended(&self, watches: &mut Watches, was_up: bool, why: &Status) {
        let now = Instant::now();
        if was_up {
            watches.up -= 1;
            if watches.up == 0 {
                (watches.down_since, watches.was_doubted) = (Some(now), false);
            }
            tracing::debug!(asked = %self.inner.urls, code = ?why.code(), why = why.message(), "a watch over revocations ended");
        }
        let down_for = watches.down_since.map(|since| now.saturating_duration_since(since)).unwrap_or_default();
        if !watches.was_doubted && down_for >= PATIENCE {
            watches.was_doubted = true;
            tracing::warn!(asked = %self.inner.urls, why = why.message(), "nobody tells what is revoked: answers end at their next Extend");
            self.inner.running.doubt_all();
        }
    }

    /// Watches until the stream ends; why it did. `is_up`: whether it has told anything.
    async fn watch_once(&self, watches: &Mutex<Watches>, seat: &WatchSeat, is_up: &mut bool) -> Status {
        let cursor = lock(watches).cursor.clone();
        let begun = self.inner.stub.watch(&cursor, seat.clone(), Instant::now() + BEGIN_TIMEOUT).await;
        let mut stream = match begun {
            Ok(stream) => stream,
            Err(status) => return status,
        };
        let silence = || Status::unavailable("it gives no sign of life");
        // The first message says where the watch begins.
        let mut patience = BEGIN_TIMEOUT;
        loop {
            let told = match timeout(patience, stream.message()).await {
                Ok(Ok(Some(told))) => told,
                Ok(Ok(None)) => return Status::unavailable("it ended"),
                Ok(Err(status)) => return status,
                Err(_) => return silence(),
            };
            patience = SILENCE;
            self.told(&mut lock(watches), told, !std::mem::replace(is_up, true));
        }
    }

    fn told(&self, watches: &mut Watches, told: wire::WatchRevocationsResponse, is_first: bool) {
        // Of what was revoked before the first watch nothing is told.
        let has_gap = told.has_gap || watches.cursor.is_empty();
        if is_first {
            watches.up += 1;
            tracing::debug!(asked = %self.inner.urls, watches = watches.up, "an auth-service tells what is revoked");
        }
        if watches.down_since.take().is_some() && watches.was_doubted {
            tracing::info!(asked = %self.inner.urls, "what is revoked is told again");
        }
        if !told.cursor.is_empty() {
            watches.cursor.clone_from(&told.cursor);
        }
        if has_gap {
            self.inner.running.doubt_all();
        }
        if let Some(revocation) = Revocation::read(told) {
            self.inner.running.revoked(revocation);
        }
    }

    /// Asks about all answers that run, some at a time, whenever there is a doubt.
    async fn ask_in_doubt(&self) {
        loop {
            self.inner.running.doubts.notified().await;
            for some in self.inner.running.all().chunks(ASKED_AT_ONCE) {
                some.iter().filter_map(Weak::upgrade).for_each(|extension| extension.ask(None));
                sleep(ASK_EVERY).await;
            }
        }
    }
}

fn lock(watches: &Mutex<Watches>) -> MutexGuard<'_, Watches> {
    // Never held over an await, and nothing in it can be left half done.
    watches.lock().unwrap_or_else(PoisonError::into_inner)
}

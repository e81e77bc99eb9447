//! How many handshakes there are at a time.
//!
//! A handshake takes memory before anybody is known. So they have places of their own, far fewer than connections have. Who finds none
//! waits, and costs only the connection. Meanwhile the oldest handshake gives way, once it has had a second: that is plenty for whoever
//! means it, and too short to keep others out by saying nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a handshake may take while others wait for its place.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks of one who waits, at least.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The places. Clones are one.
#[derive(Debug, Clone)]
pub(crate) struct HandshakePlaces {
    free: Arc<Semaphore>,
    taken: Arc<Mutex<TakenPlaces>>,
}

#[derive(Debug, Default)]
struct TakenPlaces {
    /// When each began, and what ends its connection; the oldest first.
    handshakes: BTreeMap<u64, (Instant, CancellationToken)>,
    next: u64,
}

/// A place; dropped, it is free again.
#[derive(Debug)]
#[must_use]
pub(crate) struct HandshakePlace {
    number: u64,
    taken: Arc<Mutex<TakenPlaces>>,
    _permit: OwnedSemaphorePermit,
}

fn lock(taken: &Mutex<TakenPlaces>) -> MutexGuard<'_, TakenPlaces> {
    // Held for some map operations; nothing in it is half done after any of them.
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HandshakePlaces {
    pub(crate) fn new(places: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(places)), taken: Arc::default() }
    }

    /// Waits for a place. `evicted` ends the connection when it has to give way.
    pub(crate) async fn take(&self, evicted: &CancellationToken) -> HandshakePlace {
        let mut free = std::pin::pin!(Arc::clone(&self.free).acquire_owned());
        let acquired = loop {
            let wait = if self.free.available_permits() == 0 { self.displace() } else { PATIENCE };
            if let Ok(acquired) = tokio::time::timeout(wait, &mut free).await {
                break acquired;
            }
        };
        let Ok(permit) = acquired else {
            // Nobody closes the semaphore.
            return std::future::pending().await;
        };
        let mut taken = lock(&self.taken);
        let number = taken.next;
        taken.next += 1;
        taken.handshakes.insert(number, (Instant::now(), evicted.clone()));
        HandshakePlace { number, taken: Arc::clone(&self.taken), _permit: permit }
    }

    /// Has the oldest handshake give way, if it has had its time. Answers when to look again.
    fn displace(&self) -> Duration {
        let mut taken = lock(&self.taken);
        let is_due = |(since, _): &(Instant, CancellationToken)| since.elapsed() >= PATIENCE;
        if let Some(oldest) = taken.handshakes.first_entry().filter(|oldest| is_due(oldest.get())) {
            let (_, evicted) = oldest.remove();
            evicted.cancel();
        }
        let next = taken.handshakes.values().next().map(|(since, _)| PATIENCE.saturating_sub(since.elapsed()));
        next.unwrap_or(PATIENCE).max(LOOK_EVERY)
    }
}

impl Drop for HandshakePlace {
    fn drop(&mut self) {
        lock(&self.taken).handshakes.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn handshakes_that_say_nothing_give_way_after_a_second_to_who_waits() {
        let places = HandshakePlaces::new(2);
        let tokens: Vec<_> = (0..3).map(|_| CancellationToken::new()).collect();
        let (first, _second) = (places.take(&tokens[0]).await, places.take(&tokens[1]).await);
        let (waiting, began) = (places.clone(), Instant::now());
        let third = tokens[2].clone();
        let third = tokio::spawn(async move { waiting.take(&third).await });
        tokens[0].cancelled().await;
        assert!(began.elapsed() >= PATIENCE && began.elapsed() < PATIENCE * 2, "{:?}", began.elapsed());
        assert!(!tokens[1].is_cancelled(), "one place for one who waits");
        drop(first);
        let _third = third.await.unwrap();
        assert!(!tokens[2].is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_done_is_displaced_by_nobody_and_is_forgotten() {
        let places = HandshakePlaces::new(1);
        let tokens: Vec<_> = (0..100).map(|_| CancellationToken::new()).collect();
        for token in &tokens {
            let place = places.take(token).await;
            tokio::time::sleep(PATIENCE * 2).await;
            drop(place);
        }
        assert!(tokens.iter().all(|token| !token.is_cancelled()));
        assert!(lock(&places.taken).handshakes.is_empty());
    }
}

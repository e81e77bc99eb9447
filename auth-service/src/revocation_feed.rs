//! What is revoked, as it is revoked, for everybody who watches: one task reads the store, and all watches are told.
//!
//! A watch first reads what came after its caller's place, and then what the task tells. When that is too quick for a slow caller, it reads
//! the store again from where it was. So nothing is kept for a caller but its place.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::store::{Revocation, RevocationCursor, Store, StoreError};

/// How long the store is waited for before it is asked again.
const WAIT: Duration = Duration::from_millis(500);
/// Between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Between two tries to read a store that can't be read.
const RETRY: Duration = Duration::from_millis(200);
/// How long the store may not be readable before all watches end: their callers may find another replica that can read it.
const PATIENCE: Duration = Duration::from_secs(1);
/// What is kept for watches that are slow.
const BUFFER: usize = 1024;

/// What a watch is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Something was revoked.
    Revoked(RevocationCursor, Revocation),
    /// Nothing else was, up to this place.
    Nothing(RevocationCursor),
    /// Something before this place may have been missed.
    Gap(RevocationCursor),
}

impl Told {
    /// The place behind it.
    #[must_use]
    pub fn cursor(&self) -> &RevocationCursor {
        let (Self::Revoked(cursor, _) | Self::Nothing(cursor) | Self::Gap(cursor)) = self;
        cursor
    }
}

/// Why a watch ends.
#[derive(Debug, thiserror::Error)]
pub enum WatchEnd {
    /// The process stops.
    #[error("the service is stopping")]
    Stopping,
    /// The store can't be read.
    #[error(transparent)]
    Unreadable(StoreError),
}

/// What the task tells all watches.
#[derive(Debug, Clone)]
enum News {
    Told(Told),
    /// The store can't be read.
    Unreadable(StoreError),
}

/// All watches of this process.
#[derive(Debug)]
pub struct RevocationFeed {
    store: Arc<dyn Store>,
    /// `None` once the process stops.
    news: Mutex<Option<broadcast::Sender<News>>>,
}

/// One watch.
struct Watch {
    store: Arc<dyn Store>,
    news: broadcast::Receiver<News>,
    /// Behind what was told last; `None`: it begins now.
    place: Option<RevocationCursor>,
    /// What the store has still to be asked for.
    is_behind: bool,
    to_tell: VecDeque<Told>,
    is_over: bool,
}

impl RevocationFeed {
    /// A feed that tells nothing until [`Self::run`] is.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, news: Mutex::new(Some(broadcast::Sender::new(BUFFER))) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<broadcast::Sender<News>>> {
        // Held for a few instructions, and nothing in it can be left half done.
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the store until the process stops. Then all watches end, so that nobody waits for them.
    pub async fn run(self: Arc<Self>, draining: CancellationToken) {
        draining.run_until_cancelled(self.read()).await;
        *self.lock() = None;
    }

    async fn read(&self) {
        let (mut place, mut failing_since, mut said) = (None, None, Instant::now());
        loop {
            let page = match self.store.revocations(place.as_ref()).await {
                Ok(page) => page,
                Err(error) => {
                    let since = *failing_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= PATIENCE {
                        self.tell(News::Unreadable(error));
                    }
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            failing_since = None;
            if page.has_gap {
                tracing::warn!("revocations may have been missed: whatever runs is asked about");
                self.tell(News::Told(Told::Gap(page.next.clone())));
            }
            for (cursor, revocation) in page.revocations {
                self.tell(News::Told(Told::Revoked(cursor, revocation)));
            }
            if said.elapsed() >= HEARTBEAT {
                said = Instant::now();
                self.tell(News::Told(Told::Nothing(page.next.clone())));
            }
            if !page.has_more {
                self.store.await_revocation(&page.next, WAIT).await;
            }
            place = Some(page.next);
        }
    }

    fn tell(&self, news: News) {
        if let Some(all) = &*self.lock() {
            // Nobody may be watching.
            let _ = all.send(news);
        }
    }

    /// Begins a watch: what was revoked after a place, as far as it is kept, and then what is. Empty: what is revoked from now on.
    /// Something is told at once, and whatever is revoked once at least. `None`: the process stops.
    pub fn watch(&self, after: &str) -> Option<impl Stream<Item = Result<Told, WatchEnd>> + Send + use<>> {
        let news = self.lock().as_ref()?.subscribe();
        let place = (!after.is_empty()).then(|| RevocationCursor::parse(after).unwrap_or_else(RevocationCursor::unknown));
        let watch = Watch { store: Arc::clone(&self.store), news, place, is_behind: true, to_tell: VecDeque::new(), is_over: false };
        Some(stream::unfold(watch, |mut watch| async move { watch.next().await.map(|told| (told, watch)) }))
    }
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Told, WatchEnd>> {
        loop {
            if let Some(told) = self.to_tell.pop_front() {
                return Some(Ok(told));
            }
            if self.is_over {
                return None;
            }
            let end = if self.is_behind {
                match self.catch_up().await {
                    Ok(()) => continue,
                    Err(error) => WatchEnd::Unreadable(error),
                }
            } else {
                match self.news.recv().await {
                    Ok(News::Told(told)) => {
                        self.place = Some(told.cursor().clone());
                        return Some(Ok(told));
                    }
                    Ok(News::Unreadable(error)) => WatchEnd::Unreadable(error),
                    Err(RecvError::Lagged(_)) => {
                        self.is_behind = true;
                        continue;
                    }
                    Err(RecvError::Closed) => WatchEnd::Stopping,
                }
            };
            self.is_over = true;
            return Some(Err(end));
        }
    }

    /// Reads on from where the watch is.
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        let page = self.store.revocations(self.place.as_ref()).await?;
        if page.has_gap {
            self.to_tell.push_back(Told::Gap(page.next.clone()));
        }
        self.to_tell.extend(page.revocations.into_iter().map(|(cursor, revocation)| Told::Revoked(cursor, revocation)));
        if self.to_tell.is_empty() {
            self.to_tell.push_back(Told::Nothing(page.next.clone()));
        }
        (self.place, self.is_behind) = (Some(page.next), page.has_more);
        Ok(())
    }
}

//! When API keys were used: noted to the hour or so, beside the calls and never on their path.
//!
//! A note may be lost: with the process, or when the store takes none. Nothing is decided by it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hashlink::LruCache;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ids::AccountId;
use crate::store::{KeyUse, PresentedCredential, Store};

/// How often a secret's use is noted, at most.
const NOTE_EVERY: Duration = Duration::from_secs(3600);
/// How long uses are gathered before they are noted together.
const GATHER_FOR: Duration = Duration::from_secs(1);
/// Secrets of which is remembered when they were noted, about 100 bytes each. One that is forgotten is noted again when it is used.
const MAX_NOTED: usize = 65_536;
/// Uses that wait to be noted. What doesn't find room is noted at a later use.
const MAX_WAITING: usize = 1024;

/// By SHA-256 of each secret, when its use was noted last.
type Noted = Arc<Mutex<LruCache<[u8; 32], Instant>>>;

/// Takes note of uses. Cheap to clone.
#[derive(Clone)]
pub struct KeyUses {
    noted: Noted,
    waiting: mpsc::Sender<KeyUse>,
}

/// What writes the notes into the store.
pub struct KeyUseNotes {
    noted: Noted,
    waiting: mpsc::Receiver<KeyUse>,
}

impl fmt::Debug for KeyUses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyUses").finish_non_exhaustive()
    }
}

impl KeyUses {
    /// Of which nothing is noted yet; and what must be run for it to be.
    #[must_use]
    pub fn new() -> (Self, KeyUseNotes) {
        let noted: Noted = Arc::new(Mutex::new(LruCache::new(MAX_NOTED)));
        let (sender, waiting) = mpsc::channel(MAX_WAITING);
        (Self { noted: Arc::clone(&noted), waiting: sender }, KeyUseNotes { noted, waiting })
    }

    /// A credential was used on an account, and was good. Takes no time.
    pub fn used_by(&self, account: &AccountId, credential: &PresentedCredential) {
        if let PresentedCredential::ApiKey { secret_hash } = credential {
            self.used(account, *secret_hash);
        }
    }

    fn used(&self, account: &AccountId, secret_hash: [u8; 32]) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.get(&secret_hash).is_some_and(|at| at.elapsed() < NOTE_EVERY) {
            return;
        }
        if self.waiting.try_send(KeyUse { account: account.clone(), secret_hash }).is_ok() {
            noted.insert(secret_hash, Instant::now());
        }
    }
}

impl KeyUseNotes {
    /// Writes notes until `draining`, and what waits then.
    pub async fn run(mut self, store: Arc<dyn Store>, draining: CancellationToken) {
        let mut uses = Vec::new();
        loop {
            tokio::select! {
                () = draining.cancelled() => break,
                count = self.waiting.recv_many(&mut uses, 1) => if count == 0 { break },
            }
            tokio::select! {
                () = draining.cancelled() => break,
                () = tokio::time::sleep(GATHER_FOR) => {}
            }
            self.write(&*store, &mut uses).await;
        }
        self.write(&*store, &mut uses).await;
    }

    /// Writes these, and those that wait by now.
    async fn write(&mut self, store: &dyn Store, uses: &mut Vec<KeyUse>) {
        while let Ok(used) = self.waiting.try_recv() {
            uses.push(used);
        }
        if uses.is_empty() {
            return;
        }
        if let Err(error) = store.note_key_uses(uses).await {
            // Said by the store's condition to whom it concerns.
            tracing::debug!(%error, "when API keys were used was not noted");
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            uses.iter().for_each(|used| {
                noted.remove(&used.secret_hash);
            });
        }
        uses.clear();
    }
}

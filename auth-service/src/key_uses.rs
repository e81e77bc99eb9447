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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreLimits;
    use crate::store::clock::Clock;
    use crate::store::sqlite::SqliteStore;

    fn account() -> AccountId {
        AccountId::parse("0123456789abcdef").unwrap()
    }

    fn secret(number: usize) -> PresentedCredential {
        let mut secret_hash = [7; 32];
        secret_hash[..8].copy_from_slice(&number.to_le_bytes());
        PresentedCredential::ApiKey { secret_hash }
    }

    fn waiting(notes: &mut KeyUseNotes) -> usize {
        std::iter::from_fn(|| notes.waiting.try_recv().ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_secrets_use_is_noted_once_an_hour_however_often_it_is_used() {
        let (uses, mut notes) = KeyUses::new();
        for round in 0..3 {
            for _ in 0..1000 {
                uses.used_by(&account(), &secret(1));
                uses.used_by(&account(), &secret(2));
            }
            assert_eq!(waiting(&mut notes), 2, "{round}");
            tokio::time::advance(NOTE_EVERY - Duration::from_millis(1)).await;
            uses.used_by(&account(), &secret(1));
            assert_eq!(waiting(&mut notes), 0, "{round}");
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let user_id = crate::ids::UserId::parse("0123456789abcdef").unwrap();
        uses.used_by(&account(), &PresentedCredential::AccessToken { user_id, session: None, issued_at_ms: 0 });
        assert_eq!(waiting(&mut notes), 0, "a token is no key");
    }

    #[tokio::test(start_paused = true)]
    async fn a_use_that_finds_no_room_holds_nobody_up_and_is_noted_at_a_later_one() {
        let (uses, mut notes) = KeyUses::new();
        for number in 0..MAX_WAITING + 10 {
            uses.used_by(&account(), &secret(number));
        }
        assert_eq!(waiting(&mut notes), MAX_WAITING);
        for number in 0..MAX_WAITING + 10 {
            uses.used_by(&account(), &secret(number));
        }
        assert_eq!(waiting(&mut notes), 10);
    }

    #[tokio::test]
    async fn a_use_that_the_store_did_not_take_is_noted_at_a_later_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store");
        let store = SqliteStore::open(&file, StoreLimits::default(), Clock::Store).unwrap();
        rusqlite::Connection::open(&file).unwrap().execute_batch("DROP TABLE api_key_uses").unwrap();
        let (uses, mut notes) = KeyUses::new();
        for _ in 0..3 {
            uses.used_by(&account(), &secret(1));
            let mut gathered = Vec::new();
            gathered.extend(notes.waiting.try_recv());
            assert_eq!(gathered.len(), 1);
            notes.write(&store, &mut gathered).await;
        }
    }
}

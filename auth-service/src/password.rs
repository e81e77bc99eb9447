//! Passwords: which ones are taken, and their hashing with Argon2id on a bounded pool.

mod argon2_hasher;
mod blocklist;
mod hashing_threads;
mod owner;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use argon2::Params;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use unicode_normalization::{UnicodeNormalization, is_nfc};

use self::argon2_hasher::Argon2Hasher;
use self::hashing_threads::HashingThreads;
pub use self::owner::Owner;
use self::owner::{MadeOf, made_of_words};

/// The fewest characters of a new password (NIST SP 800-63B-4 for a password that is the only factor).
pub const MIN_CHARACTERS: usize = 15;
/// The most bytes of a password in form NFC. Longer ones are refused, never cut.
pub const MAX_BYTES: usize = 1024;
/// The most bytes of a password as it was sent: no text is more than three times as long in another form as in NFC.
pub const MAX_BYTES_AS_SENT: usize = 3 * MAX_BYTES;
/// When a full pool is worth another try, at the earliest.
const RETRY_WHEN_BUSY: Duration = Duration::from_secs(1);
/// Those that were refused together come again spread over so many milliseconds: at once they would fill it again.
const RETRIES_SPREAD_MS: u32 = 2000;
/// Passwords that wait for the pool, at most.
const QUEUE: usize = 64;
/// Sign-ups that hash or wait, at most: a flood of them leaves the rest of the queue to logins.
const SIGN_UP_QUEUE: usize = 8;

/// A password that somebody wants to use from now on: long enough, not too long, and not a common one.
#[derive(Clone)]
pub struct NewPassword(String);

/// Why a new password isn't taken; a sentence that goes on from "password".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnfitPassword {
    /// Fewer than [`MIN_CHARACTERS`].
    #[error("must have at least {MIN_CHARACTERS} characters")]
    TooShort,
    /// More than [`MAX_BYTES`].
    #[error("must have at most {MAX_BYTES} bytes")]
    TooLong,
    /// On a list, a repetition, or made of what people write where they are asked for a password.
    #[error("is one that attackers try first: a common one, or a repetition of a short word; take another, such as four random words")]
    Common,
    /// Made of the names of its owner or of the product.
    #[error(
        "must have more in it than names: attackers try the user name, the full name, the e-mail address and the product's name first, in \
         every spelling and with digits around them; take another, such as four random words"
    )]
    MadeOfNames,
}

impl NewPassword {
    /// Checks a password for its owner. It is kept in Unicode's form NFC.
    pub fn parse(text: &str, owner: &Owner<'_>) -> Result<Self, UnfitPassword> {
        let text = comparable(text).ok_or(UnfitPassword::TooLong)?;
        if text.chars().count() < MIN_CHARACTERS {
            return Err(UnfitPassword::TooShort);
        }
        let folded = text.to_lowercase();
        match made_of_words(&folded, owner) {
            Some(MadeOf::Names) => Err(UnfitPassword::MadeOfNames),
            Some(MadeOf::Commonplaces) => Err(UnfitPassword::Common),
            None if blocklist::is_common(&folded) => Err(UnfitPassword::Common),
            None => Ok(Self(text.into_owned())),
        }
    }
}

/// A password in the form that it is hashed and compared in: Unicode's NFC, because one system sends `é` as a letter, and another as an `e`
/// and its accent. `None`: longer than any password.
#[must_use]
pub fn comparable(text: &str) -> Option<Cow<'_, str>> {
    if text.len() > MAX_BYTES_AS_SENT {
        return None;
    }
    let text = if is_nfc(text) { Cow::Borrowed(text) } else { Cow::Owned(text.nfc().collect()) };
    (text.len() <= MAX_BYTES).then_some(text)
}

/// When somebody whom a full pool refused may come again.
#[must_use]
pub fn retry_when_busy() -> Duration {
    let spread_ms = getrandom::u32().map_or(0, |random| random % RETRIES_SPREAD_MS);
    RETRY_WHEN_BUSY + Duration::from_millis(spread_ms.into())
}

impl fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewPassword(…)")
    }
}

/// What hashing costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashingCost {
    /// Memory in KiB; at least 19456.
    pub memory_kib: u32,
    /// Passes over the memory; at least 2.
    pub passes: u32,
}

impl Default for HashingCost {
    /// What OWASP gives as the least.
    fn default() -> Self {
        Self { memory_kib: 19_456, passes: 2 }
    }
}

/// Why no hash was made or compared.
#[derive(Debug, thiserror::Error)]
pub enum HashingError {
    /// The pool and its queue are full.
    #[error("the hashing pool is busy")]
    Busy,
    /// Argon2 failed, or a stored hash is no hash.
    #[error("hashing: {0}")]
    Broken(String),
}

/// What comparing a password with a stored hash gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verification {
    /// Whether it is the password.
    pub matches: bool,
    /// Whether the hash was made with less than what hashing costs now, or of a text that wasn't normalized.
    pub outdated: bool,
}

/// Hashes and compares passwords off the threads that answer calls and behind them, on all processors but one.
pub struct PasswordHashing {
    argon2: Argon2Hasher,
    cost: HashingCost,
    /// For users that don't exist: compared with the same effort as a real one.
    dummy: String,
    threads: HashingThreads,
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    admitted_sign_ups: Arc<Semaphore>,
}

impl PasswordHashing {
    /// A pool for as many hashes at once as there are processors but one, at least one. Makes one hash, which takes some milliseconds.
    pub fn new(cost: HashingCost) -> Result<Self, HashingError> {
        let params = Params::new(cost.memory_kib, cost.passes, 1, None).map_err(broken)?;
        let argon2 = Argon2Hasher::new(params);
        let unknowable = crate::ids::random_base62(32).map_err(broken)?;
        let dummy = hash(&argon2, &unknowable)?;
        let size = pool_size(std::thread::available_parallelism().map_or(1, usize::from));
        Ok(Self {
            argon2,
            cost,
            dummy,
            threads: HashingThreads::new(size).map_err(broken)?,
            running: Arc::new(Semaphore::new(size)),
            admitted: Arc::new(Semaphore::new(size + QUEUE)),
            admitted_sign_ups: Arc::new(Semaphore::new(SIGN_UP_QUEUE)),
        })
    }

    /// Hashes a password, in PHC form.
    pub async fn hash(&self, password: NewPassword) -> Result<String, HashingError> {
        self.hash_text(password.0).await
    }

    /// Hashes the password of somebody who signs up; these have a small share of the queue.
    pub async fn hash_for_sign_up(&self, password: NewPassword) -> Result<String, HashingError> {
        let _admitted = self.admitted_sign_ups.try_acquire().map_err(|_| HashingError::Busy)?;
        self.hash_text(password.0).await
    }

    /// Hashes a password again that was just verified, in form NFC and with what hashing costs now.
    pub async fn rehash(&self, verified: &str) -> Result<String, HashingError> {
        self.hash_text(comparable(verified).unwrap_or_default().into_owned()).await
    }

    /// Compares a password with a stored hash; with `None`, which never matches, it takes as long.
    ///
    /// A password that came in another form than NFC is compared in NFC and as it came: hashes made before passwords were normalized are of
    /// the text as it came. It always takes two comparisons, or the right password of a disabled user would be refused sooner than a wrong
    /// one. A hash that was made with less than hashing costs now takes as long as one that was not.
    pub async fn verify(&self, password: &str, stored: Option<&str>) -> Result<Verification, HashingError> {
        let known = stored.is_some();
        let stored = stored.unwrap_or(&self.dummy).to_owned();
        // Nobody has a longer password; its comparison costs no more than another's.
        let normalized = comparable(password).unwrap_or_default().into_owned();
        let as_sent = Some(password.to_owned()).filter(|as_sent| as_sent.len() <= MAX_BYTES && !is_nfc(as_sent));
        let (argon2, cost) = (self.argon2.clone(), self.cost);
        self.run(move || {
            let parsed = PasswordHash::new(&stored).map_err(broken)?;
            let fits = |password: &str| match argon2.verify_password(password.as_bytes(), &parsed) {
                Ok(()) => Ok(true),
                Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(broken(error)),
            };
            let fits_normalized = fits(&normalized)?;
            let fits_as_sent = as_sent.map(|as_sent| fits(&as_sent)).transpose()?.unwrap_or(false) && !fits_normalized;
            let params = Params::try_from(&parsed).map_err(broken)?;
            let outdated = fits_as_sent || params.m_cost() < cost.memory_kib || params.t_cost() < cost.passes;
            Ok(Verification { matches: known && (fits_normalized || fits_as_sent), outdated })
        })
        .await
    }

    /// Takes all there is of the pool and its queue, for tests of what happens then.
    #[cfg(test)]
    pub(crate) fn fill(&self) -> OwnedSemaphorePermit {
        let all = u32::try_from(self.admitted.available_permits()).unwrap();
        self.admitted.clone().try_acquire_many_owned(all).unwrap()
    }

    async fn hash_text(&self, password: String) -> Result<String, HashingError> {
        let argon2 = self.argon2.clone();
        self.run(move || hash(&argon2, &password)).await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T, HashingError> + Send + 'static) -> Result<T, HashingError> {
        let admitted = self.admitted.clone().try_acquire_owned().map_err(|_| HashingError::Busy)?;
        let running = self.running.clone().acquire_owned().await.map_err(broken)?;
        // The permits go with the work: a caller who leaves doesn't make room before its hash has ended.
        let permits: (OwnedSemaphorePermit, OwnedSemaphorePermit) = (admitted, running);
        let worked = self.threads.spawn(move || {
            let result = work();
            drop(permits);
            result
        });
        worked.ok_or_else(|| broken("the threads have ended"))?.await.map_err(broken)?
    }
}

impl fmt::Debug for PasswordHashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHashing").field("cost", &self.cost).finish_non_exhaustive()
    }
}

fn pool_size(processors: usize) -> usize {
    processors.saturating_sub(1).max(1)
}

fn hash(argon2: &Argon2Hasher, password: &str) -> Result<String, HashingError> {
    let hash: PasswordHash = argon2.hash_password(password.as_bytes()).map_err(broken)?;
    Ok(hash.to_string())
}

fn broken(error: impl fmt::Display) -> HashingError {
    HashingError::Broken(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NewPassword, UnfitPassword> {
        NewPassword::parse(text, &Owner { user_name: "mario", ..Owner::default() })
    }

    #[test]
    fn a_password_has_15_characters_to_1024_bytes_and_no_composition_rules() {
        assert_eq!(parse("fourteen chars").unwrap_err(), UnfitPassword::TooShort);
        assert!(parse("fifteen charact").is_ok());
        assert!(parse("äöüäöüßäöüäöüßx").is_ok(), "characters count, not bytes");
        let long: String = "plumber jumps over mushrooms ".chars().cycle().take(MAX_BYTES).collect();
        assert!(parse(&long).is_ok());
        assert_eq!(parse(&format!("{long}x")).unwrap_err(), UnfitPassword::TooLong);
    }

    #[test]
    fn common_passwords_repetitions_and_names_are_refused_in_any_case() {
        for (password, unfit) in [
            ("PasswordPassword", UnfitPassword::Common),
            ("1QAZ2wsx3EDC4rfv", UnfitPassword::Common),
            ("AbcAbcAbcAbcAbc", UnfitPassword::Common),
            ("Welcome2Password!", UnfitPassword::Common),
            ("MarioMarioMario", UnfitPassword::MadeOfNames),
            ("Tollgate-20260101", UnfitPassword::MadeOfNames),
        ] {
            assert_eq!(parse(password).unwrap_err(), unfit, "{password}");
        }
        assert!(parse("it is me, the plumber").is_ok());
    }

    #[tokio::test]
    async fn a_hash_is_argon2id_with_the_configured_cost_and_fits_only_its_password() {
        let hashing = PasswordHashing::new(HashingCost::default()).unwrap();
        let stored = hashing.hash(parse("it is me, the plumber").unwrap()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        let good = hashing.verify("it is me, the plumber", Some(&stored)).await.unwrap();
        assert_eq!(good, Verification { matches: true, outdated: false });
        assert!(!hashing.verify("it is me, the plumbe", Some(&stored)).await.unwrap().matches);
        assert!(!hashing.verify("it is me, the plumber", None).await.unwrap().matches);
        let stronger = PasswordHashing::new(HashingCost { memory_kib: 19_456, passes: 3 }).unwrap();
        assert_eq!(stronger.verify("it is me, the plumber", Some(&stored)).await.unwrap(), Verification { matches: true, outdated: true });
    }

    #[test]
    fn a_password_is_the_same_however_its_letters_are_composed() {
        let composed = "caf\u{e9} caf\u{e9} caf\u{e9} \u{d55c}\u{ae00}";
        let decomposed = "cafe\u{301} cafe\u{301} cafe\u{301} \u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}";
        assert_eq!(parse(composed).unwrap().0, parse(decomposed).unwrap().0);
        // Fourteen characters, however many code points they came as.
        assert_eq!(parse(&"e\u{301}".repeat(14)).unwrap_err(), UnfitPassword::TooShort);
        // The longest one has room in its longest form; and one that grows in NFC is measured then.
        let longest: String = format!("plumber {}", "\u{d55c}\u{ae00} ".repeat(120)).chars().take(360).collect();
        let apart: String = longest.nfd().collect();
        assert!(longest.len() <= MAX_BYTES && apart.len() > MAX_BYTES && parse(&apart).is_ok(), "{} {}", longest.len(), apart.len());
        assert_eq!(parse(&"\u{1d160}".repeat(250)).unwrap_err(), UnfitPassword::TooLong);
        assert_eq!(parse(&"e".repeat(MAX_BYTES_AS_SENT + 1)).unwrap_err(), UnfitPassword::TooLong);
    }

    #[tokio::test]
    async fn a_hash_of_a_text_as_it_came_still_fits_and_is_to_be_made_anew() {
        let hashing = PasswordHashing::new(HashingCost::default()).unwrap();
        let (composed, decomposed) = ("it is me, the caf\u{e9}", "it is me, the cafe\u{301}");
        let old = hashing.hash_text(decomposed.to_owned()).await.unwrap();
        assert_eq!(hashing.verify(decomposed, Some(&old)).await.unwrap(), Verification { matches: true, outdated: true });
        let new = hashing.rehash(decomposed).await.unwrap();
        for text in [composed, decomposed] {
            assert_eq!(hashing.verify(text, Some(&new)).await.unwrap(), Verification { matches: true, outdated: false }, "{text}");
        }
        assert!(!hashing.verify(decomposed, None).await.unwrap().matches);
        assert!(!hashing.verify("it is me, the cafe", Some(&new)).await.unwrap().matches);
    }

    #[tokio::test]
    async fn a_full_pool_refuses_instead_of_queueing_without_bound() {
        let hashing = PasswordHashing::new(HashingCost::default()).unwrap();
        let taken = hashing.fill();
        assert!(matches!(hashing.verify("x", None).await, Err(HashingError::Busy)));
        drop(taken);
        assert!(hashing.verify("x", None).await.is_ok());
    }

    #[test]
    fn hashing_leaves_a_processor_to_the_calls_where_there_are_two() {
        assert_eq!([1, 2, 8].map(pool_size), [1, 1, 7]);
    }

    #[test]
    fn a_password_is_not_shown() {
        assert!(!format!("{:?}", parse("it is me, the plumber").unwrap()).contains("plumber"));
    }
}

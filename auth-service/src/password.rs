//! Passwords: which ones are taken, and their hashing with Argon2id on a bounded pool.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::user::UserName;

/// The fewest characters of a new password (NIST SP 800-63B-4 for a password that is the only factor).
pub const MIN_CHARACTERS: usize = 15;
/// The most bytes of a password. Longer ones are refused, never cut.
pub const MAX_BYTES: usize = 1024;
/// When a full pool is worth another try.
pub const RETRY_WHEN_BUSY: Duration = Duration::from_secs(1);
/// Passwords that wait for the pool, at most.
const QUEUE: usize = 64;
/// Sign-ups that hash or wait, at most: a flood of them leaves the rest of the queue to logins.
const SIGN_UP_QUEUE: usize = 8;
/// Repetitions of so few characters are refused whatever they are.
const SHORTEST_UNIT: usize = 3;

/// Common passwords, case-folded. The file says where they come from.
static COMMON: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    include_str!("common_passwords.txt").lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
});

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
    /// On the list, or a repetition.
    #[error("is one that attackers try first: a common one, or a repetition of a short word; take another, such as four random words")]
    Common,
}

impl NewPassword {
    /// Checks a password for a user.
    pub fn parse(text: &str, user: &UserName) -> Result<Self, UnfitPassword> {
        if text.len() > MAX_BYTES {
            return Err(UnfitPassword::TooLong);
        }
        if text.chars().count() < MIN_CHARACTERS {
            return Err(UnfitPassword::TooShort);
        }
        if is_common(&text.to_lowercase(), user) { Err(UnfitPassword::Common) } else { Ok(Self(text.to_owned())) }
    }
}

impl fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewPassword(…)")
    }
}

/// Whether a folded password is a common one, or repeats a common one, the user's name, or very few characters.
fn is_common(folded: &str, user: &UserName) -> bool {
    if COMMON.contains(folded) {
        return true;
    }
    let ends = folded.char_indices().skip(1).map(|(at, _)| at);
    ends.enumerate().any(|(index, end)| {
        let characters = index + 1;
        let unit = &folded[..end];
        (characters <= SHORTEST_UNIT || unit == user.as_str() || COMMON.contains(unit)) && repeats(folded, unit)
    })
}

/// Whether a text is a unit again and again, the last time perhaps cut.
fn repeats(text: &str, unit: &str) -> bool {
    text.bytes().eq(unit.bytes().cycle().take(text.len()))
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
    /// Whether the hash was made with less than what hashing costs now.
    pub outdated: bool,
}

/// Hashes and compares passwords off the threads that answer calls, on all processors but one, which is left to those threads.
pub struct PasswordHashing {
    argon2: Argon2<'static>,
    cost: HashingCost,
    /// For users that don't exist: compared with the same effort as a real one.
    dummy: String,
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    admitted_sign_ups: Arc<Semaphore>,
}

impl PasswordHashing {
    /// A pool for as many hashes at once as there are processors but one, at least one. Makes one hash, which takes some milliseconds.
    pub fn new(cost: HashingCost) -> Result<Self, HashingError> {
        let params = Params::new(cost.memory_kib, cost.passes, 1, None).map_err(broken)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let unknowable = crate::ids::random_base62(32).map_err(broken)?;
        let dummy = hash(&argon2, &unknowable)?;
        let size = pool_size(std::thread::available_parallelism().map_or(1, usize::from));
        Ok(Self {
            argon2,
            cost,
            dummy,
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

    /// Hashes a password again that was just verified, with what hashing costs now.
    pub async fn rehash(&self, verified: &str) -> Result<String, HashingError> {
        self.hash_text(verified.to_owned()).await
    }

    /// Compares a password with a stored hash; with `None`, which never matches, it takes as long.
    pub async fn verify(&self, password: &str, stored: Option<&str>) -> Result<Verification, HashingError> {
        let known = stored.is_some();
        let stored = stored.unwrap_or(&self.dummy).to_owned();
        // Nobody has a longer password; its comparison costs no more than another's.
        let password = if password.len() <= MAX_BYTES { password.to_owned() } else { String::new() };
        let (argon2, cost) = (self.argon2.clone(), self.cost);
        self.run(move || {
            let parsed = PasswordHash::new(&stored).map_err(broken)?;
            let matches = match argon2.verify_password(password.as_bytes(), &parsed) {
                Ok(()) => known,
                Err(argon2::password_hash::Error::PasswordInvalid) => false,
                Err(error) => return Err(broken(error)),
            };
            let params = Params::try_from(&parsed).map_err(broken)?;
            let outdated = params.m_cost() < cost.memory_kib || params.t_cost() < cost.passes;
            Ok(Verification { matches, outdated })
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
        let worked = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permits);
            result
        });
        worked.await.map_err(broken)?
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

fn hash(argon2: &Argon2<'_>, password: &str) -> Result<String, HashingError> {
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
        NewPassword::parse(text, &UserName::parse("mario").unwrap())
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
    fn common_passwords_and_repetitions_are_refused_in_any_case() {
        for common in [
            "passwordpassword",
            "PasswordPassword",
            "password123456789",
            "qwertyuiopasdfghjkl",
            "123456789012345",
            "aaaaaaaaaaaaaaaa",
            "abcabcabcabcabcabc",
            "letmeinletmeinletmein",
            "mariomariomario",
            "correcthorsebatterystaple",
        ] {
            assert_eq!(parse(common).unwrap_err(), UnfitPassword::Common, "{common}");
        }
        assert!(parse("it is me, the plumber").is_ok());
    }

    #[test]
    fn the_list_is_folded_and_has_some_hundred_entries() {
        assert!(COMMON.len() >= 300, "{}", COMMON.len());
        assert!(COMMON.iter().all(|entry| *entry == entry.to_lowercase()));
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
